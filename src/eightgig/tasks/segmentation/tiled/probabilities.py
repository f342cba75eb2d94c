"""Probabilities of all classes of a large image as HDF5, written piece by piece."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import StoreError
from eightgig.core.files import atomic_write, space_shortage
from eightgig.core.units import MIB, format_bytes
from eightgig.data.store.files import HDF5Output, WriteRefusedError

_SIDE = 256


class Probabilities:
    """The dataset `probabilities`, float16 K x height x width, with the attribute `classes`."""

    def __init__(self, file: HDF5Output, dataset: h5py.Dataset) -> None:
        self._file, self._dataset = file, dataset

    def write(self, top: int, left: int, piece_KRC: NDArray[np.float32]) -> None:
        """Write a piece to its place. WriteRefusedError: the disk is full."""
        _, rows, columns = piece_KRC.shape
        self._dataset[:, top : top + rows, left : left + columns] = piece_KRC
        self._file.require_written()


@contextmanager
def open_probabilities(path: Path, classes: tuple[str, ...], height: int, width: int) -> Iterator[Probabilities]:
    """Yield a writer of the file at `path`, which appears when the block ends well.

    Raises:
        StoreError: the disk does not hold it, or might not: the space for all of it, not compressed, must be there at
            the beginning.
    """
    chunks = (1, min(_SIDE, height), min(_SIDE, width))
    padded = -(-height // chunks[1]) * chunks[1] * -(-width // chunks[2]) * chunks[2]
    needed = len(classes) * padded * 2 + MIB
    wanted = f"{path}: {len(classes)} probabilities a pixel may take {needed} bytes ({format_bytes(needed)}), but"
    way_out = "Set tiles.probabilities to false, or free some space."
    if shortage := space_shortage(path, needed):
        raise StoreError(f"{wanted} {shortage}. {way_out}")
    try:
        with atomic_write(path) as temporary, HDF5Output(temporary) as file:
            options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
            dataset = file.create_dataset("probabilities", (len(classes), height, width), "<f2", **options)
            dataset.attrs["classes"] = list(classes)
            yield Probabilities(file, dataset)
    except WriteRefusedError as error:
        raise StoreError(
            f"{wanted} writing failed after the space was checked ({error.strerror or error}). {way_out}"
        ) from error
