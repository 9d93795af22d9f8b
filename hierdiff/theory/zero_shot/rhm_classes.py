r"""The RHM with Gaussian emissions: each leaf is a Gaussian about its one-hot symbol.

.. math::
    x_0 = e_a + \tau\,\eta, \qquad x_t = \alpha x_0 + \sigma\varepsilon, \qquad
    \gamma = \alpha^2/\sigma^2

=====================  =====================================================================
symbol                 meaning
=====================  =====================================================================
:math:`\tau`           standard deviation of an emission; with hard leaves one sample decides
:math:`\gamma`         signal-to-noise ratio of the channel
:math:`\kappa`         :math:`1/(1 + \gamma\tau^2)`, what the observation leaves open of a leaf
:math:`p_c`            marginals of the leaves, class clamped to c, [leaves, v]
=====================  =====================================================================

The leaf evidence is :math:`\log\psi(a) = \kappa(\gamma x_0 + \sqrt\gamma\,\varepsilon)[a]`, and

.. math::
    x_0 - \hat x_c = r - \kappa\,p_c, \qquad
    r = \kappa\,(x_0 - \sqrt\gamma\,\tau^2\varepsilon),

written without :math:`\sigma`, so that nothing is divided by zero at either end.

``NodeClasses`` takes the symbol of any node as the class: the tree is cut at the node and both
parts are denoised.

.. math::
    p(x_0 \mid a_{l,i} = a) = p(x_{in} \mid a)\; p(x_{out} \mid a), \qquad
    \hat x_{in}\ \text{from the subtree's grammar},\quad
    \hat x_{out}\ \text{from the whole tree with}\ a_{l,i} = a .

The node is clamped by writing a string of ``a`` below it as hard evidence: in an unambiguous
grammar no other symbol derives that string, so the message it sends up is exactly that of ``a``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    integers,
    memory,
    natural,
    precision,
    sound,
    symbols_of,
)
from hierdiff.contracts import LabelledData
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.zero_shot.inputs import (
    checked_classes,
    checked_data,
    checked_label,
    checked_noise,
    checked_ratios,
    emission_width,
)

__all__ = [
    "GaussianRHM",
    "NodeClasses",
]

Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 1 << 17  # numbers of evidence held at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class GaussianRHM:
    r"""The Random Hierarchy Model with leaves that are Gaussians about one-hot symbols.

    .. math:: x_0 = e_a + \tau\,\eta, \qquad \hat x_c = (1 - g\alpha)\,p_c + g\,x_t, \qquad
        g = \alpha\tau^2 / (\alpha^2\tau^2 + \sigma^2)

    Parameters
    ----------
    grammar : Grammar
        Its root symbols are the classes.
    tau : float
        Standard deviation of the emissions, > 0; relative to the unit distance of a symbol from
        zero.

    Raises
    ------
    InvalidParameter
        If ``tau`` is not finite and > 0, or not within 1e-100 to 1e100.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> data_model = GaussianRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0))
    >>> x0, label = data_model.sample(3, seed=1)
    >>> x0.shape, data_model.log_density(x0).shape
    ((3, 4, 4), (3, 4))
    """

    grammar: Grammar
    tau: float = 0.42

    def __post_init__(self) -> None:
        check_fields(self)
        emission_width("tau", self.tau)

    source = "theory"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.grammar.v[0]

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""
        return self.grammar.root_prior

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a datum: leaves, symbols."""
        return self.grammar.n_leaves, self.grammar.v[self.grammar.L]

    @checked(n=natural)
    def sample(self, n: int, seed: Seed) -> LabelledData:
        """Data [n, leaves, v] and their classes [n]."""
        memory(f"n = {n} data of shape {self.shape}", 24.0 * n * math.prod(self.shape))
        rng = generator(seed)
        data = self.grammar.sample(n, rng)
        return LabelledData(self.emit(data, rng), data.levels[0][:, 0].astype(np.intp))

    @checked
    def emit(self, data: Derivations, seed: Seed) -> Floats:
        """Gaussian emissions [n, leaves, v] of given derivations."""
        leaves, v = self.shape
        symbols = symbols_of("leaves of the data", data.leaves, 0, v)
        if symbols.shape[1] != leaves:
            raise InvalidParameter(f"data have {symbols.shape[1]} leaves; the grammar has {leaves}")
        hard = np.eye(v)[symbols]
        out: Floats = hard + self.tau * generator(seed).standard_normal(hard.shape)
        return out

    @checked
    @sound
    def log_density(self, x0: ArrayLike) -> Floats:
        r"""Class-conditional log-density :math:`\log p(x_0 \mid c)` of clean data, [n, K], nats."""
        x = checked_data(x0, self.shape)
        size, power = x[0].size, self.tau**2
        flat = -0.5 * ((x**2).sum((1, 2)) + self.shape[0]) / power
        flat -= 0.5 * size * np.log(2 * np.pi * power)
        out: Floats = self._evidence(x / power) + flat[:, None]
        return out

    @checked
    @sound
    def noisy_log_odds(self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike) -> Floats:
        r"""Log p(x_t | c) up to a term that no class shares alone, [n, K], nats.

        Parameters
        ----------
        x0, noise, snr
            As in :meth:`errors`; the noisy datum is made of them.
        """
        x = checked_data(x0, self.shape)
        eps = checked_noise(noise, x).astype(float, copy=False)
        ratio = checked_ratios(snr, len(x))[:, None, None]
        return self._evidence((ratio * x + np.sqrt(ratio) * eps) / (1 + ratio * self.tau**2))

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
        r"""Denoising errors of every class, :math:`|x_0 - \hat x_c(x_t)|^2`.

        Parameters
        ----------
        x0 : array [n, leaves, v]
            Clean data.
        noise : array [n, leaves, v]
            The standard normal numbers of the channel.
        snr : float or array [n]
            Signal-to-noise ratio, >= 0.
        classes : sequence of int, optional
            Classes whose error is wanted; default all.
        dtype : float64 or float32
            Precision of the messages.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            For other shapes, NaN, a ratio that is negative or infinite, or no such class.

        Notes
        -----
        Validity: exact for any grammar.
        """
        x, wanted = checked_data(x0, self.shape), checked_classes(classes, self.n_classes)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        out = np.empty((len(x), len(wanted)))
        step = max(1, _BLOCK // x[0].size)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            out[rows] = self._block(x[rows], eps[rows], ratio[rows], wanted, dtype)
        return out

    @checked
    @sound
    def denoise(self, x_t: ArrayLike, snr: ArrayLike, label: ArrayLike) -> Floats:
        r"""Posterior mean :math:`E[x_0 \mid x_t, c]`, [n, leaves, v]; label is a class or [n]."""
        x = checked_data(x_t, self.shape)
        ratio = checked_ratios(snr, len(x))[:, None, None]
        label = checked_label(label, len(x), self.n_classes)
        gain = np.sqrt(ratio) * np.sqrt(1 + ratio)  # gamma / alpha
        kappa = 1 / (1 + ratio * self.tau**2)
        bottom = self.grammar.L
        found = posterior(self.grammar, kappa * gain * x, label, levels=(bottom,))
        out: Floats = kappa * (found.marginals[bottom] + self.tau**2 * gain * x)
        return out

    def _block(
        self, x: NDArray[Any], eps: NDArray[Any], ratio: Floats, wanted: Sequence[int],
        dtype: DTypeLike,
    ) -> Floats:  # fmt: skip
        gamma = ratio[:, None, None]
        kappa, root = 1 / (1 + gamma * self.tau**2), np.sqrt(gamma)
        psi = (kappa * (gamma * x + root * eps)).astype(dtype)
        rest = kappa * (x - self.tau**2 * root * eps)
        # sample last, as the marginals are laid out
        twice = np.ascontiguousarray((2 * rest).transpose(1, 2, 0), dtype)
        scale = kappa.ravel().astype(dtype)
        # |rest|^2 outweighs what differs between classes: it is added in full precision
        out = np.repeat((rest**2).sum((1, 2))[:, None], len(wanted), axis=1)
        bottom = self.grammar.L
        for i, c in enumerate(wanted):
            found = posterior(self.grammar, psi, c, dtype, levels=(bottom,), threads=1)
            mean = found.marginals[bottom].transpose(1, 2, 0) * scale
            out[:, i] += np.einsum("lvn,lvn->n", mean, mean - twice)
        return out

    def _evidence(self, log_psi: Floats) -> Floats:
        """Log-evidence with each class clamped, [n, K]."""
        columns = [
            posterior(self.grammar, log_psi, c, levels=(), threads=1).log_evidence
            for c in range(self.n_classes)
        ]
        return np.stack(columns, axis=1)


# -------------------------------------------------------------- the symbol of any node as the class


@dataclass(frozen=True, eq=False)
class NodeClasses:
    r"""Data of an RHM with Gaussian emissions, classified by the symbol of one node.

    .. math:: \log p(x_0 \mid a) = \log p(x_{in} \mid a) + \log p(x_{out} \mid a)

    Parameters
    ----------
    data_model : GaussianRHM
    level : int
        Level of the node, 0 (root) to L (leaves).
    node : int
        Its place in the level.

    Raises
    ------
    InvalidParameter
        If there is no such node, or the grammar is ambiguous.

    Notes
    -----
    Validity: exact for any unambiguous grammar.  Symbols that cannot stand at the node are no
    classes; ``symbols`` lists those that can.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> data_model = GaussianRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0))
    >>> inner = NodeClasses(data_model, level=1)
    >>> x0, _ = data_model.sample(2, seed=1)
    >>> inner.log_density(x0).shape == (2, inner.n_classes)
    True
    """

    data_model: GaussianRHM
    level: int
    node: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        grammar = self.data_model.grammar
        if not 0 <= self.level <= grammar.L or not 0 <= self.node < grammar.n_nodes(self.level):
            raise InvalidParameter(
                f"level = {self.level}, node = {self.node} is no node; levels run from 0 to"
                f" {grammar.L}"
            )
        if not grammar.is_unambiguous:
            raise InvalidParameter(
                "the grammar is ambiguous, so a node cannot be clamped by a string below it;"
                " classify roots, or draw rules without repetition"
            )

    @property
    def source(self) -> str:
        """What answers."""
        return "theory"

    @property
    def n_classes(self) -> int:
        """Number of symbols that can stand at the node."""
        return len(self.symbols)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a datum: leaves, symbols."""
        return self.data_model.shape

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""
        return self._marginal[self.symbols]

    @cached_property
    def symbols(self) -> NDArray[np.intp]:
        """The symbols that are classes, increasing."""
        return np.flatnonzero(self._marginal > 0)

    @cached_property
    def _marginal(self) -> Floats:
        flat = np.zeros((1, *self.shape))
        found = posterior(self.data_model.grammar, flat, levels=(self.level,), threads=1)
        out: Floats = found.marginals[self.level][0, self.node]
        return out

    @cached_property
    def _inside(self) -> slice:
        """The leaves below the node."""
        width = self.data_model.grammar.n_leaves // self.data_model.grammar.n_nodes(self.level)
        return slice(self.node * width, (self.node + 1) * width)

    @cached_property
    def _subtree(self) -> GaussianRHM | None:
        """The grammar below the node; None for a leaf."""
        grammar = self.data_model.grammar
        if self.level == grammar.L:
            return None
        below = Grammar(
            grammar.rules[self.level :], grammar.weights[self.level :],
            leaf_vocabulary=grammar.v[grammar.L],
        )  # fmt: skip
        return GaussianRHM(below, self.data_model.tau)

    @cached_property
    def _strings(self) -> list[Floats]:
        """Hard evidence of one string of each class, [leaves below, v]."""
        grammar, out = self.data_model.grammar, []
        for a in self.symbols:
            symbols = np.array([a])
            for rules, weights in zip(
                grammar.rules[self.level :], grammar.weights[self.level :], strict=True
            ):
                symbols = rules[symbols, weights.argmax(axis=1)[symbols]].ravel()
            out.append(np.where(np.eye(self.shape[1])[symbols] > 0, 0.0, -np.inf))
        return out

    @checked
    def labels_of(self, symbols: ArrayLike) -> NDArray[np.intp]:
        """Classes [n] of the symbols [n] that stand at the node."""
        found = integers("symbols", symbols, 0, self.shape[1] - 1)
        absent = found[~np.isin(found, self.symbols)]
        if absent.size:
            raise InvalidParameter(
                f"symbols hold {absent.flat[0]}, which cannot stand at the node; give symbols among"
                f" {' '.join(str(self.symbols).split())[:80]}"
            )
        return np.searchsorted(self.symbols, found).astype(np.intp)

    @checked
    @sound
    def log_density(self, x0: ArrayLike) -> Floats:
        r"""Log-density :math:`\log p(x_0 \mid a)` up to a term common to all, [n, K], nats."""
        x = checked_data(x0, self.shape) / self.data_model.tau**2
        flat, columns = np.zeros((1, *self.shape)), []
        for i, a in enumerate(self.symbols):
            below = x[:, self._inside]
            if self._subtree is None:
                inside = below[:, 0, a]
            else:
                inside = posterior(
                    self._subtree.grammar, below, int(a), levels=(), threads=1
                ).log_evidence
            columns.append(inside + self._outside(x, i) - self._outside(flat, i))
        return np.stack(columns, axis=1)

    def _outside(self, log_psi: Floats, i: int) -> Floats:
        clamped = log_psi.copy()
        clamped[:, self._inside] = self._strings[i]
        return posterior(self.data_model.grammar, clamped, levels=(), threads=1).log_evidence

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
        r"""Denoising errors of every class, :math:`|x_0 - \hat x_a(x_t)|^2`, [n, classes].

        Parameters
        ----------
        x0, noise, snr, classes, dtype
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
        Validity: exact for any unambiguous grammar.
        """
        wanted = checked_classes(classes, self.n_classes)
        x = checked_data(x0, self.shape)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        out = np.zeros((len(x), len(wanted)))
        step = max(1, _BLOCK // x[0].size)
        # below the root lies everything
        for start in range(0, len(x) if self.level else 0, step):
            rows = slice(start, start + step)
            out[rows] = self._outer(x[rows], eps[rows], ratio[rows], wanted, dtype)
        inner, width = self._subtree, self._inside
        if inner is None:
            return out + self._leaf(x[:, width], eps[:, width], ratio)[:, wanted]
        symbols = [int(self.symbols[c]) for c in wanted]
        return out + inner.errors(
            x[:, width], eps[:, width], ratio, classes=symbols, dtype=dtype
        )  # fmt: skip

    def _outer(
        self, x: Floats, eps: NDArray[Any], ratio: Floats, wanted: list[int], dtype: DTypeLike
    ) -> Floats:
        """Error of the leaves that are not below the node."""
        gamma, power = ratio[:, None, None], self.data_model.tau**2
        kappa, root = 1 / (1 + gamma * power), np.sqrt(gamma)
        psi = (kappa * (gamma * x + root * eps)).astype(dtype)
        rest = kappa * (x - power * root * eps)
        rest[:, self._inside] = 0.0
        flat = (rest**2).sum((1, 2))
        twice, scale = (2 * rest).astype(dtype), kappa.astype(dtype)
        out = np.empty((len(x), len(wanted)))
        bottom = self.data_model.grammar.L
        for column, c in enumerate(wanted):
            psi[:, self._inside] = self._strings[c]
            found = posterior(
                self.data_model.grammar, psi, dtype=dtype, levels=(bottom,), threads=1
            )  # fmt: skip
            mean = found.marginals[bottom] * scale
            mean[:, self._inside] = 0.0
            out[:, column] = flat + np.einsum("nlv,nlv->n", mean, mean - twice)
        return out

    def _leaf(self, x: Floats, eps: NDArray[Any], ratio: Floats) -> Floats:
        """Error of a leaf whose symbol is given."""
        gamma, power = ratio[:, None, None], self.data_model.tau**2
        kappa = 1 / (1 + gamma * power)
        rest = (kappa * (x - power * np.sqrt(gamma) * eps))[:, 0, None]
        hard = np.eye(self.shape[1])[self.symbols]
        out: Floats = ((rest - kappa * hard) ** 2).sum(axis=2)
        return out
