"""What networks on photographs of clothing answered, in numbers with errors over networks.

Every number is a pair of mean and half of its 68.27 % Student interval over the networks, if
nothing else is said.  All networks see the same photographs, so this is the error for these
photographs.  The answers of both judges have the error over photographs in quadrature: a jackknife
that leaves out one photograph of every class at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff._display import pair_text, text_table
from hierdiff.data.fashion import FASHION_CLASSES, FASHION_FAMILIES, family_of
from hierdiff.sims.bump_phases import crossing_time
from hierdiff.sims.metrics.calibration import calibration_error, temperature
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.theory.zero_shot.weightings import weighting
from hierdiff.validation.experiments.clothing_readings import family_chance
from hierdiff.validation.experiments.image_retention import half_lost

__all__ = ["answers", "claim", "table"]

Array: TypeAlias = NDArray[Any]
Found: TypeAlias = dict[str, Any]

WEIGHTS = ("exp", "vdm", "uniform")
"""Weights of the denoising errors: the published heuristic first, as chosen beforehand."""
PROBED = "middle_block"
"""The layer whose probes are quoted, chosen beforehand: the one between both ways."""
_FAMILY = family_of(np.arange(len(FASHION_CLASSES)))


class Study(Protocol):
    """What is needed of the experiment."""

    @property
    def name(self) -> str:
        """Stem of the files."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""


def answers(study: Study, datasets: Mapping[str, xr.Dataset]) -> Found:
    """All answers of the parts that were asked."""
    ds = datasets[study.name]
    found: Found = {"networks": int(ds.sizes["network"])}
    if "end" in ds:
        found["u-turns"] = turns(ds, datasets, study)
    if "accuracy" in ds:
        found["probes"] = probes(ds)
    if "errors" in ds:
        found["judges"] = judges(ds)
    if "class_right" in ds:
        found["order"] = order(ds)
    if "odd" in ds:
        found["triplets"] = triplets(ds)
    return found


def pair(rows: Any) -> list[float]:
    """Mean over networks and its Student error; NaN of one network is NaN of all."""
    x = np.asarray(rows, float)
    if not np.isfinite(x).all():
        return [float("nan"), float("nan")]
    return [round(float(x.mean()), 5), round(float(student_error(x)), 5)]


def scored(rows: Any) -> list[float]:
    """As :func:`pair`, with the normal score of Student's test against 0."""
    found = pair(rows)
    known = np.isfinite(found[0])
    return [*found, round(float(student_score(rows)), 3) if known else float("nan")]


def _pairs(rows: Array) -> list[list[float]]:
    """Pairs along the last axis of [network, ...]."""
    return [pair(column) for column in np.asarray(rows, float).T]


# ------------------------------------------------------------------------------------- U-turns


def _random_pairs(start: Array) -> tuple[float, float]:
    """Chance that class, and family, of two of the images are the same."""
    share = np.bincount(start, minlength=len(_FAMILY)) / len(start)
    families = np.bincount(_FAMILY, weights=share)
    return float(share @ share), float(families @ families)


def _above(kept: Array, chance: float) -> Array:
    """Share that is kept beyond that of random pairs, 1 at no noise."""
    # a classifier that has learned nothing gives all images one class
    return np.asarray((kept - chance) / max(1 - chance, 1e-12))


