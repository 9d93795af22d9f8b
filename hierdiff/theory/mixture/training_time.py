r"""Training time of random-feature denoisers: whole spectrum, exact curves, the window of stopping.

A denoiser :math:`B\varphi(x_t)` of random features :math:`\varphi = \varrho(Wx_t/\sqrt d)` is
trained by gradient flow from B = 0 on N Gaussian data in d dimensions, with all noise of
Ornstein-Uhlenbeck time t, to predict the noise :math:`\xi`.  Data belong to classes c of variance
:math:`\sigma_c^2`, with shares :math:`\pi_c`.

=======================  ======================================================================
:math:`\psi_p, \psi_n`   p/d features and N/d data per dimension
:math:`\mu_c, v_c, s_c`  constants of the activation in class c
                         (:func:`~hierdiff.theory.mixture.random_features.feature_constants`)
:math:`S`                :math:`WW^T/d`, with d eigenvalues of Marchenko and Pastur, else zeros
:math:`C_c`              :math:`e^{-2t}\sigma_c^2\mu_c^2 S + v_c^2`, features over data
:math:`D_c, D`           :math:`\Delta_t\mu_c^2 S + s_c^2` over noise; :math:`D=\sum\pi_c D_c`
:math:`U`                covariance of the features in the training set
:math:`Q(z)`             :math:`(U - z)^{-1}`, the resolvent
:math:`b_c(z)`           factor by which few data shrink :math:`C_c`
:math:`\tau`             training time; a direction :math:`\lambda` is learned after
                         :math:`\psi_p/(\Delta_t\lambda)`
=======================  ======================================================================

Gaussian equivalence makes the rows of the training set independent with covariance :math:`C_c`.
In the limit of large d at fixed ratios all :math:`C_c` and D commute, and

.. math::

    Q(z) \simeq \Big(\sum_c \pi_c b_c C_c + D - z\Big)^{-1}, \qquad
    b_c = \frac1{1 + \delta_c}, \quad \delta_c = \tfrac1N \mathrm{Tr}\, C_c Q(z),           (1)

one scalar equation per class.  The flow is :math:`B(\tau) = V^T F_\tau(U)` with
:math:`V = E[\varphi\xi^T] \simeq \sqrt{\Delta_t}\,\bar\mu W/\sqrt d` and the entire function

.. math:: F_\tau(\lambda) = \frac{1 - e^{-\Delta_t\lambda\tau/\psi_p}}{\lambda}
    = -\oint \frac{dz}{2\pi i}\, \frac{F_\tau(z)}{\lambda - z},                             (2)

so that every loss is an integral over a contour around the spectrum, on which (1) is smooth.  The
loss of class c on fresh data needs two resolvents,

.. math::

    L_c = 1 - 2\Delta_t\bar\mu\mu_c \tfrac1d \mathrm{Tr}\,S F
        + \Delta_t\bar\mu^2 \tfrac1d \mathrm{Tr}\,(C_c + D_c) F S F,                        (3)

    Q_1 S Q_2 \simeq \bar Q_1 S \bar Q_2
        + \sum_c \pi_c b_{1c} b_{2c} w_c\, \bar Q_1 C_c \bar Q_2, \qquad
    w_c = \tfrac1N \mathrm{Tr}\,C_c Q_1 S Q_2,                                              (4)

where w solves the linear system that (4) makes of it.  On the training data the first term of the
covariance is :math:`\psi_n b_{1c}b_{2c}w_c` in place of :math:`\mathrm{Tr}\,C_c Q_1SQ_2/d`.

For many features per datum the spectrum below the d directions of the data has two parts: N - d
directions of single data about :math:`s^2 + v^2\psi_p/\psi_n`, as in
:func:`~hierdiff.theory.mixture.random_features.feature_bulks`, and d more about :math:`s^2 +
\Delta_t v^2\psi_p/\psi_n`, in which what a datum adds competes with the noise: they are memorised
last, later by a factor :math:`1/\Delta_t`.

References: the model is that of Bonnaire, Urfin, Biroli, Mezard, arXiv 2505.17638, who have the
equations of one class by replicas; (1) to (4) are derived by leaving one datum out in
``theory/derive_training_time.py``.  Classes of unequal variance: arXiv 2605.06367.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import check_fields, checked, listed, memory, number, reals, shown, whole
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.mixture.random_features import FeatureConstants, applied

__all__ = [
    "FeatureFlow", "FlowCurves", "TrainingTimes", "equivalent_flow", "feature_flow", "flow_curves",
    "spectral_density", "spectrum_edges", "training_times",
]  # fmt: skip

Floats: TypeAlias = NDArray[np.float64]
Complex: TypeAlias = NDArray[np.complex128]

_CONTOUR = 240  # points: twice as many change curves by less than 1e-8 (a test says so)
_TILT = 1e-10  # imaginary part of an eigenvalue, relative: edges are rounded by as much
_NODES = 200  # of Gauss-Chebyshev quadrature over the spectrum of S; poles stay off it on a contour
_HALF_HEIGHT = 1.3  # of the contour in log z; below pi/2 the exponential of (2) never grows
_RATIO = partial(number, low=1e-3, high=1e4)


@dataclass(frozen=True)
class FeatureFlow:
    r"""A random-feature denoiser, its training set and its noise level.

    Parameters
    ----------
    constants : tuple of FeatureConstants
        Of every class, at one time t.
    psi_p, psi_n : float
        Features and data per dimension; :math:`\psi_p > 1`.
    shares : tuple of float
        Shares :math:`\pi_c` of the classes in the data, which sum to one.

    Raises
    ------
    InvalidParameter
        If times differ, shares do not sum to one or are not as many, or
        :math:`\psi_p \le 1`.

    Notes
    -----
    Validity: Gaussian equivalence in the limit of large d, for odd activations.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
    >>> [round(x, 4) for x in spectrum_edges(flow)[-1]]
    [1.9343, 13.4742]
    """

    constants: tuple[FeatureConstants, ...]
    psi_p: float
    psi_n: float
    shares: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        check_fields(
            self, constants=partial(listed, distinct=False), psi_p=_RATIO, psi_n=_RATIO,
            shares=partial(listed, rule=partial(number, above=0, high=1), distinct=False),
        )  # fmt: skip
        if not all(isinstance(c, FeatureConstants) for c in self.constants):
            raise InvalidParameter(
                f"constants = {shown(self.constants)} must be FeatureConstants; see "
                "feature_constants"
            )
        if len({c.time for c in self.constants}) > 1:
            raise InvalidParameter(
                f"constants belong to times {sorted({c.time for c in self.constants})}; give all "
                "classes at one time"
            )
        if len(self.shares) != len(self.constants) or abs(sum(self.shares) - 1) > 1e-9:
            raise InvalidParameter(
                f"shares = {self.shares} of {len(self.constants)} classes must be as many, and sum "
                "to 1"
            )
        if self.psi_p <= 1:
            raise InvalidParameter(
                f"psi_p = {self.psi_p} must be more than 1: features outnumber dimensions here"
            )
        if self.floor < 1e-12:
            raise InvalidParameter(
                f"the features' variance over noise is {self.floor:.2g}: without it the spectrum "
                "reaches zero; take a nonlinear activation or a larger time"
            )

    @property
    def noise(self) -> float:
        r""":math:`\Delta_t`."""
        return self.constants[0].noise

    @property
    def floor(self) -> float:
        r"""Smallest eigenvalue there can be, :math:`\sum_c \pi_c s_c^2`."""
        return float(np.dot(self.shares, [c.over_noise for c in self.constants]))

    @cached_property
    def slopes(self) -> Floats:
        r"""Rows :math:`e^{-2t}\sigma_c^2\mu_c^2`, :math:`v_c^2`, :math:`\Delta_t\mu_c^2`,
        :math:`s_c^2`, :math:`\mu_c`, one column per class.
        """
        keep = 1 - self.noise
        rows = [
            (keep * c.variance * c.linear**2, c.over_data, self.noise * c.linear**2, c.over_noise,
             c.linear)
            for c in self.constants
        ]  # fmt: skip
        return np.array(rows).T

    @property
    def weights(self) -> Floats:
        """The shares as an array."""
        return np.array(self.shares)

    @property
    def ceiling(self) -> float:
        """A bound of the largest eigenvalue."""
        a, v, high, low, _ = self.slopes
        top = (1 + np.sqrt(self.psi_p)) ** 2
        norm, trace = (a * top + v).max(), (a * self.psi_p + v * self.psi_p).max()
        return float(
            self.weights @ (high * top + low) + (np.sqrt(norm) + np.sqrt(trace / self.psi_n)) ** 2
        )

    @checked(eigenvalue=partial(number, low=1e-100, high=1e100))
    def unit(self, eigenvalue: float) -> float:
        r"""Training time :math:`\psi_p/(\Delta_t\lambda)` of an eigenvalue, which is positive."""
        return float(self.psi_p / (self.noise * eigenvalue))


class FlowCurves(NamedTuple):
    """Denoising losses along training, in units of the noise per dimension: 1 before training.

    Attributes
    ----------
    train, test : array [times, classes]
        Loss on the training data of each class, and on fresh data of it.
    """

    train: Floats
    test: Floats


class TrainingTimes(NamedTuple):
    r"""Times at which the two bulks are learned.

    Attributes
    ----------
    generalization : float
        Of the lower edge of the upper bulk: all directions of the data are learned.
    memorization : float
        Of the upper edge of the lower bulk: the first direction of single data is learned.
    window : float
        Ratio of the two, more than 1: how long training may be stopped.
    """

    generalization: float
    memorization: float
    window: float


# ------------------------------------------------------------------------------------- equation 1


def _linear(flow: FeatureFlow, b: Complex, z: Complex) -> tuple[Complex, Complex]:
    r"""Slope and offset in the eigenvalue of S of :math:`\sum\pi_cb_cC_c+D-z`, each [n]."""
    a, v, high, low, _ = flow.slopes
    w = flow.weights
    return (b * w) @ a + w @ high, (b * w) @ v + w @ low - z


def _stieltjes(psi: float, z: Complex) -> tuple[Complex, Complex]:
    r"""M and m' of the d eigenvalues of :math:`W^TW/d`: :math:`zm^2 + (z+1-\psi)m + 1 = 0`."""
    low, high = (1 - np.sqrt(psi)) ** 2, (1 + np.sqrt(psi)) ** 2
    # a product of two roots has its cut between the edges alone
    root = np.sqrt(z - low) * np.sqrt(z - high)
    m = 2 / (psi - 1 - z - root)
    return m, -(m * m + m) / root


