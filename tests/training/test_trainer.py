"""The loop: right gradients, guarded steps, the best weights."""

import math
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from tests.present import present
from tests.training.conftest import PointObjective
from torch.nn import functional

from eightgig.core.errors import TrainingError
from eightgig.core.tracker import NoTracker
from eightgig.training.checkpointing.checkpoint import Checkpoints
from eightgig.training.checkpointing.progress import result_of
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer


def make_trainer(module, objective, plan, *, checkpoints=None, steps=100, **recipe):
    parameters = TrainParameters(**{"epochs": 2, "learning_rate": 0.05, "max_grad_norm": 1e9, **recipe})
    return Trainer(
        module, objective, plan=plan, parameters=parameters, steps=steps, tracker=NoTracker(), checkpoints=checkpoints
    )


def test_unequal_micro_batches_give_the_gradient_of_the_one_big_batch(make_module, objective, make_memory_plan):
    inputs, labels = torch.randn(11, 6), torch.randint(0, 3, (11,))
    expected = make_module()
    functional.cross_entropy(expected(inputs), labels).backward()
    trainer = make_trainer(make_module(), objective, make_memory_plan())
    seen = {}
    trainer.state.optimizer.step = lambda: seen.update(
        {name: weight.grad.clone() for name, weight in trainer.state.module.named_parameters()}
    )
    cuts = [0, 4, 9, 11]  # micro-batches of 4, 5 and 2
    window = [{"inputs": inputs[a:b], "labels": labels[a:b], "indices": torch.arange(a, b)} for a, b in pairwise(cuts)]

    loss_sum, norm = trainer.train_step.run(window)

    for name, weight in expected.named_parameters():
        torch.testing.assert_close(seen[name], weight.grad, rtol=1e-5, atol=1e-7)
    assert loss_sum == pytest.approx(11 * functional.cross_entropy(make_module()(inputs), labels).item(), rel=1e-5)
    assert norm is not None


def test_partial_window_by_hand(objective, make_memory_plan):
    """One weight w, loss of a sample = cross-entropy of (w x, 0): the gradient at w = 0 is -x / 2 for class 0."""

    class OneWeight(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, 1))

        def forward(self, x):
            return torch.cat([x @ self.weight, torch.zeros(len(x), 1)], dim=1)

    trainer = make_trainer(OneWeight(), objective, make_memory_plan())
    gradients = []
    trainer.state.optimizer.step = lambda: gradients.append(trainer.state.module.weight.grad.item())

    def batch(*xs):
        return {
            "inputs": torch.tensor([[x] for x in xs]),
            "labels": torch.zeros(len(xs), dtype=torch.int64),
            "indices": torch.arange(len(xs)),
        }

    trainer.train_step.run([batch(2.0, 4.0), batch(6.0)])
    trainer.train_step.run([batch(8.0)])  # the short last window counts its one sample fully

    assert gradients == pytest.approx([-(2 + 4 + 6) / 2 / 3, -8 / 2])


@pytest.mark.parametrize("micro_batch", [12, 4, 3])
def test_accumulation_does_not_change_the_result(micro_batch, make_module, objective, make_memory_plan, make_loader):
    def train(size):
        trainer = make_trainer(
            make_module(), objective, make_memory_plan(gradient_accumulation_steps=12 // size), epochs=3
        )
        trainer.fit(make_loader(30, size), make_loader(9, 9))
        return trainer.state.accelerator.unwrap_model(trainer.state.module).state_dict()

    reference, other = train(12), train(micro_batch)
    for name, weight in reference.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-5)


def test_learns_and_keeps_the_best_epoch(make_module, objective, make_memory_plan, make_loader, tmp_path):
    kept = Checkpoints(tmp_path, Recipe(values={}, circumstances={}))
    trainer = make_trainer(make_module(), objective, make_memory_plan(), epochs=4, checkpoints=kept)
    result = trainer.fit(make_loader(60, 4), make_loader(30, 30))

    scores = [row.val_score for row in result.history]
    assert result.best_score == max(scores) > 0.9
    assert result.best_epoch == scores.index(max(scores)) + 1
    assert [row.epoch for row in result.history] == [1, 2, 3, 4]
    assert all(row.gradient_norm > 0 and row.samples_per_second > 0 for row in result.history)
    found = present(kept.newest())
    assert found.state["finished"]
    assert result_of(found.state["result"]).history == result.history


