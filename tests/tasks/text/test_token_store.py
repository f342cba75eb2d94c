"""The store of tokens: what goes in comes out, and nothing foreign or damaged is read."""

import json
import pickle

import h5py
import numpy as np
import pytest
from tests.present import present

from eightgig.core.errors import StoreError
from eightgig.data.store.tokenizers import fingerprint, train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore, is_complete, require_tokenizer

TOKENIZER = train_bpe(["a small text, and another"], vocab_size=270)
TEXTS = ["first", "second, with ünïcode", ""]


def content(**changes):
    values = {
        "tokens": [[1, 2, 3], np.array([4, 5]), []],
        "labels": [0, 1, 1],
        "texts": TEXTS,
        "num_bytes": [5, 22, 0],
        "paths": ["a.txt", "b.txt:2", "c"],
        "classes": ("no", "yes"),
        "tokenizer_json": TOKENIZER,
        "vocab_size": 300,
        "max_tokens": 8,
    }
    return TokenContent(**{**values, **changes})


@pytest.fixture
def path(tmp_path):
    content().write(tmp_path / "store.h5")
    return tmp_path / "store.h5"


def test_what_goes_in_comes_out(path):
    store = TokenStore(path)
    assert [store.tokens(index).tolist() for index in range(3)] == [[1, 2, 3], [4, 5], []]
    assert [store.text(index) for index in range(3)] == TEXTS
    assert present(store.labels).tolist() == [0, 1, 1]
    assert store.lengths.tolist() == [3, 2, 0]
    assert (store.classes, store.paths) == (("no", "yes"), ("a.txt", "b.txt:2", "c"))
    assert (store.vocab_size, store.max_tokens, store.tokenizer_json) == (300, 8, TOKENIZER)
    assert is_complete(path)


def test_it_can_be_sent_to_another_process(path):
    store = TokenStore(path)
    store.tokens(0)
    assert pickle.loads(pickle.dumps(store)).tokens(1).tolist() == [4, 5]  # noqa: S301 - our own


def test_blocks_have_neither_labels_nor_texts(tmp_path):
    content(labels=None, texts=None, classes=(), vocab_size=100_000, tokens=[[99_999], [1], [2]]).write(
        tmp_path / "s.h5"
    )
    store = TokenStore(tmp_path / "s.h5")
    assert store.labels is None
    assert store.tokens(0).tolist() == [99_999]
    with pytest.raises(StoreError, match=r"keeps no texts"):
        store.text(0)


def test_a_flipped_bit_is_seen(path):
    with h5py.File(path) as file:
        place = file["tokens"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place + 8)
        byte = file.read(1)
        file.seek(place + 8)
        file.write(bytes([byte[0] ^ 4]))
    with pytest.raises(StoreError, match=r"sample 0 \(a.txt\) is damaged"):
        TokenStore(path).tokens(0)


def damage(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _set_link(file):
    del file["tokens"]
    file["tokens"] = h5py.ExternalLink("/etc/passwd", "/tokens")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.__setitem__("complete", False), "incomplete"),
        (lambda file: file.attrs.__setitem__("format", np.bytes_("other")), "eightgig-tokens 1, found other 1"),
        (lambda file: file.attrs.__setitem__("version", 9), "found eightgig-tokens 9"),
        (_set_link, "a link to elsewhere"),
        (lambda file: file.attrs.__delitem__("vocab_size"), "lacks vocab_size"),
        (lambda file: file.attrs.__setitem__("classes", np.bytes_("{")), "index of the store is damaged"),
        (lambda file: file.attrs.__setitem__("classes", np.bytes_(json.dumps(["one"]))), "do not belong together"),
        (lambda file: file.attrs.__setitem__("num_samples", 7), "do not belong together"),
        (lambda file: file.attrs.__setitem__("tokenizer_sha256", np.bytes_("0" * 64)), "do not belong together"),
        (lambda file: file["offsets"].__setitem__(1, 99), "do not belong together"),
    ],
)
def test_stores_that_are_none_are_refused(path, change, words):
    with pytest.raises(StoreError, match=words):
        TokenStore(damage(path, change))


def test_tokens_beyond_the_vocabulary_are_refused(path):
    damage(path, lambda file: file.attrs.__setitem__("vocab_size", 3))
    with pytest.raises(StoreError, match=r"holds the token 3 of 3"):
        TokenStore(path).tokens(0)


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "store.h5").write_bytes(b"not HDF5")
    assert not is_complete(tmp_path / "store.h5")
    with pytest.raises(StoreError, match=r"found none that can be read"):
        TokenStore(tmp_path / "store.h5")


def test_a_store_of_another_tokenizer_is_refused(path):
    store = TokenStore(path)
    require_tokenizer(store, fingerprint(TOKENIZER))
    other = fingerprint(train_bpe(["quite other words"], vocab_size=265))
    with pytest.raises(
        StoreError, match=f"made with the tokenizer {store.tokenizer_sha256[:12]}, .* wants {other[:12]}"
    ):
        require_tokenizer(store, other)


def test_how_texts_are_cut_is_no_part_of_the_fingerprint():
    cut = {**json.loads(TOKENIZER), "truncation": {"max_length": 5}}
    assert fingerprint(json.dumps(cut)) == fingerprint(TOKENIZER)
