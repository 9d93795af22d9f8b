r"""Features of many images in files, chunk by chunk, so that no set is too large for memory.

A folder holds a file per chunk of rows, ``part-00000.h5``, ..., and ``features.h5``, in which they
are one array per layer and noise level (virtual datasets, which any reader of HDF5 follows):

===================  ===========================================================================
dataset              content
===================  ===========================================================================
``t``                noise levels [T]
``labels``, ``row``  class and row number of every image [n]; -1 where there is no class
``t0/LAYER``, ...    features [n, width] of a layer at the first level, and so on
===================  ===========================================================================

All levels of an image share one draw of the noise, which its row number names.  A chunk is used
again if the images, the weights, the levels and the seed are the same.

A linear probe on such a file needs sums over its rows only: with features z scaled as in
:func:`hierdiff.sims.metrics.probes.ridge_probe`,

.. math:: W = \Big(\sum_i z_i z_i^T + \rho\Big)^{-1} \sum_i z_i (y_i - \bar y)^T .
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hierdiff._files import replacing
from hierdiff._progress import Progress
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    integers,
    listed,
    natural,
    number,
    one_level,
    shown,
    unchecked,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.image_sets import IMAGE_SETS, ImageSet, image_set
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.fingerprints import fingerprint
from hierdiff.results import writable_folder
from hierdiff.seeds import stream
from hierdiff.sims.metrics.probes import Probe
from hierdiff.validation.pretrained.own_models import OpenModel, fitting, open_model
from hierdiff.validation.things import block_layers

__all__ = ["FeatureFile", "chunked_ridge_probe", "save_features"]

Array = NDArray[Any]

_FILE = "features.h5"
_CHUNK = 256  # images at a time: the features of a chunk are what is held in memory
_LEVELS = partial(listed, rule=one_level)


@dataclass(frozen=True)
class FeatureFile:
    """Features that :func:`save_features` has written; nothing is read before it is asked for.

    Attributes
    ----------
    folder
        Where the files are.
    """

    folder: Path

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.path.is_file():
            raise InvalidParameter(
                f"folder = {self.folder} holds no {_FILE}; write it with save_features, or run "
                "hierdiff features again if it was interrupted"
            )
        # HDF5 reads zeros where a file is missing, and whatever stands in one that was overwritten
        for part, key in enumerate(self._read("keys").tolist()):
            path = self.folder / _part(part)
            if not _holds(path, key.decode()):
                raise DamagedFile(
                    f"{path} is missing, or belongs to another run than {_FILE}; write the "
                    "features again"
                )

    @property
    def path(self) -> Path:
        """The file in which all chunks are one."""
        return self.folder / _FILE

    @property
    def t(self) -> NDArray[np.float64]:
        """Noise levels [T]."""
        return np.asarray(self._read("t"))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of every image [n]."""
        return np.asarray(self._read("labels"))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers."""
        with self._open() as file:
            return tuple(str(name) for name in file.attrs["layers"])

    def __len__(self) -> int:
        return len(self.labels)

    def _open(self) -> Any:
        try:
            return h5py.File(self.path)
        except OSError as error:
            raise DamagedFile(f"{self.path} cannot be read ({error}); write it again") from None

    def _read(self, name: str) -> Any:
        with self._open() as file:
            if name not in file:
                raise DamagedFile(f"{self.path} has no {name}; write the features again")
            return file[name][...]

    @checked(level=natural, rows=unchecked)
    def read(self, layer: str, level: int = 0, rows: Any = None) -> NDArray[np.float32]:
        """Features [n, width] of some rows (default all) of a layer at a level's place.

        Raises
        ------
        InvalidParameter
            For a layer or a level that is not there.
        """
        name = self._name(layer, level)
        with self._open() as file:
            if rows is None:
                return np.asarray(file[name][...])
            chosen = integers("rows", rows, 0, len(file[name]) - 1, ndim=1)
            # HDF5 reads rows in rising order, each once
            wanted, back = np.unique(chosen, return_inverse=True)
            return np.asarray(file[name][wanted])[back]

    @checked(level=natural, size=count)
    def chunks(
        self, layer: str, level: int = 0, size: int = 1024
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Slices of rows and their features, one after another."""
        name = self._name(layer, level)
        with self._open() as file:
            data = file[name]
            for start in range(0, len(data), size):
                rows = slice(start, min(start + size, len(data)))
                yield rows, np.asarray(data[rows])

    def _name(self, layer: str, level: int) -> str:
        levels, known = len(self.t), self.layers
        if layer not in known:
            raise InvalidParameter(
                f"layer {shown(layer)} is not in {self.path}; it has {', '.join(known[:6])}"
            )
        if not 0 <= int(level) < levels:
            raise InvalidParameter(f"level = {level} is none of the {levels} in {self.path}")
        return f"t{int(level)}/{layer}"


