r"""The reverse chain in finitely many steps, as a model that samples.

=================  =============================================================================
symbol             meaning
=================  =============================================================================
t_k = t k / K      noise levels of the chain, from k = K (the given x_t) down to k = 0 (data)
p_i                the model's belief about token i given x_{t_k} (vectors: the posterior mean)
=================  =============================================================================

One step, from t_k to t_{k-1}, is the process's own ``reverse_step`` (:mod:`hierdiff.noise`).  For
one token of a discrete process it is exact.  Several tokens that change in one step are drawn
independently, and that is the error of a finite number of steps; it falls as 1 / K, for uniform
noise as log(K) / K.  In the uniform step the ratio stands inside the sum.  A ratio of means,
:math:`q_{k-1}(b \mid \hat x_0) / q_k(x_k \mid \hat x_0)`, is what networks are often built with; it
does not become exact for any K if it is given the posterior mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, check_fields, count, levels_of, reals
from hierdiff.contracts import ConditionalModel, DiffusionModel
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import NoiseProcess, draw_symbols, is_channel, masks
from hierdiff.seeds import Seed, generator

__all__ = ["ConvergenceOrder", "SequentialModel", "SimulatedModel", "convergence_order"]

Array = NDArray[Any]


@dataclass(frozen=True)
class SimulatedModel:
    """A model whose samples come from its own reverse chain in finitely many steps.

    Parameters
    ----------
    model : DiffusionModel
        Gives posterior means; any noise but the epsilon-process.
    num_steps : int
        Steps of the chain from t to 0.

    Raises
    ------
    InvalidParameter
        If ``num_steps`` is no positive integer, or the noise is the epsilon-process.

    Notes
    -----
    Validity: tends to the model's exact posterior as 1 / num_steps (times its logarithm for uniform
    noise); discrete noise on one token alone is exact.  A state
    that the model holds impossible, as parallel unmasking can produce, is finished with the last
    beliefs that existed.

    References
    ----------
    Ho et al., arXiv 2006.11239 (Gaussian); Austin et al., arXiv 2107.03006 (discrete).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.theory import ExactRHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> exact = ExactRHM(grammar, MaskingNoise(v=4))
    >>> masked = np.full((2000, 4), -1)
    >>> [float(grammar.is_valid(SimulatedModel(exact, k).sample(masked, 1.0, 0)).mean())
    ...  for k in (1, 10, 100)]
    [0.227, 0.886, 0.9915]
    """

    model: DiffusionModel
    num_steps: int

    source = "simulation"

    def __post_init__(self) -> None:
        check_fields(self, num_steps=count)
        if not is_channel(self.model.noise):
            raise InvalidParameter(
                f"noise = {self.model.noise.name} has no reverse chain; give a model with masking, "
                "uniform or Gaussian noise"
            )

    @property
    def noise(self) -> NoiseProcess:
        """The forward process."""
        return self.model.noise

    def given(self, label: int | None) -> Self:
        """The chain of the model conditioned on a class."""
        if not isinstance(self.model, ConditionalModel):
            raise InvalidParameter(
                f"model {type(self.model).__name__} has no method given(label); it cannot be "
                "conditioned on a class"
            )
        return replace(self, model=self.model.given(label))

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """The model's own posterior mean."""
        return self.model.denoise(x_t, t)

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The model's own features."""
        return self.model.features(x_t, t)

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """The end of the chain: symbols [n, leaves], or vectors if the noise acts on vectors."""
        return self.trajectory(x_t, t, seed)[-1]

    def trajectory(self, x_t: Array, t: ArrayLike, seed: Seed) -> list[Array]:
        """All states of the chain, from x_t to the data.

        Parameters
        ----------
        x_t : array [n, ...]
            As ``noise.corrupt`` returns it.
        t : float or array [n]
            Its noise level.
        seed : Seed
            Source of randomness.

        Returns
        -------
        list of num_steps + 1 arrays
            The k-th stands at noise level t (1 - k / num_steps).  The last one holds data, so for
            Gaussian noise on symbols it is [n, leaves] where the others are [n, leaves, v].

        Raises
        ------
        ImpossibleEvidence
            If x_t itself cannot occur.

        Notes
        -----
        Validity: the chain of the model's beliefs.
        """
        random = generator(seed)
        x = _rows(x_t)
        levels = levels_of(t, len(x)) * np.ones(len(x))
        beliefs = self.model.denoise(x, levels)
        alive = np.ones(len(x), bool)
        path = [x]
        noise = self.noise
        for k in range(self.num_steps, 0, -1):
            now, then = levels * (k / self.num_steps), levels * ((k - 1) / self.num_steps)
            if k < self.num_steps:
                alive = _refresh(self.model, x, now, beliefs, alive)
            # without noise the first steps have nothing to do, and the last one returns data
            if k == 1 or levels.any():
                x = noise.reverse_step(
                    x, beliefs, now, then, noise.draw_step(x.shape, then, random)
                )
            path.append(x)
        return path


