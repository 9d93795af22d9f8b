"""What a source looks like: theory is a line, simulation points, networks open markers."""

from __future__ import annotations

from typing import Any

import xarray as xr

__all__ = ["sources", "style"]


def sources(ds: xr.Dataset) -> list[xr.Dataset]:
    """The parts of a dataset by their source; one dataset may hold several."""
    if ds.source.ndim == 0:
        return [ds]
    return [ds.isel(source=i) for i in range(ds.sizes["source"])]


def style(source: str) -> dict[str, Any]:
    """Keywords of ``plot`` and ``errorbar`` for a source."""
    if source == "theory":
        return {"ls": "-", "lw": 1.2}
    filled = {} if source == "simulation" else {"mfc": "none"}
    return {"ls": "none", "marker": "o", "ms": 3.2, "elinewidth": 0.8, **filled}
