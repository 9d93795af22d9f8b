r"""One-dimensional integrals behind the SNR of orthogonal mixtures.

The averages are one-dimensional: with :math:`S = \sum_l e^{rA_l}`, :math:`S^{-p} = \Gamma(p)^{-1}
\int s^{p-1} e^{-sS} ds` factorises over blocks.  For :math:`s = e^u` let :math:`P_p(u) =
E[A^{[p>0]}\, y^p e^{-y}]` at :math:`y = e^{u+rA}`, and N likewise over B; then for p = 1, 2

.. math::

    E[w_k^p A] = E[A] - \int P_p\,(1 - N_0^{K-1})\,du, \quad
    E[w_l^p B] = \int N_p P_0 N_0^{K-2}\,du, \quad
    H(k|x_t) = \int P_0\,(1 - N_0^{K-1})\,du, \quad
    E[w_k] = 1 - \int E[y e^{-y}]\,(1 - N_0^{K-1})\,du .

The complements keep the range of u short for every delta, 0 included.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from hierdiff.checks import Rule, checked, number, reals, whole
from hierdiff.errors import InvalidParameter

__all__ = ["Moments", "weight_moments"]

Floats: TypeAlias = NDArray[np.float64]

_STEP = 0.2  # of the trapezoidal rule in u; its error is exp(-pi^2 / step)
_CUT = 5.0  # exp(-exp(5)) is nothing
_ENTRIES = 1 << 21  # of the integrands, held at a time
_MOST = 3e8  # of the integrands in all: some ten seconds
_SMALLEST, _LARGEST = 1e-70, 1e140  # of amplitudes: fourth powers and squares stay normal numbers

_MOST_CLASSES = 10**15  # of classes and of dimensions: exact as floating-point numbers

_F = TypeVar("_F", bound=Callable[..., Any])


def _several(name: str, value: Any) -> int:
    """Number of classes; an array in its place is a slip in the order of arguments."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        raise InvalidParameter(
            f"{name} is an array; give a number >= 2: the order is (classes, rank, delta, sigma)"
        )
    return whole(name, value, 2, _MOST_CLASSES)


def answer(name: str, function: Callable[..., Any], *arguments: Any) -> Floats:
    """What a function that was passed as an argument gives, as numbers."""
    try:
        found = function(*arguments)
    except TypeError as error:
        words = " ".join(str(error).split())[:80]
        raise InvalidParameter(
            f"{name} cannot be called with {len(arguments)} arguments ({words}); give a function"
            " of them"
        ) from error
    return reals(f"what {name} returns", found, infinite=True)


def _amplitude(name: str, value: Any) -> float:
    found = number(name, value)
    if not 0 <= found <= 1:
        raise InvalidParameter(f"{name} = {value} must lie in [0, 1], below the unit signal")
    if 0 < found < _SMALLEST:
        raise InvalidParameter(
            f"{name} = {value} must be 0 or >= {_SMALLEST:g}, where its powers are numbers"
        )
    return found


def _noise(name: str, value: Any) -> Any:
    """Noise levels, one or an array of them."""
    found = reals(name, value, 0, _LARGEST)
    tiny = (found > 0) & (found < _SMALLEST)
    if tiny.any():
        raise InvalidParameter(
            f"{name} = {found[tiny].flat[0]} must be 0 or >= {_SMALLEST:g}, where its powers are"
            " numbers; take the limit 0"
        )
    return found if found.ndim else float(found)


def _one_noise(name: str, value: Any) -> float:
    number(name, value, 0)
    return cast(float, _noise(name, value))


def orthogonal(function: _F) -> _F:
    """Check the parameters of an orthogonal mixture: classes, rank, delta, sigma."""
    rules: dict[str, Rule] = {
        "classes": _several, "rank": functools.partial(whole, low=1, high=_MOST_CLASSES),
        "delta": _amplitude,
    }  # fmt: skip
    parameters = inspect.signature(function).parameters
    chosen = {name: rule for name, rule in rules.items() if name in parameters}
    if "sigma" in parameters:
        one = str(parameters["sigma"].annotation) == "float"
        chosen["sigma"] = _one_noise if one else _noise
    return cast(_F, checked(**chosen)(function))


