r"""
Levels and noise levels: which representations are alike
========================================================

The beliefs of an exact model at every level of the hierarchy and every noise level are
representations of the same data.  Two measures say how alike they are: RSA, the rank correlation of
the distances between all pairs of data, and linear CKA (its unbiased estimate, 0 for independent
representations however wide).  Beside them stands the same with the true latents of each level:
what a noise level still shows of which level, without any probe.

Run it as ``python sims/representational_similarity.py --out DIR``; it takes seconds.
"""

# %%
# One task is one grammar: all pairs of (level, noise level), and of these with the latents.

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, GaussianNoise, results, studies
from hierdiff.checks import check_fields, listed, natural, one_level, whole
from hierdiff.data.rhm import affordable
from hierdiff.plots.backend import Figure, plt
from hierdiff.seeds import stream
from hierdiff.sims.estimators import standard_error
from hierdiff.sims.metrics.representation_geometry import linear_cka, representational_similarity
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import posterior

Array = NDArray[Any]
MEASURES = ("rsa", "cka")


def one_grammar(rhm: RHM, times: Array, data: int, seed: int, g: int) -> dict[str, Array]:
    """Similarity of beliefs [measure, level, t, level', t'] and with latents [.., level']."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise, features = GaussianNoise(rhm.v), []
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    for t in times:
        evidence = noise.evidence(noise.corrupt_with(truth.leaves, t, randoms), t)
        marginals = posterior(grammar, evidence, threads=1).marginals
        features.append([np.asarray(p).reshape(data, -1) for p in marginals])
    cells = [features[k][level] for level in range(rhm.L + 1) for k in range(len(times))]
    latents = [np.eye(rhm.v)[z].reshape(data, -1) for z in truth.levels]

    def measured(one: Array, other: Array) -> tuple[float, float]:
        return representational_similarity(one, other), linear_cka(one, other, unbiased=True)

    size = (len(cells), len(cells))
    maps, known = np.ones((2, *size)), np.empty((2, size[0], rhm.L + 1))
    for i, one in enumerate(cells):
        for j in range(i):
            maps[:, i, j] = maps[:, j, i] = measured(one, cells[j])
        known[:, i] = np.transpose([measured(one, z) for z in latents])
    shape = (rhm.L + 1, len(times))
    return {"beliefs": maps.reshape(2, *shape, *shape), "latents": known.reshape(2, *shape, -1)}


@dataclass(frozen=True)
class Similarity:
    """RSA and CKA between levels and noise levels of exact beliefs."""

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    t: tuple[float, ...] = (0.02, 0.2, 0.3, 0.4, 0.5, 0.8)
    """Noise levels of the Gaussian process, increasing."""
    data: int = 200
    """Data per grammar, at least 4."""
    grammars: int = 12
    """Random grammars."""
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

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            t=partial(listed, rule=one_level),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=4, high=10**5),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, draw, print."""
        folder = results.run_folder(self, "representational_similarity")
        ds = self.measure()
        results.save(ds, folder / "representational_similarity.nc")
        figure = draw(ds)
        figure.savefig(folder / "representational_similarity.png", dpi=160)
        plt.close(figure)
        print(table(ds))
        if self.summary:
            results.write_summary(self.summary, digest(ds), asdict(self))
        print(claim(ds))
        return (ds,)

    def measure(self) -> xr.Dataset:
        """Mean maps over grammars, with errors."""
        rhm, times = RHM(self.v, self.m, self.s, self.L), np.array(self.t)
        tasks = []
        for g in range(self.grammars):
            parameters = {
                "version": 1, "question": "representational similarity", "v": self.v,
                "m": self.m, "s": self.s, "L": self.L, "t": list(self.t), "data": self.data,
                "seed": self.seed, "grammar": g,
            }  # fmt: skip
            tasks.append(Task(one_grammar, (rhm, times, self.data, self.seed, g), parameters))
        found = run_tasks(tasks, self.out / "tasks", workers=self.workers, name="similarity")
        cell, variables = ("level", "t"), {}
        other = {"beliefs": ("level_b", "t_b"), "latents": ("latent",)}
        for name, dims in other.items():
            values = np.stack([f[name] for f in found])
            # a similarity that has no value in a grammar (no distances) has no error either
            mean = values.mean(axis=0)
            error = standard_error(np.nan_to_num(values)) + 0 * mean
            text = f"similarity to {name}"
            variables[name] = (("measure", *cell, *dims), mean, text)
            variables[f"{name}_error"] = (("measure", *cell, *dims), error, "its standard error")
        levels = np.arange(self.L + 1)
        coords = {
            "measure": (("measure",), list(MEASURES), "RSA or unbiased linear CKA"),
            "level": (("level",), levels, "level, root = 0"),
            "t": (("t",), times, "noise level"),
            "level_b": (("level_b",), levels, "level of the other"),
            "t_b": (("t_b",), times, "noise level of the other"),
            "latent": (("latent",), levels, "level of the true latents"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))


