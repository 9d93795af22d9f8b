r"""Signs of memory in strings that a model has made, with and without its training set.

=================  =============================================================================
:math:`x_i`        S strings of a model
:math:`P, N`       distinct strings in the training set, and in the language
:math:`f`          share of copies: strings of the training set among the :math:`x_i`
:math:`c`          probability that two strings of a model coincide
=================  =============================================================================

A model that has learned the language alone makes every string alike, so it meets the training set
by chance.  A model that repeats its training set makes the same strings again:

.. math:: f = \frac PN,\; c = \frac1N \quad\text{(language)}, \qquad
    f = 1,\; c = \frac1P \quad\text{(training set)}, \qquad
    c = \frac{f^2}P + \frac{(1-f)^2}{N-P} \quad\text{(a mixture of the two)}.          (1)

The second reading needs no training set: it counts coincidences, as in the birthday paradox.
:class:`StringReadings` reads these signs and others off any denoiser of strings, beside its
distance from denoisers that are known exactly: of the lowest levels of rules, and of the training
set.

References: Arora and Zhang, arXiv 1706.08224 (coincidences).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    integers,
    listed,
    natural,
    number,
    one_level,
    symbols_of,
    whole,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.theory import denoise_symbols
from hierdiff.theory.rhm.truncated_grammars import truncated

__all__ = [
    "Copies", "StringReadings", "coincidence", "copies", "distinct_strings", "mixture_coincidence",
    "string_count",
]  # fmt: skip

Array: TypeAlias = NDArray[Any]
_BLOCK = 1 << 24  # symbols that are compared at a time
_TINY = 1e-300
_MANY = partial(whole, low=2, high=10**6)


class Copies(NamedTuple):
    """How near strings are to a training set.

    Attributes
    ----------
    share : float
        Share of strings that are in the training set.
    distance : float
        Mean Hamming distance to the nearest string of it, in symbols.
    """

    share: float
    distance: float


def _strings(name: str, value: ArrayLike, least: int) -> Array:
    found = integers(name, value, ndim=2)
    if len(found) < least or not found.shape[1]:
        raise InvalidParameter(f"{name} of shape {found.shape} must hold {least} strings or more")
    return found


@checked
def copies(strings: ArrayLike, data: ArrayLike) -> Copies:
    """Share of copies among strings, and their distance from the training set.

    Parameters
    ----------
    strings : int array [S, leaves]
        What a model made.
    data : int array [P, leaves]
        Its training set.

    Returns
    -------
    Copies

    Raises
    ------
    InvalidParameter
        If either is empty, or they differ in length.

    Notes
    -----
    Validity: exact.  Fresh strings are copies with probability P/N, so compare with
    :func:`copies` of fresh data.

    Examples
    --------
    >>> copies([[0, 1, 1], [0, 0, 0]], [[0, 1, 1], [0, 1, 0]])
    Copies(share=0.5, distance=0.5)
    """
    made, known = _strings("strings", strings, 1), _strings("data", data, 1)
    if made.shape[1] != known.shape[1]:
        raise InvalidParameter(
            f"strings have {made.shape[1]} symbols, the data {known.shape[1]}; give equal lengths"
        )
    rows = max(1, _BLOCK // known.size)
    nearest = np.concatenate(
        [
            (made[i : i + rows, None] != known).sum(axis=2).min(axis=1)
            for i in range(0, len(made), rows)
        ]
    )
    return Copies(float((nearest == 0).mean()), float(nearest.mean()))


@checked
def coincidence(strings: ArrayLike) -> float:
    r"""Share of equal ones among all pairs of strings: an unbiased estimate of c in eq. (1).

    .. math:: \hat c = \frac{\sum_x n_x(n_x - 1)}{S(S-1)}

    Parameters
    ----------
    strings : int array [S, leaves]
        Independent strings of a model; at least two.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For fewer than two strings.

    Notes
    -----
    Validity: unbiased; about :math:`S^2c/2` pairs coincide, so S of order :math:`\sqrt{2/c}`
    strings see the first.

    Examples
    --------
    >>> coincidence([[0, 1], [0, 1], [1, 1]])
    0.3333333333333333
    """
    made = _strings("strings", strings, 2)
    _, n = np.unique(made, axis=0, return_counts=True)
    return float((n * (n - 1)).sum() / (len(made) * (len(made) - 1)))


@checked(share=partial(number, low=0, high=1), data=partial(number, low=1),
         language=partial(number, low=1))  # fmt: skip
def mixture_coincidence(share: float, data: float, language: float) -> float:
    r"""Probability that two strings coincide if a share of them are copies, eq. (1).

    Parameters
    ----------
    share : float
        f, share of copies.
    data, language : float
        P and N, strings of the training set and of the language, P < N.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        Unless P < N.

    Notes
    -----
    Validity: exact if copies are even over the training set, and others over the rest of the
    language.  By Jensen's inequality uneven ones coincide more often.

    Examples
    --------
    >>> mixture_coincidence(1.0, 64, 17496), mixture_coincidence(64 / 17496, 64, 17496) * 17496
    (0.015625, 1.0)
    """
    if data >= language:
        raise InvalidParameter(f"data = {data:g} must be less than language = {language:g} strings")
    return float(share**2 / data + (1 - share) ** 2 / (language - data))


@checked
def distinct_strings(grammar: Grammar, n: int, seed: Seed) -> Array:
    """Strings of a grammar, no two of them equal, in random order.

    Parameters
    ----------
    grammar : Grammar
        Unambiguous.
    n : int
        How many, at least one and at most as many as there are.
    seed : Seed
        Source of randomness.

    Returns
    -------
    int array [n, leaves]

    Raises
    ------
    InvalidParameter
        If the grammar has fewer strings, or is ambiguous.

    Notes
    -----
    Validity: drawn one after another without the earlier ones; where all strings are alike this is
    a sample without replacement.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> distinct_strings(RHM(v=3, m=1, s=2, L=1).draw(seed=0), 3, seed=1).shape
    (3, 2)
    """
    if not grammar.is_unambiguous:
        raise InvalidParameter("an ambiguous grammar has an unknown number of strings; use another")
    there = string_count(grammar)
    if not 1 <= n <= there:
        raise InvalidParameter(
            f"n = {n} distinct strings are asked of a grammar that has {there}; ask for 1 to "
            f"{there}"
        )
    rng = generator(seed)
    found = np.empty((0, grammar.n_leaves), dtype=np.int32)
    while len(found) < n:
        more = np.concatenate([found, grammar.sample(max(2 * (n - len(found)), 16), rng).leaves])
        _, first = np.unique(more, axis=0, return_index=True)
        found = more[np.sort(first)]
    return found[:n]


@checked
def string_count(grammar: Grammar) -> int:
    """Number of derivations of positive probability: of strings, if the grammar is unambiguous.

    Parameters
    ----------
    grammar : Grammar

    Returns
    -------
    int

    Raises
    ------
    InvalidParameter
        If it is no grammar.

    Notes
    -----
    Validity: exact, in whole numbers of any size.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> string_count(RHM(v=8, m=3, s=2, L=3).draw(seed=0))
    17496
    """
    ways = [1] * grammar.v[-1]
    for rules, weights in zip(reversed(grammar.rules), reversed(grammar.weights), strict=True):
        grown = []
        for row, weight in zip(rules.tolist(), weights.tolist(), strict=True):
            total = 0
            for children, w in zip(row, weight, strict=True):
                product = 1
                for child in children:
                    product *= ways[child]
                total += product * (w > 0)
            grown.append(total)
        ways = grown
    return sum(x for x, p in zip(ways, grammar.root_prior.tolist(), strict=True) if p > 0)


@dataclass(frozen=True, eq=False)
class StringReadings:
    """What is read off a denoiser of strings, at fixed noisy data.

    Parameters
    ----------
    grammar : Grammar
        The language, unambiguous.
    noise : NoiseProcess
        Under which every string has some probability: uniform or Gaussian.
    data : int array [P, leaves] or None
        The training set; None stands for fresh data without end.
    t : tuple of float
        Noise levels.
    test, samples, num_steps : int
        Fresh strings per level, samples of the model, and steps of its reverse process.
    seed : Seed
        Names the streams of test data and samples.

    Notes
    -----
    Validity: references are exact; noisy strings are the same at every call, so differences along
    training have less error than each value.

    Examples
    --------
    >>> from hierdiff import RHM, UniformNoise
    >>> from hierdiff.theory import ExactRHM
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), UniformNoise(4)
    >>> data = distinct_strings(grammar, 8, seed=1)
    >>> read = StringReadings(grammar, noise, data, (0.3, 0.6), 50, 100, 8, seed=0)
    >>> found = read(ExactRHM(grammar, noise))
    >>> found["near"].argmin(), round(float(found["divergence"]), 12)
    (np.int64(2), 0.0)
    """

    grammar: Grammar
    noise: NoiseProcess
    data: Array | None
    t: tuple[float, ...]
    test: int
    samples: int
    num_steps: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        check_fields(
            self, t=partial(listed, rule=one_level), test=_MANY, samples=_MANY,
            num_steps=partial(whole, low=1, high=10**6), seed=natural,
        )  # fmt: skip
        if self.data is not None:
            data = symbols_of("data", self.data, 0, self.grammar.leaf_vocabulary)
            if not len(data) or data.shape[1:] != (self.grammar.n_leaves,):
                raise InvalidParameter(
                    f"data of shape {data.shape} must be strings of {self.grammar.n_leaves} leaves"
                )
            object.__setattr__(self, "data", data)

    @cached_property
    def denoisers(self) -> list[Callable[[Array, float], Array]]:
        """The references: rules of the lowest 0, ..., L levels, and the training set."""
        known = [truncated(self.grammar, level) for level in range(self.grammar.L, -1, -1)]
        found: list[Callable[[Array, float], Array]] = [
            partial(_exact, grammar, self.noise) for grammar in known
        ]
        return (
            found if self.data is None else [*found, EmpiricalModel(self.data, self.noise).denoise]
        )

    @cached_property
    def fresh(self) -> list[tuple[Array, float, list[Array]]]:
        """Noisy fresh strings, levels, and what the references make of them."""
        rng = stream(self.seed, "fresh")
        clean = self.grammar.sample(self.test, rng).leaves
        return self._noisy(clean, rng, self.denoisers)

    @cached_property
    def seen(self) -> list[tuple[Array, float, list[Array]]]:
        """The same of the training set, with its empirical posterior."""
        if self.data is None:
            return []
        rng = stream(self.seed, "seen")
        rows = rng.integers(len(self.data), size=self.test)
        return self._noisy(self.data[rows], rng, self.denoisers[-1:])

    def _noisy(
        self, clean: Array, rng: np.random.Generator, denoisers: list[Any]
    ) -> list[tuple[Array, float, list[Array]]]:
        found = []
        for t in self.t:
            x_t = np.asarray(self.noise.corrupt(clean, t, rng))
            found.append((x_t, t, [denoise(x_t, t) for denoise in denoisers]))
        return found

    @cached_property
    def plateaus(self) -> Array:
        """Divergence of every reference from the exact posterior, [references]."""
        exact = self.grammar.L
        return np.array(
            [np.mean([_kl(p[exact], p[r]) for _, _, p in self.fresh])
             for r in range(len(self.denoisers))]
        )  # fmt: skip

    @cached_property
    def chance(self) -> float:
        """Share of copies among fresh strings, P/N."""
        return 0.0 if self.data is None else len(self.data) / string_count(self.grammar)

    def __call__(self, model: Any) -> dict[str, Array]:
        """All readings of a model."""
        beliefs = [np.asarray(model.denoise(x_t, t)) for x_t, t, _ in self.fresh]
        near = np.array(
            [
                np.mean([_kl(p[r], q) for (_, _, p), q in zip(self.fresh, beliefs, strict=True)])
                for r in range(len(self.denoisers))
            ]
        )
        exact = self.grammar.L
        found: dict[str, Any] = {"near": near, "divergence": near[exact]}
        loss = near[exact] + np.mean([_entropy(p[exact]) for _, _, p in self.fresh])
        seen = [np.asarray(model.denoise(x_t, t)) for x_t, t, _ in self.seen]
        if seen:
            pairs = list(zip(self.seen, seen, strict=True))
            found["train"] = np.mean([_kl(p[0], q) for (_, _, p), q in pairs])
            found["gap"] = (
                loss - found["train"] - np.mean([_entropy(p[0]) for _, _, p in self.seen])
            )
        start = np.zeros((self.samples, self.grammar.n_leaves), dtype=np.int32)
        noise = np.asarray(self.noise.corrupt(start, 1.0, stream(self.seed, "start")))
        chain = SimulatedModel(model, num_steps=self.num_steps)
        made = np.asarray(chain.sample(noise, 1.0, stream(self.seed, "chain")))
        levels = self.grammar.valid_per_level(made)[: self.grammar.L]
        found["valid"] = np.array([x.mean() for x in levels])
        if self.data is not None:
            found["copies"], found["distance"] = copies(made, self.data)
        return found | self._signs(model, made)

    def _signs(self, model: Any, made: Array) -> dict[str, Any]:
        """Readings of a model's own strings, without its training set."""
        middle = float(np.median(self.t))
        x_t = np.asarray(self.noise.corrupt(made, middle, stream(self.seed, "own")))
        widths = model.features(x_t, middle)
        spiky = [_spikiness(np.asarray(h).reshape(len(x_t), -1)) for h in widths.values()]
        return {
            "coincidence": coincidence(made),
            "certainty": -_entropy(np.asarray(model.denoise(x_t, middle))),
            "spikiness": float(np.mean(spiky)),
        }


def _exact(grammar: Grammar, noise: NoiseProcess, x_t: Array, t: float) -> Array:
    return np.asarray(denoise_symbols(grammar, noise, x_t, t))


def _kl(p: Array, q: Array) -> float:
    """Mean divergence per leaf."""
    terms = p * (np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, 1e-30)))
    return float(terms.sum(axis=2).mean())


def _entropy(p: Array) -> float:
    """Mean entropy per leaf."""
    return float(-(p * np.log(np.maximum(p, _TINY))).sum(axis=2).mean())


def _spikiness(h: Array) -> float:
    """Mean inverse participation ratio over units, times their number: 1 balanced, 3 normal."""
    square = h**2
    return float((h.shape[1] * (square**2).sum(1) / np.maximum(square.sum(1) ** 2, _TINY)).mean())
