"""Laws of the denoising-error classifier, with scores; each beside a wrong law that is rejected."""

from __future__ import annotations

import numpy as np
import pytest
from laws import Laws
from scipy import stats

from hierdiff import RHM, LowRankMixture
from hierdiff.sims.attribute_binding import AttributeBinding
from hierdiff.sims.cue_conflict import CueConflict
from hierdiff.sims.metrics.denoising_error import error_pool, prefix_scores, tie_split_accuracy
from hierdiff.sims.zero_shot_classification import Classification
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses, design_accuracy
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.theory.zero_shot.scores import (
    ClassModel,
    bayes_accuracy,
    gaussian_moments,
    log_ratio,
    normal_accuracy,
    stable_accuracy,
)
from hierdiff.theory.zero_shot.weightings import snr_at, weighting

IDENTITY = "log-likelihood ratio = -1/2 integral of denoising errors over SNR"


def mixture_classes() -> GaussianClasses:
    """Two low-rank classes with means and an ambient residual."""
    bases = LowRankMixture.random(4, 2, 2, seed=0).bases
    means = np.random.default_rng(1).standard_normal((2, 4))
    return GaussianClasses.of(
        LowRankMixture(bases, delta=0.4, residual="ambient", means=means, weights=[0.6, 0.4])
    )


def student_to_normal(t: np.ndarray, freedom: int) -> np.ndarray:
    """Scores of the same tail probability under the normal law."""
    tail = stats.t.sf(np.abs(t), freedom)
    return np.sign(t) * stats.norm.isf(tail)


@pytest.mark.parametrize(
    ("world", "name"),
    [
        (GaussianRHM(RHM(4, 2, 2, 3).draw(0)), "grammar, v = 4, L = 3"),
        (GaussianRHM(RHM(6, 3, 2, 2).draw(1), 0.7), "grammar, v = 6, softer"),
        (mixture_classes(), "low-rank Gaussian classes"),
    ],
    ids=["rhm", "soft", "gauss"],
)
def test_identity(world: ClassModel, name: str, laws: Laws) -> None:
    x0 = world.sample(12, 2)[0]
    exact = world.log_density(x0)
    exact = (exact - exact[:, :1])[:, 1:]

    def scores(weight: str) -> np.ndarray:
        found = log_ratio(world, x0, seed=3, levels=64, replicas=40, weight=weighting(weight))
        t = (found.estimate[:, 1:] - exact) / found.error[:, 1:]
        return student_to_normal(t, 39)

    z = scores("vdm")
    laws.holds(IDENTITY, z)
    assert np.abs(z).max() < 4
    for wrong in ("snr", "uniform"):
        far = scores(wrong)
        laws.rejects(IDENTITY, f"weight {wrong} ({name})", far)
        assert np.abs(far).max() > 6


def test_moments_of_gaussian_errors(laws: Laws) -> None:
    law = "mean and covariance of Gaussian denoising errors"
    world, snr, n = mixture_classes(), 2.0, 40_000
    x0 = world.sample(1, 4)[0]
    noise = np.random.default_rng(5).standard_normal((n, 4))
    e = world.errors(np.repeat(x0, n, 0), noise, snr)
    mean, cov = world.expected_error(x0, snr)[0], world.error_covariance(x0, snr)[0]
    z = (e.mean(0) - mean) / (e.std(0) / np.sqrt(n))
    products = (e - mean)[:, :, None] * (e - mean)[:, None, :]
    spread = products.std(0) / np.sqrt(n)
    z_cov = (products.mean(0) - cov) / spread
    laws.holds(law, [*z, *z_cov[np.triu_indices(2)]])
    assert max(np.abs(z).max(), np.abs(z_cov).max()) < 4
    independent = (products.mean(0) - np.diag(np.diag(cov)))[0, 1] / spread[0, 1]
    laws.rejects(law, "no covariance between classes", independent)
    assert abs(independent) > 8


