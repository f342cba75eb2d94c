"""Checkpointing changes the memory, not the result."""

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0, resnet18

from eightgig.training.recompute import apply_checkpointing
from eightgig.vram.predict import measure_footprint


def run(module, seed=0):
    torch.manual_seed(seed)
    loss = module(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))).square().sum()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("build", [resnet18, efficientnet_b0])
def test_same_loss_gradients_and_statistics(build):
    torch.manual_seed(0)
    plain, recomputed = build(num_classes=4), build(num_classes=4)
    recomputed.load_state_dict(plain.state_dict())
    apply_checkpointing(recomputed)

    assert torch.equal(run(plain), run(recomputed))
    for (name, expected), got in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-5, msg=name)
    for (name, expected), got in zip(plain.named_buffers(), recomputed.buffers(), strict=True):
        torch.testing.assert_close(got, expected, msg=name)


@pytest.mark.parametrize(("build", "share"), [(resnet18, 0.6), (efficientnet_b0, 0.4)])  # a ResNet's stem is no block
def test_keeps_less(build, share):
    def forward(module, num_images):
        return module(next(module.parameters()).new_empty(num_images, 3, 64, 64))

    def saved(module):
        return measure_footprint(module, forward, precision="fp32").saved.per_sample

    assert saved(apply_checkpointing(build())) < share * saved(build())


def test_evaluation_is_untouched():
    module = resnet18(num_classes=4).eval()
    images = torch.rand(2, 3, 64, 64)
    expected = module(images)
    assert torch.equal(apply_checkpointing(module)(images), expected)


def test_a_network_without_blocks_is_left_alone():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    forward = module.forward
    assert apply_checkpointing(module).forward == forward
