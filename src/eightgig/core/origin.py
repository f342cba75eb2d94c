"""What made a file: kept beside all outputs, so that those which the present parameters would not make are known."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eightgig.core.files import write_text
from eightgig.core.records import Effect, Record

_HASHED_WHOLE = 16 * 1024**2
_HASHED_END = 1024**2


class Origin(Record):
    """What made an output.

    Attributes:
        node: of the pipeline.
        parameters: of the node, by dotted names, as text.
        inputs: fingerprints of the outputs of other nodes that it was made from, by name.
        fingerprint: of the output's own files.
    """

    node: str
    parameters: dict[str, str]
    inputs: dict[str, str]
    fingerprint: str
    eightgig: str

    def changes(self, parameters: Mapping[str, str], inputs: Mapping[str, str]) -> list[str]:
        """Return what is other now than when it was made, for a person."""
        anew = [name for name in sorted(inputs) if self.inputs.get(name) != inputs[name]]
        return [*changes(parameters, self.parameters), *(f"{name} was made anew since" for name in anew)]


def flat(parts: Mapping[str, Any], prefix: str = "", *, without: Collection[Effect] = ()) -> dict[str, str]:
    """Return the leaves of records and mappings by dotted names, as text.

    Args:
        parts: records and plain values by name.
        prefix: put before each name.
        without: fields of records that have one of these effects are left out.
    """
    leaves: dict[str, str] = {}
    for name, value in parts.items():
        plain = value.dump_without(*without) if isinstance(value, Record) else value
        if isinstance(plain, Mapping):
            leaves |= flat(plain, f"{prefix}{name}.", without=without)
        else:
            leaves[f"{prefix}{name}"] = str(plain)
    return leaves


def changes(now: Mapping[str, str], earlier: Mapping[str, str]) -> list[str]:
    """Return which leaves are other than they were, for a person."""
    return [
        f"{name} is {now.get(name, 'not there')}, was {earlier.get(name, 'not there')}"
        for name in sorted(now.keys() | earlier.keys())
        if now.get(name) != earlier.get(name)
    ]


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash that names the content of files; of files above 16 MiB their size and both ends."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            if size <= _HASHED_WHOLE:
                digest.update(file.read())
                continue
            digest.update(file.read(_HASHED_END))
            file.seek(-_HASHED_END, 2)
            digest.update(file.read())
    return digest.hexdigest()[:32]


def read_origin(path: Path) -> Origin | None:
    """Read what `write_origin` wrote; None where there is nothing that can be read."""
    try:
        return Origin.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_origin(path: Path, origin: Origin) -> None:
    """Write it, whole or not at all."""
    write_text(path, origin.model_dump_json(indent=1) + "\n")
