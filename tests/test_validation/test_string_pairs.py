"""Contrastive pairs of strings by networks: the read-out, the optimum, and one command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import one_line

from hierdiff import RHM, MaskingNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare
from hierdiff.theory import ExactRHM
from hierdiff.theory.belief_propagation import posterior
from hierdiff.theory.rhm.tree_pairs import tree_pair
from hierdiff.validation.experiments import string_pairs
from hierdiff.validation.experiments.string_pairs import (
    NetworkStringPairs,
    StringEncoder,
    StringPair,
    read_out,
)

SMALL = NetworkStringPairs(
    v=4, m=2, L=2, widths=(2, 4), t=(0.0, 0.3, 0.6), hidden=16, batch=64, steps=30, networks=2,
    data=600,
)  # fmt: skip


class Exact(torch.nn.Module):
    """The optimum of leaves and class: logarithms of exact beliefs as embeddings."""

    def __init__(self, one: NetworkStringPairs, k: int) -> None:
        super().__init__()
        self.one, self.k = one, k
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grammar = self.one._grammar(self.k)
        evidence = MaskingNoise(self.one.v).evidence(x.numpy(), 0.5)
        b = posterior(grammar, evidence).marginals[0][:, 0]
        return torch.from_numpy(np.log(np.maximum(b, 1e-300)))


class Unit(torch.nn.Module):
    """Classes as unit vectors."""

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return torch.eye(int(y.max()) + 1, dtype=torch.double)[y]


def test_exact_beliefs_in_the_place_of_a_network_are_the_law() -> None:
    law = SMALL.predict()
    for k in range(SMALL.networks):
        pair = StringPair(Exact(SMALL, k), Unit())
        for i in range(len(SMALL.t)):
            found = SMALL._read(pair, *SMALL._noisy(k, i))
            np.testing.assert_allclose(found, law.each_text[k, i], atol=1e-9)
    # with captions that two classes share, less of the class is explained
    pair.second = torch.nn.Embedding.from_pretrained(torch.eye(SMALL.v)[[0, 0, 2, 3]].double())
    assert SMALL._read(pair, *SMALL._noisy(k, 1))[0] < float(law.each_text[k, 1, 0]) - 0.05


def test_the_read_out_is_that_of_the_spectral_learner() -> None:
    """Beliefs explain what the spectrum says, and the class its order parameter."""
    one = replace(SMALL, data=20_000)
    grammar, noise = one._grammar(0), MaskingNoise(one.v)
    pair = tree_pair(grammar, noise, 0.3, (0, 0), (0, 0), n=20_000, seed=1, text=True)
    _, beliefs = one._noisy(0, 1)
    found = read_out(beliefs[0][:, 0], beliefs)
    np.testing.assert_allclose(found, pair.revealed[:, -1], atol=0.02)
    order = (one.v * (beliefs[0] ** 2).sum(axis=2).mean() - 1) / (one.v - 1)
    assert found[0] == pytest.approx(order, abs=2e-3)
    # one-hot symbols of the top of a clean half explain it, whatever is added to them
    x, inside, top = one._clean(0)
    assert x.shape[1] == grammar.n_leaves // 2
    used = len(np.unique(top)) - 1
    one_hot = np.eye(one.v)[top]
    assert read_out(one_hot, inside)[1] == pytest.approx(used / (one.v - 1), abs=1e-9)
    mixed = one_hot @ np.random.default_rng(0).standard_normal((one.v, one.v)) + 3
    np.testing.assert_allclose(read_out(mixed, inside), read_out(one_hot, inside), atol=1e-6)
    assert not read_out(np.ones((len(x), 3)), inside).any()


def test_a_width_of_d_explains_at_most_d_directions() -> None:
    law, spectral = SMALL.predict(), SMALL.predict("spectral")
    assert float(law.halves.sel(width=2, level=1)) <= 2 / 3 + 1e-9
    assert float(spectral.halves.sel(width=2, level=1)) == pytest.approx(1 / 3, abs=0.02)
    # at full width the loss does not matter where no symbol has the partners of another
    assert float(law.halves.sel(width=4, level=1)) > 0.9
    assert law.attrs.keys() == spectral.attrs.keys()


def test_encoders_share_their_weights_along_a_level_and_see_masks() -> None:
    torch.manual_seed(0)
    encoder = StringEncoder(4, 2, 2, 3, 8)
    x = torch.tensor([[0, 1, 2, 3], [0, 1, 2, -1], [0, 1, 2, 0]])
    f = encoder(x)
    assert f.shape == (3, 3)
    assert not torch.equal(f[1], f[2])
    assert sum(p.numel() for p in encoder.parameters()) == (
        8 * 8 + 8 + 16 * 8 + 8 + 2 * (8 * 8 + 8) + 8 * 3 + 3
    )


@pytest.mark.slow
def test_from_one_command_and_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    ds, law = first["network_string_pairs"], first["network_string_pairs_theory"]
    assert "two halves reveal" in (tmp_path / "found.json").read_text()
    assert (tmp_path / "network_string_pairs.png").stat().st_size > 10_000
    both = compare(law, ds)
    assert {"halves_z", "text_z"} <= set(both)
    again = run(SMALL, out=tmp_path)["network_string_pairs"]
    np.testing.assert_array_equal(again.each_halves, ds.each_halves)


@pytest.mark.slow
def test_networks_learn_the_level_of_their_pair_and_a_wrong_law_is_rejected() -> None:
    one = replace(SMALL, v=6, m=2, widths=(6,), hidden=32, steps=200, networks=3)
    found = {"network_string_pairs_theory": one.predict(), "network_string_pairs": one.measure()}
    laws = one._laws(found)
    ds = found["network_string_pairs"]
    assert float(ds.text.isel(t=0)[0]) > 0.9
    assert float(ds.halves[-1, 1]) > float(ds.halves[-1, 0])
    wrong = laws[string_pairs._PLANTED]
    assert wrong[0] < -0.3
    assert wrong[2] < -2.5  # of three networks
    # no function of the leaves exceeds exact beliefs
    exact = found["network_string_pairs_theory"]
    assert float((ds.each_text - exact.each_text)[..., 0].max()) < 1e-9


def test_models_and_impossible_sizes_are_refused() -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        SMALL.measure(exact)
    one_line(error)
    for field, value in (("widths", (2, 5)), ("networks", 1), ("t", (0.5,)), ("t", (0.5, 0.2)),
                         ("s", 1), ("data", 1), ("batch", 1)):  # fmt: skip
        with pytest.raises(InvalidParameter) as error:
            replace(SMALL, **{field: value})
        one_line(error)
