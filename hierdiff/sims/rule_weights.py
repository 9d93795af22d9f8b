r"""Rule weights recovered from noisy strings: their error against the number of strings.

Expectation maximisation (:func:`~hierdiff.theory.fit_weights`) finds the weights of known rules
from P noisy strings.  The information of P strings about the weights grows as P, so the error
falls as

.. math:: \varepsilon(P, t) = \sqrt{\frac{1}{W} \sum_{l,a,k} E\,(\hat\pi - \pi)^2}
   \approx \sqrt{\operatorname{tr} F(t)^{-1} / (W P)},

with W weights and the Fisher information F(t) of one string at noise level t.  The prediction takes
F from the scores of many strings at the true weights; the measurement compares fits with the truth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, listed, natural, no_model, number, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.data.rhm_variants import zipf
from hierdiff.noise import noise_process
from hierdiff.plots import Figure, panels, plain_log, plt, shade, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.rule_learning import LearnedWeights, fit_weights
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior

__all__ = ["RuleWeights"]

Array = NDArray[Any]
INFORMATION = 10_000
"""Strings that give the information of one string, to a per cent of it."""


def one_grammar(
    rhm: RHM, a: float, process: str, times: tuple[float, ...], numbers: tuple[int, ...],
    seed: int, g: int,
) -> dict[str, Array]:  # fmt: skip
    """Squared errors of the weights [t, P], those predicted, and uniform weights'."""
    truth = zipf(rhm, a, stream(seed, "grammar", g))
    start = Grammar(truth.rules, leaf_vocabulary=truth.leaf_vocabulary)
    noise = noise_process(process, rhm.v)
    square, law, steps = np.empty((2, len(times), len(numbers))), [], []
    for i, t in enumerate(times):
        data = truth.sample(INFORMATION, stream(seed, "information", g, i))
        x_t = noise.corrupt(data.leaves, t, stream(seed, "information noise", g, i))
        known = tree_posterior(truth, noise.evidence(x_t, t), threads=1)
        exact = LearnedWeights(truth, np.empty(0), True, known)
        law.append(_mean_square(exact.standard_errors) * INFORMATION)
        for j, size in enumerate(numbers):
            data = truth.sample(size, stream(seed, "data", g, i, j))
            x_t = noise.corrupt(data.leaves, t, stream(seed, "noise", g, i, j))
            found = fit_weights(
                start, noise.evidence(x_t, t), num_steps=20_000, tolerance=1e-8, threads=1
            )
            gaps = [a - b for a, b in zip(found.weights, truth.weights, strict=True)]
            square[0, i, j] = _mean_square(gaps)
            square[1, i, j] = _mean_square(found.standard_errors)
            steps.append(len(found.log_likelihood) - 1)
    flat = [a - b for a, b in zip(start.weights, truth.weights, strict=True)]
    return {
        "square": square[0], "stated": square[1], "law": np.array(law),
        "uniform": np.array(_mean_square(flat)),
        "steps": np.array(steps, float).reshape(len(times), len(numbers)),
    }  # fmt: skip


def _mean_square(parts: Any) -> float:
    """Mean square of all numbers of several arrays."""
    return float(np.mean(np.concatenate([np.ravel(x) for x in parts]) ** 2))


