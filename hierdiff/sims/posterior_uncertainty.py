r"""How much is uncertain in a noisy datum, where in the tree, and along which directions.

**Entropy.**  The entropy of the posterior over derivations is a sum over levels.  On average it is
minus the logarithm of the posterior probability of the derivation that was noised,

.. math:: E\,[H(\tau \mid x_t)] = -E\,[\log p(\tau_{\text{true}} \mid x_t)], \qquad
   H(\tau \mid x_1) = \log v + \sum_l s^l \log m,

level by level.  What is uncertain is shared: the mutual information of two leaves given the noisy
datum, against the height of their lowest common ancestor.

**Jacobian.**  Under Gaussian noise the derivative of the denoiser is the posterior covariance, up
to a factor.  Its eigenvalues are the mean squared errors of the denoiser along its eigenvectors,

.. math:: \lambda_r = \frac{a}{\sigma^2}\, u_r^T \mathrm{Cov}(x_0 \mid x_t)\, u_r, \qquad
   E\Big[\frac{a}{\sigma^2} \big(u_r \cdot (x_0 - E[x_0 | x_t])\big)^2\Big] = E[\lambda_r],

since the eigenvectors u_r are functions of the noisy datum.  The predictions are the right-hand
sides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, Grammar, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.noise import GaussianNoise, noise_process
from hierdiff.plots import PALETTE, Figure, legend, mark, panels, plt, shade
from hierdiff.seeds import stream
from hierdiff.sims.information import RESOLVED, effective
from hierdiff.sims.metrics.estimators import nested_mean, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.denoiser_derivatives import (
    correlation_length,
    static_correlations,
)
from hierdiff.theory.belief_propagation.tree_inference import TreePosterior, tree_posterior

__all__ = ["JacobianSpectrum", "PosteriorEntropy"]

Array = NDArray[Any]
PAIRS = 4
"""Pairs of leaves per height, spread over the string."""


# ----------------------------------------------------------------------------------------- entropy


def entropies(
    rhm: RHM, process: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Of one grammar: entropy and surprise [datum, t, level], information [datum, t, height]."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = noise_process(process, rhm.v)
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    pairs = leaf_pairs(grammar)
    found: dict[str, list[Array]] = {"entropy": [], "surprise": [], "information": [], "class": []}
    for t in times:
        x_t = noise.corrupt_with(truth.leaves, float(t), randoms)
        asked = tree_posterior(grammar, noise.evidence(x_t, float(t)), threads=1)
        found["entropy"].append(asked.entropy_per_level())
        found["surprise"].append(surprise(asked, truth.levels))
        tables = asked.pair_beliefs([pair for row in pairs for pair in row])
        shared = np.stack([mutual_information(x) for x in tables], axis=1)
        found["information"].append(shared.reshape(data, grammar.L, -1).mean(axis=2))
        row = np.arange(data)
        found["class"].append(asked.marginals[0][row, 0, truth.levels[0][:, 0]])
    return {name: np.stack(x, axis=1) for name, x in found.items()}


def leaf_pairs(grammar: Grammar) -> list[list[tuple[int, int]]]:
    """Pairs of leaves [height - 1][pair], first leaves of children of ancestors over the string."""
    pairs, below = [], 1
    for height in range(1, grammar.L + 1):
        s = grammar.s[grammar.L - height]
        number = grammar.n_leaves // (below * s)
        heads = np.linspace(0, number - 1, PAIRS).round().astype(int) * below * s
        pairs.append([(int(i), int(i) + (s - 1) * below) for i in heads])
        below *= s
    return pairs


def mutual_information(joint: Array) -> Array:
    """Of joint laws [n, v, v], nats."""
    alone = joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None]
    ratio = np.divide(joint, alone, out=np.ones_like(joint), where=joint > 0)
    # zero to rounding where two leaves are independent
    return np.asarray(np.maximum((joint * np.log(ratio)).sum(axis=(1, 2)), 0.0))


def surprise(asked: TreePosterior, levels: Any) -> Array:
    """Minus the log-probability of the true root, and of the true rules of every level, [n, L + 1].

    Rules of unambiguous grammars are read off the symbols that they write.
    """
    g, n = asked.grammar, len(asked)
    row = np.arange(n)
    out = np.empty((n, g.L + 1))
    out[:, 0] = -np.log(asked.marginals[0][row, 0, levels[0][:, 0]])
    for level, beliefs in enumerate(asked.rule_beliefs()):
        symbols = levels[level]
        written = levels[level + 1].reshape(n, -1, 1, g.s[level])
        rule = (g.rules[level][symbols] == written).all(axis=3).argmax(axis=2)
        node = np.arange(symbols.shape[1])
        both = beliefs[row[:, None], node, symbols, rule]
        alone = asked.marginals[level][row[:, None], node, symbols]
        out[:, level + 1] = -np.log(both / alone).sum(axis=1)
    return out


def _of_grammars(
    experiment: Any, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Array]:
    """Numbers of all grammars, [grammar, datum, t, ...], a task per grammar."""
    rhm = RHM(experiment.v, experiment.m, experiment.s, experiment.L)
    tasks = []
    for g in range(experiment.grammars):
        parameters = {
            "version": 1, "question": experiment.name, **asdict(experiment), "grammar": g,
        }  # fmt: skip
        parameters.pop("grammars")
        given = (rhm, *arguments, experiment.times, experiment.data, experiment.seed, g)
        tasks.append(Task(function, given, parameters))
    parts = run_tasks(tasks, name=experiment.name, **options)
    return {name: np.stack([p[name] for p in parts]) for name in parts[0]}


@dataclass(frozen=True)
class PosteriorEntropy:
    """Entropy of the posterior level by level, and the information that leaves share.

    Notes
    -----
    Validity: entropies are exact; errors are over grammars.

    Examples
    --------
    >>> small = PosteriorEntropy(v=4, m=2, L=2, grammars=2, data=4, levels=3)
    >>> ds = small.measure(workers=1)
    >>> (ds.entropy.sel(t=1) / np.log(2)).values.round(6).tolist()
    [2.0, 1.0, 2.0]
    """

    name: ClassVar[str] = "posterior_entropy"
    _repr_html_ = experiment_html

    v: int = 16
    """Symbols per level."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 6
    """Depth."""
    noise: Literal["masking", "uniform", "gaussian"] = "masking"
    """Noise process."""
    grammars: int = 12
    """Random grammars."""
    data: int = 48
    """Data per grammar."""
    levels: int = 21
    """Noise levels between 0 and 1."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        one_of("noise", self.noise, ("masking", "uniform", "gaussian"))
        _check_sizes(self)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.levels)

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["surprise"] = "surprise",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Minus the log-probability of the derivations that were noised."""
        one_of("law", law, ("surprise",))
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "surprise", "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Entropy per level, and mutual information of pairs of leaves."""
        no_model(
            self.name, model, data,
            "the entropy of derivations needs a grammar and exact inference; a denoiser gives the "
            "probabilities of single leaves",
        )  # fmt: skip
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "entropy", "simulation")

    def _found(self, options: dict[str, Any]) -> dict[str, Array]:
        return _of_grammars(self, entropies, (self.noise,), options)

    def _labelled(self, found: dict[str, Array], word: str, source: str) -> xr.Dataset:
        plane = ("part", "t")
        mean = nested_mean(found[word])
        variables: dict[str, Any] = {
            "entropy": (plane, mean.mean.T, "entropy of the root and of the rules per level, nats"),
            "entropy_error": (plane, mean.error.T, "its standard error"),
        }
        if source != "theory":
            shared, belief = nested_mean(found["information"]), nested_mean(found["class"])
            gap = found["entropy"] - found["surprise"]
            flat = gap.reshape(-1, *gap.shape[2:])
            error = standard_error(flat)
            variables |= {
                "information": (("height", "t"), shared.mean.T,
                                "mutual information of two leaves given x_t, nats"),
                "information_error": (("height", "t"), shared.error.T, "its standard error"),
                "belief": (("t",), belief.mean, "belief in the true class"),
                "belief_error": (("t",), belief.error, "its standard error"),
                "z": (plane, (flat.mean(axis=0) / np.where(error > 1e-12, error, 1)).T,
                      "paired z-score of the law"),
            }  # fmt: skip
        coords = {
            "part": (("part",), np.arange(self.L + 1), "root, then rules of level part - 1"),
            "t": (("t",), self.times, f"noise level t of the {self.noise} process"),
        }
        if source != "theory":
            coords["height"] = (("height",), np.arange(1, self.L + 1),
                                "height of the lowest common ancestor")  # fmt: skip
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction and measurement."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        return {self.name: measured, f"{self.name}_theory": self.predict(**options)}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Entropy per level over its prior, and the information that leaves share."""
        return draw_entropy(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Entropy left per level, and where leaves share most."""
        ds = datasets[self.name]
        return Summary(entropy_table(ds), entropy_claim(ds), entropy_values(ds))


def _check_sizes(experiment: Any) -> None:
    check_fields(
        experiment,
        grammars=partial(whole, low=2, high=10**6),
        data=partial(whole, low=2, high=10**8),
        levels=partial(whole, low=2, high=10**5),
        seed=natural,
    )
    affordable(RHM(experiment.v, experiment.m, experiment.s, experiment.L), experiment.data)


def entropy_table(ds: xr.Dataset) -> str:
    """Entropy of every part over that without any evidence, at some noise levels."""
    pick = np.linspace(0, ds.sizes["t"] - 1, 6).round().astype(int)
    rows = []
    for k in ds.part.values:
        one = ds.sel(part=k)
        full = float(one.entropy.values[-1]) or 1.0
        cells = zip(one.entropy.values[pick], one.entropy_error.values[pick], strict=True)
        name = "root" if k == 0 else f"rules, level {k - 1}"
        rows.append([name, *(plus_minus(x / full, e / full) for x, e in cells)])
    header = ["entropy left", *(f"t = {t:.3f}" for t in ds.t.values[pick])]
    return text_table(header, rows)


def entropy_values(ds: xr.Dataset) -> dict[str, Any]:
    """The numbers of the figure."""
    words = ("entropy", "entropy_error", "information", "information_error", "belief", "z")
    return {"t": ds.t.values.tolist(), **{w: ds[w].values.tolist() for w in words}}


def entropy_claim(ds: xr.Dataset) -> str:
    """Where the information that the farthest leaves share is largest, and the law."""
    far = ds.information.isel(height=-1)
    i = int(far.values.argmax())
    half = ds.entropy[0].values / ds.entropy[0].values[-1]
    lost = float(np.interp(0.5, half, ds.t.values))
    z = float(np.abs(ds.z.values).max())
    return (
        f"half of the entropy of the class is there at t = {lost:.2f}; leaves of the two halves of "
        f"the string share {float(far[i]):.4f} ± "
        f"{float(ds.information_error.isel(height=-1)[i]):.4f} nats at most, at t = "
        f"{float(ds.t[i]):.2f}; entropy equals minus the log-probability of the truth at every "
        f"level, largest |z| = {z:.1f}"
    )


def draw_entropy(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Entropy per level with its law; mutual information of leaves."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    last = ds.sizes["part"] - 1
    for k in ds.part.values:
        full = float(ds.entropy[k].values[-1]) or 1.0
        colour = shade(k / last)
        label = "class" if k == 0 else f"rules, level {k - 1}"
        axes[0].errorbar(ds.t, ds.entropy[k] / full, ds.entropy_error[k] / full, color=colour,
                         fmt="o", ms=3, label=label)  # fmt: skip
        axes[0].plot(law.t, law.entropy[k] / full, "-", lw=0.9, color=colour)
    axes[0].set(ylabel="entropy over that at t = 1")
    for i, h in enumerate(ds.height.values):
        colour = shade(i / max(len(ds.height) - 1, 1), "layers")
        axes[1].errorbar(ds.t, ds.information[i], ds.information_error[i], color=colour,
                         marker="o", ms=3, lw=0.9, label=f"height {h}")  # fmt: skip
    axes[1].set(ylabel="mutual information of two leaves, nats", yscale="log",
                ylim=(max(float(ds.information.max()) * 1e-5, 1e-12), None))  # fmt: skip
    half = float(np.interp(-0.5, -ds.belief.values, ds.t.values))
    panels(axes, "entropy; lines: theory", "information between two leaves")
    for ax in axes:
        mark(ax, half, "class half lost")
        ax.set(xlabel=str(ds.t.attrs["long_name"]))
        legend(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# ---------------------------------------------------------------------------------------- Jacobian


def spectra(rhm: RHM, ranks: int, times: Array, data: int, seed: int, g: int) -> dict[str, Array]:
    """Of one grammar: eigenvalues and squared errors [datum, t, rank], correlations by height."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), GaussianNoise(rhm.v)
    truth = grammar.sample(data, stream(seed, "data", g))
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    clean = np.eye(rhm.v)[truth.leaves].reshape(data, -1)
    found: dict[str, list[Array]] = {
        "eigenvalue": [], "square": [], "trace": [], "static": [], "class": [],
    }  # fmt: skip
    for t in times:
        x_t = noise.corrupt_with(truth.leaves, float(t), randoms)
        asked = tree_posterior(grammar, noise.evidence(x_t, float(t)), threads=1)
        matrix = asked.covariance()
        signal = float(noise.alpha_bar(float(t)))
        gain = np.sqrt(signal) / (1 - signal)
        values, vectors = np.linalg.eigh(matrix)
        error = clean - asked.marginals[grammar.L].reshape(data, -1)
        along = np.einsum("nij,ni->nj", vectors, error) ** 2
        found["eigenvalue"].append(gain * np.maximum(values[:, ::-1][:, :ranks], 0.0))
        found["square"].append(gain * along[:, ::-1][:, :ranks])
        found["trace"].append(gain * np.trace(matrix, axis1=1, axis2=2))
        found["static"].append(static_correlations(asked))
        found["class"].append(asked.marginals[0][np.arange(data), 0, truth.levels[0][:, 0]])
    return {name: np.stack(x, axis=1) for name, x in found.items()}


@dataclass(frozen=True)
class JacobianSpectrum:
    """Spectrum of the exact denoiser's Jacobian, and the static correlation length.

    Notes
    -----
    Validity: exact covariances; errors are over grammars.

    Examples
    --------
    >>> small = JacobianSpectrum(v=4, m=2, L=2, grammars=2, data=4, levels=3, ranks=2)
    >>> small.measure(workers=1).eigenvalue.dims
    ('rank', 't')
    """

    name: ClassVar[str] = "jacobian_spectrum"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 2
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 5
    """Depth."""
    ranks: int = 6
    """Largest eigenvalues that are kept."""
    grammars: int = 8
    """Random grammars."""
    data: int = 24
    """Data per grammar."""
    levels: int = 17
    """Noise levels of the cosine schedule."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        _check_sizes(self)
        rhm = RHM(self.v, self.m, self.s, self.L)
        whole("ranks", self.ranks, 1, rhm.n_leaves * self.v)

    @property
    def times(self) -> Array:
        """Noise levels, from where data are all but clean to where they are all but noise."""
        return np.linspace(0.1, 0.98, self.levels)

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["eigenvalues"] = "eigenvalues",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Eigenvalues of the Jacobian, the largest first."""
        one_of("law", law, ("eigenvalues",))
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "eigenvalue", "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Squared errors along the eigenvectors, static correlations and their length."""
        no_model(
            self.name, model, data,
            "it compares exact covariances with errors; the Jacobian of a network is that of its "
            "own framework",
        )  # fmt: skip
        found = self._found({"folder": folder, "workers": workers, "cluster": cluster})
        return self._labelled(found, "square", "simulation")

    def _found(self, options: dict[str, Any]) -> dict[str, Array]:
        return _of_grammars(self, spectra, (self.ranks,), options)

    def _labelled(self, found: dict[str, Array], word: str, source: str) -> xr.Dataset:
        plane = ("rank", "t")
        mean = nested_mean(found[word])
        variables: dict[str, Any] = {
            "eigenvalue": (plane, mean.mean.T, "squared error along eigenvectors, times a/sigma^2"),
            "eigenvalue_error": (plane, mean.error.T, "its standard error"),
        }
        coords = {
            "rank": (("rank",), np.arange(1, self.ranks + 1), "rank of the eigenvalue"),
            "t": (("t",), self.times, "noise level t of the gaussian process"),
        }
        if source != "theory":
            gap = (found["square"] - found["eigenvalue"]).reshape(-1, len(self.times), self.ranks)
            error = standard_error(gap)
            normal = (effective(gap) >= RESOLVED) & (error > 0)
            grammar = RHM(self.v, self.m, self.s, self.L).draw(0)
            static = found["static"].mean(axis=1)  # [grammar, t, height]
            length = correlation_length(grammar, static)
            trace, belief = nested_mean(found["trace"]), nested_mean(found["class"])
            variables |= {
                "z": (plane, np.where(normal, gap.mean(axis=0) / np.where(normal, error, 1), 0).T,
                      "paired z-score of the law, or 0: few data carry it"),
                "trace": (("t",), trace.mean, "trace of the Jacobian"),
                "trace_error": (("t",), trace.error, "its standard error"),
                "static": (("height", "t"), static.mean(axis=0).T,
                           "squared covariance of two leaves"),
                "static_error": (("height", "t"), standard_error(static).T, "its standard error"),
                "length": (("t",), length.mean(axis=0), "static correlation length, in leaves"),
                "length_error": (("t",), standard_error(length), "its standard error"),
                "belief": (("t",), belief.mean, "belief in the true class"),
                "belief_error": (("t",), belief.error, "its standard error"),
            }  # fmt: skip
            coords["height"] = (("height",), np.arange(self.L + 1),
                                "height of the lowest common ancestor")  # fmt: skip
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction and measurement."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        return {self.name: measured, f"{self.name}_theory": self.predict(**options)}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Largest eigenvalues, correlations of leaves, and their length."""
        return draw_spectrum(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Eigenvalues and correlation length against noise."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        return Summary(spectrum_table(ds, law), spectrum_claim(ds), spectrum_values(ds, law))


def spectrum_table(ds: xr.Dataset, law: xr.Dataset) -> str:
    """A row per noise level."""
    rows = []
    for i, t in enumerate(ds.t.values):
        one, top = ds.isel(t=i), law.isel(t=i, rank=0)
        pairs = (
            (top.eigenvalue, top.eigenvalue_error),
            (one.eigenvalue[0], one.eigenvalue_error[0]),
            (one.trace, one.trace_error),
            (one.length, one.length_error),
        )
        rows.append([f"{t:.2f}", f"{float(one.belief):.3f}",
                     *(plus_minus(x, e) for x, e in pairs)])  # fmt: skip
    header = ["t", "class", "largest eigenvalue", "error along it", "trace", "correlation length"]
    return text_table(header, rows)


def spectrum_values(ds: xr.Dataset, law: xr.Dataset) -> dict[str, Any]:
    """The numbers of the figure."""
    words = ("length", "length_error", "trace", "trace_error", "belief", "z")
    return {"t": ds.t.values.tolist(), "eigenvalue": law.eigenvalue.values.tolist(),
            **{w: ds[w].values.tolist() for w in words}}  # fmt: skip


def spectrum_claim(ds: xr.Dataset) -> str:
    """Where the correlation length is largest, and the law."""
    i = int(ds.length.values.argmax())
    z = ds.z.values[ds.z.values != 0]
    spread = float(np.sqrt((z**2).mean())) if z.size else 0.0
    return (
        f"the static correlation length is largest at t = {float(ds.t[i]):.2f}, "
        f"{float(ds.length[i]):.2f} ± {float(ds.length_error[i]):.2f} leaves, where the belief in "
        f"the class is {float(ds.belief[i]):.2f}; eigenvalues are squared errors along "
        f"eigenvectors, root mean square z = {spread:.2f}, largest |z| = "
        f"{float(np.abs(z).max(initial=0)):.1f}"
    )


def draw_spectrum(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Eigenvalues with errors along eigenvectors; correlations; their length."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained")
    for r in range(ds.sizes["rank"]):
        colour = shade(r / max(ds.sizes["rank"] - 1, 1))
        axes[0].plot(law.t, law.eigenvalue[r], "-", lw=1, color=colour)
        axes[0].errorbar(ds.t, ds.eigenvalue[r], ds.eigenvalue_error[r], fmt="o", ms=3,
                         color=colour, label=f"rank {r + 1}")  # fmt: skip
    axes[0].set(ylabel="eigenvalue of the Jacobian (line)\nsquared error along it (points)")
    for i, h in enumerate(ds.height.values):
        colour = shade(i / max(len(ds.height) - 1, 1), "layers")
        axes[1].errorbar(ds.t, ds.static[i], ds.static_error[i], color=colour, marker="o", ms=3,
                         lw=0.9, label=f"height {h}")  # fmt: skip
    axes[1].set(ylabel=r"$G(h)$, squared covariance of two leaves", yscale="log",
                ylim=(float(ds.static.max()) * 1e-6, None))  # fmt: skip
    axes[2].errorbar(ds.t, ds.length, ds.length_error, marker="o", ms=3.5, lw=0.9, color=PALETTE[3])
    axes[2].set(ylabel="static correlation length, leaves")
    half = float(np.interp(-0.5, -ds.belief.values, ds.t.values))
    panels(axes, "spectrum of the Jacobian", "static correlations", "their length")
    for ax in axes:
        mark(ax, half, "class half lost")
        ax.set(xlabel="noise level t (Gaussian)")
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[:2]:
        legend(ax)
    return figure
