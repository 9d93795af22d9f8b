r"""Forward noise processes: how data are corrupted, and what a noisy leaf says about its symbol.

==============  ==============================================================================
symbol          meaning
==============  ==============================================================================
t in [0, 1]     noise level, 0 clean; one number, or one per sample (epsilon for EpsilonNoise)
x0, x_t         data and observation; a masked symbol is -1
psi_i(b)        evidence of leaf i for symbol b, proportional to p(x_t,i | x0,i = b)
alpha_bar, snr  Gaussian signal power, and SNR = alpha_bar / (1 - alpha_bar)
==============  ==============================================================================

.. math::
   \text{epsilon}: &\ \psi(b) = (1 - \epsilon)\,\delta_{b, x_0} + \epsilon / v
       \quad\text{(a belief by decree, no observation)} \\
   \text{masking}: &\ \psi(b) = \delta_{b, x_t}\text{ if kept (probability } 1 - t), \text{ else } 1
       \\
   \text{uniform}: &\ \psi(b) = (1 - t)\,\delta_{b, x_t} + t / v \\
   \text{Gaussian}: &\ x_t = \sqrt{\bar\alpha}\, e_{x_0} + \sqrt{1 - \bar\alpha}\, \eta, \quad
       \log \psi(b) = \sqrt{\bar\alpha}\, x_t[b] / (1 - \bar\alpha)

Every corruption is a deterministic function ``corrupt_with`` of numbers that ``draw`` returns, one
row per sample, so a study that draws per sample does not depend on its batch size.  The same
numbers at a larger t corrupt a superset of the leaves (Gaussian: add more of the same noise).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._gaussian import GaussianNoise, shape_of
from hierdiff.checks import (
    MAX_SYMBOLS,
    FloatArray,
    SymbolArray,
    accepts,
    advise,
    array,
    check_fields,
    checked,
    finite_reals,
    frozen,
    levels_of,
    memory,
    one_of,
    symbols_of,
    unchecked,
    whole,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "EpsilonNoise",
    "GaussianNoise",
    "MaskingNoise",
    "NoiseProcess",
    "SymbolEvidence",
    "UniformNoise",
    "noise_process",
]

Array: TypeAlias = NDArray[Any]

_SYMBOLS = partial(whole, low=1, high=MAX_SYMBOLS)


class NoiseProcess(Protocol):
    """What every noise process answers.

    ``corrupt(x0, t, seed)`` is ``corrupt_with(x0, t, draw(x0.shape, generator(seed)))``.  Symbols
    are int arrays [n, leaves] in [0, v), or -1 where the leaf was not seen; ``t`` is one number or
    an array [n].  ``log_evidence`` returns [n, leaves, v] (natural logarithm, -inf excludes a
    symbol); ``evidence`` the same in the form that exact inference reads fastest.  All raise
    InvalidParameter for a wrong shape, a symbol out of range, NaN, or t outside [0, 1].

    Functions that take a process beside a grammar or an RHM accept its name as well.

    Notes
    -----
    Validity: leaves are corrupted independently.

    Examples
    --------
    >>> def lost(noise: NoiseProcess, t: float) -> float:
    ...     return float((noise.corrupt(np.zeros((1, 1000), int), t, seed=0) != 0).mean())
    >>> lost(MaskingNoise(v=2), 0.5), lost(UniformNoise(v=2), 0.5)
    (0.473, 0.25)
    """

    @property
    def name(self) -> str:
        """Name that ``noise_process`` knows."""

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
        object.__setattr__(self, "v", _SYMBOLS("v", self.v))
        symbols = frozen(symbols_of("symbols", self.symbols, -1, self.v))
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


@dataclass(frozen=True)
class EpsilonNoise:
    """The epsilon-process: belief 1 - epsilon + epsilon / v on the true symbol, by decree.

    Parameters
    ----------
    v : int
        Number of symbols.

    Notes
    -----
    Validity: an analytic idealisation.  There is no observation: ``corrupt`` returns x0 unchanged
    and ``evidence(x0, epsilon)`` always peaks on the truth, so it is no Bayesian channel and
    identities such as E[p_true] = E[sum p^2] fail.  The recursion of ``theory.rhm.mean_field``
    holds for this process alone.

    References
    ----------
    Sclocchi, Favero, Wyart, arXiv 2402.16991.

    Examples
    --------
    >>> np.exp(EpsilonNoise(v=4).log_evidence([[2]], 0.5)).round(3).tolist()
    [[[0.125, 0.125, 0.625, 0.125]]]
    """

    v: int
    name: ClassVar[str] = "epsilon"

    def __post_init__(self) -> None:
        check_fields(self, v=_SYMBOLS)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """No numbers, [n, leaves, 0]; the generator does not advance."""
        return _random(shape, 0, rng)

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> Array:
        """The data themselves, [n, leaves]."""
        symbols, _, _ = _uniforms(x0, t, randoms, self.v, 0)
        return symbols.copy()

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        """The data themselves, [n, leaves]; ``t`` is epsilon."""
        return self.corrupt_with(x0, t, self.draw(array("x0", x0).shape, generator(seed)))

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> SymbolEvidence:
        """Belief 1 - t + t / v on the symbol given (the true one), t / v on each other."""
        return _resampled(x_t, t, self.v)

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Natural logarithm of ``evidence``, [n, leaves, v]."""
        return self.evidence(x_t, t).dense()


