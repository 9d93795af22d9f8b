"""Mixtures of Ising chains: enumeration, a plain twin of the kernels, laws of speciation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from oracles import one_line
from scipy import stats

from hierdiff import GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.sims import Classification, PhaseTransition, UTurn
from hierdiff.theory.exact_models import ExactIsing
from hierdiff.theory.ising import (
    chain_posterior,
    class_information,
    denoiser_log_ratio,
    half_change_divergence,
    speciation_law,
    speciation_times,
    spin_evidence,
    weak_signal_divergence,
)

N = 6
RNG = np.random.default_rng(3)
CHAINS = IsingChains(RNG.normal(size=(3, N - 1)), RNG.normal(size=(3, N)), [0.2, 0.5, 0.3])
VECTORS = ExactIsing(CHAINS, GaussianNoise())
STRINGS = np.array(list(itertools.product((0, 1), repeat=N)))


def joint() -> np.ndarray:
    """p(class, string) by its definition, [K, 2^N]."""
    spins = 2.0 * STRINGS - 1
    energy = CHAINS.fields @ spins.T + CHAINS.couplings @ (spins[:, 1:] * spins[:, :-1]).T
    law = np.exp(energy)
    return np.asarray(CHAINS.weights[:, None] * law / law.sum(axis=1, keepdims=True))


def plain(data: IsingChains, log_evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likelihoods [n, K] and probabilities of +1 by class [n, K, N], in NumPy and log space."""
    n, spins, _ = log_evidence.shape
    with np.errstate(divide="ignore"):
        start, step = np.log(data.start), np.log(data.transitions)
    forward = np.empty((n, data.n_classes, spins, 2))
    backward = np.zeros_like(forward)
    forward[:, :, 0] = start + log_evidence[:, None, 0]
    for i in range(1, spins):
        forward[:, :, i] = log_evidence[:, None, i] + np.logaddexp.reduce(
            forward[:, :, i - 1, :, None] + step[:, i - 1], axis=2
        )
    for i in range(spins - 2, -1, -1):
        after = backward[:, :, i + 1] + log_evidence[:, None, i + 1]
        backward[:, :, i] = np.logaddexp.reduce(step[:, i] + after[:, :, None], axis=3)
    both = forward + backward
    total = np.logaddexp.reduce(forward[:, :, -1], axis=2)
    return total, np.exp(both[..., 1] - np.logaddexp.reduce(both, axis=3))


def test_the_chain_of_markov_has_the_law_of_the_couplings() -> None:
    law = CHAINS.start[:, STRINGS[:, 0]]
    for i in range(N - 1):
        law = law * CHAINS.transitions[:, i, STRINGS[:, i], STRINGS[:, i + 1]]
    np.testing.assert_allclose(CHAINS.weights[:, None] * law, joint(), atol=1e-15)
    means = joint() @ (2.0 * STRINGS - 1) / CHAINS.weights[:, None]
    np.testing.assert_allclose(CHAINS.means, means, atol=1e-13)


