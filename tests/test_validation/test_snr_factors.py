"""Denoising strength and class confidence apart: exact laws, planted defects, trained networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import one_line

from hierdiff import GaussianNoise, LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.sims.run import run
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.theory.mixture.feature_snr import class_confidence, mean_field_exponent, snr_envelope
from hierdiff.validation.experiments import snr_factors
from hierdiff.validation.experiments.representation import NetworkRepresentation
from hierdiff.validation.experiments.snr_factors import (
    MixtureFactors,
    implied_beliefs,
    separated_factors,
)
from hierdiff.validation.networks.vector_mlp import VectorDenoiser
from hierdiff.validation.recipes import train_vector_network, vector_loss
from hierdiff.validation.training import TrainConfig

Array = NDArray[Any]
K, D, DELTA = 3, 6, 0.2
SIGMAS = (0.2, 0.5, 1.1)
MIXTURE = LowRankMixture.random(K * D, D, K, delta=DELTA, seed=0)
EXACT = ExactMixture(MIXTURE, GaussianNoise())


def test_beliefs_are_found_from_outputs() -> None:
    """Against the normal equations with a Lagrange multiplier."""
    rng = np.random.default_rng(0)
    given, weights = rng.standard_normal((4, 7, 9)), rng.dirichlet(np.ones(4), 7)
    output = np.einsum("nk,knd->nd", weights, given)
    np.testing.assert_allclose(implied_beliefs(output, given), weights, atol=1e-12)
    off = output + 0.3 * rng.standard_normal(output.shape)  # outputs that no beliefs explain
    for row in range(7):
        g = given[:, row] @ given[:, row].T
        system = np.block([[g, np.ones((4, 1))], [np.ones((1, 4)), np.zeros((1, 1))]])
        right = np.append(given[:, row] @ off[row], 1.0)
        wanted = np.linalg.solve(system, right)[:4]
        np.testing.assert_allclose(implied_beliefs(off, given)[row], wanted, atol=1e-10)


def test_exact_inference_has_the_exact_factors() -> None:
    found = [separated_factors(EXACT, MIXTURE, SIGMAS, 600, seed)[0] for seed in range(8)]
    sigma = np.array(SIGMAS)
    every = {name: np.array([one[name] for one in found]) for name in found[0]}
    np.testing.assert_allclose(every["rate"], np.tile(sigma**2 / DELTA**2, (8, 1)), rtol=1e-9)
    laws = {
        "strength": snr_envelope(K, DELTA, sigma),
        "confidence": class_confidence(K, D, DELTA, sigma),
    }
    for name, law in laws.items():
        assert np.abs(student_score(every[name] - law)).max() < 4
    assert every["left_over"].max() < 1e-20
    # planted: the confidence of the closed form, the mean inside the softmax
    odds = np.exp(-mean_field_exponent(D, DELTA, sigma))
    wrong = every["confidence"] - 1 / (1 + (K - 1) * odds)
    assert np.abs(student_score(wrong)).max() > 5


@dataclass(frozen=True)
class Defect:
    """Exact inference with one factor spoiled."""

    beliefs: Callable[[Array], Array] = lambda w: w
    strength: float = 1.0
    """Of the exact difference between an output given the class and the mean of all of them."""
    label: int | None = None
    noise = GaussianNoise()
    source = "simulation"

    def given(self, label: int) -> Defect:
        return replace(self, label=label)

    def _given(self, x_t: Array, t: float) -> Array:
        every = np.array([EXACT.given(c).denoise(x_t, t) for c in range(K)])
        centre = every.mean(axis=0)
        return np.asarray(centre + self.strength * (every - centre))

    def denoise(self, x_t: Array, t: float) -> Array:
        given = self._given(x_t, t)
        if self.label is not None:
            return np.asarray(given[self.label])
        weights = self.beliefs(EXACT.class_marginals(x_t, t))
        return np.asarray(np.einsum("nk,knd->nd", weights, given))

    def sample(self, x_t: Array, t: float, seed: Any) -> Array:
        return self.denoise(x_t, t)

    def features(self, x_t: Array, t: float) -> dict[str, Array]:
        return {"output": self.denoise(x_t, t)}


def blurred(w: Array) -> Array:
    return np.asarray(0.8 * w + 0.2 / K)


def test_a_spoiled_factor_is_named() -> None:
    gaps = {}
    for name, model in {
        "beliefs": Defect(beliefs=blurred), "strength": Defect(strength=0.9),
        "both": Defect(beliefs=blurred, strength=0.9),
    }.items():  # fmt: skip
        net, law = separated_factors(model, MIXTURE, SIGMAS, 900, 1)
        base = np.log(law["snr"])
        gaps[name] = [np.log(net[q]) - base for q in
                      ("snr", "snr_exact_beliefs", "snr_exact_strength")]  # fmt: skip
        assert net["left_over"].max() < 1e-12
    (a, none, all_of_it), (b, all_too, nothing) = gaps["beliefs"], gaps["strength"]
    np.testing.assert_allclose(none, 0, atol=1e-9)
    np.testing.assert_allclose(all_of_it, a, atol=1e-9)
    np.testing.assert_allclose(nothing, 0, atol=1e-9)
    np.testing.assert_allclose(all_too, b, atol=1e-9)
    assert a.max() < -0.05
    assert b.max() < -0.05
    whole, strength, beliefs = gaps["both"]
    # separate factors: the parts add up to most of the whole, and neither does so alone
    assert (np.abs(whole - strength - beliefs) < 0.35 * np.abs(whole)).all()


def test_a_network_with_classes() -> None:
    torch.manual_seed(0)
    network = VectorDenoiser(6, 0.5, width=16, depth=1, classes=3)
    torch.nn.init.normal_(network.head.weight)
    for weights in network.blocks.parameters():
        torch.nn.init.normal_(weights)
    x, level = torch.randn(5, 6), torch.zeros(5)
    nothing = network(x, level)
    torch.testing.assert_close(network(x, level, torch.full((5,), 3)), nothing)
    assert (network(x, level, torch.zeros(5, dtype=torch.long)) - nothing).abs().max() > 1e-4
    with pytest.raises(InvalidParameter, match="classes of the network"):
        network(x, level, torch.full((5,), 4))
    with pytest.raises(InvalidParameter, match="without classes"):
        VectorDenoiser(6, 0.5, width=16, depth=1)(x, level, torch.zeros(5, dtype=torch.long))
    mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
    # labels are drawn last: a network that takes no notice of them sees the same batches
    with torch.no_grad():
        for deaf in (False, True):
            if deaf and network.labels is not None:
                network.labels.table.weight.zero_()
            alone, told = (float(vector_loss(mixture, batch=64, label_share=share)(network, 3))
                           for share in (0.0, 0.9))  # fmt: skip
            assert (alone == told) == deaf
    with pytest.raises(InvalidParameter, match="which data lack") as error:
        vector_loss(mixture, data=np.zeros((4, 6)), label_share=0.5)
    one_line(error)


def test_a_trained_network_uses_its_class() -> None:
    mixture = LowRankMixture.random(8, 2, 2, delta=0.2, seed=0)
    plan = TrainConfig(steps=250, every=250, warmup=20, average=0.98)
    model, _ = train_vector_network(
        mixture, plan, width=64, depth=1, label_share=0.5, sigmas=(0.1, 3.0)
    )
    x, k = mixture.sample(600, 1)
    sigma = 1.0
    y = x + sigma * np.random.default_rng(2).standard_normal(x.shape)
    x_t, t = (
        (y / np.sqrt(1 + sigma**2)).astype(np.float32),
        float(cast(GaussianNoise, model.noise).level(sigma**-2)),
    )
    errors = [float(((m.denoise(x_t, t) - x) ** 2).mean())
              for m in (model.given(k), model, model.given(1 - k))]  # fmt: skip
    assert errors[0] < 0.9 * errors[1] < 0.9 * errors[2]
    with pytest.raises(InvalidParameter):
        model.given(2).denoise(x_t, t)


SOURCE = MixtureFactors(
    classes=(2, 3), ranks=(4, 3), deltas=(0.25, 0.3), dim=10, sigmas=(0.2, 0.5, 1.0), networks=1,
    steps=60, width=32, depth=1, test=150,
)  # fmt: skip
SMALL = NetworkRepresentation(SOURCE)


@pytest.mark.slow
def test_the_study_from_training_to_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(SMALL, out=tmp_path, summary=tmp_path / "claims.json")
    theory, closed, network = found.values()
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert capsys.readouterr().out.splitlines()[-1] == claims["claim"]
    assert network.snr.dims == ("run", "sigma")
    assert (tmp_path / "network_representation.png").read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_allclose(theory.rate[0], np.array(theory.sigma) ** 2 / 0.25**2)
    assert (np.diff(theory.strength, axis=1) > 0).all()
    assert (np.diff(theory.confidence, axis=1) < 0).all()
    assert (closed.confidence - theory.confidence).max() > 0.05
    again = run(SMALL, out=tmp_path)["network_representation"]
    np.testing.assert_allclose(again.snr, network.snr)
    assert len(list(tmp_path.glob("factors-*/checkpoint.pt"))) == 2


def test_networks_of_one_mixture_are_one_unit() -> None:
    """Planted: two networks copy what their mixture has; six of them know no more than three."""
    source = MixtureFactors(networks=2)
    gaps = np.repeat([-3.27, -4.02, -2.87], 2)
    units = snr_factors._over_mixtures(source.mixtures, gaps)
    np.testing.assert_allclose(units, [-3.27, -4.02, -2.87])
    _, error, score = snr_factors._mean_error_score(units)
    # the old error, over six rows, is smaller than that of any three numbers with this scatter
    assert float(student_error(gaps)) < 0.6 * error
    assert abs(float(score)) < 3 < 4 < abs(float(student_score(gaps)))
    # networks of a single mixture are units of their own
    alone = MixtureFactors(classes=(3,), ranks=(4,), deltas=(0.2,), networks=3)
    np.testing.assert_allclose(snr_factors._over_mixtures(alone.mixtures, gaps[:3]), gaps[:3])


def test_a_rate_without_logarithm_has_no_number() -> None:
    """Planted: one of two networks denoises the wrong block more; its rate was taken for 1e-12."""
    one = {name: np.full(3, 0.5) for name in snr_factors._NAMES}
    lost = {**one, "rate": np.array([0.5, -0.1, 0.5])}
    ds = snr_factors._label(SOURCE, [one, lost], [one, one], {})
    gap = ds.gap.sel(quantity="ln rate").values
    assert np.isnan(gap).tolist() == [False, True, False]
    assert np.isfinite(ds.gap.sel(quantity="ln strength")).all()
    law = SMALL.predict("exact")
    found = snr_factors.factor_summary(ds, law, law)
    assert found.values["gap"]["ln rate"][1] == [None, None, None]
    json.dumps(found.values, allow_nan=False)


def test_the_closed_form_is_judged_at_a_level_named_beforehand() -> None:
    """Planted noise: the largest of the levels' scores is not what is reported."""
    law = SMALL.predict("exact")
    wrong = law.copy(deep=True)
    rng = np.random.default_rng(1)
    wrong["confidence"] = law.confidence + 0.1 * rng.standard_normal(law.confidence.shape)
    exact = {name: np.full(3, 0.5) for name in snr_factors._NAMES}
    ds = snr_factors._label(SOURCE, [exact, exact], [exact, exact], {})
    ds["confidence"] = (("run", "sigma"), law.confidence.values)
    found = snr_factors.factor_summary(ds, law, wrong).values
    place = np.abs(np.log(np.array(SOURCE.sigmas) / law.peak.values[:, None])).argmin(axis=1)
    gap = (law.confidence - wrong.confidence).values[[0, 1], place]
    assert found["closed form, next to the exact peak"][0] == pytest.approx(gap.mean())


