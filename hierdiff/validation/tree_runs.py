r"""Forward-backward runs of networks on grammars, level by level, and what they copy.

Strings that a network makes need not be sentences.  A node of a generated string counts as kept if
the leaves below it derive a symbol, and that symbol is the one of the datum; what derives nothing
has changed.  For exact samples this is the retention of
:class:`hierdiff.sims.phase_transition.PhaseTransition`, whose law is

.. math:: P(\text{kept}) = E \sum_c p(c \mid x_t)^2 .
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, integers, reals, symbols_of
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory import true_beliefs
from hierdiff.validation.protocol import forward_backward

__all__ = ["Kept", "copied", "exact_retention", "partial_levels", "run_kept"]

Array = NDArray[Any]


class Kept(NamedTuple):
    """Fate of every datum: share of unchanged nodes [n, level], and whether it is a sentence."""

    share: Array
    valid: Array


@checked
def partial_levels(grammar: Grammar, leaves: ArrayLike) -> tuple[Array, ...]:
    """Latents of strings that need not be sentences, root first; -1 where nothing derives.

    Parameters
    ----------
    grammar : Grammar
        Unambiguous.
    leaves : int array [n, leaves]

    Returns
    -------
    tuple of L + 1 int arrays [n, nodes]

    Raises
    ------
    InvalidParameter
        If a tuple may stand for several symbols.

    Notes
    -----
    Validity: exact for unambiguous grammars; for sentences it is ``grammar.parse``.

    Examples
    --------
    >>> grammar = Grammar([[[[0, 1]], [[1, 1]]], [[[0, 0]], [[0, 1]]]])
    >>> [level.tolist() for level in partial_levels(grammar, [[0, 1, 0, 1], [0, 1, 1, 1]])]
    [[[1], [-1]], [[1, 1], [1, -1]], [[0, 1, 0, 1], [0, 1, 1, 1]]]
    """
    if not grammar.is_unambiguous:
        raise InvalidParameter("the grammar is ambiguous: a tuple may stand for several symbols")
    # -1 is a leaf that is not known, from which nothing derives
    symbols = symbols_of("leaves", leaves, -1, grammar.leaf_vocabulary)
    if symbols.shape[1] != grammar.n_leaves:
        raise InvalidParameter(f"leaves have shape {symbols.shape}; give [n, {grammar.n_leaves}]")
    found = [symbols.astype(np.int64)]
    for level in reversed(range(grammar.L)):
        rules, s = np.asarray(grammar.rules[level]), grammar.s[level]
        v = grammar.v[level + 1]
        powers = v ** np.arange(s)
        meaning = np.full(v**s, -1)
        meaning[(rules @ powers).ravel()] = np.repeat(np.arange(len(rules)), rules.shape[1])
        tuples = found[0].reshape(len(found[0]), -1, s)
        code = np.where((tuples < 0).any(axis=2), 0, tuples @ powers)
        found.insert(0, np.where((tuples < 0).any(axis=2), -1, meaning[code]))
    return tuple(found)


@checked
def run_kept(
    model: DiffusionModel, grammar: Grammar, truth: Derivations, t: float, seed: Seed
) -> Kept:
    """Noise data to t, let a model sample from there, and compare level by level.

    Parameters
    ----------
    model : DiffusionModel
        On the symbols of the grammar.
    grammar : Grammar
        Unambiguous.
    truth : Derivations
        The data to start from.
    t : float
        Noise level.
    seed : Seed
        Two models with the same seed start from the same noisy data.

    Returns
    -------
    Kept

    Raises
    ------
    InvalidParameter
        If the grammar is ambiguous.

    Notes
    -----
    Validity: as good as the sampler of the model.
    """
    made = forward_backward(model, truth.leaves, t, seed).x_0
    levels = partial_levels(grammar, made)
    same = [(a == b).mean(axis=1) for a, b in zip(levels, truth.levels, strict=True)]
    return Kept(np.stack(same, axis=1), levels[0][:, 0] >= 0)


@checked
def exact_retention(
    grammar: Grammar, noise: NoiseProcess, t: ArrayLike, n: int, seed: Seed
) -> tuple[Array, Array]:
    r"""Probability that a node is unchanged by exact posterior sampling, without any sampling.

    .. math:: E \sum_c p(c \mid x_t)^2

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
    t : array [T]
        Noise levels.
    n : int
        Data, at least two.
    seed : Seed
        Source of randomness.

    Returns
    -------
    mean, error : array [level, T]

    Raises
    ------
    InvalidParameter
        If n < 2.

    Notes
    -----
    Validity: exact inference; the error is that of the mean over data.
    """
    if n < 2:
        raise InvalidParameter(f"n = {n} data give no error bar; use at least 2")
    rng = generator(seed)
    truth = grammar.sample(n, rng)
    rows = []
    for level in np.atleast_1d(reals("t", t, 0, 1, ndim=(0, 1), least=1)):
        evidence = noise.evidence(noise.corrupt(truth.leaves, level, rng), level)
        squares = true_beliefs(grammar, evidence, truth).square
        rows.append(np.stack([x.mean(axis=1) for x in squares]))  # [level, n]
    values = np.stack(rows, axis=1)
    return values.mean(axis=2), values.std(axis=2, ddof=1) / np.sqrt(n)


@checked
def copied(made: Array, training: Array) -> Array:
    """Which strings [n, leaves] stand in a training set.

    Examples
    --------
    >>> copied(np.array([[0, 1], [1, 1]]), np.array([[1, 1], [2, 0]])).tolist()
    [False, True]
    """
    training = integers("training", training, low=None, ndim=2)
    made = integers("made", made, low=None, shape=(None, training.shape[1]))
    known = {row.tobytes() for row in np.ascontiguousarray(training, np.int64)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(made, np.int64)])
