"""The network study of composition: phases of a bump network, and levels of a grammar, in training.

=========  ======================================================================================
part       what is followed through training
=========  ======================================================================================
bumps      a conditional network on images of one bump: phase A (no structure, several bumps), B
           (disordered, one misplaced bump), C (ordered, in place) by the criteria of
           :mod:`hierdiff.sims.phases`; accuracy in x and in y, for labels of equal and of unequal
           spacing
levels     a network on strings of a random grammar: share of valid nodes per level in strings made
           from noise; theory says that levels are learned from the leaves up
=========  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from hierdiff import results
from hierdiff.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import RHM
from hierdiff.noise import GaussianNoise, MaskingNoise
from hierdiff.seeds import stream
from hierdiff.sims.phases import (
    PhaseReadout,
    anova_shares,
    crossing_time,
    location_accuracy,
    phase,
    read_phase,
)
from hierdiff.theory.composition import clustering_cost
from hierdiff.validation.bump_network import as_model, bump_unet, train_bump_network
from hierdiff.validation.figures.composition import network_composition
from hierdiff.validation.rhm_network import SymbolNetwork
from hierdiff.validation.rhm_training import train_tree_unet
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.training import Plan

__all__ = ["NetworkComposition"]

Array: TypeAlias = NDArray[Any]
Part: TypeAlias = Literal["bumps", "levels"]

_NAMES = ("one_bump", "location_accuracy", "two_nn", "rsa", "held_out_r2", "neighbour_ratio")
_OF_BUMPS = (*_NAMES, "participation_ratio", "x_accuracy", "y_accuracy", "interaction")


@dataclass(frozen=True)
class NetworkComposition:
    """Phases of a bump network, and the order in which a network learns levels, along training.

    Writes composition_bumps.nc, composition_levels.nc and composition.png.
    """

    out: Path = Path("out")
    """Folder for results, figure and checkpoints."""
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
    seeds: int = 1
    """Bump networks per spacing; with two or more the crossing times get errors."""
    size: int = 16
    """Pixels on a side."""
    sigma: float = 1.5
    """Width of the bump in pixels."""
    margin: float = 3.0
    """Distance of the labels from the edge."""
    skew: tuple[float, float] = (0.1, 1.0)
    """Spacings d_x and d_y of the unequal labels; the equal ones have d_y in both."""
    channels: int = 32
    """Channels of the U-Net."""
    multipliers: tuple[float, ...] = (1, 2)
    """Width at each resolution."""
    steps: int = 900
    """Training steps of a bump network."""
    batch: int = 64
    """Images per step."""
    evaluations: int = 9
    """Looks at the network along its training."""
    looks: int = 256
    """Labels that are generated at each look."""
    sampling: int = 20
    """Steps of the sampler."""
    t: float = 0.8
    """Noise level at which the representation is read."""
    v: int = 8
    """Symbols of the grammar."""
    m: int = 2
    """Rules per symbol."""
    L: int = 4
    """Levels of rules."""
    level_steps: int = 1800
    """Training steps of a network on strings."""
    level_seeds: int = 3
    """Networks on strings, with grammars of their own."""

    def __post_init__(self) -> None:
        if not self.parts or not {*self.parts} <= {"bumps", "levels"}:
            raise InvalidParameter(f"parts = {self.parts} must name some of bumps, levels")
        for name in ("seeds", "evaluations", "level_seeds", "sampling"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be at least 1")
        if self.looks < 20 or not 0 < self.t <= 1:
            raise InvalidParameter(
                f"looks = {self.looks} must be at least 20 and t = {self.t} lie in (0, 1]"
            )
        RHM(self.v, self.m, 2, self.L)
        _ = self.worlds

    @property
    def worlds(self) -> dict[str, Bumps]:
        """The two sets of labels."""
        d_x, d_y = self.skew
        shared = {"size": self.size, "sigma": self.sigma, "margin": self.margin}
        return {
            "balanced": Bumps(d_x=d_y, d_y=d_y, **shared),  # type: ignore[arg-type]
            "skewed": Bumps(d_x=d_x, d_y=d_y, **shared),  # type: ignore[arg-type]
        }

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the results of the parts."""
        folder = results.writable_folder(self.out)
        if not self.resume:
            for old in folder.glob("*/checkpoint.pt"):
                old.unlink()
        found: dict[str, xr.Dataset] = {}
        shown: Array | None = None
        if "bumps" in self.parts:
            found["bumps"], shown = self._bumps(folder)
        if "levels" in self.parts:
            found["levels"] = self._levels(folder)
        for name, ds in found.items():
            results.save(ds, folder / f"composition_{name}.nc")
        figure = network_composition(found.get("bumps"), found.get("levels"), shown)
        figure.savefig(folder / "composition.png", dpi=160)
        plt.close(figure)
        said = _claims(found)
        for line in _table(found):
            print(line)
        print(f"wrote {folder / 'composition.png'} and {len(found)} results")
        if self.summary:
            write_summary(self.summary, said, _closing(said), self.device)
        print(_closing(said))
        return tuple(found.values())

    def _plan(self, steps: int, rate: float) -> Plan:
        return Plan(steps=steps, every=max(1, steps // self.evaluations), rate=rate, average=0.98,
                    warmup=min(50, steps), bfloat16=self.bfloat16, device=self.device)  # fmt: skip

    def _bumps(self, folder: Path) -> tuple[xr.Dataset, Array]:
        """Readings [data, seed, step, name] and generated images of the first network."""
        rows: list[list[list[dict[str, float]]]] = []
        untrained: list[dict[str, float]] = []
        first: Array | None = None
        for name, bumps in self.worlds.items():
            rows.append([])
            # what the smooth code of the labels brings before anything is learned
            torch.manual_seed(self.seed)
            blank = bump_unet(self.size, channels=self.channels, multipliers=self.multipliers)
            with torch.no_grad():
                untrained.append(self._look(bumps)(blank.to(self.device).eval()))
            for k in range(self.seeds):
                seed = self.seed + 1000 * k
                size = f"{name}-{self.size}-{self.channels}-{seed}"
                model, done = train_bump_network(
                    bumps, self._plan(self.steps, 2e-3), channels=self.channels,
                    multipliers=self.multipliers, batch=self.batch, seed=seed,
                    folder=folder / f"bumps-{size}", evaluate=self._look(bumps),
                )  # fmt: skip
                rows[-1].append(list(done.history))
                if first is None:
                    places = self._places(bumps)[:8]
                    first = _made(as_model(model.module, self.sampling), places, self.size)
        assert first is not None
        steps = [int(h["step"]) for h in rows[0][0]]
        values = {n: np.array([[[h[n] for h in one] for one in row] for row in rows])
                  for n in _OF_BUMPS}  # fmt: skip
        dims = ("data", "seed", "step")
        variables: dict[str, Any] = {n: (dims, v, n.replace("_", " ")) for n, v in values.items()}
        for n in _OF_BUMPS:
            text = f"{n.replace('_', ' ')} of an untrained network"
            variables[f"untrained_{n}"] = (("data",), [u[n] for u in untrained], text)
        variables["phase"] = (dims, np.array([[[_phase(h) for h in one] for one in row]
                                              for row in rows]), "phase")  # fmt: skip
        coords: dict[str, Any] = {
            "data": (("data",), list(self.worlds), "spacing of the labels"),
            "seed": (("seed",), np.arange(self.seeds), "network"),
            "step": (("step",), steps, "training step"),
        }
        attributes = results.provenance(asdict(self))
        return results.label(variables, coords, "network", attributes), first

    def _places(self, bumps: Bumps) -> Array:
        """Labels to look at, off the grid."""
        low, high = bumps.margin, bumps.size - bumps.margin - 1
        return stream(self.seed, "places").uniform(low, high, (self.looks, 2)).astype(np.float32)

    def _look(self, bumps: Bumps) -> Callable[[nn.Module], dict[str, float]]:
        places = self._places(bumps)

        def look(network: nn.Module) -> dict[str, float]:
            model = as_model(network, self.sampling)
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

            read = read_phase(images, places, features(places))
            line = np.linspace(bumps.margin, bumps.size - bumps.margin - 1, 8)
            grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
            Z = features(grid.reshape(-1, 2)).reshape(8, 8, -1)
            _, x, y = location_accuracy(images, places)
            return {**asdict(read), "x_accuracy": float(x), "y_accuracy": float(y),
                    "interaction": float(anova_shares(Z)[2])}  # fmt: skip

        return look

    def _levels(self, folder: Path) -> xr.Dataset:
        """Valid nodes [seed, step, level] of strings made from noise."""
        rows, steps = [], []
        for k in range(self.level_seeds):
            grammar = RHM(self.v, self.m, 2, self.L).draw(stream(self.seed, "grammar", k))
            noise = MaskingNoise(self.v)
            blank = np.full((300, grammar.n_leaves), -1)

            def look(network: nn.Module, grammar: Any = grammar, noise: Any = noise,
                     blank: Array = blank) -> dict[str, float]:  # fmt: skip
                model = SymbolNetwork(network, noise, steps=16)  # type: ignore[arg-type]
                made = model.sample(blank, 1.0, stream(self.seed, "made"))
                valid = grammar.valid_per_level(made)
                return {f"level {l}": float(x.mean()) for l, x in enumerate(valid)}

            size = f"{self.v}-{self.m}-{self.L}-{k}-{self.seed}"
            plan = Plan(
                steps=self.level_steps, every=max(1, self.level_steps // 18), rate=2e-3,
                average=0.95, warmup=min(50, self.level_steps), device=self.device,
            )  # fmt: skip
            _, done = train_tree_unet(
                grammar, noise, plan, width=48, batch=64, seed=self.seed + k,
                folder=folder / f"levels-{size}", evaluate=look,
            )  # fmt: skip
            steps = [int(h["step"]) for h in done.history]
            rows.append([[h[f"level {l}"] for l in range(self.L)] for h in done.history])
        values = np.array(rows)
        cost = [clustering_cost(RHM(self.v, self.m, 2, self.L), self.L - l)
                for l in range(self.L)]  # fmt: skip
        variables: dict[str, Any] = {
            "valid": (("seed", "step", "level"), values, "share of valid nodes, made from noise"),
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


def _phase(read: dict[str, float]) -> str:
    fields = PhaseReadout.__dataclass_fields__
    return phase(PhaseReadout(**{k: read[k] for k in fields}))


def _claims(found: dict[str, xr.Dataset]) -> dict[str, Any]:
    """Phases along training, crossing steps of x and y, and the order of the levels."""
    said: dict[str, Any] = {}
    if "bumps" in found:
        ds = found["bumps"]
        for name in map(str, ds.data.values):
            one = ds.sel(data=name)
            times = {axis: [crossing_time(ds.step.values, one[f"{axis}_accuracy"].values[k])
                            for k in range(ds.sizes["seed"])] for axis in "xy"}  # fmt: skip
            last = one.isel(step=-1)
            said[name] = {
                "phases": [list(map(str, row)) for row in one.phase.values],
                "crossing": times,
                "last": {n: [float(last[n].mean()), float(last[n].std())] for n in _OF_BUMPS},
                "untrained": {n: float(one[f"untrained_{n}"]) for n in _OF_BUMPS},
                "steps": ds.step.values.tolist(),
            }
    if "levels" in found:
        ds = found["levels"]
        half = [[_crossed(ds.step.values, ds.valid.values[k, :, l]) for l in ds.level.values]
                for k in range(ds.sizes["seed"])]  # fmt: skip
        ordered = [all(a >= b for a, b in zip(row, row[1:], strict=False)) for row in half]
        said["levels"] = {"half valid at": half, "in order": ordered,
                          "last": ds.valid.isel(step=-1).mean("seed").values.tolist()}  # fmt: skip
    return said


def _crossed(steps: Array, curve: Array) -> float:
    """First step at which half of the nodes are valid; infinite if never."""
    at = crossing_time(steps, curve, 0.5)
    return float("inf") if np.isnan(at) else at


def _table(found: dict[str, xr.Dataset]) -> list[str]:
    lines = []
    if "bumps" in found:
        ds = found["bumps"].isel(seed=0)
        lines.append(f"{'data':>9} {'step':>6} {'phase':>13} " + " ".join(
            f"{n.replace('_', ' ')[:12]:>12}" for n in _OF_BUMPS))  # fmt: skip
        for name in map(str, ds.data.values):
            for k, step in enumerate(ds.step.values):
                one = ds.sel(data=name).isel(step=k)
                lines.append(f"{name:>9} {int(step):>6} {one.phase.values!s:>13} " + " ".join(
                    f"{float(one[n]):>12.2f}" for n in _OF_BUMPS))  # fmt: skip
    if "levels" in found:
        ds = found["levels"]
        mean = ds.valid.mean("seed")
        lines.append("valid nodes by level, root first: " + "; ".join(
            f"step {int(s)}: " + ", ".join(f"{x:.2f}" for x in mean.sel(step=s).values)
            for s in ds.step.values[:: max(1, ds.sizes["step"] // 6)]))  # fmt: skip
    return lines


def _closing(said: dict[str, Any]) -> str:
    """The closing line."""
    words = []
    for name in ("balanced", "skewed"):
        if name not in said:
            continue
        x = said[name]
        path = [p for i, p in enumerate(x["phases"][0]) if not i or p != x["phases"][0][i - 1]]
        times = {a: np.array(t) for a, t in x["crossing"].items()}
        cross = ", ".join(f"{a} at step {_said(t)}" for a, t in times.items())
        words.append(
            f"{name} bumps: phases {' -> '.join(path)}, accuracy 0.6 in {cross}; at the end one "
            f"bump {x['last']['one_bump'][0]:.2f}, in place {x['last']['location_accuracy'][0]:.2f}"
            f", RSA {x['last']['rsa'][0]:.2f}, interaction {x['last']['interaction'][0]:.2f} "
            f"(untrained: in place {x['untrained']['location_accuracy']:.2f}, RSA "
            f"{x['untrained']['rsa']:.2f}, held-out R2 {x['untrained']['held_out_r2']:.2f})"
        )
    if "levels" in said:
        x = said["levels"]
        rows = np.array(x["half valid at"])[:, ::-1]
        steps = ", ".join(_said(rows[:, h]) for h in range(rows.shape[1]))
        words.append(
            f"grammar: half of the nodes valid at step {steps} (height 1 to {rows.shape[1]}), in "
            f"the predicted order in {sum(x['in order'])} of {len(x['in order'])} networks"
        )
    return "; ".join(words)


def _said(times: Array) -> str:
    """Mean and error of step numbers, or that it is not reached."""
    if not np.isfinite(times).all():
        return "(not reached)"
    if len(times) < 2:
        return f"{times[0]:.0f}"
    return f"{times.mean():.0f} ± {times.std(ddof=1) / np.sqrt(len(times)):.0f}"
