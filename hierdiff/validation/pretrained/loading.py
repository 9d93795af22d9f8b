"""Public checkpoints as models: found, verified, loaded without executing what is in them.

The order is size, SHA-256, a reader that builds tensors and nothing else (safetensors, or torch's
with weights_only=True), then names and shapes against the architecture.  torch is imported by the
call, so that the catalogue can be read without it.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hierdiff._lazy import import_optional
from hierdiff.checks import checked
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.validation.pretrained.catalogue import Checkpoint, RemoteFile, checkpoint
from hierdiff.validation.pretrained.download import fetch, folder_of, verify

if TYPE_CHECKING:
    from hierdiff.validation.adapter import NetworkModel, Pooling
    from hierdiff.validation.diffusion.samplers import Sampler
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule
    from hierdiff.validation.execution import Execution

__all__ = ["as_model", "pretrained", "read_weights"]


@checked
def pretrained(
    name: str,
    *,
    layers: Mapping[str, Pooling] | None = None,
    accept_licence: bool = False,
    offline: bool | None = None,
    revision: str | None = None,
    file: str | os.PathLike[str] | None = None,
    sampler: Sampler | None = None,
    condition: Any = None,
    execution: Execution | None = None,
) -> NetworkModel:
    """A published network as a diffusion model.

    Parameters
    ----------
    name : str
        As ``hierdiff models`` lists it.
    layers : mapping of str to pooling, optional
        Submodules whose outputs are features.
    accept_licence : bool
        That you accept the terms, where the catalogue asks for it.
    offline : bool, optional
        Never use the network; default whether HIERDIFF_OFFLINE is set to 1.
    revision : str, optional
        Commit of a hub's repository to take instead of the catalogue's.
    file : path, optional
        Weights that you have already; verified like a download where a hash is known.
    sampler : Sampler, optional
        Default: ancestral, 250 respaced steps, learned variance where there is one, x0 clipped to
        [-1, 1] for pixels.
    condition : int or array, optional
        Label of all samples, or one each.
    execution : Execution, optional
        Device, batches (default 16), precision.

    Returns
    -------
    NetworkModel
        With ``GaussianNoise`` of the network's schedule; "linear" where it has another.

    Raises
    ------
    InvalidParameter
        For an unknown name, or terms that were not accepted.
    DamagedFile
        For a wrong size, hash or format.
    Unreachable
        If the file cannot be got.
    MissingPackage
        If torch, or for DiT and Stable Diffusion diffusers, is not installed.

    Notes
    -----
    Validity: see ``exercised`` in the catalogue for how far each was tried.

    Examples
    --------
    >>> pretrained("dit-xl-2-256")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: dit-xl-2-256 is under CC BY-NC 4.0; read \
