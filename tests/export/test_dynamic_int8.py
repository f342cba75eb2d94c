"""INT8 without calibration."""

import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from eightgig.export.int8.dynamic import quantize_dynamically
from eightgig.export.onnx import export_onnx, load_onnx, read_card
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.export.precision import read_precision


def test_products_are_in_int8_and_answers_stay_near():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    file = export_onnx(network, {"x": torch.zeros(1, 32)}, card={"model": "mine"})
    quantized = quantize_dynamically(file)
    assert read_precision(load_onnx(quantized)) == "int8"
    assert read_card(quantized)["model"] == "mine"
    x_NC = torch.randn(16, 32).numpy()
    with OnnxRuntimeRunner(file) as whole, OnnxRuntimeRunner(quantized, claimed="int8") as small:
        difference = np.abs(whole.run({"x": x_NC})["logits"] - small.run({"x": x_NC})["logits"]).max()
    assert 0 < difference < 0.05


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x_NTC: torch.Tensor) -> torch.Tensor:
        keys_N1TC = self.into(x_NTC)[:, None]
        return self.out(functional.scaled_dot_product_attention(keys_N1TC, keys_N1TC, x_NTC[:, None])[:, 0])


def test_products_of_two_computed_tensors_stay_float_and_are_listed():
    file = export_onnx(Attends().eval(), {"x": torch.zeros(1, 6, 16)}, card={})
    quantized = quantize_dynamically(file)
    assert len(json.loads(read_card(quantized)["float_layers"])) == 2
    with OnnxRuntimeRunner(quantized, claimed="int8") as runner:
        assert runner.run({"x": np.ones((2, 6, 16), dtype=np.float32)})["logits"].shape == (2, 6, 4)
