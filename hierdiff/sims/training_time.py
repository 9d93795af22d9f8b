r"""Training time of random features: exact curves of memory, and finite networks beside them.

Random-feature denoisers are trained by gradient flow on :math:`\psi_n d` Gaussian data.  Their
losses on the training set and on fresh data follow in the limit from the spectrum of the features
(:mod:`hierdiff.theory.mixture.training_time`), and at finite d from the eigenvectors of one drawn
covariance.  Losses at finite size differ from the limit by order 1/d, which drops out of

.. math:: 2 L(2d) - L(d) = L(\infty) + O(d^{-2}) .                                          (1)

The measurement is (1), averaged over draws.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import erf

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    number,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import FONT, PALETTE, Axes, Figure, legend, level_colours, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.mixture.random_features import feature_constants
from hierdiff.theory.mixture.training_time import (
    FeatureFlow,
    equivalent_flow,
    feature_flow,
    flow_curves,
    spectral_density,
    spectrum_edges,
    training_times,
)

__all__ = ["TrainingTime"]

Array: TypeAlias = NDArray[Any]

ACTIVATIONS = {"tanh": np.tanh, "erf": erf, "sin": np.sin}
_PARTS = ("train", "test")
_VARIANCE = partial(number, low=1e-3, high=1e3)
_RATIO = partial(number, above=1, high=100)
_WIDER = 16.0  # times as many features: laws of scaling hold for many features per datum


def one_draw(study: TrainingTime, i: int, k: int) -> dict[str, Array]:
    """Losses [part, time, class] by eq. (1) of draw k at the number of data i."""
    flow, found = study.flow(study.psi_n[i]), []
    for size in (study.dimension, 2 * study.dimension):
        seed = stream(study.seed, "draw", i, k, size)
        if study.features == "equivalent":
            curves = equivalent_flow(flow, study.times, size, seed)
        else:
            function = ACTIVATIONS[study.activation]
            curves = feature_flow(flow, function, study.times, size, seed, draws=study.noise_draws)
        found.append(np.stack(curves))
    return {"loss": 2 * found[1] - found[0]}


@dataclass(frozen=True)
class TrainingTime:
    """Losses of random-feature denoisers along training, in the limit and at finite size.

    Notes
    -----
    Validity: the limit of large d at fixed ratios; the error is that of the mean over draws.

    Examples
    --------
    >>> small = TrainingTime(psi_p=4.0, psi_n=(2.0,), dimension=8, draws=2, points=3)
    >>> small.measure(workers=1).loss.dims
    ('part', 'psi_n', 'tau', 'group')
    """

    name: ClassVar[str] = "training_time"
    _repr_html_ = experiment_html

    activation: Literal["tanh", "erf", "sin"] = "tanh"
    """Activation of the features, an odd one."""
    time: float = 0.1
    """Ornstein-Uhlenbeck time of the noise."""
    psi_p: float = 16.0
    """Features per dimension."""
    psi_n: tuple[float, ...] = (2.0, 4.0, 8.0)
    """Data per dimension."""
    variances: tuple[float, ...] = (1.0,)
    """Variance of the data of each class."""
    shares: tuple[float, ...] = (1.0,)
    """Share of each class in the data."""
    features: Literal["equivalent", "real"] = "equivalent"
    """Gaussian-equivalent features, or real ones, for which noise is drawn."""
    noise_draws: int = 100
    """Draws of the noise per datum, of real features."""
    dimension: int = 32
    """Dimensions d of the smaller size; the other one has 2d."""
    draws: int = 8
    """Draws of weights and data."""
    points: int = 13
    """Training times, from 1 to a million in logarithmic steps."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, time=partial(number, low=1e-3, high=10), psi_p=_RATIO,
            psi_n=partial(listed, rule=_RATIO, rising=True),
            variances=partial(listed, rule=_VARIANCE, distinct=False),
            shares=partial(listed, rule=partial(number, above=0, high=1), distinct=False),
            noise_draws=partial(whole, low=1, high=10**5),
            dimension=partial(whole, low=4, high=5000), draws=partial(whole, low=2, high=10**5),
            points=partial(whole, low=2, high=1000), seed=natural,
        )  # fmt: skip
        if len(self.variances) != len(self.shares):
            raise InvalidParameter(
                f"shares = {self.shares} must be as many as variances = {self.variances}"
            )
        for psi_n in self.psi_n:
            self.flow(psi_n)

    @property
    def times(self) -> Array:
        """Training times."""
        return np.geomspace(1.0, 1e6, self.points)

    @checked
    def flow(self, psi_n: float) -> FeatureFlow:
        """The denoiser with that many data per dimension."""
        function = ACTIVATIONS[self.activation]
        constants = tuple(feature_constants(function, self.time, x) for x in self.variances)
        return FeatureFlow(constants, self.psi_p, psi_n, self.shares)

    @results.tracked
    @checked
    def predict(self, law: Literal["limit"] = "limit") -> xr.Dataset:
        """Losses in the limit.

        Parameters
        ----------
        law : {"limit"}

        Returns
        -------
        xarray.Dataset
            ``loss`` (part, psi_n, tau, group).
        """
        one_of("law", law, ("limit",))
        found = [np.stack(flow_curves(self.flow(x), self.times)) for x in self.psi_n]
        loss = np.stack(found, axis=1)
        return self._labelled(loss, np.zeros_like(loss), "theory")

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
        """Losses at finite size without their part of order 1/d, eq. (1)."""
        no_model(
            self.name, model, data, "it draws random features; a network on strings is followed by "
            "network-training-time",
        )  # fmt: skip
        tasks = []
        for i in range(len(self.psi_n)):
            for k in range(self.draws):
                words = {"question": self.name, "i": i, "draw": k, **asdict(self)}
                tasks.append(Task(one_draw, (self, i, k), words))
        found = run_tasks(tasks, folder, workers=workers, name=self.name, cluster=cluster)
        rows = np.array([one["loss"] for one in found])
        rows = rows.reshape(len(self.psi_n), self.draws, *rows.shape[1:])
        mean, error = rows.mean(axis=1), np.stack([standard_error(x) for x in rows])
        return self._labelled(np.moveaxis(mean, 0, 1), np.moveaxis(error, 0, 1), "simulation")

    def _labelled(self, loss: Array, error: Array, source: str) -> xr.Dataset:
        dims = ("part", "psi_n", "tau", "group")
        variables = {
            "loss": (dims, loss, "denoising loss per dimension, 1 before training"),
            "loss_error": (dims, error, "its standard error"),
        }
        coords = {
            "part": (("part",), list(_PARTS), "training data, or fresh ones"),
            "psi_n": (("psi_n",), list(self.psi_n), "data per dimension"),
            "tau": (("tau",), self.times, "training time"),
            "group": (("group",), list(range(len(self.shares))), "class"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The limit and the draws."""
        found = self.measure(model, data, **run.tasks(self.name))
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Spectra, losses along training, and the window against the number of data."""
        figure, axes = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
        self._spectra(axes[0])
        self._losses(datasets[self.name], axes[1])
        self._window(axes[2])
        rows, slopes = self._times(self.psi_n), self._slopes()
        last = "window of good training times"
        if slopes:
            last = (rf"$\tau_{{gen}}$ as N to the {slopes[0]:.2f}, "
                    rf"$\tau_{{mem}}$ to the {slopes[1]:.2f}")  # fmt: skip
        panels(axes, "spectrum: two bulks" if rows else "spectrum: the bulks have merged",
               f"least loss at $\\tau$ = {rows[-1][3]:.0f} ($\\psi_n$ = {rows[-1][0]:g})"
               if rows else "losses along training", last)  # fmt: skip
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
        return figure

    def _colours(self) -> Array:
        return np.asarray(level_colours(len(self.psi_n)))

    def _spectra(self, ax: Axes) -> None:
        for psi_n, colour in zip(self.psi_n, self._colours(), strict=True):
            flow = self.flow(psi_n)
            for low, high in spectrum_edges(flow):
                angle = np.linspace(0, np.pi, 300)[1:-1]
                grid = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
                density = grid * spectral_density(flow, grid)
                ax.plot(grid, density, color=colour, lw=1.2)
                ax.fill_between(grid, 0, density, color=colour, alpha=0.15)
            ax.plot([], [], color=colour, label=rf"$\psi_n$ = {psi_n:g}")
        ax.axvline(flow.floor, color="k", lw=0.8, ls=":")
        ax.annotate("atom", (flow.floor, 0.98), xycoords=("data", "axes fraction"), fontsize=FONT,
                    rotation=90, va="top", ha="right")  # fmt: skip
        ax.set(xscale="log", xlabel=r"eigenvalue $\lambda$ of the features",
               ylabel=r"$\lambda\rho(\lambda)$", ylim=(0, None))  # fmt: skip
        legend(ax)

    def _losses(self, ds: xr.Dataset, ax: Axes) -> None:
        grid = np.geomspace(self.times[0], self.times[-1], 200)
        for psi_n, colour in zip(self.psi_n, self._colours(), strict=True):
            law = flow_curves(self.flow(psi_n), grid)
            one = ds.sel(psi_n=psi_n)
            for g in range(len(self.shares)):
                style = ("-", "--", ":", "-.")[g % 4]
                for part, curve, marker in (("test", law.test, "o"), ("train", law.train, "s")):
                    ax.plot(grid, curve[:, g], color=colour, lw=1, ls=style)
                    dots = one.sel(part=part, group=g)
                    ax.errorbar(ds.tau, dots.loss, dots.loss_error, fmt=marker, ms=3.5, mfc="w",
                                color=colour)  # fmt: skip
        ax.plot([], [], "ko", mfc="w", ms=4, label="fresh data")
        ax.plot([], [], "ks", mfc="w", ms=4, label="training data")
        ax.plot([], [], "k-", lw=1, label="theory")
        ax.set(xscale="log", xlabel=r"training time $\tau$", ylabel="denoising loss",
               ylim=(0, None))  # fmt: skip
        legend(ax)

    def _window(self, ax: Axes) -> None:
        for wide, style in ((1.0, "--"), (_WIDER, "-")):
            rows = self._times(np.geomspace(2, min(self.psi_p * wide / 1.5, 100), 9), wide)
            if not rows:
                continue
            x, early, late, best = np.array(rows).T
            text = rf"$\psi_p$ = {self.psi_p * wide:g}"
            ax.plot(x, early, color=PALETTE[0], ls=style, lw=1.2, label=rf"$\tau_{{gen}}$, {text}")
            ax.plot(x, late, color=PALETTE[1], ls=style, lw=1.2, label=rf"$\tau_{{mem}}$, {text}")
            if wide > 1:
                ax.fill_between(x, early, late, color="#cfe3f5", label="window")
                ax.plot(x, best, "k:", lw=1.2, label="least loss on fresh data")
                ax.plot(x, late[0] * x / x[0], color="0.4", lw=0.8, ls="-.", label="slope 1")
        ax.set(xscale="log", yscale="log", xlabel=r"data per dimension $\psi_n$",
               ylabel=r"training time $\tau$")  # fmt: skip
        legend(ax, columns=2)

    def _slopes(self) -> list[float]:
        """Exponents of N in both times, with many features for 4 to 32 data per dimension."""
        wide = self._times((4.0, 8.0, 16.0, 32.0), _WIDER)
        if len(wide) < 2:
            return []
        logs = np.log(np.array(wide))
        return [float(np.polyfit(logs[:, 0], logs[:, j], 1)[0]) for j in (1, 2)]

    def _times(self, grid: Any, wide: float = 1.0) -> list[tuple[float, float, float, float]]:
        """psi_n, both times, and the time of the least loss, where there is a window."""
        tau = np.geomspace(1.0, 1e7, 300)
        rows = []
        for psi_n in grid:
            flow = replace(self.flow(float(psi_n)), psi_p=wide * self.psi_p)
            try:
                found = training_times(flow)
            except InvalidParameter:  # the bulks have merged
                continue
            loss = flow_curves(flow, tau).test @ np.array(self.shares)
            best = float(tau[loss.argmin()])
            rows.append((float(psi_n), found.generalization, found.memorization, best))
        return rows

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Times of every number of data, and the largest z-score of the losses."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        z = float(np.abs((ds.loss - law.loss) / ds.loss_error).max())
        count = ds.loss.size
        rows = self._times(self.psi_n)
        lines = []
        for psi_n, early, late, best in rows:
            end = ds.sel(psi_n=psi_n, part="test").isel(tau=-1, group=-1)
            lines.append([f"{psi_n:g}", *(f"{x:.1f}" for x in (early, late, best)),
                          plus_minus(end.loss, end.loss_error, digits=4)])  # fmt: skip
        header = ["psi_n", "tau_gen", "tau_mem", "least loss at", "end, fresh"]
        values: dict[str, Any] = {
            "times": [list(row) for row in rows], "largest z": z, "losses": int(count),
            "draws": self.draws, "loss": ds.loss.values.round(6).tolist(),
            "loss error": ds.loss_error.values.round(6).tolist(),
            "loss, limit": law.loss.values.round(6).tolist(),
        }  # fmt: skip
        words, wide = "no window between the bulks", self._times((4.0, 8.0, 16.0, 32.0), _WIDER)
        if len(wide) > 1:
            slopes = self._slopes()
            values["exponents"] = slopes
            words = (
                f"with {_WIDER * self.psi_p:g} features per dimension tau_gen goes as N to the "
                f"{slopes[0]:.2f} and tau_mem to the {slopes[1]:.2f}, for {wide[0][0]:g} to "
                f"{wide[-1][0]:g} data per dimension"
            )
        claim = (
            f"{words}; losses of {self.draws} draws are those of the limit (largest |z| of "
            f"{count}: {z:.1f})"
        )
        return Summary(text_table(header, lines), claim, values)
