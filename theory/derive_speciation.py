r"""
When is a class decided? Half of log N, a quarter, and the levels of a grammar
==============================================================================

Two classes of chains of N spins are told apart at noise levels where the divergence of their laws
is of order one.  We expand that divergence in the signal, find its two leading orders for classes
that differ in their means or in their covariances alone, and with them the time of the decision.
Then we turn to symbols with many rivals, where the criterion of two classes fails.
"""

import itertools

import numpy as np
import sympy as sp

from hierdiff.data.ising_chains import IsingChains
from hierdiff.theory.ising import (
    half_change_divergence,
    speciation_law,
    weak_signal_divergence,
)
from hierdiff.theory.rhm import speciation_statistic

s, t, N, tau, mean = sp.symbols("s t N tau m", positive=True)

# %%
# A Gaussian log-likelihood ratio
# -------------------------------
# Far from the data the log-likelihood ratio ell adds many weak terms and is Gaussian.  From
# E_k[e^{-ell}] = 1, the normalisation of the rival, its variance is twice its mean,

D, var = sp.symbols("D V", positive=True)
assert sp.solve(sp.Eq(sp.exp(-D + var / 2), 1), var) == [2 * D]

# so that the mean meets the fluctuation, D^2 = V, at two nats:

assert sp.solve(sp.Eq(D**2, 2 * D), D) == [2]

# A U-turn changes the class half as often as at infinite noise at another divergence.

nodes, weights = np.polynomial.hermite_e.hermegauss(80)
half = half_change_divergence()
belief = 1 / (1 + np.exp(-half - np.sqrt(2 * half) * nodes))
assert abs(weights @ belief / weights.sum() - 0.75) < 1e-9

# %%
# The divergence for a weak signal
# --------------------------------
# With y = sqrt(s) sigma + z the law of class k relative to that of the noise is E exp(sqrt(s)
# sigma y - s sigma^2 / 2).  For two spins we expand the divergence exactly in the signal, by
# integrating each order over z.  First classes of opposite means, the spins coupled:

r = sp.Symbol("r")  # sqrt(s)
z1, z2, y1, y2 = sp.symbols("z1 z2 y1 y2")
STRINGS = list(itertools.product((-1, 1), repeat=2))


def gaussian_mean(polynomial):
    """Mean over independent normal z1, z2."""
    found = 0
    for (a, b), c in sp.Poly(polynomial, z1, z2).terms():
        if a % 2 == 0 and b % 2 == 0:
            found += c * sp.factorial2(a - 1) * sp.factorial2(b - 1)
    return found


def two_spins(law, other, order):
    """KL of two laws of two spins behind noise, up to r^order."""

    def log_density(p):
        total = sum(w * sp.exp(r * (u * y1 + v * y2)) for (u, v), w in zip(STRINGS, p, strict=True))
        return sp.series(sp.log(total), r, 0, order + 1).removeO()

    ratio = sp.expand(log_density(law) - log_density(other))
    found = 0
    for (u, v), w in zip(STRINGS, law, strict=True):
        seen = sp.expand(ratio.subs({y1: r * u + z1, y2: r * v + z2}))
        found += w * sum(gaussian_mean(seen.coeff(r, k)) * r**k for k in range(order + 1))
    return sp.expand(sp.simplify(found))


c = sp.Symbol("c")  # second moment E sigma_1 sigma_2
opposite = [[(1 + k * mean * (u + v) + c * u * v) / 4 for u, v in STRINGS] for k in (1, -1)]
series = two_spins(opposite[0], opposite[1], 4)
C = sp.Matrix([[1 - mean**2, c - mean**2], [c - mean**2, 1 - mean**2]])
away = sp.Matrix([2 * mean, 2 * mean])
first, second = (away.T * away)[0] / 2, -(away.T * C * away)[0] / 2
assert sp.simplify(series.coeff(r, 2) - first) == 0
assert sp.simplify(series.coeff(r, 4) - second) == 0

# Then classes of zero mean and opposite couplings:

coupled = [[(1 + k * c * u * v) / 4 for u, v in STRINGS] for k in (1, -1)]
series = two_spins(coupled[0], coupled[1], 6)
C, gap = sp.Matrix([[1, -c], [-c, 1]]), sp.Matrix([[0, 2 * c], [2 * c, 0]])
second, third = (gap * gap).trace() / 4, -(C * gap * gap).trace() / 2
assert series.coeff(r, 2) == 0
assert sp.simplify(series.coeff(r, 4) - second) == 0
assert sp.simplify(series.coeff(r, 6) - third) == 0

# Both orders are those of Gaussian classes with the same means and covariances; cumulants of the
# spins enter later.

# %%
# Half and a quarter of log N
# ---------------------------
# In a field the means are +-m at every spin, D = 2 N m^2 s.  Far from the data s = e^{-2t}.

time = sp.solve(sp.Eq(2 * N * mean**2 * sp.exp(-2 * t), 2), t)[0]
assert sp.simplify(sp.exp(2 * time) - N * mean**2) == 0

# Without a field the covariances are (+-tau)^distance: they differ at odd distances.

one_side = 4 * tau**2 / (1 - tau**4)  # of (2 tau^distance)^2, distances 1, 3, 5 ...
assert sp.series(one_side, tau, 0, 8).removeO() == 4 * tau**2 + 4 * tau**6
square = 2 * N * one_side
D = square / 4 * sp.exp(-4 * t)
time = sp.log(N * tau**2 / (1 - tau**4)) / 4
assert sp.simplify(D.subs(t, time) - 2) == 0

chains = {0.5: lambda n: IsingChains.by_field(n, 0.3, 0.3),
          0.25: lambda n: IsingChains.by_coupling(n, 0.5)}  # fmt: skip
for limit, make in chains.items():
    times = [speciation_law(make(n)) for n in (2**12, 2**15)]
    slope = (times[1] - times[0]) / np.log(8)
    print(f"slope of the law against log N: {slope:.4f}, limit {limit}")
    assert abs(slope - limit) < 0.002
x = np.tanh(0.5)
bulk = 2 * 10_000 * x**2 / (1 - x**4) * 1e-8
assert abs(weak_signal_divergence(IsingChains.by_coupling(10_000, 0.5), 1e-4) / bulk - 1) < 1e-3

# %%
# Symbols with many rivals
# ------------------------
# A node of a grammar chooses among v symbols.  If the belief p in the truth has two peaks, at 1 in
# a share f of the data and at 1/v else, the excess i = log(v p) has the mean f log v and the
# variance f (1 - f) log^2 v: the mean meets the fluctuation where f = 1/2, as the branch meets its
# rivals.

f = sp.Symbol("f", positive=True)
assert sp.solve(sp.Eq(f**2, f * (1 - f)), f) == [sp.Rational(1, 2)]

# If beliefs fade together instead, p the same for all data, the fluctuation is zero: the criterion
# of two classes never decides, while the branch loses its majority at p = 1/2.

fading = np.linspace(0.9, 0.1, 9)[None].repeat(50, axis=0)
assert (speciation_statistic(fading, 16, "fluctuation")[:-1] > 0).all()
assert (speciation_statistic(fading, 16, "branch") >= 0).sum() == 5
