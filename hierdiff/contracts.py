r"""The roles on one page: what is noised, how, by which model it is denoised, and what is asked.

=========================  ========================================================================
role                       answered by
=========================  ========================================================================
:class:`DataModel`         a grammar, a mixture, bumps, images: data with labels and latents
:class:`NoiseProcess`      masking, uniform, Gaussian, epsilon: the forward process
:class:`DiffusionModel`    exact inference, finite reverse chains, fitted models, networks
:class:`ConditionalModel`  a diffusion model that can be conditioned on a class
:class:`Sampler`           a reverse chain of a network: ancestral, DDIM
:class:`Experiment`        a question: one object that predicts and measures
=========================  ========================================================================

The same experiment is put to the theory (:meth:`Experiment.predict`) and to any diffusion model
(:meth:`Experiment.measure`); both results carry the same labels, so
:func:`hierdiff.results.compare` lays them on one axis with z-scores.  A class answers a role by
having its methods; nothing is inherited.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import block
from hierdiff.checks import (
    MAX_SYMBOLS,
    FloatArray,
    SymbolArray,
    array,
    frozen,
    memory,
    symbols_of,
    whole,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = [
    "ConditionalModel",
    "DataModel",
    "DiffusionModel",
    "Experiment",
    "LabelledData",
    "NoiseProcess",
    "Run",
    "Sample",
    "Sampler",
    "SignalNoise",
    "Summary",
    "SymbolEvidence",
]

Array = NDArray[Any]


@runtime_checkable
class Sample(Protocol):
    """Data with what is known of them.

    Attributes
    ----------
    x0 : array
        Symbols [n, leaves], vectors [n, D] or images [n, channels, height, width].
    labels : array [n] or [n, k]
        Classes, or the continuous parameters of the data.
    latents : tuple of int arrays [n, nodes]
        Latent symbols of every level, root first; empty where the data model has none.
    """

    @property
    def x0(self) -> Array:
        """The data."""

    @property
    def labels(self) -> Array:
        """The classes."""

    @property
    def latents(self) -> tuple[Array, ...]:
        """The latent symbols."""


class LabelledData(NamedTuple):
    """Data and labels without latents; unpacks as ``x0, labels``.

    Examples
    --------
    >>> import numpy as np
    >>> data = LabelledData(np.zeros((3, 2)), np.array([0, 1, 1]))
    >>> x0, labels = data
    >>> isinstance(data, Sample), data.latents
    (True, ())
    """

    x0: Array
    labels: Array

    @property
    def latents(self) -> tuple[Array, ...]:
        """None."""
        return ()


@runtime_checkable
class DataModel(Protocol):
    """A distribution of data with labels."""

    def sample(self, n: int, seed: Seed) -> Sample:
        """``n`` independent data with labels and latents."""


@dataclass(frozen=True, eq=False)
class SymbolEvidence:
    r"""Evidence with two values per sample: one on the observed symbol, one on each other.

    .. math:: \log\psi_i(b) = \text{log\_match if } b = x_i, \text{ else log\_other};
       \quad 0 \text{ for every } b \text{ where } x_i = -1

    Parameters
    ----------
    symbols : int array [n, leaves]
        Observed symbols in [0, v), -1 where there is none; kept as int32.
    log_match, log_other : float or array [n]
        Natural logarithms; -inf is allowed for one of the two, NaN and +inf are not.
    v : int
        Number of symbols.

    Raises
    ------
    InvalidParameter
        For wrong shapes, symbols out of range, or values as excluded above.

    Notes
    -----
    Validity: exact; it holds n * leaves numbers where the dense form holds v times as many.  The
    arrays are own, read-only copies.

    Examples
    --------
    >>> SymbolEvidence(np.array([[1, -1]]), 0.0, -np.inf, v=2).dense().tolist()
    [[[-inf, 0.0], [0.0, 0.0]]]
    """

    symbols: SymbolArray
    log_match: float | FloatArray
    log_other: float | FloatArray
    v: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "v", whole("v", self.v, 1, MAX_SYMBOLS))
        symbols = symbols_of("symbols", self.symbols, -1, self.v)
        symbols = frozen(np.ascontiguousarray(symbols, np.int32))  # as kernels read them
        object.__setattr__(self, "symbols", symbols)
        n = len(symbols)
        match, other = (
            array(name, getattr(self, name)).astype(float) for name in ("log_match", "log_other")
        )
        for name, x in (("log_match", match), ("log_other", other)):
            if x.shape not in ((), (n,)):
                raise InvalidParameter(
                    f"{name} has shape {x.shape}; give one number, or one per sample: ({n},)"
                )
            object.__setattr__(self, name, frozen(x) if x.ndim else float(x))
        match, other = np.broadcast_to(match, n), np.broadcast_to(other, n)
        bad = np.flatnonzero(
            ~np.isfinite(np.maximum(match, other)) | np.isnan(match) | np.isnan(other)
        )
        if bad.size:
            i = int(bad[0])
            raise InvalidParameter(
                f"evidence of sample {i} has log_match = {match[i]}, log_other = {other[i]}; "
                "neither may be NaN or +inf, and one must be finite"
            )

    @cached_property
    def _observed(self) -> NDArray[np.intp] | int:
        """Number of observed symbols of each sample [n], or of all samples alike."""
        if self.symbols.size and self.symbols.min() < 0:
            found: NDArray[np.intp] = np.add.reduce(self.symbols >= 0, axis=1)
            return found
        return int(self.symbols.shape[1])

    @cached_property
    def _place(self) -> int:
        """Where the symbols stand."""
        place: int = self.symbols.__array_interface__["data"][0]
        return place

    def __getstate__(self) -> dict[str, Any]:
        return {k: x for k, x in self.__dict__.items() if k != "_place"}  # a copy has its own

    def dense(self) -> FloatArray:
        """Natural logarithm of the evidence of every symbol, [n, leaves, v]."""
        shape = (*self.symbols.shape, self.v)
        memory(f"dense evidence of shape {shape}", 16.0 * self.symbols.size * self.v)
        match, other = (
            np.broadcast_to(np.asarray(x)[..., None, None], (*shape[:2], 1))
            for x in (self.log_match, self.log_other)
        )
        out = np.array(np.broadcast_to(other, shape))
        np.put_along_axis(out, np.maximum(self.symbols, 0)[..., None], match, axis=2)
        out[self.symbols < 0] = 0.0
        return out


class NoiseProcess(Protocol):
    """What every noise process computes; optional attributes stand in :mod:`hierdiff.noise`.

    ``corrupt(x0, t, seed)`` is ``corrupt_with(x0, t, draw(x0.shape, generator(seed)))``.  Symbols
    are int arrays [n, leaves] in [0, v), or -1 where the leaf was not seen; ``t`` is one number or
    an array [n].  ``log_evidence`` returns [n, leaves, v] (natural logarithm, -inf excludes a
    symbol); ``evidence`` the same in the form that exact inference reads fastest.  All raise
    InvalidParameter for a wrong shape, a symbol out of range, NaN, or t outside [0, 1].

    ``reverse_step`` is a deterministic function of the numbers that ``draw_step`` returns.  At
    s = 0 (all of them) it returns data: symbols [n, leaves], also where x_t is [n, leaves, v].

    Functions that take a process beside a grammar or an RHM accept its name as well.

    Notes
    -----
    Validity: leaves are corrupted independently.

    Examples
    --------
    >>> import numpy as np
    >>> from hierdiff.noise import MaskingNoise, UniformNoise
    >>> def lost(noise: NoiseProcess, t: float) -> float:
    ...     return float((noise.corrupt(np.zeros((1, 1000), int), t, seed=0) != 0).mean())
    >>> lost(MaskingNoise(v=2), 0.5), lost(UniformNoise(v=2), 0.5)
    (0.473, 0.25)
    """

    @property
    def name(self) -> str:
        """Name in ``NOISE``, on the command line and in results."""

    @property
    def v(self) -> int | None:
        """Number of symbols; None for vectors."""

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Random numbers for data of this shape; rows are drawn in order."""

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> Array:
        """Noisy data, a deterministic function of the random numbers."""

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        """Noisy data at level t."""

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> SymbolEvidence | FloatArray:
        """Evidence of the leaves, compact where a compact form exists."""

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Evidence of the leaves, log psi [n, leaves, v]."""

    def draw_step(
        self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator
    ) -> FloatArray:
        """Random numbers for a reverse step of states of this shape to level s."""

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        """The state at level s <= t, given the beliefs [n, leaves, v] at t."""


class SignalNoise(NoiseProcess, Protocol):
    """A Gaussian process, determined by its SNR; see :func:`hierdiff.noise.has_snr`.

    Notes
    -----
    Validity: ``x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eta`` on one-hot symbols or vectors.
    """

    def alpha_bar(self, t: ArrayLike) -> FloatArray:
        """Signal power in [0, 1], decreasing in t."""

    def snr(self, t: ArrayLike) -> FloatArray:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar)."""

    def level(self, snr: ArrayLike) -> FloatArray:
        """Noise level of an SNR."""


