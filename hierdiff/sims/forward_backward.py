"""The tasks of the phase-transition experiment: one block of data, or one population.

A task is a function of its arguments: every datum has streams of its own, named by the seed, the
grammar and the number of the datum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, integers, levels_of, natural, one_level, reals, unchecked
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import stream
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.density_evolution import population_dynamics

__all__ = ["QUANTITIES", "checked_derivations", "density_evolution", "forward_backward"]

Array = NDArray[Any]

QUANTITIES = ("belief", "upward", "square", "retention")
"""What is recorded per level: belief in the truth, its part from below, sum of squares, fate."""


@checked(data=unchecked)
def checked_derivations(grammar: Grammar, data: Derivations) -> Derivations:
    """Derivations of a grammar, looked at before anything is computed from them.

    Parameters
    ----------
    grammar : Grammar
    data : Derivations

    Returns
    -------
    Derivations
        The same.

    Raises
    ------
    InvalidParameter
        If the data have another number of levels or nodes, symbols that the grammar does not have,
        or children that no rule of their parent writes.

    Notes
    -----
    Validity: any grammar; O(nodes m s) comparisons, little beside one pass of inference.
    """
    if not isinstance(data, Derivations):
        raise InvalidParameter(
            f"data of type {type(data).__name__} are no derivations; give Derivations, as "
            "grammar.sample or grammar.parse returns them"
        )
    nodes = [grammar.n_nodes(level) for level in range(grammar.L + 1)]
    found = [np.shape(level)[1] for level in data.levels]
    if found != nodes or not len(data):
        raise InvalidParameter(
            f"data of {len(data)} trees with {found} nodes per level do not belong to a grammar "
            f"with {nodes}; give at least one derivation of the model's own grammar"
        )
    levels = [
        integers(f"data.levels[{k}]", level, 0, grammar.v[k] - 1)
        for k, level in enumerate(data.levels)
    ]
    for k, rules in enumerate(grammar.rules):
        tuples = levels[k + 1].reshape(len(data), nodes[k], 1, -1)
        # a few data at a time: the comparison holds m numbers per node of the next level
        step = max(1, 2**22 // (nodes[k + 1] * rules.shape[1]))
        for first in range(0, len(data), step):
            part = slice(first, first + step)
            written = (rules[levels[k][part]] == tuples[part]).all(axis=-1).any(axis=-1)
            if not written.all():
                row, node = (int(i) for i in np.argwhere(~written)[0])
                raise InvalidParameter(
                    f"data[{first + row}]: no rule of symbol {int(levels[k][first + row, node])} "
                    f"in level {k} writes {tuples[first + row, node, 0].tolist()}; give data of "
                    "the model's own grammar"
                )
    return data


def _times(name: str, values: Any) -> Array:
    return reals(name, levels_of(values), ndim=1)


@checked(times=_times, seed=natural, g=natural)
def forward_backward(
    model: ExactRHM, data: Derivations | None, seed: int, g: int, rows: range, times: Array
) -> dict[str, Array]:
    """One task: corrupt, infer, sample; values [datum, level, t, quantity] averaged over nodes.

    Parameters
    ----------
    model : ExactRHM
    data : Derivations or None
        Where the rows are taken from; None draws them.
    seed, g : int
        With the number of a datum they name its random streams.
    rows : range
        Numbers of the data.
    times : array [T]

    Returns
    -------
    dict
        ``values`` with the quantities belief, upward, square, retention.
    """
    grammar, noise = model.grammar, model.noise
    if data is None:
        trees = [grammar.sample(1, stream(seed, "datum", g, i)) for i in rows]
        levels = zip(*(tree.levels for tree in trees), strict=True)
        truth = Derivations(tuple(np.concatenate(level) for level in levels))
    else:
        truth = data[rows.start : rows.stop]
    shape = (1, grammar.n_leaves)
    drawn = [noise.draw(shape, stream(seed, "noise", g, i)) for i in rows]
    randoms = np.concatenate(drawn)
    uniforms = _posterior_uniforms(grammar, seed, g, rows)
    values = np.empty((len(rows), grammar.L + 1, len(times), len(QUANTITIES)))
    for k, t in enumerate(times):
        x_t = noise.corrupt_with(truth.leaves, t, randoms)
        beliefs = model.beliefs(x_t, t, truth)
        new = model.posterior(x_t, t, levels=()).sample_with(uniforms)
        for level in range(grammar.L + 1):
            same = new.levels[level] == truth.levels[level]
            of_level = (beliefs.marginal[level], beliefs.upward[level], beliefs.square[level], same)
            values[:, level, k] = np.stack([x.mean(axis=1) for x in of_level], axis=1)
    return {"values": values}


def _posterior_uniforms(grammar: Grammar, seed: int, g: int, rows: range) -> list[Array]:
    nodes = [grammar.n_nodes(level) for level in range(grammar.L)]
    parts = []
    for i in rows:
        random = stream(seed, "backward", g, i)
        parts.append([random.random(1), *(random.random((1, k)) for k in nodes)])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@checked(t=one_level, seed=natural)
def density_evolution(
    rhm: RHM, noise: NoiseProcess, t: float, size: int, copies: int, seed: int
) -> dict[str, Array]:
    """One task: mean beliefs per level by density evolution, with standard errors.

    Parameters
    ----------
    rhm, noise, t, size, copies
        As in :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.
    seed : int
        Names the random stream.

    Returns
    -------
    dict
        ``upward``, ``marginal`` and their errors, each [L + 1].
    """
    found = population_dynamics(
        rhm, noise, t, size=size, copies=copies, seed=stream(seed, "population")
    )
    return {
        "upward": found.upward, "upward_error": found.upward_error,
        "marginal": found.marginal, "marginal_error": found.marginal_error,
    }  # fmt: skip
