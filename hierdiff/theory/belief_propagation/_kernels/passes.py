"""Both passes over many tiles, and what they leave behind: messages, beliefs, samples.

Two functions are compiled, once per number type each: ``lines`` for marginals and messages,
``numbers`` for beliefs and samples.  A study that needs one does not wait for the other.
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation._kernels.layout import (
    ALIGNED,
    ALONE,
    BELIEFS,
    BELIEFS_SIZE,
    BELL,
    BRANCHES,
    BUSY,
    CALLS,
    DONE,
    DOWN_TREE,
    DOWNWARD,
    DRAWN,
    FIRST,
    HEAD,
    HEARD,
    LAST_DOWN,
    LENGTH,
    LOWEST,
    MARGINAL,
    NAME,
    NEXT,
    NODES,
    NORMALISE,
    NUMBERS,
    ON,
    OPEN,
    RANG,
    REPEATS,
    ROLE,
    ROOT_NUMBERS,
    ROWS,
    RULES,
    STACK,
    STEP,
    STRIDE,
    SYMBOLS,
    SYMBOLS_SEEN,
    TAKEN,
    TILES,
    TO,
    TOPS,
    TRUTH,
    UP,
    UPWARD,
    UPWARD_DONE,
    VALUES,
    WAIT,
    WAIT_NAME,
    WEIGHTED,
    WHAT,
    WITHIN,
    of,
    task_of,
    turn_to,
)
from hierdiff.theory.belief_propagation._kernels.leaves import load_leaves, prepare
from hierdiff.theory.belief_propagation._kernels.tree import (
    advance,
    children_scale,
    down_node,
    first_child,
    highest,
    reset,
    start,
    upward,
)

__all__ = ["lines", "numbers"]


# --------------------------------------------------------------------- what both kinds of pass do


@inline
def _leaves_again(task, tile, level, node):
    """Leaves that share a place are loaded again, right before they are used."""
    if level == task.depth - 1 and task.kind == SYMBOLS_SEEN:
        load_leaves(task, node, tile * simd.width(task.messages))


@inline
def _root_message(task, tile):
    """The root's message, in units where its sum is in [1, 2); or all its lines as they are."""
    messages, geometry, line = task.messages, task.geometry, task.line
    width, lines = simd.width(messages), of(geometry, 0, SYMBOLS)
    up, c, place = of(geometry, 0, ROWS), simd.same(messages, 1.0), simd.at(task.job, TOPS)
    if place != 0:
        c = simd.load(messages, up + lines * width)
    else:
        place = simd.at(task.job, ON)
        lines += 2
    out = simd.like(messages, place)
    for a in range(lines):
        simd.store(line, 0, simd.multiply(simd.load(messages, up + a * width), c))
        for w in range(min(width, task.columns - tile * width)):
            simd.put(out, (tile * width + w) * lines + a, simd.at(line, w))


@inline
def _up(task, tile):
    """The upward pass, unless its messages were kept."""
    done = simd.at(task.job, UPWARD_DONE) != 0
    if not done or task.kind == SYMBOLS_SEEN:
        prepare(task, tile * simd.width(task.messages))
    if not done:
        upward(task, tile)
    if (simd.at(task.job, TOPS) != 0) | (simd.at(task.job, ON) != 0):
        _root_message(task, tile)


# ------------------------------------------------------------------------------ several threads

# A thread that sleeps takes as long to wake as a small tree to compute, and one that comes from the
# interpreter half of that.  So threads that have helped wait for the next call in compiled code, if
# calls follow each other closely, and begin with it at once; and a call waits for them there.  The
# interpreter is free meanwhile.

_PATIENCE = 1 << 19  # cycles, some 200 microseconds


