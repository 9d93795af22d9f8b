"""How a network is run: device, batches, precision, processes; none of it changes what is computed.

Several accelerators share a sweep: every process does its share of the tasks, one of them collects.
Started by torchrun or ``accelerate launch``, a process finds its number and the number of all in
its environment.  The processes share nothing but the folder of finished tasks, so nothing is sent
between devices, a process that dies loses one task, and the same command on one device resumes
what several have begun.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff.checks import check_fields, checked, count, shown, text, whole
from hierdiff.errors import HierdiffError, InvalidParameter
from hierdiff.tasks import Task, run_tasks, unfinished
from hierdiff.validation._checks import OUT_OF_MEMORY

__all__ = [
    "Execution",
    "Process",
    "UnfinishedTasks",
    "best_device",
    "in_batches",
    "inference",
    "run_shared",
    "state_dtype",
    "usable_device",
]

Rows: TypeAlias = NDArray[np.intp]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Execution:
    """Where and how a network runs.

    Parameters
    ----------
    batch_size : int
        Samples per call of the network; bounds the memory on the device.
    device : str, optional
        "cpu", "cuda", "cuda:1", "mps" or "auto" (:func:`best_device`); default where the network's
        parameters are.  The module itself is moved.
    autocast : {"bf16", "fp16"}, optional
        Lower precision inside the network; what it returns, the conversions, the chain and all
        averages stay in float32.
    channels_last : bool
        Memory order of images; pays on GPUs together with ``compile``.
    compile : bool
        torch.compile for denoising and sampling; features run uncompiled, as hooks need.

    Raises
    ------
    InvalidParameter
        For a batch size below 1 or an unknown precision.

    Notes
    -----
    Validity: results of different batch sizes agree bitwise where the network's own kernels do;
    the convolutions and matrix products of torch are equal to about 1e-6 relative in float32.

    Examples
    --------
    >>> Execution(batch_size=32, autocast="bf16").dtype
    torch.bfloat16
    """

    batch_size: int = 64
    device: str | None = None
    autocast: Literal["bf16", "fp16"] | None = None
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        check_fields(self, batch_size=count)
        if self.autocast not in (None, *_DTYPES):
            raise InvalidParameter(
                f"autocast = {self.autocast!r} is unknown; use 'bf16', 'fp16' or None"
            )

    @property
    def dtype(self) -> torch.dtype | None:
        """The lower precision, None without autocast."""
        return None if self.autocast is None else _DTYPES[self.autocast]

    def fingerprint(self) -> str:
        """What of it changes results: a task that ran on another device is the same task."""
        return f"autocast = {self.autocast}"

    @checked
    def place(self, module: nn.Module) -> torch.device:
        """Move the module; returns where it is."""
        if self.device is not None:
            module.to(usable_device(self.device))
        if self.channels_last:
            # documented by torch, and missing among the annotated forms of Module.to
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        tensor = next(iter([*module.parameters(), *module.buffers()]), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @checked
    def precision(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """The context in which the network is called."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)

    @checked
    def arranged(self, x: Tensor) -> Tensor:
        """The input in the memory order of the network."""
        if self.channels_last and x.ndim == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x


def usable_device(name: str) -> torch.device:
    """The device of a name, which torch must have here: "auto" is the fastest.

    Parameters
    ----------
    name : str
        "cpu", "cuda", "cuda:1", "mps" or "auto".

    Returns
    -------
    torch.device

    Raises
    ------
    InvalidParameter
        For an unknown name, or a device that is not there.

    Notes
    -----
    Validity: tried with an empty tensor.

    Examples
    --------
    >>> usable_device("cpu")
    device(type='cpu')
    """
    text("device", name)
    try:
        device = torch.device(best_device() if name == "auto" else name)
        torch.empty(0, device=device)
    except Exception as error:  # RuntimeError, AssertionError or NotImplementedError, by device
        raise InvalidParameter(
            f"device = {name!r} cannot be used ({str(error).splitlines()[0][:80]}); use 'auto', or "
            "install the build of torch for this device"
        ) from None
    return device


