"""What all tasks on images answer in the same way (see `eightgig.stages.task.Task`)."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eightgig.core.device import loader_processes
from eightgig.models.cards import ImageCard
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.annotations import Batches, ImageNetwork, ImageStore
from eightgig.stages.inputs import for_evaluation
from eightgig.stages.task import Task
from eightgig.training.parameters import TrainParameters


class ImageTask(Task):
    """A network on batches of `images`; a wing says the rest."""

    channels_last = True

    @abstractmethod
    def dummy_targets(self, images_N3HW: Any) -> dict[str, Any]:
        """Return the targets of a training batch of these images, tensors of zeros by name."""

    def batch_loader(self) -> Callable[..., Batches]:
        """Return what makes batches of a store: of crops with a label each; without `augment` centre crops."""
        from eightgig.data.images.loader import create_loader

        return create_loader

    def eval_image(self, image_HWC: Any, *, image_size: int) -> Any:
        """Return one image (uint8, any size) as `eval_batches` would: a uint8 tensor, 3 x image_size x image_size."""
        import numpy as np
        import torch

        from eightgig.data.images.transforms import center_crop_box, crop_resize_into

        out_HWC = np.empty((image_size, image_size, 3), np.uint8)
        crop_resize_into(image_HWC, center_crop_box(*image_HWC.shape[:2]), out_HWC)
        return torch.from_numpy(out_HWC).permute(2, 0, 1)

    def num_outputs(self, store: ImageStore) -> int:
        """Return the number of classes."""
        return len(store.classes)

    def config_from_card(self, card: ImageCard) -> ImageModelParameters:
        """Return the network's name and the size of its images."""
        return ImageModelParameters(name=card.model, weights="none", image_size=card.image_size)

    def card(
        self,
        network: ImageNetwork,
        store: ImageStore,  # noqa: ARG002 - images are all the network needs to know of
        *,
        size: int,
        common: Mapping[str, Any],
    ) -> ImageCard:
        """Return the card, with size and colours."""
        return ImageCard(image_size=size, mean=network.mean, std=network.std, **common)

    def dummy_batch(self, model: ImageModelParameters, num_samples: int) -> dict[str, Any]:
        """Return black images with the task's targets."""
        import torch

        size = model.image_size
        images_N3HW = torch.zeros(num_samples, 3, size, size, dtype=torch.uint8)
        return {"images": images_N3HW, **self.dummy_targets(images_N3HW)}

    def train_batches(
        self, store: ImageStore, indices: Iterable[int], *, size: int, batch_size: int, train: Any
    ) -> Batches:
        """Return batches varied by `train.augment`, or as in validation where it is None, shuffled in each epoch."""
        return self.batch_loader()(
            store,
            list(indices),
            image_size=size,
            batch_size=batch_size,
            augment=train.augment,
            shuffle=True,
            **loading(train),
        )

    def eval_batches(
        self, store: ImageStore, indices: Iterable[int], *, size: int, batch_size: int, num_workers: int = 0
    ) -> Batches:
        """Return batches without augmentation in the order of `indices`."""
        how = for_evaluation(num_workers)
        return self.batch_loader()(store, list(indices), image_size=size, batch_size=batch_size, augment=None, **how)

    def inputs(self, card: ImageCard, batch: Any) -> dict[str, Any]:
        """Return a batch's images as float32 N3HW, normalised as the network's card says."""
        from eightgig.data.images.transforms import DeviceColour

        return {"images": DeviceColour(mean=card.mean, std=card.std).eval()(batch["images"])}

    def sample_input(self, card: ImageCard, store: ImageStore, index: int) -> dict[str, Any]:
        """Return one stored image decoded, cropped, normalised."""
        image = self.eval_image(store.decode(index), image_size=card.image_size)
        return self.inputs(card, {"images": image[None]})

    def dummy_input(self, card: ImageCard) -> dict[str, Any]:
        """Return one empty image."""
        import torch

        return {"images": torch.zeros(1, 3, card.image_size, card.image_size)}

    def file_card(self, card: ImageCard) -> dict[str, str]:
        """Return the classes, the size and the colours."""
        from eightgig.export.card import ModelCard

        named = card.model_dump(include={"model", "classes", "mean", "std", "image_size"})
        return ModelCard(**named, weights_sha256=card.sha256).to_metadata()


def loading(train: TrainParameters) -> dict[str, Any]:
    """Return how training batches are loaded, as the loaders take it."""
    import torch

    workers = loader_processes(train.num_workers)
    return {"seed": train.seed, "num_workers": workers, "pin_memory": torch.cuda.is_available()}


def letterboxed(image_HWC: Any, image_size: int) -> Any:
    """Return a whole image on a square, grey beside it, as a uint8 tensor, 3 x image_size x image_size."""
    import numpy as np
    import torch

    from eightgig.data.images.letterbox import letterbox_into

    canvas_HWC = np.empty((image_size, image_size, 3), np.uint8)
    letterbox_into(image_HWC, canvas_HWC)
    return torch.from_numpy(canvas_HWC).permute(2, 0, 1)
