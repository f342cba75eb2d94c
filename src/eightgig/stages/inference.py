"""A trained network at work outside of training: on the GPU where there is one, within the budget.

Where memory is short its batches are cut.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from eightgig.core.device import describe_device, resolve_device
from eightgig.core.errors import BudgetError
from eightgig.core.progress import track
from eightgig.core.units import bytes_from_gib
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table
from eightgig.stages.inputs import workers_for
from eightgig.stages.task import Task
from eightgig.stages.trained import indices_of, restore
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from torch import nn

    from eightgig.export.runners import Arrays, Feeds, Runner

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def inference_plan(plan: PlanParameters) -> MemoryPlan:
    """Return the budget of a pass that nobody predicted, on this machine's device; it promises nothing."""
    from eightgig.stages.compress import generation_of_plan
    from eightgig.vram.cards.found import card_found
    from eightgig.vram.runtime.execution import EXACT
    from eightgig.vram.tracing.workspace import load_calibration

    device = resolve_device(plan.device)
    card = card_found() if plan.card is None and device == "cuda" else None
    made = MemoryPlan(
        model="a trained network",
        sample="as it comes",
        device=device,
        device_name=describe_device(device),
        card=card.name if card else plan.card,
        micro_batch=1,
        gradient_accumulation_steps=1,
        eval_batch=1,
        precision="fp32",
        activation_checkpointing="none",
        optimizer_kernel="fused",
        memory_format="contiguous",
        numerics=EXACT,
        budget_gib=plan.budget_gib,
        context_bytes=0,
        budget_bytes=bytes_from_gib(plan.budget_gib),
        predicted=(),
        expected_bytes=0,
        needed_bytes=0,
        predicted_reserved_bytes=0,
        margin_bytes=0,
        fits=True,
        method="not predicted",
    )
    planned = load_calibration(plan.calibration).of(generation_of_plan(made)).context_bytes.value
    context_bytes = int(planned) if plan.context_gib is None else bytes_from_gib(plan.context_gib)
    return made.model_copy(update={"context_bytes": context_bytes, "budget_bytes": made.budget_bytes - context_bytes})


def held_out_batches(
    task: Task, weights: Weights, store: Any, splits: Table, *, batch_size: int
) -> Iterable[Mapping[str, Any]]:
    """Return the batches of the whole test split, in its order; progress is told."""
    task.check_store(weights.card, store)
    indices = indices_of(splits, "test")
    how = {"batch_size": batch_size, "num_workers": workers_for(len(indices), batch_size)}
    return track(task.eval_batches(store, indices, size=weights.card.size, **how), "evaluating")


@contextmanager
def running(task: Task, weights: Weights, plan: PlanParameters | MemoryPlan) -> Iterator["Runner"]:
    """Yield the trained network as a runner: arrays in, arrays out, on the GPU where there is one.

    The budget holds meanwhile. Where memory runs out the batch goes through in smaller pieces, with the same results.

    Args:
        task: of the network.
        weights: of the network.
        plan: the budget; a plan that was made for this pass brings its device too.
    """
    from eightgig.export.torch_runner import TorchRunner
    from eightgig.vram.runtime.execution import carrying_out

    memory = plan if isinstance(plan, MemoryPlan) else inference_plan(plan)
    module, card = task.export_module(restore(task, weights)), weights.card
    names: Any = {"input_names": tuple(task.dummy_input(card)), "output_names": (task.evaluator(card.classes).output,)}
    in_pieces = InPieces(memory)
    with carrying_out(memory), in_pieces.told(), TorchRunner(module, memory.device, **names) as runner:
        _tell(memory)
        yield PiecewiseRunner(runner, in_pieces)


@contextmanager
def on_device(module: "nn.Module", plan: PlanParameters) -> Iterator["InPieces"]:
    """Put a module where it shall run, and back on the CPU at the end; the budget holds meanwhile.

    Args:
        module: in the type of numbers that it computes in.
        plan: the budget.

    Raises:
        BudgetError: memory ran out in what is done with it.
    """
    from eightgig.vram.runtime.execution import carrying_out

    memory = inference_plan(plan)
    in_pieces = InPieces(memory)
    with carrying_out(memory), in_pieces.told():
        _tell(memory)
        try:
            module.to(memory.device)
            yield in_pieces
        finally:
            module.to("cpu")


class InPieces:
    """Calls functions of batches; from when memory first ran out, with fewer samples at a time.

    Args:
        memory: the plan whose device it is.

    Attributes:
        limit: most samples at a time; None leaves batches as they come.
    """

    def __init__(self, memory: MemoryPlan) -> None:
        from eightgig.vram.runtime.recorder import FlightRecorder

        self.limit: int | None = None
        self._memory, self._recorder = memory, FlightRecorder(memory)

    def __call__(self, function: Callable[[Any], Result], batch: Mapping[str, Any]) -> list[Result]:
        """Return what a function gives for a batch, or for the pieces of it in their order.

        Args:
            function: of a batch.
            batch: arrays or tensors by name, sample first.

        Raises:
            BudgetError: memory ran out with one sample at a time.
        """
        from eightgig.training.recovery import half_below
        from eightgig.vram.runtime.budget import release_memory

        while True:
            pieces = [batch] if self.limit is None else _cut(batch, self.limit)
            try:
                return [function(piece) for piece in pieces]
            except RuntimeError as error:
                size = len(next(iter(pieces[0].values())))
                if not self._recorder.is_out_of_memory(error) or size == 1:
                    raise
            # Not in the except block: there the error's traceback still holds every tensor of the failed attempt.
            release_memory(on_card=self._memory.device == "cuda")
            self.limit = half_below(size, size)
            logger.warning("memory ran out with %d samples at a time: done again with %d", size, self.limit)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn a shortage that nothing could be done about into a BudgetError."""
        try:
            yield
        except RuntimeError as error:
            if not self._recorder.is_out_of_memory(error):
                raise
            raise BudgetError(
                f"out of memory on {self._memory.device_name} within {self._memory.budget_gib:g} GiB "
                f"({str(error).partition('. GPU')[0].partition(chr(10))[0]}). Raise plan.budget_gib where the card has "
                "more, take fewer or smaller samples at a time, or set plan.device=cpu."
            ) from error


class PiecewiseRunner:
    """A runner whose batches go through in pieces where memory is short (see `eightgig.export.runners.Runner`).

    Args:
        runner: open.
        in_pieces: calls it.
    """

    def __init__(self, runner: "Runner", in_pieces: InPieces) -> None:
        self.name, self.device = runner.name, runner.device
        self.precision, self.computes_in = runner.precision, runner.computes_in
        self._runner, self._in_pieces = runner, in_pieces

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: who opened the runner closes it."""

    def describe(self) -> dict[str, Any]:
        """Return what the runner tells of itself."""
        return self._runner.describe()

    def run(self, feeds: "Feeds") -> "Arrays":
        """Return the outputs by name."""
        import numpy as np

        given = self._in_pieces(self._runner.run, feeds)
        return (
            given[0] if len(given) == 1 else {name: np.concatenate([one[name] for one in given]) for name in given[0]}
        )


def _cut(batch: Mapping[str, Any], size: int) -> list[Mapping[str, Any]]:
    from eightgig.training.batch_splitter import cut

    return [*cut({**batch}, size)]


def _tell(memory: MemoryPlan) -> None:
    logger.info("the network runs on %s", memory.device_name)
