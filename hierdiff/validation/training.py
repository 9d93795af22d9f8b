"""Training that can be killed: checkpoints, averaged weights, curves, early stopping.

A step is a function of its number: the batch of step k comes from random streams named by the seed
and k, so a run that was interrupted and resumed ends in the same weights, bit for bit on a device.

A checkpoint remembers what it was trained on: the content of all that the loss reads, by
:func:`hierdiff.fingerprints.fingerprint`, and the losses of the first two batches under fixed
weights, for a loss whose content cannot be read.  Other data, settings or seeds of the batches, or
another network, are another run.  It also holds the version of the code and of the libraries, and
is not resumed by other ones: half a run of each would be neither.

Checkpoints are written at every evaluation and at Ctrl-C, after the step that is under way; a
second Ctrl-C stops at once, and what was done since the last checkpoint is lost.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import itertools
import json
import math
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hierdiff._files import one_line, remove_leftovers, replacing
from hierdiff._lazy import renamed
from hierdiff._progress import Progress
from hierdiff.checks import check_fields, checked, shown
from hierdiff.errors import InvalidParameter
from hierdiff.fingerprints import Fingerprints, code_parts, fingerprint
from hierdiff.results import writable_folder
from hierdiff.validation.execution import usable_device

__all__ = ["CheckpointSetAside", "Evaluation", "Loss", "TrainConfig", "TrainResult", "train"]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(__name__, {"Plan": "TrainConfig", "Trained": "TrainResult"})

Loss = Callable[[nn.Module, int], Tensor]
Evaluation = Callable[[nn.Module], dict[str, float]]

_FILE = "checkpoint.pt"


class CheckpointSetAside(UserWarning):
    """A checkpoint was damaged or belongs to another run; training starts anew."""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how fast to train; the fields are stored with every checkpoint."""

    steps: int = 3000
    """Updates of the weights."""
    rate: float = 3e-3
    """Highest learning rate: linear warm-up, then kept (``hold``), then a cosine to a hundredth."""
    warmup: int = 100
    """Steps of warm-up."""
    hold: float = 0.0
    """Share of the steps after the warm-up at the highest rate, before it falls."""
    average: float = 0.997
    """Share of the past in the running average of the weights; 0 keeps the last ones."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    every: int = 500
    """Steps between evaluations; each writes a checkpoint, and so does Ctrl-C."""
    patience: int = 0
    """Evaluations without a better loss after which training stops; 0 never stops early."""
    bfloat16: bool = False
    """Autocast to bfloat16; weights and averages stay in float32."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            torch.device(self.device)
        except RuntimeError:
            raise InvalidParameter(
                f"device = {self.device!r} is unknown to torch; use 'cpu', 'cuda' or 'mps'"
            ) from None
        for name in ("steps", "warmup", "every"):
            if getattr(self, name) < 1:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be at least 1")
        if not 0 <= self.hold < 1:
            raise InvalidParameter(f"hold = {self.hold} is a share of the steps, in [0, 1)")
        if not 0 <= self.average < 1 or self.rate <= 0 or self.clip <= 0 or self.patience < 0:
            raise InvalidParameter(
                f"average = {self.average} must lie in [0, 1), rate = {self.rate} and clip = "
                f"{self.clip} above 0, patience = {self.patience} not below 0"
            )

    @checked
    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        fallen = max(done - self.hold, 0.0) / (1 - self.hold)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(fallen, 1.0))))


