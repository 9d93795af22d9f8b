r"""Mixtures of low-rank Gaussians: parameters, covariances, sampling, fitting.

With probability :math:`\pi_k` a datum is drawn from class :math:`k`,

.. math::

    x_0 = \mu_k + U_k \Lambda_k^{1/2} a + \delta\,\tilde U_k e, \qquad a, e \sim N(0, I),
    \qquad S_k = U_k \Lambda_k U_k^T + \delta^2 \tilde U_k \tilde U_k^T .

================  ===========================================================================
``bases``         :math:`U_k`, K arrays [D, d_k] with orthonormal columns
``weights``       :math:`\pi_k`, [K]
``variances``     diagonals of :math:`\Lambda_k`, K arrays [d_k]
``means``         :math:`\mu_k`, [K, D]
``delta``         :math:`\delta`, amplitude of the residual
``residual``      :math:`\tilde U_k` spans the other classes' bases (``"span"``) or everything
                  orthogonal to :math:`U_k` (``"ambient"``, probabilistic PCA)
================  ===========================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._files import one_line, read_npz, write_npz
from hierdiff.checks import (
    checked,
    count,
    frozen,
    memory,
    number,
    one_of,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import LabelledData
from hierdiff.data import subspaces
from hierdiff.data.subspaces import Spectrum
from hierdiff.errors import DamagedFile, InvalidParameter, NotConverged
from hierdiff.seeds import Seed, generator

__all__ = ["LowRankMixture"]

Floats: TypeAlias = NDArray[np.float64]
Residual: TypeAlias = Literal["span", "ambient"]

_KIND = "hierdiff.LowRankMixture 1"
_SMALLEST_DELTA = 1e-150  # its square is a normal number
_MOST_CLASSES = 1 << 24  # that a list of ranks is made for
_LARGEST_MEAN = 1e140  # squared distances of means stay finite, in any dimension that fits memory


@dataclass(frozen=True, init=False, eq=False, repr=False)
class LowRankMixture:
    r"""Mixture of low-rank Gaussians, eq. (3) of the reference with unequal everything.

    Parameters
    ----------
    bases : sequence of K arrays [D, d_k]
        Orthonormal columns; d_k = 0 makes the class a point (or pure residual).
    weights : array [K], optional
        Class probabilities, default uniform.
    variances : sequence of K arrays [d_k], optional
        Variance along each column, default 1.
    delta : float
        Residual amplitude.
    residual : {"span", "ambient"}
        Where the residual lives, see the module's table.
    means : array [K, D], optional
        Class means, default 0.

    Raises
    ------
    InvalidParameter
        For bases that are not orthonormal, ranks above D, negative or unnormalised weights,
        negative variances, wrong shapes, NaN.

    Notes
    -----
    Validity: any K >= 1, any overlap of the subspaces.

    References
    ----------
    Li et al., Understanding Representation Dynamics of Diffusion Models, arXiv 2502.05743.

    Examples
    --------
    >>> mixture = LowRankMixture.random(15, 5, 3, delta=0.2, seed=0)
    >>> mixture
    LowRankMixture(D=15, K=3, ranks=(5, 5, 5), delta=0.2, residual='span')
    >>> x, k = mixture.sample(4, seed=1)
    >>> x.shape, k.shape
    ((4, 15), (4,))
    """

    bases: tuple[Floats, ...]
    weights: Floats
    variances: tuple[Floats, ...]
    delta: float
    residual: Residual
    means: Floats

    def __init__(
        self,
        bases: Sequence[ArrayLike],
        weights: ArrayLike | None = None,
        variances: Sequence[ArrayLike] | None = None,
        delta: float = 0.0,
        residual: Residual = "span",
        means: ArrayLike | None = None,
    ) -> None:
        orthonormal = subspaces.check_bases(bases)
        dim, classes = len(orthonormal[0]), len(orthonormal)
        amplitude = number("delta", delta, 0)
        if amplitude > subspaces.LARGEST_VARIANCE**0.5 or 0 < amplitude < _SMALLEST_DELTA:
            raise InvalidParameter(
                f"delta = {delta} must be 0 or lie in [{_SMALLEST_DELTA:g}, 1e+100]: beyond, its"
                " square leaves the range of floats"
            )
        mean = np.zeros((classes, dim)) if means is None else reals("means", means)
        if mean.shape != (classes, dim):
            raise InvalidParameter(
                f"means of shape {mean.shape} must be of shape {(classes, dim)};"
                " give one row per class"
            )
        if np.abs(mean).max() > _LARGEST_MEAN:
            raise InvalidParameter(
                f"means hold {np.abs(mean).max():g}, beyond {_LARGEST_MEAN:g}, where squares leave"
                " the range of floats; choose larger units"
            )
        fields = {
            "bases": orthonormal,
            "weights": subspaces.check_weights(weights, classes),
            "variances": subspaces.check_variances(variances, orthonormal),
            "delta": amplitude,
            "residual": one_of("residual", residual, ("span", "ambient")),
            "means": frozen(mean),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return (
            f"LowRankMixture(D={self.dim}, K={self.n_classes}, ranks={self.ranks},"
            f" delta={self.delta:g}, residual={self.residual!r})"
        )

    @property
    def dim(self) -> int:
        """Ambient dimension D."""
        return len(self.bases[0])

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.bases)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks d_k."""
        return tuple(basis.shape[1] for basis in self.bases)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigen-decomposition of the class covariances, computed once."""
        span = self.residual == "span"
        return subspaces.spectrum(self.bases, self.variances, self.delta**2, span)

    def covariance(self, k: int) -> Floats:
        r"""Dense :math:`S_k`, [D, D], for small D and for checks."""
        k, s = self._class("k", k), self.spectrum
        plane = np.eye(self.dim) if s.frame is None else s.frame @ s.frame.T
        own = (s.axes[k].T * (s.eigenvalues[k] - s.floor)) @ s.axes[k]
        return cast(Floats, s.floor * plane + own)

    def principal_angles(self, k: int, l: int) -> Floats:
        """Principal angles between the subspaces of classes ``k`` and ``l``, degrees, descending.

        Notes
        -----
        Validity: accurate for small angles too (sines are used below 45 degrees).

        Examples
        --------
        >>> LowRankMixture.random(20, 2, 3, angle=30.0, seed=0).principal_angles(0, 2).round(9)
        array([30., 30.])
        """
        from scipy.linalg import subspace_angles

        one, other = self.bases[self._class("k", k)], self.bases[self._class("l", l)]
        if min(one.shape[1], other.shape[1]) == 0:
            return np.empty(0)
        return cast(Floats, np.degrees(subspace_angles(one, other)))

    def _class(self, name: str, k: int) -> int:
        return whole(name, k, 0, self.n_classes - 1)

    def sample(self, n: int, seed: Seed) -> LabelledData:
        """Draw data and their classes.

        Parameters
        ----------
        n : int
            Number of data.
        seed : Seed
            Source of randomness.

        Returns
        -------
        x0 : array [n, D]
        labels : int array [n]

        Raises
        ------
        InvalidParameter
            If ``n`` < 1.

        Notes
        -----
        Validity: exact draws; the result depends on ``n`` and ``seed`` alone, to rounding.  Bases
        given orthonormal are used as they are, so no rotation that an eigensolver leaves open
        enters.
        """
        n = whole("n", n, 1)
        memory(f"a sample of n = {n} data in D = {self.dim} dimensions", 16.0 * n * self.dim)
        rng, s = generator(seed), self.spectrum
        k = rng.choice(self.n_classes, size=n, p=self.weights)
        latent = rng.standard_normal((n, max(self.ranks)))
        x = np.zeros((n, self.dim))
        if s.floor > 0:
            noise = rng.standard_normal((n, s.support)) * self.delta
            x = noise if s.frame is None else noise @ s.frame.T
        for c in np.unique(k):
            rows = k == c
            basis, private = self.bases[c], s.private[c]
            # the definition itself: only projectors and the bases as given enter, so the draw does
            # not depend on which eigenvectors a linear-algebra library chooses
            own = latent[rows, : basis.shape[1]] * np.sqrt(self.variances[c])
            residual = x[rows]
            residual -= (residual @ private) @ private.T
            x[rows] = own @ basis.T + residual + self.means[c]
        return LabelledData(x, k)

    def compress(self) -> tuple[LowRankMixture, Floats, Floats]:
        r"""Restrict the mixture to the smallest subspace that tells its classes apart.

        Returns
        -------
        mixture : LowRankMixture
            In R dimensions, with means relative to ``centre``.
        frame : array [D, R]
            Orthonormal coordinates: ``(x - centre) @ frame`` is what the small mixture sees.
        centre : array [D]
            Mean of the mixture.

        Notes
        -----
        Validity: class posteriors are unchanged; orthogonal to the frame all classes share one
        isotropic Gaussian of variance delta^2 ("ambient") or 0 ("span").

        Examples
        --------
        >>> small, frame, _ = LowRankMixture.random(50, 2, 3, seed=0).compress()
        >>> small.dim, frame.shape
        (6, (50, 6))
        """
        centre = self.weights @ self.means
        shift = self.means - centre
        # directions matter, whatever their length: a far mean must not outweigh the bases, nor
        # the rounding of its difference count as a direction
        length = np.linalg.norm(shift, axis=1, keepdims=True)
        noise = 8 * np.finfo(float).eps * np.linalg.norm(self.means, axis=1, keepdims=True)
        towards = (shift / np.maximum(length, np.finfo(float).tiny))[(length > noise)[:, 0]]
        frame, _, _ = subspaces.joint_span(np.hstack([*self.bases, towards.T]))
        if not frame.shape[1]:
            frame = np.eye(self.dim)[:, :1]  # a single point: one axis, so that there is a mixture
        small = LowRankMixture(
            [frame.T @ basis for basis in self.bases],
            self.weights,
            self.variances,
            self.delta,
            self.residual,
            shift @ frame,
        )
        return small, frame, centre

    @classmethod
    @checked(rank=unchecked, dim=unchecked, classes=unchecked, angle=unchecked)
    def random(
        cls,
        dim: int,
        rank: int | Sequence[int],
        classes: int,
        *,
        delta: float = 0.0,
        angle: float | None = 90.0,
        seed: Seed,
        weights: ArrayLike | None = None,
        residual: Residual = "span",
    ) -> LowRankMixture:
        """Draw subspaces at random, with one common principal angle.

        Parameters
        ----------
        dim, classes : int
            D and K.
        rank : int or K ints
            Rank of every class.
        delta, weights, residual
            As in the class.
        angle : float or None
            Principal angle between any two subspaces, degrees in (0, 90]; None draws
            independent uniform subspaces, which may outnumber the dimension.
        seed : Seed
            Source of randomness.

        Returns
        -------
        LowRankMixture

        Raises
        ------
        InvalidParameter
            If the subspaces do not fit, or the angle is out of range.

        Notes
        -----
        Validity: uniform over all arrangements with the angle asked for (Haar measure): the
        orthonormal factor of a Gaussian matrix in the QR decomposition of positive diagonal.
        """
        dim, classes = whole("dim", dim, 1), whole("classes", classes, 1)
        if subspaces.listed(rank):
            listed = cast(Sequence[int], rank)
            ranks = [whole(f"rank[{i}]", d, None) for i, d in enumerate(listed)]
        else:
            ranks = [whole("rank", rank, None)] * min(classes, _MOST_CLASSES)
        memory(f"bases of {classes} classes of rank {max(ranks, default=0)} in {dim} dimensions",
               32.0 * dim * max(ranks, default=0) * classes)  # fmt: skip
        if len(ranks) != classes or min(ranks) < 0 or max(ranks) > dim:
            raise InvalidParameter(
                f"ranks {tuple(ranks)} must be {classes} numbers from 0 to dim = {dim};"
                " give one rank per class or raise dim"
            )
        rng = generator(seed)
        if angle is None:
            bases = [subspaces.triangular(rng.standard_normal((dim, d))) for d in ranks]
        else:
            bases = subspaces.equiangular(dim, ranks, number("angle", angle), rng)
        return cls(bases, weights, None, delta, residual)

    @classmethod
    @checked(
        classes=count, rank=count, restarts=partial(whole, low=1, high=10**5), iterations=count,
        tolerance=partial(number, low=0),
    )  # fmt: skip
    def fit(
        cls,
        data: ArrayLike,
        classes: int,
        rank: int,
        *,
        seed: Seed,
        restarts: int = 6,
        with_means: bool = False,
        iterations: int = 500,
        tolerance: float = 1e-7,
    ) -> LowRankMixture:
        """Fit a mixture of probabilistic PCA with a shared residual by EM, labels unknown.

        Parameters
        ----------
        data : array [N, D]
            Training data.
        classes, rank : int
            K and the common rank d < D.
        seed : Seed
            Source of the starting points.
        restarts : int
            Independent starts; the one of highest training likelihood is kept.
        with_means : bool
            Estimate class means too; otherwise they are zero, as in the paper's model.
        iterations : int
            At most so many EM steps per start.
        tolerance : float
            Stop when the log-likelihood per datum, nats, grows by less in one step.

        Returns
        -------
        LowRankMixture
            With ``residual="ambient"``.

        Raises
        ------
        InvalidParameter
            For empty data, NaN, N < K or rank >= D, data that are all equal or span fewer than
        ``rank`` directions.

        Warns
        -----
        NotConverged
            If the best start was stopped by ``iterations``.

        Notes
        -----
        Validity: a local maximum of the likelihood, which is unbounded when a class holds no more
        than d data: delta^2 is kept at or above 1e-6 of the mean variance of the data (about
        their mean if means are fitted, else about zero).  Starts with means are spread by
        k-means++; without, each class starts from the span of data drawn at random.  A change of
        units of the data changes the fit by that and no more.  Mixtures of well-kept libraries
        do not know the low-rank constraint.

        References
        ----------
        Tipping and Bishop, Mixtures of probabilistic principal component analysers, Neural
        Computation 11 (1999), with the noise variance tied across classes.  Arthur and
        Vassilvitskii, k-means++, SODA 2007.

        Examples
        --------
        >>> far = LowRankMixture([[[1.0], [0.0]]] * 2, means=[[0.0, 9.0], [0.0, -9.0]], delta=0.1,
        ...                      residual="ambient")
        >>> x, _ = far.sample(500, seed=0)
        >>> found = LowRankMixture.fit(x, 2, 1, seed=0, with_means=True)
        >>> np.sort(found.means[:, 1]).round(1).tolist(), round(found.delta, 2)
        ([-9.0, 9.0], 0.1)
        """
        from hierdiff.data import mixture_fitting

        em = mixture_fitting.EM(classes, rank, with_means, iterations, tolerance)
        f = mixture_fitting.fit(data, em, restarts, generator(seed))
        if not f.converged:
            gain = np.diff(f.log_likelihood)[-1:].sum()
            warnings.warn(
                f"EM stopped after iterations = {iterations} while the log-likelihood still grew by"
                f" {gain:.2g} nats per datum and step; raise iterations or tolerance",
                NotConverged,
                stacklevel=3,  # the caller of the checked function
            )
        return cls(list(f.bases), f.weights, list(f.variances), f.noise**0.5, "ambient", f.means)

    @checked
    def save(self, path: str | Path) -> None:
        """Write the mixture as one npz file without pickles, whole or not at all."""
        if not Path(path).name:
            raise InvalidParameter(f"path = {str(path)!r} names no file; give one in a folder")
        arrays = {
            "bases": np.hstack(self.bases),
            "ranks": np.array(self.ranks),
            "variances": np.concatenate(self.variances),
            "weights": self.weights,
            "means": self.means,
            "delta": np.array(self.delta),
            "residual": np.array(self.residual),
        }
        write_npz(path, _KIND, arrays)

    @classmethod
    @checked
    def load(cls, path: str | Path) -> LowRankMixture:
        """Read what :meth:`save` wrote.

        Raises
        ------
        DamagedFile
            If the file is damaged or holds something else.
        """
        file = read_npz(path, _KIND)
        try:
            cuts = np.cumsum(file["ranks"])[:-1]
            return cls(
                np.split(file["bases"], cuts, axis=1),
                file["weights"],
                np.split(file["variances"], cuts),
                float(file["delta"]),
                cast(Residual, str(file["residual"])),
                file["means"],
            )
        # sound arrays of wrong shapes and types fail in NumPy, each in its own way
        except Exception as error:
            raise DamagedFile(
                f"{path} holds no valid mixture ({one_line(error)}); save it again"
            ) from error
