"""One face for every way to run a network: named arrays in, named arrays out, and an honest word on what ran them."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ExportError

Array = NDArray[Any]
Arrays = dict[str, Array]
Feeds = Mapping[str, Array]
Images = NDArray[np.float32]
Logits = NDArray[np.floating]


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
    def computes_in(self) -> str:
        """The precision that really runs: a runtime without fp16 kernels turns an fp16 file into fp32."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda:0`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def describe(self) -> dict[str, Any]:
        """Return runtime, version, threads and the like, as JSON holds it."""

    def run(self, feeds: Feeds) -> Arrays:
        """Return the outputs by name for inputs by name; floats come back as float32.

        Raises:
            ExportError: an input is missing, or the runner was left.
        """


def require_inputs(runner: str, wanted: tuple[str, ...], feeds: Feeds) -> None:
    """Refuse feeds that lack an input. ExportError names both sides."""
    missing = [name for name in wanted if name not in feeds]
    if missing:
        raise ExportError(
            f"runner `{runner}` wants the inputs {', '.join(wanted)}; found {', '.join(feeds) or 'none'}. "
            f"Give it {', '.join(missing)} too."
        )


def softmax(logits_NK: Logits) -> NDArray[np.float64]:
    """Return probabilities_NK in float64, so that comparing them adds no error of its own."""
    shifted = logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
