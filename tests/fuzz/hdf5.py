"""Changes of what an HDF5 file holds, made by HDF5 itself: attributes, values, types, shapes, links and filters.

A change can be sealed: the checksum that the store keeps of its index is made right again, as whoever means harm would.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from hypothesis import strategies as st
from tests.fuzz.edits import STRANGE_NUMBERS, Edits, Strategy, strange_texts

_TYPES = ("<i8", "<i4", "<u4", "u1", "<f4", "<f8", ">i8", "<u8", "S5", "bool", "<c8")
_SHAPES = ((), (0,), (1,), (3,), (3, 2), (2, 2, 2), (1, 1, 1, 1))
_MOST_BYTES = 2**20
_FILTERS: tuple[dict[str, Any], ...] = (
    {"compression": "gzip"},
    {"fletcher32": True},
    {"shuffle": True},
    {"chunks": True},
    {"scaleoffset": 0},
)


class Change(Protocol):
    """One change of an open file."""

    def make(self, file: h5py.File) -> None: ...


class Attribute(NamedTuple):
    """An attribute has another value; None drops it."""

    name: str
    value: Any

    def make(self, file: h5py.File) -> None:
        if self.name in file.attrs:
            del file.attrs[self.name]
        if self.value is not None:
            file.attrs[self.name] = self.value


class Value(NamedTuple):
    """One number of a dataset is another."""

    dataset: str
    at: int
    value: int | float

    def make(self, file: h5py.File) -> None:
        values = _values(file, self.dataset)
        with np.errstate(invalid="ignore"):
            values.flat[self.at % values.size] = np.array(self.value).astype(values.dtype)
        file[self.dataset][...] = values


class Text(NamedTuple):
    """One text of a dataset is another."""

    dataset: str
    at: int
    value: str

    def make(self, file: h5py.File) -> None:
        file[self.dataset][self.at % len(file[self.dataset])] = self.value.encode("utf-8", "surrogatepass")


class Order(NamedTuple):
    """A dataset's values in another order."""

    dataset: str
    seed: int

    def make(self, file: h5py.File) -> None:
        values = _values(file, self.dataset)
        file[self.dataset][...] = np.random.default_rng(self.seed).permutation(values)


class Retype(NamedTuple):
    """A dataset of another type or shape, of zeros."""

    dataset: str
    dtype: str
    shape: tuple[int, ...]

    def make(self, file: h5py.File) -> None:
        del file[self.dataset]
        file.create_dataset(self.dataset, self.shape, self.dtype)


class Refilter(NamedTuple):
    """A dataset kept in another way."""

    dataset: str
    options: dict[str, Any]

    def make(self, file: h5py.File) -> None:
        values = _values(file, self.dataset)
        del file[self.dataset]
        file.create_dataset(self.dataset, data=values, **self.options)


class Grow(NamedTuple):
    """A dataset that says it is as long as this; nothing of it is stored."""

    dataset: str
    length: int
    is_chunked: bool

    def make(self, file: h5py.File) -> None:
        old = file[self.dataset]
        shape, kind = (self.length, *old.shape[1:]), old.dtype
        chunks = (min(self.length, 1024), *old.shape[1:]) if self.is_chunked else None
        del file[self.dataset]
        file.create_dataset(self.dataset, shape, kind, chunks=chunks)


class Replace(NamedTuple):
    """Something else than a dataset under its name: nothing, a group, a link, or data that lie elsewhere."""

    dataset: str
    by: str

    def make(self, file: h5py.File) -> None:
        shape, dtype = file[self.dataset].shape, file[self.dataset].dtype
        if self.by != "nothing":
            file.copy(self.dataset, "aside")
        del file[self.dataset]
        _PUT[self.by](file, self.dataset, shape, dtype)


def _values(file: h5py.File, name: str) -> Any:
    """Return what is in a dataset; one that an earlier change has made huge is left alone."""
    if file[name].nbytes > _MOST_BYTES:
        raise ValueError(f"{file[name].nbytes} bytes")
    return np.array(file[name][...])


def _virtual(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/etc/passwd", name, shape)
    file.create_virtual_dataset(name, layout)


def _link(target: Any) -> "_Put":
    def make(file: h5py.File, name: str, *_: Any) -> None:
        file[name] = target

    return make


def _loop(file: h5py.File, name: str, *_: Any) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


def _external(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, 1 << 20)])


