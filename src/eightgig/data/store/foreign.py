"""HDF5 files that anyone may have written: they lead nowhere else, are no larger than they are, and come to an end.

HDF5 follows whatever stands in a file: links and data elsewhere, sizes of petabytes, and (tried: 2.0) the heap in which
texts of any length lie, which has no checksum: over an object of no length it reads for ever, and it makes room for any
length that is named. Stores hold texts of fixed lengths (see `hdf5_files`); a file with others is refused unread.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FAULTS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What h5py and numpy raise of a damaged file."""
_OWN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MOST_TIMES_PACKED = 1100  # deflate does not get below 1/1032


def open_foreign(path: Path) -> h5py.File:
    """Return the file, opened for reading; it can be used by a `with` block.

    Raises:
        FAULTS: it cannot be opened, or has what HDF5 might not come to an end with.
    """
    file = h5py.File(path, "r")
    try:
        if any(kind.hasobject for kind in _types(file)):
            raise ValueError("it has texts of any length, as earlier versions wrote them and nobody can read safely")
    except BaseException:
        file.close()
        raise
    return file


def plain_dataset(file: h5py.File, name: str, kinds: tuple[str, ...] = (), *, is_packed: bool = False) -> h5py.Dataset:
    """Return a dataset whose bytes lie in this very file, no more of them than there can be.

    Args:
        file: opened.
        name: of the dataset, directly in it.
        kinds: of numbers that it may hold; none given, whatever it holds.
        is_packed: whether it may lie in pieces, packed by HDF5's own filters; otherwise it is one block.

    Raises:
        FAULTS: says what it is instead.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"'{name}' is missing or is a link to elsewhere")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or _is_elsewhere(dataset) or (dataset.chunks and not is_packed):
        raise ValueError(f"'{name}' is not stored as {'a column' if is_packed else 'one block'} inside the file")
    file_bytes = Path(file.filename).stat().st_size
    most = min(file_bytes, dataset.id.get_storage_size()) * _MOST_TIMES_PACKED if dataset.chunks else file_bytes
    if dataset.nbytes > most:
        raise ValueError(f"'{name}' declares {dataset.nbytes} bytes, the file has {file_bytes}")
    if kinds and dataset.dtype not in [np.dtype(kind) for kind in kinds]:
        raise ValueError(f"'{name}' has type {dataset.dtype}")
    return dataset


def _is_elsewhere(dataset: h5py.Dataset) -> bool:
    """Tell whether its bytes lie in another file, or are made by code that this project does not know."""
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(place)[0] for place in range(creation.get_nfilters())}
    return dataset.is_virtual or bool(dataset.external) or bool(filters - _OWN_FILTERS)


def _types(file: h5py.File) -> Iterator[np.dtype[Any]]:
    """Yield the types of all that is directly in the file; no value is read."""
    yield from (file.attrs.get_id(name).dtype for name in file.attrs)
    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset):
            yield file[name].dtype
