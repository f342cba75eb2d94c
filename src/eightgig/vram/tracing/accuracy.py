"""How far predictions lie from measured runs, by kind of network: the range that a prediction comes with.

The shares are kept in one file, `accuracy.json`, with the runs that they are from (`make bench-scoreboard`).
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.allocator.events import AllocationTrace

NetworkKind = Literal["convolutions", "attention", "recurrent"]
"""Attention stands for all that is made of matrix products: transformers, MLPs."""
PACKAGED = Path(__file__).parent / "accuracy.json"
# A vision transformer cuts its patches by one convolution, or by a stem of up to three.
_MOST_OF_A_STEM = 3
_FORWARD = {"forward", "validate"}
_RECURRENT = ("_thnn_fused", "_cudnn_rnn", "lstm", "gru")


class StatedRange(Record):
    """What predictions of one kind of network stand for.

    Attributes:
        above: 95 % of the runs took no more than the prediction and this share of it.
        num_runs: that it was made from; 0 where there are none of this kind.
        source: of the runs.
    """

    above: float
    num_runs: int
    source: str


class Accuracy(Record):
    """The ranges of all kinds, and how they were made."""

    how: str
    kinds: dict[NetworkKind, StatedRange]


@lru_cache(maxsize=1)
def load_accuracy() -> Accuracy:
    """Return the packaged ranges."""
    return Accuracy.model_validate(json.loads(PACKAGED.read_text(encoding="utf-8")))


def kind_of(trace: AllocationTrace) -> NetworkKind:
    """Return the kind whose range counts for a trace.

    What convolutions take beside tensors is cuDNN's choice, which no tensor shows: a network that has more of them than
    a stem is of their kind, whatever else it has.
    """
    ops = [cost.name.removeprefix("aten::") for cost in trace.costs if cost.phase in _FORWARD]
    if ops.count("convolution") > _MOST_OF_A_STEM:
        return "convolutions"
    return "recurrent" if any(name.startswith(_RECURRENT) for name in ops) else "attention"
