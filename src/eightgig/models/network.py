"""A network with what its inputs must look like: what every builder of models gives."""

from dataclasses import dataclass

from torch import nn

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Network:
    """A network ready to train or to run.

    Attributes:
        module: takes images_N3HW float32; a classifier gives logits_NK, a detector its raw maps.
        name: as its library knows it.
        library: where it comes from: `torchvision`, `timm` or `eightgig`.
        weights_source: what was loaded, for a person.
        mean: subtracted from channels scaled to 0..1.
        std: then divided by.
        default_image_size: pixels a side that the pretrained weights were made for.
    """

    module: nn.Module
    name: str
    library: str
    weights_source: str
    mean: Colour
    std: Colour
    default_image_size: int
