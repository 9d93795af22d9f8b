"""The fused kernel for CUDA, by the interpreter of triton on a processor, and compiled for a card.

A process of its own each time: triton reads its switches when it is imported.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles import one_line

from hierdiff import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.validation.exact_inference import engines, marginals

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed (torch for a processor comes without it)",
)

START = """
import numpy as np, torch
from hierdiff import RHM, Grammar, UniformNoise
from hierdiff.theory import posterior
from hierdiff.validation.exact_inference import engines, log_evidence, marginals

def grammar_of(seed, v, m, s):
    rng = np.random.default_rng(seed)
    rules = [rng.integers(v[l + 1], size=(v[l], m[l], s[l])) for l in range(len(m))]
    weights = [rng.dirichlet(np.ones(k), size=a) for a, k in zip(v, m)]
    return Grammar(rules, weights, rng.dirichlet(np.ones(v[0])), leaf_vocabulary=v[-1])

def compare(grammar, theta, root=None, atol=1e-5):
    exact = posterior(grammar, theta, root)
    given = torch.tensor(theta, dtype=torch.float32)
    found = marginals(grammar, given, root, engine="triton")
    for ours, theirs in zip(found, exact.marginals):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=atol)
    logs = log_evidence(grammar, given, root, engine="triton")
    np.testing.assert_allclose(logs.numpy(), exact.log_evidence, rtol=1e-5, atol=1e-5)
"""


def run(code: str, **environment: str) -> str:
    """Output of a program in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False, env={**os.environ, "TRITON_DEFAULT_FP_FUSION": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@needs_triton
@pytest.mark.parametrize(
    ("sizes", "cuts"),
    [
        ("(0, (2, 3, 4), (3, 2), (2, 3))", (0, 1)),
        ("(1, (3, 2, 5, 3), (2, 4, 1), (2, 4, 1))", (0, 2)),
    ],
)
def test_equal_to_the_processor_whole_and_cut(sizes: str, cuts: tuple[int, ...]) -> None:
    """Tiles that are full and not, weights, ambiguous rules, s from 1 to 4, classes."""
    run(
        f"""
grammar, cuts = grammar_of(*{sizes}), {cuts}
theta = 3 * np.random.default_rng(0).standard_normal((19, grammar.n_leaves, grammar.v[-1]))
for cut in cuts:
    engines._cut = lambda grammar, tiles, cut=cut: cut
    compare(grammar, theta)
    compare(grammar, theta, np.arange(19) % 2)
    # some levels alone
    given = torch.tensor(theta, dtype=torch.float32)
    for levels in ((0,), (1,), (-1,)):
        some = marginals(grammar, given, levels=levels, engine="triton")
        exact = posterior(grammar, theta, levels=levels).marginals
        for ours, theirs in zip(some, exact):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
""",
        TRITON_INTERPRET="1",
    )


@needs_triton
def test_evidence_out_of_range_gradients_and_bad_values() -> None:
    said = run(
        """
grammar = RHM(4, 2, 4, 2).draw(0)
rng = np.random.default_rng(0)
theta = np.full((17, 16, 4), -60.0)
np.put_along_axis(theta, rng.integers(4, size=(17, 16, 1)), 0.0, axis=2)
theta[3] = 0.0
compare(grammar, theta)
found = []
for engine in ("triton", "torch"):
    given = torch.tensor(rng.standard_normal((3, 16, 4)), dtype=torch.float32)
    given = torch.linspace(-1, 1, 192).reshape(3, 16, 4).requires_grad_()
    (first,) = torch.autograd.grad(log_evidence(grammar, given, engine=engine).sum(), given)
    p = marginals(grammar, given, engine=engine)[0]
    (second,) = torch.autograd.grad(p.square().sum(), given)
    found.append((first, second))
for ours, theirs in zip(*found):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
theta[5, 2, 1] = np.nan
np.seterr(all="ignore")
try:
    marginals(grammar, torch.tensor(theta, dtype=torch.float32), engine="triton")
except Exception as error:
    print(error)
""",
        TRITON_INTERPRET="1",
    )
    assert said.startswith("log_evidence of sample 5 is NaN at leaf 2, symbol 1")


@needs_triton
def test_it_compiles_for_a_card_that_is_not_here() -> None:
    said = run(
        """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hierdiff.validation.exact_inference._kernels.triton_tree import tree_passes as kernel

integers = {"exponents": "*i32", "sound": "*i32", "geometry": "*i32", "up": "*i32", "down": "*i32",
            "starts": "*i64"}
numbers = {"n", "items", "depth", "rows", "prior_stride", "stride_n"}
flags = {"V": 32, "LANES": engines.LANES, "LOGARITHMS": True, "DOWNWARD": True, "GIVEN": True,
         "RAW": False}
kind = lambda name: integers.get(name, "i32" if name in numbers else "*fp32")
signature = {k: "constexpr" if k in flags else kind(k) for k in kernel.arg_names}
constants = {(kernel.arg_names.index(k),): x for k, x in flags.items()}
source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
print("bar.sync" in made.asm["ptx"], "st.global.cs" in made.asm["ptx"])
print(made.metadata.shared < 2**15)
"""
    )
    assert said.split() == ["True", "True", "True"]


def test_why_it_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    grammar = RHM(4, 2, 2, 2).draw(0)
    with pytest.raises(InvalidParameter, match=r"engine = 'triton' needs .*engine='auto'") as error:
        marginals(grammar, torch.zeros(2, 4, 4), engine="triton")
    one_line(error)
    # as if it were there
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert "CUDA device" in engines._no_triton(grammar, torch.zeros(2, 4, 4))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not engines._no_triton(grammar, torch.zeros(2, 4, 4))
    assert "float32" in engines._no_triton(grammar, torch.zeros(2, 4, 4, dtype=torch.float64))
    long = Grammar([[[[0] * 9]]], leaf_vocabulary=2)
    assert "rules of up to 8 symbols" in engines._no_triton(long, torch.zeros(2, 9, 2))
    deep = RHM(32, 8, 2, 24).draw(0)
    theta = torch.zeros(1).expand(1, 2**24, 32)
    assert "tree of this depth" in engines._no_triton(deep, theta)


@pytest.mark.parametrize("tiles", [1, 16, 1000])
def test_a_tree_is_cut_where_its_subtrees_fit(tiles: int) -> None:
    grammar = RHM(32, 8, 2, 10).draw(0)
    cut = engines._cut(grammar, tiles)
    assert engines._bytes(grammar, cut, 10) <= engines._BLOCK_BYTES
    assert grammar.n_nodes(cut) * tiles >= engines._PROGRAMS or cut == 8
    small = RHM(4, 2, 2, 3).draw(0)
    assert engines._cut(small, 1000) == 0
