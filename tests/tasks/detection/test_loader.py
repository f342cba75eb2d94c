"""Batches of boxes: padded, keyed, and the same with any number of workers."""

import numpy as np
import pytest
import torch
from tests.loaders import sampler_of

from eightgig.data.store.content import StoreContent
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.detection.loader import create_detection_loader
from eightgig.tasks.detection.parameters import BoxAugmentParameters, DetectionDataParameters

VARIED = BoxAugmentParameters(mosaic=0.5, degrees=5)


@pytest.fixture
def store(yolo, ingest, tmp_path):
    nine = "".join(f"0 0.{k} 0.5 0.15 0.3\n" for k in range(1, 10))
    root = yolo({"a": nine, "b": "", "c": "1 0.5 0.5 1 1\n", "d": "1 0.5 0.5 0.5 0.5\n"})
    manifest, boxes, _, folder = ingest(root)
    boxed = {"boxes": boxes}
    StoreContent(manifest, folder.root, folder.classes, DetectionDataParameters(), boxed).write(tmp_path / "store.h5")
    return ImageStore(tmp_path / "store.h5")


def epoch(store, number=1, **options):
    loader = create_detection_loader(store, range(4), **({"image_size": 64, "batch_size": 3, "seed": 7} | options))
    sampler_of(loader).set_epoch(number)
    return list(loader)


def test_evaluation_batches_show_whole_images_in_order(store):
    first, last = epoch(store)
    assert first["indices"].tolist() == [0, 1, 2]
    assert (first["images"].shape, first["images"].dtype) == ((3, 3, 64, 64), torch.uint8)
    assert first["images"].is_contiguous(memory_format=torch.channels_last)
    assert first["boxes"].shape == (3, 16, 4)  # nine boxes, rounded up
    assert (first["box_labels"] >= 0).sum(1).tolist() == [9, 0, 1]
    assert last["boxes"].shape == (1, 8, 4)
    scale, offset = first["scale"][2].item(), first["offset"][2].tolist()
    assert (scale, offset, first["sizes"][2].tolist()) == (pytest.approx(0.8), [0, 8], [60, 80])
    assert first["boxes"][2, 0].tolist() == pytest.approx([0, 8, 64, 56])
    assert (first["boxes"][first["box_labels"] < 0] == 0).all()


def test_training_batches_vary_by_epoch_and_by_nothing_else(store):
    first, again, second = (epoch(store, n, augment=VARIED) for n in (1, 1, 2))
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert "scale" not in one
        boxes = one["boxes"][one["box_labels"] >= 0]
        assert boxes.min() >= 0
        assert boxes.max() <= 64
    assert not torch.equal(first[0]["images"], second[0]["images"])
    other_seed = epoch(store, augment=VARIED, seed=8)
    assert not torch.equal(first[0]["images"], other_seed[0]["images"])


def test_workers_change_nothing(store):
    for one, other in zip(epoch(store, augment=VARIED), epoch(store, augment=VARIED, num_workers=2), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_mosaics_close_for_the_last_epochs(store):
    augment = BoxAugmentParameters(
        mosaic=1.0, close_mosaic=2, scale=0, translate=0, flip=0, hue=0, saturation=0, value=0
    )
    (open_batch,) = epoch(store, 8, augment=augment, num_epochs=10, batch_size=4)
    (closed,) = epoch(store, 9, augment=augment, num_epochs=10, batch_size=4)
    boxes_of_c = [closed["boxes"][i][closed["box_labels"][i] >= 0] for i in range(4) if closed["indices"][i] == 2]
    assert boxes_of_c[0].numpy() == pytest.approx(np.array([[0, 8, 64, 56]]), abs=0.01)
    assert (closed["box_labels"] >= 0).sum().item() == 11  # those of the four images, no more
    assert open_batch["boxes"].shape[0] == 4
