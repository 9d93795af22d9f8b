r"""Networks of one's own as models: a factory, a folder of diffusers, or a name of the catalogue.

==========================  ====================================================================
source                      what is read
==========================  ====================================================================
``package.module:factory``  a function without arguments that returns a ``torch.nn.Module`` with
                            the declarations below as attributes, or a
                            :class:`~hierdiff.validation.adapter.NetworkModel`
a folder                    what ``save_pretrained`` of diffusers wrote: a pipeline, or a network
                            with its ``scheduler_config.json``; nothing in it is executed
a name                      of ``hierdiff models``, a file or a folder of the hub
==========================  ====================================================================

A module is called as ``module(x, time)``, or ``module(x, time, label)``.  Its declarations are
those of :func:`own_model`, ``parameterisation`` and ``schedule`` being necessary:

==================  ============================================================================
schedule            noise and the time that the network is given
==================  ============================================================================
``linear``          DDPM's 1,000 betas; the index, from 0
``cosine``          the cosine law; the index of 1,000
``scaled_linear``   that of Stable Diffusion; the index of 1,000
``flow``            x = (1 - tau) x0 + tau eps; tau in [0, 1]
``edm``             x = x0 + sigma eps; sigma
==================  ============================================================================

What a network says about itself is compared with the data before any work (:func:`fitting`).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from torch import nn

from hierdiff._lazy import import_optional
from hierdiff.checks import array, check_fields, checked, count, instance, shown, text, unchecked
from hierdiff.contracts import DiffusionModel
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess, has_snr
from hierdiff.validation._checks import check_names
from hierdiff.validation.adapter import NetworkModel, Pooling
from hierdiff.validation.diffusion.parameterisation import Output, Parameterisation, Preconditioned
from hierdiff.validation.diffusion.samplers import Ancestral, Sampler
from hierdiff.validation.diffusion.schedules import (
    DiscreteSchedule,
    FlowTime,
    NoiseConditioning,
    Sigma,
)
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import CATALOGUE, HUB_FOLDERS, checkpoint
from hierdiff.validation.pretrained.download import fetch_folder
from hierdiff.validation.pretrained.latent_diffusion import (
    KINDS,
    Encoder,
    autoencoder_maps,
    decoder_of,
    diffusers_network,
    encoder_of,
)
from hierdiff.validation.pretrained.loading import pretrained, read_weights

__all__ = ["OpenModel", "fitting", "is_catalogue_name", "open_model", "own_model"]

Schedule: TypeAlias = Literal["linear", "cosine", "scaled_linear", "flow", "edm"]
_DECLARED = (
    "parameterisation", "schedule", "noise", "shape", "classes", "null_condition", "layers",
    "num_steps",
)  # fmt: skip
_WEIGHTS = "diffusion_pytorch_model"
_NETWORKS = ("unet", "transformer")
# a wrapped network of EDM clips what it is told itself, and keeps the true sigma for its scales
_INFINITE = 1e9


@dataclass(frozen=True, eq=False)
class OpenModel:
    """A model, and the maps between images and its data.

    Attributes
    ----------
    name
        As it was asked for.
    model
        A network of this package's adapter, or any other diffusion model.
    condition
        What it must be conditioned on, in words, "" for nothing.
    encode
        From images to the model's data, the identity for pixels.
    decode
        From its data to images; None where an autoencoder is missing.
    latent
        Whether its data are latents of images.
    data
        The data that the factory declares, if it does.
    factor
        Pixels on a side that become one number of a latent.
    """

    name: str
    model: DiffusionModel
    condition: str = ""
    encode: Encoder | None = None
    decode: Encoder | None = None
    latent: bool = False
    data: Any = None
    factor: int = 8

    def __post_init__(self) -> None:
        check_fields(self, factor=count, model=unchecked, data=unchecked)
        instance("model", self.model, DiffusionModel)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a datum, where the model says it."""
        found: tuple[int, ...] | None = getattr(self.model, "shape", None)
        return found

    @property
    def classes(self) -> int | None:
        """Number of classes that the model can be conditioned on."""
        found: int | None = getattr(self.model, "classes", None)
        return found

    @property
    def network(self) -> NetworkModel:
        """The model as a network of the adapter.

        Raises
        ------
        InvalidParameter
            If it is another kind of model.
        """
        if not isinstance(self.model, NetworkModel):
            raise InvalidParameter(
                f"model {self.name} is a {type(self.model).__name__}, and this study reads the "
                "layers of a network; give a NetworkModel"
            )
        return self.model

    def maps(self) -> tuple[Encoder, Encoder]:
        """Encoder and decoder.

        Raises
        ------
        InvalidParameter
            If its data are latents, and the autoencoder is not there.
        """
        if self.latent and (self.encode is None or self.decode is None):
            raise InvalidParameter(
                f"model {self.name} works on latents and has no decoder; save the whole pipeline, "
                "with its vae folder"
            )
        return self.encode or _same, self.decode or _same


