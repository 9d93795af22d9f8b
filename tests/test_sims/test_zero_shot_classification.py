"""The classification experiment: pools, pruning, calibration, labels, determinism, bad input."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from oracles import FIXTURE, one_line
from scipy import stats

from hierdiff import GaussianNoise, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare, load
from hierdiff.sims.classification_figures import classification_figure
from hierdiff.sims.metrics.calibration import calibration_error, discrimination, platt, temperature
from hierdiff.sims.metrics.denoising_error import (
    ClassErrors,
    ErrorPool,
    class_errors,
    error_pool,
    moments,
    paired_t_pruning,
    prefix_scores,
    staged_elimination,
    stratified_pool,
    tie_split_accuracy,
)
from hierdiff.sims.run import run
from hierdiff.sims.zero_shot_classification import Classification
from hierdiff.theory.exact_models import ExactGaussianRHM
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.theory.zero_shot.scores import class_scores
from hierdiff.theory.zero_shot.weightings import weighting

SMALL = Classification(
    v=4, m=2, L=2, grammars=3, data=24, budgets=(1, 20, 40), independent_budgets=(1, 8),
    times=(0.1, 0.3), repeats=2, buckets=5, keep=(2, 1), stages=(10, 40), level_data=10,
    level_samples=10, strata=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return SMALL.measure()


# --- pools ----------------------------------------------------------------------------------------


def test_scores_of_a_pool_are_the_published_ones() -> None:
    world = GaussianRHM(FIXTURE)
    x0, labels = world.sample(6, 1)
    pool = error_pool(world, x0, 12, 2)
    for name in ("vdm", "exp"):
        exact = class_scores(pool.errors, pool.t, weighting(name))
        found = prefix_scores(pool, weighting(name), (3, 12))[1]
        assert found - found[:, :1] == pytest.approx(exact - exact[:, :1], rel=1e-9)
    own = error_pool(world, x0, 12, 2, shared=False)
    assert own.t.shape == own.errors.shape == (6, 12, 4)
    assert prefix_scores(own, weighting("exp"), (12,))[0] == pytest.approx(
        class_scores(own.errors, own.t, weighting("exp"))
    )
    assert tie_split_accuracy(exact, labels).shape == (6,)


def test_pools_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    world = GaussianRHM(FIXTURE)
    x0, _ = world.sample(7, 1)
    whole = [error_pool(world, x0, 5, 2), stratified_pool(world, x0, 4, 2)]
    monkeypatch.setattr("hierdiff.sims.metrics.denoising_error._CHUNK", 1)
    again = [error_pool(world, x0, 5, 2), stratified_pool(world, x0, 4, 2)]
    for a, b in zip(whole, again, strict=True):
        assert np.array_equal(a.t, b.t)
        assert a.errors == pytest.approx(b.errors, rel=1e-5)


def test_ties_are_shared() -> None:
    assert tie_split_accuracy(np.array([[0.0, 0.0, 1.0]]), np.array([0])).tolist() == [0.5]
    two = np.array([[[0.0, 2.0]], [[1.0, 1.0]]])
    assert tie_split_accuracy(two, np.array([1])).tolist() == [[0.0], [0.5]]


def test_moments_are_those_of_the_relative_errors() -> None:
    rng = np.random.default_rng(0)
    pool = ErrorPool(1 - rng.random((2, 500)), rng.exponential(size=(2, 500, 3)))
    mean, cov, alone = moments(pool, weighting("exp"))
    direct = weighting("exp")(pool.t)[..., None] * pool.errors
    gap = direct[..., 1] - direct[..., 0]
    assert mean[:, 1] - mean[:, 0] == pytest.approx(gap.mean(1))
    assert cov[:, 0, 0] + cov[:, 1, 1] - 2 * cov[:, 0, 1] == pytest.approx(gap.var(1))
    assert alone == pytest.approx(direct.var(1))


@dataclass(frozen=True)
class Bare:
    """A conditional denoiser and nothing else, as a network is."""

    data: GaussianClasses
    label: int | None = None
    noise: GaussianNoise = field(default_factory=GaussianNoise)
    source = "network"

    def given(self, label: int | None) -> Bare:
        return replace(self, label=label)

    def denoise(self, x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
        return self.data.denoise(x_t.astype(float), self.noise.snr(t), self.label)


def test_any_conditional_denoiser_gives_the_same_errors() -> None:
    world = GaussianClasses(np.eye(3), np.diag([1.0, 0.5, 0.2]))
    x0, _ = world.sample(5, 1)
    noise, snr = np.random.default_rng(2).standard_normal(x0.shape), np.linspace(0.1, 9, 5)
    exact = world.errors(x0, noise, snr)
    for process in (GaussianNoise(), GaussianNoise(schedule="linear")):
        found = ClassErrors(Bare(world, noise=process), 3).errors(x0, noise, snr)
        assert found == pytest.approx(exact, rel=1e-9)
    assert class_errors(world, 3) is world
    assert isinstance(class_errors(Bare(world), 3), ClassErrors)


def test_who_overrides_the_denoiser_alone_is_measured_by_it() -> None:
    class Zero(GaussianClasses):
        def denoise(self, x_t: np.ndarray, snr: np.ndarray, label: np.ndarray) -> np.ndarray:
            return np.zeros_like(x_t)

    with pytest.raises(InvalidParameter, match=r"no method given|no noise"):
        class_errors(Zero(np.eye(2), np.eye(2)), 2)


# --- fewer calls ----------------------------------------------------------------------------------


def plain_pruning(scores: np.ndarray, p: float, least: int) -> tuple[int, int]:
    """Algorithm 1 for one datum [N, K] in plain words, with SciPy's paired t-test."""
    alive, calls = list(range(scores.shape[1])), 0
    for n in range(1, len(scores) + 1):
        if len(alive) == 1:
            break
        calls += len(alive)
        best = min(alive, key=lambda c: scores[:n, c].mean())
        if n >= least:
            alive = [
                c for c in alive
                if c == best or not stats.ttest_rel(scores[:n, best], scores[:n, c]).pvalue < p
            ]  # fmt: skip
    used = min(alive, key=lambda c: scores[: len(scores), c].mean()) if len(alive) > 1 else alive[0]
    return used, calls


