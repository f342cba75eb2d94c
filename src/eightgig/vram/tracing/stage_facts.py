"""What a planner has to know of a network to cut it: its parts, what each holds, and what crosses between them.

The records import no torch; `read_facts` is for the child process.
"""

from eightgig.core.errors import EightgigError, PredictionError
from eightgig.core.records import Record
from eightgig.vram.plan import Checkpointing
from eightgig.vram.tracing.failures import failure_of
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec


class CallFacts(Record):
    """One call of a part.

    Attributes:
        part: its name.
        trained_bytes: of its weights that get gradients; a weight that stands in several parts counts in each.
        frozen_bytes: of its other weights, and buffers.
        kept_bytes: what its forward pass keeps for the backward pass beyond its input, in float32.
        crossing_bytes: what would be handed over if the network were cut before this call; 0 of the first.
        objection: why it cannot be cut there; None where it can.
    """

    part: str
    trained_bytes: int
    frozen_bytes: int
    kept_bytes: int
    crossing_bytes: int
    objection: str | None


class NetworkFacts(Record):
    """The calls of a network's parts in order.

    Attributes:
        everywhere_bytes: of trained weights that belong to no part, which every stage holds.
    """

    calls: tuple[CallFacts, ...]
    everywhere_bytes: int

    @property
    def cuts(self) -> tuple[int, ...]:
        """Positions before which it may be cut."""
        return tuple(position for position, call in enumerate(self.calls) if position and call.objection is None)


def read_facts(workload: WorkloadSpec, micro_batch: int, checkpointing: Checkpointing) -> NetworkFacts:
    """Return the facts of a workload that is built for it, without values.

    Raises:
        PredictionError: the pass of shapes failed, or the network cannot be cut.
    """
    try:
        return _facts(workload, micro_batch, checkpointing)
    except EightgigError:
        raise
    except Exception as error:
        options = StepOptions(micro_batch=micro_batch, activation_checkpointing=checkpointing)
        raise failure_of(error, workload, options) from error


def _facts(spec: WorkloadSpec, micro_batch: int, checkpointing: Checkpointing) -> NetworkFacts:
    from eightgig.vram.pipelining.parts import parts_of
    from eightgig.vram.pipelining.stage import StageModule
    from eightgig.vram.tracing.workload import skip_initialization

    with skip_initialization():
        workload = spec.build()
        batch = workload.batch(micro_batch)
    network = workload.checkpoint(workload.module, checkpointing).train()
    everywhere = sum(weight.nbytes for weight in network.parameters() if weight.requires_grad)
    parts = parts_of(network)
    everywhere -= sum(
        weight.nbytes
        for weight in {id(w): w for part in parts.values() for w in part.parameters() if w.requires_grad}.values()
    )
    stage = StageModule(network, list(parts))
    flow, kept = stage.measured_flow(lambda: workload.loss(stage, batch))
    if not flow.cuts:
        raise PredictionError(
            f"{spec.factory}: the network cannot be cut into stages: "
            + ((len(flow.calls) > 1 and flow.objection(1)) or "it is one part")
        )
    calls = []
    for position, call in enumerate(flow.calls):
        part = parts[call.part]
        held = (*part.parameters(), *part.buffers())
        calls.append(
            CallFacts(
                part=call.part,
                trained_bytes=sum(tensor.nbytes for tensor in held if tensor.requires_grad),
                frozen_bytes=sum(tensor.nbytes for tensor in held if not tensor.requires_grad),
                kept_bytes=kept[position],
                crossing_bytes=flow.crossing_bytes(position) if position else 0,
                objection=flow.objection(position) if position else None,
            )
        )
    return NetworkFacts(calls=tuple(calls), everywhere_bytes=everywhere)
