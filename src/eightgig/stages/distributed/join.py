"""Another machine takes part in a run: `eightgig join FOLDER/job.json --node-rank 1`.

The run is started with `train.distributed.nodes` on the first machine, which logs this command. Both see the project's
data under the same path.
"""

import subprocess
import time
from pathlib import Path

from pydantic import ValidationError

from eightgig.core.errors import TrainingError
from eightgig.stages.distributed.config import WorkerConfig
from eightgig.stages.distributed.launcher import torchrun_command

_POLL_S = 0.5


def join(job_path: Path, *, node_rank: int, wait_s: float) -> bool:
    """Start this machine's processes for each attempt of the run, until one ends well; tell whether one did.

    Args:
        job_path: of the run, which the first machine writes.
        node_rank: number of this machine, from 1.
        wait_s: how long to wait for the run, or its next attempt, to begin.

    Raises:
        TrainingError: no run began.
    """
    done = -1
    while (config := _next_attempt(job_path, done, wait_s)) is not None:
        command = torchrun_command(config.distributed, job_path, node=node_rank)
        if subprocess.run(command, check=False).returncode == 0:  # noqa: S603 - our own interpreter and module
            return True
        done = config.attempt
    if done < 0:
        raise TrainingError(f"{job_path}: no run began within {wait_s:g} s")
    return False


def _next_attempt(path: Path, done: int, timeout_s: float) -> WorkerConfig | None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            config = WorkerConfig.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            config = None
        if config is not None and config.attempt > done:
            return config
        time.sleep(_POLL_S)
    return None
