"""What a log and a terminal say of work that lasts."""

import io
import logging
import re
import time

import pytest
from rich.console import Console

from eightgig.core.console import LogLines
from eightgig.core.progress import progress, track


@pytest.fixture
def lines(monkeypatch, caplog):
    """Return a function that lets seconds pass and then reports; it gives the line that was logged, if one was."""
    now = [100.0]
    monkeypatch.setattr("eightgig.core.progress.time.monotonic", lambda: now[0])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(f"eightgig.core.progress.sys.{stream}.isatty", lambda: False)
    caplog.set_level(logging.INFO)

    def _after(seconds, report, done, total, *note):
        now[0] += seconds
        caplog.clear()
        report(done, total, *note)
        return [record.getMessage() for record in caplog.records]

    return _after


def test_a_line_tells_how_long_the_rest_takes(lines):
    with progress("looking at images") as report:
        assert lines(9, report, 1_000, 20_000) == []
        assert lines(1, report, 2_000, 20_000) == ["looking at images: 2,000 of 20,000, about 2 min left"]
        assert lines(10, report, 12_000, 20_000) == ["looking at images: 12,000 of 20,000, under a minute left"]
        assert lines(3600, report, 12_000, 20_000) == ["looking at images: 12,000 of 20,000"]
    with progress("drawing") as report:
        assert lines(10, report, 1_000, 1_280_000) == ["drawing: 1,000 of 1,280,000, about 3 h 33 min left"]
        assert lines(10, report, 1_000, None) == ["drawing: 1,000"]


def test_what_an_earlier_run_did_is_not_taken_for_speed(lines):
    with progress("looking at images") as report:
        lines(0, report, 12_000, 20_000)
        assert lines(10, report, 13_000, 20_000)
        assert lines(10, report, 14_000, 20_000) == ["looking at images: 14,000 of 20,000, about 1 min left"]


def test_a_line_tells_the_note_beside_the_numbers(lines):
    with progress("epoch 2 of 3") as report:
        assert lines(10, report, 5, 20, "loss 0.412") == ["epoch 2 of 3: 5 of 20, under a minute left, loss 0.412"]


def test_work_whose_parts_say_enough_writes_no_lines(lines):
    with progress("training", lines=False) as report:
        assert lines(60, report, 5, 20) == []


@pytest.fixture
def screen(monkeypatch):
    """Return what a terminal gets."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, legacy_windows=False)
    monkeypatch.setattr("eightgig.core.progress.sys.stdout.isatty", lambda: True)
    for module in ("console", "progress"):
        monkeypatch.setattr(f"eightgig.core.{module}.shared_console", lambda: console)
    return written


def test_the_bar_of_a_part_stands_below_that_of_the_whole_with_its_note(screen):
    with progress("training") as whole, progress("epoch 2 of 3") as part:
        whole(23, 69, "accuracy 0.935")
        part(5, 23, "loss 0.412")
        above, below = drawn(screen, "loss 0.412")
    assert above.split()[0] == "training"
    assert "23/69" in above
    assert above.endswith("accuracy 0.935")
    assert below.startswith("epoch 2 of 3")
    assert "5/23" in below


def test_a_bar_goes_with_its_work(screen):
    with progress("training") as whole:
        list(track(range(3), "validating"))
        whole(3, 9)
        (left,) = drawn(screen, "3/9")
    assert left.startswith("training")


def test_a_logged_line_stands_above_the_bars_and_is_whole(screen):
    said = "at https://example.org/" + "way/" * 40
    with progress("training") as whole:
        whole(1, 2)
        LogLines().emit(logging.makeLogRecord({"msg": said, "levelname": "INFO"}))
        line, bar = drawn(screen, said)
    assert line.endswith(said)
    assert bar.startswith("training")


def drawn(screen, words):
    """Return the lines of the last drawing, once these words are in it; a terminal is drawn some times a second."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())  # without colours and movements
        lines = [line.rstrip() for line in plain.rpartition("\r")[2].splitlines() if line.strip()]
        if any(words in line for line in lines):
            return lines
        time.sleep(0.01)
    raise AssertionError(f"{words} was not drawn: {screen.getvalue()!r}")
