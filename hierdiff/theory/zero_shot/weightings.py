r"""Weights of denoising errors as functions of time.

.. math::
    \gamma(t) = \cot^2\frac{\pi t}{2}, \qquad
    |\gamma'(t)| = \pi\,\frac{\cos(\pi t/2)}{\sin^3(\pi t/2)}, \qquad
    |\varepsilon - \hat\varepsilon|^2 = \gamma\,|x_0 - \hat x_0|^2 .

===========  =================  ==============================================================
name         w(t)               what it is, relative to the x0 error
===========  =================  ==============================================================
``vdm``      ``|SNR'|``         the likelihood bound; exactly Bayes' rule
``snr``      SNR                equal weights on the error of the noise
``exp``      exp(-7t)           the published heuristic (exp(-6t) in the same paper's appendix)
``uniform``  1                  equal weights on the error of the data
``late``     1 for t > 0.6      high noise alone
===========  =================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from hierdiff.checks import (
    array,
    checked,
    count,
    finite_reals,
    level,
    levels_of,
    nonnegative,
    number,
    reals,
    sound,
    together,
)
from hierdiff.errors import InvalidParameter
from hierdiff.theory.zero_shot.inputs import checked_labels

__all__ = [
    "WEIGHTINGS",
    "Buckets",
    "Weight",
    "band",
    "eps_error",
    "fit_buckets",
    "snr_at",
    "snr_slope",
    "weighting",
    "x0_error",
]

Floats: TypeAlias = NDArray[np.float64]
Weight: TypeAlias = Callable[[Floats], Floats]

LATE = 0.6


@checked
@sound
def snr_at(t: ArrayLike) -> Floats:
    r"""Signal-to-noise ratio of the cosine channel, :math:`\gamma(t) = \cot^2(\pi t/2)`.

    Parameters
    ----------
    t : array
        In (0, 1].

    Returns
    -------
    array

    Raises
    ------
    InvalidParameter
        If a time is not in (0, 1].

    Notes
    -----
    Validity: exact.  ``GaussianNoise`` shifts the cosine by 0.008; this is the unshifted one of
    the classifiers' papers.

    Examples
    --------
    >>> snr_at([0.5, 1.0]).round(12).tolist()
    [1.0, 0.0]
    """
    return np.asarray(np.tan(np.pi / 2 * _times(t)) ** -2.0)


@checked
@sound
def snr_slope(t: ArrayLike) -> Floats:
    r"""Rate :math:`|\gamma'(t)| = \pi \cos(\pi t/2) / \sin^3(\pi t/2)` of the cosine channel.

    Raises
    ------
    InvalidParameter
        If a time is not in (0, 1].

    Notes
    -----
    Validity: exact, t in (0, 1].

    Examples
    --------
    >>> float(snr_slope(0.5).round(6))
    6.283185
    """
    angle = np.pi / 2 * _times(t)
    return np.asarray(np.pi * np.cos(angle) / np.sin(angle) ** 3)


@checked(x0_error=nonnegative, snr=nonnegative)
@sound
def eps_error(x0_error: ArrayLike, snr: ArrayLike) -> Floats:
    r"""Error of the noise from that of the data.

    .. math:: |\varepsilon - \hat\varepsilon|^2 = \gamma\,|x_0 - \hat x_0|^2

    Notes
    -----
    Validity: exact, for a prediction of the noise that is made of the same denoiser.

    Examples
    --------
    >>> float(eps_error(0.5, 4.0)), float(x0_error(2.0, 4.0))
    (2.0, 0.5)
    """
    together(x0_error=x0_error, snr=snr)
    return np.asarray(np.asarray(snr, float) * np.asarray(x0_error, float))


@checked(eps_error=nonnegative)
@sound
def x0_error(eps_error: ArrayLike, snr: ArrayLike) -> Floats:
    r"""The error of the data from that of the noise, the inverse of :func:`eps_error`.

    Raises
    ------
    InvalidParameter
        At SNR 0, where the noise says nothing about the data.

    Notes
    -----
    Validity: exact for SNR > 0.
    """
    ratio = reals("snr", snr, low=0)
    if not (ratio > 0).all():
        raise InvalidParameter("snr = 0: the noise is known and says nothing of x0; use snr > 0")
    together(eps_error=eps_error, snr=ratio)
    return np.asarray(np.asarray(eps_error, float) / ratio)


@dataclass(frozen=True)
class Buckets:
    """A weight that is constant on equal intervals of time.

    Parameters
    ----------
    values : tuple of float
        One per interval of (0, 1).

    Raises
    ------
    InvalidParameter
        If a value is negative, or all vanish.

    Examples
    --------
    >>> Buckets((1.0, 3.0))(np.array([0.2, 0.8])).tolist()
    [1.0, 3.0]
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        v = reals("values", self.values, ndim=1)
        object.__setattr__(self, "values", tuple(v.tolist()))
        if not v.size or (v < 0).any():
            raise InvalidParameter(f"values = {self.values} must be finite weights >= 0")
        if not (v > 0).any():
            raise InvalidParameter("the weights vanish everywhere; one bucket must be > 0")

    @checked(t=level)
    def __call__(self, t: Floats) -> Floats:
        """Weight at time t in [0, 1]."""
        place = np.minimum((np.asarray(t) * len(self.values)).astype(int), len(self.values) - 1)
        return np.asarray(np.asarray(self.values)[place])


