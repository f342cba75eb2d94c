"""What autograd keeps, counted by hand."""

import pytest
from torch import nn
from torchvision.models import efficientnet_b3

from eightgig.core.units import MIB
from eightgig.vram.predict import Affine, measure_footprint


def run(module, *shape):
    return module(next(module.parameters()).new_empty(*shape))


def test_a_line_through_two_points():
    line = Affine.through((2, 120), (4, 220))
    assert (line.fixed, line.per_sample, line.at(10)) == (20, 50, 520)


def test_a_linear_layer_and_relu_by_hand():
    """Saved: the input of the first layer, the ReLU's output (also the input of the second), at 4 bytes a value."""
    module = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    print_ = measure_footprint(module, lambda m, n: run(m, n, 10), precision="fp32")
    weights = (10 * 20 + 20 + 20 * 5 + 5) * 4
    assert (print_.parameter_bytes, print_.gradient_bytes, print_.optimizer_bytes) == (weights, weights, 2 * weights)
    assert print_.saved.per_sample == (10 + 20) * 4
    assert print_.widest.per_sample == (20 + 20) * 4
    assert print_.has_batch_norm is False


def test_frozen_weights_have_no_gradient():
    module = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 5))
    module[0].requires_grad_(False)
    print_ = measure_footprint(module, lambda m, n: run(m, n, 10), precision="fp32")
    assert print_.gradient_bytes == (20 * 5 + 5) * 4


@pytest.mark.parametrize(("precision", "expected_mib"), [("fp32", 9552), ("fp16", 4841)])
def test_efficientnet_b3_is_near_the_traced_figure(precision, expected_mib):
    """The expectation is an allocation trace of the same step (EfficientNet-B3, 300 px, batch 32), in MiB."""
    print_ = measure_footprint(efficientnet_b3(), lambda m, n: run(m, n, 3, 300, 300), precision=precision)
    assert print_.saved.at(32) / MIB == pytest.approx(expected_mib, rel=0.015)
    assert print_.has_batch_norm
