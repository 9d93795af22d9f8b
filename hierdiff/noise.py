r"""Noise processes: corruption of data, evidence of a noisy leaf, and the step back to less noise.

==============  ==============================================================================
symbol          meaning
==============  ==============================================================================
t in [0, 1]     noise level, 0 clean; one number, or one per sample (epsilon for EpsilonNoise)
x0, x_t         data and observation; a masked symbol is -1
psi_i(b)        evidence of leaf i for symbol b, proportional to p(x_t,i | x0,i = b)
p_i(b)          belief: posterior probability of x0,i = b given x_t (vectors: posterior mean)
q_t(x | b)      law of one leaf at level t given its clean symbol b
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

``reverse_step`` leads from level t to a level s < t, given the beliefs at t:

.. math::
   p(x_s = b \mid x_t) &= q(x_t \mid x_s = b) \sum_c p_i(c)\, \frac{q_s(b \mid c)}{q_t(x_t \mid c)}
       \quad\text{(symbols)} \\
   x_s &= \sqrt{\bar\alpha_s}\,\frac{1 - \bar\alpha_t / \bar\alpha_s}{1 - \bar\alpha_t}\,\hat x_0
       + \sqrt{\tfrac{\bar\alpha_t}{\bar\alpha_s}}\,\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\,x_t
       + \sqrt{\tfrac{(1 - \bar\alpha_s)(1 - \bar\alpha_t / \bar\alpha_s)}{1 - \bar\alpha_t}}\,\eta
       \quad\text{(Gaussian)}

For masking the first line says: a masked symbol is revealed with probability 1 - s / t, as a draw
from p_i.  It is exact for one leaf; leaves that change in the same step are drawn independently.
The Gaussian step puts the mean of x0 in the place of x0, exact as s -> t.

The processes are registered by name in ``NOISE``.  A new one is a class with the methods of
:class:`NoiseProcess` under the decorator :func:`register_noise`; what is not common to all
processes is optional and read by functions of this module, which hold the default:

=============================  ===================================================================
optional attribute             meaning, and what holds without it
=============================  ===================================================================
is_channel                     False for beliefs by decree, without an observation; else True
masks                          True if an observed symbol is the true one, others are -1; else False
alpha_bar, snr, level          the process is Gaussian with this SNR, see :func:`has_snr`
network_input, input_channels  see :func:`network_input`
stratified                     ``stratified(u)``: what ``draw`` makes of uniform numbers u, so that
                               density evolution can spread them evenly; else it cannot
symmetric                      True if a renaming of the symbols renames the observation; else
                               density evolution draws the true symbol of every leaf
effective_epsilon              see :func:`hierdiff.theory.rhm.mean_field.effective_epsilon`
information_slope              see :func:`hierdiff.theory.rhm.information.pointwise_slope`
=============================  ===================================================================
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    levels_of,
    memory,
    natural,
    one_level,
    one_of,
    reals,
    shown,
    snr_of,
    symbols_of,
    typing_members,
    unchecked,
    whole,
)
from hierdiff.contracts import NoiseProcess, SignalNoise, SymbolEvidence
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "NOISE",
    "EpsilonNoise",
    "GaussianNoise",
    "MaskingNoise",
    "NoiseProcess",
    "SignalNoise",
    "SymbolEvidence",
    "UniformNoise",
    "draw_symbols",
    "has_snr",
    "input_channels",
    "is_channel",
    "masks",
    "network_input",
    "noise_name",
    "noise_process",
    "register_noise",
    "reverse_probabilities",
]

Array: TypeAlias = NDArray[Any]

NOISE: dict[str, type[Any]] = {}
"""The registered processes by name; each is made with ``NOISE[name](v)``."""

_Process = TypeVar("_Process")
_SYMBOLS = partial(whole, low=1, high=MAX_SYMBOLS)
_INFINITE = 1e300  # a larger gain is taken as infinite: gain * x_t must not overflow
_ANGLE = np.pi / 2 / 1.008  # pi/2 / (1 + o): t turns the cosine by t * _ANGLE
_LINEAR_T = np.arange(1001) / 1000
_LINEAR_RATE = np.append(0.0, -np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000))))
_TINY = 1e-300  # a smaller probability is zero: beliefs divided by it must not overflow
_LONGEST = 20.0  # logarithm of the largest SNR that a network is given, as for log-SNR clocks


def register_noise(kind: type[_Process]) -> type[_Process]:
    """Make a process known by its ``name``: to ``noise_process``, experiments and command line.

    A decorator of a class with the members of :class:`NoiseProcess`, made by ``kind(v)``.  It
    refuses a class that lacks members, and a name that another class has; a class of the same
    module and name replaces the one before, as when a cell of a notebook is run again.

    Examples
    --------
    >>> register_noise(MaskingNoise) is NOISE["masking"]
    True
    """
    if not isinstance(kind, type):
        raise InvalidParameter(f"kind = {shown(kind)} must be a class")
    declared = {k for base in kind.__mro__ for k in getattr(base, "__annotations__", {})}
    missing = {k for k in typing_members(NoiseProcess) if not hasattr(kind, k)} - declared
    name = getattr(kind, "name", None)
    if missing or not isinstance(name, str):
        lacking = ", ".join(sorted(missing)) or "name, a string"
        raise InvalidParameter(f"{kind.__name__} is no noise process: it lacks {lacking}")
    before = NOISE.get(name)
    place = (kind.__module__, kind.__qualname__)
    if before is not None and (before.__module__, before.__qualname__) != place:
        raise InvalidParameter(
            f"name = {name!r} is that of {before.__module__}.{before.__qualname__}; choose another"
        )
    NOISE[name] = kind
    advise(kind.__name__, "str", "make one with noise_process(name, v)")
    return kind


def is_channel(noise: Any) -> bool:
    """Whether the process has an observation; the epsilon-process has none.

    Examples
    --------
    >>> is_channel(EpsilonNoise(4)), is_channel(UniformNoise(4))
    (False, True)
    """
    return bool(getattr(noise, "is_channel", True))


def masks(noise: NoiseProcess) -> bool:
    """Whether an observed symbol is the true one, and -1 stands for the others.

    Examples
    --------
    >>> masks(MaskingNoise(4)), masks(UniformNoise(4))
    (True, False)
    """
    return bool(getattr(noise, "masks", False))


def has_snr(noise: Any) -> TypeGuard[SignalNoise]:
    """Whether the process is Gaussian, determined by its SNR as a function of t.

    Examples
    --------
    >>> has_snr(GaussianNoise()), has_snr(MaskingNoise(4))
    (True, False)
    """
    return all(hasattr(noise, name) for name in ("alpha_bar", "snr", "level"))


@checked
def network_input(
    noise: NoiseProcess, x_t: ArrayLike, t: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """What a network on symbols is given: channels of every leaf, and a logarithmic noise level.

    Returns
    -------
    channels : array [n, leaves, input_channels(noise)]
        What the process's own ``network_input`` returns; else the belief of each leaf alone,
        softmax of the evidence.
    log_snr : array, of the shape of ``t``
        Log SNR, or log((1 - t) / t) where there is none, cut to [-20, 20].

    Examples
    --------
    >>> channels, log_snr = network_input(MaskingNoise(2), [[1, -1]], 0.5)
    >>> channels.tolist(), float(log_snr)
    ([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]], 0.0)
    """
    input_channels(noise)
    own = getattr(noise, "network_input", None)
    if own is not None:
        channels, log_snr = own(x_t, t)
    else:
        log_evidence = noise.log_evidence(x_t, t)
        channels, log_snr = _softmax(log_evidence), _log_odds(levels_of(t, len(log_evidence)))
    return channels, np.clip(log_snr, -_LONGEST, _LONGEST)


@checked
def input_channels(noise: NoiseProcess) -> int:
    """Numbers per leaf that :func:`network_input` returns.

    Examples
    --------
    >>> [input_channels(kind(4)) for kind in (MaskingNoise, UniformNoise, GaussianNoise)]
    [5, 4, 8]
    """
    if not is_channel(noise) or noise.v is None:
        raise InvalidParameter(
            f"noise = {shown(noise)} gives a network nothing to observe; use a process that"
            " corrupts symbols, such as Gaussian, masking or uniform noise"
        )
    return int(getattr(noise, "input_channels", noise.v))


def draw_symbols(probabilities: ArrayLike, uniforms: ArrayLike) -> SymbolArray:
    """One symbol from each row of probabilities, by inversion of the cumulative sum.

    ``probabilities`` [..., v] are not negative and need not sum to one; ``uniforms`` [...] lie in
    [0, 1).

    Examples
    --------
    >>> draw_symbols([[0.5, 0.5], [0.5, 0.5]], [0.4, 0.6]).tolist()
    [0, 1]
    """
    p, u = array("probabilities", probabilities), array("uniforms", uniforms)
    if not p.ndim or u.shape != p.shape[:-1]:
        raise InvalidParameter(
            f"uniforms have shape {u.shape} for probabilities {p.shape}; give one per row"
        )
    sums = np.cumsum(p, axis=-1)
    # scaled by the last sum, so that rounding never points past the last symbol
    reached = sums <= u[..., None] * sums[..., -1:]
    return np.asarray(reached.sum(axis=-1).clip(max=p.shape[-1] - 1), dtype=np.int32)


def reverse_probabilities(
    x_t: ArrayLike, belief: ArrayLike, earlier: ArrayLike, step: ArrayLike
) -> FloatArray:
    r"""Law of a leaf at level s given its symbol at t, for a Markov channel given as matrices.

    .. math:: p(x_s = b \mid x_t) =
       \sum_c p(c)\, \frac{q_s(b \mid c)\, q(x_t \mid b)}{q_t(x_t \mid c)},
       \qquad q_t(x \mid c) = \sum_b q_s(b \mid c)\, q(x \mid b)

    Parameters
    ----------
    x_t : int array [n, leaves]
        Observed symbols.
    belief : array [n, leaves, v]
        Posterior probability of every clean symbol.
    earlier : array [v, v], or [n, v, v]
        q_s(b | c) in row c, column b.
    step : array [v, v], or [n, v, v]
        q(x_t | x_s = b) in row b.

    Returns
    -------
    array [n, leaves, v]

    Notes
    -----
    Validity: exact for one leaf and a Markov process, x0 -> x_s -> x_t.  Clean symbols that cannot
    have become x_t are left out; :func:`draw_symbols` does not need a normalised law.

    Examples
    --------
    >>> flip = np.array([[0.9, 0.1], [0.1, 0.9]])
    >>> reverse_probabilities([[0]], [[[0.5, 0.5]]], flip, flip).round(6).tolist()
    [[[0.743902, 0.256098]]]
    """
    p = finite_reals("belief", belief, (None, None, None))
    n, leaves, v = p.shape
    symbols = symbols_of("x_t", x_t, 0, v)
    q_s, q = (finite_reals(name, x) for name, x in (("earlier", earlier), ("step", step)))
    for name, x in (("earlier", q_s), ("step", q)):
        if x.shape not in ((v, v), (n, v, v)):
            raise InvalidParameter(
                f"{name} has shape {x.shape}; give ({v}, {v}) or ({n}, {v}, {v})"
            )
    if symbols.shape != (n, leaves):
        raise InvalidParameter(f"x_t has shape {symbols.shape}; give ({n}, {leaves})")
    rows = np.arange(n)[:, None]
    q_s, q = np.broadcast_to(q_s, (n, v, v)), np.broadcast_to(q, (n, v, v))
    likelihood = (q_s @ q)[rows, :, symbols]  # q_t(x_t | c), [n, leaves, c]
    ratio = np.divide(p, likelihood, out=np.zeros_like(p), where=likelihood > _TINY)
    return np.asarray((ratio @ q_s) * q[rows, :, symbols])


@register_noise
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
    is_channel: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True

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

    def effective_epsilon(self, t: ArrayLike) -> FloatArray:
        """Epsilon itself."""
        return levels_of(t).copy()

    def draw_step(
        self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator
    ) -> FloatArray:
        """Refused: there is no observation whose noise could be lowered."""
        raise InvalidParameter(_NO_CHAIN)

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        """Refused: there is no observation whose noise could be lowered."""
        raise InvalidParameter(_NO_CHAIN)


_NO_CHAIN = (
    "noise = epsilon has no reverse chain; give a model with masking, uniform or Gaussian noise"
)


@register_noise
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
    masks: ClassVar[bool] = True
    symmetric: ClassVar[bool] = True

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

    def draw_step(
        self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator
    ) -> FloatArray:
        """Uniform numbers in [0, 1), [n, leaves, 2]: reveal or not, and the symbol."""
        return np.moveaxis(_random((2, *shape_of("shape", shape)), None, rng), 0, -1)

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        """Masked symbols revealed with probability 1 - s / t, as draws from the belief."""
        x, p, late, early = _step_of_symbols(x_t, belief, t, s, self.v)
        u = _step_numbers(randoms, (*x.shape, 2))
        share = 1 - np.divide(early, late, out=np.zeros_like(late), where=late > 0)
        revealed = (x < 0) & (u[..., 0] < share[:, None])
        return np.where(revealed, draw_symbols(p, u[..., 1]), x)

    def network_input(self, x_t: ArrayLike, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """One-hot symbols [n, leaves, v + 1], the mask last; log odds of a kept symbol."""
        symbols = symbols_of("x_t", x_t, -1, self.v)
        return np.eye(self.v + 1)[symbols], _log_odds(levels_of(t, len(symbols)))

    @property
    def input_channels(self) -> int:
        """One per symbol, and the mask."""
        return self.v + 1

    def stratified(self, u: FloatArray) -> FloatArray:
        """The uniform numbers themselves."""
        return reals("u", u, low=0, below=1)

    def effective_epsilon(self, t: ArrayLike) -> FloatArray:
        """The noise level itself."""
        return levels_of(t).copy()

    def information_slope(self, extrinsic: FloatArray, t: float) -> FloatArray:
        """Minus the entropy of the extrinsic beliefs [n, leaves, v], summed over leaves, [n]."""
        from scipy.special import entr

        one_level("t", t)
        return np.asarray(-entr(_extrinsic(extrinsic, self.v)).sum(axis=(1, 2)))


@register_noise
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
    symmetric: ClassVar[bool] = True

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

    def draw_step(
        self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator
    ) -> FloatArray:
        """Uniform numbers in [0, 1), [n, leaves, 1]."""
        return _random(shape, 1, rng)

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        """Symbols drawn from ``step_probabilities``."""
        x, p, late, early = _step_of_symbols(x_t, belief, t, s, self.v)
        u = _step_numbers(randoms, (*x.shape, 1))
        return draw_symbols(self._step_law(x, p, late, early), u[..., 0])

    def step_probabilities(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike
    ) -> FloatArray:
        """The law p(x_s | x_t) of every leaf, [n, leaves, v]: what ``reverse_step`` draws from."""
        return self._step_law(*_step_of_symbols(x_t, belief, t, s, self.v))

    def _step_law(self, x: Array, belief: Array, t: Array, s: Array) -> FloatArray:
        v, t, s = self.v, t[:, None, None], s[:, None, None]
        seen = np.arange(v) == x[..., None]
        clean = (1 - t) * seen + t / v  # q_t(x_t | c); 0 for c != x_t at t = 0
        ratio = np.divide(belief, clean, out=np.zeros_like(belief), where=clean > _TINY)
        kept = np.divide(1 - t, 1 - s, out=np.ones_like(t), where=s < 1)
        back = (1 - s) * ratio + s / v * ratio.sum(axis=-1, keepdims=True)
        return np.asarray((kept * seen + (1 - kept) / v) * back)

    def network_input(self, x_t: ArrayLike, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """One-hot symbols [n, leaves, v]; log odds of a kept symbol."""
        symbols = symbols_of("x_t", x_t, 0, self.v)
        return np.eye(self.v)[symbols], _log_odds(levels_of(t, len(symbols)))

    def stratified(self, u: FloatArray) -> FloatArray:
        """The uniform numbers themselves."""
        return reals("u", u, low=0, below=1)

    def effective_epsilon(self, t: ArrayLike) -> FloatArray:
        """1 - (1 - t)^2: the observed symbol, and then the belief in it, must be the true one."""
        levels = levels_of(t)
        return np.asarray(levels * (2 - levels))

    def information_slope(self, extrinsic: FloatArray, t: float) -> FloatArray:
        """Sum over leaves and symbols of (p - 1/v) log q - h'(t), [n]; infinite at t = 0."""
        from scipy.special import xlogy

        p, v, t = _extrinsic(extrinsic, self.v), self.v, one_level("t", t)
        if t <= 0:
            raise InvalidParameter(f"t = {t} gives uniform noise an infinite slope; use t > 0")
        q = (1 - t) * p + t / v
        rate = (1 - 1 / v) * (np.log(1 - t + t / v) - np.log(t / v))
        return np.asarray(xlogy(p - 1 / v, q).sum(axis=(1, 2)) - p.shape[1] * rate)


