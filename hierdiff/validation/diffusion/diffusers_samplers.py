r"""The schedulers of diffusers as samplers; diffusers is optional.

The network's posterior mean becomes what the scheduler expects at its own levels,

.. math::
   \epsilon = \frac{x_t - a \hat x_0}{s}, \qquad v = a\,\epsilon - s\,\hat x_0, \qquad \hat x_0,

for the prediction types epsilon, v_prediction and sample, so any network of this package runs with
any scheduler of them.  The chain starts at the scheduler's level next to that of x_t and no
noisier.  Every scheduler is tried when it is chosen, on the exact denoiser of Gaussian data: for a
linear denoiser the variance of what the chain returns is a sum of squares of its gains, exactly.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hierdiff._lazy import import_optional
from hierdiff.checks import FloatArray, check_fields, checked, count, instance, levels_of
from hierdiff.errors import InvalidParameter
from hierdiff.noise import SignalNoise
from hierdiff.validation._checks import tensor
from hierdiff.validation.diffusion.parameterisation import Prediction, amplitudes, column
from hierdiff.validation.diffusion.samplers import DDIM, Ancestral, Draw, Predict, Rows
from hierdiff.validation.diffusion.schedules import DiscreteSchedule

__all__ = ["DiffusersSampler"]

_DEFAULT = "DPMSolverMultistepScheduler"
_TYPES = ("epsilon", "v_prediction", "sample")

# The trial: 50 steps on data of variance 4.  First-order schedulers end 6 % below it and all others
# within 2 %; a wrong prediction type, wrong levels or the wrong direction are off by a factor.
_TRIAL_STEPS, _TRIAL_VARIANCE, _TRIAL_ERROR = 50, 4.0, 0.1


@dataclass(frozen=True)
class DiffusersSampler:
    """A scheduler of diffusers as a sampler.

    Parameters
    ----------
    scheduler : str
        A class of diffusers whose states have total power 1, such as DPMSolverMultistepScheduler,
        UniPCMultistepScheduler or DDIMScheduler.
    num_steps : int
        Steps of its whole chain from pure noise; fewer are made from x_t.
    schedule : DiscreteSchedule
        The levels it chooses from.
    options : mapping, optional
        Further arguments of the class; default ``{"algorithm_type": "sde-dpmsolver++"}`` for
        DPMSolverMultistepScheduler.  Nothing is clipped unless ``clip_sample`` is given.

    Raises
    ------
    InvalidParameter
        For a scheduler that diffusers does not have or that does not fit, an unknown option, or a
        chain that does not return Gaussian data from their exact denoiser (another scale, inverse
        schedulers, moved levels).
    MissingPackage
        Later, if diffusers is not installed.

    Notes
    -----
    Validity: diffusers 0.42.  Only the "sde" algorithms sample the posterior; the others share
    DDIM's bias in forward-backward runs (:mod:`hierdiff.validation.diffusion.samplers`).

    References
    ----------
    Lu et al., DPM-Solver++, arXiv 2211.01095.

    Examples
    --------
    >>> DiffusersSampler(options={"algorithm_type": "dpmsolver++"}).stochastic
    False
    >>> DiffusersSampler("DDIMScheduler").options
    {}
    """

    scheduler: str = _DEFAULT
    num_steps: int = 20
    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule.linear)
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self, num_steps=count)
        if self.options is not None:
            instance("options", self.options, Mapping)
        default = {"algorithm_type": "sde-dpmsolver++"} if self.scheduler == _DEFAULT else {}
        given = default if self.options is None else dict(self.options)
        object.__setattr__(self, "options", given)
        if self.num_steps > len(self.schedule):
            raise InvalidParameter(
                f"num_steps = {self.num_steps} exceeds the {len(self.schedule)} levels of the "
                "schedule; give fewer, or a longer schedule"
            )
        if sys.modules.get("diffusers", ...) is not None and importlib.util.find_spec("diffusers"):
            self._made()
            self._try()

    @property
    def stochastic(self) -> bool:
        """Whether it samples the posterior."""
        return str((self.options or {}).get("algorithm_type", "")).startswith("sde")

    @checked
    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: SignalNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain; samples of one level go together."""
        levels = levels_of(t, len(tensor("x_t", x_t, None, ...)))
        out = x_t.clone()
        start = np.broadcast_to(noise.snr(levels), (len(x_t),))
        for snr in np.unique(start[np.isfinite(start)]):
            rows = np.flatnonzero(start == snr)
            index = torch.as_tensor(rows, device=x_t.device)
            out[index] = self._chain(predict, x_t[index], float(snr), rows, draw)
        return out

    def _chain(
        self, predict: Predict, x: Tensor, snr: float, rows: Rows, draw: Draw
    ) -> Tensor:  # fmt: skip
        made, extra = self._made()
        times = self._times(made)
        ratios = self._ratios(made, times)
        below = np.flatnonzero(ratios >= snr * (1 - 1e-6))
        if not below.size:
            return predict(x, np.full(len(x), snr), rows).clean
        first = int(below[0])
        if hasattr(made, "set_begin_index"):
            made.set_begin_index(first)
        now = float(ratios[first])
        if now > snr * (1 + 1e-6):
            x = self._bridge(predict, x, snr, now, rows, draw)
        for i, ratio in zip(times[first:], ratios[first:], strict=True):
            output = self._output(predict(x, np.full(len(x), ratio), rows).clean, x, ratio, made)
            noise = {"variance_noise": draw(rows)} if extra and self.stochastic else {}
            x = self._step(made, output, i, x, noise)
        return x

    def _times(self, made: Any) -> Any:
        with warnings.catch_warnings():
            # diffusers hands tensors to NumPy in a way that NumPy 2 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            made.set_timesteps(self.num_steps)
        return [int(i) for i in made.timesteps]

    def _ratios(self, made: Any, times: list[int]) -> FloatArray:
        """SNR of every call: the scheduler's own where it keeps sigmas, which it may have moved."""
        sigmas = np.asarray(getattr(made, "sigmas", ()), float)
        if len(sigmas) == len(times) + 1:
            return np.asarray(sigmas[:-1] ** -2.0)
        return np.asarray(self.schedule.snr[times])

    def _output(self, clean: Tensor, x: Tensor, ratio: float, made: Any) -> Tensor:
        """What the scheduler takes for the network's output."""
        kind = made.config.get("prediction_type", "epsilon")
        if kind == "sample":
            return clean
        a, s = (column(value, x) for value in amplitudes(np.full(len(x), ratio)))
        eps = (x - a * clean) / s
        return eps if kind == "epsilon" else a * eps - s * clean

    def _step(self, made: Any, output: Tensor, i: int, x: Tensor, noise: dict[str, Any]) -> Tensor:
        try:
            found: Tensor = made.step(output, i, x, return_dict=False, **noise)[0].to(x.dtype)
        except Exception as error:  # of options that do not go with data of this shape
            said = str(error).strip().partition("\n")[0]
            raise InvalidParameter(
                f"{self.scheduler} with {self.options} cannot step data of shape {tuple(x.shape)} "
                f"({type(error).__name__}: {said[:80]}); leave options out"
            ) from None
        return found

    def _bridge(
        self, predict: Predict, x: Tensor, snr: float, then: float, rows: Rows, draw: Draw
    ) -> Tensor:
        """One step of our own, from the level of x_t to the scheduler's first."""
        now, after = np.full(len(x), snr), np.full(len(x), then)
        step: Callable[..., Tensor] = Ancestral().step if self.stochastic else DDIM().step
        return step(x, predict(x, now, rows), now, after, lambda positions: draw(rows[positions]))

    def _made(self) -> tuple[Any, bool]:
        """The scheduler, and whether its step takes our random numbers."""
        library = import_optional("diffusers", "diffusers", "DiffusersSampler")
        try:
            named = str(self.scheduler).endswith("Scheduler")
            kind: Any = getattr(library, self.scheduler, None) if named else None
            usable = inspect.isclass(kind) and hasattr(kind, "step")
        except ImportError as error:  # a stand-in for a class whose packages are missing
            raise InvalidParameter(
                f"scheduler = {self.scheduler!r}: {' '.join(str(error).split())[:90]}"
            ) from None
        if not usable:
            raise InvalidParameter(
                f"scheduler = {self.scheduler!r} is not in diffusers; use "
                "'DPMSolverMultistepScheduler', 'UniPCMultistepScheduler' or 'DDIMScheduler'"
            )
        options = dict(self.options or {})
        known = inspect.signature(kind).parameters
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InvalidParameter(
                f"options of {self.scheduler} do not include {unknown[0]!r}; it takes "
                + ", ".join(name for name in known if name not in ("args", "kwargs"))
            )
        if "clip_sample" in known:  # on by default, and right for images in [-1, 1] alone
            options.setdefault("clip_sample", False)
        reserved = {"num_train_timesteps": len(self.schedule),
                    "trained_betas": self.schedule.betas.tolist()}  # fmt: skip
        try:
            made = kind(**{**options, **reserved})
        except Exception as error:  # options of the wrong kind, packages that it wants
            said = str(error).strip().partition("\n")[0]
            raise InvalidParameter(
                f"{self.scheduler} cannot be made with {options} ({type(error).__name__}: "
                f"{said[:90]}); use 'DPMSolverMultistepScheduler', or other options"
            ) from None
        self._fits(made)
        return made, "variance_noise" in inspect.signature(made.step).parameters

    def _fits(self, made: Any) -> None:
        """Refuse schedulers whose states, random numbers or levels are not ours."""
        taken = inspect.signature(made.step).parameters
        if made.init_noise_sigma != 1 or ("generator" in taken and "variance_noise" not in taken):
            raise InvalidParameter(
                f"{self.scheduler} has states of another scale or draws numbers that are not ours; "
                "use 'DPMSolverMultistepScheduler', or sampler=Ancestral(...)"
            )
        kind = made.config.get("prediction_type", "epsilon")
        if kind not in _TYPES:
            raise InvalidParameter(
                f"prediction_type = {kind!r} is not one of {', '.join(_TYPES)}; leave it out, the "
                "network's own output is converted"
            )
        power = np.asarray(getattr(made, "alphas_cumprod", ()), float)
        # diffusers keeps its tables in float32
        if power.shape != self.schedule.alpha_bar.shape or not np.allclose(
            power / self.schedule.alpha_bar, 1, atol=1e-3
        ):
            raise InvalidParameter(
                f"{self.scheduler} with {self.options} changes the noise levels of the schedule "
                "(zero terminal SNR?); leave that option out, or give the levels as schedule=..."
            )

    def _try(self) -> None:
        """Refuse a chain that does not return the variance of Gaussian data."""
        short = len(self.schedule) < _TRIAL_STEPS
        trial = _untried(self, schedule=DiscreteSchedule.linear() if short else self.schedule,
                         num_steps=_TRIAL_STEPS)  # fmt: skip
        for share in (1.0, 0.5):
            snr = float(trial.schedule.snr[int(share * len(trial.schedule)) - 1])
            found = trial._variance(snr, _TRIAL_VARIANCE)
            if not abs(found / _TRIAL_VARIANCE - 1) < _TRIAL_ERROR:
                raise InvalidParameter(
                    f"{self.scheduler} with {self.options} makes variance {found:.3g} of data of "
                    f"variance {_TRIAL_VARIANCE:g} with their exact denoiser, from snr = "
                    f"{snr:.3g}; use 'DPMSolverMultistepScheduler' or other options"
                )

    def _variance(self, snr: float, c: float) -> float:
        """Variance of what the chain makes of noisy Gaussian data of variance c, exactly.

        The chain is linear: row 0 carries the gain of x_t, row k that of the k-th draw.
        """
        a, s = (float(v) for v in amplitudes(snr))
        calls = 0

        def predict(x: Tensor, ratio: FloatArray, rows: Rows) -> Prediction:
            a, s = amplitudes(ratio)
            return Prediction(column(a * c / (a**2 * c + s**2), x) * x, None)

        def draw(rows: Rows) -> Tensor:
            nonlocal calls
            calls += 1
            noise = torch.zeros(len(rows), 1, 1, 1, dtype=torch.float64)
            noise[calls] = unit
            return noise

        # small, so that no bound at 1 is reached
        unit, n = 1e-2, 2 * self.num_steps + 4
        x = torch.zeros(n, 1, 1, 1, dtype=torch.float64)
        x[0] = unit * np.sqrt(a**2 * c + s**2)
        end = self._chain(predict, x, snr, np.arange(n), draw)
        return float((end / unit).square().sum())


def _untried(sampler: DiffusersSampler, **changes: Any) -> DiffusersSampler:
    """A changed copy that is not tried, which would try for ever."""
    found = object.__new__(DiffusersSampler)
    for name, value in {**vars(sampler), **changes}.items():
        object.__setattr__(found, name, value)
    return found
