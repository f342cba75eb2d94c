"""The commands of this project: Kedro takes `cli` from here, and with it a `run` whose `--params` takes texts."""

from typing import Any

__all__ = ["cli", "run"]


def __getattr__(name: str) -> Any:
    """Return Kedro its commands; nothing of Kedro is imported before."""
    if name in __all__:
        from eightgig.cli import kedro_run

        return getattr(kedro_run, name)
    raise AttributeError(name)
