"""What is told of a run: written down here first, sent to MLflow beside the training, none lost and none doubled.

spool: one run's folder of events · server: MLflow, the only module that knows it · delivery: from the one to the other
shipper: that, in a thread · run: the handle that hooks and datasets hold · old_runs: what dead processes left behind
"""

from eightgig.tracking.run import Patience, TrackedRun, active_run

__all__ = ["Patience", "TrackedRun", "active_run"]
