"""Readers with a fault each, for the harness to find; what they read is JSON with the number of a colour."""

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.edits import json_edits
from tests.fuzz.harness import Reader
from tests.fuzz.hdf5 import hdf5_edits
from tests.fuzz.readers.images import encoded, pixels, put


def _write(folder: Path) -> None:
    put(folder / "0" / "colour.json", json.dumps({"name": "red", "number": 7, "more": [1, 2, 3]}))


def _content(folder: Path) -> dict[str, Any]:
    """Read without a fault."""
    from eightgig.core.errors import DataError

    path = folder / "colour.json"
    try:
        content = json.loads(path.read_bytes())
        content["number"] + 0
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise DataError(f"{path}: wanted a colour, found something else ({error}). Mend it.") from error
    return dict(content)


def _strange(folder: Path) -> bool:
    """Tell about one input in twenty."""
    return "name" not in _content(folder)


def _lets_through(folder: Path) -> None:
    json.loads((folder / "colour.json").read_bytes())


def _crashes(folder: Path) -> None:
    if _strange(folder):
        ctypes.string_at(0)


def _hangs(folder: Path) -> None:
    while _strange(folder):
        pass


def _burns(folder: Path) -> None:
    if _strange(folder):
        sum(range(30_000_000))


def _fills_memory(folder: Path) -> None:
    if _strange(folder):
        bytearray(2**30)


def _hides_that_memory_ran_out(folder: Path) -> None:
    from eightgig.core.errors import DataError

    try:
        _fills_memory(folder)
    except MemoryError as error:
        raise DataError(f"{folder}: damaged") from error


def _takes_memory(folder: Path) -> None:
    if _strange(folder):
        bytes(bytearray(2**26))


def _does_not_name_the_file(folder: Path) -> None:
    from eightgig.core.errors import DataError

    if _strange(folder):
        raise DataError("something is wrong")


def _dataset_lets_through(folder: Path) -> None:
    from kedro_datasets.json import JSONDataset

    JSONDataset(filepath=str(folder / "colour.json")).load()


def _ends_the_process(folder: Path) -> None:
    if _strange(folder):
        raise SystemExit(3)


def _refuses_all(folder: Path) -> None:
    from eightgig.core.errors import DataError

    raise DataError(f"{folder}: no")


def _seeded(read: Callable[[Path], object], **limits: Any) -> Reader:
    return Reader(f"seeded.{read.__name__.strip('_')}", _write, read, {"*": json_edits}, **limits)


def _write_image(folder: Path) -> None:
    put(folder / "0" / "a.png", encoded(pixels(), "PNG"))


def _read_with_pillow(folder: Path) -> None:
    from PIL import Image

    Image.open(folder / "a.png").load()


def _write_state(folder: Path) -> None:
    import torch

    (folder / "0").mkdir(parents=True)
    torch.save({"w": torch.zeros(3)}, folder / "0" / "w.pt")


def _read_with_torch(folder: Path) -> None:
    import torch

    torch.load(folder / "w.pt", weights_only=True)


def _write_hdf5(folder: Path) -> None:
    import h5py

    (folder / "0").mkdir(parents=True)
    with h5py.File(folder / "0" / "s.h5", "w") as file:
        file["labels"] = [1, 2, 3]
        file["names"] = ["a", "b", "c"]
        file.attrs["format"] = "mine"


def _read_with_h5py(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "s.h5") as file:
        assert file.attrs["format"]
        file["labels"][...]
        file["names"].asstr()[...]


FAULTY = (
    (_seeded(_lets_through), "lets JSONDecodeError through"),
    (_seeded(_crashes), "crashes"),
    (_seeded(_hangs), "hangs: no answer within 3 s"),
    (_seeded(_burns, seconds=0.2), "at most 0.2 are allowed"),
    (_seeded(_fills_memory), "asks for more than 256 MiB of memory"),
    (_seeded(_hides_that_memory_ran_out), "asks for more than 256 MiB of memory"),
    (_seeded(_takes_memory, memory_mib=16, asked_mib=1024), "at most 16 are allowed"),
    (_seeded(_does_not_name_the_file), "does not name the file"),
    (_seeded(_dataset_lets_through), "lets JSONDecodeError through"),
    (_seeded(_ends_the_process), "lets SystemExit through"),
    (_seeded(_refuses_all), "a valid file is refused"),
    # What the project's own readers are for: the libraries alone.
    (Reader("seeded.pillow", _write_image, _read_with_pillow), "through"),
    (Reader("seeded.torch", _write_state, _read_with_torch), "through"),
    (Reader("seeded.h5py", _write_hdf5, _read_with_h5py, {"*": hdf5_edits("images")}), "through|memory"),
)
SOUND = _seeded(_content)
READERS = [*(reader for reader, _ in FAULTY), SOUND]
