"""What networks showed of every claim, from the committed results in validation/results."""

from __future__ import annotations

import math

from clothing_tables import clothing_claims
from pages import network, plus

from hierdiff.sims.bump_phases import crossing_time
from hierdiff.sims.metrics.estimators import student_error

_TURNS = "exponent of the window's end"
_WAITS = {
    "P4": "public checkpoints wait for weights and photographs",
    "H1": "responses of people wait for the THINGS images",
}


_GRAMMARS = {
    "": "", "_5": " --depths 5 --steps 1500", "_6": " --depths 6 --steps 1500",
    "_transformer": " --architecture transformer",
}  # fmt: skip


def network_claims() -> dict[str, str]:
    """A sentence per claim, with the command that made its numbers."""
    said: dict[str, list[str]] = {}

    def add(names: tuple[str, ...], text: str, command: str) -> None:
        for name in names:
            said.setdefault(name, []).append(f"{text} (`python validation/{command}`)")

    _strings(add)
    for end, flags in _GRAMMARS.items():
        _changes(add, network(f"correlated_changes{end}"), f"phase_transition.py grammars{flags}")
    _images(add)
    _features(add)
    _factors(add)
    _levels(add)
    _digit_levels(add)
    _probes(add)
    _judges(add)
    _objectives(add)
    _cues(add)
    _phases(add)
    _coordinates(add)
    _orders(add)
    _contrast(add)
    _pairs(add)
    _windows(add)
    _training(add)
    _speciation(add)
    for names, text, command in clothing_claims():
        add(names, text, command)
    for name, text in _WAITS.items():
        said.setdefault(name, []).append(text)
    return {name: "; ".join(parts) for name, parts in said.items()}


def _strings(add) -> None:
    """Networks of several grammars: the error is that of the mean over them, as Student's."""
    names = ("phase_transition", *(f"phase_transition_seed{k}" for k in (1, 2, 3)))
    runs = [run for run in map(network, names) if run is not None]
    if not runs:
        return
    half = {(name, level): [run["half retention"][name][level] for run in runs]
            for name in ("network", "theory") for level in (0, -1)}  # fmt: skip
    less = [[a - b for a, b in zip(half["network", k], half["theory", k], strict=True)]
            for k in (0, -1)]  # fmt: skip
    gaps = [run["class, network - chain"] for run in runs]
    worst = max(gaps, key=lambda gap: abs(gap[0] / gap[1]))
    text = (
        f"{len(runs)} networks, each on a grammar of its own: class half kept at t = "
        f"{_mean(half['network', 0], 3)} and leaves at {_mean(half['network', -1], 3)}, minus "
        f"exact {_mean(less[0], 3)} and {_mean(less[1], 3)}; class minus exact beliefs in the "
        f"same chain at most {worst[0]:+.3f} ± {worst[1]:.3f} (largest of {len(runs)} times "
        f"{len(runs[0]['t'])} noise levels)"
    )
    add(("P1", "P5"), text, "phase_transition.py")
    k = runs[0]["t"].index(0.4)
    kept = [run["retention"]["network"] for run in runs]
    values = [_mean([x[level][t] for x in kept], 3) for t in (k, -1) for level in (0, -1)]
    add(("P3",), f"at t = 0.4 the class comes back with {values[0]}, a leaf with {values[1]}; from "
        f"pure noise {values[2]} and {values[3]} ({len(runs)} networks)",
        "phase_transition.py")  # fmt: skip


def _changes(add, found: dict | None, command: str) -> None:
    """Networks on several grammars and depths: slopes, half losses, correlated changes."""
    if found is None:
        return
    rows, count = found["depths"], found["networks"]
    kind = found["architecture"].replace("_", " ").replace("unet", "U-Net")

    def each(name: str, digits: int) -> str:
        return "; ".join(
            f"{plus(*row[name]['network'], digits)} at L = {L} (exact "
            f"{plus(*row[name]['exact'], digits)}, minus exact chain "
            f"{plus(*row[name]['minus chain'], digits)})" for L, row in rows.items()
        )  # fmt: skip

    last = rows[list(rows)[-1]]
    who = f"{kind}, {count} networks per depth, each on a grammar of its own"
    add(("P1",), f"{who}: steepest slope of the class per unit of t {each('class_slope', 2)}",
        command)  # fmt: skip
    add(("P2",), f"{who}: steepest slope of a leaf {each('leaf_slope', 2)}", command)
    k = found["t"].index(0.4)
    cells = [plus(last["retention"][x][0][level][k], last["retention"][x][1][level][k], 3)
             for x in ("network", "exact") for level in (0, -1)]  # fmt: skip
    add(("P3",), f"{who}: at t = 0.4 and L = {list(rows)[-1]} the class comes back with {cells[0]} "
        f"(exact {cells[2]}), a leaf with {cells[1]} ({cells[3]})", command)  # fmt: skip
    halves = [", ".join(f"{t:.3f}" for t in last["half"][x][0] if t is not None)
              for x in ("network", "exact")]  # fmt: skip
    add(("P5",), f"{who}: half lost, class to leaves, at t = {halves[0]} (exact {halves[1]}) at "
        f"L = {list(rows)[-1]}", command)  # fmt: skip
    alone = plus(*last["peak_height"]["one step minus chain"], 2)
    limit = found["exponents"]
    add(("P6",), f"{who}: largest susceptibility {each('peak_height', 2)}, at t = "
        f"{each('peak_place', 3)}; every leaf drawn by itself from the network's beliefs has "
        f"{alone} beside the exact chain; decay of C(d) {each('decay', 2)}, where infinitely deep "
        f"trees have a = {plus(*limit['a'], 2)} at t* = {plus(*limit['t*'], 3)}",
        command)  # fmt: skip


