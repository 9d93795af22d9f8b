r"""Dual encoders trained on strings of a grammar: the level that a contrastive pair reveals.

=================  =============================================================================
symbol             meaning
=================  =============================================================================
x, y               two views: the leaves below the first two nodes of level 1 ("two halves"), or
                   noisy leaves and the class ("leaves and class")
u, w               symbols at the top of two halves
f(x), g(y)         embeddings of width d; their score is f(x) . g(y)
b(x)               exact posterior of a latent given x
r(x, y)            estimated density ratio, :math:`e^{f(x)\cdot g(y)} / E_{y'} e^{f(x)\cdot g(y')}`
z                  one-hot symbol of any node
=================  =============================================================================

Two small networks minimise InfoNCE with the other strings of a batch as negatives.  What they know
of a latent is the share of its variance that a linear read-out of their features
:math:`\phi(x)` explains, the quantity of eq. (2) in :mod:`hierdiff.theory.rhm.tree_pairs`,

.. math::
   R^2_z = \frac{1}{v-1} \sum_z \frac{c_z^T\, \mathrm{Cov}(\phi)^{+} c_z}{p(z)}, \qquad
   c_z = \mathrm{Cov}\big(\phi(x),\, b_z(x)\big),                                       \qquad (1)

in which the exact posterior stands for the symbol, so that no label is drawn.

*Two halves* are clean, and :math:`\phi = f`.  A half determines u, so the best tables of
embeddings are functions of u, and the minimum of InfoNCE at width d is that of the v x v law of
(u, w) (:func:`hierdiff.theory.zero_shot.contrastive.fit_infonce`).

*Leaves and class* are learned at width v and at all noise levels by one network, which sees by the
masks how much is lost.  There the scores are logarithms of beliefs without a bound, which a linear
read-out does not suit, so :math:`\phi_y = r(x, y)` over the classes, as the spectral learner has
it.  At the optimum :math:`r = b(x) / p(y)`, and :math:`R^2` of the class is the order parameter of
the phase transition, (v E[b of the true class] - 1) / (v - 1).  No function of x exceeds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, plus_minus, text_table
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
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import MaskingNoise
from hierdiff.plots import GREEN, GUIDE, PALETTE, Figure, legend, level_colours, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import falls_through, student_error, student_score
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.token_correlations import pair_joint
from hierdiff.theory.rhm.tree_pairs import tree_pair
from hierdiff.theory.zero_shot.contrastive import fit_infonce
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import clear_checkpoints
from hierdiff.validation.training import TrainConfig, train

__all__ = ["NetworkStringPairs", "StringEncoder", "StringPair"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Datasets = Mapping[str, xr.Dataset]

_LEFT, _RIGHT = (1, 0), (1, 1)
"""Nodes whose leaves are the two halves."""
_STARTS = 3
"""Starts of InfoNCE over tables, which has local minima."""
_PLANTED = "halves, class: networks - leaves and class (wrong)"
"""A law that does not hold: that halves reveal as much of the class as captions do."""
_RANK = 1e-9
"""Part of the largest variance below which a direction of the features is rounding."""


class StringEncoder(nn.Module):
    """A network whose units join the leaves as the tree does: s neighbours at every level.

    Parameters
    ----------
    v, s, depth : int
        Symbols, branching, and levels between the leaves and the top of the view.
    width : int
        d.
    hidden : int
        Units per node.
    """

    def __init__(self, v: int, s: int, depth: int, width: int, hidden: int) -> None:
        super().__init__()
        self.v, self.s = v, s
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(s * (hidden if level else v), hidden), nn.GELU(),
                          nn.Linear(hidden, hidden), nn.GELU())
            for level in range(depth)
        )  # fmt: skip
        self.head = nn.Linear(hidden if depth else v, width)

    def forward(self, symbols: Tensor) -> Tensor:
        """Embeddings [n, d] of strings [n, leaves], in which -1 is a masked leaf."""
        known = nn.functional.one_hot(symbols.clamp(min=0), self.v) * (symbols >= 0)[..., None]
        nodes = known.float()
        for layer in self.layers:
            # the weights are those of all nodes of a level, as the rules are
            nodes = layer(nodes.reshape(len(nodes), nodes.shape[1] // self.s, -1))
        found: Tensor = self.head(nodes[:, 0])
        return found


class StringPair(nn.Module):
    """Encoders of two views of a string.

    Parameters
    ----------
    first : torch.nn.Module
        Of x.
    second : torch.nn.Module
        Of y.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores [x, y]."""
        scores: Tensor = self.first(x) @ self.second(y).T
        return scores


def _tensor(symbols: Array, network: nn.Module) -> Tensor:
    """Symbols on the device of a network."""
    return torch.from_numpy(symbols.astype(np.int64)).to(next(network.parameters()).device)


def read_out(features: Floats, beliefs: list[Floats]) -> Floats:
    """Share of every level [L + 1] that features [n, k] explain, eq. (1); beliefs [n, nodes, v]."""
    x = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    there = values > _RANK * max(float(values.max()), np.finfo(float).tiny)
    white = x @ vectors[:, there] / np.sqrt(values[there])
    shares = []
    for b in beliefs:
        prior = b.mean(axis=0)
        c = np.einsum("nk,nja->kja", white, b - prior) / len(x)
        each = (c**2 / np.maximum(prior, 1e-300)).sum(axis=(0, 2)) / max(b.shape[2] - 1, 1)
        shares.append(each.mean())
    return np.array(shares)


@dataclass(frozen=True)
class NetworkStringPairs:
    """Levels of a tree that trained dual encoders reveal, beside the optimum of their loss.

    Notes
    -----
    Validity: each network has a grammar of its own, and errors are Student's over networks.
    Posteriors are exact; data of a network and of its prediction are the same.
    """

    name: ClassVar[str] = "network_string_pairs"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory", f"{name}_spectral")

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching; with more than two, the two halves are the first two branches of the root."""
    L: int = 3
    """Depth."""
    widths: tuple[int, ...] = (2, 4, 8)
    """Widths of the embeddings of two halves."""
    t: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
    """Noise levels of the leaves that are paired with the class."""
    hidden: int = 64
    """Units per node of the networks."""
    batch: int = 256
    """Strings per step."""
    steps: int = 1200
    """Training steps."""
    networks: int = 4
    """Networks per pair and width, each on a grammar of its own."""
    data: int = 4000
    """Strings that are read out, per network and noise level."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        size = partial(whole, low=1, high=10**7)
        check_fields(
            self, hidden=size, steps=size, batch=partial(whole, low=2, high=10**5),
            widths=partial(listed, rule=size, least=1, rising=True),
            t=partial(listed, rule=one_level, least=2, rising=True),
            networks=partial(whole, low=2, high=1000), data=partial(whole, low=2, high=10**7),
            seed=natural,
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)
        if self.s < 2:
            raise InvalidParameter(f"s = {self.s}: a string has two halves from s = 2 on")
        if self.widths[-1] > self.v:
            raise InvalidParameter(
                f"widths = {self.widths} exceed v = {self.v}, the rank of two halves; give less"
            )

    def _grammar(self, k: int) -> Grammar:
        """The grammar of network k."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", k))

    @results.tracked
    @checked
    def predict(self, law: Literal["minimum", "spectral"] = "minimum") -> xr.Dataset:
        """What the optimum of a loss reveals, on the grammars of the networks.

        Parameters
        ----------
        law : {"minimum", "spectral"}
            Two halves at the minimum of InfoNCE over tables, or by the spectral learner; leaves and
            class are those of exact beliefs in both.

        Returns
        -------
        xarray.Dataset
            ``halves`` on (width, level) and ``text`` on (t, level) with errors over grammars, and
            each grammar in ``each_halves`` and ``each_text``.

        Notes
        -----
        Validity: infinitely many negatives; a local minimum, averaged over three starts.
        """
        one_of("law", law, ("minimum", "spectral"))
        halves, text = [], []
        for k in range(self.networks):
            rule = self._tables if law == "minimum" else self._spectrum
            halves.append(rule(k))
            rows = []
            for i in range(len(self.t)):
                _, beliefs = self._noisy(k, i)
                rows.append(read_out(beliefs[0][:, 0], beliefs))
            text.append(np.array(rows))
        return self._labelled(np.array(halves), np.array(text), "theory")

    def _tables(self, k: int) -> Floats:
        """Shares [width, level] at the minimum of InfoNCE over tables of u and w."""
        joint = pair_joint(self._grammar(k), _LEFT, _RIGHT)
        joint = joint[:, joint.sum(axis=0) > 0]
        _, beliefs, top = self._clean(k)
        found = np.zeros((len(self.widths), self.L + 1))
        for i, d in enumerate(self.widths):
            for start in range(_STARTS):
                fit = fit_infonce(joint, min(d, joint.shape[1]), iterations=500,
                                  seed=stream(self.seed, "tables", k, d, start))  # fmt: skip
                found[i] += read_out(fit.image[top], beliefs) / _STARTS
        return found

    def _spectrum(self, k: int) -> Floats:
        """Shares [width, level] of the spectral learner."""
        pair = tree_pair(self._grammar(k), MaskingNoise(self.v), 0.0, _LEFT, _RIGHT, n=self.data,
                         seed=stream(self.seed, "views", k))  # fmt: skip
        widths = np.minimum(self.widths, pair.revealed.shape[1]) - 1
        return np.asarray(pair.revealed[:, widths].T)

    def _clean(self, k: int) -> tuple[Array, list[Floats], Array]:
        """First halves [n, leaves], beliefs given them by level, and the symbols at their top."""
        grammar = self._grammar(k)
        drawn = grammar.sample(self.data, stream(self.seed, "halves", k))
        seen = drawn.leaves.copy()
        half = grammar.n_leaves // self.s
        seen[:, half:] = -1
        levels = posterior(grammar, MaskingNoise(self.v).evidence(seen, 0.5)).marginals
        # nodes above the view, and those in it
        inside = [b[:, : max(b.shape[1] // self.s, 1)] for b in levels]
        return seen[:, :half], inside, (*drawn.latents, drawn.leaves)[1][:, 0]

    def _noisy(self, k: int, i: int) -> tuple[Array, list[Floats]]:
        """Leaves at noise level i, and beliefs by level."""
        grammar, noise = self._grammar(k), MaskingNoise(self.v)
        leaves = grammar.sample(self.data, stream(self.seed, "strings", k)).leaves
        x_t = noise.corrupt(leaves, self.t[i], stream(self.seed, "noise", k, i))
        return x_t, list(posterior(grammar, noise.evidence(x_t, self.t[i])).marginals)

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
        """What trained dual encoders reveal.

        Parameters
        ----------
        model, data
            Refused: a denoiser has no embeddings of a second view.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            As :meth:`predict`.

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
            "it trains pairs of encoders; a denoiser has no embeddings of a second view",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        halves, text = [], []
        for k in range(self.networks):
            x, beliefs, _ = self._clean(k)
            rows = []
            for d in self.widths:
                network = self._trained("halves", d, k, place, device)
                with torch.no_grad():
                    f = network.first(_tensor(x, network))
                rows.append(read_out(f.cpu().numpy().astype(float), beliefs))
            halves.append(rows)
            network = self._trained("class", self.v, k, place, device)
            text.append([self._read(network, *self._noisy(k, i)) for i in range(len(self.t))])
        return self._labelled(np.array(halves), np.array(text), "network")

    def _read(self, network: StringPair, x_t: Array, beliefs: list[Floats]) -> Floats:
        """Shares [level] that the ratios r(x, y) of a network explain; classes are uniform."""
        with torch.no_grad():
            scores = network(_tensor(x_t, network), _tensor(np.arange(self.v), network))
            ratios = torch.softmax(scores, dim=1)
        return read_out(ratios.cpu().numpy().astype(float), beliefs)

    def _trained(
        self, kind: str, width: int, k: int, folder: Path | None, device: str
    ) -> StringPair:
        """One pair of encoders, of two halves or of leaves and class."""
        grammar, noise = self._grammar(k), MaskingNoise(self.v)
        half = grammar.n_leaves // self.s
        torch.manual_seed(1000 * self.seed + 10 * k + (kind == "class"))
        encoder = partial(StringEncoder, self.v, self.s, width=width, hidden=self.hidden)
        if kind == "class":
            pair = StringPair(encoder(self.L), nn.Embedding(self.v, width))
        else:
            pair = StringPair(encoder(self.L - 1), encoder(self.L - 1))

        def loss(module: Any, step: int) -> Tensor:
            rng = stream(self.seed, "training", kind, width, k, step)
            drawn = grammar.sample(self.batch, rng)
            if kind == "class":
                t = rng.uniform(self.t[0], self.t[-1], self.batch)
                x, y = noise.corrupt(drawn.leaves, t, rng), drawn.labels
            else:
                x, y = drawn.leaves[:, :half], drawn.leaves[:, half : 2 * half]
            scores = module(_tensor(x, module), _tensor(y, module))
            mean: Tensor = (scores.logsumexp(dim=1) - scores.diagonal()).mean()
            return mean

        # at a third of this rate halves reveal .70 of level 1 after 2000 steps, at this one .92
        # after 1000
        plan = TrainConfig(
            steps=self.steps, every=self.steps, warmup=max(1, self.steps // 10), average=0.99,
            rate=1e-2, device=device,
        )  # fmt: skip
        mark = f"{kind}-{width}-{k}"
        done = train(pair, loss, plan, folder=None if folder is None else folder / mark, name=mark)
        found = done.network
        assert isinstance(found, StringPair)
        return found

    def _labelled(self, halves: Floats, text: Floats, source: str) -> xr.Dataset:
        """Shares [network, width or t, level] as a dataset."""
        variables: dict[str, Any] = {}
        for name, x, dims, words in (
            ("halves", halves, ("width", "level"), "share of a latent that two halves reveal"),
            ("text", text, ("t", "level"), "share of a latent that leaves and class reveal"),
        ):
            variables |= results.with_error(name, dims, x.mean(axis=0), student_error(x), words)
            variables[f"each_{name}"] = (("network", *dims), x, f"{words}, by network")
        axes: dict[str, tuple[Any, str]] = {
            "network": (list(range(self.networks)), "network and grammar"),
            "width": (list(self.widths), "width d of the embeddings"),
            "t": (list(self.t), "noise level t of the masking process"),
            "level": (list(range(self.L + 1)), "level of the tree"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _laws(self, datasets: Datasets) -> dict[str, list[float]]:
        """Differences of networks to the laws of their grammars: mean, Student's error and score.

        No function of x exceeds exact beliefs, so networks lie below them by what they have not
        learned.  What is marked "(wrong)" is the difference to a law that does not hold.
        """
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        halves, text = ds.each_halves.values[:, -1], ds.each_text.values[:, :, 0]
        best, exact = law.each_halves.values[:, -1], law.each_text.values[:, :, 0]
        # where the class is half lost, and its neighbour of less noise
        i = max(int(np.abs(exact.mean(axis=0) - 0.5).argmin()), 1)
        at, less = self.t[i], self.t[i - 1]
        rows = {
            "halves, level 1: networks - minimum": halves[:, 1] - best[:, 1],
            "halves, class: networks - minimum": halves[:, 0] - best[:, 0],
            _PLANTED: halves[:, 0] - exact[:, 0],
            f"class at t = {at:g}: networks - exact": text[:, i] - exact[:, i],
            f"class at t = {at:g}: networks - exact at t = {less:g} (wrong)":
                text[:, i] - exact[:, i - 1],
        }  # fmt: skip
        moved = _half(self.t, text) - _half(self.t, exact)
        if np.isfinite(moved).all():
            rows["t of half of the class: networks - exact"] = moved
        return {
            name: [float(x.mean()), float(student_error(x)), float(student_score(x))]
            for name, x in rows.items()
        }

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Both laws and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "halves-*", "class-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {
            f"{self.name}_theory": self.predict(),
            f"{self.name}_spectral": self.predict("spectral"),
            self.name: found,
        }

    def figure(self, datasets: Datasets) -> Figure:
        """What two halves reveal by width, both pairs by level, and the class against noise."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
        colours = level_colours(self.L + 1)
        point: dict[str, Any] = {"fmt": "o", "ms": 5, "mfc": "none", "capsize": 2}
        for level, colour in enumerate(colours):
            a, b = law.sel(level=level), ds.sel(level=level)
            name = f"level {level}{' (class)' if not level else ''}"
            # no line: nothing was computed between the widths
            axes[0].plot(a.width, a.halves, "_", ms=16, color=colour)
            axes[0].errorbar(b.width, b.halves, b.halves_error, color=colour, label=name, **point)
            axes[2].plot(a.t, a.text, "-", lw=1, color=colour)
            axes[2].errorbar(b.t, b.text, b.text_error, color=colour, label=name, **point)
        bare, pairs = ds.isel(width=-1, t=0), law.isel(width=-1, t=0)
        for name, words, hue in (("halves", "two halves", PALETTE[0]),
                                 ("text", "leaves and class", GREEN)):  # fmt: skip
            axes[1].plot(pairs.level, pairs[name], "_", ms=16, color=hue)
            axes[1].errorbar(bare.level, bare[name], bare[f"{name}_error"], color=hue,
                             label=words, **point)  # fmt: skip
        axes[0].set(xlabel="width d of the embeddings, two halves", xticks=self.widths,
                    ylabel=r"share $R^2$ that is revealed")  # fmt: skip
        axes[1].set(xlabel="level of the tree (0: class)", xticks=ds.level.values)
        axes[2].set(xlabel="noise level t of the leaves, leaves and class")
        for ax in axes:
            ax.set(ylim=(-0.03, 1.06))
            ax.axhline(0, **GUIDE)
            ax.spines[["top", "right"]].set_visible(False)
        legend(axes[1], "dash: minimum of the loss")
        legend(axes[2], "lines: exact beliefs")
        legend(axes[0], "dash: minimum of the loss")
        one = ds.halves.isel(width=-1)
        half = [_lost(self.t, x)[0] for x in (ds, law)]
        under, top = float(one[1]), float(one[0])
        panels(
            axes, f"halves, d = {self.widths[-1]}: level 1 {under:.2f}, class {top:.2f}",
            f"class: {top:.2f} by halves, {float(ds.text[0, 0]):.2f} by captions",
            f"half of the class is lost at t = {half[0]:.2f} (exact {half[1]:.2f})",
        )  # fmt: skip
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """What both pairs reveal of every level, and the differences to the laws."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        spectral = datasets[f"{self.name}_spectral"]
        rows = []
        for d in self.widths:
            for who, x in (("networks", ds), ("minimum", law), ("spectral", spectral)):
                rows.append([f"halves, d = {d}", who, *_cells(x.sel(width=d), "halves")])
        for t in self.t:
            for who, x in (("networks", ds), ("exact", law)):
                rows.append([f"class, t = {t:g}", who, *_cells(x.sel(t=t), "text")])
        heads = [f"level {k}" for k in range(self.L + 1)]
        laws = self._laws(datasets)
        scores = [[name, pair_text(x), f"{x[2]:.1f}"] for name, x in laws.items()]
        table = "\n\n".join((
            text_table(["pair", "source", *heads], rows, keys=2),
            text_table(["difference", "mean", "z"], scores),
        ))  # fmt: skip
        d, top = self.widths[-1], ds.isel(width=-1)
        words = [plus_minus(top.halves[k], top.halves_error[k], 2) for k in (1, 0)]
        half = {who: _lost(self.t, x) for who, x in (("network", ds), ("exact", law))}
        lost = [pair_text(pair) for pair in half.values()]
        claim = (
            f"two halves reveal {words[0]} of the level below the class and {words[1]} of the "
            f"class at width {d} (minimum of the loss {float(law.halves[-1, 1]):.2f} and "
            f"{float(law.halves[-1, 0]):.2f}), less of the class than leaves and class reveal "
            f"(z = {laws[_PLANTED][2]:.1f}); captions of the class lose half of it at t = "
            f"{lost[0]} (exact {lost[1]}); {self.networks} networks per pair and width"
        )
        values: dict[str, Any] = {
            "width": list(self.widths), "t": list(self.t), "networks": self.networks,
            "laws": laws,
        }  # fmt: skip
        for who, x in (("network", ds), ("minimum", law), ("spectral", spectral)):
            values[who] = {name: [x[name].values.tolist(), x[f"{name}_error"].values.tolist()]
                           for name in ("halves", "text")}  # fmt: skip
        values["t of half of the class"] = half
        return Summary(table, claim, values)


def _cells(ds: xr.Dataset, name: str) -> list[str]:
    """Shares of the levels with their errors."""
    pairs = zip(ds[name].values, ds[f"{name}_error"].values, strict=True)
    return [pair_text(pair) for pair in pairs]


def _half(t: tuple[float, ...], curves: Floats) -> Floats:
    """Noise levels at which curves [network, t] fall through one half; NaN where they do not."""
    return np.array([falls_through(t, np.clip(c, 0, 1)) for c in curves])


def _lost(t: tuple[float, ...], ds: xr.Dataset) -> list[float]:
    """Mean and error of the noise level at which half of the class is lost."""
    found = _half(t, ds.each_text.values[:, :, 0])
    return [float(found.mean()), float(student_error(np.nan_to_num(found)) + 0 * found.mean())]