def _same(data: Any) -> Any:
    return data


@checked
def is_catalogue_name(name: str) -> bool:
    """Whether ``hierdiff models`` lists a network of this name.

    Examples
    --------
    >>> is_catalogue_name("adm-256"), is_catalogue_name("my.module:network")
    (True, False)
    """
    return name in {entry.name for entry in CATALOGUE}


def model_place(name: str, value: Any) -> str:
    """A model in words: a name of ``hierdiff models``, a folder, or module:factory.

    An option that nobody set, "", is taken: a study asks for its model when it runs.

    Raises
    ------
    InvalidParameter
        For words that are none of these.

    Examples
    --------
    >>> model_place("model", "my.module:network")
    'my.module:network'
    """
    word = text(name, str(value) if isinstance(value, Path) else value)
    named = not word or is_catalogue_name(word) or word in {place.name for place in HUB_FOLDERS}
    module, colon, function = word.partition(":")
    if named or Path(word).is_dir() or (colon and module and function.isidentifier()):
        return word
    raise InvalidParameter(
        f"{name} = {word!r} is no name of hierdiff models, no folder and no module:factory; "
        "give one of these"
    )


@checked(schedule=unchecked, null_condition=unchecked, num_steps=count, shape=unchecked)
def own_model(
    network: nn.Module,
    parameterisation: Parameterisation | Output,
    schedule: Schedule | NoiseConditioning = "linear",
    *,
    noise: NoiseProcess | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    null_condition: Any = None,
    layers: Mapping[str, Pooling] | None = None,
    num_steps: int = 100,
    sampler: Sampler | None = None,
    execution: Execution | None = None,
) -> NetworkModel:
    """A torch module as a model, with its noise schedule by name.

    Parameters
    ----------
    network : nn.Module
        Called as ``network(x, time)``, or with a label as third argument.
    parameterisation : Parameterisation or {"eps", "v", "x0", "score", "flow", "logits"}
        What it predicts.
    schedule : str or NoiseConditioning
        A name of the module's table; "flow" and "edm" also scale what the network is given.
    noise : NoiseProcess, optional
        Meaning of t, for a network on symbols, or for a schedule that has no name.
    shape : tuple of int, optional
        Of a datum.
    classes : int, optional
        Labels that it can be conditioned on.
    null_condition : optional
        The label that stands for none.
    layers : mapping, optional
        Submodules whose outputs are features, with their pooling.
    num_steps : int
        Steps of the reverse chain.
    sampler : Sampler, optional
        Another chain than the ancestral one.
    execution : Execution, optional
        Device, batches (default 64), precision.

    Returns
    -------
    NetworkModel

    Raises
    ------
    InvalidParameter
        For a name that is unknown, or a schedule that does not fit the noise.

    Notes
    -----
    Validity: that of :class:`~hierdiff.validation.adapter.NetworkModel`.

    Examples
    --------
    >>> class Zero(nn.Module):
    ...     def forward(self, x, time):
    ...         return 0 * x
    >>> model = own_model(Zero(), "v", "cosine", shape=(3,))
    >>> model.denoise(np.ones((1, 3)), 0.5).round(4).tolist()
    [[0.7027000188827515, 0.7027000188827515, 0.7027000188827515]]
    """
    kind = parameterisation
    if isinstance(kind, str):
        kind = Parameterisation(kind)
    instance("parameterisation", kind, Parameterisation)
    process, conditioning = noise, None
    if kind.output == "logits" or kind.scale == "evidence":
        if noise is None or not noise.v:
            raise InvalidParameter(
                "a network that predicts logits needs the noise of its symbols; give noise, such "
                "as MaskingNoise(v=8)"
            )
    else:
        kind, process, conditioning = _scheduled(kind, schedule, noise)
    chain: Any = sampler or (num_steps if process is not None and not has_snr(process)
                             else Ancestral(num_steps))  # fmt: skip
    assert process is not None
    return NetworkModel(
        network, process, kind, layers=dict(layers or {}), noise_conditioning=conditioning,
        sampler=chain, null_condition=null_condition, execution=execution or Execution(),
        shape=shape, classes=classes,
    )  # fmt: skip


