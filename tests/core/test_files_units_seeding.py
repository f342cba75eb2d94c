"""The small things that all rooms rest on."""

import os
import subprocess
import sys

import pytest

from eightgig.core.device import loader_processes, resolve_device
from eightgig.core.errors import ConfigurationError
from eightgig.core.files import atomic_write, sha256_of, write_text
from eightgig.core.progress import track
from eightgig.core.seeding import seed_from
from eightgig.core.units import GIB, bytes_from_gib, format_bytes, gib, mib


def test_units():
    assert gib(GIB) == 1
    assert mib(GIB) == 1024
    assert bytes_from_gib(0.5) == 2**29
    assert [format_bytes(n) for n in (12, 1536, 3 * 2**20, 7.25 * GIB)] == ["12 B", "1.5 KiB", "3.0 MiB", "7.2 GiB"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a" / "file.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_write_that_ends_well_replaces(tmp_path):
    write_text(tmp_path / "f", "old")
    write_text(tmp_path / "f", "new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_sha256():
    assert sha256_of(b"abc").startswith("ba7816bf")


def test_seeds_are_stable_and_told_apart():
    assert seed_from(0, "augment", 1, 2) == 8124456633294986454
    seeds = {
        seed_from(0, "augment", 1, 2),
        seed_from(0, "augment", 12),
        seed_from("0", "augment", 1, 2),
        seed_from(0, 1, 2),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_track_yields_everything():
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert list(track(iter("ab"), "spelling", total=2)) == ["a", "b"]


def test_loader_processes(monkeypatch):
    assert loader_processes(3) == 3
    for cores, expected in ((1, 0), (2, 0), (4, 2), (16, 4)):
        monkeypatch.setattr("eightgig.core.device.usable_cores", lambda cores=cores: cores)
        assert loader_processes("auto") == expected


def test_cuda_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(
        ConfigurationError, match=r"torch finds no usable GPU .* nvidia-smi, or set the parameter to 'auto'"
    ):
        resolve_device("cuda")


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True, capture_output=True)
    left, lives = (tmp_path / f".a[1].txt.{number}.tmp" for number in (int(gone.stdout), os.getppid()))
    left.touch()
    lives.touch()
    write_text(tmp_path / "a[1].txt", "whole")
    assert (left.exists(), lives.exists()) == (False, True)
