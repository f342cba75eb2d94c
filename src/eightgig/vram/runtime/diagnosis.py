"""Why memory ran out, told from recorded numbers alone, and what to do about it."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record
from eightgig.core.units import GIB, KIB, MIB, format_bytes
from eightgig.vram.allocator.blocks import AllocatorOptions

OomCode = Literal["host_memory", "leak", "fragmentation", "validation", "another_process", "too_big"]
# As torch's allocator writes sizes (c10/cuda/CUDACachingAllocator.cpp, format_size).
_UNITS = {"bytes": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
_ALLOCATOR = AllocatorOptions()
# Less is what kernels and caches come to hold in their first steps; fewer samples show no trend in four parts.
_MIN_LEAK_BYTES = 16 * MIB
_MIN_LEAK_STEPS = 8


class Shortage(Record):
    """The numbers at the moment memory ran out, in bytes.

    Attributes:
        phase: `train`, `optimizer`, `validate`, or `outside` of all of them.
        step: optimizer steps done before.
        batch: samples that went through the network at a time; 0 where none did.
        requested_bytes: what was asked for and not given; None where the error did not say.
        allocated_bytes: held in tensors; on the CPU the resident memory.
        reserved_bytes: held by torch's allocator, the gaps between tensors included.
        free_bytes: free on the card; on the CPU available memory.
        others_bytes: taken on the card by other processes.
        cap_bytes: what the budget lets this process hold; None without one.
        predicted_bytes: the plan's prediction of the phase; None where it has none.
        step_starts: allocated at the start of optimizer steps, evenly thinned out over the whole run.
        error: the first line of the error.
        of_host: whether it was the machine's memory that ran out in a run on a card.
        snapshot: file in the recorder's folder, for pytorch.org/memory_viz; None where there is none.
    """

    device: DeviceKind
    phase: str
    step: int
    batch: int
    requested_bytes: int | None
    allocated_bytes: int
    reserved_bytes: int
    free_bytes: int | None
    others_bytes: int | None
    cap_bytes: int | None
    predicted_bytes: int | None
    step_starts: tuple[int, ...] = ()
    error: str
    of_host: bool = False
    snapshot: str | None = None


class OomDiagnosis(Record):
    """Why memory ran out, and what to do."""

    code: OomCode
    finding: str
    advice: str

    @property
    def sentence(self) -> str:
        """Both in one line."""
        return f"{self.code.replace('_', ' ')}: {self.finding}; {self.advice}"


class Recovered(Record):
    """One time memory ran out and the run went on.

    Attributes:
        step: optimizer steps done before.
        failed_batch: samples at a time that were too many.
        batch: samples at a time from then on.
    """

    phase: Literal["train", "validate"]
    step: int
    failed_batch: int
    batch: int
    diagnosis: OomDiagnosis


def requested_bytes(message: str) -> int | None:
    """Read from an allocator's message how much was asked for; None when it does not say."""
    found = re.search(r"tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", message, flags=re.IGNORECASE)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None


def diagnose(shortage: Shortage) -> OomDiagnosis:
    """Return the first diagnosis that the numbers bear out, from what smaller batches do not cure to what they do."""
    for check in _CHECKS:
        if diagnosis := check(shortage):
            return diagnosis
    return too_big(shortage)


def host_memory(s: Shortage) -> OomDiagnosis | None:
    """Tell whether it was the machine's memory that ran out, and not the card's."""
    if s.device == "cpu" or not s.of_host:
        return None
    return OomDiagnosis(
        code="host_memory",
        finding="the machine's memory ran out, not the card's: offloaded activations and loader processes wait there",
        advice="close what else takes it (make doctor names it), set plan.offload to never, or take fewer "
        "train.num_workers",
    )


def another_process(s: Shortage) -> OomDiagnosis | None:
    """Tell whether this process was within its budget, and the card was full of what others hold."""
    if s.requested_bytes is None or s.free_bytes is None or not s.others_bytes:
        return None
    within_budget = s.cap_bytes is None or s.reserved_bytes + s.requested_bytes <= s.cap_bytes
    needed = _ALLOCATOR.segment_size(s.requested_bytes) if s.device == "cuda" else s.requested_bytes
    if not within_budget or not s.free_bytes < needed <= s.free_bytes + s.others_bytes:
        return None
    place = "the card" if s.device == "cuda" else "the machine"
    return OomDiagnosis(
        code="another_process",
        finding=f"other processes hold {format_bytes(s.others_bytes)} of {place}, and only "
        f"{format_bytes(s.free_bytes)} were free for a request of {format_bytes(s.requested_bytes)}",
        advice="end them (nvidia-smi and make doctor name them), or lower plan.budget_gib by as much",
    )


