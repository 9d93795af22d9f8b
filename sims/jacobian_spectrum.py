r"""
Jacobian of the denoiser: soft directions and the static correlation length
===========================================================================

Under Gaussian noise the derivative of the exact denoiser is the posterior covariance of the clean
datum.  Its eigenvalues are mean squared errors of the denoiser along its eigenvectors:

.. math::
   J = \frac{a}{\sigma^2} \mathrm{Cov}(x_0 \mid x_t), \qquad
   E[\lambda_r] = E\Big[\frac{a}{\sigma^2} \big(u_r \cdot (x_0 - E[x_0 | x_t])\big)^2\Big], \qquad
   \chi = \frac{\sum_{ij} \|C_{ij}\|^2}{\sum_i \|C_{ii}\|^2}

with the covariance C_ij of two leaves; chi counts the leaves that vary together.  Run it as
``python sims/jacobian_spectrum.py --out DIR``; it takes about half a minute.
"""

# %%
# Strings of 32 leaves, eight grammars.

from hierdiff.sims import JacobianSpectrum
from hierdiff.sims.run import command

results = command(JacobianSpectrum)

# %%
# Left: eigenvalues (lines) and errors along the eigenvectors (points).  Middle: squared covariance
# of two leaves.  Right: most leaves vary together where the class is lost.

figure = JacobianSpectrum().figure(results)
