r"""Forward-backward runs of any diffusion model: noise added to data, and taken away again.

==========================  =====================================================================
:math:`x_0 \to x_t`         the data corrupted to noise level t, q(x_t | x_0)
:math:`x_t \to x_0'`        a datum drawn by the model, p(x_0 | x_t)
belief                      :math:`p(c \mid x_t)` of the true symbol c of a node
retention                   probability that the symbol of a node is the same in :math:`x_0'`
==========================  =====================================================================

The two agree on average for exact samples, and give the law of the retention:

.. math:: P(\text{unchanged}) = E\, p(c \mid x_t) = E \sum_b p(b \mid x_t)^2 .

:func:`forward_backward` is one run, of symbols, vectors or images.  What a run says of the levels
of a hierarchy is read in one of three ways:

* exact inference on a grammar (:func:`tree_run`) and on a mixture (:func:`class_run`) returns
  beliefs and a posterior sample of every latent;
* of any other model the latents of the samples are read: those of strings by parsing as far as
  they derive a symbol (:func:`partial_levels`), those of images and vectors by a classifier
  (:func:`start_data`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    array,
    checked,
    integers,
    levels_of,
    listed,
    natural,
    one_level,
    one_of,
    reals,
    shown,
    symbols_of,
    unchecked,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import PCFG
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess, has_snr, is_channel
from hierdiff.seeds import SampleStreams, Seed, generator, stream
from hierdiff.theory.belief_propagation.exact_posterior import (
    NodeBeliefs,
    beliefs_and_sample,
    true_beliefs,
)
from hierdiff.theory.exact_models import ExactMixture, ExactRHM
from hierdiff.theory.pcfg import parse_posterior, valid_strings

__all__ = [
    "PARTS",
    "QUANTITIES",
    "ForwardBackward",
    "MixtureModel",
    "Overlap",
    "RenderedGrammar",
    "StartData",
    "checked_derivations",
    "class_run",
    "exact_retention",
    "exact_run",
    "forward_backward",
    "labelled_data",
    "one_at_a_time",
    "overlap",
    "partial_levels",
    "start_data",
    "tree_run",
]

Array = NDArray[Any]
Labelled = tuple[Array, NDArray[np.intp]]

QUANTITIES = ("belief", "upward", "square", "retention")
"""What exact runs record per level: belief in the truth, its part from below, the sum of squared
beliefs, and whether the symbol is unchanged."""


# ------------------------------------------------------------------------------------- one run


class ForwardBackward(NamedTuple):
    """The noisy data and the data that a model draws from them, with what exact inference adds.

    Attributes
    ----------
    x_t, x_0 : array [n, ...]
        Noisy data, and the new ones.
    latents : tuple of int arrays [n, nodes], optional
        Symbols of every level of the new data, root first.
    beliefs : NodeBeliefs, optional
        In the symbols that the data had.
    classes : array [n, classes], optional
        Posterior probability of every class given x_t.
    """

    x_t: Array
    x_0: Array
    latents: tuple[Array, ...] | None = None
    beliefs: NodeBeliefs | None = None
    classes: Array | None = None


def _parts(name: str, value: Any) -> tuple[str, ...]:
    found = listed(name, value, unchecked)
    return tuple(one_of(f"{name}[{i}]", x, PARTS) for i, x in enumerate(found))


@checked
def forward_backward(
    model: DiffusionModel,
    x0: Array,
    t: ArrayLike,
    seed: Seed,
    model_t: ArrayLike | None = None,
    *,
    randoms: Array | None = None,
) -> ForwardBackward:
    """Corrupt data to level t and let the model sample from there.

    Parameters
    ----------
    model : DiffusionModel
        With any noise process.
    x0 : array [n, ...]
        Data: symbols [n, leaves], or vectors.
    t : float or array [n]
        Noise level that is added.
    seed : Seed
        Source of randomness; each sample has streams of its own.
    model_t : float or array [n], optional
        Noise level that the model is given as input; default t.
    randoms : array, optional
        Random numbers of the noise, as ``model.noise.draw`` returns them: the same at several
        levels make the path of one forward process.  The seed is then that of the model alone.

    Returns
    -------
    ForwardBackward
        Of :class:`ExactRHM` with the latents of the samples.

    Raises
    ------
    InvalidParameter
        For levels outside [0, 1], data that do not fit the noise, or samples that are NaN.

    Notes
    -----
    Validity: samples the joint law of x0 and x0' if the model's sampler is stochastic; with a
    deterministic one it keeps more than the posterior does
    (:mod:`hierdiff.validation.diffusion.samplers`).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(3, seed=0).leaves
    >>> run = forward_backward(ExactRHM(grammar, MaskingNoise(4)), data, 0.5, seed=0)
    >>> grammar.is_valid(run.x_0)
    array([ True,  True,  True])
    """
    data = np.asarray(x0)
    if data.ndim < 2:
        raise InvalidParameter(f"x0 has shape {data.shape}; give one row per datum")
    levels = levels_of(t, len(data))
    if randoms is not None:
        return _run(model, data, levels, randoms, seed, levels if model_t is None else model_t)
    levels = levels * np.ones(len(data))
    # one after the other: a generator that is given as the seed advances with both
    forward = SampleStreams.of(seed, purpose=1)
    backward = SampleStreams.of(seed, purpose=2).root
    return _run(model, data, levels, forward, backward, levels if model_t is None else model_t)


PARTS = ("samples", "beliefs", "classes")
"""What exact inference computes of noisy data, each at its own cost."""


@checked(t=one_level, backward=unchecked, parts=_parts)
def exact_run(
    model: ExactRHM, truth: Derivations, t: float, randoms: Array,
    backward: Seed | list[Array], parts: tuple[str, ...] = PARTS,
) -> ForwardBackward:  # fmt: skip
    """A run of exact inference, with what is asked for beside the samples.

    Parameters
    ----------
    model : ExactRHM
    truth : Derivations
        The data, of the model's grammar.
    t : float
        Noise level.
    randoms : array
        Random numbers of the noise, as ``model.noise.draw`` returns them.
    backward : Seed, or list of arrays
        Source of the posterior samples, or uniform numbers as
        :meth:`~hierdiff.theory.belief_propagation.exact_posterior.Posterior.sample_with` takes
        them.
    parts : tuple of str
        Some of :data:`PARTS`; what is left out is None, or has no rows.

    Returns
    -------
    ForwardBackward

    Raises
    ------
    InvalidParameter
        For data or random numbers of another shape, an unknown part, or a level outside [0, 1].

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data, model = grammar.sample(3, seed=0), ExactRHM(grammar, MaskingNoise(4))
    >>> randoms = model.noise.draw(data.leaves.shape, generator(1))
    >>> run = exact_run(model, data, 0.5, randoms, 2)
    >>> run.classes.shape, [level.shape for level in run.latents]
    ((3, 4), [(3, 1), (3, 2), (3, 4)])
    """
    return _run(model, truth.leaves, t, randoms, backward, t, truth, parts)


def _run(
    model: DiffusionModel, x0: Array, t: Any, randoms: Array | SampleStreams, backward: Any,
    model_t: Any, truth: Derivations | None = None, parts: tuple[str, ...] = (),
) -> ForwardBackward:  # fmt: skip
    """The one place where data are noised and denoised again."""
    noise = model.noise
    if isinstance(randoms, SampleStreams):
        x_t = _noisy(noise, x0, t, randoms)
    else:
        x_t = noise.corrupt_with(x0, t, randoms)
    # a class of its own may sample otherwise, so only the exact model itself is short-cut
    if type(model) is not ExactRHM and not parts:
        made = np.asarray(model.sample(x_t, model_t, backward))
        return ForwardBackward(x_t, _checked_samples(made, x0, t))
    exact, classes, beliefs = cast(ExactRHM, model), None, None
    alike = not parts and not is_channel(noise) and np.ndim(model_t) == 0
    if alike and len(x_t) > 1 and (x_t == x_t[0]).all():
        # the evidence of all copies of a datum is the same, so one upward pass serves them all
        drawn = exact.posterior(x_t[:1], model_t, levels=()).sample(backward, len(x_t))
        return ForwardBackward(x_t, drawn.leaves, drawn.levels)
    both = type(model) is ExactRHM and {*parts} == {"samples", "beliefs"}
    if both and isinstance(backward, list) and truth is not None:  # from one upward pass
        evidence = noise.evidence(x_t, t)
        beliefs, drawn = beliefs_and_sample(
            exact.grammar, evidence, truth, backward, threads=exact.threads
        )
        return ForwardBackward(x_t, drawn.leaves, drawn.levels, beliefs)
    if "beliefs" in parts:
        assert truth is not None
        beliefs = exact.beliefs(x_t, t, truth)
    found = exact.posterior(x_t, model_t, levels=(0,) if "classes" in parts else ())
    if "classes" in parts:
        classes = found.marginals[0][:, 0]
    if parts and "samples" not in parts:
        return ForwardBackward(x_t, x_t[:0], None, beliefs, classes)
    drawn = found.sample_with(backward) if isinstance(backward, list) else found.sample(backward)
    return ForwardBackward(x_t, drawn.leaves, drawn.levels, beliefs, classes)


def _noisy(noise: NoiseProcess, x0: Array, levels: Array, streams: SampleStreams) -> Array:
    """Noisy data, each from its own stream."""
    # one datum at a time: the draws of all of them together need not fit in memory
    noisy: list[Array] = []
    for i in range(len(x0)):
        one = x0[i : i + 1]
        numbers = noise.draw(one.shape, streams.take(np.array([i]))[0])
        new = noise.corrupt_with(one, levels[i], numbers)[0]
        noisy.append(new.astype(np.float32) if x0.dtype == np.float32 else new)
    return np.stack(noisy) if noisy else np.empty(x0.shape, x0.dtype)


def _checked_samples(made: Array, x0: Array, t: Any) -> Array:
    """Samples of a model, of which a network may have returned anything."""
    if made.shape[:1] != x0.shape[:1]:
        raise InvalidParameter(
            f"the model returned samples of shape {made.shape} for {len(x0)} data; give one each"
        )
    bad = np.asarray(~np.isfinite(made.reshape(len(made), -1)).all(axis=1))
    if bad.any():
        i = int(np.argmax(bad))
        level = np.broadcast_to(t, len(made))[i]
        raise InvalidParameter(
            f"the model returned NaN or inf for datum {i} at t = {level:.6g} ({bad.sum()} of "
            f"{len(bad)} data); check its weights and inputs, run it in float32, or leave this "
            "level out"
        )
    return made


def one_at_a_time(model: Any) -> bool:
    """Whether a model must not be called by two threads: one that is, or runs, a network.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> one_at_a_time(ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)))
    False
    """
    inner = getattr(model, "model", None)
    return getattr(model, "source", "") == "network" or (
        inner is not None and one_at_a_time(inner)
    )  # fmt: skip


# ------------------------------------------------------------------ data to start from, and latents


Reader = Callable[[Array], tuple[Array, ...]]
"""Latents [n, nodes] of samples, root first; -1 where there is none."""


class RenderedGrammar(Protocol):
    """A grammar whose strings are drawn as images, and read from them again."""

    @property
    def grammar(self) -> Grammar:
        """The hierarchy."""

    def render(self, leaves: ArrayLike) -> Array:
        """Images of strings."""

    def read(self, images: ArrayLike) -> Array:
        """Strings of images."""

    def log_evidence(self, images: ArrayLike, snr: ArrayLike) -> Array:
        """Evidence of the leaves given noisy images."""


@dataclass(frozen=True, eq=False)
class StartData:
    """Data that runs start from.

    Attributes
    ----------
    x0
        [n, ...].
    latents
        True symbols [n, nodes] of every level, root first; the classes [n, 1] alone where there is
        no hierarchy.
    read
        The same of samples.
    grammar
        Where the latents are those of a grammar.
    """

    x0: Array
    latents: tuple[Array, ...]
    read: Reader
    grammar: Grammar | None = None

    def __len__(self) -> int:
        return len(self.x0)


@checked(model=unchecked, data=unchecked)
def start_data(model: DiffusionModel, data: Any, n: int, seed: int) -> StartData:
    """Data to start from, with latents that are known and a reader of those of samples.

    Parameters
    ----------
    model : DiffusionModel
        Its own ``grammar``, ``mixture`` or ``world`` is used where ``data`` has none.
    data
        One of: a Grammar, rendered grammar or LowRankMixture, from which ``n`` data are drawn;
        Derivations of the model's grammar; a pair of a grammar (also rendered) and its Derivations;
        a layered PCFG or its Parses, whose latents are the symbols that cover each leaf;
        points and classes (x [n, D], k [n]) of the model's mixture; data, classes and a classifier
        (x [n, ...], k [n], function from x to classes).
    n : int
        Number of data where they are drawn.
    seed : int
        Names their streams.

    Returns
    -------
    StartData

    Raises
    ------
    InvalidParameter
        If the latents of samples cannot be read from what is given; the line names what is missing.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> start = start_data(ExactRHM(grammar, MaskingNoise(4)), grammar, 3, seed=0)
    >>> start.x0.shape, [level.shape for level in start.latents]
    ((3, 4), [(3, 1), (3, 2), (3, 4)])
    """
    own = [getattr(model, word, None) for word in ("grammar", "mixture", "world")]
    origin, given = _split(data)
    if origin is None and not _read_by_caller(given):
        origin = next((x for x in own if x is not None), None)
    if isinstance(origin, PCFG):
        return _parse_data(origin, given, n, seed)
    if isinstance(origin, LowRankMixture):
        return _mixture_data(origin, given, n, seed)
    if isinstance(origin, Grammar) or hasattr(origin, "render"):
        return _tree_data(cast(Any, origin), given, n, seed)
    if _read_by_caller(given):
        x, k = reals("data[0]", given[0]), integers("data[1]", given[1], ndim=1)
        if x.ndim < 2 or len(x) != len(k) or not len(x):
            raise InvalidParameter(
                f"data of shapes {x.shape} and {k.shape} must be data [n, ...] and classes [n]"
            )
        return StartData(np.asarray(given[0]), (k[:, None],), _ClassReader(given[2]))
    raise InvalidParameter(
        f"model {type(model).__name__} has no latents, and data = {type(data).__name__} say not how"
        " to read those of its samples; give a grammar, (grammar, derivations), a mixture, or "
        "(data, classes, classifier)"
    )


def _read_by_caller(given: Any) -> bool:
    """Whether data come with their classes and a classifier."""
    return isinstance(given, tuple) and len(given) == 3 and callable(given[2])


def _split(data: Any) -> tuple[Any, Any]:
    """Where data come from, and the data."""
    if isinstance(data, (Grammar, LowRankMixture, PCFG)) or hasattr(data, "render"):
        return data, None
    if isinstance(data, Parses):
        return data.grammar, data
    if isinstance(data, tuple) and len(data) == 2 and _split(data[0])[0] is not None:
        return data
    return None, data


def _tree_data(origin: Grammar | RenderedGrammar, given: Any, n: int, seed: int) -> StartData:
    grammar = origin if isinstance(origin, Grammar) else origin.grammar
    if given is None:
        # datum by datum, so that more of them leave the first ones as they are
        trees = [grammar.sample(1, stream(seed, "datum", 0, i)) for i in range(n)]
        levels = zip(*(tree.levels for tree in trees), strict=True)
        given = Derivations(tuple(np.concatenate(level) for level in levels))
    truth = checked_derivations(grammar, given)
    if isinstance(origin, Grammar):
        return StartData(truth.leaves, truth.levels, _TreeReader(grammar), grammar)
    x0 = np.asarray(origin.render(truth.leaves))
    return StartData(x0, truth.levels, _ImageReader(origin), grammar)


def _parse_data(grammar: PCFG, given: Any, n: int, seed: int) -> StartData:
    """Strings of one length; the latents of a level are the symbols that cover each leaf."""
    if grammar.L is None:
        raise InvalidParameter(
            "the grammar has no levels, so samples have no latents to compare; give a layered PCFG "
            "or (data, classes, classifier)"
        )
    if given is None:
        length = grammar.likely_length()
        trees = [grammar.sample(1, stream(seed, "datum", 0, i), length=length) for i in range(n)]
        levels = zip(*(tree.latents for tree in trees), strict=True)
        latents = tuple(np.concatenate(level) for level in levels)
    elif isinstance(given, Parses) and given.grammar.level_sizes == grammar.level_sizes:
        if len(set(given.lengths.tolist())) != 1:
            raise InvalidParameter("trees must have equal lengths; draw with sample(length=...)")
        latents = given.latents
    else:
        raise InvalidParameter(f"data = {shown(given)} must be Parses of the model's grammar")
    return StartData(latents[-1], latents, _ParseReader(grammar))


def _mixture_data(mixture: LowRankMixture, given: Any, n: int, seed: int) -> StartData:
    if given is None:
        drawn = [mixture.sample(1, stream(seed, "datum", 0, i)) for i in range(n)]
        given = tuple(np.concatenate(part) for part in zip(*drawn, strict=True))
    x, k = labelled_data(mixture, given)
    return StartData(x, (k[:, None],), _MixtureReader(mixture))


@dataclass(frozen=True, eq=False)
class _TreeReader:
    grammar: Grammar

    def __call__(self, samples: Array) -> tuple[Array, ...]:
        return partial_levels(self.grammar, samples)


@dataclass(frozen=True, eq=False)
class _ParseReader:
    """Symbols that cover each leaf in the likeliest tree; -1 above strings without a tree."""

    grammar: PCFG

    def __call__(self, samples: Array) -> tuple[Array, ...]:
        g = self.grammar
        symbols = symbols_of("samples", samples, 0, g.v)
        valid = valid_strings(g, symbols)
        levels = [np.full(symbols.shape, -1) for _ in range(int(g.L or 0))]
        if valid.any():
            clean = np.where(np.eye(g.v)[symbols[valid]] > 0, 0.0, -np.inf)
            found = parse_posterior(g, clean).best().trees.latents
            for level, mine in zip(levels, found, strict=False):
                level[valid] = mine
        return (*levels, symbols)


@dataclass(frozen=True, eq=False)
class _ImageReader:
    images: RenderedGrammar

    def __call__(self, samples: Array) -> tuple[Array, ...]:
        return partial_levels(self.images.grammar, self.images.read(samples))


@dataclass(frozen=True, eq=False)
class _MixtureReader:
    mixture: LowRankMixture

    def __call__(self, samples: Array) -> tuple[Array, ...]:
        found = ExactMixture(self.mixture, GaussianNoise()).class_marginals(samples, 0.0)
        return (found.argmax(axis=1)[:, None],)


@dataclass(frozen=True, eq=False)
class _ClassReader:
    classifier: Callable[[Array], Array]

    def __call__(self, samples: Array) -> tuple[Array, ...]:
        k = np.asarray(self.classifier(samples))
        if k.shape != (len(samples),):
            raise InvalidParameter(
                f"the classifier returned shape {k.shape} for {len(samples)} data; give one class "
                "each"
            )
        return (k[:, None],)


class Overlap(NamedTuple):
    """Share of unchanged nodes [n, level] of every datum, and whether its root has a symbol."""

    share: Array
    valid: Array


@checked
def overlap(data: StartData, samples: Array) -> Overlap:
    """How much of every level is the same in samples as in the data that they started from.

    Parameters
    ----------
    data : StartData
    samples : array [n, ...]
        One per datum, as :func:`forward_backward` returns it.

    Returns
    -------
    Overlap

    Notes
    -----
    Validity: a node that derives no symbol counts as changed.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> start = start_data(ExactRHM(grammar, MaskingNoise(4)), grammar, 2, seed=0)
    >>> overlap(start, start.x0).share.tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    samples = array("samples", samples)
    if samples.shape[:1] != (len(data),):
        raise InvalidParameter(
            f"samples have shape {samples.shape} for {len(data)} data; give one each"
        )
    levels = data.read(samples)
    same = [(a == b).mean(axis=1) for a, b in zip(levels, data.latents, strict=True)]
    return Overlap(np.stack(same, axis=1), levels[0][:, 0] >= 0)


