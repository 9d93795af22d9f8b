"""Information, entropies, class change: against enumeration of all derivations and all masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from laws import Laws
from oracles import (
    AMBIGUOUS,
    FIXTURE,
    WEIGHTED,
    all_strings,
    enumerate_derivations,
    one_line,
    string_probabilities,
)

from hierdiff import EpsilonNoise, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory.rhm.information import (
    Estimate,
    conditional_entropy,
    free_energy,
    information_slope,
    mmse,
    mutual_information,
    node_information,
    observed,
    pointwise_entropy,
    pointwise_information,
    pointwise_slope,
)
from hierdiff.theory.rhm.uturn import class_change, committor

EXAMPLES = pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED])
T = 0.4


def channel(grammar: Grammar, t: float = T) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joint p(x0, x_t) of uniform noise: the sentences, the observations, the table."""
    law = string_probabilities(grammar)
    strings, v = np.array(list(law)), grammar.v[-1]
    seen = all_strings(v, grammar.n_leaves)
    same = strings[:, None] == seen
    joint = (
        np.where(same, 1 - t + t / v, t / v).prod(axis=2) * np.array(list(law.values()))[:, None]
    )
    return strings, seen, joint


def information(joint: np.ndarray) -> float:
    """Mutual information of a table of probabilities."""
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum())


def exact_information(grammar: Grammar, level: int, t: float = T) -> float:
    levels, prior = enumerate_derivations(grammar)
    v, names = grammar.v[-1], [tuple(z) for z in levels[level].tolist()]
    seen = all_strings(v, grammar.n_leaves)
    likelihood = np.where(levels[-1][:, None] == seen, 1 - t + t / v, t / v).prod(axis=2)
    rows: dict[tuple[int, ...], np.ndarray] = {}
    for name, row in zip(names, prior[:, None] * likelihood, strict=True):
        rows[name] = rows.get(name, np.zeros(len(seen))) + row
    return information(np.array(list(rows.values())))


def close(estimate: Estimate, exact: float) -> bool:
    return abs(estimate.value - exact) < 4 * estimate.error


@EXAMPLES
def test_pointwise_information_is_the_enumerated_log_ratio(grammar: Grammar) -> None:
    noise, levels = UniformNoise(grammar.v[-1]), range(grammar.L + 1)
    truth = grammar.sample(20, seed=1)
    x_t = noise.corrupt(truth.leaves, T, seed=2)
    found = pointwise_information(grammar, noise, x_t, T, truth)
    all_levels, prior = enumerate_derivations(grammar)
    for i, seen in enumerate(x_t):
        like = np.where(all_levels[-1] == seen, 1 - T + T / noise.v, T / noise.v).prod(axis=1)
        for level in levels:
            this = (all_levels[level] == truth.levels[level][i]).all(axis=1)
            given = (prior * like)[this].sum() / prior[this].sum()
            assert found[i, level] == pytest.approx(np.log(given / (prior @ like)), abs=1e-12)


@EXAMPLES
def test_mutual_information_of_every_level(grammar: Grammar) -> None:
    for level in range(grammar.L + 1):
        found = mutual_information(grammar, UniformNoise(grammar.v[-1]), T, 20000, 3, level)
        exact = exact_information(grammar, level)
        assert close(found, exact), (level, found, exact)
        assert found.error < 0.02
        # planted: the information at another noise level
        assert not close(found, exact_information(grammar, level, 1.15 * T))


def test_without_a_level_it_is_the_information_about_the_data() -> None:
    noise = UniformNoise(4)
    assert mutual_information(FIXTURE, noise, T, 50, 0) == mutual_information(
        FIXTURE, noise, T, 50, 0, level=2
    )


@EXAMPLES
def test_entropies(grammar: Grammar) -> None:
    noise = UniformNoise(grammar.v[-1])
    p = np.array(list(string_probabilities(grammar).values()))
    truth = grammar.sample(20000, seed=5)
    surprise = pointwise_entropy(grammar, truth, grammar.L)
    exact = -(p * np.log(p)).sum()
    spread = max(float(surprise.std()), 1e-12)
    assert abs(surprise.mean() - exact) < 4 * spread / np.sqrt(20000)
    left = conditional_entropy(grammar, noise, T, 20000, seed=6)
    assert close(left, exact - information(channel(grammar)[2]))


@EXAMPLES
def test_free_energy_and_denoising_error(grammar: Grammar) -> None:
    noise = UniformNoise(grammar.v[-1])
    strings, _, joint = channel(grammar)
    seen = joint.sum(axis=0)
    assert close(
        free_energy(grammar, noise, T, 20000, 7), float(-(seen @ np.log(seen)) / grammar.n_leaves)
    )
    one_hot = np.eye(noise.v)[strings]
    mean = np.einsum("xy,xib->yib", joint, one_hot) / seen[:, None, None]
    exact = float(seen @ (1 - (mean**2).sum(axis=2)).sum(axis=1))
    assert close(mmse(grammar, noise, T, 20000, 8), exact)


@EXAMPLES
def test_information_of_single_nodes(grammar: Grammar) -> None:
    noise = UniformNoise(grammar.v[-1])
    found = node_information(grammar, noise, T, 20000, 9)
    assert close(found[0], exact_information(grammar, 0))
    strings, _, joint = channel(grammar)
    leaves = []
    for i in range(grammar.n_leaves):
        rows = [joint[strings[:, i] == b].sum(axis=0) for b in range(noise.v)]
        leaves.append(information(np.array(rows)))
    assert close(found[-1], float(np.mean(leaves)))


