"""Pages of the gallery as programs and as notebooks: backends, kernels, flags, errors."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import runpy
import signal
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro
from programs import run

from hierdiff import command_line as page
from hierdiff.errors import HierdiffError, InvalidParameter

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "sims").glob("*.py"))
NAMES = [p.stem for p in SCRIPTS]


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No more flags."""


def options(kind: type[Any]) -> Any:
    """What a page makes of its command line."""
    return page.parse_flags(kind, Nothing)[0]


class Stop(Exception):
    """A page has parsed its flags."""


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags of a small page."""

    sizes: tuple[int, ...] = (1, 2)
    t: float = 0.5

    def __post_init__(self) -> None:
        if self.t > 1:
            raise InvalidParameter(f"t = {self.t} must be at most 1; give less")


@contextlib.contextmanager
def argv(*words: str) -> Iterator[None]:
    before, hook = sys.argv, sys.excepthook
    sys.argv = list(words)
    try:
        yield
    finally:
        sys.argv, sys.excepthook = before, hook


def kind_of(script: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """The dataclass that a page parses, and the command line that it sees."""
    seen: list[Any] = []

    def cli(kind: Any, **_: Any) -> Any:
        seen.extend((kind, sys.argv[1:]))
        raise Stop

    with monkeypatch.context() as patch, argv(*words):
        patch.setattr(tyro, "cli", cli)
        # as a notebook does; runpy would put the name of the script into the command line
        code = compile(script.read_text(), script, "exec")
        module = types.ModuleType("__main__")
        # annotations of its classes are looked up there, for as long as the test lasts
        monkeypatch.setitem(sys.modules, "__main__", module)
        with contextlib.suppress(Stop):
            exec(code, vars(module))
    return seen


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_a_page_parses_no_flags_in_a_notebook(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = "/env/lib/ipykernel_launcher.py"
    assert kind_of(script, monkeypatch, launcher, "-f", "kernel.json")[1] == []
    # as a program it does
    assert kind_of(script, monkeypatch, str(script), "--seed", "3")[1] == ["--seed", "3"]


def test_flags_of_a_page() -> None:
    with argv("page.py", "--sizes", "3"):
        assert options(Flags) == Flags(sizes=(3,))
    with argv("ipykernel_launcher.py", "-f", "kernel.json"):
        assert options(Flags) == Flags()
        assert sys.argv[1] == "-f"
    for words, message in ((["--sizes"], "--sizes has no values"), (["--t", "nan"], "--t nan"),
                           (["--t", "2"], "at most 1")):  # fmt: skip
        with argv("page.py", *words), pytest.raises(InvalidParameter, match=message):
            options(Flags)
    with argv("page.py", "--unknown"), pytest.raises(SystemExit) as stop:
        options(Flags)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "wanted",
    ["module://no_such_module.backend", *(pytest.param(name, marks=pytest.mark.slow)
     for name in ("nonsense", "tkagg", "module://matplotlib_inline.backend_inline"))],
)  # fmt: skip
def test_files_are_written_whatever_the_backend(wanted: str, tmp_path: Path) -> None:
    """Also one that is known, and cannot be used without a display."""
    code = (
        "from hierdiff.command_line import use_files; use_files(); "
        "from hierdiff.plots import plt; "
        "plt.subplots()[0].savefig('f.png'); print(plt.get_backend())"
    )
    environment = {**os.environ, "MPLBACKEND": wanted}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert run.stdout.split() == ["agg"], run.stderr
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["module://no_such_module.backend", "nonsense", "tkagg"])
def test_programs_do_not_look_at_the_backend(wanted: str, tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": wanted}
    for words in (["-m", "hierdiff"], [str(ROOT / "sims" / "changed_tree.py")]):
        run = subprocess.run(
            [sys.executable, *words, "--help"], capture_output=True, text=True, cwd=tmp_path,
            env=environment,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        assert "usage:" in run.stdout


def test_matplotlib_comes_after_the_backend_is_looked_at() -> None:
    """A page that imports matplotlib by itself fails before any line of ours runs."""
    folders = (ROOT / name for name in ("sims", "theory", "validation"))
    pages = [p for folder in folders for p in folder.glob("*.py")]
    wrong = [p.name for p in pages if "import matplotlib" in p.read_text()
             or "from matplotlib" in p.read_text()]  # fmt: skip
    assert wrong == []


def test_this_is_no_notebook() -> None:
    assert not page.in_notebook()


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("changed_tree", "--v 4 --m 8"), ("changed_tree", "--grammars 0"),
        ("changed_tree", "--t 2 3"), ("sharpening", "--depths 0"),
        ("susceptibility", "--depths -1"), ("cue_conflict", "--data 0"),
        ("attribute_binding", "--budgets 0"),
    ],
)  # fmt: skip
def test_a_wrong_flag_of_a_flat_page_is_one_line(name: str, flags: str, tmp_path: Path) -> None:
    code, _, err = run(f"sims/{name}.py", *flags.split(), "--out", str(tmp_path))
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 1, err[-2000:]
    assert lines[0].startswith("error: ")


@pytest.mark.slow
def test_a_page_runs_as_a_notebook(tmp_path: Path) -> None:
    """In a true kernel, cell by cell, with the command line and the backend of one."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = (ROOT / "sims" / "attribute_binding.py").read_text().split("# %%\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert (tmp_path / "out" / "attribute_binding.nc").exists()
    assert not any(
        o.get("name") == "stderr" and "Traceback" in o.get("text", "")
        for c in notebook.cells for o in c.outputs
    )  # fmt: skip


