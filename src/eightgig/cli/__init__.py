"""The commands of this project: `eightgig`, and what Kedro takes from here: `cli`, with a `run` of our own."""

from typing import Any

from eightgig.cli.command import main

__all__ = ["cli", "main", "run"]


def __getattr__(name: str) -> Any:
    """Return Kedro its commands; nothing of Kedro is imported before."""
    if name in ("cli", "run"):
        from eightgig.cli import kedro_run

        return getattr(kedro_run, name)
    raise AttributeError(name)
