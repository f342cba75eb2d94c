"""Sends what is kept: `python -m eightgig.tracking.replay [FOLDER] [--to URI]`; ends with 1 where something is left."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from eightgig.core.files import data_folder
from eightgig.tracking.addresses import whole_uri, without_secrets
from eightgig.tracking.event_log import event_logs_in
from eightgig.tracking.old_runs import replay
from eightgig.tracking.server import import_mlflow


def main(arguments: Sequence[str] | None = None) -> int:
    """Send all runs that are over, and say how many are left."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("eightgig.tracking").setLevel(logging.INFO)
    import_mlflow(options.to or "")
    done = replay(options.folder, _addresses(options.folder, options.to), lambda: False, of_any_host=True)
    left = done.kept + done.held
    sys.stdout.write(f"{options.folder}: {done.sent} runs sent, {left} left\n")
    return 1 if left else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eightgig.tracking.replay", description=__doc__)
    default = data_folder() / "09_tracking"
    parser.add_argument("folder", nargs="?", type=Path, default=default, help="where runs are kept (%(default)s)")
    parser.add_argument("--to", metavar="URI", help="send all of them there, and not where each was meant for")
    return parser.parse_args(arguments)


def _addresses(folder: Path, to: str | None) -> dict[str, str]:
    """Return the address to send to, by the one that was written down (without user name and password)."""
    if to:
        starts = [event_log.start() for event_log in event_logs_in(folder)]
        return {start.uri: whole_uri(to, Path.cwd()) for start in starts if start}
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    return {without_secrets(environment): environment} if environment else {}


if __name__ == "__main__":
    sys.exit(main())
