"""Out of memory in the middle of training: the weights are those of a run that had planned smaller from the start."""

import gc
import weakref
from contextlib import contextmanager
from itertools import count

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.tracker import NoTracker
from eightgig.training.batch_splitter import BatchSplitter, cut
from eightgig.training.parameters import TrainParameters
from eightgig.training.recovery import StepSnapshot, half_below, reset_gradients
from eightgig.training.trainer import Trainer
from eightgig.vram.runtime.offload import ActivationOffload
from eightgig.vram.runtime.recompute import apply_checkpointing

pytestmark = pytest.mark.usefixtures("one_thread")

NO_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8.00 GiB"


@pytest.fixture(autouse=True, scope="module")
def quick_collection():
    """Let gc.collect look only at what these tests make, not at all of torch: 0.3 s less each time."""
    gc.freeze()
    yield
    gc.unfreeze()


class Net(nn.Module):
    """BatchNorm, dropout, blocks that can be recomputed, a buffer nobody changes and one that is replaced."""

    def __init__(self, *, batch_norm=True):
        super().__init__()
        norm = nn.BatchNorm1d if batch_norm else nn.LayerNorm
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Linear(6, 16), norm(16), nn.Dropout(0.3), nn.Linear(16, 6), norm(6)) for _ in range(3))
        )
        self.head = nn.Linear(6, 3)
        self.register_buffer("average", torch.full((3,), 0.5))
        self.register_buffer("seen", torch.zeros(()))

    seen: torch.Tensor

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
        return self.head(self.blocks(x))


class Fault:
    """Raises out of memory at chosen calls (from 1) of whatever asks it."""

    def __init__(self, *calls, error=torch.OutOfMemoryError):
        self.calls, self.error, self.number = set(calls), error, count(1)

    def __call__(self, *_, **__):
        if next(self.number) in self.calls:
            raise self.error(NO_MEMORY)


@pytest.fixture
def make_trainer(objective, make_memory_plan):
    def make(
        micro_batch,
        gradient_accumulation_steps,
        *,
        activation_checkpointing="none",
        batch_norm=True,
        precision="fp32",
        tracker=None,
    ):
        torch.manual_seed(3)
        module = apply_checkpointing(Net(batch_norm=batch_norm), activation_checkpointing)
        parameters = TrainParameters(epochs=2, learning_rate=0.05, weight_decay=0.1, max_grad_norm=0.5)
        plan = make_memory_plan(
            micro_batch=micro_batch,
            gradient_accumulation_steps=gradient_accumulation_steps,
            activation_checkpointing=activation_checkpointing,
            precision=precision,
        )
        return Trainer(module, objective, plan=plan, parameters=parameters, steps=20, tracker=tracker or NoTracker())

    return make


@pytest.fixture
def fit(make_loader):
    """Train; give all that must be equal: weights and buffers, the optimizer's state, random numbers, the history."""

    def run(trainer, batch_size, eval_batch=9):
        torch.manual_seed(11)
        result = trainer.fit(make_loader(22, batch_size), make_loader(9, eval_batch))
        rows = [row.model_dump(exclude={"seconds", "val_seconds", "samples_per_second"}) for row in result.history]
        return {
            "weights": trainer.state.module.state_dict(),
            "optimizer": trainer.state.optimizer.state_dict()["state"],
            "random": torch.get_rng_state(),
            "best": result.best_state,
        }, rows

    return run


def assert_same(one, other):
    assert one[1] == other[1]
    for name in one[0]:
        a, b = (list(_tensors(state[0][name])) for state in (one, other))
        assert len(a) == len(b) > 0
        for got, expected in zip(a, b, strict=True):
            assert torch.equal(got, expected), name


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key in value:
            yield from _tensors(value[key])


def fail_in_forward(trainer, *calls):
    """Fail at the end of the network: the BatchNorms before it have counted, and dropout has drawn."""
    fault = Fault(*calls)
    trainer.state.module.head.register_forward_pre_hook(lambda module, _: fault() if module.training else None)


