"""Contrastive pairs of a tree against enumeration of all strings and masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hierdiff import RHM, Grammar, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import posterior
from hierdiff.theory.rhm.tree_pairs import (
    TextPair,
    noisy_text,
    occluded_text,
    text_parts,
    text_widths,
    tree_pair,
)

GRAMMAR = RHM(v=3, m=2, s=2, L=2).draw(seed=1)


def law_of_strings(grammar: Grammar) -> np.ndarray:
    """p(string) of four leaves of three symbols."""
    strings = np.array(list(itertools.product(range(3), repeat=4)))
    p = np.zeros(len(strings))
    valid = grammar.is_valid(strings)
    with np.errstate(divide="ignore"):
        evidence = np.log(np.eye(3)[strings[valid]])
    p[valid] = np.exp(posterior(grammar, evidence, levels=()).log_evidence)
    assert abs(p.sum() - 1) < 1e-12
    return p.reshape(3, 3, 3, 3)


def singular(joint: np.ndarray) -> np.ndarray:
    x, y = joint.sum(axis=1), joint.sum(axis=0)
    kept = joint[x > 0][:, y > 0]
    return np.linalg.svd(kept / np.sqrt(np.outer(x[x > 0], y[y > 0])))[1]


def test_two_halves_seen_through_masks() -> None:
    t = 0.4
    mask = np.vstack([(1 - t) * np.eye(3), np.full((1, 3), t)])
    law = law_of_strings(GRAMMAR)
    joint = np.einsum("abcd,ia,jb,kc,ld->ijkl", law, mask, mask, mask, mask).reshape(16, 16)
    exact = singular(joint)[:3]
    found = tree_pair(GRAMMAR, MaskingNoise(3), t, (1, 0), (1, 1), n=60_000, seed=0)
    assert np.abs(found.values - exact).max() < 0.01


def test_two_leaves_without_noise_are_exact() -> None:
    law = law_of_strings(GRAMMAR)
    for other, axes in ((1, (2, 3)), (3, (1, 2))):
        exact = singular(law.sum(axis=axes))
        found = tree_pair(GRAMMAR, MaskingNoise(3), 0.0, (2, 0), (2, other), n=3, seed=0)
        assert np.abs(found.values[: len(exact)] - exact).max() < 1e-10
        # a leaf that is seen reveals itself, up to the rank of the pair
        assert found.revealed[2, -1] <= 1 + 1e-12


def test_the_class_is_all_there_without_noise_and_gone_at_the_end() -> None:
    grammar = RHM(v=6, m=2, s=2, L=3).draw(seed=0)
    clean = tree_pair(grammar, MaskingNoise(6), 0.0, (0, 0), (0, 0), n=60, text=True)
    assert np.abs(clean.values - 1).max() < 1e-9
    assert abs(clean.revealed[0, -1] - 1) < 1e-9
    assert clean.belief == pytest.approx(1)
    noise = tree_pair(grammar, MaskingNoise(6), 1.0, (0, 0), (0, 0), n=60, text=True)
    assert np.abs(noise.values[1:]).max() < 1e-7
    assert np.abs(noise.revealed).max() < 1e-9


def test_squared_singular_values_are_the_belief_in_the_class() -> None:
    """Eq. (3), an identity for classes of equal probability."""
    grammar = RHM(v=6, m=2, s=2, L=3).draw(seed=0)
    found = tree_pair(grammar, MaskingNoise(6), 0.5, (0, 0), (0, 0), n=600, seed=1, text=True)
    order = (6 * found.belief - 1) / 5
    # the first singular value is 1 up to the error of means, which the trace contains
    assert ((found.values**2).sum() - 1) / 5 == pytest.approx(order, abs=1e-12)


def test_halves_reveal_the_top_of_their_own_view_more_than_the_class() -> None:
    grammar = RHM(v=16, m=4, s=2, L=3).draw(seed=0)
    found = tree_pair(grammar, MaskingNoise(16), 0.0, (1, 0), (1, 1), n=400, seed=0)
    assert found.revealed[1, -1] > 0.9
    assert found.revealed[0, -1] < 0.5
    assert (np.diff(found.revealed, axis=1) >= -1e-12).all()


def derivations(grammar: Grammar) -> list[tuple[list[list[int]], float]]:
    """All derivations, symbols by level, with their probabilities."""
    rows = [([[c]], float(p)) for c, p in enumerate(grammar.root_prior)]
    for rules, weights in zip(grammar.rules, grammar.weights, strict=True):
        grown = []
        for levels, p in rows:
            for chosen in itertools.product(range(rules.shape[1]), repeat=len(levels[-1])):
                pairs = list(zip(levels[-1], chosen, strict=True))
                below = [int(x) for a, k in pairs for x in rules[a, k]]
                grown.append(([*levels, below], p * float(np.prod([weights[x] for x in pairs]))))
        rows = grown
    return rows


def enumerated(grammar: Grammar, t: float, first: tuple[int, int], caption: tuple[int, int]):
    """Singular values, and what all features reveal of every level, by masks and derivations."""
    rows, width = derivations(grammar), grammar.n_leaves // grammar.n_nodes(first[0])
    mine = range(first[1] * width, (first[1] + 1) * width)
    joint, latent = {}, [{} for _ in range(grammar.L + 1)]
    for levels, p in rows:
        for hidden in itertools.product((False, True), repeat=width):
            q = p * float(np.prod([t if h else 1 - t for h in hidden]))
            x = tuple(-1 if h else levels[-1][i] for h, i in zip(hidden, mine, strict=True))
            key = x, levels[caption[0]][caption[1]]
            joint[key] = joint.get(key, 0) + q
            for level, symbols in enumerate(levels):
                for node, z in enumerate(symbols):
                    latent[level][x, node, z] = latent[level].get((x, node, z), 0) + q
    views = sorted({x for (x, _), q in joint.items() if q > 0})
    law = np.array([[joint.get((x, y), 0) for y in range(grammar.v[caption[0]])] for x in views])
    px, py = law.sum(axis=1), law.sum(axis=0)
    rest = law / np.sqrt(np.outer(px, py)) - np.sqrt(np.outer(px, py))
    u, values, _ = np.linalg.svd(rest, full_matrices=False)
    phi = u[:, values > 1e-9] / np.sqrt(px)[:, None]
    revealed = []
    for level, table in enumerate(latent):
        span = grammar.n_leaves // grammar.n_nodes(level)
        shares = []
        for node in range(grammar.n_nodes(level)):
            if node * span // width != first[1] and mine[0] // span != node:
                continue
            both = np.array([[table.get((x, node, z), 0) for z in range(grammar.v[level])]
                             for x in views])  # fmt: skip
            there = both.sum(axis=0) > 0
            shares.append(((phi.T @ both[:, there]) ** 2 / both[:, there].sum(axis=0)).sum())
        revealed.append(np.mean(shares) / (grammar.v[level] - 1))
    return np.r_[1.0, values[:-1]], np.array(revealed)


@pytest.mark.parametrize("t", [0.0, 0.4])
@pytest.mark.parametrize(
    ("first", "caption"), [((0, 0), (0, 0)), ((0, 0), (1, 1)), ((1, 1), (2, 3)), ((1, 0), (0, 0))]
)
def test_captions_above_at_and_inside_of_the_view(
    t: float, first: tuple[int, int], caption: tuple[int, int]
) -> None:
    """Of unequal weights; clean captions have several singular values of 1 beside the constant."""
    drawn = RHM(v=3, m=2, s=2, L=2).draw(seed=3)
    weights = [np.tile([0.7, 0.3], (3, 1)), np.array([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6]])]
    grammar = Grammar(drawn.rules, weights, [0.5, 0.3, 0.2], leaf_vocabulary=3)
    values, revealed = enumerated(grammar, t, first, caption)
    found = tree_pair(grammar, MaskingNoise(3), t, first, caption, n=20_000, seed=0, text=True)
    assert np.abs(found.values - values).max() < 0.02
    assert np.abs(found.revealed[:, -1] - revealed).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((1, 0), (1, 2)), "is no node"),
        (((3, 0), (1, 1)), "is no node"),
        (((0, 0), (1, 1)), "share leaves"),
        (((1, 0), (2, 1)), "share leaves"),
    ],
)
def test_views_outside_of_the_tree_or_on_one_another_are_refused(
    arguments: tuple[tuple[int, int], tuple[int, int]], words: str
) -> None:
    with pytest.raises(InvalidParameter, match=words):
        tree_pair(GRAMMAR, MaskingNoise(3), 0.2, *arguments)


def uneven(L: int = 2) -> Grammar:
    """Rules of unequal weights."""
    drawn = RHM(v=3, m=2, s=2, L=L).draw(seed=3)
    weights = [np.tile([0.7, 0.3], (3, 1)), np.array([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6]])]
    return Grammar(drawn.rules, weights[:L], [0.5, 0.3, 0.2], leaf_vocabulary=3)


def text_by_enumeration(grammar: Grammar, level: int, hidden: float, at: int):
    """Spectrum, and what all features reveal, of the string of a level.

    The image shows the symbols of level ``at``, each hidden with a probability.
    """
    joint, latent = {}, [{} for _ in range(level + 1)]
    for levels, p in derivations(grammar):
        for lost in itertools.product((False, True), repeat=len(levels[at])):
            q = p * float(np.prod([hidden if h else 1 - hidden for h in lost]))
            x = tuple(-1 if h else z for h, z in zip(lost, levels[at], strict=True))
            joint[x, tuple(levels[level])] = joint.get((x, tuple(levels[level])), 0) + q
            for i in range(level + 1):
                for node, z in enumerate(levels[i]):
                    latent[i][x, node, z] = latent[i].get((x, node, z), 0) + q
    views = sorted({x for (x, _), q in joint.items() if q > 0})
    texts = sorted({y for (_, y), q in joint.items() if q > 0})
    law = np.array([[joint.get((x, y), 0) for y in texts] for x in views])
    px, py = law.sum(axis=1), law.sum(axis=0)
    rest = law / np.sqrt(np.outer(px, py)) - np.sqrt(np.outer(px, py))
    u, values, _ = np.linalg.svd(rest, full_matrices=False)
    phi = u[:, values > 1e-9] / np.sqrt(px)[:, None]
    revealed = []
    for i, table in enumerate(latent):
        shares = []
        for node in range(grammar.n_nodes(i)):
            both = np.array([[table.get((x, node, z), 0) for z in range(grammar.v[i])]
                             for x in views])  # fmt: skip
            there = both.sum(axis=0) > 0
            square = ((phi.T @ both[:, there]) ** 2 / both[:, there].sum(axis=0)).sum()
            shares.append(square / max(there.sum() - 1, 1))
        revealed.append(np.mean(shares))
    string = ((phi.T @ law) ** 2 / py).sum() / (len(texts) - 1)
    full = np.zeros(len(texts))
    full[0] = 1
    full[1:] = np.r_[values, np.zeros(len(texts))][: len(texts) - 1]
    return full, np.array(revealed), string


@pytest.mark.parametrize("grammar", [GRAMMAR, uneven()])
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("kept", [1.0, 0.7, 0.2, 0.0])
def test_occluded_texts_against_enumeration(grammar: Grammar, level: int, kept: float) -> None:
    values, revealed, string = text_by_enumeration(grammar, level, 1 - kept, level)
    found = occluded_text(grammar, level, kept)
    assert np.abs(found.values - values).max() < 1e-7  # a root of squares that are exact to 1e-15
    assert np.abs(found.revealed[:, -1] - revealed).max() < 1e-10
    assert abs(found.string[-1] - string) < 1e-10


@pytest.mark.parametrize("level", [1, 2])
def test_noisy_texts_against_enumeration_of_masks(level: int) -> None:
    values, revealed, string = text_by_enumeration(uneven(), level, 0.4, 2)
    found = noisy_text(uneven(), MaskingNoise(3), 0.4, level, n=60_000, seed=0)
    assert np.abs(found.values[:12] - values[:12]).max() < 0.02
    assert np.abs(found.revealed[:, -1] - revealed).max() < 0.02
    assert abs(found.string[-1] - string) < 0.02


@pytest.mark.parametrize(
    ("grammar", "level"),
    [
        (RHM(v=8, m=3, s=2, L=2).draw(0), 1),
        (RHM(v=5, m=1, s=2, L=1).draw(1), 1),  # one symbol says the other
        (RHM(v=3, m=3, s=2, L=2).draw(2), 2),  # all tuples: independent symbols
        (RHM(v=2, m=4, s=3, L=1).draw(3), 1),
        (uneven(1), 1),
        (Grammar(RHM(v=3, m=2, s=2, L=1).draw(0).rules, root_prior=[1.0, 0.0, 0.0],
                 leaf_vocabulary=3), 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kept", [1.0, 0.8, 0.3])
def test_multiplicities_in_closed_form(grammar: Grammar, level: int, kept: float) -> None:
    found = occluded_text(grammar, level, kept).values
    parts = text_parts(grammar, level, kept)
    assert sum(part.number for part in parts) == len(found)
    stated = np.repeat([part.value for part in parts], [part.number for part in parts])
    assert np.abs(np.sort(stated)[::-1] - found).max() < 1e-7


def test_closed_forms_that_are_wrong_are_noticed() -> None:
    """The planted wrong law: symbols of a random grammar as if they were independent."""
    grammar, kept = RHM(v=8, m=3, s=2, L=2).draw(0), 0.8
    square = occluded_text(grammar, 1, kept).values ** 2
    assert abs(square.sum() - (1 + 7 * kept) ** 2) > 5  # 24 strings and not 64
    # eq. (5), by the numbers of strings that one and both symbols can form
    trace = (1 - kept) ** 2 + 2 * kept * (1 - kept) * 8 + kept**2 * 24
    assert square.sum() == pytest.approx(trace, abs=1e-9)


def test_symbols_come_before_strings_and_what_is_above() -> None:
    grammar = RHM(v=16, m=4, s=2, L=2).draw(seed=0)
    found = occluded_text(grammar, 1, 0.8)
    # 31 functions of single symbols, then the strings
    assert np.abs(found.values[31:] - 0.8).max() < 1e-9
    assert (found.values[:31] > 0.8 + 1e-3).all()
    assert found.revealed[1, 30] == pytest.approx(found.revealed[1, -1], abs=1e-12)
    assert found.revealed[0, 30] < 0.7 * found.revealed[0, -1]
    widths = text_widths(found, 1.0)
    assert (widths["level 1"], widths["string"], widths["level 0"]) == (31, 64, 64)
    # within equal values no basis is preferred: shares grow in proportion to the width
    assert np.abs(np.diff(found.revealed[0, 31:], 2)).max() < 1e-12


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: occluded_text(GRAMMAR, 3, 0.5), "outside of the tree"),
        (lambda: occluded_text(GRAMMAR, 0, 0.5), "level"),
        (lambda: occluded_text(GRAMMAR, 1, 1.5), "kept"),
        (lambda: occluded_text(RHM(v=4, m=1, s=2, L=4).draw(0), 4, 0.5), "sets of them"),
        (lambda: occluded_text(RHM(v=16, m=4, s=2, L=4).draw(0), 3, 0.5), "memory"),
        (lambda: text_parts(GRAMMAR, 2, 0.5), "no closed form"),
        (lambda: noisy_text(GRAMMAR, MaskingNoise(3), 0.5, 1, n=3), "give at least"),
        (lambda: text_widths(np.ones(3)), "give a TextPair"),
        (lambda: text_widths(TextPair(np.ones(1), np.zeros((2, 1)), np.zeros(1)), 0.0), "share"),
    ],
)
def test_texts_that_cannot_be_are_refused_in_one_line(ask, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as refused:
        ask()
    assert "\n" not in str(refused.value)
