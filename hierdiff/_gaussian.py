"""Gaussian noise and its schedules; symbols and equations are those of :mod:`hierdiff.noise`.

Everything is written in the signal-to-noise ratio, in which nothing cancels:
alpha_bar = 1 / (1 + 1 / snr), 1 - alpha_bar = 1 / (1 + snr).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    MAX_SYMBOLS,
    FloatArray,
    array,
    check_fields,
    finite_reals,
    levels_of,
    memory,
    natural,
    one_of,
    shown,
    snr_of,
    symbols_of,
    whole,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["GaussianNoise", "shape_of"]

_INFINITE = 1e300  # a larger gain is taken as infinite: gain * x_t must not overflow
_ANGLE = np.pi / 2 / 1.008  # pi/2 / (1 + o): t turns the cosine by t * _ANGLE
_LINEAR_T = np.arange(1001) / 1000
_LINEAR_RATE = np.append(0.0, -np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000))))


@dataclass(frozen=True)
class GaussianNoise:
    r"""Variance-preserving Gaussian noise on one-hot symbols, or on vectors.

    .. math:: x_t = \sqrt{\bar\alpha}\, x_0 + \sqrt{1 - \bar\alpha}\, \eta, \qquad
       \bar\alpha_{\cos}(t) = \cos^2\!\frac{\pi}{2}\frac{t + o}{1 + o} \Big/
       \cos^2\!\frac{\pi}{2}\frac{o}{1 + o}, \quad o = 0.008

    Parameters
    ----------
    v : int, optional
        Number of symbols; None for real data [n, D] (or [n, ...]).
    schedule : {"cosine", "linear"}
        "linear" is DDPM's: :math:`-\log\bar\alpha` interpolated linearly between the 1,000
        products of :math:`1 - \beta_i`, :math:`\beta_i` from 1e-4 to 0.02, so
        :math:`\bar\alpha((i + 1) / 1000)` is the i-th discrete number (i from 0) and
        :math:`\bar\alpha(0) = 1`.  "cosine" is not clipped: SNR 0 at t = 1.

    Raises
    ------
    InvalidParameter
        If ``v`` is no positive integer or the schedule unknown.

    Notes
    -----
    Validity: exact channel, for every SNR in [0, inf]; "linear" ends at SNR 4.04e-5.  At SNR = inf
    (t = 0) the evidence is one-hot on the nearest symbol, shared if several are equally near.

    References
    ----------
    Ho et al., arXiv 2006.11239; Nichol and Dhariwal, arXiv 2102.09672.

    Examples
    --------
    >>> noise = GaussianNoise(v=32, schedule="linear")
    >>> [round(float(x), 8) for x in noise.alpha_bar([0.001, 0.25, 0.5, 1.0])]
    [0.9999, 0.52408537, 0.07858724, 4.036e-05]
    """

    v: int | None = None
    schedule: Literal["cosine", "linear"] = "cosine"
    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        if self.v is not None:
            check_fields(self, v=partial(whole, low=1, high=MAX_SYMBOLS))
        one_of("schedule", self.schedule, ("cosine", "linear"))

    def alpha_bar(self, t: ArrayLike) -> FloatArray:
        """Signal power in [0, 1]: 1 at t = 0, decreasing; of the shape of ``t``."""
        levels = levels_of(t)
        if self.schedule == "linear":
            return np.asarray(np.exp(-np.interp(levels, _LINEAR_T, _LINEAR_RATE)))
        return np.asarray((np.sin((1 - levels) * _ANGLE) / np.sin(_ANGLE)) ** 2)

    def snr(self, t: ArrayLike) -> FloatArray:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar), inf at t = 0; of the shape of ``t``.

        Parameters
        ----------
        t : float or array
            Noise level in [0, 1].

        Returns
        -------
        array
            In [0, inf].

        Raises
        ------
        InvalidParameter
            If a level is outside [0, 1].

        Notes
        -----
        Validity: accurate to rounding of ``t`` at both ends of either schedule.

        Examples
        --------
        >>> GaussianNoise(schedule="cosine").snr([0.0, 0.5, 1.0]).round(6).tolist()
        [inf, 0.975674, 0.0]
        """
        levels = levels_of(t)
        with np.errstate(divide="ignore", over="ignore"):
            if self.schedule == "linear":
                return np.asarray(1 / np.expm1(np.interp(levels, _LINEAR_T, _LINEAR_RATE)))
            # cos^2 a - cos^2 (a + y) = sin y sin (2 a + y), with a = pi/2 - _ANGLE
            y = levels * _ANGLE
            noise = np.sin(y) * np.sin(y + np.pi - 2 * _ANGLE)
            return np.asarray(np.sin((1 - levels) * _ANGLE) ** 2 / noise)

    def level(self, snr: ArrayLike) -> FloatArray:
        """Noise level t at which the SNR has this value: the inverse of ``snr``.

        Parameters
        ----------
        snr : float or array
            Signal-to-noise ratio in [0, inf].

        Returns
        -------
        array
            In [0, 1].

        Raises
        ------
        InvalidParameter
            If a ratio is negative, or below the end of the linear schedule.

        Notes
        -----
        Validity: exact to rounding.

        Examples
        --------
        >>> noise = GaussianNoise(schedule="linear")
        >>> float(noise.level(6.75).round(6)), float(noise.snr(noise.level(6.75)).round(12))
        (0.113293, 6.75)
        """
        ratio = snr_of(snr)
        with np.errstate(divide="ignore", over="ignore"):
            rate = np.log1p(1 / ratio)
        if self.schedule == "cosine":
            return _cosine_level(ratio, rate)
        if (rate > _LINEAR_RATE[-1] * (1 + 1e-12)).any():
            raise InvalidParameter(
                f"snr = {ratio.min()} is below {1 / np.expm1(_LINEAR_RATE[-1]):.4g}, where the "
                "linear schedule ends; use schedule='cosine' or the methods ending in _at_snr"
            )
        return np.asarray(np.interp(rate, _LINEAR_RATE, _LINEAR_T))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Standard normal numbers, [n, leaves, v], or the shape of the data if v is None."""
        extents = shape_of("shape", shape)
        extents = extents if self.v is None else (*extents, self.v)
        memory(f"random numbers of shape {extents}", 8.0 * math.prod(extents))
        return generator(rng).standard_normal(extents)

    def corrupt_at_snr(self, x0: ArrayLike, snr: ArrayLike, randoms: ArrayLike) -> FloatArray:
        r"""Noisy data at a given SNR, without a schedule.

        .. math:: x_t = e_{x_0} / \sqrt{1 + 1/\text{snr}} + \eta / \sqrt{1 + \text{snr}}

        Parameters
        ----------
        x0 : int array [n, leaves], or real array [n, ...] if v is None
            Clean data.
        snr : float or array [n]
            Signal-to-noise ratio in [0, inf].
        randoms : array [n, leaves, v], or of the shape of x0
            Standard normal numbers, as ``draw`` returns them.

        Returns
        -------
        array [n, leaves, v], or of the shape of x0

        Raises
        ------
        InvalidParameter
            For a wrong shape, a symbol out of range, a negative ratio, NaN.

        Notes
        -----
        Validity: exact.

        Examples
        --------
        >>> GaussianNoise(v=2).corrupt_at_snr([[1]], 3.0, [[[2.0, 0.0]]]).round(6).tolist()
        [[[1.0, 0.866025]]]
        """
        if self.v is None:
            vectors = finite_reals("x0", x0)
            normals = finite_reals("randoms", randoms, vectors.shape)
            signal, noise = _amplitudes(snr, normals)
            return np.asarray(signal * vectors + noise * normals)
        symbols = symbols_of("x0", x0, 0, self.v)[..., None]
        normals = finite_reals("randoms", randoms, (*symbols.shape[:2], self.v))
        signal, noise = _amplitudes(snr, normals)
        noisy: FloatArray = noise * normals
        np.put_along_axis(noisy, symbols, np.take_along_axis(noisy, symbols, 2) + signal, 2)
        return noisy

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> NDArray[Any]:
        """Noisy data [n, leaves, v], or of the shape of x0 if v is None."""
        return self.corrupt_at_snr(x0, self.snr(t), randoms)

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> NDArray[Any]:
        """Noisy data at level t, [n, leaves, v], or of the shape of x0 if v is None."""
        return self.corrupt_with(x0, t, self.draw(array("x0", x0).shape, generator(seed)))

    def log_evidence_at_snr(self, x_t: ArrayLike, snr: ArrayLike) -> FloatArray:
        r"""Evidence at a given SNR, without a schedule.

        .. math:: \log\psi(b) = \sqrt{\text{snr}\,(1 + \text{snr})}\; x_t[b]

        Parameters
        ----------
        x_t : array [n, leaves, v]
            Noisy one-hot symbols.
        snr : float or array [n]
            Signal-to-noise ratio in [0, inf].

        Returns
        -------
        array [n, leaves, v]
            Natural logarithm, up to terms that no symbol depends on; one-hot at SNR = inf.

        Raises
        ------
        InvalidParameter
            If v is None; for a wrong shape, a negative ratio, NaN.

        Notes
        -----
        Validity: exact.

        Examples
        --------
        >>> GaussianNoise(v=2).log_evidence_at_snr([[[1.0, 0.5]]], 3.0).round(6).tolist()
        [[[3.464102, 1.732051]]]
        """
        if self.v is None:
            raise InvalidParameter(
                "GaussianNoise(v=None) acts on vectors, which have no symbols; give v, or ask "
                "hierdiff.theory.class_posterior about a mixture"
            )
        x = finite_reals("x_t", x_t, (None, None, self.v))
        ratio = snr_of(snr, len(x)).reshape(-1, 1, 1)
        gain = np.sqrt(ratio) * np.sqrt(1 + ratio)
        finite = gain < _INFINITE
        gain = np.where(finite, gain, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.asarray(gain * x)
            if not np.isfinite(found.sum()) and not np.isfinite(found).all():
                # what all symbols have in common overflows; it may be left out
                found = gain * (x - x.max(axis=2, keepdims=True))
        if finite.all():
            return found
        nearest = np.where(x == x.max(axis=2, keepdims=True), 0.0, -np.inf)
        return np.where(finite, found, nearest)

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """Log psi = sqrt(alpha_bar) x_t / (1 - alpha_bar), [n, leaves, v]."""
        return self.log_evidence_at_snr(x_t, self.snr(t))

    def evidence(self, x_t: ArrayLike, t: ArrayLike) -> FloatArray:
        """The same as ``log_evidence``: Gaussian evidence has no compact form."""
        return self.log_evidence(x_t, t)


def shape_of(name: str, shape: Any) -> tuple[int, ...]:
    """Extents of data."""
    if isinstance(shape, (tuple, list)):
        return tuple(natural(f"{name}[{i}]", extent) for i, extent in enumerate(shape))
    raise InvalidParameter(f"{name} = {shown(shape)} must be a tuple of integers, e.g. (n, leaves)")


def _cosine_level(ratio: FloatArray, rate: FloatArray) -> FloatArray:
    """Angle y = t * _ANGLE from its sine and cosine, both written without differences."""
    sin, cos = np.sin(_ANGLE), np.cos(_ANGLE)
    noise = 1 / (1 + ratio)
    near, far = np.exp(-rate / 2) * sin, np.sqrt(cos**2 + noise * sin**2)
    y = np.arctan2(noise * sin**2 / (far * sin + near * cos), near * sin + far * cos)
    return np.asarray(np.minimum(y / _ANGLE, 1.0))


def _amplitudes(snr: ArrayLike, normals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Amplitude of signal and noise, broadcast against the random numbers."""
    ratio = snr_of(snr, len(normals)).reshape((-1,) + (1,) * (normals.ndim - 1))
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / np.sqrt(1 + 1 / ratio), 1 / np.sqrt(1 + ratio)
