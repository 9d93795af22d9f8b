r"""What networks predict, converted to the posterior mean E[x0 | x_t] at equal SNR.

============  ==================================================================================
symbol        meaning
============  ==================================================================================
x_t           a x0 + s eps, the state that is handed about: a^2 = snr/(1+snr), s^2 = 1/(1+snr)
c x_t         what the network sees: c = 1 (vp), 1/a (ve: x0 + sigma eps), 1/(a+s) (flow)
============  ==================================================================================

.. math::
   \epsilon:\ & \hat x_0 = (x_t - s\,\epsilon) / a \\
   v = a\,\epsilon - s\,x_0:\ & \hat x_0 = a\,x_t - s\,v \\
   \text{score} = \nabla_{c x_t} \log p = -\epsilon / (c s):\
       & \hat x_0 = (x_t + c s^2\,\text{score}) / a \\
   \text{flow} = \epsilon - x_0:\ & \hat x_0 = (x_t - s\,\text{flow}) / (a + s)

"x0" is the mean itself, "logits" its softmax over the last axis (one-hot symbols).

Networks F of EDM are wrapped by :class:`Preconditioned`, which returns the mean at scale "ve",

.. math::
   \hat x_0 = c_{skip}\,x + c_{out}\,F(c_{in}\,x, c_{noise}), \qquad
   x = x_0 + \sigma\epsilon, \qquad
   c_{skip} = \frac{\sigma_d^2}{\sigma^2 + \sigma_d^2}, \quad
   c_{out} = \frac{\sigma \sigma_d}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad
   c_{in} = \frac{1}{\sqrt{\sigma^2 + \sigma_d^2}}, \quad
   c_{noise} = k \ln \sigma,

with k = 1/4 (Karras et al., arXiv 2206.00364, Table 1), or 250 for the networks of Song et al.,
arXiv 2303.01469, whose time is a thousand times longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from hierdiff.checks import FloatArray, check_fields, checked, number, reals, snr_of
from hierdiff.errors import InvalidParameter
from hierdiff.validation._checks import tensor

__all__ = [
    "EDMCoefficients",
    "Parameterisation",
    "Preconditioned",
    "Prediction",
    "amplitudes",
    "column",
    "edm_coefficients",
    "split_channels",
]

Output: TypeAlias = Literal["eps", "v", "x0", "score", "flow", "logits"]
Scale: TypeAlias = Literal["vp", "ve", "flow", "evidence"]


class Prediction(NamedTuple):
    """Posterior mean of x0, and the raw variance values where the network has them."""

    clean: Tensor
    variance: Tensor | None


@dataclass(frozen=True)
class Parameterisation:
    """What a network predicts and at which scale it sees the data.

    Parameters
    ----------
    output : {"eps", "v", "x0", "score", "flow", "logits"}
        What the network returns, see the module's table.
    scale : {"vp", "ve", "flow", "evidence"}
        What it is given: x_t, x_t / a, x_t / (a + s), or for logits of symbols the channels of
        :func:`hierdiff.noise.network_input`, which hold the evidence of every leaf.
    learned_variance : bool
        Twice as many channels are returned; the second half are values in [-1, 1] between the two
        bounds of the reverse variance (guided-diffusion's LEARNED_RANGE).

    Raises
    ------
    InvalidParameter
        For an unknown name.

    Notes
    -----
    Validity: exact identities between posterior means, for SNR in (0, inf]; at SNR = 0 for all but
    eps and score, which do not determine x0 there.

    References
    ----------
    Ho et al., arXiv 2006.11239 (eps); Salimans and Ho, arXiv 2202.00512 (v); Song et al.,
    arXiv 2011.13456 (score); Liu et al., arXiv 2209.03003 (flow); Nichol and Dhariwal,
    arXiv 2102.09672 (learned variance).

    Examples
    --------
    >>> x0, x_t = torch.tensor([[1.0]]), torch.tensor([[1.4]])
    >>> for name in ("eps", "v", "score", "flow"):
    ...     kind = Parameterisation(name)
    ...     target = kind.target(x0, x_t, 1.0)
    ...     print(name, round(target.item(), 4), round(kind.clean(target, x_t, 1.0).item(), 4))
    eps 0.9799 1.0
    v -0.0142 1.0
    score -1.3858 1.0
    flow -0.0201 1.0
    """

    output: Output
    scale: Scale = "vp"
    learned_variance: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        for name, allowed in (("output", Output), ("scale", Scale)):
            if getattr(self, name) not in get_args(allowed):
                raise InvalidParameter(
                    f"{name} = {getattr(self, name)!r} is unknown; use one of "
                    + ", ".join(map(repr, get_args(allowed)))
                )
        if self.output == "logits" and (
            self.learned_variance or self.scale not in ("vp", "evidence")
        ):
            raise InvalidParameter(
                "output = 'logits' goes with scale 'vp' or 'evidence' and no learned variance; "
                "leave both out"
            )
        if self.scale == "evidence" and self.output != "logits":
            raise InvalidParameter(
                f"scale = 'evidence' goes with logits of symbols; give output='logits' instead of "
                f"{self.output!r}"
            )

    @checked
    def network_input(self, x_t: Tensor, snr: ArrayLike) -> Tensor:
        """What the network sees, c x_t; ``snr`` is one number or one per sample."""
        if self.scale in ("vp", "evidence"):
            return x_t
        return column(_gain(self.scale, snr), x_t) * x_t

    @checked
    def clean(self, output: Tensor, x_t: Tensor, snr: ArrayLike) -> Tensor:
        """Posterior mean of x0 from what the network returned, of the shape of x_t."""
        a, s = amplitudes(snr)
        if self.output == "logits":
            return output.softmax(dim=-1)
        _alike("output", output, x_t)
        if self.output == "x0":
            return output
        if self.output == "v":
            return column(a, x_t) * x_t - column(s, x_t) * output
        if self.output == "flow":
            return (x_t - column(s, x_t) * output) / column(a + s, x_t)
        # in the type of the state, where 1 / a must be a number
        if (a * torch.finfo(x_t.dtype).max < 1).any():
            raise InvalidParameter(
                f"snr = {np.min(snr):g} leaves no signal, and {self.output!r} says "
                "nothing about x0 there; give t < 1, or use GaussianNoise(schedule='linear')"
            )
        factor = s if self.output == "eps" else -_gain(self.scale, snr) * s**2
        # in this order it has the same rounding as guided-diffusion, which is amplified by 1 / a
        return column(1 / a, x_t) * x_t - column(factor / a, x_t) * output

    @checked
    def target(self, x0: Tensor, x_t: Tensor, snr: ArrayLike) -> Tensor:
        """What the network should return for this x0: the inverse of ``clean``; SNR below inf."""
        a, s = amplitudes(snr)
        _alike("x0", x0, x_t)
        if self.output == "logits":
            return x0.log()
        if self.output == "x0":
            return x0
        if (s < torch.finfo(x_t.dtype).tiny).any():
            raise InvalidParameter(
                f"snr = {np.max(snr):g} leaves no noise, and {self.output!r} is "
                "undefined there; give t > 0"
            )
        eps = (x_t - column(a, x_t) * x0) / column(s, x_t)
        if self.output == "eps":
            return eps
        if self.output == "v":
            return column(a, x_t) * eps - column(s, x_t) * x0
        if self.output == "flow":
            return eps - x0
        return -eps / column(_gain(self.scale, snr) * s, x_t)

    @checked
    def read(self, output: Tensor, x_t: Tensor, snr: ArrayLike) -> Prediction:
        """Posterior mean and variance values; raises InvalidParameter for a wrong shape."""
        variance = None
        if self.learned_variance:
            output, variance = split_channels(output, x_t)
        if output.shape != x_t.shape and self.output != "logits":
            raise InvalidParameter(
                f"the network returned {tuple(output.shape)} for an input {tuple(x_t.shape)}; "
                "the shapes must be equal, or give learned_variance=True if it returns twice as "
                "many channels"
            )
        return Prediction(self.clean(output, x_t, snr), variance)


class EDMCoefficients(NamedTuple):
    """Coefficients of EDM, arrays of the shape of sigma; see the module's equation."""

    skip: FloatArray
    out: FloatArray
    inner: FloatArray
    noise: FloatArray


@checked
def edm_coefficients(
    sigma: ArrayLike, sigma_data: float = 0.5, time_scale: float = 0.25
) -> EDMCoefficients:
    """Coefficients c_skip, c_out, c_in, c_noise of EDM.

    Parameters
    ----------
    sigma : float or array
        Noise over signal amplitude, above 0.
    sigma_data : float
        Standard deviation of the data for which the network was made.
    time_scale : float
        The factor k of c_noise = k ln sigma.

    Returns
    -------
    EDMCoefficients

    Raises
    ------
    InvalidParameter
        If a number is not positive.

    Notes
    -----
    Validity: float64; for white Gaussian data of this standard deviation F = 0 is exact.

    References
    ----------
    Karras et al., arXiv 2206.00364, Table 1.

    Examples
    --------
    >>> [round(float(c), 6) for c in edm_coefficients(0.5)]
    [0.5, 0.353553, 1.414214, -0.173287]
    """
    noise = reals("sigma", sigma, 1e-100, 1e100)
    data = number("sigma_data", sigma_data, above=0)
    scale = number("time_scale", time_scale, above=0)
    both = np.hypot(noise, data)
    return EDMCoefficients(
        (data / both) ** 2, noise * data / both, 1 / both, np.asarray(scale * np.log(noise))
    )


class Preconditioned(nn.Module):
    """A network F of EDM as one that returns E[x0 | x] for x = x0 + sigma eps and sigma.

    It goes with ``Parameterisation("x0", "ve")`` and the noise conditioning
    :class:`~hierdiff.validation.diffusion.schedules.Sigma`; its layers are named ``inner. ...``.

    Parameters
    ----------
    inner : nn.Module
        Called as inner(c_in x, c_noise), with a third argument for the condition if there is one.
    sigma_data, time_scale : float
        As in :func:`edm_coefficients`.
    smallest, largest : float
        Range of sigma in training; beyond it c_noise is that of the nearest end.
    negative : bool
        Whether F has the opposite sign, as "v_prediction" of diffusers' EDM schedulers says.

    Raises
    ------
    InvalidParameter
        If a number is not positive, or the range is empty.

    Notes
    -----
    Validity: sigma >= 0.  Below ``smallest`` the answer is x up to c_out ~ sigma times F.

    Examples
    --------
    >>> class Zero(nn.Module):
    ...     def forward(self, x: Tensor, time: Tensor) -> Tensor:
    ...         return torch.zeros_like(x)
    >>> Preconditioned(Zero())(torch.ones(1, 1), torch.tensor([0.5]))
    tensor([[0.5000]])
    """

    @checked
    def __init__(
        self, inner: nn.Module, sigma_data: float = 0.5, time_scale: float = 0.25,
        smallest: float = 0.002, largest: float = 80.0, negative: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inner, self.negative = inner, negative
        self.sigma_data = number("sigma_data", sigma_data, above=0)
        self.time_scale = number("time_scale", time_scale, above=0)
        self.smallest = number("smallest", smallest, above=0)
        self.largest = number("largest", largest, above=self.smallest)

    def forward(self, x: Tensor, sigma: Tensor, *condition: Tensor) -> Tensor:
        """Posterior mean of x0."""
        tensor("x", x, ...)
        levels = tensor("sigma", sigma, len(x)).detach().double().cpu().numpy()
        # sigma = 0 leaves x as it is; a number this small is 0 in the type of x
        c = edm_coefficients(np.maximum(levels, 1e-30), self.sigma_data, self.time_scale)
        known = np.clip(levels, self.smallest, self.largest)
        time = edm_coefficients(known, self.sigma_data, self.time_scale).noise
        given = torch.as_tensor(time, dtype=x.dtype).to(x.device)
        found: Tensor = self.inner(column(c.inner, x) * x, given, *condition)
        _alike("the output", found, x)
        return column(c.skip, x) * x + column(-c.out if self.negative else c.out, x) * found


@checked
def amplitudes(snr: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Amplitudes of signal and noise, a and s, in float64.

    Parameters
    ----------
    snr : float or array
        In [0, inf].

    Returns
    -------
    pair of arrays
        Of the shape of ``snr``.

    Notes
    -----
    Validity: a^2 + s^2 = 1 to rounding; neither is found by subtraction.

    Examples
    --------
    >>> [float(x) for x in amplitudes(np.inf)]
    [1.0, 0.0]
    """
    ratio = snr_of(snr)
    with np.errstate(divide="ignore", over="ignore"):
        return 1 / np.sqrt(1 + 1 / ratio), 1 / np.sqrt(1 + ratio)


@checked
def column(values: ArrayLike, like: Tensor) -> Tensor:
    """Numbers, one or one per sample, as a tensor that broadcasts against ``like`` [n, ...]."""
    array = np.asarray(values, dtype=float)
    if array.ndim and array.shape != tuple(like.shape[:1]):
        raise InvalidParameter(
            f"values have shape {array.shape} for a tensor of shape {tuple(like.shape)}; give one "
            "number, or one per sample"
        )
    tensor = torch.as_tensor(array, dtype=like.dtype).to(like.device)
    return tensor.reshape(-1, *(1,) * (like.ndim - 1)) if array.ndim else tensor


@checked
def split_channels(output: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the one axis along which ``output`` is twice as long as ``x_t``."""
    longer = [k for k, (o, x) in enumerate(zip(output.shape, x_t.shape, strict=False)) if o != x]
    if output.ndim != x_t.ndim or len(longer) != 1 or 2 * x_t.shape[longer[0]] != (
        output.shape[longer[0]]
    ):  # fmt: skip
        raise InvalidParameter(
            f"the network returned {tuple(output.shape)} for an input {tuple(x_t.shape)}; with "
            "learned_variance=True one axis must be twice as long, else leave it out"
        )
    first, second = output.chunk(2, dim=longer[0])
    return first, second


def _alike(name: str, value: Tensor, x_t: Tensor) -> None:
    tensor("x_t", x_t, ...)
    if value.shape != x_t.shape:
        raise InvalidParameter(
            f"{name} has shape {tuple(value.shape)} and x_t {tuple(x_t.shape)}; give equal shapes"
        )


def _gain(scale: Scale, snr: ArrayLike) -> FloatArray:
    """The factor c by which the network's input differs from x_t."""
    a, s = amplitudes(snr)
    if scale in ("vp", "evidence"):
        return np.ones_like(a)
    if scale == "flow":
        return np.asarray(1 / (a + s))
    if (a == 0).any():
        raise InvalidParameter(
            "snr = 0 is infinite noise at scale 've'; give t < 1, or GaussianNoise('linear')"
        )
    return np.asarray(1 / a)
