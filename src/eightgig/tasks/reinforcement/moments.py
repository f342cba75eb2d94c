"""Mean and deviation of a stream of observations."""

import numpy as np
from numpy.typing import NDArray

_SMALLEST_VARIANCE = 1e-8


class RunningMoments:
    """Mean and variance of all that was seen, batch by batch (Chan et al., 1979)."""

    def __init__(self, size: int) -> None:
        self.mean, self.sum_of_squares, self.count = np.zeros(size), np.zeros(size), 0

    def see(self, batch: NDArray[np.float32]) -> None:
        """Add a batch (N, size)."""
        if not len(batch):
            return
        values = batch.astype(np.float64)
        mean, total = values.mean(0), self.count + len(values)
        apart = mean - self.mean
        self.sum_of_squares += ((values - mean) ** 2).sum(0) + apart**2 * self.count * len(values) / total
        self.mean += apart * len(values) / total
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """The deviation; 1 before anything was seen."""
        if not self.count:
            return np.ones_like(self.mean)
        deviation: NDArray[np.float64] = np.sqrt(self.sum_of_squares / self.count + _SMALLEST_VARIANCE)
        return deviation
