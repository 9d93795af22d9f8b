"""Independent, slow and plain reference computations that the tests compare the library with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hierdiff.data.rhm import Grammar

__all__ = [
    "AMBIGUOUS",
    "FIXTURE",
    "WEIGHTED",
    "all_strings",
    "density_down",
    "density_marginals",
    "density_up",
    "enumerate_derivations",
    "enumerated_posterior",
    "frequency_p_value",
    "lcg_rules",
    "message_passing",
    "one_line",
    "posterior_draw",
    "splitmix64",
    "string_probabilities",
    "sum_product",
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


# --- posteriors: by enumeration, by messages in plain NumPy, by sum-product on the factor graph ---

Levels = list[FloatArray]


def enumerated_posterior(
    grammar: Grammar, log_psi: FloatArray, root: int | None = None
) -> tuple[Levels, float]:
    """Marginals [nodes, v_l] per level and log-evidence of one sample, from all derivations."""
    levels, prior = enumerate_derivations(grammar)
    if root is not None:
        prior = np.where(levels[0][:, 0] == root, prior / grammar.root_prior[root], 0.0)
    n_leaves = np.arange(grammar.n_leaves)
    with np.errstate(divide="ignore"):
        log_joint = np.log(prior) + log_psi[n_leaves, levels[-1]].sum(axis=1)
    top = log_joint.max()
    weight = np.exp(log_joint - top)
    marginals = []
    for level, v in zip(levels, grammar.v, strict=True):
        table = np.stack([(weight[:, None] * (level == a)).sum(axis=0) for a in range(v)], axis=1)
        marginals.append(table / weight.sum())
    return marginals, float(top + np.log(weight.sum()))


def message_passing(grammar: Grammar, log_psi: FloatArray) -> tuple[Levels, Levels, Levels, float]:
    """Upward, downward messages and marginals of one sample, and the log-evidence."""
    top = log_psi.max(axis=1, keepdims=True)
    up = [np.exp(log_psi - top)]
    log_z = float(top.sum())
    for rule, weight in zip(grammar.rules[::-1], grammar.weights[::-1], strict=True):
        s = rule.shape[2]
        child = up[0].reshape(-1, s, up[0].shape[1])
        product = np.ones((len(child), *rule.shape[:2]))
        for j in range(s):
            product = product * child[:, j][:, rule[:, :, j]]
        message = (product * weight).sum(axis=2)
        norm = message.sum(axis=1, keepdims=True)
        log_z += float(np.log(norm).sum())
        up.insert(0, message / norm)
    log_z += float(np.log(up[0][0] @ grammar.root_prior))
    down = [np.array(grammar.root_prior)[None]]
    for level, (rule, weight) in enumerate(zip(grammar.rules, grammar.weights, strict=True)):
        s = rule.shape[2]
        child = up[level + 1].reshape(-1, s, grammar.v[level + 1])
        message = np.zeros_like(child)
        for a, k in np.ndindex(*rule.shape[:2]):
            for j in range(s):
                term = down[level][:, a] * weight[a, k]
                for i in range(s):
                    if i != j:
                        term = term * child[:, i, rule[a, k, i]]
                message[:, j, rule[a, k, j]] += term
        flat = message.reshape(-1, grammar.v[level + 1])
        down.append(flat / flat.sum(axis=1, keepdims=True))
    both = [u * d for u, d in zip(up, down, strict=True)]
    up = [u / u.sum(axis=1, keepdims=True) for u in up]
    return up, down, [b / b.sum(axis=1, keepdims=True) for b in both], log_z


def sum_product(grammar: Grammar, log_psi: FloatArray) -> Levels:
    """Marginals by sum-product on the factor graph, with dense factors and no notion of levels."""
    graph = grammar.to_networkx().to_undirected()
    unary = {("prior",): ((0, 0), np.array(grammar.root_prior))}
    for i, line in enumerate(log_psi):
        unary[("leaf", i)] = ((grammar.L, i), np.exp(line - line.max()))
    factors: dict[Any, tuple[list[Any], FloatArray]] = {
        name: ([variable], table) for name, (variable, table) in unary.items()
    }
    for node in [x for x in graph if x[0] == "rule"]:
        _, level, position = node
        rule, weight = grammar.rules[level], grammar.weights[level]
        v, m, s = rule.shape
        table = np.zeros((v, *[grammar.v[level + 1]] * s))
        for a, k in np.ndindex(v, m):
            table[(a, *rule[a, k])] += weight[a, k]
        children = sorted(x for x in graph[node] if x[0] == level + 1)
        factors[node] = ([(level, position), *children], table)
        assert set(graph[node]) == set(factors[node][0])

    def to_variable(factor: Any, variable: Any) -> FloatArray:
        around, table = factors[factor]
        operands: list[Any] = [table, list(range(len(around)))]
        for axis, other in enumerate(around):
            if other != variable:
                operands += [to_factor(other, factor), [axis]]
        return np.asarray(np.einsum(*operands, [around.index(variable)]))

    def to_factor(variable: Any, factor: Any) -> FloatArray:
        message = np.ones(grammar.v[variable[0]])
        for other, (around, _) in factors.items():
            if other != factor and variable in around:
                message = message * to_variable(other, variable)
        return message / message.sum()

    marginals = []
    for level in range(grammar.L + 1):
        rows = [to_factor((level, i), None) for i in range(grammar.n_nodes(level))]
        marginals.append(np.array(rows))
    return marginals


def posterior_draw(
    grammar: Grammar, log_psi: FloatArray, root_number: float, numbers: list[FloatArray]
) -> list[IntArray]:
    """One posterior sample from given uniform numbers, node by node: the sampler's plain twin."""
    up, _, _, _ = message_passing(grammar, log_psi)

    def pick(weights: FloatArray, u: float) -> int:
        running = 0.0
        for k, x in enumerate(weights):
            running += x
            if u * weights.sum() < running:
                return k
        return int(np.flatnonzero(weights)[-1])

    levels = [np.array([pick(up[0][0] * grammar.root_prior, root_number)])]
    for level, (rule, weight) in enumerate(zip(grammar.rules, grammar.weights, strict=True)):
        s = rule.shape[2]
        below = []
        for node, a in enumerate(levels[-1]):
            child = up[level + 1][node * s : (node + 1) * s]
            product = weight[a] * np.prod([child[j][rule[a, :, j]] for j in range(s)], axis=0)
            below.extend(rule[a, pick(product, float(numbers[level][node]))])
        levels.append(np.array(below))
    return levels


