"""The composition experiment: labels, determinism, resume, oracle of the learner, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff import RHM, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare
from hierdiff.sims.composition import Composition
from hierdiff.sims.kernel_learning import composed_accuracy
from hierdiff.sims.models.context_clustering import learning_curve, synonyms
from hierdiff.theory import ExactRHM

SMALL = Composition(
    v=8, multiplicities=(2, 3), heights=(1, 2), grammars=3, denoiser_v=6, denoiser_m=2,
    denoiser_L=2, num_levels=3, data=16, positions=(4, 6), orders=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return SMALL.measure()


def test_labels_and_comparison(measured: xr.Dataset) -> None:
    for law in ("correlations", "coincidences", "next_token"):
        theory = SMALL.predict(law)
        assert theory.samples.dims == measured.samples.dims
        assert theory.exponent.dims == measured.exponent.dims
        assert theory.validity.dims == measured.validity.dims
    both = compare(theory, measured)
    assert both.kernel_samples_z.shape[0] == 2
    assert (str(theory.source.values), str(measured.source.values)) == ("theory", "simulation")
    figure = SMALL.figure({"composition_theory": SMALL.predict(), "composition": measured})
    assert len(figure.axes) >= 4
    plt.close(figure)


def test_results_depend_on_no_way_of_working(measured: xr.Dataset, tmp_path: Path) -> None:
    xr.testing.assert_equal(measured, SMALL.measure(workers=1))
    SMALL.measure(folder=tmp_path)
    stamps = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    xr.testing.assert_equal(measured, SMALL.measure(folder=tmp_path))
    assert stamps == [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]


def test_parts_alone_give_the_same_numbers(measured: xr.Dataset) -> None:
    for part in ("cost", "denoisers", "kernels"):
        alone = replace(SMALL, parts=(part,)).measure()
        for name in alone.data_vars:
            xr.testing.assert_equal(alone[name].drop_vars("source"),
                                    measured[name].drop_vars("source"))  # fmt: skip


def test_a_learner_of_much_data_reaches_the_ceiling() -> None:
    """With few data it guesses, with many it knows what the exact correlations tell."""
    grammar = RHM(8, 2, 2, 3).draw(1)
    task = synonyms(grammar, 1)
    curve = learning_curve(task, np.array([2, 100_000]), seed=0)  # [learner, P]
    assert curve.shape[-1] == 2
    assert (curve[..., 0] < 0.35).all()
    assert (curve[..., 1] > 0.95).all()


def test_all_rules_known_is_the_exact_model(measured: xr.Dataset) -> None:
    whole = measured.sel(known=SMALL.denoiser_L)
    assert (whole.validity == 1).all()
    assert (whole.right.sel(informed="label") == 1).all()
    grammar = RHM(6, 2, 2, 2).draw(5)
    outside = SMALL.measure(ExactRHM(grammar, MaskingNoise(6)), grammar)
    assert (outside.validity.sel(known=SMALL.denoiser_L) == 1).all()
    assert (outside.gap == 0).all()


def test_kernels_know_what_they_have_seen() -> None:
    assert composed_accuracy("product", 6, np.arange(36)) == 1
    assert composed_accuracy("product", 6, np.arange(9)) == 0.25
    # one row and one column know all places, the product kernel only what it saw
    cross = np.unique(np.concatenate([np.arange(6), 6 * np.arange(6)]))
    assert composed_accuracy("additive", 6, cross) == 1
    assert composed_accuracy("product", 6, cross) == 11 / 36


def test_bad_requests_are_told_in_one_line() -> None:
    grammar = RHM(6, 2, 2, 2).draw(5)
    cases = [
        (lambda: SMALL.predict("guess"), "not known"),
        (lambda: SMALL.measure(ExactRHM(grammar, MaskingNoise(6))), "grammar"),
        (lambda: replace(SMALL, noise="uniform").measure(ExactRHM(grammar, MaskingNoise(6)),
                                                         grammar), "uniform"),
        (lambda: replace(SMALL, multiplicities=(2,)), "multiplicities"),
        (lambda: replace(SMALL, heights=()), "heights"),
        (lambda: replace(SMALL, grammars=1), "grammars"),
        (lambda: replace(SMALL, sample_range=(3.0, 1.0)), "sample_range"),
        (lambda: replace(SMALL, success_threshold=1.0), "success_threshold"),
        (lambda: replace(SMALL, parts=("all",)), "parts"),  # type: ignore[arg-type]
        (lambda: replace(SMALL, multiplicities=(2, 9)), "rules exceed"),
        (lambda: composed_accuracy("product", 4, np.array([16])), "cells"),
        (lambda: composed_accuracy("sum", 4, np.array([1])), "kernel"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
