"""The tensors of a network that torch.save wrote as a whole Python object, read without running anything in the file.

Such a file is a zip archive with a pickle, and a pickle can call any function. Here every class and function that it
names is replaced by an inert stand-in; tensors are noted, and only those of the network are read.
"""

import io
import math
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from eightgig.core.errors import WeightsError

_MOST_BYTES, _MOST_PICKLE_BYTES = 4 * 2**30, 64 * 2**20
_MOST_MODULES, _MOST_TENSORS, _LONGEST_NAME = 10_000, 100_000, 100  # YOLOv5x has some 1,000 of each
_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
}
# What unpickling, and reading a zip archive, raise on bytes that are not what they should be.
_ARCHIVE_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, OSError, ValueError, KeyError, RuntimeError)
_DAMAGE = (*_ARCHIVE_DAMAGE, pickle.UnpicklingError, TypeError, AttributeError, IndexError, MemoryError, OverflowError)


class InertObject:
    """Stands for an object of any class of the file: takes what it is given and does nothing.

    Attributes:
        state: what the pickle says of the object's attributes.
    """

    state: dict[Any, Any]

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make one whatever the arguments; pickles also make objects without calling `__init__`."""
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.state = state

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take an item, as a list does."""

    def extend(self, _: Any) -> None:
        """Take items, as a list does."""


class PickledNetwork:
    """One network of a file of torch.save, a context manager that closes the file.

    Args:
        path: the file.
        keys: under which a network may be, the preferred one first.

    Raises:
        WeightsError: no such file, one that is damaged, too large, or of before torch 1.6. The same holds for methods.
    """

    def __init__(self, path: Path, *, keys: Sequence[str]) -> None:
        self._path = path
        if not path.is_file():
            raise self._refusal("no such file")
        if path.stat().st_size > _MOST_BYTES:
            raise self._refusal(f"{path.stat().st_size / 2**30:.1f} GiB; the limit is {_MOST_BYTES // 2**30}")
        try:
            if not zipfile.is_zipfile(path):
                raise self._refusal("no zip archive: it is damaged, or of torch before 1.6; save it with a newer one")
            self._zip = zipfile.ZipFile(path)
            self._sizes = {entry.filename: entry.file_size for entry in self._zip.infolist()}
        except _ARCHIVE_DAMAGE as error:
            raise self._damaged(error) from error
        self._bytes_left, self._storages = path.stat().st_size, dict[str, bytearray]()
        self._keys = keys

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def find(self) -> InertObject | None:
        """Return the network, or None where no object with modules is under any of the keys."""
        content = self._content()
        candidates = [content.get(key) for key in self._keys] if isinstance(content, dict) else []
        return next((x for x in candidates if isinstance(x, InertObject) and _entries(x, "_modules")), None)

    def tensors(self, network: InertObject) -> dict[str, Tensor]:
        """Return the network's parameters and buffers by their dotted names, on the CPU, as they were saved."""
        return {name: self._tensor(noted) for name, noted in self._walk(network)}

    def _content(self) -> Any:
        try:
            pickled = self._read("data.pkl", _MOST_PICKLE_BYTES)
            if self._file("byteorder") in self._sizes and self._read("byteorder", 16) != b"little":
                raise ValueError("written on a machine with another order of bytes")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python warns of escapes in a damaged text; the error below says more
                _refuse_huge_memo(pickled)
                return _InertUnpickler(io.BytesIO(pickled)).load()
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _walk(self, network: InertObject) -> Iterator[tuple[str, "_NotedTensor"]]:
        open_ends, num_modules, num_tensors = [("", network)], 0, 0
        while open_ends:
            prefix, module = open_ends.pop()
            own = [*_entries(module, "_parameters"), *_entries(module, "_buffers")]
            parts = _entries(module, "_modules")
            num_modules, num_tensors = num_modules + 1 + len(parts), num_tensors + len(own)
            if max(num_modules / _MOST_MODULES, num_tensors / _MOST_TENSORS, len(prefix) / _LONGEST_NAME) > 1:
                raise self._refusal("modules without an end, or one that holds itself")
            yield from ((f"{prefix}{name}", noted) for name, noted in own if isinstance(noted, _NotedTensor))
            open_ends += [(f"{prefix}{name}.", part) for name, part in parts if isinstance(part, InertObject)]

    def _tensor(self, noted: "_NotedTensor") -> Tensor:
        try:
            _, kind, key, _, _ = noted.storage
            flat = torch.frombuffer(self._storage(key), dtype=_DTYPES[kind])
            if math.prod(noted.size) > len(flat):
                raise ValueError("a tensor is larger than what is stored of it")
            self._take(math.prod(noted.size) * flat.itemsize)
            return flat.as_strided(noted.size, noted.stride, noted.offset).clone()
        except _DAMAGE as error:
            raise self._damaged(error) from error

    def _storage(self, key: Any) -> bytearray:
        if not isinstance(key, str):
            raise TypeError("a storage has no name")
        if key not in self._storages:
            self._storages[key] = bytearray(self._read(f"data/{key}", _MOST_BYTES))
        return self._storages[key]

    def _read(self, name: str, most_bytes: int) -> bytes:
        size = self._sizes[self._file(name)]
        if size > most_bytes:
            raise ValueError(f"{name} is said to have {size} bytes")
        return self._zip.read(self._file(name))

    def _take(self, num_bytes: int) -> None:
        # Each byte of a network belongs to one tensor, and torch.save compresses nothing.
        self._bytes_left -= num_bytes
        if self._bytes_left < 0:
            raise ValueError("its tensors are larger than the file")

    def _file(self, name: str) -> str:
        folder = next((entry[: -len("data.pkl")] for entry in self._sizes if entry.endswith("/data.pkl")), "")
        return folder + name

    def _damaged(self, error: BaseException) -> WeightsError:
        return self._refusal(f"a damaged one ({type(error).__name__}: {str(error)[:200]})".splitlines()[0])

    def _refusal(self, found: str) -> WeightsError:
        return WeightsError(f"`{self._path}`: wanted a file that torch.save wrote a network to, found {found}.")


class _NotedTensor(NamedTuple):
    """A tensor as the pickle describes it; its values are still in the archive."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _Table(dict[Any, Any]):
    """A dictionary that takes no attributes, such as the versions beside a state dict."""

    def __setstate__(self, _: Any) -> None:
        pass


class _InertUnpickler(pickle.Unpickler):
    """Reads a pickle without importing anything: what it names becomes a stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for `module.name`; functions are made anew, for a pickle may write to what it is given."""
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return lambda storage, offset, size, stride, *_: _NotedTensor(storage, offset, size, stride)
            case "torch._utils", "_rebuild_parameter":
                return lambda data, *_: data
            case "torch", _ if name in _DTYPES:
                return name
            case "collections", "OrderedDict":
                return _Table
            case "builtins" | "__builtin__", "set" | "frozenset":
                return {"set": set, "frozenset": frozenset}[name]
        return InertObject

    def persistent_load(self, pid: Any) -> Any:
        """Return the description of a storage as it is: ("storage", type, key, device, number of elements)."""
        return pid


def _refuse_huge_memo(pickled: bytes) -> None:
    # The unpickler makes its table as long as the largest place that is written to, gigabytes if so told.
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(pickled):
            raise ValueError(f"a place in its memory that it cannot need: {argument}")


def _entries(module: InertObject, kind: str) -> list[tuple[str, Any]]:
    found = module.state.get(kind)
    named = found.items() if isinstance(found, dict) else ()
    return [(name, value) for name, value in named if isinstance(name, str) and len(name) <= _LONGEST_NAME]
