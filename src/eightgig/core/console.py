"""The terminal, as wide as it is; and what it is taken for where there is none."""

from typing import Any

from rich.console import Console

_WIDTH = 100  # of a page, where there is no terminal to ask: a log of CI, a pipe; rich takes 80


def wide_console(**options: Any) -> Console:
    """Return a console as wide as the terminal, or as a page where there is none; `options` are rich's."""
    console = Console(**options)
    return console if console.is_terminal else Console(width=_WIDTH, **options)
