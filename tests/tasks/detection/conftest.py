"""Small annotated folders in three formats, from one description."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import build_detection_manifest
from eightgig.tasks.detection.parameters import DetectionDataParameters

CLASSES = ("cup", "pen")
WIDTH, HEIGHT = 80, 60


def jpeg(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def ingest():
    """Return (manifest, boxes, rejects, folder) of a folder."""

    def make(root: Path, source: str = "auto", **parameters):
        folder = scan_detection_folder(root, source, parameters.get("annotations"), parameters.get("label_lines"))
        tables = build_detection_manifest(folder, DetectionDataParameters(root=str(root), **parameters))
        return (*tables, folder)

    return make


@pytest.fixture
def yolo(tmp_path):
    """Write a YOLO folder; labels are the lines of each image, None for an image without a label file."""

    def make(labels: dict[str, str | None], *, names: Iterable[str] = CLASSES, root: Path = tmp_path / "yolo") -> Path:
        for number, (stem, lines) in enumerate(labels.items()):
            split, _, name = stem.rpartition("/")
            image = root / "images" / split / f"{name}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(jpeg(number))
            if lines is not None:
                label = root / "labels" / split / f"{name}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(lines, encoding="utf-8")
        splits = sorted({stem.rpartition("/")[0] for stem in labels} - {""})
        places = {split: f"images/{split}" for split in splits} or {"train": "images"}
        (root / "data.yaml").write_text(json.dumps({**places, "names": list(names)}), encoding="utf-8")
        return root

    return make


@pytest.fixture
def voc(tmp_path):
    """Write a VOC folder; objects are (name, xmin, ymin, xmax, ymax) of each image."""

    def make(images: dict[str, list[tuple]], *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
        root = tmp_path / "voc"
        for folder in ("images", "annotations"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number, (stem, objects) in enumerate(images.items()):
            (root / "images" / f"{stem}.jpg").write_bytes(jpeg(number))
            lines = ["<annotation>", f"<filename>{stem}.jpg</filename>"]
            lines.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
            for name, *corners in objects:
                box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
                lines += ["<object>", f"<name>{name}</name>", f"<bndbox>{box}</bndbox>", "</object>"]
            (root / "annotations" / f"{stem}.xml").write_text("\n".join([*lines, "</annotation>"]), encoding="utf-8")
        return root

    return make


@pytest.fixture
def coco(tmp_path):
    """Write a COCO folder; annotations are (image's number, category, x, y, width, height, more)."""

    def make(num_images: int, annotations: list[dict], *, categories: dict[int, str]) -> Path:
        root = tmp_path / "coco"
        (root / "images").mkdir(parents=True)
        images = []
        for number in range(num_images):
            (root / "images" / f"{number}.jpg").write_bytes(jpeg(number))
            images.append({"id": 100 + number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        content = {
            "images": images,
            "categories": [{"id": key, "name": name} for key, name in categories.items()],
            "annotations": [{"id": 1000 + n, "iscrowd": 0, **each} for n, each in enumerate(annotations)],
        }
        (root / "instances_all.json").write_text(json.dumps(content), encoding="utf-8")
        return root

    return make
