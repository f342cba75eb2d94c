"""Networks to cut, as the planner's child process builds them."""

from typing import Any

import torch
import torchvision
import transformers
from torch import Tensor, nn


def resnet() -> tuple[nn.Module, Any, Any]:
    """Return a ResNet-18 on small images."""

    def loss(module: nn.Module, images: Tensor) -> Tensor:
        return module(images).float().square().mean()

    return torchvision.models.resnet18(num_classes=10), loss, lambda n: torch.zeros(n, 3, 96, 96)


def gpt2() -> tuple[nn.Module, Any, Any]:
    """Return a small GPT-2, whose embedding and head are one weight."""
    config = transformers.GPT2Config(
        n_layer=6,
        n_embd=192,
        n_head=4,
        vocab_size=5000,
        n_positions=128,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )

    def loss(module: nn.Module, ids: Tensor) -> Tensor:
        return module(input_ids=ids).logits.float().logsumexp(-1).mean()

    return transformers.GPT2LMHeadModel(config), loss, lambda n: torch.zeros(n, 128, dtype=torch.int64)
