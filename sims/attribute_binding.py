r"""
Attribute binding: the colour of the larger object
==================================================

Claim Z3: denoising classifiers know which colour belongs to which shape, where scorers that see
which attributes are present do not.  Scenes of two objects, each a shape beside a colour, every
value the root of a random grammar; the exact denoiser of a prompt is a mixture over the places it
may speak of.

Pairs ("a red cube and a blue ball" against "a blue cube and a red ball") bind nearly perfectly,
single objects less.  If the second object's colour has four times the area, prompts that give the
first object that colour win at high noise, far below chance: the prompt is then read as speaking of
the large object, and squared error counts its area.  The exact likelihood has no such error.

Run it as ``python sims/attribute_binding.py --out DIR``; it takes about ten seconds.
"""

# %%
# All prompts see the same scenes and noise.

from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro

from hierdiff import results
from hierdiff.plots.classification import binding_figure
from hierdiff.sims.binding import AttributeBinding
from hierdiff.studies import page


@dataclass(frozen=True)
class Study:
    """Accuracy of true against swapped prompts on scenes with exact denoisers."""

    experiment: tyro.conf.OmitArgPrefixes[AttributeBinding] = field(
        default_factory=AttributeBinding
    )
    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""


options = page.options(Study)
folder = results.run_folder(options, "attribute_binding")
experiment = options.experiment
measured = experiment.measure(folder=folder / "tasks", workers=options.workers)
figure = binding_figure(measured)
figure.savefig(folder / "attribute_binding.png", dpi=160)
results.save(measured, folder / "attribute_binding.nc")

# %%
# The numbers, for every area, task, weight and budget.


def cell(name: str, **at: object) -> list[float]:
    """A number, its error, and its range over grammars."""
    here = measured.sel(**at)
    spread = here[f"{name}_by_grammar"]
    return [float(here[name]), float(here[f"{name}_error"]), float(spread.min()),
            float(spread.max())]  # fmt: skip


tasks, areas = list(map(str, measured.task.values)), list(map(int, measured.area.values))
claims = {
    str(area): {
        task: {
            "bayes": cell("bayes", area=area, task=task),
            "bag": cell("bag", area=area, task=task),
            **{
                str(w): {
                    str(n): cell("accuracy", area=area, task=task, weighting=w, budget=n)
                    for n in measured.budget.values
                }
                for w in measured.weighting.values
            },
        }
        for task in tasks
    }
    for area in areas
}
if options.summary:
    results.write_summary(options.summary, claims, asdict(options.experiment))
most = str(measured.budget.values[-1])
for area in areas:
    for task in tasks:
        row = claims[str(area)][task]
        words = [f"{w} {row[w][most][0]:.3f} ± {row[w][most][1]:.3f}"
                 for w in map(str, measured.weighting.values)]  # fmt: skip
        print(f"area {area}, {task:>14}: {', '.join(words)}, Bayes {row['bayes'][0]:.3f}, "
              f"bag {row['bag'][0]:.3f} ± {row['bag'][1]:.3f}")  # fmt: skip
equal, large = claims[str(areas[0])], claims[str(areas[-1])]
pair, single, bag = equal["pair"]["exp"][most], equal["first: colour"]["exp"][most], equal["pair"]
small, other = large["first: colour"], large["second: colour"]
z = (small["high"][most][0] - 0.5) / max(small["high"][most][1], 1e-12)


def said(numbers: list[float]) -> str:
    """A number with its error."""
    return f"{numbers[0]:.3f} ± {numbers[1]:.3f}"


print(f"N = {most}, weight exp(-7t): pairs {said(pair)}, singles {said(single)}, bag of attributes "
      f"{bag['bag'][0]:.3f}; with {areas[-1]} times the area, colour of the small object "
      f"{said(small['exp'][most])}, of the large {said(other['exp'][most])}; high noise alone: "
      f"small {said(small['high'][most])} (z = {z:.1f} against chance), "
      f"large {said(other['high'][most])}")  # fmt: skip
