r"""Exact models in the same role as networks, as DiffusionModels.

``ExactRHM`` and ``ExactGaussianRHM`` compute by belief propagation
(:mod:`hierdiff.theory.belief_propagation`), and ``ExactMixture`` for a low-rank Gaussian mixture by

.. math::
    x_t = \sqrt{\bar\alpha}\,(x_0 + \sigma\varepsilon), \quad \sigma^2 = 1/\mathrm{snr}, \qquad
    p(x_0 \mid x_t) = \sum_k w_k(x_t)\; N\big(D_k(x_t),\; \sigma^2 S_k (S_k+\sigma^2)^{-1}\big)

with the class posterior :math:`w_k` and the class denoisers :math:`D_k` of
:mod:`hierdiff.theory.mixture.posterior`; both ends of the process, SNR 0 and infinity, are limits.
``ExactImages`` infers the symbols behind noisy images (:mod:`hierdiff.data.rhm_images`), and
``ExactPCFG`` sums over all trees of a string (:mod:`hierdiff.theory.pcfg.inside_outside`).
``ExactIsing`` sums over all chains of spins (:mod:`hierdiff.theory.ising.transfer_matrices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    array,
    check_fields,
    checked,
    count,
    finite_reals,
    levels_of,
    sound,
    symbols_of,
    unchecked,
    whole,
)
from hierdiff.data.derivations import Derivations
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import PCFG
from hierdiff.data.rhm import Grammar
from hierdiff.data.rhm_images import TreeImages
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess, has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import (
    NodeBeliefs,
    Posterior,
    denoise_symbols,
    posterior,
    true_beliefs,
)
from hierdiff.theory.belief_propagation.tree_evidence import NodeEvidence
from hierdiff.theory.belief_propagation.tree_inference import TreePosterior, tree_posterior
from hierdiff.theory.ising.transfer_matrices import ChainPosterior, chain_posterior, spin_evidence
from hierdiff.theory.mixture.posterior import class_posterior, denoise
from hierdiff.theory.pcfg.inside_outside import (
    ParsePosterior,
    parse_posterior,
    valid_strings,
)
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM

__all__ = [
    "ConditionedRHM",
    "ExactGaussianRHM",
    "ExactImages",
    "ExactIsing",
    "ExactMixture",
    "ExactPCFG",
    "ExactRHM",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class ExactRHM:
    r"""The Bayes-optimal diffusion model of a grammar: exact posterior means and samples.

    .. math:: \hat x_0(x_t) = E[x_0 \mid x_t], \qquad x_0 \sim p(x_0 \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they are corrupted; it must have the grammar's number of leaf symbols.
    threads : int, optional
        Threads per call; default all processors.

    Raises
    ------
    InvalidParameter
        If grammar and noise disagree on the number of symbols.

    Notes
    -----
    Validity: exact for any grammar (see :mod:`hierdiff.theory.belief_propagation`).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> model = ExactRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(v=4))
    >>> x_t = np.full((1, 4), -1)
    >>> model.denoise(x_t, 1.0).sum(axis=2).round(12)
    array([[1., 1., 1., 1.]])
    >>> model.grammar.is_valid(model.sample(x_t, 1.0, seed=1))
    array([ True])
    """

    grammar: Grammar
    noise: NoiseProcess
    threads: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threads is not None:
            count("threads", self.threads)
        v = self.grammar.v[self.grammar.L]
        if self.noise.v != v:
            raise InvalidParameter(
                f"the noise has v = {self.noise.v} symbols and the grammar's leaves have {v}; "
                f"make the noise with v={v}"
            )

    @checked
    def given(self, label: int | None) -> Self:
        """The model conditioned on a class: the prior on one root symbol; None is this model.

        Examples
        --------
        >>> from hierdiff import RHM, MaskingNoise
        >>> model = ExactRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(v=4))
        >>> model.given(2).grammar.root_prior.tolist()
        [0.0, 0.0, 1.0, 0.0]
        """
        if label is None:
            return self
        g = self.grammar
        prior = np.eye(len(g.root_prior))[whole("label", label, 0, len(g.root_prior) - 1)]
        one = Grammar(g.rules, g.weights, prior, leaf_vocabulary=g.leaf_vocabulary)
        return replace(self, grammar=one)

    @checked(nodes=unchecked)
    def given_latents(self, nodes: NodeEvidence) -> ConditionedRHM:
        """The model conditioned on latents, known or seen through noise.

        Examples
        --------
        >>> from hierdiff import RHM, MaskingNoise
        >>> model = ExactRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(v=4))
        >>> drawn = model.given_latents({(1, 1): 3}).sample(np.full((5, 4), -1), 1.0, seed=1)
        >>> model.grammar.parse(drawn).levels[1][:, 1].tolist()
        [3, 3, 3, 3, 3]
        """
        return ConditionedRHM(self.grammar, self.noise, nodes, self.threads)

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] of one-hot data, [n, leaves, v]."""
        return denoise_symbols(self.grammar, self.noise, x_t, t)

    @checked(x_t=array)
    def posterior(
        self, x_t: Array, t: ArrayLike, levels: tuple[int, ...] | None = None
    ) -> Posterior:
        """All that is known about the latents given x_t."""
        evidence = self.noise.evidence(x_t, t)
        return posterior(self.grammar, evidence, levels=levels, threads=self.threads)

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of the leaves [n, leaves] given x_t."""
        return self.posterior(x_t, t, levels=()).sample(seed).leaves

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The marginals of each level as a representation, {"level l": [n, nodes * v_l]}."""
        marginals = self.posterior(x_t, t).marginals
        return {
            f"level {i}": np.ascontiguousarray(p).reshape(len(p), -1)
            for i, p in enumerate(marginals)
        }

    @checked(x_t=array)
    def beliefs(self, x_t: Array, t: ArrayLike, truth: Derivations) -> NodeBeliefs:
        """Belief in the true symbol at every node."""
        evidence = self.noise.evidence(x_t, t)
        return true_beliefs(self.grammar, evidence, truth, threads=self.threads)


