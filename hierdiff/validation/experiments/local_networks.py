r"""How local is a trained network: the share of its outputs that exact windows explain.

A network is trained on a grammar; its outputs are compared with those of exact denoisers that see a
window of the leaves (:mod:`hierdiff.theory.rhm.locality`),

.. math:: r^2(W) = 1 - \frac{\sum |D(x_t) - p^W|^2}{\sum |D(x_t) - \overline D|^2} .

The prediction is the same for the exact denoiser in place of the network: where both agree the
network is as local as its data allow; where a small window explains the network better than all
leaves do, the network has not learned what is beyond.

With ``images`` networks are trained on images, of which no exact denoiser is known, and compared on
images that they have not seen with the machines of their training set, at the same sizes of window:

=====================  ===========================================================================
Gaussian, covariance   best linear denoiser of the sites that the Wiener filter weighs most
Gaussian, squares      ... of the square around a pixel (:func:`windowed_gaussian`)
score, covariance      posterior mean of the training images, seen through the same windows
score, squares         local score machine
score, equivariant     ... of the patches of all places: the equivariant local score machine
=====================  ===========================================================================

The last size is the whole image, where the first two are the Gaussian denoiser, the next two the
posterior mean of the training set, and the last one that of all its translations.  The prediction
is eq. (4) of :mod:`hierdiff.theory.mixture.covariance_windows`: what windows explain of the exact
denoiser of Gaussian data with the covariance of the images.

References: Kamb and Ganguli, arXiv 2412.20292; Lukoianov et al., arXiv 2509.09672.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    one_level,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, NoiseProcess, Run, Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.image_sets import IMAGE_SETS, named_images
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, noise_name, noise_process
from hierdiff.plots import PALETTE, Figure, legend, panels, plt, shade, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.theory import denoise_symbols
from hierdiff.theory.mixture.covariance_windows import (
    covariance_windows,
    windowed_average,
    windowed_gaussian,
    windowed_variance,
)
from hierdiff.theory.mixture.score_machines import (
    equivariant_denoise,
    equivariant_local_denoise,
    local_denoise,
)
from hierdiff.theory.rhm.locality import (
    explained_share,
    sliding_windows,
    tree_windows,
    windowed_denoise,
)
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import clear_checkpoints
from hierdiff.validation.networks import architecture_for
from hierdiff.validation.recipes import train_image_network, train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkLocality"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]

KINDS = ("tree", "neighbours")
"""Windows that follow the tree, and those of equally many neighbours."""
MACHINES = (
    "Gaussian, covariance", "Gaussian, squares", "score, covariance", "score, squares",
    "score, equivariant",
)  # fmt: skip
"""Denoisers of images that see windows."""
_OF_STRINGS = ("v", "m", "s", "L", "noise", "width")
"""Fields that mean nothing for images."""


_PROCESS = GaussianNoise(schedule="linear")
"""Noise of images, that of their training."""


def _sigma(t: float) -> float:
    """Noise beside a clean image of unit scale."""
    kept = float(_PROCESS.alpha_bar(t))
    return float(np.sqrt((1 - kept) / kept))


@dataclass(frozen=True)
class NetworkLocality:
    """Share of trained networks that exact denoisers of windows explain.

    Notes
    -----
    Validity: nothing is fitted; errors over networks, each on a grammar of its own, are Student's.
    Networks on images have their weights, batches and test images to themselves, and the training
    set in common.
    """

    name: ClassVar[str] = "network_locality"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    noise: str = "masking"
    """Forward process."""
    images: str | None = None
    """Images in place of strings: digits, fashion-14, fashion-7 or fashion."""
    n_train: int = 1000
    """Training images."""
    radii: tuple[int, ...] = (0, 1, 2, 3)
    """Squares of 2 radius + 1 pixels, and covariance windows of as many pixels; and all pixels."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 32
    """Features per node of the network."""
    steps: int = 800
    """Training steps."""
    batch: int = 64
    """Data per training step."""
    networks: int = 3
    """Networks, each on a grammar of its own."""
    t: tuple[float, ...] | None = None
    """Noise levels; by default six up to 0.85 for strings, and up to 0.4 for images."""
    data: int | None = None
    """Test data per network and level; by default 200 strings or 100 images."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        size = partial(whole, low=1, high=10**9)
        kind = Grammar if self.images is None else LabelledImages
        check_fields(
            self, noise=partial(noise_name, channel=True), width=size, steps=size, batch=size,
            architecture=lambda name, value: value if value is None else architecture_for(
                kind, value),
            networks=partial(whole, low=2, high=10**4), n_train=partial(whole, low=2, high=10**8),
            radii=partial(listed, rule=partial(whole, low=0, high=1000), least=1, rising=True),
            t=lambda name, value: value if value is None else listed(
                name, value, one_level, least=1, rising=True),
            data=lambda name, value: value if value is None else whole(name, value, 2, 10**8),
            images=lambda name, value: value if value is None else one_of(
                name, value, tuple(IMAGE_SETS)),
            seed=natural,
        )  # fmt: skip
        if self.images is None:
            RHM(self.v, self.m, self.s, self.L)
            return
        for name in _OF_STRINGS:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise InvalidParameter(
                    f"{name} = {getattr(self, name)} means nothing for images = {self.images}; "
                    "leave it out"
                )
        side = IMAGE_SETS[self.images][1]
        if 2 * self.radii[-1] + 1 > side:
            raise InvalidParameter(
                f"radii = {self.radii[-1]}: a square of {2 * self.radii[-1] + 1} pixels exceeds "
                f"the image of {side}; give at most {(side - 1) // 2}"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        if self.t is not None:
            return self.t
        strings, images = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85), (0.03, 0.06, 0.1, 0.17, 0.25, 0.4)
        return strings if self.images is None else images

    @property
    def tests(self) -> int:
        """Test data per network and level."""
        usual = 200 if self.images is None else 100
        return usual if self.data is None else self.data

    @property
    def sizes(self) -> list[int]:
        """Leaves or pixels of the windows."""
        if self.images is None:
            return [self.s**h for h in range(self.L + 1)]
        _, height, width = IMAGE_SETS[self.images]
        return [*((2 * r + 1) ** 2 for r in self.radii), height * width]

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    def _grammar(self, k: int) -> Grammar:
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", k))

    def _data(self, k: int, t: float) -> Array:
        """Noisy test data."""
        rng = stream(self.seed, "test", k)
        return np.asarray(
            self.process.corrupt(self._grammar(k).sample(self.tests, rng).leaves, t, rng)
        )

    def _shares(self, k: int, outputs: Any) -> Array:
        """r^2 [kind, t, height] of the outputs of a denoiser."""
        grammar, noise = self._grammar(k), self.process
        found = np.empty((len(KINDS), len(self.levels), self.L + 1))
        for i, t in enumerate(self.levels):
            x_t = self._data(k, t)
            d = outputs(x_t, t)
            for h in range(self.L + 1):
                windows = (tree_windows(grammar, h), sliding_windows(grammar.n_leaves, self.s**h))
                for j, window in enumerate(windows):
                    local = windowed_denoise(grammar, noise, x_t, t, window)
                    found[j, i, h] = explained_share(d, local)
        return found

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        """Share of the exact denoiser that windows explain, on the same data.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``explained`` and its error on (kind, t, height); for images on (kind, t, pixels), of
            the Gaussian machines.

        Notes
        -----
        Validity: exact inference on the grammars of the networks.  For images exact for Gaussian
        data of the covariance of the training images, without an error.
        """
        one_of("law", law, ("exact",))
        if self.images is not None:
            return self._of_gaussian()
        found = [
            self._shares(k, partial(denoise_symbols, self._grammar(k), self.process))
            for k in range(self.networks)
        ]
        return self._labelled(np.array(found), "theory")

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> xr.Dataset:
        """Share of trained networks that windows explain.

        Parameters
        ----------
        model, data
            Refused: networks are trained on grammars of their own.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            ``explained`` and its error on (kind, t, height).  For images on (kind, t, pixels), with
            the squared error per pixel of the machines, ``square``, and of the networks,
            ``network_square``.

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: errors over networks.
        """
        no_model(
            self.name, model, data,
            "it trains networks on grammars of its own; for one model use explained_share of "
            "hierdiff.theory.rhm.locality",
        )  # fmt: skip
        plan = TrainConfig(
            steps=self.steps, every=self.steps, warmup=max(1, self.steps // 10), average=0.98,
            device=device,
        )  # fmt: skip
        if self.images is not None:
            return self._of_images(plan, folder)
        found = []
        for k in range(self.networks):
            place = None if folder is None else Path(folder) / f"network-{k}"
            trained, _ = train_symbol_network(
                self._grammar(k), self.process, plan, width=self.width, batch=self.batch,
                network=self.architecture, seed=1000 * self.seed + k, folder=place,
            )  # fmt: skip
            found.append(self._shares(k, trained.denoise))
        return self._labelled(np.array(found), "network")

    def _pixels(self, split: str) -> Array:
        """Images [n, pixels] of a split, those of training cut to their number."""
        found = named_images(str(self.images), split, seed=self.seed).images[:, 0]
        if split == "train":
            found = found[: self.n_train]
        elif len(found) < self.networks * self.tests:
            raise InvalidParameter(
                f"data = {self.tests} for each of {self.networks} networks exceed the "
                f"{len(found)} test images; give at most {len(found) // self.networks}"
            )
        return np.asarray(found.reshape(len(found), -1))

    def _of_gaussian(self) -> xr.Dataset:
        """Eq. (4) for the covariance of the training images."""
        train = self._pixels("train")
        every = np.ones((train.shape[1],) * 2, bool)
        found = np.empty((2, len(self.levels), len(self.sizes)))
        for i, t in enumerate(self.levels):
            sigma = _sigma(t)
            whole_left = windowed_variance(train, sigma, every).sum()
            spread = train.var(axis=0).sum() - whole_left
            for j, (_, windows) in enumerate(self._windows(train, sigma)):
                for k, seen in enumerate(windows):
                    left = windowed_variance(train, sigma, seen).sum()
                    found[k, i, j] = 1 - (left - whole_left) / spread
        return self._labelled(found[None], "theory", kinds=MACHINES[:2])

    def _windows(self, train: Array, sigma: float) -> list[tuple[int | None, list[Array]]]:
        """Radius, None for all, and windows by covariance and of squares."""
        _, height, width = IMAGE_SETS[str(self.images)]
        row, column = np.divmod(np.arange(height * width), width)
        far = np.maximum(np.abs(row[:, None] - row), np.abs(column[:, None] - column))
        found: list[tuple[int | None, list[Array]]] = [
            (r, [covariance_windows(train, (2 * r + 1) ** 2, sigma), far <= r]) for r in self.radii
        ]
        every = np.ones(far.shape, bool)
        return [*found, (None, [every, every])]

    def _machines(self, train: Array, x: Array, t: float) -> list[list[Array]]:
        """Outputs [n, pixels] of every machine at every size, [size][machine]."""
        _, height, width = IMAGE_SETS[str(self.images)]
        sigma = _sigma(t)
        noisy = x / np.float32(np.sqrt(_PROCESS.alpha_bar(t)))
        flat, square = (len(noisy), -1), (len(noisy), height, width)
        patches = train.reshape(len(train), height, width)
        found = []
        for radius, (near, around) in self._windows(train, sigma):
            gaussian = [windowed_gaussian(train, noisy, sigma, w) for w in (near, around)]
            if radius is None:
                posterior = windowed_average(train, noisy, sigma, near)
                moved = equivariant_denoise(patches, noisy.reshape(square), sigma)
                found.append([*gaussian, posterior, posterior, moved.reshape(flat)])
                continue
            local = [f(patches, noisy.reshape(square), sigma, radius=radius).reshape(flat)
                     for f in (local_denoise, equivariant_local_denoise)]  # fmt: skip
            found.append([*gaussian, windowed_average(train, noisy, sigma, near), *local])
        return found

    def _of_images(self, plan: TrainConfig, folder: str | os.PathLike[str] | None) -> xr.Dataset:
        """Networks on images beside the machines of their training set."""
        train, test = self._pixels("train"), self._pixels("test")
        channels, height, width = IMAGE_SETS[str(self.images)]
        shape = (-1, channels, height, width)
        given = LabelledImages(train.reshape(shape), np.zeros(len(train), np.int64))
        found = np.empty((self.networks, len(MACHINES), len(self.levels), len(self.sizes)))
        square, own = np.empty_like(found), np.empty((self.networks, len(self.levels)))
        for k in range(self.networks):
            trained, _ = train_image_network(
                given, plan, batch=self.batch, network=self.architecture,
                seed=1000 * self.seed + k,
                folder=None if folder is None else Path(folder) / f"network-{self.images}-{k}",
            )  # fmt: skip
            clean = test[k * self.tests : (k + 1) * self.tests]
            rng = stream(self.seed, "test images", k)
            for i, t in enumerate(self.levels):
                x = np.asarray(_PROCESS.corrupt(clean, t, rng), np.float32)
                d = np.asarray(trained.denoise(x.reshape(shape), t)).reshape(clean.shape)
                own[k, i] = ((d - clean) ** 2).mean()
                for j, outputs in enumerate(self._machines(train, x, t)):
                    for n, local in enumerate(outputs):
                        found[k, n, i, j] = explained_share(d[..., None], local[..., None])
                        square[k, n, i, j] = ((local - clean) ** 2).mean()
        return self._labelled(found, "network", square, own)

    def _labelled(
        self, found: Array, source: str, square: Array | None = None, own: Array | None = None,
        kinds: tuple[str, ...] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        last = "height" if self.images is None else "pixels"
        plane = ("kind", "t", last)
        texts = {
            "explained": (plane, found, "share of the outputs that is explained, r^2"),
            "square": (plane, square, "squared error of the machine per pixel"),
            "network_square": (("t",), own, "squared error of the network per pixel"),
        }
        variables: dict[str, Any] = {}
        for name, (dims, x, words) in texts.items():
            if x is not None:  # closed forms have no units, and no error
                error = student_error(x) if len(x) > 1 else np.zeros(x.shape[1:])
                variables |= results.with_error(name, dims, x.mean(axis=0), error, words)
        kinds = kinds or (KINDS if self.images is None else MACHINES)
        process = self.noise if self.images is None else "gaussian (linear)"
        axes: dict[str, tuple[Any, str]] = {
            "kind": (list(kinds), "kind of window"),
            "t": (list(self.levels), f"noise level t of the {process} process"),
            "height": (list(range(self.L + 1)), "windows have s**height leaves"),
            "pixels": (self.sizes, "pixels of a window"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The exact denoiser and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "network-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """r^2 against noise by window; networks and the exact denoiser."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        if self.images is not None:
            return draw_images(ds, law)
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7), layout="constrained", sharey=True)
        for ax, kind in zip(axes, KINDS, strict=True):
            for h in ds.height.values:
                colour = shade(h / max(self.L, 1) * 0.9)
                a, b = (x.sel(kind=kind, height=h) for x in (law, ds))
                ax.plot(a.t, a.explained, "-", lw=1, color=colour)
                ax.errorbar(b.t, b.explained, b.explained_error, fmt="o", ms=5, mfc="none",
                            capsize=2, color=colour,
                            label=f"{self.s ** int(h)} {'leaves' if h else 'leaf'}")  # fmt: skip
            ax.set(xlabel=str(ds.t.attrs["long_name"]))
            ax.spines[["top", "right"]].set_visible(False)
        least = min(float(x.explained.min()) for x in (law, ds))
        axes[0].set(ylabel=r"share explained, $r^2$", ylim=(least - 0.05, 1.01))
        words = []
        for kind in KINDS:
            lowest = ds.explained.sel(kind=kind).min("t")
            h = int(np.argmax(lowest.values))
            words.append(f"{kind}: {self.s ** int(ds.height[h])} leaves at least "
                         f"{float(lowest[h]):.2f}, all {float(lowest[-1]):.2f}")  # fmt: skip
        panels(axes, *words)
        shared_legend(figure, axes[0], title="points: networks; lines: the exact denoiser")
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """r^2 of every window at every noise level, of networks and of the exact denoiser."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        if self.images is not None:
            return image_summary(self, ds, law)
        rows = []
        for t in ds.t.values:
            a, b = (x.sel(kind="tree", t=t) for x in (law, ds))
            triples = zip(b.explained, b.explained_error, a.explained, strict=True)
            cells = [f"{plus_minus(p, e)}, {float(q):.3f}" for p, e, q in triples]
            rows.append([f"{t:.2f}", *cells])
        words = [f"{self.s ** int(h)} leaves" for h in ds.height.values]
        table = (
            "windows that follow the tree: r^2 of networks, and of the exact denoiser\n"
            + text_table(["t", *words], rows)
        )
        tree = ds.explained.sel(kind="tree")
        i = int(np.argmin(tree.isel(height=-1).values))
        at = tree.isel(t=i)
        best = int(np.argmax(at.values))
        error = float(ds.explained_error.sel(kind="tree").isel(t=i, height=best))
        least = float(tree.isel(height=-1).min())
        claim = (
            f"exact inference on all leaves explains at least {least:.3f}"
            f" of the networks' outputs (t = {float(ds.t[i]):.2f}); there windows of "
            f"{self.s**best} leaves explain most, {float(at[best]):.3f} ± {error:.3f}, and "
            f"{float(law.explained.sel(kind='tree').isel(t=i, height=best)):.3f} of the exact "
            f"denoiser; {self.networks} networks"
        )
        values = {
            "t": list(self.levels), "size": self.sizes,
            "kind": list(KINDS),
            **{name: [np.round(x.explained.values, 5).tolist(),
                      np.round(x.explained_error.values, 5).tolist()]
               for name, x in (("network", ds), ("theory", law))},
        }  # fmt: skip
        return Summary(table, claim, values)


def image_summary(one: NetworkLocality, ds: xr.Dataset, law: xr.Dataset) -> Summary:
    """r^2 of every machine at every size and noise level, and squared errors."""
    parts = [f"share r^2 of networks on {one.images} that windows explain"]
    for kind in map(str, ds.kind.values):
        rows = []
        for t in ds.t.values:
            at = {"kind": kind, "t": t}
            triples = zip(ds.explained.sel(at).values, ds.explained_error.sel(at).values,
                          ds.pixels.values, strict=True)  # fmt: skip
            cells = []
            for a, b, k in triples:
                stated = ""
                if kind in law.kind:
                    stated = f" ({float(law.explained.sel(at).sel(pixels=k)):.3f})"
                cells.append(plus_minus(a, b) + stated)
            rows.append([f"{t:.2f}", *cells])
        title = f"{kind}; in brackets for Gaussian data" if kind in law.kind else kind
        parts.append(f"{title}\n{text_table(['t', *map(_pixels, ds.pixels.values)], rows)}")
    rows = []
    for t in ds.t.values:
        cells = [plus_minus(ds.network_square.sel(t=t), ds.network_square_error.sel(t=t), 4)]
        for kind in ds.kind.values:
            found = ds.sel(t=t, kind=kind)
            j = int(np.argmin(found.square.values))
            cell = plus_minus(found.square[j], found.square_error[j], 4)
            cells.append(f"{cell} ({int(ds.pixels[j])})")
        rows.append([f"{t:.2f}", *cells])
    parts.append("squared error per pixel, the best window of each machine\n"
                 + text_table(["t", "network", *ds.kind.values], rows))  # fmt: skip
    mean = ds.explained.mean("t").values
    row_of, size = np.unravel_index(int(np.argmax(mean)), mean.shape)

    def least(name: str, j: int) -> str:
        at = ds.sel(kind=name).isel(pixels=j)
        i = int(np.argmin(at.explained.values))
        return f"{plus_minus(at.explained[i], at.explained_error[i])} (t = {float(ds.t[i]):.2f})"

    best = str(ds.kind.values[row_of])
    claim = (
        f"networks on {one.images} are explained best by the machine '{best}' with windows of "
        f"{int(ds.pixels[size])} of {one.sizes[-1]} pixels: at every noise level to at least "
        f"{least(best, int(size))}; the Gaussian denoiser of all pixels explains at least "
        f"{least('Gaussian, squares', -1)} and the posterior mean of the training set "
        f"{least('score, squares', -1)}; {one.networks} networks"
    )
    values: dict[str, Any] = {
        "images": one.images, "t": list(one.levels), "size": one.sizes,
        "kind": list(map(str, ds.kind.values)),
    }  # fmt: skip
    for name, x in (("explained", ds), ("square", ds), ("network_square", ds)):
        values[name] = [np.round(x[f"{name}{end}"].values, 5).tolist() for end in ("", "_error")]
    values["gaussian"] = np.round(law.explained.values, 5).tolist()
    return Summary("\n\n".join(parts), claim, values)


def _pixels(k: Any) -> str:
    return f"{int(k)} pixels" if k > 1 else "1 pixel"


def draw_images(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """r^2 of every machine against noise, by size of the window; the best sizes side by side."""
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.7), layout="constrained")
    shown = ("Gaussian, covariance", "score, covariance", "score, equivariant")
    titles = []
    for ax, kind in zip(axes, shown, strict=False):
        for j, k in enumerate(ds.pixels.values):
            colour = shade(j / max(len(ds.pixels) - 1, 1) * 0.9)
            at = ds.sel(kind=kind, pixels=k)
            if kind in law.kind:
                ax.plot(law.t, law.explained.sel(kind=kind, pixels=k), "-", lw=1, color=colour)
            ax.errorbar(at.t, at.explained, at.explained_error, ms=5, lw=0.7,
                        fmt="o" if kind in law.kind else "o--", mfc="none", capsize=2, color=colour,
                        label=_pixels(k))  # fmt: skip
        ax.set(ylabel=r"share explained, $r^2$")
        mean = ds.explained.sel(kind=kind).mean("t")
        j = int(np.argmax(mean.values))
        titles.append(f"{kind}: {_pixels(ds.pixels[j])}, mean {float(mean[j]):.2f}")
    for n, kind in enumerate(map(str, ds.kind.values)):
        at = ds.sel(kind=kind)
        j = np.argmax(at.explained.values, axis=1)[:, None]
        share, error = (np.take_along_axis(x.values, j, 1)[:, 0]
                        for x in (at.explained, at.explained_error))  # fmt: skip
        sizes = ", ".join(str(int(k)) for k in ds.pixels.values[j[:, 0]])
        axes[3].errorbar(at.t, share, error, fmt="o-", ms=4, lw=0.9, capsize=2, color=PALETTE[n],
                         label=f"{kind}: {sizes}")  # fmt: skip
    best = ds.explained.max(("kind", "pixels"))
    axes[3].set(ylabel=r"share explained, best size")
    titles.append(f"the best one explains {float(best.min()):.2f} or more")
    for ax in axes:
        low = min(float(np.min(line.get_ydata())) for line in ax.lines)
        # far below zero a machine explains nothing, and its curve leaves the panel
        ax.set(xlabel="noise level t, gaussian process", ylim=(max(low, -0.5) - 0.05, 1.03))
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, *titles)
    legend(axes[3], "best size, pixels, by noise level")
    legend(axes[0], "points: networks; lines: a Gaussian's denoiser")
    return figure
