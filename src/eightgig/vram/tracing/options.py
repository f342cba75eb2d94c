"""What a step is traced with: all that decides what memory it takes, beside the network."""

from typing import Literal

from pydantic import Field, JsonValue

from eightgig.core.records import Record
from eightgig.vram.plan import Attention, Checkpointing, OptimizerKernel, Precision, StepConfig

ZeroGrad = Literal["after_step", "before_backward"]


class StepOptions(Record):
    """What a step is traced with. Steps that take the same have equal options, so that they are traced once.

    Attributes:
        micro_batch: samples that pass through the network at a time.
        accumulates: whether gradients are held while more micro-batches pass.
        precision: of the computation; fp16 brings a gradient scaler.
        weights: what the network and floating inputs are turned into, as `module.to(torch.bfloat16)` does; fp32 leaves
            them as they are built.
        optimizer: a recipe's; a class of `torch.optim` by its name, or one as `package.module:Class`; or `none`.
        optimizer_arguments: of its constructor, beside the weights.
        optimizer_kernel: for all weights at once, fused or not; `plain` takes one weight after the other.
        zero_grad: when gradients are dropped; between two steps it makes no difference where.
        optimizer_in_backward: whether each weight is stepped as soon as its gradient is whole.
        copies_buffers: whether buffers are copied before each step, so that it can be undone, as the train stage does.
        clips_gradients: whether gradients are clipped, which holds them all until the last.
        prefetched_batches: that the loader holds on the card beside the one in use.
    """

    phase: Literal["train", "validate"] = "train"
    micro_batch: int = Field(ge=1)
    accumulates: bool = False
    precision: Precision = "fp32"
    weights: Precision = "fp32"
    attention: Attention = "sdpa"
    optimizer: str = "adamw"
    optimizer_arguments: dict[str, JsonValue] = Field(default_factory=dict)
    optimizer_kernel: OptimizerKernel | Literal["plain"] = "foreach"
    zero_grad: ZeroGrad = "after_step"
    optimizer_in_backward: bool = False
    activation_checkpointing: Checkpointing = "none"
    offload: bool = False
    channels_last: bool = False
    copies_buffers: bool = False
    clips_gradients: bool = True
    prefetched_batches: int = 0

    @classmethod
    def of(cls, step: StepConfig, *, clips_gradients: bool, copies_buffers: bool = False) -> "StepOptions":
        """Return the options of a training step.

        Args:
            step: a plan, or a way of running that may become one.
            clips_gradients: what the recipe says of it.
            copies_buffers: whether the step can be undone, as the train stage's.
        """
        return cls.from_records(
            step,
            accumulates=step.holds_gradients,
            channels_last=step.memory_format == "channels_last",
            clips_gradients=clips_gradients,
            copies_buffers=copies_buffers,
        )

    def without_gradients(self, batch: int) -> "StepOptions":
        """Return the pass over so many samples that keeps nothing for a backward pass."""
        return self.model_copy(
            update={
                "phase": "validate",
                "micro_batch": batch,
                "accumulates": False,
                "activation_checkpointing": "none",
                "offload": False,
                "optimizer_in_backward": False,
            }
        )
