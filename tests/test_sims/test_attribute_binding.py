"""The binding experiment: labels, determinism, symmetries, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.results import compare
from hierdiff.sims.attribute_binding import AttributeBinding, binding_figure

SMALL = AttributeBinding(v=4, m=2, L=2, grammars=3, data=60, budgets=(5, 30))


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return SMALL.measure()


def test_labels_and_comparison(measured: xr.Dataset) -> None:
    ceiling, bag = SMALL.predict(), SMALL.predict("bag")
    assert ceiling.accuracy.dims == bag.accuracy.dims == measured.accuracy.dims
    assert compare(ceiling, measured).accuracy_z.shape[0] == 2
    assert (ceiling.accuracy.isel(weighting=0, budget=0) == measured.bayes).all()
    assert bag.accuracy.sel(task="pair").min() == bag.accuracy.sel(task="pair").max() == 0.5
    figure = binding_figure(measured)
    assert len(figure.axes) == 2
    plt.close(figure)


def test_results_depend_on_no_way_of_working(measured: xr.Dataset, tmp_path: Path) -> None:
    xr.testing.assert_equal(measured, SMALL.measure(workers=1))
    SMALL.measure(folder=tmp_path)
    stamps = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    xr.testing.assert_equal(measured, SMALL.measure(folder=tmp_path))
    assert stamps == [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]


def test_a_bag_of_attributes_ties_on_pairs(measured: xr.Dataset) -> None:
    assert (measured.bag_by_grammar.sel(task="pair") == 0.5).all()
    assert measured.bag.sel(area=1, task="control") > 0.8


def test_a_bag_of_attributes_is_half_right_over_both_objects(measured: xr.Dataset) -> None:
    """What the larger colour wins for one object it loses for the other."""
    for area in SMALL.areas:
        one = measured.bag_by_grammar.sel(area=area)
        both = (one.sel(task="first: colour") + one.sel(task="second: colour")) / 2
        assert (both == 0.5).all()


def test_equal_areas_treat_both_objects_alike(measured: xr.Dataset) -> None:
    one = measured.accuracy_by_grammar.sel(area=1, weighting="snr", budget=30)
    gap = one.sel(task="first: colour") - one.sel(task="second: colour")
    assert abs(float(gap.mean())) < 5 * np.sqrt(2 * 0.25 / 180)
    assert measured.bayes.min() > 0.6


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: SMALL.predict("guess"), "not known"),
        (lambda: SMALL.measure(data=1), "no model or data"),  # type: ignore[arg-type]
        (lambda: replace(SMALL, budgets=(0,)), "budgets"),
        (lambda: replace(SMALL, areas=(0,)), "areas"),
        (lambda: replace(SMALL, v=2), "v = 2"),
        (lambda: replace(SMALL, high=(0.9, 0.1)), "increasing"),
        (lambda: replace(SMALL, tau=0.0), "tau = 0.0"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
