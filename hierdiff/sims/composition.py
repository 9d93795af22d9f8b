"""Composition: what the levels of a hierarchy cost, and what partial knowledge generates.

Three experiments under one name and one set of flags: the cost of finding the synonyms of every
height (:mod:`hierdiff.sims.synonym_learning`), strings of denoisers that carry the rules up to a
height (:mod:`hierdiff.sims.truncated_denoisers`), and labels with two factors for a kernel that
adds and for one that multiplies (:mod:`hierdiff.sims.kernel_learning`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import xarray as xr

from hierdiff import results
from hierdiff._display import experiment_html
from hierdiff.checks import check_fields, checked, interval, listed, natural, text, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import noise_name
from hierdiff.plots import Figure, measured_last, panel_figure
from hierdiff.sims.kernel_learning import KernelLearning
from hierdiff.sims.models.context_clustering import Context
from hierdiff.sims.synonym_learning import LAWS, SynonymLearning
from hierdiff.sims.truncated_denoisers import TruncatedDenoisers

__all__ = ["Composition", "Part"]

Part: TypeAlias = Literal["cost", "denoisers", "kernels"]
Experiment: TypeAlias = SynonymLearning | TruncatedDenoisers | KernelLearning

PARTS: tuple[Part, ...] = ("cost", "denoisers", "kernels")


@dataclass(frozen=True)
class Composition:
    """Cost of learning the levels of a hierarchy, strings of partial knowledge, cost of factors.

    Notes
    -----
    Validity: that of the three experiments.  Errors are over grammars (cost, denoisers) or orders
    of the labels (kernels).

    References
    ----------
    arXiv 2502.12089 (cost), 2402.03305 (phases), 2408.13256 (factors).

    Examples
    --------
    >>> experiment = Composition(v=8, multiplicities=(2, 3), heights=(1,), grammars=3,
    ...                          sample_range=(-6, 6), parts=("cost",))
    >>> measured = experiment.measure()
    >>> dict(measured.exponent.sizes), str(measured.source.values)
    ({'learner': 2, 'height': 1}, 'simulation')
    >>> experiment.predict("correlations").exponent.values.round(9).tolist()
    [[3.0], [3.0]]
    """

    name: ClassVar[str] = "composition"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (
        "composition", "composition_theory", "composition_coincidences", "composition_next_token"
    )  # fmt: skip
    renamed: ClassVar[Mapping[str, str]] = {
        "span": "sample_range", "half": "success_threshold", "levels": "num_levels",
        "symbols": "denoiser_v", "rules": "denoiser_m", "depth": "denoiser_L",
    }  # fmt: skip

    v: int = 32
    """Symbols per level of the grammars that are learned."""
    s: int = 2
    """Symbols that a rule writes, in all grammars."""
    multiplicities: tuple[int, ...] = (2, 3, 4, 6)
    """Rules per symbol m, over which exponents are fitted; keep m well below v**(s - 1)."""
    heights: tuple[int, ...] = (1, 2, 3)
    """Heights of the symbols that are to be recognised; grammars are one deeper than the last."""
    grammars: int = 24
    """Random grammars per m, and of the denoisers."""
    repeats: int = 2
    """Independent data sets per grammar and height, over which learning curves are averaged."""
    context: Context = "token"
    """Which context is read: one token, or all leaves below the next nodes."""
    sample_range: tuple[float, float] = (-7.0, 5.0)
    """Range of P in powers of two, relative to v m^(h + 2)."""
    success_threshold: float = 0.5
    """Height of the learning curve, as a share of that on infinite data, which defines P*."""
    denoiser_v: int = 16
    """Symbols v per level of the grammars whose truncated denoisers are sampled."""
    denoiser_m: int = 4
    """Their rules per symbol m."""
    denoiser_L: int = 4  # noqa: N815  (the papers' letter)
    """Their levels of rules L."""
    noise: str = "masking"
    """Forward process of the denoisers."""
    num_levels: int = 11
    """Noise levels between 0 and 1, evenly spaced."""
    data: int = 64
    """Data per grammar that are noised and denoised."""
    positions: tuple[int, ...] = (8, 12, 16, 24, 32)
    """Values N of each coordinate of a label."""
    orders: int = 32
    """Random orders of the labels per N."""
    target: float = 0.6
    """Accuracy in both coordinates that a kernel must reach."""
    width: float = 0.75
    """Width of the stripes that a kernel predicts, in pixels."""
    parts: tuple[Part, ...] = PARTS
    """What is measured: cost, denoisers, kernels."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, sample_range=interval, num_levels=partial(whole, low=2, high=10**5),
            parts=partial(listed, rule=text), seed=natural,
            noise=partial(noise_name, channel=True),
        )  # fmt: skip
        if not self.parts or not {*self.parts} <= {*PARTS}:
            raise InvalidParameter(f"parts = {self.parts} must name some of {', '.join(PARTS)}")
        # each part refuses what it cannot use, also when it is not measured
        _ = self.cost, self.denoisers, self.kernels

    @property
    def cost(self) -> SynonymLearning:
        """Data that each height costs."""
        return SynonymLearning(
            self.v, self.s, self.multiplicities, self.heights, self.grammars, self.repeats,
            self.context, self.sample_range, self.success_threshold, self.seed,
        )  # fmt: skip

    @property
    def denoisers(self) -> TruncatedDenoisers:
        """Strings of partial knowledge."""
        return TruncatedDenoisers(
            self.denoiser_v, self.denoiser_m, self.s, self.denoiser_L, self.noise,
            self.num_levels, self.data, self.grammars, self.seed,
        )  # fmt: skip

    @property
    def kernels(self) -> KernelLearning:
        """Labels with two factors."""
        return KernelLearning(self.positions, self.orders, self.target, self.width, self.seed)

    @results.tracked
    @checked
    def predict(self, law: str = "correlations") -> xr.Dataset:
        """What a law says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"correlations", "coincidences", "next_token"}
            Of P*, as in :meth:`hierdiff.sims.synonym_learning.SynonymLearning.predict`; the other
            variables are the same for all laws.

        Returns
        -------
        xarray.Dataset
            The variables of the parts.

        Raises
        ------
        InvalidParameter
            If the law is unknown.
        """
        if law not in LAWS:
            raise InvalidParameter(f"law = {law!r} is not known; use {', '.join(LAWS)}")
        found = [
            self.cost.predict(law) if part == "cost" else self._part(part).predict()
            for part in self.parts
        ]
        return self._together(found, {"law": law})

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Grammar | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Learn, denoise, regress.

        Parameters
        ----------
        model : DiffusionModel, optional
            Its samples are parsed in place of those of truncated denoisers, and nothing else is
            measured; it must have the noise and symbols of this experiment.
        data : Grammar, optional
            The grammar that ``model`` was trained on; needed with it.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            The variables of the parts.

        Raises
        ------
        InvalidParameter
            If a model has another noise process or comes without its grammar.
        """
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None or data is not None:
            return self._together([self.denoisers.measure(model, data, **options)], {})
        found = [self._part(part).measure(**options) for part in self.parts]
        return self._together(found, {})

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Grammar | None = None
    ) -> dict[str, xr.Dataset]:
        """The three laws and the measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        names = ("theory", "coincidences", "next_token")
        laws = {f"composition_{k}": self.predict(law) for k, law in zip(names, LAWS, strict=True)}
        return {**laws, "composition": measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """All parts that were measured, side by side."""
        figure = panel_figure([
            panel for one in self._measured(datasets) for panel in one.panels(datasets)
        ])  # fmt: skip
        for ax in figure.axes:  # the next panel has the same legend
            legend = ax.get_legend()
            if legend and ax.get_title("left").endswith("strings, class not given"):
                legend.remove()
        return figure

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Tables and numbers of the parts, and their claims as one sentence."""
        found = [one.summary(datasets) for one in self._measured(datasets)]
        values: dict[str, Any] = {}
        for part in found:
            values |= part.values
        return Summary("\n".join(x.table for x in found), "; ".join(x.claim for x in found), values)

    def _part(self, part: Part) -> Experiment:
        found: Experiment = getattr(self, part)
        return found

    def _measured(self, datasets: Mapping[str, xr.Dataset]) -> list[Experiment]:
        """The experiments whose variables the last dataset holds."""
        _, measured = measured_last(list(datasets.values()), "Composition")
        marks: dict[Part, str] = {
            "cost": "samples", "denoisers": "validity", "kernels": "kernel_samples"
        }  # fmt: skip
        return [self._part(part) for part, mark in marks.items() if mark in measured]

    def _together(self, found: Iterable[xr.Dataset], more: Mapping[str, str]) -> xr.Dataset:
        """The variables of several experiments in one dataset, under the parameters of this one."""
        parts = list(found)
        variables: dict[str, Any] = {}
        coords: dict[str, Any] = {}
        for ds in parts:
            for into, of in ((variables, ds.data_vars), (coords, ds.drop_vars("source").coords)):
                for k, x in of.items():
                    dims = tuple(map(str, x.dims))
                    into[str(k)] = (dims, x.values, str(x.attrs["long_name"]))
        attributes = {**results.provenance(asdict(self)), **more}
        return results.label(variables, coords, str(parts[0].source.values), attributes)
