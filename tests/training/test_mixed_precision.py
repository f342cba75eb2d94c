"""fp16 and bf16 without a card: steps that overflow, the loss scale, and what stays in half precision."""

import gc
import math
import weakref

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.tracker import NoTracker
from eightgig.training.loss_scale import ConstantScaler, LossScale, gradient_scaler
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer
from eightgig.vram.runtime.autocast import autocast_forward, plain_forward

pytestmark = pytest.mark.usefixtures("one_thread")
KERNELS = [("adamw", "fused"), ("adamw", "foreach"), ("adam", "fused"), ("sgd", "foreach")]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        return self.body(x)


def with_scaler(trainer, scaler):
    """Put a gradient scaler on the CPU into the trainer, as accelerate gives one on CUDA."""
    accelerated = AcceleratedOptimizer(trainer.state.optimizer.optimizer, device_placement=False, scaler=scaler)
    trainer.state.optimizer, trainer.state.accelerator.scaler = accelerated, scaler
    trainer.state.accelerator._optimizers[:] = [accelerated]
    trainer.state.accelerator.native_amp = True
    trainer.state.accelerator.state._mixed_precision = "fp16"  # makes clip_grad_norm_ unscale
    scaler.scale(torch.zeros(()))
    trainer.state.loss_scale = LossScale(scaler)
    return trainer


@pytest.fixture
def make_trainer(objective, make_memory_plan):
    def make(optimizer="adamw", kernel="fused", scaler=None, plan=None, **recipe):
        torch.manual_seed(3)
        parameters = TrainParameters(optimizer=optimizer, epochs=2, learning_rate=0.05, **recipe)
        made = make_memory_plan(micro_batch=4, optimizer=optimizer, optimizer_kernel=kernel, **(plan or {}))
        trainer = Trainer(Net(), objective, plan=made, parameters=parameters, steps=20, tracker=NoTracker())
        return trainer if scaler is None else with_scaler(trainer, scaler)

    return make


def overflow_in(trainer, *steps):
    """Let gradients of some steps be too large for fp16, with a loss that is finite."""

    def enlarge(gradient):
        return gradient * math.inf if trainer.state.num_steps in steps else gradient

    next(trainer.state.module.parameters()).register_hook(enlarge)


