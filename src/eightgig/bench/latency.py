"""How fast runners are, compared fairly on a machine that is never quiet.

Runners that are given together take turns in short rounds, so that whatever else slows the machine down slows all of
them down: their ratios hold even where the milliseconds do not. Each turn opens with one untimed call, which pays for
the caches and the thread pool that the runner before it left behind.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from eightgig.bench.parameters import LatencyParameters
from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.export.runners import Arrays, Feeds, Runner

_FEWEST_ROUNDS = 3
Call = Callable[[], object]


class LatencyReport(Record):
    """How long one call takes.

    Attributes:
        batch_size: samples a call.
        num_runs: timed calls.
        p50_ms: median time of a call.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile; with fewer than 100 calls it leans on the slowest of them.
        min_ms: fastest call, the one that other programs disturbed least.
        throughput_samples_per_second: batch_size by the median time.
    """

    batch_size: int
    num_runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    min_ms: float
    throughput_samples_per_second: float


def measure_latency(
    runner_by_name: Mapping[str, Runner], feeds: Feeds, *, parameters: LatencyParameters
) -> dict[str, dict[int, LatencyReport]]:
    """Return a report by runner and batch size, numpy in to numpy out, all measured on the same inputs in turn.

    Args:
        runner_by_name: open runners.
        feeds: real inputs by name, sample first; repeated where a batch is larger.
        parameters: how often and how long.

    Raises:
        ConfigurationError: no sample.
    """
    reports: dict[str, dict[int, LatencyReport]] = {name: {} for name in runner_by_name}
    for batch_size in parameters.batch_sizes:
        batch = resized(feeds, batch_size)
        calls = {name: partial(runner.run, batch) for name, runner in runner_by_name.items()}
        for name, report in measure_calls(calls, batch_size=batch_size, parameters=parameters).items():
            reports[name][batch_size] = report
    return reports


def measure_calls(
    calls: Mapping[str, Call], *, batch_size: int, parameters: LatencyParameters
) -> dict[str, LatencyReport]:
    """Return a report by name of calls that take turns; each returns when its work is done."""
    return {name: _report(times_s, batch_size) for name, times_s in _take_turns(calls, parameters).items()}


def resized(feeds: Feeds, batch_size: int) -> Arrays:
    """Return feeds of `batch_size` samples, repeating or leaving out. ConfigurationError when there is none."""
    if not feeds or not all(len(array) for array in feeds.values()):
        raise ConfigurationError("latency wants at least 1 image, found none")
    return {name: np.resize(array, (batch_size, *array.shape[1:])) for name, array in feeds.items()}


def _take_turns(calls: Mapping[str, Call], parameters: LatencyParameters) -> dict[str, list[float]]:
    for call in calls.values():
        for _ in range(parameters.warmup):
            call()
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + parameters.seconds
    for done in range(parameters.rounds):
        if done >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            times_s[name] += _turn(call, parameters.calls_per_turn)
    return times_s


def _turn(call: Call, num_calls: int) -> list[float]:
    call()
    times_s = []
    for _ in range(num_calls):
        start = time.perf_counter()
        call()  # gives numpy, so a GPU has ended too
        times_s.append(time.perf_counter() - start)
    return times_s


def _report(times_s: list[float], batch_size: int) -> LatencyReport:
    p50_s, p95_s, p99_s = np.percentile(times_s, [50, 95, 99])
    return LatencyReport(
        batch_size=batch_size,
        num_runs=len(times_s),
        p50_ms=float(p50_s) * 1e3,
        p95_ms=float(p95_s) * 1e3,
        p99_ms=float(p99_s) * 1e3,
        min_ms=min(times_s) * 1e3,
        throughput_samples_per_second=batch_size / float(p50_s),
    )
