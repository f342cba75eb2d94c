"""Sends what is kept: `eightgig replay [FOLDER] [--to URI]`."""

import os
from pathlib import Path

from eightgig.tracking.addresses import whole_uri, without_secrets
from eightgig.tracking.event_log import event_logs_in
from eightgig.tracking.old_runs import Replayed, replay
from eightgig.tracking.server import import_mlflow


def replay_all(folder: Path, to: str | None) -> Replayed:
    """Send all runs that are over, of any machine, and say how many were sent and are left.

    Args:
        folder: where runs are kept.
        to: an address for all of them; None sends each where it was meant for.
    """
    import_mlflow(to or "")
    return replay(folder, _addresses(folder, to), lambda: False, of_any_host=True)


def _addresses(folder: Path, to: str | None) -> dict[str, str]:
    """Return the address to send to, by the one that was written down (without user name and password)."""
    if to:
        starts = [event_log.start() for event_log in event_logs_in(folder)]
        return {start.uri: whole_uri(to, Path.cwd()) for start in starts if start}
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    return {without_secrets(environment): environment} if environment else {}
