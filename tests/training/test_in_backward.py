"""The optimizer in the backward pass: the same weights as with all gradients at once, in every bit."""

import math

import pytest
import torch
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.tracker import NoTracker
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer
from eightgig.vram.runtime.recompute import apply_checkpointing

pytestmark = pytest.mark.usefixtures("one_thread")


class Tied(nn.Module):
    """Blocks that can be recomputed, and one weight that is used at both ends."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
        self.last.weight = self.first.weight
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 6)) for _ in range(3))
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.last(self.blocks(self.first(x))))


@pytest.fixture
def make_trainer(objective, make_memory_plan):
    def make(*, in_backward=True, activation_checkpointing="none", **recipe):
        torch.manual_seed(3)
        module = apply_checkpointing(Tied(), activation_checkpointing)
        recipe = {"epochs": 2, "learning_rate": 0.05, "weight_decay": 0.1, "max_grad_norm": None, **recipe}
        plan = make_memory_plan(
            optimizer_in_backward=in_backward,
            activation_checkpointing=activation_checkpointing,
            optimizer=recipe.get("optimizer", "adamw"),
        )
        parameters = TrainParameters(**recipe)
        return Trainer(module, objective, plan=plan, parameters=parameters, steps=12, tracker=NoTracker())

    return make


@pytest.fixture
def fit(make_loader):
    def run(trainer):
        result = trainer.fit(make_loader(22, 4), make_loader(9, 9))
        rows = [row.model_dump(exclude={"seconds", "val_seconds", "samples_per_second"}) for row in result.history]
        return trainer.state.module.state_dict(), trainer.state.optimizer.state_dict(), rows

    return run


@pytest.mark.parametrize("recipe", [{}, {"optimizer": "sgd"}, {"ema_decay": 0.9}], ids=str)
@pytest.mark.parametrize("activation_checkpointing", ["none", "full"])
def test_weights_state_and_history_are_those_of_the_ordinary_step(make_trainer, fit, activation_checkpointing, recipe):
    weights, state, rows = fit(make_trainer(activation_checkpointing=activation_checkpointing, **recipe))
    expected_weights, expected_state, expected_rows = fit(
        make_trainer(in_backward=False, activation_checkpointing=activation_checkpointing, **recipe)
    )
    for name, expected in expected_weights.items():
        assert torch.equal(weights[name], expected), name
    for key, expected in expected_state["state"].items():
        for name, value in expected.items():
            assert torch.equal(torch.as_tensor(state["state"][key][name]), torch.as_tensor(value)), name
    norms = [row.pop("gradient_norm") for row in rows], [row.pop("gradient_norm_max") for row in rows]
    expected_norms = (
        [r.pop("gradient_norm") for r in expected_rows],
        [r.pop("gradient_norm_max") for r in expected_rows],
    )
    assert norms[0] == pytest.approx(expected_norms[0])  # summed in another order
    assert norms[1] == pytest.approx(expected_norms[1])
    assert rows == expected_rows


def test_gradients_are_never_all_there(make_trainer, make_loader):
    trainer = make_trainer()
    held = []
    step = trainer.state.optimizer.optimizer.step

    def watched(*args, **kwargs):
        held.append(sum(weight.grad is not None for weight in trainer.state.module.parameters()))
        return step(*args, **kwargs)

    trainer.state.optimizer.optimizer.step = watched
    trainer.train_step.run([next(iter(make_loader(4, 4)))])
    assert held == [1] * len(list(trainer.state.module.parameters()))


def test_a_loss_that_is_not_finite_changes_nothing(make_trainer, make_loader):
    trainer = make_trainer()
    before = {name: tensor.clone() for name, tensor in trainer.state.module.state_dict().items()}
    batch = next(iter(make_loader(4, 4)))
    loss, norm = trainer.train_step.run([{**batch, "inputs": batch["inputs"] * float("nan")}])
    assert math.isnan(loss)
    assert norm is None
    for name, tensor in trainer.state.module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_gradients_that_are_not_finite_end_the_run(make_trainer, make_loader):
    trainer = make_trainer()
    trainer.state.module.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="optimizer_in_backward to never"):
        trainer.train_step.run([next(iter(make_loader(4, 4)))])


def test_out_of_memory_in_the_forward_pass_goes_on_with_ordinary_steps(make_trainer, make_loader):
    ordinary, trainer = make_trainer(in_backward=False), make_trainer()
    batch = next(iter(make_loader(4, 4)))
    failures = iter([True])

    def fail_once(*_):
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    handle = trainer.state.module.head.register_forward_hook(fail_once)
    trainer.train_step.run([batch])
    handle.remove()
    ordinary.train_step.recovery.limit("train", 2)
    ordinary.train_step.run([batch])
    plan = trainer.train_step.plan
    assert (plan.micro_batch, plan.gradient_accumulation_steps, plan.optimizer_in_backward) == (2, 2, False)
    for name, tensor in ordinary.state.module.state_dict().items():
        assert torch.equal(trainer.state.module.state_dict()[name], tensor), name


def test_out_of_memory_in_the_backward_pass_has_no_way_back(make_trainer, make_loader):
    trainer = make_trainer()

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    trainer.state.module.first.bias.register_hook(fail)
    with pytest.raises(TrainingError, match="in the backward pass of step 0, which has stepped some weights"):
        trainer.train_step.run([next(iter(make_loader(4, 4)))])
