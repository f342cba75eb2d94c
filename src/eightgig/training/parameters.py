"""What may be asked of a training run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from eightgig.core.records import Record
from eightgig.data.images.parameters import AugmentParameters
from eightgig.vram.plan import OptimizerName

Resume = Literal["auto", "never", "must"]


class DistributedParameters(Record):
    """Several processes on one network, each with a GPU of its own (or on the CPU, to try it).

    Attributes:
        nproc_per_node: processes on each machine; 1 trains in the process that runs the pipeline.
        nodes: machines. The pipeline runs on one of them; the others are given the command that it logs.
        rdzv_endpoint: `host:port` of the machine that runs the pipeline, as the others reach it; needed with several.
        strategy: `ddp` gives each process the whole network; `fsdp` spreads weights, gradients and optimizer state.
        timeout_s: seconds without an answer after which a process is taken for dead, and the run ends.
    """

    renamed: ClassVar = {"processes": "nproc_per_node", "rendezvous": "rdzv_endpoint"}

    nproc_per_node: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    rdzv_endpoint: str | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    timeout_s: float = Field(default=30.0, gt=0)

    @property
    def count(self) -> int:
        """Processes on all machines together."""
        return self.nproc_per_node * self.nodes

    @property
    def spreads(self) -> bool:
        """Whether weights, gradients and optimizer state are spread over the processes."""
        return self.count > 1 and self.strategy == "fsdp"


class TrainParameters(Record):
    """The part of the recipe that all case studies share.

    Attributes:
        batch_size: samples that pass through the network at a time, if the memory plan agrees.
        gradient_accumulation_steps: batches an optimizer step; times `batch_size` the effective batch, which no plan
            changes.
        eval_batch_size: samples at a time where no gradients are needed.
        momentum: of `sgd`.
        nesterov: whether `sgd` looks ahead by its momentum.
        weight_decay: of weights with two dimensions or more.
        warmup_fraction: share of all steps in which the learning rate rises from zero, before the cosine.
        final_learning_rate: where the cosine ends.
        optimizer: `adamw8bit` keeps its state in a quarter of the memory; it wants bitsandbytes and an NVIDIA GPU.
        loss_scale: of fp16 training: `dynamic`, or a number that stays. Other precisions need none.
        loss_scale_init: where the dynamic one begins (torch's own default).
        loss_scale_growth_interval: good steps in a row after which the dynamic one is doubled (torch's own default).
        empty_cache_every: optimizer steps after which the allocator gives back what nobody uses; 0 never does. It costs
            time and helps only where fragments keep segments alive (docs/recovery.md); the flight recorder measures it.
        max_grad_norm: gradients are clipped to this global norm; None leaves them as they are.
        ema_decay: share of a moving average of the weights that one step keeps; the average is what is validated and
            kept in place of the weights. None keeps the weights themselves.
        ema_ramp_steps: optimizer steps in which that share grows to 63 % of `ema_decay`.
        patience: epochs without a better validation score after which training stops; None trains all epochs.
        max_skipped_steps: steps in a row whose loss or gradients were not finite, after which training stops.
        record_memory: whether the flight recorder notes from the start where each allocation on the GPU is made; once
            memory ran out it does so anyway.
        checkpoint_minutes: between two checkpoints; more where saving one would cost over 1 % of the time.
        resume: `auto` goes on from the checkpoint of a run that was stopped, and takes the result of one that was not;
            with another recipe it begins anew and keeps the old checkpoints in `previous`. `must` refuses to begin
            anew, `never` always does.
        distributed: several processes.
        num_workers: loader processes; `auto` leaves two cores to training and takes four at most, none on two cores.
    """

    renamed: ClassVar = {"accumulation": "gradient_accumulation_steps", "max_gradient_norm": "max_grad_norm"}

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)
    gradient_accumulation_steps: int = Field(default=4, ge=1)
    eval_batch_size: int = Field(default=64, ge=1)
    optimizer: OptimizerName = "adamw"
    momentum: float = Field(default=0.937, ge=0, lt=1)
    nesterov: bool = True
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    final_learning_rate: float = Field(default=0.0, ge=0)
    loss_scale: Literal["dynamic"] | Annotated[float, Field(gt=0)] = "dynamic"
    loss_scale_init: float = Field(default=65536.0, gt=0)
    loss_scale_growth_interval: int = Field(default=2000, ge=1)
    empty_cache_every: int = Field(default=0, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float | None = Field(default=None, ge=0, lt=1)
    ema_ramp_steps: int = Field(default=2000, ge=1)
    patience: int | None = Field(default=None, ge=1)
    max_skipped_steps: int = Field(default=20, ge=1)
    record_memory: bool = False
    checkpoint_minutes: float = Field(default=10.0, ge=0)
    resume: Resume = "auto"
    distributed: DistributedParameters = DistributedParameters()
    num_workers: int | Literal["auto"] = "auto"
    seed: int = 0


class ClassifierTrainParameters(TrainParameters):
    """The recipe of a classifier of images; the defaults are the article's, for EfficientNet-B3 on an RTX 3070.

    Attributes:
        label_smoothing: share of each label that is spread over all classes.
        augment: how training images vary; None takes the middle of each, as in validation.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: AugmentParameters | None = AugmentParameters()
