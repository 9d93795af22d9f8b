r"""Mixtures of Ising chains: the class of a string of spins is its couplings, fields or template.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
N, K                    spins of a chain, classes
sigma_i                 spin, -1 or +1; as a symbol 0 or 1
J_{k,i}, h_{k,i}        coupling of spins i and i + 1, and field on spin i, of class k
xi_i                    template of a Mattis chain, -1 or +1
======================  =========================================================================

.. math:: p(\sigma \mid k) = \frac1{Z_k} \exp\Big(\sum_{i=1}^{N-1} J_{k,i}\, \sigma_i\sigma_{i+1}
   + \sum_{i=1}^{N} h_{k,i}\, \sigma_i\Big), \qquad p(\sigma) = \sum_k w_k\, p(\sigma \mid k) .

The ends are open.  A Mattis chain has :math:`J_i = J \xi_i \xi_{i+1}` and :math:`h_i = h \xi_i`: in
a field the classes differ in their means, without it in their covariances alone.  As a chain of
Markov the model has the transfer matrices

.. math:: \beta_i(\sigma) = \sum_{\sigma'} e^{J_i \sigma\sigma' + h_{i+1}\sigma'}
   \beta_{i+1}(\sigma'), \qquad p(\sigma_{i+1} = \sigma' \mid \sigma_i = \sigma)
   = \frac{e^{J_i\sigma\sigma' + h_{i+1}\sigma'}\, \beta_{i+1}(\sigma')}{\beta_i(\sigma)} .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, count, frozen, integers, memory, number, probabilities, reals
from hierdiff.contracts import LabelledData
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["IsingChains"]

FloatArray: TypeAlias = NDArray[np.float64]

_STRONGEST = 50.0
"""Largest coupling or field; e^(4 * 50), the ratio of two transfers, is far inside of float64."""


@dataclass(frozen=True, eq=False)
class IsingChains:
    """A mixture of Ising chains with open ends.

    Parameters
    ----------
    couplings : array [K, N - 1]
        Couplings of neighbours by class, at most 50 in size.
    fields : array [K, N]
        Fields by class, at most 50 in size.
    weights : array [K], optional
        Probabilities of the classes (default uniform).

    Raises
    ------
    InvalidParameter
        For shapes that do not fit, fewer than two spins, or numbers out of range.

    Notes
    -----
    Validity: any couplings and fields; temperatures are contained in them.

    Examples
    --------
    >>> chains = IsingChains([[1.0], [-1.0]], np.zeros((2, 2)))
    >>> x0, labels = chains.sample(4, seed=0)
    >>> chains, x0.shape, chains.vectors(x0)[0].tolist()
    (IsingChains(N=2, K=2), (4, 2), [1.0, 1.0])
    """

    couplings: FloatArray
    fields: FloatArray
    weights: FloatArray

    def __init__(
        self, couplings: ArrayLike, fields: ArrayLike, weights: ArrayLike | None = None
    ) -> None:
        h = reals("fields", fields, -_STRONGEST, _STRONGEST, ndim=2)
        if h.shape[1] < 2 or not len(h):
            raise InvalidParameter(f"fields have shape {h.shape}; give [K, N] with K >= 1, N >= 2")
        shape = (len(h), h.shape[1] - 1)
        j = reals("couplings", couplings, -_STRONGEST, _STRONGEST, shape=shape)
        w = (
            np.full(len(h), 1 / len(h))
            if weights is None
            else probabilities("weights", weights, axis=0)
        )
        if w.shape != (len(h),):
            raise InvalidParameter(f"weights have shape {w.shape}; give one per class: ({len(h)},)")
        for name, value in (("couplings", j), ("fields", h), ("weights", w / w.sum())):
            object.__setattr__(self, name, frozen(value.astype(float)))

    def __repr__(self) -> str:
        return f"IsingChains(N={self.N}, K={self.n_classes})"

    @classmethod
    @checked(J=partial(number, low=-_STRONGEST, high=_STRONGEST),
             h=partial(number, low=-_STRONGEST, high=_STRONGEST))  # fmt: skip
    def mattis(cls, templates: ArrayLike, J: float, h: float = 0.0) -> Self:
        """Classes that are hidden templates: couplings J xi_i xi_{i+1} and fields h xi_i.

        Parameters
        ----------
        templates : array [K, N]
            Of -1 and +1.
        J, h : float
            Coupling and field along the template.

        Raises
        ------
        InvalidParameter
            For templates of other numbers.

        Notes
        -----
        Validity: without a field a template and its opposite are the same class.

        Examples
        --------
        >>> IsingChains.mattis([[1, 1, 1], [1, -1, 1]], J=0.5).couplings.tolist()
        [[0.5, 0.5], [-0.5, -0.5]]
        """
        xi = reals("templates", templates, -1, 1, ndim=2)
        if (np.abs(xi) != 1).any():
            raise InvalidParameter("templates hold numbers other than -1 and +1; give signs")
        return cls(J * xi[:, :-1] * xi[:, 1:], h * xi)

    @classmethod
    @checked(N=count)
    def by_field(cls, N: int, J: float, h: float) -> Self:
        """Two classes of opposite field: they differ in their means.

        Examples
        --------
        >>> IsingChains.by_field(4, J=0.5, h=0.2).fields[:, 0].tolist()
        [0.2, -0.2]
        """
        memory(f"N = {N} spins", 100.0 * N)
        return cls.mattis(np.array([[1.0], [-1.0]]) * np.ones(N), J, h)

    @classmethod
    @checked(N=count)
    def by_coupling(cls, N: int, J: float) -> Self:
        """A ferromagnetic and an antiferromagnetic chain: they differ in their covariances alone.

        Examples
        --------
        >>> IsingChains.by_coupling(4, J=0.5).couplings[:, 0].tolist()
        [0.5, -0.5]
        """
        memory(f"N = {N} spins", 100.0 * N)
        return cls.mattis(np.stack([np.ones(N), (-1.0) ** np.arange(N)]), J)

    @property
    def N(self) -> int:  # noqa: N802 (the letter of the papers)
        """Number of spins."""
        return int(self.fields.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.fields)

    @cached_property
    def start(self) -> FloatArray:
        """Law of the first spin by class, [K, 2]."""
        return self._markov[0]

    @cached_property
    def transitions(self) -> FloatArray:
        """Law of a spin given the one before it, [K, N - 1, 2, 2]."""
        return self._markov[1]

    @cached_property
    def _markov(self) -> tuple[FloatArray, FloatArray]:
        spin = np.array([-1.0, 1.0])
        K, N = self.fields.shape
        transitions = np.empty((K, N - 1, 2, 2))
        log_beta = np.zeros((K, 2))
        for i in range(N - 2, -1, -1):
            coupled = self.couplings[:, i, None, None] * np.outer(spin, spin)
            log = coupled + (self.fields[:, i + 1, None] * spin + log_beta)[:, None]
            log_beta = np.logaddexp(log[..., 0], log[..., 1])
            transitions[:, i] = np.exp(log - log_beta[..., None])
            log_beta -= log_beta.max(axis=1, keepdims=True)  # else it grows with N
        log = self.fields[:, 0, None] * spin + log_beta
        start = np.exp(log - np.logaddexp(log[:, 0], log[:, 1])[:, None])
        return start, transitions

    @checked(n=count)
    def sample(self, n: int, seed: Seed) -> LabelledData:
        """Draw spins as symbols 0 and 1, with their classes.

        Parameters
        ----------
        n : int
            Number of data.
        seed : Seed
            Source of randomness.

        Returns
        -------
        LabelledData
            x0 int32 [n, N] and classes [n].

        Raises
        ------
        InvalidParameter
            If ``n`` is no positive integer or more than memory holds.

        Notes
        -----
        Validity: exact, spin by spin from the left.

        Examples
        --------
        >>> x0, labels = IsingChains.by_coupling(3, J=50.0).sample(4, seed=1)
        >>> bool(((x0[:, 0] == x0[:, 1]) == (labels == 0)).all())
        True
        """
        memory(f"n = {n} chains of {self.N} spins", 12.0 * n * self.N)
        rng = generator(seed)
        u = rng.random((n, self.N + 1))
        labels = np.minimum(np.searchsorted(np.cumsum(self.weights), u[:, 0], side="right"),
                            self.n_classes - 1)  # fmt: skip
        up, first = self.transitions[..., 1], self.start[:, 1]
        x = np.empty((n, self.N), dtype=np.int32)
        x[:, 0] = u[:, 1] < first[labels]
        for i in range(self.N - 1):
            x[:, i + 1] = u[:, i + 2] < up[labels, i, x[:, i]]
        return LabelledData(x, labels.astype(np.int64))

    @checked
    def vectors(self, x0: ArrayLike) -> FloatArray:
        """Symbols 0 and 1 as spins -1 and +1, for Gaussian noise of vectors.

        Examples
        --------
        >>> IsingChains.by_coupling(2, J=1.0).vectors([[0, 1]]).tolist()
        [[-1.0, 1.0]]
        """
        return 2.0 * integers("x0", x0, 0, 1, shape=(None, self.N)) - 1

    @cached_property
    def means(self) -> FloatArray:
        """Mean spins by class, [K, N]."""
        law = self.start
        found = [law]
        for i in range(self.N - 1):
            law = np.einsum("ka,kab->kb", law, self.transitions[:, i])
            found.append(law)
        up = np.stack(found, axis=1)
        return np.asarray(up[..., 1] - up[..., 0])
