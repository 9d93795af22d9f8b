r"""The bias of deterministic samplers in forward-backward runs, in closed form.

=============  =================================================================================
symbol         meaning
=============  =================================================================================
c              variance of the data along one direction: x0 ~ N(0, c)
r              snr c / (1 + snr c), the share of the variance that x_t determines
x0'            what the reverse chain makes of x_t
=============  =================================================================================

.. math::
   \text{posterior sampling: } \mathrm{corr}(x_0, x_0') = r, \qquad
   \text{deterministic flow: } \mathrm{corr}(x_0, x_0') = \sqrt{r}

Both have the right marginal law of x0'.  The difference :math:`\sqrt r - r`, up to 1/4 at r = 1/4,
is the *determinism bias*: it does not fall with the number of steps.  For a linear denoiser every
step is linear, so the finite chain is known exactly too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hierdiff.checks import FloatArray, checked, fraction, reals, snr_of
from hierdiff.errors import InvalidParameter
from hierdiff.validation.diffusion.parameterisation import amplitudes

__all__ = ["Retention", "determinism_bias", "linear_retention", "retained_share"]


class Retention(NamedTuple):
    """What a forward-backward run leaves of the data along directions of variance c, each [d]."""

    slope: FloatArray
    variance: FloatArray
    correlation: FloatArray


@checked
def retained_share(variance: ArrayLike, snr: float) -> FloatArray:
    r"""Correlation of x0 with an exact posterior sample, r = snr c / (1 + snr c).

    Parameters
    ----------
    variance : float or array
        Variance c of the data along a direction, >= 0.
    snr : float
        Signal-to-noise ratio of x_t.

    Returns
    -------
    array
        In [0, 1], of the shape of ``variance``.

    Raises
    ------
    InvalidParameter
        For a negative variance or ratio.

    Notes
    -----
    Validity: Gaussian data; exact.

    Examples
    --------
    >>> float(retained_share(1.0, 3.0))
    0.75
    """
    c, ratio = _variances(variance), snr_of(snr)
    if np.isinf(ratio):
        return np.asarray(c > 0, dtype=float)
    return np.asarray(ratio * c / (1 + ratio * c))


@checked
def determinism_bias(variance: ArrayLike, snr: float) -> FloatArray:
    r"""Excess correlation of a deterministic sampler, sqrt(r) - r.

    Parameters
    ----------
    variance : float or array
        Variance c of the data along a direction, > 0.
    snr : float
        Signal-to-noise ratio of x_t, > 0.

    Returns
    -------
    array
        In [0, 1/4], of the shape of ``variance``.

    Raises
    ------
    InvalidParameter
        For a negative variance or ratio.

    Notes
    -----
    Validity: Gaussian data, exact denoiser, many steps (the probability-flow equation).

    Examples
    --------
    >>> float(determinism_bias(1.0, 1 / 3))
    0.25
    """
    r = retained_share(variance, snr)
    return np.asarray(np.sqrt(r) - r)


@checked(eta=fraction)
def linear_retention(variance: ArrayLike, levels: ArrayLike, eta: float = 1.0) -> Retention:
    r"""A finite chain with the exact denoiser of Gaussian data, step by step in closed form.

    .. math:: \hat x_0 = \frac{a c}{a^2 c + s^2}\, x_t, \qquad
       x' = \Big[a' \frac{a c}{a^2 c + s^2} + \sqrt{s'^2 - \eta^2 \tilde\nu}\,
       \frac{s}{a^2 c + s^2}\Big] x_t + \eta \sqrt{\tilde\nu}\,\xi

    Parameters
    ----------
    variance : array [d]
        Variances c of the data along d directions, > 0.
    levels : array [steps + 1]
        SNRs of the chain, increasing, from that of x_t to inf.
    eta : float
        0 for DDIM, 1 for the ancestral chain with posterior variance.

    Returns
    -------
    Retention
        Regression slope of x0' on x0, variance of x0', and their correlation.

    Raises
    ------
    InvalidParameter
        For a variance that is not positive, or levels that do not increase.

    Notes
    -----
    Validity: Gaussian data, exact denoiser, any number of steps; exact.

    Examples
    --------
    >>> levels = np.append(np.geomspace(1 / 3, 1e4, 400), np.inf)
    >>> [round(float(linear_retention(1.0, levels, eta).correlation), 3) for eta in (1.0, 0.0)]
    [0.252, 0.5]
    """
    c, ratio = _variances(variance), snr_of(levels)
    if not (c > 0).all() or ratio.ndim != 1 or not ratio.size or not (np.diff(ratio) > 0).all():
        raise InvalidParameter(
            "variances must be positive and levels increase; drop empty directions and sort"
        )
    amplitude, noise = amplitudes(ratio)
    covariance, spread = amplitude[0] * c, amplitude[0] ** 2 * c + noise[0] ** 2
    for k in range(len(ratio) - 1):
        a, s, a_next, s_next = amplitude[k], noise[k], amplitude[k + 1], noise[k + 1]
        drawn = eta**2 * s_next**2 * (1 - ratio[k] / ratio[k + 1])
        total = a**2 * c + s**2
        gain = (a_next * a * c + np.sqrt(s_next**2 - drawn) * s) / total
        covariance, spread = gain * covariance, gain**2 * spread + drawn
    return Retention(covariance / c, spread, covariance / np.sqrt(spread * c))


def _variances(variance: ArrayLike) -> FloatArray:
    return reals("variance", variance, 0, 1e100)
