"""Tables and claims of parallel unmasking and of the autoregressive twin."""

from __future__ import annotations

from pages import network, parameters, plus, result, table

ORDER = "`python sims/parallel_unmasking.py`"
TWIN = "`python sims/autoregressive.py`"


def unmasking_orders() -> str:
    """Divergence and valid strings by order and number of steps."""
    x = result("parallel_unmasking")
    made = parameters("parallel_unmasking")
    header = ["T", *x["orders"]]
    text = (
        f"(v, m, s, L) = ({made['v']}, {made['m']}, {made['s']}, {made['L']}), "
        f"{made['grammars']} grammars; KL(p || q) in nats:\n\n"
    )
    for word, digits, words in (("divergence", 2, ""), ("valid", 3, "Share of valid strings:")):
        rows = [
            [str(T), *(plus(x[word][i][j] + 0.0, x[f"{word}_error"][i][j], digits).replace(
                "-0.00 ", "0.00 ") for i in range(len(x["orders"])))]
            for j, T in enumerate(x["T"])
        ]  # fmt: skip
        text += f"{words}\n\n" if words else ""
        text += table(header, rows) + "\n"
    return text


def unmasking_sizes() -> str:
    """Best block sizes at random order and the order spread, by m, L and T."""
    x = result("parallel_unmasking")
    s = x["schedules"]
    steps = x["T"]
    rows = []
    for i, (m, L) in enumerate(zip(s["m"], s["L"], strict=True)):
        for word, name in (("best", "random, best sizes"), ("spread", "spread, equal sizes")):
            cells = [
                "" if s[word][i][j] is None
                else plus(abs(s[word][i][j]), s[f"{word}_error"][i][j], 2)
                for j in range(len(steps))
            ]  # fmt: skip
            rows.append([f"{m:.0f}", f"{L:.0f}", name, f"{s['fall'][i]:.2f}", *cells])
    header = ["m", "L", "order", "Z(0) - Z(n-1)", *(f"T = {T}" for T in steps)]
    ends = x["exponents"]
    return table(header, rows) + (
        "\nAt the longest strings the divergence falls as T to the power "
        f"-{plus(*ends['best'], 2)} (random order) and -{plus(*ends['spread'], 2)} (spread), "
        "from two steps to four leaves per step.\n"
    )


def remasking() -> str:
    """Remasking at equal calls, and other noise."""
    x = result("parallel_unmasking")
    r = x["remasking"]
    rows = []
    for i, order in enumerate(x["orders"]):
        for j, calls in enumerate(r["calls"]):
            cells = [
                plus(r["remasked"][i][j][k], r["remasked_error"][i][j][k], 3) for k in range(3)
            ]
            rows.append([order, f"{calls:.0f}", *cells])
    header = ["order", "calls", "no remasking",
              *(f"{a:.0f} {'leaves' if a > 1 else 'leaf'} a round"
                for a in r["again"][1:])]  # fmt: skip
    text = (
        table(header, rows) + "\nDivergence of paths at T evenly spaced noise levels, in nats:\n\n"
    )
    rows = [
        [name, *(plus(r["path"][i][j], r["path_error"][i][j], 2) for j in range(len(x["T"])))]
        for i, name in enumerate(("masking", "uniform"))
    ]
    return text + table(["noise", *(f"T = {T}" for T in x["T"])], rows)


def unmasking_networks() -> str:
    """The two parts of the divergence of trained networks."""
    x = network("unmasking")
    rows = []
    for i, order in enumerate(x["orders"]):
        for j, T in enumerate(x["T"]):
            cells = [
                plus(x[w][i][j] + 0.0, x[f"{w}_error"][i][j], 2).replace("-0.00 ", "0.00 ")
                for w in ("divergence", "price", "learning", "valid")
            ]
            rows.append([order, str(T), *cells])
    return table(["order", "T", "KL, nats", "price of the steps", "network's error",
                  "valid strings"], rows)  # fmt: skip


def unmasking_network_orders() -> str:
    """Orders, remasking and readings of trained networks beside exact conditionals."""
    x = network("unmasking_orders")
    both = ("network", "exact")

    def cell(name: str, word: str, digits: int, *at: int) -> str:
        value, error = x[name][word]
        for i in at:
            value, error = value[i], error[i]
        return plus(abs(value) if abs(value) < 1e-9 else value, error, digits)

    rows = [
        [order, str(T), *(cell("valid", w, 3, i, j) for w in both),
         *(cell("divergence", w, 2, i, j) for w in both), cell("learning", "network", 2, i, j)]
        for i, order in enumerate(x["order"]) for j, T in enumerate(x["T"])
    ]  # fmt: skip
    text = table(["order", "T", "valid strings", "exact", "KL, nats", "exact", "network's error"],
                 rows)  # fmt: skip
    rows = [
        [order, str(c), w, *(cell("remasked", w, 3, i, j, k) for k in range(len(x["again"])))]
        for i, order in enumerate(x["order"]) for j, c in enumerate(x["calls"]) for w in both
    ]  # fmt: skip
    again = (f"{a} {'leaves' if a > 1 else 'leaf'} a round" for a in x["again"][1:])
    text += "\nShare of valid strings at equal calls:\n\n"
    text += table(["order", "calls", "", "no remasking", *again], rows)
    rows = [
        [reading, cell("excess", "network", 2, i), cell("half", "exact", 2, i, 0),
         cell("half", "network", 2, i, 0), cell("half_valid", "network", 2, i, 0)]
        for i, reading in enumerate(x["reading"])
    ]  # fmt: skip
    text += (
        f"\nReading one leaf after the other: the entropy of a string is "
        f"{x['log number of data']:.2f} nats.\n\n"
    )
    return text + table(
        ["order of reading", "losses less entropy, nats", "class half decided, exact", "network",
         "among valid completions"], rows,
    )  # fmt: skip


