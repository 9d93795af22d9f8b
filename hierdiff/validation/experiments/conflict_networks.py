r"""Shape against texture with networks: rendered grammars beside their optimum, and photographs.

A conditional denoising network and a discriminative one of the same size are trained on images in
which shape and texture agree, and are shown images in which they do not.

==================  ============================================================================
source              what is shown
==================  ============================================================================
rendered grammars   shape is the root of a quad-tree, in slow patches; texture are symbols of a
                    histogram, at the leaves or above them, in fast patches of amplitude k
photographs         Fashion-MNIST, 14 x 14: the silhouette of one photograph, filled with the
                    pixels of another, whose contrast about their mean is k
==================  ============================================================================

The images of a grammar are an isometry of :class:`hierdiff.theory.zero_shot.scenes.ShapeTexture`
(:class:`hierdiff.data.rhm_images.EmissionImages`), so the optimal denoiser of the same pixels is
exact, and is scored on the same noise.  Amplitude and level of the texture change independently:

.. math:: \text{image} = R\,\big(e_a + \tau\eta,\; k\,(e_b + \tau\eta')\big), \qquad
   a \sim \text{tree of shape } c, \quad b \sim \text{histogram of texture } c'
   \text{ at level } \ell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import pair_text, text_table
from hierdiff.checks import check_fields, listed, number, positive, whole
from hierdiff.contracts import Summary
from hierdiff.data.rhm import RHM
from hierdiff.data.rhm_images import EmissionImages, frequency_templates
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import FONT, GUIDE, PALETTE, Axes, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.cue_conflict import CueConflict
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.theory.zero_shot.scenes import ShapeTexture
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.experiments.rendered_scenes import (
    Fresh,
    network_layers,
    network_width,
    plan_of,
    quarterings,
    quarters,
    score_text,
    scored,
    trained_denoiser,
    transformer,
)
from hierdiff.validation.experiments.silhouettes import ComposedPhotographs, Judge
from hierdiff.validation.networks.transformer import ImageTransformer
from hierdiff.validation.training import train

__all__ = ["ConflictNetworks"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_COUNT = partial(whole, low=1, high=10**9)
_FEW = partial(whole, low=2, high=1000)  # Student's error needs two networks
# the claims compare the first and the last factor
_FACTORS = partial(listed, rule=partial(number, low=0, high=1), least=2)
_SIGMA2 = partial(listed, rule=partial(number, low=1e-6, high=1e6), rising=True)
_FOREGROUND = -0.8  # of [-1, 1]; the background of the photographs is -1
_DECIDED = (0.1, 40.0)  # SNRs at which three quarters of the training images are


@dataclass(frozen=True)
class ConflictNetworks:
    """Networks on rendered grammars, with the shape of one class and the texture of another."""

    v: int = 6
    """Symbols per level, classes, and texture symbols."""
    m: int = 2
    """Rules per symbol."""
    s: int = 4
    """Symbols that a rule writes."""
    L: int = 2
    """Depth of the shape's tree; its leaves fill a square of patches."""
    patch: int = 4
    """Pixels on a side of a patch."""
    tau: float = 0.7
    """Standard deviation of the Gaussian emissions."""
    texture_levels: tuple[int, ...] = (2, 1)
    """Levels of the tree at which the symbols of the texture stand."""
    concentrations: tuple[float, ...] = (0.3, 0.1)
    """Of the Dirichlet law of the histograms at each of these levels."""
    amplitudes: tuple[float, ...] = (1.0, 0.3)
    """Amplitudes k of the texture, the shape's being 1."""
    networks: int = 3
    """Networks, each on a grammar and histograms of its own."""
    width: int = 64
    """Features per place of both networks."""
    layers: int = 4
    """Their layers."""
    steps: int = 1500
    """Training steps of the denoising network."""
    classifier_steps: int = 1000
    """Training steps of the discriminative network."""
    batch: int = 64
    """Fresh images per step."""
    data: int = 80
    """Images with conflicting cues per level and amplitude; half as many where cues agree."""
    samples: int = 20
    """Samples (t, eps) per image, shared by the classes."""
    sigma2: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Noise levels that are tried alone."""
    low_pass: tuple[float, ...] = (1.0, 0.5, 0.25, 0.0)
    """Factors on the texture at the input of the discriminative network."""

    def __post_init__(self) -> None:
        check_fields(
            self, patch=partial(whole, low=1, high=64), tau=positive, networks=_FEW,
            texture_levels=partial(listed, rule=partial(whole, low=0)), width=network_width,
            layers=network_layers,
            concentrations=partial(listed, rule=positive, distinct=False), batch=_COUNT,
            amplitudes=partial(listed, rule=partial(number, low=1e-3, high=1e3)), data=_COUNT,
            steps=_COUNT, samples=_COUNT, classifier_steps=_COUNT, sigma2=_SIGMA2,
            low_pass=_FACTORS,
        )  # fmt: skip
        rhm = RHM(self.v, self.m, self.s, self.L)
        if 4 ** quarterings(rhm.n_leaves) != rhm.n_leaves:
            raise InvalidParameter(
                f"s = {self.s}, L = {self.L} make {rhm.n_leaves} leaves, which fill no square of "
                "2^k x 2^k patches; use s = 4, or s = 2 with even L"
            )
        if rhm.n_classes < 3:
            raise InvalidParameter(f"v = {self.v} classes; cues conflict with at least 3")
        if max(self.texture_levels) > self.L:
            raise InvalidParameter(
                f"texture_levels = {self.texture_levels} must be levels of the tree, 0 (root) to "
                f"L = {self.L}"
            )
        if len(self.concentrations) != len(self.texture_levels):
            raise InvalidParameter(
                f"concentrations = {self.concentrations} must be one per level of "
                f"{self.texture_levels}"
            )
        frequency_templates(self.v, self.patch, 0)  # refuses a patch of too few pixels

    def scene(self, g: int, seed: int) -> RenderedScene:
        """Grammar, templates and histograms of one network."""
        return RenderedScene(self, g, seed)


Source: TypeAlias = ConflictNetworks | ComposedPhotographs


@dataclass(frozen=True, eq=False)
class ExactCues:
    """The optimal denoiser of rendered shape and texture, in pixels."""

    model: ShapeTexture
    canvas: EmissionImages

    source = "theory"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.model.n_classes

    def emissions(self, images: ArrayLike) -> Floats:
        """Emissions [n, cue, leaves, v]."""
        x = self.canvas.read(images)
        return np.asarray(x.reshape(len(x), *self.model.shape))

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: tuple[int, ...] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes]; pixels that no template reaches are known to be zero."""
        return self.model.errors(
            self.emissions(x0), self.emissions(noise), snr, classes=classes, dtype=dtype
        )


