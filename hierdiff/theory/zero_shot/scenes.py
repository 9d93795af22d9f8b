r"""Scenes with several attributes: two objects with two attributes each, and shape with texture.

``TwoObjectScenes``: prompts that bind attributes to objects, and scorers that do not.

Every attribute value is the root of a grammar; an object is a shape string and a colour string,
a scene two objects.  A prompt does not state which place an object has, so its denoiser
is the exact mixture over the places:

.. math::
    p(x_0 \mid \text{prompt}) = \sum_j \tfrac12 \prod_b p(x_b \mid a_{bj}), \qquad
    \hat x = \sum_j w_j(x_t)\, \hat x_j, \quad w_j \propto \prod_b p(x_{t,b} \mid a_{bj}),

with :math:`a_{bj}` the value that reading j of the prompt gives block b, or nothing (the prior).
The four blocks are shape and colour of the first object, then of the second.

``ShapeTexture`` holds shape and texture: a tree, and independent symbols of one histogram.

.. math::
    x_0 = \big(e_a + \tau\eta,\; k\,(e_b + \tau\eta')\big), \qquad
    a \sim \text{tree of class}\ c, \quad b_i \sim h_c\ \text{independently}.

The symbols of the texture are leaves, or stand at a higher level of the tree and are written down
to the leaves by the rules of the grammar: depth and amplitude of the second cue are separate.

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`h_c`            histogram of the texture symbols of class c
:math:`k`              amplitude of the texture channel; no clean likelihood depends on it
=====================  =======================================================================

A channel of amplitude k at SNR :math:`\gamma` is one of unit amplitude at :math:`k^2\gamma`, with
errors times :math:`k^2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.special import logsumexp

from hierdiff.checks import (
    array,
    check_fields,
    checked,
    count,
    frozen,
    integers,
    memory,
    natural,
    number,
    precision,
    reals,
    sound,
    unchecked,
    whole,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.zero_shot.inputs import (
    checked_classes,
    checked_data,
    checked_labels,
    checked_noise,
    checked_ratios,
    emission_width,
)
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM

__all__ = [
    "PROMPTS",
    "Prompt",
    "ShapeTexture",
    "TwoObjectScenes",
]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ShapeTexture:
    r"""Data whose class shows in a tree (shape) and in a histogram (texture).

    .. math:: \log p(x_0 \mid c) = \log p_{tree}(x_{shape} \mid c)
        + \sum_i \log \sum_b h_c(b)\, N\big(x_i; k e_b, k^2\tau^2\big)

    Parameters
    ----------
    shape_model : GaussianRHM
        The tree; texture has as many leaves, symbols and emissions of the same width.
    histograms : array [K, v]
        Rows of probabilities.
    amplitude : float
        k > 0 of the texture.
    level : int, optional
        Level of the tree at whose nodes the symbols of the texture are drawn, 0 (root) to L;
        default L, the leaves.

    Raises
    ------
    InvalidParameter
        If histograms are no probabilities, one per class, the amplitude is not positive, or there
        is no such level.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> tree = GaussianRHM(RHM(v=2, m=1, s=2, L=1).draw(seed=0))
    >>> data_model = ShapeTexture(tree, [[0.9, 0.1], [0.1, 0.9]])
    >>> x0 = data_model.conflict([0, 1], [1, 0], seed=1)
    >>> x0.shape, data_model.log_density(x0).shape
    ((2, 2, 2, 2), (2, 2))

    A texture at the level of the root, of one symbol per class, has the law of the shape:

    >>> deep = ShapeTexture(tree, np.eye(2), level=0)
    >>> form, paint = deep.log_densities(np.stack([x0[:, 0], x0[:, 0]], axis=1))
    >>> np.allclose(np.diff(form), np.diff(paint))
    True
    """

    shape_model: GaussianRHM
    histograms: ArrayLike
    amplitude: float = 1.0
    level: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self, level=unchecked)
        grammar = self.shape_model.grammar
        if self.level is not None:
            whole("level", self.level, 0, grammar.L)
        table = reals("histograms", self.histograms)
        expected = (self.n_classes, grammar.v[self._level])
        if table.shape != expected or (table < 0).any() or np.abs(table.sum(1) - 1).max() > 1e-9:
            raise InvalidParameter(
                f"histograms of shape {table.shape} must be {expected}, rows of probabilities"
            )
        # its square divides the data
        if not 1e-100 <= self.amplitude <= 1e100:
            raise InvalidParameter(
                f"amplitude = {self.amplitude} must be finite and > 0, from 1e-100 to 1e100"
            )
        object.__setattr__(self, "histograms", frozen(table))

    @property
    def _level(self) -> int:
        """Level of the symbols of the texture."""
        return self.shape_model.grammar.L if self.level is None else self.level

    @cached_property
    def _below(self) -> list[Grammar] | None:
        """What a node of the texture writes in each class; None where nodes are leaves."""
        grammar, at = self.shape_model.grammar, self._level
        if at == grammar.L:
            return None
        return [
            Grammar(grammar.rules[at:], grammar.weights[at:], root_prior=row,
                    leaf_vocabulary=grammar.v[grammar.L])
            for row in np.asarray(self.histograms)
        ]  # fmt: skip

    def _nodes(self, x: NDArray[Any]) -> NDArray[Any]:
        """Leaves [n, leaves, v] by node of the texture, [n nodes, leaves below, v]."""
        nodes = self.shape_model.grammar.n_nodes(self._level)
        return x.reshape(len(x) * nodes, x.shape[1] // nodes, x.shape[2])

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.shape_model.n_classes

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""
        return self.shape_model.prior

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a datum: channel (shape, texture), leaves, symbols."""
        return (2, *self.shape_model.shape)

    @checked
    def conflict(self, shapes: ArrayLike, textures: ArrayLike, seed: Seed) -> Floats:
        """Data [n, 2, leaves, v] with the shape of one class and the texture of another."""
        n, (_, leaves, v) = array("shapes", shapes).size, self.shape
        memory(f"{n} data of shape {self.shape}", 32.0 * n * leaves * v)
        root = checked_labels(shapes, n, self.n_classes)
        painted = checked_labels(textures, n, self.n_classes)
        rng, tau = generator(seed), self.shape_model.tau
        form = self.shape_model.emit(self.shape_model.grammar.sample(n, rng, root=root), rng)
        edges = np.cumsum(np.asarray(self.histograms), axis=1)[painted]
        nodes = self.shape_model.grammar.n_nodes(self._level)
        uniform = rng.random((n, nodes)) * edges[:, -1:]
        symbols = (uniform[..., None] >= edges[:, None, :-1]).sum(axis=2)
        if self._below is not None:
            written = self._below[0].sample(n * nodes, rng, root=symbols.ravel())
            symbols = written.leaves.reshape(n, leaves)
        paint = np.eye(v)[symbols] + tau * rng.standard_normal((n, leaves, v))
        return np.stack([form, self.amplitude * paint], axis=1)

    @checked
    @sound(infinite=True)
    def log_density(self, x0: ArrayLike) -> Floats:
        """Log p(x0 | c) of both channels together, up to a common term, [n, K], nats."""
        form, paint = self.log_densities(x0)
        return form + paint

    @checked(blur=partial(number, low=0))
    @sound(infinite=True)
    def log_densities(self, x0: ArrayLike, blur: float = 1.0) -> tuple[Floats, Floats]:
        """Log p of the shape and of the texture, each [n, K], up to terms common to the classes.

        Parameters
        ----------
        x0 : array [n, 2, leaves, v]
        blur : float
            Factor on the texture at test time only: 1 leaves it, 0 filters it out.
        """
        x, tau = checked_data(x0, self.shape), self.shape_model.tau
        paint = blur * x[:, 1] / self.amplitude / tau**2
        if self._below is not None:
            evidence = [
                posterior(g, self._nodes(paint), levels=(), threads=1).log_evidence
                for g in self._below
            ]
            sums = np.stack([one.reshape(len(x), -1).sum(axis=1) for one in evidence], axis=1)
            return self.shape_model.log_density(x[:, 0]), sums
        with np.errstate(divide="ignore"):
            log_h = np.log(np.asarray(self.histograms))
        texture = [logsumexp(paint + row, axis=2).sum(axis=1) for row in log_h]
        return self.shape_model.log_density(x[:, 0]), np.stack(texture, axis=1)

    @checked(dtype=precision)
    @sound
    def errors(
        self,
        x0: ArrayLike,
        noise: ArrayLike,
        snr: ArrayLike,
        *,
        classes: Sequence[int] | None = None,
        dtype: DTypeLike = np.float64,
    ) -> Floats:
        r"""Denoising errors of every class, both channels together, [n, classes].

        Parameters
        ----------
        x0, noise : array [n, 2, leaves, v]
        snr, classes, dtype
            As in ``GaussianRHM.errors``.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            As ``GaussianRHM.errors``.

        Notes
        -----
        Validity: exact.
        """
        checked_data(x0, self.shape)
        x = np.asarray(x0)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        wanted = checked_classes(classes, self.n_classes)
        found = self.shape_model.errors(x[:, 0], eps[:, 0], ratio, classes=wanted, dtype=dtype)
        return found + self._texture(x[:, 1], eps[:, 1], ratio, wanted, dtype)

    def _texture(
        self, x: NDArray[Any], eps: NDArray[Any], ratio: Floats, wanted: list[int],
        dtype: DTypeLike,
    ) -> Floats:  # fmt: skip
        """Errors of the texture [n, classes]: sums over symbols are products with histograms."""
        k, power = self.amplitude, self.shape_model.tau**2
        own = ratio[:, None, None] * k**2
        kappa, noisy = 1 / (1 + own * power), np.sqrt(own) * eps
        psi = (kappa * (own * x / k + noisy)).astype(dtype)
        if self._below is not None:
            return k**2 * self._deep(psi, kappa, kappa * (x / k - power * noisy), wanted)
        psi = np.exp(psi - psi.max(axis=2, keepdims=True))
        rest = kappa * (x / k - power * noisy)
        h = np.asarray(self.histograms)[wanted].T.astype(dtype)
        total = psi @ h  # [n, leaves, classes], positive: a soft symbol excludes none
        square = (psi**2) @ (h**2) / total**2
        cross = (psi * rest.astype(dtype)) @ h / total
        scale = kappa.astype(dtype)
        gap = (scale * (scale * square - 2 * cross)).sum(axis=1)
        return np.asarray(k**2 * ((rest**2).sum((1, 2))[:, None] + gap))

    def _deep(self, psi: NDArray[Any], kappa: Floats, rest: Floats, wanted: list[int]) -> Floats:
        """Errors of a texture above the leaves [n, classes]: every node is a tree of its own."""
        assert self._below is not None
        bottom = self._below[0].L
        flat, columns = (rest**2).sum((1, 2)), []
        for c in wanted:
            found = posterior(
                self._below[c], self._nodes(psi), dtype=psi.dtype, levels=(bottom,), threads=1
            )
            mean = kappa * found.marginals[bottom].reshape(psi.shape)
            columns.append(flat + np.einsum("nlv,nlv->n", mean, mean - 2 * rest))
        return np.stack(columns, axis=1)


