"""Memory and threads of the passes, kept from one call to the next.

New memory costs a page fault per 4 KiB (or 2 MiB), which for results takes as long as the inference
itself, and starting a thread as long as the inference on a few samples.  So three things stay:

* the scratch of a thread (:class:`Scratch`), lent to one call at a time;
* the memory of large results (:func:`results`), which goes back when the last array that shows a
  part of it is gone, and never before;
* the threads (:func:`in_threads`), which wait at a queue, and for a moment after their work in
  compiled code, at the *bell*: to wake a thread costs as much as a small tree (:func:`together`).

After a fork the child starts with none of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hierdiff.theory.belief_propagation._kernels import layout, simd

__all__: list[str] = []  # used inside hierdiff only

Array = NDArray[Any]

_POOLED = 1 << 18  # bytes from which memory is kept: less comes from the allocator without a fault
_KEPT = 1 << 28  # bytes that wait for the next call at most, about two batches of marginals
_WASTE = 1.25  # memory is used again for requests down to this fraction of it


def address(array: Array) -> int:
    """Where the first element of an array stands."""
    if array.flags.writeable:
        try:  # a fifth of the time, for arrays that have no gaps
            return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
    place: int = array.__array_interface__["data"][0]
    return place


# ------------------------------------------------------------------------------ memory of results


class _Memory:
    """A piece of memory, and where it starts."""

    __slots__ = ("array", "place", "size")

    def __init__(self, size: int) -> None:
        self.size, self.array = size, simd.aligned(size, np.uint8)
        self.place = address(self.array)


_FREE: deque[_Memory] = deque()


class _Lease:
    """Memory that is lent to one array, and all views of it.

    An array made from this object keeps it as its base, and NumPy never shortens that chain past
    an object that is not an array; so it lives as long as any view does.
    """

    __slots__ = ("__array_interface__", "_give", "_memory")

    def __init__(self, memory: _Memory, size: int) -> None:
        self._memory, self._give = memory, _give  # the names of a module may go first
        self.__array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (memory.place, False), "version": 3,
        }  # fmt: skip

    def __del__(self) -> None:
        self._give(self._memory)


def _give(memory: _Memory, free: deque[_Memory] = _FREE) -> None:
    """Keep memory for later; without a lock, since this may run in the midst of anything."""
    free.append(memory)
    try:
        while sum(piece.size for piece in free) > _KEPT:
            free.popleft()
    except (IndexError, RuntimeError, TypeError, NameError):
        return  # another thread changes it, and has its turn; or the interpreter ends


def _memory(size: int) -> _Memory:
    """A free piece of memory of fitting size, or a new one."""
    for _ in range(len(_FREE)):
        try:
            piece = _FREE.popleft()
        except IndexError:  # another thread was faster
            break
        if size <= piece.size <= _WASTE * size:
            return piece
        _FREE.append(piece)
    return _Memory(size)


def results(size: int, dtype: DTypeLike) -> Array:
    """Uninitialised flat array that starts on a cache line, in memory that may be used again."""
    return results_at(size, dtype)[0]


def results_at(size: int, dtype: DTypeLike) -> tuple[Array, int]:
    """The same, and its address."""
    kind = np.dtype(dtype)
    count = size * kind.itemsize
    if count < _POOLED:
        small = simd.aligned(size, kind)
        return small, address(small)
    memory = _memory(count)
    return np.asarray(_Lease(memory, count)).view(kind), memory.place


# ---------------------------------------------------------------------------- scratch of a thread


class Scratch:
    """Buffers of one thread; each starts on a cache line."""

    __slots__ = ("memory", "room", "shelf")

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.memory = shelf, simd.aligned(shelf.size, np.uint8)
        self.room = np.zeros(max(layout.ROOM, len(shelf.offsets)), np.int64)
        self.room[: len(shelf.offsets)] = shelf.offsets + address(self.memory)  # where each starts


class Shelf:
    """Scratch of one set of sizes, some of which was used before."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        """Sizes in bytes, one per buffer."""
        ends = np.cumsum([-(-size // simd.LINE) * simd.LINE for size in sizes])
        self.offsets = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        self.size = int(ends[-1])

    def take(self) -> Scratch:
        """Scratch for one thread, until it is given back."""
        with _LOCK:
            for i in range(len(_SCRATCH) - 1, -1, -1):
                if _SCRATCH[i].shelf is self:
                    return _SCRATCH.pop(i)
        return Scratch(self)

    def give(self, scratch: Scratch) -> None:
        """Keep scratch for a later call, and forget what was not used for long."""
        with _LOCK:
            _SCRATCH.append(scratch)
            del _SCRATCH[:-_SCRATCH_KEPT]


_SCRATCH: list[Scratch] = []
# of all sizes together: the blocks of a tree, or one per thread
_SCRATCH_KEPT = max(8, os.cpu_count() or 1)


@functools.lru_cache(maxsize=256)
def shelf_of(sizes: tuple[int, ...]) -> Shelf:
    """The one shelf of these sizes, which grammars of the same shape share."""
    return Shelf(sizes)


# ------------------------------------------------------------------------------------------ threads


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_ALWAYS = 64  # threads that may be started whatever the machine


def most_threads() -> int:
    """More than one per processor gain nothing, and thousands cannot be started."""
    return max(available_threads(), _ALWAYS)


_LOCK = threading.Lock()
_QUEUE: SimpleQueue[_Part] = SimpleQueue()
_WORKERS: list[threading.Thread] = []  # they wait at the queue, or do what was there
_FEW = 8  # processors; where there are more, it is no loss if two threads share one for a moment
_MOVED: set[int] = set()  # processors that a thread may use again once it is awake


def _forget() -> None:
    """The child of a fork has none of the threads, and locks as they were."""
    global _LOCK, _QUEUE
    _BELL[:] = 0
    _HELD.clear()
    _WORKERS.clear()
    _LOCK, _QUEUE = threading.Lock(), SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Part:
    """Work that another thread may do, or the one that asked for it if nobody has begun."""

    __slots__ = ("_begun", "_done", "_error", "_late", "_run")

    def __init__(self, run: Callable[[], object]) -> None:
        self._run, self._late = run, 0.0
        self._begun, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self._error: BaseException | None = None

    def do(self) -> None:
        """Do it, unless somebody else does; or be a little late, where that is wanted."""
        mine = self._begun.acquire(blocking=False)
        if not mine and time.perf_counter() > self._late:
            return
        try:
            self._run()
        except BaseException as error:
            self._error = error
        if mine:
            self._done.release()

    def drop(self, late: float) -> None:
        """Leave it undone where nobody has begun; who comes before ``late`` runs it even so."""
        self._late = late
        if self._begun.acquire(blocking=False):
            self._done.release()

    def wait(self) -> None:
        """Until it is done; raises what it raised."""
        self._done.acquire()
        if self._error is not None:
            raise self._error


def _work(queue: SimpleQueue[_Part]) -> None:
    while True:
        part = queue.get()
        if _MOVED:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, _MOVED)
        part.do()


def _hand_out(parts: list[_Part]) -> None:
    """Let other threads begin; a queue wakes one in a tenth of the time of an executor."""
    if len(parts) > len(_WORKERS):
        with _LOCK:
            while len(parts) > len(_WORKERS):
                thread = threading.Thread(
                    target=_work, args=(_QUEUE,), name="hierdiff", daemon=True
                )
                thread.start()
                _WORKERS.append(thread)
    if parts and _SCHED_GETCPU is not None:
        _elsewhere(_SCHED_GETCPU())
    for part in parts:
        _QUEUE.put(part)


def _sched_getcpu() -> Callable[[], int] | None:
    """The function of the C library that tells on which processor a thread runs, where it has."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    try:  # without letting go of the interpreter: it takes less time than that
        return cast("Callable[[], int]", ctypes.PyDLL(None).sched_getcpu)
    except (AttributeError, OSError):
        return None


