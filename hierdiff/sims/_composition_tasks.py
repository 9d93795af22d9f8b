"""Tasks of the composition experiment: a grammar's curves, its truncated denoisers, a kernel."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import stream
from hierdiff.sims._kernel_ridge import samples_needed
from hierdiff.sims._synonyms import Context, learning_curve, synonyms
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.sample_complexity import Kernel
from hierdiff.theory.rhm.token_correlations import node_marginals
from hierdiff.theory.rhm.truncated_grammars import class_truncated, node_validity, truncated

__all__ = ["INFORMED", "denoise", "expected", "given", "kernels", "recognise", "unobserved"]

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]

INFORMED = ("no label", "label")


def recognise(
    rhm: RHM, heights: tuple[int, ...], samples: Array, repeats: int, context: Context, seed: int,
    g: int,
) -> Arrays:  # fmt: skip
    """Learning curves of one grammar: score [learner, height, P], the mean over ``repeats``.

    ``samples`` [height, P]; also the exact ``ceiling`` [learner, height], the share of
    ``identifiable`` tuples [height] and the ``resolved`` number of data [height].
    """
    grammar = rhm.draw(stream(seed, "grammar", rhm.v, rhm.m, g))
    tasks = [synonyms(grammar, h, context) for h in heights]
    curves = [
        np.mean(
            [
                learning_curve(task, grid, stream(seed, "data", rhm.v, rhm.m, g, h, r))
                for r in range(repeats)
            ],
            axis=0,
        )
        for task, grid, h in zip(tasks, samples, heights, strict=True)
    ]
    return {
        "accuracy": np.stack(curves, axis=1),
        "ceiling": np.stack([task.ceiling for task in tasks], axis=1),
        "identifiable": np.array([task.identifiable.mean() for task in tasks]),
        "resolved": np.array([task.resolved for task in tasks]),
    }


def _observed(
    grammar: Grammar, noise: NoiseProcess, t: float, seed: int, names: tuple[int, int], n: int
) -> tuple[Derivations, Array]:
    data = grammar.sample(n, stream(seed, "clean", *names))
    # one set of random numbers for all noise levels, so that curves are smooth in t
    return data, noise.corrupt(data.leaves, t, stream(seed, "noise", *names))


def _fate(grammar: Grammar, strings: Array, roots: Array) -> Array:
    """Valid nodes per level, then strings of the wanted class: [levels + 1]."""
    parsed = [level.mean() for level in grammar.valid_per_level(strings)]
    valid = grammar.is_valid(strings)
    right = grammar.parse(strings[valid]).levels[0] == roots[valid] if valid.any() else np.zeros(1)
    return np.array([*parsed, right.sum() / len(strings)])


def _laws(grammar: Grammar, level: int) -> tuple[Array, Array]:
    """Laws of single symbols of a level: of all data [1, nodes, v], by class [v_0, nodes, v]."""
    by_class = [
        node_marginals(
            Grammar(grammar.rules, grammar.weights, prior, leaf_vocabulary=grammar.leaf_vocabulary),
            level,
        )
        for prior in np.eye(grammar.v[0])
    ]
    return node_marginals(grammar, level)[None], np.stack(by_class)


def _expected_fate(grammar: Grammar, level: int, laws: Array, roots: Array) -> Array:
    """Fate of strings whose symbols at a level are independent with given laws [n, nodes, v]."""
    found = node_validity(grammar, level, laws)
    valid = [q.sum(axis=-1).mean() for q in found] + [1.0] * (grammar.L - level)
    right = np.take_along_axis(found[0][:, 0], roots, axis=1).mean()
    return np.array([*valid, right])


def unobserved(rhm: RHM, seed: int, g: int) -> Array:
    """What truncated models of grammar g generate from pure noise: [informed, known, fate]."""
    grammar = rhm.draw(stream(seed, "denoised", g))
    out = np.empty((2, rhm.L + 1, rhm.L + 2))
    roots = np.arange(grammar.v[0])[:, None]
    for known in range(rhm.L + 1):
        level = rhm.L - known
        for k, law in enumerate(_laws(grammar, level)):
            whole = np.broadcast_to(law, (len(roots), *law.shape[1:]))
            out[k, known] = _expected_fate(grammar, level, whole, roots)
    return out


def expected(
    grammar: Grammar, noise: NoiseProcess, times: Array, n: int, seed: int, g: int
) -> Array:
    """What truncated denoisers must generate from each observation: [informed, known, t, fate].

    Given the observation, the symbols of the level where knowledge ends are independent, so their
    strings are valid with a probability that is summed exactly.
    """
    out = np.empty((2, grammar.L + 1, len(times), grammar.L + 2))
    laws = [_laws(grammar, grammar.L - known) for known in range(grammar.L + 1)]
    for i, t in enumerate(times):
        data, x_t = _observed(grammar, noise, float(t), seed, (g, 0), n)
        roots = data.levels[0]
        seen = posterior(grammar, noise.evidence(x_t, t), levels=())
        for known, (single, by_class) in enumerate(laws):
            level = grammar.L - known
            for k, law in enumerate((single, by_class[roots[:, 0]])):
                weight = law * seen.up[level]
                weight = weight / weight.sum(axis=-1, keepdims=True)
                out[k, known, i] = _expected_fate(grammar, level, weight, roots)
    return out


def denoise(rhm: RHM, noise: NoiseProcess, times: Array, n: int, seed: int, g: int) -> Arrays:
    """Truncated denoisers of one grammar: what they sample, and what they must.

    ``fate`` and ``expected`` [informed, known, t, level + 1]; the last entry is the share of
    strings of the class that the datum had.
    """
    grammar = rhm.draw(stream(seed, "denoised", g))
    found = np.empty((2, rhm.L + 1, len(times), rhm.L + 2))
    for known in range(rhm.L + 1):
        models = [cut(grammar, rhm.L - known) for cut in (truncated, class_truncated)]
        for i, t in enumerate(times):
            data, x_t = _observed(grammar, noise, float(t), seed, (g, 0), n)
            roots = data.levels[0]
            evidence = noise.evidence(x_t, t)
            for k, model in enumerate(models):
                clamp = None if k == 0 else roots[:, 0]
                drawn = posterior(model, evidence, clamp, levels=())
                strings = drawn.sample(stream(seed, "drawn", g, known, i, k)).leaves
                found[k, known, i] = _fate(grammar, strings, roots)
    return {"fate": found, "expected": expected(grammar, noise, times, n, seed, g)}


def given(
    model: DiffusionModel, grammar: Grammar, times: Array, n: int, seed: int, block: int
) -> Arrays:
    """The same for a model from outside: ``fate`` [1, 1, t, level + 1]."""
    found = np.empty((1, 1, len(times), grammar.L + 2))
    for i, t in enumerate(times):
        data, x_t = _observed(grammar, model.noise, float(t), seed, (0, 1 + block), n)
        strings = np.asarray(model.sample(x_t, float(t), stream(seed, "drawn", block, i)))
        found[0, 0, i] = _fate(grammar, strings, data.levels[0])
    return {"fate": found}


def kernels(
    kernel: Kernel, positions: int, target: float, orders: int, width: float, seed: int
) -> Arrays:
    """Samples that a kernel needs, and their error."""
    rng = stream(seed, "orders", positions)  # the same labels for both kernels
    found = samples_needed(kernel, positions, target, orders, rng, width)
    return {"samples": np.array(found)}
