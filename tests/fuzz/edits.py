"""What is done to a valid file to make a hostile one: small edits, each a value whose `repr` builds it again.

An edit never fails: where it does not apply (no such line, not JSON any more) the bytes stay as they are. `others` are
the same file of the reader's other seeds, for edits that join two files.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from hypothesis import strategies as st

HUGE = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
STRANGE_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32_767, 65_535, 65_536, *HUGE, -1, -2, -(2**31), -(2**63))
STRANGE_TEXTS = (
    *("", " ", "nan", "-inf", "1e999", "-1", "-0.0", "1e-400", "0x10", "9" * 400, "1_000", "٣", "null", "true"),
    *("../../etc/passwd", "/dev/zero", "a\0b", "\ud800", "\ufeff", "☃" * 50, "x" * 5_000, "${a}", "&a;", "*a", "!!x"),
)  # fmt: skip
_TOKEN = re.compile(rb"\d[\d.eE+-]*|\w+|[^\w\s]")
_CODES = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q", "<i", "<d")
_OPENINGS = ("[", "{", '{"a":', "(", "<a>", "- ", "&a [", "- - ", '"', "\\")
_ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037")


class Edit(Protocol):
    """One change of a file's bytes."""

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes: ...


Edits = tuple[Edit, ...]
Strategy = Callable[[bytes], st.SearchStrategy[Edits]]
"""From a valid file to the edits of it that are worth a try."""