_SCHED_GETCPU = _sched_getcpu()


def _elsewhere(here: int) -> None:
    """Let threads wake up on other processors than the one on which this thread runs.

    Some kernels wake a thread on the processor of whoever wakes it, though others are idle, and
    move it after milliseconds, when a call is over.
    """
    global _MOVED
    every = os.sched_getaffinity(0)
    others = every - {here}
    few = 0 < len(others) < _FEW
    _MOVED = every if few else set()  # nothing of earlier calls: the user may have narrowed it
    if few:
        with contextlib.suppress(OSError):  # where that is forbidden they wake wherever they do
            for thread in _WORKERS:
                if thread.native_id is not None:
                    os.sched_setaffinity(thread.native_id, others)


_BELL = simd.aligned(8, np.int64)  # a line of its own; the first counts how often it rang
_BELL[:] = 0
BELL = address(_BELL)
"""Where threads wait for each other in compiled code, see ``layout.py`` of the kernels."""
_SOON = 2e-4  # seconds after which nobody waits for the next call
_LAST = 0.0  # when the last call ended


def _ring() -> None:
    """Whoever waits in compiled code goes and looks at the queue."""
    _BELL[layout.RANG] += 1


_HELD: dict[int, tuple[Scratch, object]] = {}  # by thread


def hold(scratch: Scratch, what: object) -> None:
    """Keep what those who come by the bell write to, until it is let go."""
    before = _HELD.get(threading.get_ident())
    if before is not None:  # an interrupt ended the call in which it was held
        let_go(before[0])
    _HELD[threading.get_ident()] = scratch, what


