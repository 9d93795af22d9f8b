"""What the study of composition found: phases, crossings, order of levels, in numbers and words."""

from __future__ import annotations

from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.sims.bump_phases import crossing_time
from hierdiff.sims.estimators import student_error

__all__ = ["READINGS", "composition_claims", "composition_closing", "composition_table"]

Array: TypeAlias = NDArray[Any]

READINGS = (
    "one_bump", "location_accuracy", "two_nn", "geodesic_rsa", "rsa", "held_out_r2",
    "neighbour_ratio", "participation_ratio", "x_accuracy", "y_accuracy", "interaction",
)  # fmt: skip
"""What is read off a bump network at every look."""


def composition_claims(found: dict[str, xr.Dataset]) -> dict[str, Any]:
    """Phases along training, crossing steps of x and y, and the order of the levels."""
    said: dict[str, Any] = {}
    for name, ds in found.items():
        if name == "levels":
            continue
        times = {axis: [crossing_time(ds.step.values, ds[f"{axis}_accuracy"].values[k])
                        for k in range(ds.sizes["seed"])] for axis in "xy"}  # fmt: skip
        last = ds.isel(step=-1)
        said[name] = {
            "phases": [list(map(str, row)) for row in ds.phase.values],
            "strict phases": [list(map(str, row)) for row in ds.strict_phase.values],
            "crossing": times,
            "steps": ds.step.values.tolist(),
            "readings": {n: ds[n].values.tolist() for n in READINGS},
            "last": {n: [float(last[n].mean()), float(last[n].std())] for n in READINGS},
            "first": {n: float(ds.isel(step=0)[n].mean()) for n in READINGS},
        }
    if "levels" in found:
        ds = found["levels"]
        half = [[_crossed(ds.step.values, ds.valid.values[k, :, l]) for l in ds.level.values]
                for k in range(ds.sizes["seed"])]  # fmt: skip
        ordered = [all(a >= b for a, b in zip(row, row[1:], strict=False)) for row in half]
        said["levels"] = {"half valid at": half, "in order": ordered,
                          "last": ds.valid.isel(step=-1).mean("seed").values.tolist()}  # fmt: skip
    return said


def _crossed(steps: Array, curve: Array) -> float:
    """First step at which half of the nodes are valid; infinite if never."""
    at = crossing_time(steps, curve, 0.5)
    return float("inf") if np.isnan(at) else at


def composition_table(found: dict[str, xr.Dataset]) -> list[str]:
    lines = []
    for name, ds in found.items():
        if name == "levels":
            continue
        lines.append(f"{'labels':>9} {'step':>6} {'phase':>13} " + " ".join(
            f"{n.replace('_', ' ')[:12]:>12}" for n in READINGS))  # fmt: skip
        for k, step in enumerate(ds.step.values):
            one = ds.isel(seed=0, step=k)
            lines.append(f"{name:>9} {int(step):>6} {one.phase.values!s:>13} " + " ".join(
                f"{float(one[n]):>12.2f}" for n in READINGS))  # fmt: skip
    if "levels" in found:
        ds = found["levels"]
        mean = ds.valid.mean("seed")
        lines.append("valid nodes by level, root first: " + "; ".join(
            f"step {int(s)}: " + ", ".join(f"{x:.2f}" for x in mean.sel(step=s).values)
            for s in ds.step.values[:: max(1, ds.sizes["step"] // 6)]))  # fmt: skip
    return lines


def composition_closing(said: dict[str, Any]) -> str:
    """The closing line."""
    words = []
    for name, x in said.items():
        if name == "levels":
            continue
        paths = [" -> ".join(p for p, _ in groupby(row)) for row in x["phases"]]
        shares = {p: f" ({paths.count(p)} of {len(paths)})" for p in paths} if paths[1:] else {}
        courses = " or ".join(p + shares.get(p, "") for p in dict.fromkeys(paths))
        times = {a: np.array(t) for a, t in x["crossing"].items()}
        # a height that is reached at the first checkpoint was reached at or before it
        early = {a: int((t <= x["steps"][0]).sum()) for a, t in times.items()}
        cross = ", ".join(
            f"{a} at step {_said(t)}"
            + (f" (or before, {early[a]} of {len(t)}: the first checkpoint)" if early[a] else "")
            for a, t in times.items()
        )
        words.append(
            f"{name} labels: phases {courses}, accuracy 0.6 in {cross}; at the end one "
            f"bump {x['last']['one_bump'][0]:.2f}, in place {x['last']['location_accuracy'][0]:.2f}"
            f", RSA along the manifold {x['last']['geodesic_rsa'][0]:.2f}, interaction "
            f"{x['last']['interaction'][0]:.2f} (at step {x['steps'][0]}: in place "
            f"{x['first']['location_accuracy']:.2f}, RSA {x['first']['geodesic_rsa']:.2f})"
        )
    if "levels" in said:
        x = said["levels"]
        rows = np.array(x["half valid at"])[:, ::-1]
        steps = ", ".join(_said(rows[:, h]) for h in range(rows.shape[1]))
        words.append(
            f"grammar: half of the nodes valid at step {steps} (height 1 to {rows.shape[1]}), in "
            f"the predicted order in {sum(x['in order'])} of {len(x['in order'])} networks; whole "
            f"strings {x['last'][0]:.2f} at the end"
        )
    return "; ".join(words)


def _said(times: Array) -> str:
    """Mean and Student error of step numbers, or in how many networks it is not reached."""
    never = int((~np.isfinite(times)).sum())
    if never:
        return f"(not reached in {never} of {len(times)})"
    if len(times) < 2:
        return f"{times[0]:.0f}"
    return f"{times.mean():.0f} ± {float(student_error(times)):.0f}"
