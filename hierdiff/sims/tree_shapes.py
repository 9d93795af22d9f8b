r"""One threshold or two: loss of tree and class against depth, arity and its variance.

Three families of :class:`~hierdiff.sims.tree_loss.TreeLoss` answer it, all with four rules per
symbol and, within a row, about the same mean length,

===========  ====================================================================================
depth        two binary and two ternary rules, at growing depth L
arity        four binary rules (L + 1 levels), two and two (L), four ternary rules (L - 1)
variance     mean arity 3: four ternary rules; one binary, two ternary, one quaternary; two binary
             and two quaternary; variance 0, 1/2 and 1
===========  ====================================================================================

For each the noise level is found at which the class, the spans of every level and the symbols of a
known tree are half lost, and the steepest slope of class and spans.  Two transitions would keep a
distance as L grows, while both steepen; one transition has a distance that vanishes.
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

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    one_level,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import PALETTE, Axes, Figure, legend, panels, plt, shade
from hierdiff.sims.metrics.estimators import jackknife, standard_error, student_factor
from hierdiff.sims.tree_loss import TreeLoss, half_lost_levels

__all__ = ["TreeShapes"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
MIXED = (0, 2, 2)
FIXED = (0, 4)
BY_VARIANCE = {0.0: (0, 0, 4), 0.5: (0, 1, 2, 1), 1.0: (0, 2, 0, 2)}
_WORDS = ("class", "top spans", "bottom spans", "class, known tree")
_TEXT = {
    "half": "noise level at which it is half lost",
    "slope": "steepest slope against the noise level",
}


@dataclass(frozen=True)
class TreeShapes:
    """Where class and tree are half lost, and how suddenly, for trees of several kinds.

    Notes
    -----
    Validity: inference is exact; errors are over grammars.
    """

    name: ClassVar[str] = "tree_shapes"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("tree_shapes_*",)

    v: int = 8
    """Symbols per level."""
    depths: tuple[int, ...] = (2, 3, 4)
    """Depths L of two binary and two ternary rules, increasing; strings have about 2.5^L leaves."""
    noise: str = "masking"
    """Forward process: masking, uniform or gaussian."""
    grammars: int = 16
    """Random grammars of every kind."""
    data: int = 8
    """Data per grammar."""
    levels: int = 17
    """Noise levels: 0, 1, one below the dense range, and the others evenly spaced in it."""
    dense: tuple[float, float] = (0.4, 0.9)
    """Range of noise levels in which trees of several arities are lost."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, depths=partial(listed, rule=partial(whole, low=2, high=6), least=2, rising=True),
            grammars=partial(whole, low=3, high=10**6), seed=natural,
            levels=partial(whole, low=6, high=10**4),
        )  # fmt: skip
        low, high = listed("dense", self.dense, one_level, rising=True)
        if not 0 < low < high < 1:
            raise InvalidParameter(f"dense = {self.dense} must be two levels between 0 and 1")
        for one in self.kinds().values():
            one.__post_init__()

    def kinds(self) -> dict[str, TreeLoss]:
        """The experiments by the stem of their file; one may stand in two rows."""
        reference = min(4, self.depths[-1])
        trees: dict[str, tuple[tuple[int, ...], int]] = {
            f"tree_shapes_mixed_L{L}": (MIXED, L) for L in self.depths
        }
        trees |= {
            f"tree_shapes_mixed_L{reference}": (MIXED, reference),
            f"tree_shapes_fixed2_L{reference + 1}": (FIXED, reference + 1),
        }
        for variance, rules in BY_VARIANCE.items():
            L = max(reference - 1, 1)
            trees[f"tree_shapes_variance{variance:g}_L{L}"] = (rules, L)
        low, high = self.dense
        # two symbols per rule lose the class far below the range, so those are evenly spaced
        times = (0.0, low / 2, *np.linspace(low, high, self.levels - 3).tolist(), 1.0)
        return {
            stem: TreeLoss(
                v=self.v, rules=rules, L=L, noise=self.noise, grammars=self.grammars,
                data=self.data, levels=self.levels, seed=self.seed,
                t=None if rules == FIXED else times,
            )
            for stem, (rules, L) in trees.items()
        }  # fmt: skip

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["known tree"] = "known tree",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Noise level at which the class of a known tree is half lost, of every kind of tree."""
        one_of("law", law, ("known tree",))
        half, slopes = [], []
        for one in self.kinds().values():
            ds = one.predict(folder=folder, workers=workers, cluster=cluster)
            curve = ds.symbol.sel(level=0).values
            half.append(_place(ds.t.values, curve))
            slopes.append(_steepest(ds.t.values, curve))
        missing = np.full(len(half), np.nan)
        table = {
            "half": np.stack([*[missing] * 3, half], axis=1),
            "slope": np.stack([*[missing] * 3, slopes], axis=1),
        }
        return self._label(table, {k: 0 * x for k, x in table.items()}, "theory")

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
        """Half-lost noise levels and steepest slopes [kind of tree, quantity]."""
        no_model(
            self.name, model, data,
            "it compares grammars of several kinds; the loss of the tree of one model is that of "
            "TreeLoss.measure",
        )  # fmt: skip
        return self._table(self._sweep({"folder": folder, "workers": workers, "cluster": cluster}))

    def _sweep(self, options: dict[str, Any]) -> dict[str, xr.Dataset]:
        return {stem: one.measure(**options) for stem, one in self.kinds().items()}

    def _table(self, found: Datasets) -> xr.Dataset:
        rows = [curves_of(found[stem], self.seed) for stem in self.kinds()]
        table = {k: np.array([[x[w][k][0] for w in _WORDS] for x in rows]) for k in _TEXT}
        error = {k: np.array([[x[w][k][1] for w in _WORDS] for x in rows]) for k in _TEXT}
        return self._label(table, error, "simulation")

    def _label(
        self, table: Mapping[str, Array], error: Mapping[str, Array], source: str
    ) -> xr.Dataset:
        plane, variables = ("kind", "what"), {}
        for name, text in _TEXT.items():
            variables[name] = (plane, table[name], text)
            variables[f"{name}_error"] = (plane, error[name], f"standard error of: {text}")
        kinds = [stem.removeprefix("tree_shapes_") for stem in self.kinds()]
        coords = {"kind": (("kind",), kinds, "kind of tree and depth"),
                  "what": (("what",), list(_WORDS), "what is lost")}  # fmt: skip
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Exact inference on every kind of tree, and the bound of the known tree beside it."""
        if model is not None or data is not None:
            self.measure(model, data)
        options = run.tasks(self.name)
        laws = {f"{stem}_theory": one.predict(**options) for stem, one in self.kinds().items()}
        return self._sweep(options) | laws

    def figure(self, datasets: Datasets) -> Figure:
        """Curves with depth, half-lost places with depth, and against arity and its variance."""
        return draw(self, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """Half-lost places and slopes of every kind of tree, and the distance of tree and class."""
        values: dict[str, Any] = {"kinds": {}}
        header = ["kind", "leaves", *_WORDS, "slope of class", "top spans", "bottom spans"]
        lines: list[list[object]] = []
        for stem, one in self.kinds().items():
            found = curves_of(datasets[stem], self.seed)
            leaves = one.grammar(0).likely_length()
            law = datasets[f"{stem}_theory"]
            kind = stem.removeprefix("tree_shapes_")
            values["kinds"][kind] = {
                "leaves": leaves, "L": one.L, "rules": list(one.rules),
                **{w: x for w, x in found.items() if not np.isnan(x["half"][0])},
                "law": _place(law.t.values, law.symbol.sel(level=0).values),
                "shift": distance(datasets[stem]),
            }  # fmt: skip
            cells = [pair_text(found[w]["half"]) for w in _WORDS]
            slopes = [pair_text(found[w]["slope"], 2) for w in _WORDS[:3]]
            lines.append([kind, leaves, *cells, *slopes])
        return Summary(text_table(header, lines), claim(self, values["kinds"]), values)


def _place(t: Array, curve: Array) -> float:
    """Where a curve has fallen half-way from its first to its last value."""
    middle = 0.5 * (curve[0] + curve[-1])
    i = int(np.flatnonzero(curve < middle)[0])
    return float(np.interp(-middle, -curve[i - 1 : i + 1], t[i - 1 : i + 1]))


def _steepest(t: Array, curve: Array) -> float:
    """Steepest fall of a curve, rescaled to fall from one to zero."""
    return float((-np.gradient(curve, t)).max() / (curve[0] - curve[-1]))


def _slope(t: Array, x: Array) -> tuple[float, float]:
    """Steepest fall of the rescaled mean of curves [grammar, datum, t], with its error."""
    curves = x.mean(axis=1)
    mean = curves.mean(axis=0)
    falls = -np.gradient(curves, t, axis=1) / (mean[0] - mean[-1])
    at = int(falls.mean(axis=0).argmax())
    return float(falls[:, at].mean()), float(standard_error(falls[:, at]))


def curves_of(ds: xr.Dataset, seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Half-lost place and steepest slope of class, spans below the root and above the leaves."""
    bottom = int(ds.level.values[-1])
    places = half_lost_levels(ds, seed)
    chosen = {
        "class": ("symbol", 0), "top spans": ("span", 1), "bottom spans": ("span", bottom - 1),
        "class, known tree": ("symbol_known", 0),
    }  # fmt: skip
    out = {}
    for word, (name, level) in chosen.items():
        place = places[name].get(level, (np.nan, np.nan))
        slope = (np.nan, np.nan)
        if level in places[name]:
            slope = _slope(ds.t.values, ds[f"{name}_by_datum"].sel(level=level).values)
        out[word] = {"half": place, "slope": slope}
    return out


def distance(ds: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Half-lost place of spans minus that of the class, paired by grammar, for both ends.

    Jackknife over grammars, with Student's factor: the same data lose both.
    """
    bottom, out = int(ds.level.values[-1]), {}
    t = ds.t.values
    top = ds.symbol_by_datum.sel(level=0).values.mean(axis=1)
    for word, level in (("top spans", 1), ("bottom spans", bottom - 1)):
        span = ds.span_by_datum.sel(level=level).values.mean(axis=1)
        if span.mean(axis=0)[0] - span.mean(axis=0)[-1] < 0.1:
            continue
        gap, error = jackknife(partial(_gap, t, span, top), len(top))
        out[word] = (float(gap), float(error) * student_factor(len(top)))
    return out


def _gap(t: Array, span: Array, top: Array, rows: Array) -> float:
    """Half-lost place of the mean of some grammars' spans, less that of their class."""
    return _place(t, span[rows].mean(axis=0)) - _place(t, top[rows].mean(axis=0))


def claim(e: TreeShapes, kinds: Mapping[str, Any]) -> str:
    """How far from the class spans are lost, at the smallest and the greatest depth."""
    parts = []
    for word in ("top spans", "bottom spans"):
        gaps = []
        for L in (e.depths[0], e.depths[-1]):
            gap, error = kinds[f"mixed_L{L}"]["shift"].get(word, (np.nan, np.nan))
            gaps.append(f"{gap:+.3f} ± {error:.3f} (L = {L})")
        parts.append(f"{word} {' and '.join(gaps)}")
    deepest = kinds[f"mixed_L{e.depths[-1]}"]
    lost, known = deepest["class"]["half"][0], deepest["class, known tree"]["half"][0]
    return (
        f"beyond the class are half lost: {'; '.join(parts)}; the class is half lost at t = "
        f"{lost:.3f}, of a known tree at {known:.3f}"
    )


def draw(e: TreeShapes, datasets: Datasets) -> Figure:
    """Four panels: curves at all depths, places by depth, by arity, by variance of the arity."""
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 7), layout="constrained")
    curves, depth, arity, variance = axes.ravel()
    t_name = str(datasets[f"tree_shapes_mixed_L{e.depths[0]}"].t.attrs["long_name"])
    for L in e.depths:
        ds = datasets[f"tree_shapes_mixed_L{L}"]
        tint = shade((L - e.depths[0]) / (e.depths[-1] - e.depths[0]))
        curves.errorbar(ds.t, ds.symbol.sel(level=0), ds.symbol_error.sel(level=0), color=tint,
                        ls="none", marker="o", ms=3, elinewidth=0.8,
                        label=f"class, L = {L}")  # fmt: skip
        curves.errorbar(ds.t, ds.span.sel(level=L - 1), ds.span_error.sel(level=L - 1), color=tint,
                        ls=":", marker="s", mfc="white", ms=3, lw=0.8,
                        label=f"lowest spans, L = {L}")  # fmt: skip
        law = datasets[f"tree_shapes_mixed_L{L}_theory"]
        curves.plot(law.t, law.symbol.sel(level=0), color=tint, lw=1)
    curves.plot([], [], color="0.4", lw=1, label="class, known tree (theory)")
    curves.set(xlabel=t_name, ylabel="probability", ylim=(0, 1.03))
    reference = min(4, e.depths[-1])
    _places(depth, e, datasets, [(f"mixed_L{L}", f"{L}") for L in e.depths], "depth $L$")
    _places(
        arity, e, datasets,
        [(f"fixed2_L{reference + 1}", "2"), (f"mixed_L{reference}", "2 or 3"),
         (f"variance0_L{reference - 1}", "3")],
        "arity, at about the same mean length",
    )  # fmt: skip
    by_variance = [(f"variance{x:g}_L{reference - 1}", f"{x:g}") for x in BY_VARIANCE]
    _places(variance, e, datasets, by_variance, "variance of the arity, mean arity 3")
    panels(axes.ravel(), "two or three children, all depths", "places against depth",
           "against arity", "against the variance of the arity")  # fmt: skip
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    legend(curves)
    legend(depth)
    return figure


def _places(
    ax: Axes, e: TreeShapes, datasets: Datasets, rows: list[tuple[str, str]], label: str
) -> None:
    """Half-lost noise levels of some kinds of tree side by side."""
    marks = dict(zip(_WORDS, ("o", "^", "s", "x"), strict=True))
    x = np.arange(len(rows))
    found = [curves_of(datasets[f"tree_shapes_{stem}"], e.seed) for stem, _ in rows]
    for k, word in enumerate(_WORDS):
        place, error = np.array([one[word]["half"] for one in found]).T
        ax.errorbar(x + 0.06 * (k - 1.5), place, error, ls="none", marker=marks[word], ms=5,
                    mfc="white", color=PALETTE[k], label=word)  # fmt: skip
    law = []
    for stem, _ in rows:
        ds = datasets[f"tree_shapes_{stem}_theory"]
        law.append(_place(ds.t.values, ds.symbol.sel(level=0).values))
    ax.plot(x + 0.09, law, color=PALETTE[3], lw=1, label="class, known tree (theory)")
    ax.set(xticks=x, xticklabels=[word for _, word in rows], xlabel=label,
           ylabel="noise level at which half is lost", ylim=(0, 1))  # fmt: skip
