r"""Strings of partial knowledge: denoisers that carry the rules of a grammar up to a height.

A truncated denoiser carries the rules up to a height h exactly, and above it the law of single
symbols, of all data or of those of a class.  Strings that it generates are valid up to h, and above
by chance: phases A (invalid tuples), B (valid strings of the wrong class) and C (valid, right
class), named by :func:`hierdiff.sims.bump_phases.phase_of_strings`.  Given the noisy string,
symbols at the cut are independent, so the share of valid nodes is also summed exactly (``gap`` is
the measurement minus this sum).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, text_table
from hierdiff.checks import check_fields, checked, natural, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, noise_name, noise_process
from hierdiff.plots import (
    FONT,
    GREEN,
    Axes,
    Figure,
    axes_or_new,
    curve,
    finish,
    level_colours,
    measured_last,
    panel_figure,
    parts_with,
    pick,
)
from hierdiff.seeds import stream
from hierdiff.sims.bump_phases import Thresholds, phase_of_strings
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.token_correlations import node_marginals
from hierdiff.theory.rhm.truncated_grammars import class_truncated, node_validity, truncated

__all__ = ["TruncatedDenoisers", "string_phases", "string_validity"]

Array: TypeAlias = NDArray[Any]
Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any, str]]

INFORMED = ("no label", "label")
_GIVEN = {"label": "class given", "no label": "class not given"}
_PHASES = ("A", "transitional", "B", "C")
_PHASE_COLOURS = ("#b2182b", "#e8e4dc", "#e8a33d", "#2a788e")
_VALID = "share of valid nodes"
_RIGHT = "share of strings of the class of the datum"
_GAP = "drawn minus expected share of valid nodes"
_MAKER = "TruncatedDenoisers"
_DIMS = ("informed", "known", "t")
_NEEDED = {
    "validity": (*_DIMS, "level"), "validity_error": (*_DIMS, "level"),
    "right": _DIMS, "right_error": _DIMS,
}  # fmt: skip


@dataclass(frozen=True)
class TruncatedDenoisers:
    """Validity of strings that denoisers with the rules up to a height generate.

    Notes
    -----
    Validity: exact denoisers of truncated random grammars.  Errors are over grammars.

    References
    ----------
    arXiv 2402.03305 (phases).

    Examples
    --------
    >>> experiment = TruncatedDenoisers(v=6, m=2, L=2, grammars=2, data=8, num_levels=3)
    >>> measured = experiment.measure()
    >>> dict(measured.validity.sizes)
    {'informed': 2, 'known': 3, 't': 3, 'level': 3}
    >>> measured.phase.sel(informed="label", t=1.0).values.tolist()[-1]
    'C'
    >>> experiment.predict().validity.sel(known=2, t=1.0).values.round(9).tolist()[0]
    [1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "truncated_denoisers"
    _repr_html_ = experiment_html

    v: int = 16
    """Symbols per level."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Levels of rules."""
    noise: str = "masking"
    """Forward process."""
    num_levels: int = 11
    """Noise levels between 0 and 1, evenly spaced."""
    data: int = 64
    """Data per grammar that are noised and denoised."""
    grammars: int = 24
    """Random grammars."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, num_levels=partial(whole, low=2, high=10**5),
            data=partial(whole, low=1, high=10**8), grammars=partial(whole, low=2, high=10**6),
            seed=natural,
            noise=partial(noise_name, channel=True),
        )  # fmt: skip
        affordable(self.rhm, self.data)
        _ = self.process

    @property
    def rhm(self) -> RHM:
        """The model whose grammars are truncated."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.num_levels)

    @results.tracked
    @checked
    def predict(self, law: str = "independent cut") -> xr.Dataset:
        """What strings without any observation (t = 1) are, exactly.

        Parameters
        ----------
        law : {"independent cut"}
            Symbols at the cut are independent with their own laws, summed over the grammars of the
            measurement.

        Returns
        -------
        xarray.Dataset
            ``validity`` (informed, known, t, level) and ``right`` (informed, known, t), NaN below
            t = 1; ``gap``, zero.

        Raises
        ------
        InvalidParameter
            If the law is unknown.
        """
        one_of("law", law, ("independent cut",))
        found = [_unobserved(self.rhm, self.seed, g) for g in range(self.grammars)]
        variables = _predicted(np.stack(found), self.num_levels)
        return self._label(variables, "theory", list(range(self.L + 1)), self.L)

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
        """Noise strings, denoise them, parse what comes out.

        Parameters
        ----------
        model : DiffusionModel, optional
            Its samples are parsed in place of those of truncated denoisers; it must have the noise
            of this experiment.
        data : Grammar, optional
            The grammar that ``model`` was trained on; needed with it.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``validity`` (informed, known, t, level), ``right``, ``gap``, ``phase``, with errors.
            A given model has ``known`` = L: it is compared with the exact model, which has all
            rules.

        Raises
        ------
        InvalidParameter
            If a model has another noise process or comes without its grammar.
        """
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None:
            return self._measure_given(model, data, options)
        if data is not None:
            raise InvalidParameter("data come without the model that was trained on them; give it")
        shared = (self.rhm, self.process, self.times, self.data, self.seed)
        parameters = {
            "version": 1, "question": "composition, denoisers", "v": self.v, "m": self.m,
            "s": self.s, "L": self.L, "noise": self.noise, "levels": self.num_levels,
            "data": self.data, "seed": self.seed,
        }  # fmt: skip
        tasks = [Task(_denoise, (*shared, g), {**parameters, "g": g}) for g in range(self.grammars)]
        found = run_tasks(tasks, name="denoisers", **options)
        valid, exact = (np.stack([f[k] for f in found]) for k in ("valid", "expected"))
        variables = _measured(valid, exact, Thresholds(), self.data)
        return self._label(variables, "simulation", list(range(self.L + 1)), self.L)

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
            Task(_of_model, (model, grammar, self.times, len(rows), self.seed, i),
                 {"version": 1, "question": "composition, given",
                  "times": self.times.tolist(), "data": self.data, "seed": self.seed, "block": i})
            for i, rows in enumerate(parts)
        ]  # fmt: skip
        found = np.stack([f["valid"] for f in run_tasks(tasks, name="given", **options)])
        source = "network" if model.source == "network" else "simulation"
        # the exact model has all rules: every node that it draws is valid
        variables = _measured(found, np.ones(found.shape), Thresholds(), len(parts[-1]))
        return self._label(variables, source, [grammar.L], grammar.L)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Grammar | None = None
    ) -> dict[str, xr.Dataset]:
        """The law and the measurement."""
        return {
            f"{self.name}_theory": self.predict(),
            self.name: self.measure(model, data, **run.tasks(self.name)),
        }

    def panels(
        self, datasets: Mapping[str, xr.Dataset]
    ) -> list[tuple[str, Callable[[Axes], Axes]]]:
        """Titles and what draws the panels of the figure, from laws and the measurement, last."""
        laws, measured = measured_last(list(datasets.values()), _MAKER)
        parts_with((measured,), "validity", {**_NEEDED, "phase": _DIMS}, _MAKER)
        law, names = laws[:1], list(map(str, measured.informed.values))
        for word in names:
            one_of("informed", word, _GIVEN)
        panels: list[tuple[str, Callable[[Axes], Axes]]] = []
        if measured.sizes["known"] > 1:
            panels += [
                (f"strings, {_GIVEN[word]}", _strings_of(law, measured, word)) for word in names
            ]
        # the class from a model without label is chance, and B its phase
        panels += [
            (
                f"phases, {_GIVEN[word]}: A invalid, B wrong class, C right",
                _phases_of(measured, word),
            )
            for word in names
        ]
        return panels

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Validity from pure noise, and the phases at all noise levels."""
        return panel_figure(self.panels(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Phases of strings made from pure noise, and the test against the exact sums."""
        law, *_, measured = datasets.values()
        both = results.compare(law, measured).isel(source=1)
        z = float(abs(both.gap_z).max())
        phases = {
            str(i): measured.phase.sel(informed=i, t=1.0).values.tolist()
            for i in measured.informed.values
        }
        values = {
            "largest z of validity from noise": float(abs(both.validity_z.sel(t=1.0)).max()),
            "largest z of the gap": z,
            "phases from noise": phases,
            "whole strings valid": measured.validity.sel(level=0, t=1.0).values.tolist(),
            "right class": measured.right.sel(t=1.0).values.tolist(),
        }
        header = ["strings from noise", *(f"h = {h}" for h in measured.known.values)]
        lines = [[_GIVEN[k], *row] for k, row in phases.items()]
        claim = f"strings of truncated denoisers are valid as predicted (|z| <= {z:.1f})"
        return Summary(text_table(header, lines), claim, {"strings": values})

    def _label(self, variables: Variables, source: str, known: list[int], depth: int) -> xr.Dataset:
        informed = variables["right"][1].shape[0]
        coords: dict[str, tuple[tuple[str, ...], Any, str]] = {
            "informed": (("informed",), list(INFORMED[:informed]), "is the class given?"),
            "known": (("known",), known, "height up to which rules are known"),
            "t": (("t",), self.times, f"noise level t ({self.noise})"),
            "level": (("level",), list(range(depth + 1)), "level, root 0"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))


