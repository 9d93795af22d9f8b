r"""Text prompts as classes: templates, several prompts per class, a CSV of a data set, and CLIP.

A text network becomes a conditional model whose labels are prompts (:class:`PromptedNetwork`).
The score of a class is the mean error over its prompts,

.. math:: \hat y = \arg\min_c \frac{1}{|P_c|} \sum_{p \in P_c} E_p(x_0),

and CLIP, the comparator, takes the class whose mean text direction is nearest to the image.  Its
images pass through the same size as the network's first, since detail that one of two classifiers
never sees decides nothing.

====================  ==========================================================================
CSV                   columns ``classname``, ``classidx``, and optionally ``prompt``; a row per
                      prompt, or per class to which the templates are applied
template              text with ``{}`` where the name of the class goes
====================  ==========================================================================

None of this has been run with published weights here: the tests have small random networks in the
published layouts.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hierdiff._files import one_line
from hierdiff._lazy import import_optional
from hierdiff.checks import check_fields, checked, integers, listed, reals, text, unchecked
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.pretrained.latent_diffusion import pack_text

__all__ = [
    "ClipClassifier",
    "PromptedNetwork",
    "Prompts",
    "class_scores",
    "clip_classifier",
    "encode_prompts",
    "read_prompts",
]

Array = NDArray[Any]
_COLUMNS = ("classname", "classidx")
# means and deviations of CLIP's images, as published with it
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Prompts:
    """Prompts with the class of each.

    Attributes
    ----------
    texts
        Prompts [P].
    classes
        Class of each prompt [P], every class from 0 on has one at least.
    names
        Names of the classes [K].

    Examples
    --------
    >>> found = Prompts.of(("cat", "dog"), ("a photo of a {}.", "a drawing of a {}."))
    >>> found.texts[1], found.classes
    ('a drawing of a cat.', (0, 0, 1, 1))
    """

    texts: tuple[str, ...]
    classes: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        y = integers("classes", self.classes, 0, len(self.names) - 1, shape=(len(self.texts),))
        missing = sorted(set(range(len(self.names))) - set(y.tolist()))
        if missing or len(self.names) < 2:
            what = f"class {missing[0]} has no prompt" if missing else "there is one class"
            raise InvalidParameter(f"prompts are incomplete: {what}; give one or more per class")

    @classmethod
    @checked
    def of(
        cls, names: Sequence[str], templates: Sequence[str] = ("a photo of a {}.",)
    ) -> Prompts:  # fmt: skip
        """Every template with every name.

        Raises
        ------
        InvalidParameter
            For a template without the place of the name.
        """
        words = listed("names", names, text, distinct=False)
        forms = listed("templates", templates, text)
        for form in forms:
            if form.count("{}") != 1:
                raise InvalidParameter(
                    f"template {form!r} must have one place {{}} for the name, as in 'a photo of a "
                    "{}.'"
                )
        texts = tuple(form.replace("{}", name) for name in words for form in forms)
        classes = tuple(k for k in range(len(words)) for _ in forms)
        return cls(texts, classes, words)


@checked
def read_prompts(path: Path, templates: Sequence[str] = ("a photo of a {}.",)) -> Prompts:
    """Prompts of a data set from a CSV file.

    Parameters
    ----------
    path : Path
        Columns ``classname`` and ``classidx``, and optionally ``prompt``.
    templates : sequence of str
        Applied to the names, where there is no column ``prompt``.

    Returns
    -------
    Prompts

    Raises
    ------
    InvalidParameter
        If a column is missing, a class has no row, or two names.
    DamagedFile
        If it is no text.

    Notes
    -----
    Validity: UTF-8, commas, a first line with the names of the columns.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [str(c).strip() for c in reader.fieldnames or ()]
            rows = [{str(k).strip(): v for k, v in row.items()} for row in reader]
    except OSError as error:
        raise InvalidParameter(
            f"prompts = {path} cannot be read ({error.strerror}); give a CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFile(
            f"{path} is no CSV file ({one_line(error)[:80]}); save it again"
        ) from None
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise InvalidParameter(
            f"{path} has the columns {', '.join(columns) or 'none'} and lacks "
            f"{' and '.join(missing)}; give classname, classidx and optionally prompt"
        )
    names: dict[int, str] = {}
    texts: list[tuple[int, str]] = []
    for number, row in enumerate(rows, 2):
        word, name = str(row["classidx"]).strip(), str(row["classname"] or "").strip()
        if not word.isdigit() or not name:
            raise InvalidParameter(
                f"line {number} of {path} has class {word!r} of name {name!r}; give a number from "
                "0 and a name"
            )
        if names.setdefault(int(word), name) != name:
            raise InvalidParameter(
                f"class {word} in {path} is {names[int(word)]!r} and {name!r}; give one name"
            )
        texts.append((int(word), str(row.get("prompt") or "").strip()))
    if not names:
        raise InvalidParameter(f"{path} has no rows below its head; give a row per prompt or class")
    if sorted(names) != list(range(len(names))):
        raise InvalidParameter(
            f"{path} has the classes {sorted(names)[:5]} ...; give all from 0 to the last"
        )
    every = tuple(names[k] for k in range(len(names)))
    if "prompt" not in columns:
        return Prompts.of(every, templates)
    texts.sort(key=lambda pair: pair[0])
    if any(not words for _, words in texts):
        raise InvalidParameter(f"{path} has an empty prompt; fill it, or leave the column out")
    return Prompts(tuple(w for _, w in texts), tuple(k for k, _ in texts), every)


