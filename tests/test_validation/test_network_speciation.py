"""When networks decide: readings of exact stand-ins, the network on chains, the whole in small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line

from hierdiff import GaussianNoise, run
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import InvalidParameter
from hierdiff.sims import SimulatedModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.exact_models import ExactIsing
from hierdiff.validation.experiments import speciation
from hierdiff.validation.experiments.speciation import NetworkSpeciation, digest, falling, slopes
from hierdiff.validation.networks.chain_conv import ChainDenoiser
from hierdiff.validation.recipes import chain_loss, train_chain_network
from hierdiff.validation.training import TrainConfig

SMALL = NetworkSpeciation(
    spins=(64, 128), networks=2, steps=20, chains=12, num_steps=4, v=4, m=2, L=2, grammars=2,
    tree_steps=10,
)  # fmt: skip
NOISE = GaussianNoise()


class Exact:
    """Exact denoisers of chains of several lengths, with the class or without."""

    source, noise = "theory", NOISE

    def __init__(self, chains: list[IsingChains], label: int | None = None) -> None:
        self.chains, self.label = chains, label

    def given(self, label: int | None) -> Exact:
        return Exact(self.chains, label)

    def denoise(self, x: np.ndarray, t: Any) -> np.ndarray:
        one = next(c for c in self.chains if x.shape[1] == c.N)
        return ExactIsing(one, NOISE, self.label).denoise(x, t)

    sample = features = denoise


class Blind(Exact):
    """The same, except that each half of a chain is denoised alone."""

    def given(self, label: int | None) -> Blind:
        return Blind(self.chains, label)

    def denoise(self, x: np.ndarray, t: Any) -> np.ndarray:
        one, half = next(c for c in self.chains if x.shape[1] == c.N), x.shape[1] // 2
        part = IsingChains(one.couplings[:, : half - 1], one.fields[:, :half])
        model = ExactIsing(part, NOISE, self.label)
        return np.concatenate([model.denoise(x[:, :half], t), model.denoise(x[:, half:], t)], 1)


def stand_in(monkeypatch: pytest.MonkeyPatch, kind: type[Exact]) -> None:
    """Models in place of the networks, and no training."""
    monkeypatch.setattr(
        speciation, "train_chain_network", lambda chains, *_, **__: (kind(list(chains)), None)
    )

    def trees(source: Any, L: int, seed: int, *_: Any) -> tuple[list[SimulatedModel], float]:
        exact = [
            ExactRHM(source.grammar(L, k, seed), source.process, threads=1)
            for k in range(source.networks)
        ]
        return [SimulatedModel(one, source.num_steps) for one in exact], 0.0

    monkeypatch.setattr(speciation, "trained_networks", trees)
    monkeypatch.setattr(
        speciation, "_TREES", speciation._TREES | {"data": 16, "trajectories": 2, "num_steps": 6}
    )


@pytest.mark.slow
def test_exact_denoisers_are_read_as_exact_and_a_wrong_slope_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = replace(SMALL, spins=(64, 256, 512), networks=3, chains=64, num_steps=12)
    stand_in(monkeypatch, Exact)
    found = digest(one.measure())
    for kind in ("mean", "covariance"):
        turn, entropy = found[kind]["U-turn"], found[kind]["free entropy"]
        assert turn["network"] == turn["exact chain"]  # the same random numbers
        assert abs(entropy["network minus exact"][0]) < 0.01  # steps of the path
        assert abs(turn["z"]) < 3
        assert abs(turn["slope"][0] - turn["slope, law at these N"]) < 0.08
        assert abs(turn["slope"][0] - (0.75 - found[kind]["limit"])) > 0.12
    assert found["covariance"]["U-turn"]["z, wrong slope"] < -1.8
    assert found["mean"]["U-turn"]["z, wrong slope"] > 1.8
    levels = found["levels"]
    assert levels["U-turn"] == levels["exact chain"]


@pytest.mark.slow
def test_a_network_that_sees_half_a_chain_decides_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves that are decided each by itself disagree, and U-turns lose the class earlier.

    The log-likelihood ratio is nearly a sum over the halves, so the free entropy does not tell.
    """
    one = replace(SMALL, spins=(128, 256), networks=2, chains=64, num_steps=12)
    stand_in(monkeypatch, Blind)
    found = digest(one.measure())
    early, _, z = found["covariance"]["U-turn"]["network minus exact chain"]
    assert early < -0.08
    assert z < -2
    for kind in ("mean", "covariance"):
        assert found[kind]["U-turn"]["network minus exact chain"][0] < -0.08
        assert abs(found[kind]["free entropy"]["network minus exact"][0]) < 0.02


