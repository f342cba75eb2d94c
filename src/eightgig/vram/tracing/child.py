"""The child process that traces: reads requests from its standard input, writes traces to its standard output.

The fake accelerator stays in torch until the process ends (see `fake_device.py`), a constructor may end the process or
never return, and tracing wants no GPU: so none of it is in the parent.
"""

import os
import pickle
import struct
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any, BinaryIO, NamedTuple

from eightgig.core.errors import EightgigError
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

_LENGTH = struct.Struct(">Q")  # before each value: its length in bytes
_WATCH_SECONDS = 2.0  # soon enough for a person, and no load


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
    """Answer requests until there are no more; an error of ours is an answer, any other ends the process."""
    import torch

    torch.set_num_threads(1)  # nothing is computed
    write_frame(traces, "ready")
    with ExitStack() as stack:
        while (request := read_frame(requests)) is not None:
            sys.path[:] = [*dict.fromkeys((*request.search_path, *sys.path))]
            try:
                write_frame(traces, _trace(request, stack))
            except EightgigError as error:
                write_frame(traces, error)


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


if __name__ == "__main__":
    if os.name != "nt":  # Windows keeps naming a parent that has ended
        end_with(os.getppid())
    frames = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a user's model prints must not come between two frames
    serve(sys.stdin.buffer, frames)
