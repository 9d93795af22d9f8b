"""Grammars whose trees vary, in the experiments of the contract."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, GaussianNoise, MaskingNoise
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.sims import Alignment, ChangedTree, Classification, PhaseTransition, UTurn
from hierdiff.sims.alignment import ComparedObjects
from hierdiff.sims.metrics.forward_backward import overlap, start_data
from hierdiff.sims.metrics.odd_one_out import TripletTask
from hierdiff.theory import odd_one_out, tree_similarity
from hierdiff.theory.exact_models import ExactPCFG, ExactRHM

GRAMMAR = RHM(6, 2, 2, 3).draw(0)
DATA = GRAMMAR.sample(200, 1)
SAME = PCFG.of(GRAMMAR)
VARYING = PCFG.random(6, {2: 1, 3: 1}, 3, 0)


def test_retention_of_one_arity_is_the_belief_of_belief_propagation() -> None:
    experiment = PhaseTransition(v=6, m=2, L=3, levels=4, refine=0, data=200)
    exact = ExactPCFG(SAME, MaskingNoise(6))
    trees = exact.posterior(DATA.leaves, 0.0).sample(0)
    found = experiment.measure(exact, trees)
    want = experiment.measure(ExactRHM(GRAMMAR, MaskingNoise(6)), DATA)
    z = (found.retention - want.belief) / np.hypot(found.retention_error, want.belief_error)
    assert float(np.abs(z[:, 1:3]).max()) < 4
    assert (
        float(np.abs((found.retention - want.belief.shift(t=1)) / found.retention_error).max()) > 8
    )


def test_latents_of_samples_are_those_of_the_likeliest_tree() -> None:
    trees = VARYING.sample(20, 2, length=16)
    model = ExactPCFG(VARYING, MaskingNoise(6))
    start = start_data(model, trees, 20, 0)
    assert [level.shape for level in start.latents] == [(20, 16)] * 4
    kept = overlap(start, trees.x0)
    assert kept.valid.all()
    assert kept.share[:, 3].min() == 1
    assert kept.share[:, :3].mean() > 0.9  # ambiguous strings have several trees
    broken = trees.x0.copy()
    broken[:, 0] = (broken[:, 0] + 1 + np.arange(20) % 5) % 6
    found = overlap(start, broken)
    assert not found.valid.all()
    assert (found.share[~found.valid][:, :3] == 0).all()
    assert np.allclose(found.share[:, 3], 15 / 16)


def test_errors_of_classes_are_those_of_the_same_grammar() -> None:
    small = Classification(
        v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 20), independent_budgets=(1, 4),
        times=(0.2,), repeats=2, buckets=4, keep=(2, 1), stages=(10, 20), level_data=4,
        level_samples=4, strata=8, min_scores=5,
    )  # fmt: skip
    grammar = RHM(4, 2, 2, 2).draw(0)
    data, noise = grammar.sample(40, 1), GaussianNoise(4)
    one = small.measure(ExactRHM(grammar, noise), (data.leaves, data.labels))
    same = small.measure(ExactPCFG(PCFG.of(grammar), noise), (data.leaves, data.labels))
    np.testing.assert_allclose(same.accuracy, one.accuracy, atol=1e-12)


def test_odd_one_out_by_shared_constituents() -> None:
    trees = VARYING.sample(40, 3, length=16)
    similarity = tree_similarity(trees.covers(), [1.0, 0.5, 0.25, 0.1])
    rng = np.random.default_rng(0)
    triplets = np.array([rng.choice(40, 3, replace=False) for _ in range(300)])
    task = TripletTask(triplets, odd_one_out(similarity, triplets, 0.1))
    experiment = Alignment(
        m=2, L=3, weights=(1.0, 0.5, 0.25, 0.1), objects=40, triplets=300, grammars=2,
        t=(0.1, 0.9), ties="shared", n_readout=100,
    )  # fmt: skip
    model = ExactPCFG(VARYING, GaussianNoise(6))
    ds = experiment.measure(model, ComparedObjects(trees.x0, task))
    means = ds.layer_accuracy.mean([d for d in ds.layer_accuracy.dims if d != "t"])
    assert float(means[0]) > float(means[1]) + 0.03
    assert float(means[0]) > 0.4


def test_what_cannot_be_asked_is_told_in_one_line() -> None:
    model = ExactPCFG(VARYING, MaskingNoise(6))
    general = ExactPCFG(PCFG.from_text("S -> S S [0.4] | 'a' [0.6]"), MaskingNoise(1))
    with pytest.raises(InvalidParameter, match="vary in shape") as error:
        ChangedTree(v=6, m=2, L=3).measure(model)
    one_line(error)
    with pytest.raises(InvalidParameter, match="no levels") as error:
        UTurn(v=6, m=2).measure(general)
    one_line(error)
    with pytest.raises(InvalidParameter, match="equal lengths") as error:
        PhaseTransition(v=6, m=2, L=3).measure(model, VARYING.sample(9, 0))
    one_line(error)
    with pytest.raises(InvalidParameter, match="of one length") as error:
        VARYING.sample(9, 0).covers()
    one_line(error)
