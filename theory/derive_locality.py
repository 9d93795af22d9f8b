r"""
What a window costs
===================

A denoiser sees a window of the leaves.  We show on a grammar that is small enough to enumerate that
it loses a conditional mutual information, that its squared loss is a difference of beliefs, and
that a window which is a subtree is a smaller tree.  Then we follow the loss up the tree: it falls
as a power of the width, slowly up to a scale that diverges at the threshold, and fast beyond.
"""

import itertools

import numpy as np

from hierdiff import RHM, MaskingNoise
from hierdiff.theory import (
    annealed_beliefs,
    correlation_length_exponent,
    critical_noise,
    denoise_symbols,
    stability,
)
from hierdiff.theory.rhm.locality import sliding_windows, tree_windows, windowed_denoise

# %%
# The loss is a conditional information
# -------------------------------------
# Given the window, the outside changes the belief in leaf i from :math:`p^W` to p.  By the chain rule
#
# .. math:: E \log \frac{p(x_i \mid x_t)}{p(x_i \mid x_{t,W})}
#    = I(x_i; x_t) - I(x_i; x_{t,W}) = I(x_i;\, x_{t,\setminus W} \mid x_{t,W}) .
#
# All strings and all masks of four leaves:

grammar, noise, t = RHM(v=3, m=2, s=2, L=2).draw(seed=1), MaskingNoise(3), 0.5
candidates = np.array(list(itertools.product(range(3), repeat=4)))
strings = candidates[grammar.is_valid(candidates)]
probability = np.full(len(strings), 1 / len(strings))  # rules are unambiguous and equally likely
masks = np.array(list(itertools.product((False, True), repeat=4)))


def averages(windows):
    """KL(p || p^W), |p - p^W|^2, and the beliefs E sum p^2 of both, per leaf."""
    total = np.zeros(4)
    for mask in masks:
        x_t = np.where(mask, -1, strings)
        weight = probability * t ** mask.sum() * (1 - t) ** (~mask).sum()
        p = denoise_symbols(grammar, noise, x_t, t)
        local = windowed_denoise(grammar, noise, x_t, t, windows)
        kl = np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / np.maximum(local, 1e-300)), 0)
        for i, one in enumerate((kl, (p - local) ** 2, p**2, local**2)):
            total[i] += weight @ one.sum(axis=2).mean(axis=1)
    return total


def information(windows):
    """I(x_i; x_t) - I(x_i; x_W), from the joint law of all symbols, per leaf."""
    found = []
    for leaf, window in enumerate(windows):
        entropies = []
        for seen in (np.ones(4, bool), window):
            table: dict[tuple[int, ...], np.ndarray] = {}
            for mask in masks:
                weight = probability * t ** mask.sum() * (1 - t) ** (~mask).sum()
                x_t = np.where(mask | ~seen, -1, strings)
                for w, string, clean in zip(weight, x_t, strings[:, leaf], strict=True):
                    table.setdefault((*string,), np.zeros(3))[clean] += w
            rows = np.array(list(table.values()))
            cond = rows / rows.sum(axis=1, keepdims=True)
            entropies.append(-(rows * np.log(np.where(cond > 0, cond, 1))).sum())
        found.append(entropies[1] - entropies[0])
    return np.mean(found)


for windows in (sliding_windows(4, 1), sliding_windows(4, 2), tree_windows(grammar, 1)):
    nats, square, exact, local = averages(windows)
    assert abs(nats - information(windows)) < 1e-12
    assert abs(square - (exact - local)) < 1e-12  # the window's belief is the mean of the exact one
    print(f"{nats:.4f} nats, {square:.4f} in squared error")

# %%
# A subtree is a tree
# -------------------
# With flat evidence outside, the messages from above carry the frequency of the symbol at the top
# of the subtree and nothing else.  Where symbols are equally frequent the windowed denoiser is the
# denoiser of a tree of depth h, and the squared loss is
# :math:`b_L - b_h`.

# %%
# A power of the width
# --------------------
# For the annealed recursion of the epsilon-process beliefs of any depth are known.  A window of
# :math:`2^h` leaves in a long string loses what the depths beyond h add.  The exponent of the width,
# at the threshold and at distances of :math:`10^{-2}` to :math:`10^{-5}` below it:

rhm = RHM(32, 4, 2, 1)
threshold, nu = critical_noise(rhm), correlation_length_exponent(rhm)


def exponents(epsilon):
    """Exponent of the width in the loss, at every height."""
    beliefs = np.array([
        annealed_beliefs(RHM(32, 4, 2, depth), epsilon).marginal[-1] for depth in range(1, 34)
    ])  # fmt: skip
    steps = np.abs(np.diff(beliefs))
    kept = steps > 1e-11  # beyond, differences are rounding
    last = len(steps) if kept.all() else int(np.argmin(kept))
    return np.diff(np.log2(steps[:last]))


slow = exponents(threshold)[10]
fast = np.log2(stability(rhm)[2] / 2)
print(f"at the threshold {slow:.2f}, beyond the scale {fast:.2f}")

# %%
# Off the threshold the fast power is that of the fixed point without noise.  Beliefs stay near the
# unstable fixed point for log(1/distance) / log(slope) levels before they get there, so the scale
# grows as the distance to the power :math:`-\nu`: by :math:`\nu\log_2 10` levels for every decade.

heights = []
for decade in (2, 3, 4, 5):
    found = exponents(threshold - 10.0**-decade)
    below = found < (slow + fast) / 2
    h = int(np.argmax(below))
    share = ((slow + fast) / 2 - found[h - 1]) / (found[h] - found[h - 1])
    heights.append(h - 1 + share)
    print(f"distance 1e-{decade}: {heights[-1]:.2f} levels")
levels = np.diff(heights)
print(f"levels per decade {levels.round(2)}, nu log2(10) = {nu * np.log2(10):.2f}")
assert abs(levels[-1] - nu * np.log2(10)) < 0.15

# %%
# So local denoisers are exact almost everywhere: at a given accuracy a window of some leaves
# suffices, however long the string.  The exception are noise levels so near the threshold that the
# scale :math:`\xi` is the length of the string.
