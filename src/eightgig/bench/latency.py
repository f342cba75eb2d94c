"""How fast runners are, compared fairly on a machine that is never quiet.

All runners take turns in short rounds, so that whatever else slows the machine down slows all of them down: their
ratios hold even where the milliseconds do not. Each turn opens with one untimed call, which pays for the caches and
the thread pool that the runner before it left behind.
"""

import time
from collections.abc import Mapping

import numpy as np

from eightgig.bench.parameters import LatencyParameters
from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.export.runners import Images, Runner

_FEWEST_ROUNDS = 3


class LatencyReport(Record):
    """How long one runner takes for one batch, from numpy in to numpy out.

    Attributes:
        batch_size: images a call.
        num_runs: timed calls.
        p50_ms: median time of a call.
        p95_ms: 95th percentile.
        min_ms: fastest call, the one that other programs disturbed least.
        throughput_images_per_second: batch_size by the median time.
    """

    batch_size: int
    num_runs: int
    p50_ms: float
    p95_ms: float
    min_ms: float
    throughput_images_per_second: float


def measure_latency(
    runner_by_name: Mapping[str, Runner], images_N3HW: Images, *, parameters: LatencyParameters
) -> dict[str, dict[int, LatencyReport]]:
    """Give a report by runner and batch size, all measured on the same images in turn.

    Args:
        runner_by_name: open runners.
        images_N3HW: real inputs, repeated where a batch is larger.
        parameters: how often and how long.

    Raises:
        ConfigurationError: no image.
    """
    if not len(images_N3HW):
        raise ConfigurationError("latency wants at least 1 image, found none")
    reports: dict[str, dict[int, LatencyReport]] = {name: {} for name in runner_by_name}
    for batch_size in parameters.batch_sizes:
        batch = np.resize(images_N3HW, (batch_size, *images_N3HW.shape[1:]))
        for name, times_s in _take_turns(runner_by_name, batch, parameters).items():
            reports[name][batch_size] = _report(times_s, batch_size)
    return reports


def _take_turns(runners: Mapping[str, Runner], batch: Images, parameters: LatencyParameters) -> dict[str, list[float]]:
    for runner in runners.values():
        for _ in range(parameters.warmup):
            runner.run(batch)
    times_s: dict[str, list[float]] = {name: [] for name in runners}
    end = time.perf_counter() + parameters.seconds
    for done in range(parameters.rounds):
        if done >= _FEWEST_ROUNDS and time.perf_counter() > end:
            break
        for name, runner in runners.items():
            times_s[name] += _turn(runner, batch, parameters.calls_per_turn)
    return times_s


def _turn(runner: Runner, batch: Images, num_calls: int) -> list[float]:
    runner.run(batch)
    times_s = []
    for _ in range(num_calls):
        start = time.perf_counter()
        runner.run(batch)  # gives numpy, so a GPU has ended too
        times_s.append(time.perf_counter() - start)
    return times_s


def _report(times_s: list[float], batch_size: int) -> LatencyReport:
    p50_s, p95_s = np.percentile(times_s, [50, 95])
    return LatencyReport(
        batch_size=batch_size,
        num_runs=len(times_s),
        p50_ms=float(p50_s) * 1e3,
        p95_ms=float(p95_s) * 1e3,
        min_ms=min(times_s) * 1e3,
        throughput_images_per_second=batch_size / float(p50_s),
    )
