"""The Oxford 102 flowers, in the layout that torchvision's `Flowers102` makes below a folder."""

import tarfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat  # type: ignore[import-untyped, unused-ignore]
from torchvision.datasets import Flowers102
from torchvision.datasets.utils import check_integrity, download_url

from eightgig.core.errors import DataError
from eightgig.core.units import GIB, format_bytes
from eightgig.data.ingest.folders import ClassFolders

FOLDER = "flowers-102"
_LABELS_MD5 = Flowers102._file_dict["label"][1]
_MAX_FILES = 20_000  # the archive has 8,190 entries
_MAX_BYTES = 1 * GIB  # and unpacks to 0.35 GiB


def read_oxford102(root: Path, *, allow_download: bool = True) -> ClassFolders:
    """Return the flowers below `root`/flowers-102 by class; the set's own three splits are merged.

    Raises:
        DataError: the files are not there and cannot be fetched, or their labels do not fit.
    """
    folder = root / FOLDER
    if not _is_there(folder):
        _download(folder, allow_download)
    labels_N = _read_labels(folder)
    present = sorted(set(labels_N.tolist()))
    classes = tuple(Flowers102.classes[label - 1] for label in present)
    # Labels follow the alphabet, as for class folders.
    names = tuple(sorted(classes))
    files = sorted(
        (names.index(Flowers102.classes[label - 1]), f"jpg/image_{number:05d}.jpg")
        for number, label in enumerate(labels_N.tolist(), start=1)
    )
    return ClassFolders(folder, names, tuple((path, label) for label, path in files))


def _is_there(folder: Path) -> bool:
    return (folder / "jpg").is_dir() and all((folder / name).is_file() for name in ("imagelabels.mat", "setid.mat"))


def _read_labels(folder: Path) -> npt.NDArray[np.int64]:
    """Read labels 1 to 102, one an image, as the set's authors number them."""
    path = folder / "imagelabels.mat"
    if not _is_published(path):  # scipy's reader of such files crashes over damaged ones
        raise DataError(
            f"{path}: wanted the labels of Oxford 102 as its authors publish them (MD5 {_LABELS_MD5}), found another "
            "file. Fetch it again."
        )
    labels_N = loadmat(path, squeeze_me=True)["labels"].astype(np.int64)
    outside = sorted(set(labels_N.tolist()) - set(range(1, 103)))
    if outside:
        raise DataError(f"{path}: labels must be 1 to 102, found {outside[:5]}. Fetch the file again.")
    return np.atleast_1d(labels_N)


def _is_published(path: Path) -> bool:
    return check_integrity(str(path), _LABELS_MD5)


def _download(folder: Path, allow_download: bool) -> None:
    way_out = (
        f"Put 102flowers.tgz (unpacked: the folder jpg), imagelabels.mat and setid.mat into {folder}; they are at "
        f"{Flowers102._download_url_prefix}"
    )
    if not allow_download:
        raise DataError(f"{folder}: Oxford 102 is not there, and data.allow_download is off. {way_out}")
    try:
        for name, md5 in Flowers102._file_dict.values():
            download_url(f"{Flowers102._download_url_prefix}{name}", str(folder), md5=md5)
        unpack(folder / "102flowers.tgz", folder)
    except (OSError, RuntimeError, DataError) as error:
        raise DataError(f"{folder}: Oxford 102 could not be fetched ({error}). {way_out}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack with limits on names, count and size; torchvision's own unpacking has none.

    Raises:
        DataError: it is no archive, larger than the set, or reaches out of the folder.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:  # by its own kind alone: xz makes room for whatever it is told
            _refuse_large(archive, tar)
            tar.extractall(folder, filter="data")
    except (OSError, EOFError, zlib.error, ValueError, ArithmeticError, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}). Fetch it again.") from error


def _refuse_large(archive: Path, tar: tarfile.TarFile) -> None:
    """Count entries as they come: to skip a huge one would already unpack it."""
    num_bytes = 0
    for number, member in enumerate(tar, start=1):
        num_bytes += member.size
        if number > _MAX_FILES or num_bytes > _MAX_BYTES:
            raise DataError(f"{archive}: holds {number} files of {format_bytes(num_bytes)}, far more than the set.")
