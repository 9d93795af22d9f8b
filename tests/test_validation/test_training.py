"""Training: resume to the same weights, curves, stopping; networks on grammars against exact BP."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line
from scipy.special import softmax
from torch import nn

from hierdiff import RHM, DiffusionModel, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import ExactRHM, denoise_symbols
from hierdiff.validation import training
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.networks.transformer import (
    ImageTransformer,
    SequenceTransformer,
    symbol_transformer,
)
from hierdiff.validation.networks.tree_unet import TreeUNet, tree_unet
from hierdiff.validation.recipes import divergence_to_exact, symbol_loss, train_symbol_network
from hierdiff.validation.training import CheckpointSetAside, TrainConfig, train

GRAMMAR = RHM(4, 2, 2, 3).draw(0)
NOISE = MaskingNoise(4)


def fresh(seed: int = 0, width: int = 16) -> TreeUNet:
    torch.manual_seed(seed)
    return tree_unet(GRAMMAR, NOISE, width=width)


def weights(network: nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])


class Weights(nn.Module):
    """Numbers that a loss draws to zero."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor([1.0, -0.5, 2.0]).to(kind))

    def forward(self) -> torch.Tensor:
        return (self.numbers.abs() ** 2).sum()


def test_the_fused_step_is_the_plain_one() -> None:
    """Complex weights have no fused step; on real numbers both move alike, and so do averages."""
    plan = TrainConfig(steps=30, every=30, rate=0.05, warmup=5, average=0.9)
    real, complex_ = (
        train(Weights(kind), lambda network, step: network(), plan).network.numbers
        for kind in (torch.float32, torch.complex64)
    )
    assert torch.allclose(complex_, real.to(torch.complex64), atol=1e-5)
    assert real.abs().max() < 1.5


def test_a_killed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    loss = symbol_loss(GRAMMAR, NOISE, batch=16)
    plan = TrainConfig(steps=24, every=8, warmup=4)
    whole = train(fresh(), loss, plan)

    class Killed(Exception):
        pass

    def fragile(network: nn.Module, step: int) -> torch.Tensor:
        if step == 19:
            raise Killed
        return loss(network, step)

    with pytest.raises(Killed):
        train(fresh(), fragile, plan, folder=tmp_path)
    # other initial weights: what counts is the checkpoint of step 16
    resumed = train(fresh(seed=5), loss, plan, folder=tmp_path)
    np.testing.assert_array_equal(weights(resumed.network), weights(whole.network))
    assert [h["step"] for h in resumed.history] == [8, 16, 24]
    assert resumed.history == whole.history
    again = train(fresh(seed=6), fragile, plan, folder=tmp_path)
    np.testing.assert_array_equal(weights(again.network), weights(whole.network))
    assert 0 < resumed.cpu_seconds == again.cpu_seconds  # kept with the checkpoint


