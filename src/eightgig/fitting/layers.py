"""Networks whose layers are alike: two short ones are traced, and the whole one follows from them in a straight line.

Every layer of such a network takes the same ops on the same sizes, so what a step holds and does grows by as much with
each. What is once a network (embeddings, the head, its loss) is in both traces. What the allocator holds beside tensors
does not grow so: it is that of the longer trace, which is long enough for the blocks of a loss to find room among those
of layers. tests/fitting/test_layers.py holds this against whole traces.
"""

from collections import Counter

from eightgig.core.records import Record
from eightgig.vram.allocator.events import AllocationTrace, OpCost
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workspace import Generation

_OPTION = "num_layers"  # of the factory
# Of the smallest cap: up to 1 % below whole traces of Qwen2.5-1.5B (docs/fit.md), 3 % in the test's small network. The
# peak may lie at another moment in the whole, so that the line is never too steep.
_LINE_ERROR = 0.03
_GROWING = ("peak_allocated", "peak_reserved", "min_memory_limit")


class Stack(Record):
    """A network of alike layers: how many it has, and the two numbers of them that are traced."""

    num_layers: int
    few: int
    more: int

    @property
    def steps(self) -> float:
        """How often the difference of the two traces is added to the longer one."""
        return (self.num_layers - self.more) / (self.more - self.few)


class StackPredictor(Predictor):
    """Predicts workloads whose factory takes a number of layers, from short ones; all others as they are.

    Args:
        stack: None traces everything whole.
    """

    def __init__(self, stack: Stack | None = None) -> None:
        super().__init__()
        self.stack = stack

    def predict(
        self,
        workload: WorkloadSpec,
        options: StepOptions,
        *,
        generation: Generation = "ampere",
        usable_bytes: int | None = None,
    ) -> Prediction:
        """Return what a step takes, as `Predictor.predict` does."""
        if self.stack is None:
            return super().predict(workload, options, generation=generation, usable_bytes=usable_bytes)
        few, more = (
            super(StackPredictor, self).predict(shorter, options, generation=generation)
            for shorter in self._shorter(workload)
        )
        return _extended(few, more, self.stack.steps)

    def costs(self, workload: WorkloadSpec, options: StepOptions) -> tuple[OpCost, ...]:
        """Return what each op computes and moves; those of layers that are not traced as often as there are."""
        if self.stack is None:
            return super().costs(workload, options)
        few, more = (super(StackPredictor, self).costs(shorter, options) for shorter in self._shorter(workload))
        of_a_step = Counter(more) - Counter(few)
        return (*more, *(cost for cost, times in of_a_step.items() for _ in range(round(times * self.stack.steps))))

    def trace(self, workload: WorkloadSpec, options: StepOptions) -> AllocationTrace:
        """Return a trace; of a network of alike layers that of the shortest, for what all have in common."""
        if self.stack is None or _OPTION in workload.options:
            return super().trace(workload, options)
        return super().trace(self._shorter(workload)[0], options)

    def _shorter(self, workload: WorkloadSpec) -> tuple[WorkloadSpec, WorkloadSpec]:
        counts = (self.stack.few, self.stack.more) if self.stack is not None else ()
        few, more = (workload.model_copy(update={"options": {**workload.options, _OPTION: count}}) for count in counts)
        return few, more


def _extended(few: Prediction, more: Prediction, steps: float) -> Prediction:
    """Return what a network takes that has so many times more layers than the longer of two has over the shorter."""

    def line(low: int, high: int) -> int:
        return high + round(steps * (high - low))

    grown = line(few.peak_allocated, more.peak_allocated) - more.peak_allocated
    return more.model_copy(
        update={
            **{name: getattr(more, name) + grown for name in _GROWING},
            "at_peak": {name: max(0, line(few.at_peak[name], size)) for name, size in more.at_peak.items()},
            "error_above": more.error_above + _LINE_ERROR,
            "timeline": (),  # of the shorter network: its course would mislead
        }
    )
