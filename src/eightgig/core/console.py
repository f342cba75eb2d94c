"""The terminal, as wide as it is; and what it is taken for where there is none."""

import logging
from datetime import datetime
from functools import cache
from typing import Any

from rich.console import Console
from rich.highlighter import ReprHighlighter
from rich.text import Text

_WIDTH = 100  # of a page, where there is no terminal to ask: a log of CI, a pipe; rich takes 80


def wide_console(**options: Any) -> Console:
    """Return a console as wide as the terminal, or as a page where there is none; `options` are rich's."""
    console = Console(**options)
    return console if console.is_terminal else Console(width=_WIDTH, **options)


@cache
def shared_console() -> Console:
    """Return the console of log lines and bars: on one of their own, lines would be written into the bars."""
    return wide_console()


class LogLines(logging.Handler):
    """Writes each record as one line, however long: an address or a command that is broken cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self._highlight = ReprHighlighter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
            level = (f"{record.levelname:<8}", f"logging.level.{record.levelname.lower()}")
            line = Text.assemble((at, "log.time"), " ", level, " ", self._highlight(self.format(record)))
            shared_console().print(line, soft_wrap=True)
        except Exception:  # noqa: BLE001 - as in the handlers of the standard library: a run never ends by its log
            self.handleError(record)
