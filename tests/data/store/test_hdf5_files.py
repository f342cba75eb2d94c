"""HDF5 files that tell of a full disk as any other file does, and texts whichever way they were written."""

from typing import Any

import h5py
import pytest

from eightgig.data.store.files import HDF5Output, WriteRefusedError, fixed_texts, text_attribute

TEXTS = ["", "ünï", "a longer text"]


def test_texts_come_back(tmp_path):
    with HDF5Output(tmp_path / "f.h5") as file:
        file.create_dataset("texts", data=fixed_texts(TEXTS))
        file.create_dataset("none", data=fixed_texts([]))
        file.set_texts(name="ünï", empty="")
        file.attrs["older"] = "of any length"
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["texts"].asstr()[...].tolist() == TEXTS
        assert file["none"].shape == (0,)
        found = [text_attribute(file, name) for name in ("name", "empty", "older", "missing")]
    assert found == ["ünï", "", "of any length", ""]


@pytest.mark.parametrize("refused", range(1, 8))
def test_whichever_write_is_refused_is_told_once_and_at_the_latest_on_closing(tmp_path, refused):
    file = HDF5Output(tmp_path / "f.h5")
    patient: Any = file._patient
    patient._file = RefusesFrom(refused, patient._file)
    for name in "abc":
        file.create_dataset(name, data=range(1000), chunks=(100,), compression="gzip")
    with pytest.raises(WriteRefusedError, match=r"\[Errno 28\] it is full"):
        file.close()
    assert not file.id.valid
    with pytest.raises(WriteRefusedError):
        file.require_written()


class RefusesFrom:
    """A file on a disk that is full from a write on."""

    def __init__(self, number, file):
        self._number, self._file = number, file

    def write(self, data):
        self._number -= 1
        if self._number <= 0:
            raise OSError(28, "it is full")
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)
