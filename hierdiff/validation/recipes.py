r"""Networks trained here: for each kind of data a loss, and the training of a network with it.

=========  =====================================  ==================================================
data       loss, minimised over all functions by  recipe
=========  =====================================  ==================================================
symbols    the exact marginals                    :func:`train_symbol_network`
images     the posterior mean of the noise        :func:`train_image_network`
vectors    the posterior mean of the data         :func:`train_vector_network`
bumps      the posterior mean of the noise        :func:`train_bump_network`
chains     the posterior mean of the spins        :func:`train_chain_network`
=========  =====================================  ==================================================

On symbols the network returns logits and learns by their cross-entropy,

.. math:: \mathcal L = -E_{x_0, t} \sum_i \log q_i(x_{0,i} \mid x_t, t), \qquad
   E[x_0 \mid x_t] \approx q,

and the difference from the exact marginals of belief propagation is the mean Kullback-Leibler
divergence :math:`E\, KL(p_i \| q_i)` per leaf, in nats.  With ``target="posterior"`` the loss is
this divergence itself: the mean over x_0 given x_t, in place of one draw.  With
``target="next leaf"`` it is the loss of an autoregressive model, whose sum over k is at least H(x):

.. math:: \mathcal L = -E_{x_0, k} \log q(x_{0,k} \mid x_{0,<k}), \qquad k \text{ uniform}.

On images and bumps it predicts the noise,

.. math:: \mathcal L = E_{x_0, i, \epsilon}\;
   |\epsilon - \epsilon_\theta(a_i x_0 + s_i \epsilon, i)|^2

over the indices i of the schedule.  On vectors the squared error is taken in units of c_out, the
standard deviation of x0 given x_t for Gaussian data of the same variance, so that all noise levels
weigh alike.  On chains of spins the loss is the cross-entropy of a spin whose mean is the output.

Every recipe takes the name of a network for its data
(:func:`hierdiff.validation.networks.architecture_for`), by default the first there is.  Sizes that
are left at their defaults are not asked of a network that does not have them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hierdiff._lazy import renamed
from hierdiff.checks import (
    checked,
    fraction,
    instance,
    interval,
    listed,
    one_of,
    reals,
    shown,
    symbols_of,
    whole,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.bumps import Bumps
from hierdiff.data.digits import LabelledImages
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess, SymbolEvidence, masks, network_input
from hierdiff.seeds import Seed, generator, stream
from hierdiff.theory import denoise_symbols
from hierdiff.validation import networks
from hierdiff.validation._checks import (
    batch_number,
)
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.diffusion.samplers import DDIM, Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, LogSNR
from hierdiff.validation.exact_inference import marginals, posterior_kl
from hierdiff.validation.execution import Execution
from hierdiff.validation.training import Evaluation, TrainConfig, TrainResult, train

__all__ = [
    "Source",
    "Target",
    "bump_loss",
    "bump_model",
    "chain_loss",
    "divergence_to_exact",
    "eps_loss",
    "symbol_loss",
    "train_bump_network",
    "train_chain_network",
    "train_image_network",
    "train_symbol_network",
    "train_vector_network",
    "vector_loss",
]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(
        __name__,
        {
            "gap_to_exact": "divergence_to_exact",
            "train_tree_unet": "train_symbol_network",
            "train_vector_denoiser": "train_vector_network",
        },
    )

Array = NDArray[Any]
Target: TypeAlias = Literal["sample", "posterior", "next leaf"]

Source: TypeAlias = LabelledImages | Callable[[int, np.random.Generator], LabelledImages]
"""A set of images, or what draws that many fresh ones."""


def _made(
    name: str | None, data: Any, noise: NoiseProcess | None, weights: int,
    usual: Mapping[str, Any], /, **sizes: Any,
) -> tuple[str, nn.Module]:  # fmt: skip
    """Name and network, with initial weights of a seed; ``usual`` are the defaults of the sizes."""
    name = networks.architecture_for(type(data), name)
    known = networks.sizes_of(name)
    given = {k: x for k, x in sizes.items() if known is None or k in known or x != usual[k]}
    torch.manual_seed(int(stream(weights, "weights").integers(2**31)))
    return name, networks.network(name, data, noise, **given)


@checked(batch=batch_number)
def symbol_loss(
    grammar: Grammar,
    noise: NoiseProcess,
    *,
    batch: int = 256,
    data: Array | None = None,
    focus: tuple[float, float] | None = None,
    label_share: float = 0.0,
    target: Target = "sample",
    seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:
    """Cross-entropy of the clean symbols, or divergence from their posterior, on fresh batches.

    Parameters
    ----------
    grammar : Grammar
        Where data are drawn from.
    noise : NoiseProcess
    batch : int
        Data per step.
    data : int array [P, leaves], optional
        A finite training set instead of fresh data.
    focus : (low, high), optional
        Three quarters of the noise levels fall into this range of t, where the transition is; by
        default they are uniform in [0, 1].
    label_share : float
        Share of the data whose class is given to the network, which then has classes.
    target : {"sample", "posterior", "next leaf"}
        What is learned from: the clean symbols that were drawn, or the exact marginals of the
        grammar given what the network sees (:mod:`hierdiff.validation.exact_inference`).  The
        batches are the same.  With "next leaf" the network sees the k leaves on the left, masks for
        all others, and learns from leaf k alone; ``focus`` is then a range of shares of masks.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If the training set is empty, of another length or, where labels are given, not in the
        language, or ``label_share`` is outside [0, 1]; for the next leaf without masking noise.

    Notes
    -----
    Validity: its minimum is the entropy of the exact posterior, per leaf in nats, or 0 with
    ``target="posterior"``; the gradients of both have the same mean over x_0 given x_t.  With
    ``target="next leaf"`` the minimum is H(x) over the number of leaves.
    """
    one_of("target", target, get_args(Target))
    if target == "next leaf" and not masks(noise):
        raise InvalidParameter(
            f"target = 'next leaf' hides leaves by masks, which {noise.name} noise does not have; "
            "use MaskingNoise"
        )
    if data is not None:
        data = symbols_of("data", data, 0, grammar.leaf_vocabulary)
        if not len(data) or data.shape[1] != grammar.n_leaves:
            raise InvalidParameter(
                f"data of shape {data.shape} must be non-empty with {grammar.n_leaves} leaves"
            )
    if focus is not None:
        low, high = interval("focus", focus)
        if low < 0 or high > 1:
            raise InvalidParameter(f"focus = {focus} must lie in [0, 1]")
    if not 0 <= label_share <= 1:
        raise InvalidParameter(f"label_share = {label_share} must lie in [0, 1]")
    classes = grammar.v[0]
    known = grammar.parse(data).levels[0][:, 0] if label_share and data is not None else None

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = generator(stream(seed, "training", step))
        label: Array | None
        if data is None:
            drawn = grammar.sample(batch, rng)
            leaves, label = drawn.leaves, drawn.levels[0][:, 0]
        else:
            rows = rng.integers(len(data), size=batch)
            leaves, label = data[rows], None if known is None else known[rows]
        t = rng.random(batch)
        if focus is not None:
            inside = rng.random(batch) < 0.75
            t = np.where(inside, focus[0] + (focus[1] - focus[0]) * t, t)
        if target == "next leaf":
            # a uniform level makes a uniform number of hidden leaves, from one to all
            hidden_leaves = np.maximum(np.ceil(t * grammar.n_leaves), 1).astype(np.int64)
            next_leaf, t = grammar.n_leaves - hidden_leaves, hidden_leaves / grammar.n_leaves
            x_t = np.where(np.arange(grammar.n_leaves) < next_leaf[:, None], leaves, -1)
        else:
            x_t = noise.corrupt(leaves, t, rng)
        channels = network_input(noise, x_t, t)
        x, log_snr = (torch.from_numpy(np.asarray(part, np.float32)) for part in channels)
        device = next(network.parameters()).device
        condition: tuple[Tensor, ...] = ()
        hidden = np.full(batch, classes)
        if label is not None and label_share:
            hidden = np.where(rng.random(batch) < label_share, label, classes)
            condition = (torch.from_numpy(hidden.astype(np.int64)).to(device),)
        logits = network(x.to(device), log_snr.to(device), *condition)
        if target == "posterior":
            exact = _exact_marginals(grammar, noise.evidence(x_t, t), hidden, device)
            return posterior_kl(exact, logits.float()).mean()
        clean = torch.from_numpy(np.asarray(leaves, np.int64)).to(device)
        if target == "next leaf":
            rows = np.arange(batch)
            logits, clean = logits[rows, next_leaf, None], clean[rows, next_leaf, None]
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), clean.flatten())

    return loss


def _exact_marginals(
    grammar: Grammar, evidence: SymbolEvidence | Array, label: Array, device: torch.device
) -> Tensor:
    """Marginals [n, leaves, v] of the leaves; the label v_0 stands for none."""
    dense = evidence.dense() if isinstance(evidence, SymbolEvidence) else evidence
    parts, order = [], []
    for rows, given in ((label == grammar.v[0], False), (label < grammar.v[0], True)):
        if rows.any():
            root = label[rows] if given else None
            parts.append(
                marginals(grammar, dense[rows], root, levels=(-1,), dtype=torch.float32,
                          device=str(device))[-1]
            )  # fmt: skip
            order.append(np.flatnonzero(rows))
    back = torch.from_numpy(np.argsort(np.concatenate(order))).to(device)
    return torch.cat(parts)[back]


@checked(batch=batch_number)
def train_symbol_network(
    grammar: Grammar,
    noise: NoiseProcess,
    config: TrainConfig,
    *,
    width: int = 64,
    batch: int = 256,
    data: Array | None = None,
    focus: tuple[float, float] | None = None,
    label_share: float = 0.0,
    target: Target = "sample",
    network: str | None = None,
    leaf_width: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
) -> tuple[NetworkModel, TrainResult]:
    """A network trained on a grammar, with checkpoints.

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
    config : TrainConfig
        How long to train.
    width : int
        Features per node.
    batch, data, focus, label_share, target, seed
        As in :func:`symbol_loss`; the seed also names the initial weights.
    network : str, optional
        Name of a network for grammars in :data:`hierdiff.validation.networks.NETWORKS`.
    leaf_width : int, optional
        Features per leaf, for a network that has this size.
    folder : path-like, optional
        Where the checkpoint is kept.
    evaluate : callable, optional
        As in :func:`hierdiff.validation.training.train`.

    Returns
    -------
    model : NetworkModel
    trained : TrainResult
        With the history.

    Raises
    ------
    InvalidParameter
        As in :func:`hierdiff.validation.networks.network` and :func:`symbol_loss`.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    name, module = _made(
        network, grammar, noise, seed, {"width": 64, "conditional": False, "leaf_width": None},
        width=width, conditional=label_share > 0, leaf_width=leaf_width,
    )  # fmt: skip
    loss = symbol_loss(
        grammar, noise, batch=batch, data=data, focus=focus, label_share=label_share,
        target=target, seed=seed,
    )  # fmt: skip
    done = train(module, loss, config, folder=folder, evaluate=evaluate, name=name)
    return symbol_model(done.network, noise), done


