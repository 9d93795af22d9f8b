"""Denoising errors as a classifier: exact worlds against enumeration, closed forms, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import AMBIGUOUS, FIXTURE, WEIGHTED, enumerate_derivations, one_line
from scipy import integrate, stats

from hierdiff import RHM, Grammar, LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory import zero_shot as theory
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
from hierdiff.theory.zero_shot.inputs import checked_labels
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM, NodeClasses
from hierdiff.theory.zero_shot.scenes import PROMPTS, ShapeTexture, TwoObjectScenes
from hierdiff.theory.zero_shot.weightings import Buckets, weighting

TAU = 0.42


def softmax_mean(log_weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted mean over the first axis of ``values``."""
    w = np.exp(log_weight - log_weight.max())
    return np.tensordot(w / w.sum(), values, 1)


def normal(x: np.ndarray, centre: np.ndarray, variance: float) -> np.ndarray:
    """Log-density of an isotropic normal, summed over all but the first axis of ``centre``."""
    gap = ((x - centre) ** 2).reshape(len(centre), -1)
    return -0.5 * (gap / variance + np.log(2 * np.pi * variance)).sum(1)


def component_mean(x_t: np.ndarray, hard: np.ndarray, log_p: np.ndarray, snr: float) -> np.ndarray:
    """E[x0 | x_t] of a mixture of Gaussians about ``hard`` [count, ...], by listing it."""
    alpha, var = np.sqrt(snr / (1 + snr)), 1 / (1 + snr)
    total = alpha**2 * TAU**2 + var
    gain = alpha * TAU**2 / total
    means = hard + gain * (x_t - alpha * hard)
    return softmax_mean(log_p + normal(x_t, alpha * hard, total), means)


# --- soft leaves --------------------------------------------------------------------------------


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED], ids=["rhm", "ambiguous", "w"])
@pytest.mark.parametrize("snr", [0.0, 0.3, 40.0])
def test_soft_leaves_against_enumeration(grammar: Grammar, snr: float) -> None:
    world = GaussianRHM(grammar, TAU)
    x0, _ = world.sample(3, 1)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    levels, prior = enumerate_derivations(grammar)
    hard = np.eye(world.shape[1])[levels[-1]]
    with np.errstate(divide="ignore"):
        log_prior = np.log(prior) - np.log(grammar.root_prior)[levels[0][:, 0]]
    errors, log_p = world.errors(x0, noise, snr), world.log_density(x0)
    x_t = np.sqrt(snr / (1 + snr)) * x0 + np.sqrt(1 / (1 + snr)) * noise
    for c in range(world.n_classes):
        rows = levels[0][:, 0] == c
        answer = world.denoise(x_t, snr, c)
        for i in range(3):
            mean = component_mean(x_t[i], hard[rows], log_prior[rows], snr)
            assert errors[i, c] == pytest.approx(((x0[i] - mean) ** 2).sum(), rel=1e-10)
            assert answer[i] == pytest.approx(mean, abs=1e-12)
            exact = np.logaddexp.reduce(log_prior[rows] + normal(x0[i], hard[rows], TAU**2))
            assert log_p[i, c] == pytest.approx(exact, rel=1e-10)


def test_single_precision_keeps_the_differences_of_classes() -> None:
    world = GaussianRHM(RHM(8, 3, 2, 3).draw(0), TAU)
    x0, _ = world.sample(64, 1)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    t = np.geomspace(1e-5, 1, 64)
    slope = theory.snr_slope(t)[:, None]
    double, single = (world.errors(x0, noise, theory.snr_at(t), dtype=d) for d in ("f8", "f4"))
    assert np.abs(slope * (single - single[:, :1] - double + double[:, :1])).max() < 0.01


def test_posterior_given_noisy_data_is_that_of_the_hard_channel() -> None:
    """At SNR g the leaves are seen through variance tau^2 + 1/g; at infinity only tau is left."""
    world = GaussianRHM(FIXTURE, TAU)
    x0, _ = world.sample(4, 1)
    odds = world.noisy_log_odds(x0, np.zeros_like(x0), 1e12)
    exact = world.log_density(x0)
    assert odds - odds[:, :1] == pytest.approx(exact - exact[:, :1], rel=1e-6)
    assert np.ptp(world.noisy_log_odds(x0, x0, 0.0), axis=1) == pytest.approx(0, abs=1e-12)


