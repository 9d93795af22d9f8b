"""Weights of the averaged rules, in the letters of :mod:`hierdiff.theory.correlations`.

All in logarithms, since v^s may exceed every float.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from hierdiff.checks import array as numbers
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import RHM

__all__ = ["belief", "odd_one", "true_tuple", "tuples"]

FloatArray = NDArray[np.float64]


def odd_one(p: FloatArray, s: int) -> FloatArray:
    """(1 - p) / (1 - P), probability that a child is changed given that its tuple is not true."""
    return np.asarray(1 / np.sum([p**k for k in range(s)], axis=0))


def true_tuple(p: FloatArray, rhm: RHM) -> FloatArray:
    """P / (P + k (1 - P)), probability that a true parent writes the true tuple."""
    if rhm.m == 1:
        return np.ones_like(p)
    with np.errstate(divide="ignore"):
        log_P = rhm.s * np.log(p)
        log_k = math.log(rhm.m - 1) - math.log(rhm.v**rhm.s - 1)
        return np.asarray(expit(log_P - log_k - np.log(-np.expm1(log_P))))


def tuples(q: FloatArray, p: FloatArray, rhm: RHM) -> tuple[FloatArray, FloatArray]:
    """Excess (q - c) P / Z of the true tuple, and c / Z, the scale of every other; Z the total."""
    if rhm.v == 1:
        return np.ones_like(p), np.zeros_like(p)
    with np.errstate(divide="ignore"):
        # an m beyond any float is far beyond q
        rest = np.log(rhm.m - q) if rhm.m.bit_length() < 1000 else math.log(rhm.m)
        log_c = rest - math.log(rhm.v**rhm.s - 1)
        log_P = rhm.s * np.log(p)
        log_true, log_rest = np.log(q) + log_P - log_c, np.log(-np.expm1(log_P))
    other = np.exp(-np.logaddexp(log_true, log_rest))
    return expit(log_true - log_rest) - np.exp(log_P) * other, other


def belief(name: str, value: ArrayLike) -> FloatArray:
    array = numbers(name, value).astype(float)
    outside = ~((array >= 0) & (array <= 1))
    if outside.any():
        raise InvalidParameter(
            f"{name} = {array[outside].flat[0]} is outside [0, 1]; give a probability"
        )
    return array
