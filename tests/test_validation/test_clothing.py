"""Five questions on clothing: laws of the mixtures, triplets of the class tree, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from oracles import one_line
from scipy import stats

from hierdiff.data.fashion import class_similarity, family_of, fashion_folder
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.theory import ExactMixture
from hierdiff.validation.experiments import clothing_answers as found_by
from hierdiff.validation.experiments.clothing import NetworkClothing
from hierdiff.validation.experiments.clothing_networks import reading_steps
from hierdiff.validation.experiments.clothing_readings import (
    family_chance,
    flat_mixture,
    mixture_retention,
    tree_triplets,
)

FAMILY = family_of(np.arange(10))


def photographs() -> bool:
    """Whether the package is here."""
    try:
        fashion_folder()
    except InvalidParameter:
        return False
    return True


def tree_like(spread: float, dim: int = 24, rank: int = 3) -> LowRankMixture:
    """Ten classes whose means lie near those of their family, by so much."""
    rng = np.random.default_rng(1)
    centres = 0.9 * rng.standard_normal((4, dim))
    means = centres[FAMILY] + spread * rng.standard_normal((10, dim))
    bases = [np.linalg.qr(rng.standard_normal((dim, rank)))[0] for _ in range(10)]
    return LowRankMixture(bases, np.full(10, 0.1), [np.full(rank, 0.3)] * 10, 0.2, "ambient", means)


def test_posteriors_of_a_mixture_are_those_of_its_densities() -> None:
    """Brute force: the densities of all ten Gaussians at the noisy data."""
    mixture, t, n = tree_like(0.3, dim=6, rank=2), 0.4, 60
    found = mixture_retention(mixture, [t], n, seed=3)
    noise = GaussianNoise(schedule="linear")
    x, labels = mixture.sample(n, stream(3, "mixture draws"))
    x_t = noise.corrupt_with(x, t, stream(3, "mixture noise").standard_normal(x.shape))
    alpha = float(noise.alpha_bar(t))
    dense = []
    for k in range(10):
        basis = mixture.bases[k]
        inside = basis * mixture.variances[k] @ basis.T
        # the residual lies outside the directions of the class
        outside = mixture.delta**2 * (np.eye(6) - basis @ basis.T)
        cov = alpha * (inside + outside) + (1 - alpha) * np.eye(6)
        dense.append(stats.multivariate_normal(np.sqrt(alpha) * mixture.means[k], cov).pdf(x_t))
    p = np.array(dense).T
    p /= p.sum(axis=1, keepdims=True)
    own = p[np.arange(n), labels]
    family = np.array([p[i, FAMILY[labels[i]] == FAMILY].sum() for i in range(n)])
    assert found["class_kept"][0] == pytest.approx(own.mean(), rel=1e-9)
    assert found["family_kept"][0] == pytest.approx(family.mean(), rel=1e-9)
    assert found["stayed"][0] == pytest.approx((family - own).mean() / (1 - own).mean(), rel=1e-9)


def test_a_flat_mixture_keeps_no_family_and_one_with_near_means_does() -> None:
    """Law: over random directions classes are exchangeable; the planted wrong one has families."""
    chance = float(family_chance(np.arange(10)).mean())
    near = tree_like(0.3)

    def z(mixtures: list[LowRankMixture]) -> float:
        rows = [mixture_retention(m, [0.4], 300, k)["stayed"][0] for k, m in enumerate(mixtures)]
        return float((np.mean(rows) - chance) / (np.std(rows, ddof=1) / np.sqrt(len(rows))))

    assert abs(z([flat_mixture(near, k) for k in range(16)])) < 4
    assert z([near] * 16) > 10


def test_a_flat_mixture_has_equal_distances_and_the_same_variances() -> None:
    mixture = tree_like(0.5)
    flat = flat_mixture(mixture, 0)
    gaps = np.linalg.norm(flat.means[:, None] - flat.means, axis=2)[np.triu_indices(10, 1)]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-9)
    away = [m - (np.full(10, 0.1) @ m) for m in (mixture.means, flat.means)]
    assert (away[1] ** 2).sum() == pytest.approx((away[0] ** 2).sum())
    np.testing.assert_allclose(flat.means.mean(axis=0), mixture.means.mean(axis=0), atol=1e-12)
    for a, b in zip(mixture.variances, flat.variances, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InvalidParameter, match="no orthogonal means") as error:
        flat_mixture(LowRankMixture([np.eye(3)[:, :1]] * 4))
    one_line(error)


def test_triplets_are_decided_by_the_tree() -> None:
    labels = np.tile(np.arange(10), 5)
    rows, kind = tree_triplets(labels, 40, 1)
    assert rows.shape == (80, 3)
    assert (np.bincount(kind) == 40).all()
    a, b, odd = labels[rows].T
    kept, left = class_similarity(a, b), np.maximum(class_similarity(a, odd),
                                                    class_similarity(b, odd))  # fmt: skip
    np.testing.assert_array_equal(kept, np.where(kind == 0, 2, 1))
    np.testing.assert_array_equal(left, np.where(kind == 0, 1, 0))
    assert all(len(set(row)) == 3 for row in rows.tolist())
    for poor in ([0, 0, 1], [0, 2, 4], [1, 1, 8]):
        with pytest.raises(InvalidParameter, match="give more images") as error:
            tree_triplets(poor, 3)
        one_line(error)


def test_reading_steps_end_with_the_last() -> None:
    for steps in (1, 3, 60, 1500, 6000):
        marks = reading_steps(steps)
        assert marks[-1] == steps
        assert list(marks) == sorted(set(marks))


def judged(sharp: float) -> xr.Dataset:
    """Errors of three networks that say the class with so much confidence, and a classifier."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(10), 20)
    noise = rng.standard_normal((3, 200, 10))
    logits = 1.5 * np.eye(10)[labels] + noise
    errors = np.repeat(-sharp * logits[:, :, None], 2, axis=2)
    errors -= errors.min(axis=-1, keepdims=True)
    return xr.Dataset({
        "errors": (("network", "judged", "sample_of", "class"), errors),
        "times": (("network", "judged", "sample_of"), np.full((3, 200, 2), 0.5)),
        "logits": (("network", "judged", "class"), logits),
        "label": (("judged",), labels), "classifier_accuracy": (("network",), np.full(3, 0.5)),
    })  # fmt: skip