# --- a node of any level as the class -------------------------------------------------------------


@pytest.mark.parametrize(("level", "node"), [(0, 0), (1, 0), (1, 1), (2, 3)])
def test_node_classes_against_enumeration(level: int, node: int) -> None:
    world = GaussianRHM(FIXTURE, TAU)
    inner = NodeClasses(world, level, node)
    x0, _ = world.sample(2, 1)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    snr = np.array([0.7, 9.0])
    levels, prior = enumerate_derivations(FIXTURE)
    hard = np.eye(world.shape[1])[levels[-1]]
    errors, log_p = inner.errors(x0, noise, snr), inner.log_density(x0)
    for i in range(2):
        x_t = np.sqrt(snr[i] / (1 + snr[i])) * x0[i] + np.sqrt(1 / (1 + snr[i])) * noise[i]
        joint = np.log(prior) + normal(x0[i], hard, TAU**2)
        exact = []
        for j, a in enumerate(inner.symbols):
            rows = levels[level][:, node] == a
            assert prior[rows].sum() == pytest.approx(inner.prior[j])
            mean = component_mean(x_t, hard[rows], np.log(prior[rows]), float(snr[i]))
            assert errors[i, j] == pytest.approx(((x0[i] - mean) ** 2).sum(), rel=1e-9)
            exact.append(np.logaddexp.reduce(joint[rows]) - np.log(prior[rows].sum()))
        assert log_p[i] - log_p[i, 0] == pytest.approx(np.array(exact) - exact[0], rel=1e-8)


def test_nodes_need_an_unambiguous_grammar() -> None:
    with pytest.raises(InvalidParameter, match="ambiguous") as error:
        NodeClasses(GaussianRHM(AMBIGUOUS), 1)
    one_line(error)
    with pytest.raises(InvalidParameter, match="no node"):
        NodeClasses(GaussianRHM(FIXTURE), 1, 2)


# --- shape and texture ----------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1.0, 0.1])
def test_two_channels_against_enumeration(k: float) -> None:
    grammar = Grammar([[[[0, 1], [1, 1]], [[1, 0], [0, 0]]]])
    table = np.array([[0.7, 0.3], [0.2, 0.8]])
    world = ShapeTexture(GaussianRHM(grammar, TAU), table, k)
    x0 = world.conflict([0, 1, 1], [1, 0, 0], 1)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    snr = 3.0
    errors, log_p = world.errors(x0, noise, snr), world.log_density(x0)
    alpha, var = np.sqrt(snr / (1 + snr)), 1 / (1 + snr)
    x_t = alpha * x0 + np.sqrt(var) * noise
    trees = [np.array(rows) for rows in grammar.rules[0]]
    paint = np.array(list(itertools.product(range(2), repeat=2)))
    exact = np.empty((3, 2))
    for c in range(2):
        weight = np.log(table[c][paint]).sum(1)
        for i in range(3):
            form = component_mean(x_t[i, 0], np.eye(2)[trees[c]], np.zeros(2), snr)
            centre, total = k * np.eye(2)[paint], (alpha * k * TAU) ** 2 + var
            gain = alpha * (k * TAU) ** 2 / total
            means = centre + gain * (x_t[i, 1] - alpha * centre)
            texture = softmax_mean(weight + normal(x_t[i, 1], alpha * centre, total), means)
            mean = np.stack([form, texture])
            assert errors[i, c] == pytest.approx(((x0[i] - mean) ** 2).sum(), rel=1e-10)
            exact[i, c] = np.logaddexp.reduce(normal(x0[i, 0], np.eye(2)[trees[c]], TAU**2))
            exact[i, c] += np.logaddexp.reduce(weight + normal(x0[i, 1], centre, (k * TAU) ** 2))
    assert log_p - log_p[:, :1] == pytest.approx(exact - exact[:, :1], abs=1e-9)


