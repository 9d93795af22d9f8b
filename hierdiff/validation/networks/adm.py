r"""The ADM U-Net of guided-diffusion, with the names of its published weights.

==================  ============================================================================
module              what it is
==================  ============================================================================
``time_embed``      sines of the time (width C), then two linear layers (width 4 C)
``input_blocks``    a convolution; per resolution r residual blocks, then one that halves the size
``middle_block``    residual block, attention, residual block
``output_blocks``   per resolution r + 1 residual blocks on the output joined with the stored one
                    of the same size; the last of them doubles the size
``out``             normalisation, SiLU, convolution: eps, then the variance values
==================  ============================================================================

The blocks are those of :mod:`hierdiff.validation.networks.adm`.  Normalisations, the time and the
head stay in float32 under autocast.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hierdiff._lazy import renamed
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    fraction,
    instance,
    memory,
    number,
    one_of,
    whole,
)
from hierdiff.data.digits import LabelledImages
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.validation._checks import (
    check_names,
    labels_of,
    layers_number,
    one_per_row,
    size_number,
    tensor,
)

__all__ = [
    "ADM_64_CONDITIONAL",
    "ADM_256",
    "ADM_256_CONDITIONAL",
    "ADMConfig",
    "ADMUNet",
    "AttentionBlock",
    "Norm",
    "ResBlock",
    "Stage",
    "from_state_dict",
    "full_precision",
    "image_unet",
    "meta_init",
    "sinusoid",
]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(__name__, {"empty": "meta_init"})


@dataclass(frozen=True)
class ADMConfig:
    """Architecture of an ADM U-Net.

    Parameters
    ----------
    image_size : int
        Pixels on a side.
    channels : int
        C, width of the first resolution at multiplier 1.
    multipliers : tuple of float
        Width of each resolution over C.
    blocks : int
        Residual blocks per resolution.
    attention : tuple of int
        Downsampling factors at which there is attention.
    head_channels : int
        Channels per head.
    classes : int, optional
        Number of labels of a conditional network.
    new_attention_order : bool
        Channels of queries, keys, values stand as (3, heads, width) instead of (heads, 3, width).
    learned_variance : bool
        Six channels are returned instead of three.
    dropout : float
        Probability, in training only.
    image_channels : int
        Channels of the image.

    Raises
    ------
    InvalidParameter
        If the sizes do not divide.

    Notes
    -----
    Validity: scale-shift normalisation and residual blocks that resize, as in every published
    ADM of ImageNet.

    References
    ----------
    Dhariwal and Nichol, arXiv 2105.05233.

    Examples
    --------
    >>> ADM_256.widths
    (256, 256, 512, 512, 1024, 1024)
    """

    image_size: int
    channels: int
    multipliers: tuple[float, ...]
    blocks: int
    attention: tuple[int, ...]
    head_channels: int = 64
    classes: int | None = None
    new_attention_order: bool = False
    learned_variance: bool = True
    dropout: float = 0.0
    image_channels: int = 3

    def __post_init__(self) -> None:
        check_fields(self, image_size=size_number, channels=size_number, blocks=layers_number,
                     head_channels=count, dropout=fraction, image_channels=size_number)  # fmt: skip
        if self.classes is not None:
            whole("classes", self.classes, low=1, high=2**20)
        if not 1 <= len(self.multipliers) <= 16:
            raise InvalidParameter(
                f"multipliers has {len(self.multipliers)} entries; give one per resolution, 1 to 16"
            )
        for k, multiplier in enumerate(self.multipliers):
            number(f"multipliers[{k}]", multiplier, above=0, high=2**16)
        for k, factor in enumerate(self.attention):
            whole(f"attention[{k}]", factor, low=1)
        smallest = 2 ** (len(self.multipliers) - 1)
        if self.image_size % smallest:
            raise InvalidParameter(
                f"image_size = {self.image_size} must be a multiple of {smallest}, as there are "
                f"{len(self.multipliers)} resolutions; change one of the two"
            )
        for factor, width in zip(
            (2**k for k in range(len(self.multipliers))), self.widths, strict=True
        ):
            # the blocks in the middle, at the lowest resolution, always have attention
            attends = factor in self.attention or factor == smallest
            heads = self.head_channels if attends else 1
            if width < 32 or width % 32 or width % heads:
                raise InvalidParameter(
                    f"{width} channels at 1/{factor} of the size must be a multiple of 32 and of "
                    f"head_channels = {self.head_channels}; change channels or multipliers"
                )
        # a residual block has two convolutions of 9 w^2 weights at least, there is one per
        # resolution on the way down and one on the way up
        weights = sum(36.0 * self.blocks * width**2 for width in self.widths)
        memory(f"a network of {weights:.2g} weights or more", 4 * weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each resolution."""
        return tuple(int(m * self.channels) for m in self.multipliers)


