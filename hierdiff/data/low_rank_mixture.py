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

The fit by EM is probabilistic PCA with the residual variance tied across classes,

.. math::

    x \mid k \sim N\big(\mu_k,\; U_k \Lambda_k U_k^T + \tau (I - U_k U_k^T)\big), \qquad
    \tau = \delta^2 .

With responsibilities :math:`r_{ik}`, :math:`N_k = \sum_i r_{ik}` and the scatter
:math:`C_k = N_k^{-1} \sum_i r_{ik} (x_i-\mu_k)(x_i-\mu_k)^T` the M-step takes the d leading
eigenvectors of :math:`C_k` as :math:`U_k`, their eigenvalues as :math:`\Lambda_k`, and
:math:`\tau = \sum_k N_k \,\mathrm{tr}(C_k - U_k\Lambda_k U_k^T) / (N (D - d))`.

Data are first centred (if means are fitted) and divided by their root mean square, so that a fit
follows a change of units, and the floor of :math:`\tau` is a number.  With means, starts are spread
over the data by k-means++: half of them continue with Lloyd's iteration, which finds compact
classes, and half take the seeds as means of broad classes, which finds long ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import block, html_table
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
from hierdiff.data.subspaces import Spectrum, joint_span, orthonormalise
from hierdiff.errors import DamagedFile, InvalidParameter, NotConverged
from hierdiff.seeds import Seed, generator

__all__ = ["LowRankMixture"]

Floats: TypeAlias = NDArray[np.float64]
Residual: TypeAlias = Literal["span", "ambient"]

_KIND = "hierdiff.LowRankMixture 1"
_SMALLEST_DELTA = 1e-150  # its square is a normal number
_MOST_CLASSES = 1 << 24  # that a list of ranks is made for
_SHOWN = 12  # ranks in a line that stands for the object
_LARGEST_MEAN = 1e140  # squared distances of means stay finite, in any dimension that fits memory
# least residual variance, in units of the data's mean variance; the excess outweighs the rounding
# of the way back to the data's units, so that the documented 1e-6 is never undercut
_FLOOR = 1e-6 * (1 + 1e-12)
_DEAD = 1e-8  # share of the data below which a class keeps what it has
_LLOYD = 20  # at most so many steps of k-means: a start need not be a fixed point
_UNITS = (1e-70, 1e70)  # of data: their variances and the inverses are ordinary numbers


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
        ranks = str(self.ranks)
        if self.n_classes > _SHOWN:  # a line stays a line
            same = len(set(self.ranks)) == 1
            ranks = f"{self.ranks[0]}" if same else f"{str(self.ranks[:_SHOWN])[:-1]}, ...)"
        return (
            f"LowRankMixture(D={self.dim}, K={self.n_classes}, ranks={ranks},"
            f" delta={self.delta:g}, residual={self.residual!r})"
        )

    def _repr_html_(self) -> str:
        rows = [
            [str(k), self.weights[k], str(self.ranks[k]), float(np.sum(self.variances[k])),
             float(np.linalg.norm(self.means[k]))]
            for k in range(self.n_classes)
        ]  # fmt: skip
        header = ["class", "weight", "rank", "variance in its span", "length of its mean"]
        return block(repr(self), html_table(header, rows))

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
        em = EM(classes, rank, with_means, iterations, tolerance)
        f = fit(data, em, restarts, generator(seed))
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


@dataclass(frozen=True, eq=False)
class FittedArrays:
    """Outcome of :func:`fit`; ``log_likelihood`` is the history of the best start, per datum.

    ``converged`` says whether that start stopped because the likelihood stood still.
    """

    weights: Floats
    means: Floats
    bases: Floats
    variances: Floats
    noise: float
    log_likelihood: tuple[float, ...] = ()
    converged: bool = False


@dataclass(frozen=True)
class EM:
    """What is fitted, and when to stop; see ``LowRankMixture.fit``."""

    classes: int
    rank: int
    with_means: bool
    iterations: int
    tolerance: float


