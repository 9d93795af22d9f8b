r"""A denoiser that is told the class, as a classifier.

.. math:: \hat y = \arg\min_c \frac1N \sum_{i=1}^N w(t_i)\,|x_0 - \hat x_c(x_{t_i})|^2

On random grammars with soft leaves the class denoisers are exact, so that everything seen is a
property of the scoring rule and of the data, and Bayes' ceiling is known.  Measured are accuracy
against weight and budget, with noise shared by the classes or not; single noise levels; two ways
to save calls, and calls as a confidence; confusion when a node of any level is the class.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    memory,
    natural,
    number,
    text,
    whole,
)
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.sims._classification_summary import summarise
from hierdiff.sims._classification_tasks import (
    LEARNED,
    Settings,
    given_task,
    grammar_task,
    limit_task,
)
from hierdiff.sims._error_pools import ConditionalDenoiser, DenoiserErrors, HasErrors
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.inputs import checked_labels
from hierdiff.theory.zero_shot.weightings import WEIGHTINGS

__all__ = ["Classification"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Classification:
    """Accuracy of a denoising-error classifier beside Bayes' ceiling, on random grammars.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: errors are over grammars.  All weights and budgets see the same samples, so compare
    them pairwise.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233; Li et al., arXiv 2303.16203.

    Examples
    --------
    >>> experiment = Classification(
    ...     v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 30), own_budgets=(1, 4),
    ...     levels=(0.2,), repeats=2, buckets=4, keep=(1,), stages=(20,), level_data=8,
    ...     level_samples=8, strata=16)
    >>> measured = experiment.measure()
    >>> dict(measured.accuracy.sizes), str(measured.source.values)
    ({'weighting': 6, 'budget': 2}, 'simulation')
    >>> experiment.predict().accuracy.dims
    ('weighting', 'budget')
    """

    v: int = 8
    """Symbols per level, and classes."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Depth of the hierarchy."""
    tau: float = 0.42
    """Softness of the leaves; it sets Bayes' ceiling."""
    grammars: int = 12
    """Random grammars, over which errors are taken."""
    data: int = 200
    """Data per grammar, spread evenly over the classes."""
    weightings: tuple[str, ...] = (*WEIGHTINGS, LEARNED)
    """Weights of the error of x0: vdm, snr, exp, uniform, late, learned."""
    budgets: tuple[int, ...] = (1, 3, 10, 30, 100, 400)
    """Samples (t, eps) per datum, noise shared by the classes."""
    own_budgets: tuple[int, ...] = (1, 3, 10, 30, 100)
    """Samples per datum and class, every class with noise of its own."""
    levels: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8)
    """Times at which a single sample is tried."""
    repeats: int = 4
    """Single samples per datum and time."""
    buckets: int = 20
    """Intervals of t with a learned weight."""
    p: float = 2e-3
    """P-value of the t-test that drops a class."""
    min_scores: int = 20
    """Samples before the first test."""
    keep: tuple[int, ...] = (4, 2, 1)
    """Classes kept after each stage of the staged elimination."""
    stages: tuple[int, ...] = (25, 100, 400)
    """Samples at the end of each stage, cumulative."""
    level_data: int = 100
    """Data per grammar for the confusion of inner nodes."""
    level_samples: int = 60
    """Samples per datum for it."""
    strata: int = 128
    """Strata of t, two samples in each, for the limit laws."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, grammars=partial(whole, high=10**6), data=partial(whole, high=10**8),
            budgets=partial(listed, rule=partial(whole, high=10**9), distinct=False),
            own_budgets=partial(listed, rule=partial(whole, high=10**9), distinct=False),
            weightings=partial(listed, rule=text), levels=partial(listed, rule=number),
            repeats=partial(whole, high=10**6),
            buckets=partial(whole, high=10**6), p=partial(number, low=0, below=1),
            min_scores=partial(whole, low=2), keep=partial(listed, rule=count, distinct=False),
            stages=partial(listed, rule=count, distinct=False),
            level_data=partial(whole, high=10**8), level_samples=partial(whole, high=10**6),
            strata=partial(whole, high=10**7),
            seed=natural,
        )  # fmt: skip
        rhm = self.rhm
        affordable(rhm, self.data)
        least = {"grammars": 2, "data": 2 * rhm.n_classes, "repeats": 1, "buckets": 1, "strata": 8,
                 "level_data": 1, "level_samples": 1, "seed": 0}  # fmt: skip
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        if not self.tau > 0:
            raise InvalidParameter(f"tau = {self.tau} must be > 0; hard leaves decide at once")
        for name in ("budgets", "own_budgets"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1 or list(sizes) != sorted(set(sizes)):
                raise InvalidParameter(f"{name} = {sizes} must be increasing numbers >= 1")
            memory(f"{name} up to {sizes[-1]} samples", 8.0 * sizes[-1] * rhm.n_classes)
        # as hierdiff.sims.pruning.staged_elimination wants them
        left = (rhm.n_classes, *self.keep)
        if (
            len(self.keep) != len(self.stages) or self.keep[-1] != 1
            or any(b > a for a, b in itertools.pairwise(left))
            or any(b <= a for a, b in itertools.pairwise(self.stages))
        ):  # fmt: skip
            raise InvalidParameter(
                f"keep = {self.keep} must decrease from {rhm.n_classes} classes to 1, one number "
                f"for each of the increasing stages = {self.stages}"
            )
        known = (*WEIGHTINGS, LEARNED)
        if not self.weightings or {*self.weightings} - {*known}:
            raise InvalidParameter(
                f"weightings = {self.weightings} must name some of {', '.join(known)}"
            )
        if not self.levels or not all(0 < t < 1 for t in self.levels):
            raise InvalidParameter(f"levels = {self.levels} must be times between 0 and 1")
        if self.stages[-1:] > self.budgets[-1:] or self.min_scores > self.budgets[-1]:
            raise InvalidParameter(
                f"stages = {self.stages} and min_scores = {self.min_scores} need more samples than"
                f" the largest budget {self.budgets[-1]}; raise budgets"
            )

    @property
    def rhm(self) -> RHM:
        """The ensemble of grammars."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def settings(self) -> Settings:
        """The parameters in the form of the tasks."""
        chosen = {f: getattr(self, f) for f in Settings.__annotations__ if f != "rhm"}
        return Settings(rhm=self.rhm, **chosen)

    @results.tracked
    @checked
    def predict(
        self,
        law: str = "limit",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """What a law says of the grammars and data of :meth:`measure`, in the same labels.

        Parameters
        ----------
        law : {"limit", "bayes"}
            The limit laws of the scores at every budget, or Bayes' ceiling for all.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (weighting, budget), ``unshared`` (weighting, own_budget), ``bayes``, with
            errors over grammars; all weights but the learned one.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: "limit" from about N = 30 on, where the normal law holds; its moments come from
        samples other than those measured, extrapolated to an infinite number of them.  For the
        likelihood weight with unshared noise it is the stable law; learned weights, which are
        random themselves, have none.  "bayes" bounds every weight on average, not on every finite
        set of data.
        """
        if law not in ("limit", "bayes"):
            raise InvalidParameter(f"law = {law!r} is not known; use limit or bayes")
        found = self._run(limit_task, "limit", folder, workers, cluster)
        if law == "bayes":
            for f in found:
                f["accuracy"] = np.broadcast_to(f["bayes"], f["accuracy"].shape)
                f["unshared"] = np.broadcast_to(f["bayes"], f["unshared"].shape)
        return self._summary(found, "theory", law)

    @results.tracked
    @checked
    def measure(
        self,
        model: ConditionalDenoiser | None = None,
        data: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Classify the data of random grammars by exact denoisers, or given data by a given model.

        Parameters
        ----------
        model : conditional denoiser, optional
            With ``n_classes``, ``source`` and ``denoise(x_t, snr, label)``; x_t is
            variance-preserving.
        data : (array [n, ...], int array [n]), optional
            Clean data and their classes; needed with a model, and refused without one.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (weighting, budget), ``unshared`` (weighting, own_budget), ``single``
            (level), ``information`` (level), ``pruned``, ``staged`` and their calls per class,
            calibration, ``confusion`` (tree_level, true, answer), ``bayes``; q_error is the
            standard error of q over grammars, or over data if a model was given.

        Raises
        ------
        InvalidParameter
            For labels out of range, a class without data, a model without data.

        Notes
        -----
        Validity: noise is drawn with the cosine channel, t uniform in (0, 1).
        """
        if model is None and data is None:
            found = self._run(grammar_task, "measure", folder, workers, cluster)
            return self._summary(found, "simulation", "")
        if model is None or data is None:
            raise InvalidParameter("a model needs the data it is to classify, and data a model")
        x0, labels = np.asarray(data[0], float), np.asarray(data[1])
        labels = checked_labels(labels, len(x0), model.n_classes, every=True)
        exact = hasattr(model, "errors")  # of all classes at once
        world = cast(HasErrors, model) if exact else DenoiserErrors(model)
        task = Task(given_task, (self.settings, world, x0, labels), self._key("given"))
        found = run_tasks([task], folder, workers=workers, cluster=cluster, name="classification")
        source = "network" if model.source == "network" else "simulation"
        return self._summary(found, source, "")

    def _run(
        self, function: Any, kind: str, folder: Any, workers: int | None, cluster: str | None
    ) -> list[dict[str, Array]]:
        tasks = [
            Task(function, (self.settings, g), {**self._key(kind), "grammar": g})
            for g in range(self.grammars)
        ]
        return run_tasks(
            tasks, folder, workers=workers, cluster=cluster, name=f"classification {kind}"
        )  # fmt: skip

    def _summary(self, found: list[dict[str, Array]], source: str, law: str) -> xr.Dataset:
        return summarise(self.settings, asdict(self), found, source, law)

    def _key(self, kind: str) -> dict[str, Any]:
        fields = {k: v for k, v in asdict(self).items() if k != "grammars"}
        return {"version": 1, "question": f"classification {kind}", **fields}
