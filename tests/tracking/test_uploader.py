"""What an event log holds lands in MLflow once, wherever sending was broken off; what is refused holds up nothing."""

import functools
import logging
import math
import shutil
import time

import pytest

from eightgig.tracking import server as server_module
from eightgig.tracking.event_log import EventLog
from eightgig.tracking.events import LoggedDataset, LoggedModel
from eightgig.tracking.server import TrackingServer
from eightgig.tracking.uploader import Uploader

# MLflow and SQLAlchemy have warnings of their own, not ours to mend; ours stay errors.
pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig")


@pytest.fixture
def deliver():
    """Sends all of an event log; gives the uploader."""

    def send(event_log, start, server):
        uploader = Uploader(event_log, start, server)
        while uploader.send_next(retry_files=True):
            pass
        return uploader

    return send


PHOTOS = LoggedDataset(name="photos", sha256="c" * 64, source="/photos", num_samples=7)
NET = LoggedModel(
    name="onnx_int8", model_type="ONNX Runtime", params={"device": "cpu"}, metrics={"recommended_cpu/accuracy": 0.75}
)


def fill(event_log, folder):
    """A run with all kinds of events, as a case study has them."""
    events = event_log.events
    events.append({"kind": "params", "params": {f"parameter.{number}": str(number) for number in range(150)}})
    for epoch in range(4):
        metrics = {"loss": 1 / (epoch + 1), "nan": math.nan, "steady": 0.5}
        events.append({"kind": "metrics", "ms": 2_000 + epoch, "step": epoch, "metrics": metrics})
    (folder / "page.html").write_text("page", encoding="utf-8")
    events.append(event_log.keep(folder / "page.html", "report"))
    events.append({"kind": "dataset", "dataset": PHOTOS.model_dump()})
    (folder / "int8.onnx").write_bytes(b"network")
    kept = event_log.keep(folder / "int8.onnx", "")
    events.append({**kept, "kind": "model", "ms": 2_900, "model": NET.model_dump()})
    events.append({"kind": "tags", "tags": {"env": "ci"}})
    events.append({"kind": "metrics", "ms": 3_000, "step": 0, "metrics": {"seconds": 3.5}})
    events.append({"kind": "end", "ms": 4_000, "status": "FINISHED", "killed_by": None})


POINTS = sorted(
    [("loss", epoch, 1 / (epoch + 1), 2_000 + epoch) for epoch in range(4)]
    + [("steady", epoch, 0.5, 2_000 + epoch) for epoch in range(4)]
    + [("seconds", 0, 3.5, 3_000), ("recommended_cpu/accuracy", 0, 0.75, 2_900)]
)


def assert_whole(held):
    run, points, files = held()
    not_a_number = [point for point in points if math.isnan(point[2])]
    assert sorted(set(points) - set(not_a_number)) == POINTS == sorted(p for p in points if p not in not_a_number)
    assert [(step, ms) for _, step, _, ms in not_a_number] == [(epoch, 2_000 + epoch) for epoch in range(4)]
    assert run.data.params == {f"parameter.{number}": str(number) for number in range(150)}
    assert files == {"report/page.html"}
    assert (run.info.start_time, run.info.end_time, run.info.status) == (1_000, 4_000, "FINISHED")
    assert run.info.run_name == "case"
    assert run.data.tags["env"] == "ci"
    assert "eightgig.killed_by" not in run.data.tags
    (told,) = run.inputs.dataset_inputs
    assert (told.dataset.name, told.dataset.digest) == ("photos", "c" * 36)
    assert len(run.outputs.model_outputs) == 1


def test_all_lands_as_it_was_written(database, make_spool, deliver, held, tmp_path, caplog):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    with caplog.at_level(logging.INFO):
        assert deliver(event_log, start, TrackingServer(database)).is_complete
    assert_whole(held)
    run = held()[0]
    assert run.data.tags["mlflow.user"] == "me"
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?workflowType=machine_learning"
    assert f"`mlflow ui` shows this run at http://127.0.0.1:5000/{page}" in caplog.text


