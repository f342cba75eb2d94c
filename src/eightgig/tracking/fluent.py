"""`mlflow.log_metric` and its like in a node's own code: they write into the run that goes on."""

import atexit
import os
from functools import cached_property
from typing import Any

from eightgig.tracking.run import TrackedRun
from eightgig.tracking.server import import_mlflow

_URI = "MLFLOW_TRACKING_URI"


class FluentRun:
    """Makes a tracked run the active one of `mlflow`'s functions, while a node runs, in that node's thread.

    Nothing waits for the server but a call of `mlflow` itself: the first one of a run waits for the run's id.

    Args:
        run: the run.
        uri: MLflow's tracking URI.
        patience_s: how long such a call may wait for a server that does not answer.
    """

    def __init__(self, run: TrackedRun, uri: str, patience_s: float) -> None:
        self._uri = uri
        self._active = _lazy_run(run, uri, patience_s)
        self._earlier_uris = _chosen_uri(), os.environ.get(_URI)
        # MLflow ends what is active when the process ends, as finished; functions are called last registered first.
        atexit.register(self.leave)

    def enter(self) -> None:
        """Make it the active run; what is there already, of a node around this one, stays below it."""
        import_mlflow().set_tracking_uri(self._uri)
        _stack().append(self._active)

    def leave(self) -> None:
        """Leave all as it was; a run that the node itself began and left open stays its own."""
        stack = _stack()
        stack[:] = [run for run in stack if run is not self._active]
        chosen, of_environment = self._earlier_uris
        import_mlflow().set_tracking_uri(chosen)
        if of_environment is not None:  # else MLflow has just taken its own out
            os.environ[_URI] = of_environment


def _lazy_run(run: TrackedRun, uri: str, patience_s: float) -> Any:
    """Return an active run of MLflow's that asks for its id when it is first used."""
    import_mlflow(uri)
    from mlflow import ActiveRun, MlflowClient

    class ThisRun(ActiveRun):
        def __init__(self) -> None:
            """Ask nothing yet."""

        @cached_property
        def _known(self) -> Any:
            run_id = run.mlflow_id(patience_s)
            if run_id is None:
                raise ConnectionError(
                    f"MLflow has not answered within {patience_s:g} s, so its functions cannot be used in this node. "
                    "Figures logged through the `tracker` dataset wait for no server, and are sent later."
                )
            return MlflowClient(uri).get_run(run_id)

        @property
        def info(self) -> Any:
            return self._known.info

        @property
        def data(self) -> Any:
            return self._known.data

        @property
        def inputs(self) -> Any:
            return self._known.inputs

        @property
        def outputs(self) -> Any:
            return self._known.outputs

    return ThisRun()


def _stack() -> list[Any]:
    from mlflow.tracking import fluent

    stack: list[Any] = fluent._active_run_stack.get()
    return stack


def _chosen_uri() -> str | None:
    """Return what `mlflow.set_tracking_uri` was called with in this process, without asking the environment."""
    from mlflow.tracking._tracking_service import utils

    return utils._tracking_uri