# ------------------------------------------------------------------ two objects with two attributes

Prompt: TypeAlias = tuple[tuple[int, int, int, int], ...]

FIRST, SECOND, ABSENT, ANY = 0, 1, 2, 3
"""Codes of a block: the value of the first object, of the second, one of neither, anything."""

PROMPTS: dict[str, Prompt] = {
    "pair": ((FIRST, FIRST, SECOND, SECOND), (SECOND, SECOND, FIRST, FIRST)),
    "pair swapped": ((FIRST, SECOND, SECOND, FIRST), (SECOND, FIRST, FIRST, SECOND)),
    "first": ((FIRST, FIRST, ANY, ANY), (ANY, ANY, FIRST, FIRST)),
    "first recoloured": ((FIRST, SECOND, ANY, ANY), (ANY, ANY, FIRST, SECOND)),
    "second": ((SECOND, SECOND, ANY, ANY), (ANY, ANY, SECOND, SECOND)),
    "second recoloured": ((SECOND, FIRST, ANY, ANY), (ANY, ANY, SECOND, FIRST)),
    "colour": ((ANY, FIRST, ANY, ANY), (ANY, ANY, ANY, FIRST)),
    "colour absent": ((ANY, ABSENT, ANY, ANY), (ANY, ANY, ANY, ABSENT)),
}
"""Readings of every prompt; "first recoloured" is also "second reshaped"."""


