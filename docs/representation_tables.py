"""Tables of networks on mixtures and grammars: factors of the SNR, two objectives."""

from __future__ import annotations

from pages import network, plus, table


def _cell(pair: list[float], digits: int = 3) -> str:
    """Mean over networks with its Student error, and the normal score where there is one."""
    text = ("+" if pair[0] > 0 else "") + plus(pair[0], pair[1], digits)
    return f"{text} (z = {pair[2]:.1f})" if len(pair) > 2 and pair[2] is not None else text


def network_factors() -> str:
    """Networks less exact inference at every noise level, by factor."""
    found = network("representation_factors")
    if found is None:
        return "No committed run.\n"
    names = ("confidence", "ln strength", "by strength", "by confidence", "ln snr")
    rows = [[f"{sigma:g}", *(_cell(found["gap"][name][i]) for name in names)]
            for i, sigma in enumerate(found["sigma"])]  # fmt: skip
    header = ["sigma", "class confidence", "ln SNR given the class", "ln SNR: by strength",
              "ln SNR: by beliefs", "ln SNR"]  # fmt: skip
    peaks = [
        [f"({k}, {d}, {delta:g})", f"{at:g}", f"{law:.3f}", f"{closed:.3f}"]
        for (k, d, delta), at, law, closed in zip(
            found["mixtures"], found["peak at"], found["exact peak"], found["closed-form peak"],
            strict=True,
        )
    ]  # fmt: skip
    return table(header, rows) + "\n" + table(
        ["(K, d, delta)", "highest level of the network", "exact peak", "peak of the closed form"],
        peaks,
    )  # fmt: skip


def objectives() -> str:
    """Odd-one-out accuracy of denoising and classifying networks, latents, errors in common."""
    found = network("alignment_grammars")
    if found is None:
        return "No committed run.\n"
    rows = []
    for name, one in found["observers"].items():
        best = one["best"]
        rows.append([
            name, *(plus(*best[k][:2], 3) for k in
                    ("denoiser", "denoiser, class given", "classifier", "untrained")),
            _cell(one["denoiser less classifier"]), plus(*one["exact"][0][:2], 3),
            plus(*one["ceiling"][:2], 3), plus(*one["label"][:2], 3),
        ])  # fmt: skip
    header = ["levels that weigh most", "denoiser", "class given", "classifier", "untrained",
              "denoiser - classifier", "exact beliefs", "ceiling", "class alone"]  # fmt: skip
    text = table(header, rows)
    rows = [
        [name, *(_cell(one["intermediate less root"][k]) for k in ("denoiser", "classifier")),
         *(f"{_cell(one['gain'][i][:2])}, exact {one['gain, exact'][i][0]:+.3f}" for i in (0, -1))]
        for name, one in found["observers"].items()
    ]  # fmt: skip
    t = found["t"]
    header = ["levels that weigh most", "denoiser: layers between - root",
              "classifier: layers between - root", f"class adds at t = {t[0]:g}",
              f"at t = {t[-1]:g}"]  # fmt: skip
    text += "\n" + table(header, rows)
    levels = range(len(found["r2, exact"]))
    rows = [
        [name, f"{t[i]:g}", *(plus(*found["r2"][name][l][i][:2], 3) for l in levels)]
        for i in (0, 1) for name in found["r2"]
    ] + [
        ["exact beliefs", f"{t[i]:g}", *(plus(*found["r2, exact"][l][i][:2], 3) for l in levels)]
        for i in (0, 1)
    ]  # fmt: skip
    text += "\n" + table(["R² of latents", "t", *(f"level {l}" for l in levels)], rows)
    names = list(found["observers"])
    pairs = list(found["observers"][names[0]]["kappa"])
    rows = [[p, *(plus(*found["observers"][n]["kappa"][p][0][:2], 3) for n in names)]
            for p in pairs]  # fmt: skip
    return text + "\n" + table(["error consistency at the lowest noise", *names], rows)