@dataclass(frozen=True)
class MaskingNoise:
    """Absorbing noise: a symbol is kept with probability 1 - t, else becomes -1.

    Parameters
    ----------
    v : int
        Number of symbols.

    Notes
    -----
    Validity: exact channel, leaves independent.  The evidence leaves out the factors 1 - t and t,
    which no symbol depends on.

    References
    ----------
    Austin et al., arXiv 2107.03006; on hierarchical data, arXiv 2410.13770.

    Examples
    --------
    >>> MaskingNoise(v=4).corrupt([[0, 1, 2, 3, 0, 1, 2, 3]], 0.5, seed=0).tolist()
    [[0, -1, -1, -1, 0, 1, 2, 3]]
    """

    v: int
    name: ClassVar[str] = "masking"

    def __post_init__(self) -> None:
        check_fields(self, v=_SYMBOLS)

    def keep(self, t: ArrayLike) -> FloatArray:
        """Probability 1 - t that a symbol is kept."""
        return np.asarray(1 - levels_of(t))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Uniform numbers in [0, 1), [n, leaves, 1]."""
        return _random(shape, 1, rng)

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> Array:
        """Symbols [n, leaves], -1 where the uniform number is below t."""
        symbols, levels, u = _uniforms(x0, t, randoms, self.v, 1)
        return np.where(u[..., 0] < levels, np.int32(-1), symbols)

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves], -1 with probability t."""
        return self.corrupt_with(x0, t, self.draw(array("x0", x0).shape, generator(seed)))

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> SymbolEvidence:
        """One-hot on a kept symbol, uniform on a masked one, whatever t."""
        out = SymbolEvidence(symbols_of("x_t", x_t, -1, self.v), 0.0, -np.inf, self.v)
        levels_of(t, len(out.symbols))
        return out

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Natural logarithm of ``evidence``, [n, leaves, v]."""
        return self.evidence(x_t, t).dense()


@dataclass(frozen=True)
class UniformNoise:
    """Multinomial noise: a symbol is kept with probability 1 - t, else redrawn uniformly.

    Parameters
    ----------
    v : int
        Number of symbols; a redrawn symbol may be the old one.

    Notes
    -----
    Validity: exact channel, leaves independent; the evidence is the channel's probability itself.

    References
    ----------
    Hoogeboom et al., arXiv 2102.05379; Austin et al., arXiv 2107.03006.

    Examples
    --------
    >>> noise = UniformNoise(v=4)
    >>> np.exp(noise.log_evidence([[2]], 0.4)).round(3).tolist()
    [[[0.1, 0.1, 0.7, 0.1]]]
    """

    v: int
    name: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        check_fields(self, v=_SYMBOLS)

    def keep(self, t: ArrayLike) -> FloatArray:
        """Probability 1 - t that a symbol is not redrawn."""
        return np.asarray(1 - levels_of(t))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Uniform numbers in [0, 1), [n, leaves, 2]: redraw or not, and the new symbol."""
        return _random(shape, 2, rng)

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> Array:
        """Symbols [n, leaves], floor(v u_2) where u_1 is below t."""
        symbols, levels, u = _uniforms(x0, t, randoms, self.v, 2)
        new = np.minimum(self.v * u[..., 1], self.v - 1).astype(np.int32)
        return np.where(u[..., 0] < levels, new, symbols)

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves], redrawn with probability t."""
        return self.corrupt_with(x0, t, self.draw(array("x0", x0).shape, generator(seed)))

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> SymbolEvidence:
        """Probability 1 - t + t / v of the observed symbol, t / v of each other."""
        return _resampled(x_t, t, self.v)

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Natural logarithm of ``evidence``, [n, leaves, v]."""
        return self.evidence(x_t, t).dense()


