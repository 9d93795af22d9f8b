"""Correlations: the law is that of the epsilon-process alone."""

from __future__ import annotations

from dataclasses import replace

from contract import GIVEN, Case

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.noise import NoiseProcess
from hierdiff.sims import Correlations, EmpiricalModel, LearnedGrammar
from hierdiff.theory.exact_models import ExactRHM

GRAMMAR = RHM(8, 2, 2, 3).draw(0)
DATA = GRAMMAR.sample(6, 1).leaves
SMALL = Correlations(v=8, m=2, L=3, noise="epsilon", trajectories=8, low=0.3, high=0.9, levels=3)
VARIABLES = ("covariance", "correlation", "susceptibility")
PROCESSES: tuple[NoiseProcess, ...] = (MaskingNoise(8), UniformNoise(8), GaussianNoise(8))
TRAINING = GRAMMAR.sample(60, 2).leaves


def learned(noise: NoiseProcess) -> LearnedGrammar:
    return LearnedGrammar.fit(GRAMMAR.sample(400, 3).leaves, noise, symbols=8)


CASES = {
    "exact": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, EpsilonNoise(8)), DATA), VARIABLES,
        lambda e, ds: e.predict(t=ds.t.values),
        lambda: [(replace(SMALL, noise=n.name), ExactRHM(GRAMMAR, n), DATA) for n in PROCESSES],
    ),
    "exact, given latents": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, EpsilonNoise(8)).given_latents(GIVEN), DATA), VARIABLES,
        lambda e, ds: e.predict(t=ds.t.values),
        lambda: [(replace(SMALL, noise=n.name), ExactRHM(GRAMMAR, n).given_latents(GIVEN), DATA)
                 for n in PROCESSES],
    ),
    "fitted": Case(
        SMALL, lambda: (EmpiricalModel(TRAINING, EpsilonNoise(8)), TRAINING[:6]), VARIABLES,
        lambda e, ds: e.predict(t=ds.t.values),
        lambda: [(replace(SMALL, noise=n.name), EmpiricalModel(TRAINING, n), TRAINING[:6])
                 for n in PROCESSES],
    ),
    "fitted, grammar": Case(
        SMALL, lambda: (learned(EpsilonNoise(8)), DATA), VARIABLES,
        lambda e, ds: e.predict(t=ds.t.values),
        lambda: [(replace(SMALL, noise=n.name), learned(n), DATA) for n in PROCESSES],
    ),
}  # fmt: skip
CANNOT = {
    "chain": "the two-state chain predicts the epsilon-process, which has no reverse chain",
    "network": "the two-state chain predicts the epsilon-process, which shows a network nothing",
}
