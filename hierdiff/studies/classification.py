"""The study of classification: what a denoiser that is told the class knows about the class."""

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
from hierdiff.plots.classification import accuracy_table, classification_figure
from hierdiff.sims.classification import Classification

__all__ = ["ClassificationStudy"]


@dataclass(frozen=True)
class ClassificationStudy:
    """Accuracy of a denoising-error classifier against budget and weight, beside Bayes' ceiling.

    Draws random grammars with soft leaves, whose class denoisers are exact, and classifies their
    data by denoising errors with every published weight; beside it stand the limit laws of the
    scores.  Writes classification.nc, classification_theory.nc and classification.png.
    """

    experiment: tyro.conf.OmitArgPrefixes[Classification] = field(default_factory=Classification)
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
        """Run the study; returns the limit laws and the measurement."""
        folder = results.run_folder(self, "classification", "classification_theory")
        tasks = results.task_folder(folder, "classification", self.resume)
        options: dict[str, Any] = {
            "folder": tasks, "workers": self.workers, "cluster": self.cluster,
        }  # fmt: skip
        measured = self.experiment.measure(**options)
        theory = self.experiment.predict(**options)
        results.save(theory, folder / "classification_theory.nc")
        results.save(measured, folder / "classification.nc")
        figure = classification_figure(theory, measured)
        figure.savefig(folder / "classification.png", dpi=160)
        plt.close(figure)
        print(accuracy_table(theory, measured))
        print(f"wrote {folder / 'classification.nc'} and {folder / 'classification.png'}")
        found = claims(self.experiment, theory, measured)
        if self.summary:
            results.write_summary(self.summary, found, asdict(self.experiment))
        print(closing(found))
        return theory, measured


def claims(experiment: Classification, theory: xr.Dataset, measured: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    last = int(measured.budget[-1])
    found: dict[str, Any] = {
        "grammars": experiment.grammars,
        "data": experiment.data,
        "budget": last,
        "bayes": _pair(measured, "bayes"),
        "bayes hit": _pair(measured, "bayes_hit"),
        "accuracy": _grid(measured, "accuracy", "budget"),
        "unshared": _grid(measured, "unshared", "own_budget"),
        "limit law": _grid(theory, "accuracy", "budget"),
        "limit law, unshared": _grid(theory, "unshared", "own_budget"),
        "z": _paired_z(theory, measured),
        "single": {
            f"{t:g}": _pair(measured.sel(level=t), "single") for t in measured.level.values
        },
        "information": {
            f"{t:g}": _pair(measured.sel(level=t), "information") for t in measured.level.values
        },
        "best time": float(measured.level[int(measured.single.values.argmax())]),
        "best time by grammar": [
            float(measured.level[i]) for i in measured.single_by_grammar.values.argmax(axis=1)
        ],
        "levels": {
            int(i): [*_pair(measured.sel(tree_level=i), "level_accuracy"),
                     float(measured.level_bayes.sel(tree_level=i))]
            for i in measured.tree_level.values
        },
    }  # fmt: skip
    for name in ("pruned", "pruned_calls", "calls_right", "calls_wrong", "staged", "staged_calls",
                 "auc_calls", "auc_softmax", "ece_calls", "ece_softmax"):  # fmt: skip
        if name in measured:
            found[name] = _pair(measured, name)
    # paired within grammars, because all weights see the same samples
    for name in map(str, measured.weighting.values):
        gap = measured.accuracy_by_grammar.sel(weighting=name).isel(budget=-1)
        gap = gap - measured.bayes_by_grammar
        found[f"{name} minus bayes"] = [
            float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(gap.size)),
        ]  # fmt: skip
    return found


def _paired_z(theory: xr.Dataset, measured: xr.Dataset) -> dict[str, float]:
    """Largest score of the limit law against the measurement, from N = 30 on.

    Both speak of the same grammars and data, so it is the difference that has an error.
    """
    found = {}
    for name, dim in (("accuracy", "budget"), ("unshared", "own_budget")):
        gap = measured[f"{name}_by_grammar"] - theory[f"{name}_by_grammar"]
        gap = gap.sel({dim: gap[dim] >= 30})
        if gap.size:
            error = gap.std("grammar", ddof=1) / np.sqrt(gap.sizes["grammar"])
            found[name] = float(np.abs(gap.mean("grammar") / error).max())
    return found


def _pair(ds: xr.Dataset, name: str) -> list[float]:
    return [float(ds[name]), float(ds[f"{name}_error"])]


def _grid(ds: xr.Dataset, name: str, dim: str) -> dict[str, dict[str, list[float]]]:
    return {
        str(w): {f"{n}": _pair(ds.sel({"weighting": w, dim: n}), name) for n in ds[dim].values}
        for w in ds.weighting.values
    }


def closing(found: dict[str, Any]) -> str:
    """The closing line: how near each weight comes to Bayes, and what noise sharing is worth."""
    n = found["budget"]
    words = [
        f"{name} {found['accuracy'][name][str(n)][0]:.3f} ± "
        f"{found['accuracy'][name][str(n)][1]:.3f}"
        for name in found["accuracy"]
    ]
    text = (
        f"Bayes {found['bayes'][0]:.3f} ± {found['bayes'][1]:.3f}; at N = {n}: {', '.join(words)}"
    )
    if "vdm minus bayes" in found:
        gap, error = found["vdm minus bayes"]
        text += f"; vdm minus Bayes {gap:+.3f} ± {error:.3f} (z = {gap / max(error, 1e-12):.1f})"
    if found["z"].get("accuracy"):
        text += f"; limit law from N = 30 on to |z| <= {found['z']['accuracy']:.1f}"
    shared = [b for b in found["unshared"].get("exp", {}) if b in found["accuracy"]["exp"]]
    if shared:
        b = shared[-1]
        alone = found["unshared"]["exp"][b]
        text += f"; exp at N = {b} with unshared noise {alone[0]:.3f} ± {alone[1]:.3f}"
    if "calls_right" in found and "calls_wrong" in found:
        text += (
            f"; best single time {found['best time']:g}; calls per class "
            f"{found['calls_right'][0]:.0f} ± {found['calls_right'][1]:.0f} when right, "
            f"{found['calls_wrong'][0]:.0f} ± {found['calls_wrong'][1]:.0f} when wrong"
        )
    return text
