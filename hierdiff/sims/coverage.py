r"""Coverage: how often every error bar of the package contains the true value.

:math:`\pm 1` error should contain it in 68.3 % of all repetitions, :math:`\pm 2` in 95.4 %.  Every
error bar of the package is made hundreds of times from small samples.  The true value is known in
closed form, or, for estimates of models (density evolution, probes, calibration), is the mean over
all repetitions, so that the size of the error is tested and not the bias.

A standard error of n units has a scatter of its own; it covers as Student's law with n - 1 degrees
of freedom states.  Wrong error bars are planted, and must fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special, stats

from hierdiff import RHM, GaussianNoise, MaskingNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.plots import BLUE, FONT, GUIDE, ORANGE, Figure, panels, plt, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.cue_conflict import CueConflict, gaussian_bias
from hierdiff.sims.kernel_learning import kernel_slopes, samples_needed
from hierdiff.sims.metrics import estimators as errors
from hierdiff.sims.metrics.calibration import discrimination, grouped_calibration_error
from hierdiff.sims.metrics.fluctuations import peak, ratio
from hierdiff.sims.metrics.odd_one_out import draw_triplets, paired_difference, probe
from hierdiff.sims.metrics.probes import feature_snr, over_seeds
from hierdiff.sims.models.finite_steps import convergence_order
from hierdiff.sims.representation import crossover
from hierdiff.sims.synonym_learning import bootstrapped
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import critical_level, population_dynamics, snr
from hierdiff.theory.mixture.collapse import mutual_information_mixture, mutual_information_sampled
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
from hierdiff.theory.zero_shot.scores import log_ratio

__all__ = ["Coverage"]

Array = NDArray[Any]
Random = np.random.Generator
_COVERED = "share of repetitions whose interval contains the true value"
_DOUBT = "binomial error of it where the stated coverage holds"
NORMAL = (0.6826894921370859, 0.9544997361036416)
"""Probability of a normal variable within one and within two standard deviations."""


def bar(value: Any, error: Any) -> Array:
    """Value, and the ends of one and of two errors around it."""
    v, e = float(value), float(error)
    return np.array([v, v - e, v + e, v - 2 * e, v + 2 * e])


@dataclass(frozen=True)
class Case:
    """An error bar and how it is tried."""

    run: Callable[[Random], Array]
    """One repetition."""
    truth: float | Callable[[], float] | None = None
    """The true value, or the law that computes it; None: the mean over all repetitions."""
    units: int | None = None
    """Units behind a standard error."""
    student: bool = False
    """Whether the error has Student's factor."""
    wrong: bool = False
    """A planted wrong error bar."""
    share: float = 1.0
    """Share of the repetitions that are made, where one is slow."""

    def true_value(self, values: Array) -> float:
        """The value that the intervals should contain."""
        if self.truth is None:
            return float(values.mean())
        return self.truth() if callable(self.truth) else self.truth


# Curves of a class that is lost: grammars differ in the place, and data within a grammar.

TIMES = np.linspace(0, 1, 25)
PLACE, QUENCHED, THERMAL, WIDTH = 0.5, 0.02, 0.06, 0.03


def curves(rng: Random, grammars: int, data: int, quenched: float = QUENCHED) -> Array:
    """Beliefs [grammars, data, t], symmetric about the place, so that the mean crosses there."""
    middle = PLACE + quenched * rng.standard_normal((grammars, 1))
    middle = middle + THERMAL * rng.standard_normal((grammars, data))
    return np.asarray(special.expit((middle[..., None] - TIMES) / WIDTH))


def threshold(grammars: int, data: int) -> Callable[[Random], Array]:
    """Threshold of a phase transition."""

    def run(rng: Random) -> Array:
        x = curves(rng, grammars, data, QUENCHED if grammars > 1 else 0.0)
        found = errors.crossing(TIMES, x, seed=rng)
        return bar(found.value, found.error)

    return run


