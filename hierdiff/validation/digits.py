r"""Handwritten digits, 8 x 8: a data set that needs no download, and networks trained on it.

The 1,797 digits of scikit-learn, scaled to [-1, 1].  An ADM U-Net predicts eps on the linear
schedule and minimises

.. math:: \mathcal L = E_{x_0, i, \epsilon}\;
   |\epsilon - \epsilon_\theta(a_i x_0 + s_i \epsilon, i)|^2

over the indices i of the schedule.  A network with classes is told the label in a share of the
steps, so that it answers with and without one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff.checks import (
    check_fields,
    checked,
    count,
    fraction,
    instance,
    integers,
    reals,
    shown,
    whole,
)
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import generator, stream
from hierdiff.validation._optional import need
from hierdiff.validation.adm import ADMUNet
from hierdiff.validation.adm_config import ADMConfig
from hierdiff.validation.execution import Execution
from hierdiff.validation.network import NetworkModel
from hierdiff.validation.samplers import Ancestral
from hierdiff.validation.schedules import DiscreteSchedule
from hierdiff.validation.training import Evaluation, Plan, Trained, train

__all__ = ["LabelledImages", "Source", "digits", "eps_loss", "train_image_network"]

Array = NDArray[Any]


@dataclass(frozen=True)
class LabelledImages:
    """Images [n, channels, height, width] in [-1, 1] with labels [n]."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_fields(self)
        n = len(reals("images", self.images, ndim=4))
        integers("labels", self.labels, 0, 2**20, shape=(n,))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> LabelledImages:
        return LabelledImages(self.images[rows], self.labels[rows])


