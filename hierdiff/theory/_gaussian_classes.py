r"""Gaussian classes: everything about their denoising errors in closed form.

.. math::
    e_c = |A_c d_c - B_c\varepsilon|^2, \qquad
    A_c = (1 + \gamma S_c)^{-1}, \quad B_c = \sqrt\gamma\,S_c A_c, \quad d_c = x_0 - \mu_c

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`\mu_c, S_c`     mean and covariance of a class, eigenvalues :math:`\lambda_{ci}`
:math:`\gamma`         signal-to-noise ratio
:math:`e_c`            denoising error :math:`|x_0 - \hat x_c(x_t)|^2`, random through the noise
:math:`z_{ci}`         coordinates of :math:`d_c` along the eigenvectors
=====================  =======================================================================

.. math::
    E\,e_c = \sum_i \frac{z_{ci}^2 + \gamma\lambda_{ci}^2}{(1 + \gamma\lambda_{ci})^2}, \qquad
    \mathrm{Cov}(e_c, e_{c'}) = 4\,(B_c A_c d_c)\cdot(B_{c'} A_{c'} d_{c'})
        + 2\,\mathrm{tr}\,B_c^2 B_{c'}^2 .
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    Rule,
    checked,
    frozen,
    memory,
    natural,
    number,
    precision,
    reals,
    sound,
)
from hierdiff.errors import InvalidParameter
from hierdiff.mixture import LowRankMixture
from hierdiff.seeds import Seed, generator
from hierdiff.theory._class_inputs import (
    checked_classes,
    checked_data,
    checked_label,
    checked_noise,
    checked_ratios,
)

__all__ = ["GaussianClasses"]

Floats: TypeAlias = NDArray[np.float64]

_RATIO: Rule = partial(number, low=0)


@dataclass(frozen=True, eq=False, init=False)
class GaussianClasses:
    r"""Classes that are Gaussians with means :math:`\mu_c` and covariances :math:`S_c`.

    .. math:: \hat x_c = \mu_c + S_c (S_c + 1/\gamma)^{-1} (x_t/\alpha - \mu_c)

    Parameters
    ----------
    means : array [K, D]
    covariances : array [D, D] or [K, D, D]
        Symmetric and positive definite; one matrix is shared by all classes.
    prior : array [K], optional
        Class probabilities, default uniform.

    Raises
    ------
    InvalidParameter
        For wrong shapes, a covariance that is not symmetric and positive definite, or a prior that
        does not sum to one.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> world = GaussianClasses([[0.0], [1.0]], [[1.0]])
    >>> world.expected_error([[0.0]], 1.0)
    array([[0.25, 0.5 ]])
    """

    means: Floats
    covariances: Floats
    prior: Floats

    def __init__(
        self, means: ArrayLike, covariances: ArrayLike, prior: ArrayLike | None = None
    ) -> None:
        mean = reals("means", means)
        if mean.ndim != 2 or not mean.size:
            raise InvalidParameter(f"means of shape {mean.shape} must be finite and [K, D]")
        classes, dim = mean.shape
        matrix = reals("covariances", covariances)
        if matrix.shape not in ((dim, dim), (classes, dim, dim)):
            raise InvalidParameter(
                f"covariances of shape {matrix.shape} must be {(dim, dim)} or {(classes, dim, dim)}"
            )
        memory(f"{classes} covariances of {dim} numbers squared", 24.0 * classes * dim**2)
        matrix = np.array(np.broadcast_to(matrix, (classes, dim, dim)))
        if not np.allclose(matrix, matrix.transpose(0, 2, 1)) or not _spans(matrix):
            raise InvalidParameter(
                "covariances must be symmetric and positive definite; give a low-rank class an"
                " ambient residual"
            )
        p = np.full(classes, 1 / classes) if prior is None else reals("prior", prior)
        if p.shape != (classes,) or (p < 0).any() or abs(p.sum() - 1) > 1e-9:
            raise InvalidParameter(
                f"prior = {str(p.tolist())[:60]} must be {classes} probabilities that sum to one"
            )
        for name, value in (("means", mean), ("covariances", matrix), ("prior", p)):
            object.__setattr__(self, name, frozen(value))

    source = "theory"

    @classmethod
    @checked
    def of(cls, mixture: LowRankMixture) -> GaussianClasses:
        """The classes of a low-rank mixture with an ambient residual, as dense Gaussians.

        Parameters
        ----------
        mixture : LowRankMixture
            Of small dimension; ``delta`` > 0 and ``residual="ambient"``, or bases that span.

        Returns
        -------
        GaussianClasses

        Examples
        --------
        >>> mixture = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]], delta=0.5)
        >>> GaussianClasses.of(mixture).covariances[1].round(12).tolist()
        [[0.25, 0.0], [0.0, 1.0]]
        """
        dense = [mixture.covariance(k) for k in range(mixture.n_classes)]
        return cls(mixture.means, np.stack(dense), mixture.weights)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.means)

    @property
    def shape(self) -> tuple[int]:
        """Shape of a datum: D."""
        return (self.means.shape[1],)

    @cached_property
    def _axes(self) -> tuple[Floats, Floats]:
        """Eigenvalues [K, D] and eigenvectors [K, D, D]."""
        values, vectors = np.linalg.eigh(self.covariances)
        return values, vectors

    @checked(n=natural)
    def sample(self, n: int, seed: Seed) -> tuple[Floats, NDArray[np.intp]]:
        """Data [n, D] and their classes [n]."""
        # every datum takes the axes of its class along
        memory(f"n = {n} data of {self.shape[0]} numbers", 8.0 * n * self.shape[0] ** 2)
        rng = generator(seed)
        label = rng.choice(self.n_classes, size=n, p=self.prior).astype(np.intp)
        values, vectors = self._axes
        latent = rng.standard_normal((n, values.shape[1])) * np.sqrt(values)[label]
        return self.means[label] + np.einsum("nij,nj->ni", vectors[label], latent), label

    @checked
    @sound
    def log_density(self, x0: ArrayLike) -> Floats:
        r"""Class-conditional log-density :math:`\log p(x_0 \mid c)`, [n, K], nats."""
        values, _ = self._axes
        z = self._coordinates(checked_data(x0, self.shape))
        inside = (z**2 / values[:, None]).sum(axis=2).T
        volume = np.log(2 * np.pi * values).sum(axis=1)
        out: Floats = -0.5 * (inside + volume)
        return out

    @checked(dtype=precision)
    @sound
    def errors(
        self,
        x0: ArrayLike,
        noise: ArrayLike,
        snr: ArrayLike,
        *,
        classes: Sequence[int] | None = None,
        dtype: DTypeLike = np.float64,
    ) -> Floats:
        r"""Denoising errors of every class, :math:`|x_0 - \hat x_c(x_t)|^2`, [n, classes].

        Parameters
        ----------
        x0, noise : array [n, D]
            Clean data and the standard normal numbers of the channel.
        snr : float or array [n]
            Signal-to-noise ratio, >= 0.
        classes : sequence of int, optional
            Classes whose error is wanted; default all.
        dtype : float64 or float32
            Without effect: everything is computed in float64.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            For other shapes, NaN, a ratio that is negative or infinite, or no such class.
        """
        x = checked_data(x0, self.shape)
        eps = checked_noise(noise, x).astype(float, copy=False)
        wanted = checked_classes(classes, self.n_classes)
        gain, leak = self._filters(checked_ratios(snr, len(x)))
        _, vectors = self._axes
        z = self._coordinates(x)[wanted]
        w = eps @ vectors[wanted]
        out: Floats = ((gain[wanted] * z - leak[wanted] * w) ** 2).sum(axis=2).T
        return out

    @checked
    @sound
    def denoise(self, x_t: ArrayLike, snr: ArrayLike, label: ArrayLike) -> Floats:
        r"""Posterior mean :math:`E[x_0 \mid x_t, c]`, [n, D]; label is a class or [n]."""
        x = checked_data(x_t, self.shape)
        ratio = checked_ratios(snr, len(x))[:, None]
        k = checked_label(label, len(x), self.n_classes)
        values, vectors = (a[k] for a in self._axes)
        scale = np.sqrt(ratio / (1 + ratio))
        z = np.einsum("nd,ndi->ni", x - scale * self.means[k], vectors)
        pull = np.sqrt(ratio * (1 + ratio)) * values / (1 + ratio * values)
        out: Floats = self.means[k] + np.einsum("nd,nid->ni", pull * z, vectors)
        return out

    @checked(snr=_RATIO)
    @sound
    def expected_error(self, x0: ArrayLike, snr: float) -> Floats:
        r"""Mean of the denoising errors over the noise, [n, K].

        .. math:: E\,e_c = \sum_i (z_{ci}^2 + \gamma\lambda_{ci}^2) / (1 + \gamma\lambda_{ci})^2

        Parameters
        ----------
        x0 : array [n, D]
        snr : float

        Notes
        -----
        Validity: exact.

        Examples
        --------
        >>> GaussianClasses([[0.0]], [[2.0]]).expected_error([[3.0]], 0.0)
        array([[9.]])
        """
        values, _ = self._axes
        z = self._coordinates(checked_data(x0, self.shape))
        shrink = (1 + snr * values[:, None]) ** -2
        out: Floats = ((z**2 + snr * values[:, None] ** 2) * shrink).sum(axis=2).T
        return out

    @checked(snr=_RATIO)
    @sound
    def error_covariance(self, x0: ArrayLike, snr: float) -> Floats:
        r"""Covariance over shared noise of the errors of all classes, [n, K, K].

        .. math:: \mathrm{Cov}(e_c, e_{c'}) = 4\,(B_c A_c d_c)\cdot(B_{c'} A_{c'} d_{c'})
            + 2\,\mathrm{tr}\,B_c^2 B_{c'}^2

        Parameters
        ----------
        x0 : array [n, D]
        snr : float

        Notes
        -----
        Validity: exact.  With noise of its own for every class only the diagonal remains.

        Examples
        --------
        >>> GaussianClasses([[0.0]], [[1.0]]).error_covariance([[2.0]], 1.0)
        array([[[1.125]]])
        """
        _, vectors = self._axes
        gain, leak = (f[:, 0] for f in self._filters(np.full(1, float(snr))))
        z = self._coordinates(checked_data(x0, self.shape))
        pull = np.einsum("kni,kdi->nkd", z * (gain * leak)[:, None], vectors)
        squares = np.einsum("kdi,ki,kei->kde", vectors, leak**2, vectors)
        trace = np.einsum("kde,lde->kl", squares, squares)
        out: Floats = 4 * np.einsum("nkd,nld->nkl", pull, pull) + 2 * trace
        return out

    def _filters(self, ratio: Floats) -> tuple[Floats, Floats]:
        """Diagonals of A and B, each [K, n, D]."""
        values, _ = self._axes
        gain = 1 / (1 + ratio[:, None] * values[:, None])
        return gain, np.sqrt(ratio)[:, None] * values[:, None] * gain

    def _coordinates(self, x: Floats) -> Floats:
        """Coordinates of x - mu_c along the eigenvectors, [K, n, D]."""
        _, vectors = self._axes
        out: Floats = (x - self.means[:, None]) @ vectors
        return out


def _spans(matrices: Floats) -> bool:
    """Whether symmetric matrices are positive definite."""
    try:
        return bool(np.linalg.eigvalsh(matrices).min() > 0)
    except np.linalg.LinAlgError:  # numbers near the end of float64 do not converge
        return False