@dataclass(frozen=True, eq=False)
class ConditionedRHM:
    r"""The Bayes-optimal diffusion model of a grammar, given evidence at any nodes of its tree.

    .. math:: \hat x_0(x_t) = E[x_0 \mid x_t, \phi]

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they are corrupted; it must have the grammar's number of leaf symbols.
    nodes : mapping or list of arrays
        Evidence beside the noisy leaves, see
        :data:`~hierdiff.theory.belief_propagation.tree_evidence.NodeEvidence`: ``{(1, 0): 3}`` is a
        known latent.  Of one sample for all data, or of as many samples as data are given.
    threads : int, optional
        Threads per call; default all processors.

    Raises
    ------
    InvalidParameter
        If noise, grammar and evidence do not fit together.
    ImpossibleEvidence
        If no derivation agrees with the evidence.

    Notes
    -----
    Validity: exact for any grammar.  A DiffusionModel that can be conditioned on a class too.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> model = ConditionedRHM(grammar, MaskingNoise(v=4), {(1, 1): 3})
    >>> model.posterior(np.full((1, 4), -1), 1.0).marginals[1][0, 1].tolist()
    [0.0, 0.0, 0.0, 1.0]
    """

    grammar: Grammar
    noise: NoiseProcess
    nodes: Any
    threads: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self, nodes=unchecked)
        model = ExactRHM(self.grammar, self.noise, self.threads)
        _ = tree_posterior(model.grammar, nodes=self.nodes, threads=self.threads).log_evidence

    def given(self, label: int | None) -> Self:
        """The model conditioned on a class as well; None is this model."""
        one = ExactRHM(self.grammar, self.noise, self.threads).given(label)
        return replace(self, grammar=one.grammar)

    @checked(x_t=array)
    def posterior(self, x_t: Array, t: ArrayLike) -> TreePosterior:
        """All that is known about the latents given x_t and the evidence."""
        evidence, nodes = self.noise.evidence(x_t, t), self.nodes
        return tree_posterior(self.grammar, evidence, nodes=nodes, threads=self.threads)

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t, evidence] of one-hot data, [n, leaves, v]."""
        return self.posterior(x_t, t).marginals[self.grammar.L]

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of the leaves [n, leaves] given x_t and the evidence."""
        return self.posterior(x_t, t).sample(seed).leaves

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The marginals of each level as a representation, {"level l": [n, nodes * v_l]}."""
        marginals = self.posterior(x_t, t).marginals
        return {f"level {i}": p.reshape(len(p), -1) for i, p in enumerate(marginals)}


# ----------------------------------------------------------------------------------------- mixtures

# beyond these SNR the posterior is that of the limit to double precision
_LOWEST, _HIGHEST = 1e-16, 1e16


@dataclass(frozen=True, eq=False)
class ExactMixture:
    """Posterior of a mixture of low-rank Gaussians under Gaussian noise.

    Parameters
    ----------
    mixture : LowRankMixture
    noise : GaussianNoise
        On vectors: ``GaussianNoise()``.
    class_label : int, optional
        Condition on the class.

    Raises
    ------
    InvalidParameter
        If the noise acts on symbols, or there is no such class.

    Notes
    -----
    Validity: exact for any mixture; SNR below 1e-16 or above 1e16 counts as 1e-16 or 1e16.

    Examples
    --------
    >>> mixture = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]])
    >>> model = ExactMixture(mixture, GaussianNoise())
    >>> t = model.noise.level(1.0)
    >>> x_t = np.sqrt(0.5) * np.array([[2.0, 1.0]])
    >>> model.denoise(x_t, t).round(6)
    array([[0.679179, 0.160411]])
    >>> model.class_marginals(x_t, t).round(6)
    array([[0.679179, 0.320821]])
    """

    mixture: LowRankMixture
    noise: GaussianNoise
    class_label: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if not has_snr(self.noise) or self.noise.v is not None:
            raise InvalidParameter(
                f"noise = {self.noise!r} acts on symbols; a mixture needs GaussianNoise()"
            )
        k = self.class_label
        if k is not None and not 0 <= k < self.mixture.n_classes:
            raise InvalidParameter(
                f"class_label = {k} must be a class from 0 to {self.mixture.n_classes - 1}"
            )

    @cached_property
    def prior(self) -> LowRankMixture:
        """The mixture, or the mixture with all weight on the clamped class."""
        if self.class_label is None:
            return self.mixture
        m = self.mixture
        weights = np.eye(m.n_classes)[self.class_label]
        return LowRankMixture(m.bases, weights, m.variances, m.delta, m.residual, m.means)

    def given(self, label: int | None) -> Self:
        """The mixture conditioned on a class; None is the whole mixture."""
        return replace(self, class_label=label)

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t], [n, D]."""
        return self._by_level(x_t, t, lambda y, sigma: denoise(self.prior, y, sigma))

    def class_marginals(self, x_t: Array, t: ArrayLike) -> Array:
        """Posterior probability of every class, [n, K]."""
        return self._by_level(x_t, t, lambda y, sigma: class_posterior(self.prior, y, sigma))

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        r"""An exact draw of x0 given x_t: the class, then its Gaussian, [n, D].

        With z a draw from class k and :math:`y' = z + \sigma\varepsilon'`,
        :math:`z + S_k(S_k+\sigma^2)^{-1}(y - y')` has the law of x0 given y.
        """
        rng = generator(seed)
        w = self.class_marginals(x_t, t)
        uniform = rng.random(len(w))[:, None] * w.sum(axis=1, keepdims=True)
        classes = (np.cumsum(w, axis=1) < uniform).sum(axis=1)
        x = array("x_t", x_t).astype(float)
        sigma, scale = (a[:, None] for a in self._levels(len(x), t))
        noise, out = rng.standard_normal(x.shape), np.empty_like(x)
        for k in np.unique(classes):
            rows = classes == k
            alone = ExactMixture(self.mixture, self.noise, int(k))
            prior, _ = alone.prior.sample(int(rows.sum()), rng)
            levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))[rows]
            seen = scale[rows] * (prior + sigma[rows] * noise[rows])
            out[rows] = prior + alone.denoise(x[rows], levels) - alone.denoise(seen, levels)
        return out

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Representations: posterior mean [n, D], class posterior [n, K], one projection each."""
        mean = self.denoise(x_t, t)
        found = {"posterior mean": mean, "class posterior": self.class_marginals(x_t, t)}
        for k, basis in enumerate(self.mixture.bases):
            found[f"projection {k}"] = mean @ basis
        return found

    def _levels(self, n: int, t: ArrayLike) -> tuple[Array, Array]:
        """Noise relative to the signal, and the signal's scale, each [n]."""
        levels = np.broadcast_to(levels_of(t, n), (n,))
        snr = np.clip(self.noise.snr(levels), _LOWEST, _HIGHEST)
        return snr**-0.5, np.sqrt(snr / (1 + snr))

    def _by_level(self, x_t: Array, t: ArrayLike, answer: Any) -> Array:
        """Rows of one noise level are answered together."""
        x = array("x_t", x_t)
        if x.ndim != 2 or x.shape[1] != self.mixture.dim or not len(x):
            raise InvalidParameter(
                f"x_t has shape {x.shape}; give a non-empty array [n, D = {self.mixture.dim}]"
            )
        sigma, scale = self._levels(len(x), t)
        out: Array | None = None
        for level in np.unique(sigma):
            rows = sigma == level
            found = answer(x[rows] / scale[rows][:, None], float(level))
            out = np.empty((len(x), found.shape[1])) if out is None else out
            out[rows] = found
        return cast(Array, out)