def _images(add) -> None:
    names = ("rhm_images_3", "rhm_images_3_seed1", "rhm_images_3_seed2")
    runs = [run for run in map(network, names) if run is not None]
    if runs:
        made, exact, layers = (
            [_mean([run[name][k] for run in runs], 3) for k in (1, 0)]
            for name in ("half, network", "half, exact", "layers half")
        )  # patches and class; last and first hidden layer
        later = _mean([run["half, network"][0] - run["half, network"][1] for run in runs], 3)
        add(("P4",), f"rendered grammars, {len(runs)} ADM U-Nets, each on a grammar of its own: "
            f"patches half kept at t = {made[0]} (exact {exact[0]}) and the class at {made[1]} "
            f"({exact[1]}), later by {later}; first and last hidden layer of a classifier half "
            f"similar at {layers[1]} and {layers[0]}",
            "rhm_images.py --L 3 --multipliers 1 2 2 --batch 64 --steps 5000")  # fmt: skip
    found = network("phase_transition_digits")
    if found is not None:
        raw, net = (found[f"first minus last layer, {x}"] for x in ("as they are",
                                                                    "above the floor"))  # fmt: skip
        add(("P4",), f"8 x 8 digits show no hierarchy: low minus high layer {plus(*raw[:2], 3)} as "
            f"they are, {plus(*net[:2], 3)} above the floor of random pairs",
            "phase_transition.py digits")  # fmt: skip


def _features(add) -> None:
    found = network("representation")
    if found is None:
        return
    rows = found["networks"]
    words = ", ".join(
        f"{plus(*x['ratio'], 2)} ({'fresh data' if n == '0' else f'N = {n}'})"
        for n, x in rows.items()
    )
    rise = {n: plus(*x["linear rise"], 3) for n, x in rows.items()}
    energy = {n: plus(*x["projection rise"], 3) for n, x in rows.items()}
    first, *_, final = rows
    last = rows[final]
    add(("R1",), f"highest at sigma = {last['peak at']:.2f} with fresh data, the probed level next "
        f"to the exact peak, {found['exact peak']:.3f}", "representation.py")  # fmt: skip
    add(("R2", "R4"), f"SNR at the exact peak over that at 0.02: {words}, exact "
        f"{found['exact ratio']:.2f}; accuracy of the class energy changes by {energy[first]} and "
        f"{energy[final]}, of a linear probe, which sees no class of a mixture without means but "
        f"by chance, by {rise[first]} and {rise[final]}", "representation.py")  # fmt: skip


def _scored(x: list[float], digits: int = 3) -> str:
    """Mean over networks with Student error and normal score."""
    z = "alike" if x[2] is None else f"z = {x[2]:.1f}"
    return f"{'+' if x[0] > 0 else ''}{plus(*x[:2], digits)} ({z})"


def _factors(add) -> None:
    """Denoising strength and class confidence, apart; errors over mixtures."""
    found = network("representation_factors")
    if found is None:
        return
    up, steps = found["rising steps of the strength"]
    down, _ = found["falling steps of the confidence"]
    first, last = found["confidence at first and last level"]
    gap, wrong = found["gap, mean over levels"], found["closed form, next to the exact peak"]
    kinds = len({tuple(x) for x in found["mixtures"]})
    text = (
        f"{found['networks']} networks on {kinds} mixtures, each with and without the class: given "
        f"the class the SNR rises in {up} of {steps} steps of the noise, the class confidence that "
        f"the outputs imply falls in {down}, from {first[0]:.3f} to {last[0]:.3f}; beyond the peak "
        f"ln SNR changes by {_scored(found['after the peak, ln snr'], 2)}, given the class by "
        f"{_scored(found['after the peak, ln strength'], 2)} (exact inference "
        f"{_scored(found['after the peak, ln strength, exact'], 2)}); network less "
        f"exact, mean over noise levels: confidence {_scored(gap['confidence'], 4)}, ln SNR given "
        f"the class {_scored(gap['ln strength'])}, ln SNR {_scored(gap['ln snr'])}, of which "
        f"strength {_scored(gap['by strength'])} and beliefs {_scored(gap['by confidence'])}; the "
        f"closed form misses the confidence next to the exact peak by {_scored(wrong)}; errors "
        f"over {kinds} mixtures, each the mean of its networks"
    )
    add(("R3",), text, "representation.py factors")