@checked
def divergence_to_exact(
    model: DiffusionModel, grammar: Grammar, t: ArrayLike, n: int, seed: Seed
) -> tuple[Array, Array]:
    r"""Mean divergence per leaf of the network's beliefs from exact ones, with standard errors.

    .. math:: E \frac1{n_{leaves}} \sum_i KL(p_i \| q_i)

    Parameters
    ----------
    model : DiffusionModel
        On the symbols of the grammar; of exact inference the divergence is zero.
    grammar : Grammar
        Where test data are drawn from.
    t : array [k]
        Noise levels.
    n : int
        Test data, at least two.
    seed : Seed
        Source of randomness.

    Returns
    -------
    divergence, error : array [k]
        Nats per leaf.

    Raises
    ------
    InvalidParameter
        If n < 2.

    Notes
    -----
    Validity: exact posterior; the error is that of the mean over test data.
    """
    if n < 2:
        raise InvalidParameter(f"n = {n} data give no error bar; use at least 2")
    rng = generator(seed)
    leaves = grammar.sample(n, rng).leaves
    found = []
    for level in np.atleast_1d(reals("t", t, 0, 1, ndim=(0, 1), least=1)):
        x_t = model.noise.corrupt(leaves, level, rng)
        p = denoise_symbols(grammar, model.noise, x_t, level)
        q = np.maximum(model.denoise(x_t, level), 1e-30)
        terms = p * (np.log(np.maximum(p, 1e-300)) - np.log(q))
        found.append(terms.sum(axis=2).mean(axis=1))
    values = np.array(found)
    return values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(n)


