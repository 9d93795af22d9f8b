"""Cases of exact inference in torch: evidence as tensors, channels of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fuzz import Case

_V = "hierdiff.validation.exact_inference."

EXEMPT = {
    f"hierdiff.validation.experiments.exact_targets.NetworkExactTargets.{name}": "trains networks; "
    "its arguments are those of the experiment, or come from the runner"
    for name in ("datasets", "figure", "measure", "summary")
}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    from hierdiff import RHM, MaskingNoise
    from hierdiff.validation.exact_inference import denoiser, posterior

    grammar, noise = RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)

    def evidence() -> dict[str, Any]:
        return {
            "grammar": grammar, "log_evidence": torch.zeros(3, 4, 4), "root": [0, 1, 2],
            "log_weights": [torch.zeros(4, 2), torch.zeros(4, 2)], "log_prior": torch.zeros(4),
            "dtype": torch.float32, "device": "cpu", "engine": "torch",
        }  # fmt: skip

    def channels() -> dict[str, Any]:
        return {"x": torch.full((2, 4, 5), 0.2), "log_snr": torch.zeros(2),
                "label": torch.tensor([0, 4])}  # fmt: skip

    def logits() -> dict[str, Any]:
        return {"logits": torch.zeros(2, 4, 4), "log_evidence": torch.zeros(2, 4, 4),
                "root": np.array([0, 1])}  # fmt: skip

    exact, loss = denoiser.ExactDenoiser(grammar, noise), denoiser.KLToPosterior(grammar)
    two = {"x": channels()["x"], "log_snr": channels()["log_snr"]}
    return [
        Case(f"{_V}posterior.log_evidence", posterior.log_evidence, evidence),
        Case(f"{_V}posterior.marginals", posterior.marginals,
             lambda: {**evidence(), "levels": (0, -1)}),
        Case(f"{_V}posterior.rule_counts", posterior.rule_counts, evidence),
        Case(f"{_V}denoiser.posterior_kl", denoiser.posterior_kl,
             {"belief": torch.full((2, 4, 4), 0.25), "logits": torch.zeros(2, 4, 4)}),
        Case(f"{_V}denoiser.ExactDenoiser", denoiser.ExactDenoiser,
             {"grammar": grammar, "noise": noise}),
        Case(f"{_V}denoiser.ExactDenoiser.forward", exact.forward, channels),
        Case(f"{_V}denoiser.ExactDenoiser.sweeps", exact.sweeps, channels),
        Case(f"{_V}denoiser.ExactDenoiser.log_evidence", exact.log_evidence, two),
        Case(f"{_V}denoiser.KLToPosterior", denoiser.KLToPosterior, {"grammar": grammar}),
        Case(f"{_V}denoiser.KLToPosterior.forward", loss.forward, logits),
        Case(f"{_V}denoiser.KLToPosterior.by_level", loss.by_level, logits),
    ]  # fmt: skip
