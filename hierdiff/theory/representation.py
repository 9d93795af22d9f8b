r"""Signal-to-noise ratio of denoised features in orthogonal low-rank mixtures.

K orthogonal subspaces of dimension d, uniform weights, unit variances, residual amplitude delta on
the other classes' span.  With :math:`a = 1+\sigma^2`, :math:`b = \delta^2+\sigma^2` the energies
of :math:`x_t` in the block of the true class k and of another class l are :math:`A = a\chi^2_d`,
:math:`B = b\chi^2_d`, and the denoiser multiplies each block by a scalar,

.. math::

    D(x) = \sum_l \beta_l U_l U_l^T x, \quad \beta_l = \xi + (\zeta-\xi) w_l, \quad
    w = \mathrm{softmax}_l(r A_l), \quad
    \mathrm{SNR} = \frac{E|U_kU_k^T D|^2}{E|D - U_kU_k^T D|^2}
                 = \frac{E[\beta_k^2 A]}{(K-1)\,E[\beta_l^2 B]} .

==============  ==========================================================================
:math:`\zeta`   1 / a, gain of the true block once the class is certain
:math:`\xi`     delta^2 / b, gain of the other blocks
:math:`r`       (1/b - 1/a) / 2 = (1 - delta^2) / (2ab), rate of the log-odds
:math:`w_\pm`   class confidence: weight of the true class, of one other class
==============  ==========================================================================

The averages are one-dimensional: with :math:`S = \sum_l e^{rA_l}`, :math:`S^{-p} = \Gamma(p)^{-1}
\int s^{p-1} e^{-sS} ds` factorises over blocks.  For :math:`s = e^u` let :math:`P_p(u) =
E[A^{[p>0]}\, y^p e^{-y}]` at :math:`y = e^{u+rA}`, and N likewise over B; then for p = 1, 2

.. math::

    E[w_k^p A] = E[A] - \int P_p\,(1 - N_0^{K-1})\,du, \quad
    E[w_l^p B] = \int N_p P_0 N_0^{K-2}\,du, \quad
    H(k|x_t) = \int P_0\,(1 - N_0^{K-1})\,du .

The complements keep the range of u short for every delta, 0 included.  Everywhere below
``classes`` is K >= 2, ``rank`` d >= 1, 0 <= ``delta`` <= 1, ``sigma`` >= 0 (a number or an array,
whose shape the result takes), and delta = sigma = 0 is out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import gammainc, gammaln

from hierdiff.errors import InvalidParameter, NoTransition

__all__ = [
    "Decomposition",
    "Moments",
    "Peak",
    "bayes_accuracy",
    "confidence_gap",
    "decompose",
    "mean_field_exponent",
    "onset_delta",
    "onset_slope",
    "snr",
    "snr_clean",
    "snr_envelope",
    "snr_limits",
    "snr_mean_field",
    "snr_peak",
    "snr_per_class",
    "weight_moments",
]

Floats: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = Callable[[int, int, float, ArrayLike], Floats]

_STEP = 0.2  # of the trapezoidal rule in u; its error is exp(-pi^2 / step)
_CUT = 5.0  # exp(-exp(5)) is nothing


class Peak(NamedTuple):
    """Noise level and height of the maximum of an SNR curve."""

    sigma: float
    value: float


class Decomposition(NamedTuple):
    r"""Factors of SNR = :math:`\frac{C}{K-1}\big[\frac{1+\rho h_+}{1+\rho h_-}\big]^2`."""

    noise_ratio: float
    denoising_rate: float
    confidence: float
    confusion: float


class Moments(NamedTuple):
    """E[X], E[w X], E[w^2 X] per block with X = A/a or B/b, and -E[log w] of the true class."""

    own: Floats
    others: list[Floats]
    entropy: float


def snr(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Exact SNR of the posterior mean :math:`E[x_0|x_t]`, Definition 1 of the reference.

    Parameters
    ----------
    classes, rank, delta, sigma
        K, d, residual amplitude, noise levels; ranges as above.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges above.

    Notes
    -----
    Validity: exact, evaluated to 1e-11, in any ambient dimension >= K d.

    References
    ----------
    Li et al., Understanding Representation Dynamics of Diffusion Models, arXiv 2502.05743.

    Examples
    --------
    >>> snr(3, 5, 0.2, [0.296, 0.585]).round(8)
    array([30.21965313, 12.8073554 ])
    """
    return _along(lambda s: _ratio(classes, rank, delta, s, *_energies(delta, s)), sigma)


