"""The main job: where the class is lost, measured and predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray as xr

from hierdiff import plots, results
from hierdiff.checks import check_fields
from hierdiff.noise import has_snr, is_channel
from hierdiff.sims import PhaseTransition

__all__ = ["PhaseTransitionStudy"]


# members and populations: the error of the predicted threshold is then below 1 %
SIZE, COPIES = 1000, 8


@dataclass(frozen=True)
class PhaseTransitionStudy:
    """Loss of the class, and of every other level, when a datum is noised and denoised.

    Draws random hierarchy grammars, corrupts their data, computes the exact posterior by belief
    propagation and samples from it.  The prediction beside it is density evolution, or the annealed
    recursion for the epsilon-process.  Writes phase_transition.nc, phase_transition_theory.nc and
    phase_transition.png; with ``--noise all`` they hold the four processes.
    """

    experiment: tyro.conf.OmitArgPrefixes[PhaseTransition] = field(default_factory=PhaseTransition)
    out: Path = Path("out")
    """Folder for the result, the figure and the finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors.  Results do not depend on it."""
    resume: bool = True
    """Use the finished tasks of an earlier run of the same command."""
    cluster: str | None = None
    """Address of a Dask scheduler to run the tasks on."""

    def __post_init__(self) -> None:
        check_fields(self)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the prediction and the measurement, of all processes in turn."""
        folder = results.run_folder(self, "phase_transition", "phase_transition_theory")
        tasks = results.task_folder(folder, "phase_transition", self.resume)
        experiments = self.experiment.each()
        pairs = [self._pair(one, tasks) for one in experiments]
        for name, parts in zip(
            ("phase_transition_theory", "phase_transition"), zip(*pairs, strict=True), strict=True
        ):
            results.save(parts[0] if len(parts) == 1 else together(parts), folder / f"{name}.nc")
        draw = (
            plots.phase_transition_figure if len(pairs) == 1 else plots.phase_transition_processes
        )
        figure = draw(*(pairs[0] if len(pairs) == 1 else pairs))
        figure.savefig(folder / "phase_transition.png", dpi=160)
        plt.close(figure)
        for one, (_, measured) in zip(experiments, pairs, strict=True):
            print(f"{one.noise} noise\n{table(measured)}")
        print(f"wrote {folder / 'phase_transition.nc'} and {folder / 'phase_transition.png'}")
        words = [claim(one, *pair) for one, pair in zip(experiments, pairs, strict=True)]
        if len(words) > 1:
            words = [f"{one.noise}: {text}" for one, text in zip(experiments, words, strict=True)]
        print("; ".join(words))
        return tuple(ds for pair in pairs for ds in pair)

    def _pair(self, experiment: PhaseTransition, tasks: Path) -> tuple[xr.Dataset, xr.Dataset]:
        """Prediction and measurement of one process."""
        options: dict[str, Any] = {
            "folder": tasks, "workers": self.workers, "cluster": self.cluster,
        }  # fmt: skip
        measured = experiment.measure(**options)
        if not is_channel(experiment.process):
            return experiment.predict(), measured
        theory = experiment.predict(
            "population", measured.t.values, size=SIZE, copies=COPIES, **options
        )
        return theory, measured


def together(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Datasets of several processes as one; a noise level that a process lacks holds NaN."""
    names = [str(json.loads(ds.attrs["parameters"])["noise"]) for ds in parts]
    bare = [ds.drop_vars("snr", errors="ignore") for ds in parts]
    kept = [k for k in bare[0].data_vars if all(k in ds for ds in bare)]
    joined = xr.concat(
        [ds[kept] for ds in bare], xr.Variable("process", names, {"long_name": "noise process"}),
        join="outer", coords="minimal", compat="override", combine_attrs="override",
    )  # fmt: skip
    joined.t.attrs["long_name"] = "noise level t of each process"
    joined.attrs.update(results.tasks_of(*parts))
    joined.attrs["parameters"] = json.dumps(
        {**json.loads(parts[0].attrs["parameters"]), "noise": "all"}
    )
    return joined.assign_coords(source=str(parts[0].source.values))


def table(ds: xr.Dataset, columns: int = 6) -> str:
    """The belief in the true symbol, a row per level and a column per noise level."""
    pick = [round(i * (ds.sizes["t"] - 1) / (columns - 1)) for i in range(columns)]
    times = ds.t.values[pick]
    lines = ["level " + "".join(f"{f't = {t:.3f}':>16}" for t in times)]
    for level in ds.level.values:
        row = ds.sel(level=level).isel(t=pick)
        cells = zip(row.belief.values, row.belief_error.values, strict=True)
        lines.append(f"{level:>5} " + "".join(f"{f'{p:.4f} ± {e:.4f}':>16}" for p, e in cells))
    return "\n".join(lines)


def claim(experiment: PhaseTransition, theory: xr.Dataset, measured: xr.Dataset) -> str:
    """The closing line: where the class is lost, measured and predicted."""
    letter = "t" if is_channel(experiment.process) else "epsilon"
    if "threshold" not in measured:
        return f"class not lost between {letter} = 0 and 1: its mean belief does not cross 1/2"
    value, error = float(measured.threshold), float(measured.threshold_error)
    text = f"class lost at {letter} = {value:.4f} ± {error:.4f}"
    process = experiment.process
    if has_snr(process):
        low, here, high = process.snr([value + error, value, value - error])
        text += f", SNR = {here:.2f} ± {(high - low) / 2:.2f}"
    if "threshold" not in theory:
        return text + " (theory: no transition at these parameters)"
    predicted, doubt = float(theory.threshold), float(theory.threshold_error)
    total = float(np.hypot(error, doubt))
    z = (value - predicted) / total if total else 0.0
    words = f"{predicted:.4f}" + (f" ± {doubt:.4f}" if doubt else "")
    text += f" (theory {words} at depth {experiment.L}, z = {z:.1f}"
    if "critical" in theory:
        text += f"; {float(theory.critical):.4f} for infinite depth"
    return text + ")"
