"""Two factors in bump networks: null labels, stripes, exponents from planted numbers, in small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from oracles import one_line

from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.sims.run import run
from hierdiff.validation import recipes
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.experiments import bump_factors
from hierdiff.validation.experiments.bump_factors import (
    ImbalanceNetworks,
    LabelCounts,
    ManifoldNetwork,
)
from hierdiff.validation.experiments.composition import NetworkComposition
from hierdiff.validation.networks.bump_unet import PositionEmbedding, bump_mlp

BUMPS = Bumps(size=8, sigma=1.2, margin=2)


def test_a_null_coordinate_has_no_waves_and_leaves_the_other() -> None:
    code = PositionEmbedding(8, 24)
    place = torch.tensor([[3.0, 5.0], [3.0, torch.nan], [torch.nan, torch.nan]])
    waves = code.waves(place).reshape(3, 2, 2, -1)  # sine or cosine, coordinate, frequency
    torch.testing.assert_close(waves[1, :, 0], waves[0, :, 0])
    assert float(waves[0, :, 1].abs().max()) > 0.5
    assert not waves[1, :, 1].any()
    assert not waves[2].any()


def test_a_fresh_perceptron_says_what_the_noise_is_of_white_images() -> None:
    """F = 0, so eps = s x_t: the posterior mean of eps for x0 of unit variance."""
    torch.manual_seed(0)
    network = bump_mlp(BUMPS, width=16, depth=1)
    schedule = DiscreteSchedule.linear()
    x, index = torch.randn(3, 1, 8, 8), torch.tensor([0.0, 300.0, 999.0])
    s = torch.from_numpy(np.sqrt(1 / (1 + schedule.snr))[[0, 300, 999]]).float()
    found = network(x, index, torch.ones(3, 2))
    torch.testing.assert_close(found, s[:, None, None, None] * x, rtol=1e-4, atol=1e-5)


def test_stripes_are_one_coordinate_of_a_bump() -> None:
    images, labels = BUMPS.sample(400, 0)
    found, places = recipes._with_stripes(
        BUMPS, images.copy(), labels, 0.5, np.random.default_rng(1)
    )
    null = np.isnan(places)
    assert not null.all(axis=1).any()
    assert abs(null.any(axis=1).mean() - 0.5) < 5 * np.sqrt(0.25 / 400)
    for axis in (0, 1):  # x is alike in all rows, y in all columns
        rows = null[:, 1 - axis]
        stripes = found[rows]
        assert np.ptp(stripes, axis=1 + axis).max() == 0
        place = places[rows, axis]
        assert set(place) == {2.0, 3.0, 4.0, 5.0}
        line = stripes[:, 0] if axis == 0 else stripes[:, :, 0]
        np.testing.assert_allclose(line.argmin(axis=1), place)
    whole = ~null.any(axis=1)
    np.testing.assert_array_equal(found[whole], images[whole])
    np.testing.assert_array_equal(places[whole], labels[whole])


class _Listener(torch.nn.Module):
    """Remembers the labels that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.heard: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, time: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        self.heard.append(place)
        return x * self.weight


def test_labels_of_weight_zero_are_never_trained() -> None:
    weights = np.zeros(16)
    weights[[2, 7]] = 1
    loss = recipes.bump_loss(BUMPS, DiscreteSchedule.linear(), batch=64, weights=weights)
    network = _Listener()
    loss(network, 0)
    heard = {tuple(row) for row in network.heard[0].tolist()}
    assert heard == {tuple(BUMPS.labels[2]), tuple(BUMPS.labels[7])}


def _times(exponent: float) -> xr.Dataset:
    """An imbalance study whose crossing times follow a planted exponent."""
    source = ImbalanceNetworks(networks=3)
    rng, ratios = np.random.default_rng(0), np.array(source.ratios)
    y = 300.0 * np.exp(0.02 * rng.standard_normal((5, 3)))
    x = y * ratios[:, None] ** exponent * np.exp(0.02 * rng.standard_normal((5, 3)))
    curve = np.zeros((5, 3, 2))
    return xr.Dataset(
        {"crossing": (("ratio", "network", "axis"), np.stack([x, y], axis=2)),
         "label_number": (("ratio",), np.full(5, 256)),
         **dict.fromkeys(("both", "x", "y", "one_bump"), (("ratio", "network", "step"), curve))},
        coords={"ratio": ratios, "network": np.arange(3), "step": [1, 2], "axis": ["x", "y"]},
    )  # fmt: skip


@pytest.mark.parametrize("planted", [0.0, 1.0])
def test_imbalance_tells_apart_from_together(planted: float) -> None:
    value, error = bump_factors._imbalance_summary(_times(planted)).values["exponent"]
    assert abs(value - planted) < 5 * error + 0.01
    assert abs(value - (1 - planted)) > 20 * error


