r"""Memorisation: the exact denoiser of a finite data set.

=================  =============================================================================
:math:`N`          number of data :math:`x_i` in D dimensions
:math:`x`          noisy datum :math:`x_t / s_t = x_0 + \sigma\varepsilon`
:math:`w_i(x)`     posterior probability that :math:`x` came from :math:`x_i`
:math:`D_N(x)`     denoiser of the data set, what a network of unlimited capacity learns
=================  =============================================================================

.. math::

    D_N(x) = \sum_i w_i x_i, \qquad
    w = \mathrm{softmax}_i\Big(\!-\frac{|x-x_i|^2}{2\sigma^2}\Big),
    \qquad \nabla\log p_t(x) = \frac{D_N(x)-x}{\sigma^2} .

Below the noise level :math:`\sigma_C` where :math:`\ln N = I(x_0; x_t)` one datum outweighs all
the others together (:mod:`hierdiff.theory.mixture.collapse`), and what is generated is a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, integers, number, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.softmax_averages import (
    Average,
    Block,
    Data,
    PreparedData,
    Reals,
    blocks_of,
    kept,
    matrix,
    nearest_pairs,
    norms,
    origin_of,
    real,
)
from hierdiff.theory.mixture.time_change import positive_level, positive_scale

__all__ = [
    "EmpiricalPosterior",
    "Neighbours",
    "empirical_denoise",
    "empirical_posterior",
    "empirical_score",
    "memorization_fraction",
    "nearest_two",
    "prepare",
]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EmpiricalPosterior:
    """What noisy data tell about a data set.

    Attributes
    ----------
    mean
        Posterior mean :math:`D_N`, [n, D], in the precision of the noisy data.
    log_density
        Log-density of the noisy data, nats, [n].
    max_weight
        Largest weight, [n]; that of the nearest datum.
    nearest
        Number of the nearest datum, [n].
    distance
        Distance :math:`|x - x_i|` to it, [n].
    own_weight
        Weight of the datum that the query was made from, [n]; None if it was not named.
    """

    mean: Reals
    log_density: Floats
    max_weight: Floats
    nearest: NDArray[np.intp]
    distance: Floats
    own_weight: Floats | None


# looked at below, where their shapes are known
_public = checked(
    data=unchecked, x=unchecked, sigma=unchecked, scale=unchecked, block=unchecked
)  # fmt: skip


@checked(data=unchecked)
def prepare(data: ArrayLike) -> PreparedData:
    """Data for repeated calls: checked once, squared lengths computed once.

    Parameters
    ----------
    data : array [N, D]
        In memory, or a memory map, which is read to its end; copied unless it is read-only, so that
        later changes have no effect (``data.setflags(write=False)`` spares the copy).

    Returns
    -------
    PreparedData
        Accepted wherever data are.

    Raises
    ------
    InvalidParameter
        For empty data or NaN.

    Notes
    -----
    Validity: results are the same; a call on few queries is spared one pass over the data.

    Examples
    --------
    >>> prepare([[3.0, 4.0]]).squares
    array([25.])
    """
    rows = real(data, "data")
    if rows.ndim != 2 or rows.size == 0:
        raise InvalidParameter(f"data have shape {rows.shape}; give a non-empty array [N, D]")
    rows = kept(rows)
    return PreparedData(rows, kept(norms(Block(0, rows))))


@_public
def empirical_denoise(
    data: Data, x: ArrayLike, sigma: float, *, scale: float = 1.0, block: int | None = None
) -> Reals:
    r"""Posterior mean under the empirical measure, :math:`D_N(x_t) = \sum_i w_i x_i`.

    Parameters
    ----------
    data : array [N, D], or iterable of arrays [n_i, D]
        An array, a memory map, an HDF5 dataset, or blocks in any order and of any size; read once.
        For repeated calls on one array see :func:`prepare`.
    x : array [n, D]
        Noisy data :math:`x_t`; float32 is computed in float32, whatever the data are stored in.
    sigma : float
        Noise level relative to the signal, > 0.
    scale : float
        :math:`s_t` > 0.
    block : int, optional
        Data held at a time, default 8192.

    Returns
    -------
    array [n, D]

    Raises
    ------
    InvalidParameter
        For empty data, NaN, shapes that do not match, sigma or scale <= 0.

    Notes
    -----
    Validity: exact for any data set, to the rounding of x and of the data: an offset that they
    share is without effect.  Memory n D + (n + D) block numbers beyond the data, two products of
    2 n N D flops; the second leaves out data of no weight.  Log-weights that count are good to
    1e-11, in float32 to 1e-3: where a product is not, they are computed from differences.

    References
    ----------
    Kamb and Ganguli, arXiv 2412.20292, eq. 3-4; Bonnaire et al., arXiv 2505.17638.

    Examples
    --------
    >>> empirical_denoise([[0.0], [1.0]], [[0.5], [1.5]], 0.5).round(6)
    array([[0.5     ],
           [0.982014]])
    """
    return _average(data, _noisy(x, scale), positive_level(sigma), block).mean


@_public
def empirical_score(
    data: Data, x: ArrayLike, sigma: float, *, scale: float = 1.0, block: int | None = None
) -> Reals:
    r"""Score of the noisy data set, :math:`(s_t D_N(x_t) - x_t)/(s_t^2\sigma^2)`.

    Parameters
    ----------
    data, x, sigma, scale, block
        As in :func:`empirical_denoise`.

    Returns
    -------
    array [n, D]

    Raises
    ------
    InvalidParameter
        As in :func:`empirical_denoise`.

    Notes
    -----
    Validity: exact for any data set.

    Examples
    --------
    >>> empirical_score([[0.0], [1.0]], [[0.5]], 0.5) + 0.0
    array([[0.]])
    """
    y, level, scale = _noisy(x, scale), positive_level(sigma), positive_scale(scale)
    average = _average(data, y, level, block)
    with np.errstate(over="ignore"):
        out: Reals = average.pull / y.dtype.type(scale * level**2)
    if not np.isfinite(out).all():
        raise InvalidParameter(
            f"sigma = {sigma} takes the score beyond the range of {y.dtype}; raise it, or pass"
            " float64 data"
        )
    return out


@checked(
    data=unchecked, x=unchecked, sigma=unchecked, scale=unchecked, block=unchecked, own=unchecked
)
def empirical_posterior(
    data: Data,
    x: ArrayLike,
    sigma: float,
    *,
    scale: float = 1.0,
    block: int | None = None,
    own: ArrayLike | None = None,
) -> EmpiricalPosterior:
    r"""Posterior mean together with log-density, weights and nearest datum.

    .. math:: \log p(x_t) = \log\frac1N\sum_i N(x_t;\, s_t x_i,\, s_t^2\sigma^2)

    Parameters
    ----------
    data, x, sigma, scale, block
        As in :func:`empirical_denoise`.
    own : int array [n], optional
        Number of the datum each x was made from.

    Returns
    -------
    EmpiricalPosterior

    Raises
    ------
    InvalidParameter
        As in :func:`empirical_denoise`, and for own data that do not exist.

    Notes
    -----
    Validity: exact for any data set; ties of distance go to the first datum.

    Examples
    --------
    >>> found = empirical_posterior([[0.0], [1.0]], [[0.6]], 0.5, own=[0])
    >>> found.nearest, found.own_weight.round(6), found.log_density.round(6)
    (array([1]), array([0.401312]), array([-0.725923]))
    """
    y, scale = _noisy(x, scale), positive_scale(scale)
    v, (n, dim) = positive_level(sigma) ** 2, y.shape
    average = Average(y, v, dim, own=_owners(own, n), track=True)
    for part in blocks_of(data, (dim,), y.dtype, block):
        average.feed(part)
    if own is not None and not np.isfinite(average.own_log).all():
        raise InvalidParameter(
            f"own holds numbers up to {int(np.max(own))}, the data {average.count}; count from 0"
        )
    top = average.top.astype(float)
    assert average.nearest is not None
    volume = np.log(average.count) + dim * (np.log(scale) + 0.5 * np.log(2 * np.pi * v))
    return EmpiricalPosterior(
        mean=average.mean,
        log_density=np.log(average.mass) - average.distance / (2 * v) - volume,
        max_weight=1 / average.mass,
        nearest=average.nearest,
        distance=np.sqrt(average.distance),
        own_weight=None if own is None else np.exp(average.own_log - top) / average.mass,
    )


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The two nearest data of every sample: numbers and distances, [n, 2], nearest first."""

    index: NDArray[np.intp]
    distance: Floats

    @property
    def ratio(self) -> Floats:
        """Nearest over second nearest distance, [n]; 0 for an exact copy."""
        near, next_one = self.distance.T
        out: Floats = np.divide(near, next_one, out=np.zeros(len(near)), where=near > 0)
        return out