def _scheduled(
    kind: Parameterisation, schedule: Any, noise: NoiseProcess | None
) -> tuple[Parameterisation, NoiseProcess, NoiseConditioning]:
    """The scale, the noise and the time of a schedule."""
    if not isinstance(schedule, str):
        if not hasattr(schedule, "time"):
            raise InvalidParameter(
                f"schedule = {shown(schedule)} is neither a name ({', '.join(get_args(Schedule))}) "
                "nor a noise conditioning such as DiscreteSchedule(betas)"
            )
        return kind, noise or GaussianNoise(schedule="linear"), schedule
    if schedule not in get_args(Schedule):
        raise InvalidParameter(
            f"schedule = {schedule!r} is unknown; use one of {', '.join(get_args(Schedule))}"
        )
    if schedule == "flow":
        return replace(kind, scale="flow"), noise or GaussianNoise(), FlowTime()
    if schedule == "edm":
        return replace(kind, scale="ve"), noise or GaussianNoise(schedule="linear"), Sigma()
    makers = {"linear": DiscreteSchedule.linear, "cosine": DiscreteSchedule.cosine,
              "scaled_linear": DiscreteSchedule.scaled_linear}  # fmt: skip
    word: Literal["cosine", "linear"] = "cosine" if schedule == "cosine" else "linear"
    return kind, noise or GaussianNoise(schedule=word), makers[schedule]()


@checked(source=unchecked, batch_size=count)
def open_model(
    source: str | Path | DiffusionModel | nn.Module,
    *,
    accept_licence: bool = False,
    device: str = "cpu",
    batch_size: int = 64,
) -> OpenModel:
    """The model of a name, a folder, a factory, or an object.

    Parameters
    ----------
    source : str, path, nn.Module or DiffusionModel
        As in the module's first table; a module with declarations; a model as it is.
    accept_licence : bool
        That the terms of a published network are accepted.
    device : str
        Where the network runs.
    batch_size : int
        Data per call of the network.

    Returns
    -------
    OpenModel

    Raises
    ------
    InvalidParameter
        If there is nothing of this name, or something is not declared; the line says what.
    DamagedFile
        If a file of the folder cannot be read.
    MissingPackage
        For a folder without diffusers.

    Notes
    -----
    Validity: a folder's schedule is that of its scheduler; diffusers 0.42.

    Examples
    --------
    >>> open_model("no/such/place")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: model = 'no/such/place' is no name of hierdiff models, no \
folder and no module:factory; give one of these
    """
    run = Execution(batch_size=batch_size, device=device)
    if isinstance(source, OpenModel):
        return source
    if not isinstance(source, (str, Path)):
        return _opened(type(source).__name__, source, run)
    word = str(source)
    if is_catalogue_name(word):
        return _published(word, accept_licence, run)
    if word in {folder.name for folder in HUB_FOLDERS}:
        return _of_hub(word, accept_licence, run)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, run)
    module, _, function = model_place("model", word).partition(":")
    return _opened(word, _made_by(word, module, function), run)


