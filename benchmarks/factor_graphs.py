"""Libraries for factor graphs, where ``--peers`` gives a Python that has them: PGMax and pgmpy.

Both take any graph, and neither makes use of a tree of equal levels.  PGMax (in JAX) sends all
messages at once; on a tree of depth L they are exact after 2 L rounds.  pgmpy makes a junction tree
of dense tables.  Each is compared with exact marginals before it is timed, and its graph is built
beforehand, not timed.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from belief_propagation import LEVEL, SIZES, compact, float32, world
from harness import Call, NotTimed, Table, over

__all__: list[str] = []

SMALL = {**SIZES, "C": (8, 2, 4, 4), "D": (4, 2, 2, 3)}

GRAPHS = Table(
    "factor graphs", "Libraries for factor graphs; D = (4, 2, 2, 3)", before=False,
    points=({"size": "D", "batch": 1}, *over(size="C", batch=(1, 32)), {"size": "B", "batch": 1}),
    quick=over(size="D", batch=(1,)),
)  # fmt: skip


@GRAPHS.case("posterior")
def ours(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SMALL[size], batch))


def _compare(found: list[Any], size: str, batch: int, limit: float) -> None:
    """Refuse marginals [n, nodes, v] of the levels that are not the exact ones."""
    from hierdiff.theory import posterior

    grammar, _, noise, x_t = world(SMALL[size], batch)
    exact = posterior(grammar, noise.log_evidence(x_t, LEVEL)).marginals
    for mine, theirs in zip(exact, found, strict=True):
        gap = float(np.abs(mine - np.asarray(theirs)).max())
        if not gap < limit:
            raise AssertionError(f"marginals differ by {gap:.2g}")


@GRAPHS.case("PGMax", peer="jax")
def pgmax(size: str, batch: int) -> Call:
    import jax
    from pgmax import fgraph, fgroup, infer, vgroup

    grammar, _, noise, x_t = world(SMALL[size], batch)
    L = grammar.L
    levels = [
        vgroup.NDVarArray(num_states=grammar.v[level], shape=(grammar.n_nodes(level),))
        for level in range(L + 1)
    ]
    graph = fgraph.FactorGraph(levels)
    for level, rule in enumerate(grammar.rules):
        v, m, s = rule.shape
        parents = np.repeat(np.arange(v), m)[:, None]
        configurations = np.concatenate([parents, rule.reshape(v * m, s)], axis=1)
        around = [
            [levels[level][i], *(levels[level + 1][i * s + j] for j in range(s))]
            for i in range(grammar.n_nodes(level))
        ]
        graph.add_factors(
            fgroup.EnumFactorGroup(variables_for_factors=around, factor_configs=configurations)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inference = infer.build_inferer(graph.bp_state, backend="bp")

    def one(evidence: Any) -> list[Any]:
        arrays = inference.init(evidence_updates={levels[L]: evidence})
        arrays = inference.run(arrays, num_iters=2 * L, damping=0.0, temperature=1.0)
        found = infer.get_marginals(inference.get_beliefs(arrays))
        return [found[group] for group in levels]

    function = jax.jit(jax.vmap(one))
    evidence = jax.numpy.asarray(noise.log_evidence(x_t, LEVEL), dtype="float32")
    _compare(function(evidence), size, batch, 1e-3)
    return lambda: jax.block_until_ready(function(evidence))


@GRAPHS.case("pgmpy", peer="jax")
def pgmpy(size: str, batch: int) -> Call:
    if size != "D" or batch != 1:
        raise NotTimed("only for the smallest tree, others take minutes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgmpy.factors.discrete import DiscreteFactor
        from pgmpy.inference import BeliefPropagation
        from pgmpy.models import DiscreteMarkovNetwork

    grammar, _, noise, x_t = world(SMALL[size], 1)
    names = [[f"x{level}_{i}" for i in range(grammar.n_nodes(level))]
             for level in range(grammar.L + 1)]  # fmt: skip
    factors, graph = [], DiscreteMarkovNetwork()
    for level, rule in enumerate(grammar.rules):
        v, m, s = rule.shape
        table = np.zeros((v, *[grammar.v[level + 1]] * s))
        for a, k in np.ndindex(v, m):
            table[(a, *rule[a, k])] += 1 / m
        for i, parent in enumerate(names[level]):
            around = [parent, *names[level + 1][i * s : (i + 1) * s]]
            graph.add_edges_from([(a, b) for n, a in enumerate(around) for b in around[n + 1 :]])
            factors.append(DiscreteFactor(around, table.shape, table))
    for name, row in zip(names[-1], noise.log_evidence(x_t, LEVEL)[0], strict=True):
        factors.append(DiscreteFactor([name], [len(row)], np.exp(row)))
    graph.add_factors(*factors)

    def call() -> list[Any]:
        inference = BeliefPropagation(graph)
        inference.calibrate()
        return [
            np.array([[inference.query([name], show_progress=False).values for name in level]])
            for level in names
        ]

    _compare(call(), size, 1, 1e-9)
    return call