def test_judges_answer_alike_at_any_sharpness_and_a_temperature_calibrates() -> None:
    found = [found_by.judges(judged(sharp)) for sharp in (1.0, 7.0)]
    for one in found:
        assert one["minus classifier"][0] == 0
        assert one["accuracy"]["exp"] == one["classifier"]
        assert one["calibration error"]["network, one temperature"][0] < 0.12
        # errors fall anywhere: exchangeable classes
        gap = one["errors in the family"]["network"][0] - one["by chance"]["network"][0]
        assert abs(gap) < 4 * one["errors in the family"]["network"][1] + 0.05
    # the answers do not depend on the sharpness, and what the bound states does
    assert (found[0]["confidence minus accuracy"]["network, likelihood bound"][0]
            < found[1]["confidence minus accuracy"]["network, likelihood bound"][0])  # fmt: skip
    share = np.array(found[0]["confusion"]["network"])
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-3)


def test_errors_of_judges_hold_the_photographs_that_all_networks_share() -> None:
    """Networks that answer alike scatter by nothing (planted), and the next photographs differ."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(10), 20)
    means, errors, planted = [], [], []
    for _ in range(200):
        right = np.repeat(rng.random((1, 200)) < 0.8, 3, axis=0)
        found = found_by._with_photographs(
            lambda rows, right=right: {("right",): right[:, rows].mean(axis=1)},
            found_by._rounds(labels),
        )
        means.append(found["right"][0])
        errors.append(found["right"][1])
        planted.append(found_by.pair(right.mean(axis=1))[1])
    assert np.mean(np.square(errors)) == pytest.approx(np.var(means), rel=0.4)
    assert max(planted) < 1e-9
    # of networks that differ as much on every photograph, Student's error is the larger part
    right = np.array([[0.2], [0.5], [0.8]]) * np.ones((3, 200))
    both = found_by._with_photographs(
        lambda rows: {("a", "b"): right[:, rows].mean(axis=1)}, found_by._rounds(labels)
    )
    assert both["a"]["b"] == found_by.pair(right.mean(axis=1))
    few = judged(1.0).isel(judged=slice(0, 30))  # three rounds of the classes
    assert found_by.judges(few)["data"] == 30
    one = judged(1.0).isel(network=[0, 0, 0])
    assert found_by.judges(one)["accuracy"]["exp"][1] > 0.015


def test_a_log_ratio_of_three_networks_has_the_score_of_student() -> None:
    """Two of Student's errors are 1.5 normal ones, p = .13."""
    mean, error, score = found_by.scored([0.1, 0.5, 0.82])
    assert mean / error > 1.7
    assert score < 1.6
    nothing = found_by.scored([0.1, float("nan"), 0.2])
    assert np.isnan(nothing).all()


def test_a_score_is_chosen_on_other_networks() -> None:
    """The best place of pure noise is no better than any other on the network that is left out."""
    rng = np.random.default_rng(0)
    picked = [np.mean(found_by._chosen(rng.standard_normal((3, 6, 4)))) for _ in range(400)]
    assert abs(np.mean(picked)) < 4 * np.std(picked) / 20
    best = [rng.standard_normal((3, 6, 4)).mean(axis=0).max() for _ in range(400)]
    assert np.mean(best) > 0.5  # the planted wrong way: chosen and read on the same


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"parts": ("u-turn",)}, "parts"),
        ({"networks": 1}, "networks = 1"),
        ({"n_train": (100,)}, "must end with 0"),
        ({"n_train": (3, 0)}, "at least 10"),
        ({"t": (0.5, 0.2)}, "t = "),
        ({"size": 8}, "size"),
        ({"label_share": 1.0}, "label_share"),
        ({"objects": 5}, "objects = 5"),
    ],
)
def test_bad_fields_are_one_line(words: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidParameter, match=match) as error:
        NetworkClothing(**words)
    one_line(error)


def test_a_model_of_ones_own_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="trains the networks") as error:
        NetworkClothing().measure(ExactMixture(tree_like(0.3), GaussianNoise()))
    one_line(error)


@pytest.mark.slow
@pytest.mark.skipif(not photographs(), reason="install the package dataset-fashion-mnist")
def test_a_small_study_answers_all_and_goes_on(tmp_path: Path) -> None:
    from hierdiff.sims.run import run

    study = NetworkClothing(
        networks=2, n_train=(20, 0), steps=3, batch=4, data=20, num_steps=4, t=(0.1, 0.4, 1.0),
        probe_t=(0.05, 0.3), fit=40, test=20, strata=2, triplet_t=(0.1, 0.5), objects=40,
        triplets=20,
    )  # fmt: skip
    first = run(study, out=tmp_path, quiet=True)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")}
    again = run(study, out=tmp_path, quiet=True)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")} == made
    xr.testing.assert_identical(first["network_clothing"].drop_attrs(),
                                again["network_clothing"].drop_attrs())  # fmt: skip
    found = study.summary(first).values
    assert set(found) >= {"u-turns", "probes", "judges", "order", "triplets"}
    for name in ("", "_u_turns", "_sheet", "_confusion"):
        assert (tmp_path / f"network_clothing{name}.png").stat().st_size > 5000
