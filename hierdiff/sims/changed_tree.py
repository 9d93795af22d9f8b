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
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    natural,
    no_model,
    one_level,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots.backend import Axes, Figure, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.fluctuations import ratio
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.sims.run import RunOptions
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

    def _axes(self) -> dict[str, Any]:
        """Coordinates of all results."""
        return {
            "t": (("t",), np.array(self.t), "noise level t of the masking process"),
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
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
        """Share of changed nodes per level, and changed branches per datum."""
        no_model(
            self.name, model, data,
            "it follows whole derivation trees of the exact posterior; the share of changed "
            "symbols of one model is that of PhaseTransition.measure",
        )  # fmt: skip
        words = asdict(self)
        # a task reads the fields that make a tree, not the number of trees
        one = replace(self, grammars=2)
        tasks = [
            Task(shares, (one, g), {"version": 1, "question": "changed tree", "g": g, **words})
            for g in range(self.grammars)
        ]
        blocks = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="trees")
        parts = {name: np.stack([b[name] for b in blocks]) for name in ("shares", "branches")}
        means = {name: ratio(x, np.ones_like(x)) for name, x in parts.items()}
        variables = {
            "changed": (("t", "level"), means["shares"].value, "share of changed nodes"),
            "changed_error": (("t", "level"), means["shares"].error, "its standard error"),
            "branches": (("t",), means["branches"].value, "changed branches per datum"),
            "branches_error": (("t",), means["branches"].error, "its standard error"),
        }
        return results.label(variables, self._axes(), "simulation", results.provenance(words))

    def datasets(
        self, run: RunOptions, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The averages over many trees."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """One tree at both noise levels, changed nodes in red."""
        chosen = self._example()
        graph = self.rhm.draw(stream(self.seed, "grammar", chosen)).to_networkx()
        figure, axes = plt.subplots(2, 1, figsize=(8.4, 5.6), layout="constrained")
        for ax, t, changed in zip(axes, self.t, changes(self, chosen, 1), strict=True):
            draw_tree(ax, graph, changed)
            lost = int(changed[self.L].sum())
            verdict = "class changed" if changed[0].all() else "class unchanged"
            title = f"masking, t = {t:g}: {lost} of {self.rhm.n_leaves} leaves changed, {verdict}"
            ax.set_title(title, fontsize=9, loc="left")
        return figure

    def _example(self) -> int:
        """First grammar whose datum keeps its class at the low and loses it at the high level."""
        # numbers from 1000 on are not among those of the averages
        for g in range(1000, 1100):
            low, high = changes(self, g, 1)
            if low[self.L].sum() > self.L and not low[0].any() and high[0].all():
                return g
        return 1000

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Share of changed nodes per level at both noise levels."""
        ds = datasets[self.name]
        rows = [f"{'t':>6}" + "".join(f"{f'level {k}':>16}" for k in ds.level.values)]
        for t in self.t:
            x = ds.sel(t=t)
            cells = zip(x.changed.values, x.changed_error.values, strict=True)
            rows.append(f"{t:>6g}" + "".join(f"{f'{a:.3f} ± {e:.3f}':>16}" for a, e in cells))
        size = (ds.changed[:, -1] * self.rhm.n_leaves / ds.branches).values
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
        return Summary("\n".join(rows), claim, values)


def changes(e: ChangedTree, grammar: int, data: int) -> list[dict[int, Array]]:
    """Per noise level: {level: changed [data, nodes]} of fresh data of one grammar."""
    rules = e.rhm.draw(stream(e.seed, "grammar", grammar))
    model = ExactRHM(rules, MaskingNoise(e.v), threads=1)
    truth = rules.sample(data, stream(e.seed, "data", grammar))
    randoms = model.noise.draw(truth.leaves.shape, stream(e.seed, "noise", grammar))
    found = []
    for t in e.t:
        x_t = model.noise.corrupt_with(truth.leaves, t, randoms)
        backward = stream(e.seed, "backward", grammar)
        new = model.posterior(x_t, t, levels=()).sample(backward)
        pairs = zip(truth.levels, new.levels, strict=True)
        found.append({level: old != drawn for level, (old, drawn) in enumerate(pairs)})
    return found


def shares(e: ChangedTree, grammar: int) -> dict[str, Array]:
    """One task: share of changed nodes [t, level], and changed branches per datum [t]."""
    by_time, branches = [], []
    for changed in changes(e, grammar, e.data):
        by_time.append([changed[level].mean() for level in range(e.L + 1)])
        tops = changed[0].sum()
        for level in range(1, e.L + 1):
            above = np.repeat(changed[level - 1], e.s, axis=1)
            tops += (changed[level] & ~above).sum()
            children = changed[level].reshape(*changed[level - 1].shape, e.s)
            assert np.all(children.any(axis=2) >= changed[level - 1])
        branches.append(tops / e.data)
    return {"shares": np.array(by_time), "branches": np.array(branches)}


def draw_tree(ax: Axes, graph: Any, changed: dict[int, Array]) -> None:
    """A derivation tree with changed nodes, and the edges between two of them, in colour.

    Nodes come from the factor graph of the grammar; a node stands above the middle of its leaves.
    """
    import networkx as nx

    tree, depth = nx.DiGraph(), max(changed)
    for node, kind in graph.nodes(data=True):
        if node[0] == "rule":
            parent = next(iter(graph.predecessors(node)))
            tree.add_edges_from((parent, child) for child in graph.successors(node))
        else:
            tree.add_node(node, level=kind["level"])
    leaves = len(changed[depth][0])
    width = {level: leaves / len(row[0]) for level, row in changed.items()}
    places = {(l, i): ((i + 0.5) * width[l], depth - l) for l, i in tree}
    moved = {(l, i): bool(changed[l][0, i]) for l, i in tree}
    for kept, colour, size, line in ((True, "0.75", 7, 0.6), (False, "tab:red", 13, 1.4)):
        nodes = [n for n in tree if moved[n] != kept]
        edges = [(a, b) for a, b in tree.edges if (moved[a] and moved[b]) != kept]
        nx.draw_networkx_edges(tree, places, edges, ax=ax, arrows=False, width=line,
                               edge_color=colour)  # fmt: skip
        nx.draw_networkx_nodes(tree, places, nodes, node_size=size, node_color=colour, ax=ax)
    ax.set_axis_off()
