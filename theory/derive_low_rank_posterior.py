r"""
The exact denoiser of a low-rank mixture
========================================

With probability :math:`\pi_k` a datum is :math:`x_0 = U_k a + \delta \tilde U_k e`, with Gaussian
a and e, where :math:`\tilde U_k` spans the other classes' subspaces (arXiv 2502.05743).  We derive
its denoiser :math:`E[x_0 \mid x]` at :math:`x = x_0 + \sigma\varepsilon`: first Woodbury's
identity that makes it cheap, then the form that it takes for orthogonal subspaces, the paper's
network, and the log-odds between classes.
"""

# %%
# Woodbury.  Along an eigenvector of the class covariance with eigenvalue :math:`\mu` the precision
# :math:`1/(\mu + v)`, :math:`v = \sigma^2`, is that of the residual of variance :math:`\tau`, less
# a gap that vanishes where the class adds nothing.

import numpy as np
import sympy as sp

from hierdiff import LowRankMixture
from hierdiff.theory import class_posterior, denoise, score

mu, tau, v, delta = sp.symbols("mu tau v delta", positive=True)
gap = (mu - tau) / ((tau + v) * (mu + v))
assert sp.simplify(1 / (tau + v) - gap - 1 / (mu + v)) == 0
assert gap.subs(mu, tau) == 0

# %%
# The posterior mean of one class multiplies that coordinate by :math:`\mu/(\mu + v)` (the Wiener
# filter); with the gap it is the residual's shrinkage plus v times the gap.

shrink = tau / (tau + v) + v * gap
assert sp.simplify(shrink - mu / (mu + v)) == 0

# %%
# Orthogonal subspaces, unit variances: :math:`\mu = 1` in the own block, :math:`\delta^2` in the
# others.  So :math:`D = \sum_l \beta_l U_l U_l^T x` with :math:`\beta_l = \xi + (\zeta - \xi) w_l`:
# the paper's block network is exact here.

zeta, xi = sp.symbols("zeta xi")
w1, w2, w3 = sp.symbols("w1:4")
# coefficient of block 1: zeta if class 1, xi if another class
coefficient = w1 * zeta + w2 * xi + w3 * xi
beta = xi + (zeta - xi) * w1
assert sp.expand(coefficient.subs(w3, 1 - w1 - w2) - beta) == 0

# %%
# Log-odds.  All classes have the same determinant, so only the energies :math:`A_l = |U_l^T x|^2`
# enter, with the rate r.

A1, A2 = sp.symbols("A1 A2", positive=True)


def exponent(own: sp.Expr, other: sp.Expr) -> sp.Expr:
    """-x^T (S + v)^-1 x / 2 of a class with these energies in its own and the other block."""
    return -own / (2 * (1 + v)) - other / (2 * (delta**2 + v))


rate = (1 / (delta**2 + v) - 1 / (1 + v)) / 2
assert sp.simplify(exponent(A1, A2) - exponent(A2, A1) - rate * (A1 - A2)) == 0
assert sp.simplify(rate - (1 - delta**2) / (2 * (1 + v) * (delta**2 + v))) == 0

# %%
# Tweedie: the score of a Gaussian class is :math:`(D - x)/v`.

x = sp.symbols("x", real=True)
log_density = -(x**2) / (2 * (mu + v))
assert sp.simplify(sp.diff(log_density, x) - (x * mu / (mu + v) - x) / v) == 0

# %%
# The library gives the same numbers: weights and denoiser of three orthogonal planes.

mixture = LowRankMixture.random(8, 2, 3, delta=0.3, seed=0)
sigma = 0.7
noisy = mixture.sample(5, 1)[0] + sigma * np.random.default_rng(2).standard_normal((5, 8))
energy = np.stack([((noisy @ basis) ** 2).sum(axis=1) for basis in mixture.bases], axis=1)
r = float(rate.subs({delta: 0.3, v: sigma**2}))
weights = np.exp(r * energy) / np.exp(r * energy).sum(axis=1, keepdims=True)
np.testing.assert_allclose(class_posterior(mixture, noisy, sigma), weights, atol=1e-12)
z, y = 1 / (1 + sigma**2), 0.09 / (0.09 + sigma**2)
blocks = [noisy @ basis @ basis.T for basis in mixture.bases]
mean = sum((y + (z - y) * weights[:, [k]]) * block for k, block in enumerate(blocks))
np.testing.assert_allclose(denoise(mixture, noisy, sigma), mean, atol=1e-12)
np.testing.assert_allclose(score(mixture, noisy, sigma), (mean - noisy) / sigma**2, atol=1e-10)
print("the block network is the exact denoiser of orthogonal subspaces, to 1e-12")

# %%
# For subspaces that overlap it is not: at a common principal angle of 30 degrees and vanishing
# noise the network's SNR is 16.1, that of the exact denoiser 103.

c2, s2, d2 = sp.Rational(3, 4), sp.Rational(1, 4), sp.Rational(1, 25)
network = ((1 + c2) ** 2 + 4 * d2 * c2) / (s2 * (c2 + d2))
bayes = (1 + d2 * c2) / (d2 * s2)
assert float(network) > 16.1139
assert bayes == 103
tilted = LowRankMixture.random(10, 5, 2, delta=0.2, angle=30.0, seed=0)
data, k = tilted.sample(40_000, 3)
ratios = []
for c, basis in enumerate(tilted.bases):
    f = denoise(tilted, data[k == c], 1e-4)
    kept = ((f @ basis) ** 2).sum()
    ratios.append(kept / ((f**2).sum() - kept))
print(f"overlap at 30 degrees: network {float(network):.3f}, exact {float(bayes):.1f}, "
      f"library {np.mean(ratios):.1f}")  # fmt: skip
assert abs(np.mean(ratios) / 103 - 1) < 0.03
