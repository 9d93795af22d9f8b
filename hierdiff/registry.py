"""All experiments by name: what the command line lists and runs.

The table holds words only, so that listing the experiments imports none of them.  An experiment
whose extra is not installed is listed with the extra that it needs.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from typing import Any, NamedTuple, cast

from hierdiff.errors import InvalidParameter

__all__ = ["EXPERIMENTS", "RENAMED", "Entry", "experiment"]


class Entry(NamedTuple):
    """An experiment of the table.

    Attributes
    ----------
    place : str
        "module:Class".
    text : str
        Its question in one line.
    extra : str
        The extra of the installation that it needs, or "".
    """

    place: str
    text: str
    extra: str = ""


EXPERIMENTS: dict[str, Entry] = {
    # the five questions, exact and simulated
    "phase-transition": Entry(
        "hierdiff.sims.phase_transition:PhaseTransition",
        "at which noise the class is lost, level by level",
    ),
    "representation": Entry(
        "hierdiff.sims.representation:Representation",
        "quality of features against noise, from generalisation to memorisation",
    ),
    "classification": Entry(
        "hierdiff.sims.zero_shot_classification:Classification",
        "denoising error as zero-shot classifier, beside Bayes",
    ),
    "composition": Entry(
        "hierdiff.sims.composition:Composition",
        "what the levels of a hierarchy cost, and what partial knowledge generates",
    ),
    "synonym-learning": Entry(
        "hierdiff.sims.synonym_learning:SynonymLearning",
        "how many data the synonyms of every height cost",
    ),
    "truncated-denoisers": Entry(
        "hierdiff.sims.truncated_denoisers:TruncatedDenoisers",
        "validity of strings whose rules are known up to a height",
    ),
    "kernel-learning": Entry(
        "hierdiff.sims.kernel_learning:KernelLearning",
        "how many labels a kernel needs that adds two factors, or multiplies",
    ),
    "alignment": Entry(
        "hierdiff.sims.alignment:Alignment",
        "odd-one-out responses against level and noise",
    ),
    # their consequences, one claim each
    "sharpening": Entry(
        "hierdiff.sims.sharpening:Sharpening",
        "how suddenly the class is lost as the tree grows, and how smoothly the leaves",
    ),
    "finite-size-scaling": Entry(
        "hierdiff.sims.finite_size_scaling:FiniteSizeScaling",
        "thresholds of exact inference at growing depth, against density evolution",
    ),
    "phase-diagram": Entry(
        "hierdiff.sims.phase_diagram:PhaseDiagram",
        "threshold of the class against the density of rules",
    ),
    "critical-exponents": Entry(
        "hierdiff.sims.critical_exponents:Exponents",
        "exponents of real noise at the critical fixed point",
    ),
    "tree-loss": Entry(
        "hierdiff.sims.tree_loss:TreeLoss",
        "at which noise a tree of varying shape is lost, level by level",
    ),
    "tree-shapes": Entry(
        "hierdiff.sims.tree_shapes:TreeShapes",
        "loss of tree and class against depth, arity and its variance",
    ),
    "susceptibility": Entry(
        "hierdiff.sims.susceptibility:Susceptibility",
        "how many leaves change together at the threshold",
    ),
    "changed-tree": Entry(
        "hierdiff.sims.changed_tree:ChangedTree",
        "which nodes of a derivation tree change together",
    ),
    "uturn": Entry(
        "hierdiff.sims.uturn:UTurn",
        "at which noise level a reverse trajectory decides its class",
    ),
    "information": Entry(
        "hierdiff.sims.information:Information",
        "mutual information per tree level, and its slope against the denoiser",
    ),
    "contrastive-learning": Entry(
        "hierdiff.sims.contrastive_learning:ContrastiveLearning",
        "at which width and with which negatives contrastive learners bind",
    ),
    "local-denoisers": Entry(
        "hierdiff.sims.local_denoisers:LocalDenoisers",
        "what a denoiser loses that sees a window, and how long the posterior is",
    ),
    "most-likely-strings": Entry(
        "hierdiff.sims.most_likely_strings:MostLikelyStrings",
        "the most likely string against the string of likeliest leaves",
    ),
    "posterior-entropy": Entry(
        "hierdiff.sims.posterior_uncertainty:PosteriorEntropy",
        "how much of every tree level is uncertain, and what leaves share of it",
    ),
    "jacobian-spectrum": Entry(
        "hierdiff.sims.posterior_uncertainty:JacobianSpectrum",
        "along which directions the denoiser is uncertain, and how many leaves vary together",
    ),
    "rule-weights": Entry(
        "hierdiff.sims.rule_weights:RuleWeights",
        "rule weights from noisy strings: their error against the number of strings",
    ),
    "grammar-learning": Entry(
        "hierdiff.sims.grammar_learning:GrammarLearning",
        "grammars learned from strings, level by level: symbols, divergence and denoising errors",
    ),
    "speciation": Entry(
        "hierdiff.sims.speciation:Speciation",
        "when every level of a grammar, and the class of an Ising chain, is decided",
    ),
    "variants": Entry(
        "hierdiff.sims.variants:Variants",
        "how unequal, ambiguous and cut rules move the threshold",
    ),
    "data-models": Entry(
        "hierdiff.sims.data_models:DataModels",
        "where grammars and mixtures lose their class, in signal-to-noise ratio",
    ),
    "tree-mixture": Entry(
        "hierdiff.sims.tree_mixture:TreeMixture",
        "which level of a tree of class means survives which noise",
    ),
    "representational-similarity": Entry(
        "hierdiff.sims.representational_similarity:RepresentationalSimilarity",
        "RSA and CKA between tree levels and noise levels",
    ),
    "representation-peak": Entry(
        "hierdiff.sims.representation_peak:RepresentationPeak",
        "place of the peak of feature quality: exact law, closed form, measurement",
    ),
    "memorization": Entry(
        "hierdiff.sims.memorization:Memorization",
        "how many data a learner needs before its features have a peak",
    ),
    "training-time": Entry(
        "hierdiff.sims.training_time:TrainingTime",
        "when random features learn the law of the data, and when the data",
    ),
    "sample-complexity": Entry(
        "hierdiff.sims.sample_complexity:SampleComplexity",
        "with which exponent of m the number of data of a learner of synonyms grows",
    ),
    "coverage": Entry(
        "hierdiff.sims.coverage:Coverage",
        "how often every error bar contains the true value",
    ),
    "correlations": Entry(
        "hierdiff.sims.correlations:Correlations",
        "which leaves change together, and the susceptibility",
    ),
    "parallel-unmasking": Entry(
        "hierdiff.sims.parallel_unmasking:ParallelUnmasking",
        "what it costs to unmask several leaves at once, by order and number of steps",
    ),
    "autoregressive": Entry(
        "hierdiff.sims.autoregressive:Autoregressive",
        "entropies of the next leaf, short contexts, and when the class is decided",
    ),
    # variants of zero-shot classification
    "cue-conflict": Entry(
        "hierdiff.sims.cue_conflict:CueConflict",
        "shape against texture as the cue of a denoising classifier",
    ),
    "attribute-binding": Entry(
        "hierdiff.sims.attribute_binding:AttributeBinding",
        "which colour goes with which shape, by denoising error",
    ),
    # networks
    "network-phase-transition": Entry(
        "hierdiff.validation.experiments.phase_transition:NetworkPhaseTransition",
        "the phase transition in a network, beside exact inference",
        "networks",
    ),
    "network-alignment": Entry(
        "hierdiff.validation.experiments.alignment:NetworkAlignment",
        "odd-one-out responses by the layers of a network",
        "networks",
    ),
    "network-rhm-images": Entry(
        "hierdiff.validation.experiments.rhm_images:RHMImages",
        "the phase transition in rendered grammars, by a network and in exact pixels",
        "networks",
    ),
    "network-classification": Entry(
        "hierdiff.validation.experiments.classification:NetworkClassification",
        "denoising error of a network as zero-shot classifier",
        "networks",
    ),
    "network-exact-targets": Entry(
        "hierdiff.validation.experiments.exact_targets:NetworkExactTargets",
        "what sampled targets cost a network, beside the exact posterior as its loss",
        "networks",
    ),
    "network-training-time": Entry(
        "hierdiff.validation.experiments.training_time:NetworkTrainingTime",
        "when a network learns each level of a grammar, and when its training set",
        "networks",
    ),
    "network-clothing": Entry(
        "hierdiff.validation.experiments.clothing:NetworkClothing",
        "five questions on photographs of clothing, to networks trained once for all",
        "networks",
    ),
    "network-unmasking": Entry(
        "hierdiff.validation.experiments.unmasking:NetworkUnmasking",
        "what parallel unmasking costs a trained network, beside exact conditionals",
        "networks",
    ),
    "network-orders": Entry(
        "hierdiff.validation.experiments.unmasking_orders:NetworkOrders",
        "surest leaves first, remasking and next leaves by trained networks, beside exact ones",
        "networks",
    ),
    "network-contrastive": Entry(
        "hierdiff.validation.experiments.dual_encoders:NetworkContrastive",
        "trained dual encoders beside the optimum, by width and negatives",
        "networks",
    ),
    "network-string-pairs": Entry(
        "hierdiff.validation.experiments.string_pairs:NetworkStringPairs",
        "the level of a grammar that trained dual encoders reveal, beside the optimum",
        "networks",
    ),
    "network-locality": Entry(
        "hierdiff.validation.experiments.local_networks:NetworkLocality",
        "how much of a network exact denoisers of windows explain",
        "networks",
    ),
    "network-speciation": Entry(
        "hierdiff.validation.experiments.speciation:NetworkSpeciation",
        "when networks decide: chains of spins by their length, levels of a grammar",
        "networks",
    ),
    "network-representation": Entry(
        "hierdiff.validation.experiments.representation:NetworkRepresentation",
        "quality of a network's features against noise",
        "networks",
    ),
    "network-composition": Entry(
        "hierdiff.validation.experiments.composition:NetworkComposition",
        "phases of a bump network, and levels of a grammar, along training",
        "networks",
    ),
}
"""The experiments by the name that the command line uses."""

RENAMED = {"sample-cost": "sample-complexity", "two-worlds": "data-models"}
"""Old names of experiments, which are accepted with a note for one release."""


def experiment(name: str) -> type[Any]:
    """The class of an experiment by its name.

    Parameters
    ----------
    name : str
        As ``hierdiff list`` prints it.

    Returns
    -------
    type

    Raises
    ------
    InvalidParameter
        For an unknown name (the nearest ones are named), or if its extra is not installed.

    Notes
    -----
    Validity: the names of :data:`EXPERIMENTS`.

    Examples
    --------
    >>> experiment("phase-transition").__name__
    'PhaseTransition'
    >>> experiment("phase-transitions")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: experiment = 'phase-transitions' is not known; did you mean \
'phase-transition' or 'network-phase-transition'? (hierdiff list names them all)
    """
    known = name.replace("_", "-") if isinstance(name, str) else ""
    if known in RENAMED:
        words = f"experiment {known!r} is now {RENAMED[known]!r}"
        warnings.warn(words, FutureWarning, stacklevel=2)  # which command lines show, too
        known = RENAMED[known]
    if known not in EXPERIMENTS:
        _refuse_name(name)
    entry = EXPERIMENTS[known]
    module, _, word = entry.place.partition(":")
    try:
        return cast("type[Any]", getattr(importlib.import_module(module), word))
    except ImportError as error:
        if not entry.extra:
            raise
        raise InvalidParameter(
            f"experiment {known!r} needs the extra [{entry.extra}] ({error.name} is missing); "
            f"install it with pip install 'hierdiff[{entry.extra}]'"
        ) from None


def _refuse_name(name: Any) -> None:
    near = difflib.get_close_matches(str(name), EXPERIMENTS, 3, 0.7)
    words = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InvalidParameter(
        f"experiment = {name!r} is not known{words} (hierdiff list names them all)"
    )