def fail_in_backward(trainer, *calls):
    """Fail in the middle of the backward pass: later layers have gradients, earlier ones have none."""
    fault = Fault(*calls)

    def watch(module, inputs, output):
        if module.training and output.requires_grad:
            output.register_hook(fault)

    trainer.state.module.blocks[1].register_forward_hook(watch)


def fail_in_clipping(trainer, *calls):
    fault, clip = Fault(*calls), trainer.state.accelerator.clip_grad_norm_

    def failing(parameters, norm):
        clipped = clip(parameters, norm)
        fault()
        return clipped

    trainer.state.accelerator.clip_grad_norm_ = failing


PLACES = [fail_in_forward, fail_in_backward, fail_in_clipping]
SECOND_STEP = {fail_in_forward: 3, fail_in_backward: 3, fail_in_clipping: 2}


@pytest.mark.parametrize(
    ("place", "activation_checkpointing"),
    [*((place, "none") for place in PLACES), (fail_in_backward, "selective"), (fail_in_backward, "full")],
)
def test_in_the_first_step_it_is_as_if_planned_smaller(place, activation_checkpointing, make_trainer, fit):
    expected = make_trainer(4, 4, activation_checkpointing=activation_checkpointing)
    trainer = make_trainer(8, 2, activation_checkpointing=activation_checkpointing)
    place(trainer, 1)

    got = fit(trainer, 8)

    assert_same(got, fit(expected, 4))
    plan = trainer.train_step.plan
    assert (plan.micro_batch, plan.gradient_accumulation_steps, plan.effective_batch) == (4, 4, 16)
    assert len(trainer.train_step.recovery.recovered) == 1


@pytest.mark.parametrize("place", PLACES)
def test_in_a_later_step_it_is_as_if_told_to_go_smaller_there(place, make_trainer, fit):
    expected, trainer = make_trainer(8, 2), make_trainer(8, 2)
    step = expected.train_step.run

    def told(window, **options):
        if expected.state.num_steps == 1:
            expected.train_step.recovery.limit("train", 4)
        return step(window, **options)

    expected.train_step.run = told
    place(trainer, SECOND_STEP[place])

    got = fit(trainer, 8)

    assert_same(got, fit(expected, 8))
    assert trainer.train_step.recovery.recovered[0].step == 1


def test_the_injected_faults_would_be_seen_if_nothing_were_restored(make_trainer, fit, monkeypatch):
    """The comparison can fail: without the snapshot BatchNorm counts twice and dropout draws anew."""
    monkeypatch.setattr(StepSnapshot, "restore", lambda _: None)
    trainer = make_trainer(8, 2)
    fail_in_forward(trainer, 1)
    got, expected = fit(trainer, 8), fit(make_trainer(4, 4), 4)
    with pytest.raises(AssertionError):
        assert_same(got, expected)


def test_in_the_second_micro_batch_and_twice_in_a_row(make_trainer, fit):
    trainer = make_trainer(8, 2)
    fail_in_forward(trainer, 2, 4)  # the window's second half; then, at micro-batch 4, its second quarter

    got = fit(trainer, 8)

    assert_same(got, fit(make_trainer(2, 8), 2))
    assert [(r.failed_batch, r.batch) for r in trainer.train_step.recovery.recovered] == [(8, 4), (4, 2)]


def test_in_the_recomputation_of_a_checkpoint(make_trainer, fit):
    trainer = make_trainer(8, 2, activation_checkpointing="full")
    fault = Fault(2)  # the first call is the forward pass, the second the recomputation in the backward pass
    trainer.state.module.blocks[2][3].register_forward_hook(lambda module, *_: fault() if module.training else None)

    got = fit(trainer, 8)

    assert_same(got, fit(make_trainer(4, 4, activation_checkpointing="full"), 4))


