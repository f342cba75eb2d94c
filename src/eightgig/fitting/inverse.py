"""The question turned round: how many samples, how many tokens fit a card.

From one trace: what lasts stays, and what passes grows with the samples, which is nearly a straight line; of tokens too,
for fused attention holds no matrix of all against all. So it is "about"; asked again with that size, the answer is
traced.
"""

from eightgig.fitting.networks import Network
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.planning.request import PlanRequest, generation_of
from eightgig.vram.tracing.predictor import Predictor

_LASTING = ("parameters", "gradients", "optimizer")
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
    """Return how many times as much may pass."""
    prediction = predictor.predict(request.workload, request.options(plan), generation=generation_of(request))
    lasting = sum(prediction.at_peak.get(name, 0) for name in _LASTING)
    passing = prediction.min_memory_limit - lasting
    room = plan.budget_bytes / (1 + prediction.error_above) - lasting
    return room / passing if passing > 0 else None
