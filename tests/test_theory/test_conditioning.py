"""``given(label)``: the one spelling of conditioning, on exact models and finite chains."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import FIXTURE, one_line

from hierdiff import GaussianNoise, LowRankMixture
from hierdiff.contracts import ConditionalModel, DiffusionModel
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.sims import EmpiricalModel, SimulatedModel
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior
from hierdiff.theory.exact_models import ConditionedRHM, ExactMixture, ExactRHM

NOISE = GaussianNoise(FIXTURE.v[FIXTURE.L])
MODEL = ExactRHM(FIXTURE, NOISE)
X_T = NOISE.corrupt(FIXTURE.sample(5, 0, root=np.zeros(5, int)).leaves, 0.6, 1)
MIXTURE = ExactMixture(LowRankMixture.random(6, 2, 3, delta=0.2, seed=0), GaussianNoise())


def test_a_grammar_given_its_class_is_the_posterior_with_that_root() -> None:
    for c in range(FIXTURE.v[0]):
        exact = posterior(FIXTURE, NOISE.evidence(X_T, 0.6), c).marginals[FIXTURE.L]
        assert MODEL.given(c).denoise(X_T, 0.6) == pytest.approx(exact, rel=1e-12)
    gap = MODEL.given(0).denoise(X_T, 0.6) - MODEL.given(1).denoise(X_T, 0.6)
    assert np.abs(gap).max() > 0.1
    assert np.array_equal(MODEL.given(None).denoise(X_T, 0.6), MODEL.denoise(X_T, 0.6))
    drawn = MODEL.given(0).sample(X_T, 0.6, 2)
    assert (FIXTURE.parse(drawn).levels[0] == 0).all()


def test_a_mixture_given_its_class_is_one_gaussian() -> None:
    x_t = np.random.default_rng(0).standard_normal((4, 6))
    weights = MIXTURE.class_marginals(x_t, 0.5)
    parts = [MIXTURE.given(k).denoise(x_t, 0.5) for k in range(3)]
    mixed = np.einsum("nk,knd->nd", weights, np.stack(parts))
    assert MIXTURE.denoise(x_t, 0.5) == pytest.approx(mixed, rel=1e-9)
    assert MIXTURE.given(1).class_marginals(x_t, 0.5)[:, 1] == pytest.approx(1)
    assert np.array_equal(MIXTURE.given(1).given(None).denoise(x_t, 0.5),
                          MIXTURE.denoise(x_t, 0.5))  # fmt: skip


def test_a_chain_is_conditioned_through_its_model() -> None:
    chain = SimulatedModel(MODEL, 3)
    assert isinstance(chain, ConditionalModel)
    alone = MODEL.given(0).denoise(X_T, 0.6)
    assert np.array_equal(chain.given(0).denoise(X_T, 0.6), alone)
    memory = SimulatedModel(EmpiricalModel(FIXTURE.sample(9, 0).leaves, NOISE), 3)
    with pytest.raises(InvalidParameter, match="EmpiricalModel has no method given") as error:
        memory.given(0)
    one_line(error)


def test_classes_that_do_not_exist() -> None:
    for model in (MODEL, MIXTURE):
        for wrong in (-1, 99, 0.5):
            with pytest.raises(InvalidParameter) as error:
                model.given(wrong)  # type: ignore[arg-type]
            one_line(error)


def test_a_grammar_given_latents_is_the_posterior_with_that_evidence() -> None:
    latents = FIXTURE.parse(FIXTURE.sample(5, 0, root=np.zeros(5, int)).leaves).levels[1]
    model = MODEL.given_latents({1: latents})
    assert isinstance(model, DiffusionModel)
    assert isinstance(model, ConditionalModel)
    asked = tree_posterior(FIXTURE, NOISE.evidence(X_T, 0.6), nodes={1: latents})
    assert np.array_equal(model.denoise(X_T, 0.6), asked.marginals[FIXTURE.L])
    drawn = FIXTURE.parse(model.sample(X_T, 0.6, 0))
    assert np.array_equal(drawn.levels[1], latents)
    assert np.abs(model.denoise(X_T, 0.6) - MODEL.denoise(X_T, 0.6)).max() > 0.1
    assert model.features(X_T, 0.6)["level 2"].shape == (5, 16)
    # the class through the evidence of the root, and by its own word
    seen = ConditionedRHM(FIXTURE, NOISE, {(0, 0): 1}).denoise(X_T, 0.6)
    assert seen == pytest.approx(MODEL.given(1).denoise(X_T, 0.6), abs=1e-13)
    both = ConditionedRHM(FIXTURE, NOISE, {(1, 0): int(latents[0, 0])}).given(0)
    assert both.given(None).grammar.root_prior.tolist() == [1.0, 0.0, 0.0, 0.0]
    # noise on latents: evidence that is weak changes little
    weak = MODEL.given_latents({1: 1e-9 * np.random.default_rng(0).normal(size=(2, 4))})
    assert weak.denoise(X_T, 0.6) == pytest.approx(MODEL.denoise(X_T, 0.6), abs=1e-8)


def test_latents_that_cannot_be() -> None:
    with pytest.raises(InvalidParameter, match="levels run from 0") as error:
        MODEL.given_latents({7: [0]})
    one_line(error)
    with pytest.raises(ImpossibleEvidence) as none:
        ConditionedRHM(FIXTURE, NOISE, {(0, 0): 1}).given(0)
    one_line(none)
    with pytest.raises(InvalidParameter, match="different numbers of samples") as error:
        MODEL.given_latents({1: np.full((4, 2), -1)}).denoise(X_T, 0.6)
    one_line(error)
