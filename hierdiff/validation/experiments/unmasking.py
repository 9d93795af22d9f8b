r"""Parallel unmasking by trained masked networks: the price of the steps, and their own error.

The divergence of a network's sampler has two parts (eq. 3 of
:mod:`hierdiff.theory.rhm.parallel_unmasking`),

.. math:: KL(p \| q) = \text{price}(T) + \sum_j E \sum_{i \in B_j} KL(p_i \| q_i),

of which the first is that of exact conditionals and falls with the number of steps T; the second is
what the network has not learned.  Where the second is larger, more steps are wasted.  One leaf at a
time in random order the divergence is the gap of the variational bound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, unchecked, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import MaskingNoise
from hierdiff.plots import PALETTE, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.parallel_unmasking import ParallelUnmasking
from hierdiff.theory.rhm.parallel_unmasking import OrderName
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import architecture_rule, clear_checkpoints
from hierdiff.validation.recipes import Target, train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkUnmasking"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]

_COUNT = partial(whole, low=1, high=10**9)
_ENDS = {"next leaf": "-next-leaf"}  # of the names of checkpoints
_WORDS = ("divergence", "price", "learning", "valid", "validity")


@dataclass(frozen=True)
class NetworkUnmasking:
    """Divergence and validity of parallel unmasking by masked networks.

    Notes
    -----
    Validity: conditionals of the grammar are exact; each network has a grammar of its own, and
    errors are Student's over networks.
    """

    name: ClassVar[str] = "network_unmasking"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 48
    """Features per node of the network."""
    train_steps: int = 1500
    """Training steps."""
    batch: int = 128
    """Data per training step."""
    networks: int = 3
    """Networks, each on a grammar of its own."""
    orders: tuple[OrderName, ...] = ("left to right", "random", "spread")
    """Orders in which leaves are revealed."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of steps T of the sampler."""
    data: int = 400
    """Test data per network."""
    strings: int = 1000
    """Strings that are drawn per network, order and number of steps."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, width=_COUNT, train_steps=_COUNT, batch=_COUNT,
            architecture=architecture_rule(Grammar),
            networks=partial(whole, low=2, high=10**4), seed=natural,
        )  # fmt: skip
        self._question  # noqa: B018  # orders, steps, data and sizes are checked there

    @property
    def _question(self) -> ParallelUnmasking:
        return ParallelUnmasking(
            v=self.v, m=self.m, s=self.s, L=self.L, orders=self.orders, steps=self.steps,
            sizes=((self.m, self.L),), data=self.data, strings=self.strings, seed=self.seed,
        )  # fmt: skip

    def grammar(self, k: int) -> Grammar:
        """The grammar of network k."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", k))

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        """The price of the steps with exact conditionals, on the grammars of the networks.

        Parameters
        ----------
        law : "exact"

        Returns
        -------
        xarray.Dataset
            ``divergence`` on (order, T), with its error over grammars.

        Notes
        -----
        Validity: exact up to means over data.
        """
        one_of("law", law, ("exact",))
        parts = [self._question.predict(grammar=self.grammar(k)) for k in range(self.networks)]
        return self._joined([p[["divergence"]] for p in parts], ("divergence",), "theory")

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> xr.Dataset:
        """Divergence of the networks' samplers, its parts, and validity of their strings.

        Parameters
        ----------
        model, data
            Refused: networks are trained here.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            As :meth:`hierdiff.sims.parallel_unmasking.ParallelUnmasking.measure`.

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: errors over networks.
        """
        no_model(
            self.name, model, data,
            "it trains networks on grammars of its own; give a model to ParallelUnmasking",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        parts = [
            self._question.measure(self.trained(k, place, device), self.grammar(k), workers=1)
            for k in range(self.networks)
        ]
        return self._joined(parts, _WORDS, "network")

    @checked
    def trained(
        self, k: int, folder: Path | None = None, device: str = "cpu", *,
        target: Target = "sample",
    ) -> NetworkModel:  # fmt: skip
        """Network k.

        Parameters
        ----------
        k : int
        folder : path, optional
            Where checkpoints are kept.
        device : str
        target : str
            As in :func:`hierdiff.validation.recipes.symbol_loss`; "next leaf" makes the
            autoregressive twin, with the same weights at the start and the same number of steps.

        Returns
        -------
        NetworkModel
        """
        every = max(1, self.train_steps // 4)
        plan = TrainConfig(
            steps=self.train_steps, every=every, warmup=max(1, self.train_steps // 20),
            average=0.99, device=device,
        )  # fmt: skip
        model, _ = train_symbol_network(
            self.grammar(k), MaskingNoise(self.v), plan, width=self.width, batch=self.batch,
            network=self.architecture, seed=1000 * self.seed + k, target=target,
            folder=None if folder is None else folder / f"network-{k}{_ENDS.get(target, '')}",
        )  # fmt: skip
        return model

    def _joined(self, parts: list[xr.Dataset], words: tuple[str, ...], source: str) -> xr.Dataset:
        """Means and Student's errors over networks."""
        first = parts[0]
        variables: dict[str, Any] = {}
        for word in words:
            values = np.stack([p[word].values for p in parts])
            dims, text = first[word].dims, str(first[word].attrs["long_name"])
            variables[word] = (dims, values.mean(axis=0), text)
            variables[f"{word}_error"] = (
                dims, student_error(values), f"standard error of: {text}"
            )  # fmt: skip
        used = {str(d) for word in words for d in first[word].dims}
        coords: dict[str, Any] = {
            d: ((d,), first[d].values.tolist(), str(first[d].attrs["long_name"]))
            for d in ("order", "T", "level") if d in used
        }  # fmt: skip
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The law and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "network-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Divergence with the exact price, both parts, and validity of levels."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
        for i, order in enumerate(map(str, ds.order.values)):
            at, line = ds.sel(order=order), law.sel(order=order)
            style: dict[str, Any] = {"color": PALETTE[i], "ms": 5, "mfc": "none", "capsize": 2}
            axes[0].plot(law["T"], line.divergence.where(line.divergence > 1e-3), "-", lw=1,
                         color=PALETTE[i])  # fmt: skip
            axes[0].errorbar(ds["T"], at.divergence, at.divergence_error, fmt="o", label=order,
                             **style)  # fmt: skip
            axes[1].plot(ds["T"], at.price.where(at.price > 1e-3), "--", lw=1, color=PALETTE[i])
            axes[1].errorbar(ds["T"], at.learning, at.learning_error, fmt="o-", lw=0.8,
                             label=order, **style)  # fmt: skip
            axes[2].errorbar(ds["T"], at.valid, at.valid_error, fmt="o-", lw=0.8, label=order,
                             **style)  # fmt: skip
        axes[0].set(yscale="log", ylabel=r"divergence $KL(p\,||\,q)$, nats")
        axes[1].set(yscale="log", ylabel="nats")
        axes[2].set(ylabel="share of valid strings", ylim=(0, 1.03))
        for ax in axes:
            ax.set(xscale="log", xlabel="number of steps T")
            ax.set_xticks(ds["T"].values, [str(T) for T in ds["T"].values])
            ax.minorticks_off()
            ax.spines[["top", "right"]].set_visible(False)
        for ax, words in zip(
            axes, ("points: networks; lines: exact", "points: own error; dashed: price", ""),
            strict=True,
        ):  # fmt: skip
            legend(ax, words)
        last = ds.isel(T=-1)
        i = int(np.argmin(last.divergence.values))
        name, T = str(ds.order.values[i]), int(ds["T"][-1])
        cells = [f"{float(last[w][i]):.{k}f} ± {float(last[f'{w}_error'][i]):.{k}f}"
                 for w, k in (("divergence", 2), ("valid", 3))]  # fmt: skip
        one = ds.isel(order=i)
        enough = one["T"].values[(one.learning > one.price).values]
        panels(axes, f"T = {T}: {cells[0]} nats ({name}); exact: 0",
               f"{name}: own error is larger from T = {int(enough[0]) if len(enough) else '-'}",
               f"T = {T}: {cells[1]} valid ({name})")  # fmt: skip
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """Both parts of the divergence and the share of valid strings."""
        ds = datasets[self.name]
        heads = ("divergence", "price of the steps", "network's error", "valid strings")
        rows = []
        for order in ds.order.values:
            for T in ds["T"].values:
                one = ds.sel(order=order, T=T)
                cells = [plus_minus(one[w], one[f"{w}_error"], digits=2)
                         for w in ("divergence", "price", "learning", "valid")]  # fmt: skip
                rows.append([order, T, *cells])
        table = text_table(["order", "T", *heads], rows, keys=2)
        values: dict[str, Any] = {
            "orders": [str(o) for o in ds.order.values], "T": ds["T"].values.tolist(),
            "networks": self.networks,
            **{w: ds[w].values.tolist() for w in (*_WORDS, *(f"{w}_error" for w in _WORDS))},
        }  # fmt: skip
        last = ds.isel(T=-1)
        words = []
        for order in map(str, ds.order.values):
            one = ds.sel(order=order)
            enough = one["T"].values[(one.learning > one.price).values]
            words.append(f"{order} {int(enough[0]) if len(enough) else '-'}")
        low = int(np.argmin(last.divergence.values))
        claim = (
            f"the network's own error exceeds the price of the steps from T = {', '.join(words)}; "
            f"one leaf at a time it diverges by {float(last.divergence[low]):.2f} ± "
            f"{float(last.divergence_error[low]):.2f} nats ({last.order.values[low]}); "
            f"{self.networks} networks"
        )
        return Summary(table, claim, values)
