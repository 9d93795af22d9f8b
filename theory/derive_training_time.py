r"""
Memory against training time: the spectrum of random features by leaving one datum out
======================================================================================

A denoiser of random features, trained by gradient flow, learns the directions of large eigenvalue
of its features' covariance first.  We derive the flow, the limit of the spectrum, the losses on
fresh and on seen data from products of two resolvents, and the two training times; each step is
checked against finite matrices.  The model is that of Bonnaire et al. (arXiv 2505.17638), with
classes of unequal variance and share (arXiv 2605.06367).
"""

# %%
# **The flow.**  The loss :math:`\frac1d E|B\varphi - \xi|^2` is quadratic in B, with :math:`U =
# E\varphi\varphi^T` and :math:`V = E\varphi\xi^T` over the training set and all its noise.  In
# training time with the unit of the paper, :math:`\dot B = \frac{\Delta_t}{\psi_p}(V^T - BU)`, so
# from B = 0 each eigenvector of U relaxes by itself.

import numpy as np
import sympy as sp

from hierdiff._display import text_table
from hierdiff.plots import plt
from hierdiff.theory.mixture.random_features import feature_constants
from hierdiff.theory.mixture.training_time import (
    FeatureFlow,
    equivalent_flow,
    flow_curves,
    spectrum_edges,
    training_times,
)

lam, rate, tau, v = sp.symbols("lambda r tau v", positive=True)
b = sp.Function("b")
flow = sp.dsolve(sp.Eq(b(tau).diff(tau), rate * (v - b(tau) * lam)), b(tau), ics={b(0): 0})
assert sp.simplify(flow.rhs - v * (1 - sp.exp(-rate * lam * tau)) / lam) == 0

# the loss of one direction, b^2 lambda - 2 b v, falls by v^2 / lambda (1 - exp(-2 r lambda tau))
fallen = sp.simplify(flow.rhs**2 * lam - 2 * flow.rhs * v)
assert sp.simplify(fallen + v**2 / lam * (1 - sp.exp(-2 * rate * lam * tau))) == 0

# %%
# **Leaving one datum out.**  Rows g of the training features are independent, with covariance C
# given the weights.  By Sherman and Morrison :math:`Q g = Q_{-} g / (1 + g^TQ_{-}g/N)`, and
# :math:`g^TQ_{-}g/N` does not fluctuate in the limit: it is :math:`\delta = \frac1N
# \mathrm{Tr}\,CQ`.  Summed over data, the sample covariance acts as :math:`b\,C` with :math:`b =
# 1/(1+\delta)`.

rng = np.random.default_rng(0)
N, p = 500, 800
C = np.diag(rng.uniform(0.2, 2.0, p))
D = np.diag(rng.uniform(0.5, 1.0, p))
G = rng.standard_normal((N, p)) @ np.sqrt(C)
z = -0.4
Q = np.linalg.inv(G.T @ G / N + D - z * np.eye(p))
c, d = np.diag(C), np.diag(D)
delta = 1.0
for _ in range(200):
    delta = (c / (c / (1 + delta) + d - z)).sum() / N
equivalent = 1 / (c / (1 + delta) + d - z)
print(f"Tr Q / p: drawn {np.trace(Q) / p:.5f}, limit {equivalent.mean():.5f}")
assert abs(np.trace(Q) / p / equivalent.mean() - 1) < 5e-3

# %%
# **Two resolvents.**  A product :math:`Q_1MQ_2` with a matrix in between is *not* the product of
# the limits: the same datum can appear in both.  Leaving it out of both gives :math:`Q_1MQ_2 \simeq
# \bar Q_1M\bar Q_2 + b_1b_2w\,\bar Q_1C\bar Q_2` with :math:`w = \frac1N\mathrm{Tr}\,CQ_1MQ_2`,
# which traced with C is a linear equation for w.

M = rng.uniform(0.0, 1.0, p)
b_ = 1 / (1 + delta)
product = (c * equivalent * M * equivalent).sum() / N
again = (c * equivalent * c * equivalent).sum() / N
w = product / (1 - b_**2 * again)
drawn = np.trace(C @ Q @ np.diag(M) @ Q) / N
print(f"Tr C Q M Q / N: drawn {drawn:.5f}, limit {w:.5f}, product of the limits {product:.5f}")
assert abs(drawn / w - 1) < 0.02 < abs(drawn / product - 1)

# %%
# On the training data the same loss needs :math:`g^TQ_1MQ_2g/N`, whose two factors :math:`1+\delta`
# give :math:`b_1b_2w`: seen data look better than fresh ones.