@part
def _meet(job, room):
    """Before the first tile: offer the job to those who wait, or hear how often the bell rang."""
    role, bell = simd.at(room, ROLE), simd.int64_at(simd.at(job, BELL))
    simd.put(room, BUSY, 0)
    if role == ALONE:
        return
    if role == CALLS:
        if simd.share(bell, TAKEN, 1) == 0:
            simd.put(room, BUSY, 1)
            simd.share(bell, OPEN, simd.address(job))
        simd.take(bell, RANG)
    else:
        simd.put(room, HEARD, simd.shared(bell, RANG))
        simd.put(room, NAME, simd.at(job, TO))


@part
def _leave(job, room):
    """After the last tile: wait for others, or for the next job, whose address it returns, or 0.

    A job goes once its caller has closed it and found nobody within; so who hears the bell enters
    first and then looks what is open.
    """
    nothing = np.int64(0)
    role, bell = simd.at(room, ROLE), simd.int64_at(simd.at(job, BELL))
    if role == ALONE:
        return nothing
    busy, begin, turns = simd.at(room, BUSY) != 0, simd.rest(0), 0
    if role == CALLS:
        if busy:
            simd.share(bell, OPEN, 0)
        while simd.rest(turns) - begin < _PATIENCE:
            others = busy and simd.shared(bell, WITHIN) != 0
            if not others and simd.shared(job, DONE) >= simd.at(job, TILES):
                break
            turns += 1
        if busy and simd.shared(bell, WITHIN) == 0:
            simd.share(bell, TAKEN, 0)
            simd.put(room, BUSY, 0)
        return nothing
    if busy:
        simd.drop(bell, WITHIN)
        simd.put(room, BUSY, 0)
    heard = simd.at(room, HEARD)
    if simd.shared(bell, RANG) != heard:  # somebody waits for this thread to return
        return nothing
    simd.share(bell, WAIT_NAME, simd.at(room, NAME))
    simd.take(bell, WAIT)
    while simd.shared(bell, RANG) == heard and simd.rest(turns) - begin < _PATIENCE:
        turns += 1
    simd.drop(bell, WAIT)
    rang = simd.shared(bell, RANG)
    if rang == heard:
        return nothing
    simd.put(room, HEARD, rang)
    simd.take(bell, WITHIN)
    found = simd.shared(bell, OPEN)
    if found != 0 and simd.at(simd.int64_at(found), TO) == simd.at(room, NAME):
        simd.put(room, BUSY, 1)
        return found
    simd.drop(bell, WITHIN)
    return nothing


# ----------------------------------------------------------------------------- marginals, messages


@inline
def _norm(messages, stack, v, up, down, kind):
    """The factor that makes a message sum to one."""
    width = simd.width(messages)
    one = simd.same(messages, 1.0)
    if kind != DOWNWARD and kind != UPWARD:
        return one
    total = simd.same(messages, 0.0)
    for a in range(v):
        if kind == DOWNWARD:
            total = simd.add(total, simd.load(stack, down + a * width))
        else:
            total = simd.add(total, simd.load(messages, up + a * width))
    return simd.divide(one, total)


@part
def _rows(task, tile, source, offset, lines, values, place, step, aligned):
    """Lines from ``offset`` on, a symbol or node each, as rows of columns, ``step`` apart."""
    width = simd.width(source)
    last = min(width, task.columns - tile * width) - 1
    place += tile * width * step
    whole = lines - lines % width
    if aligned and lines == whole:
        for i in range(0, whole, width):
            simd.stream_turned(source, offset + i * width, values, place + i, step, last)
        return
    for i in range(0, whole, width):
        simd.put_turned(source, offset + i * width, values, place + i, step, last)
    for w in range(last + 1):
        for i in range(whole, lines):
            x = simd.at(source, offset + i * width + w)
            simd.put(values, place + w * step + i, x)