def test_amplitude_changes_no_clean_likelihood() -> None:
    tree = GaussianRHM(RHM(8, 3, 2, 3).draw(0), TAU)
    table = np.random.default_rng(0).dirichlet(np.full(8, 2.0), 8)
    big, small = (ShapeTexture(tree, table, k) for k in (1.0, 0.01))
    x, y = (w.conflict([0, 1, 2], [3, 4, 5], 7) for w in (big, small))
    assert y[:, 1] == pytest.approx(0.01 * x[:, 1])
    assert small.log_density(y) == pytest.approx(big.log_density(x), rel=1e-10)


@pytest.mark.parametrize("level", [0, 1])
def test_texture_above_the_leaves_against_enumeration(level: int) -> None:
    """Symbols of a histogram at a level, written down by the rules: all strings are listed."""
    rules = np.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]]])
    grammar, k, snr = Grammar([rules, rules]), 0.4, 3.0
    table = np.array([[0.7, 0.3], [0.2, 0.8]])
    world = ShapeTexture(GaussianRHM(grammar, TAU), table, k, level)
    x0 = world.conflict([0, 1, 1], [1, 0, 0], 1)
    assert x0.shape == (3, 2, 4, 2)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    alpha, var = np.sqrt(snr / (1 + snr)), 1 / (1 + snr)
    x_t = alpha * x0 + np.sqrt(var) * noise

    def strings(symbol: int, depth: int) -> list[tuple[tuple[int, ...], float]]:
        if not depth:
            return [((symbol,), 1.0)]
        return [
            (a[0] + b[0], 0.5 * a[1] * b[1]) for rule in rules[symbol]
            for a in strings(rule[0], depth - 1) for b in strings(rule[1], depth - 1)
        ]  # fmt: skip

    below, nodes = 2 - level, 2**level
    shape_only = GaussianRHM(grammar, TAU)
    errors, log_p = world.errors(x0, noise, snr), world.log_density(x0)
    found = np.empty((3, 2))
    for c in range(2):
        one = [(s, table[c][a] * p) for a in range(2) for s, p in strings(a, below)]
        hard, weight = [], []
        for parts in itertools.product(one, repeat=nodes):
            hard.append(np.eye(2)[np.concatenate([s for s, _ in parts])])
            weight.append(np.log([p for _, p in parts]).sum())
        centre, w = k * np.array(hard), np.array(weight)
        for i in range(3):
            total = (alpha * k * TAU) ** 2 + var
            means = centre + alpha * (k * TAU) ** 2 / total * (x_t[i, 1] - alpha * centre)
            mean = softmax_mean(w + normal(x_t[i, 1], alpha * centre, total), means)
            form = shape_only.errors(x0[i : i + 1, 0], noise[i : i + 1, 0], snr)[0, c]
            exact = form + ((x0[i, 1] - mean) ** 2).sum()
            assert errors[i, c] == pytest.approx(exact, rel=1e-10)
            found[i, c] = np.logaddexp.reduce(w + normal(x0[i, 1], centre, (k * TAU) ** 2))
    found += shape_only.log_density(x0[:, 0])
    assert log_p - log_p[:, :1] == pytest.approx(found - found[:, :1], abs=1e-9)
    # the law of another level is another one
    other = ShapeTexture(GaussianRHM(grammar, TAU), table, k).log_density(x0)
    assert np.abs((other - other[:, :1]) - (found - found[:, :1])).max() > 0.1


# --- objects with attributes ----------------------------------------------------------------------


