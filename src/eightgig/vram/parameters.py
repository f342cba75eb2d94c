"""What may be asked of the memory planner."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from eightgig.core.device import DeviceChoice
from eightgig.core.records import Record
from eightgig.vram.plan import Attention, Checkpointing, Tf32


class PlanParameters(Record):
    """The budget, and what the planner may choose to stay inside it.

    Examples:
        >>> PlanParameters(budget_gib=6, activation_checkpointing="none", offload="never").activation_checkpointing
        'none'

    Attributes:
        device: where the run will train; `auto` is the GPU when torch can use one.
        budget_gib: the whole card's memory, the CUDA context included.
        card: the card by its catalog name (docs/cases/gpu_guide.md), for its kernels' workspace memory and for times;
            None takes the card that is found, and the RTX 3070 where there is none.
        context_gib: what the driver and torch's kernels take of the card before the first tensor; None takes the
            calibration's.
        calibration: a file of measured constants, as `make calibrate` writes it; None takes the packaged ones.
        margin_fraction: share of the predicted need that is kept free for what the prediction does not see; None takes
            the range of the network's kind, which 95 % of measured runs stay below.
        precision: `auto` is fp16 with a gradient scaler on CUDA and fp32 on the CPU.
        tf32: which float32 layers may run in TensorFloat-32 on cards that have it (Ampere on), with three decimal
            digits, at the Tensor Cores' rate: `convolutions` is torch's own choice, `always` adds matrix products,
            `never` is float32 in full. Training and validation alone; exported files are measured without it.
        cudnn_benchmark: whether cuDNN tries its kernels out for each new shape: some per cent faster, but its workspace
            is not the one that was predicted, and a run that goes on may take other kernels than before.
        attention: `sdpa` is torch's fused attention, `eager` the whole matrix.
        activation_checkpointing: `auto` recomputes activations only when nothing else fits: cheap ones first,
            then whole blocks.
        offload: `auto` moves activations to the machine's memory when recomputing is not enough.
        optimizer_in_backward: whether weights are stepped while the backward pass runs, so that gradients are never all
            there: `auto` when recomputing is not enough. It is possible only with one batch an optimizer step, without
            clipping, and without a gradient scaler (bf16 or fp32).
    """

    renamed: ClassVar = {"checkpointing": "activation_checkpointing"}

    device: DeviceChoice = "auto"
    budget_gib: float = Field(default=8.0, gt=0)
    card: str | None = None
    context_gib: float | None = Field(default=None, ge=0)
    calibration: Path | None = None
    margin_fraction: float | None = Field(default=None, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tf32: Tf32 = "convolutions"
    cudnn_benchmark: bool = False
    attention: Attention = "sdpa"
    activation_checkpointing: Literal["auto"] | Checkpointing = "auto"
    offload: Literal["auto", "never"] = "auto"
    optimizer_in_backward: Literal["auto", "never", "always"] = "auto"
