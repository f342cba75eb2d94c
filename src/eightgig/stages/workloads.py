"""What the memory planner traces: a case's own network and loss, on empty batches."""

from typing import TYPE_CHECKING, Any

from eightgig.models.parameters import ModelParameters
from eightgig.stages.case import Case
from eightgig.training.parameters import TrainParameters

if TYPE_CHECKING:
    from eightgig.vram.tracing.workload import Workload


def image_classification(case: Case, model: ModelParameters, train: TrainParameters, num_classes: int) -> "Workload":
    """Give the workload of a case whose batches are pictures (uint8, N x 3 x size x size) and labels."""
    import torch

    from eightgig.vram.tracing.workload import Workload

    network = case.build_network(model, num_classes)
    objective = case.objective(network, train)

    def batch(num_images: int) -> dict[str, Any]:
        images_N3HW = torch.zeros(num_images, 3, model.image_size, model.image_size, dtype=torch.uint8)
        return {"images": images_N3HW, "labels": torch.zeros(num_images, dtype=torch.int64)}

    def loss(module: Any, made: dict[str, Any]) -> Any:
        return objective.loss_sum(module, made, made["images"].device) / objective.count(made)

    return Workload(module=network.module, batch=batch, loss=loss)
