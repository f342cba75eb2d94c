"""Several processes on one training run: the pipeline's process starts them, watches them, and takes their result.

    the node  --job.json-->  torch.distributed.run  -->  eightgig.stages.distributed.worker, once a process
              <--tracked.jsonl, failure-N.json, and the checkpoint of the finished run--

The launcher is a process of its own, as torchrun is on a cluster: no process inherits the pipeline's CUDA context or
threads, and no node of the pipeline runs twice.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from eightgig.core.addresses import address_of
from eightgig.core.errors import ConfigurationError, TrainingError
from eightgig.core.files import write_text
from eightgig.core.records import Record
from eightgig.core.stop import stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.stages.annotations import TrainingResult
from eightgig.stages.training_job import TrainingJob
from eightgig.training.parameters import DistributedParameters
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.diagnosis import Recovered

logger = logging.getLogger(__name__)
_LOOK_S = 0.2
_MOST_ATTEMPTS = 8
_DEFAULT_PORT = 29500


class WorkerConfig(Record):
    """What a process has to know, as JSON.

    Attributes:
        task: `package.module:Class` of the case study; `store` likewise.
        parent: number of the process that waits for the result: without it nobody needs one.
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
    attempt: int


class Failure(Record):
    """Why a process ended: its error, and what to do with less memory if that was it."""

    rank: int
    error: str
    recovered: Recovered | None = None


def train_in_ranks(job: TrainingJob) -> TrainingResult:
    """Train in several processes; when memory runs out in one, all begin again from the last checkpoint with less.

    Raises:
        ConfigurationError: the recipe cannot be shared out among so many processes.
        Stopped: Ctrl-C or SIGTERM; a checkpoint is there.
        TrainingError: a process failed or fell silent.
    """
    from eightgig.training.progress import result_of

    recovered: list[Recovered] = []
    for attempt in range(_MOST_ATTEMPTS):
        failure = _Launch(job, attempt).run()
        if failure is None:
            finished = job.kept().newest()
            if finished is None or not finished.state["finished"]:
                raise TrainingError(
                    f"{job.checkpoints}: all processes ended well, but there is no result. Train again."
                )
            result = result_of(finished.state["result"])
            return replace(result, recovered=(*recovered, *result.recovered))
        if failure.recovered is None:
            raise TrainingError(f"process {failure.rank} of {job.train.distributed.count}: {failure.error}")
        recovered.append(failure.recovered)
        job = replace(job, plan=with_less(job.plan, failure.recovered))
        logger.warning("%s All processes begin again from the last checkpoint. %s", failure.error, job.plan.sentence())
    raise TrainingError(f"memory ran out {_MOST_ATTEMPTS} times, whatever the batch")


def with_less(plan: MemoryPlan, recovered: Recovered) -> MemoryPlan:
    """Return the plan with the smaller batch, at the same effective one."""
    if recovered.phase == "validate":
        changes: dict[str, Any] = {"eval_batch": recovered.batch}
        code, what = "VRAM102", f"memory ran out in validation: now {recovered.batch} samples at a time"
    else:
        size = max(
            n for n in range(1, recovered.batch + 1) if (plan.micro_batch * plan.gradient_accumulation_steps) % n == 0
        )
        changes = {
            "micro_batch": size,
            "gradient_accumulation_steps": plan.micro_batch * plan.gradient_accumulation_steps // size,
        }
        code, what = "VRAM101", f"memory ran out in step {recovered.step}: now micro-batch {size}, same effective batch"
    return plan.model_copy(update={**changes, "findings": (*plan.findings, Finding(code=code, message=what))})


def threads_of_each(distributed: DistributedParameters) -> str:
    """Return how many threads each process computes in, as OMP_NUM_THREADS says or else gets to say."""
    from eightgig.core.device import usable_cores

    return os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // distributed.nproc_per_node)))


