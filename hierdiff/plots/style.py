"""What a source looks like, and what a figure needs of a dataset.

Theory is a line, simulation points, networks open markers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from hierdiff.checks import checked, one_of
from hierdiff.errors import InvalidParameter

__all__ = ["needs", "pick", "sources", "style"]


_WORDS = frozenset(
    {"band", "condition", "informed", "kernel", "layer", "learner", "model", "phase", "probe",
     "reader", "row", "split", "task", "weighting"}
)  # fmt: skip
"""Variables and dimensions of words; all others are numbers."""


@checked
def sources(ds: xr.Dataset) -> list[xr.Dataset]:
    """The parts of a dataset by their source; one dataset may hold several.

    Raises
    ------
    InvalidParameter
        If the dataset does not say where its numbers come from.
    """
    if "source" not in ds.coords or ds.source.ndim > 1:
        raise InvalidParameter(
            "the dataset has no coordinate 'source'; give one that results.label or a study made"
        )
    if ds.source.ndim == 0:
        return [ds]
    return [ds.isel(source=i) for i in range(ds.sizes["source"])]


@checked
def style(source: str) -> dict[str, Any]:
    """Keywords of ``plot`` and ``errorbar`` for a source."""
    if source == "theory":
        return {"ls": "-", "lw": 1.2}
    filled = {} if source == "simulation" else {"mfc": "none"}
    return {"ls": "none", "marker": "o", "ms": 3.2, "elinewidth": 0.8, **filled}


@checked
def needs(ds: xr.Dataset, variables: Mapping[str, tuple[str, ...]], maker: str) -> None:
    """Refuse a dataset that a figure cannot draw.

    Parameters
    ----------
    ds : xarray.Dataset
        Of one source.
    variables : mapping
        Dimensions by the name of a variable; each dimension with a coordinate.
    maker : str
        What makes such datasets, for the message.

    Raises
    ------
    InvalidParameter
        If a variable is missing, has other dimensions, holds no numbers or none at all.
    """
    for name, dims in variables.items():
        if name not in ds.variables:
            listed = ", ".join(map(str, ds.data_vars))[:200]
            raise InvalidParameter(
                f"the dataset has no {name!r}; it has {listed or 'nothing'}; give one from {maker}"
            )
        found = ds[name]
        if set(found.dims) != set(dims) or not all(
            dim in ds.coords or dim == "grammar" for dim in dims
        ):
            raise InvalidParameter(
                f"{name!r} has dimensions {tuple(map(str, found.dims))}; the figure needs {dims} "
                f"with coordinates; give one from {maker}"
            )
        if not found.size or (found.dtype.kind in "iufb") == (name in _WORDS):
            raise InvalidParameter(
                f"{name!r} has shape {found.shape} and type {found.dtype}; the figure needs "
                f"{'words' if name in _WORDS else 'numbers'}, one at least"
            )
        for dim in dims:
            if dim != "grammar":  # numbers of no meaning, often not written down
                _along(dim, ds[dim])


def _along(dim: str, labels: xr.DataArray) -> None:
    """Refuse labels of a dimension that no selection can find."""
    words, values = labels.dtype.kind not in "iufb", labels.values
    if words != (dim in _WORDS) or len(set(values.tolist())) < values.size or (
        not words and bool((values != values).any())
    ):  # fmt: skip
        raise InvalidParameter(
            f"coordinate {dim!r} = {' '.join(str(values.tolist()).split())[:60]} must be different "
            f"{'words' if dim in _WORDS else 'numbers'}"
        )


@checked
def pick(ds: xr.Dataset, **labels: Any) -> xr.Dataset:
    """Select by labels along dimensions, or say which there are.

    Raises
    ------
    InvalidParameter
        For a label that is not there.
    """
    for dim, label in labels.items():
        ds = ds.sel({dim: one_of(dim, label, ds[dim].values.tolist())})
    return ds
