r"""
Two worlds on one axis: hierarchy against mixtures
==================================================

Both worlds lose their class under Gaussian noise, and both can be put on the axis of the
signal-to-noise ratio.  In the Random Hierarchy Model the class is lost at a ratio that does not
depend on the depth, ever more sharply, and with the class go all levels above the leaves.  In a
mixture of Gaussians the classes part at the speciation time: at a ratio that falls as the dimension
grows, like :math:`1/\sqrt d` for subspaces of equal (zero) mean, like :math:`1/d` for separated
means, where the spectral criterion :math:`\Lambda e^{-2t} = 1` sees it; without means it sees
nothing, and the free-entropy criterion (mean = fluctuation of the log-likelihood ratio) does.

Run it as ``python sims/two_worlds.py --out DIR``; it takes about half a minute, and resumes.
"""

# %%
# The same experiment object measures both worlds.

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray

from hierdiff import GaussianNoise, results, studies
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.mixture import LowRankMixture
from hierdiff.plots.backend import Figure, plt
from hierdiff.sims import PhaseTransition
from hierdiff.theory import critical_level
from hierdiff.theory.exact_mixture import ExactMixture
from hierdiff.theory.speciation import speciation_time

Array = NDArray[Any]


def subspaces(rank: int) -> LowRankMixture:
    """Two orthogonal subspaces of unit variance and mean zero."""
    return LowRankMixture.random(2 * rank, rank, 2, delta=0.2, seed=0)


def clouds(dim: int) -> LowRankMixture:
    """Two isotropic clouds of unit variance with means at distance sqrt(d) from the centre."""
    means = np.stack([np.ones(dim), -np.ones(dim)])
    return LowRankMixture([np.eye(dim)] * 2, means=means)


WORLDS = {"subspaces": subspaces, "clouds": clouds}


@dataclass(frozen=True)
class TwoWorlds:
    """Loss of the class against the signal-to-noise ratio, in grammars and in mixtures."""

    depths: tuple[int, ...] = (4, 7, 10)
    """Depths of the grammars, (v, m, s) = (32, 8, 2)."""
    dims: tuple[int, ...] = (10, 40, 160)
    """Ranks of the subspaces, and dimensions of the clouds."""
    grammars: int = 12
    """Random grammars per depth."""
    data: int = 24
    """Data per grammar."""
    points: int = 1500
    """Data per mixture."""
    levels: int = 41
    """Noise levels."""
    seed: int = 0
    """Seed of everything random."""
    out: Path = Path("out")
    """Folder for the result, the figure and the finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, draw, print."""
        if min((*self.depths, *self.dims)) < 1 or self.grammars < 2 or self.points < 2:
            raise InvalidParameter(
                f"depths = {self.depths}, dims = {self.dims} must be positive, grammars = "
                f"{self.grammars} and points = {self.points} at least 2"
            )
        folder = results.run_folder(self, "two_worlds")
        ds = self.measure()
        results.save(ds, folder / "two_worlds.nc")
        figure = draw(ds)
        figure.savefig(folder / "two_worlds.png", dpi=160)
        plt.close(figure)
        print(table(ds))
        if self.summary:
            self.summary.write_text(json.dumps(digest(ds), indent=1) + "\n")
        print(claim(ds))
        return (ds,)

    def measure(self) -> xr.Dataset:
        """Class above chance against the SNR, and the SNR at which half of it is lost."""
        options: dict[str, Any] = {"folder": self.out / "tasks", "workers": self.workers}
        parts, names, sizes = [], [], []
        for L in self.depths:
            experiment = PhaseTransition(
                noise="gaussian", L=L, grammars=self.grammars, data=self.data,
                levels=self.levels, refine=0, seed=self.seed,
            )  # fmt: skip
            parts.append(_summary(experiment.measure(**options), 1 / experiment.v))
            names.append("grammar")
            sizes.append(L)
        critical = critical_level(experiment.rhm, experiment.process, size=2000, copies=4)
        theory = [float(critical.snr or np.nan)] * len(self.depths)
        spectral = [np.nan] * len(self.depths)
        for name, make in WORLDS.items():
            for d in self.dims:
                mixture = make(d)
                experiment = PhaseTransition(
                    noise="gaussian", data=self.points, levels=self.levels, refine=0,
                    seed=self.seed,
                )  # fmt: skip
                model = ExactMixture(mixture, GaussianNoise())
                parts.append(_summary(experiment.measure(model, **options), 0.5))
                names.append(name)
                sizes.append(d)
                theory.append(_speciation(mixture, "free_entropy"))
                spectral.append(_speciation(mixture, "spectral"))
        one, plane = ("world",), ("world", "t")
        stacked = [np.stack([p[i] for p in parts]) for i in range(4)]
        variables = {
            "kept": (plane, stacked[0], "class above chance, 1 is certain"),
            "kept_error": (plane, stacked[1], "its standard error"),
            "half": (one, stacked[2], "SNR at which half of it is lost"),
            "half_error": (one, stacked[3], "its standard error"),
            "theory": (one, theory, "density evolution, or free-entropy speciation, as SNR"),
            "spectral": (one, spectral, "spectral speciation as SNR, NaN where it sees nothing"),
        }
        times = np.linspace(0, 1, self.levels)
        coords = {
            "name": (one, names, "world"),
            "size": (one, sizes, "depth, or rank or dimension"),
            "t": (("t",), times, "noise level, cosine schedule"),
            "snr": (("t",), GaussianNoise().snr(times), "signal-to-noise ratio"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))


