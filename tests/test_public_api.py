"""The public surface: what exists, that it is documented, and what importing it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hierdiff

SURFACE = {
    "hierdiff": [
        "DataModel", "Derivations", "DiffusionModel", "EpsilonNoise", "Experiment",
        "GaussianNoise", "Grammar", "LowRankMixture", "MaskingNoise", "NoiseProcess", "RHM",
        "UniformNoise", "cite", "experiment", "run",
    ],
    "hierdiff.citations": ["Entry", "cite", "cited_in", "entries", "papers_of", "places"],
    "hierdiff.theory": [
        "TwoObjectScenes", "GaussianClasses", "GaussianRHM", "ShapeTexture", "class_scores",
        "clustering_cost", "coincidence_cost", "kernel_accuracy", "kernel_cost", "truncated",
        "validity", "cue_conflict", "log_ratio", "weighting",
        "expected_accuracy", "label_accuracy", "noise_ceiling", "odd_one_out", "tree_similarity",
        "ExactMixture", "ExactPCFG", "bayes_accuracy", "class_posterior", "collapse_time",
        "decompose", "denoise", "empirical_denoise", "empirical_posterior", "empirical_score",
        "jacobian", "jacobian_spectrum", "log_density", "mutual_information_mixture",
        "onset_delta", "score",
        "snr", "snr_clean", "snr_mean_field", "snr_peak", "speciation_time",
        "CriticalLevel", "Estimate", "ExactRHM", "KestenStigum", "NodeBeliefs",
        "OrderParameter", "Posterior", "annealed_beliefs", "class_change", "committor",
        "conditional_entropy", "correlation_decay_exponent", "correlation_length_exponent",
        "critical_belief", "critical_level", "critical_noise", "denoise_symbols",
        "downward_map", "effective_epsilon", "finite_depth_threshold", "fixed_points",
        "free_energy", "has_transition", "information_slope", "kesten_stigum",
        "kesten_stigum_annealed", "leaf_correlation", "mmse", "mutual_information",
        "node_information", "population_dynamics", "posterior", "root_map",
        "PopulationSusceptibility", "population_susceptibility",
        "second_eigenvalue", "sibling_states", "stability", "support_bound",
        "specialise", "support_laws", "support_threshold",
        "susceptibility", "transfer_matrix", "true_beliefs", "upward_derivative", "upward_map",
        "BeliefSlopes", "CriticalExponents", "belief_slopes", "critical_exponents",
        "half_belief_level", "level_set_bound", "level_set_laws", "level_set_threshold",
        "overlap_bound", "overlap_threshold", "support_exponents", "threshold_upper_bound",
        "Explanations", "LearnedWeights", "TreePosterior", "correlation_length",
        "denoiser_jacobian", "denoiser_spectrum", "fit_weights", "score_divergence",
        "static_correlations", "tree_posterior",
    ],
    "hierdiff.theory.belief_propagation": [
        "Explanations", "LearnedWeights", "NodeBeliefs", "Posterior", "TreePosterior",
        "correlation_length", "denoise_symbols", "denoiser_jacobian", "denoiser_spectrum",
        "fit_weights", "posterior", "score_divergence", "specialise", "static_correlations",
        "tree_posterior", "true_beliefs",
    ],
    "hierdiff.theory.rhm": [
        "BeliefSlopes", "CriticalExponents", "CriticalLevel", "Estimate", "KERNELS", "Kernel",
        "CRITERIA", "Criterion", "LevelSpeciation", "level_speciation", "own_symbol_cost",
        "speciation_statistic", "weights_divergence",
        "KestenStigum", "OrderParameter", "annealed_beliefs", "annealed_validity",
        "belief_slopes", "best_sizes", "channel", "class_change", "class_truncated",
        "classification_cost", "clustering_cost", "coincidence_cost", "committor",
        "conditional_entropy", "context_entropies", "context_signal", "context_strings",
        "correlation_decay_exponent", "correlation_length_exponent", "covariance",
        "critical_belief", "critical_level", "critical_noise", "downward_map",
        "effective_epsilon", "even_sizes", "finite_depth_threshold", "fixed_points",
        "free_energy", "half_belief_level", "has_transition", "information_slope",
        "kernel_accuracy", "kernel_cost", "kesten_stigum", "kesten_stigum_annealed",
        "leaf_correlation", "level_set_bound", "level_set_laws", "level_set_threshold",
        "local_exponent", "masked_bound", "mmse", "mutual_information", "next_token_cost",
        "next_token_entropies", "node_information", "node_marginals", "node_validity",
        "overlap_bound", "overlap_threshold", "pair_joint", "path_divergence",
        "PopulationSusceptibility", "population_susceptibility",
        "population_dynamics", "reading_entropies", "remasked_log_prob", "resolved_samples",
        "root_map", "sampler_log_prob", "second_eigenvalue", "sibling_states", "spread_order",
        "stability", "string_entropy", "support_bound", "support_exponents", "support_laws",
        "support_threshold", "susceptibility", "threshold_upper_bound", "token_correlation",
        "total_correlation", "transfer_matrix", "truncated", "tuple_correlation",
        "unmasking_curve", "unmasking_terms", "upward_derivative", "upward_map", "validity",
    ],
    "hierdiff.theory.pcfg": [
        "BestParses", "NodePosterior", "ParsePosterior", "WeightFit", "derived_nodes",
        "fit_weights", "known_tree_beliefs", "known_tree_dynamics", "next_token_law",
        "parse_posterior", "prefix_log_probability", "valid_strings",
    ],
    "hierdiff.theory.ising": [
        "ChainPosterior", "ChainSpeciation", "PathRatio", "chain_posterior", "class_information",
        "denoiser_log_ratio", "half_change_divergence", "speciation_law", "speciation_times",
        "spin_evidence", "weak_signal_divergence",
    ],
    "hierdiff.theory.mixture": [
        "bayes_accuracy", "class_posterior", "collapse_time", "decompose", "denoise",
        "empirical_denoise", "empirical_posterior", "empirical_score", "jacobian",
        "jacobian_spectrum", "log_density", "mutual_information_mixture", "onset_delta",
        "score", "snr", "snr_clean", "snr_mean_field", "snr_peak", "speciation_time",
    ],
    "hierdiff.theory.zero_shot": [
        "PROMPTS", "WEIGHTINGS", "TwoObjectScenes", "Buckets", "ClassModel", "GaussianClasses",
        "LogRatio", "NodeClasses", "Prompt", "GaussianRHM", "ShapeTexture", "Weight", "band",
        "band_weights", "bayes_accuracy", "class_scores", "crossover", "cue_conflict",
        "design_accuracy", "effective_weights", "eps_error", "fit_buckets",
        "gaussian_moments", "linear_accuracy", "log_ratio", "normal_accuracy", "snr_at",
        "snr_slope", "stable_accuracy", "weighting", "x0_error",
    ],
    "hierdiff.sims": [
        "Alignment", "AttributeBinding", "Autoregressive", "ChangedTree", "Classification",
        "Composition", "ContrastiveLearning", "Correlations", "Coverage", "CueConflict",
        "DataModels", "EmpiricalModel", "Exponents", "FiniteSizeScaling", "GrammarLearning",
        "Information", "JacobianSpectrum", "KernelLearning", "LearnedGrammar", "LocalDenoisers",
        "Memorization", "MostLikelyStrings", "ParallelUnmasking", "PhaseDiagram",
        "PhaseTransition", "PosteriorEntropy", "Representation", "RepresentationPeak",
        "RepresentationalSimilarity", "RuleWeights", "SampleComplexity", "SequentialModel",
        "Sharpening", "SimulatedModel", "Speciation", "Susceptibility", "SynonymLearning",
        "TrainingTime", "TreeLoss", "TreeMixture", "TreeShapes", "TruncatedDenoisers", "UTurn",
        "UnmaskingModel", "Variants",
    ],
    "hierdiff.results": [
        "SOURCES", "OldResult", "compare", "label", "load", "origin", "provenance", "save",
        "start_run", "task_folder", "tasks_of", "tracked", "used", "writable_folder",
        "write_summary",
    ],
    "hierdiff.validation": [
        "CATALOGUE", "DDIM", "NETWORKS", "Ancestral", "DiscreteSchedule", "Execution",
        "NetworkModel", "Parameterisation", "forward_backward", "network", "open_model",
        "own_model", "pretrained", "print_models",
    ],
    "hierdiff.plots": ["Axes", "Figure", "needs", "pick", "plt", "sources", "style", "ticker"],
    "hierdiff.errors": [
        "DamagedFile", "HierdiffError", "ImpossibleEvidence", "InvalidParameter",
        "MissingPackage", "NoTransition",
        "NotASentence", "NotConverged",
    ],
    "hierdiff.sims.metrics.estimators": [
        "Bootstrap", "Crossing", "DepthLimit", "Disorder", "Nested", "bootstrap",
        "clustered_interval", "crossing", "depth_limit", "disorder", "falls_through",
        "jackknife", "likelihood_interval", "mean_and_error", "nested_mean", "resampled",
        "shared_error", "standard_error", "student_error", "student_factor", "student_score",
        "welch_score",
    ],
    "hierdiff.tasks": [
        "Task", "TaskFileSetAside", "TasksOfOtherCode", "WorkerFailed", "run_tasks", "unfinished",
    ],
    "hierdiff.contracts": [
        "ConditionalModel", "DataModel", "DiffusionModel", "Experiment", "LabelledData",
        "NoiseProcess", "Run", "Sample", "Sampler", "SignalNoise", "Summary", "SymbolEvidence",
    ],
    "hierdiff.registry": ["EXPERIMENTS", "RENAMED", "Entry", "experiment"],
    "hierdiff.sims.run": ["RunOptions", "command", "run"],
    "hierdiff.sims.verification": [
        "ALPHA", "LAWS", "Finding", "Law", "Measured", "as_json", "judge", "ledger", "sound",
        "verify",
    ],
    "hierdiff.sims.sweep": ["grid_of", "points_of", "rows", "sweep", "table"],
    "hierdiff.sims.stored_results": [
        "FORMATS", "Score", "describe", "draw", "experiment_of", "results_of", "run_again",
        "score_table", "scores", "summary_of", "values_of",
    ],
    "hierdiff.command_line": [
        "command_line", "execute", "in_notebook", "last_words", "parse_flags", "parsed",
        "use_files",
    ],
    "hierdiff.fingerprints": [
        "Fingerprints", "code_parts", "code_version", "fingerprint", "package_code",
    ],
}  # fmt: skip

MODULES = [
    m.name
    for m in pkgutil.walk_packages(hierdiff.__path__, "hierdiff.")
    if not m.name.endswith("__main__")
]


@pytest.mark.parametrize("name", SURFACE)
def test_the_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(SURFACE[name])
    assert all(hasattr(module, x) for x in module.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_offers(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    if not name.endswith("belief_propagation._kernels"):
        assert isinstance(module.__all__, list)
        assert all(hasattr(module, x) for x in module.__all__)


def functions() -> list[object]:
    found = []
    for name in ("hierdiff.theory", "hierdiff.results", "hierdiff.sims.metrics.estimators"):
        module = importlib.import_module(name)
        found += [getattr(module, x) for x in module.__all__]
    return [x for x in found if inspect.isfunction(x)]


@pytest.mark.parametrize("function", functions(), ids=lambda f: f.__name__)
def test_functions_state_what_they_take_give_and_when_they_hold(function: object) -> None:
    text = inspect.getdoc(function)
    assert text
    for section in ("Parameters\n", "Returns\n"):
        assert section in text
    assert "Validity:" in text or function.__module__ == "hierdiff.results"


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_theory_stays_light() -> None:
    """One process, from the lightest import to the heaviest."""
    heavy = ["torch", "xarray", "matplotlib", "sympy", "networkx", "joblib", "scipy.stats"]
    code = (
        "import sys; loaded = lambda *names: print([m for m in names if m in sys.modules]);"
        "import hierdiff.theory; loaded('numpy', 'scipy', 'numba');"
        "from hierdiff.theory import critical_noise; loaded('numba');"
        f"from hierdiff.theory import *; loaded(*{heavy});"
        "import hierdiff.sims.run; loaded('torch')"
    )
    assert python(code).splitlines() == ["[]"] * 4


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_of_torch_give_way(given: dict[str, str], found: str) -> None:
    """As the user says, if the user says something; and before torch reads it."""
    kept = {k: x for k, x in os.environ.items() if not k.startswith(("GOMP", "OMP_WAIT"))}
    code = "import os, hierdiff.validation; print(os.environ.get('GOMP_SPINCOUNT'))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == found


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list"], ["run", "phase-transition", "--help"]])
def test_help_explains_every_flag(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hierdiff", *arguments], capture_output=True, text=True, check=True
    )
    assert "phase-transition" in run.stdout
    if len(arguments) > 1:
        flags = ["--v", "--m", "--s", "--L", "--noise", "--grammars", "--data", "--levels",
                 "--refine", "--seed", "--out", "--workers", "--resume", "--cluster",
                 "--overwrite"]  # fmt: skip
        lines = run.stdout.splitlines()
        for flag in flags:
            at = [i for i, line in enumerate(lines) if flag in line]
            assert at, f"{flag} is not in the help"
            # the text stands on the same line or the next
            assert any(len(" ".join(lines[i : i + 2]).split()) > 6 for i in at)


def test_the_version_stands_in_one_place() -> None:
    root = Path(hierdiff.__file__).parents[1]
    assert f"version: {hierdiff.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"## {hierdiff.__version__}" in (root / "CHANGELOG.md").read_text()
    assert importlib.metadata.version("hierdiff") == hierdiff.__version__
