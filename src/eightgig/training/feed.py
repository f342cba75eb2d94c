"""Windows of micro-batches for one process, from any place of an epoch, and past a loader process that died."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch.utils.data import DataLoader

from eightgig.core.errors import TrainingError
from eightgig.data.loader import share_of, with_workers
from eightgig.training.objective import Batch
from eightgig.training.ranks import Ranks

logger = logging.getLogger(__name__)
_WORKER_IS_GONE = re.compile(r"DataLoader worker .*(killed|exited)|DataLoader timed out")


@dataclass(frozen=True)
class Window:
    """What one optimizer step is for.

    Attributes:
        batches: micro-batches of this process; of several processes the last window may have none for some.
        count: samples of the whole window, of all processes together.
    """

    batches: list[Batch]
    count: int


class Feed:
    """An epoch's windows, each with the micro-batches of this process.

    What a window holds depends on the epoch and the place in it alone. So when a loader process dies the loader is
    started again with half as many, once, and goes on with the window that was missing.

    Args:
        batches: of all processes together, a micro-batch at a time; its sampler is a `KeyedSampler`.
        accumulation: micro-batches of one process in a window.
        ranks: which of how many processes this is.

    Attributes:
        num_samples: of an epoch.
    """

    def __init__(self, batches: DataLoader[Batch], *, accumulation: int, ranks: Ranks) -> None:
        self.num_samples = len(batches.sampler)  # type: ignore[arg-type]
        self._batches = share_of(batches, ranks.index, ranks.count)
        self._accumulation = accumulation
        self._window_samples = (batches.batch_size or 1) * accumulation * ranks.count
        self._restarted = False

    def windows_after(self, done: int) -> int:
        """Give how many windows of an epoch are left after `done` samples."""
        return -(-(self.num_samples - done) // self._window_samples)

    def windows(self, epoch: int, done: int = 0) -> Iterator[Window]:
        """Yield the windows of an epoch after the first `done` samples.

        Raises:
            TrainingError: loader processes died again and again.
        """
        while done < self.num_samples:
            try:
                for window in self._windows(epoch, done):
                    yield window
                    done += window.count
            except RuntimeError as error:
                if not _WORKER_IS_GONE.search(str(error)):
                    raise
                self._start_again(error)

    def _windows(self, epoch: int, done: int) -> Iterator[Window]:
        self._batches.sampler.set_epoch(epoch, done)  # type: ignore[attr-defined]
        batches = iter(self._batches)
        while done < self.num_samples:
            count = min(self._window_samples, self.num_samples - done)
            yield Window(list(islice(batches, self._accumulation)), count)
            done += count

    def _start_again(self, error: RuntimeError) -> None:
        workers = self._batches.num_workers
        why = str(error).partition("\n")[0]
        if self._restarted:
            raise TrainingError(
                f"a loader process died or went silent again ({why}). Most likely the machine's memory or /dev/shm is "
                "full (see `make doctor`): set train.num_workers to 0, or a smaller train.batch_size. The run goes on "
                "from its last checkpoint."
            ) from error
        self._restarted = True
        logger.warning(
            "a loader process died or went silent (%s). Most likely the machine's memory or /dev/shm is full. Loading "
            "goes on with %d processes instead of %d, with the same batches.",
            why,
            workers // 2,
            workers,
        )
        self._batches = with_workers(self._batches, workers // 2)
