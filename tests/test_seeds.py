"""Random streams: distinct for distinct purposes, and nothing but seeds and words accepted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import generator, stream


def first(*purpose: Any) -> int:
    return int(stream(0, *purpose).integers(2**63))


def test_words_name_streams_of_their_own() -> None:
    """Three thousand words: hashed to 32 bits none meet, hashed to 16 or 8 bits most do."""
    words = [f"word {i}" for i in range(3000)]
    assert len({first(word) for word in words}) == len(words)
    assert len({first("one", word) for word in words}) == len(words)
    assert len({first(word, i % 3) for i, word in enumerate(words)}) == len(words)


def test_a_word_is_more_than_its_length_or_first_letter() -> None:
    found = {first(*p) for p in [("ab",), ("ba",), ("a", "b"), ("b", "a"), ("ab", 0), (0, "ab")]}
    assert len(found) == 6


def test_seeds_and_indices_name_streams_of_their_own() -> None:
    seeds = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**64, 2**127]
    draws = {int(stream(seed, "x", i).integers(2**63)) for seed in seeds for i in range(50)}
    assert len(draws) == 50 * len(seeds)
    assert stream(3, "x", np.int64(2)).random() == stream(np.uint8(3), "x", 2).random()


@pytest.mark.parametrize(
    "seed", [math.inf, math.nan, 1.0, 1.5, -1, True, "1", None, 1j, [1], 2**128, np.float64(2)]
)
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidParameter, match="seed") as error:
        stream(seed, "x")
    one_line(error)
    if seed != 2**128:
        with pytest.raises(InvalidParameter, match="seed") as error:
            generator(seed)
        one_line(error)


@pytest.mark.parametrize("index", [0.5, 1.0, -1, True, None, 2**32, math.inf, (1, 2)])
def test_what_names_no_purpose_is_refused(index: Any) -> None:
    """A large number is cut into words of 32 bits: 2**32 + 5 would be the stream (5, 1)."""
    with pytest.raises(InvalidParameter, match="purpose") as error:
        stream(0, "x", index)
    one_line(error)
