"""Spectra of scenes in closed form, InfoNCE, and the denoising classifier, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.theory.zero_shot import contrastive
from hierdiff.theory.zero_shot.captioned_scenes import (
    CaptionedScenes,
    denoising_scores,
    width_thresholds,
)
from hierdiff.theory.zero_shot.contrastive import (
    canonical_spectrum,
    fit_infonce,
    spectral_scores,
    zero_shot_accuracy,
)

SCENES = CaptionedScenes((5, 5), 0.8)
SWAP = SCENES.tasks["colour exchanged"]


def brute(values: tuple[int, ...], fidelity: tuple[float, ...]) -> dict[tuple, float]:
    """p(image, caption) by drawing nothing: all scenes, all places, all noise."""
    objects = list(itertools.product(*map(range, values)))
    law: dict[tuple, float] = {}
    pairs = [(a, b) for a in objects for b in objects
             if all(x != y for x, y in zip(a, b, strict=True))]  # fmt: skip
    for a, b in pairs:
        for x, y in itertools.product(objects, repeat=2):
            p = 1 / len(pairs)
            for true, seen in ((a, x), (b, y)):
                for i, v in enumerate(values):
                    p *= fidelity[i] * (true[i] == seen[i]) + (1 - fidelity[i]) / v
            key = (tuple(sorted((x, y))), tuple(sorted((a, b))))
            law[key] = law.get(key, 0.0) + p
    return law


@pytest.mark.parametrize(
    ("values", "fidelity"), [((3, 3), (0.8, 0.8)), ((3, 2), (0.6, 1.0)), ((2, 4), (0.9, 0.3))]
)
def test_the_joint_law_is_that_of_all_scenes(
    values: tuple[int, ...], fidelity: tuple[float, ...]
) -> None:
    scenes, law = CaptionedScenes(values, fidelity), brute(values, fidelity)
    assert abs(scenes.joint.sum() - 1) < 1e-12
    for i, x in enumerate(scenes.images):
        for j, y in enumerate(scenes.captions):
            key = (tuple(sorted(map(tuple, x.tolist()))), tuple(sorted(map(tuple, y.tolist()))))
            assert abs(scenes.joint[i, j] - law.get(key, 0.0)) < 1e-14


@pytest.mark.parametrize(
    ("values", "fidelity"),
    [((5, 5), 0.8), ((4, 4, 2), (0.7, 0.8, 0.9)), ((3, 4), 1.0), ((2, 3, 3), 0.6), ((2, 2), 0.4)],
)
def test_spectra_and_multiplicities_are_in_closed_form(
    values: tuple[int, ...], fidelity: float
) -> None:
    scenes = CaptionedScenes(values, fidelity)
    parts = scenes.parts()
    closed = np.concatenate([[part.value] * part.number for part in parts])
    assert len(closed) == scenes.n_captions
    assert np.abs(closed - canonical_spectrum(scenes.joint).values).max() < 1e-12
    assert len({part.text for part in parts}) == len(parts)


def test_attributes_come_before_binding_and_binding_is_bayes_when_complete() -> None:
    """The numbers of the prototype: .500 up to 9, .90 from 25."""
    found = width_thresholds(SCENES)
    assert found["shape"] == found["colour"] == (2, 9)
    assert found["binding of shape and colour"] == (10, 25)
    spectrum, p = canonical_spectrum(SCENES.joint), SCENES.joint
    at = {d: zero_shot_accuracy(p, spectral_scores(spectrum, d, seed=0), SWAP)
          for d in (1, 5, 9, 10, 24, 25, 200)}  # fmt: skip
    assert all(abs(at[d] - 0.5) < 1e-12 for d in (1, 5, 9))
    assert 0.75 < at[10] < 0.83
    assert at[10] < at[24] < at[25]
    bayes = zero_shot_accuracy(p, p, SWAP)
    assert abs(bayes - 0.901408) < 1e-6
    assert abs(at[25] - bayes) < 1e-12
    assert abs(at[200] - bayes) < 1e-12


def test_bayes_accuracy_of_an_exchange_by_hand() -> None:
    """(A - B)(C - D) > 0 needs both attributes right or both wrong; three outcomes per object."""
    right, wrong = 0.8 + 0.04, 0.04
    none = 1 - right - wrong
    up = right**2 + 2 * right * none
    down = wrong**2 + 2 * wrong * none
    by_hand = up**2 + down**2 + (1 - (up + down) ** 2) / 2
    assert abs(zero_shot_accuracy(SCENES.joint, SCENES.joint, SWAP) - by_hand) < 1e-12


def test_places_that_are_seen_exactly_are_bound_before_attributes_are_known() -> None:
    scenes = CaptionedScenes((4, 4, 2), (0.8, 0.8, 1.0))
    values = {part.text: part.value for part in scenes.parts()}
    assert values["binding of colour and position"] > values["colour"]
    assert values["colour"] > values["binding of shape and colour"]
    # for any fidelity of the place the order of the other two does not change
    for fidelity in (0.2, 0.5, 0.95):
        for v in (3, 5, 20):
            parts = {p.text: p.value for p in CaptionedScenes((v, v), fidelity).parts()}
            assert parts["shape"] > parts["binding of shape and colour"]


def test_tasks_name_captions_that_differ_as_they_say() -> None:
    scenes = CaptionedScenes((3, 4, 2), 0.8)
    assert list(scenes.tasks) == [
        "shape", "colour", "shape exchanged", "colour exchanged", "position exchanged"
    ]  # fmt: skip
    y = scenes.captions
    for name, wrong in scenes.tasks.items():
        i = scenes.names.index(name.split()[0])
        for other in wrong.T:
            z = y[other]
            if "exchanged" in name:
                assert np.array_equal(np.sort(z[..., i], axis=1), np.sort(y[..., i], axis=1))
                assert np.array_equal(other[other], np.arange(len(y)))
                assert (other != np.arange(len(y))).all()
            else:
                shared = [len(set(a) & set(b)) for a, b in zip(z[..., i], y[..., i], strict=True)]
                assert set(shared) == {1}
            rest = [k for k in range(3) if k != i]
            assert np.array_equal(np.sort(z[..., rest], axis=1), np.sort(y[..., rest], axis=1))


def test_masked_denoising_adds_to_the_likelihood() -> None:
    scenes = CaptionedScenes((3, 2), (0.7, 0.9))
    with np.errstate(divide="ignore"):
        exact = np.log(scenes.joint / scenes.joint.sum(axis=0))
    gap = denoising_scores(scenes) - exact  # up to the number of places of an image
    assert np.abs(gap - gap[:, :1]).max() < 1e-12
    parts = sum(denoising_scores(scenes, masked=n) for n in range(1, 5))
    assert np.abs(parts - denoising_scores(scenes)).max() < 1e-12
    # with all symbols masked nothing is seen of the binding
    swap = scenes.tasks["colour exchanged"]
    blind = denoising_scores(scenes, masked=4)
    assert abs(zero_shot_accuracy(scenes.joint, blind, swap) - 0.5) < 1e-12


def slopes_of(f: object, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = f(s)[1]  # type: ignore[operator]
    numeric = np.zeros_like(s)
    for i in np.ndindex(*s.shape):
        step = np.zeros_like(s)
        step[i] = 1e-6
        numeric[i] = (f(s + step)[0] - f(s - step)[0]) / 2e-6  # type: ignore[operator]
    return found, numeric


@pytest.mark.parametrize("swapped", [None, [1, 0, 3, 2, 4], [1, 0, 3, 2, 2]])
def test_losses_have_the_slopes_that_they_state(swapped: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    p, s = rng.random((6, 5)), rng.standard_normal((6, 5))
    p /= p.sum()
    other = None if swapped is None else np.array(swapped)
    for f, error in (
        (lambda x: contrastive._infinite(p, p.sum(0), other, 0.4, x), 1e-8),
        (lambda x: contrastive._counted(p, p.sum(0), 3, other, x), 1e-5),  # the quadrature's
    ):
        found, numeric = slopes_of(f, s)
        assert np.abs(found - numeric).max() < error


@pytest.mark.parametrize("count", [1, 3])
def test_counted_negatives_are_the_mean_over_all_sets(count: int) -> None:
    rng = np.random.default_rng(1)
    p, s = rng.random((4, 5)), rng.standard_normal((4, 5))
    p /= p.sum()
    prior, exact = p.sum(axis=0), 0.0
    for drawn in itertools.product(range(5), repeat=count):
        n = np.exp(s) + np.exp(s[:, list(drawn)]).sum(axis=1, keepdims=True)
        exact += prior[list(drawn)].prod() * float((p * (np.log(n) - s)).sum())
    assert abs(contrastive._counted(p, prior, count, None, s)[0] - exact) < 2e-5


@pytest.mark.parametrize("negatives", [None, 2])
def test_at_full_width_infonce_is_the_pointwise_information(negatives: int | None) -> None:
    p = np.random.default_rng(2).random((6, 4)) + 0.2
    p /= p.sum()
    found = fit_infonce(p, 4, negatives=negatives, seed=0)
    pmi = np.log(p / p.sum(axis=0) / p.sum(axis=1, keepdims=True))
    gap = found.scores - pmi
    assert np.abs(gap - gap.mean(axis=1, keepdims=True)).max() < 0.02
    if negatives is None:
        assert abs(found.loss + (p * pmi).sum()) < 1e-4


def test_hard_negatives_bind_at_a_width_where_nothing_else_does() -> None:
    plain = fit_infonce(SCENES.joint, 2, seed=0)
    hard = fit_infonce(SCENES.joint, 2, wrong=SWAP[:, 0], hard=0.5, seed=0)
    assert zero_shot_accuracy(SCENES.joint, plain.scores, SWAP) < 0.55
    assert zero_shot_accuracy(SCENES.joint, hard.scores, SWAP) > 0.8


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CaptionedScenes((5,), 0.8), "give at least 2"),
        (lambda: CaptionedScenes((5, 1), 0.8), "values"),
        (lambda: CaptionedScenes((5, 5), 0.0), "fidelity"),
        (lambda: CaptionedScenes((5, 5), (0.8, 0.8, 0.8)), "3 fidelities"),
        (lambda: CaptionedScenes((60, 60), 0.8).joint, "give fewer values"),
        (lambda: spectral_scores(canonical_spectrum(SCENES.joint), 201), "exceeds the 200"),
        (lambda: fit_infonce(SCENES.joint, 201), "exceeds the 200 captions"),
        (lambda: fit_infonce(SCENES.joint, 2, hard=0.5), "needs wrong"),
        (lambda: fit_infonce(SCENES.joint, 2, negatives=201), "negatives"),
        (lambda: canonical_spectrum([[0.5, 0.2], [0.1, 0.1]]), "sums to 0.9"),
        (lambda: zero_shot_accuracy(SCENES.joint, SCENES.joint, [0, 1]), "wrong has shape"),
        (lambda: denoising_scores(SCENES, masked=5), "masked"),
    ],
)  # fmt: skip
def test_bad_input_is_named_in_one_line(call: object, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        call()  # type: ignore[operator]
    one_line(error)
