"""A network with what its inputs must look like, as every builder of models gives it; and how much it computes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eightgig.core.records import Record
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


class Complexity(Record):
    """What one pass over one input takes, whatever the machine.

    Attributes:
        num_parameters: weights that training changes, and those it does not; buffers are not counted.
        flops: of convolutions and matrix products, a multiplication and an addition being two.
    """

    num_parameters: int
    flops: int


def complexity_of(module: nn.Module, example_input: Tensor) -> Complexity:
    """Return the parameters of `module` and the FLOPs of one pass over `example_input`, in evaluation mode."""
    from torch.utils.flop_counter import FlopCounterMode  # a quarter of a second to import

    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(example_input)
    finally:
        module.train(was_training)
    num_parameters = sum(weight.numel() for weight in module.parameters())
    return Complexity(num_parameters=num_parameters, flops=counter.get_total_flops())
