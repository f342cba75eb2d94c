"""From a request and a budget to the plan that costs least and fits."""

from math import floor

from eightgig.core.errors import ConfigurationError, PredictionError
from eightgig.core.units import bytes_from_gib, format_bytes, gib
from eightgig.vram.cards.catalog import cards
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import CandidateResult, MemoryPlan, Numerics, StepConfig
from eightgig.vram.planning.advice import NoPlanError, Shortfall, advice
from eightgig.vram.planning.candidates import Candidates, first_candidate
from eightgig.vram.planning.findings import PlanCheck, findings_of, limit_of_budget
from eightgig.vram.planning.lower_bound import LeastMemory, hopeless, least_memory, least_of_smaller
from eightgig.vram.planning.phases import PhasePredictor
from eightgig.vram.planning.progress import Progress
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.workspace import load_calibration

METHOD = (
    "a trace of one optimizer step on a fake accelerator, replayed through a simulation of torch's allocator, with the "
    "workspace memory of kernels from the calibration"
)


def make_plan(request: PlanRequest, parameters: PlanParameters, *, predictor: Predictor | None = None) -> MemoryPlan:
    """Return the first plan that fits, in the order of what it costs.

    Examples:
        >>> request = PlanRequest.for_card("RTX 3070", "mymodel:make", batch_size=32)
        >>> plan = make_plan(request, PlanParameters(budget_gib=8))
        >>> plan.micro_batch, plan.gradient_accumulation_steps, plan.precision, plan.fits
        (32, 1, 'fp16', True)

    Args:
        request: what shall be run, on which device and card, in which precisions.
        parameters: the budget, and what may be chosen; its `device`, `card` and `precision` are the request's here.
        predictor: shared by plans for several cards, so that each step is traced once; None makes one for this plan.

    Raises:
        NoPlanError: nothing fits; the message names what comes nearest, what would save how much, and the card on
            which it would fit. Where weights, gradients and optimizer state alone are too much, no step is traced.
        ConfigurationError: the workload cannot be built, or a way of saving was asked for that does not go with the
            recipe.
        PredictionError: the workload cannot be traced.
    """
    if predictor is not None:
        return _Search(request, parameters, predictor).plan()
    with Predictor(load_calibration(parameters.calibration)) as own:
        return _Search(request, parameters, own).plan()


