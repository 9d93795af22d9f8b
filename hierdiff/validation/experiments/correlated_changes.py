r"""Correlated changes of leaves in networks: several grammars and depths, beside exact inference.

==================  ==============================================================================
symbol              meaning
==================  ==============================================================================
:math:`\sigma_i`    +1 if leaf i comes back from noise level t as it was, -1 if it has changed
V_d                 sum over the nodes at height d of the variance of the sum of :math:`\sigma`
                    below, over noised and denoised copies of one datum
C(d)                covariance of two leaves whose last common ancestor has height d
:math:`\chi(t)`     :math:`\sum_{ij} C_{ij} / \sum_i C_{ii} = V_L / V_0`
slope               loss of retention per unit of t between two noise levels
:math:`t^*`         threshold of the noise process in infinitely deep trees, and there
:math:`\lambda`     growth per level of a small change of the noise
==================  ==============================================================================

Four samplers start from the same noisy data:

=========  =======================================================================================
exact      a draw from the exact posterior, leaves and latents together
chain      exact beliefs through a reverse chain of finitely many steps
network    the network through the same chain, with the same random numbers
one step   the network, every leaf drawn by itself from the network's belief at level t
=========  =======================================================================================

Exact minus chain is the error of the chain, network minus chain that of the network, and both are
paired by datum.  The last sampler has the network's beliefs in single leaves and nothing else: what
lies between it and the network is the part of C(d) that the chain makes, step by step.  The theory
says of a noise process with :math:`\lambda^2 < s`
(:mod:`hierdiff.theory.rhm.critical_exponents`): the slope of the class grows by
:math:`\lambda` per level in the end, the slope of a leaf and :math:`\chi` stay bounded, and
:math:`C(d) \sim s^{-a d}` at the threshold with :math:`a = 2 - 2 \log\lambda / \log s`.

Every network has a grammar of its own.  Errors are Student's over networks; those of the difference
from the chain are also given over data, which says of these networks how far they are off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    instance,
    listed,
    natural,
    one_level,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import NoiseProcess, noise_name, noise_process
from hierdiff.seeds import stream
from hierdiff.sims.metrics.string_changes import (
    READINGS,
    StringChanges,
    changes_task,
    depth_gaps,
    depth_readings,
)
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import critical_exponents, critical_level
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.experiments import architecture_rule, checkpoint_suffix
from hierdiff.validation.networks import sizes_of
from hierdiff.validation.recipes import train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = [
    "FOCUS",
    "SAMPLERS",
    "Exponents",
    "GrammarNetworks",
    "depth_changes",
    "exact_dataset",
    "exponents_of",
    "focus_rule",
    "network_dataset",
    "trained_networks",
    "trained_on_strings",
]

Array: TypeAlias = NDArray[Any]

SAMPLERS = ("exact", "chain", "network", "one step")
"""What draws the new leaves, in the order of the dimension ``sampler``."""

FOCUS = {"gaussian": (0.08, 0.35), "masking": (0.1, 0.7), "uniform": (0.05, 0.5)}
"""Where three quarters of the noise levels of training lie: around the loss of the class at
(v, m, s) = (8, 2, 2)."""

_LEVELS = {
    "gaussian": (0.08, 0.12, 0.15, 0.18, 0.21, 0.24, 0.27, 0.3, 0.4, 0.6, 1.0),
    "masking": (0.15, 0.3, 0.4, 0.5, 0.6, 0.68, 0.76, 0.84, 0.92, 1.0),
    "uniform": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7, 1.0),
}
_COUNT = partial(whole, low=1, high=10**9)
# chi is largest inside the range, and its parabola takes five points
_LEAST_LEVELS = 5


def _noise_levels(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    levels = listed(name, value, one_level, least=_LEAST_LEVELS)
    if not all(0 < t <= 1 for t in levels) or sorted(levels) != list(levels):
        raise InvalidParameter(f"{name} = {value} must be rising noise levels in (0, 1]")
    return levels


def focus_rule(name: str, value: Any) -> tuple[float, float] | None:
    """The check of a field that holds two rising noise levels, or None.

    Examples
    --------
    >>> focus_rule("focus", [0.1, 0.4])
    (0.1, 0.4)
    """
    if value is None:
        return None
    levels = listed(name, value, one_level, least=2)
    if len(levels) != 2 or not levels[0] < levels[1]:
        raise InvalidParameter(f"{name} = {value} must be two rising levels in [0, 1]")
    return cast("tuple[float, float]", levels)


def _depths(name: str, value: Any) -> tuple[int, ...]:
    depths = listed(name, value, count)
    if sorted(depths) != list(depths):
        raise InvalidParameter(f"{name} = {value} must be increasing depths")
    return depths


@dataclass(frozen=True)
class GrammarNetworks:
    """Several networks at each depth, each trained here on strings of a random grammar of its own.

    Two architectures with the same seed see the same grammars, data, noise and chains.
    """

    v: int = 8
    """Symbols per level."""
    m: int = 2
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes, at least 2."""
    depths: tuple[int, ...] = (4,)
    """Depths L of the hierarchy, increasing."""
    noise: str = "gaussian"
    """Forward process."""
    networks: int = 3
    """Networks per depth: the unit that errors are counted in."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""
    width: int = 64
    """Features per node of the network; a leaf has a quarter of them, but 16 at least, where the
    network has a size for it."""
    steps: int = 2500
    """Training steps."""
    leaves: int = 2048
    """Leaves per training step, so that a step costs the same at every depth."""
    focus: tuple[float, float] | None = None
    """Where three quarters of the noise levels of training lie; default: the transition at
    (8, 2, 2)."""
    t: tuple[float, ...] | None = None
    """Noise levels, at least five; default around the largest susceptibility at (8, 2, 2)."""
    data: int = 60
    """Data per network."""
    trajectories: int = 8
    """Noised and denoised copies of each datum; covariances are taken over them."""
    num_steps: int = 25
    """Steps of the reverse chain from t to 0."""

    def __post_init__(self) -> None:
        check_fields(
            self, depths=_depths, noise=partial(noise_name, channel=True), t=_noise_levels,
            networks=partial(whole, low=2, high=10**4), focus=focus_rule,
            architecture=architecture_rule(Grammar), width=_COUNT, steps=_COUNT, leaves=_COUNT,
            data=partial(whole, low=2, high=10**8), num_steps=_COUNT,
            trajectories=partial(whole, low=2, high=10**8),
        )  # fmt: skip
        if self.s < 2:
            raise InvalidParameter(f"s = {self.s} leaves no pair of leaves; give s >= 2")
        for L in self.depths:
            RHM(self.v, self.m, self.s, L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        process = noise_process(self.noise, self.v)
        # networks learn the schedule of the published image models, where a process has one
        linear: Any = {"schedule": "linear"} if hasattr(process, "schedule") else {}
        # a protocol, which replace takes for no dataclass; those with a schedule are
        return replace(process, **linear) if linear else process  # type: ignore[type-var]

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        return self.t or _LEVELS.get(self.noise, _LEVELS["masking"])

    @checked(L=count, k=natural, seed=natural)
    def grammar(self, L: int, k: int, seed: int) -> Grammar:
        """The grammar of network k at depth L."""
        return RHM(self.v, self.m, self.s, L).draw(stream(seed, "grammar", L, k))


@checked(source=unchecked, data=unchecked)
def trained_on_strings(
    source: Any, grammar: Grammar, seed: int, folder: Path | None, *, batch: int, steps: int,
    data: Array | None = None, device: str = "cpu",
) -> tuple[NetworkModel, float]:  # fmt: skip
    """A network of a source on strings of a grammar, and the processor seconds that it took.

    Parameters
    ----------
    source : GrammarNetworks or GrammarNetwork
        Its architecture, width, focus, noise process and steps of the chain.
    grammar : Grammar
    seed : int
        Names the weights and batches.
    folder : path, optional
        Where the checkpoint is kept; the architecture is added to its name.
    batch, steps : int
        Strings per training step, and training steps.
    data : int array [n, leaves], optional
        Training set; by default every step draws fresh strings.
    device : str

    Returns
    -------
    model : NetworkModel
    seconds : float

    Notes
    -----
    Validity: as :func:`~hierdiff.validation.recipes.train_symbol_network`.
    """
    suffix = checkpoint_suffix(Grammar, source.architecture)
    # narrow leaves are enough, where a network has a size for them
    narrow = "leaf_width" in (sizes_of(cast(str, source.architecture)) or ())
    plan = TrainConfig(steps=steps, every=min(500, steps), warmup=min(100, steps), device=device)
    model, done = train_symbol_network(
        grammar, source.process, plan, width=source.width, batch=batch, data=data,
        focus=source.focus or FOCUS.get(source.noise), network=source.architecture, seed=seed,
        leaf_width=min(source.width, max(16, source.width // 4)) if narrow else None,
        folder=None if folder is None else folder.with_name(folder.name + suffix),
    )  # fmt: skip
    return symbol_model(model.module, source.process, num_steps=source.num_steps), done.cpu_seconds


@checked
def trained_networks(
    source: GrammarNetworks, L: int, seed: int, folder: Path | None = None, device: str = "cpu"
) -> tuple[list[NetworkModel], float]:
    """The networks of one depth, and the processor seconds that their training took.

    Parameters
    ----------
    source : GrammarNetworks
    L : int
        Depth.
    seed : int
    folder : path, optional
        Where checkpoints are kept; a second call goes on there.
    device : str

    Returns
    -------
    models : list of NetworkModel
    seconds : float

    Notes
    -----
    Validity: network k has the weights of seed 1000 * seed + k.
    """
    models, took = [], 0.0
    batch = max(1, source.leaves // source.s**L)
    for k in range(source.networks):
        key = f"network-{k}-{source.noise}-{source.v}-{source.m}-{source.s}-{L}-{seed}"
        model, seconds = trained_on_strings(
            source, source.grammar(L, k, seed), 1000 * seed + k,
            None if folder is None else folder / key, batch=batch, steps=source.steps,
            device=device,
        )  # fmt: skip
        models.append(model)
        took += seconds
    return models, took


# ------------------------------------------------------------------------------------- one depth


def _models(name: str, value: Any) -> tuple[Any, ...]:
    """Networks, or other models of symbols, one per grammar; none is an empty sequence."""
    if not isinstance(value, (list, tuple)):
        raise InvalidParameter(f"{name} = {shown(value)} must be a list of models, or ()")
    return tuple(instance(f"{name}[{k}]", x, DiffusionModel) for k, x in enumerate(value))


@checked(models=_models, samplers=partial(listed, rule=unchecked), L=count, seed=natural)
def depth_changes(
    source: GrammarNetworks, L: int, seed: int, models: Sequence[NetworkModel] = (),
    samplers: Sequence[str] = SAMPLERS, **options: Any,
) -> xr.Dataset:  # fmt: skip
    """All samplers on the grammars of one depth.

    Parameters
    ----------
    source : GrammarNetworks
    L : int
        Depth.
    seed : int
    models : sequence of NetworkModel
        One per grammar; none are needed for the samplers "exact" and "chain".
    samplers : sequence of str
        Some of :data:`SAMPLERS`.
    **options
        Of :func:`hierdiff.tasks.run_tasks`.

    Returns
    -------
    xarray.Dataset
        ``variances`` on (sampler, network, datum, t, distance), ``share`` on (sampler, network,
        datum, level, t), ``valid`` on (sampler, network, datum, t).

    Raises
    ------
    InvalidParameter
        For an unknown sampler, or another number of networks than the source has.

    Notes
    -----
    Validity: networks run one after the other, exact inference in as many threads as there are.
    """
    if any(name not in SAMPLERS for name in samplers):
        raise InvalidParameter(
            f"samplers = {tuple(samplers)} must be some of {', '.join(SAMPLERS)}"
        )
    needed = {"network", "one step"} & {*samplers}
    if needed and len(models) != source.networks:
        raise InvalidParameter(
            f"{len(models)} models for {source.networks} networks; give one per grammar"
        )
    parts: dict[str, list[Array]] = {name: [] for name in StringChanges._fields}
    for name in samplers:
        tasks = [
            task for k in range(source.networks)
            for task in _tasks(source, L, k, seed, name, models[k] if models else None)
        ]  # fmt: skip
        alone = {"workers": 1} if name in needed else {}
        done = run_tasks(tasks, name=f"L = {L}, {name}", **{**options, **alone})
        for word, found in parts.items():
            stacked = np.stack([one[word] for one in done])
            found.append(stacked.reshape(source.networks, len(source.levels), *stacked.shape[1:]))
    V, share, valid = (np.stack(parts[w]) for w in StringChanges._fields)
    front = ("sampler", "network", "datum")
    variables: dict[str, Any] = {
        "variances": ((*front, "t", "distance"), np.moveaxis(V, 2, 3),
                      "variance of the sums of subtrees, added per height"),
        "share": ((*front, "level", "t"), np.moveaxis(share, 2, 4),
                  "share of the nodes that are unchanged"),
        "valid": ((*front, "t"), np.moveaxis(valid, 2, 3), "share of valid strings"),
    }  # fmt: skip
    coords: dict[str, Any] = {
        "sampler": (("sampler",), list(samplers), "what draws the new leaves"),
        "t": (("t",), list(source.levels), f"noise level t of the {source.noise} process"),
        "distance": (("distance",), np.arange(L + 1), "height of the common ancestor"),
        "level": (("level",), np.arange(L + 1), "level, root = 0"),
    }
    kind = "network" if needed else "simulation"
    return results.label(variables, coords, kind, {})


def _tasks(
    source: GrammarNetworks, L: int, k: int, seed: int, name: str, model: NetworkModel | None
) -> list[Task]:
    """One sampler on one grammar, a task per noise level."""
    grammar = source.grammar(L, k, seed)
    truth = grammar.sample(source.data, stream(seed, "data", L, k))
    sampler = _sampler(name, source, grammar, model)
    about = {"version": 1, "question": "correlated changes", "sampler": name, "L": L,
             "network": k, "seed": seed}  # fmt: skip
    return [
        Task(changes_task, (sampler, grammar, truth, t, source.trajectories, seed, (L, k)),
             {**about, "t": t})
        for t in source.levels
    ]  # fmt: skip


def _sampler(
    name: str, source: GrammarNetworks, grammar: Grammar, model: NetworkModel | None
) -> DiffusionModel:
    """A sampler by its name; threads are left to the tasks."""
    exact = ExactRHM(grammar, source.process, threads=1)
    if name == "exact":
        return exact
    if name == "chain":
        return SimulatedModel(exact, source.num_steps)
    assert model is not None
    return model if name == "network" else SimulatedModel(model, 1)


# ---------------------------------------------------------------------------- as an experiment


class Exponents(NamedTuple):
    """Threshold and growth of the noise process in infinitely deep trees; NaN without a threshold.

    Attributes
    ----------
    threshold, eigenvalue, decay, leaf_growth : (value, error)
        t*, lambda, a and lambda**2 / s.
    """

    threshold: tuple[float, float]
    eigenvalue: tuple[float, float]
    decay: tuple[float, float]
    leaf_growth: tuple[float, float]


_EXPONENTS = {
    "threshold": "noise level at which infinitely deep trees lose the class",
    "eigenvalue": "growth lambda of a small change per level at the threshold",
    "decay_limit": "exponent a of the covariance at the threshold, 2 - 2 log(lambda) / log(s)",
    "leaf_growth": "lambda^2 / s, growth per level of the terms of leaf slope and susceptibility",
}


@checked
def exponents_of(source: GrammarNetworks, seed: int) -> Exponents:
    """Density evolution of the source's noise process.

    Parameters
    ----------
    source : GrammarNetworks
    seed : int

    Returns
    -------
    Exponents

    Notes
    -----
    Validity: as :func:`hierdiff.theory.critical_exponents`, with populations of 2,000.
    """
    none = (float("nan"), float("nan"))
    rhm, process = RHM(source.v, source.m, source.s, 1), source.process
    try:
        at = critical_level(rhm, process, size=2000, copies=4, seed=stream(seed, "threshold"))
        found = critical_exponents(
            rhm, process, t=at.value, size=2000, copies=4, seed=stream(seed, "exponents")
        )
    except (NoTransition, InvalidParameter):
        return Exponents(none, none, none, none)
    return Exponents(
        (at.value, at.error), (found.eigenvalue, found.eigenvalue_error),
        (found.a, found.a_error), (found.leaf_growth, found.leaf_growth_error),
    )  # fmt: skip


@checked(parts=unchecked, attributes=unchecked)
def exact_dataset(
    source: GrammarNetworks, parts: Mapping[int, xr.Dataset], seed: int,
    attributes: Mapping[str, str],
) -> xr.Dataset:  # fmt: skip
    """Readings of exact posterior samples against depth, with the exponents of the noise.

    Parameters
    ----------
    source : GrammarNetworks
    parts : mapping of L to xarray.Dataset
        With the sampler "exact".
    seed : int
    attributes : mapping
        Of the dataset.

    Returns
    -------
    xarray.Dataset
        :data:`READINGS` on (L,) with errors; ``threshold``, ``eigenvalue``, ``decay_limit``,
        ``leaf_growth``.

    Notes
    -----
    Validity: errors are Student's over grammars.
    """
    variables = _on_depth(depth_readings(parts, "exact", source.s), READINGS)
    for (name, text), (value, error) in zip(
        _EXPONENTS.items(), exponents_of(source, seed), strict=True
    ):
        variables[name] = ((), value, text)
        variables[f"{name}_error"] = ((), error, f"standard error of: {text}")
    return results.label(variables, _depth_coords(parts), "theory", attributes)


@checked(parts=unchecked, attributes=unchecked)
def network_dataset(
    source: GrammarNetworks, parts: Mapping[int, xr.Dataset], seconds: Sequence[float],
    attributes: Mapping[str, str],
) -> xr.Dataset:  # fmt: skip
    """Readings of the networks against depth, and their differences from the exact chain.

    Parameters
    ----------
    source : GrammarNetworks
    parts : mapping of L to xarray.Dataset
        With all samplers.
    seconds : sequence of float
        Processor seconds of training per depth.
    attributes : mapping
        Of the dataset.

    Returns
    -------
    xarray.Dataset
        :data:`READINGS` and ``minus_chain_...`` of each on (L,), with errors; ``cpu_seconds``.

    Notes
    -----
    Validity: errors are Student's over networks.
    """
    variables = _on_depth(depth_readings(parts, "network", source.s), READINGS)
    texts = {f"minus_chain_{k}": f"network minus exact chain: {x}" for k, x in READINGS.items()}
    gaps = {f"minus_chain_{k}": x for k, x in depth_gaps(parts, source.s).items()}
    variables |= _on_depth(gaps, texts)
    variables["cpu_seconds"] = (("L",), list(seconds), "time of all processors in training, s")
    return results.label(variables, _depth_coords(parts), "network", attributes)


def _on_depth(found: Mapping[str, tuple[Array, Array]], texts: Mapping[str, str]) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for name, text in texts.items():
        value, error = found[name]
        variables[name] = (("L",), value, text)
        variables[f"{name}_error"] = (("L",), error, f"standard error of: {text}")
    return variables


def _depth_coords(parts: Mapping[int, xr.Dataset]) -> dict[str, Any]:
    return {"L": (("L",), list(parts), "depth of the hierarchy")}
