"""What all experiments of the gallery have in common: labels, refusals, files, a claim."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from figures import faults
from small_experiments import LAWLESS, SMALL, UNMEASURED

from hierdiff import RHM, GaussianNoise, LowRankMixture, MaskingNoise, UniformNoise, results
from hierdiff.errors import InvalidParameter
from hierdiff.plots import plt
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.sims import KernelLearning, SimulatedModel, SynonymLearning, UTurn, Variants
from hierdiff.sims.changed_tree import ChangedTree
from hierdiff.sims.run import RunOptions, run
from hierdiff.theory import ExactMixture, ExactRHM, critical_level

LEARNERS = (KernelLearning(), SynonymLearning())
"""Experiments on learners, which are no denoisers."""
MINUTES = {"critical_exponents", "memorization", "sharpening", "susceptibility", "training_time"}
"""Experiments that take seconds even in small; they run with the slow tests."""


def rows(*kinds: Any, quick: bool) -> list[Any]:
    return [
        pytest.param(e, id=e.name, marks=[pytest.mark.slow] if quick and e.name in MINUTES else [])
        for e in kinds
    ]


EVERY = pytest.mark.parametrize("one", rows(*SMALL, quick=False))
RUNS = pytest.mark.parametrize("one", rows(*SMALL, quick=True))
CLAIMS = {
    "autoregressive": "losses sum to", "parallel_unmasking": "divergence in nats at",
    "changed_tree": "class changed in", "coverage": "planted wrong ones are rejected",
    "contrastive_learning": "the spectral learner binds",
    "local_denoisers": "cost most around the transition",
    "critical_exponents": "class beliefs collapse", "finite_size_scaling": "for infinite depth",
    "information": "masking identity: chi2 = ",
    "jacobian_spectrum": "static correlation length is largest",
    "most_likely_strings": "are no string of the language",
    "posterior_entropy": "half of the entropy of the class",
    "grammar_learning": "of K/2P", "speciation": "crosses its rivals",
    "rule_weights": "falls as P to the power", "memorization": "unimodal beyond",
    "phase_diagram": "closed form", "representation_peak": "misplaces the peak",
    "representational_similarity": "beliefs resemble", "sample_complexity": "P* grows as m",
    "sharpening": "steepest slopes grow", "susceptibility": "chi of the epsilon-process peaks",
    "tree_loss": "the class is half lost at", "tree_shapes": "beyond the class are half lost",
    "training_time": "losses of 3 draws are those of the limit",
    "tree_mixture": "half of each level is lost",
    "data_models": "class lost: grammar at SNR",
    "uturn": "class decided at", "variants": "reference class lost at t",
}  # fmt: skip
"""Words of the claim of every experiment."""
ANY_MODEL = {
    "autoregressive",
    "changed_tree",
    "parallel_unmasking",
    "tree_loss",
    "uturn",
    "variants",
}
"""Experiments that take any model; the others compare many."""
WITH_LAW = [e for e in SMALL if e.name not in LAWLESS | UNMEASURED]
WITH_THRESHOLDS = ("data_models", "susceptibility", "uturn")
"""Modules that locate thresholds of density evolution; labels need no large populations."""
MODEL = ExactRHM(RHM(4, 2, 2, 2).draw(seed=0), MaskingNoise(4))


@pytest.fixture(autouse=True)
def small_populations(monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(*arguments: Any, **options: Any) -> Any:
        return critical_level(*arguments, **{**options, "size": 100, "copies": 2})

    for module in WITH_THRESHOLDS:
        monkeypatch.setattr(f"hierdiff.sims.{module}.critical_level", quick)


class Ran(NamedTuple):
    """What a run returns, prints and writes."""

    found: dict[str, xr.Dataset]
    printed: list[str]
    out: Path

    def stamps(self, name: str) -> dict[str, int]:
        """Times of the finished tasks."""
        place = self.out / "tasks" / name
        return {p.name: p.stat().st_mtime_ns for p in place.glob("*")}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Ran]:
    """Runs an experiment once."""

    @functools.cache
    def once(one: Any) -> Ran:
        out, text = tmp_path_factory.mktemp(one.name), io.StringIO()
        with contextlib.redirect_stdout(text):
            found = run(one, out=out, workers=1, summary=out / "claims.json")
        return Ran(found, text.getvalue().splitlines(), out)

    return once


@pytest.mark.parametrize("one", LEARNERS, ids=lambda e: e.name)
def test_a_learner_that_is_no_denoiser_takes_no_model(one: Any) -> None:
    with pytest.raises(InvalidParameter, match="takes no model") as error:
        one.measure(MODEL)
    assert "\n" not in str(error.value)


def test_the_registry_has_no_experiment_without_a_test_of_its_models() -> None:
    """Either a row of the contract test, or here, where models are refused."""
    files = list((Path(__file__).parents[1] / "contract_cases").glob("*.py"))
    stems, rows = {path.stem for path in files}, " ".join(path.read_text() for path in files)
    here = {type(one).__name__ for one in (*SMALL, *LEARNERS)}
    for name, entry in EXPERIMENTS.items():
        kind = entry.place.partition(":")[2]
        tested = name.replace("-", "_") in stems or kind in rows or kind in here
        assert entry.extra or tested, name


@RUNS
def test_tables_stay_within_eighty_letters(one: Any, ran: Callable[[Any], Ran]) -> None:
    lines = ran(one).printed
    end = next(i for i, line in enumerate(lines) if line.startswith("wrote "))
    assert end > 1
    assert max(map(len, lines[:end])) <= 80


@EVERY
def test_every_experiment_is_in_the_registry(one: Any) -> None:
    assert experiment(one.name) is type(one)
    assert one.name.replace("_", "-") in EXPERIMENTS
    assert not any(f in vars(one) for f in ("out", "workers", "summary", "overwrite", "device"))


@pytest.mark.parametrize("one", rows(*WITH_LAW, quick=True))
def test_prediction_and_measurement_carry_the_same_labels(
    one: Any, ran: Callable[[Any], Ran]
) -> None:
    """The measurement takes all from the tasks that the run has finished."""
    before, tasks = ran(one).stamps(one.name), ran(one).out / "tasks" / one.name
    kept = {"folder": tasks} if "folder" in inspect.signature(one.predict).parameters else {}
    ds = one.measure(folder=tasks, workers=1)
    assert before == ran(one).stamps(one.name)
    assert before
    law = one.predict(**kept)
    assert (str(law.source.values), str(ds.source.values)) == ("theory", "simulation")
    for name, x in law.data_vars.items():
        assert x.dims == ds[name].dims, name
        assert x.attrs == ds[name].attrs, name
    for name, x in law.coords.items():
        if name != "source":
            assert x.attrs == ds[name].attrs, name
    both = results.compare(law, ds)
    core = [str(n) for n in law.data_vars if f"{n}_error" in law.data_vars]
    assert core
    for name in core:
        z = both[f"{name}_z"].isel(source=1).values
        assert np.isfinite(z).any(), name


@pytest.mark.parametrize("one", [e for e in SMALL if e.name not in ANY_MODEL], ids=lambda e: e.name)
def test_a_model_is_refused_before_any_work(
    one: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("work before the refusal")

    for module in {type(one).__module__, "hierdiff.tasks"}:
        monkeypatch.setattr(f"{module}.run_tasks", work, raising=False)
    options = RunOptions(out=tmp_path)
    for call in (lambda: one.measure(MODEL), lambda: one.datasets(options, MODEL),
                 lambda: one.measure(data=[1, 2])):  # fmt: skip
        with pytest.raises(InvalidParameter, match=f"has no place in {one.name}: ") as error:
            call()
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_tree_of_a_single_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of one model has its own sizes; changes reach the leaves; data have a tree."""
    one = ChangedTree(t=(0.2, 0.8), data=30)
    found = run(one, MODEL, out=tmp_path)
    capsys.readouterr()
    ds, example = found["changed_tree"], found["changed_tree_example"]
    assert ds.changed.shape == (2, 3)
    assert example.node_level.values.tolist() == [0, 1, 1, 2, 2, 2, 2]
    assert "L" not in json.loads(ds.attrs["parameters"])
    assert (ds.branches.values > 0).all()
    assert (ds.changed[1] > ds.changed[0]).all()
    mixture = LowRankMixture.random(6, 2, 3, delta=0.1, seed=0)
    with pytest.raises(InvalidParameter, match="needs data with a derivation tree"):
        one.measure(ExactMixture(mixture, GaussianNoise()))
    with pytest.raises(InvalidParameter, match="without the model"):
        one.measure(data=[1])


