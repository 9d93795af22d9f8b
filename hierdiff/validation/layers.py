"""Features of a network: forward hooks on named submodules, pooled over axes that are said.

==========  ====================================================================================
pooling     what becomes of the output of a layer
==========  ====================================================================================
"space"     [n, channels, ...]: mean over all axes after the channels (images)
"tokens"    [n, tokens, width]: mean over the tokens (sequences, trees, transformers)
"keep"      everything after the first axis in one row, nothing averaged
(i, j, ..)  mean over these axes, the rest in one row; axis 0 counts samples and stays
==========  ====================================================================================
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from hierdiff.checks import checked, shown
from hierdiff.errors import InvalidParameter

__all__ = ["Pooling", "check_layers", "pooled", "recorded"]

Pooling: TypeAlias = Literal["space", "tokens", "keep"] | tuple[int, ...]


@checked
def check_layers(module: nn.Module, layers: Mapping[str, Pooling]) -> None:
    """Raise InvalidParameter where a layer does not exist or its pooling is unknown."""
    names = dict(module.named_modules())
    for layer, pooling in layers.items():
        if layer not in names:
            near = difflib.get_close_matches(layer, names, n=3, cutoff=0.0)
            raise InvalidParameter(
                f"layer {layer!r} is not in the network; the nearest names are "
                + ", ".join(map(repr, near))
            )
        _known(layer, pooling)


def _known(layer: str, pooling: Any) -> None:
    axes = isinstance(pooling, tuple) and bool(pooling) and all(
        isinstance(axis, int) and not isinstance(axis, bool) and axis >= 1 for axis in pooling
    )  # fmt: skip
    word = isinstance(pooling, str) and pooling in ("space", "tokens", "keep")
    if not word and not (axes and len(set(pooling)) == len(pooling)):
        raise InvalidParameter(
            f"pooling {shown(pooling)} of layer {layer!r} is unknown; use 'space', 'tokens', "
            "'keep' or a tuple of different axes >= 1"
        )


@checked
def pooled(layer: str, output: Any, pooling: Pooling) -> Tensor:
    """One row per sample, averaged in float32 (float64 if the output is).

    Parameters
    ----------
    layer : str
        Name, for messages.
    output : tensor [n, ...]
        What the layer returned.
    pooling : {"space", "tokens", "keep"} or tuple of int
        See the module's table.

    Returns
    -------
    tensor [n, width]

    Raises
    ------
    InvalidParameter
        If the layer returned no tensor, or one that has not the axes.

    Notes
    -----
    Validity: any tensor; the order of the axes that stay is kept.

    Examples
    --------
    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> pooled("x", maps, "space").tolist(), pooled("x", maps, (1, 3)).tolist()
    ([[1.5, 5.5]], [[2.5, 4.5]])
    """
    _known(layer, pooling)
    if not isinstance(output, Tensor):
        raise InvalidParameter(
            f"layer {layer!r} returns a {type(output).__name__}, no tensor; name a submodule of it "
            "that returns one"
        )
    wanted = {"space": 3, "tokens": 3}.get(str(pooling), 2)
    axes = pooling if isinstance(pooling, tuple) else ()
    if pooling == "space":
        axes = tuple(range(2, output.ndim))
    elif pooling == "tokens":
        axes = (1,)
    short = output.ndim < max(wanted, *(axis + 1 for axis in axes), 0)
    if short or (pooling == "tokens" and output.ndim != 3):
        raise InvalidParameter(
            f"layer {layer!r} returns {tuple(output.shape)}, which pooling {pooling!r} does not "
            "fit; give 'space' for [n, channels, ...], 'tokens' for [n, tokens, width], 'keep', or "
            "the axes to average"
        )
    exact = output if output.dtype == torch.float64 else output.float()
    return (exact.mean(dim=axes) if axes else exact).flatten(1)


@contextlib.contextmanager
@checked
def recorded(
    module: nn.Module, layers: Mapping[str, Pooling]
) -> Iterator[dict[str, Tensor]]:  # fmt: skip
    """Collect the pooled outputs of one forward pass; the hooks are gone afterwards.

    Raises InvalidParameter where a layer was not called, or more than once.
    """
    check_layers(module, layers)
    found: dict[str, Tensor] = {}

    def hook(layer: str, pooling: Pooling) -> Any:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            if layer in found:
                raise InvalidParameter(
                    f"layer {layer!r} is called more than once per pass, so its output is not one "
                    "thing; name a layer that is called once"
                )
            found[layer] = pooled(layer, output, pooling)

        return keep

    parts = dict(module.named_modules())
    handles = [
        parts[layer].register_forward_hook(hook(layer, pooling))
        for layer, pooling in layers.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer not in found:
            inner = [f"{layer}.{name}" for name, _ in parts[layer].named_children()]
            raise InvalidParameter(
                f"layer {layer!r} was not called; it may be a container, so name one of "
                + (", ".join(map(repr, inner[:3])) or "the layers that run")
            )