def data_drawn_again(rng: Random) -> Array:
    """Wrong: data are drawn anew inside every drawn grammar, so thermal noise counts twice."""
    x = curves(rng, 24, 4)
    places = []
    for _ in range(200):
        rows = rng.integers(24, size=24)[:, None]
        places.append(
            errors.falls_through(TIMES, x[rows, rng.integers(4, size=(24, 4))].mean((0, 1)))
        )
    return bar(errors.falls_through(TIMES, x.mean(axis=(0, 1))), np.std(places, ddof=1))


def nested(grammars: int, data: int) -> Callable[[Random], Array]:
    """Mean over grammars and data."""

    def run(rng: Random) -> Array:
        spread = 0.3 * rng.standard_normal((grammars, 1)) if grammars > 1 else 0.0
        found = errors.nested_mean(spread + rng.standard_normal((grammars, data)))
        return bar(found.mean, found.error)

    return run


def independent_data(rng: Random) -> Array:
    """Wrong: data of all grammars as if they were independent."""
    x = 0.3 * rng.standard_normal((24, 1)) + rng.standard_normal((24, 32))
    return bar(x.mean(), errors.standard_error(x.ravel()))


def divided_by_n(rng: Random) -> Array:
    """Wrong: standard deviation over copies divided by copies, not by their root."""
    x = rng.standard_normal(8)
    return bar(x.mean(), x.std(ddof=1) / 8)


def never_resampled(rng: Random) -> Array:
    """Wrong: a bootstrap that looks at the same units every time."""
    x = rng.standard_normal(24)
    return bar(x.mean(), np.std([x[np.arange(24)].mean() for _ in range(50)], ddof=1))


def resampled(rng: Random) -> Array:
    """Bootstrap of a mean."""
    x = rng.standard_normal(24)
    return bar(x.mean(), errors.bootstrap(lambda rows: x[rows].mean(), 24, 200, rng).error)


def proportion(trials: int, p: float) -> Callable[[Random], Array]:
    """Likelihood interval of independent trials."""

    def run(rng: Random) -> Array:
        k = rng.binomial(trials, p)
        one, two = (errors.likelihood_interval(k, trials, level) for level in NORMAL)
        return np.array([k / trials, *one, *two])

    return run


def kept_class(grammars: int, data: int) -> Callable[[Random], Array]:
    """Interval of the class's retention: grammars keep it with probabilities of their own."""

    def run(rng: Random) -> Array:
        p = rng.beta(12.0, 8.0, (grammars, 1))
        x = rng.random((grammars, data)) < p
        one, two = (errors.clustered_interval(x, level) for level in NORMAL)
        return np.array([x.mean(), *one, *two])

    return run


def kept_class_independent(rng: Random) -> Array:
    """Wrong: the same data as independent trials."""
    x = rng.random((24, 32)) < rng.beta(12.0, 8.0, (24, 1))
    one, two = (errors.likelihood_interval(x.sum(), x.size, level) for level in NORMAL)
    return np.array([x.mean(), *one, *two])


def quenched_disorder(rng: Random) -> Array:
    """Variance of thresholds between grammars, thermal part removed."""
    found = errors.disorder(TIMES, curves(rng, 48, 16), splits=12, seed=rng)
    return bar(found.variance, found.error)


def thermal_disorder(rng: Random) -> Array:
    """Wrong: variance of single-grammar thresholds, which is mostly sampling."""
    x = curves(rng, 48, 16).mean(axis=1)
    places = np.array([errors.falls_through(TIMES, c) for c in x])
    spread = places.var(ddof=1)
    return bar(spread, spread * np.sqrt(2 / 47))


def depths(rng: Random) -> Array:
    """Extrapolation of thresholds to infinite depth, rate unknown."""
    L, e = np.array([6.0, 8.0, 10.0, 12.0]), np.array([4.5, 2.4, 1.5, 0.9]) * 1e-3
    found = errors.depth_limit(L, 0.27 + 0.08 * 1.3**-L + e * rng.standard_normal(4), e)
    return bar(found.value, found.error)


# Estimators of the experiments.