def _levels(add) -> None:
    """Two noise levels read together, and a denoiser for every level."""
    found = network("representation_levels")
    if found is None:
        return
    n, rows, gain = found["networks"], found["readings"]["network"], found["gain"]["network"]
    exact, law = found["readings"]["exact"], found["combined law"]
    add(("R1",), f"two calls of {n} networks: the mean of two noise levels has SNR "
        f"{plus(*rows['mean'], 1)}, the best level read twice {plus(*rows['twice'], 1)} "
        f"(difference of ln SNR {plus(*gain['mean over twice'], 3)}), one call "
        f"{plus(*rows['one'], 1)}, one call on the clean datum {plus(*rows['clean'], 1)} (exact "
        f"denoiser {plus(*exact['mean'], 1)}, {plus(*exact['twice'], 1)}, "
        f"{plus(*exact['one'], 1)}, {plus(*exact['clean'], 1)}); noises "
        "combined at the input follow the curve of a single "
        f"level, the exact denoiser to {law['relative deviation']:.1%} in the median (level of the "
        f"plain mean: {law['planted wrong']:.0%})", "representation.py levels")  # fmt: skip
    curves = found["curves"]
    top = max(range(len(curves["sigma"])), key=lambda i: curves["exact"][i])
    cells = {name: plus(*(curves[name][k][top] for k in (0, 1)), 1) for name in curves
             if name not in ("sigma", "exact")}  # fmt: skip
    words = ", ".join(f"{name} {cell}" for name, cell in cells.items())
    add(("R1",), f"SNR at sigma = {curves['sigma'][top]:g} of a denoiser of all levels and of one "
        f"per level, {n} networks each: {words} (exact {curves['exact'][top]:.1f})",
        "representation.py levels")  # fmt: skip


def _digit_levels(add) -> None:
    """Two noise levels of networks of digits, read together."""
    found = network("representation_digit_levels")
    if found is None:
        return
    words = [
        f"{layer} {plus(*x['two levels over one twice']['gain'], 3)} (all labels) and "
        f"{plus(*few['two levels over one twice']['gain'], 3)} (five per class)"
        for layer, row in found["layers"].items()
        for x, few in [(row["all"], row["few"])]
    ]
    add(
        ("R1",),
        f"digits, {found['networks']} networks, two calls: accuracy of a probe on two noise "
        f"levels minus that on one read twice: {'; '.join(words)}",
        "representation.py digit-levels",
    )


def _coordinates(add) -> None:
    """Both coordinates at several ratios, and how many pairs of them must be seen."""
    found = network("composition_imbalance")
    if found is not None:
        words = ", ".join(f"{plus(*x, 2)} at {r:g}" for r, x in zip(found["ratios"], found["ln"],
                          strict=True) if x)  # fmt: skip
        who = f"{found['networks']} networks at each of {len(found['ratios'])} ratios"
        add(("B3",), f"labels r times rarer in x than in y, {who}: steps to accuracy 0.6 keep a "
            f"ratio that grows as r to the {plus(*found['exponent'], 2)} (1 if each is "
            f"learned by how often it is seen); ln of the ratio {words}",
            "composition.py imbalance")  # fmt: skip
    found = network("composition_labels")
    if found is not None:
        parts = found["made"]["parameters"]["source"]
        flags = " ".join(f"--{k.replace('_', '-')} {' '.join(map(str, parts[k]))}"
                         for k in ("values", "labels"))  # fmt: skip
        command = (f"composition.py label-counts {flags} --networks {parts['networks']} --steps "
                   f"{parts['steps']}")  # fmt: skip
        powers = "; ".join(
            f"{'bumps alone' if float(s) == 0 else 'with stripes'} {_power(x, found, s)}"
            for s, x in found["exponent"].items()
        )
        add(("B3",), f"pairs (x, y) that must be seen for 60 % at unseen ones, {found['networks']} "
            f"networks of every kind: {powers}; stripes of single coordinates add "
            f"{_scored(found['stripes add, mean'], 2)} to the accuracy, mean over all sizes",
            command)  # fmt: skip
    for name, kind, flags in (
        ("composition_manifold_phases", "U-Net", " --architecture bump_unet --spacing .2 --steps "
         "1500 --checkpoints 20 --rate .003"),
        ("composition_manifold", "perceptron", ""),
    ):  # fmt: skip
        found = network(name)
        if found is None:
            continue
        words = "; ".join(
            f"{k} at step {x['step']}, order {x['geodesic_rsa']:.2f}, in place "
            f"{x['location_accuracy']:.2f}"
            for k, x in found["drawn"].items()
        )
        add(("B2",), f"a {kind} whose representation is drawn: phase {words}",
            f"composition.py manifold{flags}")  # fmt: skip


def _power(exponent: list[float] | None, found: dict, share: str) -> str:
    """The exponent with its error, or that of the mean curves, or none."""
    if exponent:
        return f"as N to the {plus(*exponent, 2)}"
    mean = found["mean curves"][share].get("exponent")
    if mean is None:
        return "no exponent (60 % is not crossed at every N)"
    return f"as N to the {mean:.2f} (of mean curves, too few networks for an error)"


