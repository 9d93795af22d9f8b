"""Transfer matrices of chains of two symbols: likelihoods, marginals, and draws."""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import jit, part

__all__ = ["chain_draws", "chain_likelihoods", "chain_marginals"]

# Evidence is relative to the larger of its two numbers, so that a forward message of unit sum is
# never lost: one of its terms has weight 1 and a transition of at least e^-200.


@part
def _forward(start, transitions, weight, scale, messages):
    """Normalised forward messages of one chain; returns the logarithm of their product of sums."""
    spins = len(weight)
    log_sum = 0.0
    down, up = start[0] * weight[0, 0], start[1] * weight[0, 1]
    for i in range(spins):
        if i:
            before_down, before_up = messages[i - 1, 0], messages[i - 1, 1]
            step = transitions[i - 1]
            down = (before_down * step[0, 0] + before_up * step[1, 0]) * weight[i, 0]
            up = (before_down * step[0, 1] + before_up * step[1, 1]) * weight[i, 1]
        total = down + up
        log_sum += np.log(total) + scale[i]
        messages[i, 0], messages[i, 1] = down / total, up / total
    return log_sum


@jit
def chain_likelihoods(start, transitions, weight, scale, out):
    """``out[n, k]``: logarithm of the evidence of sample n under class k."""
    messages = np.empty((weight.shape[1], 2))
    for n in range(len(weight)):
        for k in range(len(start)):
            out[n, k] = _forward(start[k], transitions[k], weight[n], scale[n], messages)


@jit
def chain_marginals(start, transitions, weight, scale, likelihood, up):
    """Likelihoods, and ``up[n, k, i]``: probability of spin +1 under class k."""
    spins = weight.shape[1]
    messages = np.empty((spins, 2))
    for n in range(len(weight)):
        for k in range(len(start)):
            likelihood[n, k] = _forward(start[k], transitions[k], weight[n], scale[n], messages)
            back_down, back_up = 1.0, 1.0
            for i in range(spins - 1, -1, -1):
                down_here, up_here = messages[i, 0] * back_down, messages[i, 1] * back_up
                up[n, k, i] = up_here / (down_here + up_here)
                if i:
                    step = transitions[k, i - 1]
                    seen_down, seen_up = weight[n, i, 0] * back_down, weight[n, i, 1] * back_up
                    back_down = step[0, 0] * seen_down + step[0, 1] * seen_up
                    back_up = step[1, 0] * seen_down + step[1, 1] * seen_up
                    total = back_down + back_up
                    back_down, back_up = back_down / total, back_up / total


@jit
def chain_draws(start, transitions, weight, scale, classes, uniforms, out):
    """``out[n, i]``: spins of sample n given its class, drawn from the right."""
    spins = weight.shape[1]
    messages = np.empty((spins, 2))
    for n in range(len(weight)):
        k = classes[n]
        _forward(start[k], transitions[k], weight[n], scale[n], messages)
        above = 0
        for i in range(spins - 1, -1, -1):
            down, up = messages[i, 0], messages[i, 1]
            if i < spins - 1:
                down *= transitions[k, i, 0, above]
                up *= transitions[k, i, 1, above]
            above = 1 if uniforms[n, i] * (down + up) < up else 0
            out[n, i] = above
