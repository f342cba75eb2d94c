"""The judge of language models, against hand arithmetic."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from eightgig.bench.language import LanguageTask, evaluate_language
from eightgig.core.errors import DataError


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


def test_no_block_is_refused():
    with pytest.raises(DataError, match="wants one block"):
        judged([])


def test_the_task_compares_every_place():
    task = LanguageTask()
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]], dtype=np.float32))
    (answer,) = task.answers({"logits": logits})
    assert answer == pytest.approx(np.exp(logits[0]))
    quality = task.quality([answer], [np.array([0, 2])])
    assert quality == {"next-token accuracy": 0.5, "mean_probability": pytest.approx(0.4)}
    other = np.array([[0.3, 0.6, 0.1], [0.1, 0.8, 0.1]], dtype=np.float32)
    found = task.compare([answer], [other])
    assert found.difference == pytest.approx(0.4)
    assert found.agreement == 0.5