@runtime_checkable
class DiffusionModel(Protocol):
    """A denoiser of data corrupted by a known noise process.

    Attributes
    ----------
    noise : NoiseProcess
        The forward process, and with it the meaning of t in [0, 1].
    source : str
        "theory", "simulation" or "network".
    """

    @property
    def noise(self) -> NoiseProcess:
        """The forward process."""

    @property
    def source(self) -> str:
        """The kind of model, which becomes the label of its results."""

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: probabilities of symbols as [n, leaves, v], vectors as [n, D]."""

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A draw of x0 given x_t, in the form of the data."""

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Named representations of x_t, each [n, width]."""


@runtime_checkable
class ConditionalModel(Protocol):
    """A diffusion model that can be conditioned on a class."""

    def given(self, label: int | None) -> DiffusionModel:
        """The model conditioned on a class; None is the unconditional one."""


@runtime_checkable
class Sampler(Protocol):
    """A reverse chain of a network; predictions are those of the mean of x0."""

    def run(self, predict: Any, x_t: Any, t: Any, noise: Any, draw: Any) -> Any:
        """The mean of x0 at the end of the chain that starts in ``x_t`` at level ``t``."""


class Summary(NamedTuple):
    """What a study found, for readers and for programs.

    Attributes
    ----------
    table : str
        The numbers with their errors, as it is printed.
    claim : str
        One sentence.
    values : mapping
        The numbers again, in a form that JSON keeps.
    """

    table: str
    claim: str
    values: Mapping[str, Any]

    def _repr_html_(self) -> str:
        return block(self.claim, f"<pre>{html.escape(self.table)}</pre>")


class Run(Protocol):
    """Where and how an experiment is run; :class:`hierdiff.sims.run.RunOptions` is one."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""

    @property
    def device(self) -> str:
        """Where networks run."""

    @property
    def resume(self) -> bool:
        """Whether finished work of an earlier run is used."""

    def tasks(self, name: str) -> dict[str, Any]:
        """Keyword arguments of :func:`hierdiff.tasks.run_tasks` for the tasks of an experiment."""


class Experiment(Protocol):
    """A question: a frozen dataclass whose fields are parameters of the science and nothing else.

    The fields are arguments, flags of the command line, and provenance.  An experiment whose
    question is meaningless for a model refuses it in one line before any work.

    Attributes
    ----------
    name : str
        Stem of the files, such as "phase_transition"; the command is "phase-transition".
    renamed : mapping, optional
        Old names of fields, which the command line accepts with a note.
    renamed_values : mapping, optional
        Old words among the values of a field, by the field.
    """

    name: ClassVar[str]

    def predict(self) -> xr.Dataset:
        """The law of :mod:`hierdiff.theory`; ``source`` is "theory"."""

    def measure(self, model: DiffusionModel | None = None, data: Any = None) -> xr.Dataset:
        """The same of a model, with the same labels; ``source`` is that of the model."""

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """All results of the study, predictions and measurements, by the stem of their file."""

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure | Mapping[str, Figure]:
        """The figure of these results, or several by the stem of their file."""

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Table, claim and numbers of these results."""
