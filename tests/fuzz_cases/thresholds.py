"""Cases of density evolution: sizes at which a call is quick."""

from __future__ import annotations

from fuzz import Case

from hierdiff import RHM, UniformNoise, theory

EXEMPT = {
    f"hierdiff.theory.rhm.critical_exponents.{name}": "a result; its own functions make it"
    for name in ("CriticalExponents", "BeliefSlopes")
}


def cases() -> list[Case]:
    """Small populations, and grammars that have a transition and a bound."""
    rhm, wide = RHM(v=4, m=2, s=2, L=2), RHM(v=16, m=4, s=2, L=2)
    noise, small = UniformNoise(4), {"size": 100, "copies": 3, "seed": 0}
    return [
        Case("hierdiff.theory.rhm.density_evolution.critical_level", theory.critical_level,
             {"rhm": rhm, "noise": noise, "depth": 4, **small},
             keep=("copies",)),  # 255 populations are long, not endless
        Case("hierdiff.theory.rhm.density_evolution.half_belief_level", theory.half_belief_level,
             {"rhm": RHM(v=8, m=2, s=2, L=2), "noise": UniformNoise(8), **small},
             keep=("copies",)),
        Case("hierdiff.theory.rhm.dynamical_correlations.population_susceptibility",
             theory.population_susceptibility,
             {"rhm": rhm, "noise": noise, "t": [0.2, 0.4], "depths": [1, 2], **small},
             keep=("copies",)),
        Case("hierdiff.theory.rhm.critical_exponents.critical_exponents", theory.critical_exponents,
             {"rhm": RHM(v=8, m=3, s=2, L=1), "noise": UniformNoise(8), "t": 0.208, "levels": 30,
              **small, "size": 200},
             # 255 of either are allowed and take longer than a case may; tests refuse wrong ones
             keep=("levels", "copies")),
        Case("hierdiff.theory.rhm.critical_exponents.belief_slopes", theory.belief_slopes,
             {"rhm": rhm, "noise": noise, "t": 0.3, "delta": 0.01, "levels": 2, **small}),
        Case("hierdiff.theory.rhm.bounds.overlap_bound", theory.overlap_bound,
             {"rhm": rhm, "q": 0.4}),
        Case("hierdiff.theory.rhm.bounds.overlap_threshold", theory.overlap_threshold,
             {"rhm": wide}),
        Case("hierdiff.theory.rhm.bounds.threshold_upper_bound", theory.threshold_upper_bound,
             {"rhm": wide, "noise": UniformNoise(16), "levels": 2, **small}),
    ]  # fmt: skip
