"""Batches of images with boxes from a store, varied by keyed randomness: the same with any number of workers."""

import random
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from eightgig.core.seeding import seed_from
from eightgig.data.images.decoding import Pixels
from eightgig.data.images.letterbox import GREY, Placement, letterbox_into, placement_of
from eightgig.data.images.loader import Key, KeyedSampler, empty_batch, keyed_loader
from eightgig.data.store.boxes import Boxes
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.detection import transforms
from eightgig.tasks.detection.parameters import BoxAugmentParameters

_BOXES_STEP = 8


class BoxBatch(TypedDict, total=False):
    """One batch; the first axis of each tensor is the sample.

    images: uint8, N x 3 x size x size, channels last in memory. boxes: float32, N x M x 4, xyxy in pixels of the
    canvas, padded with zeros; box_labels: int64, N x M, padded with -1; M is a multiple of 8. indices: int64, N.
    Where nothing varies also scale (float32, N), offset (float32, N x 2: left, top) and sizes (int64, N x 2: height,
    width of the image): canvas = image * scale + offset.
    """

    images: torch.Tensor
    boxes: torch.Tensor
    box_labels: torch.Tensor
    indices: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    sizes: torch.Tensor


class _Sample(NamedTuple):
    """The boxes on the canvas, and for a letterboxed image where it lies and its size."""

    boxes: Boxes
    placement: Placement | None = None
    size: tuple[int, int] = (0, 0)


