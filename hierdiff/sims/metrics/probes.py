r"""What can be read off features: linear and quadratic probes, class energies, feature SNR.

Features :math:`f_i` of n points with classes :math:`y_i` are centred and divided by one number,
their root mean square, both taken from the training points.  A probe minimises

.. math::

    \frac1n \sum_i \Big[\log\sum_k e^{z_{ik}} - z_{iy_i}\Big] + \frac{\rho}{2n} |W|^2,
    \qquad z_i = W^T \phi(f_i) + c,

========================  =====================================================================
:math:`\phi`              the features (linear), or their products (quadratic): :math:`f_a^2` and
                          :math:`\sqrt2 f_a f_b`, centred and scaled once more
:math:`\rho`              ``ridge``: a Gaussian prior of variance :math:`1/\rho` on each weight
:math:`U_k`               orthonormal basis of class k
========================  =====================================================================

One number for all features and the factor :math:`\sqrt2` make every probe here indifferent to a
rotation of the features.  On classes of zero mean the best linear probe of infinite data is W = 0:
what it gains is of order :math:`n^{-1/2}` and scatters between seeds, so average seeds and compare
noise levels pairwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, checked, count, number, reals, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.estimators import nested_mean

__all__ = [
    "Probe",
    "feature_snr",
    "linear_probe",
    "over_seeds",
    "projection_accuracy",
    "quadratic_probe",
    "ridge_probe",
    "ridge_weights",
]

Floats: TypeAlias = NDArray[np.float64]

RIDGE = 1.0
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted linear or quadratic classifier of features.

    Attributes
    ----------
    classes
        Labels in the order of the columns, [K].
    weights, intercept
        [P, K] and [K], on the scaled features.
    gradient
        Largest entry of the gradient of the objective where the fit stopped.
    iterations
        Steps taken.
    """

    classes: NDArray[Any]
    weights: Floats
    intercept: Floats
    gradient: float
    iterations: int
    _prepare: Callable[[Floats], Floats]

    def logits(self, features: ArrayLike) -> Floats:
        """Log-odds up to a constant, [n, K]."""
        x = _matrix(features)
        return self._prepare(x) @ self.weights + self.intercept

    def predict(self, features: ArrayLike) -> NDArray[Any]:
        """Most probable label, [n]."""
        return cast(NDArray[Any], self.classes[self.logits(features).argmax(axis=1)])

    def accuracy(self, features: ArrayLike, labels: ArrayLike) -> float:
        """Share of points whose label is predicted."""
        found = self.predict(features)
        truth = _names(labels)
        if truth.shape != found.shape:
            raise InvalidParameter(
                f"labels have shape {truth.shape}, the features {found.shape[0]} rows; give one"
                " label per row"
            )
        return float((found == truth).mean())


@checked(
    features=unchecked,
    labels=unchecked,
    ridge=unchecked,
    tolerance=partial(number, above=0),
    iterations=count,
)
def linear_probe(
    features: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE,
    tolerance: float = TOLERANCE, iterations: int = 2000,
) -> Probe:  # fmt: skip
    r"""Multinomial logistic regression on the features.

    Parameters
    ----------
    features : array [n, width]
    labels : array [n]
        At least two classes with at least two points each.
    ridge : float
        :math:`\rho` > 0 of the module's objective.
    tolerance : float
        Stop when no entry of the gradient (nats per datum) is larger.
    iterations : int
        At most so many L-BFGS steps.

    Returns
    -------
    Probe

    Raises
    ------
    InvalidParameter
        For NaN, a single class, a class with one point, ridge <= 0, or if the tolerance is not
        reached.

    Notes
    -----
    Validity: the objective is strictly convex, so the fit is unique; the weights are within
    ``tolerance`` n / ridge of the optimum.

    Examples
    --------
    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> probe = linear_probe(x, [0, 0, 1, 1])
    >>> probe.predict([[-0.5], [0.5]]).tolist(), probe.accuracy(x, [0, 0, 1, 1])
    ([0, 1], 1.0)
    """
    x, y, classes = _training(features, labels, ridge)
    scaling = _scaling_of(x)
    found = _minimise(scaling.apply(x), np.eye(len(classes))[y], ridge, tolerance, iterations)
    return Probe(classes, *found, scaling.apply)


