r"""From strings to a denoiser: what a grammar that was learned level by level gets wrong.

A learner clusters the tuples of its *own* symbols, height by height
(:class:`~hierdiff.sims.models.learned_grammar.LearnedGrammar`), and denoises by exact inference
under the grammar that it found.  It is tested on fresh strings of the true grammar.

==================  ============================================================================
recovered           share of nodes of a height whose own symbol is the true one after the best
                    one-to-one match, rescaled to 0 for chance
P*                  strings at which it reaches the success threshold
split, merged       share of nodes whose own symbol is not the commonest of their true one, and
                    whose true symbol is not the commonest of their own one
D_h                 what the rules of height h add to the divergence, nats per string
==================  ============================================================================

The divergence of strings is a sum over heights,

.. math:: \mathrm{KL}(p \,\|\, q) = \sum_{h=0}^{L} D_h, \qquad D_h = K_h - K_{h-1}, \qquad
   K_h = \sum_{i} \mathrm{KL}\big(p(x_{(h,i)}) \,\|\, q(x_{(h,i)})\big),

with the law of the leaves below every node i of height h by themselves, and :math:`K_{-1} = 0`.
A reader of own symbols should find all heights after about v m^3 strings, a reader of tokens height
h after v m^{h+2} (:func:`~hierdiff.theory.rhm.sample_complexity.own_symbol_cost`); then the
divergence falls as K / 2P (:func:`~hierdiff.theory.rhm.sample_complexity.weights_divergence`).
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
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.data.rhm_variants import zipf
from hierdiff.errors import InvalidParameter
from hierdiff.noise import MaskingNoise
from hierdiff.plots import (
    GUIDE,
    PALETTE,
    Axes,
    Figure,
    legend,
    level_colours,
    panels,
    plt,
    ticker,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.models.learned_grammar import (
    LearnedGrammar,
    OwnContext,
    best_match,
    language_mass,
    node_divergence,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.sample_complexity import (
    local_exponent,
    own_symbol_cost,
    weights_divergence,
)
from hierdiff.theory.rhm.token_correlations import node_marginals

__all__ = ["GrammarLearning"]

Array = NDArray[Any]
CONTEXTS: tuple[OwnContext, ...] = ("symbols", "tokens")
_BEYOND = 16  # times the law of the slowest height, after which a learner is not asked any more
_WORDS = {
    "recovered": "share of nodes with the right symbol, 0 for chance",
    "split": "share of nodes outside of the main own symbol of their true one",
    "merged": "share of nodes outside of the main true symbol of their own one",
    "rare": "share of wrong nodes, rarer half of the tuples",
    "common": "share of wrong nodes, commoner half of the tuples",
}


@dataclass(frozen=True)
class GrammarLearning:
    """Symbols, divergence and denoising errors of learned grammars against the number of strings.

    Notes
    -----
    Validity: the learner is given s, L, and the number v of symbols per height; no labels.  Errors
    are over grammars, each with strings of its own.

    Examples
    --------
    >>> small = GrammarLearning(v=6, L=2, multiplicities=(2, 3), grammars=2, sizes=(5, 9), test=40)
    >>> measured = small.measure(workers=1)
    >>> measured.recovered.dims, measured.divergence.sizes["height0"]
    (('context', 'height', 'm', 'P'), 3)
    """

    name: ClassVar[str] = "grammar_learning"
    _repr_html_ = experiment_html

    v: int = 16
    """Symbols per level."""
    multiplicities: tuple[int, ...] = (2, 3, 4, 5)
    """Rules per symbol m, over which exponents are fitted."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    a: float = -1.0
    """Exponent of the weights of rules, k**(-1 - a) for the k-th rule of a symbol; -1 is uniform,
    for which the laws hold."""
    grammars: int = 8
    """Random grammars per m."""
    sizes: tuple[int, int] = (2, 15)
    """Numbers of strings P are powers of two, between these."""
    test: int = 400
    """Fresh strings on which a learned grammar is tested."""
    times: tuple[float, ...] = (0.3, 0.5, 0.7)
    """Noise levels of masking at which denoisers are compared."""
    success_threshold: float = 0.5
    """Share of recovered nodes that defines P*."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            multiplicities=partial(listed, rule=partial(whole, low=2), least=2, rising=True),
            a=partial(number, low=-1, high=20),
            grammars=partial(whole, low=2, high=10**6),
            sizes=partial(listed, rule=partial(whole, low=1, high=24), least=2, rising=True),
            test=partial(whole, low=2, high=10**6),
            times=partial(listed, rule=partial(number, low=0, high=1), rising=True),
            success_threshold=partial(number, above=0, below=1),
            seed=natural,
        )
        if len(self.sizes) != 2 or self.L < 2:
            raise InvalidParameter(
                f"sizes = {self.sizes}, L = {self.L}: give two powers of two, and L >= 2 levels"
            )
        for m in self.multiplicities:
            affordable(self.rhm(m), max(self.test, 2 ** self.sizes[1]))

    def rhm(self, m: int) -> RHM:
        """The model whose grammars are learned, with m rules per symbol."""
        return RHM(self.v, m, self.s, self.L)

    @property
    def numbers(self) -> Array:
        """Numbers of strings P."""
        return 2 ** np.arange(self.sizes[0], self.sizes[1] + 1)

    @property
    def heights(self) -> Array:
        """Heights of the symbols that are to be found."""
        return np.arange(1, self.L)

    @results.tracked
    @checked
    def predict(self, law: Literal["coincidences"] = "coincidences") -> xr.Dataset:
        """P* and its exponents by coincidences of contexts, and the divergence K / 2P.

        Parameters
        ----------
        law : {"coincidences"}

        Returns
        -------
        xarray.Dataset
            ``samples`` (context, height, m), ``exponent`` (context, height), ``strings``
            (context, m, P).

        Notes
        -----
        Validity: of P* the exponents are meant; the divergence holds where all symbols are found.
        """
        one_of("law", law, ("coincidences",))
        cost = np.array([[[own_symbol_cost(self.rhm(m), int(h), c) for m in self.multiplicities]
                          for h in self.heights] for c in CONTEXTS])  # fmt: skip
        # a height is found after the one below it
        cost = np.maximum.accumulate(cost, axis=1)
        x = np.array(self.multiplicities)
        slope = np.array([[local_exponent(x, line) for line in table] for table in cost])
        line = [[weights_divergence(self.rhm(m), float(P)) for P in self.numbers] for m in x]
        law_of = np.array([line] * len(CONTEXTS))  # contexts do not matter any more
        variables = {
            **_costs(cost, 0 * cost, slope, 0 * slope),
            **results.with_error("strings", ("context", "m", "P"), law_of, 0 * law_of,
                    "divergence of strings, nats"),
        }  # fmt: skip
        return self._labelled(variables, "theory")

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
        """Learn grammars from strings, and test them.

        Parameters
        ----------
        model, data : None
            The learners are made here, from strings of drawn grammars.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            Those of :meth:`predict`; also ``recovered``, ``split``, ``merged``, ``rare``,
            ``common`` (context, height, m, P), ``divergence`` (context, height0, m, P), ``strings``
            (context, m, P), ``denoiser`` (context, t, m, P), ``valid`` (context, m, P).

        Notes
        -----
        Validity: a number of strings far beyond the law of the slowest height is not tried (NaN);
        P* is NaN where one grammar does not reach the threshold.
        """
        no_model(
            self.name, model, data,
            "it learns grammars of its own from strings; put LearnedGrammar into other experiments",
        )  # fmt: skip
        tasks = []
        for m in self.multiplicities:
            for g in range(self.grammars):
                numbers = self._tried(m)
                words = {
                    k: x
                    for k, x in asdict(self).items()
                    if k not in ("multiplicities", "grammars", "sizes", "success_threshold")
                }
                words |= {"version": 1, "question": self.name, "m": m, "numbers": numbers, "g": g}
                arguments = (self.rhm(m), self.a, numbers, self.test, self.times, self.seed, g)
                tasks.append(Task(one_grammar, arguments, words))
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        found = run_tasks(tasks, name=self.name, **options)
        shape = (len(self.multiplicities), self.grammars)
        every = {k: np.stack([self._padded(f[k]) for f in found]) for k in found[0]}
        every = {k: x.reshape(*shape, *x.shape[1:]) for k, x in every.items()}
        return self._labelled(self._variables(every), "simulation")

    def _tried(self, m: int) -> list[int]:
        """Numbers of strings at which grammars of m rules are learned."""
        last = max(own_symbol_cost(self.rhm(m), int(h), "tokens") for h in self.heights)
        return [int(P) for i, P in enumerate(self.numbers) if i < 2 or _BEYOND * last >= P]

    def _padded(self, values: Array) -> Array:
        """NaN where no learner was asked; P is the last axis."""
        out = np.full((*values.shape[:-1], len(self.numbers)), np.nan)
        out[..., : values.shape[-1]] = values
        return out

    def _variables(self, every: dict[str, Array]) -> dict[str, Any]:
        """Means over grammars of arrays [m, grammar, context, ..., P]."""
        x = np.log(np.array(self.multiplicities))
        curves = every["recovered"]
        cost = np.empty(curves.shape[:-1])  # [m, grammar, context, height]
        for i in np.ndindex(*cost.shape):
            cost[i] = _crossing(np.log(self.numbers), curves[i], self.success_threshold)
        mean = cost.mean(axis=1)
        error = _error(np.moveaxis(cost, 1, 0))
        slope, slope_error = _slope(x, mean, error)
        samples = np.exp(np.moveaxis(mean, 0, -1))
        out = _costs(samples, samples * np.moveaxis(error, 0, -1), slope, slope_error)
        plane = ("context", "height", "m", "P")
        tables = {name: (plane, words) for name, words in _WORDS.items()} | {
            "divergence": (("context", "height0", "m", "P"), "what a height adds, nats per string"),
            "strings": (("context", "m", "P"), "divergence of strings, nats"),
            "denoiser": (("context", "t", "m", "P"), "divergence of the denoiser, nats per leaf"),
            "valid": (("context", "m", "P"), "share of generated strings in the language"),
        }
        for name, (dims, words) in tables.items():
            values = np.moveaxis(every[name], 1, 0)  # [grammar, m, context, ..., P]
            by_dims = np.moveaxis(values, 1, -2)
            out |= results.with_error(name, dims, by_dims.mean(axis=0), _error(by_dims), words)
        return out

    def _labelled(self, variables: dict[str, Any], source: str) -> xr.Dataset:
        axes: dict[str, tuple[Any, str]] = {
            "context": (list(CONTEXTS), "what is read around a tuple"),
            "height": (self.heights, "height of the symbols above the leaves"),
            "height0": (np.arange(self.L + 1), "height of the nodes above the leaves"),
            "m": (list(self.multiplicities), "rules per symbol m"),
            "P": (self.numbers, "number of strings P"),
            "t": (list(self.times), "noise level t of the masking process"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The laws and the measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        return {f"{self.name}_theory": self.predict(), self.name: measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Symbols against P, their cost against m, the divergence by height, and errors by kind."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Costs and exponents beside the laws, and the divergence at the largest P."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        found = digest(ds, law)
        return Summary(table(ds, law), claim(found), found)


# ------------------------------------------------------------------------------------- one grammar


def one_grammar(
    rhm: RHM, a: float, numbers: list[int], test: int, times: tuple[float, ...], seed: int, g: int
) -> dict[str, Array]:
    """All errors of the learners of one grammar: arrays [context, ..., P]."""
    truth = zipf(rhm, a, stream(seed, "grammar", rhm.m, g))
    noise = MaskingNoise(rhm.v)
    fresh = truth.sample(test, stream(seed, "test", rhm.m, g))
    # the strings of a smaller P are the first of a larger one
    strings = truth.sample(max(numbers), stream(seed, "strings", rhm.m, g)).leaves
    exact = ExactRHM(truth, noise, threads=1)
    noisy = [noise.corrupt(fresh.leaves, t, stream(seed, "noise", rhm.m, g, i))
             for i, t in enumerate(times)]  # fmt: skip
    best = [exact.denoise(x, t) for x, t in zip(noisy, times, strict=True)]
    rarer = rare_nodes(truth, fresh)
    found: dict[str, list[Array]] = {}
    for context in CONTEXTS:
        parts: dict[str, list[Array]] = {}
        for P in numbers:
            model = LearnedGrammar.fit(
                strings[:P], noise, symbols=rhm.v, s=rhm.s, context=context, threads=1
            )
            one = recovery(model, fresh, rarer)
            parted = node_divergence(truth, model.learned, fresh.leaves)
            below = [float(x.mean(axis=0).sum()) for x in parted]
            one["divergence"] = -np.diff([*below, 0.0])[::-1]
            one["strings"] = np.array(below[0])
            one["denoiser"] = np.array(
                [
                    divergence(p, model.denoise(x, t))
                    for p, x, t in zip(best, noisy, times, strict=True)
                ]
            )
            one["valid"] = language_mass(truth, model.learned)[0][0]
            for name, value in one.items():
                parts.setdefault(name, []).append(value)
        for name, values in parts.items():
            found.setdefault(name, []).append(np.stack(values, axis=-1))
    return {name: np.stack(values) for name, values in found.items()}


def recovery(model: LearnedGrammar, fresh: Derivations, rarer: list[Array]) -> dict[str, Array]:
    """Shares of right and wrong nodes of clean strings, [height], lowest first."""
    own = model.own_symbols(fresh.leaves)
    depth = len(fresh.levels) - 1
    out: dict[str, list[float]] = {name: [] for name in _WORDS}
    for level in range(depth - 1, 0, -1):
        true, mine = fresh.levels[level], own.levels[level]
        v = max(int(true.max()), int(mine.max())) + 1
        counts = np.zeros((v, v))
        np.add.at(counts, (true.ravel(), mine.ravel()), 1)
        right = best_match(counts)[mine] == true
        # of one own symbol for every node, as many are right as of the commonest true one
        chance = counts.sum(axis=1).max() / counts.sum()
        out["recovered"].append((right.mean() - chance) / (1 - chance) if chance < 1 else 1.0)
        out["split"].append(float(1 - counts.max(axis=1).sum() / counts.sum()))
        out["merged"].append(float(1 - counts.max(axis=0).sum() / counts.sum()))
        rare = rarer[level]
        out["rare"].append(float((~right[rare]).mean()) if rare.any() else 0.0)
        out["common"].append(float((~right[~rare]).mean()) if not rare.all() else 0.0)
    return {name: np.array(values) for name, values in out.items()}


def rare_nodes(truth: Grammar, data: Derivations) -> list[Array]:
    """Which nodes write a tuple of the rarer half, by level, bool [n, nodes]; the last has none."""
    found = []
    for level in range(truth.L):
        share = node_marginals(truth, level).mean(axis=0)[:, None] * truth.weights[level]
        rules, s = truth.rules[level], truth.s[level]
        base = truth.v[level + 1] ** np.arange(s)
        law = np.zeros(truth.v[level + 1] ** s)
        np.add.at(law, (rules @ base).ravel(), share.ravel())
        order = np.argsort(law, kind="stable")
        rare = np.zeros(len(law), dtype=bool)
        rare[order[np.cumsum(law[order]) <= 0.5]] = True
        below = data.levels[level + 1]
        found.append(rare[below.reshape(len(below), -1, s) @ base])
    return found


def divergence(p: Array, q: Array) -> float:
    """Mean KL(p || q) of laws along the last axis, nats."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * np.log(p / q), 0.0).sum(axis=-1).mean())


