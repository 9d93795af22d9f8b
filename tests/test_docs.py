"""README and manual: their code runs, their commands exist, their numbers are those of the files.

Four promises of the manual are held here: every block of Python runs as it stands and gives the
numbers in its comments; every quoted command parses; a committed result was made by the command
that is quoted for it and says so itself; no table has a number that is no number.  The slow tests
run every quoted study at a small size and make all pages from what it writes.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import tyro
import xarray as xr

from hierdiff import GaussianNoise, LowRankMixture, results
from hierdiff import __main__ as main
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NOISE
from hierdiff.registry import EXPERIMENTS
from hierdiff.sims.bump_phases import NETWORK_THRESHOLDS
from hierdiff.sims.models.fitted import fit_ppca_mixture, fit_supervised
from hierdiff.theory import log_density, onset_delta
from hierdiff.validation.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLES = [ROOT / "docs" / "results" / "README.md", ROOT / "validation" / "results" / "README.md"]
SCRIPTS = [path for name in ("sims", "theory", "validation", "benchmarks")
           for path in sorted((ROOT / name).glob("*.py"))]  # fmt: skip
SCRIPTS += [
    ROOT / "tests" / "mutation.py",
    ROOT / "docs" / "hero.py",
    ROOT / "docs" / "explorer.py",
]
HOW = {"out", "summary", "workers", "resume", "cluster", "device", "overwrite", "json", "minutes",
       "format", "quiet"}  # fmt: skip
"""Options that say where and how something runs, and change none of its numbers."""
LIMIT = 300
"""Seconds that a block may take on a busy machine: alone it takes one, and the first compiles."""


@pytest.fixture(scope="module")
def docs() -> Iterator[Any]:
    """The module that makes the pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        import generate

        yield generate


# Blocks of Python


def blocks(text: str) -> list[str]:
    """The fenced blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@contextlib.contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Stop what takes longer, where the system has an alarm."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def comments(block: str) -> dict[int, str]:
    """Comments by line."""
    tokens = tokenize.generate_tokens(io.StringIO(block).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def disagreements(comment: str, value: Any) -> list[str]:
    """Numbers of a comment that the value does not have: a shape, fractions, and decimals."""
    shape = re.search(r"\[(\d+(?:, \d+)*)\]$", comment)
    if shape:
        want = [int(n) for n in shape[1].split(",")]
        return [] if list(np.shape(value)) == want else [f"shape {shape[0]} is {np.shape(value)}"]
    said = re.findall(r"(?<![\w.])-?\d+(?:\.\d+|/\d+)(?![\w.]*\d)", comment)
    if not said:
        return []
    found = np.ravel(np.asarray(value, float))
    wrong = []
    for number in said:
        if "/" in number:
            top, bottom = number.split("/")
            near = np.isclose(found, int(top) / int(bottom), rtol=1e-12, atol=0)
        else:  # half a unit of the last digit; a hair more, since the decimal itself is rounded
            near = abs(found - float(number)) <= 0.5000001 * 10.0 ** -len(number.split(".")[1])
        if not near.any():
            wrong.append(f"{number} is {found}")
    return wrong


def run_block(block: str, space: dict[str, Any], name: str) -> tuple[int, list[str]]:
    """Run statement by statement; how many comments were compared, and what was wrong."""
    notes, wrong, compared = comments(block), [], 0
    for statement in ast.parse(block).body:
        note = notes.get(statement.end_lineno or 0, "")
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), name, "eval"), space)
            compared += bool(re.search(r"\d[./]\d|\[\d", note))
            wrong += disagreements(note, value)
        else:
            exec(compile(ast.Module([statement], []), name, "exec"), space)
    return compared, wrong


WITH_CODE = [page for page in PAGES if blocks(page.read_text())]


@pytest.fixture
def _registries() -> Iterator[None]:
    """What a page registers is not there for other tests."""
    tables: tuple[dict[str, Any], ...] = (NOISE, NETWORKS, EXPERIMENTS)
    before = [dict(table) for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


@pytest.mark.usefixtures("_registries")
@pytest.mark.parametrize(
    "page",
    [
        # their blocks train networks, or ask every question of a large tree
        pytest.param(
            p,
            id=p.name,
            marks=[pytest.mark.slow]
            if p.stem in ("extending", "howto", "questions", "tutorial")
            else [],
        )
        for p in WITH_CODE
    ],
)
def test_every_block_of_python_runs_and_gives_the_numbers_in_its_comments(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    text, compared = page.read_text(), 0
    # of the ten tasks every one stands alone
    for part in text.split("\n## ") if page.stem == "howto" else [text]:
        space: dict[str, Any] = {"__name__": "__main__"}
        for i, block in enumerate(blocks(part), start=1):
            with limit(LIMIT):
                some, wrong = run_block(block, space, f"{page.name}, {part[:40]}, block {i}")
            compared += some
            assert not wrong
    assert compared >= (5 if page.name == "README.md" else 0)


@pytest.mark.parametrize(
    ("comment", "value", "right"),
    [("0.7311827956989247 = 68/93", 68 / 93, True), ("0.7311827956989246", 68 / 93, False),
     ("0.7311", 68 / 93, False), ("0.7312", 68 / 93, True), ("68/94", 68 / 93, False),
     ("exact: 30.77 at sigma = 0.3257", (0.32571, 30.771), True),
     ("exact: 30.77 at sigma = 0.3258", (0.32571, 30.771), False),
     ("-0.5", -0.5, True), ("0.5", -0.5, False), ("beliefs, [2, 3]", np.ones((2, 3)), True),
     ("beliefs, [3, 2]", np.ones((2, 3)), False), ("no number", "text", True)],
)  # fmt: skip
def test_a_wrong_number_in_a_comment_is_seen(comment: str, value: Any, right: bool) -> None:
    assert (not disagreements(comment, value)) == right


# Commands


class Parsed(BaseException):
    """Raised in place of a run, with the options that it would have had."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options


