"""Progress for whatever lasts over a few seconds: a bar in a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from eightgig.core.console import shared_console

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Report = Callable[[int, int | None], None]
"""Called with how many are done, and of how many (None when nobody knows)."""

_LOG_INTERVAL_S = 10.0
_open_bars: "list[Progress]" = []


class NotedReport(Protocol):
    """A `Report` that may also be told what to show beside the numbers, such as a loss."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Show how far the work is."""


@contextmanager
def progress(description: str, *, lines: bool = True) -> Iterator[NotedReport]:
    """Yield a function that shows how far the work is.

    In a terminal a rich progress bar is drawn, below the one of the work that this is a part of; elsewhere (CI, a log
    file) a line is logged every ten seconds, so that what is quick says nothing. Both estimate the time that is left.

    Args:
        description: of the work.
        lines: whether to log where there is no terminal; the parts of some work say enough.
    """
    in_terminal = sys.stdout.isatty() or sys.stderr.isatty()
    with _bar(description) if in_terminal else _lines(description, logging.INFO if lines else logging.DEBUG) as report:
        yield report


def track(items: Iterable[Item], description: str, *, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how many are done."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description) as report:
        for done, item in enumerate(items, start=1):
            yield item
            report(done, total)


@contextmanager
def _bar(description: str) -> Iterator[NotedReport]:
    with _display() as bars:
        task = bars.add_task(description, total=None, note="")

        def report(done: int, total: int | None, note: str = "") -> None:
            bars.update(task, completed=done, total=total, note=note)

        try:
            yield report
        finally:
            bars.remove_task(task)


@contextmanager
def _display() -> "Iterator[Progress]":
    """Yield the one display that all bars share: a terminal has room for one that redraws itself."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if _open_bars:
        yield _open_bars[-1]
        return
    console = shared_console() if sys.stdout.isatty() else Console(stderr=True)
    told, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (told, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=console, transient=True) as bars:
        _open_bars.append(bars)
        try:
            yield bars
        finally:
            _open_bars.clear()


@contextmanager
def _lines(description: str, level: int) -> Iterator[NotedReport]:
    logger = logging.getLogger(__name__)
    said_at, said_done = time.monotonic(), 0

    def report(done: int, total: int | None, note: str = "") -> None:
        nonlocal said_at, said_done
        seconds = time.monotonic() - said_at
        if seconds >= _LOG_INTERVAL_S:
            outlook = _outlook(done, total, (done - said_done) / seconds)
            logger.log(level, "%s: %s", description, ", ".join(filter(None, (outlook, note))))
            said_at, said_done = time.monotonic(), done

    yield report


def _outlook(done: int, total: int | None, per_second: float) -> str:
    """Return how many are done, of how many, and how long the rest takes at the speed since the last line.

    The speed of the whole run would mislead where a run goes on: what an earlier one did passes in no time.
    """
    if not total:
        return f"{done:,}"
    if per_second <= 0:
        return f"{done:,} of {total:,}"
    hours, minutes = divmod(round((total - done) / per_second / 60), 60)
    left = f"about {hours} h {minutes} min" if hours else f"about {minutes} min" if minutes else "under a minute"
    return f"{done:,} of {total:,}, {left} left"
