"""The network study of composition: phases of a bump network, and levels of a grammar, in training.

=========  ======================================================================================
part       what is followed through training
=========  ======================================================================================
bumps      a conditional network on images of one bump: phase A (no structure, several bumps), B
           (disordered, one misplaced bump), C (ordered, in place) by the criteria of
           :mod:`hierdiff.sims.phases`, with order measured along the manifold; accuracy in x and in
           y.  Three worlds: labels of equal spacing (balanced), of unequal spacing (skewed), and
           labels whose order is faint in their code (faint), so that it has to be learned
levels     a network on strings of a random grammar: share of valid nodes per level in strings made
           symbol by symbol, where exact inference makes no mistake; theory says that levels are
           learned from the leaves up
=========  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from hierdiff import results
from hierdiff.checks import check_fields, listed, positive, reals, text
from hierdiff.data.bumps import Bumps
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, MaskingNoise
from hierdiff.seeds import stream
from hierdiff.sims.phases import (
    NETWORK_THRESHOLDS,
    PhaseReadout,
    Thresholds,
    anova_shares,
    location_accuracy,
    phase,
    read_phase,
)
from hierdiff.sims.simulated_model import SequentialModel
from hierdiff.theory.rhm.sample_complexity import clustering_cost
from hierdiff.validation.adapter import SymbolNetwork
from hierdiff.validation.figures.composition import network_composition
from hierdiff.validation.networks.tree_unet import TreeUNet
from hierdiff.validation.recipes import as_model, train_bump_network, train_tree_unet
from hierdiff.validation.studies._composition_claims import (
    READINGS,
    composition_claims,
    composition_closing,
    composition_table,
)
from hierdiff.validation.studies._flags import check_numbers, forget, known_model
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.studies._told_generation import told_generation
from hierdiff.validation.training import Plan

__all__ = ["NetworkComposition"]

Array: TypeAlias = NDArray[Any]
Part: TypeAlias = Literal["bumps", "levels"]
Name: TypeAlias = Literal["balanced", "skewed", "faint"]


@dataclass(frozen=True)
class _World:
    """Labels, how they are told, and how long the network is trained on them."""

    bumps: Bumps
    faint: float | None
    steps: int


@dataclass(frozen=True)
class NetworkComposition:
    """Phases of a bump network, and the order in which a network learns levels, along training.

    Writes composition_balanced.nc, composition_skewed.nc, composition_faint.nc,
    composition_levels.nc and composition.png; composition.nc for a network of the catalogue.
    """

    model: str = "small"
    """small trains the networks of ``parts`` here; or a network of ``hierdiff models`` that is told
    a class, whose images the reference classifier reads."""
    images: Path | None = None
    """Folder of photographs, a folder per class, to set beside a network of the catalogue."""
    classifier: Path | None = None
    """Weights of the reference classifier (ConvNeXt-Base), for a network of the catalogue."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    out: Path = Path("out/networks")
    """Folder for results, figure and checkpoints."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps."""
    bfloat16: bool = False
    """Train in bfloat16 (on a GPU)."""
    resume: bool = True
    """Go on from the checkpoints of the same command."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""
    seed: int = 0
    """Seed of everything random."""
    parts: tuple[Part, ...] = ("bumps", "levels")
    """What is trained."""
    worlds: tuple[Name, ...] = ("faint",)
    """Labels of the bumps: a code in which order is faint (minutes, shows all phases), or a smooth
    code with equal (balanced) or unequal (skewed) spacing (the same time again for each)."""
    seeds: int = 1
    """Bump networks per world; with two or more the crossing times get errors."""
    size: int = 12
    """Pixels on a side."""
    sigma: float = 1.25
    """Width of the bump in pixels."""
    margin: float = 2.0
    """Distance of the labels from the edge."""
    skew: tuple[float, float] = (0.1, 1.0)
    """Spacings d_x and d_y of the unequal labels; the equal ones have d_y in both."""
    faint: float = 0.04
    """Amplitude of the true place in the faint code, beside one that means nothing."""
    faint_spacing: float = 0.2
    """Spacing of the labels with the faint code: how rare each is decides how long B lasts."""
    faint_steps: int = 1500
    """Training steps with the faint code."""
    channels: int = 32
    """Channels of the U-Net."""
    multipliers: tuple[float, ...] = (1, 2)
    """Width at each resolution."""
    steps: int = 900
    """Training steps of a bump network."""
    batch: int = 64
    """Images per step."""
    evaluations: int = 12
    """Looks at a bump network in its first ``steps`` steps, and on at the same pace."""
    looks: int = 200
    """Labels that are generated at each look (or in all, by a network of the catalogue)."""
    points: int = 1000
    """Labels whose representation is read at each look."""
    sampling: int | None = None
    """Steps of the sampler (default 10 for bumps, 250 for a network of the catalogue)."""
    t: float = 1.0
    """Noise level at which the representation is read, with one noise for all labels; below 1 the
    image of the bump is in what the network sees, and so in its features, whatever it has learned.
    """
    v: int = 8
    """Symbols of the grammar."""
    m: int = 2
    """Rules per symbol."""
    L: int = 4
    """Levels of rules."""
    level_steps: int = 600
    """Training steps of a network on strings."""
    level_seeds: int = 3
    """Networks on strings, with grammars of their own."""

    def __post_init__(self) -> None:
        check_fields(
            self, faint=positive, parts=partial(listed, rule=text),
            worlds=partial(listed, rule=text),
            multipliers=partial(listed, rule=positive, distinct=False),
            skew=partial(listed, rule=positive, least=2, distinct=False),
        )  # fmt: skip
        known_model(self.model, "small")
        check_numbers(self)
        if not self.parts or not {*self.parts} <= {"bumps", "levels"}:
            raise InvalidParameter(f"parts = {self.parts} must name some of bumps, levels")
        for name in ("seeds", "evaluations", "level_seeds", "sampling"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be at least 1")
        if min(self.looks, self.points) < 20 or not 0 < self.t <= 1:
            raise InvalidParameter(
                f"looks = {self.looks} and points = {self.points} must be at least 20 and t = "
                f"{self.t} lie in (0, 1]"
            )
        if not {*self.worlds} <= {"balanced", "skewed", "faint"} or not self.worlds:
            raise InvalidParameter(
                f"worlds = {self.worlds} must name some of balanced, skewed, faint"
            )
        RHM(self.v, self.m, 2, self.L)
        _ = self._worlds

    @property
    def _worlds(self) -> dict[str, _World]:
        """The sets of labels."""
        d_x, d_y = reals("skew", self.skew, above=0, shape=(2,)).tolist()

        def bumps(x: float, y: float) -> Bumps:
            return Bumps(size=self.size, sigma=self.sigma, margin=self.margin, d_x=x, d_y=y)

        d = self.faint_spacing
        every = {
            "balanced": _World(bumps(d_y, d_y), None, self.steps),
            "skewed": _World(bumps(d_x, d_y), None, self.steps),
            "faint": _World(bumps(d, d), self.faint, self.faint_steps),
        }
        return {name: every[name] for name in self.worlds}

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the results of the parts."""
        folder = results.run_folder(self, "composition", "composition_*")
        if not self.resume:
            forget(folder, "bumps-*", "levels-*")
        results.task_folder(folder, "network_composition", self.resume)
        if self.model != "small":
            return self._published(folder)
        found: dict[str, xr.Dataset] = {}
        shown: tuple[Array, Array] | None = None
        if "bumps" in self.parts:
            for name, world in self._worlds.items():
                found[name], shown = self._bumps(folder, name, world)
        if "levels" in self.parts:
            found["levels"] = self._levels(folder)
        for name, ds in found.items():
            results.save(ds, folder / f"composition_{name}.nc")
        bumps = {name: found[name] for name in self._worlds if name in found}
        figure = network_composition(bumps, found.get("levels"), *(shown or (None, None)))
        figure.savefig(folder / "composition.png", dpi=160)
        plt.close(figure)
        said = composition_claims(found)
        for line in composition_table(found):
            print(line)
        print(f"wrote {folder / 'composition.png'} and {len(found)} results")
        if self.summary:
            write_summary(self.summary, said, composition_closing(said), self.device)
        print(composition_closing(said))
        return tuple(found.values())

    def _published(self, folder: Path) -> tuple[xr.Dataset, ...]:
        """Generation under a class by a network of the catalogue."""
        ds, figure, said, closing = told_generation(self, folder)
        results.save(ds, folder / "composition.nc")
        figure.savefig(folder / "composition.png", dpi=160)
        plt.close(figure)
        print(f"wrote {folder / 'composition.nc'} and {folder / 'composition.png'}")
        if self.summary:
            write_summary(self.summary, said, closing, self.device)
        print(closing)
        return (ds,)

    def _key(self, name: str, network: int, *settings: float) -> str:
        """Folder of a checkpoint, one for each way of reading the network."""
        return "-".join([name, *(f"{x:g}" for x in (*settings, self.seed, network))])

    def _plan(self, steps: int, rate: float) -> Plan:
        every = max(1, min(self.steps, steps) // self.evaluations)
        # the rate stays up while the phases pass; a rate that falls freezes what is half learned
        return Plan(steps=steps, every=every, rate=rate, average=0.98, warmup=min(50, steps),
                    hold=0.8, bfloat16=self.bfloat16, device=self.device)  # fmt: skip

    def _bumps(
        self, folder: Path, name: str, world: _World
    ) -> tuple[xr.Dataset, tuple[Array, Array]]:
        """Readings [seed, step] of a world; images of its first network and where they belong."""
        rows: list[list[dict[str, float]]] = []
        first: tuple[Array, Array] | None = None
        for k in range(self.seeds):
            seed = self.seed + 1000 * k
            reading = (self.size, self.looks, self.points, self.sampling or 10, self.t)
            model, done = train_bump_network(
                world.bumps, self._plan(world.steps, 3e-3), faint=world.faint,
                channels=self.channels, multipliers=self.multipliers, batch=self.batch, seed=seed,
                folder=folder / self._key(f"bumps-{name}", k, *reading),
                evaluate=self._look(world),
            )  # fmt: skip
            rows.append(list(done.history))
            if first is None:
                places = self._places(world.bumps, self.looks)[:8]
                reader = as_model(model.module, self.sampling or 10)
                first = _made(reader, places, self.size), places
        assert first is not None
        dims = ("seed", "step")
        variables: dict[str, Any] = {
            n: (dims, np.array([[h[n] for h in row] for row in rows]), n.replace("_", " "))
            for n in READINGS
        }
        for key, limits in (("phase", NETWORK_THRESHOLDS), ("strict_phase", Thresholds())):
            names = np.array([[_phase(h, limits) for h in row] for row in rows])
            text = "phase" if key == "phase" else "phase by the thresholds of synthetic cases"
            variables[key] = (dims, names, text)
        coords: dict[str, Any] = {
            "seed": (("seed",), np.arange(self.seeds), "network"),
            "step": (("step",), [int(h["step"]) for h in rows[0]], "training step"),
        }
        attributes = results.provenance(asdict(self))
        return results.label(variables, coords, "network", attributes), first

    def _places(self, bumps: Bumps, n: int) -> Array:
        """Labels to look at, off the grid."""
        low, high = bumps.margin, bumps.size - bumps.margin - 1
        return stream(self.seed, "places", n).uniform(low, high, (n, 2)).astype(np.float32)

    def _points(self, world: _World) -> Array:
        """Labels whose representation is read, evenly spread: neighbours in two directions.

        A faint code knows no other labels than those of its training.
        """
        bumps = world.bumps
        if world.faint is None:
            return self._places(bumps, self.points)
        rows = stream(self.seed, "points").permutation(len(bumps.labels))[: self.points]
        return bumps.labels[rows].astype(np.float32)

    def _look(self, world: _World) -> Callable[[nn.Module], dict[str, float]]:
        bumps = world.bumps
        places, points = self._places(bumps, self.looks), self._points(world)

        def look(network: nn.Module) -> dict[str, float]:
            model = as_model(network, self.sampling or 10)
            images = _made(model, places, self.size)
            layer = next(iter(model.layers))
            noise = stream(self.seed, "fixed").standard_normal((1, 1, self.size, self.size))
            snr = float(GaussianNoise(schedule="linear").snr(self.t))
            a = float(np.sqrt(snr / (1 + snr)))

            def features(where: Array) -> Array:
                clean = 2 * bumps.images(where)[:, None] - 1
                x_t = (a * clean + np.sqrt(1 - a**2) * noise).astype(np.float32)
                told = model.conditioned(where.astype(np.float32))
                return np.asarray(told.features(x_t, self.t)[layer])

            read = read_phase(images, places, features(points), Z_labels=points)
            line = np.linspace(bumps.margin, bumps.size - bumps.margin - 1, 8)
            grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
            Z = features(grid.reshape(-1, 2)).reshape(8, 8, -1)
            _, x, y = location_accuracy(images, places)
            return {**asdict(read), "x_accuracy": float(x), "y_accuracy": float(y),
                    "interaction": float(anova_shares(Z)[2])}  # fmt: skip

        return look

    def _levels(self, folder: Path) -> xr.Dataset:
        """Valid nodes [seed, step, level] of strings made symbol by symbol."""
        rows, steps = [], []
        noise = MaskingNoise(self.v)
        for k in range(self.level_seeds):
            grammar = RHM(self.v, self.m, 2, self.L).draw(stream(self.seed, "grammar", k))

            def look(network: nn.Module, grammar: Grammar = grammar) -> dict[str, float]:
                model = SequentialModel(SymbolNetwork(cast(TreeUNet, network), noise))
                blank = np.full((300, grammar.n_leaves), -1)
                made = model.sample(blank, 1.0, stream(self.seed, "made"))
                valid = grammar.valid_per_level(made)[: self.L]
                return {f"level {l}": float(x.mean()) for l, x in enumerate(valid)}

            plan = Plan(
                steps=self.level_steps, every=max(1, self.level_steps // 20), rate=4e-3, hold=0.6,
                average=0.95, warmup=min(50, self.level_steps), device=self.device,
            )  # fmt: skip
            _, done = train_tree_unet(
                grammar, noise, plan, width=48, leaf_width=16, batch=128, seed=self.seed + k,
                folder=folder / self._key("levels", k, self.v, self.m, self.L),
                evaluate=look,
            )  # fmt: skip
            steps = [int(h["step"]) for h in done.history]
            rows.append([[h[f"level {l}"] for l in range(self.L)] for h in done.history])
        values = np.array(rows)
        cost = [clustering_cost(RHM(self.v, self.m, 2, self.L), self.L - l)
                for l in range(self.L)]  # fmt: skip
        variables: dict[str, Any] = {
            "valid": (("seed", "step", "level"), values, "share of valid nodes in strings made"),
            "cost": (("level",), cost, "data that resolve the level, v m^(l+1), l its height"),
        }
        coords: dict[str, Any] = {
            "seed": (("seed",), np.arange(self.level_seeds), "grammar and network"),
            "step": (("step",), steps, "training step"),
            "level": (("level",), np.arange(self.L), "level, root = 0"),
        }
        return results.label(variables, coords, "network", results.provenance(asdict(self)))


def _made(model: Any, places: Array, size: int) -> Array:
    """Images [n, size, size] in [0, 1] made from one noise per place."""
    noise = stream(0, "bump noise").standard_normal((len(places), 1, size, size))
    told = model.conditioned(places.astype(np.float32))
    made = told.sample(noise.astype(np.float32), 1.0, 0)
    return np.asarray(np.clip((made[:, 0] + 1) / 2, 0, 1))


def _phase(read: dict[str, float], limits: Thresholds) -> str:
    fields = PhaseReadout.__dataclass_fields__
    return phase(PhaseReadout(**{k: read[k] for k in fields}), limits)