class BoxBatches(Dataset[BoxBatch]):
    """Whole batches of a store with boxes, by keys; a DataLoader asks for a batch at a time.

    Args:
        store: where the images are.
        image_size: side of the canvas, pixels.
        augment: how samples vary; None letterboxes every image.
        pool: the images that mosaics are put together of.
        seed: of the variation.
        num_epochs: of the training, so that its last ones can be without mosaics; None never ends them.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        image_size: int,
        augment: BoxAugmentParameters | None = None,
        pool: Sequence[int] | npt.NDArray[np.int64] = (),
        seed: int = 0,
        num_epochs: int | None = None,
    ) -> None:
        self.store = store
        self.image_size = image_size
        self.augment = augment
        self.pool = np.asarray(pool, dtype=np.int64)
        self.seed = seed
        self.num_epochs = num_epochs

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> BoxBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[Key]) -> BoxBatch:
        """Return the samples of `keys` as one batch.

        Raises:
            StoreError: an image is damaged; the message names it.
        """
        images_NHW3 = empty_batch(len(keys), self.image_size)
        samples = [self._sample_into(out, *key) for out, key in zip(images_NHW3.numpy(), keys, strict=True)]
        batch = BoxBatch(images=images_NHW3.permute(0, 3, 1, 2), indices=torch.tensor([index for _, index in keys]))
        batch["boxes"], batch["box_labels"] = _padded([sample.boxes for sample in samples])
        placements = [sample.placement for sample in samples if sample.placement]
        if placements:
            batch["scale"] = torch.tensor([place.scale for place in placements], dtype=torch.float32)
            batch["offset"] = torch.tensor([(place.left, place.top) for place in placements], dtype=torch.float32)
            batch["sizes"] = torch.tensor([sample.size for sample in samples])
        return batch

    def _sample_into(self, out_HWC: Pixels, epoch: int, index: int) -> _Sample:
        if self.augment is None:
            image_HWC, boxes = self._read(index)
            placement = letterbox_into(image_HWC, out_HWC)
            moved = Boxes(transforms.letterboxed(boxes.xyxy_M4, placement), boxes.labels_M)
            return _Sample(moved, placement, image_HWC.shape[:2])
        # Not for secrets: the same image in the same epoch must vary in the same way in any worker.
        rng = random.Random(seed_from(self.seed, "boxes", epoch, index))  # noqa: S311
        boxes = self._varied_into(out_HWC, epoch, index, self.augment, rng)
        transforms.hsv_jitter(out_HWC, self.augment, rng)
        return _Sample(transforms.flip(out_HWC, boxes) if rng.random() < self.augment.flip else boxes)

    def _varied_into(
        self, out_HWC: Pixels, epoch: int, index: int, augment: BoxAugmentParameters, rng: random.Random
    ) -> Boxes:
        """Draw one image, or a mosaic of four, moved at random; the boxes are those on the canvas."""
        side = self.image_size
        is_mosaic = rng.random() < augment.mosaic and not self._closes(epoch, augment)
        others = [int(self.pool[rng.randrange(len(self.pool))]) for _ in range(3)] if is_mosaic else []
        images = [self._read(number) for number in (index, *others)]
        sizes = [(image_HWC.shape[0], image_HWC.shape[1]) for image_HWC, _ in images]
        places = transforms.mosaic_places(sizes, side, rng) if is_mosaic else [_in_the_middle(sizes[0], side)]
        moved = transforms.random_affine(augment, rng, middle=side if is_mosaic else side / 2, side=side)
        out_HWC[:] = GREY
        return transforms.joined(
            [
                transforms.place_into(image_HWC, boxes, moved @ place, out_HWC)
                for (image_HWC, boxes), place in zip(images, places, strict=True)
            ]
        )

    def _closes(self, epoch: int, augment: BoxAugmentParameters) -> bool:
        return self.num_epochs is not None and epoch > self.num_epochs - augment.close_mosaic

    def _read(self, index: int) -> tuple[Pixels, Boxes]:
        return self.store.decode(index), self.store.boxes(index)


def _in_the_middle(size: tuple[int, int], side: int) -> transforms.Matrix:
    scale, left, top = placement_of(*size, side)
    return np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]])


def _padded(boxes: Sequence[Boxes]) -> tuple[torch.Tensor, torch.Tensor]:
    most = max(len(own.labels_M) for own in boxes)
    length = max(_BOXES_STEP, -(-most // _BOXES_STEP) * _BOXES_STEP)
    boxes_NM4 = torch.zeros(len(boxes), length, 4)
    labels_NM = torch.full((len(boxes), length), -1)
    for position, own in enumerate(boxes):
        boxes_NM4[position, : len(own.labels_M)] = torch.from_numpy(own.xyxy_M4)
        labels_NM[position, : len(own.labels_M)] = torch.from_numpy(own.labels_M)
    return boxes_NM4, labels_NM


def create_detection_loader(
    store: ImageStore,
    indices: Sequence[int] | npt.NDArray[np.int64],
    *,
    image_size: int,
    batch_size: int,
    augment: BoxAugmentParameters | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    persistent_workers: bool = True,
    num_epochs: int | None = None,
) -> DataLoader[BoxBatch]:
    """Return a DataLoader of `BoxBatch` over the images `indices` of `store`.

    Its `sampler` is a `KeyedSampler`: call `loader.sampler.set_epoch(epoch)` before each epoch, from 1 on. What is in a
    batch does not depend on `num_workers`.

    Args:
        store: with boxes.
        indices: positions in the store, for example of one split; mosaics are put together of these.
        image_size: side of the canvas, pixels.
        batch_size: samples a batch; the last may have fewer.
        augment: how training samples vary; None for validation.
        shuffle: whether each epoch has its own order; None shuffles where there is `augment`.
        seed: of order and variation.
        num_workers: processes that decode; 0 decodes in this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU that do not wait.
        persistent_workers: whether the processes wait for the next epoch; else they end with each.
        num_epochs: of the training (see `BoxAugmentParameters.close_mosaic`).
    """
    shuffled = augment is not None if shuffle is None else shuffle
    pool = np.asarray(indices, dtype=np.int64)
    return keyed_loader(
        BoxBatches(store, image_size=image_size, augment=augment, pool=pool, seed=seed, num_epochs=num_epochs),
        KeyedSampler(pool, seed=seed, shuffle=shuffled),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers,
    )