def leak(s: Shortage) -> OomDiagnosis | None:
    """Tell whether more was held at the start of each optimizer step, where it should always be the same."""
    growth = steady_growth(s.step_starts)
    if growth < max(_MIN_LEAK_BYTES, s.step_starts[0] // 50 if s.step_starts else 0):
        return None
    return OomDiagnosis(
        code="leak",
        finding=f"memory held at the start of a step grew steadily by {format_bytes(growth)} over {s.step} steps",
        advice="something keeps tensors from step to step: a loss or an output kept without .detach() or .item(), a "
        "list that grows, a hook; train.record_memory=true puts where each was made into the snapshot",
    )


def fragmentation(s: Shortage) -> OomDiagnosis | None:
    """Tell whether enough was free inside torch's allocator, but in pieces."""
    gaps = s.reserved_bytes - s.allocated_bytes
    if s.device == "cpu" or s.requested_bytes is None or gaps < s.requested_bytes:
        return None
    return OomDiagnosis(
        code="fragmentation",
        finding=f"{format_bytes(gaps)} were free inside torch's allocator, but no piece had "
        f"{format_bytes(s.requested_bytes)}",
        advice="start with the environment variable PYTORCH_ALLOC_CONF=expandable_segments:True (not on Windows), or "
        "give all batches the same shape",
    )


def validation(s: Shortage) -> OomDiagnosis | None:
    """Tell whether it was validation, not training, that ran out."""
    if s.phase != "validate":
        return None
    return OomDiagnosis(
        code="validation",
        finding=f"memory ran out while validating {s.batch} samples at a time, not while training",
        advice=f"set train.eval_batch_size to {max(1, s.batch // 2)} or less",
    )


def too_big(s: Shortage) -> OomDiagnosis:
    """Say by how much it is simply too big: the diagnosis where no other is borne out."""
    ways = ["set plan.activation_checkpointing=full or a 16-bit plan.precision", "take a smaller input or model"]
    if s.phase in {"outside", "optimizer"}:
        ways = ["a smaller batch does not help here: take a smaller model, or on a GPU the fused optimizer"]
    elif s.batch > 1:
        ways.insert(0, f"set train.batch_size to {s.batch // 2} or less with more train.gradient_accumulation_steps")
    ways.append("raise plan.budget_gib if the card has more, or take a larger card")
    return OomDiagnosis(code="too_big", finding=_excess(s), advice=", or ".join(ways))


def steady_growth(samples: Sequence[int]) -> int:
    """Return how much the samples rose, or 0 when they did not rise in all parts alike (one jump is not a leak)."""
    if len(samples) < _MIN_LEAK_STEPS:
        return 0
    later = samples[len(samples) // 8 :]  # the first steps make what later ones keep: workspaces, caches
    cuts = [len(later) * part // 4 for part in range(5)]
    levels = [median(later[a:b]) for a, b in pairwise(cuts)]
    rise = levels[-1] - levels[0]
    steady = all(after - before >= rise / 8 for before, after in pairwise(levels))
    return int(later[-1] - later[0]) if rise > 0 and steady else 0


def _excess(s: Shortage) -> str:
    asked = format_bytes(s.requested_bytes) if s.requested_bytes else ""
    usable = format_bytes(s.cap_bytes) if s.cap_bytes else ""
    told = f"{format_bytes(s.allocated_bytes)} were held"
    if s.requested_bytes and s.cap_bytes and s.requested_bytes > s.cap_bytes:
        told += f", and one request of {asked} alone is more than the {usable} usable"
    else:
        told += (f" and {asked} more asked for" if asked else "") + (f", of {usable} usable" if usable else "")
    return told + (f"; the plan had predicted {format_bytes(s.predicted_bytes)}" if s.predicted_bytes else "")


_CHECKS: tuple[Callable[[Shortage], OomDiagnosis | None], ...] = (
    host_memory,
    another_process,
    leak,
    fragmentation,
    validation,
)