def _traces(flow: FeatureFlow, b: Complex, z: Complex) -> tuple[Complex, Complex]:
    r"""Delta [n, c] of (1), and its derivatives by b [n, c, c']."""
    a, v, *_ = flow.slopes
    alpha, beta = _linear(flow, b, z)
    place = -beta / alpha
    m, slope = _stieltjes(flow.psi_p, place)
    zeros = flow.psi_p - 1  # eigenvalues of S that vanish, per dimension
    first = (1 + place * m) / alpha  # of sigma / (alpha sigma + beta)
    delta = a * first[:, None] + v * (m / alpha + zeros / beta)[:, None]
    two = [slope, m + place * slope, 1 + 2 * place * m + place**2 * slope]
    flat, mixed, square = (x / alpha**2 for x in two)
    change = (
        np.multiply.outer(square, np.outer(a, a))
        + np.multiply.outer(mixed, np.outer(a, v) + np.outer(v, a))
        + np.multiply.outer(flat + zeros / beta**2, np.outer(v, v))
    )
    return delta / flow.psi_n, -change * flow.weights / flow.psi_n


def _shrinkage(flow: FeatureFlow, z: Complex) -> Complex:
    r"""The factors b [n, c] of (1), by Newton's method from far above the real axis.

    The solution with Im b < 0 for Im z > 0 is followed down to z, a factor at a time.
    """
    upper = z.real + 1j * np.abs(z.imag)
    for factor in (3.0, 1.2):  # the second where the first one has lost its way
        b = _followed(flow, upper, factor)
        wrong = np.abs(b * (1 + _traces(flow, b, upper)[0]) - 1).max()
        # on the real axis, outside the spectrum, the sign is left to rounding
        if wrong < 1e-8 and (b.imag < 1e-8).all():
            return np.where(z.imag[:, None] < 0, b.conj(), b)
    raise InvalidParameter(
        f"no solution of the spectrum was found at psi_p = {flow.psi_p:g}, psi_n = {flow.psi_n:g}; "
        "take less extreme ratios"
    )