def test_accuracy_of_a_design(laws: Laws) -> None:
    law = "accuracy at a finite budget, two Gaussian classes of one covariance"
    lam, gap = np.array([1.0, 0.3, 0.05]), np.array([1.0, 0.5, 0.2])
    world = GaussianClasses([gap, np.zeros(3)], np.diag(lam))
    t, n = np.array([0.3, 0.5, 0.7]), 40_000
    weight, rng = np.array([1.0, 2.0, 1.0]), np.random.default_rng(6)
    x0 = gap + np.sqrt(lam) * rng.standard_normal((n, 3))
    score = sum(
        w * world.errors(x0, rng.standard_normal(x0.shape), float(snr_at(u)))
        for w, u in zip(weight, t, strict=True)
    )
    hit = (score[:, 0] < score[:, 1]).mean()

    def z(p: float) -> float:
        return float((hit - p) / np.sqrt(p * (1 - p) / n))

    right = z(design_accuracy(lam, gap, weight, snr_at(t)))
    wrong = z(design_accuracy(lam, gap, np.repeat(weight, 50), snr_at(np.repeat(t, 50))))
    laws.holds(law, right)
    laws.rejects(law, "noise of the samples left out", wrong)
    assert abs(right) < 4
    assert abs(wrong) > 8


def test_normal_law_of_the_scores(laws: Laws) -> None:
    """Different covariances, drawn times: only the central limit theorem is left."""
    law = "accuracy at a finite budget, normal law"
    world, budget, n = mixture_classes(), 40, 4000
    x0, y = world.sample(n, 7)
    for name in ("vdm", "snr", "uniform"):
        mean, cov = gaussian_moments(world, x0, weighting(name))
        pool = error_pool(world, x0, budget, 8)
        right = tie_split_accuracy(prefix_scores(pool, weighting(name), (budget,))[0], y)

        def z(p: np.ndarray, right: np.ndarray = right) -> float:
            return float((right - p).sum() / np.sqrt((p * (1 - p)).sum()))

        found = z(normal_accuracy(mean, cov, y, budget))
        laws.holds(law, found)
        assert abs(found) < 4
        if name == "vdm":
            wrong = z(normal_accuracy(mean, cov, y, 100 * budget))
            laws.rejects(law, "an unlimited budget", wrong)
            assert abs(wrong) > 6


@pytest.mark.slow
def test_independent_noise_under_the_likelihood_weight_is_stable(laws: Laws) -> None:
    law = "unshared noise, likelihood weight: stable law at any budget"
    world, n = mixture_classes(), 3000
    x0, y = world.sample(n, 9)
    own = error_pool(world, x0, 400, 10, shared=False)
    scores = prefix_scores(own, weighting("vdm"), (400,))[0]
    right = tie_split_accuracy(scores, y)
    p = stable_accuracy(world.log_density(x0), y, 4, draws=4000)
    z = float((right - p).sum() / np.sqrt((p * (1 - p)).sum()))
    heavy = weighting("vdm")(own.t) * own.errors
    cut = 400 * 4.0
    share, count = (heavy > cut).mean(), heavy.size
    tail = 2 * 4 / cut
    z_tail = float((share - tail) / np.sqrt(tail * (1 - tail) / count))
    laws.holds(law, [z, z_tail])
    assert abs(z) < 4
    assert abs(z_tail) < 4
    ceiling = bayes_accuracy(world.log_density(x0), world.prior)
    wrong = float((right - ceiling).sum() / np.sqrt((ceiling * (1 - ceiling)).sum()))
    laws.rejects(law, "convergence to Bayes", wrong)
    assert abs(wrong) > 8


# --- the experiment on grammars -------------------------------------------------------------------

SMALL = Classification(
    grammars=6, data=120, budgets=(1, 30, 120), independent_budgets=(1, 30), repeats=3,
    stages=(30, 120), keep=(2, 1), level_data=8, level_samples=8,
    weightings=("vdm", "snr", "exp", "uniform", "late"), times=(0.02, 0.1, 0.2, 0.4, 0.8),
)  # fmt: skip


