"""The child process that traces, from both sides: requests go to its standard input, traces come from its output.

The fake accelerator stays in torch until the process ends (see `fake_device.py`), a constructor may end the process or
never return, and tracing wants no GPU: so none of it is in the parent.
"""

import os
import pickle
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from typing import IO, Any, BinaryIO, NamedTuple

import psutil

from eightgig.core.addresses import at_address
from eightgig.core.errors import EightgigError, PredictionError
from eightgig.vram.allocator.events import AllocationTrace
from eightgig.vram.tracing.failures import failure_of, untraceable
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import CallRequest, WorkloadSpec
from eightgig.vram.tracing.weights import Weight, WeightsRequest, read_weights

_LENGTH = struct.Struct(">Q")  # before each value: its length in bytes
_WATCH_SECONDS = 2.0  # soon enough for a person, and no load
_LAST_LINES = 6  # of its standard error: the error of a traceback, and the call that raised it
# Of a core, far above what any network takes (a trace takes seconds); a constructor that waits for values would never
# end. Not of the clock: beside other work a trace lasts many times as long.
_LIMIT_SECONDS = 300
_IDLE_SHARE = 0.01  # of a core, below which a process waits for what does not come
# Set in the child: a module that it imports and that predicts in its turn would start processes without end.
_MARK = "EIGHTGIG_IN_CHILD"


class Request(NamedTuple):
    """One step to trace; `search_path` is the parent's, so that its modules are found here too."""

    workload: WorkloadSpec
    options: StepOptions
    search_path: tuple[str, ...]


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Write one pickled value with its length before it."""
    payload = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any | None:
    """Read one value; None where the stream has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    payload = stream.read(_LENGTH.unpack(head)[0])
    return pickle.loads(payload)  # noqa: S301  from the other end of our own pipe


def serve(requests: BinaryIO, traces: BinaryIO) -> None:
    """Answer requests until there are no more; an error is an answer too."""
    import torch

    torch.set_num_threads(1)  # nothing is computed
    write_frame(traces, "ready")
    with ExitStack() as stack:
        while (request := read_frame(requests)) is not None:
            sys.path[:] = [*dict.fromkeys((*request.search_path, *sys.path))]
            try:
                if isinstance(request, CallRequest):
                    write_frame(traces, at_address(request.address)(**request.arguments))
                elif isinstance(request, WeightsRequest):
                    write_frame(traces, read_weights(request.workload, looks_at_loss=request.looks_at_loss))
                else:
                    write_frame(traces, _trace(request, stack))
            except EightgigError as error:
                write_frame(traces, error)
            except Exception as error:  # noqa: BLE001  whatever a user's network raises
                write_frame(traces, _failure(error, request))


def _failure(error: Exception, request: Request | CallRequest) -> PredictionError:
    if isinstance(request, CallRequest):
        return PredictionError(f"{request.address}: {type(error).__name__}: {error}")
    return failure_of(error, request.workload, request.options)


def _trace(request: Request, stack: ExitStack) -> Any:
    from eightgig.vram.tracing.fake_device import fake_device
    from eightgig.vram.tracing.steps import trace_spec

    stack.enter_context(fake_device())  # once for all requests: to make it takes a tenth of a second
    return trace_spec(request.workload, request.options)


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, also where a model's constructor never returns."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end_if_it_hangs(process: "subprocess.Popen[bytes]", answered: threading.Event) -> None:
    """End a process that has used up its time, or that uses none, unless it answers before."""
    with suppress(psutil.NoSuchProcess):
        begun = used = _core_seconds(process.pid)
        while not answered.wait(_LIMIT_SECONDS):
            before, used = used, _core_seconds(process.pid)
            # Half of the time counts as all of it: it is looked at so often only.
            if used - begun > _LIMIT_SECONDS / 2 or used - before < _IDLE_SHARE * _LIMIT_SECONDS:
                process.kill()
                return


def _core_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


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
            raise untraceable(workload, options, message)
        if isinstance(answer, EightgigError):
            raise answer
        return answer

    def weights(self, workload: WorkloadSpec, *, looks_at_loss: bool) -> tuple[Weight, ...]:
        """Return what `read_weights` does; none where the process ended over it."""
        weights = self._ask(WeightsRequest(workload, looks_at_loss, tuple(sys.path)))
        if weights is None:
            self.close()
        return weights or ()

    def call(self, address: str, arguments: dict[str, Any]) -> Any:
        """Return what a function returns there, which is not None.

        Raises:
            EightgigError: what it raises; PredictionError where the process ended over it.
        """
        answer = self._ask(CallRequest(address, arguments, tuple(sys.path)))
        if answer is None:
            message = self._last_lines()
            self.close()
            raise PredictionError(f"{address} ended the process that predicts: {message}")
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

    def _ask(self, request: Request | WeightsRequest | CallRequest) -> Any:
        process = self._process or self._start()
        answered = threading.Event()
        threading.Thread(target=_end_if_it_hangs, args=(process, answered), daemon=True).start()
        try:
            write_frame(process.stdin, request)  # type: ignore[arg-type]
            answer = read_frame(process.stdout)  # type: ignore[arg-type]
        except BrokenPipeError:
            answer = None
        finally:
            answered.set()
        return answer

    def _start(self) -> "subprocess.Popen[bytes]":
        if _MARK in os.environ:
            raise PredictionError(
                "a module that is imported for a prediction predicts itself, when it is imported: guard the call by "
                "if __name__ == '__main__'"
            )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "eightgig.vram.tracing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "-1",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                _MARK: "1",
            },
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


if __name__ == "__main__":
    if os.name != "nt":  # Windows keeps naming a parent that has ended
        end_with(os.getppid())
    frames = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a user's model prints must not come between two frames
    serve(sys.stdin.buffer, frames)
