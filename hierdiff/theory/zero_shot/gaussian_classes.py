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

With two classes of one covariance the denoising classifier is a linear discriminant:

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`\lambda_j`      eigenvalues of the shared covariance
:math:`D_j`            distance of the two means along eigenvector j
:math:`s_j`            +1 if the datum has its mean of class A there, -1 if of class B
:math:`F_j`            weight of direction j in the score, :math:`\int w(t) f_j(t)^2 dt`
:math:`f_j`            :math:`1/(1 + \gamma\lambda_j)`, what noise leaves open of direction j
=====================  =======================================================================

The difference of the scores, class B minus class A, is Gaussian over data and noise:

.. math::
    \Delta = \sum_j F_j (s_j D_j^2 + 2 D_j \tilde x_j) - 2\sum_i w_i \sum_j
        f_{ij}^2\sqrt{\gamma_i}\,\lambda_j D_j \varepsilon_{ij}, \qquad
    P(\Delta > 0) = \Phi\!\Big(\frac{\sum_j F_j s_j D_j^2}
        {2\sqrt{\sum_j F_j^2 D_j^2\lambda_j + \sum_i w_i^2 \sum_j \gamma_i\lambda_j^2 f_{ij}^4
        D_j^2}}\Big).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import optimize

from hierdiff.checks import (
    Rule,
    checked,
    frozen,
    memory,
    natural,
    nonnegative,
    number,
    precision,
    reals,
    sound,
    together,
)
from hierdiff.contracts import LabelledData
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.inputs import (
    checked_classes,
    checked_data,
    checked_label,
    checked_noise,
    checked_ratios,
    weights_at,
)
from hierdiff.theory.zero_shot.weightings import snr_at

__all__ = [
    "GaussianClasses",
    "band_weights",
    "crossover",
    "cue_conflict",
    "design_accuracy",
    "effective_weights",
    "linear_accuracy",
]

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
    >>> data_model = GaussianClasses([[0.0], [1.0]], [[1.0]])
    >>> data_model.expected_error([[0.0]], 1.0)
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
    def sample(self, n: int, seed: Seed) -> LabelledData:
        """Data [n, D] and their classes [n]."""
        # every datum takes the axes of its class along
        memory(f"n = {n} data of {self.shape[0]} numbers", 8.0 * n * self.shape[0] ** 2)
        rng = generator(seed)
        label = rng.choice(self.n_classes, size=n, p=self.prior).astype(np.intp)
        values, vectors = self._axes
        latent = rng.standard_normal((n, values.shape[1])) * np.sqrt(values)[label]
        x0 = self.means[label] + np.einsum("nij,nj->ni", vectors[label], latent)
        return LabelledData(x0, label)

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


# -------------------------------------------------------------------- two classes of one covariance

# Gauss-Legendre panels in t, finest at both ends; the narrowest feature is the smallest lambda's
_PANELS, _NODES = 64, 16


@checked
@sound
def effective_weights(eigenvalues: ArrayLike, weight: Callable[[Floats], Floats]) -> Floats:
    r"""Weight of every direction in the score of a weighting.

    .. math:: F_j = \int_0^1 w(t)\, (1 + \gamma(t)\lambda_j)^{-2} dt

    Parameters
    ----------
    eigenvalues : array [D]
        :math:`\lambda_j` > 0.
    weight : callable
        Weight as a function of t in (0, 1), see :func:`weighting`.

    Returns
    -------
    array [D]

    Raises
    ------
    InvalidParameter
        If an eigenvalue is not positive, or the weight no finite function of t.

    Notes
    -----
    Validity: exact for any covariance, by quadrature; the published likelihood weight gives
    :math:`1/\lambda_j`, Mahalanobis' distance, and with it linear discriminant analysis.

    Examples
    --------
    >>> from hierdiff.theory.zero_shot.weightings import weighting
    >>> effective_weights([0.02, 1.0], weighting("vdm")).round(6).tolist()
    [50.0, 1.0]
    """
    lam = _positive(eigenvalues)
    memory(
        f"{lam.size} eigenvalues at {_PANELS * _NODES} times", 16.0 * lam.size * _PANELS * _NODES
    )
    edges = np.sin(np.linspace(0, np.pi / 2, _PANELS + 1)) ** 2
    x, dx = np.polynomial.legendre.leggauss(_NODES)
    width = np.diff(edges)[:, None]
    t, dt = (edges[:-1, None] + width * (x + 1) / 2).ravel(), (width * dx / 2).ravel()
    left = (1 + snr_at(t)[:, None] * lam) ** -2
    return np.asarray((dt * weights_at(weight, t)) @ left)


