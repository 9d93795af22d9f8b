r"""Which leaves change together when data are noised and denoised?

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
sigma_i        +1 if leaf i of the new datum is that of the old one, -1 if it has changed
S_n            sum of sigma over the leaves below node n
V_d            sum over the nodes n at height d of the variance of S_n over trajectories
C(d)           covariance of two leaves whose lowest common ancestor has height d
=============  ==============================================================================

.. math::
   C(d) = \frac{V_d - V_{d-1}}{s^L (s - 1) s^{d-1}}, \qquad C(0) = V_0 / s^L, \qquad
   \chi = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}} = \frac{V_L}{V_0},

since two leaves below a node are either below one of its children or joined at the node itself.
The cost is linear in the number of leaves.

Averages: *inside* the covariance over trajectories (corruption and posterior draw) of one datum,
*outside* over data and then over grammars.  A datum's V_d are unbiased; C and chi are formed from
their means over all data, and their errors from the scatter of grammars.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import RHM
from hierdiff.model import DiffusionModel
from hierdiff.noise import EpsilonNoise, NoiseProcess, noise_process
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.experiment import Task, run_tasks
from hierdiff.theory.correlations import leaf_correlation, susceptibility
from hierdiff.theory.exact_model import ExactRHM

__all__ = ["Correlations", "Peak", "block_variances", "fluctuations", "peak", "ratio"]

Array = NDArray[Any]

_TEXT = {
    "covariance": "covariance of two leaves' fates",
    "correlation": "covariance relative to the variance",
    "susceptibility": "leaves that change together",
    "unchanged": "probability that a leaf is unchanged",
}


def block_variances(sigma: ArrayLike, s: int) -> Array:
    r"""Variance over trajectories of the sums of all subtrees, added up per height.

    .. math:: V_d = \sum_{n \text{ at height } d} \mathrm{Var}\, S_n

    Parameters
    ----------
    sigma : array [trajectories, s**L]
        Any quantity per leaf, in the order of the leaves.
    s : int
        Branching.

    Returns
    -------
    array [L + 1]
        Unbiased; V_0 first.

    Raises
    ------
    InvalidParameter
        If there are fewer than two trajectories or the leaves are no power of s.

    Notes
    -----
    Validity: exact; O(trajectories * leaves).

    Examples
    --------
    >>> block_variances([[1, 1, -1, 1], [1, -1, -1, -1]], 2).tolist()
    [4.0, 4.0, 8.0]
    """
    sums = np.asarray(sigma, dtype=float)
    trajectories, leaves = sums.shape
    if trajectories < 2:
        raise InvalidParameter(f"{trajectories} trajectory gives no covariance; use at least two")
    if s < 2 or leaves != s ** round(np.log(leaves) / np.log(s)):
        raise InvalidParameter(f"{leaves} leaves are no power of s = {s}; give whole trees, s >= 2")
    # centred first: variances of large sums then lose no digits
    sums = sums - sums.mean(axis=0)
    found = [(sums**2).sum()]
    while sums.shape[1] > 1:
        sums = sums.reshape(trajectories, -1, s).sum(axis=2)
        found.append((sums**2).sum())
    return np.array(found) / (trajectories - 1)


class Ratio(NamedTuple):
    """Ratio of means with its standard error."""

    value: Array
    error: Array


def ratio(top: Array, bottom: Array) -> Ratio:
    r"""Ratio of the means over the leading axis, with the error of a linearised ratio.

    .. math:: \sigma^2 = \frac{1}{G (G - 1)} \sum_g
       \left(\frac{a_g - r b_g}{\bar b}\right)^2, \quad r = \bar a / \bar b

    Parameters
    ----------
    top, bottom : arrays [units, ...]
        Independent units in front, broadcast against each other behind.

    Returns
    -------
    Ratio
        NaN where the mean of ``bottom`` is 0.

    Raises
    ------
    InvalidParameter
        If there are fewer than two units.

    Notes
    -----
    Validity: units independent; bias and error to leading order in 1 / units.

    Examples
    --------
    >>> r = ratio(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> float(r.value), float(r.error)
    (2.0, 1.0)
    """
    units = len(top)
    if units < 2:
        raise InvalidParameter(f"{units} unit gives no error bar; ask for at least two")
    with np.errstate(invalid="ignore", divide="ignore"):
        value = top.mean(axis=0) / bottom.mean(axis=0)
        rest = (top - value * bottom) / bottom.mean(axis=0)
    return Ratio(value, np.sqrt((rest**2).sum(axis=0) / (units * (units - 1))))


@dataclass(frozen=True)
class Peak:
    """Place and height of a maximum, each with its standard error."""

    place: float
    place_error: float
    height: float
    height_error: float


def peak(
    t: Array, top: Array, bottom: Array, resamples: int = 400, seed: Seed = 0, points: int = 5
) -> Peak:
    """Maximum of a ratio of means [units, t] by a parabola, with a bootstrap over the units.

    Parameters
    ----------
    t : array [T]
        Increasing.
    top, bottom : arrays [units, T]
        The curve is ``top.mean(0) / bottom.mean(0)``.
    resamples : int
        Bootstrap replicas.
    seed : Seed
        Source of randomness.
    points : int
        Noise levels around the largest value that the parabola is fitted to.

    Returns
    -------
    Peak

    Raises
    ------
    InvalidParameter
        If the largest value stands at an end of ``t``, or there are fewer than 3 noise levels.

    Notes
    -----
    Validity: the errors are those of the average over units; they do not contain the departure of
    the curve from a parabola over the fitted points.

    Examples
    --------
    >>> t = np.linspace(0, 1, 11)
    >>> top = (2 - (t - 0.42) ** 2) * np.ones((3, 1))
    >>> peak(t, top, np.ones((3, 11))).place.__round__(9)
    0.42
    """
    curve = top.mean(axis=0) / bottom.mean(axis=0)
    largest = int(np.argmax(curve))
    if len(t) < 3 or not 0 < largest < len(t) - 1:
        raise InvalidParameter(
            f"the largest value stands at the end t = {t[largest]:g} of the range; widen it"
        )
    first = min(max(largest - points // 2, 0), max(len(t) - points, 0))
    near = slice(first, first + points)
    place, height = _vertex(t[near], curve[near])
    random = generator(seed)
    found = []
    for _ in range(resamples):
        rows = random.integers(len(top), size=len(top))
        replica = top[rows][:, near].mean(axis=0) / bottom[rows][:, near].mean(axis=0)
        found.append(_vertex(t[near], replica))
    spread = np.std(found, axis=0, ddof=1)
    return Peak(place, float(spread[0]), height, float(spread[1]))


def _vertex(t: Array, curve: Array) -> tuple[float, float]:
    """Vertex of the parabola of least squares, or the end nearest to it."""
    middle = float(t.mean())
    a, b, c = np.polyfit(t - middle, curve, 2)
    x = -b / (2 * a) if a < 0 else (t[int(np.argmax(curve))] - middle)
    x = float(np.clip(x, t[0] - middle, t[-1] - middle))
    return x + middle, float(np.polyval([a, b, c], x))


@dataclass(frozen=True)
class Correlations:
    """Covariance of the leaves' fates against tree distance, and the susceptibility.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: posterior sampling is exact; errors are statistical only, from the scatter of the
    grammars (of the data, if a single model is measured).

    References
    ----------
    arXiv 2410.13770.

    Examples
    --------
    >>> experiment = Correlations(
    ...     v=8, m=2, L=3, noise="masking", grammars=3, data=2, trajectories=8, levels=4)
    >>> ds = experiment.measure()
    >>> dict(ds.covariance.sizes), bool((ds.susceptibility[1:] > 0).all())
    ({'distance': 4, 't': 4}, True)
    """

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules (synonyms) per symbol."""
    s: int = 2
    """Branching of the tree, at least 2."""
    L: int = 9
    """Levels of rules; a datum has s**L leaves."""
    noise: Literal["epsilon", "masking", "uniform", "gaussian"] = "epsilon"
    """Forward process; only "epsilon" is predicted by the two-state chain."""
    grammars: int = 12
    """Random grammars: the unit that errors are counted in."""
    data: int = 6
    """Data per grammar."""
    trajectories: int = 32
    """Noised and denoised copies of each datum; the covariance is taken over them."""
    low: float = 0.0
    """Lowest noise level."""
    high: float = 1.0
    """Highest noise level."""
    levels: int = 21
    """Noise levels from low to high, evenly spaced."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        least = {"s": 2, "grammars": 1, "data": 1, "trajectories": 2, "levels": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {bound}")
        if not 0 <= self.low <= self.high <= 1:
            raise InvalidParameter(
                f"low = {self.low} and high = {self.high} must satisfy 0 <= low <= high <= 1"
            )
        if self.seed < 0:
            raise InvalidParameter(f"seed = {self.seed} must not be negative")
        noise_process(self.noise, self.rhm.v)

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @property
    def times(self) -> Array:
        """Noise levels that are measured."""
        return np.linspace(self.low, self.high, self.levels)

    def predict(self, law: str = "chain", t: Array | None = None) -> xr.Dataset:
        """What the two-state chain says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"chain"}
            The annealed two-state chain; for the epsilon-process only.
        t : array, optional
            Noise levels; default a fine grid from low to high.

        Returns
        -------
        xarray.Dataset
            ``covariance`` and ``correlation`` on (distance, t), ``susceptibility`` on (t,).

        Raises
        ------
        InvalidParameter
            If the law is unknown, or is not a law of this noise process.

        Notes
        -----
        Validity: that of :func:`hierdiff.theory.leaf_correlation`.
        """
        if law != "chain":
            raise InvalidParameter(f"law = {law!r} is not known; use 'chain'")
        if self.noise != "epsilon":
            raise InvalidParameter(
                f"the chain is no prediction for {self.noise} noise, whose messages fluctuate; "
                "measure it, or predict noise='epsilon'"
            )
        times = np.linspace(self.low, self.high, 401) if t is None else np.asarray(t, float)
        covariance = leaf_correlation(self.rhm, times).T
        with np.errstate(invalid="ignore"):
            values = {"covariance": covariance, "correlation": covariance / covariance[0]}
        variables: dict[str, Any] = {
            name: (("distance", "t"), value, _TEXT[name]) for name, value in values.items()
        }
        chi = susceptibility(self.rhm, times)
        variables["susceptibility"] = (("t",), chi, _TEXT["susceptibility"])
        for name in list(variables):
            dims, value, _ = variables[name]
            variables[f"{name}_error"] = (dims, np.zeros_like(value), "no error")
        return self._label(variables, times, "theory")

    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Array | None = None,
        *,
        folder: Any = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Noise and denoise every datum many times, and see which leaves change together.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model of leaves with this noise process (with ``data``); default: exact inference
            on ``grammars`` random grammars.
        data : int array [n, s**L], optional
            Leaves to start from; the unit that errors are counted in is then a datum.
        folder, workers, cluster
            As in :func:`hierdiff.sims.experiment.run_tasks`; ``folder`` only without a model.

        Returns
        -------
        xarray.Dataset
            For x in covariance, correlation (distance, t), susceptibility and unchanged (t,): ``x``
            and ``x_error``; ``block_variance`` (unit, distance, t), from which all of them follow.

        Raises
        ------
        InvalidParameter
            If only one of model and data is given, the noise is another, the folder is given with
            a model, or there is a single unit.

        Notes
        -----
        Validity: statistical errors only.  A datum has its own random streams, used at all noise
        levels, so neighbouring levels are correlated and results independent of workers.
        """
        options: dict[str, Any] = {"workers": workers, "cluster": cluster}
        if (model is None) != (data is None):
            raise InvalidParameter("give model and data together, or neither")
        if model is not None and data is not None:
            if model.noise.name != self.noise or folder is not None:
                raise InvalidParameter(
                    f"a model with {model.noise.name} noise is measured as {self.noise}, folder = "
                    f"{folder}; use the same noise, and no folder, which knows grammars by number"
                )
            leaves = np.asarray(data)
            tasks = [
                self._task(model, leaves[i : i + 1], 0, range(i, i + 1)) for i in range(len(leaves))
            ]
        else:
            tasks = [self._task(None, None, g, range(self.data)) for g in range(self.grammars)]
        name = f"{self.noise}, L = {self.L}"
        blocks = run_tasks(tasks, folder=folder, name=name, **options)
        variances = np.stack([b["variances"].mean(axis=0) for b in blocks])
        unchanged = np.stack([b["unchanged"].mean(axis=0) for b in blocks])
        source = "network" if model is not None and model.source == "network" else "simulation"
        return self._summarise(variances, unchanged, source)

    def _task(
        self, model: DiffusionModel | None, data: Array | None, g: int, rows: range
    ) -> Task:  # fmt: skip
        parameters = {
            "version": 1, "question": "correlations", "v": self.v, "m": self.m, "s": self.s,
            "L": self.L, "noise": self.noise, "seed": self.seed, "grammar": g,
            "data": self.data, "trajectories": self.trajectories,
            "t": [float(x) for x in self.times],
        }  # fmt: skip
        return Task(_measure_grammar, (self, model, data, g, rows), parameters)

    def _summarise(self, variances: Array, unchanged: Array, source: str) -> xr.Dataset:
        """From V [unit, t, height] to means with errors."""
        V = np.moveaxis(variances, 1, 2)
        pairs = np.diff(V, axis=1, prepend=0.0)
        count = self.rhm.n_leaves * np.maximum(
            (self.s - 1) * float(self.s) ** (np.arange(self.L + 1) - 1),
            1.0 * (np.arange(self.L + 1) == 0),
        )
        covariance = pairs / count[:, None]
        found = {
            "covariance": (("distance", "t"), ratio(covariance, np.ones_like(covariance))),
            "correlation": (("distance", "t"), ratio(covariance, covariance[:, :1])),
            "susceptibility": (("t",), ratio(V[:, -1], V[:, 0])),
            "unchanged": (("t",), ratio(unchanged, np.ones_like(unchanged))),
        }
        variables: dict[str, Any] = {}
        for name, (dims, r) in found.items():
            variables[name] = (dims, r.value, _TEXT[name])
            variables[f"{name}_error"] = (dims, r.error, f"standard error of: {_TEXT[name]}")
        variables["block_variance"] = (
            ("unit", "distance", "t"), V, "variance of the sums of subtrees, added per height",
        )  # fmt: skip
        return self._label(variables, self.times, source)

    def _label(self, variables: dict[str, Any], times: Array, source: str) -> xr.Dataset:
        axes = {
            "distance": (("distance",), np.arange(self.L + 1), "height of the common ancestor"),
            "t": (("t",), times, f"noise level t of the {self.noise} process"),
        }
        return results.label(variables, axes, source, results.provenance(asdict(self)))


