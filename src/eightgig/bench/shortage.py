"""What an error of any runtime says to a reader of the benchmark's table."""

from collections.abc import Iterator

import torch

from eightgig.core.errors import EightgigError
from eightgig.vram.runtime.recorder import FlightRecorder

# ONNX Runtime, TensorRT and the C++ library have no errors of a kind for it; torch's are known to the flight recorder.
_SPELLINGS = (
    "out of memory",
    "failed to allocate memory",  # ONNX Runtime's arena
    "smaller than requested bytes",  # the same, with a limit
    "alloc_failed",  # cuBLAS and cuDNN, inside ONNX Runtime too
    "no memory for the engine",  # a TensorRT session
    "bad allocation",
    "bad_alloc",
)


def told_of(error: BaseException, when: str, recorder: FlightRecorder | None = None) -> str | None:
    """Return what a row says in place of figures; None for an error that is no variant's own.

    Args:
        error: that was raised.
        when: for example `while it was opened`.
        recorder: knows the ways in which torch says that memory ran out; None knows the plain one.
    """
    for cause in _chain(error):
        if _is_shortage(cause, recorder):
            return (
                f"out of memory {when} ({_shortened(cause)}). Take a smaller benchmark.batch_size, a smaller largest "
                "of benchmark.latency.batch_sizes, or a larger plan.budget_gib where the card has it."
            )
    return str(error) if isinstance(error, EightgigError) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from: runners turn what a runtime raises into errors of their own."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _is_shortage(error: BaseException, recorder: FlightRecorder | None) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if recorder is not None and recorder.is_out_of_memory(error):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | EightgigError) and any(spelling in text for spelling in _SPELLINGS)


def _shortened(error: BaseException) -> str:
    """Return an error's first two sentences: what ran out, and how much was asked for."""
    first = str(error).strip().partition("\n")[0].split(". ")
    return ". ".join(first[:2]).rstrip(".") or type(error).__name__