# ------------------------------------------------------------------------ RHM, Gaussian emissions


@dataclass(frozen=True, eq=False)
class ExactGaussianRHM:
    r"""Posterior of a grammar with Gaussian emissions under Gaussian noise.

    .. math:: \hat x_0 = \kappa\,(p + \tau^2 \tfrac{\gamma}{\alpha} x_t), \qquad
        \kappa = 1 / (1 + \gamma\tau^2),

    with the marginals p of the leaves at evidence :math:`\kappa\,\gamma x_t/\alpha`.

    Parameters
    ----------
    data : GaussianRHM
        The grammar and the standard deviation :math:`\tau` of its emissions.
    noise : GaussianNoise
        Of vectors: ``GaussianNoise()``.
    class_label : int, optional
        Condition on a class, the symbol of the root.

    Raises
    ------
    InvalidParameter
        If the noise acts on symbols, or there is no such class.

    Notes
    -----
    Validity: exact for any grammar; SNR below 1e-16 or above 1e16 counts as 1e-16 or 1e16.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> model = ExactGaussianRHM(GaussianRHM(RHM(v=4, m=2, s=2, L=2).draw(seed=0)))
    >>> x0, label = model.data.sample(1, seed=1)
    >>> x_t = model.noise.corrupt(x0, 0.5, seed=2)
    >>> model.given(int(label[0])).denoise(x_t, 0.5).shape
    (1, 4, 4)
    """

    data: GaussianRHM
    noise: GaussianNoise = field(default_factory=GaussianNoise)
    class_label: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.noise.v is not None:
            raise InvalidParameter(
                f"noise = {self.noise!r} acts on symbols; emissions need GaussianNoise()"
            )
        if self.class_label is not None:
            whole("class_label", self.class_label, 0, self.data.n_classes - 1)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.data.n_classes

    @property
    def prior(self) -> Array:
        """Probability of every class, [K]."""
        return self.data.prior

    def given(self, label: int | None) -> Self:
        """The model conditioned on a class; None is the unconditional one."""
        return replace(self, class_label=label)

    @sound
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t], [n, leaves, v]."""
        x, kappa, gain = self._seen(x_t, t)
        bottom = self.data.grammar.L
        leaves = self._posterior(kappa * gain * x, (bottom,)).marginals[bottom]
        return np.asarray(kappa * (leaves + self.data.tau**2 * gain * x))

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of x0 given x_t: the symbols, then a Gaussian about each."""
        rng = generator(seed)
        x, kappa, gain = self._seen(x_t, t)
        symbols = self._posterior(kappa * gain * x, ()).sample(rng).leaves
        mean = kappa * (np.eye(x.shape[2])[symbols] + self.data.tau**2 * gain * x)
        return np.asarray(mean + self.data.tau * np.sqrt(kappa) * rng.standard_normal(x.shape))

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """The marginals of each level as a representation, {"level l": [n, nodes * v_l]}."""
        x, kappa, gain = self._seen(x_t, t)
        marginals = self._posterior(kappa * gain * x, None).marginals
        return {
            f"level {i}": np.ascontiguousarray(p).reshape(len(p), -1)
            for i, p in enumerate(marginals)
        }

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: Sequence[int] | None = None, dtype: DTypeLike = np.float64,
    ) -> Array:  # fmt: skip
        """Denoising errors of every class at once, [n, classes]."""
        return self.data.errors(x0, noise, snr, classes=classes, dtype=dtype)

    def log_density(self, x0: ArrayLike) -> Array:
        """Log p(x0 | c) of clean data, [n, K], nats."""
        return self.data.log_density(x0)

    def _seen(self, x_t: Array, t: ArrayLike) -> tuple[Array, Array, Array]:
        """Noisy data, kappa, and the gain gamma / alpha, which broadcast."""
        x = finite_reals("x_t", x_t, (None, *self.data.shape))
        levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))
        ratio = np.clip(self.noise.snr(levels), _LOWEST, _HIGHEST)[:, None, None]
        return x, 1 / (1 + ratio * self.data.tau**2), np.sqrt(ratio) * np.sqrt(1 + ratio)

    def _posterior(self, evidence: Array, levels: tuple[int, ...] | None) -> Posterior:
        return posterior(self.data.grammar, evidence, self.class_label, levels=levels)


