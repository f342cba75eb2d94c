"""Tokenizers as the text of a `tokenizer.json`: trained, told apart, and what their tokens are in bytes."""

import json
from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from eightgig.core.errors import ConfigurationError

END_OF_TEXT = "<|endoftext|>"  # GPT-2's
_SEPARATORS = (END_OF_TEXT, "</s>", "[SEP]", "<eos>")


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> str:
    """Give a byte-level BPE (as GPT-2's) of `vocab_size` tokens at most, trained on the texts.

    Every text has tokens in it, for the 256 bytes are tokens. The same texts give the same tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def fingerprint(tokenizer_json: str) -> str:
    """Give the SHA-256 of what decides the tokens: how texts are cut or padded plays no part."""
    values = {**json.loads(tokenizer_json), "truncation": None, "padding": None}
    return sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def separator_of(tokenizer: Tokenizer) -> int:
    """Give the id of the token between documents.

    Raises:
        ConfigurationError: it has none of the usual ones.
    """
    found = next((tokenizer.token_to_id(name) for name in _SEPARATORS if tokenizer.token_to_id(name) is not None), None)
    if found is None:
        raise ConfigurationError(
            f"tokenizer: wanted a token that ends a text ({', '.join(_SEPARATORS)}), found none. Take a tokenizer that "
            "was made for a language model."
        )
    return int(found)


def byte_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Give the bytes of UTF-8 that each token of a byte-level BPE stands for, by id; special tokens stand for none.

    Raises:
        ConfigurationError: its tokens are not bytes, so bits per byte would not be defined.
    """
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, index in vocabulary.items():
        if token in special:
            continue
        if not alphabet.issuperset(token):  # in a byte-level BPE each letter of a token is one byte
            raise ConfigurationError(
                f"tokenizer: wanted a byte-level BPE as GPT-2's, found the token {token!r}, which is not made of "
                "bytes. Take such a tokenizer, or let one be trained (model.weights none, model.tokenizer null)."
            )
        lengths[index] = len(token)
    return lengths
