r"""A ledger of laws: what theory predicts and what sampling finds, under one budget of errors.

Each law is an equation with a number on either side.  One side follows from theory in closed form,
or is the other side of an identity; the other is a mean over independent units (grammars, data,
draws) with its standard error.  A law is broken if its two-sided p is below

.. math:: p < \alpha / M, \qquad p = 2\,P(\tau_\nu > |z|), \quad z = (\text{found} - \text{theory})
    / \text{error},                                                                            (1)

for M laws (Bonferroni), where :math:`\tau_\nu` is Student's law of the units (the normal one where
the error is known or the units are thousands).  With :math:`\alpha = 10^{-3}` an installation
without a fault is accused by one seed of a thousand at most.  Beside each law stands a plausible
wrong one, which the same numbers must reject by (1): a ledger that cannot reject proves nothing.

==============  ====================================================================
name            what it is
==============  ====================================================================
``LAWS``        all laws by name
``verify``      measure them (finished ones are read) and judge
``judge``       one law, from its five numbers
``ledger``      the table that is printed
``sound``       whether every law holds and every wrong one is rejected
``as_json``     the same for programs
==============  ====================================================================

References: as in the docstrings of the functions that are tested (``hierdiff cite``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import checked, count, shown, unchecked
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, MaskingNoise, UniformNoise, has_snr
from hierdiff.seeds import stream
from hierdiff.sims.models.block_unmasking import UnmaskingModel
from hierdiff.sims.models.learned_grammar import LearnedGrammar, node_divergence
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.exact_posterior import (
    denoise_symbols,
    posterior,
)
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.ising.speciation import (
    class_information,
    speciation_law,
    weak_signal_divergence,
)
from hierdiff.theory.mixture.collapse import (
    mutual_information_mixture,
    mutual_information_sampled,
)
from hierdiff.theory.mixture.covariance_windows import windowed_gaussian, windowed_variance
from hierdiff.theory.mixture.feature_snr import bayes_accuracy, snr, snr_mean_field
from hierdiff.theory.mixture.posterior import class_posterior, denoise
from hierdiff.theory.mixture.random_features import feature_constants
from hierdiff.theory.mixture.speciation import log_ratio_moments, speciation_orthogonal
from hierdiff.theory.mixture.time_change import combined_sigma
from hierdiff.theory.mixture.training_time import FeatureFlow, equivalent_flow, flow_curves
from hierdiff.theory.odd_one_out_task import (
    expected_accuracy,
    label_accuracy,
    noise_ceiling,
    odd_one_out,
    tree_similarity,
)
from hierdiff.theory.rhm.broadcast import kesten_stigum, kesten_stigum_annealed
from hierdiff.theory.rhm.information import pointwise_information, pointwise_slope
from hierdiff.theory.rhm.locality import excess_loss, tree_windows
from hierdiff.theory.rhm.next_token import context_entropies
from hierdiff.theory.rhm.sample_complexity import kernel_accuracy, weights_divergence
from hierdiff.theory.rhm.sampler_laws import sampler_log_prob
from hierdiff.theory.rhm.token_correlations import concentration, pair_joint
from hierdiff.theory.rhm.tree_pairs import occluded_text, tree_pair
from hierdiff.theory.rhm.truncated_grammars import annealed_validity, truncated, validity
from hierdiff.theory.rhm.unmasking_schedules import unmasking_curve
from hierdiff.theory.zero_shot.captioned_scenes import CaptionedScenes
from hierdiff.theory.zero_shot.contrastive import canonical_spectrum, spectral_scores
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses, design_accuracy
from hierdiff.theory.zero_shot.scores import log_ratio
from hierdiff.theory.zero_shot.weightings import snr_at

__all__ = [
    "ALPHA",
    "LAWS",
    "Finding",
    "Law",
    "Measured",
    "as_json",
    "judge",
    "ledger",
    "sound",
    "verify",
]

Array = NDArray[np.float64]

ALPHA = 1e-3
"""Largest probability that any law of the ledger is called broken although all hold."""


class Measured(NamedTuple):
    """The numbers of a law.

    Attributes
    ----------
    value, prediction : float
        Found by sampling, and predicted.
    error : float
        Standard error of their difference.
    freedom : float
        Degrees of freedom of the error; inf for the normal law.
    wrong : float
        What the planted wrong law predicts.
    """

    value: float
    prediction: float
    error: float
    freedom: float
    wrong: float


class Law(NamedTuple):
    """A law of the ledger.

    Attributes
    ----------
    question : str
        The one of the five questions it belongs to.
    text : str
        The law in words.
    wrong : str
        The planted wrong one.
    numbers : callable
        Takes a seed; returns :class:`Measured`.
    """

    question: str
    text: str
    wrong: str
    numbers: Callable[[int], Measured]


class Finding(NamedTuple):
    """A law with its verdict.

    Attributes
    ----------
    name, question, text : str
    value, prediction, error, freedom : float
        As in :class:`Measured`.
    z, p : float
        Distance in standard errors, and the probability of a larger one, eq. (1).
    holds : bool
    wrong : str
    wrong_prediction, wrong_z : float
    rejected : bool
        Whether the same numbers reject the wrong law.
    """

    name: str
    question: str
    text: str
    value: float
    prediction: float
    error: float
    freedom: float
    z: float
    p: float
    holds: bool
    wrong: str
    wrong_prediction: float
    wrong_z: float
    rejected: bool


LAWS: dict[str, Law] = {}
"""All laws by name, in the order of the ledger."""


def _law(question: str, text: str, wrong: str) -> Callable[[Any], Any]:
    """Enter a function into the ledger under its name."""

    def enter(measure: Callable[[int], Measured]) -> Callable[[int], Measured]:
        name = measure.__name__.strip("_").replace("_", "-")
        LAWS[name] = Law(question, text, wrong, measure)
        return measure

    return enter


def _pairs(value: Array, prediction: Array, wrong: Array) -> Measured:
    """Means over units of the two sides of an identity, with the error of their difference."""
    n = len(value)
    error = float(np.std(value - prediction, ddof=1) / math.sqrt(n))
    return Measured(
        float(value.mean()), float(prediction.mean()), error, n - 1.0, float(wrong.mean())
    )


def _units(value: Array, prediction: float, wrong: float) -> Measured:
    """A mean over units against a number."""
    return _pairs(value, np.full(len(value), prediction), np.full(len(value), wrong))


def _share(hits: float, n: int, p: float, wrong: float) -> Measured:
    """A share of n independent trials against a probability."""
    return Measured(hits / n, p, math.sqrt(p * (1 - p) / n), math.inf, wrong)


# --------------------------------------------------------------------- phase transition: grammars

_GRAMMARS, _DATA = 40, 60


def _root_beliefs(noise: Any, t: float, seed: int, name: str) -> list[tuple[Array, Array]]:
    """Belief in the true class, and in all classes, of every grammar: [data], [data, v]."""
    found = []
    for g in range(_GRAMMARS):
        grammar = RHM(16, 4, 2, 6).draw(stream(seed, name, "grammar", g))
        truth = grammar.sample(_DATA, stream(seed, name, "data", g))
        x_t = noise.corrupt(truth.leaves, t, stream(seed, name, "noise", g))
        p = posterior(grammar, noise.evidence(x_t, t), levels=(0,)).marginals[0][:, 0]
        found.append((p[np.arange(_DATA), truth.levels[0][:, 0]], p))
    return found


@_law("phase transition", "E p(true class) = E sum p^2, masking", "the largest belief")
def _nishimori(seed: int) -> Measured:
    found = _root_beliefs(MaskingNoise(16), 0.35, seed, "nishimori")
    true, squares, largest = (
        np.array([f(*x) for x in found])
        for f in (
            lambda a, _: a.mean(), lambda _, p: (p**2).sum(1).mean(), lambda _, p: p.max(1).mean()
        )
    )  # fmt: skip
    return _pairs(true, squares, largest)


@_law("phase transition", "squared loss of a window = difference of beliefs, uniform noise",
      "the loss in nats")  # fmt: skip
def _window(seed: int) -> Measured:
    noise, found = UniformNoise(8), []
    for g in range(_GRAMMARS):
        grammar = RHM(8, 3, 2, 4).draw(stream(seed, "window grammar", g))
        small, whole = (
            excess_loss(grammar, noise, 0.3, tree_windows(grammar, h), 80,
                        stream(seed, "window data", g))
            for h in (2, 4)
        )  # fmt: skip
        gap = whole.belief.value - small.belief.value
        found.append((small.square.value, gap, small.nats.value))
    square, beliefs, nats = np.array(found).T
    return _pairs(square, beliefs, nats)


@_law("phase transition", "squared singular values of leaves and class = order parameter",
      "the belief in the class")  # fmt: skip
def _class_spectrum(seed: int) -> Measured:
    noise, found = MaskingNoise(8), []
    for g in range(_GRAMMARS):
        grammar = RHM(8, 3, 2, 4).draw(stream(seed, "spectrum grammar", g))
        pair = tree_pair(grammar, noise, 0.5, (0, 0), (0, 0), n=200, text=True,
                         seed=stream(seed, "spectrum views", g))  # fmt: skip
        truth = grammar.sample(400, stream(seed, "spectrum data", g))
        x_t = noise.corrupt(truth.leaves, 0.5, stream(seed, "spectrum noise", g))
        p = posterior(grammar, noise.evidence(x_t, 0.5), levels=(0,)).marginals[0][:, 0]
        belief = p[np.arange(400), truth.levels[0][:, 0]].mean()
        found.append(((pair.values**2).sum() / 7 - 1 / 7, (8 * belief - 1) / 7, belief))
    values, order, belief = np.array(found).T
    return _pairs(values, order, belief)


@_law("representation", "squared error of Gaussian windows = variance that they leave",
      "that of the window of all sites")  # fmt: skip
def _gaussian_window(seed: int) -> Measured:
    places = np.arange(10)
    near, every = np.abs(places[:, None] - places) <= 1, np.ones((10, 10), bool)
    root = np.linalg.cholesky(0.9 ** np.abs(places[:, None] - places))
    # a sample of this covariance exactly, from which windows take theirs
    data = np.vstack([root.T, -root.T]) * math.sqrt(10)
    clean = stream(seed, "window data").standard_normal((4000, 10)) @ root.T
    noisy = clean + 0.6 * stream(seed, "window noise").standard_normal(clean.shape)
    error = ((windowed_gaussian(data, noisy, 0.6, near) - clean) ** 2).sum(axis=1)
    left, least = (float(windowed_variance(data, 0.6, w).sum()) for w in (near, every))
    return _units(error, left, least)


@_law("phase transition", "squared singular values of a text of level 2 = mean of 1 / p(seen)",
      "symbols of the level independent")  # fmt: skip
def _text_spectrum(seed: int) -> Measured:
    v, kept, found = 4, 0.7, []
    for g in range(_GRAMMARS):
        grammar = RHM(v, 2, 2, 2).draw(stream(seed, "text grammar", g))
        rng = stream(seed, "text strings", g)
        strings = grammar.sample(2 * _DATA, rng).leaves
        seen = rng.random((*strings.shape, 1)) < kept
        with np.errstate(divide="ignore"):
            evidence = np.where(seen, np.log(np.eye(v))[strings], 0.0)
        drawn = np.exp(-posterior(grammar, evidence, levels=()).log_evidence).mean()
        found.append(((occluded_text(grammar, 2, kept).values ** 2).sum(), drawn))
    exact, drawn = np.array(found).T
    # independent symbols have v**4 strings, eq. (6)
    return _pairs(drawn, exact, np.full(len(found), (1 + (v - 1) * kept) ** 4))


@_law("phase transition", "surprise of the true class = entropy of the belief, Gaussian noise",
      "the entropy of all classes alike")  # fmt: skip
def _surprise(seed: int) -> Measured:
    found = _root_beliefs(GaussianNoise(16), 0.3, seed, "surprise")
    true = np.array([-np.log(a).mean() for a, _ in found])
    entropy = np.array([-(p * np.log(np.where(p > 0, p, 1))).sum(1).mean() for _, p in found])
    return _pairs(true, entropy, np.full(len(found), math.log(16)))


@_law("phase transition", "class change of a U-turn = 1 - E sum p^2, uniform noise",
      "1 less the largest belief")  # fmt: skip
def _class_change(seed: int) -> Measured:
    noise, t, rows = UniformNoise(16), 0.2, []
    for g in range(_GRAMMARS):
        grammar = RHM(16, 4, 2, 6).draw(stream(seed, "uturn grammar", g))
        truth = grammar.sample(3 * _DATA, stream(seed, "uturn data", g))
        x_t = noise.corrupt(truth.leaves, t, stream(seed, "uturn noise", g))
        found = posterior(grammar, noise.evidence(x_t, t))
        back = found.sample(stream(seed, "uturn back", g))
        p = found.marginals[0][:, 0]
        changed = (back.levels[0] != truth.levels[0]).mean()
        rows.append((changed, 1 - (p**2).sum(1).mean(), 1 - p.max(1).mean()))
    return _pairs(*np.array(rows).T)


def _slope_law(noise: Any, a: float, b: float, factor: float, seed: int) -> Measured:
    """I(b) - I(a) against the integral of its slope by three nodes, per datum."""
    n, name = 3000, f"slope {noise.name}"
    grammar = RHM(16, 4, 2, 5).draw(stream(seed, name, "grammar"))
    truth = grammar.sample(n, stream(seed, name, "data"))
    randoms = noise.draw(truth.leaves.shape, stream(seed, name, "noise"))
    gaussian = has_snr(noise)
    nodes, weights = np.polynomial.legendre.leggauss(3)

    def seen(t: float) -> Any:
        return noise.corrupt_with(truth.leaves, t, randoms)

    def information(t: float) -> Array:
        return pointwise_information(grammar, noise, seen(t), t, truth, (grammar.L,))[:, 0]

    total = np.zeros(n)
    for w, x in zip(weights, (a + b) / 2 + (b - a) / 2 * nodes, strict=True):
        if gaussian:  # x is a signal-to-noise ratio, and the slope half the error
            t = float(noise.level(x))
            mean = denoise_symbols(grammar, noise, seen(t), t)
            total += w * 0.5 * (1 - (mean**2).sum(axis=2)).sum(axis=1)
        else:
            total += w * pointwise_slope(grammar, noise, seen(float(x)), float(x))
    total *= (b - a) / 2
    ends = [float(noise.level(x)) if gaussian else x for x in (a, b)]
    return _pairs(information(ends[1]) - information(ends[0]), total, factor * total)


@_law(
    "phase transition", "-dI/dt = sum of H(x_i | unmasked others), masking", "a slope 10 % larger"
)
def _masking_identity(seed: int) -> Measured:
    return _slope_law(MaskingNoise(16), 0.3, 0.5, 1.1, seed)


@_law("phase transition", "I-MMSE on grammars, dI/dSNR = MMSE / 2", "without the half")
def _i_mmse_grammars(seed: int) -> Measured:
    return _slope_law(GaussianNoise(16), 4.0, 6.0, 2.0, seed)


@_law("phase transition", "beliefs are a martingale, E[p_s | x_t] = p_t for s < t",
      "the other direction")  # fmt: skip
def _martingale(seed: int) -> Measured:
    noise, s, t, n = MaskingNoise(16), 0.2, 0.35, 1000
    grammar = RHM(16, 4, 2, 6).draw(stream(seed, "martingale grammar"))
    truth = grammar.sample(n, stream(seed, "martingale data"))
    x_s = np.asarray(noise.corrupt(truth.leaves, s, stream(seed, "martingale noise")))
    more = stream(seed, "martingale more").random(x_s.shape) < (t - s) / (1 - s)
    early, late = (
        posterior(grammar, noise.evidence(x, u), levels=(0,)).marginals[0][:, 0]
        for x, u in ((x_s, s), (np.where(more, -1, x_s), t))
    )
    return _pairs((early * late).sum(1), (late**2).sum(1), (early**2).sum(1))


@_law("phase transition", "Kesten-Stigum number on average over rules, F'(1/v)",
      "rules drawn with repetition, s/m")  # fmt: skip
def _kesten_stigum(seed: int) -> Measured:
    rhm = RHM(6, 4, 3, 2)
    found = [kesten_stigum(rhm.draw(stream(seed, "kesten", g))).singular.mean() for g in range(300)]
    return _units(np.array(found), kesten_stigum_annealed(rhm), rhm.s / rhm.m)


@_law("phase transition", "share of right classes = belief, where it is 1/2 or more, uniform noise",
      "certainty")  # fmt: skip
def _calibration(seed: int) -> Measured:
    rows = []
    for _, p in (found := _root_beliefs(UniformNoise(16), 0.25, seed, "calibration")):
        rows.append(p.max(1))
    top = np.concatenate(rows)
    right = np.concatenate([a == p.max(1) for a, p in found]).astype(float)
    sure = top >= 0.5
    return _pairs(right[sure], top[sure], np.ones(int(sure.sum())))


@_law("phase transition", "Ising chains in opposite fields: E log-likelihood ratio at t_S = 2 nats",
      "1 nat")  # fmt: skip
def _chains_mean(seed: int) -> Measured:
    chains = IsingChains.by_field(300, 0.3, 0.3)
    ratio, _ = class_information(chains, speciation_law(chains), 2000, stream(seed, "chains, mean"))
    return _units(ratio, 2.0, 1.0)


@_law("phase transition", "Ising chains of opposite couplings: divergence by the covariance, SNR^2",
      "twice as much, 1/2 in the place of 1/4")  # fmt: skip
def _chains_covariance(seed: int) -> Measured:
    chains, t = IsingChains.by_coupling(600, 0.5), 1.9
    ratio, _ = class_information(chains, t, 2000, stream(seed, "chains, covariance"))
    expected = weak_signal_divergence(chains, 1 / math.expm1(2 * t))
    return _units(ratio, expected, 2 * expected)


# ---------------------------------------------------------------------- representation: mixtures

_CASE = (3, 5, 0.2, 0.3257)
_N = 30_000


def _mixture(seed: int, name: str) -> tuple[LowRankMixture, Array, NDArray[Any], Array]:
    """A mixture with K = 3, d = 5, delta = 0.2: itself, data, classes, noisy data."""
    K, d, delta, sigma = _CASE
    mixture = LowRankMixture.random(K * d, d, K, delta=delta, seed=stream(seed, name, "bases"))
    x0, k = mixture.sample(_N, stream(seed, name, "data"))
    return mixture, x0, k, x0 + sigma * stream(seed, name, "noise").standard_normal(x0.shape)


@_law("representation", "SNR of denoised features, exact one-dimensional law", "mean field")
def _feature_snr(seed: int) -> Measured:
    mixture, _, k, x = _mixture(seed, "snr")
    units = _snr_units(mixture, denoise(mixture, x, _CASE[3]), k)
    return _units(units, float(snr(*_CASE)), float(snr_mean_field(*_CASE)))


@_law("representation", "two noisy copies read together: SNRs of the noises add", "the better one")
def _combined_levels(seed: int) -> Measured:
    mixture, x0, k, _ = _mixture(seed, "combined")
    levels = (0.6, 0.8)
    both = combined_sigma(levels)
    copies = [
        x0 + s * stream(seed, "combined copy", i).standard_normal(x0.shape)
        for i, s in enumerate(levels)
    ]
    mean = both**2 * sum(y / s**2 for y, s in zip(copies, levels, strict=True))
    units = _snr_units(mixture, denoise(mixture, mean, both), k)
    law, alone = (float(snr(*_CASE[:3], s)) for s in (both, min(levels)))
    return _units(units, law, alone)


@_law("representation", "E[x0 | two noisy copies] = D(weighted mean), orthogonal to its error",
      "the mean with equal weights")  # fmt: skip
def _combined_mean(seed: int) -> Measured:
    mixture, x0, _, _ = _mixture(seed, "orthogonal")
    low, high = 0.4, 1.0
    both = combined_sigma((low, high))
    y, z = (
        x0 + s * stream(seed, "orthogonal copy", i).standard_normal(x0.shape)
        for i, s in enumerate((low, high))
    )
    alone = denoise(mixture, y, low)
    weighted = denoise(mixture, both**2 * (y / low**2 + z / high**2), both)
    equal = denoise(mixture, (y + z) / 2, math.hypot(low, high) / 2)
    return _pairs(*((x * alone).sum(1) for x in (x0, weighted, equal)))


def _snr_units(mixture: LowRankMixture, mean: Array, k: NDArray[Any]) -> Array:
    """SNR of features [n, D], as independent units without the bias of a ratio."""
    parts = 30

    def ratio(rows: NDArray[Any]) -> float:
        out = []
        for c, basis in enumerate(mixture.bases):
            f = mean[rows][k[rows] == c]
            kept = ((f @ basis) ** 2).sum()
            out.append(kept / ((f**2).sum() - kept))
        return float(np.mean(out))

    part = np.arange(_N) % parts  # jackknife: pseudovalues are units without the ratio's bias
    left = np.array([ratio(part != b) for b in range(parts)])
    return np.asarray(parts * ratio(part >= 0) - (parts - 1) * left)


@_law("representation", "accuracy of Bayes given x_t, closed form", "20 % more noise")
def _bayes_accuracy(seed: int) -> Measured:
    mixture, _, k, x = _mixture(seed, "bayes")
    K, d, delta, sigma = _CASE
    hits = (class_posterior(mixture, x, sigma).argmax(1) == k).sum()
    wrong = float(bayes_accuracy(K, d, delta, 1.2 * sigma))
    return _share(float(hits), _N, float(bayes_accuracy(*_CASE)), wrong)


@_law("representation", "E<x0, D> = E|D|^2", "0.9 E|D|^2")
def _overlap(seed: int) -> Measured:
    mixture, x0, _, x = _mixture(seed, "overlap")
    mean = denoise(mixture, x, _CASE[3])
    energy = (mean**2).sum(1)
    return _pairs((x0 * mean).sum(1), energy, 0.9 * energy)


@_law("representation", "MMSE + E|D|^2 = E|x0|^2", "energy without the residual")
def _energy(seed: int) -> Measured:
    mixture, x0, _, x = _mixture(seed, "energy")
    K, d, delta, sigma = _CASE
    mean = denoise(mixture, x, sigma)
    balance = ((x0 - mean) ** 2).sum(1) + (mean**2).sum(1)
    return _units(balance, d * (1 + (K - 1) * delta**2), float(d))


@_law("representation", "I-MMSE on mixtures, dI/d(1/sigma^2) = MMSE / 2", "without the half")
def _i_mmse_mixtures(seed: int) -> Measured:
    mixture, x0, _, x = _mixture(seed, "mmse")
    K, d, delta, sigma = _CASE
    error = ((x0 - denoise(mixture, x, sigma)) ** 2).sum(1)
    rate, h = sigma**-2, 1e-3 * sigma**-2
    ends = [mutual_information_mixture(K, d, delta, (rate + q) ** -0.5) for q in (-h, h)]
    slope = (ends[1] - ends[0]) / (2 * h)
    return _units(error / 2, slope, 2 * slope)


@_law("representation", "mutual information of data and noisy data, closed form", "classes known")
def _information(seed: int) -> Measured:
    K, d, delta, _ = _CASE
    sigma = 0.8
    mixture = LowRankMixture.random(K * d, d, K, delta=delta, seed=stream(seed, "info bases"))
    found = mutual_information_sampled(mixture, sigma, _N, seed=stream(seed, "info"))
    known = mutual_information_mixture(1, d, 0.0, sigma)
    known += (K - 1) * d / 2 * math.log1p(delta**2 / sigma**2)
    law = mutual_information_mixture(K, d, delta, sigma)
    return Measured(found.value, law, found.error, math.inf, known)


@_law("representation", "at speciation the log odds fluctuate by their mean", "variance = mean")
def _speciation(seed: int) -> Measured:
    d, delta = 20, 0.2
    sigma = speciation_orthogonal(d, delta).sigma
    if sigma is None:  # cannot be: two classes of this rank have one
        return Measured(math.nan, math.nan, math.nan, math.nan, math.nan)
    mixture = LowRankMixture.random(2 * d, d, 2, delta=delta, seed=stream(seed, "speciation"))
    mean = log_ratio_moments(mixture, 0, 1, sigma)[0]
    a, b = 1 + sigma**2, delta**2 + sigma**2
    energy = stream(seed, "speciation energies").chisquare(d, (2, 100_000))
    odds = (1 / b - 1 / a) / 2 * (a * energy[0] - b * energy[1])
    return _units((odds - mean) ** 2, mean**2, mean)


# ------------------------------------------------------------------------------- classification


def _classes(seed: int, name: str) -> GaussianClasses:
    """Two low-rank classes with means and an ambient residual."""
    bases = LowRankMixture.random(4, 2, 2, seed=stream(seed, name, "bases")).bases
    means = stream(seed, name, "means").standard_normal((2, 4))
    return GaussianClasses.of(
        LowRankMixture(bases, delta=0.4, residual="ambient", means=means, weights=[0.6, 0.4])
    )


@_law("representation", "loss of a rare, wide class along the training of random features",
      "one class of the mean variance")  # fmt: skip
def _feature_training(seed: int) -> Measured:
    tau = [200.0]
    narrow, wide, mean = (feature_constants(np.tanh, 0.1, x) for x in (0.3, 2.0, 0.64))
    flow = FeatureFlow((narrow, wide), 8.0, 4.0, (0.8, 0.2))
    rows = []
    for k in range(12):  # two sizes, so that the part of order 1/d drops out
        small, large = (
            equivalent_flow(flow, tau, d, stream(seed, "feature training", k, d)).test[0, 1]
            for d in (20, 40)
        )
        rows.append(2 * large - small)
    wrong = flow_curves(FeatureFlow((mean,), 8.0, 4.0), tau).test[0, 0]
    return _units(np.array(rows), float(flow_curves(flow, tau).test[0, 1]), float(wrong))


@_law("classification", "log-likelihood ratio = -1/2 integral of denoising errors over SNR",
      "without the half")  # fmt: skip
def _likelihood_ratio(seed: int) -> Measured:
    classes, replicas = _classes(seed, "ratio"), 60
    x0 = classes.sample(20, stream(seed, "ratio data"))[0]
    ratios = np.diff(classes.log_density(x0))[:, 0]
    # a datum between the classes has a ratio of zero, with the half and without
    clear = int(np.abs(ratios).argmax())
    x0, exact = x0[[clear]], float(ratios[clear])
    found = log_ratio(classes, x0, seed=stream(seed, "ratio noise"), replicas=replicas)
    return Measured(
        float(found.estimate[0, 1]), exact, float(found.error[0, 1]), replicas - 1.0, 2 * exact
    )


@_law("classification", "covariance of the denoising errors of two classes, shared noise",
      "no covariance")  # fmt: skip
def _error_covariance(seed: int) -> Measured:
    classes, ratio = _classes(seed, "covariance"), 2.0
    x0 = classes.sample(1, stream(seed, "covariance data"))[0]
    noise = stream(seed, "covariance noise").standard_normal((_N, 4))
    errors = classes.errors(np.repeat(x0, _N, 0), noise, ratio)
    centred = errors - classes.expected_error(x0, ratio)
    law = float(classes.error_covariance(x0, ratio)[0, 0, 1])
    return _units(centred[:, 0] * centred[:, 1], law, 0.0)


@_law("classification", "accuracy at a finite budget, two Gaussian classes of one covariance",
      "without the noise of the samples")  # fmt: skip
def _finite_budget(seed: int) -> Measured:
    lam, gap = np.array([1.0, 0.3, 0.05]), np.array([1.0, 0.5, 0.2])
    classes = GaussianClasses([gap, np.zeros(3)], np.diag(lam))
    t, weight = np.array([0.3, 0.5, 0.7]), np.array([1.0, 2.0, 1.0])
    rng, n = stream(seed, "budget"), 4 * _N
    x0 = gap + np.sqrt(lam) * rng.standard_normal((n, 3))
    score = np.zeros((n, 2))
    for w, u in zip(weight, t, strict=True):
        score += w * classes.errors(x0, rng.standard_normal(x0.shape), float(snr_at(u)))
    law = float(design_accuracy(lam, gap, weight, snr_at(t)))
    wrong = float(design_accuracy(lam, gap, np.repeat(weight, 50), snr_at(np.repeat(t, 50))))
    return _share(float((score[:, 0] < score[:, 1]).sum()), n, law, wrong)


@_law("classification", "contrastive binding at width 25, closed form", "ties are lost")
def _contrastive_binding(seed: int) -> Measured:
    v, kept, n = 5, 0.8, 4 * _N
    scenes = CaptionedScenes((v, v), kept)
    scores = spectral_scores(canonical_spectrum(scenes.joint), 25, seed=0)
    rng = stream(seed, "scenes")
    captions = rng.integers(len(scenes.captions), size=n)
    seen = scenes.captions[captions]
    seen = np.where(rng.random(seen.shape) < kept, seen, rng.integers(v, size=seen.shape))
    looks = np.sort(seen[..., 0] * v + seen[..., 1], axis=1)
    # images are numbered as pairs of looks in order
    images = looks[:, 0] * v**2 - looks[:, 0] * (looks[:, 0] - 1) // 2 + looks[:, 1] - looks[:, 0]
    wrong = scenes.tasks["colour exchanged"][captions, 0]
    gap = scores[images, captions] - scores[images, wrong]
    right, other = kept + (1 - kept) / v, (1 - kept) / v
    none = 1 - right - other
    up, down = right**2 + 2 * right * none, other**2 + 2 * other * none
    lost = up**2 + down**2
    hits = (gap > 1e-9) + 0.5 * (np.abs(gap) <= 1e-9)
    return _units(hits, lost + (1 - (up + down) ** 2) / 2, lost)


# --------------------------------------------------------------------------------- composition


@_law("composition", "share of valid strings of a truncated grammar", "uniform symbols at the cut")
def _validity(seed: int) -> Measured:
    rhm = RHM(8, 3, 2, 3)
    grammar = rhm.draw(stream(seed, "validity grammar"))
    leaves = truncated(grammar, 1).sample(_N, stream(seed, "validity data")).leaves
    law, wrong = float(validity(grammar, 1)[0]), float(annealed_validity(rhm, 1)[0])
    return _share(float(grammar.is_valid(leaves).sum()), _N, law, wrong)


@_law("composition", "chance coincidence of two contexts, q/v", "tokens used alike, 1/v")
def _coincidence(seed: int) -> Measured:
    rhm, found = RHM(16, 4, 2, 3), []
    for g in range(300):
        grammar = rhm.draw(stream(seed, "coincidence", g))
        joint = pair_joint(grammar, (rhm.L - 1, 0), (rhm.L, 2))
        found.append((joint.sum(axis=0) ** 2).sum())
    return _units(np.array(found), concentration(rhm, rhm.L), 1 / rhm.v)


@_law("composition", "divergence of a grammar with counted weights = K / 2P",
      "K = all weights, sums of one or not")  # fmt: skip
def _weights_divergence(seed: int) -> Measured:
    # the law is that of weights under the right symbols: of 1,000 strings the learner takes one
    # symbol for another about once in a hundred sets, of 4,000 never in 420
    rhm, P = RHM(6, 2, 2, 3), 4000
    grammar = rhm.draw(stream(4, "weights grammar"))
    test = grammar.sample(500, stream(seed, "weights test")).leaves
    found = []
    for i in range(30):
        drawn = grammar.sample(P, stream(seed, "weights data", i)).leaves
        model = LearnedGrammar.fit(drawn, MaskingNoise(6), symbols=6, smoothing=0.0, threads=1)
        found.append(node_divergence(grammar, model.learned, test)[0].mean())
    every = rhm.v * rhm.m * rhm.L / (2 * P)
    return _units(np.array(found), weights_divergence(rhm, P), every)


@_law("composition", "accuracy of an additive kernel by counting", "coordinates seen together")
def _additive_kernel(seed: int) -> Measured:
    n, labels, rng = 8, 16, stream(seed, "kernel")
    found = []
    for _ in range(2000):
        cells = rng.permutation(n * n)[:labels]
        found.append(len(set(cells // n)) * len(set(cells % n)) / n**2)
    law, wrong = (float(kernel_accuracy(k, n, labels)) for k in ("additive", "product"))
    return _units(np.array(found), law, wrong)


# ----------------------------------------------------------------------------------- alignment


def _triplets(n: int, k: int, rng: np.random.Generator) -> NDArray[Any]:
    """K triplets of different objects."""
    return np.stack([rng.choice(n, 3, replace=False) for _ in range(k)])


@_law("alignment", "odd-one-out accuracy of the label alone, closed form",
      "ties guessed in an eighth")  # fmt: skip
def _label_alone(seed: int) -> Measured:
    found = []
    for g in range(40):
        grammar = RHM(8, 3, 2, 2).draw(stream(seed, "label grammar", g))
        data = grammar.sample(300, stream(seed, "label data", g))
        rows = _triplets(300, 1000, stream(seed, "label triplets", g))
        responses = odd_one_out(tree_similarity(data, [1.0, 0, 0]), rows, 0.22)
        same = (data.levels[0] == data.levels[0].T).astype(float)
        found.append(expected_accuracy(same, rows, responses).mean())
    law = label_accuracy(8, 1.0, 0.22)
    return _units(np.array(found), law, law + 1 / 24)


@_law("alignment", "best accuracy against observers = E max P", "agreement of two observers")
def _noise_ceiling(seed: int) -> Measured:
    grammar = RHM(8, 3, 2, 3).draw(stream(seed, "ceiling grammar"))
    data = grammar.sample(300, stream(seed, "ceiling data"))
    rows = _triplets(300, 4000, stream(seed, "ceiling triplets"))
    P = odd_one_out(tree_similarity(data, [1.0, 0.6, 0.3, 0.1]), rows, 0.22)
    drawn = (stream(seed, "ceiling answers").random((len(P), 1)) > P.cumsum(1)[:, :2]).sum(1)
    hits = (drawn == P.argmax(1)).astype(float)
    best = P.max(1)
    # of given triplets the scatter is that of the answers alone
    error = math.sqrt((best * (1 - best)).sum()) / len(P)
    agree = float((P**2).sum(1).mean())
    return Measured(float(hits.mean()), noise_ceiling(P), error, math.inf, agree)


# ---------------------------------------------------------------------------- parallel unmasking


@_law("parallel unmasking", "entropies of the next leaf, random order, sum to log(number of data)",
      "the class forgotten")  # fmt: skip
def _unmasking_sum(seed: int) -> Measured:
    rhm = RHM(8, 3, 2, 4)
    curve = unmasking_curve(rhm.draw(stream(seed, "curve")), 1000, stream(seed, "curve data"))
    law = rhm.log_n_data
    return _units(curve.by_datum.sum(axis=1), law, law - math.log(rhm.v))


@_law("parallel unmasking", "share of valid strings = E q/p, four blocks spread over the tree",
      "exp(-KL)")  # fmt: skip
def _valid_blocks(seed: int) -> Measured:
    grammar, n, sizes = RHM(8, 3, 2, 4).draw(stream(seed, "blocks")), 3000, (4, 4, 4, 4)
    exact = ExactRHM(grammar, MaskingNoise(8), threads=1)
    sampler = UnmaskingModel(exact, grammar, sizes, "spread")
    made = sampler.sample(np.full((n, 16), -1), 1.0, stream(seed, "blocks drawn"))
    valid = grammar.is_valid(made).astype(float)
    x = grammar.sample(n, stream(seed, "blocks data")).leaves
    gap = sampler_log_prob(grammar, x, "spread", sizes) - grammar.log_prob(x)
    ratio = np.exp(gap)
    error = math.sqrt((valid.var(ddof=1) + ratio.var(ddof=1)) / n)
    return Measured(float(valid.mean()), float(ratio.mean()), error, math.inf, math.exp(gap.mean()))


@_law("parallel unmasking", "entropies of the next leaf, left to right, sum to log(number of data)",
      "three leaves of context")  # fmt: skip
def _next_token_sum(seed: int) -> Measured:
    rhm = RHM(8, 3, 2, 4)
    grammar, rng = rhm.draw(stream(seed, "tokens")), stream(seed, "tokens data")
    found = context_entropies(grammar, (3, 15), 1000, rng).by_datum.sum(axis=1)
    return _units(found[:, 1], rhm.log_n_data, float(found[:, 0].mean()))


# ----------------------------------------------------------------------------------- the ledger


def _names(name: str, value: Any) -> list[str]:
    """Names of laws; None for all."""
    if value is None:
        return list(LAWS)
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidParameter(f"{name} = {shown(value)} must be a list of names of laws, or None")
    for word in value:
        if not isinstance(word, str) or word not in LAWS:
            raise InvalidParameter(
                f"{name} = {shown(word)} is no law; the laws are {', '.join(LAWS)}"
            )
    return list(dict.fromkeys(value))


def _numbers(name: str, seed: int) -> dict[str, Any]:
    """A law as a task."""
    return {"measured": np.array(LAWS[name].numbers(seed), float)}


@checked(measured=unchecked)
def judge(name: str, measured: Sequence[float] | NDArray[Any]) -> Finding:
    """A law with its verdict, by eq. (1).

    Parameters
    ----------
    name : str
        In :data:`LAWS`.
    measured : Measured
        Its five numbers.

    Returns
    -------
    Finding

    Raises
    ------
    InvalidParameter
        For an unknown law, or anything but five numbers.

    Notes
    -----
    Validity: the error is a standard error of independent units; a number that is none breaks the
    law.

    Examples
    --------
    >>> found = judge("nishimori", Measured(0.500, 0.498, 0.001, 39, 0.52))
    >>> found.holds, found.rejected, round(found.z, 1), round(found.wrong_z, 1)
    (True, True, 2.0, -20.0)
    """
    from scipy import stats

    law = LAWS[_names("name", [name])[0]]
    try:
        value, prediction, error, freedom, wrong = (float(x) for x in measured)
    except (TypeError, ValueError):
        raise InvalidParameter(
            f"measured = {shown(measured)} must be five numbers; give Measured(value, prediction, "
            "error, freedom, wrong)"
        ) from None
    z, far = ((value - x) / error if error > 0 else math.nan for x in (prediction, wrong))

    def tail(score: float) -> float:
        score = abs(score)
        one = stats.norm.sf(score) if math.isinf(freedom) else stats.t.sf(score, freedom)
        return float(2 * one)

    level = ALPHA / len(LAWS)
    return Finding(
        name, law.question, law.text, value, prediction, error, freedom, z, tail(z),
        tail(z) >= level, law.wrong, wrong, far, tail(far) < level,
    )  # fmt: skip


@checked(laws=_names, workers=count, out=unchecked)
def verify(
    laws: Sequence[str] | None = None,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    resume: bool = True,
) -> list[Finding]:
    """Measure the laws of the ledger and judge them.

    Parameters
    ----------
    laws : sequence of str, optional
        Names in :data:`LAWS`; default all.
    seed : int
        The same numbers for the same seed.
    out : path-like, optional
        Folder for finished laws, which are read when the command is given again.
    workers : int, optional
        Laws at a time; default all processors.
    resume : bool
        Use finished laws of the same code.

    Returns
    -------
    list of Finding

    Raises
    ------
    InvalidParameter
        For an unknown law, or a folder that cannot be written.

    Notes
    -----
    Validity: the probability that any of them is called broken although all hold is at most
    ``ALPHA``, whichever are chosen.  All take less than a minute on two
    cores, most of it to load compiled code.

    Examples
    --------
    >>> [found] = verify(["additive-kernel"])
    >>> found.holds, found.rejected
    (True, True)
    """
    names = _names("laws", laws)
    tasks = [Task(_numbers, (name, seed), {"law": name, "seed": seed}) for name in names]
    place = None if out is None else results.writable_folder(out)
    folder = None if place is None else results.task_folder(place, "verify", resume)
    found = run_tasks(tasks, folder, workers=workers, name="verify")
    return [judge(name, x["measured"]) for name, x in zip(names, found, strict=True)]


def _findings(name: str, value: Any) -> list[Finding]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(x, Finding) for x in value):
        raise InvalidParameter(f"{name} = {shown(value)} must be a list of Finding, as of verify()")
    return list(value)


@checked(found=_findings)
def sound(found: Sequence[Finding]) -> bool:
    """Whether every law holds and every planted wrong one is rejected.

    Parameters
    ----------
    found : sequence of Finding

    Returns
    -------
    bool

    Notes
    -----
    Validity: at the level of eq. (1).

    Examples
    --------
    >>> sound([judge("nishimori", Measured(0.500, 0.490, 0.001, 39, 0.52))])
    False
    """
    return all(x.holds and x.rejected for x in found)


@checked(found=_findings)
def ledger(found: Sequence[Finding]) -> str:
    """The laws as a table: what was found, z, verdict, and what the wrong law has.

    Parameters
    ----------
    found : sequence of Finding

    Returns
    -------
    str

    Notes
    -----
    Validity: any list of findings.

    Examples
    --------
    >>> print(ledger([judge("nishimori", Measured(0.500, 0.498, 0.001, 39, 0.52))]))
    phase transition
      E p(true class) = E sum p^2, masking
        found 0.5000 ± 0.0010, theory 0.4980, z = 2.0: holds
        wrong law, the largest belief: 0.5200, z = -20.0: rejected
    1 law, 0 broken, 0 without the power to reject; false alarm in all at most 0.001
    """
    lines, question = [], ""
    for x in found:
        if x.question != question:
            question = x.question
            lines.append(question)
        # two digits of the error
        resolved = 0 < x.error < math.inf
        digits = min(max(1 - math.floor(math.log10(x.error)), 0), 8) if resolved else 4
        numbers = (x.value, x.error, x.prediction, x.wrong_prediction)
        value, error, prediction, wrong = (f"{y:.{digits}f}" for y in numbers)
        verdict = "holds" if x.holds else "BROKEN"
        power = "rejected" if x.rejected else "NOT REJECTED"
        lines += [
            f"  {x.text}",
            f"    found {value} ± {error}, theory {prediction}, z = {x.z:.1f}: {verdict}",
            f"    wrong law, {x.wrong}: {wrong}, z = {x.wrong_z:.1f}: {power}",
        ]
    broken, weak = sum(not x.holds for x in found), sum(not x.rejected for x in found)
    laws = "1 law" if len(found) == 1 else f"{len(found)} laws"
    lines.append(
        f"{laws}, {broken} broken, {weak} without the power to reject; false alarm in all at most "
        f"{ALPHA:g}"
    )
    return "\n".join(lines)


@checked(found=_findings)
def as_json(found: Sequence[Finding]) -> dict[str, Any]:
    """The ledger in a form that JSON keeps; numbers that are not finite are None.

    Parameters
    ----------
    found : sequence of Finding

    Returns
    -------
    dict
        ``alpha``, ``sound`` and ``laws``, a mapping for each finding.

    Notes
    -----
    Validity: any list of findings.

    Examples
    --------
    >>> as_json([judge("nishimori", Measured(0.500, 0.498, 0.001, 39, 0.52))])["sound"]
    True
    """
    rows: list[Mapping[str, Any]] = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v
         for k, v in x._asdict().items()}
        for x in found
    ]  # fmt: skip
    return {"alpha": ALPHA, "sound": sound(found), "laws": rows}
