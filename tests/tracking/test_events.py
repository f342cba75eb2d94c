"""A file of events loses nothing to a kill but the line that was being written."""

import errno
import logging
import multiprocessing
import os
import pickle
import threading
from typing import Any

import pytest

from eightgig.tracking.events import EventFile
from eightgig.tracking.run import SpoolTracker


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.jsonl"
    path.touch()
    return EventFile(path)


def read(events, begin=0):
    return [written.event for written in events.read(begin)]


def test_what_is_appended_is_read_from_any_event_on(events):
    for number in range(3):
        events.append({"number": number})
    first, second, third = events.read()
    assert [each.event["number"] for each in (first, second, third)] == [0, 1, 2]
    assert read(events, second.begin) == read(events, first.end) == [{"number": 1}, {"number": 2}]
    assert read(events, third.end) == []


@pytest.mark.parametrize("cut", [2, 5, 12])
def test_a_torn_last_line_is_not_read_and_does_not_spoil_the_next(events, caplog, cut):
    events.append({"number": 0})
    events.append({"number": 1})
    with events.path.open("r+b") as file:
        file.truncate(events.path.stat().st_size - cut)
    assert read(events) == [{"number": 0}]
    EventFile(events.path).append({"number": 2})
    assert [event for event in read(events) if event] == [{"number": 0}, {"number": 2}]
    assert "cut short" in caplog.text


def test_nan_and_infinity_survive(events):
    events.append({"values": [float("inf"), float("-inf"), 0.1]})
    assert read(events) == [{"values": [float("inf"), float("-inf"), 0.1]}]


def test_a_file_that_has_gone_is_not_made_anew(events):
    events.path.unlink()
    with pytest.raises(FileNotFoundError):
        events.append({"late": True})
    assert not events.path.exists()


def test_threads_and_copies_do_not_mix_their_lines(events):
    def write(file, name):
        for number in range(200):
            file.append({"name": name, "number": number, "filler": "x" * 500})

    writers = [(events, "a"), (events, "b"), (pickle.loads(pickle.dumps(events)), "c")]  # noqa: S301 - our own
    threads = [threading.Thread(target=write, args=writer) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(event["name"], event["number"]) for event in read(events)]
    assert sorted(found) == [(name, number) for name in "abc" for number in range(200)]


def test_a_tracker_works_in_another_process(events):
    log = SpoolTracker(events).log_metrics
    process = multiprocessing.get_context("spawn").Process(target=log, args=({"loss": 1.0},), kwargs={"step": 1})
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert [(event["metrics"], event["step"]) for event in read(events)] == [({"loss": 1.0}, 1)]


def test_a_full_disk_is_said_once_and_stops_nothing(events, monkeypatch, caplog):
    def full(_handle, _content):
        raise OSError(errno.ENOSPC, "No space left on device")

    tracker = SpoolTracker(events)
    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        tracker.log_metrics({"loss": 1.0})
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "tracking: from now on nothing can be written down: [Errno 28] No space left on device"
    ]


def test_a_disk_that_filled_up_in_a_line_costs_that_line(events, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: real(handle, content[:10]))
    with pytest.raises(OSError, match="full"):
        events.append({"number": 0})
    monkeypatch.setattr(os, "write", real)
    events.append({"number": 1})
    assert read(events) == [None, {"number": 1}]


def test_what_is_no_number_is_left_out_by_name(events, caplog):
    metrics: dict[str, Any] = {"loss": 0.5, "note": "good", "count": True}
    SpoolTracker(events).log_metrics(metrics)
    assert read(events)[0]["metrics"] == {"loss": 0.5, "count": 1.0}
    assert "note is no number" in caplog.text
