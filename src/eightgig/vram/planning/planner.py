"""From a request and a budget to the plan that costs least and fits.

The order of cost: precision, fused attention and a fused optimizer cost nothing and are taken where they are allowed;
then smaller micro-batches with more accumulation, down to where BatchNorm suffers; then recomputing what is cheap, and
whole blocks; then micro-batches that are poor for BatchNorm; then the optimizer in the backward pass, where nothing
needs all gradients at once; and last keeping activations in the machine's memory, which is slower than all else by far.
The effective batch never changes.
"""

from collections.abc import Iterator
from math import floor

from eightgig.core.device import DeviceKind
from eightgig.core.errors import BudgetError, ConfigurationError, PredictionError
from eightgig.core.units import bytes_from_gib, format_bytes, gib
from eightgig.vram.allocator.events import HOLDERS
from eightgig.vram.cards.catalog import cards
from eightgig.vram.cards.roofline import StepTime, step_seconds
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import (
    CandidateResult,
    Checkpointing,
    MemoryPlan,
    Numerics,
    OptimizerKernel,
    Phase,
    PhaseMemory,
    Precision,
)
from eightgig.vram.planning.findings import BATCH_NORM_FLOOR, PlanCheck, findings_of, limit_of_budget
from eightgig.vram.planning.processes import spread_over
from eightgig.vram.planning.request import Candidate, PlanRequest, generation_of
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.workspace import load_calibration

METHOD = (
    "a trace of one optimizer step on a fake accelerator, replayed through a simulation of torch's allocator, with the "
    "workspace memory of kernels from the calibration"
)
_FASTEST_FIRST: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
_LEVELS: tuple[Checkpointing, ...] = ("none", "selective", "full")


def make_plan(request: PlanRequest, parameters: PlanParameters, *, predictor: Predictor | None = None) -> MemoryPlan:
    """Return the first plan that fits, in the order of what it costs.

    Args:
        request: what shall be run.
        parameters: the budget, and what may be chosen.
        predictor: shared by plans for several cards, so that each step is traced once; None makes one for this plan.

    Raises:
        BudgetError: nothing fits; the message names what comes nearest and the card on which it would fit.
        ConfigurationError: the workload cannot be built, or a lever was asked for that does not go with the recipe.
        PredictionError: the workload cannot be traced.
    """
    if predictor is not None:
        return _Search(request, parameters, predictor).plan()
    with Predictor(load_calibration(parameters.calibration)) as own:
        return _Search(request, parameters, own).plan()


