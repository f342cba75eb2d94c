"""What a run says: to the terminal what a person wants to read, and all of it to a log of its own."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from rich.logging import RichHandler

from eightgig.core.console import LogLines

_KEPT_LOGS = 20  # of some kilobytes each
# Notes of libraries to their callers: a person who runs a pipeline can do nothing about them (conf/logging.yml).
_WARNINGS = logging.getLogger("py.warnings")
_LINE = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"


def write_whole_lines() -> None:
    """Put lines that are never broken in the place of rich's table, whose columns break whatever is long."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, RichHandler):
            root.removeHandler(handler)
            root.addHandler(LogLines())


class RunLog:
    """A file that takes all that is logged in a block, other libraries' warnings too; a run goes on without it.

    Args:
        folder: of the logs of all runs, of which the latest are kept.

    Attributes:
        path: of this run's; None where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handler: logging.Handler | None = None
        self.path: Path | None = None

    def __enter__(self) -> "RunLog":
        path = self._folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("w", encoding="utf-8")
            for old in sorted(self._folder.glob("*.log"))[:-_KEPT_LOGS]:
                old.unlink(missing_ok=True)
        except OSError as failed:
            logging.getLogger(__name__).debug("no log can be written: %s", failed)
            return self
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(logging.Formatter(_LINE))
        self._stream.write(f"eightgig {' '.join(sys.argv[1:])}\n\n")
        logging.getLogger().addHandler(self._handler)
        _WARNINGS.addHandler(self._handler)
        self._shown, self._passed_on = _WARNINGS.level, _WARNINGS.propagate
        _WARNINGS.setLevel(logging.WARNING)
        _WARNINGS.propagate = False  # to the terminal
        self.path = path
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            _WARNINGS.removeHandler(self._handler)
            _WARNINGS.setLevel(self._shown)
            _WARNINGS.propagate = self._passed_on
            self._stream.close()

    def add(self, error: BaseException) -> None:
        """Write an error with its traceback."""
        if self._handler is not None:
            self._stream.write("\n" + "".join(traceback.format_exception(error)))
            self._stream.flush()
