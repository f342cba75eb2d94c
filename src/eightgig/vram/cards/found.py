"""The card in this machine, read from the driver (NVML): nothing is run on it and no CUDA context is made."""

from contextlib import suppress
from typing import Any

from eightgig.core.units import gib
from eightgig.vram.cards.catalog import Card, cards
from eightgig.vram.cards.nvml import ask_nvml, handle_of, used_uuid

# The memory that the driver shows may be a little below the catalog's (ECC, driver's own share).
_MEMORY_TOLERANCE_GIB = 0.6
# NVIDIA, CUDA C++ Programming Guide, Arithmetic Instructions; all others have 128.
_CORES_PER_SM = {(6, 0): 64, (6, 1): 128, (7, 0): 64, (7, 5): 64, (8, 0): 64}
# Tensor FLOP an SM and clock, float16 in and float32 accumulated; GeForce cards run it at half of the chip's rate.
# NVIDIA's whitepapers of Volta, Turing, Ampere (GA100, GA102), Ada, Hopper and RTX Blackwell.
_TENSOR_FLOP = {7: 1024, 8: 1024, 9: 4096, 10: 8192, 12: 1024}
_TENSOR_FLOP_GA100 = 2048  # compute capability 8.0; the other Ampere chips are GA102 and smaller
_GENERATIONS = {6: "Pascal", 7: "Volta", 8: "Ampere", 9: "Hopper", 10: "Blackwell", 12: "Blackwell"}
_SHARES_A_MAJOR = {(7, 5): "Turing", (8, 9): "Ada"}  # with another generation


def card_found() -> Card | None:
    """Return the card that runs of this process use, or None where there is none that the driver knows.

    It is found by its UUID, for NVML counts otherwise than CUDA does; where CUDA does not tell the UUID, or NVML does
    not know it (some containers), it is the first that NVML counts. A card of the catalog is known by its name and
    memory. Any other is built from what the driver says; its rates are computed from the highest clocks, which are
    above the official boost clock, and are named in `unverified`.
    """
    return ask_nvml(_read)


def _read(nvml: Any) -> Card:
    handle = _used_handle(nvml)
    name = _text(nvml.nvmlDeviceGetName(handle))
    memory_gib = gib(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    return catalog_card(name, memory_gib) or _built(nvml, handle, name, memory_gib)


def _used_handle(nvml: Any) -> Any:
    """Return the handle of the card in use; of a part of a card (MIG) the whole, whose clocks and lanes it has."""
    if nvml.nvmlDeviceGetCount() > 1 and (uuid := used_uuid()):
        with suppress(nvml.NVMLError):
            handle = handle_of(nvml, uuid)
            is_part = nvml.nvmlDeviceIsMigDeviceHandle(handle)
            return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if is_part else handle
    return nvml.nvmlDeviceGetHandleByIndex(0)


def catalog_card(nvml_name: str, memory_gib: float) -> Card | None:
    """Return the catalog's card that the driver calls `nvml_name` and that has about this much memory."""
    near = [card for card in cards() if abs(card.memory_gib - memory_gib) <= _MEMORY_TOLERANCE_GIB]
    return next((card for card in near if nvml_name in card.nvml_names), None)


def _built(nvml: Any, handle: Any, name: str, memory_gib: float) -> Card:
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    clock_mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    memory_mhz = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)
    bus_bits, cores = nvml.nvmlDeviceGetMemoryBusWidth(handle), nvml.nvmlDeviceGetNumGpuCores(handle)
    sms = cores // _CORES_PER_SM.get((major, minor), 128)
    tensor = _tensor_tflops(name, (major, minor), sms, clock_mhz)
    return Card(
        name=name,
        nvml_names=(name,),
        generation=_SHARES_A_MAJOR.get((major, minor)) or _GENERATIONS.get(major, "unknown"),
        compute_capability=(major, minor),
        memory_gib=round(memory_gib, 1),
        memory_bus_bits=bus_bits,
        # All of today's memories move two words a pin in each cycle of the clock that NVML gives.
        bandwidth_gb_per_s=round(2 * memory_mhz * bus_bits / 8 / 1000, 1),
        cuda_cores=cores,
        num_sms=sms,
        boost_mhz=clock_mhz,
        fp32_tflops=round(2 * cores * clock_mhz / 1e6, 1),
        tf32_tflops=round(tensor / 2, 1) if tensor and major >= 8 else None,
        fp16_tflops=tensor,
        bf16_tflops=tensor if major >= 8 else None,
        int8_tops=None,
        tdp_w=_limit_w(nvml, handle),
        pcie_generation=nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        pcie_lanes=nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
        sources=("the driver (NVML)",),
        unverified=("bandwidth_gb_per_s", "fp32_tflops", "tf32_tflops", "fp16_tflops", "bf16_tflops", "num_sms"),
    )


def _tensor_tflops(name: str, capability: tuple[int, int], sms: int, clock_mhz: int) -> float | None:
    flop = _TENSOR_FLOP_GA100 if capability == (8, 0) else _TENSOR_FLOP.get(capability[0])
    if flop is None or "GTX" in name:
        return None
    return round(sms * (flop // 2 if "GeForce" in name else flop) * clock_mhz / 1e6, 1)


def _limit_w(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) // 1000)
    except nvml.NVMLError:  # laptops and virtual GPUs do not say
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
