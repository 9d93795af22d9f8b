"""Cases of contrastive learners and of local denoisers."""

from __future__ import annotations

import numpy as np
from fuzz import Case
from small_experiments import SMALL

from hierdiff import RHM, MaskingNoise
from hierdiff.theory.mixture import covariance_windows
from hierdiff.theory.rhm import locality, tree_pairs
from hierdiff.theory.zero_shot import captioned_scenes, contrastive

_RHM, _ZERO, _MIX = (f"hierdiff.theory.{x}" for x in ("rhm", "zero_shot", "mixture"))
EXEMPT = {
    f"{_RHM}.locality.ExcessLoss": "a result; its own functions make it",
    f"{_RHM}.tree_pairs.TreePair": "a result; its own functions make it",
    f"{_RHM}.tree_pairs.TextPair": "a result; its own functions make it",
    f"{_RHM}.tree_pairs.TextPart": "a result; its own functions make it",
    **{
        f"hierdiff.sims.contrastive_learning_figure.{name}": "draws the datasets of its experiment"
        for name in ("draw_scenes", "draw_texts", "draw_trees")
    },
    f"{_ZERO}.contrastive.InfoNCE": "a result; its own functions make it",
    f"{_ZERO}.captioned_scenes.SpectralPart": "a result; its own functions make it",
    f"{_ZERO}.contrastive.Spectrum": "a result; its own functions make it",
}
_NETWORKS = "hierdiff.validation.experiments"
EXEMPT |= {
    f"{_NETWORKS}.{name}.{word}": "trains networks; its arguments are those of the experiment, or "
    "come from the runner"
    for name in (
        "dual_encoders.NetworkContrastive",
        "local_networks.NetworkLocality",
        "speciation.NetworkSpeciation",
        "string_pairs.NetworkStringPairs",
    )
    for word in ("datasets", "figure", "measure", "predict", "summary")
}
EXEMPT |= {
    f"{_NETWORKS}.{name}": "a module of torch, built by the experiment"
    for name in ("dual_encoders.DualEncoder", "string_pairs.StringEncoder",
                 "string_pairs.StringPair")
}  # fmt: skip


def cases() -> list[Case]:
    """Small scenes, trees and data."""
    scenes = captioned_scenes.CaptionedScenes((3, 3), 0.7)
    swap = scenes.tasks["colour exchanged"]
    grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(4)
    x_t = noise.corrupt(grammar.sample(3, seed=1).leaves, 0.4, seed=2)
    windows = locality.sliding_windows(4, 2)
    beliefs = locality.windowed_denoise(grammar, noise, x_t, 0.4, windows)
    points = np.random.default_rng(0).standard_normal((6, 3))
    zero, rhm, mix = f"{_ZERO}.contrastive", f"{_RHM}.locality", f"{_MIX}.covariance_windows"
    run = {"folder": None, "workers": 1, "cluster": None}
    parts = {"contrastive_learning": ("trees", "texts"), "local_denoisers": ("lengths", "windows")}
    methods = [
        Case(f"{type(one).__module__}.{type(one).__qualname__}.{word}", getattr(one, word), run,
             keep=("cluster",))  # an address that nobody answers takes seconds
        for one in SMALL for word in parts.get(one.name, ())
    ]  # fmt: skip
    return [
        *methods,
        Case(f"{_ZERO}.captioned_scenes.CaptionedScenes", captioned_scenes.CaptionedScenes,
             {"values": (3, 3), "fidelity": 0.7, "names": ("shape", "colour")}),
        Case(f"{_ZERO}.captioned_scenes.width_thresholds", captioned_scenes.width_thresholds,
             {"scenes": scenes}),
        Case(f"{zero}.canonical_spectrum", contrastive.canonical_spectrum,
             {"joint": scenes.joint}),
        Case(f"{zero}.spectral_scores", contrastive.spectral_scores,
             {"spectrum": contrastive.canonical_spectrum(scenes.joint), "width": 4, "seed": 0}),
        Case(f"{zero}.zero_shot_accuracy", contrastive.zero_shot_accuracy,
             {"joint": scenes.joint, "scores": scenes.joint, "wrong": swap}),
        Case(f"{zero}.fit_infonce", contrastive.fit_infonce,
             {"joint": scenes.joint, "width": 2, "wrong": swap[:, 0], "hard": 0.3,
              "negatives": None, "iterations": 20, "seed": 0},
             keep=("iterations",)),  # as many as are asked for are done
        Case(f"{_ZERO}.captioned_scenes.denoising_scores", captioned_scenes.denoising_scores,
             {"scenes": scenes, "masked": 1, "loss": "log"}),
        Case(f"{_RHM}.tree_pairs.tree_pair", tree_pairs.tree_pair,
             {"grammar": grammar, "noise": noise, "t": 0.3, "first": (1, 0), "second": (1, 1),
              "n": 20, "seed": 0, "text": False}),
        Case(f"{_RHM}.tree_pairs.occluded_text", tree_pairs.occluded_text,
             {"grammar": grammar, "level": 1, "kept": 0.7}),
        Case(f"{_RHM}.tree_pairs.noisy_text", tree_pairs.noisy_text,
             {"grammar": grammar, "noise": noise, "t": 0.3, "level": 1, "n": 40, "seed": 0}),
        Case(f"{_RHM}.tree_pairs.text_parts", tree_pairs.text_parts,
             {"grammar": grammar, "level": 1, "kept": 0.7}),
        Case(f"{_RHM}.tree_pairs.text_widths", tree_pairs.text_widths,
             {"pair": tree_pairs.occluded_text(grammar, 1, 0.7), "share": 0.9}),
        Case(f"{rhm}.sliding_windows", locality.sliding_windows, {"n_leaves": 4, "width": 2}),
        Case(f"{rhm}.tree_windows", locality.tree_windows, {"grammar": grammar, "height": 1}),
        Case(f"{rhm}.windowed_denoise", locality.windowed_denoise,
             {"grammar": grammar, "noise": noise, "x_t": x_t, "t": 0.4, "windows": windows}),
        Case(f"{rhm}.excess_loss", locality.excess_loss,
             {"grammar": grammar, "noise": noise, "t": 0.4, "windows": windows, "n": 4, "seed": 0}),
        Case(f"{rhm}.subtree_belief", locality.subtree_belief,
             {"grammar": grammar, "noise": noise, "t": 0.4, "height": 1, "n": 4, "seed": 0}),
        Case(f"{rhm}.markov_length", locality.markov_length,
             {"widths": (1.0, 2.0, 4.0), "excess": [0.3, 0.1, 0.0], "tolerance": 0.05},
             nan=("excess", "tolerance")),  # where no window is good enough
        Case(f"{rhm}.explained_share", locality.explained_share,
             {"outputs": beliefs, "local": beliefs}),
        Case(f"{mix}.covariance_windows", covariance_windows.covariance_windows,
             {"data": points, "size": 2, "sigma": 0.5}),
        *(Case(f"{mix}.{f.__name__}", f, {"data": points, "sigma": 0.5,
                                          "windows": np.eye(3, dtype=bool), **more})
          for f, more in ((covariance_windows.windowed_gaussian, {"x": points[:2]}),
                          (covariance_windows.windowed_variance, {}))),
        Case(f"{mix}.windowed_average", covariance_windows.windowed_average,
             {"data": points, "x": points[:2], "sigma": 0.5, "windows": np.eye(3, dtype=bool)}),
    ]  # fmt: skip
