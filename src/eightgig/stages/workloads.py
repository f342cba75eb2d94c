"""What the memory planner traces: a case's own network and loss, on empty batches."""

from typing import TYPE_CHECKING, Any

from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.case import Case
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision

if TYPE_CHECKING:
    from eightgig.vram.tracing.workload import Workload


def image_classification(
    case: Case,
    model: ModelParameters,
    train: TrainParameters,
    num_classes: int,
    *,
    shapes: Shapes | None = None,
    teacher: str | None = None,
    precision: Precision = "fp32",
) -> "Workload":
    """Give the workload of a case whose batches are pictures (uint8, N x 3 x size x size) and labels.

    With `shapes` the network is as narrow as those; with `teacher` it learns from that one, which computes in
    `precision`.
    """
    import torch

    from eightgig.models.reshape import fit_to_shapes
    from eightgig.vram.tracing.workload import Workload

    network = case.build_network(model, num_classes)
    if shapes:
        fit_to_shapes(network.module, shapes)
    objective, module = case.objective(network, train), network.module
    if teacher:
        taught_by = case.build_network(model.model_copy(update={"name": teacher, "dropout": None}), num_classes)
        objective, module = _taught(objective, module, taught_by.module, precision)

    def batch(num_images: int) -> dict[str, Any]:
        images_N3HW = torch.zeros(num_images, 3, model.image_size, model.image_size, dtype=torch.uint8)
        return {"images": images_N3HW, "labels": torch.zeros(num_images, dtype=torch.int64)}

    def loss(module: Any, made: dict[str, Any]) -> Any:
        return objective.loss_sum(module, made, made["images"].device) / objective.count(made)

    return Workload(module=module, batch=batch, loss=loss)


def _taught(objective: Any, student: Any, teacher: Any, precision: Precision) -> tuple[Any, Any]:
    """Give the objective with the teacher, and both networks as one module, so that both are moved and counted."""
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

    taught = DistillationObjective(objective, teacher, temperature=1.0, alpha=0.5, precision=precision)
    return taught, Pair()
