"""A classifier of square crops of images: its answers to the stages' questions."""

from collections.abc import Sequence
from typing import Any

from eightgig.data.images.parameters import DataParameters
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.annotations import Evaluator, ImageNetwork, Objective
from eightgig.stages.images import ImageTask
from eightgig.stages.task import Records
from eightgig.training.parameters import ClassifierTrainParameters

RECORDS: Records = {"model": ImageModelParameters, "data": DataParameters, "train": ClassifierTrainParameters}


class ImageClassifier(ImageTask):
    """Any classifier of torchvision or timm; see `eightgig.stages.task.Task` for what each answer is."""

    records = RECORDS

    def build_network(self, model: ImageModelParameters, num_classes: int) -> ImageNetwork:
        """Return the classifier by its name, with `num_classes` outputs."""
        from eightgig.tasks.classification.model import build_classifier

        return build_classifier(model.name, weights=model.weights, num_classes=num_classes, dropout=model.dropout)

    def objective(self, network: ImageNetwork, train: ClassifierTrainParameters) -> Objective:
        """Return cross-entropy, with colour changes on the device."""
        from eightgig.data.images.transforms import DeviceColour
        from eightgig.training.objective import ClassificationObjective

        colour = DeviceColour(mean=network.mean, std=network.std, augment=train.augment)
        return ClassificationObjective(colour, label_smoothing=train.label_smoothing)

    def evaluator(self, classes: Sequence[str]) -> Evaluator:
        """Return how logits are read and judged."""
        from eightgig.bench.classification import ClassificationEvaluator

        return ClassificationEvaluator(classes)

    def dummy_targets(self, images_N3HW: Any) -> dict[str, Any]:
        """Return the first class for each image."""
        import torch

        return {"labels": torch.zeros(len(images_N3HW), dtype=torch.int64)}
