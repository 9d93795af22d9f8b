"""Cases of the figures: small datasets of every study."""

from __future__ import annotations

from fuzz import Case

from hierdiff.plots import style
from hierdiff.plots.alignment import alignment, alignment_figure
from hierdiff.plots.classification import (
    accuracy_table,
    binding_figure,
    classification,
    classification_figure,
    cue_conflict_figure,
)
from hierdiff.plots.composition import (
    composition,
    composition_curves,
    composition_figure,
    composition_kernels,
    composition_phases,
    composition_strings,
)
from hierdiff.plots.phase_transition import (
    class_transition,
    phase_transition,
    phase_transition_figure,
    phase_transition_processes,
)
from hierdiff.plots.representation import representation, representation_figure
from hierdiff.sims import (
    Alignment,
    AttributeBinding,
    Classification,
    Composition,
    CueConflict,
    PhaseTransition,
    Representation,
)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    odd = Alignment(L=2, weights=(1, 1, 1), objects=20, triplets=50, grammars=2).measure()
    classes = Classification(
        v=4, m=2, L=2, grammars=2, data=8, budgets=(5, 30), own_budgets=(4,), strata=8,
        weightings=("vdm", "exp"), stages=(30,), keep=(1,), level_data=2, level_samples=4,
    )  # fmt: skip
    cues = CueConflict(v=4, m=2, L=2, grammars=2, data=8, samples=4, gaussian_data=100)
    pairs = AttributeBinding(v=4, m=2, L=2, grammars=2, data=8, budgets=(4,))
    parts = Composition(
        symbols=8, rules=2, depth=2, grammars=2, data=4, levels=3, v=8, multiplicities=(2, 3),
        heights=(1,), positions=(4, 8), orders=2,
    )  # fmt: skip
    features = Representation(
        rank=2, dim=6, n_train=(30,), sigmas=(0.3, 1.0), seeds=2, test=30, models=("exact",),
        quantities=("snr",),
    )  # fmt: skip
    phase = PhaseTransition(v=8, m=2, L=2, noise="epsilon", grammars=2, data=4)
    law, measured = classes.predict(), classes.measure()
    predicted, made = parts.predict(), parts.measure()
    theory, seen = phase.predict(), phase.measure()
    known, learned = features.predict(), features.measure()
    home = "hierdiff.plots"
    both, cue_law, cue_data = (theory, seen), cues.predict(), cues.measure()
    return [
        Case(f"{home}.alignment.alignment", alignment,
             {"datasets": (odd,), "ax": None, "condition": "class given",
              "quantity": "accuracy"}),
        Case(f"{home}.alignment.alignment_figure", alignment_figure, {"datasets": (odd,)}),
        Case(f"{home}.classification.classification", classification,
             {"datasets": (law, measured), "ax": None, "shared": True}),
        Case(f"{home}.classification.classification_figure", classification_figure,
             {"theory": law, "measured": measured}),
        Case(f"{home}.classification.accuracy_table", accuracy_table,
             {"theory": law, "measured": measured}),
        Case(f"{home}.classification.cue_conflict_figure", cue_conflict_figure,
             {"theory": cue_law, "measured": cue_data}),
        Case(f"{home}.classification.binding_figure", binding_figure,
             {"measured": pairs.measure()}),
        Case(f"{home}.composition.composition", composition,
             {"datasets": (predicted, made), "ax": None, "learner": "clusters"}),
        Case(f"{home}.composition.composition_curves", composition_curves,
             {"measured": made, "ax": None, "learner": "clusters"}),
        Case(f"{home}.composition.composition_strings", composition_strings,
             {"datasets": (predicted, made), "ax": None, "informed": "label"}),
        Case(f"{home}.composition.composition_phases", composition_phases,
             {"measured": made, "ax": None, "informed": "label"}),
        Case(f"{home}.composition.composition_kernels", composition_kernels,
             {"datasets": (predicted, made), "ax": None}),
        Case(f"{home}.composition.composition_figure", composition_figure,
             {"datasets": (predicted, made)}),
        Case(f"{home}.phase_transition.phase_transition", phase_transition,
             {"datasets": both, "ax": None, "quantity": "retention"}),
        Case(f"{home}.phase_transition.class_transition", class_transition,
             {"datasets": both, "ax": None}),
        Case(f"{home}.phase_transition.phase_transition_processes", phase_transition_processes,
             {"pairs": (both, both)}),
        Case(f"{home}.phase_transition.phase_transition_figure", phase_transition_figure,
             {"datasets": both}),
        Case(f"{home}.representation.representation", representation,
             {"datasets": (known, learned), "ax": None, "quantity": "snr", "n_train": 30,
              "split": "test"}),
        Case(f"{home}.representation.representation_figure", representation_figure,
             {"datasets": (known, learned)}),
        Case(f"{home}.style.sources", style.sources, {"ds": seen}),
        Case(f"{home}.style.style", style.style, {"source": "simulation"}),
        Case(f"{home}.style.needs", style.needs,
             {"ds": seen, "variables": {"belief": ("level", "t")}, "maker": "a study"}),
        Case(f"{home}.style.pick", style.pick, {"ds": seen, "labels": {"level": 0}},
             keep=("labels",)),  # a call that does not fit is Python's own TypeError
    ]  # fmt: skip
