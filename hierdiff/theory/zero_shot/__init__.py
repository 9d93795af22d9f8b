"""Denoising errors as a classifier: what it converges to, how fast, and when it does not.

=======================  ========================================================================
scores                   scores of classes, their laws at a finite budget, Bayes accuracy
weightings               weights of denoising errors as functions of time
gaussian_classes         Gaussian classes, and two of them with one covariance
rhm_classes              classes of a hierarchical grammar, and of any of its nodes
scenes                   shape and texture in conflict, and scenes of two objects
captioned_scenes         scenes and captions: spectra, tasks, the denoising classifier
contrastive              contrastive learners of a joint law
=======================  ========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.theory.zero_shot.gaussian_classes import (
        GaussianClasses,
        band_weights,
        crossover,
        cue_conflict,
        design_accuracy,
        effective_weights,
        linear_accuracy,
    )
    from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM, NodeClasses
    from hierdiff.theory.zero_shot.scenes import PROMPTS, Prompt, ShapeTexture, TwoObjectScenes
    from hierdiff.theory.zero_shot.scores import (
        ClassModel,
        LogRatio,
        bayes_accuracy,
        class_scores,
        gaussian_moments,
        log_ratio,
        normal_accuracy,
        stable_accuracy,
    )
    from hierdiff.theory.zero_shot.weightings import (
        WEIGHTINGS,
        Buckets,
        Weight,
        band,
        eps_error,
        fit_buckets,
        snr_at,
        snr_slope,
        weighting,
        x0_error,
    )
else:
    from hierdiff._lazy import lazy

    _RENAMED = {
        "BoundObjects": "TwoObjectScenes", "SoftLeaves": "GaussianRHM",
        "TwoChannels": "ShapeTexture",
        "ClassWorld": "ClassModel",
    }  # fmt: skip
    __getattr__, __dir__ = lazy(__name__, __file__, _RENAMED)

__all__ = [
    "PROMPTS",
    "WEIGHTINGS",
    "Buckets",
    "ClassModel",
    "GaussianClasses",
    "GaussianRHM",
    "LogRatio",
    "NodeClasses",
    "Prompt",
    "ShapeTexture",
    "TwoObjectScenes",
    "Weight",
    "band",
    "band_weights",
    "bayes_accuracy",
    "class_scores",
    "crossover",
    "cue_conflict",
    "design_accuracy",
    "effective_weights",
    "eps_error",
    "fit_buckets",
    "gaussian_moments",
    "linear_accuracy",
    "log_ratio",
    "normal_accuracy",
    "snr_at",
    "snr_slope",
    "stable_accuracy",
    "weighting",
    "x0_error",
]
