"""Cases of the studies of networks on single claims: factors of the SNR, two objectives."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import xarray as xr
from fuzz import Case

_E = "hierdiff.validation.experiments."

EXEMPT = {
    f"{_E}objectives.GrammarNetworks.grammar": "draws a grammar from named streams",
}


def _grid(ds: dict[str, str], sizes: dict[str, Any]) -> xr.Dataset:
    """Numbers along named dimensions."""
    found = {
        name: (tuple(dims.split()), np.full([len(sizes[d]) for d in dims.split()], 0.5))
        for name, dims in ds.items()
    }
    return xr.Dataset(found, {**sizes, "source": "network"})


def _factors() -> dict[str, Any]:
    sizes = {"run": [0, 1], "sigma": [0.1, 0.5],
             "quantity": ["ln snr", "by strength", "by confidence"]}  # fmt: skip
    curves = dict.fromkeys(("snr", "strength", "confidence"), "run sigma")
    ds = _grid({**curves, "gap": "quantity sigma", "gap_error": "quantity sigma"}, sizes)
    ds = ds.assign_coords(classes=("run", [3, 2]), rank=("run", [4, 4]), delta=("run", [0.2, 0.3]))
    law = ds.drop_vars(["gap", "gap_error"])
    return {"ds": ds, "law": law, "closed": law}


def _objectives() -> dict[str, Any]:
    from hierdiff.validation.experiments.objectives import OBJECTIVES, PAIRS

    sizes = {"objective": list(OBJECTIVES), "observer": ["upper", "lower"], "t": [0.1, 0.5],
             "layer": ["input", "up 0", "down 0", "output"], "level": [0, 1], "run": [0, 1],
             "condition": ["unconditional", "class given"], "pair": list(PAIRS)}  # fmt: skip
    plane, known = "objective observer layer t", "condition observer t"
    return {"ds": _grid({
        "layer_accuracy": plane, "layer_accuracy_error": plane,
        "layer_accuracy_by_network": f"run {plane}", "r2": "objective layer level t",
        "r2_error": "objective layer level t", "exact_r2": "level t", "exact_best": known,
        "kappa": "pair observer t", "kappa_error": "pair observer t", "ceiling": "observer",
        "label_only": "observer",
    }, sizes)}  # fmt: skip


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    import matplotlib.pyplot as plt

    from hierdiff import RHM, GaussianNoise, LowRankMixture
    from hierdiff.sims.metrics import estimators, odd_one_out
    from hierdiff.theory.exact_models import ExactMixture
    from hierdiff.validation.experiments import objectives, objectives_report, snr_factors

    def mixture() -> LowRankMixture:
        return LowRankMixture.random(6, 2, 2, delta=0.2, seed=0)

    def closed(figure: Any) -> Any:
        @functools.wraps(figure)
        def draw(*args: Any, **kwargs: Any) -> None:
            try:
                figure(*args, **kwargs).canvas.draw()
            finally:
                plt.close("all")

        return draw

    rows = np.random.default_rng(0).random((6, 3))
    return [
        Case("hierdiff.sims.metrics.estimators.student_score", estimators.student_score,
             {"values": np.array([[1.0, 2.0], [2.0, 5.0]])}),
        Case("hierdiff.sims.metrics.odd_one_out.error_consistency", odd_one_out.error_consistency,
             {"one": np.array([1.0, 0.0, 0.5]), "other": np.array([1.0, 1.0, 0.0])}),
        Case(f"{_E}snr_factors.implied_beliefs", snr_factors.implied_beliefs,
             {"output": np.ones((2, 3)), "given": rows.reshape(3, 2, 3)}),
        Case(f"{_E}snr_factors.separated_factors", snr_factors.separated_factors,
             lambda: {"model": ExactMixture(mixture(), GaussianNoise()), "mixture": mixture(),
                      "sigmas": (0.1, 0.5), "n": 8, "seed": 0}),
        Case(f"{_E}snr_factors.factor_figure", closed(snr_factors.factor_figure), _factors),
        Case(f"{_E}snr_factors.MixtureFactors", snr_factors.MixtureFactors,
             {"classes": (2,), "ranks": (2,), "deltas": (0.2,), "dim": 6, "sigmas": (0.1, 0.5),
              "networks": 2, "steps": 2, "width": 8, "depth": 1, "label_share": 0.5, "test": 8,
              "architecture": "vector_mlp"}),
        Case(f"{_E}objectives.GrammarNetworks", objectives.GrammarNetworks,
             {"v": 4, "m": 2, "s": 2, "L": 2, "networks": 2, "observers": ("upper",),
              "temperature": 0.2, "objects": 20, "n_readout": 30, "steps": 2, "batch": 4,
              "width": 8, "label_share": 0.5, "architecture": "tree_unet"}),
        Case(f"{_E}objectives.class_loss", objectives.class_loss,
             lambda: {"grammar": RHM(4, 2, 2, 2).draw(0), "noise": GaussianNoise(4), "batch": 4,
                      "seed": 0}),
        Case(f"{_E}objectives.latent_regression", objectives.latent_regression,
             {"features": rows, "targets": rows[:, :2], "unseen": rows[:2], "truth": rows[:2, :2],
              "ridge": 1.0}),
        Case(f"{_E}objectives.observer_weights", objectives.observer_weights,
             {"observer": "upper", "levels": 3}),
        Case(f"{_E}objectives_report.objectives_figure",
             closed(objectives_report.objectives_figure), _objectives),
    ]  # fmt: skip