# --- density evolution: its random numbers and its steps, member by member ------------------------


def splitmix64(state: int) -> Iterator[int]:
    """64 random bits after another, from Steele, Lea and Flood (2014) as Vigna published it."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


def _numbers_of(key: int, member: int) -> Iterator[int]:
    """High halves of a member's bits: its stream starts one step from key xor c member."""
    bits = splitmix64(key ^ (member * 0xD1342543DE82EF95 % 2**64))
    next(bits)
    return (b >> 32 for b in bits)


def _rule_table(numbers: Iterator[int], tuples: int, parents: int, m: int) -> list[list[int]]:
    """Tuples [parent][rule]: 0 belongs to parent 0, the others are drawn without repetition."""
    table: list[list[int]] = [[0], *([] for _ in range(parents - 1))]
    for row in table:
        while len(row) < m:
            code = next(numbers) * tuples >> 32
            if all(code not in other for other in table):
                row.append(code)
    return table


def density_up(
    population: FloatArray, order: IntArray, key: int, parents: int, m: int, digits: IntArray
) -> FloatArray:
    """Upward messages [members, parents]; the children of a member are ``order[:, member]``."""
    out = np.zeros((order.shape[1], parents))
    for member, children in enumerate(order.T):
        table = _rule_table(_numbers_of(key, member), len(digits), parents, m)
        for a, codes in enumerate(table):
            out[member, a] = sum(np.prod(population[children, digits[c]]) for c in codes)
    return out / out.sum(axis=1, keepdims=True)


def density_down(
    population: FloatArray, above: FloatArray, order: IntArray, key: int, m: int, digits: IntArray
) -> FloatArray:
    """Downward messages [members, v] to the first child; its parent is ``above[order[0]]``."""
    out = np.zeros((order.shape[1], population.shape[1]))
    for member, children in enumerate(order.T):
        table = _rule_table(_numbers_of(key, member), len(digits), above.shape[1], m)
        for a, codes in enumerate(table):
            for code in codes:
                siblings = np.prod(population[children[1:], digits[code, 1:]])
                out[member, digits[code, 0]] += above[children[0], a] * siblings
    return out / out.sum(axis=1, keepdims=True)


def density_marginals(up: FloatArray, down: FloatArray, order: IntArray, key: int) -> FloatArray:
    """True beliefs [members]: the wrong symbols of the downward message are shuffled."""
    out = np.zeros(len(order))
    for member, j in enumerate(order):
        names, numbers = list(range(up.shape[1])), _numbers_of(key, member)
        for b in range(up.shape[1] - 1, 0, -1):
            k = 1 + (next(numbers) * b >> 32)
            names[b], names[k] = names[k], names[b]
        both = up[member] * down[j, names]
        out[member] = both[0] / both.sum()
    return out
