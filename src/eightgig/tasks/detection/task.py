"""What is particular to the object detector: its network, its boxes, its loss and its score."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.annotations import Batches, Evaluator, ImageNetwork, ImageStore, Objective, SoftLoss
from eightgig.stages.images import ImageTask, letterboxed, loading
from eightgig.stages.task import Records, TrainingSamples
from eightgig.tasks.detection.parameters import DetectionDataParameters, DetectorTrainParameters

# What the memory planner counts in each image: more boxes than most have, in tensors that are small all the same.
_TRACED_BOXES = 64

RECORDS: Records = {"model": ImageModelParameters, "data": DetectionDataParameters, "train": DetectorTrainParameters}


class ObjectDetector(ImageTask):
    """The case study's answers to the stages' questions (see `eightgig.stages.task.Task`)."""

    records = RECORDS

    def build_network(self, model: ImageModelParameters, num_classes: int) -> ImageNetwork:
        """Return YOLOv5 of the size that `model` names."""
        from eightgig.tasks.detection.model import build_yolov5

        return build_yolov5(model.name.removeprefix("eightgig/"), weights=model.weights, num_classes=num_classes)

    def prepare(self, network: ImageNetwork, samples: TrainingSamples) -> None:
        """Fit the anchors to the training boxes where COCO's do not fit; trained weights keep theirs."""
        import logging

        from eightgig.models.weights import RANDOM
        from eightgig.tasks.detection.anchors import fit_anchors
        from eightgig.tasks.detection.task import box_sides

        train, size = samples.train, samples.size
        if not train.autoanchor or network.weights_source != RANDOM:
            return
        sides = box_sides(samples.store, samples.indices, image_size=size)
        fit = fit_anchors(sides, image_size=size, seed=train.seed)
        anchors: Any = network.module.anchors
        anchors.copy_(anchors.new_tensor(fit.by_level()))
        logging.getLogger(__name__).info(
            "anchors %s: they fit %.1f %% of %d boxes (COCO's: %.1f %%)",
            "fitted" if fit.changed else "kept",
            100 * fit.recall_after,
            fit.num_boxes,
            100 * fit.recall_before,
        )

    def objective(self, network: ImageNetwork, train: DetectorTrainParameters) -> Objective:
        """Return the loss of boxes, objectness and classes; the score is mAP50."""
        from eightgig.data.images.transforms import DeviceColour
        from eightgig.tasks.detection.metrics import map50
        from eightgig.tasks.detection.objective import DetectionObjective

        module: Any = network.module
        colour = DeviceColour(mean=network.mean, std=network.std)
        return DetectionObjective(colour, module, parameters=train.loss, num_classes=module.num_classes, score=map50)

    def soft_loss(self) -> SoftLoss | None:
        """Return how far a student's maps are from its teacher's, where the teacher sees objects."""
        from eightgig.tasks.detection.objective import soft_detection_loss_sum

        return soft_detection_loss_sum

    def batch_loader(self) -> Callable[..., Batches]:
        """Return what makes batches of images with their boxes; without `augment` whole ones, letterboxed."""
        from eightgig.tasks.detection.loader import create_detection_loader

        return create_detection_loader

    def train_batches(
        self,
        store: ImageStore,
        indices: Iterable[int],
        *,
        size: int,
        batch_size: int,
        train: DetectorTrainParameters,
    ) -> Batches:
        """Return mosaics with their boxes, shuffled anew in each epoch."""
        return self.batch_loader()(
            store,
            list(indices),
            image_size=size,
            batch_size=batch_size,
            augment=train.augment,
            **loading(train),
            num_epochs=train.epochs,
        )

    def eval_image(self, image_HWC: Any, *, image_size: int) -> Any:
        """Return the whole image, letterboxed."""
        return letterboxed(image_HWC, image_size)

    def export_module(self, network: ImageNetwork) -> Any:
        """Return the network with its decoding: images_N3HW -> predictions_NPK."""
        from eightgig.tasks.detection.model import WithDecode

        module: Any = network.module
        return WithDecode(module).eval()

    def evaluator(self, classes: Sequence[str]) -> Evaluator:
        """Return how predictions are read and judged."""
        from eightgig.tasks.detection.evaluator import DetectionEvaluator

        return DetectionEvaluator(classes)

    def targets(self, batch: Any) -> list[Any]:
        """Return each image's `Boxes`, in pixels of the canvas."""
        from eightgig.tasks.detection.task import boxes_in

        return boxes_in(batch)

    def dummy_targets(self, images_N3HW: Any) -> dict[str, Any]:
        """Return as many boxes for each image as more than most have."""
        import torch

        num_images = len(images_N3HW)
        return {
            "boxes": torch.zeros(num_images, _TRACED_BOXES, 4),
            "box_labels": torch.zeros(num_images, _TRACED_BOXES, dtype=torch.int64),
        }


def box_sides(store: ImageStore, indices: list[int], *, image_size: int) -> Any:
    """Return width and height of all boxes of the images, float64 M x 2, in pixels of the network's canvas."""
    import numpy as np

    sides = [np.empty((0, 2))]
    for index in indices:
        boxes_xyxy_M4 = store.boxes(index).xyxy_M4
        scale = image_size / max(store.shapes[index])
        sides.append((boxes_xyxy_M4[:, 2:] - boxes_xyxy_M4[:, :2]) * scale)
    return np.concatenate(sides)


def boxes_in(batch: Any) -> list[Any]:
    """Return each image's `Boxes` in pixels of the canvas, without the padding."""
    from eightgig.data.store.boxes import Boxes

    pairs = zip(batch["boxes"].numpy(), batch["box_labels"].numpy(), strict=True)
    return [Boxes(boxes_M4[labels_M >= 0], labels_M[labels_M >= 0]) for boxes_M4, labels_M in pairs]
