"""What would save memory where nothing fits, and how much of it for this network.

One function a way, each of figures alone; a way that does not apply, or that is taken already, is not named. What this
project has no parameter for is named with the libraries that have it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from eightgig.core.errors import BudgetError
from eightgig.core.units import format_bytes
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import StepConfig
from eightgig.vram.planning.lower_bound import LeastMemory, state_bytes
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.weights import Weight

_RANK = 8  # of LoRA's matrices: the default of peft and of model.lora
_TRAINED_SHARE = 0.5  # of the weights in linear layers: where fewer are, LoRA leaves most to train
_ADAPTER_BYTES = 16  # a value in float32 with its gradient and two moments
_HALF_BYTES = 2
_FOUR_BIT_BYTES = 0.5 + 4 / 64  # QLoRA's NF4: a scale in float32 for each block of 64 values
_LOSS_OPS = ("_log_softmax", "_log_softmax_backward_data")  # each makes the logits once more, in float32
_DOMINANT_SHARE = 0.5  # of the peak: less than that is not what keeps it from fitting
_LEAST_SHARE = 0.01  # of the shortfall: what saves less is not worth a line


class Saving(NamedTuple):
    """A way to save memory, in words, the bytes that it saves, and the name of the function that says so."""

    num_bytes: int
    way: str
    name: str = ""


@dataclass(frozen=True)
class Shortfall:
    """What does not fit.

    Attributes:
        missing_bytes: of the budget.
        weights: of the network.
        least: what no way of running can do without.
        step: the way of running that came nearest; None where none was traced.
        prediction: of that.
    """

    request: PlanRequest
    parameters: PlanParameters
    missing_bytes: int
    weights: tuple[Weight, ...]
    least: LeastMemory
    step: StepConfig | None = None
    prediction: Prediction | None = None


class NoPlanError(BudgetError):
    """Nothing fits.

    Attributes:
        needed_bytes: of what comes nearest, beside the CUDA context; where not even that was traced, what is held at
            the least.
        step: the way of running that comes nearest; None where none was traced.
        prediction: of that.
        savings: what would save, the most first.
    """

    def __init__(self, message: str, short: Shortfall, budget_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = budget_bytes + short.missing_bytes
        self.step, self.prediction = short.step, short.prediction
        self.savings = tuple(savings(short))


def advice(short: Shortfall) -> str:
    """Return the sentence that names what would save, the most first; empty where nothing is known to."""
    named = "; ".join(f"{format_bytes(saving.num_bytes)} by {saving.way}" for saving in savings(short))
    return f"What would save: {named}." if named else ""


def savings(short: Shortfall) -> list[Saving]:
    """Return the ways that apply, the one that saves most first."""
    found = [saving._replace(name=way.__name__) for way in WAYS if (saving := way(short)) is not None]
    worth = [saving for saving in found if saving.num_bytes > _LEAST_SHARE * short.missing_bytes]
    return sorted(worth, key=lambda saving: -saving.num_bytes)


def lora(short: Shortfall) -> Saving | None:
    """Small matrices are trained beside frozen weights."""
    saved = _saved_by_lora(short)
    if saved is None:
        return None
    return Saving(saved, "LoRA, which freezes the weights (model.lora of the text generator; peft for others)")


def qlora(short: Shortfall) -> Saving | None:
    """The frozen weights of linear layers are held in 4 bits, the others in bf16."""
    saved = _saved_by_lora(short)
    if saved is None:
        return None
    smaller = saved + _saved_by_precision(short, _FOUR_BIT_BYTES)
    return Saving(smaller, "LoRA over weights in 4 bits (QLoRA: bitsandbytes and peft, outside of this project)")


def half_weights(short: Shortfall) -> Saving | None:
    """Weights that are not trained are held in bf16."""
    saved = _saved_by_lora(short)
    if saved is not None:
        way = "LoRA over weights in bf16 (in a factory of your own)"
        return Saving(saved + _saved_by_precision(short, _HALF_BYTES), way)
    frozen = short.request.task == "infer" or any(not weight.is_trainable for weight in short.weights)
    saved = _saved_by_precision(short, _HALF_BYTES, frozen_alone=True)
    return (
        Saving(saved, "weights that are not trained in bf16 (in a factory of your own)") if frozen and saved else None
    )


def eight_bit_states(short: Shortfall) -> Saving | None:
    """The optimizer's two moments take a byte each instead of four."""
    if short.request.optimizer not in ("adam", "adamw") or not short.least.optimizer:
        return None
    trained = [weight for weight in short.weights if weight.is_trained]
    saved = state_bytes(short.request.optimizer, trained) - state_bytes("adamw8bit", trained)
    return Saving(short.request.of_one_process(saved), "8-bit optimizer states (train.optimizer: adamw8bit)")


