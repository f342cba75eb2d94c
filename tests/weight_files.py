"""Fixtures that write files of weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

SaveWeights = Callable[[nn.Module, str], Path]


@pytest.fixture
def save_weights(tmp_path: Path) -> SaveWeights:
    def save(module: nn.Module, file_name: str) -> Path:
        path = tmp_path / file_name
        if path.suffix == ".safetensors":
            save_file(module.state_dict(), path)
        else:
            torch.save(module.state_dict(), path)
        return path

    return save
