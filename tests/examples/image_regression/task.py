"""A number read from an image: the answers to the stages' questions (see `eightgig.stages.task.Task`)."""

from collections.abc import Sequence
from typing import Any

from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.annotations import Evaluator, ImageNetwork, Objective, SoftLoss
from eightgig.stages.images import ImageTask
from eightgig.stages.task import TrainingSamples
from eightgig.tasks.image_regression.parameters import RECORDS, RegressorTrainParameters


class ImageRegressor(ImageTask):
    """Any network of timm with one output, on square crops."""

    records, target = RECORDS, "values"

    def build_network(self, model: ImageModelParameters, num_classes: int) -> ImageNetwork:  # noqa: ARG002 - one
        """Return the network."""
        from eightgig.tasks.image_regression.model import build_regressor

        return build_regressor(model.name, weights=model.weights, dropout=model.dropout)

    def prepare(self, network: Any, samples: TrainingSamples) -> None:
        """Note mean and deviation of the training images' numbers."""
        values_N = samples.store.values[samples.indices]
        network.module.mean_of_values.fill_(values_N.mean())
        network.module.std_of_values.fill_(values_N.std() or 1.0)

    def objective(self, network: Any, train: RegressorTrainParameters) -> Objective:
        """Return Huber's loss, with colour changes on the device."""
        from eightgig.data.images.transforms import DeviceColour
        from eightgig.tasks.image_regression.objective import RegressionObjective

        colour = DeviceColour(mean=network.mean, std=network.std, augment=train.augment)
        return RegressionObjective(colour, network.module.mean_of_values, network.module.std_of_values)

    def soft_loss(self) -> SoftLoss | None:
        """Return how far a student's numbers are from its teacher's."""
        from eightgig.tasks.image_regression.objective import soft_regression_loss_sum

        return soft_regression_loss_sum

    def export_module(self, network: ImageNetwork) -> Any:
        """Return the network that says numbers in their unit."""
        from eightgig.tasks.image_regression.model import InUnits

        return InUnits(network.module).eval()

    def evaluator(self, classes: Sequence[str]) -> Evaluator:  # noqa: ARG002 - whatever the number is of
        """Return how numbers are read and judged."""
        from eightgig.tasks.image_regression.evaluator import RegressionEvaluator

        return RegressionEvaluator()

    def dummy_targets(self, images_N3HW: Any) -> dict[str, Any]:
        """Return zeros."""
        import torch

        return {"values": torch.zeros(len(images_N3HW))}
