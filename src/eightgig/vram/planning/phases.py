"""What a way of running takes, phase by phase, and how long its step lasts."""

from collections.abc import Iterator
from typing import NamedTuple

from eightgig.vram.cards.roofline import StepTime, step_seconds
from eightgig.vram.cards.scaling import desktop_gb_per_s
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import CATEGORIES, Phase, PhaseMemory, StagePlan, StepConfig
from eightgig.vram.planning.processes import sharded_over
from eightgig.vram.planning.request import PlanRequest, generation_of
from eightgig.vram.planning.stages import StagePlanner, step_seconds_of
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor

# Of the weights, while they are exported on the CPU: themselves, the traced program's copy, and the file's bytes.
_EXPORT_COPIES = 3


class PlannedPhases(NamedTuple):
    """All phases of a run; `eval_batch` is the largest that fits, of those that were asked for and their halves."""

    eval_batch: int
    phases: tuple[PhaseMemory, ...]


class PhasePredictor:
    """Predicts the phases of a request's run."""

    def __init__(self, request: PlanRequest, parameters: PlanParameters, predictor: Predictor) -> None:
        self._request, self._parameters, self._predictor = request, parameters, predictor
        self._generation = generation_of(request)
        self._stages: StagePlanner | None = None

    def spread(self, budget_gib: float, context_bytes: int) -> None:
        """Let the stages of a network that is spread over cards be cut for these budgets."""
        if self._request.stages is not None:
            self._stages = StagePlanner(
                self._request.workload,
                self._request.stages,
                predictor=self._predictor,
                generation=self._generation,
                budget_gib=budget_gib,
                context_bytes=context_bytes,
            )

    def stages(self, step: StepConfig) -> tuple[StagePlan, ...]:
        """Return the stages of a network that is spread over cards; none of another."""
        if self._stages is None:
            return ()
        return self._stages.plans(self._request.options(step), step.gradient_accumulation_steps, self._request.card)

    def context_bytes(self) -> int:
        """Return what the CUDA context takes of the card."""
        return self._predictor.context_bytes(self._generation)

    def has_batch_norm(self, step: StepConfig) -> bool:
        """Return whether the network uses the batch's own statistics."""
        return self._predictor.trace(self._request.workload, self._request.options(step)).has_batch_norm

    def predict(self, step: StepConfig) -> Prediction:
        """Return what a training step takes; of a request without training, its pass without gradients."""
        options = self._request.options(step)
        if self._stages is not None and options.phase == "train":
            return self._stages.fullest(options, step.gradient_accumulation_steps)
        return self._of_one_process(options)

    def time(self, step: StepConfig) -> StepTime | None:
        """Return how long an optimizer step lasts; None where no card is named."""
        if self._request.card is None:
            return None
        if self._stages is not None:
            return self._pipelined_time(step)
        costs = self._predictor.costs(self._request.workload, self._request.options(step))
        return step_seconds(
            costs, self._request.card, micro_steps=step.gradient_accumulation_steps, tf32=self._parameters.tf32
        )

    def _pipelined_time(self, step: StepConfig) -> StepTime | None:
        card, asked = self._request.card, self._request.stages
        if card is None or asked is None:
            return None
        stages = self.stages(step)
        seconds = step_seconds_of(
            stages,
            micro_batches=step.gradient_accumulation_steps,
            overlapped=asked.order != "one_at_a_time",
            gb_per_s=asked.gb_per_s or desktop_gb_per_s(card, asked.count),
        )
        if seconds is None:
            return None
        computing = step.gradient_accumulation_steps * max(stage.seconds_per_micro_batch or 0.0 for stage in stages)
        return StepTime(
            seconds=seconds,
            compute_seconds=computing,
            memory_seconds=0.0,
            launch_seconds=0.0,
            bottleneck="compute",
        )

    def upper_bytes(self, prediction: Prediction) -> int:
        """Return what is planned for: the upper end of a prediction's range, or the margin that was asked for."""
        margin = self._parameters.margin_fraction
        return prediction.upper_limit if margin is None else round(prediction.min_memory_limit * (1 + margin))

    def phases(self, step: StepConfig, budget_bytes: int) -> PlannedPhases:
        """Return all phases of a run, validation with a batch that fits the budget."""
        if self._request.task == "infer":
            return PlannedPhases(step.micro_batch, (self._phase("validate", self.predict(step)),))
        train = self._phase("train", self.predict(step))
        eval_batch = self._request.eval_batch
        validate = self._validation(step, eval_batch, train)
        while eval_batch > 1 and validate.upper_limit_bytes > budget_bytes:
            eval_batch //= 2
            validate = self._validation(step, eval_batch, train)
        phases = (train, validate, _checkpoint(train), _export(train), *self._generation_phase(step))
        return PlannedPhases(eval_batch, phases)

    def _validation(self, step: StepConfig, eval_batch: int, train: PhaseMemory) -> PhaseMemory:
        options = self._request.options(step).without_gradients(eval_batch)
        if self._stages is not None:
            train_options = self._request.options(step)
            prediction = self._stages.fullest_validation(options, train_options, step.gradient_accumulation_steps)
        else:
            prediction = self._of_one_process(options)
        # Gradients are gone while it validates, the optimizer's state stays.
        return self._phase("validate", prediction, optimizer=train.optimizer)

    def _generation_phase(self, step: StepConfig) -> Iterator[PhaseMemory]:
        workload = self._request.generation_workload
        if workload is None:
            return
        options = self._request.options(step).without_gradients(1)
        # No autocast: the workload has its weights in what it writes in.
        options = options.model_copy(update={"precision": "fp32"})
        prediction = self._predictor.predict(workload, options, generation=self._generation)
        yield self._phase("generate", prediction)

    def _phase(self, name: Phase, prediction: Prediction, *, optimizer: int = 0) -> PhaseMemory:
        held = {category: prediction.at_peak.get(category, 0) for category in CATEGORIES}
        held["optimizer"] += optimizer
        return PhaseMemory(
            phase=name,
            device=self._request.device,
            reserved_bytes=prediction.peak_reserved + optimizer,
            min_memory_limit_bytes=prediction.min_memory_limit + optimizer,
            upper_limit_bytes=self.upper_bytes(prediction) + optimizer,
            **held,
        )

    def _of_one_process(self, options: StepOptions) -> Prediction:
        request = self._request
        prediction = self._predictor.predict(request.workload, options, generation=self._generation)
        if not request.is_sharded or request.processes == 1:
            return prediction
        largest_block = self._predictor.trace(request.workload, options).largest_block
        return sharded_over(prediction, request.processes, largest_block)


def _checkpoint(train: PhaseMemory) -> PhaseMemory:
    """Tensors go to the host one after the other: nothing more is taken of the card."""
    held = train.parameters + train.optimizer
    return PhaseMemory(
        phase="checkpoint",
        device=train.device,
        parameters=train.parameters,
        optimizer=train.optimizer,
        reserved_bytes=held,
        min_memory_limit_bytes=held,
        upper_limit_bytes=held,
    )


def _export(train: PhaseMemory) -> PhaseMemory:
    return PhaseMemory(phase="export", device="cpu", parameters=_EXPORT_COPIES * train.parameters)
