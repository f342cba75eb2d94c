"""Tokenizers as the text of a `tokenizer.json`: trained, told apart, and what their tokens are in bytes."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from eightgig.core.errors import ConfigurationError

END_OF_TEXT = "<|endoftext|>"  # GPT-2's
_TRIAL = "Words, and \N{SNOWMAN}."
_MOST_TOKENS = 10_000_000
# Of GPT-2, Llama, BERT, Gemma, Llama 3, Qwen and DeepSeek, by their published tokenizers.
_SEPARATORS = (
    END_OF_TEXT, "</s>", "[SEP]", "<eos>", "<|end_of_text|>", "<|im_end|>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> str:
    """Return a byte-level BPE (as GPT-2's) of `vocab_size` tokens at most, trained on the texts.

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


def parse_tokenizer(tokenizer_json: str) -> Tokenizer:
    """Return the tokenizer of a `tokenizer.json`, tried on a few letters: what is no tokenizer is known at once.

    Raises:
        ConfigurationError: it is none, or one that cannot be used.
    """
    try:
        _require_usable_ids(_values(tokenizer_json))
        tokenizer = Tokenizer.from_str(tokenizer_json)
        tokenizer.no_padding()
        tokenizer.encode(_TRIAL)
    except BaseException as error:
        # tokenizers raises no kind of its own, and panics (of Rust) are no Exceptions.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ConfigurationError(
            f"tokenizer: wanted a tokenizer.json, found one that cannot be used ({error}). Take another tokenizer, or "
            "save this one again with the library tokenizers."
        ) from error
    return tokenizer


def fingerprint(tokenizer_json: str) -> str:
    """Return the SHA-256 of what decides the tokens: how texts are cut or padded plays no part.

    Raises:
        ConfigurationError: it is no text of a tokenizer.
    """
    try:
        values = {**_values(tokenizer_json), "truncation": None, "padding": None}
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"tokenizer: wanted the JSON of a tokenizer.json, found something else ({error}). Name the right file."
        ) from error
    return sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _values(tokenizer_json: str) -> dict[str, Any]:
    values = json.loads(tokenizer_json)
    if not isinstance(values, dict):
        raise ValueError(f"a {type(values).__name__}")
    return values


def _require_usable_ids(values: Mapping[str, Any]) -> None:
    """Refuse two tokens of one number, and a huge gap: tokenizers lists all in it, until memory and process end."""
    model, added = values.get("model"), values.get("added_tokens")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else []
    if len({repr(number) for number in ids}) < len(ids):
        raise ValueError("two tokens with one number")
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    largest = max((number for number in ids if isinstance(number, int)), default=0)
    if largest >= _MOST_TOKENS:
        raise ValueError(f"a token with the number {largest}")


def separator_of(tokenizer: Tokenizer, end_of_text: int | None = None) -> int:
    """Return the id of the token between documents.

    Args:
        tokenizer: whose tokens they are.
        end_of_text: the network's own, for tokenizers that have none of the usual ones.

    Raises:
        ConfigurationError: it has none of the usual ones, and the network none.
    """
    found = next((tokenizer.token_to_id(name) for name in _SEPARATORS if tokenizer.token_to_id(name) is not None), None)
    if found is None and end_of_text is not None and tokenizer.id_to_token(end_of_text) is not None:
        return end_of_text
    if found is None:
        raise ConfigurationError(
            f"tokenizer: wanted a token that ends a text ({', '.join(_SEPARATORS)}), found none. Take a tokenizer that "
            "was made for a language model, or name the token by model.config: {eos_token_id: N}."
        )
    return int(found)


def byte_lengths(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Return the bytes of UTF-8 that each token of a byte-level BPE stands for, by id; special tokens stand for none.

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
