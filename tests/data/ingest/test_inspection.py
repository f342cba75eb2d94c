"""Whatever the kind of data, a kill in the middle of the inspection costs nothing twice."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest import manifest as class_manifest
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import build_detection_manifest
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.segmentation import manifest as mask_manifest
from eightgig.tasks.segmentation.layouts import scan_mask_folder
from eightgig.tasks.segmentation.manifest import build_mask_manifest
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tasks.text import manifest as text_manifest
from eightgig.tasks.text import rows as text_rows
from eightgig.tasks.text.manifest import build_corpus_manifest
from eightgig.tasks.text.parameters import CorpusDataParameters, TextDataParameters
from eightgig.tasks.text.sources import open_corpus, open_texts

NUM_FILES, NUM_ROWS = 100, 5000
IN_WORK = 32  # files that are read at a time


class KilledError(Exception):
    """As a kill, between two entries."""


@dataclass
class Kind:
    """A set on disk, how it is inspected, and what must be read again when one of its files changes."""

    inspect: Callable[..., tuple[pd.DataFrame, ...]]
    num_entries: int
    in_work: int
    changing: Path
    num_changed: int


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)


def classes(root: Path) -> Kind:
    for number in range(NUM_FILES):
        image(root / "ab"[number % 2] / f"{number}.png", number)
    (root / "a" / "0.png").write_bytes(b"no image")
    parameters = DataParameters(root=str(root))
    return Kind(
        lambda **options: build_manifest(scan_class_folders(root), parameters, **options),
        NUM_FILES, IN_WORK, root / "a" / "2.png", 1,
    )  # fmt: skip


def boxes(root: Path) -> Kind:
    for number in range(NUM_FILES):
        image(root / "images" / f"{number}.png", number)
        label = root / "labels" / f"{number}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text("0 0.5 0.5 0.4 0.4\n" if number else "0 0.5 0.5 0.01 0.01\n")
    (root / "data.yaml").write_text("train: images\nnames: [cup]\n")
    parameters = DetectionDataParameters(root=str(root))
    return Kind(
        lambda **options: build_detection_manifest(scan_detection_folder(root), parameters, **options),
        NUM_FILES, IN_WORK, root / "images" / "2.png", 1,
    )  # fmt: skip


def masks(root: Path) -> Kind:
    for number in range(NUM_FILES):
        image(root / "images" / f"{number}.png", number)
        mask = np.random.default_rng(number).integers(0, 2 + (number == 0), (20, 24), dtype=np.uint8)
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{number}.png")
    (root / "classes.csv").write_text("name,label\nroad,0\nsky,1\n")
    parameters = SegmentationDataParameters(root=str(root))
    return Kind(
        lambda **options: build_mask_manifest(scan_mask_folder(root), parameters, **options),
        NUM_FILES, IN_WORK, root / "masks" / "2.png", 1,
    )  # fmt: skip


def text_files(root: Path) -> Kind:
    for number in range(NUM_FILES):
        path = root / "ab"[number % 2] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text {number // 2 * 2 if number < 10 else number}")
    data = TextDataParameters(source="folders", root=str(root))
    return Kind(
        lambda **options: text_manifest.build_manifest(open_texts(data), data, **options),
        NUM_FILES, 1, root / "a" / "2.txt", 1,
    )  # fmt: skip


def documents(root: Path) -> Kind:
    kind = text_files(root)
    data = CorpusDataParameters(source="files", root=str(root))
    kind.inspect = lambda **options: build_corpus_manifest(open_corpus(data), data, **options)
    return kind


def table(root: Path) -> Kind:
    root.mkdir()
    rows = [(f"text {number}" if number % 7 else "", "ab"[number % 2]) for number in range(NUM_ROWS)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(root / "t.csv", index=False)
    data = TextDataParameters(source="table", root=str(root / "t.csv"))
    return Kind(
        lambda **options: text_manifest.build_manifest(open_texts(data), data, **options),
        NUM_ROWS, 1024, root / "t.csv", NUM_ROWS,
    )  # fmt: skip


KINDS = [classes, boxes, masks, text_files, documents, table]


@pytest.fixture
def reads(monkeypatch):
    """Return what is read: images and masks by their files, texts by their files and rows, and tables as `rows`."""
    names: list[Any] = []

    def count(module: Any, function: str, name: Callable[..., Any]) -> None:
        original = getattr(module, function)

        def counting(*arguments: Any, **options: Any) -> Any:
            names.append(name(*arguments))
            return original(*arguments, **options)

        monkeypatch.setattr(module, function, counting)

    count(class_manifest, "inspect_image", lambda path: path)
    count(mask_manifest, "inspect_mask", lambda path, _: path)
    count(text_manifest, "_read", lambda row, _: (row.path, row.row))
    count(text_rows, "table_rows", lambda *_: "rows")
    return names


def opened(reads: list[Any]) -> int:
    """Return how many entries were read; of an image with a mask, both are."""
    return len({name for name in reads if name != "rows" and "masks" not in getattr(name, "parts", ())})


@pytest.mark.parametrize("make", KINDS)
def test_a_kill_costs_nothing_twice(make, tmp_path, reads):
    kind, journal = make(tmp_path / "set"), tmp_path / "journal" / "inspected.jsonl"
    undisturbed = kind.inspect()
    assert opened(reads) == kind.num_entries
    kill_at = kind.num_entries * 7 // 10

    def kill(done: int, _: int | None) -> None:
        if done == kill_at:
            raise KilledError

    reads.clear()
    with pytest.raises(KilledError):
        kind.inspect(journal=journal, report=kill)
    first = opened(reads)
    reads.clear()
    second = kind.inspect(journal=journal)
    assert opened(reads) <= kind.num_entries - kill_at
    assert first + opened(reads) <= kind.num_entries + kind.in_work
    reads.clear()
    third = kind.inspect(journal=journal)
    assert reads == []
    for tables in (second, third):
        for one, other in zip(undisturbed, tables, strict=True):
            pd.testing.assert_frame_equal(one, other)
    assert len(undisturbed[-1]) > 0  # what was refused comes back too


@pytest.mark.parametrize("make", KINDS)
def test_what_changed_is_read_again_and_nothing_else(make, tmp_path, reads):
    kind, journal = make(tmp_path / "set"), tmp_path / "inspected.jsonl"
    kind.inspect(journal=journal)
    kind.changing.write_bytes(kind.changing.read_bytes() + b"\n")
    reads.clear()
    again = kind.inspect(journal=journal)
    assert opened(reads) == kind.num_changed
    for one, other in zip(again, kind.inspect(), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_label_that_changed_is_judged_anew_without_its_image(tmp_path, reads):
    kind, journal = boxes(tmp_path / "set"), tmp_path / "inspected.jsonl"
    before = kind.inspect(journal=journal)[1]
    (tmp_path / "set" / "labels" / "2.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    reads.clear()
    after = kind.inspect(journal=journal)[1]
    assert reads == []
    changed = before["path"][(before[["x1", "y1", "x2", "y2"]] != after[["x1", "y1", "x2", "y2"]]).any(axis=1)]
    assert changed.tolist() == ["images/2.png"]


def test_another_table_of_classes_reads_all_masks_again(tmp_path, reads):
    kind, journal = masks(tmp_path / "set"), tmp_path / "inspected.jsonl"
    assert len(kind.inspect(journal=journal)[0]) == NUM_FILES - 1
    (tmp_path / "set" / "classes.csv").write_text("name,label\nroad,0\nsky,1\ncar,2\n")
    reads.clear()
    assert len(kind.inspect(journal=journal)[0]) == NUM_FILES
    assert opened(reads) == NUM_FILES


def test_blocks_behind_one_that_is_read_again_are_still_their_own_rows(tmp_path):
    """Were a later block taken from the journal, the table would stand where the earlier one ended."""
    kind, journal = table(tmp_path / "set"), tmp_path / "journal.jsonl"
    whole = kind.inspect(journal=journal)
    lines = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    for number in (2, 4):  # behind the header: the second block and the fourth; the third is known
        lines[number][-1] = "damaged, yet still a line"
    journal.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
    for expected, found in zip(whole, kind.inspect(journal=journal), strict=True):
        pd.testing.assert_frame_equal(expected, found)
