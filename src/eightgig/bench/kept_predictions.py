"""The reference's answers, for variants that are compared with it one after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eightgig.export.evaluator import Evaluator, Prediction
from eightgig.export.runners import Arrays, Runner


class KeptAnswers:
    """Gives the reference's answers to batches, and keeps as many as there is room for; others it is asked for again.

    A language model's are gigabytes a benchmark, a classifier's some kilobytes.

    Args:
        reference: an open runner.
        evaluator: reads its outputs.
        room_bytes: for answers that are kept.
    """

    def __init__(self, reference: Runner, evaluator: Evaluator, *, room_bytes: int) -> None:
        self._reference, self._evaluator, self._room = reference, evaluator, room_bytes
        self._kept: dict[int, list[Prediction]] = {}

    def predictions(self, number: int, feeds: Arrays) -> Sequence[Prediction]:
        """Return the answers to one batch.

        Args:
            number: of the batch, the same in every pass.
            feeds: its inputs.
        """
        if number in self._kept:
            return self._kept[number]
        predictions = self._evaluator.predictions(self._reference.run(feeds))
        size = sum(map(_bytes_of, predictions))
        if size <= self._room:
            self._kept[number] = predictions
            self._room -= size
        return predictions


def _bytes_of(answer: Any) -> int:
    """Return what an answer holds: an array, or a tuple of some."""
    if isinstance(answer, tuple):
        return sum(map(_bytes_of, answer))
    return answer.nbytes if isinstance(answer, np.ndarray) else 0