def test_bf16(make_trainer, fit):
    trainer = make_trainer(8, 2, precision="bf16")
    fail_in_backward(trainer, 2)
    assert_same(fit(trainer, 8), fit(make_trainer(4, 4, precision="bf16"), 4))


def test_an_odd_batch_is_cut_unevenly_and_every_sample_counts_once(make_trainer, objective, make_loader):
    trainer = make_trainer(7, 1, batch_norm=False)
    fail_in_forward(trainer, 1)
    sizes, loss_sum = [], objective.loss_sum

    def watched(module, batch, device):
        sizes.append(len(batch["labels"]))
        return loss_sum(module, batch, device)

    objective.loss_sum = watched
    trainer.train_step.run([next(iter(make_loader(7, 7)))])
    assert sizes == [7, 4, 3]


def test_gradients_of_the_cut_window_are_those_of_the_whole(make_trainer, make_loader):
    """By arithmetic: without BatchNorm and dropout the cut changes nothing but rounding."""
    gradients = []
    for place in (None, fail_in_backward):
        trainer = make_trainer(8, 1, batch_norm=False)
        trainer.state.module.blocks.apply(lambda part: setattr(part, "p", 0.0))
        if place:
            place(trainer, 1)
        weights = list(trainer.state.module.parameters())
        trainer.state.optimizer.step = lambda w=weights: gradients.append([weight.grad.clone() for weight in w])
        trainer.train_step.run([next(iter(make_loader(8, 8)))])
    for whole, in_pieces in zip(*gradients, strict=True):
        torch.testing.assert_close(in_pieces, whole, rtol=1e-5, atol=1e-7)


def test_nothing_of_the_failed_attempt_stays_in_memory(make_trainer, make_loader):
    trainer = make_trainer(8, 1)
    alive = []

    def keep_track(module, inputs, output):
        assert not any(reference() is not None for reference in alive), "the first attempt still holds its activations"
        if not alive:
            alive.append(weakref.ref(output))
            raise torch.OutOfMemoryError(NO_MEMORY)

    trainer.state.module.blocks[2].register_forward_hook(keep_track)
    gc.disable()
    try:
        trainer.train_step.run([next(iter(make_loader(8, 8)))])
    finally:
        gc.enable()
    assert len(trainer.train_step.recovery.recovered) == 1


def test_one_sample_that_does_not_fit_is_an_error_with_the_verdict(make_trainer, make_loader):
    trainer = make_trainer(2, 1, batch_norm=False)
    fail_in_forward(trainer, 1, 2)
    before = {name: value.clone() for name, value in trainer.state.module.state_dict().items()}
    with pytest.raises(
        TrainingError,
        match=r"out of memory in optimizer step 0: there was only one sample .* Nothing of this attempt was applied "
        r"to the weights\. Diagnosis: too big: .* plan\.activation_checkpointing=full .* larger card\. "
        r"The allocator's words: .*20\.00 MiB",
    ):
        trainer.train_step.run([next(iter(make_loader(2, 2)))])
    for name, value in trainer.state.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(weight.grad is None for weight in trainer.state.module.parameters())


def test_another_error_is_not_taken_for_a_shortage(make_trainer, make_loader):
    trainer = make_trainer(8, 1)
    trainer.state.module.head.register_forward_hook(Fault(1, error=RuntimeError))
    with pytest.raises(RuntimeError, match="CUDA out of memory"):  # its words alone do not make it one
        trainer.train_step.run([next(iter(make_loader(8, 8)))])
    assert not trainer.train_step.recovery.recovered


def test_a_shortage_of_main_memory_is_recovered_too(make_trainer, make_loader):
    trainer = make_trainer(8, 1)
    calls = count()
    trainer.state.module.head.register_forward_hook(lambda *_: torch.empty(2**50) if next(calls) == 0 else None)
    trainer.train_step.run([next(iter(make_loader(8, 8)))])
    assert trainer.train_step.recovery.recovered[0].batch == 4


