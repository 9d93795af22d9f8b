"""Buffers and threads behind the passes."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff import RHM, UniformNoise
from hierdiff.theory import posterior
from hierdiff.theory._engine import _sizes, job_of
from hierdiff.theory._evidence import leaves_of


@pytest.mark.parametrize("depth", [1, 2])
def test_buffers_of_one_kind_of_evidence_are_not_lent_to_another(depth: int) -> None:
    """Observed symbols need room that logarithms do not, also where all other sizes agree."""
    grammar, noise = RHM(6, 2, 3, depth).draw(0), UniformNoise(6)
    x_t = noise.corrupt(grammar.sample(16, 1).leaves, 0.3, 2)
    kinds = [noise.log_evidence(x_t, 0.3), noise.evidence(x_t, 0.3)]
    jobs = [
        job_of(grammar, 0, depth, leaves_of(grammar, e, None, float, 1, private=False), 1)
        for e in kinds
    ]
    assert _sizes(jobs[0]) != _sizes(jobs[1])
    first = [posterior(grammar, e) for e in kinds * 2]
    for other in first[1:]:
        for a, b in zip(first[0].marginals, other.marginals, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_tables_are_not_shared_between_grammars() -> None:
    noise = UniformNoise(6)
    x_t = np.random.default_rng(0).integers(6, size=(20, 4))
    answers = {
        tuple(posterior(RHM(6, 2, 2, 2).draw(seed), noise.evidence(x_t, 0.5)).log_evidence)
        for seed in range(5)
    }
    assert len(answers) == 5
