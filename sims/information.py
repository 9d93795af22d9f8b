r"""
Information: what noisy data say about each level
=================================================

The exact evidence of belief propagation gives the mutual information between a noisy datum and all
latents of a level, without any approximation.  Two identities then tie its derivative to what a
denoiser does at one noise level:

.. math::
   -\frac{dI}{dt} = \sum_i H(x_i \mid \text{unmasked others}) \ \text{(masking)}, \qquad
   \frac{dI}{d\,snr} = \tfrac12 E |x_0 - E[x_0 \mid x_t]|^2 \ \text{(Gaussian, I-MMSE)}

Points below are differences of information over an interval of noise, divided by its length; lines
are the identities, averaged over the same interval.  The data and the random numbers of both sides
are the same, so their difference has an error far below that of either.  Run it as
``python sims/information.py --out DIR``; it takes about ten seconds.
"""

# %%
# One task is one grammar and one process: information per level at the ends of all intervals, and
# the integral of the slope over each interval by three points of Gauss and Legendre.

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, GaussianNoise, MaskingNoise, results, studies
from hierdiff.checks import check_fields, natural, whole
from hierdiff.data.rhm import affordable
from hierdiff.plots.backend import Figure, plt
from hierdiff.seeds import stream
from hierdiff.sims.estimators import nested_mean, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import denoise_symbols
from hierdiff.theory.rhm.information import (
    pointwise_entropy,
    pointwise_information,
    pointwise_slope,
)

Array = NDArray[Any]
RESOLVED = 20  # effective data that a z-score needs
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(3)


