"""The cue-conflict experiment: labels, determinism, limits, bad input."""

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
from hierdiff.sims.cue_conflict import CueConflict, cue_conflict_figure
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses

SMALL = CueConflict(v=4, m=2, L=2, grammars=3, data=60, samples=20, gaussian_data=2000)


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return SMALL.measure()


def test_labels_and_comparison(measured: xr.Dataset) -> None:
    theory = SMALL.predict(sigma2=(*SMALL.sigma2, 100.0))
    assert theory.noise_bias.dims == measured.noise_bias.dims
    both = compare(theory, measured)
    assert np.abs(both.noise_bias_z).max() < 4
    assert np.abs(both.weight_bias_z).max() < 4
    figure = cue_conflict_figure(theory, measured)
    assert len(figure.axes) == 3
    plt.close(figure)


def test_results_depend_on_no_way_of_working(measured: xr.Dataset, tmp_path: Path) -> None:
    xr.testing.assert_equal(measured, SMALL.measure(workers=1))
    SMALL.measure(folder=tmp_path)
    stamps = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    xr.testing.assert_equal(measured, SMALL.measure(folder=tmp_path))
    assert stamps == [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]


def test_shares_are_shares(measured: xr.Dataset) -> None:
    for name in ("bias", "matched", "bayes", "band_bias", "blur_bias", "blur_matched"):
        assert ((measured[name] >= 0) & (measured[name] <= 1)).all()
    assert np.ptp(measured.bayes.values) == 0  # Bayes knows no amplitude


def test_without_texture_at_the_input_only_shape_is_followed(measured: xr.Dataset) -> None:
    """Filtered out, the texture is chosen as often as any other wrong class."""
    none = measured.sel(blur=0.0)
    wrong = (1 - none.blur_bias) * none.blur_matched
    accuracy = none.blur_bias * none.blur_matched
    expected = (1 - accuracy) / (SMALL.v - 1)
    assert float(wrong) == pytest.approx(float(expected), abs=4 * np.sqrt(0.1 / 180))


def test_textures_that_are_all_alike_leave_only_shape() -> None:
    ds = replace(SMALL, concentration=1e6, data=200).measure()
    assert (ds.bayes > 0.8).all()
    assert ds.bias.sel(amplitude=1.0, weighting="vdm") > 0.7


def test_a_given_model_on_gaussian_classes_has_the_closed_form() -> None:
    """The two Gaussian classes as a model that is given: the numbers of the prediction."""
    lam, gap, sign = SMALL.directions
    model = GaussianClasses(np.stack([gap / 2, -gap / 2]), np.diag(lam))
    rng, n = np.random.default_rng(0), 1500
    x0 = sign * gap / 2 + np.sqrt(lam) * rng.standard_normal((n, len(lam)))
    one = replace(SMALL, sigma2=(0.1, 1.0, 10.0))
    ds = one.measure(model, (x0, np.zeros(n, int), np.ones(n, int)))
    z = ((ds.noise_bias - one.predict().noise_bias) / ds.noise_bias_error).values
    assert np.abs(z).max() < 4
    assert (ds.noise_matched == 1).all()
    exchanged = one.measure(model, (x0, np.ones(n, int), np.zeros(n, int)))
    assert exchanged.noise_bias.values == pytest.approx(1 - ds.noise_bias.values)
    figure = cue_conflict_figure(one.predict(), ds)
    assert len(figure.axes) == 1
    plt.close(figure)
    found = one.summary({"cue_conflict_theory": one.predict(), "cue_conflict": ds})
    assert found.claim.startswith("shape bias of the model goes from 0.")


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: SMALL.predict("guess"), "not known"),
        (lambda: SMALL.measure(data=1), "data a model"),
        (lambda: SMALL.measure(GaussianClasses(np.eye(2), np.eye(2)), 1), "no three arrays"),
        (
            lambda: SMALL.measure(
                GaussianClasses(np.eye(2), np.eye(2)), (np.eye(2), [0, 1], [1, 1])
            ),
            "two different classes",
        ),
        (lambda: SMALL.measure(object(), (np.eye(2), [0, 1], [1, 0])), "no method given"),
        (lambda: replace(SMALL, samples=0), "samples = 0"),
        (lambda: replace(SMALL, v=2, m=1), "at least 3"),
        (lambda: replace(SMALL, amplitudes=(0.0,)), "must be > 0"),
        (lambda: replace(SMALL, bands=((0.5, 0.2),)), "increasing"),
        (lambda: replace(SMALL, texture_variance=0.0), "texture_variance"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