_Put = Callable[[h5py.File, str, tuple[int, ...], Any], Any]
_PUT: dict[str, _Put] = {
    "nothing": lambda *_: None,
    "group": lambda file, name, *_: file.create_group(name),
    "type": _link(np.dtype("<i8")),
    "soft link": _link(h5py.SoftLink("/aside")),
    "loop": _loop,
    "external link": _link(h5py.ExternalLink("/etc/passwd", "/aside")),
    "external data": _external,
    "virtual data": _virtual,
}


class InHdf5(NamedTuple):
    """Changes of an HDF5 file, and which seal is made right after them: `images`, `shards`, `tokens` or none."""

    changes: tuple[Change, ...]
    seal: str

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as file:
            for change in (*self.changes, *([_SEALS[self.seal]] if self.seal else ())):
                with suppress(Exception):  # it does not apply after the changes before it
                    getattr(change, "make", change)(file)
        return buffer.getvalue()


def hdf5_edits(seal: str) -> Strategy:
    """Changes of single things in a file; half of them sealed."""

    def make(data: bytes) -> st.SearchStrategy[Edits]:
        with h5py.File(io.BytesIO(data)) as file:
            change = _changes(file)
        some = st.lists(change, min_size=1, max_size=3).map(tuple)
        return st.builds(InHdf5, some, st.sampled_from(("", seal))).map(lambda one: (one,))

    return make


def _changes(file: h5py.File) -> st.SearchStrategy[Change]:
    attributes, datasets = st.sampled_from([*file.attrs]), st.sampled_from([*file])
    numeric = _among([name for name in file if file[name].dtype.kind in "iuf" and file[name].size])
    texts = _among([name for name in file if file[name].dtype.kind in "OS" and file[name].size])
    places, number = st.integers(0, 10**6), st.sampled_from((*STRANGE_NUMBERS, 0.5, float("nan"), float("inf"), -1e30))
    small = st.integers(-2, 20)
    strange = st.sampled_from((None, True, 0, 2, -1, 2**62, 1.5, "x" * 300, b"\xff", np.zeros(3), h5py.Empty("f4")))
    return st.one_of(
        st.builds(Attribute, attributes, strange | strange_texts() | st.sampled_from(_texts_of(file))),
        st.builds(Value, numeric, places, number | small),
        st.builds(Value, numeric, places, number | small),
        st.builds(Text, texts, places, strange_texts()),
        st.builds(Order, numeric, places),
        st.builds(Retype, datasets, st.sampled_from(_TYPES), st.sampled_from(_SHAPES)),
        st.builds(Refilter, datasets, st.sampled_from(_FILTERS)),
        st.builds(Grow, datasets, st.sampled_from((10**4, 10**7, 2**33, 2**50)), st.booleans()),
        st.builds(Replace, datasets, st.sampled_from([*_PUT])),
    )


def _among(names: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(names) if names else st.nothing()


def _texts_of(file: h5py.File) -> list[str]:
    """Return what the attributes hold as text: one in the place of another is as it should be, but wrong."""
    return sorted({_text(value) for value in file.attrs.values()} | {"[]", '["a"]', '{"a": 1}', "jpeg", "decoded"})


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _seal_images(file: h5py.File) -> None:
    from eightgig.data.store.format import DTYPES, FORMAT, TEXTS, VERSIONS

    version = int(file.attrs["version"])
    kind = next(kind for kind, number in VERSIONS.items() if number == version)
    texts = [[text.decode() for text in _values(file, name).tolist()] for name in TEXTS]
    digest = hashlib.sha256(json.dumps([FORMAT, version, _text(file.attrs["tier"]), *texts]).encode())
    for name, dtype in DTYPES[kind].items():
        digest.update(np.ascontiguousarray(_values(file, name), dtype=dtype).data)
    file.attrs["index_sha256"] = digest.hexdigest()


def _seal_shards(file: h5py.File) -> None:
    columns = [[text.decode() for text in _values(file, name).tolist()] for name in ("shards", "sha256")]
    file.attrs["list_sha256"] = hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def _seal_tokens(file: h5py.File) -> None:
    from eightgig.data.store.tokenizers import fingerprint

    file.attrs["tokenizer_sha256"] = fingerprint(bytes(_values(file, "tokenizer")).decode())


_SEALS: dict[str, Callable[[h5py.File], None]] = {
    "images": _seal_images,
    "shards": _seal_shards,
    "tokens": _seal_tokens,
}
