"""A process of one's own: one class and one line, and all that takes a process takes it.

The toy process is a channel that the library does not have and that is not symmetric: a symbol
becomes symbol 0 with probability t, and nothing tells which symbols did.  Every number that can be
listed is listed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from oracles import FIXTURE, all_strings, frequency_p_value, one_line

from hierdiff import RHM, MaskingNoise, results
from hierdiff.errors import InvalidParameter
from hierdiff.noise import (
    NOISE,
    draw_symbols,
    has_snr,
    input_channels,
    is_channel,
    masks,
    network_input,
    noise_name,
    noise_process,
    register_noise,
    reverse_probabilities,
)
from hierdiff.seeds import Seed, generator
from hierdiff.sims import Correlations, PhaseTransition, SimulatedModel
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.sims.truncated_denoisers import TruncatedDenoisers
from hierdiff.theory import ExactRHM, critical_level, effective_epsilon, mutual_information
from hierdiff.theory.rhm.critical_exponents import critical_exponents
from hierdiff.theory.rhm.density_evolution import leaf_messages, population_dynamics

Array = NDArray[Any]


@dataclass(frozen=True)
class SinkNoise:
    """A symbol becomes symbol 0 with probability t."""

    v: int
    name: ClassVar[str] = "sink"

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.random((*shape, 1))

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> Array:
        lost = np.asarray(randoms)[..., 0] < np.reshape(t, (-1, 1))
        return np.where(lost, 0, np.asarray(x0))

    def corrupt(self, x0: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        return self.corrupt_with(x0, t, self.draw(np.shape(x0), generator(seed)))

    def channel(self, lost: ArrayLike) -> Array:
        """q(x | b) in row b, for one level or one per datum, [..., v, v]."""
        share = np.reshape(lost, (*np.shape(lost), 1, 1))
        return np.asarray((1 - share) * np.eye(self.v) + share * np.eye(self.v)[0])

    def log_evidence(self, x_t: ArrayLike, t: ArrayLike) -> Array:
        x = np.asarray(x_t)
        levels = np.broadcast_to(np.asarray(t, float), (len(x),))
        with np.errstate(divide="ignore"):
            return np.log(self.channel(levels)[np.arange(len(x))[:, None], :, x])

    evidence = log_evidence

    def draw_step(self, shape: tuple[int, ...], s: ArrayLike, rng: np.random.Generator) -> Array:
        return rng.random(shape)

    def reverse_step(
        self, x_t: ArrayLike, belief: ArrayLike, t: ArrayLike, s: ArrayLike, randoms: ArrayLike
    ) -> Array:
        late, early = (
            np.broadcast_to(np.asarray(x, float), (len(np.asarray(x_t)),)) for x in (t, s)
        )
        kept = np.divide(1 - late, 1 - early, out=np.ones(len(late)), where=early < 1)
        law = reverse_probabilities(x_t, belief, self.channel(early), self.channel(1 - kept))
        return draw_symbols(law, randoms)


SINK = SinkNoise(4)


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    """The one line; taken back at the end, since other tests list the names."""
    register_noise(SinkNoise)
    yield
    del NOISE["sink"]


@pytest.fixture
def experiment() -> PhaseTransition:
    return PhaseTransition(v=8, m=2, L=3, noise="sink", grammars=3, data=8, levels=5, refine=3)


def test_a_registered_process_is_known_by_its_name() -> None:
    assert NOISE["sink"] is SinkNoise
    assert noise_process("sink", 5) == SinkNoise(5)
    assert (is_channel(SINK), masks(SINK), has_snr(SINK)) == (True, False, False)
    assert ExactRHM(FIXTURE, "sink").noise == SINK  # type: ignore[arg-type]


def listed_posterior(x_t: Array, t: float) -> dict[tuple[int, ...], float]:
    """Probability of every string given one observation, from the channel's own matrix."""
    strings = all_strings(4, 4)
    channel = SINK.channel(t)[strings, x_t].prod(axis=1)
    weight = np.exp(FIXTURE.log_prob(strings)) * channel
    weight /= weight.sum()
    return {tuple(x): float(p) for x, p in zip(strings.tolist(), weight, strict=True) if p > 0}


def test_exact_inference_is_that_of_the_listed_channel() -> None:
    t, n = 0.4, 8000
    x_t = SINK.corrupt(FIXTURE.sample(1, 3).leaves, t, 3)
    law = listed_posterior(x_t[0], t)
    marginal = sum(p * np.eye(4)[list(x)] for x, p in law.items())
    model = ExactRHM(FIXTURE, SINK)
    assert model.denoise(x_t, t)[0] == pytest.approx(marginal, abs=1e-12)
    draws = [tuple(x) for x in model.sample(np.repeat(x_t, n, axis=0), t, 1).tolist()]
    assert frequency_p_value(draws, law) > 1e-4
    memory = EmpiricalModel(all_strings(4, 4)[FIXTURE.is_valid(all_strings(4, 4))], SINK)
    assert memory.denoise(x_t, t)[0] == pytest.approx(marginal, abs=1e-12)