class RenderedScene:
    """Images of one grammar with textures of several levels and amplitudes.

    The methods that :class:`PhotographScene` has as well: ``trained`` returns the denoising network
    and what the discriminative one answers, ``conflict`` images with the classes of their shapes
    and textures, ``agreeing`` images whose cues agree, ``low_passed`` images without fast detail,
    ``exact`` the optimal denoiser where it is known, ``shown`` pictures for the figure.
    """

    def __init__(self, source: ConflictNetworks, g: int, seed: int) -> None:
        self.source, self.place = source, f"conflict-{seed}-{g}"
        grammar = RHM(source.v, source.m, source.s, source.L).draw(stream(seed, "grammar", g))
        tree = GaussianRHM(grammar, source.tau)
        row, column = quarters(grammar.n_leaves)
        self.canvas = EmissionImages(
            frequency_templates(source.v, source.patch, stream(seed, "templates", g)),
            np.repeat([0, 1], len(row)), np.tile(row, 2), np.tile(column, 2), int(row.max()) + 1,
        )  # fmt: skip
        self.models, names = [], []
        for level, concentration in zip(source.texture_levels, source.concentrations, strict=True):
            rng = stream(seed, "histograms", g, level)
            law = np.full(grammar.v[level], concentration)
            table = rng.dirichlet(law, tree.n_classes)
            for k in source.amplitudes:
                self.models.append(ShapeTexture(tree, table, k, level))
                names.append(f"level {level}, k = {k:g}")
        # the same laws with as good as no emission noise
        self.bare = [replace(m, shape_model=replace(tree, tau=1e-6)) for m in self.models]
        self.cases, self.n_classes = tuple(names), tree.n_classes
        self.conditions = len(names)
        self.pictures = ("cues agree", "conflict", "with emissions", "low-passed")

    def _rendered(self, emissions: Array) -> Array:
        n, _, _, v = emissions.shape
        return self.canvas.render(emissions.reshape(n, -1, v))

    def draw(self, n: int, rng: np.random.Generator) -> list[tuple[EmissionImages, Fresh]]:
        """Images whose cues agree; the label is case times classes plus class."""
        case, classes = rng.integers(len(self.cases), size=n), rng.integers(self.n_classes, size=n)
        _, leaves, v = self.models[0].shape
        bare, spread = np.empty((n, 2 * leaves, v)), np.full((n, 2 * leaves, 1), self.source.tau)
        for i, model in enumerate(self.bare):
            rows = np.flatnonzero(case == i)
            if rows.size:
                both = model.conflict(classes[rows], classes[rows], rng)
                bare[rows] = both.reshape(len(rows), -1, v)
                spread[rows, leaves:] *= model.amplitude
        return [(self.canvas, Fresh(bare, spread, case * self.n_classes + classes))]

    def trained(self, seed: int, folder: Path | None, device: str) -> tuple[NetworkModel, Judge]:
        source, place = self.source, None if folder is None else folder / self.place
        torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
        module = transformer(
            self.canvas.shape, source.width, source.layers,
            code=CaseAndClass(self.conditions, self.n_classes, source.width),
        )  # fmt: skip
        network = trained_denoiser(
            module, self.draw, plan_of(source.steps, device), batch=source.batch, seed=seed,
            folder=None if place is None else place / "denoiser", name=f"network {self.place}",
        )  # fmt: skip
        judge = _classifier(self, source, seed, place, device)
        return network, partial(_answers, judge)

    def conflict(self, case: int, n: int, seed: int) -> tuple[Array, Array, Array]:
        # the same shapes and textures in all cases of a network
        rng = stream(seed, "conflict")
        shapes = rng.integers(self.n_classes, size=n)
        textures = (shapes + rng.integers(1, self.n_classes, size=n)) % self.n_classes
        x0 = self.models[case].conflict(shapes, textures, rng)
        return self._rendered(x0), shapes, textures

    def agreeing(self, case: int, n: int, seed: int) -> tuple[Array, Array]:
        rng = stream(seed, "agreeing")
        classes = rng.integers(self.n_classes, size=n)
        return self._rendered(self.models[case].conflict(classes, classes, rng)), classes

    def low_passed(self, images: Array, case: int, factor: float) -> Array:
        x = self.exact(case).emissions(images)
        x[:, 1] *= factor
        return self._rendered(x)

    def exact(self, case: int) -> ExactCues:
        return ExactCues(self.models[case], self.canvas)

    def shown(self, case: int, seed: int) -> Array:
        seen, shapes, textures = self.conflict(case, 1, seed)
        bare = self.bare[case]
        rows = [self._rendered(bare.conflict(shapes, x, stream(seed, "shown")))
                for x in (shapes, textures)]  # fmt: skip
        images = np.concatenate([*rows, seen, self.low_passed(seen, case, 0.0)])
        return self.canvas.picture(images)[:, 0]