@dataclass(frozen=True)
class TrainResult:
    """A trained network.

    Attributes
    ----------
    network
        With the averaged weights and the last buffers, in evaluation mode.
    history
        One dictionary per evaluation: step, loss (mean since the last one), and what ``evaluate``
        returned.
    steps
        Updates done.
    cpu_seconds
        Time of all processors of this machine in these updates, before and after an interruption.
    """

    network: nn.Module
    history: tuple[dict[str, float], ...]
    steps: int
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def train(
    network: nn.Module,
    loss: Loss,
    config: TrainConfig,
    *,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
    name: str = "training",
) -> TrainResult:
    """Minimise a loss with Adam, with checkpoints and a progress bar on a terminal.

    Parameters
    ----------
    network : torch.nn.Module
        Its weights are changed in place.
    loss : callable
        Of the network and the number of the step; draws its own batch.
    config : TrainConfig
    folder : path-like, optional
        Where the checkpoint is kept; a run with the same configuration resumes there.
    evaluate : callable, optional
        Of the network with averaged weights; if it returns "loss", that decides on stopping early.
    name : str
        Word in front of the progress bar.

    Returns
    -------
    TrainResult

    Raises
    ------
    InvalidParameter
        If the loss is not finite (with the step and the remedy).
    KeyboardInterrupt
        After Ctrl-C; with ``folder`` the step under way is finished and its checkpoint written
        first.

    Warns
    -----
    CheckpointSetAside
        For a checkpoint that is damaged or of another configuration, network or data.

    Notes
    -----
    Validity: deterministic on one device if the loss is a function of the step.
    """
    if not any(p.requires_grad for p in network.parameters()):
        raise InvalidParameter("the network has no weights to train; give one that has")
    device = usable_device(config.device)
    network.to(device)
    kept = None
    about: dict[str, Any] = {}
    if folder is not None:
        kept = writable_folder(folder) / _FILE
        remove_leftovers(kept.parent)
        about = {**_content(network, loss), "marks": _marks(network, loss)}
    state = _State(network, config, about)
    if kept is not None and kept.exists() and not state.load(kept):
        state = _State(network, config, about)
    if 0 < state.step < config.steps:
        print(f"{name}: goes on from step {state.step} of {config.steps}",
              file=sys.stderr, flush=True)  # fmt: skip
    # what stopped early stays so
    steps = range(state.step, state.step if state.enough() else config.steps)
    bar = Progress(steps, name, total=config.steps, initial=state.step, unit="steps")
    with _held_interrupt(kept is not None) as interrupted:
        for step in bar:
            begun = time.process_time()
            state.update(step, _loss(network, loss, step, config, device))
            state.cpu_seconds += time.process_time() - begun
            due = (step + 1) % config.every == 0 or step + 1 == config.steps
            stop = due and state.note(evaluate)
            # read once: what comes later is for the next step, or for the end of the block
            ended = interrupted()
            if kept is not None and (due or ended):
                state.save(kept)
            if ended:
                bar.close()
                print(f"{name}: stopped after step {state.step} of {config.steps}, which is kept",
                      file=sys.stderr, flush=True)  # fmt: skip
                raise KeyboardInterrupt
            if stop:
                break
    return TrainResult(
        state.averaged.module.eval(), tuple(state.history), state.step, state.cpu_seconds
    )


