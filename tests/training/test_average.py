"""The moving average of weights: by hand, in the module's place, and in the training loop."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from eightgig.core.tracker import NoTracker
from eightgig.training.average import WeightAverage, WithAverage
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer


@pytest.fixture
def module():
    made: Any = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        made[0].weight.fill_(1.0)
    return made


def test_one_step_by_hand(module):
    average = WeightAverage(module, decay=0.5, ramp_steps=2)
    with torch.no_grad():
        module[0].weight.fill_(3.0)
    average.update()
    kept = 0.5 * (1 - math.exp(-0.5))
    with average.in_place():
        assert module[0].weight.item() == pytest.approx(kept * 1.0 + (1 - kept) * 3.0)
    assert module[0].weight.item() == 3.0


def test_buffers_are_averaged_and_counters_are_left_alone(module):
    average = WeightAverage(module, decay=0.999, ramp_steps=1)
    module[1].running_mean.fill_(1.0)
    module[1].num_batches_tracked.fill_(7)
    average.update()
    with average.in_place():
        assert 0 < module[1].running_mean.item() < 1
        assert module[1].num_batches_tracked.item() == 7


def test_the_weights_of_training_come_back_after_an_error(module):
    average = WeightAverage(module, decay=0.9, ramp_steps=1)
    with torch.no_grad():
        module[0].weight.fill_(3.0)
    with pytest.raises(RuntimeError, match="out of memory"), average.in_place():
        assert module[0].weight.item() == 1.0
        raise RuntimeError("out of memory")
    assert module[0].weight.item() == 3.0


def test_the_planner_counts_the_copy(module):
    counted = WithAverage(module)
    copies = [buffer for name, buffer in counted.named_buffers() if name.startswith("average_")]
    floats = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    assert sorted(t.numel() for t in copies) == sorted(t.numel() for t in floats)
    inputs = torch.ones(4, 1)
    assert torch.equal(counted.eval()(inputs), module.eval()(inputs))


def test_what_is_kept_of_a_training_is_the_average(make_module, make_memory_plan, make_loader, objective):
    def train(ema_decay):
        torch.manual_seed(0)
        recipe = TrainParameters(epochs=1, learning_rate=0.1, ema_decay=ema_decay, ema_ramp_steps=1)
        trainer = Trainer(
            make_module(), objective, steps=3, plan=make_memory_plan(), parameters=recipe, tracker=NoTracker()
        )
        return trainer, trainer.fit(make_loader(12, 4), make_loader(9, 9))

    trainer, result = train(0.9)
    state = trainer.train_step.state_dict()
    assert not torch.equal(state["average"]["weights"]["0.weight"], state["weights"]["0.weight"])
    assert torch.equal(trainer.state.module[0].weight, state["weights"]["0.weight"])
    assert torch.equal(result.best_state["0.weight"], state["average"]["weights"]["0.weight"])
    trainer, plain = train(None)
    assert trainer.train_step.state_dict()["average"] is None
    assert torch.equal(plain.best_state["0.weight"], trainer.state.module[0].weight)
