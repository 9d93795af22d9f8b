"""A derivation tree before and after denoising: which symbols change together.

One datum of the Random Hierarchy Model is masked at two noise levels and denoised with the exact
posterior.  Rules are unambiguous, so a changed symbol has at least one changed child: changes are
connected from every changed node down to the leaves.  A *branch* is a connected set of changed
nodes; below the threshold branches are small and hang from an unchanged ancestor, above it the
class changes and the change reaches down in whole branches.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, MaskingNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    natural,
    one_level,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import ORANGE, Axes, Figure, panel, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.fluctuations import ratio
from hierdiff.sims.metrics.forward_backward import exact_run, start_data
from hierdiff.sims.phase_transition import PhaseTransition, samples_of
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import ExactRHM

__all__ = ["ChangedTree"]

Array = NDArray[Any]


@dataclass(frozen=True)
class ChangedTree:
    """Changed nodes of derivation trees at two noise levels of the masking process.

    Notes
    -----
    Validity: exact posterior samples; errors are over grammars.

    Examples
    --------
    >>> ds = ChangedTree(v=8, m=2, L=2, grammars=2, data=4, t=(0.1, 0.9)).measure(workers=1)
    >>> ds.changed.dims
    ('t', 'level')
    """

    name: ClassVar[str] = "changed_tree"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("changed_tree", "changed_tree_example")

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 6
    """Levels of rules."""
    t: tuple[float, float] = (0.15, 0.4)
    """Noise levels, one on each side of the threshold."""
    grammars: int = 24
    """Random grammars of the averages."""
    data: int = 64
    """Data per grammar of the averages."""
    seed: int = 6
    """Seed of everything random; that of the drawn datum too."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn or averaged, before anything is computed."""
        # the sizes follow the rules of RHM, and a tree of more nodes is no picture
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=1, high=10**8),
            seed=natural,
            v=count,
            m=count,
            s=partial(whole, low=2),
            L=count,
            t=partial(listed, rule=one_level, least=2, rising=True),
        )
        leaves = self.rhm.n_leaves
        if leaves > 4096 or len(self.t) != 2:
            raise InvalidParameter(
                f"s, L, t = {self.s}, {self.L}, {self.t} must give 4096 leaves at most and "
                f"two noise levels; there are {leaves} leaves"
            )

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["density evolution"] = "density evolution",
        *,
        size: int = 4000,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Share of changed nodes by density evolution.

        On average over data a symbol comes back with the belief in the true symbol, so it changes
        with one minus that.
        """
        one_of("law", law, ("density evolution",))
        found = PhaseTransition(
            v=self.v, m=self.m, s=self.s, L=self.L, noise="masking", seed=self.seed
        ).predict(t=np.array(self.t), size=size, folder=folder, workers=workers, cluster=cluster)
        variables = {
            "changed": (("t", "level"), 1 - found.belief.values.T, "share of changed nodes"),
            "changed_error": (("t", "level"), found.belief_error.values.T, "its standard error"),
        }
        return results.label(variables, self._axes(), "theory", results.provenance(asdict(self)))

    def _axes(self, noise: str = "masking", levels: int | None = None) -> dict[str, Any]:
        """Coordinates of all results."""
        last = self.L if levels is None else levels
        return {
            "t": (("t",), np.array(self.t), f"noise level t of the {noise} process"),
            "level": (("level",), np.arange(last + 1), "level, root = 0"),
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
        """Share of changed nodes per level, and changed branches per datum.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model of data with a derivation tree; default exact inference on drawn grammars.
        data : optional
            As :func:`hierdiff.sims.metrics.forward_backward.start_data` takes them; default data of
            the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``changed`` [t, level] and ``branches`` [t], with errors over grammars, or over the data
            of a single model.

        Raises
        ------
        InvalidParameter
            If the latents of the model's samples cannot be read, or form no tree.

        Notes
        -----
        Validity: nodes of samples outside the language that derive nothing count as changed.
        """
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None:
            return self._averages(_counted(self._sampled(model, data, options)), model)
        if data is not None:
            raise InvalidParameter("data were given without the model they belong to; give both")
        words = asdict(self)
        # a task reads the fields that make a tree, not the number of trees
        one = replace(self, grammars=2)
        tasks = [
            Task(shares, (one, g), {"version": 1, "question": "changed tree", "g": g, **words})
            for g in range(self.grammars)
        ]
        blocks = run_tasks(tasks, name="trees", **options)
        parts = {name: np.stack([b[name] for b in blocks]) for name in ("shares", "branches")}
        return self._averages(parts, None)

    def _averages(self, parts: dict[str, Array], model: DiffusionModel | None) -> xr.Dataset:
        """Mean and error over independent units of shares [unit, t, level], branches [unit, t]."""
        means = {name: ratio(x, np.ones_like(x)) for name, x in parts.items()}
        variables = {
            "changed": (("t", "level"), means["shares"].value, "share of changed nodes"),
            "changed_error": (("t", "level"), means["shares"].error, "its standard error"),
            "branches": (("t",), means["branches"].value, "changed branches per datum"),
            "branches_error": (("t",), means["branches"].error, "its standard error"),
        }
        return self._label(variables, parts["shares"].shape[2] - 1, model)

    def _label(
        self, variables: dict[str, Any], levels: int, model: DiffusionModel | None
    ) -> xr.Dataset:
        fields, source, noise = asdict(self), "simulation", "masking"
        if model is not None:  # the sizes are the model's, not those of the experiment's fields
            fields = {k: v for k, v in fields.items() if k not in ("v", "m", "s", "L", "grammars")}
            fields |= {"model": type(model).__name__, "process": repr(model.noise)}
            source = "network" if model.source == "network" else source
            noise = model.noise.name
        axes = self._axes(noise, levels)
        coords = {k: v for k, v in axes.items() if any(k in x[0] for x in variables.values())}
        return results.label(variables, coords, source, results.provenance(fields))

    def _sampled(
        self, model: DiffusionModel, data: Any, options: dict[str, Any]
    ) -> list[dict[int, Array]]:
        """Per noise level: {level: changed [data, nodes]} of a model's samples."""
        start = start_data(model, data, self.data, self.seed)
        if start.latents[0].shape[1] > 1:
            raise InvalidParameter(
                f"trees of the data of model {type(model).__name__} vary in shape, so branches of "
                "two trees have no common nodes; TreeLoss measures what is left of such trees"
            )
        if len(start.latents) < 2:
            raise InvalidParameter(
                f"{self.name} needs data with a derivation tree; {type(model).__name__} has "
                "classes alone; give a grammar, or (grammar, derivations)"
            )
        made = samples_of(model, start, np.array(self.t), self.seed, name="trees", **options)
        return [_changed(start.latents, start.read(samples)) for samples in made]

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The averages over many trees, and one tree to draw."""
        options = run.tasks(self.name)
        average = self.measure(model, data, **options)
        if model is None:
            one = self._example()
        else:
            every = self._sampled(model, data, options)
            pick = _telling(every[0], every[1])
            one = [{k: x[pick : pick + 1] for k, x in changed.items()} for changed in every]
        nodes = np.stack([np.concatenate([x[0] for x in changed.values()]) for changed in one])
        level = np.concatenate([np.full(x.shape[1], k) for k, x in one[0].items()])
        variables = {
            "changed": (("t", "node"), nodes, "whether the symbol of the node has changed"),
            "node_level": (("node",), level, "level of the node, root = 0"),
        }
        example = self._label(variables, len(one[0]) - 1, model)
        return {self.name: average, f"{self.name}_example": example}

    def _example(self) -> list[dict[int, Array]]:
        """The first datum that keeps its class at the low and loses it at the high noise level."""
        # numbers from 1000 on are not among those of the averages
        for g in range(1000, 1100):
            low, high = changes(self, g, 1)
            if low[self.L].sum() > self.L and not low[0].any() and high[0].all():
                return [low, high]
        return changes(self, 1000, 1)

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """One tree at both noise levels, changed nodes in red."""
        return draw(datasets[f"{self.name}_example"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Share of changed nodes per level at both noise levels."""
        ds = datasets[self.name]
        leaves = int((datasets[f"{self.name}_example"].node_level == ds.level[-1]).sum())
        rows = []
        for t in self.t:
            x = ds.sel(t=t)
            cells = zip(x.changed.values, x.changed_error.values, strict=True)
            rows.append([f"{t:g}", *(plus_minus(a, e) for a, e in cells)])
        size = (ds.changed[:, -1] * leaves / ds.branches).values
        lost = [f"{float(x.changed[0]):.3f} ± {float(x.changed_error[0]):.3f}"
                for x in (ds.isel(t=0), ds.isel(t=1))]  # fmt: skip
        claim = (
            f"class changed in {lost[0]} of the data at t = {self.t[0]:g} and {lost[1]} at "
            f"t = {self.t[1]:g}; a changed branch holds {size[0]:.1f} and {size[1]:.1f} changed "
            "leaves"
        )
        values = {
            "t": list(self.t), "leaves per branch": size.tolist(),
            **{str(name): ds[name].values.tolist() for name in ds.data_vars},
        }  # fmt: skip
        header = ["t", *(f"level {k}" for k in ds.level.values)]
        return Summary(text_table(header, rows), claim, values)