@checked(
    features=unchecked,
    labels=unchecked,
    ridge=unchecked,
    tolerance=partial(number, above=0),
    iterations=count,
)
def quadratic_probe(
    features: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE,
    tolerance: float = TOLERANCE, iterations: int = 2000,
) -> Probe:  # fmt: skip
    r"""Multinomial logistic regression on all products of two features.

    Parameters
    ----------
    features, labels, ridge, tolerance, iterations
        As in :func:`linear_probe`; there are width (width + 1) / 2 products.

    Returns
    -------
    Probe

    Raises
    ------
    InvalidParameter
        As in :func:`linear_probe`.

    Notes
    -----
    Validity: as for :func:`linear_probe`.  It contains the Bayes rule of zero-mean Gaussian
    classes, whose log-odds are quadratic.

    Examples
    --------
    >>> x = np.array([[-2.0], [-0.1], [0.1], [2.0]])  # the classes differ in variance alone
    >>> quadratic_probe(x, [1, 0, 0, 1]).accuracy(x, [1, 0, 0, 1])
    1.0
    """
    x, y, classes = _training(features, labels, ridge)
    first = _scaling_of(x)
    squares = _products(first.apply(x))
    second = _scaling_of(squares)

    def prepare(new: Floats) -> Floats:
        return second.apply(_products(first.apply(new)))

    hot = np.eye(len(classes))[y]
    return Probe(
        classes, *_minimise(second.apply(squares), hot, ridge, tolerance, iterations), prepare
    )


@checked(penalty=partial(number, above=0))
def ridge_weights(x: ArrayLike, y: ArrayLike, penalty: float) -> Floats:
    r"""Least squares with a penalty, by the smaller of its two linear systems.

    .. math:: W = (X^T X + \rho I)^{-1} X^T Y = X^T (X X^T + \rho I)^{-1} Y

    Parameters
    ----------
    x : array [n, width]
        Inputs, as they are: neither centred nor scaled.
    y : array [n, outputs]
    penalty : float
        :math:`\rho`.

    Returns
    -------
    array [width, outputs]
        Minimiser of :math:`|XW - Y|^2 + \rho |W|^2`.

    Raises
    ------
    InvalidParameter
        If the shapes do not fit, a number is not finite, or the penalty is not positive or so
        small beside x that rounding loses it.

    Notes
    -----
    Validity: exact up to rounding, which the two systems differ by.

    Examples
    --------
    >>> ridge_weights([[1.0], [2.0]], [[2.0], [4.0]], 5.0).tolist()
    [[1.0]]
    """
    a, b = reals("x", x, ndim=2), reals("y", y, ndim=2)
    if len(a) != len(b) or not a.size or not b.size:
        raise InvalidParameter(
            f"x and y have shapes {a.shape} and {b.shape}; give as many rows of each, and columns"
        )
    try:
        if len(a) < a.shape[1]:
            return np.asarray(a.T @ np.linalg.solve(a @ a.T + penalty * np.eye(len(a)), b))
        return np.asarray(np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ b))
    except np.linalg.LinAlgError:
        raise InvalidParameter(
            f"penalty = {penalty:g} is lost in rounding beside x of up to {np.abs(a).max():.2g}; "
            "scale x, or raise the penalty"
        ) from None


def ridge_probe(features: ArrayLike, labels: ArrayLike, *, ridge: float = RIDGE) -> Probe:
    r"""Least squares on one-hot labels, :math:`\min |XW - Y|^2 + \rho |W|^2`, in closed form.

    Parameters
    ----------
    features, labels, ridge
        As in :func:`linear_probe`.

    Returns
    -------
    Probe

    Raises
    ------
    InvalidParameter
        As in :func:`linear_probe`.

    Notes
    -----
    Validity: exact minimiser; as a classifier it takes the largest output.

    Examples
    --------
    >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> ridge_probe(x, [0, 0, 1, 1]).predict([[-0.5], [0.5]]).tolist()
    [0, 1]
    """
    x, y, classes = _training(features, labels, ridge)
    scaling = _scaling_of(x)
    z, hot = scaling.apply(x), np.eye(len(classes))[y]
    weights = ridge_weights(z, hot - hot.mean(0), ridge)
    residual = z.T @ (z @ weights - (hot - hot.mean(0))) + ridge * weights
    return Probe(classes, weights, hot.mean(0), float(np.abs(residual).max()), 1, scaling.apply)


def projection_accuracy(features: ArrayLike, labels: ArrayLike, bases: Sequence[Floats]) -> float:
    r"""Accuracy of the class of largest energy, :math:`\arg\max_k |U_k^T f|^2`.

    Parameters
    ----------
    features : array [n, D]
    labels : int array [n]
        Classes 0 .. K - 1.
    bases : sequence of K arrays [D, d_k]
        Orthonormal :math:`U_k`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For NaN, wrong shapes, labels without a basis.

    Notes
    -----
    Validity: needs the true subspaces.  For the exact denoiser of orthogonal, equal classes it is
    the Bayes accuracy at :math:`x_t`, which falls monotonically with noise.

    Examples
    --------
    >>> bases = [np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])]
    >>> projection_accuracy([[2.0, 1.0], [0.5, 1.0], [3.0, 0.0]], [0, 1, 1], bases)
    0.6666666666666666
    """
    x, y, bases = _with_bases(features, labels, bases)
    energies = [((x @ basis) ** 2).sum(axis=1) for basis in bases]
    return float((np.argmax(energies, axis=0) == y).mean())