def test_in_validation_it_is_done_again_from_the_start(make_trainer, fit):
    trainer = make_trainer(8, 2)
    fault = Fault(2)
    trainer.state.module.head.register_forward_hook(lambda module, *_: None if module.training else fault())

    got = fit(trainer, 8, eval_batch=6)  # 6 and 3: the second batch fails

    assert_same(got, fit(make_trainer(8, 2), 8, eval_batch=3))
    plan = trainer.train_step.plan
    assert (plan.micro_batch, plan.gradient_accumulation_steps, plan.eval_batch) == (8, 2, 3)
    assert [f.code for f in plan.findings] == ["VRAM102"]
    assert trainer.train_step.recovery.recovered[0].diagnosis.code == "validation"


def test_validation_of_one_sample_that_does_not_fit(make_trainer, fit):
    trainer = make_trainer(8, 2)
    trainer.state.module.head.register_forward_hook(lambda module, *_: None if module.training else Fault(1)())
    with pytest.raises(TrainingError, match="out of memory in validation: there was only one sample"):
        fit(trainer, 8)


def test_it_is_logged_tracked_and_found(make_trainer, fit, caplog):
    tracked = []

    class Tracker:
        def log_metrics(self, metrics, *, step=None):
            tracked.append((metrics, step))

    trainer = make_trainer(8, 2, tracker=Tracker())
    fail_in_forward(trainer, 3)
    fit(trainer, 8)

    assert ({"out_of_memory": 1.0, "micro_batch": 4.0}, 1) in tracked
    (finding,) = trainer.train_step.plan.findings
    assert finding.code == "VRAM101"
    assert finding.message == (
        "memory ran out in optimizer step 1 at micro-batch 6: the step was done again with micro-batch 4 x 4 "
        "accumulation, as all later ones, at the same effective batch; BatchNorm now sees 4 samples at a time"
    )
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert finding.message in warning.message
    assert "Why: " in warning.message


def test_of_several_processes_none_goes_on_alone(make_trainer, make_loader):
    trainer = make_trainer(8, 1)
    trainer.train_step.recovery._num_processes = 2
    fail_in_forward(trainer, 1)
    with pytest.raises(TrainingError, match="one of 2 processes cannot change its batch size alone"):
        trainer.train_step.run([next(iter(make_loader(8, 8)))])


def test_in_the_optimizer_no_weight_is_trusted(make_trainer, fit):
    trainer = make_trainer(8, 2)
    trainer.state.optimizer.step = Fault(2)
    with pytest.raises(
        TrainingError, match=r"out of memory inside optimizer step 1, which may have changed some weights.*Diagnosis: "
    ):
        fit(trainer, 8)