def _measure_grammar(
    experiment: Correlations, model: DiffusionModel | None, data: Array | None, g: int, rows: range
) -> dict[str, Array]:
    """One task: a drawn grammar with its data, or one datum of a given model."""
    seed = experiment.seed
    if model is None:
        grammar = experiment.rhm.draw(stream(seed, "grammar", g))
        model = ExactRHM(grammar, experiment.process, threads=1)
        drawn = [grammar.sample(1, stream(seed, "datum", g, i)).leaves for i in rows]
        data = np.concatenate(drawn)
    assert data is not None
    variances, unchanged = [], []
    for i, x0 in zip(rows, data, strict=True):
        V, same = fluctuations(
            model, x0, experiment.times, experiment.s, experiment.trajectories, seed, (g, i)
        )
        variances.append(V)
        unchanged.append(same)
    return {"variances": np.stack(variances), "unchanged": np.stack(unchanged)}


def fluctuations(
    model: DiffusionModel, x0: Array, times: Array, s: int, trajectories: int, seed: int,
    key: tuple[int, ...] = (),
) -> tuple[Array, Array]:  # fmt: skip
    """Trajectories of one datum: V_d [t, L + 1], and the share of unchanged leaves [t].

    Parameters
    ----------
    model : DiffusionModel
        Of symbols.
    x0 : int array [leaves]
        The datum.
    times : array [T]
        Noise levels.
    s : int
        Branching of the tree.
    trajectories : int
        Noised and denoised copies.
    seed, key : int, tuple of int
        They name the random streams of the datum.

    Returns
    -------
    variances, unchanged : arrays [T, L + 1], [T]

    Raises
    ------
    InvalidParameter
        As :func:`block_variances`.

    Notes
    -----
    Validity: that of the model's samples.
    """
    copies = np.repeat(x0[None], trajectories, axis=0)
    randoms = model.noise.draw(copies.shape, stream(seed, "noise", *key))
    variances, unchanged = [], []
    for t in times:
        backward = stream(seed, "backward", *key)
        if isinstance(model, ExactRHM) and isinstance(model.noise, EpsilonNoise):
            # the evidence is the same for all copies, so one upward pass serves them all
            known = model.posterior(x0[None], t, levels=())
            new = known.sample(backward, trajectories).leaves
        else:
            new = model.sample(model.noise.corrupt_with(copies, t, randoms), t, backward)
        same = np.asarray(new) == copies
        variances.append(block_variances(2.0 * same - 1, s))
        unchanged.append(same.mean())
    return np.stack(variances), np.array(unchanged)
