"""Layers of one network in several processes: the same result as one process's, whatever is cut where."""

import shutil
import signal
import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.faults import small_cases
from tests.faults.last_is_best import BY_KIND
from tests.faults.short_of_memory import ShortSentimentClassifier
from tests.faults.small_cases import make_job
from tests.faults.test_ranks import send_to_rank

from eightgig.core.errors import ConfigurationError, TrainingError
from eightgig.stages.plan import plan_request
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import StagePlan
from eightgig.vram.planning.target import target_of
from eightgig.vram.tracing.predictor import Predictor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


@pytest.fixture(scope="module")
def predictor():
    with Predictor(in_process=True) as made:
        yield made


def stages_of(job, predictor, count):
    """Return stages of about as many parts each."""
    facts = predictor.facts(
        job.task.workload(job.model, job.task.num_outputs(job.store), job.train.model_copy(update={"ema_decay": None})),
        4,
        "none",
    )
    cuts = [facts.cuts[len(facts.cuts) * number // count] for number in range(1, count)]
    bounds = [0, *cuts, len(facts.calls)]
    return tuple(
        StagePlan(parts=tuple(dict.fromkeys(call.part for call in facts.calls[begin:end])), budget_gib=8)
        for begin, end in pairwise(bounds)
    )


def jobs(kind, stores, folder, predictor, *, count=2, epochs=10, checkpoint_minutes=30.0, **distributed: Any):
    """Return the job of one process, and that of several stages."""
    recipe: dict[str, Any] = {"epochs": epochs, "checkpoint_minutes": checkpoint_minutes}
    alone = make_job(kind, stores, folder / "one", plan={"optimizer_kernel": "foreach"}, **recipe)
    asked = {"nproc_per_node": count, "strategy": "pipeline", **distributed}
    plan = {"optimizer_kernel": "foreach", "stages": stages_of(alone, predictor, count)}
    several = make_job(kind, stores, folder / "several", plan=plan, distributed=asked, **recipe)
    return tuple(replace(job, task=BY_KIND[kind]()) for job in (alone, several))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("classifier", {}),
        ("detector", {}),
        ("segmenter", {"count": 3, "schedule": "gpipe"}),
        ("text", {"strategy": "model"}),
    ],
)
def test_stages_give_what_one_process_gives(stores, tmp_path, predictor, kind, options):
    alone, several = jobs(kind, stores, tmp_path, predictor, **options)
    one, other = alone.result(*alone.network()), several.result(*several.network())
    assert len(one.history) == len(other.history) == 10  # 30 optimizer steps
    for row, second in zip(one.history, other.history, strict=True):
        assert second.train_loss == pytest.approx(row.train_loss, abs=1e-5)
        assert second.val_score == pytest.approx(row.val_score, abs=1e-6)
    assert one.best_state.keys() == other.best_state.keys()
    for name, tensor in one.best_state.items():
        torch.testing.assert_close(other.best_state[name], tensor, rtol=0, atol=1e-4, msg=name)


@pytest.mark.slow
def test_a_stage_is_killed_and_one_process_goes_on_exactly_and_back(stores, tmp_path, predictor):
    alone, several = jobs("text", stores, tmp_path, predictor, epochs=60, checkpoint_minutes=0, timeout_s=8)
    sent: list[float] = []
    thread = threading.Thread(target=send_to_rank, args=(1, signal.SIGKILL, tmp_path / "several", sent))
    thread.start()
    with pytest.raises(TrainingError, match=r"process(es)? "):
        several.result(*several.network())
    thread.join()
    assert time.monotonic() - sent[0] < 60
    left = several.open_checkpoints().newest()
    assert left is not None
    assert 0 < left.step < 180
    kept = shutil.copytree(several.checkpoints, tmp_path / "kept")
    whole = alone.result(*alone.network())
    for job in (replace(alone, checkpoints=kept), several):
        result = job.result(*job.network())
        assert [row.epoch for row in result.history] == list(range(1, 61))
        for name, tensor in whole.best_state.items():
            assert torch.equal(result.best_state[name], tensor), name


@pytest.mark.slow
def test_memory_runs_out_in_one_stage_and_all_go_on_with_less(stores, tmp_path, predictor):
    _, several = jobs("text", stores, tmp_path, predictor, epochs=2)
    short = replace(several, task=ShortSentimentClassifier())
    result = short.result(*short.network())
    assert [(one.phase, one.failed_batch, one.batch) for one in result.recovered] == [("train", 4, 2)]
    assert result.final == {"micro_batch": 2, "gradient_accumulation_steps": 4, "eval_batch": 4}


def test_a_plan_for_other_processes_is_refused(stores, tmp_path, predictor):
    _, several = jobs("text", stores, tmp_path, predictor)
    with pytest.raises(Exception, match=r"plan has 0 stages, and 2 processes train: plan for these processes"):
        replace(several, plan=several.plan.model_copy(update={"stages": ()})).result(*several.network())


def test_budgets_are_one_for_each_process():
    from eightgig.models.parameters import ImageModelParameters
    from eightgig.tasks.classification.task import ImageClassifier

    distributed = {"nproc_per_node": 3, "strategy": "pipeline", "budgets_gib": [8, 12]}
    with pytest.raises(ConfigurationError, match=r"budgets_gib names 2 cards, and 3 processes train"):
        plan_request(
            ImageClassifier(),
            ImageModelParameters(name="torchvision/resnet18", weights="none", image_size=64),
            2,
            TrainParameters(distributed=distributed),
            precisions=("fp32",),
            target=target_of(PlanParameters(device="cpu", budget_gib=8)),
        )


@pytest.mark.parametrize("strategy", ["pipeline", "model"])
def test_what_trains_in_one_process_is_whole_whatever_the_recipe_says(stores, tmp_path, strategy):
    """As the compress stage trains: a recipe of several processes, and one that does it."""
    plain = make_job("text", stores, tmp_path / "plain", epochs=1)
    asked = make_job(
        "text", stores, tmp_path / "asked", epochs=1, distributed={"nproc_per_node": 2, "strategy": strategy}
    )
    alone = replace(asked, single_process=True)
    assert alone.result(*alone.network()).history[0].train_loss == plain.result(*plain.network()).history[0].train_loss
