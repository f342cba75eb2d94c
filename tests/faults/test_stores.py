"""Rows 5 to 8 and 31 of the fault table: what happens to a store, and to the HDF5 files beside it."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.present import present

from eightgig.core.errors import StoreError
from eightgig.data.images.loader import ImageBatches, KeyedSampler, keyed_loader
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store import tokens as token_store
from eightgig.data.store.reader import ImageStore, is_complete, write_store
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.tasks.text.loader import TokenBatches

pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals, limits and fork"),
]
REFUSED = 3
FULL = [(task, when) for task in ("images", "tokens", "probabilities") for when in ("before", "after_check")]
FULL += [("images", "at_row"), ("images", "before_index")]


def full(task, when, how, folder):
    """Return the case of a store for which there is no room, from a moment on."""
    place = f"full_{when}", 10 if when == "at_row" else True
    limit = {"limit": 60_000 if when == "before" else 2_000} if how == "limit" else {}
    return {"task": task, "path": str(folder / f"{task}-{when}" / "store.h5"), place[0]: place[1], **limit}


@pytest.fixture(scope="module")
def run_all(store_victim, quietly):
    """Do all cases, one after the other, in one go."""

    def run(cases, wrapped=lambda command: command):
        done = subprocess.run(
            wrapped(store_victim(cases)), check=False, capture_output=True, text=True, env=quietly, timeout=240
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def full_disks(run_all, on_small_disk, tmp_path_factory):
    """Return what became of each store for which there was no room: on the small disk there was an older one."""
    found = {}
    limited = [full(task, when, "limit", tmp_path_factory.mktemp("limit")) for task, when in FULL]
    found.update(zip([("limit", *key) for key in FULL], run_all(limited), strict=True))
    if on_small_disk is not None:
        folder = tmp_path_factory.mktemp("disk")
        cases = [full(task, when, "disk", folder) for task, when in FULL]
        older = [{"task": case["task"], "path": case["path"], "content": "old"} for case in cases]
        results = run_all([*older, *cases], lambda command: on_small_disk(command, folder))
        found.update(zip([("disk", *key) for key in FULL], results[len(older) :], strict=True))
    return found


@pytest.mark.parametrize("how", ["limit", "disk"])
@pytest.mark.parametrize(("task", "when"), FULL)
def test_row_05_disk_full_while_writing_hdf5(full_disks, how, task, when):
    """The interpreter ends with the code for an ordinary error (1 of kedro, here 3), never with a crash (139)."""
    if (how, task, when) not in full_disks:
        pytest.skip("this system does not let us mount a small disk")
    result = full_disks[how, task, when]
    assert result["exit"] == REFUSED, result["told"]
    assert len(result["told"].splitlines()) == 1, "nothing but the message: no traceback, nothing `ignored`"
    assert re.search(rf"{task}-{when}/store\.h5: .* \d+ bytes \(", result["told"])
    wanted = (
        "(only|a file of that size is refused)" if when == "before" else "writing failed after the space was checked"
    )
    assert re.search(wanted, result["told"])
    left = [name for name in result["files"] if name != ".store.h5.lock"]
    assert left == (["store.h5"] if how == "disk" else [])
    if task != "probabilities":
        assert result["content"].startswith("old" if how == "disk" else "none: ")


def test_row_06_sigkill_while_writing_hdf5(run_all, tmp_path):
    """Killed after each image and in place of each write of HDF5's, over an older store and without one."""
    kills = [("images", {"kill_at_row": row}) for row in (1, 4, 10)]
    kills += [("images", {"kill_at_write": number}) for number in (1, 2, 5, 9, 13)]
    kills += [("tokens", {"kill_at_write": number}) for number in (1, 2, 5, 9, 13)]
    cases = []
    for place, (task, fault) in enumerate(kills):
        new = {"task": task, "path": str(tmp_path / f"new-{place}" / "store.h5")}
        over = {"task": task, "path": str(tmp_path / f"over-{place}" / "store.h5")}
        cases += [{**new, **fault}, new, {**over, "content": "old"}, {**over, **fault}, over]
    results = iter(run_all(cases))
    for _ in kills:
        killed, again, old, killed_over, replaced = (next(results) for _ in range(5))
        assert killed["exit"] == killed_over["exit"] == -signal.SIGKILL
        assert killed["content"].startswith("none: ")
        assert "store.h5" not in killed["files"]
        assert old["content"] == killed_over["content"] == "old"
        for done in (again, replaced):
            assert done["content"] == "new"
            assert done["files"] == [".store.h5.lock", "store.h5"], "what the killed one left is gone"


@pytest.fixture
def images(photos, tmp_path):
    return write_images(photos / "new", tmp_path / "images.h5")


def write_images(root, path):
    folders = scan_class_folders(root)
    manifest, _ = build_manifest(folders, DataParameters(root=str(root)))
    write_store(path, manifest, root, folders.classes)
    return path


@pytest.fixture
def tokens(tmp_path):
    return write_tokens(tmp_path / "tokens.h5")


def write_tokens(path):
    count = 10
    TokenContent(
        tokens=[np.arange(20) + number for number in range(count)],
        labels=[number % 2 for number in range(count)],
        texts=[f"text {number}" for number in range(count)],
        num_bytes=[6] * count,
        paths=[f"{number}.txt" for number in range(count)],
        classes=("no", "yes"),
        tokenizer_json=train_bpe(["a"], vocab_size=257),
        vocab_size=257,
        max_tokens=20,
    ).write(path)
    return path