def let_go(scratch: Scratch) -> None:
    """Wait for those who came by the bell and are still within, and let others use it."""
    if scratch.room[layout.BUSY]:
        while _BELL[layout.WITHIN] > 0:
            time.sleep(5e-5)
        _BELL[layout.TAKEN] = 0
        scratch.room[layout.BUSY] = 0
    del _HELD[threading.get_ident()]


def in_threads(count: int, parts: int, run: Callable[[int, int], None]) -> None:
    """Call ``run(first, last)`` for parts of ``count`` things, one of them in this thread."""
    parts = min(parts, count, most_threads())
    if parts <= 1:
        run(0, count)
        return
    bounds = [count * i // parts for i in range(parts + 1)]
    others = [
        _Part(functools.partial(run, first, last)) for first, last in itertools.pairwise(bounds[1:])
    ]
    _hand_out(others)
    _ring()
    try:
        run(bounds[0], bounds[1])
        for part in others:  # those that nobody has begun
            part.do()
    finally:
        _end(others)


def together(parts: int, run: Callable[[int], bool], name: int = 0) -> None:
    """Call ``run(role)`` in this thread, and in up to ``parts - 1`` others as long as that lasts.

    It takes pieces of work until there are none, so who comes late finds nothing to do.  It returns
    whether all pieces are done: then nobody waits for threads that are about to end.  Where calls
    follow each other closely, others wait for more in compiled code; those that do so already, for
    work of this ``name``, need not be called by the queue.
    """
    global _LAST
    parts = parts if parts <= _ALWAYS else min(parts, most_threads())
    if parts <= 1:
        run(layout.ALONE)
        return
    if _BELL[layout.WAIT_NAME] == name:
        parts -= int(_BELL[layout.WAIT])
    role = layout.HELPS if time.perf_counter() - _LAST < _SOON else layout.ALONE
    others = [_Part(functools.partial(run, role)) for _ in range(parts - 1)]
    _hand_out(others)
    done = False
    try:
        done = run(layout.CALLS)
    finally:
        # A thread that woke too late finds no piece left.  It would sleep again, and be too late
        # for each of many short calls; so it, too, waits for the next one in compiled code.
        waits = done and role == layout.HELPS
        _end(others, done, time.perf_counter() + _SOON if waits else 0.0)
    _LAST = time.perf_counter()


def _end(parts: list[_Part], done: bool = False, late: float = 0.0) -> None:
    """What parts write to must not go before they end, or all of it is ``done``."""
    for part in parts:
        part.drop(late)
    if done:
        return
    _ring()
    for part in parts:
        part.wait()
