"""Expectation maximisation: the likelihood rises, clean counts, errors that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line
from strategies import grammars

from hierdiff import RHM, Grammar, UniformNoise
from hierdiff.data.rhm_variants import zipf
from hierdiff.errors import InvalidParameter, NotConverged
from hierdiff.theory.belief_propagation.rule_learning import fit_weights
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior


@settings(max_examples=20, deadline=None)
@given(grammars(weighted=True), st.integers(0, 2**32 - 1), st.floats(0.2, 0.9))
def test_the_likelihood_rises_at_every_step(g: Grammar, seed: int, t: float) -> None:
    noise = UniformNoise(g.v[g.L])
    x_t = noise.corrupt(g.sample(30, seed).leaves, t, seed + 1)
    start = Grammar(g.rules, leaf_vocabulary=g.leaf_vocabulary)
    found = fit_weights(start, noise.evidence(x_t, t), fit_prior=True, num_steps=3000)
    rounding = 1e-11 * np.abs(found.log_likelihood).max()
    assert (np.diff(found.log_likelihood) >= -rounding).all()
    # and stands still where the counts give the weights back
    again = tree_posterior(found.grammar, noise.evidence(x_t, t))
    assert again.log_evidence.sum() == pytest.approx(found.log_likelihood[-1], rel=1e-9)


def test_clean_strings_are_counted() -> None:
    g = zipf(RHM(6, 3, 2, 3), 1.0, seed=0)
    data = g.sample(2000, 1)
    found = fit_weights(Grammar(g.rules), nodes={3: data.leaves})
    assert len(found.log_likelihood) == 3  # one step; the next gains nothing
    for level in range(g.L):
        tuples = data.levels[level + 1].reshape(2000, -1, 2)
        uses = np.zeros((6, 3))
        for a, k in np.ndindex(6, 3):
            same = (tuples == g.rules[level][a, k]).all(axis=2) & (data.levels[level] == a)
            uses[a, k] = same.sum()
        share = uses / uses.sum(axis=1, keepdims=True)
        assert found.weights[level] == pytest.approx(share, abs=1e-12)
        error = np.sqrt(share * (1 - share) / uses.sum(axis=1, keepdims=True))
        # clean scores of different symbols and levels are uncorrelated on average only
        assert found.standard_errors[level] == pytest.approx(error, rel=0.35)


def test_errors_cover_and_fall_with_the_number_of_strings() -> None:
    g = zipf(RHM(6, 3, 2, 2), 1.0, seed=0)
    noise = UniformNoise(6)
    scores, errors = [], []
    for seed in range(12):
        x_t = noise.corrupt(g.sample(2000, 2 * seed).leaves, 0.3, 2 * seed + 1)
        found = fit_weights(Grammar(g.rules), noise.evidence(x_t, 0.3), num_steps=2000)
        errors.append(np.concatenate([e.ravel() for e in found.standard_errors]))
        gaps = [(a - b).ravel() for a, b in zip(found.weights, g.weights, strict=True)]
        scores.append(np.concatenate(gaps) / errors[-1])
    z = np.array(scores)
    assert 0.85 < z.std() < 1.15
    assert abs(z.mean(axis=0)).max() * np.sqrt(12) < 4.5
    # planted: the errors of clean strings promise too much
    uses = np.concatenate([
        np.repeat(2000 * g.n_nodes(x) / 6, 18) for x in range(g.L)
    ])  # fmt: skip
    pi = np.concatenate([w.ravel() for w in g.weights])
    clean = np.sqrt(pi * (1 - pi) / uses)
    assert (z * np.array(errors) / clean).std() > 1.3
    x_t = noise.corrupt(g.sample(500, 1).leaves, 0.3, 2)
    few = fit_weights(Grammar(g.rules), noise.evidence(x_t, 0.3), num_steps=2000)
    ratio = np.concatenate([e.ravel() for e in few.standard_errors]) / np.mean(errors, axis=0)
    assert np.median(ratio) == pytest.approx(2, rel=0.15)


def test_weights_about_which_nothing_is_known_have_no_error() -> None:
    g = Grammar([[[[0, 1], [1, 0]], [[1, 1], [0, 0]]]])
    found = fit_weights(g, nodes={(0, 0): np.zeros(20, int), 1: np.tile([0, 1], (20, 1))})
    assert found.weights[0].tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert np.isinf(found.standard_errors[0][1]).all()


def test_what_does_not_converge_says_so() -> None:
    g = RHM(4, 2, 2, 2).draw(0)
    noise = UniformNoise(4)
    x_t = noise.corrupt(g.sample(50, 1).leaves, 0.6, 2)
    with pytest.warns(NotConverged, match="raise num_steps"):
        found = fit_weights(g, noise.evidence(x_t, 0.6), num_steps=1, tolerance=0.0)
    assert not found.converged
    for wrong in ({"num_steps": 0}, {"tolerance": -1.0}, {"nodes": {5: [0]}}):
        with pytest.raises(InvalidParameter) as error:
            fit_weights(g, **wrong)
        one_line(error)