def drawn_scores(n: int, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = 30 * rng.standard_normal((n, samples, 1))
    return common + rng.standard_normal((n, samples, 4)) + 0.4 * rng.random((n, 1, 4))


def test_pruning_against_the_plain_algorithm() -> None:
    scores = drawn_scores(12, 60)
    found = paired_t_pruning(scores, p=2e-2, min_scores=5)
    plain = [plain_pruning(s, 2e-2, 5) for s in scores]
    assert found.answer.tolist() == [a for a, _ in plain]
    assert found.calls.tolist() == [c for _, c in plain]
    assert found.calls.min() < 4 * 60  # something was pruned


def test_pruning_never_changes_the_answer_at_p_zero() -> None:
    scores = drawn_scores(50, 80, seed=1)
    full = scores.mean(1).argmin(1)
    none = paired_t_pruning(scores, p=0.0, min_scores=2)
    assert np.array_equal(none.answer, full)
    assert (none.calls == 4 * 80).all()
    kept, calls = [], []
    for p in (1e-1, 1e-3, 1e-9, 1e-300):
        found = paired_t_pruning(scores, p=p, min_scores=5)
        kept.append((found.answer == full).mean())
        calls.append(found.calls.mean())
    assert kept == sorted(kept)
    assert kept[-1] == 1
    assert calls == sorted(calls)
    assert kept[0] < 1


def test_stages_against_the_plain_classifier() -> None:
    scores = drawn_scores(40, 30, seed=2)
    full = scores.mean(1).argmin(1)
    alone = staged_elimination(scores, (1,), (30,))
    assert np.array_equal(alone.answer, full)
    assert (alone.calls == 4 * 30).all()
    staged = staged_elimination(scores, (2, 1), (10, 30))
    assert (staged.calls == 4 * 10 + 2 * 20).all()
    for s, answer in zip(scores, staged.answer, strict=True):
        two = s[:10].mean(0).argsort()[:2]
        assert answer == two[s[:, two].mean(0).argmin()]


# --- calibration ----------------------------------------------------------------------------------


def test_calibration_of_a_known_law() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20_000)
    p = 1 / (1 + np.exp(-(2 * x - 1)))
    right = rng.random(20_000) < p
    slope, offset = platt(x, right)
    assert slope == pytest.approx(2, abs=0.1)
    assert offset == pytest.approx(-1, abs=0.1)
    assert calibration_error(p, right) < 0.02
    assert calibration_error(np.minimum(p + 0.2, 1), right) > 0.1
    exact = stats.mannwhitneyu(x[right], x[~right]).statistic / (right.sum() * (~right).sum())
    assert discrimination(x, right) == pytest.approx(exact)
    assert np.isnan(discrimination(x, right | True))
    logits = rng.standard_normal((20_000, 3))
    share = np.exp(-logits) / np.exp(-logits).sum(1, keepdims=True)
    labels = (rng.random((20_000, 1)) > share.cumsum(1)).sum(1)
    assert temperature(5 * logits, labels) == pytest.approx(0.2, abs=0.01)


