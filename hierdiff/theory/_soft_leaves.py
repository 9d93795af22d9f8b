r"""Hierarchical data with soft leaves: a grammar's sentence, each leaf a Gaussian about its symbol.

.. math::
    x_0 = e_a + \tau\,\eta, \qquad x_t = \alpha x_0 + \sigma\varepsilon, \qquad
    \gamma = \alpha^2/\sigma^2

=====================  =====================================================================
symbol                 meaning
=====================  =====================================================================
:math:`\tau`           softness of a leaf; with hard leaves a single sample would be decisive
:math:`\gamma`         signal-to-noise ratio of the channel
:math:`\kappa`         :math:`1/(1 + \gamma\tau^2)`, what the observation leaves open of a leaf
:math:`p_c`            marginals of the leaves, class clamped to c, [leaves, v]
=====================  =====================================================================

The leaf evidence is :math:`\log\psi(a) = \kappa(\gamma x_0 + \sqrt\gamma\,\varepsilon)[a]`, and

.. math::
    x_0 - \hat x_c = r - \kappa\,p_c, \qquad
    r = \kappa\,(x_0 - \sqrt\gamma\,\tau^2\varepsilon),

written without :math:`\sigma`, so that nothing is divided by zero at either end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    memory,
    natural,
    precision,
    sound,
    symbols_of,
)
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Derivations, Grammar
from hierdiff.seeds import Seed, generator
from hierdiff.theory._class_inputs import (
    checked_classes,
    checked_data,
    checked_label,
    checked_noise,
    checked_ratios,
    softness,
)
from hierdiff.theory.belief_propagation import posterior

__all__ = ["SoftLeaves"]

Floats: TypeAlias = NDArray[np.float64]

_BLOCK = 1 << 17  # numbers of evidence held at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class SoftLeaves:
    r"""The Random Hierarchy Model with leaves that are Gaussians about one-hot symbols.

    .. math:: x_0 = e_a + \tau\,\eta, \qquad \hat x_c = (1 - g\alpha)\,p_c + g\,x_t, \qquad
        g = \alpha\tau^2 / (\alpha^2\tau^2 + \sigma^2)

    Parameters
    ----------
    grammar : Grammar
        Its root symbols are the classes.
    tau : float
        Softness, > 0; relative to the unit distance of a symbol from zero.

    Raises
    ------
    InvalidParameter
        If ``tau`` is not finite and > 0, or not within 1e-100 to 1e100.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> world = SoftLeaves(RHM(v=4, m=2, s=2, L=2).draw(seed=0))
    >>> x0, label = world.sample(3, seed=1)
    >>> x0.shape, world.log_density(x0).shape
    ((3, 4, 4), (3, 4))
    """

    grammar: Grammar
    tau: float = 0.42

    def __post_init__(self) -> None:
        check_fields(self)
        softness("tau", self.tau)

    source = "theory"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.grammar.v[0]

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""
        return self.grammar.root_prior

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a datum: leaves, symbols."""
        return self.grammar.n_leaves, self.grammar.v[self.grammar.L]

    @checked(n=natural)
    def sample(self, n: int, seed: Seed) -> tuple[Floats, NDArray[np.intp]]:
        """Data [n, leaves, v] and their classes [n]."""
        memory(f"n = {n} data of shape {self.shape}", 24.0 * n * math.prod(self.shape))
        rng = generator(seed)
        data = self.grammar.sample(n, rng)
        return self.soften(data, rng), data.levels[0][:, 0].astype(np.intp)

    @checked
    def soften(self, data: Derivations, seed: Seed) -> Floats:
        """The soft leaves [n, leaves, v] of given derivations."""
        leaves, v = self.shape
        symbols = symbols_of("leaves of the data", data.leaves, 0, v)
        if symbols.shape[1] != leaves:
            raise InvalidParameter(f"data have {symbols.shape[1]} leaves; the grammar has {leaves}")
        hard = np.eye(v)[symbols]
        out: Floats = hard + self.tau * generator(seed).standard_normal(hard.shape)
        return out

    @checked
    @sound
    def log_density(self, x0: ArrayLike) -> Floats:
        r"""Class-conditional log-density :math:`\log p(x_0 \mid c)` of clean data, [n, K], nats."""
        x = checked_data(x0, self.shape)
        size, power = x[0].size, self.tau**2
        flat = -0.5 * ((x**2).sum((1, 2)) + self.shape[0]) / power
        flat -= 0.5 * size * np.log(2 * np.pi * power)
        out: Floats = self._evidence(x / power) + flat[:, None]
        return out

    @checked
    @sound
    def noisy_log_odds(self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike) -> Floats:
        r"""Log p(x_t | c) up to a term that no class shares alone, [n, K], nats.

        Parameters
        ----------
        x0, noise, snr
            As in :meth:`errors`; the noisy datum is made of them.
        """
        x = checked_data(x0, self.shape)
        eps = checked_noise(noise, x).astype(float, copy=False)
        ratio = checked_ratios(snr, len(x))[:, None, None]
        return self._evidence((ratio * x + np.sqrt(ratio) * eps) / (1 + ratio * self.tau**2))

    @checked(dtype=precision)
    @sound
    def errors(
        self,
        x0: ArrayLike,
        noise: ArrayLike,
        snr: ArrayLike,
        *,
        classes: Sequence[int] | None = None,
        dtype: DTypeLike = np.float64,
    ) -> Floats:
        r"""Denoising errors of every class, :math:`|x_0 - \hat x_c(x_t)|^2`.

        Parameters
        ----------
        x0 : array [n, leaves, v]
            Clean data.
        noise : array [n, leaves, v]
            The standard normal numbers of the channel.
        snr : float or array [n]
            Signal-to-noise ratio, >= 0.
        classes : sequence of int, optional
            Classes whose error is wanted; default all.
        dtype : float64 or float32
            Precision of the messages.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            For other shapes, NaN, a ratio that is negative or infinite, or no such class.

        Notes
        -----
        Validity: exact for any grammar.
        """
        x, wanted = checked_data(x0, self.shape), checked_classes(classes, self.n_classes)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        out = np.empty((len(x), len(wanted)))
        step = max(1, _BLOCK // x[0].size)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            out[rows] = self._block(x[rows], eps[rows], ratio[rows], wanted, dtype)
        return out

    @checked
    @sound
    def denoise(self, x_t: ArrayLike, snr: ArrayLike, label: ArrayLike) -> Floats:
        r"""Posterior mean :math:`E[x_0 \mid x_t, c]`, [n, leaves, v]; label is a class or [n]."""
        x = checked_data(x_t, self.shape)
        ratio = checked_ratios(snr, len(x))[:, None, None]
        label = checked_label(label, len(x), self.n_classes)
        gain = np.sqrt(ratio) * np.sqrt(1 + ratio)  # gamma / alpha
        kappa = 1 / (1 + ratio * self.tau**2)
        bottom = self.grammar.L
        found = posterior(self.grammar, kappa * gain * x, label, levels=(bottom,))
        out: Floats = kappa * (found.marginals[bottom] + self.tau**2 * gain * x)
        return out

    def _block(
        self, x: NDArray[Any], eps: NDArray[Any], ratio: Floats, wanted: Sequence[int],
        dtype: DTypeLike,
    ) -> Floats:  # fmt: skip
        gamma = ratio[:, None, None]
        kappa, root = 1 / (1 + gamma * self.tau**2), np.sqrt(gamma)
        psi = (kappa * (gamma * x + root * eps)).astype(dtype)
        rest = kappa * (x - self.tau**2 * root * eps)
        # sample last, as the marginals are laid out
        twice = np.ascontiguousarray((2 * rest).transpose(1, 2, 0), dtype)
        scale = kappa.ravel().astype(dtype)
        # |rest|^2 outweighs what differs between classes: it is added in full precision
        out = np.repeat((rest**2).sum((1, 2))[:, None], len(wanted), axis=1)
        bottom = self.grammar.L
        for i, c in enumerate(wanted):
            found = posterior(self.grammar, psi, c, dtype, levels=(bottom,), threads=1)
            mean = found.marginals[bottom].transpose(1, 2, 0) * scale
            out[:, i] += np.einsum("lvn,lvn->n", mean, mean - twice)
        return out

    def _evidence(self, log_psi: Floats) -> Floats:
        """Log-evidence with each class clamped, [n, K]."""
        columns = [
            posterior(self.grammar, log_psi, c, levels=(), threads=1).log_evidence
            for c in range(self.n_classes)
        ]
        return np.stack(columns, axis=1)
