r"""Exponents of real noise at the critical fixed point of density evolution.

At its threshold a noise process flows, level by level, to a critical fixed point.  The leading
eigenvalue :math:`\lambda` there gives

.. math:: \nu = \log s / \log \lambda, \qquad a = 2 - 2/\nu ,

the slope of the class (:math:`\lambda` per level), and whether leaf slopes and the susceptibility
grow with depth or saturate (:math:`\lambda^2` against s).

Populations give :math:`\lambda` for four noise processes at several sizes (v, m, s).  Exact
inference on sampled grammars, which is independent of density evolution, tests two consequences at
the first size: class beliefs of all depths collapse on :math:`(t - t^*)\, \lambda^L`, and the slope
of the leaves' belief at t* saturates if :math:`\lambda^2 < s`.
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
from scipy.optimize import minimize_scalar

from hierdiff import RHM, results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    natural,
    no_model,
    one_of,
    shown,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import is_channel, noise_process
from hierdiff.plots import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    Figure,
    legend,
    panels,
    plain_log,
    plt,
    shade,
    shared_legend,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import resampled
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import (
    belief_slopes,
    critical_belief,
    critical_exponents,
    critical_level,
    level_set_threshold,
    overlap_threshold,
    population_dynamics,
    posterior,
    stability,
    support_exponents,
    threshold_upper_bound,
)

__all__ = ["Exponents"]

Array = NDArray[Any]
PROCESSES = ("masking", "uniform", "gaussian", "epsilon")
COLUMNS = ("eigenvalue", "eigenvalue_error", "belief", "belief_error", "overlap", "overlap_error",
           "certain", "transient")  # fmt: skip


def proven(rhm: RHM) -> bool:
    """Whether the bound on overlaps contracts near ignorance."""
    try:
        overlap_threshold(rhm)
    except InvalidParameter:
        return False
    return True


def threshold(rhm: RHM, kind: str, size: int, copies: int, seed: int) -> dict[str, Array]:
    """Threshold of density evolution, and an upper bound of it for real noise."""
    noise = noise_process(kind, rhm.v)
    found = critical_level(rhm, noise, size=size, copies=copies, seed=stream(seed, "threshold"))
    bound = [1.0, 0.0]  # nothing better is proven for every size
    if is_channel(noise) and proven(rhm):
        above = threshold_upper_bound(
            rhm, noise, size=size, copies=copies, seed=stream(seed, "bound")
        )
        bound = [above.value, above.error]
    return {"value": np.array([found.value, found.error, *bound])}


def fixed_point(
    rhm: RHM, kind: str, t: float, size: int, levels: int, copies: int, seed: int
) -> dict[str, Array]:
    """Exponents and observables of the critical fixed point, and growth per level."""
    found = critical_exponents(
        rhm, noise_process(kind, rhm.v), t=t, size=size, levels=levels, copies=copies,
        seed=stream(seed, "fixed point"),
    )  # fmt: skip
    return {
        "value": np.array([getattr(found, name) for name in COLUMNS], float),
        "growth": np.stack([found.growth, found.growth_error]),
    }


def coupled(rhm: RHM, kind: str, t: float, levels: int, size: int, seed: int) -> dict[str, Array]:
    """Growth of the class slope per level, of coupled populations at t* -+ delta."""
    found = belief_slopes(
        rhm, noise_process(kind, rhm.v), t, levels=levels, size=size,
        seed=stream(seed, "coupled"),
    )  # fmt: skip
    return {"slope": np.stack([found.slope, found.slope_error]),
            "growth": np.stack([found.growth, found.growth_error])}  # fmt: skip


def class_belief(
    rhm: RHM, kind: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Mean posterior probability of the true class of one grammar, [t]."""
    grammar = rhm.draw(stream(seed, "grammar", rhm.L, g))
    truth = grammar.sample(data, stream(seed, "data", rhm.L, g))
    noise = noise_process(kind, rhm.v)
    randoms, rows = noise.draw(truth.leaves.shape, stream(seed, "noise", g)), np.arange(data)
    belief = []
    for t in times:
        evidence = noise.evidence(noise.corrupt_with(truth.leaves, t, randoms), t)
        root = posterior(grammar, evidence, levels=(0,), threads=1).marginals[0][:, 0]
        belief.append(root[rows, truth.levels[0][:, 0]].mean())
    return {"belief": np.array(belief)}


