"""Deep learning that fits an 8 GB card.

Most of it is run by `kedro run`. From Python one asks what a network of one's own will take, and opens what runs left:
each name below says how, with an example. Each is imported when it is first asked for: `import eightgig` is light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "EightgigError",
    "ImageStore",
    "PlanParameters",
    "PlanRequest",
    "TokenStore",
    "WorkloadSpec",
    "fit",
    "load_weights",
    "make_plan",
    "predict_memory",
    "read_plan",
]

_HOMES = {
    "EightgigError": "eightgig.core.errors",
    "ImageStore": "eightgig.data.store.reader",
    "PlanParameters": "eightgig.vram.parameters",
    "PlanRequest": "eightgig.vram.planning.request",
    "TokenStore": "eightgig.data.store.tokens",
    "WorkloadSpec": "eightgig.vram.tracing.spec",
    "fit": "eightgig.fitting.ask",
    "load_weights": "eightgig.models.weights_file",
    "make_plan": "eightgig.vram.planning.planner",
    "predict_memory": "eightgig.vram.tracing.predictor",
    "read_plan": "eightgig.vram.plan",
}

if TYPE_CHECKING:
    from eightgig.core.errors import EightgigError
    from eightgig.data.store.reader import ImageStore
    from eightgig.data.store.tokens import TokenStore
    from eightgig.fitting.ask import fit
    from eightgig.models.weights_file import load_weights
    from eightgig.vram.parameters import PlanParameters
    from eightgig.vram.plan import read_plan
    from eightgig.vram.planning.planner import make_plan
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.tracing.predictor import predict_memory
    from eightgig.vram.tracing.spec import WorkloadSpec
else:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """Import a name when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
