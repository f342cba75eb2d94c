"""What dead processes left is sent and ended when the next run starts; a living process's run is left alone."""

import subprocess
import sys

import pytest
from tests.present import present

from eightgig.cli import main
from eightgig.tracking import old_runs
from eightgig.tracking.event_log import EventLog, event_logs_in
from eightgig.tracking.old_runs import reap, replay
from eightgig.tracking.process import Process, this_host
from eightgig.tracking.server import HOST_TAG, KILLED_TAG, PROCESS_TAG, SPOOL_TAG, TrackingServer

pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig")


def never() -> bool:
    return False


@pytest.fixture
def leave(make_spool):
    """Leaves an event log as a process that was killed does: one figure, no end."""

    def make(uri, process, **changed):
        event_log, start = make_spool(uri, process, **changed)
        event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
        event_log.let_go()
        return event_log, start

    return make


def test_the_next_run_sends_what_an_earlier_one_left(begin, client, leave, database, gone, event_logs):
    leave(database, gone, experiment="earlier")
    begin(name="later").end("FINISHED")
    earlier, later = (only_run(client, name) for name in ("earlier", "later"))
    assert (earlier.info.status, earlier.info.start_time, earlier.info.end_time) == ("KILLED", 1_000, 2_000)
    assert earlier.data.tags[KILLED_TAG] == f"unknown: process {gone.pid} was gone when a later run looked"
    assert earlier.data.metrics == {"loss": 1.0}
    assert later.info.status == "FINISHED"
    assert event_logs_in(event_logs) == []


def test_a_run_that_is_held_is_left_alone(leave, database, gone, event_logs, client):
    event_log, _ = leave(database, gone)
    holder = EventLog(event_log.folder)
    assert holder.hold()
    assert replay(event_logs, {}, never) == (0, 1, 0)
    holder.let_go()
    assert replay(event_logs, {}, never) == (1, 0, 0)


def test_a_living_process_is_believed_even_without_its_lock(leave, database, event_logs):
    with living() as process:
        leave(database, process)
        assert replay(event_logs, {}, never) == (0, 0, 0)
        assert len(event_logs_in(event_logs)) == 1
    assert replay(event_logs, {}, never) == (1, 0, 0)


@pytest.mark.parametrize("host", ["", "another-12345678"])
def test_a_run_that_has_ended_is_sent_whoever_lives(leave, database, event_logs, client, host):
    """A notebook that goes on after its run; a container that is no more."""
    with living() as process:
        event_log, _ = leave(database, process.model_copy(update={"host": host or process.host}))
        event_log.events.append({"kind": "end", "ms": 4_000, "status": "FINISHED", "killed_by": None})
        assert replay(event_logs, {}, never) == (1, 0, 0)
    assert only_run(client, "case").info.status == "FINISHED"


def test_another_machines_run_without_an_end_is_sent_only_when_asked(leave, database, gone, event_logs, capsys):
    leave(database, gone.model_copy(update={"host": "another-12345678"}))
    assert replay(event_logs, {}, never) == (0, 0, 0)
    assert main(["replay", str(event_logs)]) == 0
    assert "1 runs sent, 0 left" in capsys.readouterr().out
    assert event_logs_in(event_logs) == []


def test_a_server_that_is_dead_keeps_its_runs_and_no_others(leave, database, nobody, gone, event_logs, client, caplog):
    leave(nobody, gone, spool_id="1")
    leave(database, gone, spool_id="2")
    assert replay(event_logs, {}, never) == (1, 0, 1)
    assert [event_log.name for event_log in event_logs_in(event_logs)] == ["1"]
    assert only_run(client, "case").data.tags[SPOOL_TAG] == "2"
    assert "Connection refused" in caplog.text


