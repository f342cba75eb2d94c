"""The child process that traces: reads requests from its standard input, writes traces to its standard output.

The fake accelerator changes torch for the whole process, and tracing wants no GPU: both stay out of the parent.
"""

import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from eightgig.core.errors import EightgigError
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

_LENGTH = struct.Struct(">Q")
_LARGE_TENSOR = 4096
_WATCH_SECONDS = 2.0
# Random fills and their follow-ups, on weights whose values nobody reads: seconds for a large network.
_FILLS = (
    "uniform_",
    "normal_",
    "erfinv_",
    "clamp_",
    "mul_",
    "add_",
    "fill_",
    "zero_",
    "copy_",
    "random_",
    "bernoulli_",
)


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


def serve(requests: BinaryIO, predictions: BinaryIO) -> None:
    """Answer requests until there are no more; an error of ours is an answer, any other ends the process."""
    import torch

    torch.set_num_threads(1)  # nothing is computed
    write_frame(predictions, "ready")
    while (request := read_frame(requests)) is not None:
        try:
            write_frame(predictions, _trace(request))
        except EightgigError as error:
            write_frame(predictions, error)


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, also where a model's constructor never returns."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _trace(request: Request) -> Any:
    from eightgig.vram.tracing.steps import trace_step

    sys.path[:] = [*dict.fromkeys((*request.search_path, *sys.path))]
    with _without_values():
        workload = request.workload.build()
    return trace_step(workload, request.options)


@contextmanager
def _without_values() -> Iterator[None]:
    """Leave large tensors as they were allocated: no initialisation costs time, and untouched pages no memory."""
    from torch import Tensor
    from torch.nn import init
    from torch.utils._python_dispatch import TorchDispatchMode

    class SkipFills(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            first: Any = args[0] if args else None
            filled = func._schema.name.removeprefix("aten::") in _FILLS and isinstance(first, Tensor)
            if filled and first.numel() > _LARGE_TENSOR:
                return first
            return func(*args, **(kwargs or {}))

    # Torch's initialisers end in these; one draws again until the values suit it, so it must not run without them.
    inner = {name: value for name, value in vars(init).items() if name.startswith("_no_grad_")}
    vars(init).update(dict.fromkeys(inner, lambda tensor, *_, **__: tensor))
    try:
        with SkipFills():
            yield
    finally:
        vars(init).update(inner)


if __name__ == "__main__":
    if os.name != "nt":  # Windows keeps naming a parent that has ended
        end_with(os.getppid())
    frames = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a user's model prints must not come between two frames
    serve(sys.stdin.buffer, frames)
