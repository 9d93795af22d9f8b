r"""Denoising and classifying networks of one size at the same odd-one-out triplets.

Two networks of the same shape learn the same grammar under the same noise.  One denoises its
strings; the other reads the class, by the mean of its logits over the leaves.  The cosine of their
features responds to triplets of strings, layer by layer and noise level by noise level; simulated
observers compare the trees with weights per level, from the class to the leaves:

=========  =================================
``upper``  1, 1/2, 1/4, ...: the class first
``even``   all levels alike
``lower``  ..., 1/4, 1/2, 1: the leaves first
=========  =================================

with the same sum of weights and the same temperature.  Exact inference bounds both: given noisy
data, the expected similarity of two objects i and j is

.. math:: E[S_{ij}] = \sum_l \frac{w_l}{n_l} \sum_{u \text{ of level } l}
   p_{l,u}(\cdot \mid x^i_t) \cdot p_{l,u}(\cdot \mid x^j_t) ,

and what a linear map can read of the latents is at most what the exact beliefs hold,

.. math:: R^2 = 1 - \frac{E|z - \hat z|^2}{E|z - E z|^2} \le 1 - \frac{E|z - p|^2}{E|z - E z|^2}

for the one-hot symbols z of a level, the dimensions of concepts here.  The best layer and noise
level of a network are chosen on the other networks, so that no maximum is taken over the numbers
that are reported.  Networks that are not trained are the control.

Validity: errors are Student's over networks, each with a grammar, objects and weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    number,
    one_of,
    positive,
    reals,
    whole,
)
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, network_input
from hierdiff.seeds import generator, stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.odd_one_out import TripletTask, draw_triplets, error_consistency
from hierdiff.sims.metrics.probes import ridge_weights
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.odd_one_out_task import expected_accuracy, odd_one_out, tree_similarity
from hierdiff.validation import networks
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.experiments import architecture_rule, checkpoint_suffix
from hierdiff.validation.recipes import train_symbol_network
from hierdiff.validation.training import TrainConfig, train

__all__ = [
    "OBJECTIVES",
    "GrammarNetworks",
    "class_loss",
    "latent_regression",
    "observer_weights",
]

Array: TypeAlias = NDArray[Any]

OBJECTIVES = ("denoiser", "denoiser, class given", "classifier", "untrained")
"""What a network was trained for, and what it is conditioned on."""
OBSERVERS = ("upper", "even", "lower")
"""Simulated observers by the levels that weigh most."""
PAIRS = (
    "denoiser and classifier", "denoiser and exact", "classifier and exact",
    "denoiser and observer", "classifier and observer", "exact and observer", "two observers",
)  # fmt: skip
"""Responders whose errors are compared."""

_COUNT = partial(whole, low=1, high=10**9)
# Features are scaled to root mean square one, so the penalty weighs as much as ten data.
_RIDGE = 10.0
_ACCURACY = "odd-one-out accuracy against the observers"


def _observer(name: str, value: Any) -> str:
    return str(one_of(name, value, OBSERVERS))


@dataclass(frozen=True)
class GrammarNetworks:
    """Denoising and classifying networks trained here on several random grammars."""

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 3
    """Depth."""
    networks: int = 3
    """Grammars, with a denoising and a classifying network each, over which errors are taken."""
    observers: tuple[str, ...] = OBSERVERS
    """Simulated observers: upper, even, lower."""
    temperature: float = 0.22
    """Of the simulated observers."""
    objects: int = 200
    """Objects that are compared."""
    n_readout: int = 2000
    """Strings on which latents are regressed, and as many again on which the fit is read."""
    steps: int = 3000
    """Training steps of every network."""
    batch: int = 64
    """Strings per step."""
    width: int = 48
    """Features per node of a network."""
    label_share: float = 0.5
    """Share of the training data on whose class the denoising network is conditioned."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""

    def __post_init__(self) -> None:
        check_fields(
            self, networks=partial(whole, low=2, high=10**4), temperature=positive, steps=_COUNT,
            observers=partial(listed, rule=_observer), batch=_COUNT,
            objects=partial(whole, low=9, high=10**6), width=_COUNT,
            n_readout=partial(whole, low=20, high=10**7),
            label_share=partial(number, above=0, below=1), architecture=architecture_rule(Grammar),
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)

    def grammar(self, seed: int, k: int) -> Grammar:
        """The grammar of network k."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(seed, "grammar of a network", k))


@checked(observer=_observer, levels=partial(whole, low=1, high=10**4))
def observer_weights(observer: str, levels: int) -> NDArray[np.float64]:
    """Weights of the levels, the class first, with the sum of 1 + 1/2 + 1/4 + ...

    Examples
    --------
    >>> [observer_weights(name, 2).tolist() for name in ("upper", "even", "lower")]
    [[1.0, 0.5], [0.75, 0.75], [0.5, 1.0]]
    """
    halved: NDArray[np.float64] = 0.5 ** np.arange(levels, dtype=float)
    if observer == "even":
        return np.full(levels, halved.mean())
    return halved if observer == "upper" else halved[::-1].copy()


# --- networks -------------------------------------------------------------------------------------


@checked(batch=partial(whole, low=1, high=10**7))
def class_loss(
    grammar: Grammar, noise: GaussianNoise, *, batch: int = 64, seed: int = 0
) -> Callable[[nn.Module, int], Tensor]:
    """Cross-entropy of the class, by the mean of the logits over the leaves, on fresh batches.

    Parameters
    ----------
    grammar : Grammar
        Whose classes are as many as the symbols of its leaves.
    noise : GaussianNoise
        Levels are uniform in [0, 1].
    batch : int
        Strings per step.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If the grammar has more classes than symbols of a leaf.

    Notes
    -----
    Validity: its minimum is the entropy of the class given the noisy string, in nats.
    """
    classes = grammar.v[0]
    if classes > grammar.leaf_vocabulary:
        raise InvalidParameter(
            f"the grammar has {classes} classes and {grammar.leaf_vocabulary} symbols of a leaf; "
            "the network has a logit per symbol, so give a grammar with no more classes"
        )

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = generator(stream(seed, "class training", step))
        drawn = grammar.sample(batch, rng)
        t = rng.random(batch)
        channels = network_input(noise, noise.corrupt(drawn.leaves, t, rng), t)
        device = next(network.parameters()).device
        x, log_snr = (torch.from_numpy(np.asarray(part, np.float32)).to(device)
                      for part in channels)  # fmt: skip
        label = torch.from_numpy(drawn.levels[0][:, 0].astype(np.int64)).to(device)
        logits = network(x, log_snr)[..., :classes].mean(dim=1)
        return nn.functional.cross_entropy(logits, label)

    return loss


def _networks(
    source: GrammarNetworks, seed: int, k: int, folder: Path | None, device: str
) -> tuple[dict[str, NetworkModel], dict[str, int]]:
    """Models by objective, and their numbers of weights."""
    grammar, noise = source.grammar(seed, k), GaussianNoise(source.v)
    steps = source.steps
    plan = TrainConfig(steps=steps, warmup=min(100, steps), every=max(steps // 3, 1),
                       device=device)  # fmt: skip
    stem = "-".join(f"{n}{getattr(source, n)}" for n in ("v", "m", "s", "L", "width", "batch"))
    suffix = f"{stem}-seed{seed}-{k}" + checkpoint_suffix(Grammar, source.architecture)

    def place(kind: str) -> Path | None:
        return None if folder is None else folder / f"objectives-{kind}-{suffix}"

    denoiser, _ = train_symbol_network(
        grammar, noise, plan, width=source.width, batch=source.batch,
        label_share=source.label_share, seed=seed + 1000 * k, network=source.architecture,
        folder=place("denoiser"),
    )  # fmt: skip

    def fresh() -> nn.Module:
        torch.manual_seed(int(stream(seed, "classifier weights", k).integers(2**31)))
        name = networks.architecture_for(Grammar, source.architecture)
        return networks.network(name, grammar, noise, width=source.width)

    done = train(
        fresh(), class_loss(grammar, noise, batch=source.batch, seed=seed + 1000 * k), plan,
        folder=place("classifier"), name="classifier",
    )  # fmt: skip
    models = {
        "denoiser": denoiser,
        "classifier": symbol_model(done.network, noise),
        "untrained": symbol_model(fresh().eval(), noise),
    }
    sizes = {name: sum(p.numel() for p in one.module.parameters()) for name, one in models.items()}
    return models, sizes


def _layers(
    models: Mapping[str, NetworkModel], objective: str, x_t: Array, t: float, labels: Array
) -> dict[str, Array]:
    """Features of every layer by name, the noisy data first and what the network returns last."""
    model = models[objective.partition(",")[0]]
    if objective.endswith("class given"):
        model = model.given(labels)
    inside = model.features(x_t, t)
    out = model.denoise(x_t, t)
    if objective in ("classifier", "untrained"):
        # probabilities of the leaves' logits say nothing here: it is their mean that was trained
        out = np.log(np.maximum(out, 1e-30)).mean(axis=1)
        out -= out.max(axis=1, keepdims=True)
        out = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
    return {"input": x_t, **inside, "output": out}


# --- regression of latents ------------------------------------------------------------------------


@checked
def latent_regression(
    features: ArrayLike, targets: ArrayLike, unseen: ArrayLike, truth: ArrayLike,
    ridge: float = _RIDGE,
) -> NDArray[np.float64]:  # fmt: skip
    r"""What a linear map of features predicts of each target on unseen data.

    Parameters
    ----------
    features, targets : array [n, width], [n, k]
        On which the map is fitted; the features are centred and scaled to root mean square one.
    unseen, truth : array [m, width], [m, k]
        On which it is read.
    ridge : float
        Penalty :math:`\rho` of :func:`hierdiff.sims.metrics.probes.ridge_weights`.

    Returns
    -------
    array [m, k]
        Predictions.

    Raises
    ------
    InvalidParameter
        For shapes that do not fit.

    Notes
    -----
    Validity: least squares with a penalty; ``truth`` gives the shape that is asked for.

    Examples
    --------
    >>> x = np.arange(6.0)[:, None]
    >>> latent_regression(x, 2 * x, [[9.0]], [[18.0]], 1e-9).round(4).tolist()
    [[18.0]]
    """
    x, y = reals("features", features, ndim=2), reals("targets", targets, ndim=2)
    z, w = reals("unseen", unseen, ndim=2), reals("truth", truth, ndim=2)
    if z.shape[1:] != x.shape[1:] or w.shape[1:] != y.shape[1:] or len(z) != len(w):
        raise InvalidParameter(
            f"features {x.shape} and {z.shape}, targets {y.shape} and {w.shape} must have the same "
            "columns, and as many unseen features as targets"
        )
    centre, mean = x.mean(axis=0), y.mean(axis=0)
    scale = max(float(np.sqrt(((x - centre) ** 2).mean())), 1e-12)
    weights = ridge_weights((x - centre) / scale, y - mean, ridge)
    return np.asarray((z - centre) / scale @ weights + mean)


def _explained(predicted: Array, truth: Array) -> float:
    """Share of the variance of all targets together."""
    rest = ((truth - predicted) ** 2).sum()
    return float(1 - rest / ((truth - truth.mean(axis=0)) ** 2).sum())


def _one_hot(trees: Derivations, v: int) -> list[Array]:
    """Symbols of every level as concept dimensions [n, nodes * v]."""
    return [np.eye(v)[symbols].reshape(len(symbols), -1) for symbols in trees.levels]


# --- one grammar ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Scene:
    """Objects and responses of one grammar."""

    grammar: Grammar
    trees: Derivations
    tasks: dict[str, TripletTask]
    weights: dict[str, Array]
    randoms: Array


def _scene(source: GrammarNetworks, seed: int, k: int, ties: Any, triplets: int) -> _Scene:
    grammar = source.grammar(seed, k)
    trees = grammar.sample(source.objects, stream(seed, "objects", k))
    rows = draw_triplets(len(trees), triplets, stream(seed, "triplets", k))
    weights = {name: observer_weights(name, source.L + 1) for name in source.observers}
    tasks = {
        name: TripletTask(rows, odd_one_out(tree_similarity(trees, w), rows, source.temperature),
                          ties, seed)
        for name, w in weights.items()
    }  # fmt: skip
    noise = GaussianNoise(source.v)
    randoms = noise.draw(trees.leaves.shape, stream(seed, "noise", k))
    return _Scene(grammar, trees, tasks, weights, randoms)


def _exact_rows(
    source: GrammarNetworks, scene: _Scene, t: tuple[float, ...], seed: int, k: int
) -> dict[str, Array]:
    """What exact beliefs achieve on the objects of one grammar, and R^2 of the latents."""
    noise = GaussianNoise(source.v)
    model = ExactRHM(scene.grammar, noise, threads=1)
    levels, n = source.L + 1, len(scene.tasks)
    labels = scene.trees.levels[0][:, 0]
    level = np.empty((2, n, levels, len(t)))
    best = np.empty((2, n, len(t)))
    right = np.empty((n, len(t), len(next(iter(scene.tasks.values())).triplets)), np.float32)
    r2, class_accuracy = np.empty((levels, len(t))), np.empty(len(t))
    fresh = scene.grammar.sample(source.n_readout, stream(seed, "unseen", k))
    truth = _one_hot(fresh, source.v)
    for i, x in enumerate(t):
        x_t = noise.corrupt_with(scene.trees.leaves, x, scene.randoms)
        for c in (0, 1):
            beliefs = _exact_beliefs(model, x_t, x, labels if c else None, levels)
            for j, (name, task) in enumerate(scene.tasks.items()):
                level[c, j, :, i] = [task.scores(b).mean() for b in beliefs]
                similarity = sum(
                    w / (b.shape[1] // source.v) * (b @ b.T)
                    for w, b in zip(scene.weights[name], beliefs, strict=True)
                )
                responses = expected_accuracy(
                    similarity, task.triplets, task.probabilities, ties="shared"
                )
                best[c, j, i] = responses.mean()
                if not c:
                    right[j, i] = expected_accuracy(
                        similarity, task.triplets, _most_likely(task), ties="shared"
                    )
        y_t = noise.corrupt(fresh.leaves, x, stream(seed, "unseen noise", k))
        beliefs = _exact_beliefs(model, y_t, x, None, levels)
        r2[:, i] = [_explained(b, z) for b, z in zip(beliefs, truth, strict=True)]
        class_accuracy[i] = (beliefs[0].argmax(axis=1) == fresh.levels[0][:, 0]).mean()
    return {"level": level, "best": best, "right": right, "r2": r2, "class": class_accuracy}


def _exact_beliefs(
    model: ExactRHM, x_t: Array, t: float, labels: Array | None, levels: int
) -> list[Array]:
    """Beliefs of every level [n, nodes * v], conditioned on the label of every string."""
    if labels is None:
        found = model.features(x_t, t)
        return [found[f"level {i}"] for i in range(levels)]
    out: list[Array] = [np.empty(0)] * levels
    for c in np.unique(labels):
        rows = labels == c
        found = model.given(int(c)).features(x_t[rows], t)
        for i in range(levels):
            if not out[i].size:
                out[i] = np.empty((len(x_t), found[f"level {i}"].shape[1]))
            out[i][rows] = found[f"level {i}"]
    return out


def _most_likely(task: TripletTask) -> Array:
    """The observers' most likely response as probabilities; ties share it."""
    top = task.probabilities >= task.probabilities.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(top / top.sum(axis=1, keepdims=True))