@part
def _emit(task, tile, level, parent, node, slot):
    """Write the lines of one node, of any kind."""
    job, geometry = task.job, task.geometry
    messages, stack = task.messages, task.stack
    width = simd.width(messages)
    kind, length = simd.at(job, WHAT), simd.at(job, LENGTH)
    values, begin = simd.like(messages, simd.at(job, VALUES)), simd.at(job, HEAD + level)
    v, nodes = of(geometry, level, SYMBOLS), of(geometry, level, NODES)
    up = of(geometry, level, ROWS) + parent * of(geometry, level, STEP)
    up += slot * of(geometry, level, STRIDE)
    down = of(geometry, level, STACK) + slot * v * width
    norm = _norm(messages, stack, v, up, down, kind)
    zero = np.int64(0)  # a literal would be a type of its own, and compiled once more
    o = begin + node * v * length + tile * width
    for a in range(v):
        i = a * width
        if kind == MARGINAL:
            x = simd.multiply(simd.load(stack, down + i), simd.load(messages, up + i))
        elif kind == UPWARD:
            x = simd.multiply(simd.load(messages, up + i), norm)
        else:
            x = simd.multiply(simd.load(stack, down + i), norm)
        if length:
            simd.stream(values, o, x)
            o += length
        else:
            simd.store(task.block, i, x)
    if not length:
        aligned = simd.at(job, ALIGNED) != 0
        start_at = begin + node * v
        _rows(task, tile, task.block, zero, v, values, start_at, nodes * v, aligned)


@inline
def _raw_rows(task, tile, level, node):
    """Downward messages to the children of a node, as they are, for the trees below a cut."""
    geometry = task.geometry
    s, v = of(geometry, level - 1, BRANCHES), of(geometry, level, SYMBOLS)
    out = simd.like(task.stack, simd.at(task.job, LAST_DOWN))
    step, place = of(geometry, level, NODES) * v, node * s * v
    _rows(task, tile, task.stack, of(geometry, level, STACK), s * v, out, place, step, False)


@inline
def _marginal_lines(task, level, node, values, place, length):
    """Marginals of the children of a node of the level above: lines ``length`` apart."""
    geometry, messages, stack = task.geometry, task.messages, task.stack
    width, v = simd.width(messages), of(geometry, level, SYMBOLS)
    up, down = first_child(task, level - 1, node), of(geometry, level, STACK)
    for _ in range(of(geometry, level - 1, BRANCHES)):
        for i in range(0, v * width, width):
            x = simd.multiply(simd.load(messages, up + i), simd.load(stack, down + i))
            simd.stream(values, place, x)
            place += length
        up += of(geometry, level, STRIDE)
        down += v * width


@inline
def _marginal_block(task, level, node):
    """The same as lines of ``block``."""
    geometry, messages, stack, block = task.geometry, task.messages, task.stack, task.block
    width, v, o = simd.width(messages), of(geometry, level, SYMBOLS), 0
    up, down = first_child(task, level - 1, node), of(geometry, level, STACK)
    for _ in range(of(geometry, level - 1, BRANCHES)):
        for i in range(0, v * width, width):
            x = simd.multiply(simd.load(messages, up + i), simd.load(stack, down + o))
            simd.store(block, o, x)
            o += width
        up += of(geometry, level, STRIDE)


@inline
def _below_with_lines(task, tile, level):
    """Messages to the children of the current node of a level, and their lines."""
    job, geometry = task.job, task.geometry
    width = simd.width(task.messages)
    node, slot = simd.at(task.nodes, level), simd.at(task.slots, level)
    _leaves_again(task, tile, level, node)
    down_node(task, level, node, slot)
    s, v = of(geometry, level, BRANCHES), of(geometry, level + 1, SYMBOLS)
    nodes, length = of(geometry, level + 1, NODES), simd.at(job, LENGTH)
    begin = simd.at(job, HEAD + level + 1)
    if level + 1 == task.depth and simd.at(job, LAST_DOWN) != 0:
        _raw_rows(task, tile, level + 1, node)
    elif begin >= 0 and simd.at(job, WHAT) == MARGINAL:
        values = simd.like(task.messages, simd.at(job, VALUES))
        if length != 0:
            place = begin + node * s * v * length + tile * width
            _marginal_lines(task, level + 1, node, values, place, length)
        else:
            zero, row = np.int64(0), node * s * v
            _marginal_block(task, level + 1, node)
            aligned = simd.at(job, ALIGNED) != 0
            _rows(task, tile, task.block, zero, s * v, values, begin + row, nodes * v, aligned)
    elif begin >= 0:
        for j in range(s):
            _emit(task, tile, level + 1, node, node * s + j, j)


