"""Row 29 of the fault table: one of several processes dies or hangs."""

import os
import signal
import threading
import time

import psutil
import pytest
import torch
from tests.faults import small_cases
from tests.faults.small_cases import make_job

from eightgig.core.errors import TrainingError
from eightgig.core.stop import Stopped

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("one_thread")]

EPOCHS = 60


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


def two_processes(stores, folder):
    return make_job(
        "text",
        stores,
        folder,
        plan={"gradient_accumulation_steps": 1, "processes": 2},
        epochs=EPOCHS,
        checkpoint_minutes=0,
        distributed={"nproc_per_node": 2, "timeout_s": 8},
    )


def send_to_rank(rank, number, folder, sent):
    """Wait for the first checkpoint, then send a signal to one of the processes that this one started."""
    manifest = folder / "checkpoints" / "manifest.json"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if manifest.exists():
            for child in psutil.Process().children(recursive=True):
                if child.environ().get("RANK") == str(rank) and "eightgig.stages.distributed.worker" in child.cmdline():
                    child.send_signal(number)
                    sent.append(time.monotonic())
                    return
        time.sleep(0.05)


def children():
    found = psutil.Process().children(recursive=True)
    return {child for child in found if child.status() != psutil.STATUS_ZOMBIE}


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_row_29_a_process_dies_or_hangs_and_the_run_ends_soon_and_goes_on_exactly(stores, tmp_path, number):
    others = children()  # of tests before this one
    job, sent = two_processes(stores, tmp_path / "disturbed"), []
    thread = threading.Thread(target=send_to_rank, args=(1, number, tmp_path / "disturbed", sent))
    thread.start()
    with pytest.raises(TrainingError, match=r"process(es)? "):
        job.result(*job.network())
    assert time.monotonic() - sent[0] < 60
    thread.join()
    assert children() <= others
    before = job.open_checkpoints().newest()
    assert 0 < before.step < 3 * EPOCHS

    resumed = two_processes(stores, tmp_path / "disturbed")
    resumed = resumed.result(*resumed.network())
    whole = two_processes(stores, tmp_path / "whole")
    whole = whole.result(*whole.network())
    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in whole.history]
    assert [row.val_loss for row in resumed.history] == [row.val_loss for row in whole.history]
    assert all(torch.equal(tensor, resumed.best_state[name]) for name, tensor in whole.best_state.items())


def test_row_26_ctrl_c_ends_all_processes_with_a_checkpoint(stores, tmp_path):
    job = two_processes(stores, tmp_path)

    def press():
        manifest = tmp_path / "checkpoints" / "manifest.json"
        while not manifest.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(Stopped) as stopped:
        job.result(*job.network())
    thread.join()
    assert stopped.value.code == 130
    assert not job.open_checkpoints().newest().state["finished"]
    assert "SIGTERM: the run ends after this step" in (tmp_path / "checkpoints" / "ranks" / "log.txt").read_text()
