"""What an experiment measures, on any diffusion model; each module is loaded when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.sims.alignment import Alignment
    from hierdiff.sims.attribute_binding import AttributeBinding
    from hierdiff.sims.autoregressive import Autoregressive
    from hierdiff.sims.changed_tree import ChangedTree
    from hierdiff.sims.composition import Composition
    from hierdiff.sims.contrastive_learning import ContrastiveLearning
    from hierdiff.sims.correlations import Correlations
    from hierdiff.sims.coverage import Coverage
    from hierdiff.sims.critical_exponents import Exponents
    from hierdiff.sims.cue_conflict import CueConflict
    from hierdiff.sims.data_models import DataModels
    from hierdiff.sims.finite_size_scaling import FiniteSizeScaling
    from hierdiff.sims.grammar_learning import GrammarLearning
    from hierdiff.sims.information import Information
    from hierdiff.sims.kernel_learning import KernelLearning
    from hierdiff.sims.local_denoisers import LocalDenoisers
    from hierdiff.sims.memorization import Memorization
    from hierdiff.sims.models.block_unmasking import UnmaskingModel
    from hierdiff.sims.models.empirical import EmpiricalModel
    from hierdiff.sims.models.finite_steps import SequentialModel, SimulatedModel
    from hierdiff.sims.models.learned_grammar import LearnedGrammar
    from hierdiff.sims.most_likely_strings import MostLikelyStrings
    from hierdiff.sims.parallel_unmasking import ParallelUnmasking
    from hierdiff.sims.phase_diagram import PhaseDiagram
    from hierdiff.sims.phase_transition import PhaseTransition
    from hierdiff.sims.posterior_uncertainty import JacobianSpectrum, PosteriorEntropy
    from hierdiff.sims.representation import Representation
    from hierdiff.sims.representation_peak import RepresentationPeak
    from hierdiff.sims.representational_similarity import RepresentationalSimilarity
    from hierdiff.sims.rule_weights import RuleWeights
    from hierdiff.sims.sample_complexity import SampleComplexity
    from hierdiff.sims.sharpening import Sharpening
    from hierdiff.sims.speciation import Speciation
    from hierdiff.sims.susceptibility import Susceptibility
    from hierdiff.sims.synonym_learning import SynonymLearning
    from hierdiff.sims.training_time import TrainingTime
    from hierdiff.sims.tree_loss import TreeLoss
    from hierdiff.sims.tree_mixture import TreeMixture
    from hierdiff.sims.tree_shapes import TreeShapes
    from hierdiff.sims.truncated_denoisers import TruncatedDenoisers
    from hierdiff.sims.uturn import UTurn
    from hierdiff.sims.variants import Variants
    from hierdiff.sims.zero_shot_classification import Classification
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "Alignment",
    "AttributeBinding",
    "Autoregressive",
    "ChangedTree",
    "Classification",
    "Composition",
    "ContrastiveLearning",
    "Correlations",
    "Coverage",
    "CueConflict",
    "DataModels",
    "EmpiricalModel",
    "Exponents",
    "FiniteSizeScaling",
    "GrammarLearning",
    "Information",
    "JacobianSpectrum",
    "KernelLearning",
    "LearnedGrammar",
    "LocalDenoisers",
    "Memorization",
    "MostLikelyStrings",
    "ParallelUnmasking",
    "PhaseDiagram",
    "PhaseTransition",
    "PosteriorEntropy",
    "Representation",
    "RepresentationPeak",
    "RepresentationalSimilarity",
    "RuleWeights",
    "SampleComplexity",
    "SequentialModel",
    "Sharpening",
    "SimulatedModel",
    "Speciation",
    "Susceptibility",
    "SynonymLearning",
    "TrainingTime",
    "TreeLoss",
    "TreeMixture",
    "TreeShapes",
    "TruncatedDenoisers",
    "UTurn",
    "UnmaskingModel",
    "Variants",
]