def test_a_network_is_listed_with_its_file_and_figures(database, client, make_spool, deliver, held, tmp_path):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    deliver(event_log, start, TrackingServer(database))
    run = held()[0]
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert (model.name, model.model_type, model.status.to_proto()) == ("onnx_int8", "ONNX Runtime", 2)  # ready
    assert (model.source_run_id, model.params) == (run.info.run_id, {"device": "cpu"})
    assert [(metric.key, metric.value) for metric in model.metrics] == [("recommended_cpu/accuracy", 0.75)]
    assert [item.path for item in client.list_logged_model_artifacts(model.model_id)] == ["int8.onnx"]


class KilledError(BaseException):
    """The process ends here."""


class KilledServer(TrackingServer):
    """Does what it is asked to, and then the process is killed: before it has noted that it was done."""

    def __init__(self, uri, name, num_spared):
        super().__init__(uri)
        self._num_spared = num_spared
        setattr(self, name, functools.partial(self._do_and_die, getattr(self, name)))

    def _do_and_die(self, method, *arguments):
        result = method(*arguments)
        self._num_spared -= 1
        if self._num_spared < 0:
            raise KilledError
        return result


@pytest.mark.parametrize(
    ("name", "num_spared"),
    [
        ("find_or_create_run", 0),
        ("send", 0),
        ("send", 1),
        ("upload", 0),
        ("log_dataset", 0),
        ("log_model", 0),
        ("end", 0),
    ],
)
def test_a_kill_between_sending_and_noting_doubles_nothing(
    database, make_spool, deliver, held, tmp_path, name, num_spared
):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    with pytest.raises(KilledError):
        deliver(event_log, start, KilledServer(database, name, num_spared))
    event_log.let_go()
    second = EventLog(event_log.folder)
    assert second.hold()
    assert deliver(second, start, TrackingServer(database)).is_complete
    assert_whole(held)


@pytest.mark.parametrize(
    "name", ["create_logged_model", "log_model_artifact", "finalize_logged_model", "log_batch", "log_outputs"]
)
def test_a_kill_while_a_network_is_named_doubles_nothing(
    database, client, make_spool, deliver, held, tmp_path, monkeypatch, name
):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    server = TrackingServer(database)
    method, log_model = getattr(server._client, name), server.log_model

    def do_and_die(*arguments, **options):
        method(*arguments, **options)
        raise KilledError

    def deadly(*arguments):
        monkeypatch.setattr(server._client, name, do_and_die)
        log_model(*arguments)

    monkeypatch.setattr(server, "log_model", deadly)
    with pytest.raises(KilledError):
        deliver(event_log, start, server)
    event_log.let_go()
    second = EventLog(event_log.folder)
    assert second.hold()
    assert deliver(second, start, TrackingServer(database)).is_complete
    assert_whole(held)
    assert len(client.search_logged_models([held()[0].info.experiment_id])) == 1


def test_progress_that_is_lost_altogether_doubles_nothing(database, make_spool, deliver, held, tmp_path):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    files = shutil.copytree(event_log.folder / "files", tmp_path / "kept")
    deliver(event_log, start, TrackingServer(database))
    (event_log.folder / "progress.json").unlink()
    shutil.copytree(files, event_log.folder / "files", dirs_exist_ok=True)
    deliver(event_log, start, TrackingServer(database))
    assert_whole(held)


def test_a_second_run_that_a_lost_answer_left_is_removed(database, client, make_spool, deliver, held, tmp_path):
    event_log, start = make_spool(database)
    fill(event_log, tmp_path)
    server = TrackingServer(database)
    uploader = Uploader(event_log, start, server)
    assert uploader.send_next(retry_files=False)
    (experiment,) = [each for each in client.search_experiments() if each.name == "case"]
    client.create_run(experiment.experiment_id, tags={server_module.SPOOL_TAG: start.spool_id})
    assert deliver(event_log, start, server).is_complete
    assert_whole(held)
    assert held()[0].info.run_id == uploader.run_id


