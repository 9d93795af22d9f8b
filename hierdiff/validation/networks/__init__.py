"""Networks by name: builders that are imported when one is asked for.

A builder takes a data model, a noise process and keywords for its sizes, and returns a
:class:`torch.nn.Module` that is called as ``module(x, time)`` or ``module(x, time, condition)``
(:mod:`hierdiff.validation.adapter`).  A new network is one file with a builder, and one line here.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from hierdiff._lazy import import_optional
from hierdiff.checks import shown
from hierdiff.errors import InvalidParameter

if TYPE_CHECKING:
    from torch import nn

    from hierdiff.noise import NoiseProcess

__all__ = ["NETWORKS", "builder", "network"]

_HERE = "hierdiff.validation.networks."

NETWORKS: dict[str, str | Callable[..., nn.Module]] = {
    "tree_unet": _HERE + "tree_unet:tree_unet",
    "transformer": _HERE + "transformer:symbol_transformer",
    "adm": _HERE + "adm:image_unet",
    "vector_mlp": _HERE + "vector_mlp:vector_mlp",
    "bump_unet": _HERE + "bump_unet:bump_unet",
}
"""Builders by the name of the network: "module:function", or the function itself."""

_SHORT = {"tree": "tree_unet"}  # the flag of the studies on grammars


def builder(name: str) -> Callable[..., nn.Module]:
    """The builder of a network.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.

    Returns
    -------
    callable

    Raises
    ------
    InvalidParameter
        For an unknown name; the nearest ones are named.
    MissingPackage
        Without torch.

    Notes
    -----
    Validity: the module of the builder is imported by this call.

    Examples
    --------
    >>> builder("tree_unet").__name__
    'tree_unet'
    >>> builder("tree_unit")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: network = 'tree_unit' is unknown; did you mean 'tree_unet'? \
known are tree_unet, transformer, adm, vector_mlp, bump_unet
    """
    known = _SHORT.get(name, name) if isinstance(name, str) else ""
    if known not in NETWORKS:
        near = difflib.get_close_matches(str(name), NETWORKS, 3)
        words = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise InvalidParameter(
            f"network = {shown(name)} is unknown; {words}known are {', '.join(NETWORKS)}"
        )
    import_optional("torch", "'hierdiff[networks]'", f"network {known!r}")
    place = NETWORKS[known]
    if callable(place):
        return place
    module, _, function = place.partition(":")
    return cast("Callable[..., nn.Module]", getattr(importlib.import_module(module), function))


def network(name: str, data: Any, noise: NoiseProcess | None = None, **sizes: Any) -> nn.Module:
    """An untrained network for a data model and a noise process.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.
    data : data model
        What the network is trained on: a grammar for ``tree_unet`` and ``transformer``, labelled
        images for ``adm``, a mixture for ``vector_mlp``, bumps for ``bump_unet``.
    noise : NoiseProcess, optional
        Under which it is trained; networks on symbols need it.
    **sizes
        Sizes of this network by name, such as ``width``, and ``conditional``.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    InvalidParameter
        For an unknown name, a size that the network does not have, or data of another kind.
    MissingPackage
        Without torch.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> network("transformer", grammar, MaskingNoise(4), width=16).leaves
    4
    """
    made = builder(name)
    parameters = inspect.signature(made).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    unknown = [size for size in sizes if size not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise InvalidParameter(
            f"{unknown[0]} = {shown(sizes[unknown[0]])} is no size of network {name!r}; it takes "
            + (", ".join(known) or "none")
        )
    return made(data, noise, **sizes)