def _objectives(add) -> None:
    """Denoising networks beside classifiers of the same size on the same triplets."""
    found = network("alignment_grammars")
    if found is None:
        return
    n, t = found["networks"], found["t"]
    parts, layers, gains = [], [], []
    for name, one in found["observers"].items():
        best = one["best"]
        parts.append(
            f"{name} levels {plus(*best['denoiser'][:2], 3)} and "
            f"{plus(*best['classifier'][:2], 3)}, difference "
            f"{_scored(one['denoiser less classifier'])}, exact beliefs "
            f"{one['exact'][0][0]:.3f}, untrained {best['untrained'][0]:.3f}, errors in common "
            f"kappa = {plus(*one['kappa']['denoiser and classifier'][0][:2], 2)}"
        )
        layers.append(f"{name} levels {_scored(one['intermediate less root']['denoiser'])}")
        gains.append(
            f"{name} levels {_scored(one['gain'][0])} and {_scored(one['gain'][-1])} (exact "
            f"{one['gain, exact'][0][0]:+.3f} and {one['gain, exact'][-1][0]:+.3f})"
        )
    add(("H1",), f"best layer of a denoising network and of a classifier of the same size on the "
        f"same triplets, {n} grammars, observers who weigh " + "; ".join(parts),
        "alignment.py grammars")  # fmt: skip
    add(("H2",), f"layers between less features of the root, {n} grammars, observers who weigh "
        + "; ".join(layers), "alignment.py grammars")  # fmt: skip
    add(("H3",), f"the class adds to the layers of {n} networks at t = {t[0]:g} and {t[-1]:g}, "
        "observers who weigh " + "; ".join(gains), "alignment.py grammars")  # fmt: skip


def _judges(add) -> None:
    runs = [run for run in map(network, ("classification", "classification_seed1",
                                         "classification_seed2")) if run is not None]  # fmt: skip
    if runs:
        right, gap, bayes = (
            _mean([x(run) for run in runs], 3)
            for x in (lambda run: run["accuracy"]["vdm"][0],
                      lambda run: run["minus exact"]["vdm"][0], lambda run: run["bayes"][0])
        )  # fmt: skip
        calls = [_mean([run[f"calls_{word}"][0] for run in runs], 0) for word in ("right", "wrong")]
        add(("Z1",), f"{len(runs)} networks, each on a grammar of its own: {right} at N = "
            f"{runs[0]['budget']} (Bayes {bayes}), network minus exact denoiser {gap}; calls per "
            f"class {calls[0]} when right, {calls[1]} when wrong", "classification.py")  # fmt: skip
    names = ("alignment", "alignment_seed1", "alignment_seed2")
    runs = [run for run in map(network, names) if run is not None]
    if runs:
        layers = "; ".join(
            ", ".join(f"{name} at t = {t:g}" for name, t in
                      zip(run["best layer"]["unconditional"], run["t"], strict=True))
            for run in runs
        )  # fmt: skip
        add(("H2",), f"observers with large weights on the upper levels, {len(runs)} networks: "
            f"best layers {layers}", "alignment.py")  # fmt: skip
        gains = [[run["gain"][k][0] for run in runs] for k in (0, -1)]
        t = runs[0]["t"]
        add(("H3",), f"the class adds {_mean(gains[0], 3)} at t = {t[0]:g} and "
            f"{_mean(gains[1], 3)} at t = {t[-1]:g} to the layers ({len(runs)} networks)",
            "alignment.py")  # fmt: skip


def _cues(add) -> None:
    """Cue conflicts and binding: errors over networks, Student's."""
    found = network("classification_conflict")
    if found is not None:
        cases = found["cases"]
        rows = []
        for case, row in cases.items():
            seen, exact = row["bias"]["exp"], row["exact_bias"]["exp"]
            judge = list(row["blur_bias"].values())
            rows.append(
                f"texture at {case}: shape bias {plus(*seen, 3)} (exact {plus(*exact, 3)}), "
                f"discriminative {plus(*judge[0], 3)}, low-passed {plus(*judge[-1], 3)}"
            )
        effects = [
            f"{name} {_scored(found[name]['network'])}, exact {_scored(found[name]['exact'])}"
            for name in ("effect of a small amplitude", "effect of the level") if name in found
        ]  # fmt: skip
        gap = found["network minus exact"]
        added = found["effect of a small amplitude"]["network minus exact"]
        add(("Z2",), f"rendered grammars, {found['networks']} networks, weight exp(-7t): "
            f"{', '.join(rows)}; {', '.join(effects)}; network minus exact {_scored(gap)}; "
            f"what a small amplitude adds, network minus exact, {_scored(added)} (planted and "
            "wrong: it adds nothing)",
            "classification.py conflict --steps 3000")  # fmt: skip
    found = network("classification_composed")
    if found is not None:
        rows = []
        for case, row in found["cases"].items():
            judge = list(row["blur_bias"].values())
            rows.append(
                f"contrast {case}: shape bias {plus(*row['bias']['exp'], 3)}, discriminative "
                f"{plus(*judge[0], 3)}, low-passed {plus(*judge[-1], 3)}"
            )
        add(("Z2",), f"silhouettes of clothing filled with other clothing, {found['networks']} "
            f"networks: {', '.join(rows)}; discriminative minus denoising "
            f"{_scored(found['discriminative minus denoising'])}",
            "classification.py composed --steps 1500")  # fmt: skip
    found = network("classification_binding")
    if found is not None:
        first, *_, last = found["denoising"]
        pair = found["denoising"][first]["pair"]
        small = found["denoising"][last]["first: colour"]
        dual = found["dual"][first]["pair"]
        widths = ", ".join(
            f"{plus(*dual['dual_accuracy'][d], 3)} at width {d} (minimum of the loss "
            f"{plus(*dual['dual_optimum'][d], 3)})" for d in dual["dual_accuracy"]
        )  # fmt: skip
        gap, bag = found["network minus exact"], found["network minus a bag of attributes"]
        seen, exact = small["accuracy"]["tokens"], small["exact_accuracy"]
        add(("Z3",), f"rendered scenes, {found['networks']} denoising networks whose captions are "
            f"tokens: the true pair wins with {plus(*pair['accuracy']['tokens']['exp'], 3)} (exact "
            f"{plus(*pair['exact_accuracy']['exp'], 3)}, a bag of attributes 0.500), minus exact "
            f"{_scored(gap['tokens'])}, minus the bag {_scored(bag['tokens'])}; captions as one "
            f"sum: {plus(*pair['accuracy']['sum']['exp'], 3)}, {_scored(gap['sum'])} and "
            f"{_scored(bag['sum'])}; with {last} times the area the colour of the small object "
            f"{plus(*seen['exp'], 3)}, at high noise {plus(*seen['high'], 3)} (exact "
            f"{plus(*exact['exp'], 3)} and {plus(*exact['high'], 3)}); dual encoders {widths}",
            "classification.py binding --steps 3000")  # fmt: skip


