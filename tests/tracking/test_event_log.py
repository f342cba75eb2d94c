"""A run's folder: one holder, files as they were when they were kept, progress in one step."""

import os

import pytest

from eightgig.tracking import event_log as spool_module
from eightgig.tracking.event_log import EventLog, Progress, event_logs_in


@pytest.fixture
def event_log(make_spool):
    return make_spool("sqlite:////nowhere.db")[0]


def test_one_holder_at_a_time(event_log):
    other = EventLog(event_log.folder)
    assert not other.hold()
    event_log.let_go()
    assert other.hold()
    assert not event_log.hold()
    other.let_go()


def test_what_its_holder_has_removed_cannot_be_held(event_log):
    other = EventLog(event_log.folder)
    event_log.remove()
    assert not event_log.folder.exists()
    assert not other.hold()
    assert not event_log.folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="rights of another kind")
def test_it_is_its_owners_business_alone(event_log):
    assert event_log.folder.stat().st_mode & 0o077 == 0
    assert event_log.events.path.stat().st_mode & 0o077 == 0


def test_progress_that_cannot_be_read_is_none(event_log):
    event_log.note(Progress(run_id="a", offset=7, waiting=(1, 2)))
    assert event_log.progress() == Progress(run_id="a", offset=7, waiting=(1, 2))
    (event_log.folder / "progress.json").write_text('{"run_id": ', encoding="utf-8")
    assert event_log.progress() == Progress()


def test_a_first_line_that_is_not_whole_is_no_start(event_log):
    assert event_log.start().experiment == "case"
    event_log.events.path.write_bytes(b'\n{"kind":"start","event_log')
    assert event_log.start() is None


def test_a_small_file_is_kept_as_it_was(event_log, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("first", encoding="utf-8")
    event = event_log.keep(page, "report")
    page.write_text("second", encoding="utf-8")
    assert event["linked"] == {}
    assert event_log.kept(event).name == "page.html"
    assert event_log.kept(event).read_text(encoding="utf-8") == "first"


def test_a_folder_is_kept_with_what_is_in_it(event_log, tmp_path):
    (tmp_path / "made" / "inner").mkdir(parents=True)
    (tmp_path / "made" / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "made" / "inner" / "b.txt").write_text("b", encoding="utf-8")
    kept = event_log.kept(event_log.keep(tmp_path / "made", "x"))
    assert kept.name == "made"
    assert sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*.txt")) == ["a.txt", "inner/b.txt"]


class TestLargeFiles:
    @pytest.fixture(autouse=True)
    def large(self, monkeypatch, tmp_path):
        monkeypatch.setattr(spool_module, "_COPIED_BYTES", 3)
        self.weights = tmp_path / "weights.bin"
        self.weights.write_bytes(b"first")

    def test_are_linked(self, event_log):
        event = event_log.keep(self.weights, "x")
        assert list(event["linked"]) == [event["kept"]]
        assert event_log.kept(event).stat().st_ino == self.weights.stat().st_ino

    def test_stay_when_another_file_takes_their_place(self, event_log, tmp_path):
        event = event_log.keep(self.weights, "x")
        (tmp_path / "new").write_bytes(b"other")
        (tmp_path / "new").replace(self.weights)
        assert event_log.kept(event).read_bytes() == b"first"

    def test_are_not_taken_for_what_was_written_over_them(self, event_log):
        event = event_log.keep(self.weights, "x")
        os.utime(self.weights, ns=(1, 1))  # a clock that ticks slowly would hide the change
        self.weights.write_bytes(b"other")
        assert event_log.kept(event) is None

    def test_are_copied_where_there_are_no_links(self, event_log, monkeypatch):
        def refuse(*_paths):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
        event = event_log.keep(self.weights, "x")
        self.weights.write_bytes(b"other")
        assert event_log.kept(event).read_bytes() == b"first"


def test_a_file_that_is_not_there_leaves_nothing(event_log, tmp_path):
    with pytest.raises(OSError, match="no file to keep"):
        event_log.keep(tmp_path / "nowhere.txt", "x")
    assert not list(event_log.folder.glob("files/*"))


def test_runs_are_listed_the_oldest_first(make_spool, event_logs):
    for name in ("20260102-000000-b", "20260101-000000-a"):
        make_spool("sqlite:////nowhere.db", spool_id=name)
    (event_logs / "stray").mkdir()
    assert [event_log.name for event_log in event_logs_in(event_logs)] == ["20260101-000000-a", "20260102-000000-b"]
    assert event_logs_in(event_logs / "nowhere") == []


def test_what_is_given_up_is_kept_apart(event_log, event_logs):
    place = event_log.give_up()
    assert (place / "events.jsonl").is_file()
    assert event_logs_in(event_logs) == []
