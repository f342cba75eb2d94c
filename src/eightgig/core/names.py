"""Names of files and classes, compared as a person reads them: one letter may be stored in several ways.

macOS writes `é` as two code points (decomposed, NFD), Windows and Linux as one (composed, NFC); both look the same.
"""

import unicodedata
from collections.abc import Iterable


def composed(name: str) -> str:
    """Return `name` in Unicode's composed form (NFC), in which two names that look the same are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """Return what two names have in common that differ in their form or case alone."""
    return composed(composed(name).casefold())


def alike_but_for_case(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of two names or more that differ in their form or case alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name_key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def quoted(name: str, *others: str) -> str:
    """Return `name` in quotation marks, its accents escaped where one of `others` looks the same and is not."""
    looks_the_same = any(other != name and composed(other) == composed(name) for other in others)
    return ascii(name) if looks_the_same else f"'{name}'"


def all_quoted(names: Iterable[str]) -> str:
    """Return the names in quotation marks, joined by commas, with escapes where two of them look the same."""
    listed = tuple(names)
    return ", ".join(quoted(name, *listed) for name in listed)