def _probes(add) -> None:
    """Rises of linear probes along the noise, on digits and on strings."""
    chosen, found = network("representation_digits"), network("representation_digits_fresh")
    if chosen is not None and found is not None:
        # the layer was chosen on other networks than those whose numbers stand here
        layer, (gap, error, clearest) = chosen["apart"]["few"][2], found["apart"]["few"]
        rows = found["rows"]
        law = rows["exact: output"]["few"]
        readers = list(dict.fromkeys(k.split(": ")[0] for k in rows if k.startswith("network")))
        last, first = (rows[f"{r}: {layer}"]["few"] for r in (readers[-1], readers[0]))
        memory = next(x["few"]["rise"] for k, x in rows.items() if k.startswith("memorising"))
        command = "representation.py digits --n-train 64 0 --networks 6 --seed 2"
        text = (
            f"digits, probe on five per class: {layer}, chosen on other networks, rises by "
            f"{plus(*last['rise'], 3)} to a peak at t = {last['peak at']:g} (low-rank mixture of "
            f"the classes: {plus(*law['rise'], 3)}, peak at {law['peak at']:g}); a network that "
            f"memorises 64 digits {plus(*first['rise'], 3)}, their exact denoiser "
            f"{plus(*memory, 3)}; a probe on all labels sees no peak in any layer"
        )
        add(("R1",), text, command)
        both = (last["rise"][0] - first["rise"][0], math.hypot(last["rise"][1], first["rise"][1]))
        text = f"digits: told apart by the rise of {layer}, {plus(*both, 3)}, " + (
            "here too the layer in which they differ most"
            if clearest == layer
            else f"most clearly by {clearest}, {plus(gap, error, 3)}, the best of seven layers"
        )
        add(("R2", "R4"), text, command)
    found = network("representation_rhm")
    if found is not None:
        rows = found["rows"]
        risen = {kind: sum(x[kind]["rise"][0] > 3 * x[kind]["rise"][1] for x in rows.values())
                 for kind in ("all", "few")}  # fmt: skip
        text = (
            f"strings of a grammar: {risen['all'] or 'none'} of {len(rows)} curves rise, exact, "
            "memorising or of any layer of a network that generalises: clean strings carry nothing "
            "that noise could remove, so a falling curve does not prove memory there"
        )
        add(("R1", "R4"), text, "representation.py rhm")


_CODES = {
    "balanced": "a smooth code of the place",
    "skewed": "a smooth code of the place",
    "attenuated": "a code in which the place is attenuated beside one that means nothing",
}


def _phases(add) -> None:
    """Phases, crossings and order of bump networks: none of those that set the thresholds."""
    every = "composition.py --labels balanced skewed attenuated --seeds 2 --seed 3"
    others = {
        "attenuated": ("composition_attenuated", "composition.py --parts bumps --seeds 3 --seed 1"),
        **dict.fromkeys(("balanced", "skewed"), (
            "composition_more",
            "composition.py --parts bumps --labels balanced skewed --seeds 1 --seed 5",
        )),
    }  # fmt: skip
    large = ("composition.py --parts bumps --size 16 --sigma 1.5 --margin 3 "
             "--attenuated-spacing .25 --attenuated-steps 1900 --seeds 2 --seed 4")  # fmt: skip
    found = network("composition") or {}
    for name in ("balanced", "attenuated", "skewed"):
        file, command = others[name]
        runs = [found.get(name), (network(file) or {}).get(name)]
        command = f"{every}` and `python validation/{command}"
        _world(add, f"{name} labels", name, [x for x in runs if x], command)
    more = (network("composition_16") or {}).get("attenuated")
    _world(add, "attenuated labels, 16 x 16 pixels", "attenuated", [more] if more else [], large)
    if "levels" in found:
        x = found["levels"]
        add(("B1",), "grammar: levels are learned from the leaves up in "
            f"{sum(x['in order'])} of {len(x['in order'])} networks", every)  # fmt: skip


