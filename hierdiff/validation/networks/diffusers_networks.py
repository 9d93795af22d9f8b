"""Networks of diffusers, called as this package calls networks; diffusers is optional."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hierdiff._files import one_line
from hierdiff._optional import import_optional
from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.validation._checks import check_names, one_per_row, tensor

__all__ = ["DiffusersNetwork", "diffusers_network"]


class DiffusersNetwork(nn.Module):
    """A DiT or a conditional U-Net of diffusers; its layers are named ``inner. ...``.

    Parameters
    ----------
    inner : nn.Module
        DiTTransformer2DModel or UNet2DConditionModel.
    kind : {"dit", "unet"}
        Whether the condition is a class, or an embedding of text [n, tokens, width].

    Notes
    -----
    Validity: diffusers 0.42.
    """

    @checked
    def __init__(self, inner: nn.Module, kind: Literal["dit", "unet"]) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None = None) -> Tensor:
        """Noisy latents and times to the prediction."""
        tensor("x", x, None, None, None, None)
        one_per_row("time", time, x)
        if condition is None:
            raise InvalidParameter(
                "the network is conditional; give condition=1000 (no class) for DiT, or an array "
                "of text embeddings [1 or n, 77, 768] for Stable Diffusion"
            )
        tensor("condition", condition)
        if self.kind == "dit":
            answer = self.inner(x, timestep=time, class_labels=condition, return_dict=False)
        else:
            answer = self.inner(x, time, encoder_hidden_states=condition, return_dict=False)
        out: Tensor = answer[0]
        return out


@checked
def diffusers_network(
    kind: Literal["dit", "unet"], config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> DiffusersNetwork:
    """Network of a configuration with given weights.

    Parameters
    ----------
    kind : {"dit", "unet"}
        Which class of diffusers.
    config : mapping
        As in its config.json.
    weights : mapping of str to tensor
        By diffusers' names.

    Returns
    -------
    DiffusersNetwork

    Raises
    ------
    MissingPackage
        If diffusers is not installed.
    InvalidParameter
        If names or shapes differ; the first are named.

    Notes
    -----
    Validity: diffusers 0.42.
    """
    library = import_optional("diffusers", "diffusers", "this network")
    name = {"dit": "DiTTransformer2DModel", "unet": "UNet2DConditionModel"}[kind]
    kind_of = getattr(library, name)
    # without memory first: a configuration that is not that of the weights may be a larger network
    with torch.device("meta"):
        check_names(weights, _made(kind_of, config))
    inner = _made(kind_of, config)
    inner.load_state_dict(dict(weights), strict=True)
    return DiffusersNetwork(inner, kind).eval()


def _made(kind: Any, config: Mapping[str, Any]) -> nn.Module:
    try:
        found: nn.Module = kind.from_config(dict(config))
    except Exception as error:  # of options that the class does not have, or of the wrong kind
        said = one_line(error)[:100]
        raise InvalidParameter(
            f"config cannot be a {kind.__name__} ({type(error).__name__}: {said}); give the table "
            "of its config.json"
        ) from None
    return found