def _followed(flow: FeatureFlow, z: Complex, factor: float) -> Complex:
    """Solutions of (1) from a large imaginary part down to that of z."""
    far = 10.0 * (flow.ceiling + np.abs(z.real))
    b = np.ones((len(z), len(flow.shares)), dtype=complex)
    eye = np.eye(len(flow.shares))
    steps = max(2, int(np.ceil(np.log((far / z.imag).max()) / np.log(factor))))
    for k in range(steps + 1):
        at = z.real + 1j * far * (z.imag / far) ** (k / steps)
        for _ in range(20 if k == steps else 6):
            delta, change = _traces(flow, b, at)
            wrong = b * (1 + delta) - 1
            jacobian = b[:, :, None] * change + (1 + delta)[:, :, None] * eye
            move = np.linalg.solve(jacobian, wrong[:, :, None])[:, :, 0]
            b = b - move
            if np.abs(move).max() < 1e-13:
                break
    return b


@checked
def spectral_density(flow: FeatureFlow, eigenvalues: ArrayLike) -> Floats:
    r"""Density of the p eigenvalues of U, without the atom.

    .. math:: \rho(\lambda) = \tfrac1{\pi p}\,\mathrm{Im}\,\mathrm{Tr}\,Q(\lambda + i0)

    Parameters
    ----------
    flow : FeatureFlow
    eigenvalues : array [n]
        Positive numbers.

    Returns
    -------
    array [n]

    Raises
    ------
    InvalidParameter
        For numbers that are not positive.

    Notes
    -----
    Validity: the limit of large d.  With :math:`\psi_p > 1 + \psi_n` an atom of mass
    :math:`1 - (1+\psi_n)/\psi_p` lies at ``flow.floor``, where the density has no value.  An
    imaginary part of 1e-10 of the eigenvalue rounds the edges by as much.

    References
    ----------
    Silverstein and Bai (1995); Bonnaire et al., arXiv 2505.17638.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
    >>> spectral_density(flow, [0.12, 1.0, 6.0]).round(5)
    array([0.45532, 0.     , 0.00677])
    """
    grid = reals("eigenvalues", eigenvalues, above=0, ndim=1)
    return _density(flow, grid) if len(grid) else grid


