"""What the network's numbers are worth: read, judged and compared in the same way whatever ran it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eightgig.export.evaluator import Comparison, EvaluatorOfAll
from eightgig.export.runners import Arrays

_SAME = 0.01  # of the range of the reference's numbers: nearer ones look the same on any figure


class RegressionEvaluator(EvaluatorOfAll):
    """A number an image; an `eightgig.export.evaluator.Evaluator`."""

    output, score_name = "values", "R²"

    def predictions(self, outputs: Arrays) -> list[float]:
        """Return each image's number."""
        return [float(value) for value in outputs[self.output][:, 0]]

    def quality(self, predictions: Sequence[float], targets: Sequence[float]) -> dict[str, float]:
        """Return R², and the mean absolute error."""
        found = errors_of(predictions, targets)
        return {self.score_name: found["r2"], "mae": found["mae"]}

    def compare(self, reference: Sequence[float], found: Sequence[float]) -> Comparison:
        """Return the largest difference as a share of the reference's range, and how many numbers are the same."""
        wanted = np.asarray(reference, np.float64)
        # A reference that says one number alone has no range: its size stands for it.
        span = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
        differences = np.abs(np.asarray(found, np.float64) - wanted) / span
        return Comparison(difference=float(differences.max()), agreement=float((differences <= _SAME).mean()))


def errors_of(found: npt.ArrayLike, wanted: npt.ArrayLike) -> dict[str, float]:
    """Return `r2` (where all that is wanted is equal 0, or 1 if it is met, as scikit-learn has it) and `mae`."""
    wanted = np.asarray(wanted, np.float64)
    errors, spread = np.asarray(found, np.float64) - wanted, float(np.square(wanted - wanted.mean()).sum())
    squared = float(np.square(errors).sum())
    return {"r2": 1 - squared / spread if spread else float(not squared), "mae": float(np.abs(errors).mean())}
