"""The judge of language models, against hand arithmetic."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from eightgig.core.errors import DataError
from eightgig.tasks.text.generation.metrics import LanguageEvaluator, evaluate_language


class Uniform(nn.Module):
    def forward(self, input_ids):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 8))


def judged(batches):
    return evaluate_language(
        Uniform(), batches, num_bytes=np.array([3, 5, 6]), documents=("a", "b", "a"), device=torch.device("cpu")
    )


def test_a_network_that_knows_nothing_pays_three_bits_a_token():
    batch = {"input_ids": torch.tensor([[1, 0, 2], [1, 3, 0], [4, 4, 4]]), "indices": torch.tensor([0, 1, 2])}
    report = judged([batch])
    assert (report.num_blocks, report.num_tokens, report.num_bytes) == (3, 6, 14)
    assert report.loss == pytest.approx(math.log(8))
    assert report.perplexity == pytest.approx(8)
    assert report.bits_per_byte == pytest.approx(6 * 3 / 14)
    assert report.bits_per_byte_by_document == {"a": pytest.approx(4 * 3 / 9), "b": pytest.approx(2 * 3 / 5)}
    assert report.next_token_accuracy == pytest.approx(2 / 6)  # of equals, the first


class Seen(TorchDispatchMode):
    """Notes the largest tensor of float32 that any op makes."""

    def __init__(self):
        super().__init__()
        self.largest_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32:
                self.largest_bytes = max(self.largest_bytes, tensor.nbytes)
        return made


class Half(nn.Module):
    """Gives logits of half precision that lie there already."""

    def __init__(self, blocks, tokens, vocabulary):
        super().__init__()
        torch.manual_seed(0)
        self.logits = torch.randn(blocks, tokens, vocabulary).bfloat16()

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.logits[: len(input_ids)])


def test_logits_become_float32_some_tokens_at_a_time_with_the_same_figures():
    blocks, tokens, vocabulary = 3, 700, 1000
    module = Half(blocks, tokens, vocabulary)
    batch = {"input_ids": torch.randint(vocabulary, (blocks, tokens + 1)), "indices": torch.arange(blocks)}
    with Seen() as seen:
        report = evaluate_language(
            module, [batch], num_bytes=np.full(3, 900), documents=("a", "b", "a"), device=torch.device("cpu")
        )
    assert seen.largest_bytes <= 256 * vocabulary * 4
    targets = batch["input_ids"][:, 1:]
    losses = nn.functional.cross_entropy(module.logits.float().transpose(1, 2), targets, reduction="none")
    assert report.loss == pytest.approx(losses.double().mean().item(), rel=1e-6)
    assert report.next_token_accuracy == (module.logits.argmax(-1) == targets).double().mean().item()
    nats_of_b = losses[1].double().sum().item()
    assert report.bits_per_byte_by_document["b"] == pytest.approx(nats_of_b / math.log(2) / 900)


def test_a_batch_that_is_cut_gives_the_same_report():
    batch = {"input_ids": torch.randint(8, (5, 4)), "indices": torch.tensor([0, 1, 2, 1, 0])}

    def in_pieces(tell, whole):
        return [tell({name: values[at : at + 2] for name, values in whole.items()}) for at in (0, 2, 4)]

    options: dict[str, Any] = {
        "num_bytes": np.array([3, 5, 6]),
        "documents": ("a", "b", "a"),
        "device": torch.device("cpu"),
    }
    assert evaluate_language(Uniform(), [batch], **options, ask=in_pieces) == judged([batch])


def test_no_block_is_refused():
    with pytest.raises(DataError, match="wants one block"):
        judged([])


def test_the_task_compares_every_place():
    evaluator = LanguageEvaluator()
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]], dtype=np.float32))
    (answer,) = evaluator.predictions({"logits": logits})
    assert answer == pytest.approx(np.exp(logits[0]))
    quality = evaluator.quality([answer], [np.array([0, 2])])
    assert quality == {"next-token accuracy": 0.5, "mean_probability": pytest.approx(0.4)}
    other = np.array([[0.3, 0.6, 0.1], [0.1, 0.8, 0.1]], dtype=np.float32)
    found = evaluator.compare([answer], [other])
    assert found.difference == pytest.approx(0.4)
    assert found.agreement == 0.5