def kept_by_network(ds: xr.Dataset) -> dict[str, Array]:
    """Class and family kept [network, t], as they are and above random pairs, and ``stayed``."""
    found: dict[str, list[Array]] = {}
    for start, end in zip(ds.start.values, ds.end.values, strict=True):
        same, family = end == start, _FAMILY[end] == _FAMILY[start]
        low = _random_pairs(start)
        changed = (~same).sum(axis=1)
        with np.errstate(invalid="ignore"):
            stayed = (family & ~same).sum(axis=1) / changed
            chance = (family_chance(start) * ~same).sum(axis=1) / changed
        for name, row in (
            ("class", same.mean(axis=1)), ("family", family.mean(axis=1)),
            ("class above", _above(same.mean(axis=1), low[0])),
            ("family above", _above(family.mean(axis=1), low[1])),
            ("stayed", stayed), ("stayed by chance", chance),
        ):  # fmt: skip
            found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def turns(ds: xr.Dataset, datasets: Mapping[str, xr.Dataset], study: Study) -> Found:
    """Where class, family and layers are lost, beside both mixtures."""
    t, kept = ds.t.values, kept_by_network(ds)
    lost = {name: [half_lost(row, t, 0.5) for row in kept[f"{name} above"]]
            for name in ("class", "family")}  # fmt: skip
    layers = [str(x) for x in ds.layer.values]
    similar = {layer: [half_lost(row, t, 0.5) for row in ds.similarity.sel(layer=layer).values]
               for layer in layers}  # fmt: skip
    inner = [layer for layer in layers if layer != "logits"]
    laws = {}
    for law in ("mixture", "flat"):
        one = datasets[f"{study.name}_{law}"]
        # ten classes of equal weight
        low = _random_pairs(np.arange(len(_FAMILY)))
        halves = [half_lost(_above(one[f"{name}_kept"].values, chance), t, 0.5)
                  for name, chance in zip(("class", "family"), low, strict=True)]  # fmt: skip
        laws[law] = {
            "class half lost": halves[0], "family half lost": halves[1],
            "stayed": [[float(one.stayed[i]), float(one.stayed_error[i])] for i in range(len(t))],
        }  # fmt: skip
    # enough classes have changed to tell where they went, and images are not yet new ones
    half = np.mean(lost["class"])
    middle = int(np.argmin(np.abs(t - half))) if np.isfinite(half) else len(t) - 1
    first, last = similar[inner[0]], similar[inner[-1]]
    return {
        "t": t.tolist(),
        "class kept": _pairs(kept["class"]), "family kept": _pairs(kept["family"]),
        "class half lost": pair(lost["class"]), "family half lost": pair(lost["family"]),
        "family minus class": pair(np.subtract(lost["family"], lost["class"])),
        "stayed": _pairs(kept["stayed"]), "stayed by chance": _pairs(kept["stayed by chance"]),
        "middle": [float(t[middle]), *pair(kept["stayed"][:, middle]),
                   *pair(kept["stayed"][:, middle] - kept["stayed by chance"][:, middle])],
        "layers half similar": {layer: pair(x) for layer, x in similar.items()},
        "similarity": {layer: _pairs(ds.similarity.sel(layer=layer).values) for layer in layers},
        "layers": [inner[0], inner[-1]],
        "first minus last layer": pair(np.subtract(first, last)),
        "last layer minus class": pair(np.subtract(last, lost["class"])),
        "laws": laws,
    }  # fmt: skip


# -------------------------------------------------------------------------------------- probes


def probes(ds: xr.Dataset) -> Found:
    """Curves and gains of every layer by size of the training set, and those of the mixture."""
    t = ds.probe_t.values
    rows: Found = {"mixture": {"output": {}}}
    risen: Found = {"mixture": {}}
    for kind in map(str, ds.probe.values):
        one = ds.sel(probe=kind)
        gain = [float(one.mixture_gain), float(one.mixture_gain_error)]
        rows["mixture"]["output"][kind] = _row(
            t, one.mixture_accuracy.values, one.mixture_accuracy_error.values, gain
        )
        risen["mixture"][kind] = [int(gain[0] > 3 * gain[1]), 1]
        for size in ds.n_train.values:
            count = risen.setdefault(_size(int(size)), {}).setdefault(kind, [0, 0])
            for layer in map(str, ds.probed_layer.values):
                mine = one.sel(n_train=size, probed_layer=layer)
                curve, gain = mine.accuracy.values, pair(mine.gain.values)
                rows.setdefault(_size(int(size)), {}).setdefault(layer, {})[kind] = _row(
                    t, curve.mean(axis=0), student_error(curve), gain
                )
                count[0] += gain[0] > 3 * gain[1]
                count[1] += 1
    return {"t": t.tolist(), "rows": rows, "risen": risen, "layer": PROBED}


