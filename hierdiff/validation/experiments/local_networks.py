r"""How local is a trained network: the share of its outputs that exact windows explain.

A network is trained on a grammar; its outputs are compared with those of exact denoisers that see a
window of the leaves (:mod:`hierdiff.theory.rhm.locality`),

.. math:: r^2(W) = 1 - \frac{\sum |D(x_t) - p^W|^2}{\sum |D(x_t) - \overline D|^2} .

The prediction is the same for the exact denoiser in place of the network: where both agree the
network is as local as its data allow; where a small window explains the network better than all
leaves do, the network has not learned what is beyond.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, text_table, with_error
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    one_level,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, NoiseProcess, Run, Summary
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import noise_name, noise_process
from hierdiff.plots import Figure, panels, plt, shade, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.theory import denoise_symbols
from hierdiff.theory.rhm.locality import (
    explained_share,
    sliding_windows,
    tree_windows,
    windowed_denoise,
)
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import architecture_rule, clear_checkpoints
from hierdiff.validation.recipes import train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkLocality"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]

KINDS = ("tree", "neighbours")
"""Windows that follow the tree, and those of equally many neighbours."""


@dataclass(frozen=True)
class NetworkLocality:
    """Share of trained networks that exact denoisers of windows explain.

    Notes
    -----
    Validity: nothing is fitted; errors over networks, each on a grammar of its own, are Student's.
    """

    name: ClassVar[str] = "network_locality"
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
    noise: str = "masking"
    """Forward process."""
    architecture: str = "tree_unet"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 32
    """Features per node of the network."""
    steps: int = 800
    """Training steps."""
    batch: int = 64
    """Data per training step."""
    networks: int = 3
    """Networks, each on a grammar of its own."""
    t: tuple[float, ...] = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
    """Noise levels."""
    data: int = 200
    """Test data per network and level."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        size = partial(whole, low=1, high=10**9)
        check_fields(
            self, noise=partial(noise_name, channel=True), width=size, steps=size, batch=size,
            architecture=architecture_rule(Grammar), networks=partial(whole, low=2, high=10**4),
            t=partial(listed, rule=one_level, least=1, rising=True),
            data=partial(whole, low=2, high=10**8), seed=natural,
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    def _grammar(self, k: int) -> Grammar:
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", k))

    def _data(self, k: int, t: float) -> Array:
        """Noisy test data."""
        rng = stream(self.seed, "test", k)
        return np.asarray(
            self.process.corrupt(self._grammar(k).sample(self.data, rng).leaves, t, rng)
        )

    def _shares(self, k: int, outputs: Any) -> Array:
        """r^2 [kind, t, height] of the outputs of a denoiser."""
        grammar, noise = self._grammar(k), self.process
        found = np.empty((len(KINDS), len(self.t), self.L + 1))
        for i, t in enumerate(self.t):
            x_t = self._data(k, t)
            d = outputs(x_t, t)
            for h in range(self.L + 1):
                windows = (tree_windows(grammar, h), sliding_windows(grammar.n_leaves, self.s**h))
                for j, window in enumerate(windows):
                    local = windowed_denoise(grammar, noise, x_t, t, window)
                    found[j, i, h] = explained_share(d, local)
        return found

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        """Share of the exact denoiser that windows explain, on the same data.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``explained`` and its error on (kind, t, height).

        Notes
        -----
        Validity: exact inference on the grammars of the networks.
        """
        one_of("law", law, ("exact",))
        found = [
            self._shares(k, partial(denoise_symbols, self._grammar(k), self.process))
            for k in range(self.networks)
        ]
        return self._labelled(np.array(found), "theory")

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
        """Share of trained networks that windows explain.

        Parameters
        ----------
        model, data
            Refused: networks are trained on grammars of their own.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            ``explained`` and its error on (kind, t, height).

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
            "it trains networks on grammars of its own; for one model use explained_share of "
            "hierdiff.theory.rhm.locality",
        )  # fmt: skip
        plan = TrainConfig(
            steps=self.steps, every=self.steps, warmup=max(1, self.steps // 10), average=0.98,
            device=device,
        )  # fmt: skip
        found = []
        for k in range(self.networks):
            place = None if folder is None else Path(folder) / f"network-{k}"
            trained, _ = train_symbol_network(
                self._grammar(k), self.process, plan, width=self.width, batch=self.batch,
                network=self.architecture, seed=1000 * self.seed + k, folder=place,
            )  # fmt: skip
            found.append(self._shares(k, trained.denoise))
        return self._labelled(np.array(found), "network")

    def _labelled(self, found: Array, source: str) -> xr.Dataset:
        plane = ("kind", "t", "height")
        variables = {
            "explained": (plane, found.mean(axis=0), "share of the outputs that is explained, r^2"),
            "explained_error": (plane, student_error(found), "its standard error"),
        }
        coords = {
            "kind": (("kind",), list(KINDS), "kind of window"),
            "t": (("t",), list(self.t), f"noise level t of the {self.noise} process"),
            "height": (("height",), list(range(self.L + 1)), "windows have s**height leaves"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The exact denoiser and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "network-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """r^2 against noise by window; networks and the exact denoiser."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.7), layout="constrained", sharey=True)
        for ax, kind in zip(axes, KINDS, strict=True):
            for h in ds.height.values:
                colour = shade(h / max(self.L, 1) * 0.9)
                a, b = (x.sel(kind=kind, height=h) for x in (law, ds))
                ax.plot(a.t, a.explained, "-", lw=1, color=colour)
                ax.errorbar(b.t, b.explained, b.explained_error, fmt="o", ms=5, mfc="none",
                            capsize=2, color=colour,
                            label=f"{self.s ** int(h)} {'leaves' if h else 'leaf'}")  # fmt: skip
            ax.set(xlabel=str(ds.t.attrs["long_name"]))
            ax.spines[["top", "right"]].set_visible(False)
        least = min(float(x.explained.min()) for x in (law, ds))
        axes[0].set(ylabel=r"share explained, $r^2$", ylim=(least - 0.05, 1.01))
        words = []
        for kind in KINDS:
            lowest = ds.explained.sel(kind=kind).min("t")
            h = int(np.argmax(lowest.values))
            words.append(f"{kind}: {self.s ** int(ds.height[h])} leaves at least "
                         f"{float(lowest[h]):.2f}, all {float(lowest[-1]):.2f}")  # fmt: skip
        panels(axes, *words)
        shared_legend(figure, axes[0], title="points: networks; lines: the exact denoiser")
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """r^2 of every window at every noise level, of networks and of the exact denoiser."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        rows = []
        for t in ds.t.values:
            a, b = (x.sel(kind="tree", t=t) for x in (law, ds))
            triples = zip(b.explained, b.explained_error, a.explained, strict=True)
            cells = [f"{with_error(p, e, digits=3)}, {float(q):.3f}" for p, e, q in triples]
            rows.append([f"{t:.2f}", *cells])
        words = [f"{self.s ** int(h)} leaves" for h in ds.height.values]
        table = (
            "windows that follow the tree: r^2 of networks, and of the exact denoiser\n"
            + text_table(["t", *words], rows)
        )
        tree = ds.explained.sel(kind="tree")
        i = int(np.argmin(tree.isel(height=-1).values))
        at = tree.isel(t=i)
        best = int(np.argmax(at.values))
        error = float(ds.explained_error.sel(kind="tree").isel(t=i, height=best))
        least = float(tree.isel(height=-1).min())
        claim = (
            f"exact inference on all leaves explains at least {least:.3f}"
            f" of the networks' outputs (t = {float(ds.t[i]):.2f}); there windows of "
            f"{self.s**best} leaves explain most, {float(at[best]):.3f} ± {error:.3f}, and "
            f"{float(law.explained.sel(kind='tree').isel(t=i, height=best)):.3f} of the exact "
            f"denoiser; {self.networks} networks"
        )
        values = {
            "t": list(self.t), "size": [self.s ** int(h) for h in ds.height.values],
            "kind": list(KINDS),
            **{name: [np.round(x.explained.values, 5).tolist(),
                      np.round(x.explained_error.values, 5).tolist()]
               for name, x in (("network", ds), ("theory", law))},
        }  # fmt: skip
        return Summary(table, claim, values)
