"""Networks on mixtures: the denoiser's scales, its optimum, and memory against understanding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import one_line

from hierdiff import LowRankMixture
from hierdiff.command_line import parse_flags
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare
from hierdiff.sims.run import RunOptions, run
from hierdiff.theory import denoise
from hierdiff.validation.experiments.layer_probes import StringNetworks
from hierdiff.validation.experiments.representation import MixtureNetworks, NetworkRepresentation
from hierdiff.validation.networks.vector_mlp import VectorDenoiser
from hierdiff.validation.recipes import train_vector_network, vector_loss
from hierdiff.validation.training import TrainConfig


def test_an_untrained_network_is_the_linear_denoiser() -> None:
    """White data of one variance: E[x0 | x_t] = a v / (a^2 v + s^2) x_t."""
    network = VectorDenoiser(5, 0.7, width=16, depth=1)
    x, log_snr = torch.randn(40, 5), torch.linspace(-6, 6, 40)
    a2, s2 = torch.sigmoid(log_snr)[:, None], torch.sigmoid(-log_snr)[:, None]
    expected = a2.sqrt() * 0.7 / (a2 * 0.7 + s2) * x
    torch.testing.assert_close(network(x, log_snr), expected)
    skip, out, into = network.scales(log_snr, x)
    # what is left to F has unit variance: v (1 - a c_skip)^2 + s^2 c_skip^2 = c_out^2
    left = 0.7 * (1 - a2.sqrt() * skip) ** 2 + s2 * skip**2
    torch.testing.assert_close(left, out**2)
    torch.testing.assert_close(into**-2, a2 * 0.7 + s2)


def test_a_trained_network_comes_near_the_exact_denoiser() -> None:
    mixture = LowRankMixture.random(8, 2, 2, delta=0.2, seed=0)
    plan = TrainConfig(steps=500, every=500, warmup=20, average=0.98)
    model, _ = train_vector_network(mixture, plan, width=64, depth=1)
    x0, _ = mixture.sample(500, 1)
    gaps = []
    for sigma in (0.3, 0.8):
        y = x0 + sigma * np.random.default_rng(2).standard_normal(x0.shape)
        exact = denoise(mixture, y, sigma)
        t = float(model.noise.level(sigma**-2))
        found = model.denoise((y / np.sqrt(1 + sigma**2)).astype(np.float32), t)
        linear = model.module.variance / (model.module.variance + sigma**2) * y
        gaps.append([((found - exact) ** 2).mean(), ((linear - exact) ** 2).mean()])
    assert all(network < 0.25 * linear for network, linear in gaps)


SMALL = MixtureNetworks(
    rank=4, dim=12, n_train=(30, 0), networks=2, steps=700, width=96, depth=1, test=450,
    sigmas=(0.02, 0.2, 0.5, 1.1),
)  # fmt: skip


@pytest.mark.slow
def test_memory_and_understanding_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = NetworkRepresentation(SMALL)
    found = run(study, out=tmp_path, summary=tmp_path / "claims.json")
    theory, memory, every = found.values()
    last = capsys.readouterr().out.splitlines()[-1]
    assert "which differ with z" in last
    assert json.loads((tmp_path / "claims.json").read_text())["claim"] == last
    assert (tmp_path / "network_representation.png").read_bytes()[:4] == b"\x89PNG"
    z = compare(theory, every).sel(source="network", model="given", split="test").snr_z
    assert float(abs(z.sel(n_train=30)).max()) > 10  # memory is far from the law
    network = every.isel(model=0)
    few, fresh = (network.sel(n_train=n, split="test") for n in (30, 0))
    z = (fresh.ratio - few.ratio) / np.hypot(fresh.ratio_error, few.ratio_error)
    assert z > 3
    assert float(fresh.ratio - 2 * fresh.ratio_error) > 1
    assert float(few.ratio) < 1.0
    assert float(memory.ratio.sel(split="test").max()) < 1.1 < float(theory.ratio.max())
    # and by its errors: seen points are known better by the one that memorises, and by it alone
    errors = network.denoising.sel(split="test") / network.denoising.sel(split="train")
    assert float(errors.sel(n_train=30)) > 1.3
    assert float(errors.sel(n_train=0)) < 1.15
    # planted: curves of the two networks exchanged
    assert (few.ratio - fresh.ratio) / np.hypot(fresh.ratio_error, few.ratio_error) < -3


def test_bad_requests_are_told_in_one_line() -> None:
    mixture = LowRankMixture.random(8, 2, 2, delta=0.2, seed=0)
    cases = [
        (lambda: replace(SMALL, networks=1), "networks"),
        (lambda: replace(SMALL, n_train=(-3,)), "n_train"),
        (lambda: NetworkRepresentation(replace(SMALL, dim=4)), "dim|rank"),
        (lambda: VectorDenoiser(0, 1.0), "must be"),
        (lambda: vector_loss(mixture, data=np.zeros((0, 8))), "data"),
        (lambda: vector_loss(mixture, sigmas=(1.0, 0.1)), "increasing"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def parsed(*words: str) -> NetworkRepresentation:
    return parse_flags(NetworkRepresentation, RunOptions, words)[0]


def test_the_source_is_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("--rank", "2", "--dim", "6", "--seed", "3") == NetworkRepresentation(
        MixtureNetworks(rank=2, dim=6), seed=3
    )
    rhm = NetworkRepresentation(StringNetworks(v=4, L=2, shots=3))
    assert parsed("rhm", "--v", "4", "--L", "2", "--shots", "3") == rhm
    assert not capsys.readouterr().err
    assert parsed("--v", "4", "--model", "rhm", "--L", "2", "--few", "3") == rhm
    notes = capsys.readouterr().err.splitlines()
    assert notes == ["note: --few is now --shots", "note: --model rhm is now the subcommand rhm"]


@pytest.mark.parametrize(
    ("words", "refused"),
    [(("--v", "4"), "--v means nothing for mixture; it belongs to rhm"),
     (("digits", "--rank", "3"), "--rank means nothing for digits; it belongs to mixture"),
     (("rhm", "--images", "DIR"),
      "--images means nothing for rhm; it belongs to own and catalogue")],
)  # fmt: skip
def test_what_means_nothing_for_a_source_is_refused(words: tuple[str, ...], refused: str) -> None:
    with pytest.raises(InvalidParameter, match=refused) as error:
        parsed(*words)
    one_line(error)
