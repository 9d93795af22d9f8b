r"""Binding of attributes by networks: a conditional denoiser and dual encoders on rendered scenes.

Scenes of two objects, each with a shape and a colour, are drawn as images: shapes in luminance,
colours in chrominance, the first object in one quadrant and the second in the others.  The drawing
is an isometry of :class:`hierdiff.theory.zero_shot.scenes.TwoObjectScenes`, so the optimal
denoiser of the same pixels under every caption is exact.

==================  ============================================================================
model               optimum beside it
==================  ============================================================================
denoising networks  exact errors of every caption, on the same images and noise
dual encoders       the minimum of InfoNCE over embeddings of the same width, for the exact
                    posterior of the captions given each image
==================  ============================================================================

Captions name both objects, one object, or one colour; what is not named is independent and uniform.
Each object of a caption is encoded by a perceptron of shape and colour together, which does not
know where the object stands.  Two denoising networks with the same transformer differ in how these
codes enter it:

.. math:: \text{tokens: } \{\phi(\text{shape}_1, \text{colour}_1), \phi(\text{shape}_2,
   \text{colour}_2)\}, \qquad \text{sum: } \sum_{\text{objects}} \phi(\text{shape},
   \text{colour}).

Places of the image attend to tokens; the sum scales and shifts every layer.  Both tell every
caption from every other one, so the minimum of the loss is the same.  Dual encoders compare an
image with the sum, and learn from captions of both objects, by eq. (2) of
:mod:`hierdiff.theory.zero_shot.contrastive` with the batch as negatives.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import pair_text, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    integers,
    listed,
    one_of,
    positive,
    whole,
)
from hierdiff.contracts import Summary
from hierdiff.data.rhm import RHM
from hierdiff.data.rhm_images import EmissionImages
from hierdiff.errors import InvalidParameter
from hierdiff.plots import FONT, GREY, GUIDE, PALETTE, Axes, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.attribute_binding import TASKS
from hierdiff.sims.metrics.denoising_error import (
    ClassErrors,
    ErrorPool,
    prefix_scores,
    tie_split_accuracy,
)
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.theory.zero_shot.contrastive import fit_infonce, zero_shot_accuracy
from hierdiff.theory.zero_shot.scenes import PROMPTS, Prompt, TwoObjectScenes
from hierdiff.theory.zero_shot.weightings import band, snr_at, weighting
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.experiments.rendered_scenes import (
    Fresh,
    network_layers,
    network_width,
    plan_of,
    quarters,
    score_text,
    scored,
    trained_denoiser,
    transformer,
)
from hierdiff.validation.training import train

__all__ = ["BindingNetworks", "Captions"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

_COUNT = partial(whole, low=1, high=10**9)
_SHARES = (0.6, 0.3, 0.1)  # captions of both objects, of one, of one colour, in training
_NAMED = ("vdm", "snr", "exp", "uniform")
_HIGH = (0.4, 0.8)  # the band of times that is tried alone, as for exact models
_FIRST, _SECOND, _ABSENT, _ANY = 0, 1, 2, 3  # codes of the prompts

ASKED: dict[str, Prompt] = {
    **PROMPTS,
    "pair recoloured": (
        (_FIRST, _ABSENT, _SECOND, _SECOND), (_SECOND, _SECOND, _FIRST, _ABSENT)
    ),
}  # fmt: skip
"""Prompts of exact models, and a pair one of whose colours is in neither object."""
QUESTIONS: dict[str, tuple[str, str]] = {**TASKS, "pair: colour": ("pair", "pair recoloured")}
"""True and false prompts."""
ENTRIES = ("tokens", "sum")
"""How a caption enters a denoising network."""
BOUND = ("pair", "pair: colour")
"""Questions that are put to dual encoders as well: exchanged colours, and another colour."""


@dataclass(frozen=True)
class BindingNetworks:
    """Conditional denoisers and dual encoders on rendered scenes of two objects."""

    v: int = 3
    """Symbols per level, and values of an attribute."""
    m: int = 1
    """Rules per symbol; with more of them a value has more than one drawing, and more must be
    learned before binding."""
    L: int = 2
    """Depth of an attribute's binary tree, even: an object has 2^(L/2) patches on a side."""
    patch: int = 2
    """Pixels on a side of a patch."""
    tau: float = 0.42
    """Standard deviation of the Gaussian emissions."""
    areas: tuple[int, ...] = (1, 3)
    """Quadrants that the colour of the second object fills, 1 to 3."""
    networks: int = 3
    """Networks of every kind, each on grammars and patches of its own."""
    width: int = 64
    """Features per place of the denoising networks."""
    layers: int = 4
    """Their layers."""
    steps: int = 2000
    """Their training steps."""
    batch: int = 32
    """Fresh scenes per step."""
    data: int = 100
    """Scenes of every area."""
    samples: int = 25
    """Samples (t, eps) per scene, shared by the captions."""
    widths: tuple[int, ...] = (2, 4, 16)
    """Widths d of the embeddings of dual encoders."""
    hidden: int = 128
    """Units of their hidden layers."""
    encoder_steps: int = 900
    """Their training steps."""
    encoder_batch: int = 128
    """Scenes per step, which are the negatives of each other."""
    scenes: int = 400
    """Scenes of every area on which they are read, and for which their optimum is found."""

    def __post_init__(self) -> None:
        check_fields(
            self, tau=positive, networks=partial(whole, low=2, high=1000), width=network_width,
            layers=network_layers,
            areas=partial(listed, rule=partial(whole, low=1, high=3)), steps=_COUNT, batch=_COUNT,
            data=partial(whole, low=2, high=10**7), samples=_COUNT, hidden=_COUNT,
            widths=partial(listed, rule=_COUNT, rising=True), encoder_steps=_COUNT,
            encoder_batch=partial(whole, low=2, high=10**6), patch=partial(whole, low=1, high=64),
            scenes=partial(whole, low=10, high=10**7),
        )  # fmt: skip
        RHM(self.v, self.m, 2, self.L)
        if self.L % 2 or self.L < 2:
            raise InvalidParameter(f"L = {self.L} must be even; an object is a square of patches")
        if not 3 <= self.v <= self.patch**2:
            raise InvalidParameter(
                f"v = {self.v} values need three at least, and a patch of {self.patch} x "
                f"{self.patch} pixels has luminance for {self.patch**2}; give a larger patch"
            )
        pairs = Captions(self.v).pairs
        if self.widths[-1] > pairs:
            raise InvalidParameter(f"widths = {self.widths} exceed the {pairs} captions of pairs")

    def drawn(self, g: int, seed: int) -> tuple[dict[int, TwoObjectScenes], dict[int, Any]]:
        """Scenes and canvas of every area, for one network."""
        rhm = RHM(self.v, self.m, 2, self.L)
        shapes, colours = (rhm.draw(stream(seed, name, g)) for name in ("shapes", "colours"))
        patches = _templates(self.v, self.patch, stream(seed, "templates", g))
        scenes = {a: TwoObjectScenes(shapes, colours, self.tau, a) for a in self.areas}
        return scenes, {a: _canvas(patches, self.L, a) for a in self.areas}