@contextlib.contextmanager
def _working_directory() -> Iterator[None]:
    """Python finds modules of the working directory, as it does for scripts that lie there."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _made_by(word: str, module: str, function: str) -> Any:
    """What a factory returns."""
    with _working_directory():
        try:
            factory = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise InvalidParameter(
                f"model = {word!r} cannot be imported ({error}); give module:factory of a module "
                "that Python finds, such as one in this folder"
            ) from None
    if isinstance(factory, nn.Module) or not callable(factory):
        return factory
    try:
        return factory()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise InvalidParameter(
            f"factory {word} cannot be called without arguments ({error}); give one that can"
        ) from None


def _opened(name: str, found: Any, run: Execution) -> OpenModel:
    """A model that was made here, after a look at what it declares."""
    if isinstance(found, OpenModel):
        return found
    data = getattr(found, "data", None)
    if isinstance(found, tuple) and len(found) == 2:  # a model and its data
        found, data = found
    if isinstance(found, nn.Module):
        found = _declared(name, found, run)
    elif isinstance(found, NetworkModel):
        found = replace(found, execution=replace(found.execution, device=run.device))
    elif not isinstance(found, DiffusionModel):
        raise InvalidParameter(
            f"model {name} returned {shown(found)} of type {type(found).__name__}; return a "
            "torch.nn.Module with the attributes parameterisation and schedule, or a NetworkModel"
        )
    kinds = getattr(found, "classes", None)
    null = getattr(found, "null_condition", None)
    words = "" if kinds is None or null is not None else f"class 0 ... {int(kinds) - 1}"
    return OpenModel(name, found, words, data=data)


def _declared(name: str, module: nn.Module, run: Execution) -> NetworkModel:
    """A module with its declarations as attributes."""
    given = {word: getattr(module, word) for word in _DECLARED if hasattr(module, word)}
    symbols = getattr(given.get("noise"), "v", None)
    needed = ["parameterisation"] + ([] if symbols else ["schedule"])
    missing = [word for word in needed if word not in given]
    if missing:
        raise InvalidParameter(
            f"model {name} is a {type(module).__name__} without {' and '.join(missing)}; set "
            "attributes such as network.parameterisation = 'eps', network.schedule = 'linear'"
        )
    kind = given.pop("parameterisation")
    if not isinstance(kind, (str, Parameterisation)):
        raise InvalidParameter(
            f"model {name} declares parameterisation = {shown(kind)}; give a name such as 'eps'"
        )
    # what a module declares has no static type; own_model checks every value
    return own_model(module, kind, **given, execution=run)  # type: ignore[arg-type]


def _published(name: str, accept_licence: bool, run: Execution) -> OpenModel:
    """A network of the catalogue, with its autoencoder where it has one."""
    entry = checkpoint(name)
    model = pretrained(name, accept_licence=accept_licence, execution=run)
    classes = 1000 if entry.condition.startswith("class") else None
    model = replace(model, shape=entry.shape, classes=classes)
    free = model.null_condition is not None
    device = run.device or "cpu"
    encode = encoder_of(entry, device)[1] if entry.latent_scale is not None else None
    decode = decoder_of(entry, device) if entry.latent_scale is not None else None
    return OpenModel(
        name, model, "" if free else entry.condition, encode, decode,
        entry.latent_scale is not None,
    )  # fmt: skip


def _of_hub(name: str, accept_licence: bool, run: Execution) -> OpenModel:
    """A folder of the hub, verified by the hub's digests."""
    entry = next(folder for folder in HUB_FOLDERS if folder.name == name)
    if entry.acceptance and not accept_licence:
        raise InvalidParameter(
            f"{name} is under {entry.licence}; read {entry.licence_url} and pass "
            "accept_licence=True"
        )
    import_optional("diffusers", "diffusers", f"model {name}")
    offline = os.environ.get("HIERDIFF_OFFLINE", "") == "1"
    found = _from_folder(fetch_folder(entry, offline=offline), run, entry.time_scale)
    return replace(found, name=name)


# ----------------------------------------------------------------------------- folders of diffusers


def _from_folder(folder: Path, run: Execution, time_scale: float | None = None) -> OpenModel:
    """A pipeline, or a network with its scheduler; of EDM, with another time than it says."""
    place = folder
    if (folder / "model_index.json").is_file():
        parts = [folder / name for name in _NETWORKS if (folder / name / "config.json").is_file()]
        if not parts:
            raise InvalidParameter(
                f"model = {folder} is a pipeline without a unet or transformer folder; save it "
                "again with save_pretrained"
            )
        place = parts[0]
    elif not (folder / "config.json").is_file():
        raise InvalidParameter(
            f"model = {folder} holds neither model_index.json nor config.json; give a folder that "
            "save_pretrained of diffusers wrote"
        )
    import_optional("diffusers", "diffusers", f"the folder {folder}")
    config = _table(place / "config.json")
    name = str(config.get("_class_name"))
    if name not in KINDS:
        raise InvalidParameter(
            f"model = {folder} is a {name}; folders of {', '.join(KINDS)} can be read, and others "
            "by module:factory"
        )
    kind, outer = KINDS[name], int(config.get("out_channels") or config["in_channels"])
    inner = int(config["in_channels"])
    places = [folder / "scheduler", folder, folder.parent / "scheduler"]
    file = _scheduler_file(folder, places)
    table = _table(file)
    output, conditioning = _scheduler(file, table)
    weights = _weights(place)
    network: nn.Module = diffusers_network(kind, config, weights)
    flow, edm = output == "flow", isinstance(conditioning, Sigma)
    if edm:
        network = _preconditioned(network, file, table, time_scale)
    side = config.get("sample_size")
    sides = tuple(side) if isinstance(side, (list, tuple)) else (side, side)
    labels = config.get("num_embeds_ada_norm" if kind == "dit" else "num_class_embeds")
    classes = None if labels is None else int(labels)
    null = classes if kind == "dit" else None
    learned = outer == 2 * inner
    model = NetworkModel(
        network,
        GaussianNoise(schedule="cosine" if flow or _ends_late(conditioning) else "linear"),
        Parameterisation(output, "flow" if flow else "ve" if edm else "vp", learned),
        noise_conditioning=conditioning,
        sampler=Ancestral(
            conditioning.respaced("250") if _long(conditioning) else 100,
            variance="learned" if learned else "posterior",
            clip=1.0 if inner in (1, 3) else None,
        ),
        null_condition=null,
        execution=run,
        shape=None if None in sides else (inner, *map(int, sides)),
        classes=classes,
    )
    words = {"unet": "text embedding", "sd3": "text embedding"}.get(kind, "")
    if classes is not None and null is None:
        words = f"class 0 ... {classes - 1}"
    # networks of images have one or three channels, and latents four or more
    latent = inner not in (1, 3)
    encode, decode = _autoencoder(folder / "vae", run) if latent else (None, None)
    factor = _factor(folder / "vae") if encode else 8
    return OpenModel(str(folder), model, words, encode, decode, latent, factor=factor)


