r"""Exact inference on the derivation tree in torch: on any device, and differentiable.

==============================  =================================================================
symbol                          meaning
==============================  =================================================================
theta_i(b) = log psi_i(b)       evidence of leaf i, [n, leaves, v_L]
a -> (b_1 ... b_s), w(a, k)     rule k of symbol a, and its weight
Z                               evidence of a sample, the sum over its derivations
p_l(a), c_l(a, k)               marginals of level l; expected uses of a rule in a derivation
==============================  =================================================================

The messages are those of :mod:`hierdiff.theory.belief_propagation.exact_posterior`.  Here they are
batched torch operations: gathers of rows by the rule table on the way up, gathers sorted by the
symbol that is written and sums over segments on the way down; no table of all v**s tuples exists.
The logarithm of Z generates everything else,

.. math::
   \frac{\partial \log Z}{\partial \theta_i(b)} = p(x_{0,i} = b \mid x_t), \qquad
   \frac{\partial \log Z}{\partial \log w_l(a, k)} = c_l(a, k), \qquad
   \frac{\partial^2 \log Z}{\partial \theta_i(b)\, \partial \theta_j(c)}
   = \mathrm{Cov}\big(1_{x_i = b}, 1_{x_j = c} \mid x_t\big),

so the backward pass of :func:`log_evidence` is the downward pass, and that of :func:`marginals` is
a pair of passes that carry, next to each message, its derivative along the incoming direction: the
covariances times this direction, in twice the time of the marginals, without their matrix.

Messages are float32 or float64; bfloat16 evidence is computed in float32, and its marginals are
rounded at the end.  Every message is scaled by a power of two, which costs no digit.  A sample
whose messages leave the range of the type is done again in float64, and then in logarithms, as on
the processor; this is looked at once per call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hierdiff.checks import array, checked, integers, memory, shown, unchecked
from hierdiff.contracts import SymbolEvidence
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.theory.belief_propagation.exact_posterior import checked_levels
from hierdiff.validation._checks import tensor
from hierdiff.validation.exact_inference.engines import computed, engine_of
from hierdiff.validation.exact_inference.passes import (
    Direction,
    Found,
    Jet,
    Tables,
    Wanted,
    tables_of,
    temporary,
    wide,
)
from hierdiff.validation.execution import usable_device

__all__ = ["log_evidence", "marginals", "rule_counts"]

Evidence: TypeAlias = "Tensor | ArrayLike | SymbolEvidence"

_SMALL = 5e8  # bytes that are not worth asking the driver how much is free, which takes a while
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)

# ------------------------------------------------------------------------- derivatives of any order


def _batched(x: Tensor) -> Tensor:
    """[v, nodes, n] as [n, nodes, v]: a view."""
    return x.permute(2, 1, 0)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    # torch leaves the method without types
    return function.apply(*arguments)  # type: ignore[no-untyped-call]


class _Expectations(torch.autograd.Function):
    """Marginals [n, nodes, v] of some levels and rule counts [n, v, m] of some levels."""

    @staticmethod
    def forward(
        ctx: Any, tables: Tables, engine: str, wanted: Wanted, theta: Tensor, log_root: Tensor,
        *log_weights: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.tables, ctx.wanted = tables, wanted
        ctx.save_for_backward(theta, log_root, *log_weights)
        found = computed(tables, theta, log_root, log_weights, wanted, engine=engine)
        return _outputs(found, tables, wanted, slopes=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        theta, log_root, *log_weights = ctx.saved_tensors
        wanted: Wanted = ctx.wanted
        cut = len(wanted.levels)
        nodes = {
            level: h.permute(2, 1, 0)
            for level, h in zip(wanted.levels, grads[:cut], strict=True)
            if h is not None
        }
        rules = {
            level: h.flatten(1).T[:, None]
            for level, h in zip(wanted.counts, grads[cut:], strict=True)
            if h is not None
        }
        if not nodes and not rules:
            return (None,) * (5 + len(log_weights))
        # the matrix of second derivatives is symmetric: its rows times h are its columns times h
        asked = _asked(ctx, 3, ctx.tables.grammar.L)
        found = computed(ctx.tables, theta, log_root, log_weights, asked, Direction(nodes, rules))
        slopes = _outputs(found, ctx.tables, asked, slopes=True)
        one = theta.new_ones(len(theta))
        return None, None, None, *_gradients(ctx, 3, asked, slopes, one, log_root)


class _LogEvidence(torch.autograd.Function):
    """log Z [n]."""

    @staticmethod
    def forward(
        ctx: Any, tables: Tables, engine: str, theta: Tensor, log_root: Tensor,
        *log_weights: Tensor,
    ) -> Tensor:  # fmt: skip
        asked = _asked(ctx, 2, tables.grammar.L)
        found = computed(tables, theta, log_root, log_weights, asked, engine=engine)
        first = _outputs(found, tables, asked, slopes=False)
        ctx.tables, ctx.engine = tables, engine
        ctx.save_for_backward(theta, log_root, *log_weights, *first)
        return found.log_evidence.to(theta.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        asked = _asked(ctx, 2, ctx.tables.grammar.L)
        number = len(ctx.needs_input_grad) - 2
        (theta, log_root, *log_weights), first = (
            ctx.saved_tensors[:number], ctx.saved_tensors[number:],
        )  # fmt: skip
        if torch.is_grad_enabled():  # a second derivative may follow
            inputs = (theta, log_root, *log_weights)
            first = _apply(_Expectations, ctx.tables, ctx.engine, asked, *inputs)
        return None, None, *_gradients(ctx, 2, asked, first, grads[0], log_root)


def _asked(ctx: Any, first: int, L: int) -> Wanted:
    """What the gradients that are needed consist of; ``first`` is the place of theta."""
    theta, root, *weights = ctx.needs_input_grad[first:]
    levels = ((0,) if root else ()) + ((L,) if theta else ())
    return Wanted(levels, tuple(level for level, need in enumerate(weights) if need))


def _outputs(found: Found, tables: Tables, wanted: Wanted, *, slopes: bool) -> tuple[Tensor, ...]:
    """What was asked for in the shapes of the outside."""

    def part(x: Jet) -> Tensor:
        if not slopes:
            return x.value
        return torch.zeros_like(x.value) if x.slope is None else x.slope

    first = [_batched(part(found.marginals[level])) for level in wanted.levels]
    shapes = list(zip(tables.grammar.v, tables.grammar.m, strict=False))
    second = [part(found.counts[level]).T.reshape(-1, *shapes[level]) for level in wanted.counts]
    return (*first, *second)


def _gradients(
    ctx: Any, first: int, asked: Wanted, parts: Sequence[Tensor], g: Tensor, log_root: Tensor
) -> list[Tensor | None]:
    """Gradients of theta, the root and the weights from first derivatives per sample, times g."""
    values = iter(parts)
    levels = {level: next(values) for level in asked.levels}
    counts = {level: next(values) for level in asked.counts}
    theta, root, *weights = ctx.needs_input_grad[first:]
    out: list[Tensor | None] = []
    out.append(levels[max(asked.levels)] * g[:, None, None] if theta else None)
    if root:
        each = levels[0][:, 0] * g[:, None]
        out.append(each if log_root.ndim == 2 else each.sum(0))
    else:
        out.append(None)
    for level, need in enumerate(weights):
        out.append(torch.einsum("nvm,n->vm", counts[level], g) if need else None)
    return out


# --------------------------------------------------------------------------------------- arguments


class Given(NamedTuple):
    """Checked arguments: evidence [n, leaves, v], what was taken out of it [n], the rest."""

    tables: Tables
    theta: Tensor
    shift: Tensor | None
    log_root: Tensor
    log_weights: tuple[Tensor, ...]
    dtype: torch.dtype  # of the marginals
    engine: str


def given_arguments(
    grammar: Grammar, evidence: Any, root: Any = None, log_weights: Any = None,
    log_prior: Any = None, dtype: Any = None, device: Any = None, engine: Any = "auto",
) -> Given:  # fmt: skip
    """Arguments of the public functions as tensors of one type on one device."""
    engine = engine_of(engine)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in _DTYPES):
        raise InvalidParameter(
            f"dtype = {shown(dtype)} is not supported; give torch.float32, torch.float64 or "
            "torch.bfloat16"
        )
    place = None if device is None else usable_device(str(device))
    theta, shift = _evidence(grammar, evidence, dtype, place)
    kind = theta.dtype
    if kind == torch.bfloat16:
        theta = theta.float()
    tables = tables_of(grammar, theta.device, theta.dtype)
    prior = tables.log_prior
    if log_prior is not None:
        prior = tensor("log_prior", log_prior, grammar.v[0]).to(theta.device, theta.dtype)
    log_root = _log_root(grammar, root, prior, len(theta))
    weights = _log_weights(grammar, log_weights, theta)
    return Given(tables, theta, shift, log_root, weights, kind, engine)


def _evidence(
    grammar: Grammar, evidence: Any, dtype: torch.dtype | None, device: torch.device | None
) -> tuple[Tensor, Tensor | None]:
    """Evidence as a tensor, and what was taken out of it in float64."""
    leaves, v = grammar.n_leaves, grammar.v[grammar.L]
    if isinstance(evidence, SymbolEvidence):
        if evidence.symbols.shape[1] != leaves or evidence.v != v:
            raise InvalidParameter(
                f"evidence is about {evidence.symbols.shape} leaves with {evidence.v} symbols; the "
                f"grammar needs (n, {leaves}) with {v}"
            )
        place, kind = device or torch.device("cpu"), dtype or torch.float64
        _fits(grammar, len(evidence.symbols), kind, place)
        return _symbols(evidence, kind, place)
    if isinstance(evidence, Tensor):
        tensor("log_evidence", evidence, None, leaves, v)
        if evidence.dtype not in _DTYPES and dtype is None:
            raise InvalidParameter(
                f"log_evidence has type {evidence.dtype}; give float32, float64 or bfloat16"
            )
        _fits(grammar, len(evidence), dtype or evidence.dtype, device or evidence.device)
        return evidence.to(device or evidence.device, dtype or evidence.dtype), None
    given = array("log_evidence", evidence)
    if given.ndim != 3 or given.shape[1:] != (leaves, v) or given.dtype.kind not in "iuf":
        raise InvalidParameter(
            f"log_evidence has shape {given.shape} and type {given.dtype}; the grammar needs real "
            f"numbers (n, {leaves}, {v}): samples, leaves, symbols"
        )
    kind = dtype or torch.float64
    _fits(grammar, len(given), kind, device or torch.device("cpu"))
    values = given.astype(np.float64)
    with np.errstate(invalid="ignore"):
        # what all symbols have in common would cost a short type its digits
        top = values.max(axis=2, keepdims=True)
        centred = np.where(np.isfinite(top), values - top, values)
    top = np.where(np.isfinite(top), top, 0.0)
    place = device or torch.device("cpu")
    shift = torch.from_numpy(top.sum(axis=(1, 2))).to(place, wide(place))
    return torch.from_numpy(centred).to(place, kind), shift


def _symbols(
    evidence: SymbolEvidence, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Compact evidence, written out on the device."""
    n = len(evidence.symbols)
    match, other = (
        np.broadcast_to(np.asarray(x, float), n) for x in (evidence.log_match, evidence.log_other)
    )
    top = np.maximum(match, other)
    symbols = torch.from_numpy(np.array(evidence.symbols, np.int64)).to(device)[..., None]
    high, low = (torch.from_numpy(x - top).to(device, dtype)[:, None, None] for x in (match, other))
    place = torch.arange(evidence.v, device=device)
    theta = torch.where(symbols == place, high, low).masked_fill(symbols < 0, 0.0)
    shift = torch.from_numpy(top * (evidence.symbols >= 0).sum(axis=1))
    return theta, shift.to(device, wide(device))


