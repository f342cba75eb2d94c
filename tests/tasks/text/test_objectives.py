"""Losses on text, against hand arithmetic."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.present import present
from torch import nn

from eightgig.tasks.text.classification.objective import SequenceObjective
from eightgig.tasks.text.generation.objective import CausalObjective, bits_per_byte, nats_sum

CPU = torch.device("cpu")


class Fixed(nn.Module):
    """Gives one row of logits for everything."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, input_ids, attention_mask=None):
        per_token = self.logits.expand(*input_ids.shape, -1)
        return SimpleNamespace(logits=per_token if attention_mask is None else per_token[:, 0])


def blocks(*rows):
    return {"input_ids": torch.tensor(rows), "indices": torch.arange(len(rows))}


def test_a_block_counts_as_one_sample():
    module, objective = Fixed(0.0, math.log(3)), CausalObjective()
    batch = blocks([0, 1, 1], [1, 0, 1])  # token 1 has three quarters
    assert objective.count(batch) == 2
    sure, rare = -math.log(0.75), -math.log(0.25)
    assert objective.loss_sum(module, batch, CPU).item() == pytest.approx(sure + (sure + rare) / 2)


def test_bits_per_byte_and_perplexity_by_hand():
    module = Fixed(0.0, math.log(3))
    figures = CausalObjective(np.array([4, 6])).evaluate(module, [blocks([0, 1, 1], [1, 0, 1])], CPU)
    nats = -3 * math.log(0.75) - math.log(0.25)
    assert figures["loss"] == pytest.approx(nats / 4)
    assert figures["score"] == 0.75
    assert figures["perplexity"] == pytest.approx(math.exp(nats / 4))
    assert figures["bits_per_byte"] == pytest.approx(nats / math.log(2) / 10)
    assert bits_per_byte(math.log(2) * 8, 1) == pytest.approx(8)


def test_a_classifier_of_texts_by_hand():
    module, objective = Fixed(0.0, math.log(3)), SequenceObjective()
    batch = {
        "input_ids": torch.ones(3, 2, dtype=torch.int64),
        "attention_mask": torch.ones(3, 2, dtype=torch.int64),
        "labels": torch.tensor([1, 1, 0]),
    }
    loss = -2 * math.log(0.75) - math.log(0.25)
    assert objective.loss_sum(module, batch, CPU).item() == pytest.approx(loss)
    figures = objective.evaluate(module, [batch], CPU)
    assert figures == {"loss": pytest.approx(loss / 3), "score": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3)}


def test_tokens_at_a_time_give_the_loss_and_the_gradients_of_all_at_once():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 200, 11, requires_grad=True), torch.randint(11, (3, 200))
    other = logits.detach().clone().requires_grad_()
    whole = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    parts = nats_sum(other, targets)
    whole.backward()
    parts.backward()
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6)
    assert torch.allclose(present(other.grad), present(logits.grad), atol=1e-6)
    with torch.no_grad():
        assert nats_sum(other, targets).item() == pytest.approx(whole.item(), rel=1e-6)
