"""Saved grammars, factor graphs and batches of derivations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from oracles import AMBIGUOUS, FIXTURE, one_line

from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import DamagedFile, InvalidParameter

# --- files ----------------------------------------------------------------------------------------


@given(grammar=strategies.grammars())
@settings(deadline=None, max_examples=25)
def test_save_and_load_give_back_every_bit(
    grammar: Grammar, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("grammar") / "grammar.any"
    grammar.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["grammar.any"]
    assert Grammar.load(path) == grammar
    assert Grammar.load(str(path)).v == grammar.v


def garbage(path: Path) -> None:
    path.write_bytes(b"no archive at all")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(FIXTURE.rules[1].tobytes())] ^= 0xFF
    path.write_bytes(whole)


def foreign(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, rules_0=np.zeros((1, 1, 2), dtype=int))


def plain_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def newer(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, format=np.array("hierdiff.Grammar 2"), rules_0=np.zeros((1, 1, 2), int))


def without_prior(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            format=np.array("hierdiff.Grammar 1"),
            rules_0=np.zeros((1, 1, 2), int),
            weights_0=np.ones((1, 1)),
        )


def with_wrong_weights(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            format=np.array("hierdiff.Grammar 1"),
            rules_0=np.zeros((1, 1, 2), int),
            weights_0=np.full((1, 1), 0.5),
            root_prior=np.ones(1),
            leaf_vocabulary=np.array(1),
        )


@pytest.mark.parametrize(
    "spoil",
    [
        garbage,
        empty,
        truncated,
        flipped,
        foreign,
        plain_array,
        newer,
        without_prior,
        with_wrong_weights,
    ],
)
def test_damaged_and_foreign_files(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / "grammar.npz"
    FIXTURE.save(path)
    spoil(path)
    with pytest.raises(DamagedFile, match=r"grammar\.npz") as error:
        Grammar.load(path)
    one_line(error)


@pytest.mark.slow
def test_no_flipped_byte_gives_another_grammar(tmp_path: Path) -> None:
    path = tmp_path / "grammar.npz"
    FIXTURE.save(path)
    whole = path.read_bytes()
    damaged = 0
    for position in range(0, len(whole), 3):
        bent = bytearray(whole)
        bent[position] ^= 0x41
        path.write_bytes(bent)
        try:
            assert Grammar.load(path) == FIXTURE
        except DamagedFile:
            damaged += 1
    assert damaged > len(whole) // 6


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    path, touched = tmp_path / "grammar.npz", tmp_path / "touched"
    rules = np.array([Touch(touched)], dtype=object)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, format=np.array("hierdiff.Grammar 1"), rules_0=rules)
    with pytest.raises(DamagedFile, match=r"grammar\.npz"):
        Grammar.load(path)
    assert not touched.exists()
    np.load(path, allow_pickle=True)["rules_0"]
    assert touched.exists()


def test_a_reader_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "grammar.npz"
    FIXTURE.save(path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        AMBIGUOUS.save(path)
        assert reader.read() == before
    assert Grammar.load(path) == AMBIGUOUS


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Grammar.load(tmp_path / "none.npz")
    with pytest.raises(InvalidParameter, match="cannot be written") as error:
        FIXTURE.save(tmp_path / "none" / "grammar.npz")
    one_line(error)


def test_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grammar.npz"
    FIXTURE.save(path)

    def interrupted(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AMBIGUOUS.save(path)
    assert Grammar.load(path) == FIXTURE
    assert [file.name for file in tmp_path.iterdir()] == ["grammar.npz"]


# --- views ----------------------------------------------------------------------------------------


@given(strategies.grammars())
@settings(deadline=None, max_examples=25)
def test_factor_graph_is_the_tree(grammar: Grammar) -> None:
    graph = grammar.to_networkx()
    variables = {node for node, part in graph.nodes(data="bipartite") if part == 0}
    factors = set(graph) - variables
    assert nx.is_arborescence(graph)
    assert nx.bipartite.is_bipartite_node_set(graph.to_undirected(), variables)
    assert len(variables) == sum(grammar.n_nodes(level) for level in range(grammar.L + 1))
    for level, position in variables:
        data = graph.nodes[level, position]
        assert (data["level"], data["position"]) == (level, position)
        assert data["n_states"] == grammar.v[level]
    for _, level, position in factors:
        data = graph.nodes["rule", level, position]
        assert np.array_equal(data["rules"], grammar.rules[level])
        assert np.array_equal(data["weights"], grammar.weights[level])
        assert list(graph.predecessors(("rule", level, position))) == [(level, position)]
        children = sorted(graph.out_edges(("rule", level, position), data="child"))
        s = grammar.s[level]
        assert [(edge[1], edge[2]) for edge in children] == [
            ((level + 1, position * s + j), j) for j in range(s)
        ]


def test_depth_truncates_the_factor_graph() -> None:
    grammar = RHM(4, 2, 2, 30).draw(seed=0)
    assert len(grammar.to_networkx(depth=0)) == 1
    assert len(grammar.to_networkx(depth=3)) == 15 + 7
    assert np.array_equal(grammar.to_networkx(depth=1).graph["root_prior"], grammar.root_prior)
    for depth in (-1, 31, 1.5):
        with pytest.raises(InvalidParameter, match="is no level"):
            grammar.to_networkx(depth=depth)  # type: ignore[arg-type]


def test_derivations_index_like_arrays() -> None:
    trees = FIXTURE.sample(6, seed=0)
    mask = np.array([True, False, True, False, False, True])
    for index, rows in (
        (slice(1, 4), [1, 2, 3]),
        (4, [4]),
        (-1, [5]),
        ([3, 0], [3, 0]),
        (mask, [0, 2, 5]),
    ):
        picked = trees[index]
        assert len(picked) == len(rows)
        assert all(
            np.array_equal(a, b[rows]) for a, b in zip(picked.levels, trees.levels, strict=True)
        )
    assert [len(trees[i]) for i in range(6)] == [1] * 6
    assert trees.leaves is trees.levels[-1]
    assert repr(trees) == "Derivations(n=6, nodes=(1, 2, 4))"
    with pytest.raises(IndexError):
        trees[6]


@pytest.mark.parametrize("shapes", [[], [(3, 1), (2, 2)], [(3,), (3, 2)]])
def test_derivations_need_one_array_per_level(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(InvalidParameter, match=r"^levels have shapes") as error:
        Derivations(tuple(np.zeros(shape, dtype=int) for shape in shapes))
    one_line(error)
