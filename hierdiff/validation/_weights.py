"""Weights compared with the architecture that they are said to fit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from hierdiff.checks import shown, whole
from hierdiff.errors import InvalidParameter

__all__ = ["check_names", "layers_number", "size_number"]

# layers wider or deeper than any network has; larger numbers are slips, and exhaust memory or time
size_number = partial(whole, low=1, high=2**16)
layers_number = partial(whole, low=1, high=100)


def check_names(state_dict: Mapping[str, Tensor], net: nn.Module) -> None:
    """Raise InvalidParameter, naming the first differences, unless names and shapes agree."""
    wanted = net.state_dict()
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InvalidParameter(
                f"the weights hold {shown(value)} as {shown(name)}; give tensors by their names"
            )
    said = []
    for what, names in (
        ("missing", [k for k in wanted if k not in state_dict]),
        ("unknown", [k for k in state_dict if k not in wanted]),
        ("differently shaped", [
            f"{k} {tuple(state_dict[k].shape)} for {tuple(w.shape)}"
            for k, w in wanted.items() if k in state_dict and state_dict[k].shape != w.shape
        ]),
    ):  # fmt: skip
        if names:
            said.append(f"{len(names)} {what}, first {names[0]}")
    if said:
        raise InvalidParameter(
            f"the weights do not fit the architecture ({'; '.join(said)}); give the configuration "
            "they were trained with"
        )
