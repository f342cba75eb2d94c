"""Progress for whatever lasts over a few seconds: a bar in a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Report = Callable[[int, int | None], None]
"""Called with how many are done, and of how many (None when nobody knows)."""

_LOG_INTERVAL_S = 10.0


@contextmanager
def progress(description: str) -> Iterator[Report]:
    """Yield a function that shows how far the work is.

    In a terminal a rich progress bar is drawn; elsewhere (CI, a log file) a line is logged every ten seconds, so that
    what is quick says nothing. Both estimate the time that is left.
    """
    with _bar(description) if sys.stderr.isatty() else _lines(description) as report:
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
def _bar(description: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def _lines(description: str) -> Iterator[Report]:
    logger = logging.getLogger(__name__)
    said_at, said_done = time.monotonic(), 0

    def report(done: int, total: int | None) -> None:
        nonlocal said_at, said_done
        seconds = time.monotonic() - said_at
        if seconds >= _LOG_INTERVAL_S:
            logger.info("%s: %s", description, _outlook(done, total, (done - said_done) / seconds))
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
