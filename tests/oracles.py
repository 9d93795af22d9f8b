"""Independent, slow and plain reference computations that the tests compare the library with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hierdiff.grammar import Grammar

__all__ = [
    "AMBIGUOUS",
    "FIXTURE",
    "WEIGHTED",
    "all_strings",
    "enumerate_derivations",
    "frequency_p_value",
    "lcg_rules",
    "one_line",
    "string_probabilities",
]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# --- example grammars: one of the model, one ambiguous, one unambiguous with weights -----------


def lcg_rules(v: int, m: int, s: int, L: int, seed: int) -> list[IntArray]:
    """Rules of a grammar that any language reproduces: a 64-bit LCG and a Fisher-Yates shuffle.

    From the root level down: shuffle all v**s tuples; symbol a owns entries a m ... a m + m - 1.
    """
    x, rules = seed, []
    for _ in range(L):
        order = list(range(v**s))
        for i in range(v**s - 1, 0, -1):
            x = (6364136223846793005 * x + 1442695040888963407) % 2**64
            j = ((x >> 32) * (i + 1)) >> 32
            order[i], order[j] = order[j], order[i]
        digits = [[code // v ** (s - 1 - j) % v for j in range(s)] for code in order[: m * v]]
        rules.append(np.array(digits, dtype=np.int64).reshape(v, m, s))
    return rules


FIXTURE = Grammar(lcg_rules(4, 2, 2, 2, seed=1))
AMBIGUOUS = Grammar(
    [[[[0, 1], [1, 0]], [[0, 1], [2, 2]]], [[[0, 1], [0, 0]], [[0, 1], [1, 1]], [[1, 0], [1, 1]]]],
    weights=[[[0.7, 0.3], [0.2, 0.8]], [[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]],
    root_prior=[0.6, 0.4],
)
WEIGHTED = Grammar(
    [[[[0, 1], [1, 0]], [[1, 1], [2, 2]]], [[[0, 1], [0, 2]], [[1, 1], [0, 0]], [[2, 0], [1, 2]]]],
    weights=[[[0.7, 0.3], [0.0, 1.0]], [[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]],
    root_prior=[0.6, 0.4],
)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Message of an error, once it is known to be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


# --- enumeration ----------------------------------------------------------------------------------


def enumerate_derivations(grammar: Grammar) -> tuple[tuple[IntArray, ...], FloatArray]:
    """All derivations of positive probability, one by one: levels [count, nodes] and prob [count].

    A derivation here is a choice of a rule for every node, so two rules of a symbol with the same
    right-hand side give two rows with equal levels.
    """
    trees = [([[a]], float(p)) for a, p in enumerate(grammar.root_prior) if p > 0]
    for rules, weights in zip(grammar.rules, grammar.weights, strict=True):
        grown = []
        for levels, probability in trees:
            choices = [
                [(rules[a, k].tolist(), float(weights[a, k])) for k in np.flatnonzero(weights[a])]
                for a in levels[-1]
            ]
            for choice in itertools.product(*choices):
                written = [symbol for symbols, _ in choice for symbol in symbols]
                weight = probability
                for _, w in choice:
                    weight *= w
                grown.append(([*levels, written], weight))
        trees = grown
    depth = len(grammar.rules) + 1
    stacked = tuple(np.array([tree[l] for tree, _ in trees], dtype=np.int64) for l in range(depth))
    return stacked, np.array([probability for _, probability in trees])


def all_strings(v: int, length: int) -> IntArray:
    """All v**length strings of v symbols, [v**length, length]."""
    return np.array(list(itertools.product(range(v), repeat=length)), dtype=np.int64)


def string_probabilities(grammar: Grammar) -> dict[tuple[int, ...], float]:
    """Probability of every sentence, summed over its derivations."""
    levels, probability = enumerate_derivations(grammar)
    total: dict[tuple[int, ...], float] = {}
    for string, p in zip(map(tuple, levels[-1].tolist()), probability, strict=True):
        total[string] = total.get(string, 0.0) + float(p)
    return total


def frequency_p_value(draws: Sequence[Any], law: dict[Any, float]) -> float:
    """Chi-square p-value of hashable draws against a law; outcomes outside of it give 0.

    Outcomes expected fewer than 5 times are pooled.
    """
    counts: dict[Any, int] = {}
    for draw in draws:
        counts[draw] = counts.get(draw, 0) + 1
    if not counts.keys() <= law.keys():
        return 0.0
    expected = np.array([p * len(draws) for p in law.values()])
    observed = np.array([counts.get(outcome, 0) for outcome in law], dtype=float)
    rare = expected < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return float(stats.chisquare(observed, expected).pvalue) if len(expected) > 1 else 1.0
