"""What networks do: any torch denoiser as a model, public checkpoints, the same experiments.

The names below are imported when they are first used, so that the catalogue can be read, and the
package imported, without torch.  Install it with ``pip install 'hierdiff[networks]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hierdiff._optional import import_optional
from hierdiff.validation.pretrained.catalogue import CATALOGUE
from hierdiff.validation.pretrained.download import print_models
from hierdiff.validation.pretrained.loading import pretrained

if TYPE_CHECKING:
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.diffusion.samplers import DDIM, Ancestral
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule
    from hierdiff.validation.execution import Execution
    from hierdiff.validation.protocol import forward_backward

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
    "DDIM": "diffusion.samplers",
    "Ancestral": "diffusion.samplers",
    "DiscreteSchedule": "diffusion.schedules",
    "Execution": "execution",
    "NetworkModel": "adapter",
    "Parameterisation": "diffusion.parameterisation",
    "forward_backward": "protocol",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_optional("torch", "'hierdiff[networks]'", f"hierdiff.validation.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
