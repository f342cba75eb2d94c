"""The weights inside an official YOLOv5 checkpoint (.pt) under this project's names. Nothing in the file is run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eightgig.core.errors import WeightsError
from eightgig.tasks.detection.pickled_network import PickledNetwork

# `ema` is the average of the weights in a checkpoint of training that goes on; a finished one holds it as `model`.
_KEYS = ("ema", "model")
_STRIDES = (8.0, 16.0, 32.0)

# The numbered layers of the published summary; those between have no weights.
_LAYERS = {
    "0": "backbone.0.0",
    "1": "backbone.0.1",
    "2": "backbone.1",
    "3": "backbone.2.0",
    "4": "backbone.2.1",
    "5": "backbone.3.0",
    "6": "backbone.3.1",
    "7": "backbone.4.0",
    "8": "backbone.4.1",
    "9": "backbone.4.2",
    "10": "neck.narrow.0",
    "13": "neck.merge.0",
    "14": "neck.narrow.1",
    "17": "neck.merge.1",
    "18": "neck.down.0",
    "20": "neck.merge.2",
    "21": "neck.down.1",
    "23": "neck.merge.3",
}
_POOLING, _HEADS = "9", "24"
_PARTS_OF_C3 = {"cv1": "enter", "cv2": "skip", "cv3": "join"}
_PARTS_OF_POOLING = {"cv1": "enter", "cv2": "join"}
_PARTS_OF_BOTTLENECK = {"cv1": "point", "cv2": "space"}


class ImportedCheckpoint(NamedTuple):
    """What an official checkpoint holds.

    Attributes:
        state: float32 (counters int64) by the names of `eightgig.tasks.detection.model.YoloV5`; anchors in pixels.
        classes: their names in order; empty where the file does not tell.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]


def is_pickled_network(path: Path) -> bool:
    """Return whether `path` is a readable .pt or .pth file that holds a network as a Python object."""
    if path.suffix.lower() not in (".pt", ".pth") or not path.is_file():
        return False
    try:
        with PickledNetwork(path, keys=_KEYS) as file:
            return file.find() is not None
    except WeightsError:
        return False


def read_yolov5_checkpoint(path: Path) -> ImportedCheckpoint:
    """Return weights and class names of an official checkpoint of v6.0 or later, on the CPU.

    Raises:
        WeightsError: no such file, not such a checkpoint, damaged, too large, or a weight without a place here.
    """
    with PickledNetwork(path, keys=_KEYS) as file:
        network = file.find()
        if network is None:
            raise WeightsError(
                f"`{path}`: wanted a network under {' or '.join(_KEYS)}, as official YOLOv5 checkpoints have it, found "
                "none. Give an official .pt file, or a state dict."
            )
        found = file.tensors(network)
    return ImportedCheckpoint(_renamed(found, path), _class_names(network.state.get("names")))


def _renamed(found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    names = {official: _our_name(official) for official in found}
    without_place = [official for official, name in names.items() if name is None]
    if without_place:
        raise WeightsError(
            f"`{path}`: wanted the layers of YOLOv5 v6 (n, s, m, l, x), found {len(without_place)} tensors without a "
            f"place there: {', '.join(without_place[:5])}. Not read are networks for 1280 pixels (P6), for masks, with "
            "BatchNorm fused, and of v5 and before."
        )
    state = {str(names[official]): _in_float32(tensor) for official, tensor in found.items()}
    if "anchors" in state:
        state["anchors"] = _in_pixels(state["anchors"], path)
    return state


def _our_name(official: str) -> str | None:
    layer = re.fullmatch(r"model\.(\d+)\.(.+)", official)
    if layer is None:
        return None
    number, rest = layer.groups()
    return _name_in_head(rest) if number == _HEADS else _name_in_layer(number, rest)


def _name_in_head(rest: str) -> str | None:
    head = re.fullmatch(r"m\.(\d)\.(weight|bias)", rest)
    return f"heads.{head[1]}.{head[2]}" if head else {"anchors": "anchors"}.get(rest)


def _name_in_layer(number: str, rest: str) -> str | None:
    found = re.fullmatch(r"(?:m\.(\d+)\.)?(?:(cv\d)\.)?(conv\.weight|bn\.\w+)", rest)
    if found is None or number not in _LAYERS:
        return None
    block, part, tensor = found.groups()
    parts = _PARTS_OF_BOTTLENECK if block else _PARTS_OF_POOLING if number == _POOLING else _PARTS_OF_C3
    if part and part not in parts:
        return None
    steps = (_LAYERS[number], block and f"blocks.{block}", part and parts[part], re.sub("^bn", "norm", tensor))
    return ".".join(filter(None, steps))


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _in_pixels(anchors: Tensor, path: Path) -> Tensor:
    if anchors.dim() != 3 or len(anchors) != len(_STRIDES):
        raise WeightsError(f"`{path}`: wanted anchors of 3 levels, found them in the shape {tuple(anchors.shape)}.")
    return anchors * torch.tensor(_STRIDES).view(-1, 1, 1)  # they are stored in cells of their level


def _class_names(names: Any) -> tuple[str, ...]:
    values = list(names.values()) if isinstance(names, dict) else names
    return tuple(values) if isinstance(values, list) and all(isinstance(name, str) for name in values) else ()