def _world(add, title: str, name: str, runs: list[dict], command: str) -> None:
    """The claims of all networks of one set of labels."""
    if not runs:
        return
    courses, strict = (
        _counted([_path(row) for x in runs for row in x[key]])
        for key in ("phases", "strict phases")
    )
    steps, readings = runs[0]["steps"], {
        key: [row for x in runs for row in x["readings"][key]] for key in runs[0]["readings"]
    }  # fmt: skip
    order, place = readings["geodesic_rsa"], readings["location_accuracy"]
    last = {key: _mean([row[-1] for row in rows], 2) for key, rows in readings.items()}
    n = len(order)
    title += f" ({n} network{'s' if n > 1 else ''})"
    text = (
        f"{title}, conditioned on {_CODES[name]}: {courses}; by the thresholds of synthetic cases "
        f"{strict}; at the end one bump {last['one_bump']} and in place "
        f"{last['location_accuracy']}, order along the manifold "
        f"{_mean([row[0] for row in order], 2)} at step {steps[0]} and {last['geodesic_rsa']} at "
        "the end"
    )
    add(("B2",), text, command)
    if name != "skewed":
        add(("B1",), f"{title}: {_order_first(steps, order, place)}", command)
    x, y = ([t for run in runs for t in run["crossing"][axis]] for axis in "xy")
    gap = _mean([b - a for a, b in zip(x, y, strict=True)], 0)
    add(("B3",), f"{title}: accuracy 0.6 in x at step {_mean(x, 0)}, in y {gap} steps later; share "
        f"of the interaction {last['interaction']}", command)  # fmt: skip


def _orders(add) -> None:
    """The surest leaves first, remasking, and the autoregressive twin."""
    x = network("unmasking_orders")
    if x is None:
        return
    command, laws, steps = "unmasking_orders.py", x["laws"], x["T"]
    who = f"{x['networks']} networks, each on a grammar of its own"

    def differences(name: str, order: str, word: str, digits: int) -> str:
        found = x["less random"][name][order][word]
        return ", ".join(_scored(a, digits) for a in found)

    where = ", ".join(map(str, steps))
    add(("U2",), f"{who}, against a random order at T = {where} steps: the surest leaves first "
        f"change the share of valid strings by {differences('valid', 'confident', 'network', 3)} "
        f"(exact conditionals {differences('valid', 'confident', 'exact', 3)}) and the divergence "
        f"by {differences('divergence', 'confident', 'network', 2)} nats (exact "
        f"{differences('divergence', 'confident', 'exact', 2)})", command)  # fmt: skip
    add(("U2",), f"{who}: the least sure first change the share of valid strings by "
        f"{differences('valid', 'unsure', 'network', 3)}, leaves spread over the tree by "
        f"{differences('valid', 'spread', 'network', 3)}; the share at T = {steps[-1]} less the "
        f"mean of q/p over data is {_scored(laws['valid strings less E q/p'])}, less exp(-KL), "
        f"which is a bound alone, {_scored(laws['valid strings less exp(-KL)'])}",
        command)  # fmt: skip
    for order in ("random", "confident"):
        gain = x["gain of remasking"][order]
        parts = "; ".join(
            f"{_scored(gain['network'][j][0])} at {c} calls (exact {_scored(gain['exact'][j][0])})"
            for j, c in enumerate(x["calls"])
        )
        add(("U3",), f"{who}: masking one leaf a round again in half of the calls changes the "
            f"share of valid strings after {_named(order)} by {parts}", command)  # fmt: skip
    add(("U4",), f"{who}: the losses from left to right sum to "
        f"{plus(*(v[0] for v in x['excess']['network']), 2)} nats above the entropy of "
        f"{x['log number of data']:.2f} nats, in random order to "
        f"{plus(*(v[1] for v in x['excess']['network']), 2)}; those of a network that was trained "
        f"on prefixes alone to {plus(*(v[-1] for v in x['excess']['network']), 2)} (difference "
        f"{_scored(laws['loss, next leaf less left to right'], 2)})", command)  # fmt: skip
    halves = {word: [plus(a[0], b[0], 1) for a, b in zip(*x["half_valid"][word], strict=True)]
              for word in ("network", "exact")}  # fmt: skip
    cells = ", ".join(
        f"{a} (exact {b}; {name})"
        for name, a, b in zip(x["reading"], halves["network"], halves["exact"], strict=True)
    )
    exact, planted = (laws[f"half of the class, left to right less {end}"]
                      for end in ("exact", "exact in random order"))  # fmt: skip
    add(("U4",), f"{who}: half of the class is decided, among valid completions, after {cells} of "
        f"{len(x['loss']['network'][0])} leaves; from left to right minus exact "
        f"{_scored(exact, 2)}, minus the exact place of a random order {_scored(planted, 2)}",
        command)  # fmt: skip


