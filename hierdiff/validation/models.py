"""The list of public checkpoints, as ``hierdiff models`` prints it; needs no torch."""

from __future__ import annotations

from pathlib import Path

from hierdiff.checks import checked
from hierdiff.validation.catalogue import CATALOGUE, Checkpoint, catalogue_table
from hierdiff.validation.download import cache_folder

__all__ = ["folder_of", "print_models"]


@checked
def folder_of(entry: Checkpoint) -> Path:
    """Where the files of a checkpoint are kept."""
    return cache_folder() / "models" / entry.name


def print_models() -> None:
    """Print the catalogue, with what is in the cache, and where the cache is.

    Notes
    -----
    Validity: presence means a complete download; hashes are compared when a model is loaded.

    Examples
    --------
    >>> print_models()  # doctest: +ELLIPSIS
    adm-256  ADM, ImageNet 256 x 256, unconditional...
    """
    present = [x.name for x in CATALOGUE if (folder_of(x) / x.weights.name).exists()]
    print(catalogue_table(present))
    print(f"cache     {cache_folder()} (set HIERDIFF_CACHE to change it)")
