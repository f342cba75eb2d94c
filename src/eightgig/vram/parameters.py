"""What may be asked of the memory planner."""

from typing import Literal

from pydantic import Field

from eightgig.core.device import DeviceChoice
from eightgig.core.records import Record


class PlanParameters(Record):
    """The budget, and what the planner may choose to stay inside it.

    Attributes:
        device: where the run will train; `auto` is the GPU when torch can use one.
        budget_gib: the whole card's memory, the CUDA context included.
        context_gib: what the driver and torch's kernels take of the card before the first tensor. 290 to 670 MB were
            seen, by lazy or eager loading; the default is between the two.
        margin_fraction: share of the predicted allocation kept free for what the allocator reserves on top.
        precision: `auto` is fp16 with a gradient scaler on CUDA and fp32 on the CPU.
        checkpointing: `auto` recomputes activations only when nothing else fits.
    """

    device: DeviceChoice = "auto"
    budget_gib: float = Field(default=8.0, gt=0)
    context_gib: float = Field(default=0.5, ge=0)
    margin_fraction: float = Field(default=0.08, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    checkpointing: Literal["auto", "none", "full"] = "auto"
