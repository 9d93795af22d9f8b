r"""The most likely string against the string of likeliest leaves.

A denoiser returns the probabilities of every leaf.  The likeliest symbol of each leaf is the best
guess of that leaf, but all of them together need not be a string of the language.  The most likely
derivation is one, and the best guess of the whole string.  Which errors are made follows from the
posterior itself:

.. math::
   E[\text{share of leaves right}] = \frac1n \sum_i p_i(\hat x_i), \qquad
   P(\text{string right}) = p(\hat x \mid x_t)

for any guess :math:`\hat x(x_t)`.  The prediction averages the right-hand sides over noisy data,
the measurement compares the guesses with the strings that were noised.
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
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.noise import noise_process
from hierdiff.plots import BLUE, ORANGE, PALETTE, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import nested_mean, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior

__all__ = ["MostLikelyStrings"]

Array = NDArray[Any]
GUESSES = ("likeliest leaves", "most likely string")
RESOLVED = 10
"""Expected number of strings, right and wrong ones, that a z-score needs to be normal."""


def one_grammar(
    rhm: RHM, process: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """What is promised and what is right [datum, t, guess]; how the guesses differ [datum, t]."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = noise_process(process, rhm.v)
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    found: dict[str, list[Array]] = {name: [] for name in _NAMES}
    for t in times:
        x_t = noise.corrupt_with(truth.leaves, float(t), randoms)
        asked = tree_posterior(grammar, noise.evidence(x_t, float(t)), threads=1)
        best = asked.most_likely()
        marginals, top = asked.marginals[grammar.L], best.derivations.leaves
        guess = marginals.argmax(axis=2)
        valid = grammar.is_valid(guess)
        # a string outside of the language has probability zero; another stands in for it
        chance = asked.log_posterior(grammar.parse(np.where(valid[:, None], guess, top)))
        chance = np.where(valid, np.exp(chance), 0.0)
        largest = np.exp(best.log_posterior[:, 0])
        both = (guess, top)
        found["promised_leaves"].append(np.stack([_believed(marginals, x) for x in both], axis=1))
        found["promised_string"].append(np.stack([chance, largest], axis=1))
        right = np.stack([x == truth.leaves for x in both], axis=1)
        found["leaves_right"].append(right.mean(axis=2))
        found["string_right"].append(right.all(axis=2).astype(float))
        found["invalid"].append(~valid)
        # equally likely strings differ by no more than rounding
        found["less_likely"].append(chance < largest * (1 - 1e-9))
    return {name: np.stack(x, axis=1).astype(float) for name, x in found.items()}


_NAMES = (
    "promised_leaves", "promised_string", "leaves_right", "string_right", "invalid", "less_likely",
)  # fmt: skip


def _believed(marginals: Array, guess: Array) -> Array:
    """Mean probability of the leaves of a guess, [n]."""
    return np.asarray(np.take_along_axis(marginals, guess[..., None], axis=2)[..., 0].mean(axis=1))


@dataclass(frozen=True)
class MostLikelyStrings:
    """The most likely string and the string of likeliest leaves, against the noise level.

    Notes
    -----
    Validity: both guesses are exact; errors are over grammars.  Uniform and Gaussian noise; masked
    data have many equally likely strings.

    Examples
    --------
    >>> small = MostLikelyStrings(v=6, m=2, L=2, grammars=2, data=8, levels=3)
    >>> small.measure(workers=1).string_right.dims
    ('guess', 't')
    """

    name: ClassVar[str] = "most_likely_strings"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 5
    """Depth."""
    noise: Literal["uniform", "gaussian"] = "uniform"
    """Noise process."""
    grammars: int = 12
    """Random grammars."""
    data: int = 200
    """Data per grammar."""
    levels: int = 17
    """Noise levels between 0 and 0.8."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        one_of("noise", self.noise, ("uniform", "gaussian"))
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=2, high=10**5),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 0.8, self.levels + 1)[1:]

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["posterior"] = "posterior",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """How often each guess is right, by the posterior of the same noisy data."""
        one_of("law", law, ("posterior",))
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "promised_leaves", "promised_string", "theory")

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
        """How often each guess is right, and how often the likeliest leaves are no string."""
        no_model(
            self.name, model, data,
            "the most likely string needs a grammar and its rules; a denoiser gives the likeliest "
            "leaves alone",
        )  # fmt: skip
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "leaves_right", "string_right", "simulation")

    def _found(self, options: dict[str, Any]) -> dict[str, Array]:
        """Numbers of all grammars, [grammar, datum, t, ...]."""
        rhm = RHM(self.v, self.m, self.s, self.L)
        tasks = []
        for g in range(self.grammars):
            parameters = {
                "version": 1, "question": self.name, "v": self.v, "m": self.m, "s": self.s,
                "L": self.L, "noise": self.noise, "data": self.data, "seed": self.seed,
                "grammar": g, "times": self.times.tolist(),
            }  # fmt: skip
            arguments = (rhm, self.noise, self.times, self.data, self.seed, g)
            tasks.append(Task(one_grammar, arguments, parameters))
        parts = run_tasks(tasks, name=self.name, **options)
        return {name: np.stack([p[name] for p in parts]) for name in _NAMES}

    def _labelled(
        self, found: dict[str, Array], leaves: str, string: str, source: str
    ) -> xr.Dataset:
        plane = ("guess", "t")
        variables: dict[str, Any] = {}
        for word, name, text in (
            ("leaves_right", leaves, "share of leaves that are right"),
            ("string_right", string, "probability that the whole string is right"),
        ):
            mean = nested_mean(found[name])
            variables[word] = (plane, mean.mean.T, text)
            variables[f"{word}_error"] = (plane, mean.error.T, "its standard error")
        if source != "theory":
            for name, text in (
                ("invalid", "share of strings of likeliest leaves outside of the language"),
                ("less_likely", "share of strings of likeliest leaves that are not most likely"),
            ):
                mean = nested_mean(found[name])
                variables[name] = (("t",), mean.mean, text)
                variables[f"{name}_error"] = (("t",), mean.error, "its standard error")
            for word, z in scores(found).items():
                variables[f"{word}_z"] = (plane, z.T, "z-score of the prediction, or 0: too rare")
        coords = {
            "guess": (("guess",), list(GUESSES), "what is guessed"),
            "t": (("t",), self.times, f"noise level t of the {self.noise} process"),
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
        """Strings outside of the language; leaves and strings that are right."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Shares at all noise levels, and the largest z-score of the prediction."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), values(ds))