def state_of(trainer):
    tensors = [*trainer.state.module.state_dict().values()]
    states = trainer.state.optimizer.state.values()
    tensors += [value for state in states for value in state.values() if value is not None]
    return [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize(("optimizer", "kernel"), KERNELS)
def test_a_step_that_overflows_is_skipped_whole_and_noticed(optimizer, kernel, clip, make_trainer, make_loader):
    """torch's scaler always calls a fused optimizer's step, so that what is counted there is no step that was made."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer = make_trainer(optimizer, kernel, scaler, max_grad_norm=clip, ema_decay=0.9)
    batches = list(make_loader(12, 4))
    overflow_in(trainer, 1)
    trainer.train_step.run(batches[:1])
    before, averaged = state_of(trainer), trainer.state.average.num_steps
    _, norm = trainer.train_step.run(batches[1:2])
    assert norm is None
    assert all(torch.equal(one, other) for one, other in zip(state_of(trainer), before, strict=True))
    assert trainer.state.average.num_steps == averaged
    assert (scaler.get_scale(), trainer.state.loss_scale.value) == (2.0**9, 2.0**9)
    _, norm = trainer.train_step.run(batches[2:])
    assert math.isfinite(norm)
    assert any(not torch.equal(one, other) for one, other in zip(state_of(trainer), before, strict=True))


@pytest.mark.parametrize(("optimizer", "kernel"), KERNELS)
def test_skipped_steps_are_counted_and_the_epochs_norm_is_of_the_others(optimizer, kernel, make_trainer, make_loader):
    trainer = make_trainer(optimizer, kernel, torch.amp.GradScaler("cpu", init_scale=2.0**10))
    overflow_in(trainer, 1, 3)
    first, second = trainer.fit(make_loader(20, 4), make_loader(8, 8)).history
    assert (first.skipped_steps, second.skipped_steps) == (2, 0)
    assert math.isfinite(first.gradient_norm)
    assert math.isfinite(first.gradient_norm_max)
    assert (first.loss_scale, second.loss_scale) == (2.0**8, 2.0**8)


def test_too_many_in_a_row_end_the_run(make_trainer, make_loader):
    trainer = make_trainer(scaler=torch.amp.GradScaler("cpu"), max_skipped_steps=3)
    overflow_in(trainer, *range(20))
    with pytest.raises(TrainingError, match=r"3 optimizer steps in a row had a loss or gradients that were not finite"):
        trainer.fit(make_loader(20, 4), make_loader(8, 8))


def test_a_constant_scale_stays_whatever_happens(make_trainer, make_loader):
    scaler = ConstantScaler("cpu", init_scale=128.0)
    trainer = make_trainer(scaler=scaler)
    overflow_in(trainer, 1, 2)
    batch = [next(iter(make_loader(4, 4)))]
    norms = [trainer.train_step.run(batch)[1] for _ in range(4)]
    assert [norm is None for norm in norms] == [False, True, True, False]
    assert (scaler.get_scale(), trainer.state.loss_scale.value) == (128.0, 128.0)


@pytest.mark.parametrize(
    ("recipe", "kind", "scale", "interval"),
    [
        ({}, torch.amp.GradScaler, 65536.0, 2000),
        ({"loss_scale_init": 256.0, "loss_scale_growth_interval": 7}, torch.amp.GradScaler, 256.0, 7),
        ({"loss_scale": 1024}, ConstantScaler, 1024.0, 2000),
    ],
)
def test_the_recipe_chooses_the_scaler(recipe, kind, scale, interval):
    scaler = gradient_scaler(TrainParameters(**recipe), "cpu")
    assert type(scaler) is kind
    assert (scaler.get_scale(), scaler.get_growth_interval()) == (scale, interval)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4))
def test_the_scale_is_followed_as_torch_moves_it(steps, interval):
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=interval)
    scaler.scale(torch.zeros(()))
    followed = LossScale(scaler)
    for good in steps:
        weight.grad = torch.tensor(1.0 if good else math.inf)
        scaler.unscale_(optimizer)
        scaler.update()
        followed.after_step(stepped=good)
        assert followed.value == scaler.get_scale()


def test_a_scale_that_keeps_falling_is_a_finding(make_trainer, make_loader, caplog):
    trainer = make_trainer(scaler=torch.amp.GradScaler("cpu"), max_skipped_steps=99)
    overflow_in(trainer, *range(20))
    batch = [next(iter(make_loader(4, 4)))]
    for _ in range(9):
        trainer.train_step.run(batch)
    assert not trainer.train_step.plan.findings
    for _ in range(5):
        trainer.train_step.run(batch)
    (finding,) = trainer.train_step.plan.findings  # told once
    assert finding.code == "VRAM103"
    assert "the loss scale of fp16 keeps falling: 10 times without rising, to 64" in finding.message
    assert "set plan.precision to bf16" in finding.message
    assert "VRAM103: the loss scale" in caplog.text


def test_the_scale_goes_on_where_it_was(make_trainer, make_loader):
    trainer = make_trainer(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3))
    overflow_in(trainer, 1)
    batch = [next(iter(make_loader(4, 4)))]
    for _ in range(4):
        trainer.train_step.run(batch)
    other = make_trainer(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3))
    other.train_step.load_state_dict(trainer.train_step.state_dict())
    assert vars(other.state.loss_scale).items() >= {"value": 2.0**9, "_good_steps": 2, "falls": 1}.items()
    other.train_step.run(batch)
    assert other.state.loss_scale.value == other.state.accelerator.scaler.get_scale() == 2.0**10


def test_outputs_stay_in_half_precision(make_trainer, make_loader):
    """An objective turns into float32 what it must: all logits of GPT-2's vocabulary are 0.2 GiB for 1,024 tokens."""
    trainer = make_trainer(plan={"precision": "bf16"})
    seen = []
    trainer.state.module.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    trainer.train_step.run([next(iter(make_loader(4, 4)))])
    assert seen == [torch.bfloat16]


def test_autocast_is_taken_off_again():
    module = Net()
    autocast_forward(module, "cpu", "bf16")
    assert module(torch.rand(4, 6)).dtype == torch.bfloat16
    plain_forward(module)
    assert "forward" not in vars(module)
    assert module(torch.rand(4, 6)).dtype == torch.float32
    plain_forward(module)  # a second time does nothing


def test_autocast_around_a_forward_of_the_modules_own_gives_it_back():
    module = Net()
    own = module.forward = lambda x: Net.forward(module, x)
    autocast_forward(module, "cpu", "bf16")
    plain_forward(module)
    assert module.forward is own


def test_the_state_of_an_optimizer_with_a_scaler_goes_with_its_trainer(make_trainer, make_loader):
    """accelerate gives such an optimizer a step that knows it, which is a cycle: nothing frees it but a collection."""
    gc.collect()
    gc.disable()
    try:
        trainer = make_trainer(scaler=torch.amp.GradScaler("cpu"))
        trainer.train_step.run([next(iter(make_loader(4, 4)))])
        state = [weakref.ref(value) for values in trainer.state.optimizer.state.values() for value in values.values()]
        trainer.close()
        del trainer
        assert state
        assert not any(reference() is not None for reference in state)
    finally:
        gc.enable()


@pytest.mark.gpu
@pytest.mark.parametrize(("optimizer", "kernel"), KERNELS)
def test_on_a_card_an_overflow_is_skipped_and_noticed(optimizer, kernel, make_trainer, make_loader):
    plan = {"device": "cuda", "precision": "fp16"}
    trainer = make_trainer(optimizer, kernel, plan=plan, loss_scale_init=2.0**12)
    batch = [next(iter(make_loader(4, 4)))]
    overflow_in(trainer, 1)
    assert trainer.train_step.run(batch)[1] is not None
    before = state_of(trainer)
    assert trainer.train_step.run(batch)[1] is None
    assert all(torch.equal(one, other) for one, other in zip(state_of(trainer), before, strict=True))
    assert trainer.state.accelerator.scaler.get_scale() == trainer.state.loss_scale.value == 2.0**11
    trainer.close()