def _templates(v: int, patch: int, rng: np.random.Generator) -> Array:
    """Orthonormal patches [2, v, 3, P, P]: shapes in luminance, colours in chrominance."""
    k = np.arange(patch)
    waves = np.cos(np.pi * np.outer(k, k + 0.5) / patch)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    both = np.einsum("iy,jx->ijyx", waves, waves).reshape(patch**2, patch, patch)
    slow = both[np.argsort(np.add.outer(k, k).ravel(), kind="stable")]
    grey = np.array([[1.0, 1.0, 1.0]]) / math.sqrt(3)
    hues = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])
    found = []
    for tints in (grey, hues):  # the slowest patterns first, in all tints
        every = np.einsum("iyx,tc->itcyx", slow, tints).reshape(-1, 3 * patch**2)[:v]
        turn = np.linalg.qr(rng.standard_normal((v, v)))[0]
        found.append((turn @ every).reshape(v, 3, patch, patch))
    return np.stack(found)


def _canvas(patches: Array, L: int, area: int) -> EmissionImages:
    """Where every leaf of a scene is drawn: the first object top left, the second elsewhere."""
    leaves, side = 2**L, 2 ** (L // 2)
    row, column = quarters(leaves)
    quadrants = [(0, 0), (1, 1), (0, 1), (1, 0)]
    blocks = [(0, 0), (1, 0), (0, 1), *((1, 1 + k) for k in range(area))]
    kind, rows, columns = (
        np.concatenate([f(*block) for block in blocks])
        for f in (
            lambda kind, q: np.full(leaves, kind),
            lambda kind, q: row + side * quadrants[q][0],
            lambda kind, q: column + side * quadrants[q][1],
        )
    )
    return EmissionImages(patches, kind, rows, columns, 2 * side)


@dataclass(frozen=True)
class Captions:
    """All captions of scenes of two objects: pairs, then single objects, then colours.

    Parameters
    ----------
    v : int
        Values of each attribute.

    Examples
    --------
    >>> captions = Captions(4)
    >>> len(captions.table), captions.pairs
    (92, 72)
    >>> captions.number([[0, 1]], [[2, 3]]) == captions.number([[2, 3]], [[0, 1]])
    array([ True])
    """

    v: int

    def __post_init__(self) -> None:
        check_fields(self, v=partial(whole, low=2, high=100))

    @cached_property
    def table(self) -> Array:
        """Shape and colour of both objects, [captions, object, attribute]; -1 is not named."""
        v, none = range(self.v), (-1, -1)
        pairs = [((a, c), (b, d)) for a in v for b in v if a < b for c in v for d in v if c != d]
        singles = [((a, c), none) for a in v for c in v]
        return np.array([*pairs, *singles, *(((-1, c), none) for c in v)])

    @property
    def pairs(self) -> int:
        """Captions of both objects, which stand first."""
        return self.v**2 * (self.v - 1) ** 2 // 2

    @cached_property
    def _numbers(self) -> Array:
        """Numbers by shape and colour of one object and of the other; -1 where there is none."""
        found = np.full((self.v + 1,) * 4, -1)
        for k, (one, other) in enumerate(self.table):
            found[(*one, *other)] = found[(*other, *one)] = k
        return found

    @checked
    def number(self, one: ArrayLike, other: ArrayLike) -> Array:
        """Numbers [n] of captions of two objects [n, attribute], -1 for what is not named."""
        top = self.v - 1
        first = integers("one", one, -1, top, shape=(None, 2))
        both = np.concatenate(
            [first, integers("other", other, -1, top, shape=(len(first), 2))], axis=1
        )
        found = self._numbers[tuple(both.T)]
        if (found < 0).any():
            row = both[int(np.argmax(found < 0))].tolist()
            raise InvalidParameter(
                f"no caption names {row}; two objects differ in shape and in colour"
            )
        return np.asarray(found)

    @checked
    def asked(self, values: ArrayLike, prompt: str) -> Array:
        """Numbers [n] of a prompt by its name, for scenes with the values [n, attribute, code]."""
        one_of("prompt", prompt, tuple(ASKED))
        codes_of = integers("values", values, 0, self.v - 1, shape=(None, 2, 3))
        named = np.concatenate([codes_of, np.full((len(codes_of), 2, 1), -1)], axis=2)
        codes = ASKED[prompt][0]
        blocks = [named[:, b % 2, code] for b, code in enumerate(codes)]
        return self.number(np.stack(blocks[:2], axis=1), np.stack(blocks[2:], axis=1))

    @property
    def wrong(self) -> dict[str, Array]:
        """Wrong captions [pairs, r] of every pair: colours exchanged, one colour replaced."""
        pairs = self.table[: self.pairs]
        (a, c), (b, d) = pairs[:, 0].T, pairs[:, 1].T
        swapped = self.number(np.stack([a, d], 1), np.stack([b, c], 1))
        columns = []
        for new in range(1, self.v):
            other = (c + new) % self.v
            good = other != d
            number = self.number(np.stack([a, np.where(good, other, c)], 1), np.stack([b, d], 1))
            columns.append(np.where(good, number, -1))
        every = np.stack(columns, axis=1)
        kept = np.stack([row[row >= 0] for row in every])
        return dict(zip(BOUND, (swapped[:, None], kept), strict=True))


class CaptionEncoder(nn.Module):
    """Captions by their number: a sum over objects of a perceptron of shape and colour together.

    Parameters
    ----------
    captions : Captions
    width : int
        Of the code.
    hidden : int
    conditions : int
        Further conditions beside the captions; the label is condition times captions plus caption.
    """

    def __init__(self, captions: Captions, width: int, hidden: int, conditions: int = 1) -> None:
        super().__init__()
        table, v = captions.table, captions.v
        hot = np.eye(v + 1)[table][..., :v].reshape(len(table), 2, 2 * v)
        self.register_buffer("hot", torch.from_numpy(hot).float())
        self.register_buffer("named", torch.from_numpy(table.max(axis=2) >= 0).float())
        self.objects = nn.Sequential(nn.Linear(2 * v, hidden), nn.GELU(), nn.Linear(hidden, width))
        # no table of torch's: its size would be taken for the number of labels
        self.condition = nn.Parameter(0.1 * torch.randn(conditions, width))

    def each(self, labels: Tensor) -> Tensor:
        """Codes [n, objects, width] of labels [n], zero for an object that is not named."""
        hot, named = self.get_buffer("hot"), self.get_buffer("named")
        number = labels % len(hot)
        code: Tensor = self.objects(hot[number]) * named[number][..., None]
        return code

    def further(self, labels: Tensor) -> Tensor:
        """Codes [n, width] of the further conditions."""
        return self.condition[labels // len(self.get_buffer("hot"))]

    def forward(self, labels: Tensor) -> Tensor:
        """Codes [n, width] of labels [n]."""
        code: Tensor = self.each(labels).sum(dim=1)
        return code + self.further(labels)


class CaptionTokens(nn.Module):
    """Captions as tokens: one for each object, and one for the further conditions.

    Parameters
    ----------
    encoder : CaptionEncoder
    width : int
        Of its codes.
    """

    def __init__(self, encoder: CaptionEncoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.absent = nn.Parameter(0.1 * torch.randn(width))

    def forward(self, labels: Tensor) -> Tensor:
        """Tokens [n, objects + 1, width] of labels [n]."""
        named = self.encoder.get_buffer("named")
        missing = 1 - named[labels % len(named)][..., None]
        each = self.encoder.each(labels) + missing * self.absent
        return torch.cat([each, self.encoder.further(labels)[:, None]], dim=1)


class SceneEncoders(nn.Module):
    """Images and captions in one space of width d."""

    def __init__(self, captions: Captions, shape: tuple[int, ...], width: int, hidden: int) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), hidden), nn.GELU(),
            nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, width),
        )  # fmt: skip
        self.caption = CaptionEncoder(captions, width, hidden)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores [images, captions]."""
        scores: Tensor = self.image(images) @ self.caption(labels).T
        return scores


# ------------------------------------------------------------------------------------------ data


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Fresh scenes under captions, of every area."""

    scenes: dict[int, TwoObjectScenes]
    canvas: dict[int, EmissionImages]
    captions: Captions

    def under(self, area: int, number: Array, rng: np.random.Generator) -> Array:
        """Images of the law of each caption."""
        return self.canvas[area].render(self.scenes[area].emit(self.values(number, rng), rng))

    def values(self, number: Array, rng: np.random.Generator) -> Array:
        """Values of the four blocks [n, 4] under captions."""
        named = self.captions.table[number]
        free = rng.integers(self.captions.v, size=named.shape)
        values = np.where(named < 0, free, named)
        swap = rng.random(len(values)) < 0.5  # a caption does not say which object is where
        values[swap] = values[swap][:, ::-1]
        return np.asarray(values.reshape(-1, 4))

    def batch(
        self, n: int, rng: np.random.Generator, shares: tuple[float, ...] = _SHARES
    ) -> list[tuple[EmissionImages, Fresh]]:
        """Images of captions of all kinds; the label is area times captions plus caption."""
        v, pairs, total = self.captions.v, self.captions.pairs, len(self.captions.table)
        starts = np.array([0, pairs, pairs + v * v, total])
        kind = rng.choice(3, size=n, p=shares)
        number = rng.integers(starts[kind], starts[kind + 1])
        parts, areas = [], list(self.scenes)
        for i, rows in enumerate(np.array_split(np.arange(n), len(areas))):
            if not rows.size:
                continue
            bare = replace(self.scenes[areas[i]], tau=1e-6)  # as good as no emission noise
            x = bare.emit(self.values(number[rows], rng), rng)
            spread = np.full((len(rows), x.shape[1], 1), self.scenes[areas[i]].tau)
            parts.append((self.canvas[areas[i]], Fresh(x, spread, i * total + number[rows])))
        return parts

    def pairs(self, n: int, rng: np.random.Generator) -> list[tuple[EmissionImages, Fresh]]:
        """Images of captions of both objects."""
        return self.batch(n, rng, (1.0, 0.0, 0.0))


