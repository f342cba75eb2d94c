"""One stage of a network as a workload, so that its memory is predicted as that of any network."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from eightgig.vram.pipelining.flow import Flow
from eightgig.vram.pipelining.handing_over import Received, buffer
from eightgig.vram.pipelining.stage import HandedOver, StageModule
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.workload import Workload


def make_stage(
    factory: str,
    options: dict[str, Any],
    parts: Sequence[str],
    absent: Sequence[str],
    micro_batch: int,
    in_flight: int,
    num_micro_batches: int,
    averages: bool,
) -> Workload:
    """Return one stage of a workload's network.

    A batch is `in_flight` micro-batches, whose activations are held at a time; what is received, and the gradients of
    what is handed over, have buffers for all micro-batches of a step, as torch's schedules have.

    Args:
        factory: of the whole workload.
        options: its arguments.
        parts: of the stage.
        absent: of the other stages.
        micro_batch: samples that pass at a time.
        in_flight: micro-batches whose activations are held at once.
        num_micro_batches: of a step that pass by one schedule.
        averages: whether a moving average of the weights is kept beside them.
    """
    base = WorkloadSpec(factory=factory, options=options).build()
    stage = _TracedStage(base, parts, absent, micro_batch, num_micro_batches)

    def cut(_: nn.Module, level: Any) -> nn.Module:
        return stage.cut(level, averages=averages)

    return Workload(
        module=base.module,
        batch=lambda n: [base.batch(n) for _ in range(in_flight)],
        loss=stage.loss,
        evaluate=stage.evaluate,
        checkpoint=cut,
    )


class _TracedStage:
    def __init__(
        self, base: Workload, parts: Sequence[str], absent: Sequence[str], micro_batch: int, num_micro_batches: int
    ) -> None:
        self._base, self._parts, self._absent, self._micro_batch = base, parts, absent, micro_batch
        self._num_micro_batches = num_micro_batches
        self._flow: Flow | None = None
        self._received: list[list[Tensor]] = []
        self._gradients: list[list[Tensor]] = []

    def cut(self, level: Any, *, averages: bool) -> nn.Module:
        """Return the stage."""
        stage = StageModule(self._base.checkpoint(self._base.module, level), self._parts, self._absent)
        batch = self._base.batch(self._micro_batch)
        self._flow = stage.flow(lambda: self._base.loss(stage, batch))
        if averages:
            for position, weight in enumerate(list(stage.parameters())):
                stage.register_buffer(f"average_{position}", torch.empty_like(weight.detach()), persistent=False)
        return stage

    def loss(self, stage: Any, batches: list[Any]) -> Tensor:
        """Run the forward passes of the micro-batches in flight; their backward passes follow one after the other."""
        flow, own, device = self._known(stage, batches)
        total = torch.zeros((), device=device)
        for number, batch in enumerate(batches):
            values: list[Tensor] = list(Received.apply(*self._received[number])) if own.start else []
            stage.take_over(flow, lambda values=values: values)
            try:
                total = total + self._base.loss(stage, batch)
            except HandedOver as over:
                total = total + _Arrives.apply(self._gradients[number], *over.tensors)
        return total

    def evaluate(self, stage: Any, batches: list[Any]) -> Any:
        """Run one pass without gradients."""
        flow, own, device = self._known(stage, batches)
        evaluate = self._base.evaluate or self._base.loss
        values = [buffer(flow.spec(value), device) for value in flow.crossing(own.start)]
        stage.take_over(flow, lambda: values)
        with suppress(HandedOver):
            return evaluate(stage, batches[0])
        return None

    def _known(self, stage: Any, batches: list[Any]) -> tuple[Flow, range, torch.device]:
        assert self._flow is not None  # noqa: S101  `cut` was called before
        own = self._flow.calls_of(stage.parts)
        device = next(leaf for leaf in torch.utils._pytree.tree_leaves(batches) if isinstance(leaf, Tensor)).device
        if torch.is_grad_enabled() and not (self._received or self._gradients):
            self._make_buffers(own, device)
        for tensor in (tensor for tensors in self._received for tensor in tensors):
            tensor.grad = None
        return self._flow, own, device

    def _make_buffers(self, own: range, device: torch.device) -> None:
        assert self._flow is not None  # noqa: S101  `cut` was called before
        flow, count = self._flow, self._num_micro_batches
        into = [flow.spec(value) for value in flow.crossing(own.start)]
        out = [flow.spec(value) for value in flow.crossing(own.stop)] if own.stop < len(flow.calls) else []
        self._received = [[buffer(spec, device).requires_grad_() for spec in into] for _ in range(count)]
        self._gradients = [[buffer(spec, device) for spec in out] for _ in range(count)]


class _Arrives(Function):
    """A scalar whose backward pass gives what was handed over the gradients that come back for it."""

    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *handed: Tensor) -> Tensor:
        ctx.gradients = gradients
        return handed[0].new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return None, *ctx.gradients
