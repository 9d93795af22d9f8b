"""The study of composition: cost of levels, strings of partial knowledge, cost of factors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray as xr

from hierdiff import results
from hierdiff.checks import check_fields, checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.composition import composition_figure
from hierdiff.sims.composition import Composition

__all__ = ["CompositionStudy", "claims"]

_LAWS = ("correlations", "coincidences", "next_token")


@dataclass(frozen=True)
class CompositionStudy:
    """Sample cost of learning the levels of a hierarchy, and what partial knowledge generates.

    Clusters synonyms by their contexts on growing data, samples denoisers that know the rules up
    to a height, and regresses images on labels with additive and product kernels; beside each
    stands what theory says.  Writes composition.nc, composition_theory.nc,
    composition_coincidences.nc, composition_next_token.nc and composition.png.
    """

    experiment: tyro.conf.OmitArgPrefixes[Composition] = field(default_factory=Composition)
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
        """Run the study; returns the three laws and the measurement."""
        folder = results.run_folder(
            self,
            "composition",
            "composition_theory",
            "composition_coincidences",
            "composition_next_token",
        )
        tasks = results.task_folder(folder, "composition", self.resume)
        measured = self.experiment.measure(folder=tasks, workers=self.workers, cluster=self.cluster)
        laws = [self.experiment.predict(law) for law in _LAWS]
        names = ("composition_theory", "composition_coincidences", "composition_next_token")
        for name, ds in zip((*names, "composition"), (*laws, measured), strict=True):
            results.save(ds, folder / f"{name}.nc")
        figure = composition_figure(laws[0], laws[1], measured)
        figure.savefig(folder / "composition.png", dpi=160)
        plt.close(figure)
        found = claims(laws, measured)
        print(table(found))
        print(f"wrote {folder / 'composition.nc'} and {folder / 'composition.png'}")
        if self.summary:
            results.write_summary(self.summary, found, asdict(self.experiment))
        print(closing(found))
        return (*laws, measured)


def _pair(ds: xr.Dataset, name: str, **where: Any) -> list[float]:
    one = ds.sel(**where)
    return [float(one[name]), float(one[f"{name}_error"])]


@checked
def claims(laws: list[xr.Dataset], measured: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors, beside the laws."""
    if len(laws) != len(_LAWS):
        raise InvalidParameter(f"{len(laws)} laws; give those of {', '.join(_LAWS)}, in this order")
    found: dict[str, Any] = {}
    if "exponent" in measured:
        for learner in map(str, measured.learner.values):
            for h in map(int, measured.height.values):
                where = {"learner": learner, "height": h}
                row: dict[str, Any] = {
                    "exponent": _pair(measured, "exponent", **where),
                    "two largest m": _pair(measured, "last_exponent", **where),
                    "samples": measured.samples.sel(where).values.tolist(),
                    "samples, error": measured.samples_error.sel(where).values.tolist(),
                    "ceiling": measured.ceiling.sel(where).values.tolist(),
                    "score one height below": [
                        None if np.isnan(x) else float(x) for x in measured.below.sel(where).values
                    ],
                    "censored": int(measured.censored.sel(where).sum()),
                }
                for name, law in zip(_LAWS, laws, strict=True):
                    row[name] = float(law.exponent.sel(where))
                    row[f"{name}, two largest m"] = float(law.last_exponent.sel(where))
                    row[f"z, {name}"] = (row["exponent"][0] - row[name]) / row["exponent"][1]
                found[f"{learner}, height {h}"] = row
        both = results.compare(laws[0], measured).sel(source="simulation")
        found["resolved"] = {
            "exponent": measured.resolved_exponent.values.tolist(),
            "error": measured.resolved_exponent_error.values.tolist(),
            "theory": laws[0].resolved_exponent.values.tolist(),
            "z of the numbers": both.resolved_z.values.tolist(),
        }
    if "validity" in measured:
        both = results.compare(laws[0], measured).sel(source="simulation")
        z = both.validity_z.sel(t=1.0)
        found["strings"] = {
            "largest z of validity from noise": float(abs(z).max()),
            "largest z of the gap": float(abs(both.gap_z).max()),
            "phases from noise": {
                str(i): measured.phase.sel(informed=i, t=1.0).values.tolist()
                for i in measured.informed.values
            },
            "whole strings valid": measured.validity.sel(level=0, t=1.0).values.tolist(),
            "right class": measured.right.sel(t=1.0).values.tolist(),
        }
    if "kernel_samples" in measured:
        for k in map(str, measured.kernel.values):
            found[f"kernel, {k}"] = {
                "exponent": _pair(measured, "kernel_exponent", kernel=k),
                "theory": float(laws[0].kernel_exponent.sel(kernel=k)),
                "samples": measured.kernel_samples.sel(kernel=k).values.tolist(),
                "error": measured.kernel_samples_error.sel(kernel=k).values.tolist(),
                "samples, theory": laws[0].kernel_samples.sel(kernel=k).values.tolist(),
            }
    return found


def table(found: dict[str, Any]) -> str:
    """Exponents of all learners and heights, beside the laws."""
    lines = []
    rows = {k: row for k, row in found.items() if "two largest m" in row}
    if rows:
        lines.append(f"{'exponent in m':>20} {'all m':>14} {'m^(h+2)':>9} {'coincid.':>9} "
                     f"{'two largest m':>14} {'coincid.':>9}")  # fmt: skip
    for name, row in rows.items():
        whole, last = (f"{x[0]:.2f} ± {x[1]:.2f}" for x in (row["exponent"], row["two largest m"]))
        lines.append(
            f"{name:>20} {whole:>14} {row['correlations']:>9.2f} {row['coincidences']:>9.2f} "
            f"{last:>14} {row['coincidences, two largest m']:>9.2f}"
        )
    if "strings" in found:
        for informed, names in found["strings"]["phases from noise"].items():
            lines.append(f"strings from noise, {informed}: {' -> '.join(names)}")
    return "\n".join(lines)


def closing(found: dict[str, Any]) -> str:
    """The closing line: exponents with errors against the law, validity, kernels."""
    words = []
    rows = [(k.split()[-1], row) for k, row in found.items() if k.startswith("clusters, ")]
    if rows:
        slopes = ", ".join(f"{r['exponent'][0]:.2f} ± {r['exponent'][1]:.2f}" for _, r in rows)
        laws = ", ".join(f"{r['correlations']:.0f}" for _, r in rows)
        near = ", ".join(f"{r['coincidences']:.2f}" for _, r in rows)
        worst = max(abs(r["z, next_token"]) for _, r in rows)
        ends = ", ".join(f"{r['two largest m'][0]:.2f}" for _, r in rows)
        words.append(
            f"cost grows as m to the {slopes} at heights {', '.join(h for h, _ in rows)} (two "
            f"largest m: {ends}; asymptotically {laws}, at these m {near} by coincidences; tokens "
            f"only rejected, |z| up to {worst:.0f})"
        )
    if "strings" in found:
        z = found["strings"]["largest z of the gap"]
        words.append(f"strings of truncated denoisers are valid as predicted, |z| <= {z:.1f}")
    for k in ("additive", "product"):
        if f"kernel, {k}" in found:
            row = found[f"kernel, {k}"]
            words.append(f"{k} kernel: slope {row['exponent'][0]:.2f} ± {row['exponent'][1]:.2f}"
                         f" (theory {row['theory']:.2f})")  # fmt: skip
    return "; ".join(words)
