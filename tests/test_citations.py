"""Papers: every number that is named has an entry, every entry is complete and is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hierdiff
from hierdiff import citations, noise
from hierdiff.__main__ import main
from hierdiff.citations import cite, cited_in, entries, papers_of, places
from hierdiff.errors import InvalidParameter
from hierdiff.registry import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    *(p for name in ("hierdiff", "theory", "sims", "validation")
      for p in sorted((ROOT / name).rglob("*.py"))),
    *sorted((ROOT / "docs").glob("*.md")),
]  # fmt: skip
BIB = (ROOT / "hierdiff" / "references.bib").read_text(encoding="ascii")


def test_every_number_has_an_entry() -> None:
    known = {entry.fields.get("eprint") for entry in entries().values()}
    missing = {
        (number, path.name)
        for path in TEXTS
        for number in re.findall(r"(?<![\d.])\d{4}\.\d{5}(?!\d)", path.read_text(encoding="utf-8"))
        if number not in known
    }
    assert not missing


def test_every_entry_is_used() -> None:
    named = set(cited_in("\n".join(p.read_text(encoding="utf-8") for p in TEXTS
                                   if p.name != "citing.md")))  # fmt: skip
    assert set(entries()) == named


def test_nothing_in_the_file_is_passed_over() -> None:
    """What the parser takes is all that the file has: its entries, printed, are the file."""
    assert len(entries()) == BIB.count("\n@") == len(re.findall(r"^@", BIB, re.MULTILINE))
    fields = sum(len(entry.fields) for entry in entries().values())
    assert fields == len(re.findall(r"^  \w", BIB, re.MULTILINE))
    for entry in entries().values():
        text = str(entry)
        assert text.count("{") == text.count("}")
        assert "mark =" not in text
        bare = [line for line in BIB.splitlines() if "  mark = " not in line]
        assert text in "\n".join(bare)


@pytest.mark.parametrize("key", entries())
def test_every_entry_is_complete(key: str) -> None:
    entry = entries()[key]
    assert entry.kind in ("article", "inproceedings", "misc", "book")
    for field in ("author", "title", "year"):
        assert entry.fields[field].strip()
    assert re.fullmatch(r"(19|20)\d\d", entry.fields["year"])
    for name in entry.fields["author"].split(" and "):
        assert re.fullmatch(r"[^,]+, [^,]+", name), name
    # a preprint is not younger than the paper; Facco's was put on arXiv a year later
    if "eprint" in entry.fields and key != "facco2017intrinsic":
        assert int(entry.fields["year"]) >= 2000 + int(entry.fields["eprint"][:2])
    assert ("eprint" in entry.fields) != ("mark" in entry.fields)
    where = {"article": "journal", "inproceedings": "booktitle", "book": "publisher"}
    assert entry.kind == "misc" or where[entry.kind] in entry.fields


def test_a_number_inside_a_number_is_none() -> None:
    assert cited_in("0.2402.16991 and 2402.169912 and 12402.16991") == []
    assert cited_in("arXiv 2402.16991.") == ["sclocchi2025transition"]


@pytest.mark.parametrize(
    "item",
    [noise.UniformNoise, noise.UniformNoise(v=4), "UniformNoise", "noise.UniformNoise",
     "hierdiff.noise.UniformNoise", "hierdiff.UniformNoise"],
)  # fmt: skip
def test_an_object_and_its_names_have_the_same_papers(item: object) -> None:
    assert papers_of(item) == ["hoogeboom2021argmax", "austin2021discrete"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_cited(name: str) -> None:
    assert cite(name).rstrip().endswith("}")
    assert "@software{hierdiff," in cite(name)


RHM_PAPERS = ["cagnetta2024rhm", "sclocchi2025transition"]


def test_what_names_no_paper_inherits_those_of_its_module_and_its_model() -> None:
    for name in ("critical_level", "ExactRHM", "Grammar", "Grammar.sample"):
        assert papers_of(name) == RHM_PAPERS, name
    assert set(papers_of("zipf")) >= {*RHM_PAPERS, "cagnetta2025powerlaw"}
    assert "li2025representation" in papers_of("hierdiff.theory.mixture.feature_snr.snr")
    assert "li2025representation" in papers_of("ExactMixture")
    assert "cagnetta2024rhm" not in papers_of("ExactMixture")  # of other models in that file
    assert papers_of("hierdiff._display.text_table") == []
    # what names papers of its own has these alone
    assert papers_of("critical_noise") == ["sclocchi2025transition"]


def test_experiments_have_the_papers_of_their_model() -> None:
    for name in ("phase-transition", "network-phase-transition", "phase-diagram"):
        assert set(papers_of(name)) >= set(RHM_PAPERS), name
    assert set(papers_of("representation")) >= set(papers_of("LowRankMixture"))


def test_an_experiment_without_a_paper_of_its_own_has_those_of_its_theory() -> None:
    assert "bonnaire2025memorize" in papers_of("training-time")
    assert "li2025representation" in papers_of("memorization")


@pytest.mark.slow
def test_modules_hold_the_papers_of_their_functions() -> None:
    whole = papers_of(hierdiff)
    assert set(papers_of("hierdiff.theory")) >= set(papers_of("hierdiff.theory.rhm"))
    assert {key for keys in places().values() for key in keys} <= set(whole)
    assert papers_of(noise) == papers_of("noise")


def test_wrong_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'critical_noise'"):
        cite("critcal_noise")
    with pytest.raises(InvalidParameter, match="is not of hierdiff"):
        cite(Path)
    for bad in ("..", "hierdiff..noise", "noise.", "no such thing", "Grammar.nothing"):
        with pytest.raises(InvalidParameter):
            cite(bad)


def test_the_command_prints_it_without_importing_networks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["cite", "network-phase-transition"])
    assert capsys.readouterr().out == cite("network-phase-transition")
    main(["cite"])
    assert capsys.readouterr().out.count("\n@") == len(entries())  # and hierdiff
    with pytest.raises(SystemExit):
        main(["cite", "nothing"])
    assert capsys.readouterr().err.startswith("error: item = 'nothing' is no name of hierdiff")
    code = (
        "import sys, hierdiff; hierdiff.cite('network-phase-transition');"
        "print([m for m in ('torch', 'numba', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_file_is_in_the_package() -> None:
    assert Path(citations.__file__).with_name("references.bib").is_file()