@checked(scores=unchecked)
def class_scores(scores: ArrayLike, prompts: Prompts) -> Array:
    """Mean score of the prompts of every class, [n, K] from [n, P].

    Raises
    ------
    InvalidParameter
        If there is not one score per prompt.

    Examples
    --------
    >>> class_scores([[1.0, 3.0, 0.5]], Prompts(("a", "b", "c"), (0, 0, 1), ("x", "y"))).tolist()
    [[2.0, 0.5]]
    """
    x = reals("scores", scores, ndim=2, infinite=True)
    if x.shape[1] != len(prompts.texts):
        raise InvalidParameter(
            f"scores have shape {x.shape} for {len(prompts.texts)} prompts; give [n, prompts]"
        )
    y = np.array(prompts.classes)
    return np.stack([x[:, y == k].mean(axis=1) for k in range(len(prompts.names))], axis=1)


@checked
def encode_prompts(folder: Path, texts: Sequence[str], *, device: str = "cpu") -> Array:
    """Text embeddings of a pipeline's own encoder, as its network takes them.

    Parameters
    ----------
    folder : Path
        A pipeline that ``save_pretrained`` wrote: ``tokenizer`` and ``text_encoder``, and for
        Stable Diffusion 3 also ``tokenizer_2`` and ``text_encoder_2``.
    texts : sequence of str
    device : str

    Returns
    -------
    array [n, tokens, width]
        For Stable Diffusion 3 packed with the summaries (:func:`pack_text`); its third encoder is
        left out, as its authors allow.

    Raises
    ------
    InvalidParameter
        If an encoder is missing.
    MissingPackage
        Without transformers.

    Notes
    -----
    Validity: prompts are cut at the length of the tokenizer; not exercised with published weights.
    """
    words = list(listed("texts", texts, text, distinct=False))
    import_optional("transformers", "transformers", "text prompts")
    place = Path(folder)
    second = (place / "text_encoder_2").is_dir()
    kind = "CLIPTextModelWithProjection" if second else "CLIPTextModel"
    first = _encoded(place, "", kind, words, device, second)
    if not second:
        return first[0]
    other = _encoded(place, "_2", "CLIPTextModelWithProjection", words, device, True)
    tokens = np.concatenate([first[0], other[0]], axis=2)
    pooled = np.concatenate([first[1], other[1]], axis=1)
    config = place / "transformer" / "config.json"
    wide = _width(config)
    if wide > tokens.shape[2]:  # filled up to the width of the third encoder
        tokens = np.pad(tokens, ((0, 0), (0, 0), (0, wide - tokens.shape[2])))
    return pack_text(tokens, pooled)


