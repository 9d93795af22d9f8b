"""Table, claim and figure of denoising and classifying networks at the same triplets."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff._display import pair_text, text_table
from hierdiff.checks import checked
from hierdiff.contracts import Summary
from hierdiff.plots import (
    PALETTE,
    Axes,
    Figure,
    level_colours,
    needs,
    panels,
    plt,
    shared_legend,
)
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.validation.experiments.objectives import OBJECTIVES, PAIRS

__all__ = ["objectives_figure"]

Array: TypeAlias = NDArray[Any]

_MAKER = "NetworkAlignment(GrammarNetworks())"


# --- what was found -------------------------------------------------------------------------------


def objectives_summary(ds: xr.Dataset) -> Summary:
    """Best layers of both objectives, what intermediate layers and the class add, latents."""
    values = _values(ds)
    return Summary(_table(ds, values), _claim(values), values)


def _pair(x: Any) -> list[Any]:
    """Mean over networks, Student error, normal score: none where all values are alike."""
    x = np.asarray(x, float)
    score = float(student_score(x))
    return [float(x.mean()), float(student_error(x)), score if np.isfinite(score) else None]


def _values(ds: xr.Dataset) -> dict[str, Any]:
    runs, t = int(ds.sizes["run"]), ds.t.values
    layers = [str(x) for x in ds.layer.values]
    best = ds.best_by_network
    found: dict[str, Any] = {
        "t": t.tolist(), "networks": runs, "layers": layers,
        "weights": ds.weights.values.tolist(), "observers": {},
        "class": {"classifier": [_pair(ds.class_read_by_network[:, i]) for i in range(len(t))],
                  "exact": [_pair(ds.exact_class_by_network[:, i]) for i in range(len(t))]},
    }  # fmt: skip
    for name in map(str, ds.observer.values):
        one = ds.sel(observer=name)
        mine = {o: best.sel(observer=name, objective=o).values for o in OBJECTIVES}
        exact = one.exact_best_by_network.sel(condition="unconditional").values
        gain = (one.layer_accuracy_by_network.sel(objective=OBJECTIVES[1])
                - one.layer_accuracy_by_network.sel(objective=OBJECTIVES[0]))  # fmt: skip
        inside = gain.sel(layer=[x for x in layers if x not in ("input", "output")])
        added = inside.mean("layer").values  # [run, t]
        known = one.exact_best_by_network
        law = (known.sel(condition="class given") - known.sel(condition="unconditional")).values
        between = one.intermediate_by_network - one.bottleneck_by_network
        found["observers"][name] = {
            "ceiling": _pair(one.ceiling_by_network), "label": _pair(one.label_only_by_network),
            "exact": [_pair(exact[:, i]) for i in range(len(t))],
            "best": {o: _pair(x) for o, x in mine.items()},
            "best place": {
                o: [f"{layers[int(a)]} at t = {t[int(b)]:g}" for a, b in
                    one.best_place.sel(objective=o).values] for o in OBJECTIVES
            },
            "best at": {o: [_pair(one.best_at_by_network.sel(objective=o).values[:, i])
                            for i in range(len(t))] for o in OBJECTIVES},
            "denoiser less classifier": _pair(mine["denoiser"] - mine["classifier"]),
            "denoiser less exact": _pair(mine["denoiser"] - exact[:, 0]),
            "classifier less exact": _pair(mine["classifier"] - exact[:, 0]),
            "denoiser less untrained": _pair(mine["denoiser"] - mine["untrained"]),
            "classifier less untrained": _pair(mine["classifier"] - mine["untrained"]),
            "intermediate less root": {
                o: _pair(between.sel(objective=o).values) for o in OBJECTIVES[:3]
            },
            "gain": [_pair(added[:, i]) for i in range(len(t))],
            "gain, exact": [_pair(law[:, i]) for i in range(len(t))],
            "gain, last less first": _pair(added[:, -1] - added[:, 0]),
            "kappa": {str(p): [_pair(one.kappa_by_network.sel(pair=p).values[:, i])
                               for i in range(len(t))] for p in ds["pair"].values},
            "profile": {o: one.layer_accuracy.sel(objective=o).values.round(4).T.tolist()
                        for o in OBJECTIVES},
        }  # fmt: skip
    r2, exact = ds.r2_by_network, ds.exact_r2_by_network
    found["r2"] = {
        o: [[_pair(_best_r2(r2, o, l, i)) for i in range(len(t))] for l in range(ds.sizes["level"])]
        for o in ("denoiser", "classifier", "untrained")
    }  # fmt: skip
    found["r2, exact"] = [[_pair(exact[:, l, i]) for i in range(len(t))]
                          for l in range(ds.sizes["level"])]  # fmt: skip
    found["r2, layers at first t"] = {
        o: ds.r2.sel(objective=o).isel(t=0).values.round(3).tolist()
        for o in ("denoiser", "classifier")
    }
    # no map of noisy data can beat the exact beliefs; planted: those at the next noise level
    chosen = np.array(
        [
            [[_best_r2(r2, o, l, i) for i in range(len(t))] for l in range(ds.sizes["level"])]
            for o in ("denoiser", "classifier")
        ]
    )  # [objective, level, t, run]
    law = np.moveaxis(exact.transpose("run", "level", "t").values, 0, -1)
    found["r2 above exact"] = _largest(chosen - law)
    found["r2 above exact at the next level of noise"] = _largest(chosen[..., :-1, :]
                                                                  - law[..., 1:, :])  # fmt: skip
    return found


def _largest(gaps: Array) -> list[float]:
    """The gap [..., run] of the largest normal score: mean, Student error, score."""
    rows = gaps.reshape(-1, gaps.shape[-1])
    scores = student_score(rows.T)
    return _pair(rows[int(scores.argmax())])


def _best_r2(r2: xr.DataArray, objective: str, level: int, i: int) -> Array:
    """R^2 [run] of the layer that is best in the other networks."""
    every = r2.sel(objective=objective).isel(level=level, t=i).values  # [run, layer]
    return np.array([row[np.delete(every, k, axis=0).mean(axis=0).argmax()]
                     for k, row in enumerate(every)])  # fmt: skip


def _scored(pair: list[Any]) -> str:
    """A difference with its score."""
    return f"{pair_text(pair)} ({'alike' if pair[2] is None else f'z = {pair[2]:.1f}'})"


def _table(ds: xr.Dataset, values: dict[str, Any]) -> str:
    """A row per observer and objective; then latents and error consistency."""
    first, last = (f"at t = {values['t'][i]:g}" for i in (0, -1))
    rows, gaps, places = [], [], []
    for name, one in values["observers"].items():
        for o in OBJECTIVES:
            at = one["best at"][o]
            rows.append([name, o, *(pair_text(x) for x in (one["best"][o], at[0], at[-1]))])
            places.append([name, o, ", ".join(dict.fromkeys(one["best place"][o]))])
        rows.append([name, "exact beliefs", "", *(pair_text(one["exact"][i]) for i in (0, -1))])
        gaps.append([name, _scored(one["denoiser less classifier"]),
                     _scored(one["intermediate less root"]["denoiser"]),
                     f"{one['ceiling'][0]:.3f}", f"{one['label'][0]:.3f}"])  # fmt: skip
    levels = [f"level {l}" for l in range(ds.sizes["level"])]
    latents = [[o, *(pair_text(row[0]) for row in found)] for o, found in
               (*values["r2"].items(), ("exact beliefs", values["r2, exact"]))]  # fmt: skip
    names = list(values["observers"])
    common = [[p, *(pair_text(values["observers"][n]["kappa"][p][0]) for n in names)]
              for p in PAIRS]  # fmt: skip
    tables = (
        text_table(["observer", "network", "best layer", first, last], rows, keys=2),
        text_table(["observer", "network", "chosen in each network"], places, keys=2, wrap=True),
        text_table(["observer", "denoiser - classifier", "layers between - root", "ceiling",
                    "class alone"], gaps),
        text_table([f"R^2 of latents at {first[3:]}", *levels], latents),
        text_table(["error consistency", *names], common),
    )  # fmt: skip
    return "\n\n".join(tables)


def _claim(values: dict[str, Any]) -> str:
    """The denoising network beside the classifier, the layers between, and the class."""
    words = []
    for name, one in values["observers"].items():
        gap, between = one["denoiser less classifier"], one["intermediate less root"]["denoiser"]
        words.append(
            f"{name} levels: denoiser {pair_text(one['best']['denoiser'])}, less classifier "
            f"{_scored(gap)}, layers between less root {pair_text(between)}"
        )
    first = next(iter(values["observers"].values()))
    a, b = first["gain"][0], first["gain"][-1]
    t = values["t"]
    bound, planted = values["r2 above exact"], values["r2 above exact at the next level of noise"]
    return (
        f"{values['networks']} grammars; observers of {'; '.join(words)}; the class adds "
        f"{pair_text(a)} at t = {t[0]:g} and {pair_text(b)} at t = {t[-1]:g}; latents by a linear "
        f"map: R^2 above exact beliefs by at most {_scored(bound)}, above those at the next noise "
        f"level by {_scored(planted)}"
    )


# --- figure ---------------------------------------------------------------------------------------


@checked
def objectives_figure(ds: xr.Dataset) -> Figure:
    """Profiles over the layers for every observer; latents, the class, and errors in common.

    Parameters
    ----------
    ds : xarray.Dataset
        As ``NetworkAlignment(GrammarNetworks()).measure`` returns it.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If the dataset lacks one of the variables.
    """
    plane = ("objective", "observer", "layer", "t")
    needs(ds, {"layer_accuracy": plane, "layer_accuracy_error": plane, "ceiling": ("observer",),
               "r2": ("objective", "layer", "level", "t"), "exact_r2": ("level", "t"),
               "exact_best": ("condition", "observer", "t")}, _MAKER)  # fmt: skip
    observers = [str(x) for x in ds.observer.values]
    columns = max(len(observers), 3)
    figure, grid = plt.subplots(2, columns, figsize=(4.3 * columns, 7.2), layout="constrained",
                                squeeze=False)  # fmt: skip
    for ax, name in zip(grid[0], observers, strict=False):
        _profile(ax, ds.sel(observer=name))
    for ax in grid[0][len(observers) :]:
        ax.set_visible(False)
    low = float(ds.layer_accuracy.min()) - 0.03
    for ax in grid[0]:
        ax.set_ylim(min(low, 0.3), float(ds.ceiling.max()) + 0.03)
    grid[0, 0].set_ylabel("odd-one-out accuracy")
    _latents(grid[1, 0], ds)
    _gains(grid[1, 1], ds)
    _consistency(grid[1, 2], ds)
    panels([*grid[0][: len(observers)], *grid[1][:3]],
           *(f"observers who weigh {name} levels" for name in observers),
           "latents by a linear map", "what the class adds", "errors in common")  # fmt: skip
    for ax in grid.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    shared_legend(figure)
    return figure


_LOOKS = {
    "denoiser": (PALETTE[0], "o"), "denoiser, class given": (PALETTE[3], "D"),
    "classifier": (PALETTE[1], "s"), "untrained": (PALETTE[5], "x"),
}  # fmt: skip


def _profile(ax: Axes, ds: xr.Dataset) -> None:
    """Accuracy of every layer at its best noise level, in the order of the network."""
    names = _in_order([str(x) for x in ds.layer.values])
    place = np.arange(len(names))
    for objective, (colour, marker) in _LOOKS.items():
        one = ds.sel(objective=objective, layer=names)
        # one level for the curve: that of the highest accuracy of the objective
        i = int(one.layer_accuracy.max("layer").values.argmax())
        at = one.isel(t=i)
        ax.errorbar(place, at.layer_accuracy, at.layer_accuracy_error, color=colour, marker=marker,
                    mfc="none", ms=4.5, lw=1.0, capsize=2, label=objective)  # fmt: skip
    for value, words, style in (
        (float(ds.ceiling), "ceiling of the observers", "-"),
        (float(ds.exact_best.sel(condition="unconditional").isel(t=0)), "exact beliefs", "--"),
        (float(ds.label_only), "class alone", ":"),
    ):
        ax.axhline(value, color="0.25", lw=0.9, ls=style, label=words)
    ax.axhline(1 / 3, color="0.6", lw=0.8, label="chance")
    ax.set_xticks(place, names, rotation=45, ha="right")
    ax.set_xlabel("layer, in the order of the network")


def _in_order(names: list[str]) -> list[str]:
    """Layers from the input over the leaves and the root back to the leaves."""
    up = sorted((x for x in names if x.startswith("up ")), key=lambda x: -int(x.split()[1]))
    down = sorted((x for x in names if x.startswith("down ")), key=lambda x: int(x.split()[1]))
    rest = [x for x in names if x not in (*up, *down, "input", "output")]
    return [x for x in ("input", *up, *rest, *down, "output") if x in names]


def _latents(ax: Axes, ds: xr.Dataset) -> None:
    """R^2 of every level: the best layer of both objectives, and exact beliefs."""
    level = ds.level.values
    for i, (k, ls) in enumerate(((0, "-"), (min(1, len(ds.t) - 1), "--"))):
        t = float(ds.t[k])
        ax.plot(level, ds.exact_r2.isel(t=k), color="0.25", ls=ls, lw=1.1,
                label=f"exact $R^2$, t = {t:g}")  # fmt: skip
        for objective in ("denoiser", "classifier"):
            colour, marker = _LOOKS[objective]
            one = ds.sel(objective=objective).isel(t=k)
            at = one.r2.argmax("layer")
            ax.errorbar(level + 0.06 * (objective == "classifier"), one.r2.isel(layer=at),
                        one.r2_error.isel(layer=at), color=colour, marker=marker, ms=4.5,
                        mfc="none" if not i else colour, ls="none", capsize=2)  # fmt: skip
    ax.set(xlabel="level (0 the class)", ylabel="$R^2$ of the symbols, best layer",
           xticks=level, ylim=(0, 1.03))  # fmt: skip


def _gains(ax: Axes, ds: xr.Dataset) -> None:
    """What the class adds to the layers, and to exact beliefs."""
    inner = [str(x) for x in ds.layer.values if str(x) not in ("input", "output")]
    every = ds.layer_accuracy_by_network.sel(layer=inner).mean("layer")
    gain = every.sel(objective=OBJECTIVES[1]) - every.sel(objective=OBJECTIVES[0])
    exact = ds.exact_best.sel(condition="class given") - ds.exact_best.sel(
        condition="unconditional"
    )  # fmt: skip
    names = [str(x) for x in ds.observer.values]
    for name, colour in zip(names, level_colours(len(names)), strict=True):
        one = gain.sel(observer=name).transpose("run", "t").values
        ax.plot(ds.t, exact.sel(observer=name), color=colour, lw=1.1,
                label=f"exact gain, {name} levels")  # fmt: skip
        ax.errorbar(ds.t, one.mean(axis=0), student_error(one), color=colour, marker="o", ms=4.5,
                    mfc="none", ls="none", capsize=2,
                    label=f"networks, {name} levels")  # fmt: skip
    ax.axhline(0, color="0.6", lw=0.8)
    ax.set(xlabel="noise level t", ylabel="accuracy that the class adds")


def _consistency(ax: Axes, ds: xr.Dataset) -> None:
    """Error consistency at the lowest noise, by pair and observer, in the colours of the gains."""
    pairs = [str(x) for x in ds["pair"].values]
    place, colours = np.arange(len(pairs)), level_colours(ds.sizes["observer"])
    for j, name in enumerate(map(str, ds.observer.values)):
        one = ds.sel(observer=name).isel(t=0)
        ax.errorbar(one.kappa, place + 0.18 * (j - 1), xerr=one.kappa_error, ls="none", marker="o",
                    mfc="none", ms=4.5, capsize=2, color=colours[j])  # fmt: skip
    ax.axvline(0, color="0.6", lw=0.8)
    ax.set_yticks(place, pairs)
    ax.invert_yaxis()
    ax.set_xlabel(r"error consistency $\kappa$ at the lowest noise")
