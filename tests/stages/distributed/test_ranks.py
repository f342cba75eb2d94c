"""Several processes on one network: what is started, how batches are shared out, and that the result is the same."""

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.faults import small_cases
from tests.faults.last_is_best import BY_KIND
from tests.faults.short_of_memory import ShortSentimentClassifier
from tests.faults.small_cases import KINDS, make_job
from tests.loaders import sampler_of
from tests.plans import make_plan

from eightgig.core.errors import ConfigurationError, TrainingError
from eightgig.data.images.loader import share_of
from eightgig.stages.distributed.config import WorkerFailure
from eightgig.stages.distributed.launcher import smaller_plan, torchrun_command
from eightgig.stages.plan import share_of_one_process
from eightgig.training.distributed.parameters import DistributedParameters
from eightgig.training.parameters import TrainParameters
from eightgig.vram.runtime.diagnosis import OomDiagnosis, Recovered

pytestmark = pytest.mark.usefixtures("one_thread")

TWO: dict[str, Any] = {"distributed": {"nproc_per_node": 2}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


class Keeps:
    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, *, step=None):
        self.rows.append((step, metrics))


def recovered(phase="train", batch=2):
    diagnosis = OomDiagnosis(code="too_big", finding="it was too much", advice="take less")
    return Recovered(phase=phase, step=3, failed_batch=4, batch=batch, diagnosis=diagnosis)


def test_one_machine_needs_no_address():
    command = torchrun_command(DistributedParameters(nproc_per_node=3), Path("job.json"))
    assert command[:4] == [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3"]
    assert "--standalone" in command
    assert "--max-restarts=0" in command


def test_several_machines_meet_at_one_address():
    distributed = DistributedParameters(nproc_per_node=2, nodes=2, rdzv_endpoint="first:1234")
    command = torchrun_command(distributed, Path("job.json"), node=1)
    assert {"--nnodes=2", "--node-rank=1", "--master-addr=first", "--master-port=1234"} <= set(command)
    with pytest.raises(ConfigurationError, match=r"nodes is 2: set train.distributed.rdzv_endpoint to host:port"):
        torchrun_command(DistributedParameters(nodes=2), Path("job.json"))


def test_less_is_the_same_effective_batch():
    made = smaller_plan(make_plan(micro_batch=6, gradient_accumulation_steps=2, processes=2), recovered(batch=3))
    assert (made.micro_batch, made.gradient_accumulation_steps, made.effective_batch) == (3, 4, 24)
    assert made.findings[-1].code == "VRAM101"
    made = smaller_plan(make_plan(), recovered("validate", batch=2))
    assert (made.eval_batch, made.micro_batch, made.findings[-1].code) == (2, 4, "VRAM102")


def test_a_step_that_cannot_be_shared_out_is_refused():
    train = TrainParameters(batch_size=3, gradient_accumulation_steps=3, **TWO)
    with pytest.raises(ConfigurationError, match=r"9 samples a step cannot be shared out among 2 .* such as 10"):
        share_of_one_process(train)
    assert share_of_one_process(TrainParameters(batch_size=4, gradient_accumulation_steps=2, **TWO)) == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3])
