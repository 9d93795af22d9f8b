"""The network study of representation: does the feature curve tell memory from understanding?

==============  =================================================================================
``--model``     what is learned, and how features are read
==============  =================================================================================
mixture         points of a mixture of low-rank Gaussians: SNR, class energies and a linear probe of
                the denoised features, beside the exact law and the memorising denoiser
rhm             strings of a random grammar: linear probe for the class in every layer, beside the
                same probe on exact beliefs of every level
digits          8 x 8 digits: the same, beside the low-rank mixture of the classes
other names     images in a folder per class (``--images``), layers of a published network
==============  =================================================================================

Networks are trained on N data, or on fresh ones without end, and read on data they have not seen.
For the mixture the ratio of the SNR at two fixed noise levels says whether a curve rises before it
falls; for the others the rise of :mod:`hierdiff.validation.studies._probe_curves`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from hierdiff import results
from hierdiff.checks import check_fields, listed, one_level
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.estimators import student_error, student_factor, welch_score
from hierdiff.sims.representation import Representation
from hierdiff.validation.figures.representation import network_representation
from hierdiff.validation.recipes import train_vector_denoiser
from hierdiff.validation.studies._flags import check_numbers, forget, known_model
from hierdiff.validation.studies._probe_curves import PROBE_LEVELS, ProbeCurves
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.training import Plan

__all__ = ["NetworkRepresentation"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class NetworkRepresentation:
    """Quality of a network's features against noise, for training sets of several sizes.

    Writes representation.nc (networks; for all but ``mixture`` every model), representation.png
    and, for ``mixture``, representation_theory.nc (the exact law) and
    representation_memorising.nc (the training set's own denoiser).
    """

    model: str = "mixture"
    """mixture, rhm, digits, or a network of ``hierdiff models``."""
    images: Path | None = None
    """Folder with a folder of images per class, for a network of the catalogue."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    layers: tuple[str, ...] = ()
    """Submodules of an image network; default its blocks."""
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
    classes: int = 3
    """Classes K."""
    rank: int = 10
    """Rank d of every class."""
    delta: float = 0.2
    """Amplitude of the residual."""
    dim: int = 30
    """Ambient dimension."""
    v: int = 8
    """Symbols per level, and classes (rhm)."""
    m: int = 2
    """Rules per symbol (rhm)."""
    s: int = 2
    """Symbols that a rule writes (rhm)."""
    L: int = 4
    """Depth of the hierarchy (rhm)."""
    n_train: tuple[int, ...] | None = None
    """Training data; 0 draws fresh ones for every step (digits: all there are); default 60 1000 0
    (mixture), 256 0 (rhm), 64 0 (digits)."""
    networks: int | None = None
    """Networks per size, with data and weights of their own, over which errors are taken; default
    3 (mixture), 2 (rhm), 1 (digits)."""
    steps: int | None = None
    """Training steps; default 2,500 (mixture), 1,200 (rhm), 700 (digits)."""
    few: int = 5
    """Data per class of the small probe (all but mixture)."""
    t: tuple[float, ...] = PROBE_LEVELS
    """Noise levels (all but mixture)."""
    width: int = 192
    """Features per layer."""
    depth: int = 2
    """Residual blocks."""
    test: int | None = None
    """Test points; default 900 (mixture), 2,000 (rhm), 355 (digits), a fifth of the images."""
    sigmas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.43, 0.6, 0.85, 1.1, 1.6)
    """Noise levels, relative to the signal."""

    def __post_init__(self) -> None:
        check_fields(self, t=partial(listed, rule=one_level))
        known_model(self.model, "mixture", "rhm", "digits")
        check_numbers(self)
        sizes, least = self.sizes, 2 if self.model == "mixture" else 1
        if self.networks is not None and self.networks < least:
            raise InvalidParameter(
                f"networks = {self.networks} must be at least {least}, for error bars"
            )
        if any(n < 0 for n in sizes) or not sizes:
            raise InvalidParameter(f"n_train = {sizes} must not be negative (0 is fresh data)")
        if self.few < 1 or len(self.t) < 2 or any(np.diff(self.t) <= 0):
            raise InvalidParameter(
                f"few = {self.few} must be at least 1, and t = {self.t} two or more increasing "
                "noise levels"
            )
        if self.model == "mixture":
            _ = self.experiment
        elif self.model == "rhm":
            RHM(self.v, self.m, self.s, self.L)
        elif self.model != "digits" and self.images is None:
            raise InvalidParameter(
                f"model {self.model} needs images; give --images DIR, or use mixture, rhm or digits"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the mixture's training sets."""
        return (60, 1000, 0) if self.n_train is None else self.n_train

    @property
    def _count(self) -> int:
        return self.networks or 3

    @property
    def experiment(self) -> Representation:
        """The experiment on exact models, whose readings are those of the networks."""
        return Representation(
            classes=self.classes, rank=self.rank, delta=self.delta, dim=self.dim,
            sigmas=self.sigmas, models=("memorising",), seeds=2, test=self.test or 900,
            seed=self.seed,
            quantities=("snr", "linear", "projection"),
            n_train=tuple(n for n in self.sizes if n) or (60,),
        )  # fmt: skip

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns exact law, memorising denoiser and networks, or all in one."""
        folder = results.run_folder(
            self, "representation", "representation_theory", "representation_memorising"
        )
        if not self.resume:
            forget(folder, "vectors-*", "probe-*")
        if self.model != "mixture":
            return ProbeCurves(self, self.t, self.few).main(folder, self.summary)
        experiment = self.experiment
        theory = experiment.predict()
        memory = replace(experiment, seeds=max(4, self._count)).measure(folder=folder / "tasks")
        network = self._networks(folder, experiment)
        every = (theory, memory, network)
        names = ("representation_theory", "representation_memorising", "representation")
        for name, ds in zip(names, every, strict=True):
            results.save(ds, folder / f"{name}.nc")
        figure = network_representation(*every)
        figure.savefig(folder / "representation.png", dpi=160)
        plt.close(figure)
        said = _claims(*every)
        print(_table(*every))
        print(f"wrote {folder / 'representation.nc'} and {folder / 'representation.png'}")
        if self.summary:
            write_summary(self.summary, said, _closing(said), self.device)
        print(_closing(said))
        return every

    def _networks(self, folder: Path, experiment: Representation) -> xr.Dataset:
        """Curves [network, split, n_train, sigma], and how far training points are known better."""
        steps = self.steps or 2500
        plan = Plan(steps=steps, every=steps, rate=2e-3, average=0.995,
                    warmup=min(100, steps), device=self.device)  # fmt: skip
        curves: dict[str, list[list[Array]]] = {"snr": [], "linear": [], "projection": []}
        errors: list[list[Array]] = []
        for n in self.sizes:
            for rows in curves.values():
                rows.append([])
            errors.append([])
            for k in range(self._count):
                x, labels = experiment.mixture.sample(n or 1000, stream(self.seed, "points", n, k))
                model, _ = train_vector_denoiser(
                    experiment.mixture, plan, data=x if n else None, width=self.width,
                    depth=self.depth, seed=self.seed + 1000 * k + n,
                    folder=folder / f"vectors-{n}-{k}-{self.seed}",
                )  # fmt: skip
                found = replace(experiment, seed=self.seed).measure(model, (x, labels))
                for name, rows in curves.items():
                    rows[-1].append(found[name].values[0, :, 0])  # [split, sigma]
                errors[-1].append(self._losses(model, x, experiment))
        return self._label({k: np.array(v) for k, v in curves.items()}, np.array(errors))

    def _losses(self, model: Any, x: Array, experiment: Representation) -> Array:
        """Squared denoising error per entry on training and on fresh points at the large level."""
        sigma, rng = experiment.sigma_star, stream(self.seed, "losses")
        found = []
        for points in (x[:400], experiment.mixture.sample(400, rng)[0]):
            noisy = (points + sigma * rng.standard_normal(points.shape)) / np.sqrt(1 + sigma**2)
            t = float(model.noise.level(sigma**-2))
            clean = model.denoise(noisy.astype(np.float32), t)
            found.append(float(((clean - points) ** 2).mean()))
        return np.array(found)

    def _label(self, curves: dict[str, Array], errors: Array) -> xr.Dataset:
        levels = self.experiment.levels
        low, high = np.searchsorted(levels, [self.experiment.reference, self.experiment.sigma_star])
        variables: dict[str, Any] = {}
        text = {"snr": "signal-to-noise ratio of the features",
                "linear": "accuracy of a linear probe",
                "projection": "accuracy of the largest class energy"}  # fmt: skip
        for name, values in curves.items():  # [n_train, network, split, sigma]
            dims = ("n_train", "split", "sigma")
            variables[name] = (dims, values.mean(axis=1), text[name])
            spread = student_error(np.moveaxis(values, 1, 0))
            variables[f"{name}_error"] = (dims, spread, f"Student error of: {text[name]}")
        ends = {"ratio": curves["snr"][..., high] / curves["snr"][..., low],
                "linear_rise": curves["linear"][..., high] - curves["linear"][..., low],
                "projection_rise": curves["projection"][..., high] - curves["projection"][..., low],
                "denoising": errors}  # fmt: skip
        words = {"ratio": "SNR at the exact peak over SNR at the smallest noise",
                 "linear_rise": "linear probe at the exact peak minus at the smallest noise",
                 "projection_rise": "class energy at the exact peak minus at the smallest noise",
                 "denoising": "squared denoising error per entry at the exact peak"}  # fmt: skip
        for name, values in ends.items():  # [n_train, network, split]
            dims2 = ("n_train", "split")
            variables[name] = (dims2, values.mean(axis=1), words[name])
            spread = student_error(np.moveaxis(values, 1, 0))
            variables[f"{name}_error"] = (dims2, spread, f"Student error of: {words[name]}")
        variables["networks"] = ((), self._count, "networks of every size")
        coords: dict[str, Any] = {
            "n_train": (("n_train",), list(self.sizes), "training points, 0 is fresh"),
            "split": (("split",), ["train", "test"], "points that are read"),
            "sigma": (("sigma",), levels, "noise level sigma, relative to the signal"),
        }
        return results.label(variables, coords, "network", results.provenance(asdict(self)))


def _claims(theory: xr.Dataset, memory: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """Ratios, probe rises, places of the peak and rank correlations with the exact curve."""
    law = theory.snr.values[0, 1, 0]
    found: dict[str, Any] = {
        "exact ratio": float(theory.ratio.values[0, 1, 0]),
        "exact peak": float(theory.peak_sigma),
        "networks per size": int(network.networks), "networks": {},
    }  # fmt: skip
    for n in network.n_train.values:
        one = network.sel(n_train=n, split="test")
        both = network.sel(n_train=n)
        found["networks"][str(int(n))] = {
            "ratio": [float(one.ratio), float(one.ratio_error)],
            "linear rise": [float(one.linear_rise), float(one.linear_rise_error)],
            "projection rise": [float(one.projection_rise), float(one.projection_rise_error)],
            "peak at": float(one.sigma[top := int(one.snr.values.argmax())]),
            "next": [float(one.sigma[max(top - 1, 0)]),
                     float(one.sigma[min(top + 1, one.sizes["sigma"] - 1)])],
            "rank correlation": float(stats.spearmanr(one.snr.values, law).statistic),
            "denoising error, train": [float(both.denoising.sel(split="train")),
                                       float(both.denoising_error.sel(split="train"))],
            "denoising error, test": [float(both.denoising.sel(split="test")),
                                      float(both.denoising_error.sel(split="test"))],
        }  # fmt: skip
    found["memorising"] = {
        str(int(n)): [float(memory.ratio.sel(n_train=n, split="test").values.ravel()[0]),
                      float(memory.ratio_error.sel(n_train=n, split="test").values.ravel()[0])]
        for n in memory.n_train.values
    }  # fmt: skip
    return found


def _table(theory: xr.Dataset, memory: xr.Dataset, network: xr.Dataset) -> str:
    """SNR on test points at every noise level."""
    names = [f"N = {int(n)}" if n else "fresh" for n in network.n_train.values]
    lines = [f"{'sigma':>7} {'exact':>8} " + " ".join(f"{x:>16}" for x in names)]
    for k, sigma in enumerate(network.sigma.values):
        test = network.sel(split="test")
        cells = [f"{float(test.snr[i, k]):.2f} ± {float(test.snr_error[i, k]):.2f}"
                 for i in range(len(names))]  # fmt: skip
        law = float(theory.snr.values[0, 1, 0][k])
        lines.append(f"{sigma:7.3f} {law:8.2f} " + " ".join(f"{c:>16}" for c in cells))
    return "\n".join(lines)


def _closing(said: dict[str, Any]) -> str:
    """The closing line: ratio per size, and how far the smallest is from the largest set."""
    words = []
    for n, x in said["networks"].items():
        ratio, error = x["ratio"]
        shape = "rises first" if ratio - 1 > 2 * error else (
            "only falls" if 1 - ratio > 2 * error else "undecided")  # fmt: skip
        name = f"N = {n}" if n != "0" else "fresh data"
        words.append(
            f"{ratio:.2f} ± {error:.2f} ({name}; {shape}; highest at {x['peak at']:.2f} of the "
            f"probed levels, next to {x['next'][0]:.2f} and {x['next'][1]:.2f})"
        )
    n = said["networks per size"]
    # Student errors back to plain ones, whose units Welch's test counts
    values = [(x["ratio"][0], max(x["ratio"][1], 1e-12) / student_factor(n), n)
              for x in said["networks"].values()]  # fmt: skip
    z = welch_score(values[-1], values[0])
    energy, rise = ([x[f"{k} rise"] for x in said["networks"].values()]
                    for k in ("projection", "linear"))  # fmt: skip
    memory = ", ".join(f"{a:.2f} ± {b:.2f} (N = {n})" for n, (a, b) in said["memorising"].items())
    return (
        f"SNR at the exact peak over SNR at 0.02: networks {', '.join(words)}; memorising denoiser "
        f"{memory}; exact {said['exact ratio']:.2f}, peak at {said['exact peak']:.3f}; first and "
        f"last told apart with z = {z:.1f} (Welch, {n} networks each); accuracy of the class "
        "energy between the two levels "
        f"{energy[0][0]:+.3f} ± {energy[0][1]:.3f} and {energy[-1][0]:+.3f} ± {energy[-1][1]:.3f}, "
        f"of a linear probe {rise[0][0]:+.3f} ± {rise[0][1]:.3f} and {rise[-1][0]:+.3f} ± "
        f"{rise[-1][1]:.3f}"
    )
