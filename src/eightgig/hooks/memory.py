"""Each node's time and memory."""

import logging
from collections.abc import Callable, Mapping

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from eightgig.core.units import format_bytes, gib
from eightgig.vram.runtime.measure import MeasuredPhase, MemoryMeter

logger = logging.getLogger(__name__)


class NodeMemoryHook:
    """Measures each node from its start until its outputs are saved (a store is written in its dataset's save).

    Args:
        on_finished: receives figures by name when the pipeline is over.
    """

    def __init__(self, on_finished: Callable[[Mapping[str, float]], None]) -> None:
        self._on_finished = on_finished
        self._meter: MemoryMeter | None = None
        self._measured: list[MeasuredPhase] = []

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Close the node before this one, whose outputs are saved by now, and open this one."""
        self._close()
        self._meter = MemoryMeter(node.name.partition(".")[2] or node.name, "cpu")
        self._meter.start()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Say where time and memory went."""
        self._close()
        for phase in self._measured:
            logger.info(
                "%-28s %6.1f s, %s at most", phase.phase, phase.seconds, format_bytes(phase.peak_resident_bytes)
            )
        self._on_finished(
            {f"seconds/{phase.phase}": phase.seconds for phase in self._measured}
            | {f"peak_resident_gib/{phase.phase}": gib(phase.peak_resident_bytes) for phase in self._measured}
        )
        self._measured.clear()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Stop measuring."""
        self._close()
        self._measured.clear()

    def _close(self) -> None:
        if self._meter:
            self._meter.stop()
            self._measured.append(self._meter.result())
            self._meter = None
