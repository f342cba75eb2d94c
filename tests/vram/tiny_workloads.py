"""Small networks for the child process, by import path: `tiny_workloads:perceptron`."""

import os

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as imported_attention

from eightgig.vram.tracing.workload import Workload


def perceptron(width=1024, depth=1, tied=False):
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    if tied:
        layers = [layers[0]] * depth
    module = nn.Sequential(*layers)
    return module, lambda net, batch: net(batch).sum(), lambda n: torch.zeros(n, width)


def residual(width=1024, depth=4):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(width, width, bias=False)

        def forward(self, x):
            return x + self.inside(x)

    return nn.Sequential(*[Block() for _ in range(depth)]), lambda net, b: net(b).sum(), lambda n: torch.zeros(n, width)


def swish(width=1024):
    return (
        nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)),
        _mean,
        lambda n: torch.zeros(n, width),
    )


def convolutional(channels=16, norm=True):
    def block(inputs):
        return nn.Sequential(
            nn.Conv2d(inputs, channels, 3, padding=1, bias=not norm),
            nn.BatchNorm2d(channels) if norm else nn.Identity(),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    module = nn.Sequential(
        nn.Sequential(*[block(3 if i == 0 else channels) for i in range(4)]), nn.AdaptiveAvgPool2d(1)
    )
    return module, _mean, lambda n: torch.zeros(n, 3, 64, 64)


class Attention(nn.Module):
    """Queries, keys and values straight from the input: batch x heads x length x width."""

    def __init__(self, width=64):
        super().__init__()
        self.project = nn.Linear(width, width)

    def forward(self, tokens):
        states = self.project(tokens)
        return functional.scaled_dot_product_attention(states, states, states, is_causal=True)


def attention(length=512):
    return Attention(), _mean, lambda n: torch.zeros(n, 4, length, 64)


def with_dict_batch():
    net = nn.Linear(8, 2)
    return Workload(
        module=net,
        batch=lambda n: {"x": torch.zeros(n, 8), "meta": ["name"] * n},
        loss=lambda module, batch: module(batch["x"]).mean(),
    )


def talkative():
    print("a model may print")  # noqa: T201
    return perceptron()


def broken():
    raise RuntimeError("this model cannot be made")


def not_a_workload():
    return 3


def _mean(net, batch):
    return net(batch).float().mean()


def deep_blocks(width=1024, depth=8):
    def block():
        return nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False))

    return nn.Sequential(*[block() for _ in range(depth)]), _mean, lambda n: torch.zeros(n, width)


def keeps_its_output(width=1024):
    """As most loops do: the name `outputs` is held until the next forward pass has made new ones."""
    module, held = nn.Linear(width, width, bias=False), []

    def loss(net, batch):
        outputs = net(batch)
        held[:] = [outputs]
        return outputs.sum()

    return module, loss, lambda n: torch.zeros(n, width)


def collects_losses(width=1024):
    module, losses = nn.Linear(width, width, bias=False), []

    def loss(net, batch):
        losses.append(net(batch).sum())
        return losses[-1]

    return module, loss, lambda n: torch.zeros(n, width)


class Counting(nn.Linear):
    """Wider in its second pass than in its first, which only what it remembers tells beforehand."""

    passes = 0

    def forward(self, inputs):
        self.passes += 1
        return super().forward(inputs.repeat(self.passes, 1))


def counts_its_passes(width=1024):
    return Counting(width, width, bias=False), _mean, lambda n: torch.zeros(n, width)


class ImportedAttention(Attention):
    """The same by the name that a user imported."""

    def forward(self, tokens):
        states = self.project(tokens)
        return imported_attention(states, states, states, is_causal=True)


def attention_by_another_name(length=512):
    return ImportedAttention(), _mean, lambda n: torch.zeros(n, 4, length, 64)


class HalvedSGD(torch.optim.SGD):
    """An optimizer of a user's own."""


def no_optimizer(weights):
    return list(weights)


def reads_a_value():
    def loss(net, batch):
        made = net(batch).sum()
        if made.item() > 0:  # a line of the user's own
            made = made * 2
        return made

    return nn.Linear(8, 8), loss, lambda n: torch.zeros(n, 8)


def counts_what_is_not_zero():
    return nn.Linear(8, 8), lambda net, batch: net(batch)[batch > 0].sum(), lambda n: torch.zeros(n, 8)


def frozen():
    return nn.Linear(8, 8).requires_grad_(False), _mean, lambda n: torch.zeros(n, 8)


def loss_in_a_dict():
    return nn.Linear(8, 8), lambda net, batch: {"loss": net(batch).sum()}, lambda n: torch.zeros(n, 8)


def loss_for_each():
    return nn.Linear(8, 8), lambda net, batch: net(batch).sum(1), lambda n: torch.zeros(n, 8)


def half_frozen(width=1024):
    module = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
    module[0].requires_grad_(False)
    return module, _mean, lambda n: torch.zeros(n, width)


def half_unused(width=1024):
    module = nn.ModuleList([nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)])
    return module, lambda net, batch: net[0](batch).mean(), lambda n: torch.zeros(n, width)


def sparse_rows(rows=4096):
    module = nn.Embedding(rows, 256, sparse=True)
    return module, lambda net, batch: net(batch).mean(), lambda n: torch.zeros(n, 4, dtype=torch.long)


def bfloat(width=1024):
    module = nn.Linear(width, width, bias=False).bfloat16()
    return module, _mean, lambda n: torch.zeros(n, width, dtype=torch.bfloat16)


class PackedWeight(nn.Parameter):
    """Holds itself on a card otherwise than it looks."""


def packed():
    module = nn.Linear(8, 8, bias=False)
    module.weight = PackedWeight(module.weight.data)
    return module, _mean, lambda n: torch.zeros(n, 8)


def ends_the_process():
    os._exit(3)


def llama_8b(tokens=2048):
    """As large as Llama 3 8B: 30 GiB of weights, of which no page is touched."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        use_cache=False,
    )

    def batch(n):
        ids = torch.zeros(n, tokens, dtype=torch.long)
        return {"input_ids": ids, "labels": ids.clone()}

    return LlamaForCausalLM(config), lambda net, inputs: net(**inputs).loss, batch
