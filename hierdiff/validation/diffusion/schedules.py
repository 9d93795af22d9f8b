r"""Noise schedules of networks, and the number that a network is given as a function of the SNR.

===================  ===========================================================================
symbol               meaning
===================  ===========================================================================
T, i                 number of noise levels of a schedule, and the index of one, from 0
beta_i, alpha_bar_i  noise added at step i; signal power after it
time                 the number that a network is given, here an index of its first schedule
t in [0, 1]          noise level of :class:`hierdiff.noise.GaussianNoise`
===================  ===========================================================================

.. math::
   \bar\alpha_i = \prod_{j \le i} (1 - \beta_j), \qquad
   \text{snr}_i = \frac{\bar\alpha_i}{1 - \bar\alpha_i}, \qquad
   \tilde\beta_i = \beta_i\,\frac{1 - \bar\alpha_{i-1}}{1 - \bar\alpha_i}

Models meet at equal SNR.  Between the indices of a schedule the time is linear in log SNR; networks
whose time enters through sines take fractions.  The number c_noise that a network is given is a
function of the SNR, its *noise conditioning*:

=================  =============================================================================
conditioning       c_noise
=================  =============================================================================
DiscreteSchedule   index of the schedule of the network, linear in log SNR between indices
LogSNR             natural logarithm of the SNR
Sigma              1 / sqrt(snr), noise over signal amplitude (EDM)
FlowTime           1 / (1 + sqrt(snr)), the mixing weight of a rectified flow
NoiseLevel         t of a Gaussian process of this package
=================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._lazy import renamed
from hierdiff.checks import FloatArray, check_fields, checked, integers, snr_of, whole
from hierdiff.data.derivations import positive_int
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess, SignalNoise, has_snr
from hierdiff.validation.diffusion.parameterisation import Parameterisation

__all__ = [
    "DiscreteSchedule",
    "FlowTime",
    "LogSNR",
    "NoiseConditioning",
    "NoiseLevel",
    "Sigma",
    "StepLevels",
    "default_conditioning",
    "step_levels",
]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(
        __name__, {"Clock": "NoiseConditioning", "default_clock": "default_conditioning"}
    )

_SNAP = 1e-6  # an index this near to an integer is that integer, so that embeddings agree exactly


# published schedules have a thousand levels; a million are 8 MB in each of a few arrays
_size = partial(whole, low=1, high=1_000_000)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class DiscreteSchedule:
    r"""T noise levels with the times that the network is given.

    Parameters
    ----------
    betas : array [T]
        Noise added per step, in (0, 1).
    times : array [T], optional
        The time that the network is given at each index, increasing; default 0 ... T - 1.

    Raises
    ------
    InvalidParameter
        If the betas are not in (0, 1), or the times not increasing.

    Notes
    -----
    Validity: variance-preserving Gaussian noise; written in log(1 - beta), so nothing cancels.

    References
    ----------
    Ho et al., arXiv 2006.11239; Nichol and Dhariwal, arXiv 2102.09672 (cosine, respacing).

    Examples
    --------
    >>> schedule = DiscreteSchedule.linear()
    >>> schedule.alpha_bar[[0, 499, 999]].round(8).tolist()
    [0.9999, 0.07858724, 4.036e-05]
    >>> schedule.respaced("10").times.tolist()
    [0.0, 111.0, 222.0, 333.0, 444.0, 555.0, 666.0, 777.0, 888.0, 999.0]
    """

    betas: FloatArray
    times: FloatArray

    @checked
    def __init__(self, betas: ArrayLike, times: ArrayLike | None = None) -> None:
        rate = np.array(betas, dtype=float)
        if rate.ndim != 1 or not rate.size or not ((rate > 0) & (rate < 1)).all():
            raise InvalidParameter(
                f"betas of shape {rate.shape} must be a list of numbers in (0, 1); give the noise "
                "added per step"
            )
        index = np.arange(len(rate), dtype=float) if times is None else np.array(times, dtype=float)
        if index.shape != rate.shape or not (np.diff(index) > 0).all():
            raise InvalidParameter(
                f"times of shape {index.shape} must be {len(rate)} increasing numbers; give one "
                "per beta"
            )
        object.__setattr__(self, "betas", rate)
        object.__setattr__(self, "times", index)

    @classmethod
    @checked(T=_size)
    def linear(cls, T: int = 1000) -> DiscreteSchedule:
        """DDPM's betas, from 0.1 / T to 20 / T in equal steps."""
        scale = 1000 / positive_int("T", T)
        return cls(np.linspace(scale * 1e-4, scale * 0.02, T))

    @classmethod
    @checked(T=_size)
    def scaled_linear(
        cls, T: int = 1000, first: float = 0.00085, last: float = 0.012
    ) -> DiscreteSchedule:
        """Betas whose roots are linear, as Stable Diffusion has them."""
        return cls(np.linspace(first**0.5, last**0.5, positive_int("T", T)) ** 2)

    @classmethod
    @checked(T=_size)
    def cosine(cls, T: int = 1000) -> DiscreteSchedule:
        """Betas of the cosine law, no larger than 0.999."""
        # sin((1 - t) pi / 2 / 1.008)^2 is cos^2 of the law, accurate at the noisy end
        power = np.sin((1 - np.arange(positive_int("T", T) + 1) / T) * np.pi / 2 / 1.008) ** 2
        return cls(np.minimum(1 - power[1:] / power[:-1], 0.999))

    def __repr__(self) -> str:
        first, last = (f"{snr:.4g}" for snr in self.snr[[0, -1]])
        return f"DiscreteSchedule(T={len(self)}, snr={first}..{last})"

    def __len__(self) -> int:
        """Count the levels."""
        return len(self.betas)

    @cached_property
    def log_alpha_bar(self) -> FloatArray:
        """Natural logarithm of the signal power, [T]."""
        return np.asarray(np.cumsum(np.log1p(-self.betas)))

    @cached_property
    def alpha_bar(self) -> FloatArray:
        """Signal power, [T]."""
        return np.asarray(np.exp(self.log_alpha_bar))

    @cached_property
    def snr(self) -> FloatArray:
        """Signal-to-noise ratio, [T], decreasing."""
        return np.asarray(1 / np.expm1(-self.log_alpha_bar))

    @cached_property
    def posterior_variance(self) -> FloatArray:
        """Variance of x_{i-1} given x_i and x_0, [T]; 0 at i = 0."""
        before = np.append(0.0, self.log_alpha_bar[:-1])
        return np.asarray(self.betas * np.expm1(before) / np.expm1(self.log_alpha_bar))

    @cached_property
    def posterior_log_variance(self) -> FloatArray:
        """Its logarithm, [T], with the value of i = 1 at i = 0, where it is -inf."""
        variance = self.posterior_variance
        first = variance[1] if len(self) > 1 else self.betas[0]
        return np.asarray(np.log(np.append(first, variance[1:])))

    @checked
    def respaced(self, spec: int | str | Sequence[int]) -> DiscreteSchedule:
        """Schedule on part of the indices; the network is given the old times.

        Parameters
        ----------
        spec : int, str or sequence of int
            A count K or "K": K indices from the first to the last, evenly.  "K1,K2,...": counts
            for equal parts of the schedule.  "ddimK": the stride that gives exactly K indices,
            from 0.  A sequence: the indices themselves.

        Returns
        -------
        DiscreteSchedule
            Of the same alpha_bar at these indices.

        Raises
        ------
        InvalidParameter
            If the schedule cannot be divided so.

        Notes
        -----
        Validity: equal to guided-diffusion's ``timestep_respacing`` (checked on "250", "ddim25").

        Examples
        --------
        >>> DiscreteSchedule.linear().respaced("ddim25").times[:4].tolist()
        [0.0, 40.0, 80.0, 120.0]
        """
        index = _respaced(len(self), spec)
        log_power = np.append(0.0, self.log_alpha_bar[index])
        return DiscreteSchedule(-np.expm1(np.diff(log_power)), self.times[index])

    @checked
    def time(self, snr: ArrayLike) -> FloatArray:
        """Time that the network is given at these ratios, the first one above the first level.

        Raises InvalidParameter for a ratio below the end of the schedule.
        """
        ratio = snr_of(snr)
        if (ratio < self.snr[-1] * (1 - 1e-9)).any():
            raise InvalidParameter(
                f"snr = {ratio.min():.4g} is below {self.snr[-1]:.4g}, where the network's "
                "schedule ends; lower t, or use GaussianNoise(schedule='linear') if the network "
                "was trained on it"
            )
        with np.errstate(divide="ignore"):
            index = np.interp(-np.log(ratio), -np.log(self.snr), np.arange(float(len(self))))
        nearest = np.rint(index)
        index = np.where(np.abs(index - nearest) < _SNAP, nearest, index)
        return np.asarray(np.interp(index, np.arange(float(len(self))), self.times))

    @checked
    def levels(self, noise: GaussianNoise) -> FloatArray:
        """Noise levels t of the process at which its SNR is that of the T indices, [T]."""
        t: FloatArray = noise.level(self.snr)
        return t


