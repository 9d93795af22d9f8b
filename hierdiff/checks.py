"""Arguments of public functions, checked before any work: one function per kind of argument.

Each check takes the name of an argument and its value.  It returns the value in the form that the
code works with, or raises :class:`~hierdiff.errors.InvalidParameter` with one line: the value
received, the rule, the remedy.  :func:`checked` applies them to a whole function:

* the annotation of a parameter picks the check (``int`` a whole number, ``float`` a finite number,
  ``ArrayLike`` an array of real numbers without NaN, a class an instance of it, and so on);
* a keyword of the decorator replaces it, e.g. ``@checked(delta=positive, rank=count)``;
* a value that is the parameter's default is not looked at.

:func:`check_fields` does the same for the fields of a frozen dataclass.  A class that accepts other
forms of itself (a noise process by its name) registers them with :func:`accepts`; a class that is
often mistaken for another leaves a hint with :func:`advise`.

Compiled code is only ever reached through arguments that passed here.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.errors import InvalidParameter

__all__ = [
    "MAX_SYMBOLS",
    "FloatArray", "Rule", "SymbolArray", "accepts", "advise", "array", "check_fields", "checked",
    "count", "finite_reals", "flag", "fraction", "frozen", "instance", "integers",
    "interval", "level",
    "levels_of", "listed", "memory", "natural", "no_model", "nonnegative",
    "number", "one_level", "one_of", "positive",
    "precision", "probabilities", "reals", "shown", "snr_of", "sound", "symbols_of", "text",
    "together", "unchecked", "whole",
]  # fmt: skip

FloatArray: TypeAlias = NDArray[np.float64]
SymbolArray: TypeAlias = NDArray[np.int32]
Rule: TypeAlias = Callable[[str, Any], Any]
"""A check: called with the name and the value of an argument, returns the value to work with."""

_P = ParamSpec("_P")
_R = TypeVar("_R")

# what a person sees of a value: long enough for any number, short enough for one line
MAX_SYMBOLS = int(np.iinfo(np.int32).max)
"""Symbols of grammars are int32, so that a negative number can mark a mask."""

_SHOWN = 60


def shown(value: Any) -> str:
    """A value as it stands in a message: on one line, and short."""
    try:
        words = " ".join(repr(value).split())
    except Exception:  # a foreign __repr__ may raise anything
        words = f"<{type(value).__name__}>"
    return words if len(words) <= _SHOWN else words[: _SHOWN - 4] + " ..."


# ------------------------------------------------------------------------------------- scalars


def _bounds(low: float | None, high: float | None, above: float | None, below: float | None) -> str:
    words = [
        f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"
        for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below))
        if bound is not None
    ]
    return " and ".join(words)


def whole(name: str, value: Any, low: int | None = 0, high: int | None = None) -> int:
    """A whole number between ``low`` and ``high``, both included; None lifts a bound.

    Examples
    --------
    >>> whole("size", np.int64(3))
    3
    >>> whole("size", 1.5)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: size = 1.5 must be an integer >= 0
    """
    fits = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))
    if fits and (low is None or value >= low) and (high is None or value <= high):
        return int(value)
    raise InvalidParameter(
        f"{name} = {shown(value)} must be an integer {_bounds(low, high, None, None)}".rstrip()
    )


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """A real number within bounds; NaN never, infinity only where it is said.

    Examples
    --------
    >>> number("sigma", np.float32(0.5), above=0)
    0.5
    >>> number("sigma", -1, above=0)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: sigma = -1 must be a finite number > 0
    """
    scalar = value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else (
        value
    )  # fmt: skip
    if isinstance(scalar, (int, float)) and not isinstance(scalar, bool):
        try:
            x = float(scalar)
        except OverflowError:  # an integer beyond 1.8e308
            x = np.inf
        if (
            not np.isnan(x) and (infinite or np.isfinite(x))
            and (low is None or x >= low) and (high is None or x <= high)
            and (above is None or x > above) and (below is None or x < below)
        ):  # fmt: skip
            return x
    kind = "a number" if infinite else "a finite number"
    rule = f"{kind} {_bounds(low, high, above, below)}".rstrip()
    raise InvalidParameter(f"{name} = {shown(value)} must be {rule}")


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise InvalidParameter(f"{name} = {shown(value)} must be True or False")


def text(name: str, value: Any) -> str:
    """A string."""
    if isinstance(value, str):
        return value
    raise InvalidParameter(f"{name} = {shown(value)} must be a string")


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """One of a few values; the nearest is offered where the value looks like a slip.

    Examples
    --------
    >>> one_of("noise", "maskin", ("masking", "uniform"))
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: noise = 'maskin' must be one of 'masking', 'uniform'; did you
    mean 'masking'?
    """
    known = list(options)
    if isinstance(value, (str, int, float, type(None), bool, np.generic)) and value in known:
        return known[known.index(value)]
    near = difflib.get_close_matches(str(value), [str(x) for x in known], 1)
    hint = f"; did you mean {near[0]!r}?" if near and isinstance(value, str) else ""
    listed = ", ".join(repr(x) for x in known)
    raise InvalidParameter(f"{name} = {shown(value)} must be one of {listed}{hint}")


def unchecked(name: str, value: Any) -> Any:
    """No check: the function looks at this argument itself."""
    return value


def listed(
    name: str,
    value: Any,
    rule: Rule | None = None,
    *,
    least: int = 1,
    distinct: bool = True,
    rising: bool = False,
) -> tuple[Any, ...]:
    """A tuple of ``least`` values or more, each of which follows a rule.

    Parameters
    ----------
    name : str
    value : tuple or list
    rule : Rule, optional
        For every entry.
    least : int
        Least number of entries.
    distinct, rising : bool
        Whether no value may come twice, and whether they must increase.

    Returns
    -------
    tuple

    Raises
    ------
    InvalidParameter
        If anything of this does not hold.

    Examples
    --------
    >>> listed("depths", (2, 3), count)
    (2, 3)
    >>> listed("depths", (2, 2), count)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: depths = (2, 2) names something twice; give each once
    """
    if not isinstance(value, (tuple, list)):
        raise InvalidParameter(f"{name} = {shown(value)} must be a tuple or list")
    found = tuple(x if rule is None else rule(name, x) for x in value)
    if len(found) < least:
        raise InvalidParameter(
            f"{name} = {shown(value)} has {len(found)} values; give at least {least}"
        )
    if distinct and any(x in found[:i] for i, x in enumerate(found)):  # lists have no hash
        raise InvalidParameter(f"{name} = {shown(value)} names something twice; give each once")
    if rising and any(b <= a for a, b in zip(found, found[1:], strict=False)):
        raise InvalidParameter(f"{name} = {shown(value)} must increase; sort it")
    return found


# -------------------------------------------------------------------------------------- arrays


def array(name: str, values: Any) -> NDArray[Any]:
    """An array of real numbers, of any shape: no masks, complex numbers, truth values or words.

    Examples
    --------
    >>> array("x", [1, 2.5])
    array([1. , 2.5])
    >>> array("x", [[1], [2, 3]])
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: x = [[1], [2, 3]] is no array of numbers; give rows of equal
    length
    """
    if isinstance(values, np.ndarray) and type(values) is np.ndarray:
        found = values
    elif isinstance(values, np.ma.MaskedArray):
        raise InvalidParameter(
            f"{name} is a masked array, whose mask would be lost; give filled(...) or compressed()"
        )
    else:
        try:
            found = np.asarray(values)
        except Exception:  # ragged lists, tensors with a gradient or on a device, foreign objects
            ragged = isinstance(values, (list, tuple))
            remedy = "give rows of equal length" if ragged else (
                "give a NumPy array (of a tensor: detach().cpu().numpy())"
            )  # fmt: skip
            raise InvalidParameter(
                f"{name} = {shown(values)} is no array of numbers; {remedy}"
            ) from None
    if found.dtype.kind not in "iuf":
        raise InvalidParameter(
            f"{name} has type {found.dtype}; give real numbers"
            + (", 0.0 and 1.0 for truth values" if found.dtype.kind == "b" else "")
        )
    return found


def _without_nan(name: str, found: NDArray[Any]) -> NDArray[Any]:
    # a sum is four times cheaper than looking at every number, and is finite for clean data
    if found.dtype.kind == "f" and found.size:
        with np.errstate(all="ignore"):
            suspicious = not np.isfinite(found.sum())
        if suspicious and np.isnan(found).any():
            first = tuple(int(i) for i in np.argwhere(np.isnan(found))[0])
            at = f" at {list(first)}" if first else ""
            raise InvalidParameter(f"{name} is NaN{at}; give numbers")
    return found


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        w is None or w == s for w, s in zip(wanted, shape, strict=True)
    )


def _spell(wanted: tuple[int | None, ...]) -> str:
    inner = ", ".join("any" if extent is None else str(extent) for extent in wanted)
    return f"({inner},)" if len(wanted) == 1 else f"({inner})"


def reals(
    name: str,
    values: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
    shape: tuple[int | None, ...] | None = None,
    ndim: int | tuple[int, ...] | None = None,
    least: int = 0,
) -> FloatArray:
    """An array of real numbers within bounds, as float64.

    Parameters
    ----------
    name : str
    values : array-like
    low, high, above, below : float, optional
        Bounds, the last two excluded.
    infinite : bool
        Whether infinities are allowed; NaN never is.
    shape : tuple, optional
        Extents, None for any.
    ndim : int or tuple of int, optional
        Numbers of axes that are allowed.
    least : int
        Least number of entries.

    Returns
    -------
    array of float64

    Raises
    ------
    InvalidParameter
        If anything of this does not hold.

    Examples
    --------
    >>> reals("sigma", [0.1, 2], above=0)
    array([0.1, 2. ])
    >>> reals("sigma", [0.1, -2], above=0)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: sigma holds -2.0 at [1]; give finite numbers > 0
    """
    found = array(name, values)
    if shape is not None and not _fits(found.shape, shape):
        raise InvalidParameter(f"{name} has shape {found.shape}; give {_spell(shape)}")
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if found.ndim not in allowed:
            words = " or ".join(str(n) for n in allowed)
            raise InvalidParameter(f"{name} has shape {found.shape}; give an array of {words} axes")
    if found.size < least:
        raise InvalidParameter(f"{name} has shape {found.shape}; give at least {least} numbers")
    with np.errstate(over="ignore"):  # a long double may not fit
        found = found.astype(np.float64, copy=False)
    bad = np.isnan(found) if infinite else ~np.isfinite(found)
    if low is not None:
        bad |= found < low
    if high is not None:
        bad |= found > high
    if above is not None:
        bad |= found <= above
    if below is not None:
        bad |= found >= below
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        at = f" at {list(first)}" if first else ""
        kind = "numbers" if infinite else "finite numbers"
        rule = f"{kind} {_bounds(low, high, above, below)}".rstrip()
        raise InvalidParameter(f"{name} holds {found[first]}{at}; give {rule}")
    return found


def integers(
    name: str,
    values: Any,
    low: int | None = 0,
    high: int | None = None,
    *,
    shape: tuple[int | None, ...] | None = None,
    ndim: int | tuple[int, ...] | None = None,
) -> NDArray[Any]:
    """An array of whole numbers between ``low`` and ``high``, both included, as int64.

    Examples
    --------
    >>> integers("labels", [0, 2], high=1)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: labels holds 2; give integers in [0, 1]
    """
    found = array(name, values)
    if found.dtype.kind == "f" and not found.size:
        found = found.astype(np.int64)  # an empty list has no type of its own
    if found.dtype.kind not in "iu":
        raise InvalidParameter(f"{name} has type {found.dtype}; give integers")
    if shape is not None and not _fits(found.shape, shape):
        raise InvalidParameter(f"{name} has shape {found.shape}; give {_spell(shape)}")
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if found.ndim not in allowed:
            words = " or ".join(str(n) for n in allowed)
            raise InvalidParameter(f"{name} has shape {found.shape}; give an array of {words} axes")
    if found.size:
        smallest, largest = int(found.min()), int(found.max())
        top = np.iinfo(np.int64).max if high is None else high
        if (low is not None and smallest < low) or largest > top:
            wrong = smallest if low is not None and smallest < low else largest
            span = f" in [{'-inf' if low is None else low}, {'inf' if high is None else high}]"
            raise InvalidParameter(f"{name} holds {wrong}; give integers{span}")
    return found.astype(np.int64, copy=False)


def probabilities(
    name: str, values: Any, shape: tuple[int | None, ...] | None = None, *, axis: int | None = None
) -> FloatArray:
    """Numbers in [0, 1]; along ``axis`` they sum to one.

    Notes
    -----
    Validity: sums may be off by 1e-6, which is what 100 numbers in float32 lose.

    Examples
    --------
    >>> probabilities("p", [[0.5, 0.6]], axis=1)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: p sums to 1.1 at [0]; give probabilities that sum to 1
    """
    # a probability of one is 1 + 2e-16 after some sums; along an axis the sum bounds each of them
    found = reals(name, values, 0, 1 if axis is None else None, shape=shape)
    if axis is not None:
        total = np.atleast_1d(found.sum(axis=axis))
        wrong = np.argwhere(np.abs(total - 1) > 1e-6)
        if wrong.size:
            first = tuple(int(i) for i in wrong[0])
            raise InvalidParameter(
                f"{name} sums to {total[first]:.6g} at {list(first)}; give probabilities that sum "
                "to 1"
            )
    return found


def frozen(values: ArrayLike) -> NDArray[Any]:
    """A copy that nobody can write to, for what an object keeps."""
    kept = np.array(values)
    kept.setflags(write=False)
    return kept


def levels_of(t: ArrayLike, n: int | None = None) -> FloatArray:
    """Noise levels in [0, 1]: of any shape, or one or n of them if ``n`` is given."""
    levels = _numbers("t", t, n)
    outside = ~((levels >= 0) & (levels <= 1))
    if outside.any():
        raise InvalidParameter(
            f"t = {levels[outside].flat[0]} is outside [0, 1]; give a noise level from 0 (clean) "
            "to 1 (pure noise)"
        )
    return levels


def snr_of(snr: ArrayLike, n: int | None = None) -> FloatArray:
    """Signal-to-noise ratios in [0, inf]: of any shape, or one or n of them if ``n`` is given."""
    ratio = _numbers("snr", snr, n)
    bad = ~(ratio >= 0)
    if bad.any():
        raise InvalidParameter(
            f"snr = {ratio[bad].flat[0]} is no signal-to-noise ratio; give a number >= 0 or inf"
        )
    return ratio


def symbols_of(name: str, symbols: ArrayLike, lowest: int, v: int) -> SymbolArray:
    """Symbols [n, leaves] in [lowest, v), as int32."""
    found = array(name, symbols)
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise InvalidParameter(
            f"{name} has shape {found.shape} and type {found.dtype}; give integers [n, leaves]"
        )
    if found.size and (found.min() < lowest or found.max() >= v):
        wrong = int(found.min() if found.min() < lowest else found.max())
        masked = ", -1 where a leaf is masked" if lowest == -1 else ""
        raise InvalidParameter(f"{name} holds {wrong}; give symbols in [{lowest}, {v}){masked}")
    return found.astype(np.int32, copy=False)


def finite_reals(
    name: str, values: ArrayLike, shape: tuple[int | None, ...] | None = None
) -> FloatArray:
    """Finite real array of a shape (None: any extent), or of two axes or more."""
    found = array(name, values)
    if shape is None:
        if found.ndim < 2:
            raise InvalidParameter(f"{name} has shape {found.shape}; give one row per sample")
    elif not _fits(found.shape, shape):
        raise InvalidParameter(f"{name} has shape {found.shape}; give {_spell(shape)}")
    if not np.isfinite(found).all():
        raise InvalidParameter(f"{name} holds NaN or inf; give finite numbers")
    return found.astype(float, copy=False)


def _numbers(name: str, value: ArrayLike, n: int | None) -> FloatArray:
    try:
        found = array(name, value).astype(float, copy=False)
    except InvalidParameter as error:
        if "masked" in str(error):
            raise
        raise InvalidParameter(
            f"{name} = {shown(value)} is no number; give a float or an array of floats"
        ) from None
    if n is not None and found.shape not in ((), (n,)):
        raise InvalidParameter(
            f"{name} has shape {found.shape}; give one number, or one per sample: ({n},)"
        )
    return found


def memory(what: str, size: float) -> None:
    """Refuse what would need more memory than the machine has, before it is asked for.

    Parameters
    ----------
    what : str
        What needs it, with its sizes, e.g. ``"a rule table of v**s = 10**12 tuples"``.
    size : float
        Bytes.

    Raises
    ------
    InvalidParameter
        If the machine has less.

    Examples
    --------
    >>> memory("a table of 1e18 numbers", 8e18)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: a table of 1e18 numbers needs 8e+09 GB of memory, more than
    this machine has; choose smaller sizes
    """
    if size < 1e8:  # any machine has it
        return
    try:
        has = float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        has = 1.6e10
    if size > has:
        raise InvalidParameter(
            f"{what} needs {size / 1e9:.3g} GB of memory, more than this machine has; choose "
            "smaller sizes"
        )


# rules that recur, for the keywords of `checked`

count: Rule = partial(whole, low=1)
natural: Rule = partial(whole, low=0)
fraction: Rule = partial(number, low=0, high=1)


# squares, inverses and ratios of numbers within these bounds are normal numbers
_SMALLEST, _LARGEST = 1e-100, 1e100


def positive(name: str, value: Any) -> Any:
    """A number above zero, or an array of them, in units in which its square is a number.

    Examples
    --------
    >>> positive("tau", 1e300)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: tau = 1e+300 must be from 1e-100 to 1e+100; choose other units
    """
    found = _scalar_or_array(name, value, above=0)
    if np.size(found) and not (np.min(found) >= _SMALLEST and np.max(found) <= _LARGEST):
        raise InvalidParameter(
            f"{name} = {shown(value)} must be from {_SMALLEST:g} to {_LARGEST:g}; choose other "
            "units"
        )
    return found


def nonnegative(name: str, value: Any) -> Any:
    """A finite number, or an array of them, not below zero."""
    return _scalar_or_array(name, value, low=0)


def level(name: str, value: Any) -> Any:
    """A noise level in [0, 1], or an array of them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return value
    found = levels_of(value)
    return found if found.ndim else float(found)


