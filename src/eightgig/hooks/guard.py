"""What must hold while a run lasts: its folder can be written, nobody else makes the same things, signals end it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline

from eightgig.core.errors import DataError
from eightgig.core.files import data_folder
from eightgig.core.locks import only_one
from eightgig.core.stop import stop_by_signals

# Stages that make what others take: two runs of them would change it under each other. What only looks at a trained
# network (predict, video, report, ...) may run beside them.
_MAKERS = {"ingest", "explore", "plan", "train", "compress", "export"}


class GuardHook:
    """Refuses a run that could not end well, before anything is done; ends it in good order on Ctrl-C and SIGTERM."""

    def __init__(self) -> None:
        self._folder = Path()
        self._held = ExitStack()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Find the folder that all files go to."""
        self._folder = Path(context.project_path) / data_folder()

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Check the folder, listen to signals, and take the locks.

        Raises:
            BusyError: another run makes the same things.
            DataError: the folder cannot be written.
        """
        self._held.close()  # of a run in this process that was stopped
        require_writable(self._folder)
        self._held.enter_context(stop_by_signals())  # before a lock says that a run is there to be stopped
        for case in sorted(set(_cases_made(pipeline))):
            lock = self._folder / ".locks" / case
            self._held.enter_context(only_one(lock, f"{case} is being run in {self._folder}"))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let others in."""
        self._held.close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let others in."""
        self._held.close()


def require_writable(folder: Path) -> None:
    """Try to write into a folder, which is made where it is missing.

    Raises:
        DataError: it cannot be written.
    """
    trial = folder / f".{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise DataError(
            f"{folder}: results are written there, and it cannot be written ({error.strerror or error}). Give yourself "
            "the right, or name another folder with EIGHTGIG_DATA."
        ) from error


def _cases_made(pipeline: Pipeline) -> Iterator[str]:
    for node in pipeline.nodes:
        if node.namespace and _MAKERS & set(node.tags):
            yield node.namespace.partition(".")[0]
