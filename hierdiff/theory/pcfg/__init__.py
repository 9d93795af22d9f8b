"""Exact inference on grammars whose trees vary in shape (:mod:`hierdiff.data.pcfg`).

=======================  ========================================================================
chart                    which spans a grammar can use, and in which order
inside_outside           posterior of trees, spans, symbols and rules; likeliest trees; weights
next_token               prefixes, next symbols and ends of strings
known_tree               density evolution with random arity, for a tree that is known
=======================  ========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.theory.pcfg.inside_outside import (
        BestParses,
        NodePosterior,
        ParsePosterior,
        WeightFit,
        derived_nodes,
        fit_weights,
        parse_posterior,
        valid_strings,
    )
    from hierdiff.theory.pcfg.known_tree import known_tree_beliefs, known_tree_dynamics
    from hierdiff.theory.pcfg.next_token import next_token_law, prefix_log_probability
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "BestParses",
    "NodePosterior",
    "ParsePosterior",
    "WeightFit",
    "derived_nodes",
    "fit_weights",
    "known_tree_beliefs",
    "known_tree_dynamics",
    "next_token_law",
    "parse_posterior",
    "prefix_log_probability",
    "valid_strings",
]