def _long(conditioning: NoiseConditioning) -> Any:
    """Whether it is a list of more levels than are visited."""
    return isinstance(conditioning, DiscreteSchedule) and len(conditioning) >= 250


def _ends_late(conditioning: NoiseConditioning) -> bool:
    """Whether it goes to less signal than the linear law."""
    end = float(GaussianNoise(schedule="linear").snr(1.0))
    return isinstance(conditioning, DiscreteSchedule) and float(conditioning.snr[-1]) < 0.9 * end


def _scheduler_file(folder: Path, places: list[Path]) -> Path:
    """Where the scheduler's table is."""
    files = [place / "scheduler_config.json" for place in places]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        raise InvalidParameter(
            f"model = {folder} has no schedule; save the whole pipeline, or put its "
            "scheduler_config.json there"
        )
    return file


def _scheduler(file: Path, table: Mapping[str, Any]) -> tuple[Output, Any]:
    """What a network predicts, and its times, from the scheduler's table."""
    T = int(table.get("num_train_timesteps", 1000))
    name = str(table.get("_class_name"))
    if "FlowMatch" in name:
        return "flow", FlowTime(float(T))
    if name.startswith("CMStochastic"):
        raise InvalidParameter(
            f"{file} is that of a consistency model, which returns the end of a path and not the "
            "mean E[x0 | x_t]; give the network that it was distilled from"
        )
    if "EDM" in name:
        return "x0", Sigma(_INFINITE)
    outputs: dict[str, Output] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
    word = str(table.get("prediction_type", "epsilon"))
    if word not in outputs:
        raise InvalidParameter(
            f"{file} has prediction_type {word!r}; known are {', '.join(outputs)}"
        )
    if table.get("rescale_betas_zero_snr"):
        raise InvalidParameter(
            f"{file} has rescale_betas_zero_snr, whose last level has no signal; declare the "
            "schedule by module:factory"
        )
    betas = table.get("trained_betas")
    if betas is not None:
        return outputs[word], DiscreteSchedule(betas)
    law = str(table.get("beta_schedule", "linear"))
    first, last = float(table.get("beta_start", 1e-4)), float(table.get("beta_end", 0.02))
    if law == "linear":
        return outputs[word], DiscreteSchedule(np.linspace(first, last, T))
    if law == "scaled_linear":
        return outputs[word], DiscreteSchedule.scaled_linear(T, first, last)
    if law == "squaredcos_cap_v2":
        return outputs[word], DiscreteSchedule.cosine(T)
    raise InvalidParameter(
        f"{file} has beta_schedule {law!r}; known are linear, scaled_linear, squaredcos_cap_v2"
    )


def _preconditioned(
    network: nn.Module, file: Path, table: Mapping[str, Any], time_scale: float | None
) -> nn.Module:
    """A network of EDM with the coefficients of its scheduler.

    "epsilon" and "sample" are names for the sign of F in diffusers' schedulers, and c_noise is
    250 ln sigma for "cm_edm".
    """
    signs = {"epsilon": False, "sample": False, "edm": False, "v_prediction": True}
    scales = {"edm": 0.25, "cm_edm": 250.0}
    sign, kind = str(table.get("prediction_type", "epsilon")), table.get("precondition_type", "edm")
    if sign not in signs or kind not in scales:
        raise InvalidParameter(
            f"{file} has prediction_type {sign!r} and precondition_type {kind!r}; known are "
            f"{', '.join(signs)}, and {', '.join(scales)}"
        )
    return Preconditioned(
        network, float(table.get("sigma_data", 0.5)), time_scale or scales[str(kind)],
        float(table.get("sigma_min", 0.002)), float(table.get("sigma_max", 80.0)), signs[sign],
    )  # fmt: skip


