"""Tables and claims of contrastive learners and of local denoisers."""

from __future__ import annotations

from pages import network, plus, result, table

CONTRAST = "`python sims/contrastive_learning.py`"
LOCAL = "`python sims/local_denoisers.py`"


def contrastive_learning() -> str:
    """Binding and attributes by width, for every learner."""
    found = result("contrastive_learning")
    task = len(found["task"]) - 1
    names = {"theory": "spectral", "infonce": "InfoNCE", "hard": "hard negatives",
             "counted": "few negatives"}  # fmt: skip
    rows = []
    for j, width in enumerate(found["width"]):
        cells = [plus(found[n][0][i][j], found[n][1][i][j], 3) for i in (task, 0) for n in names]
        rows.append([str(width), *cells])
    bayes = [f"{found['bayes'][i]:.3f}" for i in (task, 0)]
    rows.append(["Bayes", *(b for b in bayes for _ in names)])
    header = ["width", *(f"binding, {n}" for n in names.values()),
              *(f"shape, {n}" for n in names.values())]  # fmt: skip
    return table(header, rows)


def revealed_levels() -> str:
    """What contrastive pairs of a tree reveal without noise, and at half of it."""
    found = result("contrastive_learning")
    rows, middle = [], len(found["t"]) // 2
    for pair, name in enumerate(("leaves and class", "two halves", "two leaves")):
        for i in (0, middle):
            cells = [plus(a, b, 3) for a, b in zip(found["revealed"][pair][i],
                                                   found["revealed_error"][pair][i],
                                                   strict=True)]  # fmt: skip
            rows.append([name, f"{found['t'][i]:.2f}", *cells])
    header = ["pair", "t", *(f"level {k}" for k in range(len(rows[0]) - 2))]
    return table(header, rows)


def text_levels() -> str:
    """Widths at which texts of whole levels reveal half of what they do at full width."""
    found = result("contrastive_learning")["text"]
    rows = []
    for i, level in enumerate(found["level"]):
        cells = ["" if x is None else plus(x, error, 1)
                 for x, error in zip(found["half"][i], found["half_error"][i],
                                     strict=True)]  # fmt: skip
        rows.append([f"all of level {level}", str(found["strings"][i]), *cells,
                     f"{found['square'][i]:.2f}",
                     plus(found["drawn"][i], found["drawn_error"][i], 2)])  # fmt: skip
    header = ["text", "strings", *(f"width, {part}" for part in found["part"]),
              "sum of squared singular values", "drawn strings"]  # fmt: skip
    return table(header, rows)


def local_denoisers() -> str:
    """What windows cost at their worst noise level, and Markov lengths by depth."""
    found = result("local_denoisers")
    rows = []
    for name, nats, errors in zip(found["noise"], found["nats"], found["nats_error"], strict=True):
        cells = []
        for h in range(len(nats[0]) - 1):
            i = max(range(len(nats)), key=lambda k: nats[k][h])
            cells.append(f"{plus(nats[i][h], errors[i][h], 3)} (t = {found['t'][i]:.2f})")
        rows.append([name, *cells])
    header = ["noise", *(f"height {h}" for h in range(len(rows[0]) - 1))]
    text = table(header, rows) + "\nWindows of equal size, masking, at their worst:\n\n"
    kinds = []
    for k, kind in enumerate(found["kind"]):
        cells = []
        for j in range(len(found["size"])):
            i = max(range(len(found["windows"][k])), key=lambda t: found["windows"][k][t][j])
            cells.append(plus(found["windows"][k][i][j], found["windows_error"][k][i][j], 3))
        kinds.append([kind, *cells])
    text += table(["window", *(f"{x} leaves" for x in found["size"])], kinds)
    text += "\nLongest Markov length in leaves, by density evolution, "
    text += "whose populations scatter by some ten per cent:\n\n"
    lengths = [
        [name, *(f"{max(row):.0f}" for row in found["lengths"][i])]
        for i, name in enumerate(found["noise"])
    ]
    return text + table(["noise", *(f"depth {d}" for d in found["depth"])], lengths)


def contrastive_networks() -> str:
    """Trained dual encoders beside the minimum of their loss, by width."""
    found = network("contrastive")
    names = {"network": "networks", "theory": "minimum"}
    rows = []
    for j, width in enumerate(found["width"]):
        cells = [
            plus(found[n][0][k][-1][j], found[n][1][k][-1][j], 3)
            for k in range(len(found["negatives"])) for n in names
        ]  # fmt: skip
        rows.append([str(width), *cells])
    header = ["width", *(f"negatives {k}, {n}" for k in found["negatives"]
                         for n in names.values())]  # fmt: skip
    return table(header, rows)


def string_pairs() -> str:
    """Levels that trained pairs of views of a string reveal, and differences to their laws."""
    found = network("string_pairs")
    rows = []

    def add(pair: str, name: str, i: int) -> None:
        for who, word in (("network", "networks"), ("minimum", "optimum")):
            cells = [plus(a, b, 3) for a, b in zip(*(x[i] for x in found[who][name]), strict=True)]
            rows.append([pair, word, *cells])

    for i, width in enumerate(found["width"]):
        add(f"two halves, d = {width}", "halves", i)
    for i, t in enumerate(found["t"]):
        if i % 2 == 0:  # every second one stands in the figure alone
            add(f"leaves and class, t = {t:g}", "text", i)
    header = ["pair", "source", *(f"level {k}" for k in range(len(rows[0]) - 2))]
    scores = [[name, plus(*x[:2], 3), f"{x[2]:.1f}"] for name, x in found["laws"].items()]
    return (
        table(header, rows)
        + "\nDifferences, with the normal score of Student's test:\n\n"
        + table(["difference", "mean", "z"], scores)
    )


