"""What stands in the way of a trace: the user's own line first, then what can be done about it."""

import sysconfig
import traceback
from pathlib import Path

from eightgig.core.errors import PredictionError
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

_OURS = (Path(__file__).parents[1], Path(__file__).parents[2] / "fitting")
# Of nobody's network: what is called from it.
_LIBRARIES = tuple(str(Path(sysconfig.get_path(name))) for name in ("purelib", "platlib", "stdlib", "platstdlib"))
_READS_VALUES = (
    "A value of a tensor is read here, or decides a shape ({op}): a prediction has shapes and no values. Leave it out "
    "of what is predicted (a log line, a check), or say it by shapes: torch.where instead of a boolean mask, a fixed "
    "number instead of a count"
)
_REMEDIES = {
    "does not require grad": "No weight of it wants a gradient: leave one trainable, or predict phase='validate'",
    "no fake impl": "Give the op a fake kernel (torch.library.register_fake), which says the shapes of its results",
    "gradients are sparse": "Predict it with sparse=False: its gradient has the size of the weight, which is the most "
    "that a sparse one comes to",
    "Expected mat_a to be BFloat16": "Grouped matrix products take bfloat16 alone: predict with weights='bf16', as it "
    "trains",
    "Cannot access data pointer": "An op without a fake kernel reads memory: give it one (torch.library.register_fake)",
}
_VALUE_ERRORS = ("DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode")


def failure_of(error: Exception, workload: WorkloadSpec, options: StepOptions) -> PredictionError:
    """Return the error that says where a step could not be traced, why, and the way out."""
    said = ". ".join(part for part in (_line_of(error) + _said_by(error), _remedy(error)) if part)
    return untraceable(workload, options, said)


def untraceable(workload: WorkloadSpec, options: StepOptions, why: str) -> PredictionError:
    """Return the error that names a step that cannot be traced."""
    where = f"{options.phase}, micro-batch {options.micro_batch}, checkpointing {options.activation_checkpointing}"
    return PredictionError(f"{workload.factory} cannot be traced ({where}): {why}")


def _line_of(error: Exception) -> str:
    """Return the innermost line of the user's own; of the library that was called last where there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))]
    called = [frame for frame in frames if f"{Path('/torch/')}" not in frame.filename]
    for found in (own, called):
        if found:
            frame = found[-1]
            return f"{frame.filename}, line {frame.lineno}, in {frame.name}: `{frame.line}`: "
    return ""


def _is_ours(filename: str) -> bool:
    return any(Path(filename).is_relative_to(folder) for folder in _OURS)


def _said_by(error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _remedy(error: Exception) -> str:
    if type(error).__name__ in _VALUE_ERRORS:
        return _READS_VALUES.format(op=error.args[0] if error.args else "an op")
    said = f"{type(error).__name__} {error}"
    return next((remedy for words, remedy in _REMEDIES.items() if words in said), "")
