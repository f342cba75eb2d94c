"""The ways of running a request, in the order of what they cost.

Precision, fused attention and a fused optimizer cost nothing and are taken where they are allowed; then smaller
micro-batches with more accumulation, down to where BatchNorm suffers; then recomputing what is cheap, and whole blocks;
then micro-batches that are poor for BatchNorm; then the optimizer in the backward pass, where nothing needs all
gradients at once; and last keeping activations in the machine's memory, which is slower than all else by far. The
effective batch never changes.
"""

from collections.abc import Callable, Iterator

from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import Checkpointing, Precision, StepConfig
from eightgig.vram.planning.findings import BATCH_NORM_FLOOR
from eightgig.vram.planning.request import PlanRequest

# Half precision doubles the rate of Tensor Cores; fp16 has more digits than bf16, and Turing's cores know it alone.
_FASTEST_FIRST: tuple[Precision, ...] = ("fp16", "bf16", "fp32")
_CHECKPOINTING_LEVELS: tuple[Checkpointing, ...] = ("none", "selective", "full")  # each recomputes more than the last


def first_candidate(request: PlanRequest, parameters: PlanParameters) -> StepConfig:
    """Return the way of running that costs nothing: all samples at a time, nothing recomputed."""
    return _step(request, parameters, request.micro_batch, "none")


class Candidates:
    """Yields ways of running; which sizes are worth a look depends on what the ones before need.

    Args:
        request: what shall be run.
        parameters: what may be chosen.
        has_batch_norm: whether the network uses the batch's own statistics.
        needed_bytes: says what a way of running needs.
        least_bytes: says what a way of running needs at the least with fewer samples at a time, so many.
        budget_bytes: that there are.
    """

    def __init__(
        self,
        request: PlanRequest,
        parameters: PlanParameters,
        *,
        has_batch_norm: Callable[[], bool],
        needed_bytes: Callable[[StepConfig], int],
        least_bytes: Callable[[StepConfig, int], int],
        budget_bytes: int,
    ) -> None:
        self._request, self._parameters = request, parameters
        self._has_batch_norm, self._budget_bytes = has_batch_norm, budget_bytes
        self._needed_bytes, self._least_bytes = needed_bytes, least_bytes

    def __iter__(self) -> Iterator[StepConfig]:
        if self._request.task == "infer":
            yield first_candidate(self._request, self._parameters)
            return
        in_backward = self._parameters.optimizer_in_backward
        if in_backward == "always":
            for level in self._levels:
                yield self._in_backward(level)
            return
        for sizes in self._size_groups():
            for level in self._levels:
                yield from self._largest_first(level, sizes)
        if in_backward == "auto" and not any(self._request.against_optimizer_in_backward()):
            yield self._in_backward(self._levels[-1])
        if self._parameters.offload == "auto" and self._request.device == "cuda":
            for sizes in self._size_groups():
                yield from self._largest_first(self._levels[-1], sizes, offload=True)

    @property
    def _levels(self) -> tuple[Checkpointing, ...]:
        asked = self._parameters.activation_checkpointing
        return _CHECKPOINTING_LEVELS if asked == "auto" else (asked,)

    def _in_backward(self, level: Checkpointing) -> StepConfig:
        return _step(self._request, self._parameters, self._request.micro_batch, level, optimizer_in_backward=True)

    def _size_groups(self) -> Iterator[list[int]]:
        """Yield the micro-batches that suit BatchNorm, then those that are poor for it."""
        request = self._request
        sizes = [n for n in range(request.micro_batch, 0, -1) if request.effective_batch % n == 0]
        floor = min(BATCH_NORM_FLOOR, request.micro_batch) if self._has_batch_norm() else 1
        for group in ([n for n in sizes if n >= floor], [n for n in sizes if n < floor]):
            if group:
                yield group

    def _largest_first(self, level: Checkpointing, sizes: list[int], *, offload: bool = False) -> Iterator[StepConfig]:
        """Yield the largest size; then, memory being nearly a straight line over it, the largest that should fit."""
        made = {size: _step(self._request, self._parameters, size, level, offload=offload) for size in sizes}
        largest, smallest = made[sizes[0]], made[sizes[-1]]
        yield largest
        if len(sizes) == 1 or self._least_bytes(largest, smallest.micro_batch) > self._budget_bytes:
            return
        if self._needed_bytes(smallest) > self._budget_bytes:
            return
        rise = self._needed_bytes(largest) - self._needed_bytes(smallest)
        slope = rise / (largest.micro_batch - smallest.micro_batch)
        room = self._budget_bytes - self._needed_bytes(smallest)
        limit = smallest.micro_batch + (room / slope if slope > 0 else 0)
        yield from (made[size] for size in sizes[1:] if size <= limit or size == sizes[-1])


def _step(
    request: PlanRequest,
    parameters: PlanParameters,
    micro_batch: int,
    level: Checkpointing,
    *,
    offload: bool = False,
    optimizer_in_backward: bool = False,
) -> StepConfig:
    allowed = request.precisions_without_scaler() if optimizer_in_backward else request.precisions
    return request.step(
        micro_batch,
        min(allowed, key=_FASTEST_FIRST.index),
        attention=parameters.attention,
        activation_checkpointing=level,
        offload=offload,
        optimizer_in_backward=optimizer_in_backward,
    )
