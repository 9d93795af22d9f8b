"""Cases of grammars whose trees vary in shape, and of inference on them."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import MaskingNoise
from hierdiff.data.pcfg import PCFG
from hierdiff.data.rhm import Grammar
from hierdiff.theory.exact_models import ExactPCFG
from hierdiff.theory.pcfg import inside_outside, known_tree, next_token

EXEMPT = {
    "hierdiff.data.parse_trees.Parses": "trees that a grammar makes; tests of their own read them",
    "hierdiff.data.pcfg.Binarised": "a result; the grammar makes it",
    **{
        f"hierdiff.theory.pcfg.inside_outside.{word}": "a result; its own functions make it"
        for word in ("BestParses", "NodePosterior", "ParsePosterior", "WeightFit")
    },
    "hierdiff.theory.pcfg.chart.Chart": "the arguments of kernels; chart_of makes it",
    "hierdiff.theory.pcfg.chart.chart_of": "inside the package; it takes checked arguments alone",
}

_G = PCFG.layered([{2: [[[0, 1]], [[1, 1]]], 3: [[[0, 0, 1]], [[1, 0, 1]]]}])
_NOISE = MaskingNoise(2)
_X = _G.sample(3, 0, length=3).x0
_X_T = _NOISE.corrupt(_X, 0.3, 1)
_RULES = [(0, (0, 0), 0.4), (0, (1,), 0.6)]


def cases() -> list[Case]:
    """Every class and function, and methods whose arguments have no common name."""
    home, theory = "hierdiff.data.pcfg.PCFG", "hierdiff.theory.pcfg"
    found = inside_outside.parse_posterior(_G, np.zeros((3, 3, 2)))
    model, place = ExactPCFG(_G, _NOISE), "hierdiff.theory.exact_models.ExactPCFG"
    x_t = {"x_t": _X_T, "t": 0.3}
    return [
        Case(home, PCFG, {"rules": _RULES, "n_symbols": 1, "v": 1}),
        Case(f"{home}.layered", PCFG.layered, {"rules": [{2: np.array([[[0, 1]]])}]}),
        Case(f"{home}.random", PCFG.random, {"v": 3, "rules": {2: 1}, "L": 2, "seed": 0}),
        Case(f"{home}.of", PCFG.of, {"grammar": Grammar([[[[0, 1]]]])}),
        Case(f"{home}.from_text", PCFG.from_text, {"text": "S -> 'a' [1.0]"}),
        Case(f"{home}.sample", _G.sample, {"n": 3, "seed": 0, "length": 3}),
        Case(f"{home}.check_length", _G.check_length, {"length": 3}),
        Case(f"{home}.length_table", _G.length_table, {"longest": 3}),
        Case(f"{home}.length_law", _G.length_law, {"longest": 3}),
        Case(f"{home}.reweighted", _G.reweighted, {"weights": np.array(_G.weights)}),
        Case(f"{home}.given", _G.given, {"label": 1}),
        Case(f"{theory}.inside_outside.parse_posterior", inside_outside.parse_posterior,
             {"grammar": _G, "log_evidence": np.zeros((3, 3, 2)), "root": None, "threads": 1}),
        Case(f"{theory}.inside_outside.valid_strings", inside_outside.valid_strings,
             {"grammar": _G, "strings": _X}),
        Case(f"{theory}.inside_outside.derived_nodes", inside_outside.derived_nodes,
             {"grammar": _G, "strings": _X, "trees": _G.sample(3, 0, length=3)}),
        Case(f"{theory}.inside_outside.fit_weights", inside_outside.fit_weights,
             {"grammar": _G, "evidence": [np.zeros((3, 3, 2))], "steps": 2,
              "pseudo_count": 0.5, "fit_prior": True}),
        Case(f"{theory}.inside_outside.ParsePosterior.spans", found.spans, {"level": 1}),
        Case(f"{theory}.inside_outside.ParsePosterior.sample", found.sample,
             {"seed": 0, "n_samples": 2}),
        Case(f"{theory}.inside_outside.ParsePosterior.node_posterior", found.node_posterior,
             {"trees": _G.sample(3, 0, length=3)}),
        Case(f"{theory}.next_token.prefix_log_probability", next_token.prefix_log_probability,
             {"grammar": _G, "strings": _X}),
        Case(f"{theory}.next_token.next_token_law", next_token.next_token_law,
             {"grammar": _G, "strings": _X, "length": 3}),
        Case(f"{theory}.known_tree.known_tree_beliefs", known_tree.known_tree_beliefs,
             {"grammar": _G, "trees": _G.sample(3, 0, length=3),
              "log_evidence": np.zeros((3, 3, 2))}),
        Case(f"{theory}.known_tree.known_tree_dynamics", known_tree.known_tree_dynamics,
             {"v": 3, "rules": {2: 1, 3: 1}, "L": 1, "noise": MaskingNoise(3), "t": 0.5,
              "length": 3, "n_classes": 3, "size": 20, "seed": 0}),
        Case(place, ExactPCFG, {"grammar": _G, "noise": _NOISE, "threads": 1}),
        Case(f"{place}.given", model.given, {"label": 1}),
        *(Case(f"{place}.{word}", getattr(model, word), x_t)
          for word in ("posterior", "denoise", "class_marginals", "features")),
        *(Case(f"{place}.{word}", getattr(model, word), {**x_t, "seed": 0})
          for word in ("sample", "trees")),
        Case(f"{place}.is_valid", model.is_valid, {"leaves": _X}),
    ]  # fmt: skip
