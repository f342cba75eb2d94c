"""Rows 8, 22 and 26 to 28 of the fault table, by whole `kedro run`s: signals, two runs at once, a folder of no use."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.present import present

from eightgig.core.errors import BusyError
from eightgig.core.locks import only_one

# MLflow's own warnings are not ours.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]

RUN = (str(Path(sys.executable).with_name("kedro")), "run", "--pipeline", "cartpole_agent")
# Long, with a checkpoint every second or so.
RECIPE = "cartpole_agent.train.steps=2000000,cartpole_agent.train.checkpoint_steps=4096"


@pytest.fixture
def start(project_path, tmp_path):
    """Start a run in a process of its own, with its files below `tmp_path`."""
    started = []

    def run(*arguments, folder=tmp_path / "data"):
        environment = {
            **os.environ,
            "EIGHTGIG_DATA": str(folder),
            "MLFLOW_TRACKING_URI": f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}",
        }
        process = subprocess.Popen(
            [*RUN, *arguments],
            cwd=project_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path, process, seconds=120):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)


def words_of(process):
    said, _ = process.communicate(timeout=120)
    return " ".join(said.split())


def ends(tmp_path):
    """Return how the runs ended that MLflow knows of: status, and what killed them."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [(run.info.status, run.data.tags.get("eightgig.killed_by")) for run in client.search_runs(experiments)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_row_26_and_27_a_run_that_is_stopped_in_training_says_so_everywhere_and_goes_on(start, tmp_path, number, code):
    process = start("--params", RECIPE, "--to-nodes", "cartpole_agent.train.train_agents")
    checkpoints = tmp_path / "data" / "06_models" / "cartpole_agent" / "checkpoints" / "seed_0"
    wait_for(checkpoints / "manifest.json", process)
    process.send_signal(number)
    said = words_of(process)
    assert process.returncode == code, said
    assert "the run ends after this step, with a checkpoint" in said
    assert "Traceback" not in said
    assert ends(tmp_path) == [("KILLED", number.name)]

    again = start("--params", RECIPE, "--to-nodes", "cartpole_agent.train.train_agents")
    holder = tmp_path / "data" / ".locks" / "cartpole_agent.pid"
    wait_for(holder, again)
    line = ""
    while "goes on at step" not in line:
        line = again.stdout.readline()
        assert line, "it did not go on"


def test_row_26_outside_of_training_a_run_ends_at_once(start, tmp_path):
    process = start("--params", RECIPE, "--to-nodes", "cartpole_agent.plan.plan_agent")
    wait_for(tmp_path / "data" / ".locks" / "cartpole_agent.pid", process)
    process.send_signal(signal.SIGINT)
    said = words_of(process)
    assert process.returncode == 130, said
    assert set(ends(tmp_path)) <= {("KILLED", "SIGINT")}  # not there yet, if the database was only being made


def test_row_08_a_second_run_is_refused_with_the_number_of_the_first(start, tmp_path):
    first = start("--params", RECIPE)
    wait_for(tmp_path / "data" / ".locks" / "cartpole_agent.pid", first)
    second = start("--params", RECIPE)
    said = words_of(second)
    assert second.returncode == 1
    assert f"cartpole_agent is being run in {tmp_path / 'data'} by process {first.pid} already" in said
    assert first.poll() is None
    # What only looks at a trained agent is not refused for it (but there is none yet).
    third = start("--tags", "film")
    assert "by process" not in words_of(third)


@pytest.mark.parametrize("kind", ["a file in its place", "a mount that is read only"])
def test_row_28_a_folder_that_cannot_be_written_is_told_before_anything_is_done(start, tmp_path, kind):
    folder = tmp_path / "data"
    if kind == "a file in its place":
        folder.write_text("not a folder")
    else:
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=False)
        if mounted.returncode:
            pytest.skip("mounting needs rights that are missing here")
    try:
        begun = time.monotonic()
        process = start()
        said = words_of(process)
        assert process.returncode == 1
        assert f"{folder}: results are written there, and it cannot be written" in said
        assert "EIGHTGIG_DATA" in said
        assert "Completed node" not in said
        assert time.monotonic() - begun < 60  # the check itself takes no time; starting Python and Kedro does
    finally:
        if kind != "a file in its place":
            subprocess.run(["umount", str(folder)], check=True)


def test_row_22_what_a_killed_run_left_behind_is_waited_for(tmp_path):
    lock = tmp_path / "lock"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    (tmp_path / "lock.pid").write_bytes(gone.stdout)
    # A process that still holds the lock of one that is gone, as loader processes may for some seconds.
    script = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "time.sleep(2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE) as left_behind:
        present(left_behind.stdout).readline()
        begun = time.monotonic()
        with only_one(lock, "it is being tried"):
            assert 0.5 < time.monotonic() - begun < 20


def test_row_08_a_living_process_is_not_waited_for(tmp_path):
    lock = tmp_path / "lock"
    with only_one(lock, "it is being tried"):
        begun = time.monotonic()
        with pytest.raises(BusyError, match=rf"it is being tried by process {os.getpid()} already"):
            only_one(lock, "it is being tried").__enter__()
        assert time.monotonic() - begun < 5
