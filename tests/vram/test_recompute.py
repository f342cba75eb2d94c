"""Checkpointing changes the memory, not the result."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0, resnet18

from eightgig.vram.runtime.offload import ActivationOffload
from eightgig.vram.runtime.recompute import apply_checkpointing


def run(module, seed=0):
    torch.manual_seed(seed)
    loss = module(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))).square().sum()
    loss.backward()
    return loss.detach()


def assert_same_training(plain, other, context=nullcontext):
    expected = run(plain)
    with context():
        assert torch.equal(expected, run(other))
    for (name, wanted), got in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(got.grad, wanted.grad, rtol=1e-4, atol=1e-5, msg=name)
    for (name, wanted), got in zip(plain.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(got, wanted, msg=name)


@pytest.mark.parametrize("level", ["selective", "full"])
@pytest.mark.parametrize("build", [resnet18, efficientnet_b0])
def test_same_loss_gradients_and_statistics(build, level):
    torch.manual_seed(0)
    plain, recomputed = build(num_classes=4), build(num_classes=4)
    recomputed.load_state_dict(plain.state_dict())
    assert_same_training(plain, apply_checkpointing(recomputed, level))


def test_offloading_changes_nothing():
    torch.manual_seed(0)
    plain, moved = resnet18(num_classes=4), resnet18(num_classes=4)
    moved.load_state_dict(plain.state_dict())
    assert_same_training(plain, moved, ActivationOffload(moved).saving)


def saved_bytes(module):
    """Bytes that a forward pass leaves behind for the backward pass, weights apart."""
    weights = {weight.untyped_storage()._cdata for weight in (*module.parameters(), *module.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(torch.rand(2, 3, 64, 64))
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize(("build", "share"), [(resnet18, 0.6), (efficientnet_b0, 0.4)])  # a ResNet's stem is no block
def test_keeps_less(build, share):
    assert saved_bytes(apply_checkpointing(build())) < share * saved_bytes(build())


def test_none_changes_nothing():
    module = resnet18()
    forward = module.layer1[0].forward
    unchanged: Any = apply_checkpointing(module, "none")
    assert unchanged.layer1[0].forward == forward


def test_evaluation_is_untouched():
    module = resnet18(num_classes=4).eval()
    images = torch.rand(2, 3, 64, 64)
    expected = module(images)
    assert torch.equal(apply_checkpointing(module)(images), expected)


def test_a_network_without_blocks_is_left_alone():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    forward = module.forward
    assert apply_checkpointing(module).forward == forward
