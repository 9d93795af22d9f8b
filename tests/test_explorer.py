"""The phase explorer in a headless browser against the library, without network."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Page, chromium

from hierdiff import RHM, GaussianNoise
from hierdiff.errors import NoTransition
from hierdiff.theory import (
    annealed_beliefs,
    correlation_length_exponent,
    critical_noise,
    finite_depth_threshold,
    has_transition,
    snr,
    snr_peak,
)
from hierdiff.theory.rhm.dynamical_correlations import population_susceptibility, susceptibility

DOCS = Path(__file__).parents[1] / "docs"
GRAMMARS = [(32, 8, 2, 10), (32, 20, 2, 6), (32, 1, 2, 4), (8, 6, 3, 5), (5, 10, 4, 3),
            (2, 1, 2, 3), (64, 24, 2, 14), (4, 4, 2, 1), (3, 2, 2, 5)]  # fmt: skip


@pytest.fixture(scope="module")
def docs() -> Any:
    """The module that makes the table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        yield importlib.import_module("explorer")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with its files, as the manual has them, but in no theme."""
    folder = tmp_path_factory.mktemp("explorer")
    shutil.copytree(DOCS / "_static", folder / "_static")
    found = re.search(r"```\{raw\} html\n(.*?)```", (DOCS / "explorer.md").read_text(), re.DOTALL)
    assert found is not None
    (folder / "explorer.html").write_text(f"<!doctype html><meta charset=utf-8>{found[1]}")
    return folder / "explorer.html"


def shown(page: Page, **parameters: Any) -> dict[str, Any]:
    """The numbers of the page at parameters."""
    found: dict[str, Any] = page.value(f"hierdiffExplorer.set({json.dumps(parameters)})")
    assert not page.errors
    return found


def test_the_recursion_of_the_page_is_that_of_the_library(page: Page, html: Path) -> None:
    page.open(html)
    for v, m, s, L in GRAMMARS:
        rhm, name = RHM(v, m, s, L), (v, m, s, L)
        for t in (0.0, 0.3, 0.73, 1.0):
            found = shown(page, v=v, m=m, s=s, L=L, t=t, process="epsilon")
            assert page.value("hierdiffExplorer.state.L") == L
            want = annealed_beliefs(rhm, t).marginal
            np.testing.assert_allclose(found["belief"], want, atol=1e-3, err_msg=str(name))
            chi = float(susceptibility(rhm, t))
            assert found["susceptibility"] == pytest.approx(chi, abs=1e-3, rel=1e-3), name
        transition = has_transition(rhm)
        assert (found["regime"] == "transition") == transition
        if transition:
            assert found["threshold"] == pytest.approx(critical_noise(rhm), abs=1e-3)
            assert found["nu"] == pytest.approx(correlation_length_exponent(rhm), abs=1e-3)
        else:
            assert found["threshold"] is None
            with pytest.raises(NoTransition) as error:
                critical_noise(rhm)
            assert found["regime"].split()[0] in str(error.value), name
        if v > 2:
            assert found["half"] == pytest.approx(finite_depth_threshold(rhm), abs=1e-3), name


def test_the_mixture_of_the_page_is_that_of_the_library(page: Page, html: Path) -> None:
    page.open(html)
    for K, d, delta in ((3, 5, 0.2), (2, 1, 0.1), (20, 40, 0.3), (8, 3, 0.9), (2, 2, 1.0)):
        for sigma in (0.02, 0.33, 1.0, 4.0):
            found = shown(page, K=K, d=d, delta=delta, sigma=sigma)
            assert found["snr"] == pytest.approx(float(snr(K, d, delta, sigma)), rel=1e-3)
        peak = snr_peak(K, d, delta)
        assert found["peak"]["value"] == pytest.approx(peak.value, rel=1e-3)
        assert found["peak"]["sigma"] == pytest.approx(peak.sigma, abs=1e-3)


def test_real_noise_is_read_from_the_table(page: Page, html: Path, docs: Any) -> None:
    table = docs.read()
    page.open(html)
    for one in table["grammars"][::5]:
        for process in docs.PROCESSES:
            for L in docs.DEPTHS[1::2]:
                entry = one[process]
                i = len(entry["t"]) // 2
                found = shown(page, **{k: one[k] for k in "vms"}, L=L, process=process,
                              t=entry["t"][i])  # fmt: skip
                want = np.array(entry["belief"][str(L)])[:, i] / table["digits"]
                np.testing.assert_allclose(found["belief"], want, atol=1e-9)
                assert found["threshold"] == entry["threshold"]
                for name, rows in (("susceptibility", "chi"), ("spread", "chi_error")):
                    want = entry[rows][str(L)][i] / table["digits"]
                    assert found[name] == pytest.approx(want, abs=1e-9)
                # hardly a leaf is lost without noise, so that none can be counted there
                assert shown(page, t=0)["susceptibility"] is None
    # what is drawn is what the library computes, here at a level between two of the table as well
    one = table["grammars"][9]
    entry, rhm, L = one["gaussian"], RHM(*(one[k] for k in "vms"), 10), 6
    i = int(np.searchsorted(entry["t"], entry["threshold"]))
    near = np.array(entry["t"][i - 1 : i + 1])
    want = population_susceptibility(
        rhm, GaussianNoise(rhm.v), near, depths=[L], size=docs.MEMBERS, copies=docs.POPULATIONS,
        seed=docs.SEED,
    ).value[0]  # fmt: skip
    for share in (0.0, 0.5, 1.0):
        t = near[0] + share * (near[1] - near[0])
        found = shown(page, **{k: one[k] for k in "vms"}, L=L, process="gaussian", t=t)
        assert found["susceptibility"] == pytest.approx(
            (1 - share) * want[0] + share * want[1], abs=1e-3
        )
    # planted: the chain of the epsilon-process is not the law of real noise
    assert abs(found["susceptibility"] - susceptibility(rhm, entry["threshold"])) > 0.5
    # a grammar between those of the table moves to the nearest
    shown(page, v=31, m=7, s=2, L=7, process="masking")
    words = "[...'vmsL'].map((k) => hierdiffExplorer.state[k])"
    assert page.value(words) == [32, 8, 2, 6]


def test_the_table_is_what_its_command_makes(docs: Any) -> None:
    assert docs.FILE.stat().st_size < 300_000
    table = docs.read()
    assert table["made"]["command"] == "python docs/explorer.py"
    assert table["made"]["size"] == docs.SIZE
    rows = docs.result("phase_diagram")
    assert [[g[k] for k in "vms"] for g in table["grammars"]] == [
        [r[k] for k in "vms"] for r in rows
    ]
    assert table["grammars"][4]["masking"] == json.loads(json.dumps(docs.entry(rows[4], "masking")))


def test_a_link_keeps_the_parameters_and_bad_ones_do_no_harm(page: Page, html: Path) -> None:
    page.open(html, mark="v=16&m=4&s=2&L=7&process=masking&t=0.4&delta=0.3")
    assert page.value("hierdiffExplorer.state.v") == 16
    assert page.value("hierdiffExplorer.state.process") == "masking"
    mark = page.value("location.hash")
    page.open(html, mark=mark[1:])
    assert page.value("location.hash") == mark
    assert page.value("document.querySelector('#explorer-levels title').textContent") == "class"
    for bad in ("v=1e9&m=-4&s=x&L=&t=NaN&K=0", "process=nonsense", "%%%", "v=2&s=4&m=32"):
        page.open(html, mark=bad)
        assert not page.errors
        v, m, s = page.value("[...'vms'].map((k) => hierdiffExplorer.state[k])")
        assert 1 <= m <= v ** (s - 1)
        assert page.value("document.querySelectorAll('#explorer-numbers tr').length") > 6


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_its_width_and_asks_for_nothing_else(
    page: Page, html: Path, width: int
) -> None:
    page.open(html, width)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert all(url.startswith(("file:", "about:")) for url in page.requested)
    # a slider that is moved changes the drawing and the address
    before = page.value("document.getElementById('explorer-levels').innerHTML")
    page.value("(() => { const one = document.querySelectorAll('#explorer input')[1];"
               "one.value = 12; one.dispatchEvent(new Event('input')); })()")  # fmt: skip
    assert page.value("document.getElementById('explorer-levels').innerHTML") != before
    assert "m=12" in page.value("location.hash")


def test_a_browser_that_lacks_something_says_so(page: Page, html: Path) -> None:
    text = html.read_text()
    poor = html.with_name("poor.html")
    poor.write_text(text.replace("explorer_table.js", "no_such_file.js"))
    page.open(poor)
    words = page.value("document.getElementById('explorer-message').textContent")
    assert "which is missing here" in words
    assert "explorer_table.js" in words
