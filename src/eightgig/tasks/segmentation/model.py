"""Any network that gives a class for each pixel: the article's U-Net, or one of torchvision by name."""

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.network import ImageNetwork
from eightgig.models.weights import RANDOM, load_from, read_state_dict
from eightgig.tasks.segmentation.unet import build_unet, is_unet

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's presets have them
_UNET_SIZE, _TORCHVISION_SIZE = 512, 520


def build_segmenter(name: str, *, weights: str, num_classes: int) -> ImageNetwork:
    """Return the network `name` with `num_classes` outputs a pixel, on the CPU, in float32.

    Args:
        name: `unet`, `unet_x0_25` (a quarter of its channels) and so on, or a segmentation model of torchvision
            (`deeplabv3_resnet50`, `lraspp_mobilenet_v3_large`, ...).
        weights: `none`, a path, or for torchvision's `default` (downloaded; the last layers begin anew unless the
            number of classes is theirs).
        num_classes: at least 2.

    Raises:
        ConfigurationError: no such model, or too few classes.
        WeightsError: the weights cannot be had, or belong to another model.
    """
    if num_classes < 2:
        raise ConfigurationError(f"model `{name}`: wanted at least 2 classes a pixel, found {num_classes}")
    plain = name.removeprefix("eightgig/").removeprefix("torchvision/")
    if is_unet(plain):
        unet = Segmenter(build_unet(plain, num_classes=num_classes), num_classes)
        return ImageNetwork(unet, plain, "eightgig", _load(unet, plain, weights), _MEAN, _STD, _UNET_SIZE)
    if plain not in _torchvision_names():
        near = difflib.get_close_matches(plain, (*_torchvision_names(), "unet"), n=3, cutoff=0.4)
        raise ConfigurationError(
            f"model `{name}`: neither a U-Net of this project nor a segmentation model of torchvision. Nearest: "
            f"{', '.join(near) or 'none'}. All: unet, {', '.join(_torchvision_names())}."
        )
    module = Segmenter(_from_torchvision(plain, num_classes), num_classes)
    return ImageNetwork(module, plain, "torchvision", _load(module, plain, weights), _MEAN, _STD, _TORCHVISION_SIZE)


class Segmenter(nn.Module):
    """A network that gives logits_NKHW in the size of its images, and how much each class weighs in its loss.

    Args:
        network: gives logits, or torchvision's dictionary with them under `out`.
        num_classes: K.

    Attributes:
        class_weights: float32 K, ones until a case fits them to its training masks. It is kept with the weights, so
            that a smaller form of a network learns by the same loss; nothing else reads it.
    """

    class_weights: Tensor

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("class_weights", torch.ones(num_classes))

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return logits_NKHW."""
        made: Any = self.network(images_N3HW)
        logits: Tensor = made["out"] if isinstance(made, dict) else made
        return logits

    def get_classifier(self) -> list[nn.Module]:
        """Return the layers that make the logits: one, or two of LR-ASPP, whose outputs are added."""
        network: Any = self.network
        if hasattr(network, "head"):
            return [network.head]
        if hasattr(network.classifier, "low_classifier"):
            return [network.classifier.low_classifier, network.classifier.high_classifier]
        return [network.classifier[-1]]


@cache
def _torchvision_names() -> tuple[str, ...]:
    return tuple(torchvision.models.list_models(module=torchvision.models.segmentation))


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    # LR-ASPP has no such option, and no side output either.
    side: dict[str, Any] = {} if name.startswith("lraspp") else {"aux_loss": False}
    built: nn.Module = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=num_classes, **side
    )
    return built


def _load(module: Segmenter, name: str, weights: str) -> str:
    """Fill `module` with weights, or leave it random; tell which."""
    if weights == "none":
        return RANDOM
    if weights == "packaged" or (weights == "default" and is_unet(name)):
        raise WeightsError(f"model `{name}`: there are no {weights} weights of it. Choose weights: none, or a path.")
    if weights == "default":
        tensors, origin = _downloaded(name)
    else:
        tensors, origin = read_state_dict(Path(weights).expanduser()), f"file {Path(weights).name}"
    return load_from(module, _by_our_names(tensors, module), origin=origin)


def _by_our_names(tensors: Mapping[str, Tensor], module: Segmenter) -> dict[str, Tensor]:
    """Return the tensors of a file of this project, or of the bare network, without side outputs."""
    bare = not any(name.startswith("network.") for name in tensors)
    named = {f"network.{name}" if bare else name: tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in named.items() if not name.startswith("network.aux_classifier.")}
    return {**kept, "class_weights": module.class_weights}


def _downloaded(name: str) -> tuple[Mapping[str, Tensor], str]:
    pretrained = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state: Mapping[str, Tensor] = pretrained.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a broken download
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"model `{name}`: wanted its pretrained weights from the network, found: {reason}. Ways out: connect and "
            "try again; weights=none (random); or weights=<path of a .safetensors, .pt or .pth file>."
        ) from error
    return state, f"torchvision {pretrained} (download)"
