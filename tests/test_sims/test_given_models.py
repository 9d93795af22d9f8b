"""A model that is given is the model that is measured, under its own noise and on its own data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.derivations import Derivations
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import stream
from hierdiff.sims.alignment import Alignment
from hierdiff.sims.attribute_binding import AttributeBinding
from hierdiff.sims.composition import Composition
from hierdiff.sims.correlations import Correlations
from hierdiff.sims.metrics.forward_backward import (
    PARTS,
    exact_run,
    forward_backward,
    tree_run,
)
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.sims.representation import Representation
from hierdiff.sims.run import run
from hierdiff.sims.zero_shot_classification import Classification
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.exact_models import ExactMixture, ExactRHM

GRAMMAR = RHM(8, 2, 2, 3).draw(0)
OTHER = RHM(8, 2, 2, 3).draw(1)
DATA = GRAMMAR.sample(30, 1)
MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.1, seed=0)
PROCESSES = (MaskingNoise(8), UniformNoise(8), GaussianNoise(8), EpsilonNoise(8))

TRANSITION = PhaseTransition(noise="masking", levels=3, refine=0)
ALIGNMENT = Alignment(L=3, weights=(1.0, 0.5, 0.25, 0.1), triplets=200, grammars=2, t=(0.3,))
CORRELATIONS = Correlations(v=8, m=2, L=3, noise="masking", trajectories=4, levels=2)
COMPOSITION = Composition(
    denoiser_v=8,
    denoiser_m=2,
    denoiser_L=3,
    num_levels=2,
    data=8,
    multiplicities=(2, 3),
    parts=("denoisers",),
)
CLASSES = Classification(
    v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 30), independent_budgets=(1, 4), times=(0.2,),
    repeats=2, buckets=4, keep=(1,), stages=(20,), level_data=8, level_samples=8, strata=16,
)  # fmt: skip
FEATURES = Representation(
    rank=2, dim=6, n_train=(30,), sigmas=(0.1,), seeds=2, test=30, quantities=("snr",)
)


class Refused(RuntimeError):
    """What the silent models below raise."""


def refuse(*_: object, **__: object) -> Any:
    raise Refused


@dataclass(frozen=True)
class SilentRHM(ExactRHM):
    """An exact model that answers nothing."""

    denoise = posterior = sample = features = beliefs = refuse


@dataclass(frozen=True, eq=False)
class SilentMixture(ExactMixture):
    """The same on vectors."""

    denoise = class_marginals = sample = features = refuse


class SilentDenoiser:
    """A conditional denoiser that answers nothing."""

    noise, source = GaussianNoise(), "simulation"
    denoise = refuse

    def given(self, label: object) -> SilentDenoiser:
        return self


def silent(noise: Any = PROCESSES[0]) -> SilentRHM:
    return SilentRHM(GRAMMAR, noise)


MEASURED = {
    "PhaseTransition": lambda: TRANSITION.measure(silent(), DATA),
    "PhaseTransition, epsilon": lambda: replace(TRANSITION, noise="epsilon").measure(
        silent(EpsilonNoise(8)), DATA
    ),
    "PhaseTransition, vectors": lambda: replace(TRANSITION, noise="gaussian").measure(
        SilentMixture(MIXTURE, GaussianNoise())
    ),
    "Alignment": lambda: ALIGNMENT.measure(silent(), DATA),
    "Correlations": lambda: CORRELATIONS.measure(silent(), DATA.leaves),
    "Correlations, epsilon": lambda: replace(CORRELATIONS, noise="epsilon").measure(
        silent(EpsilonNoise(8)), DATA.leaves
    ),
    "Composition": lambda: COMPOSITION.measure(silent(), GRAMMAR),
    "Classification": lambda: CLASSES.measure(
        SilentDenoiser(), (np.random.default_rng(0).random((16, 3)), np.arange(16) % 2)
    ),
    "Representation": lambda: FEATURES.measure(SilentMixture(FEATURES.mixture, GaussianNoise())),
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_model_that_raises_makes_measure_raise(name: str) -> None:
    with pytest.raises(Refused):
        MEASURED[name]()


def test_an_experiment_with_models_of_its_own_refuses_others() -> None:
    with pytest.raises(InvalidParameter, match="takes no model"):
        AttributeBinding(grammars=2).measure(silent())


def test_alignment_is_measured_under_the_noise_of_the_model() -> None:
    found = [ALIGNMENT.measure(ExactRHM(GRAMMAR, noise), DATA) for noise in PROCESSES]
    for i, (noise, ds) in enumerate(zip(PROCESSES, found, strict=True)):
        assert noise.name in ds.t.attrs["long_name"]
        assert ("snr" in ds.coords) == (noise.name == "gaussian")
        for other in found[:i]:
            assert not np.array_equal(ds.accuracy, other.accuracy)
    # the schedule is part of the noise
    linear = ALIGNMENT.measure(ExactRHM(GRAMMAR, GaussianNoise(8, "linear")), DATA)
    assert float(linear.snr[0]) == pytest.approx(float(GaussianNoise(8, "linear").snr(0.3)))
    assert not np.array_equal(linear.accuracy, found[2].accuracy)


def test_alignment_reads_the_features_of_the_model() -> None:
    @dataclass(frozen=True)
    class Blind(ExactRHM):
        """Features that carry nothing."""

        def features(self, x_t: Any, t: Any) -> dict[str, Any]:
            return {k: np.zeros_like(x) for k, x in super().features(x_t, t).items()}

    ds = replace(ALIGNMENT, ties="shared").measure(Blind(GRAMMAR, MaskingNoise(8)), DATA)
    assert ds.accuracy.values == pytest.approx(1 / 3)
    exact = ALIGNMENT.measure(ExactRHM(GRAMMAR, MaskingNoise(8)), DATA)
    # with the class given its level is known exactly
    label = exact.accuracy.sel(condition="class given", level=0)
    assert label.values == pytest.approx(float(exact.label_only))


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda n: n.name)
def test_a_transition_is_measured_under_the_noise_of_the_model(noise: Any) -> None:
    experiment = replace(TRANSITION, noise=noise.name)
    ds = experiment.measure(ExactRHM(GRAMMAR, noise), DATA)
    assert noise.name in ds.t.attrs["long_name"]
    with pytest.raises(InvalidParameter, match="cannot be measured"):
        replace(TRANSITION, noise="epsilon" if noise.name != "epsilon" else "masking").measure(
            ExactRHM(GRAMMAR, noise), DATA
        )


def test_the_schedule_of_the_model_labels_the_transition() -> None:
    noise = GaussianNoise(8, "linear")
    ds = replace(TRANSITION, noise="gaussian").measure(ExactRHM(GRAMMAR, noise), DATA)
    np.testing.assert_allclose(ds.snr, noise.snr(ds.t.values))


def test_a_clamped_class_is_measured_as_it_is() -> None:
    """A mixture whose class is clamped believes nothing else."""
    experiment = replace(TRANSITION, noise="gaussian")
    ds = experiment.measure(ExactMixture(MIXTURE, GaussianNoise(), 1))
    share = ds.belief.isel(level=0)
    assert set(np.unique(ds.class_belief)) == {0.0, 1.0}
    assert float(share.std()) == 0


def _changed(level: int, symbol: int) -> Derivations:
    levels = [np.array(x) for x in DATA.levels]
    levels[level][3, 0] = symbol
    return Derivations(tuple(levels))


WRONG = {
    "a symbol out of range": (lambda: _changed(3, 8), "levels\\[3\\] holds 8"),
    "a negative symbol": (lambda: _changed(1, -1), "levels\\[1\\] holds -1"),
    "fractional symbols": (
        lambda: Derivations(tuple(np.asarray(x, float) for x in DATA.levels)), "give integers"),
    "another depth": (lambda: RHM(8, 2, 2, 2).draw(0).sample(4, 0), "nodes per level"),
    "another branching": (lambda: RHM(8, 2, 3, 3).draw(0).sample(4, 0), "nodes per level"),
    "no tree": (lambda: DATA[:0], "nodes per level"),
    "another grammar": (lambda: OTHER.sample(4, 0), "no rule of symbol"),
    "more symbols": (lambda: RHM(16, 2, 2, 3).draw(0).sample(40, 0), "levels\\[0\\] holds"),
    "leaves alone": (lambda: DATA.leaves, "Derivations"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("experiment", [TRANSITION, ALIGNMENT], ids=["transition", "alignment"])
def test_wrong_data_are_refused_before_anything_is_computed(name: str, experiment: Any) -> None:
    make, words = WRONG[name]
    # the model cannot answer, so whatever is refused is refused before it is asked
    with pytest.raises(InvalidParameter, match=words) as error:
        experiment.measure(silent(), make())
    assert "\n" not in str(error.value)


def test_wrong_leaves_are_refused() -> None:
    cases = {
        "are no trees": (silent(), DATA.leaves[:, :6]),
        "holds 8": (silent(), _changed(3, 8).leaves),
        "integers": (silent(), DATA.leaves / 2),
        "denoises vectors": (SilentMixture(MIXTURE, GaussianNoise()), DATA.leaves),
    }
    for words, (model, data) in cases.items():
        experiment = replace(CORRELATIONS, noise=model.noise.name)
        with pytest.raises(InvalidParameter, match=words):
            experiment.measure(model, data)
    with pytest.raises(InvalidParameter, match="without the model"):
        ALIGNMENT.measure(None, DATA)
    with pytest.raises(InvalidParameter, match="make Alignment with L = 3"):
        Alignment().measure(silent())


def test_a_class_of_its_own_is_never_taken_from_finished_tasks(tmp_path: Any) -> None:
    TRANSITION.measure(ExactRHM(GRAMMAR, MaskingNoise(8)), DATA, folder=tmp_path)
    assert list(tmp_path.iterdir())
    with pytest.raises(Refused):
        TRANSITION.measure(silent(), DATA, folder=tmp_path)


CHAIN = SimulatedModel(ExactRHM(GRAMMAR, MaskingNoise(8)), 3)
RUNS = {
    "mixture": (replace(TRANSITION, noise="gaussian"), ExactMixture(MIXTURE, GaussianNoise()), None,
                ["phase_transition"]),
    "exact": (TRANSITION, ExactRHM(GRAMMAR, MaskingNoise(8)), DATA,
              ["phase_transition_theory", "phase_transition"]),
    "chain": (TRANSITION, CHAIN, (GRAMMAR, DATA), ["phase_transition_theory", "phase_transition"]),
    "alignment": (replace(ALIGNMENT, n_readout=50), CHAIN, (GRAMMAR, DATA),
                  ["alignment_theory", "alignment"]),
    "correlations": (CORRELATIONS, CHAIN, DATA.leaves, ["correlations"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_study_of_a_given_model_writes_its_results_and_a_claim(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment, model, data, files = RUNS[name]
    found = run(experiment, model, data, out=tmp_path)
    assert list(found) == files
    assert {p.stem for p in tmp_path.glob("*.nc")} == set(files)
    assert (tmp_path / f"{files[-1]}.png").read_bytes()[:4] == b"\x89PNG"
    claim = capsys.readouterr().out.strip().splitlines()[-1]
    assert any(character.isdigit() for character in claim)
    # the law is that of the model's own grammar, not of the experiment's sizes
    if name in ("exact", "chain"):
        assert "at depth 3" in claim or "not lost" in claim


@dataclass(frozen=True)
class OwnRHM(ExactRHM):
    """An exact model of a class of its own, which is not short-cut."""


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda noise: noise.name)
def test_the_short_cut_of_exact_inference_changes_no_sample(noise: NoiseProcess) -> None:
    """Nor does it if all rows are copies of one datum, which one upward pass serves."""
    exact, own = ExactRHM(GRAMMAR, noise), OwnRHM(GRAMMAR, noise)
    for leaves in (DATA.leaves, np.repeat(DATA.leaves[:1], 30, axis=0)):
        randoms = noise.draw(leaves.shape, stream(0, "noise"))
        for t in (0.3, 0.8):
            one, other = (
                forward_backward(m, leaves, t, seed=3, randoms=randoms) for m in (exact, own)
            )
            assert np.array_equal(one.x_t, other.x_t)
            assert np.array_equal(one.x_0, other.x_0)
            assert other.latents is None
            assert one.latents is not None
            for a, b in zip(one.latents, GRAMMAR.parse(one.x_0).levels, strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda noise: noise.name)
def test_a_task_of_exact_inference_is_the_same_from_one_upward_pass_or_two(
    noise: NoiseProcess,
) -> None:
    """And its numbers are plain means of what the model returns."""
    times = np.array([0.0, 0.3, 0.7, 1.0])
    one, other = (
        tree_run(kind(GRAMMAR, noise), None, 4, 1, range(5), times)["values"]
        for kind in (ExactRHM, OwnRHM)
    )
    assert np.array_equal(one, other)
    drawn = [tree_run(ExactRHM(GRAMMAR, noise), DATA, 4, 1, range(k, k + 3), times)["values"]
             for k in (0, 3)]  # fmt: skip
    whole = tree_run(ExactRHM(GRAMMAR, noise), DATA, 4, 1, range(6), times)["values"]
    assert np.array_equal(np.concatenate(drawn), whole)
    numbers = [noise.draw((1, GRAMMAR.n_leaves), stream(4, "noise", 1, i)) for i in range(6)]
    x_t = noise.corrupt_with(DATA[:6].leaves, 0.3, np.concatenate(numbers))
    found = ExactRHM(GRAMMAR, noise).beliefs(x_t, 0.3, DATA[:6])
    for level in range(4):
        for q, part in enumerate((found.marginal, found.upward, found.square)):
            assert np.array_equal(whole[:, level, 1, q], part[level].mean(axis=1))


def test_a_run_of_exact_inference_holds_what_is_asked_for() -> None:
    noise = UniformNoise(8)
    model, randoms = ExactRHM(GRAMMAR, noise), noise.draw(DATA.leaves.shape, stream(0, "noise"))
    run = exact_run(model, DATA, 0.4, randoms, 5)
    found = posterior(GRAMMAR, noise.evidence(run.x_t, 0.4), levels=(0,))
    assert run.classes is not None
    assert run.beliefs is not None
    assert np.array_equal(run.classes, found.marginals[0][:, 0])
    rows = np.arange(len(DATA))
    np.testing.assert_allclose(run.beliefs.marginal[0][:, 0],
                               run.classes[rows, DATA.levels[0][:, 0]], rtol=1e-12)  # fmt: skip
    same = forward_backward(model, DATA.leaves, 0.4, 5, randoms=randoms)
    assert np.array_equal(run.x_0, same.x_0)
    for part in PARTS:
        alone = exact_run(model, DATA, 0.4, randoms, 5, (part,))
        assert (alone.latents is None) == (part != "samples")
        assert (alone.beliefs is None) == (part != "beliefs")
        assert (alone.classes is None) == (part != "classes")
    with pytest.raises(InvalidParameter, match=r"parts\[0\] = 'class'"):
        exact_run(model, DATA, 0.4, randoms, 5, ("class",))