def _named(order: str) -> str:
    """An order in words."""
    return "the surest leaves first" if order == "confident" else f"a {order} order"


def _contrast(add) -> None:
    """Dual encoders that were trained, beside the minimum of their loss."""
    found = network("contrastive")
    if found is None:
        return
    rows = []
    for k, name in enumerate(found["negatives"]):
        cells = [
            f"{plus(*(found['network'][i][k][-1][j] for i in (0, 1)), 3)} at width {width} "
            f"(minimum of the loss {plus(*(found['theory'][i][k][-1][j] for i in (0, 1)), 3)})"
            for j, width in enumerate(found["width"])
        ]
        rows.append(f"with {'hard negatives' if name == 'hard' else f'negatives {name}'}, they "
                    f"bind in {' and '.join(cells)} of the scenes")  # fmt: skip
    n = found["made"]["parameters"]["networks"]
    rows[0] = f"dual encoders, {n} networks per width: {rows[0]}"
    for row in rows:
        add(("C1",), row, "contrastive.py")


def _pairs(add) -> None:
    """Contrastive pairs of strings: the level that trained embeddings reveal."""
    found = network("string_pairs")
    if found is None:
        return
    level, top, laws = found["width"][-1], found["network"]["halves"], found["laws"]
    best = found["minimum"]["halves"]
    cells = [f"{plus(*(x[-1][k] for x in top), 3)} of {name} (minimum of the loss "
             f"{plus(*(x[-1][k] for x in best), 3)})"
             for k, name in ((1, "the level below the class"), (0, "the class"))]  # fmt: skip
    wrong = next(x for name, x in laws.items() if name.startswith("halves, class: networks - leav"))
    half = found["t of half of the class"]
    moved = laws["t of half of the class: networks - exact"]
    n = found["networks"]
    add(("C2",), f"dual encoders of width {level} on two halves of a string, {n} networks on "
        f"grammars of their own: a linear read-out of one half reveals {cells[0]} and {cells[1]}; "
        "minus what leaves and class reveal of the class, which is planted and wrong, "
        f"{_scored(wrong)}", "string_pairs.py")  # fmt: skip
    add(("C2",), f"dual encoders on noisy leaves and class, {n} networks: half of the class is "
        f"lost at t = {plus(*half['network'], 3)} (exact beliefs {plus(*half['exact'], 3)}, "
        f"difference {_scored(moved)})", "string_pairs.py")  # fmt: skip


def _windows(add) -> None:
    """How local networks are, at the noise level where whole inference explains them least."""
    found = network("locality")
    if found is None:
        return
    (nets, errors), law = found["network"], found["theory"][0][0]
    whole, n = [row[-1] for row in nets[0]], found["made"]["parameters"]["networks"]
    i = whole.index(min(whole))
    j = max(range(len(found["size"])), key=lambda k: nets[0][i][k])
    add(("C3",), f"networks are more local than their data: at t = {found['t'][i]:.2f} exact "
        f"inference in windows of {found['size'][j]} of {found['size'][-1]} leaves explains "
        f"{plus(nets[0][i][j], errors[0][i][j], 3)} of their outputs (of the exact denoiser "
        f"{law[i][j]:.3f}), on all leaves {plus(whole[i], errors[0][i][-1], 3)} ({n} networks)",
        "locality.py")  # fmt: skip


def _speciation(add) -> None:
    """When networks decide the class of chains, and the levels of grammars."""
    command = "speciation.py --networks 4 --steps 2500 --tree-steps 2500"
    found, short = network("network_speciation"), network("network_speciation_short")
    if found is None:
        return
    levels, n = found["levels"], found["networks"]
    sizes = f"chains of {found['N'][0]} to {found['N'][-1]} spins, {n} networks per kind"
    entropy, turns = [], []
    for kind, wrong in (("mean", "a quarter"), ("covariance", "half")):
        x, y = found[kind]["free entropy"], found[kind]["U-turn"]
        near = y["network minus exact chain"]
        entropy.append(
            f"{plus(*x['slope'], 3)} log N where the class shows in the {kind} (exact inference "
            f"{x['slope, exact'][0]:.3f}, law at these N {x['slope, law at these N']:.3f}, z = "
            f"{x['z']:.1f}; {wrong} is off by z = {x['z, wrong slope']:.1f})"
        )
        turns.append(
            f"{plus(*y['slope'], 3)} log N where the class shows in the {kind} (exact denoiser in "
            f"the same steps {y['slope, exact chain'][0]:.3f}, law {y['slope, law at these N']:.3f}"
            f"; {wrong} is off by z = {y['z, wrong slope']:.1f}), {plus(*near[:2], 3)} from the "
            "exact denoiser in time"
        )
    add(("S1",), f"{sizes}: mean and fluctuation of the log-likelihood ratio that two conditional "
        f"denoisers imply meet at {' and at '.join(entropy)}",
        command)  # fmt: skip
    add(("S2",), f"{sizes}: U-turns change the class half as often as at infinity at "
        f"{' and at '.join(turns)}", command)  # fmt: skip
    near, far = (levels[c]["minus network"] for c in ("branch", "fluctuation"))
    worst = max(range(len(near[0])), key=lambda i: abs(near[0][i]))
    late = f"{min(far[0]):.3f} to {max(far[0]):.3f}"
    add(("S1",), f"levels of grammars, {levels['networks']} tree networks, for which it does not "
        f"hold: mean and fluctuation of exact beliefs meet {late} later than "
        f"U-turns of networks keep half of the symbols (z = {min(far[2]):.1f} to {max(far[2]):.1f})"
        f", the branch crosses its rivals within {abs(near[0][worst]):.3f} of them",
        command)  # fmt: skip
    if short is not None:
        x, y = (short["covariance"][word] for word in ("free entropy", "U-turn"))
        early, error, _ = y["network minus exact chain"]
        add(("S2",), "after 1,000 training steps networks without the class do not infer it from "
            f"the covariance: U-turns lose it {plus(-early, error, 3)} earlier than those of the "
            "exact denoiser, while the times of the ratio of the conditional ones are off by "
            f"{plus(*x['network minus exact'][:2], 3)}",
            "speciation.py --steps 1000 --networks 4 --tree-steps 2500")  # fmt: skip