def flat(options: Any) -> dict[str, Any]:
    """Options by name, those of a nested experiment beside the others."""
    if isinstance(options, argparse.Namespace):
        return vars(options)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        nested = dataclasses.is_dataclass(value) and not isinstance(value, type)
        found |= flat(value) if nested else {field.name: value}
    return found


def options_of(command: str) -> dict[str, Any]:
    """What a command would run with; raises SystemExit as its parser does."""
    first, *rest = shlex.split(command)
    if first == "hierdiff":
        return options_of_hierdiff(rest)
    script = ROOT / rest[0]
    assert first == "python", command
    assert script in SCRIPTS, f"{command}: there is no {rest[0]}"
    text = script.read_text()
    if not re.search(r"tyro\.cli\(|\brun\(|\bcommand\(|\bexecute\(|\boptions\(|argparse", text):
        assert len(rest) == 1, f"{command}: {script.name} takes no flags"
        return {}
    parse, parse_args = tyro.cli, argparse.ArgumentParser.parse_args

    def tyro_only(*given: Any, **also: Any) -> Any:
        raise Parsed(parse(*given, **also))

    def argparse_only(*given: Any, **also: Any) -> Any:
        raise Parsed(parse_args(*given, **also))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", rest)
        patch.setattr(sys, "path", [str(script.parent), *sys.path])
        patch.setattr(tyro, "cli", tyro_only)
        if "argparse" in text:  # tyro uses argparse itself
            patch.setattr(argparse.ArgumentParser, "parse_args", argparse_only)
        with pytest.raises(Parsed) as found:
            runpy.run_path(str(script), run_name="__main__")
    return flat(found.value.options)


