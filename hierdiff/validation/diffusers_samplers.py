r"""The schedulers of diffusers as samplers; diffusers is optional.

The network's posterior mean becomes the noise prediction :math:`\epsilon = (x_t - a \hat x_0)/s` at
the scheduler's own levels, so any network of this package runs with any scheduler that takes noise
predictions.  The chain starts at the scheduler's level next to that of x_t and no noisier.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hierdiff._rules import positive_int
from hierdiff.checks import FloatArray
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.validation._optional import need
from hierdiff.validation.parameterisation import amplitudes, column
from hierdiff.validation.reverse_chains import Draw, Predict, Rows
from hierdiff.validation.samplers import DDIM, Ancestral
from hierdiff.validation.schedules import DiscreteSchedule

__all__ = ["DiffusersSampler"]


@dataclass(frozen=True)
class DiffusersSampler:
    """A scheduler of diffusers as a sampler.

    Parameters
    ----------
    scheduler : str
        A class of diffusers whose states have total power 1, such as DPMSolverMultistepScheduler,
        UniPCMultistepScheduler or DDIMScheduler.
    steps : int
        Steps of its whole chain from pure noise; fewer are made from x_t.
    schedule : DiscreteSchedule
        The levels it chooses from.
    options : mapping
        Further arguments of the class, e.g. ``{"algorithm_type": "dpmsolver++"}``.

    Raises
    ------
    InvalidParameter
        For a scheduler that diffusers does not have or that does not fit.
    MissingPackage
        If diffusers is not installed.

    Notes
    -----
    Validity: diffusers 0.42.  Only the "sde" algorithms sample the posterior; the others share
    DDIM's bias in forward-backward runs (:mod:`hierdiff.validation.sampler_bias`).

    References
    ----------
    Lu et al., DPM-Solver++, arXiv 2211.01095.

    Examples
    --------
    >>> DiffusersSampler(options={"algorithm_type": "dpmsolver++"}).stochastic
    False
    """

    scheduler: str = "DPMSolverMultistepScheduler"
    steps: int = 20
    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule.linear)
    options: Mapping[str, Any] = field(
        default_factory=lambda: {"algorithm_type": "sde-dpmsolver++"}
    )

    def __post_init__(self) -> None:
        positive_int("steps", self.steps)

    @property
    def stochastic(self) -> bool:
        """Whether it samples the posterior."""
        return str(self.options.get("algorithm_type", "")).startswith("sde")

    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: GaussianNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain; samples of one level go together."""
        out = x_t.clone()
        start = noise.snr(t)
        for snr in np.unique(start[np.isfinite(start)]):
            rows = np.flatnonzero(start == snr)
            index = torch.as_tensor(rows, device=x_t.device)
            out[index] = self._chain(predict, x_t[index], float(snr), rows, draw)
        return out

    def _chain(
        self, predict: Predict, x: Tensor, snr: float, rows: Rows, draw: Draw
    ) -> Tensor:  # fmt: skip
        made, extra = self._made()
        with warnings.catch_warnings():
            # diffusers hands tensors to NumPy in a way that NumPy 2 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            made.set_timesteps(self.steps)
        times = np.array([int(i) for i in made.timesteps])
        below = np.flatnonzero(self.schedule.snr[times] >= snr * (1 - 1e-9))
        if not below.size:
            return predict(x, np.full(len(x), snr), rows).clean
        first = int(below[0])
        if hasattr(made, "set_begin_index"):
            made.set_begin_index(first)
        now = float(self.schedule.snr[times[first]])
        if now > snr * (1 + 1e-9):
            x = self._bridge(predict, x, snr, now, rows, draw)
        for i in times[first:]:
            ratio = np.full(len(x), self.schedule.snr[i])
            a, s = amplitudes(ratio)
            clean = predict(x, ratio, rows).clean
            eps = (x - column(a, x) * clean) / column(s, x)
            noise = {"variance_noise": draw(rows)} if extra and self.stochastic else {}
            x = made.step(eps, int(i), x, return_dict=False, **noise)[0].to(x.dtype)
        return x

    def _bridge(
        self, predict: Predict, x: Tensor, snr: float, then: float, rows: Rows, draw: Draw
    ) -> Tensor:
        """One step of our own, from the level of x_t to the scheduler's first."""
        now, after = np.full(len(x), snr), np.full(len(x), then)
        step: Callable[..., Tensor] = Ancestral().step if self.stochastic else DDIM().step
        return step(x, predict(x, now, rows), now, after, lambda positions: draw(rows[positions]))

    def _made(self) -> tuple[Any, bool]:
        """The scheduler, and whether its step takes our random numbers."""
        library = need("diffusers", "diffusers", "DiffusersSampler")
        kind = getattr(library, self.scheduler, None)
        if kind is None or not hasattr(kind, "step"):
            raise InvalidParameter(
                f"scheduler = {self.scheduler!r} is not in diffusers; use "
                "'DPMSolverMultistepScheduler', 'UniPCMultistepScheduler' or 'DDIMScheduler'"
            )
        made = kind(
            num_train_timesteps=len(self.schedule), trained_betas=self.schedule.betas.tolist(),
            **self.options,
        )  # fmt: skip
        taken = inspect.signature(made.step).parameters
        if made.init_noise_sigma != 1 or ("generator" in taken and "variance_noise" not in taken):
            raise InvalidParameter(
                f"{self.scheduler} has states of another scale or draws numbers that are not ours; "
                "use 'DPMSolverMultistepScheduler', or sampler=Ancestral(...)"
            )
        return made, "variance_noise" in taken