def test_the_root_of_a_noisy_curve() -> None:
    t = np.linspace(1.0, 1.8, 9)
    assert abs(falling(t, 1.37 - t) - 1.37) < 1e-9
    assert abs(falling(t, (1.37 - t) * (1 + 0.3 * (t - 1.4))) - 1.37) < 1e-9
    noise = 0.02 * np.random.default_rng(0).standard_normal((200, 9))
    found = np.array([falling(t, 1.37 - t + x) for x in noise])
    assert abs(found.mean() - 1.37) < 4 * found.std() / np.sqrt(200)
    for curve in (t - 1.37, 1 + 0 * t, np.full(9, np.nan), 1 / t, 3.0 - t):
        assert np.isnan(falling(t, curve))  # rises, does not cross, is unknown, is above
    assert np.isnan(falling(t[:2], 1.07 - t[:2]))


def test_slopes_against_the_logarithm() -> None:
    N = (64, 128, 1024)
    times = 0.25 * np.log(np.array(N)) + np.array([[0.0], [1.0]])
    np.testing.assert_allclose(slopes(N, times), 0.25)


def test_a_network_learns_what_neighbours_and_the_class_say() -> None:
    chains = IsingChains.by_field(32, 0.3, 0.3)
    config = TrainConfig(steps=300, every=300, warmup=10, average=0.9)
    model, _ = train_chain_network(
        (chains,), config, spins=2048, times=(0.3, 1.5), label_share=0.5, seed=1
    )
    x0, labels = chains.sample(400, 3)
    every = NOISE.corrupt(chains.vectors(x0), 0.7, 4)
    for given, x in ((None, every), (0, every[labels == 0])):
        exact = ExactIsing(chains, NOISE, given).denoise(x, 0.7)
        snr = float(NOISE.snr(0.7))
        alone = np.tanh(np.sqrt(snr * (1 + snr)) * x)
        left = ((model.given(given).denoise(x, 0.7) - exact) ** 2).mean()
        assert left < 0.1 * ((alone - exact) ** 2).mean()


def test_the_network_takes_any_length_and_refuses_other_labels() -> None:
    torch.manual_seed(0)
    network = ChainDenoiser(width=4, classes=2)
    torch.nn.init.normal_(network.head.weight)
    x = torch.randn(3, 40)
    out = network(x, torch.zeros(3)).detach()
    assert out.shape == x.shape
    assert bool((out.abs() < 1).all())
    # a spin far away matters, by the average over the chain
    moved = x.clone()
    moved[:, 39] += 3
    assert float((network(moved, torch.zeros(3)).detach()[:, 0] - out[:, 0]).abs().min()) > 0
    torch.testing.assert_close(network(x, torch.zeros(3), torch.tensor([2, 2, 2])).detach(), out)
    with pytest.raises(InvalidParameter, match="classes of the network"):
        network(x, torch.zeros(3), torch.tensor([0, 1, 3]))
    with pytest.raises(InvalidParameter, match="without classes"):
        ChainDenoiser(width=4)(x, torch.zeros(3), torch.zeros(3, dtype=torch.long))


def test_the_loss_of_a_network_of_means_is_that_of_its_log_odds() -> None:
    torch.manual_seed(0)
    network = ChainDenoiser(width=4)
    torch.nn.init.normal_(network.head.weight)
    loss = chain_loss((IsingChains.by_coupling(30, 0.5),), spins=300, times=(0.5, 1.0))

    class Means(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(self.inner(x, log_snr))

    assert float(loss(Means(), 0).detach()) == pytest.approx(
        float(loss(network, 0).detach()), rel=1e-4
    )


@pytest.mark.slow
def test_from_one_command_and_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    text = (tmp_path / "found.json").read_text()
    assert "networks per kind: mean and fluctuation" in text
    assert "NaN" not in text  # which is no JSON
    assert (tmp_path / "network_speciation.png").stat().st_size > 10_000
    again = run(SMALL, out=tmp_path)
    for name in ("free_entropy", "chain_uturn", "uturn"):
        np.testing.assert_array_equal(again[SMALL.name][name], first[SMALL.name][name])
        assert first[SMALL.name][name].dims == first[f"{SMALL.name}_theory"][name].dims


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SMALL.measure(ExactIsing(IsingChains.by_field(64, 0.3, 0.3), NOISE)),
         "has no place in"),
        (lambda: replace(SMALL, spins=(64,)), "spins"),
        (lambda: replace(SMALL, spins=(10, 64)), "spins"),
        (lambda: replace(SMALL, architecture="tree_unet"), "not for IsingChains"),
        (lambda: replace(SMALL, networks=1), "networks"),
        (lambda: replace(SMALL, spread=1.0), "spread"),
        (lambda: SMALL.chain("variance", 0, 64), "kind"),
        (lambda: chain_loss(()), "chains"),
        (lambda: chain_loss((IsingChains.by_field(9, 0.1, 0.1),), times=(2.0, 1.0)), "increas"),
        (lambda: chain_loss((IsingChains.by_field(9, 0.1, 0.1),
                             IsingChains(np.zeros((3, 8)), np.zeros((3, 9))))), "numbers of"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        make()
    one_line(error)
