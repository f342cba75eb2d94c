"""Drawn scenes and the user's folders, and the parameters that choose between them."""

import pytest
from pydantic import ValidationError

from eightgig.core.errors import StoreError
from eightgig.data.samples.scenes import render_scenes
from eightgig.data.store.reader import write_store
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.detection.sources import open_detection_source


def test_drawn_scenes_come_back_with_their_boxes(tmp_path, ingest):
    raw = open_detection_source(DetectionDataParameters(num_images=4, seed=3)).materialise(tmp_path)
    assert (raw.source, raw.origin) == ("yolo", "4 scenes drawn by code, seed 3")
    manifest, boxes, rejects, _ = ingest(tmp_path / "rendered")
    drawn = [box for _, _, scene in render_scenes(4, seed=3) for box in scene]
    assert len(manifest) == 4
    assert rejects.empty
    found = boxes[["label", "x1", "y1", "x2", "y2"]].to_numpy().tolist()
    assert found == [pytest.approx(box, abs=1e-3) for box in drawn]


def test_a_users_folder_stays_where_it_is(voc, tmp_path):
    root = voc({"a": [("cup", 1, 1, 20, 20)]})
    before = sorted(root.rglob("*"))
    raw = open_detection_source(DetectionDataParameters(root=str(root))).materialise(tmp_path / "out")
    assert (raw.source, raw.root) == ("voc", str(root.resolve()))
    assert sorted(root.rglob("*")) == before
    assert not (tmp_path / "out").exists()


def test_a_root_means_a_folder_whose_format_is_found_out():
    assert DetectionDataParameters(root="/photos").source == "auto"
    assert DetectionDataParameters(root="/photos", source="coco").source == "coco"
    assert DetectionDataParameters().source == "rendered"
    with pytest.raises(ValidationError, match=r"source 'voc' needs a root\. Set data\.root"):
        DetectionDataParameters(source="voc")
    with pytest.raises(ValidationError, match=r"annotations need a root"):
        DetectionDataParameters(annotations="a.json")
    with pytest.raises(ValidationError, match=r"Keep their sum below 0\.9"):
        DetectionDataParameters(val_fraction=0.5, test_fraction=0.45)


def test_boxes_are_not_stored_as_pixels(yolo, ingest, tmp_path):
    root = yolo({"a": "0 0.5 0.5 0.25 0.5\n"})
    manifest, boxes, _, folder = ingest(root)
    with pytest.raises(StoreError, match=r"holds no boxes\. Use tier 'jpeg'"):
        write_store(tmp_path / "s.h5", manifest, root, folder.classes, boxes=boxes, tier="decoded")
