r"""Linear probes of every layer of a network at every noise level, beside exact features.

A probe (ridge regression on one-hot labels) is fitted on noisy data and read on others at the same
level t: once with all data, once with a few per class, where its capacity counts.  Whether a curve
rises before it falls is decided without picking the maximum from the same numbers:

.. math:: \text{rise} = \tfrac12 \sum_{h} \big[a_{\bar h}(t^*_h) - a_{\bar h}(t_{min})\big],
   \qquad t^*_h = \arg\max_{t > t_{min}} a_h(t),

where the test data are cut into halves h, the peak is sought in one half and read, paired, in the
other :math:`\bar h`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from hierdiff import results
from hierdiff.contracts import DiffusionModel
from hierdiff.seeds import stream
from hierdiff.sims.estimators import student_error
from hierdiff.sims.probes import ridge_probe
from hierdiff.validation.figures.representation import probe_curves
from hierdiff.validation.studies._probe_worlds import (
    ProbeFlags,
    World,
    digit_world,
    photographs,
    rhm_world,
)
from hierdiff.validation.studies._summary import write_summary

__all__ = ["PROBE_LEVELS", "ProbeCurves", "Rise", "rise_of"]

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = dict[tuple[str, str], tuple[Array, Array]]
"""By model and layer: whether data are read rightly, [network, fit, t, n], by either probe."""

PROBE_LEVELS = (0.005, 0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6)
_KINDS = ("all", "few")
_RIDGE = 10.0
_REPEATS = 20


class Rise(NamedTuple):
    """Accuracy at the peak minus at the lowest level, its error, and where the peak is."""

    rise: float
    error: float
    peak: float


def rise_of(right: Array, t: Array, seed: int = 0) -> Rise:
    """Rise of a curve above its value at the lowest level, free of selection.

    Parameters
    ----------
    right : array [network, fit, t, n]
        Whether a probe, one of several fits, was right on each datum.
    t : array [t]
        Increasing noise levels, at least two.
    seed : int
        Names the halves.

    Returns
    -------
    Rise
        The error counts data and, with two or more of them, networks and fits; the peak is that of
        all data, the lowest level included.

    Notes
    -----
    Validity: each half decides where the other is read, so a flat curve has rise 0 in the mean.

    Examples
    --------
    >>> right = np.zeros((1, 1, 3, 100))
    >>> right[..., 0, :40] = right[..., 1, :70] = 1
    >>> rise_of(right, np.array([0.1, 0.2, 0.3]))[::2]
    (0.3, 0.2)
    """
    order = stream(seed, "halves").permutation(right.shape[3])
    halves = np.array_split(order, 2)
    gains, variances = [], []
    single = np.zeros(right.shape[:2])  # [network, fit]
    for here, there in (halves, halves[::-1]):
        best = 1 + int(right[:, :, 1:, here].mean(axis=(0, 1, 3)).argmax())
        paired = right[:, :, best, there].astype(float) - right[:, :, 0, there]
        per_datum = paired.mean(axis=(0, 1))
        gains.append(float(per_datum.mean()))
        variances.append(float(per_datum.var(ddof=1)) / len(there) / 4)
        single += paired.mean(axis=2) / 2
    for other in (0, 1):
        values = single.mean(axis=other)
        if len(values) > 1:
            variances.append(float(student_error(values)) ** 2)
    peak = float(t[int(right.mean(axis=(0, 1, 3)).argmax())])
    error = max(float(np.sqrt(sum(variances))), 1 / right.shape[3])
    return Rise(round(float(np.mean(gains)), 12), error, peak)


@dataclass(frozen=True)
class ProbeCurves:
    """The part of ``NetworkRepresentation`` on strings, digits and photographs."""

    flags: ProbeFlags
    t: tuple[float, ...] = PROBE_LEVELS
    few: int = 5

    def main(self, folder: Path, summary: Path | None) -> tuple[xr.Dataset, ...]:
        """Run, save, print the claim."""
        build = {"rhm": rhm_world, "digits": digit_world}.get(self.flags.model, photographs)
        world = build(self.flags, folder)
        readers: list[tuple[str, Sequence[DiffusionModel], str]] = [
            (name, (model,), "simulation" if name.startswith("mem") else "theory")
            for name, model in world.beside.items()
        ]
        readers += [(_named(size), models, "network") for size, models in world.networks.items()]
        rows: Rows = {}
        for name, models, _ in tqdm(readers, "probes", disable=None):
            for layer, right in self._read(world, models).items():
                rows[name, layer] = right
        ds = self._label(rows)
        results.save(ds, folder / "representation.nc")
        figure = probe_curves(ds)
        figure.savefig(folder / "representation.png", dpi=160)
        plt.close(figure)
        print(_table(ds))
        print(f"wrote {folder / 'representation.nc'} and {folder / 'representation.png'}")
        said = _claims(ds, rows, np.array(self.t), self.flags.seed)
        closing = _closing(said)
        if summary:
            write_summary(summary, said, closing, self.flags.device)
        print(closing)
        return (ds,)

    def _read(
        self, world: World, models: Sequence[DiffusionModel]
    ) -> dict[str, tuple[Array, Array]]:
        """Whether each test datum is read rightly, by layer."""
        y = [half[1] for half in (world.fit, world.test)]
        found: dict[str, list[list[tuple[Array, Array]]]] = {}
        for model in models:
            one: dict[str, list[tuple[Array, Array]]] = {}
            for t in self.t:
                pair = [self._features(world, model, which, t) for which in (0, 1)]
                for layer in pair[0]:
                    right = self._probed(pair[0][layer], y[0], pair[1][layer], y[1])
                    one.setdefault(layer, []).append(right)
            for layer, levels in one.items():
                found.setdefault(layer, []).append(levels)
        return {
            k: cast(tuple[Array, Array], tuple(
                np.array([[level[kind] for level in levels] for levels in x]).swapaxes(1, 2)
                for kind in (0, 1)))
            for k, x in found.items()
        }  # fmt: skip

    def _features(
        self, world: World, model: DiffusionModel, which: int, t: float
    ) -> dict[str, Array]:
        x_t = world.noisy(which, t, self.flags.seed)
        inside = model.source == "network"
        seen = x_t if inside or not world.flat else x_t.reshape(len(x_t), -1)
        layers = model.features(seen, t) if inside or not world.flat else {}
        if model.source == "simulation":
            layers = {}  # a memorising model has no layers but its output
        every = {**layers, "output": model.denoise(seen, t)}
        return {k: np.asarray(f).reshape(len(x_t), -1) for k, f in every.items()}

    def _probed(self, fit: Array, y_fit: Array, test: Array, y_test: Array) -> tuple[Array, Array]:
        """Right or wrong by a probe on all data [1, n], and by probes on a few [fits, n]."""
        every = ridge_probe(fit, y_fit, ridge=_RIDGE).predict(test) == y_test
        small = []
        for repeat in range(_REPEATS):
            rows = _few(y_fit, self.few, stream(self.flags.seed, "few", repeat))
            probe = ridge_probe(fit[rows], y_fit[rows], ridge=_RIDGE)
            small.append(probe.predict(test) == y_test)
        return every[None], np.array(small)

    def _label(self, rows: Rows) -> xr.Dataset:
        shape = (len(_KINDS), len(rows), len(self.t))
        mean, error = np.empty(shape), np.empty(shape)
        for i, kinds in enumerate(rows.values()):
            for kind, right in enumerate(kinds):
                mean[kind, i], error[kind, i] = _mean(right)
        dims = ("probe", "row", "t")
        text = "accuracy of a linear probe for the class"
        variables: dict[str, Any] = {
            "accuracy": (dims, mean, text),
            "accuracy_error": (dims, error, f"standard error of: {text}"),
        }
        coords: dict[str, Any] = {
            "probe": (("probe",), list(_KINDS), f"fitted on all data, or {self.few} per class"),
            "row": (("row",), [f"{a}: {b}" for a, b in rows], "model and layer"),
            "reader": (("row",), [a for a, _ in rows], "model"),
            "layer": (("row",), [b for _, b in rows], "layer"),
            "t": (("t",), list(self.t), "noise level t of the gaussian process"),
        }
        parameters = asdict(self.flags)
        return results.label(variables, coords, "network", results.provenance(parameters))


def _mean(right: Array) -> tuple[Array, Array]:
    """Accuracy [t], with the error over data, networks and fits."""
    variance = right.mean(axis=(0, 1)).var(axis=1, ddof=1) / right.shape[3]
    for axis in (0, 1):
        values = right.mean(axis=(1 - axis, 3))  # [network or fit, t]
        if len(values) > 1:
            variance = variance + student_error(values) ** 2
    return right.mean(axis=(0, 1, 3)), np.sqrt(variance)


def _named(size: int) -> str:
    return f"network, N = {size}" if size else "network"


def _few(labels: Array, count: int, rng: np.random.Generator) -> Array:
    """Rows of a few data of every class."""
    order = rng.permutation(len(labels))
    parts = [order[labels[order] == k][:count] for k in np.unique(labels)]
    return np.concatenate(parts)


def _claims(ds: xr.Dataset, rows: Rows, t: Array, seed: int) -> dict[str, Any]:
    """Rise of every row by both probes, peaks, and rank correlation with the exact curve."""
    exact = ("exact", "output")
    found: dict[str, Any] = {"t": t.tolist(), "rows": {}}
    for (reader, layer), right in rows.items():
        for i, kind in enumerate(_KINDS):
            one = rise_of(right[i], t, seed)
            curve = right[i].mean(axis=(0, 1, 3))
            low = [float(x[0]) for x in _mean(right[i])]
            said = {"rise": [one.rise, one.error], "peak at": one.peak, "curve": curve.tolist(),
                    "at lowest": low}  # fmt: skip
            if exact in rows:
                law = rows[exact][i].mean(axis=(0, 1, 3))
                said["rank correlation"] = float(stats.spearmanr(curve, law).statistic)
                said["exact peak at"] = rise_of(rows[exact][i], t, seed).peak
            found["rows"].setdefault(f"{reader}: {layer}", {})[kind] = said
    for name, what in (("apart", "rise"), ("apart at lowest", "at lowest")):
        found[name] = {kind: _apart(found["rows"], kind, what) for kind in _KINDS}
    return found


def _apart(rows: dict[str, Any], kind: str, what: str) -> list[Any]:
    """The layer in which the first network and the last differ most, and by how much."""
    networks = [k for k in rows if k.startswith("network")]
    readers = list(dict.fromkeys(k.split(": ")[0] for k in networks))
    best: list[Any] = []
    for name in networks:
        reader, layer = name.split(": ")
        first = f"{readers[0]}: {layer}"
        if reader != readers[-1] or reader == readers[0] or first not in rows:
            continue
        (a, da), (b, db) = rows[name][kind][what], rows[first][kind][what]
        one = [a - b, float(np.hypot(da, db)), layer]
        if not best or abs(one[0]) / one[1] > abs(best[0]) / best[1]:
            best = one
    return best


def _table(ds: xr.Dataset) -> str:
    """Accuracy of every row at every level, by the probe on all data."""
    width = max(len(str(x)) for x in ds.row.values)
    lines = [f"{'':{width}} " + " ".join(f"{t:>6g}" for t in ds.t.values)]
    for kind in ds.probe.values:
        lines.append(f"probe on {kind} data" if kind == "all" else f"probe on a {kind}")
        for name in ds.row.values:
            one = ds.accuracy.sel(row=name, probe=kind).values
            lines.append(f"{name!s:{width}} " + " ".join(f"{a:6.3f}" for a in one))
    return "\n".join(lines)


def _closing(said: dict[str, Any]) -> str:
    """The closing line: which layers rise before they fall, and how far networks differ."""
    return "; ".join(_sentence(said, kind) for kind in _KINDS)


def _sentence(said: dict[str, Any], kind: str) -> str:
    rows = {k: x[kind] for k, x in said["rows"].items()}
    words = []
    for reader in dict.fromkeys(k.split(": ")[0] for k in rows):
        mine = {k.split(": ")[1]: x for k, x in rows.items() if k.startswith(f"{reader}: ")}
        risen = sum(x["rise"][0] > 3 * x["rise"][1] for x in mine.values())
        layer, most = max(mine.items(), key=lambda kx: kx[1]["rise"][0] / kx[1]["rise"][1])
        words.append(
            f"{reader} rises before it falls in {risen} of {len(mine)} curves (clearest "
            f"{layer}, {most['rise'][0]:+.3f} ± {most['rise'][1]:.3f}, peak at t = "
            f"{most['peak at']:g})"
        )
    start = f"probe on {'all' if kind == 'all' else 'few'} data: "
    if said["apart"][kind]:
        gap, error, layer = said["apart"][kind]
        words.append(f"rises of the networks differ most in {layer}, by {gap:+.3f} ± {error:.3f}")
        gap, error, layer = said["apart at lowest"][kind]
        words.append(f"their accuracy at t = {said['t'][0]:g} most in {layer}, by {gap:+.3f} ± "
                     f"{error:.3f}")  # fmt: skip
    ranks = [x["rank correlation"] for k, x in rows.items()
             if k.startswith("network") and "rank correlation" in x]  # fmt: skip
    if ranks:
        words.append(f"rank correlation of networks with the exact curve {min(ranks):.2f} to "
                     f"{max(ranks):.2f}")  # fmt: skip
    return start + ", ".join(words)
