"""Tables of the five questions on photographs of clothing."""

from __future__ import annotations

import math
from typing import Any

from pages import network, plus, table


def _found() -> Any:
    return network("clothing")


def clothing_turns() -> str:
    """Class and family that come back, beside both mixtures."""
    x = _found()["u-turns"]
    laws = x["laws"]
    rows = [
        [
            f"{t:g}", plus(*x["class kept"][i], 3), plus(*x["family kept"][i], 3),
            _or(x["stayed"][i]), f"{x['stayed by chance'][i][0]:.3f}" if t > 0.1 else "",
            plus(*laws["mixture"]["stayed"][i], 3), plus(*laws["flat"]["stayed"][i], 3),
        ]
        for i, t in enumerate(x["t"])
    ]  # fmt: skip
    header = ["t", "class kept", "family kept", "a changed class stays in its family", "by chance",
              "mixture", "flat mixture"]  # fmt: skip
    layers = table(
        ["layer of the classifier", "half similar at t"],
        [[name, plus(*pair, 3)] for name, pair in x["layers half similar"].items()],
    )
    names = list(x["similarity"])
    similar = table(
        ["t", *(f"similarity of {name}" for name in names)],
        [[f"{t:g}", *(plus(*x["similarity"][name][i], 3) for name in names)]
         for i, t in enumerate(x["t"])],
    )  # fmt: skip
    return "\n".join((table(header, rows), layers, similar))


def _or(pair: list[float]) -> str:
    """A number with its error, or nothing where too few classes have changed."""
    return "" if any(math.isnan(x) for x in pair) else plus(*pair, 3)


def clothing_probes() -> str:
    """Gains and peaks of the layers by size of the training set."""
    x = _found()["probes"]
    rows = []
    for size, layers in x["rows"].items():
        for layer, kinds in layers.items():
            cells = []
            for kind in ("all", "few"):
                one = kinds[kind]
                cells += [f"{max(one['curve']):.3f}", plus(*one["gain"], 3), f"{one['peak at']:g}"]
            rows.append([size, f"`{layer}`", *cells])
    header = ["images", "layer"]
    for kind in ("all labels", "few labels"):
        header += [f"best, {kind}", "gain", "peak at t"]
    return table(header, rows)


def clothing_judges() -> str:
    """Both judges: accuracy, where errors fall, and calibration."""
    x = _found()["judges"]
    names = ("network", "classifier")
    rows = [
        ["accuracy", plus(*x["accuracy"]["exp"], 3), plus(*x["classifier"], 3)],
        ["family right", *(plus(*x["family right"][n], 3) for n in names)],
        ["errors inside the family", *(plus(*x["errors in the family"][n], 3) for n in names)],
        ["the same by chance", *(plus(*x["by chance"][n], 3) for n in names)],
    ]
    for key in ("calibration error", "confidence minus accuracy", "nats"):
        raw = ("network, likelihood bound", "classifier")
        rows.append([f"{key}, as stated", *(plus(*x[key][n], 3) for n in raw)])
        rows.append([f"{key}, one temperature",
                     *(plus(*x[key][f"{n}, one temperature"], 3) for n in names)])  # fmt: skip
    return table(["", "denoising error", "discriminative network"], rows)


def clothing_order() -> str:
    """Shares of right classes and families along training."""
    x = _found()["order"]
    rows = [[f"{step:g}", plus(*a, 3), plus(*b, 3)] for step, a, b in
            zip(x["step"], x["class right"], x["family right"], strict=True)]  # fmt: skip
    return table(["training step", "class right", "family right"], rows)


def clothing_triplets() -> str:
    """Best layers on triplets of either kind."""
    x = _found()["triplets"]
    rows = []
    for kind in ("class", "family"):
        y = x[kind]
        rows.append([kind, plus(*y["network"], 3), plus(*y["class given"], 3),
                     plus(*y["classifier"], 3), f"{y['pixels']:.3f}",
                     plus(*y["network minus classifier"], 3)])  # fmt: skip
    return table(["triplets of", "U-Net, no class", "U-Net, class given", "discriminative network",
                  "pixels", "U-Net less discriminative"], rows)  # fmt: skip


def clothing_claims() -> list[tuple[tuple[str, ...], str, str]]:
    """Sentences for the claims: names, text, command."""
    x = _found()
    if x is None:
        return []
    sizes = "--steps 1500 --data 200 --fit 1500 --test 800 --n-train 100 1000 10000 0"
    command, n = f"clothing.py {sizes}", x["networks"]
    said = []
    if "u-turns" in x:
        y = x["u-turns"]
        t, stayed, beyond = y["middle"][0], y["middle"][1:3], y["middle"][3:]
        halves = [plus(*y["layers half similar"][layer], 3) for layer in y["layers"]]
        said.append((("P4",), (
            f"photographs of clothing, 14 x 14 ({n} networks): class half lost at t = "
            f"{plus(*y['class half lost'], 3)}, its family {plus(*y['family minus class'], 3)} "
            f"later, at t = {t:g} a class that changes stays in its family with "
            f"{plus(*stayed, 3)}, {plus(*beyond, 3)} beyond chance, and {y['layers'][0]} and "
            f"{y['layers'][1]} of a classifier are half similar at t = {halves[0]} and {halves[1]}"
        ), command))  # fmt: skip
    if "probes" in x:
        y = x["probes"]
        parts = []
        for size, layers in y["rows"].items():
            one = layers["output" if size == "mixture" else y["layer"]]["few"]
            name = "mixture of the classes" if size == "mixture" else f"{size} training images"
            parts.append(f"{plus(*one['gain'], 3)} to a peak at t = {one['peak at']:g} ({name})")
        said.append((("R1", "R4"), (
            f"photographs of clothing ({n} networks per size), probe on five labels per class, "
            f"middle block: gain {', '.join(parts)}"
        ), command))  # fmt: skip
    if "judges" in x:
        y = x["judges"]
        said.append((("Z1",), (
            f"photographs of clothing ({n} networks): {plus(*y['accuracy']['exp'], 3)}, "
            f"{plus(*y['minus classifier'], 3)} from a discriminative network of the same size and "
            f"images, {plus(*y['errors in the family']['network'], 3)} of its errors stay in the "
            f"family ({plus(*y['by chance']['network'], 3)} by chance)"
        ), command))  # fmt: skip
    if "order" in x:
        y = x["order"]
        ratio = y["class over family, log"]
        words = "never reached by all networks" if ratio[0] != ratio[0] else (
            f"at {math.exp(ratio[0]):.2f} times the step of families (log {plus(*ratio[:2], 3)}, "
            f"z = {ratio[2]:.1f})"
        )  # fmt: skip
        said.append((("B1",), (
            f"photographs of clothing ({n} networks), made for a class: classes are half right "
            f"beyond chance {words}"
        ), command))  # fmt: skip
    if "triplets" in x:
        y = x["triplets"]
        parts = [
            f"{kind} triplets {plus(*y[kind]['network'], 3)}, "
            f"{plus(*y[kind]['network minus classifier'], 3)} from a discriminative network of the "
            "same size"
            for kind in ("class", "family")
        ]
        said.append((("H1",), (
            f"photographs of clothing, odd one out in the tree of classes, which nobody was asked "
            f"about ({n} networks, best layer chosen on the others): {', '.join(parts)}"
        ), command))  # fmt: skip
    return said
