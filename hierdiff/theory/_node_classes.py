r"""The symbol of any node as the class: the tree is cut at the node and both parts denoised.

.. math::
    p(x_0 \mid a_{l,i} = a) = p(x_{in} \mid a)\; p(x_{out} \mid a), \qquad
    \hat x_{in}\ \text{from the subtree's grammar},\quad
    \hat x_{out}\ \text{from the whole tree with}\ a_{l,i} = a .

The node is clamped by writing a sentence of ``a`` below it as hard evidence: in an unambiguous
grammar no other symbol derives that sentence, so the message it sends up is exactly that of ``a``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import check_fields, checked, integers, precision, sound
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Grammar
from hierdiff.theory._class_inputs import (
    checked_classes,
    checked_data,
    checked_noise,
    checked_ratios,
)
from hierdiff.theory._soft_leaves import SoftLeaves
from hierdiff.theory.belief_propagation import posterior

__all__ = ["NodeClasses"]

Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 1 << 17


@dataclass(frozen=True, eq=False)
class NodeClasses:
    r"""Data of a soft-leaf grammar, classified by the symbol of one node.

    .. math:: \log p(x_0 \mid a) = \log p(x_{in} \mid a) + \log p(x_{out} \mid a)

    Parameters
    ----------
    world : SoftLeaves
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
    >>> world = SoftLeaves(RHM(v=4, m=2, s=2, L=2).draw(seed=0))
    >>> inner = NodeClasses(world, level=1)
    >>> x0, _ = world.sample(2, seed=1)
    >>> inner.log_density(x0).shape == (2, inner.n_classes)
    True
    """

    world: SoftLeaves
    level: int
    node: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        grammar = self.world.grammar
        if not 0 <= self.level <= grammar.L or not 0 <= self.node < grammar.n_nodes(self.level):
            raise InvalidParameter(
                f"level = {self.level}, node = {self.node} is no node; levels run from 0 to"
                f" {grammar.L}"
            )
        if not grammar.is_unambiguous:
            raise InvalidParameter(
                "the grammar is ambiguous, so a node cannot be clamped by a sentence below it;"
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
        return self.world.shape

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
        found = posterior(self.world.grammar, flat, levels=(self.level,), threads=1)
        out: Floats = found.marginals[self.level][0, self.node]
        return out

    @cached_property
    def _inside(self) -> slice:
        """The leaves below the node."""
        width = self.world.grammar.n_leaves // self.world.grammar.n_nodes(self.level)
        return slice(self.node * width, (self.node + 1) * width)

    @cached_property
    def _subtree(self) -> SoftLeaves | None:
        """The grammar below the node; None for a leaf."""
        grammar = self.world.grammar
        if self.level == grammar.L:
            return None
        below = Grammar(
            grammar.rules[self.level :], grammar.weights[self.level :],
            leaf_vocabulary=grammar.v[grammar.L],
        )  # fmt: skip
        return SoftLeaves(below, self.world.tau)

    @cached_property
    def _sentences(self) -> list[Floats]:
        """Hard evidence of one sentence of each class, [leaves below, v]."""
        grammar, out = self.world.grammar, []
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
        x = checked_data(x0, self.shape) / self.world.tau**2
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
        clamped[:, self._inside] = self._sentences[i]
        return posterior(self.world.grammar, clamped, levels=(), threads=1).log_evidence

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
            As in ``SoftLeaves.errors``.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            As ``SoftLeaves.errors``.

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
        gamma, power = ratio[:, None, None], self.world.tau**2
        kappa, root = 1 / (1 + gamma * power), np.sqrt(gamma)
        psi = (kappa * (gamma * x + root * eps)).astype(dtype)
        rest = kappa * (x - power * root * eps)
        rest[:, self._inside] = 0.0
        flat = (rest**2).sum((1, 2))
        twice, scale = (2 * rest).astype(dtype), kappa.astype(dtype)
        out = np.empty((len(x), len(wanted)))
        bottom = self.world.grammar.L
        for column, c in enumerate(wanted):
            psi[:, self._inside] = self._sentences[c]
            found = posterior(
                self.world.grammar, psi, dtype=dtype, levels=(bottom,), threads=1
            )  # fmt: skip
            mean = found.marginals[bottom] * scale
            mean[:, self._inside] = 0.0
            out[:, column] = flat + np.einsum("nlv,nlv->n", mean, mean - twice)
        return out

    def _leaf(self, x: Floats, eps: NDArray[Any], ratio: Floats) -> Floats:
        """Error of a leaf whose symbol is given."""
        gamma, power = ratio[:, None, None], self.world.tau**2
        kappa = 1 / (1 + gamma * power)
        rest = (kappa * (x - power * np.sqrt(gamma) * eps))[:, 0, None]
        hard = np.eye(self.shape[1])[self.symbols]
        out: Floats = ((rest - kappa * hard) ** 2).sum(axis=2)
        return out