def _one_grammar(
    source: GrammarNetworks, t: tuple[float, ...], ties: Any, triplets: int, seed: int, k: int,
    place: str, device: str,
) -> dict[str, Array]:  # fmt: skip
    """Everything that is measured on the networks of one grammar."""
    models, sizes = _networks(source, seed, k, Path(place) if place else None, device)
    scene = _scene(source, seed, k, ties, triplets)
    noise, tasks = GaussianNoise(source.v), list(scene.tasks.values())
    labels = scene.trees.levels[0][:, 0]
    sets = [scene.grammar.sample(source.n_readout, stream(seed, name, k))
            for name in ("readout", "unseen")]  # fmt: skip
    latents = [_one_hot(trees, source.v) for trees in sets]
    splits = np.cumsum([z.shape[1] for z in latents[0]])[:-1]
    scores: list[list[Array]] = []
    right: list[list[Array]] = []
    r2, read = [], []
    names: list[str] = []
    for objective in OBJECTIVES:
        by_t: list[list[Array]] = [[], []]
        fits: list[Array] = []
        for x in t:
            x_t = noise.corrupt_with(scene.trees.leaves, x, scene.randoms).astype(np.float32)
            layers = _layers(models, objective, x_t, x, labels)
            layers = {name: f.reshape(len(f), -1) for name, f in layers.items()}
            names = list(layers)
            by_t[0].append(np.array([[task.scores(f) for f in layers.values()] for task in tasks]))
            judged = [TripletTask(s.triplets, _most_likely(s), ties, seed) for s in tasks]
            by_t[1].append(np.array([[s.scores(f) for f in layers.values()] for s in judged]))
            y = [noise.corrupt(z.leaves, x, stream(seed, f"{name} noise", k)).astype(np.float32)
                 for name, z in zip(("readout", "unseen"), sets, strict=True)]  # fmt: skip
            pair = [_layers(models, objective, a, x, z.levels[0][:, 0])
                    for a, z in zip(y, sets, strict=True)]  # fmt: skip
            fits.append(np.array([_r2_of([f[name] for f in pair], latents, splits)
                                  for name in names]))  # fmt: skip
            if objective == "classifier":
                read.append((pair[1]["output"].argmax(axis=1) == sets[1].levels[0][:, 0]).mean())
        # [observer, layer, t, triplet]
        scores.append([np.stack(by_t[0], axis=2)])
        right.append([np.stack(by_t[1], axis=2)])
        r2.append(np.stack(fits, axis=2))  # [layer, level, t]
    exact = _exact_rows(source, scene, t, seed, k)
    hot = np.eye(source.v)[labels]
    return {
        "scores": np.concatenate(scores).mean(axis=-1),
        "right": np.concatenate(right).astype(np.float32),
        "r2": np.array(r2), "class_read": np.array(read),
        **{f"exact_{name}": x for name, x in exact.items()},
        "ceiling": np.array([task.ceiling for task in tasks]),
        "label_only": np.array([task.scores(hot).mean() for task in tasks]),
        "observer_right": np.array([task.probabilities.max(axis=1) for task in tasks]),
        "weights": np.array([sizes[name] for name in ("denoiser", "classifier")]),
        "names": np.frombuffer("\n".join(names).encode(), np.uint8),
    }  # fmt: skip