def test_an_optimizer_that_does_not_fit_is_told_before_the_first_step(make_trainer, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", Fault(1))
    with pytest.raises(TrainingError, match=r"before the first step: the optimizer's state .* a smaller model"):
        make_trainer(8, 2)


class WithScaler:
    """The loop's gradient scaler, on the CPU: accelerate makes one on CUDA alone."""

    def __init__(self, trainer):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        plain = trainer.state.optimizer.optimizer
        accelerated = AcceleratedOptimizer(plain, device_placement=False, scaler=self.scaler)
        trainer.state.optimizer, trainer.state.accelerator.scaler = accelerated, self.scaler
        trainer.state.accelerator._optimizers[:] = [accelerated]
        trainer.state.accelerator.native_amp = True
        trainer.state.accelerator.state._mixed_precision = "fp16"  # makes clip_grad_norm_ unscale
        trainer.train_step.recovery._reset = lambda: reset_gradients(trainer.state.accelerator, accelerated)


@pytest.mark.parametrize("place", PLACES)
def test_the_scaler_forgets_the_failed_attempt(place, make_trainer, fit):
    expected = make_trainer(4, 4)
    assert WithScaler(expected).scaler is expected.state.accelerator.scaler
    wanted = fit(expected, 4)
    trainer = make_trainer(8, 2)
    WithScaler(trainer)
    place(trainer, SECOND_STEP[place])
    trainer.train_step.recovery.limit("train", 4)  # so that only the failed attempt differs
    trainer.train_step.recovery._shrink = lambda *_: None

    got = fit(trainer, 8)

    assert_same(got, wanted)
    assert trainer.state.accelerator.scaler.state_dict() == expected.state.accelerator.scaler.state_dict()
    assert trainer.state.accelerator.scaler.get_scale() == 2.0**11  # 4 steps: it grew once, as it should


def test_the_scaler_of_a_failed_attempt_that_never_scaled(make_trainer, make_loader):
    trainer = make_trainer(8, 1)
    WithScaler(trainer)
    fail_in_forward(trainer, 1)
    trainer.train_step.run([next(iter(make_loader(8, 8)))])
    assert trainer.state.accelerator.scaler.get_scale() == 2.0**10


def test_cut():
    batch = {"inputs": torch.arange(10).view(5, 2), "labels": torch.arange(5)}
    assert next(cut(batch, None)) is batch
    assert next(cut(batch, 5)) is batch
    assert [piece["labels"].tolist() for piece in cut(batch, 2)] == [[0, 1], [2, 3], [4]]
    assert [len(piece["inputs"]) for piece in cut(batch, 2)] == [2, 2, 1]


@pytest.mark.parametrize(("size", "failed", "half"), [(8, 8, 4), (8, 6, 4), (8, 2, 1), (7, 7, 4), (3, 3, 2), (2, 2, 1)])
def test_half_below(size, failed, half):
    assert half_below(size, failed) == half


def test_pieces_remember_the_largest():
    pieces = BatchSplitter()
    assert len(list(pieces([{"labels": torch.zeros(2)}, {"labels": torch.zeros(5)}]))) == 2
    assert pieces.largest == 5
    pieces.limit = 3
    assert len(list(pieces([{"labels": torch.zeros(5)}]))) == 2
    assert pieces.largest == 3


@pytest.mark.parametrize("offload", [True, False])
def test_saved_activations_are_offloaded_where_the_plan_says_so(offload, make_trainer, make_loader, monkeypatch):
    entered = []

    @contextmanager
    def saving(_):
        entered.append(True)
        yield

    monkeypatch.setattr(ActivationOffload, "saving", saving)
    trainer = make_trainer(8, 1)
    trainer.train_step.recovery.plan = trainer.train_step.plan.model_copy(update={"offload": offload})
    trainer.train_step.run([next(iter(make_loader(8, 8)))])
    assert bool(entered) is offload


@pytest.mark.gpu
def test_a_real_shortage_on_the_card(objective, make_memory_plan, make_loader):
    """32 MiB a sample, and as much while it is made: 16 do not pass below 1 GiB, a few do."""
    from eightgig.core.units import MIB
    from eightgig.vram.runtime.budget import enforced_budget

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            wide = x.repeat(1, 8 * MIB // 6).exp()
            return self.head(x) + wide.sum(1, keepdim=True) * 0

    plan = make_memory_plan(
        micro_batch=16, gradient_accumulation_steps=1, device="cuda", budget_gib=1.0, context_bytes=512 * MIB
    )
    with enforced_budget(plan):
        trainer = Trainer(Wide(), objective, plan=plan, parameters=TrainParameters(), steps=1, tracker=NoTracker())
        _, norm = trainer.train_step.run([next(iter(make_loader(16, 16)))])
    assert norm is not None
    assert trainer.train_step.plan.micro_batch < 16
    assert trainer.train_step.recovery.recovered[0].diagnosis.code in {"too_big", "fragmentation"}