def _density(flow: FeatureFlow, grid: Floats) -> Floats:
    z: Complex = grid * np.complex128(1 + 1j * _TILT)
    b = _shrinkage(flow, z)
    alpha, beta = _linear(flow, b, z)
    m, _ = _stieltjes(flow.psi_p, -beta / alpha)
    trace = m / alpha + (flow.psi_p - 1) / beta
    # what the imaginary part makes of the atom reaches far beyond it
    atom = max(flow.psi_p - 1 - flow.psi_n, 0.0) / (flow.floor - z)
    return np.asarray(np.maximum((trace - atom).imag, 0) / (np.pi * flow.psi_p))


@checked
def spectrum_edges(flow: FeatureFlow) -> list[tuple[float, float]]:
    """Intervals that hold the eigenvalues of U, in rising order, without the atom.

    Parameters
    ----------
    flow : FeatureFlow

    Returns
    -------
    list of (low, high)

    Notes
    -----
    Validity: the limit of large d; edges to a relative 1e-5, intervals and gaps narrower than a
    hundredth are not seen.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
    >>> [(round(a, 4), round(b, 4)) for a, b in spectrum_edges(flow)]
    [(0.0163, 0.1231), (1.9343, 13.4742)]
    """
    # beside the atom at the floor there is nothing but rounding
    grid = np.geomspace(flow.floor * (1 + 1e-4), 1.01 * flow.ceiling, 800)
    inside = _density(flow, grid) > _least(flow, grid)
    change = np.flatnonzero(np.diff(inside.astype(int)))
    low, high = grid[change], grid[change + 1]
    rising = inside[change + 1]
    for _ in range(16):
        middle = np.sqrt(low * high)
        within = _density(flow, middle) > _least(flow, middle)
        low, high = (
            np.where(within == rising, low, middle),
            np.where(within == rising, middle, high),
        )
    edges = np.sqrt(low * high)
    if inside[0]:  # the lowest bulk reaches down to the floor
        edges, rising = np.r_[flow.floor, edges], np.r_[True, rising]
    return [(float(x), float(y)) for x, y in zip(edges[rising], edges[~rising], strict=True)]


