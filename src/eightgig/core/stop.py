"""Ctrl-C and SIGTERM: what is whole is kept, and the process says by its exit code that it was stopped.

A signal raises `Stopped` at once, unless a block of work asked to be let finish its step first. A second signal does
not wait for anything.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """The user or the system asked the run to end: no error, so nothing that handles errors may swallow it.

    Attributes:
        code: 128 and the signal's number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM.
        signal_name: for example `SIGINT`.
        last_signal_name: of the last one in this process, for what tidies up at its exit; empty while there was none.
    """

    last_signal_name: ClassVar[str] = ""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal_name = Stopped.last_signal_name = signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self.signal_name}"


class StoppedAtOnce(Stopped):
    """Asked for twice: what was being done is not whole, and must not be kept."""


class StopRequest:
    """Whether a signal has asked a block of work to end.

    Attributes:
        number: of the signal; None while there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def obey(self) -> None:
        """End here if a signal came.

        Raises:
            Stopped: it did.
        """
        if self.number is not None:
            raise Stopped(self.number)


@contextmanager
def stop_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `Stopped` in this block; outside of the main thread no signal arrives."""
    with _handled(_raise):
        yield


@contextmanager
def stop_after_step() -> Iterator[StopRequest]:
    """Let the first SIGINT or SIGTERM in this block be noted only, so that the work can end a step and save.

    A second one raises `StoppedAtOnce`. Outside of the main thread no signal arrives, and none is noted.
    """
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        if request.number is not None:
            raise StoppedAtOnce(number)
        request.number = number
        name = signal.Signals(number).name
        logger.warning("%s: the run ends after this step, with a checkpoint. Once more ends it at once.", name)

    with _handled(note):
        yield request


def leave_signals_to_the_parent() -> None:
    """Let a helper process outlive the Ctrl-C that its terminal sends to all: its parent ends it in good order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


@contextmanager
def _handled(handler: "signal._HANDLER") -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
