r"""The authors' protocol of each of the five papers in one command, with what they state beside it.

    hierdiff reproduce 2402.16991 --images DIR --classifier convnext_base-6075fbad.pth
    hierdiff reproduce 2402.03305 --device cuda

A paper is an entry of :data:`PAPERS`: the experiment with the authors' settings, the numbers that
the paper or the authors' code states, and what this package found to be different, each of which a
test of the package shows.  No public checkpoint has been run here: where the protocol needs one,
the path is tested on small stand-ins, and ``--tiny`` runs the same experiment with a network that
is trained here for a few steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hierdiff.checks import check_fields, checked, one_of, text
from hierdiff.command_line import command_line, execute, parse_flags, parsed
from hierdiff.errors import InvalidParameter
from hierdiff.registry import experiment
from hierdiff.sims.run import RunOptions, run

__all__ = ["PAPERS", "Paper", "Reproduction", "command", "report", "reproduce"]


class Stated(NamedTuple):
    """A number that a paper or its authors' code states.

    Attributes
    ----------
    quantity, value : str
    source : str
        Where it stands.
    """

    quantity: str
    value: str
    source: str


class Paper(NamedTuple):
    """A paper with its protocol.

    Attributes
    ----------
    title : str
    protocol : tuple of str
        The authors' settings, and where the run here departs from them, a line each.
    experiment : str
        By its name in the registry.
    flags, tiny : str
        Its flags, with {images}, {classifier}, {triplets} and {model} for what the user names.
    needs : tuple of str
        What the user must name, of "images", "classifier", "triplets".
    stated : tuple of Stated
    corrections : tuple of str
        What was found to be different here.
    """

    title: str
    protocol: tuple[str, ...]
    experiment: str
    flags: str
    tiny: str
    needs: tuple[str, ...]
    stated: tuple[Stated, ...]
    corrections: tuple[str, ...]


_DIT = "dit-xl-2-256"
_PHOTOGRAPHS = "2402.16991"

PAPERS: dict[str, Paper] = {
    "2402.16991": Paper(
        "A phase transition in diffusion models reveals the hierarchical nature of data",
        (
            "class-unconditional ADM 256 x 256, 1,000 steps respaced to 250, ancestral, learned "
            "variance, x0 clipped; 10 images for each of 1,000 classes of the validation set",
            "layers of ConvNeXt-Base, standardised per channel; cosine of start and sample at ten "
            "noise levels",
            "here: the chain starts at the index whose noise was added; the authors' starts one "
            "index below it, and index 0 runs the full chain",
            "here: activations are divided by their standard deviation; the authors divide by the "
            "root of the second moment, whose mean is not subtracted",
            "here: samples are rounded to eight bits and not stored as JPEG; random pairs give the "
            "floor of every similarity",
            "--authors runs these three as the authors do: --protocol published --moment --jpeg; "
            "the first alone is 2.64 times too much noise per signal at k = 1, 4 % at k = 25",
        ),
        "network-phase-transition",
        "catalogue --name {model} --images {images} --classifier {classifier}",
        "digits --steps 4 --data 8 --num-steps 4 --t .1 .5",
        ("images", "classifier"),
        (
            Stated(
                "top layer against noise", "falls suddenly in a window near mid-schedule", "text"
            ),
            Stated(
                "first layers against noise", "fall smoothly, and stay higher beyond it", "text"
            ),
            Stated(
                "top-1 / top-5 accuracy of the classifier",
                "84.062 / 96.870 %",
                "torchvision, ConvNeXt-Base IMAGENET1K_V1",
            ),
        ),
        (
            "the threshold of the epsilon-process is no threshold of real noise: at equal mean "
            "leaf belief it is too high by 2.7 in t for masking, 1.90 in SNR for Gaussian noise",
            "leaf slopes stay bounded with depth only for nu > 2 of the process at hand",
            "raw similarities cross where the class is lost because their floors differ; above the "
            "floor of random pairs 8 x 8 digits show no crossing",
            "a deterministic sampler keeps too much: +0.11 in retention at any number of steps",
        ),
    ),
    "2502.05743": Paper(
        "Understanding representation dynamics of diffusion models via low-dimensional modeling",
        (
            "linear probes of DiT-XL/2 on images with classes, at noise levels of the paper's grid",
            "here: ridge regression on one-hot labels, pooled over tokens, on all labels and on "
            "five per class; whether a curve rises is decided on other data than its peak",
            'here: at most 4,000 images are fitted (--extra "--fit N"); outputs of more than 4,096 '
            "numbers are not probed, those of DiT's latents are",
        ),
        "network-representation",
        "catalogue --name {model} --images {images} --accept-licence "
        "--t .005 .02 .06 .1 .15 .2 .25 .3 .4 .6",
        "digits --steps 4 --n-train 0 --test 40 --t .02 .3",
        ("images",),
        (
            Stated(
                "DiT-XL/2, miniImageNet, accuracy at sigma .010, .205, 6.135",
                "73.53, 76.1, 7.81 %",
                "Table 8",
            ),
            Stated(
                "CIFAR10, logistic, sigma .008 ... 1.923",
                "93.72 94.94 95.20 94.11 91.36 85.25 72.95 56.21 %",
                "Table 9",
            ),
            Stated(
                "trained DAE, K = 2, d = 5, delta = .2, orthogonal, sigma .008 ... 1.923",
                "24.88 25.15 26.95 35.84 58.27 20.84 4.05 1.57",
                "Table 4",
            ),
        ),
        (
            "the SNR of the last row is exactly 25.038 25.315 27.130 36.182 58.691 21.301 4.071 "
            "1.572; the closed form of the theorem is off by up to a factor of 7.2",
            "three classes of rank 5: the peak is 30.77 at sigma = .3257, the closed form has "
            "76.03 at .5632",
            "the SNR rises from sigma = 0 only if a weighted gap of the class confidence exceeds "
            "1/2; below the SNR of a mixture falls although nothing is memorised",
            "clean strings of a grammar give no rise, so a falling curve proves no memory",
        ),
    ),
    "2303.15233": Paper(
        "Text-to-image diffusion models are zero-shot classifiers",
        (
            "denoising error under every class with shared noise, weighted in t; classes are "
            "dropped in stages",
            "Imagen is not public: a network with a class condition, or a text network with "
            "prompts (--model own, see the networks page), takes its place",
            "here: the fixed grid of times of 2303.16203 with one noise per time",
        ),
        "network-classification",
        "catalogue --name {model} --images {images} --accept-licence --data 200 "
        "--keep 50 10 1 --stages 10 50 250",
        "digits --steps 4 --data 20 --budgets 2 4 --independent-budgets 2 --times .3 --keep 2 1",
        ("images",),
        (
            Stated(
                "ImageNet, Imagen / SD 1.4 / CLIP L/14 at 64 px",
                "62.7 / 61.9 / 63.4 %",
                "Tables 1 to 3",
            ),
            Stated("CIFAR10, Imagen / SD 1.4 / CLIP L/14", "96.6 / 72.1 / 94.7 %", "Tables 1 to 3"),
            Stated(
                "Caltech101 by weight, Imagen: VDM, simple, heuristic, learned",
                "62.0 56.1 68.9 70.2 %",
                "Table 4",
            ),
            Stated("shape accuracy, Imagen / SD / CLIP", "84.4 / 72.5 / 51.6 %", "text"),
        ),
        (
            "under |SNR'| with independent noise for every class the scores have no mean; shared "
            "noise is necessary there",
            "shape accuracy and shape bias are two numbers; amplitude and depth of a cue must be "
            "separated before a bias is read",
            "binding with a larger distractor depends on the number of samples (.041 at N = 100, "
            ".106 at 25)",
            "the number of calls is no better calibrated than a softmax of the scores",
        ),
    ),
    "2402.03305": Paper(
        "Do diffusion models learn semantically meaningful and efficient representations?",
        (
            "32 x 32 images of one bump, conditional U-Net; the width of the bump, rates, batch "
            "and epochs were not found in the text, and are ours",
            "here: phases by thresholds that were set on synthetic images and representations; "
            "RSA and held-out R^2 in place of a look at UMAP",
        ),
        "network-composition",
        "--parts bumps --size 32 --sigma 2.5 --margin 5 --channels 48 --multipliers 1 2 2 "
        "--batch 128 --labels balanced skewed attenuated --attenuated-steps 2500 --seeds 3",
        "--parts bumps --size 8 --channels 32 --multipliers 1 --batch 8 --steps 4 "
        "--attenuated-steps 4 --seeds 1",
        (),
        (
            Stated(
                "phases along training",
                "A, B, C: no structure; disordered manifold, one bump "
                "in a wrong place; ordered manifold, right place",
                "abstract",
            ),
            Stated("increments of x and y", "d_x = .1, d_y = 1: learned together", "abstract"),
            Stated(
                "data for 60 % accuracy with stripes, against N",
                "linear against quadratic",
                "2408.13256",
            ),
        ),
        (
            "with a smooth code of the place the representation is ordered before the first bump: "
            "there is no phase B",
            "phase B needs an attenuated position signal, whose amplitude decides how long it "
            "lasts",
            "a product kernel costs .6 N^2 labels, an additive one about 1.4 N",
        ),
    ),
    "2403.08469": Paper(
        "An analysis of human alignment of latent diffusion models",
        (
            "1,854 images of THINGS, Stable Diffusion, first call of the U-Net at 1 to 90 % noise, "
            "mean over places of the blocks' outputs; cosine, ties wrong",
            "affine probe in folds over objects; text: none, or 'a photo of a {name}'",
            "here: noise by t; the authors' loop has 100 steps always, so t is about 10 p of 1,000",
        ),
        "network-alignment",
        "catalogue --name {model} --images {images} --triplets {triplets} --accept-licence "
        "--t .01 .1 .2 .5 .7 .9 --ties wrong",
        "digits --steps 4 --objects 30 --t .1 .5 --max-triplets 200",
        ("images", "triplets"),
        (
            Stated(
                "SD 1.5, no text, best block (up1) at 1, 10, 20 %",
                ".448 .453 .453",
                "re-run in the authors' repository",
            ),
            Stated("the same, middle block", ".439 .442 .443", "re-run in the repository"),
            Stated("the same after the probe, up1", ".547 .550 .550", "re-run in the repository"),
            Stated("noise ceiling of the responses", "67 to 68 %", "Hebart et al. 2020"),
        ),
        (
            "a class that is known for certain ties exactly: with ties counted wrong, certainty "
            "looks like ignorance; ties that are shared are the default elsewhere in this package",
            "a probe that is scored on all triplets leaks: only pairs of folds over objects count",
            "which layers are best depends on the weights of the observers; a look at few networks "
            "decides little",
        ),
    ),
}
"""The five papers by their arXiv number."""


def _paper(name: str, value: Any) -> Any:
    return one_of(name, value, PAPERS)


@dataclass(frozen=True)
class Reproduction:
    """The protocol of a paper, on files of yours."""

    paper: str = "2402.03305"
    """arXiv number of one of the five papers."""
    images: Path | None = None
    """Folder of images, for the papers on photographs."""
    classifier: Path | None = None
    """Weights of ConvNeXt-Base (2402.16991)."""
    triplets: Path | None = None
    """Odd-one-out responses of people (2403.08469)."""
    model: str | None = None
    """A name of ``hierdiff models``; default that of the paper."""
    extra: str = ""
    """More flags of the experiment, in one word: --extra="--data 100"."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    authors: bool = False
    """2402.16991: noise of index k, second moment and JPEG, as the authors have them."""
    tiny: bool = False
    """The same experiment with a network that is trained here for a few steps."""

    def __post_init__(self) -> None:
        check_fields(self, paper=_paper, extra=text)
        missing = [w for w in self.entry.needs if getattr(self, w) is None]
        if missing and not self.tiny:
            what = {"images": "a folder of images", "triplets": "a file of responses",
                    "classifier": "the weights of ConvNeXt-Base"}  # fmt: skip
            raise InvalidParameter(
                f"{self.paper} needs {' and '.join(what[w] for w in missing)}; give "
                f"{' '.join(f'--{w}' for w in missing)}, or --tiny for a run without"
            )
        if self.authors and (self.paper != _PHOTOGRAPHS or self.tiny):
            raise InvalidParameter(
                f"authors means nothing for {self.paper}{' --tiny' * self.tiny}; it belongs to "
                f"{_PHOTOGRAPHS} on a folder of images"
            )

    @property
    def entry(self) -> Paper:
        """The paper."""
        return PAPERS[self.paper]

    @property
    def words(self) -> list[str]:
        """Flags of the experiment."""
        one = self.entry
        if self.tiny:
            return [*one.tiny.split(), *self.extra.split()]
        usual = {"2402.16991": "adm-256", "2403.08469": "stable-diffusion-1.5"}
        given = {"model": self.model or usual.get(self.paper, _DIT), "images": self.images,
                 "classifier": self.classifier, "triplets": self.triplets}  # fmt: skip
        # a path with blanks stays one word
        words = [w.format(**given) for w in one.flags.split()]
        if self.accept_licence and "catalogue" in words and "--accept-licence" not in words:
            words.append("--accept-licence")
        if not self.accept_licence:
            words = [w for w in words if w != "--accept-licence"]
        if self.authors:
            words += ["--protocol", "published", "--moment", "--jpeg"]
        return [*words, *self.extra.split()]