@EXAMPLES
def test_slope_of_uniform_noise_is_the_derivative_of_the_enumerated_information(
    grammar: Grammar,
) -> None:
    h = 1e-4
    exact = (information(channel(grammar, T + h)[2]) - information(channel(grammar, T - h)[2])) / (
        2 * h
    )
    found = information_slope(grammar, UniformNoise(grammar.v[-1]), T, 20000, 10)
    assert close(found, exact), (found, exact)
    assert found.error < 0.02 * abs(exact)


def subset_entropy(grammar: Grammar, kept: tuple[int, ...]) -> float:
    law: dict[tuple[int, ...], float] = {}
    for x, p in string_probabilities(grammar).items():
        part = tuple(x[i] for i in kept)
        law[part] = law.get(part, 0.0) + p
    values = np.array(list(law.values()))
    return float(-(values * np.log(values)).sum())


def masked_information(grammar: Grammar, t: float) -> float:
    d = grammar.n_leaves
    kept = [x for k in range(d + 1) for x in itertools.combinations(range(d), k)]
    shares = [(1 - t) ** len(x) * t ** (d - len(x)) for x in kept]
    return sum(p * subset_entropy(grammar, x) for p, x in zip(shares, kept, strict=True))


@EXAMPLES
def test_masking_identity_by_enumeration_of_all_masks(grammar: Grammar) -> None:
    """Its integrand must leave leaf i out: with H(x_i | x_t) a factor 1 / t is missing."""
    noise, h = MaskingNoise(grammar.v[-1]), 1e-4
    difference = masked_information(grammar, T + h) - masked_information(grammar, T - h)
    exact = difference / (2 * h)
    found = information_slope(grammar, noise, T, 20000, 11)
    assert close(found, exact), (found, exact)
    assert close(mutual_information(grammar, noise, T, 20000, 12), masked_information(grammar, T))
    _, x_t = observed(grammar, noise, T, 20000, 13)
    all_seen = Estimate.of(pointwise_slope(grammar, noise, x_t, T) * (x_t < 0).mean())
    assert not close(all_seen, exact)


@EXAMPLES
def test_class_change_by_enumeration(grammar: Grammar, laws: Laws) -> None:
    levels, prior = enumerate_derivations(grammar)
    v = grammar.v[-1]
    seen = all_strings(v, grammar.n_leaves)
    like = np.where(levels[-1][:, None] == seen, 1 - T + T / v, T / v).prod(axis=2)
    root = np.eye(grammar.v[0])[levels[0][:, 0]]
    joint = root.T @ (prior[:, None] * like)
    exact = 1 - float((joint**2 / joint.sum(axis=0)).sum())
    found = class_change(grammar, UniformNoise(v), T, 20000, 14)
    laws.holds("class change of a U-turn, 1 - E[sum p^2]", (found.value - exact) / found.error)
    # planted: the chance of missing the most probable class, which no sampler of beliefs has
    wrong = 1 - float((joint.max(axis=0)).sum())
    laws.rejects(
        "class change of a U-turn, 1 - E[sum p^2]", "1 - E[max p]",
        (found.value - wrong) / found.error,
    )  # fmt: skip
    assert abs(found.value - wrong) > 8 * found.error
    assert close(found, exact)
    deeper = class_change(grammar, UniformNoise(v), T, 2000, 14, level=grammar.L)
    assert 0 < deeper.value < 1


def test_committor_is_the_class_posterior_along_the_path() -> None:
    x0 = FIXTURE.sample(6, seed=0)
    noise = MaskingNoise(4)
    path = np.stack([np.full((6, 4), -1), x0.leaves])
    q = committor(FIXTURE, noise, path, [1.0, 0.0])
    np.testing.assert_allclose(q[0], 0.25)
    assert (q[1].argmax(axis=1) == x0.levels[0][:, 0]).all()
    with pytest.raises(InvalidParameter) as error:
        committor(FIXTURE, noise, path, [1.0])
    assert "one per state" in one_line(error)


def test_gaussian_limits() -> None:
    noise = GaussianNoise(4)
    assert mutual_information(FIXTURE, noise, 1.0, 10, 0).value == pytest.approx(0, abs=1e-12)
    near = mutual_information(FIXTURE, noise, 0.02, 10, 0)
    assert near.value == pytest.approx(np.log(32), abs=1e-6)


def test_bad_input_is_said() -> None:
    x_t = np.zeros((1, 4, 4))
    cases = {
        "no channel": lambda: mutual_information(FIXTURE, EpsilonNoise(4), 0.5, 10, 0),
        "at least two": lambda: mutual_information(FIXTURE, MaskingNoise(4), 0.5, 1, 0),
        "outside [0, 1]": lambda: mutual_information(FIXTURE, MaskingNoise(4), 1.5, 10, 0),
        "no level": lambda: mutual_information(FIXTURE, MaskingNoise(4), 0.5, 10, 0, level=3),
        "no slope": lambda: pointwise_slope(FIXTURE, GaussianNoise(4), x_t, 0.5),
        "infinite slope": lambda: information_slope(FIXTURE, UniformNoise(4), 0.0, 10, 0),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error)
