"""Figures and fluctuations: what a dataset or an array lacks is said before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.sims import Composition, PhaseTransition
from hierdiff.sims.alignment_figure import alignment
from hierdiff.sims.attribute_binding import binding_figure
from hierdiff.sims.classification_figures import classification_figure
from hierdiff.sims.metrics.fluctuations import block_variances, distance_means, peak, ratio
from hierdiff.sims.phase_transition_figure import phase_transition, phase_transition_processes
from hierdiff.sims.representation import representation
from hierdiff.sims.synonym_learning import synonym_cost

LAW = PhaseTransition(v=8, m=2, L=2, noise="epsilon").predict()
NOTHING = xr.Dataset()
NAN = LAW.assign_coords(t=np.full(LAW.sizes["t"], np.nan))
FLAT = LAW.assign(belief=LAW.belief.isel(level=0, drop=True))
WORDS = LAW.assign(belief=LAW.belief.astype(str))

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no dataset": (lambda: phase_transition(), "no dataset is given"),
    "no pair": (lambda: phase_transition_processes(), "no pair is given"),
    "no source": (lambda: phase_transition(NOTHING), "no coordinate 'source'"),
    "quantity": (lambda: phase_transition(LAW, quantity="beleif"), "has no 'beleif'; it has"),
    "dimensions": (lambda: phase_transition(FLAT), "'belief' has dimensions .* the figure needs"),
    "coordinate": (lambda: phase_transition(NAN), "coordinate 't' = .* must be different numbers"),
    "words": (lambda: phase_transition(WORDS), "the figure needs numbers"),
    "axes": (lambda: phase_transition(LAW, ax=3), "ax = 3"),  # type: ignore[arg-type]
    "path": (lambda: phase_transition("out.nc"), "give a Dataset"),  # type: ignore[arg-type]
    "other study": (lambda: alignment(LAW), "has no 'accuracy'"),
    "other study, pair": (lambda: classification_figure(LAW, LAW), "put the measured one last"),
    "other study, binding": (lambda: binding_figure(LAW), "has no 'accuracy'"),
    "other study, costs": (lambda: synonym_cost(LAW), "no dataset has 'samples'"),
    "a law last": (lambda: Composition().figure({"law": LAW}), "put the measured one last"),
    "no figure": (lambda: Composition().figure({}), "no dataset is given"),
    "unknown quantity": (lambda: representation(LAW, quantity="snrr"), "did you mean 'snr'"),
    "branching": (lambda: block_variances(np.ones((3, 4)), 10**30), "are no power of s"),
    "leaf": (lambda: block_variances([[1.0, np.nan]] * 2, 2), "NaN"),
    "axis": (lambda: distance_means([1.0, 2.0], 2, axis=5), "axis = 5 is no axis"),
    "units": (lambda: ratio(np.ones((3, 2)), np.ones((2, 2))), "must have as many units"),
    "order": (lambda: peak(np.array([1.0, 0.0, 2.0]), *[np.ones((3, 3))] * 2), "increasing"),
    "zero": (
        lambda: peak(np.arange(3.0), np.ones((3, 3)), np.zeros((3, 3))), "bottom has the mean 0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_line(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(InvalidParameter, match=words) as error:
        call()
    one_line(error)
