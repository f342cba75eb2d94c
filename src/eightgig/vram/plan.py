"""The memory plan: what a run will do, what that takes, how long it lasts, and whether it fits."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from eightgig.core.device import DeviceKind
from eightgig.core.errors import DataError
from eightgig.core.records import Record
from eightgig.core.units import format_bytes

Precision = Literal["fp32", "bf16", "fp16"]
Checkpointing = Literal["none", "selective", "full"]
Attention = Literal["none", "eager", "sdpa"]
Phase = Literal["train", "validate", "checkpoint", "export", "generate"]
Bottleneck = Literal["compute", "memory bandwidth", "launch"]
OptimizerName = Literal["adamw", "adam", "sgd", "adamw8bit"]
OptimizerKernel = Literal["fused", "foreach"]
MemoryFormat = Literal["channels_last", "contiguous"]
Tf32 = Literal["never", "convolutions", "always"]
Verdict = Literal["fits", "fits barely", "does not fit"]


# As torch.profiler's memory timeline has them, but for workspace memory, which it does not see.
Category = Literal["parameters", "gradients", "optimizer", "activations", "batch", "temporaries", "workspace"]
CATEGORIES: tuple[Category, ...] = get_args(Category)


class Numerics(Record):
    """How exactly float32 is computed on a card, and how cuDNN chooses its kernels.

    Attributes:
        tf32: which float32 layers run in TensorFloat-32 (10 bits of mantissa instead of 23) on cards that have it:
            `convolutions` is torch's own choice, `always` adds matrix products. What runs in half precision is not
            concerned.
        cudnn_benchmark: whether cuDNN tries its kernels out for each new shape and takes the fastest. It may take
            another one in the next run, with other workspace than was predicted.
    """

    tf32: Tf32 = "convolutions"
    cudnn_benchmark: bool = False

    def sentence(self) -> str:
        """Say it for a person."""
        layers = {"never": "no TF32", "convolutions": "TF32 in convolutions", "always": "TF32"}[self.tf32]
        kernels = "cuDNN tries its kernels out" if self.cudnn_benchmark else "cuDNN's kernels by its own rules"
        return f"{layers}, {kernels}"


class Finding(Record):
    """Something a person should know about a plan; `code` is stable, so that it can be looked up and tested."""

    code: str
    message: str


class HeldMemory(Record):
    """Bytes that are held at a moment, by category, in the order in which a person builds the sum.

    Attributes:
        parameters: weights and buffers.
        gradients: of the parameters, held through the whole accumulation window.
        optimizer: the optimizer's state.
        activations: what the forward pass keeps for the backward pass.
        batch: the input of the network.
        temporaries: what ops make and drop again.
        workspace: workspace memory of libraries (cuBLAS, cuDNN, attention).
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    batch: int = 0
    temporaries: int = 0
    workspace: int = 0

    @property
    def parts(self) -> dict[Category, int]:
        """Bytes by category."""
        return {category: getattr(self, category) for category in CATEGORIES}

    @property
    def total_bytes(self) -> int:
        """All categories together."""
        return sum(self.parts.values())


class PhaseMemory(HeldMemory):
    """Predicted bytes of one phase at its peak, by category.

    Attributes:
        phase: `train`, `validate`, `checkpoint` (saving one), `export`, or `generate` (writing one text of the full
            length, whose keys and values count as activations).
        device: where the phase runs; a phase on the CPU takes nothing of the card.
        reserved_bytes: what the allocator would take from the card, were there no cap.
        min_memory_limit_bytes: the smallest cap under which the phase does not run out.
        upper_limit_bytes: the cap that 95 % of runs stay below, which is planned for.
    """

    phase: Phase
    device: DeviceKind
    reserved_bytes: int = 0
    min_memory_limit_bytes: int = 0
    upper_limit_bytes: int = 0

    @property
    def peak_bytes(self) -> int:
        """All categories together: what torch.cuda.max_memory_allocated will say."""
        return self.total_bytes


class MemorySample(HeldMemory):
    """What is held in `phase` when a step has done `done` of its events (0 to 1)."""

    done: float
    phase: str


class OwnedBytes(Record):
    """What one module or op holds at the peak, of one category."""

    owner: str
    category: Category
    num_bytes: int


class StepConfig(Record):
    """How a training step is run: all that the planner chooses or is told, and that its memory and time depend on.

    The request gives it (`PlanRequest.step`), the tracer's options come from it (`StepOptions.of`), and what the
    planner looked at (`CandidateResult`) and chose (`MemoryPlan`) is it and more.

    Attributes:
        processes: that train together, each with a card of its own.
        precision: of the computation; fp16 brings a gradient scaler.
        offload: whether what the backward pass needs waits in the machine's memory.
        optimizer_in_backward: whether each weight is stepped when its gradient is whole, and the gradient dropped.
    """

    micro_batch: int
    gradient_accumulation_steps: int
    processes: int = 1
    precision: Precision
    attention: Attention = "sdpa"
    activation_checkpointing: Checkpointing
    offload: bool = False
    optimizer: OptimizerName = "adamw"
    optimizer_kernel: OptimizerKernel
    optimizer_in_backward: bool = False
    memory_format: MemoryFormat

    @property
    def holds_gradients(self) -> bool:
        """Whether gradients are there while micro-batches pass: accumulated, or in the buckets of DDP."""
        return self.gradient_accumulation_steps > 1 or self.processes > 1


