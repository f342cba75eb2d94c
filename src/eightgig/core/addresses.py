"""Classes and functions by the address that another process finds them at: `package.module:name`."""

from importlib import import_module
from typing import Any


def address_of(thing: Any) -> str:
    """Return the address of a class or function of a module."""
    return f"{thing.__module__}:{thing.__qualname__}"


def at_address(address: str) -> Any:
    """Return the class or function of an address.

    Raises:
        ModuleNotFoundError: there is no such module.
        AttributeError: it has none of that name.
    """
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