@pytest.mark.parametrize("area", [1, 3])
def test_prompts_against_enumeration(area: int) -> None:
    rules = [[[[0, 1], [1, 1]], [[1, 2], [2, 2]], [[2, 0], [0, 0]]]]
    shapes, colours = Grammar(rules), Grammar([rules[0][::-1]])
    world = TwoObjectScenes(shapes, colours, TAU, area)
    x0, values = world.sample(2, 3)
    noise = np.random.default_rng(4).standard_normal(x0.shape)
    names = ["pair", "pair swapped", "first recoloured", "colour absent"]
    prompts = tuple(PROMPTS[name] for name in names)
    snr = 2.0
    errors = world.prompt_errors(x0, values, noise, snr, prompts)
    log_p = world.log_density(x0, values, prompts)
    x_t = np.sqrt(snr / (1 + snr)) * x0 + np.sqrt(1 / (1 + snr)) * noise
    grammars = (shapes, colours, shapes, colours)
    for i in range(2):
        exact = []
        for p, prompt in enumerate(prompts):
            hard, weight = [], []
            for reading in prompt:
                options = []
                for b, code in enumerate(reading):
                    roots = range(3) if code == 3 else [values[i, b % 2, code]]
                    table = np.asarray(grammars[b].rules[0])
                    copies = area if b == 3 else 1
                    options.append([
                        (np.tile(table[r, k], copies), 0.5 / len(roots))
                        for r in roots for k in range(2)
                    ])  # fmt: skip
                for choice in itertools.product(*options):
                    hard.append(np.eye(3)[np.concatenate([c[0] for c in choice])])
                    weight.append(np.prod([c[1] for c in choice]) / len(prompt))
            mean = component_mean(x_t[i], np.array(hard), np.log(weight), snr)
            assert errors[i, p] == pytest.approx(((x0[i] - mean) ** 2).sum(), rel=1e-10)
            exact.append(
                np.logaddexp.reduce(np.log(weight) + normal(x0[i], np.array(hard), TAU**2))
            )
        assert log_p[i] - log_p[i, 0] == pytest.approx(np.array(exact) - exact[0], rel=1e-9)


# --- Gaussian classes -----------------------------------------------------------------------------


def gaussians() -> GaussianClasses:
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((3, 4, 4))
    return GaussianClasses(rng.standard_normal((3, 4)), roots @ roots.transpose(0, 2, 1) + 0.3
                           * np.eye(4), [0.5, 0.3, 0.2])  # fmt: skip


def test_gaussian_classes_against_dense_algebra() -> None:
    world, snr = gaussians(), 1.7
    x0, _ = world.sample(5, 1)
    noise = np.random.default_rng(2).standard_normal(x0.shape)
    x_t = np.sqrt(snr / (1 + snr)) * x0 + np.sqrt(1 / (1 + snr)) * noise
    errors, log_p = world.errors(x0, noise, snr), world.log_density(x0)
    for c in range(3):
        mean, cov = world.means[c], world.covariances[c]
        alpha = np.sqrt(snr / (1 + snr))
        gain = alpha * cov @ np.linalg.inv(alpha**2 * cov + np.eye(4) / (1 + snr))
        found = mean + (x_t - alpha * mean) @ gain.T
        assert world.denoise(x_t, snr, c) == pytest.approx(found, abs=1e-12)
        assert errors[:, c] == pytest.approx(((x0 - found) ** 2).sum(1), rel=1e-10)
        assert log_p[:, c] == pytest.approx(stats.multivariate_normal(mean, cov).logpdf(x0))


def test_expected_error_integrates_to_the_log_ratio() -> None:
    """The identity without Monte Carlo: Gaussian errors in closed form, integrated over SNR."""
    world = gaussians()
    x0, _ = world.sample(3, 1)
    for i in range(3):

        def gap(u: float, i: int = i) -> np.ndarray:
            e = world.expected_error(x0[i : i + 1], np.exp(u))[0]
            return np.exp(u) * (e[1:] - e[0])

        total = integrate.quad_vec(gap, -25, 25, epsabs=1e-9)[0]
        exact = world.log_density(x0[i : i + 1])[0]
        assert -0.5 * total == pytest.approx(exact[1:] - exact[0], abs=1e-6)


def test_mixture_becomes_dense_classes() -> None:
    mixture = LowRankMixture.random(5, 2, 2, delta=0.4, seed=0)
    ambient = LowRankMixture(mixture.bases, delta=0.4, residual="ambient", means=np.ones((2, 5)))
    world = GaussianClasses.of(ambient)
    assert world.covariances[1] == pytest.approx(ambient.covariance(1))
    with pytest.raises(InvalidParameter, match="positive definite"):
        GaussianClasses.of(LowRankMixture(mixture.bases))


