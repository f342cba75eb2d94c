"""Tokenizers, tables and stores of texts that somebody damaged, or made to take memory."""

import json
import os
import sys

import h5py
import numpy as np
import pytest

from eightgig.core.errors import ConfigurationError, StoreError
from eightgig.data.store.tokenizers import fingerprint, parse_tokenizer, train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore, is_complete
from eightgig.tasks.text.manifest import build_manifest
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.sources import open_texts

TOKENIZER = train_bpe(["a small text, and another"], vocab_size=262)


def changed(**values):
    return json.dumps(json.loads(TOKENIZER) | values)


def test_a_tokenizer_is_parsed():
    assert parse_tokenizer(TOKENIZER).encode("a text").ids


@pytest.mark.parametrize("text", ["", "[]", "nan", "{", "[" * 100_000, "\ufeff{}"])
def test_what_is_no_json_object_has_no_fingerprint(text):
    for read in (fingerprint, parse_tokenizer):
        with pytest.raises(ConfigurationError, match=r"tokenizer: wanted .*tokenizer\.json, found"):
            read(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", "cannot be used"),
        (changed(model=None), "cannot be used"),
        (changed(model={"type": "BPE", "vocab": {"a": 0, "b": 2**31 - 1}, "merges": []}), "with the number 2147483647"),
        (changed(model={"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}), "two tokens with one number"),
        (changed(added_tokens=[{"id": 10**9, "content": "x"}]), "with the number 1000000000"),
        (changed(model={"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "?"}), "cannot be used"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_known_at_once(text, found):
    """A number far beyond the others makes the library list all between, until memory ends and the process with it."""
    with pytest.raises(ConfigurationError, match=rf"{found}.*Take another tokenizer"):
        parse_tokenizer(text)


@pytest.mark.parametrize(
    ("what", "header", "cells"), [("label", b"label,more", b"%s,x"), ("split", b"label,split", b"a,%s")]
)
def test_labels_and_splits_that_are_no_text_refuse_their_rows_alone(tmp_path, what, header, cells):
    rows = [b"text," + header, *(b"text %d,%s,train" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(6))]
    hostile = [b"one more," + cells % b"\xff\xfe", b"and more," + cells % b"a\0b"]
    (tmp_path / "t.csv").write_bytes(b"\n".join([*rows, *hostile]))
    data = TextDataParameters(source="auto", root=str(tmp_path / "t.csv"))
    manifest, rejects = build_manifest(open_texts(data), data)
    assert len(manifest) == 6
    assert rejects[["row", "reason"]].to_numpy().tolist() == [[7, "not_utf8"], [8, "nul"]]
    assert rejects["detail"][0] == rf"the {what} is \udcff\udcfe: write it in UTF-8"


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes are Linux's")
def test_a_file_whose_name_is_no_text_is_refused_alone(tmp_path):
    for name in (b"cup/a.txt", b"pen/b.txt", b"pen/\xff.txt"):
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - of bytes
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"text {name!r}")
    data = TextDataParameters(source="folders", root=str(tmp_path))
    manifest, rejects = build_manifest(open_texts(data), data)
    assert manifest["path"].tolist() == ["cup/a.txt", "pen/b.txt"]
    assert rejects.to_numpy().tolist() == [
        [r"pen/\udcff.txt", 0, "not_utf8", r"the file's name is pen/\udcff.txt: write it in UTF-8"]
    ]


@pytest.fixture
def path(tmp_path):
    TokenContent(
        tokens=[[1, 2, 3], [4]], labels=[0, 1], texts=["first", "zweiter, fünf"], num_bytes=[5, 14], paths=["a", "b"],
        classes=("no", "yes"), tokenizer_json=TOKENIZER, vocab_size=300, max_tokens=8,
    ).write(tmp_path / "s.h5")  # fmt: skip
    return tmp_path / "s.h5"


def change(path, make):
    with h5py.File(path, "r+") as file:
        make(file)
    return path


def replaced(name, values):
    def make(file):
        del file[name]
        file[name] = values

    return make


@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.attrs.__setitem__("version", np.bytes_("one")),
        lambda file: file.attrs.__setitem__("num_samples", [1, 2]),
        lambda file: file.attrs.__setitem__("classes", np.bytes_('{"no": 0}')),
        lambda file: file.attrs.__setitem__("classes", np.bytes_("[1, 2]")),
        lambda file: file.attrs.__setitem__("classes", np.bytes_("[" * 10_000)),
        replaced("offsets", [0.0, 3.0, 4.0]),
        replaced("offsets", [[0, 3, 4]]),
        replaced("offsets", [0, 2**63 - 1, 4]),
        replaced("labels", [b"a", b"b"]),
        replaced("texts", [1, 2]),
    ],
)
def test_a_store_that_is_not_as_it_should_be_is_refused_by_its_name(path, make):
    change(path, make)
    with pytest.raises(StoreError, match=r"(?s)s\.h5: .*Ingest again"):
        TokenStore(path)
    assert not is_complete(path)


def test_texts_that_are_none_are_told(path):
    store = TokenStore(change(path, lambda file: file["texts"].__setitem__(-1, 0xC3)))
    with pytest.raises(StoreError, match=r"s\.h5: the text of sample 1 is damaged .*Ingest again"):
        store.text(1)
