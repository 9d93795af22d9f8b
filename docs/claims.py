"""What became of every claim of the papers: theory, simulation, networks, and the commands."""

from __future__ import annotations

import re

from contrast_tables import claims_c
from exponents import claims_p
from network_claims import network_claims
from pages import HERE, capital, parts, plus, result, table
from training_tables import claims_m
from unmasking_tables import claims_u

Verdict = tuple[str, str]
"""What was found, and by which command."""


def claims_r() -> dict[str, Verdict]:
    """R1 to R4, from the studies of representation, its peak and memorisation."""
    peaks, memory = result("representation_peak")["worlds"], result("memorization")
    far = [x["too far"] for x in peaks]
    z = max(abs(x["z"]) for x in peaks)
    found = result("representation")["rises"]
    rise = {k: plus(*v["ratio"], 2) for k, v in found.items()}
    linear = {k: plus(*v["linear_rise"], 3) for k, v in found.items() if "linear_rise" in v}
    last = memory["crossovers"][-1]
    growth = memory["growth"]["memorising"]
    return {
        "R1": (
            "holds for the SNR and for linear probes: an interior peak in all eight mixtures, at "
            f"the exact place (|z| <= {z:.1f}), which the closed form misses by a factor "
            f"{min(far):.2f} to {max(far):.2f}; not for the Bayes accuracy of the features, which "
            "only falls",
            "`python sims/representation_peak.py`",
        ),
        "R2": (
            "holds on mixtures: SNR(σ*)/SNR(0.02) of a model fitted to N data is "
            f"{rise['fitted 60']} (N = 60), {rise['fitted 240']} (240), {rise['fitted 1000']} "
            f"(1,000), population {result('representation')['ratio, theory']:.2f}",
            "`python sims/representation.py`",
        ),
        "R3": (
            "holds: the SNR is the product of a rising denoising rate and a falling class "
            "confidence, exactly; it rises from zero noise if and only if the energy-weighted "
            "confidence gap exceeds 1/2 (δ < 0.6592 at K = 3, d = 5)",
            "`python theory/derive_snr_peak.py`",
        ),
        "R4": (
            "holds on mixtures, smoothly: the memorising model has "
            f"{rise['memorising 60']} (N = 60), {rise['memorising 240']} (240), "
            f"{rise['memorising 1000']} (1,000); linear probe minus that at 0.02 at N = 240: "
            f"{linear['memorising 240']} memorising, {linear['fitted 240']} fitted. It turns "
            f"unimodal at N_c = {plus(*last['memorising'][:2], 0)} for d = {last['d']}, growing as "
            f"d to the power {plus(growth['exponent'], growth['error'], 2)}, not exponentially",
            "`python sims/representation.py` and `python sims/memorization.py`",
        ),
    }


def claims_h() -> dict[str, Verdict]:
    """H2 and H3 on exact models, from the study of alignment."""
    top, mid = result("alignment_top"), result("alignment_mid")
    words = []
    for name, x in (("top-heavy", top), ("mid-heavy", mid)):
        plain = x["best level"][0]
        best = plus(x["accuracy"][0][plain[1]][1], x["error"][0][plain[1]][1], 3)
        words.append(f"level {plain[1]} ({best}) for {name} judges")
    gains = ", ".join(
        f"{plus(g, e, 3)} at t = {t:g}"
        for g, e, t in zip(top["gain"], top["gain error"], top["t"], strict=True)
    )
    return {
        "H2": (
            f"depends on the observers: at t = {top['t'][1]:g} the best unconditional level of an "
            f"exact model is {' and '.join(words)}, 0 being the class",
            "`python sims/alignment.py --grammars 40` and `python sims/alignment.py --grammars 40 "
            "--weights 0.25 1 1 0.5 0.25`",
        ),
        "H3": (
            f"holds on exact models: giving the class adds {gains} (best level of each)",
            "`python sims/alignment.py --grammars 40`",
        ),
    }


def claims_z() -> dict[str, Verdict]:
    """Z1 to Z3 on exact models, from the studies of classification, cue conflict and binding."""
    found, cues, scenes = (
        result(x) for x in ("classification", "cue_conflict", "attribute_binding")
    )
    most = str(found["budget"])
    at = {k: plus(*v[most], 3) for k, v in found["accuracy"].items()}
    own = found["unshared"]["exp"]
    last = max(own, key=int)
    z1 = (
        f"holds as an identity for the weight |SNR'| and shared noise: {at['vdm']} at N = {most} "
        f"(Bayes {plus(*found['bayes'], 3)}); SNR {at['snr']} and exp(-7t) {at['exp']} come near "
        f"it, equal weights stop at {at['uniform']}, t > 0.6 at {at['late']}. Independent noise "
        f"for every class gives {plus(*own[last], 3)} at N = {last}. Calls per class "
        f"{plus(*found['calls_right'], 0)} when right, {plus(*found['calls_wrong'], 0)} when "
        f"wrong, but no better calibrated than the softmax (error {plus(*found['ece_calls'], 3)} "
        f"and {plus(*found['ece_softmax'], 3)})"
    )
    one, tenth = cues["weights"]["1"], cues["weights"]["0.1"]
    bands = cues["bands"]["1"]
    low, *_, high = bands
    blur = cues["low-pass control"]
    z2 = (
        "an effect of amplitude, not of depth: with shape deep and texture of equal amplitude the "
        f"shape bias of exp(-7t) is {plus(*one['exp'][:2], 3)} (Bayes "
        f"{plus(*cues['bayes']['1'], 3)}), and falls with noise, {plus(*bands[low][:2], 3)} for t "
        f"in {low} to {plus(*bands[high][:2], 3)} in {high}; with a tenth of the amplitude it is "
        f"{plus(*tenth['exp'][:2], 3)}, and a discriminative classifier on low-passed input has "
        f"{plus(*blur['0.1'][:2], 3)}"
    )
    equal, large = scenes["1"], scenes["4"]
    z3 = (
        f"holds: pairs {plus(*equal['pair']['exp']['100'][:2], 3)}, singles "
        f"{plus(*equal['first: colour']['exp']['100'][:2], 3)}, a bag of attributes "
        f"{plus(*equal['pair']['bag'][:2], 3)}. With four times the area the colour of the small "
        f"object is named right in {plus(*large['first: colour']['exp']['100'][:2], 3)}, at high "
        f"noise alone in {plus(*large['first: colour']['high']['100'][:2], 3)}: the larger colour "
        f"wins because squared error counts its area; the likelihood weight has "
        f"{plus(*large['first: colour']['vdm']['100'][:2], 3)}"
    )
    return {
        "Z1": (z1, "`python sims/classification.py`"),
        "Z2": (z2, "`python sims/cue_conflict.py`"),
        "Z3": (z3, "`python sims/attribute_binding.py`"),
    }


