"""Where a network is cut for several cards, and what each of its stages takes.

A first cut is the best of all by an estimate from the parts (weights, optimizer state, what is kept for the backward
pass, as many micro-batches as the schedule holds). Each stage is then traced like any network; where what was traced
differs from the estimate, the estimate is corrected by it, and the cut is chosen anew.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from eightgig.core.records import Record
from eightgig.core.units import bytes_from_gib
from eightgig.vram.cards.catalog import Card
from eightgig.vram.cards.roofline import ACHIEVED_PCIE, step_seconds
from eightgig.vram.plan import StagePlan
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.stage_facts import NetworkFacts
from eightgig.vram.tracing.workspace import Generation

_CORRECTIONS = 3  # the estimate is close after one; more for networks whose stages share weights
_STATES = {"adamw": 2.0, "adam": 2.0, "sgd": 1.0, "adamw8bit": 0.5, "none": 0.0}  # of the weights' bytes
_HOPS = 2  # GeForce cards without NVLink exchange through the machine's memory: there, and on from there
_STAGE = "eightgig.vram.tracing.stage_workload:make_stage"


class StagesRequest(Record):
    """How a network is to be spread over cards.

    Attributes:
        count: of stages, each a process with a card of its own.
        order: in which micro-batches pass.
        budgets_gib: of each card, where they differ.
        averages: whether a moving average of the weights is kept.
        gb_per_s: that a card moves in one direction; None takes one desktop board's lanes, shared.
    """

    count: int = Field(ge=2)
    order: Literal["1f1b", "gpipe", "one_at_a_time"] = "1f1b"
    budgets_gib: tuple[float, ...] = ()
    averages: bool = False
    gb_per_s: float | None = None

    def in_flight(self, stage: int, micro_batches: int) -> int:
        """Return of how many micro-batches a stage holds the activations at once.

        Source: Narayanan et al., Memory-Efficient Pipeline-Parallel DNN Training (PipeDream-Flush, called 1F1B).
        """
        if self.order == "one_at_a_time":
            return 1
        if self.order == "gpipe" or micro_batches < self.count:
            return micro_batches
        return min(self.count - stage, micro_batches)

    def received(self, micro_batches: int) -> int:
        """Return for how many micro-batches there are buffers for what is received: torch makes them for all."""
        return 1 if self.order == "one_at_a_time" else micro_batches


class TracedStages(Record):
    """A cut, and what its stages take."""

    cuts: tuple[int, ...]
    train: tuple[Prediction, ...]


class StagePlanner:
    """Cuts a workload's network for a request, and predicts its stages.

    Args:
        workload: of the whole network.
        request: over how many cards, and how.
        budget_gib: of a card that `request.budgets_gib` does not name.
        context_bytes: that the CUDA context takes of each.
    """

    def __init__(
        self,
        workload: WorkloadSpec,
        request: StagesRequest,
        *,
        predictor: Predictor,
        generation: Generation,
        budget_gib: float,
        context_bytes: int,
    ) -> None:
        self._workload, self._request = workload, request
        self._predictor, self._generation = predictor, generation
        self._budgets_gib = request.budgets_gib or (budget_gib,) * request.count
        self._room = [bytes_from_gib(budget) - context_bytes for budget in self._budgets_gib]
        self._traced: dict[str, TracedStages] = {}

    def fullest(self, options: StepOptions, micro_batches: int) -> Prediction:
        """Return what the stage takes that is nearest to its budget, as a share of the first card's budget."""
        return self._scaled(self.train(options, micro_batches).train)

    def fullest_validation(self, options: StepOptions, of: StepOptions, micro_batches: int) -> Prediction:
        """Return what validation takes in the stage that is nearest to its budget, cut as for training."""
        cuts = self.train(of, micro_batches).cuts
        facts = self._facts(of)
        found = [self._predict(options, facts, calls, 1, 1) for calls in _ranges(cuts, len(facts.calls))]
        return self._scaled(found)

    def train(self, options: StepOptions, micro_batches: int) -> TracedStages:
        """Return the cut and its stages for a training step."""
        key = f"{options.model_dump_json()} {micro_batches}"
        if key not in self._traced:
            self._traced[key] = self._found(options, micro_batches)
        return self._traced[key]

    def plans(self, options: StepOptions, micro_batches: int, card: Card | None) -> tuple[StagePlan, ...]:
        """Return the stages as a memory plan keeps them."""
        traced, facts = self.train(options, micro_batches), self._facts(options)
        calls = _ranges(traced.cuts, len(facts.calls))
        return tuple(
            StagePlan(
                parts=tuple(dict.fromkeys(facts.calls[position].part for position in own)),
                budget_gib=budget,
                expected_bytes=prediction.min_memory_limit,
                needed_bytes=prediction.upper_limit,
                handed_bytes=self._handed(facts, options, own),
                seconds_per_micro_batch=self._seconds(options, facts, number, own, micro_batches, card),
            )
            for number, (own, budget, prediction) in enumerate(zip(calls, self._budgets_gib, traced.train, strict=True))
        )

    def _found(self, options: StepOptions, micro_batches: int) -> TracedStages:
        facts = self._facts(options)
        corrections, best = [1.0] * self._request.count, None
        seen = set[tuple[int, ...]]()
        for _ in range(_CORRECTIONS):
            estimate = _Estimate(facts, self._request, options, micro_batches, corrections)
            cuts = best_cut(facts.cuts, len(facts.calls), self._room, estimate)
            if cuts in seen:
                break
            seen.add(cuts)
            traced = self._trace(options, facts, cuts, micro_batches)
            if best is None or self._fill(traced.train) < self._fill(best.train):
                best = traced
            ranges = _ranges(cuts, len(facts.calls))
            corrections = [
                c * prediction.min_memory_limit / max(1.0, estimate(number, own))
                for number, (c, own, prediction) in enumerate(zip(corrections, ranges, traced.train, strict=True))
            ]
        assert best is not None  # noqa: S101  the first cut was traced
        return best

    def _trace(
        self, options: StepOptions, facts: NetworkFacts, cuts: tuple[int, ...], micro_batches: int
    ) -> TracedStages:
        held = self._request.received(micro_batches)
        train = tuple(
            self._predict(options, facts, own, self._request.in_flight(number, micro_batches), held)
            for number, own in enumerate(_ranges(cuts, len(facts.calls)))
        )
        return TracedStages(cuts=cuts, train=train)

    def _predict(self, options: StepOptions, facts: NetworkFacts, own: range, in_flight: int, held: int) -> Prediction:
        spec = self._spec(options, facts, own, in_flight, held)
        return self._predictor.predict(spec, options, generation=self._generation)

    def _spec(self, options: StepOptions, facts: NetworkFacts, own: range, in_flight: int, held: int) -> WorkloadSpec:
        parts = {position: call.part for position, call in enumerate(facts.calls)}
        return WorkloadSpec(
            factory=_STAGE,
            options={
                "factory": self._workload.factory,
                "options": self._workload.options,
                "parts": list(dict.fromkeys(parts[position] for position in own)),
                "absent": list(dict.fromkeys(part for position, part in parts.items() if position not in own)),
                "micro_batch": options.micro_batch,
                "in_flight": in_flight,
                "num_micro_batches": held,
                "averages": self._request.averages,
            },
        )

    def _seconds(
        self,
        options: StepOptions,
        facts: NetworkFacts,
        number: int,
        own: range,
        micro_batches: int,
        card: Card | None,
    ) -> float | None:
        if card is None:
            return None
        in_flight = self._request.in_flight(number, micro_batches)
        spec = self._spec(options, facts, own, in_flight, self._request.received(micro_batches))
        passes = [cost for cost in self._predictor.costs(spec, options) if cost.phase != "optimizer"]
        return step_seconds(passes, card).seconds / in_flight

    def _handed(self, facts: NetworkFacts, options: StepOptions, own: range) -> int:
        if own.stop == len(facts.calls):
            return 0
        return round(facts.calls[own.stop].crossing_bytes * _width(options))

    def _facts(self, options: StepOptions) -> NetworkFacts:
        return self._predictor.facts(self._workload, options.micro_batch, options.activation_checkpointing)

    def _fill(self, predictions: Sequence[Prediction]) -> float:
        return max(p.min_memory_limit / room for p, room in zip(predictions, self._room, strict=True))

    def _scaled(self, predictions: Sequence[Prediction]) -> Prediction:
        shares = [p.min_memory_limit / room for p, room in zip(predictions, self._room, strict=True)]
        fullest = max(range(len(shares)), key=shares.__getitem__)
        prediction, scale = predictions[fullest], self._room[0] / self._room[fullest]
        if scale == 1:
            return prediction
        scaled = {"min_memory_limit": round(prediction.min_memory_limit * scale)}
        return prediction.model_copy(update=scaled)


