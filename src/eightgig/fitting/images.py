"""Networks for images by name, from torchvision and timm: for the process that traces. No weights are loaded."""

import inspect
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.fitting.libraries import needed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eightgig.vram.tracing.workload import Workload

# Of torchvision, whose classifiers say none; its weights are of 224 pixels but for these, which fail on fewer.
_SIZES = {"inception_v3": 299}
_SIZE = 224
_SLOW_TO_DRAW = ("googlenet", "inception_v3")  # their constructors draw values for seconds


class ImageNetwork(Record):
    """What is known of a network for images before anything is traced."""

    image_size: int
    num_parameters: int


def read_image_network(library: str, name: str) -> ImageNetwork:
    """Return what is known of a network by its name.

    Args:
        library: `torchvision` or `timm`.
        name: of the network there.

    Raises:
        ConfigurationError: the library is missing, or has no such network.
    """
    needed(library, f"{library}:{name}")
    known = _names(library)
    if name not in known:
        near = get_close_matches(name, known, n=3)
        meant = f"did you mean {' or '.join(near)}?" if near else f"see {library}'s list of models"
        raise ConfigurationError(f"{library} has no classifier or segmenter {name!r}: {meant}")
    module = _made(library, name, None)
    size = _SIZES.get(name, _SIZE) if library == "torchvision" else int(module.default_cfg["input_size"][-1])
    return ImageNetwork(image_size=size, num_parameters=sum(weight.numel() for weight in module.parameters()))


def image_network(library: str, name: str, image_size: int) -> "Workload":
    """Return a network with cross-entropy over its classes: of images, of pixels where it gives maps."""
    import torch
    from torch.nn import functional

    from eightgig.vram.tracing.workload import Workload

    def batch(samples: int) -> tuple["Tensor", "Tensor"]:
        return torch.empty(samples, 3, image_size, image_size), torch.zeros(samples, dtype=torch.long)

    def loss(module: "nn.Module", made: Any) -> "Tensor":
        outputs = _outputs(module(made[0]))
        losses = [functional.cross_entropy(each, _labels(each, made[1])) for each in outputs]
        return torch.stack(losses).sum() if len(losses) > 1 else losses[0]

    return Workload(module=_made(library, name, image_size), batch=batch, loss=loss)


def _names(library: str) -> list[str]:
    if library == "timm":
        import timm

        return [*timm.list_models(), *timm.list_models(pretrained=True)]
    from torchvision import models

    return [*models.list_models(module=models), *models.list_models(module=models.segmentation)]


def _made(library: str, name: str, image_size: int | None) -> Any:
    import torch

    if library == "timm":
        import timm

        sized: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
        with torch.device("meta"):
            try:
                return timm.create_model(name, **sized)
            except TypeError:  # only networks with positions take a size
                return timm.create_model(name)
    from torchvision.models import get_model, get_model_builder

    takes = inspect.signature(get_model_builder(name)).parameters
    asked = {"weights": None, "weights_backbone": None, "image_size": image_size}
    extra: dict[str, Any] = {key: value for key, value in asked.items() if key in takes}
    extra |= {"image_size": image_size} if "vit_" in name and image_size else {}
    extra |= {"init_weights": False} if name in _SLOW_TO_DRAW else {}
    with torch.device("meta"):
        return get_model(name, **extra)


def _outputs(made: Any) -> "list[Tensor]":
    """Return all heads' outputs: the main one, and those beside it that some networks train with."""
    from torch import Tensor

    if isinstance(made, Tensor):
        return [made]
    values = made.values() if isinstance(made, dict) else made
    return [value for value in values if isinstance(value, Tensor)]


def _labels(output: "Tensor", labels: "Tensor") -> "Tensor":
    """Return a label a sample, or a pixel where the output has one."""
    return labels.new_zeros((output.shape[0], *output.shape[2:]))
