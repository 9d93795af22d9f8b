"""Pages made from committed results, so that no number in the manual is typed by hand."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import timings
from claims import claims
from clothing_tables import (
    clothing_judges,
    clothing_order,
    clothing_probes,
    clothing_triplets,
    clothing_turns,
)
from contrast_tables import (
    contrastive_learning,
    contrastive_networks,
    local_clothing,
    local_denoisers,
    local_images,
    local_networks,
    revealed_levels,
    string_pairs,
    text_levels,
)
from cue_tables import binding_networks, composed_networks, conflict_networks
from exponents import exponent_tests, exponents, threshold_bounds
from pages import HERE, ROOT, network, parameters, parts, plus, result, table
from reference import commands, modules, papers
from reference import draw as draw_reference
from representation_tables import network_factors, objectives
from training_tables import training_features, training_networks, training_signs
from unmasking_tables import (
    next_token,
    remasking,
    unmasking_network_orders,
    unmasking_networks,
    unmasking_orders,
    unmasking_sizes,
)

from hierdiff import GaussianNoise
from hierdiff.sims.models.fitted import LABELS, MODELS
from hierdiff.validation.suite_studies import STUDIES


def laws() -> str:
    """Scores of the laws, from the tests themselves."""
    rows = []
    for name, law in result("laws").items():
        wrong = "; ".join(f"{k}: {z:.0f}" for k, z in law["planted"].items())
        bare = law.get("largest z without")
        allowed = "" if bare is None else f"{law['allowance']} (largest z without: {bare:.1f})"
        rows.append([name, str(law["comparisons"]), f"{law['largest z']:.1f}", allowed, wrong,
                     f"`{law.get('test', '')}`"])  # fmt: skip
    header = ["law", "comparisons", "largest z", "allowance", "planted wrong law: its z", "test"]
    return table(header, rows)


def coverage() -> str:
    """How often every error bar covers, and the planted wrong ones."""
    cases = result("coverage")["cases"]
    rows = []
    for name, x in sorted(cases.items(), key=lambda item: item[1]["wrong"]):
        cells = []
        for k in (0, 1):
            cells += [f"{x['covered'][k]:.3f}", plus(x["promised"][k], x["error"][k], 3)]
        rows.append([name, str(x["repetitions"]), *cells])
    header = ["error bar", "repetitions", "±1", "promised", "±2", "promised"]
    return table(header, rows)


def thresholds() -> str:
    """Real processes at (32, 8, 2): density evolution beside finite-size scaling."""
    data, made = result("finite_size_scaling"), parameters("finite_size_scaling")
    rows = []
    for kind in ("masking", "uniform", "gaussian"):
        x = data[kind]
        borrowed = x["at the rate of density evolution"]
        rows.append([kind, plus(*x["density evolution"]), plus(*x["finite-size scaling"]),
                     f"{x['z']:.1f}", plus(*borrowed),
                     f"{x['z at the rate of density evolution']:.1f}",
                     f"{naive(kind):.4f}"])  # fmt: skip
    text = table(
        ["process", "density evolution, t*", "exact inference, extrapolated", "z",
         "at the rate of density evolution", "z", "closed form"],
        rows,
    )  # fmt: skip
    fit, theory = data["gaussian"]["snr"]
    text += (
        f"\nGaussian noise as signal-to-noise ratio: {plus(*theory, 3)} by density evolution, "
        f"{plus(*fit, 3)} by exact inference. Support sets bound the masking threshold from below "
        f"by {data['support sets']:.4f}, exactly. The epsilon-process has "
        f"{data['epsilon']:.4f}.\n\n"
        "Depth by depth, and at other numbers of symbols (m = v/4); the disorder is the standard "
        "deviation of the threshold over grammars without the thermal part, from halves of the "
        f"data ({made['grammars']} grammars of {made['data']} data each); the last column is the "
        "thermal standard deviation of one datum:\n\n"
    )
    rows = []
    for kind in ("masking", "uniform", "gaussian"):
        for x in data[kind]["by depth"]:
            gap = x["exact"][0] - x["population"][0]
            z = gap / np.hypot(x["exact"][1], x["population"][1])
            rows.append([kind, str(x["v"]), str(x["L"]), plus(*x["exact"]),
                         plus(*x["population"]), f"{z:.1f}", spread(*x["disorder"]),
                         f"{x['thermal']:.3f}"])  # fmt: skip
    header = ["process", "v", "L", "exact inference", "density evolution", "z", "disorder",
              "thermal"]  # fmt: skip
    text += table(header, rows) + "\nAs exp(-a L) at v = 32 and as v^-b at L = 8 the variance has "
    laws = [
        f"a = {plus(*data[kind]['disorder per level'], 2)}, "
        f"b = {plus(*data[kind]['disorder in v'], 1)} ({kind})"
        for kind in ("masking", "uniform", "gaussian")
    ]
    return text + "; ".join(laws) + ".\n"


def spread(variance: float, error: float) -> str:
    """Root of a variance with its error; a bound where the variance is not resolved."""
    if variance != variance:
        return "not measured"
    if variance < 2 * error:
        return f"< {np.sqrt(max(variance, 0) + 2 * error):.4f}"
    root = np.sqrt(variance)
    return plus(root, error / (2 * root))


def closed_form() -> str:
    """How far the closed form is from the thresholds of real noise, in t and in SNR."""
    rows = result("phase_diagram")

    def factors(kind: str, some: list[dict]) -> list[float]:
        return [x[kind][2] / x[kind][0] for x in some]

    def in_snr(some: list[dict]) -> list[float]:
        pairs = [(GaussianNoise(x["v"]), x["gaussian"]) for x in some]
        return [float(noise.snr(t[0]) / noise.snr(t[2])) for noise, t in pairs]

    def span(values: list[float]) -> str:
        return f"{min(values):.2f} to {max(values):.2f}"

    one = [x for x in rows if (x["v"], x["m"], x["s"]) == (32, 8, 2)]
    sparse = [x for x in rows if x["density"] < 0.13]
    kinds = ("masking", "uniform", "gaussian")
    here = [factors(kind, one)[0] for kind in kinds]
    everywhere, few = ([span(factors(kind, some)) for kind in kinds] for some in (rows, sparse))
    snr = [in_snr(one)[0], span(in_snr(rows)), span(in_snr(sparse))]
    return (
        "Its noise level at the same mean leaf belief is above the threshold of (v, m, s) = "
        f"(32, 8, 2) by a factor of {here[0]:.1f} in t for masking, {here[1]:.1f} for uniform and "
        f"{here[2]:.2f} for Gaussian noise of the cosine schedule, which is {snr[0]:.2f} in "
        f"signal-to-noise ratio. Over the {len(rows)} grammars of the phase diagram the factors "
        f"are {everywhere[0]} (masking), "
        f"{everywhere[1]} (uniform) and {everywhere[2]} (Gaussian; {snr[1]} in signal-to-noise "
        "ratio). Those of masking and uniform noise grow with the density f of rules; in the "
        f"{len(sparse)} grammars with f < 0.13 the factors are {few[0]}, {few[1]} and {few[2]} "
        f"({snr[2]}).\n"
    )


def local_exponents() -> str:
    """How near the local exponents of the sample cost are to their curve."""
    found = result("sample_complexity")["local exponents"]
    x, slope, _, l = np.concatenate([v for k, v in found.items() if "leaves" not in k]).T
    gap = slope - (1 + l / 2 * (1 + x / (1 + x)))
    dense = x > 10
    return (
        "The local exponents follow the curve $1 + (h + 1)(1 + x/(1 + x))/2$ of $x = m^{h+1}/v$: "
        f"their root mean square distance from it is {np.sqrt(np.mean(gap**2)):.2f} ({len(gap)} "
        f"exponents). Where $x > 10$, exponent minus $h + 2$ is "
        f"{np.mean((slope - l - 1)[dense]):+.2f} on average.\n"
    )


def naive(kind: str) -> float:
    """The closed form at the mean leaf belief, from the committed phase diagram."""
    rows = result("phase_diagram")
    return float(next(r for r in rows if (r["v"], r["m"], r["s"]) == (32, 8, 2))[kind][2])


def phase_diagram() -> str:
    """Thresholds for all densities of rules."""
    rows = []
    for x in result("phase_diagram"):
        cells = [f"{plus(*x[k][:2])} ({x[k][2]:.3f})" for k in ("masking", "uniform", "gaussian")]
        rows.append([f"({x['v']}, {x['m']}, {x['s']})", f"{x['density']:.3f}",
                     f"{x['critical']:.4f}", f"{x['kesten_stigum']:.3f}",
                     f"{x['support']:.4f}", *cells])  # fmt: skip
    header = ["(v, m, s)", "f", "ε*", "F'(1/v)", "support sets", "masking", "uniform", "Gaussian"]
    return table(header, rows)


def representation_peak() -> str:
    """Peaks of eight mixtures."""
    rows = []
    for x in result("representation_peak")["worlds"]:
        place = plus(*x["measured peak"])
        rows.append([f"({x['d']}, {x['K']}, {x['delta']})",
                     f"{x['exact'][0]:.4f}, {x['exact'][1]:.3f}",
                     f"{x['mean field'][0]:.4f}, {x['mean field'][1]:.3f}",
                     f"{x['too far']:.2f}, {x['too high']:.2f}", place, f"{x['z']:.1f}",
                     f"{x['z, mean field']:.0f}"])  # fmt: skip
    header = ["(d, K, delta)", "exact", "closed form", "factors", "measured place", "z", "z of it"]
    return table(header, rows)


def memorization() -> str:
    """The ratio of every model and number of data."""
    found = {(x["model"], x["points"], x["N"]): x for x in result("memorization")["table"]}
    numbers = sorted({n for *_, n in found})
    lines = [(m, "test") for m in MODELS]
    rows = []
    for model, points in [*lines, ("memorising", "train")]:
        cells = [found[model, points, n] for n in numbers]
        rows.append(
            [f"{LABELS[model]}, {points} points", *(plus(x["ratio"], x["error"], 3) for x in cells)]
        )
    return table(["model", *(f"N = {n}" for n in numbers)], rows)


def crossover() -> str:
    """Where models turn unimodal."""
    data, names = result("memorization"), MODELS[1:]
    rows = [
        [str(x["d"]), *(plus(x[n][0] / x["d"], x[n][1] / x["d"], 2) for n in names),
         f"{x['information'] / x['d']:.1f}"]
        for x in data["crossovers"]
    ]  # fmt: skip
    growth = data["growth"]
    rows.append(["exponent", *(plus(growth[n]["exponent"], growth[n]["error"], 2) for n in names),
                 ""])  # fmt: skip
    return table(["d", *(LABELS[n] for n in names), "e^I / d"], rows)


def data_models() -> str:
    """Loss of the class as signal-to-noise ratio."""
    rows = []
    for x in result("data_models"):
        law, error = x["theory"]
        theory = plus(law, error) if error else f"{law:.4f}"
        rows.append([x["name"], str(x["size"]), plus(*x["half"]), theory, f"{x['z']:.1f}",
                     f"{x['limit']:.4f}"])  # fmt: skip
    header = ["data model", "depth, rank or dimension", "half lost at SNR", "theory of this size",
              "z", "criterion of infinite size"]  # fmt: skip
    return table(header, rows)


def classification() -> str:
    """Accuracy of every weight at every budget."""
    found = result("classification")
    budgets = list(found["accuracy"]["vdm"])
    rows = []
    for kind, name in (("shared", "accuracy"), ("independent", "unshared")):
        for weight, cells in found[name].items():
            rows.append(
                [weight, kind, *(plus(*cells[n], 3) if n in cells else "" for n in budgets)]
            )
    head = ["weight of the x0 error", "noise", *(f"N = {n}" for n in budgets)]
    return f"Bayes: {plus(*found['bayes'], 3)}.\n\n" + table(head, rows)


def single_level() -> str:
    """One sample at one time, beside the exact posterior given the same noisy datum."""
    found = result("classification")
    head = ["t", *found["single"]]
    rows = [
        [text, *(plus(*x, 3) for x in found[name].values())]
        for text, name in (("squared error", "single"), ("exact p(c, x_t)", "information"))
    ]
    return table(head, rows)


def cue_conflict() -> str:
    """Shape bias of weights and bands of noise at two amplitudes of the texture."""
    found = result("cue_conflict")
    rows = []
    for k in found["weights"]:
        for kind in ("weights", "bands"):
            for name, cell in found[kind][k].items():
                label = name if kind == "weights" else f"t in {name}"
                rows.append([k, label, plus(*cell[:2], 3), plus(*cell[2:], 3)])
        rows.append([k, "Bayes", plus(*found["bayes"][k], 3), ""])
    header = [
        "amplitude of the texture",
        "weight or band",
        "shape bias",
        "answers that match a cue",
    ]
    return table(header, rows)


def attribute_binding() -> str:
    """True against swapped prompts."""
    found = result("attribute_binding")
    rows = []
    for area, tasks in found.items():
        for task, row in tasks.items():
            cells = [plus(*row[w]["100"][:2], 3) for w in ("vdm", "exp", "uniform", "high")]
            rows.append([area, task, *cells, plus(*row["bayes"][:2], 3), plus(*row["bag"][:2], 3)])
    header = ["area", "task", "SNR'", "exp(-7t)", "1", "0.4 < t < 0.8", "Bayes", "bag"]
    return table(header, rows)


def composition() -> str:
    """Exponents of the cost of every height, for two learners and three laws."""
    found = result("composition")
    rows = []
    for name, x in found.items():
        if "two largest m" not in x:
            continue
        laws = (x[k] for k in ("correlations", "coincidences", "next_token"))
        rows.append([name, plus(*x["exponent"], 2), *(f"{e:.2f}" for e in laws),
                     plus(*x["two largest m"], 2),
                     f"{x['coincidences, two largest m']:.2f}"])  # fmt: skip
    header = ["learner", "exponent in m", "m^(h+2)", "coincidences", "tokens only",
              "two largest m", "coincidences"]  # fmt: skip
    return table(header, rows)


def sample_complexity() -> str:
    """Exponents over wider ranges of v and m."""
    rows = []
    for world, heights in result("sample_complexity")["exponents"].items():
        for h, x in heights.items():
            rows.append([world, h, plus(*x["exponent"], 2), f"{x['coincidences']:.2f}",
                         plus(*x["two largest m"], 2), f"{x['coincidences, two largest m']:.2f}",
                         str(int(h) + 2)])  # fmt: skip
    header = ["grammar", "height", "exponent in m", "coincidences", "two largest m", "coincidences",
              "h + 2"]  # fmt: skip
    return table(header, rows)


def factors() -> str:
    """Labels for 60 % accuracy with additive and product kernels."""
    found = result("composition")
    rows = []
    for k in ("additive", "product"):
        x = found[f"kernel, {k}"]
        cells = zip(x["samples"], x["error"], strict=True)
        rows.append([k, *(plus(*c, 1) for c in cells), plus(*x["exponent"], 2)])
        law = (f"{c:.1f}" for c in x["samples, theory"])
        rows.append([f"{k}, counting argument", *law, f"{x['theory']:.2f}"])
    return table(["kernel", "N = 8", "12", "16", "24", "32", "exponent"], rows)


def alignment() -> str:
    """Accuracy of every level, without and with the class."""
    rows = []
    for name in ("top", "mid"):
        found = result(f"alignment_{name}")
        for c, condition in enumerate(("unconditional", "class given")):
            for i, t in enumerate(found["t"]):
                levels = zip(found["accuracy"][c], found["error"][c], strict=True)
                cells = [plus(a[i], e[i], 3) for a, e in levels]
                rows.append([f"{name}-heavy", condition, f"{t:g}", *cells])
    levels = [f"level {k}" for k in range(len(rows[0]) - 3)]
    header = ["weights of the observers", "condition", "t", *levels]
    return table(header, rows)


def tree_shapes() -> str:
    """Where tree and class are half lost, with the predictions of a known tree."""
    words = ("class", "top spans", "bottom spans", "class, known tree")
    kinds, rows, gaps = result("tree_shapes")["kinds"], [], []
    for name, x in kinds.items():
        places = [plus(*x[w]["half"], 3) if w in x else "" for w in words]
        slopes = [plus(*x[w]["slope"], 1) if w in x else "" for w in words[:3]]
        rules = ", ".join(f"{m} of arity {s}" for s, m in enumerate(x["rules"], 1) if m)
        rows.append([rules, str(x["L"]), str(x["leaves"]), *places, f"{x['law']:.3f}", *slopes])
        if name.startswith("mixed"):
            gaps.append([str(x["L"]), *(plus(*x["shift"][w], 3) for w in words[1:3])])
    header = ["rules", "L", "leaves", "class half lost at", "top spans", "bottom spans",
              "class, known tree", "theory", "slope of class", "of top spans",
              "of bottom spans"]  # fmt: skip
    text = table(header, rows) + "\nDistance from the class, on the same data:\n\n"
    return text + table(["L", "top spans", "bottom spans"], gaps)


def grammar_learning() -> str:
    """Costs of heights with their exponents, and what a learner has wrong against P."""
    found = result("grammar_learning")
    rows = []
    for context in ("symbols", "tokens"):
        for h in (1, 2, 3):
            x = found[f"{context}, height {h}"]
            cells = [  # where a grammar shows a height in the fewest strings, there is no number
                plus(a, e, 0) if a is not None and a == a else "below the range"
                for a, e in zip(x["samples"], x["samples error"], strict=True)
            ]
            law = f"{x['exponent, law']:.2f}"
            rows.append([context, str(h), *cells, plus(*x["exponent"], 2), law])
    header = ["context", "height", *(f"P*, m = {m}" for m in found["m"]), "exponent in m", "law"]
    text = table(header, rows)
    one, lines = found["divergence"], []
    for j, P in enumerate(one["P"]):
        parts = [f"{part[j]:.3f}" for part in reversed(one["by height"])]
        lines.append([f"{P:,}", plus(one["strings"][j], one["error"][j], 3),
                      f"{one['law'][j]:.3f}", *parts])  # fmt: skip
    top = len(one["by height"]) - 1
    header = ["P", "KL of strings, nats", "K / 2P", *(f"D_{h}" for h in range(top, -1, -1))]
    return f"{text}\nOwn symbols as contexts, m = {one['m']}:\n\n{table(header, lines)}"


def speciation_levels() -> str:
    """Where every level is decided, by U-turns and by three criteria."""
    found, rows = result("speciation"), []
    names = ("branch", "fluctuation", "information")
    for l in found["level"]:
        row = [str(l), plus(found["uturn"][0][l], found["uturn"][1][l], 3)]
        for name in names:
            x = found[name]
            row += [plus(x["measured"][l], x["error"][l], 3), f"{x['theory'][l]:.3f}"]
        rows.append(row)
    header = ["level", "U-turns", "branch = rivals", "theory", "mean = fluctuation", "theory",
              "half of the information", "theory"]  # fmt: skip
    return table(header, rows)


def speciation_chains() -> str:
    """Slopes of the speciation time of chains against log N."""
    found = result("speciation")
    rows = [
        [f"the {kind}", plus(*x["slope"], 4), f"{x['slope, law at these N']:.4f}",
         f"{x['limit']:g}", f"{x['z']:.1f}", f"{x['z, wrong slope']:.0f}",
         f"{max(map(abs, x['z of the times'])):.1f}"]
        for kind, x in ((k, found[k]) for k in ("mean", "covariance"))
    ]  # fmt: skip
    header = ["class in", "slope", "law at these N", "limit", "z", "z of the other slope",
              "largest z of the times"]  # fmt: skip
    return table(header, rows)


def speciation_networks() -> str:
    """Slopes of networks on chains, and their distance from exact inference on the same data."""
    rows = []
    for steps, name in ((2500, "network_speciation"), (1000, "network_speciation_short")):
        found = network(name)
        for kind in ("mean", "covariance"):
            for reading in ("U-turn", "free entropy"):
                x = found[kind][reading]
                near = x.get("network minus exact chain", x["network minus exact"])
                rows.append([
                    f"{steps:,}", f"the {kind}", reading, _known(x["slope"]),
                    _known(x.get("slope, exact chain", x["slope, exact"])),
                    f"{x['slope, law at these N']:.3f}",
                    f"{found[kind]['limit']:g}", _score(x["z"]), _score(x["z, wrong slope"]),
                    f"{_known(near)} ({_score(near[2])})",
                ])  # fmt: skip
    header = ["steps", "class in", "reading", "slope, networks", "slope, exact*", "law at these N",
              "limit", "z", "z of the other slope", "network minus exact, time (z)"]  # fmt: skip
    return table(header, rows)


def _known(pair: list[float | None]) -> str:
    """A number with its error, or that there is none."""
    value, error, *_ = pair
    return "none" if value is None or value != value else plus(value, error, 3)


def _score(z: float | None) -> str:
    return "none" if z is None or z != z else f"{z:.1f}"


def speciation_trees() -> str:
    """Where the levels of grammars are decided in U-turns of networks, and by exact beliefs."""
    found, rows = network("network_speciation")["levels"], []
    for i, l in enumerate(found["level"]):
        cells = [plus(found[w][0][i], found[w][1][i], 3)
                 for w in ("U-turn", "exact chain", "exact")]  # fmt: skip
        for c in ("branch", "fluctuation", "information"):
            value, error = found[c]["time"]
            cells.append(plus(value[i], error[i], 3))
        late = found["fluctuation"]["minus network"]
        cells.append(f"{plus(late[0][i], late[1][i], 3)} ({late[2][i]:.1f})")
        rows.append([str(l), *cells])
    header = ["level", "U-turns, networks", "exact chain", "exact inference", "branch = rivals",
              "mean = fluctuation", "half of the information",
              "mean = fluctuation minus networks (z)"]  # fmt: skip
    return table(header, rows)


def networks() -> str:
    """What the studies on networks print at the end, with their commands."""
    runs = []
    for path in sorted((ROOT / "validation" / "results").glob("*.json")):
        found = json.loads(path.read_text())
        made = found["made"]
        # where the files were written changes no number
        command = re.sub(r" --(out|summary) \S+", "", made["command"])
        lines = [f"* `python validation/{command}`, {made.get('device', 'cpu')}"]
        lines += [f"  * {part}" for part in parts(found.get("claim") or found["closing"])]
        runs.append("\n".join(lines))
    return "\n".join(runs) + "\n"


def network_times() -> str:
    """What every committed run on networks cost, with its command, device and networks."""
    rows = []
    for path in sorted((ROOT / "validation" / "results").glob("*.json")):
        found = json.loads(path.read_text())
        made = found["made"]
        command = re.sub(r" --(out|summary) \S+| --overwrite", "", made["command"])
        took = [made.get("cpu_seconds"), made.get("wall_seconds", made.get("seconds"))]
        rows.append([
            f"`{path.stem}`", f"`{command}`", str(made.get("device", "cpu")), _trained(found),
            *("-" if x is None else f"{x:,.0f}" for x in took),
        ])  # fmt: skip
    header = ["file", "command", "device", "networks", "processor time, s", "wall time, s"]
    return table(header, rows)


def _trained(found: dict) -> str:
    """Networks per setting of a run; a dash where neither its numbers nor parameters say it."""
    words = ("networks", "networks per size", "seeds")
    given = found["made"].get("parameters")
    sources = [x for x in (given or {}).values() if isinstance(x, dict)]
    for one in (*sources, given or {}, found):
        for word in words:
            if isinstance(one.get(word), int):
                return str(one[word])
    # a study without such a parameter trains one network
    return "-" if given is None else "1"


def network_runs() -> str:
    """Every committed run on networks, with its size, and the studies that wait for a GPU."""
    rows, large = [], set()
    for path in sorted((ROOT / "validation" / "results").glob("*.json")):
        found = json.loads(path.read_text())
        made = found["made"]
        device = str(made.get("device", "cpu"))
        size = made.get("size", "CPU" if device == "cpu" else "GPU")
        if size == "GPU":
            large.add(made["command"].partition("--only ")[2].partition(" ")[0])
        said = found["claim"] if "claim" in found else found["closing"]
        rows.append([f"`{path.stem}`", parts(said)[0], size])
    text = table(["file", "first number", "size"], rows)
    waits = [[f"`{s.name}`", f"about {s.seconds} s", s.text] for s in STUDIES
             if s.name not in large]  # fmt: skip
    if not waits:
        return text + "\nNo study waits.\n"
    return (
        text
        + "\nThese studies of the suite wait for a GPU:\n\n"
        + table(["study", "time on one accelerator", "question"], waits)
    )


def main() -> None:
    """Write all pages."""
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)
    pages = (
        *timings.PAGES,
        laws,
        coverage,
        thresholds,
        closed_form,
        phase_diagram,
        representation_peak,
        memorization,
        crossover,
        data_models,
        claims,
        classification,
        single_level,
        cue_conflict,
        attribute_binding,
        alignment,
        network_factors,
        objectives,
        composition,
        sample_complexity,
        local_exponents,
        factors,
        networks,
        network_runs,
        network_times,
        exponents,
        exponent_tests,
        threshold_bounds,
        training_features,
        training_networks,
        training_signs,
        clothing_turns,
        clothing_probes,
        clothing_judges,
        clothing_order,
        clothing_triplets,
        tree_shapes,
        grammar_learning,
        speciation_levels,
        speciation_chains,
        speciation_networks,
        speciation_trees,
        unmasking_orders,
        unmasking_sizes,
        remasking,
        unmasking_networks,
        unmasking_network_orders,
        next_token,
        commands,
        modules,
        papers,
        contrastive_learning,
        contrastive_networks,
        local_images,
        local_clothing,
        conflict_networks,
        composed_networks,
        binding_networks,
        local_networks,
        revealed_levels,
        string_pairs,
        text_levels,
        local_denoisers,
    )
    for results in (ROOT / "validation" / "results", ROOT / "docs" / "results"):
        for figure in results.glob("*.png"):
            shutil.copy(figure, folder / figure.name)
    timings.draw(folder)
    draw_reference(folder)
    for page in pages:
        (folder / f"{page.__name__}.md").write_text(page())


if __name__ == "__main__":
    main()
