r"""
Where features are best: the peak of the SNR, and why the closed form misplaces it
==================================================================================

The SNR of denoised features compares the energy in the true class's block with the leak into the
others, :math:`E[\beta_k^2 A] / ((K-1) E[\beta_l^2 B])`.  The paper (arXiv 2502.05743, Theorem 1)
moves the expectation inside the softmax.  We derive that closed form, its exponent, the exact slope
at zero noise, and see what the approximation loses.
"""

# %%
# The gain of a block of weight w, and the identity behind "denoising rate" and "class confidence".

import numpy as np
import sympy as sp
from scipy import integrate, stats

from hierdiff.theory import onset_delta, snr, snr_mean_field, snr_peak
from hierdiff.theory.mixture.feature_snr import mean_field_exponent, onset_slope, snr_envelope
from hierdiff.theory.mixture.snr_integrals import weight_moments

v, delta, w, d, K = sp.symbols("v delta w d K", positive=True)
a, b = 1 + v, delta**2 + v
zeta, xi = 1 / a, delta**2 / b
h = (1 - delta**2) * w + delta**2
gain = w * zeta + (1 - w) * xi
assert sp.simplify(gain - delta**2 * (1 + v / delta**2 * h) / (a * b)) == 0

# %%
# The mean log-odds between the true class and another: energies :math:`a\chi^2_d` and
# :math:`b\chi^2_d` at the rate :math:`r = (1/b - 1/a)/2`.

rate = (1 / b - 1 / a) / 2
exponent = sp.simplify(rate * (a * d - b * d))
assert sp.simplify(exponent - d * (1 - delta**2) ** 2 / (2 * a * b)) == 0
number = float(exponent.subs({d: 5, delta: 0.2, v: 1}))
assert abs(number - mean_field_exponent(5, 0.2, 1.0)) < 1e-12

# %%
# Zero noise.  There :math:`D = x_0`, whatever the weights, and the SNR is
# :math:`1/((K-1)\delta^2)`.  To first order in v the weights do matter: with :math:`w_k, w_l` the
# energy-weighted means of the weights, the logarithm of the SNR grows as
# :math:`(\delta^{-2} - 1)(2 G - 1)\, v`, :math:`G = w_k - w_l`.

wk, wl, E = sp.symbols("w_k w_l E", positive=True)


def energy(weight: sp.Symbol, per_direction: sp.Expr) -> sp.Expr:
    """E[beta^2 X] to first order in v: beta^2 is linear in w there."""
    return sp.series(per_direction * gain.subs(w, weight) ** 2, v, 0, 2).removeO()


slope = sp.diff(sp.log(energy(wk, a)) - sp.log(energy(wl, b)), v).subs(v, 0)
assert sp.simplify(slope - (1 / delta**2 - 1) * (2 * (wk - wl) - 1)) == 0
print("the SNR rises from zero noise if and only if w_k - w_l > 1/2")
place = onset_delta(3, 5)
assert onset_slope(3, 5, place - 0.01) > 0 > onset_slope(3, 5, place + 0.01)
print(f"K = 3, d = 5: up to a residual delta = {place:.4f}")

# %%
# If the class were known, the SNR would rise for ever, from :math:`\delta^{-2}` to
# :math:`\delta^{-4}` over K - 1: the rise is denoising, the fall is confusion.

envelope = sp.simplify(a * zeta**2 / ((K - 1) * b * xi**2))
assert sp.simplify(envelope - b / ((K - 1) * delta**4 * a)) == 0
assert sp.simplify(sp.diff(envelope, v) * (K - 1) * delta**4 * a**2 - (1 - delta**2)) == 0
number = float(envelope.subs({K: 3, delta: 0.2, v: 0.3257**2}))
assert abs(number - snr_envelope(3, 0.2, 0.3257)) < 1e-9

# %%
# Why the closed form overshoots.  At the exact peak its confidence is 1 to six digits, while the
# true weight averages 0.948: the leak :math:`E[w_l^2 B]` comes from rare confusions, whose
# probability falls like the Bhattacharyya coefficient :math:`(4ab/(a+b)^2)^{d/2}`, far more slowly
# than :math:`e^{-2\Delta}`.

sigma = 0.325715
confidence = 1 / (1 + 2 * np.exp(-mean_field_exponent(5, 0.2, sigma)))
A, B = 1 + sigma**2, 0.04 + sigma**2
r = 0.5 * (1 / B - 1 / A)
chi = stats.chi2(5)
mean_weight = integrate.dblquad(
    lambda y, x: chi.pdf(x) * chi.pdf(y) / (1 + np.exp(min(r * (B * y - A * x), 700.0))),
    0, 60, 0, 60, epsabs=1e-9,
)[0]  # fmt: skip
bhattacharyya = (4 * A * B / (A + B) ** 2) ** 2.5
gap = float(mean_field_exponent(5, 0.2, sigma))
print(f"two classes at sigma = {sigma}: mean weight {mean_weight:.4f}, mean field "
      f"{1 / (1 + np.exp(-gap)):.6f}; Bhattacharyya {bhattacharyya:.3f}, exp(-2 Delta) "
      f"{np.exp(-2 * gap):.1e}")  # fmt: skip
assert confidence > 0.999998
assert mean_weight < 0.98
leak = weight_moments(3, 5, 0.2, sigma).others[0][2] / 5
assert leak > 1e3 * np.exp(-2 * gap)

# %%
# So the closed form has the right ends and shape, and the wrong peak.

exact, closed = snr_peak(3, 5, 0.2), snr_peak(3, 5, 0.2, curve=snr_mean_field)
print(f"peak: exact {exact.value:.4f} at sigma = {exact.sigma:.5f}, closed form "
      f"{closed.value:.4f} at {closed.sigma:.5f}")  # fmt: skip
assert abs(exact.sigma - 0.325715) < 1e-5
assert abs(exact.value - 30.76626083) < 1e-6
assert abs(closed.sigma - 0.5631661) < 1e-5
assert abs(closed.value - 76.02534387) < 1e-6
for small in (1e-5, 1e3):
    assert abs(snr(3, 5, 0.2, small) / snr_mean_field(3, 5, 0.2, small) - 1) < 1e-4
