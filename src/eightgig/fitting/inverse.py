"""The question turned round: how many samples, how many tokens fit a card.

What lasts stays, and what passes grows with the samples, which is nearly a straight line; of tokens too, for fused
attention holds no matrix of all against all. One trace says how steep it is where activations are most of what passes;
else one with more samples is looked at, too. So it is "about"; asked again with that size, the answer is traced.
"""

from math import log2

from eightgig.fitting.networks import Network
from eightgig.vram.plan import Category, MemoryPlan
from eightgig.vram.planning.request import PlanRequest, generation_of
from eightgig.vram.tracing.predictor import Predictor

_LASTING: tuple[Category, ...] = ("parameters", "gradients", "optimizer")
_WITH_SAMPLES: tuple[Category, ...] = ("activations", "batch")
_MOSTLY = 0.6  # of what passes: then its growth is that of the samples
_WORTH_A_LOOK = 2  # times as many samples
_LOOKS = 4
_ROUND_TOKENS = 64


def largest_batch(request: PlanRequest, plan: MemoryPlan, predictor: Predictor) -> int | None:
    """Return about how many samples pass at a time with the plan's other settings; None where nothing grows."""
    times = _room(request, plan, predictor)
    return None if times is None else max(plan.micro_batch, int(plan.micro_batch * times))


def longest_context(request: PlanRequest, plan: MemoryPlan, predictor: Predictor, network: Network) -> int | None:
    """Return about how many tokens a sample may have with the plan's micro-batch; None of what has no tokens."""
    times = _room(request, plan, predictor)
    if network.tokens is None or times is None:
        return None
    most = network.config.max_tokens if network.config is not None else None
    tokens = int(network.tokens * times) // _ROUND_TOKENS * _ROUND_TOKENS
    return max(network.tokens, min(tokens, most or tokens))


def _room(request: PlanRequest, plan: MemoryPlan, predictor: Predictor) -> float | None:
    """Return how many times as much may pass.

    What is taken to grow holds what does not, so each look says too little, and the next, with more samples, less so.
    """
    grown = 1
    for _ in range(_LOOKS):
        step = plan.model_copy(update={"micro_batch": plan.micro_batch * grown})
        prediction = predictor.predict(request.workload, request.options(step), generation=generation_of(request))
        lasting = sum(prediction.at_peak.get(name, 0) for name in _LASTING)
        passing = prediction.min_memory_limit - lasting
        if passing <= 0:
            return None
        times = (plan.budget_bytes / (1 + prediction.error_above) - lasting) / passing
        kept = sum(prediction.at_peak.get(name, 0) for name in _WITH_SAMPLES)
        if kept >= _MOSTLY * passing or times < _WORTH_A_LOOK:
            break
        grown *= 2 ** int(log2(times))  # so that cards of about one size share a trace
    return grown * max(1.0, times)