@pytest.mark.slow
def test_the_class_after_a_turn_of_a_single_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exact beliefs give committors; of other models the class of samples is read, in the noise of
    the model; a chain of one step is told from exact inference."""
    grammar, one = RHM(8, 2, 2, 3).draw(seed=0), UTurn(levels=7, data=200)
    path = run(one, ExactRHM(grammar, MaskingNoise(8)), out=tmp_path / "path")["uturn"]
    assert "class decided at t" in capsys.readouterr().out
    for name, planted in (("difference", False), ("martingale", False), ("planted", True)):
        error = path[f"{name}_error"]
        z = float(abs(path[name] / error.where(error > 1e-9)).max())
        assert z > 6 if planted else z < 4, name
    exact = ExactRHM(grammar, UniformNoise(8))
    ds = run(one, exact, out=tmp_path)["uturn"]
    assert ds.L.values.tolist() == [3]
    assert "uniform" in ds.t.attrs["long_name"]
    assert abs(ds.difference / ds.difference_error.where(ds.difference_error > 0)).max() < 4
    # its levels make no trajectory
    assert "martingale" not in ds
    assert "speciation" not in ds
    assert "class changes with probability 1/2 at t" in capsys.readouterr().out
    worse = run(one, SimulatedModel(exact, 1), grammar, out=tmp_path / "chain")["uturn"]
    assert "class changes with probability 1/2 at t" in capsys.readouterr().out
    assert float(worse.valid[0, 0]) == 1.0 > float(worse.valid[0, -1])
    gap = (worse.changed - ds.law) / np.hypot(worse.changed_error, ds.law_error)
    assert float(abs(gap).max()) > 5
    mixture = LowRankMixture.random(6, 2, 3, delta=0.1, seed=0)
    classes = one.measure(ExactMixture(mixture, GaussianNoise()))
    assert classes.L.values.tolist() == [0]
    assert "valid" not in classes
    with pytest.raises(InvalidParameter, match="data were given without the model"):
        one.measure(data=grammar)


@pytest.mark.slow
def test_the_threshold_of_a_single_model_beside_density_evolution(tmp_path: Path) -> None:
    """Beliefs of exact inference and the classes of samples have one threshold, that of the
    prediction of the sizes given; the wrong number of rules is told from it."""
    rhm, one = RHM(16, 4, 2, 4), Variants(levels=11, data=400)
    grammar = rhm.draw(seed=3)
    exact = ExactRHM(grammar, MaskingNoise(16))
    found = [
        run(one, model, data, out=tmp_path / name)["variants"]
        for name, model, data in (
            ("exact", exact, None), ("sampled", SimulatedModel(exact, 64), grammar),
        )
    ]  # fmt: skip
    law, wrong = (one.predict(rhm=r, size=400) for r in (rhm, RHM(16, 6, 2, 4)))
    z = [[float(results.compare(a, b).threshold_z[1, 0]) for b in found] for a in (law, wrong)]
    assert np.isnan(found[0]["shift"]).all()
    # one grammar has a threshold of its own: 80 of them scatter by .033 at these sizes
    gaps = [float((b.threshold - law.threshold)[0]) for b in found]
    assert max(map(abs, gaps)) < 4 * 0.033
    assert abs(gaps[0] - gaps[1]) < 4 * np.hypot(*(float(b.threshold_error[0]) for b in found))
    assert min(map(abs, z[1])) > 8


def test_a_question_without_a_law_or_a_measurement_is_refused() -> None:
    for one in SMALL:
        if one.name in LAWLESS:
            with pytest.raises(InvalidParameter, match=r"call measure\(\)"):
                one.predict()
        if one.name in UNMEASURED:
            with pytest.raises(InvalidParameter, match=r"call predict\(\)"):
                one.measure()


@pytest.mark.parametrize("one", rows(*WITH_LAW, quick=False))
def test_an_unknown_law_is_refused(one: Any) -> None:
    with pytest.raises(InvalidParameter, match="law = 'anneal'"):
        one.predict("anneal")


@RUNS
def test_a_run_writes_its_files_and_prints_a_table_and_a_claim(
    one: Any, ran: Callable[[Any], Ran]
) -> None:
    found, printed, out = ran(one)
    names = {path.stem for path in out.glob("*.nc")}
    assert names == set(found)
    assert (out / f"{one.name}.png").read_bytes()[:4] == b"\x89PNG"
    claims = json.loads((out / "claims.json").read_text())
    assert claims["claim"] == printed[-1]
    assert CLAIMS[one.name] in printed[-1]
    assert len(claims) > 2
    assert printed[-2].startswith("wrote ")
    assert max(map(len, printed[:-2])) < 170  # a table, no sentences
    assert claims["made"]["seed"] == one.seed
    for ds in found.values():
        assert not {"out", "workers", "overwrite"} & json.loads(ds.attrs["parameters"]).keys()


@RUNS
def test_the_figure_of_a_run_can_be_read(one: Any, ran: Callable[[Any], Ran]) -> None:
    """Words of 8 pt, contrast, legends off the data, panels that say what they show."""
    drawn = one.figure(ran(one).found)
    for figure in drawn.values() if isinstance(drawn, dict) else [drawn]:
        assert not faults(figure)
        plt.close(figure)


def test_a_second_run_takes_all_from_the_finished_tasks(ran: Callable[[Any], Ran]) -> None:
    (one,) = (e for e in SMALL if e.name == "information")
    first, before = ran(one), ran(one).stamps(one.name)
    with contextlib.redirect_stdout(io.StringIO()):
        again = run(one, out=first.out, workers=1)
    assert before == first.stamps(one.name)
    for name, ds in first.found.items():
        xr.testing.assert_equal(ds, again[name])


def test_old_flags_are_accepted_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    from hierdiff.command_line import parse_flags
    from hierdiff.sims.representation_peak import RepresentationPeak

    chosen, _ = parse_flags(RepresentationPeak, RunOptions, ["--worlds", "3", "2", "0.3"])
    assert chosen.mixtures == ((3, 2, 0.3),)
    assert capsys.readouterr().err == "note: --worlds is now --mixtures\n"


def test_old_words_among_values_are_accepted_with_a_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hierdiff.command_line import parse_flags
    from hierdiff.sims import Representation

    flags = ["--models", "exact", "labelled", "separate", "--seeds", "3"]
    chosen, _ = parse_flags(Representation, RunOptions, flags)
    assert chosen.models == ("exact", "supervised_ppca", "ppca_mixture_own")
    notes = capsys.readouterr().err.splitlines()
    assert notes == ["note: labelled is now supervised_ppca",
                     "note: separate is now ppca_mixture_own"]  # fmt: skip
    with pytest.warns(FutureWarning, match="'ppca_mixture'"):
        assert Representation(models=("fitted",)).models == ("ppca_mixture",)
