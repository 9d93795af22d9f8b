"""Cue conflicts and binding with networks: drawings, captions, optima, and the studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from oracles import one_line
from scipy import stats
from torch import Tensor, nn

from hierdiff import RHM, GaussianNoise
from hierdiff.data.fashion import fashion_folder
from hierdiff.data.rhm_images import EmissionImages, frequency_templates
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.metrics.denoising_error import ClassErrors
from hierdiff.sims.run import run
from hierdiff.theory.zero_shot.contrastive import zero_shot_accuracy
from hierdiff.theory.zero_shot.scenes import PROMPTS
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import LogSNR
from hierdiff.validation.experiments import binding_networks, conflict_networks, rendered_scenes
from hierdiff.validation.experiments.binding_networks import (
    ASKED,
    BOUND,
    BindingNetworks,
    CaptionEncoder,
    Captions,
    CaptionTokens,
)
from hierdiff.validation.experiments.classification import NetworkClassification
from hierdiff.validation.experiments.conflict_networks import ConflictNetworks, OneCase
from hierdiff.validation.experiments.silhouettes import ComposedPhotographs, compose_silhouettes
from hierdiff.validation.networks.transformer import ImageTransformer

TINY: dict[str, Any] = {"networks": 2, "steps": 3, "batch": 4, "data": 4, "samples": 2}
CONFLICT = ConflictNetworks(
    v=3, s=2, patch=3, width=16, layers=1, classifier_steps=3, sigma2=(0.1, 1.0),
    low_pass=(1.0, 0.0), **TINY,
)  # fmt: skip
BINDING = BindingNetworks(
    v=4, width=16, layers=1, widths=(2, 4), hidden=8, encoder_steps=3, encoder_batch=8, scenes=10,
    **TINY,
)  # fmt: skip


class ExactCase(nn.Module):
    """The optimal denoiser of one case as a torch module; ``swap`` plants the law of another."""

    def __init__(self, exact: Any, swap: int = 0) -> None:
        super().__init__()
        self.exact, self.swap = exact, swap
        self.register_buffer("precision", torch.zeros(1))

    def forward(self, x: Tensor, log_snr: Tensor, labels: Tensor) -> Tensor:
        """E[x0 | x_t, class], from the errors of probes: the errors are |x0 - mean|^2."""
        x_t, snr = x.double().numpy(), np.exp(log_snr.double().numpy())
        flat = x_t.reshape(len(x_t), -1)
        root = np.sqrt(1 / (1 + snr))[:, None]
        alpha = np.sqrt(snr / (1 + snr))[:, None]
        size = flat.shape[1]

        def error(guess: np.ndarray) -> np.ndarray:
            noise = ((flat - alpha * guess) / root).reshape(x_t.shape)
            every = self.exact.errors(guess.reshape(x_t.shape), noise, snr)
            column = (labels.numpy() + self.swap) % self.exact.n_classes
            return np.asarray(every[np.arange(len(column)), column])

        # |P g - m|^2 at g = 0 and at the unit vectors gives m, with P on what templates reach
        base, units = error(np.zeros_like(flat)), np.eye(size)
        kept = (self.exact.emissions(units.reshape(size, *x_t.shape[1:])) ** 2).sum((1, 2, 3))
        mean = np.stack(
            [0.5 * (base + kept[i] - error(np.tile(units[i], (len(flat), 1))))
             for i in range(size)], axis=1,
        )  # fmt: skip
        return torch.from_numpy(mean.reshape(x_t.shape)).to(x)


@pytest.mark.parametrize("swap", [0, 1])
def test_the_optimum_in_the_place_of_a_network_is_the_optimum(swap: int) -> None:
    scene = CONFLICT.scene(0, 0)
    exact = scene.exact(3)
    assert exact is not None
    images, _, _ = scene.conflict(3, 3, 1)
    model = NetworkModel(
        ExactCase(exact, swap), GaussianNoise(schedule="linear"), "x0", condition=0,
        noise_conditioning=LogSNR(),
    )  # fmt: skip
    noise = np.random.default_rng(0).standard_normal(images.shape)
    want = exact.errors(images, noise, 2.0)
    case = OneCase(model, 0, scene.n_classes)
    found = ClassErrors(case, 3).errors(images, noise, 2.0)
    # pixels that no template reaches carry no signal, and both denoisers return zero there
    gap = np.abs((found - found[:, :1]) - (want - want[:, :1])).max()
    assert (gap < 1e-3) == (swap == 0)


def test_drawings_are_isometries_and_low_passing_removes_the_texture() -> None:
    scene = CONFLICT.scene(1, 0)
    images, _, _ = scene.conflict(0, 5, 0)
    exact = scene.exact(0)
    assert exact is not None
    x = exact.emissions(images)
    np.testing.assert_allclose((x**2).sum((1, 2, 3)), (images**2).sum((1, 2, 3)), rtol=1e-5)
    bare = exact.emissions(scene.low_passed(images, 0, 0.0))
    np.testing.assert_allclose(bare[:, 0], x[:, 0], atol=1e-5)
    np.testing.assert_allclose(bare[:, 1], 0, atol=1e-5)
    # a projection of the pixels on slow cosines keeps the shapes and removes the textures
    T = frequency_templates(3, 3, 0).reshape(2, 3, 9)
    slow = T[0].T @ T[0]
    np.testing.assert_allclose(T[1] @ slow, 0, atol=1e-12)
    pictures = scene.canvas.picture(images)
    assert pictures.shape == (5, 1, 6, 6)
    first = images[:, :, 0, 0].reshape(5, 3, 3)  # the patch at the top left
    np.testing.assert_array_equal(pictures[:, 0, :3, :3], first)


def test_cues_agree_in_training_and_conflict_in_the_test() -> None:
    scene = CONFLICT.scene(0, 0)
    ((canvas, some),) = scene.draw(64, stream(0, "draw"))
    assert some.images(canvas, stream(0, "x")).shape[1:] == scene.canvas.shape
    assert set(some.labels // 3) == {0, 1, 2, 3}
    _, shapes, textures = scene.conflict(1, 50, 0)
    assert (shapes != textures).all()
    # in a low-noise copy the shape is read from the images that carry its label
    exact = scene.exact(0)
    assert exact is not None
    images, labels = scene.agreeing(0, 60, 3)
    read = exact.model.log_density(exact.emissions(images)).argmax(axis=1)
    assert (read == labels).mean() > 0.7


def test_the_target_is_the_mean_of_the_noise_given_the_symbols() -> None:
    """What is left of the noise does not vary with the image; of a wrong spread it does."""
    scene = ConflictNetworks(amplitudes=(1.0, 0.3)).scene(0, 0)
    ((canvas, some),) = scene.draw(3000, stream(0, "draw"))
    alpha, sigma = np.full((2, 3000), [[0.8], [0.6]])

    def slope(fresh: rendered_scenes.Fresh, truth: rendered_scenes.Fresh) -> tuple[float, float]:
        rng, again = stream(0, "noise"), stream(0, "noise")
        x_t, _ = rendered_scenes.noisy_and_mean(canvas, truth, alpha, sigma, rng)
        images = truth.images(canvas, again)
        eps = again.standard_normal(images.shape, dtype=np.float32)
        a, b = alpha[:, None, None], sigma[:, None, None]
        seen = canvas.read(x_t)
        mean = b * (seen - a * fresh.bare) / (b**2 + a**2 * fresh.spread**2)
        left, rest = canvas.read(eps) - mean, seen - a * truth.bare
        products = (left * rest).reshape(3000, -1).mean(axis=1)
        return float(products.mean()), float(products.std() / np.sqrt(3000))

    value, error = slope(some, some)
    assert abs(value) < 4 * error
    wrong, error = slope(some._replace(spread=some.spread * 1.3), some)
    assert abs(wrong) > 10 * error
    # and the function returns this mean
    rng, again = stream(0, "noise"), stream(0, "noise")
    x_t, target = rendered_scenes.noisy_and_mean(canvas, some, alpha, sigma, rng)
    some.images(canvas, again)
    eps = again.standard_normal(x_t.shape, dtype=np.float32)
    want = 0.6 * (canvas.read(x_t) - 0.8 * some.bare) / (0.36 + 0.64 * some.spread**2)
    np.testing.assert_allclose(canvas.read(target), want, atol=1e-4)
    gap = (target - eps) - canvas.render(canvas.read(target - eps))
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def test_silhouettes_have_the_shape_of_one_and_the_pixels_of_the_other() -> None:
    rng = np.random.default_rng(0)
    a, b = -np.ones((2, 4, 1, 6, 6))
    a[:, :, 1:5, 2:4], b[:, :, 2:4] = 0.3, rng.uniform(-0.5, 1, (4, 1, 2, 6))
    made = compose_silhouettes(a, b)
    np.testing.assert_array_equal(made > -0.8, a > -0.8)
    inside = made[0, 0][made[0, 0] > -0.8]
    gap = np.abs(inside[:, None] - b[0, 0, 2:4].ravel()).min(axis=1)
    np.testing.assert_allclose(gap, 0, atol=1e-12)
    flat = compose_silhouettes(a, b, 0.0)
    assert np.ptp(flat[1, 0][flat[1, 0] > -0.8]) < 1e-12
    with pytest.raises(InvalidParameter, match="no foreground") as error:
        compose_silhouettes(a, -np.ones_like(b))
    one_line(error)


def test_captions_bind_and_their_swaps_are_captions() -> None:
    captions = Captions(4)
    pairs = captions.table[: captions.pairs]
    swap = captions.wrong[BOUND[0]][:, 0]
    assert (swap[swap] == np.arange(len(swap))).all()
    assert (swap != np.arange(len(swap))).all()
    for k in (0, 17, 71):
        one, other = pairs[k], pairs[swap[k]]
        for attribute in (0, 1):  # the same attributes are present
            assert sorted(one[:, attribute]) == sorted(other[:, attribute])
    assert captions.wrong[BOUND[1]].shape == (72, 2)
    # a sum over objects of a function of both attributes tells exchanged captions apart, a sum of
    # functions of one attribute does not
    torch.manual_seed(0)
    encoder = CaptionEncoder(captions, 5, 16)
    with torch.no_grad():
        code = encoder(torch.arange(72))
        assert float((code - code[torch.from_numpy(swap)]).abs().max()) > 1e-2
        encoder.objects = nn.Sequential(nn.Linear(8, 5))
        bag = encoder(torch.arange(72))
    assert float((bag - bag[torch.from_numpy(swap)]).abs().max()) < 1e-5


def test_captions_enter_as_tokens_in_any_order_or_as_their_sum() -> None:
    captions = Captions(4)
    torch.manual_seed(0)
    encoder = CaptionEncoder(captions, 5, 16, conditions=2)
    prompt = CaptionTokens(encoder, 5)
    total, labels = len(captions.table), torch.arange(len(captions.table))
    with torch.no_grad():
        tokens, code = prompt(labels + total), encoder(labels + total)
        # objects that are not named have a token of their own, and add nothing to the sum
        named = torch.from_numpy(captions.table.max(axis=2) >= 0)
        assert (tokens[:, :2][~named] == prompt.absent).all()
        kept = (tokens[:, :2] * named[..., None]).sum(dim=1) + tokens[:, 2]
        torch.testing.assert_close(kept, code)
        assert float((encoder(labels) - code).abs().min(dim=1).values.max()) > 0  # other condition
        # a network does not see the order of the objects in a caption
        network = ImageTransformer((2, 2, 2), width=8, heads=2, layers=2, prompt=_Tokens(tokens))
        x, t = torch.randn(3, 2, 2, 2), torch.zeros(3)
        first = network(x, t, torch.tensor([0, 1, 2]))
        network.prompt = _Tokens(tokens[:, [1, 0, 2]])
        torch.testing.assert_close(network(x, t, torch.tensor([0, 1, 2])), first)
        network.prompt = _Tokens(tokens.roll(1, dims=0))
        assert float((network(x, t, torch.tensor([0, 1, 2])) - first).abs().max()) > 0


class _Tokens(nn.Module):
    """Given tokens of width 5, widened to 8."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, labels: Tensor) -> Tensor:
        """Tokens of some captions."""
        return nn.functional.pad(self.tokens[labels], (0, 3))


