"""Windowed denoisers against enumeration, and their losses against conditional information."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hierdiff import RHM, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.contracts import NoiseProcess
from hierdiff.errors import InvalidParameter
from hierdiff.theory import (
    annealed_beliefs,
    correlation_length_exponent,
    critical_noise,
    denoise_symbols,
)
from hierdiff.theory.rhm.locality import (
    excess_loss,
    explained_share,
    markov_length,
    sliding_windows,
    subtree_belief,
    tree_windows,
    windowed_denoise,
)

GRAMMAR = RHM(v=3, m=2, s=2, L=2).draw(seed=1)
PROCESSES: tuple[NoiseProcess, ...] = (MaskingNoise(3), UniformNoise(3), GaussianNoise(3))


def strings_of(grammar: Grammar) -> tuple[np.ndarray, np.ndarray]:
    """All strings with their probabilities: derivations of equal weight."""
    found: dict[tuple[int, ...], float] = {}
    top, low = grammar.rules
    for a, k in itertools.product(range(3), range(2)):
        for rules in itertools.product(range(2), repeat=2):
            leaves = np.concatenate([low[b, r] for b, r in zip(top[a, k], rules, strict=True)])
            key = tuple(int(x) for x in leaves)
            found[key] = found.get(key, 0.0) + 1 / (3 * 2 * 4)
    return np.array(list(found)), np.array(list(found.values()))


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda n: n.name)
def test_a_window_is_inference_with_nothing_outside(noise: NoiseProcess) -> None:
    strings, p = strings_of(GRAMMAR)
    x_t = noise.corrupt(GRAMMAR.sample(5, seed=3).leaves, 0.4, seed=4)
    log_psi = noise.log_evidence(x_t, 0.4)
    windows = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0]], bool)
    found = windowed_denoise(GRAMMAR, noise, x_t, 0.4, windows)
    for leaf, window in enumerate(windows):
        seen = np.flatnonzero(window)
        weight = p * np.exp(log_psi[:, seen, strings[:, seen]].sum(axis=2))
        exact = weight @ np.eye(3)[strings[:, leaf]]
        assert np.abs(found[:, leaf] - exact / exact.sum(axis=1, keepdims=True)).max() < 1e-12


@pytest.mark.parametrize("noise", PROCESSES, ids=lambda n: n.name)
def test_a_window_of_all_leaves_is_exact_inference(noise: NoiseProcess) -> None:
    x_t = noise.corrupt(GRAMMAR.sample(5, seed=3).leaves, 0.3, seed=4)
    for windows in (sliding_windows(4, 4), tree_windows(GRAMMAR, 2)):
        found = windowed_denoise(GRAMMAR, noise, x_t, 0.3, windows)
        assert np.abs(found - denoise_symbols(GRAMMAR, noise, x_t, 0.3)).max() < 1e-12
    lost = excess_loss(GRAMMAR, noise, 0.3, tree_windows(GRAMMAR, 2), 20, seed=1)
    assert abs(lost.nats.value) < 1e-12


def test_the_excess_loss_is_the_conditional_information() -> None:
    """Masking: all strings and masks are summed; the estimate has the mean of the sum."""
    strings, p = strings_of(GRAMMAR)
    t, noise = 0.5, MaskingNoise(3)
    windows = sliding_windows(4, 2)
    exact = 0.0
    for mask in itertools.product((False, True), repeat=4):
        x_t = np.where(mask, -1, strings)
        full = denoise_symbols(GRAMMAR, noise, x_t, t)
        local = windowed_denoise(GRAMMAR, noise, x_t, t, windows)
        rows = np.arange(len(strings))[:, None]
        at = (rows, np.arange(4), strings)
        gain = np.log(full[at]) - np.log(local[at])  # I(x_i; outside | window), pointwise
        exact += t ** sum(mask) * (1 - t) ** (4 - sum(mask)) * float(p @ gain.mean(axis=1))
    found = excess_loss(GRAMMAR, noise, t, windows, 4000, seed=0)
    assert exact > 0.02
    assert abs(found.nats.value - exact) < 4 * found.nats.error


def test_the_squared_excess_is_a_difference_of_beliefs() -> None:
    grammar, noise = RHM(v=8, m=3, s=2, L=3).draw(seed=0), UniformNoise(8)
    whole = excess_loss(grammar, noise, 0.3, tree_windows(grammar, 3), 3000, seed=2)
    part = excess_loss(grammar, noise, 0.3, tree_windows(grammar, 1), 3000, seed=2)
    gap = whole.belief.value - part.belief.value
    assert part.square.value > 0.03
    assert abs(part.square.value - gap) < 5 * np.hypot(part.square.error, whole.belief.error)


@pytest.mark.parametrize("height", [0, 1, 2])
def test_windows_that_follow_the_tree_have_the_belief_of_its_subtrees(height: int) -> None:
    grammar, noise = RHM(v=8, m=3, s=2, L=3).draw(seed=0), UniformNoise(8)
    window = excess_loss(grammar, noise, 0.3, tree_windows(grammar, height), 3000, seed=2).belief
    below = subtree_belief(grammar, noise, 0.3, height, 3000, seed=3)
    assert abs(window.value - below.value) < 4.5 * np.hypot(window.error, below.error)


def test_the_scale_of_the_loss_diverges_with_the_exponent_of_the_correlation_length() -> None:
    """Annealed recursion: a decade nearer to the threshold is nu log2(10) levels of the tree."""
    rhm = RHM(32, 4, 2, 1)
    threshold, nu = critical_noise(rhm), correlation_length_exponent(rhm)
    heights = []
    for decade in (4, 5):
        epsilon = threshold - 10.0**-decade
        beliefs = [annealed_beliefs(RHM(32, 4, 2, d), epsilon).marginal[-1] for d in range(1, 31)]
        local = np.diff(np.log2(np.abs(np.diff(beliefs))))
        h = int(np.argmax(local < -1.75))  # between the slow power, -0.47, and the fast one, -3.04
        heights.append(h - (local[h] + 1.75) / (local[h] - local[h - 1]))
    assert heights[1] - heights[0] == pytest.approx(nu * np.log2(10), abs=0.1)
    assert abs(heights[1] - heights[0] - np.log2(10)) > 1  # as for a scale that is 1 / distance


def test_losses_fall_as_windows_grow() -> None:
    grammar, noise = RHM(v=8, m=3, s=2, L=4).draw(seed=0), MaskingNoise(8)
    tree = [excess_loss(grammar, noise, 0.4, tree_windows(grammar, h), 400, seed=2).nats.value
            for h in range(5)]  # fmt: skip
    assert all(a > b for a, b in itertools.pairwise(tree))
    near = excess_loss(grammar, noise, 0.4, sliding_windows(16, 4), 400, seed=2).nats.value
    assert near > tree[2]  # neighbours of other branches tell less than those of one's own


def test_windows_have_their_size_and_their_leaf() -> None:
    for n, width in ((5, 1), (5, 2), (8, 5), (8, 8)):
        windows = sliding_windows(n, width)
        assert (windows.sum(axis=1) == width).all()
        assert windows[np.diag_indices(n)].all()
    grammar = RHM(v=4, m=2, s=3, L=2).draw(seed=0)
    assert [int(tree_windows(grammar, h)[0].sum()) for h in range(3)] == [1, 3, 9]


def test_markov_length() -> None:
    assert markov_length((1.0, 2.0, 4.0), [0.005, 0.001, 0.0], 0.01) == 1
    assert np.isnan(markov_length((1.0, 2.0, 4.0), [0.5, 0.3, 0.2], 0.01))
    # a dip does not shorten the length
    assert markov_length((1.0, 2.0, 4.0, 8.0), [0.5, 0.0, 0.2, 0.0], 0.1) == pytest.approx(
        4 * 2**0.5
    )


def test_the_explained_share_of_another_window() -> None:
    noise = MaskingNoise(3)
    x_t = noise.corrupt(GRAMMAR.sample(200, seed=3).leaves, 0.4, seed=4)
    full = denoise_symbols(GRAMMAR, noise, x_t, 0.4)
    local = (windowed_denoise(GRAMMAR, noise, x_t, 0.4, sliding_windows(4, k)) for k in (1, 2, 4))
    shares = [explained_share(full, beliefs) for beliefs in local]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sliding_windows(4, 5), "exceeds the 4 leaves"),
        (lambda: tree_windows(GRAMMAR, 3), "exceeds the 2 levels"),
        (lambda: windowed_denoise(GRAMMAR, MaskingNoise(3), [[0, 1, 2, 0]], 0.2,
                                  sliding_windows(5, 2)), "windows are bool of shape"),
        (lambda: windowed_denoise(GRAMMAR, MaskingNoise(3), [[0, 1, 2, 0]], 0.2,
                                  np.zeros((4, 4), bool)), "leaf 0 is empty"),
        (lambda: windowed_denoise(GRAMMAR, MaskingNoise(3), [[0, 1, 2]], 0.2,
                                  sliding_windows(4, 2)), "x_t has 3 leaves"),
        (lambda: windowed_denoise(GRAMMAR, MaskingNoise(4), [[0, 1, 2, 0]], 0.2,
                                  sliding_windows(4, 2)), "v = 4"),
        (lambda: explained_share(np.ones((2, 1, 2)), np.ones((2, 1, 2))), "nothing to explain"),
    ],
)  # fmt: skip
def test_windows_that_do_not_fit_are_refused(call: object, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        call()  # type: ignore[operator]
