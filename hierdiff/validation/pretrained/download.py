"""Files from public servers: resumed after a cut, verified before use, kept in a cache.

==================  ============================================================================
name in the cache   what it is
==================  ============================================================================
``F``               a complete file whose size and hash were right when it was renamed to this
``F.part``          what has arrived so far; ``F.part.tag`` says of which version of the file
``.F.lock``         held by the process that downloads; others wait for it, and find the file
``F.sha256``        hash of a file whose hash nobody published, from its first arrival
``digests.json``    what the hub says of the files of a folder, and that all of them were right
==================  ============================================================================
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import json
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import platformdirs

from hierdiff._files import one_line, replacing
from hierdiff._lazy import import_optional
from hierdiff._progress import Progress
from hierdiff.checks import checked
from hierdiff.errors import DamagedFile, HierdiffError, InvalidParameter
from hierdiff.results import json_text
from hierdiff.validation.pretrained.catalogue import (
    CATALOGUE,
    HUB_FOLDERS,
    Checkpoint,
    HubFolder,
    RemoteFile,
    catalogue_table,
)

__all__ = [
    "Unreachable",
    "cache_folder",
    "fetch",
    "fetch_folder",
    "folder_of",
    "print_models",
    "verify",
]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

_CHUNK = 1 << 20
_HUB_FILE = re.compile(
    r"https://huggingface\.co/(?P<repository>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
)
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
    Validity: as platformdirs finds it: XDG_CACHE_HOME or ~/.cache on Linux, ~/Library/Caches on
    macOS, the local application data on Windows, each with ``hierdiff`` below.

    Examples
    --------
    >>> cache_folder().name != ""
    True
    """
    chosen = os.environ.get("HIERDIFF_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("hierdiff", appauthor=False)


@checked
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
        If size or hash are wrong, or the server sends something else than a file.
    InvalidParameter
        If the address is not https, or the folder cannot be written.
    Unreachable
        If the file is not in the cache and the network is off, refuses, or keeps breaking.

    Notes
    -----
    Validity: any number of processes and threads.  Addresses are https and stay so over redirects.
    Where no hash is published, the server must name a length or send the file in chunks, and a part
    is only resumed if the server names the same version of it.  Files of huggingface.co come by
    huggingface-hub, which reads HF_TOKEN and HF_ENDPOINT; size and hash are compared all the same.

    Examples
    --------
    >>> import tempfile
    >>> absent = RemoteFile("https://example.org/w.pt", "w.pt")
    >>> fetch(absent, Path(tempfile.gettempdir()) / "none", offline=True)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hierdiff.validation.pretrained.download.Unreachable: ...w.pt is not there and ...
    """
    folder = Path(folder)
    target = folder / file.name
    if target.exists():
        verify(target, file)
        return target
    if offline:
        raise Unreachable(
            f"{target} is not there and the network is off; run once with offline=False and "
            f"HIERDIFF_OFFLINE unset, or copy {file.url} to this place"
        )
    _check_address(file.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f".{file.name}.lock"
        with _alone(lock) as suffix:
            if target.exists():  # another process was first
                verify(target, file)
                return target
            if hub := _HUB_FILE.fullmatch(file.url):
                return _from_hub(file, target, **hub.groupdict())
            return _filled(file, target, suffix, attempts, pause)
    except HierdiffError:
        raise
    except OSError as error:
        raise InvalidParameter(
            f"{folder} cannot be written ({error.strerror}); set HIERDIFF_CACHE to another folder"
        ) from None


def _filled(file: RemoteFile, target: Path, suffix: str, attempts: int, pause: float) -> Path:
    """The target, downloaded by way of its part file."""
    part = target.with_name(f"{target.name}{suffix}.part")
    for place in (part, _tag(part), _kept(target)):
        if place.is_dir():
            raise InvalidParameter(f"{place} is a folder and stands in the way; remove it")
    part.touch()
    resumed = part.stat().st_size > 0
    try:
        _download(file, part, attempts, pause)
        try:
            verify(part, file, target)
        except DamagedFile:
            if not resumed:
                raise
            # what lay there may have been of another version or longer than the file
            part.write_bytes(b"")
            _download(file, part, attempts, pause)
            verify(part, file, target)
    except DamagedFile:
        part.unlink(missing_ok=True)
        raise
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()
        if not part.exists():
            _tag(part).unlink(missing_ok=True)
    part.replace(target)
    _tag(part).unlink(missing_ok=True)
    return target


def _from_hub(file: RemoteFile, target: Path, repository: str, revision: str, path: str) -> Path:
    """The target, by huggingface-hub: with the user's token and mirror, resumed, in parts."""
    hub = import_optional("huggingface_hub", "'hierdiff[networks]'", f"{file.name} of {repository}")
    errors = importlib.import_module("huggingface_hub.errors")
    _check_size(file, target, file.size, 0)
    beside = target.with_name(f".{target.name}.hub")  # what a broken transfer left is used again
    try:
        arrived = Path(
            hub.hf_hub_download(
                repository, path, revision=revision, local_dir=beside, library_name="hierdiff",
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )  # fmt: skip
    except (errors.GatedRepoError, errors.RepositoryNotFoundError):
        raise _refused(file, 401) from None
    except errors.LocalEntryNotFoundError as error:  # no connection; of the kind that follows
        raise _stopped(file, target, one_line(error)) from None
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError):
        raise _refused(file, 404) from None
    except OSError as error:  # of the disk; those of a connection are of this kind, too
        if error.errno is not None and error.filename is not None:
            raise
        raise _stopped(file, target, one_line(error)) from None
    except Exception as error:  # of the library for transfers, which are many
        raise _stopped(file, target, one_line(error)) from None
    try:
        verify(arrived, file, target)
    except DamagedFile:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    arrived.replace(target)
    shutil.rmtree(beside, ignore_errors=True)
    return target


@checked
def fetch_folder(entry: HubFolder, *, offline: bool = False) -> Path:
    """The folder of the hub in the cache, downloaded if it is not there.

    Parameters
    ----------
    entry : HubFolder
        What to get.
    offline : bool
        Never use the network.

    Returns
    -------
    Path
        A folder whose files have the digests that the hub gave for them.

    Raises
    ------
    DamagedFile
        If a file is missing, or its size or digest is not the one of the hub.
    MissingPackage
        If huggingface-hub is not installed.
    Unreachable
        If the folder is not in the cache and the network is off or refuses.

    Notes
    -----
    Validity: the hub gives a SHA-256 for large files, and git's name (SHA-1) for small ones.  Both
    are kept in ``digests.json`` when all are right, and asked for at every later use.  HF_TOKEN and
    HF_ENDPOINT are read by huggingface-hub.
    """
    target = _folders_of(entry) / entry.revision
    record = target / "digests.json"
    if record.is_file():
        try:
            digests = json.loads(record.read_text())
        except ValueError:
            raise DamagedFile(f"{record} is no JSON; delete {target} and run again") from None
        _compare(target, digests)
        return target
    address = f"https://huggingface.co/{entry.repository}"
    if offline:
        raise Unreachable(
            f"{target} is not there and the network is off; run once with HIERDIFF_OFFLINE unset"
        )
    hub = import_optional("huggingface_hub", "'hierdiff[networks]'", f"the folder {address}")
    wanted = [f"{part}/{name}" for part in entry.parts for name in ("*.json", "*.safetensors")]
    wanted.append("model_index.json")
    try:
        told = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(
            entry.repository, revision=entry.revision, files_metadata=True
        )
        named = [s.rfilename for s in told.siblings]
        chosen = sorted(set(hub.utils.filter_repo_objects(named, allow_patterns=wanted)))
        # a lower precision of the same weights lies beside them, and is not needed
        chosen = [name for name in chosen if ".fp16." not in name and ".non_ema." not in name]
        hub.snapshot_download(
            entry.repository, revision=told.sha, local_dir=target, allow_patterns=chosen,
            library_name="hierdiff", endpoint=os.environ.get("HF_ENDPOINT"),
        )  # fmt: skip
    except Exception as error:  # the hub's own types, and those of the library for transfers
        raise Unreachable(
            f"{address} did not arrive ({type(error).__name__}: {one_line(error)[:120]}); "
            f"{entry.obtain}; check the network and run again, which resumes"
        ) from None
    digests = {s.rfilename: _digest_of(s) for s in told.siblings if s.rfilename in chosen}
    _compare(target, digests)
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(digests, indent=1) + "\n")
    return target