@pytest.mark.slow
def test_scores_on_grammars(laws: Laws) -> None:
    """The numbers of A.8 (i): the limit law, shared against independent noise, the best time."""
    measured, theory = SMALL.measure(), SMALL.predict()
    gap = measured.accuracy_by_grammar - theory.accuracy_by_grammar
    gap = gap.sel(budget=[30, 120])
    t = gap.mean("grammar") / (gap.std("grammar", ddof=1) / np.sqrt(6))
    z = student_to_normal(t.values, 5)
    laws.holds("accuracy on random grammars, limit law", z)
    assert np.abs(z).max() < 4
    ceiling = (measured.accuracy_by_grammar - theory.bayes_by_grammar).sel(budget=30)
    t = (ceiling.mean("grammar") / (ceiling.std("grammar", ddof=1) / np.sqrt(6))).values
    far = student_to_normal(t, 5)
    laws.rejects("accuracy on random grammars, limit law", "Bayes at N = 30", far)
    assert np.abs(far).max() > 4.5
    # every grammar: sharing, weight, and a best time inside
    exp, budget = {"weighting": "exp"}, 30
    shared = measured.accuracy_by_grammar.sel(**exp, budget=budget)
    alone = measured.independent_by_grammar.sel(**exp, independent_budget=budget)
    assert (shared - alone > 0.3).all()
    last = measured.accuracy_by_grammar.isel(budget=-1)
    assert (last.sel(weighting="vdm") - last.sel(weighting="uniform") > 0.1).all()
    assert (last.sel(weighting="uniform") - last.sel(weighting="late") > 0.1).all()
    single = measured.single_by_grammar
    assert (single.values.argmax(1) == 2).all()
    # while what x_t tells of the class only falls
    assert (np.diff(measured.information.values) < 0).all()
    error = np.hypot(measured.calls_wrong_error, measured.calls_right_error)
    assert (measured.calls_wrong - measured.calls_right) / error > 5


@pytest.mark.slow
def test_cues_in_two_data_models(laws: Laws) -> None:
    """A.8 (ii) and (iii): opposite signs against noise, amplitude apart from depth."""
    experiment = CueConflict(grammars=6, data=100, samples=60)
    measured, theory = experiment.measure(), experiment.predict()
    law = "Gaussian cue conflict at a finite budget"
    z = ((measured.noise_bias - theory.noise_bias) / measured.noise_bias_error).values
    laws.holds(law, z)
    assert np.abs(z).max() < 4
    assert (np.diff(measured.noise_bias.values)[1:] > 0).all()
    wrong = ((1 - measured.noise_bias) - theory.noise_bias) / measured.noise_bias_error
    laws.rejects(law, "shape and texture exchanged", wrong.values)
    assert np.abs(wrong).max() > 20
    bands = measured.band_bias_by_grammar.sel(amplitude=1.0)
    assert (bands.isel(band=0) - bands.isel(band=-1) > 0.3).all()
    vdm, exp = (measured.bias_by_grammar.sel(weighting=w) for w in ("vdm", "exp"))
    assert (exp.sel(amplitude=0.1) - exp.sel(amplitude=1.0) > 0.1).all()
    change = vdm.sel(amplitude=0.1) - vdm.sel(amplitude=1.0)
    assert abs(float(change.mean() / (change.std(ddof=1) / np.sqrt(6)))) < 4
    blur = measured.blur_bias
    assert (np.diff(blur.values) > 0).all()  # the control reproduces the bias without a model


@pytest.mark.slow
def test_binding_and_the_larger_object() -> None:
    """A.8 (iv): pairs above singles, the small object below chance at high noise, a bag at 1/2."""
    measured = AttributeBinding(grammars=6, data=100, budgets=(25, 60)).measure()
    best = measured.accuracy_by_grammar.sel(weighting="exp", budget=60)
    equal, large = best.sel(area=1), best.sel(area=4)
    assert (equal.sel(task="pair") > equal.sel(task="first: colour")).all()
    assert equal.sel(task="first: colour").min() > 0.75
    assert large.sel(task="first: colour").min() > 0.65
    high = measured.accuracy_by_grammar.sel(weighting="high")
    assert high.sel(area=4, task="first: colour").max() < 0.35
    assert high.sel(area=4, task="second: colour").min() > 0.85
    assert high.sel(area=1, task="first: colour").min() > 0.5
    bag = measured.bag
    assert (bag.sel(task="pair") == 0.5).all()
    z = (bag - 0.5) / measured.bag_error
    assert np.abs(z.sel(area=1, task=["first: colour", "first: shape", "second: shape"])).max() < 4
    assert measured.bayes.sel(area=4, task="first: colour") > 0.85
