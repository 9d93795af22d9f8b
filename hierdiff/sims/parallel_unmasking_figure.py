"""Tables, claim and figure of parallel unmasking, from its datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hierdiff._display import pair_text, plus_minus, text_table
from hierdiff.plots import PALETTE, Figure, legend, level_colours, panels, plt
from hierdiff.sims.models.finite_steps import convergence_order

__all__ = ["draw"]

Datasets = Mapping[str, xr.Dataset]


def largest_score(law: xr.Dataset, ds: xr.Dataset, word: str) -> float:
    """Largest z-score between prediction and measurement, where both have an error."""
    gap = law[word].values - ds[word].values
    error = np.hypot(law[f"{word}_error"].values, ds[f"{word}_error"].values)
    z = np.abs(gap[(error > 1e-9) & np.isfinite(gap)]) / error[(error > 1e-9) & np.isfinite(gap)]
    return float(z.max()) if z.size else 0.0


def table(ds: xr.Dataset) -> str:
    """Divergence and share of valid strings, a row per number of steps."""
    words = [str(o) for o in ds.order.values]
    parts = []
    for word, title, digits in (
        ("divergence", "KL(p || q), nats", 2), ("valid", "share of valid strings", 3),
    ):  # fmt: skip
        rows = [
            [T, *(plus_minus(float(ds[word][i, j]), float(ds[f"{word}_error"][i, j]), digits)
                  for i in range(len(words)))]
            for j, T in enumerate(ds["T"].values)
        ]  # fmt: skip
        parts.append(f"{title}\n{text_table(['T', *words], rows)}")
    return "\n\n".join(parts)


def sizes_table(ds: xr.Dataset) -> str:
    """Divergence of the best block sizes at random order, a row per grammar."""
    steps = ds["T"].values
    rows = []
    for i in range(ds.sizes["size"]):
        one = ds.isel(size=i)
        head = [int(one.m), int(one.L), int(one.leaves)]
        for word in ("best", "spread"):
            cells = [plus_minus(float(one[word][j]), float(one[f"{word}_error"][j]), 2)
                     for j in range(len(steps))]  # fmt: skip
            rows.append(
                [*head, word, plus_minus(float(one.fall), float(one.fall_error), 2), *cells]
            )
    header = ["m", "L", "leaves", "sizes", "Z(0)-Z(n-1)", *(f"T={T}" for T in steps)]
    return (
        "KL in nats at T steps, random order; block sizes: the best, and those of spread\n"
        + text_table(header, rows, keys=4)
    )


def again_table(ds: xr.Dataset) -> str:
    """Remasking at equal calls, and the divergence of paths."""
    words = ["no remasking" if not a else f"{a} at a time" for a in ds.again.values]
    rows = []
    for order in ds.order.values:
        for calls in ds.calls.values:
            one = ds.sel(order=order, calls=calls)
            cells = [plus_minus(float(one.remasked[k]), float(one.remasked_error[k]), 3)
                     for k in range(ds.sizes["again"])]  # fmt: skip
            rows.append([order, calls, *cells])
    valid = text_table(["order", "calls", *words], rows, keys=2)
    rows = [
        [T, *(plus_minus(float(ds.path[i, j]), float(ds.path_error[i, j]), 2)
              for i in range(ds.sizes["process"]))]
        for j, T in enumerate(ds["T"].values)
    ]  # fmt: skip
    return "\n".join([
        "share of valid strings at equal calls; with remasking half of them reveal", valid, "",
        "divergence of paths, evenly spaced noise levels, nats",
        text_table(["T", *ds.process.values], rows),
    ])  # fmt: skip


def claim(ds: xr.Dataset, law: xr.Dataset | None, sizes: xr.Dataset | None) -> str:
    """What order and block sizes are worth at a middle number of steps."""
    T = int(ds["T"].values[min(ds.sizes["T"] - 1, ds.sizes["T"] // 2)])
    one = ds.sel(T=T)
    cells = ", ".join(
        f"{o} {plus_minus(float(one.divergence[i]), float(one.divergence_error[i]), 2)}"
        for i, o in enumerate(map(str, ds.order.values))
    )
    text = f"divergence in nats at {T} steps: {cells}"
    if law is not None:
        text += f"; the exact law holds to |z| <= {largest_score(law, ds, 'divergence'):.1f}"
    if sizes is not None:
        falls = [pair_text(exponent(sizes, w), 2) for w in ("best", "spread")]
        text += (
            f"; with T it falls as T to the power -{falls[0]} (random order, best sizes) and "
            f"-{falls[1]} (spread)"
        )
        gain = float(np.nanmax((1 - sizes.best / sizes.even).where(sizes.even > 0.1).values))
        text += f"; the best block sizes save {100 * gain:.0f} % of the divergence at most"
    return text


def exponent(ds: xr.Dataset, word: str) -> tuple[float, float]:
    """Exponent of T in the divergence of the longest strings, up to four leaves per step."""
    one = ds.isel(size=int(ds.leaves.values.argmax()))
    T, gap, error = one["T"].values, one[word].values, one[f"{word}_error"].values
    used = (T >= 2) & (int(one.leaves) >= 4 * T) & (gap > 2 * error) & (error > 0)
    if used.sum() < 3:
        return float("nan"), float("nan")
    fit = convergence_order(T[used], gap[used], error[used])
    # the power is no exact law: errors are scaled up to what the points scatter about it
    return fit.order, fit.error * max(1.0, fit.reduced_chi_square**0.5)


def draw(name: str, datasets: Datasets) -> Figure:
    """Divergence against T by order, share of valid strings, and collapse of the best sizes."""
    ds, law = datasets[name], datasets.get(f"{name}_theory")
    sizes = datasets.get(f"{name}_schedules")
    figure, axes = plt.subplots(
        1, 2 if sizes is None else 3, figsize=(8.2 if sizes is None else 12, 3.7),
        layout="constrained",
    )  # fmt: skip
    for i, order in enumerate(map(str, ds.order.values)):
        colour = PALETTE[i % len(PALETTE)]
        style: dict[str, Any] = {"color": colour, "ms": 4.5, "lw": 0.9}
        last = ds.divergence[i].values > 1e-3  # one at a time costs nothing: no place on the axis
        axes[0].errorbar(ds["T"][last], ds.divergence[i][last], ds.divergence_error[i][last],
                         fmt="o", label=order, **style)  # fmt: skip
        axes[1].errorbar(ds["T"], ds.valid[i], ds.valid_error[i], fmt="o", label=order, **style)
        if law is not None:
            at = law.sel(order=order)
            axes[0].plot(law["T"], at.divergence.where(at.divergence > 1e-3), "-", **style)
            axes[1].plot(law["T"], at.valid, "-", **style)
            if order != "kept":
                axes[1].plot(law["T"], np.exp(-at.divergence), ":", color=colour, lw=1)
    axes[0].set(xlabel="number of steps T", ylabel=r"divergence $KL(p\,||\,q)$, nats",
                xscale="log", yscale="log")  # fmt: skip
    axes[1].set(xlabel="number of steps T", ylabel="share of valid strings", xscale="log")
    for ax in axes[:2]:
        ax.set_xticks(ds["T"].values, [str(T) for T in ds["T"].values])
        ax.minorticks_off()
    # as in the claim: a middle number of steps, the cheapest order and the dearest of them
    T = int(ds["T"].values[min(ds.sizes["T"] - 1, ds.sizes["T"] // 2)])
    # the number of "kept" is a bound and no price
    priced = [o for o in ds.order.values if o != "kept"] or list(ds.order.values)
    one = ds.sel(T=T, order=priced)
    low, high = int(np.argmin(one.divergence.values)), int(np.argmax(one.divergence.values))
    ends = ", ".join(f"{one.order.values[i]} {float(one.divergence[i]):.2g}" for i in (high, low))
    words = [f"T = {T}: {ends} nats",
             f"T = {T}: {float(one.valid[low]):.0%} valid ({one.order.values[low]})"]  # fmt: skip
    legend(axes[0], "lines: exact")
    legend(axes[1], "lines: exact; dotted: $e^{-KL}$, a lower bound")
    if sizes is not None:
        _collapse(axes[2], sizes)
        at = (sizes.best / sizes.fall).where(sizes.leaves == 4 * sizes["T"])
        title = "best sizes, random order"
        if at.notnull().any():
            title += f": {float(at.min()):.1f} to {float(at.max()):.1f} at n/T = 4"
        words.append(title)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, *words)
    return figure


def _collapse(ax: Any, ds: xr.Dataset) -> None:
    """Best divergence against leaves per step, in units of the fall of Z."""
    markers = dict(zip(sorted(set(ds.L.values.tolist())), "v^osD*", strict=False))
    rules = sorted(set(ds.m.values.tolist()))
    colours = dict(zip(rules, level_colours(len(rules)), strict=True))
    for i in range(ds.sizes["size"]):
        one = ds.isel(size=i)
        m, L = int(one.m), int(one.L)
        k = int(one.leaves) / ds["T"].values
        many = k > 1
        ax.errorbar(k[many], (one.best / one.fall).values[many],
                    (one.best_error / one.fall).values[many], fmt=markers.get(L, "x"), ms=4.5,
                    lw=0.9, mfc="none", color=colours[m], label=f"m = {m}, L = {L}")  # fmt: skip
    k = np.linspace(1.5, max(float(ds.leaves.max()), 2.0), 200)
    ax.plot(k, (k - 1) / 2, "k-", lw=0.8, label="(n/T - 1) / 2")
    ax.set(xlabel="leaves per step n/T", xscale="log", yscale="log",
           ylabel=r"$KL^*(T)\;/\;[Z(0) - Z(n-1)]$")  # fmt: skip
    ticks = [2, 4, 8, 16, 32, 64]
    ax.set_xticks(ticks, [str(x) for x in ticks])
    ax.minorticks_off()
    legend(ax)