def apply_all(edits: Edits, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    for edit in edits:
        data = edit.apply(data, others)
    return data


class Flip(NamedTuple):
    """One bit turned over."""

    at: int
    bit: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        at = self.at % max(1, len(data))
        return data[:at] + bytes(byte ^ 1 << self.bit for byte in data[at : at + 1]) + data[at + 1 :]


class Put(NamedTuple):
    """Bytes in the place of others."""

    at: int
    content: bytes

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return data[: self.at] + self.content + data[self.at + len(self.content) :]


class Number(NamedTuple):
    """A number in the place of bytes, in one of `struct`'s formats: a length, an offset, a count."""

    at: int
    value: int
    code: str

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        size = struct.calcsize(self.code)
        whole = struct.pack(self.code, self.value) if self.code == "<d" else self._cut(size)
        return Put(self.at, whole).apply(data)

    def _cut(self, size: int) -> bytes:
        order = "little" if self.code[0] == "<" else "big"
        return (self.value % 256**size).to_bytes(size, order)


class Insert(NamedTuple):
    """Bytes between others."""

    at: int
    content: bytes

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return data[: self.at] + self.content + data[self.at :]


class Cut(NamedTuple):
    """The file ends early."""

    at: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return data[: self.at]


class Drop(NamedTuple):
    """A range is missing."""

    at: int
    length: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return data[: self.at] + data[self.at + self.length :]


class Fill(NamedTuple):
    """A range of one byte, as a disk leaves it."""

    at: int
    length: int
    byte: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        count = len(data[self.at : self.at + self.length])
        return data[: self.at] + bytes([self.byte]) * count + data[self.at + count :]


class Copy(NamedTuple):
    """A range once more: in the place of another, or between."""

    source: int
    length: int
    at: int
    between: bool

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        content = data[self.source : self.source + self.length]
        return (Insert if self.between else Put)(self.at, content).apply(data)


class Swap(NamedTuple):
    """Two ranges change places."""

    first: int
    second: int
    length: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        one, two = (data[at : at + self.length] for at in (self.first, self.second))
        return Put(self.second, one).apply(Put(self.first, two).apply(data))


class Splice(NamedTuple):
    """The head of this file on the tail of another."""

    at: int
    other: int
    other_at: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        tail = others[self.other % len(others)] if others else data
        return data[: self.at] + tail[self.other_at :]


class Become(NamedTuple):
    """Something else altogether."""

    content: bytes

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return self.content


class Token(NamedTuple):
    """A number, a word or a sign of a text becomes another."""

    nth: int
    by: str

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        found = list(_TOKEN.finditer(data))
        if not found:
            return data
        start, end = found[self.nth % len(found)].span()
        return data[:start] + self.by.encode("utf-8", "surrogatepass") + data[end:]


class Line(NamedTuple):
    """A line of a text is dropped, doubled, emptied, or moved to the end."""

    nth: int
    what: str

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        lines = data.splitlines(keepends=True)
        if not lines:
            return data
        place = self.nth % len(lines)
        made = {"drop": [], "double": [lines[place]] * 2, "empty": [b"\n"], "move": []}[self.what]
        end = [lines[place]] if self.what == "move" else []
        return b"".join([*lines[:place], *made, *lines[place + 1 :], *end])


class Nest(NamedTuple):
    """Openings without a closing: what reads nested things by recursion runs out of stack."""

    at: int
    opening: str
    length: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return Insert(self.at, self.opening.encode() * self.length).apply(data)


class Recode(NamedTuple):
    """The same text in another encoding."""

    encoding: str

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        return data.decode("utf-8", "replace").encode(self.encoding, "replace")


class Node(NamedTuple):
    """A value of a JSON text, `nth` in its order, is set, dropped, doubled or wrapped, or its key renamed."""

    nth: int
    what: str
    value: Any

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        try:
            root = [json.loads(data)]
        except (ValueError, RecursionError):
            return data
        places = list(_places(root))
        holder, key = places[self.nth % len(places)]
        self._change(holder, key)
        return json.dumps(root[0] if root else None).encode()

    def _change(self, holder: Any, key: Any) -> None:
        if self.what == "set":
            holder[key] = self.value
        elif self.what == "drop":
            del holder[key]
        elif self.what == "wrap":
            holder[key] = [holder[key]]
        elif self.what == "double":
            holder[key] = [holder[key]] * 2 if isinstance(holder, dict) else holder[key]
        elif isinstance(holder, dict):
            holder[str(self.value)[:50]] = holder.pop(key)


def _places(node: Any) -> Any:
    """Yield where every value of a JSON text stands: what holds it, and under which key."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def positions(size: int) -> st.SearchStrategy[int]:
    """Anywhere, and twice as often near the ends, where formats keep what they say of themselves."""
    last = max(0, size - 1)
    return st.integers(0, last) | st.integers(0, min(last, 200)) | st.integers(max(0, last - 200), last)


def counts(size: int) -> st.SearchStrategy[int]:
    return st.integers(1, 16) | st.integers(1, max(1, min(size, 4096)))


@st.composite
def numbers(draw: Any, size: int) -> Number:
    code = draw(st.sampled_from(_CODES))
    value = draw(st.sampled_from(STRANGE_NUMBERS) | st.integers(0, 2 * size) | st.integers(0, 2**32 - 1))
    return Number(draw(positions(size)), value, code)


def byte_edits(data: bytes) -> st.SearchStrategy[Edits]:
    """For files of any kind."""
    at, count = positions(len(data)), counts(len(data))
    edit = st.one_of(
        st.builds(Flip, at, st.integers(0, 7)),
        st.builds(Put, at, st.binary(min_size=1, max_size=8)),
        numbers(len(data)),
        numbers(len(data)),
        st.builds(Insert, at, st.binary(min_size=1, max_size=12)),
        st.builds(Cut, at),
        st.builds(Drop, at, count),
        st.builds(Fill, at, count, st.sampled_from((0, 255))),
        st.builds(Copy, at, count, at, st.booleans()),
        st.builds(Swap, at, at, count),
        st.builds(Splice, at, st.integers(0, 9), at),
    )
    whole = st.sampled_from((b"", b"\0" * 4096, b"<html><body>404</body></html>", b"\xff" * 100, b"\x1f\x8b", b"PK"))
    return _some(edit) | _some(edit) | _some(edit) | st.builds(Become, whole).map(lambda one: (one,))


def text_edits(data: bytes) -> st.SearchStrategy[Edits]:
    """For texts: their words, numbers and lines; one in five as for any file."""
    num_tokens, num_lines = len(_TOKEN.findall(data)), len(data.splitlines())
    edit = st.one_of(
        st.builds(Token, st.integers(0, max(0, num_tokens - 1)), strange_texts()),
        st.builds(Token, st.integers(0, max(0, num_tokens - 1)), st.sampled_from([str(n) for n in STRANGE_NUMBERS])),
        st.builds(Line, st.integers(0, max(0, num_lines - 1)), st.sampled_from(("drop", "double", "empty", "move"))),
        st.builds(Nest, positions(len(data)), st.sampled_from(_OPENINGS), st.sampled_from((1, 3, 100, 2_000, 50_000))),
        st.builds(Recode, st.sampled_from(_ENCODINGS)),
    )
    return _some(edit) | _some(edit) | _some(edit) | _some(edit) | byte_edits(data)


def json_edits(data: bytes) -> st.SearchStrategy[Edits]:
    """For JSON: its values and keys, which stay JSON; and as for any text."""
    num_values = len(list(_places([json.loads(data)])))
    change = st.sampled_from(("set", "set", "set", "drop", "drop", "wrap", "double", "rename"))
    edit = st.builds(Node, st.integers(0, num_values - 1), change, strange_values())
    return _some(edit) | _some(edit) | text_edits(data)


def strange_texts() -> st.SearchStrategy[str]:
    return st.sampled_from(STRANGE_TEXTS) | st.text(max_size=8)


def strange_values() -> st.SearchStrategy[Any]:
    """What JSON can hold and a program may not expect; deep values are not here, `Nest` makes them."""
    plain = st.sampled_from((None, True, False, math.nan, math.inf, -math.inf, 1e308, -0.0, 0.5, [], {}, [[]], {"": 0}))
    return plain | st.sampled_from((*STRANGE_NUMBERS, 10**400)) | strange_texts() | st.integers() | st.floats()


def either(*strategies: Strategy) -> Strategy:
    """Edits of one of several kinds."""
    return lambda data: st.one_of(*(strategy(data) for strategy in strategies))


def _some(edit: st.SearchStrategy[Edit]) -> st.SearchStrategy[Edits]:
    return st.lists(edit, min_size=1, max_size=4).map(tuple)
