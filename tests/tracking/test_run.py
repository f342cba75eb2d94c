"""A run never waits for MLflow but for a bounded time at its end, and says how it ended."""

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from eightgig.tracking import active_run
from eightgig.tracking import run as run_module
from eightgig.tracking.event_log import event_logs_in
from eightgig.tracking.old_runs import replay
from eightgig.tracking.server import TrackingServer

pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig")


def test_what_is_logged_is_there_at_the_end(begin, held, event_logs, tmp_path):
    run = begin()
    assert active_run() is run
    assert run is not None
    run.log_params({"rate": "0.1"})
    for step in range(3):
        run.tracker().log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    run.log_metrics({"seconds": 2.5})
    (tmp_path / "page.html").write_text("page", encoding="utf-8")
    run.keep_file(tmp_path / "page.html", "report")
    run.end("FINISHED")
    assert active_run() is None
    kept, points, files = held()
    assert [point[:3] for point in points] == [
        ("loss", 0, 1.0), ("loss", 1, 0.5), ("loss", 2, 1 / 3), ("seconds", 0, 2.5)
    ]  # fmt: skip
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "case")
    assert kept.data.params == {"rate": "0.1"}
    assert {"env", "mlflow.user", "mlflow.source.name", "mlflow.eightgig.process", "mlflow.eightgig.host"} <= set(
        kept.data.tags
    )
    assert kept.info.start_time <= points[0][3] <= kept.info.end_time
    assert files == {"report/page.html"}
    assert (tmp_path / "mlruns" / "case" / kept.info.run_id / "artifacts" / "report" / "page.html").is_file()
    assert list(event_logs.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "killed_by"), [("FAILED", None), ("KILLED", "SIGTERM"), ("KILLED", "its process began another run")]
)
def test_the_end_is_told_as_it_was(begin, held, status, killed_by):
    run = begin()
    run.end(status, killed_by=killed_by)
    run.end("FINISHED")  # too late
    kept, _, _ = held()
    assert kept.info.status == status
    assert kept.data.tags.get("eightgig.killed_by") == killed_by


def test_a_dead_server_stops_nothing_and_a_replay_tells_all(
    begin, nobody, database, held, event_logs, caplog, tmp_path
):
    began_ms = time.time_ns() // 1_000_000
    run = begin(nobody)
    (tmp_path / "page.html").write_text("page", encoding="utf-8")
    took = time_of(lambda: [run.log_metrics({"loss": float(step)}, step=step) for step in range(200)])
    run.keep_file(tmp_path / "page.html", "report")
    assert took < 0.5
    with caplog.at_level(logging.WARNING):
        took = time_of(lambda: run.end("FINISHED"))
    assert took < 5
    ended_ms = time.time_ns() // 1_000_000
    (event_log,) = event_logs_in(event_logs)
    (said,) = [record.getMessage() for record in caplog.records if "did not reach" in record.getMessage()]
    assert "204 entries of this run did not reach MLflow" in said
    assert "Connection refused" in said
    assert str(event_log.folder) in said
    assert f"by: eightgig replay {event_logs}" in said

    wait_until(lambda: replay(event_logs, {nobody: database}, lambda: False).sent == 1)
    kept, points, files = held()
    assert [point[:3] for point in points] == [("loss", step, float(step)) for step in range(200)]
    assert began_ms <= kept.info.start_time <= points[0][3] <= points[-1][3] <= kept.info.end_time <= ended_ms
    assert (kept.info.status, files) == ("FINISHED", {"report/page.html"})
    assert event_logs_in(event_logs) == []


def test_a_server_that_comes_back_gets_all(begin, held, monkeypatch, caplog):
    away = threading.Event()
    away.set()
    send = TrackingServer.send

    def send_or_fail(self, *arguments):
        if away.is_set():
            raise ConnectionError("away")
        return send(self, *arguments)

    monkeypatch.setattr(TrackingServer, "send", send_or_fail)
    with caplog.at_level(logging.INFO):
        run = begin()
        run.log_metrics({"loss": 1.0}, step=1)
        wait_until(lambda: "does not take" in caplog.text)
        away.clear()
        run.log_metrics({"loss": 2.0}, step=2)
        run.end("FINISHED")
    assert [point[:3] for point in held()[1]] == [("loss", 1, 1.0), ("loss", 2, 2.0)]
    assert caplog.text.count("does not take what is logged") == 1
    assert caplog.text.count("answers again") == 1