class _Estimate:
    """Bytes that a stage takes, by its parts."""

    def __init__(
        self,
        facts: NetworkFacts,
        request: StagesRequest,
        options: StepOptions,
        micro_batches: int,
        corrections: Sequence[float],
    ) -> None:
        self._facts, self._request, self._corrections = facts, request, corrections
        self._micro_batches, self._width = micro_batches, _width(options)
        self._trained = 2.0 + _STATES.get(options.optimizer, 2.0) + float(request.averages)

    def __call__(self, number: int, own: range) -> float:
        """Return what calls `own` take as stage `number`."""
        facts = self._facts
        weights = {facts.calls[position].part: facts.calls[position] for position in own}
        held = sum(self._trained * call.trained_bytes + call.frozen_bytes for call in weights.values())
        crossing = [facts.calls[p].crossing_bytes for p in (own.start, own.stop) if 0 < p < len(facts.calls)]
        kept = sum(facts.calls[position].kept_bytes for position in own) * self._request.in_flight(
            number, self._micro_batches
        )
        buffers = sum(crossing) * self._request.received(self._micro_batches)
        return self._corrections[number] * (
            held + self._trained * facts.everywhere_bytes + self._width * (kept + buffers)
        )


def best_cut(cuts: Sequence[int], num_calls: int, room: Sequence[int], estimate: "_Estimate") -> tuple[int, ...]:
    """Return the cut whose fullest stage is least full, of all there are.

    Args:
        cuts: positions before which the network may be cut.
        num_calls: of the network.
        room: of each stage's card, in bytes.
        estimate: gives the bytes of a stage by its number and its calls.
    """
    ends = [*cuts, num_calls]
    # For each end: how full the fullest of the stages up to there is at best, and where these are cut.
    best: dict[int, tuple[float, tuple[int, ...]]] = {end: (estimate(0, range(end)) / room[0], ()) for end in ends}
    for number in range(1, len(room)):
        last = {}
        for end in ends:
            choices = [
                (max(full, estimate(number, range(begin, end)) / room[number]), (*before, begin))
                for begin, (full, before) in best.items()
                if begin < end
            ]
            if choices:
                last[end] = min(choices)
        best = last
    return best[num_calls][1]


