"""How a step is run: all that decides what it takes, beside the network."""

from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.plan import Attention, Checkpointing, MemoryPlan, OptimizerKernel, OptimizerName, Precision


class StepOptions(Record):
    """How a step is run.

    Attributes:
        micro_batch: samples that pass through the network at a time.
        accumulates: whether gradients are held while more micro-batches pass.
        precision: of the computation; fp16 brings a gradient scaler.
        optimizer_in_backward: whether each weight is stepped as soon as its gradient is whole.
        keeps_buffers: whether buffers are copied before each step, so that it can be undone, as the train stage does.
        clips_gradients: whether gradients are clipped, which holds them all until the last.
        batches_ahead: batches that the loader holds on the card beside the one in use.
    """

    phase: Literal["train", "validate"] = "train"
    micro_batch: int
    accumulates: bool = False
    precision: Precision = "fp32"
    attention: Attention = "sdpa"
    optimizer: OptimizerName = "adamw"
    optimizer_kernel: OptimizerKernel = "foreach"
    optimizer_in_backward: bool = False
    activation_checkpointing: Checkpointing = "none"
    offload: bool = False
    channels_last: bool = False
    keeps_buffers: bool = False
    clips_gradients: bool = True
    batches_ahead: int = 0


def options_of(plan: MemoryPlan, *, clips_gradients: bool, keeps_buffers: bool = False) -> StepOptions:
    """Return the training step of a plan: all that both know by one name, so that nothing new is left behind.

    Args:
        plan: as it was made.
        clips_gradients: what the recipe says of it.
        keeps_buffers: whether the step can be undone, as the train stage's.
    """
    shared = {name: getattr(plan, name) for name in StepOptions.model_fields if name in MemoryPlan.model_fields}
    return StepOptions(
        **shared,
        accumulates=plan.gradient_accumulation_steps > 1 or plan.processes > 1,
        channels_last=plan.memory_format == "channels_last",
        clips_gradients=clips_gradients,
        keeps_buffers=keeps_buffers,
    )
