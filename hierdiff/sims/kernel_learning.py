r"""Labels that kernel ridge regression needs to compose two factors: additive against product.

A label (x, y) is mapped to an image of two stripes, one per coordinate, by kernel ridge regression
with

.. math:: k_{\text{add}} = [x = x'] + [y = y'], \qquad k_{\text{prod}} = [x = x']\,[y = y'] .

An additive kernel composes: a label is right once its x and its y have been seen, in whatever
labels.  A product kernel must have seen the label itself.  The number of labels P at which a target
accuracy is reached grows as N to the power 1 and 2 of the number of values N of a coordinate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    integers,
    listed,
    memory,
    natural,
    number,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    BLUE,
    ORANGE,
    Axes,
    Figure,
    axes_or_new,
    curve,
    finish,
    measured_last,
    panel_figure,
    parts_with,
)
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.metrics.probes import ridge_weights
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.rhm.sample_complexity import KERNELS, Kernel, kernel_cost, local_exponent

__all__ = ["KernelLearning", "composed_accuracy", "kernel_label_cost", "samples_needed"]

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.float64]

# Small beside the count of a single label: the regression interpolates what it has seen.
_RIDGE = 1e-6
# the square of a smaller width leaves float64
_WIDTH = partial(number, low=1e-150, high=1e6)
_TEXT = "labels that reach the target accuracy"
_SLOPE = "slope of ln P against ln N"
_NEEDED = {
    "kernel_samples": ("kernel", "positions"),
    "kernel_samples_error": ("kernel", "positions"),
    "kernel_exponent": ("kernel",),
    "kernel_exponent_error": ("kernel",),
}


@dataclass(frozen=True)
class KernelLearning:
    """Labels that an additive and a product kernel need, against the values of each coordinate.

    Notes
    -----
    Validity: images of two stripes on a square grid.  Errors are over orders of the labels.

    References
    ----------
    arXiv 2408.13256.

    Examples
    --------
    >>> experiment = KernelLearning(positions=(4, 8), orders=2)
    >>> measured = experiment.measure()
    >>> dict(measured.kernel_samples.sizes), str(measured.source.values)
    ({'kernel': 2, 'positions': 2}, 'simulation')
    >>> experiment.predict().kernel_samples.values.round(2).tolist()[1]
    [9.6, 38.4]
    """

    name: ClassVar[str] = "kernel_learning"
    _repr_html_ = experiment_html

    positions: tuple[int, ...] = (8, 12, 16, 24, 32)
    """Values N of each coordinate of a label."""
    orders: int = 32
    """Random orders of the labels per N."""
    target: float = 0.6
    """Accuracy in both coordinates that a kernel must reach."""
    width: float = 0.75
    """Width of the stripes that a kernel predicts, in pixels."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, positions=partial(listed, rule=partial(whole, low=2, high=10**4), least=2),
            orders=partial(whole, low=2, high=10**6), target=partial(number, above=0, below=1),
            width=_WIDTH, seed=natural,
        )  # fmt: skip

    @results.tracked
    @checked
    def predict(self, law: str = "exact") -> xr.Dataset:
        """The cost of a kernel that composes, and of one that does not.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``kernel_samples`` (kernel, positions) and ``kernel_exponent`` (kernel), with errors 0.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: labels drawn with equal weights, see
        :func:`hierdiff.theory.rhm.sample_complexity.kernel_cost`.
        """
        one_of("law", law, ("exact",))
        cost = np.array([[kernel_cost(k, n, self.target) for n in self.positions]
                         for k in KERNELS])  # fmt: skip
        slopes = np.array([local_exponent(np.array(self.positions), line) for line in cost])
        return self._label(cost, np.zeros(cost.shape), slopes, np.zeros(len(slopes)), "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Regress on growing data until the target is reached.

        Parameters
        ----------
        model, data : None
            The learner is a kernel regression, which no diffusion model replaces.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            As :meth:`predict`.

        Raises
        ------
        InvalidParameter
            If a model or data are given.
        """
        if model is not None or data is not None:
            raise InvalidParameter(
                "KernelLearning takes no model and no data: it measures a kernel regression on "
                "labels"
            )
        tasks = []
        for k in KERNELS:
            for n in self.positions:
                arguments = (k, n, self.target, self.orders, self.width, self.seed)
                parameters = {"version": 2, "question": "composition, kernels", "of": arguments}
                tasks.append(Task(_samples, arguments, parameters))
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="kernels")
        samples = np.stack([f["samples"] for f in found])
        samples = samples.reshape(len(KERNELS), len(self.positions), 2)
        return self._label(*kernel_slopes(samples, self.positions), "simulation")

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: None = None
    ) -> dict[str, xr.Dataset]:
        """The law and the measurement."""
        return {
            f"{self.name}_theory": self.predict(),
            self.name: self.measure(model, data, **run.tasks(self.name)),
        }

    def panels(
        self, datasets: Mapping[str, xr.Dataset]
    ) -> list[tuple[str, Callable[[Axes], Axes]]]:
        """Titles and what draws the panels of the figure, from laws and the measurement, last."""
        laws, measured = measured_last(list(datasets.values()), "KernelLearning")
        parts_with((measured,), "kernel_samples", _NEEDED, "KernelLearning")
        return [("two factors", lambda ax: kernel_label_cost(*laws[:1], measured, ax=ax))]

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Labels against values of a coordinate."""
        return panel_figure(self.panels(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Exponents of both kernels beside the law."""
        law, *_, measured = datasets.values()
        values: dict[str, Any] = {}
        lines = []
        for k in map(str, measured.kernel.values):
            one, wanted = measured.sel(kernel=k), law.sel(kernel=k)
            slope, error = float(one.kernel_exponent), float(one.kernel_exponent_error)
            values[f"kernel, {k}"] = {
                "exponent": [slope, error],
                "theory": float(wanted.kernel_exponent),
                "samples": one.kernel_samples.values.tolist(),
                "error": one.kernel_samples_error.values.tolist(),
                "samples, theory": wanted.kernel_samples.values.tolist(),
            }
            law_slope = f"{float(wanted.kernel_exponent):.2f}"
            lines.append([k, plus_minus(slope, error, digits=2), law_slope])
        words = " and ".join(
            f"{x['exponent'][0]:.2f} ± {x['exponent'][1]:.2f} ({k.removeprefix('kernel, ')})"
            for k, x in values.items()
        )
        claim = f"labels for {self.target:.0%} accuracy grow as N to the power {words}"
        header = ["kernel", "slope in N", "theory"]
        return Summary(text_table(header, lines), claim, values)

    def _label(
        self, samples: Array, error: Array, slope: Array, slope_error: Array, source: str
    ) -> xr.Dataset:
        variables = results.with_error(
            "kernel_samples", ("kernel", "positions"), samples, error, _TEXT
        )
        variables |= results.with_error("kernel_exponent", ("kernel",), slope, slope_error, _SLOPE)
        coords: dict[str, tuple[tuple[str, ...], Any, str]] = {
            "kernel": (("kernel",), list(KERNELS), "kernel on labels"),
            "positions": (("positions",), list(self.positions), "values N of each coordinate"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))


def _samples(
    kernel: Kernel, positions: int, target: float, orders: int, width: float, seed: int
) -> dict[str, Array]:
    """One task: labels that a kernel needs, and their error."""
    rng = stream(seed, "orders", positions)  # the same labels for both kernels
    found = samples_needed(kernel, positions, target, orders, rng, width)
    return {"samples": np.array(found)}


def kernel_slopes(found: Array, positions: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Samples with errors [kernel, N, 2] to samples, errors, and slopes with errors."""
    samples, error = found[..., 0], found[..., 1]
    x = np.log(np.array(positions))
    weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()  # of each point in a least-squares slope
    slope = np.log(samples) @ weight
    spread = np.sqrt((error / samples) ** 2 @ weight**2)
    return samples, error, slope, spread


# --- the regression -------------------------------------------------------------------------------


def _features(kernel: Kernel, x: NDArray[Any], y: NDArray[Any], n: int) -> FloatArray:
    if kernel == "additive":
        return np.concatenate([np.eye(n)[x], np.eye(n)[y]], axis=1)
    return np.asarray(np.eye(n * n)[x * n + y])


def _read(profiles: FloatArray, templates: FloatArray) -> NDArray[np.intp]:
    """Template nearest to each profile, constants set aside; -1 where two are equally near."""
    centred = templates - templates.mean(axis=1, keepdims=True)
    match = 2 * profiles @ centred.T - (centred**2).sum(axis=1)
    two = np.sort(match, axis=1)[:, -2:]
    return np.where(two[:, 1] - two[:, 0] > 1e-9, match.argmax(axis=1), -1)


@checked(
    kernel=partial(one_of, options=KERNELS), positions=partial(whole, low=2, high=10**4),
    width=_WIDTH,
)  # fmt: skip
def composed_accuracy(
    kernel: Kernel, positions: int, cells: NDArray[Any], width: float = 0.75
) -> float:
    """Share of all N^2 labels whose image a kernel ridge regression predicts right.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, and pixels per side.
    cells : int array [P]
        Training labels, x * N + y.
    width : float
        Of the stripes, in pixels.

    Returns
    -------
    float
        Right means that the nearest of all N^2 clean images is that of the label.

    Raises
    ------
    InvalidParameter
        If the kernel is unknown, a cell is none, or the width is not positive.

    Notes
    -----
    Validity: images of two stripes are sums of a row and a column profile, and so are their
    distances; only these 2 N numbers are predicted.  An answer as near to two images as to any, as
    the blank one of a product kernel to a label that it has not seen, counts as wrong.

    Examples
    --------
    >>> composed_accuracy("product", 4, np.arange(8, 16))
    0.5
    """
    n = positions
    cells = integers("cells", cells, None, ndim=1)
    memory(f"{n} values of a coordinate", 8.0 * n ** (4 if kernel == "product" else 3))
    if not len(cells) or min(cells) < 0 or max(cells) >= n * n:
        raise InvalidParameter(f"cells must be one or more labels from 0 to N^2 - 1 = {n * n - 1}")
    pixels = np.arange(n)
    stripes = np.exp(-((pixels[:, None] - pixels) ** 2) / (2 * width**2))
    level = stripes.mean(axis=1, keepdims=True)
    x, y = np.divmod(cells, n)
    every = np.divmod(np.arange(n * n), n)
    targets = np.concatenate([stripes[x] + level[y], stripes[y] + level[x]], axis=1)
    known, asked = _features(kernel, x, y, n), _features(kernel, *every, n)
    answer = asked @ ridge_weights(known, targets, _RIDGE)
    found = [_read(part, stripes) for part in (answer[:, :n], answer[:, n:])]
    return float(np.mean((found[0] == every[0]) & (found[1] == every[1])))


@checked(
    kernel=partial(one_of, options=KERNELS), positions=partial(whole, low=2, high=10**4),
    target=partial(number, above=0, below=1), orders=partial(whole, low=2, high=10**6),
    width=_WIDTH,
)  # fmt: skip
def samples_needed(
    kernel: Kernel,
    positions: int,
    target: float,
    orders: int,
    seed: Seed,
    width: float = 0.75,
) -> tuple[float, float]:
    """Training labels at which the mean accuracy over random orders reaches a target.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate.
    target : float
        Accuracy in (0, 1).
    orders : int
        Random orders of all labels, of which the first P are taken; two or more.
    seed : Seed
        Draws them.
    width : float
        Of the stripes, in pixels.

    Returns
    -------
    samples : float
        Interpolated between integers.
    error : float
        Standard error from the scatter over orders, divided by the slope of the accuracy.

    Raises
    ------
    InvalidParameter
        As :func:`composed_accuracy`, or if the target is not in (0, 1) or there is one order.

    Notes
    -----
    Validity: found by bisection, that is for a mean accuracy that grows with the data.

    Examples
    --------
    >>> [round(x, 9) for x in samples_needed("product", 8, 0.6, 3, seed=0)]
    [38.4, 0.0]
    """
    rng, cells = generator(seed), positions**2
    shuffled = [rng.permutation(cells) for _ in range(orders)]

    def at(count: int) -> FloatArray:
        taken = [composed_accuracy(kernel, positions, o[:count], width) for o in shuffled]
        return np.array(taken)

    low, high = 0, cells
    ends = {0: np.zeros(orders), cells: at(cells)}
    while high - low > 1:
        middle = (low + high) // 2
        ends[middle] = at(middle)
        low, high = (low, middle) if ends[middle].mean() >= target else (middle, high)
    below, above = ends[low].mean(), ends[high].mean()
    step = max(1, high // 8)
    wide = [at(max(1, high - step)).mean(), at(min(cells, high + step)).mean()]
    slope = (wide[1] - wide[0]) / (min(cells, high + step) - max(1, high - step))
    error = ends[high].std(ddof=1) / np.sqrt(orders) / slope
    return low + float((target - below) / (above - below)), float(error)


# --- figure ---------------------------------------------------------------------------------------


@checked
def kernel_label_cost(*datasets: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Labels that kernels need, against the number of values of each coordinate.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``KernelLearning.predict`` and ``.measure``.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has kernels.

    Examples
    --------
    >>> len(kernel_label_cost(KernelLearning().predict()).lines)
    2
    """
    parts = parts_with(datasets, "kernel_samples", _NEEDED, "KernelLearning")
    ax = axes_or_new(ax)
    for ds in parts:
        source = str(ds.source.values)
        for kernel, colour in zip(ds.kernel.values, (BLUE, ORANGE), strict=False):
            line = ds.kernel_samples.sel(kernel=kernel)
            slope, error = (
                float(ds[f"kernel_exponent{end}"].sel(kernel=kernel)) for end in ("", "_error")
            )
            text = f"{kernel}: slope {slope:.2f} ± {error:.2f}"
            spread = ds.kernel_samples_error.sel(kernel=kernel)
            curve(ax, ds.positions, line, spread, source, colour, text)
    ax.set(xscale="log", yscale="log", xticks=parts[0].positions.values)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.minorticks_off()
    return finish(ax, xlabel="values $N$ of each coordinate", ylabel="labels for the target")