class Moments(NamedTuple):
    """E[X], E[w X], E[w^2 X] per block with X = A/a or B/b; -E[log w], E[w] of the true class."""

    own: Floats
    others: list[Floats]
    entropy: float
    confidence: float


class Block(NamedTuple):
    """Classes alike: rank, offset of the log-odds, and their number."""

    rank: int
    offset: float  # of the log-odds
    copies: int  # independent and alike


def moments(own: Block, others: list[Block], rate_own: float, rate: float, rest: float) -> Moments:
    """Laplace integrals of the module's opening for any blocks; ``rest`` is 1 - 2 rate."""
    highest = max(own.offset, *(block.offset for block in others))
    count = sum(block.copies for block in others)
    widest = max(own.rank, *(block.rank for block in others))
    # (1 - 2 rate)^(-d/2) = E[exp(rate X)] bounds how early the other blocks are felt
    low = -40 - highest - np.log(count) + widest * np.log(rest)
    work = (_CUT - own.offset - low) / _STEP * (100 + 5 * np.sqrt(widest))
    if not work < _MOST:
        raise InvalidParameter(
            f"rank = {widest} at this noise takes {work:.2g} evaluations of an integrand; lower the"
            " rank, or take its limit, snr_envelope"
        )
    u = np.arange(low, _CUT - own.offset, _STEP)
    room = np.sqrt(np.maximum(_CUT - own.offset - u, 0) / max(rate_own, 1e-300))
    p = _tilted(own.rank, u + own.offset, rate_own, np.minimum(top(own.rank), room))
    n = [_tilted(o.rank, u + o.offset, rate, np.full(u.shape, top(o.rank))) for o in others]
    quiet = sum(o.copies * _log(m) for o, m in zip(others, n, strict=True))
    loud = -np.expm1(quiet) * _STEP
    first = np.array([own.rank, own.rank - p[2] @ loud, own.rank - p[3] @ loud])
    averages = []
    for o, m in zip(others, n, strict=True):
        weight = p[0] * np.exp(quiet - _log(m)) * _STEP
        averages.append(np.array([o.rank, m[2] @ weight, m[3] @ weight]))
    return Moments(first, averages, float(p[0] @ loud), float(1 - p[4] @ loud))