NOISES = [
    (MaskingNoise(2), 0.4), (UniformNoise(2), 0.4), (GaussianNoise(2), 0.5), (GaussianNoise(), 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("noise", "t"), NOISES)
def test_posteriors_are_those_of_enumeration(noise: Any, t: float) -> None:
    model = ExactIsing(CHAINS, noise)
    x0, _ = CHAINS.sample(5, seed=1)
    clean = CHAINS.vectors(x0) if noise.v is None else x0
    x_t = noise.corrupt(clean, t, seed=2)
    if noise.v is None:
        snr = float(noise.snr(t))
        y = x_t * np.sqrt(1 + snr)  # sqrt(snr) sigma + z
        spins = 2.0 * STRINGS - 1
        log = -0.5 * ((y[:, None] - np.sqrt(snr) * spins) ** 2).sum(axis=2)
    else:
        evidence = noise.log_evidence(x_t, t)
        log = np.take_along_axis(evidence[:, None], STRINGS[None, ..., None], 3)[..., 0].sum(axis=2)
    weight = joint() * np.exp(log - log.max(axis=1, keepdims=True))[:, None]
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    up = weight.sum(axis=1) @ STRINGS
    np.testing.assert_allclose(model.class_marginals(x_t, t), weight.sum(axis=2), atol=1e-12)
    mean = model.denoise(x_t, t)
    np.testing.assert_allclose((mean + 1) / 2 if noise.v is None else mean[..., 1], up, atol=1e-12)
    one = weight[:, 1] / weight[:, 1].sum(axis=1, keepdims=True)
    given = model.given(1).denoise(x_t, t)
    np.testing.assert_allclose(
        (given + 1) / 2 if noise.v is None else given[..., 1], one @ STRINGS, atol=1e-12
    )
    # likelihoods differ from those of enumeration by the part of the evidence that spins share
    found = model.posterior(x_t, t).log_likelihood
    by_hand = np.log((joint() / CHAINS.weights[:, None] * np.exp(log)[:, None]).sum(axis=2))
    shift = found - by_hand
    np.testing.assert_allclose(shift - shift[:, :1], 0, atol=1e-10)


def test_kernels_have_the_numbers_of_their_plain_twin() -> None:
    data = IsingChains(RNG.normal(size=(2, 199)), RNG.normal(size=(2, 200)))
    evidence = RNG.normal(size=(4, 200, 2)) * 3
    evidence[0, ::7, 0] = -np.inf
    found = chain_posterior(data, evidence)
    likelihood, up = plain(data, evidence)
    np.testing.assert_allclose(found.log_likelihood, likelihood, rtol=1e-12)
    np.testing.assert_allclose(
        found.up, np.einsum("nk,nki->ni", found.class_marginals, up), atol=1e-12
    )


def test_samples_follow_the_posterior() -> None:
    model, n = ExactIsing(CHAINS, MaskingNoise(2)), 20_000
    x_t = np.tile([1, -1, -1, 0, -1, -1], (n, 1))
    drawn = model.sample(x_t, 0.5, seed=1)
    fits = (STRINGS[:, 0] == 1) & (STRINGS[:, 3] == 0)
    law = np.where(fits, joint().sum(axis=0), 0.0)
    seen = np.bincount(drawn @ (2 ** np.arange(N)[::-1]), minlength=2**N)
    assert seen[~fits].sum() == 0
    test = stats.chisquare(seen[fits], n * law[fits] / law.sum())
    assert test.pvalue > 1e-4
    wrong = stats.chisquare(seen[fits], n * np.full(fits.sum(), 1 / fits.sum()))
    assert wrong.pvalue < 1e-10
    fresh, labels = CHAINS.sample(n, seed=2)
    seen = np.bincount(fresh @ (2 ** np.arange(N)[::-1]), minlength=2**N)
    assert stats.chisquare(seen, n * joint().sum(axis=0)).pvalue > 1e-4
    assert abs((labels == 1).mean() - 0.5) < 0.02


def test_a_sample_does_not_depend_on_the_batch() -> None:
    model = ExactIsing(CHAINS, UniformNoise(2))
    x_t = CHAINS.sample(6, seed=4).x0
    np.testing.assert_array_equal(
        model.sample(x_t, 0.5, seed=1)[:3], model.sample(x_t[:3], 0.5, seed=1)
    )
    np.testing.assert_array_equal(CHAINS.sample(9, 1).x0[:4], CHAINS.sample(4, 1).x0)


@pytest.mark.parametrize(
    "data", [IsingChains.by_field(9, 0.4, 0.3), IsingChains.by_coupling(9, 0.6)]
)
def test_the_divergence_has_the_orders_of_a_weak_signal(data: IsingChains) -> None:
    """The coefficients by enumeration of all chains."""
    strings = np.array(list(itertools.product((0, 1), repeat=data.N)))
    law = data.start[:, strings[:, 0]]
    for i in range(data.N - 1):
        law = law * data.transitions[:, i, strings[:, i], strings[:, i + 1]]
    spins = 2.0 * strings - 1
    means = law @ spins
    covariance = [
        (p[:, None] * spins).T @ spins - np.outer(m, m) for p, m in zip(law, means, strict=True)
    ]
    gap, away = covariance[0] - covariance[1], means[0] - means[1]
    s = 1e-3
    first = 0.5 * s * away @ away - 0.5 * s**2 * away @ covariance[1] @ away
    second = 0.25 * s**2 * (gap**2).sum() - 0.5 * s**3 * np.trace(covariance[1] @ gap @ gap)
    assert weak_signal_divergence(data, s) == pytest.approx(first + second, rel=1e-4)


@pytest.mark.parametrize(
    "data", [IsingChains.by_field(2, 0.4, 0.3), IsingChains.by_coupling(2, 0.6)]
)
def test_the_divergence_of_two_spins_by_quadrature(data: IsingChains) -> None:
    x, w = np.polynomial.hermite_e.hermegauss(40)
    strings = np.array(list(itertools.product((0, 1), repeat=2)))
    law = data.start[:, strings[:, 0]] * data.transitions[:, 0, strings[:, 0], strings[:, 1]]
    z = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    weight = np.outer(w, w).ravel() / (2 * np.pi)
    errors = []
    for s in (0.02, 0.01):
        total = 0.0
        for string, p in zip(strings, law[0], strict=True):
            y = np.sqrt(s) * (2 * string - 1) + z
            x_t = y / np.sqrt(1 + s)
            log = chain_posterior(data, spin_evidence(x_t, s)).log_likelihood
            total += p * weight @ (log[:, 0] - log[:, 1])
        errors.append(abs(weak_signal_divergence(data, s) / total - 1))
    # two orders are right: the relative error falls as the square of the signal
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)


