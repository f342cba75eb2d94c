"""Probabilities of all classes of a large image as HDF5, written piece by piece."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import StoreError
from eightgig.core.files import atomic_write
from eightgig.core.units import format_bytes

_SIDE = 256


class Probabilities:
    """The dataset `probabilities`, float16 K x height x width, with the attribute `classes`."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset

    def write(self, top: int, left: int, piece_KRC: NDArray[np.float32]) -> None:
        """Write a piece to its place."""
        _, rows, columns = piece_KRC.shape
        self._dataset[:, top : top + rows, left : left + columns] = piece_KRC


@contextmanager
def open_probabilities(path: Path, classes: tuple[str, ...], height: int, width: int) -> Iterator[Probabilities]:
    """Give a writer of the file at `path`, which appears when the block ends well.

    Raises:
        StoreError: the disk might not hold it: HDF5 ends the whole process when a disk fills up under it, so the space
            for all of it, not compressed, must be there.
    """
    needed = len(classes) * height * width * 2
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreError(
            f"{path}: {len(classes)} probabilities a pixel may take {format_bytes(needed)}, but only "
            f"{format_bytes(free)} are free. Set tiles.probabilities to false, or free some space."
        )
    chunks = (1, min(_SIDE, height), min(_SIDE, width))
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
        dataset = file.create_dataset("probabilities", (len(classes), height, width), "<f2", **options)
        dataset.attrs["classes"] = list(classes)
        yield Probabilities(dataset)
