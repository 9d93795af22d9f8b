"""The network study of the phase transition: three curves, gap to exact inference, training sets.

==============  =================================================================================
``--model``     what is noised and denoised
==============  =================================================================================
rhm             strings of a random grammar by a tree-shaped U-Net (or, with ``--architecture
                transformer``, one that does not know the tree), level by level: the exact law,
                exact beliefs through the same reverse chain, and the network through that chain
digits          8 x 8 digits: class retention and layers of a classifier, with the floor of pairs
other names     images of a folder (``--images``) by a network of ``hierdiff models``
==============  =================================================================================

What lies between the first two curves is the chain's, what lies between the last two the
network's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import check_fields, listed, one_level, whole
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, noise_name, noise_process
from hierdiff.seeds import stream
from hierdiff.sims.simulated_model import SimulatedModel
from hierdiff.theory import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.figures.phase_transition import network_phase_transition
from hierdiff.validation.recipes import Architecture, divergence_to_exact, train_symbol_network
from hierdiff.validation.studies._curves import half_lost, mean_and_error
from hierdiff.validation.studies._flags import check_numbers, forget, known_model
from hierdiff.validation.studies._image_retention import ImageRetention
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.training import TrainConfig
from hierdiff.validation.tree_runs import copied, exact_retention, run_kept

__all__ = ["NetworkPhaseTransition"]

Array: TypeAlias = NDArray[Any]

_FOCUS = {"gaussian": (0.08, 0.35), "masking": (0.1, 0.7), "uniform": (0.05, 0.5)}
_LEVELS = {
    "gaussian": (0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0),
    "masking": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "uniform": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
}


def _two_levels(name: str, value: Any) -> tuple[Any, ...] | None:
    return None if value is None else listed(name, value, one_level, least=2)


@dataclass(frozen=True)
class NetworkPhaseTransition:
    """Loss of the class and of every level when a network noises and denoises, beside exact BP.

    Trains networks here (``rhm``, ``digits``) or takes a published one.  Writes
    phase_transition.nc, phase_transition.png and, for ``rhm``, phase_transition_theory.nc and
    phase_transition_chain.nc.
    """

    model: str = "rhm"
    """rhm, digits, or a network of ``hierdiff models``."""
    images: Path | None = None
    """Folder of images, for a network of the catalogue."""
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
    resume: bool = True
    """Go on from the checkpoints of the same command."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""
    seed: int = 0
    """Seed of everything random."""
    v: int = 8
    """Symbols per level (rhm)."""
    m: int = 2
    """Rules per symbol (rhm)."""
    s: int = 2
    """Symbols that a rule writes (rhm)."""
    L: int = 4
    """Depth of the hierarchy (rhm)."""
    noise: str = "gaussian"
    """Forward process (rhm): gaussian, masking, uniform or a registered name."""
    focus: tuple[float, float] | None = None
    """Where three quarters of the noise levels of training lie (rhm); default: the transition of
    the default grammar."""
    t: tuple[float, ...] | None = None
    """Noise levels; default around the transition."""
    data: int | None = None
    """Data to start from; default 600 (rhm), 200 (digits), all images of a folder."""
    steps: int | None = None
    """Training steps; default 5,000 (rhm) or 900 (digits)."""
    architecture: Architecture = "tree"
    """U-Net in the shape of the tree, or a transformer that does not know it (rhm)."""
    width: int = 64
    """Features per node of the network (rhm); a leaf has a quarter of them, but 16 at least."""
    batch: int = 256
    """Data per training step (rhm)."""
    chain: int = 100
    """Steps of the reverse chain from t = 1."""
    n_train: tuple[int, ...] = (256, 2048, 0)
    """Sizes of training sets to compare (rhm); 0 draws fresh data for every step."""
    n_train_steps: int = 600
    """Training steps of each of these."""

    def __post_init__(self) -> None:
        check_fields(
            self, n_train=partial(listed, rule=partial(whole, high=10**9), least=0),
            focus=_two_levels, noise=partial(noise_name, channel=True),
        )  # fmt: skip
        known_model(self.model, "rhm", "digits")
        check_numbers(self)
        if self.t is not None and not all(0 < t <= 1 for t in self.t):
            raise InvalidParameter(f"t = {self.t} must be noise levels in (0, 1]")
        if self.focus is not None and not 0 <= self.focus[0] < self.focus[1] <= 1:
            raise InvalidParameter(f"focus = {self.focus} must be two rising levels in [0, 1]")
        if self.data is not None and self.data < 2:
            raise InvalidParameter(f"data = {self.data} give no error bar; use at least 2")
        if any(n < 0 for n in self.n_train) or self.chain < 1:
            raise InvalidParameter(
                f"n_train = {self.n_train} must not be negative (0 is fresh data), and chain = "
                f"{self.chain} at least 1"
            )
        if self.model == "rhm":
            RHM(self.v, self.m, self.s, self.L)
        elif self.model != "digits" and self.images is None:
            raise InvalidParameter(
                f"model {self.model} needs images; give --images DIR, or use rhm or digits"
            )

    @property
    def grammar(self) -> Grammar:
        """The grammar that is learned."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar"))

    @property
    def process(self) -> NoiseProcess:
        """The forward process; on DDPM's linear schedule where it has one."""
        process: Any = noise_process(self.noise, self.v)
        made: NoiseProcess = (
            replace(process, schedule="linear") if hasattr(process, "schedule") else process
        )
        return made

    @property
    def levels(self) -> Array:
        """Noise levels."""
        return np.array(self.t or _LEVELS.get(self.noise, _LEVELS["masking"]))

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the exact law, the exact chain and the network, or the network."""
        folder = results.run_folder(self, "phase_transition", "phase_transition_*")
        if not self.resume:
            forget(folder, "network-*", "size-*", "digits-*", "classifier-*")
        results.task_folder(folder, "network_phase_transition", self.resume)
        if self.model == "rhm":
            return self._rhm(folder)
        return ImageRetention(self).main(folder)

    def _rhm(self, folder: Path) -> tuple[xr.Dataset, ...]:
        found = self._curves(folder)
        sizes = self._training_sets(folder)
        network = found[2].merge(sizes, compat="override", combine_attrs="override")
        names = ("phase_transition_theory", "phase_transition_chain", "phase_transition")
        every = (*found[:2], network)
        for name, ds in zip(names, every, strict=True):
            results.save(ds, folder / f"{name}.nc")
        figure = network_phase_transition(*every)
        figure.savefig(folder / "phase_transition.png", dpi=160)
        plt.close(figure)
        print(_table(*every))
        print(f"wrote {folder / 'phase_transition.nc'} and {folder / 'phase_transition.png'}")
        said = _claims(*every)
        if self.summary:
            write_summary(self.summary, said, _closing(said), self.device)
        print(_closing(said))
        return every

    def _train(
        self, folder: Path, name: str, data: Array | None, steps: int
    ) -> tuple[NetworkModel, float]:
        """A network, and the processor seconds that it took."""
        place = folder / f"{name}-{self.noise}-{self.v}-{self.m}-{self.s}-{self.L}-{self.seed}"
        tree = self.architecture == "tree"
        if not tree:
            place = place.with_name(f"{place.name}-{self.architecture}")
        plan = TrainConfig(
            steps=steps, every=min(500, steps), warmup=min(100, steps), device=self.device
        )
        model, done = train_symbol_network(
            self.grammar, self.process, plan, width=self.width, batch=self.batch, data=data,
            focus=self.focus or _FOCUS.get(self.noise), network=self.architecture, seed=self.seed,
            leaf_width=min(self.width, max(16, self.width // 4)) if tree else None, folder=place,
        )  # fmt: skip
        return symbol_model(model.module, self.process, num_steps=self.chain), done.cpu_seconds

    def _curves(self, folder: Path) -> list[xr.Dataset]:
        grammar, noise, levels = self.grammar, self.process, self.levels
        network, took = self._train(folder, "network", None, self.steps or 5000)
        truth = grammar.sample(self.data or 600, stream(self.seed, "data"))
        law = exact_retention(grammar, noise, levels, 8000, stream(self.seed, "law"))
        exact = SimulatedModel(ExactRHM(grammar, noise), self.chain)
        runs = {
            name: [run_kept(model, grammar, truth, t, 1000 + self.seed) for t in levels]
            for name, model in (("simulation", exact), ("network", network))
        }
        theory = {"retention": (law[0], law[1])}
        found = [self._label(theory, "theory")]
        difference = np.stack([b.share - a.share for a, b in zip(*runs.values(), strict=True)])
        for source, kept in runs.items():
            share = np.stack([k.share for k in kept])  # [t, n, level]
            valid = np.stack([k.valid for k in kept])
            planes = {"retention": mean_and_error(share)}
            lines = {"valid": mean_and_error(valid[..., None])}
            if source == "network":
                planes["minus_chain"] = mean_and_error(difference)
                gap = divergence_to_exact(network, grammar, levels, 2000, stream(self.seed, "gap"))
                lines["gap"] = (gap[0][None], gap[1][None])
            flat = {k: (a[0], e[0]) for k, (a, e) in lines.items()}
            found.append(self._label({**planes, **flat}, source))
        text = {"long_name": "time of all processors that training took", "units": "s"}
        found[-1]["cpu_seconds"] = ((), took, text)
        return found

    def _training_sets(self, folder: Path) -> xr.Dataset:
        """Gap, sentences and copies against the size of the training set."""
        grammar, noise = self.grammar, self.process
        rows: dict[str, list[Any]] = {k: [] for k in ("gap", "gap_error", "valid", "copies")}
        for size in self.n_train:
            rng = stream(self.seed, "training set", size)
            training = grammar.sample(size, rng).leaves if size else None
            model, _ = self._train(folder, f"size-{size}", training, self.n_train_steps)
            gap, error = divergence_to_exact(
                model, grammar, self.levels, 1000, stream(self.seed, "gap")
            )
            blank = noise.corrupt(grammar.sample(400, rng).leaves, 1.0, rng)
            made = model.sample(blank, 1.0, stream(self.seed, "made", size))
            rows["gap"].append(gap.mean())
            rows["gap_error"].append(np.sqrt((error**2).sum()) / len(error))
            rows["valid"].append(grammar.is_valid(made).mean())
            rows["copies"].append(0.0 if training is None else copied(made, training).mean())
        text = {
            "gap": "divergence from exact inference, nats per leaf, mean over t",
            "gap_error": "its standard error", "valid": "share of sentences made from pure noise",
            "copies": "share of them that stand in the training set",
        }  # fmt: skip
        variables = {f"size_{k}": (("n_train",), v, text[k]) for k, v in rows.items()}
        coords = {"n_train": (("n_train",), list(self.n_train), "training strings, 0 is fresh")}
        return results.label(cast(Any, variables), cast(Any, coords), "network", {})

    def _label(self, values: dict[str, tuple[Array, Array]], source: str) -> xr.Dataset:
        variables: dict[str, Any] = {}
        for name, (mean, error) in values.items():
            dims = ("level", "t") if mean.ndim == 2 else ("t",)
            variables[name] = (dims, mean, _TEXT[name])
            variables[f"{name}_error"] = (dims, error, f"standard error of: {_TEXT[name]}")
        coords: dict[str, Any] = {
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
            "t": (("t",), self.levels, f"noise level t of the {self.noise} process"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))


_TEXT = {
    "retention": "probability that the symbol is unchanged",
    "minus_chain": "retention minus that of exact beliefs through the same chain, paired",
    "valid": "share of sentences",
    "gap": "divergence of the network's beliefs from exact ones, nats per leaf",
}


def _claims(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    z = (network.minus_chain / network.minus_chain_error).values
    bias = (chain.retention - theory.retention) / np.hypot(chain.retention_error,
                                                           theory.retention_error)  # fmt: skip
    worst = int(np.abs(network.minus_chain.values[0]).argmax())
    gap, error = network.gap.values, network.gap_error.values
    half = {name: [half_lost(curve, ds.t.values) for curve in ds.retention.values]
            for name, ds in (("theory", theory), ("network", network))}  # fmt: skip
    sizes = [[int(n), *(float(network[f"size_{k}"].sel(n_train=n))
                        for k in ("gap", "gap_error", "valid", "copies"))]
             for n in network.n_train.values]  # fmt: skip
    return {
        "t": network.t.values.tolist(),
        "retention": {str(ds.source.values): ds.retention.values.tolist()
                      for ds in (theory, chain, network)},
        "retention error": network.retention_error.values.tolist(),
        "class, network - chain": [float(network.minus_chain[0, worst]),
                                   float(network.minus_chain_error[0, worst]),
                                   float(network.t[worst])],
        "largest z, network - chain": float(np.abs(z).max()),
        "largest, network - chain": float(np.abs(network.minus_chain).max()),
        "largest z, chain - exact": float(np.abs(bias).max()),
        "largest, chain - exact": float(np.abs(chain.retention - theory.retention).max()),
        "mean gap": [float(gap.mean()), float(np.sqrt((error**2).sum()) / len(error))],
        "worst gap": float(gap.max()),
        "cpu seconds of training": round(float(network.cpu_seconds), 1),
        "valid": float(network.valid.min()),
        "half retention": half,
        "training sets": sizes,
    }  # fmt: skip


def _table(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> str:
    """Class retention and gap at every noise level."""
    head = f"{'t':>6} {'exact':>8} {'exact, chain':>16} {'network, chain':>16}"
    lines = [head + f" {'leaves kept':>16} {'sentences':>10} {'gap, nats':>18}"]
    for k, t in enumerate(network.t.values):
        cells = [f"{float(ds.retention[level, k]):.3f} ± {float(ds.retention_error[level, k]):.3f}"
                 for ds, level in ((chain, 0), (network, 0), (network, -1))]  # fmt: skip
        gap = f"{float(network.gap[k]):.5f} ± {float(network.gap_error[k]):.5f}"
        lines.append(f"{t:6.2f} {float(theory.retention[0, k]):8.3f} "
                     + " ".join(f"{c:>16}" for c in cells)
                     + f" {float(network.valid[k]):10.3f} {gap:>18}")  # fmt: skip
    return "\n".join(lines)


def _closing(said: dict[str, Any]) -> str:
    """The closing line."""
    gap, error, t = said["class, network - chain"]
    sizes = ", ".join(
        f"{row[1]:.4f} ± {row[2]:.4f} ({row[0] if row[0] else 'fresh'}; {row[3]:.0%} sentences, "
        f"{row[4]:.0%} copies)"
        for row in said["training sets"]
    )
    half = said["half retention"]
    return (
        f"class kept by the network minus by exact beliefs in the same chain at most {gap:+.3f} ± "
        f"{error:.3f} (t = {t:g}; all levels {said['largest, network - chain']:.3f}); chain minus "
        f"exact law at most {said['largest, chain - exact']:.3f} (|z| < "
        f"{said['largest z, chain - exact']:.1f}); divergence {said['mean gap'][0]:.5f} ± "
        f"{said['mean gap'][1]:.5f} nats per leaf, worst {said['worst gap']:.4f}, after "
        f"{said['cpu seconds of training']:.0f} CPU s; sentences at least {said['valid']:.3f}; "
        f"half kept at t = {half['network'][0]:.3f} (class) to "
        f"{half['network'][-1]:.3f} (leaves), exact {half['theory'][0]:.3f} to "
        f"{half['theory'][-1]:.3f}; by training set: {sizes}"
    )