# --- tasks ----------------------------------------------------------------------------------------


def _observed(
    grammar: Grammar, noise: NoiseProcess, t: float, seed: int, names: tuple[int, int], n: int
) -> tuple[Derivations, Array]:
    data = grammar.sample(n, stream(seed, "clean", *names))
    # one set of random numbers for all noise levels, so that curves are smooth in t
    return data, noise.corrupt(data.leaves, t, stream(seed, "noise", *names))


def _validity(grammar: Grammar, strings: Array, roots: Array) -> Array:
    """Shares of valid nodes per level, then of strings of the wanted class: [levels + 1]."""
    parsed = [level.mean() for level in grammar.valid_per_level(strings)]
    valid = grammar.is_valid(strings)
    right = grammar.parse(strings[valid]).levels[0] == roots[valid] if valid.any() else np.zeros(1)
    return np.array([*parsed, right.sum() / len(strings)])


def _laws(grammar: Grammar, level: int) -> tuple[Array, Array]:
    """Laws of single symbols of a level: of all data [1, nodes, v], by class [v_0, nodes, v]."""
    by_class = [
        node_marginals(
            Grammar(grammar.rules, grammar.weights, prior, leaf_vocabulary=grammar.leaf_vocabulary),
            level,
        )
        for prior in np.eye(grammar.v[0])
    ]
    return node_marginals(grammar, level)[None], np.stack(by_class)


