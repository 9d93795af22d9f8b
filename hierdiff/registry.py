"""All experiments by name: what the command line lists and runs.

The table holds words only, so that listing the experiments imports none of them.  An experiment
whose extra is not installed is listed with the extra that it needs.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any, NamedTuple

from hierdiff.errors import InvalidParameter

__all__ = ["EXPERIMENTS", "Entry", "experiment"]


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
        "hierdiff.sims.classification:Classification",
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
    "correlations": Entry(
        "hierdiff.sims.correlations:Correlations",
        "which leaves change together, and the susceptibility",
    ),
    # networks
    "network-phase-transition": Entry(
        "hierdiff.validation.experiments.phase_transition:NetworkPhaseTransition",
        "the phase transition in a network, beside exact inference",
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
'phase-transition'? (hierdiff list names them all)
    """
    known = name.replace("_", "-") if isinstance(name, str) else ""
    if known not in EXPERIMENTS:
        _refuse_name(name)
    entry = EXPERIMENTS[known]
    module, _, word = entry.place.partition(":")
    try:
        return getattr(importlib.import_module(module), word)  # type: ignore[no-any-return]
    except ImportError as error:
        if not entry.extra:
            raise
        raise InvalidParameter(
            f"experiment {known!r} needs the extra [{entry.extra}] ({error.name} is missing); "
            f"install it with pip install 'hierdiff[{entry.extra}]'"
        ) from None


def _refuse_name(name: Any) -> None:
    near = difflib.get_close_matches(str(name), EXPERIMENTS, 3, 0.7)
    words = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise InvalidParameter(
        f"experiment = {name!r} is not known; {words}(hierdiff list names them all)"
    )