def test_more_than_one_request_takes(database, make_spool, deliver, held):
    event_log, start = make_spool(database)
    for number in range(3):
        metrics = {f"metric.{index}": float(index) for index in range(900)}
        event_log.events.append({"kind": "metrics", "ms": 2_000, "step": number, "metrics": metrics})
    event_log.events.append({"kind": "tags", "tags": {f"tag.{index}": "x" for index in range(130)}})
    deliver(event_log, start, TrackingServer(database))
    run, points, _ = held()
    assert len(points) == 2700
    assert sum(name.startswith("tag.") for name in run.data.tags) == 130


def test_what_is_refused_is_left_out_by_name(database, make_spool, deliver, held, caplog):
    event_log, start = make_spool(database)
    good = {f"good.{number}": float(number) for number in range(20)}
    event_log.events.append(
        {"kind": "params", "params": {"rate": "1", "k" * 300: "too long a name", "long": "x" * 9_000}}
    )
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {**good, "bad*name": 1.0}})
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"inf": math.inf, "../up": 1.0}})
    event_log.events.append({"kind": "params", "params": {"rate": "2"}})
    event_log.events.append({"kind": "end", "ms": 4_000, "status": "FINISHED", "killed_by": None})
    assert deliver(event_log, start, TrackingServer(database)).is_complete
    run, points, _ = held()
    assert [point[:3] for point in points if point[0] != "inf"] == sorted((name, 1, good[name]) for name in good)
    assert run.data.metrics["inf"] > 1e308
    assert run.data.params["rate"] == "1"
    assert len(run.data.params["long"]) == 6_000
    assert run.info.status == "FINISHED"
    (said,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert all(name in said for name in ("bad*name", "../up", "rate", "k" * 300))
    assert "good" not in said.partition("Its error_message")[0]


def test_a_door_keeper_that_refuses_all_loses_nothing(database, make_spool, deliver, held, monkeypatch):
    event_log, start = make_spool(database)
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
    server = TrackingServer(database)
    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(server, "send", _raise(server_module.RefusedError("400 plain HTTP sent to an HTTPS port")))
        broken.setattr(server, "check", _raise(ConnectionError("400 plain HTTP sent to an HTTPS port")))
        deliver(event_log, start, server)
    deliver(event_log, start, server)
    assert held()[1] == [("loss", 1, 1.0, 2_000)]


def test_a_torn_line_costs_itself_alone(database, make_spool, deliver, held, caplog):
    event_log, start = make_spool(database)
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
    with event_log.events.path.open("ab") as file:
        file.write(b'\n{"kind":"metrics","ms":2000,"step":2,"metr')
    deliver(event_log, start, TrackingServer(database))
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 3, "metrics": {"loss": 3.0}})
    deliver(event_log, start, TrackingServer(database))
    assert held()[1] == [("loss", 1, 1.0, 2_000), ("loss", 3, 3.0, 2_000)]
    assert "cut short" in caplog.text


def test_data_that_is_refused_holds_up_nothing(database, make_spool, deliver, held, caplog, monkeypatch):
    event_log, start = make_spool(database)
    event_log.events.append({"kind": "dataset", "dataset": PHOTOS.model_dump()})
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
    server = TrackingServer(database)
    monkeypatch.setattr(server, "log_dataset", _raise(server_module.RefusedError("name too long")))
    deliver(event_log, start, server)
    assert held()[0].data.metrics == {"loss": 1.0}
    assert "refused the data set photos: name too long" in caplog.text