def turning_point(rng: Random) -> Array:
    """Number of data at which a model turns unimodal, over 12 seeds."""
    n = np.array([60.0, 120.0, 240.0, 480.0])
    log_ratio_of_snr = 0.8 * np.log(n / 170) + 0.4 * rng.standard_normal((12, 1))
    values = np.exp(log_ratio_of_snr + 0.1 * rng.standard_normal((12, 4)))
    ds = results.label(
        {"ratio_by_seed": (("seed", "model", "split", "n_train"), values[:, None, None], "R")},
        {"model": (("model",), ["x"], ""), "split": (("split",), ["test"], ""),
         "n_train": (("n_train",), n, "")}, "simulation", {},
    )  # fmt: skip
    found = crossover(ds, "x")
    return bar(np.log(found.value), found.error / found.value)


def susceptibility_peak(height: bool) -> Callable[[Random], Array]:
    """Place and height of the largest susceptibility, over 24 grammars."""
    t = np.linspace(0.2, 0.4, 9)

    def run(rng: Random) -> Array:
        middle = 0.3 + 0.01 * rng.standard_normal((24, 1))
        top = 4.0 - 60 * (t - middle) ** 2 + 0.3 * rng.standard_normal((24, 1))
        bottom = np.ones_like(t) + 0.05 * rng.standard_normal((24, 1))
        found = peak(t, top, bottom * np.ones((24, 1)), 200, rng)
        return bar(found.height, found.height_error) if height else bar(
            found.place, found.place_error
        )  # fmt: skip

    return run


def ratio_of_means(rng: Random) -> Array:
    """Susceptibility at one noise level, over 24 grammars."""
    bottom = rng.gamma(20.0, 0.05, 24)
    found = ratio(3 * bottom + 0.4 * rng.standard_normal(24), bottom)
    return bar(found.value, found.error)


def order_of_chains(rng: Random) -> Array:
    """Order of convergence of finite reverse chains."""
    steps, error = np.array([32, 64, 128, 256]), np.array([8e-3, 4e-3, 2e-3, 1e-3])
    gaps = 3.2 / steps + error * rng.standard_normal(4)
    found = convergence_order(steps, gaps, error)
    return bar(found.order, found.error)


def shared_objects(rng: Random) -> Array:
    """Difference of two scores on triplets that share objects."""
    rows = draw_triplets(40, 400, rng)
    score = (0.4 * rng.standard_normal(40))[rows].sum(axis=1) + rng.standard_normal(400)
    return bar(*paired_difference(score, np.zeros(400), rows))


def independent_triplets(rng: Random) -> Array:
    """Wrong: triplets as if they shared nothing."""
    rows = draw_triplets(40, 400, rng)
    score = (0.4 * rng.standard_normal(40))[rows].sum(axis=1) + rng.standard_normal(400)
    return bar(score.mean(), errors.standard_error(score))


def affine_probe(rng: Random) -> Array:
    """Held-out accuracy of the affine probe, three folds of objects."""
    x = rng.standard_normal((24, 2))
    rows = draw_triplets(24, 250, rng)
    close = [[x[r[i]] @ x[r[j]] for i, j in ((0, 1), (0, 2), (1, 2))] for r in rows]
    odd = 2 - np.argmax(np.array(close) + 0.5 * rng.standard_normal((250, 3)), axis=1)
    order = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[odd]
    found = probe(x, np.take_along_axis(rows, order, axis=1), seed=rng)
    return bar(found.held_out, found.error)


def answers(rng: Random, grammars: int = 12) -> list[tuple[Array, Array]]:
    """Stated probabilities and answers of several grammars, overconfident."""
    out = []
    for _ in range(grammars):
        stated = rng.uniform(0.5, 1, 60)
        out.append((stated, rng.random(60) < stated - 0.1 + 0.05 * rng.standard_normal()))
    return out


def calibration(rng: Random) -> Array:
    """Expected calibration error, over 12 grammars."""
    return bar(*grouped_calibration_error(answers(rng), rng))


