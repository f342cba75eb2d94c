"""A network whose parts are spread over processes, one stage each: layers on several cards (pipeline parallel).

torch.distributed.pipelining moves what is handed over and keeps the order of passes; what a stage computes is
`StageModule`. Every process reads every batch: what the network makes of the inputs alone is made in each of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import pipelining
from torch.distributed.pipelining import Schedule1F1B, ScheduleGPipe
from torch.distributed.pipelining.schedules import PipelineScheduleSingle

from eightgig.core.seeding import seed_step
from eightgig.training.distributed.parameters import ScheduleName
from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.distributed.whole import WholeNetwork
from eightgig.training.objective import Batch, Objective
from eightgig.vram.pipelining.flow import Flow
from eightgig.vram.pipelining.handing_over import Generators, Received, buffer
from eightgig.vram.pipelining.stage import HandedOver, StageModule

Signature = tuple[Any, ...]
_SCHEDULES = 2  # kept at a time, with what they receive into: of full micro-batches, and of an epoch's last ones


class PipelinedNetwork:
    """What one process does of a network that is spread over all of them.

    Args:
        stage: of this process.
        whole: what is known of the whole network.
        process_group: of all; the stage's number is the process's.
        schedule: in which order the micro-batches of a window pass; `one_at_a_time` lets one stage work at a time.

    Attributes:
        stage: as given; `whole` likewise.
    """

    def __init__(
        self, stage: StageModule, whole: WholeNetwork, process_group: ProcessGroup, schedule: ScheduleName
    ) -> None:
        self.stage, self.whole = stage, whole
        self._group, self._name = process_group, schedule
        self._generators = Generators(process_group.device)
        self._flows: dict[Signature, Flow] = {}
        self._schedules: dict[Signature, PipelineScheduleSingle] = {}
        self._adapter = _Adapter(self)
        self._objective: Objective | None = None
        self._batches: Sequence[tuple[int, Batch]] = ()
        self._scale = 1.0

    @property
    def is_last(self) -> bool:
        """Whether this process has the end of the network, and the loss."""
        return self._group.index == self._group.count - 1

    def run(self, seeded: Sequence[tuple[int, Batch]], objective: Objective, *, scale: float) -> Tensor:
        """Leave the gradients of a window's micro-batches in the weights; return its summed loss in the last stage.

        Args:
            seeded: micro-batches, each with the seed of what is random in it.
            objective: gives the loss.
            scale: of the gradients.

        Returns:
            The loss, a float64 scalar; zero in all other stages.
        """
        self._objective, self._scale = objective, scale
        total = torch.zeros((), dtype=torch.float64, device=self._group.device)
        for signature, batches in _alike(seeded, alone=self._name == "one_at_a_time"):
            schedule = self._schedule(signature, batches[0][1], len(batches))
            self._batches, losses = batches, list[Tensor]()
            numbers = torch.arange(len(batches))
            try:
                schedule.step(number=numbers, target=numbers, losses=losses if self.is_last else None)
            except RuntimeError as error:  # torch says in which stage, around what was raised there
                raise error.__cause__ or error from None
            if losses:
                total += torch.stack([loss.detach().double() for loss in losses]).sum() / scale
        return total

    def clip(self, max_norm: float | None) -> Tensor:
        """Add up the gradients of what several stages hold, clip those of the whole network, and return their norm."""
        self.whole.add_up_shared(self.stage.network)
        norm = self.whole.norm(self.stage.network)
        if max_norm is not None:
            nn.utils.clip_grads_with_norm_(self.stage.parameters(), max_norm, norm)
        return norm

    def forward(self, number: int, received: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return the loss of a micro-batch, or what the next stage is given.

        Args:
            number: of the micro-batch in those that pass now.
            received: what the stage before handed over; empty in the first one.
        """
        seed, batch = self._batches[number]
        seed_step(seed)
        if not received:
            self.stage.take_over(self._flow(batch), lambda: ())
        else:
            generators, *values = Received.apply(*received)
            self.stage.take_over(
                self._flow(batch), lambda: values, at_start=lambda: self._generators.restore(generators)
            )
        return self._passed(batch)

    def evaluate(self, objective: Objective, batches: Iterable[Batch]) -> dict[str, float]:
        """Return what the objective finds with the whole network, the same in every process.

        Each stage but the last goes on with the next batch as soon as it has handed over one.
        """
        figures: list[Any] = [None]
        self._objective = objective
        self.stage.eval()
        with torch.no_grad():
            if self.is_last:
                figures = [objective.evaluate(self.stage, self._taking_over(batches), self._group.device)]
            else:
                for batch in self._taking_over(batches):
                    self._hand_over(batch)
        torch.distributed.broadcast_object_list(figures, src=self._group.count - 1, device=self._group.device)
        found: dict[str, float] = figures[0]
        return found

    def _passed(self, batch: Batch) -> Tensor | tuple[Tensor, ...]:
        assert self._objective is not None  # noqa: S101  `run` set it
        try:
            loss = self._objective.loss_sum(self.stage, batch, self._group.device)
        except HandedOver as over:
            return self._generators.state(), *over.tensors
        return (loss * self._scale).reshape(1)

    def _taking_over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches for which the stage is ready."""
        for batch in batches:
            flow = self._flow(batch)
            self.stage.take_over(flow, partial(self._receive, flow))
            yield batch

    def _receive(self, flow: Flow) -> list[Tensor]:
        own = flow.calls_of(self.stage.parts)
        tensors = [buffer(flow.spec(value), self._group.device) for value in flow.crossing(own.start)]
        for tensor in tensors:
            torch.distributed.recv(tensor, src=self._group.index - 1)
        return tensors

    def _hand_over(self, batch: Batch) -> None:
        assert self._objective is not None  # noqa: S101  `evaluate` set it
        try:
            self._objective.evaluate(self.stage, [batch], self._group.device)
        except HandedOver as over:
            for tensor in over.tensors:
                torch.distributed.send(tensor, dst=self._group.index + 1)

    def _flow(self, batch: Batch) -> Flow:
        """Return what flows between the parts for batches like this one."""
        signature = (self.stage.training, *_signature(batch))
        if signature not in self._flows:
            objective, device = self._objective, self._group.device
            assert objective is not None  # noqa: S101  `run` or `evaluate` set it
            if self.stage.training:
                self._flows[signature] = self.stage.flow(lambda: objective.loss_sum(self.stage, batch, device))
            else:
                self._flows[signature] = self.stage.flow(lambda: objective.evaluate(self.stage, [batch], device))
        return self._flows[signature]

    def _schedule(self, signature: Signature, batch: Batch, count: int) -> PipelineScheduleSingle:
        key = (count, *signature)
        if key in self._schedules:
            return self._schedules[key]
        while len(self._schedules) >= _SCHEDULES:  # the oldest, with what it received into
            self._schedules.pop(next(iter(self._schedules)))
        flow, stages = self._flow(batch), self._group.count
        own = flow.calls_of(self.stage.parts)
        stage = pipelining.PipelineStage(
            self._adapter,
            self._group.index,
            stages,
            self._group.device,
            input_args=self._handed_at(flow, own.start) if own.start else (),
            output_args=(_meta((1,), torch.float32),) if self.is_last else self._handed_at(flow, own.stop),
        )
        # 1F1B needs as many micro-batches as stages; with fewer both orders hold as much.
        made = Schedule1F1B if self._name == "1f1b" and count >= stages else ScheduleGPipe
        self._schedules[key] = made(stage, count, loss_fn=_sum, scale_grads=False)
        return self._schedules[key]

    def _handed_at(self, flow: Flow, cut: int) -> tuple[Tensor, ...]:
        specs = [flow.spec(value) for value in flow.crossing(cut)]
        return _meta(self._generators.shape, torch.float32), *(_meta(spec.sent_shape, spec.dtype) for spec in specs)


class _Adapter(nn.Module):
    """The module that torch's schedule calls."""

    def __init__(self, network: PipelinedNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, *received: Tensor, number: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self._network.forward(int(number), received)


def _sum(loss_1: Tensor, _: Tensor) -> Tensor:
    return loss_1.sum()


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)


def _signature(batch: Batch) -> Signature:
    return tuple((name, *getattr(value, "shape", ()), getattr(value, "dtype", None)) for name, value in batch.items())


def _alike(seeded: Sequence[tuple[int, Batch]], *, alone: bool) -> Iterator[tuple[Signature, list[tuple[int, Batch]]]]:
    """Yield runs of micro-batches of the same shapes, as a schedule wants them."""
    if alone:
        yield from ((_signature(batch), [(seed, batch)]) for seed, batch in seeded)
        return
    for signature, run in groupby(seeded, key=lambda pair: _signature(pair[1])):
        yield signature, list(run)