class TestFiles:
    @pytest.fixture
    def run(self, make_spool, database, tmp_path):
        """A run that keeps a file, has a figure behind it, and ends."""
        event_log, start = make_spool(database)
        (tmp_path / "page.html").write_text("page", encoding="utf-8")
        event_log.events.append(event_log.keep(tmp_path / "page.html", "report"))
        event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
        event_log.events.append({"kind": "end", "ms": 4_000, "status": "FINISHED", "killed_by": None})
        return event_log, start

    def test_that_cannot_be_stored_now_hold_up_nothing(self, run, database, held, caplog, monkeypatch):
        event_log, start = run
        server = TrackingServer(database)
        monkeypatch.setattr(server, "upload", _raise(OSError("No space left on device")))
        uploader = Uploader(event_log, start, server)
        while uploader.send_next(retry_files=False):
            pass
        assert not uploader.is_complete
        assert held()[0].info.status == "FINISHED"
        assert held()[0].data.metrics == {"loss": 1.0}
        assert "No space left" in caplog.text
        monkeypatch.undo()
        assert uploader.send_next(retry_files=True)
        assert uploader.is_complete
        assert held()[2] == {"report/page.html"}

    def test_wait_with_all_else_while_the_server_is_away(self, run, database, monkeypatch):
        event_log, start = run
        server = TrackingServer(database)
        uploader = Uploader(event_log, start, server)
        for _ in range(2):
            uploader.send_next(retry_files=False)
        monkeypatch.setattr(server, "upload", _raise(ConnectionError("refused")))
        monkeypatch.setattr(server, "check", _raise(ConnectionError("refused")))
        before = event_log.progress()
        with pytest.raises(ConnectionError):
            uploader.send_next(retry_files=False)
        assert event_log.progress() == before

    def test_that_are_refused_are_left_out(self, run, database, deliver, held, caplog, monkeypatch):
        event_log, start = run
        server = TrackingServer(database)
        monkeypatch.setattr(server, "upload", _raise(server_module.RefusedError("413 too large")))
        assert deliver(event_log, start, server).is_complete
        assert held()[2] == set()
        assert "page.html: 413 too large" in caplog.text

    def test_that_were_written_over_are_left_out(self, run, database, deliver, held, caplog):
        event_log, start = run
        shutil.rmtree(event_log.folder / "files")
        assert deliver(event_log, start, TrackingServer(database)).is_complete
        assert held()[2] == set()
        assert "page.html was written over" in caplog.text


def _raise(error):
    def call(*_arguments):
        raise error

    return call


@pytest.mark.parametrize("how", ["deleted", "unknown"])
def test_a_run_that_was_deleted_is_told_from_values_that_are_refused(database, client, make_spool, deliver, how):
    event_log, start = make_spool(database)
    uploader = Uploader(event_log, start, TrackingServer(database))
    uploader.send_next(retry_files=False)
    if how == "deleted":
        client.delete_run(uploader.run_id)
    else:
        event_log.note(event_log.progress().model_copy(update={"run_id": "0" * 32}))
    event_log.events.append({"kind": "metrics", "ms": 2_000, "step": 1, "metrics": {"loss": 1.0}})
    with pytest.raises(server_module.RunGoneError):
        deliver(event_log, start, TrackingServer(database))


def test_an_upload_is_given_time_by_its_size(make_spool, nobody, tmp_path, monkeypatch):
    event_log, start = make_spool(nobody)
    (tmp_path / "large.bin").write_bytes(b"0" * 3_000_000)
    event_log.events.append(event_log.keep(tmp_path / "large.bin", "x"))
    server, seen = TrackingServer(nobody), []
    monkeypatch.setattr(server, "find_or_create_run", lambda _start: "1")
    uploader = Uploader(event_log, start, server)
    monkeypatch.setattr(server, "upload", lambda *_: seen.append(uploader.expected_by - time.monotonic()))
    while uploader.send_next(retry_files=False):
        pass
    assert seen == [pytest.approx(3.0, abs=0.5)]
    assert uploader.expected_by == 0.0


def test_errors_are_told_without_passwords_and_by_their_cause():
    timeout = OSError("API request to https://me:secret@host/api failed\nwith timeout exception")
    assert server_module.error_message(timeout) == "API request to https://host/api failed with timeout exception"
    refused = OSError("API request failed (Caused by NewConnectionError('[Errno 111] Connection refused'))")
    assert server_module.error_message(refused) == "NewConnectionError('[Errno 111] Connection refused'))"
    assert server_module.error_message(KeyError()) == "KeyError"
