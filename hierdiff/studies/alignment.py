"""The study of alignment: which level, at which noise, judges as the judges do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray as xr

from hierdiff import results
from hierdiff.checks import check_fields
from hierdiff.plots.alignment import alignment_figure
from hierdiff.sims.alignment import Alignment

__all__ = ["AlignmentStudy"]


@dataclass(frozen=True)
class AlignmentStudy:
    """Odd-one-out judgements against the beliefs of an exact model, per level and noise level.

    Judges compare data of a random hierarchy grammar by shared latents; the model answers by the
    cosine similarity of its beliefs, without and with the class given.  Writes alignment.nc,
    alignment_theory.nc and alignment.png.
    """

    experiment: tyro.conf.OmitArgPrefixes[Alignment] = field(default_factory=Alignment)
    out: Path = Path("out")
    """Folder for the results, the figure and the finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors.  Results do not depend on it."""
    resume: bool = True
    """Use the finished tasks of an earlier run of the same command."""
    cluster: str | None = None
    """Address of a Dask scheduler to run the tasks on."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

    def __post_init__(self) -> None:
        check_fields(self)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the limit of no noise and the measurement."""
        folder = results.run_folder(self, "alignment", "alignment_theory")
        tasks = results.task_folder(folder, "alignment", self.resume)
        measured = self.experiment.measure(folder=tasks, workers=self.workers, cluster=self.cluster)
        theory = self.experiment.predict()
        results.save(measured, folder / "alignment.nc")
        results.save(theory, folder / "alignment_theory.nc")
        figure = alignment_figure(theory, measured)
        figure.savefig(folder / "alignment.png", dpi=160)
        plt.close(figure)
        print(table(measured))
        print(f"wrote {folder / 'alignment.nc'} and {folder / 'alignment.png'}")
        found = claims(theory, measured)
        if self.summary:
            results.write_summary(self.summary, found, asdict(self.experiment))
        print(closing(found))
        return theory, measured


def table(ds: xr.Dataset) -> str:
    """A row per condition and noise level, a column per level."""
    head = "".join(f"{f'level {level}':>16}" for level in ds.level.values)
    lines = [f"{'':<14}{'t':>6}{head}"]
    for condition in ds.condition.values:
        for t in ds.t.values:
            one = ds.sel(condition=condition, t=t)
            cells = zip(one.accuracy.values, one.accuracy_error.values, strict=True)
            lines.append(f"{condition:<14}{t:>6.2f}" + "".join(
                f"{f'{a:.3f} ± {e:.3f}':>16}" for a, e in cells))  # fmt: skip
    return "\n".join(lines)


def claims(theory: xr.Dataset, ds: xr.Dataset) -> dict[str, Any]:
    """Best levels, what the class adds, and the limit of no noise, with errors."""
    gain = ds.accuracy.sel(condition="class given") - ds.accuracy.sel(condition="unconditional")
    error = np.hypot(*(ds.accuracy_error.sel(condition=c) for c in ds.condition.values))
    best = ds.accuracy.argmax("level")
    low = ds.isel(t=0).sel(condition="unconditional")
    limit = theory.isel(t=0).sel(condition="unconditional")
    z = (low.accuracy - limit.accuracy) / np.hypot(low.accuracy_error, limit.accuracy_error)
    return {
        "t": ds.t.values.tolist(),
        "accuracy": ds.accuracy.values.tolist(), "error": ds.accuracy_error.values.tolist(),
        "ceiling": [float(ds.ceiling), float(ds.ceiling_error)],
        "label": [float(ds.label_only), float(ds.label_only_error)],
        "best level": best.values.tolist(),
        "gain": gain.max("level").values.tolist(),
        "gain error": error.isel(level=gain.argmax("level")).values.tolist(),
        "z of the limit": z.values.tolist(),
    }  # fmt: skip


def closing(found: dict[str, Any]) -> str:
    """The closing line."""
    t, gain, error = found["t"], found["gain"], found["gain error"]
    plain = found["best level"][0]
    return (
        f"the class adds at most {gain[0]:+.3f} ± {error[0]:.3f} at t = {t[0]:g} and "
        f"{gain[-1]:+.3f} ± {error[-1]:.3f} at t = {t[-1]:g}; best unconditional level "
        f"{', '.join(map(str, plain))} at t = {', '.join(f'{x:g}' for x in t)}; ceiling "
        f"{found['ceiling'][0]:.3f}, label alone {found['label'][0]:.3f}; no-noise limit |z| < "
        f"{max(map(abs, found['z of the limit'])):.1f}"
    )