def _speciation(mixture: LowRankMixture, criterion: Literal["spectral", "free_entropy"]) -> float:
    try:
        return float(speciation_time(mixture, criterion).snr)
    except NoTransition:
        return np.nan


def _summary(ds: xr.Dataset, chance: float) -> tuple[Array, Array, float, float]:
    """Curve above chance with errors, and where it is one half, as SNR with an error."""
    scale, t = 1 / (1 - chance), ds.t.values
    kept = (ds.belief[0].values - chance) * scale
    data = (ds.class_belief.values - chance) * scale
    error = data.mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(data)) if len(data) > 1 else (
        data[0].std(axis=0, ddof=1) / np.sqrt(data.shape[1])
    )  # fmt: skip
    place = float(np.interp(-0.5, -kept, t))
    slope = float(np.interp(place, t, np.gradient(kept, t)))
    doubt = float(np.interp(place, t, error)) / abs(slope)
    noise = GaussianNoise()
    low, here, high = (float(noise.snr(place + d)) for d in (doubt, 0.0, -doubt))
    return kept, error, here, (high - low) / 2


# %%
# The table, its digest for the manual, and the figure.


def table(ds: xr.Dataset) -> str:
    """A row per world and size."""
    lines = [f"{'world':<10}{'size':>6}{'half lost at SNR':>20}{'theory':>10}{'spectral':>10}"]
    for x in (ds.isel(world=i) for i in range(ds.sizes["world"])):
        half = f"{float(x.half):.4f} ± {float(x.half_error):.4f}"
        lines.append(
            f"{x.name.item():<10}{int(x['size']):>6}{half:>20}{float(x.theory):>10.4f}"
            f"{float(x.spectral):>10.4f}"
        )
    return "\n".join(lines)


def digest(ds: xr.Dataset) -> list[dict[str, Any]]:
    """What the manual quotes."""
    return [
        {"name": x.name.item(), "size": int(x["size"]), "theory": float(x.theory),
         "half": [float(x.half), float(x.half_error)]}
        for x in (ds.isel(world=i) for i in range(ds.sizes["world"]))
    ]  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """The closing line: how the place of the loss moves with the size of each world."""
    words = []
    for name in ("grammar", *WORLDS):
        x = ds.isel(world=np.flatnonzero(ds.name.values == name))
        first, last = float(x.half[0]), float(x.half[-1])
        words.append(
            f"{name} at SNR {first:.3g} to {last:.3g} ± {float(x.half_error[-1]):.1g} from size "
            f"{int(x['size'][0])} to {int(x['size'][-1])} (theory {float(x.theory[-1]):.3g})"
        )
    return "class lost: " + "; ".join(words)


def draw(ds: xr.Dataset) -> Figure:
    """A panel per world."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained", sharey=True)
    inside = slice(1, -1)  # SNR infinity and zero have no place on a logarithmic axis
    for ax, name in zip(axes, ("grammar", *WORLDS), strict=True):
        x = ds.isel(world=np.flatnonzero(ds.name.values == name))
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, x.sizes["world"]))
        for i, colour in enumerate(colours):
            one = x.isel(world=i)
            ax.errorbar(ds.snr[inside], one.kept[inside], one.kept_error[inside], color=colour,
                        fmt="o-", ms=2.5, lw=0.8, label=f"{int(one['size'])}")  # fmt: skip
            ax.axvline(float(one.theory), color=colour, ls="--", lw=0.8)
            if np.isfinite(one.spectral):
                ax.axvline(float(one.spectral), color=colour, ls=":", lw=1)
        ax.set(xscale="log", xlim=(1e3, 2e-3), xlabel="signal-to-noise ratio", title=name)
        ax.legend(title="depth" if name == "grammar" else "rank d" if name == "subspaces" else
                  "dimension d", fontsize=7, frameon=False, title_fontsize=7)  # fmt: skip
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("belief in the class above chance")
    return figure


if __name__ == "__main__":
    measured = studies.execute(lambda: tyro.cli(TwoWorlds))

    # %%
    # Dashed: density evolution (grammars) and free-entropy speciation (mixtures); dotted: the
    # spectral criterion, where it applies.

    figure = draw(*measured)
