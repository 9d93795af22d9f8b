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
classes, rank   K >= 2 and d >= 1
delta           residual amplitude, 0 <= delta <= 1
sigma           noise level relative to the signal, >= 0: a number, or an array whose shape
                the result takes
==============  ==========================================================================

The averages are one-dimensional integrals (:mod:`hierdiff.theory.mixture.snr_integrals`).
delta = sigma = 0 is out of range.  Amplitudes other than 0 are at least 1e-70, sigma at most 1e140:
their powers must be numbers.

The paper's closed form (mean field), and the same factors read off the exact SNR:

.. math::
    \mathrm{SNR} = \frac{a/b}{K-1}\Big[\frac{1+(\sigma^2/\delta^2)h_+}
    {1+(\sigma^2/\delta^2)h_-}\Big]^2, \qquad h_\pm = (1-\delta^2)w_\pm + \delta^2 .

================================  =============================================================
:math:`\sigma^2/\delta^2`         denoising rate, which rises with noise
:math:`h_+, h_-`                  confidence in the true class, confusion with another
:math:`w_\pm`                     weights at the mean log-odds (mean field), or those that give
                                  each block its mean-square gain (exact)
================================  =============================================================

At zero noise the SNR rises or falls as noise is added with

.. math::
    \frac{d\ln\mathrm{SNR}}{d\sigma^2}\Big|_0 = (\delta^{-2} - 1)(2G - 1), \qquad
    G = \frac{E[w_kA]}{E[A]} - \frac{E[w_lB]}{E[B]},

=============  ==================================================================================
:math:`G`      energy-weighted confidence: 1 if the class is certain, 0 if it is unknown
:math:`A, B`   energy of the datum in the block of the true class, and of another
=============  ==================================================================================

so the curve has a peak away from zero noise if and only if G > 1/2 there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import gammainc

from hierdiff.checks import integers, reals
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.snr_integrals import (
    Block,
    answer,
    check,
    energies,
    log_odds_rate,
    moments,
    orthogonal,
    panel,
    scaled_gain,
    snr_ratio,
    squared_gain,
    top,
    weight_moments,
)

__all__ = [
    "Decomposition",
    "Peak",
    "bayes_accuracy",
    "class_confidence",
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
]

Floats: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = Callable[[int, int, float, ArrayLike], Floats]


class Peak(NamedTuple):
    """Noise level and height of the maximum of an SNR curve."""

    sigma: float
    value: float