def test_bad_requests_are_told_in_one_line() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: MixtureFactors(classes=(3,)), "one number per mixture"),
        (lambda: MixtureFactors(dim=12), "cannot hold"),
        (lambda: MixtureFactors(deltas=(0.2, 1.5, 0.2)), "deltas"),
        (lambda: MixtureFactors(sigmas=(0.5, 0.2)), "sigmas"),
        (lambda: MixtureFactors(label_share=0.0), "label_share"),
        (lambda: MixtureFactors(classes=(2,), ranks=(2,), deltas=(0.2,), networks=1), "no error"),
        (lambda: replace(SOURCE, test=3), "two points per class"),
        (lambda: SMALL.predict("none"), "not known"),
        (lambda: separated_factors(Unlabelled(), MIXTURE, SIGMAS, 60, 0), "cannot be conditioned"),
        (lambda: implied_beliefs(np.ones((2, 3)), np.ones((1, 2, 3))), "two or more outputs"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


class Unlabelled:
    """A model that has no classes."""

    noise = GaussianNoise()
    source = "simulation"

    def denoise(self, x_t: Array, t: float) -> Array:
        return x_t

    def sample(self, x_t: Array, t: float, seed: Any) -> Array:
        return x_t

    def features(self, x_t: Array, t: float) -> dict[str, Array]:
        return {}
