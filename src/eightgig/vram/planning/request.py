"""What is asked of the planner, and how each way of running it is traced."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from eightgig.core.device import DeviceKind
from eightgig.core.records import Record
from eightgig.vram.cards.catalog import Card, card_named
from eightgig.vram.cards.memory import CardMemory
from eightgig.vram.plan import Attention, Checkpointing, OptimizerName, Precision, StepConfig
from eightgig.vram.planning.stages import StagesRequest
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Generation, generation_on


class PlanRequest(Record):
    """What shall be run, whatever the card.

    Examples:
        >>> request = PlanRequest.for_card("RTX 3070", "mymodel:make", batch_size=32, precisions=("fp16", "fp32"))
        >>> request.device_name, request.effective_batch
        ('RTX 3070', 32)

    Attributes:
        name: of the model, for a person.
        sample: the size of one sample, for a person.
        task: `infer` plans for a pass without gradients alone.
        effective_batch: samples of one process an optimizer step, which no plan changes.
        processes: that train together, each with a card of its own.
        is_sharded: whether weights, gradients and optimizer state are sharded over them (FSDP2).
        stages: over how many cards its layers are spread; None where each process has the whole network.
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
    is_sharded: bool = False
    stages: StagesRequest | None = None
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

    @classmethod
    def for_card(
        cls,
        card: str,
        network: str | WorkloadSpec | Callable[..., Any],
        *,
        batch_size: int,
        precisions: tuple[Precision, ...] = ("fp16",),
        optimizer: OptimizerName = "adamw",
        clips_gradients: bool = True,
        channels_last: bool = False,
    ) -> "PlanRequest":
        """Return the request to train a network of one's own on a card, which need not be there.

        Args:
            card: by its name in the catalog, for example `RTX 3070`.
            network: as `predict_memory` takes it.
            batch_size: samples an optimizer step; the plan may take them in several micro-batches.
            precisions: those that are allowed.
            optimizer: whose state counts.
            clips_gradients: whether the recipe clips the gradients' norm.
            channels_last: whether the input are images, which Tensor Cores want with the channels last.

        Raises:
            ConfigurationError: the catalog has no such card.
        """
        workload = WorkloadSpec.of(network)
        return cls(
            name=workload.factory,
            workload=workload,
            sample="one sample",
            effective_batch=batch_size,
            micro_batch=batch_size,
            eval_batch=batch_size,
            precisions=precisions,
            optimizer=optimizer,
            clips_gradients=clips_gradients,
            channels_last=channels_last,
            device="cuda",
            device_name=card,
            card=card_named(card),
        )

    def step(
        self,
        micro_batch: int,
        precision: Precision,
        *,
        attention: Attention = "sdpa",
        activation_checkpointing: Checkpointing = "none",
        offload: bool = False,
        optimizer_in_backward: bool = False,
    ) -> StepConfig:
        """Return one way of running this, at the effective batch that no plan changes."""
        return StepConfig(
            micro_batch=micro_batch,
            gradient_accumulation_steps=self.effective_batch // micro_batch,
            processes=self.processes,
            precision=precision,
            attention=attention,
            activation_checkpointing=activation_checkpointing,
            offload=offload,
            optimizer=self.optimizer,
            # Fused SGD saves nothing over foreach, and fake tensors cannot run it (aten::_fused_sgd_ is not for them).
            optimizer_kernel="foreach" if self.optimizer == "sgd" else "fused",
            optimizer_in_backward=optimizer_in_backward,
            memory_format="channels_last" if self.channels_last else "contiguous",
        )

    def options(self, step: StepConfig) -> StepOptions:
        """Return what a way of running this is traced with."""
        trains = self.task == "train"
        made = StepOptions.of(step, clips_gradients=self.clips_gradients, copies_buffers=trains)
        return made if trains else made.without_gradients(step.micro_batch)

    def of_one_process(self, num_bytes: int) -> int:
        """Return what one process holds at the least of what is spread over all of them, where it is."""
        if self.stages is not None:
            return num_bytes // self.stages.count
        return num_bytes // self.processes if self.is_sharded else num_bytes

    def precisions_without_scaler(self) -> tuple[Precision, ...]:
        """Return the allowed precisions that need no gradient scaler."""
        return tuple(precision for precision in self.precisions if precision != "fp16")

    def against_optimizer_in_backward(self) -> Iterator[str]:
        """Yield what in the recipe needs all gradients at once, each with the way out."""
        if self.effective_batch > self.micro_batch:
            yield "gradients are accumulated over batches (train.gradient_accumulation_steps: 1 does not)"
        if self.stages is not None:
            yield "its layers are spread over several cards (train.distributed.strategy: ddp does not)"
        if self.processes > 1:
            yield "several processes exchange gradients before a step (train.distributed.nproc_per_node: 1 does not)"
        if self.clips_gradients:
            yield "gradients are clipped to the norm of all (train.max_grad_norm: null does not)"
        if not self.precisions_without_scaler():
            yield "fp16 has a gradient scaler that looks at all gradients before a step (plan.precision: bf16 has none)"


def generation_of(request: PlanRequest) -> Generation:
    """Return the GPU generation whose workspace memory counts for a request; `none` where it runs on the CPU."""
    return generation_on(request.device, request.card.generation if request.card else "")
