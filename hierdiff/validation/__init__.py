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
    from hierdiff.sims.metrics.forward_backward import forward_backward
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.diffusion.samplers import DDIM, Ancestral
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule
    from hierdiff.validation.execution import Execution

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
    "DDIM": "hierdiff.validation.diffusion.samplers",
    "Ancestral": "hierdiff.validation.diffusion.samplers",
    "DiscreteSchedule": "hierdiff.validation.diffusion.schedules",
    "Execution": "hierdiff.validation.execution",
    "NetworkModel": "hierdiff.validation.adapter",
    "Parameterisation": "hierdiff.validation.diffusion.parameterisation",
    "forward_backward": "hierdiff.sims.metrics.forward_backward",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_optional("torch", "'hierdiff[networks]'", f"hierdiff.validation.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)
