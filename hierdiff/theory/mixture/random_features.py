r"""Random-feature denoisers: why generalisation comes first and memorisation later.

A score :math:`A\,\varrho(Wx/\sqrt d)/\sqrt p` with fixed Gaussian W is trained by gradient flow
on N Gaussian data of variance 1 in d dimensions, noised to Ornstein-Uhlenbeck time t.  A
direction of eigenvalue :math:`\lambda` of the features' covariance is learned after

.. math:: \tau_\lambda = \frac{\psi_p}{\Delta_t\lambda}, \qquad \Delta_t = 1-e^{-2t} .

=======================  ======================================================================
:math:`\psi_p, \psi_n`   p/d and N/d
:math:`\mu_1`            :math:`E[u\varrho(u)]`, :math:`u \sim N(0, 1)`: linear part
:math:`v^2`              variance, over data, of the noise-averaged feature beyond its linear part
:math:`s^2`              variance, over noise, of the feature beyond its linear part
=======================  ======================================================================

Averaged over the noise, features act as linear ones with independent remainders (Gaussian
equivalence), :math:`U = G^TG/N + \Delta_t\mu_1^2 WW^T/d + s^2` with
:math:`G = e^{-t}\mu_1 XW^T/\sqrt d + v\Omega`, whose spectrum has three parts:

.. math::

    \text{memorisation:}\quad & s^2 + v^2\big(1\pm\sqrt{\psi_p/\psi_n}\big)^2 \\
    \text{generalisation:}\quad & \mu_1^2\psi_p \;\text{on average, of order } \psi_p \\
    \text{atom at } s^2: \quad & \text{mass } 1-(1+\psi_n)/\psi_p .

So :math:`\tau_{gen}` does not depend on N and :math:`\tau_{mem}` grows as N.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import check_fields, checked, number, reals, unchecked
from hierdiff.errors import InvalidParameter

__all__ = ["FeatureBulks", "FeatureConstants", "feature_bulks", "feature_constants"]

Floats: TypeAlias = NDArray[np.float64]

_NODES = 160  # of Gauss-Hermite quadrature, exact to rounding for smooth activations


@dataclass(frozen=True)
class FeatureConstants:
    r"""Constants :math:`\mu_1, v^2, s^2` of an activation at a time, with ``time`` itself.

    ``variance`` is that of the data, 1 but for classes of unequal variance.
    """

    time: float
    linear: float
    over_data: float
    over_noise: float
    variance: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, variance=partial(number, above=0))
        if not (self.time > 0 and self.linear and min(self.over_data, self.over_noise) > -1e-9):
            raise InvalidParameter(
                f"{self} must have time > 0, a linear part and no negative variance; see"
                " feature_constants"
            )

    @property
    def noise(self) -> float:
        r""":math:`\Delta_t = 1-e^{-2t}`."""
        return float(-np.expm1(-2 * self.time))


@checked(time=unchecked, variance=partial(number, low=1e-6, high=1e6))
def feature_constants(
    activation: Callable[[Floats], Floats], time: float, variance: float = 1.0
) -> FeatureConstants:
    r"""Split the features' variance into linear, data and noise parts.

    .. math::

        \mu_1 = E[u\varrho(ru)] / r, \quad
        v^2 = E_h\big[(E_z\varrho(e^{-t}\sigma h+\sqrt{\Delta_t}z))^2\big]
        - e^{-2t}\sigma^2\mu_1^2, \quad
        s^2 = E[\varrho(ru)^2] - v^2 - r^2\mu_1^2

    with :math:`\sigma^2` the variance of the data and :math:`r^2 = e^{-2t}\sigma^2 + \Delta_t` that
    of the noisy ones.

    Parameters
    ----------
    activation : function
        :math:`\varrho`, elementwise, of mean 0 under N(0, r^2), e.g. ``np.tanh``.
    time : float
        t > 0.
    variance : float
        Variance of the data, 1e-6 to 1e6.

    Returns
    -------
    FeatureConstants

    Raises
    ------
    InvalidParameter
        For time <= 0, or an activation whose mean is not 0.

    Notes
    -----
    Validity: exact to rounding for smooth activations (quadrature of 160 nodes).

    References
    ----------
    Bonnaire, Urfin, Biroli, Mezard, arXiv 2505.17638.

    Examples
    --------
    >>> found = feature_constants(np.tanh, 0.01)
    >>> round(found.linear, 8), round(found.over_data, 12), round(found.over_noise, 11)
    (0.60570551, 0.025541776444, 0.00187354959)
    """
    time = number("time", time)
    if not 1e-12 <= time <= 300:
        raise InvalidParameter(
            f"time = {time} must lie in [1e-12, 300]; without noise s^2 is 0, beyond no signal left"
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    signal, noise = np.exp(-time) * np.sqrt(variance), np.sqrt(-np.expm1(-2 * time))
    radius = 1.0 if variance == 1 else float(np.hypot(signal, noise))
    values = applied(activation, radius * nodes)
    if abs(float(weights @ values)) > 1e-8:
        raise InvalidParameter(
            f"the activation has mean {float(weights @ values):.3g} under N(0, {radius**2:.3g}),"
            " which adds an outlier; subtract it, or take an odd one"
        )
    averaged = applied(activation, signal * nodes[:, None] + noise * nodes) @ weights
    linear = float(weights @ (nodes * values)) / radius
    kept = float(weights @ averaged**2)
    return FeatureConstants(
        time=float(time),
        linear=linear,
        over_data=float(kept - (signal * linear) ** 2),
        over_noise=float(weights @ values**2 - kept - (noise * linear) ** 2),
        variance=variance,
    )


def applied(activation: Callable[[Floats], Floats], points: Floats) -> Floats:
    """What an activation makes of points, as numbers of their shape.

    Raises
    ------
    InvalidParameter
        If it takes no arrays, or returns another shape or NaN.

    Notes
    -----
    Validity: any elementwise function.

    Examples
    --------
    >>> applied(np.tanh, np.zeros(2))
    array([0., 0.])
    """
    try:
        found = activation(points)
    except TypeError as error:
        words = " ".join(str(error).split())[:80]
        raise InvalidParameter(
            f"activation cannot be applied to an array ({words}); give an elementwise function"
        ) from error
    return reals("what activation returns", found, shape=points.shape)


@dataclass(frozen=True)
class FeatureBulks:
    """Spectrum of the features' covariance, and the training times that follow from it.

    Attributes
    ----------
    memorization
        Edges of the memorisation bulk.
    memorization_finite
        The same once the d directions of the signal are taken out of p and of N.
    memorization_mean
        Mean eigenvalue of that bulk, s^2 + v^2 (psi_p - 1) / psi_n.
    generalization_mean
        Mean of the d largest eigenvalues to leading order, mu_1^2 psi_p.
    atom, atom_mass
        Position s^2 of the rest, and its share of all p eigenvalues.
    memorization_time, generalization_time
        psi_p / (Delta_t lambda) at the two means.
    """

    memorization: tuple[float, float]
    memorization_finite: tuple[float, float]
    memorization_mean: float
    generalization_mean: float
    atom: float
    atom_mass: float
    memorization_time: float
    generalization_time: float


@checked
def feature_bulks(constants: FeatureConstants, psi_p: float, psi_n: float) -> FeatureBulks:
    r"""Predict the bulks of the spectrum and the two training times.

    Parameters
    ----------
    constants : FeatureConstants
        Of the activation at the time of interest.
    psi_p, psi_n : float
        Features and data per dimension, with psi_p > 1 + psi_n and psi_n > 1.

    Returns
    -------
    FeatureBulks

    Raises
    ------
    InvalidParameter
        Unless psi_p > 1 + psi_n > 2, where the three parts are distinct.

    Notes
    -----
    Validity: Gaussian equivalence, d to infinity, leading order for large psi_p and psi_n.  At
    d = 40 edges of the Gaussian-equivalent spectrum are 5 to 11 % inside ``memorization``.

    References
    ----------
    Bonnaire, Urfin, Biroli, Mezard, arXiv 2505.17638.

    Examples
    --------
    >>> found = feature_bulks(feature_constants(np.tanh, 0.01), 40.0, 4.0)
    >>> found.atom_mass, round(found.generalization_mean, 3), round(found.memorization_time)
    (0.875, 14.675, 8051)
    """
    if not (psi_p > 1 + psi_n > 2 and psi_p < 1e140):
        raise InvalidParameter(
            f"psi_p = {psi_p} must exceed 1 + psi_n = {1 + psi_n}, and psi_n 1; add features or"
            " drop data"
        )
    c = constants
    sides, few = np.array([-1.0, 1.0]), np.sqrt((psi_n - 1) / psi_n)
    edges = c.over_noise + c.over_data * (np.sqrt(psi_p / psi_n) + sides) ** 2
    finite = c.over_noise + c.over_data * (np.sqrt((psi_p - 1) / psi_n) + sides * few) ** 2
    mean = c.over_noise + c.over_data * (psi_p - 1) / psi_n
    top = c.linear**2 * psi_p
    return FeatureBulks(
        memorization=(float(edges[0]), float(edges[1])),
        memorization_finite=(float(finite[0]), float(finite[1])),
        memorization_mean=float(mean),
        generalization_mean=float(top),
        atom=c.over_noise,
        atom_mass=float(1 - (1 + psi_n) / psi_p),
        memorization_time=float(psi_p / (c.noise * mean)),
        generalization_time=float(psi_p / (c.noise * top)),
    )
