"""JSON of the project's own: records, lists of files, calibrations, configurations; and CUDA memory snapshots."""

import json
import pickle
from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, json_edits
from tests.fuzz.harness import Reader
from tests.fuzz.readers.images import put

_JSON = {"*.json": json_edits}


def _write_records(folder: Path) -> None:
    from eightgig.vram.plan import Finding

    put(folder / "0" / "f.json", Finding(code="VRAM001", message="m").model_dump_json())


def _read_record(folder: Path) -> None:
    _load_record(folder / "f.json", "eightgig.vram.plan.Finding")


def _load_record(path: Path, record: str) -> None:
    from eightgig.datasets.results import RecordDataset

    dataset = RecordDataset(filepath=str(path), record=record)
    dataset.load()
    dataset.preview()


def _write_reports(folder: Path) -> None:
    from eightgig.tiles.records import TilesReport

    report = TilesReport(
        source="a.tif", width=10, height=20, tile=8, overlap=2, batch=1, num_tiles=6, useful_share=0.5, seconds=1.5,
        megapixels_per_second=2.5, seconds_by_stage={"read": 0.5}, predicted_bytes=None, measured_bytes=3, device="cpu",
        device_name="a CPU", found={"road": 0.25},
    )  # fmt: skip
    put(folder / "0" / "f.json", report.model_dump_json())


def _read_report(folder: Path) -> None:
    _load_record(folder / "f.json", "eightgig.tiles.records.TilesReport")


def _write_raw(folder: Path) -> None:
    put(folder / "0" / "raw.json", json.dumps({"source": "folder", "root": "/nowhere", "origin": "somewhere"}))


def _read_raw(folder: Path) -> None:
    from eightgig.datasets.stores import RawImagesDataset

    RawImagesDataset(filepath=str(folder / "raw.json")).load()


def _write_folder(folder: Path) -> None:
    _folder_dataset(folder / "0").save({"a": b"one", "b-2": b"two"})


def _folder_dataset(folder: Path) -> Any:
    from eightgig.datasets.folder import FolderDataset

    return FolderDataset(filepath=str(folder), dataset="eightgig.datasets.files.OnnxDataset", suffix=".onnx")


def _read_folder(folder: Path) -> None:
    dataset = _folder_dataset(folder)
    dataset.exists()
    dataset.load()


def _write_calibration(folder: Path) -> None:
    from eightgig.vram.tracing.workspace import load_calibration

    put(folder / "0" / "c.json", load_calibration().model_dump_json())


def _read_calibration(folder: Path) -> None:
    from eightgig.vram.tracing.workspace import load_calibration

    load_calibration(folder / "c.json")


def _write_config(folder: Path) -> None:
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 20}
    put(folder / "0" / "config.json", json.dumps({"model_type": "gpt2", **sizes}))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    sizes |= {"max_position_embeddings": 16, "vocab_size": 20}
    put(folder / "1" / "config.json", json.dumps({"model_type": "bert", **sizes}))


def _read_config(folder: Path) -> None:
    """Read the configuration alone: how large a network by it may be, the memory planner says before it is built."""
    from eightgig.models.parameters import TextModelParameters
    from eightgig.tasks.text.model import _config

    _config(TextModelParameters(name=str(folder), weights="none", max_tokens=8), {})


def _write_snapshot(folder: Path) -> None:
    block = {"address": 100, "size": 512, "requested_size": 500, "state": "active_allocated", "frames": []}
    segment = {
        "device": 0, "address": 100, "total_size": 512, "stream": 0, "segment_type": "small", "blocks": [block],
        "segment_pool_id": (0, 0), "is_expandable": False,
    }  # fmt: skip
    entries = [
        {"action": action, "addr": 100, "size": 512, "stream": 0, "pool_id": (0, 0)}
        for action in ("segment_alloc", "alloc", "free_requested", "free_completed")
    ]
    content = {"segments": [segment], "device_traces": [entries], "allocator_settings": {"max_split_size": -1}}
    for seed, protocol in (("0", 2), ("1", 5)):
        put(folder / seed / "snapshot.pickle", pickle.dumps(content, protocol))


def _read_snapshot(folder: Path) -> None:
    from eightgig.vram.allocator.snapshot_file import read_snapshot

    read_snapshot(folder / "snapshot.pickle")


READERS = [
    Reader("records.small", _write_records, _read_record, _JSON),
    Reader("records.nested", _write_reports, _read_report, _JSON),
    Reader("records.raw", _write_raw, _read_raw, _JSON),
    Reader("records.folder", _write_folder, _read_folder, _JSON),
    Reader("records.calibration", _write_calibration, _read_calibration, _JSON),
    Reader("records.config", _write_config, _read_config, {"*.json": either(json_edits, json_edits, byte_edits)}),
    Reader("records.snapshot", _write_snapshot, _read_snapshot),
]
