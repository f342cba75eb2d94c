"""What the memory planner traces: a case's own network and loss, on empty batches."""

from functools import partial
from typing import TYPE_CHECKING, Any

from eightgig.core.addresses import address_of, at_address
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import SoftLoss, WorkloadSpec
from eightgig.stages.task import Task
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision

if TYPE_CHECKING:
    from eightgig.vram.tracing.workload import Workload


def spec_of(
    task: str,
    model: ModelParameters,
    train: TrainParameters,
    num_classes: int,
    *,
    shapes: Shapes | None,
    teacher: str | None,
    precision: Precision,
) -> WorkloadSpec:
    """Return the address of `make_workload` with its arguments as JSON holds them; `task` is the task's address."""
    from eightgig.vram.tracing.spec import WorkloadSpec

    return WorkloadSpec(
        factory=address_of(make_workload),
        options={
            "task": task,
            "model": model.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
            "num_classes": num_classes,
            "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
            "teacher": teacher,
            "precision": precision,
        },
    )


def make_workload(
    task: str,
    model: dict[str, Any],
    train: dict[str, Any],
    num_classes: int,
    shapes: dict[str, list[int]] | None = None,
    teacher: str | None = None,
    precision: Precision = "fp32",
) -> "Workload":
    """Return a task's network, its loss and empty batches, as the train stage runs them; weights play no part.

    The average of the weights is in it where the recipe keeps one.

    Args:
        task: address of the task's class.
        model: of the task's own ModelParameters, as JSON; `train` likewise.
        train: of its TrainParameters.
        num_classes: of the head.
        shapes: the network is as narrow as those.
        teacher: name of the network that it learns from.
        precision: that the teacher computes in.
    """
    from eightgig.models.reshape import fit_to_shapes
    from eightgig.training.average import WithAverage
    from eightgig.vram.tracing.workload import Workload

    made: Task = at_address(task)()
    records: dict[str, Any] = dict(made.records)
    parameters = made.without_weights(records["model"](**model))
    recipe = records["train"](**train)
    network = made.build_network(parameters, num_classes)
    if shapes:
        fit_to_shapes(network.module, {name: tuple(shape) for name, shape in shapes.items()})
    objective, module = made.objective(network, recipe), network.module
    if teacher:
        taught_by = made.build_network(parameters.model_copy(update={"name": teacher, "dropout": None}), num_classes)
        objective, module = _taught(objective, module, taught_by.module, precision, made.soft_loss())
    if recipe.ema_decay is not None:
        module = WithAverage(module)

    def loss(module: Any, batch: dict[str, Any]) -> Any:
        return objective.loss_sum(module, batch, next(iter(batch.values())).device) / objective.count(batch)

    return Workload(module=module, batch=partial(made.dummy_batch, parameters), loss=loss)


def _taught(
    objective: Any, student: Any, teacher: Any, precision: Precision, soft_loss: SoftLoss | None
) -> tuple[Any, Any]:
    """Return the objective with the teacher, and both networks as one module, so that both are moved and counted."""
    from torch import nn

    from eightgig.training.distillation import DistillationObjective

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, self.teacher = student, teacher

        def forward(self, images_N3HW: Any) -> Any:
            return self.student(images_N3HW)

        def train(self, mode: bool = True) -> "Pair":
            super().train(mode)
            self.teacher.eval()
            return self

    taught = DistillationObjective(
        objective, teacher, temperature=1.0, alpha=0.5, precision=precision, soft_loss=soft_loss
    )
    return taught, Pair()
