"""A train step made anew from the state of another goes on as that one: weights, average, scale, what was found."""

import copy
import io

import pytest
import torch
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.tracker import NoTracker
from eightgig.training.parameters import TrainParameters
from eightgig.training.train_step import TrainStep

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def make_step(objective, make_memory_plan):
    def make(*, tracker=None, micro_batch=8, **recipe):
        torch.manual_seed(3)
        module = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 3))
        parameters = TrainParameters(epochs=1, learning_rate=0.05, **recipe)
        plan = make_memory_plan(micro_batch=micro_batch, gradient_accumulation_steps=1)
        return TrainStep(module, objective, plan=plan, parameters=parameters, steps=6, tracker=tracker or NoTracker())

    return make


@pytest.fixture
def batches(make_loader):
    return list(make_loader(48, 8))


@pytest.fixture
def run_out_once(objective, monkeypatch):
    """Let the next micro-batch run out of memory."""

    def arm():
        whole = objective.loss_sum

        def fails(*_):
            monkeypatch.setattr(objective, "loss_sum", whole)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

        monkeypatch.setattr(objective, "loss_sum", fails)

    return arm


@pytest.mark.parametrize("recipe", [{}, {"ema_decay": 0.9, "ema_ramp_steps": 4}], ids=["plain", "averaged"])
def test_it_goes_on_as_if_it_had_not_stopped(make_step, batches, recipe):
    first = make_step(**recipe)
    for batch in batches[:3]:
        first.run([batch])
    state = copy.deepcopy(first.state_dict())
    other = make_step(**recipe)
    other.load_state_dict(state)
    assert (other.state.num_steps, other.learning_rate()) == (3, first.learning_rate())
    assert [first.run([batch]) for batch in batches[3:]] == [other.run([batch]) for batch in batches[3:]]
    expected, found = first.state_dict(), other.state_dict()
    assert expected["average"] is None if not recipe else expected["average"]["num_steps"] == 6
    for kind in ("weights", "optimizer", "average"):
        one, two = list(tensors(expected[kind])), list(tensors(found[kind]))
        assert len(one) == len(two)
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)), kind


def tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors(each)


def test_what_was_recovered_from_goes_with_it(make_step, batches, run_out_once):
    first = make_step()
    run_out_once()
    first.run([batches[0]])
    other = make_step()
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (other.plan.micro_batch, other.plan.gradient_accumulation_steps, other.plan.eval_batch) == (4, 2, 9)
    assert other.recovery.recovered == first.recovery.recovered
    ((phase, failed, batch),) = ((each.phase, each.failed_batch, each.batch) for each in other.recovery.recovered)
    assert (phase, failed, batch) == ("train", 8, 4)
    assert [(each.code, each.message) for each in other.plan.findings] == [
        (
            "VRAM101",
            "memory ran out in optimizer step 0 at micro-batch 8: the step was done again with micro-batch 4 x 2 "
            "accumulation, as all later ones, at the same effective batch; BatchNorm now sees 4 samples at a time",
        )
    ]


def test_a_plan_that_is_smaller_by_itself_stays_as_it_is(make_step, batches, run_out_once):
    first = make_step()
    run_out_once()
    first.run([batches[0]])
    smaller = make_step(micro_batch=2)
    smaller.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (smaller.plan.micro_batch, smaller.plan.gradient_accumulation_steps) == (2, 1)


def test_a_recovery_is_tracked_by_its_phase(make_step, batches, run_out_once):
    told = []

    class Tracker(NoTracker):
        def log_metrics(self, metrics, step=None):
            told.append((metrics, step))

    step = make_step(tracker=Tracker())
    run_out_once()
    step.run([batches[0]])
    assert told == [({"out_of_memory": 1.0, "micro_batch": 4.0}, 0)]


def test_an_average_takes_the_weights_once_more_on_the_disk(make_step, batches):
    plain, averaged, written = make_step(), make_step(ema_decay=0.9), io.BytesIO()
    for step in (plain, averaged):
        step.run([batches[0]])
    # 195 weights and BatchNorm's 2 x 16 statistics of 4 bytes, its count of 8, and 1 KiB for the names.
    assert averaged.state.num_bytes() - plain.state.num_bytes() == 4 * (195 + 32) + 8 + 1024
    torch.save(plain.state_dict(), written)
    assert plain.state.num_bytes() > written.tell()


def test_a_closed_step_gives_the_network_back(make_step, batches):
    step = make_step()
    step.run([batches[0]])
    module = step.state.module
    module(batches[1]["inputs"]).sum().backward()  # as after a step that was broken off
    step.state.close()
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in module.parameters())
    assert not step.state.optimizer.state


def test_a_window_without_a_micro_batch_of_its_own_adds_nothing(make_step, batches):
    step = make_step()
    with pytest.raises(TrainingError) as caught:
        step.run([], count=8)
    assert str(caught.value) == (
        "process 0 of 1 never gets a micro-batch: there are too few training samples for "
        "train.distributed.nproc_per_node"
    )
    step.run([batches[0]])
    before = copy.deepcopy(step.state.module[1].state_dict())
    assert step.run([], count=8) == (0.0, 0.0)
    found = step.state.module[1].state_dict()
    assert all(torch.equal(found[name], before[name]) for name in ("running_mean", "running_var"))
    assert found["num_batches_tracked"] == 1
