r"""A torch network behind the role that every model plays.

The network is called as ``module(c x_t, time)``, or ``module(c x_t, time, condition)``; its answer
becomes the posterior mean

.. math:: \hat x_0 = E[x_0 \mid x_t] \quad\text{at the SNR of } t,

by a parameterisation (:mod:`hierdiff.validation.diffusion.parameterisation`), told the time by a
noise_conditioning (:mod:`hierdiff.validation.diffusion.noise_conditioning`).

===========================  ===================================================================
noise                        what the network is given, and what is returned
===========================  ===================================================================
GaussianNoise(v=None)        x_t and E[x0], both [n, ...]: vectors, images
GaussianNoise(v)             x_t and E[x0] of one-hot symbols, both [n, leaves, v]
MaskingNoise, UniformNoise   one-hot [n, leaves, v + 1] (the mask last) or [n, leaves, v], told
                             log((1 - t) / t); logits [n, leaves, v]
others without an SNR        what :func:`hierdiff.noise.network_input` returns; the rest the same
===========================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff import noise as noise_processes
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
    unchecked,
)
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr, input_channels, is_channel, masks
from hierdiff.seeds import SampleStreams, Seed
from hierdiff.sims.simulated_model import SimulatedModel
from hierdiff.validation._checks import FiniteOutputs, called, refuse_rows
from hierdiff.validation.diffusion.noise_conditioning import NoiseConditioning, default_conditioning
from hierdiff.validation.diffusion.parameterisation import Output, Parameterisation, Prediction
from hierdiff.validation.diffusion.samplers import Ancestral, Sampler
from hierdiff.validation.execution import (
    Execution,
    Rows,
    in_batches,
    inference,
    state_dtype,
)
from hierdiff.validation.layers import Pooling, check_layers, recorded
from hierdiff.validation.networks.transformer import SequenceTransformer
from hierdiff.validation.networks.tree_unet import TreeUNet

__all__ = [
    "NetworkModel",
    "SymbolNetwork",
    "network_input",
]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A torch module as a diffusion model.

    Parameters
    ----------
    module : nn.Module
        Called as in the module's first lines; used in evaluation mode, and left as it was.
    noise : NoiseProcess
        The meaning of t in [0, 1].
    parameterisation : Parameterisation or str
        What the network predicts; a name stands for ``Parameterisation(name)``.
    layers : mapping of str to pooling
        Submodules whose outputs are features, and how each is pooled
        (:mod:`hierdiff.validation.layers`).
    noise_conditioning : NoiseConditioning, optional
        What the network is told; default as in
        :func:`hierdiff.validation.diffusion.noise_conditioning.default_conditioning`.
    sampler : Sampler
        The reverse chain of ``sample``; discrete noise takes its number of steps from it.
    condition : int or array, optional
        Label of all samples, or one per sample, passed as third argument; arrays have one row
        for all, or one per sample.
    execution : Execution
        Device, batches, precision.

    Raises
    ------
    InvalidParameter
        For an unknown layer, noise or name; later, for an input of the wrong shape.

    Notes
    -----
    Validity: as good as the network.  Results do not depend on the batch size except through the
    rounding of torch's kernels (float32: about 1e-6 relative).  Arrays are float32, or float64 if
    the parameters are.  With masking noise a token that was seen is its own posterior mean.

    Examples
    --------
    White data, for which E[x0 | x_t] = a x_t, so v = 0:

    >>> class Zero(nn.Module):
    ...     def forward(self, x: Tensor, time: Tensor) -> Tensor:
    ...         return torch.zeros_like(x)
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
    sampler: Sampler = field(default_factory=Ancestral)
    condition: Any = None
    execution: Execution = field(default_factory=Execution)

    _conditioning: NoiseConditioning = field(init=False, repr=False)
    _device: torch.device = field(init=False, repr=False)
    _dtype: torch.dtype = field(init=False, repr=False)
    _run: Any = field(init=False, repr=False)

    source = "network"

    def __post_init__(self) -> None:
        check_fields(self, noise=unchecked, parameterisation=unchecked, condition=unchecked)
        kind = self._kind
        instance("parameterisation", kind, Parameterisation)
        if not is_channel(self.noise):
            raise InvalidParameter(
                f"noise = {self.noise!r} corrupts nothing that a network could see; use Gaussian, "
                "masking or uniform noise"
            )
        if not has_snr(self.noise) and kind.output != "logits":
            raise InvalidParameter(
                f"{self.noise.name} noise goes with logits; give parameterisation='logits'"
            )
        check_layers(self.module, self.layers)
        if self.condition is not None:
            object.__setattr__(self, "condition", _condition(self.module, self.condition))
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
        return replace(self, condition=label)

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: [n, leaves, v] for symbols, of the shape of x_t for vectors."""
        x, levels, snr = self._checked(x_t, t)
        shape = x.shape if has_snr(self.noise) else (*x.shape[:2], self.noise.v)
        out = np.empty(shape, self._numpy)

        def work(rows: Rows) -> None:
            seen = FiniteOutputs()
            given = self._given(x[rows], levels[rows])
            prediction = self._predict(given, snr[rows], self._labels(rows, len(x)))
            if masks(self.noise):
                symbols = torch.from_numpy(x[rows].astype(np.int64)).to(self._device)
                prediction = Prediction(keep_seen(prediction.clean, symbols), None)
            seen.see(rows, levels[rows], *prediction)
            seen.end()
            out[rows] = prediction.clean.cpu().numpy()

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return out

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A draw of x0 given x_t by the reverse chain: symbols [n, leaves], or vectors."""
        noise = self.noise
        if not has_snr(noise):
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
                told = None if labels is None else labels[positions]
                found = self._predict(state, snr, told)
                # before anything is clipped, which would hide an infinite value
                seen.see(rows[positions], np.asarray(noise.level(snr)), *found)
                return found

            start = self._given(x[rows], levels[rows])
            end = self.sampler.run(predict, start, levels[rows], noise, draw).cpu().numpy()
            seen.end()
            refuse_rows("the sampler", end, rows, levels[rows])
            out[rows] = draw_symbols(end, random) if noise.v else end

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return out

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The pooled outputs of ``layers``, {name: [n, width]}."""
        if not self.layers:
            raise InvalidParameter(
                "no layers were named; give layers={'name of a submodule': 'space'}"
            )
        x, levels, snr = self._checked(x_t, t)
        if not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; features need one datum at least")
        parts: list[dict[str, Array]] = []

        def work(rows: Rows) -> None:
            with recorded(self.module, self.layers) as found:
                labels = self._labels(rows, len(x))
                self._call(self.module, self._given(x[rows], levels[rows]), snr[rows], labels)
            values = {name: found[name].cpu().numpy() for name in self.layers}
            for name, value in values.items():
                refuse_rows(f"layer {name!r}", value, rows, levels[rows])
            parts.append(values)

        with inference(self.module):
            in_batches(work, len(x), self.execution.batch_size)
        return {name: np.concatenate([part[name] for part in parts]) for name in self.layers}

    @property
    def _kind(self) -> Parameterisation:
        kind = self.parameterisation
        return Parameterisation(kind) if isinstance(kind, str) else kind

    @property
    def _numpy(self) -> type[np.float32] | type[np.float64]:
        return np.float64 if self._dtype == torch.float64 else np.float32

    def _checked(self, x_t: Array, t: ArrayLike) -> tuple[Array, FloatArray, FloatArray]:
        """Data, levels [n] and SNRs [n]; the values are looked at batch by batch."""
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
        levels = levels_of(t, len(x)) * np.ones(len(x))
        ratio = noise.snr(levels) if has_snr(noise) else token_ratio(levels)
        return x, levels, ratio

    def _given(self, x: Array, levels: FloatArray) -> Tensor:
        """One batch on the device: the state itself, or the channels of corrupted symbols."""
        if not has_snr(self.noise):
            x, _ = noise_processes.network_input(self.noise, x, levels)
        elif not np.isfinite(x).all():
            raise InvalidParameter("x_t holds NaN or inf; give finite numbers")
        return torch.from_numpy(np.ascontiguousarray(x, self._numpy)).to(self._device)

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

    def _predict(self, x: Tensor, snr: FloatArray, labels: Tensor | None) -> Prediction:
        output = self._call(self._run, x, snr, labels)
        if has_snr(self.noise):
            return self._kind.read(output, x, snr)
        return Prediction(output.softmax(dim=-1), None)

    def _call(self, run: Any, x: Tensor, snr: FloatArray, labels: Tensor | None) -> Tensor:
        """The network's answer, in the precision of the state."""
        time = torch.as_tensor(self._conditioning.time(snr), dtype=x.dtype).to(x.device)
        seen = self.execution.arranged(self._kind.network_input(x, snr))
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
        levels = getattr(self.sampler, "levels", None)
        if isinstance(levels, int):
            return levels
        raise InvalidParameter(
            f"{self.noise.name} noise has no schedule of SNRs; give a number of steps, "
            "sampler=Ancestral(100)"
        )


