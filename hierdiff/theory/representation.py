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

The averages are one-dimensional integrals (``_laplace``).  Everywhere below ``classes`` is K >= 2,
``rank`` d >= 1, 0 <= ``delta`` <= 1, ``sigma`` >= 0 (a number or an array, whose shape the result
takes), and delta = sigma = 0 is out.  Amplitudes other than 0 are at least 1e-70, sigma at most
1e140: their powers must be numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammainc

from hierdiff.checks import integers, reals
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory._laplace import (
    Block,
    Moments,
    answer,
    check,
    energies,
    log_odds_rate,
    moments,
    orthogonal,
    panel,
    scaled_gain,
    snr_ratio,
    top,
    weight_moments,
)
from hierdiff.theory.mean_field import (
    Decomposition,
    decompose,
    mean_field_exponent,
    snr_mean_field,
)
from hierdiff.theory.onset import (
    confidence_gap,
    onset_delta,
    onset_slope,
    snr_envelope,
    snr_limits,
)

__all__ = [
    "Decomposition",
    "Moments",
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
    "weight_moments",
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
    return _along(lambda s: snr_ratio(classes, rank, delta, s), sigma)


@orthogonal
def snr_clean(classes: int, rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Exact SNR of the level-sigma denoiser fed with the clean datum :math:`x_0`; delta > 0.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

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
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
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
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

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
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

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
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

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