def area(rng: Random) -> Array:
    """Area under the ROC, over 12 grammars."""
    return bar(*errors.mean_and_error([discrimination(p, y) for p, y in answers(rng)]))


def cost_exponent(rng: Random) -> Array:
    """Exponent of the cost in m, over 12 grammars at each of four m."""
    m = np.log([2.0, 3.0, 4.0, 6.0])
    values = 3 * m[:, None] + 0.3 * rng.standard_normal((4, 12))
    return bar(*bootstrapped(values, lambda y: np.asarray(np.polyfit(m, y, 1)[0])))


def kernel_samples(rng: Random) -> Array:
    """Labels that an additive kernel needs, over 16 orders."""
    return bar(*samples_needed("additive", 8, 0.6, 16, rng))


def kernel_exponent(rng: Random) -> Array:
    """Their exponent in N, propagated from the errors."""
    n = np.array([8, 12, 16, 24])
    true, error = 0.6 * n**2.0, 0.03 * n**2.0
    table = np.stack([true + error * rng.standard_normal(4), error], axis=-1)
    *_, slope, spread = kernel_slopes(np.stack([table, table]), tuple(n))
    return bar(slope[0], spread[0])


CUES = CueConflict(grammars=2, gaussian_data=300, sigma2=(0.3,), shape_dims=2, texture_dims=6)


def cue_bias(rng: Random) -> Array:
    """Binomial error of a shape bias on Gaussian classes."""
    p = float(gaussian_bias(CUES, rng)["noise_bias"][0])
    return bar(p, CUES.binomial_error(np.array(p)))


MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.1, seed=0)


def features(rng: Random) -> Array:
    """SNR of denoised features, over 6 seeds."""
    found = []
    for _ in range(6):
        x, k = MIXTURE.sample(90, rng)
        found.append(feature_snr(x, k, MIXTURE.bases))
    return bar(*over_seeds(found))


def information(rng: Random) -> Array:
    """Mutual information of a mixture, over 60 data."""
    found = mutual_information_sampled(MIXTURE, 0.5, 60, rng)
    return bar(found.value, found.error)


CLASSES = GaussianClasses([[0.0], [1.0]], [[1.0]])
POINT = [[2.0]]


def log_odds(rng: Random) -> Array:
    """Log ratio of likelihoods from denoising errors, 12 repetitions."""
    found = log_ratio(CLASSES, POINT, seed=rng, levels=16, replicas=12)
    return bar(found.estimate[0, 1], found.error[0, 1])


SMALL = RHM(8, 2, 2, 4)


def population(copies: int, divide: bool = False) -> Callable[[Random], Array]:
    """Belief in the class by density evolution, small populations."""

    def run(rng: Random) -> Array:
        found = population_dynamics(
            SMALL, MaskingNoise(8), 0.75, size=200, copies=copies, seed=rng
        )  # fmt: skip
        error = float(found.upward_error[0])
        return bar(found.upward[0], error / np.sqrt(copies) if divide else error)

    return run


def critical(rng: Random) -> Array:
    """Threshold by density evolution, four small populations."""
    found = critical_level(SMALL, GaussianNoise(8), size=200, copies=4, depth=4, seed=rng)
    return bar(found.value, found.error)


def few_networks(n: int, student: bool = True) -> Callable[[Random], Array]:
    """Mean over a few networks, as in the tables of networks."""

    def run(rng: Random) -> Array:
        mean, error = errors.mean_and_error(rng.standard_normal(n))
        return bar(mean, error * (errors.student_factor(n) if student else 1))

    return run


def true_bias() -> float:
    """Shape bias of the Gaussian classes, by quadrature."""
    return float(CUES.predict().noise_bias[0])


def true_odds() -> float:
    """Log ratio of the two densities."""
    return float(np.diff(CLASSES.log_density(POINT)[0])[0])


