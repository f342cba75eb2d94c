"""A network with what its inputs must look like: what every builder of models gives."""

from dataclasses import dataclass

from torch import nn

from eightgig.models.parameters import TextModelParameters

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Network:
    """A network ready to train or to run.

    Attributes:
        module: what is trained.
        name: as its library knows it.
        library: where it comes from: `torchvision`, `timm`, `transformers` or `eightgig`.
        weights_source: what was loaded, for a person.
    """

    module: nn.Module
    name: str
    library: str
    weights_source: str


@dataclass(frozen=True)
class TextNetwork(Network):
    """A network of transformers on tokens: takes input_ids_NT and attention_mask_NT, gives an object with `logits`.

    Attributes:
        config: of transformers, as JSON.
        parameters: that it was built by.
    """

    config: str
    parameters: TextModelParameters


@dataclass(frozen=True)
class ImageNetwork(Network):
    """A network on images: takes images_N3HW float32; a classifier gives logits_NK, a detector its raw maps.

    Attributes:
        mean: subtracted from channels scaled to 0..1.
        std: then divided by.
        default_image_size: pixels a side that the pretrained weights were made for.
    """

    mean: Colour
    std: Colour
    default_image_size: int
