r"""A convolutional network that denoises chains of spins of any length.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
x_t, snr                noisy spins, a sigma + s z, and a^2 / s^2
e_i                     sqrt(snr (1 + snr)) x_i, half of the log odds of a spin that is seen alone
f_i                     what the rest of the chain adds to it
g                       features of neighbourhoods, averaged over the N sites
======================  =========================================================================

.. math:: \hat\sigma_i = \tanh(e_i + f_i), \qquad
   h = \text{gate}(W_1 * [x_t, \tanh e]), \quad u = U\big(\sqrt N\,(\bar h - g_0)\big), \quad
   f = f_0 + a f_1, \; (f_0, f_1) = W_3\, \text{gate}(W_2 * h)

Convolutions see a few neighbours, and a gated layer forms products of them.  What the chain as a
whole says about its class is in u, which scales and shifts the second convolution: deviations of an
average from its value g_0 at this noise level are of order 1 / sqrt(N), hence the factor.  Scales
and shifts depend on the noise level, on the label where one is given, and on log N.  The part f_1
is multiplied by the amplitude a of the signal, since messages of neighbours fade with it.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from hierdiff.checks import checked, whole
from hierdiff.data.ising_chains import IsingChains
from hierdiff.noise import NoiseProcess
from hierdiff.validation._checks import one_per_row, size_number, tensor
from hierdiff.validation.networks._blocks import LabelEmbedding, NoiseEmbedding, coded

__all__ = ["ChainDenoiser", "chain_conv"]

_CODE = 32
"""Features of noise level, label and length together."""


class ChainDenoiser(nn.Module):
    """Convolutions and one average over the chain; returns E[sigma | x_t] of spins -1 and +1.

    Parameters
    ----------
    width : int
        Features per spin.
    reach : int
        Neighbours on either side that each of the two convolutions sees.
    classes : int
        Labels of a conditional network, 0 for an unconditional one.

    Raises
    ------
    InvalidParameter
        If a size is not positive; later, for a label that the network does not have.

    Notes
    -----
    Validity: chains of any length; no label and the null label ``classes`` both mean unconditional.

    Examples
    --------
    >>> network = ChainDenoiser(width=8)
    >>> [network(torch.zeros(2, N), torch.zeros(2)).shape[1] for N in (5, 40)]
    [5, 40]
    """

    @checked(width=size_number, reach=partial(whole, low=0, high=64),
             classes=partial(whole, high=2**20))  # fmt: skip
    def __init__(self, *, width: int = 16, reach: int = 2, classes: int = 0) -> None:
        super().__init__()
        self.code = NoiseEmbedding(_CODE)
        self.size = nn.Linear(1, _CODE)
        self.first = nn.Conv1d(2, 2 * width, 2 * reach + 1, padding=reach)
        self.first_film = nn.Linear(_CODE, 4 * width)
        self.centre = nn.Linear(_CODE, width)
        self.whole = nn.Linear(width, _CODE)
        self.whole_film = nn.Linear(_CODE, 2 * _CODE)
        self.mixed = nn.Sequential(nn.Linear(2 * _CODE, _CODE), nn.SiLU())
        self.second = nn.Conv1d(width, 2 * width, 2 * reach + 1, padding=reach)
        self.second_film = nn.Linear(_CODE, 4 * width)
        self.head = nn.Conv1d(width, 2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # last, so that an unconditional network has the same weights without this option
        self.labels = LabelEmbedding(classes, _CODE) if classes else None

    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """Noisy spins [n, N], log SNR [n] and labels [n] to the posterior mean [n, N]."""
        return torch.tanh(self.field(x, log_snr, label))

    def field(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """E + f of the module's first lines: half of the log odds of every spin, [n, N]."""
        tensor("x", x, None, None)
        one_per_row("log_snr", log_snr, x)
        # beyond these every spin is certain, or nothing is seen at all
        log_snr = log_snr.to(x.dtype).clamp(-14, 14)
        code = coded(self.code, self.labels, log_snr, label)
        root = math.sqrt(x.shape[1])
        code = code + self.size(x.new_full((1, 1), math.log(root)))
        seen = torch.exp(log_snr / 2 + nn.functional.softplus(log_snr) / 2)[:, None] * x
        h = _gated(self.first(torch.stack([x, torch.tanh(seen)], dim=1)), self.first_film(code))
        scale, shift = self.whole_film(code).chunk(2, dim=1)
        found = self.whole(root * (h.mean(dim=2) - self.centre(code)))
        u = torch.tanh(found * torch.exp(scale.clamp(-6, 6)) + shift)
        code = self.mixed(torch.cat([u, code], dim=1))
        h = h + _gated(self.second(h), self.second_film(code))
        own, fading = self.head(h).unbind(dim=1)
        amplitude = torch.sigmoid(log_snr).sqrt()[:, None]
        field: Tensor = seen + own + amplitude * fading
        return field


def _gated(x: Tensor, film: Tensor) -> Tensor:
    """Scale and shift [n, 2 width, N], then products of pairs of features."""
    scale, shift = film[:, :, None].chunk(2, dim=1)
    gate, value = (x * (1 + scale) + shift).chunk(2, dim=1)
    return nn.functional.silu(gate) * value


@checked
def chain_conv(
    chains: IsingChains, noise: NoiseProcess | None = None, *, width: int = 16, reach: int = 2,
    conditional: bool = False,
) -> ChainDenoiser:  # fmt: skip
    """A convolutional network for the spins of chains.

    Parameters
    ----------
    chains : IsingChains
        The data, of which the network takes the number of classes.
    noise : NoiseProcess, optional
        Not used: every Gaussian process has the same network.
    width, reach : int
        As in :class:`ChainDenoiser`.
    conditional : bool
        Whether it is conditioned on the class.

    Returns
    -------
    ChainDenoiser

    Raises
    ------
    InvalidParameter
        If a size is not positive.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.

    Examples
    --------
    >>> chain_conv(IsingChains.by_coupling(6, 0.5))(torch.zeros(3, 6), torch.zeros(3)).shape
    torch.Size([3, 6])
    """
    return ChainDenoiser(width=width, reach=reach, classes=chains.n_classes if conditional else 0)