# --- linear scores --------------------------------------------------------------------------------

LAM = np.repeat([1.0, 0.02], [4, 60])
GAP = np.sqrt(np.repeat([2 / 4, 0.6 / 60], [4, 60]))
SIGN = np.repeat([1.0, -1.0], [4, 60])


def test_likelihood_weight_is_linear_discriminant_analysis() -> None:
    rng = np.random.default_rng(0)
    lam, gap = rng.uniform(0.01, 5, 20), rng.standard_normal(20)
    weights = theory.effective_weights(lam, weighting("vdm"))
    assert weights == pytest.approx(1 / lam, rel=1e-12)
    assert theory.band_weights(lam, 0, np.inf) == pytest.approx(1 / lam, rel=1e-14)
    distance = np.sqrt((gap**2 / lam).sum())
    assert theory.linear_accuracy(lam, gap, weights) == pytest.approx(stats.norm.cdf(distance / 2))
    best = theory.linear_accuracy(lam, gap, 1 / lam)
    for other in ("snr", "exp", "uniform"):
        biased = theory.effective_weights(lam, weighting(other))
        assert theory.linear_accuracy(lam, gap, biased) < best


def test_published_numbers_of_the_gaussian_cue_conflict() -> None:
    """Section A.8 (ii): shape bias at three noise levels and of four weights, and the crossover."""
    for s2, expected in ((0.03, 0.003), (1.0, 0.458), (10.0, 0.673)):
        found = theory.linear_accuracy(LAM, GAP, (s2 / (LAM + s2)) ** 2, SIGN)
        assert found == pytest.approx(expected, abs=1e-3)
    for name, expected in (("vdm", 0.007), ("snr", 0.023), ("exp", 0.064), ("uniform", 0.594)):
        weights = theory.effective_weights(LAM, weighting(name))
        found = theory.linear_accuracy(LAM, GAP, weights, SIGN)
        assert found == pytest.approx(expected, abs=6e-4)
    place = theory.crossover(LAM, GAP, SIGN)
    assert place == pytest.approx(1.1668, abs=1e-4)
    assert theory.cue_conflict(place, LAM, GAP, SIGN) == pytest.approx(0, abs=1e-12)
    with pytest.raises(NoTransition):
        theory.crossover([1.0, 0.02], [2.0, 0.1], [1.0, 1.0])


def test_quadrature_of_weights_and_bands() -> None:
    t = (np.arange(400000) + 0.5) / 400000
    for name in ("snr", "exp", "uniform"):
        direct = (weighting(name)(t) * (1 + theory.snr_at(t) * 0.3) ** -2).mean()
        assert theory.effective_weights([0.3], weighting(name))[0] == pytest.approx(direct, 1e-6)
    direct = integrate.quad(lambda g: (1 + 0.3 * g) ** -2, 0.5, 7.0)[0]
    assert theory.band_weights([0.3], 0.5, 7.0)[0] == pytest.approx(direct, rel=1e-10)


def test_a_design_of_many_samples_is_an_unlimited_budget() -> None:
    t = (np.arange(3000) + 0.5) / 3000
    weight = weighting("exp")(t) / len(t)
    limit = theory.linear_accuracy(LAM, GAP, theory.effective_weights(LAM, weighting("exp")))
    few = theory.design_accuracy(LAM, GAP, weight[::600], theory.snr_at(t[::600]))
    many = theory.design_accuracy(LAM, GAP, weight, theory.snr_at(t))
    assert many == pytest.approx(limit, abs=1e-3)
    assert few < many


# --- weights and scores ---------------------------------------------------------------------------


def test_slope_is_the_derivative_of_the_ratio() -> None:
    t, h = np.linspace(0.05, 0.95, 19), 1e-6
    slope = (theory.snr_at(t - h) - theory.snr_at(t + h)) / (2 * h)
    assert theory.snr_slope(t) == pytest.approx(slope, rel=1e-6)