class TestTheCommand:
    def test_says_what_is_left(self, leave, nobody, gone, event_logs, capsys):
        leave(nobody, gone)
        assert main(["replay", str(event_logs)]) == 1
        assert f"{event_logs}: 0 runs sent, 1 left" in capsys.readouterr().out

    def test_sends_to_another_address(self, leave, nobody, database, gone, event_logs, client):
        leave(nobody, gone)
        assert main(["replay", str(event_logs), "--to", database]) == 0
        assert only_run(client, "case").data.metrics == {"loss": 1.0}

    def test_takes_user_name_and_password_from_the_environment(self, leave, database, gone, event_logs, monkeypatch):
        asked = []
        monkeypatch.setattr(TrackingServer, "__init__", lambda _self, uri: asked.append(uri))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
        leave("http://127.0.0.1:9", gone)
        assert main(["replay", str(event_logs)]) == 1
        assert asked == ["http://me:secret@127.0.0.1:9"]

    def test_does_not_count_a_run_that_goes_on(self, make_spool, database, event_logs, capsys):
        event_log, _ = make_spool(database)
        assert main(["replay", str(event_logs)]) == 0
        assert event_logs_in(event_logs)[0].name == event_log.name
        assert "0 runs sent, 0 left" in capsys.readouterr().out

    def test_has_nothing_to_do_in_an_empty_folder(self, event_logs, capsys):
        assert main(["replay", str(event_logs)]) == 0
        assert "0 runs sent, 0 left" in capsys.readouterr().out


class TestReaping:
    @pytest.fixture
    def running(self, client):
        """Makes a run that MLflow believes to be running."""
        experiment = client.create_experiment("case")

        def make(process, spool_id="none", **tags):
            told = {HOST_TAG: process.host, PROCESS_TAG: f"{process.pid} {process.started}", SPOOL_TAG: spool_id}
            return client.create_run(experiment, tags=told | tags).info.run_id

        return make

    def test_ends_the_runs_of_processes_that_are_gone(self, running, client, database, gone, event_logs):
        left = running(gone)
        reap(TrackingServer(database), event_logs)
        run = client.get_run(left)
        assert run.info.status == "KILLED"
        assert run.data.tags[KILLED_TAG] == f"unknown: process {gone.pid} was gone when a later run looked"
        assert run.info.end_time >= run.info.start_time

    def test_leaves_all_others_alone(self, running, client, database, gone, event_logs, make_spool):
        event_log, _ = make_spool(database, gone)
        with living() as process:
            others = [
                running(process),
                running(Process.current()),
                running(gone.model_copy(update={"host": "another-12345678"})),
                running(gone, spool_id=event_log.name),
                client.create_run(client.get_experiment_by_name("case").experiment_id).info.run_id,
            ]
            reap(TrackingServer(database), event_logs)
            assert {client.get_run(run_id).info.status for run_id in others} == {"RUNNING"}

    def test_goes_on_over_more_than_a_page(self, running, database, gone, event_logs, monkeypatch):
        left = [running(gone) for _ in range(3)]
        server = TrackingServer(database)
        search = server._client.search_runs
        monkeypatch.setattr(server._client, "search_runs", lambda **wanted: search(max_results=1, **wanted))
        assert {run.run_id for run in server.left_running()} == set(left)

    def test_is_put_right_by_a_replay_that_knows_better(self, running, client, database, gone, event_logs, leave):
        event_log, _ = leave(database, gone)
        run_id = running(gone, spool_id=event_log.name)
        reap(TrackingServer(database), event_logs / "another folder")
        assert client.get_run(run_id).info.status == "KILLED"
        event_log.events.append({"kind": "end", "ms": 4_000, "status": "FINISHED", "killed_by": None})
        assert replay(event_logs, {}, never).sent == 1
        run = client.get_run(run_id)
        assert (run.info.status, run.info.end_time) == ("FINISHED", 4_000)
        assert KILLED_TAG not in run.data.tags

    def test_that_fails_is_for_the_next_time(self, nobody, event_logs, monkeypatch):
        said = []  # not by caplog: making MLflow's database (alembic) disables the loggers that are there
        monkeypatch.setattr(old_runs.logger, "debug", lambda message, *_: said.append(message))
        reap(TrackingServer(nobody), event_logs)
        assert said == ["tracking: runs that were left running could not be ended: %s"]


class living:  # noqa: N801 - used like a function
    """A process of this machine that lives."""

    def __enter__(self):
        code = "import time; from eightgig.tracking.process import Process; " \
               "print(Process.current().model_dump_json(), flush=True); time.sleep(60)"  # fmt: skip
        self._child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        process = Process.model_validate_json(present(self._child.stdout).readline())
        assert process.host == this_host()
        return process

    def __exit__(self, *_raised):
        self._child.kill()
        self._child.communicate()


def only_run(client, experiment):
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run
