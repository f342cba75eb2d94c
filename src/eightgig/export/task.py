"""What a network's outputs mean: read, judged and compared in the same way whatever ran it."""

from collections.abc import Sequence
from typing import Any, Protocol

from eightgig.core.records import Record
from eightgig.export.runners import Arrays

Answer = Any
"""What a network says of one sample: probabilities_K of a classifier, `Detections` of a detector."""
Truth = Any
"""What is right for one sample: a class, `Boxes`."""


class Comparison(Record):
    """How far one runner's answers are from another's on the same samples.

    Attributes:
        difference: largest difference of any probability, 0 to 1; what else differs is weighed against it by the task.
        agreement: share of samples with the same answer, 0 to 1.
        min_iou: least overlap of two boxes that are the same; None where there are no boxes.
    """

    difference: float
    agreement: float
    min_iou: float | None = None


class Task(Protocol):
    """The task that all forms of one network do.

    Attributes:
        output: the name of the graph's output.
        score_name: what `quality` gives first, in the field's words: it decides which form may be used.
    """

    output: str
    score_name: str

    def answers(self, outputs: Arrays) -> list[Answer]:
        """Give an answer a sample, from a runner's outputs."""

    def quality(self, answers: Sequence[Answer], truths: Sequence[Truth]) -> dict[str, float]:
        """Give shares, 0 to 1, by name; the first is the score."""

    def compare(self, reference: Sequence[Answer], found: Sequence[Answer]) -> Comparison:
        """Give how far `found` is from `reference`."""