def _fits(grammar: Grammar, n: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse what the messages and marginals would not fit into, before memory is asked for."""
    numbers = n * sum(grammar.n_nodes(level) * v for level, v in enumerate(grammar.v))
    size = 8 if dtype == torch.float64 else 4
    # evidence, messages and marginals of all levels, and the largest temporary arrays
    needed = float(size) * (3 * numbers + 4 * temporary(device))
    what = f"inference with {n} samples of {grammar.n_leaves} leaves"
    if device.type != "cuda":
        memory(what, needed)
        return
    if needed < _SMALL:
        return
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needed > free:
        raise InvalidParameter(
            f"{what} needs {needed / 1e9:.3g} GB, and {device} has {free / 1e9:.3g} GB free; give "
            "fewer samples at a time"
        )


def _log_root(grammar: Grammar, root: Any, prior: Tensor, n: int) -> Tensor:
    """Log prior of the root [v_0], or of every sample [n, v_0] where classes are given."""
    if root is None:
        return prior
    v = grammar.v[0]
    classes = integers("root", root.cpu().numpy() if isinstance(root, Tensor) else root, 0, v - 1)
    if classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has shape {classes.shape}; give one class or {n} of them, integers in [0, {v})"
        )
    with np.errstate(divide="ignore"):
        one_hot = np.log(np.eye(v)[np.broadcast_to(classes, n)])
    return torch.from_numpy(one_hot).to(prior.device, prior.dtype)


def _log_weights(grammar: Grammar, weights: Any, theta: Tensor) -> tuple[Tensor, ...]:
    """Logarithms of the weights of all levels [v, m], or nothing."""
    if weights is None:
        return ()
    if not isinstance(weights, (list, tuple)) or len(weights) != grammar.L:
        raise InvalidParameter(
            f"log_weights = {shown(weights)} must be a list of {grammar.L} tensors [v, m], one for "
            "each level of rules"
        )
    sizes = zip(weights, grammar.v, grammar.m, strict=False)
    return tuple(
        tensor(f"log_weights[{level}]", w, v, m).to(theta.device, theta.dtype)
        for level, (w, v, m) in enumerate(sizes)
    )


_FREE = dict.fromkeys(
    ("log_evidence", "root", "log_weights", "log_prior", "dtype", "device", "engine"), unchecked
)


def levels_given(grammar: Grammar, levels: Sequence[int] | None) -> tuple[int, ...]:
    """Levels in increasing order; None stands for all."""
    if levels is None:
        return tuple(range(grammar.L + 1))
    return tuple(checked_levels(grammar, levels))


# ----------------------------------------------------------------------------- the three functions


def _evidence_of(given: Given) -> Tensor:
    inputs = (given.theta, given.log_root, *given.log_weights)
    out: Tensor = _apply(_LogEvidence, given.tables, given.engine, *inputs)
    return out if given.shift is None else out + given.shift.to(out.dtype)


@checked(**_FREE)
def log_evidence(
    grammar: Grammar,
    log_evidence: Evidence,
    root: ArrayLike | Tensor | None = None,
    *,
    log_weights: Sequence[Tensor] | None = None,
    log_prior: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    engine: Literal["auto", "torch", "triton"] = "auto",
) -> Tensor:
    r"""Log probability of the evidence of each sample; its gradient are the marginals.

    .. math:: \log Z = \log \sum_{\text{derivations}} p_0(a_0) \prod w \prod_i \psi_i(b_i)

    Parameters
    ----------
    grammar : Grammar
        Any grammar: weighted, ambiguous, different sizes per level.
    log_evidence : tensor or array [n, leaves, v_L], or SymbolEvidence
        Natural logarithm of psi; -inf excludes a symbol.
    root : int or int array [n], optional
        Clamps the class.
    log_weights : sequence of L tensors [v_l, m_l], optional
        Natural logarithms of rule weights in place of the grammar's.  They need not be normalised;
        the gradient with respect to them are the expected uses of the rules.
    log_prior : tensor [v_0], optional
        Likewise for the root, where no class is clamped.
    dtype : torch.dtype, optional
        float32, float64 or bfloat16; default that of a tensor, float64 for other evidence.
    device : str or torch.device, optional
        Default that of a tensor, the processor for other evidence.
    engine : {"auto", "torch", "triton"}
        The fastest that there is (:mod:`hierdiff.validation.exact_inference.engines`), batched
        torch operations, or the fused kernel for CUDA.

    Returns
    -------
    tensor [n]
        In nats; float32 for bfloat16.

    Raises
    ------
    InvalidParameter
        For a wrong shape, type or device, NaN, +inf, a leaf without a possible symbol, or more
        memory than there is.
    ImpossibleEvidence
        If the evidence of a sample has probability zero.

    Notes
    -----
    Validity: exact for any grammar; relative error about 1e-7 (float32), 1e-15 (float64) per
    level.  Derivatives of any order in float64; the first costs one downward pass, the second as
    :func:`marginals`.

    References
    ----------
    Eisner, "Inside-outside and forward-backward algorithms are just backprop" (2016), for the first
    derivative.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> theta = torch.zeros(1, 4, 4, dtype=torch.float64, requires_grad=True)
    >>> value = log_evidence(grammar, theta)  # no observation: Z = 1
    >>> value.sum().backward()
    >>> round(abs(float(value.detach())), 12), theta.grad.sum(dim=2).round(decimals=12).tolist()
    (0.0, [[1.0, 1.0, 1.0, 1.0]])
    """
    return _evidence_of(
        given_arguments(grammar, log_evidence, root, log_weights, log_prior, dtype, device, engine)
    )


def expected(given: Given, wanted: Wanted) -> tuple[Tensor, ...]:
    """Marginals of the wanted levels, then expected uses of the rules of the wanted levels."""
    if not wanted.levels and not wanted.counts:
        return ()
    inputs = (given.theta, given.log_root, *given.log_weights)
    found: tuple[Tensor, ...] = _apply(_Expectations, given.tables, given.engine, wanted, *inputs)
    return tuple(x.to(given.dtype) for x in found)


@checked(**_FREE)
def marginals(
    grammar: Grammar,
    log_evidence: Evidence,
    root: ArrayLike | Tensor | None = None,
    *,
    levels: tuple[int, ...] | None = None,
    log_weights: Sequence[Tensor] | None = None,
    log_prior: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    engine: Literal["auto", "torch", "triton"] = "auto",
) -> tuple[Tensor, ...]:
    r"""Posterior marginals of every node, differentiable.

    .. math:: p_l(a \mid x_t) = \nu^\uparrow(a)\, \nu^\downarrow(a) / Z

    Parameters
    ----------
    grammar, log_evidence, root, log_weights, log_prior, dtype, device, engine
        As in :func:`log_evidence`.
    levels : tuple of int, optional
        Levels that are wanted, such as ``(0, -1)``; default all.

    Returns
    -------
    tuple of L + 1 tensors [n, nodes, v_l]
        A level that was not asked for is an empty tensor [n, 0, v_l].  The sample is the fastest
        axis in memory.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`log_evidence`.

    Notes
    -----
    Validity: as :func:`log_evidence`; each sums to one within rounding.  The backward pass is the
    product of the covariances of the symbols with the incoming gradient, by passes that carry both.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(4)
    >>> seen = noise.evidence(grammar.sample(2, seed=1).leaves, 0.0)
    >>> p = marginals(grammar, seen, levels=(-1,), dtype=torch.float32)[-1]
    >>> p.shape, float(p.amax(dim=2).min())
    (torch.Size([2, 4, 4]), 1.0)
    """
    wanted = levels_given(grammar, levels)
    given = given_arguments(
        grammar, log_evidence, root, log_weights, log_prior, dtype, device, engine
    )
    found = dict(zip(wanted, expected(given, Wanted(wanted)), strict=True))
    n = len(given.theta)
    return tuple(
        found[level] if level in found else given.theta.new_empty((n, 0, v), dtype=given.dtype)
        for level, v in enumerate(grammar.v)
    )


@checked(**_FREE)
def rule_counts(
    grammar: Grammar,
    log_evidence: Evidence,
    root: ArrayLike | Tensor | None = None,
    *,
    log_weights: Sequence[Tensor] | None = None,
    log_prior: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    engine: Literal["auto", "torch", "triton"] = "auto",
) -> tuple[Tensor, ...]:
    r"""Expected number of uses of every rule in the derivation of each sample, differentiable.

    .. math:: c_l(a, k) = \sum_{\text{nodes}} p(\text{symbol } a, \text{rule } k \mid x_t)
       = \frac{\partial \log Z}{\partial \log w_l(a, k)}

    Parameters
    ----------
    grammar, log_evidence, root, log_weights, log_prior, dtype, device, engine
        As in :func:`log_evidence`.

    Returns
    -------
    tuple of L tensors [n, v_l, m_l]
        Their sums over samples, normalised over the rules of a symbol, are the next weights of
        expectation maximisation.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`log_evidence`.

    Notes
    -----
    Validity: as :func:`log_evidence`; the counts of a level sum to its number of nodes.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> counts = rule_counts(grammar, np.zeros((1, 4, 4)))
    >>> [round(float(c.sum()), 12) for c in counts]
    [1.0, 2.0]
    """
    given = given_arguments(
        grammar, log_evidence, root, log_weights, log_prior, dtype, device, engine
    )
    return expected(given, Wanted((), tuple(range(grammar.L))))
