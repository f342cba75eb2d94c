"""What may be asked of compression and what it gives; imports no torch, so that Kedro reads it fast."""

from typing import Literal

from pydantic import Field

from eightgig.core.records import Record

Form = Literal["pruned", "student", "pruned_distilled"]
Shapes = dict[str, tuple[int, ...]]
"""The shape of every tensor of a state dict, by its name."""


class PruneParameters(Record):
    """How much of the trained network stays, and how it is trained again.

    Attributes:
        keep_flops: share of its FLOPs that stays at most.
    """

    keep_flops: float = Field(default=0.7, gt=0, lt=1)
    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)


class StudentParameters(Record):
    """A small network that learns from the trained one.

    Attributes:
        model: any classifier's name; None cuts the trained network itself to `keep_flops`.
        weights: that a named model starts from, as `model.weights` takes them.
        keep_flops: share of the trained network's FLOPs, where `model` is None.
        temperature: both networks' logits are divided by it, so that small probabilities count too.
        alpha: weight of the teacher's word; 1 - alpha is the labels'.
    """

    model: str | None = None
    weights: str = "default"
    keep_flops: float = Field(default=0.3, gt=0, lt=1)
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=2.0, gt=0)
    alpha: float = Field(default=0.7, ge=0, le=1)


class CompressParameters(Record):
    """Which smaller forms of the trained network are made.

    Attributes:
        forms: `pruned`: channels removed, then trained on the labels; `student`: a small network that learns from the
            trained one; `pruned_distilled`: channels removed, then taught by the trained one. An empty list trains
            nothing.
    """

    forms: tuple[Form, ...] = ("pruned", "student")
    prune: PruneParameters = PruneParameters()
    student: StudentParameters = StudentParameters()


class CompressedForm(Record):
    """One smaller form beside the network that it was made from.

    Attributes:
        model: the network's name; one that was cut keeps its teacher's.
        flops: of one image.
        flops_share, parameters_share: of the trained network's.
        val_score: of the best epoch.
        seconds: that training and validating took.
        micro_batch: at the end: smaller than the plan's, once memory ran out.
        predicted_bytes: of a training step at its peak, teacher included; `measured_bytes` is what it took (on the
            CPU: by how much the process grew).
    """

    name: Form
    model: str
    num_parameters: int
    flops: int
    parameters_share: float
    flops_share: float
    val_score: float
    best_epoch: int
    epochs: int
    seconds: float
    micro_batch: int
    predicted_bytes: int
    measured_bytes: int


class CompressionReport(Record):
    """The trained network, and all that was made from it."""

    model: str
    image_size: int
    num_parameters: int
    flops: int
    val_score: float
    score_name: str = "accuracy"
    forms: tuple[CompressedForm, ...] = ()