def test_the_finite_chain_tends_to_the_posterior() -> None:
    t, n = 0.6, 6000
    x_t = np.repeat(SINK.corrupt(FIXTURE.sample(1, 4).leaves, t, 3), n, axis=0)
    law = listed_posterior(x_t[0], t)
    model = ExactRHM(FIXTURE, SINK)

    def distance(steps: int) -> float:
        """Total variation between the chain's draws and the posterior."""
        draws = SimulatedModel(model, steps).sample(x_t, t, 2)
        rows, counts = np.unique(draws, axis=0, return_counts=True)
        share = {tuple(x): c / n for x, c in zip(rows.tolist(), counts, strict=True)}
        every = {*share, *law}
        return sum(abs(share.get(x, 0.0) - law.get(x, 0.0)) for x in every) / 2

    # the draws alone are off by about sqrt(number of strings / (2 pi n)) = 0.02
    coarse, fine = distance(1), distance(48)
    assert coarse > 0.15
    assert fine < 0.05


def test_steps_of_one_leaf_are_exact_at_any_levels() -> None:
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    law, u = np.eye(4), (np.arange(20000) + 0.5)[:, None] / 20000
    for t, s in ((0.9, 0.5), (0.5, 0.3), (0.3, 0.0)):
        table = np.zeros((4, 4))
        for x in range(4):
            weight = prior * SINK.channel(t)[:, x]
            belief = np.tile(weight / weight.sum(), (len(u), 1, 1))
            many = np.full(u.shape, x)
            table[x] = np.bincount(SINK.reverse_step(many, belief, t, s, u)[:, 0], minlength=4)
        law = law @ (table / len(u))
    exact = (prior[:, None] * SINK.channel(0.9) / (prior @ SINK.channel(0.9))).T
    assert law == pytest.approx(exact, abs=1e-3)


def test_messages_of_density_evolution_have_the_law_of_the_channel() -> None:
    """The truth is at index 0, whichever symbol it was; planted: symbol 0 as the only truth."""
    t, size = 0.5, 40_000
    messages = leaf_messages(SINK, t, size, np.random.default_rng(0))
    assert messages.sum(axis=1) == pytest.approx(np.ones(size))
    q = SINK.channel(t)
    beliefs = q / q.sum(axis=0)  # flat prior
    expected = np.mean([(q[b] * beliefs[b]).sum() for b in range(4)])
    error = messages[:, 0].std() / np.sqrt(size)
    assert abs(messages[:, 0].mean() - expected) < 4 * error
    # of real beliefs the mean of the true one is that of the squares
    gaps = messages[:, 0] - (messages**2).sum(axis=1)
    assert abs(gaps.mean()) < 4 * gaps.std() / np.sqrt(size)

    class Planted(SinkNoise):
        symmetric = True

    wrong = leaf_messages(Planted(4), t, size, np.random.default_rng(0))
    assert abs(wrong[:, 0].mean() - expected) > 40 * error


def test_density_evolution_and_thresholds_run() -> None:
    rhm = RHM(v=8, m=2, s=2, L=4)
    noise = SinkNoise(8)
    clean, noisy = (population_dynamics(rhm, noise, t, size=1000).upward[0] for t in (0.1, 0.9))
    assert clean > 0.9 > 0.4 > noisy
    found = critical_level(rhm, noise, size=400, depth=8, copies=2)
    assert 0 < found.value < 1
    assert found.snr is None
    exponents = critical_exponents(rhm, noise, t=found.value, size=400, levels=30, copies=3)
    assert exponents.process == "sink"


def test_information_of_the_class_falls_with_noise() -> None:
    grammar = RHM(v=8, m=2, s=2, L=3).draw(0)
    found = [mutual_information(grammar, SinkNoise(8), t, 200, 1, 0).value for t in (0.0, 0.5)]
    assert found[0] == pytest.approx(np.log(8))
    assert found[1] < found[0]