def leaf_slope(
    rhm: RHM, kind: str, t: float, delta: float, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Slope of the mean belief in the true leaf of one grammar, same noise at t -+ delta.

    The class of the epsilon-process crosses within delta = 0.005 from L = 13 on, so its slope is
    then a lower bound; real noise is linear there.
    """
    grammar = rhm.draw(stream(seed, "grammar", rhm.L, g))
    truth = grammar.sample(data, stream(seed, "leaf data", rhm.L, g))
    noise = noise_process(kind, rhm.v)
    randoms = noise.draw(truth.leaves.shape, stream(seed, "leaf noise", g))
    means = []
    for x in (t - delta, t + delta):
        evidence = noise.evidence(noise.corrupt_with(truth.leaves, x, randoms), x)
        leaves = posterior(grammar, evidence, levels=(rhm.L,), threads=1).marginals[rhm.L]
        means.append(np.take_along_axis(leaves, truth.leaves[..., None], axis=2).mean())
    return {"slope": np.array((means[0] - means[1]) / (2 * delta))}


def leaf_slope_of_populations(
    rhm: RHM, kind: str, t: float, delta: float, size: int, copies: int, seed: int
) -> dict[str, Array]:
    """The same by density evolution, same random numbers at t -+ delta; with its error."""
    noise, slopes = noise_process(kind, rhm.v), []
    for i in range(max(copies // 2, 2)):
        random = stream(seed, "leaf slope", rhm.L, i)
        below, above = population_dynamics(
            rhm, noise, [t - delta, t + delta], size=size, copies=2, seed=random
        ).marginal[-1]
        slopes.append((below - above) / (2 * delta))
    error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    return {"slope": np.array([np.mean(slopes), error])}


@dataclass(frozen=True)
class Exponents:
    """Critical fixed points and exponents of four noise processes, tested by exact inference.

    Notes
    -----
    Validity: fixed points are those of density evolution, with errors over populations; class
    beliefs and leaf slopes are exact, with errors over grammars.
    """

    name: ClassVar[str] = "critical_exponents"
    _repr_html_ = experiment_html

    sizes: tuple[tuple[int, int, int], ...] = ((32, 8, 2), (16, 4, 2), (24, 6, 2), (16, 8, 3))
    """(v, m, s); exact inference runs at the first, which needs s = 2."""
    size: int = 3000
    """Members of a population."""
    copies: int = 8
    """Independent populations."""
    levels: int = 60
    """Levels to approach a fixed point, and again to follow a perturbation."""
    depths: tuple[int, ...] = (6, 8, 10, 12)
    """Depths L of the collapse."""
    leaf_depths: tuple[int, ...] = (5, 7, 9, 11, 13)
    """Depths L of the leaf slopes, at equal distances."""
    grammars: int = 24
    """Random grammars per depth."""
    data: int = 12
    """Data per grammar; for the leaf slopes a quarter at the greatest depth, more above it."""
    points: int = 11
    """Noise levels of the collapse."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            sizes=partial(listed, rule=_size_rule),
            size=partial(whole, low=8, high=10**8),
            copies=partial(whole, low=3, high=10**6),
            # theory.critical_exponents needs as many to tell a fixed point from a transient
            levels=partial(whole, low=30, high=10**4),
            depths=partial(listed, rule=count, least=3),
            leaf_depths=partial(listed, rule=count, least=3),
            grammars=partial(whole, low=4, high=10**6),
            data=partial(whole, low=4, high=10**8),
            points=partial(whole, low=5, high=10**5),
            seed=natural,
        )
        first, deepest = self.sizes[0], max((*self.depths, *self.leaf_depths))
        affordable(RHM(*first, deepest), self.data)

    def models(self) -> list[RHM]:
        """Sizes; their depth does not matter for density evolution."""
        return [RHM(v, m, s, 1) for v, m, s in self.sizes]

    @results.tracked
    def predict(self, law: Literal["annealed"] = "annealed") -> xr.Dataset:
        """Eigenvalue F'(p*) and belief p* of the annealed recursion, which ignores the noise."""
        one_of("law", law, ("annealed",))
        models, shape = self.models(), (len(self.sizes), len(PROCESSES))
        slope, belief = (
            np.broadcast_to(np.array([[float(f(r))] for r in models]), shape)
            for f in (lambda r: stability(r)[1], critical_belief)
        )
        plane, zero = ("model", "process"), np.zeros(shape)
        variables = {
            "eigenvalue": (plane, slope, "eigenvalue"),
            "eigenvalue_error": (plane, zero, "eigenvalue error"),
            "belief": (plane, belief, "belief"), "belief_error": (plane, zero, "belief error"),
        }  # fmt: skip
        made = results.provenance(asdict(self))
        return results.label(variables, self._axes(models), "theory", made)

    def _axes(self, models: list[RHM]) -> dict[str, Any]:
        """Coordinates of processes and sizes."""
        return {
            "process": (("process",), list(PROCESSES), "noise process"),
            "v": (("model",), [r.v for r in models], "symbols"),
            "m": (("model",), [r.m for r in models], "rules per symbol"),
            "s": (("model",), [r.s for r in models], "branching"),
        }

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
        """Fixed points at all sizes; collapse and leaf slopes at the first."""
        no_model(
            self.name, model, data,
            "it needs populations and grammars of growing depth; the threshold of one model is "
            "that of PhaseTransition.measure",
        )  # fmt: skip
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        models, n = self.models(), len(PROCESSES)
        keys = [(k, p) for k in range(len(models)) for p in range(n)]
        places = _run(
            [self._task(threshold, models[k], p, self.size, self.copies, self.seed)
             for k, p in keys], "thresholds", options,
        )  # fmt: skip
        level = np.stack([x["value"] for x in places]).reshape(len(models), n, 4)
        points = _run(
            [self._task(fixed_point, models[k], p, float(level[k, p, 0]), self.size, self.levels,
                        self.copies, self.seed) for k, p in keys], "fixed points", options,
        )  # fmt: skip
        values = np.stack([x["value"] for x in points]).reshape(len(models), n, len(COLUMNS))
        growth = np.stack([x["growth"] for x in points]).reshape(len(models), n, 2, -1)
        deepest = max(self.depths)
        first = _run(
            [self._task(coupled, models[0], p, float(level[0, p, 0]), deepest, 5 * self.size,
                        self.seed) for p in range(n)], "coupled populations", options,
        )  # fmt: skip
        slopes = np.stack([x["slope"] for x in first])
        variables = self._labelled(models, level, values, growth)
        variables |= {
            "class_slope": (("process", "height"), slopes[:, 0], "-dE p / dt at t*"),
            "class_slope_error": (("process", "height"), slopes[:, 1], "its standard error"),
        }
        variables |= self._collapse(models[0], level[0], values[0], slopes[:, 0], options)
        variables |= self._leaves(models[0], level[0], options)
        coords = {
            **self._axes(models),
            "height": (("height",), list(range(deepest + 1)), "levels above the leaves"),
            "L": (("L",), list(self.depths), "depth"),
            "leaf_L": (("leaf_L",), list(self.leaf_depths), "depth of the leaf slopes"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def _task(self, function: Any, rhm: RHM, p: int, *arguments: Any) -> Task:
        parameters = {
            "version": 1, "question": f"critical {function.__name__}", "v": rhm.v, "m": rhm.m,
            "s": rhm.s, "L": rhm.L, "noise": PROCESSES[p],
            "arguments": [np.round(x, 12).tolist() if isinstance(x, (float, np.ndarray)) else x
                          for x in arguments],
        }  # fmt: skip
        return Task(function, (rhm, PROCESSES[p], *arguments), parameters)

    def _labelled(
        self, models: list[RHM], level: Array, values: Array, growth: Array
    ) -> dict[str, Any]:
        plane = ("model", "process")
        exact = [support_exponents(r) for r in models]
        names = {n: values[..., i] for i, n in enumerate(COLUMNS)}
        names |= {"threshold": level[..., 0], "threshold_error": level[..., 1],
                  "upper_bound": level[..., 2], "upper_bound_error": level[..., 3]}  # fmt: skip
        one = ("model",)
        return {
            **{name: (plane, x, name.replace("_", " ")) for name, x in names.items()},
            "growth": ((*plane, "step"), growth[:, :, 0], "growth of a perturbation per level"),
            "growth_error": ((*plane, "step"), growth[:, :, 1], "its standard error"),
            "annealed": (one, [float(stability(r)[1]) for r in models], "F'(p*)"),
            "support": (one, [e.eigenvalue for e in exact], "lambda of support sets, exact"),
            "support_threshold": (one, [e.threshold for e in exact], "their threshold"),
            "support_certain": (one, [e.certain for e in exact], "P(certain) there"),
            "support_belief": (one, [e.belief for e in exact], "E[1/k] there"),
            "level_sets": (one, [level_set_threshold(r) for r in models], "exact upper bound"),
        }

    def _collapse(
        self, rhm: RHM, level: Array, values: Array, slopes: Array, options: dict[str, Any]
    ) -> dict[str, Any]:
        """Class belief [process, L, point, grammar] over a width of about lambda^-L."""
        lam = self._rates(values, slopes)
        deepest, x = max(self.depths), np.empty((len(PROCESSES), self.points))
        times = np.empty((len(PROCESSES), len(self.depths), self.points))
        for p in range(len(PROCESSES)):
            width = 0.6 * lam[p] ** deepest / slopes[p, deepest]
            x[p] = np.linspace(-width, width, self.points)
            for i, L in enumerate(self.depths):
                times[p, i] = np.clip(level[p, 0] + x[p] * lam[p] ** -L, 0.0, 1.0)
        tasks = [
            self._task(class_belief, RHM(rhm.v, rhm.m, rhm.s, L), p, times[p, i], self.data,
                       self.seed, g)
            for p in range(len(PROCESSES))
            for i, L in enumerate(self.depths)
            for g in range(self.grammars)
        ]  # fmt: skip
        found = np.stack([x["belief"] for x in _run(tasks, "class beliefs", options)])
        belief = found.reshape(len(PROCESSES), len(self.depths), self.grammars, self.points)
        quality = [
            collapse(self.depths, times[p], belief[p], float(level[p, 0]), float(lam[p]),
                     float(stability(rhm)[1]), stream(self.seed, "bootstrap", p))
            for p in range(len(PROCESSES))
        ]  # fmt: skip
        dims = ("process", "L", "point")
        root = np.sqrt(self.grammars)
        return {
            "rate": (("process",), lam, "lambda; of the epsilon-process at these depths"),
            "time": (dims, times, "noise level t"),
            "class_belief": (dims, belief.mean(axis=2), "belief in the true class"),
            "class_belief_error": (dims, belief.std(axis=2, ddof=1) / root, "standard error"),
            "collapse": (("process", "quality"), quality,
                         "chi^2 per degree at the rate and at F'(p*); best rate and its error"),
        }  # fmt: skip

    def _rates(self, values: Array, slopes: Array) -> Array:
        """lambda; for the epsilon-process the mean growth of the class slope at these depths.

        Its growth falls slowly, from F'(p*) near the leaves to its own lambda far above them.
        """
        out, p = values[:, 0].copy(), PROCESSES.index("epsilon")
        first, last = min(self.depths), max(self.depths)
        out[p] = (slopes[p, last] / slopes[p, first]) ** (1 / (last - first))
        return np.asarray(out)

    def _leaves(self, rhm: RHM, level: Array, options: dict[str, Any]) -> dict[str, Any]:
        """Slope of the leaves' belief at t* [process, L], by exact inference and by populations."""
        deepest, keys = max(self.leaf_depths), [
            (p, L) for p in range(len(PROCESSES)) for L in self.leaf_depths
        ]  # fmt: skip
        # shallow trees have fewer leaves; more data make up for it
        data = {L: min(self.data // 4 * 2 ** (deepest - L), 16 * self.data)
                for L in self.leaf_depths}  # fmt: skip
        tasks = [
            self._task(leaf_slope, RHM(rhm.v, rhm.m, rhm.s, L), p, float(level[p, 0]), 0.005,
                       data[L], self.seed, g)
            for p, L in keys for g in range(self.grammars)
        ]  # fmt: skip
        found = np.stack([x["slope"] for x in _run(tasks, "leaf slopes", options)])
        found = found.reshape(len(PROCESSES), len(self.leaf_depths), self.grammars)
        theory = _run(
            [self._task(leaf_slope_of_populations, RHM(rhm.v, rhm.m, rhm.s, L), p,
                        float(level[p, 0]), 0.005, self.size, self.copies, self.seed)
             for p, L in keys], "leaf slopes of populations", options,
        )  # fmt: skip
        evolved = np.stack([x["slope"] for x in theory])
        evolved = evolved.reshape(len(PROCESSES), len(self.leaf_depths), 2)
        dims = ("process", "leaf_L")
        return {
            "leaf_slope": (dims, found.mean(axis=2), "-dE p(leaf) / dt, over t* -+ 0.005"),
            "leaf_slope_error": (dims, found.std(axis=2, ddof=1) / np.sqrt(self.grammars),
                                 "its standard error"),
            "leaf_slope_theory": (dims, evolved[..., 0], "the same by density evolution"),
            "leaf_slope_theory_error": (dims, evolved[..., 1], "its standard error"),
        }  # fmt: skip

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Growth per level, fixed points, the collapse, leaf slopes."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Eigenvalues, exponents and thresholds of every size and process."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def _size_rule(name: str, value: Any) -> tuple[int, int, int]:
    """Symbols, rules and branching."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise InvalidParameter(f"{name} holds {shown(value)}; give v, m and s")
    v, m, s = value
    RHM(v, m, s, 1)
    return v, m, s


def _run(tasks: list[Task], name: str, options: dict[str, Any]) -> list[dict[str, Array]]:
    return run_tasks(tasks, name=name, **options)


# Finite-size scaling.  If a rate is right, the beliefs of all depths are one function of
# x = (t - t*) rate^L.  Its test is the chi^2 per degree of freedom of the depths around their
# weighted mean; the best rate is that of the least chi^2, with an error from resampled grammars.


def misfit(
    rate: float, depths: tuple[int, ...], t: Array, mean: Array, error: Array, critical: float
) -> float:
    """chi^2 per degree of freedom of the depths' curves [L, point] on a common grid of x."""
    x = (t - critical) * rate ** np.array(depths, float)[:, None]
    common = np.linspace(x[:, 0].max(), x[:, -1].min(), t.shape[1])
    curves = np.array([np.interp(common, a, y) for a, y in zip(x, mean, strict=True)])
    weights = 1 / np.array([np.interp(common, a, e) for a, e in zip(x, error, strict=True)]) ** 2
    middle = (weights * curves).sum(axis=0) / weights.sum(axis=0)
    free = (len(depths) - 1) * len(common)
    return float((weights * (curves - middle) ** 2).sum() / free)


def collapse(
    depths: tuple[int, ...], t: Array, belief: Array, critical: float, rate: float, wrong: float,
    seed: Any, replicas: int = 100,
) -> list[float]:  # fmt: skip
    """chi^2 per degree at two rates, the best rate, and its bootstrap error over grammars."""
    error = belief.std(axis=1, ddof=1) / np.sqrt(belief.shape[1])
    error = np.maximum(error, 1e-4)  # a curve at its end does not fluctuate and must not decide

    def chi(r: float, mean: Array) -> float:
        return misfit(r, depths, t, mean, error, critical)

    def best(mean: Array) -> float:
        return float(minimize_scalar(chi, (1.1, 1.7), args=(mean,), bounds=(1.05, 1.9),
                                     method="bounded").x)  # fmt: skip

    mean, rows = belief.mean(axis=1), np.arange(len(depths))[:, None]
    draws = resampled(belief.shape[1], replicas, seed, groups=len(depths))
    spread = np.std([best(belief[rows, draw].mean(axis=1)) for draw in draws], ddof=1)
    return [chi(rate, mean), chi(wrong, mean), best(mean), float(spread)]


def row(ds: xr.Dataset, k: int, kind: str) -> dict[str, Any]:
    """Everything about one process at one size."""
    x = ds.isel(model=k).sel(process=kind)
    s, lam, error = int(x.s), float(x.eigenvalue), float(x.eigenvalue_error)
    nu = float(np.log(s) / np.log(lam))
    out = {
        "lambda": [lam, error],
        "nu": [nu, nu * error / (lam * np.log(lam))],
        "a": [2 - 2 / nu, 2 * error / (lam * np.log(s))],
        "leaf growth": [lam**2 / s, 2 * lam * error / s],
        "belief": [float(x.belief), float(x.belief_error)],
        "overlap": [float(x.overlap), float(x.overlap_error)],
        "threshold": [float(x.threshold), float(x.threshold_error)],
        "transient": int(x.transient),
    }
    if kind != "epsilon":
        out["upper bound"] = [float(x.upper_bound), float(x.upper_bound_error)]
    return out


def one_fixed_point(ds: xr.Dataset, k: int, name: str) -> tuple[float, float]:
    """chi^2 of the three real processes around their weighted mean, and its degrees of freedom."""
    x = ds.isel(model=k).sel(process=[p for p in PROCESSES if p != "epsilon"])
    y, e = x[name].values, x[f"{name}_error"].values
    middle = (y / e**2).sum() / (1 / e**2).sum()
    return float((((y - middle) / e) ** 2).sum()), len(y) - 1


def table(ds: xr.Dataset) -> str:
    """A row per size and process."""
    digits = {"lambda": 4, "nu": 3, "leaf growth": 3, "belief": 4, "overlap": 4, "threshold": 4}
    rows = []
    for k in range(ds.sizes["model"]):
        x = ds.isel(model=k)
        size = f"({int(x.v)}, {int(x.m)}, {int(x.s)})"
        for kind in PROCESSES:
            one = row(ds, k, kind)
            rows.append([size, kind, *(pair_text(one[n], d) for n, d in digits.items())])
        for name, value in (("support sets", x.support), ("recursion", x.annealed)):
            rows.append([size, name, f"{float(value):.4f}", *[""] * (len(digits) - 1)])
    header = ["(v, m, s)", "process", "lambda", "nu", "lambda^2/s", "E p", "E sum p^2", "t*"]
    return text_table(header, rows, keys=2)


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """The numbers of the table, the collapse and the slopes."""
    sizes = {}
    for k in range(ds.sizes["model"]):
        x = ds.isel(model=k)
        sizes[f"{int(x.v)}, {int(x.m)}, {int(x.s)}"] = {
            **{kind: row(ds, k, kind) for kind in PROCESSES},
            "one fixed point": {n: one_fixed_point(ds, k, n) for n in ("eigenvalue", "belief")},
            "annealed": float(x.annealed), "level sets": float(x.level_sets),
            "support sets": {n: float(x[f"support{e}"]) for n, e in
                             (("lambda", ""), ("threshold", "_threshold"),
                              ("certain", "_certain"), ("belief", "_belief"))},
        }  # fmt: skip
    names = ("chi2, rate", "chi2, F'(p*)", "best rate", "best rate error")
    return {
        "sizes": sizes,
        "collapse": {
            kind: {
                "rate": float(ds.rate.sel(process=kind)),
                **dict(zip(names, ds["collapse"].sel(process=kind).values.tolist(), strict=True)),
            }
            for kind in PROCESSES
        },
        "depths": [int(L) for L in ds.L.values],
        "class slopes": {
            kind: [[int(h), float(a), float(b)] for h, a, b in zip(
                ds.height.values, ds.class_slope.sel(process=kind).values,
                ds.class_slope_error.sel(process=kind).values, strict=True)]
            for kind in PROCESSES
        },
        "leaf slopes": {
            kind: [[int(L), float(a), float(b)] for L, a, b in zip(
                ds.leaf_L.values, ds.leaf_slope.sel(process=kind).values,
                ds.leaf_slope_error.sel(process=kind).values, strict=True)]
            for kind in PROCESSES
        },
        "leaf slopes, density evolution": {
            kind: [[int(L), float(a), float(b)] for L, a, b in zip(
                ds.leaf_L.values, ds.leaf_slope_theory.sel(process=kind).values,
                ds.leaf_slope_theory_error.sel(process=kind).values, strict=True)]
            for kind in PROCESSES
        },
    }  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """Eigenvalues of the first size, their agreement, and the quality of the collapse."""
    found, wrong = digest(ds), "chi2, F'(p*)"
    first = next(iter(found["sizes"]))
    x = found["sizes"][first]
    chi, free = x["one fixed point"]["eigenvalue"]
    real = [x[k]["lambda"][0] for k in PROCESSES if k != "epsilon"]
    quality = [q for k, q in found["collapse"].items() if k != "epsilon"]
    own, other = (max(q[word] for q in quality) for word in ("chi2, rate", wrong))
    return (
        f"real noise has lambda = {min(real):.4f} to {max(real):.4f} at ({first}), one fixed point "
        f"with chi^2 = {chi:.1f} for {free} degrees of freedom (recursion {x['annealed']:.4f}); "
        f"class beliefs collapse with chi^2 per degree of at most {own:.1f} for lambda, and "
        f"{other:.1f} for F'(p*)"
    )


def draw(ds: xr.Dataset) -> Figure:
    """Growth per level, fixed points, the collapse, leaf slopes."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
    colours = dict(zip(PROCESSES, (BLUE, ORANGE, GREEN, PURPLE), strict=True))
    first = ds.isel(model=0)
    for kind, colour in colours.items():
        x = first.sel(process=kind)
        steps = np.arange(1, 31)[: x.sizes["step"]]
        axes[0, 0].errorbar(steps, x.growth[: len(steps)], x.growth_error[: len(steps)],
                            color=colour, fmt="o", ms=2.5, lw=0.8, label=kind)  # fmt: skip
        axes[0, 0].axhline(float(x.eigenvalue), color=colour, lw=0.8)
        height = ds.height.values[1:]
        grown = x.class_slope.values[1:] / x.class_slope.values[:-1]
        axes[0, 1].plot(height, grown, color=colour, marker="o", ms=3, lw=0.8, label=kind)
        axes[0, 1].axhline(float(x.eigenvalue), color=colour, lw=0.8)
        for k in range(ds.sizes["model"]):
            y = ds.isel(model=k).sel(process=kind)
            shift = 0.12 * (list(colours).index(kind) - 1.5)
            axes[0, 2].errorbar([k + shift], [float(y.eigenvalue)], [float(y.eigenvalue_error)],
                                color=colour, fmt="o", ms=4)  # fmt: skip
        axes[1, 2].errorbar(ds.leaf_L, x.leaf_slope, x.leaf_slope_error, color=colour,
                                   fmt="o", ms=4, label=kind)  # fmt: skip
        axes[1, 2].plot(ds.leaf_L, x.leaf_slope_theory, color=colour, lw=1)
    axes[0, 0].set(xlabel="level of the linear evolution", ylabel="growth of a perturbation")
    axes[0, 1].axhline(float(first.annealed), color="k", ls="--", lw=0.8, label="$F'(p^*)$")
    axes[0, 1].set(xlabel="levels above the leaves", ylabel="growth of the class slope",
                   ylim=(1.0, 1.8))  # fmt: skip
    for k in range(ds.sizes["model"]):
        x = ds.isel(model=k)
        axes[0, 2].plot([k - 0.3, k + 0.3], [float(x.annealed)] * 2, "k--", lw=0.8,
                        label="$F'(p^*)$")  # fmt: skip
        axes[0, 2].plot([k - 0.3, k + 0.3], [float(x.support)] * 2, "k:", lw=1,
                        label="support sets")  # fmt: skip
    axes[0, 2].set_xticks(range(ds.sizes["model"]),
                          [_size(ds.isel(model=k)) for k in range(ds.sizes["model"])])  # fmt: skip
    axes[0, 2].set(ylabel=r"$\lambda$", xlabel="$(v, m, s)$")
    quality: list[str] = []
    for ax, rates, name in ((axes[1, 0], first.rate, r"\lambda"),
                            (axes[1, 1], None, "F'(p^*)")):  # fmt: skip
        for kind in ("masking",):
            x = first.sel(process=kind)
            rate = float(first.annealed) if rates is None else float(x.rate)
            for i, L in enumerate(ds.L.values):
                tint = shade(i / (ds.sizes["L"] - 1))
                ax.errorbar((x.time[i] - float(x.threshold)) * rate ** float(L), x.class_belief[i],
                            x.class_belief_error[i], color=tint, fmt="o-", ms=3, lw=0.7,
                            label=f"L = {L}")  # fmt: skip
            q = ds["collapse"].sel(process=kind).values[int(rates is None)]
        ax.set(xlabel=f"$(t - t^*)\\, {name}^L$", ylabel="belief in the true class (masking)")
        quality.append(rf"$\chi^2$ per degree {q:.1f}")
    axes[1, 2].set(xlabel="depth L", ylabel="slope of the leaves' belief at $t^*$", yscale="log")
    plain_log(axes[1, 2].yaxis)
    axes[1, 2].set_xticks(ds.leaf_L.values)
    panels(axes.ravel(), "at the fixed point of " + _size(first),
           r"coupled populations at $t^* \mp \delta$", r"growth per level $\lambda$",
           f"collapse with $\\lambda$: {quality[0]}", f"with $F'(p^*)$: {quality[1]}",
           "leaves; lines: density evolution")  # fmt: skip
    legend(axes[1, 0])
    shared_legend(figure, axes[0, 1], axes[0, 2])
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _size(x: xr.Dataset) -> str:
    return f"({int(x.v)}, {int(x.m)}, {int(x.s)})"