def feature_snr(features: ArrayLike, labels: ArrayLike, bases: Sequence[Floats]) -> float:
    r"""Signal-to-noise ratio of features, Definition 1 of the reference.

    .. math:: \mathrm{SNR} = \frac1K\sum_k \frac{E[A\mid k]}{E[B\mid k]}, \quad
        A = |U_kU_k^T f|^2, \ B = |f - U_kU_k^T f|^2, \qquad
        \frac{E[A]}{E[B]} \approx \frac{\bar a}{\bar b}\;
        \frac{1 + s_{ab}/(n\bar a\bar b)}{1 + s_{bb}/(n\bar b^2)}

    Parameters
    ----------
    features, labels, bases
        As in :func:`projection_accuracy`; every class must occur at least twice.

    Returns
    -------
    float
        Expectations within a class, then their ratio, then the average over classes.

    Raises
    ------
    InvalidParameter
        As in :func:`projection_accuracy`, and for a class with fewer than two points.

    Notes
    -----
    Validity: Beale's estimator of a ratio, whose bias is O(1/n^2); the bare ratio of n means is too
    large by O(1/n), which is seen where rare confusions dominate the leak.

    References
    ----------
    Li et al., arXiv 2502.05743, Definition 1.

    Examples
    --------
    >>> bases = [np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])]
    >>> feature_snr([[2.0, 1.0], [2.0, 1.0], [1.0, 3.0], [1.0, 3.0]], [0, 0, 1, 1], bases)
    6.5
    """
    x, y, bases = _with_bases(features, labels, bases)
    ratios = []
    for k, basis in enumerate(bases):
        mine = x[y == k]
        if len(mine) < 2:
            raise InvalidParameter(
                f"class {k} has {len(mine)} points; an SNR needs at least 2 of every class"
            )
        along = mine @ basis
        away = mine - along @ basis.T
        ratios.append(_ratio(np.vecdot(along, along), np.vecdot(away, away)))
    return float(np.mean(ratios))


def _ratio(a: Floats, b: Floats) -> float:
    """Beale's estimator of E[a] / E[b]."""
    n, above, below = len(a), a.mean(), b.mean()
    if below == 0 or above == 0:
        return np.inf if above > 0 else 0.0
    x, y = a / above - 1, b / below - 1
    mixed, own = (float(np.vdot(x, y)), float(np.vdot(y, y)))
    return float(above / below * (1 + mixed / (n * (n - 1))) / (1 + own / (n * (n - 1))))


def over_seeds(values: ArrayLike) -> tuple[Floats, Floats]:
    """Mean and standard error over the leading axis, the seeds.

    Parameters
    ----------
    values : array [seeds, ...]

    Returns
    -------
    mean, error : arrays [...]

    Raises
    ------
    InvalidParameter
        For fewer than two seeds.

    Notes
    -----
    Validity: seeds are independent.  For a difference of noise levels or models take the
    difference of the values first: what the two share then cancels.

    Examples
    --------
    >>> over_seeds([1.0, 3.0])
    (array(2.), array(1.))
    """
    found = reals("values", values)
    if found.ndim < 1 or not found.size:
        raise InvalidParameter(f"values of shape {found.shape} must have one row per seed")
    result = nested_mean(found[:, None])
    return np.asarray(result.mean), np.asarray(result.error)


def _names(labels: ArrayLike) -> NDArray[Any]:
    """Labels of points: numbers without NaN, or words."""
    try:
        found = np.asarray(labels)
    except ValueError:
        raise InvalidParameter("labels are no array; give one label per row") from None
    if found.dtype.kind in "USb" and not isinstance(labels, np.ma.MaskedArray):
        return found
    return reals("labels", labels) if found.dtype.kind == "f" else array("labels", labels)


def _matrix(features: ArrayLike) -> Floats:
    x = array("features", features).astype(float, copy=False)
    if x.ndim != 2 or x.size == 0:
        raise InvalidParameter(f"features of shape {x.shape} are no matrix; give [n, width]")
    if not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x).all(axis=1)))
        raise InvalidParameter(f"features[{row}] hold NaN or inf; drop or repair that point")
    return x


def _with_bases(
    features: ArrayLike, labels: ArrayLike, bases: Sequence[Floats]
) -> tuple[Floats, NDArray[np.intp], list[Floats]]:
    x, y = _matrix(features), array("labels", labels)
    bases = tuple(bases) if isinstance(bases, (list, tuple)) else ()
    if not bases:
        raise InvalidParameter("bases must be a list of arrays [D, d_k], one per class")
    if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= len(bases):
        raise InvalidParameter(
            f"labels must be {len(x)} integers in 0 .. {len(bases) - 1}, one basis per class"
        )
    arrays = [reals(f"bases[{k}]", basis, ndim=2) for k, basis in enumerate(bases)]
    for k, basis in enumerate(arrays):
        if len(basis) != x.shape[1]:
            raise InvalidParameter(
                f"bases[{k}] has {len(basis)} rows, the features {x.shape[1]} columns; they must"
                " agree"
            )
    return x, y.astype(np.intp), arrays


