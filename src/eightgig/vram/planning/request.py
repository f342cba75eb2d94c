"""What is asked of the planner, and the ways of running it that the planner looks at."""

from dataclasses import dataclass
from typing import Literal

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.plan import Checkpointing, OptimizerName, Precision
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Generation


class PlanRequest(Record):
    """What shall be run, whatever the card.

    Attributes:
        name: of the model, for a person.
        sample: the size of one sample, for a person.
        task: `infer` plans for a pass without gradients alone.
        effective_batch: samples of one process an optimizer step, which no plan changes.
        processes: that train together, each with a card of its own.
        spreads: whether weights, gradients and optimizer state are spread over them (FSDP2).
        micro_batch: the most samples that pass at a time.
        eval_batch: the most samples at a time where no gradients are kept.
        precisions: those that are allowed; the fastest is taken that goes with the rest of the plan.
        generation_workload: the trained network while it writes a text, where it is one that does.
        channels_last: whether images may be laid out as Tensor Cores want them.
        clips_gradients: whether the recipe clips the gradients' norm.
        loss_scale: of the recipe, for fp16.
        empty_cache_every: of the recipe.
        card: for the kernels' workspace memory and for times; None plans without either.
        memory: of the card of this machine that the run uses, whose budget is no more than that; None where the plan
            is for the card of the budget alone.
    """

    name: str
    workload: WorkloadSpec
    sample: str
    task: Literal["train", "infer"] = "train"
    effective_batch: int
    processes: int = 1
    spreads: bool = False
    micro_batch: int
    eval_batch: int
    precisions: tuple[Precision, ...] = ("fp16",)
    optimizer: OptimizerName = "adamw"
    generation_workload: WorkloadSpec | None = None
    channels_last: bool = False
    clips_gradients: bool = True
    loss_scale: Literal["dynamic"] | float = "dynamic"
    empty_cache_every: int = 0
    device: DeviceKind
    device_name: str
    card: Card | None = None
    memory: CardMemory | None = None


@dataclass(frozen=True)
class Candidate:
    """One way of running a request."""

    precision: Precision
    activation_checkpointing: Checkpointing
    offload: bool
    micro_batch: int
    gradient_accumulation_steps: int
    optimizer_in_backward: bool = False


def generation_of(request: PlanRequest) -> Generation:
    """Return the GPU generation whose workspace memory counts for a request; `none` where it runs on the CPU."""
    if request.device == "cpu":
        return "none"
    known: dict[str, Generation] = {"ada": "ada", "hopper": "hopper", "blackwell": "blackwell"}
    return known.get(request.card.generation.lower() if request.card else "", "ampere")