def test_the_phase_transition_is_measured_and_predicted(
    experiment: PhaseTransition, tmp_path: Path
) -> None:
    measured = experiment.measure(folder=tmp_path, workers=1)
    assert measured.t.attrs["long_name"] == "noise level t of the sink process"
    assert measured.belief.sel(t=0).values == pytest.approx(np.ones(4))
    assert float(measured.belief.sel(level=0, t=1)) == pytest.approx(1 / 8)
    predicted = experiment.predict("population", measured.t.values, size=1500, workers=1)
    both = results.compare(predicted, measured)
    # both have errors: the quenched average over three grammars is the larger
    z = both.belief_z.sel(source="simulation", level=0).values
    assert np.nanmax(np.abs(z)) < 5
    assert "snr" not in measured.coords
    model = ExactRHM(experiment.rhm.draw(0), SinkNoise(8))
    given = experiment.measure(model, model.grammar.sample(8, 1), workers=1)
    assert float(given.belief.sel(level=0, t=1)) == pytest.approx(1 / 8)
    with pytest.raises(InvalidParameter, match="no prediction for sink noise"):
        experiment.predict("annealed")


def test_other_experiments_take_it() -> None:
    small = Correlations(v=8, m=2, L=3, noise="sink", grammars=2, data=2, trajectories=4, levels=3)
    assert small.measure(workers=1).covariance.shape == (4, 3)
    with pytest.raises(InvalidParameter, match="no prediction for sink noise"):
        small.predict()
    assert TruncatedDenoisers(v=8, m=2, noise="sink").process == SinkNoise(8)


@pytest.mark.slow
def test_a_network_learns_it() -> None:
    """The input of a network is the belief of each leaf alone, unless the process has its own."""
    torch = pytest.importorskip("torch")
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.samplers import Ancestral
    from hierdiff.validation.recipes import divergence_to_exact, train_symbol_network
    from hierdiff.validation.training import TrainConfig

    x_t, t = SINK.corrupt(FIXTURE.sample(3, 0).leaves, 0.3, 1), np.full(3, 0.3)
    channels, log_snr = network_input(SINK, x_t, t)
    assert channels.shape == (3, 4, input_channels(SINK))
    alone = np.exp(SINK.log_evidence(x_t, t))
    assert channels == pytest.approx(alone / alone.sum(axis=2, keepdims=True))
    assert log_snr == pytest.approx(np.log(0.7 / 0.3))
    configs = [TrainConfig(steps=k, every=k, warmup=1, average=0.0) for k in (1, 60)]
    trained = [
        train_symbol_network(FIXTURE, SINK, config, width=16, batch=64)[0] for config in configs
    ]
    gaps = [divergence_to_exact(model, FIXTURE, 0.5, 200, 0)[0] for model in trained]
    assert gaps[1] < gaps[0] / 2
    new = replace(trained[1], sampler=4).sample(x_t, 0.3, 1)
    assert new.shape == (3, 4)

    class Logits(torch.nn.Module):
        """Any torch module: the input itself as logits."""

        def forward(self, x: Any, time: Any) -> Any:
            return x

    model = NetworkModel(Logits(), SINK, "logits", sampler=Ancestral(4))
    assert model.denoise(x_t, 0.3).sum(axis=2) == pytest.approx(np.ones((3, 4)), rel=1e-5)
    assert model.sample(x_t, 0.3, 1).shape == (3, 4)


def test_the_command_line_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hierdiff.command_line import parse_flags
    from hierdiff.sims.run import RunOptions, command

    flags = ["--noise", "sink", "--v", "8", "--m", "2", "--L", "2"]
    experiment, _ = parse_flags(PhaseTransition, RunOptions, flags, "phase-transition")
    assert experiment.process == SinkNoise(8)
    small = ["--grammars", "2", "--data", "2", "--levels", "5", "--refine", "0", "--workers", "1"]
    found = command(PhaseTransition, [*flags, *small, "--out", str(tmp_path)])
    assert [ds.t.attrs["long_name"] for ds in found.values()] == (
        ["noise level t of the sink process"] * 2
    )
    assert "sink" in capsys.readouterr().out
    assert (tmp_path / "phase_transition.png").exists()
    with pytest.raises(SystemExit) as stop:
        command(PhaseTransition, ["--noise", "snik"])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "noise = 'snik' must be one of" in lines[0]
    assert lines[0].endswith("did you mean 'sink'?")
    place = f"{SinkNoise.__module__}:SinkNoise"
    named, _ = parse_flags(PhaseTransition, RunOptions, ["--noise", place], "phase-transition")
    assert named.noise == "sink"


# --- no type checks and no names of processes outside their own file ------------------------------

ROOT = Path(__file__).parents[1]


