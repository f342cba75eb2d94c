"""Rows 1 to 4, 20 to 23 and 26 to 27 of the fault table: training that is killed, stopped, starved or fed nonsense."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.faults import small_cases
from tests.faults.small_cases import KINDS, NUM_SAMPLES, make_job
from tests.present import present
from torch.utils.data import get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from eightgig.core.errors import CheckpointError, TrainingError
from eightgig.core.stop import Stopped
from eightgig.data.images.loader import ImageBatches, with_workers
from eightgig.training.checkpointing import saver
from eightgig.training.objective import ClassificationObjective
from eightgig.training.train_step import TrainStep

pytestmark = pytest.mark.whole

VICTIM = Path(__file__).with_name("victim.py")
PLACES = ("step", "step half done", "save", "save unnamed", "save unlisted", "save listed", "validation")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_cases.make_stores(folder)
    return folder


@pytest.fixture
def run(stores):
    """Start a victim; give its exit code and what it printed last."""

    def start(kind, folder, *, kill=None, **train):
        asked = {"kind": kind, "stores": str(stores), "folder": str(folder), "kill": kill}
        asked["train"] = {"checkpoint_minutes": 0, **train}
        made = subprocess.run(
            [sys.executable, str(VICTIM), json.dumps(asked)], check=False, capture_output=True, text=True, timeout=300
        )
        assert made.returncode in {0, -signal.SIGKILL}, made.stderr
        said = made.stdout.strip().rpartition("\n")[2]
        assert made.returncode or re.fullmatch(r"[0-9a-f]{64}", said), "it ended well and told no hash"
        return made.returncode, said

    return start


def kill_again_and_again(run, kind, tmp_path, *, kills, epochs, workers=(0, 1, 2, 3), seed=0):
    """Return the hash of a run that is killed so many times in random places, and that of one that is not."""
    draw = random.Random(f"{kind}{seed}")
    train = {} if kind == "agent" else {"epochs": epochs}
    for number in range(kills):
        kill = [draw.choice(PLACES[:6] if kind == "agent" else PLACES), draw.choice((1, 2))]
        if kind == "agent":
            kill = [draw.choice(("step", *PLACES[2:6])), draw.choice((1, 1, 1, 2)) if kill[0] == "save listed" else 1]
        if kill[0] == "validation":
            kill[1] = 1
        code, said = run(kind, tmp_path / "killed", kill=kill, num_workers=workers[number % len(workers)], **train)
        assert code == -signal.SIGKILL, f"it was over before kill {number + 1}, {kill}: {said}"
    code, killed = run(kind, tmp_path / "killed", num_workers=workers[-1], **train)
    assert code == 0
    _, undisturbed = run(kind, tmp_path / "undisturbed", **train)
    return killed, undisturbed


def test_row_01_and_02_a_killed_run_gives_what_an_undisturbed_one_gives(run, tmp_path):
    folder, train = tmp_path / "killed", {"epochs": 2}
    for kill, workers in ((["step half done", 3], 0), (["save unlisted", 2], 1)):
        assert run("classifier", folder, kill=kill, num_workers=workers, **train)[0] == -signal.SIGKILL
    assert run("classifier", folder, num_workers=2, **train) == run("classifier", tmp_path / "whole", **train)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "agent"])
def test_row_01_and_02_twenty_five_kills(run, kind, tmp_path):
    killed, undisturbed = kill_again_and_again(run, kind, tmp_path, kills=25, epochs=24)
    assert killed == undisturbed


def interrupted_after(monkeypatch, steps, number=signal.SIGINT):
    """Let a signal come in a step of the run."""
    step, done = TrainStep.run, []

    def watched(self, *arguments, **options):
        made = step(self, *arguments, **options)
        done.append(None)
        if len(done) == steps:
            signal.raise_signal(number)
        return made

    monkeypatch.setattr(TrainStep, "run", watched)


def weights_of(job):
    return job.result(*job.network()).best_state


@pytest.fixture
def stopped_job(stores, tmp_path, monkeypatch):
    """A run of the texts that was stopped after two steps."""
    with monkeypatch.context() as patched:
        interrupted_after(patched, 2)
        job = make_job("text", stores, tmp_path)
        with pytest.raises(Stopped):
            job.result(*job.network())
    return job


def test_row_03_a_flipped_bit_in_a_checkpoint_is_seen_and_the_one_before_is_taken(
    stores, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(saver, "_MAX_TIME_SHARE", 1e9)
    with monkeypatch.context() as patched:
        interrupted_after(patched, 4)
        job = make_job("text", stores, tmp_path, checkpoint_minutes=0)
        with pytest.raises(Stopped):
            job.result(*job.network())
    newest = max(job.checkpoints.glob("*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 4
    newest.write_bytes(content)
    resumed = weights_of(job)
    assert f"{newest} is damaged" in caplog.text
    assert re.search(r"training goes on in epoch [12] after (22|0) samples: 3 optimizer steps are done", caplog.text)
    whole = weights_of(make_job("text", stores, tmp_path / "whole"))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_row_04_a_disk_without_room_for_a_checkpoint_is_told_before_training(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "eightgig.training.checkpointing.checkpoint.space_shortage", lambda *_: "only 12 bytes (12 B) are free there"
    )
    monkeypatch.setattr(TrainStep, "run", lambda *_, **__: pytest.fail("a step was done"))
    job = make_job("text", stores, tmp_path)
    with pytest.raises(CheckpointError, match=r"checkpoints/step-\d+.pt: a checkpoint needs \d+ bytes .*EIGHTGIG_DATA"):
        job.result(*job.network())


def test_row_04_a_disk_that_fills_up_later_stops_nothing_and_the_old_checkpoint_loads(
    stores, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(saver, "_MAX_TIME_SHARE", 1e9)
    save, saves = torch.save, []

    def full(state, path):
        saves.append(path)
        if len(saves) in {2, 3}:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    job = make_job("text", stores, tmp_path, epochs=2, checkpoint_minutes=0)
    names = []
    step = TrainStep.run
    monkeypatch.setattr(
        TrainStep,
        "run",
        lambda self, *a, **o: (names.append(sorted(p.name for p in job.checkpoints.glob("*.pt"))), step(self, *a, **o))[
            1
        ],
    )
    assert len(job.result(*job.network()).history) == 2
    assert names[3] == ["step-00000001.pt"]  # after two that did not fit
    assert "could not be written (No space left on device)" in caplog.text
    assert present(job.open_checkpoints().newest()).state["finished"]


class Dies(ImageBatches):
    """A loader process that the system kills in the second batch, the first `times` times."""

    marks: str
    times: int
    seen: bool

    def __getitems__(self, keys):
        mark = Path(self.marks) / str(len(list(Path(self.marks).iterdir())))
        if get_worker_info() is not None and self.seen and len(list(Path(self.marks).iterdir())) < self.times:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen = True
        return super().__getitems__(keys)


def dying_job(stores, tmp_path, *, times, workers=2):
    job = make_job("classifier", stores, tmp_path, epochs=1, num_workers=workers)
    marks = tmp_path / "marks"
    marks.mkdir(parents=True)
    batches = job.task.train_batches

    def with_dying(*arguments, **options):
        loader = batches(*arguments, **options)
        dataset: Any = loader.dataset
        dataset.__class__ = Dies
        dataset.marks, dataset.times, dataset.seen = str(marks), times, False
        return loader

    job.task.train_batches = with_dying
    return job


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_row_20_a_dead_loader_process_is_named_and_loading_goes_on_with_fewer(stores, tmp_path, caplog):
    survived = weights_of(dying_job(stores, tmp_path / "dies", times=1))
    assert "a loader process died or went silent" in caplog.text
    assert "Most likely the machine's memory or /dev/shm is full" in caplog.text
    assert "with 1 processes instead of 2" in caplog.text
    whole = weights_of(make_job("classifier", stores, tmp_path / "whole", epochs=1))
    assert all(torch.equal(tensor, survived[name]) for name, tensor in whole.items())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_row_20_and_when_another_dies_the_run_ends_with_a_way_out(stores, tmp_path):
    job = dying_job(stores, tmp_path, times=9)
    with pytest.raises(TrainingError, match=r"died or went silent again .*/dev/shm.*num_workers to 0"):
        job.result(*job.network())


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), EOFError(), BrokenPipeError()]
)
def test_row_20_a_process_that_dies_while_it_hands_over_a_batch(error, stores, tmp_path, monkeypatch, caplog):
    """Not pinned, a batch comes through a socket of the process that made it: half of the deaths look like this."""
    next_data, calls = _MultiProcessingDataLoaderIter._next_data, []

    def reset(self):
        calls.append(None)
        if len(calls) == 3:
            raise error
        return next_data(self)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_next_data", reset)
    survived = weights_of(make_job("classifier", stores, tmp_path / "dies", epochs=1, num_workers=1))
    assert "with 0 processes instead of 1" in caplog.text
    whole = weights_of(make_job("classifier", stores, tmp_path / "whole", epochs=1))
    assert all(torch.equal(tensor, survived[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_row_20_what_a_sample_itself_raises_is_not_taken_for_a_dead_process(
    workers, stores, tmp_path, monkeypatch, caplog
):
    def cut_short(self, keys):
        raise EOFError("an image is cut short")

    monkeypatch.setattr(ImageBatches, "__getitems__", cut_short)
    with pytest.raises(EOFError, match="an image is cut short"):
        weights_of(make_job("classifier", stores, tmp_path, epochs=1, num_workers=workers))
    assert "a loader process died" not in caplog.text


def test_row_20_validation_is_done_again_when_a_loader_process_dies_in_it(stores, tmp_path, monkeypatch, caplog):
    evaluate, calls = ClassificationObjective.evaluate, []

    def broken_off(self, module, batches, device):
        calls.append(None)
        if len(calls) == 1:
            next(iter(batches))
            raise ConnectionResetError(104, "Connection reset by peer")
        return evaluate(self, module, batches, device)

    monkeypatch.setattr(ClassificationObjective, "evaluate", broken_off)
    job = make_job("classifier", stores, tmp_path / "dies", epochs=1)
    batches = job.task.eval_batches
    job.task.eval_batches = lambda *arguments, **options: with_workers(batches(*arguments, **options), 1)
    survived = job.result(*job.network())
    assert "with 0 processes instead of 1" in caplog.text
    whole = make_job("classifier", stores, tmp_path / "whole", epochs=1)
    assert survived.history[0].val_loss == whole.result(*whole.network()).history[0].val_loss


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_row_21_a_loader_process_that_hangs_is_not_waited_for_for_ever(stores, tmp_path, monkeypatch, caplog):
    job = make_job("classifier", stores, tmp_path, epochs=1, num_workers=2)
    loader = job.task.train_batches(job.store, job.train_indices, size=job.size, batch_size=4, train=job.train)
    assert loader.timeout == 120  # what users get

    class Hangs(ImageBatches):
        def __getitems__(self, keys):
            if get_worker_info() is not None:
                time.sleep(600)
            return super().__getitems__(keys)

    loader.timeout = 1
    loader.dataset.__class__ = Hangs
    job.task.train_batches = lambda *_, **__: loader
    with pytest.raises(TrainingError, match=r"went silent again .*timed out after 1 seconds"):
        job.result(*job.network())
    assert "with 1 processes instead of 2" in caplog.text


def test_row_22_loader_processes_of_a_killed_run_are_waited_for(run, stores, tmp_path):
    assert run("classifier", tmp_path, kill=["step", 2], num_workers=2, epochs=1)[0] == -signal.SIGKILL
    begun = time.monotonic()
    code, _ = run("classifier", tmp_path, num_workers=0, epochs=1)
    assert code == 0
    assert time.monotonic() - begun < 60


def test_row_22_a_second_run_is_refused_while_the_first_one_lives(stores, tmp_path):
    asked = {"kind": "text", "stores": str(stores), "folder": str(tmp_path), "kill": None, "train": {"epochs": 10_000}}
    first = subprocess.Popen([sys.executable, str(VICTIM), json.dumps(asked)], stdout=subprocess.DEVNULL)
    try:
        holder = tmp_path / "checkpoints" / ".lock.pid"
        while not holder.exists():
            assert first.poll() is None
            time.sleep(0.05)
        job = make_job("text", stores, tmp_path)
        with pytest.raises(Exception, match=rf"is being trained in .* by process {first.pid} already"):
            job.result(*job.network())
    finally:
        first.kill()
        first.wait()


def test_row_23_nan_in_a_batch_is_skipped_whole_and_then_training_stops_with_the_batch_on_record(
    stores, tmp_path, monkeypatch
):
    job = make_job("classifier", stores, tmp_path, epochs=2, max_skipped_steps=3)
    network, objective = job.network()
    loss_sum, seen, states = objective.loss_sum, [], []

    def poisoned(module, batch, device):
        seen.append(None)
        if len(seen) > 4:  # from the third step on
            states.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
            batch = {**batch, "images": batch["images"].float() * float("nan")}
            return module(batch["images"].to(device)).sum()
        return loss_sum(module, batch, device)

    monkeypatch.setattr(objective, "loss_sum", poisoned)
    with pytest.raises(TrainingError, match=r"3 optimizer steps in a row .*bad_steps.json"):
        job.result(network, objective)
    noted = json.loads((job.checkpoints / "bad_steps.json").read_text())
    assert [step["step"] for step in noted] == [2, 3, 4]
    assert [len(step["samples"]) for step in noted] == [NUM_SAMPLES - 16, 8, 8]
    # Weights AND BatchNorm's statistics are those from before the first bad step.
    for name, tensor in network.module.state_dict().items():
        assert tensor.isfinite().all(), name
        assert torch.equal(tensor, states[0][name]), name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_row_26_and_27_a_signal_ends_the_step_keeps_a_checkpoint_and_is_told_by_the_exit_code(
    stores, tmp_path, monkeypatch, number, code, caplog
):
    with monkeypatch.context() as patched:
        interrupted_after(patched, 2, number)
        job = make_job("text", stores, tmp_path)
        with pytest.raises(Stopped) as stopped:
            job.result(*job.network())
    assert stopped.value.code == code
    assert present(job.open_checkpoints().newest()).step == 2
    assert re.search(r"SIG(INT|TERM): the run ends after this step", caplog.text)
    resumed = weights_of(job)
    whole = weights_of(make_job("text", stores, tmp_path / "whole"))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_row_26_a_second_ctrl_c_does_not_wait_and_keeps_nothing_half_done(stores, tmp_path, monkeypatch):
    step = TrainStep.run

    def impatient(self, *arguments, **options):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return step(self, *arguments, **options)

    monkeypatch.setattr(TrainStep, "run", impatient)
    job = make_job("text", stores, tmp_path)
    with pytest.raises(Stopped):
        job.result(*job.network())
    assert job.open_checkpoints().newest() is None


@pytest.mark.gpu
def test_row_01_on_cuda_a_run_goes_on_exactly_and_the_scaler_survives(stores, tmp_path, monkeypatch):
    """In deterministic mode: without it a GPU's own sums differ from run to run."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        plan = {"device": "cuda", "precision": "fp16"}
        with monkeypatch.context() as patched:
            interrupted_after(patched, 4)
            job = make_job("classifier", stores, tmp_path, plan=plan)
            with pytest.raises(Stopped):
                job.result(*job.network())
        assert present(job.open_checkpoints().newest()).state["train_step"]["scaler"]["scale"] > 0
        resumed = weights_of(job)
        whole = weights_of(make_job("classifier", stores, tmp_path / "whole", plan=plan))
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    finally:
        torch.use_deterministic_algorithms(False)
