r"""Reverse chains of a network, ancestral and DDIM, and the bias of the deterministic one.

=============  =================================================================================
symbol         meaning
=============  =================================================================================
a, s           amplitudes of signal and noise at the present level (snr), a', s' at the next (snr')
q              snr / snr' <= 1, the share of the noise information that the step keeps
x0             the network's posterior mean at the present level
=============  =================================================================================

.. math::
   \text{ancestral:}\quad & x' = q\,\frac{a'}{a}\,x_t + (1 - q)\,a' x_0
       + \sqrt{\nu}\,\xi, \qquad
       \nu = \tilde\nu = s'^2 (1 - q) \ \text{(posterior) or } \nu_{max} = s^2 (1 - q)
       \ \text{(beta)} \\
   \text{learned:}\quad & \log\nu = \tfrac{1 + w}{2} \log\nu_{max}
       + \tfrac{1 - w}{2} \log\tilde\nu \\
   \text{DDIM:}\quad & x' = a' x_0 + \sqrt{s'^2 - \eta^2\tilde\nu}\;\frac{x_t - a x_0}{s}
       + \eta\sqrt{\tilde\nu}\;\xi

DDIM with eta = 1 is the ancestral step.  With eta = 0 nothing is drawn: one x_t gives one x0, so a
forward-backward run does not sample the posterior.  For data that are Gaussian along a direction,
of variance c, what it keeps instead is known in closed form.  With x0' what the chain makes of x_t
and r = snr c / (1 + snr c) the share of the variance that x_t determines,

.. math::
   \text{posterior sampling: } \mathrm{corr}(x_0, x_0') = r, \qquad
   \text{deterministic flow: } \mathrm{corr}(x_0, x_0') = \sqrt{r}

Both have the right marginal law of x0'.  The difference :math:`\sqrt r - r`, up to 1/4 at r = 1/4,
is the *determinism bias*: it does not fall with the number of steps.  For a linear denoiser every
step is linear, so the finite chain is known exactly too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hierdiff.checks import (
    FloatArray,
    check_fields,
    checked,
    count,
    fraction,
    instance,
    levels_of,
    memory,
    number,
    reals,
    shown,
    snr_of,
)
from hierdiff.data.derivations import positive_int
from hierdiff.errors import InvalidParameter
from hierdiff.noise import SignalNoise
from hierdiff.validation._checks import tensor
from hierdiff.validation.diffusion.parameterisation import Prediction, amplitudes, column
from hierdiff.validation.diffusion.schedules import DiscreteSchedule

__all__ = [
    "DDIM",
    "Ancestral",
    "Draw",
    "Predict",
    "Retention",
    "Sampler",
    "determinism_bias",
    "learned_log_variance",
    "linear_retention",
    "retained_share",
    "reverse_chain",
    "reverse_levels",
]

Rows: TypeAlias = NDArray[np.intp]

Predict: TypeAlias = Callable[[Tensor, FloatArray, Rows], Prediction]
"""Posterior mean of some rows of the batch at their SNRs."""

Draw: TypeAlias = Callable[[Rows], Tensor]
"""Standard normal numbers for some rows of the batch, each row from a stream of its own."""


class Sampler(Protocol):
    """What turns posterior means into samples."""

    @property
    def stochastic(self) -> bool:
        """Whether it samples the posterior; else forward-backward runs are biased."""

    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: SignalNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain from x_t at levels t [n]."""


