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
    """Give a function that shows how far the work is.

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
    said_at = time.monotonic()

    first: tuple[float, int] | None = None

    def report(done: int, total: int | None) -> None:
        nonlocal said_at, first
        now = time.monotonic()
        if first is None:
            first = now, done
        if now - said_at >= _LOG_INTERVAL_S:
            said_at = now
            logger.info("%s: %s%s", description, f"{done:,}", _outlook(done, total, now - first[0], done - first[1]))

    yield report


def _outlook(done: int, total: int | None, seconds: float, done_meanwhile: int) -> str:
    """Say of how many, and how long the rest takes at the speed of this run."""
    if not total:
        return ""
    if not done_meanwhile:
        return f" of {total:,}"
    left_s = (total - done) * seconds / done_meanwhile
    hours, minutes = divmod(round(left_s / 60), 60)
    left = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "under a minute"
    return f" of {total:,}, about {left} left"
