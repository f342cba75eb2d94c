"""The child process from its parent's side: started at the first request, ended when it is closed or takes too long."""

import os
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from eightgig.core.errors import EightgigError, PredictionError
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.tracing.child import Request, read_frame, write_frame
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

_LAST_LINES = 6  # of its standard error: the error of a traceback, and the call that raised it
# Far above what any network takes (a trace takes seconds); a constructor that waits for values would never end.
_LIMIT_SECONDS = 300


class ChildProcess:
    """Traces steps in a process of its own, which knows the fake accelerator and no GPU."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def trace(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace:
        """Return the trace of a step.

        Raises:
            ConfigurationError: the workload cannot be built.
            PredictionError: the step cannot be traced; the message ends with what the process said.
        """
        answer = self._ask(Request(workload, options, tuple(sys.path)))
        if answer is None:
            message = self._last_lines()
            self.close()
            raise PredictionError(
                f"{workload.factory} cannot be traced ({options.phase}, micro-batch {options.micro_batch}, "
                f"checkpointing {options.activation_checkpointing}): {message}"
            )
        if isinstance(answer, EightgigError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            process.wait()
            process.stdout.close()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _ask(self, request: Request) -> AllocationTrace | EightgigError | None:
        process = self._process or self._start()
        limit = threading.Timer(_LIMIT_SECONDS, process.kill)
        limit.start()
        try:
            write_frame(process.stdin, request)  # type: ignore[arg-type]
            answer: Any = read_frame(process.stdout)  # type: ignore[arg-type]
        except BrokenPipeError:
            answer = None
        finally:
            limit.cancel()
        return answer

    def _start(self) -> "subprocess.Popen[bytes]":
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "eightgig.vram.tracing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if read_frame(self._process.stdout) != "ready":  # type: ignore[arg-type]
            message = self._last_lines()
            self.close()
            raise PredictionError(f"the process that predicts memory did not start: {message}")
        return self._process

    def _last_lines(self) -> str:
        if self._process is not None:
            self._process.wait()
        if self._stderr is None:
            return "it said nothing"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        message = " / ".join(line.strip() for line in lines[-_LAST_LINES:])
        return message or f"it said nothing (it is ended after {_LIMIT_SECONDS} s)"
