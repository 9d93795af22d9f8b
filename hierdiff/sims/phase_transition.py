"""Forward-backward runs on the Random Hierarchy Model: what survives which noise level?

Draw a datum, corrupt it to noise level t, draw a datum from the posterior.  For every level of the
hierarchy two things are recorded: the belief in the true symbol (exact marginal), and whether the
symbol is unchanged in the new datum.  At a threshold the class is lost, over a range of noise that
shrinks as lambda^-L with the depth (see ``theory.rhm.critical_exponents``); low levels fade
smoothly.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import check_fields, checked, levels_of, natural, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import GaussianNoise, NoiseProcess, noise_process
from hierdiff.seeds import stream
from hierdiff.sims.class_retention import (
    MixtureModel,
    class_retention,
    labelled_data,
)
from hierdiff.sims.estimators import (
    bootstrap,
    clustered_interval,
    crossing,
    falls_through,
    nested_mean,
)
from hierdiff.sims.forward_backward import (
    QUANTITIES,
    checked_derivations,
    density_evolution,
    forward_backward,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.mean_field import annealed_beliefs
from hierdiff.theory.rhm.thresholds import critical_noise, finite_depth_threshold

__all__ = ["PhaseTransition"]

Array = NDArray[Any]

Process: TypeAlias = Literal["masking", "uniform", "gaussian", "epsilon"]
PROCESSES: tuple[Process, ...] = ("masking", "uniform", "gaussian", "epsilon")
_BLOCK = 64  # data per task: what an interruption can lose
_TEXT = {
    "belief": "posterior probability of the true symbol",
    "upward": "upward belief in the true symbol",
    "square": "sum of squared posterior probabilities",
    "retention": "probability that the symbol is unchanged",
}


@dataclass(frozen=True)
class PhaseTransition:
    """Loss of the class, and of every other level, when a datum is noised and denoised.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: posterior inference is exact; averages are over ``grammars`` random grammars with
    ``data`` data each, so errors are statistical only.

    References
    ----------
    arXiv 2402.16991, 2410.13770.

    Examples
    --------
    >>> experiment = PhaseTransition(v=8, m=2, L=3, grammars=2, data=4, levels=3, refine=0)
    >>> ds = experiment.measure()
    >>> dict(ds.belief.sizes), str(ds.source.values)
    ({'level': 4, 't': 3}, 'simulation')
    >>> ds.belief.sel(t=0).values.round(12).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules (synonyms) per symbol; unambiguous rules need m * v <= v**s."""
    s: int = 2
    """Symbols that a rule writes: the branching of the tree."""
    L: int = 10
    """Levels of rules; a datum has s**L leaves."""
    noise: Literal["masking", "uniform", "gaussian", "epsilon", "all"] = "masking"
    """Forward process; "epsilon" is the analytic idealisation, "all" each of the four."""
    grammars: int = 24
    """Random grammars to average over (quenched average)."""
    data: int = 32
    """Data per grammar."""
    levels: int = 21
    """Noise levels between 0 and 1, evenly spaced."""
    refine: int = 9
    """Further noise levels around the place where the class is lost."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, grammars=partial(whole, high=10**6), data=partial(whole, high=10**8),
            levels=partial(whole, high=10**5), refine=partial(whole, high=10**5), seed=natural,
        )  # fmt: skip
        for name in ("grammars", "data", "levels"):
            if getattr(self, name) < (1, 1, 2)[("grammars", "data", "levels").index(name)]:
                least = 2 if name == "levels" else 1
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {least}")
        if self.refine < 0 or self.seed < 0:
            raise InvalidParameter(
                f"refine = {self.refine} and seed = {self.seed} must not be negative"
            )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)
        if self.noise != "all":
            noise_process(self.noise, self.rhm.v)

    def each(self) -> tuple[PhaseTransition, ...]:
        """One experiment per process that ``noise`` stands for."""
        names = PROCESSES if self.noise == "all" else (self.noise,)
        return tuple(replace(self, noise=name) for name in names)

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        if self.noise == "all":
            raise InvalidParameter("noise = 'all' stands for four processes; run over each() of it")
        return noise_process(self.noise, self.v)

    @results.tracked
    @checked
    def predict(
        self,
        law: str | None = None,
        t: Array | None = None,
        *,
        size: int = 4000,
        copies: int = 4,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """What a law says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"annealed", "population"}, optional
            The annealed recursion, for the epsilon-process only and its default; or density
            evolution, for every process.
        t : array, optional
            Noise levels; default a fine grid, or a coarse one for density evolution.
        size, copies
            Of the populations, see
            :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; density evolution takes seconds.

        Returns
        -------
        xarray.Dataset
            ``belief``, ``upward`` and ``retention`` on (level, t), with errors; ``threshold``
            (where the class is lost at this depth); for the recursion also ``critical``, its limit
            for infinite depth.

        Raises
        ------
        InvalidParameter
            If the law is unknown, or is not a law of this noise process.

        Notes
        -----
        Validity: average over unambiguous grammars with uniform rules.  The recursion is exact as
        v grows; density evolution for large populations and rules drawn anew at every node.
        ``threshold`` is absent where the belief in the class does not cross one half, ``critical``
        where no transition exists.
        """
        noise = self.process
        if law is None:
            law = "annealed" if noise.name == "epsilon" else "population"
        if law == "population":
            times = np.linspace(0, 1, self.levels) if t is None else np.atleast_1d(levels_of(t))
            options = {"folder": folder, "workers": workers, "cluster": cluster}
            return self._predict_population(times, size, copies, options)
        if law != "annealed":
            raise InvalidParameter(f"law = {law!r} is not known; use 'annealed' or 'population'")
        if self.noise != "epsilon":
            raise InvalidParameter(
                f"the recursion is no prediction for {self.noise} noise, whose messages fluctuate; "
                "use law='population'"
            )
        times = np.linspace(0, 1, 401) if t is None else np.atleast_1d(levels_of(t))
        up, _, marginal = annealed_beliefs(self.rhm, times)
        zero = np.zeros_like(marginal.T)
        variables = _curves({"belief": (marginal.T, zero), "upward": (up.T, zero)})
        try:
            if self.v > 2:  # the chance level of two classes is one half already
                variables["threshold"] = ((), finite_depth_threshold(self.rhm), _THRESHOLD)
                variables["threshold_error"] = ((), 0.0, "no error")
            variables["critical"] = ((), critical_noise(self.rhm), "critical noise, L -> infinity")
        except NoTransition:
            pass
        return self._label(variables, {}, times, "theory")

    def _predict_population(
        self, times: Array, size: int, copies: int, options: dict[str, Any]
    ) -> xr.Dataset:
        tasks = []
        for t in times:
            parameters = {
                "version": 2, "law": "population", "v": self.v, "m": self.m, "s": self.s,
                "L": self.L, "noise": self.noise, "seed": self.seed, "t": float(t),
                "size": size, "copies": copies,
            }  # fmt: skip
            # the same random numbers at every noise level make smooth curves
            arguments = (self.rhm, self.process, float(t), size, copies, self.seed)
            tasks.append(Task(density_evolution, arguments, parameters))
        found = run_tasks(tasks, name="density evolution", **options)
        planes = {k: np.stack([r[k] for r in found], axis=1) for k in found[0]}
        variables = _curves(
            {
                "belief": (planes["marginal"], planes["marginal_error"]),
                "upward": (planes["upward"], planes["upward_error"]),
            }
        )
        root, error = planes["marginal"][0], planes["marginal_error"][0]
        bracket = _bracket(times, root)
        if bracket is not None:
            place = falls_through(times, root)
            near = np.searchsorted(times, place)
            slope = np.diff(root)[near - 1] / np.diff(times)[near - 1]
            doubt = float(np.interp(place, times, error) / abs(slope))
            variables["threshold"] = ((), place, _THRESHOLD)
            variables["threshold_error"] = ((), doubt, "standard error of the threshold")
        return self._label(variables, {}, times, "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Derivations | tuple[Array, Array] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Forward-backward runs, with the belief and the fate of every level.

        Parameters
        ----------
        model : ExactRHM or ExactMixture, optional
            Measures on its grammar, or on its mixture, whose only level is the class; default:
            exact inference on ``grammars`` random grammars.
        data : Derivations, or (points, classes), optional
            Data to start from (with ``model``); default: ``data`` drawn from its world.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            For x in belief, upward, square, retention: ``x`` (level, t), ``x_error`` its standard
            error, ``x_by_grammar`` (grammar, level, t), ``x_quenched_sd`` and ``x_thermal_sd``;
            ``class_interval``, likelihood interval of the class's retention, wider where data of
            one grammar share a fate; ``class_belief`` (grammar, datum, t); ``threshold`` and
            ``threshold_error`` where the mean belief in the class crosses one half, and
            ``threshold_missed``, the share of bootstrap replicas that do not cross it; ``width``
            and ``width_error``, the range over which it falls from .9 to .1 (with masking at
            (32, 8, 2) and L = 10 .42 of the threshold; NaN where chance is above .1).

        Raises
        ------
        InvalidParameter
            If the model is of another kind or another noise process, or the data do not belong to
            it.

        Notes
        -----
        Validity: what the model's own ``beliefs`` and ``posterior`` (``class_marginals`` of a
        mixture) return; errors are statistical.  Every datum has its own random streams, used at
        all noise levels, so curves are smooth and independent of batches.
        """
        worlds = self._worlds(model, data)
        times = np.linspace(0, 1, self.levels)
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        values = self._run(worlds, times, "noise levels", options)
        bracket = _bracket(times, values[..., 0, :, 0].mean(axis=(0, 1)))
        if self.refine and bracket is not None:
            fine = np.linspace(*bracket, self.refine + 2)[1:-1]
            more = self._run(worlds, fine, "near the threshold", options)
            order = np.argsort(np.concatenate([times, fine]))
            times = np.concatenate([times, fine])[order]
            values = np.concatenate([values, more], axis=3)[:, :, :, order]
        return self._summarise(times, values, model)

    def _worlds(self, model: DiffusionModel | None, data: Any) -> list[tuple[Any, Any, str]]:
        """Models, their data, and words that say which they are."""
        if model is None:
            if data is not None:
                raise InvalidParameter("data were given without the model they belong to")
            worlds: list[tuple[Any, Any, str]] = []
            for g in range(self.grammars):
                grammar = self.rhm.draw(stream(self.seed, "grammar", g))
                worlds.append((ExactRHM(grammar, self.process, threads=1), None, f"drawn {g}"))
            return worlds
        name = getattr(getattr(model, "noise", None), "name", "no")
        if not isinstance(model, (ExactRHM, MixtureModel)) or name != self.noise:
            raise InvalidParameter(
                f"model {type(model).__name__} with {name} noise cannot be measured as "
                f"{self.noise}; give an ExactRHM or ExactMixture with that noise"
            )
        if isinstance(model, MixtureModel):
            given = None if data is None else labelled_data(model.mixture, data)
            return [(model, given, "given")]
        if data is not None:
            checked_derivations(model.grammar, data)
        return [(model, data, "given")]

    def _run(
        self, worlds: list[tuple[Any, Any, str]], times: Array, name: str, options: dict[str, Any]
    ) -> Array:
        """Values [grammar, datum, level, t, quantity]."""
        tasks = []
        for g, (model, data, words) in enumerate(worlds):
            vectors = isinstance(model, MixtureModel)
            n = self.data if data is None else len(data[0] if vectors else data)
            for first in range(0, n, _BLOCK):
                rows = range(first, min(first + _BLOCK, n))
                parameters = {
                    "version": 1, "question": "phase_transition", "world": words,
                    "v": self.v, "m": self.m, "s": self.s, "L": self.L, "noise": self.noise,
                    "seed": self.seed, "grammar": g, "first": rows.start, "last": rows.stop,
                    "t": [float(x) for x in times],
                }  # fmt: skip
                arguments = (model, data, self.seed, g, rows, times)
                function = class_retention if vectors else forward_backward
                tasks.append(Task(function, arguments, parameters))
        blocks = run_tasks(tasks, name=name, **options)
        per_world = len(blocks) // len(worlds)
        joined = [
            np.concatenate([b["values"] for b in blocks[g * per_world : (g + 1) * per_world]])
            for g in range(len(worlds))
        ]
        return np.stack(joined)

    def _summarise(
        self, times: Array, values: Array, model: DiffusionModel | None = None
    ) -> xr.Dataset:
        variables: dict[str, tuple[tuple[str, ...], Any, str]] = {}
        plane = ("level", "t")
        for q, name in enumerate(QUANTITIES):
            r = nested_mean(values[..., q])
            text = _TEXT[name]
            variables[name] = (plane, r.mean, text)
            variables[f"{name}_error"] = (plane, r.error, f"standard error of: {text}")
            variables[f"{name}_by_grammar"] = (("grammar", *plane), r.by_grammar, text)
            variables[f"{name}_quenched_sd"] = (plane, r.quenched_sd, "spread between grammars")
            variables[f"{name}_thermal_sd"] = (plane, r.thermal_sd, "spread between data")
        interval = clustered_interval(values[:, :, 0, :, 3])
        variables["class_interval"] = (
            ("t", "end"), interval, "likelihood interval of the class's retention",
        )  # fmt: skip
        root = values[:, :, 0, :, 0]
        variables["class_belief"] = (("grammar", "datum", "t"), root, _TEXT["belief"] + " (root)")
        if _bracket(times, root.mean(axis=(0, 1))) is not None:
            place = crossing(times, root, seed=stream(self.seed, "bootstrap"))
            variables["threshold"] = ((), place.value, _THRESHOLD)
            variables["threshold_error"] = ((), place.error, "standard error of the threshold")
            variables["threshold_missed"] = ((), place.missed, "replicas without a threshold")
            width, doubt = _width(times, root, self.seed)
            variables["width"] = ((), width, _WIDTH)
            variables["width_error"] = ((), doubt, f"standard error of: {_WIDTH}")
        coords = {"end": (("end",), ["low", "high"], "end of the interval")}
        return self._label(variables, coords, times, "simulation", model)

    def _label(
        self, variables: dict[str, Any], coords: dict[str, Any], times: Array, source: str,
        model: DiffusionModel | None = None,
    ) -> xr.Dataset:  # fmt: skip
        count = len(variables["belief"][1])
        axes = {
            "level": (("level",), np.arange(count), "level, root = 0"),
            "t": (("t",), times, f"noise level t of the {self.noise} process"),
            **coords,
        }
        noise = self.process if model is None else model.noise
        if isinstance(noise, GaussianNoise):
            axes["snr"] = (("t",), noise.snr(times), "signal-to-noise ratio")
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: x for k, x in fields.items() if k not in ("v", "m", "s", "L", "grammars")}
            fields |= {"model": type(model).__name__, "process": repr(noise)}
        return results.label(variables, axes, source, results.provenance(fields))


_THRESHOLD = "noise level at which the belief in the class is one half"
_WIDTH = "range of noise levels over which the belief in the class falls from .9 to .1"


def _width(times: Array, root: Array, seed: int) -> tuple[float, float]:
    """Range over which the mean of [grammars, data, t] falls from .9 to .1; NaN if it does not."""
    units = root.mean(axis=1) if len(root) > 1 else root[0]

    def width(rows: Array) -> float:
        curve = np.minimum(units[rows].mean(axis=0), 1.0)
        return falls_through(times, curve, 0.1) - falls_through(times, curve, 0.9)

    found = bootstrap(width, len(units), seed=stream(seed, "width"))
    return width(np.arange(len(units))), float(found.error)


def _curves(values: dict[str, tuple[Array, Array]]) -> dict[str, Any]:
    """Predicted planes with errors; a sample keeps a symbol as often as it is believed."""
    variables: dict[str, Any] = {}
    for name, (mean, error) in {**values, "retention": values["belief"]}.items():
        variables[name] = (("level", "t"), mean, _TEXT[name])
        variables[f"{name}_error"] = (("level", "t"), error, f"standard error of: {_TEXT[name]}")
    return variables


def _bracket(times: Array, curve: Array) -> tuple[float, float] | None:
    """The neighbouring noise levels between which a curve falls through one half."""
    below = np.flatnonzero(curve < 0.5)
    if not below.size or below[0] == 0:
        return None
    i = int(below[0])
    return float(times[i - 1]), float(times[i])
