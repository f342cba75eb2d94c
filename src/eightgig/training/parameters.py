"""What may be asked of a training run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from eightgig.core.records import Effect, Record
from eightgig.data.images.parameters import AugmentParameters
from eightgig.training.distributed.parameters import DistributedParameters
from eightgig.vram.plan import OptimizerName

Resume = Literal["auto", "never", "must"]


class TrainParameters(Record):
    """The part of the recipe that all case studies share.

    What has no effect on the result is declared so; all else is in the recipe of a run, so that another value makes it
    another run. Of `batch_size` and `gradient_accumulation_steps` it is their product that counts.

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
    batch_size: Annotated[int, Effect.ROUNDING] = Field(default=32, ge=1)
    gradient_accumulation_steps: Annotated[int, Effect.ROUNDING] = Field(default=4, ge=1)
    eval_batch_size: Annotated[int, Effect.ROUNDING] = Field(default=64, ge=1)
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
    empty_cache_every: Annotated[int, Effect.ROUNDING] = Field(default=0, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    ema_decay: float | None = Field(default=None, ge=0, lt=1)
    ema_ramp_steps: int = Field(default=2000, ge=1)
    patience: int | None = Field(default=None, ge=1)
    max_skipped_steps: int = Field(default=20, ge=1)
    record_memory: Annotated[bool, Effect.NONE] = False
    checkpoint_minutes: Annotated[float, Effect.NONE] = Field(default=10.0, ge=0)
    resume: Annotated[Resume, Effect.NONE] = "auto"
    distributed: Annotated[DistributedParameters, Effect.ROUNDING] = DistributedParameters()
    num_workers: Annotated[int | Literal["auto"], Effect.NONE] = "auto"
    seed: int = 0

    @property
    def effective_batch(self) -> int:
        """Samples an optimizer step, which no plan changes."""
        return self.batch_size * self.gradient_accumulation_steps


class ClassifierTrainParameters(TrainParameters):
    """The recipe of a classifier of images; the defaults are the article's, for EfficientNet-B3 on an RTX 3070.

    Attributes:
        label_smoothing: share of each label that is spread over all classes.
        augment: how training images vary; None takes the middle of each, as in validation.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augment: AugmentParameters | None = AugmentParameters()
