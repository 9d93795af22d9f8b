"""Law: joint fluctuations of exact posterior samples against the annealed two-state chain.

The chain is exact for averaged rules; at finite v it lies low by a resolved amount that shrinks as
1/v: C(d)/C(0) by up to 0.45/v (seen with 96 grammars at v = 16, 32 and 64), chi by 1 to 5 %.
The law is tested with these biases as tolerances (BIAS / v and CHI_BIAS / v, the latter relative);
everything else is statistical error, with grammars as units.  The tests share one budget: ALPHA is
the probability that any of them fails by chance.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import xarray as xr
from laws import Laws
from scipy import stats

from hierdiff.sims.correlations import Correlations
from hierdiff.sims.metrics.fluctuations import peak, ratio
from hierdiff.theory.rhm.dynamical_correlations import (
    leaf_correlation,
    population_susceptibility,
    second_eigenvalue,
    susceptibility,
)
from hierdiff.theory.rhm.mean_field import annealed_beliefs, critical_noise, effective_epsilon

ALPHA = 1e-4
BIAS, CHI_BIAS = 0.5, 1.3
GRAMMARS = 30
CASES = [(32, 8, 2, 7), (64, 16, 2, 6), (24, 6, 2, 6), (16, 16, 3, 4)]
SHARES = (0.8, 0.9, 1.0, 1.1)
# t has GRAMMARS - 1 degrees of freedom; chi and the L ratios of every case and noise level
Z = float(stats.t.isf(ALPHA / (2 * len(SHARES) * sum(L + 1 for *_, L in CASES)), GRAMMARS - 1))


@lru_cache
def measured(case: tuple[int, int, int, int]) -> xr.Dataset:
    experiment = Correlations(*case, seed=11)
    critical = critical_noise(experiment.rhm)
    return Correlations(
        *case, grammars=GRAMMARS, data=8, trajectories=48, levels=len(SHARES), seed=11,
        low=SHARES[0] * critical, high=SHARES[-1] * critical,
    ).measure()  # fmt: skip


def z_scores(case: tuple[int, int, int, int], wrong: str = "", allowed: float = 1.0) -> np.ndarray:
    """[noise level, chi and the L ratios]: distance beyond the stated bias in standard errors."""
    ds, v, s = measured(case), case[0], case[2]
    rhm = Correlations(*case).rhm
    C = wrong_chain(case, ds.t.values, wrong) if wrong else leaf_correlation(rhm, ds.t.values)
    ratios = C[:, 1:] / C[:, :1]
    chi = 1 + ratios @ ((s - 1) * float(s) ** np.arange(rhm.L))
    if not wrong:
        np.testing.assert_allclose(chi, susceptibility(rhm, ds.t.values))
    gaps = np.abs(ds.correlation.values.T[:, 1:] - ratios) - allowed * BIAS / v
    chi_gap = np.abs(ds.susceptibility.values - chi) - allowed * CHI_BIAS / v * chi
    errors = np.column_stack([ds.susceptibility_error, ds.correlation_error.values.T[:, 1:]])
    return np.maximum(np.column_stack([chi_gap, gaps]), 0) / errors


def wrong_chain(case: tuple[int, int, int, int], epsilon: np.ndarray, wrong: str) -> np.ndarray:
    """Plausible mistakes in the chain, as covariances [t, L + 1]."""
    rhm = Correlations(*case).rhm
    right = leaf_correlation(rhm, epsilon)
    up, _, marginal = annealed_beliefs(rhm, epsilon)
    memory = second_eigenvalue(up[:, 1:], rhm)
    if wrong == "brothers independent given their parent":
        steps = memory[:, ::-1] ** 2
        parents = 4 * (marginal * (1 - marginal))[:, -2::-1]
        return np.column_stack([right[:, 0], parents * np.cumprod(steps, axis=1)])
    if wrong == "one path instead of two":
        below = np.cumprod(memory[:, :0:-1], axis=1)
        return np.column_stack([right[:, :2], right[:, 2:] / below])
    # the eigenvalue at the threshold on every level and at any noise
    powers = second_eigenvalue(up[:, 1:].mean(axis=1), rhm)[:, None] ** (2 * np.arange(rhm.L + 1))
    return np.asarray(right[:, :1] * powers)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_samples_follow_the_chain(case: tuple[int, int, int, int], laws: Laws) -> None:
    z = z_scores(case)
    laws.holds(
        "two-state chain of correlated changes", z, without=z_scores(case, allowed=0.0),
        allowance=f"{BIAS} / v of C(d)/C(0), {CHI_BIAS} / v of chi: the chain is exact as v grows",
    )  # fmt: skip
    assert z.max() < Z, f"largest z {z.max():.1f} at (noise, chi or d) {np.argwhere(z == z.max())}"


@pytest.mark.parametrize(
    "wrong",
    ["brothers independent given their parent", "one path instead of two", "one eigenvalue"],
)
def test_a_wrong_chain_is_rejected(wrong: str, laws: Laws) -> None:
    z = z_scores(CASES[0], wrong).max()
    laws.rejects("two-state chain of correlated changes", wrong, z)
    assert z > 2 * Z


def test_the_bias_shrinks_as_v_grows() -> None:
    """Largest |C(d)/C(0) - chain| over d and noise, at m / v = 1/4 and equal depth."""

    def distance(v: int) -> float:
        ds = measured((v, v // 4, 2, 6))
        C = leaf_correlation(Correlations(v, v // 4, 2, 6).rhm, ds.t.values)
        return float(np.abs(ds.correlation.values.T - C / C[:, :1]).max())

    assert distance(64) < 0.6 * distance(16)


def masking(L: int, low: float, high: float, levels: int) -> xr.Dataset:
    return Correlations(
        L=L, noise="masking", grammars=24, data=8, trajectories=48, low=low, high=high,
        levels=levels, seed=12,
    ).measure()  # fmt: skip


@pytest.mark.parametrize(("noise", "t"), [("masking", 0.26), ("uniform", 0.17), ("gaussian", 0.23)])
def test_density_evolution_has_the_susceptibility_of_real_noise(
    noise: str, t: float, laws: Laws
) -> None:
    experiment = Correlations(
        L=5, noise=noise, grammars=GRAMMARS, data=4, trajectories=48, low=t, high=t, levels=1,
        seed=14,
    )  # fmt: skip
    ds = experiment.measure()
    law = population_susceptibility(experiment.rhm, experiment.process, t, size=4000, copies=6)
    # planted: the chain, with leaves that are as uncertain on average
    chain = float(susceptibility(experiment.rhm, effective_epsilon(experiment.process, t)))
    chi, error = float(ds.susceptibility[0]), float(ds.susceptibility_error[0])

    def z(value: float, allowed: float = CHI_BIAS / experiment.v) -> float:
        return float(max(abs(chi - value) - allowed * value, 0) / np.hypot(error, law.error))

    text = "susceptibility by density evolution against exact samples"
    laws.holds(
        text, z(float(law.value)), without=z(float(law.value), 0.0),
        allowance=f"{CHI_BIAS} / v of chi: a grammar's nodes share rules, a population's do not",
    )  # fmt: skip
    assert z(float(law.value)) < Z
    laws.rejects(text, "the chain of the epsilon-process", z(chain))
    assert z(chain) > 2 * Z


@pytest.mark.slow
def test_masking_peaks_at_its_own_threshold() -> None:
    """At L = 9 near t = 0.29, 3.09(9) at 0.30, far from where the epsilon-process peaks."""
    ds = masking(9, 0.22, 0.42, 11)
    V = ds.block_variance.values
    found = peak(ds.t.values, V[:, -1], V[:, 0], seed=0)
    assert 0.28 < found.place - 2 * found.place_error < found.place + 2 * found.place_error < 0.33
    at_peak = ratio(V[:, -1], V[:, 0])
    here = int(np.argmin(np.abs(ds.t.values - 0.30)))
    z = (at_peak.value[here] - 3.09) / np.hypot(at_peak.error[here], 0.09)
    assert abs(z) < 4
    far = masking(9, 0.73, 0.73, 1)
    assert far.susceptibility[0] < found.height - 4 * float(far.susceptibility_error[0])
    # planted: the chain at the masked fraction as epsilon puts 2.09 or less where 3.1 is measured
    naive = float(susceptibility(Correlations(L=9).rhm, 0.30))
    assert at_peak.value[here] - naive > 4 * at_peak.error[here]


@pytest.mark.slow
def test_peak_moves_to_the_threshold_and_grows_with_depth() -> None:
    """Height of the epsilon-process's peak grows with L as the chain's, place tends to epsilon*."""
    heights, places = [], []
    for L in (5, 7, 9):
        experiment = Correlations(
            L=L, grammars=24, data=8, trajectories=48, low=0.67, high=0.77, levels=11, seed=13
        )
        V = experiment.measure().block_variance.values
        found = peak(experiment.times, V[:, -1], V[:, 0], seed=L)
        chain = susceptibility(experiment.rhm, experiment.times)
        chain = np.stack([chain, chain])  # two units without scatter: the place alone is wanted
        theory = peak(experiment.times, chain, np.ones_like(chain), resamples=2)
        assert (
            abs(found.height - theory.height)
            < CHI_BIAS / 32 * theory.height + 4 * found.height_error
        )
        assert abs(found.place - theory.place) < 4 * found.place_error + 0.002
        heights.append(found.height)
        places.append(abs(found.place - critical_noise(experiment.rhm)))
    assert heights == sorted(heights)
    assert places[2] < places[0]