def _table(path: Path) -> dict[str, Any]:
    """A JSON table."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"{path} cannot be read ({type(error).__name__}); save the model again"
        ) from None
    if not isinstance(found, dict):
        raise DamagedFile(f"{path} is no JSON table; save the model again")
    return found


def _weights(folder: Path) -> dict[str, Any]:
    """Weights of a folder, in one file or several."""
    index = folder / f"{_WEIGHTS}.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_table(index).get("weight_map", {}).values()))
        paths = [folder / Path(str(name)).name for name in names]
    else:
        one = [folder / f"{_WEIGHTS}{end}" for end in (".safetensors", ".bin")]
        paths = [path for path in one if path.is_file()][:1]
    missing = [path.name for path in paths if not path.is_file()]
    if not paths or missing:
        raise InvalidParameter(
            f"model = {folder} has no weights ({(missing or [_WEIGHTS + '.safetensors'])[0]} is "
            "missing); save it again, or download the rest of it"
        )
    found: dict[str, Any] = {}
    for path in paths:
        found |= read_weights(path)
    return found


def _autoencoder(folder: Path, run: Execution) -> tuple[Encoder | None, Encoder | None]:
    """Encoder and decoder of a pipeline, where they are."""
    if not (folder / "config.json").is_file():
        return None, None
    library: Any = import_optional("diffusers", "diffusers", "images as latents")
    config, weights = _table(folder / "config.json"), _weights(folder)
    made: nn.Module = library.AutoencoderKL.from_config(config)
    check_names(weights, made)
    made.load_state_dict(weights)
    device = run.device or "cpu"
    scale, shift = (float(config.get(k) or d) for k, d in (("scaling_factor", 1.0),
                                                            ("shift_factor", 0.0)))  # fmt: skip
    return autoencoder_maps(made.to(device).eval(), scale, shift)


def _factor(folder: Path) -> int:
    """By how much an autoencoder shrinks an image: half at every block but the last."""
    return int(2 ** (len(_table(folder / "config.json").get("block_out_channels", [0] * 4)) - 1))


# -------------------------------------------------------------------------- model and data together


@checked(x0=array)
def fitting(found: OpenModel, x0: Any, label: int | None = None) -> None:
    """Raise InvalidParameter unless a model takes data of this kind; one datum is tried.

    Parameters
    ----------
    found : OpenModel
    x0 : array [n, ...]
        Clean data.
    label : int, optional
        The class of the trial, of a conditional model.

    Raises
    ------
    InvalidParameter
        If the shapes differ, or the model cannot be called, or returns another shape.

    Notes
    -----
    Validity: one call with one datum at t = 0.5.
    """
    model, shape = found.model, found.shape
    x = np.asarray(x0)[:1] if np.ndim(x0) else np.zeros(0)
    if x.ndim < 2 or x.dtype.kind not in "iuf":
        raise InvalidParameter(f"x0 has shape {np.shape(x0)}; give data [n, ...], one at least")
    if shape is not None and x.shape[1:] != shape:
        raise InvalidParameter(
            f"model {found.name} takes data of shape {list(shape)}, and these have "
            f"{list(x.shape[1:])}; give other images, or --images at the size of the model"
        )
    # conditional models have the method, which the protocol does not ask of all
    one = model if label is None else model.given(label)  # type: ignore[attr-defined]
    x_t = one.noise.corrupt(x, 0.5, 0)
    if x.dtype.kind == "f":
        x_t = x_t.astype(np.float32)
    seen = np.shape(one.denoise(x_t, 0.5))
    if x.dtype.kind == "f" and seen != x_t.shape:
        raise InvalidParameter(
            f"model {found.name} returned {seen} for data of shape {x_t.shape}; the shapes must "
            "be equal"
        )


def refuse_condition(found: OpenModel, study: str) -> None:
    """Refuse a model that cannot do without a condition, in a study that gives it none."""
    if found.condition:
        raise InvalidParameter(
            f"model {found.name} must be conditioned on {found.condition}, and {study} gives it "
            "nothing; declare the label that stands for none (null_condition)"
        )
