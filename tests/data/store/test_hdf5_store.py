"""Rows 5 to 8 and 31 of the reliability notes, and what the store promises besides."""

import hashlib
import json
import multiprocessing
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.present import present

from eightgig.core.errors import StoreError
from eightgig.data.images.decoding import decode_rgb
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.store import writer as store_writer
from eightgig.data.store.files import text_attribute
from eightgig.data.store.reader import ImageStore, is_complete, write_store
from eightgig.data.store.shards import read_parts

MakeStore = Callable[..., ImageStore]
MakeFolders = Callable[..., Path]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")


def leftovers(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir() if p.name.startswith(f".{path.name}") and p.suffix == ".tmp"]


def writer_script(root: Path, path: Path, on_progress: str) -> str:
    """Return a program that ingests `root` into `path` and runs `on_progress` after each image (`done` of `all`)."""
    return textwrap.dedent(f"""
        import os, resource, signal, sys, time
        from pathlib import Path
        from eightgig.core.errors import StoreError
        from eightgig.data.ingest.folders import scan_class_folders
        from eightgig.data.store.reader import write_store
        from eightgig.data.ingest.manifest import build_manifest
        from eightgig.data.images.parameters import DataParameters
        root, path = Path({str(root)!r}), Path({str(path)!r})
        folders = scan_class_folders(root)
        manifest, _ = build_manifest(folders, DataParameters(root=str(root)))
        def progress(done, all): {on_progress}
        try:
            write_store(path, manifest, root, folders.classes, progress=progress)
        except StoreError as error:
            print(error)
            sys.exit(3)
        """)


def run_writer(root: Path, path: Path, on_progress: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", writer_script(root, path, on_progress)], check=False, capture_output=True, text=True
    )


