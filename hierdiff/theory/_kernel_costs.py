"""Labels with two factors: what additive and product kernels can know from P of N^2 examples."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from hierdiff._rules import positive_int
from hierdiff.errors import InvalidParameter

__all__ = ["KERNELS", "Kernel", "kernel_accuracy", "kernel_cost"]

FloatArray = NDArray[np.float64]
Kernel: TypeAlias = Literal["additive", "product"]

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
        Values N of each coordinate.
    samples : int array
        Different labels P that were seen, 0 to N^2.

    Returns
    -------
    array
        Of the shape of ``samples``.

    Raises
    ------
    InvalidParameter
        If the kernel is unknown, N no positive integer, or P outside its range.

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
    n = positive_int("positions", positions)
    seen = np.asarray(samples, dtype=float)
    if kernel not in KERNELS:
        raise InvalidParameter(f"kernel = {kernel!r} is not known; use {' or '.join(KERNELS)}")
    if seen.size and not (seen.min() >= 0 and seen.max() <= n * n):
        raise InvalidParameter(f"samples must lie between 0 and N^2 = {n * n}; got {seen.tolist()}")
    if kernel == "product":
        return np.asarray(seen / n**2)
    known = 1 - 2 * _missed(n * n, n, seen) + _missed(n * n, 2 * n - 1, seen)
    return np.asarray(np.clip(known, 0.0, 1.0))


def kernel_cost(kernel: Kernel, positions: int, accuracy: float = 0.6) -> float:
    r"""Samples at which :func:`kernel_accuracy` reaches a value, interpolated between integers.

    .. math:: \text{product: } P = 0.6\, N^2, \qquad
       \text{additive: } P \approx -N \ln(1 - \sqrt{0.6}) \approx 1.49\, N

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate.
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
    if not 0 < accuracy < 1:
        raise InvalidParameter(f"accuracy = {accuracy} must lie between 0 and 1")
    samples = np.arange(positive_int("positions", positions) ** 2 + 1)
    return float(np.interp(accuracy, kernel_accuracy(kernel, positions, samples), samples))
