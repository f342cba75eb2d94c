"""Weights: state dicts, the project's own with their card, official YOLOv5 checkpoints, training checkpoints."""

import hashlib
import json
import sys
import types
from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, json_edits
from tests.fuzz.harness import Files, Reader
from tests.fuzz.parts import part_edits
from tests.fuzz.readers.images import put

_ZIP = either(byte_edits, part_edits("zip"), part_edits("zip"), part_edits("zip"))
_SAFETENSORS = either(byte_edits, part_edits("safetensors"), part_edits("safetensors"))


def _write_state_dicts(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from torch import nn

    torch.manual_seed(0)
    state = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2)).half().state_dict()
    for seed in "0123":
        (folder / seed).mkdir(parents=True)
    save_file(state, folder / "0" / "w.safetensors")
    torch.save(state, folder / "1" / "w.pt")
    torch.save({"state_dict": state, "epoch": 3}, folder / "2" / "w.pth")
    torch.save(state, folder / "3" / "w.pt", _use_new_zipfile_serialization=False)


def _read_state_dict(folder: Path) -> None:
    from eightgig.models.weights import read_state_dict

    (path,) = folder.iterdir()
    for tensor in read_state_dict(path).values():
        tensor.sum()


def _write_weights(folder: Path) -> None:
    import torch

    from eightgig.datasets.weights import Weights, WeightsDataset
    from eightgig.models.cards import ImageCard, TextCard

    common = {
        "classes": ("a", "b"),
        "started_from": "nothing",
        "best_epoch": 1,
        "val_score": 0.5,
        "num_parameters": 4,
        "eightgig_version": "0",
        "torch_version": "2",
        "trained_on": "test",
    }
    of_images = ImageCard(model="timm/x", image_size=8, mean=(0, 0, 0), std=(1, 1, 1), **common)
    of_texts = TextCard(model="bert", max_tokens=8, config="{}", tokenizer_sha256="0" * 64, **common)
    state = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.arange(3), "c": torch.zeros(2).half()}
    for seed, card in (("0", of_images), ("1", of_texts)):
        WeightsDataset(filepath=str(folder / seed / "w.safetensors")).save(Weights(state, card))


def _read_weights(folder: Path) -> None:
    from eightgig.datasets.weights import WeightsDataset

    weights = WeightsDataset(filepath=str(folder / "w.safetensors")).load()
    for tensor in weights.state.values():
        tensor.sum()
    assert weights.card.size


def _seal_card(files: Files) -> None:
    card = json.loads(files["w.card.json"])
    card["sha256"] = hashlib.sha256(files["w.safetensors"]).hexdigest()
    files["w.card.json"] = json.dumps(card).encode()


def _official_network() -> Any:
    """Build something that pickles as YOLOv5's network does: a whole object of classes that are not here."""
    import torch
    from torch import nn

    for name in ("models", "models.yolo"):
        sys.modules[name] = types.ModuleType(name)

    class DetectionModel(nn.Module):
        """Under its official name while it is written."""

    DetectionModel.__module__, DetectionModel.__qualname__ = "models.yolo", "DetectionModel"
    sys.modules["models.yolo"].DetectionModel = DetectionModel  # type: ignore[attr-defined]
    convolution = nn.Sequential()
    convolution.add_module("conv", nn.Conv2d(3, 2, 1, bias=False))
    convolution.add_module("bn", nn.BatchNorm2d(2))
    head = nn.Module()
    head.register_buffer("anchors", torch.ones(3, 3, 2))
    head.m = nn.ModuleList([nn.Conv2d(2, 2, 1)])
    network: Any = DetectionModel()
    network.model = nn.ModuleDict({"0": convolution, "24": head})
    network.names, network.stride = {0: "duck", 1: "frog"}, torch.tensor([8.0, 16, 32])
    return network.half()


def _write_yolov5(folder: Path) -> None:
    import torch

    for seed in "01":
        (folder / seed).mkdir(parents=True)
    try:
        network = _official_network()
        torch.save({"epoch": -1, "model": network, "ema": None, "date": "today"}, folder / "0" / "yolov5s.pt")
        torch.save({"epoch": 3, "model": None, "ema": network, "updates": 7}, folder / "1" / "yolov5s.pt")
    finally:
        for name in ("models", "models.yolo"):
            sys.modules.pop(name, None)


def _read_yolov5(folder: Path) -> None:
    from eightgig.tasks.detection.yolov5_checkpoint import is_pickled_network, read_yolov5_checkpoint

    is_pickled_network(folder / "yolov5s.pt")
    for tensor in read_yolov5_checkpoint(folder / "yolov5s.pt").state.values():
        tensor.sum()


def _write_checkpoint(folder: Path) -> None:
    import torch

    state = {
        "model": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "progress": {"epoch": 1, "name": "ünïcode", "none": None},
    }
    put(folder / "0" / "sha256", "0" * 64)
    put(folder / "1" / "sha256", "0" * 64)
    torch.save(state, folder / "0" / "step-00000001.pt")
    torch.save({"a": torch.zeros(0), "b": [1, 2.5, True]}, folder / "1" / "step-00000001.pt")
    for seed in "01":
        content = (folder / seed / "step-00000001.pt").read_bytes()
        put(folder / seed / "sha256", hashlib.sha256(content).hexdigest())


def _seal_checkpoint(files: Files) -> None:
    files["sha256"] = hashlib.sha256(files["step-00000001.pt"]).hexdigest().encode()


def _read_checkpoint(folder: Path) -> None:
    from eightgig.training.checkpointing.checkpoint import read_checkpoint

    read_checkpoint(folder / "step-00000001.pt", sha256=(folder / "sha256").read_text())


def _write_checkpoints(folder: Path) -> None:
    import torch

    from eightgig.training.checkpointing.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder / "0", _recipe())
    for step in (1, 2):
        checkpoints.save({"w": torch.full((3,), float(step))}, step=step)


def _recipe() -> Any:
    from eightgig.training.checkpointing.recipe import Recipe

    return Recipe(values={"seed": "1"}, circumstances={})


def _read_checkpoints(folder: Path) -> None:
    from eightgig.training.checkpointing.checkpoint import Checkpoints

    Checkpoints(folder, _recipe()).newest()


def _seal_manifest(files: Files) -> None:
    manifest = json.loads(files["manifest.json"])
    for row in manifest["checkpoints"]:
        row["sha256"] = hashlib.sha256(files[row["file"]]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()


READERS = [
    Reader(
        "weights.state_dict",
        _write_state_dicts,
        _read_state_dict,
        {"*.safetensors": _SAFETENSORS, "*": either(byte_edits, part_edits("zip"))},
    ),
    Reader(
        "weights.dataset",
        _write_weights,
        _read_weights,
        {"*.safetensors": _SAFETENSORS, "*.json": json_edits},
        seal=_seal_card,
    ),
    Reader("weights.yolov5", _write_yolov5, _read_yolov5, {"*": _ZIP}),
    Reader("weights.checkpoint", _write_checkpoint, _read_checkpoint, {"*.pt": _ZIP}, seal=_seal_checkpoint),
    Reader(
        "weights.checkpoints",
        _write_checkpoints,
        _read_checkpoints,
        {"*.pt": _ZIP, "manifest.json": json_edits},
        seal=_seal_manifest,
    ),
]