class _Search:
    def __init__(self, request: PlanRequest, parameters: PlanParameters, predictor: Predictor) -> None:
        self._request, self._parameters, self._predictor = request, parameters, predictor
        self._progress = Progress()
        self._phases = PhasePredictor(request, parameters, predictor)
        context = parameters.context_gib
        self._context_bytes = self._phases.context_bytes() if context is None else bytes_from_gib(context)
        self._budget_gib = self._share_gib()
        self._budget_bytes = bytes_from_gib(self._budget_gib) - self._context_bytes
        self._phases.spread(self._budget_gib, self._context_bytes)
        self._considered: dict[StepConfig, CandidateResult] = {}
        self._refusal: PredictionError | None = None

    def plan(self) -> MemoryPlan:
        self._check_optimizer_in_backward()
        least = hopeless(self._request, self._parameters, self._predictor, self._budget_bytes)
        if least is not None:
            raise self._not_even(least)
        candidates = Candidates(
            self._request,
            self._parameters,
            has_batch_norm=self._has_batch_norm,
            needed_bytes=self._needed_bytes,
            least_bytes=self._least_bytes,
            budget_bytes=self._budget_bytes,
        )
        for candidate in candidates:
            if self._needed_bytes(candidate) <= self._budget_bytes:
                return self._as_plan(candidate)
        for candidate in self._considered:  # inside the range of the prediction's error: better than none
            if self._phases.predict(candidate).min_memory_limit <= self._budget_bytes:
                return self._as_plan(candidate)
        if not self._considered and self._refusal is not None:
            raise self._refusal
        raise self._nothing_fits()

    def _check_optimizer_in_backward(self) -> None:
        hindrances = list(self._request.against_optimizer_in_backward())
        if hindrances and self._parameters.optimizer_in_backward == "always" and self._request.task == "train":
            raise ConfigurationError(
                f"plan.optimizer_in_backward: always does not go with this recipe: {'; '.join(hindrances)}"
            )

    def _share_gib(self) -> float:
        asked_gib, memory = self._parameters.budget_gib, self._request.memory
        if memory is None:
            return asked_gib
        share = memory.share(bytes_from_gib(asked_gib), self._context_bytes)
        return asked_gib if share.limit == "budget" else floor(100 * gib(share.num_bytes)) / 100

    def _has_batch_norm(self) -> bool:
        return self._phases.has_batch_norm(first_candidate(self._request, self._parameters))

    def _needed_bytes(self, step: StepConfig) -> int:
        try:
            prediction = self._phases.predict(step)
        except PredictionError as error:  # some networks cannot be recomputed in part
            if self._refusal is None:
                self._refusal = error
            return self._budget_bytes + 1
        needed = self._phases.upper_bytes(prediction)
        if step not in self._considered:
            self._progress.log_candidate(step, needed, self._budget_bytes)
            time = self._phases.time(step)
            self._considered[step] = CandidateResult.from_records(
                step,
                needed_bytes=needed,
                fits=needed <= self._budget_bytes,
                seconds_per_step=None if time is None else time.seconds,
            )
        return needed

    def _least_bytes(self, step: StepConfig, micro_batch: int) -> int:
        if self._request.is_sharded or self._request.stages or step not in self._considered:
            return 0
        return least_of_smaller(self._phases.predict(step), micro_batch / step.micro_batch)

    def _as_plan(self, step: StepConfig) -> MemoryPlan:
        request, prediction, time = self._request, self._phases.predict(step), self._phases.time(step)
        planned = self._phases.phases(step, self._budget_bytes)
        on_device = [phase for phase in planned.phases if phase.device == request.device]
        expected = max(phase.min_memory_limit_bytes for phase in on_device)
        needed = max(phase.upper_limit_bytes for phase in on_device)
        plan = MemoryPlan.from_records(
            request,
            step,
            model=request.name,
            card=request.card.name if request.card else None,
            eval_batch=planned.eval_batch,
            numerics=Numerics.from_records(self._parameters),
            loss_scale=request.loss_scale if step.precision == "fp16" and request.task == "train" else None,
            budget_gib=self._budget_gib,
            context_bytes=self._context_bytes,
            budget_bytes=self._budget_bytes,
            predicted=planned.phases,
            expected_bytes=expected,
            needed_bytes=needed,
            predicted_reserved_bytes=max(phase.reserved_bytes for phase in on_device),
            margin_bytes=self._budget_bytes - needed,
            fits=expected <= self._budget_bytes,
            timeline=prediction.timeline,
            largest=prediction.largest,
            seconds_per_step=None if time is None else time.seconds,
            bottleneck=None if time is None else time.bottleneck,
            considered=tuple(self._considered.values()),
            stages=self._phases.stages(step),
            method=METHOD,
        )
        check = PlanCheck(
            plan,
            request,
            batch_norm=self._has_batch_norm(),
            budget_gib=self._parameters.budget_gib,
            predicted_as=prediction.predicted_as,
        )
        return plan.model_copy(update={"findings": findings_of(check)})

    def _nothing_fits(self) -> NoPlanError:
        self._needed_bytes(self._smallest(self._nearest()))
        step = self._nearest()
        nearest = self._considered[step]
        parts = ", ".join(
            f"{name} {format_bytes(size)}" for name, size in self._phases.predict(step).at_peak.items() if size
        )
        short = self._shortfall(nearest.needed_bytes - self._budget_bytes, step)
        message = (
            f"{self._too_much()}: the "
            f"nearest, micro-batch {nearest.micro_batch} x {nearest.gradient_accumulation_steps}, "
            f"{nearest.precision}, checkpointing "
            f"{nearest.activation_checkpointing}{' with offloading' if nearest.offload else ''}"
            f"{', optimizer in the backward pass' if nearest.optimizer_in_backward else ''}, needs "
            f"{format_bytes(nearest.needed_bytes)} ({parts}); usable are {format_bytes(self._budget_bytes)}, short of "
            f"{format_bytes(short.missing_bytes)}. {_advice(short)}It fits "
            f"{_smallest_card(nearest.needed_bytes + self._context_bytes)}; or take a smaller model."
        )
        return NoPlanError(message, short, self._budget_bytes)

    def _nearest(self) -> StepConfig:
        return min(self._considered, key=lambda step: self._considered[step].needed_bytes)

    def _smallest(self, step: StepConfig) -> StepConfig:
        """Return the same with one sample at a time, where that may be chosen: the search may have passed it over."""
        if self._request.task == "infer" or step.optimizer_in_backward:
            return step
        samples = {"micro_batch": 1, "gradient_accumulation_steps": self._request.effective_batch}
        return step.model_copy(update=samples)

    def _not_even(self, least: LeastMemory) -> NoPlanError:
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in least._asdict().items() if size)
        short = self._shortfall(least.total - self._budget_bytes)
        message = (
            f"{self._too_much()}, whatever the batch: {format_bytes(least.total)} are held at the least ({parts}); "
            f"usable are {format_bytes(self._budget_bytes)}, short of {format_bytes(short.missing_bytes)}. "
            f"{_advice(short)}These alone fit {_smallest_card(least.total + self._context_bytes)}; or take a smaller "
            "model."
        )
        return NoPlanError(message, short, self._budget_bytes)

    def _too_much(self) -> str:
        why = None
        if self._request.memory is not None:
            why = limit_of_budget(self._parameters.budget_gib, self._request.memory, self._context_bytes)
        name, sample = self._request.name, self._request.sample
        return f"{name} at {sample} does not fit {self._budget_gib:g} GiB{f' ({why})' if why else ''}"

    def _shortfall(self, missing_bytes: int, step: StepConfig | None = None) -> Shortfall:
        weights = self._predictor.weights(self._request.workload)
        return Shortfall(
            request=self._request,
            parameters=self._parameters,
            missing_bytes=missing_bytes,
            weights=weights,
            least=least_memory(self._request, self._parameters, weights),
            step=step,
            prediction=None if step is None else self._phases.predict(step),
        )


def _advice(short: Shortfall) -> str:
    said = advice(short)
    return f"{said} " if said else ""


def _smallest_card(needed_bytes: int) -> str:
    enough = sorted((card for card in cards() if card.memory_bytes >= needed_bytes), key=lambda card: card.memory_gib)
    if not enough:
        return f"no card of the catalog: it takes {format_bytes(needed_bytes)} with the context"
    return (
        f"a card of {format_bytes(needed_bytes)} or more, such as the {enough[0].name} ({enough[0].memory_gib:g} GiB)"
    )
