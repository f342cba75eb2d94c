"""Changes of an ONNX file's fields: it stays a protobuf message, of something that is no sound network."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import onnx
from hypothesis import strategies as st
from tests.fuzz.edits import HUGE, Edits, apply_all, byte_edits, strange_texts

_BITS = {1: 32, 2: 64, 3: 32, 4: 64}  # of integers, by protobuf's number of the type; 1 and 2 have a sign


class Field(NamedTuple):
    """Where a value stands: in which message, under which name, and of a repeated field at which place."""

    message: Any
    descriptor: Any
    place: int | None


class InMessage(NamedTuple):
    """One field of an ONNX file is set, dropped, doubled, or takes the value of another one of its kind."""

    nth: int
    what: str
    value: Any
    other: int

    def apply(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except Exception:  # noqa: BLE001 - an earlier edit has broken it
            return data
        fields = list(_fields(model))
        if fields:
            self._change(fields, fields[self.nth % len(fields)])
        return bytes(model.SerializeToString())

    def _change(self, fields: list[Field], field: Field) -> None:
        message, descriptor, place = field
        if self.what == "drop":
            _drop(field)
        elif self.what == "double" and place is not None:
            getattr(message, descriptor.name).append(getattr(message, descriptor.name)[place])
        elif descriptor.message_type is None:
            same = [_value(one) for one in fields if one.descriptor.type == descriptor.type]
            taken = same[self.other % len(same)] if self.what == "take" else self.value
            with suppress(ValueError):  # no such kind
                _put(field, _fitting(descriptor, taken, _value(field)))


def _fields(message: Any) -> Iterator[Field]:
    for descriptor, value in message.ListFields():
        repeated = descriptor.is_repeated
        for place, one in enumerate(value) if repeated else [(None, value)]:
            if place is not None and place > 20:  # the elements of a tensor
                break
            yield Field(message, descriptor, place)
            if descriptor.message_type is not None:
                yield from _fields(one)


def _value(field: Field) -> Any:
    value = getattr(field.message, field.descriptor.name)
    return value if field.place is None else value[field.place]


def _drop(field: Field) -> None:
    if field.place is None:
        field.message.ClearField(field.descriptor.name)
    else:
        del getattr(field.message, field.descriptor.name)[field.place]


def _put(field: Field, value: Any) -> None:
    if field.place is None:
        setattr(field.message, field.descriptor.name, value)
    else:
        getattr(field.message, field.descriptor.name)[field.place] = value


def _fitting(descriptor: Any, value: Any, old: Any) -> Any:
    """Return the value, or what comes near to it in the field's own type."""
    if isinstance(old, str):
        return str(value).encode("utf-8", "replace").decode()
    if isinstance(old, bytes):
        return value if isinstance(value, bytes) else apply_all(value, old) if isinstance(value, tuple) else old[1:]
    if isinstance(old, float):
        return float(value) if isinstance(value, int | float) else 1e38
    number = value if isinstance(value, int) else len(str(value))
    bits = _BITS.get(descriptor.cpp_type)
    if bits is None:  # one of a few kinds
        return number % 30
    low = -(2 ** (bits - 1)) if descriptor.cpp_type in (1, 2) else 0
    return (number - low) % 2**bits + low


def onnx_edits(data: bytes) -> st.SearchStrategy[Edits]:
    """Changes of single fields, up to four at once."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    num_fields = len(list(_fields(model)))
    numbers = st.sampled_from((*HUGE, 0, 1, 2, 3, -1, -2, 10**6, 7, 10, 16)) | st.integers(-(2**40), 2**40)
    value = numbers | numbers | strange_texts() | byte_edits(b"\0" * 64) | st.binary(max_size=8)
    change = st.builds(
        InMessage,
        st.integers(0, num_fields - 1),
        st.sampled_from(("set", "set", "set", "take", "take", "drop", "double")),
        value,
        st.integers(0, 10**4),
    )
    return st.lists(change, min_size=1, max_size=4).map(tuple)