def test_the_gallery_shows_a_saved_figure_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that draws its figure again shows that one; another shows the file of the run."""
    pytest.importorskip("sphinx_gallery")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import hierdiff_gallery as gallery

    settings = {"src_dir": str(tmp_path)}
    for name in ("sharpening", "coverage"):
        script = ROOT / "sims" / f"{name}.py"
        folder = Path(gallery.default_arguments(settings, {"src_file": str(script)})[-1])
        folder.mkdir(parents=True)
        (folder / f"{name}.png").write_bytes(b"figure")
        shown = tmp_path / f"{name}_shown.png"
        known = {"src_file": str(script), "image_path_iterator": iter([str(shown)])}
        for code in ("results = command(Kind)", "print(results)"):
            text = gallery.saved_figures(("code", code, 1), known, settings)
            assert bool(text) == (name == "sharpening" and "command(" in code)
        assert shown.exists() == (name == "sharpening")


# --- every flag of every page -------------------------------------------------------------------

_NUMBERS = {"int": ("0", "-1"), "float": ("nan", "-1", "inf")}
_SETTINGS = {"seed", "summary", "workers", "threads", "resume", "overwrite", "cluster", "out",
             "format", "quiet", "json"}  # fmt: skip


def wrong_flags(kind: Any) -> Iterator[list[str]]:
    """One flag at a time with a value that people get wrong."""
    for field in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind, include_extras=True)[field.name]
        inner = [x for x in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(x)]
        name, words = f"--{field.name.replace('_', '-')}", str(hint)
        if inner:
            yield from wrong_flags(inner[0])
        elif field.name not in _SETTINGS and "Path" not in words:
            for number, values in _NUMBERS.items():
                if number in words:
                    many = words.count(number) if "tuple" in words and "..." not in words else 1
                    yield from ([name, *[value] * many] for value in values)
            if "..." in words:
                yield [name]


# an exception in the middle of a write leaves HDF5's objects half closed; collected later, they end
# whichever test runs then
_WRITING = ("/h5netcdf/", "/h5py/", "/xarray/backends/")


def writes(frame: types.FrameType | None) -> bool:
    """Whether a file is being written or closed in this frame or in one that called it."""
    while frame is not None:
        if any(folder in frame.f_code.co_filename for folder in _WRITING):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Stop what takes longer, once it writes no file."""

    def stop(_: int, frame: types.FrameType | None) -> None:
        if writes(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        else:
            raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_no_wrong_flag_ends_in_a_traceback(
    script: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Refused, or accepted: a page that still computes after a while has accepted its flags."""
    kind = kind_of(script, monkeypatch, str(script))[0]
    monkeypatch.chdir(tmp_path)
    faults = []
    for k, words in enumerate(wrong_flags(kind)):
        with argv(str(script), *words, "--out", str(tmp_path / str(k))):
            try:
                with limit(5.0):
                    runpy.run_path(str(script), run_name="__main__")
            except (HierdiffError, Stop, SystemExit):
                continue
            except Exception as error:
                faults.append(f"{' '.join(words)}: {type(error).__name__} {str(error)[:100]}")
    assert not faults, "\n".join(faults)


# --- every field of every options class, in process -----------------------------------------------

NETWORKS = sorted((ROOT / "validation").glob("*.py"))
_BIG = 10**30
# values of a field that are legal though they look odd, with the reason
_LEGAL: dict[str, tuple[Any, ...]] = {
    "seed": (0, _BIG),  # any natural number names a stream
    "refine": (0,),  # no further noise levels
    "classifier_steps": (0,),  # leaves the reference classifier out
    "probe_width": (0,),  # leaves the probe out
    "p": (0.0, 1e-300),  # a test that never drops a class
    "names": ((),),  # all cases
    "only": ((),),  # all studies
    "model": ("",),  # asked for when the study runs
    "heights": ((0,),),  # windows of one leaf
    "cluster": ("nonsense",),  # an address is known to be wrong once nobody answers
    "layers": ((), ("nonsense",), ("",)),  # all layers; names are known once the network is built
    "delta": (0.0,),  # no residual
    "contexts": ((0,),),  # leaves that are drawn without any context
    "radii": ((0,),),  # a window of one pixel
    "margin": (0.0, 1e-300),  # bumps up to the edge
    "blurs": ((0.0,), (1e-300,)),  # texture removed
    "t": ((0.0,), (1e-300,), 1e-300),  # clean data
    "times": ((0.0,), (1e-300,)),  # clean data
    "a": (-1.0, 0.0, 1e-300),  # exponents of Zipf's law, of which -1 is uniform
    "target": (1e-300,),  # accuracies that any learner reaches
    "success_threshold": (1e-300,),
    "label_share": (1e-300,),  # no label at all
    "label_keep": (1e-300,),
    "n_train": ((0,),),  # fresh data (networks only: mixtures refuse it)
    "weights": ((0.0,),),
    "sigmas": ((),),  # the two levels of the ratio are always added
}


def bad_values(hint: Any, default: Any) -> Iterator[Any]:
    """What people get wrong in a field: signs, zeros, NaN, infinity, far too much or little."""
    words = str(hint)
    scalars: list[Any] = []
    if "int" in words:
        scalars += [0, -1, _BIG]
    if "float" in words:
        scalars += [float("nan"), float("inf"), -1.0, 0.0, 1e300, -1e300, 1e-300]
    if "str" in words or "Literal" in words:
        scalars += ["nonsense", ""]
    if "tuple" not in words:
        yield from scalars
        return
    if "..." in words:  # a wrong number of values of a pair is for the parser
        yield ()
    inner = default[0] if default else 0
    for x in scalars:
        if isinstance(inner, tuple):
            yield ((x,) * len(inner),)
        else:
            yield (x,) * (1 if "..." in words else len(default or (0, 0)))


@dataclasses.dataclass(frozen=True)
class Place:
    """A field of the options, which may be one of a part of them: a network, its data."""

    base: Any
    name: str
    hint: Any
    whole: Callable[[Any], Any]
    """The options with another instance in place of ``base``, whose rules may stand there."""

    def put(self, value: Any) -> Any:
        return self.whole(dataclasses.replace(self.base, **{self.name: value}))


def alternatives(hint: Any) -> list[Any]:
    """The dataclasses of an annotation, in a union or not."""
    if isinstance(hint, type):
        return [hint] if dataclasses.is_dataclass(hint) else []
    return [kind for part in typing.get_args(hint) for kind in alternatives(part)]


def fields_of(base: Any, whole: Callable[[Any], Any] = lambda found: found) -> Iterator[Place]:
    """Every flag of a command line."""
    hints = typing.get_type_hints(type(base))
    for field in dataclasses.fields(base):
        hint, value = hints[field.name], getattr(base, field.name)
        kinds = alternatives(hint) if dataclasses.is_dataclass(value) else []
        if kinds:
            here = Place(base, field.name, hint, whole)
            for kind in kinds:
                part = value if type(value) is kind else kind()
                with contextlib.suppress(HierdiffError):  # what lacks a folder of images
                    here.put(part)
                    yield from fields_of(part, here.put)
        elif hint is not bool and "Path" not in str(hint):
            yield Place(base, field.name, hint, whole)


def accepted(kind: Any) -> tuple[int, list[str]]:
    """How many bad values were tried, and those taken or refused with more than a line of ours."""
    tried, faults = 0, []
    for place in fields_of(kind()):
        owner, name = type(place.base).__name__, place.name
        for value in bad_values(place.hint, getattr(place.base, name)):
            if any(repr(value) == repr(x) for x in _LEGAL.get(name, ())):
                continue
            tried += 1
            try:
                page.parsed(lambda p=place, v=value: p.put(v))
                faults.append(f"{owner}({name}={value!r}) is accepted")
            except HierdiffError as error:
                if "\n" in str(error):
                    faults.append(f"{name}={value!r}: {error}")
            except Exception as error:
                faults.append(f"{name}={value!r}: {type(error).__name__} {error}")
    return tried, faults


@pytest.mark.parametrize("script", [*SCRIPTS, *NETWORKS], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_bad_values_are_refused_when_options_are_made(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, faults = accepted(kind_of(script, monkeypatch, str(script))[0])
    assert not faults, "\n".join(faults)
    assert tried > 8


def test_a_planted_options_class_is_found_out() -> None:
    """Fields without a rule of their own take what the sweep tries."""
    tried, faults = accepted(Flags)
    assert tried == 10
    assert faults == [
        "Flags(sizes=(0,)) is accepted", "Flags(sizes=(-1,)) is accepted",
        f"Flags(sizes=({_BIG},)) is accepted", "Flags(t=-1.0) is accepted",
        "Flags(t=0.0) is accepted", "Flags(t=-1e+300) is accepted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--t", "x"], "'x' must be a number"),
        (["--tt", "1"], "Unrecognized options: --tt"),
        (["--proces", "masking"], "Did you mean --process?"),
        (["--process", "maskin"], "Did you mean 'masking'?"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Choice(Flags):
        process: typing.Literal["masking", "uniform"] = "masking"

    with argv("page.py", *words), pytest.raises(SystemExit) as stop:
        options(Choice)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert said in lines[0]
