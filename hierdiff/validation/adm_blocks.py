r"""Blocks of the ADM U-Net (:mod:`hierdiff.validation.adm`).

.. math::
   h = \text{conv}(\text{SiLU}(\text{norm}(x))), \qquad
   y = \text{skip}(x) + \text{conv}\big(\text{SiLU}((1 + \gamma)\,\text{norm}(h) + \beta)\big),
   \qquad (\gamma, \beta) = W\,\text{SiLU}(\text{time})

The block that resizes does so between SiLU and the first convolution, and on the skip.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hierdiff.checks import checked, fraction, instance, one_of
from hierdiff.errors import InvalidParameter
from hierdiff.validation._tensors import tensor
from hierdiff.validation._weights import size_number

__all__ = ["AttentionBlock", "Norm", "ResBlock", "Stage", "full_precision", "sinusoid"]

_GROUPS = 32


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
    """Residual block that knows the time; ``resize`` is -1 (halve), 0 or 1 (double)."""

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
