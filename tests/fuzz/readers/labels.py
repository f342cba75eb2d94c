"""Folders of images with boxes in three formats."""

import json
from pathlib import Path

from tests.fuzz.edits import either, json_edits, text_edits
from tests.fuzz.harness import Reader
from tests.fuzz.readers.images import encoded, pixels, put

_BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
_SIZE = "<size><width>32</width><height>24</height><depth>3</depth></size>"


def _image(folder: Path, name: str = "images/a.jpg", seed: int = 0) -> None:
    put(folder / name, encoded(pixels(seed), "JPEG"))


def _write_yolo(folder: Path) -> None:
    line = "0 0.5 0.5 0.25 0.5\n1 0.7 0.8 0.9 0.8 0.9 0.9\n1 0.6 0.8 0.9 0.7 0.9 0.9\n"  # polygons: no boxes
    for seed in ("0", "1", "2"):
        _image(folder / seed)
        put(folder / seed / "labels/a.txt", line)
    put(folder / "0/data.yaml", "path: .\ntrain: images\nval:\n  - images\nnc: 2\nnames:\n  0: cup\n  1: pen\n")
    put(folder / "1/data.yaml", "train: list.txt\nnames: [cup, pen]\n")
    put(folder / "1/list.txt", "./images/a.jpg\nimages/a.jpg\n")
    put(folder / "2/classes.txt", "cup\npen\n")
    _write_yolo_in_other_dress(folder)


def _write_yolo_in_other_dress(folder: Path) -> None:
    """Keypoints, oriented boxes, other cases and forms of names, and foreign files beside the labels."""
    box = "0 0.5 0.5 0.25 0.5"
    for seed in ("3", "4", "5"):
        _image(folder / seed, "Images/B\u00fccher.JPG")
    put(folder / "3/Labels/Bu\u0308cher.TXT", f"{box} 0.4 0.4 2 0.6 0.6 1\n")
    put(folder / "3/data.yaml", "train: Images\nvalidation: none\nkpt_shape: [2, 3]\nnames: [cup, pen]\n")
    put(folder / "4/Labels/B\u00fccher.JPG.txt", "1 0.7 0.8 0.9 0.8 0.9 0.9 0.7 0.9\n")
    put(folder / "4/data.yaml", "train: Images\ntask: obb\nnames: {0: cup, 1: 'null'}\n")
    put(folder / "5/labels/B\u00fccher.txt", box)
    put(folder / "5/Classes.txt", "cup\npen\n")
    put(folder / "5/notes.json", '{"categories": []}')


def _write_voc(folder: Path) -> None:
    one = f"<object><name>cup</name><difficult>0</difficult>{_BOX}</object>"
    text = f"<annotation>\n<filename>a.jpg</filename>\n{_SIZE}\n{one}\n{one.replace('cup', 'pen')}\n</annotation>"
    for seed in ("0", "1"):
        _image(folder / seed, "JPEGImages/a.jpg")
        put(folder / seed / "Annotations/a.xml", text)
    put(folder / "1/ImageSets/Main/train.txt", "a\n")
    put(folder / "1/ImageSets/Main/val.txt", "b 1\na -1\n")


def _write_coco(folder: Path) -> None:
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 13.5, 14], "iscrowd": 0, "area": 182.0}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 32, "height": 24}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 7, "name": "pen"}],
        "annotations": [
            box,
            {**box, "id": 2, "category_id": 7},
            {**box, "id": 3, "image_id": 2},
            {**box, "id": 4, "image_id": 2, "iscrowd": 1},
        ],
    }
    for seed, name in (("0", "a.json"), ("1", "annotations/instances_train.json")):
        _image(folder / seed)
        _image(folder / seed, "images/b.jpg", 1)
        put(folder / seed / name, json.dumps(content))


def _write_coco_in_other_dress(folder: Path) -> None:
    """Ids as text, paths as tools write them, boxes from polygons and run lengths."""
    one = {"id": "1", "image_id": "1", "category_id": 1.0, "segmentation": [[1, 2, 13, 2, 13, 14]]}
    counts = [24 * 5 + 3, 10, 24 * 27 - 13]
    content = {
        "images": [
            {"id": 1, "file_name": "C:\\x\\images\\seq1\\a.JPG", "width": "32", "height": 24.0},
            {"id": "2", "file_name": "http://host/images/seq2/a.jpg?x=1"},
        ],
        "categories": [{"id": "1", "name": "cup"}, {"id": 7, "name": "pen"}],
        "annotations": [
            one,
            {**one, "id": 2, "image_id": 2, "segmentation": {"size": [24, 32], "counts": counts}},
            {**one, "id": 3, "image_id": 2.0, "segmentation": {"size": [24, 32], "counts": "k3:>00000Ua0"}},
        ],
    }
    for seed, name in (("0", "annotations/instances_val.json"), ("1", "valid/other.json")):
        _image(folder / seed, "images/seq1/a.jpg")
        _image(folder / seed, "images/seq2/a.jpg", 1)
        put(folder / seed / name, json.dumps(content))


def _write_voc_in_other_dress(folder: Path) -> None:
    """Folders of sequences, tags and names in another case, a file name that is another image's."""
    one = f"<Object><Name>cup</Name>{_BOX}</Object>"
    for seq in ("1", "2"):
        _image(folder / "0", f"JPEGImages/seq{seq}/a b.JPG", int(seq))
        text = f"<Annotation><filename>seq{seq}/a b.jpg</filename>{_SIZE}{one}</Annotation>"
        put(folder / f"0/annotations/seq{seq}/a b.XML", text)
    put(folder / "0/imagesets/main/Train.TXT", "seq1/a b\n./seq2/a b.jpg\n")
    put(folder / "0/other.xml", "<annotations/>")


def _read_boxes(folder: Path) -> None:
    from eightgig.tasks.detection.layouts import find_format, scan_detection_folder
    from eightgig.tasks.detection.manifest import build_detection_manifest, require_usable_detection
    from eightgig.tasks.detection.parameters import DetectionDataParameters

    parameters = DetectionDataParameters(root=str(folder))
    find_format(folder)
    scanned = scan_detection_folder(folder)
    manifest, boxes, rejects = build_detection_manifest(scanned, parameters)
    rejects.to_csv(folder / "rejects.csv")
    boxes.to_csv(folder / "boxes.csv")
    require_usable_detection(folder, manifest, boxes, rejects, parameters, scanned.classes)


READERS = [
    Reader("labels.yolo", _write_yolo, _read_boxes, {"*.[tT][xX][tT]": text_edits, "*.yaml": text_edits}),
    Reader("labels.voc", _write_voc, _read_boxes, {"*.txt": text_edits, "*.xml": text_edits}),
    Reader("labels.voc_names", _write_voc_in_other_dress, _read_boxes, {"*.TXT": text_edits, "*.XML": text_edits}),
    Reader(
        "labels.coco_ids",
        _write_coco_in_other_dress,
        _read_boxes,
        {"*.json": either(json_edits, json_edits, text_edits)},
    ),
    Reader("labels.coco", _write_coco, _read_boxes, {"*.json": either(json_edits, json_edits, text_edits)}),
]
