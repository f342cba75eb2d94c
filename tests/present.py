"""What a test knows to be there, where its type says that it may not be."""

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """Return the value; None fails the test here, and not at what is asked of it."""
    assert value is not None
    return value