@jit(effort=1)
def lines(job, room, base):
    """Marginals or messages of all tiles that nobody took yet; ``base`` is of their type."""
    state = simd.skip_denormals()
    wanted, places = simd.pointer(job), simd.pointer(room)
    zero = np.int64(0)  # a literal would be a type of its own, and compiled once more
    _meet(wanted, places)
    while True:
        lowest, normalise = simd.at(wanted, LOWEST), simd.at(wanted, NORMALISE) != 0
        code = simd.at(wanted, DOWN_TREE)
        task = task_of(wanted, places, simd.pointer(base))
        while True:
            tile = simd.take(wanted, NEXT)
            if tile >= simd.at(wanted, TILES):
                break
            turn_to(task, places, tile)
            _up(task, tile)
            if lowest >= 0:
                start(task, tile, normalise)
                if simd.at(wanted, HEAD) >= 0:
                    _emit(task, tile, zero, zero, zero, zero)
            if lowest > 0 and code != 0:
                simd.call_down_tree(code, task, tile)
            elif lowest > 0:
                reset(task)
                for _ in range(of(task.geometry, lowest - 1, NODES)):
                    for level in range(highest(task, lowest), lowest):
                        _below_with_lines(task, tile, level)
                        advance(task, level)
            simd.take(wanted, DONE)
        found = _leave(wanted, places)
        if found == 0:
            break
        wanted = simd.int64_at(found)
    simd.restore_denormals(state)


# ------------------------------------------------------------------------------------------ beliefs


@inline
def _put_beliefs(task, me, marginal, below, square):
    """Three numbers about a node, whose lines stand at ``me``."""
    size = simd.width(task.beliefs)
    size *= of(task.geometry, task.depth, FIRST) + of(task.geometry, task.depth, NODES)
    simd.store(task.beliefs, me, marginal)
    simd.store(task.beliefs, size + me, below)
    simd.store(task.beliefs, 2 * size + me, square)


@inline
def _begin_beliefs(task, tile):
    """The true symbols of the tile, and the numbers of the root."""
    job, messages, geometry = task.job, task.messages, task.geometry
    width, truth = simd.width(messages), simd.int32_at(simd.at(job, TRUTH))
    last = min(width, task.columns - tile * width) - 1
    for level in range(task.depth + 1):
        nodes, first = of(geometry, level, NODES), of(geometry, level, FIRST)
        place = simd.at(job, HEAD + task.depth + 1 + level) + tile * width * nodes
        whole = nodes - nodes % width
        for i in range(0, whole, width):
            out = (first + i) * width
            simd.get_turned(messages, truth, place + i, nodes, last, task.truth, out)
        for i in range(whole, nodes):
            for w in range(width):
                symbol = simd.at(truth, place + min(w, last) * nodes + i)
                simd.put(task.truth, (first + i) * width + w, symbol)
    up, down = of(geometry, 0, ROWS), of(geometry, 0, STACK)
    zero = simd.same(messages, 0.0)
    total, square, own, own_raw = zero, zero, zero, zero
    for a in range(of(geometry, 0, SYMBOLS)):
        raw = simd.load(messages, up + a * width)
        x = simd.multiply(raw, simd.load(task.stack, down + a * width))
        total = simd.add(total, raw)
        square = simd.fma(x, x, square)
        own = simd.where_equal(task.truth, 0, a, x, own)
        own_raw = simd.where_equal(task.truth, 0, a, raw, own_raw)
    _put_beliefs(task, 0, own, simd.divide(own_raw, total), square)


