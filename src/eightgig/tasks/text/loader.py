"""Batches of tokens from a store, padded as little as may be, the same with any number of workers."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eightgig.core.seeding import seed_from
from eightgig.data.images.loader import Key, KeyedSampler, keyed_loader
from eightgig.data.store.tokens import TokenStore

Batch = dict[str, Tensor]
_POOL_BATCHES = 50


class LengthSampler(KeyedSampler):
    """Gives each index once an epoch, so that batches cut from its order hold samples of about one length.

    The epoch's order is cut into pools of 50 batches, each pool is sorted by length, and the batches are mixed: what is
    next to what changes from epoch to epoch, and no batch can be told by its place.

    Args:
        indices: positions in the store.
        lengths: of all samples of the store.
        batch_size: samples a batch.
        seed: decides the order.
    """

    def __init__(self, indices: Sequence[int], *, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        super().__init__(indices, seed=seed)
        self._lengths, self._batch_size, self._order_seed = lengths, batch_size, seed

    def __iter__(self) -> Iterator[Key]:
        offset, self.offset = self.offset, 0
        mixed = [index for _, index in super().__iter__()]
        self.offset = offset
        size, pool = self._batch_size, self._batch_size * _POOL_BATCHES
        ordered: list[int] = []
        for start in range(0, len(mixed), pool):
            ordered += sorted(mixed[start : start + pool], key=lambda index: int(self._lengths[index]))
        batches = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        short = [batches.pop()] if batches and len(batches[-1]) < size else []  # stays last, for a loader cuts by count
        generator = torch.Generator().manual_seed(seed_from(self._order_seed, "batches", self.epoch))
        places = torch.randperm(len(batches), generator=generator).tolist()
        order = [index for batch in ([batches[place] for place in places] + short) for index in batch]
        return ((self.epoch, index) for index in order[offset:])


class TokenBatches(Dataset[Batch]):
    """Whole batches of a store, by keys; a DataLoader asks for a batch at a time.

    Args:
        store: where the tokens are.
        max_tokens: longer samples are cut; None keeps them.
        pad_to: length of every sample; None pads to the longest of the batch.
        pad_id: fills up; None where all samples are of one length, and then there is no mask.
    """

    def __init__(
        self, store: TokenStore, *, max_tokens: int | None = None, pad_to: int | None = None, pad_id: int | None = 0
    ) -> None:
        self.store = store
        self._max_tokens, self._pad_to, self._pad_id = max_tokens, pad_to, pad_id

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return the samples of `keys`: `input_ids` and `attention_mask` (int64 NT), `labels` and `indices` (int64 N).

        Raises:
            StoreError: a sample is damaged; the message names it.
        """
        indices_N = [index for _, index in keys]
        samples = [self.store.tokens(index)[: self._max_tokens] for index in indices_N]
        batch = {"indices": torch.tensor(indices_N)}
        if self._pad_id is None:
            batch["input_ids"] = torch.from_numpy(np.stack(samples))
        else:
            batch["input_ids"], batch["attention_mask"] = self._padded(samples, self._pad_id)
        if self.store.labels is not None:
            batch["labels"] = torch.from_numpy(self.store.labels[indices_N])
        return batch

    def _padded(self, samples: list[NDArray[np.int64]], pad_id: int) -> tuple[Tensor, Tensor]:
        width = self._pad_to or max(1, *(len(sample) for sample in samples))
        ids_NT = torch.full((len(samples), width), pad_id, dtype=torch.int64)
        mask_NT = torch.zeros_like(ids_NT)
        for row, sample in enumerate(samples):
            ids_NT[row, : len(sample)] = torch.from_numpy(sample)
            mask_NT[row, : len(sample)] = 1
        return ids_NT, mask_NT


def token_batches(
    store: TokenStore,
    indices: Sequence[int],
    *,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    persistent_workers: bool = True,
    max_tokens: int | None = None,
    buckets: bool = True,
    pad_to: int | None = None,
    pad_id: int | None = 0,
) -> DataLoader[Batch]:
    """Return a DataLoader of the samples `indices`; call `loader.sampler.set_epoch(epoch)` before each epoch.

    Args:
        store: where the tokens are.
        indices: positions in the store.
        batch_size: samples a batch; the last may have fewer.
        shuffle: whether each epoch has its own order; otherwise it is that of `indices`.
        seed: of the order.
        num_workers: processes that read; 0 reads in this one.
        pin_memory: whether batches lie in page-locked memory.
        persistent_workers: whether the processes wait for the next epoch; else they end with each.
        max_tokens: longer samples are cut.
        buckets: whether shuffled batches hold samples of about one length.
        pad_to: as `TokenBatches`.
        pad_id: as `TokenBatches`.
    """
    sampler = KeyedSampler(indices, seed=seed, shuffle=shuffle)
    if shuffle and buckets:
        sampler = LengthSampler(indices, lengths=store.lengths, batch_size=batch_size, seed=seed)
    batches = TokenBatches(store, max_tokens=max_tokens, pad_to=pad_to, pad_id=pad_id)
    return keyed_loader(
        batches,
        sampler,
        batch_size=batch_size,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=persistent_workers,
    )
