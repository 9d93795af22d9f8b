"""Cases of grammars, noise, exact inference and the annealed theory."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import RHM, Derivations, GaussianNoise, Grammar, MaskingNoise
from hierdiff.data import rhm_variants
from hierdiff.noise import (
    EpsilonNoise,
    SymbolEvidence,
    UniformNoise,
    draw_symbols,
    is_channel,
    network_input,
    noise_name,
    noise_process,
    reverse_probabilities,
)
from hierdiff.theory import belief_propagation
from hierdiff.theory.mixture import feature_snr
from hierdiff.theory.rhm import bounds, broadcast, mean_field, uturn

EXEMPT = {
    f"hierdiff.theory.{name}": "a result; its own functions make it"
    for name in (
        "rhm.mean_field.AnnealedBeliefs",
        "belief_propagation.exact_posterior.NodeBeliefs",
        "belief_propagation.exact_posterior.Posterior",
        "rhm.broadcast.KestenStigum",
        "rhm.information.Estimate",
        "mixture.feature_snr.Decomposition",
        "rhm.density_evolution.OrderParameter",
        "rhm.dynamical_correlations.PopulationSusceptibility",
        "rhm.density_evolution.CriticalLevel",
    )
}
EXEMPT["hierdiff.data.rhm.Grammar.load"] = "reads files; damaged ones have tests of their own"

EXEMPT["hierdiff.noise.register_noise"] = "changes the registry; it has tests of its own"
for _word in ("draw_step", "reverse_step"):
    EXEMPT[f"hierdiff.noise.EpsilonNoise.{_word}"] = "refuses whatever it is given"

_GRAMMAR = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
_DATA = _GRAMMAR.sample(3, seed=1)


def _noise(kind: type, randoms: int) -> list[Case]:
    made = kind(4)
    x_t = made.corrupt(_DATA.leaves, 0.3, 2)
    extra = {"randoms": np.full((3, 4, randoms), 0.5)}
    home = f"{kind.__module__}.{kind.__name__}"
    common = {"x0": _DATA.leaves, "t": 0.3}
    return [
        Case(home, kind, {"v": 4}),
        Case(f"{home}.corrupt", made.corrupt, {**common, "seed": 0}),
        Case(f"{home}.corrupt_with", made.corrupt_with, {**common, **extra}),
        Case(f"{home}.evidence", made.evidence, {"x_t": x_t, "t": 0.3}),
        Case(f"{home}.log_evidence", made.log_evidence, {"x_t": x_t, "t": 0.3}),
        Case(f"{home}.draw", made.draw, {"shape": (3, 4), "rng": np.random.default_rng(0)}),
        *_steps(made, home, x_t),
    ]


def _steps(made: Any, home: str, x_t: Any) -> list[Case]:
    """The reverse step, and what else a process with an observation has."""
    if not is_channel(made):
        return []
    rng = np.random.default_rng(0)
    shape, belief = np.shape(x_t), np.full((3, 4, 4), 0.25)
    step = {"x_t": x_t, "belief": belief, "t": 0.3, "s": 0.2}
    found = [
        Case(f"{home}.draw_step", made.draw_step, {"shape": shape, "s": 0.2, "rng": rng}),
        Case(f"{home}.reverse_step", made.reverse_step,
             {**step, "randoms": made.draw_step(shape, 0.2, rng)}),
        Case(f"{home}.network_input", made.network_input, {"x_t": x_t, "t": 0.3}),
    ]  # fmt: skip
    if hasattr(made, "information_slope"):
        found.append(Case(f"{home}.information_slope", made.information_slope,
                          {"extrinsic": belief, "t": 0.3}))  # fmt: skip
    if hasattr(made, "step_probabilities"):
        found.append(Case(f"{home}.step_probabilities", made.step_probabilities, step))
    return found


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    gauss = GaussianNoise(4)
    found = [case for kind, k in (
        (EpsilonNoise, 0), (MaskingNoise, 1), (UniformNoise, 2), (GaussianNoise, 4),
    ) for case in _noise(kind, k)]  # fmt: skip
    home = "hierdiff.noise.GaussianNoise"
    dense = gauss.log_evidence(gauss.corrupt(_DATA.leaves, 0.3, 2), 0.3)
    seen = belief_propagation.posterior(_GRAMMAR, dense)
    uniforms = [np.full(3, 0.5), np.full((3, 1), 0.5), np.full((3, 2), 0.5)]
    one = Grammar([_GRAMMAR.rules[0]], leaf_vocabulary=4)
    tree = {"leaves": _DATA.leaves}
    level = "hierdiff.data.rhm.Grammar"
    return [
        *found,
        Case(
            f"{home}.corrupt_at_snr", gauss.corrupt_at_snr,
            {"x0": _DATA.leaves, "snr": 2.0, "randoms": np.full((3, 4, 4), 0.5)},
        ),
        Case(
            f"{home}.log_evidence_at_snr", gauss.log_evidence_at_snr,
            {"x_t": np.full((3, 4, 4), 0.5), "snr": 2.0},
        ),
        Case(f"{home}.alpha_bar", gauss.alpha_bar, {"t": 0.3}),
        Case(f"{home}.snr", gauss.snr, {"t": 0.3}),
        Case(f"{home}.level", gauss.level, {"snr": 0.3}),
        Case("hierdiff.noise.noise_process", noise_process, {"name": "masking", "v": 4}),
        Case("hierdiff.noise.noise_name", noise_name, {"name": "noise", "value": "masking"},
             keep=("name",)),
        Case("hierdiff.noise.draw_symbols", draw_symbols,
             {"probabilities": np.full((3, 4), 0.25), "uniforms": np.full(3, 0.5)}),
        Case("hierdiff.noise.network_input", network_input,
             {"noise": UniformNoise(4), "x_t": _DATA.leaves, "t": 0.3}),
        Case("hierdiff.noise.reverse_probabilities", reverse_probabilities,
             {"x_t": _DATA.leaves, "belief": np.full((3, 4, 4), 0.25), "earlier": np.eye(4),
              "step": np.eye(4)}),
        Case(
            "hierdiff.contracts.SymbolEvidence", SymbolEvidence,
            {"symbols": _DATA.leaves, "log_match": 0.0, "log_other": -1.0, "v": 4},
        ),
        Case("hierdiff.data.rhm.RHM", RHM, {"v": 4, "m": 2, "s": 2, "L": 2, "n_classes": 3}),
        Case(
            level, Grammar,
            {
                "rules": list(_GRAMMAR.rules), "weights": list(_GRAMMAR.weights),
                "root_prior": _GRAMMAR.root_prior, "leaf_vocabulary": 4,
            },
        ),
        Case(f"{level}.sample", _GRAMMAR.sample, {"n": 3, "seed": 0, "root": 1}),
        Case(f"{level}.n_nodes", _GRAMMAR.n_nodes, {"level": 1}),
        Case(f"{level}.parse", _GRAMMAR.parse, tree),
        Case(f"{level}.is_valid", _GRAMMAR.is_valid, tree),
        Case(f"{level}.valid_per_level", _GRAMMAR.valid_per_level, tree),
        Case(f"{level}.log_prob", _GRAMMAR.log_prob, tree),
        Case(f"{level}.to_networkx", _GRAMMAR.to_networkx, {"depth": 1}),
        Case(f"{level}.save", _GRAMMAR.save, {"path": "g.npz"}),
        Case("hierdiff.data.derivations.Derivations", Derivations, {"levels": _DATA.levels}),
        Case("hierdiff.data.rhm_variants.layered", rhm_variants.layered,
             {"v": [2, 4, 4], "m": [2, 2], "s": [2, 2], "seed": 0}),
        Case("hierdiff.data.rhm_variants.zipf", rhm_variants.zipf,
             {"rhm": RHM(4, 2, 2, 2), "a": 0.5, "seed": 0, "levels": [1]}),
        Case("hierdiff.data.rhm_variants.zipf_weights",
             rhm_variants.zipf_weights, {"m": 3, "a": 0.5}),
        Case(
            "hierdiff.theory.belief_propagation.exact_posterior.posterior",
            belief_propagation.posterior,
            {
                "grammar": _GRAMMAR, "log_evidence": dense, "root": [0, 1, 2], "levels": (0,),
                "dtype": np.float64, "threads": 1,
            },
        ),
        Case(
            "hierdiff.theory.belief_propagation.exact_posterior.true_beliefs",
            belief_propagation.true_beliefs,
            {"grammar": _GRAMMAR, "log_evidence": dense, "truth": _DATA, "threads": 1},
        ),
        Case(
            "hierdiff.theory.belief_propagation.exact_posterior.denoise_symbols",
            belief_propagation.denoise_symbols,
            {"grammar": _GRAMMAR, "noise": gauss, "x_t": np.full((3, 4, 4), 0.5), "t": 0.3},
        ),
        Case("hierdiff.theory.belief_propagation.exact_posterior.specialise",
             belief_propagation.specialise, {"grammar": _GRAMMAR, "dtype": np.float64}),
        Case("hierdiff.theory.belief_propagation.exact_posterior.Posterior.sample", seen.sample,
             {"seed": 0, "n_samples": 2}),
        Case("hierdiff.theory.belief_propagation.exact_posterior.Posterior.sample_with",
             seen.sample_with,
             {"uniforms": uniforms}),
        Case("hierdiff.theory.rhm.mean_field.effective_epsilon", mean_field.effective_epsilon,
             {"noise": gauss, "t": 0.3}),
        Case("hierdiff.theory.rhm.mean_field.annealed_beliefs", mean_field.annealed_beliefs,
             {"rhm": RHM(4, 2, 2, 2), "epsilon": 0.3, "root_belief": 0.5}),
        # the function given is the caller's own; its errors are too
        Case("hierdiff.theory.mixture.feature_snr.snr_mean_field", feature_snr.snr_mean_field,
             {"classes": 3, "rank": 2, "delta": 0.2, "sigma": 0.5,
              "exponent": feature_snr.mean_field_exponent}, keep=("exponent",)),
        Case("hierdiff.theory.rhm.uturn.committor", uturn.committor,
             {"grammar": _GRAMMAR, "noise": MaskingNoise(4),
              "path": np.stack([np.full((3, 4), -1), _DATA.leaves]), "times": [1.0, 0.0]}),
        Case("hierdiff.theory.rhm.bounds.support_threshold", bounds.support_threshold,
             {"rhm": RHM(8, 3, 2, 1), "tolerance": 1e-3}),
        Case("hierdiff.theory.rhm.broadcast.kesten_stigum", broadcast.kesten_stigum,
             {"grammar": one}),
    ]  # fmt: skip
