"""Checks of how a card is used: its memory, who shares it, spilling, allocator, heat, power, link."""

import math
from functools import partial

from eightgig.core.units import GIB, format_bytes, gib
from eightgig.doctor.advice import Advice
from eightgig.doctor.graphics import Gpu, GpuProcess
from eightgig.doctor.machine import Machine

_BUDGET_BYTES = 8 * GIB  # `plan.budget_gib` unless a recipe says otherwise
_IDLE_BYTES = int(0.3 * GIB)  # driver and an idle desktop: not worth a word
_MUCH_BYTES = GIB
_NEAR_SLOWDOWN_C = 5

# PCI Express 3, 4, 5: 8, 16, 32 GT/s a lane, 128 of 130 bits are data: gigabytes a second and lane.
_GB_PER_LANE = {3: 8 * 128 / 130 / 8, 4: 16 * 128 / 130 / 8, 5: 32 * 128 / 130 / 8}
# EfficientNet-B3, 300 px, about 280 images a second on an RTX 3070 (scaled from published runs), as uint8.
_NEEDED_GB_PER_SECOND = 280 * 3 * 300 * 300 / 1e9


def card_memory(machine: Machine) -> Advice | None:
    """DOC006: what is free of the budget."""
    gpu = machine.gpu
    if gpu is None or gpu.free_bytes is None or gpu.total_bytes is None:
        return None
    free, wanted = gpu.free_bytes, min(_BUDGET_BYTES, gpu.total_bytes)
    usual = "the usual budget" if wanted == _BUDGET_BYTES else "all of this card, for which a plan is made"
    about = partial(
        Advice,
        code="DOC006",
        title="card memory",
        what_is=f"{gib(free):.1f} of {gib(gpu.total_bytes):.1f} GiB free",
        wanted=f"{gib(wanted):.3g} GiB, {usual}",
    )
    if wanted - free <= _IDLE_BYTES:
        return about(status="ok")
    plan = f"plan with what is free: --params <case>.plan.budget_gib={math.floor(gib(free) * 10) / 10}"
    if machine.spills:
        plan = "nothing to set: plans are made for what is free"
    much = wanted - free > _MUCH_BYTES
    return about(status="warning" if much else "note", to_do=f"close what DOC007 names; or {plan}" if much else plan)


def other_programs(machine: Machine) -> Advice | None:
    """DOC007: who else uses the card."""
    gpu = machine.gpu
    if gpu is None:
        return None
    about = partial(Advice, code="DOC007", title="shared with", wanted="nobody while a run lasts")
    if machine.host.is_wsl or gpu.processes is None:  # WSL sees none of Windows' programs: microsoft/WSL issue 7162
        where = "Windows: Task Manager, Details, column Dedicated GPU memory" if machine.spills else "nvidia-smi"
        return about(status="note", what_is="cannot be seen from here", to_do=f"if memory is short, look in {where}")
    if not gpu.processes:
        return about(status="ok", what_is="nobody")
    held = sum(process.used_bytes or 0 for process in gpu.processes)
    serious = held > _MUCH_BYTES
    return about(
        status="warning" if serious else "note",
        what_is=_names(gpu.processes),
        to_do="close them; in browsers switch hardware acceleration off" if serious else "",
    )


def display(machine: Machine) -> Advice | None:
    """DOC008: whether a monitor hangs on the card."""
    gpu = machine.gpu
    if gpu is None or gpu.display_active is None:
        return None
    about = partial(Advice, code="DOC008", title="display", wanted="none on this card")
    if not gpu.display_active:
        return about(status="ok", what_is="none")
    return about(
        status="note",
        what_is="this card draws the desktop, which takes some of its memory and time",
        to_do="plug the monitor into the mainboard, or train with the desktop logged out",
    )


def spilling(machine: Machine) -> Advice | None:
    """DOC009: whether a full card is an error or a slow-down.

    A run keeps to what is free when it begins; what other programs take later is beyond it.
    """
    gpu = machine.gpu
    if gpu is None:
        return None
    about = partial(Advice, code="DOC009", title="spilling", wanted="none")
    if not machine.spills:
        return about(status="ok", what_is="none: a full card is an error")
    # NVIDIA, answer 5490 (nvidia.custhelp.com): since driver 536.40; the setting since 546.01. NVML cannot read it.
    return about(
        status="note",
        what_is="Windows' driver moves tensors to main memory when the card is full; the setting cannot be read. Runs "
        "keep to what is free when they begin",
        to_do="NVIDIA Control Panel, Manage 3D settings, CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback",
    )


def allocator(machine: Machine) -> Advice | None:
    """DOC010: torch's allocator is the one that plans are made for."""
    settings, caching_off = machine.software.allocator_settings, machine.software.caching_off
    if machine.gpu is None:
        return None
    about = partial(Advice, code="DOC010", title="allocator", wanted="torch's defaults: plans are made for them")
    if caching_off:
        return about(
            status="warning",
            what_is="caching is off: every tensor waits for the driver, and measured peaks mean nothing",
            to_do="unset PYTORCH_NO_CUDA_MEMORY_CACHING",
        )
    if settings is None:
        return about(status="ok", what_is="torch's defaults")
    unset = "unset PYTORCH_ALLOC_CONF (or PYTORCH_CUDA_ALLOC_CONF)"
    if "cudaMallocAsync" in settings:
        return about(status="warning", what_is=f"{settings}: plans do not hold for it", to_do=unset)
    if "expandable_segments:True" in settings and machine.spills:
        return about(status="warning", what_is=f"{settings}: torch has it on Linux alone", to_do=unset)
    return about(status="note", what_is=settings, to_do=f"where predicted and measured memory differ, {unset}")


