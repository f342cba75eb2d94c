"""One validation shared out among processes: each sample is judged once, and the figures are those of one process."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader

from eightgig.data.images.loader import share_of
from eightgig.training.batch_splitter import BatchSplitter
from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.objective import Batch, Objective


class SharedValidation:
    """The batches of a validation that one process judges, and how all of them come together.

    Args:
        batches: of the whole validation; their sampler is a `KeyedSampler`.
        process_group: which of how many processes this is.
        is_shared: whether each judges its share, and not everything.
        in_step: whether all have to run the network equally often, as FSDP2 wants.

    Attributes:
        batches: of this process.
        is_shared: as given.
    """

    def __init__(
        self, batches: DataLoader[Batch], process_group: ProcessGroup, *, is_shared: bool, in_step: bool
    ) -> None:
        self.is_shared, self._group, self._in_step = is_shared, process_group, in_step
        self._rounds = -(-len(batches) // process_group.count)
        self.batches = share_of(batches, process_group.index, process_group.count) if is_shared else batches

    @torch.no_grad()
    def figures(
        self, objective: Objective, module: nn.Module, batches: Iterable[Batch], splitter: BatchSplitter
    ) -> dict[str, float]:
        """Return the figures of all processes' batches, in the order that one process has them in.

        Args:
            objective: that is judged by batch.
            module: as it runs.
            batches: of this process, as they are loaded.
            splitter: cuts them to what fits.
        """
        judge: Any = objective
        module.eval()
        splitter.begin()
        own: list[list[Any]] = []
        for batch in batches:
            own.append([judge.judge(module, piece, self._group.device) for piece in splitter.of(batch)])
        if self._in_step and len(own) < self._rounds:  # once more, for the others' sake; it does not count
            for piece in splitter.of(batch):
                judge.judge(module, piece, self._group.device)
        figures: dict[str, float] = judge.figures(list(self._together(own)))
        return figures

    def _together(self, own: list[list[Any]]) -> Iterator[Any]:
        shares: list[Any] = [None] * self._group.count
        torch.distributed.all_gather_object(shares, tree_map_only(Tensor, Tensor.cpu, own))
        for row in zip_longest(*shares, fillvalue=()):
            for pieces in row:
                yield from pieces
