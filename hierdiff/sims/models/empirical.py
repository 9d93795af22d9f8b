r"""The memorising model: diffusion whose data distribution is a finite data set.

=====================  =========================================================================
:math:`x_i`            the N data; the prior is :math:`\frac1N\sum_i \delta_{x_i}`
:math:`w_i(x_t)`       posterior probability that :math:`x_t` was made from :math:`x_i`
:math:`\mathrm{snr}`   signal-to-noise ratio at level t
:math:`\psi_j(b)`      evidence at leaf j for the symbol b
=====================  =========================================================================

.. math::

    \log w_i = \sqrt{\mathrm{snr}(1+\mathrm{snr})}\; x_t\cdot x_i
        - \tfrac12\,\mathrm{snr}\,|x_i|^2 + c \quad\text{(vectors)}, \qquad
    \log w_i = \sum_j \log\psi_j(x_{ij}) + c \quad\text{(symbols)} .
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, check_fields, frozen, levels_of
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr
from hierdiff.seeds import Seed, generator

__all__ = ["EmpiricalModel"]

Array = NDArray[Any]

_WEIGHTS = 1 << 22  # posterior weights held at a time
_TOLERANCE = 1e-9  # error of a log-weight that is let stand


@dataclass(frozen=True, eq=False)
class EmpiricalModel:
    r"""Bayes-optimal diffusion model of the data set itself: it can only give back its data.

    .. math:: E[x_0 \mid x_t] = \sum_i w_i(x_t)\, x_i, \qquad x_0 \mid x_t \sim \sum_i w_i
       \delta_{x_i}

    Parameters
    ----------
    data : array [N, D], or int array [N, leaves]
        Vectors for ``GaussianNoise()``, symbols for a noise process with ``v`` symbols.
    noise : NoiseProcess
        How they are corrupted.

    Raises
    ------
    InvalidParameter
        For empty data, NaN, symbols out of range, vectors with a noise process of symbols.

    Notes
    -----
    Validity: exact for any data set and any of the noise processes, at every level, t = 0 (the
    nearest datum, shared between ties) and t = 1 (the mean of the data) included.

    References
    ----------
    Li et al., arXiv 2502.05743; Biroli et al., arXiv 2402.18491.

    Examples
    --------
    >>> from hierdiff.noise import GaussianNoise
    >>> model = EmpiricalModel([[0.0], [1.0]], GaussianNoise())
    >>> t = model.noise.level(1.0)
    >>> model.denoise(np.array([[0.9]]), t).round(6)
    array([[0.684125]])
    >>> model.sample(np.array([[0.9]] * 4), t, seed=0).ravel()
    array([1., 0., 0., 0.])
    """

    data: Array
    noise: NoiseProcess

    source = "simulation"

    def __post_init__(self) -> None:
        check_fields(self, data=array)
        data = self.data
        if data.ndim != 2 or data.size == 0:
            raise InvalidParameter(f"data of shape {data.shape} is empty or no matrix; give [N, D]")
        if self.noise.v is None:
            data = data.astype(float, copy=False)
            if not np.isfinite(data).all():
                row = int(np.argmin(np.isfinite(data).all(1)))
                raise InvalidParameter(f"data[{row}] holds NaN or inf; drop or repair that datum")
        elif data.dtype.kind not in "iu":
            raise InvalidParameter(
                f"data of type {data.dtype} are no symbols; give integers, or vectors with"
                " GaussianNoise()"
            )
        elif data.min() < 0 or data.max() >= self.noise.v:
            raise InvalidParameter(
                f"data hold symbols from {data.min()} to {data.max()}; the noise has v = "
                f"{self.noise.v}, so they must lie in 0 .. {self.noise.v - 1}"
            )
        object.__setattr__(self, "data", frozen(data))

    def weights(self, x_t: Array, t: ArrayLike) -> Array:
        """Posterior probability of every datum given x_t, [n, N]; rows sum to one.

        Raises
        ------
        ImpossibleEvidence
            If no datum can have become x_t.

        Notes
        -----
        Validity: exact; needs n N numbers of memory.

        Examples
        --------
        >>> from hierdiff import MaskingNoise
        >>> model = EmpiricalModel([[0, 0], [0, 1], [1, 1]], MaskingNoise(2))
        >>> model.weights(np.array([[0, -1]]), 0.5)
        array([[0.5, 0.5, 0. ]])
        """
        return np.concatenate([w for _, w in self._blocks(x_t, t)])

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: vectors [n, D], or one-hot symbols [n, leaves, v]."""
        if self.noise.v is None:
            centre, moved = self._moved
            shifts: Array = np.concatenate([w @ moved for _, w in self._blocks(x_t, t)])
            shifts += centre
            return shifts
        means = np.concatenate([w @ self._values for _, w in self._blocks(x_t, t)])
        return means.reshape(len(means), self.data.shape[1], self.noise.v)

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A datum drawn from the posterior over data, in the form of the data.

        Notes
        -----
        Validity: exact; one uniform number per row, so batches do not matter.
        """
        x_t = array("x_t", x_t)
        uniform = generator(seed).random(len(x_t) if x_t.ndim else 0)
        index = np.empty(len(uniform), dtype=np.intp)
        for rows, w in self._blocks(x_t, t):
            total = np.cumsum(w, axis=1)
            # scaled by the last entry, so that rounding never points past the data
            reached = total <= uniform[rows, None] * total[:, -1:]
            index[rows] = reached.sum(axis=1)
        out: Array = self.data[np.minimum(index, len(self.data) - 1)]
        return out

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The posterior mean as a representation, {"posterior mean": [n, width]}."""
        means = self.denoise(x_t, t)
        return {"posterior mean": means.reshape(len(means), -1)}

    @cached_property
    def _values(self) -> Array:
        """What is averaged, [N, width]: the one-hot symbols side by side."""
        assert self.noise.v is not None
        return np.eye(self.noise.v)[self.data].reshape(len(self.data), -1)

    @cached_property
    def _moved(self) -> tuple[Array, Array]:
        """Mean of the vectors, and the vectors less it: squares of an offset would cancel."""
        centre = self.data.mean(axis=0)
        return centre, self.data - centre

    def _blocks(self, x_t: Array, t: ArrayLike) -> Iterator[tuple[slice, Array]]:
        """Posterior weights, a block of rows at a time."""
        x = array("x_t", x_t)
        if x.shape[1:2] != self.data.shape[1:] or not len(x):
            raise InvalidParameter(
                f"x_t has shape {x.shape}; give a non-empty array whose rows fit the data's "
                f"{self.data.shape[1]} columns"
            )
        if self.noise.v is None and x.ndim != 2:
            raise InvalidParameter(f"x_t has shape {x.shape}; give [n, {self.data.shape[1]}]")
        levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))
        step = max(1, _WEIGHTS // len(self.data))
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            of = self._of_vectors if self.noise.v is None else self._of_symbols
            logits = of(x[rows], levels[rows])
            top = logits.max(axis=1, keepdims=True)
            if not np.isfinite(top).all():
                row = start + int(np.argmin(np.isfinite(top[:, 0])))
                raise ImpossibleEvidence(
                    f"x_t[{row}] can come from none of the {len(self.data)} data; lower t or add"
                    " data"
                )
            w = np.exp(logits - top)
            w /= w.sum(axis=1, keepdims=True)
            yield rows, w

    def _of_vectors(self, x: Array, t: Array) -> Array:
        if not np.isfinite(x).all():
            row = int(np.argmin(np.isfinite(x).all(1)))
            raise InvalidParameter(f"x_t[{row}] holds NaN or inf; drop or repair it")
        assert has_snr(self.noise)
        snr = self.noise.snr(t)
        finite = np.where(np.isfinite(snr), snr, 0.0)
        centre, moved = self._moved
        half = 0.5 * np.vecdot(moved, moved)
        near = x - np.sqrt(finite / (1 + finite))[:, None] * centre
        logits: Array = (np.sqrt(finite * (1 + finite))[:, None] * near) @ moved.T
        logits -= finite[:, None] * half
        # of the product: it cancels where the data are far from each other compared with the noise
        length = np.sqrt(2 * half.max() * finite * (1 + finite) * np.vecdot(near, near))
        error = 16 * np.finfo(float).eps * (length + finite * half.max())
        for i in np.flatnonzero(error > _TOLERANCE):
            logits[i] = self._by_differences(x[i], float(finite[i]), logits[i], float(error[i]))
        for i in np.flatnonzero(~np.isfinite(snr)):  # without noise the nearest datum is certain
            gap = self.data - x[i]
            distance = np.vecdot(gap, gap)
            logits[i] = np.where(distance == distance.min(), 0.0, -np.inf)
        return logits

    def _by_differences(self, x: Array, snr: float, logits: Array, error: float) -> Array:
        r"""Log-weights relative to the likeliest datum j, of those that count.

        .. math:: \log w_i - \log w_j = \tfrac{\mathrm{snr}}2\,
            (x_i - x_j)\cdot\big[(y - x_i) + (y - x_j)\big]
        """
        y = x / np.sqrt(snr / (1 + snr))
        best = int(logits.argmax())
        out = np.full(len(logits), -np.inf)
        # exp(-80) of the largest weight is nothing
        for i in np.flatnonzero(logits > logits[best] - 80 - 2 * error):
            own, rival = self.data[i], self.data[best]
            out[i] = 0.5 * snr * ((own - rival) @ ((y - own) + (y - rival)))
        return out

    def _of_symbols(self, x: Array, t: Array) -> Array:
        evidence = self.noise.log_evidence(x, t).reshape(len(x), -1)
        dead = np.isneginf(evidence)
        logits: Array = np.where(dead, 0.0, evidence) @ self._values.T
        if dead.any():
            logits[dead.astype(float) @ self._values.T > 0] = -np.inf
        return logits