@dataclass(frozen=True)
class RuleWeights:
    """Error of rule weights from P noisy strings, and the law of their information.

    Notes
    -----
    Validity: known rules, unknown weights, which follow a law of Zipf in every symbol; errors are
    over grammars, each with strings of its own.

    Examples
    --------
    >>> small = RuleWeights(v=4, m=2, L=1, grammars=2, times=(0.2,), numbers=(50, 100))
    >>> small.measure(workers=1).weight_error.dims
    ('t', 'P')
    """

    name: ClassVar[str] = "rule_weights"
    _repr_html_ = experiment_html

    v: int = 6
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 3
    """Depth."""
    a: float = 1.0
    """Exponent of the weights, k**(-1 - a) for the k-th rule of a symbol."""
    noise: Literal["uniform", "masking"] = "uniform"
    """Noise process."""
    times: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Noise levels."""
    numbers: tuple[int, ...] = (100, 300, 1000, 3000)
    """Numbers P of strings."""
    grammars: int = 10
    """Random grammars."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        one_of("noise", self.noise, ("uniform", "masking"))
        check_fields(
            self,
            a=partial(number, low=-1, high=20),
            times=partial(listed, rule=partial(number, low=0, below=1), rising=True),
            numbers=partial(listed, rule=partial(whole, low=1, high=10**7), least=2, rising=True),
            grammars=partial(whole, low=2, high=10**6),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), max(INFORMATION, *self.numbers))

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["information"] = "information",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """The error by the Fisher information of one string."""
        one_of("law", law, ("information",))
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        square = found["law"][..., None] / np.array(self.numbers)
        return self._labelled(square, found, "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """The error of fits, the error that they state, and the exponent of P."""
        no_model(
            self.name, model, data,
            "it learns the weights of grammars of its own from strings; a diffusion model has "
            "neither rules nor weights",
        )  # fmt: skip
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found["square"], found, "simulation")

    def _found(self, options: dict[str, Any]) -> dict[str, Array]:
        rhm = RHM(self.v, self.m, self.s, self.L)
        tasks = []
        for g in range(self.grammars):
            parameters = {"version": 1, "question": self.name, **asdict(self), "grammar": g}
            parameters.pop("grammars")
            arguments = (rhm, self.a, self.noise, self.times, self.numbers, self.seed, g)
            tasks.append(Task(one_grammar, arguments, parameters))
        parts = run_tasks(tasks, name=self.name, **options)
        return {name: np.stack([p[name] for p in parts]) for name in parts[0]}

    def _labelled(self, square: Array, found: dict[str, Array], source: str) -> xr.Dataset:
        plane = ("t", "P")
        mean = square.mean(axis=0)
        variables: dict[str, Any] = {
            "weight_error": (plane, np.sqrt(mean), "root mean square error of a weight"),
            # of a square root: half the relative error of what is under it
            "weight_error_error": (plane, standard_error(square) / (2 * np.sqrt(mean)),
                                   "its standard error"),
        }  # fmt: skip
        if source != "theory":
            exponents = np.polynomial.polynomial.polyfit(
                np.log(self.numbers), 0.5 * np.log(square).reshape(-1, len(self.numbers)).T, 1
            )[1].reshape(square.shape[:2])
            gap = np.log(square / (found["law"][..., None] / np.array(self.numbers)))
            variables |= {
                "stated": (plane, np.sqrt(np.median(found["stated"], axis=0)),
                           "error that a fit states, median"),
                "exponent": (("t",), exponents.mean(axis=0), "exponent of P in the error"),
                "exponent_error": (("t",), standard_error(exponents), "its standard error"),
                "ratio": (plane, np.exp(gap.mean(axis=0) / 2), "error over the law, geometric"),
                "ratio_error": (plane, np.exp(gap.mean(axis=0) / 2) * standard_error(gap) / 2,
                                "its standard error"),
                "steps": (plane, found["steps"].mean(axis=0), "steps of the iteration"),
                "uniform": ((), np.sqrt(found["uniform"].mean()), "error of uniform weights"),
            }  # fmt: skip
        coords = {
            "t": (("t",), list(self.times), f"noise level t of the {self.noise} process"),
            "P": (("P",), list(self.numbers), "number of strings"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction and measurement."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        return {self.name: measured, f"{self.name}_theory": self.predict(**options)}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """The error against the number of strings, and over its law."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Errors, and the exponent at every noise level."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), values(ds))


def table(ds: xr.Dataset) -> str:
    """A row per noise level and number of strings."""
    rows = []
    for t in ds.t.values:
        for P in ds.P.values:
            one = ds.sel(t=t, P=P)
            error = plus_minus(one.weight_error, one.weight_error_error, digits=4)
            rows.append([f"{t:.2f}", P, error,
                         f"{float(one.stated):.4f}",
                         plus_minus(one.ratio, one.ratio_error, digits=2),
                         f"{float(one.steps):.0f}"])  # fmt: skip
    return text_table(["t", "P", "error", "stated", "over the law", "steps"], rows, keys=2)


def values(ds: xr.Dataset) -> dict[str, Any]:
    """The numbers of the table."""
    words = ("weight_error", "weight_error_error", "stated", "ratio", "ratio_error", "exponent",
             "exponent_error")  # fmt: skip
    return {"t": ds.t.values.tolist(), "P": ds.P.values.tolist(),
            **{w: ds[w].values.tolist() for w in words}}  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """Exponents, and how near the largest numbers of strings come to the law."""
    words = ", ".join(
        f"{float(x):.2f} ± {float(e):.2f} at t = {float(t):g}"
        for t, x, e in zip(ds.t, ds.exponent, ds.exponent_error, strict=True)
    )
    last = ds.isel(P=-1)
    ratios = ", ".join(
        f"{float(x):.2f} ± {float(e):.2f}"
        for x, e in zip(last.ratio, last.ratio_error, strict=True)
    )
    return (
        f"the error of the weights falls as P to the power {words}; at P = {int(last.P)} it is "
        f"{ratios} of that of the Fisher information"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Error against P with its law; and their ratio."""
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    for i, t in enumerate(ds.t.values):
        colour = shade(i / max(ds.sizes["t"] - 1, 1))
        axes[0].errorbar(ds.P, ds.weight_error[i], ds.weight_error_error[i], fmt="o", ms=4,
                         color=colour, label=f"t = {t:g}")  # fmt: skip
        axes[0].plot(law.P, law.weight_error[i], "-", lw=1, color=colour)
        shift = ds.P * 1.04 ** (i - 1)  # so that error bars do not cover each other
        axes[1].errorbar(shift, ds.ratio[i], ds.ratio_error[i], fmt="o", ms=4, color=colour)
    axes[0].axhline(float(ds.uniform), color="0.35", ls=":", lw=1, label="uniform weights")
    axes[0].set(xscale="log", yscale="log", ylabel="error of a weight (root mean square)")
    axes[1].axhline(1, color="k", lw=0.8)
    axes[1].set(xscale="log", ylabel="error over that of the information")
    for ax in axes:
        ax.set(xlabel="number of strings P")
        ax.spines[["top", "right"]].set_visible(False)
    plain_log(axes[0].yaxis)
    panels(axes, "error; lines: Fisher information", "in units of the line")
    shared_legend(figure)
    return figure