def local_networks() -> str:
    """Share of networks that windows along the tree explain, and of the exact denoiser."""
    found = network("locality")
    rows = []
    for i, t in enumerate(found["t"]):
        cells = [
            f"{plus(found['network'][0][0][i][h], found['network'][1][0][i][h], 3)}; "
            f"{found['theory'][0][0][i][h]:.3f}"
            for h in range(len(found["size"]))
        ]
        rows.append([f"{t:.2f}", *cells])
    words = [f"{x} {'leaves' if x > 1 else 'leaf'}" for x in found["size"]]
    header = ["t", *(f"{w}: networks; exact" for w in words)]
    return table(header, rows)


def local_images() -> str:
    """Share of networks on digits that every machine explains, by size of its windows."""
    return _machines("locality_digits")


def local_clothing() -> str:
    """The same of networks on photographs of clothing."""
    return _machines("locality_clothing")


def _machines(name: str) -> str:
    found = network(name)
    share, error = found["explained"]
    text = ""
    for k, kind in enumerate(found["kind"]):
        rows = []
        for i, t in enumerate(found["t"]):
            cells = [plus(share[k][i][j], error[k][i][j], 3) for j in range(len(found["size"]))]
            if k < len(found["gaussian"]):
                cells = [f"{c}; {found['gaussian'][k][i][j]:.3f}" for j, c in enumerate(cells)]
            rows.append([f"{t:.2f}", *cells])
        words = [f"{x} {'pixels' if x > 1 else 'pixel'}" for x in found["size"]]
        text += f"*{kind}*:\n\n" + table(["t", *words], rows) + "\n"
    header = ["t", "network", *found["kind"]]
    rows = []
    square, wrong = found["square"]
    for i, t in enumerate(found["t"]):
        cells = [plus(found["network_square"][0][i], found["network_square"][1][i], 4)]
        for k in range(len(found["kind"])):
            j = min(range(len(found["size"])), key=lambda n: square[k][i][n])
            cells.append(f"{plus(square[k][i][j], wrong[k][i][j], 4)} ({found['size'][j]})")
        rows.append([f"{t:.2f}", *cells])
    return (
        text
        + "Squared error per pixel on the same images, and the best size:\n\n"
        + table(header, rows)
    )


def claims_c() -> dict[str, tuple[str, str]]:
    """C1 to C3, from the studies of contrastive learners and of local denoisers."""
    x, local = result("contrastive_learning"), result("local_denoisers")
    task, width = len(x["task"]) - 1, {d: i for i, d in enumerate(x["width"])}

    def at(name: str, d: int) -> str:
        i = width[d]
        return plus(x[name][0][task][i], x[name][1][task][i], 3)

    nats, errors = local["nats"], local["nats_error"]
    height = len(nats[0][0]) - 3
    worst = []
    for name, rows, wrong in zip(local["noise"], nats, errors, strict=True):
        i = max(range(len(rows)), key=lambda k: rows[k][height])
        worst.append(f"{plus(rows[i][height], wrong[i][height], 3)} at t = {local['t'][i]:.2f} "
                     f"({name})")  # fmt: skip
    return {
        "C1": (
            "a statement about width and negatives, not about contrast: the spectral learner binds "
            f"nothing at widths up to 9 and {at('theory', 25)} at 25 "
            f"(Bayes {x['bayes'][task]:.3f}); "
            f"InfoNCE has {at('infonce', 2)} at width 2 and {at('infonce', 8)} at 8, with eight "
            f"negatives {at('counted', 8)} at 8, with hard negatives {at('hard', 2)} at 2",
            CONTRAST,
        ),
        "C2": (
            "they reveal the symbol at the top of their own view: two halves of a string reveal "
            f"{plus(x['revealed'][1][0][1], x['revealed_error'][1][0][1], 2)} of the level below "
            f"the class and {plus(x['revealed'][1][0][0], x['revealed_error'][1][0][0], 2)} of the "
            "class; leaves and class lose the class where the diffusion model does (largest z "
            f"{x['largest z of the order parameter']:.1f}). Texts that tell all symbols of a level "
            "need more width for the class: half of it takes "
            + " and ".join(
                f"{plus(h[0], e[0], 1)} of {n} for level {k}"
                for h, e, n, k in zip(
                    x["text"]["half"],
                    x["text"]["half_error"],
                    x["text"]["strings"],
                    x["text"]["level"],
                    strict=True,
                )
            ),
            CONTRAST,
        ),
        "C3": (
            "holds except near the transition: windows of a quarter of 64 leaves cost at most "
            f"{', '.join(worst)} in nats per leaf; the Markov length grows with the tree there "
            "and nowhere else",
            LOCAL,
        ),
    }
