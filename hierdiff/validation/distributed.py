"""Several accelerators: every process does its share of the tasks, one of them collects.

Started by torchrun or ``accelerate launch``, a process finds its number and the number of all in
its environment.  The processes share nothing but the folder of finished tasks, so nothing is sent
between devices, a process that dies loses one task, and the same command on one device resumes
what several have begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hierdiff.checks import check_fields, checked, shown
from hierdiff.errors import HierdiffError, InvalidParameter
from hierdiff.tasks import Task, run_tasks, unfinished

__all__ = ["Process", "UnfinishedTasks", "run_shared"]


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