https://github.com/facebookresearch/DiT/blob/main/LICENSE.txt and pass accept_licence=True
    """
    entry = checkpoint(name)
    if entry.acceptance and not accept_licence:
        raise InvalidParameter(
            f"{name} is under {entry.licence}; read {entry.licence_url} and pass "
            "accept_licence=True"
        )
    import_optional("torch", "'hierdiff[networks]'", "a network")
    if entry.loader != "adm":
        import_optional("diffusers", "diffusers", f"model {name}")
    off = os.environ.get("HIERDIFF_OFFLINE", "") == "1" if offline is None else offline
    path = _located(entry, file, revision, off)
    config = None
    if entry.config is not None:
        config = _read_config(fetch(_at(entry.config, revision), _folder(entry, revision),
                                    offline=off))  # fmt: skip
    model = as_model(entry, read_weights(path), config=config, execution=execution)
    changes: dict[str, Any] = {"condition": condition, "layers": dict(layers or {})}
    return replace(model, **changes, sampler=sampler or model.sampler)


@checked
def as_model(
    entry: Checkpoint,
    weights: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None = None,
    execution: Execution | None = None,
) -> NetworkModel:
    """Weights in the architecture of a catalogue entry.

    Parameters
    ----------
    entry : Checkpoint
        Says the architecture, what is predicted, and the schedule.
    weights : mapping of str to tensor
        By their published names.
    config : mapping, optional
        Architecture of a diffusers network, as in its config.json.
    execution : Execution, optional
        Device, batches (default 16), precision.

    Returns
    -------
    NetworkModel

    Raises
    ------
    InvalidParameter
        If names or shapes differ.

    Notes
    -----
    Validity: any weights of the architecture, random ones too.
    """
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.diffusion.samplers import Ancestral
    from hierdiff.validation.execution import Execution
    from hierdiff.validation.networks import adm
    from hierdiff.validation.pretrained.latent_diffusion import diffusers_network

    schedule = _schedule(entry)
    if entry.loader == "adm":
        architecture = adm.ADM_64_CONDITIONAL if entry.condition else adm.ADM_256
        module: Any = adm.from_state_dict(weights, architecture)
    else:
        module = diffusers_network(entry.loader, config or {}, weights)
    return NetworkModel(
        module,
        GaussianNoise(schedule="cosine" if entry.schedule == "cosine" else "linear"),
        Parameterisation(entry.output, learned_variance=entry.learned_variance),
        noise_conditioning=schedule,
        sampler=Ancestral(
            schedule.respaced("250"),
            variance="learned" if entry.learned_variance else "posterior",
            clip=1.0 if entry.latent_scale is None else None,
        ),
        # the label after the classes; a text network has a null embedding of its own encoder
        null_condition=(config or {}).get("num_embeds_ada_norm") if entry.loader == "dit" else None,
        execution=execution or Execution(batch_size=16),
    )


@checked
def read_weights(path: Path) -> dict[str, Any]:
    """Tensors of a file by name, on the processor; nothing in the file is executed.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a file of torch.save.

    Returns
    -------
    dict of str to tensor

    Raises
    ------
    DamagedFile
        If it holds something else, or code.
    MissingPackage
        If safetensors is needed and not installed.

    Notes
    -----
    Validity: torch's reader with weights_only=True, or safetensors'.
    """
    import torch

    path = Path(path)
    # files of the first format of torch.save are no zip archives, and cannot be mapped
    reader, zipped = None, zipfile.is_zipfile(path)
    if path.suffix == ".safetensors":
        reader = import_optional("safetensors.torch", "safetensors", f"the file {path.name}")
    try:
        found = (
            reader.load_file(path)
            if reader
            else torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        )
    # damage surfaces in zipfile, pickle, torch or safetensors, each with its own type
    except Exception as error:
        raise DamagedFile(
            f"{path} cannot be read as weights ({type(error).__name__}); it is damaged or holds "
            "code, so delete it and download it again"
        ) from error
    good = isinstance(found, dict) and all(isinstance(w, torch.Tensor) for w in found.values())
    if not good:
        raise DamagedFile(
            f"{path} holds no table of tensors; give the file of the weights alone, as published"
        )
    return dict(found)


def _schedule(entry: Checkpoint) -> DiscreteSchedule:
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule

    makers = {
        "linear": DiscreteSchedule.linear,
        "cosine": DiscreteSchedule.cosine,
        "scaled_linear": DiscreteSchedule.scaled_linear,
    }
    return makers[entry.schedule]()


def _located(
    entry: Checkpoint, file: str | os.PathLike[str] | None, revision: str | None, offline: bool
) -> Path:
    """The weights, verified: the user's file, or the cache's."""
    if file is None:
        return fetch(_at(entry.weights, revision), _folder(entry, revision), offline=offline)
    path = Path(file)
    if not path.is_file():
        raise InvalidParameter(f"file = {path} does not exist; give the path of the weights")
    if entry.weights.sha256 is not None:
        verify(path, entry.weights)
    return path


def _folder(entry: Checkpoint, revision: str | None) -> Path:
    folder = folder_of(entry)
    return folder / revision if revision else folder


def _at(file: RemoteFile, revision: str | None) -> RemoteFile:
    """The file at another commit, whose hash and size are then not known."""
    if revision is None:
        return file
    found = re.search("/resolve/[0-9a-z]+/", file.url)
    if found is None or not revision.isalnum():
        raise InvalidParameter(
            f"revision = {revision!r} does not apply to {file.url}; leave it out, or give the hash "
            "of a commit for a model of a hub"
        )
    return RemoteFile(file.url.replace(found[0], f"/resolve/{revision}/"), file.name)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DamagedFile(f"{path} is no JSON table; delete it and run again")
    return found