def options_of_hierdiff(arguments: list[str]) -> dict[str, Any]:
    """Of ``hierdiff run NAME ...`` and its like; the other commands have few flags."""
    if arguments[:1] not in (["run"], ["sweep"], ["suite"], ["reproduce"]) or len(arguments) == 1:
        main.parser().parse_args(arguments)
        return {}
    parse = tyro.cli

    def tyro_only(*given: Any, **also: Any) -> Any:
        raise Parsed(parse(*given, **also))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tyro, "cli", tyro_only)
        with pytest.raises(Parsed) as found:
            main.main(arguments)
    return flat(found.value.options)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two commands make the same numbers."""
    return {k: v for k, v in one.items() if k not in HOW} == {
        k: v for k, v in other.items() if k not in HOW
    }


def quoted(text: str) -> list[str]:
    """Commands in inline code, in blocks of shell, and in indented lines."""
    text = re.sub(r"\\\n\s*", "", text)  # a command goes on after a backslash
    shell = re.findall(r"^```(?:bash|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [part for block in shell for line in block.splitlines() for part in line.split("&&")]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += re.findall(r"`([^`]+)`", prose)
    lines += re.findall(r"^    ((?:python|hierdiff|pytest) .*)$", prose, re.MULTILINE)
    found = [" ".join(re.sub(r"\s#\s.*", "", line).split()) for line in lines]
    starts = ("python ", "hierdiff ", "pytest", "pip ", "sphinx-build ")
    return [x for x in found if x.startswith(starts)]


def all_commands() -> dict[str, list[str]]:
    """Every quoted command with the files that quote it."""
    found: dict[str, list[str]] = {}
    for path in [*PAGES, *TABLES, ROOT / "CONTRIBUTING.md", *SCRIPTS]:
        text = path.read_text()
        if path.suffix == ".py":
            text = (ast.get_docstring(ast.parse(text)) or "").replace("``", "`")
        for command in quoted(text):
            found.setdefault(command, []).append(path.name)
    return found


COMMANDS = all_commands()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(("python ", "hierdiff "))])
def test_every_quoted_command_exists_with_its_flags(
    command: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in (
        "DIR",
        "path/to/pipeline",
        "path/to/stable-diffusion-2-1",
    ):  # that readers put their own in the place of
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    if re.search(r" (-h|--help|--version)\b", command):
        with pytest.raises(SystemExit) as stop:
            options_of(command)
        assert not stop.value.code
        assert re.search("usage|hierdiff [0-9]", capsys.readouterr().out.lower())
    elif not command.startswith("python -"):  # python -m and python -c are not ours
        # a device that this machine lacks is refused, and rightly; the flag is what is looked at
        options_of(command.replace("--device cuda", "--device cpu"))


def test_a_wrong_flag_and_a_missing_script_are_seen() -> None:
    options_of("python sims/alignment.py --grammars 40")
    for wrong in ("python sims/alignment.py --grammar-count 40", "python sims/alignment.py 40",
                  "hierdiff run alignment --grammar-count 40", "hierdiff aligned"):  # fmt: skip
        with pytest.raises(SystemExit):
            options_of(wrong)
    for wrong in ("python sims/aligned.py", "python theory/derive_recursion.py --v 3"):
        with pytest.raises(AssertionError):
            options_of(wrong)


def test_quoted_installations_and_tests_exist(pytestconfig: pytest.Config) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    marks = " ".join(pytestconfig.getini("markers"))
    for command in COMMANDS:
        first, *rest = shlex.split(command)
        if first == "pip":
            for extra in re.findall(r"\[(.*?)\]", command):
                assert set(extra.split(",")) <= set(project["optional-dependencies"]), command
            if "-c" in rest:
                assert (ROOT / rest[rest.index("-c") + 1]).exists(), command
        if first == "pytest":
            if "-m" in rest:
                assert rest[rest.index("-m") + 1].removeprefix("not ") in marks, command
            for word in rest:
                assert not word.startswith("tests") or (ROOT / word.split("::")[0]).exists()
            flags = [word[2:] for word in rest if word.startswith("--")]
            assert all(hasattr(pytestconfig.option, flag) for flag in flags), command
    assert sum(c.startswith("pytest") for c in COMMANDS) >= 3
    assert sum(c.startswith("pip") for c in COMMANDS) >= 3


# Stored results


def rows(table: Path) -> dict[str, str]:
    """Command of every JSON file that a table of results names."""
    found = {}
    for line in table.read_text().splitlines():
        cells = re.findall(r"`([^`]+)`", line)
        if line.startswith("| `") and cells[0].endswith(".json"):
            found[cells[0]] = next(c for c in cells if c.startswith(("python ", "pytest ")))
    return found


RESULTS = {(table.parent / name).resolve(): command
           for table in TABLES for name, command in rows(table).items()}  # fmt: skip
STUDIES = {path: command for path, command in RESULTS.items() if "benchmarks" not in str(path)}


def made_by(path: Path) -> dict[str, Any]:
    """How a file was made, as it says itself."""
    made: dict[str, Any] = json.loads(path.read_text()).get("made", {})
    return made


def test_every_committed_result_is_in_a_table_with_its_command() -> None:
    there = {path for table in TABLES for path in table.parent.glob("*.json")}
    assert there == set(STUDIES)
    assert all(path.exists() for path in RESULTS)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: f"{p.parent.parent.name}-{p.stem}")
def test_a_committed_result_was_made_by_the_command_that_is_quoted_for_it(path: Path) -> None:
    found = json.loads(path.read_text())
    assert isinstance(found, dict), f"{path.name} was made before files said how they were made"
    made = found.get("made")
    assert made, f"{path.name} was made before files said how they were made"
    assert re.fullmatch(r"[0-9a-f]{40}\+?", made["commit"])
    assert {"python", "hierdiff", "numpy", "scipy", "numba", "xarray"} <= made["versions"].keys()
    assert re.match(r"\d{4}-\d\d-\d\dT", made["created"])
    command, table = STUDIES[path], path.parent.parent.name
    if command.startswith("pytest "):
        # an empty word, as in -m '', is not to be seen in a command joined by blanks
        stored, want = ([w for w in shlex.split(c)[1:] if w] for c in (made["command"], command))
        assert stored == want
        return
    script, *flags = shlex.split(made["command"])
    folder = shlex.split(command)[1].split("/")[0]
    stored = options_of(shlex.join(["python", f"{folder}/{script}", *flags]))
    assert same(stored, options_of(command)), f"{made['command']} is not {command}"
    if table == "docs":
        assert made["seconds"] > 0
        assert made["seed"] is not None
        kept = {k: v for k, v in stored.items() if k in made["parameters"]}
        assert kept
        plain = json.loads(json.dumps(kept, default=str))
        assert {k: made["parameters"][k] for k in kept} == plain


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_made_by_names_a_command_of_a_committed_result(page: Path) -> None:
    """Also in the generated pages, below."""
    text = page.read_text()
    for command in re.findall(r"[Mm]ade by\W*`((?:python|pytest)[^`]+)`", text):
        assert known(" ".join(command.split())), f"{page.name}: {command}"


def known(command: str) -> bool:
    """Whether a file in a table of results, or the figure of the first page, is made so."""
    if command.startswith("python docs/"):  # figure and table of the manual itself
        return command in ("python docs/hero.py", "python docs/explorer.py")
    mine = [c for c in RESULTS.values() if shlex.split(c)[:2] == shlex.split(command)[:2]]
    if command.startswith("pytest"):
        return any(c == command for c in mine)
    return any(same(options_of(c), options_of(command)) for c in mine)


def test_the_table_of_claims_names_the_commands_of_committed_results(docs: Any) -> None:
    page = docs.claims()
    commands = {" ".join(c.split()) for c in re.findall(r"`(python [^`]+)`", page)}
    assert len(commands) > 15
    for command in commands:
        if "theory/" in command:
            options_of(command)
        else:
            assert known(command), command


# Numbers in running text


def chance(options: dict[str, Any]) -> float:
    return 1 / options["v"]


TEXT = [
    ("classification.md", "python sims/classification.py", "accuracy on {grammars} grammars with "
     "Gaussian emissions, (v, m, s, L) = ({v}, {m}, {s}, {L}), tau = {tau:g}, chance {chance:g}"),
    ("classification.md", "python sims/attribute_binding.py", "N = {budgets[1]}. *area*"),
    ("composition.md", "python sims/composition.py", "{grammars} grammars, errors over grammars"),
    ("composition.md", "python sims/composition.py", "Labels for {target:.0%} accuracy"),
    ("representation.md", "python sims/memorization.py", "K = {classes}, d = {rank}, delta = "
     "{delta:g}"),
    ("representation.md", "python sims/representation.py", "SNR(sigma*)/SNR({sigma_low:g})"),
    ("networks.md", "python validation/phase_transition.py", "(v, m, s, L) = ({v}, {m}, {s}, {L})"),
    ("networks.md", "python validation/composition.py --parts bumps --size 16 --sigma 1.5 "
     "--margin 3 --attenuated-spacing .25 --attenuated-steps 1900 --seeds 2 --seed 4",
     "begun again with {attenuated_steps:,}"),
    ("claims.md", "python sims/susceptibility.py", "(v, m, s) = ({v}, {m}, {s})"),
]  # fmt: skip
"""Page, command, and what the page says of its parameters."""


@pytest.mark.parametrize(("page", "command", "text"), TEXT, ids=lambda x: x[:40])
def test_parameters_in_the_text_are_those_of_the_command(
    page: str, command: str, text: str
) -> None:
    options = options_of(command)
    if "v" in options:
        options["chance"] = chance(options)
    said = " ".join(text.format(**options).replace("60%", "60 %").split())
    assert said in " ".join((ROOT / "docs" / page).read_text().split())


def test_the_first_page_says_how_far_the_closed_form_is(docs: Any) -> None:
    (x,) = (x for x in docs.result("phase_diagram") if (x["v"], x["m"], x["s"]) == (32, 8, 2))
    masking, uniform, gaussian = (x[k][2] / x[k][0] for k in ("masking", "uniform", "gaussian"))
    snr = GaussianNoise(32).snr
    ratio = float(snr(x["gaussian"][0]) / snr(x["gaussian"][2]))
    text = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"(32, 8, 2) too high by a factor of {masking:.1f} in t for masking, {uniform:.1f} for "
        f"uniform noise and {gaussian:.2f} for Gaussian noise ({ratio:.2f} in signal-to-noise "
        "ratio)"
    ) in text
    assert f"a factor of {masking:.1f} in t for masking" in docs.closed_form()


def test_the_amplitude_up_to_which_the_snr_rises_is_that_of_its_derivation(docs: Any) -> None:
    assert f"δ < {onset_delta(3, 5):.4f} at K = 3, d = 5" in docs.claims()


def test_the_benchmark_has_the_sizes_of_the_page() -> None:
    script = ast.parse((ROOT / "benchmarks" / "mixture.py").read_text())
    (sizes,) = (node for node in script.body if isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "(DIM, RANK, QUERIES)")  # fmt: skip
    dim, rank, queries = ast.literal_eval(sizes.value)
    text = " ".join((ROOT / "docs" / "performance.md").read_text().split())
    assert f"in n = {dim:,} dimensions, rank {rank}," in text
    assert f"for B = {queries} queries" in text


def test_the_page_on_networks_has_the_thresholds_and_the_probe_of_the_code() -> None:
    text = " ".join((ROOT / "docs" / "networks.md").read_text().split())
    assert f"whose order passes {NETWORK_THRESHOLDS.disordered_rsa:g} before nine images" in text
    assert NETWORK_THRESHOLDS.many_bumps == 0.9
    command = "python validation/representation.py digits --n-train 64 256 0 --networks 2"
    assert options_of(command)["shots"] == 5
    assert "on all labels or on five per class" in text


@pytest.mark.slow
def test_labelled_subspaces_of_60_data_are_likelier_than_those_that_em_finds() -> None:
    """As the page on representation says, with the sizes of its study."""
    options = options_of("python sims/memorization.py")
    K, d, delta = options["classes"], options["rank"], options["delta"]
    sigma = 1e-3  # next to no noise: the densities of the data themselves
    for seed in range(3):
        x, labels = LowRankMixture.random(K * d, d, K, delta=delta, seed=seed).sample(60, seed=seed)
        likelihoods = [
            float(log_density(model, x, sigma).mean())
            for model in (
                fit_supervised(x, labels, d),
                LowRankMixture.fit(x, K, d, seed=seed, restarts=options["restarts"]),
                fit_ppca_mixture(x, K, d, seed=seed, restarts=options["restarts"]),
            )
        ]
        assert likelihoods[0] > max(likelihoods[1:]) + 1


# Pages


MANUAL = "\n".join(page.read_text() for page in PAGES)
INCLUDED = set(re.findall(r"\{include\} _generated/(\S+)", MANUAL))


def test_pages_are_made_from_the_committed_files_and_hold_no_nan(
    docs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "HERE", tmp_path)
    docs.main()
    pages = list((tmp_path / "_generated").glob("*.md"))
    included = {
        name
        for page in [*PAGES, ROOT / "docs" / "api" / "index.md"]
        for name in re.findall(r"\{include\} (?:\.\./)?_generated/(\S+)", page.read_text())
    }
    assert included == {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        assert len(text) > 40
        bad = [cell for cell in text.split("|") if re.search(r"\b(?:nan|inf|None)\b", cell)]
        assert not bad, f"{page.name}: {bad[:3]}"
    images = {
        name
        for page in PAGES
        for name in re.findall(r"\{image\} _generated/(\S+)", page.read_text())
    }
    assert all((tmp_path / "_generated" / name).exists() for name in images)


def test_files_and_functions_that_the_manual_names_exist() -> None:
    for page in PAGES:
        text = page.read_text()
        for name in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (page.parent / name).exists(), f"{page.name}: {name}"
        for name in re.findall(r"\{(?:func|class|mod|meth|data|attr)\}`~?([\w.]+)`", text):
            assert resolves(name), f"{page.name}: {name}"
        if page.name == "README.md":
            for name in re.findall(r"`((?:sims|validation|theory|docs)/[\w/]+\.py)`", text):
                assert (ROOT / name).exists(), name


def test_every_page_of_the_interface_is_in_its_index() -> None:
    pages = sorted(path.stem for path in (ROOT / "docs" / "api").glob("*.rst"))
    listed = re.findall(r"^hierdiff[\w.]*$", (ROOT / "docs/api/index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == pages
    assert all(resolves(name) for name in pages)


def test_every_module_of_the_interface_has_a_line(docs: Any) -> None:
    """In its group, as a sentence without marks of reStructuredText."""
    rows = re.findall(r"^\| \{doc\}`(\S+) <\S+>` \| (.*) \|$", docs.modules(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(
        path.stem for path in (ROOT / "docs" / "api").glob("*.rst")
    )
    for name, line in rows:
        assert line.endswith((".", "?")), f"{name}: {line}"
        assert 15 < len(line) < 200, f"{name}: {line}"
        assert ":" + "func:" not in line


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    import importlib

    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:cut]))
        except ImportError:
            continue
        for word in words[cut:]:
            if not hasattr(found, word):
                return False
            found = getattr(found, word)
        return True
    return False


# Results side by side


def test_results_side_by_side_keep_their_sources() -> None:
    """The closing lines of the studies read them by source."""

    def one(value: float, error: float, source: str) -> xr.Dataset:
        row = np.full(3, value)
        variables = {"p": (("t",), row, "p"), "p_error": (("t",), np.full(3, error), "its error")}
        times = {"t": (("t",), np.array([0.1, 0.2, 0.3]), "time")}
        return results.label(variables, times, source, {})

    both = results.compare(one(0.5, 0.0, "theory"), one(0.6, 0.05, "simulation"))
    assert both.source.values.tolist() == ["theory", "simulation"]
    np.testing.assert_allclose(both.p_z.sel(source="simulation"), 2.0)
    assert both.t.attrs["long_name"] == "time"


# Summaries


def test_a_summary_says_how_it_was_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.json"
    path = results.write_summary(
        file, {"x": 1}, {"v": 8, "seed": 4, "out": Path("o"), "workers": 2}
    )
    found = json.loads(path.read_text())
    assert found["x"] == 1
    assert found["made"]["parameters"] == {"v": 8, "seed": 4}
    assert found["made"]["seed"] == 4
    assert found["made"]["seconds"] > 0
    assert found["made"]["cpu_seconds"] > 0
    assert [p.name for p in file.parent.iterdir()] == ["a.json"]
    listed = json.loads(results.write_summary(file, [1, 2], {}).read_text())
    assert listed["rows"] == [1, 2]
    assert "seed" not in listed["made"]
    with pytest.raises(InvalidParameter, match='"made"'):
        results.write_summary(file, {"made": 1}, {})
    with pytest.raises(InvalidParameter, match="cannot be written"):
        results.write_summary(file / "b.json", {"x": 1}, {})
    before = file.read_text()
    loop: dict[str, Any] = {}
    loop["x"] = loop
    for bad in ("text", 3, None, {"x": object()}, {"x": {1, 2}}, {(1, 2): 3}, loop):
        with pytest.raises(InvalidParameter):
            results.write_summary(file, bad, {})  # type: ignore[arg-type]
    for path in (3, None, tmp_path):
        with pytest.raises(InvalidParameter):
            results.write_summary(path, {"x": 1}, {})  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter):
        results.write_summary(file, {"x": 1}, 3)  # type: ignore[arg-type]
    assert file.read_text() == before
    numbers = {"x": np.float64(0.5), "n": np.int64(3), "row": np.arange(2)}
    found = json.loads(results.write_summary(file, numbers, {}).read_text())
    assert (found["x"], found["n"], found["row"]) == (0.5, 3, [0, 1])
    unknown = {"x": math.nan, "row": np.array([np.inf, 0.1])}
    words = results.write_summary(file, unknown, {}).read_text()
    assert "NaN" not in words  # which is no JSON
    assert json.loads(words)["row"] == [None, 0.1]


# Every quoted study in small


SMALL = {
    "sharpening": "--depths 3 5 --grammars 4 --data 4",
    "susceptibility": "--v 16 --m 4 --depths 3 4 5 --grammars 4 --data 2 --trajectories 8",
    "finite_size_scaling": "--depths 3 4 5 --symbols 16 --grammars 4 --data 2 --levels 7 "
    "--size 300 --copies 2",
    "phase_diagram": "--symbols 32 --size 200 --copies 2 --depth 8",
    "representation": "--rank 2 --dim 6 --seeds 2 --test 60 --restarts 1",
    "representation_peak": "--seeds 2 --test 100",
    "memorization": "--seeds 4 --test 500 --ranks 4 6",
    "data_models": "--depths 3 4 --dims 4 8 --grammars 2 --data 4 --points 100 --levels 9",
    "alignment": "--objects 20 --triplets 50",
    "classification": "--grammars 2 --data 16 --level-data 16 --strata 8",
    "cue_conflict": "--grammars 2 --data 16 --gaussian-data 100 --gaussian-samples 10",
    "attribute_binding": "--grammars 2 --data 8",
    "composition": "--grammars 2 --repeats 1 --data 4 --orders 2 --multiplicities 2 3 4",
    "sample_complexity": "--grammars 2 --small-m 2 3 --large-m 2 3 --heights 1 2",
    "critical_exponents": "--sizes 32 8 2 --size 600 --copies 3 --levels 40 --depths 3 4 5 "
    "--leaf-depths 3 5 7 --grammars 4 --data 4 --points 5",
    "coverage": "--repetitions 20",
    "grammar_learning": "--v 6 --L 4 --multiplicities 2 3 --grammars 3 --sizes 3 8 --test 40",
    "speciation": "--v 8 --m 2 --L 3 --grammars 3 --data 8 --levels 9 --spins 32 64 --chains 80",
    "parallel_unmasking": "--grammars 2 --data 40 --strings 8 --sizes 3 4 3 5 3 6",
    "autoregressive": "--grammars 2 --data 8 --strings 8",
    "training_time": "--psi-p 4 --psi-n 2 2.5 --dimension 8 --draws 2 --points 4",
    "tree_shapes": "--depths 2 3 --grammars 3 --data 2 --levels 7",
    "contrastive_learning": "--values 3 3 --widths 2 5 9 --starts 2 --scenes 300 --negatives 4 "
    "--v 4 --m 2 --L 2 --levels 3 --grammars 3 --samples 40",
    "local_denoisers": "--v 8 --m 2 --L 3 --noises masking --grammars 3 --data 8 --levels 4 "
    "--heights 1 2 --deepest 4",
    "uturn": "--v 16 --m 4 --depths 3 4 --grammars 12 --data 24 --levels 9 --num-steps 4 8 16",
}
"""Flags, added to the quoted ones, with which a study takes seconds."""
SIMS = {path.stem: command for path, command in STUDIES.items() if "sims/" in command}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs the study that makes a committed file, in small and once; returns the new file."""
    folder = tmp_path_factory.mktemp("small")

    def run(name: str) -> Path:
        _, script, *flags = shlex.split(SIMS[name])
        cut = flags.index("--summary")
        file = folder / "results" / f"{name}.json"
        command = [
            script, *flags[:cut], *flags[cut + 2 :], *SMALL[Path(script).stem].split(),
            "--out", str(folder / name), "--summary", str(file),
        ]  # fmt: skip
        if not file.exists():
            run_here(command)
        want = options_of(shlex.join(["python", *command]))
        assert same(options_of(f"python sims/{made_by(file)['command']}"), want)
        return file

    return run


def run_here(command: list[str]) -> str:
    """Run a script as a user does, from the root of the repository; what it prints."""
    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=600,
        check=False, env={**os.environ, "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMS)
def test_a_quoted_study_runs_in_small_and_says_how_it_was_made(
    name: str, small: Callable[[str], Path]
) -> None:
    made = made_by(small(name))
    assert made["seed"] == 0
    assert made["parameters"]
    assert made["seconds"] > 0


@pytest.mark.slow
def test_the_first_command_ends_with_the_line_on_the_first_page(tmp_path: Path) -> None:
    printed = run_here(["sims/phase_transition.py", "--out", str(tmp_path)])
    shown = re.search(r"```text\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert printed.strip().splitlines()[-1] == shown[1]
