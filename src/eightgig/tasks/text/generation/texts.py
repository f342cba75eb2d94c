"""From tokens to text as it grows, without half letters and without what a stop string cuts off."""

from collections.abc import Sequence

from tokenizers import Tokenizer

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one row of tokens, given out as soon as it is certain.

    A token of a byte-level BPE may hold half a letter: nothing is given out before the letter is whole. What may be the
    beginning of a stop string waits until it is known not to be one; from a stop string on, nothing is given out.

    Args:
        tokenizer: that made the tokens.
        stop: strings that end the text.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._ids: list[int] = []
        self._given = 0
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one token; give what is new and certain."""
        self._ids.append(token)
        text = self._decoded()
        end = self._end_of(text)
        if end is not None:
            self.stopped = True
            return self._give(text, end)
        return self._give(text, self._certain(text))

    def close(self) -> str:
        """Return what was held back, when no more tokens come."""
        return "" if self.stopped else self._give(self._decoded(), None)

    @property
    def text(self) -> str:
        """All of the text, cut before a stop string."""
        text = self._decoded()
        return text[: self._end_of(text)]

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))

    def _end_of(self, text: str) -> int | None:
        places = [place for place in (text.find(stop) for stop in self._stop if stop) if place >= 0]
        return min(places, default=None)

    def _certain(self, text: str) -> int:
        end = len(text.rstrip(_UNKNOWN))
        for stop in self._stop:
            for size in range(min(len(stop) - 1, end), 0, -1):
                if text[:end].endswith(stop[:size]):
                    end -= size
                    break
        return end

    def _give(self, text: str, end: int | None) -> str:
        fresh = text[self._given : end]
        self._given += len(fresh)
        return fresh