@checked
def partial_levels(grammar: Grammar, leaves: ArrayLike) -> tuple[Array, ...]:
    """Latents of strings that need not be in the language, root first; -1 where nothing derives.

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
    Validity: exact for unambiguous grammars; for those of the language it is ``grammar.parse``.

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
    Validity: any grammar; O(nodes m s) comparisons, little compared with one pass of inference.
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


@checked(data=unchecked)
def labelled_data(mixture: LowRankMixture, data: tuple[ArrayLike, ArrayLike]) -> Labelled:
    """Data and classes, checked against the mixture.

    Parameters
    ----------
    mixture : LowRankMixture
    data : (array [n, D], int array [n])

    Returns
    -------
    x : array [n, D]
    k : int array [n]

    Raises
    ------
    InvalidParameter
        For other shapes, or classes out of range.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise InvalidParameter(
            f"data of type {type(data).__name__} must be two arrays: points and their classes"
        )
    x, k = reals("data[0]", data[0]), array("data[1]", data[1])
    if x.ndim != 2 or x.shape[1] != mixture.dim or k.shape != (len(x),) or not np.isfinite(x).all():
        raise InvalidParameter(
            f"data of shapes {x.shape} and {k.shape} must be finite points [n, {mixture.dim}] "
            "and their classes [n]"
        )
    if not len(k) or k.dtype.kind not in "iu" or k.min() < 0 or k.max() >= mixture.n_classes:
        raise InvalidParameter(
            f"classes must be integers from 0 to {mixture.n_classes - 1}; check the labels"
        )
    return x, k.astype(np.intp)