def _row(t: Array, curve: Array, error: Array, gain: list[float]) -> Found:
    return {
        "gain": [round(x, 4) for x in gain],
        "peak at": float(t[int(curve.argmax())]),
        "curve": np.round(curve, 4).tolist(),
        "error": np.round(error, 4).tolist(),
    }


def _size(size: int) -> str:
    return f"{size:,}" if size else "60,000"


# -------------------------------------------------------------------------------------- judges


def scores_of(ds: xr.Dataset, weight: str) -> Array:
    """Scores [network, image, class]: the least is the answer."""
    w = weighting(weight)(ds.times.values)
    return np.asarray((w[..., None] * ds.errors.values).mean(axis=2))


def _within(answer: Array, labels: Array) -> tuple[float, float]:
    """Share of errors inside the family, and that of exchangeable classes."""
    wrong = answer != labels
    if not wrong.any():
        return float("nan"), float("nan")
    inside = _FAMILY[answer[wrong]] == _FAMILY[labels[wrong]]
    return float(inside.mean()), float(family_chance(labels[wrong]).mean())


def tempered(scores: Array, labels: Array, half: Array | None = None) -> Array:
    """Probabilities [n, class] at a temperature that is fitted on the other half of the data."""
    out = np.empty_like(scores, dtype=float)
    half = _rounds(labels) % 2 == 0 if half is None else half
    for rows in (half, ~half):
        beta = temperature(scores[~rows], labels[~rows])
        out[rows] = softmax(-beta * scores[rows])
    return out


