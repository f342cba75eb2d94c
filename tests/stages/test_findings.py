"""What is not as the files log_plan is told in the log: a line a kind, with what was done and the first of them."""

import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.sources import RawImages
from eightgig.stages.ingest import inspect, log_findings
from eightgig.tasks.classification.ingest import ClassifiedImages


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_each_kind_is_one_line(told):
    rows = [("a.jpg", "no_label", "there is none", "kept", ""), ("", "keypoints", "2 lines", "kept", "data.yaml")]
    rows.append(("b.jpg", "no_label", "there is none", "kept", ""))
    log_findings(pd.DataFrame(rows, columns=["path", "reason", "detail", "action", "file"]))
    assert told() == [
        "2 x no_label (kept), first: a.jpg: there is none",
        "1 x keypoints (kept), first: data.yaml: 2 lines",
        "all 3 rows are in rejects.csv",
    ]


def test_nothing_wrong_is_no_line(told):
    log_findings(pd.DataFrame(columns=["path", "reason", "detail"]))
    assert told() == []


def test_how_class_folders_were_read_is_told(tmp_path, told):
    root = tmp_path / "photos"
    for seed, name in enumerate(["train/0", "train/1", "train/2", "bus/0", "bus/1", "bus/2"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((50, 40)).save(root / f"{name}.png")
    (root / "bus" / "broken.jpg").write_bytes(b"x")
    raw = RawImages(source="folder", root=str(root), origin="")
    inspect(ClassifiedImages(), raw, DataParameters(root=str(root)), tmp_path / "journal")
    notes, (first, *_) = told()[:1], told()[1:]
    assert notes == ["the folder 'train' is read as a class, though splits are called so too"]
    assert first.startswith("1 x not_an_image (refused), first: bus/broken.jpg:")
