"""INT8 without calibration."""

import numpy as np
import torch
from torch import nn

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