ADM_256 = ADMConfig(256, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32))
"""256 x 256, unconditional, linear schedule: 552,814,086 parameters."""

ADM_256_CONDITIONAL = ADMConfig(256, 256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), classes=1000)
"""256 x 256, conditional, linear schedule: 553,838,086 parameters."""

ADM_64_CONDITIONAL = ADMConfig(
    64, 192, (1, 2, 3, 4), 3, (2, 4, 8), classes=1000, new_attention_order=True, dropout=0.1
)
"""64 x 64, conditional, cosine schedule, new attention order: 295,904,454 parameters."""

_LIMIT = 2**31  # elements of one tensor above which kernels have returned zeros in silence
_GROUPS = 32


class ADMUNet(nn.Module):
    """ADM U-Net.

    Parameters
    ----------
    config : ADMConfig
        The architecture.

    Notes
    -----
    Validity: equal to guided-diffusion's ``UNetModel`` to rounding (5e-5 in float32 at outputs of
    order 1); image, time [n] and, if conditional, labels [n] to [n, 6 or 3, h, w].

    References
    ----------
    Dhariwal and Nichol, arXiv 2105.05233.

    Examples
    --------
    >>> net = ADMUNet(ADMConfig(8, 32, (1, 2), 1, (2,), head_channels=32))
    >>> net(torch.zeros(2, 3, 8, 8), torch.tensor([0.0, 999.0])).shape
    torch.Size([2, 6, 8, 8])
    """

    label_emb: nn.Module  # only with classes; a place or a text may be coded instead
    feature_layer: str = ""  # submodule whose features are read, where a builder names one

    @checked
    def __init__(self, config: ADMConfig) -> None:
        super().__init__()
        self.config = config
        C, time = config.channels, 4 * config.channels
        self.time_embed = nn.Sequential(nn.Linear(C, time), nn.SiLU(), nn.Linear(time, time))
        if config.classes is not None:
            self.label_emb = nn.Embedding(config.classes, time)
        widths = config.widths
        self.input_blocks, stored = _descent(config, time)
        last = widths[-1]
        self.middle_block = Stage(
            ResBlock(last, last, time, config.dropout),
            AttentionBlock(last, config.head_channels, config.new_attention_order),
            ResBlock(last, last, time, config.dropout),
        )
        self.output_blocks = _ascent(config, time, stored)
        returned = config.image_channels * (1 + config.learned_variance)
        self.out = nn.Sequential(
            Norm(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], returned, 3, padding=1)
        )
        # an untrained network starts from zero, as the published ones did
        for module in self.modules():
            if isinstance(module, ResBlock):
                _zero(module.out_layers[-1])
            elif isinstance(module, AttentionBlock):
                _zero(module.proj_out)
        _zero(self.out[-1])

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [n, c, h, w] and times [n] to eps, or eps and variance values along axis 1."""
        self._check(x, time, labels)
        with full_precision(x):
            code = self.time_embed(sinusoid(time, self.config.channels))
            if labels is not None:
                code = code + self.label_emb(labels)
        h, stored = x, []
        for stage in self.input_blocks:
            h = stage(h, code)
            stored.append(h)
        h = self.middle_block(h, code)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, stored.pop()], dim=1), code)
        with full_precision(x):
            answer: Tensor = self.out(h.to(x.dtype))
        return answer

    def _check(self, x: Tensor, time: Tensor, labels: Tensor | None) -> None:
        config = self.config
        tensor("x", x, ...)
        one_per_row("time", time, x)
        step = 2 ** (len(config.multipliers) - 1)
        if x.ndim != 4 or x.shape[1] != config.image_channels or any(k % step for k in x.shape[2:]):
            raise InvalidParameter(
                f"images have shape {tuple(x.shape)}; give [n, {config.image_channels}, h, w] with "
                f"h and w multiples of {step}"
            )
        if (labels is None) != (config.classes is None):
            state = "conditional" if config.classes else "unconditional"
            raise InvalidParameter(
                f"the network is {state}; " + ("give a label" if config.classes else "give none")
            )
        if labels is not None and isinstance(self.label_emb, nn.Embedding):
            labels_of("labels", labels, x, self.label_emb.num_embeddings)
        widest = 2 * config.widths[0] * x.shape[2] * x.shape[3]
        if len(x) * widest >= _LIMIT:
            raise InvalidParameter(
                f"a batch of {len(x)} images makes tensors of 2**31 elements or more; give "
                f"batch_size <= {(_LIMIT - 1) // widest}"
            )


@checked
def image_unet(
    data: LabelledImages, noise: NoiseProcess | None = None, *, channels: int = 32,
    multipliers: tuple[float, ...] = (1, 2), blocks: int = 1, attention: tuple[int, ...] = (2,),
    conditional: bool = False,
) -> ADMUNet:  # fmt: skip
    """An ADM U-Net of the size of labelled images, which returns one prediction per pixel.

    Parameters
    ----------
    data : LabelledImages
        Square images.
    noise : NoiseProcess, optional
        Not used: every Gaussian process has the same network.
    channels, multipliers, blocks, attention
        See :class:`ADMConfig`.
    conditional : bool
        Whether it is conditioned on the label; it then has one label more than there are classes,
        the null label.

    Returns
    -------
    ADMUNet

    Raises
    ------
    InvalidParameter
        If the sizes do not divide.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.

    Examples
    --------
    >>> import numpy as np
    >>> data = LabelledImages(np.zeros((3, 1, 8, 8), np.float32), np.array([0, 1, 1]))
    >>> image_unet(data, conditional=True).label_emb.num_embeddings
    3
    """
    classes = int(data.labels.max()) + 1 if conditional and len(data) else 0
    config = ADMConfig(
        data.images.shape[-1], channels, multipliers, blocks, attention, head_channels=32,
        classes=classes + 1 if classes else None, learned_variance=False,
        image_channels=data.images.shape[1],
    )  # fmt: skip
    return ADMUNet(config)


@checked
def meta_init(config: ADMConfig) -> ADMUNet:
    """The network without memory for its parameters, on torch's meta device.

    Parameters
    ----------
    config : ADMConfig
        The architecture.

    Returns
    -------
    ADMUNet

    Notes
    -----
    Validity: for names, shapes and counts.

    Examples
    --------
    >>> net = meta_init(ADM_256)
    >>> len(net.state_dict()), sum(p.numel() for p in net.parameters())
    (566, 552814086)
    """
    with torch.device("meta"):
        return ADMUNet(config)


@checked
def from_state_dict(state_dict: Mapping[str, Tensor], config: ADMConfig) -> ADMUNet:
    """Network with given weights, by the original names.

    Parameters
    ----------
    state_dict : mapping of str to tensor
        As in the published files; float16 is raised to float32.
    config : ADMConfig
        The architecture that the weights belong to.

    Returns
    -------
    ADMUNet
        In evaluation mode; it uses the memory of float32 tensors given.

    Raises
    ------
    InvalidParameter
        If a name is missing or not known, or a shape differs; the first ones are named.

    Notes
    -----
    Validity: all names and shapes are compared before anything is loaded.

    Examples
    --------
    >>> config = ADMConfig(8, 32, (1,), 1, (), head_channels=32)
    >>> net = ADMUNet(config)
    >>> same = from_state_dict(net.state_dict(), config)
    >>> bool((same.out[2].weight == net.out[2].weight).all())
    True
    """
    net = meta_init(config)
    check_names(state_dict, net)
    half = (torch.float16, torch.bfloat16)
    weights = {k: w.float() if w.dtype in half else w for k, w in state_dict.items()}
    net.load_state_dict(weights, strict=True, assign=True)
    return net.eval()


def _descent(config: ADMConfig, time: int) -> tuple[nn.ModuleList, list[int]]:
    """Stages down to the smallest size, and the channels each of them stores."""
    width = config.widths[0]
    stages: list[nn.Module] = [Stage(nn.Conv2d(config.image_channels, width, 3, padding=1))]
    stored = [width]
    for level, wide in enumerate(config.widths):
        for _ in range(config.blocks):
            stages.append(Stage(*_layers(config, width, wide, time, level)))
            width = wide
            stored.append(width)
        if level < len(config.widths) - 1:
            stages.append(Stage(ResBlock(width, width, time, config.dropout, resize=-1)))
            stored.append(width)
    return nn.ModuleList(stages), stored


def _ascent(config: ADMConfig, time: int, stored: list[int]) -> nn.ModuleList:
    """Stages up to the full size."""
    stages: list[nn.Module] = []
    width, left = config.widths[-1], list(stored)
    for level in reversed(range(len(config.widths))):
        for block in range(config.blocks + 1):
            layers = _layers(config, width + left.pop(), config.widths[level], time, level)
            width = config.widths[level]
            if level and block == config.blocks:
                layers.append(ResBlock(width, width, time, config.dropout, resize=1))
            stages.append(Stage(*layers))
    return nn.ModuleList(stages)


def _layers(config: ADMConfig, inner: int, outer: int, time: int, level: int) -> list[nn.Module]:
    """A residual block, with attention where this resolution has it."""
    layers: list[nn.Module] = [ResBlock(inner, outer, time, config.dropout)]
    if 2**level in config.attention:
        new = config.new_attention_order
        layers.append(AttentionBlock(outer, config.head_channels, new))
    return layers


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def full_precision(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast off on the device of x; the meta device has none."""
    if tensor("x", x).device.type == "meta":
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _groups(name: str, value: Any) -> int:
    """A number of channels that the groups of a normalisation divide."""
    channels = size_number(name, value)
    if channels % _GROUPS:
        raise InvalidParameter(f"{name} = {channels} must be a multiple of {_GROUPS}")
    return channels


