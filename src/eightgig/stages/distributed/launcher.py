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

from eightgig.core.errors import ConfigurationError, TrainingError
from eightgig.core.files import write_text
from eightgig.core.progress import NotedReport, progress
from eightgig.core.stop import stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.stages.annotations import TrainingResult
from eightgig.stages.distributed.config import WorkerConfig, WorkerFailure, threads_per_process
from eightgig.training.checkpointing.checkpoint import Checkpoints
from eightgig.training.distributed.parameters import DistributedParameters
from eightgig.vram.plan import Finding, MemoryPlan
from eightgig.vram.runtime.diagnosis import Recovered

logger = logging.getLogger(__name__)
_POLL_S = 0.2
_MAX_ATTEMPTS = 8  # with half the samples each time: from 128 down to one
_DEFAULT_PORT = 29500


def train_distributed(config: WorkerConfig, checkpoints: Checkpoints, tracker: Tracker) -> TrainingResult:
    """Train in several processes; when memory runs out in one, all begin again from the last checkpoint with less.

    Args:
        config: of the run.
        checkpoints: where the processes keep it, and its result.
        tracker: gets what the first of them tracks.

    Raises:
        ConfigurationError: several machines, and no address at which they meet.
        Stopped: Ctrl-C or SIGTERM; a checkpoint is there.
        TrainingError: a process failed or fell silent.
    """
    from eightgig.training.checkpointing.progress import result_of

    recovered: list[Recovered] = []
    for attempt in range(_MAX_ATTEMPTS):
        failure = _Launch(config.model_copy(update={"attempt": attempt}), checkpoints.folder, tracker).run()
        if failure is None:
            finished = checkpoints.newest()
            if finished is None or not finished.state["finished"]:
                raise TrainingError(
                    f"{checkpoints.folder}: all processes ended well, but there is no result. Train again."
                )
            result = result_of(finished.state["result"])
            return replace(result, recovered=(*recovered, *result.recovered))
        if failure.recovered is None:
            raise TrainingError(f"process {failure.rank} of {config.distributed.count}: {failure.error}")
        recovered.append(failure.recovered)
        config = config.model_copy(update={"plan": smaller_plan(config.plan, failure.recovered)})
        logger.warning(
            "%s All processes begin again from the last checkpoint. %s", failure.error, config.plan.sentence()
        )
    raise TrainingError(f"memory ran out {_MAX_ATTEMPTS} times, whatever the batch")


def smaller_plan(plan: MemoryPlan, recovered: Recovered) -> MemoryPlan:
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


def torchrun_command(distributed: DistributedParameters, job_path: Path, *, node: int = 0) -> list[str]:
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

    def __init__(self, config: WorkerConfig, folder: Path, tracker: Tracker) -> None:
        self._distributed, self._folder = config.distributed, folder / "ranks"
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("*"):
            old.unlink()
        self._metrics = _MetricsForwarder(self._folder / "tracked.jsonl", tracker, int(config.train["epochs"]))
        path = self._folder / "job.json"
        self._command = torchrun_command(self._distributed, path)
        write_text(path, config.model_dump_json())

    def run(self) -> WorkerFailure | None:
        """Wait for the end; return why it failed, or None."""
        self._log_join_commands()
        environment = {**os.environ, "OMP_NUM_THREADS": threads_per_process(self._distributed)}
        with (
            (self._folder / "log.txt").open("wb") as log,
            stop_after_step() as stop,
            progress(f"training in {self._distributed.count} processes", lines=False) as report,
        ):
            # In a session of its own: Ctrl-C reaches this process alone, which asks the others to end after a step.
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
            try:
                requested = False
                while process.poll() is None:
                    self._metrics.forward(report)
                    if stop.number is not None and not requested:
                        requested = self._request_stop(process)
                    time.sleep(_POLL_S)
            finally:
                _kill(process)
                self._metrics.forward(report)
            stop.obey()
        return None if process.returncode == 0 else self._failure(process.returncode)

    def _request_stop(self, process: "subprocess.Popen[bytes]") -> bool:
        """Ask one process, which takes the others along; before it can be asked, all are ended."""
        try:
            first = psutil.Process(int((self._folder / "rank_0.pid").read_text(encoding="utf-8")))
            first.terminate()
        except (OSError, ValueError, psutil.NoSuchProcess):
            process.terminate()
        return True

    def _failure(self, code: int) -> WorkerFailure:
        found = []
        for path in sorted(self._folder.glob("failure-*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                found.append(WorkerFailure.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                continue
        for failure in found:  # others only tell that this one is gone
            if failure.recovered is not None:
                return failure
        if found:
            return found[0]
        tail = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
        return WorkerFailure(
            rank=0,
            error=f"the processes ended with {code}, most likely one was killed; the last lines of "
            f"{self._folder / 'log.txt'}: {' / '.join(tail)}. `kedro run` again goes on from the last checkpoint.",
        )

    def _log_join_commands(self) -> None:
        for node in range(1, self._distributed.nodes):
            logger.info(
                "waiting for machine %d of %d: run there, with the same folders: eightgig join %s --node-rank %d",
                node + 1,
                self._distributed.nodes,
                self._folder / "job.json",
                node,
            )


class _MetricsForwarder:
    """Passes on what the first process writes down for the tracker."""

    def __init__(self, path: Path, tracker: Tracker, epochs: int) -> None:
        self._path, self._tracker, self._epochs, self._place = path, tracker, epochs, 0

    def forward(self, report: NotedReport) -> None:
        """Pass on what is new; show each epoch here, since the processes themselves write into their own log."""
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._place)
            while (line := file.readline()).endswith("\n"):
                self._place = file.tell()
                noted = json.loads(line)
                self._tracker.log_metrics(noted["metrics"], step=noted["step"])
                self._show(noted["metrics"], noted["step"], report)

    def _show(self, metrics: Mapping[str, float], epoch: int, report: NotedReport) -> None:
        if "val_score" in metrics:
            loss, val_loss, score = (metrics[name] for name in ("train_loss", "val_loss", "val_score"))
            report(epoch, self._epochs, f"loss {loss:.3f}, score {score:.3f}")
            words = "epoch %d of %d: loss %.3f, validation loss %.3f, score %.3f, %.0f samples/s"
            logger.info(words, epoch, self._epochs, loss, val_loss, score, metrics["samples_per_second"])


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End the launcher and all that it started, which are in sessions of their own."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in started:
        if child.is_running():
            child.kill()
    process.wait()
