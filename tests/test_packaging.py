"""What installs hierdiff elsewhere agrees with pyproject.toml: conda, containers, Binder, CI."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import hierdiff

ROOT = Path(__file__).resolve().parents[1]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]
# names that conda-forge gives to packages of PyPI
CONDA = {"matplotlib": "matplotlib-base", "torch": "pytorch", "dask[distributed]": "dask",
         "huggingface-hub": "huggingface_hub"}  # fmt: skip


def read(path: str) -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / path).read_text())


def conda(requirement: str) -> str:
    name, bound = requirement.split(">=")
    return f"{CONDA.get(name, name)} >={bound}"


def test_the_conda_recipe_has_the_version_and_the_bounds_of_the_project() -> None:
    recipe = read("packaging/conda/recipe.yaml")
    assert recipe["context"]["version"] == hierdiff.__version__
    needs = recipe["requirements"]
    python = f"python {PROJECT['requires-python']}"
    assert needs["run"] == [python, *map(conda, PROJECT["dependencies"])]
    assert needs["host"] == [python, "pip", *map(conda, TOML["build-system"]["requires"])]
    extras = PROJECT["optional-dependencies"]
    assert needs["run_constraints"] == [*map(conda, [*extras["networks"], *extras["cluster"]])]
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert dict([entry.split(" = ")]) == PROJECT["scripts"]


def test_the_container_asks_for_extras_and_files_that_exist() -> None:
    text = (ROOT / "packaging" / "Containerfile").read_text()
    extras = set(re.findall(r"EXTRAS=([\w,]+)", text))
    assert {x for word in extras for x in word.split(",")} <= set(PROJECT["optional-dependencies"])
    assert "-c /src/constraints.txt" in text
    assert re.search(r"^ENTRYPOINT \[\"hierdiff\"\]$", text, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"hierdiff", "README.md", "constraints.txt", "pyproject.toml"} & set(ignored)


def test_read_the_docs_builds_the_manual_as_it_is_built_here() -> None:
    found = read(".readthedocs.yaml")
    assert found["version"] == 2
    commands = [*found["build"]["jobs"]["install"], *found["build"]["jobs"]["build"]["html"]]
    assert any(".[docs]" in x and "constraints.txt" in x for x in commands)
    assert any(x.startswith("sphinx-build -W") for x in commands)


def test_binder_installs_this_tree_with_pinned_versions() -> None:
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    (pins,) = (line.split()[1] for line in lines if line.startswith("-c "))
    assert (ROOT / ".binder" / pins).resolve() == ROOT / "constraints.txt"
    assert "." in lines


def test_pages_of_the_gallery_have_a_link_to_binder_where_their_repository_has_a_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from hierdiff_gallery import binder_link

    clone, ref = "READTHEDOCS_GIT_CLONE_URL", "READTHEDOCS_GIT_IDENTIFIER"
    start, end = "https://mybinder.org/v2/", "?urlpath=lab/tree/sims/uturn.py"
    for url in ("https://github.com/a/b", "https://github.com/a/b.git", "git@github.com:a/b.git"):
        found = binder_link("auto_sims/uturn", {clone: url, ref: "v0.1"})
        assert found == f"{start}gh/a/b/v0.1{end}"
    lab = {clone: "https://gitlab.com/a/c/b", ref: "x/y"}
    assert binder_link("auto_sims/uturn", lab) == f"{start}gl/a%2Fc%2Fb/x%2Fy{end}"
    here = {clone: "https://github.com/a/b"}
    for name in ("index", "auto_sims/index", "api/hierdiff.noise", "auto_sims/sub/uturn"):
        assert binder_link(name, here) == ""
    for other in ({}, {clone: "../clone"}, {clone: "https://example.org/a/b"}):
        assert binder_link("auto_sims/uturn", other) == ""
    assert (ROOT / ".binder" / "postBuild").stat().st_mode & 0o111


def test_links_of_the_readme_are_addresses_on_pypi() -> None:
    """The substitutions of the build, done here; .ci/packages looks at a wheel."""
    hook = TOML["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text()
    paths = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert len(paths) > 2
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert not re.findall(r"\]\((?!https://)([^)]+)\)", text)
    pages = re.findall(r"readthedocs\.io/en/latest/(\w+)\.html", text)
    assert pages
    pages += re.findall(r"latest/(\w+)\.html", " ".join(PROJECT["urls"].values()))
    assert [p for p in pages if not (ROOT / "docs" / f"{p}.md").exists()] == []
    for name in re.findall(r"latest/_static/([\w.]+)", text):
        assert (ROOT / "docs" / "_static" / name).exists()


def test_every_dependency_has_a_lower_bound_and_a_pin() -> None:
    pins = {
        line.split("==")[0].lower().replace("-", "_")
        for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }  # fmt: skip
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(x for extra in extras for x in extra)]:
        if requirement.startswith("hierdiff["):
            continue
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        assert bound
        assert name.lower().replace("-", "_") in pins, f"{name} has no pin in constraints.txt"


@pytest.mark.parametrize("name", ["run", "lowest", "newest", "packages"])
def test_scripts_of_the_checks_are_named_where_they_belong(name: str) -> None:
    """Each is run by a job of the workflow, directly or by .ci/run."""
    path = ROOT / ".ci" / name
    assert path.stat().st_mode & 0o111
    flow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert f".ci/{name}" in flow + (ROOT / ".ci" / "run").read_text()
