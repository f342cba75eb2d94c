"""The course of a day with a card: order, time, failures, going on after a kill, and the next row made ready early."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest


def events_of(folder):
    """Return when each row did what."""
    lines = (line.split() for line in (folder / "events.txt").read_text().splitlines())
    return {(name, what): float(at) for name, what, at in lines}


def states(day):
    return {key.partition(": ")[2]: row.state for key, row in day.index.rows.items()}


def kept(folder):
    return json.loads((folder / "gpu_day-rehearsal.json").read_text())["rows"]


def test_the_next_row_makes_ready_while_the_one_before_is_on_the_card_and_begins_when_it_has_ended(bench, tmp_path):
    driver = bench.day_driver
    until = {"until": "second started"}  # for ever, if the second does not make ready meanwhile
    rows = [driver.row(tmp_path, "first", 600, arguments=until), driver.row(tmp_path, "second", 0)]
    driver.day(tmp_path, rows, 500).run()
    at = events_of(tmp_path)
    assert at["second", "started"] < at["first", "ended"] <= at["second", "began"]
    rows = kept(tmp_path)
    assert rows["compile: second"]["ready_early"] > 0
    assert rows["compile: second"]["waited"] < rows["compile: first"]["waited"]


def test_rows_are_done_in_order_and_each_is_kept_with_what_it_brought(bench, tmp_path):
    driver = bench.day_driver
    day = driver.day(tmp_path, [driver.row(tmp_path, name, 0.0) for name in ("a", "b")], 500)
    day.run()
    at = events_of(tmp_path)
    assert at["a", "began"] < at["b", "began"]
    assert kept(tmp_path)["compile: a"]["value"] == {"whole": 2}
    assert states(day) == {"a": "measured", "b": "measured"}


def test_a_row_that_cannot_end_in_time_is_not_begun_and_a_smaller_one_behind_it_is(bench, tmp_path):
    driver = bench.day_driver
    day = driver.day(tmp_path, [driver.row(tmp_path, "long", 0, least=999), driver.row(tmp_path, "short", 0)], 500)
    day.run()
    assert states(day) == {"long": "not run", "short": "measured"}
    assert day.index.rows["compile: long"].why.startswith("time: ")
    assert day.index.rows["compile: long"].why.endswith("it wants 999")


def test_a_row_that_does_not_end_is_ended_and_keeps_what_it_had_by_then(bench, tmp_path):
    driver = bench.day_driver
    day = driver.day(tmp_path, [driver.row(tmp_path, "hangs", 600, most=8), driver.row(tmp_path, "next", 0)], 500)
    day.run()
    hangs = day.index.rows["compile: hangs"]
    assert (hangs.state, hangs.why) == ("failed", "time: it was ended after 8 s")
    assert hangs.value == ({"half": 1} if ("hangs", "began") in events_of(tmp_path) else {})
    assert ("hangs", "ended") not in events_of(tmp_path)
    assert states(day)["next"] == "measured"


def test_the_end_of_the_day_ends_the_row_that_is_on_the_card(bench, tmp_path):
    driver = bench.day_driver
    day = driver.day(tmp_path, [driver.row(tmp_path, "hangs", 600, most=900)], 8)
    begun = time.monotonic()
    day.run()
    assert time.monotonic() - begun < 60  # far less than the row wants
    assert states(day) == {"hangs": "failed"}


def test_a_row_that_fails_says_why_and_is_tried_again_behind_all_others(bench, tmp_path):
    driver = bench.day_driver
    rows = [driver.row(tmp_path, "fails", -1), driver.row(tmp_path, "works", 0)]
    day = driver.day(tmp_path, rows, 500)
    day.run()
    assert "RuntimeError: it cannot be done" in day.index.rows["compile: fails"].why
    again = driver.day(tmp_path, [*rows, driver.row(tmp_path, "new", 0)], 500, index=day.index)
    assert [row.name for row in again._todo()] == ["new", "fails"]


def test_what_was_measured_does_not_give_way_to_a_failure(bench):
    index = bench.day_index
    fresh = index.Index(machine=bench.day_driver.MACHINE, budget_gib=8, date="")
    done = fresh.with_row("x", index.RowState(section="loop", state="measured", value={"ratio": 1.0}))
    later = done.with_row("x", index.RowState(section="loop", state="failed", why="memory"))
    assert later.rows["x"].value == {"ratio": 1.0}
    failed = fresh.with_row("x", index.RowState(section="loop", state="failed", why="memory"))
    assert failed.rows["x"].why == "memory"
    left = failed.with_row("x", index.RowState(section="loop", state="not run", why="time: 0 s were left"))
    assert left.rows["x"].why == "memory"
    assert failed.with_row("x", index.RowState(section="loop", state="measured")).rows["x"].state == "measured"


def test_a_missing_package_is_a_row_that_says_so(bench, tmp_path):
    driver = bench.day_driver
    rows = [driver.row(tmp_path, "eight", 0, needs=("bitsandbytes",)), driver.row(tmp_path, "hard", 0, why_not="no")]
    day = driver.day(tmp_path, rows, 500, missing={"bitsandbytes": "a row"})
    day.run()
    assert day.index.rows["compile: eight"].why == "package: bitsandbytes not here"
    assert day.index.rows["compile: hard"].why == "no"
    assert states(day) == {"eight": "not run", "hard": "not run"}


def test_a_row_whose_plan_is_not_there_yet_lets_the_next_go_first_and_one_that_cannot_be_planned_fails(bench, tmp_path):
    driver = bench.day_driver

    class Slow:
        setting = driver.SETTING

        def __init__(self):
            self.quick = tmp_path / "events.txt"

        def ask(self, rows):
            pass

        def ready(self, row):
            return row.name != "slow" or (self.quick.exists() and "quick began" in self.quick.read_text())

        def of(self, row):
            if row.name == "never":
                raise ValueError("it cannot be traced")
            return {}

    rows = [driver.row(tmp_path, name, 0) for name in ("slow", "never", "quick")]
    day = driver.day(tmp_path, rows, 500, plans=Slow())
    day.run()
    at = events_of(tmp_path)
    assert at["quick", "began"] < at["slow", "began"]
    assert day.index.rows["compile: never"].why == "ValueError: it cannot be traced"
    assert states(day) == {"never": "failed", "quick": "measured", "slow": "measured"}


def test_a_day_that_is_killed_is_taken_up_where_it_was_and_leaves_no_process(bench, tmp_path, project_path):
    command = [sys.executable, str(project_path / "tests" / "benchmarks" / "day_driver.py"), str(tmp_path), "500"]
    first = subprocess.Popen([*command, "one:0", "two:600", "three:0"])
    try:
        until = time.monotonic() + 300
        while not (tmp_path / "events.txt").exists() or ("two", "began") not in events_of(tmp_path):
            assert first.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert {key: row["state"] for key, row in kept(tmp_path).items()} == {"compile: one": "measured"}
    began_once = events_of(tmp_path)["one", "began"]
    until = time.monotonic() + 60
    while _running(tmp_path):
        assert time.monotonic() < until, "a row's process outlived the day"
        time.sleep(0.2)
    subprocess.run([*command, "one:0", "two:0", "three:0"], check=True, timeout=500)
    assert {row["state"] for row in kept(tmp_path).values()} == {"measured"}
    assert set(kept(tmp_path)) == {"compile: one", "compile: two", "compile: three"}
    assert events_of(tmp_path)["one", "began"] == began_once


def _running(folder):
    found = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if "day_child.py" in line and str(folder) in line]


@pytest.mark.parametrize("content", ["{", '{"machine": {}}'])
def test_an_index_that_is_none_is_moved_aside(bench, tmp_path, content):
    path = tmp_path / "gpu_day-x.json"
    path.write_text(content)
    fresh = bench.day_index.Index(machine=bench.day_driver.MACHINE, budget_gib=8, date="")
    assert bench.day_index.taken_up(path, fresh) is fresh
    assert not path.exists()
    assert [each.read_text() for each in tmp_path.iterdir()] == [content]


def test_rows_of_another_torch_are_moved_aside_and_those_of_this_one_are_taken_up(bench, tmp_path):
    path, machine = tmp_path / "gpu_day-x.json", bench.day_driver.MACHINE
    fresh = bench.day_index.Index(machine=machine, budget_gib=8, date="", missing={"peft": "a row"})
    state = bench.day_index.RowState(section="loop", state="measured")
    fresh.model_copy(update={"missing": {}}).with_row("x", state).write(path)
    again = bench.day_index.taken_up(path, fresh)
    assert (set(again.rows), again.missing) == ({"x"}, {"peft": "a row"})
    other = fresh.model_copy(update={"machine": machine.model_copy(update={"torch": "9"})})
    assert bench.day_index.taken_up(path, other).rows == {}


def test_a_rows_process_keeps_bytecode_and_none_of_the_settings_that_would_be_measured(bench, monkeypatch):
    import day_children

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:32")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setattr(day_children, "is_compiled", lambda _: False)
    made = day_children.child_environment({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"})
    assert "PYTHONDONTWRITEBYTECODE" not in made
    assert "CUBLAS_WORKSPACE_CONFIG" not in made
    assert made["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert made["PYTHONPYCACHEPREFIX"].endswith("gpu-day-bytecode")
    monkeypatch.setattr(day_children, "is_compiled", lambda _: True)
    assert "PYTHONPYCACHEPREFIX" not in day_children.child_environment({})