def _expected_validity(grammar: Grammar, level: int, laws: Array, roots: Array) -> Array:
    """Expected shares where symbols of a level are independent with given laws [n, nodes, v]."""
    found = node_validity(grammar, level, laws)
    valid = [q.sum(axis=-1).mean() for q in found] + [1.0] * (grammar.L - level)
    right = np.take_along_axis(found[0][:, 0], roots, axis=1).mean()
    return np.array([*valid, right])


def _unobserved(rhm: RHM, seed: int, g: int) -> Array:
    """What truncated models of grammar g generate from pure noise: [informed, known, level + 1]."""
    grammar = rhm.draw(stream(seed, "denoised", g))
    out = np.empty((2, rhm.L + 1, rhm.L + 2))
    roots = np.arange(grammar.v[0])[:, None]
    for known in range(rhm.L + 1):
        level = rhm.L - known
        for k, law in enumerate(_laws(grammar, level)):
            every = np.broadcast_to(law, (len(roots), *law.shape[1:]))
            out[k, known] = _expected_validity(grammar, level, every, roots)
    return out


def _expected(
    grammar: Grammar, noise: NoiseProcess, times: Array, n: int, seed: int, g: int
) -> Array:
    """What truncated denoisers must generate from noisy data: [informed, known, t, level + 1].

    Given the observation, the symbols of the level where knowledge ends are independent, so their
    strings are valid with a probability that is summed exactly.
    """
    out = np.empty((2, grammar.L + 1, len(times), grammar.L + 2))
    laws = [_laws(grammar, grammar.L - known) for known in range(grammar.L + 1)]
    for i, t in enumerate(times):
        data, x_t = _observed(grammar, noise, float(t), seed, (g, 0), n)
        roots = data.levels[0]
        seen = posterior(grammar, noise.evidence(x_t, t), levels=())
        for known, (single, by_class) in enumerate(laws):
            level = grammar.L - known
            for k, law in enumerate((single, by_class[roots[:, 0]])):
                weight = law * seen.up[level]
                weight = weight / weight.sum(axis=-1, keepdims=True)
                out[k, known, i] = _expected_validity(grammar, level, weight, roots)
    return out