def _least(flow: FeatureFlow, grid: Floats) -> Floats:
    """Density that counts as none: far above what the imaginary part leaves outside an edge."""
    return 1e-5 / (flow.psi_p * grid)


@checked
def training_times(flow: FeatureFlow) -> TrainingTimes:
    r"""When the data's law is learned, and when single data begin to be.

    .. math:: \tau_{gen} = \frac{\psi_p}{\Delta_t\lambda^-_{2}}, \qquad
        \tau_{mem} = \frac{\psi_p}{\Delta_t\lambda^+_{1}}

    with :math:`\lambda_2^-` the lower edge of the bulk of the d directions of the data, and
    :math:`\lambda_1^+` the upper edge of what lies below it.

    Parameters
    ----------
    flow : FeatureFlow

    Returns
    -------
    TrainingTimes

    Raises
    ------
    InvalidParameter
        If the two bulks have merged: then there is no window.

    Notes
    -----
    Validity: the limit of large d.  For :math:`\psi_p \gg \psi_n \gg 1` the first is constant and
    the second grows as :math:`\psi_n`.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> one = (feature_constants(np.tanh, 0.1),)
    >>> for psi_n in (4.0, 8.0):
    ...     found = training_times(FeatureFlow(one, psi_p=64.0, psi_n=psi_n))
    ...     print([round(x, 1) for x in found])
    [40.1, 1044.6, 26.0]
    [30.2, 1699.5, 56.2]
    """
    edges = spectrum_edges(flow)
    masses = [_mass(flow, *edge) for edge in edges]
    above = np.cumsum(masses[::-1])[::-1]
    # the upper bulk holds d of the p eigenvalues
    upper = int(np.abs(above - 1 / flow.psi_p).argmin())
    if upper == 0 or abs(above[upper] * flow.psi_p - 1) > 0.02:
        raise InvalidParameter(
            f"the bulks have merged at psi_p = {flow.psi_p:g}, psi_n = {flow.psi_n:g}: no time "
            "lies between generalisation and memorisation; add features or data"
        )
    early, late = flow.unit(edges[upper][0]), flow.unit(edges[upper - 1][1])
    return TrainingTimes(early, late, late / early)


def _mass(flow: FeatureFlow, low: float, high: float) -> float:
    """Share of the eigenvalues in an interval, by nodes at which square-root edges are smooth."""
    angle = (np.arange(200) + 0.5) * np.pi / 200
    grid = (low + high) / 2 + (high - low) / 2 * np.cos(angle)
    weight = np.pi / 200 * (high - low) / 2 * np.sin(angle)
    return float(_density(flow, grid) @ weight)


# --------------------------------------------------------------------------------- equations 2 to 4