def step_seconds_of(
    stages: Sequence[StagePlan], *, micro_batches: int, overlapped: bool, gb_per_s: float
) -> float | None:
    """Return how long the passes of an optimizer step last over all stages, with what crosses PCI Express.

    Args:
        stages: with their times.
        micro_batches: of a step.
        overlapped: whether stages work side by side; then the slowest sets the pace, and the first and the last
            micro-batch have the others wait (the bubble).
        gb_per_s: that the slowest card's slot moves in one direction.
    """
    seconds = [stage.seconds_per_micro_batch for stage in stages]
    if any(value is None for value in seconds):
        return None
    rate = ACHIEVED_PCIE * gb_per_s * 1e9 / _HOPS
    # Activations go one way and gradients come back.
    passes = [(value or 0.0) + 2 * stage.handed_bytes / rate for value, stage in zip(seconds, stages, strict=True)]
    if not overlapped:
        return micro_batches * sum(passes)
    return (micro_batches - 1) * max(passes) + sum(passes)


def _ranges(cuts: tuple[int, ...], num_calls: int) -> Iterator[range]:
    return (range(begin, end) for begin, end in pairwise((0, *cuts, num_calls)))


def _width(options: StepOptions) -> float:
    """Return the bytes of a value that is computed, beside float32's."""
    return 1.0 if options.precision == "fp32" else 0.5
