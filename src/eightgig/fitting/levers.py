"""What would make it fit, with the bytes that it saves and what it costs, by what the planner knows of the network."""

from collections.abc import Callable
from typing import Any, NamedTuple

from eightgig.core.errors import EightgigError
from eightgig.fitting.answer import CardAnswer, FitAnswer, Lever, rounded_gib
from eightgig.fitting.question import Question
from eightgig.vram.planning.advice import NoPlanError, Saving


class _Words(NamedTuple):
    how: str
    costs: str


# By the names of the planner's ways (`vram/planning/advice.py`).
_WORDS = {
    "qlora": _Words(
        "QLoRA: --task qlora", "small matrices are trained; weights are rounded to 4 bits and made whole anew"
    ),
    "half_weights": _Words("frozen weights in bf16: --task lora", "small matrices are trained in place of all weights"),
    "lora": _Words("LoRA over weights in float32", "small matrices are trained in place of all weights"),
    "eight_bit_states": _Words("8-bit optimizer states: --optimizer adamw8bit", "a little of each step's exactness"),
    "optimizer_in_backward": _Words(
        "the optimizer in the backward pass", "no accumulation, no clipping of gradients, bf16 in place of fp16"
    ),
    "recomputing": _Words("activation checkpointing and offloading", "up to a third more time a step, and more"),
    "chunked_loss": _Words("a loss in chunks of tokens (Liger's, Unsloth's)", "nothing but another loss"),
    "smaller_batch": _Words("one sample at a time, more accumulation", "more launches a step"),
    "shorter_samples": _Words(
        "samples of half the size: --tokens, --image-size", "what a shorter sample does not show"
    ),
}


def levers_of(error: NoPlanError) -> tuple[Lever, ...]:
    """Return what would save where nothing fits, the most first."""
    return tuple(lever_of(saving) for saving in error.savings)


def lever_of(saving: Saving) -> Lever:
    """Return a way of the planner's with what it costs."""
    words = _WORDS[saving.name]
    return Lever(name=saving.name, saves_gib=rounded_gib(saving.num_bytes), how=words.how, costs=words.costs)


# What a lever changes of the question, where it can be asked for.
_CHANGES: dict[str, dict[str, object]] = {
    "qlora": {"task": "qlora"},
    "half_weights": {"task": "lora"},
    "eight_bit_states": {"optimizer": "adamw8bit"},
}


def verified(
    row: CardAnswer, question: Question, ask: Callable[[dict[str, Any]], FitAnswer], say: Callable[[str], None]
) -> CardAnswer:
    """Return the row with its levers tried out, where a question can ask for them.

    Args:
        row: of what does not fit.
        question: that was asked.
        ask: answers another question about the same network and card.
        say: is told what goes on.
    """
    return row.model_copy(update={"levers": tuple(_tried(lever, question, ask, say) for lever in row.levers)})


def _tried(
    lever: Lever, question: Question, ask: Callable[[dict[str, Any]], FitAnswer], say: Callable[[str], None]
) -> Lever:
    change = _CHANGES.get(lever.name)
    if change is None:
        return lever
    say(f"tries {lever.how}")
    try:
        (then,) = ask({**question.model_dump(exclude_unset=True), **change}).rows
    except EightgigError:  # a library is missing, or the network takes no adapters: the estimate stays
        return lever
    return lever.model_copy(update={"then": then.verdict, "then_gib": then.upper_gib})