def launcher(distributed: DistributedParameters, job_path: Path, *, node: int = 0) -> list[str]:
    """Return the command that starts the processes of one machine.

    Raises:
        ConfigurationError: several machines, and no address at which they meet.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={distributed.nproc_per_node}"]
    if distributed.nodes == 1:
        command += ["--standalone"]
    else:
        if not distributed.rdzv_endpoint:
            raise ConfigurationError(
                f"train.distributed.nodes is {distributed.nodes}: set train.distributed.rdzv_endpoint to host:port of "
                "the machine that runs the pipeline, as the others reach it"
            )
        host, _, port = distributed.rdzv_endpoint.partition(":")
        command += [f"--nnodes={distributed.nodes}", f"--node-rank={node}"]
        command += [f"--master-addr={host}", f"--master-port={port or _DEFAULT_PORT}"]
    return [*command, "--max-restarts=0", "-m", "eightgig.stages.distributed.worker", str(job_path)]


class _Launch:
    """One attempt: the folder for what is handed over, the launcher, and its end."""

    def __init__(self, job: TrainingJob, attempt: int) -> None:
        self._job, self._folder = job, job.checkpoints / "ranks"
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("*"):
            old.unlink()
        self._tracked = _Forwarded(self._folder / "tracked.jsonl", job.tracker)
        path = self._folder / "job.json"
        self._command = launcher(job.train.distributed, path)
        write_text(path, _described(job, attempt).model_dump_json())

    def run(self) -> Failure | None:
        """Wait for the end; give why it failed, or None."""
        self._say_how_to_join()
        environment = {**os.environ, "OMP_NUM_THREADS": threads_of_each(self._job.train.distributed)}
        with (self._folder / "log.txt").open("wb") as log, stop_after_step() as stop:
            # In a session of its own: Ctrl-C reaches this process alone, which asks the others to end after a step.
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            try:
                asked = False
                while process.poll() is None:
                    self._tracked.forward()
                    if stop.number is not None and not asked:
                        asked = self._ask_to_stop(process)
                    time.sleep(_LOOK_S)
            finally:
                _end(process)
                self._tracked.forward()
            stop.obey()
        return None if process.returncode == 0 else self._failure(process.returncode)

    def _ask_to_stop(self, process: "subprocess.Popen[bytes]") -> bool:
        """Ask one process, which takes the others along; before it can be asked, all are ended."""
        try:
            first = psutil.Process(int((self._folder / "rank_0.pid").read_text(encoding="utf-8")))
            first.terminate()
        except (OSError, ValueError, psutil.NoSuchProcess):
            process.terminate()
        return True

    def _failure(self, code: int) -> Failure:
        found = []
        for path in sorted(self._folder.glob("failure-*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                found.append(Failure.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                continue
        for failure in found:  # others only tell that this one is gone
            if failure.recovered is not None:
                return failure
        if found:
            return found[0]
        tail = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        return Failure(
            rank=0,
            error=f"the processes ended with {code}, most likely one was killed; the last lines of "
            f"{self._folder / 'log.txt'}: {' / '.join(tail)}. `kedro run` again goes on from the last checkpoint.",
        )

    def _say_how_to_join(self) -> None:
        distributed = self._job.train.distributed
        for node in range(1, distributed.nodes):
            logger.info(
                "waiting for machine %d of %d: run there, with the same folders: eightgig join %s --node-rank %d",
                node + 1,
                distributed.nodes,
                self._folder / "job.json",
                node,
            )


class _Forwarded:
    """Passes on what the first process writes down for the tracker."""

    def __init__(self, path: Path, tracker: Tracker) -> None:
        self._path, self._tracker, self._place = path, tracker, 0

    def forward(self) -> None:
        """Pass on what is new."""
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._place)
            while (line := file.readline()).endswith("\n"):
                self._place = file.tell()
                noted = json.loads(line)
                self._tracker.log_metrics(noted["metrics"], step=noted["step"])
                _say(noted["metrics"], noted["step"])


def _say(metrics: Mapping[str, float], epoch: int) -> None:
    """Show an epoch here: the processes themselves write into their own log."""
    if "val_score" in metrics:
        shown = [metrics[name] for name in ("train_loss", "val_loss", "val_score", "samples_per_second")]
        logger.info("epoch %d: loss %.3f, validation loss %.3f, score %.3f, %.0f samples/s", epoch, *shown)


def _described(job: TrainingJob, attempt: int) -> WorkerConfig:
    store: Any = job.store
    return WorkerConfig(
        task=address_of(type(job.task)),
        store=address_of(type(store)),
        store_path=Path(store.path).resolve(),
        train_indices=tuple(job.train_indices),
        val_indices=tuple(job.val_indices),
        size=job.size,
        plan=job.plan,
        model=job.model.model_dump(mode="json"),
        train=job.train.model_dump(mode="json"),
        checkpoints=job.checkpoints.resolve(),
        flight_recorder=job.flight_recorder.resolve() if job.flight_recorder else None,
        parent=os.getpid(),
        attempt=attempt,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the launcher and all that it started, which are in sessions of their own."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in started:
        if child.is_running():
            child.kill()
    process.wait()
