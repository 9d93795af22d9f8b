r"""Symmetry breaking: where the centre of the reverse process turns unstable.

================  ==============================================================================
:math:`u`         signal power :math:`\bar\alpha = 1/(1+\sigma^2)` of the VP process
:math:`j`         largest eigenvalue of :math:`\mathrm{Cov}(x_0|x_t)/\sigma^2` at the centre
================  ==============================================================================

The reverse VP drift per unit of :math:`\beta\,dt` is :math:`x/2 + \nabla\log p_t` for the SDE and
half of :math:`x + \nabla\log p_t` for the probability-flow ODE.  The Jacobian of the score is
:math:`(j-1)/(1-u)` along the leading direction, so the centre is unstable where

.. math::

    \text{SDE:}\quad j > \frac{1+u}2, \qquad\qquad \text{ODE:}\quad j > u .
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq

from hierdiff.checks import checked, number, unchecked
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.mixture import LowRankMixture
from hierdiff.theory._clocks import Threshold
from hierdiff.theory.low_rank import denoise, jacobian_spectrum

__all__ = ["Reverse", "central_instability", "first_from_above", "two_delta_instability"]

Reverse: TypeAlias = Literal["sde", "ode"]


@checked(radius=unchecked)
def two_delta_instability(radius: float = 1.0, reverse: Reverse = "sde") -> Threshold:
    r"""Noise level at which the centre of two points :math:`\pm r` turns unstable.

    .. math::
        \text{SDE:}\quad u^2 + 2r^2u - 1 = 0, \qquad
        \text{ODE:}\quad u = 1 - r^2, \qquad \sigma_c^2 = 1/u - 1

    Linearised at 0 the reverse VP drift, per unit of :math:`\beta\,dt`, is
    :math:`\frac12 - \frac1{1-u} + \frac{r^2u}{(1-u)^2}` for the SDE and half of
    :math:`1 - \frac1{1-u} + \frac{r^2u}{(1-u)^2}` for the probability-flow ODE.

    Parameters
    ----------
    radius : float
        r > 0.
    reverse : {"sde", "ode"}
        Which reverse process.

    Returns
    -------
    Threshold
        For r = 1 and the SDE :math:`u = \sqrt2 - 1`, :math:`\sigma_c^2 = \sqrt2`.

    Raises
    ------
    NoTransition
        For the ODE and r >= 1: its centre is unstable at every noise level.
    InvalidParameter
        For radius <= 0 or an unknown process.

    Notes
    -----
    Validity: exact.

    References
    ----------
    Raya and Ambrogioni, arXiv 2305.19693.

    Examples
    --------
    >>> found = two_delta_instability()
    >>> round(found.sigma, 9), round(found.time, 9), round(found.alpha_bar, 9)
    (1.189207115, 0.440686794, 0.414213562)
    """
    square = positive_radius(radius) ** 2
    if reverse == "sde":
        # sqrt(r^4 + 1) - 1 without the difference
        root = np.hypot(square, 1.0)
        return Threshold(float(np.sqrt(square + square * (square / (root + 1)))))
    if square >= 1:
        raise NoTransition(
            f"radius = {radius} >= 1: the centre of the probability flow is unstable at every"
            " noise level; use reverse='sde' or a smaller radius"
        )
    return Threshold(float(np.sqrt(square / (1 - square))))


@checked
def central_instability(mixture: LowRankMixture, reverse: Reverse = "sde") -> Threshold:
    r"""Noise level below which the origin is an unstable point of the reverse VP process.

    With the largest eigenvalue j of :math:`\mathrm{Cov}(x_0 \mid x_t = 0)/\sigma^2` the
    linearised drift vanishes at :math:`j = (1+u)/2` (SDE) or :math:`j = u` (ODE).

    Parameters
    ----------
    mixture : LowRankMixture
        Symmetric enough for the origin to be its own posterior mean at every noise level.
    reverse : {"sde", "ode"}
        Which reverse process.

    Returns
    -------
    Threshold
        The largest such level.

    Raises
    ------
    NoTransition
        If the origin is stable at every noise level, or unstable at every one.
    InvalidParameter
        If the origin is no fixed point.

    Notes
    -----
    Validity: exact linear stability.  Orthogonal subspaces of unit variance have
    :math:`j \le u < (1+u)/2`: always stable.

    Examples
    --------
    >>> points = LowRankMixture([np.zeros((1, 0))] * 2, means=[[1.0], [-1.0]])
    >>> round(central_instability(points).sigma, 9)
    1.189207115
    """
    origin = np.zeros((1, mixture.dim))
    scale = float(
        np.sqrt((mixture.means**2).sum(1).max() + sum(v.sum() for v in mixture.variances))
    )
    for level in (0.1, 1.0, 10.0):
        # in units of the data: a mixture of any size has its own centre
        if scale and np.abs(denoise(mixture, origin, level * scale)).max() > 1e-9 * scale:
            raise InvalidParameter(
                "the origin is no fixed point of this mixture; shift the data to a symmetric centre"
            )

    def drift(log_sigma: float) -> float:
        sigma = float(np.exp(log_sigma))
        power = 1 / (1 + sigma**2)
        wanted = (1 + power) / 2 if reverse == "sde" else power
        return float(jacobian_spectrum(mixture, origin, sigma)[0, 0]) - wanted

    found = first_from_above(drift, max(scale, 1.0))
    if found is None:
        raise NoTransition(
            "the origin changes stability at no noise level: no symmetry breaks there; use"
            " speciation_time(criterion='free_entropy')"
        )
    return Threshold(found)


def first_from_above(excess: Callable[[float], float], top: float) -> float | None:
    """Largest zero below 10 ``top`` of a function of log sigma that is negative in much noise."""
    grid = np.log(top) + np.log(10) * np.linspace(1, -6, 71)
    if excess(grid[0]) >= 0:
        return None
    for upper, lower in zip(grid[:-1], grid[1:], strict=True):
        if excess(lower) >= 0:
            return float(np.exp(brentq(excess, lower, upper, xtol=1e-14, rtol=1e-14)))
    return None


def positive_radius(radius: float) -> float:
    """Half the distance of two points, whose powers are numbers."""
    found = number("radius", radius, above=0)
    if not 1e-70 <= found <= 1e70:
        raise InvalidParameter(
            f"radius = {radius} must lie in [1e-70, 1e70]; choose units near the data's"
        )
    return found
