"""The memory plan: what a run will do, what that takes, and whether it fits."""

from typing import Literal

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record
from eightgig.core.units import format_bytes

Precision = Literal["fp32", "bf16", "fp16"]
Checkpointing = Literal["none", "full"]


class Finding(Record):
    """Something a person should know about a plan; `code` is stable, so that it can be looked up and tested."""

    code: str
    message: str


class PhaseMemory(Record):
    """Predicted bytes of one phase at its peak, by holder.

    Attributes:
        phase: `train`, `validate` or `export`.
        device: where the phase runs; a phase on the CPU takes nothing of the card.
        parameters: weights and buffers.
        gradients: of the parameters, held through the whole accumulation window.
        optimizer: the optimizer's state.
        activations: what the forward pass keeps for the backward pass, with the batch itself.
        workspace: scratch memory of libraries (cuBLAS).
    """

    phase: Literal["train", "validate", "export"]
    device: DeviceKind
    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    workspace: int = 0

    @property
    def peak_bytes(self) -> int:
        """All holders together."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.workspace

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by holder, in the order in which a person builds the sum."""
        return {
            "parameters": self.parameters,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "workspace": self.workspace,
        }


class MemoryPlan(Record):
    """What a training run will do, as promised before it starts; the train stage obeys it.

    The optimizer steps once for `micro_batch * accumulation` samples, whatever the plan: fitting the card never changes
    what is computed (BatchNorm apart, for which there is a finding).

    Attributes:
        budget_bytes: what may be allocated: the card less its context.
        margin_bytes: budget less the reserved prediction of the largest phase; negative when the plan does not fit.
        method: how the prediction was made.
    """

    model: str
    image_size: int
    device: DeviceKind
    device_name: str
    micro_batch: int
    accumulation: int
    precision: Precision
    attention: Literal["none", "sdpa"] = "none"
    checkpointing: Checkpointing
    optimizer: Literal["adamw"] = "adamw"
    optimizer_kernel: Literal["fused", "foreach"]
    memory_format: Literal["channels_last", "contiguous"]
    budget_gib: float
    context_bytes: int
    budget_bytes: int
    predicted: tuple[PhaseMemory, ...]
    predicted_reserved_bytes: int
    margin_bytes: int
    fits: bool
    findings: tuple[Finding, ...] = ()
    method: str

    @property
    def effective_batch(self) -> int:
        """Samples an optimizer step."""
        return self.micro_batch * self.accumulation

    def phase(self, name: str) -> PhaseMemory:
        """Give the prediction of one phase by its name."""
        return next(phase for phase in self.predicted if phase.phase == name)

    def sentence(self) -> str:
        """Say the plan in one line, for logs and pages."""
        return (
            f"micro-batch {self.micro_batch} x {self.accumulation} accumulation, {self.precision}, "
            f"checkpointing {self.checkpointing}: {format_bytes(self.predicted_reserved_bytes)} of "
            f"{format_bytes(self.budget_bytes)} usable on a {self.budget_gib:g} GiB card, "
            f"{'fits with' if self.fits else 'short of'} {format_bytes(abs(self.margin_bytes))}"
            f"{' to spare' if self.fits else ''}"
        )
