"""How fast one runner is against another."""

import statistics
import time

from eightgig.export.runners import Feeds, Runner

_MIN_ROUNDS = 5


def latency_ratio(candidate: Runner, reference: Runner, feeds: Feeds, *, seconds: float = 0.7) -> float:
    """Return the median of the candidate's time by the reference's; the two run in turn, so a slow moment slows both.

    Args:
        candidate: open.
        reference: open.
        feeds: one sample.
        seconds: to spend at least, and five rounds.
    """
    ratios: list[float] = []
    _time_ms(candidate, feeds), _time_ms(reference, feeds)
    end = time.perf_counter() + seconds
    while len(ratios) < _MIN_ROUNDS or time.perf_counter() < end:
        ratios.append(_time_ms(candidate, feeds) / _time_ms(reference, feeds))
    return statistics.median(ratios)


def _time_ms(runner: Runner, feeds: Feeds) -> float:
    start = time.perf_counter()
    runner.run(feeds)
    return 1000 * (time.perf_counter() - start)
