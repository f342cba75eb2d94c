"""The rehearsed step makes the optimizer's state and changes nothing."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW

from eightgig.training.optimizer_warm_up import warm_up_optimizer_state

OPTIMIZERS = {
    "adamw": lambda w: AdamW(w, lr=0.1, weight_decay=0.3, foreach=True),
    "adamw, fused": lambda w: AdamW(w, lr=0.1, weight_decay=0.3, fused=True),
    "adamw, one by one": lambda w: AdamW(w, lr=0.1, weight_decay=0.3, foreach=False),
    "adam, amsgrad": lambda w: Adam(w, lr=0.1, weight_decay=0.3, amsgrad=True),
    "sgd": lambda w: SGD(w, lr=0.1, weight_decay=0.3),
    "sgd, momentum": lambda w: SGD(w, lr=0.1, weight_decay=0.3, momentum=0.9),
    "sgd, nesterov": lambda w: SGD(w, lr=0.1, weight_decay=0.3, momentum=0.9, nesterov=True),
    "sgd, dampening": lambda w: SGD(w, lr=0.1, weight_decay=0.3, momentum=0.9, dampening=0.5),
    "another": lambda w: Adadelta(w, lr=0.1, weight_decay=0.3),
}
KEEPS_STATE = set(OPTIMIZERS) - {"sgd", "sgd, dampening", "another"}


def make(name):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    return module, OPTIMIZERS[name](module.parameters())


def train(module, optimizer):
    for seed in range(3):
        torch.manual_seed(seed)
        module(torch.randn(8, 5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [weight.detach() for weight in module.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_rates_and_random_numbers_are_as_before(name):
    module, optimizer = make(name)
    before, random = [w.detach().clone() for w in module.parameters()], torch.get_rng_state()
    warm_up_optimizer_state(optimizer)
    assert all(torch.equal(w, b) for w, b in zip(module.parameters(), before, strict=True))
    assert all(w.grad is None for w in module.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_after_it_is_the_same_in_every_bit(name):
    module, optimizer = make(name)
    warm_up_optimizer_state(optimizer)
    for rehearsed, plain in zip(train(module, optimizer), train(*make(name)), strict=True):
        assert torch.equal(rehearsed, plain)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_made_where_zeros_are_as_good_as_none(name):
    module, optimizer = make(name)
    warm_up_optimizer_state(optimizer)
    made = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    assert bool(made) == (name in KEEPS_STATE)
    addresses = [value.data_ptr() for value in made]
    train(module, optimizer)
    if made:
        now = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
        assert [value.data_ptr() for value in now] == addresses  # no step after it made any anew


def test_a_zero_keeps_its_sign():
    weight = nn.Parameter(torch.tensor([-0.0, 0.0]))
    warm_up_optimizer_state(AdamW([weight], lr=0.1, weight_decay=0.3))
    assert torch.equal(torch.signbit(weight.detach()), torch.tensor([True, False]))


def test_state_that_is_there_is_left_alone():
    module, optimizer = make("adamw")
    train(module, optimizer)
    before = [state["exp_avg"].clone() for state in optimizer.state.values()]
    warm_up_optimizer_state(optimizer)
    assert [state["step"].item() for state in optimizer.state.values()] == [3.0] * 4
    assert all(torch.equal(s["exp_avg"], b) for s, b in zip(optimizer.state.values(), before, strict=True))


def test_frozen_weights_get_no_state():
    module, _ = make("adamw")
    module[0].requires_grad_(False)
    optimizer = AdamW(module.parameters(), lr=0.1)
    warm_up_optimizer_state(optimizer)
    assert set(optimizer.state) == set(module[2].parameters())