@checked(low=partial(number, low=0), high=partial(number, infinite=True))
@sound
def band_weights(eigenvalues: ArrayLike, low: float, high: float) -> Floats:
    r"""Weight of every direction if all signal-to-noise ratios between two count equally.

    .. math:: \int_{\gamma_1}^{\gamma_2} \frac{d\gamma}{(1 + \gamma\lambda)^2}
        = \frac{\gamma_2 - \gamma_1}{(1 + \gamma_1\lambda)(1 + \gamma_2\lambda)}

    Parameters
    ----------
    eigenvalues : array [D]
    low, high : float
        :math:`0 \le \gamma_1 < \gamma_2`; ``high`` may be infinite.

    Returns
    -------
    array [D]

    Raises
    ------
    InvalidParameter
        If an eigenvalue is not positive, or the ends are negative or not increasing.

    Notes
    -----
    Validity: exact; (0, inf) gives :math:`1/\lambda` and hence Bayes' rule.

    Examples
    --------
    >>> band_weights([0.02, 1.0], 0.0, np.inf).tolist()
    [50.0, 1.0]
    >>> band_weights([0.02, 1.0], 0.0, 1.0).round(4).tolist()
    [0.9804, 0.5]
    """
    lam = _positive(eigenvalues)
    if not 0 <= low < high:
        raise InvalidParameter(f"band {low} to {high} must be increasing and start at >= 0")
    if np.isinf(high):
        return np.asarray(1 / (lam * (1 + low * lam)))
    return np.asarray((high - low) / ((1 + low * lam) * (1 + high * lam)))


@checked
@sound
def linear_accuracy(
    eigenvalues: ArrayLike, gaps: ArrayLike, weights: ArrayLike, signs: ArrayLike = 1.0
) -> float:
    r"""How often class A is chosen over class B with an unlimited budget.

    .. math:: P = \Phi\Big(\sum_j F_j s_j D_j^2 \Big/ 2\sqrt{\sum_j F_j^2 D_j^2 \lambda_j}\Big)

    Parameters
    ----------
    eigenvalues, gaps, weights : arrays [D]
        :math:`\lambda_j, D_j, F_j`.
    signs : array [D]
        :math:`s_j`; all +1 gives the accuracy, mixed signs the share of A under cue conflict.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If a number is out of range, shapes do not fit, or no direction has a weight and a gap.

    Notes
    -----
    Validity: exact for two Gaussian classes of one covariance.

    Examples
    --------
    Mahalanobis' weights give linear discriminant analysis, Phi(distance / 2):

    >>> round(linear_accuracy([1.0, 4.0], [1.0, 2.0], [1.0, 0.25]), 6)
    0.76025
    """
    from scipy.stats import norm

    lam, gap, weight, sign = _directions(
        eigenvalues=_positive(eigenvalues), gaps=gaps, weights=weights, signs=signs
    )
    spread = 2 * np.sqrt((weight**2 * gap**2 * lam).sum())
    if not spread > 0:
        raise InvalidParameter("weights times gaps vanish everywhere; no direction tells A from B")
    return float(norm.cdf((weight * sign * gap**2).sum() / spread))


@checked(snr=nonnegative)
@sound
def design_accuracy(
    eigenvalues: ArrayLike,
    gaps: ArrayLike,
    weights: ArrayLike,
    snr: ArrayLike,
    signs: ArrayLike = 1.0,
) -> float:
    r"""How often class A is chosen over class B with given noise levels and shared noise.

    Parameters
    ----------
    eigenvalues, gaps : arrays [D]
        :math:`\lambda_j, D_j`.
    weights, snr : arrays [N]
        Weight :math:`w_i` and ratio :math:`\gamma_i` of each of the N samples.
    signs : array [D]
        As in :func:`linear_accuracy`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If a number is out of range, shapes do not fit, or all weights vanish.

    Notes
    -----
    Validity: exact at every budget for two Gaussian classes of one covariance, because the
    difference of the scores is linear in the noise.  Noise levels are part of the design; if they
    are drawn, this is the accuracy given the draw.

    Examples
    --------
    One sample at ratio 1, and a thousand:

    >>> [round(design_accuracy([1.0], [2.0], np.ones(n), np.ones(n)), 4) for n in (1, 1000)]
    [0.7602, 0.8412]
    """
    from scipy.stats import norm

    lam, gap, sign = _directions(eigenvalues=_positive(eigenvalues), gaps=gaps, signs=signs)
    w, gamma = _directions(weights=weights, snr=snr)
    if not w.ndim:
        raise InvalidParameter("weights and snr are single numbers; give one of each per sample")
    memory(f"{w.size} samples in {lam.size} directions", 32.0 * w.size * lam.size)
    left = 1 / (1 + gamma[:, None] * lam)
    total = w @ left**2
    noise = (w**2) @ (gamma[:, None] * lam**2 * left**4 @ gap**2)
    spread = 2 * np.sqrt((total**2 * gap**2 * lam).sum() + noise)
    if not spread > 0:
        raise InvalidParameter("weights vanish at all noise levels; choose levels where w(t) > 0")
    return float(norm.cdf((total * sign * gap**2).sum() / spread))