@dataclass(frozen=True)
class Ancestral:
    """DDPM's chain: draws from the posterior as the number of steps grows.

    Parameters
    ----------
    levels : int or DiscreteSchedule
        A number of steps, equal in t from the start to 0; or a schedule, all of whose levels below
        the start are visited.
    variance : {"posterior", "beta", "learned"}
        Variance of a step, see the module's table.
    clip : float, optional
        Bound put on each number of x0 (1 for images in [-1, 1]).

    Raises
    ------
    InvalidParameter
        If ``levels`` is no positive integer or schedule, or ``variance`` unknown.

    Notes
    -----
    Validity: exact in the limit of many steps, for an exact network.  "posterior" is the exact
    variance of a step for data that are one point, "beta" for white noise of variance 1.

    References
    ----------
    Ho et al., arXiv 2006.11239; Nichol and Dhariwal, arXiv 2102.09672 (learned).

    Examples
    --------
    >>> schedule = DiscreteSchedule.linear().respaced("250")
    >>> Ancestral(schedule, variance="learned", clip=1.0).stochastic
    True
    """

    levels: int | DiscreteSchedule = 250
    variance: Literal["posterior", "beta", "learned"] = "posterior"
    clip: float | None = None

    stochastic = True

    def __post_init__(self) -> None:
        check_fields(self)
        _check_levels(self.levels)
        if self.clip is not None:
            number("clip", self.clip, above=0)
        if self.variance not in ("posterior", "beta", "learned"):
            raise InvalidParameter(
                f"variance = {self.variance!r} is unknown; use 'posterior', 'beta' or 'learned'"
            )

    @checked
    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: SignalNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain."""
        table = reverse_levels(self.levels, noise, t)
        return reverse_chain(predict, x_t, table, self.step, draw, clip=self.clip)

    @checked
    def moments(
        self, x: Tensor, prediction: Prediction, now: FloatArray, then: FloatArray
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the next state, at SNRs ``now`` < ``then`` < inf, [n]."""
        _rising(now, then, x, prediction)
        a, s = amplitudes(now)
        a_next, s_next = amplitudes(then)
        keep = now / then
        kept, fresh = column(a * a_next / (s**2 * then), x), column((1 - keep) * a_next, x)
        mean = kept * x + fresh * prediction.clean
        largest, least = np.log(s**2 * (1 - keep)), np.log(s_next**2 * (1 - keep))
        if self.variance == "learned":
            if prediction.variance is None:
                raise InvalidParameter(
                    "variance = 'learned', but the network returns none; use 'posterior', or give "
                    "learned_variance=True in the parameterisation"
                )
            return mean, learned_log_variance(prediction.variance, largest, least)
        chosen = column(largest if self.variance == "beta" else least, x)
        return mean, chosen.expand_as(mean)

    @checked
    def step(
        self, x: Tensor, prediction: Prediction, now: FloatArray, then: FloatArray, draw: Draw
    ) -> Tensor:
        """The next state; ``draw`` gets the positions of the rows of x."""
        mean, log_variance = self.moments(x, prediction, now, then)
        return mean + (0.5 * log_variance).exp() * draw(np.arange(len(x)))


