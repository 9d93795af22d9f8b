"""Grammars, evidence, results and buffers as the kernels see them: one array of addresses.

A call of compiled code costs a microsecond per array that it is given; so it is given one, the
*job*, of integers: addresses, sizes and what is wanted, at the places named here.  Whoever fills it
keeps the arrays alive.

Layout of ``messages``: level by level, node by node; an inner node has ``v`` lines of its upward
message, then a line with its scale, then one with its path's range; a leaf has its ``v`` lines,
unless it is the root of a tree below, an inner node of the whole tree.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)

from hierdiff.theory._compiled import inline
from hierdiff.theory.belief_propagation._kernels import simd

__all__ = [
    "LIKELIHOODS",
    "LOGARITHMS",
    "MESSAGES_BELOW",
    "SYMBOLS_SEEN",
    "Task",
    "has_scale",
    "of",
    "task_of",
    "turn_to",
]

# columns of the geometry table, which has one row per level
SYMBOLS, BRANCHES, RULES, NODES = 0, 1, 2, 3  # v_l, s_l, m_l, number of nodes
ROWS, STRIDE = 4, 5  # where the level starts in `messages`, and numbers per node
UP, DOWN = 6, 7  # where its rules start in `up`, and its symbols in `starts`
WEIGHTED = 8  # do its rules differ in weight?
STACK = 9  # where it starts in `stack`
STEP = 10  # numbers from the first child of one node to that of the next; 0: they share a place
FIRST = 11  # number of nodes in the levels above
UP_CODE, DOWN_CODE = 12, 13  # functions made for its rules, 0: none, use the tables
SHOW_CODE = 14  # the same with marginals, in trees that have code as a whole
NUMBER = 15

LOGARITHMS, LIKELIHOODS, SYMBOLS_SEEN, MESSAGES_BELOW = 0, 1, 2, 3  # kinds of evidence

MARGINAL, DOWNWARD, UPWARD = 0, 1, 2  # what an output holds; the last two sum to one

# ------------------------------------------------------------------------------- entries of a job

# the grammar: geometry int64 [levels, NUMBER]; `up`, int32, holds for each rule (a, k) the offsets
# of its s children's lines, and `rules` the symbols themselves; `down`, int32, for each child and
# symbol b the offsets of what is multiplied; weights stand at the places of their rules; `starts`,
# int64, says where each (child, symbol) begins in `down`
GEOMETRY, UP_TABLE, UP_WEIGHTS, RULE_SYMBOLS, DOWN_TABLE, DOWN_WEIGHTS, STARTS, DEPTH = range(8)

# the evidence: dense [columns, leaves, v] of logarithms or likelihoods; or int32 symbols
# [columns, leaves], -1 is "nothing known", with likelihoods of the observed and of each other
# symbol, the larger of which is 1, PIECES columns sharing one; or messages of the roots of trees
# below, [columns, leaves, v + 2], with scale and range as in `messages`; the root's prior
# [ROOTS, v_0], or the downward message itself of a root inside a tree
KIND, COLUMNS, DENSE, SEEN, MATCH, OTHER, PIECES, ROOT, ROOTS = range(8, 17)

# results per column: log p = log(z) - log(2) exponents + sum of shifts, what was taken out of
# logarithms; the root's message [columns, v_0] in units where its sum is in [1, 2); ON, in the
# place of that, takes [columns, v_0 + 2] for the tree above
Z, EXPONENTS, RANGES, SHIFTS, TOPS = range(17, 22)

# what is to be done: NORMALISE the prior, UPWARD_DONE (the messages of every tile are kept,
# MESSAGES bytes each, from KEPT on), go down to level LOWEST; 0 for an address: not wanted
NORMALISE, UPWARD_DONE, KEPT, MESSAGES, LOWEST = range(22, 27)

# lines of all nodes, at the places behind HEAD, -1 for a level that is not wanted: blocks
# [nodes, v, LENGTH >= columns] or, if that is zero, [columns, nodes, v]; ALIGNED if their rows lie
# on lines of the cache; LAST_DOWN takes the raw downward messages of the last level instead
VALUES, WHAT, LENGTH, ALIGNED, LAST_DOWN = range(27, 32)

# three numbers per node, in blocks [columns, nodes] at the places behind the ones above
TRUTH, BELIEFS, BELIEFS_SIZE = range(32, 35)

# draws, in blocks [columns, repeats, nodes] at the same places; int32
REPEATS, ROOT_NUMBERS, NUMBERS, DRAWN = range(35, 39)

TILES, NEXT = range(39, 41)  # how many there are, and the next one, which threads count up

ON, INSIDE = range(41, 43)  # see above; whether ROOT holds downward messages

UP_TREE, DOWN_TREE = range(43, 45)  # code for whole trees, see `whole_trees.py`; 0: none

# tiles that are done, counted up as well; the bell, see below; and whom it is for, a number that
# jobs have in common which the same function does with the same scratch
DONE, BELL, TO = range(45, 48)

HEAD = 48  # and then twice one place per level


@intrinsic
def of(typing_context, geometry, level, column):
    """Entry of the geometry table."""

    def code(context, builder, signature, args):
        row = builder.mul(args[1], args[1].type(NUMBER))
        return builder.load(builder.gep(args[0], [builder.add(row, args[2])]))

    return types.int64(geometry, types.int64, types.int64), code


# ----------------------------------------------------------------------------- what a thread sees

# entries of `room`, an int64 array per thread: first the addresses of its buffers, each on a cache
# line, then entries of the job, copied so that one address leads to all of them
_BUFFERS = (
    "own",  # messages, unless those of all tiles are kept
    "stack",
    "products",  # for each rule and pair of children, the product of everything else
    "block",  # lines of the children of one node, before they become rows
    "line",
    "symbols",  # int32: those that a tile saw, lanes side by side
    "slots",  # int64 per level: place of the current node among its siblings
    "nodes",  # int64 per level: number of the current node
    "truth",  # int32: true symbols of a tile's nodes, lanes side by side
    "beliefs",  # and three numbers about each, as lines, in three blocks of all nodes
)  # fmt: skip
_COPIED = {
    "geometry": GEOMETRY, "up": UP_TABLE, "up_weights": UP_WEIGHTS, "rules": RULE_SYMBOLS,
    "down": DOWN_TABLE, "down_weights": DOWN_WEIGHTS, "starts": STARTS, "depth": DEPTH,
    "kind": KIND, "columns": COLUMNS, "dense": DENSE, "seen": SEEN, "shifts": SHIFTS,
}  # fmt: skip
_PLACES = tuple(_COPIED.values())
_FIELDS = (*_BUFFERS, *_COPIED, "job", "messages", "role", "busy", "heard", "name")
_INTEGERS = {
    "symbols": types.int32, "slots": types.int64, "nodes": types.int64, "truth": types.int32,
    "geometry": types.int64, "up": types.int32, "rules": types.int32, "down": types.int32,
    "starts": types.int64, "seen": types.int32, "job": types.int64,
}  # fmt: skip
_NUMBERS = ("depth", "kind", "columns")
_FIRST, _JOB, _MESSAGES = len(_BUFFERS), _FIELDS.index("job"), _FIELDS.index("messages")
ROOM = len(_FIELDS)
"""Entries of ``room``."""
ROLE, BUSY, HEARD, NAME = range(ROOM - 4, ROOM)
"""Entries about how a thread works with others: its role, whether it has taken part by the bell,
how often that had rung, and by which ``TO`` it is called."""
ALONE, CALLS, HELPS = range(3)
"""Roles: nobody to wait for; the thread that asks for a job; another one, which waits for more."""

# The bell, int64, one for all threads: how often it RANG, the job that is OPEN to those who hear it
# (its address, or 0), how many are WITHIN that one, how many WAIT for it to ring, by which name,
# and whether it is TAKEN by a thread that calls.
RANG, OPEN, WITHIN, WAIT, WAIT_NAME, TAKEN = range(6)


class Task(types.Type):
    """A job with the buffers of a thread: the address of ``room``, whose entries are attributes.

    One argument, where a tuple of all addresses would go through memory at every call.  Attributes
    are read anew at each use, so loops take them into variables first.
    """

    def __init__(self, element: types.Float) -> None:
        self.element = element  # of messages and all other numbers
        super().__init__(name=f"Task({element})")


@register_model(Task)
class _TaskModel(models.PrimitiveModel):
    def __init__(self, manager, frontend_type) -> None:
        super().__init__(manager, frontend_type, ir.IntType(64).as_pointer())


@infer_getattr
class _Attributes(AttributeTemplate):
    key = Task

    def generic_resolve(self, task, name):
        if name in _NUMBERS:
            return types.int64
        return types.CPointer(_INTEGERS.get(name, task.element)) if name in _FIELDS else None


@lower_getattr_generic(Task)
def _attribute(context, builder, task, room, name):
    place = ir.Constant(ir.IntType(64), _FIELDS.index(name))
    value = builder.load(builder.gep(room, [place]))
    if name in _NUMBERS:
        return value
    kind = types.CPointer(_INTEGERS.get(name, task.element))
    return builder.inttoptr(value, context.get_value_type(kind))


@intrinsic
def _as_task(typing_context, room, base):
    def code(context, builder, signature, args):
        return args[0]

    return Task(base.dtype)(room, base), code


@inline
def task_of(job, room, base):
    """Everything that a thread needs; ``base`` is a place of the messages' type, of no number."""
    for i in range(len(_PLACES)):
        simd.put(room, _FIRST + i, simd.at(job, _PLACES[i]))
    simd.put(room, _JOB, simd.address(job))
    return _as_task(room, base)


@inline
def has_scale(task, level):
    """Whether the nodes of a level have lines with scale and range."""
    return (level < task.depth) | (task.kind == MESSAGES_BELOW)


@inline
def turn_to(task, room, tile):
    """Use the messages of a tile: the thread's own, or its part where those of all are kept."""
    kept, place = simd.at(task.job, KEPT), simd.at(room, 0)
    if kept != 0:
        place = kept + tile * simd.at(task.job, MESSAGES)
    simd.put(room, _MESSAGES, place)
