"""What a log says of work that lasts."""

import logging

import pytest

from eightgig.core.progress import progress


@pytest.fixture
def lines(monkeypatch, caplog):
    """Return a function that lets seconds pass and then reports; it gives the line that was logged, if one was."""
    now = [100.0]
    monkeypatch.setattr("eightgig.core.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("eightgig.core.progress.sys.stderr.isatty", lambda: False)
    caplog.set_level(logging.INFO)

    def _after(seconds, report, done, total):
        now[0] += seconds
        caplog.clear()
        report(done, total)
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
