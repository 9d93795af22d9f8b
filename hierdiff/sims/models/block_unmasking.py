r"""A masked model that reveals leaves in blocks, by an order and block sizes, and may mask again.

Each step draws the leaves of a block independently from the beliefs of the model, the sampler of
:mod:`hierdiff.theory.rhm.parallel_unmasking`.  Afterwards, in each round of remasking, a random set
of leaves is hidden and drawn again, all at once.  A round of one leaf is a step of Gibbs sampling,
which leaves the law of the model as it is and moves every other law towards it; a round of several
leaves draws them independently, and has a stationary law of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, check_fields, integers, levels_of, listed, natural, one_of, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, draw_symbols
from hierdiff.seeds import Seed, generator
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.parallel_unmasking import (
    ORDERS,
    Beliefs,
    OrderName,
    block_sizes,
    choose_block,
    conditionals_of,
    exact_conditionals,
    order_ranks,
)

__all__ = ["UnmaskingModel"]

Array = NDArray[Any]


@dataclass(frozen=True)
class UnmaskingModel:
    """A masked model whose samples come from blocks of leaves.

    Parameters
    ----------
    model : DiffusionModel
        Of masking noise.
    grammar : Grammar
        Its tree gives the order *spread*, and the number of leaves.
    sizes : tuple of int
        Block sizes, which sum to the number of leaves.
    order : str
        One of :data:`hierdiff.theory.rhm.parallel_unmasking.ORDERS`.
    rounds : int
        Rounds of remasking at the end.
    again : int
        Leaves that a round masks.

    Raises
    ------
    InvalidParameter
        For a model without conditionals, sizes with another sum, or more leaves to mask than there
        are.

    Notes
    -----
    Validity: follows the law of :func:`hierdiff.theory.rhm.sampler_laws.sampler_log_prob` for exact
    inference.  In a state that the model holds impossible it draws from flat beliefs; exact
    inference goes on with the strings that agree with most of the leaves.  Leaves that are not
    masked at the start stay as they are until the rounds.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=8, m=3, s=2, L=4).draw(seed=0)
    >>> exact, masked = ExactRHM(grammar, MaskingNoise(8)), np.full((2000, 16), -1)
    >>> for order in ("left to right", "random", "spread"):
    ...     made = UnmaskingModel(exact, grammar, (4, 4, 4, 4), order).sample(masked, 1.0, seed=0)
    ...     print(order, round(float(grammar.is_valid(made).mean()), 3))
    left to right 0.001
    random 0.224
    spread 0.7
    """

    model: DiffusionModel
    grammar: Grammar
    sizes: tuple[int, ...]
    order: OrderName = "random"
    rounds: int = 0
    again: int = 1

    source = "simulation"

    def __post_init__(self) -> None:
        check_fields(
            self, sizes=partial(listed, rule=partial(whole, low=1), distinct=False),
            order=partial(one_of, options=ORDERS), rounds=natural, again=partial(whole, low=1),
        )  # fmt: skip
        whole("again", self.again, 1, self.grammar.n_leaves)
        block_sizes("sizes", self.sizes, self.grammar.n_leaves)
        conditionals_of(self.grammar, self.model)

    @property
    def noise(self) -> NoiseProcess:
        """The forward process."""
        return self.model.noise

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """The model's own posterior mean."""
        return self.model.denoise(x_t, t)

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The model's own features."""
        return self.model.features(x_t, t)

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves]; the noise level follows from the masks."""
        x = integers("x_t", array("x_t", x_t), -1, self.grammar.leaf_vocabulary - 1, ndim=2)
        if not len(x) or x.shape[1] != self.grammar.n_leaves:
            raise InvalidParameter(
                f"x_t has shape {x.shape}; give [n, {self.grammar.n_leaves}], -1 where masked"
            )
        levels_of(t, len(x))
        rng, beliefs = generator(seed), self._beliefs()
        ranks = order_ranks(self.grammar, self.order, len(x), rng)
        x, start = x.copy(), 0
        for size in self.sizes:
            seen = x >= 0
            if seen.all():
                break
            p = beliefs(x)
            drawn = draw_symbols(p, rng.random(x.shape))
            if ranks is None:
                block = choose_block(p, drawn, seen, size, self.order)
            else:
                block = (ranks >= start) & (ranks < start + size)
            x = np.where(block & ~seen, drawn, x)
            start += size
        for _ in range(self.rounds):
            hidden = rng.random(x.shape).argsort(axis=1).argsort(axis=1) < self.again
            p = beliefs(np.where(hidden, -1, x))
            x = np.where(hidden, draw_symbols(p, rng.random(x.shape)), x)
        return x

    def _beliefs(self) -> Beliefs:
        """Conditionals of the model, with the continuation of exact inference."""
        exact = isinstance(self.model, ExactRHM)
        if exact and cast(ExactRHM, self.model).grammar == self.grammar:
            return exact_conditionals(self.grammar)
        return conditionals_of(self.grammar, self.model)