# ----------------------------------------------------------------------------------- measurement


def measure_binding(
    source: BindingNetworks, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """All networks of both kinds, beside their optima.

    Parameters
    ----------
    source : BindingNetworks
    seed : int
    folder : Path, optional
        Of checkpoints.
    device : str
    parameters : mapping
        For the provenance.

    Returns
    -------
    xarray.Dataset

    Notes
    -----
    Validity: errors over networks, Student's.  The exact denoiser sees the same scenes and noise;
    dual encoders are read with the exact posterior of the captions given each scene.
    """
    rows = [_one_network(source, g, seed, folder, device) for g in range(source.networks)]
    asked, dual = ("area", "task", "weighting"), ("area", "dual_task", "width")
    texts: dict[str, tuple[tuple[str, ...], str]] = {
        "accuracy": (("entry", *asked), "how often the true caption wins"),
        "exact_accuracy": (asked, "how often it wins by the exact denoiser"),
        "accuracy_minus_exact": (("entry", *asked), "accuracy, network minus exact"),
        "bayes": (asked[:2], "how often the true caption is likelier"),
        "dual_accuracy": (dual, "accuracy of dual encoders"),
        "dual_optimum": (dual, "accuracy at the minimum of InfoNCE"),
        "dual_minus_optimum": (dual, "accuracy, dual encoders minus minimum"),
        "dual_bayes": (dual[:2], "accuracy of the exact posterior of the captions"),
    }
    variables: dict[str, Any] = {}
    for name, (axes, text) in texts.items():
        values = np.stack([row[name] for row in rows])
        variables[name] = (axes, values.mean(axis=0), text)
        variables[f"{name}_error"] = (axes, student_error(values), f"standard error of: {text}")
        variables[f"{name}_by_network"] = (("network", *axes), values, text)
    pixels = ("area", "picture", "channel", "row", "column")
    variables["pictures"] = (pixels, rows[0]["pictures"], "scenes")
    coords = {
        "entry": (("entry",), list(ENTRIES), "how a caption enters the network"),
        "area": (("area",), list(source.areas), "area of the second object's colour"),
        "task": (("task",), list(QUESTIONS), "object asked about, attribute exchanged"),
        "weighting": (("weighting",), list(_weights()), "weight of the error of x0"),
        "dual_task": (("dual_task",), list(BOUND), "what the wrong caption has"),
        "width": (("width",), list(source.widths), "width d of the embeddings"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _weights() -> dict[str, Any]:
    return {**{name: weighting(name) for name in _NAMED}, "high": band(*_HIGH)}


def _one_network(
    source: BindingNetworks, g: int, seed: int, folder: Path | None, device: str
) -> dict[str, Array]:
    """The denoising networks and the dual encoders of every width, on one pair of grammars."""
    own, captions = seed * 1000 + g, Captions(source.v)
    drawn = _Drawn(*source.drawn(g, seed), captions)
    place = None if folder is None else folder / f"binding-{seed}-{g}"
    networks = [
        trained_denoiser(
            _denoiser(source, drawn, entry, own), drawn.batch, plan_of(source.steps, device),
            batch=source.batch, seed=own, folder=None if place is None else place / entry,
            name=f"network {g}, {entry}",
        ) for entry in ENTRIES
    ]  # fmt: skip
    found = _asked(source, drawn, networks, own)
    found |= _dual(source, drawn, own, place, device)
    pictures = []
    for i, area in enumerate(source.areas):
        canvas, scenes = drawn.canvas[area], drawn.scenes[area]
        # the same random numbers without emission noise
        both = [one.sample(2, stream(own, "pictures", i))[0]
                for one in (replace(scenes, tau=1e-6), scenes)]  # fmt: skip
        pictures.append(canvas.picture(canvas.render(np.concatenate(both)[[0, 1, 2]])))
    return {**found, "pictures": np.stack(pictures)}


def _denoiser(source: BindingNetworks, drawn: _Drawn, entry: str, seed: int) -> nn.Module:
    """An untrained network; both kinds have the same weights but for the caption."""
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    encoder = CaptionEncoder(drawn.captions, source.width, 128, len(source.areas))
    as_tokens = entry == "tokens"
    return transformer(
        drawn.canvas[source.areas[0]].shape, source.width, source.layers,
        code=None if as_tokens else encoder,
        prompt=CaptionTokens(encoder, source.width) if as_tokens else None,
    )  # fmt: skip


def _asked(
    source: BindingNetworks, drawn: _Drawn, networks: list[NetworkModel], seed: int
) -> dict[str, Array]:
    """The denoising networks and the exact one, on the same scenes and noise."""
    prompts, names, weights = tuple(ASKED.values()), list(ASKED), _weights()
    shape = (len(source.areas), len(QUESTIONS), len(weights))
    accuracy = np.empty((1 + len(networks), *shape))  # of the exact denoiser first
    bayes = np.empty(shape[:2])
    total, zero = len(drawn.captions.table), np.zeros(source.data, np.intp)
    scored = [ClassErrors(network, total) for network in networks]
    for i, area in enumerate(source.areas):
        scenes, canvas = drawn.scenes[area], drawn.canvas[area]
        x0, values = scenes.sample(source.data, stream(seed, "scenes", area))
        log_p = scenes.log_density(x0, values, prompts)
        labels = [i * total + drawn.captions.asked(values, name) for name in names]
        images = canvas.render(x0)
        rng = stream(seed, "pool", area)
        t = 1 - rng.random((source.data, source.samples))
        errors = np.empty((len(accuracy), source.data, source.samples, len(prompts)))
        for k in range(source.samples):
            noise = rng.standard_normal(images.shape, dtype=np.float32)
            snr = snr_at(t[:, k])
            errors[0, :, k] = scenes.prompt_errors(x0, values, canvas.read(noise), snr, prompts)
            wide = snr[:, None, None, None]
            x_t = ((np.sqrt(wide) * images + noise) / np.sqrt(1 + wide)).astype(np.float32)
            for e, network in enumerate(scored, start=1):
                for j, label in enumerate(labels):
                    guess = network.denoise(x_t, snr, label)
                    errors[e, :, k, j] = ((images - guess) ** 2).sum(axis=(1, 2, 3), dtype=float)
        for j, (true, false) in enumerate(QUESTIONS.values()):
            columns = [names.index(true), names.index(false)]
            bayes[i, j] = tie_split_accuracy(-log_p[:, columns], zero).mean()
            for e, part in enumerate(errors):
                pool = ErrorPool(t, part[..., columns])
                for k, weight in enumerate(weights.values()):
                    scores = prefix_scores(pool, weight, (source.samples,))[0]
                    accuracy[e, i, j, k] = tie_split_accuracy(scores, zero).mean()
    return {
        "accuracy": accuracy[1:], "exact_accuracy": accuracy[0],
        "accuracy_minus_exact": accuracy[1:] - accuracy[0], "bayes": bayes,
    }  # fmt: skip


def _dual(
    source: BindingNetworks, drawn: _Drawn, seed: int, folder: Path | None, device: str
) -> dict[str, Array]:
    """Trained dual encoders of every width, and the minimum of their loss."""
    captions, n = drawn.captions, source.scenes
    wrong, posterior, images = captions.wrong, [], []
    for area in source.areas:
        rng = stream(seed, "read", area)
        number = rng.integers(captions.pairs, size=n)
        images.append(drawn.under(area, number, rng))
        x0 = drawn.canvas[area].read(images[-1])
        posterior.append(_posterior(drawn.scenes[area], captions, x0))
    every, joint = np.concatenate(images), np.concatenate(posterior) / (n * len(source.areas))
    shape = (len(source.areas), len(BOUND), len(source.widths))
    found = {name: np.empty(shape) for name in ("dual_accuracy", "dual_optimum")}
    bayes = np.empty(shape[:2])

    def read(scores: Array) -> Array:
        parts = np.split(scores, len(source.areas))
        return np.array([
            [zero_shot_accuracy(p / p.sum(), s, wrong[word]) for word in BOUND]
            for p, s in zip(posterior, parts, strict=True)
        ])  # fmt: skip

    for k, width in enumerate(source.widths):
        optimum = fit_infonce(joint, width, iterations=400, seed=stream(seed, "optimum", width))
        found["dual_optimum"][..., k] = read(optimum.scores)
        network = _encoders(source, drawn, width, seed, folder, device)
        where = next(network.parameters()).device
        with torch.no_grad():
            labels = torch.arange(captions.pairs, device=where)
            scores = network(torch.from_numpy(every).to(where), labels)
        found["dual_accuracy"][..., k] = read(scores.cpu().numpy().astype(float))
    bayes = read(np.concatenate(posterior))
    gap = found["dual_accuracy"] - found["dual_optimum"]
    return {**found, "dual_minus_optimum": gap, "dual_bayes": bayes}


def _posterior(scenes: TwoObjectScenes, captions: Captions, x0: Floats) -> Floats:
    """p(caption | image) [n, pairs] for captions of equal frequency."""
    columns = []
    for (a, c), (b, d) in captions.table[: captions.pairs]:
        values = np.broadcast_to(np.array([[a, b, a], [c, d, c]]), (len(x0), 2, 3))
        columns.append(scenes.log_density(x0, values, (PROMPTS["pair"],))[:, 0])
    log_p = np.stack(columns, axis=1)
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _encoders(
    source: BindingNetworks, drawn: _Drawn, width: int, seed: int, folder: Path | None,
    device: str,
) -> nn.Module:  # fmt: skip
    """Trained dual encoders of one width."""
    torch.manual_seed(int(stream(seed, "encoder weights", width).integers(2**31)))
    shape = drawn.canvas[source.areas[0]].shape
    module = SceneEncoders(drawn.captions, shape, width, source.hidden)

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = stream(seed, "pairs", width, step)
        parts = drawn.pairs(source.encoder_batch, rng)
        where = next(network.parameters()).device
        images = np.concatenate([some.images(canvas, rng) for canvas, some in parts])
        number = np.concatenate([some.labels for _, some in parts]) % len(drawn.captions.table)
        scores = network(*(torch.from_numpy(x).to(where) for x in (images, number)))
        mean: Tensor = (scores.logsumexp(dim=1) - scores.diagonal()).mean()
        return mean - math.log(len(scores))

    place = None if folder is None else folder / f"dual-{width}"
    plan = plan_of(source.encoder_steps, device)
    return train(module, loss, plan, folder=place, name=f"width {width}").network


# ---------------------------------------------------------------------------- summary and figure


def _pair(ds: xr.Dataset, name: str, **at: Any) -> list[float]:
    """A value and its error."""
    return [float(ds[x].sel(at)) for x in (name, f"{name}_error")]


def beyond_chance(rows: ArrayLike, scenes: int) -> list[float]:
    """Accuracies of networks minus one half: the mean, its error, and its normal score.

    The error is the larger of Student's over the networks and that of counting: at chance a network
    has the variance 1/4 per scene, however near to each other a few networks happen to be.
    """
    x = np.asarray(rows, float) - 0.5
    mean, error, z = scored(x)
    counting = 0.5 / math.sqrt(scenes * len(x))
    return [mean, max(error, counting), min((z, mean / counting), key=abs)]


def binding_summary(ds: xr.Dataset) -> Summary:
    """Accuracy (exp) of all networks and their optima; a bag of attributes is wrong."""
    weights, widths = [str(w) for w in ds.weighting.values], [int(d) for d in ds.width.values]
    values: dict[str, Any] = {"networks": int(ds.sizes["network"]), "denoising": {}, "dual": {}}
    lines: list[list[str]] = []
    for area in ds.area.values:
        for task in map(str, ds.task.values):
            at = {"area": area, "task": task}
            row: dict[str, Any] = {
                name: {e: {w: _pair(ds, name, entry=e, weighting=w, **at) for w in weights}
                       for e in ENTRIES} for name in ("accuracy", "accuracy_minus_exact")
            }  # fmt: skip
            row["exact_accuracy"] = {
                w: _pair(ds, "exact_accuracy", weighting=w, **at) for w in weights
            }
            row["bayes"] = _pair(ds, "bayes", **at)
            values["denoising"].setdefault(f"{area:g}", {})[task] = row
            cells = [*(row["accuracy"][e]["exp"] for e in ENTRIES), row["exact_accuracy"]["exp"]]
            lines.append([f"{area:g}", task, *map(pair_text, (*cells, row["bayes"]))])
    heads = [*ENTRIES, "exact", "Bayes"]
    parts = [text_table(["area", "task", *heads], lines, keys=2)]
    lines = []
    for area in ds.area.values:
        for task in map(str, ds.dual_task.values):
            row = {
                name: {str(d): _pair(ds, name, area=area, dual_task=task, width=d) for d in widths}
                for name in ("dual_accuracy", "dual_optimum", "dual_minus_optimum")
            }
            row["bayes"] = _pair(ds, "dual_bayes", area=area, dual_task=task)
            values["dual"].setdefault(f"{area:g}", {})[task] = row
            cells = [row[n][str(d)] for d in widths for n in ("dual_accuracy", "dual_optimum")]
            lines.append([f"{area:g}", task, *map(pair_text, cells)])
    heads = [f"d = {d}, {kind}" for d in widths for kind in ("network", "minimum")]
    parts.append(text_table(["area", "dual encoders", *heads], lines, keys=2))
    laws = _laws(ds)
    rows = []
    for name, law in laws.items():
        each = law.items() if isinstance(law, dict) else [("", law)]
        rows += [[f"pairs, {name}", entry, score_text(x)] for entry, x in each]
    parts.append(text_table([], rows))
    values |= {"scenes asked": _scenes(ds), **laws}
    return Summary("\n\n".join(parts), _claim(ds, values), values)


def _scenes(ds: xr.Dataset) -> int:
    """Scenes of every area on which a denoising network was asked."""
    return int(json.loads(ds.attrs["parameters"])["source"]["data"])


def _laws(ds: xr.Dataset) -> dict[str, Any]:
    """Pairs: networks minus exact, minus one half (a bag of attributes); encoders minus minimum."""
    pair = ds.sel(task="pair", weighting="exp")
    dual = ds.dual_minus_optimum_by_network.sel(dual_task="pair")
    gap, seen = (pair[f"{name}_by_network"].mean("area")
                 for name in ("accuracy_minus_exact", "accuracy"))  # fmt: skip
    scenes = _scenes(ds) * ds.sizes["area"]
    return {
        "network minus exact": {e: scored(gap.sel(entry=e).values) for e in ENTRIES},
        "network minus a bag of attributes": {
            e: beyond_chance(seen.sel(entry=e).values, scenes) for e in ENTRIES
        },
        "tokens minus sum": scored((seen.sel(entry="tokens") - seen.sel(entry="sum")).values),
        "dual encoders minus minimum": scored(dual.mean(("area", "width")).values),
    }


def _claim(ds: xr.Dataset, values: Mapping[str, Any]) -> str:
    first, last = (f"{a:g}" for a in ds.area.values[[0, -1]])
    narrow, wide = (str(int(d)) for d in ds.width.values[[0, -1]])
    pair, dual = values["denoising"][first]["pair"], values["dual"][first]["pair"]
    gap, bag = values["network minus exact"], values["network minus a bag of attributes"]
    small = values["denoising"][last]["first: colour"]
    best = [dual["dual_optimum"][k][0] for k in (narrow, wide)]
    exact = small["exact_accuracy"]
    return (
        f"{values['networks']} denoising networks (exp) prefer the true pair in "
        f"{pair_text(pair['accuracy']['tokens']['exp'])} of scenes if captions are tokens and in "
        f"{pair_text(pair['accuracy']['sum']['exp'])} if they are one sum (exact "
        f"{pair['exact_accuracy']['exp'][0]:.3f}, Bayes {pair['bayes'][0]:.3f}); minus exact "
        f"{score_text(gap['tokens'])} and {score_text(gap['sum'])}, minus a bag of attributes "
        f"{score_text(bag['tokens'])} and {score_text(bag['sum'])}; dual encoders "
        f"{pair_text(dual['dual_accuracy'][narrow])} at width {narrow} and "
        f"{pair_text(dual['dual_accuracy'][wide])} at {wide} (minimum {best[0]:.3f} and "
        f"{best[1]:.3f}); with {last} times the area the colour of the small object is named "
        f"right in {pair_text(small['accuracy']['tokens']['exp'])} and, at high noise, "
        f"{pair_text(small['accuracy']['tokens']['high'])} (exact {exact['exp'][0]:.3f} and "
        f"{exact['high'][0]:.3f})"
    )


def binding_figure(ds: xr.Dataset) -> Figure:
    """Example scenes, accuracy of every question, and dual encoders against width.

    Parameters
    ----------
    ds : xarray.Dataset
        From :func:`measure_binding`.

    Returns
    -------
    matplotlib Figure
    """
    figure = plt.figure(figsize=(13.5, 3.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(0.9, 2.0, 1.3))
    _sheet(axes[0], ds)
    place, areas = np.arange(ds.sizes["task"]), ds.area.values
    for i, area in enumerate(areas):
        for j, (entry, mark) in enumerate(zip(ENTRIES, "o^", strict=True)):
            one = ds.sel(area=area, entry=entry, weighting="exp")
            colour = PALETTE[2 * i + j]
            at = place + 0.16 * (2 * i + j - len(areas) + 0.5)
            axes[1].errorbar(at, one.accuracy, one.accuracy_error, ls="none", marker=mark, ms=5,
                             mfc="none", capsize=2, color=colour,
                             label=f"area {area}, {_WORDS[entry]}")  # fmt: skip
            axes[1].errorbar(at, one.exact_accuracy, fmt="_", ms=10, color=colour)
        both = ds.sel(area=area)
        for task, mark, face in zip(BOUND, "os", ("none", "none"), strict=True):
            row, colour = both.sel(dual_task=task), PALETTE[2 * i]
            axes[2].errorbar(row.width * 1.04**i, row.dual_accuracy, row.dual_accuracy_error,
                             ls="none", marker=mark, ms=5, mfc=face, capsize=2, color=colour,
                             label=f"area {area}, {_WORDS[task]}")  # fmt: skip
            axes[2].errorbar(row.width * 1.04**i, row.dual_optimum, fmt="_", ms=12, color=colour)
        axes[2].axhline(float(both.dual_bayes.sel(dual_task="pair")), color=GREY, lw=0.8,
                        ls="--" if i else "-")  # fmt: skip
    axes[1].plot([], [], "_", color="0.3", ms=9, label="exact denoiser")
    axes[1].set_xticks(place, [str(t).replace(": ", ",\n") for t in ds.task.values], fontsize=FONT)
    axes[1].set(ylabel="true caption wins", ylim=(0, 1.03))
    axes[2].plot([], [], "_", color="0.3", ms=9, label="minimum of the loss")
    axes[2].set(xscale="log", xlabel="width d of the embeddings", ylim=(0.4, 1.03))
    axes[2].set_xticks(ds.width.values, [str(d) for d in ds.width.values])
    axes[2].minorticks_off()
    for ax in axes[1:]:
        ax.axhline(0.5, **GUIDE)
        ax.spines[["top", "right"]].set_visible(False)
        legend(ax, columns=2 if ax is axes[2] else 3)
    panels(axes, "scenes", "denoising networks", "dual encoders")
    return figure


_WORDS = {
    "tokens": "caption as tokens", "sum": "caption as one sum", "pair": "colours exchanged",
    "pair: colour": "another colour",
}  # fmt: skip


def _sheet(ax: Axes, ds: xr.Dataset) -> None:
    """Scenes of both areas."""
    pixels = ds.pictures.values  # [area, picture, channel, row, column]
    scale = np.abs(pixels).max()
    shown = np.clip(0.5 + 0.5 * pixels / scale, 0, 1).transpose(0, 1, 3, 4, 2)
    rows = [
        np.concatenate(
            [np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=1.0) for x in row], axis=1
        )
        for row in shown
    ]
    ax.imshow(np.concatenate(rows), interpolation="nearest")
    side = shown.shape[2] + 2
    ax.set_yticks(side * (np.arange(len(rows)) + 0.5) - 0.5,
                  [f"area {a}" for a in ds.area.values], fontsize=FONT)  # fmt: skip
    names = ["bare", "bare", "first,\nemissions"]
    ax.set_xticks(side * (np.arange(len(names)) + 0.5) - 0.5, names, fontsize=FONT)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
