import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.loaders import sampler_of

from eightgig.core.errors import StoreError
from eightgig.data.images.loader import Batch, ImageBatches, Key, KeyedSampler, create_loader
from eightgig.data.images.parameters import AugmentParameters
from eightgig.data.store.reader import ImageStore
from eightgig.data.store.shards import read_parts

MakeStore = Callable[..., ImageStore]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes"),  # on two cores
]


def epoch_of(store: ImageStore, epoch: int = 0, offset: int = 0, **options: Any) -> list[Batch]:
    settings = {"image_size": 24, "batch_size": 3, "augment": AugmentParameters(), "seed": 5, **options}
    loader = create_loader(store, list(range(len(store))), **settings)
    sampler_of(loader).set_epoch(epoch, offset)
    return list(loader)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a[name], b[name])
        for a, b in zip(first, second, strict=True)
        for name in ("images", "labels", "indices")
    )


def test_what_a_batch_is(make_store: MakeStore) -> None:
    store = make_store()
    batches = epoch_of(store)
    assert [len(batch["labels"]) for batch in batches] == [3, 3, 3, 1]
    first = batches[0]
    assert first["images"].shape == (3, 3, 24, 24)
    assert first["images"].dtype == torch.uint8
    assert first["images"].is_contiguous(memory_format=torch.channels_last)
    assert first["labels"].dtype == first["indices"].dtype == torch.int64
    assert first["labels"].tolist() == store.labels[first["indices"]].tolist()
    assert Counter(index for batch in batches for index in batch["indices"].tolist()) == Counter(range(10))
    assert len(epoch_of(store, drop_last=True)) == 3


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_workers_change_nothing(make_store: MakeStore, num_workers: int) -> None:
    store = make_store()
    assert same(epoch_of(store, epoch=2), epoch_of(store, epoch=2, num_workers=num_workers))


def test_spawned_workers_change_nothing(make_store: MakeStore) -> None:
    store = make_store()
    assert same(epoch_of(store), epoch_of(store, num_workers=1, multiprocessing_context="spawn"))


def test_seed_and_epoch_decide(make_store: MakeStore) -> None:
    store = make_store()
    first = epoch_of(store)
    assert same(first, epoch_of(store))
    assert not same(first, epoch_of(store, epoch=1))
    assert not same(first, epoch_of(store, seed=6))


def test_an_epoch_can_go_on_in_its_middle(make_store: MakeStore) -> None:
    store = make_store()
    assert same(epoch_of(store, epoch=1)[2:], epoch_of(store, epoch=1, offset=6))


def test_persistent_workers_follow_the_epoch(make_store: MakeStore) -> None:
    store = make_store()
    loader = create_loader(
        store, range(10), image_size=24, batch_size=3, augment=AugmentParameters(), seed=5, num_workers=2
    )
    for epoch in (0, 1, 2):
        sampler_of(loader).set_epoch(epoch)
        assert same(list(loader), epoch_of(store, epoch=epoch))


def test_without_variation_the_order_stays_and_the_middle_is_shown(make_store: MakeStore) -> None:
    store = make_store(tier="decoded", decoded_side=48)
    batches = epoch_of(store, augment=None, resize_ratio=0.5)
    assert [index for batch in batches for index in batch["indices"].tolist()] == list(range(10))
    middle = store.decode(0)[12:36, 12:36]
    assert np.array_equal(batches[0]["images"][0].permute(1, 2, 0).numpy(), middle)
    assert same(batches, epoch_of(store, epoch=3, augment=None, resize_ratio=0.5))


def test_the_sampler_by_itself() -> None:
    sampler = KeyedSampler([4, 5, 6, 7], seed=1)
    sampler.set_epoch(3)
    keys = list(sampler)
    assert {epoch for epoch, _ in keys} == {3}
    assert sorted(index for _, index in keys) == [4, 5, 6, 7]
    sampler.set_epoch(3, offset=1)
    assert (list(sampler), len(sampler)) == (keys[1:], 3)
    assert list(KeyedSampler([7, 4], seed=1, shuffle=False)) == [(0, 7), (0, 4)]


def test_a_damaged_image_is_named_through_a_worker(make_store: MakeStore) -> None:
    store = make_store()
    with store.path.open("r+b") as file:
        (part,) = read_parts(store.path)
        file.seek(part.start + int(part.index.offsets[7]) + 5)
        file.write(b"\0\0\0")
    for num_workers in (0, 1):
        with pytest.raises(StoreError, match=r"image 7 \(from rose/2\.jpg\) is damaged"):
            epoch_of(store, num_workers=num_workers)


class SlowBatches(ImageBatches):
    def __getitems__(self, keys: list[Key]) -> Batch:
        time.sleep(2)
        return super().__getitems__(keys)


def test_a_silent_worker_ends_in_an_error(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 21."""
    monkeypatch.setattr("eightgig.data.images.loader.ImageBatches", SlowBatches)
    with pytest.raises(RuntimeError, match="timed out after 1"):
        epoch_of(make_store(), num_workers=1, timeout_s=1, prefetch_factor=1)


def test_the_loader_needs_no_hdf5_after_opening(make_store: MakeStore) -> None:
    """A fresh process reads the index, and then h5py holds no file open."""
    path = make_store().path
    code = (
        "import h5py; from eightgig.data.store.reader import ImageStore; "
        f"store = ImageStore({str(path)!r}); store.decode(0); "
        "print(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "0"
    assert Path(path).exists()
