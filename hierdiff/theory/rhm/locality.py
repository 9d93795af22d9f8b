r"""Local denoisers of a grammar: what a window costs, and how long the posterior is.

==================  ============================================================================
symbol              meaning
==================  ============================================================================
W_i                 window of leaf i, the leaves that its denoiser sees
x_t                 noisy leaves; x_W those of the window
p_i, p_i^W          exact posterior of leaf i given x_t, and given x_W alone
b_h                 mean belief in the true leaf, given the noisy leaves of its subtree of height h
==================  ============================================================================

The denoiser that is exact for its window has flat evidence outside of it.  What it loses is what
the outside says about the leaf once the window is seen,

.. math::
   E[\log p_i(x_{0,i}) - \log p_i^W(x_{0,i})] = E\, KL(p_i \,\|\, p_i^W)
   = I(x_{0,i};\, x_{t,\setminus W} \mid x_{t,W}) \;\ge 0,                             \qquad (1)

in nats per leaf, and in squared error

.. math::
   E|x_0 - p^W|^2 - E|x_0 - p|^2 = E|p - p^W|^2 = E[b] - E[b^W],                       \qquad (2)

with the beliefs in the true symbol.  A subtree is a grammar of its own.  Where all symbols of a
level are equally frequent, the denoiser of a subtree of height h is the exact one of a tree of
depth h, so windows that follow the tree cost

.. math:: b_L - b_h, \qquad b_h \text{ the leaf belief of depth } h                    \qquad (3)

by density evolution (:func:`~hierdiff.theory.population_dynamics`).  The Markov length is the
number of leaves of the smallest such window that costs at most a given number.  In the width w of
the window the loss falls as a power: slowly at the threshold, and beyond the scale

.. math:: \xi \sim |t - t_c|^{-\nu}                                                    \qquad (4)

of :func:`~hierdiff.theory.correlation_length_exponent` fast (``theory/derive_locality.py``).
So the Markov length stays finite as L grows away from the threshold, and at the threshold it grows
with the tree until the slow power has reached what a window may cost.

References: Niedoba et al., arXiv 2411.19339, Kamb and Ganguli, arXiv 2412.20292 (local machines);
Lukoianov et al., arXiv 2509.09672 (windows from covariances); Hu et al., arXiv 2508.06614 (Markov
length of denoising).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import rel_entr

from hierdiff.checks import checked, listed, memory, number, one_level, reals, unchecked, whole
from hierdiff.contracts import NoiseProcess, SymbolEvidence
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import denoise_symbols, posterior
from hierdiff.theory.rhm.information import Estimate, observed
from hierdiff.theory.rhm.token_correlations import node_marginals

__all__ = [
    "ExcessLoss",
    "excess_loss",
    "explained_share",
    "markov_length",
    "sliding_windows",
    "subtree_belief",
    "tree_windows",
    "windowed_denoise",
]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Windows = NDArray[np.bool_]


class ExcessLoss(NamedTuple):
    """What a window costs, per leaf and averaged over leaves.

    Attributes
    ----------
    nats : Estimate
        Conditional mutual information, eq. (1).
    square : Estimate
        Excess squared error, eq. (2).
    belief : Estimate
        Mean belief in the true leaf of the windowed denoiser, with the truth averaged out.
    """

    nats: Estimate
    square: Estimate
    belief: Estimate


@checked
def sliding_windows(n_leaves: int, width: int) -> Windows:
    """Windows of equally many neighbours, centred on their leaf, moved inwards at the ends.

    Parameters
    ----------
    n_leaves : int
    width : int
        Leaves of a window, 1 to n_leaves.

    Returns
    -------
    bool array [leaf, leaves]

    Raises
    ------
    InvalidParameter
        For a window longer than the string.

    Notes
    -----
    Validity: an even width has one leaf more on the left.

    Examples
    --------
    >>> sliding_windows(4, 2).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    """
    n = whole("n_leaves", n_leaves, 1)
    k = whole("width", width, 1)
    if k > n:
        raise InvalidParameter(f"width = {k} exceeds the {n} leaves; give at most {n}")
    memory(f"windows of {n} leaves", 10.0 * n * n)
    first = np.clip(np.arange(n) - k // 2, 0, n - k)[:, None]
    j = np.arange(n)
    return np.asarray((j >= first) & (j < first + k))


@checked
def tree_windows(grammar: Grammar, height: int) -> Windows:
    """Windows that follow the tree: all leaves below the ancestor of a leaf at a height.

    Parameters
    ----------
    grammar : Grammar
    height : int
        0 (the leaf alone) to L (all leaves).

    Returns
    -------
    bool array [leaf, leaves]

    Raises
    ------
    InvalidParameter
        For a height beyond the tree.

    Notes
    -----
    Validity: any grammar.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> tree_windows(RHM(v=4, m=2, s=2, L=2).draw(seed=0), 1).astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if whole("height", height, 0) > grammar.L:
        raise InvalidParameter(f"height = {height} exceeds the {grammar.L} levels of the tree")
    n = grammar.n_leaves
    memory(f"windows of {n} leaves", 10.0 * n * n)
    place = np.arange(n) // (n // grammar.n_nodes(grammar.L - height))
    return np.asarray(place[:, None] == place)


