"""What is particular to the flower classifier: a torchvision or timm classifier on square crops of photos."""

from collections.abc import Iterable
from typing import Any

from eightgig.core.device import loader_processes
from eightgig.datasets.weights import WeightsCard
from eightgig.models.compression import Shapes
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import Batches, Classifier, ImageStore, Objective, WorkloadSpec
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import Precision


class FlowerClassifier:
    """The case study's answers to the stages' questions (see `eightgig.stages.case.Case`)."""

    def build_network(self, model: ModelParameters, num_classes: int) -> Classifier:
        """Give the classifier by its name, with `num_classes` outputs."""
        from eightgig.models.classifiers import build_classifier

        return build_classifier(model.name, weights=model.weights, num_classes=num_classes, dropout=model.dropout)

    def workload(
        self,
        model: ModelParameters,
        num_classes: int,
        train: TrainParameters,
        *,
        shapes: Shapes | None = None,
        teacher: str | None = None,
        precision: Precision = "fp32",
    ) -> WorkloadSpec:
        """Say where the memory planner's child process finds what this case trains."""
        from eightgig.vram.tracing.spec import WorkloadSpec

        options = {"model": model.model_dump(mode="json"), "train": train.model_dump(mode="json")}
        pruned = {name: list(shape) for name, shape in (shapes or {}).items()}
        return WorkloadSpec(
            factory=f"{__name__}:make_workload",
            options={
                **options,
                "num_classes": num_classes,
                "shapes": pruned,
                "teacher": teacher,
                "precision": precision,
            },
        )

    def objective(self, network: Classifier, train: TrainParameters) -> Objective:
        """Give cross-entropy, with colour changes on the device."""
        from eightgig.data.transforms import DeviceColour
        from eightgig.training.objective import ClassificationObjective

        colour = DeviceColour(mean=network.mean, std=network.std, augment=train.augment)
        return ClassificationObjective(colour, label_smoothing=train.label_smoothing)

    def train_batches(
        self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int, train: TrainParameters
    ) -> Batches:
        """Give random crops, flipped half of the time, shuffled anew in each epoch."""
        import torch

        from eightgig.data.loader import create_loader

        return create_loader(
            store,
            list(indices),
            image_size=image_size,
            batch_size=batch_size,
            augment=train.augment,
            seed=train.seed,
            num_workers=loader_processes(train.num_workers),
            pin_memory=torch.cuda.is_available(),
        )

    def eval_batches(self, store: ImageStore, indices: Iterable[int], *, image_size: int, batch_size: int) -> Batches:
        """Give centre crops in the order of `indices`."""
        from eightgig.data.loader import create_loader

        return create_loader(store, list(indices), image_size=image_size, batch_size=batch_size, augment=None)

    def eval_picture(self, image_HWC: Any, *, image_size: int) -> Any:
        """Give the centre crop of one picture as a uint8 tensor, 3 x image_size x image_size."""
        import numpy as np
        import torch

        from eightgig.data.transforms import center_crop_box, crop_resize_into

        out_HWC = np.empty((image_size, image_size, 3), np.uint8)
        crop_resize_into(image_HWC, center_crop_box(*image_HWC.shape[:2]), out_HWC)
        return torch.from_numpy(out_HWC).permute(2, 0, 1)

    def inputs(self, card: WeightsCard, batch: Any) -> Any:
        """Give a batch's pictures as float32 N3HW, normalised as the network wants them."""
        from eightgig.data.transforms import DeviceColour

        return DeviceColour(mean=card.mean, std=card.std).eval()(batch["images"])


def make_workload(
    model: dict[str, Any],
    train: dict[str, Any],
    num_classes: int,
    shapes: dict[str, list[int]] | None = None,
    teacher: str | None = None,
    precision: Precision = "fp32",
) -> Any:
    """Give the network, its loss and empty batches, as the train stage runs them; weights play no part."""
    from eightgig.stages.workloads import image_classification

    parameters = ModelParameters(**{**model, "weights": "none"})
    pruned = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    return image_classification(
        FlowerClassifier(),
        parameters,
        TrainParameters(**train),
        num_classes,
        shapes=pruned,
        teacher=teacher,
        precision=precision,
    )
