"""The experiments of the gallery at sizes of a second, for tests of what all of them have."""

from __future__ import annotations

from typing import Any

from hierdiff.sims import (
    Autoregressive,
    ChangedTree,
    ContrastiveLearning,
    Coverage,
    DataModels,
    Exponents,
    FiniteSizeScaling,
    GrammarLearning,
    Information,
    JacobianSpectrum,
    LocalDenoisers,
    Memorization,
    MostLikelyStrings,
    ParallelUnmasking,
    PhaseDiagram,
    PosteriorEntropy,
    RepresentationalSimilarity,
    RepresentationPeak,
    RuleWeights,
    SampleComplexity,
    Sharpening,
    Speciation,
    Susceptibility,
    TrainingTime,
    TreeLoss,
    TreeMixture,
    TreeShapes,
    UTurn,
    Variants,
)

__all__ = ["LAWLESS", "SMALL", "UNMEASURED"]

SMALL: tuple[Any, ...] = (
    Autoregressive(v=4, m=2, L=2, grammars=3, data=20, strings=20, contexts=(0, 1, 3)),
    ChangedTree(v=8, m=2, L=2, grammars=4, data=16),
    ContrastiveLearning(values=(3, 3), widths=(2, 5, 9), starts=2, scenes=300, negatives=4, v=4,
                        m=2, L=2, levels=3, grammars=3, samples=40),
    Coverage(repetitions=20, names=("2 networks", "mean, 4", "wrong: divided")),
    Exponents(sizes=((8, 3, 2),), size=200, copies=3, levels=30, depths=(3, 4, 5),
              leaf_depths=(3, 4, 5), grammars=4, data=4, points=5),
    DataModels(depths=(2,), dims=(3,), grammars=3, data=8, points=60, levels=9, population=200),
    FiniteSizeScaling(depths=(3, 4, 5), symbols=(8,), grammars=4, data=4, levels=5, size=100,
                      copies=2),
    GrammarLearning(v=6, L=2, multiplicities=(2, 3), grammars=3, sizes=(3, 8), test=40),
    Information(v=4, m=2, L=2, grammars=3, data=60, intervals=4),
    Memorization(numbers=(30, 120), ranks=(4, 6), rank=4, memories=(40, 200, 1000), seeds=4,
                 test=300),
    PhaseDiagram(size=100, copies=2, depth=6, symbols=(8,)),
    JacobianSpectrum(v=4, m=2, L=2, grammars=3, data=6, levels=4, ranks=3),
    LocalDenoisers(v=4, m=2, L=2, noises=("masking",), grammars=3, data=6, levels=3, heights=(1,),
                   deepest=3),
    MostLikelyStrings(v=6, m=2, L=2, grammars=3, data=20, levels=4),
    ParallelUnmasking(v=4, m=2, L=2, grammars=3, data=60, strings=20, steps=(1, 2, 4),
                      sizes=((2, 2), (3, 1))),
    PosteriorEntropy(v=4, m=2, L=2, grammars=3, data=6, levels=4),
    RuleWeights(v=4, m=2, L=1, grammars=3, times=(0.0, 0.2), numbers=(50, 100)),
    RepresentationPeak(seeds=3, test=400, mixtures=((3, 2, 0.3),)),
    RepresentationalSimilarity(L=2, t=(0.1, 0.6), data=24, grammars=2),
    SampleComplexity(grammars=3, small=8, small_m=(2, 3), large=16, large_m=(2, 3), heights=(1,)),
    Sharpening(depths=(2, 3), grammars=4, data=4, size=100),
    Speciation(v=8, m=2, L=2, grammars=3, data=8, levels=9, spins=(32, 64), chains=80),
    Susceptibility(v=8, m=2, depths=(2, 3), grammars=3, data=2, trajectories=8, levels=5),
    TrainingTime(psi_p=4.0, psi_n=(2.0, 2.5), dimension=8, draws=3, points=4),
    TreeMixture(groups=(2, 2), variances=(2.0, 1.0), weights=(1.0, 0.5), sigmas=(0.3, 3.0),
                objects=40, triplets=60, mixtures=4),
    TreeLoss(v=4, rules=(0, 1, 1), L=2, grammars=3, data=4, levels=5),
    TreeShapes(v=8, depths=(2, 3), grammars=3, data=2, levels=6),
    UTurn(v=8, m=2, depths=(2, 3), grammars=4, data=60, levels=6, num_steps=(2, 4, 8)),
    Variants(L=3, grammars=3, data=8, levels=7),
)  # fmt: skip
"""An instance of every experiment."""
LAWLESS = {"representational_similarity"}
"""Experiments without a law: ``predict`` refuses in one line."""
UNMEASURED = {"phase_diagram"}
"""Experiments that compare laws alone: ``measure`` refuses in one line."""
