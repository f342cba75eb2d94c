"""NVML asked about the card that torch uses: nothing is run on it and no CUDA context is made."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from eightgig.core.cuda_order import cuda_order
from eightgig.core.spilling import DRIVER_MODELS, DriverModel

T = TypeVar("T")


def ask_nvml(question: Callable[[Any], T]) -> T | None:
    """Return NVML's answer, or None where there is no driver, no binding, or the driver does not know.

    Args:
        question: what to ask; it is given the module `pynvml`, which is open meanwhile.
    """
    try:
        import pynvml
    except ImportError:  # the binding is a dependency, but its absence must not stop a run on the CPU
        return None
    try:
        with _open(pynvml):
            return question(pynvml)
    except pynvml.NVMLError:
        return None


def handle_of(nvml: Any, uuid: str) -> Any:
    """Return NVML's handle of a card, or of a part of one (MIG), by the UUID that CUDA gives it."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:  # CUDA gives a part of a card a UUID of its own, which NVML writes with another prefix
        return nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))


def used_uuid() -> str | None:
    """Return the UUID of the card that this process uses: torch's current one, or the first that CUDA counts.

    None where the driver does not say.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return uuid_of(torch.cuda.current_device())
    return next(iter(cuda_order() or ()), None)


def uuid_of(index: int) -> str:
    """Return the UUID of a card as NVML writes it.

    Args:
        index: of the card, as torch counts.
    """
    import torch

    return f"GPU-{torch.cuda.get_device_properties(index).uuid}"


def free_bytes_of(uuid: str) -> int | None:
    """Return what is free of a card, or None where NVML does not say."""
    return ask_nvml(lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(handle_of(nvml, uuid)).free))


def driver_model_of(uuid: str) -> DriverModel | None:
    """Return the driver model that a card runs under on Windows; None elsewhere."""
    return ask_nvml(lambda nvml: DRIVER_MODELS.get(nvml.nvmlDeviceGetCurrentDriverModel(handle_of(nvml, uuid))))


@contextmanager
def _open(nvml: Any) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()
