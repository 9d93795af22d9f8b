r"""Both passes of belief propagation as batched torch operations, with directional derivatives.

A message is an array [symbols, nodes, n], the sample innermost, so that a gather of rows by the
rule table moves whole lines of memory.  A :class:`Jet` carries, next to each message, its
derivative when every node and every rule gets a small potential,

.. math:: \nu \to \nu + \epsilon\, \nu', \qquad \text{from potentials }
   e^{\epsilon h_l(a)}, \; e^{\epsilon h_l(a, k)},

by the product rule, term by term.  The passes are written once, over one of two algebras: numbers
scaled by powers of two, and logarithms for evidence beyond the range of floating point.

Scaling.  With the upward messages scaled node by node and the downward message of the root divided
by Z, the sum over symbols of upward times downward is 1 at the root and stays 1 all the way down.
The downward pass needs no sum for normalisation, and the marginals are products.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hierdiff.data.rhm import Grammar
from hierdiff.errors import ImpossibleEvidence, InvalidParameter

__all__: list[str] = []  # used inside this folder only

# An entry below the smallest number is lost with relative weight 2**(smallest - reach), where reach
# is the sum of exponents from its node to the root: these limits keep the loss below 2**-46 in
# float32 and 2**-122 in float64.
REACH = {torch.float32: -80.0, torch.float64: -900.0}
# Numbers of a temporary array: on a processor it should stay in the cache.
_TEMPORARY = {"cpu": 1 << 18}
_LARGE = 1 << 26


def temporary(device: torch.device) -> int:
    """Numbers that a temporary array may have on a device."""
    return _TEMPORARY.get(device.type, _LARGE)


# ------------------------------------------------------------------------------------- the algebras


class Jet(NamedTuple):
    """An array [symbols, nodes, n] and its derivative along one direction, or None."""

    value: Tensor
    slope: Tensor | None = None

    def rows(self, index: Tensor) -> Jet:
        """Rows of the first axis."""
        return self.each(lambda x: x.index_select(0, index))

    def part(self, nodes: slice) -> Jet:
        """Some of the nodes."""
        return self.each(lambda x: x[:, nodes])

    def reshaped(self, *shape: int) -> Jet:
        """Both in another shape."""
        return self.each(lambda x: x.reshape(shape))

    def each(self, function: Callable[[Tensor], Tensor]) -> Jet:
        """The same linear map of both."""
        return Jet(function(self.value), None if self.slope is None else function(self.slope))


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _segment_sum(x: Tensor, segment: Tensor, lengths: Tensor) -> Tensor:
    """Sums of neighbouring rows: row r belongs to segment[r], which does not decrease."""
    if x.device.type == "cuda" and not x.requires_grad:
        # each sum by one thread in order; index_add would add in the order of arrival.  Its own
        # look at the lengths, which are ours, would make the processor wait
        return torch.segment_reduce(x, "sum", lengths=lengths, axis=0, unsafe=True)
    out = torch.zeros((len(lengths), *x.shape[1:]), dtype=x.dtype, device=x.device)
    return out.index_add(0, segment, x)


class Linear:
    """Messages as numbers, each node scaled by a power of two."""

    unit = math.log(2.0)

    def encode(self, log_value: Tensor) -> Tensor:
        """Messages from logarithms of evidence."""
        return log_value.exp()

    def decode(self, x: Jet) -> Jet:
        """Probabilities, with their derivative."""
        return x

    def log(self, value: Tensor) -> Tensor:
        """Natural logarithms of messages."""
        return value.log()

    def times(self, a: Jet, b: Jet) -> Jet:
        """The product, by the rule of Leibniz."""
        left = None if a.slope is None else a.slope * b.value
        right = None if b.slope is None else a.value * b.slope
        return Jet(a.value * b.value, _add(left, right))

    def by(self, a: Jet, factor: Tensor | float) -> Jet:
        """Times what does not depend on the direction."""
        return a.each(lambda x: x * factor)

    def tilt(self, a: Jet, h: Tensor | None) -> Jet:
        """Times exp(epsilon h), epsilon -> 0."""
        return a if h is None else Jet(a.value, _add(a.slope, a.value * h))

    def inverse(self, a: Jet) -> Jet:
        """One over a message."""
        one = 1 / a.value
        return Jet(one, None if a.slope is None else -a.slope * one * one)

    def sum(self, a: Jet, axis: int) -> Jet:
        """The sum over an axis."""
        return a.each(lambda x: x.sum(axis))

    def segments(self, a: Jet, segment: Tensor, lengths: Tensor) -> Jet:
        """Sums over neighbouring rows of one segment."""
        return a.each(lambda x: _segment_sum(x, segment, lengths))

    @torch.no_grad()
    def scale(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The power of two that brings the largest symbol into [1/2, 1), and its exponent."""
        top = value.amax(0)
        mantissa, exponent = torch.frexp(top)
        return mantissa / top, exponent  # the quotient is a power of two, so it is exact