@pytest.mark.parametrize(("make", "slope", "wrong"), [
    (lambda n: IsingChains.by_field(n, 0.3, 0.3), 0.5, 0.25),
    (lambda n: IsingChains.by_coupling(n, 0.5), 0.25, 0.5),
])  # fmt: skip
def test_classes_are_decided_at_half_or_a_quarter_of_log_n(
    make: Any, slope: float, wrong: float
) -> None:
    sizes = np.array([128, 1024])
    half = half_change_divergence()
    found = [speciation_times(make(int(n)), 200, int(n)) for n in sizes]
    law = np.array([speciation_law(make(int(n)), half) for n in sizes])
    turned, error = (np.array([getattr(x, w) for x in found]) for w in ("uturn", "uturn_error"))
    assert (np.abs(turned - law) < 4 * error).all()
    x, w = np.log(sizes), 1 / error**2
    away = x - (w * x).sum() / w.sum()
    spread = (w * away**2).sum() ** -0.5
    fitted = (w * away * turned).sum() * spread**2
    expected = (w * away * law).sum() * spread**2
    assert abs(fitted - expected) < 4 * spread
    assert abs(fitted - wrong) > 6 * spread  # the planted law of the other kind of class
    # of the law itself the slope tends to the limit
    far = [speciation_law(make(n)) for n in (2**13, 2**16)]
    assert (far[1] - far[0]) / np.log(8) == pytest.approx(slope, abs=0.003)


def test_ratio_and_fluctuation_are_those_of_a_gaussian_at_two_nats() -> None:
    data = IsingChains.by_field(500, 0.3, 0.3)
    ratio, beliefs = class_information(data, speciation_law(data), 4000, seed=0)
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - 2) < 4 * error
    assert abs(ratio.mean() - 1) > 6 * error  # planted: decided at one nat
    assert ratio.var() == pytest.approx(4, rel=0.15)
    # Nishimori: the belief in the truth is the mean of the squares
    truth = 1 / (1 + np.exp(-ratio))
    assert abs(truth.mean() - (beliefs**2).sum(axis=1).mean()) < 4 * truth.std() / np.sqrt(4000)


def test_experiments_take_chains() -> None:
    data = IsingChains.by_coupling(24, 1.0)
    x0, labels = data.sample(40, seed=1)
    for noise in (MaskingNoise(2), UniformNoise(2)):
        model = ExactIsing(data, noise)
        turned = UTurn(v=2, m=1, depths=(1,), levels=5).measure(model, (x0, labels, model.classify))
        changed = turned.changed.values[0]
        assert changed[0] < 0.2
        assert 0.25 < changed[-1] < 0.75
        moved = PhaseTransition(v=2, m=1, noise=noise.name, levels=5, refine=0).measure(
            model, (x0, labels, model.classify)
        )
        assert moved.retention.values[0, 0] > moved.retention.values[0, -1]
    vectors = ExactIsing(data, GaussianNoise())
    small = Classification(
        v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 20), independent_budgets=(1, 4),
        times=(0.2,), repeats=2, buckets=4, keep=(2, 1), stages=(10, 20), level_data=4,
        level_samples=4, strata=8, min_scores=5,
    )  # fmt: skip
    shot = small.measure(vectors, (data.vectors(x0), labels))
    assert float(shot.accuracy.max()) > 0.8  # the likelihood's is near one at N = 24, J = 1


class Enumerated:
    """The vector model of :data:`CHAINS`, by the sum over all strings; t is a level as usual."""

    source, noise = "theory", GaussianNoise()

    def __init__(self, label: int | None = None) -> None:
        self.label = label

    def given(self, label: int | None) -> Enumerated:
        return Enumerated(label)

    def law(self, x: np.ndarray, t: float) -> np.ndarray:
        snr = float(self.noise.snr(t))
        log = np.sqrt(snr * (1 + snr)) * x @ (2.0 * STRINGS - 1).T
        weight = np.exp(log - log.max(axis=1, keepdims=True)) * joint()[self.label or 0]
        return np.asarray(weight)

    def denoise(self, x: np.ndarray, t: float) -> np.ndarray:
        weight = self.law(x, t)
        return np.asarray(weight @ (2.0 * STRINGS - 1) / weight.sum(axis=1, keepdims=True))

    sample = features = denoise