def _crossing(log_numbers: Array, curve: Array, height: float) -> float:
    """Logarithm of P above which a curve stays over a height; NaN outside of its range."""
    known = np.isfinite(curve)
    curve, x = curve[known], log_numbers[known]
    below = np.flatnonzero(curve < height)
    if not below.size or below[-1] == len(curve) - 1:
        return float("nan")
    i = int(below[-1])
    share = (height - curve[i]) / (curve[i + 1] - curve[i])
    return float(x[i] + share * (x[i + 1] - x[i]))


def _error(values: Array) -> Array:
    """Errors over grammars, the first axis; NaN where one of them has no value."""
    return np.asarray(student_error(np.nan_to_num(values)) + 0 * values.mean(axis=0))


def _slope(x: Array, y: Array, error: Array) -> tuple[Array, Array]:
    """Slope of y [m, ...] against x over the m that have a value, and its error.

    Grammars of different m are independent: the slope has the errors of its points.
    """
    known = np.isfinite(y)
    x = np.where(known, x.reshape(-1, *[1] * (y.ndim - 1)), 0.0)
    number = known.sum(axis=0)
    center = x.sum(axis=0) / np.maximum(number, 1)
    away = np.where(known, x - center, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = away / np.where(number > 1, (away**2).sum(axis=0), np.nan)
    slope = (weights * np.nan_to_num(y)).sum(axis=0)
    return slope, np.sqrt((weights**2 * np.nan_to_num(error) ** 2).sum(axis=0))


def _costs(cost: Array, error: Array, slope: Array, slope_error: Array) -> dict[str, Any]:
    dims = ("context", "height", "m")
    return {
        **results.with_error("samples", dims, cost, error, "strings P*, geometric mean"),
        **results.with_error("exponent", dims[:2], slope, slope_error,
                             "slope of ln P* against ln m"),
    }  # fmt: skip


# ------------------------------------------------------------------------------- table and figure


def digest(ds: xr.Dataset, law: xr.Dataset) -> dict[str, Any]:
    """Costs, exponents with those of the law and of the other context, and the last divergence."""
    found: dict[str, Any] = {"m": ds.m.values.tolist(), "P": ds.P.values.tolist()}
    for c in CONTEXTS:
        for h in ds.height.values:
            one, what = ds.sel(context=c, height=h), law.sel(context=c, height=h)
            other = law.sel(context=next(x for x in CONTEXTS if x != c), height=h)
            # the law's slope over the m that have a value
            known = np.isfinite(one.samples.values)
            slopes = [
                local_exponent(ds.m.values[known], x.samples.values[known])
                if known.sum() > 1
                else float("nan")
                for x in (what, other)
            ]
            row = {
                "samples": one.samples.values.tolist(),
                "samples error": one.samples_error.values.tolist(),
                "law": what.samples.values.tolist(),
                "exponent": [float(one.exponent), float(one.exponent_error)],
                "exponent, law": slopes[0],
                "z": float((one.exponent - slopes[0]) / one.exponent_error),
                "z, other context": float((one.exponent - slopes[1]) / one.exponent_error),
            }
            found[f"{c}, height {h}"] = row
    i = len(ds.m) // 2
    one = ds.isel(m=i).sel(context="symbols")
    last = int(np.flatnonzero(np.isfinite(one.strings.values))[-1])
    found["divergence"] = {
        "m": int(ds.m[i]), "P": ds.P.values[: last + 1].tolist(),
        "strings": one.strings.values[: last + 1].tolist(),
        "error": one.strings_error.values[: last + 1].tolist(),
        "law": law.strings.isel(m=i).sel(context="symbols").values[: last + 1].tolist(),
        "by height": one.divergence.values[:, : last + 1].tolist(),
    }  # fmt: skip
    return found


def table(ds: xr.Dataset, law: xr.Dataset) -> str:
    """Costs per context and height; then what the learner of own symbols has wrong, against P."""
    found = digest(ds, law)
    rows = []
    for c in CONTEXTS:
        for h in ds.height.values:
            one, what = ds.sel(context=c, height=h), found[f"{c}, height {h}"]["exponent, law"]
            cells = zip(one.samples.values, one.samples_error.values, strict=True)
            rows.append([f"{c}, height {h}", *(plus_minus(x, e, digits=0) for x, e in cells),
                         plus_minus(one.exponent, one.exponent_error, digits=2),
                         f"{what:.2f}"])  # fmt: skip
    costs = text_table(["P*", *(f"m = {m}" for m in ds.m.values), "exponent", "law"], rows)
    i, top, rows = len(ds.m) // 2, int(ds.height.values[-1]), []
    for j, P in enumerate(ds.P.values):
        one = ds.isel(m=i, P=j).sel(context="symbols")
        if not np.isfinite(float(one.strings)):
            continue
        high = one.sel(height=top)
        rows.append([
            P, plus_minus(one.strings, one.strings_error),
            f"{float(law.strings.isel(context=0, m=i, P=j)):.3f}",
            *(f"{float(x):.3f}" for x in one.divergence),
            f"{float(one.denoiser.isel(t=len(ds.t) // 2)):.4f}", f"{float(one.valid):.2f}",
            *(f"{float(high[w]):.3f}" for w in ("split", "merged", "rare", "common")),
        ])  # fmt: skip
    header = ["P", "KL of strings", "K/2P", *(f"D_{h}" for h in ds.height0.values), "denoiser",
              "valid", "split", "merged", "rare", "common"]  # fmt: skip
    return f"{costs}\n\nown symbols, m = {int(ds.m[i])}\n{text_table(header, rows)}"


def claim(found: Mapping[str, Any]) -> str:
    """Exponents of the highest symbols in both contexts, and where the divergence ends."""
    names = [k for k in found if k.startswith("symbols, ")]
    height = names[-1].removeprefix("symbols, ")
    words = []
    for c, text in (("symbols", "own symbols"), ("tokens", "tokens")):
        row = found[f"{c}, {height}"]
        slope = f"{row['exponent'][0]:.2f} ± {row['exponent'][1]:.2f}"
        words.append(f"m to the power {slope} with {text} around them (law "
                     f"{row['exponent, law']:.2f})")  # fmt: skip
    one = found["divergence"]
    ratio, error = one["strings"][-1] / one["law"][-1], one["error"][-1] / one["law"][-1]
    return (
        f"symbols of {height} cost {' and '.join(words)}; at P = {one['P'][-1]} the divergence of "
        f"strings is {ratio:.2f} ± {error:.2f} of K/2P"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Four panels; points are learners, lines the laws."""
    figure, axes = plt.subplots(1, 4, figsize=(14.5, 3.3), layout="constrained")
    _draw_recovered(axes[0], ds)
    _draw_costs(axes[1], ds, law)
    _draw_divergence(axes[2], ds, law)
    _draw_errors(axes[3], ds)
    m, top = int(ds.m[_middle(ds)]), int(ds.height[-1])
    slopes = [f"{float(ds.exponent.sel(context=c, height=top)):.1f} ({c})"
              for c in ("symbols", "tokens")]  # fmt: skip
    one = ds.sel(context="symbols").isel(m=_middle(ds))
    law_of = law.strings.isel(context=0, m=_middle(ds))
    # where about half of the nodes are right
    i = int(np.argmin(np.abs(one.rare.sel(height=top).values - 0.5)))
    P, rare, common = int(ds.P[i]), *(float(one[w].sel(height=top)[i]) for w in ("rare", "common"))
    panels(
        axes, f"m = {m}: height {top} costs {float(one.samples.sel(height=top)):.0f} strings",
        f"height {top}: m to the {' or '.join(slopes)}",
        f"m = {m}: at last {float(one.strings[-1] / law_of[-1]):.2f} of K / 2P",
        f"P = {P}: {rare:.2f} rare, {common:.2f} common",
    )  # fmt: skip
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    for ax, title in zip(axes, ("", "slopes; lines: law, one factor each", "", ""), strict=True):
        legend(ax, title)
    return figure


def _middle(ds: xr.Dataset) -> int:
    return len(ds.m) // 2


def _draw_recovered(ax: Axes, ds: xr.Dataset) -> None:
    one = ds.isel(m=_middle(ds))
    for h, colour in zip(ds.height.values, level_colours(ds.sizes["height"]), strict=True):
        for c, mark in (("symbols", "o-"), ("tokens", "s:")):
            y = one.sel(context=c, height=h)
            ax.errorbar(ds.P, y.recovered, y.recovered_error, fmt=mark, ms=3, lw=1, color=colour,
                        mfc=colour if c == "symbols" else "w",
                        label=f"height {h}" if c == "symbols" else None)  # fmt: skip
    ax.plot([], [], "s:", color="0.4", mfc="w", ms=3, label="tokens as context")
    ax.axhline(0.5, **GUIDE)
    ax.set(xscale="log", xlabel="number of strings P",
           ylabel="symbols recovered (0: chance)")  # fmt: skip


def _draw_costs(ax: Axes, ds: xr.Dataset, law: xr.Dataset) -> None:
    for h, colour in zip(ds.height.values, level_colours(ds.sizes["height"]), strict=True):
        for c, mark in (("symbols", "o"), ("tokens", "s")):
            y, x = ds.sel(context=c, height=h), law.sel(context=c, height=h)
            ratio = np.log(y.samples / x.samples).values
            d = float(np.exp(np.nanmean(ratio))) if np.isfinite(ratio).any() else 1.0
            ax.plot(ds.m, d * x.samples, ls="-" if c == "symbols" else ":", lw=1, color=colour)
            ax.errorbar(ds.m, y.samples, y.samples_error, fmt=mark, ms=4, color=colour,
                        mfc=colour if c == "symbols" else "w",
                        label=f"{c}, height {h}: {float(y.exponent):.1f}"
                              f" ± {float(y.exponent_error):.1f}")  # fmt: skip
    ax.set(xscale="log", yscale="log", xticks=ds.m.values, xlabel="rules per symbol m",
           ylabel="strings P* that a height costs")  # fmt: skip
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _draw_divergence(ax: Axes, ds: xr.Dataset, law: xr.Dataset) -> None:
    one = ds.isel(m=_middle(ds)).sel(context="symbols")
    ax.errorbar(ds.P, one.strings, one.strings_error, fmt="ko-", ms=4, lw=1, label="strings")
    ax.plot(ds.P, law.strings.isel(context=0, m=_middle(ds)), "k--", lw=1, label="K / 2P")
    shades = level_colours(ds.sizes["height0"])
    for h, colour in zip(ds.height0.values, shades, strict=True):
        y = one.divergence.sel(height0=h)
        # an error that reaches below the axis has no end on it
        low = np.minimum(one.divergence_error.sel(height0=h), 0.999 * y)
        ax.errorbar(ds.P, y.where(y > 1e-3), [low, one.divergence_error.sel(height0=h)],
                    fmt="o-", ms=2.5, lw=0.9, color=colour, label=f"$D_{h}$")  # fmt: skip
    worse = ds.isel(m=_middle(ds)).sel(context="tokens")
    ax.errorbar(ds.P, worse.strings, worse.strings_error, fmt="s:", color="0.4", mfc="w", ms=3,
                label="strings, tokens")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="number of strings P", ylim=(1e-3, None),
           ylabel="divergence from the truth (nats)")  # fmt: skip


def _draw_errors(ax: Axes, ds: xr.Dataset) -> None:
    one = ds.isel(m=_middle(ds), height=-1).sel(context="symbols")
    marks = (("split", "o-"), ("merged", "s-"), ("rare", "^:"), ("common", "v:"))
    for (name, mark), colour in zip(marks, PALETTE, strict=False):
        ax.errorbar(ds.P, one[name], one[f"{name}_error"], fmt=mark, ms=3, lw=1, color=colour,
                    label=name)  # fmt: skip
    ax.set(xscale="log", xlabel="number of strings P", ylabel="share of nodes that are wrong")