class StepLevels(NamedTuple):
    """Noise level that is added, and the one that the model is given.

    The consistent protocol of step k = 1 ... K of a respaced chain adds the noise of index k - 1,
    where the step starts.  The published one (arXiv 2402.16991) adds the noise of index k and gives
    the network k - 1, one step less than there is.  At k = K it starts from pure noise; here from
    t = 1, which on the linear schedule still holds 0.6 % of the signal's amplitude.
    """

    added: float
    model_t: float


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
        Step k starts at index k - 1.  The consistent protocol adds the noise of that index.  The
        published one (arXiv 2402.16991) adds the noise of index k and gives k - 1 to the network,
        one step less than there is; at k = K it starts from pure noise, here from t = 1, which on
        the linear schedule still holds 0.6 % of the amplitude of the signal.

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
    model_t = float(noise.level(schedule.snr[k - 1]))
    if protocol == "consistent":
        return StepLevels(model_t, model_t)
    return StepLevels(float(noise.level(schedule.snr[k])) if k < len(schedule) else 1.0, model_t)


def _respaced(T: int, spec: int | str | Sequence[int]) -> NDArray[Any]:
    """Indices kept, increasing."""
    if isinstance(spec, str) and spec.startswith("ddim"):
        return _strided(T, spec)
    if isinstance(spec, str):
        try:
            counts = [int(part) for part in spec.split(",")]
        except ValueError:
            raise InvalidParameter(
                f"respacing {spec!r} is unknown; give '250', '10,15,20' or 'ddim25'"
            ) from None
        return _sections(T, counts)
    if isinstance(spec, (int, np.integer)):
        return _sections(T, [int(spec)])
    index = integers("spec", spec, low=None)
    if index.ndim != 1 or not index.size or not (np.diff(index) > 0).all():
        raise InvalidParameter(f"indices {spec!r} must increase; sort them and drop repetitions")
    if index[0] < 0 or index[-1] >= T:
        raise InvalidParameter(f"index {index[-1]} is outside the schedule; give 0 ... {T - 1}")
    return index