def _digest_of(sibling: Any) -> dict[str, Any]:
    """Size and digest of a file, as the hub tells them."""
    lfs = sibling.lfs
    kind, value = ("git", sibling.blob_id) if lfs is None else ("sha256", lfs.sha256)
    return {"size": sibling.size, kind: value}


def _compare(folder: Path, digests: dict[str, dict[str, Any]]) -> None:
    """Raise DamagedFile unless every file of a folder is the one that the hub describes."""
    for name, one in digests.items():
        path, size = folder / name, one.get("size")
        if not path.is_file():
            raise DamagedFile(f"{path} is missing; delete {folder} and run again")
        found_size = path.stat().st_size
        # git hashes a file behind a line with its length
        git = "git" in one
        digest = hashlib.sha1(b"blob %d\0" % found_size) if git else hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        expected = str(one.get("git" if git else "sha256"))
        if found_size != (found_size if size is None else size) or digest.hexdigest() != expected:
            raise DamagedFile(
                f"{path} is not the file that the hub describes ({found_size} bytes, "
                f"{digest.hexdigest()[:16]}... instead of {expected[:16]}...); delete it and "
                f"{folder / 'digests.json'}, and run again"
            )


def _stopped(file: RemoteFile, target: Path, reason: str) -> Unreachable:
    return Unreachable(
        f"{file.url} did not arrive ({reason}); check the network and run again, which resumes, or "
        f"copy the file to {target}"
    )


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[str]:
    """One process or thread at a time per file; yields what its part file is called after.

    The lock is the operating system's, so that it ends with the process that holds it.  The file is
    removed by its holder, and who waited for a removed file opens it anew.
    """
    if fcntl is None:  # no such locks: a part of one's own, which nobody resumes
        yield f".{os.getpid()}-{threading.get_ident()}"
        return
    while True:
        handle = lock.open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if lock.exists() and os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
                break
        except FileNotFoundError:
            pass  # removed between the two looks
        except OSError:  # a file system without locks
            handle.close()
            lock.unlink(missing_ok=True)
            yield f".{os.getpid()}-{threading.get_ident()}"
            return
        handle.close()
    try:
        yield ""
    finally:
        lock.unlink(missing_ok=True)
        handle.close()


