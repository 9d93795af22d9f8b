"""Drawing: samples of the posterior and of a grammar, and density evolution."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from belief_propagation import LEVEL, SIZES, compact, torch_input, world
from harness import Call, Table, over

__all__: list[str] = []

POSTERIOR = Table(
    "posterior samples", "One posterior sample per datum, 256 data", points=over(size="ABC"),
    quick=over(size="C"),
)  # fmt: skip
PRIOR = Table(
    "prior samples", "Samples of a grammar", points=over(size="ABC", n=(1, 256, 4096)),
    quick=over(size="C", n=(1, 256)), seconds=0.5,
)  # fmt: skip
EVOLUTION = Table(
    "density evolution", "Mean beliefs of (32, 8, 2, 10), four populations of 10,000",
    points=over(noise=("masking", "uniform")), quick=over(noise=("masking",)),
)  # fmt: skip


@POSTERIOR.case("from evidence")
def from_evidence(size: str) -> Call:
    from hierdiff.theory import posterior

    grammar, evidence = compact(SIZES[size], 256)
    return lambda: posterior(grammar, evidence, dtype="float32", levels=()).sample(3)


@POSTERIOR.case("one more of a posterior")
def one_more(size: str) -> Call:
    from hierdiff.theory import posterior

    known = posterior(*compact(SIZES[size], 256), dtype="float32", levels=())
    return partial(known.sample, 3)


@POSTERIOR.case("one of 16 of a posterior")
def one_of_many(size: str) -> tuple[Call, float]:
    from hierdiff.theory import posterior

    known = posterior(*compact(SIZES[size], 256), dtype="float32", levels=())
    return partial(known.sample, 3, 16), 1 / 16


@POSTERIOR.case("dense torch", peer="torch")
def dense(size: str) -> Call:
    from dense_reference import sample

    return partial(sample, *torch_input(size, 256)[1:])


@PRIOR.case("leaves and latents")
def prior(size: str, n: int) -> Call:
    grammar = world(SIZES[size], 1)[0]
    return partial(grammar.sample, n, 3)


@PRIOR.case("gathers in torch", peer="torch")
def gathers(size: str, n: int) -> Call:
    from dense_reference import prior as draw

    return partial(draw, torch_input(size, 1)[1], n)


@PRIOR.case("gathers in NumPy", peer="plain")
def numpy_gathers(size: str, n: int) -> Call:
    grammar = world(SIZES[size], 1)[0]

    def draw() -> Any:
        random = np.random.default_rng(3)
        symbols = random.integers(grammar.v[0], size=(n, 1))
        for rule in grammar.rules:
            symbols = rule[symbols, random.integers(rule.shape[1], size=symbols.shape)]
            symbols = symbols.reshape(n, -1)
        return symbols

    return draw


@EVOLUTION.case("up and down")
def evolution(noise: str) -> Call:
    from hierdiff import RHM, MaskingNoise, UniformNoise
    from hierdiff.theory import population_dynamics

    process = MaskingNoise(32) if noise == "masking" else UniformNoise(32)
    return partial(population_dynamics, RHM(32, 8, 2, 10), process, LEVEL)