class Logarithms:
    """Messages as logarithms, for evidence beyond the range of floating point."""

    unit = 1.0

    def encode(self, log_value: Tensor) -> Tensor:
        """Messages from logarithms of evidence."""
        return log_value

    def decode(self, x: Jet) -> Jet:
        """Probabilities, with their derivative."""
        value = x.value.exp()
        return Jet(value, None if x.slope is None else value * x.slope)

    def log(self, value: Tensor) -> Tensor:
        """Natural logarithms of messages."""
        return value

    def times(self, a: Jet, b: Jet) -> Jet:
        """The product, by the rule of Leibniz."""
        value, slope = a.value + b.value, _add(a.slope, b.slope)
        return Jet(value, None if slope is None else slope.expand_as(value))

    def by(self, a: Jet, factor: Tensor | float) -> Jet:
        """Times what does not depend on the direction."""
        log = factor if isinstance(factor, Tensor) else math.log(factor)
        return Jet(a.value + log, a.slope)

    def tilt(self, a: Jet, h: Tensor | None) -> Jet:
        """Times exp(epsilon h), epsilon -> 0."""
        return a if h is None else Jet(a.value, _add(a.slope, h.expand_as(a.value)))

    def inverse(self, a: Jet) -> Jet:
        """One over a message."""
        return Jet(-a.value, None if a.slope is None else -a.slope)

    def sum(self, a: Jet, axis: int) -> Jet:
        """The sum over an axis."""
        top = _finite(a.value.amax(axis, keepdim=True))
        weight = (a.value - top).exp()
        total = weight.sum(axis)
        return self._total(a, weight, total, total.log() + top.squeeze(axis), lambda x: x.sum(axis))

    def segments(self, a: Jet, segment: Tensor, lengths: Tensor) -> Jet:
        """Sums over neighbouring rows of one segment."""
        index = segment[:, None, None].expand_as(a.value)
        shape = (len(lengths), *a.value.shape[1:])
        top = a.value.new_full(shape, -math.inf)
        top = _finite(top.scatter_reduce(0, index, a.value.detach(), "amax"))
        weight = (a.value - top.index_select(0, segment)).exp()

        def add(x: Tensor) -> Tensor:
            return _segment_sum(x, segment, lengths)

        total = add(weight)
        return self._total(a, weight, total, total.log() + top, add)

    def _total(
        self, a: Jet, weight: Tensor, total: Tensor, value: Tensor, add: Callable[[Tensor], Tensor]
    ) -> Jet:
        if a.slope is None:
            return Jet(value)
        # an empty sum stays empty in every direction
        share = torch.where(total > 0, total, 1.0)
        return Jet(value, add(weight * a.slope) / share)

    @torch.no_grad()
    def scale(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the largest logarithm, and this logarithm."""
        top = _finite(value.amax(0))
        return -top, top


def _finite(top: Tensor) -> Tensor:
    """The largest logarithm, 0 where all are -inf."""
    return torch.where(torch.isfinite(top), top, 0.0).detach()


def wide(device: torch.device) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


Algebra: TypeAlias = Linear | Logarithms

# ------------------------------------------------------------------------------------- rule tables


class Child(NamedTuple):
    """The rules of a level, sorted by the symbol that they write in one place."""

    parents: Tensor
    siblings: tuple[tuple[int, Tensor], ...]
    order: Tensor
    segment: Tensor
    lengths: Tensor


class Level(NamedTuple):
    """Rules of one level as flat tables of v * m rows."""

    written: tuple[Tensor, ...]
    owner: Tensor
    children: tuple[Child, ...]
    log_weights: Tensor
    same: float | None  # the weight, where all rules have the same


class Tables(NamedTuple):
    """A grammar as index tables on a device."""

    grammar: Grammar
    levels: tuple[Level, ...]
    log_prior: Tensor


@functools.lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # they are kept, and a later call may want derivatives
def tables_of(grammar: Grammar, device: torch.device, dtype: torch.dtype) -> Tables:
    """Rules and weights of a grammar, as the passes read them on a device."""

    def index(x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, np.int64)).to(device)

    def logarithm(p: NDArray[Any]) -> Tensor:
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(p)).to(device, dtype)

    levels = []
    for level, (rules, weights) in enumerate(zip(grammar.rules, grammar.weights, strict=True)):
        v, m, s = rules.shape
        flat, owner = rules.reshape(v * m, s), np.repeat(np.arange(v), m)
        children = []
        for j in range(s):
            order = np.argsort(flat[:, j], kind="stable")
            siblings = tuple((i, index(flat[order, i])) for i in range(s) if i != j)
            lengths = np.bincount(flat[:, j], minlength=grammar.v[level + 1])
            children.append(
                Child(index(owner[order]), siblings, index(order), index(flat[order, j]),
                       index(lengths))
            )  # fmt: skip
        same = float(weights[0, 0]) if np.all(weights == weights[0, 0]) else None
        levels.append(
            Level(tuple(index(flat[:, j]) for j in range(s)), index(owner), tuple(children),
                   logarithm(weights), same)
        )  # fmt: skip
    return Tables(grammar, tuple(levels), logarithm(grammar.root_prior))


# -------------------------------------------------------------------------------------- the passes


@dataclass(frozen=True)
class Direction:
    """Where a derivative is taken: potentials on nodes [v, nodes, n] and on rules [v m, 1, n]."""

    nodes: Mapping[int, Tensor] = field(default_factory=dict)
    rules: Mapping[int, Tensor] = field(default_factory=dict)


class Found(NamedTuple):
    """Results of the passes, with derivatives if there was a direction."""

    log_evidence: Tensor  # [n]
    marginals: dict[int, Jet]  # [v, nodes, n]
    counts: dict[int, Jet]  # [v m, n]
    fine: Tensor  # bool [n], whether the numbers stayed in range


class Wanted(NamedTuple):
    """Levels whose marginals and whose rule counts are asked for."""

    levels: tuple[int, ...]
    counts: tuple[int, ...] = ()


class Passes:
    """Both passes of one batch in one algebra."""

    def __init__(
        self, tables: Tables, algebra: Algebra, log_root: Tensor, log_weights: Sequence[Tensor],
        direction: Direction,
    ) -> None:  # fmt: skip
        self.tables, self.algebra, self.direction = tables, algebra, direction
        self.log_root, self.log_weights = log_root, log_weights

    def weights(self, level: int) -> tuple[Jet | None, float]:
        """Weights [v m, 1, 1] of the rules, and a factor that all have in common."""
        table, h = self.tables.levels[level], self.direction.rules.get(level)
        if self.log_weights:
            logs = self.log_weights[level].reshape(-1, 1, 1)
        elif table.same is not None and h is None:
            return None, table.same
        else:
            logs = table.log_weights.reshape(-1, 1, 1)
        value = self.algebra.encode(logs)
        if h is None:
            return Jet(value), 1.0
        return self.algebra.tilt(Jet(value.expand(h.shape)), h), 1.0

    def parts(self, level: int, like: Jet) -> list[slice]:
        """Parents in parts, so that the products over all rules stay small."""
        s = self.tables.grammar.s[level]
        parents, n = like.value.shape[1] // s, like.value.shape[2]
        rules = len(self.tables.levels[level].owner)
        limit = temporary(like.value.device)
        size = max(1, limit // max(rules * n, 1))
        return [slice(a, min(a + size, parents)) for a in range(0, parents, size)]

    def children(self, level: int, below: Jet, part: slice) -> list[Jet]:
        """Messages of the first, second, ... children of some parents, each [v, parents, n]."""
        s = self.tables.grammar.s[level]

        def child(j: int) -> Callable[[Tensor], Tensor]:
            return lambda x: x.unfold(1, s, s)[:, part, :, j]

        return [below.each(child(j)) for j in range(s)]

    def joined(self, parts: list[Jet], axis: int = 1) -> Jet:
        """Parts put together along the nodes."""
        if len(parts) == 1:
            return parts[0]
        slopes = [x.slope for x in parts if x.slope is not None]
        values = torch.cat([x.value for x in parts], axis)
        return Jet(values, torch.cat(slopes, axis) if slopes else None)

    def upward(self, leaves: Jet) -> tuple[list[Jet], list[Tensor], Tensor, Tensor]:
        """Messages of all levels, scales of those above the leaves, exponents [n], reach [n]."""
        grammar, algebra = self.tables.grammar, self.algebra
        messages, scales = [leaves], list[Tensor]()
        reach = torch.zeros_like(leaves.value[0])
        total = reach.new_zeros(reach.shape[1], dtype=wide(reach.device))
        for level in reversed(range(grammar.L)):
            table, (weights, common) = self.tables.levels[level], self.weights(level)
            rules, parts = (grammar.v[level], grammar.m[level]), list[Jet]()
            for part in self.parts(level, messages[0]):
                terms = weights
                for child, written in zip(
                    self.children(level, messages[0], part), table.written, strict=True
                ):
                    factor = child.rows(written)
                    terms = factor if terms is None else algebra.times(terms, factor)
                assert terms is not None
                parts.append(algebra.sum(terms.reshaped(*rules, *terms.value.shape[1:]), 1))
            raw = self.joined(parts)
            raw = algebra.by(raw, common) if weights is None else raw
            scale, exponent = algebra.scale(raw.value)
            message = algebra.by(raw, scale)
            messages.insert(0, algebra.tilt(message, self.direction.nodes.get(level)))
            scales.insert(0, scale)
            total = total + exponent.sum(0, dtype=total.dtype)
            reach = exponent + reach.unfold(0, grammar.s[level], grammar.s[level]).amin(2)
        return messages, scales, total, reach[0]

    def run(self, leaves: Jet, wanted: Wanted) -> Found:
        """Both passes, the second as far down as it is needed."""
        grammar, algebra = self.tables.grammar, self.algebra
        leaves = algebra.tilt(leaves, self.direction.nodes.get(grammar.L))
        messages, scales, exponents, reach = self.upward(leaves)
        prior = Jet(algebra.encode(self.log_root)[:, None])
        z = algebra.sum(algebra.times(messages[0], prior), 0)
        log_z = algebra.log(z.value[0])
        # written so that NaN counts as out of range
        if isinstance(algebra, Linear):
            with torch.no_grad():
                limit = REACH[log_z.dtype]
                fine = (reach + torch.log2(z.value[0]) >= limit) & torch.isfinite(log_z)
        else:
            fine = torch.isfinite(log_z)
        down = algebra.times(prior, algebra.inverse(z))
        found = Found(log_z + exponents * algebra.unit, {}, {}, fine)
        last = max([-1, *wanted.levels, *wanted.counts])
        for level in range(last + 1):
            here = messages.pop(0)  # and free its memory, level by level
            if level in wanted.levels:
                found.marginals[level] = algebra.decode(algebra.times(here, down))
            if level < last or level in wanted.counts:
                down = algebra.tilt(down, self.direction.nodes.get(level))
                down = algebra.by(down, scales[level])
            if level in wanted.counts:
                found.counts[level] = self.counted(level, down, messages[0])
            if level < last:
                down = self.downward(level, down, messages[0])
        return found

    def downward(self, level: int, down: Jet, below: Jet) -> Jet:
        """Messages to the next level, from scaled ones to this level."""
        algebra, table = self.algebra, self.tables.levels[level]
        weights, common = self.weights(level)
        down = algebra.by(down, common) if weights is None else down
        parts = []
        for part in self.parts(level, below):
            children = self.children(level, below, part)
            from_above, sides = down.part(part), list[Jet]()
            for child in table.children:
                terms = from_above.rows(child.parents)
                if weights is not None:
                    terms = algebra.times(terms, weights.rows(child.order))
                for i, symbols in child.siblings:
                    terms = algebra.times(terms, children[i].rows(symbols))
                sides.append(algebra.segments(terms, child.segment, child.lengths))
            slopes = [x.slope for x in sides if x.slope is not None]
            both = Jet(
                torch.stack([x.value for x in sides], 2), torch.stack(slopes, 2) if slopes else None
            )
            parts.append(both.each(lambda x: x.flatten(1, 2)))
        return self.joined(parts)

    def counted(self, level: int, down: Jet, below: Jet) -> Jet:
        """Expected uses [v m, n] of the rules of a level."""
        algebra, table = self.algebra, self.tables.levels[level]
        weights, common = self.weights(level)
        down = algebra.by(down, common) if weights is None else down
        parts = []
        for part in self.parts(level, below):
            terms = down.part(part).rows(table.owner)
            if weights is not None:
                terms = algebra.times(terms, weights)
            for child, written in zip(
                self.children(level, below, part), table.written, strict=True
            ):
                terms = algebra.times(terms, child.rows(written))
            parts.append(algebra.decode(terms).each(lambda x: x.sum(1, keepdim=True)))
        return self.joined(parts).each(lambda x: x.sum(1))


def infer(
    tables: Tables, theta: Tensor, log_root: Tensor, log_weights: Sequence[Tensor],
    wanted: Wanted, direction: Direction | None = None, rows: Tensor | None = None,
) -> Found:  # fmt: skip
    """The passes over evidence [n, leaves, v]; what leaves the range is done again.

    ``rows`` are the numbers of the samples in the whole batch, where they are done again.
    """
    direction = Direction() if direction is None else direction
    exact = rows is not None and theta.dtype == torch.float64
    algebra: Algebra = Logarithms() if exact else Linear()
    top = theta.amax(2, keepdim=True).detach()
    centred = (theta - top).permute(2, 1, 0)
    root = log_root.expand(len(theta), tables.grammar.v[0]).T
    passes = Passes(tables, algebra, root, log_weights, direction)
    found = passes.run(Jet(algebra.encode(centred)), wanted)
    logs = found.log_evidence + top.sum((1, 2), dtype=wide(theta.device))
    found = found._replace(log_evidence=logs)
    return done_again(tables, theta, log_root, log_weights, wanted, direction, found, rows)


def done_again(
    tables: Tables, theta: Tensor, log_root: Tensor, log_weights: Sequence[Tensor],
    wanted: Wanted, direction: Direction, found: Found, rows: Tensor | None = None,
) -> Found:  # fmt: skip
    """Samples that left the range, in float64, and then in logarithms; else the reason."""
    wrong = (~found.fine).nonzero()[:, 0]
    if not len(wrong):
        return found
    names = wrong if rows is None else rows[wrong]
    if rows is not None and theta.dtype == torch.float64:
        raise _reason(theta[wrong[0]].detach(), int(names[0]))
    device = torch.device("cpu") if theta.device.type == "mps" else theta.device

    def some(x: Tensor, axis: int) -> Tensor:
        return x.index_select(axis, wrong).to(device, torch.float64)

    again = infer(
        tables_of(tables.grammar, device, torch.float64), some(theta, 0),
        some(log_root, 0) if log_root.ndim == 2 else log_root.to(device, torch.float64),
        [w.to(device, torch.float64) for w in log_weights], wanted,
        Direction(
            {k: some(h, 2) for k, h in direction.nodes.items()},
            {k: some(h, 2) for k, h in direction.rules.items()},
        ),
        names,
    )  # fmt: skip

    def put(old: Tensor, new: Tensor, axis: int) -> Tensor:
        return old.index_copy(axis, wrong, new.to(old.device, old.dtype))

    def put_jets(old: dict[int, Jet], new: dict[int, Jet], axis: int) -> dict[int, Jet]:
        return {
            k: Jet(
                put(x.value, new[k].value, axis),
                None if x.slope is None else put(x.slope, cast(Tensor, new[k].slope), axis),
            )
            for k, x in old.items()
        }

    return Found(
        put(found.log_evidence, again.log_evidence, 0),
        put_jets(found.marginals, again.marginals, 2),
        put_jets(found.counts, again.counts, 1),
        found.fine | True,
    )


def _reason(theta: Tensor, sample: int) -> Exception:
    """Why the evidence [leaves, v] of a sample cannot be used, in the words of the processor."""
    values = theta.cpu().numpy()
    for what, bad in (("NaN", np.isnan(values)), ("+inf", np.isposinf(values))):
        if bad.any():
            leaf, symbol = (int(i) for i in np.argwhere(bad)[0])
            return InvalidParameter(
                f"log_evidence of sample {sample} is {what} at leaf {leaf}, symbol {symbol}; "
                "give finite numbers, or -inf to exclude a symbol"
            )
    empty = np.flatnonzero(np.isneginf(values).all(axis=1))
    if empty.size:
        return InvalidParameter(
            f"log_evidence of sample {sample} is -inf for every symbol of leaf {int(empty[0])}; at "
            "least one symbol must be possible"
        )
    return ImpossibleEvidence(
        f"the evidence of sample {sample} has probability zero: no string of the grammar agrees "
        "with it; check that data, noise and root class belong to this grammar"
    )
