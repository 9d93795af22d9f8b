"""From the tasks of the classification experiment to labelled means with errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from hierdiff import results
from hierdiff.seeds import stream
from hierdiff.sims._calibration import calibration_error, discrimination, platt, temperature
from hierdiff.sims._classification_tasks import LEARNED, Settings
from hierdiff.sims.estimators import bootstrap, mean_and_error, standard_error

__all__ = ["calibrated", "summarise"]

Array: TypeAlias = NDArray[Any]
Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any, str]]

_MEANS: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (("weighting", "budget"), "accuracy, noise shared by the classes"),
    "unshared": (("weighting", "own_budget"), "accuracy, every class with noise of its own"),
    "bayes": ((), "probability that Bayes' answer is right"),
    "bayes_hit": ((), "how often Bayes' answer was right"),
    "single": (("level",), "accuracy of one shared sample at one time"),
    "information": (("level",), "accuracy of the exact posterior p(c | x_t)"),
    "pruned": ((), "accuracy with paired t-tests"),
    "staged": ((), "accuracy with staged elimination"),
    "level_accuracy": (("tree_level",), "accuracy with the first node of a level as class"),
    "level_bayes": (("tree_level",), "Bayes' ceiling for it"),
}
_RESAMPLES = 200


def summarise(
    e: Settings, fields: dict[str, Any], found: Sequence[dict[str, Array]], source: str, law: str
) -> xr.Dataset:
    """Means over data and grammars, with errors over grammars (over data if there is one)."""
    variables: Variables = {}
    for name, (dims, text) in _MEANS.items():
        if name in found[0]:
            _add(variables, name, dims, [f[name] for f in found], text)
    if "pruned" in found[0]:
        _add_calls(variables, found)
        _add_calibration(e, variables, found)
    names = list(e.weightings)
    if len(found[0]["accuracy"]) < len(names):  # learned weights have no law
        names.remove(LEARNED)
    coords: Variables = {
        "weighting": (("weighting",), names, "weight of the error of x0"),
        "budget": (("budget",), list(e.budgets), "samples N, shared"),
        "own_budget": (("own_budget",), list(e.own_budgets), "samples N of each class"),
    }
    if "single" in found[0]:
        coords["level"] = (("level",), list(e.levels), "time t of a single sample")
    if "confusion" in found[0]:
        symbols = list(range(found[0]["confusion"].shape[1]))
        total = np.sum([f["confusion"] for f in found], axis=0)
        text = "count of answers"
        variables["confusion"] = (("tree_level", "true", "answer"), total, text)
        coords["tree_level"] = (("tree_level",), list(range(e.rhm.L + 1)), "level, the root is 0")
        coords["true"] = (("true",), symbols, "true symbol")
        coords["answer"] = (("answer",), symbols, "symbol of the smallest score")
    attributes = {**results.provenance(fields), **({"law": law} if law else {})}
    return results.label(variables, coords, source, attributes)


def _add(
    variables: Variables, name: str, dims: tuple[str, ...], values: list[Array], text: str,
    *, each: bool = True,
) -> None:  # fmt: skip
    """A mean, its error, and the means of single grammars."""
    by_grammar = np.stack([v.mean(axis=-1) for v in values])
    if len(values) > 1:
        error = standard_error(by_grammar)
        if each:
            variables[f"{name}_by_grammar"] = (("grammar", *dims), by_grammar, text)
    else:
        error = standard_error(np.moveaxis(values[0], -1, 0))
    variables[name] = (dims, by_grammar.mean(axis=0), text)
    variables[f"{name}_error"] = (dims, error, f"standard error of: {text}")


def _add_calls(variables: Variables, found: Sequence[dict[str, Array]]) -> None:
    """Calls per class, of all data and of those answered right and wrong."""
    classes = found[0]["final_scores"].shape[1]
    for name in ("pruned", "staged"):
        calls = [f[f"{name}_calls"] / classes for f in found]
        _add(variables, f"{name}_calls", (), calls, f"calls per class, {name}")
    right = [f["pruned"] > 0 for f in found]
    for word, chosen in (("right", right), ("wrong", [~r for r in right])):
        kept = [
            f["pruned_calls"][rows] / classes
            for f, rows in zip(found, chosen, strict=True)
            if rows.sum() > 1
        ]
        if kept:
            # a grammar without such answers has no mean
            _add(variables, f"calls_{word}", (), kept, f"calls per class when {word}", each=False)


def _add_calibration(e: Settings, variables: Variables, found: Sequence[dict[str, Array]]) -> None:
    """Area under the curve and calibration error of calls and of the softmax of scores."""
    parts = [
        (np.log(f["pruned_calls"]), f["pruned"] > 0, f["final_scores"], f["labels"]) for f in found
    ]
    rng = stream(e.seed, "calibration")
    cut = [rng.permutation(len(p[1])) % 2 == 0 for p in parts]
    stated = {"calls": _by_calls(parts, cut), "softmax": _by_softmax(parts, cut)}
    for name, pairs in stated.items():
        areas = [discrimination(p, y) for p, y in pairs]
        areas = [a for a in areas if np.isfinite(a)]
        if len(areas) > 1:
            value, spread = mean_and_error(areas)
            variables[f"auc_{name}"] = ((), value, f"area under ROC, {name}")
            variables[f"auc_{name}_error"] = ((), spread, "standard error over grammars")
        if sum(len(y) for _, y in pairs) >= 20:
            stated_error, doubt = calibrated(pairs, rng)
            variables[f"ece_{name}"] = ((), stated_error, f"expected calibration error, {name}")
            variables[f"ece_{name}_error"] = ((), doubt, "bootstrap error over grammars")


def _by_calls(
    parts: Sequence[tuple[Array, ...]], cut: Sequence[Array]
) -> list[tuple[Array, Array]]:
    """Probability of being right from the calls, fitted on one half and read on the other."""
    half = [np.concatenate([p[i][c] for p, c in zip(parts, cut, strict=True)]) for i in (0, 1)]
    slope, offset = platt(half[0], half[1])
    return [(special.expit(slope * p[0][~c] + offset), p[1][~c])
            for p, c in zip(parts, cut, strict=True)]  # fmt: skip


def _by_softmax(
    parts: Sequence[tuple[Array, ...]], cut: Sequence[Array]
) -> list[tuple[Array, Array]]:
    """Largest softmax probability, its temperature fitted on one half and read on the other."""
    half = [np.concatenate([p[i][c] for p, c in zip(parts, cut, strict=True)]) for i in (2, 3)]
    rate = temperature(half[0], half[1])
    out = []
    for p, c in zip(parts, cut, strict=True):
        share = special.softmax(-rate * p[2][~c], axis=1)
        out.append((share.max(axis=1), share.argmax(axis=1) == p[3][~c]))
    return out


def calibrated(
    pairs: Sequence[tuple[Array, Array]], rng: np.random.Generator
) -> tuple[float, float]:
    """Calibration error of all grammars together, and its bootstrap error over grammars."""

    def value(rows: Array) -> float:
        stated, right = (np.concatenate([pairs[i][j] for i in rows]) for j in (0, 1))
        return calibration_error(stated, right)

    whole = value(np.arange(len(pairs)))
    return whole, float(bootstrap(value, len(pairs), _RESAMPLES, rng).error)