def _width(config: Path) -> int:
    import json

    try:
        return int(json.loads(config.read_text()).get("joint_attention_dim", 0))
    except (OSError, ValueError):
        return 0


def _encoded(
    folder: Path, suffix: str, kind: str, texts: list[str], device: str, deep: bool
) -> tuple[Array, Array]:
    """Embeddings of all tokens, and of the whole text."""
    library: Any = import_optional("transformers", "transformers", "text prompts")
    parts = [folder / f"{word}{suffix}" for word in ("tokenizer", "text_encoder")]
    for part in parts:
        if not part.is_dir():
            raise InvalidParameter(
                f"model = {folder} has no {part.name}; save the whole pipeline, or give embeddings"
            )
    try:
        tokenizer = library.CLIPTokenizer.from_pretrained(parts[0], local_files_only=True)
        encoder = getattr(library, kind).from_pretrained(
            parts[1], local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # of the library's many own types
        raise DamagedFile(
            f"{folder} has text encoders that cannot be read ({type(error).__name__}: "
            f"{one_line(error)[:80]}); save it again"
        ) from None
    encoder = encoder.to(device).eval()
    found, pooled = [], []
    for start in range(0, len(texts), 32):
        ids = tokenizer(
            texts[start : start + 32], padding="max_length", truncation=True,
            max_length=tokenizer.model_max_length, return_tensors="pt",
        ).input_ids.to(device)  # fmt: skip
        with torch.inference_mode():
            out = encoder(ids, output_hidden_states=deep)
        # the third version reads the layer before the last, the others the last
        found.append((out.hidden_states[-2] if deep else out.last_hidden_state).float().cpu())
        whole = out.text_embeds if deep else out.pooler_output
        pooled.append(whole.float().cpu())
    return torch.cat(found).numpy(), torch.cat(pooled).numpy()


@dataclass(frozen=True, eq=False)
class PromptedNetwork:
    """A text network whose labels are prompts.

    Parameters
    ----------
    model : NetworkModel
        Conditioned on text embeddings.
    embeddings : array [P, tokens, width]
        Of the prompts.
    null : array [1, tokens, width], optional
        That stands for no text.

    Notes
    -----
    Validity: that of the network; ``given(p)`` takes one prompt, or one per datum.
    """

    model: NetworkModel
    embeddings: Array
    null: Array | None = None
    condition: Any = field(default=None)

    source = "network"

    def __post_init__(self) -> None:
        check_fields(self, null=unchecked, condition=unchecked)
        if self.embeddings.ndim != 3 or not len(self.embeddings):
            raise InvalidParameter(
                f"embeddings have shape {self.embeddings.shape}; give [prompts, tokens, width]"
            )

    @property
    def noise(self) -> Any:
        """The forward process."""
        return self.model.noise

    @property
    def noise_conditioning(self) -> Any:
        """The time that the network is given."""
        return self.model.noise_conditioning

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of a datum."""
        return self.model.shape

    @property
    def classes(self) -> int:
        """Number of prompts."""
        return len(self.embeddings)

    @checked(label=unchecked)
    def given(self, label: Any) -> PromptedNetwork:
        """The network under one prompt, or one per datum; None is no text.

        Raises
        ------
        InvalidParameter
            For a prompt that is not there.
        """
        if label is None:
            if self.null is None:
                raise InvalidParameter("there is no embedding of the empty text; give null")
            return replace(self, condition=self.null)
        rows = integers("label", label, 0, self.classes - 1)
        return replace(self, condition=self.embeddings[np.atleast_1d(rows)])

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] under the prompt."""
        return self._conditioned().denoise(x_t, t)

    def sample(self, x_t: Array, t: ArrayLike, seed: Any) -> Array:
        """A draw of x0 given x_t under the prompt."""
        return self._conditioned().sample(x_t, t, seed)

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Layers under the prompt."""
        return self._conditioned().features(x_t, t)

    def _conditioned(self) -> NetworkModel:
        if self.condition is None:
            raise InvalidParameter("the network is conditioned on text; take given(prompt) first")
        return replace(self.model, condition=np.asarray(self.condition, np.float32))


# -------------------------------------------------------------------------------------------- CLIP


@dataclass(frozen=True, eq=False)
class ClipClassifier:
    """CLIP as a zero-shot classifier of images.

    Attributes
    ----------
    module
        CLIPModel of transformers.
    directions
        [K, width] mean text direction of every class, of length one.
    size
        Pixels on a side that it sees.
    """

    module: nn.Module
    directions: Array
    size: int

    def __post_init__(self) -> None:
        check_fields(self)

    @checked
    def scores(self, images: Array) -> Array:
        """Minus the cosine of image and class, [n, K], so that the least is the answer.

        Raises
        ------
        InvalidParameter
            For images that are not [n, 3, h, w].
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InvalidParameter(f"images have shape {images.shape}; give [n, 3, h, w]")
        parts = []
        device = next(self.module.parameters()).device
        mean, deviation = (
            torch.tensor(x).reshape(1, 3, 1, 1) for x in (_CLIP_MEAN, _CLIP_DEVIATION)
        )
        clip: Any = self.module
        for start in range(0, len(images), 32):
            x = torch.from_numpy(np.asarray(images[start : start + 32], np.float32))
            x = nn.functional.interpolate(
                x, size=(self.size, self.size), mode="bicubic", antialias=True
            )
            seen = ((x.clamp(-1, 1) + 1) / 2 - mean) / deviation
            with torch.inference_mode():
                found = _projected(clip.get_image_features(pixel_values=seen.to(device)))
            parts.append(_unit(found.float().cpu().numpy()))
        return -np.concatenate(parts) @ self.directions.T


def _projected(found: Any) -> torch.Tensor:
    """Projected features, which newer versions of transformers return inside a record."""
    out: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
    return out


def _unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


@checked
def clip_classifier(folder: Path, prompts: Prompts, *, device: str = "cpu") -> ClipClassifier:
    """CLIP of a folder with the prompts of classes.

    Parameters
    ----------
    folder : Path
        What ``save_pretrained`` of transformers wrote: the model and its tokenizer.
    prompts : Prompts
        Directions of the prompts of a class are averaged, as published.
    device : str

    Returns
    -------
    ClipClassifier

    Raises
    ------
    DamagedFile
        If the folder cannot be read.
    MissingPackage
        Without transformers.

    Notes
    -----
    Validity: not exercised with published weights.
    """
    library: Any = import_optional("transformers", "transformers", "CLIP")
    try:
        module = library.CLIPModel.from_pretrained(
            Path(folder), local_files_only=True, use_safetensors=True
        )
        tokenizer = library.CLIPTokenizer.from_pretrained(Path(folder), local_files_only=True)
    except Exception as error:  # of the library's many own types
        raise DamagedFile(
            f"{folder} is no CLIP of transformers ({type(error).__name__}: "
            f"{one_line(error)[:80]}); give the folder that save_pretrained wrote"
        ) from None
    module = module.to(device).eval()
    found = []
    for start in range(0, len(prompts.texts), 32):
        given = tokenizer(
            list(prompts.texts[start : start + 32]), padding=True, truncation=True,
            max_length=module.config.text_config.max_position_embeddings, return_tensors="pt",
        ).to(device)  # fmt: skip
        with torch.inference_mode():
            out = module.get_text_features(
                input_ids=given.input_ids, attention_mask=given.attention_mask
            )
        found.append(_unit(_projected(out).float().cpu().numpy()))
    every = class_scores(np.concatenate(found).T, prompts).T
    return ClipClassifier(module, _unit(every), int(module.config.vision_config.image_size))