CASES: dict[str, Case] = {
    "mean, 24 grammars of 32 data": Case(nested(24, 32), 0.0, 24),
    "mean, 4 grammars of 32 data": Case(nested(4, 32), 0.0, 4),
    "mean, one grammar of 32 data": Case(nested(1, 32), 0.0, 32),
    "bootstrap of a mean, 24 units": Case(resampled, 0.0, 24),
    "threshold, 24 grammars of 32 data": Case(threshold(24, 32), PLACE, 24),
    "threshold, 24 grammars of 4 data": Case(threshold(24, 4), PLACE, 24),
    "threshold, 8 grammars of 8 data": Case(threshold(8, 8), PLACE, 8),
    "threshold, 3 grammars of 8 data (Student)": Case(threshold(3, 8), PLACE, 3, True),
    "threshold, one grammar of 32 data": Case(threshold(1, 32), PLACE, 32),
    "threshold, one grammar of 4 data (Student)": Case(threshold(1, 4), PLACE, 4, True),
    "threshold, limit in depth": Case(depths, 0.27),
    "disorder, 48 grammars of 16 data": Case(quenched_disorder, QUENCHED**2),
    "retention, 200 independent trials": Case(proportion(200, 0.3), 0.3),
    "retention, 20 independent trials": Case(proportion(20, 0.3), 0.3),
    "retention, 24 grammars of 32 data": Case(kept_class(24, 32), 0.6),
    "retention, 4 grammars of 16 data": Case(kept_class(4, 16), 0.6),
    "crossover to memory, 12 seeds": Case(turning_point, float(np.log(170)), 12),
    "susceptibility, ratio of means, 24 grammars": Case(ratio_of_means, 3.0, 24),
    "susceptibility, place of the peak": Case(susceptibility_peak(False), 0.3, 24),
    "susceptibility, height of the peak": Case(susceptibility_peak(True), None, 24),
    "order of finite chains": Case(order_of_chains, 1.0),
    "triplets, 40 objects": Case(shared_objects, 0.0),
    "affine probe, held-out accuracy": Case(affine_probe, None, share=0.2),
    "calibration error, 12 grammars": Case(calibration, None, 12),
    "area under the ROC, 12 grammars": Case(area, None, 12),
    "exponent of the cost in m": Case(cost_exponent, 3.0),
    "labels that a kernel needs, 16 orders": Case(kernel_samples, None, 16, share=0.5),
    "exponent of the labels": Case(kernel_exponent, 2.0),
    "shape bias, binomial": Case(cue_bias, true_bias),
    "SNR of features, 6 seeds": Case(features, lambda: float(snr(3, 2, 0.1, 1e-6)), 6),
    "mutual information, 60 data": Case(
        information, lambda: mutual_information_mixture(3, 2, 0.1, 0.5), 60
    ),
    "log odds from denoising errors, 12 replicas": Case(log_odds, true_odds, 12),
    "density evolution, 4 copies": Case(population(4), None, 4, share=0.5),
    "density evolution, 16 copies": Case(population(16), None, 16, share=0.3),
    "threshold of density evolution, 4 copies": Case(critical, None, 4, share=0.15),
    "2 networks (Student)": Case(few_networks(2), 0.0, 2, True),
    "3 networks (Student)": Case(few_networks(3), 0.0, 3, True),
    "6 networks (Student)": Case(few_networks(6), 0.0, 6, True),
    "wrong: data of all grammars independent": Case(independent_data, 0.0, wrong=True),
    "wrong: data drawn again inside grammars": Case(data_drawn_again, PLACE, wrong=True),
    "wrong: divided by n, not by its root": Case(divided_by_n, 0.0, wrong=True),
    "wrong: populations, error over root of copies": Case(
        population(4, divide=True), None, wrong=True, share=0.3
    ),
    "wrong: bootstrap that draws nothing": Case(never_resampled, 0.0, wrong=True),
    "wrong: retention of grammars as independent": Case(kept_class_independent, 0.6, wrong=True),
    "wrong: spread of single grammars as disorder": Case(thermal_disorder, QUENCHED**2, wrong=True),
    "wrong: triplets as independent": Case(independent_triplets, 0.0, wrong=True),
    "wrong: 3 networks without Student": Case(few_networks(3, False), 0.0, wrong=True),
}
"""Every error bar, by name."""


