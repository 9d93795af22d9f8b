"""Networks by name: builders that are imported when one is asked for.

A builder takes a data model, a noise process and keywords for its sizes, and returns a
:class:`torch.nn.Module` that is called as ``module(x, time)`` or ``module(x, time, condition)``
(:mod:`hierdiff.validation.adapter`).  A new network is one file with a builder, and one line here.
The annotation of a builder's first parameter says which data the network is for; without one it is
for all.  The first network for a kind of data is the default of the studies on such data.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from hierdiff._lazy import import_optional
from hierdiff.checks import shown
from hierdiff.errors import InvalidParameter

if TYPE_CHECKING:
    from torch import nn

    from hierdiff.noise import NoiseProcess

__all__ = ["NETWORKS", "architecture_for", "builder", "network", "sizes_of"]

_HERE = "hierdiff.validation.networks."

NETWORKS: dict[str, str | Callable[..., nn.Module]] = {
    "tree_unet": _HERE + "tree_unet:tree_unet",
    "transformer": _HERE + "transformer:symbol_transformer",
    "adm": _HERE + "adm:image_unet",
    "vector_mlp": _HERE + "vector_mlp:vector_mlp",
    "bump_unet": _HERE + "bump_unet:bump_unet",
    "bump_mlp": _HERE + "bump_unet:bump_mlp",
    "chain_conv": _HERE + "chain_conv:chain_conv",
}
"""Builders by the name of the network: "module:function", or the function itself."""

_SHORT = {"tree": "tree_unet"}  # the old flag of the studies on grammars


def builder(name: str) -> Callable[..., nn.Module]:
    """The builder of a network.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`, or "module:function".

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
known are tree_unet, transformer, adm, vector_mlp, bump_unet, bump_mlp, chain_conv
    """
    known = _SHORT.get(name, name) if isinstance(name, str) else ""
    if known not in NETWORKS and not (known.count(":") == 1 and all(known.split(":"))):
        near = difflib.get_close_matches(str(name), NETWORKS, 3)
        words = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise InvalidParameter(
            f"network = {shown(name)} is unknown; {words}known are {', '.join(NETWORKS)}"
        )
    import_optional("torch", "'hierdiff[networks]'", f"network {known!r}")
    place = NETWORKS.get(known, known)
    if callable(place):
        return place
    module, _, function = place.partition(":")
    try:
        return cast("Callable[..., nn.Module]", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise InvalidParameter(
            f"network = {known!r} cannot be imported ({error}); give module:function of a module "
            "that Python finds"
        ) from None


def _data_of(name: str) -> type | None:
    """Class of the data that a network is for; None where its builder does not say."""
    made = builder(name)
    first = next(iter(inspect.signature(made).parameters), "")
    try:
        kind = typing.get_type_hints(made).get(first)
    except NameError:  # imported for types only
        return None
    return kind if isinstance(kind, type) else None


def _fits(name: str, kind: type) -> bool:
    known = _data_of(name)
    return known is None or issubclass(kind, known)


def architecture_for(kind: type, name: str | None = None) -> str:
    """The name of a network for a kind of data.

    Parameters
    ----------
    kind : type
        Class of the data, such as :class:`~hierdiff.data.rhm.Grammar`.
    name : str, optional
        One of :data:`NETWORKS`, or "module:function"; default the first for these data.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        For an unknown name, or a network for other data.
    MissingPackage
        Without torch.

    Notes
    -----
    Validity: what the builder's annotation says; sizes and noise are checked when it is built.

    Examples
    --------
    >>> from hierdiff import Grammar
    >>> architecture_for(Grammar)
    'tree_unet'
    >>> architecture_for(Grammar, "vector_mlp")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: network = 'vector_mlp' is for LowRankMixture, not for \
Grammar; give one of tree_unet, transformer
    """
    if name is None:
        return next(known for known in NETWORKS if _fits(known, kind))
    builder(name)
    name = _SHORT.get(name, name)
    if not _fits(name, kind):
        known = cast(type, _data_of(name)).__name__
        suited = ", ".join(other for other in NETWORKS if _fits(other, kind))
        raise InvalidParameter(
            f"network = {name!r} is for {known}, not for {kind.__name__}; give one of {suited}"
        )
    return name


def sizes_of(name: str) -> tuple[str, ...] | None:
    """Sizes that a network takes by keyword; None if it takes any.

    Examples
    --------
    >>> sizes_of("transformer")
    ('width', 'layers', 'conditional')
    """
    parameters = inspect.signature(builder(name)).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def network(name: str, data: Any, noise: NoiseProcess | None = None, **sizes: Any) -> nn.Module:
    """An untrained network for a data model and a noise process.

    Parameters
    ----------
    name : str
        One of :data:`NETWORKS`.
    data : data model
        What the network is trained on, of the class that its builder names: a grammar, labelled
        images, a mixture, bumps, chains of spins.
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
    name = architecture_for(type(data), name)
    known = sizes_of(name)
    unknown = [] if known is None else [size for size in sizes if size not in known]
    if unknown and known is not None:
        raise InvalidParameter(
            f"{unknown[0]} = {shown(sizes[unknown[0]])} is no size of network {name!r}; it takes "
            + (", ".join(known) or "none")
        )
    return builder(name)(data, noise, **sizes)
