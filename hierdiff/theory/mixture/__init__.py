"""Theory of low-rank Gaussian mixtures, and of denoisers of finite data sets.

=======================  ========================================================================
posterior                class posterior, denoiser, score and density, exact
feature_snr              signal-to-noise ratio of denoised features, and its peak
snr_integrals            the one-dimensional integrals behind it
speciation               noise level below which the class is chosen
collapse                 noise level below which a data set is memorised
memorisation             the exact denoiser of a finite data set
softmax_averages         the averages over a data set behind it
geometric_memorisation   gaps in the spectrum of the score, PCA of few data
score_machines           linear, equivariant and local denoisers
covariance_windows       windows from the covariance of data, and their local denoiser
random_features          random-feature denoisers: generalisation first, memorisation later
training_time            their whole spectrum and their losses along training, class by class
time_change              noise levels in the VE, VP and Ornstein-Uhlenbeck conventions; combined
=======================  ========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.theory.mixture.collapse import collapse_time, mutual_information_mixture
    from hierdiff.theory.mixture.feature_snr import (
        bayes_accuracy,
        decompose,
        onset_delta,
        snr,
        snr_clean,
        snr_mean_field,
        snr_peak,
    )
    from hierdiff.theory.mixture.memorisation import (
        empirical_denoise,
        empirical_posterior,
        empirical_score,
    )
    from hierdiff.theory.mixture.posterior import (
        class_posterior,
        denoise,
        jacobian,
        jacobian_spectrum,
        log_density,
        score,
    )
    from hierdiff.theory.mixture.speciation import speciation_time
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "bayes_accuracy",
    "class_posterior",
    "collapse_time",
    "decompose",
    "denoise",
    "empirical_denoise",
    "empirical_posterior",
    "empirical_score",
    "jacobian",
    "jacobian_spectrum",
    "log_density",
    "mutual_information_mixture",
    "onset_delta",
    "score",
    "snr",
    "snr_clean",
    "snr_mean_field",
    "snr_peak",
    "speciation_time",
]
