"""Rows 25 to 27 of the fault table, as far as tracking goes: a server that dies, a run that is stopped or killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.present import present

from eightgig.tracking import ShutdownTimeouts, TrackedRun
from eightgig.tracking.event_log import EventLog, event_logs_in
from eightgig.tracking.events import EventFile
from eightgig.tracking.old_runs import replay
from eightgig.tracking.server import KILLED_TAG, TrackingServer, import_mlflow
from eightgig.tracking.uploader import Uploader

pytestmark = [
    pytest.mark.whole,
    pytest.mark.filterwarnings("default", "error:::eightgig"),
    pytest.mark.skipif(os.name == "nt", reason="signals of another kind"),
]
VICTIM = Path(__file__).with_name("tracking_victim.py")
MOST_STALL_S = 5.0


class Server:
    """A real `mlflow server` on this machine alone."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self._port}", folder

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=quiet, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, 120)

    def signal(self, number: int) -> None:
        """To all of its processes."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "server.log").read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:  # noqa: S310 - our own address
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.signal(signal.SIGCONT)
    server.kill()


@pytest.fixture
def event_logs(tmp_path) -> Path:
    return tmp_path / "09_tracking"


def test_row_25_a_server_that_is_killed_in_mid_run(server, event_logs, tmp_path):
    """Training waits less than 5 s in all; when the server is back, the next run brings all of it, once."""
    client = import_mlflow().MlflowClient(server.uri)
    run = TrackedRun.start(event_logs, server.uri, "killed", {}, ShutdownTimeouts())
    stall = sum(log_timed(run, step) for step in range(100))
    wait_until(lambda: has_begun(client, "killed"))
    server.kill()
    stall += sum(log_timed(run, step) for step in range(100, 200))
    (tmp_path / "page.html").write_text("page", encoding="utf-8")
    stall += time_of(lambda: run.keep_file(tmp_path / "page.html", "report"))
    stall += time_of(lambda: run.end("FINISHED"))
    assert stall < MOST_STALL_S
    assert len(event_logs_in(event_logs)) == 1

    server.start()
    next_run(event_logs, server.uri)
    assert points_of(client, "killed") == [("loss", step, step / 4) for step in range(200)]
    kept = run_of(client, "killed")
    assert kept.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(kept.info.run_id, "report")] == ["report/page.html"]
    assert event_logs_in(event_logs) == []


def test_row_25_a_server_that_is_dead_from_the_start(server, event_logs):
    """The run is made at the replay, with the time when it began."""
    began_ms = time.time_ns() // 1_000_000
    run = TrackedRun.start(event_logs, "http://127.0.0.1:9", "dead", {}, ShutdownTimeouts())
    stall = sum(log_timed(run, step) for step in range(100)) + time_of(lambda: run.end("FINISHED"))
    assert stall < MOST_STALL_S
    ended_ms = time.time_ns() // 1_000_000
    wait_until(lambda: replay(event_logs, {"http://127.0.0.1:9": server.uri}, lambda: False).sent)
    client = import_mlflow().MlflowClient(server.uri)
    assert points_of(client, "dead") == [("loss", step, step / 4) for step in range(100)]
    assert began_ms <= run_of(client, "dead").info.start_time <= run_of(client, "dead").info.end_time <= ended_ms


def test_row_25_a_server_that_hangs(server, event_logs):
    """It takes requests and answers none; what it does with them when it goes on again doubles nothing."""
    client = import_mlflow().MlflowClient(server.uri)
    server.signal(signal.SIGSTOP)
    try:
        run = TrackedRun.start(event_logs, server.uri, "hung", {}, ShutdownTimeouts())
        stall = sum(log_timed(run, step) for step in range(100)) + time_of(lambda: run.end("FINISHED"))
    finally:
        server.signal(signal.SIGCONT)
    assert stall < MOST_STALL_S
    wait_until(lambda: replay(event_logs, {}, lambda: False) and not event_logs_in(event_logs), 60)
    assert points_of(client, "hung") == [("loss", step, step / 4) for step in range(100)]


def test_row_25_what_is_sent_twice_over_http_is_there_once(server, event_logs, tmp_path):
    run = TrackedRun.start(event_logs, server.uri, "twice", {}, ShutdownTimeouts())
    for step in range(50):
        run.log_metrics({"loss": step / 4, "gone": float("nan"), "far": float("inf")}, step=step)
    (folder,) = event_logs.iterdir()
    shutil.copytree(folder, tmp_path / "before" / folder.name, ignore=shutil.ignore_patterns("owner.lock", "progress*"))
    run.end("FINISHED")
    assert replay(tmp_path / "before", {}, lambda: False).sent == 1  # as if nothing had been noted
    client = import_mlflow().MlflowClient(server.uri)
    run_id = run_of(client, "twice").info.run_id
    for key in ("loss", "gone", "far"):
        assert [point.step for point in client.get_metric_history(run_id, key)] == list(range(50))


@pytest.fixture
def client(tmp_path):
    """Of a database that is made: two processes that make one at once hinder each other."""
    client = import_mlflow().MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.search_experiments()
    return client


@pytest.fixture
def victim(tmp_path, client):
    """A run in a process of its own, at some step; with sqlite, as by default."""
    command = [sys.executable, str(VICTIM), str(tmp_path), "victim"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in present(process.stdout):
        if line.startswith("step "):
            break
    assert process.poll() is None, present(process.stderr).read()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "row"), [(signal.SIGINT, 26), (signal.SIGTERM, 27)])
def test_row_26_and_27_a_run_that_is_stopped_says_so(victim, client, number, row):
    wait_until(lambda: has_begun(client, "victim"))
    victim.send_signal(number)
    num_printed = 1 + victim.communicate(timeout=60)[0].count("\nstep ")
    assert victim.returncode == 128 + number
    run = run_of(client, "victim")
    assert (run.info.status, run.data.tags[KILLED_TAG]) == ("KILLED", signal.Signals(number).name)
    logged = [step for name, step, _ in points_of(client, "victim") if name == "loss"]
    assert logged in (list(range(num_printed)), list(range(num_printed + 1)))  # logged, and not yet printed


def test_row_27_a_run_that_is_killed_is_told_to_its_last_step(victim, client, tmp_path):
    """What it wrote down is what MLflow gets, no figure twice; where that is lost, the run is ended at least."""
    event_logs = tmp_path / "data" / "09_tracking"
    wait_until(lambda: has_begun(client, "victim"))
    assert replay(event_logs, {}, lambda: False) == (0, 0, 0)
    assert run_of(client, "victim").info.status == "RUNNING"
    victim.kill()
    num_printed = 1 + victim.communicate()[0].count("\nstep ")
    (event_log,) = event_logs_in(event_logs)
    events = [each.event or {} for each in EventFile(event_log.events.path).read()]
    written = [event["step"] for event in events if "step" in event]
    assert written == list(range(len(written)))
    assert len(written) in (num_printed, num_printed + 1)

    shutil.copy(tmp_path / "mlflow.db", tmp_path / "spool_lost.db")
    next_run(event_logs, f"sqlite:///{tmp_path}/mlflow.db")
    expected = [(name, step, value(step)) for name, value in FIGURES.items() for step in written]
    assert points_of(client, "victim") == sorted(expected)
    run = run_of(client, "victim")
    assert run.info.status == "KILLED"
    assert f"process {victim.pid} was gone" in run.data.tags[KILLED_TAG]
    assert event_logs_in(event_logs) == []

    next_run(tmp_path / "another", f"sqlite:///{tmp_path}/spool_lost.db")
    run = run_of(import_mlflow().MlflowClient(f"sqlite:///{tmp_path}/spool_lost.db"), "victim")
    assert run.info.status == "KILLED"
    assert f"process {victim.pid} was gone" in run.data.tags[KILLED_TAG]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_row_27_sending_that_is_killed_again_and_again_doubles_nothing(event_logs, client, tmp_path, monkeypatch):
    """Killed at chance moments, 25 times: in a request, before it is noted, while it is noted."""
    monkeypatch.setattr("eightgig.tracking.uploader._BATCH_ENTRIES", 5)
    run = TrackedRun.start(event_logs, "http://127.0.0.1:9", "chance", {}, ShutdownTimeouts(silent_s=0.1))
    for step in range(500):
        run.log_metrics({"loss": step / 4}, step=step)
    run.end("FINISHED")
    (event_log,) = event_logs_in(event_logs)
    wait_until(event_log.hold)
    event_log.let_go()
    chance, reached = random.Random(5), []
    for _ in range(25):
        child = os.fork()
        if child == 0:
            try:
                send_all(EventLog(event_log.folder), f"sqlite:///{tmp_path}/mlflow.db")
            finally:
                os._exit(0)  # it never goes on with the tests
        time.sleep(chance.uniform(0.02, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reached.append(event_log.progress().offset)
    assert len(set(reached)) > 2  # they were killed on the way
    if event_logs_in(event_logs):
        assert replay(event_logs, {"http://127.0.0.1:9": f"sqlite:///{tmp_path}/mlflow.db"}, lambda: False).sent == 1
    assert points_of(client, "chance") == [("loss", step, step / 4) for step in range(500)]
    assert run_of(client, "chance").info.status == "FINISHED"


def send_all(event_log: EventLog, uri: str) -> None:
    """In a process that is killed meanwhile."""
    if event_log.hold():
        uploader = Uploader(event_log, present(event_log.start()), TrackingServer(uri))
        while uploader.send_next(retry_files=True):
            pass
    os._exit(0)


FIGURES = {"loss": lambda step: 1 / (step + 1), "twice": lambda step: 2.0 * step}


def next_run(event_logs, uri):
    TrackedRun.start(event_logs, uri, "next", {}, ShutdownTimeouts(silent_s=10)).end("FINISHED")


def log_timed(run, step) -> float:
    time.sleep(0.002)
    return time_of(lambda: run.log_metrics({"loss": step / 4}, step=step))


def time_of(work) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def wait_until(wanted, limit_s=30):
    deadline = time.monotonic() + limit_s
    while not (found := wanted()):
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.1)
    return found


def has_begun(client, experiment):
    """Say whether the first figures of a run are there."""
    found = client.get_experiment_by_name(experiment)
    return found and client.search_runs([found.experiment_id]) and points_of(client, experiment)


def run_of(client, experiment):
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def points_of(client, experiment):
    run = run_of(client, experiment)
    histories = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
    return sorted((point.key, point.step, point.value) for points in histories for point in points)
