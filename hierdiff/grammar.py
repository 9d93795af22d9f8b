r"""The Random Hierarchy Model: its parameters, and the grammars that are drawn from it.

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
L                      depth; levels run from the root (0) to the leaves (L)
v_l                    number of symbols of level l (v_0 of them are the classes)
m_l, s_l               rules per symbol of level l, and symbols that a rule writes in level l + 1
a -> (b_1 ... b_s)     rule k of symbol a, used with probability pi_l(k | a)
=====================  ==========================================================================

A derivation draws the root from its prior p_0 and then, level by level, one rule for every node:

.. math:: p(\text{derivation}) = p_0(a_0) \prod_{l=0}^{L-1} \prod_i \pi_l(k_i | a_i),
   \qquad p(x) = \sum_{\text{derivations of } x} p(\text{derivation}).

A grammar is *unambiguous* when no two rules of a level share a right-hand side; a leaf string x
then has at most one derivation.  The Random Hierarchy Model draws such grammars: v symbols on
every level, m equiprobable rules for each, all m v right-hand sides of a level distinct.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from hierdiff._derivations import Derivations
from hierdiff._layered import Grammar
from hierdiff._rules import MAX_BRANCHES, MAX_DEPTH, MAX_SYMBOLS, draw_tuples
from hierdiff.checks import accepts, advise, checked, count, memory, whole
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["RHM", "Derivations", "Grammar", "affordable"]


_WIDEST = 2**63 - 1  # symbols in closed forms; those of grammars that are drawn are int32


@dataclass(frozen=True)
class RHM:
    r"""Parameters of the Random Hierarchy Model: v symbols, m rules, branching s, depth L.

    .. math:: \text{number of data} = n_c\, m^{(s^L - 1)/(s - 1)}, \qquad f = (mv - 1)/(v^s - 1)

    Parameters
    ----------
    v : int
        Symbols per level.
    m : int
        Rules per symbol; all m v right-hand sides of a level are distinct.
    s : int
        Symbols that a rule writes.
    L : int
        Levels of rules; a datum has s**L leaves.
    n_classes : int, optional
        Symbols at the root (default v, and then stored as such).

    Raises
    ------
    InvalidParameter
        If a size is no positive integer, or a level needs more tuples than the v**s there are; if
        s exceeds 4096, L 32768, or v or n_classes 2**63 - 1: v**s and s**L are exact integers,
        whose arithmetic would take minutes.

    Notes
    -----
    Validity: exact.

    References
    ----------
    arXiv 2307.02129 (model), 2402.16991 (under diffusion).

    Examples
    --------
    >>> rhm = RHM(v=32, m=8, s=2, L=10)
    >>> rhm.n_leaves, round(rhm.f, 8), round(rhm.log_n_data / math.log(2))
    (1024, 0.24926686, 3074)
    """

    v: int
    m: int
    s: int
    L: int
    n_classes: int

    def __init__(self, v: int, m: int, s: int, L: int, n_classes: int | None = None) -> None:
        sizes = {"v": v, "m": m, "s": s, "L": L, "n_classes": v if n_classes is None else n_classes}
        most = {"v": _WIDEST, "s": MAX_BRANCHES, "L": MAX_DEPTH, "n_classes": _WIDEST}
        for name, value in sizes.items():
            object.__setattr__(self, name, whole(name, value, 1, most.get(name)))
        available = self.v**self.s
        for name, symbols in (("v", self.v), ("n_classes", self.n_classes)):
            if self.m * symbols > available:
                raise InvalidParameter(
                    f"m * {name} = {self.m * symbols} rules exceed the v**s = {available} "
                    f"available tuples; lower {'m' if name == 'v' else 'm or n_classes'} or raise s"
                )

    @property
    def n_leaves(self) -> int:
        """Leaves of a datum, s**L."""
        return int(self.s**self.L)

    @property
    def log_n_data(self) -> float:
        """Natural logarithm of the number of data, n_classes * m**((s**L - 1) / (s - 1))."""
        inner_nodes = self.L if self.s == 1 else (self.n_leaves - 1) // (self.s - 1)
        if self.m == 1:
            return math.log(self.n_classes)
        # beyond any float where the number of leaves is
        nodes = float(inner_nodes) if inner_nodes.bit_length() < 1000 else math.inf
        return math.log(self.n_classes) + nodes * math.log(self.m)

    @property
    def f(self) -> float:
        """Fraction (m v - 1) / (v**s - 1) of the other tuples that are rules; 1 if all are."""
        rules, available = self.m * self.v, self.v**self.s
        return 1.0 if rules == available else (rules - 1) / (available - 1)

    def __getattr__(self, name: str) -> NoReturn:
        """An attribute of a grammar, asked of its parameters."""
        remedy = ""
        if name in _OF_GRAMMARS:
            remedy = f"; it holds parameters, draw a grammar first: rhm.draw(seed).{name}"
        raise AttributeError(f"RHM has no attribute {name!r}{remedy}", name=name, obj=self)

    @checked
    def draw(self, seed: Seed) -> Grammar:
        """Draw a grammar: each level's tuples uniformly without replacement, levels independent.

        Parameters
        ----------
        seed : Seed
            Source of randomness.

        Returns
        -------
        Grammar
            Unambiguous, with equiprobable rules and classes.

        Notes
        -----
        Validity: exactly uniform for any v, m, s; memory grows with m * v, not with v**s.

        Examples
        --------
        >>> RHM(v=256, m=4, s=4, L=2).draw(seed=0)
        Grammar(L=2, v=256, m=4, s=4)
        """
        rng = generator(seed)
        if max(self.v, self.n_classes) > MAX_SYMBOLS:
            raise InvalidParameter(
                f"v = {self.v}, n_classes = {self.n_classes}: symbols of a grammar are int32; give "
                f"at most {MAX_SYMBOLS}"
            )
        memory(
            f"a grammar of {self.L} levels with m * v = {self.m * self.v} rules each",
            16.0 * self.L * min(self.m * self.v * self.s, 1 << 900),
        )
        symbols = [self.n_classes] + [self.v] * (self.L - 1)
        rules = [draw_tuples(n * self.m, self.v, self.s, rng) for n in symbols]
        return Grammar(
            [tuples.reshape(-1, self.m, self.s) for tuples in rules], leaf_vocabulary=self.v
        )


_OF_GRAMMARS = frozenset(name for name in vars(Grammar) if not name.startswith("_"))


def _no_rhm(name: str, value: Any, arguments: Mapping[str, Any]) -> None:
    """Tell how parameters are written where they come as a tuple."""
    if isinstance(value, (tuple, list)) and 3 <= len(value) <= 5:
        words = ("v", "m", "s", "L", "n_classes")[: len(value)]
        sizes = [f"{word}={x!r}" for word, x in zip(words, value, strict=True)]
        sizes += ["L=2"] if len(value) == 3 else []
        raise InvalidParameter(f"{name} = {value!r} must be an RHM; give RHM({', '.join(sizes)})")


accepts(RHM, _no_rhm)
advise("Grammar", "RHM", "draw one with rhm.draw(seed)")
advise("RHM", "Grammar", "give the parameters it was drawn with, RHM(v=..., m=..., s=..., L=...)")
advise("Derivations", "ndarray", "parse leaves with grammar.parse(leaves)")


@checked(data=count)
def affordable(rhm: RHM, data: int = 1) -> None:
    """Refuse data that do not fit into memory, before any of them is drawn.

    A datum has s**L leaves; one task holds its data, and the beliefs of one datum at least.

    Parameters
    ----------
    rhm : RHM
    data : int
        Data of one task.

    Raises
    ------
    InvalidParameter
        If the machine has less memory.

    Notes
    -----
    Validity: a lower bound; what passes may still run out of memory.

    Examples
    --------
    >>> affordable(RHM(32, 8, 2, 60))
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: 1 data of s**L = 2**60 leaves needs 6e+11 GB of memory, more
    than this machine has; choose smaller sizes
    """
    # symbols and noisy symbols are int32, beliefs at the leaves and above are float64
    leaves = min(float(rhm.L) * math.log(rhm.s), 600.0)
    size = math.exp(leaves) * (8.0 * data + 16.0 * rhm.v)
    memory(f"{data} data of s**L = {rhm.s}**{rhm.L} leaves", size)
