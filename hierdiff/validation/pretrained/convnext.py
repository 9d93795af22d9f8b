"""ConvNeXt-Base, the reference classifier of arXiv 2402.16991, from torchvision's weights.

The architecture is that of transformers; torchvision's names are translated, with its epsilon of
1e-6 in every normalisation.  The weights (convnext_base-6075fbad.pth, 338 MB, BSD-3-Clause) are not
downloaded by this module: give the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hierdiff._optional import import_optional
from hierdiff.checks import checked
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.validation._checks import check_names
from hierdiff.validation.pretrained.loading import read_weights
from hierdiff.validation.reference_layers import ReferenceClassifier

__all__ = ["BASE", "convnext", "convnext_names", "from_torchvision"]

BASE = {"depths": (3, 3, 27, 3), "hidden_sizes": (128, 256, 512, 1024), "num_labels": 1000}
"""Sizes of ConvNeXt-Base: 88,591,464 parameters."""
_SHA = "6075fbad"  # the first digits of the hash, which torchvision puts into the file's name
_BLOCK = {"0": "dwconv", "2": "layernorm", "3": "pwconv1", "5": "pwconv2"}


@checked
def convnext_names(name: str) -> str:
    """The name that transformers gives to a weight of torchvision's ConvNeXt.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        If the name is none of a ConvNeXt.

    Notes
    -----
    Validity: tiny to large; all 344 names of the base model.

    Examples
    --------
    >>> convnext_names("features.1.2.block.3.weight")
    'convnext.encoder.stages.0.layers.2.pwconv1.weight'
    """
    head = {
        "features.0.0.": "convnext.embeddings.patch_embeddings.",
        "features.0.1.": "convnext.embeddings.layernorm.",
        "classifier.0.": "convnext.layernorm.", "classifier.2.": "classifier.",
    }  # fmt: skip
    for old, new in head.items():
        if name.startswith(old):
            return new + name[len(old) :]
    found = re.fullmatch(r"features\.(\d+)\.(\d+)\.(.+)", name)
    if found is None:
        raise InvalidParameter(f"{name} is no weight of a ConvNeXt of torchvision")
    place, j, rest = int(found[1]), found[2], found[3]
    if place % 2 == 0:  # a normalisation and a convolution that halves the image
        return f"convnext.encoder.stages.{place // 2}.downsampling_layer.{j}.{rest}"
    stage = f"convnext.encoder.stages.{place // 2}.layers.{j}."
    if rest == "layer_scale":
        return stage + "layer_scale_parameter"
    block = re.fullmatch(r"block\.(\d)\.(weight|bias)", rest)
    if block is None or block[1] not in _BLOCK:
        raise InvalidParameter(f"{name} is no weight of a ConvNeXt of torchvision")
    return f"{stage}{_BLOCK[block[1]]}.{block[2]}"


@checked
def from_torchvision(
    weights: Mapping[str, Tensor], sizes: Mapping[str, Any] | None = None
) -> ReferenceClassifier:
    """A ConvNeXt with torchvision's weights as a reference classifier.

    Parameters
    ----------
    weights : mapping of str to tensor
        A state dict with torchvision's names.
    sizes : mapping, optional
        Arguments of transformers' ConvNextConfig; default those of the base model.

    Returns
    -------
    ReferenceClassifier
        Its layers are the stem, every block, and those between the stages.

    Raises
    ------
    InvalidParameter
        If names or shapes differ; the first that do are named.
    MissingPackage
        Without transformers.

    Notes
    -----
    Validity: the map of names is tested on random weights; the published file has not been loaded
    here.
    """
    library = import_optional("transformers", "transformers", "ConvNeXt")
    config = library.ConvNextConfig(**dict(sizes or BASE), layer_norm_eps=1e-6)
    module = library.ConvNextForImageClassification(config)
    given = {}
    for name, value in weights.items():
        new = convnext_names(name)
        given[new] = value.reshape(-1) if new.endswith("layer_scale_parameter") else value
    check_names(given, module)
    module.load_state_dict(given)
    layers = ["convnext.embeddings"]
    for i, depth in enumerate(config.depths):
        if i:
            layers.append(f"convnext.encoder.stages.{i}.downsampling_layer.1")
        layers += [f"convnext.encoder.stages.{i}.layers.{j}" for j in range(depth)]
    return ReferenceClassifier(
        module.eval(), tuple(layers), mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225), size=224, resize=232, batch=32,
    )  # fmt: skip


@checked
def convnext(path: str | Path, *, verify: bool = True) -> ReferenceClassifier:
    """ConvNeXt-Base from a file of torchvision.

    Parameters
    ----------
    path : path-like
        convnext_base-6075fbad.pth, from download.pytorch.org/models.
    verify : bool
        Whether the file must have the hash in its name.

    Returns
    -------
    ReferenceClassifier

    Raises
    ------
    InvalidParameter
        If there is no such file.
    DamagedFile
        If the hash is another.

    Notes
    -----
    Validity: top-1 accuracy 84.062 % as published by torchvision (IMAGENET1K_V1).
    """
    place = Path(path)
    if not place.is_file():
        raise InvalidParameter(
            f"classifier = {place} is no file; download convnext_base-6075fbad.pth from "
            "download.pytorch.org/models"
        )
    if verify:
        digest = hashlib.sha256()
        with place.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        if not digest.hexdigest().startswith(_SHA):
            raise DamagedFile(
                f"{place} has SHA-256 {digest.hexdigest()[:8]}..., not {_SHA}...; download it again"
            )
    return from_torchvision(read_weights(place))