def best_device() -> str:
    """Name of the fastest device that torch has here.

    Returns
    -------
    str
        "cuda", "mps" or "cpu", in this order.

    Notes
    -----
    Validity: what torch reports as available.

    Examples
    --------
    >>> best_device() in ("cuda", "mps", "cpu")
    True
    """
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextlib.contextmanager
@checked
def inference(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule returns to its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


# more rows than any memory holds: a slip, which would be an endless loop
@checked(n=partial(whole, high=2**40), batch_size=count)
def in_batches(work: Callable[[Rows], None], n: int, batch_size: int) -> None:
    """Call ``work`` on consecutive row numbers; a batch that does not fit is halved once.

    Parameters
    ----------
    work : callable
        Takes row numbers; may be called again with part of the same rows.
    n : int
        Number of rows.
    batch_size : int
        Rows per call.

    Raises
    ------
    InvalidParameter
        If half the batch does not fit on the device either.

    Notes
    -----
    Validity: memory of an accelerator, as torch reports it; the warning names the size that fits.

    Examples
    --------
    >>> in_batches(lambda rows: print(rows.tolist()), 5, 2)
    [0, 1]
    [2, 3]
    [4]
    """
    size, first, reduced = batch_size, 0, False
    while first < n:
        rows = np.arange(first, min(first + size, n))
        full = False
        try:
            work(rows)
        except OUT_OF_MEMORY:
            full = True
        # outside the handler, whose traceback would keep the tensors alive
        if not full:
            first += len(rows)
            continue
        if reduced or len(rows) == 1:
            raise InvalidParameter(
                f"batch_size = {batch_size} does not fit on the device, nor does {len(rows)}; give "
                "a smaller batch_size, autocast='bf16', or a device with more memory"
            )
        size, reduced = len(rows) // 2, True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        warnings.warn(
            f"{len(rows)} samples did not fit on the device; going on with batches of {size}, "
            f"so give batch_size={size}",
            stacklevel=3,
        )


@checked
def state_dtype(module: nn.Module) -> torch.dtype:
    """float64 if the network is, else float32: the chain never runs in less."""
    tensors: list[Tensor] = [*module.parameters()] or [*module.buffers()]
    double = any(x.dtype == torch.float64 for x in tensors)
    return torch.float64 if double else torch.float32


class UnfinishedTasks(HierdiffError):
    """Other processes did not finish their share in time."""


def _sequence(name: str, value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value
    raise InvalidParameter(f"{name} = {shown(value)} must be a list or tuple")


@dataclass(frozen=True)
class Process:
    """One of several processes that share a sweep.

    Parameters
    ----------
    index, count : int
        Number of this process, from 0, and of all.
    local : int
        Number among those of one machine, which names the device.

    Raises
    ------
    InvalidParameter
        If the index is outside 0 ... count - 1.

    Notes
    -----
    Validity: as set by torchrun and accelerate (RANK, WORLD_SIZE, LOCAL_RANK); without them there
    is one process.

    Examples
    --------
    >>> second = Process.of({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    >>> second.share(range(10)), second.device("cuda"), second.device("cpu")
    ([1, 5, 9], 'cuda:1', 'cpu')
    """

    index: int = 0
    count: int = 1
    local: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.index < self.count:
            raise InvalidParameter(
                f"process {self.index} of {self.count} does not exist; RANK must be 0 to "
                "WORLD_SIZE - 1, as torchrun sets it"
            )

    @classmethod
    @checked
    def of(cls, environment: Mapping[str, str] | None = None) -> Process:
        """The process that an environment describes; default this one."""
        found = os.environ if environment is None else environment
        names = {"index": "RANK", "count": "WORLD_SIZE", "local": "LOCAL_RANK"}
        given = {field: int(found[name]) for field, name in names.items() if name in found}
        return cls(**given)

    @property
    def collects(self) -> bool:
        """Whether this process writes the results."""
        return self.index == 0

    @checked(items=_sequence)
    def share(self, items: Sequence[Any]) -> list[Any]:
        """Every ``count``-th item."""
        return list(items[self.index :: self.count])

    @checked
    def device(self, name: str) -> str:
        """The accelerator of this process: "cuda" becomes "cuda:2" in the third of a machine."""
        return f"{name}:{self.local}" if name == "cuda" and self.count > 1 else name


@checked
def run_shared(
    tasks: Sequence[Task],
    folder: str | os.PathLike[str],
    *,
    process: Process | None = None,
    name: str = "tasks",
    patience: float = 86400.0,
    sleep: Callable[[float], None] = time.sleep,
) -> list[dict[str, NDArray[Any]]] | None:
    """Do this process's share of the tasks; the first process waits for all and returns them.

    Parameters
    ----------
    tasks : sequence of Task
        The same in all processes.
    folder : path-like
        Where finished tasks are kept, seen by all processes.
    process : Process, optional
        Default: what the environment says.
    name : str
        Word in front of the progress bar.
    patience : float
        Seconds that the first process waits for others after its own share.
    sleep : callable
        How it waits.

    Returns
    -------
    list of dict of arrays, or None
        All results in the order of the tasks, in the process that collects; None in the others,
        which are done.

    Raises
    ------
    UnfinishedTasks
        If others have not finished in time; what exists stays, and the same command resumes.

    Notes
    -----
    Validity: results do not depend on the number of processes, as each task is a function of its
    parameters.  One task at a time runs in each process: an accelerator holds one network.
    """
    here = Process.of() if process is None else process
    mine = here.share(tasks)
    run_tasks(mine, folder, workers=1, name=name)
    if not here.collects:
        return None
    waited, look = 0.0, unfinished(tasks, folder)
    while missing := look():
        if waited >= patience:
            raise UnfinishedTasks(
                f"{len(missing)} of {len(tasks)} tasks of other processes are missing after "
                f"{patience:g} s; run the same command again to do them"
            )
        sleep(min(5.0, patience))
        waited += min(5.0, patience)
    return run_tasks(tasks, folder, workers=1, name=name)