def changes(e: ChangedTree, grammar: int, data: int) -> list[dict[int, Array]]:
    """Per noise level: {level: changed [data, nodes]} of fresh data of one grammar."""
    rules = e.rhm.draw(stream(e.seed, "grammar", grammar))
    model = ExactRHM(rules, MaskingNoise(e.v), threads=1)
    truth = rules.sample(data, stream(e.seed, "data", grammar))
    randoms = model.noise.draw(truth.leaves.shape, stream(e.seed, "noise", grammar))
    found = []
    for t in e.t:
        run = exact_run(model, truth, t, randoms, stream(e.seed, "backward", grammar), ("samples",))
        assert run.latents is not None
        found.append(_changed(truth.levels, run.latents))
    return found


def _changed(old: tuple[Array, ...], new: tuple[Array, ...]) -> dict[int, Array]:
    """Which nodes of every level have changed."""
    return {level: a != b for level, (a, b) in enumerate(zip(old, new, strict=True))}


def shares(e: ChangedTree, grammar: int) -> dict[str, Array]:
    """One task: share of changed nodes [t, level], and changed branches per datum [t]."""
    found = changes(e, grammar, e.data)
    for changed in found:
        for level in range(1, e.L + 1):
            children = changed[level].reshape(*changed[level - 1].shape, e.s)
            assert np.all(children.any(axis=2) >= changed[level - 1])
    return {
        "shares": np.array([[x.mean() for x in changed.values()] for changed in found]),
        "branches": np.array([_tops(changed).sum() / e.data for changed in found]),
    }


