"""Cases of learned grammars, of Ising chains, and of speciation."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, GaussianNoise, MaskingNoise
from hierdiff.data.ising_chains import IsingChains
from hierdiff.sims import Speciation
from hierdiff.sims.models import context_clustering, learned_grammar
from hierdiff.theory.exact_models import ExactIsing
from hierdiff.theory.ising import speciation as chains
from hierdiff.theory.ising import transfer_matrices as matrices
from hierdiff.theory.rhm import sample_complexity, token_correlations
from hierdiff.theory.rhm import speciation as levels

EXEMPT = {
    "hierdiff.sims.models.context_clustering.SiblingTuples": "a result; sibling_tuples makes it",
    "hierdiff.theory.ising.transfer_matrices.ChainPosterior": "a result; chain_posterior makes it",
    "hierdiff.theory.ising.speciation.ChainSpeciation": "a result; speciation_times makes it",
    "hierdiff.theory.ising.speciation.PathRatio": "a result; denoiser_log_ratio makes it",
    "hierdiff.theory.rhm.speciation.LevelSpeciation": "a result; level_speciation makes it",
    "hierdiff.sims.models.learned_grammar.LearnedGrammar.exact": "a property",
}

_RHM = RHM(v=4, m=2, s=2, L=2)
_GRAMMAR = _RHM.draw(seed=0)
_NOISE = MaskingNoise(4)
_X = _GRAMMAR.sample(30, seed=1).leaves
_CHAINS = IsingChains.by_field(40, 0.3, 0.3)
_TWO = MaskingNoise(2)


def cases() -> list[Case]:
    """Every class and function, and methods whose arguments have no common name."""
    model = learned_grammar.LearnedGrammar.fit(
        _X, _NOISE, symbols=4, labels=_GRAMMAR.parse(_X).levels[0][:, 0]
    )
    place = "hierdiff.sims.models.learned_grammar"
    one = f"{place}.LearnedGrammar"
    seen = {"x_t": _NOISE.corrupt(_X[:3], 0.3, 2), "t": 0.3}
    own = np.array([[0, 1, 1, 0], [1, 1, 0, 0]])
    x0 = _CHAINS.sample(3, 0).x0
    ising, home = ExactIsing(_CHAINS, _TWO), "hierdiff.data.ising_chains.IsingChains"
    spins = {"x_t": _TWO.corrupt(x0, 0.3, 1), "t": 0.3}
    exact, theory = "hierdiff.theory.exact_models.ExactIsing", "hierdiff.theory.ising"
    pair = {"data": _CHAINS, "k": 0, "l": 1}
    words = ("posterior", "denoise", "features")
    study = Speciation(spins=(32, 64))
    return [
        Case(one, learned_grammar.LearnedGrammar,
             {"learned": model.learned, "noise": _NOISE, "strings": 3, "labelled": False,
              "threads": 1}),
        Case(f"{one}.fit", learned_grammar.LearnedGrammar.fit,
             {"leaves": _X, "noise": _NOISE, "symbols": 4, "s": 2, "labels": None, "times": None,
              "context": "symbols", "em_steps": 0, "smoothing": 0.1, "threads": 1}),
        Case(f"{one}.given", model.given, {"label": 1}),
        Case(f"{one}.own_symbols", model.own_symbols, {"leaves": _X}),
        *(Case(f"{one}.{w}", getattr(model, w), seen) for w in words),
        Case(f"{one}.sample", model.sample, {**seen, "seed": 0}),
        Case(f"{place}.best_match", learned_grammar.best_match, {"table": np.eye(3)}),
        Case(f"{place}.language_mass", learned_grammar.language_mass,
             {"truth": _GRAMMAR, "learned": model.learned}),
        Case(f"{place}.node_divergence", learned_grammar.node_divergence,
             {"truth": _GRAMMAR, "learned": model.learned, "leaves": _X}),
        Case(f"{place}.node_log_probability", learned_grammar.node_log_probability,
             {"grammar": _GRAMMAR, "leaves": _X}),
        Case("hierdiff.sims.models.context_clustering.sibling_tuples",
             context_clustering.sibling_tuples,
             {"symbols": own, "contexts": own, "s": 2, "times": [1.0, 2.0]}),
        Case("hierdiff.sims.models.context_clustering.tuple_clusters",
             context_clustering.tuple_clusters, {"counts": np.ones((3, 1, 2)), "symbols": 2}),
        Case("hierdiff.theory.rhm.sample_complexity.own_symbol_cost",
             sample_complexity.own_symbol_cost,
             {"rhm": _RHM, "height": 1, "context": "tokens", "separation": 1.0}),
        Case("hierdiff.theory.rhm.sample_complexity.weights_divergence",
             sample_complexity.weights_divergence, {"rhm": _RHM, "samples": 100.0}),
        Case("hierdiff.theory.rhm.token_correlations.context_signal",
             token_correlations.context_signal, {"rhm": _RHM, "l": 2, "steps": 1}),
        Case("hierdiff.theory.rhm.speciation.speciation_statistic", levels.speciation_statistic,
             {"beliefs": np.full((3, 2), 0.6), "v": 4, "criterion": "branch"}),
        Case("hierdiff.theory.rhm.speciation.level_speciation", levels.level_speciation,
             {"rhm": _RHM, "noise": _NOISE, "t": [0.2, 0.5, 0.8], "criterion": "branch",
              "size": 100, "copies": 2, "seed": 0}),
        Case("hierdiff.sims.speciation.Speciation.chain", study.chain, {"kind": "mean", "N": 40}),
        Case(home, IsingChains, {"couplings": np.ones((2, 2)), "fields": np.ones((2, 3)),
                                 "weights": [0.5, 0.5]}),
        Case(f"{home}.mattis", IsingChains.mattis, {"templates": [[1, -1]], "J": 0.5, "h": 0.1}),
        Case(f"{home}.by_field", IsingChains.by_field, {"N": 4, "J": 0.5, "h": 0.1}),
        Case(f"{home}.by_coupling", IsingChains.by_coupling, {"N": 4, "J": 0.5}),
        Case(f"{home}.sample", _CHAINS.sample, {"n": 3, "seed": 0}),
        Case(f"{home}.vectors", _CHAINS.vectors, {"x0": x0}),
        Case(exact, ExactIsing, {"data": _CHAINS, "noise": _TWO, "class_label": None}),
        Case(f"{exact}.given", ising.given, {"label": 1}),
        *(Case(f"{exact}.{w}", getattr(ising, w), spins) for w in (*words, "class_marginals")),
        Case(f"{exact}.sample", ising.sample, {**spins, "seed": 0}),
        Case(f"{exact}.classify", ising.classify, {"x0": x0}),
        Case(f"{theory}.transfer_matrices.chain_posterior", matrices.chain_posterior,
             {"data": _CHAINS, "log_evidence": np.zeros((2, 40, 2)), "class_label": 1}),
        Case(f"{theory}.transfer_matrices.spin_evidence", matrices.spin_evidence,
             {"x_t": np.ones((2, 3)), "snr": 1.0}),
        Case(f"{theory}.speciation.weak_signal_divergence", chains.weak_signal_divergence,
             {**pair, "snr": 0.1}),
        Case(f"{theory}.speciation.speciation_law", chains.speciation_law,
             {**pair, "divergence": 2.0}),
        Case(f"{theory}.speciation.class_information", chains.class_information,
             {"data": _CHAINS, "t": 1.0, "n": 4, "seed": 0}),
        Case(f"{theory}.speciation.denoiser_log_ratio", chains.denoiser_log_ratio,
             {"model": ExactIsing(_CHAINS, GaussianNoise()), "spins": _CHAINS.vectors(x0),
              "t": [1.0, 1.5], "seed": 0, "k": 0, "l": 1}),
        Case(f"{theory}.speciation.speciation_times", chains.speciation_times,
             {"data": _CHAINS, "n": 100, "seed": 0}),
    ]  # fmt: skip