@inline
def _end_beliefs(task, tile):
    """The numbers of all nodes, a block of rows per level and kind."""
    job, geometry, depth = task.job, task.geometry, task.depth
    width, size = simd.width(task.beliefs), simd.at(job, BELIEFS_SIZE)
    out = simd.like(task.beliefs, simd.at(job, BELIEFS))
    every = of(geometry, depth, FIRST) + of(geometry, depth, NODES)
    last = depth if simd.at(job, LAST_DOWN) != 0 else depth + 1
    for level in range(last):
        nodes, first = of(geometry, level, NODES), of(geometry, level, FIRST)
        place = simd.at(job, HEAD + depth + 1 + level)
        for q in range(3):
            offset = (q * every + first) * width
            _rows(task, tile, task.beliefs, offset, nodes, out, q * size + place, nodes, False)


@inline
def _three_numbers(task, level, node):
    """The numbers of each child of a node of the level above."""
    geometry, messages, stack, truth = task.geometry, task.messages, task.stack, task.truth
    width, v = simd.width(messages), of(geometry, level, SYMBOLS)
    s = of(geometry, level - 1, BRANCHES)
    up, down = first_child(task, level - 1, node), of(geometry, level, STACK)
    me, zero = (of(geometry, level, FIRST) + node * s) * width, simd.same(messages, 0.0)
    for _ in range(s):
        total, square, own, own_raw = zero, zero, zero, zero
        for b in range(v):
            raw = simd.load(messages, up + b * width)
            x = simd.multiply(raw, simd.load(stack, down + b * width))
            total = simd.add(total, raw)
            square = simd.fma(x, x, square)
            own = simd.where_equal(truth, me, b, x, own)
            own_raw = simd.where_equal(truth, me, b, raw, own_raw)
        _put_beliefs(task, me, own, simd.divide(own_raw, total), square)
        up += of(geometry, level, STRIDE)
        down += v * width
        me += width


@inline
def _below_with_beliefs(task, tile, level):
    """Messages to the children of the current node of a level, and the numbers of each."""
    node, slot = simd.at(task.nodes, level), simd.at(task.slots, level)
    _leaves_again(task, tile, level, node)
    down_node(task, level, node, slot)
    if level + 1 == task.depth and simd.at(task.job, LAST_DOWN) != 0:
        _raw_rows(task, tile, level + 1, node)
    else:
        _three_numbers(task, level + 1, node)


# ---------------------------------------------------------------------------------------- samples


@inline
def _root_symbol(task, w, u):
    """Draw the root's symbol for lane ``w``."""
    messages, stack, geometry = task.messages, task.stack, task.geometry
    width = simd.width(messages)
    v = of(geometry, 0, SYMBOLS)
    up, down = of(geometry, 0, ROWS) + w, of(geometry, 0, STACK) + w
    total = 0.0
    for a in range(v):
        total += simd.at(stack, down + a * width) * simd.at(messages, up + a * width)
    running, last = 0.0, 0
    for a in range(v):
        x = simd.at(stack, down + a * width) * simd.at(messages, up + a * width)
        running += x
        if x > 0:
            last = a
            if u * total < running:
                break
    return last


@inline
def _weight(task, child, p, s, weighted):
    """Weight of the rule at ``p`` times its children's messages, in one lane."""
    x = 1.0 * simd.at(task.messages, child + simd.at(task.up, p))
    for j in range(1, s):
        x *= simd.at(task.messages, child + simd.at(task.up, p + j))
    if weighted:
        x *= simd.at(task.up_weights, p)
    return x


@inline
def _rule(task, child, p, m, s, weighted, target):
    """The rule at which the running sum of weights times children's messages passes a target.

    Or the last one that is possible.  Rules are looked at eight at a time: where to stop cannot be
    foreseen, and a processor that guesses wrong loses more than a few products.
    """
    running, last, going = 0.0, 0, True
    for k in range(m):
        x = _weight(task, child, p + k * s, s, weighted)
        running += x
        possible = x > 0
        last = k if possible & going else last
        going = going & (not (possible & (target < running)))
        if k % 8 == 7 and not going:
            break
    return last