def test_prompts_of_a_scene_are_the_captions_that_name_it() -> None:
    captions = Captions(4)
    values = np.array([[[0, 1, 2], [3, 2, 0]]])  # first: shape 0, colour 3; second: 1, 2
    named = {name: captions.table[captions.asked(values, name)[0]].tolist()
             for name in ASKED}  # fmt: skip
    assert named["pair"] == [[0, 3], [1, 2]]
    assert named["pair swapped"] == [[0, 2], [1, 3]]
    assert named["pair recoloured"] == [[0, 0], [1, 2]]
    assert named["first"] == [[0, 3], [-1, -1]]
    assert named["second recoloured"] == [[1, 3], [-1, -1]]
    assert named["colour absent"] == [[-1, 0], [-1, -1]]
    with pytest.raises(InvalidParameter, match="differ") as error:
        captions.number([[0, 1]], [[0, 2]])
    one_line(error)


def test_posterior_of_captions_against_single_densities() -> None:
    scenes, canvas = BINDING.drawn(0, 0)
    captions = Captions(4)
    x0, values = scenes[3].sample(40, 1)
    p = binding_networks._posterior(scenes[3], captions, x0)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    own = captions.asked(values, "pair")
    log_p = scenes[3].log_density(x0, values, tuple(PROMPTS[w] for w in ("pair", "pair swapped")))
    rows, swap = np.arange(40), captions.wrong["pair"][:, 0]
    np.testing.assert_allclose(
        np.log(p[rows, own] / p[rows, swap[own]]), log_p[:, 0] - log_p[:, 1], atol=1e-8
    )
    joint = p / 40
    good = zero_shot_accuracy(joint, joint, captions.wrong["pair"])
    assert good > 0.8
    assert zero_shot_accuracy(joint, -joint, captions.wrong["pair"]) < 0.2  # a planted wrong score
    # drawn scenes come back from their images
    np.testing.assert_allclose(canvas[3].read(canvas[3].render(x0)), x0, atol=1e-5)


