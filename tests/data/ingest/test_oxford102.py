import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from eightgig.core.errors import DataError
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest import oxford102
from eightgig.data.ingest.manifest import build_manifest
from eightgig.data.ingest.oxford102 import read_oxford102


@pytest.fixture
def drawn_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take sets that are made here for the published one."""
    monkeypatch.setattr(oxford102, "_is_published", lambda _: True)


Draw = Callable[[int, int, int], np.ndarray]


def make_set(root: Path, labels: list[int], encode: Callable[..., bytes], smooth_pixels: Draw) -> None:
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, len(labels) + 1):
        (folder / "jpg" / f"image_{number:05d}.jpg").write_bytes(encode(smooth_pixels(number, 30, 40)))
    ids = np.arange(1, len(labels) + 1)
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(folder / "setid.mat", {"trnid": ids[None, 0::3], "valid": ids[None, 1::3], "tstid": ids[None, 2::3]})


@pytest.mark.usefixtures("drawn_sets")
def test_a_set_of_the_same_layout(tmp_path: Path, encode: Callable[..., bytes], smooth_pixels: Draw) -> None:
    make_set(tmp_path, [77, 1, 49, 77, 1, 49, 77, 1, 49, 49], encode, smooth_pixels)
    folders = read_oxford102(tmp_path, allow_download=False)
    assert folders.classes == ("oxeye daisy", "passion flower", "pink primrose")
    by_class = {name: [p for p, label in folders.files if folders.classes[label] == name] for name in folders.classes}
    assert by_class["passion flower"] == [f"jpg/image_0000{n}.jpg" for n in (1, 4, 7)]
    assert by_class["pink primrose"] == [f"jpg/image_0000{n}.jpg" for n in (2, 5, 8)]
    manifest, rejects = build_manifest(folders, DataParameters(source="oxford102", root=str(tmp_path)))
    assert (len(manifest), len(rejects)) == (10, 0)


@pytest.mark.usefixtures("drawn_sets")
def test_labels_out_of_range_are_refused(tmp_path: Path, encode: Callable[..., bytes], smooth_pixels: Draw) -> None:
    make_set(tmp_path, [1, 2, 103, 0], encode, smooth_pixels)
    with pytest.raises(DataError, match=r"labels must be 1 to 102, found \[0, 103\]"):
        read_oxford102(tmp_path)


def test_a_broken_label_file_is_named(tmp_path: Path, encode: Callable[..., bytes], smooth_pixels: Draw) -> None:
    make_set(tmp_path, [1, 2], encode, smooth_pixels)
    (tmp_path / "flowers-102" / "imagelabels.mat").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"imagelabels.mat: wanted the labels of Oxford 102"):
        read_oxford102(tmp_path)


def test_labels_of_somebody_else_never_reach_scipy(
    tmp_path: Path, encode: Callable[..., bytes], smooth_pixels: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader crashes the interpreter over some damaged files."""
    make_set(tmp_path, [1, 2], encode, smooth_pixels)
    monkeypatch.setattr(oxford102, "loadmat", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"as its authors publish them \(MD5 e0620be6.*found another file\. Fetch it"):
        read_oxford102(tmp_path)


def test_without_files_and_download_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"allow_download is off\. Put 102flowers\.tgz"):
        read_oxford102(tmp_path, allow_download=False)


def test_a_failing_download_tells_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(oxford102, "download_url", fail)
    with pytest.raises(DataError, match=r"could not be fetched \(no route to host\)\. Put 102flowers\.tgz"):
        read_oxford102(tmp_path)


def test_an_archive_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"0" * 100)
    with tarfile.open(tmp_path / "102flowers.tgz", "w:xz") as archive:
        archive.add(tmp_path / "image", "image")
    with pytest.raises(DataError, match=r"102flowers.tgz: cannot be unpacked \(not a gzip file\)"):
        oxford102.unpack(tmp_path / "102flowers.tgz", tmp_path / "out")
