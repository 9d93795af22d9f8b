"""What computes a batch: compiled passes of the processor, a fused kernel, or batched operations.

=========  =======================================================================================
engine     where "auto" takes it
=========  =======================================================================================
compiled   on a processor: marginals and log-evidence by :mod:`hierdiff.theory.belief_propagation`,
           tens of times faster there than batched operations
triton     on CUDA in float32, where triton can be imported and the messages of a block fit: both
           passes of a block of the tree in one kernel, a tile of samples per program
torch      else: any device, derivatives of marginals, rule counts, weights and priors as tensors
=========  =======================================================================================

All agree to rounding, and all compute samples beyond the range of the type again in the same way.

The fused kernel cuts a large tree at one level, as the compiled passes do.  The subtrees send up
their root messages, the tree above them makes the messages back, and the subtrees are passed
through again, so that nothing but root messages and results leaves the caches.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hierdiff.checks import one_of
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.validation.exact_inference.passes import (
    REACH,
    Direction,
    Found,
    Jet,
    Linear,
    Tables,
    Wanted,
    done_again,
    infer,
    wide,
)

__all__: list[str] = []  # used inside this folder only

ENGINES = ("auto", "torch", "triton")
LANES = 16
"""Samples of a tile: a line of 64 bytes per symbol."""

_SLOTS = 8  # symbols of a rule that the tables of the kernel have room for
_SYMBOLS = 128  # a message of this many symbols and LANES samples fills the registers of a program
_BLOCK_BYTES = 320 << 10  # scratch of a subtree: what the caches hold for a few programs per core
_SCRATCH_BYTES = 1 << 30  # scratch of all programs together
_PROGRAMS = 264  # two per multiprocessor of the larger cards


def engine_of(value: object) -> str:
    """The name of an engine, checked."""
    return str(one_of("engine", value, ENGINES))


def computed(
    tables: Tables, theta: Tensor, log_root: Tensor, log_weights: Sequence[Tensor],
    wanted: Wanted, direction: Direction | None = None, *, engine: str = "auto",
) -> Found:  # fmt: skip
    """The passes of a batch, by the fastest engine that can do what is wanted."""
    plain = direction is None and not log_weights and not wanted.counts and len(theta) > 0
    if plain and engine == "auto" and theta.device.type == "cpu":
        own = log_root.data_ptr() == tables.log_prior.data_ptr()
        root = None if own else _classes(log_root)
        if own or root is not None:
            return _compiled(tables, theta, root, wanted)
    if engine == "triton" or (plain and engine == "auto" and theta.device.type == "cuda"):
        reason = _no_triton(tables.grammar, theta)
        if engine == "triton" and reason:
            raise InvalidParameter(f"engine = 'triton' {reason}; give engine='auto'")
        if plain and not reason:
            found = fused(tables, theta, log_root, wanted)
            return done_again(tables, theta, log_root, (), wanted, Direction(), found)
    return infer(tables, theta, log_root, log_weights, wanted, direction)


# ---------------------------------------------------------------------------- compiled passes


def _classes(log_root: Tensor) -> NDArray[np.int64] | None:
    """The class of every sample, where each has one."""
    if log_root.ndim != 2 or not bool((torch.isfinite(log_root).sum(1) == 1).all()):
        return None
    return np.asarray(log_root.argmax(1).numpy())


def _compiled(
    tables: Tables, theta: Tensor, root: NDArray[np.int64] | None, wanted: Wanted
) -> Found:
    """The compiled passes, which do their own extreme samples again."""
    values = theta.detach().numpy()
    found = posterior(tables.grammar, values, root, values.dtype, levels=wanted.levels)
    return Found(
        torch.from_numpy(found.log_evidence).to(wide(theta.device)),
        {
            level: Jet(torch.from_numpy(found.marginals[level]).permute(2, 1, 0))
            for level in wanted.levels
        },
        {},
        torch.ones(len(theta), dtype=torch.bool),
    )


# ------------------------------------------------------------------------------ the fused kernel


def _no_triton(grammar: Grammar, theta: Tensor) -> str:
    """Why the fused kernel cannot be used; empty if it can."""
    if importlib.util.find_spec("triton") is None:
        return "needs the package triton, which is not installed"
    # the interpreter of triton runs a kernel on a processor, slowly: for tests
    if theta.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"needs a CUDA device, and the evidence is on {theta.device}"
    if theta.dtype != torch.float32:
        return f"computes in float32, and the evidence is {theta.dtype}"
    if max(grammar.s) > _SLOTS or max(grammar.v) > _SYMBOLS:
        return f"takes rules of up to {_SLOTS} symbols out of {_SYMBOLS}, and the grammar has more"
    tiles = -(-len(theta) // LANES)
    cut = _cut(grammar, tiles)
    programs = min(tiles, _programs(theta.device))
    if programs * _bytes(grammar, 0, cut or grammar.L) > _SCRATCH_BYTES:
        return "has no room for the messages of a tree of this depth"
    return ""


def _padded(grammar: Grammar) -> int:
    """Symbols of a row of scratch: a power of two."""
    return max(2, 1 << (max(grammar.v) - 1).bit_length())


def _rows(grammar: Grammar, top: int, bottom: int) -> list[int]:
    """Nodes of the levels of one subtree."""
    return [grammar.n_nodes(x) // grammar.n_nodes(top) for x in range(top, bottom + 1)]


def _bytes(grammar: Grammar, top: int, bottom: int) -> int:
    """Scratch of a program for a block."""
    return 4 * sum(_rows(grammar, top, bottom)) * (2 * _padded(grammar) + 2) * LANES


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return 3
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


def _cut(grammar: Grammar, tiles: int) -> int:
    """Level at which the tree is cut, 0 for none: blocks that fit, and enough of them."""
    for level in range(grammar.L):
        enough = grammar.n_nodes(level) * tiles >= _PROGRAMS or level + 2 >= grammar.L
        if _bytes(grammar, level, grammar.L) <= _BLOCK_BYTES and enough:
            return level
    return grammar.L - 1


class _Block(NamedTuple):
    """Tables of the levels ``top`` .. ``bottom``, as the kernel reads them."""

    geometry: Tensor
    up: Tensor
    up_weights: Tensor
    down: Tensor
    down_weights: Tensor
    rows: int


@functools.lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # it is kept, and a later call may want derivatives
def _block(
    grammar: Grammar, top: int, bottom: int, wanted: tuple[int, ...], device: torch.device
) -> _Block:
    from hierdiff.validation.exact_inference._kernels import triton_tree as kernel

    nodes = _rows(grammar, top, bottom)
    geometry = np.zeros((len(nodes), kernel.FIELDS), np.int32)
    geometry[:, kernel.NODES] = nodes
    geometry[:, kernel.ROW] = np.concatenate([[0], np.cumsum(nodes)[:-1]])
    geometry[:, kernel.SYMBOLS] = grammar.v[top : bottom + 1]
    geometry[:, kernel.WRITE] = [level in wanted for level in range(top, bottom + 1)]
    parts: list[list[NDArray[Any]]] = [[], [], [], []]
    for row, level in enumerate(range(top, bottom)):
        rules, weights = grammar.rules[level], grammar.weights[level]
        v, m, s = rules.shape
        geometry[row, [kernel.RULES, kernel.BRANCHES]] = m, s
        geometry[row, kernel.UP] = sum(map(len, parts[1]))
        geometry[row, kernel.DOWN] = sum(map(len, parts[3]))
        up = np.zeros((m * v, _SLOTS), np.int32)
        up[:, :s] = rules.transpose(1, 0, 2).reshape(m * v, s)
        flat, owner = rules.reshape(v * m, s), np.repeat(np.arange(v), m)
        below = grammar.v[level + 1]
        width = max(int(np.bincount(flat[:, j], minlength=below).max()) for j in range(s))
        geometry[row, kernel.WIDTH] = width
        down = np.full((s, width, below, _SLOTS), -1, np.int32)
        down_weights = np.zeros((s, width, below), np.float32)
        for j in range(s):
            others = np.delete(flat, j, axis=1)
            for b in range(below):
                used = np.flatnonzero(flat[:, j] == b)
                down[j, : len(used), b, 0] = owner[used]
                down[j, : len(used), b, 1:s] = others[used]
                down_weights[j, : len(used), b] = weights.reshape(-1)[used]
        parts[0].append(up)
        parts[1].append(weights.T.reshape(-1).astype(np.float32))
        parts[2].append(down.reshape(-1, _SLOTS))
        parts[3].append(down_weights.reshape(-1))
    tables = [torch.from_numpy(np.concatenate(x)).to(device) for x in parts]
    up_table, up_weights, down_table, down_weight = tables
    return _Block(
        torch.from_numpy(geometry).to(device), up_table, up_weights, down_table, down_weight,
        sum(nodes),
    )  # fmt: skip


@dataclass
class _Sent:
    """What a block returns besides marginals, a line per subtree."""

    root: Tensor  # [subtrees, v, n], or messages back to the leaves of the block
    exponents: Tensor
    reach: Tensor
    sound: Tensor
    tops: Tensor
    log_z: Tensor = field(default_factory=lambda: torch.empty(0))


class _Output(NamedTuple):
    """Marginals of the wanted levels, one after another: [nodes, v, n] each."""

    values: Tensor
    starts: dict[int, int]

    def place(self, top: int, bottom: int) -> Tensor:
        """Where the levels of a block begin."""
        found = tuple(self.starts.get(level, 0) for level in range(top, bottom + 1))
        return _places(found, self.values.device)

    def level(self, grammar: Grammar, level: int, n: int) -> Tensor:
        """Marginals [v, nodes, n] of a level, a view."""
        nodes, v, start = grammar.n_nodes(level), grammar.v[level], self.starts[level]
        return self.values[start : start + nodes * v * n].view(nodes, v, n).transpose(0, 1)


@functools.lru_cache(maxsize=256)
@torch.inference_mode(mode=False)
def _places(starts: tuple[int, ...], device: torch.device) -> Tensor:
    # kept, since a copy to the device makes the processor wait
    return torch.tensor(starts, dtype=torch.int64, device=device)


def _output(grammar: Grammar, theta: Tensor, levels: tuple[int, ...]) -> _Output:
    starts, size = {}, 0
    for level in levels:
        starts[level] = size
        size += grammar.n_nodes(level) * grammar.v[level] * len(theta)
    return _Output(theta.new_empty(max(size, 1)), starts)


def fused(tables: Tables, theta: Tensor, log_root: Tensor, wanted: Wanted) -> Found:
    """Both passes by the fused kernel, on float32 evidence."""
    grammar, n = tables.grammar, len(theta)
    cut = _cut(grammar, -(-n // LANES))
    prior, out = log_root.exp(), _output(grammar, theta, wanted.levels)
    down = bool(wanted.levels)
    high = tuple(level for level in wanted.levels if level < cut or not cut)
    low = tuple(level for level in wanted.levels if level >= cut and cut)
    theta = theta.contiguous()
    if not cut:
        whole = _launch(grammar, 0, grammar.L, high, theta, out, prior=prior, downward=down)
        return _found(whole, whole, prior, out, grammar, wanted, n)
    below = _launch(grammar, cut, grammar.L, (), theta, out)
    above = _launch(
        grammar, 0, cut, high, below.root, out, prior=prior, downward=down, reach=below.reach
    )
    if low:
        _launch(grammar, cut, grammar.L, low, theta, out, given=above.root, downward=True)
    return _found(above, below, prior, out, grammar, wanted, n)


def _launch(
    grammar: Grammar, top: int, bottom: int, wanted: tuple[int, ...], leaves: Tensor, out: _Output,
    *, prior: Tensor | None = None, given: Tensor | None = None, reach: Tensor | None = None,
    downward: bool = False,
) -> _Sent:  # fmt: skip
    """The kernel over all subtrees of a block; evidence of leaves, or messages [nodes, v, n]."""
    from hierdiff.validation.exact_inference._kernels.triton_tree import tree_passes

    logarithms = bottom == grammar.L
    n, device = leaves.shape[0 if logarithms else 2], leaves.device
    subtrees, tiles = grammar.n_nodes(top), -(-n // LANES)
    block = _block(grammar, top, bottom, wanted, device)
    raw = downward and not logarithms
    level = bottom if raw else top
    lines = (subtrees, n)

    def new(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    sent = _Sent(
        new((grammar.n_nodes(level), grammar.v[level], n)), new(lines, torch.int32), new(lines),
        new(lines, torch.int32), new((grammar.n_nodes(bottom) if logarithms else 1, n)),
        new((n,)),
    )  # fmt: skip
    items = subtrees * tiles
    programs = min(items, _programs(device))
    scratch = new((programs * _bytes(grammar, top, bottom) // 4,))
    nothing = sent.log_z
    tree_passes[(programs,)](
        leaves, nothing if prior is None else prior, nothing if given is None else given,
        out.values, sent.root, sent.exponents, sent.reach, nothing if reach is None else reach,
        sent.log_z, sent.sound, sent.tops, scratch, block.geometry, block.up, block.up_weights,
        block.down, block.down_weights, out.place(top, bottom), n, items, bottom - top,
        block.rows, prior.stride(0) if prior is not None and prior.ndim == 2 else 0,
        leaves.stride(0) if logarithms else 0, V=_padded(grammar), LANES=LANES,
        LOGARITHMS=logarithms, DOWNWARD=downward, GIVEN=given is not None, RAW=raw,
        num_warps=4, num_stages=1,
    )  # fmt: skip
    return sent


def _found(
    above: _Sent, below: _Sent, prior: Tensor, out: _Output, grammar: Grammar, wanted: Wanted,
    n: int,
) -> Found:  # fmt: skip
    """The results of all blocks together."""
    log_z = above.log_z
    if not wanted.levels:  # no downward pass, which has the sum over classes
        log_z = (prior.expand(n, -1).T * above.root[0]).sum(0).log()
    exponents = above.exponents.sum(0, dtype=torch.float64)
    sound = above.sound.all(0)
    if below is not above:
        exponents = exponents + below.exponents.sum(0, dtype=torch.float64)
        sound = below.sound.all(0)
    reach = above.reach[0] + log_z / Linear.unit
    fine = (reach >= REACH[torch.float32]) & torch.isfinite(log_z) & sound
    logs = log_z + exponents * Linear.unit + below.tops.sum(0, dtype=torch.float64)
    levels = {level: Jet(out.level(grammar, level, n)) for level in wanted.levels}
    return Found(logs, levels, {}, fine)