def all_of_images(path):
    store = ImageStore(path)
    images = [store.read_bytes(index) for index in range(len(store))]
    return images, store.labels.tolist(), store.classes, store.paths, store.shapes.tolist()


def all_of_tokens(path):
    store = TokenStore(path)
    samples = [(store.tokens(index).tolist(), store.text(index)) for index in range(len(store))]
    rest = store.num_bytes.tolist(), store.paths, store.classes, store.vocab_size, store.max_tokens
    return samples, present(store.labels).tolist(), *rest, store.tokenizer_json


@pytest.mark.parametrize(("kind", "read"), [("images", all_of_images), ("tokens", all_of_tokens)])
def test_row_07_bit_flip_in_hdf5(request, tmp_path, kind, read):
    """One bit of 250 bytes all over the file, one at a time: HDF5's own structures, index and data alike."""
    path = request.getfixturevalue(kind)
    content, changed = path.read_bytes(), tmp_path / "changed.h5"
    assert read(path)
    places = np.linspace(0, len(content) - 1, 250).astype(int).tolist()
    unseen = []
    for number, place in enumerate(places):
        changed.write_bytes(content[:place] + bytes([content[place] ^ 1 << number % 8]) + content[place + 1 :])
        try:
            read(changed)
            unseen.append(place)
        except StoreError as error:
            assert "changed.h5" in str(error)
    assert unseen == []


def test_row_08_two_writers_of_one_image_store(wait_in_the_middle, photos, tmp_path):
    path = tmp_path / "out" / "store.h5"
    winner, go_on = wait_in_the_middle({"task": "images", "path": str(path), "hold_at_row": 4})
    with pytest.raises(StoreError, match=rf"store\.h5: wanted to write it, but process {winner} is writing it now"):
        write_images(photos / "old", path)
    assert not is_complete(path)
    ended = go_on()
    assert (ended["exit"], ended["content"]) == (0, "new")


def test_row_08_two_writers_of_one_token_store(wait_in_the_middle, tmp_path):
    path = tmp_path / "out" / "store.h5"
    winner, go_on = wait_in_the_middle({"task": "tokens", "path": str(path), "hold_at_write": 2})
    with pytest.raises(StoreError, match=rf"store\.h5: wanted to write it, but process {winner} is writing it now"):
        write_tokens(path)
    assert not token_store.is_complete(path)
    ended = go_on()
    assert (ended["exit"], ended["content"]) == (0, "new")


def test_row_08_file_locking_is_never_switched_off(project_path, tokens):
    """Whoever would write into a store that is being read is refused by HDF5 itself."""
    sources = [
        *(project_path / "src").rglob("*.py"),
        project_path / "Makefile",
        *(project_path / "conf").rglob("*.yml"),
    ]
    assert not [path for path in sources if re.search(r"HDF5_USE_FILE_LOCKING|\blocking=", path.read_text())]
    store = TokenStore(tokens)
    store.tokens(0)
    code = f"import h5py; h5py.File({str(tokens)!r}, 'r+')"
    other = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "BlockingIOError" in other.stderr


def reader_of(kind, path):
    """Return a data set of whole batches, and how many samples it has."""
    if kind == "tokens":
        return TokenBatches(TokenStore(path)), 10
    return ImageBatches(ImageStore(path), image_size=32, augment=None, seed=0), 10


def descriptors_of(path):
    """Return this process's open descriptors of a file."""
    names = {int(each.name): each for each in Path("/proc/self/fd").iterdir()}
    return [number for number, name in names.items() if name.exists() and name.readlink() == path]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into Linux's /proc")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_row_31_each_forked_worker_opens_its_own_file(request, kind):
    """A place in a file is shared by all who share its opening: so no worker's may be this process's."""
    path = request.getfixturevalue(kind)
    data, count = reader_of(kind, path)
    reader: Any = type(data)
    expected = data[0, 3]
    ours = descriptors_of(path)
    assert ours, "opened before the fork"
    for number in ours:
        os.lseek(number, 7, os.SEEK_SET)

    class Watched(reader):
        def __getitems__(self, keys):
            batch = super().__getitems__(keys)
            theirs = descriptors_of(path)
            assert theirs, "the worker has the file open"
            for number in theirs:
                os.lseek(number, 99, os.SEEK_SET)
            return batch

    data.__class__ = Watched
    loader = keyed_loader(
        data,
        KeyedSampler(range(count), seed=0, shuffle=False),
        batch_size=1,
        num_workers=4,
        multiprocessing_context="fork",
    )
    batches = list(loader)
    assert [os.lseek(number, 0, os.SEEK_CUR) for number in ours] == [7] * len(ours)
    assert len(batches) == count
    for name, values in expected.items():
        assert np.array_equal(batches[3][name], values)


def test_row_31_a_spawned_process_opens_its_own_file(images, tokens):
    store, texts = ImageStore(images), TokenStore(tokens)
    expected = (
        [store.read_bytes(index) for index in range(10)],
        [texts.tokens(index).tolist() for index in range(10)],
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(store.read_bytes, range(10)), [ids.tolist() for ids in pool.map(texts.tokens, range(10))]
    assert found == expected
