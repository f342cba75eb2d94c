"""Batches from a store: uint8, cropped and mirrored by keyed randomness, the same with any number of workers."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from eightgig.core.seeding import seed_from
from eightgig.core.stop import leave_signals_to_the_parent
from eightgig.data.images.decoding import Pixels
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import center_crop_box, crop_resize_into, random_resized_crop_box
from eightgig.data.store.reader import ImageStore

Made = TypeVar("Made")
Key = tuple[int, int]
"""(epoch, index in the store): all that a sample's randomness depends on besides the seed."""


class Batch(TypedDict):
    """One batch.

    images: uint8, N x 3 x size x size, 0 to 255, channels last in memory. labels, indices: int64 N. values: float32 N.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    values: NotRequired[torch.Tensor]


class KeyedSampler(Sampler[Key]):
    """Gives each index once an epoch, as keys (epoch, index), in an order that the seed and the epoch alone decide.

    Args:
        indices: positions in the store.
        seed: decides the order.
        shuffle: False keeps the order of `indices`.
    """

    def __init__(self, indices: Sequence[int] | npt.NDArray[np.int64], *, seed: int, shuffle: bool = True) -> None:
        self._indices = np.asarray(indices, dtype=np.int64)
        self._seed = seed
        self._shuffle = shuffle
        self.epoch = 0
        self.offset = 0

    def set_epoch(self, epoch: int, offset: int = 0) -> None:
        """Choose the epoch to give next; `offset` samples of it are left out, to go on in the middle of one."""
        self.epoch = epoch
        self.offset = offset

    def __len__(self) -> int:
        return max(len(self._indices) - self.offset, 0)

    def __iter__(self) -> Iterator[Key]:
        order = self._indices
        if self._shuffle:
            generator = torch.Generator().manual_seed(seed_from(self._seed, "order", self.epoch))
            order = order[torch.randperm(len(order), generator=generator).numpy()]
        epoch = self.epoch
        return ((epoch, index) for index in order[self.offset :].tolist())


class SharedOut(KeyedSampler):
    """One process's share of another sampler's order: every `count`-th batch, from number `index` on.

    Args:
        whole: the order of all processes together.
        batch_size: samples a batch.
        index: of this process.
        count: of processes.
    """

    def __init__(self, whole: KeyedSampler, *, batch_size: int, index: int, count: int) -> None:
        self._whole, self._batch_size, self._index, self._count = whole, batch_size, index, count

    def set_epoch(self, epoch: int, offset: int = 0) -> None:
        """Choose the epoch; `offset` counts the samples of all processes that are left out."""
        self._whole.set_epoch(epoch, offset)

    def __len__(self) -> int:
        return sum(1 for number in range(len(self._whole)) if self._is_ours(number))

    def __iter__(self) -> Iterator[Key]:
        return (key for number, key in enumerate(self._whole) if self._is_ours(number))

    def _is_ours(self, number: int) -> bool:
        return number // self._batch_size % self._count == self._index


class ImageBatches(Dataset[Batch]):
    """Whole batches of a store, by keys; a DataLoader asks for a batch at a time.

    Args:
        store: where the images are.
        image_size: side of the square samples, pixels.
        augment: how crops and mirroring vary; None takes the middle square of every image.
        seed: of the variation.
        resize_ratio: share of the shorter side that the middle square keeps; for `augment` None.
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        image_size: int,
        augment: AugmentParameters | None = None,
        seed: int = 0,
        resize_ratio: float = 0.875,
    ) -> None:
        self.store = store
        self.image_size = image_size
        self.augment = augment
        self.seed = seed
        self.resize_ratio = resize_ratio

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return the samples of `keys` as one batch.

        Raises:
            StoreError: an image is damaged; the message names it.
        """
        images_NHW3 = empty_batch(len(keys), self.image_size)
        for out_HWC, (epoch, index) in zip(images_NHW3.numpy(), keys, strict=True):
            self._sample_into(out_HWC, epoch, index)
        indices_N = torch.tensor([index for _, index in keys])
        labels_N = torch.from_numpy(self.store.labels[indices_N.numpy()])
        batch: Batch = {"images": images_NHW3.permute(0, 3, 1, 2), "labels": labels_N, "indices": indices_N}
        known = self.store.kind == "values"
        return {**batch, "values": torch.from_numpy(self.store.values[indices_N.numpy()]).float()} if known else batch

    def _sample_into(self, out_HWC: Pixels, epoch: int, index: int) -> None:
        image_HWC = self.store.decode(index)
        height, width = image_HWC.shape[:2]
        if self.augment is None:
            crop_resize_into(image_HWC, center_crop_box(height, width, self.resize_ratio), out_HWC)
            return
        # Not for secrets: the same image in the same epoch must vary in the same way in any worker.
        rng = random.Random(seed_from(self.seed, "augment", epoch, index))  # noqa: S311
        box = random_resized_crop_box(height, width, rng, self.augment.crop_scale, self.augment.crop_ratio)
        crop_resize_into(image_HWC, box, out_HWC, flip=rng.random() < self.augment.flip)


def empty_batch(num_images: int, image_size: int) -> torch.Tensor:
    """Return memory for N x size x size x 3 bytes; in a worker it is shared, so that handing it over copies nothing."""
    shape = (num_images, image_size, image_size, 3)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # as PyTorch's own default_collate does
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def create_loader(
    store: ImageStore,
    indices: Sequence[int] | npt.NDArray[np.int64],
    *,
    image_size: int,
    batch_size: int,
    augment: AugmentParameters | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    drop_last: bool = False,
    resize_ratio: float = 0.875,
    prefetch_factor: int = 2,
    timeout_s: float = 120.0,
    multiprocessing_context: str | None = None,
    persistent_workers: bool = True,
) -> DataLoader[Batch]:
    """Return a DataLoader of `Batch` over the images `indices` of `store`.

    Its `sampler` is a `KeyedSampler`: call `loader.sampler.set_epoch(epoch)` before each epoch. What is in a batch
    does not depend on `num_workers`.

    Args:
        store: where the images are.
        indices: positions in the store, for example of one split.
        image_size: side of the square samples, pixels.
        batch_size: samples a batch; the last may have fewer.
        augment: how training samples vary; None for validation.
        shuffle: whether each epoch has its own order; None shuffles where there is `augment`.
        seed: of order and variation.
        num_workers: processes that decode; 0 decodes in this one.
        pin_memory: whether batches lie in page-locked memory, for copies to a GPU that do not wait.
        drop_last: whether a last batch with fewer samples is left out.
        resize_ratio: share of the shorter side that validation samples show.
        prefetch_factor: batches that each worker makes ahead.
        timeout_s: seconds after which a silent worker is an error.
        multiprocessing_context: how workers start (`fork`, `spawn`, ...); None takes the platform's way.
        persistent_workers: whether they wait for the next epoch; else they end with each.
    """
    shuffled = augment is not None if shuffle is None else shuffle
    return keyed_loader(
        ImageBatches(store, image_size=image_size, augment=augment, seed=seed, resize_ratio=resize_ratio),
        KeyedSampler(indices, seed=seed, shuffle=shuffled),
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
        drop_last=drop_last,
        prefetch_factor=prefetch_factor,
        timeout_s=timeout_s,
        multiprocessing_context=multiprocessing_context,
        persistent_workers=persistent_workers,
    )


def keyed_loader(
    dataset: Dataset[Made],
    sampler: KeyedSampler,
    *,
    batch_size: int,
    num_workers: int = 0,
    pin_memory: bool = False,
    drop_last: bool = False,
    prefetch_factor: int = 2,
    timeout_s: float = 120.0,
    multiprocessing_context: str | None = None,
    persistent_workers: bool = True,
) -> DataLoader[Made]:
    """Return a DataLoader of a dataset that makes whole batches by keys; the arguments are those of `create_loader`."""
    worker_options: dict[str, Any] = {}
    if num_workers > 0:
        worker_options = {
            "timeout": timeout_s,
            "persistent_workers": persistent_workers,
            "prefetch_factor": prefetch_factor,
            "worker_init_fn": _start_worker,
            "multiprocessing_context": multiprocessing_context,
        }
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=_as_made,
        pin_memory=pin_memory,
        drop_last=drop_last,
        **worker_options,
    )


def with_workers(loader: DataLoader[Made], num_workers: int) -> DataLoader[Made]:
    """Return a loader of the same batches with another number of processes."""
    return _remade(loader, num_workers=num_workers)


def share_of(loader: DataLoader[Made], index: int, count: int) -> DataLoader[Made]:
    """Return a loader of the batches that process `index` of `count` works on; together they have each batch once."""
    if count == 1:
        return loader
    sampler: Any = loader.sampler
    return _remade(loader, sampler=SharedOut(sampler, batch_size=loader.batch_size or 1, index=index, count=count))


def _remade(loader: DataLoader[Made], **changes: Any) -> DataLoader[Made]:
    num_workers = changes.get("num_workers", loader.num_workers)
    worker_options: dict[str, Any] = {}
    if num_workers > 0:
        worker_options = {
            "timeout": loader.timeout,
            "persistent_workers": loader.persistent_workers,
            "prefetch_factor": loader.prefetch_factor,
            "worker_init_fn": loader.worker_init_fn,
            "multiprocessing_context": loader.multiprocessing_context,
        }
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=changes.get("sampler", loader.sampler),
        num_workers=num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        **worker_options,
    )


def _as_made(batch: Any) -> Any:
    """The dataset makes whole batches, so there is nothing to collate."""
    return batch


def _start_worker(_worker_id: int) -> None:
    """OpenCV would start threads of its own in each worker, and they would fight for the cores."""
    cv2.setNumThreads(0)
    leave_signals_to_the_parent()
