r"""
Sharpening: a sudden class, smooth leaves
=========================================

Claims P1, P2, P3 and P5 of the phase transition, as numbers: with growing depth L the class is
lost more and more suddenly, at a noise level that tends to the predicted threshold; beyond it the
class is at chance and leaves of the original survive; and levels are lost in the order of the
hierarchy, at the predicted places.

Claim P2, that leaves fade smoothly, needs a condition.  The steepest slope of the class grows as
:math:`F'(p^*)^L`.  What reaches the leaves from a level k above them is damped by the chain's
second eigenvalue :math:`\lambda = F'(p^*)/s` per level, so their slope grows as
:math:`(F'(p^*)^2/s)^L`: it stays bounded if :math:`\nu = \log s / \log F'(p^*) > 2`, as at m = 12,
and grows without bound, though slowly (by 4 % per level), at the paper's m = 8.

Run it as ``python sims/sharpening.py --out DIR``; it takes about half a minute.
"""

# %%
# Exact inference on sampled grammars at four depths, the annealed recursion beside it.

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hierdiff import RHM, results
from hierdiff.plots.backend import plt
from hierdiff.sims import PhaseTransition
from hierdiff.sims.estimators import crossing
from hierdiff.studies import page
from hierdiff.theory import annealed_beliefs, critical_noise, finite_depth_threshold, stability


@dataclass(frozen=True)
class Sharpening:
    """Loss of class and leaves at growing depth, in the epsilon-process."""

    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    depths: tuple[int, ...] = (4, 6, 8, 10)
    """Depths L."""
    grammars: int = 24
    """Random grammars per depth."""
    data: int = 16
    """Data per grammar."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""


def slope(t: np.ndarray, curves: np.ndarray) -> tuple[float, float]:
    """Steepest fall of the mean of curves [grammar, t], with the error from the grammars."""
    falls = -np.gradient(curves.mean(axis=0), t)
    i = int(falls.argmax())
    by_grammar = -np.gradient(curves, t, axis=1)[:, i]
    return float(falls[i]), float(by_grammar.std(ddof=1) / np.sqrt(len(curves)))


def measure(options: Sharpening, depth: int) -> xr.Dataset:
    """One depth, densely around the threshold."""
    experiment = PhaseTransition(
        noise="epsilon", L=depth, grammars=options.grammars, data=options.data, levels=41, refine=9
    )
    return experiment.measure(folder=options.out / "tasks")


options = page.options(Sharpening)
folder = results.run_folder(options, "sharpening_L*")
rhm = PhaseTransition(L=max(options.depths)).rhm
critical = critical_noise(rhm)
measured = {depth: measure(options, depth) for depth in options.depths}

# %%
# P1 and P2: the steepest slope of the class grows with depth, that of the leaves far less.

rows = []
for depth, ds in measured.items():
    curves = ds.belief_by_grammar.values
    t = ds.t.values
    class_slope, leaf_slope = slope(t, curves[:, 0]), slope(t, curves[:, -1])
    predicted = annealed_beliefs(PhaseTransition(L=depth).rhm, t)[2]
    rows.append(
        {
            "L": depth,
            "threshold": [float(ds.threshold), float(ds.threshold_error)],
            "class slope": list(class_slope),
            "class slope, theory": float((-np.gradient(predicted[:, 0], t)).max()),
            "leaf slope": list(leaf_slope),
            "leaf slope, theory": float((-np.gradient(predicted[:, -1], t)).max()),
        }
    )
    print(f"L = {depth:2d}: class lost at {ds.threshold:.4f} ± {ds.threshold_error:.4f}, "
          f"slope of the class {class_slope[0]:.1f} ± {class_slope[1]:.1f}, "
          f"of the leaves {leaf_slope[0]:.2f} ± {leaf_slope[1]:.2f}")  # fmt: skip

# The recursion alone reaches depths that no sample does: growth of the slopes per level.


def growth(m: int, depths: tuple[int, int] = (40, 60)) -> dict[str, float]:
    """Factor per level by which the leaves' steepest slope grows, seen and predicted."""
    slopes = []
    for depth in depths:
        deep = RHM(rhm.v, m, rhm.s, depth)
        middle = finite_depth_threshold(deep)
        width = max(critical_noise(deep) - middle, 1e-12)
        epsilon = np.linspace(middle - 3 * width, middle + 3 * width, 4001)
        leaf = annealed_beliefs(deep, epsilon)[2][:, -1]
        slopes.append(float((-np.gradient(leaf, epsilon)).max()))
    per_level = (slopes[1] / slopes[0]) ** (1 / (depths[1] - depths[0]))
    predicted = float(stability(RHM(rhm.v, m, rhm.s, 2))[1]) ** 2 / rhm.s
    return {"seen": per_level, "predicted": predicted}