# One task is a block of repetitions of one case.


def repeat(name: str, first: int, last: int, seed: int) -> dict[str, Array]:
    """Rows of value and interval ends [repetition, 5]."""
    run = CASES[name].run
    return {"rows": np.stack([run(stream(seed, "coverage", name, i)) for i in range(first, last)])}


def covered(case: Case, rows: Array) -> Array:
    """Share of the repetitions whose intervals hold the truth, [one and two errors]."""
    truth = case.true_value(rows[:, 0])
    inside = (rows[:, (1, 3)] <= truth) & (truth <= rows[:, (2, 4)])
    return np.asarray(inside.mean(axis=0))


def promised(case: Case) -> tuple[float, float]:
    """Nominal coverage: of a normal variable, or of Student's where the error is a plain one."""
    if case.units is None or case.units < 2:
        return NORMAL
    law = stats.t(case.units - 1)
    width = errors.student_factor(case.units) if case.student else 1.0
    one, two = (float(law.cdf(k * width) - law.cdf(-k * width)) for k in (1, 2))
    return one, two


@dataclass(frozen=True)
class Coverage:
    """Share of repetitions in which every error bar of the package contains the true value.

    Notes
    -----
    Validity: shares have binomial errors; those of estimates without a known true value test the
    size of the error alone.

    Examples
    --------
    >>> ds = Coverage(repetitions=20, names=("2 networks",)).measure(workers=1)
    >>> ds.case.values.tolist(), ds.repetitions.values.tolist()
    (['2 networks (Student)'], [20])
    """

    name: ClassVar[str] = "coverage"
    _repr_html_ = experiment_html

    repetitions: int = 400
    """Repetitions of every case; of slow ones a share."""
    names: tuple[str, ...] = ()
    """Cases whose name contains one of these; default all."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, repetitions=partial(whole, low=20, high=10**8), seed=natural,
        )  # fmt: skip
        self.chosen()

    def chosen(self) -> list[str]:
        """Names of the cases."""
        found = [
            n for n in CASES if not self.names or any(part and part in n for part in self.names)
        ]
        if not found:
            raise InvalidParameter(f"names = {self.names} fit none of {', '.join(CASES)}")
        return found

    @results.tracked
    @checked
    def predict(self, law: Literal["nominal"] = "nominal") -> xr.Dataset:
        """The coverage that every error bar states, normal or Student's."""
        one_of("law", law, ("nominal",))
        names = self.chosen()
        nominal = np.array([promised(CASES[n]) for n in names])
        plane = ("case", "errors")
        variables = {
            "covered": (plane, nominal, _COVERED),
            "covered_error": (plane, np.zeros_like(nominal), _DOUBT),
        }
        return results.label(variables, _axes(names), "theory", results.provenance(asdict(self)))

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
        """Coverage of all cases."""
        no_model(
            self.name, model, data, "it tries estimators on made-up samples; leave the model out"
        )
        names, tasks, where, block = self.chosen(), [], [], 50
        counts = [max(20, round(self.repetitions * CASES[n].share)) for n in names]
        for k, (name, total) in enumerate(zip(names, counts, strict=True)):
            for first in range(0, total, block):
                last = min(first + block, total)
                parameters = {"version": 1, "question": "coverage", "case": name, "first": first,
                              "last": last, "seed": self.seed}  # fmt: skip
                tasks.append(Task(repeat, (name, first, last, self.seed), parameters))
                where.append(k)
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="coverage")
        shares = []
        for k, name in enumerate(names):
            rows = np.concatenate(
                [f["rows"] for f, at in zip(found, where, strict=True) if at == k]
            )
            shares.append(covered(CASES[name], rows))
        nominal = np.array([promised(CASES[n]) for n in names])
        doubt = np.sqrt(nominal * (1 - nominal) / np.array(counts)[:, None])
        plane, one = ("case", "errors"), ("case",)
        variables = {
            "covered": (plane, np.array(shares), _COVERED),
            "covered_error": (plane, doubt, _DOUBT),
            "nominal": (plane, nominal, "share that is promised"),
            "repetitions": (one, counts, "repetitions"),
            "wrong": (one, [CASES[n].wrong for n in names], "planted"),
        }
        made = results.provenance(asdict(self))
        return results.label(variables, _axes(names), "simulation", made)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Measured shares and stated ones, with planted wrong error bars in red."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Measured and stated coverage of every error bar."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def _axes(names: list[str]) -> dict[str, Any]:
    """Coordinates of all results."""
    return {
        "case": (("case",), names, "error bar"),
        "errors": (("errors",), [1, 2], "half width of the interval, in errors"),
    }