def images_for(found: OpenModel, place: str, split: str = "test") -> ImageSet:
    """The images of a set or a folder, at the size that a model takes.

    Raises
    ------
    InvalidParameter
        If the model does not say its shape and the images are a folder, or it takes no images.
    """
    channels, side = 3, 256
    if found.shape is not None and len(found.shape) == 3:
        channels, side = (3, found.factor * found.shape[1]) if found.latent else found.shape[:2]
    elif place not in IMAGE_SETS:
        raise InvalidParameter(
            f"model {found.name} does not say the shape of its images; declare shape, such as "
            "(3, 64, 64)"
        )
    if place not in IMAGE_SETS and channels not in (1, 3):
        raise InvalidParameter(
            f"model {found.name} takes data of shape {found.shape}, which are no images"
        )
    return image_set(place, size=side, channels=channels if channels == 1 else 3, split=split)


def layered(found: OpenModel, layers: tuple[str, ...]) -> OpenModel:
    """The model with layers that are read."""
    network = found.network
    if not layers and (network.layers or hasattr(network.module, "sweeps")):
        return found
    chosen = block_layers(network, layers)
    if not chosen:
        names = [name for name, part in network.module.named_modules() if name]
        raise InvalidParameter(
            f"model {found.name} declares no layers; give --layers, of "
            f"{', '.join(names[:6]) or 'its submodules'}"
        )
    return replace(found, model=replace(network, layers=chosen))


def features_of(
    model: Any, images: str, t: Sequence[float], folder: str | os.PathLike[str], *,
    layers: tuple[str, ...] = (), split: str = "test", chunk: int = _CHUNK, seed: int = 0,
    device: str = "cpu", accept_licence: bool = False,
) -> FeatureFile:  # fmt: skip
    """What ``hierdiff features`` writes: the model and the images by their names."""
    found = layered(open_model(model, device=device, accept_licence=accept_licence), layers)
    return save_features(
        found, images_for(found, images, split), t, folder, seed=seed, chunk=chunk
    )  # fmt: skip


@checked(t=_LEVELS, chunk=count, seed=natural, rows=unchecked)
def save_features(
    found: OpenModel,
    images: ImageSet,
    t: Sequence[float],
    folder: str | os.PathLike[str],
    *,
    rows: Any = None,
    seed: int = 0,
    chunk: int = _CHUNK,
    output: bool = False,
) -> FeatureFile:
    """Write the features of images at noise levels, chunk by chunk; finished chunks are kept.

    Parameters
    ----------
    found : OpenModel
        With a model that has features: layers that are named, or its own.
    images : ImageSet
        Opened chunk by chunk.
    t : sequence of float
        Noise levels.
    folder : path-like
        Where the files are written.
    rows : array of int, optional
        Images to take, default all.
    seed : int
        Names the noise.
    chunk : int
        Images in memory at a time; results depend on it only through rounding.
    output : bool
        Whether the posterior mean is a layer, too, as "output".

    Returns
    -------
    FeatureFile

    Raises
    ------
    InvalidParameter
        If model and images do not fit, before any work.

    Notes
    -----
    Validity: images that cannot be read are left out, with a warning; ``row`` says which are there.
    """
    place, model = Path(folder), found.model
    chosen = np.arange(len(images)) if rows is None else integers(
        "rows", rows, 0, len(images) - 1, ndim=1
    )  # fmt: skip
    if not len(chosen):
        raise InvalidParameter("rows are none; give one image at least")
    encode = found.maps()[0]
    fitting(found, encode(images.read(chosen[:1])[0]))
    writable_folder(place)
    mark = fingerprint((model, tuple(t), seed, output, "noise by row"))
    starts = range(0, len(chosen), chunk)
    parts, keys = [], []
    for part, start in enumerate(Progress(list(starts), "features", unit="chunks")):
        pixels, kept = images.read(chosen[start : start + chunk])
        path = place / _part(part)
        key = fingerprint((mark, pixels, kept))
        if not _holds(path, key):
            _write(path, key, found, encode(pixels), kept, images.labels, t, seed, output)
        parts.append(path)
        keys.append(key)
    _join(place, parts, keys, t)
    return FeatureFile(place)