def _checked_prompts(name: str, prompts: Any) -> tuple[Prompt, ...]:
    """Prompts of one reading or more, each with one code for every block."""
    rule = 'give entries of PROMPTS, e.g. (PROMPTS["pair"], PROMPTS["pair swapped"])'
    known = {FIRST, SECOND, ABSENT, ANY}
    found: list[Prompt] = []
    for prompt in prompts if isinstance(prompts, (tuple, list)) else ():
        readings = prompt if isinstance(prompt, (tuple, list)) else ()
        if not readings or not all(
            isinstance(r, (tuple, list)) and len(r) == 4
            and all(type(code) is int and code in known for code in r)
            for r in readings
        ):  # fmt: skip
            words = " ".join(repr(prompt).split())[:60]
            raise InvalidParameter(
                f"{name}[{len(found)}] = {words} is no tuple of readings, four codes 0 to 3 each; "
                f"{rule}"
            )
        found.append(tuple((r[0], r[1], r[2], r[3]) for r in readings))
    if not found:
        raise InvalidParameter(
            f"{name} = {' '.join(repr(prompts).split())[:60]} must be a tuple of prompts; {rule}"
        )
    return tuple(found)


@dataclass(frozen=True, eq=False)
class TwoObjectScenes:
    """Scenes of two objects with different shapes and different colours.

    Parameters
    ----------
    shapes, colours : Grammar
        Their root symbols are the values; both of one size.
    tau : float
        Standard deviation of the emissions, > 0.
    area : int
        Copies of the second object's colour leaves, each with independent emissions.

    Raises
    ------
    InvalidParameter
        If the grammars differ in size or have fewer than three values, or for bad numbers.

    Notes
    -----
    Validity: exact for any grammars.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> data_model = TwoObjectScenes(RHM(4, 2, 2, 2).draw(0), RHM(4, 2, 2, 2).draw(1), area=4)
    >>> scene, values = data_model.sample(3, seed=2)
    >>> scene.shape, values.shape  # 4 + 4 + 4 + 4 * 4 leaves; values [n, attribute, code]
    ((3, 28, 4), (3, 2, 3))
    """

    shapes: Grammar
    colours: Grammar
    tau: float = 0.42
    area: int = 1

    def __post_init__(self) -> None:
        check_fields(self, area=count)
        a, b = self.shapes, self.colours
        if a.v != b.v or a.n_leaves != b.n_leaves or a.v[0] < 3:
            raise InvalidParameter(
                f"grammars {a} and {b} must agree in size and have at least three values"
            )
        emission_width("tau", self.tau)
        memory(f"area = {self.area} copies of {b.n_leaves} leaves", 8.0 * self._size * a.v[-1])

    @property
    def copies(self) -> tuple[int, int, int, int]:
        """Copies of the leaves of each block."""
        return (1, 1, 1, self.area)

    @property
    def _size(self) -> int:
        """Leaves of all blocks."""
        return sum(self.copies) * self.shapes.n_leaves

    @cached_property
    def _places(self) -> list[slice]:
        ends = np.cumsum([0, *self.copies]) * self.shapes.n_leaves
        return [slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def _grammar(self, block: int) -> Grammar:
        return self.colours if block % 2 else self.shapes

    @checked(n=natural)
    def sample(self, n: int, seed: Seed) -> tuple[Floats, NDArray[np.intp]]:
        """Scenes [n, leaves of all blocks, v] and values [n, attribute, code].

        The codes are the value of the first object, of the second, and one that neither has.
        """
        size = self._size * self.shapes.v[-1]
        memory(f"n = {n} scenes of {size} numbers", 24.0 * n * size)
        rng, v = generator(seed), self.shapes.v[0]
        order = rng.permuted(np.tile(np.arange(v), (n, 2, 1)), axis=2)[..., :3]
        roots = np.stack([order[:, b % 2, b // 2] for b in range(4)], axis=1)
        return self.emit(roots, rng), order.astype(np.intp)

    @checked
    def emit(self, roots: ArrayLike, seed: Seed) -> Floats:
        """Scenes [n, leaves of all blocks, v] of given values [n, 4], one for every block.

        Raises
        ------
        InvalidParameter
            If the values are no root symbols.
        """
        values = integers("roots", roots, 0, self.shapes.v[0] - 1, shape=(None, 4))
        memory(f"{len(values)} scenes", 24.0 * len(values) * self._size * self.shapes.v[-1])
        rng, parts = generator(seed), []
        for block, copies in enumerate(self.copies):
            grammar = self._grammar(block)
            leaves = grammar.sample(len(values), rng, root=values[:, block]).leaves
            hard = np.tile(np.eye(self.shapes.v[-1])[leaves], (1, copies, 1))
            parts.append(hard + self.tau * rng.standard_normal(hard.shape))
        return np.concatenate(parts, axis=1)

    @checked(prompts=_checked_prompts, dtype=precision)
    @sound
    def prompt_errors(
        self,
        x0: ArrayLike,
        values: NDArray[np.intp],
        noise: ArrayLike,
        snr: ArrayLike,
        prompts: tuple[Prompt, ...],
        *,
        dtype: DTypeLike = np.float64,
    ) -> Floats:
        r"""Denoising errors of every prompt, :math:`|x_0 - \hat x_{prompt}(x_t)|^2`, [n, prompts].

        Parameters
        ----------
        x0, noise : array [n, leaves, v]
        values : int array [n, attribute, code]
            As :meth:`sample` returns them.
        snr : float or array [n]
        prompts : tuple of Prompt
        dtype : float64 or float32
            Precision of the messages.

        Raises
        ------
        InvalidParameter
            For other shapes, NaN, values that are no symbols, or no prompt.

        Notes
        -----
        Validity: exact.
        """
        x, values = self._checked(x0, values)
        eps = checked_noise(noise, x)
        gamma = checked_ratios(snr, len(x))[:, None, None]
        kappa, root, power = 1 / (1 + gamma * self.tau**2), np.sqrt(gamma), self.tau**2
        psi, rest = kappa * (gamma * x + root * eps), kappa * (x - power * root * eps)
        evidence, means = self._beliefs(psi, values, prompts, dtype)
        out = np.repeat((rest**2).sum((1, 2))[:, None], len(prompts), axis=1)
        scale = kappa.astype(dtype)
        pulls = [2 * self._folded(rest, b).astype(dtype) for b in range(4)]
        for i, prompt in enumerate(prompts):
            weight = self._readings(evidence, prompt).astype(dtype)
            for b in range(4):
                mean = sum(
                    w[:, None, None] * means[b, reading[b]]
                    for w, reading in zip(weight, prompt, strict=True)
                )
                mean = scale * mean
                out[:, i] += np.einsum("nlv,nlv->n", mean, self.copies[b] * mean - pulls[b])
        return out

    @checked(prompts=_checked_prompts)
    @sound
    def log_density(
        self, x0: ArrayLike, values: NDArray[np.intp], prompts: tuple[Prompt, ...]
    ) -> Floats:
        """Log p(x0 | prompt) up to a term common to all prompts, [n, prompts], nats."""
        x, values = self._checked(x0, values)
        psi = x / self.tau**2
        evidence, _ = self._beliefs(psi, values, prompts, np.float64)
        columns = [
            logsumexp([sum(evidence[b, r[b]] for b in range(4)) for r in prompt], axis=0)
            - np.log(len(prompt))
            for prompt in prompts
        ]
        return np.stack(columns, axis=1)

    @checked
    @sound
    def bag_scores(self, x0: ArrayLike) -> tuple[Floats, Floats]:
        r"""Log-probability that each shape, each colour is *somewhere* in the scene, each [n, v].

        .. math:: \log\big(1 - \prod_{places} (1 - p(a \mid x_{place}))\big)

        What a scorer has that knows which attributes are present and not which go together.
        """
        psi, out = checked_data(x0, (self._size, self.shapes.v[-1])) / self.tau**2, []
        for attribute in (0, 1):
            missing = np.zeros((len(psi), self.shapes.v[0]))
            for block in (attribute, attribute + 2):
                grammar = self._grammar(block)
                found = posterior(grammar, self._folded(psi, block), levels=(0,), threads=1)
                missing = missing + np.log1p(-np.minimum(found.marginals[0][:, 0], 1 - 1e-16))
            out.append(np.log(np.maximum(-np.expm1(missing), 1e-300)))
        return out[0], out[1]

    def _checked(self, x0: ArrayLike, values: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
        """Scenes [n, leaves, v] and their values [n, attribute, code]."""
        x = checked_data(x0, (self._size, self.shapes.v[-1]))
        codes = integers("values", values, 0, self.shapes.v[0] - 1, shape=(len(x), 2, 3))
        return x, codes.astype(np.intp)

    def _folded(self, x: NDArray[Any], block: int) -> NDArray[Any]:
        """Sum over the copies of a block, [n, leaves, v]."""
        part = x[:, self._places[block]]
        out: NDArray[Any] = part.reshape(len(x), self.copies[block], -1, part.shape[2]).sum(axis=1)
        return out

    def _beliefs(
        self, psi: Floats, values: NDArray[np.intp], prompts: tuple[Prompt, ...], dtype: DTypeLike
    ) -> tuple[dict[tuple[int, int], Floats], dict[tuple[int, int], NDArray[Any]]]:
        """Log-evidence [n] and leaf marginals [n, leaves, v] by block and code."""
        evidence, means = {}, {}
        for b in range(4):
            grammar, folded = self._grammar(b), self._folded(psi, b).astype(dtype)
            for code in sorted({reading[b] for prompt in prompts for reading in prompt}):
                root = None if code == ANY else values[:, b % 2, code]
                found = posterior(
                    grammar, folded, root, dtype, levels=(grammar.L,), threads=1
                )  # fmt: skip
                evidence[b, code] = found.log_evidence
                means[b, code] = found.marginals[grammar.L]
        return evidence, means

    @staticmethod
    def _readings(evidence: dict[tuple[int, int], Floats], prompt: Prompt) -> Floats:
        """Posterior of the readings of a prompt, [readings, n]."""
        joint = np.stack([sum(evidence[b, r[b]] for b in range(4)) for r in prompt])
        return np.asarray(np.exp(joint - logsumexp(joint, axis=0)))