class _Search:
    def __init__(self, request: PlanRequest, parameters: PlanParameters, predictor: Predictor) -> None:
        self._request, self._parameters, self._predictor = request, parameters, predictor
        self._generation = generation_of(request)
        context = parameters.context_gib
        self._context_bytes = predictor.context_bytes(self._generation) if context is None else bytes_from_gib(context)
        self._budget_gib = self._share_gib()
        self._budget_bytes = bytes_from_gib(self._budget_gib) - self._context_bytes
        self._considered: dict[Candidate, CandidateResult] = {}
        self._refusal: PredictionError | None = None

    def plan(self) -> MemoryPlan:
        hindrances = list(_against_optimizer_in_backward(self._request))
        if hindrances and self._parameters.optimizer_in_backward == "always" and self._request.task == "train":
            raise ConfigurationError(
                f"plan.optimizer_in_backward: always does not go with this recipe: {'; '.join(hindrances)}"
            )
        for candidate in self._in_order_of_cost():
            if self._needed(candidate) <= self._budget_bytes:
                return self._as_plan(candidate)
        if not self._considered and self._refusal is not None:
            raise self._refusal
        raise BudgetError(self._nothing_fits())

    def _share_gib(self) -> float:
        asked_gib, memory = self._parameters.budget_gib, self._request.memory
        if memory is None:
            return asked_gib
        share = memory.share(bytes_from_gib(asked_gib), self._context_bytes)
        return asked_gib if share.limit == "budget" else floor(100 * gib(share.num_bytes)) / 100

    def _in_order_of_cost(self) -> Iterator[Candidate]:
        if self._request.task == "infer":
            yield self._candidate("none", self._request.micro_batch)
            return
        in_backward = self._parameters.optimizer_in_backward
        if in_backward == "always":
            for activation_checkpointing in self._levers():
                yield self._candidate(activation_checkpointing, self._request.micro_batch, in_backward=True)
            return
        for sizes in self._size_groups():
            for activation_checkpointing in self._levers():
                yield from self._largest_first(activation_checkpointing, sizes)
        if in_backward == "auto" and not any(_against_optimizer_in_backward(self._request)):
            yield self._candidate(self._levers()[-1], self._request.micro_batch, in_backward=True)
        if self._parameters.offload == "auto" and self._request.device == "cuda":
            for sizes in self._size_groups():
                yield from self._largest_first(self._levers()[-1], sizes, offload=True)

    def _has_batch_norm(self) -> bool:
        largest = self._candidate("none", self._request.micro_batch)
        return self._predictor.trace(self._request.workload, self._options(largest)).has_batch_norm

    def _candidate(
        self,
        activation_checkpointing: Checkpointing,
        micro_batch: int,
        *,
        offload: bool = False,
        in_backward: bool = False,
    ) -> Candidate:
        allowed = _without_scaler(self._request) if in_backward else self._request.precisions
        return Candidate(
            min(allowed, key=_FASTEST_FIRST.index),
            activation_checkpointing,
            offload,
            micro_batch,
            self._request.effective_batch // micro_batch,
            optimizer_in_backward=in_backward,
        )

    def _levers(self) -> tuple[Checkpointing, ...]:
        asked = self._parameters.activation_checkpointing
        return _LEVELS if asked == "auto" else (asked,)

    def _size_groups(self) -> Iterator[list[int]]:
        request = self._request
        sizes = [n for n in range(request.micro_batch, 0, -1) if request.effective_batch % n == 0]
        floor = min(BATCH_NORM_FLOOR, request.micro_batch) if self._has_batch_norm() else 1
        for group in ([n for n in sizes if n >= floor], [n for n in sizes if n < floor]):
            if group:
                yield group

    def _largest_first(
        self, activation_checkpointing: Checkpointing, sizes: list[int], *, offload: bool = False
    ) -> Iterator[Candidate]:
        """Yield the largest size; then, memory being nearly a straight line over it, the largest that should fit."""
        made = {size: self._candidate(activation_checkpointing, size, offload=offload) for size in sizes}
        largest, smallest = made[sizes[0]], made[sizes[-1]]
        yield largest
        if len(sizes) == 1 or self._needed(smallest) > self._budget_bytes:
            return
        slope = (self._needed(largest) - self._needed(smallest)) / (largest.micro_batch - smallest.micro_batch)
        room = self._budget_bytes - self._needed(smallest)
        limit = smallest.micro_batch + (room / slope if slope > 0 else 0)
        yield from (made[size] for size in sizes[1:] if size <= limit or size == sizes[-1])

    def _needed(self, candidate: Candidate) -> int:
        try:
            prediction = self._predict(candidate)
        except PredictionError as error:  # some networks cannot be recomputed in part
            if self._refusal is None:
                self._refusal = error
            return self._budget_bytes + 1
        needed = round(prediction.min_memory_limit * (1 + self._parameters.margin_fraction))
        if candidate not in self._considered:
            self._considered[candidate] = CandidateResult(
                precision=candidate.precision,
                activation_checkpointing=candidate.activation_checkpointing,
                offload=candidate.offload,
                optimizer_in_backward=candidate.optimizer_in_backward,
                micro_batch=candidate.micro_batch,
                gradient_accumulation_steps=candidate.gradient_accumulation_steps,
                needed_bytes=needed,
                fits=needed <= self._budget_bytes,
                seconds_per_step=self._seconds(candidate),
            )
        return needed

    def _predict(self, candidate: Candidate) -> Prediction:
        return self._of_one_process(self._options(candidate))

    def _of_one_process(self, options: StepOptions) -> Prediction:
        request = self._request
        prediction = self._predictor.predict(request.workload, options, generation=self._generation)
        if not request.spreads or request.processes == 1:
            return prediction
        largest = self._predictor.trace(request.workload, options).largest_block
        return spread_over(prediction, request.processes, largest)

    def _options(self, candidate: Candidate) -> StepOptions:
        request = self._request
        return StepOptions(
            phase="train" if request.task == "train" else "validate",
            micro_batch=candidate.micro_batch,
            accumulates=candidate.gradient_accumulation_steps > 1
            or request.processes > 1,  # DDP's buckets hold all gradients
            precision=candidate.precision,
            attention=self._parameters.attention,
            optimizer=request.optimizer,
            optimizer_kernel=_kernel(request),
            optimizer_in_backward=candidate.optimizer_in_backward,
            activation_checkpointing=candidate.activation_checkpointing,
            offload=candidate.offload,
            channels_last=request.channels_last,
            keeps_buffers=request.task == "train",
            clips_gradients=request.clips_gradients,
        )

    def _validation(self, candidate: Candidate, eval_batch: int) -> Prediction:
        options = self._options(candidate).model_copy(
            update={
                "phase": "validate",
                "micro_batch": eval_batch,
                "accumulates": False,
                "activation_checkpointing": "none",
                "offload": False,
                "optimizer_in_backward": False,
            }
        )
        return self._of_one_process(options)

    def _time(self, candidate: Candidate) -> StepTime | None:
        if self._request.card is None:
            return None
        costs = self._predictor.costs(self._request.workload, self._options(candidate))
        return step_seconds(
            costs, self._request.card, micro_steps=candidate.gradient_accumulation_steps, tf32=self._parameters.tf32
        )

    def _seconds(self, candidate: Candidate) -> float | None:
        time = self._time(candidate)
        return None if time is None else time.seconds

    def _as_plan(self, chosen: Candidate) -> MemoryPlan:
        request, prediction, time = self._request, self._predict(chosen), self._time(chosen)
        eval_batch, phases = self._phases(chosen, prediction)
        on_device = [phase for phase in phases if phase.device == request.device]
        needed = max(self._with_margin(phase) for phase in on_device)
        plan = MemoryPlan(
            model=request.name,
            sample=request.sample,
            device=request.device,
            device_name=request.device_name,
            card=request.card.name if request.card else None,
            micro_batch=chosen.micro_batch,
            gradient_accumulation_steps=chosen.gradient_accumulation_steps,
            processes=request.processes,
            eval_batch=eval_batch,
            precision=chosen.precision,
            attention=self._parameters.attention,
            activation_checkpointing=chosen.activation_checkpointing,
            offload=chosen.offload,
            optimizer=request.optimizer,
            optimizer_kernel=self._options(chosen).optimizer_kernel,
            optimizer_in_backward=chosen.optimizer_in_backward,
            memory_format="channels_last" if request.channels_last else "contiguous",
            numerics=Numerics(tf32=self._parameters.tf32, cudnn_benchmark=self._parameters.cudnn_benchmark),
            loss_scale=request.loss_scale if chosen.precision == "fp16" and request.task == "train" else None,
            empty_cache_every=request.empty_cache_every,
            budget_gib=self._budget_gib,
            context_bytes=self._context_bytes,
            budget_bytes=self._budget_bytes,
            predicted=phases,
            needed_bytes=needed,
            predicted_reserved_bytes=max(phase.reserved_bytes for phase in on_device),
            margin_bytes=self._budget_bytes - needed,
            fits=needed <= self._budget_bytes,
            timeline=prediction.timeline,
            largest=tuple((owned.owner, owned.num_bytes) for owned in prediction.largest),
            seconds_per_step=None if time is None else time.seconds,
            bottleneck=None if time is None else time.bottleneck,
            considered=tuple(self._considered.values()),
            method=METHOD,
        )
        asked = PlanCheck(
            plan,
            request.micro_batch,
            request.eval_batch,
            batch_norm=self._has_batch_norm(),
            budget_gib=self._parameters.budget_gib,
            memory=request.memory,
        )
        return plan.model_copy(update={"findings": findings_of(asked)})

    def _phases(self, chosen: Candidate, prediction: Prediction) -> tuple[int, tuple[PhaseMemory, ...]]:
        request = self._request
        if request.task == "infer":
            return chosen.micro_batch, (_phase("validate", request.device, prediction),)
        train = _phase("train", request.device, prediction)
        eval_batch = request.eval_batch
        while True:  # gradients are gone while it validates, the optimizer's state stays
            validate = _phase(
                "validate", request.device, self._validation(chosen, eval_batch), optimizer=train.optimizer
            )
            if eval_batch == 1 or self._with_margin(validate) <= self._budget_bytes:
                break
            eval_batch //= 2
        held = train.parameters + train.optimizer
        checkpoint = PhaseMemory(  # tensors go to the host one after the other: nothing more is taken of the card
            phase="checkpoint",
            device=request.device,
            parameters=train.parameters,
            optimizer=train.optimizer,
            reserved_bytes=held,
            min_memory_limit_bytes=held,
        )
        export = PhaseMemory(  # weights, the traced program's copy and the file's bytes, on the CPU
            phase="export", device="cpu", parameters=3 * train.parameters
        )
        return eval_batch, (train, validate, checkpoint, export, *self._writing(chosen))

    def _writing(self, chosen: Candidate) -> Iterator[PhaseMemory]:
        if self._request.generation_workload is None:
            return
        options = self._options(chosen).model_copy(
            update={
                "phase": "validate",
                "micro_batch": 1,
                "accumulates": False,
                "activation_checkpointing": "none",
                "offload": False,
                "optimizer_in_backward": False,
                "precision": "fp32",  # no autocast: the workload has its weights in what it writes in
            }
        )
        prediction = self._predictor.predict(self._request.generation_workload, options, generation=self._generation)
        yield _phase("generate", self._request.device, prediction)

    def _with_margin(self, phase: PhaseMemory) -> int:
        return round(phase.min_memory_limit_bytes * (1 + self._parameters.margin_fraction))

    def _nothing_fits(self) -> str:
        nearest = min(self._considered.values(), key=lambda considered: considered.needed_bytes)
        candidate = next(made for made, considered in self._considered.items() if considered is nearest)
        parts = ", ".join(
            f"{name} {format_bytes(size)}" for name, size in self._predict(candidate).at_peak.items() if size
        )
        gap, why = nearest.needed_bytes - self._budget_bytes, ""
        if self._request.memory is not None:
            why = limit_of_budget(self._parameters.budget_gib, self._request.memory, self._context_bytes) or ""
        return (
            f"{self._request.name} at {self._request.sample} does not fit {self._budget_gib:g} GiB"
            f"{f' ({why})' if why else ''}: the "
            f"nearest, micro-batch {nearest.micro_batch} x {nearest.gradient_accumulation_steps}, "
            f"{nearest.precision}, checkpointing "
            f"{nearest.activation_checkpointing}{' with offloading' if nearest.offload else ''}"
            f"{', optimizer in the backward pass' if nearest.optimizer_in_backward else ''}, needs "
            f"{format_bytes(nearest.needed_bytes)} ({parts}); usable are {format_bytes(self._budget_bytes)}, short of "
            f"{format_bytes(gap)}. It fits {_smallest_card(nearest.needed_bytes + self._context_bytes)}; or take "
            "smaller samples, or a smaller model."
        )