@checked(rate=partial(number, low=0))
def weighting(name: str, *, rate: float = 7.0) -> Weight:
    r"""A published weight by its name.

    Parameters
    ----------
    name : {"vdm", "snr", "exp", "uniform", "late"}
        See the module's table.
    rate : float
        Of ``exp``: 7 in the paper's text, 6 in its appendix.

    Returns
    -------
    callable
        Weight of the x0 error as a function of t in (0, 1].

    Raises
    ------
    InvalidParameter
        If the name is unknown or the rate negative.

    Notes
    -----
    Validity: for times drawn uniformly from (0, 1) and the unshifted cosine channel.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233.

    Examples
    --------
    >>> weighting("exp")(np.array([0.0, 1.0])).round(6).tolist()
    [1.0, 0.000912]
    """
    if name not in _NAMED:
        raise InvalidParameter(f"weighting = {name!r} is unknown; use {', '.join(_NAMED)}")
    return (lambda t: np.exp(-rate * levels_of(t))) if name == "exp" else _NAMED[name]


@checked
def band(low: float, high: float, inside: Weight | None = None) -> Weight:
    """A weight that vanishes outside ``low <= t < high``; inside it is ``inside`` (default 1).

    Raises
    ------
    InvalidParameter
        If the ends are not increasing or leave [0, 1].

    Examples
    --------
    >>> band(0.4, 0.8)(np.array([0.1, 0.4, 0.9])).tolist()
    [0.0, 1.0, 0.0]
    """
    if not 0 <= low < high <= 1:
        raise InvalidParameter(f"band {low} to {high} must be increasing and within 0 to 1")
    shape = inside or np.ones_like

    def weight(t: Floats) -> Floats:
        times = levels_of(t)
        return np.where((times >= low) & (times < high), shape(times), 0.0)

    return weight


@checked(buckets=count, penalty=partial(number, low=0))
@sound
def fit_buckets(
    errors: ArrayLike,
    t: ArrayLike,
    labels: ArrayLike,
    *,
    buckets: int = 20,
    penalty: float = 1e-3,
) -> Buckets:
    r"""Learned weights: those that make a softmax over classes most likely.

    .. math:: \max_{v \ge 0} \sum_x \log \mathrm{softmax}_c\Big(-\sum_i v_i\, b_i(x, c)\Big)_{y(x)}

    with :math:`b_i(x, c)` the mean error of the samples in the i-th of the equal intervals.

    Parameters
    ----------
    errors : array [n, N, K]
        Denoising errors of N samples for each of n data, all classes.
    t : array [n, N]
        Their times.
    labels : int array [n]
        True classes.
    buckets : int
        Number of intervals.
    penalty : float
        Weight of :math:`\sum_i (v_i u_i)^2`, per datum, with :math:`u_i` the spread of the errors
        over classes; it keeps the fit finite if the training data are separable.

    Returns
    -------
    Buckets

    Raises
    ------
    InvalidParameter
        If shapes do not agree, a number is out of range, or a class or a bucket has no data.

    Notes
    -----
    Validity: a convex problem.  Not zero-shot: it uses labels.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233, section 3 (20 buckets, about 100 samples each).
    """
    e = finite_reals("errors", errors, (None, None, None))
    if e.shape[2] < 2:
        raise InvalidParameter(f"errors have shape {e.shape}; give two classes or more")
    times = levels_of(t)
    if times.shape != e.shape[:2]:
        raise InvalidParameter(f"t has shape {times.shape}; the errors need {e.shape[:2]}")
    y = checked_labels(labels, len(e), e.shape[2], every=True)
    if buckets > times.size:
        raise InvalidParameter(
            f"buckets = {buckets} are more than the {times.size} times, so one bucket has no "
            "samples; use fewer buckets"
        )
    place = np.minimum((times * buckets).astype(int), buckets - 1)
    means = np.zeros((len(e), buckets, e.shape[2]))
    for i in range(buckets):
        here = place == i
        if not here.any():
            raise InvalidParameter(f"bucket {i} of {buckets} has no samples; use fewer buckets")
        count = np.maximum(here.sum(axis=1), 1)[:, None]
        means[:, i] = np.where(here[..., None], e, 0.0).sum(axis=1) / count
    means -= means.mean(axis=2, keepdims=True)
    unit = np.sqrt((means**2).mean(axis=(0, 2))) + 1e-300
    means /= unit[:, None]
    rows = np.arange(len(e))

    def loss(v: Floats) -> tuple[float, Floats]:
        logits = -np.einsum("i,nik->nk", v, means)
        share = special.softmax(logits, axis=1)
        value = (special.logsumexp(logits, axis=1) - logits[rows, y]).mean()
        share[rows, y] -= 1
        slope = -np.einsum("nk,nik->i", share, means) / len(e)
        return float(value + penalty * (v**2).sum()), slope + 2 * penalty * v

    start = np.full(buckets, 1 / buckets)
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * buckets
    )
    return Buckets(tuple((found.x / unit).tolist()))


def _times(t: ArrayLike) -> Floats:
    times = array("t", t).astype(float, copy=False)
    if not ((times > 0) & (times <= 1)).all():
        raise InvalidParameter("t must lie in (0, 1]; at t = 0 the signal-to-noise ratio is inf")
    return times


def _late(t: Floats) -> Floats:
    return np.where(levels_of(t) > LATE, 1.0, 0.0)


_NAMED: dict[str, Weight] = {
    "vdm": snr_slope,
    "snr": snr_at,
    "exp": lambda t: cast(Floats, np.exp(-7 * levels_of(t))),
    "uniform": lambda t: np.ones_like(levels_of(t)),
    "late": _late,
}
WEIGHTINGS = tuple(_NAMED)
