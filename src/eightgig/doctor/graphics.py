"""The NVIDIA cards as their driver describes them, through NVML, which makes no CUDA context."""

import os
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

import psutil

from eightgig.core.cuda_order import cuda_order
from eightgig.core.records import Record
from eightgig.core.spilling import DRIVER_MODELS, DriverModel

ComputeMode = Literal["default", "prohibited", "exclusive"]
Ask = Callable[..., Any]
"""Calls an NVML function by its name; None where the card or the driver does not know the answer."""

# nvml.h, nvmlClocksEventReasons: those that say something is wrong. A power cap (0x4) is normal under load.
_SLOWED_BY = {0x08: "hardware", 0x20: "heat", 0x40: "heat", 0x80: "power supply"}
_COMPUTE_MODES: dict[int, ComputeMode] = {0: "default", 2: "prohibited", 3: "exclusive"}
_GPU_SENSOR = 0
_SLOWDOWN_THRESHOLD = 1


class GpuProcess(Record):
    """Another program on the card; what it holds is None where the driver does not tell (Windows)."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None


class Gpu(Record):
    """One card; None is what could not be read.

    Attributes:
        index: NVML's number, in the order of the PCI bus.
        capability: CUDA compute capability, for example (8, 6).
        processes: other programs on it; empty is none, None is not told.
        slowed_by: what holds the clocks down at this moment, of `heat`, `power supply`, `hardware`.
        pcie_max_width: what card and slot allow together; the generation falls while the card idles, the width stays.
    """

    index: int
    name: str
    uuid: str | None = None
    capability: tuple[int, int] | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    display_active: bool | None = None
    driver_model: DriverModel | None = None
    temperature_c: int | None = None
    slowdown_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    slowed_by: tuple[str, ...] | None = None
    pcie_width: int | None = None
    pcie_max_width: int | None = None
    pcie_max_generation: int | None = None
    persistence: bool | None = None
    compute_mode: ComputeMode | None = None


class Graphics(Record):
    """The driver and its cards.

    Attributes:
        driver: its version, for example `580.95.05`.
        driver_cuda: the newest CUDA it serves.
        gpus: all cards, hidden ones too.
        cuda_order: the UUIDs of those that CUDA shows, as it counts them; None where there is but one card, or the
            driver does not say.
        silence: why NVML does not answer; None when it does.
    """

    driver: str | None = None
    driver_cuda: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    cuda_order: tuple[str, ...] | None = None
    silence: str | None = None


def read_graphics(nvml: Any = None) -> Graphics:
    """Return what NVML tells of driver and cards.

    Args:
        nvml: the module to ask; pynvml when None.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Graphics(silence=str(error))
    ask = _asker(nvml)
    try:
        cuda = ask("nvmlSystemGetCudaDriverVersion_v2")  # 13000 is 13.0
        num_cards = ask("nvmlDeviceGetCount") or 0
        return Graphics(
            driver=ask("nvmlSystemGetDriverVersion"),
            driver_cuda=None if cuda is None else (cuda // 1000, cuda % 1000 // 10),
            gpus=tuple(_read_gpu(ask, index) for index in range(num_cards)),
            cuda_order=cuda_order() if num_cards > 1 else None,
        )
    finally:
        ask("nvmlShutdown")


def visible_gpus(graphics: Graphics, setting: str | None) -> tuple[Gpu, ...]:
    """Return the cards that CUDA shows to programs, first the one that runs use.

    Args:
        graphics: all cards, and how CUDA counts them. Where it does not say, or names cards that NVML does not know
            (parts of a card, some containers), they are taken in the order of the bus.
        setting: CUDA_VISIBLE_DEVICES; None when it is not set. A name that does not exist hides itself and all after it
            (CUDA programming guide, environment variables).
    """
    known = {gpu.uuid: gpu for gpu in graphics.gpus}
    counted = tuple(known[uuid] for uuid in graphics.cuda_order or () if uuid in known)
    if counted:
        return counted
    if setting is None or "MIG-" in setting:
        return graphics.gpus
    shown: list[Gpu] = []
    for name in setting.split(","):
        found = [gpu for gpu in graphics.gpus if _answers_to(gpu, name.strip())]
        if not found:
            break
        shown.append(found[0])
    return tuple(shown)


def _answers_to(gpu: Gpu, name: str) -> bool:
    return name == str(gpu.index) or (name.startswith("GPU-") and (gpu.uuid or "").startswith(name))


def _asker(nvml: Any) -> Ask:
    unknown = (nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError))

    def ask(function: str, *arguments: Any) -> Any:
        call = getattr(nvml, function, None)
        if call is None:
            return None
        try:
            return call(*arguments)
        except unknown:
            return None

    return ask


