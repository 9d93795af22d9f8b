"""Representation in networks: the experiment of the exact denoisers, on trained ones.

=============  ==================================================================================
source         what is learned, and how features are read
=============  ==================================================================================
``mixture``    networks on points of a mixture of low-rank Gaussians: SNR, class energies and a
               linear probe of the denoised features, beside the exact law and the memorising
               denoiser, by :meth:`hierdiff.sims.representation.Representation.measure`
``factors``    networks on several mixtures, with and without the class: denoising strength and
               class confidence apart (:mod:`hierdiff.validation.experiments.snr_factors`)
``rhm``        networks on strings of a random grammar, ``digits`` on 8 x 8 digits, ``fashion`` on
               photographs of clothing, ``own`` and ``catalogue`` a network of yours or a
               published one on images: linear probes of every layer
               (:mod:`hierdiff.validation.experiments.layer_probes`)
=============  ==================================================================================

Networks are trained on N data, or on fresh ones without end, and read on data they have not seen.
For the mixture the ratio of the SNR at two fixed noise levels says whether a curve rises before it
falls; for the others the interior-peak gain of the probes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, plus_minus, text_table
from hierdiff.checks import check_fields, checked, instance, listed, natural, unchecked, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.plots import PALETTE, Axes, Figure, legend, level_colours, needs, panel, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error, student_factor, welch_score
from hierdiff.sims.representation import Representation
from hierdiff.validation.experiments import (
    architecture_rule,
    checkpoint_suffix,
    clear_checkpoints,
    source_arguments,
)
from hierdiff.validation.experiments.layer_probes import (
    DigitNetworks,
    FashionNetworks,
    PublishedNetwork,
    StringNetworks,
    labelled_models,
    layer_probe_figure,
    probe_layers,
    probe_own_layers,
    probe_summary,
)
from hierdiff.validation.experiments.noise_levels import (
    DigitLevels,
    MixtureLevels,
    levels_figure,
    levels_summary,
    read_digits,
    read_mixture,
)
from hierdiff.validation.experiments.own_images import OwnProbed
from hierdiff.validation.experiments.snr_factors import (
    MixtureFactors,
    factor_figure,
    factor_law,
    factor_summary,
    measure_factors,
)
from hierdiff.validation.recipes import train_vector_network
from hierdiff.validation.training import TrainConfig

__all__ = ["MixtureNetworks", "NetworkRepresentation", "network_representation_figure"]

Array: TypeAlias = NDArray[Any]

_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted
_MAKER = "NetworkRepresentation"
_CURVES = ("model", "split", "n_train", "sigma")


@dataclass(frozen=True)
class MixtureNetworks:
    """Networks trained here on points of a mixture of low-rank Gaussians."""

    classes: int = 3
    """Classes K."""
    rank: int = 10
    """Rank d of every class."""
    delta: float = 0.2
    """Amplitude of the residual."""
    dim: int = 30
    """Ambient dimension."""
    sigmas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.43, 0.6, 0.85, 1.1, 1.6)
    """Noise levels, relative to the signal."""
    n_train: tuple[int, ...] = (60, 1000, 0)
    """Training points; 0 draws fresh ones for every step."""
    networks: int = 3
    """Networks per size, with data and weights of their own, over which errors are taken."""
    steps: int = 2500
    """Training steps."""
    width: int = 192
    """Features per layer."""
    depth: int = 2
    """Residual blocks."""
    test: int = 900
    """Test points."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for mixtures."""

    def __post_init__(self) -> None:
        check_fields(
            self, n_train=partial(listed, rule=partial(whole, high=10**9)),
            networks=partial(whole, low=2, high=10**9), steps=_COUNT, width=_COUNT, depth=_COUNT,
            test=_COUNT, architecture=architecture_rule(LowRankMixture),
        )  # fmt: skip