def snr_clean(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Exact SNR of the level-sigma denoiser fed with the clean datum :math:`x_0`; delta > 0.

    Notes
    -----
    Validity: as for :func:`snr`, with energies 1 and delta^2 per direction in place of a and b.

    Examples
    --------
    >>> snr_clean(3, 5, 0.2, [0.585]).round(8)
    array([280.98022411])
    """
    if delta == 0:
        raise InvalidParameter("delta = 0 leaves a clean datum no residual; give delta > 0")
    return _along(lambda s: _ratio(classes, rank, delta, s, 1.0, delta**2), sigma)


def snr_per_class(
    ranks: Sequence[int], weights: ArrayLike | None, delta: float, sigma: float
) -> Floats:
    r"""Exact SNR given each true class, [K], for unequal ranks and weights (None: uniform).

    The log-odds gain :math:`\ln\pi_l - \frac{d_l}{2}\ln\frac ab`.

    Notes
    -----
    Validity: exact for orthogonal subspaces and unit variances; the paper's SNR is the plain mean.

    Examples
    --------
    >>> snr_per_class([10, 2], None, 0.2, 0.296).round(6)
    array([331.112319,  12.979654])
    """
    classes, (a, b) = len(ranks), _energies(delta, sigma)
    _check(classes, min(ranks, default=0), delta, sigma)
    pi = np.full(classes, 1 / classes) if weights is None else np.asarray(weights, float)
    if pi.shape != (classes,) or not (pi > 0).all() or abs(pi.sum() - 1) > 1e-8:
        raise InvalidParameter(f"weights = {pi} must be {classes} numbers > 0 with sum 1")
    offsets = np.log(pi) - 0.5 * np.asarray(ranks) * np.log(a / b)
    blocks = [_Block(d, float(c), 1) for d, c in zip(ranks, offsets, strict=True)]
    rate, out = _rate(delta, sigma), []
    for k, own in enumerate(blocks):
        m = _moments(own, blocks[:k] + blocks[k + 1 :], rate * a, rate * b)
        leak = sum(b * _squared(delta, sigma, other) for other in m.others)
        out.append(a * _squared(delta, sigma, m.own) / leak)
    return np.array(out)


def mean_field_exponent(rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Mean log-odds given the class, :math:`\Delta = d(1-\delta^2)^2/(2ab)`.

    Notes
    -----
    Validity: exact as a mean for noisy input.
    """
    v = np.square(np.asarray(sigma, dtype=float))
    return cast(Floats, rank * (1 - delta**2) ** 2 / (2 * (1 + v) * (delta**2 + v)))


def snr_mean_field(
    classes: int,
    rank: int,
    delta: float,
    sigma: ArrayLike,
    *,
    exponent: Callable[[int, float, ArrayLike], Floats] = mean_field_exponent,
) -> Floats:
    r"""The paper's closed form (Theorem 1): the expectation moved inside the softmax.

    .. math::
        \frac{a/b}{K-1}\Big[\frac{1+(\sigma^2/\delta^2)h_+}{1+(\sigma^2/\delta^2)h_-}\Big]^2,
        \quad h_\pm = (1-\delta^2)w_\pm + \delta^2, \quad
        w_+ = \frac{1}{1+(K-1)e^{-\Delta}},\ w_- = e^{-\Delta} w_+ .

    Notes
    -----
    Validity: right shape, wrong peak (K = 3, d = 5, delta = 0.2: 76.0 in place of 30.8); exact
    without noise and in nothing but noise.  Clean input: a/b becomes 1/delta^2.

    Examples
    --------
    >>> snr_mean_field(3, 5, 0.2, [0.585]).round(8)
    array([75.23362896])
    """
    v = np.square(np.asarray(sigma, dtype=float))
    _check(classes, rank, delta, float(np.sqrt(np.min(v))))
    a, b = 1 + v, delta**2 + v
    with np.errstate(divide="ignore", under="ignore"):
        odds = np.exp(-exponent(rank, delta, sigma))
        sure = 1 / (1 + (classes - 1) * odds)
        # zeta w + xi (1 - w) = delta^2 [1 + (sigma^2 / delta^2) h] / (a b), fit for delta = 0
        high, low = (w / a + (1 - w) * delta**2 / b for w in (sure, odds * sure))
        return cast(Floats, np.divide(a * high**2, (classes - 1) * b * low**2))


def snr_peak(classes: int, rank: int, delta: float, *, curve: Curve = snr) -> Peak:
    """Maximum of an SNR curve such as :func:`snr`; sigma = 0 if it falls from the start.

    Raises
    ------
    NoTransition
        For delta = 0, where the SNR diverges as sigma vanishes.

    Notes
    -----
    Validity: assumes one maximum, between sigma = 1e-3 and 100; always seen, not proven.

    Examples
    --------
    >>> peak = snr_peak(3, 5, 0.2)
    >>> round(peak.sigma, 5), round(peak.value, 6)
    (0.32572, 30.766261)
    """
    if delta == 0:
        raise NoTransition("delta = 0: the SNR grows without bound as sigma -> 0; give delta > 0")
    grid = np.log(np.geomspace(1e-3, 100, 71))
    i = int(np.argmax(curve(classes, rank, delta, np.exp(grid))))
    if i == 0:
        return Peak(0.0, snr_limits(classes, delta)[0])
    found = minimize_scalar(
        lambda s: -float(curve(classes, rank, delta, np.exp(s))),
        bounds=(grid[i - 1], grid[min(i + 1, 70)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Peak(float(np.exp(found.x)), -float(found.fun))


def snr_limits(classes: int, delta: float) -> tuple[float, float]:
    r"""SNR without noise, :math:`1/((K-1)\delta^2)`, and in nothing but noise, 1/(K-1).

    Notes
    -----
    Validity: exact for any rank.
    """
    _check(classes, 1, delta, 1.0)
    return 1 / ((classes - 1) * delta**2) if delta else np.inf, 1 / (classes - 1)


def snr_envelope(classes: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""SNR if the class were known, :math:`b/((K-1)\delta^4 a)`; it rises with sigma.

    Notes
    -----
    Validity: the limit of infinite rank at fixed sigma; delta > 0.
    """
    v = np.square(np.asarray(sigma, dtype=float))
    return cast(Floats, (delta**2 + v) / ((classes - 1) * delta**4 * (1 + v)))


def confidence_gap(classes: int, rank: int, delta: float, sigma: float = 0.0) -> float:
    r"""Energy-weighted class confidence :math:`G = E[w_kA]/E[A] - E[w_lB]/E[B]`, in [0, 1].

    Notes
    -----
    Validity: exact.
    """
    m = weight_moments(classes, rank, delta, sigma)
    return float(m.own[1] - m.others[0][1]) / rank


def onset_slope(classes: int, rank: int, delta: float) -> float:
    r"""Slope :math:`d\,\mathrm{SNR}/d\sigma^2 = (\delta^{-2}-1)(2G-1)/((K-1)\delta^2)` at 0.

    Notes
    -----
    Validity: exact, delta > 0; the SNR rises from sigma = 0 if and only if G > 1/2.
    """
    rise = (1 / delta**2 - 1) * (2 * confidence_gap(classes, rank, delta) - 1)
    return rise * snr_limits(classes, delta)[0]


def onset_delta(classes: int, rank: int) -> float:
    """Residual amplitude above which the SNR falls from sigma = 0 on: root of G(delta) = 1/2.

    Notes
    -----
    Validity: exact for the population.

    Examples
    --------
    >>> round(onset_delta(3, 5), 7)
    0.6592329
    """
    _check(classes, rank, 0.5, 0.0)
    root = brentq(lambda x: confidence_gap(classes, rank, x) - 0.5, 1e-3, 1 - 1e-6, xtol=1e-12)
    return float(root)


def decompose(classes: int, rank: int, delta: float, sigma: float) -> Decomposition:
    r"""Split the exact SNR into denoising rate and class confidence; 0 < delta < 1, sigma > 0.

    ``noise_ratio`` a/b, ``denoising_rate`` :math:`\sigma^2/\delta^2`; ``confidence`` (true class)
    and ``confusion`` (another) are :math:`h = (1-\delta^2)w+\delta^2` at the weight w that gives
    the block its mean-square gain.

    Notes
    -----
    Validity: exact; the mean field has the same form with the weights of the mean log-odds.

    Examples
    --------
    >>> f = decompose(3, 5, 0.2, 0.296)
    >>> round(f.noise_ratio / 2 * (
    ...     (1 + f.denoising_rate * f.confidence) / (1 + f.denoising_rate * f.confusion)) ** 2, 9)
    30.219653134
    """
    if not (0 < delta < 1 and sigma > 0):
        raise InvalidParameter(
            f"delta = {delta}, sigma = {sigma}: the split needs 0 < delta < 1 and sigma > 0"
        )
    (a, b), rate = _energies(delta, sigma), sigma**2 / delta**2
    m = weight_moments(classes, rank, delta, sigma)
    gains = [np.sqrt(_squared(delta, sigma, x) / rank) for x in (m.own, m.others[0])]
    high, low = (float((gain * a * b / delta**2 - 1) / rate) for gain in gains)
    return Decomposition(a / b, rate, high, low)


def bayes_accuracy(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Best accuracy at telling the class from :math:`x_t`, :math:`E_c[F_d(ac/b)^{K-1}]`.

    F is the distribution function of :math:`c \sim \chi^2_d`.

    Notes
    -----
    Validity: exact.  It is also the accuracy of the largest projection of the exact denoiser, and
    falls monotonically with noise.

    Examples
    --------
    >>> bayes_accuracy(3, 5, 0.2, [0.02, 0.6, 1.0]).round(8)
    array([0.99744421, 0.84126741, 0.64098886])
    """

    def accuracy(s: float) -> float:
        _check(classes, rank, delta, s)
        a, b = _energies(delta, s)
        # F turns within t ~ sqrt(b d / a): a panel of its own
        knee, top = np.sqrt(b / a) * _top(rank), _top(rank)
        total = 0.0
        for ends in ((0.0, knee), (knee, top)):
            t, w = _panel(rank, *map(np.array, ends))
            total += float((w * gammainc(rank / 2, a / b * t**2 / 2) ** (classes - 1)).sum())
        return total

    return _along(accuracy, sigma)


def weight_moments(classes: int, rank: int, delta: float, sigma: float) -> Moments:
    """Exact moments of the class weights given :math:`x_t`; ``others`` has one entry.

    Notes
    -----
    Validity: exact; everything in this module and in ``memorization`` derives from it.
    """
    return _uniform(classes, rank, delta, sigma, *_energies(delta, sigma))


class _Block(NamedTuple):
    rank: int
    offset: float  # of the log-odds
    copies: int  # independent and alike


def _moments(own: _Block, others: list[_Block], rate_own: float, rate: float) -> Moments:
    """Laplace integrals of the module's opening for any blocks."""
    top = max(own.offset, *(block.offset for block in others))
    count = sum(block.copies for block in others)
    widest = max(own.rank, *(block.rank for block in others))
    # (1 - 2 rate)^(-d/2) = E[exp(rate X)] bounds how early the other blocks are felt
    low = -40 - top - np.log(count) + widest * np.log1p(-2 * rate)
    u = np.arange(low, _CUT - own.offset, _STEP)
    room = np.sqrt(np.maximum(_CUT - own.offset - u, 0) / max(rate_own, 1e-300))
    p = _tilted(own.rank, u + own.offset, rate_own, np.minimum(_top(own.rank), room))
    n = [_tilted(o.rank, u + o.offset, rate, np.full(u.shape, _top(o.rank))) for o in others]
    quiet = sum(o.copies * _log(m) for o, m in zip(others, n, strict=True))
    loud = -np.expm1(quiet) * _STEP
    first = np.array([own.rank, own.rank - p[2] @ loud, own.rank - p[3] @ loud])
    rest = []
    for o, m in zip(others, n, strict=True):
        weight = p[0] * np.exp(quiet - _log(m)) * _STEP
        rest.append(np.array([o.rank, m[2] @ weight, m[3] @ weight]))
    return Moments(first, rest, float(p[0] @ loud))


def _tilted(rank: int, u: Floats, rate: float, top: Floats) -> tuple[Floats, ...]:
    """E[e^-y], E[1 - e^-y], E[X y e^-y], E[X y^2 e^-y] at y = exp(u + rate X), X < top^2."""
    t, w = _panel(rank, np.zeros_like(top), top)
    y = np.exp(np.minimum(u[:, None] + rate * t * t, _CUT))
    damp = w * np.exp(-y)
    energy = damp * t * t * y
    return damp.sum(1), -(w * np.expm1(-y)).sum(1), energy.sum(1), (energy * y).sum(1)


def _log(tilted: tuple[Floats, ...]) -> Floats:
    kept, lost = np.log(np.maximum(tilted[0], 1e-300)), np.log1p(-np.minimum(tilted[1], 0.5))
    return np.where(tilted[1] < 0.5, lost, kept)


def _top(rank: int) -> float:
    return float(np.sqrt(2 * rank) + 9.5)


def _panel(rank: int, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes on [low, high] for t = sqrt(X), weighted with its chi density."""
    nodes, weights = np.polynomial.legendre.leggauss(100 + int(5 * np.sqrt(rank)))
    half = ((high - low) / 2)[..., None]
    t = low[..., None] + half * (1 + nodes)
    log_density = (1 - rank / 2) * np.log(2) - gammaln(rank / 2) - t * t / 2
    return t, half * weights * np.exp(log_density + (rank - 1) * np.log(t))


def _uniform(
    classes: int, rank: int, delta: float, sigma: float, own: float, other: float
) -> Moments:
    _check(classes, rank, delta, sigma)
    rate, block = _rate(delta, sigma), _Block(rank, 0.0, classes - 1)
    return _moments(block, [block], rate * own, rate * other)


def _ratio(classes: int, rank: int, delta: float, sigma: float, own: float, other: float) -> float:
    m = _uniform(classes, rank, delta, sigma, own, other)
    leak = (classes - 1) * other * _squared(delta, sigma, m.others[0])
    return own * _squared(delta, sigma, m.own) / leak


def _squared(delta: float, sigma: float, moments: Floats) -> float:
    """E[beta^2 X] from E[X], E[w X], E[w^2 X]."""
    a, b = _energies(delta, sigma)
    xi, gain = delta**2 / b, sigma**2 * (1 - delta**2) / (a * b)
    return float(xi**2 * moments[0] + 2 * xi * gain * moments[1] + gain**2 * moments[2])


def _energies(delta: float, sigma: float) -> tuple[float, float]:
    return 1 + float(sigma) ** 2, float(delta) ** 2 + float(sigma) ** 2


def _rate(delta: float, sigma: float) -> float:
    a, b = _energies(delta, sigma)
    return (1 - delta**2) / (2 * a * b)


def _along(f: Callable[[float], float], sigma: ArrayLike) -> Floats:
    values = np.asarray(sigma, dtype=float)
    return cast(Floats, np.array([f(float(s)) for s in values.ravel()]).reshape(values.shape)[()])


def _check(classes: int, rank: int, delta: float, sigma: float) -> None:
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
