"""How Kedro runs this project."""

import os

from eightgig.hooks import DoctorHook, GuardHook, MlflowHook, NodeMemoryHook, OriginsHook, SummaryHook

# torch's threads wait for one another by spinning, for long: on a busy machine that makes two threads several times
# slower than one (docs/decisions/0005). Must be set before torch is imported; the environment's own setting wins.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_tracking = MlflowHook()
# Kedro calls hooks last in, first out: a run that is refused is not tracked, and one that is tracked is measured to its
# end before its MLflow run is closed; what it made is said last of all.
_memory = NodeMemoryHook(on_finished=_tracking.log_metrics)
HOOKS = (SummaryHook(), _tracking, _memory, OriginsHook(), DoctorHook(), GuardHook())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"tracking": ["tracking*"]},
    # Where all files go: the project's `data/` unless the environment names another folder, for example on a fast disk.
    "custom_resolvers": {"data_root": lambda: os.environ.get("EIGHTGIG_DATA", "data")},
    # Without it a nested `--params a.b=1` would replace the whole group `a`.
    "merge_strategy": {"parameters": "soft"},
}