@checked
def verify(path: Path, file: RemoteFile, final: Path | None = None) -> None:
    """Raise DamagedFile unless size and hash are those of the catalogue, or of the first arrival.

    ``final`` is the name that ``path`` will get.
    """
    if not path.is_file():
        raise InvalidParameter(f"{path} is no file; give the path of {file.name}")
    if final is not None and not final.name:
        raise InvalidParameter(f"final = {final} is no name of a file; give one, or None")
    kept = _kept(final or path)
    found_size = path.stat().st_size
    if file.size is not None and found_size != file.size:
        raise DamagedFile(
            f"{path} has {found_size} bytes instead of {file.size}; it is truncated or another "
            "file, so delete it and run again"
        )
    expected = file.sha256
    if expected is None and kept.exists():
        words = kept.read_text(errors="replace").split()
        if not words or not re.fullmatch("[0-9a-f]{64}", words[0]):
            raise DamagedFile(f"{kept} holds no SHA-256; delete it and {path.name}, and run again")
        expected = words[0]
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


def _check_address(url: str) -> None:
    """Files come over https; plain http from this machine alone, which tests use."""
    if not _trusted(url, local=True):
        raise InvalidParameter(f"{url} is not https; give an https address")


def _trusted(url: str, *, local: bool) -> bool:
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme == "https":
        return bool(parsed.hostname)
    return local and parsed.scheme == "http" and parsed.hostname in _LOCAL


