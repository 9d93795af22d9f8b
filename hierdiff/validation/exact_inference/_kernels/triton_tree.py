"""Both passes over one block of a tree, for one tile of samples per program, in Triton.

=============  ==================================================================================
word           meaning
=============  ==================================================================================
block          levels 0 .. depth of a tree, or of every subtree of a tree below a cut
item           one subtree and one tile of LANES neighbouring samples; programs take items in turn
row            V * LANES numbers of scratch: the message of one node, lanes fastest
geometry       int32 [depth + 1, FIELDS]: sizes and places of every level, see the names below
=============  ==================================================================================

A program computes upward messages from the leaves of its block to the root and, unless only the
root is wanted, downward messages back, and writes marginals as they are made, past the caches.  The
messages of an item lie in scratch of its program, which the caches hold.  All sizes of the grammar
are read from tables, so one compilation serves every grammar of up to V symbols.

A message is scaled by 2**-e, e the exponent of its largest symbol, in bits of the number itself.
Scratch that one thread writes is read by others of the program, hence the barriers.
"""

from __future__ import annotations

from typing import Any

__all__ = ["tree_passes"]

# columns of the geometry
SYMBOLS, RULES, BRANCHES, NODES, ROW, UP, DOWN, WIDTH, WRITE = range(9)
FIELDS = 9

tree_passes: Any = None

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for a processor comes without it
    triton = None

