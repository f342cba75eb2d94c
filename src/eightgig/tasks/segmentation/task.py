"""What is particular to the segmenter: its network, its masks, its loss and its score."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.annotations import Batches, Evaluator, ImageNetwork, ImageStore, Objective, SoftLoss
from eightgig.stages.images import ImageTask, letterboxed, loading
from eightgig.stages.task import Records, TrainingSamples
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters, SegmenterTrainParameters

RECORDS: Records = {
    "model": ImageModelParameters,
    "data": SegmentationDataParameters,
    "train": SegmenterTrainParameters,
}


class SemanticSegmenter(ImageTask):
    """The case study's answers to the stages' questions (see `eightgig.stages.task.Task`)."""

    records = RECORDS

    def build_network(self, model: ImageModelParameters, num_classes: int) -> ImageNetwork:
        """Return the U-Net, or the network of torchvision, that `model` names."""
        from eightgig.tasks.segmentation.model import build_segmenter

        return build_segmenter(model.name, weights=model.weights, num_classes=num_classes)

    def prepare(self, network: ImageNetwork, samples: TrainingSamples) -> None:
        """Weigh the classes by the pixels that the training masks have of them, where the recipe asks for it."""
        import numpy as np
        import torch

        from eightgig.core.progress import track
        from eightgig.tasks.segmentation.objective import median_frequency_weights

        store, loss = samples.store, samples.train.loss
        if loss.class_weights == "none":
            return
        num_classes = len(store.classes)
        counts = [
            np.bincount(store.mask(index).ravel(), minlength=256)[:num_classes]
            for index in track(samples.indices, "counting the pixels of classes")
        ]
        weights_K = median_frequency_weights(torch.from_numpy(np.stack(counts)), most=loss.most_weight)
        module: Any = network.module
        module.class_weights.copy_(weights_K)

    def objective(self, network: ImageNetwork, train: SegmenterTrainParameters) -> Objective:
        """Return cross-entropy and Dice over pixels, with colour changes on the device."""
        from eightgig.data.images.transforms import DeviceColour
        from eightgig.tasks.segmentation.objective import SegmentationObjective

        module: Any = network.module
        colour = DeviceColour(mean=network.mean, std=network.std, augment=train.augment)
        return SegmentationObjective(colour, module.class_weights, train.loss)

    def soft_loss(self) -> SoftLoss | None:
        """Return how far a student's classes of pixels are from its teacher's."""
        from eightgig.tasks.segmentation.objective import soft_segmentation_loss_sum

        return soft_segmentation_loss_sum

    def batch_loader(self) -> Callable[..., Batches]:
        """Return what makes batches of images with their masks; without `augment` whole ones, letterboxed."""
        from eightgig.tasks.segmentation.loader import create_mask_loader

        return create_mask_loader

    def train_batches(
        self,
        store: ImageStore,
        indices: Iterable[int],
        *,
        size: int,
        batch_size: int,
        train: SegmenterTrainParameters,
    ) -> Batches:
        """Return random crops with their masks, shuffled anew in each epoch, small first if so asked."""
        from eightgig.tasks.segmentation.parameters import ProgressiveSize

        return self.batch_loader()(
            store,
            list(indices),
            image_size=ProgressiveSize(size, train.progressive, train.epochs),
            batch_size=batch_size,
            augment=train.augment,
            **loading(train),
        )

    def eval_image(self, image_HWC: Any, *, image_size: int) -> Any:
        """Return the whole image, letterboxed."""
        return letterboxed(image_HWC, image_size)

    def evaluator(self, classes: Sequence[str]) -> Evaluator:
        """Return how logits are read and judged."""
        from eightgig.tasks.segmentation.metrics import SegmentationEvaluator

        return SegmentationEvaluator(classes)

    def targets(self, batch: Any) -> list[Any]:
        """Return each image's labels_HW on the canvas."""
        return list(batch["masks"].numpy())

    def dummy_targets(self, images_N3HW: Any) -> dict[str, Any]:
        """Return a mask of the first class for each image."""
        import torch

        return {"masks": torch.zeros_like(images_N3HW[:, 0])}
