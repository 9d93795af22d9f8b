r"""Training against the exact posterior in place of sampled targets.

A network that learns from clean symbols x_0 sees one draw of the posterior per noisy string.  With
the logits z of a leaf and q = softmax(z), the gradients of the two losses are

.. math::
   \nabla_z (-\log q(x_0)) = q - e_{x_0}, \qquad \nabla_z KL(p \,\|\, q) = q - p, \qquad
   E\big[\,|q - e_{x_0}|^2 - |q - p|^2 \mid x_t\big] = 1 - \sum_a p(a \mid x_t)^2 ,

with the exact marginals p of the leaf.  Both have the same mean; what the draw of x_0 adds to the
squared gradient is the same for every network, and is known from exact inference alone.  The
experiment trains pairs of networks, equal in weights and batches, with either target, and measures
this excess, the noise of the gradient in the space of weights, and how fast both learn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    one_level,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import NoiseProcess, noise_name, noise_process
from hierdiff.plots import BLUE, ORANGE, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.theory import denoise_symbols
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import architecture_rule, clear_checkpoints
from hierdiff.validation.recipes import (
    Target,
    divergence_to_exact,
    symbol_loss,
    train_symbol_network,
)
from hierdiff.validation.training import TrainConfig, TrainResult

__all__ = ["NetworkExactTargets"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]

_TARGETS: tuple[Target, ...] = ("sample", "posterior")
_COUNT = partial(whole, low=1, high=10**9)
_EXCESS = "squared gradient that sampled targets add"


@dataclass(frozen=True)
class NetworkExactTargets:
    """Networks trained against the exact posterior, beside sampled targets.

    Notes
    -----
    Validity: the law is exact; errors are Student's over networks.
    """

    name: ClassVar[str] = "network_exact_targets"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    v: int = 8
    """Symbols per level."""
    m: int = 2
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 3
    """Depth of the hierarchy."""
    noise: str = "masking"
    """Forward process."""
    architecture: str = "transformer"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 32
    """Features per node of the network."""
    steps: int = 400
    """Training steps."""
    batch: int = 32
    """Data per training step."""
    checkpoints: int = 5
    """Times at which the divergence is measured."""
    networks: int = 4
    """Pairs of networks."""
    t: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    """Noise levels of the test."""
    data: int = 400
    """Test data per network and level."""
    batches: int = 32
    """Batches for the noise of the gradient."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, noise=partial(noise_name, channel=True), width=_COUNT, steps=_COUNT,
            architecture=architecture_rule(Grammar),
            batch=_COUNT, checkpoints=_COUNT, networks=partial(whole, low=2, high=10**4),
            t=partial(listed, rule=one_level, least=1),
            batches=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**9), seed=natural,
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @property
    def grammar(self) -> Grammar:
        """The grammar that is learned."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar"))

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        r"""What sampled targets add to the squared gradient, :math:`E[1 - \sum_a p(a)^2]` per leaf.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``excess`` and its error on (t).

        Notes
        -----
        Validity: exact inference on 4,000 data of this grammar per level.
        """
        one_of("law", law, ("exact",))
        grammar, noise = self.grammar, self.process
        rng = stream(self.seed, "law")
        values = []
        for t in self.t:
            x_t = noise.corrupt(grammar.sample(4000, rng).leaves, t, rng)
            p = denoise_symbols(grammar, noise, x_t, t)
            values.append((1 - (p**2).sum(axis=2)).mean(axis=1))
        rows = np.array(values)
        return self._labelled(
            {
                "excess": (("t",), rows.mean(axis=1), _EXCESS),
                "excess_error": (
                    ("t",), rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1]), "its standard error",
                ),
            },
            {}, "theory",
        )  # fmt: skip

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> xr.Dataset:
        """Excess, noise of the gradient and divergence along training, of both targets.

        Parameters
        ----------
        model, data
            Refused: networks are trained in pairs.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            ``excess`` [t]; ``divergence`` [target, step] and ``gradient_noise`` [target], with
            ``noise_ratio``, ``divergence_ratio`` (sampled over exact, paired) and all errors.

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: errors over networks.
        """
        no_model(
            self.name, model, data,
            "it trains pairs of networks; the divergence of one model is divergence_to_exact",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        pairs = [self._pair(k, place, device) for k in range(self.networks)]
        excess, noise, curves = (np.array([pair[i] for pair in pairs]) for i in range(3))
        steps = [int(step) for step in pairs[0][3]]
        noise_ratio, ratio = noise[:, 0] / noise[:, 1], curves[:, 0, -1] / curves[:, 1, -1]
        variables: dict[str, Any] = {}
        for name, dims, values, text in (
            ("excess", ("t",), excess, _EXCESS),
            ("divergence", ("target", "step"), curves, "KL divergence from the exact posterior"),
            ("gradient_noise", ("target",), noise, "variance of the gradient of a batch"),
            ("noise_ratio", (), noise_ratio, "variance of the gradient, sampled over exact"),
            ("divergence_ratio", (), ratio, "divergence at the end, sampled over exact"),
        ):
            variables[name] = (dims, values.mean(axis=0), text)
            variables[f"{name}_error"] = (dims, student_error(values), "its standard error")
        coords = {
            "target": (("target",), list(_TARGETS), "what is learned from"),
            "step": (("step",), steps, "training steps"),
        }
        return self._labelled(variables, coords, "network")

    def _labelled(
        self, variables: dict[str, Any], coords: dict[str, Any], source: str
    ) -> xr.Dataset:
        level = {"t": (("t",), list(self.t), f"noise level t of the {self.noise} process")}
        return results.label(variables, level | coords, source, results.provenance(asdict(self)))

    def _pair(
        self, k: int, folder: Path | None, device: str
    ) -> tuple[Array, list[float], list[list[float]], list[float]]:
        """Excess [t], noise [target], divergence [target, step] and steps of one pair."""
        done = [self._trained(k, target, folder, device) for target in _TARGETS]
        models = [symbol_model(one.network, self.process) for one in done]
        curves = [[entry["divergence"] for entry in one.history] for one in done]
        # both gradients at the same weights: where training against the posterior ended
        noise = [self._noise(done[1].network, target, k) for target in _TARGETS]
        return self._excess(models[1], k), noise, curves, [e["step"] for e in done[0].history]

    def _trained(self, k: int, target: Target, folder: Path | None, device: str) -> TrainResult:
        """Network k; weights and batches do not depend on the target."""
        grammar, noise = self.grammar, self.process

        def evaluate(network: nn.Module) -> dict[str, float]:
            # as the adapter runs it, in evaluation mode
            model = symbol_model(network, noise)
            seed = stream(self.seed, "test", k)
            kl, _ = divergence_to_exact(model, grammar, self.t, self.data, seed)
            return {"divergence": float(kl.mean())}

        every = max(1, self.steps // self.checkpoints)
        plan = TrainConfig(
            steps=self.steps, every=every, warmup=max(1, self.steps // 10), average=0.98,
            device=device,
        )  # fmt: skip
        _, done = train_symbol_network(
            grammar, noise, plan, width=self.width, batch=self.batch, target=target,
            network=self.architecture, seed=1000 * self.seed + k, evaluate=evaluate,
            folder=None if folder is None else folder / f"{target}-{k}",
        )  # fmt: skip
        return done

    def _noise(self, network: nn.Module, target: Target, k: int) -> float:
        """Trace of the covariance of the gradients of batches."""
        # streams that no step of training has had
        loss = symbol_loss(
            self.grammar, self.process, batch=self.batch, target=target,
            seed=10**6 + 1000 * self.seed + k,
        )  # fmt: skip
        parameters = list(network.requires_grad_(True).parameters())
        rows = [_gradient(loss, network, step, parameters) for step in range(self.batches)]
        network.requires_grad_(False)
        return float(torch.stack(rows).var(dim=0).sum())

    def _excess(self, model: NetworkModel, k: int) -> Array:
        """Squared gradient with sampled targets less that with exact ones, per leaf [t]."""
        grammar, noise = self.grammar, self.process
        rng, eye = stream(self.seed, "excess", k), np.eye(self.v)
        out = []
        for t in self.t:
            x_0 = grammar.sample(self.data, rng).leaves
            x_t = noise.corrupt(x_0, t, rng)
            q, p = model.denoise(x_t, t), denoise_symbols(grammar, noise, x_t, t)
            out.append(((q - eye[x_0]) ** 2 - (q - p) ** 2).sum(axis=2).mean())
        return np.array(out)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The law and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "sample-*", "posterior-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Divergence along training, and the excess against its law."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        words = {"sample": "sampled targets", "posterior": "exact posterior"}
        for target, marker, colour in zip(_TARGETS, "so", (BLUE, ORANGE), strict=True):
            one = ds.sel(target=target)
            left.errorbar(one.step, one.divergence, one.divergence_error, marker=marker, ms=5,
                          mfc="none", lw=1, capsize=2, color=colour,
                          label=words[target])  # fmt: skip
        left.set(xlabel="training steps", ylabel="divergence from exact, nats per leaf")
        left.set_ylim(bottom=0)
        legend(left)
        right.plot(law.t, law.excess, "k-", lw=1, label=r"exact: $E[1 - \sum_a p(a|x_t)^2]$")
        right.errorbar(ds.t, ds.excess, ds.excess_error, fmt="o", ms=5, mfc="none", capsize=2,
                       color=BLUE, label="networks")  # fmt: skip
        right.set(xlabel="noise level t", ylabel="added squared gradient per leaf")
        legend(right)
        panels((left, right), "networks against exact inference", "what sampled targets add")
        for ax in (left, right):
            ax.spines[["top", "right"]].set_visible(False)
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """Divergence at every checkpoint, and what the targets do to the gradient."""
        ds = datasets[self.name]
        both = results.compare(datasets[f"{self.name}_theory"], ds[["excess", "excess_error"]])
        z = float(np.abs(both.excess_z).max())
        rows = []
        for step in ds.step.values:
            cells = [plus_minus(x.divergence, x.divergence_error, digits=4)
                     for x in (ds.sel(target=k, step=step) for k in _TARGETS)]  # fmt: skip
            rows.append([step, *cells])
        ratios = {
            name: [float(ds[name]), float(ds[f"{name}_error"])]
            for name in ("noise_ratio", "divergence_ratio")
        }
        values = {
            **ratios, "largest z of the excess": z, "networks": self.networks,
            "steps": ds.step.values.tolist(),
            "divergence": {k: ds.divergence.sel(target=k).values.tolist() for k in _TARGETS},
            "divergence error": {
                k: ds.divergence_error.sel(target=k).values.tolist() for k in _TARGETS
            },
        }  # fmt: skip
        words = [f"{value:.2f} ± {error:.2f}" for value, error in ratios.values()]
        claim = (
            f"sampled targets leave {words[1]} times the divergence of exact ones after "
            f"{self.steps} steps, with {words[0]} times the variance of the gradient; what they "
            f"add to its square is as predicted (|z| <= {z:.1f}); {self.networks} pairs of networks"
        )
        header = ["step", "sampled targets", "exact posterior"]
        return Summary(text_table(header, rows), claim, values)


def _gradient(
    loss: Callable[[nn.Module, int], Tensor], network: nn.Module, step: int, parameters: list[Any]
) -> Tensor:
    """Gradient of the loss of one batch as a vector, in float64."""
    parts = torch.autograd.grad(loss(network, step), parameters)
    return torch.cat([x.flatten() for x in parts]).double()
