"""Documents of any length as blocks of one length, so that nothing is padded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import DataError

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Packed:
    """Blocks of one length.

    Attributes:
        blocks: `block_size` + 1 tokens each; the last token of one is the first of the next, so that each token but the
            very first is predicted once.
        documents: for each block, the document that it begins in.
        dropped: tokens behind the last whole block.
    """

    blocks: tuple[Tokens, ...]
    documents: tuple[int, ...]
    dropped: int


def pack_blocks(documents: Iterable[Sequence[int]], *, block_size: int, separator_id: int) -> Packed:
    """Join the documents with a separator before each, and cut them into blocks.

    Raises:
        DataError: there is not one block of text.
    """
    parts: list[Tokens] = []
    starts = [0]
    for document in documents:
        parts.append(np.array([separator_id, *document], dtype=np.int64))
        starts.append(starts[-1] + len(parts[-1]))
    tokens = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    count = max(0, (len(tokens) - 1) // block_size)
    if not count:
        raise DataError(
            f"wanted {block_size + 1} tokens or more in each split, found {len(tokens)}. Give longer documents, more "
            "of them, or a smaller model.max_tokens."
        )
    firsts = np.arange(count) * block_size
    blocks = tuple(tokens[first : first + block_size + 1] for first in firsts)
    owners = np.searchsorted(starts[1:], firsts, side="right")
    return Packed(blocks, tuple(int(owner) for owner in owners), len(tokens) - 1 - count * block_size)
