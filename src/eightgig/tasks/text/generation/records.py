"""Results of a language model and of the texts that it wrote; imports nothing heavy."""

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


class Written(Record):
    """One text.

    Attributes:
        prompt: what it began with.
        text: what was written behind it.
        num_tokens: that were written.
        finish_reason: `stop` or `length`.
    """

    prompt: str
    text: str
    num_tokens: int
    finish_reason: str


class WrittenTexts(Record):
    """Texts that were written side by side.

    Attributes:
        texts: in the order of their prompts.
        seconds: for all of them.
        tokens_per_second: of all texts together.
        precision: of the weights.
    """

    texts: tuple[Written, ...]
    seconds: float
    tokens_per_second: float
    precision: str = "fp32"  # before there was a choice


class GenerationSpeed(Record):
    """One way of writing, measured.

    Attributes:
        cache: whether keys and values are kept.
        batch: texts side by side.
        tokens: written in each.
        seconds: median of the runs.
        tokens_per_second: of all texts together.
        first_token_ms: until the first token is there, median.
        kv_cache_bytes: of keys and values at the end, by their shapes; 0 without a cache.
        peak_bytes: that torch held on the GPU at most; None on the CPU.
        device: where.
        precision: of the weights.
    """

    cache: bool
    batch: int
    tokens: int
    seconds: float
    tokens_per_second: float
    first_token_ms: float
    kv_cache_bytes: int
    peak_bytes: int | None
    device: str
    precision: str