def _tilted(rank: int, u: Floats, rate: float, end: Floats) -> tuple[Floats, ...]:
    """E[e^-y], E[1 - e^-y], E[X y e^-y], E[X y^2 e^-y], E[y e^-y], y = exp(u + rate X < end^2)."""
    step = max(1, _ENTRIES // (100 + int(5 * np.sqrt(rank))))
    parts = [_tilted_block(rank, u[i : i + step], rate, end[i : i + step])
             for i in range(0, len(u), step)]  # fmt: skip
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _tilted_block(rank: int, u: Floats, rate: float, end: Floats) -> tuple[Floats, ...]:
    t, w = panel(rank, np.zeros_like(end), end)
    y = np.exp(np.minimum(u[:, None] + rate * t * t, _CUT))
    damp = w * np.exp(-y)
    energy = damp * t * t * y
    return (
        damp.sum(1), -(w * np.expm1(-y)).sum(1), energy.sum(1), (energy * y).sum(1),
        (damp * y).sum(1),
    )  # fmt: skip


def _log(tilted: tuple[Floats, ...]) -> Floats:
    kept, lost = np.log(np.maximum(tilted[0], 1e-300)), np.log1p(-np.minimum(tilted[1], 0.5))
    return np.where(tilted[1] < 0.5, lost, kept)


def top(rank: int) -> float:
    """Where the chi density of t = sqrt(X) ends."""
    return float(np.sqrt(2 * rank) + 9.5)


@functools.lru_cache(maxsize=16)
def _legendre(count: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(count)


def panel(rank: int, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes on [low, high] for t = sqrt(X), weighted with its chi density."""
    nodes, weights = _legendre(100 + int(5 * np.sqrt(rank)))
    half = ((high - low) / 2)[..., None]
    t = low[..., None] + half * (1 + nodes)
    log_density = (1 - rank / 2) * np.log(2) - gammaln(rank / 2) - t * t / 2
    return t, half * weights * np.exp(log_density + (rank - 1) * np.log(t))


@orthogonal
def weight_moments(classes: int, rank: int, delta: float, sigma: float) -> Moments:
    """Exact moments of the class weights given :math:`x_t`; ``others`` has one entry.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float
        Noise level relative to the signal.

    Returns
    -------
    Moments

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.mixture.feature_snr`.

    Notes
    -----
    Validity: exact; everything in this module and in ``memorization`` derives from it.
    """
    return uniform_moments(classes, rank, delta, sigma)


def uniform_moments(
    classes: int, rank: int, delta: float, sigma: float, *, clean: bool = False
) -> Moments:
    """Moments for alike classes, of the noisy datum's energies or of the clean one's."""
    check(classes, rank, delta, sigma)
    (a, b), (own, other) = energies(delta, sigma), _input(delta, sigma, clean)
    rate, block = log_odds_rate(delta, sigma), Block(rank, 0.0, classes - 1)
    # 1 - 2 rate other, written without a difference
    v, d = sigma**2, delta**2
    rest = (v / a + v * (v / a) + d * (v / a) + d * (d / a)) / b if clean else b / a
    return moments(block, [block], rate * own, rate * other, rest)


def _input(delta: float, sigma: float, clean: bool) -> tuple[float, float]:
    """Energy per direction of what the denoiser is fed, in the true block and in another."""
    return (1.0, delta**2) if clean else energies(delta, sigma)


def snr_ratio(classes: int, rank: int, delta: float, sigma: float, *, clean: bool = False) -> float:
    """SNR for noisy or clean input."""
    m = uniform_moments(classes, rank, delta, sigma, clean=clean)
    own, other = _input(delta, sigma, clean)
    leak = (classes - 1) * other * scaled_gain(delta, sigma, m.others[0])
    kept = own * scaled_gain(delta, sigma, m.own)
    if not (leak > 0 and np.isfinite(kept / leak)):
        raise InvalidParameter(
            f"delta = {delta}, sigma = {sigma}: the SNR is beyond the range of floats; raise one of"
            " them"
        )
    return kept / leak


def scaled_gain(delta: float, sigma: float, block: Floats) -> float:
    """b^2 E[beta^2 X] from E[X], E[w X], E[w^2 X]; b drops out of every ratio."""
    a, _ = energies(delta, sigma)
    floor, gain = delta**2, (sigma**2 / a) * (1 - delta**2)
    return float(floor**2 * block[0] + 2 * floor * gain * block[1] + gain**2 * block[2])


def squared_gain(delta: float, sigma: float, block: Floats) -> float:
    """E[beta^2 X] from E[X], E[w X], E[w^2 X]."""
    _, b = energies(delta, sigma)
    return scaled_gain(delta, sigma, block) / b / b


def energies(delta: float, sigma: float) -> tuple[float, float]:
    """Energy a, b per direction of the true block and of the others."""
    return 1 + float(sigma) ** 2, float(delta) ** 2 + float(sigma) ** 2


def log_odds_rate(delta: float, sigma: float) -> float:
    """Rate r of the log-odds."""
    a, b = energies(delta, sigma)
    return (1 - delta**2) / (2 * a) / b


def check(classes: int, rank: int, delta: float, sigma: float) -> None:
    """Raise for parameters out of range."""
    if classes < 2 or rank < 1:
        raise InvalidParameter(
            f"classes = {classes}, rank = {rank}: an SNR needs another class; give >= 2 and >= 1"
        )
    if not 0 <= delta <= 1:
        raise InvalidParameter(f"delta = {delta} must lie in [0, 1], below the unit signal")
    if not (np.isfinite(sigma) and sigma >= 0):
        raise InvalidParameter(f"sigma = {sigma} must be finite and >= 0")
    if delta == 0 and sigma == 0:
        raise InvalidParameter("delta = sigma = 0: the SNR is infinite; raise one of them")