def scores(found: dict[str, Array]) -> dict[str, Array]:
    """z-scores [t, guess] of the prediction; zero where fewer than RESOLVED strings are expected.

    Given the noisy datum a string is right with its posterior probability p, independently of the
    others, so the variance of their number is the sum of p (1 - p).
    """
    p, right, leaves = (
        x.reshape(-1, *x.shape[2:])
        for x in (found["promised_string"], found["string_right"],
                  found["leaves_right"] - found["promised_leaves"])
    )  # fmt: skip
    variance = (p * (1 - p)).sum(axis=0)
    enough = variance >= RESOLVED
    string = (right - p).sum(axis=0) / np.sqrt(np.where(enough, variance, 1.0))
    return {
        "string": np.where(enough, string, 0.0),
        "leaves": leaves.mean(axis=0) / np.maximum(standard_error(leaves), 1e-300),
    }


def table(ds: xr.Dataset) -> str:
    """A row per noise level."""
    header = ["t", "not in the language", "not most likely", "leaves right: leaves, string",
              "string right: leaves, string"]  # fmt: skip
    rows = []
    for i, t in enumerate(ds.t.values):
        one = ds.isel(t=i)
        shares = [plus_minus(one[w], one[f"{w}_error"]) for w in ("invalid", "less_likely")]
        pairs = ["{:.3f}, {:.3f}".format(*one[w].values) for w in ("leaves_right", "string_right")]
        rows.append([f"{t:.2f}", *shares, *pairs])
    return text_table(header, rows)


def values(ds: xr.Dataset) -> dict[str, Any]:
    """The numbers of the table."""
    words = ("invalid", "invalid_error", "less_likely", "less_likely_error", "leaves_right",
             "string_right", "leaves_z", "string_z")  # fmt: skip
    return {"t": ds.t.values.tolist(), **{w: ds[w].values.tolist() for w in words}}


def claim(ds: xr.Dataset) -> str:
    """Where half of the strings of likeliest leaves leave the language."""
    first, last = ds.isel(t=0), ds.isel(t=-1)
    z = max(float(np.abs(ds[w].values).max()) for w in ("leaves_z", "string_z"))
    gain = (ds.string_right[1] - ds.string_right[0]).values
    i = int(gain.argmax())
    lost = [f"{100 * float(x.invalid):.0f} %" for x in (first, last)]
    return (
        f"the likeliest leaves are no string of the language for {lost[0]} of data at t = "
        f"{float(first.t):.2f} and {lost[1]} at t = {float(last.t):.2f}; the most likely string is "
        f"right more often by up to {gain[i]:.3f}, at t = {float(ds.t[i]):.2f}; the posterior "
        f"predicts both, largest |z| = {z:.1f}"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Three panels against the noise level."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
    for word, text, form, colour in (
        ("invalid", "not in the language", "o", BLUE),
        ("less_likely", "not most likely", "x", ORANGE),
    ):  # fmt: skip
        axes[0].errorbar(ds.t, ds[word], ds[f"{word}_error"], fmt=f"{form}-", ms=4, lw=0.9,
                         color=colour, label=text)  # fmt: skip
    axes[0].set(ylabel="strings of likeliest leaves", ylim=(0, 1.03))
    for ax, word, text in (
        (axes[1], "leaves_right", "leaves that are right"),
        (axes[2], "string_right", "whole strings that are right"),
    ):
        for k, guess in enumerate(GUESSES):
            ax.errorbar(ds.t, ds[word][k], ds[f"{word}_error"][k], fmt="o", ms=3.5,
                        color=PALETTE[k], label=guess)  # fmt: skip
            ax.plot(law.t, law[word][k], "-", lw=1, color=PALETTE[k])
        ax.set(ylabel=text)
    axes[2].set_yscale("symlog", linthresh=1e-2)
    for ax in axes:
        ax.set(xlabel=str(ds.t.attrs["long_name"]))
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, "likeliest leaves, one by one", "leaves; lines: theory", "strings; lines: theory")
    legend(axes[0])
    legend(axes[1])
    return figure
