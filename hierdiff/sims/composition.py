r"""What it costs to learn the levels of a hierarchy, and what partial knowledge generates.

Three measurements on exactly known worlds.  *Cost*: a learner clusters synonyms by their contexts,
on growing data; how many data, :math:`P^*`, does it need at each height, and how does that grow
with m?  *Denoisers*: models that know the rules up to a height denoise data; up to which level are
their strings valid, and of the right class?  *Kernels*: how many labels (x, y) does a method need
that adds what it knows of x and of y, against one that must have seen them together?
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import check_fields, checked, interval, listed, natural, number, text, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.rhm import RHM, Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, noise_process
from hierdiff.sims import _composition_tables as tables
from hierdiff.sims._composition_tasks import (
    INFORMED,
    denoise,
    given,
    kernels,
    recognise,
    unobserved,
)
from hierdiff.sims._synonyms import LEARNERS, Context
from hierdiff.sims.phases import Thresholds
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.rhm.sample_complexity import (
    KERNELS,
    clustering_cost,
    coincidence_cost,
    kernel_cost,
    next_token_cost,
)
from hierdiff.theory.rhm.token_correlations import context_signal

__all__ = ["Composition", "Part"]

Array: TypeAlias = NDArray[Any]
Part: TypeAlias = Literal["cost", "denoisers", "kernels"]
Floats: TypeAlias = tuple[float, ...]

PARTS: tuple[Part, ...] = ("cost", "denoisers", "kernels")
_LAWS = {
    "correlations": clustering_cost,
    "coincidences": coincidence_cost,
    "next_token": next_token_cost,
}


@dataclass(frozen=True)
class Composition:
    """Cost of learning the levels of a hierarchy, strings of partial knowledge, cost of factors.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: each height is learned with the symbols below it known; P counts strings, of which one
    tuple is used.  Errors are over grammars (cost, denoisers) or orders of the data (kernels).

    References
    ----------
    arXiv 2502.12089 (cost), 2402.03305 (phases), 2408.13256 (factors).

    Examples
    --------
    >>> experiment = Composition(v=8, multiplicities=(2, 3), heights=(1,), grammars=3,
    ...                          span=(-6, 6), parts=("cost",))
    >>> measured = experiment.measure()
    >>> dict(measured.exponent.sizes), str(measured.source.values)
    ({'learner': 2, 'height': 1}, 'simulation')
    >>> experiment.predict("correlations").exponent.values.round(9).tolist()
    [[3.0], [3.0]]
    """

    v: int = 32
    """Symbols per level of the grammars that are learned."""
    s: int = 2
    """Symbols that a rule writes, in all grammars."""
    multiplicities: tuple[int, ...] = (2, 3, 4, 6)
    """Rules per symbol m, over which exponents are fitted; keep m well below v**(s - 1)."""
    heights: tuple[int, ...] = (1, 2, 3)
    """Heights of the symbols that are to be recognised; grammars are one deeper than the last."""
    grammars: int = 24
    """Random grammars per m, and of the denoisers."""
    repeats: int = 2
    """Independent data sets per grammar and height, over which learning curves are averaged."""
    context: Context = "token"
    """Which context is read: one token, or all leaves below the next nodes."""
    span: tuple[float, float] = (-7.0, 5.0)
    """Range of P in powers of two, relative to v m^(h + 2)."""
    half: float = 0.5
    """Height of the learning curve, as a share of that on infinite data, which defines P*."""
    symbols: int = 16
    """Symbols per level of the grammars whose truncated denoisers are sampled."""
    rules: int = 4
    """Their rules per symbol."""
    depth: int = 4
    """Their levels of rules."""
    noise: Literal["masking", "uniform", "gaussian"] = "masking"
    """Forward process of the denoisers."""
    levels: int = 11
    """Noise levels between 0 and 1, evenly spaced."""
    data: int = 64
    """Data per grammar that are noised and denoised."""
    positions: tuple[int, ...] = (8, 12, 16, 24, 32)
    """Values N of each coordinate of a label."""
    orders: int = 32
    """Random orders of the labels per N."""
    target: float = 0.6
    """Accuracy in both coordinates that a kernel must reach."""
    width: float = 0.75
    """Width of the stripes that a kernel predicts, in pixels."""
    parts: tuple[Part, ...] = PARTS
    """What is measured: cost, denoisers, kernels."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, span=interval, grammars=partial(whole, high=10**6),
            repeats=partial(whole, high=10**6), levels=partial(whole, high=10**5),
            data=partial(whole, high=10**8), orders=partial(whole, high=10**6),
            width=partial(number, above=0, high=1e6), parts=partial(listed, rule=text),
            seed=natural,
        )  # fmt: skip
        least = {"grammars": 2, "repeats": 1, "levels": 2, "data": 1, "orders": 2, "seed": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        if not self.parts or not {*self.parts} <= {*PARTS}:
            raise InvalidParameter(f"parts = {self.parts} must name some of {', '.join(PARTS)}")
        for name, lowest in (("multiplicities", 2), ("heights", 1), ("positions", 2)):
            values = getattr(self, name)
            wanted = 1 if name == "heights" else 2
            if len({*values}) != len(values) or len(values) < wanted or min(values) < lowest:
                raise InvalidParameter(
                    f"{name} = {values} must be {wanted} or more different numbers >= {lowest}"
                )
        if max(map(abs, self.span)) > 64:
            raise InvalidParameter(
                f"span = {self.span} must lie between -64 and 64, in powers of two"
            )
        if not (0 < self.half < 1 and 0 < self.target < 1 and self.width > 0):
            raise InvalidParameter(
                f"half = {self.half} and target = {self.target} must lie between 0 and 1, and "
                f"width = {self.width} be > 0"
            )
        for m in self.multiplicities:
            affordable(self.world(m))
        affordable(self.denoised, self.data)
        _ = self.process

    def world(self, m: int) -> RHM:
        """The model whose grammars are learned, with m rules per symbol."""
        return RHM(self.v, m, self.s, max(self.heights) + 1)

    @property
    def denoised(self) -> RHM:
        """The model whose grammars are cut."""
        return RHM(self.symbols, self.rules, self.s, self.depth)

    @property
    def process(self) -> NoiseProcess:
        """The forward process of the denoisers."""
        return noise_process(self.noise, self.symbols)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.levels)

    @property
    def scaled(self) -> Array:
        """Numbers of data relative to v m^(h + 2), two per power of two."""
        low, high = self.span
        return np.asarray(2.0 ** np.arange(low, high + 1e-9, 0.5))

    def samples(self, m: int) -> Array:
        """Numbers of data P at which the learner is tested, [height, scaled]."""
        scale = [clustering_cost(self.world(m), h + 1) for h in self.heights]
        grid = np.round(np.outer(scale, self.scaled)).astype(np.int64)
        # on tiny grids rounding must not make two numbers equal
        steps = np.arange(grid.shape[1])
        return np.maximum.accumulate(np.maximum(grid, 1) - steps, axis=1) + steps

    @results.tracked
    @checked
    def predict(self, law: str = "correlations") -> xr.Dataset:
        r"""What a law says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"correlations", "coincidences", "next_token"}
            Of P*: v m^(h+2) of arXiv 2502.12089; coincidences of contexts, which bends from
            v m^(1 + (h+1)/2) to sqrt(v) m^(h+2); v m^(2h+1) of arXiv 2406.00048, for who sees
            tokens only.

        Returns
        -------
        xarray.Dataset
            The other variables are the same for all laws: ``resolved``, v m / S with finite-size
            factors; ``kernel_samples``; for strings without any observation (t = 1) ``validity``
            of the average grammar of the measurement, exactly; ``gap``, zero.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: of P* the exponents are meant; prefactors hold up to numbers of order one.
        """
        if law not in _LAWS:
            raise InvalidParameter(f"law = {law!r} is not known; use {', '.join(_LAWS)}")
        found: tables.Variables = {}
        if "cost" in self.parts:
            worlds = [self.world(m) for m in self.multiplicities]
            cost = np.array([[_LAWS[law](w, h + 1) for w in worlds] for h in self.heights])
            shown = [[w.v * w.m / context_signal(w, h + 1) for w in worlds] for h in self.heights]
            found |= tables.predicted_cost(self.multiplicities, cost, np.array(shown))
        if "denoisers" in self.parts:
            fate = [unobserved(self.denoised, self.seed, g) for g in range(self.grammars)]
            found |= tables.predicted_strings(np.stack(fate), self.levels)
        if "kernels" in self.parts:
            cost = np.array([[kernel_cost(k, n, self.target) for n in self.positions]
                             for k in KERNELS])  # fmt: skip
            found |= tables.predicted_kernels(self.positions, cost)
        return self._label(found, "theory", law)

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Grammar | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Learn, denoise, regress.

        Parameters
        ----------
        model : DiffusionModel, optional
            Its samples are parsed in place of those of truncated denoisers, and nothing else is
            measured; it must have the noise and symbols of this experiment.
        data : Grammar, optional
            The grammar that ``model`` was trained on; needed with it.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``samples`` P* (learner, height, m), ``exponent`` (learner, height), ``resolved``,
            ``accuracy``, ``ceiling``, ``below``; ``validity`` (informed, known, t, level),
            ``right``, ``gap``, ``phase``; ``kernel_samples`` and ``kernel_exponent``; with errors.
            A model from outside has ``known`` = -1.

        Raises
        ------
        InvalidParameter
            If a model has another noise process or comes without its grammar.

        Notes
        -----
        Validity: P* of a grammar that does not reach the height within ``span`` is NaN and
        counted in ``censored``; its m is then left out of the exponent.
        """
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None:
            return self._measure_given(model, data, options)
        found: tables.Variables = {}
        run = {"cost": self._cost, "denoisers": self._denoisers, "kernels": self._kernels}
        for part in self.parts:
            found |= run[part](options)
        return self._label(found, "simulation", "")

    def _cost(self, options: dict[str, Any]) -> tables.Variables:
        tasks = []
        for m in self.multiplicities:
            grid = self.samples(m)
            for g in range(self.grammars):
                parameters = {
                    "version": 1, "question": "composition, cost", "v": self.v, "m": m,
                    "s": self.s, "heights": self.heights, "samples": grid.tolist(),
                    "repeats": self.repeats, "context": self.context, "seed": self.seed, "g": g,
                }  # fmt: skip
                arguments = (self.world(m), self.heights, grid, self.repeats, self.context,
                             self.seed, g)  # fmt: skip
                tasks.append(Task(recognise, arguments, parameters))
        found = run_tasks(tasks, name="cost", **options)
        shape = (len(self.multiplicities), self.grammars)
        whole = {
            k: np.stack([f[k] for f in found]).reshape(*shape, *found[0][k].shape) for k in found[0]
        }
        grids = np.stack([self.samples(m) for m in self.multiplicities])
        return tables.measured_cost(whole, grids, self.multiplicities, self.half)

    def _denoisers(self, options: dict[str, Any]) -> tables.Variables:
        shared = (self.denoised, self.process, self.times, self.data, self.seed)
        parameters = {
            "version": 1, "question": "composition, denoisers", "symbols": self.symbols,
            "rules": self.rules, "s": self.s, "depth": self.depth, "noise": self.noise,
            "levels": self.levels, "data": self.data, "seed": self.seed,
        }  # fmt: skip
        tasks = [Task(denoise, (*shared, g), {**parameters, "g": g}) for g in range(self.grammars)]
        found = run_tasks(tasks, name="denoisers", **options)
        fate, exact = (np.stack([f[k] for f in found]) for k in ("fate", "expected"))
        return tables.measured_strings(fate, exact, Thresholds(), self.data)

    def _kernels(self, options: dict[str, Any]) -> tables.Variables:
        tasks = []
        for k in KERNELS:
            for n in self.positions:
                arguments = (k, n, self.target, self.orders, self.width, self.seed)
                parameters = {"version": 2, "question": "composition, kernels", "of": arguments}
                tasks.append(Task(kernels, arguments, parameters))
        found = run_tasks(tasks, name="kernels", **options)
        samples = np.stack([f["samples"] for f in found])
        samples = samples.reshape(len(KERNELS), len(self.positions), 2)
        return tables.measured_kernels(samples, self.positions)

    def _measure_given(
        self, model: DiffusionModel, grammar: Grammar | None, options: dict[str, Any]
    ) -> xr.Dataset:
        if grammar is None:
            raise InvalidParameter("model needs the grammar it was trained on; give data=grammar")
        noise, v = model.noise, grammar.leaf_vocabulary
        if (noise.name, noise.v) != (self.noise, v):
            raise InvalidParameter(
                f"model has {noise.name} noise on {noise.v} symbols; this experiment denoises "
                f"{self.noise} noise on {v}"
            )
        parts = np.array_split(np.arange(self.data), min(self.data, 8))
        tasks = [
            Task(given, (model, grammar, self.times, len(rows), self.seed, i),
                 {"version": 1, "question": "composition, given",
                  "times": self.times.tolist(), "data": self.data, "seed": self.seed, "block": i})
            for i, rows in enumerate(parts)
        ]  # fmt: skip
        found = run_tasks(tasks, name="given", **options)
        fate = np.stack([f["fate"] for f in found])
        source = "network" if model.source == "network" else "simulation"
        variables = tables.measured_strings(fate, None, Thresholds(), len(parts[-1]))
        return self._label(variables, source, "", depth=grammar.L, outside=True)

    def _label(
        self, variables: tables.Variables, source: str, law: str, depth: int | None = None,
        outside: bool = False,
    ) -> xr.Dataset:  # fmt: skip
        L = self.depth if depth is None else depth
        known = [-1] if outside else list(range(L + 1))
        axes: dict[str, tuple[Any, str]] = {
            "learner": (list(LEARNERS), "how synonyms are found"),
            "height": (list(self.heights), "height of the symbols above the leaves"),
            "m": (list(self.multiplicities), "rules per symbol m"),
            "scaled": (self.scaled, "data P / (v m^(h+2))"),
            "informed": (list(INFORMED[:1] if outside else INFORMED), "is the class given?"),
            "known": (known, "height up to which rules are known"),
            "t": (self.times, f"noise level t ({self.noise})"),
            "level": (list(range(L + 1)), "level, root 0"),
            "kernel": (list(KERNELS), "kernel on labels"),
            "positions": (list(self.positions), "values N of each coordinate"),
        }
        used = {dim for dims, _, _ in variables.values() for dim in dims}
        coords = {name: ((name,), *axis) for name, axis in axes.items() if name in used}
        attributes = {**results.provenance(asdict(self)), **({"law": law} if law else {})}
        return results.label(variables, coords, source, attributes)