def fit(data: ArrayLike, em: EM, restarts: int, rng: np.random.Generator) -> FittedArrays:
    """EM from ``restarts`` random starts; the best training likelihood wins.

    Notes
    -----
    Validity: rows in fewer dimensions than D (N < D) are first rotated into their own span, which
    changes nothing; D still counts in the likelihood and in the residual variance.
    """
    x = _check_data(data, em.classes, em.rank)
    origin = x.mean(0) if em.with_means else np.zeros(x.shape[1])
    centred = x - origin
    unit = _unit(centred, em.with_means)
    centred /= unit
    frame = joint_span(centred.T)[0]
    if frame.shape[1] < em.rank:
        raise InvalidParameter(
            f"the data span {frame.shape[1]} directions, fewer than rank = {em.rank};"
            " lower the rank"
        )
    y = centred @ frame
    runs = (_run(y, x.shape[1], em, start, rng) for start in range(restarts))
    best = max(runs, key=lambda run: run.log_likelihood[-1])
    shift = x.shape[1] * float(np.log(unit))  # of the log-density, from the change of units
    return replace(
        best,
        means=origin + unit * (best.means @ frame.T),
        bases=np.stack(orthonormalise([frame @ basis for basis in best.bases])),
        variances=best.variances * unit**2,
        noise=best.noise * unit**2,
        log_likelihood=tuple(value - shift for value in best.log_likelihood),
    )


def _check_data(data: ArrayLike, classes: int, rank: int) -> Floats:
    x = reals("data", data)
    if x.ndim != 2 or x.size == 0:
        raise InvalidParameter(f"data of shape {x.shape} is empty or no matrix; give [N, D]")
    if len(x) < classes:
        raise InvalidParameter(
            f"N = {len(x)} data cannot fill K = {classes} classes; need 1 <= K <= N"
        )
    if not 0 < rank < x.shape[1]:
        raise InvalidParameter(
            f"rank = {rank} must lie between 1 and D - 1 = {x.shape[1] - 1}; lower it"
        )
    return x


def _unit(centred: Floats, with_means: bool) -> float:
    """Root mean square of the entries, without overflow."""
    largest = float(np.abs(centred).max())
    if largest == 0:
        what = "equal" if with_means else "zero"
        raise InvalidParameter(f"data are all {what}; nothing can be fitted")
    unit = largest * float(np.sqrt(np.mean((centred / largest) ** 2)))
    if not _UNITS[0] <= unit <= _UNITS[1]:
        raise InvalidParameter(
            f"data of root mean square {unit:.3g} have no variances in the range of floats; choose"
            f" units in which it lies in [{_UNITS[0]:g}, {_UNITS[1]:g}]"
        )
    return unit


def _run(y: Floats, dim: int, em: EM, start: int, rng: np.random.Generator) -> FittedArrays:
    """One start, then EM until the likelihood stands still."""
    if em.with_means:
        now = _spread_start(y, dim, em, rng, compact=start % 2 == 0)
    else:
        now = _start(y, dim, em, rng)
    from scipy.special import logsumexp  # only a fit waits for scipy

    history: list[float] = []
    for _ in range(em.iterations):
        joint = _log_joint(y, dim, now)
        norm = logsumexp(joint, axis=1, keepdims=True)
        history.append(float(norm.mean()))
        if len(history) > 1 and history[-1] - history[-2] < em.tolerance:
            return replace(now, log_likelihood=tuple(history), converged=True)
        now = _maximise(y, dim, np.exp(joint - norm), em.with_means, now)
    return replace(now, log_likelihood=tuple(history))


def _start(y: Floats, dim: int, em: EM, rng: np.random.Generator) -> FittedArrays:
    """Each class begins with the span of ``rank`` data drawn at random."""
    bases = []
    for _ in range(em.classes):
        rows = y[rng.choice(len(y), size=em.rank, replace=len(y) < em.rank)]
        bases.append(_span(rows, y.shape[1], dim, rng))
    return _broad(np.zeros((em.classes, y.shape[1])), np.stack(bases), dim)


def _span(rows: Floats, width: int, dim: int, rng: np.random.Generator) -> Floats:
    """Orthonormal basis of rows, which a little noise keeps from being dependent."""
    jitter = rng.standard_normal(rows.shape) * 1e-3 * np.sqrt(dim / width)
    return np.asarray(np.linalg.qr((rows + jitter).T)[0])


def _broad(means: Floats, bases: Floats, dim: int) -> FittedArrays:
    """Equal classes, half of the data's variance (``dim``) along the bases and half outside."""
    classes, _, rank = bases.shape
    return FittedArrays(
        weights=np.full(classes, 1 / classes),
        means=means,
        bases=bases,
        variances=np.full((classes, rank), dim / (2 * rank)),
        noise=dim / (2 * (dim - rank)),
    )