@checked(sigma2=nonnegative)
@sound
def cue_conflict(
    sigma2: ArrayLike, eigenvalues: ArrayLike, gaps: ArrayLike, signs: ArrayLike
) -> Floats:
    r"""Mean difference of the scores at one noise level; > 0 is the class of the +1 directions.

    .. math:: D(\sigma) = \sum_j s_j\, \Big(\frac{\sigma^2}{\lambda_j + \sigma^2}\Big)^2 D_j^2

    Parameters
    ----------
    sigma2 : array
        :math:`\sigma^2 = 1/\gamma`.
    eigenvalues, gaps, signs : arrays [D]

    Returns
    -------
    array of the shape of ``sigma2``

    Raises
    ------
    InvalidParameter
        If a number is out of range or shapes do not fit.

    Notes
    -----
    Validity: exact for two Gaussian classes of one covariance.  With small :math:`\lambda` in
    texture, low noise favours texture and high noise whichever gap is larger.

    Examples
    --------
    >>> cue_conflict([0.1, 10.0], [1.0, 0.02], [2**0.5, 0.6**0.5], [1, -1]).round(4).tolist()
    [-0.4001, 1.0553]
    """
    s2 = reals("sigma2", sigma2)[..., None]
    lam, gap, sign = _directions(eigenvalues=_positive(eigenvalues), gaps=gaps, signs=signs)
    memory(f"{s2.size} noise levels in {lam.size} directions", 24.0 * s2.size * lam.size)
    left = (s2 / (lam + s2)) ** 2
    return np.asarray((left * sign * gap**2).sum(axis=-1))


@checked
@sound
def crossover(eigenvalues: ArrayLike, gaps: ArrayLike, signs: ArrayLike) -> float:
    r"""Noise :math:`\sigma^2` at which the preferred cue changes, :math:`D(\sigma) = 0`.

    Parameters
    ----------
    eigenvalues, gaps, signs : arrays [D]
        As in :func:`cue_conflict`.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If one cue wins at every noise level.

    Notes
    -----
    Validity: exact; the crossing is the only one if all eigenvalues of a cue are equal.

    Examples
    --------
    >>> round(crossover([1.0, 0.02], [2**0.5, 0.6**0.5], [1, -1]), 4)
    1.1668
    """
    lam = _positive(eigenvalues)
    # divided by sigma^4 below the spectrum, so that both ends keep their limits
    grid = np.geomspace(1e-6 * lam.min(), 1e6 * lam.max(), 4001)
    values = cue_conflict(grid, lam, gaps, signs)
    change = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    if not change.size:
        raise NoTransition("one cue wins at every noise level; there is no crossover")
    low, high = grid[change[0]], grid[change[0] + 1]

    def at(log_s2: float) -> float:
        return float(cue_conflict(np.exp(log_s2), lam, gaps, signs))

    return float(np.exp(optimize.brentq(at, np.log(low), np.log(high), xtol=1e-14)))


def _positive(eigenvalues: ArrayLike) -> Floats:
    lam = reals("eigenvalues", eigenvalues, ndim=(0, 1))
    # grids of noise levels run six decades beyond the spectrum
    if not (lam.size and (lam >= 1e-100).all() and (lam <= 1e100).all()):
        raise InvalidParameter(
            "eigenvalues must be finite and > 0, from 1e-100 to 1e100; give texture some variance"
        )
    return lam


def _directions(**values: ArrayLike) -> tuple[Floats, ...]:
    """Arrays [D] of one length; a number stands for all directions."""
    found = {name: reals(name, x, ndim=(0, 1)) for name, x in values.items()}
    together(**found)
    return tuple(np.broadcast_arrays(*found.values()))
