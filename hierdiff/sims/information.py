r"""Mutual information between noisy data and every tree level, and two identities for its slope.

The exact evidence of belief propagation gives the mutual information between a noisy datum and all
latents of a level, without approximation.  Its derivative is what a denoiser does at one noise
level:

.. math::
   -\frac{dI}{dt} = \sum_i H(x_i \mid \text{unmasked others}) \ \text{(masking)}, \qquad
   \frac{dI}{d\,snr} = \tfrac12 E |x_0 - E[x_0 \mid x_t]|^2 \ \text{(Gaussian, I-MMSE)}

A difference of information over an interval of noise, divided by its length, is compared with the
identity averaged over the same interval.  Data and random numbers of both sides are the same, so
the difference has an error far below that of either.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.noise import NOISE, has_snr, noise_process
from hierdiff.plots import BLUE, Figure, legend, level_colours, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import nested_mean, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import denoise_symbols
from hierdiff.theory.rhm.information import (
    pointwise_entropy,
    pointwise_information,
    pointwise_slope,
)

__all__ = ["Information"]

Array = NDArray[Any]
RESOLVED = 20
"""Effective data that a z-score needs to be normal; see :func:`effective`."""
# three points of Gauss and Legendre integrate the slope over an interval to its fifth power
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(3)


def one_grammar(
    rhm: RHM, process: str, ends: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Information [datum, end, level], mean slope [datum, interval], entropy [datum, level]."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = noise_process(process, rhm.v)
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))

    def corrupted(level: float) -> tuple[Array, float]:
        t = float(noise.level(level)) if has_snr(noise) else float(level)
        return noise.corrupt_with(truth.leaves, t, randoms), t

    def slope(level: float) -> Array:
        x_t, t = corrupted(level)
        if has_snr(noise):
            mean = denoise_symbols(grammar, noise, x_t, t)
            return np.asarray(0.5 * (1 - (mean**2).sum(axis=2)).sum(axis=1))
        return pointwise_slope(grammar, noise, x_t, t)

    found = [pointwise_information(grammar, noise, *corrupted(level), truth) for level in ends]
    slopes = []
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        points = (a + b) / 2 + (b - a) / 2 * POINTS
        slopes.append(sum(w / 2 * slope(x) for w, x in zip(WEIGHTS, points, strict=True)))
    entropy = [pointwise_entropy(grammar, truth, level) for level in range(grammar.L + 1)]
    return {
        "information": np.stack(found, axis=1),
        "slope": np.stack(slopes, axis=1),
        "entropy": np.stack(entropy, axis=1),
    }


def effective(gap: Array) -> Array:
    """Data over the kurtosis of their differences [data, interval].

    At high signal-to-noise ratio a few rare data carry everything; a z-score of fewer than about 20
    of them is not normal.
    """
    centred = gap - gap.mean(axis=0)
    fourth = (centred**4).mean(axis=0)
    return np.asarray(len(gap) * (centred**2).mean(axis=0) ** 2 / np.where(fourth > 0, fourth, 1))


@dataclass(frozen=True)
class Information:
    """Mutual information per level against noise, and the identities for its derivative.

    Notes
    -----
    Validity: exact evidence; errors are over grammars and data.

    Examples
    --------
    >>> small = Information(v=4, m=2, L=2, grammars=2, data=4, intervals=2)
    >>> small.measure(workers=1).derivative.dims
    ('process', 'interval')
    """

    name: ClassVar[str] = "information"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("information_*",)

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

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["identity"] = "identity",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Slope of the information by the identities, on the same data."""
        one_of("law", law, ("identity",))
        found = self._both({"folder": folder, "workers": workers, "cluster": cluster})
        return self._slopes(found, "law", "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Slope of the information per interval of noise, for both processes."""
        no_model(
            self.name, model, data,
            "it needs the exact evidence of grammars of its own; the error of one model's denoiser "
            "is half of what I-MMSE needs",
        )  # fmt: skip
        found = self._both({"folder": folder, "workers": workers, "cluster": cluster})
        return self._slopes(found, "derivative", "simulation")

    def _both(self, options: dict[str, Any]) -> dict[str, xr.Dataset]:
        """Both processes, by the stem of their file."""
        ends = {
            "masking": np.linspace(0, 1, self.intervals + 1),
            "gaussian": np.geomspace(0.25, 32, self.intervals + 1),
        }
        return {f"information_{k}": self._process(k, x, options) for k, x in ends.items()}

    def _slopes(self, found: dict[str, xr.Dataset], word: str, source: str) -> xr.Dataset:
        """The slope of both processes in one dataset."""
        plane, parts = ("process", "interval"), list(found.values())
        variables = {
            "derivative": (plane, np.stack([x[word] for x in parts]), "slope of the information"),
            "derivative_error": (plane, np.stack([x[f"{word}_error"] for x in parts]),
                                 "its standard error"),
        }  # fmt: skip
        coords = {
            "process": (("process",), ["masking", "gaussian"], "noise process"),
            "middle": (plane, np.stack([x.interval for x in parts]),
                       "middle of the interval, in t or signal-to-noise ratio"),
        }  # fmt: skip
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _process(self, process: str, ends: Array, options: dict[str, Any]) -> xr.Dataset:
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
        parts = run_tasks(tasks, name=process, **options)
        found, slope, entropy = (
            np.stack([p[name] for p in parts]) for name in ("information", "slope", "entropy")
        )
        by_difference = np.diff(found[..., -1], axis=2) / np.diff(ends)
        gap = (by_difference - slope).reshape(-1, len(ends) - 1)
        # the identity holds in every grammar, so that data of all grammars scatter about zero
        error = standard_error(gap)
        left = nested_mean(entropy[:, :, None] - found)
        plane, span = ("end", "level"), ("interval",)
        variables = {
            "information": (plane, nested_mean(found).mean, "I(latents of the level; x_t), nats"),
            "information_error": (plane, nested_mean(found).error, "its standard error"),
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
        words = "signal-to-noise ratio" if has_snr(NOISE[process]) else "t"
        coords = {
            "end": (("end",), ends, words),
            "interval": (("interval",), (ends[1:] + ends[:-1]) / 2, f"middle, {words}"),
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
        }
        attributes = results.provenance({**asdict(self), "process": process})
        return results.label(variables, coords, "simulation", attributes)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Both processes: information per level, slopes and identities."""
        if model is not None or data is not None:
            self.measure(model, data)
        return self._both(run.tasks(self.name))

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Information per level, and the two identities."""
        return draw(*_pair(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Entropy left per level, and the agreement of both identities."""
        both = _pair(datasets)
        return Summary(table(both[0]), claim(*both), values(*both))


def _pair(datasets: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset]:
    """Masking, Gaussian."""
    return datasets["information_masking"], datasets["information_gaussian"]


def table(ds: xr.Dataset) -> str:
    """Remaining entropy per level at some noise levels."""
    pick = np.linspace(0, ds.sizes["end"] - 1, 6).round().astype(int)
    rows = []
    for level in ds.level.values:
        one = ds.sel(level=level).isel(end=pick)
        pairs = zip(one.remaining.values, one.remaining_error.values, strict=True)
        rows.append([level, *(plus_minus(x, e) for x, e in pairs)])
    header = ["level", *(f"t = {t:.3f}" for t in ds.end.values[pick])]
    return f"entropy left, nats\n{text_table(header, rows)}"


def values(*datasets: xr.Dataset) -> dict[str, Any]:
    """Slopes, identities and z-scores of both processes."""
    words = ("derivative", "derivative_error", "law", "law_error", "z", "effective")
    return {
        name: {"interval": ds.interval.values.tolist(), **{w: ds[w].values.tolist() for w in words}}
        for name, ds in zip(("masking", "gaussian"), datasets, strict=True)
    }


def claim(*datasets: xr.Dataset) -> str:
    """How well the identities hold where enough data carry them."""
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
    colours = level_colours(masking.sizes["level"])
    for level, colour in zip(masking.level.values, colours, strict=True):
        one = masking.sel(level=level)
        axes[0].errorbar(
            one.end, one.information / one.entropy, one.information_error / one.entropy,
            color=colour, marker="o", ms=2.5, lw=0.8, label=f"level {level}",
        )  # fmt: skip
    axes[0].set(xlabel="masked fraction t", ylabel=r"$I(z_l; x_t) / H(z_l)$")
    titles = (r"$-dI/dt$ (masking)", r"$dI/d\,$snr (Gaussian)")
    for ax, ds, sign, title in zip(axes[1:], (masking, gaussian), (-1, 1), titles, strict=True):
        ax.plot(ds.interval, sign * ds.law, "k-", lw=1.1, label="identity")
        ax.errorbar(
            ds.interval, sign * ds.derivative, ds.derivative_error, fmt="o", ms=3.5,
            color=BLUE, label="difference of information",
        )  # fmt: skip
        ax.set(xlabel=str(ds.interval.attrs["long_name"]), ylabel=f"{title}, nats")
    axes[2].set_xscale("log")
    panels(axes, "information about every level", "identity, masking", "identity, Gaussian")
    legend(axes[0], columns=4)
    legend(axes[1])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
