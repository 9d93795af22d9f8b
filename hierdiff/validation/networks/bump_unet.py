r"""Conditional networks on images of one bump: labels are positions, not classes.

An ADM U-Net is conditioned on the coordinates (x, y) of the bump.  They are embedded as sines of
geometric frequencies, one embedding per coordinate, added to the embedding of the time,

.. math:: c(x, y) = W\,[\sin \omega_k x, \cos \omega_k x, \sin \omega_k y, \cos \omega_k y] + b ,

without guidance.  It predicts eps on the linear schedule.

This embedding holds the order of positions before anything is learned.  The *attenuated* embedding
does not: the embedding of the position has a small amplitude f, and beside it stands, at full
amplitude, that of another position :math:`\pi(x, y)`, a fixed random permutation of all labels,

.. math:: c_f(x, y) = W\,[f\, \phi(x, y),\ \phi(\pi(x, y))] + b ,

a manifold of two dimensions whose order means nothing.  The network has to learn which half counts.

A coordinate that is NaN is the null label: its sines and cosines are zero, and the image may be
that of the other coordinate alone, a stripe.

A perceptron is a second network for the same images, which learns them in a tenth of the time.  It
has no convolutions, so neighbouring places share nothing but their embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hierdiff._lazy import renamed
from hierdiff.checks import checked
from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import stream
from hierdiff.validation._checks import layers_number, one_per_row, size_number, tensor
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.networks._blocks import Block, NoiseEmbedding
from hierdiff.validation.networks.adm import ADMConfig, ADMUNet

__all__ = [
    "AttenuatedEmbedding",
    "BumpPerceptron",
    "PositionEmbedding",
    "attenuate_position",
    "bump_mlp",
    "bump_unet",
    "encoder_layer",
]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(
        __name__,
        {
            "FaintCode": "AttenuatedEmbedding",
            "PlaceCode": "PositionEmbedding",
            "tell_faintly": "attenuate_position",
        },
    )

_FREQUENCIES = 8
_CODE = 64  # features of the noise level and of the position in a perceptron


class PositionEmbedding(nn.Module):
    """Embedding of a position (x, y) in pixels, as wide as that of the time.

    Parameters
    ----------
    size : int
        Pixels on a side: the longest wave is twice as long.
    width : int

    Examples
    --------
    >>> PositionEmbedding(16, 32)(torch.zeros(3, 2)).shape
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
        """Sines and cosines of positions [n, 2], before any weight."""
        if tensor("place", place).ndim != 2 or place.shape[1] != 2:
            raise InvalidParameter(f"places have shape {tuple(place.shape)}; give [n, 2], x and y")
        angles = (place.to(self.frequencies)[:, :, None] * self.frequencies).flatten(1)
        return torch.cat([angles.sin(), angles.cos()], dim=1).nan_to_num(nan=0.0)

    def forward(self, place: Tensor) -> Tensor:
        """[n, 2] to [n, width]."""
        code: Tensor = self.net(self.waves(place))
        return code


class AttenuatedEmbedding(PositionEmbedding):
    """Embedding of a position at a small amplitude, beside that of an unrelated position.

    Parameters
    ----------
    bumps : Bumps
        Whose labels are permuted at random; a position takes part with the label next to it.
    width : int
    attenuation : float
        Amplitude of the true embedding, >= 0.
    seed : int
        Names the permutation.

    Raises
    ------
    InvalidParameter
        If the amplitude is negative or labels are held out.

    Examples
    --------
    >>> bumps = Bumps(size=16, margin=3)
    >>> AttenuatedEmbedding(bumps, 32, 0.1, 0)(torch.from_numpy(bumps.labels)).shape
    torch.Size([100, 32])
    """

    other: Tensor

    @checked(width=size_number)
    def __init__(self, bumps: Bumps, width: int, attenuation: float, seed: int) -> None:
        super().__init__(bumps.size, width)
        if not (np.isfinite(attenuation) and attenuation >= 0) or bumps.held_out:
            raise InvalidParameter(
                f"attenuation = {attenuation} must be finite and >= 0, and no labels held out"
            )
        self.attenuation = attenuation
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
        true = self.attenuation * self.waves(place)  # which checks the shape
        rows = [((place[:, k] - self.low) / self.step[k]).round().long().clamp(0, n - 1)
                for k, n in enumerate(self.shape)]  # fmt: skip
        other = self.other[rows[0] * self.shape[1] + rows[1]]
        code: Tensor = self.net(torch.cat([true, self.waves(other)], dim=1))
        return code


