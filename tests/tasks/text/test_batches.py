"""Blocks and batches of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.data.store.tokenizers import byte_lengths, separator_of, train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.tasks.text.loader import token_batches
from eightgig.tasks.text.packing import pack_blocks


@given(st.lists(st.lists(st.integers(1, 50), max_size=30), min_size=1, max_size=8), st.integers(1, 9))
def test_each_token_but_the_first_is_predicted_once(documents, block_size):
    joined = [token for document in documents for token in (0, *document)]
    if len(joined) <= block_size:
        with pytest.raises(DataError, match=f"wanted {block_size + 1} tokens or more"):
            pack_blocks(documents, block_size=block_size, separator_id=0)
        return
    packed = pack_blocks(documents, block_size=block_size, separator_id=0)
    assert all(len(block) == block_size + 1 for block in packed.blocks)
    predicted = [token for block in packed.blocks for token in block[1:].tolist()]
    assert predicted == joined[1 : 1 + len(predicted)]
    assert packed.dropped == len(joined) - 1 - len(predicted) < block_size
    owners = [number for number, document in enumerate(documents) for _ in (0, *document)]
    assert list(packed.documents) == [owners[place * block_size] for place in range(len(packed.blocks))]


@pytest.fixture
def store(tmp_path):
    lengths = np.random.default_rng(0).integers(1, 200, size=1003)
    TokenContent(
        tokens=[np.full(length, 7) for length in lengths],
        labels=[int(length % 2) for length in lengths],
        texts=None,
        num_bytes=lengths.tolist(),
        paths=[""] * len(lengths),
        classes=("even", "odd"),
        tokenizer_json=train_bpe(["text"], vocab_size=260),
        vocab_size=260,
        max_tokens=200,
    ).write(tmp_path / "store.h5")
    return TokenStore(tmp_path / "store.h5")


def epoch(loader, number=1):
    loader.sampler.set_epoch(number)
    return list(loader)


def padding(batches):
    return 1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(b["input_ids"].numel() for b in batches)


def test_buckets_hold_every_sample_once_and_pad_little(store):
    loader = token_batches(store, range(1003), batch_size=8, shuffle=True, seed=3)
    batches = epoch(loader)
    assert len(batches) == len(loader) == 126
    seen = [index for batch in batches for index in batch["indices"].tolist()]
    assert sorted(seen) == list(range(1003))
    assert padding(batches) < 0.06
    assert padding(epoch(token_batches(store, range(1003), batch_size=8, shuffle=True, buckets=False))) > 0.3
    longest = [batch["input_ids"].shape[1] for batch in batches[:50]]
    assert longest != sorted(longest)  # the batches are mixed


def test_epochs_differ_and_come_again(store):
    loader = token_batches(store, range(1003), batch_size=8, shuffle=True, seed=3)
    first, second, again = ([batch["indices"].tolist() for batch in epoch(loader, number)] for number in (1, 2, 1))
    assert first != second
    assert first == again


def test_the_order_does_not_depend_on_workers(store):
    alone = epoch(token_batches(store, range(40), batch_size=8, shuffle=True))
    helped = epoch(token_batches(store, range(40), batch_size=8, shuffle=True, num_workers=1))
    assert [b["input_ids"].tolist() for b in alone] == [b["input_ids"].tolist() for b in helped]


def test_padding_is_masked_and_long_texts_are_cut(store):
    (batch,) = token_batches(store, [0, 1, 2], batch_size=3, shuffle=False, max_tokens=20, pad_to=32)
    assert batch["input_ids"].shape == (3, 32)
    assert batch["attention_mask"].sum(1).tolist() == [min(20, length) for length in store.lengths[:3].tolist()]
    assert (batch["input_ids"] == 7).sum() == batch["attention_mask"].sum()
    assert batch["labels"].tolist() == store.labels[:3].tolist()


def test_a_trained_tokenizer_covers_every_byte_and_knows_its_bytes():
    tokenizer = Tokenizer.from_str(train_bpe(["the rain in Spain stays mainly in the plain"] * 3, vocab_size=280))
    lengths = byte_lengths(tokenizer)
    for text in ("the plain rain", "naïve — 漢字 \U0001f600\n\t"):
        ids = tokenizer.encode(text).ids
        assert int(lengths[ids].sum()) == len(text.encode())
        assert tokenizer.decode(ids) == text
    assert lengths[separator_of(tokenizer)] == 0


def test_a_tokenizer_of_words_has_no_bits_per_byte():
    from tokenizers import models

    words = Tokenizer(models.WordLevel({"[SEP]": 0, "ein — Wort": 1}, unk_token="[SEP]"))  # noqa: S106
    assert separator_of(words) == 0
    with pytest.raises(ConfigurationError, match="wanted a byte-level BPE"):
        byte_lengths(words)
    with pytest.raises(ConfigurationError, match="wanted a token that ends a text"):
        separator_of(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))  # noqa: S106
