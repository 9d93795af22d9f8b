r"""Class means on a tree: which level of the tree is lost at which noise level.

A Gaussian mixture whose class means lie on a tree; level l moves them in ``width`` directions of
its own, with variance :math:`\tau_l^2` between groups.  The posterior mean of the class's centre,
:math:`\hat\mu = \sum_k w_k(x_t)\mu_k`, keeps the share

.. math:: g_l = \frac{E\langle \hat\mu_l, \mu_l\rangle}{E|\mu_l|^2}

of level l.  The best linear estimate, :math:`m + C(C + \rho^2 + \sigma^2)^{-1}(x - m)` with mean m
and covariance C of the centres and spread :math:`\rho` inside a class, is a lower bound and the
law at high noise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    memory,
    natural,
    no_model,
    number,
    one_of,
    positive,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import GUIDE, Figure, panels, plt, shade, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.odd_one_out import draw_triplets
from hierdiff.sims.metrics.representation_geometry import cosine_similarity
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import class_posterior, expected_accuracy, odd_one_out
from hierdiff.theory.odd_one_out_task import tree_mixture

__all__ = ["TreeMixture"]

Array = NDArray[Any]


def _scale(name: str, value: Any) -> float:
    """One number above zero whose square is one, not an array of them."""
    return float(positive(name, number(name, value)))


@dataclass(frozen=True)
class TreeMixture:
    """Levels of a tree of class means, seen through noise by the exact posterior mean.

    Notes
    -----
    Validity: class posteriors are exact; errors are standard errors over ``mixtures`` random trees.

    Examples
    --------
    >>> one = TreeMixture(groups=(2, 2), variances=(2.0, 1.0), weights=(1.0, 0.5), mixtures=2,
    ...                   objects=20, triplets=40, sigmas=(0.1, 10.0))
    >>> ds = one.measure(workers=1)
    >>> bool((ds.share.sel(sigma=0.1) > ds.share.sel(sigma=10.0)).all())
    True
    """

    name: ClassVar[str] = "tree_mixture"
    _repr_html_ = experiment_html

    groups: tuple[int, ...] = (4, 4, 4)
    """Branching per level, from the top."""
    variances: tuple[float, ...] = (4.0, 1.0, 0.25)
    """Variance between groups, per level and direction."""
    width: int = 8
    """Directions per level."""
    within: float = 0.1
    """Spread inside a class."""
    weights: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Weight of each level in the similarity of the simulated observers."""
    temperature: float = 0.22
    """Temperature of the simulated observers."""
    sigmas: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0, 1.7, 3.0, 6.0, 12.0, 40.0)
    """Noise levels relative to the signal."""
    objects: int = 300
    """Objects per mixture."""
    triplets: int = 2000
    """Triplets per mixture."""
    mixtures: int = 24
    """Random mixtures, over which errors are taken."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, groups=partial(listed, rule=count, distinct=False),
            variances=partial(listed, rule=_amplitude, distinct=False),
            weights=partial(listed, rule=partial(number, low=0), distinct=False),
            width=count, within=positive,
            temperature=positive, sigmas=partial(listed, rule=_amplitude),
            objects=partial(whole, low=3, high=10**5), triplets=partial(whole, low=2, high=10**9),
            mixtures=partial(whole, low=2, high=10**6), seed=natural,
        )  # fmt: skip
        lengths = {len(self.groups), len(self.variances), len(self.weights)}
        if len(lengths) > 1 or not any(self.weights):
            raise InvalidParameter(
                f"variances = {self.variances} and weights = {self.weights} must be one per level, "
                f"{len(self.groups)}, and weights not all zero"
            )
        classes, dim = math.prod(self.groups), self.width * len(self.groups)
        memory(f"a mixture of {classes:.3g} classes in {dim:.3g} dimensions", 8.0 * classes * dim)
        memory(f"{classes:.3g} covariances", 8.0 * dim * dim)

    @results.tracked
    @checked
    def predict(self, law: Literal["linear"] = "linear") -> xr.Dataset:
        """The share that the best linear estimate keeps, a lower bound, of the same mixtures."""
        one_of("law", law, ("linear",))
        return self._labelled([linear_shares(self, g) for g in range(self.mixtures)], "theory")

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
        """Mean over mixtures, with errors, and the share of the best linear estimate."""
        no_model(
            self.name, model, data,
            "it averages random trees of class means; the odd-one-out task of one model is "
            "Alignment.measure",
        )  # fmt: skip
        spec = {k: v for k, v in asdict(self).items() if k != "mixtures"}
        # a task reads the fields that make a mixture, not their number
        one = replace(self, mixtures=2)
        tasks = [
            Task(one_mixture, (one, g), {"version": 1, "question": "tree mixture", **spec, "g": g})
            for g in range(self.mixtures)
        ]
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="tree mixtures")
        return self._labelled(found, "simulation")

    def _labelled(self, found: list[dict[str, Array]], source: str) -> xr.Dataset:
        """Mean and standard error over mixtures of arrays [level, sigma]."""
        plane, variables = ("level", "sigma"), {}
        texts = {
            "share": "share of the level that is kept",
            "linear": "share kept by the best linear estimate",
            "excess": "exact less linear",
            "accuracy": "odd-one-out accuracy of the level",
        }
        for name in (name for name in texts if name in found[0]):
            values = np.stack([f[name] for f in found])
            error = values.std(axis=0, ddof=1) / np.sqrt(len(found))
            variables[name] = (plane, values.mean(axis=0), texts[name])
            variables[f"{name}_error"] = (plane, error, f"standard error of: {texts[name]}")
        coords = {
            "level": (("level",), np.arange(len(self.groups)), "level, top = 0"),
            "sigma": (("sigma",), list(self.sigmas), "noise relative to the signal"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Shares with the linear law, and odd-one-out accuracies."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Shares per level, and the noise variance at which half of each is lost."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def _amplitude(name: str, value: Any) -> float:
    """One positive number whose square is a number, too."""
    return float(positive(name, number(name, value)))


def one_mixture(e: TreeMixture, g: int) -> dict[str, Array]:
    """Shares and accuracies, [level, sigma]."""
    mixture, nodes = tree_mixture(
        e.groups, e.variances, e.width, e.within, stream(e.seed, "mixture", g)
    )
    x0, k = mixture.sample(e.objects, stream(e.seed, "objects", g))
    rows = draw_triplets(e.objects, e.triplets, stream(e.seed, "triplets", g))
    same = nodes[k][:, None] == nodes[k][None]
    answers = odd_one_out((same * np.array(e.weights)).sum(axis=2), rows, e.temperature)
    normal = np.random.default_rng(stream(e.seed, "noise", g)).standard_normal(x0.shape)
    shape = (len(e.groups), len(e.sigmas))
    share, linear, accuracy = (np.empty(shape) for _ in range(3))
    for j, sigma in enumerate(e.sigmas):
        guess = class_posterior(mixture, x0 + sigma * normal, sigma) @ mixture.means
        for level in range(len(e.groups)):
            block = slice(level * e.width, (level + 1) * e.width)
            truth = mixture.means[k][:, block]
            share[level, j] = (guess[:, block] * truth).sum() / (truth**2).sum()
            best = best_linear(mixture.means, np.hypot(sigma, e.within))
            linear[level, j] = best[block].sum() / (mixture.means[:, block] ** 2).mean(0).sum()
            score = expected_accuracy(cosine_similarity(guess[:, block]), rows, answers)
            accuracy[level, j] = score.mean()
    return {"share": share, "linear": linear, "excess": share - linear, "accuracy": accuracy}


def linear_shares(e: TreeMixture, g: int) -> dict[str, Array]:
    """Shares of the best linear estimate on one mixture, [level, sigma]."""
    mixture, _ = tree_mixture(
        e.groups, e.variances, e.width, e.within, stream(e.seed, "mixture", g)
    )
    blocks = [slice(k * e.width, (k + 1) * e.width) for k in range(len(e.groups))]
    best = [best_linear(mixture.means, np.hypot(sigma, e.within)) for sigma in e.sigmas]
    energy = (mixture.means**2).mean(axis=0)
    return {"share": np.array([[x[b].sum() / energy[b].sum() for x in best] for b in blocks])}


def best_linear(means: Array, sigma: float) -> Array:
    """E[estimate times truth] of the best linear estimate, per direction."""
    centre = means.mean(axis=0)
    covariance = np.cov(means.T, bias=True)
    gain = np.linalg.solve(covariance + sigma**2 * np.eye(len(centre)), covariance)
    return np.asarray(centre**2 + np.einsum("ij,ji->i", covariance, gain))


def table(ds: xr.Dataset) -> str:
    """Share of every level, exact and linear."""
    rows = []
    for level in ds.level.values:
        one = ds.sel(level=level).isel(sigma=slice(None, None, 2))
        cells = zip(one.share.values, one.share_error.values, one.linear.values, strict=True)
        rows.append([level, *(f"{plus_minus(a, e)} ({x:.3f})" for a, e, x in cells)])
    return text_table(["level", *(f"sigma = {s:g}" for s in ds.sigma.values[::2])], rows)


def half(ds: xr.Dataset, name: str) -> list[float]:
    """Noise variance at which half of each level is left."""
    return [
        float(np.exp(2 * np.interp(-0.5, -ds[name].sel(level=k), np.log(ds.sigma))))
        for k in ds.level.values
    ]


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """Where half of each level is lost, and how far above the linear bound the exact share lies."""
    z = (ds.excess / ds.excess_error).values
    return {"half": half(ds, "share"), "half, linear": half(ds, "linear"),
            "smallest z of the excess": float(z.min()),
            "largest |z| at the highest noise": float(np.abs(z[:, -1]).max())}  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """Where half of each level is lost."""
    found = digest(ds)
    exact, linear = (", ".join(f"{x:.2f}" for x in found[k]) for k in ("half", "half, linear"))
    return (
        f"half of each level is lost at sigma^2 = {exact} (linear estimate {linear}); no share "
        f"lies below the linear one (smallest z {found['smallest z of the excess']:.1f})"
    )


def draw(ds: xr.Dataset) -> Figure:
    """Shares with the linear law, and accuracies."""
    figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.5), layout="constrained")
    for level in ds.level.values:
        one, colour = ds.sel(level=level), shade(level / max(ds.sizes["level"] - 1, 1))
        axes[0].errorbar(ds.sigma**2, one.share, one.share_error, fmt="o", ms=3, color=colour,
                         label=f"level {level}")  # fmt: skip
        axes[0].plot(ds.sigma**2, one.linear, color=colour, lw=1)
        axes[1].errorbar(ds.sigma**2, one.accuracy, one.accuracy_error, fmt="o-", ms=3, lw=0.8,
                         color=colour)  # fmt: skip
    axes[0].set(xscale="log", xlabel=r"$\sigma^2$", ylabel="share of the level that is kept")
    axes[1].axhline(1 / 3, **GUIDE, label="chance")
    axes[1].set(xscale="log", xlabel=r"$\sigma^2$", ylabel="odd-one-out accuracy")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, "what is kept; lines: linear estimate", "odd one out")
    shared_legend(figure)
    return figure
