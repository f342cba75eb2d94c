"""HDF5 stores that somebody made to reach for other files, or to make HDF5 read for ever: every reader refuses them.

That a store of images keeps its labels inside, and at their size, is in tests/data/store/test_hdf5_store.py.
"""

import shutil
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import StoreError
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore

DATASETS = {
    "images": ("jpeg", "offsets", "labels", "shapes", "codecs", "crc32", "classes", "paths"),
    "list": ("shards", "sha256"),
    "tokens": ("tokens", "offsets", "num_bytes", "paths", "tokenizer", "labels", "texts", "text_offsets"),
}
READ: dict[str, Any] = {"images": ImageStore, "list": ImageStore, "tokens": TokenStore}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return a store of images, a list of such, and a store of tokens, by kind."""
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(0)
    for name in ("cup", "pen"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.jpg")
    root = folder / "photos"
    manifest, _ = build_manifest(scan_class_folders(root), DataParameters(root=str(root)))
    write_store(folder / "images" / "s.h5", manifest, root, ("cup", "pen"))
    write_store(folder / "list" / "s.h5", manifest, root, ("cup", "pen"), shard_bytes=3_000)
    TokenContent(
        tokens=[[1, 2], [3]], labels=[0, 1], texts=["one", "two"], num_bytes=[3, 3], paths=["a", "b"],
        classes=("no", "yes"), tokenizer_json=train_bpe(["a text"], vocab_size=260), vocab_size=300, max_tokens=8,
    ).write(folder / "tokens" / "s.h5")  # fmt: skip
    return {kind: folder / kind / "s.h5" for kind in DATASETS}


@pytest.fixture
def changed(stores, tmp_path):
    """Return a copy of a store after a change by h5py."""

    def make(kind, change):
        shutil.copytree(stores[kind].parent, tmp_path / kind)
        with h5py.File(tmp_path / kind / "s.h5", "r+") as file:
            change(file)
        return tmp_path / kind / "s.h5"

    return make


def external_link(file, name):
    file[name] = h5py.ExternalLink("/etc/passwd", "/aside")


def soft_link(file, name):
    file[name] = h5py.SoftLink("/aside")


def external_data(file, name):
    file.create_dataset(name, file["aside"].shape, file["aside"].dtype, external=[("/etc/passwd", 0, 1 << 30)])


def virtual_data(file, name):
    layout = h5py.VirtualLayout(file["aside"].shape, file["aside"].dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", name, file["aside"].shape)
    file.create_virtual_dataset(name, layout)


def group(file, name):
    file.create_group(name)


def petabytes(file, name):
    file.create_dataset(name, (1 << 50, *file["aside"].shape[1:]), file["aside"].dtype)


def petabytes_in_pieces(file, name):
    file.create_dataset(name, (1 << 50, *file["aside"].shape[1:]), file["aside"].dtype, chunks=True)


def strange_filter(file, name):
    file.create_dataset(name, data=file["aside"][...], compression="lzf")


HOSTILE = (
    external_link, soft_link, external_data, virtual_data, group, petabytes, petabytes_in_pieces, strange_filter,
)  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE, ids=lambda how: how.__name__)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in DATASETS.items() for name in names])
def test_no_dataset_leads_out_of_its_file_or_is_larger(changed, kind, name, how):
    def change(file):
        file.copy(name, "aside")
        del file[name]
        how(file, name)

    path = changed(kind, change)
    with pytest.raises(StoreError, match=str(path)):
        READ[kind](path)


def test_the_stores_are_read_as_they_are(stores):
    """Or the tests above would prove nothing."""
    for kind, path in stores.items():
        assert len(READ[kind](path)) == (2 if kind == "tokens" else 6)


@pytest.mark.parametrize("kind", ["images", "list", "tokens"])
@pytest.mark.parametrize("is_dataset", [True, False])
def test_texts_of_any_length_are_refused_unread(changed, kind, is_dataset, monkeypatch):
    """Over a damaged heap of them HDF5 2.0 reads for ever; earlier versions of this project wrote such stores."""

    def change(file):
        if is_dataset:
            file.create_dataset("note", data=["of any length"], dtype=h5py.string_dtype())
        else:
            file.attrs["note"] = "of any length"

    path = changed(kind, change)
    read = []
    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", lambda _, name: read.append(name))
    with pytest.raises(StoreError, match=r"it has texts of any length.*(Run the ingest stage|Ingest) again"):
        READ[kind](path)
    assert read == []


def test_new_stores_have_no_heaps(stores):
    for path in stores.values():
        assert b"GCOL" not in path.read_bytes()
