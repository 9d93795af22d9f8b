"""Random streams: distinct for distinct purposes, and nothing but seeds and words accepted."""

from __future__ import annotations

import hashlib
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


def test_a_stream_is_what_its_definition_says() -> None:
    """Stored results depend on it: seed sequence, words hashed to four bytes, numbers as such."""
    word = int.from_bytes(hashlib.blake2b(b"noise", digest_size=4).digest(), "big")
    expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(word, 7, 0)))
    assert stream(5, "noise", 7, 0).random() == expected.random()


def test_sources_of_randomness() -> None:
    assert generator(0).random() == np.random.default_rng(0).random()
    assert generator(np.int64(4)).random() == np.random.default_rng(4).random()
    sequence = np.random.SeedSequence(3, spawn_key=(2,))
    assert generator(sequence).random() == np.random.default_rng(sequence).random()
    made = np.random.default_rng(1)
    assert generator(made) is made


def test_a_long_seed_is_cut_in_the_message() -> None:
    """Sixty characters of it at most."""
    for length, shown in ((58, "'" + 58 * "x" + "'"), (59, "'" + 55 * "x" + " ...")):
        with pytest.raises(InvalidParameter) as error:
            generator("x" * length)  # type: ignore[arg-type]
        assert one_line(error).startswith(f"seed = {shown} is no seed;")
