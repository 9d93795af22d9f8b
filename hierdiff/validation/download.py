"""Files from public servers: resumed after a cut, verified before use, kept in a cache.

==================  ============================================================================
name in the cache   what it is
==================  ============================================================================
``F``               a complete file whose size and hash were right when it was renamed to this
``F.part``          what has arrived so far; ``F.part.tag`` says of which version of the file
``F.sha256``        hash of a file whose hash nobody published, from its first arrival
==================  ============================================================================
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from pathlib import Path

from tqdm import tqdm

from hierdiff.errors import DamagedFile, HierdiffError, InvalidParameter
from hierdiff.validation.catalogue import RemoteFile

__all__ = ["Unreachable", "cache_folder", "fetch", "verify"]

_CHUNK = 1 << 20
_LOCAL = ("127.0.0.1", "localhost", "::1")


class Unreachable(HierdiffError, ConnectionError):
    """A file is not here, and cannot be got."""


def cache_folder() -> Path:
    """Where downloads are kept: HIERDIFF_CACHE, or the platform's folder for caches.

    Returns
    -------
    Path
        It need not exist.

    Notes
    -----
    Validity: XDG_CACHE_HOME or ~/.cache on Linux, ~/Library/Caches on macOS, LOCALAPPDATA on
    Windows, each with ``hierdiff`` below.

    Examples
    --------
    >>> cache_folder().name != ""
    True
    """
    chosen = os.environ.get("HIERDIFF_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "hierdiff"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hierdiff"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hierdiff"


def fetch(
    file: RemoteFile, folder: Path, *, offline: bool = False, attempts: int = 5, pause: float = 1.0
) -> Path:
    """The file in the cache, downloaded if it is not there.

    Parameters
    ----------
    file : RemoteFile
        What to get.
    folder : Path
        Where it is kept.
    offline : bool
        Never use the network.
    attempts : int
        How often a connection that breaks is taken up again, from where it broke.
    pause : float
        Seconds before the second attempt; doubled each time.

    Returns
    -------
    Path
        A file whose size and hash are right.

    Raises
    ------
    DamagedFile
        If size or hash are wrong.
    Unreachable
        If the file is not in the cache and the network is off, refuses, or keeps breaking.

    Notes
    -----
    Validity: one process per file at a time.

    Examples
    --------
    >>> import tempfile
    >>> absent = RemoteFile("https://example.org/w.pt", "w.pt")
    >>> fetch(absent, Path(tempfile.gettempdir()) / "none", offline=True)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hierdiff.validation.download.Unreachable: ...w.pt is not there and the network is off; ...
    """
    target = folder / file.name
    if target.exists():
        verify(target, file)
        return target
    if offline:
        raise Unreachable(
            f"{target} is not there and the network is off; run once with offline=False and "
            f"HIERDIFF_OFFLINE unset, or copy {file.url} to this place"
        )
    part = target.with_name(target.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise InvalidParameter(
            f"{folder} cannot be written ({error.strerror}); set HIERDIFF_CACHE to another folder"
        ) from None
    try:
        _download(file, part, attempts, pause)
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()
    try:
        verify(part, file, target)
    except DamagedFile:
        part.unlink()
        raise
    finally:
        _tag(part).unlink(missing_ok=True)
    part.replace(target)
    return target


def verify(path: Path, file: RemoteFile, final: Path | None = None) -> None:
    """Raise DamagedFile unless size and hash are those of the catalogue, or of the first arrival.

    ``final`` is the name that ``path`` will get.
    """
    kept = (final or path).with_name((final or path).name + ".sha256")
    found_size = path.stat().st_size
    if file.size is not None and found_size != file.size:
        raise DamagedFile(
            f"{path} has {found_size} bytes instead of {file.size}; it is truncated or another "
            "file, so delete it and run again"
        )
    expected = file.sha256 or (kept.read_text().split()[0] if kept.exists() else None)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if expected is None:
        kept.write_text(f"{found}  {file.name}\n")
        warnings.warn(
            f"nobody published a SHA-256 of {file.name}; {found[:16]}... was found and is kept in "
            f"{kept.name}, so a later change will be noticed",
            stacklevel=2,
        )
    elif found != expected:
        raise DamagedFile(
            f"{path} has sha256 {found[:16]}... instead of {expected[:16]}...; delete it and run "
            "again, and if it happens twice do not use the source"
        )


def _download(file: RemoteFile, part: Path, attempts: int, pause: float) -> None:
    """Fill the part file, from where it ends."""
    parsed = urllib.parse.urlsplit(file.url)
    if parsed.scheme != "https" and parsed.hostname not in _LOCAL:
        raise InvalidParameter(f"{file.url} is not https; give an https address")
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            if _attempt(file, part):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise _refused(file, error.code) from None
            reason = f"the server answers {error.code}"
        except HierdiffError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    have = part.stat().st_size if part.exists() else 0
    raise Unreachable(
        f"{file.url} stopped at {have} bytes ({reason}); check the network and run again, which "
        f"resumes, or copy the file to {part.with_suffix('')}"
    )


def _attempt(file: RemoteFile, part: Path) -> bool:
    """One connection; returns whether the file is complete."""
    have = part.stat().st_size if part.exists() else 0
    # without a tag the part could be of another version, which only a known hash would show
    tag = _tag(part).read_text() if _tag(part).exists() else ""
    have = have if tag or file.sha256 else 0
    headers = {"User-Agent": "hierdiff", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})
    request = urllib.request.Request(file.url, headers=headers)
    try:
        reply = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if total == str(have):
            return True
        part.unlink()
        return False
    with reply:
        resumed = reply.status == 206
        have = have if resumed else 0
        length = reply.headers.get("Content-Length")
        total_size = have + int(length) if length else None
        _check_size(file, part, total_size, have)
        _tag(part).write_text(reply.headers.get("ETag") or "")
        return _receive(reply, part, have, total_size)


def _receive(reply: http.client.HTTPResponse, part: Path, have: int, total: int | None) -> bool:
    """Append what comes; returns whether it is all."""
    bar = tqdm(
        total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None
    )  # fmt: skip
    with part.open("ab" if have else "wb") as stream, bar:
        while chunk := reply.read(_CHUNK):
            stream.write(chunk)
            have += len(chunk)
            bar.update(len(chunk))
    return total is None or have == total


def _check_size(file: RemoteFile, part: Path, total: int | None, have: int) -> None:
    """Say before the transfer that it would be in vain."""
    if file.size is not None and total is not None and total != file.size:
        raise DamagedFile(
            f"{file.url} has {total} bytes instead of {file.size}; the address holds another file "
            "now, so look for a newer version of this package"
        )
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise InvalidParameter(
            f"{file.name} needs {(total - have) / 1e9:.1f} GB and {part.parent} has "
            f"{free / 1e9:.1f} GB; make room, or set HIERDIFF_CACHE to a larger disk"
        )


def _refused(file: RemoteFile, code: int) -> Unreachable:
    if code in (401, 403):
        return Unreachable(
            f"{file.url} is refused ({code}); accept its licence on the site, download it there, "
            f"and give its path as file=..., {file.name}"
        )
    return Unreachable(
        f"{file.url} is not there ({code}); look for a newer version of this package, or give the "
        "path of your own copy as file=..."
    )


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")
