r"""Five readings of networks on photographs of clothing, one function per question.

===========  =====================================================================================
reading      what is returned
===========  =====================================================================================
`u_turns`    class of images before and after noise of level t and its removal, and the similarity
             of every layer of the classifier above that of random pairs
`probed`     accuracy of linear probes of every layer, by size of the training set
`judged`     denoising errors of every class, and what the classifier says of the same images
`odd_ones`   odd one out of three by the cosine of every layer, with and without the class
===========  =====================================================================================

The order of classes along training is read while the networks learn
(:meth:`hierdiff.validation.experiments.clothing_networks.ClothingNetworks.order`).

Two laws stand beside the U-turns.  A mixture of one low-rank Gaussian per class, fitted to the
training images, has no tree: whatever order of class and family it shows is due to where the means
and directions of the classes lie.  In its *flat* twin (:func:`flat_mixture`) these are random, with
the same variances and distances from the common mean, so that classes of a family are no nearer to
each other than any others.  Both have exact posteriors, and from a draw of class c

.. math:: P(\text{class kept}) = E\,p(c \mid x_t), \qquad
    P(\text{family kept}) = E \sum_{c' \in F(c)} p(c' \mid x_t) .

If classes are exchangeable, one that changes stays in its family with chance
:math:`(|F(c)| - 1)/(K - 1)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    checked,
    integers,
    listed,
    natural,
    one_level,
    unchecked,
    whole,
)
from hierdiff.data.fashion import FASHION_CLASSES, family_of
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.metrics.denoising_error import ClassErrors, stratified_pool
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.sims.metrics.forward_backward import forward_backward
from hierdiff.sims.metrics.odd_one_out import TripletTask
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.validation.experiments.clothing_networks import CLOTHING_LAYERS, ClothingNetworks
from hierdiff.validation.experiments.layer_probes import (
    FashionNetworks,
    LabelledModels,
    mixture_of_classes,
    probe_layers,
)
from hierdiff.validation.reference_layers import floor_of_pairs, layer_statistics, similarity

__all__ = [
    "KINDS",
    "RANK",
    "Triplets",
    "family_chance",
    "flat_mixture",
    "mixture_retention",
    "tree_triplets",
]

Array: TypeAlias = NDArray[Any]

RANK = 12
"""Directions of every class of the mixture."""
KINDS = ("class", "family")
"""What decides a triplet: two images of a class beside one of its family, or two classes of a
family beside an image of another family."""
_CLASSES = len(FASHION_CLASSES)
_SIZES = np.bincount(family_of(np.arange(_CLASSES)))
_SHOWN = 6  # images whose U-turns are drawn
_SHEET = 8  # images of every class on the sheet


# ------------------------------------------------------------------------------------ mixtures


@checked(labels=unchecked)
def family_chance(labels: ArrayLike) -> Array:
    """Chance that another class, any with the same chance, is of the family of the class.

    Examples
    --------
    >>> family_chance([0, 1, 5]).round(4).tolist()
    [0.4444, 0.0, 0.2222]
    """
    return np.asarray((_SIZES[family_of(labels)] - 1) / (_CLASSES - 1))


@checked
def flat_mixture(mixture: LowRankMixture, seed: Seed = 0) -> LowRankMixture:
    """The mixture with random directions: equal variances and distances, but no families.

    Parameters
    ----------
    mixture : LowRankMixture
    seed : Seed

    Returns
    -------
    LowRankMixture

    Raises
    ------
    InvalidParameter
        If there are more classes than dimensions.

    Notes
    -----
    Validity: means lie in orthogonal directions, at a distance for which their variance is that of
    the mixture's means, so that all pairs of classes are equally far; every basis is that of
    random orthogonal directions.

    Examples
    --------
    >>> flat = flat_mixture(LowRankMixture.random(15, 5, 3, delta=0.2, seed=0))
    >>> flat.means.round(6).tolist()[0][:2]
    [0.0, 0.0]
    """
    rng, dim = generator(seed), mixture.dim
    if mixture.n_classes > dim:
        raise InvalidParameter(
            f"{mixture.n_classes} classes have no orthogonal means in {dim} dimensions; give a "
            "mixture of fewer classes"
        )
    centre = mixture.weights @ mixture.means
    spread = float(mixture.weights @ ((mixture.means - centre) ** 2).sum(axis=1))
    # orthogonal means have a common part, which is no distance
    far = np.sqrt(spread / max(1 - float(mixture.weights @ mixture.weights), 1e-12))

    def directions(width: int) -> Array:
        return np.linalg.qr(rng.standard_normal((dim, width)))[0]

    means = far * directions(mixture.n_classes).T
    means = centre + means - mixture.weights @ means
    return LowRankMixture(
        [directions(basis.shape[1]) for basis in mixture.bases], mixture.weights,
        mixture.variances, mixture.delta, mixture.residual, means,
    )  # fmt: skip


@checked(n=partial(whole, low=2, high=10**7), t=partial(listed, rule=one_level), seed=natural)
def mixture_retention(
    mixture: LowRankMixture, t: Sequence[float], n: int = 2000, seed: int = 0
) -> dict[str, Array]:
    """Whether class and family of draws come back, by exact posteriors at every level.

    Parameters
    ----------
    mixture : LowRankMixture
        Of the ten classes of clothing.
    t : sequence of float
        Noise levels of the linear schedule.
    n : int
        Draws.
    seed : int

    Returns
    -------
    dict of array [T]
        ``class_kept``, ``family_kept`` and ``stayed``, the chance that a class that changed is one
        of the family, each with ``_error`` over draws.

    Raises
    ------
    InvalidParameter
        For another number of classes.

    Notes
    -----
    Validity: exact posteriors, and Monte Carlo over draws of the mixture.
    """
    if mixture.n_classes != _CLASSES:
        raise InvalidParameter(
            f"the mixture has {mixture.n_classes} classes, and clothing {_CLASSES}; fit one to it"
        )
    model = ExactMixture(mixture, GaussianNoise(schedule="linear"))
    x, labels = mixture.sample(n, stream(seed, "mixture draws"))
    noise = stream(seed, "mixture noise").standard_normal(x.shape)
    same = family_of(np.arange(_CLASSES)) == family_of(labels)[:, None]
    found: dict[str, list[Array]] = {}
    for level in np.asarray(t, float):
        p = model.class_marginals(model.noise.corrupt_with(x, level, noise), level)
        kept, family = p[np.arange(n), labels], (p * same).sum(axis=1)
        changed, moved = 1 - kept, family - kept
        share = moved.mean() / max(changed.mean(), 1e-300)
        # the error of a ratio of means, to first order
        slip = standard_error(moved - share * changed) / max(changed.mean(), 1e-300)
        for name, value, error in (
            ("class_kept", kept.mean(), standard_error(kept)),
            ("family_kept", family.mean(), standard_error(family)), ("stayed", share, slip),
        ):  # fmt: skip
            found.setdefault(name, []).append(value)
            found.setdefault(f"{name}_error", []).append(error)
    return {name: np.array(values, float) for name, values in found.items()}


def class_mixture(networks: ClothingNetworks) -> LowRankMixture:
    """The mixture of the training images."""
    data = networks.images("train")
    return mixture_of_classes(data.images.reshape(len(data), -1), data.labels, RANK)


# ------------------------------------------------------------------------------------- readings


def u_turns(networks: ClothingNetworks, k: int, t: tuple[float, ...], n: int) -> dict[str, Array]:
    """Classes before [n] and after [t, n], similarity of layers [layer, t], pictures of some."""
    model, classifier = networks.network(k), networks.classifier(k)
    seed, x0 = networks.sizes.seed, networks.images("test").images[:n]
    start = classifier.activations(x0)["logits"].argmax(axis=1)
    statistics = layer_statistics(classifier, networks.images("train").images[:2000])
    floor = floor_of_pairs(classifier, statistics, x0, stream(seed, "pairs", k))
    low = {name: float(x.mean()) for name, x in floor.cosine.items()}
    randoms = model.noise.draw(x0.shape, stream(seed, "u-turn noise", k))
    ends, rows, pictures = [], [], []
    for i, level in enumerate(t):
        seeds = stream(seed, "u-turn", k, i)
        made = forward_backward(model, x0, level, seeds, randoms=randoms).x_0
        made = made.astype(np.float32)
        ends.append(classifier.activations(made)["logits"].argmax(axis=1))
        seen = similarity(classifier, statistics, x0, made).cosine
        rows.append([(x.mean() - low[name]) / (1 - low[name]) for name, x in seen.items()])
        pictures.append(bytes_of(made[:_SHOWN, 0]))
    return {
        "start": start, "end": np.array(ends), "similarity": np.array(rows).T,
        "pictures": np.concatenate([bytes_of(x0[:_SHOWN, 0])[None], np.array(pictures)]),
        "layers": words(low),
    }  # fmt: skip


def probed(
    networks: ClothingNetworks, size: int | None, k: int, t: tuple[float, ...], shots: int,
    fit: int, test: int,
) -> dict[str, Array]:  # fmt: skip
    """Accuracy [probe, layer, t] and gain [probe, layer] of probes of network k on so many images.

    Of the mixture for no size; errors are those over data.
    """
    training, others = networks.images("train"), networks.images("test")
    noise = GaussianNoise(schedule="linear")
    model: dict[int, Any] = {}
    references: dict[str, Any] = {}
    if size is None:
        references["exact"] = ExactMixture(class_mixture(networks), noise)
    else:
        model[size] = (networks.network(k, size),)
    found = LabelledModels(
        (training.images[:fit], training.labels[:fit]),
        (others.images[:test], others.labels[:test]), noise, model, references, flat=True,
    )  # fmt: skip
    ds = probe_layers(found, FashionNetworks(t=t, shots=shots), networks.sizes.seed, {})
    names = ("accuracy", "accuracy_error", "gain", "gain_error")
    return {
        **{name: ds[name].values for name in names}, "layers": words(map(str, ds.layer.values)),
    }  # fmt: skip


def judged(networks: ClothingNetworks, k: int, n: int, strata: int) -> dict[str, Array]:
    """Errors [n, samples, class] at times [n, samples]; logits of the classifier [n, class]."""
    test = networks.images("test")
    x0, labels = test.images[:n].astype(float), test.labels[:n]
    seed = stream(networks.sizes.seed, "judges", k)
    pool = stratified_pool(ClassErrors(networks.network(k), _CLASSES), x0, strata, seed)
    classifier = networks.classifier(k)
    whole = classifier.activations(test.images)["logits"].argmax(axis=1) == test.labels
    return {"times": pool.t, "errors": pool.errors, "label": labels,
            "logits": classifier.activations(test.images[:n])["logits"],
            "accuracy": np.array(whole.mean())}  # fmt: skip


class Triplets(NamedTuple):
    """Triplets [k, 3], the odd one last, and what decides each: 0 the class, 1 the family [k]."""

    rows: Array
    kind: Array


@checked(labels=unchecked, number=partial(whole, low=1, high=10**6))  # a row each in memory
def tree_triplets(labels: ArrayLike, number: int, seed: Seed = 0) -> Triplets:
    """Triplets of either kind from the class tree, so many of each.

    Parameters
    ----------
    labels : int array [n]
        Classes of the objects, 0 to 9.
    number : int
        Triplets of each kind.
    seed : Seed

    Returns
    -------
    Triplets

    Raises
    ------
    InvalidParameter
        If the objects have no such triplets, or for more than a million of them.

    Notes
    -----
    Validity: classes first, uniformly, then objects of them; families of one class decide no
    triplet, but hold odd ones.

    Examples
    --------
    >>> found = tree_triplets([0, 0, 2, 1], 2)
    >>> found.rows.tolist()
    [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 2, 3]]
    """
    y = integers("labels", labels, 0, _CLASSES - 1, ndim=1)
    rng, family = generator(seed), family_of(np.arange(_CLASSES))
    amount = np.bincount(y, minlength=_CLASSES)
    here = np.flatnonzero(amount)
    siblings = [(a, b) for a in here for b in here if a != b and family[a] == family[b]]
    pairs = [(a, b) for a, b in siblings if amount[a] > 1]
    strangers = [(a, b, c) for a, b in siblings if a < b for c in here if family[c] != family[a]]
    if not pairs or not strangers:
        raise InvalidParameter(
            f"labels of {len(here)} classes have no two of a class beside one of its family, or no "
            "two classes of a family beside another; give more images"
        )
    places = [np.flatnonzero(y == c) for c in range(_CLASSES)]
    rows = []
    for pick in rng.integers(len(pairs), size=number):
        a, b = pairs[pick]
        rows.append([*np.sort(rng.choice(places[a], 2, replace=False)), rng.choice(places[b])])
    for pick in rng.integers(len(strangers), size=number):
        rows.append([rng.choice(places[c]) for c in strangers[pick]])
    return Triplets(np.array(rows), np.repeat([0, 1], number))


def odd_ones(
    networks: ClothingNetworks, k: int, t: tuple[float, ...], objects: int, number: int
) -> dict[str, Array]:
    """Accuracy [condition, layer, t, kind], of the classifier [layer, kind] and of pixels [kind].

    The condition is no class, or the right one; layers are means over places for both networks.
    """
    test, seed = networks.images("test"), networks.sizes.seed
    x0, labels = test.images[:objects], test.labels[:objects]
    triplets = tree_triplets(labels, number, stream(seed, "triplets"))
    task = TripletTask(triplets.rows, np.tile([0.0, 0.0, 1.0], (2 * number, 1)), "shared", seed)

    def score(features: Array) -> Array:
        right = task.scores(features.astype(float))
        return np.array([right[triplets.kind == kind].mean() for kind in range(len(KINDS))])

    model = networks.network(k)
    noise = model.noise.draw(x0.shape, stream(seed, "triplet noise", k))
    scores = np.empty((2, len(CLOTHING_LAYERS), len(t), len(KINDS)))
    for i, level in enumerate(t):
        x_t = model.noise.corrupt_with(x0, level, noise).astype(np.float32)
        for c, one in enumerate((model, model.given(labels))):
            for j, layer in enumerate(one.features(x_t, level).values()):
                scores[c, j, i] = score(layer)
    seen = networks.classifier(k).activations(x0)
    pooled = [a.reshape(*a.shape[:2], -1).mean(axis=2) for a in seen.values()]
    return {"scores": scores, "classifier": np.array([score(a) for a in pooled]),
            "pixels": score(x0), "layers": words(seen)}  # fmt: skip


def sheet(networks: ClothingNetworks, k: int) -> dict[str, Array]:
    """Images that network k makes of every class, [class, image, h, w], and photographs."""
    labels = np.repeat(np.arange(_CLASSES), _SHEET)
    side = networks.sizes.size
    rng = stream(networks.sizes.seed, "sheet", k)
    noise = rng.standard_normal((len(labels), 1, side, side)).astype(np.float32)
    made = networks.network(k).given(labels).sample(noise, 1.0, rng)
    test = networks.images("test")
    real = np.array([test.images[test.labels == c][:2, 0] for c in range(_CLASSES)])
    shape = (_CLASSES, _SHEET, side, side)
    return {"made": bytes_of(made[:, 0]).reshape(shape), "real": bytes_of(real)}


def bytes_of(images: Array) -> Array:
    """Images in [-1, 1] as bytes."""
    return np.asarray(np.clip((images + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8))


def words(names: Any) -> Array:
    """Names as an array of bytes, which a finished task can hold."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def named(found: Array) -> list[str]:
    """The names of :func:`words`."""
    return bytes(found).decode().split("\n")
