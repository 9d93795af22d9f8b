"""Loss of the tree: samples against posteriors, the bound, one arity, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, GaussianNoise, MaskingNoise, results
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.sims import PhaseTransition, TreeLoss, TreeShapes
from hierdiff.sims.tree_loss import half_lost_levels
from hierdiff.sims.tree_shapes import distance
from hierdiff.theory.exact_models import ExactPCFG, ExactRHM

SMALL = TreeLoss(v=6, rules=(0, 1, 1), L=3, grammars=6, data=12, levels=6)


@dataclass(frozen=True)
class Sampled:
    """An exact model that is known by its samples alone."""

    exact: ExactPCFG
    shift: float = 0.0
    source = "simulation"

    @property
    def noise(self) -> NoiseProcess:
        return self.exact.noise

    @property
    def grammar(self) -> PCFG:
        return self.exact.grammar

    def denoise(self, x_t: Any, t: Any) -> Any:
        raise NotImplementedError

    def features(self, x_t: Any, t: Any) -> Any:
        raise NotImplementedError

    def sample(self, x_t: Any, t: Any, seed: Any) -> Any:
        if self.shift:  # forgets some of what it sees
            x_t = np.where(np.arange(x_t.shape[1]) % 3 == 0, -1, x_t)
        return self.exact.sample(x_t, t, seed)


@pytest.mark.slow
def test_samples_lose_what_posteriors_say_and_a_wrong_model_is_rejected() -> None:
    """E of the indicator is E of the posterior probability, level by level."""
    exact = ExactPCFG(PCFG.random(6, {2: 1, 3: 1}, 3, 0), MaskingNoise(6))
    trees = exact.grammar.sample(400, 1, length=16)
    experiment = replace(SMALL, levels=4)
    want = experiment.measure(exact, trees)
    for shift, fits in ((0.0, True), (1.0, False)):
        found = experiment.measure(Sampled(exact, shift), trees)
        scores = []
        for name in ("symbol", "span", "boundary"):
            gap = (found[f"{name}_by_datum"] - want[f"{name}_by_datum"]).values[0][:, 1:, 1:3]
            scores.append(gap.mean(axis=0) / np.maximum(gap.std(axis=0) / 20, 1e-12))
        assert (np.abs(scores).max() < 4) == fits


def test_the_known_tree_is_a_bound_that_one_arity_reaches() -> None:
    ds = SMALL.measure()
    gap = (ds.symbol_known_by_datum - ds.symbol_by_datum).mean("datum")
    error = gap.std("grammar", ddof=1) / np.sqrt(6)
    assert (gap.mean("grammar") > -3 * error - 1e-12).all()
    assert float(gap.sel(level=0).mean()) > 0.02
    one = replace(SMALL, rules=(0, 2), grammars=2).measure()
    np.testing.assert_allclose(one.symbol, one.symbol_known, atol=1e-12)
    np.testing.assert_allclose(one.span, 1, atol=1e-12)
    np.testing.assert_allclose(one.boundary[1:], 1, atol=1e-12)


def test_density_evolution_predicts_the_known_tree() -> None:
    experiment = TreeLoss(v=16, rules=(0, 2, 2), L=3, grammars=24, data=8, levels=5)
    both = results.compare(experiment.predict(size=2000), experiment.measure())
    z = both.symbol_known_z.isel(source=1, t=slice(2, 4)).values
    assert np.abs(z).max() < 4
    # nearly nothing is lost before; a handful of data make the error there
    assert float(np.abs(both.symbol_known.isel(t=1).diff("source")).max()) < 0.01
    wrong = replace(experiment, rules=(0, 4)).predict(size=2000)
    apart = results.compare(wrong, experiment.measure()).symbol_known_z.isel(source=1)
    assert np.abs(apart.isel(t=slice(2, 4)).values).max() > 8


def test_one_arity_is_the_flagship_on_the_same_grammar() -> None:
    grammar = RHM(6, 2, 2, 3).draw(0)
    data = grammar.sample(30, 1)
    pcfg = PCFG.of(grammar)
    exact = ExactPCFG(pcfg, MaskingNoise(6))
    trees = exact.posterior(data.leaves, 0.0).sample(0)
    mine = TreeLoss(v=6, rules=(0, 2), L=3, levels=5).measure(exact, trees)
    flagship = PhaseTransition(v=6, m=2, L=3, levels=5, refine=0)
    theirs = flagship.measure(ExactRHM(grammar, MaskingNoise(6)), data)
    np.testing.assert_allclose(mine.symbol, theirs.belief, atol=1e-12)


def test_results_depend_neither_on_workers_nor_on_interruptions(tmp_path: Path) -> None:
    experiment = replace(SMALL, grammars=2, data=20, levels=3)
    one = experiment.measure(folder=tmp_path, workers=1)
    assert experiment.measure(workers=2).equals(one)
    assert experiment.measure(folder=tmp_path).equals(one)
    more = replace(experiment, data=24).measure(workers=1)
    np.testing.assert_array_equal(more.symbol_by_datum[:, :20], one.symbol_by_datum)


def test_half_lost_places_are_those_of_a_curve() -> None:
    ds = SMALL.measure()
    t = np.linspace(0, 1, 6)
    line = np.broadcast_to(0.2 + 0.6 * (1 - t), ds.symbol_by_datum.shape)
    made = ds.assign(symbol_by_datum=(ds.symbol_by_datum.dims, line))
    for place, _ in half_lost_levels(made)["symbol"].values():
        assert place == pytest.approx(0.5, abs=1e-9)
    gap = distance(made.assign(span_by_datum=made.symbol_by_datum))
    assert gap["bottom spans"] == pytest.approx((0.0, 0.0), abs=1e-9)


def test_bad_input_is_told_in_one_line() -> None:
    model = ExactPCFG(PCFG.random(6, {2: 1, 3: 1}, 3, 0), MaskingNoise(6))
    general = ExactPCFG(PCFG.from_text("S -> S S [0.4] | 'a' [0.6]"), MaskingNoise(1))
    calls: list[tuple[Any, str]] = [
        (lambda: TreeLoss(rules=()), "rules"),
        (lambda: TreeLoss(rules=(0, 0)), "no rule"),
        (lambda: TreeLoss(rules=(0, 99)), "exceed"),
        (lambda: TreeLoss(L=8), "3\\^8 leaves"),
        (lambda: TreeLoss(L=7), "need up to"),
        (lambda: TreeLoss(noise="epsilon"), "no observation"),
        (lambda: TreeLoss(grammars=1, data=1), "error bar"),
        (lambda: SMALL.measure(None, 3), "without the model"),
        (lambda: SMALL.measure(model, 3), "must be a PCFG"),
        (lambda: SMALL.measure(model, model.grammar.sample(3, 0)), "equal lengths"),
        (lambda: SMALL.measure(replace(model, noise=GaussianNoise(6))), "cannot be measured as"),
        (lambda: SMALL.measure(general), "no tree of several levels"),
        (lambda: TreeShapes().measure(model), "no place in"),
        (lambda: TreeShapes(depths=(3,)), "depths"),
    ]
    for call, words in calls:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
