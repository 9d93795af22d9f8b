"""Networks: any torch module as a diffusion model, public checkpoints, the same experiments.

The names below are imported when they are first used, so that the catalogue can be read, and the
package imported, without torch.  Install it with ``pip install 'hierdiff[networks]'``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hierdiff._lazy import import_optional
from hierdiff.validation.networks import NETWORKS, network
from hierdiff.validation.pretrained.catalogue import CATALOGUE
from hierdiff.validation.pretrained.download import print_models
from hierdiff.validation.pretrained.loading import pretrained

# Threads of torch that wait for others spin, some milliseconds by default.  On a processor that is
# busy otherwise a step of a small network then took a hundred times as long.  With ten thousand
# turns, a thirtieth of the default, a U-Net's step is as fast on an idle processor; a thousand made
# it 1.7 times as slow where waking a thread is expensive.  GNU's OpenMP reads this when torch is
# first imported.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from hierdiff.sims.metrics.forward_backward import forward_backward
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.diffusion.samplers import DDIM, Ancestral
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule
    from hierdiff.validation.execution import Execution
    from hierdiff.validation.pretrained.own_models import open_model, own_model
else:
    from hierdiff._lazy import lazy

    _get, __dir__ = lazy(__name__, __file__)

    def __getattr__(name: str) -> Any:
        try:
            return _get(name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
        # torch is missing: one line with the remedy
        return import_optional("torch", "'hierdiff[networks]'", f"hierdiff.validation.{name}")


__all__ = [
    "CATALOGUE",
    "DDIM",
    "NETWORKS",
    "Ancestral",
    "DiscreteSchedule",
    "Execution",
    "NetworkModel",
    "Parameterisation",
    "forward_backward",
    "network",
    "open_model",
    "own_model",
    "pretrained",
    "print_models",
]
