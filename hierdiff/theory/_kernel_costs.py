"""Labels with two factors: what additive and product kernels can know from P of N^2 examples."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from hierdiff.checks import checked, number, reals, whole
from hierdiff.errors import InvalidParameter

__all__ = ["KERNELS", "Kernel", "kernel_accuracy", "kernel_cost"]

FloatArray = NDArray[np.float64]
Kernel: TypeAlias = Literal["additive", "product"]

# logarithms of binomials of N^2 = 1e8 cells, about 2e9, are right to 5e-7; beyond, digits are lost
_MOST = 10**4

KERNELS: tuple[Kernel, ...] = ("additive", "product")


def _missed(cells: int, group: int, samples: FloatArray) -> FloatArray:
    """Probability that none of ``samples`` draws without replacement falls in a group of cells."""
    left = cells - group - samples
    with np.errstate(invalid="ignore"):
        log = (
            gammaln(cells - group + 1) - gammaln(left + 1) - gammaln(cells + 1)
            + gammaln(cells - samples + 1)
        )  # fmt: skip
    return np.where(left >= 0, np.exp(np.where(left >= 0, log, 0.0)), 0.0)


@checked(positions=partial(whole, low=1, high=_MOST))
def kernel_accuracy(kernel: Kernel, positions: int, samples: ArrayLike) -> FloatArray:
    r"""Share of the N^2 labels (x, y) that a kernel method can know from P of them.

    .. math:: \text{product: } \frac{P}{N^2}, \qquad \text{additive: } 1
       - 2 \binom{N^2 - N}{P} \Big/ \binom{N^2}{P} + \binom{N^2 - 2N + 1}{P} \Big/ \binom{N^2}{P}

    A product of one-hot kernels knows the labels that it has seen; a sum of them knows the labels
    both of whose coordinates it has seen, in whatever company.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, at most 10^4.
    samples : int array
        Different labels P that were seen, 0 to N^2.

    Returns
    -------
    array
        Of the shape of ``samples``.

    Raises
    ------
    InvalidParameter
        If the kernel is unknown, N out of range, or P no integers in theirs.

    Notes
    -----
    Validity: exact counts for uniform draws without replacement.  Regression with an additive
    kernel can do worse, where x and y were seen in groups of examples that share no coordinate:
    the offset between such groups is not determined by the data.

    References
    ----------
    The scaling, linear against quadratic, is that of arXiv 2408.13256.

    Examples
    --------
    >>> kernel_accuracy("product", 8, [0, 16, 64]).tolist()
    [0.0, 0.25, 1.0]
    >>> round(float(kernel_accuracy("additive", 8, 11)), 6)
    0.63869
    """
    n, seen = positions, reals("samples", samples)
    wrong = (seen < 0) | (seen > n * n) | (seen != np.round(seen))
    if wrong.any():
        raise InvalidParameter(
            f"samples hold {seen[wrong].flat[0]:g}; they must be integers between 0 and N^2 = "
            f"{n * n}"
        )
    if kernel == "product":
        return np.asarray(seen / n**2)
    known = 1 - 2 * _missed(n * n, n, seen) + _missed(n * n, 2 * n - 1, seen)
    return np.asarray(np.clip(known, 0.0, 1.0))


@checked(positions=partial(whole, low=1, high=_MOST), accuracy=partial(number, above=0, below=1))
def kernel_cost(kernel: Kernel, positions: int, accuracy: float = 0.6) -> float:
    r"""Samples at which :func:`kernel_accuracy` reaches a value, interpolated between integers.

    .. math:: \text{product: } P = 0.6\, N^2, \qquad
       \text{additive: } P \approx -N \ln(1 - \sqrt{0.6}) \approx 1.49\, N

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, at most 10^4.
    accuracy : float
        In (0, 1).

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        As :func:`kernel_accuracy`, or if the accuracy is not in (0, 1).

    Notes
    -----
    Validity: as :func:`kernel_accuracy`; the quoted limit of the additive kernel is that of large
    N, at finite N draws without replacement need less.

    Examples
    --------
    >>> [round(kernel_cost("product", n), 1) for n in (8, 32)]
    [38.4, 614.4]
    >>> [round(kernel_cost("additive", n), 1) for n in (8, 32)]
    [10.3, 45.9]
    """
    below, above = 0, positions**2  # accuracies 0 and 1
    while above - below > 1:
        middle = (below + above) // 2
        short = kernel_accuracy(kernel, positions, middle) <= accuracy
        below, above = (middle, above) if short else (below, middle)
    samples = np.array([below, above])
    return float(np.interp(accuracy, kernel_accuracy(kernel, positions, samples), samples))
