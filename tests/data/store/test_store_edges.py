"""What is asked of a store at its edges: one image, wrong labels, space, and how far a check has come."""

import shutil

import pandas as pd
import pytest

from eightgig.core.errors import StoreError
from eightgig.data.store.reader import ImageStore, is_complete, write_store


@pytest.fixture
def images(make_folders, manifest_of):
    """Return (root, manifest) of six images in two classes."""
    root = make_folders(daisy=3, rose=3)
    return root, manifest_of(root)[0]


def test_a_check_tells_how_far_it_is(make_store):
    seen = []
    make_store().verify(lambda done, of: seen.append((done, of)))
    assert seen == [(number, 10) for number in range(1, 11)]


def test_writing_tells_how_far_it_is_and_so_does_the_same_again(tmp_path, images):
    root, manifest = images
    seen = []
    for _ in range(2):
        write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"), progress=lambda *told: seen.append(told))
    assert seen == [(number, 6) for number in range(1, 7)] * 2


def test_a_decoded_store_of_one_image(tmp_path, images):
    root, manifest = images
    write_store(tmp_path / "s.h5", manifest.iloc[:1], root, ("daisy", "rose"), tier="decoded", decoded_side=16)
    store = ImageStore(tmp_path / "s.h5")
    assert (len(store), store.labels.tolist(), store.decode(0).shape) == (1, [0], (16, 16, 3))
    assert is_complete(store.path)


def test_boxes_of_no_class_are_refused(tmp_path, images):
    root, manifest = images
    boxes = pd.DataFrame([(0, 0, 1.0, 1.0, 9.0, 9.0), (1, 2, 1.0, 1.0, 9.0, 9.0), (1, -1, 1.0, 1.0, 9.0, 9.0)])
    boxes.columns = pd.Index(["index", "label", "x1", "y1", "x2", "y2"])
    with pytest.raises(StoreError) as caught:
        write_store(tmp_path / "s.h5", manifest, root, ("cup", "pen"), boxes=boxes)
    assert str(caught.value) == (
        f"{tmp_path / 's.h5'}: labels must be 0 to 1, positions in the 2 classes, found 2 (and 1 more). Look at the "
        "manifest, and ingest again."
    )


@pytest.mark.parametrize(
    ("options", "needed", "largest"),
    [
        # 6 images of 32 x 32 x 3 bytes, twice: as spool and as file; their names (4 x 11 + 128 bytes each); 1 MiB.
        ({"tier": "decoded", "decoded_side": 32}, 2 * 18_432 + 1_032 + 1_048_576, 18_432 + 1_032 + 1_048_576),
        # Of 6 files of 500 bytes in shards of 1,000, one shard of two is put together at a time.
        ({"shard_bytes": 1_000}, 3_000 + 1_000 + 1_032 + 1_048_576, 1_000 + 1_032 + 1_048_576),
    ],
)
def test_the_space_that_is_asked_for(tmp_path, images, monkeypatch, options, needed, largest):
    root, manifest = images
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - needed + 1, needed - 1)
    )
    with pytest.raises(StoreError) as caught:
        write_store(tmp_path / "s.h5", manifest.assign(byte_count=500), root, ("daisy", "rose"), **options)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 's.h5'}: the store needs {needed} bytes (1.0 MiB) while it is written, in ")
    assert f"in files of up to {largest} bytes (1.0 MiB), but only {needed - 1} bytes" in message
    assert message.endswith("Free some space, raise the limit, lower data.store_shard_gib, or choose another folder.")


def test_an_image_that_a_store_has_not(make_store):
    store = make_store()
    with pytest.raises(IndexError, match=r"store\.h5: there is no image 10; it holds 0 to 9"):
        store.read_bytes(10)
    with pytest.raises(IndexError, match="there is no image -1"):
        store.decode(-1)


def test_a_store_of_classes_has_neither_boxes_nor_masks(make_store):
    store = make_store()
    with pytest.raises(StoreError) as caught:
        store.boxes(0)
    assert str(caught.value) == (f"{store.path}: wanted boxes, but this store holds one class an image. Ingest boxes.")
    with pytest.raises(StoreError) as caught:
        store.mask(0)
    assert str(caught.value) == f"{store.path}: wanted masks, but this store holds classes. Ingest masks."


@pytest.mark.parametrize("moment", ["_parts_folder", "write_list"])  # the first thing that is made, and the last
def test_a_disk_that_is_full_leaves_nothing(tmp_path, images, monkeypatch, moment):
    root, manifest = images

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"eightgig.data.store.writer.{moment}", full)
    with pytest.raises(StoreError) as caught:
        write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"), shard_bytes=3_000)
    assert str(caught.value).startswith(
        f"{tmp_path / 's.h5'}: writing failed after the space was checked (No space left on device); nothing was left "
        f"there. The store needs {manifest['byte_count'].sum()} bytes ("
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.h5.lock", "photos"]
