"""Tables of tiny grammars: all strings, and conditionals by summation over them."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff import RHM, Grammar
from hierdiff.data.rhm_variants import zipf

V, N = 3, 4
GRAMMARS = {
    "uniform": RHM(V, 2, 2, 2).draw(0),
    "weighted": zipf(RHM(V, 2, 2, 2), 0.5, 1),
    "ambiguous": Grammar(
        [np.array([[[0, 1], [1, 2]], [[0, 1], [2, 0]]]),
         np.array([[[0, 1], [1, 1]], [[1, 1], [2, 0]], [[2, 2], [0, 2]]])]),
}  # fmt: skip
NAMES = pytest.mark.parametrize("name", GRAMMARS)
Table = dict[tuple[int, ...], float]


def conditional(p: Table, state: dict[int, int], i: int) -> np.ndarray:
    """p(x_i | state) by summation over all strings."""
    out = np.zeros(V)
    for x, weight in p.items():
        if all(x[j] == a for j, a in state.items()):
            out[x[i]] += weight
    return out / out.sum()


def strings_of(p: Table) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(p)), np.array(list(p.values()))
