"""Windows of micro-batches for one process, from any place of an epoch, and past a loader process that died."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch.utils.data import DataLoader

from eightgig.core.errors import TrainingError
from eightgig.data.images.loader import share_of, with_workers
from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.objective import Batch

logger = logging.getLogger(__name__)
_WORKER_IS_GONE = re.compile(r"DataLoader worker .*(killed|exited)|DataLoader timed out|Pin memory thread exited")
LOADING_ERRORS = (RuntimeError, ConnectionError, EOFError)
"""What a loader raises when one of its processes is gone: in the middle of handing over a batch the last two."""


@dataclass(frozen=True)
class AccumulationWindow:
    """What one optimizer step is for.

    Attributes:
        batches: micro-batches of this process; of several processes the last window may have none for some.
        count: samples of the whole window, of all processes together.
    """

    batches: list[Batch]
    count: int


class SteadyLoader:
    """A loader that is started again with half as many processes, once, when one of them dies.

    Attributes:
        batches: the loader as it is now.
    """

    def __init__(self, batches: DataLoader[Batch]) -> None:
        self.batches = batches
        self._restarted = False

    def start_again(self, error: Exception) -> None:
        """Take another loader of the same batches after an error that says that a process is gone; any other is raised.

        Raises:
            TrainingError: it is the second time.
        """
        workers = self.batches.num_workers
        if not _says_that_a_worker_is_gone(error, workers):
            raise error
        why = str(error).partition("\n")[0] or type(error).__name__
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
        self.batches = with_workers(self.batches, workers // 2)


def _says_that_a_worker_is_gone(error: Exception, workers: int) -> bool:
    if isinstance(error, RuntimeError):
        return _WORKER_IS_GONE.search(str(error)) is not None
    # What a data set itself raised in a process comes with these words, and would come again.
    return workers > 0 and "in DataLoader worker process" not in str(error)


class EpochIterator:
    """An epoch's windows, each with the micro-batches of this process.

    What a window holds depends on the epoch and the place in it alone. So when a loader process dies the loader is
    started again, and goes on with the window that was missing.

    Args:
        batches: of all processes together, a micro-batch at a time; its sampler is a `KeyedSampler`.
        gradient_accumulation_steps: micro-batches of one process in a window.
        process_group: which of how many processes this is.

    Attributes:
        num_samples: of an epoch.
    """

    def __init__(
        self, batches: DataLoader[Batch], *, gradient_accumulation_steps: int, process_group: ProcessGroup
    ) -> None:
        self.num_samples = len(batches.sampler)  # type: ignore[arg-type]
        self._loader = SteadyLoader(share_of(batches, process_group.share, process_group.num_shares))
        self._accumulation = gradient_accumulation_steps
        self._window_samples = (batches.batch_size or 1) * gradient_accumulation_steps * process_group.num_shares

    def windows_after(self, done: int) -> int:
        """Return how many windows of an epoch are left after `done` samples."""
        return -(-(self.num_samples - done) // self._window_samples)

    def windows(self, epoch: int, done: int = 0) -> Iterator[AccumulationWindow]:
        """Yield the windows of an epoch after the first `done` samples.

        Raises:
            TrainingError: loader processes died again and again.
        """
        while done < self.num_samples:
            try:
                for window in self._windows(epoch, done):
                    yield window
                    done += window.count
            except LOADING_ERRORS as error:
                self._loader.start_again(error)

    def _windows(self, epoch: int, done: int) -> Iterator[AccumulationWindow]:
        self._loader.batches.sampler.set_epoch(epoch, done)  # type: ignore[attr-defined]
        batches = iter(self._loader.batches)
        while done < self.num_samples:
            count = min(self._window_samples, self.num_samples - done)
            yield AccumulationWindow(list(islice(batches, self._accumulation)), count)
            done += count
