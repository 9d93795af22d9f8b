"""The protocols of the five papers: flags, what is missing, tiny runs on stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from oracles import one_line

from hierdiff import __main__ as main
from hierdiff.command_line import parse_flags
from hierdiff.errors import InvalidParameter
from hierdiff.registry import experiment
from hierdiff.sims.run import RunOptions
from hierdiff.validation.reproduce import PAPERS, Reproduction, report

FILES = {"images": Path("a b"), "classifier": Path("w.pth"), "triplets": Path("t.npy")}


@pytest.mark.parametrize("paper", PAPERS)
def test_the_flags_of_a_paper_are_those_of_its_experiment(paper: str) -> None:
    chosen = Reproduction(paper, **FILES, accept_licence=True)
    kind = experiment(chosen.entry.experiment)
    study, _ = parse_flags(kind, RunOptions, chosen.words)
    source = getattr(study, "network", None) or getattr(study, "source", None)
    if chosen.entry.needs:
        assert source.images == Path("a b")  # a path with a blank is one word
    tiny, _ = parse_flags(kind, RunOptions, Reproduction(paper, tiny=True).words)
    assert type(tiny) is type(study)


@pytest.mark.parametrize("paper", PAPERS)
def test_a_report_has_stated_numbers_and_corrections(paper: str) -> None:
    found = report(paper, "what was seen")
    entry = PAPERS[paper]
    for part in (*entry.corrections, "what was seen", *(s.value for s in entry.stated)):
        assert part in found


def test_what_a_protocol_needs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidParameter, match="needs a folder of images and the weights") as error:
        Reproduction("2402.16991")
    one_line(error)
    with pytest.raises(SystemExit) as stop:
        main.main(["reproduce", "2402.16992"])
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "2402.16991" in said[0]
    # terms are never accepted for the user
    assert "--accept-licence" not in Reproduction("2502.05743", images=Path("x")).words


def test_the_variants_of_the_authors_are_one_flag() -> None:
    kind = experiment(PAPERS["2402.16991"].experiment)
    study, _ = parse_flags(
        kind, RunOptions, Reproduction("2402.16991", **FILES, authors=True).words
    )
    one = study.network
    assert (one.protocol, one.moment, one.jpeg) == ("published", True, True)
    usual, _ = parse_flags(kind, RunOptions, Reproduction("2402.16991", **FILES).words)
    one = usual.network
    assert (one.protocol, one.moment, one.jpeg) == ("consistent", False, False)
    for bad in ({"paper": "2502.05743", **FILES}, {"paper": "2402.16991", "tiny": True}):
        with pytest.raises(InvalidParameter, match="authors means nothing") as error:
            Reproduction(**bad, authors=True)
        one_line(error)


@pytest.mark.slow
@pytest.mark.parametrize("paper", PAPERS)
def test_a_tiny_run_prints_both_columns(
    paper: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main.main(["reproduce", paper, "--tiny", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "measured here" in out
    assert PAPERS[paper].corrections[0] in out
    record = json.loads((tmp_path / f"reproduction_{paper}.json").read_text())
    assert record["measured"]
    assert record["tiny"] is True
