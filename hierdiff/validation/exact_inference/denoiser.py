r"""Exact inference as layer and loss: the optimal network, and divergence from the posterior.

:class:`ExactDenoiser` is called like the networks of :mod:`hierdiff.validation.networks`, so the
adapter takes it; :class:`KLToPosterior` trains a network against the exact posterior,

.. math:: \mathcal L = E_{x_t} \sum_i KL\big(p_i(\cdot \mid x_t) \,\|\, q_i(\cdot \mid x_t)\big)
   = E_{x_0, x_t} \Big[-\sum_i \log q_i(x_{0,i} \mid x_t)\Big] - \text{entropy of } p,

where sampled targets x_0 give the same gradient in expectation, with the variance of the draw of
x_0 given x_t on top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hierdiff.checks import checked, shown, unchecked
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr, input_channels, masks, network_input
from hierdiff.validation._checks import one_per_row, tensor
from hierdiff.validation.exact_inference.passes import Wanted
from hierdiff.validation.exact_inference.posterior import (
    Evidence,
    Given,
    expected,
    given_arguments,
    levels_given,
    marginals,
)

__all__ = ["ExactDenoiser", "KLToPosterior", "posterior_kl"]


class ExactDenoiser(nn.Module):
    r"""The optimal network on the symbols of a grammar, with the inputs of a network.

    .. math:: \text{logits}_i(b) = \log p(x_{0,i} = b \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they were corrupted: masking, uniform, Gaussian, or a process of one's own without a
        method ``network_input``.

    Raises
    ------
    InvalidParameter
        If the noise has other symbols than the leaves, or inputs from which the evidence cannot be
        read.

    Notes
    -----
    Validity: exact for any grammar, up to the cut of the noise level that a network is given
    (:func:`hierdiff.noise.network_input`); a probability below the smallest normal number counts as
    this number, so that logits are finite.  It has no weights; ``module.double()`` takes float64
    inputs.  Inputs with gradients have them: the Jacobian of the exact denoiser.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> from hierdiff.validation.adapter import symbol_model
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(4)
    >>> model = symbol_model(ExactDenoiser(grammar, noise), noise)
    >>> data = grammar.sample(2, seed=1).leaves
    >>> bool((model.denoise(data, 0.0).argmax(axis=2) == data).all())
    True
    """

    precision: Tensor

    @checked
    def __init__(self, grammar: Grammar, noise: NoiseProcess) -> None:
        super().__init__()
        v = grammar.v[grammar.L]
        if noise.v != v:
            raise InvalidParameter(
                f"the noise has v = {noise.v} symbols and the leaves {v}; use v={v}"
            )
        self.grammar, self.noise = grammar, noise
        self.channels = input_channels(noise)
        self._read = _reader(noise)
        # without a parameter this tells the type and the device that the module was moved to
        self.register_buffer("precision", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """Channels [n, leaves, k] and log SNR [n] to logits [n, leaves, v]."""
        return self._logits(self._marginals(x, log_snr, label, (self.grammar.L,))[-1])

    def sweeps(
        self, x: Tensor, log_snr: Tensor, label: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Marginals of every level by name, each [n, nodes, v_l], and the logits."""
        found = self._marginals(x, log_snr, label, None)
        return {f"level {k}": p for k, p in enumerate(found)}, self._logits(found[-1])

    def log_evidence(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Evidence [n, leaves, v] of what a network is given."""
        tensor("x", x, None, self.grammar.n_leaves, self.channels)
        one_per_row("log_snr", log_snr, x)
        level = log_snr.to(x.dtype)[:, None, None]
        return self._read(x, level, self.grammar.leaf_vocabulary)

    def _marginals(
        self, x: Tensor, log_snr: Tensor, label: Tensor | None, levels: tuple[int, ...] | None
    ) -> tuple[Tensor, ...]:
        evidence = self.log_evidence(x, log_snr)
        given = given_arguments(self.grammar, evidence)
        if label is not None:
            given = given._replace(log_root=self._clamped(label, given))
        wanted = levels_given(self.grammar, levels)
        return expected(given, Wanted(wanted))

    def _clamped(self, label: Tensor, given: Given) -> Tensor:
        """Log prior of every sample; the label v_0 stands for none."""
        v, n = self.grammar.v[0], len(given.theta)
        if not isinstance(label, Tensor) or label.shape not in ((), (1,), (n,)):
            raise InvalidParameter(
                f"label = {shown(label)} must be a tensor of one label, or of one each: [{n}]"
            )
        classes = label.long().expand(n)
        if n and not 0 <= int(classes.min()) <= int(classes.max()) <= v:
            raise InvalidParameter(
                f"labels {int(classes.min())} to {int(classes.max())} are outside 0 to {v - 1}, "
                f"the classes of the grammar ({v} is the null label)"
            )
        hit = torch.arange(v, device=given.theta.device) == classes[:, None]
        none = classes[:, None] == v
        prior = given.tables.log_prior
        out: Tensor = torch.where(none, prior, torch.zeros_like(prior)).masked_fill(
            ~(hit | none), -math.inf
        )
        return out

    def _logits(self, p: Tensor) -> Tensor:
        return p.clamp(min=torch.finfo(p.dtype).tiny).log()


_Reader = Callable[[Tensor, Tensor, int], Tensor]


def _masking(x: Tensor, log_snr: Tensor, v: int) -> Tensor:
    # the last channel is the mask, under which every symbol is as likely
    return (x[..., :v] + x[..., v:]).log()


def _one_hot(noise: NoiseProcess, x: Tensor, log_snr: Tensor, v: int) -> Tensor:
    # log_snr = log((1 - t) / t); the evidence of each symbol that may be observed, [n, v, v]
    t = (-log_snr.double()).sigmoid().flatten().cpu().numpy()
    table = noise.log_evidence(np.broadcast_to(np.arange(v), (len(t), v)), t)
    return (x @ torch.from_numpy(np.exp(table)).to(x)).log()


def _gaussian(x: Tensor, log_snr: Tensor, v: int) -> Tensor:
    # log psi = sqrt(snr (1 + snr)) x_t; the datum stands in the first channels
    return (0.5 * (log_snr + nn.functional.softplus(log_snr))).exp() * x[..., :v]


def _beliefs(x: Tensor, log_snr: Tensor, v: int) -> Tensor:
    # without an input of its own a process shows the softmax of its evidence
    return x.log()


def _reader(noise: NoiseProcess) -> _Reader:
    """Evidence from the channels and log SNR that a network is given."""
    if has_snr(noise):
        return _gaussian
    if masks(noise):
        return _masking
    if getattr(noise, "network_input", None) is None:
        return _beliefs
    if noise.v is not None and input_channels(noise) == noise.v:
        try:
            channels, _ = network_input(noise, np.arange(noise.v)[None], 0.5)
        except Exception:  # of a class that is not ours, whose observations are no symbols
            channels = np.empty(0)
        if np.array_equal(np.squeeze(channels), np.eye(noise.v)):
            return partial(_one_hot, noise)
    raise InvalidParameter(
        f"noise = {shown(noise)} has a network_input of its own, from which no evidence can be "
        "read; give marginals() the evidence of the process itself"
    )


@checked(logits=unchecked, belief=unchecked)
def posterior_kl(belief: Tensor, logits: Tensor) -> Tensor:
    r"""Divergence of a network from exact marginals, node by node.

    .. math:: KL(p \,\|\, q) = \sum_a p(a) \log \frac{p(a)}{q(a)}, \qquad
       q = \mathrm{softmax}(\text{logits})

    Parameters
    ----------
    belief : tensor [n, nodes, v]
        Exact marginals.
    logits : tensor [n, nodes, v]
        Of the network.

    Returns
    -------
    tensor [n, nodes]
        In nats, not below zero beyond rounding; float32 for shorter types.

    Raises
    ------
    InvalidParameter
        If the shapes differ.

    Notes
    -----
    Validity: gradients reach the logits, and the beliefs where these have some.

    Examples
    --------
    >>> p = torch.tensor([[[0.5, 0.5, 0.0]]])
    >>> round(float(posterior_kl(p, torch.zeros(1, 1, 3))), 6)  # log(3 / 2)
    0.405465
    """
    tensor("belief", belief, None, None, None)
    tensor("logits", logits, *belief.shape)
    p, q = (
        x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for x in (belief, logits)
    )
    log_q = q.log_softmax(dim=-1)
    # a network that excludes what has probability zero is not wrong
    cross = torch.where(p > 0, p * log_q, 0.0)
    out: Tensor = torch.special.xlogy(p, p).sum(dim=-1) - cross.sum(dim=-1)
    return out


class KLToPosterior(nn.Module):
    r"""Loss of a network on the symbols of a grammar: its divergence from the exact posterior.

    .. math:: \mathcal L = \frac1{|\text{levels}|} \sum_l E \frac1{\text{nodes}_l}
       \sum_i KL\big(p_{l,i} \,\|\, q_{l,i}\big)

    Its gradient is the mean over x0 given x_t of that of the cross-entropy with the sampled x0: the
    same minimum, and less variance, since what the draw of x0 adds is gone.

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.

    Notes
    -----
    Validity: exact marginals, computed without gradients on the device of the logits; in float32,
    or float64 for logits of this type.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), MaskingNoise(4)
    >>> x_t = noise.corrupt(grammar.sample(8, seed=1).leaves, 0.5, seed=2)
    >>> logits = torch.zeros(8, 4, 4, requires_grad=True)
    >>> loss = KLToPosterior(grammar)
    >>> loss(logits, noise.evidence(x_t, 0.5)).backward()
    >>> sorted(loss.by_level({0: torch.zeros(8, 1, 4)}, noise.evidence(x_t, 0.5)))
    [0]
    """

    @checked
    def __init__(self, grammar: Grammar) -> None:
        super().__init__()
        self.grammar = grammar

    def forward(
        self, logits: Tensor | Mapping[int, Tensor], log_evidence: Evidence, root: Any = None
    ) -> Tensor:
        """Nats per node: logits [n, leaves, v] of the leaves, or of several levels by number."""
        found = self.by_level(logits, log_evidence, root)
        return torch.stack([x.mean() for x in found.values()]).mean()

    def by_level(
        self, logits: Tensor | Mapping[int, Tensor], log_evidence: Evidence, root: Any = None
    ) -> dict[int, Tensor]:
        """Nats [n, nodes] of every level that has logits."""
        given = {self.grammar.L: logits} if isinstance(logits, Tensor) else logits
        if not isinstance(given, Mapping) or not given:
            raise InvalidParameter(
                f"logits = {shown(logits)} must be a tensor, or tensors by their level"
            )
        first = tensor("logits", next(iter(given.values())), None, ...)
        wide = first.dtype == torch.float64
        with torch.no_grad():
            exact = marginals(
                self.grammar, log_evidence, root, levels=tuple(given),
                dtype=torch.float64 if wide else torch.float32, device=first.device,
            )  # fmt: skip
        return {level: posterior_kl(exact[level], q) for level, q in given.items()}