@checked(name=unchecked, v=_SYMBOLS)
def noise_process(name: str, v: int) -> NoiseProcess:
    """Noise process of a name: "epsilon", "masking", "uniform" or "gaussian" (cosine schedule).

    Parameters
    ----------
    name : str
        One of the four names.
    v : int
        Number of symbols.

    Returns
    -------
    NoiseProcess

    Raises
    ------
    InvalidParameter
        For another name, or ``v`` no positive integer.

    Notes
    -----
    Validity: the processes of this module.

    Examples
    --------
    >>> noise_process("masking", v=32)
    MaskingNoise(v=32)
    """
    return _PROCESSES[one_of("noise", name, _PROCESSES)](v)


_PROCESSES: dict[str, type[EpsilonNoise | MaskingNoise | UniformNoise | GaussianNoise]] = {
    process.name: process for process in (EpsilonNoise, MaskingNoise, UniformNoise, GaussianNoise)
}


def _of_name(name: str, value: Any, arguments: Mapping[str, Any]) -> NoiseProcess | None:
    """A process from its name, where the other arguments tell the number of symbols."""
    if isinstance(value, type) and value in _PROCESSES.values():
        raise InvalidParameter(
            f"{name} = {value.__name__} is a class; give an instance, {value.__name__}(v=...)"
        )
    if not isinstance(value, str):
        return None
    known = one_of(name, value, _PROCESSES)
    for source in arguments.values():
        v = getattr(source, "leaf_vocabulary", None) or getattr(source, "v", None)
        if isinstance(v, int) and hasattr(source, "n_leaves"):  # an RHM or a Grammar
            return noise_process(known, v)
    raise InvalidParameter(
        f"{name} = {value!r} is a name, and nothing here tells the number of symbols; give "
        f"{_PROCESSES[known].__name__}(v=...)"
    )


accepts(NoiseProcess, _of_name)
for _kind in _PROCESSES.values():
    advise(_kind.__name__, "str", "make one with noise_process(name, v)")


def _random(shape: tuple[int, ...], k: int, rng: np.random.Generator) -> FloatArray:
    extents = shape_of("shape", shape)
    memory(f"random numbers of shape {(*extents, k)}", 8.0 * math.prod(extents) * k)
    return generator(rng).random((*extents, k))


def _uniforms(
    x0: ArrayLike, t: ArrayLike, randoms: ArrayLike, v: int, k: int
) -> tuple[SymbolArray, FloatArray, FloatArray]:
    symbols = symbols_of("x0", x0, 0, v)
    levels = levels_of(t, len(symbols)).reshape(-1, 1)
    u = finite_reals("randoms", randoms, (*symbols.shape, k))
    if u.size and not (u.min() >= 0 and u.max() < 1):
        raise InvalidParameter(
            f"randoms lie in [{u.min()}, {u.max()}]; give uniform numbers in [0, 1) as draw does"
        )
    return symbols, levels, u


def _resampled(x_t: ArrayLike, t: ArrayLike, v: int) -> SymbolEvidence:
    symbols = symbols_of("x_t", x_t, -1, v)
    levels = levels_of(t, len(symbols))
    with np.errstate(divide="ignore"):
        return SymbolEvidence(symbols, np.log(1 - levels + levels / v), np.log(levels / v), v)