def one_grammar(rhm: RHM, process: str, ends: Array, data: int, seed: int, g: int) -> dict:
    """Information [datum, end, level], mean slope [datum, interval], entropy [datum, level]."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = MaskingNoise(rhm.v) if process == "masking" else GaussianNoise(rhm.v)
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))

    def seen(level: float) -> tuple[Array, float]:
        t = float(noise.level(level)) if isinstance(noise, GaussianNoise) else float(level)
        return noise.corrupt_with(truth.leaves, t, randoms), t

    def slope(level: float) -> Array:
        x_t, t = seen(level)
        if isinstance(noise, GaussianNoise):
            mean = denoise_symbols(grammar, noise, x_t, t)
            return 0.5 * (1 - (mean**2).sum(axis=2)).sum(axis=1)
        return pointwise_slope(grammar, noise, x_t, t)

    said = [pointwise_information(grammar, noise, *seen(level), truth) for level in ends]
    slopes = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        points = (a + b) / 2 + (b - a) / 2 * POINTS
        slopes.append(sum(w / 2 * slope(x) for w, x in zip(WEIGHTS, points, strict=True)))
    entropy = [pointwise_entropy(grammar, truth, level) for level in range(grammar.L + 1)]
    return {
        "information": np.stack(said, axis=1),
        "slope": np.stack(slopes, axis=1),
        "entropy": np.stack(entropy, axis=1),
    }


def effective(gap: Array) -> Array:
    """Data over the kurtosis of their differences [data, interval].

    At high signal-to-noise ratio a few rare data carry everything; a z-score of fewer than about 20
    of them is not normal, and says nothing.
    """
    centred = gap - gap.mean(axis=0)
    fourth = (centred**4).mean(axis=0)
    return len(gap) * (centred**2).mean(axis=0) ** 2 / np.where(fourth > 0, fourth, 1)


# %%
# The study: both processes, all grammars, with progress and resume.


@dataclass(frozen=True)
class Information:
    """Mutual information per level against noise, and the identities for its derivative."""

    v: int = 16
    """Symbols per level."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 7
    """Depth."""
    grammars: int = 8
    """Random grammars."""
    data: int = 96
    """Data per grammar."""
    intervals: int = 14
    """Intervals of the noise level."""
    seed: int = 0
    """Seed of everything random."""
    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**8),
            intervals=partial(whole, low=2, high=10**5),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, draw, print."""
        folder = results.run_folder(self, "information_*")
        masking = self.measure("masking", np.linspace(0, 1, self.intervals + 1))
        gaussian = self.measure("gaussian", np.geomspace(0.25, 32, self.intervals + 1))
        for name, ds in (("masking", masking), ("gaussian", gaussian)):
            results.save(ds, folder / f"information_{name}.nc")
        figure = draw(masking, gaussian)
        figure.savefig(folder / "information.png", dpi=160)
        plt.close(figure)
        print(table(masking))
        print(claim(masking, gaussian))
        return masking, gaussian

    def measure(self, process: str, ends: Array) -> xr.Dataset:
        """One process at the ends of intervals (t, or the signal-to-noise ratio)."""
        rhm = RHM(self.v, self.m, self.s, self.L)
        tasks = []
        for g in range(self.grammars):
            parameters = {
                "version": 1, "question": "information", "process": process, "v": self.v,
                "m": self.m, "s": self.s, "L": self.L, "seed": self.seed, "grammar": g,
                "data": self.data, "ends": [float(x) for x in ends],
            }  # fmt: skip
            arguments = (rhm, process, ends, self.data, self.seed, g)
            tasks.append(Task(one_grammar, arguments, parameters))
        parts = run_tasks(tasks, self.out / "tasks", workers=self.workers, name=process)
        said, slope, entropy = (
            np.stack([p[name] for p in parts]) for name in ("information", "slope", "entropy")
        )
        by_difference = np.diff(said[..., -1], axis=2) / np.diff(ends)
        gap = (by_difference - slope).reshape(-1, len(ends) - 1)
        # the identity holds in every grammar, so that data of all grammars scatter about zero
        error = standard_error(gap)
        left = nested_mean(entropy[:, :, None] - said)
        plane, span = ("end", "level"), ("interval",)
        variables = {
            "information": (plane, nested_mean(said).mean, "I(latents of the level; x_t), nats"),
            "information_error": (plane, nested_mean(said).error, "its standard error"),
            "remaining": (plane, left.mean, "entropy of the latents given x_t, nats"),
            "remaining_error": (plane, left.error, "its standard error"),
            "entropy": (("level",), nested_mean(entropy).mean, "entropy of the latents, nats"),
            "derivative": (span, nested_mean(by_difference).mean, "difference of information"),
            "derivative_error": (span, nested_mean(by_difference).error, "its standard error"),
            "law": (span, nested_mean(slope).mean, "what the identity says"),
            "law_error": (span, nested_mean(slope).error, "its standard error"),
            "z": (span, gap.mean(axis=0) / np.where(error > 0, error, 1), "paired z-score"),
            "effective": (span, effective(gap), "data that carry the difference: n / kurtosis"),
        }
        words = "t" if process == "masking" else "signal-to-noise ratio"
        coords = {
            "end": (("end",), ends, words),
            "interval": (("interval",), (ends[1:] + ends[:-1]) / 2, f"middle, {words}"),
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
        }
        attributes = results.provenance({**asdict(self), "process": process})
        return results.label(variables, coords, "simulation", attributes)


def table(ds: xr.Dataset) -> str:
    """Remaining entropy per level at some noise levels."""
    pick = np.linspace(0, ds.sizes["end"] - 1, 6).round().astype(int)
    lines = ["entropy left, nats; t = " + "".join(f"{t:>16.3f}" for t in ds.end.values[pick])]
    for level in ds.level.values:
        one = ds.sel(level=level).isel(end=pick)
        pairs = zip(one.remaining.values, one.remaining_error.values, strict=True)
        cells = "".join(f"{f'{x:.3f} ± {e:.3f}':>16}" for x, e in pairs)
        lines.append(f"level {level:>2}{'':>16}{cells}")
    return "\n".join(lines)


def claim(*datasets: xr.Dataset) -> str:
    """The closing line: how well the identities hold where enough data carry them."""
    words = []
    for name, ds in zip(("masking identity", "I-MMSE"), datasets, strict=True):
        z = ds.z.values[ds.effective.values >= RESOLVED]
        words.append(
            f"{name}: chi2 = {float((z**2).sum()):.1f} for {z.size} of {ds.sizes['interval']} "
            f"intervals, largest |z| = {float(np.abs(z).max(initial=0)):.1f}"
        )
    return "; ".join(words)


def draw(masking: xr.Dataset, gaussian: xr.Dataset) -> Figure:
    """Information per level, and the two identities."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, masking.sizes["level"]))
    for level, colour in zip(masking.level.values, colours, strict=True):
        one = masking.sel(level=level)
        axes[0].errorbar(
            one.end, one.information / one.entropy, one.information_error / one.entropy,
            color=colour, marker="o", ms=2.5, lw=0.8, label=f"level {level}",
        )  # fmt: skip
    axes[0].set(xlabel="masked fraction t", ylabel=r"$I(z_l; x_t) / H(z_l)$")
    axes[0].legend(fontsize=6, frameon=False)
    titles = (r"$-dI/dt$ (masking)", r"$dI/d\,$snr (Gaussian)")
    for ax, ds, sign, title in zip(axes[1:], (masking, gaussian), (-1, 1), titles, strict=True):
        ax.plot(ds.interval, sign * ds.law, "k-", lw=1.1, label="identity")
        ax.errorbar(
            ds.interval, sign * ds.derivative, ds.derivative_error, fmt="o", ms=3.5,
            label="difference of information",
        )  # fmt: skip
        ax.set(xlabel=str(ds.interval.attrs["long_name"]), ylabel=f"{title}, nats")
        ax.legend(fontsize=7, frameon=False)
    axes[2].set_xscale("log")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    measured = studies.execute(lambda: tyro.cli(Information))

    # %%
    # Left: in units of their entropy, high levels are known better than low ones until the class is
    # lost, where the order inverts.  Middle and right: the identities.

    figure = draw(*measured)
