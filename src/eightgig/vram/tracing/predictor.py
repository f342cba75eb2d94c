"""Predicts what steps take, without a GPU and without touching one, by a child process that traces them."""

import os
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Any

from eightgig.core.errors import EightgigError, PredictionError
from eightgig.vram.allocator.events import AllocationTrace, OpCost
from eightgig.vram.tracing.child import Request, read_frame, write_frame
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction, predict_from
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Calibration, Generation, load_calibration, with_workspace

_LAST_LINES = 6
# Far above what any network takes (a trace takes seconds); a constructor that waits for values would never end.
_LIMIT_SECONDS = 300


class Predictor:
    """Traces steps in a child process that is started at the first request, and remembers every trace.

    Use it as a context manager: `with Predictor() as predictor: predictor.predict(workload, options)`.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration or load_calibration()
        self._child: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._traces: dict[str, AllocationTrace | EightgigError] = {}
        self._predictions: dict[tuple[str, str], Prediction] = {}

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def predict(self, workload: WorkloadSpec, options: StepOptions, *, generation: Generation = "ampere") -> Prediction:
        """Return what a step takes on a GPU of a generation; `none` leaves out what only GPUs take.

        Raises:
            ConfigurationError: the workload cannot be built.
            PredictionError: the step cannot be traced; the message ends with what the child process said.
        """
        key = (_key(workload, options), generation)
        if key not in self._predictions:
            trace = with_workspace(self.trace(workload, options), self._calibration.of(generation))
            self._predictions[key] = predict_from(trace, options.phase)
        return self._predictions[key]

    def costs(self, workload: WorkloadSpec, options: StepOptions) -> tuple[OpCost, ...]:
        """Return what each op of one micro-batch and of the optimizer's step computes and moves."""
        return self.trace(workload, options).costs

    def context_bytes(self, generation: Generation) -> int:
        """Return what the CUDA context takes of a card of a generation."""
        return int(self._calibration.of(generation).context_bytes.value)

    def trace(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace:
        """Return the trace of a step, without workspace memory.

        Raises:
            ConfigurationError, PredictionError: as for `predict`.
        """
        key = _key(workload, options)
        if key not in self._traces:
            self._traces[key] = self._ask(Request(workload, options, tuple(sys.path)))
        traced = self._traces[key]
        if isinstance(traced, EightgigError):
            raise traced
        return traced

    def close(self) -> None:
        """End the child process."""
        child, self._child = self._child, None
        if child is not None and child.stdin is not None and child.stdout is not None:
            child.stdin.close()
            child.wait()
            child.stdout.close()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def _ask(self, request: Request) -> AllocationTrace | EightgigError:
        child = self._child or self._start()
        limit = threading.Timer(_LIMIT_SECONDS, child.kill)
        limit.start()
        try:
            write_frame(child.stdin, request)  # type: ignore[arg-type]
            answer: Any = read_frame(child.stdout)  # type: ignore[arg-type]
        except BrokenPipeError:
            answer = None
        finally:
            limit.cancel()
        if answer is None:
            said = self._last_words()
            self.close()
            return PredictionError(
                f"{request.workload.factory} cannot be traced ({request.options.phase}, micro-batch "
                f"{request.options.micro_batch}, checkpointing {request.options.activation_checkpointing}): {said}"
            )
        return answer

    def _start(self) -> "subprocess.Popen[bytes]":
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "eightgig.vram.tracing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if read_frame(self._child.stdout) != "ready":  # type: ignore[arg-type]
            said = self._last_words()
            self.close()
            raise PredictionError(f"the process that predicts memory did not start: {said}")
        return self._child

    def _last_words(self) -> str:
        if self._child is not None:
            self._child.wait()
        if self._complaints is None:
            return "it said nothing"
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        said = " / ".join(line.strip() for line in lines[-_LAST_LINES:])
        return said or f"it said nothing (it is ended after {_LIMIT_SECONDS} s)"


def predict_memory(
    workload: WorkloadSpec | str, options: StepOptions, *, generation: Generation = "ampere"
) -> Prediction:
    """Return what one step of a network takes, by the import path of what makes it: `package.module:make`.

    Raises:
        ConfigurationError: there is no such function, or it does not make a workload.
        PredictionError: the step cannot be traced.
    """
    spec = WorkloadSpec(factory=workload) if isinstance(workload, str) else workload
    with Predictor() as predictor:
        return predictor.predict(spec, options, generation=generation)


def _key(workload: WorkloadSpec, options: StepOptions) -> str:
    return workload.model_dump_json() + options.model_dump_json()