def _read_gpu(ask: Ask, index: int) -> Gpu:
    handle = ask("nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return Gpu(index=index, name=f"card {index}, which does not answer")
    model = ask("nvmlDeviceGetCurrentDriverModel", handle)
    return Gpu(
        index=index,
        name=ask("nvmlDeviceGetName", handle) or f"card {index}",
        uuid=ask("nvmlDeviceGetUUID", handle),
        capability=ask("nvmlDeviceGetCudaComputeCapability", handle),
        processes=_processes(ask, handle),
        display_active=_switch(ask("nvmlDeviceGetDisplayActive", handle)),
        driver_model=DRIVER_MODELS.get(model),
        persistence=_switch(ask("nvmlDeviceGetPersistenceMode", handle)),
        compute_mode=_COMPUTE_MODES.get(ask("nvmlDeviceGetComputeMode", handle)),
        **_memory(ask, handle),
        **_heat_and_power(ask, handle),
        **_link(ask, handle),
    )


def _memory(ask: Ask, handle: Any) -> dict[str, Any]:
    memory = ask("nvmlDeviceGetMemoryInfo", handle)
    return {} if memory is None else {"total_bytes": memory.total, "free_bytes": memory.free}


def _heat_and_power(ask: Ask, handle: Any) -> dict[str, Any]:
    temperature = ask("nvmlDeviceGetTemperatureV", handle, _GPU_SENSOR)
    if temperature is None:  # drivers before 580 know only the older name
        temperature = ask("nvmlDeviceGetTemperature", handle, _GPU_SENSOR)
    return {
        "temperature_c": temperature,
        "slowdown_c": ask("nvmlDeviceGetTemperatureThreshold", handle, _SLOWDOWN_THRESHOLD),
        "slowed_by": _slowed_by(ask, handle),
        "power_w": _watts(ask("nvmlDeviceGetPowerUsage", handle)),
        "power_limit_w": _watts(ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
        "power_default_w": _watts(ask("nvmlDeviceGetPowerManagementDefaultLimit", handle)),
    }


def _link(ask: Ask, handle: Any) -> dict[str, Any]:
    return {
        "pcie_width": ask("nvmlDeviceGetCurrPcieLinkWidth", handle),
        "pcie_max_width": ask("nvmlDeviceGetMaxPcieLinkWidth", handle),
        "pcie_max_generation": ask("nvmlDeviceGetMaxPcieLinkGeneration", handle),
    }


def _slowed_by(ask: Ask, handle: Any) -> tuple[str, ...] | None:
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:  # before 535 it had this name
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    if reasons is None:
        return None
    return tuple(dict.fromkeys(name for bit, name in _SLOWED_BY.items() if reasons & bit))


def _processes(ask: Ask, handle: Any) -> tuple[GpuProcess, ...] | None:
    lists = [ask(f"nvmlDeviceGet{kind}RunningProcesses", handle) for kind in ("Compute", "Graphics")]
    if lists == [None, None]:
        return None
    # A program that computes and draws is in both lists.
    held = {entry.pid: entry.usedGpuMemory for entries in lists for entry in entries or ()}
    held.pop(os.getpid(), None)
    return tuple(GpuProcess(pid=pid, name=_name_of(ask, pid), used_bytes=used) for pid, used in held.items())


def _name_of(ask: Ask, pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:  # gone by now, or of another container
        path = ask("nvmlSystemGetProcessName", pid)
        return PurePath(path).name if path else None


def _switch(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
