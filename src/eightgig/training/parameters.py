"""What may be asked of a training run."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record
from eightgig.data.parameters import AugmentParameters


class TrainParameters(Record):
    """The recipe; the defaults are the article's, for EfficientNet-B3 on an RTX 3070.

    Attributes:
        batch_size: samples that pass through the network at a time, if the memory plan agrees.
        accumulation: batches an optimizer step; `batch_size * accumulation` is the effective batch, which no plan
            changes.
        eval_batch_size: samples at a time where no gradients are needed.
        warmup_fraction: share of all steps in which the learning rate rises from zero, before the cosine.
        final_learning_rate: where the cosine ends.
        max_gradient_norm: gradients are clipped to this global norm.
        patience: epochs without a better validation accuracy after which training stops; None trains all epochs.
        max_skipped_steps: steps in a row whose loss or gradients were not finite, after which training stops.
        record_memory: whether the flight recorder notes from the start where each allocation on the GPU is made; once
            memory ran out it does so anyway.
        num_workers: loader processes; `auto` leaves two cores to training and takes four at most, none on two cores.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)
    accumulation: int = Field(default=4, ge=1)
    eval_batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    final_learning_rate: float = Field(default=0.0, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    max_skipped_steps: int = Field(default=20, ge=1)
    record_memory: bool = False
    num_workers: int | Literal["auto"] = "auto"
    seed: int = 0
    augment: AugmentParameters = AugmentParameters()
