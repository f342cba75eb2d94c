"""Small folders of images with masks."""

import cv2
import numpy as np
import pytest

from eightgig.tasks.segmentation.layouts import scan_mask_folder
from eightgig.tasks.segmentation.manifest import build_mask_manifest
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters

TABLE = "name,label,r,g,b\nroad,0,128,64,128\nsky,1,70,130,180\ncar,2,0,0,142\nvoid,9,0,0,0\n"


def photo(seed, height=30, width=40):
    coarse = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def mask(seed, height=30, width=40, labels=(0, 1, 2, 9)):
    coarse = np.random.default_rng(seed + 1000).choice(labels, (3, 4)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def write():
    def _write(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)

    return _write


@pytest.fixture
def masked(tmp_path, write):
    """Make images/NAME.jpg and masks/NAME.png below a folder with a table of classes."""

    def _make(*names):
        root = tmp_path / "set"
        for seed, name in enumerate(names):
            write(root / "images" / f"{name}.jpg", photo(seed))
            write(root / "masks" / f"{name}.png", mask(seed))
        (root / "classes.csv").write_text(TABLE)
        return root

    return _make


@pytest.fixture
def ingest():
    def _ingest(root, source="auto", class_table=None, **options):
        parameters = SegmentationDataParameters(root=str(root), class_table=class_table, **options)
        folder = scan_mask_folder(root, source, class_table)
        return (*build_mask_manifest(folder, parameters), folder)

    return _ingest
