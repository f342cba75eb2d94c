"""The NVIDIA cards in the order in which CUDA counts them.

NVML and nvidia-smi count in the order of the PCI bus; CUDA counts the fastest first, unless CUDA_DEVICE_ORDER says
otherwise, and CUDA_VISIBLE_DEVICES hides and reorders. So a card is known by its UUID alone.

The driver is asked in a process of its own, which runs this file: no context is made, and nothing of CUDA stays in the
process that asks (one that forks later could not use the card). So this file needs Python's own modules alone.
"""

import ctypes
import json
import subprocess
import sys
import uuid
from typing import Any

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NUM_UUID_BYTES = 16
_PATIENCE_S = 30.0  # a driver that is not kept awake takes some seconds to start


def cuda_order() -> tuple[str, ...] | None:
    """Return the UUIDs of the cards that CUDA shows to this process, in its order; None where the driver does not say.

    The first is the one that a program uses which names none.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", __file__], capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return None if found is None else tuple(found)


def read_order(driver: Any) -> tuple[str, ...] | None:
    """Return the same from the driver's own interface.

    Args:
        driver: the library, by ctypes.

    Source: CUDA driver API, cuInit, cuDeviceGetCount, cuDeviceGet, cuDeviceGetUuid_v2; none of them makes a context.
    """
    ask_uuid = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid  # before CUDA 11.4
    count, device, raw = ctypes.c_int(), ctypes.c_int(), (ctypes.c_ubyte * _NUM_UUID_BYTES)()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return None
    found = []
    for index in range(count.value):
        if driver.cuDeviceGet(ctypes.byref(device), index) or ask_uuid(ctypes.byref(raw), device):
            return None
        found.append(f"GPU-{uuid.UUID(bytes=bytes(raw))}")
    return tuple(found)


def _main() -> None:
    try:
        order = read_order(ctypes.CDLL(_LIBRARY))
    except (OSError, AttributeError):  # no driver; one that is too old
        order = None
    sys.stdout.write(json.dumps(order))


if __name__ == "__main__":
    _main()