def _spread_start(
    y: Floats, dim: int, em: EM, rng: np.random.Generator, *, compact: bool
) -> FittedArrays:
    """Seeds spread over the data; then k-means, or broad classes around the seeds."""
    means = _seeds(y, em.classes, rng)
    label = _squares(y, means).argmin(axis=1)
    if not compact:
        bases = []
        for k in range(em.classes):
            near = y[label == k] - means[k]
            rows = near[rng.choice(len(near), size=em.rank, replace=len(near) < em.rank)]
            bases.append(_span(rows, y.shape[1], dim, rng))
        return _broad(means, np.stack(bases), dim)
    for _ in range(_LLOYD):
        for k in np.unique(label):
            means[k] = y[label == k].mean(axis=0)
        before, label = label, _squares(y, means).argmin(axis=1)
        if (label == before).all():
            break
    first = _broad(means, np.stack([np.eye(y.shape[1])[:, : em.rank]] * em.classes), dim)
    return _maximise(y, dim, np.eye(em.classes)[label], True, first)


def _seeds(y: Floats, classes: int, rng: np.random.Generator) -> Floats:
    """Data far from one another, by k-means++ (Arthur and Vassilvitskii 2007), greedy.

    Each seed is the best of a few candidates, drawn in proportion to their squared distance from
    the seeds so far; where all data coincide with seeds, any datum will do.
    """
    tries = 2 + int(np.log(classes))  # as many as scikit-learn takes
    found = [y[rng.integers(len(y))]]
    nearest = _squares(y, found[0][None])[:, 0]
    for _ in range(classes - 1):
        total = nearest.sum()
        chance = nearest / total if total > 0 else None
        candidates = y[rng.choice(len(y), size=tries, p=chance)]
        left = np.minimum(nearest[:, None], _squares(y, candidates))
        best = int(left.sum(axis=0).argmin())
        found.append(candidates[best])
        nearest = left[:, best]
    return np.stack(found)


def _squares(y: Floats, points: Floats) -> Floats:
    """Squared distances [N, K], from the differences: the expanded square cancels."""
    return np.stack([np.square(y - point).sum(axis=1) for point in points], axis=1)


def _log_joint(y: Floats, dim: int, now: FittedArrays) -> Floats:
    """Log of weight times density, [N, K]; ``dim`` counts the directions rotated away."""
    (classes, _, rank), tau = now.bases.shape, now.noise
    if now.means.any():
        along = np.stack([(y - m) @ b for m, b in zip(now.means, now.bases, strict=True)], axis=1)
        square = _squares(y, now.means)
    else:
        columns = np.concatenate(list(now.bases), axis=1)
        along = (y @ columns).reshape(len(y), classes, rank)
        square = (y * y).sum(1)[:, None]
    quadratic = square / tau + np.einsum(
        "nkr,kr->nk", along**2, 1 / now.variances - 1 / tau, optimize=True
    )
    volume = (dim - rank) * np.log(tau) + np.log(now.variances).sum(1) + dim * np.log(2 * np.pi)
    with np.errstate(divide="ignore"):
        joint: Floats = np.log(now.weights) - 0.5 * (quadratic + volume)
    return joint


def _maximise(
    y: Floats, dim: int, responsibility: Floats, with_means: bool, now: FittedArrays
) -> FittedArrays:
    from scipy.linalg import eigh  # only a fit waits for scipy

    rank = now.bases.shape[2]
    mass = responsibility.sum(0)
    means, bases, scatter, total = now.means.copy(), now.bases.copy(), [], 0.0
    for k, weight in enumerate(mass):
        if weight < _DEAD * len(y):  # a dead class keeps its subspace and its mass of nothing
            scatter.append(now.variances[k])
            continue
        if with_means:
            means[k] = responsibility[:, k] @ y / weight
        centred = (y - means[k]) * np.sqrt(responsibility[:, k : k + 1] / weight)
        c = centred.T @ centred
        values, vectors = eigh(c, subset_by_index=(len(c) - rank, len(c) - 1))
        bases[k] = vectors
        scatter.append(values)
        total += weight * float(np.trace(c))
    variances, noise = _split(np.stack(scatter), mass, total, dim)
    # the mean variance is one in these units, whatever the classes leave of it
    return FittedArrays(
        mass / mass.sum(), means, bases, np.maximum(variances, _FLOOR), max(noise, _FLOOR)
    )


def _split(values: Floats, mass: Floats, total: float, dim: int) -> tuple[Floats, float]:
    """Maximise over variances >= residual: eigenvalues below the residual are pooled into it."""
    own = values > 0
    while True:
        count = mass @ (dim - own.sum(1))
        noise = (total - float(mass @ np.where(own, values, 0.0).sum(1))) / count
        kept = own & (values >= noise)
        if (kept == own).all():
            return np.where(own, values, noise), float(max(noise, 0.0))
        own = kept
