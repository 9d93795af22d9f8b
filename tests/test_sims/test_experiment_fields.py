"""Fields of every experiment: counts that are none, NaN, words and the like end in one line."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from small_experiments import SMALL

from hierdiff.errors import HierdiffError, InvalidParameter
from hierdiff.sims.alignment import Alignment
from hierdiff.sims.attribute_binding import AttributeBinding
from hierdiff.sims.composition import Composition
from hierdiff.sims.correlations import Correlations
from hierdiff.sims.cue_conflict import CueConflict
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.sims.representation import Representation
from hierdiff.sims.zero_shot_classification import Classification

EXPERIMENTS = (
    Alignment, AttributeBinding, Classification, Composition, Correlations, CueConflict,
    PhaseTransition, Representation,
    *(type(one) for one in SMALL),
)  # fmt: skip
BAD = (
    1.5, np.nan, np.inf, -1, "x", None, True, 10**30, 1e300, (), [1, 2], (1.5,), ("a",), (np.nan,),
    (None,), (0.5, 0.1), {}, object(), b"x", np.array([1, 2]),
)  # fmt: skip


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_a_field_is_taken_or_refused_in_one_line(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        for value in BAD:
            refused = ""
            try:
                kind(**{field.name: value})
            except HierdiffError as error:
                refused = str(error)
            assert "\n" not in refused, (field.name, value)


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_counts_are_whole_numbers_and_no_field_is_nan(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        wrong = {"int": (1.5, np.nan, np.inf, True, "3"), "float": (np.nan, np.inf, True, "3")}
        for value in wrong.get(str(field.type), ()):
            with pytest.raises(InvalidParameter):
                kind(**{field.name: value})
