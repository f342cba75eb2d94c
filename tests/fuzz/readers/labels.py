"""Folders of pictures with boxes in three formats."""

import json
from pathlib import Path

from edits import either, json_edits, text_edits
from harness import Reader

from readers.pictures import encoded, pixels, put

_BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
_SIZE = "<size><width>32</width><height>24</height><depth>3</depth></size>"


def _picture(folder: Path, name: str = "images/a.jpg", seed: int = 0) -> None:
    put(folder / name, encoded(pixels(seed), "JPEG"))


def _write_yolo(folder: Path) -> None:
    line = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.2 0.2 0.3 0.3\n"
    for seed in ("0", "1", "2"):
        _picture(folder / seed)
        put(folder / seed / "labels/a.txt", line)
    put(folder / "0/data.yaml", "path: .\ntrain: images\nval:\n  - images\nnc: 2\nnames:\n  0: cup\n  1: pen\n")
    put(folder / "1/data.yaml", "train: list.txt\nnames: [cup, pen]\n")
    put(folder / "1/list.txt", "./images/a.jpg\nimages/a.jpg\n")
    put(folder / "2/classes.txt", "cup\npen\n")


def _write_voc(folder: Path) -> None:
    one = f"<object><name>cup</name><difficult>0</difficult>{_BOX}</object>"
    text = f"<annotation>\n<filename>a.jpg</filename>\n{_SIZE}\n{one}\n{one.replace('cup', 'pen')}\n</annotation>"
    for seed in ("0", "1"):
        _picture(folder / seed, "JPEGImages/a.jpg")
        put(folder / seed / "Annotations/a.xml", text)
    put(folder / "1/ImageSets/Main/train.txt", "a\n")
    put(folder / "1/ImageSets/Main/val.txt", "b 1\na -1\n")


def _write_coco(folder: Path) -> None:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 13.5, 14], "iscrowd": 0, "area": 182.0}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 32, "height": 24}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 7, "name": "pen"}],
        "annotations": [box, {**box, "id": 2, "category_id": 7}, {**box, "id": 3, "image_id": 2, "iscrowd": 1}],
    }
    for seed, name in (("0", "a.json"), ("1", "annotations/instances_train.json")):
        _picture(folder / seed)
        _picture(folder / seed, "images/b.jpg", 1)
        put(folder / seed / name, json.dumps(content))


def _read_boxes(folder: Path) -> None:
    from eightgig.data.detection.layouts import find_format, scan_detection_folder
    from eightgig.data.detection.manifest import build_detection_manifest, require_usable_detection
    from eightgig.data.detection.parameters import DetectionDataParameters

    parameters = DetectionDataParameters(root=str(folder))
    find_format(folder)
    scanned = scan_detection_folder(folder)
    manifest, boxes, rejects = build_detection_manifest(scanned, parameters)
    rejects.to_csv(folder / "rejects.csv")
    boxes.to_csv(folder / "boxes.csv")
    require_usable_detection(folder, manifest, boxes, rejects, parameters, scanned.classes)


READERS = [
    Reader("labels.yolo", _write_yolo, _read_boxes, {"*.txt": text_edits, "*.yaml": text_edits}),
    Reader("labels.voc", _write_voc, _read_boxes, {"*.txt": text_edits, "*.xml": text_edits}),
    Reader("labels.coco", _write_coco, _read_boxes, {"*.json": either(json_edits, json_edits, text_edits)}),
]
