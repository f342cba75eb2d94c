"""Another machine takes part in a run: `python -m eightgig.stages.distributed.join FOLDER/job.json --node-rank 1`.

The run is started with `train.distributed.nodes` on the first machine, which logs this command. Both see the project's
data under the same path.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from eightgig.stages.distributed.launcher import WorkerConfig, launcher
from eightgig.training.parameters import DistributedParameters

_LOOK_S = 0.5


def main() -> None:
    """Start this machine's processes for each attempt of the run, until one ends well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--node-rank", type=int, required=True)
    parser.add_argument("--wait", type=float, default=600.0, help="seconds to wait for the run to begin")
    chosen = parser.parse_args()
    done = -1
    while True:
        job = _next_job(chosen.job, done, chosen.wait)
        if job is None:
            sys.exit(f"{chosen.job}: no run began within {chosen.wait:g} s" if done < 0 else 1)
        distributed = DistributedParameters(**job.train["distributed"])
        code = subprocess.run(launcher(distributed, chosen.job, node=chosen.node_rank), check=False).returncode  # noqa: S603
        if code == 0:
            return
        done = job.attempt


def _next_job(path: Path, done: int, patience_s: float) -> WorkerConfig | None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            job = WorkerConfig.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            job = None
        if job is not None and job.attempt > done:
            return job
        time.sleep(_LOOK_S)
    return None


if __name__ == "__main__":
    main()
