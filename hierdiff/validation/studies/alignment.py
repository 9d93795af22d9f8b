"""The network study of alignment: odd one out by layers of a network, at several noise levels.

==============  =================================================================================
``--model``     objects and judges
==============  =================================================================================
rhm             strings of a random grammar, judges who see its trees; what a linear readout finds
                in every level of the network is set beside the exact beliefs at the same noise
digits          8 x 8 digits, judges who see a stated hierarchy of shapes
other names     images (``--images``) and human choices (``--triplets``) in the format of THINGS
==============  =================================================================================

All judge by the cosine of features, zero-shot, and through an affine probe with folds over objects;
with and without the class told; beside them the class label alone, and chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import check_fields
from hierdiff.data.derivations import Derivations
from hierdiff.data.digits import digits
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims.alignment import CONDITIONS
from hierdiff.sims.metrics.odd_one_out import draw_triplets
from hierdiff.sims.metrics.probes import linear_probe
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.odd_one_out_task import odd_one_out, tree_similarity
from hierdiff.validation.adapter import SymbolNetwork
from hierdiff.validation.figures.alignment import network_alignment
from hierdiff.validation.layers import Pooling
from hierdiff.validation.recipes import train_image_network, train_tree_unet
from hierdiff.validation.studies._alignment_claims import (
    beside,
    closing,
    layer_claims,
    table,
)
from hierdiff.validation.studies._flags import check_numbers, forget, known_model
from hierdiff.validation.studies._judgements import Judges, digit_similarity, one_noise, table_of
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.things import judged_images
from hierdiff.validation.training import Plan

__all__ = ["NetworkAlignment"]

Array: TypeAlias = NDArray[Any]
Features: TypeAlias = Callable[[int, float], dict[str, Array]]
"""Features by layer of a condition (0 nothing told, 1 the class) and a noise level."""

_DIGIT_LAYERS = (
    "input_blocks.1", "input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1",
    "output_blocks.3",
)  # fmt: skip


@dataclass(frozen=True)
class NetworkAlignment:
    """Odd-one-out accuracy of a network's layers, per noise level, with and without the class.

    Trains a network here (``rhm``, ``digits``) or takes a published one with human choices.  Writes
    alignment.nc and alignment.png, and for ``rhm`` alignment_exact.nc.
    """

    model: str = "rhm"
    """rhm, digits, or a network of ``hierdiff models``."""
    images: Path | None = None
    """Folder with one image per object, in the order of the objects' numbers (THINGS)."""
    triplets: Path | None = None
    """Human choices, .npy or text, the odd one last (THINGS)."""
    labels: Path | None = None
    """Array .npy, a class or an embedding of text per object: what the network is told (THINGS)."""
    nothing: Path | None = None
    """Array .npy that stands for no text, [1, tokens, width] (THINGS, Stable Diffusion)."""
    layers: tuple[str, ...] = ()
    """Submodules of the network; default its blocks."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    out: Path = Path("out/networks")
    """Folder for results, figure and checkpoints."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps."""
    resume: bool = True
    """Go on from the checkpoint of the same command."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""
    seed: int = 0
    """Seed of everything random."""
    v: int = 8
    """Symbols per level (rhm)."""
    m: int = 3
    """Rules per symbol (rhm)."""
    s: int = 2
    """Branching (rhm)."""
    L: int = 3
    """Depth (rhm)."""
    weights: tuple[float, ...] | None = None
    """What judges care about: class to leaves (rhm), or coarse, fine, class (digits)."""
    temperature: float = 0.22
    """Of the judges."""
    ties: Literal["wrong", "shared"] = "shared"
    """An exact tie of similarities counts as a guess, or as wrong, as published: a class that is
    known for certain ties exactly, one that is read from a network nearly."""
    t: tuple[float, ...] = (0.02, 0.3, 0.5, 0.8)
    """Noise levels: cosine schedule for rhm, linear for images."""
    objects: int = 200
    """Objects that are compared."""
    count: int = 6000
    """Triplets; for human choices, how many are taken at most."""
    readout: int = 1500
    """Strings on which the readout of a level's beliefs is fitted (rhm)."""
    probe_width: int = 8
    """Outputs of the affine probe, on as many principal components; 0 leaves it out."""
    steps: int | None = None
    """Training steps; default 6,000 (rhm) or 800 (digits)."""
    width: int = 48
    """Features per node of the network (rhm)."""
    label_share: float = 0.5
    """Share of the training data whose class the network is told."""

    def __post_init__(self) -> None:
        check_fields(self)
        known_model(self.model, "rhm", "digits")
        check_numbers(self, zero=("seed", "probe_width"))
        if self.model not in ("rhm", "digits"):
            for name, value in (("images", self.images), ("triplets", self.triplets)):
                if value is None:
                    raise InvalidParameter(
                        f"model {self.model} needs {name}; give --{name}, or use rhm or digits"
                    )
        if self.objects < 9 or self.count < 2 or not self.temperature > 0 or self.probe_width < 0:
            raise InvalidParameter(
                f"objects = {self.objects}, count = {self.count} must be at least 9 and 2, "
                f"temperature = {self.temperature} above 0, probe_width = {self.probe_width} >= 0"
            )
        if self.weights is not None and (min(self.weights, default=0) < 0 or not any(self.weights)):
            raise InvalidParameter(
                f"weights = {self.weights} must be numbers >= 0, not all zero, from the class down"
            )
        if not 0 < self.label_share < 1:
            raise InvalidParameter(
                f"label_share = {self.label_share} must lie in (0, 1), to answer with and without"
            )
        GaussianNoise().snr(self.t)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the network's results, and those of exact beliefs where known."""
        folder = results.run_folder(self, "alignment", "alignment_exact")
        if not self.resume:
            forget(folder, "alignment-*")
        run = {"rhm": self._rhm, "digits": self._digits}.get(self.model, self._things)
        found, said = run(folder)
        for name, ds in zip(("alignment", "alignment_exact"), found, strict=False):
            results.save(ds, folder / f"{name}.nc")
        figure = network_alignment(*found)
        figure.savefig(folder / "alignment.png", dpi=160)
        plt.close(figure)
        print(table(found[0]))
        print(f"wrote {folder / 'alignment.nc'} and {folder / 'alignment.png'}")
        if self.summary:
            write_summary(self.summary, said, said["closing"], self.device)
        print(said["closing"])
        return found

    def _rhm(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any]]:
        grammar = RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar"))
        weights = self.weights or tuple(0.5**l for l in range(self.L + 1))
        noise = GaussianNoise(self.v)
        model, _ = train_tree_unet(
            grammar, noise, self._plan(6000), width=self.width, batch=128,
            label_share=self.label_share, seed=self.seed,
            folder=folder / self._key("v", "m", "s", "L", "width", "label_share", "seed"),
        )  # fmt: skip
        data = grammar.sample(self.objects, stream(self.seed, "objects"))
        judges = self._judges(tree_similarity(data, weights))
        randoms = one_noise(self.seed, (*data.leaves.shape, self.v))

        def features(c: int, t: float) -> dict[str, Array]:
            x_t = noise.corrupt_with(data.leaves, t, randoms)
            told = model.conditioned(data.levels[0][:, 0] if c else None)
            return {"input": x_t, **told.features(x_t, t), "output": told.denoise(x_t, t)}

        scores = self._scores(features, judges)
        fit = grammar.sample(self.readout, stream(self.seed, "readout"))
        plane = (len(CONDITIONS), self.L + 1, len(self.t), len(judges.triplets))
        read, exact = np.empty(plane), np.empty(plane)
        for c, k in np.ndindex(len(CONDITIONS), len(self.t)):
            x_t = noise.corrupt_with(data.leaves, self.t[k], randoms)
            beliefs = _exact(grammar, noise, x_t, self.t[k], data if c else None)
            found = _read(model, noise, fit, data, x_t, self.t[k], bool(c), self.seed)
            for level in range(self.L + 1):
                exact[c, level, k] = judges.scores(beliefs[level])
                read[c, level, k] = judges.scores(found[level])
        one_hot = np.eye(self.v)[data.levels[0][:, 0]]
        network = self._label(scores, judges, one_hot, {"accuracy": read})
        theory = self._label({}, judges, one_hot, {"accuracy": exact}, source="theory")
        said = layer_claims(network, scores, judges) | beside(read, exact, judges, self.t)
        return (network, theory), said | {"closing": closing(said)}

    def _digits(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any]]:
        training, test = digits("train", seed=self.seed), digits("test", seed=self.seed)
        model, _ = train_image_network(
            training, self._plan(800), batch=64, label_share=self.label_share, seed=self.seed,
            folder=folder / self._key("label_share", "seed"),
        )  # fmt: skip
        data = test[: self.objects]
        judges = self._judges(digit_similarity(data.labels, self.weights or (0.5, 0.5, 0.5)))
        pooling: dict[str, Pooling] = dict.fromkeys(self.layers or _DIGIT_LAYERS, "space")
        model = replace(model, layers=pooling)
        randoms = one_noise(self.seed, data.images.shape)

        def features(c: int, t: float) -> dict[str, Array]:
            x_t = model.noise.corrupt_with(data.images, t, randoms).astype(np.float32)
            told = model.conditioned(data.labels) if c else model
            return {"input": x_t, **told.features(x_t, t), "output": told.denoise(x_t, t)}

        scores = self._scores(features, judges)
        network = self._label(scores, judges, np.eye(10)[data.labels], {})
        said = layer_claims(network, scores, judges)
        return (network,), said | {"closing": closing(said)}

    def _things(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any]]:
        features, conditions, label, triplets = judged_images(
            self.model, cast(Path, self.images), cast(Path, self.triplets),
            labels=self.labels, nothing=self.nothing, layers=self.layers,
            accept_licence=self.accept_licence, device=self.device, limit=self.count,
            seed=self.seed,
        )  # fmt: skip
        people = np.tile([0.0, 0.0, 1.0], (len(triplets), 1))
        judges = Judges(triplets, people, self.ties, self.seed)
        scores = self._scores(features, judges, conditions)
        network = self._label(scores, judges, label, {}, conditions=conditions)
        said = layer_claims(network, scores, judges)
        return (network,), said | {"closing": closing(said)}

    def _plan(self, steps: int) -> Plan:
        n = self.steps or steps
        return Plan(steps=n, warmup=min(100, n), every=max(min(500, n // 4), 1),
                    device=self.device)  # fmt: skip

    def _key(self, *names: str) -> str:
        """Folder of the checkpoint: no other network's."""
        fields = [f"{name}{getattr(self, name)}" for name in names]
        return "-".join(["alignment", self.model, *fields])

    def _judges(self, similarity: Array) -> Judges:
        triplets = draw_triplets(len(similarity), self.count, stream(self.seed, "triplets"))
        chances = odd_one_out(similarity, triplets, self.temperature)
        return Judges(triplets, chances, self.ties, self.seed)

    def _scores(
        self, features: Features, judges: Judges, conditions: tuple[int, ...] = (0, 1)
    ) -> dict[str, Array]:
        """Scores of every layer [condition, t, k], and the probe's numbers [condition, t, 3]."""
        found: dict[str, list[Array]] = {}
        for c in conditions:
            for t in self.t:
                for name, x in features(c, t).items():
                    probed = np.full(3, np.nan)
                    if self.probe_width:
                        probed = np.array(judges.probed(x, self.probe_width))
                    found.setdefault(name, []).append(np.append(judges.scores(x), probed))
        return {k: np.array(x).reshape(len(conditions), len(self.t), -1) for k, x in found.items()}

    def _label(
        self, scores: dict[str, Array], judges: Judges, label: Array | None,
        levels: dict[str, Array], *, source: str = "network",
        conditions: tuple[int, ...] = (0, 1),
    ) -> xr.Dataset:  # fmt: skip
        variables: dict[str, Any] = {}
        coords: dict[str, Any] = {}
        named: dict[str, Array] = {}
        if scores:
            stacked = np.stack(list(scores.values()), axis=1)  # [condition, layer, t, k + 3]
            named["layer_accuracy"] = stacked[..., :-3]
            for i, name in enumerate(("held_out", "held_out_error", "leaked")):
                text = f"affine probe, {name.replace('_', ' ')}"
                variables[name] = (("condition", "layer", "t"), stacked[..., i - 3], text)
            coords["layer"] = (("layer",), list(scores), "layer of the network")
        named |= levels
        if label is not None:
            named["label_only"] = judges.scores(label)
        for name, (mean, error) in table_of(named, judges).items():
            dims: dict[int, tuple[str, ...]] = {
                0: (),
                3: ("condition", "layer" if name == "layer_accuracy" else "level", "t"),
            }
            text = f"accuracy against the judges, {name.replace('_', ' ')}"
            variables[name] = (dims[np.ndim(mean)], mean, text)
            variables[f"{name}_error"] = (dims[np.ndim(mean)], error, f"standard error of: {text}")
        variables["ceiling"] = ((), judges.ceiling, "best possible accuracy")
        coords |= {
            "condition": (("condition",), [CONDITIONS[c] for c in conditions], "what is told"),
            "t": (("t",), list(self.t), "noise level t of the gaussian process"),
        }
        if levels:
            coords["level"] = (("level",), np.arange(self.L + 1), "level, root = 0")
        return results.label(variables, coords, source, results.provenance(asdict(self)))


def _exact(
    grammar: Grammar, noise: GaussianNoise, x_t: Array, t: float, data: Derivations | None
) -> list[Array]:
    """Exact beliefs of every level as rows, the class clamped to that of the data if given."""
    root = None if data is None else data.levels[0][:, 0]
    found = posterior(grammar, noise.evidence(x_t, t), root=root, threads=1)
    return [np.asarray(p).reshape(len(p), -1) for p in found.marginals]


def _read(
    model: SymbolNetwork, noise: GaussianNoise, fit: Derivations, data: Derivations, x_t: Array,
    t: float, told: bool, seed: int,
) -> list[Array]:  # fmt: skip
    """Beliefs that a linear readout, shared by the nodes of a level, finds on the way down."""
    known = noise.corrupt(fit.leaves, t, stream(seed, "readout noise"))
    sets = []
    for part, x in ((fit, known), (data, x_t)):
        sets.append(model.conditioned(part.levels[0][:, 0] if told else None).features(x, t))
    out = []
    for level, symbols in enumerate(fit.levels):
        nodes = symbols.shape[1]
        rows = [f[f"down {level}"].reshape(len(f[f"down {level}"]) * nodes, -1) for f in sets]
        fitted = linear_probe(rows[0], symbols.ravel(), tolerance=1e-4, iterations=300)
        logits = fitted.logits(rows[1])
        logits -= logits.max(axis=1, keepdims=True)
        beliefs = np.exp(logits)
        out.append((beliefs / beliefs.sum(axis=1, keepdims=True)).reshape(len(x_t), -1))
    return out
