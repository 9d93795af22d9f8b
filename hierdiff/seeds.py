"""Random streams named by purpose.

A stream is ``SeedSequence(seed, spawn_key=...)`` with a key made of words and numbers, so a draw
depends on *what it is for* and never on the order in which work happens to be done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import check_fields, checked, integers, natural
from hierdiff.errors import InvalidParameter

__all__ = ["SampleStreams", "Seed", "generator", "stream"]

Seed: TypeAlias = int | np.random.SeedSequence | np.random.Generator
"""What every function with random input accepts."""


def _shown(value: object) -> str:
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else words[:56] + " ..."


def generator(seed: Seed) -> np.random.Generator:
    """Turn a seed into a generator; a generator is passed through, and so advances.

    Parameters
    ----------
    seed : int, SeedSequence or Generator
        Source of randomness; an int must not be negative.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    InvalidParameter
        If ``seed`` is of another type or negative.

    Notes
    -----
    Validity: the same seed gives the same numbers on every platform that NumPy supports.

    Examples
    --------
    >>> int(generator(7).integers(1000))
    944
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, np.random.SeedSequence):
        return np.random.default_rng(seed)
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0:
        return np.random.default_rng(int(seed))
    words = " ".join(repr(seed).split())
    words = words if len(words) <= 60 else words[:56] + " ..."
    raise InvalidParameter(
        f"seed = {words} is no seed; give an int >= 0, a SeedSequence or a Generator"
    )


def _word(key: str | int) -> int:
    if isinstance(key, str):
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and 0 <= key < 2**32:
        return int(key)
    raise InvalidParameter(
        f"purpose {_shown(key)} names no stream; give words, and indices that are integers from 0 "
        "to 2**32 - 1"
    )


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Independent generator for one purpose, e.g. ``stream(0, "noise", grammar, datum)``.

    Parameters
    ----------
    seed : int
        The user's seed, from 0 to 2**128 - 1.
    *purpose : str or int
        Words and indices that name the use; indices from 0 to 2**32 - 1.

    Returns
    -------
    numpy.random.Generator
        The same for the same ``(seed, purpose)``; streams of different purpose are independent.

    Raises
    ------
    InvalidParameter
        If the seed or an index is no integer in its range.

    Notes
    -----
    Validity: words are hashed to 32 bits, so two words collide with probability 2^-32.  Larger
    numbers would be cut into several of 32 bits and could spell another purpose, so they are
    refused.

    Examples
    --------
    >>> a, b = stream(0, "noise", 3), stream(0, "noise", 3)
    >>> bool(a.random() == b.random())
    True
    """
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**128:
        raise InvalidParameter(
            f"seed = {_shown(seed)} must not be negative, and must be an integer below 2**128"
        )
    key = tuple(_word(k) for k in purpose)
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=key))


@dataclass(frozen=True)
class SampleStreams:
    """A random stream per sample, so that neither batches nor neighbours change a draw.

    Parameters
    ----------
    root : SeedSequence
        Made by ``of``.

    Notes
    -----
    Validity: the stream of sample i depends on the seed, the purpose and i alone.  A Generator
    given as a seed advances once.

    Examples
    --------
    >>> streams = SampleStreams.of(7)
    >>> first, again = streams.take(np.array([3])), streams.take(np.array([2, 3]))
    >>> bool(first[0].random() == again[1].random())
    True
    """

    root: np.random.SeedSequence

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    @checked(purpose=natural)
    def of(cls, seed: Seed, purpose: int = 0) -> SampleStreams:
        """Streams of a seed; ``purpose`` separates uses of one seed."""
        if isinstance(seed, np.random.SeedSequence):
            root = seed
        elif isinstance(seed, np.random.Generator):
            root = np.random.SeedSequence(seed.integers(2**32, size=4).tolist())
        else:
            generator(seed)
            root = np.random.SeedSequence(int(seed))
        key = (*root.spawn_key, purpose)
        return cls(np.random.SeedSequence(root.entropy, spawn_key=key))

    def take(self, rows: NDArray[Any]) -> list[np.random.Generator]:
        """The streams of some samples, at their beginning."""
        rows = integers("rows", rows, ndim=1)
        key = self.root.spawn_key
        return [
            np.random.default_rng(
                np.random.SeedSequence(self.root.entropy, spawn_key=(*key, int(i)))
            )
            for i in rows
        ]
