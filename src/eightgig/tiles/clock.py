"""How long each part of the work takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up seconds by name.

    Attributes:
        seconds: by name of the stage.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("read", "run", "blend", "write"), 0.0)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what the block takes to `stage`; one thread at a time works on a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begun