def _training(add) -> None:
    """Memory, levels and signs of memory along the training of networks on strings."""
    x = network("training_time")
    if x is None:
        return
    sizes = {int(P): row for P, row in x["sizes"].items() if int(P)}
    fresh, n = x["sizes"]["0"], x["networks"]
    copied = [P for P, row in sizes.items() if row["tau_mem"]]
    first, last = min(copied), max(copied)
    local = [pair[0] for pair in x["exponent between sizes"]]

    def steps(pair: list[float]) -> str:
        """A time, whose error is one of its logarithm."""
        return plus(pair[0], pair[0] * pair[1], 0)

    add(("M1",), f"strings, {n} networks per size: a fifth of the samples are copies after "
        f"{steps(sizes[first]['tau_mem'])} steps at P = {first} and "
        f"{steps(sizes[last]['tau_mem'])} at {last}, as P to the "
        f"{plus(*x['exponent of tau_mem'], 2)} ({local[0]:.2f} between the smallest and "
        f"{local[-1]:.2f} between the largest sizes)", "training_time.py")  # fmt: skip
    add(("M1",), "the loss on fresh strings has turned after "
        f"{steps(sizes[first]['window end'])} steps at P = {first} and "
        f"{steps(sizes[last]['window end'])} at {last}, as P to the {plus(*x[_TURNS], 2)}",
        "training_time.py")  # fmt: skip
    learned = ", ".join(
        f"level {k + 1} after {steps(pair)} steps in {fresh['networks that learn'][k]} of {n}"
        for k, pair in enumerate(fresh["level times"]) if pair
    )  # fmt: skip
    least = {k: min(P for P, row in sizes.items() if row["networks that learn"][k])
             for k in range(len(fresh["level times"]))
             if any(row["networks that learn"][k] for row in sizes.values())}  # fmt: skip
    words = ", ".join(f"level {k + 1} P = {P}" for k, P in least.items())
    add(("M2",), f"fresh strings: {learned}", "training_time.py")
    add(("M2",), f"least training sets from which a network learns: {words}", "training_time.py")
    signs = ", ".join(f"{name} {plus(*pair, 3)}" for name, pair in x["signs"].items())
    add(("M3",), "probability to rank a network that copies above one that does not: "
        f"{signs}", "training_time.py")  # fmt: skip


def _order_first(steps: list[int], order: list[list[float]], place: list[list[float]]) -> str:
    """When order and accuracy reach 0.6, if not before the first checkpoint."""
    early = sum(row[0] >= 0.6 for row in order)
    then = [crossing_time(steps, row, 0.6) for row in place]
    if early:
        return (
            f"order is above 0.6 at the first checkpoint, step {steps[0]}, in {early} of "
            f"{len(order)} networks; accuracy reaches 0.6 at step {_mean(then, 0)}"
        )
    first = [crossing_time(steps, row, 0.6) for row in order]
    gap = _mean([b - a for a, b in zip(first, then, strict=True)], 0)
    return (
        f"order reaches 0.6 at step {_mean(first, 0)}, accuracy {gap} steps later (between "
        f"checkpoints {steps[1] - steps[0]} steps apart)"
    )


def _mean(values: list[float], digits: int) -> str:
    """Mean over networks with half of its 68.27 % Student interval; NaN is never."""
    never = sum(x != x for x in values)
    if never:
        return f"(never in {never} of {len(values)})"
    mean, n = sum(values) / len(values), len(values)
    if n < 2:
        return f"{mean:.{digits}f} (one network)"
    return plus(mean, float(student_error(values)), digits)


def _path(phases: list[str]) -> str:
    """Named phases in the order in which they come."""
    named = [p for p in phases if p != "transitional"]
    words = [p for i, p in enumerate(named) if not i or p != named[i - 1]]
    return " to ".join(words + ["no name"] * (phases[-1] == "transitional"))


def _counted(paths: list[str]) -> str:
    """Each course once, with the number of networks where there are several."""
    if len(paths) == 1:
        return paths[0]
    return ", ".join(f"{p} (in {paths.count(p)} of {len(paths)})" for p in dict.fromkeys(paths))
