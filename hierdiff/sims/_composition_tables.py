"""From the tasks of the composition experiment to labelled variables with errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.seeds import stream
from hierdiff.sims.estimators import bootstrap, standard_error
from hierdiff.sims.phases import Thresholds, phase_of_strings
from hierdiff.theory.rhm.sample_complexity import local_exponent

__all__ = [
    "Variables",
    "measured_cost",
    "measured_kernels",
    "measured_strings",
    "predicted_cost",
    "predicted_kernels",
    "predicted_strings",
]

Array: TypeAlias = NDArray[Any]
Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any, str]]

_RESAMPLES = 400
_COST = "data P* at which half of the final score is reached"
_SLOPE = "slope of ln P* against ln m"
_KERNEL = "labels that reach the target accuracy"
_KERNEL_SLOPE = "slope of ln P against ln N"
_GAP = "drawn minus expected share of valid nodes"
_RESOLVED = "data at which correlations stand out of noise"


def _with_error(
    name: str, dims: tuple[str, ...], value: ArrayLike, error: ArrayLike, text: str
) -> Variables:
    return {
        name: (dims, np.asarray(value), text),
        f"{name}_error": (dims, np.asarray(error), f"standard error of: {text}"),
    }


def _exact(name: str, dims: tuple[str, ...], value: ArrayLike, text: str) -> Variables:
    return _with_error(name, dims, value, np.zeros(np.shape(value)), text)


# --- laws -----------------------------------------------------------------------------------------


def predicted_cost(m: tuple[int, ...], cost: Array, resolved: Array) -> Variables:
    """Costs [height, m] of a law, the same for both learners."""
    x = np.array(m)
    both = np.stack([cost, cost])
    slopes = [[local_exponent(x, line) for line in table] for table in both]
    found = _exact("samples", ("learner", "height", "m"), both, _COST)
    last = np.argsort(x)[-2:]
    ends = [[local_exponent(x[last], line[last]) for line in table] for table in both]
    found |= _exact("last_exponent", ("learner", "height"), ends, f"{_SLOPE}, two largest m")
    found |= _exact("exponent", ("learner", "height"), slopes, _SLOPE)
    found |= _exact("resolved", ("height", "m"), resolved, _RESOLVED)
    shown = [local_exponent(x, line) for line in resolved]
    return found | _exact("resolved_exponent", ("height",), shown, f"{_SLOPE}, resolved")


def predicted_strings(fate: Array, levels: int) -> Variables:
    """Fates [grammar, informed, known, level + 1] at t = 1; other t are NaN."""
    mean = fate.mean(axis=0)
    whole = np.full((*mean.shape[:2], levels, mean.shape[2]), np.nan)
    whole[:, :, -1] = mean
    dims = ("informed", "known", "t")
    found = _exact("validity", (*dims, "level"), whole[..., :-1], "share of valid nodes")
    found |= _exact("right", dims, whole[..., -1], "share of strings of the class of the datum")
    zero = np.zeros(whole.shape[:-1])
    return found | _exact("gap", dims, zero, _GAP)


def predicted_kernels(positions: tuple[int, ...], cost: Array) -> Variables:
    """Costs [kernel, N]."""
    slopes = [local_exponent(np.array(positions), line) for line in cost]
    found = _exact("kernel_samples", ("kernel", "positions"), cost, _KERNEL)
    return found | _exact("kernel_exponent", ("kernel",), slopes, _KERNEL_SLOPE)


# --- measurements ---------------------------------------------------------------------------------


def _first_crossing(log_samples: Array, curve: Array, height: float) -> float:
    """Logarithm of P where a curve first reaches a height; NaN if outside of its range."""
    above = np.flatnonzero(curve >= height)
    if not above.size or above[0] == 0:
        return float("nan")
    i = int(above[0])
    share = (height - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(log_samples[i - 1] + share * (log_samples[i] - log_samples[i - 1]))


def bootstrapped(values: Array, statistic: Callable[[Array], Array]) -> tuple[Array, Array]:
    """A statistic of the means of values [m, grammar, ...], and its spread over resampled grammars.

    Grammars of different m are independent and resampled by themselves.
    """
    blocks, grammars = np.arange(len(values))[:, None], values.shape[1]
    found = bootstrap(
        lambda rows: statistic(values[blocks, rows].mean(axis=1)), grammars, _RESAMPLES,
        stream(0, "bootstrap"), groups=len(values),
    )  # fmt: skip
    return statistic(values.mean(axis=1)), found.error


def _error_over_grammars(values: Array) -> Array:
    """Standard error of means of values [m, grammar, ...]; NaN where a grammar has none."""
    by_grammar = np.moveaxis(values, 1, 0)
    return np.asarray(standard_error(np.nan_to_num(by_grammar)) + 0 * by_grammar.mean(axis=0))


def _slope(x: Array) -> Callable[[Array], Array]:
    """Slope against x along the first axis; rows with NaN are left out."""

    def fit(y: Array) -> Array:
        flat = y.reshape(len(x), -1)
        out = np.full(flat.shape[1], np.nan)
        for i, column in enumerate(flat.T):
            kept = np.isfinite(column)
            if kept.sum() >= 2:
                out[i] = np.polyfit(x[kept], column[kept], 1)[0]
        return out.reshape(y.shape[1:])

    return fit


def measured_cost(
    found: dict[str, Array], grids: Array, m: tuple[int, ...], half: float
) -> Variables:
    """Curves [m, grammar, learner, height, P] on grids [m, height, P] to costs and exponents."""
    curves = found["accuracy"]
    x, logs = np.log(np.array(m)), np.log(grids)
    shape = curves.shape[:-1]
    star = np.empty(shape)
    for i in np.ndindex(*shape):
        star[i] = _first_crossing(logs[i[0], i[3]], curves[i], half)
    missing = np.isnan(star)
    by_grammar, star = star, np.where(missing.any(axis=1, keepdims=True), np.nan, star)
    mean = star.mean(axis=1)  # NaN if one is missing
    error = _error_over_grammars(star)
    slope, slope_error = bootstrapped(star, _slope(x))
    dims = ("learner", "height", "m")

    def turned(values: Array) -> Array:
        return np.moveaxis(values, 0, -1)

    cost = np.exp(turned(mean))
    variables = _with_error(
        "samples",
        dims,
        cost,
        cost * turned(error),
        f"{_COST}, geometric mean",
    )
    variables |= _with_error("exponent", dims[:2], slope, slope_error, _SLOPE)
    last = np.argsort(m)[-2:]
    slope, slope_error = bootstrapped(star[last], _slope(x[last]))
    variables |= _with_error(
        "last_exponent", dims[:2], slope, slope_error, f"{_SLOPE}, two largest m"
    )
    power = 1 / found["resolved"]
    log_mean = np.log(1 / power.mean(axis=1))
    shown, shown_error = bootstrapped(power, lambda p: _slope(x)(-np.log(p)))
    relative = standard_error(np.moveaxis(power, 1, 0)) / power.mean(axis=1)
    value = np.exp(turned(log_mean))
    variables |= _with_error("resolved", dims[1:], value, value * turned(relative), _RESOLVED)
    variables |= _with_error(
        "resolved_exponent", dims[1:2], shown, shown_error, f"{_SLOPE}, resolved"
    )
    score = "score as a share of that on infinite data"
    variables |= _with_error(
        "accuracy", (*dims, "scaled"), np.moveaxis(curves.mean(axis=1), 0, 2),
        np.moveaxis(_error_over_grammars(curves), 0, 2), score,
    )  # fmt: skip
    censored = turned(missing.sum(axis=1))
    variables["censored"] = (dims, censored, "grammars whose P* lies outside of the range of P")
    variables["samples_by_grammar"] = (
        ("grammar", *dims), np.moveaxis(np.exp(by_grammar), (1, 0), (0, 3)), _COST
    )  # fmt: skip
    variables["ceiling"] = (dims, turned(found["ceiling"].mean(axis=1)), "score on infinite data")
    share = turned(found["identifiable"].mean(axis=1))
    variables["identifiable"] = (dims[1:], share, "share of tuples that can be identified")
    variables["below"] = (dims, turned(_below(curves, logs, mean)),
                          "score one height below, at the P* of this height")  # fmt: skip
    return variables


def _below(curves: Array, logs: Array, star: Array) -> Array:
    """Mean score of the next lower height at the cost of each height; NaN at the lowest."""
    mean = curves.mean(axis=1)
    out = np.full(star.shape, np.nan)
    for i, learner, h in np.ndindex(*star.shape):
        if h:
            out[i, learner, h] = np.interp(
                star[i, learner, h], logs[i, h - 1], mean[i, learner, h - 1]
            )
    return out


def measured_strings(
    fate: Array, exact: Array | None, thresholds: Thresholds, strings: int
) -> Variables:
    """Fates [unit, informed, known, t, level + 1], of ``strings`` each, to means with errors.

    No error is stated below one string in all of them: none seen does not mean none there.
    """
    dims = ("informed", "known", "t")
    least = 1 / (len(fate) * strings)

    def spread(values: Array) -> Array:
        if len(values) < 2:
            return np.full(values.shape[1:], np.nan)
        return np.asarray(np.maximum(standard_error(values), least))

    mean, error = fate.mean(axis=0), spread(fate)
    variables = _with_error(
        "validity", (*dims, "level"), mean[..., :-1], error[..., :-1], "share of valid nodes"
    )
    variables |= _with_error(
        "right", dims, mean[..., -1], error[..., -1], "share of strings of the class of the datum"
    )
    names = np.empty(mean.shape[:-1], dtype="U12")
    for i in np.ndindex(*names.shape):
        tuples, whole, right = mean[i][-3], mean[i][0], mean[i][-1]
        names[i] = phase_of_strings(float(tuples), float(whole), float(right), thresholds)
    variables["phase"] = (dims, names, "phase of the strings")
    if exact is not None:
        gap = (fate - exact)[..., :-1].mean(axis=-1)
        variables |= _with_error("gap", dims, gap.mean(axis=0), spread(gap), _GAP)
    return variables


def measured_kernels(found: Array, positions: tuple[int, ...]) -> Variables:
    """Samples with errors [kernel, N, 2] to a table and slopes."""
    samples, error = found[..., 0], found[..., 1]
    x = np.log(np.array(positions))
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()  # of each point in a least-squares slope
    slope = np.log(samples) @ weight
    spread = np.sqrt((error / samples) ** 2 @ weight**2)
    variables = _with_error("kernel_samples", ("kernel", "positions"), samples, error, _KERNEL)
    return variables | _with_error("kernel_exponent", ("kernel",), slope, spread, _KERNEL_SLOPE)
