"""The question turned round: how many samples, how many tokens fit a card.

What lasts stays, and what passes grows with the samples, which is nearly a straight line; of tokens too, for fused
attention holds no matrix of all against all. One trace says how steep it is where activations are most of what passes;
else one with more samples is looked at, too. So it is "about"; asked again with that size, the answer is traced.
"""

from math import log2

from eightgig.fitting.networks import Network
from eightgig.vram.plan import Category, MemoryPlan
from eightgig.vram.planning.request import PlanRequest, generation_of
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.predictor import Predictor

_LASTING: tuple[Category, ...] = ("parameters", "gradients", "optimizer")
_WITH_SAMPLES: tuple[Category, ...] = ("activations", "batch")
_MOSTLY = 0.75  # of what passes: then its growth is that of the samples
_LOOKS = 4
_CAUTION = 0.97  # memory is taken in segments: so that what is named does fit when it is asked for
_ROUND_TOKENS = 64


def largest_batch(request: PlanRequest, plan: MemoryPlan, predictor: Predictor) -> int:
    """Return about how many samples pass at a time with the plan's other settings."""
    return int(plan.micro_batch * _room(request, plan, predictor))


def longest_context(request: PlanRequest, plan: MemoryPlan, predictor: Predictor, network: Network) -> int | None:
    """Return about how many tokens a sample may have with the plan's micro-batch; None of what has no tokens."""
    if network.tokens is None:
        return None
    times = _room(request, plan, predictor)
    most = network.config.max_tokens if network.config is not None else None
    tokens = int(network.tokens * times) // _ROUND_TOKENS * _ROUND_TOKENS
    return max(network.tokens, min(tokens, most or tokens))


def _room(request: PlanRequest, plan: MemoryPlan, predictor: Predictor) -> float:
    """Return how many times as much may pass.

    What is taken to grow holds what does not, so one look says too little. Where it would, looks at more samples
    follow, up to where memory grows in a line, and one at its end.
    """

    def look(times: int) -> Prediction:
        step = plan.model_copy(update={"micro_batch": plan.micro_batch * times})
        return predictor.predict(request.workload, request.options(step), generation=generation_of(request))

    seen, times = look(1), 1
    usable = int(plan.budget_bytes / (1 + seen.error_above))
    for _ in range(_LOOKS):
        straight = times * _straight(seen, usable)
        if _grows_evenly(seen) or straight < 2 * times:
            break
        times *= 2 ** int(log2(straight / times))  # so that cards of about one size share a trace
        seen = look(times)
    if times > 1 and (end := int(straight)) > times:
        rise = (look(end).min_memory_limit - seen.min_memory_limit) / (end - times)
        straight = times + (usable - seen.min_memory_limit) / rise if rise > 0 else straight
    return max(1.0, _CAUTION * straight)


def _straight(seen: Prediction, usable: int) -> float:
    """Return how many times as much passes as was seen, were all that does not last to grow with the samples."""
    lasting = sum(seen.at_peak.get(name, 0) for name in _LASTING)
    return (usable - lasting) / max(1, seen.min_memory_limit - lasting)


def _grows_evenly(seen: Prediction) -> bool:
    with_samples = sum(seen.at_peak.get(name, 0) for name in _WITH_SAMPLES)
    return with_samples > _MOSTLY * (seen.min_memory_limit - sum(seen.at_peak.get(name, 0) for name in _LASTING))
