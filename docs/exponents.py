"""Exponents, bounds and claims P1 to P6 in every noise process, from committed results."""

from __future__ import annotations

from typing import Any

import numpy as np
from pages import plus, result, table

REAL = ("masking", "uniform", "gaussian")
PROCESSES = (*REAL, "epsilon")
FIRST = "32, 8, 2"


def exponents() -> str:
    """Critical fixed points of every process at every size."""
    rows = []
    for size, x in result("critical_exponents")["sizes"].items():
        for kind in PROCESSES:
            y = x[kind]
            rows.append([f"({size})", kind, plus(*y["lambda"]), plus(*y["nu"], 2),
                         plus(*y["a"], 3), plus(*y["leaf growth"], 3), plus(*y["belief"]),
                         plus(*y["overlap"])])  # fmt: skip
        exact, rate = x["support sets"], x["annealed"]
        s = int(size.split(",")[2])
        for name, value, belief in (("support sets, exact", exact["lambda"], exact["belief"]),
                                    ("recursion, F'(p*)", rate, None)):  # fmt: skip
            nu = np.log(s) / np.log(value)
            cell = "" if belief is None else f"{belief:.4f}"
            rows.append([f"({size})", name, f"{value:.4f}", f"{nu:.2f}", f"{2 - 2 / nu:.3f}",
                         f"{value**2 / s:.3f}", cell, cell])  # fmt: skip
    header = ["(v, m, s)", "process", "λ", "ν", "a", "λ²/s", "E p(true)", "E Σ p²"]
    return table(header, rows)


def exponent_tests() -> str:
    """Whether real noise has one fixed point, and what exact inference says."""
    found = result("critical_exponents")
    words = []
    for size, x in found["sizes"].items():
        chi, free = x["one fixed point"]["eigenvalue"]
        belief, _ = x["one fixed point"]["belief"]
        words.append(f"({size}): χ² = {chi:.1f} for λ, {belief:.1f} for the belief")
    slopes = found["leaf slopes"]
    ends = [int(slopes["masking"][i][0]) for i in (0, -1)]
    text = (
        f"One fixed point for masking, uniform and Gaussian noise, {free} degrees of freedom each: "
        + "; ".join(words) + ".\n\n"
        "Exact inference: collapse of the class belief at L = "
        + ", ".join(map(str, found["depths"])) + "; slope of the leaves' belief between t* - 0.005 "
        f"and t* + 0.005 at L = {ends[0]} and {ends[1]}; and the last increment of the "
        "susceptibility's maximum over the one before, two levels apart, predicted (λ²/s)². The χ² "
        "counts noise levels as independent; those of one depth share their grammars.\n\n"
    )  # fmt: skip
    rows = []
    peaks = result("susceptibility")["peaks"]
    for kind in PROCESSES:
        q = found["collapse"][kind]
        predicted = (q["rate"] ** 2 / 2) ** 2
        chi = [[p["L"], *p["height"]] for p in peaks if p["noise"] == kind]
        first, last = (plus(*slopes[kind][i][1:], 2) for i in (0, -1))
        rows.append([kind, f"{q['rate']:.4f}", plus(q["best rate"], q["best rate error"], 3),
                     f"{q['chi2, rate']:.2f}", f"{q[wrong]:.2f}" if kind != "epsilon" else "",
                     first, last, f"{predicted:.3f}", plus(*increments(chi), 2)])  # fmt: skip
    header = ["process", "λ", "rate of the best collapse", "χ² per degree at λ", "at F'(p*)",
              "leaf slope, first", "last", "(λ²/s)²", "susceptibility"]  # fmt: skip
    return text + table(header, rows) + (
        "\nFor the epsilon-process λ is the mean growth of its class slope at these depths, "
        "between F'(p*) and the value far from the leaves; its class crosses within t* ± 0.005 at "
        "the greatest depth, which lowers the last leaf slope.\n"
    )  # fmt: skip


wrong = "chi2, F'(p*)"


def increments(rows: list[list[float]]) -> tuple[float, float]:
    """(c - b)/(b - a) of the last three [L, value, error], with its error."""
    (_, a, da), (_, b, db), (_, c, dc) = rows[-3:]
    ratio = (c - b) / (b - a)
    error = np.sqrt(dc**2 + ((1 + ratio) * db) ** 2 + (ratio * da) ** 2) / abs(b - a)
    return float(ratio), float(error)


def threshold_bounds() -> str:
    """Lower bound, density evolution, upper bounds."""
    rows = []
    for size, x in result("critical_exponents")["sizes"].items():
        for kind in REAL:
            y = x[kind]
            low = f"{x['support sets']['threshold']:.4f}" if kind == "masking" else ""
            high = "" if kind == "gaussian" else f"{x['level sets']:.4f}"
            rows.append([f"({size})", kind, low, plus(*y["threshold"]), plus(*y["upper bound"]),
                         high])  # fmt: skip
    header = ["(v, m, s)", "process", "support sets (below)", "t*",
              "overlap after 12 levels (above)", "level sets (above)"]  # fmt: skip
    return table(header, rows)