# --- the experiment -------------------------------------------------------------------------------


def test_theory_and_simulation_carry_the_same_labels(measured: xr.Dataset) -> None:
    theory = SMALL.predict()
    for name in ("accuracy", "independent", "bayes", "accuracy_error"):
        assert theory[name].dims == measured[name].dims
    for ds in (theory, measured):
        assert all("long_name" in ds[name].attrs for name in ds.data_vars)
        assert {"parameters", "versions", "commit", "created"} <= set(ds.attrs)
    both = compare(theory, measured)
    assert both.sizes["weighting"] == 5  # learned weights have no law
    assert np.isfinite(both.accuracy_z).all()
    ceiling = SMALL.predict("bayes")
    assert (ceiling.accuracy == ceiling.bayes).all()


def test_results_depend_on_no_way_of_working(measured: xr.Dataset, tmp_path: Path) -> None:
    xr.testing.assert_equal(measured, SMALL.measure(workers=1))
    xr.testing.assert_equal(measured, SMALL.measure(folder=tmp_path))
    stamps = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    more = replace(SMALL, grammars=4).measure(folder=tmp_path)
    kept = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    assert len(kept) == 4
    assert {*stamps} < {*kept}
    assert more.accuracy_by_grammar[:3].equals(measured.accuracy_by_grammar)
    assert not measured.equals(replace(SMALL, seed=1).measure())


def test_accuracy_grows_to_the_ceiling_and_never_beyond() -> None:
    """Two grammars only, so differences are asked beyond five standard errors of the data."""
    ds = replace(SMALL, data=200, grammars=2, weightings=("vdm", "snr")).measure()
    spread = np.sqrt(0.25 / 400)
    vdm = ds.accuracy.sel(weighting="vdm").values
    assert vdm[0] < vdm[1] < vdm[2] + 5 * spread
    assert (ds.accuracy < float(ds.bayes) + 5 * spread).all()
    assert np.abs(ds.bayes_hit - ds.bayes) < 5 * spread
    assert (ds.confusion.sum(("true", "answer")) == 2 * SMALL.level_data).all()
    assert (ds.level_accuracy > 1.5 / 4).all()


def test_a_given_model_is_measured_on_given_data() -> None:
    world = GaussianClasses(2 * np.eye(3), np.eye(3))
    data = world.sample(60, 1)
    ds = SMALL.measure(world, data)
    assert ds.bayes > 0.7
    assert ds.accuracy.sel(weighting="snr", budget=40) > 0.6
    assert "confusion" not in ds

    bare = SMALL.measure(Bare(world), data)
    assert str(bare.source.values) == "network"
    assert "bayes" not in bare
    assert float(np.abs(bare.accuracy - ds.accuracy).max()) < 0.05
    assert ds.accuracy_by_datum.mean("datum").values == pytest.approx(ds.accuracy.values)
    # another schedule is another noise level at the same SNR
    linear = SMALL.measure(Bare(world, noise=GaussianNoise(schedule="linear")), data)
    assert float(np.abs(linear.accuracy - bare.accuracy).max()) < 0.05


def test_study_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = tmp_path / "deep.json"
    run(SMALL, out=tmp_path, summary=summary)
    assert load(tmp_path / "classification.nc").accuracy.sizes["weighting"] == 6
    assert (tmp_path / "classification.png").stat().st_size > 10_000
    assert {"bayes", "accuracy", "z", "vdm minus bayes"} <= json.loads(summary.read_text()).keys()
    assert capsys.readouterr().out.splitlines()[-1].startswith("weight vdm reaches")


