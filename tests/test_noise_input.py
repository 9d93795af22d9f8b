"""Bad input to noise processes: one clear line for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hierdiff import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import (
    EpsilonNoise,
    GaussianNoise,
    MaskingNoise,
    SymbolEvidence,
    UniformNoise,
    _of_name,
    noise_process,
)

X0, X_T = [[0, 1]], np.zeros((1, 2, 3))
NAN = float("nan")
MASKING, UNIFORM, GAUSSIAN = MaskingNoise(3), UniformNoise(3), GaussianNoise(3)
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "t above": (lambda: MASKING.corrupt(X0, 1.5, 0), r"^t = 1.5 is outside \[0, 1\]; give"),
    "t below": (lambda: UNIFORM.evidence(X0, -0.1), r"^t = -0.1 is outside"),
    "t nan": (lambda: GAUSSIAN.corrupt(X0, NAN, 0), "^t = nan is outside"),
    "t of masking evidence": (lambda: MASKING.evidence(X0, 2), "^t = 2.0 is outside"),
    "t shape": (lambda: MASKING.corrupt(X0, [0.1, 0.2], 0), r"^t has shape \(2,\); give"),
    "t in vain": (lambda: EpsilonNoise(3).evidence(X0, [0.1, 0.2]), r"^t has shape \(2,\); give"),
    "t word": (lambda: GAUSSIAN.snr("much"), "^t = 'much' is no number; give"),
    "snr": (lambda: GAUSSIAN.level(-1.0), "^snr = -1.0 is no signal-to-noise ratio; give"),
    "snr nan": (lambda: GAUSSIAN.log_evidence_at_snr(X_T, NAN), "^snr = nan is no"),
    "snr shape": (lambda: GAUSSIAN.log_evidence_at_snr(X_T, [1.0] * 2), "^snr has shape"),
    "snr unreached": (
        lambda: GaussianNoise(3, "linear").level(1e-6),
        "^snr = 1e-06 is below 4.036e-05, where the linear schedule ends; use",
    ),
    "x0 masked": (lambda: MASKING.corrupt([[0, -1]], 0.1, 0), r"^x0 holds -1; give symbols in"),
    "x0 large": (
        lambda: GAUSSIAN.corrupt([[0, 3]], 0.1, 0),
        r"^x0 holds 3; give symbols in \[0, 3",
    ),
    "x_t large": (
        lambda: MASKING.evidence([[0, 3]], 0.1),
        r"^x_t holds 3; give symbols in \[-1",
    ),
    "x_t below": (lambda: UNIFORM.evidence([[0, -2]], 0.1), "^x_t holds -2; give"),
    "x0 float": (lambda: UNIFORM.corrupt([[0.0, 1.0]], 0.1, 0), "^x0 has shape .* float64; give"),
    "x0 flat": (lambda: UNIFORM.corrupt([0, 1], 0.1, 0), r"^x0 has shape \(2,\)"),
    "x_t shape": (
        lambda: GAUSSIAN.log_evidence(X_T[..., :2], 0.1),
        r"^x_t has shape .*any, any, 3",
    ),
    "x_t nan": (lambda: GAUSSIAN.log_evidence(X_T * NAN, 0.1), "^x_t holds NaN or inf; give"),
    "vector nan": (lambda: GaussianNoise().corrupt([[NAN]], 0.1, 0), "^x0 holds NaN or inf; give"),
    "vector type": (lambda: GaussianNoise().corrupt([["a"]], 0.1, 0), "^x0 has type <U1; give"),
    "vector flat": (lambda: GaussianNoise().corrupt([1.0], 0.1, 0), "^x0 has shape .* one row per"),
    "vector evidence": (
        lambda: GaussianNoise().log_evidence(X_T, 0.1),
        "acts on vectors.*; give v",
    ),
    "randoms shape": (lambda: MASKING.corrupt_with(X0, 0.1, [[0.1, 0.2]]), "^randoms has shape"),
    "randoms range": (
        lambda: MASKING.corrupt_with(X0, 0.1, [[[0.1], [1.0]]]),
        r"^randoms lie in \[0.1, 1.0\]; give uniform numbers",
    ),
    "normals shape": (lambda: GAUSSIAN.corrupt_with(X0, 0.1, X_T[..., :2]), "^randoms has shape"),
    "schedule": (
        lambda: GaussianNoise(3, "sigmoid"),
        "^schedule = 'sigmoid' must be one of 'cosine', 'linear'",
    ),  # type: ignore[arg-type]
    "name": (lambda: noise_process("salt", 3), "^noise = 'salt' must be one of 'epsilon', 'mask"),
    "match shape": (lambda: SymbolEvidence(np.array(X0), np.zeros(2), 0.0, 3), "^log_match has sh"),
    "match nan": (lambda: SymbolEvidence(np.array(X0), NAN, 0.0, 3), "^evidence of sample 0 has"),
    "match inf": (
        lambda: SymbolEvidence(np.array(X0), np.inf, 0.0, 3),
        "^evidence of sample 0 has",
    ),
    "symbol below": (
        lambda: SymbolEvidence(np.array([[0, -2]]), 0.0, 0.0, 3),
        r"^symbols holds -2; give symbols in \[-1, 3\)",
    ),
    "symbol above": (
        lambda: SymbolEvidence(np.array([[0, 3]]), 0.0, 0.0, 3),
        r"^symbols holds 3; give symbols in \[-1, 3\)",
    ),
    "symbols of evidence": (
        lambda: SymbolEvidence(np.array([[-1]]), 0.0, 0.0, 0),
        "^v = 0 must be an integer >= 1",
    ),
    "dense evidence": (
        lambda: SymbolEvidence(np.zeros((2**10, 2**10), np.int32), 0.0, 0.0, 2**31 - 1).dense(),
        "^dense evidence of shape .* needs .* GB of memory",
    ),
    "nothing": (lambda: SymbolEvidence(np.array(X0), -np.inf, -np.inf, 3), "one must be finite$"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(InvalidParameter, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("process", [EpsilonNoise, MaskingNoise, UniformNoise, GaussianNoise])
@pytest.mark.parametrize("v", [0, 2.0, True, "2"])
def test_vocabulary_must_be_a_positive_integer(process: Any, v: Any) -> None:
    with pytest.raises(
        InvalidParameter, match=r"^v = .* must be an integer >= 1 and <= 2147483647$"
    ):
        process(v)


def test_a_name_takes_the_symbols_of_the_leaves() -> None:
    """Of a Grammar whose levels have 2, 2 and 3 symbols, and of an RHM that has only one number."""
    top, low = [[[0, 1]], [[1, 0]]], [[[0, 1]], [[2, 2]]]
    for model, v in ((Grammar([top, low]), 3), (RHM(5, 2, 2, 2), 5)):
        made = _of_name("noise", "masking", {"seed": 0, "grammar": model})
        assert isinstance(made, MaskingNoise)
        assert made.v == v
    assert _of_name("noise", MASKING, {}) is None