def _denoise(
    rhm: RHM, noise: NoiseProcess, times: Array, n: int, seed: int, g: int
) -> dict[str, Array]:
    """Truncated denoisers of one grammar: what they sample, and what they must.

    ``valid`` and ``expected`` [informed, known, t, level + 1]; the last entry is the share of
    strings of the class that the datum had.
    """
    grammar = rhm.draw(stream(seed, "denoised", g))
    found = np.empty((2, rhm.L + 1, len(times), rhm.L + 2))
    for known in range(rhm.L + 1):
        models = [cut(grammar, rhm.L - known) for cut in (truncated, class_truncated)]
        for i, t in enumerate(times):
            data, x_t = _observed(grammar, noise, float(t), seed, (g, 0), n)
            roots = data.levels[0]
            evidence = noise.evidence(x_t, t)
            for k, model in enumerate(models):
                clamp = None if k == 0 else roots[:, 0]
                drawn = posterior(model, evidence, clamp, levels=())
                strings = drawn.sample(stream(seed, "drawn", g, known, i, k)).leaves
                found[k, known, i] = _validity(grammar, strings, roots)
    return {"valid": found, "expected": _expected(grammar, noise, times, n, seed, g)}


def _of_model(
    model: DiffusionModel, grammar: Grammar, times: Array, n: int, seed: int, block: int
) -> dict[str, Array]:
    """The same for a given model: ``valid`` [1, 1, t, level + 1]."""
    found = np.empty((1, 1, len(times), grammar.L + 2))
    for i, t in enumerate(times):
        data, x_t = _observed(grammar, model.noise, float(t), seed, (0, 1 + block), n)
        strings = np.asarray(model.sample(x_t, float(t), stream(seed, "drawn", block, i)))
        found[0, 0, i] = _validity(grammar, strings, data.levels[0])
    return {"valid": found}


# --- from tasks to variables ----------------------------------------------------------------------


def _predicted(found: Array, times: int) -> Variables:
    """Shares [grammar, informed, known, level + 1] at t = 1; other t are NaN."""
    mean = found.mean(axis=0)
    every = np.full((*mean.shape[:2], times, mean.shape[2]), np.nan)
    every[:, :, -1] = mean
    dims = ("informed", "known", "t")
    variables: Variables = {}
    zero = np.zeros(every.shape[:-1])
    for name, axes, values, text in (
        ("validity", (*dims, "level"), every[..., :-1], _VALID),
        ("right", dims, every[..., -1], _RIGHT),
        ("gap", dims, zero, _GAP),
    ):
        variables |= results.with_error(name, axes, values, np.zeros(values.shape), text)
    return variables


def _measured(found: Array, exact: Array, thresholds: Thresholds, strings: int) -> Variables:
    """Shares [unit, informed, known, t, level + 1], of ``strings`` each, to means with errors.

    No error is stated below one string in all of them: none seen does not mean none there.
    """
    dims = ("informed", "known", "t")
    least = 1 / (len(found) * strings)

    def spread(values: Array) -> Array:
        if len(values) < 2:
            return np.full(values.shape[1:], np.nan)
        return np.asarray(np.maximum(standard_error(values), least))

    mean, error = found.mean(axis=0), spread(found)
    variables = results.with_error(
        "validity", (*dims, "level"), mean[..., :-1], error[..., :-1], _VALID
    )
    variables |= results.with_error("right", dims, mean[..., -1], error[..., -1], _RIGHT)
    names = np.empty(mean.shape[:-1], dtype="U12")
    for i in np.ndindex(*names.shape):
        tuples, whole, right = mean[i][-3], mean[i][0], mean[i][-1]
        names[i] = phase_of_strings(float(tuples), float(whole), float(right), thresholds)
    variables["phase"] = (dims, names, "phase of the strings")
    gap = (found - exact)[..., :-1].mean(axis=-1)
    return variables | results.with_error("gap", dims, gap.mean(axis=0), spread(gap), _GAP)


