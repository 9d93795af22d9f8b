"""Bump images: intensities, labels, skew, held-out regions, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.data.bumps import Bumps, Region
from hierdiff.errors import InvalidParameter


def test_pixels_are_the_formula() -> None:
    bumps, (x, y) = Bumps(size=12, sigma=1.3, dark=False), (4.25, 7.5)
    image = bumps.images([[x, y]])[0]
    for w in range(12):
        for u in range(12):
            value = np.exp(-((u - x) ** 2 + (w - y) ** 2) / (2 * 1.3**2))
            assert image[w, u] == pytest.approx(value, abs=1e-14)
    np.testing.assert_allclose(Bumps(size=12, sigma=1.3).images([[x, y]])[0], 1 - image)


def test_stripes_add_and_bumps_multiply() -> None:
    labels = [[3.0, 5.0]]
    light = {k: Bumps(size=9, kind=k, dark=False).images(labels)[0] for k in ("bump", "stripes")}
    across, down = (np.exp(-((np.arange(9) - c) ** 2) / 2) for c in labels[0])
    np.testing.assert_allclose(light["bump"], np.outer(down, across))
    np.testing.assert_allclose(light["stripes"], (down[:, None] + across) / 2)
    table = np.linalg.matrix_rank(light["bump"], tol=1e-12)
    assert table == 1


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 4), st.floats(0.5, 4), st.floats(0, 5))
def test_labels_are_spaced_and_inside(d_x: float, d_y: float, margin: float) -> None:
    bumps = Bumps(size=20, d_x=d_x, d_y=d_y, margin=margin)
    for line, step in ((bumps.x, d_x), (bumps.y, d_y)):
        np.testing.assert_allclose(np.diff(line), step)
        assert line[0] == margin
        assert margin <= line[-1] < 20 - margin + 1e-9
        assert line[-1] + step >= 20 - margin - 1e-6
    assert len(bumps.grid) == len(bumps.x) * len(bumps.y)


def test_unequal_spacing_makes_one_coordinate_rarer() -> None:
    bumps = Bumps(d_x=0.1, d_y=1.0)
    assert (len(bumps.x), len(bumps.y)) == (320, 32)


def test_held_out_labels_are_never_sampled() -> None:
    bumps = Bumps(d_x=2, d_y=2, held_out=(Region(x=(13, 19), y=(13, 19)), Region(x=(0, 1))))
    _, labels = bumps.sample(3000, seed=0)
    seen, unseen = {tuple(x) for x in labels}, {tuple(x) for x in bumps.unseen}
    assert not seen & unseen
    assert seen | unseen == {tuple(x) for x in bumps.grid}


def test_weights_are_frequencies() -> None:
    bumps = Bumps(size=8, d_x=4, d_y=4)
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    n = 20_000
    _, labels = bumps.sample(n, 1, weights)
    counts = np.array([(labels == one).all(axis=1).sum() for one in bumps.labels])
    p = weights / weights.sum()
    z = (counts - n * p)[p > 0] / np.sqrt(n * p * (1 - p))[p > 0]
    assert counts[2] == 0
    assert np.abs(z).max() < 4
    flat = (counts - n / 4) / np.sqrt(n * 3 / 16)
    assert np.abs(flat).max() > 20


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: Bumps(size=0), "size"),
        (lambda: Bumps(sigma=0), "sigma"),
        (lambda: Bumps(d_x=-1), "d_x"),
        (lambda: Bumps(margin=16), "margin"),
        (lambda: Bumps(kind="ring"), "kind"),  # type: ignore[arg-type]
        (lambda: Bumps(held_out=(Region(),)), "held_out"),
        (lambda: Region(x=(3, 3)), "empty"),
        (lambda: Bumps().images([1.0, 2.0]), "shape"),
        (lambda: Bumps().images([[np.nan, 2.0]]), "labels is NaN"),
        (lambda: Bumps().images([[np.inf, 2.0]]), "finite"),
        (lambda: Bumps().sample(0, 0), "n = 0"),
        (lambda: Bumps(d_x=16, d_y=16).sample(3, 0, [1, 2]), "weights"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