@dataclass(frozen=True, eq=False)
class ExactImages:
    """The exact diffusion model of rendered images.

    Parameters
    ----------
    data : TreeImages
    noise : GaussianNoise
        Of vectors (v=None).

    Notes
    -----
    Validity: exact; a DiffusionModel in pixel space.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> from hierdiff.data.rhm_images import random_templates
    >>> grammar = RHM(v=4, m=2, s=4, L=1).draw(seed=0)
    >>> model = ExactImages(TreeImages(grammar, random_templates(4, 1, 2, seed=0)),
    ...                     GaussianNoise(schedule="linear"))
    >>> model.denoise(np.zeros((2, 1, 4, 4)), 0.5).shape
    (2, 1, 4, 4)
    """

    data: TreeImages
    noise: GaussianNoise

    source = "theory"

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    @checked
    def posterior(self, x_t: Array, t: ArrayLike) -> Posterior:
        """Beliefs of all levels."""
        if not np.ndim(x_t):
            raise InvalidParameter(f"x_t has shape (); give [n, {self.data.shape}]")
        snr = self.noise.snr(levels_of(t, len(x_t)) * np.ones(len(x_t)))
        return posterior(self.data.grammar, self.data.log_evidence(x_t, snr))

    @checked
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t], pixels of the shape of x_t."""
        beliefs = self.posterior(np.asarray(x_t), t).marginals[-1]
        mean = np.tensordot(beliefs, self.data.templates, axes=(2, 0))
        return self.data._joined(mean)

    @checked
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of x0 given x_t."""
        return self.data.render(self.posterior(np.asarray(x_t), t).sample(seed).leaves)

    @checked
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Beliefs of every level, {"level l": [n, nodes * v]}."""
        marginals = self.posterior(np.asarray(x_t), t).marginals
        return {f"level {l}": p.reshape(len(p), -1) for l, p in enumerate(marginals)}


# --------------------------------------------------------------- grammars whose trees vary in shape


@dataclass(frozen=True, eq=False)
class ExactPCFG:
    r"""The exact diffusion model of a grammar whose trees vary in shape, at known length.

    .. math:: \hat x_0(x_t) = E[x_0 \mid x_t, n], \qquad x_0 \sim p(x_0 \mid x_t, n)

    Noise does not change the number of leaves, so n is that of x_t.

    Parameters
    ----------
    grammar : PCFG
        Where the data come from.
    noise : NoiseProcess
        How they are corrupted; it must have the grammar's number of leaf symbols.
    threads : int, optional
        Threads per call; default all processors.

    Raises
    ------
    InvalidParameter
        If grammar and noise disagree on the number of symbols.

    Notes
    -----
    Validity: exact for any grammar and noise that acts on each leaf by itself.  Strings of one call
    have one length; -1 in x_t is a leaf that was not seen, not the end of a string.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> grammar = PCFG.random(v=4, rules={2: 1, 3: 1}, L=2, seed=0)
    >>> model = ExactPCFG(grammar, MaskingNoise(v=4))
    >>> x_t = np.full((1, 6), -1)
    >>> model.denoise(x_t, 1.0).sum(axis=2).round(12)
    array([[1., 1., 1., 1., 1., 1.]])
    >>> bool(model.is_valid(model.sample(x_t, 1.0, seed=1))[0])
    True
    """

    grammar: PCFG
    noise: NoiseProcess
    threads: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threads is not None:
            count("threads", self.threads)
        if self.noise.v != self.grammar.v:
            raise InvalidParameter(
                f"the noise has v = {self.noise.v} symbols and the grammar's leaves have "
                f"{self.grammar.v}; make the noise with v={self.grammar.v}"
            )

    @checked
    def given(self, label: int | None) -> Self:
        """The model conditioned on a class, a symbol of level 0; None is this model."""
        return self if label is None else replace(self, grammar=self.grammar.given(label))

    @checked(x_t=array)
    def posterior(self, x_t: Array, t: ArrayLike) -> ParsePosterior:
        """All that is known about trees, symbols and rules given x_t."""
        return parse_posterior(self.grammar, self.noise.evidence(x_t, t), threads=self.threads)

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] of one-hot data, [n, leaves, v]."""
        return self.posterior(x_t, t).leaf_marginals

    @checked(x_t=array)
    def class_marginals(self, x_t: Array, t: ArrayLike) -> Array:
        """Posterior probability of every class, [n, classes]."""
        return self.posterior(x_t, t).class_marginals

    @checked(x_t=array)
    def trees(self, x_t: Array, t: ArrayLike, seed: Seed) -> Parses:
        """An exact draw of the tree given x_t, one per string."""
        return self.posterior(x_t, t).sample(seed)

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of the leaves [n, leaves] given x_t."""
        return self.trees(x_t, t, seed).leaves

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Posteriors as representations, each [n, width].

        Of a layered grammar "level l", the symbol that covers each leaf; of others "class" and
        "leaves".
        """
        found = self.posterior(x_t, t)
        if self.grammar.L is None:
            parts = {"class": found.class_marginals, "leaves": found.leaf_marginals}
        else:
            parts = {f"level {i}": p for i, p in enumerate(found.symbols)}
        return {name: np.ascontiguousarray(p).reshape(len(p), -1) for name, p in parts.items()}

    @checked(leaves=array)
    def is_valid(self, leaves: Array) -> Array:
        """Which strings [n, leaves] have a derivation, bool [n]."""
        found = symbols_of("leaves", leaves, 0, self.grammar.v)
        return valid_strings(self.grammar, found)