@checked
def bump_unet(
    bumps: Bumps, noise: NoiseProcess | None = None, *, channels: int = 32,
    multipliers: tuple[float, ...] = (1, 2), blocks: int = 1, attenuation: float | None = None,
    seed: int = 0,
) -> ADMUNet:  # fmt: skip
    """An ADM U-Net for one-channel images, conditioned on a position.

    Its attribute ``feature_layer`` names the last layer of the encoder.

    Parameters
    ----------
    bumps : Bumps
        The images, of which the network takes the size.
    noise : NoiseProcess, optional
        Not used: every Gaussian process has the same network.
    channels, multipliers, blocks
        As in :class:`hierdiff.validation.networks.adm.ADMConfig`; attention at the lowest
        resolution.
    attenuation : float, optional
        Amplitude of the true position in an :class:`AttenuatedEmbedding`; by default the positions
        have a :class:`PositionEmbedding`.
    seed : int
        Names the stream of the false positions of an :class:`AttenuatedEmbedding`.

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
    Liang et al., arXiv 2402.03305, whose network has the same parts; its sizes could not be
    confirmed.
    """
    lowest = 2 ** (len(multipliers) - 1)
    config = ADMConfig(
        bumps.size, channels, multipliers, blocks, (lowest,), head_channels=32, classes=1,
        learned_variance=False, image_channels=1,
    )  # fmt: skip
    network = ADMUNet(config)
    network.label_emb = PositionEmbedding(bumps.size, 4 * channels)
    if attenuation is not None:
        attenuate_position(network, bumps, attenuation, seed)
    network.feature_layer = encoder_layer(network)
    return network


class BumpPerceptron(nn.Module):
    r"""Residual perceptron that returns eps of images of one bump, given the index of the noise.

    .. math:: \hat\epsilon = s\,x_t + a\,F(x_t, \log\mathrm{snr}, x, y)

    with :math:`F = 0` at the start, where the estimate of white images is exact.

    Parameters
    ----------
    bumps : Bumps
        The images.
    width, depth : int
        Features and residual blocks.
    attenuation : float, optional
        Amplitude of the true position in an :class:`AttenuatedEmbedding`.
    seed : int
        Names the stream of its false positions.

    Raises
    ------
    InvalidParameter
        If a size is below one, or the embedding refuses the amplitude.

    Notes
    -----
    Validity: noise indices of the linear schedule.

    Examples
    --------
    >>> network = BumpPerceptron(Bumps(size=8, margin=2), width=16, depth=1)
    >>> network(torch.ones(3, 1, 8, 8), torch.tensor([0.0, 9, 99]), torch.ones(3, 2)).shape
    torch.Size([3, 1, 8, 8])
    """

    log_snr: Tensor

    @checked(width=size_number, depth=layers_number)
    def __init__(
        self, bumps: Bumps, *, width: int = 256, depth: int = 2,
        attenuation: float | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = bumps.size
        levels = np.log(DiscreteSchedule.linear().snr).astype(np.float32)
        self.register_buffer("log_snr", torch.from_numpy(levels))
        self.code = NoiseEmbedding(_CODE)
        self.place = PositionEmbedding(bumps.size, _CODE) if attenuation is None else (
            AttenuatedEmbedding(bumps, _CODE, attenuation, seed))  # fmt: skip
        self.embed = nn.Linear(bumps.size**2, width)
        self.blocks = nn.ModuleList(Block(width, _CODE) for _ in range(depth))
        self.head = nn.Linear(width, bumps.size**2)
        self.feature_layer = f"blocks.{depth - 1}"
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, time: Tensor, place: Tensor) -> Tensor:
        """Images [n, 1, size, size], indices [n] and positions [n, 2] to eps."""
        tensor("x", x, None, 1, self.size, self.size)
        index = one_per_row("time", time, x).round().long()
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(self.log_snr):
            raise InvalidParameter(
                f"time runs from {int(index.min())} to {int(index.max())}; give indices from 0 to "
                f"{len(self.log_snr) - 1}"
            )
        level = self.log_snr[index]
        a, s = (torch.sigmoid(z).sqrt()[:, None] for z in (level, -level))
        flat = x.flatten(1)
        h, code = self.embed(flat)[:, None], self.code(level) + self.place(place)
        for block in self.blocks:
            h = block(h, code)
        answer: Tensor = (s * flat + a * self.head(h[:, 0])).view_as(x)
        return answer


@checked
def bump_mlp(
    bumps: Bumps, noise: NoiseProcess | None = None, *, width: int = 256, depth: int = 2,
    attenuation: float | None = None, seed: int = 0,
) -> BumpPerceptron:  # fmt: skip
    """A perceptron for images of one bump, conditioned on a position.

    Parameters
    ----------
    bumps : Bumps
        The images, of which the network takes the size.
    noise : NoiseProcess, optional
        Not used: the network reads indices of the linear schedule.
    width, depth, attenuation, seed
        As in :class:`BumpPerceptron`.

    Returns
    -------
    BumpPerceptron

    Raises
    ------
    InvalidParameter
        As there.

    Notes
    -----
    Validity: the weights are torch's current random ones.
    """
    return BumpPerceptron(bumps, width=width, depth=depth, attenuation=attenuation, seed=seed)


@checked
def attenuate_position(network: ADMUNet, bumps: Bumps, attenuation: float, seed: int) -> None:
    """Replace the :class:`PositionEmbedding` of a network by an :class:`AttenuatedEmbedding`."""
    network.label_emb = AttenuatedEmbedding(bumps, 4 * network.config.channels, attenuation, seed)


@checked
def encoder_layer(network: nn.Module) -> str:
    """Name of the last layer of the encoder, before the bottleneck."""
    return f"input_blocks.{len(list(network.get_submodule('input_blocks').children())) - 1}"