def test_a_coordinate_that_is_never_learned_is_said() -> None:
    ds = _times(0.0)
    ds.crossing[-1, 0, 1] = np.nan
    found = bump_factors._imbalance_summary(ds)
    assert "never in 1/3" in str(found[0])
    assert found.values["y at"][-1] is None
    assert "4 of 5 ratios" in str(found[0])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_exponent_of_labels_is_read_from_planted_curves(power: float) -> None:
    """Accuracy is a function of P / N^b alone."""
    n, p = np.array([4, 6, 8]), np.geomspace(2, 100, 12)
    share = p[None] / (0.7 * n[:, None] ** power)
    accuracy = share / (share + 1)
    needed = np.array([bump_factors._needed(tuple(p), row) for row in accuracy])
    np.testing.assert_allclose(needed, 1.5 * 0.7 * n**power, rtol=0.03)
    slope = np.polyfit(np.log(n), np.log(needed), 1)[0]
    assert slope == pytest.approx(power, abs=0.03)


def test_what_is_not_crossed_has_no_number() -> None:
    assert np.isnan(bump_factors._needed((3, 6), np.array([0.7, 0.9])))
    assert np.isnan(bump_factors._needed((3, 6), np.array([0.1, 0.2])))
    assert np.isnan(bump_factors._needed((3, 6), np.array([0.1, np.nan])))
    assert bump_factors._needed((4, 16), np.array([0.4, 0.8])) == pytest.approx(8)


def test_a_share_without_scatter_has_an_error() -> None:
    """Planted: two networks are right on all of 12 images each; their error is not zero."""
    value, error = bump_factors._share(np.ones(2), 4, 4) or [np.nan] * 2
    assert value == 1
    # p^24 falls by the square root of e at the end of the interval
    assert 1 - error == pytest.approx(np.exp(-0.5 / 24), abs=1e-3)
    rows = np.array([0.5, 0.75])
    assert bump_factors._share(rows, 4, 4) == bump_factors._pair(rows)
    assert bump_factors._share(np.array([0.5, np.nan]), 4, 4) is None


def _counts(noise: float) -> xr.Dataset:
    """Three networks without any gain by stripes, at six sizes."""
    rng = np.random.default_rng(3)
    both = 0.5 + noise * rng.standard_normal((2, 2, 3, 3))
    return xr.Dataset(
        {"both": (("stripes", "values", "labels", "network"), both),
         "needed": (("stripes", "values", "network"), np.full((2, 2, 3), np.nan))},
        coords={"stripes": [0.0, 0.5], "values": [4, 6], "labels": [3, 6, 12]},
    )  # fmt: skip


def test_what_stripes_add_is_the_mean_of_all_sizes() -> None:
    """Planted: no gain; the largest of six sizes, which was printed, is above zero by chance."""
    ds = _counts(0.1)
    found = bump_factors._label_summary(ds)
    mean, error, score = found.values["stripes add, mean"]
    gain = (ds.both[1] - ds.both[0]).values
    largest = gain.reshape(6, 3)[gain.mean(axis=-1).ravel().argmax()]
    assert "stripes add" not in found.values
    assert abs(mean) < 2 * error
    assert abs(score) < 2
    assert largest.mean() > 3 * abs(mean)


def test_every_phase_has_its_checkpoint() -> None:
    words = ["A", "A", "transitional", "B", "B", "C", "C", "transitional"]
    ds = xr.Dataset({"phase": (("step",), words)}, coords={"step": np.arange(8)})
    assert bump_factors._chosen_steps(ds) == {"A": 0, "B": 4, "C": 6}


CASES: dict[str, Any] = {
    "imbalance": ImbalanceNetworks(
        size=8, ratios=(1, 4, 9), networks=2, steps=4, checkpoints=2, samples=20, num_steps=2
    ),
    "label-counts": LabelCounts(
        values=(4, 5), labels=(3, 6), networks=2, steps=2, num_steps=2
    ),
    "manifold": ManifoldNetwork(
        size=8, steps=2, checkpoints=1, samples=20, feature_samples=30, spacing=0.5, num_steps=2
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_studies_in_small(tmp_path: Path, name: str) -> None:
    study = NetworkComposition(CASES[name])
    (ds,) = run(study, out=tmp_path, summary=tmp_path / "claims.json").values()
    assert json.loads((tmp_path / "claims.json").read_text())["claim"]
    assert (tmp_path / "network_composition.png").read_bytes()[:4] == b"\x89PNG"
    (again,) = run(study, out=tmp_path).values()
    xr.testing.assert_equal(again, ds)


def test_bad_requests_are_told_in_one_line() -> None:
    few = CASES["label-counts"]
    cases = [
        (lambda: replace(CASES["imbalance"], ratios=(1, 2)), "three or more"),
        (lambda: replace(CASES["imbalance"], ratios=(1, 2, 0)), "ratios"),
        (lambda: replace(CASES["imbalance"], networks=1), "networks"),
        (lambda: replace(CASES["imbalance"], margin=9), "margin"),
        (lambda: replace(CASES["imbalance"], architecture="adm"), "adm"),
        (lambda: replace(few, labels=(20, 30)), "fewer than two"),
        (lambda: replace(few, stripes=(1.0,)), "stripes"),
        (lambda: replace(CASES["manifold"], feature_samples=70), "feature_samples = 70"),
        (lambda: NetworkComposition(few).predict(), "use the source small"),
        (lambda: recipes.bump_loss(BUMPS, DiscreteSchedule.linear(), stripes=2.0), "stripes"),
        (lambda: recipes.bump_loss(BUMPS, DiscreteSchedule.linear(), weights=np.ones(3)),
         "weights"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
