"""Scores of the laws: tests hand them to the fixture ``laws``, ``--laws FILE`` keeps them.

``pytest -m '' tests/test_laws tests/test_theory tests/test_sims --laws docs/results/laws.json``
makes the table that the manual prints.
"""

from __future__ import annotations

import os

# tests that run side by side have a processor each; said before anything starts threads
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from laws import SCORES, Laws

from hierdiff.results import tracked, write_summary


@pytest.fixture
def laws(request: pytest.FixtureRequest) -> Laws:
    """Where a law test leaves its scores."""
    return Laws(request.node.nodeid.split("::")[0])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--laws", default=None, help="write the scores of all laws to this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--laws") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--laws collects the scores of one process; leave out -n")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--laws")
    if path and SCORES:
        found = {name: SCORES[name] for name in sorted(SCORES)}
        # tracked: the tasks of other tests, made-up ones among them, are none of the laws'
        tracked(write_summary)(path, found, {})