class _SameTrust(urllib.request.HTTPRedirectHandler):
    """Refuses to be led from https to http, ftp or this machine."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        local = _trusted(req.full_url, local=True) and not req.full_url.startswith("https")
        if not _trusted(newurl, local=local):
            if fp is not None:
                fp.close()
            raise Unreachable(
                f"{req.full_url} leads to {newurl}, which is not https; look for a newer version "
                "of this package, or give the path of your own copy as file=..."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(file: RemoteFile, part: Path, attempts: int, pause: float) -> None:
    """Fill the part file, from where it ends."""
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
    tag = _read_tag(part, file)
    total = file.size if file.size is not None else tag.get("total")
    # without a tag the part could be of another version, which only a known hash would show, and
    # what is longer than the file is no beginning of it
    if not (tag.get("version") or file.sha256) or (total is not None and have > total):
        have = 0
    if file.sha256 and file.size is not None and have == file.size:
        return True
    headers = {"User-Agent": "hierdiff", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag.get("version"):
            headers["If-Range"] = tag["version"]
    opener = urllib.request.build_opener(_SameTrust)
    try:
        reply = opener.open(urllib.request.Request(file.url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if not have or error.code >= 500 or error.code in (401, 403, 404):
            raise
        # the server does not serve this range: the part is complete or no beginning of the file
        error.close()
        length = error.headers.get("Content-Range", "").rpartition("/")[2]
        if error.code == 416 and length == str(have) and (file.sha256 or tag.get("total") == have):
            return True
        part.write_bytes(b"")
        return _attempt(file, part)
    with reply:
        if reply.status == 206 and not _continues(reply, have, tag, file):
            part.write_bytes(b"")
            return _attempt(file, part)
        return _answered(reply, file, part, have if reply.status == 206 else 0)


def _answered(reply: Any, file: RemoteFile, part: Path, have: int) -> bool:
    """Check what the server announces, then receive it."""
    encoding = reply.headers.get("Content-Encoding", "identity")
    kind = reply.headers.get("Content-Type", "")
    if encoding != "identity" or (kind.startswith("text/html") and not file.sha256):
        what = f"{encoding} encoded" if encoding != "identity" else "a web page"
        raise DamagedFile(
            f"{file.url} sends {what} instead of the file; download it by hand and give its path "
            "as file=..."
        )
    length = reply.headers.get("Content-Length")
    total = have + int(length) if length and length.isdigit() else None
    if total is None and not reply.chunked and file.size is None and file.sha256 is None:
        raise DamagedFile(
            f"{file.url} names neither length nor hash, so a cut file could not be told from a "
            "whole one; download it by hand and give its path as file=..."
        )
    _check_size(file, part, total, have)
    version = reply.headers.get("ETag") or ""
    # a weak tag may be shared by contents that differ in some bytes
    version = "" if version.startswith("W/") else version
    _tag(part).write_text(json.dumps({"url": file.url, "version": version, "total": total}))
    return _receive(reply, file, part, have, total)


def _continues(reply: Any, have: int, tag: dict[str, Any], file: RemoteFile) -> bool:
    """Whether a partial answer is the rest of what lies here, of the same version."""
    place = reply.headers.get("Content-Range", "")
    start, total = place.removeprefix("bytes ").partition("-")[0], place.rpartition("/")[2]
    if not place and file.sha256:  # against the rules; the hash will decide
        return True
    if start != str(have):
        return False
    known = tag.get("total")
    if known is not None and total.isdigit() and int(total) != known:
        return False
    version = reply.headers.get("ETag") or ""
    return bool(file.sha256) or (version != "" and version == tag.get("version"))


def _receive(reply: Any, file: RemoteFile, part: Path, have: int, total: int | None) -> bool:
    """Append what comes; returns whether it is all."""
    bar = Progress(desc=file.name, total=total, initial=have, unit="B", unit_scale=True)
    with part.open("ab" if have else "wb") as stream, bar:
        while chunk := reply.read(_CHUNK):
            try:
                stream.write(chunk)
                stream.flush()
            except OSError as error:
                raise InvalidParameter(
                    f"{part} cannot be written ({error.strerror}); make room, or set "
                    "HIERDIFF_CACHE to a larger disk"
                ) from None
            have += len(chunk)
            bar.update(len(chunk))
    if not have and not total:
        raise DamagedFile(
            f"{file.url} sends nothing; look for a newer version of this package, or give the path "
            "of your own copy as file=..."
        )
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


def _kept(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _read_tag(part: Path, file: RemoteFile) -> dict[str, Any]:
    """What is known of the part: nothing if it came from another address."""
    try:
        found = json.loads(_tag(part).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("url") == file.url else {}


@checked
def folder_of(entry: Checkpoint) -> Path:
    """Where the files of a checkpoint are kept."""
    return cache_folder() / "models" / entry.name


def _folders_of(entry: HubFolder) -> Path:
    """Where the revisions of a folder of the hub are kept."""
    return cache_folder() / "models" / entry.name


@checked
def print_models(as_json: bool = False) -> None:
    """Print the catalogue, with what is in the cache, and where the cache is.

    Parameters
    ----------
    as_json : bool
        As JSON: a list of entries, with ``cached``.

    Notes
    -----
    Validity: presence means a complete download; hashes are compared when a model is loaded.

    Examples
    --------
    >>> print_models()  # doctest: +ELLIPSIS
    adm-256  ADM, ImageNet 256 x 256, unconditional...
    """
    present = [x.name for x in CATALOGUE if (folder_of(x) / x.weights.name).exists()]
    folders = [x for x in HUB_FOLDERS if any(_folders_of(x).glob("*/digests.json"))]
    if as_json:
        here = {*present, *(x.name for x in folders)}
        entries: list[Checkpoint | HubFolder] = [*CATALOGUE, *HUB_FOLDERS]
        print(json_text([{**asdict(x), "cached": x.name in here} for x in entries]))
        return
    print(catalogue_table([*present, *(x.name for x in folders)]))
    print(f"cache     {cache_folder()} (set HIERDIFF_CACHE to change it)")
