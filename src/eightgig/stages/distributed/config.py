"""What the pipeline's process and those that train hand to each other, as JSON."""

import os
from pathlib import Path
from typing import Any

from eightgig.core.records import Record
from eightgig.training.distributed.parameters import DistributedParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.diagnosis import Recovered


class WorkerConfig(Record):
    """What a process has to know of the run.

    Attributes:
        task: `package.module:Class` of the case study; `store` likewise.
        parent: number of the process that waits for the result: without it nobody needs one.
        attempt: how often the run began again with less memory.
    """

    task: str
    store: str
    store_path: Path
    train_indices: tuple[int, ...]
    val_indices: tuple[int, ...]
    size: int
    plan: MemoryPlan
    model: dict[str, Any]
    train: dict[str, Any]
    checkpoints: Path
    flight_recorder: Path | None
    parent: int
    attempt: int = 0

    @property
    def distributed(self) -> DistributedParameters:
        """The processes of the run."""
        return DistributedParameters(**self.train["distributed"])


class WorkerFailure(Record):
    """Why a process ended: its error, and what to do with less memory if that was it."""

    rank: int
    error: str
    recovered: Recovered | None = None


def threads_per_process(distributed: DistributedParameters) -> str:
    """Return how many threads each process computes in, as OMP_NUM_THREADS says or else gets to say."""
    from eightgig.core.device import usable_cores

    return os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // distributed.nproc_per_node)))
