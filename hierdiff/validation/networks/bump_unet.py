r"""Conditional networks on images of one bump: labels are places, not classes.

An ADM U-Net is told the coordinates (x, y) of the bump as sines of geometric frequencies, one code
per coordinate, added to the code of the time,

.. math:: c(x, y) = W\,[\sin \omega_k x, \cos \omega_k x, \sin \omega_k y, \cos \omega_k y] + b ,

without guidance.  It predicts eps on the linear schedule.

The code above tells the order of places before anything is learned.  A *faint* code does not:
beside the code of the place, at a small amplitude f, stands that of another place, at full one,
:math:`\pi(x, y)`, a fixed random exchange of all labels,

.. math:: c_f(x, y) = W\,[f\, \phi(x, y),\ \phi(\pi(x, y))] + b ,

a manifold of two dimensions whose order means nothing; which half matters has to be learned.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hierdiff.checks import checked
from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.validation._checks import size_number, tensor
from hierdiff.validation.networks.adm import ADMConfig, ADMUNet

__all__ = [
    "FaintCode",
    "PlaceCode",
    "bump_unet",
    "encoder_layer",
    "tell_faintly",
]

_FREQUENCIES = 8


class PlaceCode(nn.Module):
    """Code of a place (x, y) in pixels, as wide as the code of the time.

    Parameters
    ----------
    size : int
        Pixels on a side: the longest wave is twice as long.
    width : int

    Examples
    --------
    >>> PlaceCode(16, 32)(torch.zeros(3, 2)).shape
    torch.Size([3, 32])
    """

    frequencies: Tensor

    @checked(size=size_number, width=size_number)
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        waves = torch.pi / size * 2.0 ** torch.linspace(0, 4, _FREQUENCIES)
        self.register_buffer("frequencies", waves)
        self.net = nn.Linear(4 * _FREQUENCIES, width)

    def waves(self, place: Tensor) -> Tensor:
        """Sines and cosines of places [n, 2], before any weight."""
        if tensor("place", place).ndim != 2 or place.shape[1] != 2:
            raise InvalidParameter(f"places have shape {tuple(place.shape)}; give [n, 2], x and y")
        angles = (place.to(self.frequencies)[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, place: Tensor) -> Tensor:
        """[n, 2] to [n, width]."""
        code: Tensor = self.net(self.waves(place))
        return code


class FaintCode(PlaceCode):
    """Code of a place at a small amplitude, beside that of another place which means nothing.

    Parameters
    ----------
    bumps : Bumps
        Whose labels are exchanged at random; a place is exchanged with the label next to it.
    width : int
    faint : float
        Amplitude of the true code, >= 0.
    seed : int
        Names the exchange.

    Raises
    ------
    InvalidParameter
        If the amplitude is negative or labels are held out.

    Examples
    --------
    >>> bumps = Bumps(size=16, margin=3)
    >>> FaintCode(bumps, 32, 0.1, 0)(torch.from_numpy(bumps.labels)).shape
    torch.Size([100, 32])
    """

    other: Tensor

    @checked(width=size_number)
    def __init__(self, bumps: Bumps, width: int, faint: float, seed: int) -> None:
        super().__init__(bumps.size, width)
        if not (np.isfinite(faint) and faint >= 0) or bumps.held_out:
            raise InvalidParameter(
                f"faint = {faint} must be finite and >= 0, and no labels held out"
            )
        self.faint = faint
        self.net = nn.Linear(8 * _FREQUENCIES, width)
        labels = torch.from_numpy(bumps.labels)
        order = stream(seed, "exchange of labels").permutation(len(labels))
        columns = len(torch.unique(labels[:, 1]))
        self.shape = (len(labels) // columns, columns)
        self.step = (bumps.d_x, bumps.d_y)
        self.low = bumps.margin
        self.register_buffer("other", labels[torch.from_numpy(order)].float())

    def forward(self, place: Tensor) -> Tensor:
        """[n, 2] to [n, width]."""
        true = self.faint * self.waves(place)  # which looks at the place
        rows = [((place[:, k] - self.low) / self.step[k]).round().long().clamp(0, n - 1)
                for k, n in enumerate(self.shape)]  # fmt: skip
        other = self.other[rows[0] * self.shape[1] + rows[1]]
        code: Tensor = self.net(torch.cat([true, self.waves(other)], dim=1))
        return code


@checked
def bump_unet(
    size: int, *, channels: int = 32, multipliers: tuple[float, ...] = (1, 2), blocks: int = 1
) -> ADMUNet:
    """An ADM U-Net for one-channel images that is told a place.

    Parameters
    ----------
    size : int
        Pixels on a side.
    channels, multipliers, blocks
        As in :class:`hierdiff.validation.networks.adm.ADMConfig`; attention at the lowest
        resolution.

    Returns
    -------
    ADMUNet

    Raises
    ------
    InvalidParameter
        If the sizes do not divide.

    Notes
    -----
    Validity: the weights are torch's current random ones.

    References
    ----------
    Park et al., arXiv 2402.03305, whose network has the same parts; its sizes could not be
    confirmed.
    """
    lowest = 2 ** (len(multipliers) - 1)
    config = ADMConfig(
        size, channels, multipliers, blocks, (lowest,), head_channels=32, classes=1,
        learned_variance=False, image_channels=1,
    )  # fmt: skip
    network = ADMUNet(config)
    network.label_emb = PlaceCode(size, 4 * channels)
    return network


@checked
def tell_faintly(network: ADMUNet, bumps: Bumps, faint: float, seed: int) -> None:
    """Give a bump network a :class:`FaintCode` in place of its :class:`PlaceCode`."""
    network.label_emb = FaintCode(bumps, 4 * network.config.channels, faint, seed)


@checked
def encoder_layer(network: nn.Module) -> str:
    """Name of the last layer of the encoder, before the bottleneck."""
    return f"input_blocks.{len(list(network.get_submodule('input_blocks').children())) - 1}"
