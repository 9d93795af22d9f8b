r"""Mean belief in the true symbol of one leaf under Gaussian noise.

With logits snr + sqrt(snr) z_0 for the true symbol and sqrt(snr) z_a for the others, softmax is
the law of the largest of logit + Gumbel noise.  H, h are distribution and density of
sqrt(snr) z + Gumbel, so

.. math:: 1 - p_0 = \int dw\, h(w - \text{snr})\, [1 - H(w)^{v-1}] .

Integrands are entire and fall off at both ends, so the trapezoidal rule converges like
exp(-pi^2 / step): a step of 1/4 leaves nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import number, whole

__all__ = ["gaussian_doubt"]

FloatArray = NDArray[np.float64]

_STEP = 0.25  # of w; 1/2 resolves the normal density alone
_WIDTH = 12.0  # standard deviations
_TAIL = 40.0  # the Gumbel density is exp(-w) far up


def gaussian_doubt(snr: float, v: int) -> float:
    """Mean posterior probability 1 - p_0 of wrong symbols, to 1e-12 (0 where it is below 1e-16)."""
    snr, v = number("snr", snr, 0, infinite=True), whole("v", v, 1, 2**53)
    # 1 - p_0 <= (v - 1) exp(-snr / 4), by the chance that a given wrong logit is larger
    if v == 1 or snr > 4 * (math.log(v) + _TAIL):
        return 0.0
    spread = _WIDTH * math.sqrt(snr)
    w = np.arange(-spread - 5, snr + spread + _TAIL, _STEP)
    density, _ = _noisy_gumbel(w - snr, snr)
    _, above = _noisy_gumbel(w, snr)
    with np.errstate(divide="ignore"):
        beaten = -np.expm1((v - 1) * np.log1p(-above))
    return float(min(_STEP * density @ beaten, 1 - 1 / v))


def _noisy_gumbel(w: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
    """Density h(w) and survival 1 - H(w) of sqrt(snr) z + Gumbel noise."""
    step = min(0.5, _STEP / math.sqrt(snr)) if snr > 0 else 0.5
    z = np.arange(-_WIDTH, _WIDTH + step, step)
    normal = np.exp(-z * z / 2) * step / math.sqrt(2 * math.pi)
    with np.errstate(over="ignore", under="ignore"):
        rate = np.minimum(np.exp(math.sqrt(snr) * z - w[:, None]), 1e3)
        density = rate * np.exp(-rate)
        return density @ normal, np.minimum(-np.expm1(-rate) @ normal, 1.0)
