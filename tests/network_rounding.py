r"""What float32 rounding does to a network's output: the source of tolerances of network tests.

Kernels differ in the order of their sums (threads, vector width, library), so two float32 runs of
one network differ by their rounding errors.  These are modelled as independent and of mean zero
(Higham and Mary, SIAM J. Sci. Comput. 41, A2815), with u = 2^-24 and n terms in a sum:

=====================  =============================================================================
operation              standard deviation of its error
=====================  =============================================================================
sum of products        u sqrt(n) max(sqrt(sum (w x)^2), abs(y)): partial sums that wander, or add up
normalisation          2 u (abs(x) + abs(mean)) / sd, times the weight, + u abs(b): four operations
SiLU                   2 u abs(y), and 2 u abs(x) for the operations that made its argument
attention              the sums of q k and of the mixture as above; the exponential 2 u
block (residual sum)   u abs(y)
time embedding         u abs(angle): the exponential of the frequency, one unit in the last place
=====================  =============================================================================

The network is run in float64, once as it is and a few times with such errors added at every
operation; the spread of the outputs is the amplification, computed and not fitted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LARGEST", "UNIT", "rounding_spread"]

UNIT = 2.0**-24
# two float32 runs whose errors have spread d differ by at most LARGEST d: the largest of 1e5
# normal numbers, P(abs(z) > 6) = 2e-9, and sqrt(2) for a difference
LARGEST = 6.0 * math.sqrt(2.0)


def _products(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Error of a convolution or a linear layer."""
    square = module.weight.square()
    n = square[0].numel() + 1
    if isinstance(module, nn.Linear):
        energy = functional.linear(x.square(), square)
    else:
        energy = module._conv_forward(x.square(), square, None)
    return math.sqrt(n) * torch.maximum(energy.clamp(min=0).sqrt(), y.abs())


def _normalised(module: nn.GroupNorm, x: Tensor, y: Tensor) -> Tensor:
    groups = x.reshape(len(x), module.num_groups, -1)
    mean, sd = groups.mean(-1, keepdim=True), groups.std(-1, keepdim=True) + module.eps**0.5
    size = ((groups.abs() + mean.abs()) / sd).reshape(x.shape)
    if module.weight is None:
        return 2 * size
    shape = (1, -1, *[1] * (x.ndim - 2))
    return 2 * size * module.weight.abs().reshape(shape) + module.bias.abs().reshape(shape)


def _spread(module: nn.Module, x: Tensor, y: Tensor) -> Tensor | None:
    if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return _products(module, x, y)
    if isinstance(module, nn.GroupNorm):
        return _normalised(module, x, y)
    if isinstance(module, nn.SiLU):
        return 2 * y.abs()
    return y.abs() if type(module).__name__ in ("ResBlock", "AttentionBlock", "Stage") else None


@contextmanager
def _rounded(net: nn.Module, random: torch.Generator) -> Iterator[None]:
    """Errors added at every operation of the network."""

    def noisy(y: Tensor, spread: Tensor) -> Tensor:
        return y + UNIT * spread * torch.randn(y.shape, generator=random, dtype=y.dtype)

    def after(module: nn.Module, args: tuple[Any, ...], y: Tensor) -> Tensor | None:
        spread = _spread(module, args[0], y)
        return None if spread is None else noisy(y, spread)

    def before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (noisy(args[0], 2 * args[0].abs()),) if isinstance(module, nn.SiLU) else None

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        d, n = q.shape[-1], v.shape[-2]
        logits = q @ k.mT
        energy = (q.square() @ k.square().mT).sqrt()
        logits = noisy(logits, math.sqrt(d) * torch.maximum(energy, logits.abs())) / math.sqrt(d)
        weights = noisy(logits, 2 * torch.ones_like(logits)).softmax(-1)
        mixed = weights @ v
        energy = (weights.square() @ v.square()).sqrt()
        return noisy(mixed, math.sqrt(n) * torch.maximum(energy, mixed.abs()))

    hooks = [m.register_forward_hook(after) for m in net.modules()]
    hooks += [m.register_forward_pre_hook(before) for m in net.modules()]
    try:
        with mock.patch.object(functional, "scaled_dot_product_attention", attention):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def rounding_spread(
    net: nn.Module,
    run: Callable[[nn.Module], Tensor],
    *,
    sinusoid: str | None = None,
    draws: int = 4,
) -> np.ndarray:
    """Standard deviation of float32 errors per sample and channel, from ``draws`` modelled runs.

    ``run`` calls a float64 copy of the network on float64 inputs; ``sinusoid`` names the function
    of the time embedding, ``module.name``, whose angles are given their error too.
    """
    exact = copy.deepcopy(net).double().eval()
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        truth = run(exact)
        errors = []
        for _ in range(draws):
            with ExitStack() as stack:
                stack.enter_context(_rounded(exact, random))
                if sinusoid:
                    stack.enter_context(mock.patch(sinusoid, _noisy_angles(random)))
                errors.append(run(exact) - truth)
    # pooled over the pixels of a channel: a few draws are enough
    square = torch.stack(errors).square()
    return np.asarray(square.mean(dim=(0, *range(3, square.ndim))).sqrt().numpy())


def _noisy_angles(random: torch.Generator) -> Callable[[Tensor, int], Tensor]:
    def sinusoid(time: Tensor, width: int) -> Tensor:
        half = width // 2
        steps = torch.arange(half, dtype=torch.float64)
        angles = time[:, None] * torch.exp(-math.log(10000) * steps / half)
        draw = torch.randn(half, generator=random, dtype=torch.float64)
        angles = angles * (1 + UNIT * draw)
        return torch.cat([angles.cos(), angles.sin()], dim=1)

    return sinusoid
