"""Change the code in small ways and see whether the tests notice.

A *mutant* is the package with one place changed: a comparison, an operation, a number, a condition,
or a statement that is left out.  The tests named for that module run on a copy of the tree; a
mutant that they let live is a missing test, or is equivalent to the original, and then
``mutation_equivalent.json`` says why.

``python tests/mutation.py --modules hierdiff/seeds.py --mutants 40 --json FILE`` draws mutants of a
module at random, by a seed; without ``--modules`` all modules of :data:`TARGETS`.  A run can be
interrupted and goes on from its JSON file.  A summary is a record: of a module of which an earlier
run tried more, it keeps what that run found.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tyro

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

ENGINE = [
    "tests/test_theory/belief_propagation/test_passes.py",
    "tests/test_theory/belief_propagation/test_exact_posterior.py",
    "tests/test_boundary.py", "hierdiff/theory/belief_propagation/exact_posterior.py",
]  # fmt: skip
DENSITY = ["tests/test_theory/rhm/test_density_evolution_kernel.py"]
LOGARITHMS = ["tests/test_theory/belief_propagation/test_log_domain.py"]

# the quickest first: a run ends with the first failure
TARGETS: dict[str, list[str]] = {
    "hierdiff/seeds.py": ["tests/test_seeds.py", "hierdiff/seeds.py"],
    "hierdiff/results.py": ["tests/test_results.py", "hierdiff/results.py"],
    "hierdiff/tasks.py": ["tests/test_tasks.py", "hierdiff/tasks.py"],
    "hierdiff/sims/metrics/estimators.py": ["tests/test_sims/test_estimators.py",
                                   "hierdiff/sims/metrics/estimators.py"],
    "hierdiff/noise.py": ["tests/test_noise_input.py", "tests/test_noise.py",
                          "tests/test_noise_steps.py", "tests/test_noise_registry.py",
                          "hierdiff/noise.py"],
    "hierdiff/theory/belief_propagation/exact_posterior.py": ENGINE,
    "hierdiff/theory/belief_propagation/passes.py": ENGINE,
    "hierdiff/theory/belief_propagation/log_domain.py": LOGARITHMS,
    "hierdiff/theory/rhm/density_evolution.py": ["tests/test_theory/rhm/test_density_evolution.py"],
    "hierdiff/theory/rhm/_kernels.py": DENSITY,
    "hierdiff/theory/belief_propagation/_kernels/passes.py": ENGINE,
    "hierdiff/theory/belief_propagation/_kernels/tree.py": ENGINE,
    "hierdiff/theory/belief_propagation/_kernels/leaves.py": ENGINE,
    "hierdiff/theory/belief_propagation/_kernels/log_tree.py": LOGARITHMS,
}  # fmt: skip
"""What is mutated, and the tests that must notice."""

SECONDS = 300.0
"""A run of the tests that takes longer counts as noticed: the mutant does not end."""

_COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATE = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, and the lines before and after."""

    module: str
    line: int
    before: str
    after: str
    text: str
    """The whole module, changed."""
    number: int
    """Among the same changes of equal lines."""

    @property
    def key(self) -> str:
        """The same for the same change, wherever the line has moved."""
        which = f" [{self.number}]" if self.number > 1 else ""
        return f"{self.module}: {self.before.strip()} -> {self.after.strip()}{which}"


