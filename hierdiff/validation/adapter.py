r"""The one adapter: a torch module becomes a DiffusionModel.

The module is called as ``module(x, time)``, or ``module(x, time, condition)``.  What it returns
becomes the posterior mean

.. math:: \hat x_0 = E[x_0 \mid x_t] \quad\text{at the SNR of } t,

by a parameterisation (:mod:`hierdiff.validation.diffusion.parameterisation`); the time is that of
a noise conditioning (:mod:`hierdiff.validation.diffusion.schedules`).

===================  ===========================================================================
data                 input and output of the module
===================  ===========================================================================
vectors, images      c x_t and a prediction of the same shape [n, ...] (process with an SNR, v=None)
one-hot symbols      the same with shape [n, leaves, v] (process with an SNR and v)
symbols              channels [n, leaves, k] of the corrupted symbols, for masking and uniform noise
                     one-hot with the mask last; logits [n, leaves, v]; time log((1 - t) / t)
scale "evidence"     channels and time of :func:`hierdiff.noise.network_input`, for any process on
                     symbols; logits [n, leaves, v], of all leaves, also of those observed
===================  ===========================================================================

Networks on symbols that are trained here have the scale "evidence" (:func:`symbol_model`).

Features are read by forward hooks on named submodules, pooled over axes that are said:

==========  ====================================================================================
pooling     what becomes of the output of a layer
==========  ====================================================================================
"space"     [n, channels, ...]: mean over all axes after the channels (images)
"tokens"    [n, tokens, width]: mean over the tokens (sequences, trees, transformers)
"keep"      everything after the first axis in one row, nothing averaged
(i, j, ..)  mean over these axes, the rest in one row; axis 0 counts samples and stays
==========  ====================================================================================
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff._lazy import renamed
from hierdiff.checks import (
    FloatArray,
    array,
    check_fields,
    checked,
    count,
    frozen,
    instance,
    integers,
    levels_of,
    reals,
    shown,
    unchecked,
)
from hierdiff.errors import InvalidParameter
from hierdiff.noise import (
    NoiseProcess,
    SignalNoise,
    has_snr,
    input_channels,
    is_channel,
    masks,
    network_input,
)
from hierdiff.seeds import SampleStreams, Seed
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.validation._checks import FiniteOutputs, called, refuse_rows
from hierdiff.validation.diffusion.parameterisation import Output, Parameterisation, Prediction
from hierdiff.validation.diffusion.samplers import Ancestral, Sampler
from hierdiff.validation.diffusion.schedules import NoiseConditioning, default_conditioning
from hierdiff.validation.execution import (
    Execution,
    Rows,
    in_batches,
    inference,
    state_dtype,
)

__all__ = [
    "NetworkModel",
    "Pooling",
    "check_layers",
    "pooled",
    "recorded",
    "symbol_model",
]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(__name__, {"SymbolNetwork": "symbol_model"})

Array: TypeAlias = NDArray[Any]
Pooling: TypeAlias = Literal["space", "tokens", "keep"] | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A torch module as a diffusion model.

    Parameters
    ----------
    module : nn.Module
        Called as in the first lines of this file; used in evaluation mode, and left as it was.
    noise : NoiseProcess
        The meaning of t in [0, 1].
    parameterisation : Parameterisation or str
        What the network predicts; a name stands for ``Parameterisation(name)``.
    layers : mapping of str to pooling
        Submodules whose outputs are features, and how each is pooled
        (the module's table).  Without layers the features are those of the module's
        own method ``sweeps``, where it has one.
    noise_conditioning : NoiseConditioning, optional
        The time that the network is given; default as in
        :func:`hierdiff.validation.diffusion.schedules.default_conditioning`.
    sampler : Sampler or int
        The reverse chain of ``sample``; a number of steps stands for the chain of
        :class:`hierdiff.sims.models.finite_steps.SimulatedModel`, which discrete noise always uses.
    condition : int or array, optional
        Label of all samples, or one per sample, passed as third argument; arrays have one row
        for all, or one per sample.
    null_condition : int or array, optional
        The condition that stands for none, which ``given(None)`` takes.
    execution : Execution
        Device, batches, precision.
    shape : tuple of int, optional
        Of one datum, such as (1, 28, 28), where the network takes no other.
    classes : int, optional
        Number of labels, of a network that is conditioned on one.

    Raises
    ------
    InvalidParameter
        For an unknown layer, noise or name, or a label that the network does not have; later, for
        an input of the wrong shape.

    Notes
    -----
    Validity: as good as the network.  Results do not depend on the batch size except through the
    rounding of torch's kernels (float32: about 1e-6 relative).  Arrays are float32, or float64 if
    the parameters are; probabilities at scale "evidence" are float64.  With masking noise a token
    that was observed is its own posterior mean, except at scale "evidence".

    Examples
    --------
    White data, for which E[x0 | x_t] = a x_t, so v = 0:

    >>> class Zero(nn.Module):
    ...     def forward(self, x: Tensor, time: Tensor) -> Tensor:
    ...         return torch.zeros_like(x)
    >>> from hierdiff import GaussianNoise
    >>> noise = GaussianNoise(schedule="linear")
    >>> model = NetworkModel(Zero(), noise, "v", sampler=Ancestral(10))
    >>> model.denoise(np.ones((1, 2)), 0.25).round(4).tolist()
    [[0.7239000201225281, 0.7239000201225281]]
    >>> model.sample(np.ones((3, 2)), 0.25, seed=0).shape
    (3, 2)
    """

    module: nn.Module
    noise: NoiseProcess
    parameterisation: Parameterisation | Output
    layers: Mapping[str, Pooling] = field(default_factory=dict)
    noise_conditioning: NoiseConditioning | None = None
    sampler: Sampler | int = field(default_factory=Ancestral)
    condition: Any = None
    null_condition: Any = None
    execution: Execution = field(default_factory=Execution)
    shape: tuple[int, ...] | None = None
    classes: int | None = None

    _conditioning: NoiseConditioning = field(init=False, repr=False)
    _device: torch.device = field(init=False, repr=False)
    _dtype: torch.dtype = field(init=False, repr=False)
    _run: Any = field(init=False, repr=False)

    source = "network"

    def __post_init__(self) -> None:
        check_fields(
            self, parameterisation=unchecked, condition=unchecked,
            null_condition=unchecked, sampler=_sampler, shape=_datum_shape, classes=_classes,
        )  # fmt: skip
        kind = self._kind
        instance("parameterisation", kind, Parameterisation)
        instance("execution", self.execution, Execution)
        if not is_channel(self.noise):
            raise InvalidParameter(
                f"noise = {self.noise!r} corrupts nothing that a network could see; use Gaussian, "
                "masking or uniform noise"
            )
        if not has_snr(self.noise) and kind.output != "logits":
            raise InvalidParameter(
                f"{self.noise.name} noise goes with logits; give parameterisation='logits'"
            )
        if kind.scale == "evidence":
            input_channels(self.noise)  # refuses a process on vectors
            if self.noise_conditioning is not None:
                raise InvalidParameter(
                    "scale = 'evidence' has a time of its own; leave noise_conditioning out"
                )
        check_layers(self.module, self.layers)
        if self.condition is not None:
            found = _condition(self.module, self.condition)
            _refuse_labels(found, self.classes, self.null_condition)
            object.__setattr__(self, "condition", found)
        if self.null_condition is not None:
            _condition(self.module, self.null_condition)
        device = self.execution.place(self.module)
        for name, value in (
            ("parameterisation", kind),
            ("_conditioning", self.noise_conditioning or default_conditioning(kind, self.noise)),
            ("_device", device),
            ("_run", torch.compile(self.module) if self.execution.compile else self.module),
            ("_dtype", state_dtype(self.module)),
        ):
            object.__setattr__(self, name, value)

    def given(self, label: Any) -> NetworkModel:
        """The network conditioned on a class, or one per sample; None is the null embedding."""
        return replace(self, condition=self.null_condition if label is None else label)

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: [n, leaves, v] for symbols, of the shape of x_t for vectors."""
        x, levels, snr = self._checked(x_t, t)
        shape = x.shape if has_snr(self.noise) else (*x.shape[:2], cast(int, self.noise.v))
        out = np.empty(shape, np.float64 if self._evidence else self._numpy)

        def work(rows: Rows) -> None:
            seen = FiniteOutputs()
            labels = self._labels(rows, len(x))
            state, output = self._called(self._run, x[rows], levels[rows], snr[rows], labels)
            if self._evidence:
                # a network of symbols is compared with exact probabilities, so in their precision;
                # on the processor, since some accelerators have no float64
                output = self._logits(output, state)
                prediction = Prediction(output.cpu().double().softmax(dim=-1), None)
            else:
                prediction = self._read(output, state, snr[rows])
                if masks(self.noise):
                    symbols = torch.from_numpy(x[rows].astype(np.int64)).to(self._device)
                    prediction = Prediction(keep_observed(prediction.clean, symbols), None)
            seen.see(rows, levels[rows], *prediction)
            seen.end()
            out[rows] = prediction.clean.cpu().numpy()

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return out

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A draw of x0 given x_t by the reverse chain: symbols [n, leaves], or vectors."""
        noise, sampler = self.noise, self.sampler
        if isinstance(sampler, int) or not has_snr(noise):
            return SimulatedModel(self, self._steps()).sample(x_t, t, seed)
        x, levels, _ = self._checked(x_t, t)
        streams = SampleStreams.of(seed)
        out = np.empty(x.shape[:2] if noise.v else x.shape, np.int32 if noise.v else self._numpy)

        def work(rows: Rows) -> None:
            random, labels = streams.take(rows), self._labels(rows, len(x))
            seen = FiniteOutputs()

            def draw(positions: Rows) -> Tensor:
                # on the processor, so that all devices see the same numbers; an accelerator runs
                # the network in the background meanwhile
                new = [random[k].standard_normal(x.shape[1:], dtype=self._numpy) for k in positions]
                return torch.from_numpy(np.stack(new)).to(self._device)

            def predict(state: Tensor, snr: FloatArray, positions: Rows) -> Prediction:
                some = None if labels is None else labels[positions]
                found = self._predict(state, snr, some)
                # before anything is clipped, which would hide an infinite value
                seen.see(rows[positions], np.asarray(noise.level(snr)), *found)
                return found

            start = self._state(x[rows], levels[rows])
            end = sampler.run(predict, start, levels[rows], noise, draw).cpu().numpy()
            seen.end()
            refuse_rows("the sampler", end, rows, levels[rows])
            out[rows] = draw_symbols(end, random) if noise.v else end

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return out

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The pooled outputs of ``layers``, or all of the module's own, {name: [n, width]}."""
        own = not self.layers and hasattr(self.module, "sweeps")
        if not self.layers and not own:
            raise InvalidParameter(
                "no layers were named; give layers={'name of a submodule': 'space'}"
            )
        x, levels, snr = self._checked(x_t, t)
        if not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; features need one datum at least")
        parts: list[dict[str, Array]] = []

        def work(rows: Rows) -> None:
            labels = self._labels(rows, len(x))
            if own:
                given = self._inputs(x[rows], levels[rows], snr[rows], labels)[1]
                outputs, _ = called("the network", cast(Any, self.module).sweeps, *given)
                found = {name: value.flatten(1).float() for name, value in outputs.items()}
            else:
                with recorded(self.module, self.layers) as found:
                    self._called(self.module, x[rows], levels[rows], snr[rows], labels)
            values = {name: found[name].cpu().numpy() for name in (found if own else self.layers)}
            for name, value in values.items():
                refuse_rows(f"layer {name!r}", value, rows, levels[rows])
            parts.append(values)

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @property
    def _kind(self) -> Parameterisation:
        kind = self.parameterisation
        return Parameterisation(kind) if isinstance(kind, str) else kind

    @property
    def _numpy(self) -> type[np.float32] | type[np.float64]:
        return np.float64 if self._dtype == torch.float64 else np.float32

    @property
    def _evidence(self) -> bool:
        return self._kind.scale == "evidence"

    def _checked(self, x_t: Array, t: ArrayLike) -> tuple[Array, FloatArray, FloatArray]:
        """Data, levels [n] and SNRs [n]; the values are checked batch by batch."""
        x, noise = array("x_t", x_t), self.noise
        if not has_snr(noise):
            wanted, good = "what noise.corrupt returns, [n, leaves, ...]", x.ndim >= 2
        elif noise.v:
            wanted = f"[n, leaves, {noise.v}] real numbers"
            good = x.ndim == 3 and x.shape[2] == noise.v
        else:
            wanted, good = "[n, ...] real numbers", x.ndim >= 2
        if not good or x.dtype.kind not in "iuf":
            raise InvalidParameter(f"x_t has shape {x.shape} and type {x.dtype}; give {wanted}")
        if self.shape is not None and x.shape[1:] != self.shape:
            raise InvalidParameter(
                f"x_t has shape {x.shape} and the network takes data of shape {self.shape}; give "
                "data of this shape, or a network made for those"
            )
        levels = levels_of(t, len(x)) * np.ones(len(x))
        ratio = noise.snr(levels) if has_snr(noise) else token_ratio(levels)
        return x, levels, ratio

    def _state(self, x: Array, levels: FloatArray) -> Tensor:
        """One batch on the device: the state itself, or the channels of corrupted symbols."""
        if not has_snr(self.noise):
            x, _ = network_input(self.noise, x, levels)
        elif not np.isfinite(x).all():
            raise InvalidParameter("x_t holds NaN or inf; give finite numbers")
        return torch.from_numpy(np.ascontiguousarray(x, self._numpy)).to(self._device)

    def _time(self, snr: FloatArray, x: Tensor) -> Tensor:
        return torch.as_tensor(self._conditioning.time(snr), dtype=x.dtype).to(x.device)

    def _inputs(
        self, x: Array, levels: FloatArray, snr: FloatArray, labels: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One batch as a state, and the arguments of the network."""
        if self._evidence:
            channels, time = (
                torch.from_numpy(np.ascontiguousarray(part, self._numpy)).to(self._device)
                for part in network_input(self.noise, x, levels)
            )
            state = channels
        else:
            state = self._state(x, levels)
            channels = self._kind.network_input(state, snr)
            time = self._time(snr, state)
        return state, (channels, time) if labels is None else (channels, time, labels)

    def _called(
        self, run: Any, x: Array, levels: FloatArray, snr: FloatArray, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One batch as a state, and the output of the network."""
        state, (channels, time, *_) = self._inputs(x, levels, snr, labels)
        return state, self._call(run, channels, time, labels)

    def _labels(self, rows: Rows, n: int) -> Tensor | None:
        """The condition of some of n samples."""
        if self.condition is None:
            return None
        labels = self.condition
        if labels.ndim and len(labels) not in (1, n):
            raise InvalidParameter(
                f"condition has {len(labels)} rows for {n} samples; give one for all, or one each"
            )
        every = labels if labels.ndim else labels[None]
        some = every[rows] if len(every) == n else every.repeat(len(rows), axis=0)
        real = some.dtype.kind == "f"
        return torch.as_tensor(some, dtype=self._dtype if real else torch.int64).to(self._device)

    def _predict(self, state: Tensor, snr: FloatArray, labels: Tensor | None) -> Prediction:
        """The prediction at a state of a chain."""
        if self._evidence:
            level = np.asarray(cast(SignalNoise, self.noise).level(snr))
            _, output = self._called(self._run, state.cpu().numpy(), level, snr, labels)
        else:
            given = self._kind.network_input(state, snr)
            output = self._call(self._run, given, self._time(snr, state), labels)
        return self._read(output, state, snr)

    def _read(self, output: Tensor, x: Tensor, snr: FloatArray) -> Prediction:
        if self._kind.output == "logits" and self.noise.v is not None:
            output = self._logits(output, x)
        if has_snr(self.noise):
            return self._kind.read(output, x, snr)
        return Prediction(output.softmax(dim=-1), None)

    def _logits(self, output: Tensor, x: Tensor) -> Tensor:
        """The output, if it has a number for every symbol of every leaf of the input ``x``."""
        v, got = cast(int, self.noise.v), list(output.shape)
        wanted = [*x.shape[:2], v]
        if got == wanted:
            return output
        mask = "; the mask is no symbol" if masks(self.noise) and got[-1:] == [v + 1] else ""
        raise InvalidParameter(
            f"the network gives arrays {got}, the noise has {v} symbols and the data have "
            f"{wanted[1]} leaves; return logits [n, leaves, {v}], here {wanted}{mask}"
        )

    def _call(self, run: Any, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        """The output of the network, in the precision of its input."""
        seen = self.execution.arranged(x)
        with self.execution.precision(x.device):
            inputs = (seen, time) if labels is None else (seen, time, labels)
            output = called("the network", run, *inputs)
        if not isinstance(output, Tensor):
            raise InvalidParameter(
                f"the network returned a {type(output).__name__}, no tensor; wrap it in a module "
                "that returns the prediction alone"
            )
        return output.to(x.dtype)

    def _steps(self) -> int:
        sampler = self.sampler
        levels = sampler if isinstance(sampler, int) else getattr(sampler, "levels", None)
        if isinstance(levels, int):
            return levels
        raise InvalidParameter(
            f"{self.noise.name} noise has no schedule of SNRs; give a number of steps, such as "
            "sampler=100"
        )


def _condition(module: nn.Module, condition: Any) -> Array:
    """Labels or codes as an array nobody can write to; a label must be one the network has."""
    found = array("condition", condition)
    if found.dtype.kind == "f":
        return frozen(reals("condition", found))
    tables = {m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)}
    # one size of table is the number of classes; tables of several sizes code other things too
    last = tables.pop() - 1 if len(tables) == 1 else None
    return frozen(integers("condition", found, high=last))


def _refuse_labels(labels: Array, classes: int | None, null: Any) -> None:
    """Refuse a label that is neither a class nor the one that stands for none."""
    if classes is None or labels.dtype.kind == "f":
        return
    bad = (labels < 0) | (labels >= classes)
    if null is not None and np.ndim(null) == 0:
        bad &= labels != null
    if bad.any():
        raise InvalidParameter(
            f"condition = {labels[bad].flat[0]} is none of the {classes} classes of the network; "
            f"give 0 to {classes - 1}"
        )


def _datum_shape(name: str, value: Any) -> tuple[int, ...] | None:
    """Extents of one datum, if they are said."""
    if value is None:
        return None
    return tuple(int(k) for k in integers(name, value, 1, ndim=1))


def _classes(name: str, value: Any) -> int | None:
    return None if value is None else count(name, value)


@checked(num_steps=count, batch_size=count)
def symbol_model(
    network: nn.Module,
    noise: NoiseProcess,
    num_steps: int = 100,
    batch_size: int = 1024,
    condition: Any = None,
) -> NetworkModel:
    """A network on symbols, trained here or elsewhere, as a DiffusionModel.

    The network is called as ``network(x, log_snr)``, or ``network(x, log_snr, condition)``, with

    ==================================  =========================================================
    ``x`` [n, leaves, channels]         :func:`hierdiff.noise.network_input`, real numbers, with
                                        channels of :func:`hierdiff.noise.input_channels`
    ... of masking noise, v + 1         one-hot symbols, the mask last
    ... of uniform noise, v             one-hot symbols
    ... of Gaussian noise, 2 v          the noisy datum, then the softmax of its evidence
    ``log_snr`` [n]                     log SNR; log((1 - t) / t) for masking and uniform noise
    ``condition`` [n]                   labels, only where ``condition`` is given
    ==================================  =========================================================

    and returns logits [n, leaves, v] of the symbols before the noise.  A network that takes symbols
    as integers or the noise level t itself is wrapped in a module with this call:
    ``x.argmax(-1)`` and ``torch.sigmoid(-log_snr)``.

    Parameters
    ----------
    network : nn.Module
        Such as :class:`~hierdiff.validation.networks.tree_unet.TreeUNet`, or of one's own.
    noise : NoiseProcess
        The process of its training.
    num_steps : int
        Steps of the reverse chain of ``sample``; ``denoise`` takes none.
    batch_size : int
        Data per call of the network; results do not depend on it beyond rounding.
    condition : int or int array [n], optional
        Label of all data, or one each, for a network with classes.

    Returns
    -------
    NetworkModel
        At scale "evidence".

    Raises
    ------
    InvalidParameter
        For a label that the network does not have, or a process without symbols; later, for a
        network that returns something else than logits [n, leaves, v].

    Notes
    -----
    Validity: ``sample`` is an ancestral chain, which tends to the posterior of the network's own
    beliefs as 1 / num_steps.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.validation.networks.tree_unet import tree_unet
    >>> grammar, noise = RHM(4, 2, 2, 3).draw(0), MaskingNoise(4)
    >>> model = symbol_model(tree_unet(grammar, noise, width=8), noise)
    >>> model.denoise(np.full((2, 8), -1), 1.0).shape
    (2, 8, 4)
    """
    return NetworkModel(
        network, noise, Parameterisation("logits", "evidence"), sampler=num_steps,
        condition=condition, execution=Execution(batch_size=batch_size),
    )  # fmt: skip


def _sampler(name: str, value: Any) -> Any:
    """A reverse chain, or a number of steps."""
    if hasattr(value, "run"):
        return value
    return count(name, value)


def keep_observed(beliefs: Tensor, symbols: Tensor) -> Tensor:
    """Beliefs [n, leaves, v] with certainty where a symbol was observed."""
    sure = torch.nn.functional.one_hot(symbols.long().clamp(min=0), beliefs.shape[-1])
    return torch.where((symbols < 0)[..., None], beliefs, sure.to(beliefs.dtype))


def token_ratio(t: ArrayLike) -> FloatArray:
    """Kept over lost tokens, (1 - t) / t: what stands for the SNR where symbols are corrupted."""
    levels = levels_of(t)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / levels - 1)


