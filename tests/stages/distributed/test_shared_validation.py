"""A validation in two processes: the scores of one, and each sample judged once."""

from typing import Any

import pytest
import torch
from tests.faults import small_cases
from tests.faults.small_cases import make_job

from eightgig.training.batch_splitter import BatchSplitter
from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.distributed.shared_validation import SharedValidation
from eightgig.training.objective import is_judged_by_batch

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("kind", small_cases.KINDS)
def test_shares_come_together_as_one_process_has_them(stores, tmp_path, monkeypatch, kind, limit):
    job = make_job(kind, stores, tmp_path)
    network, made = job.network()
    objective: Any = made
    assert is_judged_by_batch(objective)

    def batches():
        return job.task.eval_batches(job.store, job.val_indices, size=job.size, batch_size=2, num_workers=0)

    splitter = BatchSplitter()
    splitter.limit = limit
    alone = objective.evaluate(network.module, splitter(batches()), CPU)
    judged: list[int] = []
    judge = objective.judge

    def counted(module: Any, batch: Any, device: Any) -> Any:
        judged.extend(int(index) for index in batch["indices"])
        return judge(module, batch, device)

    monkeypatch.setattr(objective, "judge", counted)
    shares: list[Any] = []

    def gather(found: list[Any], own: Any) -> None:
        shares.append(own)
        found[:] = [*shares, *[[]] * (2 - len(shares))]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    for index in range(2):
        shared = SharedValidation(batches(), ProcessGroup(index, 2, CPU), is_shared=True, in_step=False)
        together = shared.figures(objective, network.module, shared.batches, splitter)
    assert sorted(judged) == sorted(job.val_indices)
    assert together == alone


@pytest.mark.whole
@pytest.mark.parametrize(("kind", "strategy"), [("text", "ddp"), ("text", "fsdp")])
def test_two_processes_score_as_one(stores, tmp_path, kind, strategy):
    recipe: dict[str, Any] = {"epochs": 2, "ema_decay": None, "max_grad_norm": None}
    plan: dict[str, Any] = {"optimizer_kernel": "foreach"}
    alone = make_job(kind, stores, tmp_path / "one", plan=plan, **recipe)
    plan |= {"gradient_accumulation_steps": 1, "processes": 2, "eval_batch": 2}
    distributed = {"nproc_per_node": 2, "strategy": strategy}
    two = make_job(kind, stores, tmp_path / "two", plan=plan, distributed=distributed, **recipe)
    one, other = alone.result(*alone.network()), two.result(*two.network())
    for row, second in zip(one.history, other.history, strict=True):
        assert second.val_score == pytest.approx(row.val_score, abs=1e-6)
        assert second.val_loss == pytest.approx(row.val_loss, rel=1e-4)
