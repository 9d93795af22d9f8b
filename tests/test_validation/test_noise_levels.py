"""Two noise levels read together: forms, weights, the law of combined noises, in small."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.probes import feature_snr
from hierdiff.sims.representation import balanced_sample
from hierdiff.sims.run import run
from hierdiff.theory.mixture.feature_snr import snr
from hierdiff.theory.mixture.time_change import combined_sigma
from hierdiff.validation.experiments import noise_levels
from hierdiff.validation.experiments.noise_levels import DigitLevels, MixtureLevels
from hierdiff.validation.experiments.representation import NetworkRepresentation
from hierdiff.validation.training import TrainConfig

SMALL = MixtureLevels(
    rank=5, dim=15, sigmas=(0.1, 0.4, 0.8), networks=2, steps=6, width=16, depth=1, test=300
)


def test_forms_are_the_signal_to_noise_ratio_and_best_weights_cancel_what_two_share() -> None:
    mixture = SMALL._mixture(0)
    x, labels = balanced_sample(mixture, 600, 1)
    rng = np.random.default_rng(0)
    half = np.arange(len(x)) % 2
    one = x + 0.3 * rng.standard_normal(x.shape)
    forms = noise_levels._Forms(one[None], mixture, labels, half)
    found = forms.snr(None, (0,))
    assert found == pytest.approx(feature_snr(one, labels, mixture.bases), rel=5e-3)
    # signal in both, a residual of opposite signs: the sum has none, a single one has
    inside = np.stack([x_i @ mixture.bases[k] @ mixture.bases[k].T
                       for x_i, k in zip(x, labels, strict=True)])  # fmt: skip
    rest = x - inside + 0.01 * rng.standard_normal(x.shape)
    both = noise_levels._Forms(np.array([inside + rest, inside - rest]), mixture, labels, half)
    w = both.best(0, (0, 1))
    assert w[0] / w[1] == pytest.approx(1, abs=0.05)
    assert both.snr(1, (0, 1), w) > 50 * both.snr(1, (0,))
    assert both.snr(1, (0, 1), np.array([1.0, -1.0])) < 0.1 * both.snr(1, (0,))


def test_the_snrs_of_two_noises_add_in_the_features() -> None:
    """The exact denoiser on two copies is on the law of one, at the combined level and no other."""
    source = replace(SMALL, sigmas=(0.6, 0.9), test=12_000)
    mixture, levels = source._mixture(0), np.array(source.sigmas)
    units = []
    for k in range(6):
        x, labels = balanced_sample(mixture, source.test // 6, 10 + k)
        noise = np.random.default_rng(k).standard_normal((2, *x.shape))
        exact = noise_levels._exact(mixture)
        units.append(noise_levels._readings(exact, mixture, levels, x, labels, noise, 0).combined)
    mean, error = np.mean(units, axis=0), np.std(units, axis=0, ddof=1) / np.sqrt(6)
    pairs = list(combinations_with_replacement(levels, 2))
    case = (source.classes, source.rank, source.delta)
    law = snr(*case, [combined_sigma(p) for p in pairs])
    assert (abs(mean - law) / error).max() < 6
    wrong = snr(*case, [min(p) for p in pairs])  # planted: the better copy alone
    assert (abs(mean - wrong) / error).min() > 6


@pytest.mark.slow
def test_the_study_in_small(tmp_path: Path) -> None:
    study = NetworkRepresentation(SMALL)
    (ds,) = run(study, out=tmp_path, summary=tmp_path / "claims.json").values()
    said = json.loads((tmp_path / "claims.json").read_text())
    assert said["claim"].startswith("at two calls each")
    assert ds.curve.dims == ("trained", "sigma")
    assert ds.sizes["trained"] == 3
    assert (tmp_path / "network_representation.png").read_bytes()[:4] == b"\x89PNG"
    exact = ds.reading_snr.sel(reader="exact")
    assert float(exact.sel(reading="twice")) > float(exact.sel(reading="one"))
    assert float(exact.sel(reading="clean")) > float(exact.sel(reading="twice"))
    (again,) = run(study, out=tmp_path).values()
    np.testing.assert_array_equal(again.curve, ds.curve)


@pytest.mark.slow
def test_digits_in_small(tmp_path: Path) -> None:
    source = DigitLevels(steps=30, networks=2, t=(0.02, 0.2), layers=("middle_block",))
    (ds,) = run(NetworkRepresentation(source), out=tmp_path).values()
    assert ds.accuracy.dims == ("layer", "probe", "reading")
    assert float(ds.accuracy.min()) > 0.1
    assert float(abs(ds.gain.sel(reading="one")).max()) == 0


def test_networks_of_one_level_warm_up_as_long_a_share() -> None:
    """Planted before: 100 of 142 steps rose to the rate that the shared network has after 100."""
    plans = []

    def listen(mixture: object, plan: TrainConfig, **_: object) -> tuple[None, None]:
        plans.append(plan)
        return None, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_levels, "train_vector_network", listen)
        for steps in (1000, 142, 6):
            noise_levels._trained(SMALL, 0, 0, None, steps, None, "cpu")
    assert [p.warmup for p in plans] == [100, 14, 1]


def test_the_error_of_the_combined_law_is_students() -> None:
    values = np.random.default_rng(0).normal(5, 1, (3, 2, 6))
    rows, curves = np.ones((3, 2, 6)), np.ones((3, 1, 3))
    ds = noise_levels._mixture_dataset(replace(SMALL, networks=3), rows, values, curves, {})
    found = noise_levels.levels_summary(ds).values["combined law"]["relative error"]
    exact = values[:, 0]
    plain = exact.std(axis=0, ddof=1) / np.sqrt(3) / exact.mean(axis=0)
    assert found == pytest.approx(1.3213 * np.median(plain), rel=1e-3)


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: replace(SMALL, networks=1), "networks"),
        (lambda: replace(SMALL, sigmas=(0.5,)), "sigmas"),
        (lambda: replace(SMALL, sigmas=(0.5, 0.1)), "increasing"),
        (lambda: replace(SMALL, sigmas=(0.0, 0.1)), "sigmas"),
        (lambda: replace(SMALL, test=9), "test = 9"),
        (lambda: replace(SMALL, dim=4), "dim|rank|subspaces"),
        (lambda: replace(SMALL, delta=0.0), "delta"),
        (lambda: DigitLevels(n_train=(64,)), "n_train"),
        (lambda: DigitLevels(networks=1), "networks"),
        (lambda: NetworkRepresentation(SMALL).predict(), "use the source mixture"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
