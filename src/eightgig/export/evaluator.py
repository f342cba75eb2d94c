"""What a network's outputs mean: read, judged and compared in the same way whatever ran it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from eightgig.core.records import Record
from eightgig.export.runners import Arrays

Prediction = Any
"""What a network says of one sample: probabilities_K of a classifier, `Detections` of a detector."""
Target = Any
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


class Judge(Protocol):
    """Takes answers batch by batch, and holds no more of them than its measures need."""

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Target]) -> None:
        """Take the answers to some samples, and what is right for each."""

    def quality(self) -> dict[str, float]:
        """Return shares, 0 to 1, by name; the first is the score."""


class Comparer(Protocol):
    """Takes the answers of two runners batch by batch, and holds no more of them than the comparison needs."""

    def add(self, reference: Sequence[Prediction], found: Sequence[Prediction]) -> None:
        """Take both answers to some samples."""

    def comparison(self) -> Comparison:
        """Return how far `found` is from `reference`."""


class Evaluator(Protocol):
    """The task that all forms of one network do.

    Attributes:
        output: the name of the graph's output.
        score_name: what a judge gives first, in the field's words: it decides which form may be used.
    """

    output: str
    score_name: str

    def predictions(self, outputs: Arrays) -> list[Prediction]:
        """Return an answer a sample, from a runner's outputs."""

    def judge(self) -> Judge:
        """Return what tells how right one runner is."""

    def comparer(self) -> Comparer:
        """Return what tells how far one runner is from another."""


class EvaluatorOfAll(ABC):
    """What evaluators answer alike whose measures want all answers together; for answers that are small."""

    @abstractmethod
    def quality(self, predictions: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
        """Return the figures of all samples by name; the first is the score."""

    @abstractmethod
    def compare(self, reference: Sequence[Any], found: Sequence[Any]) -> Comparison:
        """Return how far the answers found are from those of the reference."""

    def judge(self) -> Judge:
        """Return what judges all samples together."""
        return JudgeOfAll(self.quality)

    def comparer(self) -> Comparer:
        """Return what compares all samples together."""
        return ComparerOfAll(self.compare)


class JudgeOfAll:
    """A judge whose measure wants all answers together; for answers that are small.

    Args:
        measure: gives the quality of answers by their truths.
    """

    def __init__(self, measure: Callable[[Sequence[Prediction], Sequence[Target]], dict[str, float]]) -> None:
        self._measure = measure
        self._predictions, self._targets = list[Prediction](), list[Target]()

    def add(self, predictions: Sequence[Prediction], targets: Sequence[Target]) -> None:
        """Keep them."""
        self._predictions.extend(predictions)
        self._targets.extend(targets)

    def quality(self) -> dict[str, float]:
        """Return the measure of all."""
        return self._measure(self._predictions, self._targets)


class ComparerOfAll:
    """A comparer whose measure wants all answers together; for answers that are small.

    Args:
        measure: compares the answers found with those of the reference.
    """

    def __init__(self, measure: Callable[[Sequence[Prediction], Sequence[Prediction]], Comparison]) -> None:
        self._measure = measure
        self._reference, self._found = list[Prediction](), list[Prediction]()

    def add(self, reference: Sequence[Prediction], found: Sequence[Prediction]) -> None:
        """Keep them."""
        self._reference.extend(reference)
        self._found.extend(found)

    def comparison(self) -> Comparison:
        """Return the measure of all."""
        return self._measure(self._reference, self._found)