def heat(machine: Machine) -> Advice | None:
    """DOC011: temperature, and whether heat slows the card at this moment."""
    gpu = machine.gpu
    if gpu is None or gpu.temperature_c is None:
        return None
    limit = f"below {gpu.slowdown_c} °C, where it slows down" if gpu.slowdown_c else "well below its limit"
    about = partial(Advice, code="DOC011", title="heat", wanted=limit)
    slowed = "heat" in (gpu.slowed_by or ())
    near = gpu.slowdown_c is not None and gpu.temperature_c >= gpu.slowdown_c - _NEAR_SLOWDOWN_C
    what = f"{gpu.temperature_c} °C now"
    if not slowed and not near:
        return about(status="ok", what_is=what)
    return about(
        status="warning",
        what_is=f"{what}, slowed down by heat" if slowed else what,
        to_do="clear dust and fans, give the case air, or take less power: sudo nvidia-smi -pl <watts>",
    )


def power(machine: Machine) -> Advice | None:
    """DOC012: the power limit, and whether the supply holds the card back."""
    gpu = machine.gpu
    if gpu is None or gpu.power_limit_w is None:
        return None
    default = gpu.power_default_w or gpu.power_limit_w
    drawn = "" if gpu.power_w is None else f"{gpu.power_w:.0f} W drawn now, "
    supply = "; a supply of 650 W (article)" if "RTX 3070" in gpu.name else ""  # no supply can be read
    about = partial(
        Advice,
        code="DOC012",
        title="power",
        what_is=f"{drawn}limit {gpu.power_limit_w:.0f} of {default:.0f} W",
        wanted=f"{default:.0f} W{supply}",
    )
    if "power supply" in (gpu.slowed_by or ()):
        return about(status="warning", to_do="the power supply holds the card back: check its cables and its size")
    if gpu.power_limit_w < 0.98 * default:
        return about(status="note", to_do=f"for full speed, at more heat: sudo nvidia-smi -pl {default:.0f}")
    return about(status="ok")


def link(machine: Machine) -> Advice | None:
    """DOC013: the card's way to main memory."""
    gpu = machine.gpu
    if gpu is None or gpu.pcie_width is None or gpu.pcie_max_width is None:
        return None
    generation = gpu.pcie_max_generation
    lane = _GB_PER_LANE.get(min(generation, 5)) if generation is not None and generation >= 3 else None
    speed = "" if lane is None else f", PCIe {generation}: {gpu.pcie_width * lane:.1f} GB/s"
    about = partial(
        Advice,
        code="DOC013",
        title="PCIe link",
        what_is=f"x{gpu.pcie_width} of x{gpu.pcie_max_width}{speed}",
        wanted=f"{_NEEDED_GB_PER_SECOND:.2f} GB/s for one card, all lanes for several",
    )
    if gpu.pcie_width >= gpu.pcie_max_width:
        return about(status="ok")
    return about(status="note", to_do="for several cards or offloading: the slot nearest the processor, seated firmly")


def readiness(machine: Machine) -> Advice | None:
    """DOC014: the card takes programs, and is kept awake between them."""
    gpu = machine.gpu
    if gpu is None or (gpu.compute_mode is None and gpu.persistence is None):
        return None
    about = partial(Advice, code="DOC014", title="readiness", wanted="takes programs, stays awake between them")
    if gpu.compute_mode == "prohibited":
        return about(status="problem", what_is="compute mode prohibits programs", to_do="sudo nvidia-smi -c DEFAULT")
    if gpu.compute_mode == "exclusive" and gpu.processes:
        return about(
            status="warning", what_is="one program at a time, and there is one", to_do="sudo nvidia-smi -c DEFAULT"
        )
    if _sleeps(machine, gpu):  # NVIDIA, Driver Persistence, overview: 1 to 3 s at each start
        return about(
            status="note",
            what_is="the driver lets go of the card between programs: 1 to 3 s at each start",
            to_do="sudo systemctl enable --now nvidia-persistenced",
        )
    return about(status="ok", what_is="yes")


def _sleeps(machine: Machine, gpu: Gpu) -> bool:
    on_linux = machine.host.system == "Linux" and not machine.host.is_wsl
    return on_linux and gpu.persistence is False and not gpu.display_active


def _names(processes: tuple[GpuProcess, ...]) -> str:
    ordered = sorted(processes, key=lambda process: -(process.used_bytes or 0))
    named = [
        f"{process.name or 'unknown'} (pid {process.pid}"
        + (")" if process.used_bytes is None else f", {format_bytes(process.used_bytes)})")
        for process in ordered[:3]
    ]
    return ", ".join(named) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
