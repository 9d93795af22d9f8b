r"""
What the source tree is made of, before and after a change
==========================================================

Counts files, lines, private modules, copies of the block that runs, saves and draws, loops that
noise and denoise, and the files that name a noise process, a network or an experiment, which is
what a new one would have to touch.  Reads the tree of any commit::

    python benchmarks/house.py e8867e7 HEAD

The counts read syntax, not meaning: a *run block* is a module that both saves a result and draws a
figure; a *forward-backward loop* is a function that corrupts data and samples from a model.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = ("EpsilonNoise", "GaussianNoise", "MaskingNoise", "UniformNoise")


def git(*words: str) -> str:
    """Standard output of a git command."""
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


def tree(commit: str) -> dict[str, str]:
    """The Python files of a commit."""
    names = [n for n in git("ls-tree", "-r", "--name-only", commit).splitlines() if n[-3:] == ".py"]
    return {name: git("show", f"{commit}:{name}") for name in names}


def calls(node: ast.AST) -> Iterator[str]:
    """Names of all functions and methods that are called inside."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call):
            function = one.func
            if isinstance(function, ast.Attribute):
                yield function.attr
            elif isinstance(function, ast.Name):
                yield function.id


def private(name: str) -> bool:
    """Whether a module is private by its own name."""
    stem = PurePosixPath(name).stem
    return stem.startswith("_") and not stem.startswith("__")


def importers(name: str, files: dict[str, str]) -> int:
    """Modules of the package that import a module."""
    path = PurePosixPath(name).with_suffix("")
    package, stem = ".".join(path.parts[:-1]), path.name
    found = 0
    for other, text in files.items():
        if other == name:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                whole = node.module == f"{package}.{stem}"
                part = node.module == package and stem in [alias.name for alias in node.names]
                if whole or part:
                    found += 1
                    break
    return found


def noise_checks(text: str) -> int:
    """``isinstance`` tests on noise processes, and comparisons with the name of one."""
    found = 0
    names = {"epsilon", "gaussian", "masking", "uniform"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            found += any(name in ast.dump(node.args[1]) for name in PROCESSES)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            found += any(isinstance(side, ast.Constant) and side.value in names for side in sides)
    return found


def loops(text: str) -> int:
    """Functions that corrupt data and then sample from a model.

    ``grammar.sample(n, seed)`` draws data; samples of x_0 have one argument (the seed, of a
    posterior) or three (of a model).
    """
    found = 0
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        begin, end = [], []
        for one in ast.walk(node):
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute):
                name, count = one.func.attr, len(one.args)
                if name in ("corrupt", "corrupt_with"):
                    begin.append(one.lineno)
                elif name in ("sample_with", "trajectory") or (name == "sample" and count != 2):
                    end.append(one.lineno)
        found += bool(begin and end and max(end) > min(begin))
    return found


def naming(words: tuple[str, ...], files: dict[str, str]) -> int:
    """Files in which one of the words stands."""
    return sum(any(word in text for word in words) for text in files.values())


def counts(commit: str) -> dict[str, int]:
    """What is counted in the tree of a commit."""
    files = tree(commit)
    package = {n: t for n, t in files.items() if n.startswith("hierdiff/")}
    scripts = {n: t for n, t in files.items() if n.split("/")[0] in ("sims", "validation")}
    code = {**package, **scripts}
    hidden = [n for n in package if private(n) and "kernels/" not in n]
    outside = {n: t for n, t in code.items() if PurePosixPath(n).stem not in ("noise", "_gaussian")}
    # old names that are still served are no place that a new class would touch
    named = {n: t for n, t in code.items() if not n.endswith("/_moved.py")}
    sizes = sorted(t.count("\n") for t in package.values())
    blocks = [t for t in code.values()
              if "savefig" in set(calls(ast.parse(t))) and ("results.save(" in t)]  # fmt: skip
    return {
        "modules of the package": len(package),
        "lines of the package": sum(sizes),
        "longest module": sizes[-1],
        "private modules": len(hidden),
        "private modules with one importer": sum(importers(n, package) == 1 for n in hidden),
        "root scripts": len(scripts),
        "lines of root scripts": sum(t.count("\n") for t in scripts.values()),
        "longest root script": max(t.count("\n") for t in scripts.values()),
        "root scripts that define something": sum(
            any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in ast.parse(t).body)
            for t in scripts.values()
        ),
        "modules that save and draw": len(blocks),
        "forward-backward loops": sum(loops(t) for t in code.values()),
        "checks of the kind of noise": sum(noise_checks(t) for t in outside.values()),
        "modules with such checks": sum(noise_checks(t) > 0 for t in outside.values()),
        "files that name one network, the transformer": naming(
            ("symbol_transformer", "SymbolTransformer", '"transformer"'), named
        ),
        "files that name one experiment, binding": naming(
            ("AttributeBinding", "binding_figure"), named
        ),
        "tests": sum(
            t.count("\ndef test_") for n, t in files.items() if n.startswith("tests/")
        ),
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[1], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commits", nargs="*", default=["HEAD"], help="names of commits")
    commits = parser.parse_args().commits
    columns = [counts(commit) for commit in commits]
    print(f"{'':<46}" + "".join(f"{commit[:12]:>14}" for commit in commits))
    for key in columns[0]:
        print(f"{key:<46}" + "".join(f"{column[key]:>14,}" for column in columns))


if __name__ == "__main__":
    main()
