"""Denoising and classifying networks at the same triplets: exact bounds, statistics, the study."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import one_line
from torch import Tensor, nn

from hierdiff import RHM, GaussianNoise, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.odd_one_out import error_consistency
from hierdiff.sims.run import run
from hierdiff.theory import posterior
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.odd_one_out_task import expected_accuracy, tree_similarity
from hierdiff.validation.experiments import objectives, objectives_report
from hierdiff.validation.experiments.alignment import NetworkAlignment
from hierdiff.validation.experiments.objectives import (
    GrammarNetworks,
    class_loss,
    latent_regression,
    observer_weights,
)

SOURCE = GrammarNetworks(
    v=4, m=2, L=2, networks=2, observers=("upper", "lower"), objects=40, n_readout=150, steps=12,
    width=12, batch=16,
)  # fmt: skip
SMALL = NetworkAlignment(
    SOURCE, t=(0.05, 0.8), max_triplets=100,
)  # fmt: skip


def test_the_exact_bound_is_the_expected_similarity() -> None:
    """Against all pairs of strings of a small grammar, weighted by their posterior."""
    source = GrammarNetworks(v=3, m=2, L=2, networks=2, objects=9, n_readout=40)
    t = (0.4,)
    scene = objectives._scene(source, 0, 0, "shared", 200)
    found = objectives._exact_rows(source, scene, t, 0, 0)
    grammar, noise = scene.grammar, GaussianNoise(3)
    x_t = noise.corrupt_with(scene.trees.leaves, t[0], scene.randoms)
    every = [x for x in itertools.product(range(3), repeat=4) if valid(grammar, x)]
    trees = grammar.parse(np.array(every, np.int32))
    # the prior of an RHM is uniform over its strings, and so are the classes
    snr = float(noise.snr(t[0]))
    scale = np.sqrt(snr / (1 + snr))
    one_hot = np.eye(3)[trees.leaves]
    distance = ((x_t[:, None] - scale * one_hot[None]) ** 2).sum(axis=(2, 3)) * (1 + snr) / 2
    posterior = np.exp(distance.min(axis=1, keepdims=True) - distance)
    posterior /= posterior.sum(axis=1, keepdims=True)
    for j, name in enumerate(source.observers):
        similarity = posterior @ tree_similarity(trees, scene.weights[name]) @ posterior.T
        task = scene.tasks[name]
        wanted = expected_accuracy(similarity, task.triplets, task.probabilities, ties="shared")
        assert found["best"][0, j, 0] == pytest.approx(wanted.mean(), abs=1e-9)


def valid(grammar: object, x: tuple[int, ...]) -> bool:
    try:
        grammar.parse(np.array([x], np.int32))  # type: ignore[attr-defined]
    except Exception:
        return False
    return True


def test_no_linear_map_beats_exact_beliefs() -> None:
    grammar, noise = RHM(4, 2, 2, 2).draw(0), GaussianNoise(4)
    model, t = ExactRHM(grammar, noise, threads=1), 0.35
    sets = [grammar.sample(3000, seed) for seed in (1, 2)]
    seen = [noise.corrupt(z.leaves, t, 3 + i) for i, z in enumerate(sets)]
    for level in range(3):
        z = [np.eye(4)[one.levels[level]].reshape(3000, -1) for one in sets]
        beliefs = [model.features(x, t)[f"level {level}"] for x in seen]
        best = objectives._explained(beliefs[1], z[1])
        raw = [x.reshape(3000, -1) for x in seen]
        linear = objectives._explained(latent_regression(raw[0], z[0], raw[1], z[1]), z[1])
        read = objectives._explained(
            latent_regression(beliefs[0], z[0], beliefs[1], z[1], 1e-3), z[1]
        )
        assert linear < best + 0.01
        assert read == pytest.approx(best, abs=0.01)  # the beliefs are linear in themselves
        # planted: beliefs at less noise are no bound
        clearer = noise.corrupt(sets[1].leaves, 0.1, 9)
        above = objectives._explained(model.features(clearer, 0.1)[f"level {level}"], z[1])
        assert above > best + 0.05


def test_errors_in_common() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 20000)) < np.array([[0.7], [0.6]])).astype(float)
    assert abs(float(error_consistency(a, b))) < 0.03
    assert float(error_consistency(a, a)) == 1
    assert float(error_consistency(a, 1 - a)) == pytest.approx(-0.21 / 0.29 * 1.0, abs=0.05)
    table = np.array([[(a * b).sum(), (a * (1 - b)).sum()],
                      [((1 - a) * b).sum(), ((1 - a) * (1 - b)).sum()]]) / len(a)  # fmt: skip
    seen = np.trace(table)
    chance = (table.sum(axis=0) * table.sum(axis=1)).sum()
    assert float(error_consistency(a, b)) == pytest.approx((seen - chance) / (1 - chance))
    # hard trials that both find hard: agreement beyond their accuracies
    hard = np.where(rng.random(20000) < 0.5, 0.9, 0.4)
    assert float(error_consistency(hard, hard)) > 0.2
    # planted: two that only have the same accuracy
    assert abs(float(error_consistency(hard, rng.permutation(hard)))) < 0.03


def test_the_place_is_chosen_on_other_networks() -> None:
    """Of noise alone the chosen place has the mean; a maximum over it lies above."""
    rng = np.random.default_rng(0)
    scores = 0.5 + 0.01 * rng.standard_normal((60, 1, 1, 8, 4))
    best, places = objectives._chosen(scores, [0, 3, 5])
    z = (best.mean() - 0.5) / (0.01 / np.sqrt(60))
    assert abs(z) < 4
    planted = scores.max(axis=(3, 4)).mean()
    assert (planted - 0.5) / (0.01 / np.sqrt(60)) > 10
    assert set(np.unique(places[..., 0])) <= {0, 3, 5}
    clear = scores.copy()
    clear[:, 0, 0, 5, 2] += 1
    best, places = objectives._chosen(clear, list(range(8)))
    assert (places == [5, 2]).all()
    np.testing.assert_array_equal(best[:, 0, 0], clear[:, 0, 0, 5, 2])


class Exact(nn.Module):
    """Exact beliefs in the class as logits of every leaf, sharpened by a power."""

    def __init__(self, grammar: Grammar, power: float) -> None:
        super().__init__()
        self.grammar = grammar
        self.power = nn.Parameter(torch.tensor(float(power)))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        # behind the datum networks on symbols see the beliefs of every leaf alone
        evidence = np.log(np.maximum(x.numpy().astype(float)[..., 4:], 1e-30))
        beliefs = posterior(self.grammar, evidence, levels=(0,)).marginals[0][:, 0]
        logits = self.power * torch.from_numpy(np.log(np.maximum(beliefs, 1e-30))).float()
        return logits[:, None].expand(-1, x.shape[1], -1)


def test_the_loss_of_a_classifier_is_least_for_exact_beliefs() -> None:
    grammar, noise = RHM(4, 2, 2, 2).draw(0), GaussianNoise(4)
    loss = class_loss(grammar, noise, batch=2000)
    with torch.no_grad():
        blind, exact, dull, sharp = (float(loss(Exact(grammar, p), 0)) for p in (0, 1, 0.5, 2))
        assert float(loss(Exact(grammar, 1), 0)) == exact  # a function of the step
        assert float(loss(Exact(grammar, 1), 1)) != exact
    assert blind == pytest.approx(np.log(4))
    assert exact < 0.8 * blind
    assert exact + 0.01 < min(dull, sharp)  # planted: other temperatures
    rules = [np.zeros((3, 1, 2), int), np.zeros((2, 1, 2), int)]
    rules[0][:, 0] = [[0, 0], [0, 1], [1, 1]]
    rules[1][:, 0] = [[0, 1], [1, 0]]
    with pytest.raises(InvalidParameter, match="no more classes") as error:
        class_loss(Grammar(tuple(rules)), GaussianNoise(2))
    one_line(error)


def test_observers_weigh_as_stated() -> None:
    for levels in (2, 5):
        sums = {name: observer_weights(name, levels) for name in objectives.OBSERVERS}
        assert len({round(float(w.sum()), 12) for w in sums.values()}) == 1
        np.testing.assert_array_equal(sums["upper"], sums["lower"][::-1])


@pytest.mark.slow
def test_the_study_from_training_to_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ds,) = run(SMALL, out=tmp_path, summary=tmp_path / "claims.json").values()
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert capsys.readouterr().out.splitlines()[-1] == claims["claim"]
    assert (tmp_path / "network_alignment.png").stat().st_size > 20_000
    assert ds.layer_accuracy.dims == ("objective", "observer", "layer", "t")
    # the noisy data are the same for every network of a grammar
    seen = ds.layer_accuracy_by_network.sel(layer="input").values
    assert (seen == seen[:, :1]).all()
    # the denoising network has an embedding of the class beside
    denoiser, classifier = ds.weights.values
    assert denoiser - classifier == (4 + 1) * 12
    law = SMALL.predict()
    np.testing.assert_allclose(law.exact_best, ds.exact_best)
    np.testing.assert_allclose(law.exact_r2, ds.exact_r2)
    assert (ds.exact_best.isel(t=0) > ds.exact_best.isel(t=-1) - 0.02).sel(
        condition="unconditional"
    ).all()  # fmt: skip
    files = sorted((tmp_path / "tasks").rglob("*.npz"))
    again = run(SMALL, out=tmp_path)["network_alignment"]
    np.testing.assert_array_equal(again.layer_accuracy, ds.layer_accuracy)
    assert sorted((tmp_path / "tasks").rglob("*.npz")) == files


def test_a_score_of_equal_values_is_null() -> None:
    """Planted: three networks alike, whose score is infinite, which JSON does not have."""
    pair = objectives_report._pair([1.0, 1.0, 1.0])
    assert json.loads(json.dumps(pair, allow_nan=False)) == [1.0, 0.0, None]
    assert objectives_report._scored(pair) == "1.000 ± 0.000 (alike)"
    assert objectives_report._pair([1.0, 2.0, 3.0])[2] == pytest.approx(1.79, abs=0.01)
    assert objectives_report._scored([0.1, 0.01, -2.04]) == "0.100 ± 0.010 (z = -2.0)"


def test_bad_requests_are_told_in_one_line() -> None:
    model = ExactRHM(RHM(4, 2, 2, 2).draw(0), GaussianNoise(4))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: replace(SOURCE, networks=1), "networks"),
        (lambda: replace(SOURCE, observers=("uper",)), "upper"),
        (lambda: replace(SOURCE, objects=3), "objects"),
        (lambda: replace(SOURCE, label_share=0.0), "label_share"),
        (lambda: GrammarNetworks(v=2, m=3), "lower m"),
        (lambda: SMALL.measure(model), "takes none"),
        (lambda: observer_weights("middle", 3), "observer"),
        (lambda: error_consistency([1.0], [1.0, 0.0]), "same trials"),
        (lambda: latent_regression(np.ones((3, 2)), np.ones((3, 1)), np.ones((2, 3)),
                                   np.ones((2, 1))), "same columns"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
