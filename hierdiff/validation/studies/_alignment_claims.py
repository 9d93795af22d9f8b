"""What the alignment study found, as numbers with errors, a table and a closing line."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.sims.alignment import CONDITIONS
from hierdiff.validation.studies._judgements import Judges

__all__ = ["beside", "closing", "layer_claims", "table"]

Array: TypeAlias = NDArray[Any]


def beside(read: Array, exact: Array, judges: Judges, t: tuple[float, ...]) -> dict[str, Any]:
    """Readout against exact beliefs on the same triplets, and what the class adds in both.

    The class stands apart: exact beliefs that are certain of it tie, and what is read from a
    network ties only nearly, so that the rest of what it knows decides.
    """

    def pair(x: Array) -> list[float]:
        return [float(x.mean()), float(judges.error(x))]

    gap = read - exact
    a, b = (x[:, 1:].mean(axis=-1).ravel() for x in (read, exact))
    return {
        "readout minus exact": pair(gap[:, 1:].mean(axis=(0, 1, 2))),
        "largest gap": float(np.abs(gap[:, 1:].mean(axis=-1)).max()),
        "class, readout minus exact": pair(gap[:, 0].mean(axis=(0, 1))),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "gain, readout": {f"{x:g}": pair((read[1] - read[0])[1:].mean(axis=0)[k])
                          for k, x in enumerate(t)},
        "gain, exact": {f"{x:g}": pair((exact[1] - exact[0])[1:].mean(axis=0)[k])
                        for k, x in enumerate(t)},
    }  # fmt: skip


def layer_claims(ds: xr.Dataset, scores: dict[str, Array], judges: Judges) -> dict[str, Any]:
    """Best layers, and what the class adds to the mean over layers, paired, at every time."""
    names = [str(x) for x in ds.layer.values]
    inner = [n for n in names if n not in ("input", "output")] or names
    found: dict[str, Any] = {
        "t": ds.t.values.tolist(),
        "ceiling": float(ds.ceiling),
        "best layer": {
            str(c): [names[i] for i in ds.layer_accuracy.sel(condition=c).argmax("layer").values]
            for c in ds.condition.values
        },
        "best": {
            str(c): ds.layer_accuracy.sel(condition=c).max("layer").values.tolist()
            for c in ds.condition.values
        },
    }  # fmt: skip
    if "label_only" in ds:
        found["label"] = [float(ds.label_only), float(ds.label_only_error)]
    if ds.sizes["condition"] == 2:
        added = np.mean([scores[n][1] - scores[n][0] for n in inner], axis=0)[:, :-3]
        error = judges.error(added)
        found["gain"] = [[float(g), float(e)] for g, e in zip(added.mean(axis=1), error,
                                                              strict=True)]  # fmt: skip
    if not np.isnan(ds.held_out).all():
        gap = ds.leaked - ds.held_out
        found["probe, best held out"] = [
            float(ds.held_out.max()),
            float(ds.held_out_error.values.ravel()[ds.held_out.values.argmax()]),
        ]
        found["probe, leak"] = float(gap.mean())
    return found


def closing(said: dict[str, Any]) -> str:
    t = said["t"]
    words = []
    if "readout minus exact" in said:
        (gap, error) = said["readout minus exact"]
        low, high = (said["gain, exact"][f"{x:g}"][0] for x in (t[0], t[-1]))
        words.append(
            f"beliefs below the class read from the network - exact {gap:+.4f} ± {error:.4f} "
            f"(z = {gap / max(error, 1e-12):.1f}), largest {said['largest gap']:.3f}, correlation "
            f"{said['correlation']:.3f}; exact beliefs gain {low:+.3f} and {high:+.3f} by the class"
        )
    if "gain" in said:
        (a, ea), (b, eb) = said["gain"][0], said["gain"][-1]
        z = (b - a) / max(float(np.hypot(ea, eb)), 1e-12)
        k = int(np.argmax([g for g, _ in said["gain"]]))
        top, spread = said["gain"][k]
        words.append(
            f"the class adds {a:+.3f} ± {ea:.3f} at t = {t[0]:g} and {b:+.3f} ± {eb:.3f} at "
            f"t = {t[-1]:g} to the layers (z of the rise {z:.1f}), at most {top:+.3f} ± "
            f"{spread:.3f} at t = {t[k]:g}"
        )
    best = next(iter(said["best layer"].items()))
    words.append(f"best layer, {best[0]}: {', '.join(best[1])}")
    tail = f"ceiling {said['ceiling']:.3f}"
    if "label" in said:
        tail += f", label alone {said['label'][0]:.3f} ± {said['label'][1]:.3f}"
    if "probe, best held out" in said:
        value, error = said["probe, best held out"]
        tail += f", probe at best {value:.3f} ± {error:.3f} on unseen objects"
    return "; ".join([*words, tail])


def table(ds: xr.Dataset) -> str:
    """A row per layer, a column per condition and noise level: zero-shot, and the probe's."""
    cells = [(str(c), float(t)) for c in ds.condition.values for t in ds.t.values]
    short = {CONDITIONS[0]: "no class", CONDITIONS[1]: "class"}
    head = "".join(f"{f'{short[c]}, t = {t:g}':>22}" for c, t in cells)
    lines = [f"{'layer':<16}{head}"]
    for layer in ds.layer.values:
        row = []
        for c, t in cells:
            one = ds.sel(condition=c, layer=layer, t=t)
            row.append(f"{float(one.layer_accuracy):.3f} ± {float(one.layer_accuracy_error):.3f} "
                       f"({float(one.held_out):.2f})")  # fmt: skip
        lines.append(f"{layer:<16}" + "".join(f"{x:>22}" for x in row))
    return "\n".join(lines)
