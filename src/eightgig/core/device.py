"""Which device a run uses, what it is called, and how tensors get there."""

import logging
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eightgig.core.errors import ConfigurationError
from eightgig.core.kernels import lack_of_kernels

if TYPE_CHECKING:
    import torch


logger = logging.getLogger(__name__)

DeviceChoice = Literal["auto", "cuda", "cpu"]
DeviceKind = Literal["cuda", "cpu"]


def resolve_device(choice: DeviceChoice) -> DeviceKind:
    """Return the device to use: `auto` takes CUDA where torch can compute with it and the CPU otherwise.

    A card that the driver serves and torch has no kernels for is not used; the first time, that is a warning.

    Raises:
        ConfigurationError: `cuda` was asked for and torch finds no usable GPU.
    """
    import torch

    if choice == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        if choice == "auto":
            return "cpu"
        raise ConfigurationError(
            "device 'cuda' was asked for, but torch finds no usable GPU "
            f"(torch {torch.__version__}, CUDA build {torch.version.cuda or 'none'}). "
            "Check the driver with nvidia-smi, or set the parameter to 'auto' or 'cpu'."
        )
    lack = lack_of_kernels()
    if lack is None:
        return "cuda"
    if choice == "cuda":
        raise ConfigurationError(
            f"device 'cuda' was asked for, but {lack.what_is}. The way out: {lack.way_out}; or set the parameter to "
            "'auto' or 'cpu'."
        )
    _warn_once(f"the CPU is used: {lack.what_is}. The way out: {lack.way_out}")
    return "cpu"


@cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def describe_device(kind: DeviceKind) -> str:
    """Name the device for a person: the GPU's name, or the CPU's model and its core count."""
    if kind == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return f"{_cpu_model()}, {usable_cores()} cores"


def usable_cores() -> int:
    """Count the CPU cores this process may use (a container often may use fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def loader_processes(choice: int | Literal["auto"]) -> int:
    """Return the number of processes that load data: `auto` leaves two cores to training, and takes four at most."""
    return max(0, min(4, usable_cores() - 2)) if choice == "auto" else choice


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def to_device(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return the tensor on a device; later work there waits for the copy, this process does not.

    CUDA copies from page-locked memory alone behind the program's back: other memory is brought there first.
    """
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
