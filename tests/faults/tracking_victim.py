"""A run that logs a figure a step, through the project's hook, until a signal or a kill ends it: FOLDER NAME."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from eightgig.core.stop import Stopped, stop_by_signals
from eightgig.datasets.tracker import TrackerDataset
from eightgig.hooks.tracking import MlflowHook


def main(folder: Path, name: str) -> None:
    hook = MlflowHook()
    context: Any = SimpleNamespace(project_path=folder, config_loader={"tracking": {}})
    hook.after_context_created(context)
    hook.before_pipeline_run({"pipeline_names": [name]}, Pipeline([]), DataCatalog({}))
    tracker = TrackerDataset().load()
    try:
        with stop_by_signals():
            for step in range(100_000):
                tracker.log_metrics({"loss": 1 / (step + 1), "twice": 2.0 * step}, step=step)
                sys.stdout.write(f"step {step}\n")  # Kedro says things of its own
                sys.stdout.flush()
                time.sleep(0.005)
    except Stopped as stop:
        hook.stopped(stop.signal_name)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