def test_scenes_under_a_caption_have_what_it_names() -> None:
    scenes, canvas = BindingNetworks(v=4, tau=0.01, **TINY).drawn(0, 0)
    captions = Captions(4)
    drawn = binding_networks._Drawn(scenes, canvas, captions)
    number = np.repeat([5, 80, 90], 20)
    x0 = canvas[1].read(drawn.under(1, number, stream(0, "x")))
    bags = scenes[1].bag_scores(x0)
    for row, (one, other) in enumerate(captions.table[number]):
        for a in (0, 1):
            for value in (one[a], other[a]):
                if value >= 0:
                    assert bags[a][row, value] > -1e-3
    parts = drawn.batch(400, stream(1, "batch"))
    counted = np.concatenate([some.labels for _, some in parts])
    assert set(counted // len(captions.table)) == {0, 1}
    share = (counted % len(captions.table) < captions.pairs).mean()
    assert abs(share - 0.6) < 0.1


@pytest.mark.parametrize(
    "source", [pytest.param(CONFLICT, marks=pytest.mark.slow), BINDING], ids=["conflict", "binding"]
)
def test_a_study_of_seconds_writes_numbers_and_a_figure(source: Any, tmp_path: Path) -> None:
    experiment = NetworkClassification(source)
    (ds,) = run(experiment, out=tmp_path, summary=tmp_path / "s.json").values()
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["networks"] == 2
    assert "network minus exact" in found
    if source is BINDING:
        assert set(found["network minus exact"]) == {"tokens", "sum"}
        assert ds.accuracy.dims == ("entry", "area", "task", "weighting")
    assert (tmp_path / "network_classification.png").stat().st_size > 10_000
    name = "bias" if source is CONFLICT else "accuracy"
    for end in ("", "_error", "_by_network"):
        assert f"{name}_minus_exact{end}" in ds
    assert str(ds.source.values) == "network"


def _drawn_at(templates: Any, leaves: int) -> EmissionImages:
    """All leaves of one kind in one place."""
    zero = np.zeros(leaves, int)
    return EmissionImages(templates, zero, zero, zero, 1)


def test_what_cannot_be_asked_is_refused() -> None:
    cases: list[tuple[Any, str]] = [
        (lambda: ConflictNetworks(v=2), "at least 3"),
        (lambda: ConflictNetworks(texture_levels=(5, 2)), "levels"),
        (lambda: ConflictNetworks(texture_levels=(2,)), "one per level"),
        (lambda: ConflictNetworks(s=2, L=3), "no square"),
        (lambda: ConflictNetworks(patch=3), "larger patch"),
        (lambda: ConflictNetworks(networks=1), "networks"),
        (lambda: ConflictNetworks(low_pass=(0.0,)), "at least 2"),
        (lambda: ConflictNetworks(sigma2=(1e-300, 1.0)), "sigma2"),
        (lambda: ComposedPhotographs(amplitudes=(0.0, 1.0)), "amplitudes"),
        (lambda: ComposedPhotographs(low_pass=(3,)), "at least 2"),
        (lambda: BindingNetworks(scenes=10**30), "scenes"),
        (lambda: ComposedPhotographs(low_pass=(0,)), "low_pass"),
        (lambda: BindingNetworks(v=5), "larger patch"),
        (lambda: BindingNetworks(width=65), "multiple of 32"),
        (lambda: BindingNetworks(L=3), "even"),
        (lambda: BindingNetworks(areas=(4,)), "areas"),
        (lambda: BindingNetworks(widths=(2, 99)), "18 captions"),
        (lambda: NetworkClassification(CONFLICT).measure(object()), "cues agree"),
        (lambda: NetworkClassification(BINDING).predict(), "no law predicts"),
        (lambda: frequency_templates(9, 4, 0), "larger patch"),
        (lambda: _drawn_at(np.ones((1, 2, 1, 2, 2)), 1), "orthonormal"),
        (lambda: _drawn_at(frequency_templates(2, 2, 0), 2),
         "one place"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_biases_and_amplitudes_are_read_from_the_names_of_cases() -> None:
    names = ["level 4, k = 1", "level 4, k = 0.3", "level 2, k = 1", "level 2, k = 0.3"]
    strong, weak = conflict_networks._extremes(names)
    assert strong == names[::2]
    assert weak == names[1::2]
    answer, shapes, textures = (np.array(x) for x in ([0, 1, 2, 2], [0, 1, 0, 0], [1, 0, 2, 1]))
    assert conflict_networks._bias(answer, shapes, textures) == (2 / 3, 0.75)


def _biases(networks: int, rng: np.random.Generator, gap: float = 0.0) -> xr.Dataset:
    """Shape biases of networks that scatter about the exact ones by .05, plus a gap."""
    cases = ["level 4, k = 1", "level 4, k = 0.3"]
    exact = np.broadcast_to(np.array([0.5, 0.8])[:, None], (networks, 2, 1))
    net = exact + gap + 0.05 * rng.standard_normal((networks, 2, 1))
    axes = ("network", "case", "weighting")
    return xr.Dataset(
        {
            "bias_by_network": (axes, net), "exact_bias_by_network": (axes, exact),
            "bias_minus_exact_by_network": (axes, net - exact),
        },
        {"case": cases, "weighting": ["exp"]},
    )  # fmt: skip


def test_scores_of_three_networks_are_normal_scores() -> None:
    """Under the true law 4.6 % lie beyond 2; planted: the mean over Student's error, 12 %."""
    rng = np.random.default_rng(0)
    laws = [conflict_networks._laws(_biases(3, rng))["network minus exact"] for _ in range(400)]
    score = np.array([x[2] for x in laws])
    planted = np.array([x[0] / x[1] for x in laws])
    expected = 2 * stats.norm.sf(2)
    assert stats.binomtest(int((abs(score) > 2).sum()), len(score), expected).pvalue > 0.01
    assert stats.binomtest(int((abs(planted) > 2).sum()), len(score), expected).pvalue < 1e-4
    shifted = conflict_networks._laws(_biases(20, rng, gap=-0.3))["network minus exact"]
    assert shifted[2] < -5


def test_the_law_that_amplitude_adds_nothing_is_rejected_by_the_true_one() -> None:
    """Networks that follow the exact law: their effect of the amplitude is .3, not nothing."""
    laws = conflict_networks._laws(_biases(20, np.random.default_rng(1)))
    assert abs(laws["network minus exact"][2]) < 3
    assert laws["effect of a small amplitude"]["network"][2] > 5
    assert laws["effect of a small amplitude"]["exact"][0] == pytest.approx(0.3)
    assert abs(laws["effect of a small amplitude"]["network minus exact"][2]) < 3


def test_photographs_are_compared_with_no_preference() -> None:
    ds = _biases(20, np.random.default_rng(2))[["bias_by_network"]]
    laws = conflict_networks._against_half(ds)
    assert laws["network minus one half"][0] == pytest.approx(0.15, abs=0.03)
    assert laws["effect of a small amplitude"]["network"][2] > 5


def test_networks_that_happen_to_agree_are_not_beyond_chance() -> None:
    """Three of the same .517 on 200 scenes each: Student's error is planted, and wrong."""
    rows = np.array([0.515, 0.515, 0.52])
    mean, error, z = binding_networks.beyond_chance(rows, 200)
    assert (mean, error) == pytest.approx((0.01667, 0.5 / 600**0.5), abs=1e-5)
    assert z == pytest.approx(mean / error)
    assert rendered_scenes.scored(rows - 0.5)[2] > 2 > abs(z)
    # where networks differ by more than counting does, Student's error stands
    rows = np.array([0.4, 0.5, 0.9])
    assert binding_networks.beyond_chance(rows, 200) == rendered_scenes.scored(rows - 0.5)
    # at chance the share beyond 2 is at most 4.6 %, also of the one of the two that is smaller
    rng = np.random.default_rng(2)
    scores = [binding_networks.beyond_chance(row, 200)[2]
              for row in rng.binomial(200, 0.5, (1000, 3)) / 200]  # fmt: skip
    expected = 2 * stats.norm.sf(2)
    count = int((np.abs(scores) > 2).sum())
    assert stats.binomtest(count, len(scores), expected, alternative="greater").pvalue > 0.01


def test_the_grammar_of_a_scene_is_drawn_by_its_seed() -> None:
    first, again, other = (CONFLICT.scene(g, s) for g, s in ((0, 0), (0, 0), (1, 0)))
    a, b, c = (x.draw(4, stream(0, "same"))[0][1].bare for x in (first, again, other))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1
    assert RHM(3, 2, 2, 2).n_leaves == first.canvas.side**2


@pytest.mark.slow
def test_photographs_are_composed_and_classified(tmp_path: Path) -> None:
    try:
        fashion_folder()
    except InvalidParameter as error:
        pytest.skip(str(error))
    source = ComposedPhotographs(networks=2, steps=2, batch=4, data=4, samples=2, sigma2=(0.1, 1.0))
    scene = source.scene(0, 0)
    images, shapes, textures = scene.conflict(0, 6, 1)
    assert images.shape == (6, 1, 14, 14)
    assert (shapes != textures).all()
    flat = scene.low_passed(images, 0, 3.0)
    assert np.abs(np.diff(flat, axis=3)).mean() < np.abs(np.diff(images, axis=3)).mean()
    (ds,) = run(NetworkClassification(source), out=tmp_path, summary=tmp_path / "s.json").values()
    assert "exact_bias" not in ds
    assert dict(ds.bias.sizes) == {"case": 2, "weighting": 4}
    found = json.loads((tmp_path / "s.json").read_text())
    assert set(found["cases"]) == {"k = 1", "k = 0.3"}
    assert len(found["network minus one half"]) == 3
