"""What is told of a run: written down here first, sent to MLflow beside the training, none lost and none doubled.

event log: one run's folder of events · server: what is asked of MLflow · uploader: from one to the other
upload thread: that, in a thread · run: the handle that hooks and datasets hold · old_runs: what dead processes left
system_metrics: the machine over time · fluent: `mlflow.log_metric` of a node's own code
"""

from eightgig.tracking.run import ShutdownTimeouts, TrackedRun, active_run

__all__ = ["ShutdownTimeouts", "TrackedRun", "active_run"]