@checked
def digits(split: str = "train", *, seed: int = 0) -> LabelledImages:
    """The digits of scikit-learn, a fifth of each class kept apart for testing.

    Parameters
    ----------
    split : {"train", "test"}
        1,442 or 355 images.
    seed : int
        Names the split and the order.

    Returns
    -------
    LabelledImages

    Raises
    ------
    InvalidParameter
        For another split.
    MissingPackage
        Without scikit-learn.

    Notes
    -----
    Validity: test images are never in the training set of the same seed.

    References
    ----------
    Alpaydin and Kaynak, UCI "Optical recognition of handwritten digits" (CC BY 4.0).

    Examples
    --------
    >>> train, test = digits("train"), digits("test")
    >>> train.images.shape, len(test), float(train.images.min()), float(train.images.max())
    ((1442, 1, 8, 8), 355, -1.0, 1.0)
    """
    if split not in ("train", "test"):
        raise InvalidParameter(f"split = {split!r} is unknown; use 'train' or 'test'")
    need("sklearn", "scikit-learn", "the digits")
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images / 8 - 1).astype(np.float32)[:, None]
    labels = found.target.astype(np.int64)
    random = generator(stream(seed, "split"))
    order = random.permutation(len(labels))
    test = np.zeros(len(labels), bool)
    for k in range(10):
        of_class = order[labels[order] == k]
        test[of_class[: len(of_class) // 5]] = True
    rows = order[test[order] == (split == "test")]
    return LabelledImages(images[rows], labels[rows])


Source: TypeAlias = LabelledImages | Callable[[int, np.random.Generator], LabelledImages]
"""A set of images, or what draws that many fresh ones."""


def _source(name: str, value: Any) -> Any:
    if isinstance(value, LabelledImages) or callable(value):
        return value
    raise InvalidParameter(
        f"{name} = {shown(value)} is no source of images; give LabelledImages, or a function of a "
        "number and a generator that draws them"
    )


def _drawn(data: Any, n: int, random: np.random.Generator) -> LabelledImages:
    """Fresh images of a function."""
    return cast(LabelledImages, instance("what data returns", data(n, random), LabelledImages))


@checked(data=_source, batch=count, label_share=fraction, classes=partial(whole, high=2**20))
def eps_loss(
    data: Source,
    schedule: DiscreteSchedule,
    *,
    batch: int = 128,
    label_share: float = 0.0,
    classes: int = 0,
    seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:
    """Squared error of eps at random indices of a schedule, on a random batch per step.

    Parameters
    ----------
    data : LabelledImages, or callable
        The training set; or, called with a number and a generator, fresh images.
    schedule : DiscreteSchedule
    batch : int
        Images per step.
    label_share : float
        Share of the steps in which the network is told the labels; else all are ``classes``.
    classes : int
        Number of labels; the label ``classes`` means that none is given.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If there are no images, or no classes where labels are to be told.

    Notes
    -----
    Validity: its minimum over functions is the posterior mean of eps under the training set,
    which memorises; what networks learn instead is the subject of the study.
    """
    if isinstance(data, LabelledImages) and not len(data):
        raise InvalidParameter("there are no images to train on; give at least one")
    if label_share and not classes:
        raise InvalidParameter(f"label_share = {label_share} needs classes; give their number")
    ratio = schedule.snr / (1 + schedule.snr)
    amplitude, sigma = np.sqrt(ratio), np.sqrt(1 - ratio)

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        if isinstance(data, LabelledImages):
            taken = data[random.integers(len(data), size=batch)]
        else:
            taken = _drawn(data, batch, random)
        index = random.integers(len(schedule), size=batch)
        device = next(network.parameters()).device
        eps = random.standard_normal(taken.images.shape, dtype=np.float32)
        shape = (batch,) + (1,) * (eps.ndim - 1)
        clean, noise = amplitude[index].reshape(shape), sigma[index].reshape(shape)
        noisy = (clean * taken.images + noise * eps).astype(np.float32)
        inputs = [torch.from_numpy(noisy),
                  torch.from_numpy(schedule.times[index].astype(np.float32))]  # fmt: skip
        if classes:
            told = np.where(random.random() < label_share, taken.labels, classes)
            inputs.append(torch.from_numpy(told))
        out = network(*(x.to(device) for x in inputs))
        return nn.functional.mse_loss(out.float(), torch.from_numpy(eps).to(device))

    return loss


@checked(data=_source, batch=count, label_share=fraction)
def train_image_network(
    data: Source,
    plan: Plan,
    *,
    channels: int = 32,
    multipliers: tuple[float, ...] = (1, 2),
    blocks: int = 1,
    attention: tuple[int, ...] = (2,),
    batch: int = 128,
    label_share: float = 0.0,
    steps: int = 100,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
) -> tuple[NetworkModel, Trained]:
    """An ADM U-Net trained on images.

    Parameters
    ----------
    data : LabelledImages, or callable
        Square images, or what draws fresh ones (see :func:`eps_loss`).
    plan : Plan
        How long to train.
    channels, multipliers, blocks, attention
        See :class:`hierdiff.validation.adm_config.ADMConfig`.
    batch : int
        Images per step.
    label_share : float
        Share of steps that tell the labels; above 0 the network has one label more than there are
        classes, which stands for none, and the model is given that one until ``conditioned``.
    steps : int
        Length of the ancestral chain of ``sample``.
    seed : int
        Names the weights and all batches.
    folder : path-like, optional
        Where the checkpoint is kept.
    evaluate : callable, optional
        As in :func:`hierdiff.validation.training.train`.

    Returns
    -------
    model : NetworkModel
    trained : Trained

    Raises
    ------
    InvalidParameter
        If the sizes do not divide, or there are no images.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    some = data if isinstance(data, LabelledImages) else _drawn(data, 4096, stream(seed, "shape"))
    classes = int(some.labels.max()) + 1 if label_share and len(some) else 0
    config = ADMConfig(
        some.images.shape[-1], channels, multipliers, blocks, attention, head_channels=32,
        classes=classes + 1 if classes else None, learned_variance=False,
        image_channels=some.images.shape[1],
    )  # fmt: skip
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    schedule = DiscreteSchedule.linear()
    loss = eps_loss(
        data, schedule, batch=batch, label_share=label_share, classes=classes, seed=seed
    )
    done = train(ADMUNet(config), loss, plan, folder=folder, evaluate=evaluate, name="U-Net")
    model = NetworkModel(
        done.network, GaussianNoise(schedule="linear"), "eps",
        sampler=Ancestral(schedule.respaced(str(steps)), clip=1.0),
        condition=classes if classes else None, execution=Execution(batch_size=256),
    )  # fmt: skip
    return model, done