def _condition(module: nn.Module, condition: Any) -> Array:
    """Labels or codes as an array nobody can write to; a label must be one the network has."""
    told = array("condition", condition)
    if told.dtype.kind == "f":
        return frozen(reals("condition", told))
    tables = {m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)}
    # one size of table is the number of classes; tables of several sizes code other things too
    last = tables.pop() - 1 if len(tables) == 1 else None
    return frozen(integers("condition", told, high=last))


@dataclass(frozen=True)
class SymbolNetwork:
    """A trained network as a DiffusionModel on symbols.

    Parameters
    ----------
    network : TreeUNet or SequenceTransformer
    noise : GaussianNoise, MaskingNoise or UniformNoise
        The process it was trained on.
    steps : int
        Steps of the reverse chain that ``sample`` runs.
    batch : int
        Data per call of the network; results do not depend on it beyond rounding.
    condition : int or int array [n], optional
        Label of all data, or one each, for a network with classes.

    Raises
    ------
    InvalidParameter
        Later, for a label the network does not have, or a number of labels that is not that of the
        data.

    Notes
    -----
    Validity: ``sample`` is an ancestral chain, which tends to the posterior of the network's own
    beliefs as 1 / steps.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> from hierdiff.validation.networks.tree_unet import tree_unet
    >>> grammar, noise = RHM(4, 2, 2, 3).draw(0), MaskingNoise(4)
    >>> model = SymbolNetwork(tree_unet(grammar, noise, width=8), noise)
    >>> model.denoise(np.full((2, 8), -1), 1.0).shape
    (2, 8, 4)
    """

    network: TreeUNet | SequenceTransformer
    noise: NoiseProcess
    steps: int = 100
    batch: int = 1024
    condition: Any = None

    source = "network"

    @checked
    def __post_init__(self) -> None:
        check_fields(self, steps=count, batch=count)
        input_channels(self.noise)
        if self.condition is not None:
            integers("condition", self.condition, ndim=(0, 1))

    def given(self, label: Any) -> SymbolNetwork:
        """The network conditioned on a class, or one per datum; None is the null embedding."""
        return replace(self, condition=label)

    @checked
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] as [n, leaves, v]."""
        return np.concatenate([q for _, q in self._calls(x_t, t)])

    @checked
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves] at the end of the reverse chain."""
        x = array("x_t", x_t)
        if x.ndim < 2 or not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; give one row per datum")
        return SimulatedModel(self, self.steps).sample(x, t, seed)

    @checked
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Activations of every level of both sweeps, {name: [n, nodes * width]}."""
        parts = [f for f, _ in self._calls(x_t, t)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def _calls(self, x_t: Array, t: ArrayLike) -> list[tuple[dict[str, Array], Array]]:
        x = array("x_t", x_t)
        if x.ndim < 2 or not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; give one row per datum")
        levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))
        device = next(self.network.parameters()).device
        labels = self._labels(len(x))
        out = []
        for first in range(0, len(x), self.batch):
            rows = slice(first, first + self.batch)
            given = network_input(self.noise, x[rows], levels[rows])
            some = None if labels is None else labels[rows].to(device)
            with torch.no_grad():
                x_in, log_snr = (a.to(device) for a in given)
                features, logits = self.network.sweeps(x_in, log_snr, some)
            flat = {k: f.flatten(1).float().cpu().numpy() for k, f in features.items()}
            beliefs = logits.double().softmax(dim=2).cpu().numpy()
            numbers = np.arange(first, first + len(beliefs))
            refuse_rows("the network", beliefs, numbers, levels[rows])
            for name, value in flat.items():
                refuse_rows(f"layer {name!r}", value, numbers, levels[rows])
            out.append((flat, beliefs))
        return out

    def _labels(self, n: int) -> Tensor | None:
        if self.condition is None:
            return None
        labels = np.asarray(self.condition)
        if labels.ndim > 1 or (labels.ndim and len(labels) != n):
            raise InvalidParameter(
                f"condition of shape {labels.shape} for {n} data; give one label, or one each"
            )
        return torch.from_numpy(np.broadcast_to(labels, (n,)).astype(np.int64))


@checked
def network_input(noise: NoiseProcess, x_t: Array, t: Array) -> tuple[Tensor, Tensor]:
    """What a network is told: channels per leaf, and the logarithm of the SNR."""
    if x_t.ndim < 2:
        raise InvalidParameter(f"x_t has shape {x_t.shape}; give one row per datum")
    if not levels_of(t, len(x_t)).ndim:
        raise InvalidParameter("t is one number; give one noise level per datum, [n]")
    found = noise_processes.network_input(noise, x_t, t)
    channels, log_snr = (np.asarray(a, np.float32) for a in found)
    return torch.from_numpy(channels), torch.from_numpy(log_snr)


def keep_seen(beliefs: Tensor, symbols: Tensor) -> Tensor:
    """Beliefs [n, leaves, v] with certainty where a symbol was seen."""
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
