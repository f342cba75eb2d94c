"""The machine's load and its GPUs' memory over time, read by MLflow's own monitors and written down like any figure."""

import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from eightgig.tracking.server import import_mlflow

logger = logging.getLogger(__name__)

_PREFIX = "system/"  # MLflow's pages show figures of this name on a tab of their own


class LogMetrics(Protocol):
    """Keeps figures, at a step; never waits."""

    def __call__(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep them."""


class SystemMetrics:
    """Reads the machine every few seconds in a thread of its own, until it is stopped.

    MLflow's own thread asks the server about the run each time and ends when it does not answer; this one writes to the
    run's event log alone.

    Args:
        log_metrics: keeps the figures.
        every_s: the time between two readings.
    """

    def __init__(self, log_metrics: LogMetrics, every_s: float) -> None:
        self._log_metrics, self._every_s = log_metrics, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, without waiting for a reading that hangs in a driver."""
        self._stopped.set()

    def _work(self) -> None:
        try:
            monitors, step = list(_monitors()), 0
            while not self._stopped.wait(self._every_s):
                self._log_metrics(_read(monitors), step=step)
                step += 1
        except Exception as error:  # noqa: BLE001 - a reading that fails must not cost the run anything
            logger.debug("tracking: the machine is not read any more: %s", error)


def _monitors() -> Iterator[Any]:
    """Yield MLflow's monitors; that of GPUs only where there are some, and nvidia-ml-py."""
    import_mlflow()  # in the main thread it is there already
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    yield from (CPUMonitor(), DiskMonitor())
    try:
        yield GPUMonitor()
    except (ImportError, RuntimeError) as error:
        logger.debug("tracking: no GPU is read: %s", error)


def _read(monitors: list[Any]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        figures |= {_PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return figures
