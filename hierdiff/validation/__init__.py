"""What networks do: any torch denoiser as a model, public checkpoints, the same experiments.

The names below are imported when they are first used, so that the catalogue can be read, and the
package imported, without torch.  Install it with ``pip install 'hierdiff[networks]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hierdiff.validation._optional import need
from hierdiff.validation.catalogue import CATALOGUE
from hierdiff.validation.models import print_models
from hierdiff.validation.pretrained import pretrained

if TYPE_CHECKING:
    from hierdiff.validation.execution import Execution
    from hierdiff.validation.network import NetworkModel
    from hierdiff.validation.parameterisation import Parameterisation
    from hierdiff.validation.protocol import forward_backward
    from hierdiff.validation.samplers import DDIM, Ancestral
    from hierdiff.validation.schedules import DiscreteSchedule

__all__ = [
    "CATALOGUE",
    "DDIM",
    "Ancestral",
    "DiscreteSchedule",
    "Execution",
    "NetworkModel",
    "Parameterisation",
    "forward_backward",
    "pretrained",
    "print_models",
]

_HOMES = {
    "DDIM": "samplers",
    "Ancestral": "samplers",
    "DiscreteSchedule": "schedules",
    "Execution": "execution",
    "NetworkModel": "network",
    "Parameterisation": "parameterisation",
    "forward_backward": "protocol",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    need("torch", "'hierdiff[networks]'", f"hierdiff.validation.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
