"""Cases of evidence at any node, learning of weights, derivatives of the denoiser."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, GaussianNoise, UniformNoise
from hierdiff.theory import exact_models
from hierdiff.theory.belief_propagation import denoiser_derivatives, rule_learning, tree_inference

_HOME = "hierdiff.theory.belief_propagation"
EXEMPT = {
    f"{_HOME}.tree_inference.{name}": "a result; its own functions make it"
    for name in ("Explanations", "TreePosterior")
}
EXEMPT[f"{_HOME}.rule_learning.LearnedWeights"] = "a result; its own functions make it"

_GRAMMAR = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
_NOISE = GaussianNoise(4)
_X_T = _NOISE.corrupt(_GRAMMAR.sample(3, seed=1).leaves, 0.3, 2)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    dense = _NOISE.log_evidence(_X_T, 0.3)
    asked = tree_inference.tree_posterior(_GRAMMAR, dense)
    given_model = exact_models.ConditionedRHM(_GRAMMAR, UniformNoise(4), {(1, 0): np.zeros(4)})
    given = {
        "grammar": _GRAMMAR, "log_evidence": dense, "root": [0, 1, 2],
        "nodes": {1: np.full((3, 2), -1), (1, 0): np.zeros(4)}, "threads": 1,
    }  # fmt: skip
    seen = {"grammar": _GRAMMAR, "noise": _NOISE, "x_t": _X_T, "t": 0.3, "root": [0, 1, 2],
            "nodes": {(1, 0): np.zeros(4)}}  # fmt: skip
    one = f"{_HOME}.tree_inference.TreePosterior"
    return [
        Case(f"{_HOME}.tree_inference.tree_posterior", tree_inference.tree_posterior, given),
        Case("hierdiff.theory.exact_models.ConditionedRHM", exact_models.ConditionedRHM,
             {"grammar": _GRAMMAR, "noise": UniformNoise(4), "nodes": {(1, 0): np.zeros(4)},
              "threads": 1}),
        Case("hierdiff.theory.exact_models.ConditionedRHM.given", given_model.given, {"label": 1}),
        Case("hierdiff.theory.exact_models.ExactRHM.given_latents",
             exact_models.ExactRHM(_GRAMMAR, _NOISE).given_latents,
             {"nodes": {(1, 0): np.zeros(4)}}),
        Case(f"{one}.sample", asked.sample, {"seed": 0, "n_samples": 2}),
        Case(f"{one}.k_best", asked.k_best, {"k": 2}),
        Case(f"{one}.pair_beliefs", asked.pair_beliefs, {"pairs": [(0, 1), ((1, 0), 3)]}),
        Case(f"{one}.covariance_product", asked.covariance_product,
             {"direction": np.ones((4, 4))}),
        Case(f"{one}.subtree", asked.subtree, {"level": 1, "node": 1}),
        Case(f"{one}.log_posterior", asked.log_posterior,
             {"derivations": _GRAMMAR.sample(3, seed=1)}, clean=True),
        Case(f"{_HOME}.rule_learning.fit_weights", rule_learning.fit_weights,
             {**given, "fit_prior": False, "num_steps": 500, "tolerance": 1e-3}),
        *(
            Case(f"{_HOME}.denoiser_derivatives.{f.__name__}", f, seen)
            for f in (
                denoiser_derivatives.denoiser_jacobian, denoiser_derivatives.denoiser_spectrum,
                denoiser_derivatives.score_divergence,
            )
        ),
        Case(f"{_HOME}.denoiser_derivatives.static_correlations",
             denoiser_derivatives.static_correlations, {"asked": asked}),
        Case(f"{_HOME}.denoiser_derivatives.correlation_length",
             denoiser_derivatives.correlation_length,
             {"grammar": _GRAMMAR, "correlations": np.array([0.3, 0.2, 0.1])}),
    ]  # fmt: skip
