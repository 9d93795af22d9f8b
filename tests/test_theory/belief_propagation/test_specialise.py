"""Rules of a grammar as code: the same bits as from the table, kept on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import oracles
import pytest

from hierdiff import RHM, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import posterior, specialise, true_beliefs
from hierdiff.theory.belief_propagation import passes
from hierdiff.theory.belief_propagation._kernels import layout, specialised


def mixed(seed: int) -> Grammar:
    """Two, four, three and two children; sizes that fill no vector; weights at one level."""
    rng = np.random.default_rng(seed)
    sizes, branches, rules = (5, 7, 19, 6, 4), (2, 4, 3, 2), 3
    tables, weights = [], []
    for level, s in enumerate(branches):
        v, below = sizes[level], sizes[level + 1]
        chosen = rng.choice(below**s, size=v * rules, replace=below**s < v * rules)
        tables.append(np.stack(np.unravel_index(chosen, (below,) * s), -1).reshape(v, rules, s))
        weights.append(rng.dirichlet(np.ones(rules), v) if level == 3 else None)
    filled = [np.full(t.shape[:2], 1 / rules) if w is None else w
              for t, w in zip(tables, weights, strict=True)]  # fmt: skip
    return Grammar(tables, weights=filled)


GRAMMARS = {
    "v 16, s 2": (lambda: RHM(16, 4, 2, 5).draw(11), 5),
    "more symbols than registers": (lambda: RHM(37, 5, 2, 3).draw(11), 3),
    "v 8, s 4": (lambda: RHM(8, 2, 4, 3).draw(11), 3),
    "v 19, s 4": (lambda: RHM(19, 3, 4, 2).draw(11), 2),
    "one rule": (lambda: RHM(6, 1, 2, 4).draw(11), 4),
    "three children": (lambda: RHM(6, 2, 3, 2).draw(11), 0),
    "mixed": (lambda: mixed(3), 2),
}


def everything(grammar: Grammar, n: int, dtype: str) -> list[np.ndarray]:
    noise, truth = UniformNoise(grammar.v[-1]), grammar.sample(n, 1)
    x_t = noise.corrupt(truth.leaves, 0.4, 2)
    found: list[np.ndarray] = []
    extreme = np.random.default_rng(3).normal(0, 20, (n, grammar.n_leaves, grammar.v[-1]))
    for evidence in (noise.evidence(x_t, 0.4), noise.log_evidence(x_t, 0.4), extreme):
        p = posterior(grammar, evidence, dtype=dtype)
        b = true_beliefs(grammar, evidence, truth, dtype=dtype)
        found += [*p.marginals, *p.up, *p.down, p.log_evidence, *p.sample(4).levels]
        found += [*b.marginal, *b.upward, *b.square, b.log_evidence]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", GRAMMARS)
def test_the_same_bits_as_from_the_table(name: str, dtype: str) -> None:
    """Whole and cut trees, in one type; the other one keeps its tables."""
    make, levels = GRAMMARS[name]
    grammar = make()
    passes.known(grammar).code.clear()
    passes.known(grammar).plans.clear()
    before = [everything(grammar, n, dtype) for n in (1, 37)]
    assert specialise(grammar, dtype) == levels
    after = [everything(grammar, n, dtype) for n in (1, 37)]
    plans = passes.known(grammar).plans.values()
    assert len(plans) >= 1
    codes = [p.geometry[:-1, [layout.UP_CODE, layout.DOWN_CODE]] for p in plans if p.dtype == dtype]
    assert sum(np.count_nonzero(code.all(axis=1)) for code in codes) >= levels
    trees = [p.template[[layout.UP_TREE, layout.DOWN_TREE]].all() for p in plans]
    assert any(trees) == (levels == grammar.L)
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_trees_write_the_levels_that_are_wanted(dtype: str) -> None:
    """Batches of one tile, several and a part of one; masked leaves; draws and beliefs too."""
    grammar = RHM(9, 3, 4, 3).draw(13)
    noise, others = MaskingNoise(9), ((), (0,), (1,), (3,), (0, 2), (0, 1, 2, 3))
    cases = [(n, levels) for n in (16, 33, 50) for levels in others]
    found = []
    for _ in range(2):
        for n, levels in cases:
            truth = grammar.sample(n, n)
            x_t = noise.corrupt(truth.leaves, 0.6, 2)
            p = posterior(grammar, noise.evidence(x_t, 0.6), dtype=dtype, levels=levels)
            b = true_beliefs(grammar, noise.evidence(x_t, 0.6), truth, dtype=dtype)
            found.append([*p.marginals, p.log_evidence, *p.sample(3).levels, *b.square])
        plans = passes.known(grammar).plans.values()
        kept = [p.template[layout.DOWN_TREE] != 0 for p in plans if p.dtype == dtype]
        assert any(kept) == (len(found) > len(cases))
        specialise(grammar, dtype)
    for one, other in zip(found[: len(cases)], found[len(cases) :], strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_plain_twin() -> None:
    for make, _ in GRAMMARS.values():
        grammar = make()
        specialise(grammar)
        log_psi = np.random.default_rng(5).normal(0, 2, (2, grammar.n_leaves, grammar.v[-1]))
        found = posterior(grammar, log_psi)
        for i in range(2):
            _, _, marginals, log_z = oracles.message_passing(grammar, log_psi[i])
            assert found.log_evidence[i] == pytest.approx(log_z, rel=1e-12)
            for one, other in zip(found.marginals, marginals, strict=True):
                np.testing.assert_allclose(one[i], other, atol=1e-12)


def test_registers_of_half_a_line_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for processors without AVX-512 runs on those with it, too."""
    for dtype in ("float32", "float64"):
        grammar = RHM(13, 3, 2, 4).draw(12)
        expected = everything(grammar, 20, dtype)
        monkeypatch.setenv(specialised.REGISTERS, "32")
        assert specialise(grammar, dtype) == 4
        for one, other in zip(expected, everything(grammar, 20, dtype), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_width_of_registers_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read from the disk by other processes; anything else there is measured again."""
    monkeypatch.delenv(specialised.REGISTERS, raising=False)
    found = specialised._measured
    measured: list[bool] = []
    monkeypatch.setattr(specialised, "_measured", lambda: (measured.append(True), False)[1])

    def chosen(folder: Path | None) -> bool:
        monkeypatch.setattr(specialised, "_CHOSEN", {})
        specialised.wide_registers(None if folder is None else str(folder))
        return specialised.wide_registers(None if folder is None else str(folder))

    assert (chosen(tmp_path), len(measured)) == (False, 1)
    assert (chosen(tmp_path), len(measured)) == (False, 1)
    (path,) = tmp_path.iterdir()
    path.write_text("64")
    assert (chosen(tmp_path), len(measured)) == (True, 1)
    path.write_bytes(b"\xff")
    assert (chosen(tmp_path), len(measured)) == (False, 2)
    assert path.read_text() == "32"
    assert (chosen(None), len(measured)) == (False, 3)
    assert (chosen(path / "no folder"), len(measured)) == (False, 4)
    for words, wide in (("64", True), ("32", False)):
        monkeypatch.setenv(specialised.REGISTERS, words)
        assert (chosen(tmp_path), len(measured)) == (wide, 4)
    monkeypatch.setenv(specialised.REGISTERS, "16")
    with pytest.raises(InvalidParameter, match="HIERDIFF_REGISTERS = '16' must be one of"):
        chosen(tmp_path)
    monkeypatch.setattr(specialised, "_measured", found)
    with specialised.global_compiler_lock:
        assert specialised._measured() in (True, False)


def test_code_is_kept_on_disk_and_damage_costs_a_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RHM(5, 2, 2, 1).draw(3).rules[0]
    codegen = specialised.cpu_target.target_context.codegen()
    monkeypatch.setattr(specialised, "_MADE", {})
    specialised.code_of(rule, 5, np.dtype(np.float64), str(tmp_path / "new"))
    (path,) = (tmp_path / "new").glob("rules_*")
    whole = path.read_bytes()
    assert specialised._read(codegen, path.stem, path) is not None
    for damaged in (b"", whole[:50], whole[:-1], whole[:100] + b"x" + whole[101:]):
        path.write_bytes(damaged)
        assert specialised._read(codegen, path.stem, path) is None
    specialised._MADE.clear()
    specialised.code_of(rule, 5, np.dtype(np.float64), str(path.parent))
    assert specialised._read(codegen, path.stem, path) is not None
    # another rule, type or number of symbols is other code
    other = rule.copy()
    other[0, 0, 0] = (other[0, 0, 0] + 1) % 5
    specialised.code_of(other, 5, np.dtype(np.float64), str(path.parent))
    specialised.code_of(rule, 5, np.dtype(np.float32), str(path.parent))
    specialised.code_of(rule, 6, np.dtype(np.float64), str(path.parent))
    assert len(list(path.parent.glob("rules_*"))) == 4
    # a folder that cannot be written
    (tmp_path / "file").write_text("")
    specialised._MADE.clear()
    code = specialised.code_of(other, 5, np.dtype(np.float32), str(tmp_path / "file" / "below"))
    assert code.up
    assert code.down


def test_another_process_finds_the_code(tmp_path: Path) -> None:
    program = (
        "import numpy as np, sys; from hierdiff import RHM; from hierdiff.theory import posterior, "
        "specialise; from hierdiff.theory.belief_propagation import passes; "
        "from hierdiff.theory.belief_propagation._kernels import specialised as s\n"
        "wrote, keep, code_of = [], s._keep, s.code_of\n"
        "s._keep = lambda *a: (wrote.append(1), keep(*a))\n"
        "passes.code_of = lambda *a: code_of(*a[:3], sys.argv[1])\n"
        "tree = s.tree_code_of; passes.tree_code_of = lambda *a: tree(*a[:2], sys.argv[1])\n"
        "g = RHM(6, 2, 2, 2).draw(4); specialise(g)\n"
        "x = np.random.default_rng(0).normal(size=(3, 4, 6))\n"
        "print(len(wrote), posterior(g, x).log_evidence.tobytes().hex())"
    )
    lines = []
    for _ in range(2):
        words = [sys.executable, "-c", program, str(tmp_path)]
        lines.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    x = np.random.default_rng(0).normal(size=(3, 4, 6))
    expected = posterior(RHM(6, 2, 2, 2).draw(4), x).log_evidence.tobytes().hex()
    assert [line.split() for line in lines] == [["3", expected], ["0", expected]]
