"""Cases of the figures: small datasets of every study."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fuzz import Case

from hierdiff import plots
from hierdiff.sims import (
    Alignment,
    AttributeBinding,
    Classification,
    Composition,
    CueConflict,
    PhaseTransition,
    Representation,
)
from hierdiff.sims.alignment_figure import alignment, alignment_figure
from hierdiff.sims.attribute_binding import binding_figure
from hierdiff.sims.classification_figures import (
    accuracy_curves,
    accuracy_table,
    classification_figure,
)
from hierdiff.sims.cue_conflict import cue_conflict_figure
from hierdiff.sims.kernel_learning import kernel_label_cost
from hierdiff.sims.phase_transition_figure import (
    class_transition,
    phase_transition,
    phase_transition_figure,
    phase_transition_processes,
)
from hierdiff.sims.representation import representation, representation_figure
from hierdiff.sims.synonym_learning import synonym_cost, synonym_curves
from hierdiff.sims.truncated_denoisers import string_phases, string_validity


def _studies() -> dict[str, Any]:
    return {
        "alignment": Alignment(L=2, weights=(1, 1, 1), objects=20, triplets=50, grammars=2),
        "classes": Classification(
            v=4, m=2, L=2, grammars=2, data=8, budgets=(5, 30), independent_budgets=(4,), strata=8,
            weightings=("vdm", "exp"), stages=(30,), keep=(1,), level_data=2, level_samples=4,
        ),
        "cues": CueConflict(v=4, m=2, L=2, grammars=2, data=8, samples=4, gaussian_data=100),
        "pairs": AttributeBinding(v=4, m=2, L=2, grammars=2, data=8, budgets=(4,)),
        "parts": Composition(
            denoiser_v=8, denoiser_m=2, denoiser_L=2, grammars=2, data=4, num_levels=3, v=8,
            multiplicities=(2, 3), heights=(1,), positions=(4, 8), orders=2,
        ),
        "features": Representation(
            rank=2, dim=6, n_train=(30,), sigmas=(0.3, 1.0), seeds=2, test=30, models=("exact",),
            quantities=("snr",),
        ),
        "phase": PhaseTransition(v=8, m=2, L=2, noise="epsilon", grammars=2, data=4),
    }  # fmt: skip


@functools.cache
def _both(study: str) -> tuple[Any, Any]:
    """What a study predicts and measures."""
    return _studies()[study].predict(), _measured(study)


@functools.cache
def _measured(study: str) -> Any:
    return _studies()[study].measure(workers=1)


def _pair(study: str, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"datasets": _both(study), **more}


def _named(study: str) -> Callable[[], dict[str, Any]]:
    return lambda: dict(zip(("theory", "measured"), _both(study), strict=True))


def _one(word: str, study: str, **more: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {word: _measured(study), **more}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    home, classes = "hierdiff.plots", "hierdiff.sims.classification_figures"
    transition = "hierdiff.sims.phase_transition_figure"
    return [
        Case("hierdiff.sims.alignment_figure.alignment", alignment,
             lambda: {"datasets": (_measured("alignment"),), "ax": None,
                      "condition": "class given", "quantity": "accuracy"}),
        Case("hierdiff.sims.alignment_figure.alignment_figure", alignment_figure,
             lambda: {"datasets": (_measured("alignment"),)}),
        Case(f"{classes}.accuracy_curves", accuracy_curves,
             _pair("classes", ax=None, shared=True)),
        Case(f"{classes}.classification_figure", classification_figure, _named("classes")),
        Case(f"{classes}.accuracy_table", accuracy_table, _named("classes")),
        Case("hierdiff.sims.cue_conflict.cue_conflict_figure", cue_conflict_figure,
             _named("cues")),
        Case("hierdiff.sims.attribute_binding.binding_figure", binding_figure,
             _one("measured", "pairs")),
        Case("hierdiff.sims.synonym_learning.synonym_cost", synonym_cost,
             _pair("parts", ax=None, learner="clusters")),
        Case("hierdiff.sims.synonym_learning.synonym_curves", synonym_curves,
             _one("measured", "parts", ax=None, learner="clusters")),
        Case("hierdiff.sims.truncated_denoisers.string_validity", string_validity,
             _pair("parts", ax=None, informed="label")),
        Case("hierdiff.sims.truncated_denoisers.string_phases", string_phases,
             _one("measured", "parts", ax=None, informed="label")),
        Case("hierdiff.sims.kernel_learning.kernel_label_cost", kernel_label_cost,
             _pair("parts", ax=None)),
        Case(f"{transition}.phase_transition", phase_transition,
             _pair("phase", ax=None, quantity="retention")),
        Case(f"{transition}.class_transition", class_transition,
             _pair("phase", ax=None)),
        Case(f"{transition}.phase_transition_processes", phase_transition_processes,
             lambda: {"pairs": (_both("phase"), _both("phase"))}),
        Case(f"{transition}.phase_transition_figure", phase_transition_figure,
             _pair("phase")),
        Case("hierdiff.sims.representation.representation", representation,
             _pair("features", ax=None, quantity="snr", n_train=30, split="test")),
        Case("hierdiff.sims.representation.representation_figure", representation_figure,
             _pair("features")),
        Case(f"{home}.sources", plots.sources, _one("ds", "phase")),
        Case(f"{home}.style", plots.style, {"source": "simulation"}),
        Case(f"{home}.needs", plots.needs,
             _one("ds", "phase", variables={"belief": ("level", "t")}, maker="a study")),
        Case(f"{home}.pick", plots.pick, _one("ds", "phase", labels={"level": 0}),
             keep=("labels",)),  # a call that does not fit is Python's own TypeError
    ]  # fmt: skip