# ------------------------------------------------------------------------- mixtures of Ising chains


@dataclass(frozen=True, eq=False)
class ExactIsing:
    r"""The exact diffusion model of a mixture of Ising chains.

    .. math:: \hat x_0(x_t) = E[x_0 \mid x_t] = \sum_k p(k \mid x_t)\, E[x_0 \mid x_t, k]

    Parameters
    ----------
    data : IsingChains
        Where the data come from.
    noise : NoiseProcess
        Of two symbols, as ``MaskingNoise(2)`` or ``UniformNoise(2)`` (spins flip); or Gaussian of
        vectors, ``GaussianNoise()``, on spins -1 and +1 (``data.vectors(x0)``).
    class_label : int, optional
        Condition on a class.

    Raises
    ------
    InvalidParameter
        If the noise has another number of symbols, or there is no such class.

    Notes
    -----
    Validity: exact for any chains; of vectors, SNR below 1e-16 or above 1e16 counts as 1e-16 or
    1e16.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> model = ExactIsing(IsingChains.by_coupling(3, J=1.0), MaskingNoise(2))
    >>> model.class_marginals(np.array([[1, 1, -1]]), 0.3).round(6).tolist()
    [[0.880797, 0.119203]]
    >>> model.given(0).denoise(np.array([[1, 1, -1]]), 0.3)[0, 2].round(6).tolist()
    [0.119203, 0.880797]
    """

    data: IsingChains
    noise: NoiseProcess
    class_label: int | None = None

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.noise.v != 2 and not (self.noise.v is None and has_snr(self.noise)):
            raise InvalidParameter(
                f"the noise has v = {self.noise.v} symbols and spins have 2; make it with v=2, or "
                "GaussianNoise() for vectors"
            )
        if self.class_label is not None:
            whole("class_label", self.class_label, 0, self.data.n_classes - 1)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.data.n_classes

    @property
    def prior(self) -> Array:
        """Probability of every class, [K]."""
        return self.data.weights

    @checked
    def given(self, label: int | None) -> Self:
        """The model conditioned on a class; None is the unconditional one."""
        return replace(self, class_label=label)

    @checked(x_t=array)
    def posterior(self, x_t: Array, t: ArrayLike) -> ChainPosterior:
        """All that is known about classes and spins given x_t."""
        if self.noise.v is None:
            x = finite_reals("x_t", x_t, (None, self.data.N))
            levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))
            snr = np.clip(cast(GaussianNoise, self.noise).snr(levels), _LOWEST, _HIGHEST)
            evidence = spin_evidence(x, snr)
        else:
            evidence = self.noise.log_evidence(x_t, t)
        return chain_posterior(self.data, evidence, self.class_label)

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: of one-hot symbols [n, N, 2], of vectors [n, N]."""
        up = self.posterior(x_t, t).up
        return 2 * up - 1 if self.noise.v is None else np.stack([1 - up, up], axis=2)

    @checked(x_t=array)
    def class_marginals(self, x_t: Array, t: ArrayLike) -> Array:
        """Posterior probability of every class, [n, K]."""
        return self.posterior(x_t, t).class_marginals

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of x0 given x_t: symbols, or spins for noise of vectors, [n, N]."""
        drawn, _ = self.posterior(x_t, t).sample(seed)
        return 2.0 * drawn - 1 if self.noise.v is None else drawn

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Representations: class posterior [n, K], mean spins [n, N]."""
        found = self.posterior(x_t, t)
        return {"class": found.class_marginals, "spins": 2 * found.up - 1}

    @checked(x0=array)
    def classify(self, x0: Array) -> Array:
        """The likeliest class of clean data, [n], as studies of U-turns read samples."""
        if self.noise.v is None:
            x0 = (finite_reals("x0", x0, (None, self.data.N)) > 0).astype(np.int64)
        with np.errstate(divide="ignore"):
            evidence = np.log(np.eye(2)[symbols_of("x0", x0, 0, 2)])
        return np.asarray(chain_posterior(self.data, evidence).class_marginals.argmax(axis=1))
