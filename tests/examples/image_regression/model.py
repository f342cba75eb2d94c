"""Any network of timm with one output."""

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from eightgig.models.network import ImageNetwork
from eightgig.models.weights import start_from


def build_regressor(name: str, *, weights: str, dropout: float | None) -> ImageNetwork:
    """Return the network: images_N3HW -> standard scores_N1; its buffers hold the numbers' mean and deviation."""
    name = name.removeprefix("timm/")
    module = timm.create_model(name, pretrained=weights == "default", num_classes=1, drop_rate=dropout or 0.0)
    source = "timm (download)" if weights == "default" else start_from(module, weights)
    module.register_buffer("mean_of_values", torch.zeros(()))
    module.register_buffer("std_of_values", torch.ones(()))
    config = resolve_data_config({}, model=module)
    return ImageNetwork(module, name, "timm", source, config["mean"], config["std"], config["input_size"][-1])


class InUnits(nn.Module):
    """A trained network that says numbers instead of their standard scores: images_N3HW -> values_N1."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images_N3HW: Tensor) -> Tensor:
        """Return the numbers in their unit."""
        values_N1: Tensor = self.module(images_N3HW) * self.module.std_of_values + self.module.mean_of_values
        return values_N1