def _r2_of(pair: list[Array], latents: list[list[Array]], splits: Array) -> list[float]:
    """R^2 of every level from one layer, by one regression of all latents."""
    fit, unseen = (f.reshape(len(f), -1) for f in pair)
    known, truth = (np.concatenate(z, axis=1) for z in latents)
    predicted = latent_regression(fit, known, unseen, truth)
    return [_explained(p, z) for p, z in
            zip(np.split(predicted, splits, axis=1), latents[1], strict=True)]  # fmt: skip


# --- all grammars ---------------------------------------------------------------------------------


def compare_objectives(
    source: GrammarNetworks, t: tuple[float, ...], ties: Any, triplets: int, seed: int,
    checkpoints: Path | None, folder: Any, device: str, parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Accuracy, R^2 and error consistency of the networks of all grammars, beside exact ones.

    A checkpoint per network is kept in one folder, a file per finished grammar in the other.
    """
    tasks = [
        Task(_one_grammar, (source, t, ties, triplets, seed, k,
                            "" if checkpoints is None else str(checkpoints), device),
             {"version": 1, "question": "objectives", "network": k, "seed": seed})
        for k in range(source.networks)
    ]  # fmt: skip
    # one after the other: each trains with all threads that torch may have
    found = run_tasks(tasks, folder, workers=1, name="objectives")
    stacked = {name: np.stack([one[name] for one in found]) for name in found[0] if name != "names"}
    layers = bytes(found[0]["names"]).decode().split("\n")
    return _label(source, t, stacked, layers, parameters)


def exact_objectives(
    source: GrammarNetworks, t: tuple[float, ...], ties: Any, triplets: int, seed: int,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """What exact beliefs achieve on the same objects at the same noise, in the same labels."""
    rows = [_exact_rows(source, _scene(source, seed, k, ties, triplets), t, seed, k)
            for k in range(source.networks)]  # fmt: skip
    stacked = {f"exact_{name}": np.stack([r[name] for r in rows]) for name in rows[0]}
    variables = _exact_variables(stacked)
    return results.label(variables, _coords(source, t), "theory", results.provenance(parameters))


def _averaged(name: str, dims: tuple[str, ...], values: Array, text: str) -> dict[str, Any]:
    """Mean over networks, Student error, and every network."""
    return {
        **results.with_error(name, dims, values.mean(axis=0), student_error(values), text),
        f"{name}_by_network": (("run", *dims), values, f"{text}, every network"),
    }


def _exact_variables(found: Mapping[str, Array]) -> dict[str, Any]:
    plane = ("condition", "observer", "level", "t")
    return {
        **_averaged("exact_accuracy", plane, found["exact_level"],
                    f"{_ACCURACY}, exact beliefs of a level"),
        **_averaged("exact_best", ("condition", "observer", "t"), found["exact_best"],
                    f"{_ACCURACY}, exact expected similarity"),
        **_averaged("exact_r2", ("level", "t"), found["exact_r2"],
                    "share of the variance of the latents, exact beliefs"),
        **_averaged("exact_class", ("t",), found["exact_class"], "accuracy of the exact class"),
    }  # fmt: skip


def _coords(source: GrammarNetworks, t: tuple[float, ...]) -> dict[str, Any]:
    return {
        "condition": (("condition",), ["unconditional", "class given"], "what is given"),
        "observer": (("observer",), list(source.observers), "levels that weigh most"),
        "level": (("level",), np.arange(source.L + 1), "level, root = 0"),
        "run": (("run",), np.arange(source.networks), "network"),
        "t": (("t",), list(t), "noise level t of the gaussian process"),
    }


def _label(
    source: GrammarNetworks, t: tuple[float, ...], found: dict[str, Array], layers: list[str],
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    scores = found["scores"]  # [run, objective, observer, layer, t]
    # the noisy data are no layer of a network
    own = [i for i, n in enumerate(layers) if n != "input"]
    best, at = _chosen(scores, own)
    per_level = np.stack([_chosen(scores[..., i : i + 1], own)[0] for i in range(len(t))], axis=-1)
    inner = [i for i, n in enumerate(layers) if n not in ("input", "output")]
    roots = [i for i, n in enumerate(layers) if n in ("up 0", "down 0")] or inner[:1]
    bottleneck, _ = _chosen(scores, roots)
    others = [i for i in inner if i not in roots] or inner
    away, _ = _chosen(scores, others)
    places = np.stack(
        [_chosen(scores[..., i : i + 1], own)[1][..., 0] for i in range(len(t))], axis=-1
    )
    kappa = _kappas(found, places)
    plane = ("objective", "observer", "layer", "t")
    variables: dict[str, Any] = {
        **_averaged("layer_accuracy", plane, scores, f"{_ACCURACY}, layer as it is"),
        **_averaged("best", ("objective", "observer"), best,
                    f"{_ACCURACY}, layer and level chosen on other networks"),
        **_averaged("best_at", ("objective", "observer", "t"), per_level,
                    f"{_ACCURACY}, layer chosen on other networks"),
        **_averaged("bottleneck", ("objective", "observer"), bottleneck,
                    f"{_ACCURACY}, features of the root"),
        **_averaged("intermediate", ("objective", "observer"), away,
                    f"{_ACCURACY}, layers between"),
        **_averaged("r2", ("objective", "layer", "level", "t"), found["r2"],
                    "share of the variance of the latents, linear map of a layer"),
        **_averaged("kappa", ("pair", "observer", "t"), kappa, "error consistency"),
        **_averaged("class_read", ("t",), found["class_read"], "accuracy of the classifier"),
        **_exact_variables(found),
        **_averaged("ceiling", ("observer",), found["ceiling"], "best possible accuracy"),
        **_averaged("label_only", ("observer",), found["label_only"], "accuracy of the class"),
    }  # fmt: skip
    variables["weights"] = (("size",), found["weights"][0], "weights of denoiser and classifier")
    variables["best_place"] = (("run", "objective", "observer", "place"), at,
                               "layer and level that were chosen")  # fmt: skip
    coords = {
        **_coords(source, t),
        "objective": (("objective",), list(OBJECTIVES), "what the network was trained for"),
        "layer": (("layer",), layers, "features of the network"),
        "pair": (("pair",), list(PAIRS), "who are compared"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _chosen(scores: Array, layers: list[int]) -> tuple[Array, Array]:
    """Accuracy [run, objective, observer] where the other networks are best, and that place.

    Scores are [run, objective, observer, layer, t]; only the layers that are named are taken.
    """
    runs = len(scores)
    out, places = np.empty(scores.shape[:3]), np.empty((*scores.shape[:3], 2), int)
    for k in range(runs):
        rest = np.delete(scores, k, axis=0).mean(axis=0)[:, :, layers]
        for i, j in np.ndindex(*rest.shape[:2]):
            layer, level = np.unravel_index(int(rest[i, j].argmax()), rest.shape[2:])
            places[k, i, j] = layers[int(layer)], level
            out[k, i, j] = scores[(k, i, j, *places[k, i, j])]
    return out, places


def _kappas(found: dict[str, Array], places: Array) -> Array:
    """Error consistency [run, pair, observer, t] of responders at their best layers."""
    right, exact, observers = found["right"], found["exact_right"], found["observer_right"]
    runs, _, n, _, levels, _ = right.shape
    out = np.empty((runs, len(PAIRS), n, levels))
    names = list(OBJECTIVES)
    for k, j, i in np.ndindex(runs, n, levels):
        net = {name: right[k, names.index(name), j, places[k, names.index(name), j, i], i]
               for name in ("denoiser", "classifier")}  # fmt: skip
        who = {**net, "exact": exact[k, j, i], "observer": observers[k, j]}
        for p, pair in enumerate(PAIRS[:-1]):
            a, b = pair.split(" and ")
            out[k, p, j, i] = float(error_consistency(who[a], who[b]))
        out[k, -1, j, i] = float(error_consistency(who["observer"], who["observer"]))
    return out
