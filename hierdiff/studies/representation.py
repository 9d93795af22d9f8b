"""The study of representations: where features are best, and what memorisation does to it."""

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
from hierdiff.plots.representation import representation_figure
from hierdiff.sims.representation import Representation

__all__ = ["RepresentationStudy"]


@dataclass(frozen=True)
class RepresentationStudy:
    """Quality of denoiser features against noise, for models between population and memory.

    Draws data from a mixture of low-rank Gaussians, fits models to N of them, and reads the
    denoised features at every noise level by their signal-to-noise ratio and by probes.  Beside it
    stand the exact law of the population and the paper's closed form.  Writes representation.nc,
    representation_theory.nc, representation_mean_field.nc and representation.png.
    """

    experiment: tyro.conf.OmitArgPrefixes[Representation] = field(default_factory=Representation)
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
        """Run the study; returns the exact law, the closed form and the measurement."""
        folder = results.run_folder(
            self, "representation", "representation_theory", "representation_mean_field"
        )
        tasks = results.task_folder(folder, "representation", self.resume)
        measured = self.experiment.measure(folder=tasks, workers=self.workers, cluster=self.cluster)
        levels = measured.sigma.values
        fine = np.union1d(levels, np.geomspace(levels[0], levels[-1], 60))
        exact, mean_field = (self.experiment.predict(law, fine) for law in ("exact", "mean_field"))
        names = ("representation_theory", "representation_mean_field", "representation")
        for name, ds in zip(names, (exact, mean_field, measured), strict=True):
            results.save(ds, folder / f"{name}.nc")
        figure = representation_figure(exact, mean_field, measured)
        figure.savefig(folder / "representation.png", dpi=160)
        plt.close(figure)
        print(table(measured))
        print(f"wrote {folder / 'representation.nc'} and {folder / 'representation.png'}")
        found = claims(self.experiment, exact, mean_field, measured)
        if self.summary:
            results.write_summary(self.summary, found, asdict(self.experiment))
        print(closing(self.experiment, found))
        return exact, mean_field, measured


def table(measured: xr.Dataset) -> str:
    """The rise on test points: ratio of the SNR, differences of the accuracies."""
    names = [q for q in ("ratio", "projection_rise", "linear_rise", "quadratic_rise")
             if q in measured]  # fmt: skip
    lines = [f"{'model':>11} {'N':>6} " + "".join(f"{name:>20}" for name in names)]
    test = measured.sel(split="test")
    for model in test.model.values:
        for n in test.n_train.values:
            one = test.sel(model=model, n_train=n)
            cells = [f"{one[q].item():.4f} ± {one[f'{q}_error'].item():.4f}" for q in names]
            lines.append(f"{model:>11} {n:>6} " + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def claims(
    experiment: Representation, exact: xr.Dataset, mean_field: xr.Dataset, measured: xr.Dataset
) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    test = measured.sel(split="test")
    found: dict[str, Any] = {
        "sigma star": experiment.sigma_star,
        "reference": experiment.reference,
        "peak": [float(exact.peak_sigma), float(exact.peak_value)],
        "mean-field peak": [float(mean_field.peak_sigma), float(mean_field.peak_value)],
        "rises": {
            f"{model} {n}": {
                q: [test[q].sel(model=model, n_train=n).item(),
                    test[f"{q}_error"].sel(model=model, n_train=n).item()]
                for q in map(str, test.data_vars)
                if q == "ratio" or q.endswith("_rise")
            }
            for model in map(str, test.model.values)
            for n in map(int, test.n_train.values)
        },
    }  # fmt: skip
    if "exact" in measured.model.values and "snr" in measured:
        both = results.compare(exact, measured)
        z = both.sel(source="simulation", split="test", model="exact").isel(n_train=-1)
        found["z"] = {
            q: z[f"{q}_z"].values.tolist() for q in ("snr", "projection") if f"{q}_z" in z
        }
        wrong = results.compare(mean_field, measured)
        z = wrong.sel(source="simulation", split="test", model="exact").isel(n_train=-1)
        found["z, mean field"] = z.snr_z.values.tolist()
        found["ratio, theory"] = float(exact.ratio.isel(model=0, split=0, n_train=0))
    return found


def closing(experiment: Representation, found: dict[str, Any]) -> str:
    """The closing line: the peak, the law's verdict, and which models show the bump."""
    (sigma, value), (far, high) = found["peak"], found["mean-field peak"]
    text = f"SNR peaks at sigma = {sigma:.4f} with {value:.2f} (mean field {far:.4f}, {high:.2f})"
    if "z" in found:
        right, wrong = (max(map(abs, z)) for z in (found["z"]["snr"], found["z, mean field"]))
        points = f"{experiment.test} x {experiment.seeds} points"
        text += f", seen on {points} to |z| <= {right:.1f} (mean field {wrong:.0f})"
    words = [
        f"{name.replace(' ', ' N = ')}: {rise['ratio'][0]:.2f} ± {rise['ratio'][1]:.2f}"
        for name, rise in found["rises"].items()
        if "ratio" in rise and not name.startswith("exact")
    ]
    if words:
        ends = f"SNR({experiment.sigma_star:.3f}) / SNR({experiment.reference:g})"
        text += f"; {ends} of {', '.join(words)}"
    return text