def draw_symbols(
    means: NDArray[Any], random: Sequence[np.random.Generator]
) -> NDArray[np.int32]:  # fmt: skip
    """One symbol per leaf from posterior means [n, leaves, v], each row from its own stream."""
    # networks that do not predict probabilities can leave the simplex; this goes back to it
    sums = np.cumsum(np.clip(means.astype(float), 1e-12, None), axis=-1)
    uniform = np.stack([r.random(means.shape[1]) for r in random])[..., None] * sums[..., -1:]
    return np.asarray((sums <= uniform).sum(axis=-1).clip(max=means.shape[-1] - 1), np.int32)


@checked
def check_layers(module: nn.Module, layers: Mapping[str, Pooling]) -> None:
    """Raise InvalidParameter where a layer does not exist or its pooling is unknown."""
    names = [name for name, _ in module.named_modules() if name]  # the network itself has none
    for layer, pooling in layers.items():
        if layer not in names:
            near = difflib.get_close_matches(layer, names, n=3, cutoff=0.0)
            raise InvalidParameter(
                f"layer {layer!r} is not in the network; give a name of named_modules(), such as "
                + (", ".join(map(repr, near)) or "none, since it has no parts")
            )
        _known(layer, pooling)


def _known(layer: str, pooling: Any) -> None:
    axes = isinstance(pooling, tuple) and bool(pooling) and all(
        isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1 for axis in pooling
    )  # fmt: skip
    word = isinstance(pooling, str) and pooling in ("space", "tokens", "keep")
    if not word and not (axes and len(set(pooling)) == len(pooling)):
        raise InvalidParameter(
            f"pooling {shown(pooling)} of layer {layer!r} is unknown; use 'space', 'tokens', "
            "'keep' or a tuple of different axes >= 1"
        )


