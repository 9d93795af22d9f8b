"""Modules that have moved: an import under the old name works, and warns once with the new name.

The table holds public modules only.  An entry stays for one release.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__all__ = ["ALSO", "MOVED", "install"]

MOVED: dict[str, str] = {
    # old name: new name
    "hierdiff.bumps": "hierdiff.data.bumps",
    "hierdiff.grammar": "hierdiff.data.rhm",
    "hierdiff.mixture": "hierdiff.data.low_rank_mixture",
    "hierdiff.model": "hierdiff.contracts",
    "hierdiff.plots.alignment": "hierdiff.sims.alignment_figure",
    "hierdiff.plots.backend": "hierdiff.plots",
    "hierdiff.plots.classification": "hierdiff.sims.classification_figures",
    "hierdiff.plots.composition": "hierdiff.sims.composition",
    "hierdiff.plots.phase_transition": "hierdiff.sims.phase_transition_figure",
    "hierdiff.plots.representation": "hierdiff.sims.representation",
    "hierdiff.plots.style": "hierdiff.plots",
    "hierdiff.sims.binding": "hierdiff.sims.attribute_binding",
    "hierdiff.sims.class_retention": "hierdiff.sims.metrics.forward_backward",
    "hierdiff.sims.classification": "hierdiff.sims.zero_shot_classification",
    "hierdiff.sims.crossover": "hierdiff.sims.representation",
    "hierdiff.sims.empirical_model": "hierdiff.sims.models.empirical",
    "hierdiff.sims.estimators": "hierdiff.sims.metrics.estimators",
    "hierdiff.sims.experiment": "hierdiff.tasks",
    "hierdiff.sims.fluctuations": "hierdiff.sims.metrics.fluctuations",
    "hierdiff.sims.forward_backward": "hierdiff.sims.metrics.forward_backward",
    "hierdiff.sims.metrics.pruning": "hierdiff.sims.metrics.denoising_error",
    "hierdiff.sims.phases": "hierdiff.sims.bump_phases",
    "hierdiff.sims.probes": "hierdiff.sims.metrics.probes",
    "hierdiff.sims.pruning": "hierdiff.sims.metrics.denoising_error",
    "hierdiff.sims.similarity": "hierdiff.sims.metrics.representation_geometry",
    "hierdiff.sims.simulated_model": "hierdiff.sims.models.finite_steps",
    "hierdiff.sims.triplets": "hierdiff.sims.metrics.odd_one_out",
    "hierdiff.studies.alignment": "hierdiff.sims.alignment",
    "hierdiff.studies.command": "hierdiff.sims.run",
    "hierdiff.studies.composition": "hierdiff.sims.composition",
    "hierdiff.studies.page": "hierdiff.command_line",
    "hierdiff.studies.phase_transition": "hierdiff.sims.phase_transition",
    "hierdiff.studies.representation": "hierdiff.sims.representation",
    "hierdiff.theory.alignment": "hierdiff.theory.odd_one_out_task",
    "hierdiff.theory.analytic_scores": "hierdiff.theory.mixture.score_machines",
    "hierdiff.theory.annealed": "hierdiff.theory.rhm.mean_field",
    "hierdiff.theory.broadcast": "hierdiff.theory.rhm.broadcast",
    "hierdiff.theory.classification": "hierdiff.theory.zero_shot",
    "hierdiff.theory.collapse": "hierdiff.theory.mixture.collapse",
    "hierdiff.theory.composition": "hierdiff.theory.rhm",
    "hierdiff.theory.correlations": "hierdiff.theory.rhm.dynamical_correlations",
    "hierdiff.theory.critical_exponents": "hierdiff.theory.rhm.critical_exponents",
    "hierdiff.theory.exact_mixture": "hierdiff.theory.exact_models",
    "hierdiff.theory.exact_model": "hierdiff.theory.exact_models",
    "hierdiff.theory.geometric_memorization": "hierdiff.theory.mixture.geometric_memorisation",
    "hierdiff.theory.information": "hierdiff.theory.rhm.information",
    "hierdiff.theory.instability": "hierdiff.theory.mixture.speciation",
    "hierdiff.theory.linear_score": "hierdiff.theory.mixture.score_machines",
    "hierdiff.theory.low_rank": "hierdiff.theory.mixture.posterior",
    "hierdiff.theory.mean_field": "hierdiff.theory.mixture.feature_snr",
    "hierdiff.theory.memorization": "hierdiff.theory.mixture.memorisation",
    "hierdiff.theory.onset": "hierdiff.theory.mixture.feature_snr",
    "hierdiff.theory.pca_transition": "hierdiff.theory.mixture.geometric_memorisation",
    "hierdiff.theory.pointwise": "hierdiff.theory.rhm.information",
    "hierdiff.theory.population": "hierdiff.theory.rhm.density_evolution",
    "hierdiff.theory.random_features": "hierdiff.theory.mixture.random_features",
    "hierdiff.theory.representation": "hierdiff.theory.mixture.feature_snr",
    "hierdiff.theory.rhm.erasure": "hierdiff.theory.rhm.bounds",
    "hierdiff.theory.rhm.thresholds": "hierdiff.theory.rhm.mean_field",
    "hierdiff.theory.rhm.upper_bounds": "hierdiff.theory.rhm.bounds",
    "hierdiff.theory.speciation": "hierdiff.theory.mixture.speciation",
    "hierdiff.theory.support_sets": "hierdiff.theory.rhm.bounds",
    "hierdiff.theory.thresholds": "hierdiff.theory.rhm.mean_field",
    "hierdiff.theory.upper_bounds": "hierdiff.theory.rhm.bounds",
    "hierdiff.theory.uturn": "hierdiff.theory.rhm.uturn",
    "hierdiff.theory.zero_shot.limit_laws": "hierdiff.theory.zero_shot.scores",
    "hierdiff.validation.adm": "hierdiff.validation.networks.adm",
    "hierdiff.validation.adm_blocks": "hierdiff.validation.networks.adm",
    "hierdiff.validation.adm_config": "hierdiff.validation.networks.adm",
    "hierdiff.validation.bump_network": "hierdiff.validation.networks.bump_unet",
    "hierdiff.validation.catalogue": "hierdiff.validation.pretrained.catalogue",
    "hierdiff.validation.clocks": "hierdiff.validation.diffusion.schedules",
    "hierdiff.validation.convnext": "hierdiff.validation.reference_layers",
    "hierdiff.validation.diffusers_networks": "hierdiff.validation.pretrained.latent_diffusion",
    "hierdiff.validation.diffusers_samplers": "hierdiff.validation.diffusion.diffusers_samplers",
    "hierdiff.validation.diffusion.noise_conditioning": "hierdiff.validation.diffusion.schedules",
    "hierdiff.validation.diffusion.sampler_bias": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.digits": "hierdiff.data.digits",
    "hierdiff.validation.distributed": "hierdiff.validation.execution",
    "hierdiff.validation.download": "hierdiff.validation.pretrained.download",
    "hierdiff.validation.experiments.conflict_images": (
        "hierdiff.validation.experiments.image_folders"
    ),
    "hierdiff.validation.experiments.curves": "hierdiff.validation.experiments.image_retention",
    "hierdiff.validation.figures.alignment": "hierdiff.sims.alignment_figure",
    "hierdiff.validation.figures.classification": "hierdiff.validation.experiments.classification",
    "hierdiff.validation.figures.composition": "hierdiff.validation.experiments.composition",
    "hierdiff.validation.figures.phase_transition": (
        "hierdiff.validation.experiments.phase_transition"
    ),
    "hierdiff.validation.figures.representation": "hierdiff.validation.experiments.representation",
    "hierdiff.validation.figures.rhm_images": "hierdiff.validation.experiments.rhm_images",
    "hierdiff.validation.humans": "hierdiff.validation.things",
    "hierdiff.validation.images": "hierdiff.data.image_folder",
    "hierdiff.validation.layers": "hierdiff.validation.adapter",
    "hierdiff.validation.levels": "hierdiff.validation.reference_layers",
    "hierdiff.validation.mixture_network": "hierdiff.validation.networks.vector_mlp",
    "hierdiff.validation.models": "hierdiff.validation.pretrained.download",
    "hierdiff.validation.network": "hierdiff.validation.adapter",
    "hierdiff.validation.networks.diffusers_networks": (
        "hierdiff.validation.pretrained.latent_diffusion"
    ),
    "hierdiff.validation.parameterisation": "hierdiff.validation.diffusion.parameterisation",
    "hierdiff.validation.pretrained.convnext": "hierdiff.validation.reference_layers",
    "hierdiff.validation.pretrained.vae": "hierdiff.validation.pretrained.latent_diffusion",
    "hierdiff.validation.protocol": "hierdiff.sims.metrics.forward_backward",
    "hierdiff.validation.reverse_chains": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.rhm_images": "hierdiff.data.rhm_images",
    "hierdiff.validation.rhm_network": "hierdiff.validation.adapter",
    "hierdiff.validation.rhm_training": "hierdiff.validation.recipes",
    "hierdiff.validation.sampler_bias": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.samplers": "hierdiff.validation.diffusion.samplers",
    "hierdiff.validation.schedules": "hierdiff.validation.diffusion.schedules",
    "hierdiff.validation.studies.alignment": "hierdiff.validation.experiments.alignment",
    "hierdiff.validation.studies.classification": "hierdiff.validation.experiments.classification",
    "hierdiff.validation.studies.composition": "hierdiff.validation.experiments.composition",
    "hierdiff.validation.studies.phase_transition": (
        "hierdiff.validation.experiments.phase_transition"
    ),
    "hierdiff.validation.studies.representation": "hierdiff.validation.experiments.representation",
    "hierdiff.validation.studies.rhm_images": "hierdiff.validation.experiments.rhm_images",
    "hierdiff.validation.tree_network": "hierdiff.validation.networks.tree_unet",
    "hierdiff.validation.tree_runs": "hierdiff.sims.metrics.forward_backward",
    "hierdiff.variants": "hierdiff.data.rhm_variants",
}

ALSO: dict[str, tuple[str, ...]] = {
    # old name: where else some of its names are now
    "hierdiff.sims.phases": ("hierdiff.sims.metrics.representation_geometry",),
    "hierdiff.validation.figures.representation": ("hierdiff.validation.experiments.layer_probes",),
    "hierdiff.plots.classification": (
        "hierdiff.sims.cue_conflict",
        "hierdiff.sims.attribute_binding",
    ),
    "hierdiff.mixture": ("hierdiff.data.subspaces",),
    "hierdiff.sims.experiment": ("hierdiff.contracts", "hierdiff.data.rhm"),
    "hierdiff.sims.forward_backward": ("hierdiff.sims.phase_transition",),
    "hierdiff.theory.geometric_memorization": ("hierdiff.theory.mixture.random_features",),
    "hierdiff.theory.memorization": ("hierdiff.theory.mixture.collapse",),
    "hierdiff.theory.representation": ("hierdiff.theory.mixture.snr_integrals",),
    "hierdiff.theory.speciation": ("hierdiff.theory.mixture.time_change",),
    "hierdiff.validation.bump_network": ("hierdiff.validation.recipes",),
    "hierdiff.validation.digits": ("hierdiff.validation.recipes",),
    "hierdiff.validation.mixture_network": ("hierdiff.validation.recipes",),
    "hierdiff.validation.network": ("hierdiff.validation.networks",),
    "hierdiff.validation.protocol": ("hierdiff.validation.diffusion.schedules",),
    "hierdiff.validation.rhm_images": ("hierdiff.theory.exact_models",),
    "hierdiff.validation.rhm_network": (
        "hierdiff.validation.networks.tree_unet",
        "hierdiff.validation.networks.transformer",
        "hierdiff.validation.recipes",
    ),
    "hierdiff.validation.tree_network": ("hierdiff.validation.networks.transformer",),
    "hierdiff.validation.tree_runs": ("hierdiff.validation.experiments.phase_transition",),
}


class _OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the table under their old names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for an old name, or for a package that is gone; None for every other."""
        if fullname in MOVED:
            return importlib.machinery.ModuleSpec(fullname, self)
        if any(old.startswith(f"{fullname}.") for old in MOVED):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its new name; one warning in a process, since it is then in memory."""
        if spec.name not in MOVED:  # the package around an old name, which holds nothing
            return ModuleType(spec.name, "Modules of this package have moved.")
        new = MOVED[spec.name]
        # level 2 is the import statement: warnings leave out the frames of the import system
        warnings.warn(f"{spec.name} has moved; import {new}", DeprecationWarning, stacklevel=2)
        return _Alias(spec.name, importlib.import_module(new))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module under its new name has run."""


class _Alias(ModuleType):
    """Reads and writes the names of another module."""

    def __init__(self, name: str, module: ModuleType) -> None:
        super().__init__(name, module.__doc__)
        super().__setattr__("_module", module)

    def __getattr__(self, name: str) -> object:
        module = super().__getattribute__("_module")
        if not hasattr(module, name):
            for other in ALSO.get(self.__name__, ()):
                if hasattr(found := importlib.import_module(other), name):
                    return getattr(found, name)
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__"):  # the import system's own
            super().__setattr__(name, value)
        else:
            setattr(super().__getattribute__("_module"), name, value)

    def __dir__(self) -> list[str]:
        return dir(super().__getattribute__("_module"))

    def __call__(self, *args: object, **options: object) -> object:
        """The function of the same name, which a package also exports.

        Importing ``hierdiff.theory.critical_exponents`` puts the module in the place of that
        function; both uses go on.
        """
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


def install() -> None:
    """Serve the old names; called when the package is imported."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
