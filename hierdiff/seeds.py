"""Random streams named by purpose.

A stream is ``SeedSequence(seed, spawn_key=...)`` with a key made of words and numbers, so a draw
depends on *what it is for* and never on the order in which work happens to be done.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np

from hierdiff.errors import InvalidParameter

__all__ = ["Seed", "generator", "stream"]

Seed: TypeAlias = int | np.random.SeedSequence | np.random.Generator
"""What every function with random input accepts."""


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
    raise InvalidParameter(
        f"seed = {seed!r} is no seed; give an int >= 0, a SeedSequence or a Generator"
    )


def _word(key: str | int) -> int:
    if isinstance(key, str):
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")
    return int(key)


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Independent generator for one purpose, e.g. ``stream(0, "noise", grammar, datum)``.

    Parameters
    ----------
    seed : int
        The user's seed.
    *purpose : str or int
        Words and indices that name the use; numbers must not be negative.

    Returns
    -------
    numpy.random.Generator
        The same for the same ``(seed, purpose)``; streams of different purpose are independent.

    Notes
    -----
    Validity: words are hashed to 32 bits, so two words collide with probability 2^-32.

    Examples
    --------
    >>> a, b = stream(0, "noise", 3), stream(0, "noise", 3)
    >>> bool(a.random() == b.random())
    True
    """
    key = tuple(_word(k) for k in purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
