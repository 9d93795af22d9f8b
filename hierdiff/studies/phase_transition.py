"""The main job: where the class is lost, measured and predicted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray as xr

from hierdiff import plots, results
from hierdiff.noise import GaussianNoise
from hierdiff.sims import PhaseTransition

__all__ = ["PhaseTransitionStudy"]


@dataclass(frozen=True)
class PhaseTransitionStudy:
    """Loss of the class, and of every other level, when a datum is noised and denoised.

    Draws random hierarchy grammars, corrupts their data, computes the exact posterior by belief
    propagation and samples from it.  The prediction beside it is the annealed recursion for the
    epsilon-process and density evolution for the others.  Writes phase_transition.nc,
    phase_transition_theory.nc and phase_transition.png.
    """

    experiment: tyro.conf.OmitArgPrefixes[PhaseTransition] = field(default_factory=PhaseTransition)
    out: Path = Path("out")
    """Folder for the result, the figure and the finished tasks."""
    workers: int | None = None
    """Tasks at a time; default all processors.  Results do not depend on it."""
    resume: bool = True
    """Use the finished tasks of an earlier run of the same command."""
    cluster: str | None = None
    """Address of a Dask scheduler to run the tasks on."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the prediction, where there is one, and the measurement."""
        folder = results.writable_folder(self.out)
        tasks = folder / "tasks"
        if not self.resume:
            for old in tasks.glob("*.npz"):
                old.unlink()
        measured = self.experiment.measure(folder=tasks, workers=self.workers, cluster=self.cluster)
        if self.experiment.noise == "epsilon":
            theory = self.experiment.predict()
        else:
            theory = self.experiment.predict(
                "population",
                measured.t.values,
                folder=tasks,
                workers=self.workers,
                cluster=self.cluster,
            )
        datasets = (theory, measured)
        results.save(measured, folder / "phase_transition.nc")
        results.save(theory, folder / "phase_transition_theory.nc")
        figure = plots.phase_transition_figure(*datasets)
        figure.savefig(folder / "phase_transition.png", dpi=160)
        plt.close(figure)
        print(table(measured))
        print(f"wrote {folder / 'phase_transition.nc'} and {folder / 'phase_transition.png'}")
        print(claim(self.experiment, *datasets))
        return datasets


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
    letter = "epsilon" if experiment.noise == "epsilon" else "t"
    if "threshold" not in measured:
        return f"class not lost between {letter} = 0 and 1: its mean belief does not cross 1/2"
    value, error = float(measured.threshold), float(measured.threshold_error)
    text = f"class lost at {letter} = {value:.4f} ± {error:.4f}"
    if isinstance(experiment.process, GaussianNoise):
        low, here, high = experiment.process.snr([value + error, value, value - error])
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