def test_the_ratio_of_two_denoisers_is_that_of_the_likelihoods() -> None:
    """The line integral along the path, against sums over all strings; its error is of its steps.

    The sum with D at the left end of every step has another limit, and is rejected.
    """
    model = Enumerated()
    spins = CHAINS.vectors(CHAINS.sample(300, 1).x0)
    errors = []
    for steps in (16, 31, 61):
        t = np.linspace(0.2, 2.0, steps)
        found = denoiser_log_ratio(model, spins, t, seed=2, k=0, l=2)
        level = float(model.noise.level(1 / np.expm1(2 * t[0])))
        first, other = (model.given(k).law(found.x_t[0], level).sum(axis=1) for k in (0, 2))
        prior = np.log(CHAINS.weights[0] / CHAINS.weights[2])
        exact = np.log(first / other) - prior
        errors.append(float(np.sqrt(np.mean((found.ratio[0] - exact) ** 2))))
        back = denoiser_log_ratio(model, spins, t, seed=2, k=2, l=0)
        np.testing.assert_allclose(back.ratio, -found.ratio, atol=1e-10)
    assert errors[2] < 0.12 < 1.2 < exact.std()
    assert errors[0] > 1.6 * errors[1] > 2.5 * errors[2]  # of first order

    snr = 1 / np.expm1(2 * t)
    paths = found.x_t * np.sqrt(snr * (1 + snr))[:, None, None]
    levels = model.noise.level(snr)
    gaps = np.array([model.given(0).denoise(x, u) - model.given(2).denoise(x, u)
                     for x, u in zip(found.x_t, levels, strict=True)])  # fmt: skip
    steps_of_y = paths[:-1] - paths[1:]  # t increases, and the path runs the other way
    start = found.ratio[-1]
    middle = start + (0.5 * (gaps[:-1] + gaps[1:]) * steps_of_y).sum(axis=(0, 2))
    np.testing.assert_allclose(middle, found.ratio[0], atol=1e-9)
    left = start + (gaps[1:] * steps_of_y).sum(axis=(0, 2))
    miss, trusted = (left - exact), (middle - exact)
    assert abs(miss.mean()) > 4 * miss.std() / np.sqrt(len(miss))
    assert abs(trusted.mean()) < 4 * trusted.std() / np.sqrt(len(miss))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: denoiser_log_ratio(object(), np.ones((2, 6)), [1.0], 0), "given"),
    (lambda: denoiser_log_ratio(ExactIsing(CHAINS, MaskingNoise(2)), np.ones((2, 6)), [1.0], 0),
     "masking noise"),
    (lambda: denoiser_log_ratio(VECTORS, np.zeros((2, 6)), [1.0], 0), "-1 and"),
    (lambda: denoiser_log_ratio(VECTORS, np.ones((2, 6)), [1.0, 0.5], 0), "increase"),
    (lambda: denoiser_log_ratio(VECTORS, np.ones((2, 6)), [0.0, 0.5], 0), "above 0"),
    (lambda: denoiser_log_ratio(VECTORS, np.ones((2, 6)), [1.0], 0, 0, 3), "class_label"),
    (lambda: IsingChains([[1.0]], [[0.0]]), "N >= 2"),
    (lambda: IsingChains([[60.0]], [[0.0, 0.0]]), "couplings"),
    (lambda: IsingChains.mattis([[1, 0]], 1.0), "signs"),
    (lambda: ExactIsing(CHAINS, MaskingNoise(3)), "v=2"),
    (lambda: ExactIsing(CHAINS, MaskingNoise(2), 3), "class_label"),
    (lambda: chain_posterior(CHAINS, np.zeros((1, 5, 2))), "N = 6"),
    (lambda: chain_posterior(CHAINS, np.full((1, 6, 2), -np.inf)), "both values"),
    (lambda: weak_signal_divergence(CHAINS, 1.0, 1, 1), "one class"),
    (lambda: speciation_times(CHAINS, 100, 0), "two"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        call()
    one_line(error)


def test_classes_without_a_difference_have_no_speciation() -> None:
    same = IsingChains.mattis([[1, 1, 1], [-1, -1, -1]], 0.5)
    with pytest.raises(NoTransition, match="differ"):
        speciation_law(same)
