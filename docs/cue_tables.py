"""Tables of networks on conflicting cues and on bound attributes."""

from __future__ import annotations

from typing import Any

from pages import network, plus, table

_WAITS = "No result is committed yet.\n"


def conflict_networks() -> str:
    """Shape bias of networks on rendered grammars, beside the exact denoiser and Bayes' rule."""
    found = network("classification_conflict")
    if found is None:
        return _WAITS
    rows = []
    for case, row in found["cases"].items():
        cells = [plus(*row[n][w], 3) for w in ("vdm", "exp") for n in ("bias", "exact_bias")]
        judge = list(row["blur_bias"].values())
        rows.append([case, *cells, plus(*row["bayes_bias"], 3), plus(*judge[0], 3),
                     plus(*judge[-1], 3)])  # fmt: skip
    header = ["texture", "network, vdm", "exact, vdm", "network, exp", "exact, exp", "Bayes",
              "discriminative", "low-passed"]  # fmt: skip
    text = table(header, rows)
    text += "\nAccuracy where the cues agree:\n\n"
    rows = [
        [case, plus(*row["accuracy"]["exp"], 3), plus(*row["exact_accuracy"]["exp"], 3),
         plus(*row["blur_accuracy"], 3)]
        for case, row in found["cases"].items()
    ]  # fmt: skip
    text += table(["texture", "network, exp", "exact, exp", "discriminative"], rows)
    effect = found["effect of a small amplitude"]
    level = found["effect of the level"]
    rows = [
        (f"discriminative minus denoising (exp), {case}", row["discriminative minus denoising"])
        for case, row in found["cases"].items() if "discriminative minus denoising" in row
    ]  # fmt: skip
    return text + "\n" + _laws([
        ("network minus exact, all textures", found["network minus exact"]),
        ("a small amplitude adds nothing (planted, wrong): networks", effect["network"]),
        ("a small amplitude adds nothing (planted, wrong): exact denoiser", effect["exact"]),
        ("what a small amplitude adds, network minus exact", effect["network minus exact"]),
        ("a texture above the leaves adds nothing: networks", level["network"]),
        ("a texture above the leaves adds nothing: exact denoiser", level["exact"]),
        *rows,
    ])  # fmt: skip


def _laws(found: list[tuple[str, Any]]) -> str:
    """Differences from laws, with the normal score of Student's test over the networks."""
    rows = [[words, plus(*x[:2], 3), f"{x[2]:.1f}"] for words, x in found]
    return table(["law", "difference", "z"], rows)


def composed_networks() -> str:
    """Shape bias on silhouettes of clothing that are filled with other clothing."""
    found = network("classification_composed")
    if found is None:
        return _WAITS
    rows = []
    for case, row in found["cases"].items():
        cells = [plus(*row["bias"][w], 3) for w in ("vdm", "exp", "uniform")]
        judge = list(row["blur_bias"].values())
        rows.append([case, *cells, plus(*row["matched"]["exp"], 3), plus(*judge[0], 3),
                     plus(*judge[-1], 3), plus(*row["accuracy"]["exp"], 3),
                     plus(*row["blur_accuracy"], 3)])  # fmt: skip
    header = ["contrast of the filling", "vdm", "exp", "uniform", "match a cue (exp)",
              "discriminative", "low-passed", "accuracy on photographs (exp)",
              "discriminative"]  # fmt: skip
    return table(header, rows) + "\n" + _laws([
        ("network (exp) minus one half, both contrasts", found["network minus one half"]),
        ("a small contrast adds nothing: networks",
         found["effect of a small amplitude"]["network"]),
        ("discriminative minus denoising (exp)", found["discriminative minus denoising"]),
    ])  # fmt: skip


def binding_networks() -> str:
    """True against false captions by networks, beside the optima of their losses."""
    found = network("classification_binding")
    if found is None:
        return _WAITS
    rows = []
    for area, tasks in found["denoising"].items():
        for task, row in tasks.items():
            seen, exact = row["accuracy"], row["exact_accuracy"]
            cells = [seen["tokens"]["exp"], seen["sum"]["exp"], exact["exp"],
                     seen["tokens"]["high"], exact["high"], row["bayes"]]  # fmt: skip
            rows.append([area, task, *(plus(*cell, 3) for cell in cells)])
    header = ["area", "caption", "tokens, exp", "sum, exp", "exact, exp", "tokens, high noise",
              "exact, high noise", "Bayes"]  # fmt: skip
    text = table(header, rows) + "\nDual encoders of the same scenes:\n\n"
    rows = []
    for area, tasks in found["dual"].items():
        for task, row in tasks.items():
            for d in row["dual_accuracy"]:
                rows.append([area, task, d, plus(*row["dual_accuracy"][d], 3),
                             plus(*row["dual_optimum"][d], 3), plus(*row["bayes"], 3)])  # fmt: skip
    text += table(["area", "caption", "width", "networks", "minimum of the loss", "Bayes"], rows)
    scenes = found["scenes asked"] * found["networks"] * len(found["denoising"])
    gap, bag = found["network minus exact"], found["network minus a bag of attributes"]
    words = {"tokens": "captions as tokens", "sum": "captions as one sum"}
    return text + "\n" + _laws([
        *((f"pairs, {words[e]}: network minus exact", gap[e]) for e in words),
        *((f"pairs, {words[e]}: network minus a bag of attributes (error at least that of counting "
           f"{scenes} scenes)", bag[e]) for e in words),
        ("pairs: tokens minus sum", found["tokens minus sum"]),
        ("pairs: dual encoders minus the minimum of their loss",
         found["dual encoders minus minimum"]),
    ])  # fmt: skip
