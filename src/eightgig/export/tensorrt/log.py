"""What TensorRT says while it parses and builds: its errors, and the layers that it made."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from eightgig.export.tensorrt.toolkit import Toolkit

_ERROR = 1  # ILogger.Severity.ERROR; INTERNAL_ERROR is 0, VERBOSE 4
_NO_REASON = "TensorRT gave no reason"
_one_at_a_time = threading.Lock()


class BuildLog:
    """The messages of one build, with their severities."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self._entries: list[tuple[int, str]] = []

    def add(self, severity: int, message: str) -> None:
        """Keep one message."""
        self._entries.append((severity, message))

    @property
    def messages(self) -> list[str]:
        """All messages, in order."""
        return [message for _, message in self._entries]

    @property
    def reason(self) -> str:
        """What went wrong, in TensorRT's own words: its first error, on one line of at most 300 characters."""
        errors = [message for severity, message in self._entries if severity <= _ERROR]
        return " ".join(errors[0].split())[:300] if errors else _NO_REASON


@contextmanager
def listen(toolkit: Toolkit) -> Iterator[BuildLog]:
    """Yield a log that fills with all that TensorRT says inside the block, to be used by one build at a time.

    TensorRT keeps a pointer to the first logger of a process for good, so there is one for all builds and it is never
    freed; what changes is where it writes.
    """
    logger = _logger(toolkit)
    with _one_at_a_time:
        logger.target = BuildLog(logger)
        try:
            yield logger.target
        finally:
            logger.target = None


@cache
def _logger(toolkit: Toolkit) -> Any:
    base: Any = toolkit.module.ILogger

    class Listener(base):  # its base is known only once the module is loaded
        def __init__(self) -> None:
            base.__init__(self)
            self.target: BuildLog | None = None

        def log(self, severity: Any, msg: str) -> None:
            if self.target is not None:
                self.target.add(int(severity.value), msg)

    return Listener()
