r"""
Cue conflict: depth is not amplitude
====================================

Claim Z2: classifiers made of diffusion models follow shape rather than texture.  Shape is both deep
(it takes a hierarchy to read) and of large amplitude (it survives a low-pass), and the two pull in
opposite directions.

Gaussian classes with shape in few directions of large variance: at one noise level the score is
:math:`D(\sigma) = \sum_j \pm(\sigma^2/(\lambda_j+\sigma^2))^2 D_j^2`, texture at low noise and
shape at high.  Random grammars with shape as the root of a tree and texture as a histogram of
*equal* amplitude: shape at low noise and texture at high, because deep latents vanish first.  Only
a texture of small amplitude makes scores of high noise follow shape, and then a discriminative
classifier with low-passed input does so too.

Run it as ``python sims/cue_conflict.py --out DIR``; it takes about ten seconds.
"""

# %%
# Both worlds, and closed forms for the Gaussian one.

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tyro

from hierdiff import results
from hierdiff.plots.classification import cue_conflict_figure
from hierdiff.sims.cue_conflict import CueConflict
from hierdiff.studies import page
from hierdiff.theory.zero_shot.gaussian_classes import crossover


@dataclass(frozen=True)
class Study:
    """Shape bias of denoising classifiers on two worlds with conflicting cues."""

    experiment: tyro.conf.OmitArgPrefixes[CueConflict] = field(default_factory=CueConflict)
    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""


options = page.options(Study)
folder = results.run_folder(options, "cue_conflict", "cue_conflict_theory")
experiment = options.experiment
levels = np.union1d(experiment.sigma2, np.geomspace(0.01, 30, 60))
theory = experiment.predict(sigma2=tuple(levels))
measured = experiment.measure(folder=folder / "tasks", workers=options.workers)
both = results.compare(theory, measured)

# %%
# Left: the same question at single noise levels in both worlds, with opposite answers.

figure = cue_conflict_figure(theory, measured)
figure.savefig(folder / "cue_conflict.png", dpi=160)
results.save(theory, folder / "cue_conflict_theory.nc")
results.save(measured, folder / "cue_conflict.nc")

# %%
# The numbers; the share of answers that match a cue stands beside every bias.


def pair(name: str, **at: object) -> list[float]:
    """A number and its error."""
    here = measured.sel(**at)
    return [float(here[name]), float(here[f"{name}_error"])]


claims = {
    "crossover": crossover(*experiment.directions),
    "gaussian": {f"{s:g}": [*pair("gaussian_bias", sigma2=s),
                            float(theory.gaussian_bias.sel(sigma2=s))]
                 for s in measured.sigma2.values},
    "gaussian weights": {str(w): [*pair("gaussian_weighted", weighting=w),
                                  float(theory.gaussian_weighted.sel(weighting=w))]
                         for w in measured.weighting.values},
    "gaussian z": both.gaussian_bias_z.values[1].round(2).tolist(),
    "bayes": {f"{k:g}": pair("bayes", amplitude=k) for k in measured.amplitude.values},
    "weights": {f"{k:g}": {str(w): [*pair("bias", amplitude=k, weighting=w),
                                    *pair("matched", amplitude=k, weighting=w)]
                           for w in measured.weighting.values}
                for k in measured.amplitude.values},
    "bands": {f"{k:g}": {str(b): [*pair("band_bias", amplitude=k, band=b),
                                  *pair("band_matched", amplitude=k, band=b)]
                         for b in measured.band.values}
              for k in measured.amplitude.values},
    "low-pass control": {f"{b:g}": [*pair("blur_bias", blur=b), *pair("blur_matched", blur=b)]
                         for b in measured.blur.values},
}  # fmt: skip
if options.summary:
    results.write_summary(options.summary, claims, asdict(options.experiment))
for k, weights in claims["weights"].items():
    words = [f"{w} {b[0]:.3f} ± {b[1]:.3f}" for w, b in weights.items()]
    print(f"texture amplitude {k}: shape bias {', '.join(words)}; Bayes "
          f"{claims['bayes'][k][0]:.3f} ± {claims['bayes'][k][1]:.3f}")  # fmt: skip
first, *_, last = claims["bands"][f"{measured.amplitude.values[0]:g}"].items()
control = [f"{b[0]:.3f}" for b in claims["low-pass control"].values()]
print(f"discriminative control with low-passed input: shape bias {', '.join(control)} at texture "
      f"left {', '.join(claims['low-pass control'])}")  # fmt: skip
low, high = (list(claims["gaussian"].items())[i] for i in (0, -1))
print(f"at equal amplitude t in {first[0]} gives shape bias {first[1][0]:.3f} ± {first[1][1]:.3f} "
      f"and t in {last[0]} gives {last[1][0]:.3f} ± {last[1][1]:.3f}; Gaussians the reverse, "
      f"{low[1][0]:.3f} ± {low[1][1]:.3f} at sigma^2 = {low[0]} and {high[1][0]:.3f} ± "
      f"{high[1][1]:.3f} at {high[0]} (max |z| = {max(map(abs, claims['gaussian z'])):.1f} "
      f"against the closed form, crossover at {claims['crossover']:.3f})")  # fmt: skip