leaf_growth = {m: growth(m) for m in (8, 12)}
for m, rate in leaf_growth.items():
    print(f"m = {m}: slope of the leaves times {rate['seen']:.3f} per level at L = 40 to 60 "
          f"(predicted {max(rate['predicted'], 1.0):.3f})")  # fmt: skip

# %%
# P3: beyond the threshold the class is at chance and leaves of the original come back.

deepest = measured[max(options.depths)]
beyond = deepest.sel(t=0.8, method="nearest")
chance = annealed_beliefs(rhm, 1.0)[2]
survival = {
    "t": float(beyond.t),
    "class": [float(beyond.retention[0]), float(beyond.retention_error[0]), float(chance[0])],
    "leaves": [float(beyond.retention[-1]), float(beyond.retention_error[-1]), float(chance[-1])],
}

# %%
# P5: the noise level at which half is lost, level by level, against the recursion.

half = []
for level in deepest.level.values:
    curves = deepest.belief_by_grammar.sel(level=level).values[:, None]
    found = crossing(deepest.t.values, curves, seed=int(level))
    fine = np.linspace(0, 1, 20001)
    curve = annealed_beliefs(rhm, fine)[2][:, level]
    half.append([found.value, found.error, float(np.interp(-0.5, -curve, fine))])
ordered = all(a[0] < b[0] for a, b in zip(half[:-1], half[1:], strict=True))
worst = max(abs(m - p) for m, _, p in half)

fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
for depth, ds in measured.items():
    shade = plt.get_cmap("viridis")(0.9 * (depth - 2) / max(options.depths))
    axes[0].errorbar(ds.t, ds.belief[0], ds.belief_error[0], color=shade, marker="o", ms=2.5,
                     lw=0.8, label=f"class, L = {depth}")  # fmt: skip
    axes[0].plot(ds.t, ds.belief[-1], color=shade, ls=":", lw=1.2)
axes[0].axvline(critical, color="0.3", ls="--", lw=0.8)
axes[0].set(xlim=(0.5, 1), xlabel=r"noise level $\epsilon$", ylabel="belief in the true symbol")
axes[0].legend(fontsize=7, frameon=False, title="dotted: leaves", title_fontsize=7)
levels = deepest.level.values
axes[1].errorbar(
    levels, [h[0] for h in half], [h[1] for h in half], fmt="o", ms=4, label="measured"
)
axes[1].plot(levels, [h[2] for h in half], "k-", lw=1, label="recursion")
axes[1].axhline(critical, color="0.3", ls="--", lw=0.8)
axes[1].set(xlabel="level (0: class)", ylabel=r"$\epsilon$ at which half is lost")
axes[1].legend(fontsize=7, frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
fig.savefig(folder / "sharpening.png", dpi=160)

for depth, ds in measured.items():
    results.save(ds, folder / f"sharpening_L{depth}.nc")
if options.summary:
    claims = {"critical": critical, "depths": rows, "survival": survival, "half": half,
              "leaf growth": leaf_growth}  # fmt: skip
    options.summary.write_text(json.dumps(claims, indent=1) + "\n")
print(
    f"slope of the class grows {rows[-1]['class slope'][0] / rows[0]['class slope'][0]:.1f}-fold "
    f"from L = {options.depths[0]} to {options.depths[-1]}, of the leaves "
    f"{rows[-1]['leaf slope'][0] / rows[0]['leaf slope'][0]:.2f}-fold; levels are "
    f"{'lost in order' if ordered else 'not lost in order'}, within {worst:.4f} of the recursion"
)
