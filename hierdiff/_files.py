"""Files that appear whole or not at all, and files of named arrays that say what they are.

A file is written under a temporary name in its folder and renamed.  The temporary name holds the
machine and the process, so that what a killed process left behind is told from what another
process is writing just now, and removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import platform
import re
import secrets
import struct
import time
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = [
    "one_line", "read_npy", "read_npz", "remove_leftovers", "replacing", "set_aside", "shown",
    "unreadable", "write_npz",
]  # fmt: skip

_HERE = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
_LEFTOVER = re.compile(r"\..*\.(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{8}\.tmp")
# no file of hierdiff takes a day to write; process numbers come again, machines have other clocks
_DAY = 86400.0
# arrays that np.savez takes for its own arguments, and the one that names the kind
_RESERVED = ("file", "allow_pickle", "format")
# hierdiff writes without compression; small files may have been packed by hand since
_UNPACKED = 2**26


def one_line(error: BaseException) -> str:
    """An error's own words without line breaks, or its type if it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def shown(value: object) -> str:
    """A value as a person sees it, on one line and not too long."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else words[:56] + " ..."


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], remedy: str = "") -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends without an error.

    Parameters
    ----------
    path : path
        Name of the file in the end.
    remedy : str
        What to do if it cannot be written; default depends on the cause.

    Raises
    ------
    InvalidParameter
        If the folder is missing, full or read-only, or ``path`` is a folder.

    Notes
    -----
    Validity: a reader sees the old file or the new one, never a part; whatever happens inside the
    block, the old file stays.
    """
    target = Path(path)
    if not target.name:
        raise InvalidParameter(f"path = {str(path)!r} names no file; give a file name")
    token = f"{_HERE}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.with_name(f".{target.name}.{token}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        full = error.errno in _FULL
        default = (
            "free some space and run the same command again; what was there before is kept"
            if full
            else "give a file name in a folder that exists and is writable"
        )
        raise InvalidParameter(
            f"{target} cannot be written ({error.strerror or one_line(error)}); {remedy or default}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _full() -> tuple[int, ...]:
    import errno

    names = ("ENOSPC", "EDQUOT", "EFBIG")
    return tuple(getattr(errno, name) for name in names if hasattr(errno, name))


_FULL = _full()


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Remove temporary files that no living process writes; returns how many.

    Notes
    -----
    Validity: a file of this machine goes if its process is gone, any other after a day.
    """
    removed = 0
    for path in Path(folder).glob(".*.tmp"):
        match = _LEFTOVER.fullmatch(path.name)
        if match is None:
            continue
        with contextlib.suppress(OSError):
            old = time.time() - path.stat().st_mtime > _DAY
            if old or (match[1] == _HERE and not _alive(int(match[2]))):
                path.unlink()
                removed += 1
    return removed


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere this question would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def set_aside(path: Path) -> Path:
    """Rename a file or folder that is not what it should be; returns the new name.

    Raises
    ------
    InvalidParameter
        If it cannot be renamed.
    """
    aside = path.with_suffix(".damaged")
    while aside.exists():
        aside = path.with_suffix(f".{secrets.token_hex(4)}.damaged")
    try:
        path.rename(aside)
    except FileNotFoundError:  # another process was faster
        return aside
    except OSError as error:
        raise InvalidParameter(
            f"{path} is damaged and cannot be renamed ({error.strerror}); remove it"
        ) from None
    return aside


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
        If the folder cannot be written, or a name is reserved.

    Notes
    -----
    Validity: a reader sees the old file or the new one, never a part.
    """
    taken = [name for name in arrays if name in _RESERVED]
    if taken:
        raise InvalidParameter(f"array name {taken[0]!r} is reserved; give it another name")
    with replacing(path) as temporary, temporary.open("xb") as file:
        np.savez(file, allow_pickle=False, format=np.array(kind), **arrays)


def unreadable(path: str | os.PathLike[str], kind: str, error: BaseException) -> DamagedFile:
    """The error for a file that cannot be read as what it should be."""
    if isinstance(error, IsADirectoryError):
        return DamagedFile(f"{path} is a folder, not a {kind} file; move it away")
    return DamagedFile(
        f"{path} cannot be read as a {kind} file ({type(error).__name__}); "
        "it is damaged or foreign, so write it again"
    )


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
        If the file is damaged or is something else, or would not fit into memory; a missing file
        stays FileNotFoundError.

    Notes
    -----
    Validity: sizes are compared with the file's directory before any array is allocated, then
    every array is read and its checksum compared; nothing in the file is executed.
    """
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about odd headers of damaged files
            _check_sizes(file, path)
            _check_gapless(file)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (FileNotFoundError, DamagedFile):
        raise
    # Bytes gone wrong surface in zipfile, zlib, ast, tokenize or NumPy, each with its own type.
    except Exception as error:
        raise unreadable(path, kind, error) from error
    found = str(arrays.pop("format", "unnamed"))
    if found != kind:
        raise DamagedFile(
            f"{path} holds {found[:60]!r}, not {kind!r}; give a file of this kind and version"
        )
    return arrays


def _check_gapless(file: BinaryIO) -> None:
    """Refuse an archive whose directory lists less than the file holds."""
    with zipfile.ZipFile(file) as archive:
        end = 0
        for entry in sorted(archive.infolist(), key=lambda x: x.header_offset):
            if entry.header_offset != end:
                raise zipfile.BadZipFile("its directory has lost an entry")
            file.seek(end + 26)  # where a local header says how long its name and extra field are
            name, extra = struct.unpack("<HH", file.read(4))
            end += 30 + name + extra + entry.compress_size
        if end != archive.start_dir:
            raise zipfile.BadZipFile("its directory has lost an entry")


def read_npy(path: str | os.PathLike[str], kind: str) -> NDArray[Any]:
    """Read one array of a ``.npy`` file of any origin.

    Parameters
    ----------
    path : path
        Name of the file.
    kind : str
        What it should hold, for the message.

    Returns
    -------
    array

    Raises
    ------
    DamagedFile
        If the file is damaged or something else, or its shape does not fit its size; a missing file
        stays FileNotFoundError.

    Notes
    -----
    Validity: shape and size are compared before anything is allocated; nothing is executed.
    """
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about odd headers of damaged files
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            _check_header(file, size)
            file.seek(0)
            return np.asarray(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        raise
    # Bytes gone wrong surface in ast, tokenize, struct or NumPy, each with its own type.
    except Exception as error:
        raise unreadable(path, kind, error) from error


def _check_sizes(file: Any, path: str | os.PathLike[str]) -> None:
    """Refuse what holds more than it says, or more than memory has room for."""
    on_disk = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > max(on_disk, _UNPACKED):
            raise DamagedFile(
                f"{path} of {on_disk / 1e6:.3g} MB would expand to {total / 1e6:.3g} MB; files of "
                "hierdiff are not compressed, so it is foreign"
            )
        if total > _free_memory():
            raise DamagedFile(
                f"{path} holds {total / 1e9:.3g} GB, more than the {_free_memory() / 1e9:.3g} GB "
                "of memory that are free"
            )
        for member in members:
            with archive.open(member) as content:
                _check_header(content, member.file_size)


def _check_header(content: Any, size: int) -> None:
    """Refuse an array whose shape needs other bytes than are there, before it is allocated."""
    version = np.lib.format.read_magic(content)
    reader = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = reader(content)
    needed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or needed != size - content.tell():
        raise ValueError("shape and size differ")


def _free_memory() -> float:
    """Bytes that can be allocated without swapping, as far as the system says."""
    try:
        text = Path("/proc/meminfo").read_text()
        return 1024.0 * float(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        return math.inf