seen = np.einsum("np,pq,nq->n", G @ Q, np.diag(M), G @ Q).mean() / N
print(f"of a seen datum: drawn {seen:.5f}, limit {b_**2 * w:.5f}; of a fresh one {w:.5f}")
assert abs(seen / (b_**2 * w) - 1) < 0.03

# %%
# **Time.**  :math:`F_\tau(\lambda) = (1-e^{-r\lambda\tau})/\lambda` is entire, so :math:`F_\tau(U)`
# is a contour integral of Q around the spectrum, with no cut and no pole at zero.  On an ellipse in
# :math:`\log z` with :math:`|\arg z| < \pi/2` the trapezoidal rule converges exponentially for all
# times at once.

one = FeatureFlow((feature_constants(np.tanh, 0.1),), psi_p=16.0, psi_n=4.0)
times = np.geomspace(1, 1e6, 7)
exact = flow_curves(one, times, points=640).test
for points in (60, 120, 240):
    worst = np.abs(flow_curves(one, times, points=points).test - exact).max()
    print(f"{points} points: largest error {worst:.1e}")
assert worst < 1e-6

# %%
# **Finite sizes** come near with 1/d, and two sizes extrapolate.

losses = [np.mean([equivalent_flow(one, times, d, s).test for s in range(4)], axis=0)
          for d in (16, 32)]  # fmt: skip
print("loss on fresh data, limit   ", exact[:, 0].round(3))
print("d = 16 and 32, extrapolated ", (2 * losses[1] - losses[0])[:, 0].round(3))
assert np.abs(2 * losses[1] - losses[0] - exact).max() < 0.1

# %%
# **Three bulks.**  With many features per datum the spectrum has the d directions of the data on
# top, then N - d directions of single data about :math:`s^2 + v^2\psi_p/\psi_n`, and a third part:
# the d combinations in which what single data add competes with the noise of the same directions.
# The noise holds a share :math:`\Delta_t` of the linear part, and these stay at :math:`s^2 +
# \Delta_t v^2\psi_p/\psi_n`: they are memorised later by :math:`1/\Delta_t`.

constants = feature_constants(np.tanh, 0.1)
wide = FeatureFlow((constants,), psi_p=4096.0, psi_n=64.0)
last, single, law = spectrum_edges(wide)
ratio = 4096 / 64
print(f"third part {last[0]:.3f} to {last[1]:.3f}, estimate "
      f"{constants.over_noise + wide.noise * constants.over_data * ratio:.3f}")  # fmt: skip
print(f"single data {single[0]:.3f} to {single[1]:.3f}, estimate "
      f"{constants.over_noise + constants.over_data * ratio:.3f}")  # fmt: skip
for psi_n in (16.0, 64.0, 256.0):
    found = training_times(FeatureFlow((constants,), 4096.0, psi_n))
    print(f"psi_n = {psi_n:5.0f}: tau_gen = {found.generalization:6.1f}, tau_mem = "
          f"{found.memorization:8.0f}")  # fmt: skip

# %%
# **Classes.**  With rows of several covariances there is one :math:`b_c` per class, and one linear
# system for the :math:`w_c`.  Take a narrow class of variance 0.3 and a wide one of variance 2: the
# gap between fresh and seen data opens first in the wide one at every share; the shares move both
# times by more than they separate them.

narrow, broad = (feature_constants(np.tanh, 0.1, x) for x in (0.3, 2.0))
grid = np.geomspace(1, 1e6, 240)
rows = []
for share in (0.05, 0.2, 0.5, 0.8, 0.95):
    train, test = flow_curves(FeatureFlow((narrow, broad), 16.0, 8.0, (1 - share, share)), grid)
    gap = (test - train) / (test - train)[-1]
    opened = [grid[np.argmax(gap[:, k] > 0.1)] for k in (0, 1)]
    rows.append([f"{share:.2f}", *(f"{tau:.0f}" for tau in opened)])
print("tau at which a tenth of the final gap has opened")
print(text_table(["share of the wide class", "narrow class", "wide class"], rows))

# %%
# The loss on fresh data of each class along training: it has its minimum where single data begin to
# be learned, earlier for the class of which there are few.

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for share, colour in ((0.2, "C0"), (0.8, "C1")):
    train, test = flow_curves(FeatureFlow((narrow, broad), 16.0, 8.0, (1 - share, share)), grid)
    for k, (name, style) in enumerate((("narrow", "--"), ("wide", "-"))):
        ax.plot(grid, test[:, k], color=colour, ls=style, label=f"{name}, {share:.0%} wide data")
        ax.plot(grid, train[:, k], color=colour, ls=style, lw=0.6)
ax.set(xscale="log", xlabel=r"training time $\tau$", ylabel="denoising loss (thin: seen data)")
ax.legend(fontsize=7, frameon=False)