@inline
def _draw_roots(task, tile):
    """Symbols of the roots, from the prior as it is: normalised, it would be rounded once more."""
    job = task.job
    width, repeats = simd.width(task.messages), simd.at(job, REPEATS)
    numbers = simd.float64_at(simd.at(job, ROOT_NUMBERS))
    symbols = simd.int32_at(simd.at(job, DRAWN))
    place = simd.at(job, HEAD + task.depth + 1)
    for w in range(min(width, task.columns - tile * width)):
        for r in range((tile * width + w) * repeats, (tile * width + w + 1) * repeats):
            simd.put(symbols, place + r, _root_symbol(task, w, simd.at(numbers, r)))


@part
def _draw_rules(task, tile):
    """The rules of all nodes, level by level below the roots."""
    job, geometry, messages, depth = task.job, task.geometry, task.messages, task.depth
    width, repeats = simd.width(messages), simd.at(job, REPEATS)
    numbers = simd.float64_at(simd.at(job, NUMBERS))
    symbols = simd.int32_at(simd.at(job, DRAWN))
    lanes = min(width, task.columns - tile * width)
    for level in range(depth):
        s, m = of(geometry, level, BRANCHES), of(geometry, level, RULES)
        nodes = of(geometry, level, NODES)
        weighted = of(geometry, level, WEIGHTED) != 0
        here = simd.at(job, HEAD + depth + 1 + level)
        there = simd.at(job, HEAD + depth + 1 + level + 1)
        for node in range(nodes):
            if level == depth - 1 and task.kind == SYMBOLS_SEEN:
                load_leaves(task, node, tile * width)
            child = first_child(task, level, node)
            simd.store(task.line, 0, children_scale(task, level, child))
            up = of(geometry, level, ROWS) + node * of(geometry, level, STRIDE)
            for w in range(lanes):
                for r in range((tile * width + w) * repeats, (tile * width + w + 1) * repeats):
                    i = r * nodes + node
                    a = simd.at(symbols, here + i)
                    # the message itself is the sum over rules, times the scale
                    total = simd.at(messages, up + a * width + w) / simd.at(task.line, w)
                    target = simd.at(numbers, here + i) * total
                    p = of(geometry, level, UP) + a * m * s
                    p += s * _rule(task, child + w, p, m, s, weighted, target)
                    for j in range(s):
                        simd.put(symbols, there + i * s + j, simd.at(task.rules, p + j))


# ---------------------------------------------------------------------------- beliefs and samples


@jit
def numbers(job, room, base):
    """Samples and beliefs of all tiles that nobody took yet, or the upward pass alone."""
    state = simd.skip_denormals()
    wanted, places = simd.pointer(job), simd.pointer(room)
    _meet(wanted, places)
    while True:
        lowest, normalise = simd.at(wanted, LOWEST), simd.at(wanted, NORMALISE) != 0
        drawing = simd.at(wanted, DRAWN) != 0
        task = task_of(wanted, places, simd.pointer(base))
        while True:
            tile = simd.take(wanted, NEXT)
            if tile >= simd.at(wanted, TILES):
                break
            turn_to(task, places, tile)
            _up(task, tile)
            if drawing:
                if simd.at(wanted, ROOT_NUMBERS) != 0:
                    start(task, tile, not drawing)
                    _draw_roots(task, tile)
                _draw_rules(task, tile)
            if lowest >= 0:
                start(task, tile, normalise)
                _begin_beliefs(task, tile)
                reset(task)
                for _ in range(of(task.geometry, lowest - 1, NODES)):
                    for level in range(highest(task, lowest), lowest):
                        _below_with_beliefs(task, tile, level)
                        advance(task, level)
                _end_beliefs(task, tile)
            simd.take(wanted, DONE)
        found = _leave(wanted, places)
        if found == 0:
            break
        wanted = simd.int64_at(found)
    simd.restore_denormals(state)
