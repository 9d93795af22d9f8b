r"""U-turns: does the class survive noising and denoising, and when is it decided?

==============  ================================================================================
symbol          meaning
==============  ================================================================================
p(c | x_t)      exact class posterior
z, z'           a symbol of the datum, and of the datum drawn from the posterior given x_t
==============  ================================================================================

.. math:: P(z' \ne z) = 1 - E \sum_c p(c \mid x_t)^2

Given x_t the old and the new datum are independent draws of one posterior.  Along the exact reverse
process p(c | x_t) is a martingale that ends at 0 or 1: it is the committor of class c.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, checked, count, levels_of, one_level
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.information import Estimate, checked_channel, observed

__all__ = ["class_change", "committor"]

Array = NDArray[Any]


@checked(t=one_level, n=count)
def class_change(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed, level: int = 0
) -> Estimate:
    r"""Probability that a symbol changes when a datum is noised to t and denoised exactly.

    .. math:: P(\hat z \ne z) = 1 - E \sum_c p(c \mid x_t)^2

    Parameters
    ----------
    grammar, noise, t, n, seed
        As in :func:`mutual_information`.
    level : int
        Level of the symbol; default the class.  Nodes of a level are averaged.

    Returns
    -------
    Estimate

    Raises
    ------
    InvalidParameter
        For the epsilon-process, n < 2, t outside [0, 1] or no such level.

    Notes
    -----
    Validity: unbiased for any grammar; true and new symbol are independent draws from the exact
    posterior, and both are averaged out.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> class_change(grammar, MaskingNoise(v=4), 1.0, 3, seed=0)
    Estimate(value=0.75, error=0.0, n=3)
    """
    grammar.n_nodes(level)
    _, x_t = observed(grammar, noise, t, n, seed)
    p = posterior(grammar, noise.evidence(x_t, t), levels=(level,)).marginals[level]
    return Estimate.of((1 - (p**2).sum(axis=2)).mean(axis=1))


@checked(path=array)
def committor(grammar: Grammar, noise: NoiseProcess, path: Array, times: ArrayLike) -> Array:
    r"""Probability, at each point of a reverse trajectory, that it will end in each class.

    .. math:: P(\text{the exact reverse process from } x_t \text{ ends in class } c)
       = p(c \mid x_t)

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
    path : array [k, n, leaves] or [k, n, leaves, v]
        States of n trajectories, e.g. of ``sims.SimulatedModel.trajectory``.
    times : array [k]
        Their noise levels.

    Returns
    -------
    array [k, n, v_0]
        A martingale along the exact reverse process.

    Raises
    ------
    InvalidParameter
        If there are not as many times as states.

    Notes
    -----
    Validity: exact for any grammar, as long as the states can occur.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> x0 = grammar.sample(1, seed=1).leaves
    >>> path = np.stack([np.full((1, 4), -1), x0])
    >>> committor(grammar, MaskingNoise(v=4), path, [1.0, 0.0])[:, 0].max(axis=1).round(9).tolist()
    [0.25, 1.0]
    """
    checked_channel(noise)
    levels = levels_of(times)
    if not path.ndim or not len(path):
        raise InvalidParameter(f"path has shape {path.shape}; give at least one state [n, leaves]")
    if levels.shape != (len(path),):
        raise InvalidParameter(
            f"times have shape {levels.shape} and the path {len(path)} states; give one per state"
        )
    found = [
        posterior(grammar, noise.evidence(x, float(t)), levels=(0,)).marginals[0][:, 0]
        for x, t in zip(path, levels, strict=True)
    ]
    return np.stack(found)
