r"""Estimators of joint fluctuations: covariances against tree distance, and where they peak.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
sigma_i        +1 if leaf i of the new datum is that of the old one, -1 if it has changed
S_n            sum of sigma over the leaves below node n
V_d            sum over the nodes n at height d of the variance of S_n over trajectories
C(d)           covariance of two leaves whose lowest common ancestor has height d
=============  ==============================================================================

.. math::
   C(d) = \frac{V_d - V_{d-1}}{s^L (s - 1) s^{d-1}}, \qquad C(0) = V_0 / s^L, \qquad
   \chi = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}} = \frac{V_L}{V_0},

since two leaves below a node are either below one of its children or joined at the node itself.
The cost is linear in the number of leaves.

Averages: *inside* the covariance over trajectories (corruption and posterior draw) of one datum,
*outside* over data and then over grammars.  A datum's V_d are unbiased; C and chi are formed from
their means over all data, and their errors from the scatter of grammars.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    count,
    finite_reals,
    integers,
    levels_of,
    memory,
    natural,
    reals,
    sound,
    together,
    whole,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, stream
from hierdiff.sims.metrics.estimators import bootstrap
from hierdiff.sims.metrics.forward_backward import forward_backward

__all__ = [
    "Peak",
    "Ratio",
    "block_variances",
    "distance_means",
    "fluctuations",
    "peak",
    "ratio",
]

Array = NDArray[Any]


@checked(s=whole)
@sound
def block_variances(sigma: ArrayLike, s: int) -> Array:
    r"""Variance over trajectories of the sums of all subtrees, added up per height.

    .. math:: V_d = \sum_{n \text{ at height } d} \mathrm{Var}\, S_n

    Parameters
    ----------
    sigma : array [trajectories, s**L]
        Any quantity per leaf, in the order of the leaves.
    s : int
        Branching.

    Returns
    -------
    array [L + 1]
        Unbiased; V_0 first.

    Raises
    ------
    InvalidParameter
        If there are fewer than two trajectories, the leaves are no power of s, or a number is NaN
        or infinite.

    Notes
    -----
    Validity: exact; O(trajectories * leaves).

    Examples
    --------
    >>> block_variances([[1, 1, -1, 1], [1, -1, -1, -1]], 2).tolist()
    [4.0, 4.0, 8.0]
    """
    sums = finite_reals("sigma", sigma, (None, None))
    trajectories, leaves = sums.shape
    if trajectories < 2:
        raise InvalidParameter(f"{trajectories} trajectory gives no covariance; use at least two")
    # more branches than leaves are refused before they are raised to a power
    if not 2 <= s <= leaves or leaves != s ** round(np.log(leaves) / np.log(s)):
        raise InvalidParameter(f"{leaves} leaves are no power of s = {s}; give whole trees, s >= 2")
    # centred first: variances of large sums then lose no digits
    sums = sums - sums.mean(axis=0)
    found = [float((sums**2).sum())]
    while sums.shape[1] > 1:
        sums = sums.reshape(trajectories, -1, s).sum(axis=2)
        found.append(float((sums**2).sum()))
    return np.asarray(np.array(found) / (trajectories - 1))


@checked(s=whole)
@sound
def distance_means(variances: ArrayLike, s: int, axis: int = -1) -> Array:
    r"""Mean covariance of the pairs of leaves at every distance, from ``block_variances``.

    .. math:: C(d) = \frac{V_d - V_{d-1}}{s^L (s - 1) s^{d-1}}, \qquad C(0) = V_0 / s^L

    Parameters
    ----------
    variances : array [..., L + 1, ...]
        V_d along ``axis``.
    s : int
        Branching.
    axis : int
        The axis of heights.

    Returns
    -------
    array
        Of the same shape; C(0) is the mean variance of a leaf.

    Raises
    ------
    InvalidParameter
        If s < 2, there is no such axis, or a number is NaN or infinite.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> distance_means([4.0, 4.0, 8.0], 2).tolist()
    [1.0, 0.0, 0.5]
    """
    if s < 2:
        raise InvalidParameter(f"s = {s} gives no pairs of leaves; use s >= 2")
    found = reals("variances", variances, least=1)
    if not -found.ndim <= axis < found.ndim:
        raise InvalidParameter(
            f"axis = {axis} is no axis of variances of shape {found.shape}; give -1 for the last"
        )
    V = np.moveaxis(found, axis, -1)
    depth = V.shape[-1] - 1
    partners = np.array([1.0, *((s - 1) * float(s) ** d for d in range(depth))])
    means = np.diff(V, axis=-1, prepend=0.0) / (float(s) ** depth * partners)
    return np.asarray(np.moveaxis(means, -1, axis))


class Ratio(NamedTuple):
    """Ratio of means with its standard error."""

    value: Array
    error: Array


@checked
def ratio(top: Array, bottom: Array) -> Ratio:
    r"""Ratio of the means over the leading axis, with the error of a linearised ratio.

    .. math:: \sigma^2 = \frac{1}{G (G - 1)} \sum_g
       \left(\frac{a_g - r b_g}{\bar b}\right)^2, \quad r = \bar a / \bar b

    Parameters
    ----------
    top, bottom : arrays [units, ...]
        Independent units in front, broadcast against each other behind.

    Returns
    -------
    Ratio
        NaN where the mean of ``bottom`` is 0.

    Raises
    ------
    InvalidParameter
        If there are fewer than two units, shapes do not fit, or a number is NaN or infinite.

    Notes
    -----
    Validity: units independent; bias and error to leading order in 1 / units.

    Examples
    --------
    >>> r = ratio(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> float(r.value), float(r.error)
    (2.0, 1.0)
    """
    top, bottom = reals("top", top), reals("bottom", bottom)
    units = len(top) if top.ndim else 0
    if (len(bottom) if bottom.ndim else 0) != units:
        raise InvalidParameter(
            f"top of shape {top.shape} and bottom of shape {bottom.shape} must have as many units"
        )
    together(top=top, bottom=bottom)
    if units < 2:
        raise InvalidParameter(f"{units} unit gives no error bar; ask for at least two")
    with np.errstate(invalid="ignore", divide="ignore"):
        value = top.mean(axis=0) / bottom.mean(axis=0)
        rest = (top - value * bottom) / bottom.mean(axis=0)
    return Ratio(value, np.sqrt((rest**2).sum(axis=0) / (units * (units - 1))))


@dataclass(frozen=True)
class Peak:
    """Place and height of a maximum, each with its standard error."""

    place: float
    place_error: float
    height: float
    height_error: float

    def __post_init__(self) -> None:
        check_fields(self)


@checked(resamples=partial(whole, low=2), points=partial(whole, low=3))
@sound
def peak(
    t: Array, top: Array, bottom: Array, resamples: int = 400, seed: Seed = 0, points: int = 5
) -> Peak:
    """Maximum of a ratio of means [units, t] by a parabola, with a bootstrap over the units.

    Parameters
    ----------
    t : array [T]
        Increasing.
    top, bottom : arrays [units, T]
        The curve is ``top.mean(0) / bottom.mean(0)``.
    resamples : int
        Bootstrap replicas.
    seed : Seed
        Source of randomness.
    points : int
        Noise levels around the largest value that the parabola is fitted to.

    Returns
    -------
    Peak

    Raises
    ------
    InvalidParameter
        If shapes do not agree, ``t`` does not increase, the largest value stands at an end of it,
        or there are fewer than 3 noise levels or 2 units.

    Notes
    -----
    Validity: the errors are those of the average over units; they do not contain the departure of
    the curve from a parabola over the fitted points.

    Examples
    --------
    >>> t = np.linspace(0, 1, 11)
    >>> top = (2 - (t - 0.42) ** 2) * np.ones((3, 1))
    >>> peak(t, top, np.ones((3, 11))).place.__round__(9)
    0.42
    """
    t = reals("t", t, ndim=1)
    top = finite_reals("top", top, (None, len(t)))
    bottom = finite_reals("bottom", bottom, top.shape)
    if len(t) < 3 or len(top) < 2 or not (np.diff(t) > 0).all():
        raise InvalidParameter(
            f"{len(t)} noise levels of {len(top)} units must be three or more, increasing, and two "
            "or more"
        )
    if not (bottom.mean(axis=0) != 0).all():
        raise InvalidParameter("bottom has the mean 0 at a noise level; leave that level out")
    memory(f"resamples = {resamples}", 64.0 * resamples)
    curve = top.mean(axis=0) / bottom.mean(axis=0)
    largest = int(np.argmax(curve))
    if not 0 < largest < len(t) - 1:
        raise InvalidParameter(
            f"the largest value stands at the end t = {t[largest]:g} of the range; widen it"
        )
    first = min(max(largest - points // 2, 0), max(len(t) - points, 0))
    near = slice(first, first + points)
    place, height = _vertex(t[near], curve[near])

    def vertex(rows: Array) -> tuple[float, float]:
        replica = top[rows][:, near].mean(axis=0) / bottom[rows][:, near].mean(axis=0)
        return _vertex(t[near], replica)

    error = bootstrap(vertex, len(top), resamples, seed).error
    return Peak(place, float(error[0]), height, float(error[1]))


def _vertex(t: Array, curve: Array) -> tuple[float, float]:
    """Vertex of the parabola of least squares, or the end nearest to it."""
    middle = float(t.mean())
    a, b, c = np.polyfit(t - middle, curve, 2)
    x = -b / (2 * a) if a < 0 else (t[int(np.argmax(curve))] - middle)
    x = float(np.clip(x, t[0] - middle, t[-1] - middle))
    return x + middle, float(np.polyval([a, b, c], x))


@checked(s=whole, trajectories=count, seed=natural)
def fluctuations(
    model: DiffusionModel, x0: Array, times: Array, s: int, trajectories: int, seed: int,
    key: tuple[int, ...] = (),
) -> tuple[Array, Array]:  # fmt: skip
    """Trajectories of one datum: V_d [t, L + 1], and the share of unchanged leaves [t].

    Parameters
    ----------
    model : DiffusionModel
        Of symbols.
    x0 : int array [leaves]
        The datum.
    times : array [T]
        Noise levels.
    s : int
        Branching of the tree.
    trajectories : int
        Noised and denoised copies.
    seed, key : int, tuple of int
        They name the random streams of the datum.

    Returns
    -------
    variances, unchanged : arrays [T, L + 1], [T]

    Raises
    ------
    InvalidParameter
        As :func:`block_variances`, or if the datum holds no symbols or a level is outside [0, 1].

    Notes
    -----
    Validity: that of the model's samples.
    """
    x0 = integers("x0", x0, ndim=1)
    if levels_of(times).ndim != 1 or not np.size(times):
        raise InvalidParameter(f"times have shape {np.shape(times)}; give [T]")
    if trajectories < 2:
        raise InvalidParameter(f"{trajectories} trajectory gives no covariance; use at least two")
    memory(f"trajectories = {trajectories} of {x0.size} leaves", 64.0 * trajectories * x0.size)
    copies = np.repeat(x0[None], trajectories, axis=0)
    randoms = model.noise.draw(copies.shape, stream(seed, "noise", *key))
    variances, unchanged = [], []
    for t in times:
        backward = stream(seed, "backward", *key)
        new = forward_backward(model, copies, t, backward, randoms=randoms).x_0
        same = new == copies
        variances.append(block_variances(2.0 * same - 1, s))
        unchanged.append(same.mean())
    return np.stack(variances), np.array(unchanged)