@checked(data=unchecked, samples=unchecked, block=unchecked)
def nearest_two(data: Data, samples: ArrayLike, *, block: int | None = None) -> Neighbours:
    """Nearest and second nearest datum of every sample.

    Parameters
    ----------
    data : array [N, D], or iterable of arrays [n_i, D]
        N >= 2; as in :func:`empirical_denoise`.
    samples : array [n, D]
        What a model generated.
    block : int, optional
        Data held at a time.

    Returns
    -------
    Neighbours

    Raises
    ------
    InvalidParameter
        For fewer than two data, NaN, shapes that do not match.

    Notes
    -----
    Validity: Euclidean; distances and the choice of the nearest are those of float64 differences,
    ties go to the first datum.

    Examples
    --------
    >>> nearest_two([[0.0], [1.0], [4.0]], [[0.9]]).distance.round(6)
    array([[0.1, 0.9]])
    """
    y = matrix("samples", samples)
    distance = np.full((len(y), 2), np.inf)
    index = np.full((len(y), 2), -1, dtype=np.intp)
    origin, begun = None, False
    for part in blocks_of(data, y.shape[1:], y.dtype, block):
        if not begun:
            origin, begun = origin_of(y, part.rows), True
        for rows, near, gaps in nearest_pairs(y, part, origin):
            merged = np.hstack([distance[rows], gaps])
            order = np.argsort(merged, axis=1, kind="stable")[:, :2]
            distance[rows] = np.take_along_axis(merged, order, axis=1)
            index[rows] = np.take_along_axis(np.hstack([index[rows], near]), order, axis=1)
    if not np.isfinite(distance).all():
        raise InvalidParameter(
            "data must hold at least two finite rows to have a second neighbour; add data"
        )
    return Neighbours(index, distance)