if triton is not None:

    @triton.jit
    def _scaled(raw):
        """A message [V, LANES] times 2**-e, the factor, and e [LANES]."""
        top = tl.max(raw, axis=0)
        exponent = (top.to(tl.int32, bitcast=True) >> 23) - 126
        # 2**-e lies in the range of normal numbers for every normal top
        factor = ((127 - exponent) << 23).to(tl.float32, bitcast=True)
        return raw * factor[None, :], factor, exponent

    @triton.jit
    def tree_passes(
        leaves, prior, given, out, root, exponents, reach, reach_below, log_z, sound, tops,
        scratch, geometry, up, up_weights, down, down_weights, starts,
        n, items, depth, rows, prior_stride, stride_n,
        V: tl.constexpr, LANES: tl.constexpr, LOGARITHMS: tl.constexpr, DOWNWARD: tl.constexpr,
        GIVEN: tl.constexpr, RAW: tl.constexpr,
    ):  # fmt: skip
        program, programs = tl.program_id(0), tl.num_programs(0)
        symbol, lane = tl.arange(0, V), tl.arange(0, LANES)
        tile = symbol[:, None] * LANES + lane[None, :]
        row_size = V * LANES
        own = scratch + program.to(tl.int64) * (rows * (2 * row_size + 2 * LANES))
        upward = own
        downward = own + rows * row_size
        factors = own + 2 * rows * row_size
        reaches = factors + rows * LANES
        tiles = (n + LANES - 1) // LANES
        for item in range(program, items, programs):
            tree = item // tiles
            column = (item % tiles) * LANES + lane
            live = column < n
            column64 = column.to(tl.int64)
            # ---------------------------------------------------------------- leaves of the block
            last = geometry + depth * 9
            v = tl.load(last + 0)
            nodes = tl.load(last + 3)
            first = tl.load(last + 4)
            inside = (symbol < v)[:, None] & live[None, :]
            good = lane >= 0
            for i in range(0, nodes):
                node = (tree * nodes + i).to(tl.int64)
                if LOGARITHMS:
                    place = column64[None, :] * stride_n + node * v + symbol[:, None]
                    theta = tl.load(leaves + place, mask=inside, other=float("-inf"))
                    theta = tl.where(live[None, :], theta, 0.0).to(tl.float32)
                    top = tl.max(theta, axis=0)
                    message = tl.exp(theta - top[None, :])
                    tl.store(tops + node * n + column64, top, mask=live)
                    # NaN for a leaf with NaN, +inf, or -inf alone
                    good = good & (tl.sum(message, axis=0) > 0.0)
                    least = tl.zeros([LANES], tl.float32)
                else:
                    place = (node * v + symbol[:, None]) * n + column64[None, :]
                    message = tl.load(leaves + place, mask=inside, other=0.0)
                    message = tl.where(live[None, :], message, 1.0)
                    least = tl.load(reach_below + node * n + column64, mask=live, other=0.0)
                tl.store(upward + (first + i) * row_size + tile, message)
                tl.store(reaches + (first + i) * LANES + lane, least)
            tl.debug_barrier()
            # ------------------------------------------------------------------------- upward
            total = tl.zeros([LANES], tl.int32)
            for step in range(0, depth):
                level = geometry + (depth - 1 - step) * 9
                v = tl.load(level + 0)
                m = tl.load(level + 1)
                s = tl.load(level + 2)
                nodes = tl.load(level + 3)
                first = tl.load(level + 4)
                table = tl.load(level + 5)
                below = tl.load(level + 9 + 4)
                known = symbol < v
                for i in range(0, nodes):
                    raw = tl.zeros([V, LANES], tl.float32)
                    for k in range(0, m):
                        entry = table + k * v + symbol
                        weight = tl.load(up_weights + entry, mask=known, other=0.0)
                        term = tl.zeros([V, LANES], tl.float32) + weight[:, None]
                        for j in range(0, s):
                            written = tl.load(up + entry * 8 + j, mask=known, other=0)
                            slot = (below + i * s + j) * row_size + written * LANES
                            term *= tl.load(upward + slot[:, None] + lane[None, :])
                        raw += term
                    message, factor, exponent = _scaled(raw)
                    least = tl.load(reaches + (below + i * s) * LANES + lane)
                    for j in range(1, s):
                        other = tl.load(reaches + (below + i * s + j) * LANES + lane)
                        least = tl.minimum(least, other)
                    tl.store(upward + (first + i) * row_size + tile, message)
                    tl.store(factors + (first + i) * LANES + lane, factor)
                    tl.store(reaches + (first + i) * LANES + lane, least + exponent)
                    total += exponent
                tl.debug_barrier()
            v = tl.load(geometry + 0)
            inside = (symbol < v)[:, None] & live[None, :]
            at = tree.to(tl.int64) * n + column64
            tl.store(exponents + at, total, mask=live)
            tl.store(sound + at, good.to(tl.int32), mask=live)
            tl.store(reach + at, tl.load(reaches + lane), mask=live)
            place = (tree.to(tl.int64) * v + symbol[:, None]) * n + column64[None, :]
            top_message = tl.load(upward + tile)
            if not DOWNWARD:
                tl.store(root + place, top_message, mask=inside)
            # ------------------------------------------------------------------------ downward
            if DOWNWARD:
                if GIVEN:
                    from_above = tl.load(given + place, mask=inside, other=0.0)
                else:
                    p = tl.load(
                        prior + column64[None, :] * prior_stride + symbol[:, None],
                        mask=inside, other=0.0,
                    )  # fmt: skip
                    z = tl.where(live, tl.sum(p * top_message, axis=0), 1.0)
                    tl.store(log_z + column, tl.log(z), mask=live)
                    from_above = p / z[None, :]
                if tl.load(geometry + 8) > 0:
                    first_out = out + tl.load(starts + 0)
                    tl.store(
                        first_out + place, top_message * from_above, mask=inside,
                        cache_modifier=".cs",
                    )  # fmt: skip
                root_factor = tl.load(factors + lane)
                tl.store(downward + tile, from_above * root_factor[None, :])
                tl.debug_barrier()
                for l in range(0, depth):
                    level = geometry + l * 9
                    s = tl.load(level + 2)
                    nodes = tl.load(level + 3)
                    first = tl.load(level + 4)
                    table = tl.load(level + 6)
                    width = tl.load(level + 7)
                    below = tl.load(level + 9 + 4)
                    v = tl.load(level + 9 + 0)
                    wanted = tl.load(level + 9 + 8)
                    start = tl.load(starts + l + 1)
                    known = symbol < v
                    inside = known[:, None] & live[None, :]
                    for child in range(0, nodes * s):
                        i = child // s
                        j = child % s
                        message = tl.zeros([V, LANES], tl.float32)
                        for c in range(0, width):
                            entry = table + (j * width + c) * v + symbol
                            parent = tl.load(down + entry * 8, mask=known, other=-1)
                            used = parent >= 0
                            weight = tl.load(down_weights + entry, mask=used, other=0.0)
                            slot = (first + i) * row_size + parent * LANES
                            mask = used[:, None] & (lane < LANES)[None, :]
                            term = tl.load(
                                downward + slot[:, None] + lane[None, :], mask=mask, other=0.0
                            )
                            term *= weight[:, None]
                            for q in range(1, s):
                                sibling = tl.where(q <= j, q - 1, q)
                                b = tl.load(down + entry * 8 + q, mask=used, other=0)
                                beside = (below + i * s + sibling) * row_size + b * LANES
                                term *= tl.load(
                                    upward + beside[:, None] + lane[None, :], mask=mask, other=0.0
                                )
                            message += term
                        own_row = below + child
                        node = tree.to(tl.int64) * nodes * s + child
                        here = (node * v + symbol[:, None]) * n + column64[None, :]
                        if RAW:  # noqa: SIM102, it is compiled away
                            if l == depth - 1:
                                tl.store(root + here, message, mask=inside)
                        if wanted > 0:
                            belief = message * tl.load(upward + own_row * row_size + tile)
                            tl.store(out + start + here, belief, mask=inside, cache_modifier=".cs")
                        if l < depth - 1:
                            scale = tl.load(factors + own_row * LANES + lane)
                            tl.store(downward + own_row * row_size + tile, message * scale[None, :])
                    tl.debug_barrier()
            # the next item writes into the same scratch
            tl.debug_barrier()
