"""What happens around every run: guards, a look at the machine, an MLflow run, time and memory, and what made what."""

from eightgig.hooks.doctor import DoctorHook
from eightgig.hooks.guard import GuardHook
from eightgig.hooks.memory import NodeMemoryHook
from eightgig.hooks.origins import OriginsHook
from eightgig.hooks.summary import SummaryHook
from eightgig.hooks.tracking import MlflowHook

__all__ = ["DoctorHook", "GuardHook", "MlflowHook", "NodeMemoryHook", "OriginsHook", "SummaryHook"]