@checked
def report(paper: str, claim: str = "") -> str:
    """Protocol, numbers of the paper, what was measured, and corrections, as text.

    Parameters
    ----------
    paper : str
        arXiv number.
    claim : str
        What was measured here.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        For another paper.

    Examples
    --------
    >>> print(report("2402.03305").splitlines()[0])
    2402.03305  Do diffusion models learn semantically meaningful and efficient representations?
    """
    entry = PAPERS[_paper("paper", paper)]
    lines = [f"{paper}  {entry.title}", "", "protocol"]
    lines += [f"  {line}" for line in entry.protocol]
    lines += ["", "stated"]
    lines += [f"  {s.quantity}: {s.value} ({s.source})" for s in entry.stated]
    if claim:
        lines += ["", "measured here", f"  {claim}"]
    lines += ["", "found to be different by this package"]
    lines += [f"  {line}" for line in entry.corrections]
    return "\n".join(lines)


@checked
def reproduce(chosen: Reproduction, options: RunOptions) -> str:
    """Run the protocol of a paper, and print and write what came out beside what is stated.

    Parameters
    ----------
    chosen : Reproduction
    options : RunOptions
        Where and how.

    Returns
    -------
    str
        The report, which also stands in ``reproduction_PAPER.json``.

    Raises
    ------
    InvalidParameter
        As the experiment.

    Notes
    -----
    Validity: that of the experiment; no public checkpoint has been run here.
    """
    entry = chosen.entry
    kind = experiment(entry.experiment)
    study, _ = parse_flags(kind, RunOptions, chosen.words, f"hierdiff reproduce {chosen.paper}")
    found = run(
        study, out=options.out, workers=options.workers, resume=options.resume,
        overwrite=options.overwrite, device=options.device, format=options.format,
        summary=options.summary, quiet=options.quiet,
    )  # fmt: skip
    said = study.summary(found) if found else None
    claim = "" if said is None else said.claim
    words = report(chosen.paper, claim)
    record = {
        "paper": chosen.paper, "tiny": chosen.tiny, "experiment": entry.experiment,
        "flags": chosen.words, "stated": [s._asdict() for s in entry.stated], "measured": claim,
        "corrections": entry.corrections,
    }  # fmt: skip
    path = Path(options.out) / f"reproduction_{chosen.paper}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return words


@checked(arguments=lambda name, value: value)
def command(arguments: Sequence[str] | None = None, *, program: str = "") -> str:
    """Reproduce a paper with the flags of the command line; the paper stands first.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the command line.
    program : str
        Name in the usage line.

    Returns
    -------
    str
        The report.

    Raises
    ------
    SystemExit
        With status 2 for bad input.
    """

    def work() -> str:
        with command_line():
            words = sys.argv[1:] if arguments is None else list(arguments)
        if words and not words[0].startswith("-"):
            _paper("paper", words[0])
            words = ["--paper", *words]
        chosen, options = parsed(lambda: parse_flags(Reproduction, RunOptions, words, program))
        found = reproduce(chosen, options)
        print(f"\n{found}")
        return found

    return execute(work)