def type_checks(source: str) -> list[int]:
    """Lines that ask for the class of a process, or compare its name with a word."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            if re.search(r"\b\w+Noise\b", ast.unparse(node.args[1])):
                found.append(node.lineno)
        elif isinstance(node, ast.Compare):
            left, *right = node.left, *node.comparators
            asked = isinstance(left, ast.Attribute) and re.search(
                r"noise(\.name)?$|process\.name$", ast.unparse(left)
            )
            names = [x.value for x in ast.walk(node) if isinstance(x, ast.Constant)]
            if asked and right and {*names} & {"epsilon", "masking", "uniform", "gaussian"}:
                found.append(node.lineno)
    return found


@pytest.mark.slow
def test_only_the_processes_know_their_classes() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("hierdiff", "sims", "theory", "validation")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ROOT / "hierdiff" / "noise.py"
        for line in type_checks(path.read_text())
    ]
    assert not places, places
    # planted
    for line in (
        "isinstance(noise, GaussianNoise)",
        "isinstance(self.model.noise, (MaskingNoise, UniformNoise))",
        "if self.noise == 'epsilon': pass",
        "width = v + (model.noise.name != 'masking')",
        "x = experiment.noise in ('masking', 'uniform')",
    ):
        assert type_checks(line) == [1], line
    assert type_checks("isinstance(noise, str) or self.noise == 'all'") == []


# --- bad input ------------------------------------------------------------------------------------


def lacking() -> None:
    @dataclass(frozen=True)
    class Half:
        v: int
        name: ClassVar[str] = "half"
        draw = corrupt = corrupt_with = SinkNoise.draw

    register_noise(Half)


def taken() -> None:
    @dataclass(frozen=True)
    class Other(SinkNoise):
        name: ClassVar[str] = "masking"

    register_noise(Other)


@dataclass(frozen=True)
class Stepless:
    """All of a process but the reverse step."""

    v: int = 4
    name: ClassVar[str] = "stepless"
    draw, corrupt, corrupt_with = SinkNoise.draw, SinkNoise.corrupt, SinkNoise.corrupt_with
    evidence = log_evidence = SinkNoise.log_evidence


NAMES = "must be one of 'epsilon', 'masking', 'uniform', 'gaussian'"
NEAREST = "did you mean 'masking'?"
BAD: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "name": (lambda: noise_process("maskin", 4), (f"noise = 'maskin' {NAMES}", NEAREST)),
    "experiment": (lambda: PhaseTransition(noise="maskin"), (NAMES, NEAREST, "'all'")),
    "correlations": (lambda: Correlations(noise="maskin"), (NAMES, NEAREST)),
    "composition": (
        lambda: TruncatedDenoisers(noise="epsilon"),
        ("noise = 'epsilon' must be one of 'masking', 'uniform', 'gaussian'",),
    ),
    "no name": (lambda: PhaseTransition(noise=3), ("noise = 3 must be one of",)),  # type: ignore[arg-type]
    "place": (
        lambda: noise_name("noise", "no_module_of_that_name:Ring"),
        ("noise = 'no_module_of_that_name:Ring' cannot be imported", "'module:Class'"),
    ),
    "class": (lambda: noise_name("noise", "hierdiff.noise:Ring"), ("cannot be imported",)),
    "unregistered": (
        lambda: noise_name("noise", "hierdiff.noise:SymbolEvidence"),
        ("is not registered; put @register_noise on the class",),
    ),
    "lacking": (
        lacking,
        ("Half is no noise process: it lacks draw_step, evidence, log_evidence, reverse_step",),
    ),
    "taken": (taken, ("name = 'masking' is that of hierdiff.noise.MaskingNoise; choose another",)),
    "instance": (lambda: register_noise(SINK), ("must be a class",)),  # type: ignore[arg-type]
    "class given": (
        lambda: ExactRHM(FIXTURE, SinkNoise),  # type: ignore[arg-type]
        ("noise = SinkNoise is a class; give an instance, SinkNoise(v=...)",),
    ),
    "another class": (lambda: ExactRHM(FIXTURE, int), ("is of type type; give a NoiseProcess",)),  # type: ignore[arg-type]
    "half a process": (
        lambda: ExactRHM(FIXTURE, Stepless()),  # type: ignore[arg-type]
        ("give a NoiseProcess; it lacks draw_step, reverse_step",),
    ),
    "mean belief": (lambda: effective_epsilon(SINK, 0.5), ("has no method effective_epsilon(t)",)),
    "network": (lambda: input_channels(noise_process("epsilon", 4)), ("nothing to observe",)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(InvalidParameter) as error:
        call()
    for part in words:
        assert part in one_line(error)
    assert {"half", "stepless"}.isdisjoint(NOISE)
    assert NOISE["masking"] is MaskingNoise


def test_a_cell_that_runs_again_replaces_its_class() -> None:
    module = ModuleType("cell")
    sys.modules["cell"] = module
    try:
        for _ in range(2):
            made = dataclass(frozen=True)(
                type("Cell", (SinkNoise,), {"name": "cell", "__module__": "cell"})
            )
            assert register_noise(made) is NOISE["cell"]
    finally:
        NOISE.pop("cell", None)
        del sys.modules["cell"]
