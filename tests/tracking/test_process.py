"""A process is told from all others, and is only called gone when it surely is."""

import os
import subprocess
import sys
import time

import pytest

from eightgig.tracking.process import Process, this_host


def test_this_process_is_there():
    assert not Process.current().is_gone()
    assert Process.current() == Process.current()


def test_a_later_process_of_the_same_number_is_another_one():
    assert Process.current().model_copy(update={"started": "earlier"}).is_gone()


def test_another_hosts_process_is_never_called_gone():
    assert not Process(host="elsewhere-12345678", pid=2**22 - 1, started="").is_gone()


def test_a_process_that_ended_is_gone():
    code = "from eightgig.tracking.process import Process; print(Process.current().model_dump_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ended = Process.model_validate_json(done.stdout)
    assert ended.host == this_host()
    assert ended.is_gone()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_that_nobody_has_waited_for_is_gone():
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    process = Process(host=this_host(), pid=child, started=_started(child))
    assert not process.is_gone()
    os.kill(child, 9)
    try:
        deadline = time.monotonic() + 5
        while not process.is_gone() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.is_gone()
    finally:
        os.waitpid(child, 0)


def _started(pid):
    from eightgig.tracking import process

    return process._started(pid)
