"""Grammars whose trees vary in shape: inside-outside sums of many strings, beside NLTK's parser.

Layered grammars have two binary and two ternary rules for each of 8 symbols; the general one has as
many symbols and rules of which any may follow any.  NLTK lists edges of a chart in plain Python,
and is given one string of a small grammar.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from harness import Call, Table, over

__all__: list[str] = []

LAYERED = Table(
    "parse posterior", "All posteriors of 256 strings of layered grammars, half of leaves masked",
    points=(*over(L=(4, 5), leaves=(32, 64)), {"L": 6, "leaves": 64}, {"L": 5, "leaves": 128}),
    quick=over(L=(4,), leaves=(32,)), before=False,
)  # fmt: skip
GENERAL = Table(
    "parse posterior, general", "The same of 16 strings of a general grammar",
    points=over(leaves=(16, 32, 64)), quick=over(leaves=(16,)), before=False,
)  # fmt: skip
ONE = Table(
    "parses of one string", "Probability of one clean string", points=over(leaves=(5, 7)),
    quick=over(leaves=(5,)), before=False,
)  # fmt: skip


def layered(L: int, leaves: int) -> tuple[Any, Any]:
    """A grammar and evidence of 256 strings."""
    from hierdiff.data.pcfg import PCFG
    from hierdiff.noise import MaskingNoise

    grammar, noise = PCFG.random(8, {2: 2, 3: 2}, L, 0), MaskingNoise(8)
    x_t = noise.corrupt(grammar.sample(256, 1, length=leaves).x0, 0.5, 2)
    return grammar, noise.log_evidence(x_t, 0.5)


def general(symbols: int, v: int) -> list[tuple[int, tuple[int, ...], float]]:
    """Four binary rules and two leaves per symbol, at random; trees end."""
    rng = np.random.default_rng(0)
    rules: list[tuple[int, tuple[int, ...], float]] = []
    for a in range(symbols):
        # the first child is the next symbol, so that every symbol is reached
        pairs = {((a + 1) % symbols, int(rng.integers(symbols)))}
        while len(pairs) < 4:
            pairs.add((int(rng.integers(symbols)), int(rng.integers(symbols))))
        rules += [(a, pair, 0.1) for pair in sorted(pairs)]
        rules += [(a, (symbols + int(b),), 0.3) for b in rng.choice(v, 2, replace=False)]
    return rules


@LAYERED.case("evidence")
def evidence(L: int, leaves: int) -> Call:
    from hierdiff.theory.pcfg import parse_posterior

    return partial(parse_posterior, *layered(L, leaves))


@LAYERED.case("evidence and all marginals")
def marginals(L: int, leaves: int) -> Call:
    from hierdiff.theory.pcfg import parse_posterior

    given = layered(L, leaves)
    return lambda: parse_posterior(*given).symbols


@LAYERED.case("one tree each, drawn")
def drawn(L: int, leaves: int) -> Call:
    from hierdiff.theory.pcfg import parse_posterior

    return partial(parse_posterior(*layered(L, leaves)).sample, 3)


@GENERAL.case("evidence and all marginals")
def general_marginals(leaves: int) -> Call:
    from hierdiff.data.pcfg import PCFG
    from hierdiff.theory.pcfg import parse_posterior

    grammar = PCFG(general(8, 8), 8, 8)
    given = np.zeros((16, leaves, 8))
    return lambda: parse_posterior(grammar, given).leaf_marginals


@ONE.case("inside sums")
def inside(leaves: int) -> Call:
    from hierdiff.data.pcfg import PCFG
    from hierdiff.theory.pcfg import parse_posterior

    grammar = PCFG(general(2, 3), 2, 3)
    string = np.random.default_rng(1).integers(3, size=(1, leaves))
    given = np.log(np.eye(3)[string] + 1e-300)
    return lambda: parse_posterior(grammar, given).log_evidence


@ONE.case("NLTK", peer="nltk")
def nltk_parser(leaves: int) -> Call:
    from nltk import PCFG, Nonterminal
    from nltk.grammar import ProbabilisticProduction
    from nltk.parse.pchart import InsideChartParser

    name = {a: Nonterminal(f"A{a}") for a in range(2)} | {2 + b: f"b{b}" for b in range(3)}
    productions = [
        ProbabilisticProduction(name[a], [name[c] for c in children], prob=p)
        for a, children, p in general(2, 3)
    ]
    parser = InsideChartParser(PCFG(name[0], productions))
    words = [f"b{b}" for b in np.random.default_rng(1).integers(3, size=leaves)]
    return lambda: sum(tree.prob() for tree in parser.parse(words))
