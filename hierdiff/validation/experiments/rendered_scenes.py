r"""Networks on rendered scenes: the images, what they are trained on, and how they are compared.

A scene is drawn as an image whose places are patches
(:class:`hierdiff.data.rhm_images.EmissionImages`), which a transformer reads as tokens.
Conflicts of cues (:mod:`hierdiff.validation.experiments.conflict_networks`) and binding
(:mod:`hierdiff.validation.experiments.binding_networks`) train their networks here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff._display import pair_text
from hierdiff.checks import whole
from hierdiff.data.rhm_images import EmissionImages
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, LogSNR
from hierdiff.validation.execution import Execution
from hierdiff.validation.networks.transformer import ImageTransformer
from hierdiff.validation.training import TrainConfig, train

__all__ = [
    "Fresh",
    "focused_loss",
    "network_layers",
    "network_width",
    "noisy_and_mean",
    "plan_of",
    "quarterings",
    "quarters",
    "score_text",
    "scored",
    "trained_denoiser",
    "transformer",
]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_DECIDED = (0.1, 40.0)  # SNRs at which three quarters of the training images are
_HEAD = 32  # features of a head of attention


def network_width(name: str, value: Any) -> int:
    """Features per place, which heads of attention divide."""
    width: int = whole(name, value, low=2, high=2**16)
    if width > _HEAD and width % _HEAD:
        raise InvalidParameter(
            f"{name} = {width} must be a multiple of {_HEAD}, the features of a head of attention; "
            f"use {width // _HEAD * _HEAD}"
        )
    return width


network_layers = partial(whole, low=1, high=100)


def transformer(
    shape: tuple[int, ...], width: int, layers: int, *, code: nn.Module | None = None,
    prompt: nn.Module | None = None,
) -> ImageTransformer:  # fmt: skip
    """The transformer of every network on rendered scenes."""
    channels, height, wide = shape
    return ImageTransformer(
        (channels, height, wide), width=width, heads=max(1, width // _HEAD), layers=layers,
        code=code, prompt=prompt,
    )  # fmt: skip


def quarterings(leaves: int) -> int:
    """How often a square of so many leaves is quartered."""
    return (int(leaves).bit_length() - 1) // 2


def quarters(leaves: int) -> tuple[Array, Array]:
    """Row and column of the leaves of a tree, of which four neighbours make a square each time."""
    place = np.arange(leaves)
    row, column = np.zeros_like(place), np.zeros_like(place)
    for level in range(quarterings(leaves)):
        quarter = place // 4**level % 4
        row += (quarter // 2) << level
        column += (quarter % 2) << level
    return row, column


class Fresh(NamedTuple):
    """Images drawn for training, with what they are before the emission noise.

    Attributes
    ----------
    bare : array [n, leaves, v]
        Emissions without noise: the symbols.
    spread : array [n, leaves, 1]
        Standard deviation of the emission noise.
    labels : int array [n]
    """

    bare: Array
    spread: Array
    labels: Array

    def images(self, canvas: EmissionImages, rng: np.random.Generator) -> NDArray[np.float32]:
        """Images with emission noise."""
        noise = rng.standard_normal(self.bare.shape)
        return canvas.render(self.bare + self.spread * noise)


Draw: TypeAlias = Callable[[int, np.random.Generator], list[tuple[EmissionImages, Fresh]]]
"""Fresh images, by the canvas on which they are drawn."""


def noisy_and_mean(
    canvas: EmissionImages, some: Fresh, alpha: Floats, sigma: Floats, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Noisy images, and the mean of their noise given the symbols."""
    a, b = alpha[:, None, None], sigma[:, None, None]
    images = some.images(canvas, rng)
    eps = rng.standard_normal(images.shape, dtype=np.float32)
    x_t = (a[..., None] * images + b[..., None] * eps).astype(np.float32)
    mean = b * (canvas.read(x_t) - a * some.bare) / (b**2 + a**2 * some.spread**2)
    # pixels that no template reaches have no emission noise: there eps is known
    return x_t, eps + canvas.render(mean - canvas.read(eps))


def focused_loss(draw: Draw, batch: int, seed: int) -> Callable[[nn.Module, int], Tensor]:
    r"""Squared error of eps on fresh images, most of it where classes are told apart.

    The target is the mean of eps given the noisy image and the symbols e of all leaves,

    .. math:: E[\epsilon \mid x_t, e] = \sigma\,\frac{x_t - \alpha R e}{\sigma^2 + \alpha^2\tau^2},

    so the minimum over functions is the posterior mean of eps, as with eps itself as the target;
    the gradient has less noise.
    """
    schedule = DiscreteSchedule.linear()
    ratio = schedule.snr / (1 + schedule.snr)
    clean, sigma = np.sqrt(ratio), np.sqrt(1 - ratio)
    times = LogSNR().time(schedule.snr).astype(np.float32)
    inside = np.flatnonzero((schedule.snr > _DECIDED[0]) & (schedule.snr < _DECIDED[1]))

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = stream(seed, "training", step)
        parts = draw(batch, rng)
        index = rng.integers(len(schedule), size=batch)
        focus = rng.random(batch) < 0.75
        index[focus] = inside[rng.integers(len(inside), size=int(focus.sum()))]
        noisy, targets, start = [], [], 0
        for canvas, some in parts:
            rows = index[start : start + len(some.labels)]
            start += len(rows)
            x_t, mean = noisy_and_mean(canvas, some, clean[rows], sigma[rows], rng)
            noisy.append(x_t)
            targets.append(mean)
        where = next(network.parameters()).device
        x, t, label, target = (
            torch.from_numpy(v).to(where)
            for v in (np.concatenate(noisy), times[index],
                      np.concatenate([some.labels for _, some in parts]), np.concatenate(targets))
        )  # fmt: skip
        return nn.functional.mse_loss(network(x, t, label), target)

    return loss


def trained_denoiser(
    module: nn.Module, draw: Draw, plan: TrainConfig, *, batch: int, seed: int,
    folder: Path | None, name: str,
) -> NetworkModel:  # fmt: skip
    """A conditional network trained on fresh images, always with their labels."""
    loss = focused_loss(draw, batch, seed)
    done = train(module, loss, plan, folder=folder, name=name)
    return NetworkModel(
        done.network, GaussianNoise(schedule="linear"), "eps", condition=0,
        noise_conditioning=LogSNR(), execution=Execution(batch_size=512),
    )  # fmt: skip


def plan_of(steps: int, device: str) -> TrainConfig:
    """How every network here is trained."""
    return TrainConfig(steps=steps, rate=3e-3, warmup=min(100, steps), average=0.99,
                       every=max(min(250, steps), 1), device=device)  # fmt: skip


def scored(rows: ArrayLike) -> list[float]:
    """Mean over networks, Student's error of it, and the normal score of its test against 0."""
    x = np.asarray(rows, float)
    return [float(x.mean()), float(student_error(x)), float(student_score(x))]


def score_text(x: list[float]) -> str:
    """A difference with its error and score."""
    return f"{'+' if x[0] > 0 else ''}{pair_text(x)} (z = {x[2]:.1f})"
