"""A large store in several files reads as one, and writing goes on after a kill."""

import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eightgig.core.errors import StoreError
from eightgig.data.store import rules as store_rules
from eightgig.data.store import spool
from eightgig.data.store.format import Codec
from eightgig.data.store.reader import ImageStore, is_complete, write_store
from eightgig.data.store.rules import Payload
from eightgig.data.store.shards import read_parts
from eightgig.data.store.spool import fill_spool


@pytest.fixture
def images(make_folders, manifest_of):
    """Return (root, manifest) of 40 images."""
    root = make_folders(daisy=20, rose=20)
    return root, manifest_of(root)[0]


def write(path, images, shards=4, **options):
    root, manifest = images
    shard_bytes = int(manifest["byte_count"].sum()) // shards if shards else None
    write_store(path, manifest, root, ("daisy", "rose"), shard_bytes=shard_bytes, **options)
    return ImageStore(path)


def test_shards_read_as_one(tmp_path, images):
    one, several = write(tmp_path / "one" / "s.h5", images, shards=None), write(tmp_path / "s.h5", images)
    assert 4 <= len(list(tmp_path.glob("store-*/*.h5"))) <= 6
    assert (several.classes, several.paths, several.kind) == (one.classes, one.paths, one.kind)
    assert np.array_equal(several.labels, one.labels)
    assert np.array_equal(several.shapes, one.shapes)
    for index in range(40):
        assert several.read_bytes(index) == one.read_bytes(index)
        assert np.array_equal(several.decode(index), one.decode(index))
    several.verify()
    with pytest.raises(IndexError, match="there is no image 40; it holds 0 to 39"):
        several.decode(40)
    assert is_complete(tmp_path / "s.h5")
    assert not list(tmp_path.glob(".s.h5.parts"))


def test_the_same_again_reads_no_image_and_another_replaces_it(tmp_path, images, monkeypatch):
    first = write(tmp_path / "s.h5", images)
    monkeypatch.setattr(store_rules, "_read", lambda _: pytest.fail("it read an image"))
    told = []
    write(tmp_path / "s.h5", images, progress=lambda done, _: told.append(done))
    assert told[-1] == 40
    monkeypatch.undo()
    root, manifest = images
    second = write(tmp_path / "s.h5", (root, manifest.iloc[:30]))
    assert len(second) == 30
    assert second.sha256 != first.sha256
    assert len(list(tmp_path.glob("store-*"))) == 1
    third = write(tmp_path / "s.h5", images, shards=None)
    assert len(third) == 40
    assert not list(tmp_path.glob("store-*"))


def test_a_missing_or_exchanged_shard_is_named(tmp_path, images):
    store = write(tmp_path / "s.h5", images)
    first, second, *_ = sorted(tmp_path.glob("store-*/*.h5"))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreError, match=rf"its part {first.parent.name}/00000\.h5 is not the one that it lists"):
        ImageStore(store.path)
    first.unlink()
    with pytest.raises(StoreError, match=r"00000\.h5 is missing\. Run the ingest stage again"):
        ImageStore(store.path)
    assert not is_complete(store.path)
    first.write_bytes(kept)
    assert ImageStore(store.path).sha256 == store.sha256


def test_the_same_again_mends_only_the_shard_that_was_damaged(tmp_path, images, monkeypatch):
    store = write(tmp_path / "s.h5", images)
    first, second, *_ = sorted(tmp_path.glob("store-*/*.h5"))
    content = second.read_bytes()
    num_images = len(ImageStore(second))
    place = read_parts(second)[0].start + 5
    second.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(StoreError, match=r"is damaged: .* Run the ingest stage again"):
        store.verify()
    opened, read = [], store_rules._read
    monkeypatch.setattr(store_rules, "_read", lambda source: opened.append(source) or read(source))
    write(tmp_path / "s.h5", images).verify()
    assert len(opened) == num_images
    assert second.read_bytes() == content
    assert first.is_file()


@pytest.mark.parametrize("change", ["file", "rules", "nothing"])
def test_masks_that_changed_are_stored_anew(tmp_path, images, change):
    """The manifest tells nothing of what is in a mask."""
    root, manifest = images
    (root / "mask.png").write_bytes(b"1")
    manifest = manifest.assign(mask_path="mask.png")
    labels, asked = np.zeros((40, 50), np.uint8), []

    def write_masks(rules):
        asked.clear()
        masks = lambda path: asked.append(path) or labels  # noqa: E731
        write_store(tmp_path / "s.h5", manifest, root, ("a", "b"), masks=masks, mask_rules=rules, shard_bytes=9_000)

    write_masks("table")
    if change == "file":
        (root / "mask.png").write_bytes(b"22")
    labels += 1
    write_masks("other table" if change == "rules" else "table")
    assert len(asked) == (0 if change == "nothing" else 40)
    store = ImageStore(tmp_path / "s.h5")
    store.verify()
    assert store.mask(30).max() == (0 if change == "nothing" else 1)
    assert len(list(tmp_path.glob("store-*"))) == 1


