"""The ImageNet experiment with ground truth: rendered grammars, a trained ADM U-Net, exact pixels.

Per level three curves: the exact law of posterior sampling, the exact pixel denoiser through a
reverse chain, and the trained network through the same chain.  Beside them stand the layers of a
convolutional classifier of the class, which is all that one has on photographs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._gaussian import GaussianNoise
from hierdiff.checks import check_fields, checked, listed, natural, one_level, positive
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.digits import LabelledImages
from hierdiff.data.rhm import RHM
from hierdiff.data.rhm_images import TreeImages, random_templates
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.metrics.forward_backward import partial_levels
from hierdiff.theory import true_beliefs
from hierdiff.theory.exact_models import ExactImages
from hierdiff.validation._checks import one_per_row, tensor
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.noise_conditioning import LogSNR
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.figures.rhm_images import rhm_images_figure
from hierdiff.validation.protocol import forward_backward
from hierdiff.validation.recipes import train_image_network
from hierdiff.validation.reference_layers import (
    floor_of_pairs,
    layer_statistics,
    similarity,
    train_classifier,
)
from hierdiff.validation.studies._curves import half_lost, mean_and_error
from hierdiff.validation.studies._flags import check_numbers, forget
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.training import Plan

__all__ = ["ExactDenoiser", "RHMImages"]

Array: TypeAlias = NDArray[Any]


class ExactDenoiser(nn.Module):
    """The exact pixel denoiser as a torch module that predicts x0, told the logarithm of the SNR.

    Parameters
    ----------
    model : ExactImages

    Notes
    -----
    Validity: exact; so it runs through the same chain as a network.
    """

    @checked
    def __init__(self, model: ExactImages) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("precision", torch.zeros(1))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """E[x0 | x_t]."""
        one_per_row("log_snr", log_snr, tensor("x", x, None, *self.model.world.shape))
        t = self.model.noise.level(np.exp(log_snr.double().cpu().numpy()))
        return torch.from_numpy(self.model.denoise(x.double().cpu().numpy(), t)).to(x)


@dataclass(frozen=True)
class RHMImages:
    """Loss of the class and of every level in images whose hierarchy is known.

    Writes rhm_images.nc, rhm_images_theory.nc, rhm_images_chain.nc and rhm_images.png.
    """

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
    v: int = 8
    """Symbols per level, and classes."""
    m: int = 2
    """Rules per symbol."""
    L: int = 2
    """Depth of the quad-tree: 2^L patches on a side."""
    patch: int = 2
    """Pixels on a side of a patch."""
    colours: int = 3
    """Channels of the images."""
    channels: int = 32
    """Channels of the U-Net at full size; doubled at half."""
    multipliers: tuple[float, ...] = (1, 2)
    """Width at each resolution, in units of ``channels``."""
    steps: int = 1500
    """Training steps."""
    batch: int = 128
    """Fresh images per step."""
    rate: float = 2e-3
    """Highest learning rate."""
    t: tuple[float, ...] = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.0)
    """Noise levels (linear schedule)."""
    data: int = 300
    """Images to start from."""
    chain: int = 50
    """Steps of the reverse chain from t = 1."""
    classifier_steps: int = 300
    """Training steps of the reference classifier; 0 leaves it out."""

    def __post_init__(self) -> None:
        check_fields(
            self, rate=positive, t=partial(listed, rule=one_level),
            multipliers=partial(listed, rule=positive, distinct=False),
        )  # fmt: skip
        check_numbers(self)
        RHM(self.v, self.m, 4, self.L)
        if not self.t or not all(0 < t <= 1 for t in self.t):
            raise InvalidParameter(f"t = {self.t} must be noise levels in (0, 1]")
        if self.data < 2 or self.chain < 1:
            raise InvalidParameter(
                f"data = {self.data} must be at least 2 and chain = {self.chain} at least 1"
            )

    @cached_property
    def world(self) -> TreeImages:
        """Grammar and templates."""
        grammar = RHM(self.v, self.m, 4, self.L).draw(stream(self.seed, "grammar"))
        T = random_templates(self.v, self.colours, self.patch, stream(self.seed, "templates"))
        return TreeImages(grammar, T)

    @property
    def noise(self) -> GaussianNoise:
        """The forward process in pixels."""
        return GaussianNoise(schedule="linear")

    @checked(n=natural)
    def draw(self, n: int, rng: np.random.Generator) -> LabelledImages:
        """Fresh images with their classes."""
        trees = self.world.grammar.sample(n, rng)
        labels = trees.levels[0][:, 0].astype(np.int64)
        return LabelledImages(self.world.render(trees.leaves), labels)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the exact law, the exact chain and the network."""
        folder = results.run_folder(self, "rhm_images", "rhm_images_*")
        if not self.resume:
            forget(folder, "images-*", "classifier")
        sampler = Ancestral(DiscreteSchedule.linear().respaced(str(self.chain)), clip=2.5)
        exact = ExactImages(self.world, self.noise)
        chain = NetworkModel(ExactDenoiser(exact), self.noise, "x0", clock=LogSNR(),
                             sampler=sampler)  # fmt: skip
        network = self._network(folder, sampler)
        truth = self.world.grammar.sample(self.data, stream(self.seed, "data"))
        runs = [self._run(model, truth) for model in (chain, network)]
        law = self._law(exact)
        every = (
            self._label({"retention": law}, "theory"),
            self._summarise(runs[0], None, "simulation"),
            self._summarise(runs[1], runs[0], "network").merge(
                self._layers(folder, truth, runs[1][2]), compat="override",
                combine_attrs="override",
            ),
        )  # fmt: skip
        names = ("rhm_images_theory", "rhm_images_chain", "rhm_images")
        for name, ds in zip(names, every, strict=True):
            results.save(ds, folder / f"{name}.nc")
        figure = rhm_images_figure(*every, self.world.render(truth.leaves[:6]), runs[1][2][:, :6])
        figure.savefig(folder / "rhm_images.png", dpi=160)
        plt.close(figure)
        print(_table(*every))
        print(f"wrote {folder / 'rhm_images.nc'} and {folder / 'rhm_images.png'}")
        said = _claims(*every)
        if self.summary:
            write_summary(self.summary, said, _closing(said), self.device)
        print(_closing(said))
        return every

    def _network(self, folder: Path, sampler: Ancestral) -> NetworkModel:
        size = f"{self.v}-{self.m}-{self.L}-{self.patch}-{self.channels}-{self.seed}"
        plan = Plan(
            steps=self.steps, every=min(250, self.steps), warmup=min(50, self.steps),
            rate=self.rate, average=0.995, bfloat16=self.bfloat16, device=self.device,
        )  # fmt: skip
        model, _ = train_image_network(
            self.draw, plan, channels=self.channels, multipliers=self.multipliers,
            attention=(2 ** (len(self.multipliers) - 1),), batch=self.batch, seed=self.seed,
            folder=folder / f"images-{size}",
        )  # fmt: skip
        return NetworkModel(model.module, self.noise, "eps", sampler=sampler,
                            execution=model.execution)  # fmt: skip

    def _run(self, model: DiffusionModel, truth: Derivations) -> tuple[Array, Array, Array]:
        """Unchanged nodes [t, n, level], sentences [t, n] and images [t, n, ...]."""
        clean = self.world.render(truth.leaves)
        share, valid, images = [], [], []
        for t in self.t:
            # equal seeds: both models see the same noisy images
            made = forward_backward(model, clean, t, 2000 + self.seed).x_0
            levels = partial_levels(self.world.grammar, self.world.read(made))
            same = [(a == b).mean(axis=1) for a, b in zip(levels, truth.levels, strict=True)]
            share.append(np.stack(same, axis=1))
            valid.append(levels[0][:, 0] >= 0)
            images.append(made)
        return np.stack(share), np.stack(valid), np.stack(images)

    def _law(self, exact: ExactImages) -> tuple[Array, Array]:
        """E sum_c p(c | x_t)^2 of every level, exactly but for the data."""
        rng = stream(self.seed, "law")
        truth = self.world.grammar.sample(4000, rng)
        clean, rows = self.world.render(truth.leaves).astype(float), []
        for t in self.t:
            x_t = self.noise.corrupt(clean, t, rng)
            evidence = self.world.log_evidence(x_t, float(self.noise.snr(t)))
            square = true_beliefs(self.world.grammar, evidence, truth).square
            rows.append(np.stack([x.mean(axis=1) for x in square]))
        values = np.stack(rows, axis=1)
        return values.mean(axis=2), values.std(axis=2, ddof=1) / np.sqrt(values.shape[2])

    def _summarise(self, run: tuple[Array, ...], other: tuple[Array, ...] | None,
                   source: str) -> xr.Dataset:  # fmt: skip
        values = {"retention": mean_and_error(run[0])}
        if other is not None:
            values["minus_chain"] = mean_and_error(run[0] - other[0])
        mean, error = mean_and_error(run[1][..., None].astype(float))
        return self._label({**values, "valid": (mean[0], error[0])}, source)

    def _layers(self, folder: Path, truth: Derivations, made: Array) -> xr.Dataset:
        """Similarity of a classifier's layers, above the floor of random pairs."""
        if not self.classifier_steps:
            return xr.Dataset()
        data = self.draw(4000, stream(self.seed, "classifier"))
        plan = Plan(steps=self.classifier_steps, every=self.classifier_steps, warmup=20,
                    average=0.98, device=self.device)  # fmt: skip
        look, _ = train_classifier(data, plan, seed=self.seed, folder=folder / "classifier")
        images = self.world.render(truth.leaves)
        statistics = layer_statistics(look, data.images[:1000])
        floor = floor_of_pairs(look, statistics, images, stream(self.seed, "pairs"))
        seen = [similarity(look, statistics, images, made[k]).cosine for k in range(len(self.t))]
        names = list(floor.cosine)
        low = np.array([floor.cosine[k].mean() for k in names])[:, None]
        cosine = np.array([[s[k] for s in seen] for k in names])
        mean = (cosine.mean(axis=2) - low) / (1 - low)
        error = cosine.std(axis=2, ddof=1) / np.sqrt(cosine.shape[2]) / (1 - low)
        text = "similarity of activations above the floor of random pairs"
        plane = ("layer", "t")
        variables: dict[str, Any] = {"layers": (plane, mean, text),
                                     "layers_error": (plane, error, "its error")}  # fmt: skip
        coords: dict[str, Any] = {"layer": (("layer",), names, "layer of the classifier"),
                                  "t": (("t",), list(self.t), "noise level")}  # fmt: skip
        return results.label(variables, coords, "network", {})

    def _label(self, values: dict[str, tuple[Array, Array]], source: str) -> xr.Dataset:
        variables: dict[str, Any] = {}
        for name, (mean, error) in values.items():
            dims = ("level", "t") if mean.ndim == 2 else ("t",)
            variables[name] = (dims, mean, _TEXT[name])
            variables[f"{name}_error"] = (dims, error, f"standard error of: {_TEXT[name]}")
        coords: dict[str, Any] = {
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
            "t": (("t",), list(self.t), "noise level t of the gaussian process"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))