@contextlib.contextmanager
def _held_interrupt(hold: bool) -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back, so that a step ends; a function tells whether there was one.

    Half a step is no state to resume from: some weights would have changed, and others not.
    """
    came = False

    def note(number: int, frame: types.FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # signals belong to the main thread, and a handler of somebody else is left as it is
    main = threading.current_thread() is threading.main_thread()
    if not (hold and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:  # after the last step, whose checkpoint is written
        raise KeyboardInterrupt


def _loss(
    network: nn.Module, loss: Loss, step: int, config: TrainConfig, device: torch.device
) -> Tensor:
    network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
        value = loss(network, step)
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        raise InvalidParameter(
            f"the loss returns {shown(value)}; it must return a tensor of one real number"
        )
    if not torch.isfinite(value):
        raise InvalidParameter(
            f"the loss is {float(value.detach())} at step {step}; lower rate = {config.rate} or "
            "raise warmup"
        )
    return value


def _content(network: nn.Module, loss: Loss) -> dict[str, str]:
    """What the loss reads, "" if that has no fingerprint; and the code, module by module."""
    functions, values = _closed_over(loss)
    try:
        prints = Fingerprints()
        # without order and without the functions: who wraps a loss does not change its data
        content = fingerprint({prints.of(value) for value in values if value is not network})
    except InvalidParameter:
        content = ""
    kinds = {type(module) for module in network.modules()}
    return {"content": content, "code": json.dumps(code_parts(train, *functions, *kinds))}


def _closed_over(loss: Loss) -> tuple[list[Any], list[Any]]:
    """Functions that a loss consists of, and everything else that they hold."""
    functions: list[Any] = []
    values: list[Any] = []
    todo: list[Any] = [loss]
    while todo:
        item = todo.pop()
        if isinstance(item, partial):
            todo += [item.func, *item.args, *item.keywords.values()]
        elif isinstance(item, types.MethodType):
            todo += [item.__func__, item.__self__]
        elif isinstance(item, types.FunctionType):
            if item not in functions:
                functions.append(item)
                cells = inspect.getclosurevars(item).nonlocals.values()
                todo += [*cells, *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
        elif not isinstance(item, type):
            values.append(item)
    return functions, values


@torch.no_grad()
def _marks(network: nn.Module, loss: Loss) -> list[float]:
    """Losses of two batches under fixed weights, of which none are zero as in a fresh network.

    None, and so no check, where the loss is no function of the step.
    """
    fixed = copy.deepcopy(network).eval()
    random = torch.Generator().manual_seed(0)
    for weights in fixed.parameters():
        noise = torch.randn(weights.shape, generator=random, dtype=weights.dtype)
        weights.copy_(noise / max(weights[0].numel(), 1) ** 0.5 if weights.ndim > 1 else noise)
    marks = [float(loss(fixed, step)) for step in (0, 1, 0)]
    return marks[:2] if _near(marks[:1], marks[2:]) else []


def _near(a: list[float], b: list[float]) -> bool:
    return bool(np.allclose(a, b, rtol=1e-4, atol=0, equal_nan=True))


class _State:
    """Weights, averages, optimiser, history."""

    def __init__(self, network: nn.Module, config: TrainConfig, about: dict[str, Any]) -> None:
        self.network, self.config, self.about = network, config, about
        self.averaged = AveragedModel(network, multi_avg_fn=self._average).requires_grad_(False)
        # the random start counts as the first network, so no step replaces the average by itself
        self.averaged.n_averaged.fill_(1)
        # one call for all weights: for small networks, calls cost more than the arithmetic
        weights = list(network.parameters())
        fused = all(w.is_floating_point() and w.device.type in ("cpu", "cuda") for w in weights)
        self.optimiser = torch.optim.Adam(
            weights, lr=config.rate, betas=(0.9, 0.99), fused=fused or None
        )
        self.step, self.best, self.waited = 0, math.inf, 0
        self.history: list[dict[str, float]] = []
        self.sum, self.count, self.cpu_seconds = 0.0, 0, 0.0

    def update(self, step: int, value: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.rate_at(step)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimiser.step()
        self.averaged.update_parameters(self.network)  # and copies buffers, as of batch norms
        self.sum, self.count, self.step = self.sum + float(value.detach()), self.count + 1, step + 1

    @torch.no_grad()
    def _average(self, means: Any, news: Any, known: Tensor | int) -> None:
        # early averages forget the random start
        share = min(self.config.average, int(known) / (9 + int(known)))
        torch._foreach_lerp_(means, news, 1 - share)

    def note(self, evaluate: Evaluation | None) -> bool:
        """Add to the history; whether to stop early."""
        entry = {"step": float(self.step), "loss": self.sum / max(self.count, 1)}
        if evaluate is not None:
            with torch.no_grad():
                entry |= evaluate(self.averaged.module.eval())
        self.sum, self.count = 0.0, 0
        self.history.append(entry)
        better = entry["loss"] < self.best
        self.best, self.waited = min(self.best, entry["loss"]), 0 if better else self.waited + 1
        return self.enough()

    def enough(self) -> bool:
        """Whether so many evaluations were no better that training stops."""
        return 0 < self.config.patience <= self.waited

    def save(self, path: Path) -> None:
        content = {
            "config": json.dumps(asdict(self.config)), "step": self.step, "best": self.best,
            "waited": self.waited, "history": self.history, "cpu_seconds": self.cpu_seconds,
            "sum": self.sum, "count": self.count,  # of the losses since the last evaluation
            **self.about,
            "network": self.network.state_dict(), "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        # in memory first: torch has errors of its own for a disk that is full
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def load(self, path: Path) -> bool:
        """Go on where a run stopped; a checkpoint of something else is set aside: False."""
        before = copy.deepcopy(self.network.state_dict())
        try:
            found: dict[str, Any] = torch.load(
                path, map_location=self.config.device, weights_only=True
            )
            if found["config"] != json.dumps(asdict(self.config)):
                raise ValueError("it belongs to another configuration")
            old, new = (json.loads(x["code"]) for x in (found, self.about))
            # modules that only one of them names belong to who wrapped the loss
            differ = [name for name in old if name in new and old[name] != new[name]]
            if differ:
                raise ValueError(f"it was made by other code: {', '.join(differ[:3])}")
            then, now = (x["content"] for x in (found, self.about))
            if then and now and then != now:
                raise ValueError("it belongs to other data or settings")
            ours, theirs = (x["marks"] for x in (found, self.about))
            if ours and theirs and not _near(ours, theirs):
                raise ValueError("it belongs to other data or settings")
            self.network.load_state_dict(found["network"])
            self.averaged.load_state_dict(found["averaged"])
            self.optimiser.load_state_dict(found["optimiser"])
        # torch, zipfile and pickle each have their own errors for a file that is damaged
        except Exception as error:
            names = (path.with_suffix(f".aside{k or ''}") for k in itertools.count())
            aside = next(name for name in names if not name.exists())
            path.replace(aside)
            reason = one_line(error)[:120]
            warnings.warn(
                f"checkpoint {path.name} cannot be resumed ({reason}); set aside as {aside.name}",
                CheckpointSetAside,
                stacklevel=3,
            )
            self.network.load_state_dict(before)
            return False
        self.step, self.best = int(found["step"]), float(found["best"])
        self.waited, self.history = int(found["waited"]), list(found["history"])
        self.cpu_seconds = float(found.get("cpu_seconds", 0.0))
        self.sum, self.count = float(found.get("sum", 0.0)), int(found.get("count", 0))
        return True
