r"""Shape and texture as two channels: a tree beside independent symbols of one histogram.

.. math::
    x_0 = \big(e_a + \tau\eta,\; k\,(e_b + \tau\eta')\big), \qquad
    a \sim \text{tree of class}\ c, \quad b_i \sim h_c\ \text{independently}.

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`h_c`            histogram of the texture symbols of class c
:math:`k`              amplitude of the texture channel; no clean likelihood depends on it
=====================  =======================================================================

A channel of amplitude k at SNR :math:`\gamma` is one of unit amplitude at :math:`k^2\gamma`, with
errors times :math:`k^2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.special import logsumexp

from hierdiff.checks import (
    array,
    check_fields,
    checked,
    frozen,
    memory,
    number,
    precision,
    reals,
    sound,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory._class_inputs import (
    checked_classes,
    checked_data,
    checked_labels,
    checked_noise,
    checked_ratios,
)
from hierdiff.theory._soft_leaves import SoftLeaves

__all__ = ["TwoChannels"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TwoChannels:
    r"""Data whose class shows in a tree (shape) and in a histogram (texture).

    .. math:: \log p(x_0 \mid c) = \log p_{tree}(x_{shape} \mid c)
        + \sum_i \log \sum_b h_c(b)\, N\big(x_i; k e_b, k^2\tau^2\big)

    Parameters
    ----------
    shape_world : SoftLeaves
        The tree; texture has as many leaves, symbols and the same softness.
    histograms : array [K, v]
        Rows of probabilities.
    amplitude : float
        k > 0 of the texture.

    Raises
    ------
    InvalidParameter
        If histograms are no probabilities, one per class, or the amplitude is not positive.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> tree = SoftLeaves(RHM(v=2, m=1, s=2, L=1).draw(seed=0))
    >>> world = TwoChannels(tree, [[0.9, 0.1], [0.1, 0.9]])
    >>> x0 = world.conflict([0, 1], [1, 0], seed=1)
    >>> x0.shape, world.log_density(x0).shape
    ((2, 2, 2, 2), (2, 2))
    """

    shape_world: SoftLeaves
    histograms: ArrayLike
    amplitude: float = 1.0

    source = "theory"

    def __post_init__(self) -> None:
        check_fields(self)
        table = reals("histograms", self.histograms)
        expected = (self.n_classes, self.shape[2])
        if table.shape != expected or (table < 0).any() or np.abs(table.sum(1) - 1).max() > 1e-9:
            raise InvalidParameter(
                f"histograms of shape {table.shape} must be {expected}, rows of probabilities"
            )
        # its square divides the data
        if not 1e-100 <= self.amplitude <= 1e100:
            raise InvalidParameter(
                f"amplitude = {self.amplitude} must be finite and > 0, from 1e-100 to 1e100"
            )
        object.__setattr__(self, "histograms", frozen(table))

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.shape_world.n_classes

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""
        return self.shape_world.prior

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a datum: channel (shape, texture), leaves, symbols."""
        return (2, *self.shape_world.shape)

    @checked
    def conflict(self, shapes: ArrayLike, textures: ArrayLike, seed: Seed) -> Floats:
        """Data [n, 2, leaves, v] with the shape of one class and the texture of another."""
        n, (_, leaves, v) = array("shapes", shapes).size, self.shape
        memory(f"{n} data of shape {self.shape}", 32.0 * n * leaves * v)
        root = checked_labels(shapes, n, self.n_classes)
        painted = checked_labels(textures, n, self.n_classes)
        rng, tau = generator(seed), self.shape_world.tau
        form = self.shape_world.soften(self.shape_world.grammar.sample(n, rng, root=root), rng)
        edges = np.cumsum(np.asarray(self.histograms), axis=1)[painted]
        uniform = rng.random((n, leaves)) * edges[:, -1:]
        symbols = (uniform[..., None] >= edges[:, None, :-1]).sum(axis=2)
        paint = np.eye(v)[symbols] + tau * rng.standard_normal((n, leaves, v))
        return np.stack([form, self.amplitude * paint], axis=1)

    @checked
    @sound(infinite=True)
    def log_density(self, x0: ArrayLike) -> Floats:
        """Log p(x0 | c) of both channels together, up to a common term, [n, K], nats."""
        form, paint = self.log_densities(x0)
        return form + paint

    @checked(blur=partial(number, low=0))
    @sound(infinite=True)
    def log_densities(self, x0: ArrayLike, blur: float = 1.0) -> tuple[Floats, Floats]:
        """Log p of the shape and of the texture, each [n, K], up to terms common to the classes.

        Parameters
        ----------
        x0 : array [n, 2, leaves, v]
        blur : float
            Factor on the texture at test time only: 1 leaves it, 0 filters it out.
        """
        x, tau = checked_data(x0, self.shape), self.shape_world.tau
        paint = blur * x[:, 1] / self.amplitude / tau**2
        with np.errstate(divide="ignore"):
            log_h = np.log(np.asarray(self.histograms))
        texture = [logsumexp(paint + row, axis=2).sum(axis=1) for row in log_h]
        return self.shape_world.log_density(x[:, 0]), np.stack(texture, axis=1)

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
        r"""Denoising errors of every class, both channels together, [n, classes].

        Parameters
        ----------
        x0, noise : array [n, 2, leaves, v]
        snr, classes, dtype
            As in ``SoftLeaves.errors``.

        Returns
        -------
        array [n, classes]

        Raises
        ------
        InvalidParameter
            As ``SoftLeaves.errors``.

        Notes
        -----
        Validity: exact.
        """
        checked_data(x0, self.shape)
        x = np.asarray(x0)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        wanted = checked_classes(classes, self.n_classes)
        found = self.shape_world.errors(x[:, 0], eps[:, 0], ratio, classes=wanted, dtype=dtype)
        return found + self._texture(x[:, 1], eps[:, 1], ratio, wanted, dtype)

    def _texture(
        self, x: NDArray[Any], eps: NDArray[Any], ratio: Floats, wanted: list[int],
        dtype: DTypeLike,
    ) -> Floats:  # fmt: skip
        """Errors of the texture [n, classes]: sums over symbols are products with histograms."""
        k, power = self.amplitude, self.shape_world.tau**2
        own = ratio[:, None, None] * k**2
        kappa, noisy = 1 / (1 + own * power), np.sqrt(own) * eps
        psi = (kappa * (own * x / k + noisy)).astype(dtype)
        psi = np.exp(psi - psi.max(axis=2, keepdims=True))
        rest = kappa * (x / k - power * noisy)
        h = np.asarray(self.histograms)[wanted].T.astype(dtype)
        total = psi @ h  # [n, leaves, classes], positive: a soft symbol excludes none
        square = (psi**2) @ (h**2) / total**2
        cross = (psi * rest.astype(dtype)) @ h / total
        scale = kappa.astype(dtype)
        gap = (scale * (scale * square - 2 * cross)).sum(axis=1)
        return np.asarray(k**2 * ((rest**2).sum((1, 2))[:, None] + gap))
