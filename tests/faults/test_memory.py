"""Row 24 of the fault table: memory runs out in a step."""

import logging

import pytest
import torch
from tests.plans import make_plan
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from eightgig.core.tracker import NoTracker
from eightgig.data.images.loader import KeyedSampler
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("one_thread")]

NUM_POINTS = 24


class Points(Dataset):
    """Points of 6 numbers in 3 classes."""

    def __init__(self):
        self.inputs = torch.randn(NUM_POINTS, 6, generator=torch.Generator().manual_seed(7))

    def __getitem__(self, key):
        index = key[1]
        return {"inputs": self.inputs[index], "labels": torch.tensor(index % 3), "indices": torch.tensor(index)}


class Network(nn.Module):
    """BatchNorm and dropout: a failed forward pass has changed statistics and drawn random numbers already."""

    def __init__(self, failing_calls):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3))
        self.head = nn.Linear(16, 3)
        self.calls, self.failing_calls = 0, failing_calls

    def forward(self, inputs):
        hidden = self.body(inputs)
        if self.training:
            self.calls += 1
            if self.calls in self.failing_calls:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self.head(hidden)


class Objective:
    score_name = "accuracy"

    def count(self, batch):
        return len(batch["labels"])

    def loss_sum(self, module, batch, device):
        return functional.cross_entropy(module(batch["inputs"]), batch["labels"], reduction="sum")

    def evaluate(self, module, batches, device):
        module.eval()
        with torch.no_grad():
            right = torch.cat([module(batch["inputs"]).argmax(1) == batch["labels"] for batch in batches])
        return {"loss": 0.0, "score": right.float().mean().item(), "accuracy": right.float().mean().item()}


def train(micro_batch, gradient_accumulation_steps, failing_calls=()):
    """Train two epochs of three optimizer steps; give what became of it all."""
    torch.manual_seed(3)
    trainer = Trainer(
        Network(failing_calls),
        Objective(),
        plan=make_plan(
            micro_batch=micro_batch, gradient_accumulation_steps=gradient_accumulation_steps, eval_batch=NUM_POINTS
        ),
        parameters=TrainParameters(epochs=2, learning_rate=0.05, max_grad_norm=0.5),
        steps=6,
        tracker=NoTracker(),
    )
    sampler = KeyedSampler(range(NUM_POINTS), seed=0)
    batches = DataLoader(Points(), batch_size=micro_batch, sampler=sampler)
    result = trainer.fit(
        batches, DataLoader(Points(), batch_size=NUM_POINTS, sampler=KeyedSampler(range(NUM_POINTS), seed=0))
    )
    return trainer, result


def test_row_24_cuda_out_of_memory_in_a_step(caplog):
    """In the second step: it is done again in halves, at the same effective batch, and so are all after it."""
    with caplog.at_level(logging.WARNING):
        trainer, result = train(8, 1, failing_calls={2})
    planned, expected = train(4, 2)
    assert (trainer.train_step.plan.micro_batch, trainer.train_step.plan.gradient_accumulation_steps) == (4, 2)
    assert trainer.state.num_steps == planned.state.num_steps == 6
    assert [(each.step, each.failed_batch, each.batch) for each in trainer.train_step.recovery.recovered] == [(1, 8, 4)]
    assert "memory ran out in optimizer step 1 at micro-batch 8" in caplog.text
    assert "micro-batch 4 x 2 accumulation" in caplog.text
    assert len(result.history) == len(expected.history) == 2
    statistics = trainer.state.module.state_dict()["body.1.num_batches_tracked"]
    assert statistics == 1 + 5 * 2, "one batch in the first step, two in each of the others, none of the failed attempt"


def test_row_24_the_failed_attempt_leaves_no_trace():
    """Weights, BatchNorm's statistics and dropout's draws are those of a run that had planned half from the start."""
    trainer, _ = train(8, 1, failing_calls={1})
    planned, _ = train(4, 2)
    for name, value in planned.state.module.state_dict().items():
        assert torch.equal(trainer.state.module.state_dict()[name], value), name