class Norm(nn.GroupNorm):
    """Normalisation in 32 groups, in float32 at least."""

    @checked(channels=_groups)
    def __init__(self, channels: int) -> None:
        super().__init__(_GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Of the type of x."""
        tensor("x", x, None, self.num_channels, ...)
        if x.dtype in (torch.float16, torch.bfloat16):
            with full_precision(x):
                return super().forward(x.float()).to(x.dtype)
        return super().forward(x)


class ResBlock(nn.Module):
    """Residual block that depends on the time; ``resize`` is -1 (halve), 0 or 1 (double)."""

    @checked(
        inner=_groups,
        outer=_groups,
        time=size_number,
        dropout=fraction,
        resize=partial(one_of, options=(-1, 0, 1)),
    )
    def __init__(self, inner: int, outer: int, time: int, dropout: float, resize: int = 0) -> None:
        super().__init__()
        self.resize, self.inner, self.time = resize, inner, time
        self.in_layers = nn.Sequential(
            Norm(inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outer))
        self.out_layers = nn.Sequential(
            Norm(outer), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(outer, outer, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[n, inner, h, w] and [n, time] to [n, outer, h', w']."""
        tensor("x", x, None, self.inner, None, None)
        tensor("time", time, len(x), self.time)
        norm, act, conv = self.in_layers
        h = conv(self._resized(act(norm(x))))
        gain, shift = self.emb_layers(time)[:, :, None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        h = norm(h) * (1 + gain) + shift
        for layer in rest:
            h = layer(h)
        out: Tensor = self.skip_connection(self._resized(x)) + h
        return out

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize < 0:
            return functional.avg_pool2d(x, 2)
        return functional.interpolate(x, scale_factor=2, mode="nearest") if self.resize else x


class AttentionBlock(nn.Module):
    """Attention of all pixels to all pixels, added to the input."""

    @checked(channels=_groups, head_channels=size_number)
    def __init__(self, channels: int, head_channels: int, new_order: bool) -> None:
        super().__init__()
        if channels % head_channels:
            raise InvalidParameter(
                f"head_channels = {head_channels} must divide channels = {channels}"
            )
        self.heads, self.new_order = channels // head_channels, new_order
        self.norm = Norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[n, channels, h, w] to the same; the time is not used."""
        flat = tensor("x", x, None, self.norm.num_channels, None, None).flatten(2)
        qkv = self.qkv(self.norm(flat))
        n, _, pixels = flat.shape
        axes = (n, 3, self.heads, -1, pixels) if self.new_order else (n, self.heads, 3, -1, pixels)
        q, k, v = qkv.reshape(axes).unbind(1 if self.new_order else 2)
        q, k, v = (part.transpose(-1, -2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out = flat + self.proj_out(mixed.transpose(-1, -2).reshape(flat.shape))
        attended: Tensor = out.reshape(x.shape)
        return attended


class Stage(nn.Sequential):
    """Layers that may need the time, called as one, so that a hook sees their result."""

    def __init__(self, *layers: nn.Module) -> None:
        # a slice of a Sequential is made of an ordered table
        if not (len(layers) == 1 and isinstance(layers[0], OrderedDict)):
            for i, layer in enumerate(layers):
                instance(f"layers[{i}]", layer, nn.Module)
        super().__init__(*layers)

    def forward(self, input: Any, time: Any = None) -> Tensor:
        """Through all layers."""
        x: Tensor = tensor("input", input, None, None, None, None)
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, time)
        return x


def sinusoid(time: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of the time at width / 2 frequencies from 1 to 1e-4, [n, width]."""
    if size_number("width", width) % 2:
        raise InvalidParameter(f"width = {width} must be even")
    tensor("time", time)
    if time.ndim != 1:
        raise InvalidParameter(f"time has shape {tuple(time.shape)}; give [n]")
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=time.device)
    frequencies = torch.exp(-math.log(10000) * steps / half)
    angles = time[:, None].float() * frequencies
    code = torch.cat([angles.cos(), angles.sin()], dim=1)
    return code.to(time.dtype) if time.dtype == torch.float64 else code
