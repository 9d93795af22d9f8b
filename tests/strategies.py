"""Hypothesis strategies: small random grammars, with sizes that differ from level to level."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from hierdiff.data.rhm import RHM, Grammar

__all__ = ["grammars", "rhms"]


@st.composite
def rhms(draw: st.DrawFn, max_v: int = 6, max_s: int = 3, max_L: int = 3) -> RHM:
    """Valid parameters of the Random Hierarchy Model."""
    v, s = draw(st.integers(1, max_v)), draw(st.integers(1, max_s))
    m = draw(st.integers(1, v ** (s - 1)))
    n_classes = draw(st.integers(1, v**s // m))
    return RHM(v, m, s, draw(st.integers(1, max_L)), n_classes)


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Rows that sum to one; about a quarter of the entries are zero, never a whole row."""
    raw = rng.exponential(size=shape) * (rng.random(shape) > 0.25)
    raw[..., 0] += raw.sum(axis=-1) == 0
    rows: NDArray[np.float64] = raw / raw.sum(axis=-1, keepdims=True)
    return rows


def _distinct(rng: np.random.Generator, v: int, m: int, s: int, below: int) -> NDArray[np.integer]:
    codes = rng.permutation(below**s)[: v * m]
    digits = [codes // below**j % below for j in range(s)]
    return np.stack(digits, axis=1).reshape(v, m, s)


@st.composite
def grammars(
    draw: st.DrawFn,
    ambiguous: bool | None = None,
    weighted: bool | None = None,
    max_derivations: int = 2000,
    max_strings: int = 1000,
) -> Grammar:
    """Grammars small enough to list all derivations and all strings of leaf symbols.

    ``ambiguous``: True surely repeats a right-hand side of the root's level, False never repeats
    one, None leaves it open.  ``weighted``: True gives rule weights and a prior, zeros among them
    (which may hide a repetition), False gives none.
    """
    repeat = draw(st.booleans()) if ambiguous is None else ambiguous
    weigh = draw(st.booleans()) if weighted is None else weighted
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    v, rules = [draw(st.integers(2 if ambiguous else 1, 3))], []
    derivations, nodes = v[0], 1
    for level in range(draw(st.integers(1, 3))):
        s = draw(st.sampled_from([1, 2, 2, 3] if level == 0 else [1, 2, 2]))
        lowest = next(u for u in range(1, 5) if repeat or u**s >= v[-1])
        sizes = [u for u in range(lowest, 5) if u ** (nodes * s) <= max_strings]
        if not sizes:
            break
        below = draw(st.sampled_from(sizes))
        most = 3 if repeat else min(3, below**s // v[-1])
        few = [m for m in range(1, most + 1) if m == 1 or derivations * m**nodes <= max_derivations]
        m = draw(st.sampled_from([*few, few[-1], few[-1]]))
        table = rng.integers(below, size=(v[-1], m, s))
        rules.append(table if repeat else _distinct(rng, v[-1], m, s, below))
        v.append(below)
        derivations, nodes = derivations * m**nodes, nodes * s
    if ambiguous:
        rules[0][-1, -1] = rules[0][0, 0]
    weights = [_probabilities(rng, table.shape[:2]) for table in rules] if weigh else None
    prior = _probabilities(rng, (v[0],)) if weigh else None
    return Grammar(rules, weights, prior, leaf_vocabulary=v[-1])
