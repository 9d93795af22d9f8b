"""Modules that have moved: an import under the old name works, and warns once with the new name.

The table holds public modules only.  A module that was divided has several new ones, in which its
names are looked up in this order.  An entry stays for one release.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__all__ = ["MOVED", "install"]

MOVED: dict[str, str | tuple[str, ...]] = {
    "hierdiff.model": "hierdiff.contracts",
    "hierdiff.sims.experiment": "hierdiff.tasks",
    "hierdiff.validation.adm": "hierdiff.validation.networks.adm",
    "hierdiff.validation.adm_blocks": "hierdiff.validation.networks.adm",
    "hierdiff.validation.adm_config": "hierdiff.validation.networks.adm",
    "hierdiff.validation.bump_network": (
        "hierdiff.validation.networks.bump_unet",
        "hierdiff.validation.recipes",
    ),
    "hierdiff.validation.catalogue": "hierdiff.validation.pretrained.catalogue",
    "hierdiff.validation.clocks": "hierdiff.validation.diffusion.noise_conditioning",
    "hierdiff.validation.convnext": "hierdiff.validation.pretrained.convnext",
    "hierdiff.validation.diffusers_networks": "hierdiff.validation.networks.diffusers_networks",
    "hierdiff.validation.diffusers_samplers": "hierdiff.validation.diffusion.diffusers_samplers",
    "hierdiff.validation.digits": ("hierdiff.data.digits", "hierdiff.validation.recipes"),
    "hierdiff.validation.download": "hierdiff.validation.pretrained.download",
    "hierdiff.validation.humans": "hierdiff.validation.things",
    "hierdiff.validation.images": "hierdiff.data.image_folder",
    "hierdiff.validation.levels": "hierdiff.validation.reference_layers",
    "hierdiff.validation.mixture_network": (
        "hierdiff.validation.networks.vector_mlp",
        "hierdiff.validation.recipes",
    ),
    "hierdiff.validation.models": "hierdiff.validation.pretrained.download",
    "hierdiff.validation.network": "hierdiff.validation.adapter",
    "hierdiff.validation.parameterisation": "hierdiff.validation.diffusion.parameterisation",
    "hierdiff.validation.reverse_chains": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.rhm_images": ("hierdiff.data.rhm_images", "hierdiff.theory.exact_images"),
    "hierdiff.validation.rhm_network": (
        "hierdiff.validation.adapter",
        "hierdiff.validation.networks.tree_unet",
        "hierdiff.validation.networks.transformer",
        "hierdiff.validation.recipes",
    ),
    "hierdiff.validation.rhm_training": "hierdiff.validation.recipes",
    "hierdiff.validation.sampler_bias": "hierdiff.validation.diffusion.sampler_bias",
    "hierdiff.validation.samplers": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.schedules": "hierdiff.validation.diffusion.schedules",
    "hierdiff.validation.tree_network": (
        "hierdiff.validation.networks.tree_unet",
        "hierdiff.validation.networks.transformer",
    ),
}


class _OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the table under their old names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for an old name, None for every other."""
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its new name; one warning in a process, since it is then in memory."""
        new = MOVED[spec.name]
        modules = (new,) if isinstance(new, str) else new
        # level 2 is the import statement: warnings leave out the frames of the import system
        warnings.warn(
            f"{spec.name} has moved; import {' or '.join(modules)}",
            DeprecationWarning,
            stacklevel=2,
        )
        return _Alias(spec.name, tuple(map(importlib.import_module, modules)))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module under its new name has run."""


class _Alias(ModuleType):
    """Reads and writes the names of other modules."""

    def __init__(self, name: str, modules: tuple[ModuleType, ...]) -> None:
        super().__init__(name, modules[0].__doc__)
        super().__setattr__("_modules", modules)

    def _home(self, name: str) -> ModuleType:
        """The module that has a name, else the first."""
        modules: tuple[ModuleType, ...] = super().__getattribute__("_modules")
        return next((m for m in modules if hasattr(m, name)), modules[0])

    def __getattr__(self, name: str) -> object:
        return getattr(self._home(name), name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__"):  # the import system's own
            super().__setattr__(name, value)
        else:
            setattr(self._home(name), name, value)

    def __dir__(self) -> list[str]:
        return sorted({name for m in super().__getattribute__("_modules") for name in dir(m)})


def install() -> None:
    """Serve the old names; called when the package is imported."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