@checked(points=partial(whole, low=16, high=2000))
def flow_curves(flow: FeatureFlow, tau: ArrayLike, *, points: int = _CONTOUR) -> FlowCurves:
    r"""Exact train and test losses of every class along gradient flow, eqs. (2) to (4).

    Parameters
    ----------
    flow : FeatureFlow
    tau : array [times]
        Training times, not negative; ``inf`` is the end of training.
    points : int
        Of the contour.

    Returns
    -------
    FlowCurves

    Raises
    ------
    InvalidParameter
        If times do not increase, or are negative.

    Notes
    -----
    Validity: the limit of large d; the mean over classes of the training loss only falls.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
    >>> found = flow_curves(flow, [0.0, 30.0, np.inf])
    >>> found.train[:, 0].round(4), found.test[:, 0].round(4)
    (array([1.    , 0.8002, 0.4934]), array([1.    , 0.8326, 1.8439]))
    """
    times = reals("tau", tau, low=0, ndim=1, infinite=True)
    if (np.diff(times) <= 0).any():
        raise InvalidParameter(f"tau = {shown(times.tolist())} must increase; sort the times")
    memory(f"{points} points of a contour", 16.0 * 8 * points**2 * len(flow.shares) ** 2)
    z, step = _contour(flow, points)
    b = _shrinkage(flow, z)
    with np.errstate(under="ignore"):
        decay = np.exp(-np.multiply.outer(np.minimum(times, 1e300), z) * flow.noise / flow.psi_p)
    decay[np.isinf(times)] = 0
    # the function (2) times the measure of the contour, [times, points]
    f = (1 - decay) / z * step
    return _losses(flow, b, z, f)


def _contour(flow: FeatureFlow, points: int) -> tuple[Complex, Complex]:
    r"""Points around the spectrum, an ellipse in log z, and :math:`-dz/2\pi i`."""
    low, high = np.log(flow.floor / 2), np.log(2 * flow.ceiling)
    # no point on the real axis
    angle = 2 * np.pi * (np.arange(points) + 0.5) / points
    half = (high - low) / 2
    z = np.exp((high + low) / 2 + half * np.cos(angle) + 1j * _HALF_HEIGHT * np.sin(angle))
    turn = -half * np.sin(angle) + 1j * _HALF_HEIGHT * np.cos(angle)
    return z, -z * turn / (1j * points)


def _losses(flow: FeatureFlow, b: Complex, z: Complex, f: Complex) -> FlowCurves:
    """Eqs. (3) and (4) from the factors b on the contour and the weights f."""
    a, v, high, low, linear = flow.slopes
    shares, classes = flow.weights, range(len(flow.shares))
    angle = np.pi * np.arange(1, _NODES + 1) / (_NODES + 1)
    # Marchenko and Pastur by Chebyshev nodes, and the null space of S as one more node
    sigma = 1 + flow.psi_p + 2 * np.sqrt(flow.psi_p) * np.cos(angle)
    mass = 2 / (_NODES + 1) * np.sin(angle) ** 2 * flow.psi_p / sigma
    sigma, mass = np.r_[sigma, 0.0], np.r_[mass, flow.psi_p - 1]
    alpha, beta = _linear(flow, b, z)
    q = 1 / (alpha[:, None] * sigma + beta[:, None])

    def pair(weight: Floats) -> Complex:
        """Trace per dimension of a function of S between two resolvents, [points, points]."""
        found: Complex = (q * (mass * weight)) @ q.T
        return found

    over_data = [a[c] * sigma + v[c] for c in classes]
    whole_ = [x + high[c] * sigma + low[c] for c, x in enumerate(over_data)]
    both = b[:, None, :] * b[None, :, :]
    known = np.stack([pair(x * sigma) for x in over_data], axis=-1) / flow.psi_n
    vertex = np.stack(
        [np.stack([pair(x * y) for y in over_data], axis=-1) for x in over_data], axis=-2
    ) / flow.psi_n  # fmt: skip
    system = np.eye(len(a)) - vertex * (shares * both)[:, :, None, :]
    w = np.linalg.solve(system, known[..., None])[..., 0]
    single = f @ (q @ (mass * sigma))
    mean = float(shares @ linear)
    train: list[Floats] = []
    test: list[Floats] = []
    for c in classes:
        fresh, noise = pair(whole_[c] * sigma), pair((high[c] * sigma + low[c]) * sigma)
        for k in classes:
            again = shares[k] * both[..., k] * w[..., k]
            fresh = fresh + again * pair(whole_[c] * over_data[k])
            noise = noise + again * pair((high[c] * sigma + low[c]) * over_data[k])
        seen = noise + flow.psi_n * both[..., c] * w[..., c]
        for found, two in ((test, fresh), (train, seen)):
            square = np.einsum("tj,jk,tk->t", f, two, f, optimize=True)
            loss = 1 + flow.noise * mean * (mean * square - 2 * linear[c] * single)
            found.append(loss.real)
    return FlowCurves(np.stack(train, axis=1), np.stack(test, axis=1))