# --------------------------------------------------------------------------------------- networks


class CaseAndClass(nn.Module):
    """Code of a class in a case: the shape of a class is the same in all cases, its texture is not.

    Parameters
    ----------
    cases, classes : int
    width : int
    """

    def __init__(self, cases: int, classes: int, width: int) -> None:
        super().__init__()
        self.shared = nn.Embedding(classes, width)
        self.own = nn.Embedding(cases * classes, width)

    def forward(self, labels: Tensor) -> Tensor:
        """Codes [n, width] of labels, case times classes plus class."""
        code: Tensor = self.shared(labels % self.shared.num_embeddings) + self.own(labels)
        return code


class Pooled(nn.Module):
    """The same transformer with other outputs: logits, from its features averaged over the places.

    Parameters
    ----------
    body : ImageTransformer
    outputs : int
    """

    def __init__(self, body: ImageTransformer, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.logits = nn.Linear(body.head.in_features, outputs)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images [n, c, h, w] and conditions [n] to [n, outputs]."""
        features, _ = self.body.sweeps(x, torch.zeros(len(x), device=x.device), labels)
        *_, last = features.values()
        found: Tensor = self.logits(last.mean(dim=1))
        return found


@dataclass(frozen=True, eq=False)
class OneCase:
    """A network conditioned on the classes of one case."""

    network: NetworkModel
    first: int
    n_classes: int

    source = "network"

    @property
    def noise(self) -> GaussianNoise:
        """That of the network."""
        return cast(GaussianNoise, self.network.noise)

    def given(self, label: Any) -> NetworkModel:
        """The network under a class of the case."""
        return self.network.given(self.first + np.asarray(label))


def _classifier(
    scene: RenderedScene, source: ConflictNetworks, seed: int, folder: Path | None, device: str
) -> Pooled:
    """The discriminative network: it is given the case, as the denoising one is."""
    torch.manual_seed(int(stream(seed, "classifier weights").integers(2**31)))
    shape = scene.canvas.shape
    case = nn.Embedding(scene.conditions, source.width)
    body = transformer(shape, source.width, source.layers, code=case)
    module = Pooled(body, scene.n_classes)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = stream(seed, "classifier", step)
        ((canvas, some),) = scene.draw(source.batch, rng)
        images = some.images(canvas, rng)
        case, label = np.divmod(some.labels, scene.n_classes)
        where = next(network.parameters()).device
        x, c, y = (torch.from_numpy(v).to(where) for v in (images, case, label))
        return nn.functional.cross_entropy(network(x, c), y)

    place = None if folder is None else folder / "classifier"
    done = train(module, loss, plan_of(source.classifier_steps, device), folder=place,
                 name="classifier")  # fmt: skip
    return cast(Pooled, done.network)


def _answers(network: Pooled, images: Array, case: int) -> Array:
    """Classes [n] that the discriminative network gives."""
    where = next(network.parameters()).device
    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(where)
        labels = torch.full((len(x),), case, dtype=torch.int64, device=where)
        return np.asarray(network(x, labels).argmax(dim=1).cpu().numpy())


def _bias(answer: Array, shapes: Array, textures: Array) -> tuple[float, float]:
    """Shape bias, and the share of answers that match a cue."""
    form, paint = float((answer == shapes).mean()), float((answer == textures).mean())
    return (form / (form + paint) if form + paint else 0.5), form + paint


# ------------------------------------------------------------------------------------ measurement


def measure_conflict(
    source: Source, seed: int, folder: Path | None, device: str, parameters: Mapping[str, Any]
) -> xr.Dataset:
    """All networks of a source: biases of every case, with the exact optimum where it is known.

    Parameters
    ----------
    source : ConflictNetworks or ComposedPhotographs
    seed : int
    folder : Path, optional
        Of checkpoints and finished tasks.
    device : str
    parameters : mapping
        For the provenance.

    Returns
    -------
    xarray.Dataset

    Notes
    -----
    Validity: errors over networks, Student's; the exact optimum sees the same images and noise.
    """
    rows = [_one_network(source, g, seed, folder, device) for g in range(source.networks)]
    dims: dict[str, tuple[tuple[str, ...], str]] = {
        "bias": (("case", "weighting"), "shape bias"),
        "matched": (("case", "weighting"), "share of answers that match a cue"),
        "noise_bias": (("case", "sigma2"), "shape bias at one noise level"),
        "blur_bias": (("case", "low_pass"), "shape bias of the discriminative network"),
        "blur_matched": (("case", "low_pass"), "share of its answers that match a cue"),
        "accuracy": (("case", "weighting"), "accuracy where the cues agree"),
        "blur_accuracy": (("case",), "accuracy of the discriminative network there"),
    }  # fmt: skip
    for name in ("bias", "matched", "noise_bias", "accuracy"):
        axes, text = dims[name]
        dims[f"exact_{name}"] = (axes, f"{text}, exact")
        dims[f"{name}_minus_exact"] = (axes, f"{text}, network minus exact")
    dims["bayes_bias"] = (("case",), "shape bias of Bayes' rule")
    variables: dict[str, Any] = {}
    for name in rows[0]:
        if name not in dims:
            continue
        values, (axes, text) = np.stack([row[name] for row in rows]), dims[name]
        variables[name] = (axes, values.mean(axis=0), text)
        variables[f"{name}_error"] = (axes, student_error(values), f"standard error of: {text}")
        variables[f"{name}_by_network"] = (("network", *axes), values, text)
    pixels = ("picture", "case", "row", "column")
    variables["pictures"] = (pixels, rows[0]["pictures"], "shape, texture, and both")
    coords = {
        "case": (("case",), list(rows[0]["cases"]), "level and amplitude k of the texture"),
        "weighting": (("weighting",), list(rows[0]["weighting"]), "weight of the error of x0"),
        "sigma2": (("sigma2",), list(source.sigma2), "noise sigma^2 = 1/SNR"),
        "picture": (("picture",), list(rows[0]["picture_names"]), "what is shown"),
        "low_pass": (("low_pass",), list(source.low_pass), "low-pass at the input"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _one_network(
    source: Source, g: int, seed: int, folder: Path | None, device: str
) -> dict[str, Any]:
    """Both networks on one set of images, and the exact optimum."""
    scene = source.scene(g, seed)
    own = seed * 1000 + g
    network, judge = scene.trained(own, folder, device)
    test = CueConflict(samples=source.samples, sigma2=source.sigma2, gaussian_samples=4, seed=own)
    agree = CueConflict(samples=source.samples, sigma2=source.sigma2[:1], gaussian_samples=1,
                        seed=own + 500)  # fmt: skip
    tasks = None if folder is None else folder / "tasks"
    found: dict[str, list[Any]] = {}

    def add(name: str, value: Any) -> None:
        found.setdefault(name, []).append(np.asarray(value))

    for i in range(len(scene.cases)):
        images, shapes, textures = scene.conflict(i, source.data, own)
        plain, labels = scene.agreeing(i, max(source.data // 2, 1), own)
        condition = i if scene.conditions > 1 else 0
        case = OneCase(network, condition * scene.n_classes, scene.n_classes)
        exact = scene.exact(i)
        for prefix, model in (("", case), ("exact_", exact)):
            if model is None:
                continue
            ds = test.measure(model, (images, shapes, textures), folder=tasks, workers=1)
            add(f"{prefix}bias", ds.weight_bias)
            add(f"{prefix}matched", ds.weight_matched)
            add(f"{prefix}noise_bias", ds.noise_bias)
            # where cues agree, the share of answers that match the class of the shape is accuracy
            other = (labels + 1) % scene.n_classes
            ds = agree.measure(model, (plain, labels, other), folder=tasks, workers=1)
            add(f"{prefix}accuracy", ds.weight_bias * ds.weight_matched)
        if exact is not None:
            score = exact.model.log_density(exact.emissions(images))
            add("bayes_bias", _bias(score.argmax(axis=1), shapes, textures)[0])
        seen = [_bias(judge(scene.low_passed(images, i, f), condition), shapes, textures)
                for f in source.low_pass]  # fmt: skip
        add("blur_bias", [x for x, _ in seen])
        add("blur_matched", [x for _, x in seen])
        add("blur_accuracy", (judge(plain, condition) == labels).mean())
    out: dict[str, Any] = {name: np.stack(values) for name, values in found.items()}
    for name in ("bias", "matched", "noise_bias", "accuracy"):
        if f"exact_{name}" in out:
            out[f"{name}_minus_exact"] = out[name] - out[f"exact_{name}"]
    weights = [str(w) for w in ds.weighting.values]
    shown = np.stack([scene.shown(i, own) for i in range(len(scene.cases))], axis=1)
    return {**out, "cases": scene.cases, "weighting": weights, "pictures": shown,
            "picture_names": scene.pictures}  # fmt: skip


# ---------------------------------------------------------------------------- summary and figure


def _pair(ds: xr.Dataset, name: str, **at: Any) -> list[float]:
    """A value and its error."""
    return [float(ds[x].sel(at)) for x in (name, f"{name}_error")]


def conflict_summary(ds: xr.Dataset) -> Summary:
    """Shape bias of all networks and of their optimum, and a law that is wrong."""
    cases, weights = map(str, ds.case.values), [str(w) for w in ds.weighting.values]
    strong, *_, weak = ds.low_pass.values
    exact = "exact_bias" in ds
    values: dict[str, Any] = {"networks": int(ds.sizes["network"])}
    heads = ["network, exp", "network, vdm", *(["exact, exp", "exact, vdm"] if exact else []),
             "discriminative", "low-passed"]  # fmt: skip
    lines: list[list[str]] = []
    table: dict[str, Any] = {}
    for case in cases:
        row: dict[str, Any] = {}
        for name in ("bias", "matched", "accuracy"):
            names = [name, *([f"exact_{name}", f"{name}_minus_exact"] if exact else [])]
            row |= {n: {w: _pair(ds, n, case=case, weighting=w) for w in weights} for n in names}
        for name in ("noise_bias", *(["exact_noise_bias", "noise_bias_minus_exact"] * exact)):
            row[name] = {f"{s:g}": _pair(ds, name, case=case, sigma2=s) for s in ds.sigma2.values}
        for name in ("blur_bias", "blur_matched"):
            row[name] = {
                f"{f:g}": _pair(ds, name, case=case, low_pass=f) for f in ds.low_pass.values
            }
        row["blur_accuracy"] = _pair(ds, "blur_accuracy", case=case)
        one = ds.sel(case=case)
        # both kinds of networks have the same grammar and see the same images
        row["discriminative minus denoising"] = scored(
            one.blur_bias_by_network.sel(low_pass=strong).values
            - one.bias_by_network.sel(weighting="exp").values
        )
        if exact:
            row["bayes_bias"] = _pair(ds, "bayes_bias", case=case)
        table[case] = row
        cells = [row[n][w] for n in ("bias", *(["exact_bias"] * exact)) for w in ("exp", "vdm")]
        cells += [row["blur_bias"][f"{strong:g}"], row["blur_bias"][f"{weak:g}"]]
        lines.append([case, *map(pair_text, cells)])
    values["cases"] = table
    more = ds.blur_bias_by_network.sel(low_pass=strong) - ds.bias_by_network.sel(weighting="exp")
    values["discriminative minus denoising"] = scored(more.mean("case").values)
    values |= _laws(ds) if exact else _against_half(ds)
    text = text_table(["shape bias", *heads], lines) + "\n\n" + text_table([], _law_rows(values))
    return Summary(text, _claim(ds, values), values)


def _laws(ds: xr.Dataset) -> dict[str, Any]:
    """Network minus exact over all cases, and what a small amplitude adds; nothing is planted."""
    names, one = [str(c) for c in ds.case.values], {"weighting": "exp"}
    found: dict[str, Any] = {
        "network minus exact": scored(ds.bias_minus_exact_by_network.sel(one).mean("case").values)
    }
    strong, weak = _extremes(names)
    net, law = (ds[f"{x}bias_by_network"].sel(one) for x in ("", "exact_"))
    effects = {
        word: (x.sel(case=weak).values - x.sel(case=strong).values).mean(axis=1)
        for word, x in (("network", net), ("exact", law))
    }
    effects["network minus exact"] = effects["network"] - effects["exact"]
    found["effect of a small amplitude"] = {word: scored(x) for word, x in effects.items()}
    levels = list(dict.fromkeys(c.split(",")[0] for c in names))
    if len(levels) > 1:
        first, last = ([c for c in names if c.startswith(f"{x},")] for x in (levels[0], levels[-1]))
        found["effect of the level"] = {
            word: scored((x.sel(case=last).values - x.sel(case=first).values).mean(axis=1))
            for word, x in (("network", net), ("exact", law))
        }
    return found


def _against_half(ds: xr.Dataset) -> dict[str, Any]:
    """Where nothing is exact: network minus no preference, and the effect of the amplitude."""
    net = ds.bias_by_network.sel(weighting="exp")
    strong, weak = _extremes([str(c) for c in ds.case.values])
    effect = (net.sel(case=weak).values - net.sel(case=strong).values).mean(axis=1)
    return {
        "network minus one half": scored(net.mean("case").values - 0.5),
        "effect of a small amplitude": {"network": scored(effect)},
    }


def _extremes(names: list[str]) -> tuple[list[str], list[str]]:
    """Cases of the largest and of the smallest amplitude, in the order of their levels."""
    size = {n: float(n.rpartition("= ")[2]) for n in names}
    strong, weak = max(size.values()), min(size.values())
    return [n for n in names if size[n] == strong], [n for n in names if size[n] == weak]


def _law_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """Differences of the shape bias (exp) with their scores."""
    names = ("network minus exact", "network minus one half",
             "discriminative minus denoising")  # fmt: skip
    rows = [[name, score_text(values[name])] for name in names if name in values]
    for name in ("effect of a small amplitude", "effect of the level"):
        if name in values:
            rows += [[f"{name}, {word}", score_text(x)] for word, x in values[name].items()]
    return rows


def _claim(ds: xr.Dataset, values: Mapping[str, Any]) -> str:
    n, cases = values["networks"], values["cases"]
    strong, weak = _extremes(list(cases))
    a, b = (cases[x[0]]["bias"]["exp"] for x in (strong, weak))
    top, *_, low = (f"{f:g}" for f in ds.low_pass.values)
    c, d = (cases[strong[0]]["blur_bias"][f] for f in (top, low))
    text = (
        f"shape bias of {n} denoising networks (exp): {pair_text(a)} at {strong[0]}, "
        f"{pair_text(b)} at {weak[0]}; discriminative networks {pair_text(c)}, low-passed "
        f"{pair_text(d)}"
    )
    if "network minus exact" in values:
        effect = values["effect of a small amplitude"]
        text += (
            f"; minus exact {score_text(values['network minus exact'])}; a small amplitude of the "
            f"texture adds {score_text(effect['network'])}, exact {pair_text(effect['exact'])}, "
            f"difference {score_text(effect['network minus exact'])}; by the planted law it adds "
            "nothing"
        )
    return text


def conflict_figure(ds: xr.Dataset) -> Figure:
    """Example pictures, and the shape bias against weight, noise level and low-pass.

    Parameters
    ----------
    ds : xarray.Dataset
        From :func:`measure_conflict`.

    Returns
    -------
    matplotlib Figure
    """
    figure = plt.figure(figsize=(13.5, 3.9), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.2, 1.3, 1.3, 1.1))
    _sheet(axes[0], ds)
    exact = "exact_bias" in ds
    places = np.arange(ds.sizes["weighting"])
    count = ds.sizes["case"]
    for i, case in enumerate(ds.case.values):
        one, colour = ds.sel(case=case), PALETTE[i]
        shift = 0.14 * (i - (count - 1) / 2)
        open_ = {"color": colour, "ls": "none", "marker": "o", "ms": 5, "mfc": "none",
                 "capsize": 2}  # fmt: skip
        axes[1].errorbar(places + shift, one.bias, one.bias_error, label=str(case), **open_)
        axes[2].errorbar(one.sigma2 * 1.06 ** (i - (count - 1) / 2), one.noise_bias,
                         one.noise_bias_error, **open_)  # fmt: skip
        if exact:
            axes[1].errorbar(places + shift, one.exact_bias, fmt="_", color=colour, ms=11)
            axes[2].plot(one.sigma2, one.exact_noise_bias, color=colour, lw=1.2)
        axes[3].errorbar(np.arange(ds.sizes["low_pass"]) + shift / 2, one.blur_bias,
                         one.blur_bias_error, color=colour, marker="s", ms=4, mfc="none", lw=0.8,
                         capsize=2)  # fmt: skip
    axes[1].set_xticks(places, [str(w) for w in ds.weighting.values])
    axes[1].set(xlabel="weight of the error", ylabel="shape bias")
    axes[2].set(xscale="log", xlabel=r"noise $\sigma^2$ = 1/SNR, used alone")
    axes[3].set_xticks(np.arange(ds.sizes["low_pass"]), [f"{f:g}" for f in ds.low_pass.values])
    axes[3].set(xlabel="texture kept at the input" if exact else "pixels averaged over")
    for ax in axes[1:]:
        ax.axhline(0.5, **GUIDE)
        ax.set_ylim(-0.03, 1.03)
        ax.spines[["top", "right"]].set_visible(False)
    legend(axes[1], "texture", columns=2)
    law = "circles: networks; dashes: exact" if exact else "denoising networks"
    panels(axes, "what is shown", law, "single noise levels", "discriminative networks")
    return figure


def _sheet(ax: Axes, ds: xr.Dataset) -> None:
    """Images with agreeing and conflicting cues, and the latter low-passed, a column per case."""
    pixels = ds.pictures.values
    rows = [
        np.concatenate([np.pad(_scaled(x), 1, constant_values=np.nan) for x in row], axis=1)
        for row in pixels
    ]
    ax.imshow(np.concatenate(rows), cmap="gray", interpolation="nearest")
    side = pixels.shape[-1] + 2
    middle = side * (np.arange(len(rows)) + 0.5) - 0.5
    ax.set_yticks(middle, [str(x) for x in ds.picture.values], fontsize=FONT)
    columns = side * (np.arange(pixels.shape[1]) + 0.5) - 0.5
    names = [str(c).replace(", ", ",\n") for c in ds.case.values]
    ax.set_xticks(columns, names, fontsize=FONT)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def _scaled(picture: Array) -> Array:
    """A picture in its own range of grey."""
    low, high = float(picture.min()), float(picture.max())
    return (picture - low) / max(high - low, 1e-12)