# %%
# The table, its digest, and the figure.


def table(ds: xr.Dataset) -> str:
    """RSA of each level's beliefs with its own latents, per noise level."""
    lines = [f"{'level':>6}" + "".join(f"{f't = {t:g}':>16}" for t in ds.t.values)]
    for level in ds.level.values:
        one = ds.sel(measure="rsa", level=level, latent=level)
        cells = zip(one.latents.values, one.latents_error.values, strict=True)
        lines.append(f"{level:>6}" + "".join(f"{f'{a:.3f} ± {e:.3f}':>16}" for a, e in cells))
    return "\n".join(lines)


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """RSA with the latents of the same level."""
    own = [ds.sel(measure="rsa", level=k, latent=k) for k in ds.level.values]
    return {"t": ds.t.values.tolist(), "rsa": [x.latents.values.tolist() for x in own],
            "error": [x.latents_error.values.tolist() for x in own]}  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """The closing line: which level is still shown at which noise."""
    found = digest(ds)
    best = np.array(found["rsa"]).argmax(axis=0)
    words = ", ".join(f"level {k} at t = {t:g}" for k, t in zip(best, found["t"], strict=True))
    first, last = found["rsa"][0], found["rsa"][-1]
    return (
        f"beliefs resemble their own latents most at {words}; the class falls from "
        f"{first[0]:.3f} ± {found['error'][0][0]:.3f} to {first[-1]:.3f} ± "
        f"{found['error'][0][-1]:.3f}, the leaves from {last[0]:.3f} ± {found['error'][-1][0]:.3f} "
        f"to {last[-1]:.3f} ± {found['error'][-1][-1]:.3f}"
    )


def draw(ds: xr.Dataset) -> Figure:
    """Maps of both measures, and the beliefs against their own latents."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    count, times = ds.sizes["level"], ds.sizes["t"]
    for ax, measure in zip(axes, MEASURES, strict=False):
        square = ds.beliefs.sel(measure=measure).values.reshape(count * times, -1)
        image = ax.imshow(square, vmin=0, vmax=1, cmap="magma")
        ticks = np.arange(count) * times + (times - 1) / 2
        ax.set_xticks(ticks, [f"level {k}" for k in ds.level.values], fontsize=7)
        ax.set_yticks(ticks, [f"level {k}" for k in ds.level.values], fontsize=7)
        for edge in np.arange(1, count) * times - 0.5:
            ax.axhline(edge, color="w", lw=0.5)
            ax.axvline(edge, color="w", lw=0.5)
        ax.set_title(f"{measure.upper()}; noise grows inside each block", fontsize=9)
        figure.colorbar(image, ax=ax, shrink=0.8)
    for level in ds.level.values:
        one = ds.sel(measure="rsa", level=level, latent=level)
        colour = plt.get_cmap("viridis")(level / count)
        axes[2].errorbar(ds.t, one.latents, one.latents_error, fmt="o-", ms=3, lw=0.8,
                         color=colour, label=f"level {level}")  # fmt: skip
    axes[2].set(xlabel="noise level t (gaussian process)", ylabel="RSA with the true latents")
    axes[2].legend(fontsize=7, frameon=False)
    axes[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    measured = studies.execute(lambda: tyro.cli(Similarity))

    # %%
    # The class is shown or not, at once; the leaves fade.

    figure = draw(*measured)
