"""Changes of strings: an enumeration, the law of retention, a planted surrogate, and readings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff import RHM, Grammar, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import generator
from hierdiff.sims.metrics.forward_backward import exact_retention
from hierdiff.sims.metrics.string_changes import (
    _decay,
    depth_gaps,
    depth_readings,
    half_loss,
    read_sampler,
    string_changes,
    susceptibility_gap,
)
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.theory import ExactRHM

GRAMMAR = RHM(4, 2, 2, 2).draw(0)
MODEL = ExactRHM(GRAMMAR, MaskingNoise(4))


def language(grammar: Grammar) -> np.ndarray:
    """All valid strings, by trying all of them; every one is as likely as another."""
    every = np.array(list(itertools.product(range(4), repeat=grammar.n_leaves)))
    return every[grammar.is_valid(every)]


def enumerated(x0: np.ndarray, t: float) -> np.ndarray:
    """V_d of one datum under masking: all masks, all strings that agree with what is seen."""
    strings, rows, weights = language(GRAMMAR), [], []
    for mask in itertools.product((False, True), repeat=len(x0)):
        seen = ~np.array(mask)
        fits = strings[(strings[:, seen] == x0[seen]).all(axis=1)]
        rows.append(2.0 * (fits == x0) - 1)
        weights.append(np.full(len(fits), t ** sum(mask) * (1 - t) ** seen.sum() / len(fits)))
    sigma, w = np.concatenate(rows), np.concatenate(weights)
    found = []
    for d in range(3):
        sums = sigma.reshape(len(sigma), -1, 2**d).sum(axis=2)
        found.append((w @ sums**2 - (w @ sums) ** 2).sum())
    return np.array(found)


def test_variances_are_those_of_an_enumeration() -> None:
    truth, t = GRAMMAR.sample(3, 1), 0.6
    runs = np.stack([string_changes(MODEL, GRAMMAR, truth, t, 200, seed).variances
                     for seed in range(16)])  # fmt: skip
    law = np.stack([enumerated(x, t) for x in truth.leaves])
    z = (runs.mean(axis=0) - law) / (runs.std(axis=0, ddof=1) / 4)
    assert np.abs(z).max() < 5
    # planted: the variance over data and copies together
    assert np.abs(runs.mean(axis=0) - law.mean(axis=0)).max() > 0.05


def test_shares_obey_the_law_of_retention() -> None:
    truth, t = GRAMMAR.sample(1500, 2), 0.7
    found = string_changes(MODEL, GRAMMAR, truth, t, 2, 3)
    assert (found.valid == 1).all()
    mean, error = exact_retention(GRAMMAR, MODEL.noise, [t], 3000, 4)
    spread = np.hypot(found.share.std(axis=0) / np.sqrt(1500), error[:, 0])
    assert np.abs((found.share.mean(axis=0) - mean[:, 0]) / spread).max() < 4


@dataclass(frozen=True, eq=False)
class Shuffled:
    """Exact samples whose leaves are exchanged between the copies of a datum, each leaf alone."""

    model: ExactRHM
    copies: int
    source = "simulation"

    @property
    def noise(self) -> Any:
        return self.model.noise

    def denoise(self, x_t: Any, t: Any) -> Any:
        return self.model.denoise(x_t, t)

    def features(self, x_t: Any, t: Any) -> Any:
        return self.model.features(x_t, t)

    def sample(self, x_t: Any, t: Any, seed: Any) -> Any:
        made = np.asarray(self.model.sample(x_t, t, seed))
        blocks = made.reshape(-1, self.copies, made.shape[1])
        return generator(99).permuted(blocks, axis=1).reshape(made.shape)


def dataset(models: dict[str, Any], n: int, copies: int, t: list[float], L: int = 4) -> xr.Dataset:
    """Two grammars and every model, as the study on networks has them."""
    rows: dict[str, list[Any]] = {"variances": [], "share": [], "valid": []}
    for name, make in models.items():
        runs = []
        for k in range(2):
            grammar = RHM(4, 2, 2, L).draw(k)
            model, truth = make(ExactRHM(grammar, MaskingNoise(4))), grammar.sample(n, 10 + k)
            seed = 7 if name != "again" else 8
            runs.append([string_changes(model, grammar, truth, x, copies, seed, (k,)) for x in t])
        for word, found in rows.items():
            found.append([[getattr(one, word) for one in run] for run in runs])
    front = ("sampler", "network")
    return xr.Dataset(
        {"variances": ((*front, "t", "datum", "distance"), np.array(rows["variances"])),
         "share": ((*front, "t", "datum", "level"), np.array(rows["share"])),
         "valid": ((*front, "t", "datum"), np.array(rows["valid"]))},
        {"sampler": list(models), "t": t},
    ).transpose("sampler", "network", "datum", "level", "t", "distance")  # fmt: skip


def test_leaves_that_are_drawn_alone_have_no_correlated_changes() -> None:
    """The planted one has the same marginals, and is rejected; another exact run is not."""
    copies = 8
    ds = dataset(
        {"exact": lambda m: m, "again": lambda m: m, "shuffled": lambda m: Shuffled(m, copies),
         "one step": lambda m: SimulatedModel(m, 1)}, 300, copies, [0.5, 0.7],
    )  # fmt: skip
    exact, shuffled = (read_sampler(ds, name, 2) for name in ("exact", "shuffled"))
    np.testing.assert_allclose(exact.retention[:, -1], shuffled.retention[:, -1])
    np.testing.assert_allclose(  # and so the same V_0
        ds.variances.sel(sampler="exact", distance=0),
        ds.variances.sel(sampler="shuffled", distance=0),
    )
    assert np.abs(shuffled.correlation[:, 1:]).max() < 0.05
    score = {}
    for name in ("again", "shuffled", "one step"):
        gap, error = susceptibility_gap(ds, name, "exact")
        score[name] = gap.mean(axis=0) / (np.sqrt((error**2).sum(axis=0)) / 2)
    assert np.abs(score["again"]).max() < 4
    assert score["shuffled"].max() < -8
    assert score["one step"].max() < -4  # only what the noise itself moves together is left


def made_up(place: float, a: float, L: int = 3) -> xr.Dataset:
    """Two units with chi highest at a place, C(d) = C(0) 2^(-a d) there, and linear retention."""
    t = np.linspace(0.1, 0.9, 9)
    C = np.stack([np.ones(9), *(2.0 ** (-a * d) * (1 - (t - place) ** 2) for d in range(1, L + 1))])
    V = np.cumsum(
        C * 2**L * np.array([1.0, *(2.0 ** (d - 1) for d in range(1, L + 1))])[:, None], axis=0
    )
    slopes = np.array([1.0, 0.9, 0.7, 0.5])
    share = 1 - slopes[:, None] * (t - 0.1)
    front = ("sampler", "network", "datum")
    shape = (1, 2, 3)
    return xr.Dataset(
        {"variances": ((*front, "t", "distance"), np.broadcast_to(V.T, (*shape, 9, L + 1))),
         "share": ((*front, "level", "t"), np.broadcast_to(share, (*shape, L + 1, 9))),
         "valid": ((*front, "t"), np.ones((*shape, 9)))},
        {"sampler": ["exact"], "t": t},
    )  # fmt: skip


def test_readings_of_a_case_that_is_known() -> None:
    parts = {3: made_up(0.42, 0.8), 4: made_up(0.55, 1.2)}
    found = depth_readings(parts, "exact", 2)
    want = {"class_slope": [1.0, 1.0], "leaf_slope": [0.5, 0.5], "peak_place": [0.42, 0.55]}
    for name, values in want.items():
        np.testing.assert_allclose(found[name][0], values, atol=1e-9)
        np.testing.assert_allclose(found[name][1], 0, atol=1e-9)
    # C at the level next to the place is smaller by one factor at all distances but the first
    np.testing.assert_allclose(found["decay"][0], [0.8, 1.2], atol=1e-9)
    assert (found["class_half"][0] < 0.6).all()
    for value, error in depth_gaps(parts, 2, "exact", "exact").values():
        np.testing.assert_allclose([value, error], 0, atol=1e-12)


def test_the_decay_is_read_over_the_same_distances_in_all_networks() -> None:
    """Planted: two slopes, 1 and 3; at d = 3 one network is below zero by noise."""
    d = np.arange(4)
    C = np.where(d < 3, 2.0**-d, 2.0 ** (4 - 3.0 * d)) * np.ones((2, 1))
    both = _decay(C, 2)
    np.testing.assert_allclose(both[0], both[1])
    C[1, 3] = -1e-3
    np.testing.assert_allclose(_decay(C, 2), 1)  # the first alone, to d = 3, has 2
    assert both[0] > 1.5
    C[0, 1] = -1e-3
    assert np.isnan(_decay(C, 2)).all()


def test_a_maximum_at_the_end_of_the_range_is_none() -> None:
    found = depth_readings({3: made_up(2.0, 0.8)}, "exact", 2)
    assert np.isnan(found["peak_place"][0]).all()
    assert np.isfinite(found["class_slope"][0]).all()
    still = made_up(0.42, 0.8).copy(deep=True)  # at the lowest level nothing changes
    still["variances"] = still.variances.where(still.t > 0.15, 0.0)
    np.testing.assert_allclose(depth_readings({3: still}, "exact", 2)["peak_place"][0], 0.42)
    assert np.isnan(half_loss([0.1, 0.2], [1.0, 1.0]))


def test_bad_requests_are_told_in_one_line() -> None:
    truth = GRAMMAR.sample(2, 0)
    mixed = Grammar([[[[0, 1]], [[1, 1]]], [[[0, 0, 1]], [[0, 1, 1]]]])
    cases = [
        (lambda: string_changes(MODEL, GRAMMAR, truth, 1.5, 4, 0), "t = 1.5"),
        (lambda: string_changes(MODEL, GRAMMAR, truth, 0.5, 1, 0), "trajectories = 1"),
        (lambda: string_changes(MODEL, GRAMMAR, 3, 0.5, 4, 0), "no derivations"),
        (lambda: string_changes(MODEL, mixed, mixed.sample(2, 0), 0.5, 4, 0), "branching"),
        (lambda: depth_readings({3: made_up(0.4, 0.8)}, "network", 2), "sampler = 'network'"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
