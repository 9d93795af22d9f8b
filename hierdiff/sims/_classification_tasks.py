"""One grammar of the classification experiment: pools of errors, and everything read off them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims._error_pools import (
    ErrorPool,
    HasErrors,
    credit,
    moments,
    pool_of,
    prefix_scores,
    stratified_pool,
)
from hierdiff.sims.pruning import paired_t_pruning, staged_elimination
from hierdiff.theory.zero_shot.limit_laws import normal_accuracy, stable_accuracy
from hierdiff.theory.zero_shot.rhm_classes import NodeClasses, SoftLeaves
from hierdiff.theory.zero_shot.scores import ClassWorld, bayes_accuracy, class_scores
from hierdiff.theory.zero_shot.weightings import fit_buckets, snr_at, weighting

__all__ = ["LEARNED", "PRUNED", "Settings", "draw", "given_task", "grammar_task", "limit_task"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.intp]

LEARNED = "learned"
"""The weight that is fitted, on one half of the data for the other."""
PRUNED = "exp"
"""Weight with which classes are pruned, as published."""


@dataclass(frozen=True)
class Settings:
    """What all grammars share, in the words of ``Classification``."""

    rhm: RHM
    tau: float
    data: int
    weightings: tuple[str, ...]
    budgets: tuple[int, ...]
    own_budgets: tuple[int, ...]
    levels: tuple[float, ...]
    repeats: int
    buckets: int
    p: float
    min_scores: int
    keep: tuple[int, ...]
    stages: tuple[int, ...]
    level_data: int
    level_samples: int
    strata: int
    seed: int


class _Noisy(Protocol):
    def noisy_log_odds(self, x0: Array, noise: Array, snr: Array) -> Floats: ...


def draw(e: Settings, g: int) -> tuple[SoftLeaves, Floats, Labels, Any]:
    """Grammar, data with evenly filled classes, their classes and derivations, of repetition g."""
    world = SoftLeaves(e.rhm.draw(stream(e.seed, "grammar", g)), e.tau)
    rng = stream(e.seed, "data", g)
    truth = world.grammar.sample(e.data, rng, root=np.arange(e.data) % world.n_classes)
    return world, world.soften(truth, rng), truth.levels[0][:, 0].astype(np.intp), truth


def grammar_task(e: Settings, g: int) -> dict[str, Array]:
    """Everything measured on one random grammar."""
    world, x0, labels, truth = draw(e, g)
    found = _scored(e, world, x0, labels, g)
    log_p = world.log_density(x0)
    found["bayes"] = bayes_accuracy(log_p, world.prior)
    found["bayes_hit"] = credit(-(log_p + np.log(world.prior)), labels)
    found["information"] = _information(e, world, x0, labels, g)
    return {**found, **_levels(e, world, x0, truth, g)}


def given_task(e: Settings, world: HasErrors, x0: Floats, labels: Labels) -> dict[str, Array]:
    """What can be measured on given data with a given model."""
    found = _scored(e, world, x0, labels, 0)
    if hasattr(world, "log_density"):
        exact = cast(ClassWorld, world)
        log_p = exact.log_density(x0)
        found["bayes"] = bayes_accuracy(log_p, exact.prior)
        found["bayes_hit"] = credit(-(log_p + np.log(exact.prior)), labels)
    return found


def limit_task(e: Settings, g: int) -> dict[str, Array]:
    """Accuracy that the limit laws give for the same grammar and data, at every budget."""
    world, x0, labels, _ = draw(e, g)
    pool = stratified_pool(world, x0, e.strata, stream(e.seed, "moments", g))
    log_p = world.log_density(x0)
    names = [name for name in e.weightings if name != LEARNED]
    shared = np.empty((len(names), len(e.budgets), len(x0)))
    own = np.empty((len(names), len(e.own_budgets), len(x0)))
    for i, name in enumerate(names):
        mean, cov, alone = moments(pool, weighting(name))
        halves = [moments(half, weighting(name))[0] for half in _halves(pool)]
        if name == "vdm":  # known exactly, up to a shift
            mean = -2 * log_p
            halves = []
        for j, budget in enumerate(e.budgets):
            shared[i, j] = _extrapolated(mean, halves, cov, labels, budget)
        diagonal = alone[:, :, None] * np.eye(alone.shape[1])
        for j, budget in enumerate(e.own_budgets):
            own[i, j] = normal_accuracy(mean, diagonal, labels, budget)
        if name == "vdm":
            own[i] = stable_accuracy(log_p, labels, x0[0].size)
    return {"accuracy": shared, "unshared": own, "bayes": bayes_accuracy(log_p, world.prior)}


def _halves(pool: ErrorPool) -> list[ErrorPool]:
    """Every second stratum, and the others; the two samples of a stratum stay together."""
    even = np.arange(pool.t.shape[1]) // 2 % 2 == 0
    return [ErrorPool(pool.t[:, rows], pool.errors[:, rows]) for rows in (even, ~even)]


def _extrapolated(
    mean: Floats, halves: list[Floats], cov: Floats, labels: Labels, budget: int
) -> Floats:
    """The normal law without the first-order bias that the noise of the estimated mean brings."""
    whole = normal_accuracy(mean, cov, labels, budget)
    if not halves:
        return whole
    parts = [normal_accuracy(m, cov, labels, budget) for m in halves]
    return np.asarray(2 * whole - np.mean(parts, axis=0))


def _scored(e: Settings, world: HasErrors, x0: Floats, labels: Labels, g: int) -> dict[str, Array]:
    """What needs denoising errors alone."""
    pool = pool_of(world, x0, e.budgets[-1], stream(e.seed, "shared", g))
    own = pool_of(world, x0, e.own_budgets[-1], stream(e.seed, "unshared", g), shared=False)
    found = {
        name: np.stack([_accuracy(e, w, part, labels, budgets, pool) for w in e.weightings])
        for name, part, budgets in (
            ("accuracy", pool, e.budgets), ("unshared", own, e.own_budgets),
        )
    }  # fmt: skip
    found["single"] = _single(e, world, x0, labels, g)
    return {**found, **_pruned(e, pool, labels)}


def _weights(
    e: Settings, name: str, pool: ErrorPool, labels: Labels
) -> Sequence[tuple[Array, Callable[[Floats], Floats]]]:
    """The weight and the data it may be used on: learned weights never on their own data."""
    if name != LEARNED:
        return [(np.arange(len(labels)), weighting(name))]
    order = labels.argsort(kind="stable")  # every second datum of every class
    fits = [
        fit_buckets(pool.errors[rows], pool.t[rows], labels[rows], buckets=e.buckets)
        for rows in (order[::2], order[1::2])
    ]
    return [(order[1::2], fits[0]), (order[::2], fits[1])]


def _accuracy(
    e: Settings, name: str, pool: ErrorPool, labels: Labels, budgets: tuple[int, ...],
    fitted_on: ErrorPool,
) -> Floats:  # fmt: skip
    """Credit [budgets, n] of one weight."""
    out = np.empty((len(budgets), len(labels)))
    for rows, weight in _weights(e, name, fitted_on, labels):
        part = ErrorPool(pool.t[rows], pool.errors[rows])
        if not np.any(weight(part.t)):
            raise InvalidParameter(
                f"weighting {name} vanishes at all of the {part.t[0].size} times of every datum;"
                " raise the budget"
            )
        out[:, rows] = credit(prefix_scores(part, weight, budgets), labels[rows])
    return out


def _single(e: Settings, world: HasErrors, x0: Floats, labels: Labels, g: int) -> Floats:
    """Credit [levels, n] of one shared sample at one noise level."""
    out = np.empty((len(e.levels), len(x0)))
    for i, t in enumerate(e.levels):
        pool = pool_of(
            world, x0, e.repeats, stream(e.seed, "single", g, i),
            times=partial(np.full_like, fill_value=t),
        )  # fmt: skip
        each = pool.errors.transpose(1, 0, 2)
        out[i] = credit(each, labels).mean(axis=0)
    return out


def _information(e: Settings, world: _Noisy, x0: Floats, labels: Labels, g: int) -> Floats:
    """Credit [levels, n] of the exact posterior of the class given one noisy datum."""
    out = np.empty((len(e.levels), len(x0)))
    for i, t in enumerate(e.levels):
        noise = stream(e.seed, "information", g, i).standard_normal(x0.shape)
        snr = np.full(len(x0), float(snr_at(t)))
        out[i] = credit(-world.noisy_log_odds(x0, noise, snr), labels)
    return out


def _pruned(e: Settings, pool: ErrorPool, labels: Labels) -> dict[str, Array]:
    """Answers and calls of the two ways to save calls."""
    scores = weighting(PRUNED)(pool.t)[..., None] * pool.errors
    tested = paired_t_pruning(scores, p=e.p, min_scores=e.min_scores)
    staged = staged_elimination(scores, e.keep, e.stages)
    return {
        "pruned": (tested.answer == labels).astype(float),
        "pruned_calls": tested.calls.astype(float),
        "staged": (staged.answer == labels).astype(float),
        "staged_calls": staged.calls.astype(float),
        "final_scores": scores.mean(axis=1),
        "labels": labels,
    }


def _levels(e: Settings, world: SoftLeaves, x0: Floats, truth: Any, g: int) -> dict[str, Array]:
    """The first node of every level as the class: confusion and accuracy beside Bayes."""
    grammar, depth = world.grammar, world.grammar.L
    size, few = max(grammar.v), x0[: e.level_data]
    confusion = np.zeros((depth + 1, size, size))
    hit, best = np.zeros((depth + 1, len(few))), np.zeros((depth + 1, len(few)))
    weight = weighting("snr")
    for level in range(depth + 1):
        node = NodeClasses(world, level)
        symbols = truth.levels[level][: len(few), 0]
        labels = node.labels_of(symbols)
        pool = pool_of(node, few, e.level_samples, stream(e.seed, "level", g, level))
        scores = class_scores(pool.errors, pool.t, weight)
        np.add.at(confusion[level], (symbols, node.symbols[scores.argmin(axis=1)]), 1)
        hit[level] = credit(scores, labels)
        best[level] = bayes_accuracy(node.log_density(few), node.prior)
    return {"confusion": confusion, "level_accuracy": hit, "level_bayes": best}