def next_token() -> str:
    """Short contexts, and where the levels are decided."""
    x = result("autoregressive")
    levels = len(x["validity"][0]) - 1
    rows = [
        [str(c), plus(abs(x["divergence"][j]), x["divergence_error"][j], 2),
         *(plus(x["validity"][j][level], x["validity_error"][j][level], 4)
           for level in range(levels))]
        for j, c in enumerate(x["contexts"])
    ]  # fmt: skip
    header = ["leaves of context", "KL, nats", *(f"valid, level {k}" for k in range(levels))]
    text = table(header, rows) + "\nLeaves read when a level is half decided:\n\n"
    rows = []
    for word in ("half read", "half read, measured"):
        end = word.removeprefix("half read")
        for order, row in x[word].items():
            errors = x[f"{word}_error"][order]
            cells = [plus(a, b, 2) for a, b in zip(row, errors, strict=True)]
            rows.append([f"{order}{end or ', exact'}", *cells])
    return text + table(["order of reading", *(f"level {k}" for k in range(levels + 1))], rows)


def claims_u() -> dict[str, tuple[str, str]]:
    """U1 to U4, from the studies of parallel unmasking and of the autoregressive twin."""
    x, twin = result("parallel_unmasking"), result("autoregressive")
    at = {o: i for i, o in enumerate(x["orders"])}
    eight = x["T"].index(8)

    def kl(order: str) -> str:
        i = at[order]
        return plus(x["divergence"][i][eight], x["divergence_error"][i][eight], 2)

    def share(order: str, k: int) -> str:
        r = x["remasking"]
        return plus(r["remasked"][at[order]][-1][k], r["remasked_error"][at[order]][-1][k], 3)

    def half(order: str) -> str:
        return plus(twin["half read"][order][0], twin["half read_error"][order][0], 1)

    s = x["schedules"]
    four = [
        s["best"][i][x["T"].index(2 ** int(L) // 4)]
        for i, (m, L) in enumerate(zip(s["m"], s["L"], strict=True)) if m == 3 and L > 3
    ]  # fmt: skip
    nets = network("unmasking")
    i, j = nets["orders"].index("spread"), nets["T"].index(4)
    whole, price = (
        plus(nets[w][i][j], nets[f"{w}_error"][i][j], 2) for w in ("divergence", "price")
    )
    return {
        "U1": (
            "holds exactly, but the order of the leaves matters more: the divergence of block "
            "sizes is a Riemann sum of Z(k). At four leaves a step the best sizes cost "
            f"{min(four):.2f} to {max(four):.2f} nats for 16 to 64 leaves (m = 3). With eight "
            f"steps for 32 leaves the price is {kl('left to right')} nats left to right, "
            f"{kl('random')} random, "
            f"{kl('spread')} spread over the tree; it falls as T to the power "
            f"-{plus(*x['exponents']['best'], 2)} and -{plus(*x['exponents']['spread'], 2)}",
            ORDER,
        ),
        "U2": (
            "not on random grammars with exact conditionals: the leaves of which the model is "
            "surest stand beside revealed ones, "
            f"and cost {kl('confident')} nats with eight steps, more than a random order",
            ORDER,
        ),
        "U3": (
            f"holds only where the order is bad: at {x['remasking']['calls'][-1]:.0f} calls "
            f"{share('random', 0)} of the strings are valid without and {share('random', 2)} with "
            f"remasking in random order, {share('confident', 0)} and {share('confident', 2)} where "
            "the surest leaves come first",
            ORDER,
        ),
        "U4": (
            f"the losses sum to {plus(*twin['sum of losses'], 2)} nats, the logarithm of the "
            f"number of data being {twin['log number of data']:.2f}; half of the class is "
            f"decided after {half('left to right')} of 32 leaves from the "
            f"left, {half('random')} in random order, {half('spread')} spread over the tree; c "
            "leaves of context make levels valid of which a node has c + 1 leaves at most",
            TWIN,
        ),
        "networks": (
            "three networks at (8, 3, 2, 4): with four steps in the order spread the divergence "
            f"is {whole}, of which {price} are the price of the steps "
            "(`python validation/unmasking.py`)",
            "",
        ),
    }
