r"""Forward-backward runs: noise added to data, and taken away again by a model.

.. math:: x_0 \to x_t \sim q(x_t \mid x_0), \qquad x_t \to x_0' \sim p(x_0 \mid x_t)

In a respaced chain of K levels, step k = 1 ... K starts at index k - 1.  The consistent protocol
adds the noise of that index.  The published one (arXiv 2402.16991) adds the noise of index k and
tells the network k - 1, one step less than there is.  At k = K it starts from pure noise; here
from t = 1, which on the linear schedule still holds 0.6 % of the signal's amplitude.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, levels_of
from hierdiff.contracts import DiffusionModel
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import SampleStreams, Seed
from hierdiff.validation._checks import refuse_rows
from hierdiff.validation.diffusion.schedules import DiscreteSchedule

__all__ = ["ForwardBackward", "StepLevels", "forward_backward", "step_levels"]


class ForwardBackward(NamedTuple):
    """The noisy data and what became of them."""

    x_t: NDArray[Any]
    x_0: NDArray[Any]


class StepLevels(NamedTuple):
    """Noise level that is added, and the one that the model is told."""

    added: float
    told: float


@checked
def step_levels(
    schedule: DiscreteSchedule,
    noise: GaussianNoise,
    k: int,
    protocol: Literal["consistent", "published"] = "consistent",
) -> StepLevels:
    """Levels of step k of a respaced chain.

    Parameters
    ----------
    schedule : DiscreteSchedule
        The respaced levels, K of them.
    noise : GaussianNoise
        The meaning of t.
    k : int
        Number of reverse steps, 0 (nothing happens) to K.
    protocol : {"consistent", "published"}
        Which index is added, see the module's first lines.

    Returns
    -------
    StepLevels

    Raises
    ------
    InvalidParameter
        If k is outside 0 ... K.

    Notes
    -----
    Validity: k = 0 is the identity (the published script runs the full chain there instead).

    Examples
    --------
    >>> schedule = DiscreteSchedule.linear().respaced("250")
    >>> noise = GaussianNoise(schedule="linear")
    >>> [round(t, 6) for t in step_levels(schedule, noise, 125)]
    [0.498, 0.498]
    >>> [round(t, 6) for t in step_levels(schedule, noise, 125, "published")]
    [0.503, 0.498]
    """
    if not 0 <= k <= len(schedule):
        raise InvalidParameter(f"k = {k} is outside the chain; give 0 to {len(schedule)}")
    if protocol not in ("consistent", "published"):
        raise InvalidParameter(
            f"protocol = {protocol!r} is unknown; use 'consistent' or 'published'"
        )
    if k == 0:
        return StepLevels(0.0, 0.0)
    told = float(noise.level(schedule.snr[k - 1]))
    if protocol == "consistent":
        return StepLevels(told, told)
    return StepLevels(float(noise.level(schedule.snr[k])) if k < len(schedule) else 1.0, told)


@checked
def forward_backward(
    model: DiffusionModel,
    x0: NDArray[Any],
    t: ArrayLike,
    seed: Seed,
    told: ArrayLike | None = None,
) -> ForwardBackward:
    """Corrupt data to level t and let the model sample from there.

    Parameters
    ----------
    model : DiffusionModel
        With any noise process.
    x0 : array [n, ...]
        Data: symbols [n, leaves], or vectors.
    t : float or array [n]
        Noise level that is added.
    seed : Seed
        Source of randomness; each sample has streams of its own.
    told : float or array [n], optional
        Noise level that the model is told; default t.

    Returns
    -------
    ForwardBackward

    Raises
    ------
    InvalidParameter
        For levels outside [0, 1] or data that do not fit the noise.

    Notes
    -----
    Validity: samples the joint law of x0 and x0' if the model's sampler is stochastic; with a
    deterministic one it keeps more than the posterior does
    (:mod:`hierdiff.validation.diffusion.sampler_bias`).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.theory import ExactRHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(3, seed=0).leaves
    >>> run = forward_backward(ExactRHM(grammar, MaskingNoise(4)), data, 0.5, seed=0)
    >>> grammar.is_valid(run.x_0)
    array([ True,  True,  True])
    """
    data = np.asarray(x0)
    if data.ndim < 2:
        raise InvalidParameter(f"x0 has shape {data.shape}; give one row per datum")
    levels = levels_of(t, len(data)) * np.ones(len(data))
    streams = SampleStreams.of(seed, purpose=1)
    noisy: list[NDArray[Any]] = []
    # one datum at a time: the draws of all of them together need not fit in memory
    for i in range(len(data)):
        one = data[i : i + 1]
        randoms = model.noise.draw(one.shape, streams.take(np.array([i]))[0])
        new = model.noise.corrupt_with(one, levels[i], randoms)[0]
        noisy.append(new.astype(np.float32) if data.dtype == np.float32 else new)
    x_t = np.stack(noisy) if noisy else np.empty(data.shape, data.dtype)
    back = SampleStreams.of(seed, purpose=2).root
    made = model.sample(x_t, levels if told is None else told, back)
    return ForwardBackward(x_t, refuse_rows("the model", made, t=levels))
