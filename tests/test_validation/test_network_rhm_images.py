"""Rendered grammars: exact pixel posterior by enumeration, and the study in small."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import one_line
from scipy.special import softmax

from hierdiff import RHM, DiffusionModel, GaussianNoise
from hierdiff.data.rhm_images import TreeImages, random_templates
from hierdiff.errors import InvalidParameter
from hierdiff.sims.run import run
from hierdiff.theory.exact_models import ExactImages
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import LogSNR
from hierdiff.validation.experiments.rhm_images import (
    ExactDenoiser,
    ImageGrammar,
    ImageTraining,
    RHMImages,
)

NOISE = GaussianNoise(schedule="linear")
# unequal norms, so that the norm in the evidence matters
TEMPLATES = random_templates(3, 2, 2, 1) * np.array([0.5, 1.0, 1.6])[:, None, None, None]
TINY = TreeImages(RHM(3, 2, 4, 1).draw(0), TEMPLATES)


def enumerated(world: TreeImages) -> tuple[np.ndarray, np.ndarray]:
    """All strings with their probabilities."""
    shape = world.grammar.n_leaves
    x = np.array(list(itertools.product(range(len(world.templates)), repeat=shape)))
    return x, np.exp(world.grammar.log_prob(x))


def test_the_quad_tree_of_places() -> None:
    world = TreeImages(RHM(4, 2, 4, 2).draw(0), random_templates(4, 1, 1, 0))
    row, column = world.places
    assert sorted(zip(row.tolist(), column.tolist(), strict=True)) == sorted(
        itertools.product(range(4), repeat=2)
    )
    # the four leaves of one parent fill one quarter
    for first in range(0, 16, 4):
        quarter = {
            (r // 2, c // 2)
            for r, c in zip(row[first : first + 4], column[first : first + 4], strict=True)
        }
        assert len(quarter) == 1
    leaves = world.grammar.sample(2, 1).leaves
    image = world.render(leaves)
    for i in range(16):
        np.testing.assert_allclose(
            image[:, 0, row[i], column[i]], world.templates[leaves[:, i], 0, 0, 0], rtol=1e-6
        )


@pytest.mark.parametrize("t", [0.2, 0.4, 0.7])
def test_pixel_posterior_by_enumeration(t: float) -> None:
    x, p = enumerated(TINY)
    images = TINY.render(x).astype(float)
    truth = images[p > 0][[0, 5]]
    x_t = NOISE.corrupt(truth, t, 3)
    snr = float(NOISE.snr(t))
    a, s2 = np.sqrt(snr / (1 + snr)), 1 / (1 + snr)
    log = -((x_t[:, None] - a * images[None]) ** 2).sum(axis=(2, 3, 4)) / (2 * s2)
    with np.errstate(divide="ignore"):
        weight = softmax(log + np.log(p), axis=1)
    expected = np.tensordot(weight, images, axes=1)
    model = ExactImages(TINY, NOISE)
    assert isinstance(model, DiffusionModel)
    np.testing.assert_allclose(model.denoise(x_t, t), expected, atol=1e-6)
    roots = TINY.grammar.parse(x[p > 0]).levels[0][:, 0]
    beliefs = np.stack([weight[:, p > 0][:, roots == c].sum(axis=1) for c in range(3)], axis=1)
    found = model.posterior(x_t, t).marginals[0][:, 0]
    np.testing.assert_allclose(found, beliefs, atol=1e-9)
    # planted: evidence without the norm of the templates
    flat = TINY.patches(x_t) @ TEMPLATES.reshape(3, -1).T * np.sqrt(snr * (1 + snr))
    from hierdiff.theory import posterior

    wrong = posterior(TINY.grammar, flat).marginals[0][:, 0]
    assert np.abs(wrong - beliefs).max() > 1e-3


def test_samples_follow_the_posterior() -> None:
    truth = TINY.render(TINY.grammar.sample(1, 4).leaves).astype(float)
    x_t, n = NOISE.corrupt(truth, 0.4, 5), 4000
    model = ExactImages(TINY, NOISE)
    made = model.sample(np.repeat(x_t, n, axis=0), 0.4, 6)
    root = TINY.grammar.parse(TINY.read(made)).levels[0][:, 0]
    p = model.posterior(x_t, 0.4).marginals[0][0, 0]
    z = (np.bincount(root, minlength=3) - n * p) / np.sqrt(n * p * (1 - p) + 1e-9)
    assert np.abs(z).max() < 4


def test_the_exact_denoiser_runs_through_a_network_s_chain() -> None:
    exact = ExactImages(TINY, NOISE)
    model = NetworkModel(
        ExactDenoiser(exact), NOISE, "x0", noise_conditioning=LogSNR(), sampler=Ancestral(60)
    )
    x_t = NOISE.corrupt(TINY.render(TINY.grammar.sample(1500, 7).leaves).astype(float), 0.5, 8)
    np.testing.assert_allclose(model.denoise(x_t, 0.5), exact.denoise(x_t, 0.5), atol=1e-5)
    made = TINY.read(model.sample(x_t, 0.5, 9))
    assert TINY.grammar.is_valid(made).mean() > 0.99
    root = TINY.grammar.parse(made[TINY.grammar.is_valid(made)]).levels[0][:, 0]
    p = exact.posterior(x_t, 0.5).marginals[0][:, 0].mean(axis=0)
    z = (np.bincount(root, minlength=3) / len(root) - p) / np.sqrt(p * (1 - p) / len(root))
    assert np.abs(z).max() < 4


SMALL = RHMImages(
    ImageGrammar(v=3, m=2, L=1, patch=2, colours=1),
    ImageTraining(channels=32, multipliers=(1,), steps=350, batch=64),
    t=(0.2, 0.4, 0.6), data=150, num_steps=20, classifier_steps=60,
)  # fmt: skip


@pytest.mark.slow
def test_a_small_network_on_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    found = run(SMALL, out=tmp_path, summary=tmp_path / "claims.json")
    theory, chain, network = found.values()
    last = capsys.readouterr().out.splitlines()[-1]
    assert "same chain" in last
    said = json.loads((tmp_path / "claims.json").read_text())
    assert said["claim"] == last
    assert (tmp_path / "network_rhm_images.png").read_bytes()[:4] == b"\x89PNG"
    z = (chain.retention - theory.retention) / np.hypot(chain.retention_error,
                                                        theory.retention_error)  # fmt: skip
    assert np.abs(z).max() < 4.5
    assert (chain.valid > 0.95).all()
    # what was learned in seconds: near the exact curves at low noise, most strings valid
    assert float(network.minus_chain.sel(t=0.2, level=0)) > -0.35
    assert network.valid.mean() > 0.5
    # and the layers of the classifier fall with noise
    assert (network.layers.isel(t=0) > network.layers.isel(t=-1)).all()


def test_bad_requests_are_told_in_one_line() -> None:
    grammar = RHM(3, 2, 4, 1).draw(0)
    cases = [
        (lambda: TreeImages(RHM(3, 2, 2, 2).draw(0), TEMPLATES), "quad-tree"),
        (lambda: TreeImages(grammar, TEMPLATES[:2]), "templates"),
        (lambda: TINY.patches(np.zeros((1, 2, 5, 5))), "shape"),
        (lambda: random_templates(0, 1, 1, 0), "at least 1"),
        (lambda: replace(SMALL, t=(1.5,)), "noise level"),
        (lambda: replace(SMALL, data=1), "at least 2"),
        (lambda: ImageGrammar(v=3, m=100), "rules exceed"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
