"""Work on many files at once in threads, with memory that does not grow with their number."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Told how many of how many are done."""

BATCH_SIZE = 32


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Group consecutive items; the last group may be shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def stream_map(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed by as many threads as there are CPU cores.

    At most `BATCH_SIZE` results wait at a time (`Executor.map` alone would hold them all). Threads do here because
    the decoders, hashlib and file reads release the interpreter lock.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(items), BATCH_SIZE):
            yield from pool.map(function, items[start : start + BATCH_SIZE])