@dataclass(frozen=True)
class DDIM:
    """Deterministic steps (eta = 0), or steps with part of the ancestral noise.

    Parameters
    ----------
    levels : int or DiscreteSchedule
        As for :class:`Ancestral`.
    eta : float
        Share of the ancestral noise amplitude, in [0, 1].
    clip : float, optional
        Bound put on each number of x0; the noise is taken from the bounded x0.

    Raises
    ------
    InvalidParameter
        If ``levels`` is no positive integer or schedule, or ``eta`` outside [0, 1].

    Notes
    -----
    Validity: with eta < 1 each x_t has the right law if x_T is pure noise, but given x_t the
    result is not a draw from the posterior: in forward-backward runs more survives than should,
    at any number of steps.  On Gaussian data the correlation is sqrt(r) instead of r.

    References
    ----------
    Song, Meng, Ermon, arXiv 2010.02502, eq. (12).

    Examples
    --------
    >>> DDIM(50).stochastic, DDIM(50, eta=1.0).stochastic
    (False, True)
    """

    levels: int | DiscreteSchedule = 50
    eta: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        _check_levels(self.levels)
        if self.clip is not None:
            number("clip", self.clip, above=0)
        if not 0 <= self.eta <= 1:
            raise InvalidParameter(
                f"eta = {self.eta} is outside [0, 1]; 0 draws nothing, 1 is the ancestral chain"
            )

    @property
    def stochastic(self) -> bool:
        """Whether it samples the posterior: only at eta = 1."""
        return self.eta == 1

    @checked
    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: SignalNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain."""
        table = reverse_levels(self.levels, noise, t)
        return reverse_chain(predict, x_t, table, self.step, draw, clip=self.clip)

    @checked
    def step(
        self, x: Tensor, prediction: Prediction, now: FloatArray, then: FloatArray, draw: Draw
    ) -> Tensor:
        """The next state; ``draw`` gets the positions of the rows of x."""
        _rising(now, then, x, prediction)
        a, s = amplitudes(now)
        a_next, s_next = amplitudes(then)
        eps = (x - column(a, x) * prediction.clean) / column(s, x)
        drawn = self.eta * s_next * np.sqrt(1 - now / then)
        # s'^2 - drawn^2 without the difference, which cancels at eta = 1
        kept = s_next * np.sqrt(1 - self.eta**2 + self.eta**2 * now / then)
        x_next = column(a_next, x) * prediction.clean + column(kept, x) * eps
        if self.eta == 0:
            return x_next
        return x_next + column(drawn, x) * draw(np.arange(len(x)))


@checked
def learned_log_variance(
    values: Tensor, largest: FloatArray | float, least: FloatArray | float
) -> Tensor:
    """Log variance between two bounds, by the network's values in [-1, 1].

    Parameters
    ----------
    values : tensor [n, ...]
        -1 is ``least``, 1 is ``largest``.
    largest, least : float or array [n]
        Logarithms of the bounds.

    Returns
    -------
    tensor [n, ...]

    Notes
    -----
    Validity: guided-diffusion's LEARNED_RANGE.

    References
    ----------
    Nichol and Dhariwal, arXiv 2102.09672, eq. (15).

    Examples
    --------
    >>> import torch
    >>> learned_log_variance(torch.tensor([[-1.0, 0.0, 1.0]]), -2.0, -4.0).tolist()
    [[-4.0, -3.0, -2.0]]
    """
    share = (values + 1) / 2
    return share * column(largest, values) + (1 - share) * column(least, values)


def _rising(now: FloatArray, then: FloatArray, x: Tensor, prediction: Prediction) -> None:
    n = len(tensor("x", x, None, ...))
    if not (snr_of(now, n) < snr_of(then, n)).all():
        raise InvalidParameter(
            f"then = {shown(then)} must lie above now = {shown(now)}; steps go from noise to data"
        )
    if prediction.clean.shape != x.shape:
        raise InvalidParameter(
            f"the prediction has shape {tuple(prediction.clean.shape)} and x {tuple(x.shape)}; "
            "give equal shapes"
        )


def _check_levels(levels: Any) -> None:
    if not isinstance(levels, DiscreteSchedule):
        positive_int("levels", levels)


@checked
def reverse_levels(levels: int | DiscreteSchedule, noise: SignalNoise, t: FloatArray) -> FloatArray:
    """SNRs of the chain of each sample, from its own level to inf.

    Parameters
    ----------
    levels : int or DiscreteSchedule
        A number of steps, equal in t; or a schedule whose levels are visited.
    noise : SignalNoise
        The meaning of t.
    t : array [n]
        Where each chain starts.

    Returns
    -------
    array [n, steps + 1]
        Never decreasing; equal neighbours are no step, so that samples with different starts go
        through one table.

    Notes
    -----
    Validity: a start that is a level of the schedule, to 1e-9, is not visited twice.

    Examples
    --------
    >>> from hierdiff import GaussianNoise
    >>> reverse_levels(2, GaussianNoise(schedule="linear"), np.array([0.5])).round(4).tolist()
    [[0.0853, 1.1012, inf]]
    """
    t = np.atleast_1d(levels_of(t))
    if t.ndim > 1:
        raise InvalidParameter(f"t has shape {t.shape}; give one noise level per sample, [n]")
    start = noise.snr(t)[:, None]
    if isinstance(levels, DiscreteSchedule):
        visited = np.append(levels.snr[::-1], np.inf)
        table = np.where(visited <= start * (1 + 1e-9), start, visited)
        return np.concatenate([start, table], axis=1)
    count("levels", levels)
    memory(f"a table of {levels} steps for {len(t)} samples", 8.0 * len(t) * (levels + 1))
    k = np.arange(levels, -1, -1)
    table = noise.snr(t[:, None] * (k / levels))
    table[:, 0] = start[:, 0]
    return np.asarray(table)


@checked
def reverse_chain(
    predict: Predict,
    x_t: Tensor,
    table: FloatArray,
    step: Callable[[Tensor, Prediction, FloatArray, FloatArray, Draw], Tensor],
    draw: Draw,
    clip: float | None = None,
) -> Tensor:
    """Go through the table of SNRs; the last step is the network's mean of x0.

    Parameters
    ----------
    predict, step, draw : callable
        The network, the rule of one step, the random numbers.
    x_t : tensor [n, ...]
        Noisy data at the SNRs of the first column.
    table : array [n, steps + 1]
        As :func:`reverse_levels` returns it.
    clip : float, optional
        Bound put on each number of the mean of x0.

    Returns
    -------
    tensor [n, ...]
        A row whose SNR is inf from the start is returned as it is.

    Notes
    -----
    Validity: rows do not see each other, and rows that wait draw nothing.
    """
    if table.ndim != 2 or len(table) != len(tensor("x_t", x_t, None, ...)):
        raise InvalidParameter(f"table has shape {table.shape}; give [{len(x_t)}, steps + 1]")
    snr_of(table)
    if clip is not None:
        # a bound beyond the type of the state is none
        clip = min(number("clip", clip, above=0), torch.finfo(x_t.dtype).max)
    x = x_t
    for now, then in pairwise(table.T):
        rows = np.flatnonzero(now < then)
        if not rows.size:
            continue
        every = len(rows) == len(x)
        index = torch.as_tensor(rows, device=x.device)
        part = x if every else x[index]
        prediction = predict(part, now[rows], rows)
        instance("what predict returns", prediction, Prediction)
        if clip is not None:
            prediction = prediction._replace(clean=prediction.clean.clamp(-clip, clip))
        new = prediction.clean
        if np.isfinite(then[rows]).any():
            new = step(part, prediction, now[rows], then[rows], _part_of(draw, rows))
        x = new if every else x.index_copy(0, index, new)
    return x


def _part_of(draw: Draw, rows: Rows) -> Draw:
    def part(positions: Rows) -> Tensor:
        return tensor("what draw returns", draw(rows[positions]), len(positions), ...)

    return part


class Retention(NamedTuple):
    """What a forward-backward run leaves of the data along directions of variance c, each [d]."""

    slope: FloatArray
    variance: FloatArray
    correlation: FloatArray


@checked
def retained_share(variance: ArrayLike, snr: float) -> FloatArray:
    r"""Correlation of x0 with an exact posterior sample, r = snr c / (1 + snr c).

    Parameters
    ----------
    variance : float or array
        Variance c of the data along a direction, >= 0.
    snr : float
        Signal-to-noise ratio of x_t.

    Returns
    -------
    array
        In [0, 1], of the shape of ``variance``.

    Raises
    ------
    InvalidParameter
        For a negative variance or ratio.

    Notes
    -----
    Validity: Gaussian data; exact.

    Examples
    --------
    >>> float(retained_share(1.0, 3.0))
    0.75
    """
    c, ratio = _variances(variance), snr_of(snr)
    if np.isinf(ratio):
        return np.asarray(c > 0, dtype=float)
    return np.asarray(ratio * c / (1 + ratio * c))


@checked
def determinism_bias(variance: ArrayLike, snr: float) -> FloatArray:
    r"""Excess correlation of a deterministic sampler, sqrt(r) - r.

    Parameters
    ----------
    variance : float or array
        Variance c of the data along a direction, > 0.
    snr : float
        Signal-to-noise ratio of x_t, > 0.

    Returns
    -------
    array
        In [0, 1/4], of the shape of ``variance``.

    Raises
    ------
    InvalidParameter
        For a negative variance or ratio.

    Notes
    -----
    Validity: Gaussian data, exact denoiser, many steps (the probability-flow equation).

    Examples
    --------
    >>> float(determinism_bias(1.0, 1 / 3))
    0.25
    """
    r = retained_share(variance, snr)
    return np.asarray(np.sqrt(r) - r)


@checked(eta=fraction)
def linear_retention(variance: ArrayLike, levels: ArrayLike, eta: float = 1.0) -> Retention:
    r"""A finite chain with the exact denoiser of Gaussian data, step by step in closed form.

    .. math:: \hat x_0 = \frac{a c}{a^2 c + s^2}\, x_t, \qquad
       x' = \Big[a' \frac{a c}{a^2 c + s^2} + \sqrt{s'^2 - \eta^2 \tilde\nu}\,
       \frac{s}{a^2 c + s^2}\Big] x_t + \eta \sqrt{\tilde\nu}\,\xi

    Parameters
    ----------
    variance : array [d]
        Variances c of the data along d directions, > 0.
    levels : array [steps + 1]
        SNRs of the chain, increasing, from that of x_t to inf.
    eta : float
        0 for DDIM, 1 for the ancestral chain with posterior variance.

    Returns
    -------
    Retention
        Regression slope of x0' on x0, variance of x0', and their correlation.

    Raises
    ------
    InvalidParameter
        For a variance that is not positive, or levels that do not increase.

    Notes
    -----
    Validity: Gaussian data, exact denoiser, any number of steps; exact.

    Examples
    --------
    >>> levels = np.append(np.geomspace(1 / 3, 1e4, 400), np.inf)
    >>> [round(float(linear_retention(1.0, levels, eta).correlation), 3) for eta in (1.0, 0.0)]
    [0.252, 0.5]
    """
    c, ratio = _variances(variance), snr_of(levels)
    if not (c > 0).all() or ratio.ndim != 1 or not ratio.size or not (np.diff(ratio) > 0).all():
        raise InvalidParameter(
            "variances must be positive and levels increase; drop empty directions and sort"
        )
    amplitude, noise = amplitudes(ratio)
    covariance, spread = amplitude[0] * c, amplitude[0] ** 2 * c + noise[0] ** 2
    for k in range(len(ratio) - 1):
        a, s, a_next, s_next = amplitude[k], noise[k], amplitude[k + 1], noise[k + 1]
        drawn = eta**2 * s_next**2 * (1 - ratio[k] / ratio[k + 1])
        total = a**2 * c + s**2
        gain = (a_next * a * c + np.sqrt(s_next**2 - drawn) * s) / total
        covariance, spread = gain * covariance, gain**2 * spread + drawn
    return Retention(covariance / c, spread, covariance / np.sqrt(spread * c))


def _variances(variance: ArrayLike) -> FloatArray:
    return reals("variance", variance, 0, 1e100)
