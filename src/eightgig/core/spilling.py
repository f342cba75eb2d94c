"""Where a full card is no error: Windows' driver moves tensors to main memory instead, many times slower."""

import platform
from pathlib import Path
from typing import Any, Literal

DriverModel = Literal["wddm", "tcc", "mcdm"]
DRIVER_MODELS: dict[int, DriverModel] = {0: "wddm", 1: "tcc", 2: "mcdm"}  # nvml.h, nvmlDriverModel_t
_KERNEL = Path("/proc/version")


def spills(system: str, *, is_wsl: bool, driver_model: DriverModel | None) -> bool:
    """Tell whether the driver moves tensors to main memory when the card is full: on Windows and in WSL.

    Args:
        system: as `platform.system` names it.
        is_wsl: whether this Linux runs inside Windows.
        driver_model: of the card on Windows; None where it is not known. TCC has no such fallback.

    Source: NVIDIA, answer 5490 (nvidia.custhelp.com): since driver 536.40.
    """
    return is_wsl or (system == "Windows" and driver_model in ("wddm", "mcdm", None))


def tells_wsl(kernel: str | None) -> bool:
    """Tell from /proc/version whether this Linux runs inside Windows; Microsoft's kernel names itself there."""
    return kernel is not None and "microsoft" in kernel.lower()


def spills_here(driver_model: Any) -> bool:
    """Tell the same of this machine.

    Args:
        driver_model: a function that gives the card's driver model; it is asked on Windows alone.
    """
    system = platform.system()
    try:
        kernel = _KERNEL.read_text(encoding="utf-8", errors="replace")
    except OSError:
        kernel = None
    model = driver_model() if system == "Windows" else None
    return spills(system, is_wsl=tells_wsl(kernel), driver_model=model)