def test_a_store_gives_the_files_back(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    root = tmp_path / "photos"
    assert len(store) == 10
    assert store.classes == ("daisy", "rose")
    assert store.labels.dtype == np.int64
    assert store.labels.tolist() == [0] * 5 + [1] * 5
    assert store.shapes.tolist() == [[40, 50]] * 10
    for index, source in enumerate(store.paths):
        data = (root / source).read_bytes()
        assert store.read_bytes(index) == data
        assert np.array_equal(store.decode(index), decode_rgb(data))
    store.verify()
    assert is_complete(store.path)
    with pytest.raises(IndexError, match="it holds 0 to 9"):
        store.read_bytes(10)


def test_the_layout_is_one_plain_block(make_store: MakeStore) -> None:
    with h5py.File(make_store().path) as file:
        assert file["jpeg"].chunks is None
        assert file["jpeg"].compression is None
        assert file["jpeg"].dtype == np.uint8
        assert bool(file.attrs["complete"])


def test_any_kind_of_image_is_decoded_as_at_ingest(
    tmp_path: Path, make_folders: MakeFolders, manifest_of: Callable[..., tuple], encode: Callable[..., bytes]
) -> None:
    root = make_folders(daisy=4, rose=4)
    image = Image.open(root / "daisy" / "0.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("cmyk", {}), ("turned", {"exif": exif}), ("grey", {})):
        mode = {"cmyk": "CMYK", "grey": "L"}.get(name, "RGB")
        (root / "daisy" / f"{name}.jpg").write_bytes(encode(image.rotate(90).convert(mode), "JPEG", **options))
    (root / "rose" / "see_through.png").write_bytes(encode(image.rotate(9).convert("LA"), "PNG"))
    manifest, _ = manifest_of(root)
    write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"))
    store = ImageStore(tmp_path / "s.h5")
    assert len(store) == 12
    for index, source in enumerate(store.paths):
        expected = decode_rgb((root / source).read_bytes())
        assert np.array_equal(store.decode(index), expected), source
        assert store.shapes[index].tolist() == list(expected.shape[:2])


def test_large_images_can_be_stored_smaller(
    tmp_path: Path, make_folders: MakeFolders, manifest_of: Callable[..., tuple]
) -> None:
    root = make_folders(height=90, width=120, daisy=4, rose=4)
    manifest, _ = manifest_of(root)
    write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"), short_side=60)
    store = ImageStore(tmp_path / "s.h5")
    assert store.shapes.tolist() == [[60, 80]] * 8
    original = Image.open(root / store.paths[0]).resize((80, 60), Image.Resampling.BOX)
    assert np.abs(store.decode(0).astype(int) - np.asarray(original)).mean() < 4
    write_store(tmp_path / "same.h5", manifest, root, ("daisy", "rose"), short_side=90)
    assert ImageStore(tmp_path / "same.h5").read_bytes(0) == (root / store.paths[0]).read_bytes()


def test_the_decoded_tier_holds_pixels(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(tier="decoded", decoded_side=32)
    assert store.shapes.tolist() == [[32, 32]] * 10
    with h5py.File(store.path) as file:
        assert file["pixels"].shape == (10, 32, 32, 3)
        assert np.array_equal(file["pixels"][3], store.decode(3))
    middle = Image.open(tmp_path / "photos" / store.paths[3]).crop((5, 0, 45, 40)).resize((32, 32))
    assert np.abs(store.decode(3).astype(int) - np.asarray(middle)).mean() < 4


def test_every_changed_byte_is_seen(make_store: MakeStore) -> None:
    """Row 7: 300 of 300, wherever in the images' data."""
    store = make_store()
    (part,) = read_parts(store.path)
    start, offsets = part.start, part.index.offsets
    content = bytearray(store.path.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, offsets[-1], 300).tolist():
        bit = 1 << int(rng.integers(8))
        index = int(np.searchsorted(offsets, position, side="right")) - 1
        with store.path.open("r+b") as file:
            file.seek(start + position)
            file.write(bytes([content[start + position] ^ bit]))
        with pytest.raises(StoreError, match=rf"image {index} \(from .*jpg\) is damaged: its bytes do not have"):
            store.read_bytes(index)
        with store.path.open("r+b") as file:
            file.seek(start + position)
            file.write(content[start + position : start + position + 1])
    store.verify()


def test_verify_names_the_damaged_image(make_store: MakeStore) -> None:
    store = make_store()
    with store.path.open("r+b") as file:
        (part,) = read_parts(store.path)
        file.seek(part.start + int(part.index.offsets[7]) + 5)
        file.write(b"\0\0\0")
    with pytest.raises(StoreError, match=r"store\.h5: image 7 \(from rose/2\.jpg\)"):
        store.verify()


@pytest.mark.parametrize("name", ["labels", "offsets", "shapes", "codecs", "crc32", "classes", "paths"])
def test_a_changed_index_is_seen(make_store: MakeStore, name: str) -> None:
    path = make_store().path
    with h5py.File(path, "r+") as file:
        values = file[name][...]
        file[name][...] = values[::-1]
        if name in ("shapes", "codecs"):
            file[name][0] = 2
    with pytest.raises(StoreError, match="image store is damaged"):
        ImageStore(path)
    assert not is_complete(path)


def test_what_is_no_store_is_refused(tmp_path: Path, make_store: MakeStore) -> None:
    with pytest.raises(StoreError, match="there is no image store"):
        ImageStore(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match="cannot be read as one"):
        ImageStore(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(StoreError, match="not an image store of this project"):
        ImageStore(tmp_path / "other.h5")
    path = make_store().path
    content = path.read_bytes()
    for share in (0.2, 0.7, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        assert not is_complete(path)


def test_an_unfinished_store_is_refused(make_store: MakeStore) -> None:
    """Row 6."""
    path = make_store().path
    with h5py.File(path, "r+") as file:
        file.attrs.modify("complete", False)
    with pytest.raises(StoreError, match="its writing was not finished"):
        ImageStore(path)


def test_storage_outside_the_file_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    path = make_store().path
    labels, size = ImageStore(path).labels, path.stat().st_size
    (tmp_path / "secret").write_bytes(bytes(80))

    def replace_labels(how: Callable[[h5py.File], None]) -> Path:
        changed = tmp_path / "changed.h5"
        shutil.copy(path, changed)
        with h5py.File(changed, "r+") as file:
            del file["labels"]
            how(file)
        return changed

    def external(file: h5py.File) -> None:
        file.create_dataset("labels", (10,), "<i8", external=[(str(tmp_path / "secret"), 0, 80)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((10,), "<i8")
        layout[:] = h5py.VirtualSource(str(path), "labels", (10,))
        file.create_virtual_dataset("labels", layout)

    def link(file: h5py.File) -> None:
        file["labels"] = h5py.ExternalLink(str(path), "labels")

    def soft_link(file: h5py.File) -> None:
        file["real"] = labels
        file["labels"] = h5py.SoftLink("/real")

    def compressed(file: h5py.File) -> None:
        file.create_dataset("labels", data=labels, compression="gzip")

    def enormous(file: h5py.File) -> None:
        file.create_dataset("labels", (1 << 50,), "<i8")

    for how in (external, virtual, link, soft_link, compressed, enormous):
        with pytest.raises(StoreError, match=r"'labels' (is|declares)"):
            ImageStore(replace_labels(how))
    assert path.stat().st_size == size


def test_a_store_can_be_pickled_and_read_by_threads(make_store: MakeStore) -> None:
    store = make_store()
    expected = [store.read_bytes(index) for index in range(10)]
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301
    assert [copy.read_bytes(index) for index in range(10)] == expected
    assert copy.sha256 == store.sha256
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.read_bytes, [i % 10 for i in range(200)])) == expected * 20


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_store_opened_before_a_fork_works_after_it(make_store: MakeStore) -> None:
    """Row 31; `test_loader` spawns workers."""
    store = make_store()
    expected = [store.read_bytes(index) for index in range(10)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(store.read_bytes, range(10)) == expected
    assert store.read_bytes(3) == expected[3]


def test_reading_works_without_pread(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    store = make_store()
    expected = [store.read_bytes(index) for index in range(10)]
    monkeypatch.delattr("os.pread", raising=False)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.read_bytes, [i % 10 for i in range(100)])) == expected * 10


def test_writing_is_repeatable_and_replaces(make_store: MakeStore) -> None:
    first = make_store()
    second = make_store()
    assert first.sha256 == second.sha256
    assert leftovers(first.path) == []


@posix_only
def test_a_killed_writer_leaves_no_store(make_folders: MakeFolders, tmp_path: Path) -> None:
    """Row 6: SIGKILL after some rows, then a good run."""
    root, path = make_folders(daisy=5, rose=5), tmp_path / "out" / "store.h5"
    killed = run_writer(root, path, "done == 4 and os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(leftovers(path)) == 1
    assert run_writer(root, path, "None").returncode == 0
    assert len(ImageStore(path)) == 10
    assert leftovers(path) == []


@posix_only
def test_a_killed_writer_keeps_the_old_store(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    killed = run_writer(tmp_path / "photos", store.path, "done == 4 and os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == -signal.SIGKILL
    assert ImageStore(store.path).sha256 == store.sha256


@posix_only
@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_a_full_disk_is_an_ordinary_error(make_folders: MakeFolders, tmp_path: Path, moment: str) -> None:
    """Row 5: HDF5 alone would crash at exit (rc 139) and leave a torso."""
    root, path = make_folders(height=200, width=300, daisy=10, rose=10), tmp_path / "out" / "store.h5"
    path.parent.mkdir()
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))"
    if moment == "before":
        script = writer_script(root, path, "None").replace("try:\n", f"{limit}\ntry:\n", 1)
        ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
        wanted = "a file of that size is refused"
    else:
        ended = run_writer(root, path, f"done == 1 and {limit}")
        wanted = "writing failed after the space was checked"
    assert (ended.returncode, ended.stderr) == (3, "")
    assert wanted in ended.stdout
    assert str(path) in ended.stdout
    assert [p.name for p in path.parent.iterdir()] == [".store.h5.lock"]


def test_too_little_space_is_refused_before_writing(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("eightgig.data.store.writer.shutil.disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(store_writer, "_lay_out", lambda *_: pytest.fail("it wrote"))
    with pytest.raises(StoreError, match=r"store\.h5: the store needs \d+ bytes .* only 1000 bytes"):
        make_store()


@posix_only
def test_of_two_writers_one_wins_and_the_other_names_it(
    make_folders: MakeFolders, manifest_of: Callable[..., tuple], tmp_path: Path
) -> None:
    """Row 8."""
    root, path = make_folders(daisy=5, rose=5), tmp_path / "store.h5"
    manifest, _ = manifest_of(root)
    script = writer_script(root, path, "done == 4 and (print('writing', flush=True), sys.stdin.read())")
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], text=True, **streams) as winner:
        assert present(winner.stdout).readline() == "writing\n"
        with pytest.raises(StoreError, match=rf"store\.h5: wanted to write it, but process {winner.pid} is writing it"):
            write_store(path, manifest, root, ("daisy", "rose"))
        assert not path.exists()
        winner.communicate("go on")
    assert winner.returncode == 0
    assert len(ImageStore(path)) == 10


def test_a_folder_that_cannot_be_written(tmp_path: Path, make_folders: MakeFolders, manifest_of: Callable[..., tuple]):
    root = make_folders(daisy=3, rose=3)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the folder cannot be written .* Choose another folder"):
        write_store(tmp_path / "file" / "store.h5", manifest_of(root)[0], root, ("daisy", "rose"))


def test_images_that_change_meanwhile_stop_the_writing(
    tmp_path: Path, make_folders: MakeFolders, manifest_of: Callable[..., tuple]
) -> None:
    root = make_folders(daisy=3, rose=3)
    manifest, _ = manifest_of(root)
    with (root / "rose" / "1.jpg").open("ab") as file:
        file.write(b"more")
    with pytest.raises(StoreError, match=r"rose/1\.jpg: had \d+ bytes, now \d+"):
        write_store(tmp_path / "store.h5", manifest, root, ("daisy", "rose"))
    (root / "rose" / "1.jpg").unlink()
    with pytest.raises(StoreError, match=r"rose/1\.jpg: cannot be read any more"):
        write_store(tmp_path / "store.h5", manifest, root, ("daisy", "rose"))
    assert not (tmp_path / "store.h5").exists()
    with pytest.raises(StoreError, match="there are no images to store"):
        write_store(tmp_path / "store.h5", manifest.iloc[:0], root, ("daisy", "rose"))


@posix_only
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """The first 50 MB of files fill buffers and bring code in; 150 MB more take next to nothing."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "big.bmp").write_bytes(np.random.default_rng(0).bytes(1_000_000))
    row = {"path": "big.bmp", "label": 0, "codec": "bmp", "height": 500, "width": 600, "byte_count": 1_000_000}
    pd.DataFrame([row] * 200).to_pickle(tmp_path / "manifest")
    script = textwrap.dedent(f"""
        import pandas, psutil
        from pathlib import Path
        from eightgig.data.store.reader import write_store
        folder = Path({str(tmp_path)!r})
        manifest = pandas.read_pickle(folder / "manifest")
        memory = psutil.Process().memory_info
        most = [0, 0]
        def progress(done, all):
            most[done > 50] = max(most[done > 50], memory().rss)
        write_store(folder / "s.h5", manifest, folder / "photos", ("a",), progress=progress)
        assert all(most), most
        print((most[1] - most[0]) / 1e6)
        """)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 20


def test_real_photos(tmp_path: Path, real_flowers: Path, manifest_of: Callable[..., tuple]) -> None:
    manifest, _ = manifest_of(real_flowers)
    start = time.process_time()
    write_store(tmp_path / "s.h5", manifest, real_flowers, scan_class_folders(real_flowers).classes)
    assert time.process_time() - start < 5
    store = ImageStore(tmp_path / "s.h5")
    assert len(store) == len(manifest)
    assert store.path.stat().st_size < 1.02 * manifest["byte_count"].sum()
    assert store.decode(0).shape == (227, 227, 3)


def test_a_store_of_classes_is_what_it_was_before_there_were_boxes(make_store: MakeStore) -> None:
    """The layout and the checksum of version 1, built here by hand."""
    store = make_store()
    names = ("offsets", "labels", "shapes", "codecs", "crc32")
    with h5py.File(store.path) as file:
        assert set(file) == {"jpeg", "classes", "paths", *names}
        assert file.attrs["version"] == 1
        texts = [list(file[name].asstr()[...]) for name in ("classes", "paths")]
        digest = hashlib.sha256(json.dumps(["eightgig-images", 1, "jpeg", *texts]).encode())
        for name in names:
            digest.update(file[name][...].tobytes())
        assert text_attribute(file, "index_sha256") == digest.hexdigest() == store.sha256
    assert (store.kind, store.max_boxes) == ("classes", 0)
    with pytest.raises(StoreError, match="wanted boxes, but this store holds one class an image"):
        store.boxes(0)
