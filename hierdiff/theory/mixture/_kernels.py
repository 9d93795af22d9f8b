"""Passes over coordinates of mixtures that would cost NumPy several temporaries each."""

from hierdiff.theory._compiled import jit

__all__ = ["add_scaled", "energies", "shrink"]

# sums may be reordered, so that they vectorise; infinities and NaN keep their meaning
_REORDER = {"reassoc", "contract"}


@jit(fastmath=_REORDER)
def energies(z, gap, joint):
    """Add gap z^2 / 2, summed over the q axes of a class, to joint [n, K]; z is [n, K, q]."""
    n, classes, q = z.shape
    half = z.dtype.type(0.5)
    for i in range(n):
        for k in range(classes):
            total = z.dtype.type(0)
            for j in range(q):
                total += gap[k, j] * z[i, k, j] * z[i, k, j]
            joint[i, k] += half * total


@jit
def shrink(z, gain, w):
    """Multiply coordinates [n, K, q] by gain [K, q] and weight [n, K], in place."""
    n, classes, q = z.shape
    for i in range(n):
        for k in range(classes):
            for j in range(q):
                z[i, k, j] *= gain[k, j] * w[i, k]


@jit(fastmath=_REORDER)
def add_scaled(out, y, factor):
    """Add factor * y to out, both [n, D]."""
    n, dim = y.shape
    for i in range(n):
        for j in range(dim):
            out[i, j] += factor * y[i, j]
