r"""Broadcasting through one level of rules: does linear information survive the branching?

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
M_j            channel from a parent to its child at position j, (M_j)_ab = P(b | a)
lambda_2       second largest eigenvalue of a channel in modulus; the largest is 1
KS             sum over the s positions of abs(lambda_2)^2; s times it for equal channels
=============  ==============================================================================

.. math::
   \mathrm{KS} > 1 \Rightarrow \text{weighted leaf counts inform on the root at any depth},
   \qquad
   E\, \frac{1}{v - 1} \sum_j \lVert M_j - \bar M_j \rVert_F^2
   = \frac{s (v - 1) v^{s-1}}{m (v^s - 1)} = F'(1/v) .

Each level multiplies the squared signal per leaf by abs(lambda_2)^2 and the number of leaves by
s.  Below 1, ignorance is a stable fixed point, and the class can only be recovered nonlinearly:
hence the sudden transition of the Random Hierarchy Model, which has m > s.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, memory
from hierdiff.data.rhm import RHM, Grammar

__all__ = ["KestenStigum", "kesten_stigum", "kesten_stigum_annealed"]

FloatArray = NDArray[np.float64]


class KestenStigum(NamedTuple):
    """Branching number of information through one level of rules, two ways; each [L].

    Attributes
    ----------
    eigenvalue
        Sum over the s positions of abs(lambda_2)^2 of the channel parent -> child.
    singular
        The same with the mean squared singular value beside the constant mode.

    Notes
    -----
    Validity: that of :func:`kesten_stigum`.
    """

    eigenvalue: FloatArray
    singular: FloatArray


@checked
def kesten_stigum(grammar: Grammar) -> KestenStigum:
    r"""Kesten-Stigum number of every level of rules: above 1, leaves inform linearly on the root.

    .. math:: \mathrm{KS} = \sum_{j=1}^{s} |\lambda_2(M_j)|^2, \qquad
       (M_j)_{ab} = P(\text{child } j = b \mid \text{parent} = a)

    Parameters
    ----------
    grammar : Grammar
        Any grammar; rule weights count.

    Returns
    -------
    KestenStigum
        ``eigenvalue`` is NaN on a level whose parents and children have different numbers of
        symbols, where a channel has no eigenvalues, and both are 0 where there is one symbol.

    Notes
    -----
    Validity: exact for the given channels.  That 1 is the census threshold is a theorem for one
    channel repeated on every level; with a new random channel on every level information grows on
    average by ``singular``.  Reconstruction with knowledge of the positions can be possible below.

    References
    ----------
    Kesten, Stigum, Ann. Math. Statist. 37, 1463 (1966); Mossel, Ann. Appl. Probab. 11, 285 (2001).

    Examples
    --------
    >>> grammar = RHM(v=32, m=8, s=2, L=3).draw(seed=0)
    >>> kesten_stigum(grammar).singular.round(2).tolist()
    [0.25, 0.26, 0.23]
    """
    levels = []
    for level, (rules, weights) in enumerate(zip(grammar.rules, grammar.weights, strict=True)):
        width = grammar.v[level + 1]
        positions = range(rules.shape[2])
        numbers = [_channel_numbers(rules[:, :, j], weights, width) for j in positions]
        levels.append(np.sum(numbers, axis=0))
    sums = np.array(levels)
    return KestenStigum(sums[:, 0], sums[:, 1])


@checked
def kesten_stigum_annealed(rhm: RHM) -> float:
    r"""Mean of ``kesten_stigum(grammar).singular`` over all unambiguous rule tables.

    .. math:: \frac{s (v - 1) v^{s-1}}{m (v^s - 1)} = F'(1/v)

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    float
        Below 1 roughly if m > s: ignorance is then stable, and the class is recovered
        nonlinearly or not at all.

    Notes
    -----
    Validity: exact for uniform unambiguous rule tables.  The largest eigenvalue of one table lies
    above the mean: at (32, 2, 2) this is 0.970, and the eigenvalues give 1.137(8).

    Examples
    --------
    >>> round(kesten_stigum_annealed(RHM(v=32, m=8, s=2, L=9)), 8)
    0.24242424
    """
    v, m, s = rhm.v, rhm.m, rhm.s
    return s * (v - 1) * v ** (s - 1) / (m * (v**s - 1)) if v > 1 else 0.0


def _channel_numbers(
    children: NDArray[np.integer], weights: FloatArray, width: int
) -> tuple[float, float]:
    """Eigenvalue squared and mean squared singular value of the channel to one position."""
    parents = len(children)
    if parents == 1:
        return 0.0, 0.0
    memory(f"a channel from {parents} to {width} symbols", 32.0 * parents * width)
    channel = np.zeros((parents, width))
    np.add.at(channel, (np.arange(parents)[:, None], children), weights)
    spread = float(((channel - channel.mean(axis=0)) ** 2).sum() / (parents - 1))
    if parents != width:
        return math.nan, spread
    moduli = np.sort(np.abs(np.linalg.eigvals(channel)))
    return float(moduli[-2] ** 2), spread