@orthogonal
def snr(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Exact SNR of the posterior mean :math:`E[x_0|x_t]`, Definition 1 of the reference.

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of range.

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
    return _along(lambda s: snr_ratio(classes, rank, delta, s), sigma)


@orthogonal
def snr_clean(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Exact SNR of the level-sigma denoiser fed with the clean datum :math:`x_0`; delta > 0.

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of range.

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
    return _along(lambda s: snr_ratio(classes, rank, delta, s, clean=True), sigma)


@orthogonal
def snr_peak(classes: int, rank: int, delta: float, *, curve: Curve = snr) -> Peak:
    """Maximum of an SNR curve such as :func:`snr`; sigma = 0 if it falls from the start.

    Parameters
    ----------
    classes, rank, delta : int, int, float
        As at the head of this module.
    curve : callable
        SNR as a function of K, d, delta and noise levels, such as :func:`snr_mean_field`.

    Returns
    -------
    Peak

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

    def at(log_sigma: Floats) -> Floats:
        return answer("curve", curve, classes, rank, delta, np.exp(log_sigma)).reshape(-1)

    grid = np.log(np.geomspace(1e-3, 100, 71))
    # every fifth level first: one maximum is assumed anyway, and high ranks are costly
    coarse = 5 * int(np.argmax(at(grid[::5])))
    near = np.arange(max(coarse - 4, 0), min(coarse + 5, 71))
    i = int(near[np.argmax(at(grid[near]))])
    if i == 0:
        return Peak(0.0, snr_limits(classes, delta)[0])
    found = minimize_scalar(
        lambda s: -float(at(np.array([s]))[0]),
        bounds=(grid[i - 1], grid[min(i + 1, 70)]),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return Peak(float(np.exp(found.x)), -float(found.fun))


@orthogonal
def bayes_accuracy(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Best accuracy at telling the class from :math:`x_t`, :math:`E_c[F_d(ac/b)^{K-1}]`.

    F is the distribution function of :math:`c \sim \chi^2_d`.

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of range.

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
        check(classes, rank, delta, s)
        a, b = energies(delta, s)
        # F turns within t ~ sqrt(b d / a): a panel of its own
        knee, end = np.sqrt(b / a) * top(rank), top(rank)
        total = 0.0
        for ends in ((0.0, knee), (knee, end)):
            t, w = panel(rank, *map(np.array, ends))
            total += float((w * gammainc(rank / 2, a / b * t**2 / 2) ** (classes - 1)).sum())
        return total

    return _along(accuracy, sigma)


@orthogonal
def class_confidence(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Mean belief in the true class, :math:`E[w_k \mid k] = E\sum_l w_l^2`.

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact, evaluated to 1e-11.

    Examples
    --------
    >>> class_confidence(2, 10, 0.2, [0.5, 1.0, 2.0]).round(8)
    array([0.97734326, 0.77763289, 0.55069471])
    """
    return _along(lambda s: weight_moments(classes, rank, delta, s).confidence, sigma)


@orthogonal
def snr_per_class(
    ranks: Sequence[int], weights: ArrayLike | None, delta: float, sigma: float
) -> Floats:
    r"""Exact SNR given each true class, [K], for unequal ranks and weights (None: uniform).

    The log-odds gain :math:`\ln\pi_l - \frac{d_l}{2}\ln\frac ab`.

    Parameters
    ----------
    ranks : sequence of K ints
        d_k.
    weights : array [K], optional
        Class probabilities, default uniform.
    delta : float
        Residual amplitude.
    sigma : float
        Noise level relative to the signal.

    Returns
    -------
    array [K]

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact for orthogonal subspaces and unit variances; the paper's SNR is the plain mean.

    Examples
    --------
    >>> snr_per_class([10, 2], None, 0.2, 0.296).round(6)
    array([331.112319,  12.979654])
    """
    d = integers("ranks", ranks, 1, ndim=1).tolist()
    classes, (a, b) = len(d), energies(delta, sigma)
    check(classes, min(d, default=0), delta, sigma)
    pi = np.full(classes, 1 / classes) if weights is None else reals("weights", weights)
    if pi.shape != (classes,) or not (pi > 0).all() or abs(pi.sum() - 1) > 1e-8:
        raise InvalidParameter(
            f"weights of shape {pi.shape} must be {classes} numbers > 0 with sum 1"
        )
    offsets = np.log(pi) - 0.5 * np.asarray(d) * np.log(a / b)
    blocks = [Block(n, float(c), 1) for n, c in zip(d, offsets, strict=True)]
    rate, out = log_odds_rate(delta, sigma), []
    for k, own in enumerate(blocks):
        m = moments(own, blocks[:k] + blocks[k + 1 :], rate * a, rate * b, b / a)
        leak = sum(b * scaled_gain(delta, sigma, other) for other in m.others)
        if not leak > 0:
            raise InvalidParameter(
                f"delta = {delta}, sigma = {sigma}: the SNR is beyond the range of floats; raise"
                " one of them"
            )
        out.append(a * scaled_gain(delta, sigma, m.own) / leak)
    return np.array(out)


def _along(f: Callable[[float], float], sigma: ArrayLike) -> Floats:
    values = np.asarray(sigma, dtype=float)
    return cast(Floats, np.array([f(float(s)) for s in values.ravel()]).reshape(values.shape)[()])


# --------------------------------------------------------------------------------------- mean field

_EXPONENT = 350.0  # exp(-350) squared is a number


class Decomposition(NamedTuple):
    r"""Factors of SNR = :math:`\frac{C}{K-1}\big[\frac{1+\rho h_+}{1+\rho h_-}\big]^2`."""

    noise_ratio: float
    denoising_rate: float
    confidence: float
    confusion: float


@orthogonal
def mean_field_exponent(rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Mean log-odds given the class, :math:`\Delta = d(1-\delta^2)^2/(2ab)`.

    Parameters
    ----------
    rank : int
        d.
    delta, sigma : float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Notes
    -----
    Validity: exact as a mean for noisy input.
    """
    v = np.square(np.asarray(sigma, dtype=float))
    if delta == 0 and not np.all(v):
        raise InvalidParameter("delta = sigma = 0: the log-odds are infinite; raise one of them")
    return cast(Floats, rank * (1 - delta**2) ** 2 / (2 * (1 + v)) / (delta**2 + v))


@orthogonal
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

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float or array
        As at the head of this module.
    exponent : callable
        Mean log-odds as a function of rank, delta and sigma.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of range.

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
    check(classes, rank, delta, float(np.sqrt(np.min(v, initial=1.0))))
    a, b = 1 + v, delta**2 + v
    with np.errstate(divide="ignore", under="ignore"):
        gain = answer("exponent", exponent, rank, delta, sigma)
        odds = np.exp(-np.minimum(gain, _EXPONENT))
        sure = 1 / (1 + (classes - 1) * odds)
        # zeta w + xi (1 - w) times b, which drops out; fit for delta = 0
        high, low = (w * (b / a) + (1 - w) * delta**2 for w in (sure, odds * sure))
    found = np.divide(a * high**2, (classes - 1) * b * low**2, out=np.full(v.shape, np.inf),
                      where=low > 0)  # fmt: skip
    if not np.isfinite(found).all():
        raise InvalidParameter(
            f"delta = {delta}: at sigma = {np.asarray(sigma)[~np.isfinite(found)].flat[0]} the SNR"
            " is beyond the range of floats; raise one of them"
        )
    return cast(Floats, found[()])


@orthogonal
def decompose(classes: int, rank: int, delta: float, sigma: float) -> Decomposition:
    r"""Split the exact SNR into denoising rate and class confidence; 0 < delta < 1, sigma > 0.

    ``noise_ratio`` a/b, ``denoising_rate`` :math:`\sigma^2/\delta^2`; ``confidence`` (true class)
    and ``confusion`` (another) are :math:`h = (1-\delta^2)w+\delta^2` at the weight w that gives
    the block its mean-square gain.

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float
        As at the head of this module.

    Returns
    -------
    Decomposition

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact, to 1e-15 delta^2 / sigma^2; the mean field has the same form with the weights
    of the mean log-odds.

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
    if sigma < 1e-5 * delta:  # rounding errors are divided by (sigma / delta)^2
        raise InvalidParameter(
            f"sigma = {sigma} is {sigma / delta:.3g} of delta = {delta}, where rounding hides the "
            "split; give 1e-5 of delta or more"
        )
    (a, b), rate = energies(delta, sigma), sigma**2 / delta**2
    m = weight_moments(classes, rank, delta, sigma)
    gains = [np.sqrt(squared_gain(delta, sigma, x) / rank) for x in (m.own, m.others[0])]
    high, low = (float((gain * a * b / delta**2 - 1) / rate) for gain in gains)
    return Decomposition(a / b, rate, high, low)


# --------------------------------------------------------------------------------- limits and onset


@orthogonal
def snr_limits(classes: int, delta: float) -> tuple[float, float]:
    r"""SNR without noise, :math:`1/((K-1)\delta^2)`, and in nothing but noise, 1/(K-1).

    Parameters
    ----------
    classes, delta : int, float
        As at the head of this module.

    Returns
    -------
    without_noise, all_noise : float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact for any rank.
    """
    check(classes, 1, delta, 1.0)
    return 1 / ((classes - 1) * delta**2) if delta else np.inf, 1 / (classes - 1)


@orthogonal
def snr_envelope(classes: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""SNR if the class were known, :math:`b/((K-1)\delta^4 a)`; it rises with sigma.

    Parameters
    ----------
    classes, delta, sigma : int, float, float or array
        As at the head of this module.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        Unless 0 < delta <= 1.

    Notes
    -----
    Validity: the limit of infinite rank at fixed sigma; delta > 0.
    """
    if not 0 < delta <= 1:
        raise InvalidParameter(f"delta = {delta} must lie in (0, 1]; without residual SNR diverges")
    v = np.square(np.asarray(sigma, dtype=float))
    return cast(Floats, ((delta**2 + v) / (1 + v)) / ((classes - 1) * delta**4))


@orthogonal
def confidence_gap(classes: int, rank: int, delta: float, sigma: float = 0.0) -> float:
    r"""Energy-weighted class confidence :math:`G = E[w_kA]/E[A] - E[w_lB]/E[B]`, in [0, 1].

    Parameters
    ----------
    classes, rank, delta, sigma : int, int, float, float
        As at the head of this module.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact.
    """
    m = weight_moments(classes, rank, delta, sigma)
    return float(m.own[1] - m.others[0][1]) / rank


@orthogonal
def onset_slope(classes: int, rank: int, delta: float) -> float:
    r"""Slope :math:`d\,\mathrm{SNR}/d\sigma^2 = (\delta^{-2}-1)(2G-1)/((K-1)\delta^2)` at 0.

    Parameters
    ----------
    classes, rank, delta : int, int, float
        As at the head of this module.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact, delta > 0; the SNR rises from sigma = 0 if and only if G > 1/2.
    """
    if delta == 0:
        raise InvalidParameter("delta = 0: the SNR is infinite without noise; give delta > 0")
    rise = (1 / delta**2 - 1) * (2 * confidence_gap(classes, rank, delta) - 1)
    return rise * snr_limits(classes, delta)[0]


@orthogonal
def onset_delta(classes: int, rank: int) -> float:
    """Residual amplitude above which the SNR falls from sigma = 0 on: root of G(delta) = 1/2.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact for the population.

    Examples
    --------
    >>> round(onset_delta(3, 5), 7)
    0.6592329
    """
    check(classes, rank, 0.5, 0.0)
    root = brentq(lambda x: confidence_gap(classes, rank, x) - 0.5, 1e-3, 1 - 1e-6, xtol=1e-12)
    return float(root)