def _source(name: str, value: Any) -> Any:
    if isinstance(value, LabelledImages) or callable(value):
        return value
    raise InvalidParameter(
        f"{name} = {shown(value)} is no source of images; give LabelledImages, or a function of a "
        "number and a generator that draws them"
    )


def _drawn(data: Any, n: int, random: np.random.Generator) -> LabelledImages:
    """Fresh images of a function."""
    return cast(LabelledImages, instance("what data returns", data(n, random), LabelledImages))


@checked(data=_source, batch=batch_number, label_share=fraction, classes=partial(whole, high=2**20))
def eps_loss(
    data: Source,
    schedule: DiscreteSchedule,
    *,
    batch: int = 128,
    label_share: float = 0.0,
    classes: int = 0,
    seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:
    """Squared error of eps at random indices of a schedule, on a random batch per step.

    Parameters
    ----------
    data : LabelledImages, or callable
        The training set; or, called with a number and a generator, fresh images.
    schedule : DiscreteSchedule
    batch : int
        Images per step.
    label_share : float
        Share of the steps in which the labels are given; else all are ``classes``.
    classes : int
        Number of labels; the label ``classes`` is the null label.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If there are no images, or no classes where labels are given.

    Notes
    -----
    Validity: its minimum over functions is the posterior mean of eps under the training set,
    which memorises; what networks learn instead is the subject of the study.
    """
    if isinstance(data, LabelledImages) and not len(data):
        raise InvalidParameter("there are no images to train on; give at least one")
    if label_share and not classes:
        raise InvalidParameter(f"label_share = {label_share} needs classes; give their number")
    ratio = schedule.snr / (1 + schedule.snr)
    amplitude, sigma = np.sqrt(ratio), np.sqrt(1 - ratio)

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        if isinstance(data, LabelledImages):
            taken = data[random.integers(len(data), size=batch)]
        else:
            taken = _drawn(data, batch, random)
        index = random.integers(len(schedule), size=batch)
        device = next(network.parameters()).device
        eps = random.standard_normal(taken.images.shape, dtype=np.float32)
        shape = (batch,) + (1,) * (eps.ndim - 1)
        clean, noise = amplitude[index].reshape(shape), sigma[index].reshape(shape)
        noisy = (clean * taken.images + noise * eps).astype(np.float32)
        inputs = [torch.from_numpy(noisy),
                  torch.from_numpy(schedule.times[index].astype(np.float32))]  # fmt: skip
        if classes:
            given = np.where(random.random() < label_share, taken.labels, classes)
            inputs.append(torch.from_numpy(given))
        out = network(*(x.to(device) for x in inputs))
        return nn.functional.mse_loss(out.float(), torch.from_numpy(eps).to(device))

    return loss


@checked(data=_source, batch=batch_number, label_share=fraction)
def train_image_network(
    data: Source,
    config: TrainConfig,
    *,
    channels: int = 32,
    multipliers: tuple[float, ...] = (1, 2),
    blocks: int = 1,
    attention: tuple[int, ...] = (2,),
    batch: int = 128,
    label_share: float = 0.0,
    num_steps: int = 100,
    network: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
) -> tuple[NetworkModel, TrainResult]:
    """A network trained on images.

    Parameters
    ----------
    data : LabelledImages, or callable
        Square images, or what draws fresh ones (see :func:`eps_loss`).
    config : TrainConfig
        How long to train.
    channels, multipliers, blocks, attention
        Sizes, as in :class:`hierdiff.validation.networks.adm.ADMConfig`.
    batch : int
        Images per step.
    label_share : float
        Share of the steps in which the labels are given; above 0 the network has a null label
        beside the classes, on which the model is conditioned until ``given`` another.
    num_steps : int
        Steps of the ancestral sampler.
    network : str, optional
        Name of a network for labelled images in :data:`hierdiff.validation.networks.NETWORKS`.
    seed : int
        Names the weights and all batches.
    folder : path-like, optional
        Where the checkpoint is kept.
    evaluate : callable, optional
        As in :func:`hierdiff.validation.training.train`.

    Returns
    -------
    model : NetworkModel
    trained : TrainResult

    Raises
    ------
    InvalidParameter
        If the sizes do not divide, or there are no images.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    some = data if isinstance(data, LabelledImages) else _drawn(data, 4096, stream(seed, "shape"))
    classes = int(some.labels.max()) + 1 if label_share and len(some) else 0
    usual = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (2,),
             "conditional": False}  # fmt: skip
    _, module = _made(
        network, some, None, seed, usual, channels=channels, multipliers=multipliers, blocks=blocks,
        attention=attention, conditional=classes > 0,
    )  # fmt: skip
    schedule = DiscreteSchedule.linear()
    loss = eps_loss(
        data, schedule, batch=batch, label_share=label_share, classes=classes, seed=seed
    )
    done = train(module, loss, config, folder=folder, evaluate=evaluate, name="images")
    model = NetworkModel(
        done.network, GaussianNoise(schedule="linear"), "eps",
        sampler=Ancestral(schedule.respaced(str(num_steps)), clip=1.0),
        condition=classes or None, null_condition=classes or None,
        execution=Execution(batch_size=256),
    )  # fmt: skip
    return model, done


@checked(batch=batch_number, sigmas=interval, label_share=fraction)
def vector_loss(
    mixture: LowRankMixture, *, data: NDArray[np.float64] | None = None, batch: int = 256,
    sigmas: tuple[float, float] = (0.01, 5.0), label_share: float = 0.0, seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:  # fmt: skip
    """Squared error in units of c_out, at noise levels uniform in log sigma.

    Parameters
    ----------
    mixture : LowRankMixture
        Where fresh data come from.
    data : array [N, D], optional
        A finite training set instead.
    batch : int
        Data per step.
    sigmas : (float, float)
        Range of noise relative to the signal.
    label_share : float
        Share of the fresh data whose class is given to the network, which then has classes.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If the training set has another shape, the range does not increase, or classes are asked of
        a training set, which has none.

    Notes
    -----
    Validity: its minimum over functions is the posterior mean under the data that it sees: the
    mixture's, or the training set's; given the class, that of the class.
    """
    if data is not None and label_share:
        raise InvalidParameter(
            f"label_share = {label_share} needs classes, which data lack; leave one of them out"
        )
    if data is not None:
        data = reals("data", data, shape=(None, mixture.dim), least=1)
    if not 0 < sigmas[0] < sigmas[1]:
        raise InvalidParameter(f"sigmas = {sigmas} must increase, above 0")
    variance = float((mixture.sample(4000, stream(seed, "variance"))[0] ** 2).mean())

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        k: Array | None = None
        if data is None:
            x0, k = mixture.sample(batch, random)
        else:
            x0 = data[random.integers(len(data), size=batch)]
        low, high = np.log(sigmas)
        log_snr = -2 * (low + (high - low) * random.random(batch))
        a = np.sqrt(1 / (1 + np.exp(-log_snr)))[:, None]
        noisy = a * x0 + np.sqrt(1 - a**2) * random.standard_normal(x0.shape)
        device = next(network.parameters()).device
        x, clean, level = (
            torch.from_numpy(v.astype(np.float32)).to(device) for v in (noisy, x0, log_snr)
        )
        label: tuple[Tensor, ...] = ()
        if k is not None and label_share:
            shown_class = np.where(random.random(batch) < label_share, k, mixture.n_classes)
            label = (torch.from_numpy(shown_class.astype(np.int64)).to(device),)
        if hasattr(network, "scales") and hasattr(network, "inner"):
            # the same without the division of a product by its factor
            skip, out, _ = cast(Any, network).scales(level, x)
            return nn.functional.mse_loss(cast(Any, network).inner(x, level, *label),
                                          (clean - skip * x) / out)  # fmt: skip
        kept = torch.from_numpy((a**2).astype(np.float32)).to(device)
        out = (variance * (1 - kept) / (kept * variance + 1 - kept)).sqrt()
        return nn.functional.mse_loss(network(x, level, *label) / out, clean / out)

    return loss


@checked(batch=batch_number)
def train_vector_network(
    mixture: LowRankMixture,
    config: TrainConfig,
    *,
    data: NDArray[np.float64] | None = None,
    width: int = 256,
    depth: int = 3,
    batch: int = 256,
    sigmas: tuple[float, float] = (0.01, 5.0),
    label_share: float = 0.0,
    network: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[NetworkModel, TrainResult]:
    """A network trained on a mixture, or on a finite sample of it.

    Parameters
    ----------
    mixture : LowRankMixture
    config : TrainConfig
        How long to train.
    data, batch, sigmas, label_share
        As in :func:`vector_loss`.
    width, depth
        Features and hidden layers.
    network : str, optional
        Name of a network for mixtures in :data:`hierdiff.validation.networks.NETWORKS`, which
        predicts x0.
    seed : int
        Names the weights and the batches.
    folder : path-like, optional
        Where the checkpoint is kept.

    Returns
    -------
    model : NetworkModel
        On vectors with ``GaussianNoise()``; if classes were given in training, ``given`` conditions
        it on one.
    trained : TrainResult

    Raises
    ------
    InvalidParameter
        As :func:`vector_loss`.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    usual = {"width": 256, "depth": 3, "conditional": False, "seed": seed}
    _, module = _made(
        network, mixture, None, seed, usual, width=width, depth=depth, conditional=label_share > 0,
        seed=seed,
    )  # fmt: skip
    loss = vector_loss(
        mixture, data=data, batch=batch, sigmas=sigmas, label_share=label_share, seed=seed
    )
    done = train(module, loss, config, folder=folder, name="vectors")
    model = NetworkModel(
        done.network,
        GaussianNoise(),
        "x0",
        noise_conditioning=LogSNR(),
        classes=mixture.n_classes if label_share else None,
        execution=Execution(batch_size=4096),
    )
    return model, done


@checked(batch=batch_number, stripes=fraction)
def bump_loss(
    bumps: Bumps, schedule: DiscreteSchedule, *, batch: int = 64,
    weights: NDArray[np.float64] | None = None, stripes: float = 0.0, seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:  # fmt: skip
    """Squared error of eps on random bumps, a batch per step.

    Parameters
    ----------
    bumps : Bumps
    schedule : DiscreteSchedule
    batch : int
        Images per step.
    weights : array [len(bumps.labels)], optional
        Frequencies of the training labels, default equal; 0 leaves a label out.
    stripes : float
        Share of the images that are a stripe at one coordinate, drawn from all of its values, while
        the label of the other one is null (NaN).
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If ``batch`` < 1, the weights are no frequencies or the share is outside [0, 1].

    Notes
    -----
    Validity: intensities [0, 1] become [-1, 1].
    """
    if weights is not None:
        bumps.sample(1, 0, weights)  # refuses what is no frequency
    share = schedule.snr / (1 + schedule.snr)

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        images, labels = bumps.sample(batch, random, weights)
        if stripes:
            images, labels = _with_stripes(bumps, images, labels, stripes, random)
        index = random.integers(len(schedule), size=batch)
        clean = (2 * images - 1)[:, None].astype(np.float32)
        eps = random.standard_normal(clean.shape, dtype=np.float32)
        a, s = (np.sqrt(x)[:, None, None, None] for x in (share[index], 1 - share[index]))
        inputs = ((a * clean + s * eps).astype(np.float32),
                  schedule.times[index].astype(np.float32), labels.astype(np.float32))  # fmt: skip
        device = next(network.parameters()).device
        out = network(*(torch.from_numpy(x).to(device) for x in inputs))
        return nn.functional.mse_loss(out.float(), torch.from_numpy(eps).to(device))

    return loss


def _with_stripes(
    bumps: Bumps, images: Array, labels: Array, share: float, random: np.random.Generator
) -> tuple[Array, Array]:
    """Some of the images as stripes: at x along columns, or at y along rows."""
    pixels, labels = np.arange(bumps.size), labels.copy()
    chosen, axes = random.random(len(labels)) < share, random.integers(2, size=len(labels))
    for axis, values in enumerate((bumps.x, bumps.y)):
        rows = np.flatnonzero(chosen & (axes == axis))
        place = values[random.integers(len(values), size=len(rows))]
        light = np.exp(-((pixels - place[:, None]) ** 2) / (2 * bumps.sigma**2))
        light = light[:, None, :] if axis == 0 else light[:, :, None]
        images[rows] = 1 - light if bumps.dark else light
        labels[rows, axis], labels[rows, 1 - axis] = place, np.nan
    return images, labels


@checked(batch=batch_number)
def train_bump_network(
    bumps: Bumps,
    config: TrainConfig,
    *,
    attenuation: float | None = None,
    channels: int = 32,
    multipliers: tuple[float, ...] = (1, 2),
    blocks: int = 1,
    batch: int = 64,
    weights: NDArray[np.float64] | None = None,
    stripes: float = 0.0,
    num_steps: int = 20,
    network: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
) -> tuple[NetworkModel, TrainResult]:
    """A network trained on bumps.

    Parameters
    ----------
    bumps : Bumps
    config : TrainConfig
        How long to train.
    attenuation : float, optional
        Amplitude of the true position among false ones in what the network is conditioned on; by
        default the position alone.
    channels, multipliers, blocks
        Sizes, as in :class:`hierdiff.validation.networks.adm.ADMConfig`.
    batch, weights, stripes, seed
        As in :func:`bump_loss`; the seed also names the initial weights.
    num_steps : int
        Steps of the deterministic sampler.
    network : str, optional
        Name of a network for bumps in :data:`hierdiff.validation.networks.NETWORKS`.
    folder : path-like, optional
        Where the checkpoint is kept.
    evaluate : callable, optional
        As in :func:`hierdiff.validation.training.train`.

    Returns
    -------
    model : NetworkModel
        Condition it on positions by ``given``, an array [1, 2] or [n, 2] of float.
    trained : TrainResult

    Raises
    ------
    InvalidParameter
        As :func:`hierdiff.validation.networks.network` and :func:`bump_loss`.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    usual = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attenuation": None, "seed": seed}
    _, module = _made(
        network, bumps, None, seed, usual, channels=channels, multipliers=multipliers,
        blocks=blocks, attenuation=attenuation, seed=seed,
    )  # fmt: skip
    schedule = DiscreteSchedule.linear()
    loss = bump_loss(bumps, schedule, batch=batch, weights=weights, stripes=stripes, seed=seed)
    done = train(module, loss, config, folder=folder, evaluate=evaluate, name="bumps")
    return bump_model(done.network, num_steps), done


@checked
def bump_model(network: nn.Module, num_steps: int = 20) -> NetworkModel:
    """A bump network as a DiffusionModel, with the features that its ``feature_layer`` names."""
    layer = getattr(network, "feature_layer", "")
    return NetworkModel(
        network, GaussianNoise(schedule="linear"), "eps", layers={layer: "keep"} if layer else {},
        sampler=DDIM(DiscreteSchedule.linear().respaced(str(num_steps))),
        condition=np.zeros((1, 2), np.float32), execution=Execution(batch_size=256),
    )  # fmt: skip


def _lengths(name: str, value: Any) -> tuple[IsingChains, ...]:
    """Chains of the same classes, of one length or several."""
    found = listed(name, value, lambda word, one: instance(word, one, IsingChains), least=1)
    if len({chains.n_classes for chains in found}) > 1:
        raise InvalidParameter(f"{name} have different numbers of classes; give chains of the same")
    return found


def _ou_times(name: str, value: Any) -> tuple[float, float]:
    low, high = interval(name, value)
    if not 1e-3 <= low < high <= 300:
        raise InvalidParameter(f"{name} = {value} must increase, between 0.001 and 300")
    return low, high


@checked(chains=_lengths, spins=batch_number, times=_ou_times, label_share=fraction)
def chain_loss(
    chains: Sequence[IsingChains], *, spins: int = 8192, times: tuple[float, float] = (0.02, 3.0),
    label_share: float = 0.0, seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:  # fmt: skip
    """Cross-entropy of the spins of fresh chains, one length per step in turn.

    Parameters
    ----------
    chains : sequence of IsingChains
        One per length, of the same classes.
    spins : int
        Spins per step, so that steps cost the same at every length; at least one chain.
    times : (float, float)
        Range of Ornstein-Uhlenbeck times, in which noise levels are uniform.
    label_share : float
        Share of the chains whose class is given to the network, which then has classes.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If there are no chains, their classes differ in number, or times do not increase.

    Notes
    -----
    Validity: a spin with mean m is +1 with probability (1 + m) / 2, so the minimum over functions
    is E[sigma | x_t], given the class where it is given.
    """
    classes = chains[0].n_classes

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        one = chains[step % len(chains)]
        n = max(1, spins // one.N)
        x0, k = one.sample(n, random)
        clean = one.vectors(x0)
        t = times[0] + (times[1] - times[0]) * random.random(n)
        a = np.exp(-t)[:, None]
        noisy = a * clean + np.sqrt(1 - a**2) * random.standard_normal(clean.shape)
        shown_class = np.where(random.random(n) < label_share, k, classes)
        device = next(network.parameters()).device
        x, sigma, level = (
            torch.from_numpy(v.astype(np.float32)).to(device)
            for v in (noisy, clean, -np.log(np.expm1(2 * t)))
        )
        label = (torch.from_numpy(shown_class).to(device),) if label_share else ()
        if hasattr(network, "field"):
            # from the log odds, which a certain spin does not round to those of certainty
            field: Tensor = cast(Any, network).field(x, level, *label)
            return nn.functional.softplus(-2 * sigma * field).mean()
        mean: Tensor = network(x, level, *label)
        return -((1 + sigma * mean) / 2).clamp_min(1e-6).log().mean()

    return loss


@checked(chains=_lengths, spins=batch_number, times=_ou_times, label_share=fraction)
def train_chain_network(
    chains: Sequence[IsingChains],
    config: TrainConfig,
    *,
    width: int = 16,
    spins: int = 8192,
    times: tuple[float, float] = (0.02, 3.0),
    label_share: float = 0.0,
    network: str | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[NetworkModel, TrainResult]:
    """One network trained on the spins of chains of several lengths.

    Parameters
    ----------
    chains : sequence of IsingChains
        One per length, of the same classes.
    config : TrainConfig
        How long to train.
    width : int
        Features per spin.
    spins, times, label_share
        As in :func:`chain_loss`.
    network : str, optional
        Name of a network for chains in :data:`hierdiff.validation.networks.NETWORKS`, which
        predicts the mean spins.
    seed : int
        Names the weights and the batches.
    folder : path-like, optional
        Where the checkpoint is kept.

    Returns
    -------
    model : NetworkModel
        On spins -1 and +1 with ``GaussianNoise()``; if classes were given in training, ``given``
        conditions it on one.
    trained : TrainResult

    Raises
    ------
    InvalidParameter
        As :func:`chain_loss`.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    _, module = _made(
        network, chains[0], None, seed, {"width": 16, "conditional": False},
        width=width, conditional=label_share > 0,
    )  # fmt: skip
    loss = chain_loss(chains, spins=spins, times=times, label_share=label_share, seed=seed)
    done = train(module, loss, config, folder=folder, name="chains")
    classes = chains[0].n_classes if label_share else None
    model = NetworkModel(
        done.network, GaussianNoise(), "x0", noise_conditioning=LogSNR(), classes=classes,
        null_condition=classes, condition=classes, execution=Execution(batch_size=256),
    )  # fmt: skip
    return model, done
