"""Checkpoints: the catalogue, downloads over a bad network, and loading what came."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import platformdirs
import pytest
import torch

from hierdiff.errors import DamagedFile, HierdiffError, InvalidParameter, MissingPackage
from hierdiff.validation import CATALOGUE, pretrained, print_models
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.networks import adm
from hierdiff.validation.networks.adm import (
    ADM_64_CONDITIONAL,
    ADM_256,
    ADM_256_CONDITIONAL,
    ADMConfig,
)
from hierdiff.validation.pretrained import download
from hierdiff.validation.pretrained.catalogue import (
    HUB_FOLDERS,
    Checkpoint,
    RemoteFile,
    catalogue_table,
    checkpoint,
)
from hierdiff.validation.pretrained.download import (
    Unreachable,
    cache_folder,
    fetch,
    folder_of,
    verify,
)
from hierdiff.validation.pretrained.loading import as_model, read_weights

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
TINY = ADMConfig(8, 32, (1, 2), 1, (2,), head_channels=32)


class Server(ThreadingHTTPServer):
    """Serves one file, as badly as a test asks for."""

    content = CONTENT
    tag = '"one"'
    cuts: list[int]  # after how many bytes each of the next replies breaks
    codes: list[int]  # status of the next replies, before any content
    ranges = True
    length = True
    starts: list[int]
    careless = False  # serves a range of whatever version there is
    leads_to = ""
    extra: ClassVar[dict[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/w.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        server = self.server
        if server.codes:
            self.send_response(server.codes.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        same = server.careless or self.headers.get("If-Range") in (None, server.tag)
        start = int(wanted[6:-1]) if wanted and server.ranges and same else 0
        server.starts.append(start)
        total = len(server.content)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.leads_to:
            self.send_response(302)
            self.send_header("Location", server.leads_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        for name, value in server.extra.items():
            self.send_header(name, value)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(("127.0.0.1", 0), Handler)
    running.cuts, running.codes, running.starts = [], [], []
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def get(server: Server, folder: Path, **changes: Any) -> Path:
    file = RemoteFile(server.url, "w.pt", len(CONTENT), SHA)
    return fetch(dataclasses.replace(file, **changes), folder, attempts=3, pause=0.0)


def said(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def test_a_file_arrives_once(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path / "a" / "b")
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in path.parent.iterdir()) == ["w.pt"]
    assert get(server, path.parent) == path
    assert server.starts == [0]


def test_a_cut_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 50_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 100_000, 150_000]


def test_a_later_run_resumes(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0]
    with pytest.raises(Unreachable, match="stopped at 100000 bytes") as error:
        get(server, tmp_path)
    assert "run again, which resumes" in said(error.value)
    assert (tmp_path / "w.pt.part").stat().st_size == 100_000
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 100_000, 100_000, 100_000]


def test_resuming_never_mixes_two_versions(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 0, 0]
    with pytest.raises(Unreachable):
        get(server, tmp_path, sha256=None)
    server.content, server.tag = bytes(len(CONTENT)), '"two"'
    with pytest.warns(UserWarning, match="nobody published"):
        path = get(server, tmp_path, sha256=None)
    assert path.read_bytes() == server.content
    # a server that names no version is asked for everything
    server.tag, server.content = "", CONTENT
    server.cuts = [100_000]
    with pytest.warns(UserWarning, match="nobody published"):
        path = get(server, tmp_path / "x", sha256=None)
    assert path.read_bytes() == CONTENT
    assert server.starts[-2:] == [0, 0]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [100_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.starts == [0, 0]


def test_a_part_that_was_complete_is_only_verified(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "w.pt.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path / "y").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_no_beginning(server: Server, tmp_path: Path) -> None:
    """With and without a known size, and from a server that serves any range."""
    for k, changes in enumerate(({}, {"size": None}, {"size": None, "sha256": None})):
        part = tmp_path / str(k) / "w.pt.part"
        part.parent.mkdir()
        part.write_bytes(bytes(2 * len(CONTENT)))
        part.with_name("w.pt.part.tag").write_text(
            json.dumps({"url": server.url, "version": '"one"', "total": len(CONTENT)})
        )
        with warnings.catch_warnings(action="ignore"):
            assert get(server, part.parent, **changes).read_bytes() == CONTENT
        assert not list(part.parent.glob("*.part*"))


def test_a_part_of_other_content_is_replaced_once(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").write_bytes(bytes(1000))
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.starts == [1000, 0]


def test_a_range_of_another_version_is_not_appended(server: Server, tmp_path: Path) -> None:
    """A server that ignores If-Range, with a file of which no hash is known."""
    server.cuts = [100_000, 0, 0]
    with pytest.raises(Unreachable):
        get(server, tmp_path, sha256=None, size=None)
    server.careless, server.content, server.tag = True, bytes(len(CONTENT)), '"two"'
    with pytest.warns(UserWarning, match="nobody published"):
        path = get(server, tmp_path, sha256=None, size=None)
    assert path.read_bytes() == server.content
    assert server.starts[-2:] == [100_000, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": False, "cuts": [1000]}, "neither length nor hash"),
        ({"extra": {"Content-Encoding": "gzip"}}, "gzip encoded"),
        ({"extra": {"Content-Type": "text/html; charset=utf-8"}}, "a web page"),
        ({"leads_to": "http://example.org/w.pt"}, "which is not https"),
        ({"leads_to": "ftp://example.org/w.pt"}, "which is not https"),
    ],
)
def test_nothing_doubtful_is_pinned(
    change: dict[str, Any], words: str, server: Server, tmp_path: Path
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises((DamagedFile, Unreachable), match=words) as error:
        get(server, tmp_path, sha256=None, size=None)
    said(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "file://localhost/etc/hostname", "ftp://localhost/w", "http://x.org/w",
     "https:///w", "w.pt"],
)  # fmt: skip
def test_addresses_are_https(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="is not https") as error:
        fetch(RemoteFile(url, "w.pt"), tmp_path)
    said(error.value)


def test_a_secure_address_does_not_lead_to_an_open_one() -> None:
    handler = download._SameTrust()
    asked = urllib.request.Request("https://example.org/w.pt")
    for url in ("http://example.org/w.pt", "http://127.0.0.1/w.pt", "file:///etc/hostname"):
        with pytest.raises(Unreachable, match="not https"):
            handler.redirect_request(asked, None, 302, "", {}, url)
    assert handler.redirect_request(asked, None, 302, "", {}, "https://cdn.org/w") is not None


def test_one_download_for_many_processes_and_threads(server: Server, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from hierdiff.validation.pretrained.catalogue import RemoteFile\n"
        "from hierdiff.validation.pretrained.download import fetch\n"
        "f = RemoteFile(sys.argv[1], 'w.pt', int(sys.argv[2]), sys.argv[3])\n"
        "print(fetch(f, Path(sys.argv[4]), pause=0.0).stat().st_size)\n"
    )
    words = [sys.executable, "-c", code, server.url, str(len(CONTENT)), SHA, str(tmp_path)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(2)]  # fmt: skip
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(get(server, tmp_path)))
               for _ in range(6)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in running:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out.strip()) == (0, str(len(CONTENT))), error
    assert found == [tmp_path / "w.pt"] * 6
    assert server.starts == [0]
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]


def test_folders_in_the_way_and_a_disk_that_fills_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.pt.part").mkdir()
    with pytest.raises(InvalidParameter, match="stands in the way") as error:
        get(server, tmp_path)
    said(error.value)
    (tmp_path / "w.pt.part").rmdir()
    (tmp_path / "w.pt").mkdir()
    with pytest.raises(InvalidParameter, match="is no file") as error:
        get(server, tmp_path)
    said(error.value)

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    whole = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        full = path.name.endswith(".part") and mode == "wb" and server.starts
        return Full() if full else whole(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(InvalidParameter, match="No space left on device") as error:
        get(server, tmp_path / "full")
    said(error.value)


def test_a_wrong_hash_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DamagedFile, match="sha256") as error:
        get(server, tmp_path)
    assert "do not use the source" in said(error.value)
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_noticed_before_the_transfer(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:1000]
    with pytest.raises(DamagedFile, match="1000 bytes instead of 300000") as error:
        get(server, tmp_path)
    said(error.value)
    assert list(tmp_path.iterdir()) == []


def test_truncation_without_a_length_is_found_by_the_size(server: Server, tmp_path: Path) -> None:
    server.length = False
    server.cuts = [1000] * 3
    with pytest.raises(DamagedFile, match="truncated"):
        get(server, tmp_path)
    server.cuts = []
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_refused(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path)
    path.write_bytes(CONTENT[:-5])
    with pytest.raises(DamagedFile, match="truncated or another file, so delete it") as error:
        get(server, tmp_path)
    said(error.value)
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(DamagedFile, match="delete it and run again"):
        get(server, tmp_path)


def test_an_unpublished_hash_is_kept_from_the_first_arrival(
    server: Server, tmp_path: Path
) -> None:  # fmt: skip
    with pytest.warns(UserWarning, match="is kept in w.pt.sha256"):
        path = get(server, tmp_path, sha256=None, size=None)
    assert (tmp_path / "w.pt.sha256").read_text().split()[0] == SHA
    assert get(server, tmp_path, sha256=None, size=None) == path
    path.write_bytes(b"other")
    with pytest.raises(DamagedFile, match="sha256"):
        get(server, tmp_path, sha256=None, size=None)


@pytest.mark.parametrize(
    ("codes", "remedy"),
    [
        ([403], "accept its licence on the site"),
        ([401], "give its path as file="),
        ([404], "look for a newer version"),
        ([503] * 3, "the server answers 503"),
    ],
)
def test_refusals_have_their_remedies(
    codes: list[int], remedy: str, server: Server, tmp_path: Path
) -> None:
    server.codes = codes
    with pytest.raises(Unreachable, match=remedy) as error:
        get(server, tmp_path)
    said(error.value)


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.codes = [503, 500]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_no_network(tmp_path: Path) -> None:
    file = RemoteFile("http://127.0.0.1:9/w.pt", "w.pt", 10, SHA)
    with pytest.raises(Unreachable, match="check the network and run again") as error:
        fetch(file, tmp_path, attempts=2, pause=0.0)
    assert "stopped at 0 bytes" in said(error.value)
    with pytest.raises(Unreachable, match="the network is off") as error:
        fetch(file, tmp_path, offline=True)
    said(error.value)
    with pytest.raises(InvalidParameter, match="is not https"):
        fetch(RemoteFile("http://example.org/w.pt", "w.pt"), tmp_path)


def test_offline_takes_what_is_there(server: Server, tmp_path: Path) -> None:
    path = get(server, tmp_path)
    file = RemoteFile("http://127.0.0.1:9/w.pt", "w.pt", len(CONTENT), SHA)
    assert fetch(file, tmp_path, offline=True) == path


def test_a_full_disk_is_said_before(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InvalidParameter, match="make room, or set HIERDIFF_CACHE"):
        get(server, tmp_path)


def test_a_place_that_is_no_folder(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(InvalidParameter, match="set HIERDIFF_CACHE to another folder") as error:
        get(server, tmp_path / "x" / "y")
    said(error.value)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIERDIFF_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("HIERDIFF_CACHE")
    assert cache_folder() == Path(platformdirs.user_cache_dir("hierdiff", appauthor=False))
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "hierdiff"


class HubHandler(BaseHTTPRequestHandler):
    """A repository of one file, as huggingface.co serves it."""

    server: Server

    def log_message(self, *args: Any) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def answer(self, *, with_content: bool) -> None:
        code = self.server.codes[0] if self.server.codes else 200
        if self.path.split("?")[0] != f"/owner/name/resolve/{'a' * 40}/unet/w.pt":
            code = code if code != 200 else 404
        self.send_response(code)
        if code != 200:
            kind = {401: "GatedRepo", 404: "EntryNotFound"}.get(code, "")
            self.send_header("X-Error-Code", kind)
        body = self.server.content if code == 200 else b""
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"hub"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_content and body:
            self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("huggingface_hub")
    running = Server(("127.0.0.1", 0), HubHandler)
    running.codes = []
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_address[1]}")
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def of_hub(path: str = "unet/w.pt", **known: Any) -> RemoteFile:
    return RemoteFile(
        f"https://huggingface.co/owner/name/resolve/{'a' * 40}/{path}", "w.pt",
        **{"sha256": SHA, "size": len(CONTENT), **known},
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the library, about progress without a terminal
def test_a_file_of_the_hub_comes_by_its_library(hub: Server, tmp_path: Path) -> None:
    path = fetch(of_hub(), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]
    hub.codes.append(500)  # never asked again
    assert fetch(of_hub(), tmp_path) == path


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_the_hub_is_verified_and_refused_in_one_line(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(DamagedFile, match="has sha256") as damaged:
        fetch(of_hub(), tmp_path)
    said(damaged.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unreachable, match=r"is not there \(404\)") as missing:
        fetch(of_hub("other.pt"), tmp_path)
    said(missing.value)
    hub.codes = [401]
    with pytest.raises(Unreachable, match="accept its licence") as gated:
        fetch(of_hub(), tmp_path)
    said(gated.value)
    with pytest.raises(InvalidParameter, match=r"needs .* GB and .* has"):
        fetch(of_hub(size=10**18), tmp_path)
    hub.codes = [503]
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the attempts of the library
    with pytest.raises(Unreachable, match=r"did not arrive .*which resumes") as broken:
        fetch(of_hub(), tmp_path)
    said(broken.value)
    assert not list(tmp_path.glob("*.pt"))


def test_the_catalogue_is_complete(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"adm-256", "adm-64-conditional", "dit-xl-2-256", "stable-diffusion-1.5"}
    assert {entry.name for entry in CATALOGUE} == names
    table = catalogue_table()
    for entry in CATALOGUE:
        files = [entry.weights, *([entry.config] if entry.config else [])]
        assert all(file.url.startswith("https://") for file in files)
        assert all(file.sha256 is not None and len(file.sha256) == 64 for file in files)
        assert entry.revision is not None
        assert all(f"/{entry.revision}/" in file.url for file in files)
        assert not entry.weights.name.endswith((".pkl", ".ckpt"))
        assert (entry.loader == "adm") == (entry.config is None)
        for text in (entry.name, entry.licence, entry.weights.url, entry.citation):
            assert text in table
        assert entry.acceptance == (entry.licence != "MIT")
    assert all(e.weights.sha256 and e.weights.size for e in CATALOGUE)
    assert "unknown" not in table
    monkeypatch.setenv("HIERDIFF_CACHE", str(tmp_path))
    place = folder_of(checkpoint("adm-256"))
    place.mkdir(parents=True)
    (place / "256x256_diffusion_uncond.pt").touch()
    print_models()
    out = capsys.readouterr().out
    assert out.count("(in the cache)") == 1
    assert str(tmp_path) in out
    print_models(as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["cached"]] == ["adm-256"]
    assert len(rows) == len(CATALOGUE) + len(HUB_FOLDERS)
    with pytest.raises(InvalidParameter, match="did you mean 'adm-256'"):
        checkpoint("adm256")


@pytest.mark.parametrize(("name", "config", "wrong"), [
    ("adm-256", ADM_256, ADM_256_CONDITIONAL), ("adm-64-conditional", ADM_64_CONDITIONAL, ADM_256)
])  # fmt: skip
def test_the_size_of_a_checkpoint_is_that_of_its_network(
    name: str, config: ADMConfig, wrong: ADMConfig
) -> None:
    """Four bytes per number, and a few hundred per tensor for its name and place."""

    def overhead(config: ADMConfig) -> float:
        tensors = adm.meta_init(config).state_dict().values()
        size = checkpoint(name).weights.size
        assert size is not None
        return (size - 4 * sum(x.numel() for x in tensors)) / len(tensors)

    assert 150 < overhead(config) < 300
    assert not 0 < overhead(wrong) < 1000


STABLE_DIFFUSION = {
    "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu",
    "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False, "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"], "downsample_padding": 1,
    "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
    "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4,
    "sample_size": 64, "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}  # fmt: skip


def test_the_configuration_of_stable_diffusion_is_the_one_that_git_names() -> None:
    """Its git name at the pinned commit is public; a file of these facts has that name."""
    text = (json.dumps(STABLE_DIFFUSION, indent=2) + "\n").encode()
    blob = b"blob %d\0" % len(text) + text
    assert hashlib.sha1(blob).hexdigest() == "1a02ee8abc93e840ffbcb2d68b66ccbcb74b3ab3"
    entry = checkpoint("stable-diffusion-1.5")
    assert entry.config is not None
    assert (len(text), hashlib.sha256(text).hexdigest()) == (entry.config.size, entry.config.sha256)


def test_the_weights_of_stable_diffusion_fit_its_configuration() -> None:
    """Four bytes per number, and a few dozen per tensor in the header."""
    library = pytest.importorskip("diffusers")
    with torch.device("meta"):
        tensors = library.UNet2DConditionModel.from_config(STABLE_DIFFUSION).state_dict().values()
    size = checkpoint("stable-diffusion-1.5").weights.size
    assert size is not None
    assert 80 < (size - 4 * sum(x.numel() for x in tensors)) / len(tensors) < 200


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import hierdiff.validation as v\n"
        "v.print_models()\n"
        "for use in (lambda: v.NetworkModel, lambda: v.pretrained('adm-256', offline=True)):\n"
        "    try:\n        use()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "adm-256" in run.stdout
    assert run.stdout.count("run: pip install 'hierdiff[networks]'") == 2


def entry_for(server: Server, content: bytes, **changes: Any) -> Checkpoint:
    server.content = content
    file = RemoteFile(server.url, "w.pt", len(content), hashlib.sha256(content).hexdigest())
    return dataclasses.replace(checkpoint("adm-256"), weights=file, **changes)


def saved(thing: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> adm.ADMUNet:
    """A small network in the place of the large one, and a cache of its own."""
    monkeypatch.setenv("HIERDIFF_CACHE", str(tmp_path))
    monkeypatch.delenv("HIERDIFF_OFFLINE", raising=False)
    monkeypatch.setattr("hierdiff.validation.networks.adm.ADM_256", TINY)
    torch.manual_seed(0)
    net = adm.ADMUNet(TINY)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def use(monkeypatch: pytest.MonkeyPatch, entry: Checkpoint) -> None:
    # the package of this name is hidden by the function
    module = sys.modules["hierdiff.validation.pretrained.loading"]
    monkeypatch.setattr(module, "checkpoint", lambda name: entry)


def test_from_the_server_to_samples(
    server: Server, tiny: adm.ADMUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, entry_for(server, saved(tiny.state_dict())))
    model = pretrained("adm-256", layers={"middle_block": "space"})
    x_t = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    snr = float(model.noise.snr(0.5))
    with torch.inference_mode():
        time = torch.full((3,), 499.0)
        eps = tiny(torch.from_numpy(x_t), time)[:, :3].numpy()
    expected = (x_t - eps / np.sqrt(1 + snr)) * np.sqrt(1 + 1 / snr)
    np.testing.assert_allclose(model.denoise(x_t, 0.5), expected, rtol=1e-4, atol=1e-4)
    assert model.features(x_t, 0.5)["middle_block"].shape == (3, 64)
    assert isinstance(model.sampler, Ancestral)
    assert (model.sampler.variance, model.sampler.clip) == ("learned", 1.0)
    assert len(model.sampler.levels) == 250
    end = model.sample(x_t, 0.02, seed=0)
    assert np.abs(end).max() <= 1
    # the second time nothing is asked of the server, and offline works
    assert server.starts == [0]
    again = pretrained("adm-256", offline=True, sampler=Ancestral(3))
    np.testing.assert_array_equal(again.denoise(x_t, 0.5), model.denoise(x_t, 0.5))
    assert again.sampler == Ancestral(3)
    monkeypatch.setenv("HIERDIFF_OFFLINE", "1")
    pretrained("adm-256")
    assert server.starts == [0]


def test_weights_that_one_has_already(
    server: Server, tiny: adm.ADMUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_for(server, saved(tiny.state_dict()))
    use(monkeypatch, entry)
    mine = tmp_path / "mine.pt"
    mine.write_bytes(server.content)
    assert pretrained("adm-256", file=mine, offline=True).source == "network"
    mine.write_bytes(server.content[:-1])
    with pytest.raises(DamagedFile, match="truncated"):
        pretrained("adm-256", file=mine)
    with pytest.raises(InvalidParameter, match="does not exist"):
        pretrained("adm-256", file=tmp_path / "none.pt")
    with pytest.raises(Unreachable, match="network is off"):
        pretrained("adm-256", offline=True)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path(os.environ["HIERDIFF_CACHE"]) / "executed",))


@pytest.mark.parametrize("case", ["code", "pickle", "noise", "list", "nested"])
def test_files_that_are_no_weights(
    case: str, server: Server, tiny: adm.ADMUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "code": lambda: saved({"w": Evil()}),
        "pickle": lambda: pickle.dumps(Evil()),
        "noise": lambda: CONTENT,
        "list": lambda: saved([torch.zeros(1)]),
        "nested": lambda: saved({"model": tiny.state_dict()}),
    }[case]()
    use(monkeypatch, entry_for(server, content))
    with pytest.raises(DamagedFile) as error:
        pretrained("adm-256")
    assert ("cannot be read as weights" if case in ("code", "pickle", "noise") else
            "no table of tensors") in said(error.value)  # fmt: skip
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_network(
    server: Server, tiny: adm.ADMUNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, entry_for(server, saved({"other": torch.zeros(1)})))
    with pytest.raises(InvalidParameter, match=r"missing, first time_embed\.0\.weight") as error:
        pretrained("adm-256")
    assert "1 unknown, first other" in said(error.value)


def test_licences_are_accepted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dit-xl-2-256", "stable-diffusion-1.5"):
        with pytest.raises(InvalidParameter, match="pass accept_licence=True") as error:
            pretrained(name)
        assert checkpoint(name).licence_url in said(error.value)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingPackage, match="needs diffusers") as missing:
        pretrained("dit-xl-2-256", accept_licence=True, offline=True)
    assert "pip install diffusers" in said(missing.value)
    assert isinstance(missing.value, (HierdiffError, ImportError))


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_are_read(zipped: bool, tmp_path: Path) -> None:
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half()}
    path = tmp_path / "w.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    found = read_weights(path)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_revisions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from hierdiff.validation.pretrained.loading import _at

    file = checkpoint("dit-xl-2-256").weights
    assert "/resolve/abc123/" in _at(file, "abc123").url
    assert _at(file, None) == file
    for bad in ("../x", "main?y"):
        with pytest.raises(InvalidParameter, match="does not apply"):
            _at(file, bad)
    with pytest.raises(InvalidParameter, match="does not apply"):
        _at(checkpoint("adm-256").weights, "abc123")


def test_safetensors_without_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    for name in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage, match="pip install safetensors"):
        read_weights(tmp_path / "w.safetensors")


def test_verify_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(CONTENT)
    verify(path, RemoteFile("https://x", "w.pt", len(CONTENT), SHA))
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "w.pt.sha256").unlink()
    with pytest.raises(DamagedFile, match=str(path)):
        verify(path, RemoteFile("https://x", "w.pt", len(CONTENT), "0" * 64))


@pytest.mark.parametrize("loader", ["dit", "unet"])
def test_small_networks_of_diffusers(loader: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    if loader == "dit":
        entry = checkpoint("dit-xl-2-256")
        made = diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8,
            num_layers=2, sample_size=8, num_embeds_ada_norm=10,
        )  # fmt: skip
        condition: Any = 10
    else:
        entry = checkpoint("stable-diffusion-1.5")
        made = diffusers.UNet2DConditionModel(
            sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
        )  # fmt: skip
        condition = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
    model = as_model(entry, made.state_dict(), config=dict(made.config)).given(condition)
    x_t = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    found = dataclasses.replace(model, sampler=Ancestral(3)).sample(x_t, 0.4, 0)
    assert found.shape == x_t.shape
    snr, made = float(model.noise.snr(0.4)), made.eval()
    with torch.inference_mode():
        time = torch.full((2,), float(model.noise_conditioning.time(snr)))
        state = torch.from_numpy(x_t)
        answer = (
            made(state, timestep=time, class_labels=torch.tensor([10, 10])).sample[:, :4]
            if loader == "dit"
            else made(state, time, encoder_hidden_states=torch.from_numpy(condition)).sample
        )
    expected = (x_t - answer.numpy() / np.sqrt(1 + snr)) * np.sqrt(1 + 1 / snr)
    np.testing.assert_allclose(model.denoise(x_t, 0.4), expected, rtol=1e-4, atol=1e-4)
    if loader == "dit":  # the label after the classes is that of no class
        free = dataclasses.replace(model, condition=3).given(None)
        np.testing.assert_array_equal(free.denoise(x_t, 0.4), model.denoise(x_t, 0.4))
    with pytest.raises(InvalidParameter, match="the network is conditional"):
        dataclasses.replace(model, condition=None).denoise(x_t, 0.4)
