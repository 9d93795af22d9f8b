"""Exact models behind the same role as networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, check_fields, checked, count
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Derivations, Grammar
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed
from hierdiff.theory.belief_propagation import (
    NodeBeliefs,
    Posterior,
    denoise_symbols,
    posterior,
    true_beliefs,
)

__all__ = ["ExactRHM"]

Array = NDArray[Any]


@dataclass(frozen=True)
class ExactRHM:
    r"""The Bayes-optimal diffusion model of a grammar: exact posterior means and samples.

    .. math:: \hat x_0(x_t) = E[x_0 \mid x_t], \qquad x_0 \sim p(x_0 \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they are corrupted; it must have the grammar's number of leaf symbols.
    threads : int, optional
        Threads per call; default all processors.

    Raises
    ------
    InvalidParameter
        If grammar and noise disagree on the number of symbols.

    Notes
    -----
    Validity: exact for any grammar (see :mod:`hierdiff.theory.belief_propagation`).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> model = ExactRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(v=4))
    >>> x_t = np.full((1, 4), -1)
    >>> model.denoise(x_t, 1.0).sum(axis=2).round(12)
    array([[1., 1., 1., 1.]])
    >>> model.grammar.is_valid(model.sample(x_t, 1.0, seed=1))
    array([ True])
    """

    grammar: Grammar
    noise: NoiseProcess
    threads: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threads is not None:
            count("threads", self.threads)
        v = self.grammar.v[self.grammar.L]
        if self.noise.v != v:
            raise InvalidParameter(
                f"the noise has v = {self.noise.v} symbols and the grammar's leaves have {v}; "
                f"make the noise with v={v}"
            )

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] of one-hot data, [n, leaves, v]."""
        return denoise_symbols(self.grammar, self.noise, x_t, t)

    @checked(x_t=array)
    def posterior(
        self, x_t: Array, t: ArrayLike, levels: tuple[int, ...] | None = None
    ) -> Posterior:
        """All that is known about the latents given x_t."""
        evidence = self.noise.evidence(x_t, t)
        return posterior(self.grammar, evidence, levels=levels, threads=self.threads)

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of the leaves [n, leaves] given x_t."""
        return self.posterior(x_t, t, levels=()).sample(seed).leaves

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The marginals of each level as a representation, {"level l": [n, nodes * v_l]}."""
        marginals = self.posterior(x_t, t).marginals
        return {
            f"level {i}": np.ascontiguousarray(p).reshape(len(p), -1)
            for i, p in enumerate(marginals)
        }

    @checked(x_t=array)
    def beliefs(self, x_t: Array, t: ArrayLike, truth: Derivations) -> NodeBeliefs:
        """Belief in the true symbol at every node."""
        evidence = self.noise.evidence(x_t, t)
        return true_beliefs(self.grammar, evidence, truth, threads=self.threads)