# --- figure ---------------------------------------------------------------------------------------


@checked
def string_validity(*datasets: xr.Dataset, ax: Axes | None = None, informed: str = "label") -> Axes:
    """What models of growing knowledge generate from pure noise.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``TruncatedDenoisers.predict`` and ``.measure``.
    ax : matplotlib Axes, optional
    informed : {"label", "no label"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has strings.

    Examples
    --------
    >>> law = TruncatedDenoisers(grammars=2).predict()
    >>> len(string_validity(law).lines)
    5
    """
    parts = parts_with(datasets, "validity", _NEEDED, _MAKER)
    for ds in parts:
        pick(ds, informed=informed, t=1.0)
    ax = axes_or_new(ax)
    for ds in parts:
        source, here = str(ds.source.values), ds.sel(informed=informed).sel(t=1.0)
        depth = ds.sizes["level"] - 1
        shades = level_colours(depth)
        for level in range(depth):
            words = "whole string valid" if level == 0 else f"valid at height {depth - level}"
            share, error = here.validity.isel(level=level), here.validity_error.isel(level=level)
            curve(ax, ds.known, share, error, source, shades[level], words)
        curve(ax, ds.known, here.right, here.right_error, source, GREEN, "right class")
    ax.set(ylim=(-0.03, 1.03), xticks=parts[0].known.values)
    return finish(ax, xlabel="height up to which rules are known", ylabel="share, from pure noise")


@checked
def string_phases(measured: xr.Dataset, ax: Axes | None = None, informed: str = "label") -> Axes:
    """Phase of the strings, for every knowledge and noise level.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``TruncatedDenoisers.measure``.
    ax : matplotlib Axes, optional
    informed : {"label", "no label"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the dataset has no phases.

    Examples
    --------
    >>> small = TruncatedDenoisers(v=8, m=2, L=2, grammars=2, data=8, num_levels=3)
    >>> string_phases(small.measure()).get_ylabel()
    'rules known up to height'
    """
    ds = parts_with((measured,), "phase", {"phase": _DIMS}, _MAKER)[0]
    names = pick(ds, informed=informed).phase.transpose("known", "t").values
    strange = [name for name in map(str, names.ravel()) if name not in _PHASES]
    if strange:
        raise InvalidParameter(f"phase = {strange[0]!r} is none of {', '.join(_PHASES)}")
    ax = axes_or_new(ax)
    number = np.vectorize(_PHASES.index)(names)
    from matplotlib.colors import ListedColormap

    shades = ListedColormap(_PHASE_COLOURS)
    ax.pcolormesh(ds.t, ds.known, number, cmap=shades, vmin=-0.5, vmax=3.5, shading="nearest")
    for i, known in enumerate(ds.known.values):
        for name in _PHASES:
            where = np.flatnonzero(names[i] == name)
            if where.size and (name != "transitional" or where.size > 4):
                place = float(ds.t.values[where].mean())
                ax.text(place, known, name, ha="center", va="center", fontsize=FONT,
                        color="k" if name in ("B", "transitional") else "w")  # fmt: skip
    ax.set(yticks=ds.known.values)
    return finish(
        ax,
        xlabel=str(ds.t.attrs.get("long_name", "noise level t")),
        ylabel="rules known up to height",
    )


def _strings_of(
    laws: tuple[xr.Dataset, ...], measured: xr.Dataset, informed: str
) -> Callable[[Axes], Axes]:
    return lambda ax: string_validity(*laws, measured, ax=ax, informed=informed)


def _phases_of(measured: xr.Dataset, informed: str) -> Callable[[Axes], Axes]:
    return lambda ax: string_phases(measured, ax, informed)