@dataclass(frozen=True)
class NetworkRepresentation:
    """Quality of a network's features against noise, for training sets of several sizes.

    Notes
    -----
    Validity: errors are Student's over networks (mixture), or over data and networks (layers).
    """

    name: ClassVar[str] = "network_representation"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (
        "network_representation", "network_representation_theory",
        "network_representation_memorising", "network_representation_mean_field",
    )  # fmt: skip
    sources: ClassVar[Mapping[str, type]] = {
        "mixture": MixtureNetworks, "factors": MixtureFactors, "rhm": StringNetworks,
        "digits": DigitNetworks, "fashion": FashionNetworks, "own": OwnProbed,
        "catalogue": PublishedNetwork,
        "levels": MixtureLevels, "digit-levels": DigitLevels,
    }  # fmt: skip
    renamed: ClassVar[Mapping[str, str]] = {"few": "shots"}

    source: (
        Annotated[MixtureNetworks, tyro.conf.subcommand("mixture")]
        | Annotated[MixtureFactors, tyro.conf.subcommand("factors")]
        | Annotated[StringNetworks, tyro.conf.subcommand("rhm")]
        | Annotated[DigitNetworks, tyro.conf.subcommand("digits")]
        | Annotated[FashionNetworks, tyro.conf.subcommand("fashion")]
        | Annotated[OwnProbed, tyro.conf.subcommand("own")]
        | Annotated[PublishedNetwork, tyro.conf.subcommand("catalogue")]
        | Annotated[MixtureLevels, tyro.conf.subcommand("levels")]
        | Annotated[DigitLevels, tyro.conf.subcommand("digit-levels")]
    ) = field(default_factory=MixtureNetworks)
    """Which network on which data."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(self, source=unchecked, seed=natural)
        if not isinstance(self.source, tuple(self.sources.values())):
            instance("source", self.source, MixtureNetworks)
        if isinstance(self.source, MixtureNetworks):
            _ = self.experiment

    @classmethod
    def arguments(cls, words: Sequence[str]) -> list[str]:
        """The command line with the source as a subcommand."""
        return source_arguments(cls.sources, words)

    @property
    def experiment(self) -> Representation:
        """The experiment that networks on a mixture are put to.

        Raises
        ------
        InvalidParameter
            For other sources.
        """
        s = self.source
        if not isinstance(s, MixtureNetworks):
            raise InvalidParameter(
                "layers of networks on strings and images are probed, which has no law and takes "
                "no model; use the source mixture"
            )
        return Representation(
            classes=s.classes, rank=s.rank, delta=s.delta, dim=s.dim, sigmas=s.sigmas,
            models=("memorising",), seeds=2, test=s.test, seed=self.seed,
            quantities=("snr", "linear", "projection"),
            n_train=tuple(n for n in s.n_train if n) or (60,),
        )  # fmt: skip

    @results.tracked
    @checked
    def predict(self, law: str = "exact") -> xr.Dataset:
        """The law of the population, for every size of the training set.

        Parameters
        ----------
        law : {"exact", "mean_field"}
            As in :meth:`hierdiff.sims.representation.Representation.predict`.

        Returns
        -------
        xarray.Dataset
            As there, with the sizes of the networks' training sets; it depends on none of them.
            For ``factors`` ``snr``, ``strength``, ``rate`` and ``confidence`` (run, sigma).

        Raises
        ------
        InvalidParameter
            For other sources than these two.
        """
        if isinstance(self.source, MixtureFactors):
            return factor_law(self.source, law, asdict(self))
        experiment = self.experiment
        sizes = self._mixture.n_train
        found = experiment.predict(law).isel(n_train=[0] * len(sizes))
        return found.assign_coords(n_train=("n_train", list(sizes), found.n_train.attrs))

    @results.tracked
    @checked(model=unchecked, data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Features of networks, by default of those that the source names.

        Parameters
        ----------
        model, data
            For the mixture, as in
            :meth:`hierdiff.sims.representation.Representation.measure`; ``factors`` takes a model
            that can be conditioned on the class.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            For the mixture ``snr``, ``linear``, ``projection`` (model, split, n_train, sigma),
            ``ratio``, ``linear_rise``, ``projection_rise`` and ``denoising`` (model, split,
            n_train); for ``factors`` those of
            :func:`hierdiff.validation.experiments.snr_factors.separated_factors` (run, sigma);
            for other sources ``accuracy`` (probe, row, t) and ``gain`` (probe, row),
            and for levels those of :mod:`hierdiff.validation.experiments.noise_levels`.

        Raises
        ------
        InvalidParameter
            If a model cannot answer, or is given for another source than the mixture.
        """
        if isinstance(self.source, (OwnProbed, MixtureFactors)):
            return self._trained(None if folder is None else Path(folder), "cpu", model)
        if model is not None or data is not None:
            _refuse_images(model)
            return self.experiment.measure(
                model, data, folder=folder, workers=workers, cluster=cluster
            )
        return self._trained(None, "cpu")

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Exact law, what stands beside it, and networks; of layers all rows in one."""
        if not run.resume:
            clear_checkpoints(run.folder, "vectors-*", "probe-*", "factors-*", "levels-*")
        if isinstance(self.source, MixtureFactors):
            return {
                f"{self.name}_theory": self.predict(),
                f"{self.name}_mean_field": self.predict("mean_field"),
                self.name: self._trained(run.folder, run.device, model),
            }
        if not isinstance(self.source, MixtureNetworks):
            if model is not None and not isinstance(self.source, OwnProbed):
                _ = self.experiment  # which says that only the mixture takes models
            return {self.name: self._trained(run.folder, run.device, model)}
        _refuse_images(model)
        seeds = max(4, self.source.networks)
        memory = replace(self.experiment, seeds=seeds).measure(**run.tasks(self.name))
        if model is None:
            network = self._trained(run.folder, run.device)
        else:
            network = self.measure(model, data, **run.tasks(self.name))
        return {
            f"{self.name}_theory": self.predict(), f"{self.name}_memorising": memory,
            self.name: network,
        }  # fmt: skip

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Features against noise, and for networks on a mixture what makes them so."""
        if isinstance(self.source, MixtureFactors):
            return factor_figure(*self._factor_parts(datasets))
        if isinstance(self.source, MixtureNetworks):
            return network_representation_figure(*datasets.values())
        if isinstance(self.source, (MixtureLevels, DigitLevels)):
            return levels_figure(datasets[self.name])
        return layer_probe_figure(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Which networks rise before they fall, or what a second noise level is worth."""
        if isinstance(self.source, MixtureFactors):
            return factor_summary(*self._factor_parts(datasets))
        if isinstance(self.source, (MixtureLevels, DigitLevels)):
            return levels_summary(datasets[self.name])
        if not isinstance(self.source, MixtureNetworks):
            return probe_summary(datasets[self.name])
        theory, memory, network = datasets.values()
        values = _values(theory, memory, network)
        return Summary(_table(theory, network, values), _claim(values), values)

    def _factor_parts(
        self, datasets: Mapping[str, xr.Dataset]
    ) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
        """Networks, exact law and closed form, by name: files are read back in another order."""
        name = self.name
        return datasets[name], datasets[f"{name}_theory"], datasets[f"{name}_mean_field"]

    @property
    def _mixture(self) -> MixtureNetworks:
        assert isinstance(self.source, MixtureNetworks)
        return self.source

    def _trained(self, folder: Path | None, device: str, model: Any = None) -> xr.Dataset:
        """The measurement on networks that are trained here or published."""
        if isinstance(self.source, MixtureNetworks):
            return self._on_mixture(folder, device)
        if isinstance(self.source, MixtureFactors):
            return measure_factors(
                self.source, self.seed, folder, device, asdict(self), model
            )  # fmt: skip
        if isinstance(self.source, OwnProbed):
            return probe_own_layers(
                self.source, model, folder, device, self.seed, asdict(self)
            )  # fmt: skip
        if isinstance(self.source, MixtureLevels):
            return read_mixture(self.source, self.seed, folder, device, asdict(self))
        if isinstance(self.source, DigitLevels):
            return read_digits(self.source, self.seed, folder, device, asdict(self))
        found = labelled_models(self.source, self.seed, folder, device)
        return probe_layers(found, self.source, self.seed, asdict(self))

    def _on_mixture(self, folder: Path | None, device: str) -> xr.Dataset:
        """Curves of all networks, and how much better they denoise their training points."""
        experiment, s = self.experiment, self._mixture
        steps = s.steps
        plan = TrainConfig(steps=steps, every=steps, rate=2e-3, average=0.995,
                    warmup=min(100, steps), device=device)  # fmt: skip
        curves: dict[str, list[list[Array]]] = {"snr": [], "linear": [], "projection": []}
        errors: list[list[Array]] = []
        for n in s.n_train:
            for rows in curves.values():
                rows.append([])
            errors.append([])
            for k in range(s.networks):
                x, labels = experiment.mixture.sample(n or 1000, stream(self.seed, "points", n, k))
                key = f"vectors-{n}-{k}-{self.seed}"
                key += checkpoint_suffix(LowRankMixture, s.architecture)
                model, _ = train_vector_network(
                    experiment.mixture, plan, data=x if n else None, width=s.width,
                    depth=s.depth, seed=self.seed + 1000 * k + n, network=s.architecture,
                    folder=None if folder is None else folder / key,
                )  # fmt: skip
                found = replace(experiment, seed=self.seed).measure(model, (x, labels))
                for name, rows in curves.items():
                    rows[-1].append(found[name].values[0, :, 0])  # [split, sigma]
                errors[-1].append(self._losses(model, x, experiment))
        text = {str(k): str(x.attrs["long_name"]) for k, x in found.data_vars.items()}
        return self._label({k: np.array(v) for k, v in curves.items()}, np.array(errors), text)

    def _losses(self, model: Any, x: Array, experiment: Representation) -> Array:
        """Squared denoising error per entry on training and on fresh points at the large level."""
        sigma, rng = experiment.sigma_high, stream(self.seed, "losses")
        found = []
        for points in (x[:400], experiment.mixture.sample(400, rng)[0]):
            noisy = (points + sigma * rng.standard_normal(points.shape)) / np.sqrt(1 + sigma**2)
            t = float(model.noise.level(sigma**-2))
            clean = model.denoise(noisy.astype(np.float32), t)
            found.append(float(((clean - points) ** 2).mean()))
        return np.array(found)

    def _label(
        self, curves: dict[str, Array], errors: Array, text: Mapping[str, str]
    ) -> xr.Dataset:
        """Curves [n_train, network, split, sigma] and errors [n_train, network, split]."""
        experiment, law = self.experiment, self.predict()
        marks = [experiment.sigma_low, experiment.sigma_high]
        low, high = np.searchsorted(experiment.noise_levels, marks)
        every = {
            **curves,
            "ratio": curves["snr"][..., high] / curves["snr"][..., low],
            "linear_rise": curves["linear"][..., high] - curves["linear"][..., low],
            "projection_rise": curves["projection"][..., high] - curves["projection"][..., low],
            "denoising": errors,
        }
        said = {**text, "denoising": "squared denoising error per entry at the exact peak"}
        variables: dict[str, Any] = {}
        for name, values in every.items():
            mean, error = values.mean(axis=1), student_error(np.moveaxis(values, 1, 0))
            mean, error = (np.moveaxis(x, 0, 1)[None] for x in (mean, error))
            variables |= results.with_error(name, _CURVES[: mean.ndim], mean, error, said[name])
        variables["networks"] = ((), self._mixture.networks, "networks of every size")
        coords: dict[str, Any] = {
            dim: ((dim,), law[dim].values, law[dim].attrs["long_name"]) for dim in _CURVES[1:]
        }
        coords["model"] = (("model",), ["given"], law.model.attrs["long_name"])
        return results.label(variables, coords, "network", results.provenance(asdict(self)))


def _refuse_images(model: DiffusionModel | None) -> None:
    """Refuse a model that declares images where vectors are measured."""
    shape = getattr(model, "shape", None)
    if isinstance(shape, tuple) and len(shape) == 3:
        raise InvalidParameter(
            f"model takes images of shape {list(shape)}, and the source mixture has vectors; give "
            "--images, or the source OwnProbed(images=...)"
        )


def _values(theory: xr.Dataset, memory: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """Ratios, probe rises, places of the peak and rank correlations with the exact curve."""
    law = theory.snr.values[0, 1, 0]
    found: dict[str, Any] = {
        "exact ratio": float(theory.ratio.values[0, 1, 0]),
        "exact peak": float(theory.peak_sigma),
        "networks": {},
    }
    if "networks" in network:
        found["networks per size"] = int(network.networks)
    for n in network.n_train.values:
        both = network.sel(n_train=n).isel(model=0)
        one = both.sel(split="test")
        top = int(one.snr.values.argmax())
        row = {
            "ratio": _pair(one, "ratio"),
            "linear rise": _pair(one, "linear_rise"),
            "projection rise": _pair(one, "projection_rise"),
            "peak at": float(one.sigma[top]),
            "next": [float(one.sigma[max(top - 1, 0)]),
                     float(one.sigma[min(top + 1, one.sizes["sigma"] - 1)])],
            "rank correlation": float(stats.spearmanr(one.snr.values, law).statistic),
        }  # fmt: skip
        if "denoising" in both:
            row |= {
                f"denoising error, {split}": _pair(both.sel(split=split), "denoising")
                for split in ("train", "test")
            }
        found["networks"][str(int(n))] = row
    found["memorising"] = {
        str(int(n)): _pair(memory.sel(n_train=n, split="test").isel(model=0), "ratio")
        for n in memory.n_train.values
    }
    return found


def _pair(ds: xr.Dataset, name: str) -> list[float]:
    return [float(ds[name]), float(ds[f"{name}_error"])]


def _named(n: int) -> str:
    return f"N = {int(n)}" if n else "fresh"


def _table(theory: xr.Dataset, network: xr.Dataset, values: dict[str, Any]) -> str:
    """SNR on test points at every noise level; then what is read off the curves of every size."""
    names = [_named(n) for n in network.n_train.values]
    rows, test = [], network.isel(model=0).sel(split="test")
    for k, sigma in enumerate(network.sigma.values):
        cells = [
            plus_minus(test.snr[i, k], test.snr_error[i, k], digits=2) for i in range(len(names))
        ]
        law = float(theory.snr.values[0, 1, 0][k])
        rows.append([f"{sigma:.3f}", f"{law:.2f}", *cells])
    curves = text_table(["sigma", "exact", *names], rows)
    keys = ("ratio", "projection rise", "linear rise", "denoising error, train",
            "denoising error, test")  # fmt: skip
    shown = [k for k in keys if all(k in x for x in values["networks"].values())]
    rows = [
        [_named(int(n)), f"{x['peak at']:.3f}", *(pair_text(x[k], 4) for k in shown)]
        for n, x in values["networks"].items()
    ]
    empty = [""] * (len(shown) - 1)
    rows += [
        [f"memory, N = {n}", "", plus_minus(a, b, digits=4), *empty]
        for n, (a, b) in values["memorising"].items()
    ]
    rows.append(["exact law", f"{values['exact peak']:.3f}", f"{values['exact ratio']:.4f}",
                 *empty])  # fmt: skip
    return f"{curves}\n\n{text_table(['trained on', 'peak at', *shown], rows)}"


def _claim(values: dict[str, Any]) -> str:
    """Whether the SNR of the first and of the last size rises before it falls."""
    rows, words = list(values["networks"].items()), []
    for n, x in (rows[0], rows[-1]):
        ratio, error = x["ratio"]
        shape = "rises before it falls" if ratio - 1 > 2 * error else (
            "only falls" if 1 - ratio > 2 * error else "is undecided")  # fmt: skip
        name = f"{n} points" if n != "0" else "fresh points"
        words.append(f"on {name} {shape} (ratio {ratio:.2f} ± {error:.2f})")
    text = f"the SNR of networks trained {' and '.join(dict.fromkeys(words))}"
    count = values.get("networks per size")
    if count and len(rows) > 1:
        # Student errors back to plain ones, whose units Welch's test counts
        pairs = [(x["ratio"][0], max(x["ratio"][1], 1e-12) / student_factor(count), count)
                 for _, x in rows]  # fmt: skip
        z = welch_score(pairs[-1], pairs[0])
        text += f", which differ with z = {z:.1f} (Welch, {count} networks each)"
    return text


# --- figure ---------------------------------------------------------------------------------------


@checked
def network_representation_figure(
    theory: xr.Dataset, memory: xr.Dataset, network: xr.Dataset
) -> Figure:
    """SNR of features, linear probe, and denoising error on seen and unseen points.

    Parameters
    ----------
    theory, memory, network : xarray.Dataset
        As ``NetworkRepresentation.datasets`` returns them.

    Returns
    -------
    matplotlib Figure
    """
    curves = ("snr", "snr_error", "projection", "projection_error")
    needs(network, dict.fromkeys(curves, _CURVES), _MAKER)
    trained = "denoising" in network
    if trained:
        needs(network, dict.fromkeys(("denoising", "denoising_error"), _CURVES[:3]), _MAKER)
    for ds, wanted in ((theory, ("snr", "projection")), (memory, ("snr",))):
        for name in wanted:
            if name not in ds or ds[name].dims[-1] != "sigma" or "sigma" not in ds.coords:
                raise InvalidParameter(
                    f"the dataset has no {name!r} along sigma; give one from {_MAKER}"
                )
    for name in ("snr", "projection"):
        if theory[name].ndim != 4 or theory[name].shape[1] < 2:
            raise InvalidParameter(
                f"{name!r} of the theory has shape {theory[name].shape}; give one from {_MAKER}"
            )
    if {"train", "test"} - set(network.split.values.tolist()):
        raise InvalidParameter("the network's dataset lacks seen or unseen points (split)")
    network = network.isel(model=0)
    columns = 3 if trained else 2
    figure, axes = plt.subplots(1, columns, figsize=(4 * columns, 3.6), layout="constrained")
    captions = [f"N = {int(n):,}" if n else "fresh data" for n in network.n_train.values]
    colours = level_colours(len(captions))
    for ax, law in ((axes[0], theory.snr), (axes[1], theory.projection)):
        ax.plot(theory.sigma, law.values[0, 1, 0], "k-", lw=1.2, label="exact law")
    for i, (name, colour) in enumerate(zip(captions, colours, strict=True)):
        one = network.isel(n_train=i).sel(split="test")
        for ax, quantity in ((axes[0], "snr"), (axes[1], "projection")):
            ax.errorbar(one.sigma, one[quantity], one[f"{quantity}_error"], color=colour, ms=4,
                        marker="o", mfc="none", lw=0.7, label=f"network, {name}")  # fmt: skip
        n = int(network.n_train[i])
        if n in memory.n_train:
            kept = memory.sel(n_train=n, split="test")
            axes[0].plot(kept.sigma, kept.snr.values.ravel(), color=colour, ls=":", lw=1.2,
                         label=f"memorising, {name}")  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlabel="noise level sigma",
                ylabel="SNR of denoised features, unseen points")  # fmt: skip
    axes[1].set(xscale="log", xlabel="noise level sigma",
                ylabel="class by largest energy, unseen points")  # fmt: skip
    panels(axes[:2], "features of unseen points", "class of unseen points")
    legend(axes[0])
    if trained:
        panel(axes[2], "c", "seen and unseen points")
        _denoising(axes[2], network, captions)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _denoising(ax: Axes, network: xr.Dataset, captions: list[str]) -> None:
    """Denoising error on points of the training set and on others."""
    place = np.arange(len(captions))
    for split, shift, face in (("train", -0.08, PALETTE[3]), ("test", 0.08, PALETTE[0])):
        one = network.sel(split=split)
        ax.errorbar(place + shift, one.denoising, one.denoising_error, ls="none", marker="o",
                         mfc="none", color=face, label=f"{split} points")  # fmt: skip
    ax.set(xticks=place, xticklabels=captions, ylim=(0, None),
                ylabel="denoising error at the exact peak")  # fmt: skip
    legend(ax)
