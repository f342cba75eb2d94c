"""Rows 9 and 28 of the fault table: datasets that are killed while they save, and that cannot save."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.whole, pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")]
ONE_FILE = ("table", "figure", "record", "text", "page", "onnx", "image", "film", "tokens")
KINDS = (*ONE_FILE, "weights", "engine", "store", "folder", "raw")
READ_ONLY, NO_FOLDER = "a read-only disk", "a file in the place of a folder"


@pytest.fixture(scope="module")
def saves(photos, on_small_disk, quietly, tmp_path_factory):
    """Return what `dataset_victim.py` found."""
    command = [sys.executable, str(Path(__file__).with_name("dataset_victim.py")), str(photos)]
    command.append(str(tmp_path_factory.mktemp("work")))
    if on_small_disk is not None:
        small_disk = tmp_path_factory.mktemp("small_disk")
        command = on_small_disk([*command, str(small_disk)], small_disk)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=quietly, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def kills(saves, kind):
    """Return what was seen after each kill, by where it came."""
    found = {(each["point"], each["number"]): each for each in saves if each["kind"] == kind and "point" in each}
    assert found
    assert {each["next"] for each in found.values()} == {"new"}, "the next save is as if nothing had been"
    return found


@pytest.mark.parametrize("kind", ONE_FILE)
def test_row_09_killed_save_of_a_file(saves, kind):
    """The older content until the file has its name, the newer one after that."""
    found = kills(saves, kind)
    assert {where: each["content"] for where, each in found.items()} == {
        ("partial", 1): "old",
        ("before", 1): "old",
        ("after", 1): "new",
    }
    assert all(each["exists"] for each in found.values())


@pytest.mark.parametrize("kind", ["weights", "engine"])
def test_row_09_killed_save_of_a_pair_of_files(saves, kind):
    """Three names are given: to the text that vouches, which waits; to the file; to the text. They never disagree."""
    found = kills(saves, kind)
    newer = {("after", 2), ("partial", 3), ("before", 3), ("after", 3)}
    assert {where for where, each in found.items() if each["content"] == "new"} == newer
    assert {where for where, each in found.items() if each["content"] == "old"} == found.keys() - newer
    assert len(found) == 9
    assert all(each["exists"] for each in found.values())


def test_row_09_killed_save_of_an_image_store(saves):
    found = kills(saves, "store")
    assert {where for where, each in found.items() if each["content"] == "new"} == {("after", 3)}
    assert {where for where, each in found.items() if each["content"] == "old"} == found.keys() - {("after", 3)}
    assert all(each["exists"] for each in found.values())


@pytest.mark.parametrize(("kind", "last"), [("folder", ("after", 7)), ("raw", ("after", 1))])
def test_row_09_killed_save_of_many_files(saves, kind, last):
    """What consists of many files does not exist until all are there: it is made again, and never mixed."""
    found = kills(saves, kind)
    for where, each in found.items():
        assert each["exists"] is (where == last)
        assert each["content"] == "new" if where == last else each["content"].startswith("none: ")


@pytest.mark.parametrize("where", [READ_ONLY, NO_FOLDER])
@pytest.mark.parametrize("kind", KINDS)
def test_row_28_read_only_data_folder(saves, kind, where):
    """At the level of datasets: at once, with the path, and what was there stays."""
    found = [each for each in saves if each["kind"] == kind and each.get("where") == where]
    if where == READ_ONLY and not found:
        pytest.skip("this system does not let us mount a read-only disk")
    (refused,) = found
    assert refused["seconds"] < 5
    assert ("Read-only file system" if where == READ_ONLY else f"file/{kind}") in refused["error"]
    assert f"/{kind}" in refused["error"]
    assert refused["content"].startswith("old" if where == READ_ONLY else "none: ")