def _counted(found: list[dict[int, Array]]) -> dict[str, Array]:
    """Shares [datum, t, level] and branches [datum, t] of every datum."""
    by_level = [[x.mean(axis=1) for x in changed.values()] for changed in found]
    return {
        "shares": np.moveaxis(np.array(by_level), 2, 0),
        "branches": np.array([_tops(changed) for changed in found]).T,
    }


def _tops(changed: dict[int, Array]) -> Array:
    """Number of changed branches of every datum: changed nodes whose parent is unchanged."""
    tops = changed[0].sum(axis=1)
    for level in range(1, len(changed)):
        s = changed[level].shape[1] // changed[level - 1].shape[1]
        tops = tops + (changed[level] & ~np.repeat(changed[level - 1], s, axis=1)).sum(axis=1)
    return np.asarray(tops)


def _telling(low: dict[int, Array], high: dict[int, Array]) -> int:
    """The first datum with some changes that keeps its class at the low level and then loses it."""
    some = low[max(low)].sum(axis=1) > max(low)
    return int(np.argmax(some & ~low[0].any(axis=1) & high[0].all(axis=1)))


def draw(example: xr.Dataset) -> Figure:
    """A tree at both noise levels."""
    figure, axes = plt.subplots(2, 1, figsize=(8.4, 5.6), layout="constrained")
    level = example.node_level.values
    noise = str(example.t.attrs["long_name"]).split(" of the ")[-1].removesuffix(" process")
    for ax, t in zip(axes, example.t.values, strict=True):
        nodes = example.changed.sel(t=t).values
        changed = {k: nodes[level == k] for k in range(level[-1] + 1)}
        draw_tree(ax, changed)
        leaves, verdict = changed[max(changed)], "changed" if changed[0].all() else "unchanged"
        title = f"{noise}, t = {t:g}: {int(leaves.sum())} of {leaves.size} leaves changed"
        panel(ax, "ab"[list(axes).index(ax)], f"{title}, class {verdict}")
    return figure


def draw_tree(ax: Axes, changed: dict[int, Array]) -> None:
    """A derivation tree with changed nodes, and the edges between two of them, in red.

    A node stands above the middle of its leaves.
    """
    depth = max(changed)
    leaves = changed[depth].size
    x = {k: (np.arange(row.size) + 0.5) * leaves / row.size for k, row in changed.items()}
    for red, colour, size, width in ((False, "0.55", 7, 0.6), (True, ORANGE, 13, 1.4)):
        for level in range(1, depth + 1):
            s = changed[level].size // changed[level - 1].size
            above = np.repeat(changed[level - 1], s)
            edges = (changed[level] & above) == red
            ends = np.stack([np.repeat(x[level - 1], s), x[level]])[:, edges]
            ax.plot(ends, [depth - level + 1, depth - level], color=colour, lw=width, zorder=1)
        for level, row in changed.items():
            ax.scatter(x[level][row == red], np.full((row == red).sum(), depth - level), s=size,
                       color=colour, zorder=2)  # fmt: skip
    ax.set_axis_off()