@register_noise
@dataclass(frozen=True)
class GaussianNoise:
    r"""Variance-preserving Gaussian noise on one-hot symbols, or on vectors.

    .. math:: x_t = \sqrt{\bar\alpha}\, x_0 + \sqrt{1 - \bar\alpha}\, \eta, \qquad
       \bar\alpha_{\cos}(t) = \cos^2\!\frac{\pi}{2}\frac{t + o}{1 + o} \Big/
       \cos^2\!\frac{\pi}{2}\frac{o}{1 + o}, \quad o = 0.008

    Parameters
    ----------
    v : int, optional
        Number of symbols; None for real data [n, D] (or [n, ...]).
    schedule : {"cosine", "linear"}
        "linear" is DDPM's: :math:`-\log\bar\alpha` interpolated linearly between the 1,000
        products of :math:`1 - \beta_i`, :math:`\beta_i` from 1e-4 to 0.02, so
        :math:`\bar\alpha((i + 1) / 1000)` is the i-th discrete number (i from 0) and
        :math:`\bar\alpha(0) = 1`.  "cosine" is not clipped: SNR 0 at t = 1.

    Raises
    ------
    InvalidParameter
        If ``v`` is no positive integer or the schedule unknown.

    Notes
    -----
    Validity: exact channel, for every SNR in [0, inf]; "linear" ends at SNR 4.04e-5.  At SNR = inf
    (t = 0) the evidence is one-hot on the nearest symbol, shared if several are equally near.

    References
    ----------
    Ho et al., arXiv 2006.11239; Nichol and Dhariwal, arXiv 2102.09672.

    Examples
    --------
    >>> noise = GaussianNoise(v=32, schedule="linear")
    >>> [round(float(x), 8) for x in noise.alpha_bar([0.001, 0.25, 0.5, 1.0])]
    [0.9999, 0.52408537, 0.07858724, 4.036e-05]
    """

    v: int | None = None
    schedule: Literal["cosine", "linear"] = "cosine"
    name: ClassVar[str] = "gaussian"
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.v is not None:
            check_fields(self, v=partial(whole, low=1, high=MAX_SYMBOLS))
        one_of("schedule", self.schedule, ("cosine", "linear"))

    def alpha_bar(self, t: ArrayLike) -> FloatArray:
        """Signal power in [0, 1]: 1 at t = 0, decreasing; of the shape of ``t``."""
        levels = levels_of(t)
        if self.schedule == "linear":
            return np.asarray(np.exp(-np.interp(levels, _LINEAR_T, _LINEAR_RATE)))
        return np.asarray((np.sin((1 - levels) * _ANGLE) / np.sin(_ANGLE)) ** 2)

    def snr(self, t: ArrayLike) -> FloatArray:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar), inf at t = 0; of the shape of ``t``.

        Validity: accurate to rounding of ``t`` at both ends of either schedule.

        Examples
        --------
        >>> GaussianNoise(schedule="cosine").snr([0.0, 0.5, 1.0]).round(6).tolist()
        [inf, 0.975674, 0.0]
        """
        levels = levels_of(t)
        with np.errstate(divide="ignore", over="ignore"):
            if self.schedule == "linear":
                return np.asarray(1 / np.expm1(np.interp(levels, _LINEAR_T, _LINEAR_RATE)))
            # cos^2 a - cos^2 (a + y) = sin y sin (2 a + y), with a = pi/2 - _ANGLE
            y = levels * _ANGLE
            noise = np.sin(y) * np.sin(y + np.pi - 2 * _ANGLE)
            return np.asarray(np.sin((1 - levels) * _ANGLE) ** 2 / noise)

    def level(self, snr: ArrayLike) -> FloatArray:
        """Noise level t at which the SNR has this value: the inverse of ``snr``.

        Validity: exact to rounding; refuses a ratio below the end of the linear schedule.

        Examples
        --------
        >>> noise = GaussianNoise(schedule="linear")
        >>> float(noise.level(6.75).round(6)), float(noise.snr(noise.level(6.75)).round(12))
        (0.113293, 6.75)
        """
        ratio = snr_of(snr)
        with np.errstate(divide="ignore", over="ignore"):
            rate = np.log1p(1 / ratio)
        if self.schedule == "cosine":
            return _cosine_level(ratio, rate)
        if (rate > _LINEAR_RATE[-1] * (1 + 1e-12)).any():
            raise InvalidParameter(
                f"snr = {ratio.min()} is below {1 / np.expm1(_LINEAR_RATE[-1]):.4g}, where the "
                "linear schedule ends; use schedule='cosine' or the methods ending in _at_snr"
            )
        return np.asarray(np.interp(rate, _LINEAR_RATE, _LINEAR_T))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Standard normal numbers, [n, leaves, v], or the shape of the data if v is None."""
        extents = shape_of("shape", shape)
        extents = extents if self.v is None else (*extents, self.v)
        memory(f"random numbers of shape {extents}", 8.0 * math.prod(extents))
        return generator(rng).standard_normal(extents)

    def corrupt_at_snr(self, x0: ArrayLike, snr: ArrayLike, randoms: ArrayLike) -> FloatArray:
        r"""Noisy data at a given SNR, without a schedule.

        .. math:: x_t = e_{x_0} / \sqrt{1 + 1/\text{snr}} + \eta / \sqrt{1 + \text{snr}}

        ``x0`` are symbols [n, leaves], or vectors [n, ...] if v is None; ``snr`` is one number or
        an array [n]; ``randoms`` are what ``draw`` returns.

        Examples
        --------
        >>> GaussianNoise(v=2).corrupt_at_snr([[1]], 3.0, [[[2.0, 0.0]]]).round(6).tolist()
        [[[1.0, 0.866025]]]
        """
        if self.v is None:
            vectors = finite_reals("x0", x0)
            normals = finite_reals("randoms", randoms, vectors.shape)
            signal, noise = _amplitudes(snr, normals)
            return np.asarray(signal * vectors + noise * normals)
        symbols = symbols_of("x0", x0, 0, self.v)[..., None]
        normals = finite_reals("randoms", randoms, (*symbols.shape[:2], self.v))
        signal, noise = _amplitudes(snr, normals)
        noisy: FloatArray = noise * normals
        np.put_along_axis(noisy, symbols, np.take_along_axis(noisy, symbols, 2) + signal, 2)
        return noisy

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> NDArray[Any]:
        """Noisy data [n, leaves, v], or of the shape of x0 if v is None."""
        return self.corrupt_at_snr(x0, self.snr(t), randoms)

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> NDArray[Any]:
        """Noisy data at level t, [n, leaves, v], or of the shape of x0 if v is None."""
        return self.corrupt_with(x0, t, self.draw(array("x0", x0).shape, generator(seed)))

    def log_evidence_at_snr(self, x_t: ArrayLike, snr: ArrayLike) -> FloatArray:
        r"""Evidence at a given SNR, without a schedule.

        .. math:: \log\psi(b) = \sqrt{\text{snr}\,(1 + \text{snr})}\; x_t[b]

        Up to terms that no symbol depends on; one-hot at SNR = inf; refused if v is None.

        Examples
        --------
        >>> GaussianNoise(v=2).log_evidence_at_snr([[[1.0, 0.5]]], 3.0).round(6).tolist()
        [[[3.464102, 1.732051]]]
        """
        if self.v is None:
            raise InvalidParameter(
                "GaussianNoise(v=None) acts on vectors, which have no symbols; give v, or ask "
                "hierdiff.theory.class_posterior about a mixture"
            )
        x = finite_reals("x_t", x_t, (None, None, self.v))
        ratio = snr_of(snr, len(x)).reshape(-1, 1, 1)
        gain = np.sqrt(ratio) * np.sqrt(1 + ratio)
        finite = gain < _INFINITE
        gain = np.where(finite, gain, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.asarray(gain * x)
            if not np.isfinite(found.sum()) and not np.isfinite(found).all():
                # what all symbols have in common overflows; it may be left out
                found = gain * (x - x.max(axis=2, keepdims=True))
        if finite.all():
            return found
        nearest = np.where(x == x.max(axis=2, keepdims=True), 0.0, -np.inf)
        return np.where(finite, found, nearest)

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Log psi = sqrt(alpha_bar) x_t / (1 - alpha_bar), [n, leaves, v]."""
        return self.log_evidence_at_snr(x_t, self.snr(t))

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """The same as ``log_evidence``: Gaussian evidence has no compact form."""
        return self.log_evidence(x_t, t)

    def draw_step(
        self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator
    ) -> FloatArray:
        """Standard normal numbers of the shape of x_t; at s = 0 a uniform one per symbol."""
        extents = shape_of("shape", shape)
        if self.v is not None and not levels_of(s).any():
            return _random(extents[:2], None, rng)
        memory(f"random numbers of shape {extents}", 8.0 * math.prod(extents))
        return generator(rng).standard_normal(extents)

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        """The ancestral step of DDPM with the mean of x0; at s = 0 symbols, drawn from it."""
        x = finite_reals("x_t", x_t, None if self.v is None else (None, None, self.v))
        mean = finite_reals("belief", belief, x.shape)
        late, early = _two_levels(t, s, len(x))
        if self.v is not None and not early.any():
            return draw_symbols(array("belief", belief), randoms)
        normals = finite_reals("randoms", randoms, x.shape)
        late, early = (
            self.alpha_bar(level).reshape(-1, *(1,) * (x.ndim - 1)) for level in (late, early)
        )
        spread = np.where(late < 1, 1 - late, 1.0)  # t = 0: nothing is left to do
        ratio = np.divide(late, early, out=np.ones_like(late), where=early > 0)
        signal = np.sqrt(early) * (1 - ratio) / spread
        old = np.where(late < 1, np.sqrt(ratio) * (1 - early) / spread, 1.0)
        variance = (1 - early) * (1 - ratio) / spread
        return np.asarray(signal * mean + old * x + np.sqrt(variance) * normals)

    def network_input(self, x_t: ArrayLike, t: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """The datum, and what each leaf says alone, [n, leaves, 2 v]; log SNR."""
        # softmax of the evidence is bounded, whatever the SNR
        alone = _softmax(self.log_evidence(x_t, t))
        with np.errstate(divide="ignore"):
            return np.concatenate([array("x_t", x_t), alone], axis=2), np.log(self.snr(t))

    @property
    def input_channels(self) -> int:
        """Two per symbol; for vectors there is no default network."""
        return 2 * (self.v or 0)

    def stratified(self, u: FloatArray) -> FloatArray:
        """Standard normal numbers: the normal quantiles of the uniform ones."""
        from scipy.special import ndtri

        return np.asarray(ndtri(reals("u", u, above=0, below=1)))


@checked(name=unchecked, v=_SYMBOLS)
def noise_process(name: str, v: int) -> NoiseProcess:
    """Noise process of a name in ``NOISE``: "masking", "gaussian" (cosine schedule), and so on.

    Parameters
    ----------
    name : str
        As for :func:`noise_name`.
    v : int
        Number of symbols.

    Returns
    -------
    NoiseProcess

    Raises
    ------
    InvalidParameter
        For another name, with the nearest one; or ``v`` no positive integer.

    Examples
    --------
    >>> noise_process("masking", v=32)
    MaskingNoise(v=32)
    """
    made: NoiseProcess = NOISE[noise_name("noise", name)](v)
    return made


def noise_name(name: str, value: Any, *, also: tuple[str, ...] = (), channel: bool = False) -> str:
    """The name of a registered process, as a check of an argument, a field, a flag.

    Parameters
    ----------
    name, value : str
        Of the argument.  "module:Class" stands for the name of a class that the module registers.
    also : tuple of str
        Further words that are allowed.
    channel : bool
        Whether the process must be a channel, which excludes the epsilon-process.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        For another name; the nearest is offered.

    Examples
    --------
    >>> noise_name("noise", "gausian")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: noise = 'gausian' must be one of ...; did you mean 'gaussian'?
    >>> noise_name("noise", "hierdiff.noise:UniformNoise")
    'uniform'
    """
    if isinstance(value, str) and ":" in value:
        value = _imported(name, value)
    known = [k for k, kind in NOISE.items() if not channel or is_channel(kind)]
    return str(one_of(name, value, (*known, *also)))


def _imported(name: str, place: str) -> str:
    """Name of the process "module:Class", whose module is imported and so registers it."""
    module, _, kind = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidParameter(
            f"{name} = {shown(place)} cannot be imported ({shown(str(error))}); give "
            "'module:Class' of a module that Python finds"
        ) from None
    known = next((k for k, registered in NOISE.items() if registered is found), None)
    if known is None:
        raise InvalidParameter(
            f"{name} = {shown(place)} is not registered; put @register_noise on the class"
        )
    return known


def _of_name(name: str, value: Any, arguments: Mapping[str, Any]) -> NoiseProcess | None:
    """A process from its name, where the other arguments tell the number of symbols."""
    if isinstance(value, type) and value in NOISE.values():
        raise InvalidParameter(
            f"{name} = {value.__name__} is a class; give an instance, {value.__name__}(v=...)"
        )
    if not isinstance(value, str):
        return None
    known = noise_name(name, value)
    for source in arguments.values():
        v = getattr(source, "leaf_vocabulary", None) or getattr(source, "v", None)
        if isinstance(v, int) and hasattr(source, "n_leaves"):  # an RHM or a Grammar
            return noise_process(known, v)
    raise InvalidParameter(
        f"{name} = {value!r} is a name, and nothing here tells the number of symbols; give "
        f"{NOISE[known].__name__}(v=...)"
    )


accepts(NoiseProcess, _of_name)
advise("SignalNoise", "str", "make one with noise_process(name, v)")


def _random(shape: tuple[int, ...], k: int | None, rng: np.random.Generator) -> FloatArray:
    """Uniform numbers, k for every entry of the shape, or one without a last axis."""
    extents = shape_of("shape", shape)
    extents = extents if k is None else (*extents, k)
    memory(f"random numbers of shape {extents}", 8.0 * math.prod(extents))
    return generator(rng).random(extents)


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


def shape_of(name: str, shape: Any) -> tuple[int, ...]:
    """Extents of data."""
    if isinstance(shape, (tuple, list)):
        return tuple(natural(f"{name}[{i}]", extent) for i, extent in enumerate(shape))
    raise InvalidParameter(f"{name} = {shown(shape)} must be a tuple of integers, e.g. (n, leaves)")


def _cosine_level(ratio: FloatArray, rate: FloatArray) -> FloatArray:
    """Angle y = t * _ANGLE from its sine and cosine, both written without differences."""
    sin, cos = np.sin(_ANGLE), np.cos(_ANGLE)
    noise = 1 / (1 + ratio)
    near, far = np.exp(-rate / 2) * sin, np.sqrt(cos**2 + noise * sin**2)
    y = np.arctan2(noise * sin**2 / (far * sin + near * cos), near * sin + far * cos)
    return np.asarray(np.minimum(y / _ANGLE, 1.0))


def _amplitudes(snr: ArrayLike, normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Amplitude of signal and noise, broadcast against the random numbers."""
    ratio = snr_of(snr, len(normals)).reshape((-1,) + (1,) * (normals.ndim - 1))
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / np.sqrt(1 + 1 / ratio), 1 / np.sqrt(1 + ratio)


def _two_levels(t: ArrayLike, s: ArrayLike, n: int) -> tuple[FloatArray, FloatArray]:
    """The two noise levels of a reverse step, each [n]."""
    late, early = (levels_of(level, n) * np.ones(n) for level in (t, s))
    if (early > late).any():
        i = int(np.argmax(early > late))
        raise InvalidParameter(
            f"s = {early[i]} is above t = {late[i]}; a reverse step leads to less noise"
        )
    return late, early


def _step_of_symbols(
    x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, v: int
) -> tuple[Array, Array, FloatArray, FloatArray]:
    """Arguments of a reverse step between symbols, looked at; float32 beliefs stay so."""
    symbols_of("x_t", x_t, -1, v)
    x, p = array("x_t", x_t), array("belief", belief)
    finite_reals("belief", p, (*x.shape, v))
    return x, p, *_two_levels(t, s, len(x))


def _step_numbers(randoms: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Uniform numbers of a reverse step."""
    u = finite_reals("randoms", randoms, shape)
    if u.size and not (u.min() >= 0 and u.max() < 1):
        raise InvalidParameter(
            f"randoms lie in [{u.min()}, {u.max()}]; give uniform numbers as draw_step does"
        )
    return u


def _softmax(logits: FloatArray) -> FloatArray:
    """Along the last axis; -inf excludes a symbol."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _log_odds(t: FloatArray) -> FloatArray:
    """Log of kept over lost symbols: what a network is given where there is no SNR."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log1p(-t) - np.log(t))


def _extrinsic(beliefs: ArrayLike, v: int) -> FloatArray:
    """Beliefs of the leaves without their own observations; rounding may leave [0, 1] a little."""
    return reals("extrinsic", beliefs, -1e-9, 1 + 1e-9, shape=(None, None, v))