# ------------------------------------------------------------------------------- at finite size


def _sizes(flow: FeatureFlow, dimension: int) -> tuple[int, list[int]]:
    """Features, and data of every class."""
    p = round(flow.psi_p * dimension)
    counts = [round(share * flow.psi_n * dimension) for share in flow.shares]
    if min(counts) < 2:
        raise InvalidParameter(
            f"dimension = {dimension} leaves {min(counts)} data in a class; give more dimensions"
        )
    memory(f"{p} features", 8.0 * 6 * p * (p + sum(counts)))
    return p, counts


def _finite(
    flow: FeatureFlow, tau: ArrayLike, seen: list[Floats], fresh: list[Floats],
    cross: list[Floats], cross_fresh: list[Floats], shares: Floats,
) -> FlowCurves:  # fmt: skip
    """Losses from eigenvectors: covariances [p, p] and cross-covariances [p, d] of all classes."""
    times = reals("tau", tau, low=0, ndim=1, infinite=True)
    covariance = np.einsum("c,cij->ij", shares, np.stack(seen))
    value, vector = np.linalg.eigh(covariance)
    value = np.maximum(value, 1e-300)
    dimension = cross[0].shape[1]
    signal = vector.T @ np.einsum("c,cij->ij", shares, np.stack(cross))
    rates = np.minimum(times, 1e300)[:, None] * value * (flow.noise / flow.psi_p)
    gains = -np.expm1(-rates) / value  # [times, p]
    curves = []
    for covariances, crosses in ((seen, cross), (fresh, cross_fresh)):
        losses = []
        for square, line in zip(covariances, crosses, strict=True):
            two = (vector.T @ square @ vector) * (signal @ signal.T)
            one = ((vector.T @ line) * signal).sum(axis=1)
            quadratic = np.einsum("ti,ij,tj->t", gains, two, gains, optimize=True)
            losses.append(1 + (quadratic - 2 * gains @ one) / dimension)
        curves.append(np.stack(losses, axis=1))
    return FlowCurves(*curves)