def claims_p() -> dict[str, tuple[str, str]]:
    """P1, P2, P3, P5 and P6, process by process."""
    sharp, found = result("sharpening"), result("critical_exponents")
    x, one = sharp["processes"], found["sizes"][FIRST]
    count = f"{sharp['grammars']} grammars of {sharp['data']} data at (32, 8, 2)"
    command = "`python sims/sharpening.py`, `python sims/critical_exponents.py`"

    def each(cell: Any, kinds: tuple[str, ...] = PROCESSES) -> str:
        return "; ".join(f"{k}: {cell(k)}" for k in kinds)

    def ends(kind: str, name: str, digits: int) -> str:
        first, last = x[kind]["depths"][0], x[kind]["depths"][-1]
        return f"{plus(*first[name], digits)} to {plus(*last[name], digits)}"

    first, last = x["masking"]["depths"][0]["L"], x["masking"]["depths"][-1]["L"]
    p1 = (
        f"holds in all four processes: steepest slope of the class from L = {first} to {last}, "
        + each(lambda k: ends(k, "class slope", 1))
        + f"; class lost at L = {last} at "
        + each(lambda k: f"{plus(*x[k]['depths'][-1]['threshold'])} (limit {limit(k):.4f})")
        + f". {count}, noise levels {sharp['resolution']:.3f} apart and ten times finer where it "
        "is lost; the growth per level is λ = " + each(lambda k: plus(*one[k]["lambda"], 3), REAL)
    )
    growth = sharp["leaf growth"]
    p2 = (
        "holds for real noise, and under a condition for the epsilon-process: slope of the leaves "
        f"from L = {first} to {last}, "
        + each(lambda k: ends(k, "leaf slope", 2))
        + ". It is a sum of terms of ratio λ²/s = "
        + each(lambda k: plus(*one[k]["leaf growth"], 3), REAL)
        + ", so it stays bounded (also at "
        + ", ".join(f"({k})" for k in found["sizes"] if k != FIRST)
        + f"). The recursion of the epsilon-process has {growth['8']['predicted']:.3f} at m = 8 "
        f"and grows without bound ({growth['8']['seen']:.3f} seen at L = 40 to 60), not at m = 12 "
        f"({growth['12']['seen']:.3f}); at finite v its scatter ends that growth, λ²/s = "
        f"{plus(*one['epsilon']['leaf growth'], 3)} at v = 32"
    )

    def survival(kind: str) -> str:
        y = x[kind]["survival"]
        return (f"class {plus(*y['class'][:2], 3)}, leaf {plus(*y['leaves'][:2], 3)} at "
                f"{y['t']:.3f}")  # fmt: skip

    t = x["masking"]["survival"]["t"]
    p3 = (
        "holds in all four processes: probability to come back at the first noise level where the "
        "belief in the class is within .01 of chance, "
        + each(survival)
        + f" (chance {x['masking']['survival']['class'][2]:.3f}; under masking the leaf's own "
        f"observation gives {1 - t * 31 / 32:.3f}). {count}, L = {last}"
    )

    def order(kind: str) -> str:
        half = x[kind]["half"]
        rising = all(a[0] < b[0] for a, b in zip(half[:-1], half[1:], strict=True))
        worst = max(abs(a - c) for a, _, c in half)
        return (f"{plus(*half[0][:2])} (class) to {plus(*half[-1][:2])} (leaves), "
                f"{'in order' if rising else 'not in order'}, within {worst:.4f}")  # fmt: skip

    p5 = (
        f"holds in all four processes: half of the belief is lost at L = {last} at "
        + each(order)
        + " of density evolution (the recursion for epsilon)"
    )
    return {
        "P1": (p1, command), "P2": (p2, command), "P3": (p3, "`python sims/sharpening.py`"),
        "P5": (p5, "`python sims/sharpening.py`"),
        "P6": (claim_p6(), "`python sims/susceptibility.py`, `python sims/critical_exponents.py`"),
    }  # fmt: skip


def limit(kind: str) -> float:
    """Threshold at infinite depth."""
    if kind == "epsilon":
        return float(result("sharpening")["critical"])
    return float(result("finite_size_scaling")[kind]["density evolution"][0])


def claim_p6() -> str:
    """Correlated blocks, process by process."""
    data, one = result("susceptibility"), result("critical_exponents")["sizes"][FIRST]
    peaks = {(p["noise"], p["L"]): p for p in data["peaks"]}
    depths = sorted({L for _, L in peaks})
    first, last = depths[0], depths[-1]

    def grown(kind: str) -> str:
        return (f"{plus(*peaks[kind, first]['height'], 2)} to "
                f"{plus(*peaks[kind, last]['height'], 2)} at "
                f"{plus(*peaks[kind, last]['place'])}")  # fmt: skip

    def shrunk(kind: str) -> str:
        heights = [[L, *peaks[kind, L]["height"]] for L in depths]
        return f"{plus(*increments(heights), 2)} ({kind})"

    chain = data["chain"][str(last)][1]
    real = "; ".join(f"{k}: {grown(k)}, ν = {plus(*one[k]['nu'], 2)}" for k in REAL)
    return (
        "the length diverges in all four processes, the susceptibility does not: its maximum from "
        f"L = {first} to {last} is, epsilon: {grown('epsilon')} (chain {chain:.2f}, threshold "
        f"{data['critical']:.4f}); {real}. Real noise has λ² < s, so its maxima "
        "must saturate, with increments that shrink by (λ²/s)² = "
        f"{one['masking']['leaf growth'][0] ** 2:.2f} for two levels; seen up to L = {last}: "
        f"{', '.join(map(shrunk, REAL))}, not resolved yet where this is 1. In the "
        f"epsilon-process depths collapse on (ε - ε*) F'(p*)^L (spread {data['collapsed']:.3f} "
        f"against {data['plain']:.3f}), with ν = {data['nu']:.4f} and a = {data['a']:.4f} where "
        "the paper quotes 1.78 and 1"
    )