def _strided(T: int, spec: str) -> NDArray[Any]:
    wanted = int(spec[4:]) if spec[4:].isdigit() else 0
    for stride in range(1, T + 1):
        if len(range(0, T, stride)) == wanted:
            return np.arange(0, T, stride)
    raise InvalidParameter(
        f"respacing {spec!r} asks for {wanted} of {T} indices, which no whole stride gives; use "
        f"'{wanted or T}' instead"
    )


def _sections(T: int, counts: list[int]) -> NDArray[Any]:
    """Evenly spaced indices, ends included, in each of ``len(counts)`` equal parts."""
    size, longer = divmod(T, len(counts))
    index: list[int] = []
    start = 0
    for part, count in enumerate(counts):
        length = size + (part < longer)
        if not 1 <= count <= length:
            raise InvalidParameter(
                f"{count} indices do not fit a part of {length}; ask for 1 to {length}"
            )
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        # the stride is added up, not multiplied: rounding of halves then agrees with the original
        place = 0.0
        for _ in range(count):
            index.append(start + round(place))
            place += stride
        start += length
    return np.array(index)


class NoiseConditioning(Protocol):
    """A function from the SNR to the time that a network is given."""

    def time(self, snr: ArrayLike) -> FloatArray:
        """Time of the network at these ratios."""


@dataclass(frozen=True)
class LogSNR:
    """The natural logarithm of the SNR, cut to +-limit."""

    limit: float = 20.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Log SNR; 0 and inf become the limits."""
        with np.errstate(divide="ignore"):
            return np.clip(np.log(snr_of(snr)), -self.limit, self.limit)


@dataclass(frozen=True)
class Sigma:
    """The noise level sigma of networks on x0 + sigma * noise (EDM)."""

    largest: float = 80.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Noise over signal amplitude, at most ``largest``."""
        with np.errstate(divide="ignore"):
            return np.minimum(1 / np.sqrt(snr_of(snr)), self.largest)


@dataclass(frozen=True)
class FlowTime:
    """The time scale * tau of rectified flows x = (1 - tau) x0 + tau * noise."""

    scale: float = 1.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Scale / (1 + sqrt(snr)): 0 clean, ``scale`` pure noise."""
        return np.asarray(self.scale / (1 + np.sqrt(snr_of(snr))))


@dataclass(frozen=True)
class NoiseLevel:
    """The level scale * t of a Gaussian process."""

    noise: SignalNoise
    scale: float = 1.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Level t of the process, times ``scale``."""
        return np.asarray(self.scale * self.noise.level(snr))


@checked
def default_conditioning(
    parameterisation: Parameterisation, noise: NoiseProcess
) -> NoiseConditioning:
    """The noise conditioning of networks of a kind, unless another is given.

    Parameters
    ----------
    parameterisation : Parameterisation
        What the network predicts.
    noise : NoiseProcess
        Its ``schedule``, where it has one, names that of the network.

    Returns
    -------
    NoiseConditioning
        Log SNR for "logits", and where there is no SNR or no known schedule; 1 / sqrt(snr) at scale
        "ve"; the mixing weight for "flow"; else the index of the linear or cosine schedule of
        1,000 levels.

    Notes
    -----
    Validity: conventions of the papers that introduced each; a network trained otherwise needs
    its own.

    Examples
    --------
    >>> from hierdiff import GaussianNoise
    >>> default_conditioning(Parameterisation("eps"), GaussianNoise(schedule="linear"))
    DiscreteSchedule(T=1000, snr=9999..4.036e-05)
    """
    if parameterisation.output == "logits" or not has_snr(noise):
        return LogSNR()
    if parameterisation.scale == "ve":
        return Sigma()
    if "flow" in (parameterisation.output, parameterisation.scale):
        return FlowTime()
    schedule = getattr(noise, "schedule", None)
    if schedule == "linear":
        return DiscreteSchedule.linear()
    return DiscreteSchedule.cosine() if schedule == "cosine" else LogSNR()