@checked(dimension=partial(whole, low=2, high=10**5))
def equivalent_flow(flow: FeatureFlow, tau: ArrayLike, dimension: int, seed: Seed) -> FlowCurves:
    r"""Gradient flow of one draw of the Gaussian-equivalent features, from eigenvectors.

    .. math:: U = \sum_c \pi_c \big(G_c^TG_c/N_c + D_c\big), \qquad
        G_c = \sigma_c e^{-t}\mu_c X_c W^T/\sqrt d + v_c\Omega_c

    Parameters
    ----------
    flow : FeatureFlow
    tau : array [times]
        Training times.
    dimension : int
        d; there are :math:`\psi_p d` features and :math:`\psi_n d` data.
    seed : Seed
        Source of W, X and Omega.

    Returns
    -------
    FlowCurves
        Of the drawn training set and of all fresh data.

    Raises
    ------
    InvalidParameter
        If a class has fewer than two data.

    Notes
    -----
    Validity: exact for these features; the mean over draws differs from the limit by order 1/d.

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
    >>> equivalent_flow(flow, [30.0], 20, seed=0).test.round(3)
    array([[0.835]])
    """
    rng = generator(seed)
    p, counts = _sizes(flow, dimension)
    w = rng.standard_normal((p, dimension)) / np.sqrt(dimension)
    square, eye = w @ w.T, np.eye(p)
    seen, fresh, cross = [], [], []
    for (a, v, high, low, linear), n in zip(flow.slopes.T, counts, strict=True):
        rows = np.sqrt(a) * rng.standard_normal((n, dimension)) @ w.T
        rows += np.sqrt(max(v, 0.0)) * rng.standard_normal((n, p))
        seen.append(rows.T @ rows / n + high * square + low * eye)
        fresh.append((a + high) * square + (v + low) * eye)
        cross.append(np.sqrt(flow.noise) * linear * w)
    shares = np.array(counts) / sum(counts)
    return _finite(flow, tau, seen, fresh, cross, cross, shares)


@checked(
    dimension=partial(whole, low=2, high=10**5), draws=partial(whole, low=1, high=10**6),
)  # fmt: skip
def feature_flow(
    flow: FeatureFlow, activation: Callable[[Floats], Floats], tau: ArrayLike, dimension: int,
    seed: Seed, *, draws: int = 100,
) -> FlowCurves:  # fmt: skip
    r"""Gradient flow of real features :math:`\varrho(Wx_t/\sqrt d)` on drawn data.

    Parameters
    ----------
    flow : FeatureFlow
        Made of the constants of this activation.
    activation : function
        :math:`\varrho`, elementwise and odd.
    tau : array [times]
        Training times.
    dimension : int
        d.
    seed : Seed
        Source of weights, data and noise.
    draws : int
        Draws of the noise per training datum; fresh data are ten times as many as all these.

    Returns
    -------
    FlowCurves

    Raises
    ------
    InvalidParameter
        If a class has fewer than two data.

    Notes
    -----
    Validity: no Gaussian equivalence is used.  Finitely many draws of the noise raise the loss on
    fresh data by order :math:`1/(\psi_n\,` draws).

    Examples
    --------
    >>> from hierdiff.theory.mixture.random_features import feature_constants
    >>> flow = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=8.0, psi_n=4.0)
    >>> feature_flow(flow, np.tanh, [20.0], 16, seed=0).test.shape
    (1, 1)
    """
    rng = generator(seed)
    p, counts = _sizes(flow, dimension)
    w = rng.standard_normal((p, dimension)) / np.sqrt(dimension)
    keep, noise = np.sqrt(1 - flow.noise), np.sqrt(flow.noise)

    def moments(x: Floats, repeats: int) -> tuple[Floats, Floats]:
        square, line = np.zeros((p, p)), np.zeros((p, dimension))
        for _ in range(repeats):
            xi = rng.standard_normal(x.shape)
            features = applied(activation, (keep * x + noise * xi) @ w.T)
            square += features.T @ features
            line += features.T @ xi
        total = repeats * len(x)
        return square / total, line / total

    seen, fresh, cross, cross_fresh = [], [], [], []
    for constants, n in zip(flow.constants, counts, strict=True):
        scale = np.sqrt(constants.variance)
        square, line = moments(scale * rng.standard_normal((n, dimension)), draws)
        seen.append(square)
        cross.append(line)
        total_square, total_line = np.zeros((p, p)), np.zeros((p, dimension))
        for _ in range(10 * draws):
            square, line = moments(scale * rng.standard_normal((n, dimension)), 1)
            total_square += square
            total_line += line
        fresh.append(total_square / (10 * draws))
        cross_fresh.append(total_line / (10 * draws))
    shares = np.array(counts) / sum(counts)
    return _finite(flow, tau, seen, fresh, cross, cross_fresh, shares)
