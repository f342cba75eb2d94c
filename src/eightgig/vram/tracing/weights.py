"""The weights of a network, read without running a step: what no way of running can do without.

The records import no torch; `read_weights` is for the child process.
"""

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from eightgig.core.records import Record
from eightgig.vram.tracing.spec import WorkloadSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eightgig.vram.tracing.workload import Workload

WeightKind = Literal["linear", "embedding", "other"]
# Of a value on the card, by bitsandbytes' class: its scales come on top.
_QUANTIZED_BYTES = {"Params4bit": 0.5, "Int8Params": 1}
# One would do, but that BatchNorm refuses to train on it where images have shrunk to one pixel.
_SAMPLES = 2


class Weight(Record):
    """One weight of a network; tied ones are one.

    Attributes:
        num_bytes: as the network holds it; 0 of a tensor subclass that is not known, which may hold itself otherwise on
            a card.
        kind: of the layer that it belongs to; `linear` are matrices alone.
        is_trainable: whether it wants a gradient.
        is_reached: whether the loss gives it one; what was not looked at counts as reached.
    """

    shape: tuple[int, ...]
    num_bytes: int
    kind: WeightKind = "other"
    is_trainable: bool = True
    is_reached: bool = True

    @property
    def is_trained(self) -> bool:
        """Whether a step gives it a gradient and state."""
        return self.is_trainable and self.is_reached

    @property
    def numel(self) -> int:
        """Values of it."""
        return prod(self.shape)


class WeightsRequest(NamedTuple):
    """The weights to read in the child process; `search_path` is the parent's."""

    workload: WorkloadSpec
    looks_at_loss: bool
    search_path: tuple[str, ...]


def read_weights(spec: WorkloadSpec, *, looks_at_loss: bool) -> tuple[Weight, ...]:
    """Return the weights of a workload, which is built for it without values; none where it cannot be built.

    What stands in its way is for the trace to say.

    Args:
        spec: of the workload.
        looks_at_loss: whether its loss is computed, of shapes alone, to see which weights it reaches. Of a loss that
            cannot be computed none is known to be reached.
    """
    from eightgig.vram.tracing.workload import skip_initialization

    try:
        with skip_initialization():
            workload = spec.build()
        reached = _reached(workload) if looks_at_loss else None
        return tuple(_weights(workload.module, reached))
    except Exception:  # noqa: BLE001  whatever a user's network raises
        return ()


def _weights(module: "nn.Module", reached: set[int] | None) -> Iterator[Weight]:
    kinds = dict(_kinds(module))
    for weight in module.parameters():
        yield Weight(
            shape=tuple(weight.shape) if _is_plain(weight) else (),
            num_bytes=_bytes_of(weight),
            kind=kinds.get(id(weight), "other"),
            is_trainable=weight.requires_grad,
            is_reached=reached is None or id(weight) in reached,
        )


def _kinds(module: "nn.Module") -> Iterator[tuple[int, WeightKind]]:
    from torch import nn

    for part in module.modules():
        weight = getattr(part, "weight", None)
        # transformers' Conv1D is a linear layer with its weight the other way round
        if isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D":
            yield id(weight), "linear"
    for part in module.modules():  # last: a matrix that is tied to an embedding is an embedding
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            yield id(part.weight), "embedding"


def _is_plain(weight: "Tensor") -> bool:
    from torch import Tensor, nn

    return type(weight) in (Tensor, nn.Parameter)


def _bytes_of(weight: "Tensor") -> int:
    if not _is_plain(weight):
        return int(_QUANTIZED_BYTES.get(type(weight).__name__, 0) * weight.numel())
    return min(weight.nbytes, weight.untyped_storage().nbytes())


def _reached(workload: "Workload") -> set[int]:
    """Return the ids of the weights that the loss depends on: those whose gradients are at the ends of its graph."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    sparse = {id(part.weight) for part in workload.module.modules() if getattr(part, "sparse", False)}
    try:
        is_bare = any(weight.is_meta for weight in workload.module.parameters())
        with FakeTensorMode(allow_non_fake_inputs=True), torch.device("meta" if is_bare else "cpu"):
            loss = workload.loss(workload.module.train(), workload.batch(_SAMPLES))
            return {id(weight) for weight in _ends(loss.grad_fn)} - sparse  # sparse gradients have few of the rows
    except Exception:  # noqa: BLE001  whatever a user's network raises
        return set()


def _ends(start: Any) -> "Iterator[Tensor]":
    seen, waiting = set[Any](), [start]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [after for after, _ in node.next_functions]