def test_the_runner_takes_a_model_and_its_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ExactGaussianRHM(GaussianRHM(FIXTURE))
    data = model.data.sample(40, 1)
    found = run(SMALL, model, data, out=tmp_path, summary=tmp_path / "given.json")
    assert list(found) == ["classification_theory", "classification"]
    assert found["classification"].accuracy_by_datum.sizes["datum"] == 40
    parameters = json.loads(found["classification"].attrs["parameters"])
    assert parameters["model"] == "ExactGaussianRHM"
    assert "GaussianNoise" in parameters["process"]
    assert not {"v", "grammars"} & parameters.keys()  # the sizes are those of the model
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("weight vdm reaches")
    assert "(" not in lines[1]  # no law of other grammars in brackets
    values = json.loads((tmp_path / "given.json").read_text())
    assert {"bayes", "accuracy", "best time"} <= values.keys()
    assert values["data"] == 40
    assert "z" not in values  # nothing is paired with other grammars


def test_files_of_the_first_build_are_read(measured: xr.Dataset) -> None:
    """There ``level`` was the time of a sample, ``tree_level`` the level of the tree."""
    theory, old = SMALL.predict(), measured.drop_vars("snr").rename(level="tree_level")
    old = old.rename(t="level")
    pair = []
    for ds in (theory, old):
        names = {name: name.replace("independent", "unshared") for name in map(str, ds.data_vars)}
        pair.append(ds.rename(names | {"independent_budget": "own_budget"}))
    assert pair[1].unshared.dims == ("weighting", "own_budget")
    figure = classification_figure(*pair)
    assert len(figure.axes) >= 6
    plt.close(figure)
    found = SMALL.summary({"classification_theory": pair[0], "classification": pair[1]})
    new = SMALL.summary({"classification_theory": theory, "classification": measured})
    assert found == new


def test_figure_refuses_a_law_in_place_of_a_measurement() -> None:
    law = SMALL.predict("bayes")
    with pytest.raises(InvalidParameter, match="is a law"):
        classification_figure(law, law)
    plt.close("all")


def test_bad_requests_are_told_in_one_line() -> None:
    world = GaussianClasses(np.eye(3), np.eye(3))
    x0, labels = world.sample(30, 1)
    late = replace(SMALL, weightings=("late",), budgets=(20,), stages=(20,), keep=(1,))
    scores = np.ones((1, 5, 3))
    cases = [
        (lambda: SMALL.measure(world), "a model needs the data"),
        (lambda: SMALL.measure(None, (x0, labels)), "data a model"),
        (lambda: SMALL.measure(world, (x0, labels * 0)), "class 1 has no data"),
        (lambda: SMALL.measure(world, (x0, labels + 1)), "label 3 is no class"),
        (lambda: SMALL.measure(world, (x0, labels[:5])), "one per datum"),
        (lambda: SMALL.measure(object(), (x0, labels)), "no method given"),
        (lambda: SMALL.measure(Bare(world, noise=MaskingNoise(3)), (x0, labels)), "masking noise"),
        (lambda: SMALL.measure(world, 3), "no pair of arrays"),
        (lambda: SMALL.predict("guess"), "not known"),
        (lambda: replace(SMALL, budgets=(0, 5)), "budgets"),
        (lambda: replace(SMALL, budgets=(30, 5)), "increasing"),
        (lambda: replace(SMALL, independent_budgets=()), "independent_budgets"),
        (lambda: replace(SMALL, weightings=("best",)), "weightings"),
        (lambda: replace(SMALL, times=(0.0,)), "between 0 and 1"),
        (lambda: replace(SMALL, stages=(10, 90)), "raise budgets"),
        (lambda: replace(SMALL, tau=0.0), "tau = 0.0"),
        (lambda: replace(SMALL, data=3), "data = 3"),
        (lambda: replace(SMALL, m=9), "exceed"),
        (lambda: error_pool(world, x0, 0, 1), "budget = 0"),
        (lambda: paired_t_pruning(scores, p=1.5), "p = 1.5"),
        (lambda: paired_t_pruning(scores, min_scores=9), "min_scores = 9"),
        (lambda: paired_t_pruning(scores * np.nan), "finite"),
        (lambda: staged_elimination(scores, (2,), (5,)), "to 1"),
        (lambda: staged_elimination(scores, (1,), (9,)), "up to 5"),
        (lambda: calibration_error([0.5], [True]), "bins"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
    assert late.measure().accuracy.sizes["budget"] == 1