@dataclass(frozen=True)
class SequentialModel:
    """Masked tokens revealed one at a time, in random order: exact at any noise level.

    Parameters
    ----------
    model : DiffusionModel
        With masking noise.

    Raises
    ------
    InvalidParameter
        If the noise is not masking.

    Notes
    -----
    Validity: samples are exactly the model's posterior if its beliefs are exact conditionals, by
    the chain rule of probabilities; it calls the model once per masked token.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.theory import ExactRHM
    >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
    >>> model = SequentialModel(ExactRHM(grammar, MaskingNoise(v=4)))
    >>> bool(grammar.is_valid(model.sample(np.full((50, 8), -1), 1.0, seed=0)).all())
    True
    """

    model: DiffusionModel

    source = "simulation"

    def __post_init__(self) -> None:
        check_fields(self)
        if not masks(self.model.noise):
            raise InvalidParameter(
                f"noise = {self.model.noise.name} masks no tokens; give a model with masking noise"
            )

    @property
    def noise(self) -> NoiseProcess:
        """The forward process."""
        return self.model.noise

    def given(self, label: int | None) -> Self:
        """The chain of the model conditioned on a class."""
        if not isinstance(self.model, ConditionalModel):
            raise InvalidParameter(
                f"model {type(self.model).__name__} has no method given(label); it cannot be "
                "conditioned on a class"
            )
        return replace(self, model=self.model.given(label))

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """The model's own posterior mean."""
        return self.model.denoise(x_t, t)

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The model's own features."""
        return self.model.features(x_t, t)

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves]."""
        return self.trajectory(x_t, t, seed)[-1]

    def trajectory(self, x_t: Array, t: ArrayLike, seed: Seed) -> list[Array]:
        """All states, one token of each datum revealed between two of them.

        Parameters
        ----------
        x_t, t, seed
            As in :meth:`SimulatedModel.trajectory`.

        Returns
        -------
        list of int arrays [n, leaves]
            As many as the largest number of masked tokens of a datum, plus one.
        """
        random = generator(seed)
        x = _rows(x_t).copy()
        if x.ndim != 2 or x.dtype.kind not in "iu":
            raise InvalidParameter(
                f"x_t has shape {x.shape} and type {x.dtype}; give symbols [n, leaves], -1 where"
                " masked"
            )
        levels = levels_of(t, len(x)) * np.ones(len(x))
        masked = np.maximum((x < 0).sum(axis=1), 1)
        path = [x]
        while (path[-1] < 0).any():
            hidden = path[-1] < 0
            rows = np.flatnonzero(hidden.any(axis=1))
            share = hidden[rows].sum(axis=1) / masked[rows]
            beliefs = self.model.denoise(path[-1][rows], levels[rows] * share)
            place = np.where(hidden[rows], random.random(hidden[rows].shape), -1.0).argmax(axis=1)
            x = path[-1].copy()
            chosen = beliefs[np.arange(len(rows)), place]
            x[rows, place] = draw_symbols(chosen, random.random(len(rows)))
            path.append(x)
        return path


def _refresh(
    model: DiffusionModel, x: Array, levels: Array, beliefs: Array, alive: Array
) -> Array:  # fmt: skip
    """Put the model's beliefs about x in place; returns which rows have any."""
    rows = np.flatnonzero(alive)
    found = np.zeros_like(alive)
    try:
        beliefs[rows] = model.denoise(x[rows], levels[rows])
        found[rows] = True
        return found
    except ImpossibleEvidence:
        # small data repeat many states, and each needs to be looked at once
        states = np.column_stack([x[rows], levels[rows]])
        _, first, copy = np.unique(states, axis=0, return_index=True, return_inverse=True)
    copy = copy.ravel()
    pending = [np.arange(len(first))]
    while pending:
        part = pending.pop()
        one = rows[first[part]]
        try:
            means = model.denoise(x[one], levels[one])
        except ImpossibleEvidence:
            # halving finds the few impossible rows of a batch
            if len(part) > 1:
                pending += [part[: len(part) // 2], part[len(part) // 2 :]]
            continue
        place = np.full(len(first), -1)
        place[part] = np.arange(len(part))
        hit = place[copy] >= 0
        beliefs[rows[hit]] = means[place[copy][hit]]
        found[rows[hit]] = True
    return found


def _rows(x_t: ArrayLike) -> Array:
    """Noisy data, one or more of them."""
    x = array("x_t", x_t)
    if x.ndim < 2 or not len(x):
        raise InvalidParameter(f"x_t has shape {x.shape}; give a row per datum, one or more")
    return x


class ConvergenceOrder(NamedTuple):
    """Exponent p of error ~ K**-p, its standard error, and chi-square per degree of freedom."""

    order: float
    error: float
    reduced_chi_square: float


def convergence_order(num_steps: ArrayLike, gaps: ArrayLike, errors: ArrayLike) -> ConvergenceOrder:
    r"""Order of convergence from distances to the limit at several numbers of steps.

    .. math:: \log g(K) = c - p \log K

    Parameters
    ----------
    num_steps : int array [k]
        Numbers of steps K, at least three.
    gaps : array [k]
        Positive distances to the limit.
    errors : array [k]
        Their standard errors, independent.

    Returns
    -------
    ConvergenceOrder
        Weighted least squares.

    Raises
    ------
    InvalidParameter
        If there are fewer than three, or a distance is not resolved (below two errors).

    Notes
    -----
    Validity: errors small against the distances; the smallest K should lie where the leading term
    dominates, which chi-square tells.

    Examples
    --------
    >>> fit = convergence_order([10, 20, 40], [0.1, 0.05, 0.025], [0.01, 0.005, 0.0025])
    >>> round(fit.order, 12), round(fit.error, 3), round(fit.reduced_chi_square, 9)
    (1.0, 0.102, 0.0)
    """
    K, g, e = reals("num_steps", num_steps, above=0), reals("gaps", gaps), reals("errors", errors)
    if K.ndim != 1 or len(K) < 3 or not K.shape == g.shape == e.shape:
        raise InvalidParameter(
            f"num_steps, gaps, errors have shapes {K.shape}, {g.shape}, {e.shape}; give three or "
            "more of each"
        )
    if not (g > 2 * e).all() or not (e > 0).all():
        raise InvalidParameter(
            f"the distance {g.min():.3g} is not two errors above zero; use fewer "
            "steps or more samples"
        )
    if len(np.unique(K)) < 3:
        raise InvalidParameter("num_steps must hold three different numbers or more")
    x, y, w = np.log(K), np.log(g), (g / e) ** 2
    middle = (w * x).sum() / w.sum()
    spread = (w * (x - middle) ** 2).sum()
    slope = (w * (x - middle) * y).sum() / spread
    rest = y - (w * y).sum() / w.sum() - slope * (x - middle)
    return ConvergenceOrder(
        float(-slope), float(1 / np.sqrt(spread)), float((w * rest**2).sum() / (len(K) - 2))
    )
