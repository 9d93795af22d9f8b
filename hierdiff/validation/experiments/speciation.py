r"""When networks decide: classes of Ising chains against their length, and levels of a grammar.

*Chains.*  A convolutional network is trained on noisy spins of two classes, with the class and
without it, one network for all lengths N.  Every network has couplings and fields of its own.  The
class shows in the mean of the spins (opposite fields), or in their covariance alone (couplings of
opposite sign).  Two times are read from a network, in units of the Ornstein-Uhlenbeck process:

===============  ===================================================================================
reading          how
===============  ===================================================================================
free entropy     E[ell]^2 = Var[ell] of the log-likelihood ratio ell that the two conditional
                 denoisers imply along paths of the noise
                 (:func:`~hierdiff.theory.ising.denoiser_log_ratio`)
U-turn           a noisy chain goes back to data through the reverse chain of the unconditional
                 network, and the exact class of what comes out is read: the class has changed half
                 as often as at t = infinity.  The curve is that of exact beliefs about the same
                 noisy chains, moved by the mean difference at the times where U-turns began
===============  ===================================================================================

Exact inference stands beside: the exact ell of the same noisy chains; the exact denoiser through
the same reverse chain with the same random numbers, which differs from it by its finite steps.  The
law is the weak-signal divergence, 2 nats and 1.70 nats (:mod:`hierdiff.theory.ising.speciation`).
Its slope against log N tends to 1/2 where the class shows in the mean, to 1/4 where it shows in the
covariance alone; the law of the other kind is the planted wrong one.

*Levels.*  Tree networks are trained on grammars of their own.  U-turns through their reverse chain
say where half of the symbols of a level are kept; criteria of exact beliefs about the same grammars
say where that should be (:mod:`hierdiff.theory.rhm.speciation`).

Errors are Student's over networks, and z is the normal score of Student's test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

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
    natural,
    no_model,
    number,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import GaussianNoise
from hierdiff.plots import PALETTE, Axes, Figure, legend, panels, plt, ticker
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.sims.speciation import KINDS, SLOPES, grammar_levels, level_crossings
from hierdiff.theory.exact_models import ExactIsing
from hierdiff.theory.ising.speciation import (
    denoiser_log_ratio,
    half_change_divergence,
    speciation_law,
)
from hierdiff.theory.ising.transfer_matrices import chain_posterior, spin_evidence
from hierdiff.theory.rhm.speciation import CRITERIA, first_fall
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import architecture_rule, checkpoint_suffix, clear_checkpoints
from hierdiff.validation.experiments.correlated_changes import (
    GrammarNetworks,
    depth_changes,
    trained_networks,
)
from hierdiff.validation.recipes import train_chain_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkSpeciation"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]

_REACH = np.linspace(-0.4, 0.8, 13)
"""Times around the law at which the log-likelihood ratio is read; a noise path begins at the last
one, where the signal is weak, and its steps keep the line integral within 0.2 nats or so."""
_TURNS = np.linspace(-0.3, 0.3, 4)
"""Times around the law at which U-turns begin."""
_LEAST = 0.02
"""Least time: at it a spin is seen with SNR 25, and nothing is left to learn."""
_BUDGET = 1 << 17
"""Spins that are noised per length and network."""
_TREES: dict[str, Any] = {
    "width": 32,
    "leaves": 1024,
    "data": 120,
    "trajectories": 4,
    "num_steps": 25,
}
"""Sizes of the tree networks and of their U-turns; strings of 8 leaves need no more."""
_TREE_LEVELS = tuple(np.round(np.linspace(0.1, 0.95, 18), 6).tolist())
_WORDS = {
    "free_entropy": "time at which mean and fluctuation of the log-likelihood ratio meet",
    "chain_uturn": "time at which a U-turn changes the class half as often as at infinity",
    "slope": "slope of the time of U-turns against log N",
    "slope_free_entropy": "slope of the time of the free entropy against log N",
    "uturn": "noise level at which a U-turn keeps half of the symbols",
    "speciation": "noise level at which a level is decided, by exact beliefs",
}


class ChainTimes(NamedTuple):
    """Times of one network and kind, [N]: law, exact inference, exact chain, network."""

    law_free_entropy: Array
    law_uturn: Array
    exact_free_entropy: Array
    exact_uturn: Array
    steps_uturn: Array
    free_entropy: Array
    uturn: Array


@dataclass(frozen=True)
class NetworkSpeciation:
    """When networks decide the class of Ising chains, and the levels of a grammar.

    Notes
    -----
    Validity: Gaussian noise of spins, masking noise of strings.  Networks differ in their weights
    and in their data laws: couplings and fields, grammars.
    """

    name: ClassVar[str] = "network_speciation"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    spins: tuple[int, ...] = (64, 160, 400, 1024)
    """Lengths N of the chains."""
    networks: int = 3
    """Networks on chains of either kind."""
    J: float = 0.5
    """Coupling of the chains whose classes differ in the sign of the coupling."""
    h: float = 0.3
    """Field, and coupling, of the chains whose classes differ in the sign of the field."""
    spread: float = 0.2
    """Couplings and fields of a network are these times a number in 1 +- spread, at least 0.01."""
    architecture: str | None = None
    """Name of the network on chains (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 16
    """Features per spin."""
    steps: int = 2000
    """Training steps on chains; after 1000 a network without the class hardly infers it from the
    covariance, after 2500 most do."""
    batch: int = 8192
    """Spins per training step."""
    chains: int = 192
    """Chains per length and network at most; long chains are fewer."""
    num_steps: int = 24
    """Steps of the reverse chain of spins."""
    v: int = 8
    """Symbols per level of the grammars."""
    m: int = 3
    """Rules per symbol."""
    L: int = 3
    """Depth of the grammars; rules write two symbols."""
    grammars: int = 3
    """Tree networks, each on a grammar of its own."""
    tree_steps: int = 1500
    """Training steps of the tree networks."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        size = partial(whole, low=1, high=10**9)
        check_fields(
            self, width=size, steps=size, batch=size, num_steps=size, tree_steps=size, seed=natural,
            spins=partial(listed, rule=partial(whole, low=30, high=2**20), least=2, rising=True),
            networks=partial(whole, low=2, high=10**4), grammars=partial(whole, low=2, high=10**4),
            chains=partial(whole, low=8, high=10**7), J=partial(number, low=0.01, high=5),
            h=partial(number, low=0.01, high=5), spread=partial(number, low=0.01, high=0.9),
            architecture=architecture_rule(IsingChains),
        )  # fmt: skip
        RHM(self.v, self.m, 2, self.L)

    @property
    def trees(self) -> GrammarNetworks:
        """The networks on grammars."""
        return GrammarNetworks(
            v=self.v, m=self.m, s=2, depths=(self.L,), noise="masking", networks=self.grammars,
            steps=self.tree_steps, t=_TREE_LEVELS, **_TREES,
        )  # fmt: skip

    @checked(k=natural, N=count)
    def chain(self, kind: str, k: int, N: int) -> IsingChains:
        """Two classes of chains, by the coupling and field of network k."""
        one_of("kind", kind, KINDS)
        first, second = 1 + self.spread * (2 * stream(self.seed, "law", kind, k).random(2) - 1)
        if kind == "mean":
            return IsingChains.by_field(N, self.h * first, self.h * second)
        return IsingChains.by_coupling(N, self.J * first)

    def _laws(self, kind: str, k: int) -> tuple[Array, Array]:
        """Times of the law at every length: 2 nats, and half of all changes."""
        rows = [
            [speciation_law(self.chain(kind, k, N), D) for N in self.spins]
            for D in (2.0, half_change_divergence())
        ]
        return np.array(rows[0]), np.array(rows[1])

    @results.tracked
    @checked
    def predict(self, law: Literal["weak signal"] = "weak signal") -> xr.Dataset:
        """Times and slopes of the weak-signal divergence, of the chains of the networks.

        Parameters
        ----------
        law : {"weak signal"}

        Returns
        -------
        xarray.Dataset
            ``free_entropy`` and ``chain_uturn`` (kind, N), ``slope`` and ``slope_free_entropy``
            (kind); ``uturn`` and ``speciation`` (level), which is exact inference on the grammars.

        Notes
        -----
        Validity: long chains.  Errors are the scatter of the couplings, and of the grammars.
        """
        one_of("law", law, ("weak signal",))
        laws = np.array([[self._laws(kind, k) for k in range(self.networks)] for kind in KINDS])
        exact = self._exact_levels()
        variables = self._of_times(laws[:, :, 0], laws[:, :, 1])
        variables |= _pair("uturn", ("level",), exact[:, 0])
        variables |= _pair("speciation", ("criterion", "level"), exact[:, 1:])
        return self._labelled(variables, "theory")

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
        """Times that trained networks have, beside exact inference on the same noisy data.

        Parameters
        ----------
        model, data
            Refused: networks are trained on chains and grammars of their own.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            Those of :meth:`predict` of the networks; with the prefixes ``exact_`` and ``steps_`` of
            exact inference and of its reverse chain in the same steps; every one also by network,
            ``..._by_network``.

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
            "it trains networks on chains and grammars of its own; for one model use "
            "denoiser_log_ratio of hierdiff.theory.ising, or UTurn",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        found = [[self._network(kind, k, place, device) for k in range(self.networks)]
                 for kind in KINDS]  # fmt: skip
        times = ChainTimes(*np.moveaxis(np.array(found), 2, 0))
        variables = self._of_times(times.free_entropy, times.uturn)
        for name, x in times._asdict().items():
            words = ("kind", "network", "N")
            variables[f"{name}_by_network"] = (words, x, f"{name.replace('_', ' ')}, by network")
        variables |= self._of_levels(place, device)
        return self._labelled(variables, "network")

    # ------------------------------------------------------------------------------------- chains

    def _network(self, kind: str, k: int, folder: Path | None, device: str) -> ChainTimes:
        """Train one network, and read both times at every length."""
        laws = self._laws(kind, k)
        plan = TrainConfig(
            steps=self.steps, every=self.steps, warmup=max(1, self.steps // 20), rate=5e-3,
            average=0.99, device=device,
        )  # fmt: skip
        key = f"chains-{kind}-{k}-{self.seed}{checkpoint_suffix(IsingChains, self.architecture)}"
        model, _ = train_chain_network(
            [self.chain(kind, k, N) for N in self.spins], plan, width=self.width, spins=self.batch,
            # without the class it has to be inferred, which takes longer to learn
            times=(_LEAST, float(laws[0][-1] + _REACH[-1])), label_share=0.2,
            network=self.architecture, seed=1000 * self.seed + 2 * k + KINDS.index(kind),
            folder=None if folder is None else folder / key,
        )  # fmt: skip
        rows = [self._one_length(model, kind, k, N, laws[0][i], laws[1][i])
                for i, N in enumerate(self.spins)]  # fmt: skip
        return ChainTimes(*laws, *np.array(rows).T)

    def _one_length(
        self, model: NetworkModel, kind: str, k: int, N: int, law: float, turn: float
    ) -> list[float]:
        """Free entropy and U-turns of exact inference, of its chain, and of the network."""
        data = self.chain(kind, k, N)
        n = max(8, min(self.chains, _BUDGET // N))
        x0, labels = data.sample(n, stream(self.seed, "data", kind, k, N))
        spins, sign = data.vectors(x0), np.where(labels == 0, 1.0, -1.0)
        t = law + _REACH
        t = t[t >= _LEAST]
        path = denoiser_log_ratio(model, spins, t, stream(self.seed, "path", kind, k, N))
        exact = np.array([_exact_ratio(data, x, one) for x, one in zip(path.x_t, t, strict=True)])
        entropy = [_meeting(t, sign * r) for r in (exact, path.ratio)]
        turns = np.array([x for x in turn + _TURNS if x >= _LEAST])
        kept = np.array([self._kept(model, data, spins, labels, (kind, k, N), float(one))
                         for one in turns])  # fmt: skip
        # draws at few times scatter; their mean distance from the exact curve does so least
        exact_curve = kept[:, 0] - 0.75
        found = [falling(turns, exact_curve + (curve - kept[:, 0]).mean()) for curve in kept.T]
        return [entropy[0], found[0], found[1], entropy[1], found[2]]

    def _kept(
        self, model: NetworkModel, data: IsingChains, spins: Array, labels: Array,
        names: tuple[Any, ...], t: float,
    ) -> list[float]:  # fmt: skip
        """Chains whose class a U-turn keeps: exactly, by exact steps, by the network."""
        noise = GaussianNoise()
        level = float(noise.level(1 / np.expm1(2 * t)))
        exact = ExactIsing(data, noise)
        x_t = noise.corrupt(spins, level, stream(self.seed, "noise", *names))
        belief = exact.class_marginals(x_t, level)
        found = [float((belief**2).sum(axis=1).mean())]
        for one in (exact, model):
            # the same random numbers for both, at all times
            rng = stream(self.seed, "backward", *names)
            end = SimulatedModel(one, self.num_steps).sample(x_t, level, rng)
            with np.errstate(divide="ignore"):
                certain = np.log(np.eye(2)[(end > 0).astype(int)])
            belief = chain_posterior(data, certain).class_marginals
            found.append(float(np.take_along_axis(belief, labels[:, None], 1).mean()))
        return found

    def _of_times(self, entropy: Array, turn: Array) -> dict[str, Any]:
        """Means over networks of times [kind, network, N], and of their slopes."""
        variables: dict[str, Any] = {}
        for name, x, slope in (
            ("free_entropy", entropy, "slope_free_entropy"), ("chain_uturn", turn, "slope"),
        ):  # fmt: skip
            variables |= _pair(name, ("kind", "N"), np.moveaxis(x, 1, 0))
            variables |= _pair(slope, ("kind",), slopes(self.spins, x).T)
        return variables

    # ------------------------------------------------------------------------------------- levels

    def _grammar(self, k: int) -> Grammar:
        return self.trees.grammar(self.L, k, self.seed)

    def _exact_levels(self) -> Array:
        """U-turns and three criteria of exact beliefs, [grammar, 4, level]."""
        times = np.array(_TREE_LEVELS)
        rows = []
        for k in range(self.grammars):
            found = grammar_levels(
                self._grammar(k), self.trees.process, times, 8 * _TREES["data"], self.seed, k
            )
            rows.append(level_crossings(times, found, self.v))
        return np.array(rows)

    def _of_levels(self, folder: Path | None, device: str) -> dict[str, Any]:
        """U-turns of tree networks, of the exact chain, and criteria of exact beliefs."""
        source, times = self.trees, np.array(_TREE_LEVELS)
        models, _ = trained_networks(source, self.L, self.seed, folder, device)
        changes = depth_changes(source, self.L, self.seed, models, ("chain", "network"), workers=1)
        share = changes.share.mean("datum").values  # [sampler, network, level, t]
        level = (1 + 1 / self.v) / 2
        chain, network = (
            np.array([[first_fall(times, row - level) for row in one] for one in part])
            for part in share
        )
        exact = self._exact_levels()
        variables: dict[str, Any] = _pair("uturn", ("level",), network)
        variables |= _pair("speciation", ("criterion", "level"), exact[:, 1:])
        by = ("grammar", "level")
        variables["uturn_of_levels"] = (by, network, "U-turns of networks")
        variables["steps_uturn_of_levels"] = (by, chain, "U-turns of the exact chain")
        variables["exact_uturn_of_levels"] = (by, exact[:, 0], "U-turns of exact inference")
        variables["speciation_by_network"] = (
            ("grammar", "criterion", "level"), exact[:, 1:], "criteria, by grammar")  # fmt: skip
        variables |= _pair("kept", ("level", "t"), share[1], "share of symbols that U-turns keep")
        variables |= _pair("steps_kept", ("level", "t"), share[0], "the same, exact chain")
        return variables

    def _labelled(self, variables: dict[str, Any], source: str) -> xr.Dataset:
        axes: dict[str, tuple[Any, str]] = {
            "kind": (list(KINDS), "where the class of a chain shows"),
            "N": (list(self.spins), "spins of a chain"),
            "network": (np.arange(self.networks), "network on chains"),
            "grammar": (np.arange(self.grammars), "tree network"),
            "criterion": (list(CRITERIA), "criterion of speciation"),
            "level": (np.arange(self.L + 1), "level, 0 is the class"),
            "t": (list(_TREE_LEVELS), "noise level t of the masking process"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The laws and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "chains-*", "network-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Times of chains against log N by both readings, and levels of grammars."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Datasets) -> Summary:
        """Times and slopes of networks beside exact inference and the law; levels."""
        ds = datasets[self.name]
        found = digest(ds)
        text = table(ds, datasets[f"{self.name}_theory"], found)
        return Summary(text, claim(found), found)


# ------------------------------------------------------------------------------------ from curves


def falling(t: Array, curve: Array) -> float:
    """Where a parabola through a noisy curve falls through zero; NaN if not near the times."""
    if len(t) < 3 or not np.isfinite(curve).all():
        return float("nan")
    middle, reach = t.mean(), np.ptp(t)
    c, b, a = np.polynomial.polynomial.polyfit(t - middle, curve, 2)
    square = b * b - 4 * a * c
    if b >= 0 or square < 0:
        return float("nan")
    # without the cancellation of -b - sqrt(...) where a is small; the other root is the far one
    root = 2 * c / (-b + np.sqrt(square))
    return float(middle + root) if abs(root) < reach else float("nan")


def _meeting(t: Array, ratio: Array) -> float:
    """Time at which mean and fluctuation of a log-likelihood ratio [t, n] meet."""
    mean, variance = ratio.mean(axis=1), ratio.var(axis=1)
    return first_fall(t, np.log(np.maximum(mean, 1e-6) ** 2 / np.maximum(variance, 1e-12)))


def _exact_ratio(data: IsingChains, x_t: Array, t: float) -> Array:
    log = chain_posterior(data, spin_evidence(x_t, float(1 / np.expm1(2 * t)))).log_likelihood
    return np.asarray(log[:, 0] - log[:, 1])


def slopes(N: tuple[int, ...], times: Array) -> Array:
    """Slopes of times [..., N] against log N by least squares, [...]."""
    away = np.log(np.array(N, float))
    away -= away.mean()
    return np.asarray(times @ away / (away @ away))


def _pair(name: str, dims: tuple[str, ...], units: Array, words: str | None = None) -> Any:
    """Mean over units, the first axis, with its error; NaN where a unit has none."""
    known = np.isfinite(units).all(axis=0)
    filled = np.where(known, units, 0.0)
    mean, error = (np.where(known, x, np.nan) for x in (filled.mean(axis=0), student_error(filled)))
    return results.with_error(name, dims, mean, error, words or _WORDS[name])


# ------------------------------------------------------------------------------- table and figure


def _over(units: Array) -> list[Any]:
    """Mean over units, the first axis, with error and z, as lists; NaN where a unit has none."""
    known = np.isfinite(units).all(axis=0)
    filled = np.where(known, units, 0.0)
    parts = (filled.mean(axis=0), student_error(filled), student_score(filled))
    return [np.where(known & np.isfinite(x), np.round(x, 5), np.nan).tolist() for x in parts]


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """Times, slopes and levels as numbers, with paired differences between networks and laws."""
    found: dict[str, Any] = {"N": ds.N.values.tolist(), "networks": ds.sizes["network"]}
    spins = tuple(ds.N.values)
    for kind in KINDS:
        one = {name: ds[f"{name}_by_network"].sel(kind=kind).values for name in ChainTimes._fields}
        row: dict[str, Any] = {"limit": SLOPES[kind]}
        wrong = SLOPES[KINDS[1 - KINDS.index(kind)]]
        for text, name, law in (("U-turn", "uturn", "law_uturn"),
                                ("free entropy", "free_entropy", "law_free_entropy")):  # fmt: skip
            slope, expected = slopes(spins, one[name]), slopes(spins, one[law])
            row[text] = {
                "network": _over(one[name])[:2], "law": _over(one[law])[0],
                "exact": _over(one[f"exact_{name}"])[:2],
                "network minus law": _over(one[name] - one[law]),
                "network minus exact": _over((one[name] - one[f"exact_{name}"]).mean(axis=1)),
                "slope": _over(slope)[:2], "slope, law at these N": float(expected.mean()),
                "slope, exact": _over(slopes(spins, one[f"exact_{name}"]))[:2],
                "z": _over(slope - expected)[2], "z, wrong slope": _over(slope - wrong)[2],
            }  # fmt: skip
        steps = one["steps_uturn"]
        row["U-turn"] |= {
            "exact chain": _over(steps)[:2],
            "network minus exact chain": _over((one["uturn"] - steps).mean(axis=1)),
            "slope, exact chain": _over(slopes(spins, steps))[:2],
            "slope minus exact chain": _over(slopes(spins, one["uturn"] - steps)),
        }
        found[kind] = row
    turn = ds.uturn_of_levels.values
    levels: dict[str, Any] = {
        "level": ds.level.values.tolist(), "networks": len(turn), "U-turn": _over(turn)[:2],
        "exact chain": _over(ds.steps_uturn_of_levels.values)[:2],
        "exact": _over(ds.exact_uturn_of_levels.values)[:2],
        "network minus exact chain": _over(turn - ds.steps_uturn_of_levels.values),
    }  # fmt: skip
    for c in CRITERIA:
        line = ds.speciation_by_network.sel(criterion=c).values
        levels[c] = {"time": _over(line)[:2], "minus network": _over(line - turn)}
    return found | {"levels": levels}


def table(ds: xr.Dataset, law: xr.Dataset, found: Mapping[str, Any]) -> str:
    """Rows per length of chains, slopes, rows per level."""
    rows, ends = [], []
    for kind in KINDS:
        for text in ("U-turn", "free entropy"):
            x = found[kind][text]
            for i, N in enumerate(ds.N.values):
                rows.append([
                    kind, text, N, plus_minus(x["network"][0][i], x["network"][1][i]),
                    plus_minus(x["exact"][0][i], x["exact"][1][i]), f"{x['law'][i]:.3f}",
                    f"{x['network minus law'][2][i]:.1f}",
                ])  # fmt: skip
            ends.append([
                kind, text, plus_minus(*x["slope"]), plus_minus(*x["slope, exact"]),
                plus_minus(*x.get("slope, exact chain", [np.nan, np.nan])),
                f"{x['slope, law at these N']:.3f}", f"{found[kind]['limit']:g}", f"{x['z']:.1f}",
                f"{x['z, wrong slope']:.1f}",
            ])  # fmt: skip
    header = ["class in", "reading", "N", "networks", "exact", "law", "z"]
    last = ["class in", "slope of", "networks", "exact", "exact chain", "law", "limit", "z",
            "z, wrong"]  # fmt: skip
    levels, lines = found["levels"], []
    for i, l in enumerate(levels["level"]):
        cells = [plus_minus(levels[w][0][i], levels[w][1][i])
                 for w in ("U-turn", "exact chain", "exact")]  # fmt: skip
        lines.append([l, *cells, *(plus_minus(levels[c]["time"][0][i], levels[c]["time"][1][i])
                                   for c in CRITERIA)])  # fmt: skip
    names = ["level", "networks", "exact chain", "exact", *CRITERIA]
    return "\n\n".join([text_table(header, rows, keys=3), text_table(last, ends, keys=2),
                        text_table(names, lines)])  # fmt: skip


def claim(found: Mapping[str, Any]) -> str:
    """Slopes of the networks against the laws, and levels against two criteria."""
    entropy, turns = [], []
    for kind in KINDS:
        x, y = found[kind]["free entropy"], found[kind]["U-turn"]
        wrong = SLOPES[KINDS[1 - KINDS.index(kind)]]
        entropy.append(
            f"{plus_minus(*x['slope'])} log N where the class shows in the {kind} (exact inference "
            f"{x['slope, exact'][0]:.3f}, law at these N {x['slope, law at these N']:.3f}, z = "
            f"{x['z']:.1f}, and {wrong:g} is off by z = {x['z, wrong slope']:.1f})"
        )
        turns.append(
            f"{plus_minus(*y['slope'])} (class in the {kind}; exact denoiser in the same steps "
            f"{y['slope, exact chain'][0]:.3f}, law {y['slope, law at these N']:.3f})"
        )
    levels = found["levels"]
    near, far = (np.array(levels[c]["minus network"][0]) for c in CRITERIA[:2])
    least, most = (
        ("-",) * 2 if np.isnan(far).all() else (f"{f(far):.3f}" for f in (np.nanmin, np.nanmax))
    )
    worst = "-" if np.isnan(near).all() else f"{np.nanmax(np.abs(near)):.3f}"
    return (
        f"{found['networks']} networks per kind: mean and fluctuation of the log-likelihood ratio "
        f"of networks meet at {' and '.join(entropy)}; their U-turns change the class half as "
        f"often as at infinity at {' and '.join(turns)} log N; {levels['networks']} tree networks: "
        f"the branch crosses its rivals within {worst} of their U-turns at every level, mean and "
        f"fluctuation meet later by {least} to {most}"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Times of U-turns and of the free entropy against the length, and levels."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
    titles = []
    for ax, name, part, slope in (
        (axes[0], "chain_uturn", "uturn", "slope"),
        (axes[1], "free_entropy", "free_entropy", "slope_free_entropy"),
    ):
        for kind, colour in zip(KINDS, PALETTE, strict=False):
            one = ds.sel(kind=kind)
            ax.plot(ds.N, law[name].sel(kind=kind), "-", lw=1, color=colour)
            # the scatter of networks is mostly that of their couplings, which the law shares
            ax.plot(ds.N, one[f"exact_{part}_by_network"].mean("network"), "x", ms=5, color=colour)
            if part == "uturn":
                chain = one["steps_uturn_by_network"].mean("network")
                ax.plot(ds.N, chain, "+", ms=7, color=colour)
            words = plus_minus(float(one[slope]), float(one[f"{slope}_error"]))
            ax.errorbar(ds.N, one[name], one[f"{name}_error"], fmt="o", ms=5, mfc="none",
                        capsize=2, color=colour, label=f"class in the {kind}: {words}")  # fmt: skip
        ax.plot([], [], "-", color="0.4", label="law of a weak signal")
        ax.plot([], [], "x", color="0.4", ms=5, label="exact inference")
        if part == "uturn":
            ax.plot([], [], "+", color="0.4", ms=7, label="exact denoiser, same steps")
        ax.set(xscale="log", xlabel="spins N", ylabel="Ornstein-Uhlenbeck time t",
               xticks=ds.N.values)  # fmt: skip
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        ax.xaxis.set_minor_locator(ticker.NullLocator())
        values = [f"{float(ds[slope].sel(kind=k)):.2f}".replace("nan", "?") for k in KINDS]
        reading = "U-turns" if part == "uturn" else "mean = fluctuation"
        titles.append(f"{reading}: {' and '.join(values)} of log N")
    titles.append(_draw_levels(axes[2], ds))
    panels(axes, *titles)
    for ax, title in zip(axes, ("circles: networks; slopes",) * 2 + ("lines: exact beliefs",),
                         strict=True):  # fmt: skip
        ax.spines[["top", "right"]].set_visible(False)
        legend(ax, title)
    return figure


def _draw_levels(ax: Axes, ds: xr.Dataset) -> str:
    names = {"branch": "branch = rivals", "fluctuation": "mean = fluctuation",
             "information": "half of the information"}  # fmt: skip
    for c, colour in zip(CRITERIA, (PALETTE[0], PALETTE[3], PALETTE[2]), strict=True):
        one = ds.sel(criterion=c)
        ax.errorbar(one.speciation, ds.level, xerr=one.speciation_error, fmt="-", lw=1.2,
                    color=colour, label=names[c])  # fmt: skip
    ax.errorbar(ds.uturn, ds.level, xerr=ds.uturn_error, fmt="ko", ms=5, mfc="none", capsize=2,
                label="U-turns of networks")  # fmt: skip
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel="level (0: class)", yticks=ds.level.values)
    ax.invert_yaxis()
    gap = np.abs(ds.uturn - ds.speciation.sel(criterion=CRITERIA[0])).max()
    return f"levels: branch = rivals to {float(gap):.3f}"
