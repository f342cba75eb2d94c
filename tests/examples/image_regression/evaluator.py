"""What the network's numbers are worth: read, judged and compared in the same way whatever ran it."""

from collections.abc import Sequence

import numpy as np

from eightgig.export.evaluator import Comparer, ComparerOfAll, Comparison, Judge, JudgeOfAll
from eightgig.export.runners import Arrays
from eightgig.tasks.image_regression.objective import quality

_SAME = 0.01  # of the range of the reference's numbers: nearer ones look the same on any figure


class RegressionEvaluator:
    """A number an image; an `eightgig.export.evaluator.Evaluator`."""

    output, score_name = "values", "R²"

    def predictions(self, outputs: Arrays) -> list[float]:
        """Return each image's number."""
        return [float(value) for value in outputs[self.output][:, 0]]

    def judge(self) -> Judge:
        """Return what judges all images together."""
        return JudgeOfAll(quality)

    def comparer(self) -> Comparer:
        """Return what compares all images together."""
        return ComparerOfAll(compare)


def compare(reference: Sequence[float], found: Sequence[float]) -> Comparison:
    """Return the largest difference as a share of the reference's range, and how many numbers are the same."""
    wanted = np.asarray(reference, np.float64)
    # A reference that says one number alone has no range: its size stands for it.
    span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    differences = np.abs(np.asarray(found, np.float64) - wanted) / span
    return Comparison(difference=float(differences.max()), agreement=float((differences <= _SAME).mean()))
