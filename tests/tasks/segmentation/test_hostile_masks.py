"""Tables of classes with labels that no mask can hold, and masks that ask for memory."""

import struct
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.ingest.class_table import read_table
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.mask_files import read_mask


def table(tmp_path, last):
    (tmp_path / "classes.csv").write_text(f"name,label\nroad,0\nsky,1\nvoid,{last}\n")
    return read_table(tmp_path / "classes.csv")


@pytest.mark.parametrize("label", [2**16, 2**31, -2, 10**400])
def test_a_label_that_no_mask_holds_is_refused(tmp_path, label):
    """A table of two thousand million labels would be 16 GiB."""
    with pytest.raises(DataError, match=r"classes\.csv: wanted a table of classes.*Repair it"):
        table(tmp_path, label)


def test_cityscapes_licence_plates_may_be_in_a_table(tmp_path):
    """Their label is -1, which is not the last of all labels."""
    pixels = np.array([[0, 1], [255, 1]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", table(tmp_path, -1), max_pixels=100).tolist() == [[0, 1], [VOID, 1]]


def test_a_mask_with_a_chunk_of_gigabytes_takes_no_memory(tmp_path):
    """Of a file on disk Pillow makes room for them."""
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "m.png")
    content = (tmp_path / "m.png").read_bytes()
    at = content.index(b"IDAT") - 4
    (tmp_path / "m.png").write_bytes(content[:at] + struct.pack(">I", 2**31 - 1) + content[at + 4 :])
    tracemalloc.start()
    with suppress(ImageRejectedError):
        read_mask(tmp_path / "m.png", table(tmp_path, 9), max_pixels=1000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10**7


def test_a_file_that_is_too_long_for_a_mask_is_not_read(tmp_path):
    (tmp_path / "m.png").write_bytes(zlib.compress(b"") + bytes(10_000))
    with pytest.raises(ImageRejectedError, match=r"too_large_mask: 10,008 bytes can not be a mask of 100 pixels"):
        read_mask(tmp_path / "m.png", table(tmp_path, 9), max_pixels=100)


@pytest.mark.parametrize("name", ["m.jpg", "m.webp"])
def test_lossy_formats_are_told_as_such(tmp_path, name):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / name)
    with pytest.raises(ImageRejectedError, match=r"lossy_mask: (JPEG|WEBP) mixes labels"):
        read_mask(tmp_path / name, table(tmp_path, 9), max_pixels=1000)
