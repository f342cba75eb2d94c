"""Whatever a label file holds, only the project's own errors come of it."""

import contextlib
import random

import pytest

from eightgig.core.errors import EightgigError

_MUTATIONS = 60


def mutated(data: bytes, rng: random.Random) -> bytes:
    values = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(values))
        kind = rng.randrange(3)
        if kind == 0:
            values[at] = rng.randrange(256)
        elif kind == 1:
            values[at:at] = rng.choice([b"\x00", b"-1e999", b"\xff\xfe", b"[[[", b"<a>", b"&", b"99999999999999999999"])
        else:
            del values[at : at + rng.randrange(1, 9)]
        if not values:
            return b""
    return bytes(values)


@pytest.mark.parametrize("name", ["yolo", "yaml", "voc", "coco"])
def test_mutated_labels_raise_nothing_of_others(name, yolo, voc, coco, ingest):
    if name in ("yolo", "yaml"):
        root = yolo({"train/a": "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.5 0.5\n", "train/b": "0 0.5 0.5 0.1 0.1\n"})
        file = root / ("data.yaml" if name == "yaml" else "labels/train/a.txt")
    elif name == "voc":
        root = voc({"a": [("cup", 1, 1, 20, 20)], "b": [("pen", 1, 1, 20, 20)]})
        file = root / "annotations" / "a.xml"
    else:
        root = coco(2, [{"image_id": 100, "category_id": 1, "bbox": [1, 2, 3, 4]}], categories={1: "cup"})
        file = root / "instances_all.json"
    whole, rng = file.read_bytes(), random.Random(0)
    for _ in range(_MUTATIONS):
        file.write_bytes(mutated(whole, rng))
        with contextlib.suppress(EightgigError):
            ingest(root, "yolo" if name in ("yolo", "yaml") else name)
