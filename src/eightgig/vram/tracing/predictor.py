"""Predicts what steps take, without a GPU and without touching one: traces are made in a child process."""

from types import TracebackType

from eightgig.core.errors import EightgigError
from eightgig.vram.allocator.events import AllocationTrace, OpCost
from eightgig.vram.tracing.child_process import ChildProcess
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction, predict_from
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Calibration, Generation, load_calibration, with_workspace


class Predictor:
    """Traces steps, and remembers every trace.

    Use it as a context manager: `with Predictor() as predictor: predictor.predict(workload, options)`.

    Args:
        calibration: constants of workspace memory; None takes the packaged ones.
        in_process: whether steps are traced in this process, to look inside with a debugger (docs/memory.md, "How to
            look inside"), instead of in a child. What goes wrong is then raised as it is; and a process in which a step
            was traced should not train.
    """

    def __init__(self, calibration: Calibration | None = None, *, in_process: bool = False) -> None:
        self._calibration = calibration or load_calibration()
        self._child = None if in_process else ChildProcess()
        self._traces: dict[str, AllocationTrace | EightgigError] = {}
        self._predictions: dict[tuple[str, str], Prediction] = {}

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def predict(self, workload: WorkloadSpec, options: StepOptions, *, generation: Generation = "ampere") -> Prediction:
        """Return what a step takes on a GPU of a generation; `none` leaves out what only GPUs take.

        Raises:
            ConfigurationError: the workload cannot be built.
            PredictionError: the step cannot be traced; the message ends with what the child process said.
        """
        key = (_key(workload, options), generation)
        if key not in self._predictions:
            trace = with_workspace(self.trace(workload, options), self._calibration.of(generation))
            self._predictions[key] = predict_from(trace, options.phase)
        return self._predictions[key]

    def costs(self, workload: WorkloadSpec, options: StepOptions) -> tuple[OpCost, ...]:
        """Return what each op of one micro-batch and of the optimizer's step computes and moves."""
        return self.trace(workload, options).costs

    def context_bytes(self, generation: Generation) -> int:
        """Return what the CUDA context takes of a card of a generation."""
        return int(self._calibration.of(generation).context_bytes.value)

    def trace(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace:
        """Return the trace of a step, without workspace memory.

        Raises:
            ConfigurationError, PredictionError: as for `predict`.
        """
        key = _key(workload, options)
        if key not in self._traces:
            self._traces[key] = self._made(workload, options)
        traced = self._traces[key]
        if isinstance(traced, EightgigError):
            raise traced
        return traced

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()

    def _made(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace | EightgigError:
        try:
            if self._child is not None:
                return self._child.trace(workload, options)
            from eightgig.vram.tracing.steps import trace_spec

            return trace_spec(workload, options)
        except EightgigError as error:
            return error


def predict_memory(
    workload: WorkloadSpec | str, options: StepOptions, *, generation: Generation = "ampere", in_process: bool = False
) -> Prediction:
    """Return what one step of a network takes, by the import path of what makes it: `package.module:make`.

    Raises:
        ConfigurationError: there is no such function, or it does not make a workload.
        PredictionError: the step cannot be traced.
    """
    spec = WorkloadSpec(factory=workload) if isinstance(workload, str) else workload
    with Predictor(in_process=in_process) as predictor:
        return predictor.predict(spec, options, generation=generation)


def _key(workload: WorkloadSpec, options: StepOptions) -> str:
    return workload.model_dump_json() + options.model_dump_json()
