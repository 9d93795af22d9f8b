"""What networks on photographs of clothing answered, in numbers with errors over networks.

Every number is a pair of mean and half of its 68.27 % Student interval over the networks, if
nothing else is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.data.fashion import FASHION_CLASSES, FASHION_FAMILIES, family_of
from hierdiff.sims.bump_phases import crossing_time
from hierdiff.sims.metrics.calibration import calibration_error, temperature
from hierdiff.sims.metrics.estimators import student_error
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


def tempered(scores: Array, labels: Array) -> Array:
    """Probabilities [n, class] at a temperature that is fitted on the other half of the data."""
    out = np.empty_like(scores, dtype=float)
    half = np.arange(len(labels)) // len(set(labels.tolist())) % 2 == 0
    for rows in (half, ~half):
        beta = temperature(scores[~rows], labels[~rows])
        out[rows] = softmax(-beta * scores[rows])
    return out


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
    right = {weight: (s.argmin(axis=2) == labels).mean(axis=1) for weight, s in scores.items()}
    beside = (logits.argmax(axis=2) == labels).mean(axis=1)
    main = scores[WEIGHTS[0]]
    answers_of = {"network": main.argmin(axis=2), "classifier": logits.argmax(axis=2)}
    families = {name: (_FAMILY[a] == _FAMILY[labels]).mean(axis=1)
                for name, a in answers_of.items()}  # fmt: skip
    inside = {name: [_within(a, labels) for a in rows] for name, rows in answers_of.items()}
    bound = softmax(-scores["vdm"] / 2)  # the likelihood bound is half of this sum, in nats
    stated = {
        "network, likelihood bound": [_calibrated(p, labels) for p in bound],
        "network, one temperature": [_calibrated(tempered(s, labels), labels) for s in main],
        "classifier": [_calibrated(softmax(x), labels) for x in logits],
        "classifier, one temperature": [_calibrated(tempered(-x, labels), labels) for x in logits],
    }  # fmt: skip
    classes = len(_FAMILY)
    confusion = {
        name: [[round(float((rows[:, labels == a] == b).mean()), 4) for b in range(classes)]
               for a in range(classes)]
        for name, rows in answers_of.items()
    }  # fmt: skip
    return {
        "data": len(labels), "samples": int(ds.sizes["sample_of"]),
        "accuracy": {weight: pair(x) for weight, x in right.items()},
        "classifier": pair(beside), "minus classifier": pair(right[WEIGHTS[0]] - beside),
        "classifier, all test images": pair(ds.classifier_accuracy.values),
        "family right": {name: pair(x) for name, x in families.items()},
        "errors in the family": {name: pair([x for x, _ in rows]) for name, rows in inside.items()},
        "by chance": {name: pair([x for _, x in rows]) for name, rows in inside.items()},
        "calibration error": {name: pair([x[0] for x in rows]) for name, rows in stated.items()},
        "confidence minus accuracy": {
            name: pair([x[1] for x in rows]) for name, rows in stated.items()
        },
        "nats": {name: pair([x[2] for x in rows]) for name, rows in stated.items()},
        "confusion": confusion,
    }  # fmt: skip


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
        "class over family, log": pair(gap),
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


def _pm(x: Any, digits: int = 3, sign: bool = False) -> str:
    return f"{x[0]:{'+' if sign else ''}.{digits}f} ± {x[1]:.{digits}f}"


def claim(found: Found) -> str:
    """Every answer in half a sentence."""
    said = []
    if "u-turns" in found:
        x = found["u-turns"]
        later, longer = x["family minus class"], x["first minus last layer"]
        said.append(
            f"class half lost at t = {_pm(x['class half lost'])}, family {_pm(later, sign=True)} "
            f"later, {x['layers'][0]} outlives {x['layers'][1]} by {_pm(longer, sign=True)}"
        )
    if "judges" in found:
        x = found["judges"]
        said.append(
            f"zero-shot {_pm(x['accuracy'][WEIGHTS[0]])}, "
            f"{_pm(x['minus classifier'], sign=True)} from a classifier of the same size"
        )
    if "order" in found:
        ratio = found["order"]["class over family, log"]
        said.append(f"classes are half right {np.exp(ratio[0]):.2f} times (log {_pm(ratio)}) as "
                    "late as families")  # fmt: skip
    if "triplets" in found:
        said += [
            f"{kind} triplets {_pm(found['triplets'][kind]['network'])} (classifier "
            f"{_pm(found['triplets'][kind]['classifier'])})"
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
    head = f"{'t':>5} {'class kept':>15} {'family kept':>15} {'stays in family':>17} {'chance':>7}"
    lines = [f"{head} {'mixture':>8} {'flat':>6}"]
    for i, t in enumerate(x["t"]):
        laws = [f"{x['laws'][law]['stayed'][i][0]:.3f}" for law in ("mixture", "flat")]
        lines.append(
            f"{t:5.2f} {_pm(x['class kept'][i]):>15} {_pm(x['family kept'][i]):>15} "
            f"{_pm(x['stayed'][i]):>17} {x['stayed by chance'][i][0]:7.3f} {laws[0]:>8} "
            f"{laws[1]:>6}"
        )
    lines += [f"half lost: class {_pm(x['class half lost'])}, family {_pm(x['family half lost'])}"]
    lines += [f"  {law}: class {y['class half lost']:.3f}, family {y['family half lost']:.3f}"
              for law, y in x["laws"].items()]  # fmt: skip
    lines += [f"layer {name} half similar at {_pm(y)}"
              for name, y in x["layers half similar"].items()]  # fmt: skip
    return lines


def _probe_lines(x: Found) -> list[str]:
    lines = [f"{'images, layer, probe':34} " + " ".join(f"{t:>6g}" for t in x["t"])
             + f" {'gain':>16} peak at"]  # fmt: skip
    for size, layers in x["rows"].items():
        for layer, kinds in layers.items():
            for kind, y in kinds.items():
                cells = " ".join(f"{a:6.3f}" for a in y["curve"])
                lines.append(f"{f'{size}, {layer}, {kind}':34} {cells} "
                             f"{_pm(y['gain'], sign=True):>16} {y['peak at']:g}")  # fmt: skip
    return lines


def _judge_lines(x: Found) -> list[str]:
    rows = [(f"accuracy, {w}", y) for w, y in x["accuracy"].items()]
    rows += [("accuracy, classifier", x["classifier"]), ("difference", x["minus classifier"]),
             ("classifier, all test images", x["classifier, all test images"])]  # fmt: skip
    for key in ("family right", "errors in the family", "by chance", "calibration error",
                "confidence minus accuracy", "nats"):  # fmt: skip
        rows += [(f"{key}, {name}", y) for name, y in x[key].items()]
    return [f"{name:54} {_pm(y)}" for name, y in rows]


def _order_lines(x: Found) -> list[str]:
    lines = [f"{'step':>6} {'class right':>15} {'family right':>15}"]
    lines += [f"{step:6g} {_pm(a):>15} {_pm(b):>15}" for step, a, b in
              zip(x["step"], x["class right"], x["family right"], strict=True)]  # fmt: skip
    for key in ("families half right", "classes half right"):
        known = sorted(x[key].items(), key=lambda one: one[1] or np.inf)
        lines.append(f"{key}: " + ", ".join(f"{a} {b or 'never'}" for a, b in known))
    return lines


def _triplet_lines(x: Found) -> list[str]:
    lines = []
    for kind in ("class", "family"):
        y = x[kind]
        lines += [
            f"{kind}: network {_pm(y['network'])} ({y['best'][0]}, t = {y['best'][1]:g}), class "
            f"given {_pm(y['class given'])}, classifier {_pm(y['classifier'])} "
            f"({y['best of the classifier']}), pixels {y['pixels']:.3f}",
            f"  network minus classifier {_pm(y['network minus classifier'], sign=True)}",
        ]  # fmt: skip
    return lines