def test_samplers_are_disjoint_and_complete(stores, tmp_path, kind, count):
    job = make_job(kind, stores, tmp_path)

    def loader():
        return job.task.train_batches(job.store, job.train_indices, size=job.size, batch_size=4, train=job.train)

    for epoch, done in ((1, 0), (2, 0), (2, 8)):
        whole = loader()
        sampler_of(whole).set_epoch(epoch, done)
        expected = [batch["indices"].tolist() for batch in whole]
        shares = [share_of(loader(), index, count) for index in range(count)]
        for share in shares:
            sampler_of(share).set_epoch(epoch, done)
        found = [[batch["indices"].tolist() for batch in share] for share in shares]
        assert [found[number % count][number // count] for number in range(len(expected))] == expected
        assert sum(map(len, found)) == len(expected)
        assert sum(len(sampler_of(share)) for share in shares) == len(job.train_indices) - done


def results(stores, tmp_path, kind, *, epochs, strategy="ddp", kernel="fused", **train):
    """Return the results of one process and of two at the same effective batch, what was tracked, the job of two."""
    tracker = Keeps()
    # Averages of weights stay out: what is compared is every step.
    gradient_accumulation_steps = train.get("gradient_accumulation_steps", 2)
    plan = {"gradient_accumulation_steps": gradient_accumulation_steps, "optimizer_kernel": kernel}
    alone = make_job(kind, stores, tmp_path / "one", plan=plan, epochs=epochs, ema_decay=None, **train)
    plan |= {"gradient_accumulation_steps": gradient_accumulation_steps // 2, "processes": 2}
    distributed = {"nproc_per_node": 2, "strategy": strategy}
    two = make_job(
        kind,
        stores,
        tmp_path / "two",
        tracker=tracker,
        plan=plan,
        epochs=epochs,
        ema_decay=None,
        distributed=distributed,
        **train,
    )
    one, other = (replace(job, task=BY_KIND[kind]()) for job in (alone, two))
    return one.result(*one.network()), other.result(*other.network()), tracker.rows, other


def assert_close(one, two):
    assert len(one.history) == len(two.history)
    for row, other in zip(one.history, two.history, strict=True):
        assert other.train_loss == pytest.approx(row.train_loss, abs=1e-5)
    for name, tensor in one.best_state.items():
        if tensor.is_floating_point() and "running_" not in name:
            torch.testing.assert_close(two.best_state[name], tensor, rtol=0, atol=1e-4, msg=name)


# 51 optimizer steps of two micro-batches, one for each process.
FIFTY = {"epochs": 17, "gradient_accumulation_steps": 2}


def test_two_processes_give_what_one_gives_and_their_result_is_taken(stores, tmp_path, monkeypatch):
    one, two, tracked, job = results(stores, tmp_path, "text", **FIFTY)
    assert_close(one, two)
    assert [step for step, metrics in tracked if "train_loss" in metrics] == list(range(1, 18))
    assert two.final == {"micro_batch": 4, "gradient_accumulation_steps": 1, "eval_batch": 4}
    torch.set_num_threads(3)  # as the pipeline's process may well have more than each of the others
    monkeypatch.setattr("eightgig.stages.training_job.train_distributed", lambda *_: pytest.fail("trained anew"))
    assert job.result(*job.network()).history == two.history


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_of_each_case_study_in_two_processes(stores, tmp_path, kind, strategy):
    recipe: dict[str, Any] = {"learning_rate": 1e-4}
    if strategy == "fsdp":  # the norm of parts, and the fused kernel on a few numbers, are rounded in another way
        recipe |= {"max_grad_norm": None, "kernel": "foreach"}
    one, two, _, _ = results(stores, tmp_path, kind, strategy=strategy, **recipe, **FIFTY)
    assert_close(one, two)


def test_when_memory_runs_out_in_one_all_begin_again_smaller_plan(stores, tmp_path, monkeypatch):
    from eightgig.stages.distributed import launcher as ranks

    launched = []

    class Launch:
        def __init__(self, config, folder, tracker):
            self.config = config

        def run(self):
            launched.append(self.config.plan.micro_batch)
            if self.config.attempt == 0:
                return WorkerFailure(rank=1, error="out of memory in optimizer step 3", recovered=recovered())
            alone = make_job("text", stores, tmp_path, plan={"processes": 1}, epochs=1)
            alone.run(*alone.network(), None)
            return None

    monkeypatch.setattr(ranks, "_Launch", Launch)
    job = make_job("text", stores, tmp_path, plan={"gradient_accumulation_steps": 1, "processes": 2}, epochs=1)
    result = ranks.train_distributed(job.worker_config(), job.open_checkpoints(), job.tracker)
    assert launched == [4, 2]
    assert result.recovered[0].batch == 2


@pytest.mark.slow
def test_when_memory_really_runs_out_in_one_the_run_goes_on_smaller_plan(stores, tmp_path, caplog):
    job = make_job(
        "text", stores, tmp_path / "two", plan={"gradient_accumulation_steps": 1, "processes": 2}, epochs=2, **TWO
    )
    job = replace(job, task=ShortSentimentClassifier())
    result = job.result(*job.network())
    assert [(one.phase, one.failed_batch, one.batch) for one in result.recovered] == [("train", 4, 2)]
    assert result.final == {"micro_batch": 2, "gradient_accumulation_steps": 2, "eval_batch": 4}
    assert "All processes begin again from the last checkpoint" in caplog.text
    alone = make_job(
        "text", stores, tmp_path / "one", plan={"micro_batch": 2, "gradient_accumulation_steps": 4}, epochs=2
    )
    assert_close(alone.result(*alone.network()), result)


def test_a_failure_in_a_process_is_told_with_its_own_words(stores, tmp_path):
    plan = {"precision": "fp16", "gradient_accumulation_steps": 1, "processes": 2}
    job = make_job("text", stores, tmp_path, plan=plan, distributed={"nproc_per_node": 2, "strategy": "fsdp"})
    with pytest.raises(TrainingError, match=r"process \d of 2: train.distributed.strategy: fsdp computes in bf16 or"):
        job.result(*job.network())


@pytest.mark.slow
def test_two_machines_meet_and_give_what_one_gives(stores, tmp_path):
    """Both are this one: what is tried is the way they find each other, and that the second one ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job_path = tmp_path / "two" / "checkpoints" / "ranks" / "job.json"
    joining = [sys.executable, "-c", "from eightgig.cli import main; main()", "join", str(job_path), "--node-rank", "1"]
    with subprocess.Popen(joining, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as joined:
        alone = make_job("text", stores, tmp_path / "one", epochs=4)
        two = make_job(
            "text",
            stores,
            tmp_path / "two",
            epochs=4,
            plan={"gradient_accumulation_steps": 1, "processes": 2},
            distributed={"nproc_per_node": 1, "nodes": 2, "rdzv_endpoint": f"127.0.0.1:{port}"},
        )
        result = two.result(*two.network())
        assert joined.wait(timeout=60) == 0
    assert_close(alone.result(*alone.network()), result)
