"""Samples of tokens of any length in one HDF5 file, with the texts, the labels and the tokenizer they belong to.

Layout, version 1: `tokens` (uint16, or uint32 for large vocabularies) one sample after the other and `offsets` (N + 1);
`num_bytes` and `paths`; `labels`, and `texts` (UTF-8 bytes) with `text_offsets`, where there are any. Everything is
checksummed (Fletcher-32), and the attribute `complete` is written last.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from eightgig.core.errors import ConfigurationError, StoreError
from eightgig.core.files import space_shortage
from eightgig.core.units import MIB, format_bytes
from eightgig.data.store.atomic import exclusive_replacement
from eightgig.data.store.files import HDF5Output, fixed_texts, text_attribute
from eightgig.data.store.foreign import FAULTS, open_foreign, plain_dataset
from eightgig.data.store.tokenizers import fingerprint

FORMAT, VERSION = "eightgig-tokens", 1
_NEEDED: dict[str, tuple[str, ...]] = {
    "tokens": ("<u2", "<u4"),
    "offsets": ("<i8",),
    "num_bytes": ("<i8",),
    "paths": (),
    "tokenizer": ("u1",),
}
_OPTIONAL: dict[str, tuple[str, ...]] = {"labels": ("<i8",), "texts": ("u1",), "text_offsets": ("<i8",)}
_ATTRIBUTES = ("classes", "tokenizer_sha256", "vocab_size", "max_tokens", "num_samples")
_NAMES = TypeAdapter(tuple[str, ...])
_CHUNK_BYTES = 2**18
_HASHED_TOKENS = 2**22


@dataclass(frozen=True)
class TokenContent:
    """What a store is to hold.

    Attributes:
        tokens: ids of each sample.
        labels: positions in `classes`; None where there are none.
        texts: of each sample; None where they are not kept.
        num_bytes: of the text that each sample is, or predicts.
        paths: where each sample is from, for a person.
        classes: names, in the order of the labels.
        tokenizer_json: of the tokenizer that made the tokens.
        vocab_size: ids are below it.
        max_tokens: of a sample, as the network takes it.
    """

    tokens: Sequence[Sequence[int] | NDArray[np.int64]]
    labels: Sequence[int] | None
    texts: Sequence[str] | None
    num_bytes: Sequence[int]
    paths: Sequence[str]
    classes: tuple[str, ...]
    tokenizer_json: str
    vocab_size: int
    max_tokens: int

    def write(self, path: Path) -> None:
        """Write the store; what was at `path` stays until the new file is whole.

        Raises:
            StoreError: another process is writing it, the folder cannot be written, or space is short.
        """
        columns = self._columns()
        with exclusive_replacement(path) as temporary:
            needed = sum(values.nbytes for values in columns.values()) + MIB
            if shortage := space_shortage(path, needed):
                raise StoreError(f"{_needs(path, needed)}, but {shortage}. Free some, or choose another folder.")
            try:
                self._write(temporary, columns)
            except OSError as error:
                raise StoreError(
                    f"{_needs(path, needed)}, but writing failed after the space was checked "
                    f"({error.strerror or error}); nothing was left there. Free some space in {path.parent}."
                ) from error

    def _columns(self) -> dict[str, NDArray[Any]]:
        """Return the datasets of the file."""
        kind = np.uint16 if self.vocab_size <= 2**16 else np.uint32
        columns = {
            "tokens": _joined([np.asarray(ids, dtype=kind) for ids in self.tokens], kind),
            "offsets": _offsets([len(ids) for ids in self.tokens]),
            "num_bytes": np.asarray(self.num_bytes, dtype=np.int64),
            "paths": fixed_texts(self.paths),
            "tokenizer": np.frombuffer(self.tokenizer_json.encode(), dtype=np.uint8),  # an attribute holds 64 KiB
        }
        if self.labels is not None:
            columns["labels"] = np.asarray(self.labels, dtype=np.int64)
        if self.texts is not None:
            encoded = [np.frombuffer(text.encode(), dtype=np.uint8) for text in self.texts]
            columns["texts"] = _joined(encoded, np.uint8)
            columns["text_offsets"] = _offsets([len(text) for text in encoded])
        return columns

    def _write(self, temporary: Path, columns: Mapping[str, NDArray[Any]]) -> None:
        with HDF5Output(temporary) as file:
            for name, values in columns.items():
                file.create_dataset(name, data=values, **_kept_as(values))
            file.set_texts(format=FORMAT, tokenizer_sha256=fingerprint(self.tokenizer_json))
            file.set_texts(classes=json.dumps(self.classes))
            file.attrs.update({"version": VERSION, "num_samples": len(self.tokens)})
            file.attrs.update({"vocab_size": self.vocab_size, "max_tokens": self.max_tokens})
            file.flush()
            file.attrs["complete"] = True


class TokenStore:
    """Reads a store; opens the file when a process first needs it, and can be sent to other processes.

    Examples:
        >>> store = TokenStore("data/05_model_input/sentiment_classifier/store.h5")
        >>> len(store), store.text(0), store.tokens(0).tolist()
        (2, 'good film', [0, 2])
        >>> store.classes[store.labels[0]]
        'positive'

    Attributes:
        path: the HDF5 file.
        classes: names, in the order of the labels.
        labels: int64 N, or None.
        lengths: int64 N, tokens of each sample.
        num_bytes: int64 N, of the text that each sample is, or predicts.
        paths: where each sample is from.
        vocab_size: ids are below it.
        max_tokens: of a sample, as the network takes it.
        tokenizer_json: of the tokenizer that made the tokens; `tokenizer_sha256` is its fingerprint.

    Raises:
        StoreError: no such file, or it is incomplete, damaged, or of another kind.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._local = threading.local()
        with _opened(self.path) as file:
            try:
                _refuse_foreign(file, self.path)
                self._read_index(file)
            except FAULTS as error:
                raise StoreError(f"{self.path}: the index of the store is damaged ({error}). Ingest again.") from error
        self._refuse_misfits()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    @cached_property
    def sha256(self) -> str:
        """Hash of the tokens, the labels and the tokenizer: it names the content. StoreError: they are damaged."""
        digest = hashlib.sha256(self.tokenizer_sha256.encode())
        parts = (self._offsets, self.num_bytes, *(() if self.labels is None else (self.labels,)))
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        try:
            tokens = self._file()["tokens"]
            for start in range(0, len(tokens), _HASHED_TOKENS):
                digest.update(tokens[start : start + _HASHED_TOKENS].tobytes())
        except FAULTS as error:
            raise StoreError(f"{self.path}: its tokens are damaged ({error}). Ingest again.") from error
        return digest.hexdigest()

    def tokens(self, index: int) -> NDArray[np.int64]:
        """Return the ids of a sample. StoreError: they are damaged."""
        ids = self._slice("tokens", self._offsets, index).astype(np.int64)
        if ids.size and int(ids.max()) >= self.vocab_size:
            raise StoreError(
                f"{self.path}: sample {index} holds the token {ids.max()} of {self.vocab_size}. Ingest again."
            )
        return ids

    def text(self, index: int) -> str:
        """Return the text of a sample. StoreError: it is damaged, or the store keeps no texts."""
        if self._text_offsets is None:
            raise StoreError(f"{self.path}: keeps no texts.")
        content = bytes(self._slice("texts", self._text_offsets, index))
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise StoreError(f"{self.path}: the text of sample {index} is damaged ({error}). Ingest again.") from error

    def _slice(self, name: str, offsets: NDArray[np.int64], index: int) -> NDArray[Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        try:
            values: NDArray[Any] = self._file()[name][offsets[index] : offsets[index + 1]]
        except FAULTS as error:
            raise StoreError(
                f"{self.path}: sample {index} ({self.paths[index]}) is damaged ({error}). Ingest again."
            ) from error
        return values

    def _file(self) -> h5py.File:
        if getattr(self._local, "process", None) != os.getpid():
            if inherited := getattr(self._local, "file", None):
                inherited.close()  # or HDF5 takes the two for one, and a loader process reads through our descriptor
            self._local.file, self._local.process = _opened(self.path), os.getpid()
        return self._local.file

    def _read_index(self, file: h5py.File) -> None:
        self._offsets: NDArray[np.int64] = file["offsets"][:]
        self.lengths: NDArray[np.int64] = np.diff(self._offsets)
        self.num_bytes: NDArray[np.int64] = file["num_bytes"][:]
        self.paths: tuple[str, ...] = tuple(file["paths"].asstr()[:])
        self.labels: NDArray[np.int64] | None = file["labels"][:] if "labels" in file else None
        self._text_offsets: NDArray[np.int64] | None = file["text_offsets"][:] if "texts" in file else None
        self._num_tokens = len(file["tokens"])
        self._num_text_bytes = len(file["texts"]) if "texts" in file else 0
        self.classes: tuple[str, ...] = _NAMES.validate_json(text_attribute(file, "classes"))
        self.vocab_size, self.max_tokens = int(file.attrs["vocab_size"]), int(file.attrs["max_tokens"])
        self.tokenizer_json = bytes(file["tokenizer"][:]).decode()
        self.tokenizer_sha256 = text_attribute(file, "tokenizer_sha256")
        self._num_samples = int(file.attrs["num_samples"])

    def _refuse_misfits(self) -> None:
        count = self._num_samples
        parts = [len(self.lengths), len(self.num_bytes), len(self.paths)]
        parts += [] if self.labels is None else [len(self.labels)]
        parts += [] if self._text_offsets is None else [len(self._text_offsets) - 1]
        ordered = _is_ordered(self._offsets, self._num_tokens) and (
            self._text_offsets is None or _is_ordered(self._text_offsets, self._num_text_bytes)
        )
        labels_fit = self.labels is None or not count or 0 <= self.labels.min() <= self.labels.max() < len(self.classes)
        if any(part != count for part in parts) or not (ordered and labels_fit and self._has_its_tokenizer()):
            raise StoreError(f"{self.path}: its parts do not belong together; it is damaged. Ingest again.")

    def _has_its_tokenizer(self) -> bool:
        try:
            return fingerprint(self.tokenizer_json) == self.tokenizer_sha256
        except ConfigurationError:
            return False


def is_complete(path: Path) -> bool:
    """Tell whether a whole store lies at `path`."""
    try:
        TokenStore(path)
    except StoreError:
        return False
    return True


def require_tokenizer(store: TokenStore, sha256: str) -> None:
    """Refuse a store whose tokens another tokenizer made: its numbers would mean other words.

    Raises:
        StoreError: names both tokenizers.
    """
    if store.tokenizer_sha256 != sha256:
        raise StoreError(
            f"the store was made with the tokenizer {store.tokenizer_sha256[:12]}, the network wants {sha256[:12]}. "
            "Ingest again (`--tags ingest`) with the network's tokenizer, or take the network that it was made "
            "for."
        )


def _opened(path: Path) -> h5py.File:
    try:
        return open_foreign(path)
    except FAULTS as error:
        raise StoreError(
            f"{path}: wanted a store of tokens, found none that can be read ({error}). Ingest again."
        ) from error


def _refuse_foreign(file: h5py.File, path: Path) -> None:
    """Refuse files of others, and links that could lead out of the file."""
    if text_attribute(file, "format") != FORMAT or int(file.attrs.get("version", 0)) != VERSION:
        found = f"{text_attribute(file, 'format') or 'another'} {file.attrs.get('version', '')}".strip()
        raise StoreError(f"{path}: wanted a store {FORMAT} {VERSION}, found {found}. Ingest again.")
    if not file.attrs.get("complete", False):
        raise StoreError(f"{path}: the store is incomplete: its writing was interrupted. Ingest again.")
    wanted = {**_NEEDED, **{name: kinds for name, kinds in _OPTIONAL.items() if name in file}}
    for name, kinds in wanted.items():
        if plain_dataset(file, name, kinds, is_packed=True).ndim != 1:
            raise ValueError(f"'{name}' is no column")
    missing = [name for name in _ATTRIBUTES if name not in file.attrs]
    if missing:
        raise StoreError(f"{path}: lacks {', '.join(missing)}; it is damaged. Ingest again.")


def _kept_as(values: NDArray[Any]) -> dict[str, Any]:
    """Return how h5py is to keep values: in pieces that have checksums; what is empty has none."""
    chunk = min(len(values), max(1, _CHUNK_BYTES // values.itemsize))
    return {"chunks": (chunk,), "fletcher32": True, "compression": "gzip", "compression_opts": 1} if chunk else {}


def _needs(path: Path, num_bytes: int) -> str:
    return f"{path}: the store needs {num_bytes} bytes ({format_bytes(num_bytes)})"


def _joined(parts: list[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _is_ordered(offsets: NDArray[np.int64], end: int) -> bool:
    return (
        bool(len(offsets))
        and int(offsets[0]) == 0
        and int(offsets[-1]) == end
        and bool((offsets[1:] >= offsets[:-1]).all())  # compared, as differences could overflow
    )
