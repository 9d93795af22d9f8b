"""Data, noise, labels and classes as the denoisers of classes take them, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import advise, array, reals
from hierdiff.errors import HierdiffError, InvalidParameter

__all__: list[str] = []  # used inside hierdiff only

Floats: TypeAlias = NDArray[np.float64]

advise("GaussianRHM", "Grammar", "make one: GaussianRHM(grammar)")
advise("GaussianRHM", "RHM", "make one: GaussianRHM(rhm.draw(seed))")
advise("ClassModel", "Grammar", "make one: GaussianRHM(grammar)")
advise("ClassModel", "RHM", "make one: GaussianRHM(rhm.draw(seed))")
advise("ClassModel", "LowRankMixture", "make one: GaussianClasses.of(mixture)")
advise("GaussianClasses", "LowRankMixture", "make one: GaussianClasses.of(mixture)")


def checked_data(x0: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Clean or noisy data [n, *shape], finite, at least one."""
    x = array("data", x0)
    if x.ndim != 1 + len(shape) or x.shape[1:] != shape or not len(x):
        wanted = ", ".join(("n", *map(str, shape)))
        raise InvalidParameter(f"data have shape {x.shape}; the data model needs ({wanted})")
    return reals("data", x)


def checked_noise(noise: ArrayLike, x: NDArray[Any]) -> NDArray[Any]:
    """The standard normal numbers of the channel, one for each number of the data.

    Single precision stays as it is: a channel in float32 is half of the memory.
    """
    eps = array("noise", noise)
    if eps.shape != x.shape:
        raise InvalidParameter(f"noise has shape {eps.shape}; give one number per datum: {x.shape}")
    reals("noise", eps)
    return eps


def checked_ratios(snr: ArrayLike, n: int) -> Floats:
    """Signal-to-noise ratios [n] from one, or one per datum."""
    ratio = array("snr", snr).astype(np.float64, copy=False)
    if ratio.shape not in ((), (1,), (n,)):
        raise InvalidParameter(
            f"snr has shape {ratio.shape}; give one number, or one per datum: ({n},)"
        )
    wrong = ~(np.isfinite(ratio) & (ratio >= 0))
    if wrong.any():
        raise InvalidParameter(
            f"snr = {ratio[wrong].flat[0]} must be finite and >= 0: sample t inside (0, 1)"
        )
    return np.broadcast_to(ratio, (n,))


def checked_labels(
    labels: ArrayLike, n: int, classes: int, *, every: bool = False
) -> NDArray[np.intp]:
    """Labels [n] in range; with ``every``, all classes present."""
    y = array("labels", labels)
    if y.shape != (n,) or (y.dtype.kind not in "iu" and n):
        raise InvalidParameter(
            f"labels of shape {y.shape} and type {y.dtype} must be {n} integers, one per datum"
        )
    if n and (y.min() < 0 or y.max() >= classes):
        wrong = int(y.min() if y.min() < 0 else y.max())
        raise InvalidParameter(f"label {wrong} is no class; labels run from 0 to {classes - 1}")
    missing = np.setdiff1d(np.arange(classes), y)
    if every and missing.size:
        raise InvalidParameter(
            f"class {missing[0]} has no data; give at least one datum of each of the {classes}"
            " classes"
        )
    return y.astype(np.intp)


def checked_label(label: ArrayLike, n: int, classes: int) -> NDArray[np.intp]:
    """One class for all data, or labels [n]."""
    y = array("label", label)
    return checked_labels(np.full(n, y[()]) if y.ndim == 0 else y, n, classes)


def checked_classes(classes: Sequence[int] | None, count: int) -> list[int]:
    """The classes that are wanted; None stands for all."""
    if classes is None:
        return list(range(count))
    wanted = list(classes)
    wrong = [c for c in wanted if not 0 <= c < count]
    if wrong or not wanted:
        what = f"{wrong[0]} is no class" if wrong else "none is given"
        raise InvalidParameter(
            f"classes = {' '.join(repr(wanted).split())[:60]}: {what}; give numbers from 0 to "
            f"{count - 1}, or None for all"
        )
    return wanted


def log_probabilities(name: str, values: ArrayLike) -> Floats:
    """Logarithms of densities [n, K]: minus infinity is one, plus infinity none."""
    found = reals(name, values, infinite=True, ndim=2)
    if found.shape[1] < 1:
        raise InvalidParameter(f"{name} has shape {found.shape}; give at least one class")
    wrong = (found == np.inf) | np.isneginf(found).all(axis=1, keepdims=True)
    if wrong.any():
        row = int(np.argwhere(wrong.any(axis=1))[0][0])
        raise InvalidParameter(
            f"{name}[{row}] = {' '.join(str(found[row]).split())[:60]} is no law; give numbers "
            "below inf, one of them above -inf"
        )
    return found


def emission_width(name: str, value: float) -> float:
    """Refuse a standard deviation whose square, or whose inverse, is beyond float64."""
    if not 1e-100 <= value <= 1e100:
        raise InvalidParameter(
            f"{name} = {value} must be finite and > 0, from 1e-100 to 1e100; hard leaves give "
            "wrong classes no density, and one sample at low noise decides"
        )
    return value


def weights_at(weight: Callable[[Floats], Floats], t: Floats) -> Floats:
    """Weights at times, of their shape and finite, whoever wrote the function."""
    try:
        found = weight(t)
    except HierdiffError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:80]
        raise InvalidParameter(
            f"weight fails on times of shape {t.shape} ({type(error).__name__}: {words}); give a "
            "function that maps an array of times to an array of weights"
        ) from error
    return reals("weight(t)", found, shape=t.shape)
