"""How far long work has come: a bar on a terminal, a line now and then elsewhere, or nothing.

A log file, a batch system and a notebook have no terminal.  There a line is written when ten
seconds have passed since the last one and a further tenth is done, so short work is silent and work
of hours has ten lines.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

__all__ = ["Progress", "is_quiet", "quiet"]

SECONDS, SHARE = 10.0, 0.1
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet(silent: bool = True) -> Iterator[None]:
    """Within the block nothing says how far work has come, if ``silent``."""
    before = _QUIET.set(silent or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(before)


def is_quiet() -> bool:
    """Whether progress is not wanted here."""
    return _QUIET.get()


class Progress(tqdm):  # type: ignore[misc]  # tqdm ships no types
    """A bar of tqdm, which writes plain lines where standard error is no terminal.

    It takes what tqdm takes, except where and how often it writes.
    """

    # lines are late rather than written by a thread of their own
    monitor_interval = 0
    disable: bool

    def __init__(self, items: Any = None, desc: str | None = None, **options: Any) -> None:
        self.plain = not sys.stderr.isatty()
        self.said: int | None = None  # how much was done at the last line
        rate = {"mininterval": SECONDS, "miniters": 1} if self.plain else {}
        super().__init__(items, desc, file=sys.stderr, disable=is_quiet(), **rate, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or write a line if enough was done since the last one."""
        if not self.plain:
            return super().display(msg, pos)
        since = self.n - (self.initial if self.said is None else self.said)
        last = self.said is not None and self.n == self.total
        if self.total and since < SHARE * self.total and not last:
            return True
        if since > 0:
            self.said = self.n
            form = self.format_dict
            done = self.format_sizeof(self.n) if self.unit_scale else str(self.n)
            words = f"{self.desc or 'work'}: {done} {self.unit}"
            if self.total:
                rate = form["rate"] or (self.n - self.initial) / max(form["elapsed"], 1e-9)
                left = self.format_interval((self.total - self.n) / rate)
                words += f", {100 * self.n // self.total} %, about {left} left"
            print(words, file=sys.stderr, flush=True)
        return True

    def close(self) -> None:
        """End; the last line stands only where there were others."""
        if not self.plain or self.disable:
            super().close()
            return
        if self.said is not None:
            self.display()
        self.disable = True
        self._decr_instances(self)
