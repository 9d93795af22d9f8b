r"""Windows from the covariance of data, and the score machine of any windows.

=================  =============================================================================
:math:`C`          covariance of the data, sites times channels on either side
:math:`F_{ij}`     block of the Wiener filter :math:`C (C + \sigma^2)^{-1}` from site j to site i
:math:`\Omega_i`   window of site i, the sites that its denoiser sees
=================  =============================================================================

The best linear denoiser reads off which sites matter: the window of size k of site i are the k
sites with the largest

.. math:: |F_{ij}|_F, \qquad F = C\,(C + \sigma^2)^{-1}.                                \qquad (1)

The windows follow from data statistics alone, and change with the noise level: at small noise a
site is enough by itself, at large noise those that vary with it.  The local score machine of these
windows is the exact denoiser of the training data that sees a window of each site,

.. math:: D(x)[i] = \sum_n W_n\, y_n[i], \qquad
   W_n \propto e^{-|x_{\Omega_i} - y_{n,\Omega_i}|^2 / 2\sigma^2},                      \qquad (2)

which :func:`~hierdiff.theory.mixture.score_machines.local_denoise` computes for squares.  The
Gaussian denoiser of the same windows knows the mean :math:`m` and the covariance of the data alone,

.. math:: D(x)[i] = m_i + C_{i\Omega_i} (C_{\Omega_i\Omega_i} + \sigma^2)^{-1} (x - m)_{\Omega_i},
   \qquad v_i = C_{ii} - C_{i\Omega_i} (C_{\Omega_i\Omega_i} + \sigma^2)^{-1} C_{\Omega_i i} ,
   \qquad (3)

with the squared error :math:`v_i` on any data of that covariance.  It is the best linear denoiser
of its window.  For Gaussian data the estimate of a window is that of all sites, averaged over
what is outside; so the share of the denoiser of all sites that windows explain is

.. math:: r^2 = 1 - \frac{\sum_i (v_i - v_i^{all})}{\sum_i (C_{ii} - v_i^{all})} . \qquad (4)

References: Lukoianov et al., arXiv 2509.09672 (locality from data covariance); Kamb and Ganguli,
arXiv 2412.20292 (local score machine).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, checked, memory, number, reals, unchecked, whole
from hierdiff.errors import InvalidParameter

__all__ = [
    "covariance_windows", "windowed_average", "windowed_gaussian", "windowed_variance",
]  # fmt: skip

Floats = NDArray[np.float64]

_LEVEL = partial(number, low=1e-140, high=1e140)  # whose squares are numbers


def _sites(name: str, value: ArrayLike, sites: tuple[int, int] | None = None) -> Floats:
    """Data [n, sites, channels]; a missing last axis is one channel."""
    found = array(name, value)
    if found.ndim == 2:
        found = found[..., None]
    if found.ndim != 3 or not found.size or (sites is not None and found.shape[1:] != sites):
        wanted = "sites, channels" if sites is None else f"{sites[0]}, {sites[1]}"
        raise InvalidParameter(
            f"{name} has shape {np.shape(value)}; give data [n, {wanted}], flatten images first"
        )
    return reals(name, found)


@checked(data=unchecked, sigma=_LEVEL)
def covariance_windows(data: ArrayLike, size: int, sigma: float) -> NDArray[np.bool_]:
    r"""The ``size`` sites that the Wiener filter of each site weighs most, eq. (1).

    Parameters
    ----------
    data : array [n, sites] or [n, sites, channels]
        At least two data; symbols as one-hot channels.
    size : int
        Sites of a window, 1 to all; a site is in its own window.
    sigma : float
        Noise level in units of the data, > 0.

    Returns
    -------
    bool array [site, sites]

    Raises
    ------
    InvalidParameter
        For larger windows than there are sites, fewer than two data, NaN.

    Notes
    -----
    Validity: covariance of the sample; sites that weigh alike are taken in their order.  Cost is
    that of one inverse of (sites x channels) numbers squared.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    >>> covariance_windows(x, 2, 0.5)[:2].astype(int).tolist()
    [[1, 1, 0], [1, 1, 0]]
    """
    x = _sites("data", data)
    n, sites, channels = x.shape
    if n < 2:
        raise InvalidParameter(f"n = {n} datum has no covariance; give at least 2")
    if whole("size", size, 1) > sites:
        raise InvalidParameter(f"size = {size} exceeds the {sites} sites; give at most {sites}")
    memory(f"the covariance of {sites} sites", 40.0 * (sites * channels) ** 2)
    flat = (x - x.mean(axis=0)).reshape(n, -1)
    # in units of the largest deviation, so that squares neither overflow nor vanish
    unit = float(np.abs(flat).max()) or 1.0
    c = (flat / unit).T @ (flat / unit) / n
    noisy = c + (sigma / unit) ** 2 * np.eye(len(c))
    try:
        weights = np.linalg.solve(noisy, c).T.reshape(sites, channels, sites, channels)
    except np.linalg.LinAlgError:
        raise InvalidParameter(
            f"sigma = {sigma} is too small beside data of size {unit:g}; raise it"
        ) from None
    strength = (weights**2).sum(axis=(1, 3))
    strength[np.diag_indices(sites)] = np.inf
    chosen = np.argsort(-strength, axis=1, kind="stable")[:, :size]
    windows = np.zeros((sites, sites), bool)
    np.put_along_axis(windows, chosen, True, axis=1)
    return windows


@checked(data=unchecked, x=unchecked, windows=unchecked, sigma=_LEVEL)
def windowed_average(data: ArrayLike, x: ArrayLike, sigma: float, windows: ArrayLike) -> Floats:
    r"""Local score machine of any windows, eq. (2).

    Parameters
    ----------
    data : array [N, sites] or [N, sites, channels]
        Training data.
    x : array [n, sites] or [n, sites, channels]
        Noisy data in the units of the clean ones.
    sigma : float
        Noise level, > 0.
    windows : bool array [site, sites]

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    InvalidParameter
        For shapes that do not match, NaN, sigma <= 0.

    Notes
    -----
    Validity: exact for the machine.  Cost n N sites^2, so for small images.

    Examples
    --------
    >>> data = np.array([[0.0, 0.0], [1.0, 3.0]])
    >>> windowed_average(data, [[0.5, 9.0]], 1.0, np.eye(2, dtype=bool)).round(3).tolist()
    [[0.5, 3.0]]
    """
    y = _sites("data", data)
    z = _sites("x", x, (y.shape[1], y.shape[2]))
    seen = _windows(windows, y.shape[1])
    memory(f"{len(z)} noisy data beside {len(y)} of training", 24.0 * len(y) * y[0].size)
    out, mask = np.empty(z.shape), seen.T.astype(float)
    for i, one in enumerate(z):
        gaps = ((one - y) ** 2).sum(axis=2) @ mask  # [N, sites]
        logits = -gaps / (2 * sigma**2)
        weight = np.exp(logits - logits.max(axis=0))
        weight /= weight.sum(axis=0)
        out[i] = np.einsum("ns,nsc->sc", weight, y)
    return out.reshape(np.shape(x))


def _windows(windows: ArrayLike, sites: int) -> NDArray[np.bool_]:
    """Truth values [site, sites]."""
    try:
        seen = np.asarray(windows)
    except ValueError:  # rows of unequal length
        seen = np.empty(0)
    if seen.dtype != bool or seen.shape != (sites, sites):
        raise InvalidParameter(
            f"windows are {seen.dtype} of shape {seen.shape}; give truth values [site, sites], "
            f"({sites}, {sites})"
        )
    return seen


def _filters(
    data: Floats, sigma: float, windows: NDArray[np.bool_]
) -> tuple[list[tuple[NDArray[np.intp], Floats]], Floats]:
    """Per site the numbers that its window sees and their weights, and the variance that is left.

    Numbers are those of the flat data [n, sites x channels].
    """
    n, sites, channels = data.shape
    if n < 2:
        raise InvalidParameter(f"n = {n} datum has no covariance; give at least 2")
    memory(f"the covariance of {sites} sites", 40.0 * (sites * channels) ** 2)
    flat = (data - data.mean(axis=0)).reshape(n, -1)
    # in units of the largest deviation, so that squares neither overflow nor vanish
    unit = float(np.abs(flat).max()) or 1.0
    c = (flat / unit).T @ (flat / unit) / n
    noise = (sigma / unit) ** 2
    found, left = [], np.empty(sites)
    for i in range(sites):
        own = np.arange(i * channels, (i + 1) * channels)
        there = np.flatnonzero(np.repeat(windows[i], channels))
        try:
            weights = np.linalg.solve(
                c[np.ix_(there, there)] + noise * np.eye(len(there)), c[np.ix_(there, own)]
            )
        except np.linalg.LinAlgError:
            raise InvalidParameter(
                f"sigma = {sigma} is too small beside data of size {unit:g}; raise it"
            ) from None
        found.append((there, weights))
        left[i] = np.trace(c[np.ix_(own, own)]) - (weights * c[np.ix_(there, own)]).sum()
    return found, np.maximum(left, 0.0) * unit**2


@checked(data=unchecked, x=unchecked, windows=unchecked, sigma=_LEVEL)
def windowed_gaussian(data: ArrayLike, x: ArrayLike, sigma: float, windows: ArrayLike) -> Floats:
    r"""Best linear denoiser that sees a window of each site, eq. (3).

    Parameters
    ----------
    data : array [N, sites] or [N, sites, channels]
        At least two data, for mean and covariance.
    x : array [n, sites] or [n, sites, channels]
        Noisy data in the units of the clean ones.
    sigma : float
        Noise level, > 0.
    windows : bool array [site, sites]

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    InvalidParameter
        For shapes that do not match, fewer than two data, NaN, sigma <= 0.

    Notes
    -----
    Validity: the exact posterior mean for Gaussian data; the best linear one for any data with this
    mean and covariance.  A site that is in no window of its own is estimated from the others, and
    by its mean where the window is empty.

    Examples
    --------
    >>> data = np.array([[1.0, 1.0], [-1.0, -1.0]])
    >>> seen = np.array([[True, False], [True, True]])
    >>> windowed_gaussian(data, [[1.0, 1.0]], 1.0, seen).round(3).tolist()
    [[0.5, 0.667]]
    """
    y = _sites("data", data)
    z = _sites("x", x, (y.shape[1], y.shape[2]))
    filters, _ = _filters(y, sigma, _windows(windows, y.shape[1]))
    mean = y.mean(axis=0)
    flat = (z - mean).reshape(len(z), -1)
    parts = [flat[:, there] @ weights for there, weights in filters]
    return np.asarray((mean + np.stack(parts, axis=1)).reshape(np.shape(x)))


@checked(data=unchecked, windows=unchecked, sigma=_LEVEL)
def windowed_variance(data: ArrayLike, sigma: float, windows: ArrayLike) -> Floats:
    r"""Squared error of :func:`windowed_gaussian` per site, summed over channels, eq. (3).

    Parameters
    ----------
    data, sigma, windows
        As in :func:`windowed_gaussian`.

    Returns
    -------
    array [sites]

    Raises
    ------
    InvalidParameter
        As in :func:`windowed_gaussian`.

    Notes
    -----
    Validity: exact for data that have the covariance of the given ones, Gaussian or not.

    Examples
    --------
    >>> data = np.array([[1.0, 1.0], [-1.0, -1.0]])
    >>> windowed_variance(data, 1.0, np.array([[True, False], [True, True]])).round(3).tolist()
    [0.5, 0.333]
    """
    y = _sites("data", data)
    return _filters(y, sigma, _windows(windows, y.shape[1]))[1]