@checked(data=unchecked, samples=unchecked, block=unchecked)
def memorization_fraction(
    data: Data, samples: ArrayLike, *, threshold: float = 1 / 3, block: int | None = None
) -> float:
    r"""Share of samples that are copies: nearest over second nearest distance < 1/3.

    Parameters
    ----------
    data, samples, block
        As in :func:`nearest_two`.
    threshold : float
        Ratio below which a sample counts as memorised, in (0, 1].

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        As in :func:`nearest_two`, and for thresholds outside (0, 1].

    Notes
    -----
    Validity: presumes that the data hold no near-duplicates; a copy of a datum that stands twice
    counts only if it is exact.

    References
    ----------
    Bonnaire et al., arXiv 2505.17638.

    Examples
    --------
    >>> memorization_fraction([[0.0], [1.0]], [[0.1], [0.4]])
    0.5
    """
    if not 0 < number("threshold", threshold) <= 1:
        raise InvalidParameter(f"threshold = {threshold} must lie in (0, 1]; 1/3 is customary")
    return float(np.mean(nearest_two(data, samples, block=block).ratio < threshold))


def _average(data: Data, y: Reals, level: float, block: int | None) -> Average:
    average = Average(y, level**2, y.shape[1])
    for part in blocks_of(data, y.shape[1:], y.dtype, block):
        average.feed(part)
    return average


def _noisy(x: ArrayLike, scale: float) -> Reals:
    """Checked queries in units of the data."""
    y, s = matrix("x", x), positive_scale(scale)
    if s == 1:
        return y
    # in float64 and back: one rounding, whatever the scale
    with np.errstate(over="ignore"):
        found: Reals = (y / s).astype(y.dtype)
    if not np.isfinite(found).all():
        raise InvalidParameter(f"scale = {scale} takes x beyond the range of {y.dtype}; raise it")
    return found


def _owners(own: ArrayLike | None, n: int) -> NDArray[np.intp] | None:
    if own is None:
        return None
    return integers("own", own, shape=(n,)).astype(np.intp)