def one_level(name: str, value: Any) -> float:
    """A noise level in [0, 1], a single one."""
    return float(levels_of(number(name, value, infinite=True)))


_PRECISIONS: dict[Any, np.dtype[Any]] = {  # NumPy takes half a microsecond
    value: np.dtype(value) for value in ("float32", "float64", np.float32, np.float64, float)
}


def precision(name: str, value: Any) -> np.dtype[Any]:
    """A floating-point type in which messages are computed: float64 or float32."""
    usual = _PRECISIONS.get(value) if isinstance(value, (str, type)) else None
    if usual is not None:
        return usual
    found: np.dtype[Any] = _dtype(name, value)
    if found in (np.dtype(np.float64), np.dtype(np.float32)):
        return found
    raise InvalidParameter(f"{name} = {found} is not supported; use float64 or float32")


def together(**arrays: Any) -> tuple[int, ...]:
    """The common shape of arrays that are combined number by number.

    Examples
    --------
    >>> together(error=np.ones((2, 3)), snr=np.ones(2))
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: error of shape (2, 3) and snr of shape (2,) do not fit
    together; give one number, or arrays of one shape
    """
    shapes = {name: np.shape(values) for name, values in arrays.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        words = " and ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
        raise InvalidParameter(
            f"{words} do not fit together; give one number, or arrays of one shape"
        ) from None


def interval(name: str, value: Any) -> tuple[float, float]:
    """Two finite numbers, the second above the first."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidParameter(f"{name} = {shown(value)} must be two numbers, low and high")
    low, high = (number(f"{name}[{i}]", x) for i, x in enumerate(value))
    if not low < high:
        raise InvalidParameter(f"{name} = {shown(value)} must be increasing")
    return low, high


def _scalar_or_array(name: str, value: Any, **bounds: Any) -> Any:
    if np.ndim(value) == 0 if isinstance(value, (int, float, np.generic, np.ndarray)) else False:
        return number(name, value, **bounds)
    if isinstance(value, (str, bytes)) or value is None:
        return number(name, value, **bounds)
    return reals(name, value, **bounds)


# ------------------------------------------------------------------------------------ instances

Converter: TypeAlias = Callable[[str, Any, Mapping[str, Any]], Any]
_CONVERTERS: dict[type, Converter] = {}
Remedy: TypeAlias = str | Callable[[Any], str]
_ADVICE: dict[tuple[str, str], Remedy] = {}


def accepts(kind: type, convert: Converter) -> None:
    """Let ``kind`` be given in other forms: ``convert(name, value, all arguments)``.

    It is called for values that are no instance; it returns one, or None if it cannot.
    """
    _CONVERTERS[kind] = convert


def advise(wanted: str, got: str, remedy: Remedy) -> None:
    """What to do when a class of the name ``got`` is given where ``wanted`` is needed.

    The remedy is a text, or a function of the value that was given.
    """
    _ADVICE[wanted, got] = remedy


def instance(
    name: str, value: Any, kind: type | tuple[type, ...], arguments: Mapping[str, Any] | None = None
) -> Any:
    """An instance of a class, or of one of several; with a remedy where one is known."""
    if type(value) is kind:
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if any(_is(value, one) for one in kinds):
        return value
    for one in kinds:
        if one in _CONVERTERS:
            found = _CONVERTERS[one](name, value, arguments or {})
            if found is not None:
                return found
    wanted = " or ".join(k.__name__ for k in kinds)
    remedies = [
        _ADVICE[k.__name__, type(value).__name__]
        for k in kinds
        if (k.__name__, type(value).__name__) in _ADVICE
    ]
    known = [one if isinstance(one, str) else one(value) for one in remedies[:1]]
    remedy = f"; {known[0]}" if known else _lacking(value, kinds)
    raise InvalidParameter(
        f"{name} = {shown(value)} is of type {type(value).__name__}; give a {wanted}{remedy}"
    )


def _lacking(value: Any, kinds: tuple[type, ...]) -> str:
    """What an object lacks for a role of which it has at least half."""
    for kind in kinds:
        wanted = typing_members(kind)
        missing = sorted(k for k in wanted if not hasattr(value, k))
        if missing and 2 * len(missing) <= len(wanted) and not isinstance(value, type):
            return f"; it lacks {', '.join(missing)}"
    return ""


def _is(value: Any, kind: type) -> bool:
    if not getattr(kind, "_is_protocol", False):
        return isinstance(value, kind)
    wanted = typing_members(kind)
    return not isinstance(value, type) and all(hasattr(value, member) for member in wanted)


@functools.cache
def typing_members(protocol: type) -> frozenset[str]:
    """What an object must have to fill a role."""
    members: set[str] = set()
    for base in protocol.__mro__:
        if getattr(base, "_is_protocol", False):
            members |= {k for k in vars(base) if not k.startswith("_")}
            members |= {k for k in getattr(base, "__annotations__", {}) if not k.startswith("_")}
    return frozenset(members)


# ---------------------------------------------------------------------- from annotations to rules

_ARRAY_LIKE = frozenset(typing.get_args(ArrayLike))
_DTYPE_LIKE = frozenset(typing.get_args(DTypeLike))
_SEEDS = frozenset({int, np.random.SeedSequence, np.random.Generator})
_PATH = "give a path as a string or pathlib.Path"

_Bound: TypeAlias = Callable[[str, Any, Mapping[str, Any]], Any]


def _real_array(name: str, value: Any) -> Any:
    """Numbers as they are, everything else as an array; no NaN."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return number(name, value, infinite=True) if value != value else value
    return _without_nan(name, array(name, value))


def _ndarray(name: str, value: Any) -> NDArray[Any]:
    """An array of numbers, a single number too; no NaN."""
    return _without_nan(name, array(name, value))


def _path(name: str, value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)) and "\0" not in os.fspath(value):
        return value
    raise InvalidParameter(f"{name} = {shown(value)} is no path; {_PATH}")


