"""The list of public checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from hierdiff.validation.pretrained.download import print_models

__all__ = ["Models"]


@dataclass(frozen=True)
class Models:
    """List the public checkpoints that can be loaded: source, licence, size, whether it is here."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Print the table; there is no result."""
        print_models()
        return ()