def _part(number: int) -> str:
    return f"part-{number:05d}.h5"


def _holds(path: Path, key: str) -> bool:
    """Whether a finished chunk is that of this key."""
    try:
        with h5py.File(path) as file:
            return bool(file.attrs.get("key") == key)
    except OSError:
        return False


def _write(
    path: Path, key: str, found: OpenModel, x0: Array, rows: Array, labels: Array | None,
    t: Sequence[float], seed: int, output: bool,
) -> None:  # fmt: skip
    """One chunk, all levels, under its final name when it is whole."""
    model: DiffusionModel = found.model
    noise: Any = model.noise
    # by image, so that neither the chunk nor an image that cannot be read changes another's noise
    randoms = np.stack([
        stream(seed, "feature noise", int(row)).standard_normal(x0.shape[1:], dtype=np.float32)
        for row in rows
    ])  # fmt: skip
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for i, level in enumerate(t):
            x_t = noise.corrupt_with(x0, level, randoms).astype(np.float32)
            values = model.features(x_t, level)
            if output:
                values = {**values, "output": model.denoise(x_t, level)}
            for layer, value in values.items():
                flat = np.asarray(value, np.float32).reshape(len(x0), -1)
                file.create_dataset(f"t{i}/{layer}", data=flat)
        file["row"] = rows
        file["labels"] = np.full(len(rows), -1) if labels is None else labels[rows]
        file.attrs["key"] = key
        file.attrs["layers"] = list(values)


def _join(folder: Path, parts: Sequence[Path], keys: Sequence[str], t: Sequence[float]) -> None:
    """The file in which the chunks are one array each."""
    rows, labels = [], []
    for path in parts:
        with h5py.File(path) as file:
            rows.append(file["row"][...])
            labels.append(file["labels"][...])
            layers = [str(name) for name in file.attrs["layers"]]
            widths = {name: file[f"t0/{name}"].shape[1] for name in layers}
    sizes = [len(some) for some in rows]
    with replacing(folder / _FILE) as temporary, h5py.File(temporary, "w") as whole:
        for i in range(len(t)):
            for layer, width in widths.items():
                name, first = f"t{i}/{layer}", 0
                layout = h5py.VirtualLayout(shape=(sum(sizes), width), dtype=np.float32)
                for path, size in zip(parts, sizes, strict=True):
                    source = h5py.VirtualSource(path.name, name, (size, width), np.float32)
                    layout[first : first + size] = source
                    first += size
                whole.create_virtual_dataset(name, layout)
        whole["row"], whole["labels"] = np.concatenate(rows), np.concatenate(labels)
        whole["t"] = np.asarray(t, float)
        whole["keys"] = np.array(keys, dtype="S")
        whole.attrs["layers"] = layers


@checked(ridge=partial(number, above=0), level=natural)
def chunked_ridge_probe(
    features: FeatureFile, layer: str, level: int = 0, *, ridge: float = 1.0
) -> Probe:
    """The ridge probe of :func:`hierdiff.sims.metrics.probes.ridge_probe`, by sums over chunks.

    Parameters
    ----------
    features : FeatureFile
    layer : str
    level : int
        Place of the noise level.
    ridge : float
        Penalty.

    Returns
    -------
    Probe

    Raises
    ------
    InvalidParameter
        If there are fewer than two classes.

    Notes
    -----
    Validity: the same minimiser as in memory, to rounding of the sums.
    """
    labels = features.labels
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or classes[0] < 0:
        raise InvalidParameter(
            f"{features.path} has {len(classes)} class; a probe needs images of two or more"
        )
    n, share = len(labels), np.bincount(y) / len(labels)
    total: Any = 0.0
    for _, x in features.chunks(layer, level):
        total = total + x.sum(axis=0, dtype=float)
    mean = total / n
    hot, power = np.eye(len(classes)), 0.0
    gram: Any = 0.0
    cross: Any = 0.0
    for rows, x in features.chunks(layer, level):
        z = x.astype(float) - mean
        power += float((z**2).sum())
        gram = gram + z.T @ z
        cross = cross + z.T @ (hot[y[rows]] - share)
    # one number for all features, as in memory: their root mean square
    scale = float(np.sqrt(power / (n * len(mean)))) or 1.0
    normal = gram / scale**2 + ridge * np.eye(len(mean))
    weights = np.linalg.solve(normal, cross / scale)
    residual = float(np.abs(normal @ weights - cross / scale).max())
    return Probe(classes, weights, share, residual, 1, lambda f: (f - mean) / scale)