class StagePlan(Record):
    """One process's layers of a network that is spread over several cards.

    Attributes:
        parts: their names, in the order in which they are called.
        budget_gib: of its card.
        expected_bytes: the smallest cap under which it does not run out, as predicted.
        needed_bytes: what 95 % of runs stay below.
        handed_bytes: what it hands to the next stage of a micro-batch; as much comes back as gradients.
        seconds_per_micro_batch: by a roofline of its card; None where no card was named.
    """

    parts: tuple[str, ...]
    budget_gib: float
    expected_bytes: int = 0
    needed_bytes: int = 0
    handed_bytes: int = 0
    seconds_per_micro_batch: float | None = None


class CandidateResult(StepConfig):
    """A way of running that the planner looked at, in its order: what it needs, and how long a step takes."""

    needed_bytes: int
    fits: bool
    seconds_per_step: float | None = None


class MemoryPlan(StepConfig):
    """What a run will do, as promised before it starts; the train stage obeys it.

    The optimizer steps once for `micro_batch * gradient_accumulation_steps * processes` samples, whatever the plan:
    fitting the card never changes what is computed (BatchNorm apart, for which there is a finding).

    Attributes:
        sample: the size of one sample, for a person: `300 px`, `1024 tokens`.
        eval_batch: samples at a time where no gradients are needed.
        budget_bytes: what may be allocated: the card less its context.
        expected_bytes: the smallest cap under which no phase runs out, as predicted: the middle of what runs need.
        needed_bytes: what 95 % of runs stay below, which is planned for.
        margin_bytes: budget less `needed_bytes`; negative where the plan fits barely, or not.
        fits: whether `expected_bytes` are there; by how much says `verdict`.
        predicted: of one process.
        predicted_reserved_bytes: what the allocator takes of the card where nothing stops it.
        timeline: what is held over one training step.
        largest: the modules and ops that hold most at the peak.
        numerics: how exactly the card computes.
        loss_scale: of fp16, `dynamic` or a number that stays; None where none is used.
        empty_cache_every: optimizer steps after which the allocator's cache is given back; 0 never.
        seconds_per_step: by a roofline of `card`, for an optimizer step; None where no card was named.
        considered: what was looked at before this plan, and this plan.
        stages: of each process, where each has some layers of the network; `predicted` is of the fullest.
        method: how the prediction was made.
    """

    model: str
    sample: str
    device: DeviceKind
    device_name: str
    card: str | None = None
    eval_batch: int
    numerics: Numerics = Numerics()
    loss_scale: Literal["dynamic"] | float | None = None
    empty_cache_every: int = 0
    budget_gib: float
    context_bytes: int
    budget_bytes: int
    predicted: tuple[PhaseMemory, ...]
    expected_bytes: int
    needed_bytes: int
    predicted_reserved_bytes: int
    margin_bytes: int
    fits: bool
    timeline: tuple[MemorySample, ...] = ()
    largest: tuple[OwnedBytes, ...] = ()
    seconds_per_step: float | None = None
    bottleneck: Bottleneck | None = None
    considered: tuple[CandidateResult, ...] = ()
    stages: tuple[StagePlan, ...] = ()
    findings: tuple[Finding, ...] = ()
    method: str

    @property
    def verdict(self) -> Verdict:
        """Whether it fits: surely for 95 % of runs, or only inside the range of the prediction's error."""
        if not self.fits:
            return "does not fit"
        return "fits" if self.margin_bytes >= 0 else "fits barely"

    @property
    def effective_batch(self) -> int:
        """Samples an optimizer step, of all processes together."""
        return self.micro_batch * self.gradient_accumulation_steps * self.processes

    def for_one_process(self) -> "MemoryPlan":
        """Return the same steps for one process: with as many more micro-batches."""
        return self.model_copy(
            update={"gradient_accumulation_steps": self.gradient_accumulation_steps * self.processes, "processes": 1}
        )

    def of_stage(self, number: int) -> "MemoryPlan":
        """Return the plan as one process of several stages carries it out: within its own card's budget."""
        if not self.stages:
            return self
        return self.model_copy(update={"budget_gib": self.stages[number].budget_gib})

    def phase(self, name: str) -> PhaseMemory:
        """Return the prediction of one phase by its name."""
        return next(phase for phase in self.predicted if phase.phase == name)

    def sentence(self) -> str:
        """Say the plan in one line, for logs and pages."""
        return (
            f"micro-batch {self.micro_batch} x {self.gradient_accumulation_steps} accumulation"
            f"{f' x {self.processes} processes' if self.processes > 1 else ''}"
            f"{f' through {len(self.stages)} stages' if self.stages else ''}, {self.precision}, "
            f"checkpointing {self.activation_checkpointing}{', activations offloaded' if self.offload else ''}"
            f"{', optimizer in the backward pass' if self.optimizer_in_backward else ''}: "
            f"{format_bytes(self.expected_bytes)} expected, {format_bytes(self.needed_bytes)} planned for, of "
            f"{format_bytes(self.budget_bytes)} usable on a {self.budget_gib:g} GiB card: {self.verdict}, "
            f"{format_bytes(abs(self.margin_bytes))} {'to spare' if self.margin_bytes >= 0 else 'short'}"
        )


def read_plan(path: Path | str) -> MemoryPlan:
    """Return the memory plan that the plan stage wrote.

    Examples:
        >>> plan = read_plan("data/05_model_input/flower_classifier/memory_plan.json")
        >>> plan.micro_batch, plan.fits
        (4, True)

    Raises:
        DataError: there is none, or it is not of this version.
    """
    try:
        return MemoryPlan.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{path}: wanted a memory plan of this version, but it cannot be read as one ({error}). Run the plan "
            "stage, or name the file that it wrote."
        ) from error
