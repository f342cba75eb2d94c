"""One face for every way to run a classifier: images in, logits out, and an honest word on what ran them."""

from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Logits = NDArray[np.float32]


class Runner(Protocol):
    """A network that is loaded and ready; a context manager that gives its memory back.

    `run` returns numpy arrays, so whatever ran on a GPU has ended when it returns.

    """

    @property
    def name(self) -> str:
        """One word for tables."""

    @property
    def precision(self) -> str:
        """`fp32`, `fp16`, `bf16` or `int8`, read from the network and never from its name."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda:0`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def describe(self) -> dict[str, Any]:
        """Give runtime, version, threads and the like, as JSON holds it."""

    def run(self, images_N3HW: Images) -> Logits:
        """Give logits_NK float32 for images as the network wants them (normalised)."""


def softmax(logits_NK: Logits) -> NDArray[np.float64]:
    """Give probabilities_NK in float64, so that comparing them adds no error of its own."""
    shifted = logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