def _against_optimizer_in_backward(request: PlanRequest) -> Iterator[str]:
    """Say what in a recipe needs all gradients at once, each with the way out."""
    if request.effective_batch > request.micro_batch:
        yield "gradients are accumulated over batches (train.gradient_accumulation_steps: 1 does not)"
    if request.processes > 1:
        yield "several processes exchange gradients before a step (train.distributed.nproc_per_node: 1 does not)"
    if request.clips_gradients:
        yield "gradients are clipped to the norm of all (train.max_grad_norm: null does not)"
    if not _without_scaler(request):
        yield "fp16 has a gradient scaler that looks at all gradients before a step (plan.precision: bf16 has none)"


def _without_scaler(request: PlanRequest) -> tuple[Precision, ...]:
    return tuple(precision for precision in request.precisions if precision != "fp16")


def _kernel(request: PlanRequest) -> OptimizerKernel:
    # Fused SGD saves nothing over foreach, and a fake tensor cannot run it (aten::_fused_sgd_ has no fake kernel).
    return "foreach" if request.optimizer == "sgd" else "fused"


def _phase(name: Phase, device: DeviceKind, prediction: Prediction, *, optimizer: int = 0) -> PhaseMemory:
    held = {holder: prediction.at_peak.get(holder, 0) for holder in HOLDERS}
    held["optimizer"] += optimizer
    return PhaseMemory(
        phase=name,
        device=device,
        reserved_bytes=prediction.peak_reserved + optimizer,
        min_memory_limit_bytes=prediction.min_memory_limit + optimizer,
        **held,
    )


def _smallest_card(needed_bytes: int) -> str:
    enough = sorted((card for card in cards() if card.memory_bytes >= needed_bytes), key=lambda card: card.memory_gib)
    if not enough:
        return f"no card of the catalog: it takes {format_bytes(needed_bytes)} with the context"
    return (
        f"a card of {format_bytes(needed_bytes)} or more, such as the {enough[0].name} ({enough[0].memory_gib:g} GiB)"
    )
