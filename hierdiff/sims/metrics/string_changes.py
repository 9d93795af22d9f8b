r"""Which leaves and latents of strings change together, and what is read from it against depth.

==================  ==============================================================================
symbol              meaning
==================  ==============================================================================
:math:`\sigma_i`    +1 if leaf i comes back from noise level t as it was, -1 if it has changed
V_d                 sum over the nodes at height d of the variance of the sum of :math:`\sigma`
                    below, over noised and denoised copies of one datum
C(d)                covariance of two leaves whose last common ancestor has height d
:math:`\chi(t)`     :math:`\sum_{ij} C_{ij} / \sum_i C_{ii} = V_L / V_0`
slope               loss of retention per unit of t between two noise levels
sampler             what draws the new leaves: exact inference, a chain, a network
unit                a grammar with its data, and its network
==================  ==============================================================================

:mod:`hierdiff.sims.metrics.fluctuations` follows one datum of any model at a time.  Here all copies
of many data are one batch, as networks want it, and the latents of the samples are read as well, so
that one run gives retention, slopes, C(d) and :math:`\chi`.  Several samplers that start from the
same noisy data are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, memory, natural, one_level, reals, unchecked, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import falls_through, student_error
from hierdiff.sims.metrics.fluctuations import block_variances, distance_means, peak
from hierdiff.sims.metrics.forward_backward import (
    checked_derivations,
    forward_backward,
    partial_levels,
)

__all__ = [
    "READINGS",
    "Readings",
    "StringChanges",
    "changes_task",
    "depth_gaps",
    "depth_readings",
    "half_loss",
    "read_sampler",
    "string_changes",
    "susceptibility_gap",
]

Array: TypeAlias = NDArray[Any]


class StringChanges(NamedTuple):
    """What came back of every datum.

    Attributes
    ----------
    variances : array [n, L + 1]
        V_d over the copies of a datum, V_0 first; unbiased.
    share : array [n, L + 1]
        Share of the nodes of every level that are unchanged, class first.
    valid : array [n]
        Share of the copies that are valid strings.
    """

    variances: Array
    share: Array
    valid: Array


@checked(truth=unchecked, trajectories=partial(whole, low=2), seed=natural)
def string_changes(
    model: DiffusionModel, grammar: Grammar, truth: Derivations, t: float, trajectories: int,
    seed: int, key: tuple[int, ...] = (),
) -> StringChanges:  # fmt: skip
    """Noise and denoise copies of data, and see which leaves and latents change together.

    Parameters
    ----------
    model : DiffusionModel
        Of the leaves of the grammar.
    grammar : Grammar
        With the same branching on every level.
    truth : Derivations
        The data.
    t : float
        Noise level.
    trajectories : int
        Copies of each datum, at least two.
    seed, key : int, tuple of int
        They name the random streams, which are the same at all noise levels and for all models.

    Returns
    -------
    StringChanges

    Raises
    ------
    InvalidParameter
        For data of another grammar, a level outside [0, 1], fewer than two copies, or branching
        that differs between levels.

    Notes
    -----
    Validity: that of the model's samples.  All copies are one batch of the model.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.theory import ExactRHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> model = ExactRHM(grammar, MaskingNoise(4))
    >>> found = string_changes(model, grammar, grammar.sample(3, seed=1), 0.6, 4, seed=2)
    >>> found.variances.shape, found.share.shape, found.valid.tolist()
    ((3, 3), (3, 3), [1.0, 1.0, 1.0])
    """
    truth, t = checked_derivations(grammar, truth), one_level("t", t)
    if len(set(grammar.s)) != 1:
        raise InvalidParameter(f"branching {tuple(grammar.s)} differs between levels; use one s")
    n, copies = len(truth), trajectories
    memory(f"trajectories = {copies} of {n} data", 64.0 * copies * truth.leaves.size)
    x0 = np.repeat(truth.leaves, copies, axis=0)
    randoms = model.noise.draw(x0.shape, stream(seed, "noise", *key))
    new = forward_backward(model, x0, t, stream(seed, "backward", *key), randoms=randoms).x_0
    latents = partial_levels(grammar, new)
    share = [
        (a.reshape(n, copies, -1) == b[:, None]).mean(axis=(1, 2))
        for a, b in zip(latents, truth.levels, strict=True)
    ]
    sigma = (2.0 * (new == x0) - 1).reshape(n, copies, -1)
    variances = [block_variances(one, int(grammar.s[0])) for one in sigma]
    valid = (latents[0][:, 0] >= 0).reshape(n, copies).mean(axis=1)
    return StringChanges(np.stack(variances), np.stack(share, axis=1), valid)


@checked(truth=unchecked, key=unchecked)
def changes_task(
    model: DiffusionModel, grammar: Grammar, truth: Derivations, t: float, trajectories: int,
    seed: int, key: tuple[int, ...] = (),
) -> dict[str, Array]:  # fmt: skip
    """The same as named arrays, for a :class:`hierdiff.tasks.Task`.

    Parameters
    ----------
    model, grammar, truth, t, trajectories, seed, key
        As for :func:`string_changes`.

    Returns
    -------
    dict of str to array
        The fields of :class:`StringChanges`.
    """
    return string_changes(model, grammar, truth, t, trajectories, seed, key)._asdict()


# --------------------------------------------------------------------------------------- readings


class Readings(NamedTuple):
    """What is read from one sampler, a row per network.

    Attributes
    ----------
    retention : array [network, level, t]
    chi : array [network, t]
    correlation : array [network, distance, t]
        C(d) / C(0).
    valid : array [network, t]
    """

    retention: Array
    chi: Array
    correlation: Array
    valid: Array


@checked
def read_sampler(ds: xr.Dataset, sampler: str, s: int) -> Readings:
    """Retention, susceptibility, correlation and valid strings of one sampler, per network."""
    one = ds.sel(sampler=sampler)
    V = np.moveaxis(one.variances.values.mean(axis=1), 1, 2)  # [network, distance, t]
    C = distance_means(V, s, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Readings(
            one.share.values.mean(axis=1), V[:, -1] / V[:, 0], C / C[:, :1],
            one.valid.values.mean(axis=1),
        )  # fmt: skip


def _over(values: ArrayLike) -> tuple[Array, Array]:
    """Mean over networks and its Student error; NaN where one of them has none."""
    x = np.asarray(values, float)
    good = np.isfinite(x).all(axis=0)
    filled = np.where(good, x, 0.0)
    return (np.where(good, filled.mean(axis=0), np.nan),
            np.where(good, student_error(filled), np.nan))  # fmt: skip


@checked
def susceptibility_gap(
    ds: xr.Dataset, one: str = "network", other: str = "chain"
) -> tuple[Array, Array]:
    r"""Difference of :math:`\chi` between two samplers per network, and its error over data.

    .. math:: \sigma_k^2 = \frac{1}{n (n - 1)} \sum_i \Big(
       \frac{V_{L,i} - \chi V_{0,i}}{\bar V_0} - \frac{V'_{L,i} - \chi' V'_{0,i}}{\bar V'_0}
       \Big)^2

    Parameters
    ----------
    ds : xarray.Dataset
        As for :func:`depth_readings`.
    one, other : str
        Samplers; the first less the second.

    Returns
    -------
    gap, error : array [network, t]
        NaN where nothing changes.

    Notes
    -----
    Validity: linearised ratios, paired by datum.
    """
    means, rests = [], []
    for name in (one, other):
        V = ds.sel(sampler=name).variances.values
        top, bottom = V[..., -1], V[..., 0]  # [network, datum, t]
        scale = bottom.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            chi = top.mean(axis=1, keepdims=True) / scale
            rests.append((top - chi * bottom) / scale)
        means.append(chi[:, 0])
    n = rests[0].shape[1]
    error = np.sqrt(((rests[0] - rests[1]) ** 2).sum(axis=1) / (n * (n - 1)))
    return means[0] - means[1], error


def _steepest(curves: Array, t: Array, at: int) -> Array:
    """Loss per unit of t between levels ``at`` and ``at + 1``, [network]."""
    return np.asarray((curves[:, at] - curves[:, at + 1]) / (t[at + 1] - t[at]))


def _largest(ds: xr.Dataset, sampler: str) -> Array:
    """Place and height of chi's maximum, as a pseudo-value per network; NaN at an end of the range.

    One network alone has a noisy chi where few leaves change, so the maximum is that of the ratio
    of sums over networks, and what one of them adds to it is K times this less K - 1 times that of
    the others (jackknife).
    """
    V = ds.sel(sampler=sampler).variances.values  # [network, datum, t, distance]
    every = np.arange(len(V))
    whole_set, n = _vertex(ds, V, every), len(V)
    others = np.array([_vertex(ds, V, np.delete(every, k)) for k in every])
    return np.asarray(n * whole_set - (n - 1) * others)


def _vertex(ds: xr.Dataset, V: Array, rows: Array) -> Array:
    """Place and height for some of the networks."""
    flat = V[rows].reshape(-1, *V.shape[2:])
    # chi is no number at a level so low that no leaf of any datum changed
    some = flat[..., 0].mean(axis=0) > 0
    try:
        one = peak(ds.t.values[some], flat[:, some, -1], flat[:, some, 0], resamples=2)
    except InvalidParameter:  # chi rises to an end of the range, or nothing changes
        return np.full(2, np.nan)
    return np.array([one.place, one.height])


@checked
def half_loss(t: ArrayLike, curve: ArrayLike) -> float:
    """Noise level at which a curve is half way from one to its last value.

    Parameters
    ----------
    t : array [T]
        Increasing.
    curve : array [T]
        Probabilities.

    Returns
    -------
    float
        NaN where nothing is lost, or the curve starts below.

    Raises
    ------
    InvalidParameter
        As :func:`hierdiff.sims.metrics.estimators.falls_through`.

    Examples
    --------
    >>> half_loss([0.1, 0.2, 0.3], [1.0, 0.6, 0.2])
    0.2
    """
    height = (1 + float(reals("curve", curve, ndim=1, least=1)[-1])) / 2
    return falls_through(t, curve, height) if 0 < height < 1 else float("nan")


def _decay(correlation: Array, s: int) -> Array:
    """Exponent of C(d) ~ s**(-a d) between d = 1 and the last one above zero for all networks.

    A range of its own for every network would end where its noise does, and compare exponents of
    different distances.
    """
    d = np.arange(1, correlation.shape[1])
    good = np.cumprod((correlation[:, 1:] > 0).all(axis=0)).astype(bool)
    if good.sum() < 2:
        return np.full(len(correlation), np.nan)
    rows = np.log(correlation[:, 1:][:, good])
    return np.asarray(-np.polyfit(d[good], rows.T, 1)[0] / np.log(s))


READINGS = {
    "class_slope": "steepest loss of the class per unit of t",
    "leaf_slope": "steepest loss of a leaf per unit of t",
    "class_half": "noise level at which half of what can be lost of the class is lost",
    "leaf_half": "noise level at which half of what can be lost of a leaf is lost",
    "peak_place": "noise level at which the susceptibility is largest",
    "peak_height": "largest susceptibility",
    "decay": "exponent a of C(d) ~ s^(-a d) where the exact susceptibility is largest",
}
"""Variables of :func:`depth_readings`, each with its error."""


def _columns(ds: xr.Dataset, sampler: str, s: int) -> dict[str, Array]:
    """Every reading per network; noise levels are chosen once, on exact inference."""
    t = ds.t.values
    first = str(ds.sampler.values[0])
    by = read_sampler(ds, first, s)
    # levels of the steepest loss and of the largest chi, by the mean over grammars
    loss = -np.diff(by.retention.mean(axis=0), axis=1) / np.diff(t)
    k_class, k_leaf = int(loss[0].argmax()), int(loss[-1].argmax())
    k_chi = int(np.nan_to_num(by.chi.mean(axis=0)).argmax())
    own = read_sampler(ds, sampler, s)
    place = _largest(ds, sampler)
    halves = [[half_loss(t, curve) for curve in own.retention[:, level]] for level in (0, -1)]
    return {
        "class_slope": _steepest(own.retention[:, 0], t, k_class),
        "leaf_slope": _steepest(own.retention[:, -1], t, k_leaf),
        "class_half": np.array(halves[0]), "leaf_half": np.array(halves[1]),
        "peak_place": place[:, 0], "peak_height": place[:, 1],
        "decay": _decay(own.correlation[..., k_chi], s),
    }  # fmt: skip


@checked(parts=unchecked)
def depth_readings(
    parts: Mapping[int, xr.Dataset], sampler: str, s: int
) -> dict[str, tuple[Array, Array]]:
    """Slopes, half losses, the maximum of chi and the decay of C against depth.

    Parameters
    ----------
    parts : mapping of L to xarray.Dataset
        As :func:`hierdiff.validation.experiments.correlated_changes.depth_changes` returns them:
        ``variances`` on (sampler, network, datum, t, distance), ``share`` on (sampler, network,
        datum, level, t), ``valid`` on (sampler, network, datum, t).
    sampler : str
        One that the datasets hold.
    s : int
        Branching.

    Returns
    -------
    dict of str to (values, errors)
        Arrays [depth] for each of :data:`READINGS`; means and Student's errors over networks, NaN
        where a network has none.

    Raises
    ------
    InvalidParameter
        For a sampler that is not in them.

    Notes
    -----
    Validity: slopes are differences between noise levels that are chosen on the first sampler.
    The others do not gain by their own noise; the slope of the first is the largest of its noisy
    means over networks, above the true one by about an error where neighbouring slopes are alike.
    The maximum of chi is that of a parabola, with a jackknife over networks.  The exponent of C is
    read over distances at which it is above zero in all networks.
    """
    found: dict[str, list[tuple[Array, Array]]] = {name: [] for name in READINGS}
    for L, ds in parts.items():
        known = [str(x) for x in ds.sampler.values]
        if sampler not in known:
            raise InvalidParameter(
                f"sampler = {sampler!r} is not in the results of L = {L}; they have "
                + ", ".join(known)
            )
        for name, column in _columns(ds, sampler, s).items():
            found[name].append(_over(column))
    return {
        name: (np.array([x[0] for x in rows]), np.array([x[1] for x in rows]))
        for name, rows in found.items()
    }


@checked(parts=unchecked)
def depth_gaps(
    parts: Mapping[int, xr.Dataset], s: int, one: str = "network", other: str = "chain"
) -> dict[str, tuple[Array, Array]]:
    """Differences of :func:`depth_readings` between two samplers, paired by network.

    Parameters
    ----------
    parts : mapping of L to xarray.Dataset
    s : int
        Branching.
    one, other : str
        Samplers.

    Returns
    -------
    dict of str to (values, errors)
        Arrays [depth], with Student's errors over networks.

    Notes
    -----
    Validity: both samplers start from the same noisy data.
    """
    rows: dict[str, list[tuple[Array, Array]]] = {name: [] for name in READINGS}
    for ds in parts.values():
        a, b = (_columns(ds, name, s) for name in (one, other))
        for name in READINGS:
            rows[name].append(_over(a[name] - b[name]))
    return {
        name: (np.array([x[0] for x in found]), np.array([x[1] for x in found]))
        for name, found in rows.items()
    }
