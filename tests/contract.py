"""A row of the contract test: one model that an experiment is put to, with sizes of seconds.

The rows of an experiment stand in ``contract_cases/<its name>.py`` as a dictionary ``CASES`` from
the kind of model to a :class:`Case`.  All four kinds of ``KINDS`` are there, or ``CANNOT`` of the
same file says in words why the question is meaningless for a kind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xarray as xr

KINDS = ("exact", "chain", "fitted", "network")
"""Exact inference, a reverse chain of few steps, an empirical or fitted model, a small network."""

METHODS = ("beliefs", "class_marginals", "denoise", "features", "posterior", "sample")
"""What a model can be asked."""


GIVEN = {(1, 0): [0.0, 0.5, 1.0, 0.0, 0.0, -0.5, 0.0, 0.0], (0, 0): -1}
"""Evidence about a latent of a grammar of eight symbols, which excludes nothing."""


class Refused(RuntimeError):
    """What the methods of a silent model raise."""


def predicted(experiment: Any, measured: xr.Dataset) -> xr.Dataset:
    """The prediction beside a measurement, where its coordinates need no help."""
    found: xr.Dataset = experiment.predict()
    return found


@dataclass(frozen=True)
class Case:
    """A model that answers an experiment.

    Attributes
    ----------
    experiment
        In a size that takes a second or two.
    setting
        Makes the model and its data, ``measure(model, data)``.
    variables
        Those that ``predict`` and ``measure`` share; each has an ``_error``.
    predict
        The prediction at the coordinates of a measurement.
    noises
        More triples of an experiment, a model and data, each under another noise process.
    """

    experiment: Any
    setting: Callable[[], tuple[Any, Any]]
    variables: tuple[str, ...]
    predict: Callable[[Any, xr.Dataset], xr.Dataset] = predicted
    noises: Callable[[], list[tuple[Any, Any, Any]]] = list


def refuse(*_: object, **__: object) -> Any:
    """Answer nothing."""
    raise Refused


def silent(model: Any) -> Any:
    """The same model with methods that raise: data, noise and sizes are still there."""
    kind = type(model)
    methods = {name: refuse for name in METHODS if hasattr(kind, name)}
    found = copy.copy(model)
    object.__setattr__(found, "__class__", type(f"Silent{kind.__name__}", (kind,), methods))
    return found
