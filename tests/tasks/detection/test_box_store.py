"""Boxes in the HDF5 store: they come back as they went in, and a damaged store is refused."""

import pickle

import h5py
import numpy as np
import pytest

from eightgig.core.errors import StoreError
from eightgig.data.ingest.splits import make_detection_splits
from eightgig.data.store.content import StoreContent
from eightgig.data.store.reader import ImageStore
from eightgig.tasks.detection.parameters import DetectionDataParameters

LINES = "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.5 0.5\n"


@pytest.fixture
def make_store(yolo, ingest, tmp_path):
    def make(**parameters) -> ImageStore:
        root = yolo({"a": LINES, "b": "", "c": "1 0.5 0.5 1 1\n"})
        manifest, boxes, _, folder = ingest(root)
        data = DetectionDataParameters(root=str(root), **parameters)
        StoreContent(manifest, folder.root, folder.classes, data, {"boxes": boxes}).write(tmp_path / "store.h5")
        return ImageStore(tmp_path / "store.h5")

    return make


def test_boxes_come_back(make_store):
    store = pickle.loads(pickle.dumps(make_store()))  # noqa: S301 - our own
    assert (store.kind, store.max_boxes, len(store), store.classes) == ("boxes", 2, 3, ("cup", "pen"))
    assert store.boxes(0).xyxy_M4.tolist() == [[30, 15, 50, 45], [0, 0, 40, 30]]
    assert store.boxes(0).labels_M.tolist() == [0, 1]
    assert store.boxes(1).xyxy_M4.shape == (0, 4)
    assert store.boxes(2).xyxy_M4.tolist() == [[0, 0, 80, 60]]
    assert store.decode(0).shape == (60, 80, 3)


def test_boxes_shrink_with_their_image(make_store):
    store = make_store(store_short_side=30)
    assert store.decode(0).shape == (30, 40, 3)
    assert store.boxes(0).xyxy_M4.tolist() == [[15, 7.5, 25, 22.5], [0, 0, 20, 15]]


def test_the_boxes_are_part_of_the_content_and_of_its_name(make_store):
    store = make_store()
    before = store.sha256
    with h5py.File(store.path, "r+") as file:
        file["boxes"][0, 0] += 1
    with pytest.raises(StoreError, match="checksum"):
        ImageStore(store.path)
    assert before == make_store().sha256


@pytest.mark.parametrize("fault", ["missing", "link", "label", "offsets", "not finite"])
def test_a_damaged_store_is_refused(make_store, fault):
    store = make_store()
    with h5py.File(store.path, "r+") as file:
        if fault == "missing":
            del file["box_labels"]
        elif fault == "link":
            del file["boxes"]
            file["boxes"] = h5py.ExternalLink("elsewhere.h5", "/boxes")
        elif fault == "label":
            file["box_labels"][0] = 9
        elif fault == "offsets":
            file["box_offsets"][1] = 99
        else:
            file["boxes"][0, 0] = np.nan
    with pytest.raises(StoreError):
        ImageStore(store.path)


def test_missing_splits_are_drawn_and_given_ones_kept(yolo, ingest):
    labels = {f"train/{i}": LINES for i in range(12)} | {"val/v": LINES}
    manifest, boxes, _, _ = ingest(yolo(labels))
    splits = make_detection_splits(manifest, boxes, val_fraction=0.2, test_fraction=0.25, seed=0)
    assert splits.loc[splits["path"].str.contains("val/"), "split"].tolist() == ["val"]
    assert splits["split"].value_counts().to_dict() == {"train": 9, "test": 3, "val": 1}
    again = make_detection_splits(manifest, boxes, val_fraction=0.2, test_fraction=0.25, seed=0)
    assert splits.equals(again)