@pytest.mark.parametrize("at", [4, 7, 10, 11])
def test_an_interrupted_run_keeps_its_last_step(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, at and after an evaluation, and in the last step, which is index 11."""
    plan = TrainConfig(steps=12, every=8, warmup=2)
    batches = torch.randn(12, 6, 3, generator=torch.Generator().manual_seed(1))
    seen: list[int] = []

    def fresh_linear(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def loss(network: nn.Module, step: int) -> torch.Tensor:
        value: torch.Tensor = ((network(batches[step]) - 1) ** 2).mean()
        return value

    whole = train(fresh_linear(0), loss, plan)
    forward = training._loss

    def stopped(network: nn.Module, loss: Any, step: int, *rest: Any) -> torch.Tensor:
        value = forward(network, loss, step, *rest)
        if step == at and len(seen) == at:
            signal.raise_signal(signal.SIGINT)  # in the middle of the step
        seen.append(step)
        return value

    monkeypatch.setattr(training, "_loss", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(fresh_linear(0), loss, plan, folder=tmp_path, name="mine")
    assert f"mine: stopped after step {at + 1} of 12" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = train(fresh_linear(5), loss, plan, folder=tmp_path, name="mine")
    assert (f"mine: goes on from step {at + 1}" in capsys.readouterr().err) == (at + 1 < 12)
    assert seen == list(range(12))  # every step once
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(value, resumed.network.state_dict()[name], rtol=0, atol=0)
    assert resumed.history == whole.history


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    done: list[int] = []

    def loss(network: nn.Module, step: int) -> torch.Tensor:
        if network.training and step == 3:
            signal.raise_signal(signal.SIGINT)
            done.append(step)
            signal.raise_signal(signal.SIGINT)
            done.append(-1)
        value: torch.Tensor = (network(torch.ones(2, 3)) ** 2).mean()
        return value

    with pytest.raises(KeyboardInterrupt):
        train(nn.Linear(3, 1), loss, TrainConfig(steps=6, every=2), folder=tmp_path)
    assert done == [3]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_weights_are_averaged_and_buffers_are_the_last_ones(tmp_path: Path) -> None:
    """Statistics of a batch norm belong to the network; those of its start would be wrong."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    start = copy.deepcopy(network)
    means = [p.detach().clone() for p in network.parameters()]
    batches = torch.randn(12, 8, 3) * 3 + 2
    seen: list[int] = []

    def loss(net: nn.Module, step: int) -> torch.Tensor:
        if net is network and net.training:
            if step:  # after the update of the step before
                share = min(0.9, step / (9 + step))
                for mean, new in zip(means, network.parameters(), strict=True):
                    mean.lerp_(new.detach(), 1 - share)
            seen.append(step)
        return ((net(batches[step]) - 1) ** 2).mean()

    config = TrainConfig(steps=12, every=6, warmup=2, average=0.9)
    found = train(network, loss, config).network
    assert seen == list(range(12))
    for mean, new in zip(means, network.parameters(), strict=True):
        mean.lerp_(new.detach(), 1 - min(0.9, 12 / 21))
    for mean, stored in zip(means, found.parameters(), strict=True):
        torch.testing.assert_close(mean, stored, rtol=0, atol=0)
    norm, last = found[1], network[1]  # type: ignore[index]
    assert int(norm.num_batches_tracked) == 12
    torch.testing.assert_close(norm.running_mean, last.running_mean, rtol=0, atol=0)
    torch.testing.assert_close(norm.running_var, last.running_var, rtol=0, atol=0)
    assert float(norm.running_mean.abs().max()) > 0.1
    assert not any(p.requires_grad for p in found.parameters())

    def plain(net: nn.Module, step: int) -> torch.Tensor:
        return ((net(batches[step]) - 1) ** 2).mean()

    first = train(copy.deepcopy(start), plain, config, folder=tmp_path).network
    again = train(start, plain, config, folder=tmp_path).network  # read from the checkpoint
    torch.testing.assert_close(again.state_dict(), first.state_dict(), rtol=0, atol=0)


def test_a_damaged_or_foreign_checkpoint_is_set_aside(tmp_path: Path) -> None:
    loss, plan = symbol_loss(GRAMMAR, NOISE, batch=8), TrainConfig(steps=4, every=2, warmup=1)
    first = train(fresh(), loss, plan, folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.warns(CheckpointSetAside, match="set aside as checkpoint.aside"):
        again = train(fresh(), loss, plan, folder=tmp_path)
    np.testing.assert_array_equal(weights(again.network), weights(first.network))
    with pytest.warns(
        CheckpointSetAside, match="another configuration.*set aside as checkpoint.aside1"
    ):
        train(fresh(), loss, TrainConfig(steps=2, every=1, warmup=1), folder=tmp_path)
    with pytest.warns(CheckpointSetAside):
        train(fresh(width=8), loss, TrainConfig(steps=2, every=1, warmup=1), folder=tmp_path)
    assert len(list(tmp_path.glob("*.aside*"))) == 3  # nothing is written over


@pytest.mark.parametrize(
    "other",
    [{"batch": 16}, {"focus": (0.1, 0.3)}, {"seed": 1}, {"data": "training set"}, {"rules": 1}],
    ids=lambda x: next(iter(x)),
)  # fmt: skip
def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path: Path, other: dict[str, Any]) -> None:
    """Same plan, same folder, same shapes: what the batches hold decides."""
    plan = TrainConfig(steps=2, every=1, warmup=1)
    given = {"batch": 8, "width": 16, "folder": tmp_path, "seed": 0}
    train_symbol_network(GRAMMAR, NOISE, plan, **given)
    train_symbol_network(GRAMMAR, NOISE, plan, **given)  # no warning: resumed
    changed = given | other
    if "data" in changed:
        changed["data"] = GRAMMAR.sample(64, 0).leaves
    grammar = RHM(4, 2, 2, 3).draw(changed.pop("rules", 0))
    with pytest.warns(CheckpointSetAside, match="other data or settings"):
        train_symbol_network(grammar, NOISE, plan, **changed)


def test_a_checkpoint_of_data_that_come_later_is_not_resumed(tmp_path: Path) -> None:
    """The first two batches are equal, so their losses are."""

    def run(data: np.ndarray) -> None:
        def loss(network: nn.Module, step: int) -> torch.Tensor:
            weights = torch.cat([p.ravel() for p in network.parameters()])
            return ((weights - float(data[step])) ** 2).mean()

        train(nn.Linear(2, 1), loss, TrainConfig(steps=6, every=3, warmup=1), folder=tmp_path)

    data = np.arange(6.0)
    run(data)
    run(data.copy())  # no warning: resumed
    data[4] = 9.0
    with pytest.warns(CheckpointSetAside, match="other data or settings"):
        run(data)


def test_a_checkpoint_of_other_code_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, plan = symbol_loss(GRAMMAR, NOISE, batch=8), TrainConfig(steps=2, every=1, warmup=1)
    train(fresh(), loss, plan, folder=tmp_path)
    train(fresh(), loss, plan, folder=tmp_path)  # no warning: resumed
    real = training.code_parts
    changed = {"hierdiff.validation.recipes": "0" * 24}
    monkeypatch.setattr(training, "code_parts", lambda *x: {**real(*x), **changed})
    with pytest.warns(CheckpointSetAside, match=r"other code: hierdiff\.validation\.recipes"):
        train(fresh(), loss, plan, folder=tmp_path)


def test_a_folder_in_place_of_a_checkpoint_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt" / "inner").mkdir(parents=True)
    plan = TrainConfig(steps=2, every=1, warmup=1)
    with pytest.warns(CheckpointSetAside, match="set aside as checkpoint.aside"):
        train(fresh(), symbol_loss(GRAMMAR, NOISE, batch=8), plan, folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").is_file()


def test_a_loss_with_a_memory_is_resumed_all_the_same(tmp_path: Path) -> None:
    """It cannot be told from other data, and a kill must not cost the training."""
    given = symbol_loss(GRAMMAR, NOISE, batch=8)
    count = iter(range(1000))
    plan = TrainConfig(steps=2, every=1, warmup=1)
    first = train(fresh(), lambda n, _: given(n, next(count)), plan, folder=tmp_path)
    again = train(fresh(), lambda n, _: given(n, next(count)), plan, folder=tmp_path)
    np.testing.assert_array_equal(weights(again.network), weights(first.network))


def test_a_checkpoint_is_resumed_by_a_network_with_other_first_weights(tmp_path: Path) -> None:
    """Who did not fix the seed of the weights loses nothing in a kill."""
    loss, plan = symbol_loss(GRAMMAR, NOISE, batch=8), TrainConfig(steps=2, every=1, warmup=1)
    first = train(fresh(seed=1), loss, plan, folder=tmp_path)
    again = train(fresh(seed=2), loss, plan, folder=tmp_path)
    np.testing.assert_array_equal(weights(again.network), weights(first.network))


def test_training_stops_early_and_refuses_what_diverges() -> None:
    seen = []

    def flat(network: nn.Module, step: int) -> torch.Tensor:
        seen.append(step)
        return sum(p.sum() for p in network.parameters()) * 0 + 1.0

    found = train(fresh(), flat, TrainConfig(steps=100, every=5, warmup=1, patience=2))
    assert found.steps == 15
    assert len(seen) == 15
    with pytest.raises(InvalidParameter, match="the loss is nan at step 0") as error:
        train(fresh(), lambda n, s: next(n.parameters()).sum() * float("nan"), TrainConfig(steps=2))
    assert one_line(error)


def test_learning_rate() -> None:
    plan = TrainConfig(steps=1000, warmup=100, rate=1.0)
    rates = [plan.rate_at(k) for k in (0, 99, 100, 550, 999)]
    np.testing.assert_allclose(rates, [0.01, 1.0, 1.0, 0.505, 0.01], atol=1e-3)
    held = replace(plan, hold=0.5)
    rates = [held.rate_at(k) for k in (99, 300, 549, 775, 999)]
    np.testing.assert_allclose(rates, [1.0, 1.0, 1.0, 0.505, 0.01], atol=1e-3)


@pytest.mark.parametrize("noise", [MaskingNoise(4), UniformNoise(4), GaussianNoise(4)],
                         ids=lambda n: n.name)  # fmt: skip
def test_untrained_networks_are_models(noise: object) -> None:
    torch.manual_seed(0)
    model = symbol_model(tree_unet(GRAMMAR, noise, width=8), noise, num_steps=4, batch_size=3)
    assert isinstance(model, DiffusionModel)
    x0 = GRAMMAR.sample(7, 0).leaves
    x_t = noise.corrupt(x0, 0.5, 1)
    q = model.denoise(x_t, 0.5)
    np.testing.assert_allclose(q.sum(axis=2), 1, atol=1e-12)
    whole = symbol_model(model.module, noise, batch_size=100)
    np.testing.assert_allclose(whole.denoise(x_t, 0.5), q, atol=1e-6)
    assert model.sample(x_t, 0.5, 2).shape == (7, 8)
    features = model.features(x_t, 0.5)
    assert features["up 3"].shape == features["down 3"].shape == (7, 64)
    assert features["up 0"].shape == (7, 8)


def test_the_two_sweeps_see_what_belief_propagation_sees() -> None:
    """Upward features of a node depend on the leaves below it alone; downward ones on all."""
    net = fresh()
    torch.manual_seed(1)
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    x = torch.randn(1, 8, 5)
    y = x.clone()
    y[0, 5] += 1.0
    a, b = (net.sweeps(z, torch.zeros(1))[0] for z in (x, y))
    changed = {k: (a[k] - b[k]).abs().amax(dim=2)[0] > 1e-7 for k in a}
    assert changed["up 3"].nonzero().ravel().tolist() == [5]
    assert changed["up 2"].nonzero().ravel().tolist() == [2]
    assert changed["up 1"].nonzero().ravel().tolist() == [1]
    assert changed["down 3"].all()


@pytest.mark.slow
def test_a_trained_network_comes_close_to_exact_inference() -> None:
    """Less than 0.02 nats per leaf, far less than a network without training; data help."""
    torch.manual_seed(0)
    t = np.array([0.2, 0.4, 0.6, 0.8])
    plan = TrainConfig(steps=500, every=250, warmup=50)
    few = GRAMMAR.sample(24, 3).leaves
    gaps = {}
    for name, data in (("fresh", None), ("24 strings", few)):
        loss = symbol_loss(GRAMMAR, NOISE, batch=64, data=data)
        found = train(fresh(width=32), loss, plan)
        model = symbol_model(found.network, NOISE)
        gap, error = divergence_to_exact(model, GRAMMAR, t, 400, 1)
        gaps[name] = gap.mean()
        assert (error < 0.2 * gap + 0.01).all()
    start = divergence_to_exact(symbol_model(fresh(width=32), NOISE), GRAMMAR, t, 400, 1)[0].mean()
    assert gaps["fresh"] < 0.02
    assert start > 10 * gaps["fresh"]
    assert gaps["24 strings"] > 5 * gaps["fresh"]


def test_a_transformer_learns_the_same_and_a_killed_run_resumes(tmp_path: Path) -> None:
    """It comes nearer to exact beliefs; a checkpoint of one architecture is no other's."""
    plan = TrainConfig(steps=120, every=60, warmup=20)
    model, done = train_symbol_network(
        GRAMMAR, NOISE, plan, width=32, batch=64, network="transformer", label_share=0.5,
        folder=tmp_path,
    )  # fmt: skip
    assert isinstance(model.module, SequenceTransformer)
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    torch.manual_seed(0)
    blank = symbol_model(symbol_transformer(GRAMMAR, NOISE, width=32), NOISE)
    t = [0.3, 0.6]
    gaps = [divergence_to_exact(x, GRAMMAR, t, 200, 0)[0].mean() for x in (model, blank)]
    assert gaps[0] < 0.5 * gaps[1]
    x_t = np.full((4, 8), -1)
    told = [model.given(c).denoise(x_t, 1.0) for c in (0, 1)]
    assert np.abs(told[0] - told[1]).max() > 0.02
    assert set(model.features(x_t, 1.0)) == {f"layer {i}" for i in range(4)}
    again, _ = train_symbol_network(
        GRAMMAR, NOISE, plan, width=32, batch=64, network="transformer", label_share=0.5,
        folder=tmp_path,
    )  # fmt: skip
    np.testing.assert_array_equal(weights(again.module), weights(model.module))
    with pytest.warns(CheckpointSetAside):
        train_symbol_network(
            GRAMMAR, NOISE, TrainConfig(steps=1, every=1, warmup=1), width=32, folder=tmp_path
        )


def test_the_gap_of_exact_inference_to_itself_is_zero() -> None:
    exact = ExactRHM(GRAMMAR, NOISE)
    gap, _ = divergence_to_exact(exact, GRAMMAR, [0.3, 0.9], 20, 0)
    np.testing.assert_allclose(gap, 0, atol=1e-12)


@pytest.mark.slow
def test_narrow_leaves_learn_as_the_wide_do() -> None:
    """Beside what each leaf says alone; fewer weights, features of both sweeps at their width."""
    noise, t = GaussianNoise(4), [0.1, 0.2, 0.4]
    x_t = noise.corrupt(GRAMMAR.sample(400, 1).leaves, 0.2, 1)
    plan, gaps, sizes = TrainConfig(steps=200, every=100, warmup=20), [], []
    for leaf_width in (8, None):
        model, done = train_symbol_network(
            GRAMMAR, noise, plan, width=32, batch=64, leaf_width=leaf_width
        )
        gaps.append(divergence_to_exact(model, GRAMMAR, t, 400, 1)[0].mean())
        sizes.append(weights(done.network).size)
        shapes = {k: f.shape for k, f in model.features(x_t[:3], 0.2).items()}
        assert shapes["up 3"] == shapes["down 3"] == (3, 8 * (leaf_width or 32))
        assert shapes["up 2"] == (3, 4 * 32)
        assert done.cpu_seconds > 0
    assert sizes[0] < 0.8 * sizes[1]
    assert gaps[0] < 0.06
    assert gaps[0] < 1.3 * gaps[1]
    p, alone = denoise_symbols(GRAMMAR, noise, x_t, 0.2), softmax(noise.log_evidence(x_t, 0.2), 2)
    own = (p * np.log(np.maximum(p, 1e-300) / alone)).sum(axis=2).mean()
    found = divergence_to_exact(model, GRAMMAR, 0.2, 400, 1)[0][0]
    assert found < 0.3 * own


def test_bad_input_is_one_line() -> None:
    mixed = RHM(4, 2, 2, 2).draw(0)
    cases = {
        "steps = 0": lambda: TrainConfig(steps=0),
        "average = 1": lambda: TrainConfig(average=1.0),
        "hold = 1.0": lambda: TrainConfig(hold=1.0),
        "width = 0": lambda: TreeUNet(4, 4, s=2, L=2, width=0),
        "must divide width": lambda: SequenceTransformer(4, 4, leaves=4, width=10, heads=4),
        "must be channels, height and width": lambda: ImageTransformer((4, 4)),
        "layers = 0": lambda: ImageTransformer((1, 4, 4), layers=0),
        "without code and prompt": lambda: ImageTransformer((1, 2, 2), width=8, layers=1)(
            torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.zeros(1, dtype=torch.long)
        ),
        "label = None": lambda: ImageTransformer(
            (1, 2, 2), width=8, layers=1, prompt=nn.Embedding(2, 8)
        )(torch.zeros(1, 1, 2, 2), torch.zeros(1)),
        "use v=4": lambda: tree_unet(mixed, MaskingNoise(5)),
        "leaf_width = 0": lambda: TreeUNet(4, 4, s=2, L=2, leaf_width=0),
        "leaf_width = 4 is no size of network 'transformer'": lambda: train_symbol_network(
            mixed, NOISE, TrainConfig(steps=1), network="transformer", leaf_width=4
        ),
        "must be non-empty": lambda: symbol_loss(mixed, NOISE, data=np.zeros((0, 4), int)),
        "batch = 0": lambda: symbol_loss(mixed, NOISE, batch=0),
        "n = 1": lambda: divergence_to_exact(ExactRHM(mixed, NOISE), mixed, 0.5, 1, 0),
        "input has 5 leaves": lambda: fresh()(torch.zeros(1, 5, 5), torch.zeros(1)),
        "the network 4": lambda: SequenceTransformer(4, 4, leaves=4)(
            torch.zeros(1, 5, 4), torch.zeros(1)
        ),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words
