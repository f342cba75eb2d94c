"""Three ways to read the range of a tensor from its values."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eightgig.export.int8.parameters import CalibrationMethod, QuantizeParameters

Range = tuple[float, float]
Values = NDArray[np.float32]

_LEVELS = 128  # of one sign, of 8 bits
_BINS = 2048
_BIN_STEP = 16


def read_range(method: CalibrationMethod, whole: Range, values_N: Values, *, parameters: QuantizeParameters) -> Range:
    """Return the range to quantize, which holds 0.

    Args:
        method: how.
        whole: least and largest value of all that were seen.
        values_N: a fair sample of them, finite.
        parameters: the percentile.
    """
    cut: dict[CalibrationMethod, Callable[[], Range]] = {
        "minmax": lambda: whole,
        "percentile": lambda: _percentile(values_N, parameters.percentile),
        "entropy": lambda: _entropy(values_N),
    }
    low, high = cut[method]() if values_N.size else whole
    return min(0.0, max(low, whole[0])), max(0.0, min(high, whole[1]))


def _percentile(values_N: Values, percentile: float) -> Range:
    outside = (100 - percentile) / 2
    low, high = np.percentile(values_N, [outside, 100 - outside])
    return float(low), float(high)


def _entropy(values_N: Values) -> Range:
    """Cut where the values' distribution loses least when it is told in 128 steps, by Kullback-Leibler divergence.

    Zero is always exact, and padding or ReLU make so many that nothing else would count: they are left out.
    """
    sizes = np.abs(values_N[values_N != 0]).astype(np.float64)
    if not sizes.size:
        return 0.0, 0.0
    counts, edges = np.histogram(sizes, bins=_BINS, range=(0.0, float(sizes.max())))  # one value alone has no range
    ends = range(_LEVELS, _BINS + 1, _BIN_STEP)
    threshold = float(edges[min(ends, key=lambda end: _divergence(counts, end))])
    return -threshold, threshold


def _divergence(counts: NDArray[np.integer], end: int) -> float:
    inside = counts[:end].astype(np.float64)
    wanted = inside.copy()
    wanted[-1] += counts[end:].sum()
    starts = np.arange(_LEVELS) * end // _LEVELS
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    level = np.add.reduceat(inside, starts) / np.maximum(filled, 1)
    told = np.repeat(level, np.diff(np.append(starts, end))) * (inside > 0)
    told += 1e-9 * counts.sum()  # what is cut lands in a bin that may be empty
    present = wanted > 0
    wanted, told = wanted / wanted.sum(), told / told.sum()
    return float((wanted[present] * np.log(wanted[present] / told[present])).sum())