def _checked_windows(windows: Any, n: int) -> Windows:
    """Windows [n, n]; each holds a leaf at least."""
    try:
        found = np.asarray(windows)
    except Exception:
        found = np.empty(0)
    if found.dtype != bool or found.shape != (n, n):
        raise InvalidParameter(
            f"windows are {found.dtype} of shape {found.shape}; give truth values [leaf, leaves], "
            f"({n}, {n}), as of sliding_windows or tree_windows"
        )
    if not found.any(axis=1).all():
        raise InvalidParameter(
            f"the window of leaf {int(np.argmin(found.any(axis=1)))} is empty; a denoiser sees one "
            "leaf at least"
        )
    return found


@checked(x_t=unchecked, t=one_level, windows=unchecked)
def windowed_denoise(
    grammar: Grammar, noise: NoiseProcess, x_t: ArrayLike, t: float, windows: ArrayLike
) -> Floats:
    """Exact posterior of every leaf given the noisy leaves of its own window alone.

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform, Gaussian or any other process.
    x_t : array
        Noisy data, as ``noise`` makes them.
    t : float
        Noise level in [0, 1].
    windows : bool array [leaf, leaves]
        Which leaves the denoiser of each leaf sees.

    Returns
    -------
    array [n, leaves, v]

    Raises
    ------
    InvalidParameter
        For windows of another tree, or empty ones.

    Notes
    -----
    Validity: exact for any grammar.  Inference is run once for every different window, on the
    smallest subtree that holds it and its leaves.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> x_t = grammar.sample(1, seed=1).leaves.copy()
    >>> x_t[0, 0] = -1
    >>> mask = MaskingNoise(4)
    >>> windowed_denoise(grammar, mask, x_t, 0.3, sliding_windows(4, 2))[0, 0].round(3).tolist()
    [0.0, 0.5, 0.0, 0.5]
    """
    n_leaves, v = grammar.n_leaves, grammar.v[grammar.L]
    seen = _checked_windows(windows, n_leaves)
    if noise.v is not None and noise.v != v:
        raise InvalidParameter(f"the noise has v = {noise.v} symbols and the leaves have {v}")
    evidence = noise.evidence(x_t, t)
    rows = evidence.symbols.shape if isinstance(evidence, SymbolEvidence) else evidence.shape[:2]
    if rows[1] != n_leaves:
        raise InvalidParameter(f"x_t has {rows[1]} leaves; the grammar has {n_leaves}")
    memory(f"beliefs of {rows[0]} strings", 16.0 * rows[0] * n_leaves * v)
    out = np.empty((rows[0], n_leaves, v))
    subtrees: dict[tuple[int, int], Grammar] = {}
    kinds, which = np.unique(seen, axis=0, return_inverse=True)
    for k, window in enumerate(kinds):
        leaves = np.flatnonzero(np.ravel(which) == k)
        needed = np.flatnonzero(window)
        level, node = _cover(grammar, min(leaves[0], needed[0]), max(leaves[-1], needed[-1]))
        if (level, node) not in subtrees:
            subtrees[level, node] = _subtree(grammar, level, node)
        below = subtrees[level, node]
        first = node * below.n_leaves
        part = _inside(evidence, window, first, below.n_leaves)
        found = posterior(below, part, levels=(below.L,)).marginals[-1]
        out[:, leaves] = found[:, leaves - first]
    return out


