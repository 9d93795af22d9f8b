"""The experiments of :mod:`hierdiff.sims` with networks as models.

An experiment has a *source*: which network on which data.  It is a frozen dataclass among a few,
such as a network trained here on a grammar or on digits, or one of the catalogue on images of a
folder; so a parameter that means nothing for a source does not exist there.  On the command line
the source is a subcommand, ``python validation/phase_transition.py digits --data 100``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hierdiff.checks import Rule, checked
from hierdiff.data.digits import LabelledImages
from hierdiff.data.image_sets import IMAGE_SETS, named_images
from hierdiff.errors import InvalidParameter
from hierdiff.validation.networks import architecture_for
from hierdiff.validation.pretrained.catalogue import CATALOGUE, HUB_FOLDERS

__all__ = [
    "architecture_rule",
    "checkpoint_suffix",
    "clear_checkpoints",
    "folder_stem",
    "known_checkpoint",
    "source_arguments",
    "trained_images",
    "training_sizes",
]


def architecture_rule(kind: type) -> Rule:
    """The check of a field that names a network for data of a class; None becomes the default."""
    return lambda name, value: architecture_for(kind, value)


def checkpoint_suffix(kind: type, name: str | None) -> str:
    """What a network other than the default adds to the name of its checkpoint."""
    named = architecture_for(kind, name)
    return "" if named == architecture_for(kind) else "-" + named.replace(":", "-")


def clear_checkpoints(folder: Path, *names: str) -> None:
    """Remove the checkpoints of an experiment, by the names of their folders, and no others."""
    for name in names:
        for old in folder.glob(f"{name}/checkpoint.pt"):
            old.unlink()


def trained_images(source: object, split: str, seed: int) -> LabelledImages:
    """Images of a source that is trained here: digits, or Fashion-MNIST of the source's size."""
    size = getattr(source, "size", None)
    word = "digits" if size is None else "fashion" if size == 28 else f"fashion-{size}"
    return named_images(word, split, seed=seed)


def folder_stem(source: object) -> str:
    """Begin of the names of checkpoints: the images, with the sizes of a network on larger ones."""
    size = getattr(source, "size", None)
    if size is None:
        return "digits"
    words = [str(x) for x in training_sizes(source).values()]
    sizes = "".join("-" + re.sub(r"\D", "", word) for word in words)
    return f"fashion{size}{sizes}"


def training_sizes(source: object) -> dict[str, object]:
    """Sizes of the network and batch that a source of larger images has, as keywords."""
    names = ("channels", "multipliers", "batch")
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


@checked
def known_checkpoint(name: str) -> str:
    """The name of a public checkpoint; the nearest one is offered for an unknown one.

    Examples
    --------
    >>> known_checkpoint("adm-255")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: name = 'adm-255' is not in the catalogue; did you mean \
'adm-256'? (hierdiff models names them all)
    """
    names = [entry.name for entry in CATALOGUE]
    if name in {folder.name for folder in HUB_FOLDERS}:
        raise InvalidParameter(
            f"name = {name!r} is a folder of the hub; give it as --model {name} with --images"
        )
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise InvalidParameter(
            f"name = {name!r} is not in the catalogue; did you mean {near!r}? (hierdiff models "
            "names them all)"
        )
    return name


def source_arguments(sources: Mapping[str, type], arguments: Sequence[str]) -> list[str]:
    """The command line with the source as a subcommand, and its flags behind it.

    Parameters
    ----------
    sources : mapping
        Dataclasses by the name of their subcommand, the default first.  "catalogue" also stands for
        the names of published networks, which its field ``name`` takes.
    arguments : sequence of str
        Flags in any order; the source stands first, or in the old spelling ``--model NAME``, which
        is noted on standard error.  ``--model`` with a factory or a folder and ``--images`` is the
        source "own".

    Returns
    -------
    list of str
        Flags that all sources share, the subcommand, flags of the source.

    Raises
    ------
    InvalidParameter
        If a flag belongs to other sources only.

    Notes
    -----
    Validity: every flag begins with two dashes; it takes all words up to the next one.

    Examples
    --------
    >>> A = dataclasses.make_dataclass("A", [("v", int, 8)])
    >>> B = dataclasses.make_dataclass("B", [("data", int, 3)])
    >>> source_arguments({"rhm": A, "digits": B}, ["--v", "4", "--seed", "1"])
    ['--seed', '1', 'rhm', '--v', '4']
    >>> source_arguments({"rhm": A, "digits": B}, ["digits", "--v", "4"])
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: --v means nothing for digits; it belongs to rhm
    """
    groups: list[list[str]] = [[]]
    for word in arguments:
        if word.startswith("--") or word == "-h":
            groups.append([word])
        else:
            groups[-1].append(word)
    chosen, groups = _chosen(sources, groups)
    if chosen is None:  # an unknown word, or a question for help: the parser says what there is
        return [word for group in groups for word in group]
    fields = {name: {f.name for f in dataclasses.fields(kind)} for name, kind in sources.items()}
    before, after = [], []
    for group in groups:
        flag = group[0].partition("=")[0].removeprefix("--").replace("-", "_")
        words = {flag, flag.removeprefix("no_")}
        others = [name for name, known in fields.items() if words & known]
        if chosen in others or group[0] in ("-h", "--help"):
            after += group
        elif others:
            raise InvalidParameter(
                f"{group[0].partition('=')[0]} means nothing for {chosen}; it belongs to "
                f"{' and '.join(others)}"
            )
        else:
            before += group
    return [*before, chosen, *after]


def _own_images(name: str, flags: list[list[str]]) -> bool:
    """Whether the flags name images for a model that is no published one on a folder."""
    words = [w for g in flags for w in g]
    images = next((g[1] for g in flags if g[0] == "--images" and len(g) > 1), None)
    joined = any(w.startswith("--images=") for w in words)
    published = name in {entry.name for entry in CATALOGUE}
    return (images is not None or joined) and (not published or images in IMAGE_SETS)


def _chosen(
    sources: Mapping[str, type], groups: list[list[str]]
) -> tuple[str | None, list[list[str]]]:
    """The subcommand, and the flags without it."""
    first, *flags = groups
    old = next((g for g in flags if g[0].partition("=")[0] == "--model"), None)
    if first:
        return (first[0], flags) if first[0] in sources and len(first) == 1 else (None, groups)
    if old is None:
        asked = any(g[0] in ("-h", "--help") for g in flags)
        return (None, flags) if asked else (next(iter(sources)), flags)
    flags.remove(old)
    name = (old[1:] or [old[0].partition("=")[2]])[0]
    if name not in sources and "own" in sources and _own_images(name, flags):
        return "own", [*flags, old]
    if name in sources:
        new, chosen = name, name
    elif "catalogue" in sources:
        known = [*sources, *(entry.name for entry in CATALOGUE)]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InvalidParameter(
                f"model {name!r} is unknown; did you mean {near!r}? known are {', '.join(known)}"
            )
        new, chosen = f"catalogue --name {name}", "catalogue"
        flags.append(["--name", name])
    else:
        return None, [[name], *flags]
    print(f"note: --model {name} is now the subcommand {new}", file=sys.stderr)
    return chosen, flags
