"""
A tree before and after: which symbols change together
======================================================

One datum of the Random Hierarchy Model is masked at two noise levels and denoised with the exact
posterior.  Every node of its derivation tree is coloured by its fate.  At weak noise only small
branches change, each hanging from an ancestor that has kept its symbol; beyond the threshold the
class changes, and the change reaches down in whole branches.

Rules are unambiguous, so a changed symbol has at least one changed child: changes are connected
from every changed node down to the leaves.  Run it as ``python sims/changed_tree.py --out DIR``.
"""

# %%
# One grammar, one datum, the same random numbers at both noise levels; and the averages over many
# trajectories of many grammars, which a single picture cannot show.

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import networkx as nx
import numpy as np

from hierdiff import RHM, MaskingNoise, results
from hierdiff.checks import check_fields, count, levels_of, natural, whole
from hierdiff.errors import InvalidParameter
from hierdiff.plots.backend import Axes, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.fluctuations import ratio
from hierdiff.studies import page
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import ExactRHM


@dataclass(frozen=True)
class ChangedTree:
    """Fate of every node of a derivation tree at two noise levels of the masking process."""

    out: Path = Path("out")
    """Folder for result, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
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
        )
        leaves = RHM(self.v, self.m, self.s, self.L).n_leaves
        low, high = map(levels_of, self.t)
        if leaves > 4096 or not low < high:
            raise InvalidParameter(
                f"s, L, t = {self.s}, {self.L}, {self.t} must give 4096 leaves at most and "
                f"two increasing noise levels; there are {leaves} leaves"
            )


def changes(options: ChangedTree, grammar: int, data: int) -> list[dict[int, np.ndarray]]:
    """Per noise level: {level: changed [data, nodes]} of fresh data of one grammar."""
    rules = RHM(options.v, options.m, options.s, options.L).draw(
        stream(options.seed, "grammar", grammar)
    )
    model = ExactRHM(rules, MaskingNoise(options.v), threads=1)
    truth = rules.sample(data, stream(options.seed, "data", grammar))
    randoms = model.noise.draw(truth.leaves.shape, stream(options.seed, "noise", grammar))
    found = []
    for t in options.t:
        x_t = model.noise.corrupt_with(truth.leaves, t, randoms)
        backward = stream(options.seed, "backward", grammar)
        new = model.posterior(x_t, t, levels=()).sample(backward)
        pairs = zip(truth.levels, new.levels, strict=True)
        found.append({level: old != drawn for level, (old, drawn) in enumerate(pairs)})
    return found


def shares(options: ChangedTree, grammar: int) -> dict[str, np.ndarray]:
    """One task: share of changed nodes [t, level], and trees of changed branches per datum [t]."""
    by_time, islands = [], []
    for changed in changes(options, grammar, options.data):
        by_time.append([changed[level].mean() for level in range(options.L + 1)])
        tops = changed[0].sum()
        for level in range(1, options.L + 1):
            above = np.repeat(changed[level - 1], options.s, axis=1)
            tops += (changed[level] & ~above).sum()
            children = changed[level].reshape(*changed[level - 1].shape, options.s)
            assert np.all(children.any(axis=2) >= changed[level - 1])
        islands.append(tops / options.data)
    return {"shares": np.array(by_time), "branches": np.array(islands)}


options = page.options(ChangedTree)
folder = results.run_folder(options, "changed_tree")
words = {key: value for key, value in asdict(options).items() if key not in ("out", "overwrite")}
# a task reads the flags that make a tree, not those that say where or how many
one = replace(options, out=Path(), overwrite=False, grammars=2)
tasks = [
    Task(shares, (one, g), {"version": 1, "question": "changed tree", "g": g, **words})
    for g in range(options.grammars)
]
blocks = run_tasks(tasks, folder=folder / "tasks", name="trees")
parts = {name: np.stack([b[name] for b in blocks]) for name in ("shares", "branches")}
means = {name: ratio(x, np.ones_like(x)) for name, x in parts.items()}

# %%
# The picture.  Nodes come from the factor graph; a node stands above the middle of its leaves.


def draw_tree(ax: Axes, graph: nx.DiGraph, changed: dict[int, np.ndarray]) -> None:
    """A derivation tree with changed nodes, and the edges between two of them, in colour."""
    tree = nx.DiGraph()
    for node, kind in graph.nodes(data=True):
        if node[0] == "rule":
            parent = next(iter(graph.predecessors(node)))
            tree.add_edges_from((parent, child) for child in graph.successors(node))
        else:
            tree.add_node(node, level=kind["level"])
    leaves = len(changed[options.L][0])
    width = {level: leaves / len(row[0]) for level, row in changed.items()}
    places = {(l, i): ((i + 0.5) * width[l], options.L - l) for l, i in tree}
    fate = {(l, i): bool(changed[l][0, i]) for l, i in tree}
    for kept, colour, size, line in ((True, "0.75", 7, 0.6), (False, "tab:red", 13, 1.4)):
        nodes = [n for n in tree if fate[n] != kept]
        edges = [(a, b) for a, b in tree.edges if (fate[a] and fate[b]) != kept]
        nx.draw_networkx_edges(tree, places, edges, ax=ax, arrows=False, width=line,
                               edge_color=colour)  # fmt: skip
        nx.draw_networkx_nodes(tree, places, nodes, node_size=size, node_color=colour, ax=ax)
    ax.set_axis_off()


def example() -> int:
    """First grammar whose datum keeps its class at the low and loses it at the high noise level."""
    for g in range(1000, 1100):
        low, high = changes(options, g, 1)
        if low[options.L].sum() > options.L and not low[0].any() and high[0].all():
            return g
    return 1000


chosen = example()
rhm = RHM(options.v, options.m, options.s, options.L)
graph = rhm.draw(stream(options.seed, "grammar", chosen)).to_networkx()
fig, axes = plt.subplots(2, 1, figsize=(8.4, 5.6), layout="constrained")
for ax, t, changed in zip(axes, options.t, changes(options, chosen, 1), strict=True):
    draw_tree(ax, graph, changed)
    lost = int(changed[options.L].sum())
    verdict = "class changed" if changed[0].all() else "class kept"
    title = f"masking, t = {t:g}: {lost} of {rhm.n_leaves} leaves changed, {verdict}"
    ax.set_title(title, fontsize=9, loc="left")
fig.savefig(folder / "changed_tree.png", dpi=160)
plt.close(fig)

# %%
# The averages, and the claim.

variables = {
    "changed": (("t", "level"), means["shares"].value, "share of changed nodes"),
    "changed_error": (("t", "level"), means["shares"].error, "its standard error"),
    "branches": (("t",), means["branches"].value, "changed branches per datum"),
    "branches_error": (("t",), means["branches"].error, "its standard error"),
}
coords = {
    "t": (("t",), np.array(options.t), "noise level t of the masking process"),
    "level": (("level",), np.arange(options.L + 1), "level, root = 0"),
}
ds = results.label(variables, coords, "simulation", results.provenance(words))
results.save(ds, folder / "changed_tree.nc")
print("share of changed nodes, root to leaves:")
for t in options.t:
    row = ds.sel(t=t)
    cells = zip(row.changed.values, row.changed_error.values, strict=True)
    print(f"  t = {t:g}: " + "  ".join(f"{x:.3f} ± {e:.3f}" for x, e in cells))
low, high = ds.isel(t=0), ds.isel(t=1)
per_branch = [float(x.changed[-1] * rhm.n_leaves / x.branches) for x in (low, high)]
lost = [f"{float(x.changed[0]):.3f} ± {float(x.changed_error[0]):.3f}" for x in (low, high)]
print(
    f"class changed in {lost[0]} of the data at t = {options.t[0]:g} and {lost[1]} at "
    f"t = {options.t[1]:g}; a changed branch holds {per_branch[0]:.1f} and {per_branch[1]:.1f} "
    "changed leaves"
)
