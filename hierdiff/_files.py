"""Files of named arrays that say what they are, hold no pickle and appear whole or not at all.

Also the fingerprint of arrays, by which kept results are found again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = ["fingerprint", "read_npz", "write_npz"]


def fingerprint(*arrays: NDArray[Any]) -> str:
    """Hash of arrays: models that answer alike are taken to be one."""
    digest = hashlib.blake2b(digest_size=12)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_npz(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write ``arrays`` under a temporary name beside ``path``, then rename.

    Parameters
    ----------
    path : path
        Name of the file, kept as given.
    kind : str
        What the file is and in which version of its format, e.g. ``"hierdiff.Grammar 1"``.
    arrays : mapping of str to array
        Arrays of numbers.

    Raises
    ------
    InvalidParameter
        If the folder cannot be written.

    Notes
    -----
    Validity: a reader sees the old file or the new one, never a part.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            np.savez(file, allow_pickle=False, format=np.array(kind), **arrays)
        temporary.replace(target)
    except OSError as error:
        raise InvalidParameter(
            f"{target} cannot be written ({error.strerror}); "
            "give a file name in a folder that exists and is writable"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_npz(path: str | os.PathLike[str], kind: str) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file that ``write_npz`` wrote as ``kind``.

    Parameters
    ----------
    path : path
        Name of the file.
    kind : str
        What the file must say it is.

    Returns
    -------
    dict of str to array

    Raises
    ------
    DamagedFile
        If the file is damaged or is something else; a missing file stays FileNotFoundError.

    Notes
    -----
    Validity: every array is read and its checksum compared; nothing in the file is executed.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
        # Bytes gone wrong surface in zipfile, zlib, ast, tokenize or NumPy, each with its own type.
        except Exception as error:
            raise DamagedFile(
                f"{path} cannot be read as a {kind} file ({type(error).__name__}); "
                "it is damaged or foreign, so write it again"
            ) from error
    found = str(arrays.pop("format", "unnamed"))
    if found != kind:
        raise DamagedFile(
            f"{path} holds {found[:60]!r}, not {kind!r}; give a file of this kind and version"
        )
    return arrays
