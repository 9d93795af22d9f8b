"""Parallel unmasking by networks: from one command, and what the parts of the divergence are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import all_strings, one_line
from torch import Tensor, nn

from hierdiff import RHM, Grammar, MaskingNoise, UniformNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.theory import ExactRHM
from hierdiff.theory.rhm.parallel_unmasking import (
    even_sizes,
    exact_conditionals,
    unmasking_terms,
)
from hierdiff.validation.experiments import unmasking_orders
from hierdiff.validation.experiments.unmasking import NetworkUnmasking
from hierdiff.validation.experiments.unmasking_orders import NetworkOrders
from hierdiff.validation.recipes import symbol_loss

SMALL = NetworkUnmasking(
    v=4, m=2, L=2, width=8, train_steps=8, batch=8, networks=2, steps=(1, 2, 4), data=40, strings=40
)


def test_from_one_command_and_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    ds, law = first["network_unmasking"], first["network_unmasking_theory"]
    assert ds.divergence.dims == law.divergence.dims == ("order", "T")
    assert (
        "network's own error exceeds" in json.loads((tmp_path / "found.json").read_text())["claim"]
    )
    # what conditionals of the grammar pay is the same whoever reveals, in a fixed order
    gap = ds.price.sel(order="spread") - law.divergence.sel(order="spread")
    assert float(abs(gap).max()) < 0.3
    assert float(abs(ds.price.sel(T=4)).max()) < 1e-9
    assert float(ds.learning.min()) > 0.01  # eight steps teach little
    again = run(SMALL, out=tmp_path)["network_unmasking"]
    np.testing.assert_array_equal(again.divergence, ds.divergence)


def test_models_and_bad_fields_are_refused() -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        SMALL.measure(exact)
    one_line(error)
    for change, words in (
        ({"networks": 1}, "networks"), ({"steps": (1, 5)}, "more than the 4 leaves"),
        ({"orders": ("backwards",)}, "orders"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words):
            replace(SMALL, **change)


# --------------------------------------------------------------------- orders, remasking, readings

ORDERS = NetworkOrders(
    v=4, m=2, L=2, width=8, train_steps=8, batch=8, networks=2, steps=(2, 4), calls=(4, 8), data=40,
    strings=40,
)  # fmt: skip
NOISE = MaskingNoise(4)


class Blurred:
    """Exact conditionals mixed with flat ones, most where symbol 0 is seen: a known error."""

    source = "simulation"
    noise = NOISE

    def __init__(self, grammar: Grammar) -> None:
        self.exact = exact_conditionals(grammar)

    def denoise(self, x_t: Any, t: Any) -> np.ndarray:
        seen = np.asarray(x_t)[..., None] == np.arange(4)
        share = np.where(seen[..., 0].any(axis=1), 0.9, 0.05)[:, None, None]
        mixed = (1 - share) * self.exact(np.asarray(x_t)) + share / 4
        return np.where(seen.any(axis=2, keepdims=True), seen.astype(float), mixed)

    def sample(self, x_t: Any, t: Any, seed: Any) -> np.ndarray:
        raise NotImplementedError

    def features(self, x_t: Any, t: Any) -> dict[str, Any]:
        return {}


@pytest.mark.slow
def test_orders_from_one_command_and_again_from_checkpoints(tmp_path: Path) -> None:
    first = run(ORDERS, out=tmp_path, summary=tmp_path / "found.json")
    ds, law = first["network_orders"], first["network_orders_theory"]
    assert ds.valid.dims == law.valid.dims == ("order", "T")
    found = json.loads((tmp_path / "found.json").read_text())
    assert "surest leaves first change" in found["claim"]
    assert {x[2] is None or np.isfinite(x[2]) for x in found["laws"].values()} == {True}
    # exact conditionals one leaf at a time cost nothing, and complete every datum
    assert float(abs(law.divergence.sel(T=4)).max()) < 1e-9
    assert float(law.valid.sel(T=4).min()) == float(law.complete.min()) == 1
    assert float(abs(law.excess).max()) < 1e-9
    for one in (ds, law):
        assert float(abs(one.half.sel(reading="next leaf") - one.half.sel(reading="left to right"))
                     .max()) < (1e-12 if one is law else np.inf)  # fmt: skip
        np.testing.assert_allclose(one.decided.isel(read=-1), 1)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")}
    assert len(written) == 4
    again = run(ORDERS, out=tmp_path)["network_orders"]
    np.testing.assert_array_equal(again.valid_by_network, ds.valid_by_network)
    # the other study finds the masked networks in the same folder
    SMALL.measure(folder=tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("checkpoint.pt")} == written


def test_a_model_without_error_answers_as_exact_conditionals() -> None:
    """Completions of exact inference agree with the truth as often as its beliefs say."""
    one = replace(ORDERS, data=1500, strings=400)
    grammar = one._networks.grammar(0)
    exact = ExactRHM(grammar, NOISE)
    found, law = one._answers(0, exact, exact), one._answers(0)
    for name in ("learning", "excess"):
        assert abs(found[name]).max() < 1e-9
    np.testing.assert_allclose(found["price"], law["price"], atol=1e-9)
    np.testing.assert_array_equal(found["valid"], law["valid"])
    np.testing.assert_array_equal(found["complete"], 1)
    gap = found["decided"] - law["decided"]
    error = 0.5 / np.sqrt(one.data)  # of a share, at most
    assert abs(gap).max() < 4 * error
    # beliefs after one more leaf are another law
    assert abs(found["decided"][:, 1:3] - law["decided"][:, 2:4]).max() > 4 * error


def test_valid_strings_are_the_mass_that_a_model_gives_to_the_language() -> None:
    """Eq. (1), against a sum over all strings; the bound by the divergence is no equality."""
    one = replace(ORDERS, data=1500, strings=3000)
    grammar = one._networks.grammar(1)
    model = Blurred(grammar)
    found = one._answers(1, model, model)
    every = all_strings(4, 4)
    log_p = grammar.log_prob(every)
    x, p = every[np.isfinite(log_p)], np.exp(log_p[np.isfinite(log_p)])
    for i, order in enumerate(one.orders):
        if order == "random":
            continue
        for j, T in enumerate(one.steps):
            terms = unmasking_terms(grammar, x, order, even_sizes(4, T), model=model)
            mass = float((p * np.exp(-terms.log_ratio)).sum())
            kl = float(p @ terms.log_ratio)
            error = np.sqrt(mass * (1 - mass) / one.strings)
            assert abs(found["valid"][i, j] - mass) < 4 * error
            assert abs(found["mass"][i, j] - mass) < 0.05 * mass
            assert abs(found["divergence"][i, j] - kl) < 0.05
            assert mass > np.exp(-kl)
    made = [one._networks.grammar(k) for k in (0, 1)]
    parts = [one._answers(k, *2 * [Blurred(grammar)]) for k, grammar in enumerate(made)]
    laws = unmasking_orders._values(one._label(parts, "simulation"), one.predict())["laws"]
    # strings of four orders and two grammars
    error = 0.5 / np.sqrt(8 * one.strings)
    assert abs(laws["valid strings less E q/p"][0]) < 4 * error
    assert laws["valid strings less exp(-KL)"][0] > 4 * error


def test_halves_scores_and_errors_where_there_is_nothing() -> None:
    rising = np.array([[0.0, np.nan], [0.25, np.nan], [0.5, 0.2], [1.0, 0.6], [1.0, 1.0]])
    halves = unmasking_orders._halves(rising, [0, 2, 4, 6, 8])
    np.testing.assert_allclose(halves, [4, 6])  # of the second only what is known
    assert np.isnan(unmasking_orders._halves(rising[:1], [0])).all()
    assert unmasking_orders.scored([1.0, 1.0]) == [1.0, 0.0, None]
    assert unmasking_orders.scored([1e-16, 2e-16]) == [0.0, 0.0, 0.0]
    assert unmasking_orders.scored([1.0, np.nan]) == [None, None, None]
    assert unmasking_orders.scored([1.0, 2.0, 3.0])[2] == pytest.approx(1.79, abs=0.01)
    error = unmasking_orders._error(np.array([[1.0, np.nan], [3.0, 1.0]]))
    assert error[0] == pytest.approx(1.837, abs=1e-3)
    assert np.isnan(error[1])


class Asked(nn.Module):
    """Exact conditionals as a network, which keeps what it was shown."""

    def __init__(self, grammar: Grammar) -> None:
        super().__init__()
        self.exact, self.shown = exact_conditionals(grammar), []
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        channels = x.detach().numpy()
        states = np.where(channels[..., -1] > 0.5, -1, channels[..., :-1].argmax(axis=2))
        self.shown.append(states)
        p = self.exact(states)
        return self.scale * torch.from_numpy(np.log(np.maximum(p, 1e-12)).astype(np.float32))


def test_the_loss_of_the_next_leaf_is_the_entropy_over_the_leaves() -> None:
    """Of exact conditionals, on prefixes of uniform length; the loss on all leaves is another."""
    grammar = RHM(4, 2, 2, 2).draw(0)
    network = Asked(grammar)
    loss = symbol_loss(grammar, NOISE, batch=400, target="next leaf", seed=3)
    values = np.array([float(loss(network, k).detach()) for k in range(30)])
    error = values.std(ddof=1) / np.sqrt(len(values))
    want = RHM(4, 2, 2, 2).log_n_data / 4
    assert abs(values.mean() - want) < 4 * error
    other = symbol_loss(grammar, NOISE, batch=400, seed=3)
    assert abs(np.mean([float(other(network, k).detach()) for k in range(5)]) - want) > 6 * error
    shown = np.concatenate(network.shown[:30]) >= 0
    assert not (shown[:, 1:] & ~shown[:, :-1]).any()  # nothing behind a mask
    lengths = np.bincount(shown.sum(axis=1), minlength=5) / len(shown)
    np.testing.assert_allclose(lengths, [0.25, 0.25, 0.25, 0.25, 0], atol=0.02)
    with pytest.raises(InvalidParameter, match="hides leaves by masks") as caught:
        symbol_loss(grammar, UniformNoise(4), target="next leaf")
    one_line(caught)


def test_orders_refuse_models_and_bad_fields() -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), NOISE)
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        ORDERS.measure(exact)
    one_line(error)
    for change, words in (
        ({"networks": 1}, "networks"), ({"orders": ("kept",)}, "orders"),
        ({"calls": (1,)}, "calls"), ({"calls": (8, 4)}, "calls"), ({"steps": (9,)}, "more than"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words):
            replace(ORDERS, **change)