def mutants(module: str, source: str) -> list[Mutant]:
    """All mutants of a module, without those of docstrings, annotations and messages."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw, found = source.encode(), []
    same: dict[tuple[str, str], int] = {}
    for node, new in changes(tree):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        text = (raw[:begin] + new.encode() + raw[end:]).decode()
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        before = " ".join(raw[begin:end].decode().split())
        row = lines[node.lineno - 1]
        context = row.strip() if node.lineno == node.end_lineno else before
        changed = text.splitlines()[node.lineno - 1].strip()
        number = same[context, changed] = same.get((context, changed), 0) + 1
        found.append(Mutant(module, node.lineno, context, changed, text, number))
    return found


def changes(tree: ast.AST) -> Iterator[tuple[Any, str]]:
    """Nodes with the source that replaces them."""
    skip: set[int] = set()
    for node in ast.walk(tree):
        # annotations, defaults' types, decorators, __all__, raised messages and docstrings
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if part is not None:
                skip |= {id(x) for x in ast.walk(part)}
        if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)):
            skip |= {id(x) for x in ast.walk(node)}
        if isinstance(node, ast.Assign) and "__all__" in ast.dump(node.targets[0]):
            skip |= {id(x) for x in ast.walk(node)}
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                skip |= {id(x) for x in ast.walk(decorator)}
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            other = ast.Compare(node.left, [_COMPARE[type(node.ops[0])]()], node.comparators)
            yield node, f"({ast.unparse(other)})"
        elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATE:
            yield (
                node,
                f"({ast.unparse(ast.BinOp(node.left, _OPERATE[type(node.op)](), node.right))})",
            )
        elif isinstance(node, ast.BoolOp):
            op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield node, f"({ast.unparse(ast.BoolOp(op, node.values))})"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, repr(node.value + 1 if isinstance(node.value, int) else 2 * node.value + 1)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, repr(not node.value)
        elif isinstance(node, ast.If):
            yield node.test, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.AugAssign) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ):
            yield node, "pass"


@contextlib.contextmanager
def copied() -> Iterator[Path]:
    """A copy of the tracked files, in which a mutant does no harm."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "tree"
        skip = shutil.ignore_patterns(".git", "out", "_build", "*.pyc")
        shutil.copytree(ROOT, place, ignore=skip)
        yield place


def noticed(place: Path, tests: list[str], seconds: float) -> tuple[bool, str]:
    """Whether the tests fail there, in a process of its own that has the libraries already."""
    known = [t for t in tests if (place / t).exists()]
    log = place / "mutation.log"
    child = os.fork()
    if child == 0:
        code = 70  # of a child that fails before the tests start
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(place)
            # the tests use none of the plugins that happen to be installed; loading them takes time
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            ours = {str(ROOT), str(HERE)}
            sys.path[:] = [
                str(place),
                str(place / "tests"),
                *(p for p in sys.path if p not in ours),
            ]
            # libraries imported beforehand cannot be rewritten by pytest, and need not be
            quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *quiet, *known]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            words = log.read_text(errors="replace").splitlines()
            failed = [w for w in words if w.startswith(("FAILED", "ERROR"))]
            code = os.waitstatus_to_exitcode(status)
            return code != 0, failed[0][:160] if failed else f"exit {code}: {words[-1:]}"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True, f"did not end in {seconds:.0f} s"