def optimizer_in_backward(short: Shortfall) -> Saving | None:
    """Gradients are never all there, once nothing needs all of them at once."""
    request = short.request
    hindrances = list(request.against_optimizer_in_backward())
    if short.parameters.optimizer_in_backward == "never":
        hindrances.append("plan.optimizer_in_backward is never (auto is not)")
    if request.task == "infer" or request.processes > 1 or not hindrances:
        return None
    saved = short.least.gradients - max((w.num_bytes for w in short.weights if w.is_trained), default=0)
    return Saving(saved, f"the optimizer in the backward pass (in its way: {'; '.join(hindrances)})")


def chunked_loss(short: Shortfall) -> Saving | None:
    """The loss of a language model is computed for some tokens at a time, so that no copy of all logits is made."""
    if short.prediction is None or not any(weight.kind == "embedding" for weight in short.weights):
        return None
    saved = sum(row.num_bytes for row in short.prediction.largest if row.owner.rpartition("/")[2] in _LOSS_OPS)
    way = "a loss in chunks of tokens (such as Liger's fused cross-entropy, outside of this project)"
    return Saving(saved, way) if saved else None


def smaller_batch(short: Shortfall) -> Saving | None:
    """One sample at a time, where the search did not come down to that."""
    if short.step is None or short.step.micro_batch == 1:
        return None
    saved = _passing_bytes(short) * (short.step.micro_batch - 1) // short.step.micro_batch
    return Saving(saved, "one sample at a time") if saved else None


def shorter_samples(short: Shortfall) -> Saving | None:
    """Half of each sample passes, where what passes is most of the peak."""
    if short.prediction is None or short.step is None or short.step.micro_batch > 1:
        return None
    passing = _passing_bytes(short)
    if passing < _DOMINANT_SHARE * short.prediction.peak_allocated:
        return None
    return Saving(passing // 2, "samples of half the size (fewer tokens, or pixels)")


def recomputing(short: Shortfall) -> Saving | None:
    """Activations are computed again, or wait in the machine's memory, where that was ruled out."""
    asked, prediction = short.parameters, short.prediction
    if prediction is None or short.request.task == "infer":
        return None
    ruled_out = [f"plan.activation_checkpointing: {asked.activation_checkpointing}"]
    ruled_out = [] if asked.activation_checkpointing in ("auto", "full") else ruled_out
    if asked.offload == "never" and short.request.device == "cuda":
        ruled_out.append("plan.offload: never")
    saved = prediction.at_peak.get("activations", 0)
    return Saving(saved, f"auto instead of {' and '.join(ruled_out)} at most") if ruled_out and saved else None


WAYS: tuple[Callable[[Shortfall], Saving | None], ...] = (
    qlora,
    half_weights,
    lora,
    eight_bit_states,
    optimizer_in_backward,
    recomputing,
    chunked_loss,
    smaller_batch,
    shorter_samples,
)


def _saved_by_lora(short: Shortfall) -> int | None:
    """Return what freezing the weights saves, less what the small matrices take; None where LoRA does not apply."""
    adapted = _adapted(short.weights)
    trainable = sum(weight.num_bytes for weight in short.weights if weight.is_trainable)
    targets = sum(weight.num_bytes for weight in adapted if weight.is_trainable)
    if short.request.task == "infer" or not trainable or targets < _TRAINED_SHARE * _held(short.weights):
        return None
    adapters = sum(_RANK * sum(weight.shape) * _ADAPTER_BYTES for weight in adapted)
    saved = short.least.gradients + short.least.optimizer - short.request.of_one_process(adapters)
    return saved if saved > 0 else None


def _saved_by_precision(short: Shortfall, linear_bytes: float, *, frozen_alone: bool = False) -> int:
    """Return what smaller weights save: those of linear layers in so many bytes a value, the others in bf16."""
    adapted = {id(weight) for weight in _adapted(short.weights)}
    saved = 0
    for weight in short.weights:
        if frozen_alone and weight.is_trainable and short.request.task == "train":
            continue
        smaller = int(weight.numel * (linear_bytes if id(weight) in adapted else _HALF_BYTES))
        saved += max(0, weight.num_bytes - smaller)
    return short.request.of_one_process(saved)


def _adapted(weights: tuple[Weight, ...]) -> list[Weight]:
    """Return the matrices that LoRA stands beside and 4 bits hold: of linear layers, but for a vocabulary's head."""
    embeddings = {weight.shape for weight in weights if weight.kind == "embedding"}
    return [weight for weight in weights if weight.kind == "linear" and weight.shape not in embeddings]


def _held(weights: tuple[Weight, ...]) -> int:
    return sum(weight.num_bytes for weight in weights)


def _passing_bytes(short: Shortfall) -> int:
    """Return what grows with the samples, at the peak."""
    held = short.prediction.at_peak if short.prediction is not None else {}
    return held.get("activations", 0) + held.get("temporaries", 0) + held.get("batch", 0)