def test_equal_weights_on_the_noise_are_snr_weights_on_the_data() -> None:
    world = gaussians()
    x0, _ = world.sample(6, 1)
    rng = np.random.default_rng(3)
    t, noise = 1 - rng.random((6, 4)), rng.standard_normal((24, 4))
    snr = theory.snr_at(t)
    errors = world.errors(np.repeat(x0, 4, 0), noise, snr.ravel()).reshape(6, 4, 3)
    on_data = theory.class_scores(errors, t, weighting("snr"))
    # the noise itself, predicted from the denoiser, without the conversion
    wide = snr.reshape(-1, 1)
    x_t = np.sqrt(wide / (1 + wide)) * np.repeat(x0, 4, 0) + np.sqrt(1 / (1 + wide)) * noise
    for c in range(3):
        guess = world.denoise(x_t, wide.ravel(), c)
        eps = np.sqrt(1 + wide) * x_t - np.sqrt(wide) * guess
        on_noise = ((noise - eps) ** 2).sum(1).reshape(6, 4).mean(1)
        assert on_noise == pytest.approx(on_data[:, c], rel=1e-8)
    back = theory.x0_error(theory.eps_error(errors[..., 0], snr), snr)
    assert back == pytest.approx(errors[..., 0])


def test_learned_buckets_find_the_time_that_tells() -> None:
    """Only the third quarter of times carries the label, and it gets the weight."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    t = 1 - rng.random((120, 60))
    errors = rng.exponential(size=(120, 60, 3))
    tells = (t > 0.5) & (t <= 0.75)
    errors[np.arange(120), :, labels] -= 0.5 * tells
    found = theory.fit_buckets(errors, t, labels, buckets=4)
    assert np.argmax(found.values) == 2
    assert found.values[2] > 5 * sorted(found.values)[2]
    learned = theory.class_scores(errors, t, found).argmin(1) == labels
    plain = theory.class_scores(errors, t, weighting("uniform")).argmin(1) == labels
    assert learned.mean() > plain.mean()


def test_bayes_accuracy_uses_the_prior() -> None:
    flat = np.zeros((1, 2))
    assert theory.bayes_accuracy(flat)[0] == pytest.approx(0.5)
    assert theory.bayes_accuracy(flat, [0.9, 0.1])[0] == pytest.approx(0.9)
    assert theory.bayes_accuracy([[-1e4, 0.0]])[0] == 1


def test_more_than_two_classes_agree_with_two() -> None:
    """A third class that never wins changes nothing."""
    two = theory.normal_accuracy([[0.0, 0.3]], [np.eye(2)], [0], 9)
    mean, cov = [[0.0, 0.3, 1e6]], [np.eye(3)]
    three = theory.normal_accuracy(mean, cov, [0], 9, draws=100_000)
    assert three == pytest.approx(two, abs=5e-3)


# --- bad input ------------------------------------------------------------------------------------


def test_bad_input_is_told_in_one_line() -> None:
    e, t = np.ones((2, 3, 2)), np.full((2, 3), 0.2)
    world = GaussianRHM(FIXTURE)
    cases = [
        (lambda: GaussianRHM(FIXTURE, 0.0), "tau = 0.0"),
        (lambda: world.errors(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), 1.0), "shape"),
        (lambda: world.errors(*[np.zeros((1, 4, 4))] * 2, np.inf), "inside"),
        (lambda: theory.class_scores(e, t, theory.band(0.5, 1)), "vanish at all"),
        (lambda: theory.class_scores(e[:, :0], t[:, :0], weighting("snr")), "budget = 0"),
        (lambda: theory.class_scores(e, t[:1], weighting("snr")), "shape"),
        (lambda: weighting("best"), "unknown"),
        (lambda: theory.snr_at(0.0), "t must lie"),
        (lambda: theory.x0_error(1.0, 0.0), "snr = 0"),
        (lambda: theory.band(0.5, 0.2), "increasing"),
        (lambda: Buckets((0.0, 0.0)), "vanish everywhere"),
        (lambda: Buckets((1.0, -1.0)), ">= 0"),
        (lambda: checked_labels([0, 2], 2, 2), "label 2 is no class"),
        (lambda: checked_labels([0, -1], 2, 2), "label -1 is no class"),
        (lambda: checked_labels([0.5, 1], 2, 2), "integers"),
        (lambda: theory.fit_buckets(e, t, [0, 0]), "class 1 has no data"),
        (lambda: theory.fit_buckets(e, t, [0, 1]), "buckets = 20 are more than the 6 times"),
        (lambda: theory.fit_buckets(e, t, [0, 1], buckets=4), "bucket 1 of 4 has no samples"),
        (lambda: theory.normal_accuracy([[0.0, 1.0]], [np.eye(2)], [0], 0), "budget = 0"),
        (lambda: theory.normal_accuracy([[0.0, 1.0]], [np.eye(2)], [2], 1), "label 2"),
        (lambda: theory.log_ratio(world, np.zeros((1, 4, 4)), seed=0, replicas=1), "replicas"),
        (lambda: theory.linear_accuracy([1.0], [1.0], [0.0]), "vanish everywhere"),
        (lambda: theory.design_accuracy([1.0], [1.0], [0.0], [1.0]), "vanish at all"),
        (lambda: theory.effective_weights([0.0], weighting("snr")), "eigenvalues"),
        (lambda: theory.band_weights([1.0], 2.0, 1.0), "increasing"),
        (lambda: GaussianClasses([[0.0]], [[-1.0]]), "positive definite"),
        (lambda: GaussianClasses([[0.0]], [[1.0]], [0.5]), "sum to one"),
        (lambda: ShapeTexture(world, np.ones((4, 4))), "rows of probabilities"),
        (lambda: ShapeTexture(world, np.full((4, 4), 0.25), 0.0), "amplitude"),
        (lambda: ShapeTexture(world, np.full((4, 4), 0.25), level=9), "level"),
        (lambda: TwoObjectScenes(FIXTURE, FIXTURE).emit([[0, 1]], 0), "roots"),
        (lambda: TwoObjectScenes(FIXTURE, AMBIGUOUS), "agree in size"),
        (lambda: TwoObjectScenes(FIXTURE, FIXTURE, area=0), "area = 0"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_arguments_that_would_give_a_wrong_number_are_refused() -> None:
    """Each of these gave a number, or NaN, or an error of NumPy."""
    world = GaussianRHM(FIXTURE, TAU)
    x, eps = np.zeros((2, *world.shape)), np.ones((2, *world.shape))
    gaussian = GaussianClasses([[0.0], [1.0]], [[1.0]])
    e, t = np.ones((2, 3, 2)), np.full((2, 3), 0.2)
    weight = theory.snr_slope
    channel = ShapeTexture(world, np.full((world.n_classes, world.shape[1]), 1 / world.shape[1]))
    node = NodeClasses(world, 1)
    objects = TwoObjectScenes(*[RHM(4, 2, 2, 2).draw(0)] * 2)
    prompts = (PROMPTS["pair"],)
    scene, values = objects.sample(1, 0)
    cases = [
        (lambda: GaussianRHM(RHM(4, 2, 2, 2)), r"give a Grammar; .*draw"),
        (lambda: NodeClasses(FIXTURE, 0), r"give a GaussianRHM; make one: GaussianRHM\(grammar\)"),
        (lambda: GaussianRHM(FIXTURE, 1e-320), "tau = 1e-320"),
        (lambda: world.errors(x, eps[:1], 1.0), "noise has shape"),
        (lambda: world.errors(x, eps * np.nan, 1.0), "noise is NaN"),
        (lambda: world.errors(x, eps, [1.0, 2.0, 3.0]), "snr has shape"),
        (lambda: world.errors(x, eps, 1.0, classes=(-1,)), "-1 is no class"),
        (lambda: world.errors(x, eps, 1.0, dtype=np.int64), "dtype = int64 is not supported"),
        (lambda: world.denoise(x, 1.0, [0, 99]), "label 99 is no class"),
        (lambda: world.log_density(x + 1e200), "beyond float64"),
        (lambda: world.sample(10**15, 0), "GB of memory"),
        (lambda: channel.errors(np.stack([x, x], 1), np.stack([eps, eps], 1), 1.0, classes=(7,)),
         "7 is no class"),
        (lambda: channel.log_densities(np.stack([x, x], 1), blur=np.nan), "blur = nan"),
        (lambda: node.labels_of([99]), "symbols holds 99"),
        (lambda: objects.log_density(scene, values + 9, prompts), "values holds"),
        (lambda: objects.log_density(scene, values, ()), "must be a tuple of prompts"),
        (lambda: objects.log_density(scene, values, (((0, 0, 0, 7),),)), "four codes 0 to 3"),
        (lambda: gaussian.denoise([[0.0]], 1.0, -1), "label -1 is no class"),
        (lambda: gaussian.denoise([[0.0]], np.nan, 0), "snr is NaN|snr = nan"),
        (lambda: gaussian.expected_error([[0.0]], -1.0), "snr = -1.0 must be"),
        (lambda: GaussianClasses([[0.0]], [[np.nan]]), "covariances is NaN|covariances holds"),
        (lambda: theory.gaussian_moments(gaussian, [[0.0]], weight, nodes=10**6), "nodes = "),
        (lambda: theory.gaussian_moments(gaussian, [[0.0]], lambda t: t * np.nan), r"weight\(t\)"),
        (lambda: theory.class_scores(e * np.nan, t, weight), "errors is NaN"),
        (lambda: theory.class_scores(e, t, print), r"weight\(t\)"),
        (lambda: theory.class_scores(e, t + 1, weight), "outside"),
        (lambda: theory.log_ratio(FIXTURE, x, seed=0), "make one: GaussianRHM"),
        (lambda: theory.log_ratio(gaussian, [[0.0, 1.0]], seed=0), "needs \\(n, 1\\)"),
        (lambda: theory.log_ratio(gaussian, [[0.0]], seed=0, levels=10**30), "GB of memory"),
        (lambda: theory.bayes_accuracy([[np.nan, 0.0]]), "log_density is NaN"),
        (lambda: theory.bayes_accuracy([[-np.inf, -np.inf]]), "is no law"),
        (lambda: theory.bayes_accuracy([[0.0, 0.0]], [0.5, 0.6]), "sums to 1.1"),
        (lambda: theory.normal_accuracy([[0.0, 1.0]], [-np.eye(2)], [0], 1), "variance -2"),
        (lambda: theory.stable_accuracy([[0.0, 1.0]], [0], 1, draws=10**12), "GB of memory"),
        (lambda: theory.eps_error([1.0, 2.0], [1.0, 2.0, 3.0]), "do not fit together"),
        (lambda: theory.eps_error(-1.0, 2.0), "eps_error|x0_error = -1.0"),
        (lambda: weighting("exp", rate=np.nan), "rate = nan"),
        (lambda: Buckets((1.0, 2.0))(np.array([-0.5])), "outside"),
        (lambda: theory.fit_buckets(e, t, [0, 1], buckets=10**30), "more than the 6 times"),
        (lambda: theory.linear_accuracy([1.0], [np.nan], [1.0]), "gaps is NaN"),
        (lambda: theory.cue_conflict([-1.0], [1.0], [1.0], [1.0]), "sigma2 holds -1.0"),
        (lambda: theory.crossover([1.0, 0.02], [1.0, 1.0, 1.0], [1, -1]), "do not fit together"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_what_a_class_keeps_is_a_copy_that_nobody_writes_to() -> None:
    means, table = np.array([[0.0], [1.0]]), np.full((2, 2), 0.5)
    world = GaussianClasses(means, [[1.0]])
    tree = GaussianRHM(RHM(v=2, m=1, s=2, L=1).draw(seed=0))
    channel = ShapeTexture(tree, table)
    means[:], table[:] = 7, 7
    assert world.means.tolist() == [[0.0], [1.0]]
    assert np.asarray(channel.histograms).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    for kept in (world.means, world.covariances, world.prior, channel.histograms):
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 3