def scores(ds: xr.Dataset) -> Array:
    """Measured less promised coverage over its binomial error, [case, errors]."""
    return np.asarray(((ds.covered - ds.nominal) / ds.covered_error).values)


def table(ds: xr.Dataset) -> str:
    """A row per error bar."""
    header = ["error bar", "runs", *(x for k in (1, 2) for x in (f"±{k}", "promised"))]
    rows = []
    for name in ds.case.values:
        x = ds.sel(case=name)
        cells = [
            word
            for k in (0, 1)
            for word in (f"{float(x.covered[k]):.3f}",
                         plus_minus(x.nominal[k], x.covered_error[k]))
        ]  # fmt: skip
        rows.append([name, int(x.repetitions), *cells])
    return text_table(header, rows)


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """Shares of every error bar."""
    rows = {}
    for name in ds.case.values:
        x = ds.sel(case=name)
        rows[str(name)] = {
            "covered": x.covered.values.tolist(), "promised": x.nominal.values.tolist(),
            "error": x.covered_error.values.tolist(), "repetitions": int(x.repetitions),
            "wrong": bool(x.wrong),
        }  # fmt: skip
    return {"cases": rows}


def claim(ds: xr.Dataset) -> str:
    """How many error bars cover as stated, and how many planted ones are rejected."""
    z, wrong = scores(ds), ds.wrong.values
    own = z[~wrong]
    low = [str(n) for n, s in zip(ds.case.values[~wrong], own, strict=True) if s.min() < -3]
    text = (
        f"{len(own)} error bars cover within three binomial errors of what they promise or more "
        f"often, but for {len(low)}" + (f" ({'; '.join(low)})" if low else "")
    )
    if wrong.any():
        text += (
            f"; {int((np.abs(z[wrong]).max(axis=1) > 4).sum())} of {int(wrong.sum())} planted "
            "wrong ones are rejected at four"
        )
    return text


def draw(ds: xr.Dataset) -> Figure:
    """Measured and stated shares."""
    n = ds.sizes["case"]
    figure, axes = plt.subplots(
        1, 2, figsize=(11, 1.5 + 0.22 * n), layout="constrained", sharey=True
    )
    rows = np.arange(n)[::-1]
    for k, ax in enumerate(axes):
        colours = np.where(ds.wrong.values, ORANGE, BLUE)
        for row, value, error, colour in zip(
            rows, ds.covered[:, k].values, ds.covered_error[:, k].values, colours, strict=True
        ):
            ax.errorbar(value, row, xerr=error, fmt="o", ms=3, lw=0.8, color=colour)
        ax.plot(ds.nominal[:, k], rows, "k|", ms=8, label="promised")
        ax.axvline(NORMAL[k], **GUIDE)
        ax.set(xlabel=f"share of ±{k + 1} errors that hold the truth", xlim=(-0.02, 1.02))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(rows, ds.case.values, fontsize=FONT)
    axes[0].plot([], [], "o", ms=3, color=BLUE, label="covered, with its error")
    axes[0].plot([], [], "o", ms=3, color=ORANGE, label="the same of a planted wrong error bar")
    axes[0].set_ylim(-0.8, n - 0.2)
    panels(axes, "one standard error", "two standard errors")
    shared_legend(figure, axes[0])
    return figure