def test_a_list_that_leads_elsewhere_is_refused(tmp_path, images):
    import h5py

    store = write(tmp_path / "s.h5", images)
    with h5py.File(store.path, "r+") as file:
        file["shards"][0] = "../../etc/00000.h5"
    with pytest.raises(StoreError, match="the list of its parts is damaged"):
        ImageStore(store.path)


SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    import pandas as pd
    from eightgig.data.store import rules as store_rules
    from eightgig.data.store.reader import write_store
    folder, stop, short_side = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None
    manifest = pd.read_pickle(folder / "manifest")
    read, opened = store_rules._read, []
    def counting(source):
        opened.append(source.path.name)
        return read(source)
    store_rules._read = counting
    def progress(done, _):
        if done == stop:
            os.kill(os.getpid(), signal.SIGKILL)
    shard_bytes = int(manifest["byte_count"].sum()) // 4
    write_store(folder / "out" / "s.h5", manifest, folder / "photos", ("daisy", "rose"), shard_bytes=shard_bytes,
        short_side=short_side, progress=progress)
    print(*opened)
"""


def run(folder, stop, short_side):
    arguments = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), str(stop), str(short_side)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("short_side", [0, 20])
def test_a_killed_writer_is_gone_on_with(tmp_path, make_folders, manifest_of, short_side):
    """Killed at 60 %: what was spooled is not read again, and the store is that of an undisturbed run, byte by byte."""
    root = make_folders(daisy=100, rose=100)
    manifest = manifest_of(root)[0]
    manifest.to_pickle(tmp_path / "manifest")
    killed = run(tmp_path, 120, short_side)
    assert killed.returncode == -signal.SIGKILL
    ended = run(tmp_path, 0, short_side)
    assert ended.returncode == 0, ended.stderr
    opened = Counter(ended.stdout.split())
    assert sum(opened.values()) <= 80 + 32
    disturbed = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*.h5")}
    (tmp_path / "out").rename(tmp_path / "disturbed")
    assert run(tmp_path, 0, short_side).returncode == 0
    undisturbed = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*.h5")}
    assert len(undisturbed) > 4
    assert disturbed == undisturbed


def test_a_spool_whose_end_was_lost_is_mended(tmp_path):
    """As after a power cut: bytes that the journal tells of are not, or not all, on the disk."""
    payloads = [Payload(bytes([number]) * 50, Codec.FILE, b"m" * number) for number in range(100)]
    made = []
    numbers: Any = range(100)  # what `make` is given of each source

    def make(number):
        made.append(number)
        return payloads[number]

    whole = fill_spool(tmp_path / "a.spool", numbers, make, lambda: None)
    content = (tmp_path / "a.spool").read_bytes()
    for damage in (content[:3000], content[:2000] + b"x" + content[2001:], b""):
        (tmp_path / "a.spool").write_bytes(damage)
        made.clear()
        assert fill_spool(tmp_path / "a.spool", numbers, make, lambda: None) == whole
        assert (tmp_path / "a.spool").read_bytes() == content
        assert 0 < len(made) <= 100
    journal = (tmp_path / "a.journal").read_bytes()
    (tmp_path / "a.journal").write_bytes(journal[: 10 * spool._ROW.size + 7])
    made.clear()
    assert fill_spool(tmp_path / "a.spool", numbers, make, lambda: None) == whole
    assert made == list(range(10, 100))


def test_a_full_disk_leaves_nothing(tmp_path, images, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eightgig.data.store.writer.fill_spool", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write(tmp_path / "s.h5", images)
    assert [path.name for path in tmp_path.iterdir() if "s.h5" in path.name] == [".s.h5.lock"]


def test_a_shard_holds_at_least_one_image(tmp_path, images):
    root, manifest = images
    write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"), shard_bytes=1)
    assert len(list(tmp_path.glob("store-*/*.h5"))) == 40
    assert len(ImageStore(tmp_path / "s.h5")) == 40


def test_boxes_keep_to_their_images(tmp_path, images):
    root, manifest = images
    rows = [(index, 0, 1.0, 2.0, 10.0 + index, 20.0) for index in range(0, 40, 3)]
    boxes = pd.DataFrame(rows, columns=["index", "label", "x1", "y1", "x2", "y2"])
    write_store(tmp_path / "s.h5", manifest, root, ("thing",), boxes=boxes, shard_bytes=5_000)
    store = ImageStore(tmp_path / "s.h5")
    assert len(list(Path(tmp_path).glob("store-*/*.h5"))) > 2
    for index in range(40):
        wanted = [[1.0, 2.0, 10.0 + index, 20.0]] if index % 3 == 0 else []
        assert store.boxes(index).xyxy_M4.tolist() == wanted
