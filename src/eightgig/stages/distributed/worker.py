"""One of several processes that train together.

`python -m torch.distributed.run ... -m eightgig.stages.distributed.worker JOB` starts it.
It does what the train stage does alone, with its share of the batches. The first one saves and tracks.
"""

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from eightgig.core.addresses import at_address
from eightgig.core.errors import EightgigError, RankOutOfMemoryError
from eightgig.core.files import write_text
from eightgig.core.tracker import FileTracker, NoTracker
from eightgig.stages.distributed.config import WorkerConfig, WorkerFailure
from eightgig.stages.training_job import TrainingJob

_POLL_S = 1.0


def main() -> None:
    """Train with the others; leave `failure-RANK.json` when it fails."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    path, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    config = WorkerConfig.model_validate_json(path.read_bytes())
    _exit_with_parent(config.parent, rank)
    try:
        _train(config, rank, path.parent)
    except Exception as error:
        logging.getLogger(__name__).exception("process %d failed", rank)
        recovered: Any = error.recovered if isinstance(error, RankOutOfMemoryError) else None
        message = str(error) if isinstance(error, EightgigError) else f"{type(error).__name__}: {error}"
        failure = WorkerFailure(rank=rank, error=message.partition("\n")[0], recovered=recovered)
        write_text(path.parent / f"failure-{rank}.json", failure.model_dump_json())
        os._exit(1)  # at once: the others wait, and ending in good order would wait for them
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # what is to be kept is kept: C++ threads that the interpreter's end tears down may abort (torch 2.11)


def _train(config: WorkerConfig, rank: int, folder: Path) -> None:
    import torch

    if config.plan.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    task, store = at_address(config.task)(), at_address(config.store)(config.store_path)
    job = TrainingJob(
        task=task,
        store=store,
        train_indices=list(config.train_indices),
        val_indices=list(config.val_indices),
        size=config.size,
        plan=config.plan.of_stage(rank),
        model=task.records["model"](**config.model),
        train=task.records["train"](**config.train),
        checkpoints=config.checkpoints,
        flight_recorder=config.flight_recorder if rank == 0 else None,
        tracker=FileTracker(folder / "tracked.jsonl") if rank == 0 else NoTracker(),
    )
    network, objective = job.network()
    if rank == 0:
        write_text(folder / "rank_0.pid", f"{os.getpid()}\n")
    job.run(network, objective, job.open_checkpoints().newest())
    torch.distributed.destroy_process_group()


def _exit_with_parent(parent: int, rank: int) -> None:
    """End this process soon after the one that waits for it is gone, so that two runs never write one folder."""
    if int(os.environ.get("GROUP_RANK", "0")) > 0:
        return  # on another machine: the exchange with the first one fails instead

    def watch() -> None:
        while psutil.pid_exists(parent):
            time.sleep(_POLL_S)
        logging.getLogger(__name__).error("process %d ends: the run that it belongs to is gone", rank)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