# ---------------------------------------------------------------------------- exact inference


def _times(name: str, values: Any) -> Array:
    return reals(name, levels_of(values), ndim=1)


@checked(times=_times, seed=natural, g=natural)
def tree_run(
    model: ExactRHM, data: Derivations | None, seed: int, g: int, rows: range, times: Array
) -> dict[str, Array]:
    """One task of exact inference: corrupt, infer, sample.

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
    means = np.empty((len(QUANTITIES), grammar.L + 1, len(rows)))
    for k, t in enumerate(times):
        run = _run(model, truth.leaves, t, randoms, uniforms, t, truth, ("samples", "beliefs"))
        assert run.latents is not None
        assert run.beliefs is not None
        known = (run.beliefs.marginal, run.beliefs.upward, run.beliefs.square)
        for level, (old, new) in enumerate(zip(truth.levels, run.latents, strict=True)):
            # sums, not means: those of 44 small arrays per noise level take half as long again
            for q, beliefs in enumerate(known):
                np.add.reduce(beliefs[level], axis=1, out=means[q, level])
            means[3, level] = np.count_nonzero(old == new, axis=1)
            means[:, level] /= old.shape[1]
        values[:, :, k] = means.T
    return {"values": values}


def _posterior_uniforms(grammar: Grammar, seed: int, g: int, rows: range) -> list[Array]:
    nodes = [grammar.n_nodes(level) for level in range(grammar.L)]
    parts = []
    for i in rows:
        random = stream(seed, "backward", g, i)
        parts.append([random.random(1), *(random.random((1, k)) for k in nodes)])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@runtime_checkable
class MixtureModel(Protocol):
    """A model of vectors with classes, such as ``theory.ExactMixture``."""

    @property
    def mixture(self) -> LowRankMixture:
        """The prior."""

    @property
    def noise(self) -> NoiseProcess:
        """The forward process, on vectors."""

    def class_marginals(self, x_t: Array, t: ArrayLike) -> Array:
        """What the model believes of the class, [n, K]."""


@checked(data=unchecked, seed=natural, g=natural, times=unchecked)
def class_run(
    model: MixtureModel, data: Labelled | None, seed: int, g: int, rows: range, times: Array
) -> dict[str, Array]:
    """One task on a mixture, whose one level is the class: corrupt, infer, draw.

    Parameters
    ----------
    model : MixtureModel
    data : (x [n, D], k [n]) or None
        Where the rows are taken from; None draws them.
    seed, g : int
        With the number of a datum they name its random streams.
    rows : range
        Numbers of the data.
    times : array [T]
        Noise levels in [0, 1].

    Returns
    -------
    dict
        ``values`` with the quantities belief, upward, square, retention, as on a grammar.

    Notes
    -----
    Validity: that of the model's beliefs.
    """
    times = reals("times", times, 0, 1, ndim=1)
    mixture, noise = model.mixture, model.noise
    if not has_snr(noise) or noise.v is not None:
        raise InvalidParameter(
            f"noise = {noise.name} with v = {noise.v} acts on symbols; give GaussianNoise()"
        )
    if data is None:
        drawn = [mixture.sample(1, stream(seed, "datum", g, i)) for i in rows]
        x0, k = (np.concatenate(part) for part in zip(*drawn, strict=True))
    else:
        x, labels = labelled_data(mixture, data)
        if not rows or rows.start < 0 or rows.stop > len(x) or rows.step != 1:
            raise InvalidParameter(f"rows = {rows} must be some of the {len(x)} data, in order")
        x0, k = x[rows.start : rows.stop], labels[rows.start : rows.stop]
    normals = np.concatenate([noise.draw(x0[:1].shape, stream(seed, "noise", g, i)) for i in rows])
    uniforms = np.array([stream(seed, "backward", g, i).random() for i in rows])
    values, each = np.empty((len(rows), 1, len(times), 4)), np.arange(len(rows))
    for j, t in enumerate(times):
        w = model.class_marginals(noise.corrupt_with(x0, t, normals), t)
        new = (np.cumsum(w, axis=1) < uniforms[:, None] * w.sum(axis=1)[:, None]).sum(axis=1)
        own = w[each, k]
        values[:, 0, j] = np.stack([own, own, (w**2).sum(axis=1), new == k], axis=1)
    return {"values": values}


@checked(origin=unchecked)
def exact_retention(
    origin: Grammar | RenderedGrammar, noise: NoiseProcess, t: ArrayLike, n: int, seed: Seed
) -> tuple[Array, Array]:
    r"""Probability that a node is unchanged by exact posterior sampling, without any sampling.

    .. math:: E \sum_c p(c \mid x_t)^2

    Parameters
    ----------
    origin : Grammar, or rendered grammar
        With noise in pixels.
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
    if not isinstance(origin, Grammar) and not hasattr(origin, "render"):
        raise InvalidParameter(
            f"origin = {shown(origin)} has no latents; give a grammar or a rendered one"
        )
    grammar = origin if isinstance(origin, Grammar) else origin.grammar
    rng = generator(seed)
    truth = grammar.sample(n, rng)
    x0 = truth.leaves if isinstance(origin, Grammar) else origin.render(truth.leaves).astype(float)
    rows = []
    for level in np.atleast_1d(reals("t", t, 0, 1, ndim=(0, 1), least=1)):
        x_t = noise.corrupt(x0, level, rng)
        evidence = (
            noise.evidence(x_t, level) if isinstance(origin, Grammar)
            else origin.log_evidence(x_t, float(cast(Any, noise).snr(level)))
        )  # fmt: skip
        squares = true_beliefs(grammar, evidence, truth).square
        rows.append(np.stack([x.mean(axis=1) for x in squares]))  # [level, n]
    values = np.stack(rows, axis=1)
    return values.mean(axis=2), values.std(axis=2, ddof=1) / np.sqrt(n)
