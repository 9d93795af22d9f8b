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
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from hierdiff.errors import InvalidParameter

__all__ = [
    "Block",
    "Moments",
    "check",
    "energies",
    "log_odds_rate",
    "moments",
    "panel",
    "snr_ratio",
    "squared_gain",
    "top",
    "uniform_moments",
    "weight_moments",
]

Floats: TypeAlias = NDArray[np.float64]

_STEP = 0.2  # of the trapezoidal rule in u; its error is exp(-pi^2 / step)
_CUT = 5.0  # exp(-exp(5)) is nothing


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


def moments(own: Block, others: list[Block], rate_own: float, rate: float) -> Moments:
    """Laplace integrals of the module's opening for any blocks."""
    highest = max(own.offset, *(block.offset for block in others))
    count = sum(block.copies for block in others)
    widest = max(own.rank, *(block.rank for block in others))
    # (1 - 2 rate)^(-d/2) = E[exp(rate X)] bounds how early the other blocks are felt
    low = -40 - highest - np.log(count) + widest * np.log1p(-2 * rate)
    u = np.arange(low, _CUT - own.offset, _STEP)
    room = np.sqrt(np.maximum(_CUT - own.offset - u, 0) / max(rate_own, 1e-300))
    p = _tilted(own.rank, u + own.offset, rate_own, np.minimum(top(own.rank), room))
    n = [_tilted(o.rank, u + o.offset, rate, np.full(u.shape, top(o.rank))) for o in others]
    quiet = sum(o.copies * _log(m) for o, m in zip(others, n, strict=True))
    loud = -np.expm1(quiet) * _STEP
    first = np.array([own.rank, own.rank - p[2] @ loud, own.rank - p[3] @ loud])
    rest = []
    for o, m in zip(others, n, strict=True):
        weight = p[0] * np.exp(quiet - _log(m)) * _STEP
        rest.append(np.array([o.rank, m[2] @ weight, m[3] @ weight]))
    return Moments(first, rest, float(p[0] @ loud), float(1 - p[4] @ loud))


def _tilted(rank: int, u: Floats, rate: float, end: Floats) -> tuple[Floats, ...]:
    """E[e^-y], E[1 - e^-y], E[X y e^-y], E[X y^2 e^-y], E[y e^-y], y = exp(u + rate X < end^2)."""
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
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact; everything in this module and in ``memorization`` derives from it.
    """
    return uniform_moments(classes, rank, delta, sigma, *energies(delta, sigma))


def uniform_moments(
    classes: int, rank: int, delta: float, sigma: float, own: float, other: float
) -> Moments:
    """Moments for alike classes whose blocks carry the energies given."""
    check(classes, rank, delta, sigma)
    rate, block = log_odds_rate(delta, sigma), Block(rank, 0.0, classes - 1)
    return moments(block, [block], rate * own, rate * other)


def snr_ratio(
    classes: int, rank: int, delta: float, sigma: float, own: float, other: float
) -> float:
    """SNR for the energies given."""
    m = uniform_moments(classes, rank, delta, sigma, own, other)
    leak = (classes - 1) * other * squared_gain(delta, sigma, m.others[0])
    return own * squared_gain(delta, sigma, m.own) / leak


def squared_gain(delta: float, sigma: float, block: Floats) -> float:
    """E[beta^2 X] from E[X], E[w X], E[w^2 X]."""
    a, b = energies(delta, sigma)
    xi, gain = delta**2 / b, sigma**2 * (1 - delta**2) / (a * b)
    return float(xi**2 * block[0] + 2 * xi * gain * block[1] + gain**2 * block[2])


def energies(delta: float, sigma: float) -> tuple[float, float]:
    """Energy a, b per direction of the true block and of the others."""
    return 1 + float(sigma) ** 2, float(delta) ** 2 + float(sigma) ** 2


def log_odds_rate(delta: float, sigma: float) -> float:
    """Rate r of the log-odds."""
    a, b = energies(delta, sigma)
    return (1 - delta**2) / (2 * a * b)


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