@dataclass(frozen=True)
class Run:
    """Mutants of the core modules, and what the tests let live."""

    modules: tuple[str, ...] = ()
    """Files to mutate; default all that have tests named for them."""
    mutants: int = 15
    """Mutants per module, drawn at random."""
    seed: int = 0
    """Of the draw."""
    minutes: float = 1e6
    """Stop after this time; the same command goes on."""
    json: Path = Path("out/mutation.json")
    """Where results are kept."""
    summary: Path | None = None
    """Write the counts per module, and the argued mutants, to this JSON file, which is added to."""

    def main(self) -> int:
        """Draw, run, keep, print; 1 if a mutant lives that nobody has argued equivalent."""
        kept: dict[str, Any] = json.loads(self.json.read_text()) if self.json.exists() else {}
        self.json.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + 60 * self.minutes
        preload()
        for module in self.modules or tuple(TARGETS):
            if time.monotonic() > end:
                break
            with copied() as place:
                self.one(module, place, kept, end)
        found = self.counted(kept)
        for module, row in found["modules"].items():
            counts = " ".join(f"{row[name]:>4} {name}" for name in row)
            print(f"{module:<36}{counts}")
        lives = found["lives"]
        print("\n".join(["", *lives]) if lives else "no mutant lives unexplained")
        if self.summary:
            from hierdiff.results import write_summary  # not before: a run imports it afresh

            if self.summary.exists():
                found = merged(found, json.loads(self.summary.read_text()))
            seconds = found.pop("seconds")
            parameters = {"modules": self.modules, "mutants": self.mutants, "seed": self.seed}
            write_summary(self.summary, found, parameters, also={"seconds": seconds})
        return int(bool(lives))

    def counted(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Counts per module of the mutants that were drawn, and those that live."""
        argued, modules, equal, lives, seconds = equivalents(), {}, {}, [], 0.0
        for module in self.modules or tuple(TARGETS):
            drawn = self.drawn(module)
            keys = {m.key for m in drawn[: self.mutants]} & set(kept.get(module, ()))
            rows = {key: kept[module][key] for key in sorted(keys)}
            living = [key for key, row in rows.items() if not row["noticed"]]
            same = {key: argued[key] for key in living if key in argued}
            modules[module] = {
                "possible": len(drawn), "tried": len(rows), "noticed": len(rows) - len(living),
                "equivalent": len(same),
            }  # fmt: skip
            equal |= same
            lives += [key for key in living if key not in argued]
            seconds += sum(row["seconds"] for row in rows.values())
        return {
            **total(modules), "modules": modules, "argued": equal, "lives": lives,
            "seconds": round(seconds, 1),
        }  # fmt: skip

    def drawn(self, module: str) -> list[Mutant]:
        """All mutants of a module, shuffled."""
        found = mutants(module, (ROOT / module).read_text())
        random.Random(f"{self.seed} {module}").shuffle(found)
        return found

    def one(self, module: str, place: Path, kept: dict[str, Any], end: float) -> None:
        """The mutants of one module."""
        source = (ROOT / module).read_text()
        drawn = self.drawn(module)
        rows = kept.setdefault(module, {})
        # what lived is tried again: the tests may have grown
        argued = equivalents()
        done = {key for key, row in rows.items() if row["noticed"] or key in argued}
        target, tests = place / module, TARGETS[module]
        todo = [mutant for mutant in drawn[: self.mutants] if mutant.key not in done]
        if todo and time.monotonic() < end:
            start = time.monotonic()
            failed, words = noticed(place, tests, SECONDS)
            if failed:
                raise SystemExit(f"the tests of {module} fail without a mutant: {words}")
            limit = max(20.0, 8 * (time.monotonic() - start))
        try:
            for mutant in todo:
                if time.monotonic() > end:
                    break
                target.write_text(mutant.text)
                start = time.monotonic()
                found, words = noticed(place, tests, min(limit, SECONDS))
                rows[mutant.key] = {
                    "noticed": found, "by": words, "line": mutant.line,
                    "seconds": round(time.monotonic() - start, 1),
                }  # fmt: skip
                self.json.write_text(json.dumps(kept, indent=1) + "\n")
                print(f"{'noticed' if found else 'LIVES  '} {mutant.key}", flush=True)
        finally:
            target.write_text(source)


def total(modules: dict[str, dict[str, int]]) -> dict[str, int]:
    """Sums over modules."""
    names = ("possible", "tried", "noticed", "equivalent")
    return {name: sum(row[name] for row in modules.values()) for name in names}


def merged(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What a run found, and of modules of which an earlier one tried more, what that one found."""
    modules, argued, lives = dict(found["modules"]), dict(found["argued"]), list(found["lives"])
    for module, row in before["modules"].items():
        if module in TARGETS and row["tried"] > modules.get(module, {"tried": 0})["tried"]:
            # the mutants that are possible are those of the code as it is now
            modules[module] = row | {"possible": modules.get(module, row)["possible"]}
            ours = f"{module}: "
            argued = {k: v for k, v in argued.items() if not k.startswith(ours)}
            argued |= {k: v for k, v in before["argued"].items() if k.startswith(ours)}
            lives = [key for key in lives if not key.startswith(ours)]
            lives += [key for key in before["lives"] if key.startswith(ours)]
    modules = {module: modules[module] for module in TARGETS if module in modules}
    # the time of the last run that tried any
    seconds = found["seconds"] or before["made"]["seconds"]
    return {
        **found, **total(modules), "modules": modules, "argued": argued, "lives": lives,
        "seconds": seconds,
    }  # fmt: skip


def equivalents() -> dict[str, str]:
    """Mutants that compute the same, each with the argument."""
    path = HERE / "mutation_equivalent.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def preload() -> None:
    """Import what all tests need and no mutant changes, so that every run starts with it."""
    import h5netcdf
    import hypothesis.strategies
    import joblib
    import matplotlib
    import networkx
    import numba
    import scipy.special
    import scipy.stats
    import tqdm
    import xarray

    assert all((h5netcdf, hypothesis.strategies, joblib, matplotlib, networkx, numba))
    assert all((scipy.special, scipy.stats, tqdm, xarray))


if __name__ == "__main__":
    sys.exit(tyro.cli(Run).main())