@checked
def pooled(layer: str, output: Any, pooling: Pooling) -> Tensor:
    """One row per sample, averaged in float32 (float64 if the output is).

    Parameters
    ----------
    layer : str
        Name, for messages.
    output : tensor [n, ...]
        What the layer returned.
    pooling : {"space", "tokens", "keep"} or tuple of int
        See the module's table.

    Returns
    -------
    tensor [n, width]

    Raises
    ------
    InvalidParameter
        If the layer returned no tensor, or one that has not the axes.

    Notes
    -----
    Validity: any tensor; the order of the axes that stay is kept.

    Examples
    --------
    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> pooled("x", maps, "space").tolist(), pooled("x", maps, (1, 3)).tolist()
    ([[1.5, 5.5]], [[2.5, 4.5]])
    """
    _known(layer, pooling)
    if not isinstance(output, Tensor):
        raise InvalidParameter(
            f"layer {layer!r} returns a {type(output).__name__}, no tensor; name a submodule of it "
            "that returns one"
        )
    wanted = {"space": 3, "tokens": 3}.get(str(pooling), 2)
    axes = pooling if isinstance(pooling, tuple) else ()
    if pooling == "space":
        axes = tuple(range(2, output.ndim))
    elif pooling == "tokens":
        axes = (1,)
    short = output.ndim < max(wanted, *(axis + 1 for axis in axes), 0)
    if short or (pooling == "tokens" and output.ndim != 3):
        raise InvalidParameter(
            f"layer {layer!r} returns {tuple(output.shape)}, which pooling {pooling!r} does not "
            "fit; give 'space' for [n, channels, ...], 'tokens' for [n, tokens, width], 'keep', or "
            "the axes to average"
        )
    exact = output if output.dtype == torch.float64 else output.float()
    return (exact.mean(dim=axes) if axes else exact).flatten(1)


@contextlib.contextmanager
@checked
def recorded(
    module: nn.Module, layers: Mapping[str, Pooling]
) -> Iterator[dict[str, Tensor]]:  # fmt: skip
    """Collect the pooled outputs of one forward pass; the hooks are gone afterwards.

    Raises InvalidParameter where a layer was not called, or more than once.
    """
    check_layers(module, layers)
    found: dict[str, Tensor] = {}

    def hook(layer: str, pooling: Pooling) -> Any:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if layer in found:
                raise InvalidParameter(
                    f"layer {layer!r} is called more than once per pass, so its output is not one "
                    "thing; name a layer that is called once"
                )
            found[layer] = pooled(layer, output, pooling)

        return keep

    parts = dict(module.named_modules())
    handles = [
        parts[layer].register_forward_hook(hook(layer, pooling))
        for layer, pooling in layers.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer not in found:
            inner = [f"{layer}.{name}" for name, _ in parts[layer].named_children()]
            raise InvalidParameter(
                f"layer {layer!r} was not called; it may be a container, so name one of "
                + (", ".join(map(repr, inner[:3])) or "the layers that run")
            )
