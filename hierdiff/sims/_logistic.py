"""The fit behind the probes; equations and symbols are those of :mod:`hierdiff.sims.probes`."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hierdiff.errors import InvalidParameter

__all__ = ["Scaling", "Solution", "minimise", "products", "scaling_of"]

Floats: TypeAlias = NDArray[np.float64]


class Scaling(NamedTuple):
    """Centre and common length of features."""

    centre: Floats
    length: float

    def apply(self, x: Floats) -> Floats:
        if x.shape[-1:] != self.centre.shape[-1:]:
            raise InvalidParameter(
                f"features of shape {x.shape} do not fit a probe of {self.centre.shape[-1]} columns"
            )
        return (x - self.centre) / self.length


class Solution(NamedTuple):
    """Weights [P, K], intercept [K], largest entry of the gradient, steps taken."""

    weights: Floats
    intercept: Floats
    gradient: float
    iterations: int


def minimise(z: Floats, hot: Floats, ridge: float, tolerance: float, iterations: int) -> Solution:
    """Multinomial logistic regression of one-hot labels [n, K] on scaled features [n, P]."""
    n, k = hot.shape
    # the penalty keeps the weights in the span of the points: fewer coordinates where n < P
    frame, z = (None, z) if n >= z.shape[1] else _in_own_span(z)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        w, c = parameters[:-k].reshape(-1, k), parameters[-k:]
        logits = z @ w
        logits += c
        picked = np.vdot(hot, logits)
        top = logits.max(axis=1, keepdims=True)
        np.exp(logits - top, out=logits)
        norm = logits.sum(axis=1, keepdims=True)
        loss = top.sum() + np.log(norm).sum() - picked + ridge / 2 * np.vdot(w, w)
        logits /= norm
        logits -= hot
        slope = z.T @ logits + ridge * w
        return float(loss) / n, np.append(slope.ravel(), logits.sum(axis=0)) / n

    found = minimize(
        objective, np.zeros((z.shape[1] + 1) * k), jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations, "maxcor": 20,
                 "gtol": tolerance, "ftol": 0.0},
    )  # fmt: skip
    gradient = float(np.abs(found.jac).max())
    if gradient > tolerance:
        raise InvalidParameter(
            f"the probe stopped after {found.nit} steps at gradient {gradient:.2g} > tolerance ="
            f" {tolerance:g}; raise iterations, ridge or tolerance"
        )
    weights = found.x[:-k].reshape(-1, k)
    weights = weights if frame is None else frame @ weights
    return Solution(weights, found.x[-k:], gradient, int(found.nit))


def _in_own_span(z: Floats) -> tuple[Floats, Floats]:
    """Orthonormal frame [P, n] of n < P rows, and the rows in its coordinates [n, n]."""
    frame, coordinates = np.linalg.qr(z.T)
    return frame, np.ascontiguousarray(coordinates.T)


def products(z: Floats) -> Floats:
    r"""All :math:`z_a^2` and :math:`\sqrt2 z_a z_b`, [n, P (P + 1) / 2]: the length is kept."""
    n, width = z.shape
    out = np.empty((n, width * (width + 1) // 2))
    start = 0
    for a in range(width):
        stop = start + width - a
        np.multiply(z[:, a:], z[:, a : a + 1] * np.sqrt(2), out=out[:, start:stop])
        out[:, start] /= np.sqrt(2)
        start = stop
    return out


def scaling_of(x: Floats) -> Scaling:
    """Mean and root mean square of features; a constant is left as it is."""
    centre = x.mean(axis=0)
    length = float(np.sqrt(np.mean((x - centre) ** 2)))
    return Scaling(centre, length if length > 0 else 1.0)
