"""Results of a language model; imports nothing heavy."""

from eightgig.core.records import Record


class LanguageReport(Record):
    """A language model on held-out text.

    Attributes:
        num_blocks: of text.
        num_tokens: that were predicted.
        num_bytes: of UTF-8 that those stand for.
        loss: mean cross-entropy of a token, nats.
        perplexity: its exponential; compares networks with the same tokenizer alone.
        bits_per_byte: compares any.
        next_token_accuracy: share of tokens that were the likeliest.
        bits_per_byte_by_document: of the blocks that begin in each document.
    """

    num_blocks: int
    num_tokens: int
    num_bytes: int
    loss: float
    perplexity: float
    bits_per_byte: float
    next_token_accuracy: float
    bits_per_byte_by_document: dict[str, float]