_TEXT = {
    "retention": "probability that the symbol is unchanged",
    "minus_chain": "retention minus that of the exact denoiser in the same chain, paired",
    "valid": "share of sentences",
}


def _claims(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    gap, error = network.minus_chain.values, network.minus_chain_error.values
    worst = int(np.abs(gap[0]).argmax())
    found: dict[str, Any] = {
        "t": network.t.values.tolist(),
        "retention": {str(ds.source.values): ds.retention.values.tolist()
                      for ds in (theory, chain, network)},
        "class, network - chain": [float(gap[0, worst]), float(error[0, worst]),
                                   float(network.t[worst])],
        "largest, network - chain": float(np.abs(gap).max()),
        "largest, chain - exact": float(np.abs(chain.retention - theory.retention).max()),
        "valid": float(network.valid.min()),
    }  # fmt: skip
    # half way between certainty and the last noise level, for the first and the last level
    for name, ds in (("exact", theory), ("network", network)):
        found[f"half, {name}"] = [half_lost(ds.retention.values[k], ds.t.values) for k in (0, -1)]
    if "layers" in network:
        rows = network.layers.isel(layer=[0, -2]).values
        found["layers half"] = [half_lost(row, network.t.values, 0.5) for row in rows]
        found["layers"] = [str(x) for x in network.layer.isel(layer=[0, -2]).values]
    return found


def _table(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> str:
    """Class and leaves at every noise level."""
    lines = [f"{'t':>6} " + " ".join(f"{x:>16}" for x in (
        "class, exact", "exact, chain", "network", "leaves, exact", "exact, chain", "network",
        "sentences"))]  # fmt: skip
    for k, t in enumerate(network.t.values):
        cells = [f"{float(ds.retention[level, k]):.3f} ± {float(ds.retention_error[level, k]):.3f}"
                 for level in (0, -1) for ds in (theory, chain, network)]  # fmt: skip
        lines.append(f"{t:6.2f} " + " ".join(f"{c:>16}" for c in cells)
                     + f" {float(network.valid[k]):>16.3f}")  # fmt: skip
    return "\n".join(lines)


def _closing(said: dict[str, Any]) -> str:
    """The closing line."""
    gap, error, t = said["class, network - chain"]
    exact, network = said["half, exact"], said["half, network"]
    text = (
        f"class kept by the network minus by the exact denoiser in the same chain at most "
        f"{gap:+.3f} ± {error:.3f} (t = {t:g}; all levels {said['largest, network - chain']:.3f}); "
        f"chain minus exact law at most {said['largest, chain - exact']:.3f}; half kept at t = "
        f"{network[0]:.3f} (class) and {network[1]:.3f} (leaves), exact {exact[0]:.3f} and "
        f"{exact[1]:.3f}; sentences at least {said['valid']:.3f}"
    )
    if "layers" in said:
        first, last = said["layers half"]
        text += (
            f"; classifier's {said['layers'][0]} half similar at t = {first:.3f}, "
            f"{said['layers'][1]} at {last:.3f}, above the floor"
        )
    return text
