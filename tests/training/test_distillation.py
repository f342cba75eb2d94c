"""The distilled loss by hand, and what the teacher sees."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from eightgig.core.tracker import NoTracker
from eightgig.training.distillation import DistillationObjective, soft_loss_sum
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer


class Remembers(nn.Module):
    """A teacher that notes how it was called."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(6, 3), nn.Dropout(0.5)
        self.seen = []

    def forward(self, inputs):
        self.seen.append((inputs, torch.is_grad_enabled(), self.training))
        return self.dropout(self.linear(inputs))


class Shaken:
    """A task that changes its inputs at random, as augmentation does."""

    score_name = "accuracy"

    def count(self, batch):
        return len(batch["labels"])

    def loss_sum(self, module, batch, device):
        logits = module(batch["inputs"] + torch.rand(1))
        return functional.cross_entropy(logits, batch["labels"], reduction="sum")

    def evaluate(self, module, batches, device):
        return {"loss": 0.25, "score": 0.75}


@pytest.fixture
def batch():
    return {"inputs": torch.arange(12.0).view(2, 6) / 10, "labels": torch.tensor([0, 2])}


def test_the_soft_loss_by_hand():
    # Softened by T = 2: the student says 1/2, 1/2; the teacher 3/4, 1/4.
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_loss_sum(student, teacher, temperature=2.0).item() == pytest.approx(4 * divergence, rel=1e-6)


def test_the_soft_loss_is_summed_over_samples_and_nothing_where_both_agree():
    logits, other = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    each = [soft_loss_sum(logits[i : i + 1], other[i : i + 1], temperature=3.0).item() for i in range(2)]
    assert soft_loss_sum(logits, other, temperature=3.0).item() == pytest.approx(sum(each), rel=1e-6)
    assert soft_loss_sum(logits, logits + 5, temperature=1.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_both_parts_are_weighed(batch, objective, alpha):
    torch.manual_seed(0)
    student, teacher = nn.Linear(6, 3), nn.Linear(6, 3)
    distilled = DistillationObjective(objective, teacher, temperature=2.0, alpha=alpha)
    hard = objective.loss_sum(student, batch, torch.device("cpu"))
    soft = soft_loss_sum(student(batch["inputs"]), teacher(batch["inputs"]), temperature=2.0)
    found = distilled.loss_sum(student, batch, torch.device("cpu"))
    assert found.item() == pytest.approx((alpha * soft + (1 - alpha) * hard).item(), rel=1e-6)


def test_both_see_the_same_augmented_batch_and_the_teacher_is_frozen(batch):
    teacher, student, entered = Remembers().train(), nn.Linear(6, 3), []
    student.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    DistillationObjective(Shaken(), teacher, temperature=2.0, alpha=0.5).loss_sum(
        student, batch, torch.device("cpu")
    ).backward()
    ((inputs, with_gradients, training),) = teacher.seen
    assert len(entered) == 1
    assert inputs is entered[0]
    assert not torch.equal(inputs, batch["inputs"])
    assert (with_gradients, training) == (False, False)
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.parameters())
    assert student.weight.grad is not None
    assert not student._forward_hooks


def test_the_teacher_computes_in_the_precision_of_the_loop(batch):
    student, teacher, kinds = nn.Linear(6, 3), nn.Linear(6, 3), []
    teacher.register_forward_hook(lambda _, __, logits: kinds.append(logits.dtype))
    for precision in ("fp32", "bf16"):
        objective = DistillationObjective(Shaken(), teacher, temperature=1.0, alpha=0.5, precision=precision)
        assert objective.loss_sum(student, batch, torch.device("cpu")).dtype == torch.float32
    assert kinds == [torch.float32, torch.bfloat16]


def test_the_task_counts_and_evaluates(batch):
    distilled = DistillationObjective(Shaken(), nn.Linear(6, 3), temperature=1.0, alpha=0.5)
    assert distilled.count(batch) == 2
    assert distilled.evaluate(nn.Linear(6, 3), [], torch.device("cpu")) == {"loss": 0.25, "score": 0.75}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_student_that_hears_the_teacher_alone_learns_its_answers(
    precision, make_module, objective, make_memory_plan, make_loader
):
    plan = make_memory_plan(precision=precision)
    teacher = Trainer(
        make_module(),
        objective,
        plan=plan,
        parameters=TrainParameters(epochs=8, learning_rate=0.05),
        steps=120,
        tracker=NoTracker(),
    )
    taught = teacher.fit(make_loader(60, 4), make_loader(30, 30)).best_score
    torch.manual_seed(1)
    student = Trainer(
        nn.Linear(6, 3),
        DistillationObjective(objective, teacher.state.unwrapped, temperature=2.0, alpha=1.0, precision=precision),
        plan=plan,
        parameters=TrainParameters(epochs=8, learning_rate=0.05),
        steps=120,
        tracker=NoTracker(),
    )
    assert taught > 0.9
    assert student.fit(make_loader(60, 4), make_loader(30, 30)).best_score == pytest.approx(taught, abs=0.04)