def _simple(rule: Rule) -> _Bound:
    return lambda name, value, arguments: rule(name, value)


def _elements(inner: _Bound, lengths: int | None, make: type) -> _Bound:
    def check(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
        listed = isinstance(value, (list, tuple, range)) or (
            isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
        )
        if not listed or (isinstance(value, np.ndarray) and not value.ndim):
            raise InvalidParameter(f"{name} = {shown(value)} must be a tuple or list")
        if isinstance(value, np.ndarray):
            value = array(name, value)
        if lengths is not None and len(value) != lengths:
            raise InvalidParameter(f"{name} = {shown(value)} must have {lengths} entries")
        found = [inner(f"{name}[{i}]", x, arguments) for i, x in enumerate(value)]
        return tuple(found) if make is tuple else found

    return check


def _rule_for(hint: Any) -> _Bound | None:
    """The check that an annotation stands for; None where there is nothing to check."""
    if hint is Any or hint is inspect.Parameter.empty or isinstance(hint, (TypeVar, str)):
        return None
    simple: dict[Any, Rule] = {
        int: partial(whole, low=None), float: number, bool: flag, str: text,
    }  # fmt: skip
    if hint in simple:
        return _simple(simple[hint])
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _rule_for(parts[0])
    if origin is Literal:
        return _simple(partial(one_of, options=parts))
    if origin in (typing.Union, types.UnionType):
        return _union(frozenset(parts))
    if hint is np.ndarray or origin is np.ndarray:
        return _simple(_ndarray)
    if origin is tuple and parts and parts[-1] is Ellipsis:
        inner = _rule_for(parts[0])
        return _elements(inner, None, tuple) if inner else None
    if origin in (list, Sequence) and parts:
        inner = _rule_for(parts[0])
        return _elements(inner, None, list) if inner else None
    kind = hint if origin is None or origin is type else origin
    if not isinstance(kind, type) or kind in (object, type) or origin is tuple:
        return None
    if kind in (Callable, typing.get_origin(Callable[..., Any])):
        return _simple(_callable)
    if issubclass(kind, Path):  # a string does as well, but has not its methods
        return lambda name, value, arguments: kind(_path(name, value))
    if issubclass(kind, os.PathLike):
        return _simple(_path)
    return lambda name, value, arguments: instance(name, value, kind, arguments)


def _callable(name: str, value: Any) -> Any:
    if callable(value):
        return value
    raise InvalidParameter(f"{name} = {shown(value)} must be a function")


def _union(parts: frozenset[Any]) -> _Bound | None:
    optional = type(None) in parts
    rest = parts - {type(None)}
    if rest >= _ARRAY_LIKE:
        others = rest - _ARRAY_LIKE
        classes = tuple(k for k in others if isinstance(k, type))
        inner: _Bound | None = _array_or(classes)
    elif rest >= _DTYPE_LIKE:
        inner = _simple(_dtype)
    elif rest == _SEEDS:
        inner = None  # hierdiff.seeds.generator looks at it
    elif len(rest) == 1:
        inner = _rule_for(next(iter(rest)))
    elif any(typing.get_origin(k) is np.ndarray for k in rest):
        inner = _array_or(tuple(k for k in rest if isinstance(k, type)))
    elif str in rest and any(typing.get_origin(k) is os.PathLike or k is os.PathLike for k in rest):
        inner = _simple(_path)
    elif all(isinstance(k, type) for k in rest):
        kinds = tuple(k for k in rest if k not in (int, float))
        numeric: dict[Any, Rule] = {int: partial(whole, low=None), float: number}
        rules: list[Rule] = [numeric[k] for k in (int, float) if k in rest]

        def classes_or_numbers(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
            if kinds and any(_is(value, k) for k in kinds):
                return value
            if rules:
                return rules[-1](name, value)
            return instance(name, value, kinds, arguments)

        inner = classes_or_numbers
    else:
        inner = None
    if inner is None or not optional:
        return inner
    found = inner
    return lambda name, value, arguments: None if value is None else found(name, value, arguments)


def _array_or(classes: tuple[type, ...]) -> _Bound:
    def check(name: str, value: Any, arguments: Mapping[str, Any]) -> Any:
        if classes and isinstance(value, classes):
            return value
        return _real_array(name, value)

    return check


def _dtype(name: str, value: Any) -> Any:
    try:
        return np.dtype(value)
    except TypeError:
        raise InvalidParameter(
            f"{name} = {shown(value)} is no NumPy type; give np.float64 or np.float32"
        ) from None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as objects; one that cannot be resolved (imported for types only) is left out."""
    try:
        return typing.get_type_hints(function)
    except Exception:
        scope, found = getattr(function, "__globals__", {}), {}
        for name, hint in getattr(function, "__annotations__", {}).items():
            try:
                found[name] = eval(hint, scope) if isinstance(hint, str) else hint
            except Exception:
                continue
        return found


class _Plan:
    """The checks of one function, worked out at its first call."""

    def __init__(self, function: Callable[..., Any], rules: Mapping[str, Rule]) -> None:
        hints = _hints(function)
        parameters = inspect.signature(function).parameters
        unknown = set(rules) - set(parameters)
        if unknown:
            raise TypeError(f"{function.__qualname__} has no parameters {sorted(unknown)}")
        self.names: list[str] = []
        self.rest: str | None = None
        self.checks: dict[str, _Bound] = {}
        self.defaults: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = name
            elif parameter.kind is not parameter.KEYWORD_ONLY:
                self.names.append(name)
            self.defaults[name] = parameter.default
            given = rules.get(name)
            rule = _simple(given) if given is not None else _rule_for(hints.get(name, Any))
            if rule is not None and given is not unchecked:
                self.checks[name] = rule

    def apply(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        named = dict(zip(self.names, args, strict=False))
        named.update(kwargs)
        extra = args[len(self.names) :]
        for name, value in named.items():
            check = self.checks.get(name)
            if check is not None and value is not self.defaults[name]:
                named[name] = check(name, value, named)
        for name in kwargs:
            if name in named:
                kwargs[name] = named[name]
        fixed = [named[name] for name in self.names[: len(args)]]
        if self.rest is not None and self.rest in self.checks:
            check = self.checks[self.rest]
            return fixed + [check(f"{self.rest}[{i}]", x, named) for i, x in enumerate(extra)]
        return fixed + list(extra)


@overload
def checked(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def checked(**rules: Rule) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def checked(function: Callable[..., Any] | None = None, /, **rules: Rule) -> Any:
    """Check the arguments of a public function before it runs.

    Parameters
    ----------
    function : callable
        With annotations, from which the checks follow.
    **rules : Rule
        Checks for single parameters, in place of those from the annotations.

    Returns
    -------
    callable
        With the same signature; a wrong argument raises :class:`InvalidParameter`.  A call that
        does not fit the signature is Python's own TypeError.

    Notes
    -----
    Validity: about a microsecond per argument, and one sum over each array.  Values reach the
    function in checked form: whole numbers as int, sequences as arrays.

    Examples
    --------
    >>> @checked(sigma=positive)
    ... def precision(sigma: ArrayLike, rank: int = 1) -> float:
    ...     return rank / sigma**2
    >>> precision(0.5, rank=np.int64(2))
    8.0
    >>> precision(0.5, rank=2.5)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: rank = 2.5 must be an integer
    """
    if function is None:
        return functools.partial(_wrap, rules=rules)
    return _wrap(function, rules)


def _wrap(function: Callable[..., Any], rules: Mapping[str, Rule]) -> Callable[..., Any]:
    plan: _Plan | None = None

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal plan
        if plan is None:  # not before the first call: annotations may name what comes later
            plan = _Plan(function, rules)
        return function(*plan.apply(args, kwargs), **kwargs)

    return wrapper


def _numbers_in(values: Iterable[Any], depth: int = 2) -> list[FloatArray]:
    """All numbers of a result or of arguments, one level into what holds them."""
    found: list[FloatArray] = []
    for value in values:
        if isinstance(value, (float, int, np.number)) and not isinstance(value, bool):
            found.append(np.array([number("", value, infinite=True) if value == value else np.nan]))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
            found.append(value.astype(np.float64, copy=False).ravel())
        elif depth and isinstance(value, (tuple, list)):
            found += _numbers_in(value, depth - 1)
        elif depth and isinstance(value, dict):
            found += _numbers_in(value.values(), depth - 1)
        elif depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = (getattr(value, field.name) for field in dataclasses.fields(value))
            found += _numbers_in(fields, depth - 1)
    return found


@overload
def sound(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...


@overload
def sound(*, infinite: bool) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def sound(function: Callable[..., Any] | None = None, /, *, infinite: bool = False) -> Any:
    """Refuse a result that is NaN: numbers that are fine one by one may overflow together.

    Parameters
    ----------
    function : callable
        Its floating-point warnings are silenced, its result looked at.
    infinite : bool
        Whether infinity is a result.

    Returns
    -------
    callable
        With the same signature.

    Examples
    --------
    >>> @sound
    ... def energy(x: ArrayLike, sigma: float) -> Any:
    ...     return np.asarray(x) / np.float64(sigma) ** 2
    >>> energy([1.0], 1e-200)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: energy: numbers from 1e-200 to 1 give a result beyond
    float64; rescale them towards 1
    """
    if function is None:
        return functools.partial(_sound, infinite=infinite)
    return _sound(function, infinite=infinite)


def _sound(function: Callable[..., Any], *, infinite: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            result = function(*args, **kwargs)
        wrong = np.isnan if infinite else (lambda x: ~np.isfinite(x))
        if any(wrong(x).any() for x in _numbers_in((result,))):
            given = [np.abs(x[(x != 0) & np.isfinite(x)]) for x in _numbers_in((args, kwargs))]
            ends = [float(end(x)) for x in given if x.size for end in (np.min, np.max)] or [0.0]
            raise InvalidParameter(
                f"{function.__name__}: numbers from {min(ends):.3g} to {max(ends):.3g} give a "
                "result beyond float64; rescale them towards 1"
            )
        return result

    return wrapper


@functools.cache
def _field_rules(kind: Any) -> dict[str, _Bound]:
    try:
        hints = typing.get_type_hints(kind)
    except Exception:
        hints = {}
    found = {}
    for field in dataclasses.fields(kind):
        rule = _rule_for(hints.get(field.name, Any))
        if rule is not None:
            found[field.name] = rule
    return found


def no_model(experiment: str, model: Any, data: Any, remedy: str) -> None:
    """Refuse a model or data that an experiment cannot use, before any work.

    Parameters
    ----------
    experiment : str
        Its name.
    model, data : object
        The arguments of ``measure``; both None pass.
    remedy : str
        What the question needs, and what takes a single model instead.

    Raises
    ------
    InvalidParameter
        If one of them is given.

    Examples
    --------
    >>> no_model("coverage", None, None, "it tries estimators")
    >>> no_model("coverage", 3, None, "it tries estimators; leave the model out")
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: model of type int has no place in coverage: it tries
    estimators; leave the model out
    """
    for name, value in (("model", model), ("data", data)):
        if value is not None:
            raise InvalidParameter(
                f"{name} of type {type(value).__name__} has no place in {experiment}: {remedy}"
            )


def check_fields(owner: Any, **rules: Rule) -> None:
    """Check the fields of a dataclass from its ``__post_init__``, frozen or not.

    Parameters
    ----------
    owner : dataclass instance
    **rules : Rule
        Checks for single fields, in place of those from the annotations.

    Raises
    ------
    InvalidParameter
        For the first field that breaks its rule.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Sizes:
    ...     v: int = 2
    ...     def __post_init__(self):
    ...         check_fields(self, v=count)
    >>> Sizes(v=0)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: v = 0 must be an integer >= 1
    """
    kind: Any = type(owner)
    known = _field_rules(kind)
    arguments = vars(owner) if hasattr(owner, "__dict__") else {}
    for field in dataclasses.fields(owner):
        if not field.init:  # set by the class itself, after this
            continue
        value = getattr(owner, field.name)
        if field.name in rules:
            found = rules[field.name](field.name, value)
        elif field.name in known and value is not field.default:
            found = known[field.name](field.name, value, arguments)
        else:
            continue
        if found is not value:
            object.__setattr__(owner, field.name, found)
