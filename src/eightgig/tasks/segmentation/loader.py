"""Batches of images with masks from a store, varied by keyed randomness: the same with any number of workers."""

import random
from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from eightgig.core.seeding import seed_from
from eightgig.data.images.decoding import Pixels
from eightgig.data.images.loader import Key, KeyedSampler, empty_batch, keyed_loader
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import random_resized_crop_box
from eightgig.data.store.masks import Labels
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.segmentation.transforms import crop_both_into, letterbox_both_into


class MaskBatch(TypedDict):
    """One batch; the first axis of each tensor is the sample.

    images: uint8, N x 3 x size x size, channels last in memory. masks: uint8, N x size x size: positions in the
    classes, 255 where void. indices: int64, N.
    """

    images: torch.Tensor
    masks: torch.Tensor
    indices: torch.Tensor


class MaskBatches(Dataset[MaskBatch]):
    """Whole batches of a store with masks, by keys; a DataLoader asks for a batch at a time.

    Args:
        store: where the images are.
        size_of: side of the square samples in an epoch, pixels.
        augment: how crops and mirroring vary; None letterboxes every image.
        seed: of the variation.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        size_of: Callable[[int], int],
        augment: AugmentParameters | None = None,
        seed: int = 0,
    ) -> None:
        self.store, self.size_of, self.augment, self.seed = store, size_of, augment, seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> MaskBatch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[Key]) -> MaskBatch:
        """Return the samples of `keys`, all of one epoch, as one batch.

        Raises:
            StoreError: an image or a mask is damaged; the message names it.
        """
        size = self.size_of(keys[0][0])
        images_NHW3 = empty_batch(len(keys), size)
        masks_NHW = torch.empty(len(keys), size, size, dtype=torch.uint8)
        for out_HWC, out_HW, key in zip(images_NHW3.numpy(), masks_NHW.numpy(), keys, strict=True):
            self._sample_into(out_HWC, out_HW, *key)
        indices_N = torch.tensor([index for _, index in keys])
        return {"images": images_NHW3.permute(0, 3, 1, 2), "masks": masks_NHW, "indices": indices_N}

    def _sample_into(self, out_HWC: Pixels, out_HW: Labels, epoch: int, index: int) -> None:
        image_HWC, labels_HW = self.store.decode(index), self.store.mask(index)
        if self.augment is None:
            letterbox_both_into(image_HWC, labels_HW, out_HWC, out_HW)
            return
        # Not for secrets: the same image in the same epoch must vary in the same way in any worker.
        rng = random.Random(seed_from(self.seed, "augment", epoch, index))  # noqa: S311
        height, width = labels_HW.shape
        box = random_resized_crop_box(height, width, rng, self.augment.crop_scale, self.augment.crop_ratio)
        crop_both_into(image_HWC, labels_HW, box, out_HWC, out_HW, flip=rng.random() < self.augment.flip)


class ConstantSize:
    """The same size in every epoch; an object, since a loader's workers are given it."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, _epoch: int) -> int:
        """Return the store."""
        return self._size


def create_mask_loader(
    store: ImageStore,
    indices: Sequence[int] | npt.NDArray[np.int64],
    *,
    image_size: int | Callable[[int], int],
    batch_size: int,
    augment: AugmentParameters | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    persistent_workers: bool = True,
) -> DataLoader[MaskBatch]:
    """Return a DataLoader of `MaskBatch` over the images `indices` of `store`.

    Its `sampler` is a `KeyedSampler`: call `loader.sampler.set_epoch(epoch)` before each epoch, from 1 on. What is in a
    batch does not depend on `num_workers`.

    Args:
        store: with masks.
        indices: positions in the store, for example of one split.
        image_size: side of the square samples, pixels, or a function from the epoch to it.
        batch_size: samples a batch; the last may have fewer.
        augment: how training samples vary; None for validation.
        shuffle: whether each epoch has its own order; None shuffles where there is `augment`.
        seed: of order and variation.
        num_workers: processes that decode; 0 decodes in this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU that do not wait.
        persistent_workers: whether the processes wait for the next epoch; else they end with each.
    """
    size_of = ConstantSize(image_size) if isinstance(image_size, int) else image_size
    return keyed_loader(
        MaskBatches(store, size_of=size_of, augment=augment, seed=seed),
        KeyedSampler(indices, seed=seed, shuffle=augment is not None if shuffle is None else shuffle),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers,
    )
