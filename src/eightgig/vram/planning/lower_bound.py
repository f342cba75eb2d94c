"""What a run takes at the least, whatever is chosen: known from its weights alone, so that no step need be traced.

Held while weights are stepped: all weights, and the optimizer's state and gradients of those that the loss reaches;
where the optimizer may go into the backward pass, one gradient at a time. Precision never makes the weights smaller,
recomputing and offloading concern activations alone, and FSDP2 leaves each process its share. tests/vram/
test_lower_bound.py holds this against what is traced.
"""

from collections.abc import Iterable
from typing import NamedTuple

from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import OptimizerName
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.weights import Weight

# bitsandbytes, as eightgig.vram.tracing.eight_bit has it: a scale for each block of values, small tensors in float32.
_BLOCK, _SMALLEST, _SCALE_BYTES = 256, 4096, 4


class LeastMemory(NamedTuple):
    """Bytes that no way of running can do without, on one card."""

    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Return all of them."""
        return sum(self)


def hopeless(
    request: PlanRequest, parameters: PlanParameters, predictor: Predictor, budget_bytes: int
) -> LeastMemory | None:
    """Return what a request takes at the least where that alone is over the budget; else None."""
    least = least_memory(request, parameters, predictor.weights(request.workload))
    if least.parameters > budget_bytes:
        return least
    if least.total <= budget_bytes:
        return None
    least = least_memory(request, parameters, predictor.weights(request.workload, looks_at_loss=True))
    return least if least.total > budget_bytes else None


def least_memory(request: PlanRequest, parameters: PlanParameters, weights: Iterable[Weight]) -> LeastMemory:
    """Return what a request takes at the least."""
    weights = tuple(weights)
    held = sum(weight.num_bytes for weight in weights)
    if request.task == "infer":
        return LeastMemory(request.of_one_process(held), 0, 0)
    trained = [weight for weight in weights if weight.is_trained]
    gradients = [weight.num_bytes for weight in trained]
    drops = _may_drop(request, parameters)
    return LeastMemory(
        parameters=request.of_one_process(held),
        gradients=max(gradients, default=0) if drops else request.of_one_process(sum(gradients)),
        optimizer=request.of_one_process(state_bytes(request.optimizer, trained)),
    )


def least_of_smaller(prediction: Prediction, share: float) -> int:
    """Return what the same step takes at the least with a share of its samples.

    What lasts stays; what passes shrinks by the share at most, at the moment of the peak. Workspaces that kernels can
    do without are left out.

    Args:
        prediction: of the step, of one process alone.
        share: of its samples, 0 to 1.
    """
    held = prediction.at_peak
    lasts = sum(held.get(name, 0) for name in ("parameters", "gradients", "optimizer"))
    passes = sum(held.get(name, 0) for name in ("activations", "batch", "temporaries"))
    return lasts + int(share * passes)


def state_bytes(optimizer: OptimizerName, weights: Iterable[Weight]) -> int:
    """Return what an optimizer of the recipes keeps of weights that are stepped; 0 of one that is not known."""
    match optimizer:
        case "adam" | "adamw":
            return sum(2 * weight.num_bytes for weight in weights)
        case "sgd":  # its momentum
            return sum(weight.num_bytes for weight in weights)
        case "adamw8bit":
            return sum(_eight_bit_state(weight) for weight in weights)
    return 0


def _eight_bit_state(weight: Weight) -> int:
    if weight.numel < _SMALLEST:
        return 2 * weight.num_bytes
    return 2 * (weight.numel + _SCALE_BYTES * -(-weight.numel // _BLOCK))


def _may_drop(request: PlanRequest, parameters: PlanParameters) -> bool:
    """Whether the planner may choose a way of running in which gradients are never all there."""
    return parameters.optimizer_in_backward != "never" and not any(request.against_optimizer_in_backward())