def _cover(grammar: Grammar, first: int, last: int) -> tuple[int, int]:
    """The lowest node above two leaves, not a leaf itself: (level, position)."""
    for level in reversed(range(grammar.L)):
        width = grammar.n_leaves // grammar.n_nodes(level)
        if first // width == last // width:
            return level, int(first // width)
    return 0, 0


def _subtree(grammar: Grammar, level: int, node: int) -> Grammar:
    """The grammar below a node, its symbol as frequent as it is."""
    if level == 0:
        return grammar
    prior = node_marginals(grammar, level)[node]
    return Grammar(
        grammar.rules[level:], grammar.weights[level:], prior / prior.sum(),
        leaf_vocabulary=grammar.v[-1],
    )  # fmt: skip


def _inside(
    evidence: SymbolEvidence | Floats, window: Windows, first: int, n: int
) -> SymbolEvidence | Floats:
    """Evidence of the leaves of a subtree, flat outside of the window."""
    kept, place = window[first : first + n], slice(first, first + n)
    if isinstance(evidence, SymbolEvidence):
        symbols = np.where(kept, evidence.symbols[:, place], -1)
        return SymbolEvidence(symbols, evidence.log_match, evidence.log_other, evidence.v)
    return np.where(kept[:, None], evidence[:, place], 0.0)


@checked(t=one_level, n=partial(whole, low=2), windows=unchecked)
def excess_loss(
    grammar: Grammar, noise: NoiseProcess, t: float, windows: ArrayLike, n: int, seed: Seed
) -> ExcessLoss:
    r"""What the denoiser of a window loses against the exact one, per leaf, by (1) and (2).

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform or Gaussian.
    t : float
        Noise level in [0, 1].
    windows : bool array [leaf, leaves]
    n : int
        Number of data to average over, at least 2.
    seed : Seed
        Source of randomness; the same data for other windows.

    Returns
    -------
    ExcessLoss

    Raises
    ------
    InvalidParameter
        For windows of another tree, the epsilon-process, n < 2.

    Notes
    -----
    Validity: unbiased for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> found = excess_loss(grammar, MaskingNoise(4), 0.5, tree_windows(grammar, 2), 20, seed=1)
    >>> found.nats.value, found.square.value
    (0.0, 0.0)
    """
    _, x_t = observed(grammar, noise, t, n, seed)
    exact = denoise_symbols(grammar, noise, x_t, t)
    return _compared(exact, windowed_denoise(grammar, noise, x_t, t, windows))


@checked(t=one_level, n=partial(whole, low=2))
def subtree_belief(
    grammar: Grammar, noise: NoiseProcess, t: float, height: int, n: int, seed: Seed
) -> Estimate:
    """Mean belief b_h in the true leaf of the exact denoisers of all subtrees of a height.

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform or Gaussian.
    t : float
        Noise level in [0, 1].
    height : int
        h, 0 to L.
    n : int
        Data of each subtree, at least 2.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Estimate
        Averaged over leaves.

    Raises
    ------
    InvalidParameter
        For a height beyond the tree, or n < 2.

    Notes
    -----
    Validity: exact for any grammar, each subtree with the frequencies of the symbol at its top; the
    belief of windows that follow the tree.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> round(subtree_belief(grammar, MaskingNoise(4), 0.0, 1, 3, seed=0).value, 12)
    1.0
    """
    if whole("height", height, 0) > grammar.L:
        raise InvalidParameter(f"height = {height} exceeds the {grammar.L} levels of the tree")
    rng, level = generator(seed), grammar.L - height
    parts = []
    for node in range(grammar.n_nodes(level)):
        if height:
            below = _subtree(grammar, level, node)
            _, x_t = observed(below, noise, t, n, rng)
            p = denoise_symbols(below, noise, x_t, t)
        else:
            prior = node_marginals(grammar, level)[node]
            x0 = rng.choice(len(prior), size=(n, 1), p=prior / prior.sum())
            weight = np.exp(noise.log_evidence(noise.corrupt(x0, t, rng), t)) * prior
            p = weight / weight.sum(axis=2, keepdims=True)
        parts.append((p**2).sum(axis=2).mean(axis=1))
    return Estimate.of(np.mean(parts, axis=0))


def _compared(exact: Floats, local: Floats) -> ExcessLoss:
    """Losses of a denoiser of windows, from its beliefs and the exact ones."""
    # where a window excludes nothing that is possible, local > 0 wherever exact > 0, but for
    # rounding of exact beliefs that should be zero
    nats = rel_entr(exact, np.maximum(local, np.finfo(float).tiny)).sum(axis=2)
    square = ((exact - local) ** 2).sum(axis=2)
    belief = (local**2).sum(axis=2)
    return ExcessLoss(*(Estimate.of(x.mean(axis=1)) for x in (nats, square, belief)))


@checked(
    widths=partial(listed, rule=partial(number, above=0), least=2, rising=True),
    tolerance=partial(number, above=0),
)
def markov_length(widths: tuple[float, ...], excess: ArrayLike, tolerance: float) -> float:
    """Smallest window that costs at most ``tolerance``, on a line in the logarithm of the width.

    Parameters
    ----------
    widths : tuple of float
        Leaves of the windows, increasing.
    excess : array [widths]
        What they cost.
    tolerance : float
        In the units of the excess.

    Returns
    -------
    float
        In leaves; the smallest width if that costs no more, nan where the largest costs more.

    Raises
    ------
    InvalidParameter
        For numbers that do not match.

    Notes
    -----
    Validity: the last crossing of the tolerance counts, so that noise of single windows does not
    shorten the length.

    Examples
    --------
    >>> markov_length((1, 2, 4, 8), [0.4, 0.3, 0.1, 0.0], 0.2).__round__(3)
    2.828
    """
    y = reals("excess", excess, shape=(len(widths),))
    over = np.flatnonzero(y > tolerance)
    if not over.size:
        return float(widths[0])
    i = int(over[-1])
    if i == len(widths) - 1:
        return float("nan")
    share = (y[i] - tolerance) / (y[i] - y[i + 1])
    return float(widths[i] * (widths[i + 1] / widths[i]) ** share)


@checked(outputs=unchecked, local=unchecked)
def explained_share(outputs: ArrayLike, local: ArrayLike) -> float:
    r"""Share r^2 of the outputs of a denoiser that a denoiser of windows explains.

    .. math:: r^2 = 1 - \frac{\sum |D(x_t) - p^W|^2}{\sum |D(x_t) - \overline{D}|^2}

    Parameters
    ----------
    outputs : array [n, leaves, v]
        D, of a network or any model.
    local : array [n, leaves, v]
        Of :func:`windowed_denoise` at the same x_t.

    Returns
    -------
    float
        1 for equal outputs; the mean of D is that of each leaf and symbol.

    Raises
    ------
    InvalidParameter
        For shapes that differ, NaN, or outputs that are all equal.

    Notes
    -----
    Validity: nothing is fitted, so it may be negative.

    Examples
    --------
    >>> d = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    >>> explained_share(d, d), explained_share(d, np.full((2, 1, 2), 0.5))
    (1.0, 0.0)
    """
    d = reals("outputs", outputs, ndim=3, least=1)
    p = reals("local", local, shape=d.shape)
    spread = float(((d - d.mean(axis=0)) ** 2).sum())
    if not spread > 0:
        raise InvalidParameter("outputs are equal for all data; there is nothing to explain")
    return float(1 - ((d - p) ** 2).sum() / spread)