def test_best_weights_are_of_the_best_epoch_not_the_last(make_module, objective, make_memory_plan, make_loader):
    scores = iter([0.5, 0.9, 0.7])
    states = []

    class Scripted(PointObjective):
        def evaluate(self, module, batches, device):
            states.append({name: weight.clone() for name, weight in module.state_dict().items()})
            score = next(scores)
            return {"loss": 1.0, "score": score}

    trainer = make_trainer(make_module(), Scripted(), make_memory_plan(), epochs=3)
    result = trainer.fit(make_loader(12, 4), make_loader(3, 3))
    assert (result.best_epoch, result.best_score) == (2, 0.9)
    assert torch.equal(result.best_state["0.weight"], states[1]["0.weight"])
    assert not torch.equal(result.best_state["0.weight"], states[2]["0.weight"])


def test_patience_stops_early(make_module, objective, make_memory_plan, make_loader):
    class Flat(PointObjective):
        def evaluate(self, module, batches, device):
            return {"loss": 1.0, "score": 0.5}

    trainer = make_trainer(make_module(), Flat(), make_memory_plan(), epochs=9, patience=2)
    assert len(trainer.fit(make_loader(8, 4), make_loader(3, 3)).history) == 3


def test_a_loss_that_is_not_finite_changes_nothing(make_module, objective, make_memory_plan):
    trainer = make_trainer(make_module(), objective, make_memory_plan())
    before = {name: weight.clone() for name, weight in trainer.state.module.state_dict().items()}
    bad = {"inputs": torch.full((2, 6), math.nan), "labels": torch.tensor([0, 1]), "indices": torch.tensor([5, 6])}

    _, norm = trainer.train_step.run([bad])

    assert norm is None
    for name, weight in trainer.state.module.state_dict().items():
        assert torch.equal(weight, before[name])
    assert all(weight.grad is None for weight in trainer.state.module.parameters())


def test_training_stops_after_too_many_bad_steps_and_names_the_samples(
    make_module, objective, make_memory_plan, make_loader
):
    loader = make_loader(12, 4)
    loader.dataset.inputs[:] = math.nan
    trainer = make_trainer(make_module(), objective, make_memory_plan(), max_skipped_steps=2)
    with pytest.raises(
        TrainingError, match=r"2 optimizer steps in a row .* began with the samples \[\d+, .*learning_rate"
    ):
        trainer.fit(loader, make_loader(3, 3))


def test_gradients_are_clipped_and_the_norm_before_is_kept(make_module, objective, make_memory_plan, make_loader):
    trainer = make_trainer(make_module(), objective, make_memory_plan(), max_grad_norm=1e-3)
    seen = []
    trainer.state.optimizer.step = lambda: seen.append(
        torch.stack([w.grad.norm() for w in trainer.state.module.parameters()]).norm().item()
    )
    trainer.state.module.train()
    _, norm = trainer.train_step.run([next(iter(make_loader(4, 4)))])
    assert seen[0] == pytest.approx(1e-3, rel=1e-3)
    assert norm > 1e-2


def test_bf16_on_the_cpu_trains(make_module, objective, make_memory_plan, make_loader):
    trainer = make_trainer(make_module(), objective, make_memory_plan(precision="bf16"), epochs=4)
    result = trainer.fit(make_loader(60, 4), make_loader(30, 30))
    assert result.best_score > 0.8
    assert all(tensor.dtype == torch.float32 for tensor in result.best_state.values())


def test_what_is_shown_is_the_whole_with_its_score_and_the_epoch_with_its_loss(
    make_module, objective, make_memory_plan, make_loader, monkeypatch
):
    shown: dict[str, list[tuple[int, int | None, str]]] = {}

    @contextmanager
    def noting(description, **_):
        yield lambda done, total, note="": shown.setdefault(description, []).append((done, total, note))

    monkeypatch.setattr("eightgig.training.trainer.progress", noting)
    trainer = make_trainer(make_module(), objective, make_memory_plan(micro_batch=4), epochs=2, steps=6)
    result = trainer.fit(make_loader(12, 4), make_loader(8, 4))
    assert [done for done, _, _ in shown["epoch 2 of 2"]] == [1, 2, 3]
    assert shown["epoch 1 of 2"][-1] == (3, 3, f"loss {result.history[0].train_loss:.3f}")
    assert [done for done, _, _ in shown["training"]] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in shown["training"]} == {6}
    assert shown["training"][0][2] == ""
    assert shown["training"][-1][2] == f"{objective.score_name} {result.history[0].val_score:.3f}"