def _training(
    features: ArrayLike, labels: ArrayLike, ridge: float
) -> tuple[Floats, NDArray[np.intp], NDArray[Any]]:
    x, raw = _matrix(features), _names(labels)
    if raw.shape != (len(x),):
        raise InvalidParameter(
            f"labels have shape {raw.shape}, the features {len(x)} rows; give one label per row"
        )
    if not number("ridge", ridge) > 0:
        raise InvalidParameter(f"ridge = {ridge} must be finite and > 0; 1 is a weak prior")
    classes, y, counts = np.unique(raw, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InvalidParameter(
            f"all {len(x)} labels are {classes[0]}; a probe needs at least two classes"
        )
    if counts.min() < 2:
        raise InvalidParameter(
            f"class {classes[counts.argmin()]} has {counts.min()} point; give at least 2 per class"
        )
    return x, y, classes


# --- the fit --------------------------------------------------------------------------------------


class _Scaling(NamedTuple):
    """Centre and common length of features."""

    centre: Floats
    length: float

    def apply(self, x: Floats) -> Floats:
        if x.shape[-1:] != self.centre.shape[-1:]:
            raise InvalidParameter(
                f"features of shape {x.shape} do not fit a probe of {self.centre.shape[-1]} columns"
            )
        return (x - self.centre) / self.length


class _Solution(NamedTuple):
    """Weights [P, K], intercept [K], largest entry of the gradient, steps taken."""

    weights: Floats
    intercept: Floats
    gradient: float
    iterations: int


def _minimise(z: Floats, hot: Floats, ridge: float, tolerance: float, iterations: int) -> _Solution:
    """Multinomial logistic regression of one-hot labels [n, K] on scaled features [n, P]."""
    n, k = hot.shape
    # the penalty keeps the weights in the span of the points: fewer coordinates where n < P
    frame, z = (None, z) if n >= z.shape[1] else _in_own_span(z)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        w, c = parameters[:-k].reshape(-1, k), parameters[-k:]
        logits = z @ w
        logits += c
        picked = np.vdot(hot, logits)
        top = logits.max(axis=1, keepdims=True)
        np.exp(logits - top, out=logits)
        norm = logits.sum(axis=1, keepdims=True)
        loss = top.sum() + np.log(norm).sum() - picked + ridge / 2 * np.vdot(w, w)
        logits /= norm
        logits -= hot
        slope = z.T @ logits + ridge * w
        return float(loss) / n, np.append(slope.ravel(), logits.sum(axis=0)) / n

    from scipy.optimize import minimize  # heavy, and needed for a fit alone

    found = minimize(
        objective, np.zeros((z.shape[1] + 1) * k), jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20,
                 "gtol": tolerance, "ftol": 0.0},
    )  # fmt: skip
    gradient = float(np.abs(found.jac).max())
    if gradient > tolerance:
        raise InvalidParameter(
            f"the probe stopped after {found.nit} steps at gradient {gradient:.2g} > tolerance ="
            f" {tolerance:g}; raise iterations, ridge or tolerance"
        )
    weights = found.x[:-k].reshape(-1, k)
    weights = weights if frame is None else frame @ weights
    return _Solution(weights, found.x[-k:], gradient, int(found.nit))


def _in_own_span(z: Floats) -> tuple[Floats, Floats]:
    """Orthonormal frame [P, n] of n < P rows, and the rows in its coordinates [n, n]."""
    frame, coordinates = np.linalg.qr(z.T)
    return frame, np.ascontiguousarray(coordinates.T)


def _products(z: Floats) -> Floats:
    r"""All :math:`z_a^2` and :math:`\sqrt2 z_a z_b`, [n, P (P + 1) / 2]: the length is kept."""
    n, width = z.shape
    out = np.empty((n, width * (width + 1) // 2))
    start = 0
    for a in range(width):
        stop = start + width - a
        np.multiply(z[:, a:], z[:, a : a + 1] * np.sqrt(2), out=out[:, start:stop])
        out[:, start] /= np.sqrt(2)
        start = stop
    return out


def _scaling_of(x: Floats) -> _Scaling:
    """Mean and root mean square of features; a constant is left as it is."""
    centre = x.mean(axis=0)
    length = float(np.sqrt(np.mean((x - centre) ** 2)))
    return _Scaling(centre, length if length > 0 else 1.0)
