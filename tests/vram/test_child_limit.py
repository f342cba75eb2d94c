"""The child process is ended where it hangs, and not where it is slow because of other work."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from eightgig.vram.tracing import child


class Process:
    """Stands for the child: how much of a core it has used whenever it is looked at."""

    pid = 0

    def __init__(self, *used_seconds):
        self.used, self.was_killed, self.looks = list(used_seconds), False, 0

    def kill(self):
        self.was_killed = True


@pytest.fixture
def watch(monkeypatch):
    """Look at a process once a wait, until its list of seconds has ended: then it has answered."""

    def run(*used_seconds):
        process, answered = Process(*used_seconds), threading.Event()
        monkeypatch.setattr(child, "_core_seconds", lambda _: process.used.pop(0))
        monkeypatch.setattr(answered, "wait", lambda _: not process.used)
        child._end_if_it_hangs(process, answered)  # type: ignore[arg-type]
        return process

    return run


def test_it_is_ended_when_it_has_used_up_its_time(watch):
    assert watch(5, 305).was_killed
    assert watch(5, 105, 205).was_killed  # beside other work, over a longer time


def test_it_is_ended_when_it_waits_for_what_does_not_come(watch):
    assert watch(5, 45, 45.5).was_killed


def test_it_is_left_alone_while_other_work_slows_it_down(watch):
    process = watch(5, 30, 55, 80, 105)
    assert not process.was_killed
    assert not process.used


def test_one_that_has_ended_already_needs_no_end():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    child._end_if_it_hangs(ended, threading.Event())


def test_a_sleeper_is_ended(monkeypatch):
    monkeypatch.setattr(child, "_LIMIT_SECONDS", 1)
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    begun = time.monotonic()
    # It starts Python in its first second, and then does nothing.
    child._end_if_it_hangs(sleeper, threading.Event())
    assert sleeper.wait() != 0
    assert time.monotonic() - begun < 30


def test_seconds_are_of_a_core():
    before = child._core_seconds(os.getpid())
    until = psutil.Process().cpu_times().user + 0.3
    while psutil.Process().cpu_times().user < until:
        pass
    assert 0.2 < child._core_seconds(os.getpid()) - before < 5
