"""The known tree: enumeration, the bound that it is, density evolution with random arity."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line
from pcfg_oracles import LAYERED, RECURSIVE, summed

from hierdiff import RHM, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.theory import population_dynamics
from hierdiff.theory.pcfg import known_tree_beliefs, known_tree_dynamics, parse_posterior


@pytest.mark.parametrize(("g", "n"), [(LAYERED, 5), (RECURSIVE, 4)])
def test_beliefs_are_those_of_enumeration_over_trees_of_one_shape(g: PCFG, n: int) -> None:
    psi = np.random.default_rng(0).random((4, n, g.v)) + 0.1
    trees = g.sample(4, 1, length=n)
    found = known_tree_beliefs(g, trees, np.log(psi))
    several = known_tree_beliefs(g, trees, np.log(np.stack([psi, psi**2], axis=1)))
    np.testing.assert_allclose(several[:, 0], found, atol=1e-13)
    for i in range(4):
        mine = trees.tree(i)
        shape = [(a, b, r < 0) for _, a, b, r in mine.tolist()]
        same = [
            (w, nodes) for w, nodes in summed(g, psi[i])[1]
            if [(a, b, r < 0) for _, a, b, r in nodes] == shape
        ]  # fmt: skip
        total = sum(w for w, _ in same)
        want = [
            sum(w for w, nodes in same if nodes[k][0] == x) / total
            for k, x in enumerate(mine[:, 0].tolist())
        ]
        at = slice(trees.offsets[i], trees.offsets[i + 1])
        np.testing.assert_allclose(found[at], want, atol=1e-13)


@pytest.mark.parametrize("noise", [MaskingNoise(4), UniformNoise(4), GaussianNoise(4)])
def test_the_known_tree_is_an_upper_bound_on_average(noise: MaskingNoise) -> None:
    g = PCFG.random(4, {2: 1, 3: 1}, 3, 0)
    trees = g.sample(300, 1, length=16)
    t = 0.5
    evidence = noise.log_evidence(noise.corrupt(trees.x0, t, 2), t)
    known = known_tree_beliefs(g, trees, evidence)
    unknown = parse_posterior(g, evidence).node_posterior(trees).symbol
    for level in range(3):
        mine = g.level_of[trees.nodes[:, 0]] == level
        gap = np.bincount(trees.owner[mine], (known - unknown)[mine], 300)
        assert gap.mean() > 4 * gap.std() / np.sqrt(300)


def test_one_arity_is_the_density_evolution_of_that_arity() -> None:
    noise = UniformNoise(8)
    one = known_tree_dynamics(8, {2: 3}, 3, noise, 0.35, size=4000, seed=0)
    want = population_dynamics(RHM(8, 3, 2, 3), noise, 0.35, size=8000, seed=1)
    for name in ("upward", "marginal"):
        gap = getattr(one, name) - getattr(want, name)
        error = np.hypot(getattr(one, f"{name}_error"), getattr(want, f"{name}_error")) + 1e-3
        assert (np.abs(gap) < 5 * error).all()
    wrong = population_dynamics(RHM(8, 4, 2, 3), noise, 0.35, size=8000, seed=1)
    assert (np.abs(one.upward - wrong.upward)[0] > 5 * (one.upward_error[0] + 1e-3)).all()


@pytest.mark.parametrize("length", [None, 16])
def test_density_evolution_of_mixed_arities_is_that_of_grammars(length: int | None) -> None:
    """Many symbols, so that rules drawn anew and shared rules hardly differ."""
    noise, rules, t = MaskingNoise(16), {2: 2, 3: 2}, 0.55
    law = known_tree_dynamics(16, rules, 3, noise, t, size=4000, length=length)
    curves = []
    for k in range(40):
        g = PCFG.random(16, rules, 3, k)
        means = []
        for i in range(8):
            tree = g.sample(1, 100 * k + i, length=length)
            evidence = noise.log_evidence(noise.corrupt(tree.x0, t, 10_000 + 100 * k + i), t)
            found, level = known_tree_beliefs(g, tree, evidence), g.level_of[tree.nodes[:, 0]]
            means.append([found[level == x].mean() for x in range(4)])
        curves.append(np.mean(means, axis=0))
    mean, error = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1) / np.sqrt(40)
    z = (mean - law.marginal) / np.hypot(error, law.marginal_error)
    assert np.abs(z).max() < 4
    wrong = known_tree_dynamics(16, {2: 4}, 3, noise, t, size=4000)
    assert np.abs((mean - wrong.marginal) / error).max() > 6


def test_bad_input_is_told_in_one_line() -> None:
    trees = LAYERED.sample(2, 0, length=4)
    for bad in (np.zeros((2, 4)), np.zeros((3, 4, 2)), np.full((2, 4, 2), np.nan)):
        with pytest.raises(InvalidParameter) as error:
            known_tree_beliefs(LAYERED, trees, bad)
        one_line(error)
    with pytest.raises(InvalidParameter, match="no derivation") as error:
        known_tree_dynamics(4, {2: 1, 3: 1}, 2, MaskingNoise(4), 0.5, length=10)
    one_line(error)
    for rules in ({}, {2: 0}, {2: 9}, {2.5: 1}):
        with pytest.raises(InvalidParameter) as error:
            known_tree_dynamics(4, rules, 2, MaskingNoise(4), 0.5)  # type: ignore[dict-item]
        one_line(error)