class TestTheEnd:
    """How long it waits."""

    @pytest.fixture
    def slow(self, monkeypatch):
        """Makes each request take a while."""

        monkeypatch.setattr("eightgig.tracking.server.is_local", lambda _uri: False)

        def make(name, seconds):
            method = getattr(TrackingServer, name)

            def slowly(self, *arguments):
                time.sleep(seconds)
                return method(self, *arguments)

            monkeypatch.setattr(TrackingServer, name, slowly)

        return make

    def test_is_long_while_answers_come(self, begin, slow, held, monkeypatch):
        monkeypatch.setattr("eightgig.tracking.uploader._BATCH_ENTRIES", 1)
        slow("send", 0.4)
        run = begin(silent_s=2.0)
        for step in range(8):  # 3.2 s in all
            run.log_metrics({"loss": 0.0}, step=step)
        run.end("FINISHED")
        assert len(held()[1]) == 8

    def test_is_bounded_while_answers_come(self, begin, slow, monkeypatch):
        monkeypatch.setattr("eightgig.tracking.uploader._BATCH_ENTRIES", 1)
        slow("send", 0.3)
        run = begin(silent_s=1.0, busy_s=1.5)
        for step in range(20):
            run.log_metrics({"loss": 0.0}, step=step)
        assert 1.3 < time_of(lambda: run.end("FINISHED")) < 2.5

    def test_is_short_when_none_comes(self, begin, slow):
        slow("find_or_create_run", 4)
        run = begin(silent_s=0.5)
        assert 0.4 < time_of(lambda: run.end("FINISHED")) < 1.5

    def test_is_short_after_a_kill(self, begin, slow, monkeypatch):
        monkeypatch.setattr(run_module, "_KILLED_LIMIT_S", 0.5)
        slow("send", 2)
        run = begin(silent_s=30.0)
        run.log_metrics({"loss": 0.0})
        assert time_of(lambda: run.end("KILLED", killed_by="SIGTERM")) < 1.5


def test_a_run_that_was_deleted_is_let_go(begin, client, event_logs, caplog, tmp_path):
    run = begin()
    wait_until(lambda: client.get_experiment_by_name("case"))
    (kept,) = wait_until(lambda: client.search_runs([client.get_experiment_by_name("case").experiment_id]))
    client.delete_run(kept.info.run_id)
    run.log_metrics({"loss": 1.0})
    wait_until(lambda: "was deleted" in caplog.text)
    (tmp_path / "page.html").write_text("page", encoding="utf-8")
    run.keep_file(tmp_path / "page.html", "report")
    run.log_metrics({"loss": 2.0})
    run.end("FINISHED")
    assert "did not reach" not in caplog.text
    assert [path.name for path in event_logs.iterdir()] == ["given_up"]


def test_a_file_that_cannot_be_kept_is_said_and_stops_nothing(begin, tmp_path, caplog):
    begin().keep_file(tmp_path / "nowhere.html", "report")
    assert "nowhere.html is not kept" in caplog.text


SCRIPT = """
import sys
from pathlib import Path
from eightgig.tracking import ShutdownTimeouts, TrackedRun
run = TrackedRun.start(Path({event_logs!r}), {uri!r}, "case", {{}}, ShutdownTimeouts())
run.log_metrics({{"loss": 1.0}}, step=1)
sys.exit(3)
"""


def test_a_process_that_leaves_without_ending_its_run_was_killed(event_logs, database, held):
    code = SCRIPT.format(event_logs=str(event_logs), uri=database)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    kept, points, _ = held()
    assert (kept.info.status, kept.data.tags["eightgig.killed_by"]) == ("KILLED", "its process left without ending it")
    assert [point[:3] for point in points] == [("loss", 1, 1.0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_copy_of_the_process_does_not_end_the_run(begin, held):
    run = begin()
    child = os.fork()
    if child == 0:
        try:
            run._leave()
            os._exit(0)
        finally:
            os._exit(1)  # and never goes on with the tests
    assert os.waitpid(child, 0) == (child, 0)
    run.log_metrics({"loss": 1.0})
    run.end("FINISHED")
    assert held()[0].info.status == "FINISHED"


def time_of(work) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def wait_until(wanted, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not (found := wanted()):
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.05)
    return found
