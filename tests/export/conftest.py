import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from eightgig.export.onnx import export_onnx

CARD = {"model": "tiny", "classes": '["a", "b", "c", "ü"]'}


def make_tiny() -> nn.Sequential:
    """A network with all that matters: padding, BatchNorm, depthwise, dropout, pooling, linear."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    layers += [nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    layers += [nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    tiny = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 4))
    for _ in range(20):  # BatchNorm learns the statistics, so activations have ordinary ranges
        tiny(torch.randn(16, 3, 32, 32))
    return tiny


@pytest.fixture
def tiny() -> nn.Sequential:
    return make_tiny()


@pytest.fixture(scope="session")
def tiny_onnx() -> bytes:
    return export_onnx(make_tiny(), {"images": torch.randn(1, 3, 32, 32)}, card=CARD)


@pytest.fixture
def images_N3HW() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((24, 3, 32, 32), dtype=np.float32)
