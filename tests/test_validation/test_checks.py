"""Tensors of the wrong kind or shape are told in one line, before any kernel of torch runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hierdiff import GaussianNoise
from hierdiff.errors import InvalidParameter
from hierdiff.validation import NetworkModel
from hierdiff.validation._checks import called, labels_of, one_per_row, tensor
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.diffusion.samplers import DDIM, Ancestral, Prediction
from hierdiff.validation.networks.adm import (
    ADMConfig,
    ADMUNet,
    AttentionBlock,
    Norm,
    ResBlock,
    Stage,
)
from hierdiff.validation.networks.transformer import ImageTransformer, SequenceTransformer
from hierdiff.validation.networks.tree_unet import TreeUNet
from hierdiff.validation.networks.vector_mlp import VectorDenoiser
from hierdiff.validation.reference_layers import ConvClassifier, ReferenceClassifier

ADM = ADMConfig(8, 32, (1,), 1, (), head_channels=32, classes=3, image_channels=1)

FORWARDS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "adm": (lambda: ADMUNet(ADM), ((2, 1, 8, 8), (2,))),
    "attention": (lambda: AttentionBlock(32, 32, False), ((2, 32, 4, 4), (2, 8))),
    "norm": (lambda: Norm(32), ((2, 32, 4),)),
    "residual": (lambda: ResBlock(32, 32, 8, 0.0), ((2, 32, 4, 4), (2, 8))),
    "convolutions": (lambda: ConvClassifier(1, 8, 3, width=4, depth=1), ((2, 1, 8, 8),)),
    "vectors": (lambda: VectorDenoiser(6, 0.5, width=8, depth=1), ((2, 6), (2,))),
    "tree": (lambda: TreeUNet(4, 4, s=2, L=2, width=8), ((2, 4, 4), (2,))),
    "sequence": (
        lambda: SequenceTransformer(4, 4, leaves=4, width=8, heads=2, layers=1),
        ((2, 4, 4), (2,)),
    ),
    "images": (
        lambda: ImageTransformer((1, 8, 8), width=8, heads=2, layers=1), ((2, 1, 8, 8), (2,))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARDS)
def test_a_network_refuses_other_shapes_and_types(name: str) -> None:
    make, shapes = FORWARDS[name]
    network, proper = make(), [torch.zeros(shape) for shape in shapes]
    extra = (torch.zeros(2, dtype=torch.long),) if name == "adm" else ()
    assert bool(torch.isfinite(network(*proper, *extra)).all())
    x = proper[0]
    wrong_width = torch.zeros(*x.shape[:1], x.shape[1] + 1, *(k + 1 for k in x.shape[2:]))
    for bad in (x[0], x.long(), x.bool(), x.to(torch.complex64), wrong_width, x.numpy()):
        with pytest.raises(InvalidParameter) as raised:
            network(bad, *proper[1:], *extra)
        assert "\n" not in str(raised.value)
    if len(proper) > 1 and name != "attention":  # which does not use the time
        for bad in (proper[1][:1], proper[1][None], None):
            with pytest.raises(InvalidParameter):
                network(x, bad, *extra)


def test_a_label_that_a_network_has_not_is_refused() -> None:
    network, x, t = ADMUNet(ADM), torch.zeros(2, 1, 8, 8), torch.zeros(2)
    with pytest.raises(InvalidParameter, match="classes 0 to 2"):
        network(x, t, torch.tensor([0, 3]))
    with pytest.raises(InvalidParameter, match="integers"):
        network(x, t, torch.zeros(2))


def test_layers_of_sizes_that_do_not_divide_are_refused() -> None:
    for make in (
        lambda: Norm(33),
        lambda: AttentionBlock(64, 48, False),
        lambda: ResBlock(32, 32, 8, 1.5),
        lambda: ResBlock(32, 32, 8, 0.0, resize=2),
        lambda: Stage(nn.Identity(), "layer"),  # type: ignore[arg-type]
        lambda: ADMConfig(8, 32, (), 1, ()),
        lambda: ADMConfig(8, 32, (1,), 1, (), head_channels=64),  # the middle attends too
        lambda: ADMConfig(8, 32, (1,), 1, (1,), head_channels=0),
        lambda: ADMConfig(8, 2**16, (64,), 1, (), head_channels=32),
    ):
        with pytest.raises(InvalidParameter):
            make()


def test_a_step_of_a_chain_goes_from_noise_to_data() -> None:
    x = torch.zeros(2, 3)
    same = Prediction(x, None)
    low, high = np.array([0.5, 0.4]), np.array([1.0, 1.0])
    for sampler in (Ancestral(2), DDIM(2, 0.5)):
        assert bool(torch.isfinite(sampler.step(x, same, low, high, lambda rows: x)).all())
        for now, then in ((high, low), (low, low), (low[:1], high[:1].repeat(3))):
            with pytest.raises(InvalidParameter):
                sampler.step(x, same, now, then, lambda rows: x)
        with pytest.raises(InvalidParameter, match="equal shapes"):
            sampler.step(x, Prediction(x[:1], None), low, high, lambda rows: x)


def test_conversions_do_not_broadcast_in_silence() -> None:
    x = torch.zeros(2, 3)
    for name in ("eps", "v", "x0", "score", "flow"):
        kind = Parameterisation(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidParameter, match="equal shapes"):
            kind.clean(x[:1], x, 1.0)
        with pytest.raises(InvalidParameter, match="equal shapes"):
            kind.target(x[:1], x, 1.0)
    with pytest.raises(InvalidParameter, match="one per sample"):
        Parameterisation("eps").clean(x, x, np.ones(3))


def test_a_foreign_network_says_what_it_cannot_take() -> None:
    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(x)
            return out

    model = NetworkModel(Timed(), GaussianNoise(schedule="linear"), "eps")
    assert model.denoise(np.zeros((2, 3)), 0.5).shape == (2, 3)
    with pytest.raises(InvalidParameter, match=r"^the network cannot be called .*\(2, 4\)"):
        model.denoise(np.zeros((2, 4)), 0.5)
    look = ReferenceClassifier(ConvClassifier(1, 8, 3, width=4, depth=1), ("conv1",))
    with pytest.raises(InvalidParameter, match="8, 8"):
        look.activations(np.zeros((2, 3, 8, 8), np.float32))


def test_running_out_of_memory_stays_what_it_is() -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        called("the network", full, torch.zeros(1))


def test_the_checks_return_what_they_were_given() -> None:
    x = torch.zeros(2, 3)
    assert tensor("x", x, None, 3) is x
    assert tensor("x", x, None, ...) is x
    assert one_per_row("t", x[:, 0], x).shape == (2,)
    labels = torch.tensor([0, 1])
    assert labels_of("labels", labels, x, 2) is labels