def claims_b() -> dict[str, Verdict]:
    """B1 to B3 on exact models, from the study of composition."""
    found = result("composition")
    strings = found["strings"]
    whole, right = strings["whole strings valid"], strings["right class"]
    plain, told = strings["phases from noise"]["no label"], strings["phases from noise"]["label"]
    kernels = {k: plus(*found[f"kernel, {k}"]["exponent"], 2) for k in ("additive", "product")}
    command = "`python sims/composition.py`"
    return {
        "B1": (
            "in grammars a valid string needs the rules of all levels: valid whole strings are "
            + ", ".join(f"{x:.2f}" for x in whole[1])
            + " and of the right class "
            + ", ".join(f"{x:.2f}" for x in right[1])
            + " as the rules are known up to height 0 to 4 and the class is given",
            command,
        ),
        "B2": (
            f"in grammars the phases are {plain[0]} (no rules), then {plain[-1]} where all rules "
            f"are known but no class is given and {told[-1]} where it is, with nothing sharp "
            "between; validity of every level as predicted (largest z "
            f"{strings['largest z of the gap']:.1f})",
            command,
        ),
        "B3": (
            "it has a price in labels: labels for 60 % accuracy grow as N to the "
            f"{kernels['additive']} if it adds what it knows of x and of y, and to the "
            f"{kernels['product']} if it must see them together",
            command,
        ),
    }


def claims_g() -> dict[str, Verdict]:
    """G1, G2, S1 and S2, from the studies of learned grammars and of speciation."""
    found, decided = result("grammar_learning"), result("speciation")
    own, tokens = (
        [plus(*found[f"{c}, height {h}"]["exponent"], 2) for h in (2, 3)]
        for c in ("symbols", "tokens")
    )
    one = found["divergence"]
    ratio = plus(one["strings"][-1] / one["law"][-1], one["error"][-1] / one["law"][-1], 2)
    near, far = (decided[c]["largest distance from the U-turns"] for c in ("branch", "fluctuation"))
    slopes = [plus(*decided[kind]["slope"], 3) for kind in ("mean", "covariance")]
    learning, speciation = "`python sims/grammar_learning.py`", "`python sims/speciation.py`"
    return {
        "G1": (
            f"holds if tokens around a tuple are read: m to the power {' and '.join(tokens)} at "
            f"heights 2 and 3; not if own symbols are read: {' and '.join(own)}, the same law at "
            "all heights",
            learning,
        ),
        "G2": (f"holds: {ratio} of it at P = {one['P'][-1]:,}, m = {one['m']}", learning),
        "S1": (
            "does not hold for levels, whose symbols have many rivals: U-turns keep half of them "
            f"up to {far:.2f} earlier; where the branch crosses all rivals together it is right to "
            f"{near:.3f}",
            speciation,
        ),
        "S2": (
            f"holds where the class shows in the mean of Ising spins ({slopes[0]}); it is a "
            f"quarter where it shows in the covariance alone ({slopes[1]})",
            speciation,
        ),
    }


def claims() -> str:
    """A table of verdicts, and a section per claim with its numbers and commands."""
    done = claims_p()
    done |= claims_r() | claims_h() | claims_z() | claims_b() | claims_c()
    rows, sections, networks, later = [], [], network_claims(), claims_u()
    networks["U1"] = later.pop("networks")[0]
    done |= later | claims_m() | claims_g()
    for line in (HERE / "results" / "claims_list.txt").read_text().splitlines():
        name, text, waits = (part.strip() for part in line.split("|"))
        verdict, how = done.get(name, (f"open: waits for {waits}", ""))
        found, label = networks.get(name, "open"), f"claim-{name.lower()}"
        # the verdict is what stands before the first number
        rows.append([f"[{name}](#{label})", text, re.split(r"[:;.] ", verdict)[0]])
        lines = [
            f"({label})=\n### {name}. {capital(text)}",
            f"**Exact models.** {capital(verdict)}.",
        ]
        lines += [f"Made by {how}."] if how else []
        lines.append("**Networks.** " + ("Open." if found == "open" else ""))
        if found != "open":
            lines.append("\n".join(f"* {capital(part)}" for part in parts(found)))
        sections.append("\n\n".join(lines) + "\n")
    heads = table(["claim", "what the papers claim", "what was found on exact models"], rows)
    return "\n".join([heads, "## Numbers and commands\n", *sections])
