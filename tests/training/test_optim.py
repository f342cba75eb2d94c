"""The learning rate by hand arithmetic; which weights decay."""

import pytest
import torch
from torch import nn

from eightgig.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from eightgig.training.parameters import TrainParameters


def test_cosine_by_hand():
    recipe = TrainParameters(learning_rate=0.8, final_learning_rate=0.0)
    rates = [learning_rate_at(step, num_steps=4, parameters=recipe) for step in range(5)]
    assert rates == pytest.approx([0.8, 0.4 * (1 + 2**-0.5), 0.4, 0.4 * (1 - 2**-0.5), 0.0])


def test_warm_up_rises_to_the_full_rate_then_the_cosine_starts():
    recipe = TrainParameters(learning_rate=1.0, warmup_fraction=0.4, final_learning_rate=0.2)
    rates = [learning_rate_at(step, num_steps=10, parameters=recipe) for step in range(11)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[7] == pytest.approx(0.6)
    assert rates[10] == pytest.approx(0.2)


def test_constant():
    recipe = TrainParameters(learning_rate=0.3, schedule="constant")
    assert {learning_rate_at(step, num_steps=5, parameters=recipe) for step in range(5)} == {0.3}


def test_set_for_all_groups(make_memory_plan):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(module, TrainParameters(), make_memory_plan())
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_only_weights_with_two_dimensions_or_more_decay(make_memory_plan):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(module, TrainParameters(weight_decay=0.1), make_memory_plan())
    decayed = [g["weight_decay"] for g in optimizer.param_groups for _ in g["params"]]
    assert sorted(decayed) == [0.0, 0.0, 0.0, 0.1]


def test_the_plan_chooses_the_kernel(make_memory_plan):
    optimizer = build_optimizer(nn.Linear(2, 2), TrainParameters(), make_memory_plan(optimizer_kernel="fused"))
    assert optimizer.defaults["fused"] is True
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_the_plan_chooses_the_optimizer(make_memory_plan, name, kind):
    recipe = TrainParameters(optimizer=name, momentum=0.8)
    optimizer = build_optimizer(nn.Linear(2, 2), recipe, make_memory_plan(optimizer=name))
    assert type(optimizer) is kind
    if name == "sgd":
        assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.8, True)
