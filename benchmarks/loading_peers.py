"""The loaders that `data_loading.py` measures against one another, each giving random batches of the same images."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from eightgig.data.images.loader import KeyedSampler, create_loader
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.images.transforms import IMAGENET_MEAN, IMAGENET_STD, DeviceColour
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.store.reader import ImageStore

BATCH_SIZE = 32
IMAGE_SIZE = 300
ARTICLE_SIDE = 320


class ArticleDataset(Dataset[tuple[torch.Tensor, int]]):
    """The article's HDF5Dataset (section 3.2.2), with the task's transforms."""

    def __init__(self, path: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.file = h5py.File(path, "r")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.file["images"])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.file["images"][index])), int(self.file["labels"][index])


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> cv2.typing.MatLike:
    """Return the image as OpenCV reads it, which says nothing where it cannot."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ValueError(f"{path}: wanted an image, found a file that OpenCV does not read. Leave it out.")
    return image


def build_article(folder: Path, path: Path) -> None:
    """Write the article's file: all decoded images in memory, then gzip with automatic chunks."""
    scan = scan_class_folders(folder)
    decoded = [read_image(folder / name, cv2.IMREAD_COLOR_RGB) for name, _ in scan.files]
    images = np.stack([cv2.resize(image, (ARTICLE_SIDE, ARTICLE_SIDE)) for image in decoded])
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, compression="gzip")
        file.create_dataset("labels", data=np.array([label for _, label in scan.files]), compression="gzip")


def v1_transform(task: str) -> transforms.Compose:
    """Torchvision's first interface, as the article uses it."""
    crop = [transforms.RandomResizedCrop(IMAGE_SIZE), transforms.RandomHorizontalFlip()]
    if task == "U":
        return transforms.Compose([*crop, transforms.PILToTensor()])
    colour = [transforms.ColorJitter(0.2, 0.2, 0.2), transforms.ToTensor()]
    return transforms.Compose([*crop, *colour, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


def v2_transform(task: str) -> v2.Compose:
    """Torchvision's second interface, as its documentation advises: tensors, uint8 until the end."""
    crop = [v2.PILToTensor(), v2.RandomResizedCrop(IMAGE_SIZE, antialias=True), v2.RandomHorizontalFlip()]
    if task == "U":
        return v2.Compose(crop)
    colour = [v2.ColorJitter(0.2, 0.2, 0.2), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([*crop, *colour, v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


class SomeIndices(Sampler[int]):
    """Gives `count` random positions of a data set."""

    def __init__(self, size: int) -> None:
        self.size = self.count = size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.size)[: self.count].tolist())


Batches = Callable[[int], Iterable[object]]
"""Gives batches of about so many images; called again, it goes on with the same workers."""


def plain_batches(dataset: ArticleDataset | ImageFolder, num_workers: int) -> Batches:
    """Load random images with PyTorch's usual collation."""
    sampler = SomeIndices(len(dataset))
    persistent = num_workers > 0
    loader = DataLoader(dataset, BATCH_SIZE, sampler=sampler, num_workers=num_workers, persistent_workers=persistent)

    def run(num_images: int) -> Iterable[object]:
        sampler.count = num_images
        return loader

    return run


def store_batches(store: ImageStore, task: str, num_workers: int) -> Batches:
    """Load from this project's store; for F the colours follow in this process, as on a device."""
    indices, augment = range(len(store)), AugmentParameters()
    loader = create_loader(
        store, indices, image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, augment=augment, num_workers=num_workers
    )
    colour = DeviceColour(augment) if task == "F" else nn.Identity()
    sampler = loader.sampler
    assert isinstance(sampler, KeyedSampler)  # noqa: S101  as create_loader says

    def run(num_images: int) -> Iterable[object]:
        sampler.set_epoch(sampler.epoch + 1, offset=len(store) - num_images)
        return (colour(batch["images"]) for batch in loader)

    return run


def dali_batches(folder: Path) -> Batches:
    """Load with NVIDIA DALI on the CPU: its own fused decode and crop."""
    from nvidia.dali import fn, pipeline_def, types

    def crops() -> object:
        files, _ = fn.readers.file(file_root=str(folder), random_shuffle=True)
        images = fn.decoders.image_random_crop(files, device="cpu", output_type=types.RGB)
        images = fn.resize(images, size=(IMAGE_SIZE, IMAGE_SIZE))
        return fn.flip(images, horizontal=fn.random.coin_flip())

    pipe = pipeline_def(batch_size=BATCH_SIZE, num_threads=os.cpu_count() or 1, device_id=None)(crops)()
    pipe.build()
    return lambda num_images: (pipe.run() for _ in range(-(-num_images // BATCH_SIZE)))