def _rounds(labels: Array) -> Array:
    """Number of the round in which an image is: classes come in turn."""
    return np.asarray(np.arange(len(labels)) // len(set(labels.tolist())))


def softmax(x: Array) -> Array:
    """Probabilities along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _calibrated(p: Array, labels: Array) -> tuple[float, float, float]:
    """Calibration error, confidence less accuracy, and nats of the true class."""
    best, right = p.max(axis=1), p.argmax(axis=1) == labels
    own = np.maximum(p[np.arange(len(labels)), labels], 1e-12)
    return (calibration_error(best, right), float(best.mean() - right.mean()),
            float(-np.log(own).mean()))  # fmt: skip


def judges(ds: xr.Dataset) -> Found:
    """Accuracy, families of the errors, and calibration, of the network and the classifier."""
    labels, logits = ds.label.values, ds.logits.values
    scores = {weight: scores_of(ds, weight) for weight in WEIGHTS}
    answers_of = {"network": scores[WEIGHTS[0]].argmin(axis=2), "classifier": logits.argmax(axis=2)}
    classes = len(_FAMILY)
    confusion = {
        name: [[round(float((rows[:, labels == a] == b).mean()), 4) for b in range(classes)]
               for a in range(classes)]
        for name, rows in answers_of.items()
    }  # fmt: skip
    return {
        "data": len(labels), "samples": int(ds.sizes["sample_of"]),
        "classifier, all test images": pair(ds.classifier_accuracy.values),
        **_with_photographs(partial(_judged, labels, logits, scores), _rounds(labels)),
        "confusion": confusion,
    }  # fmt: skip


def _judged(
    labels: Array, logits: Array, scores: Mapping[str, Array], rows: Array
) -> dict[tuple[str, ...], Array]:
    """What both judges say of some photographs, by name, [network]."""
    half = (_rounds(labels) % 2 == 0)[rows]  # fitted on the same half, whoever is left out
    labels, logits = labels[rows], logits[:, rows]
    scores = {weight: s[:, rows] for weight, s in scores.items()}
    main = scores[WEIGHTS[0]]
    answers_of = {"network": main.argmin(axis=2), "classifier": logits.argmax(axis=2)}
    beside = (answers_of["classifier"] == labels).mean(axis=1)
    right = {weight: (s.argmin(axis=2) == labels).mean(axis=1) for weight, s in scores.items()}
    found: dict[tuple[str, ...], Any] = {("accuracy", weight): x for weight, x in right.items()}
    found |= {("classifier",): beside, ("minus classifier",): right[WEIGHTS[0]] - beside}
    for name, a in answers_of.items():
        found["family right", name] = (_FAMILY[a] == _FAMILY[labels]).mean(axis=1)
        inside = [_within(row, labels) for row in a]
        found["errors in the family", name] = [x for x, _ in inside]
        found["by chance", name] = [x for _, x in inside]
    bound = softmax(-scores["vdm"] / 2)  # the likelihood bound is half of this sum, in nats
    stated: dict[str, Any] = {
        "network, likelihood bound": bound,
        "network, one temperature": [tempered(s, labels, half) for s in main],
        "classifier": softmax(logits),
        "classifier, one temperature": [tempered(-x, labels, half) for x in logits],
    }
    for name, every in stated.items():
        rows_of = np.array([_calibrated(p, labels) for p in every]).T
        for key, x in zip(_CALIBRATION, rows_of, strict=True):
            found[key, name] = x
    return {name: np.asarray(x, float) for name, x in found.items()}


_CALIBRATION = ("calibration error", "confidence minus accuracy", "nats")


def _with_photographs(
    read: Callable[[Array], Mapping[tuple[str, ...], Array]], group: Array
) -> Found:
    """Mean over networks, and its errors over networks and over groups of photographs together.

    The second is a jackknife: all is read again without each group of the photographs.  Fewer than
    four groups have the error over networks alone.
    """
    groups = np.unique(group)
    # of fewer than four groups, one of both halves of the temperatures could be left without any
    few = len(groups) < 4
    without = [] if few else [read(np.flatnonzero(group != g)) for g in groups]
    found: Found = {}
    for name, rows in read(np.arange(len(group))).items():
        mean, error = pair(rows)
        if without:
            left = np.array([x[name].mean() for x in without])
            error = float(np.hypot(error, np.sqrt((len(left) - 1) * left.var())))
        place = found
        for word in name[:-1]:
            place = place.setdefault(word, {})
        place[name[-1]] = [mean, round(error, 5)]
    return found


# --------------------------------------------------------------------------------------- order


def order(ds: xr.Dataset) -> Found:
    """Steps at which families and classes are half right beyond chance, and their order."""
    step = ds.step.values.astype(float)
    low = _random_pairs(np.arange(len(_FAMILY)))
    curves = {"class": _above(ds.class_right.values.mean(axis=2), low[0]),
              "family": _above(ds.family_right.values.mean(axis=2), low[1])}  # fmt: skip
    # steps are logarithmic, so places between them are
    then = {name: [crossing_time(np.log(step), row, 0.5) for row in rows]
            for name, rows in curves.items()}  # fmt: skip
    gap = np.subtract(then["class"], then["family"])
    mean = ds.class_right.values.mean(axis=0)  # [step, class]
    each = [float(np.exp(crossing_time(np.log(step), mean[:, c], 0.5)))
            for c in range(len(_FAMILY))]  # fmt: skip
    by_family = [
        float(np.exp(crossing_time(np.log(step), ds.family_right.values.mean(axis=0)
                                   [:, f == _FAMILY].mean(axis=1), 0.5)))
        for f in range(len(FASHION_FAMILIES))
    ]  # fmt: skip
    made = ds.found.values[:, -1]  # [network, class], without a class
    return {
        "step": step.tolist(),
        "class right": _pairs(ds.class_right.values.mean(axis=2)),
        "family right": _pairs(ds.family_right.values.mean(axis=2)),
        "class half right, log": pair(then["class"]),
        "family half right, log": pair(then["family"]),
        "class over family, log": scored(gap),
        "classes half right": {FASHION_CLASSES[c]: _none(each[c]) for c in range(len(_FAMILY))},
        "families half right": dict(zip(FASHION_FAMILIES, map(_none, by_family), strict=True)),
        "made without a class": dict(zip(FASHION_CLASSES, _pairs(made), strict=True)),
    }  # fmt: skip


def _none(x: float) -> float | None:
    return None if x != x else round(x, 1)


# ------------------------------------------------------------------------------------ triplets


def _chosen(scores: Array) -> list[float]:
    """Score of each network at the place [.., ..] that is best for the others."""
    flat = scores.reshape(len(scores), -1)
    out = []
    for k in range(len(flat)):
        others = np.delete(flat, k, axis=0).mean(axis=0)
        out.append(float(flat[k, int(others.argmax())]))
    return out


def triplets(ds: xr.Dataset) -> Found:
    """Best layers of both networks by kind of triplet, layers chosen on the other networks."""
    found: Found = {"t": ds.triplet_t.values.tolist(), "layers": [str(x) for x in ds.block.values],
                    "classifier layers": [str(x) for x in ds.classifier_layer.values]}  # fmt: skip
    for i, kind in enumerate(map(str, ds.kind.values)):
        free, given = (ds.odd.values[:, c, ..., i] for c in (0, 1))
        other = ds.odd_classifier.values[..., i]
        chosen, asked, best = _chosen(free), _chosen(given), _chosen(other)
        where = np.unravel_index(int(free.mean(axis=0).argmax()), free.shape[1:])
        found[kind] = {
            "network": pair(chosen), "class given": pair(asked), "classifier": pair(best),
            "network minus classifier": pair(np.subtract(chosen, best)),
            "class given minus none": pair(np.subtract(asked, chosen)),
            "pixels": round(float(ds.odd_pixels.values[i]), 4),
            "best": [found["layers"][where[0]], found["t"][where[1]]],
            "best of the classifier":
                found["classifier layers"][int(other.mean(axis=0).argmax())],
            "by t": [pair(free[..., j].max(axis=1)) for j in range(len(found["t"]))],
            "by classifier layer": [pair(x) for x in other.T],
        }  # fmt: skip
    return found


# --------------------------------------------------------------------------------------- words


def _signed(x: Any) -> str:
    """A difference with its error."""
    return f"{'+' if x[0] > 0 else ''}{pair_text(x)}"


def claim(found: Found) -> str:
    """Every answer in half a sentence."""
    said = []
    if "u-turns" in found:
        x = found["u-turns"]
        later, longer = x["family minus class"], x["first minus last layer"]
        said.append(
            f"class half lost at t = {pair_text(x['class half lost'])}, family {_signed(later)} "
            f"later, {x['layers'][0]} outlives {x['layers'][1]} by {_signed(longer)}"
        )
    if "judges" in found:
        x = found["judges"]
        said.append(
            f"zero-shot {pair_text(x['accuracy'][WEIGHTS[0]])}, "
            f"{_signed(x['minus classifier'])} from a classifier of the same size"
        )
    if "order" in found:
        ratio = found["order"]["class over family, log"]
        said.append(f"classes are half right {np.exp(ratio[0]):.2f} times (log {pair_text(ratio)}, "
                    f"z = {ratio[2]:.1f}) as late as families")  # fmt: skip
    if "triplets" in found:
        said += [
            f"{kind} triplets {pair_text(found['triplets'][kind]['network'])} (classifier "
            f"{pair_text(found['triplets'][kind]['classifier'])})"
            for kind in ("class", "family")
        ]
    if "probes" in found:
        risen = found["probes"]["risen"]
        said.append("small probes rise before they fall in " + ", ".join(
            f"{x['few'][0]} of {x['few'][1]} layers (N = {size})" if size != "mixture" else
            f"{x['few'][0]} of {x['few'][1]} (mixture)" for size, x in risen.items()))  # fmt: skip
    return f"{found['networks']} networks: " + "; ".join(said)


def table(found: Found) -> str:
    """All answers, part by part."""
    parts = {"u-turns": _turn_lines, "probes": _probe_lines, "judges": _judge_lines,
             "order": _order_lines, "triplets": _triplet_lines}  # fmt: skip
    return "\n\n".join(
        "\n".join([name.upper(), *lines(found[name])])
        for name, lines in parts.items() if name in found
    )  # fmt: skip


def _turn_lines(x: Found) -> list[str]:
    head = ["t", "class kept", "family kept", "stays in family", "chance", "mixture", "flat"]
    rows = [
        [f"{t:.2f}", *(pair_text(x[name][i]) for name in ("class kept", "family kept", "stayed")),
         f"{x['stayed by chance'][i][0]:.3f}",
         *(f"{x['laws'][law]['stayed'][i][0]:.3f}" for law in ("mixture", "flat"))]
        for i, t in enumerate(x["t"])
    ]  # fmt: skip
    lost = [["networks", pair_text(x["class half lost"]), pair_text(x["family half lost"])]]
    lost += [[law, f"{y['class half lost']:.3f}", f"{y['family half lost']:.3f}"]
             for law, y in x["laws"].items()]  # fmt: skip
    layers = [[name, pair_text(y)] for name, y in x["layers half similar"].items()]
    return [text_table(head, rows), "", text_table(["half lost", "class", "family"], lost), "",
            text_table(["layer of the classifier", "half similar"], layers)]  # fmt: skip


def _probe_lines(x: Found) -> list[str]:
    head = ["images, layer, probe", "gain", "peak at", *(f"t = {t:g}" for t in x["t"])]
    rows = [
        [f"{size}, {layer}, {kind}", _signed(y["gain"]), f"{y['peak at']:g}",
         *(f"{a:.3f}" for a in y["curve"])]
        for size, layers in x["rows"].items()
        for layer, kinds in layers.items()
        for kind, y in kinds.items()
    ]  # fmt: skip
    return [text_table(head, rows)]


def _judge_lines(x: Found) -> list[str]:
    rows = [(f"accuracy, {w}", y) for w, y in x["accuracy"].items()]
    rows += [("accuracy, classifier", x["classifier"]), ("difference", x["minus classifier"]),
             ("classifier, all test images", x["classifier, all test images"])]  # fmt: skip
    for key in ("family right", "errors in the family", "by chance", *_CALIBRATION):
        rows += [(f"{key}, {name}", y) for name, y in x[key].items()]
    return [text_table([], [[name, pair_text(y)] for name, y in rows])]


def _order_lines(x: Found) -> list[str]:
    rows = [[f"{step:g}", pair_text(a), pair_text(b)] for step, a, b in
            zip(x["step"], x["class right"], x["family right"], strict=True)]  # fmt: skip
    lines = [text_table(["step", "class right", "family right"], rows), ""]
    for key in ("families half right", "classes half right"):
        known = sorted(x[key].items(), key=lambda one: one[1] or np.inf)
        lines.append(text_table(["", key], [[a, f"{b}" if b else "-"] for a, b in known]))
    return lines


def _triplet_lines(x: Found) -> list[str]:
    head = ["triplets of", "network", "best place", "class given", "classifier", "its best layer",
            "pixels", "network - classifier"]  # fmt: skip
    rows = []
    for kind in ("class", "family"):
        y = x[kind]
        rows.append([
            kind, pair_text(y["network"]), f"{y['best'][0]}, t = {y['best'][1]:g}",
            pair_text(y["class given"]), pair_text(y["classifier"]), y["best of the classifier"],
            f"{y['pixels']:.3f}", _signed(y["network minus classifier"]),
        ])  # fmt: skip
    return [text_table(head, rows)]
