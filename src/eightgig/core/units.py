"""Bytes are int inside the project; GiB and MiB exist only where a person reads them."""

KIB = 1024
MIB = 1024**2
GIB = 1024**3


def gib(num_bytes: float) -> float:
    """Convert bytes to GiB."""
    return num_bytes / GIB


def mib(num_bytes: float) -> float:
    """Convert bytes to MiB."""
    return num_bytes / MIB


def bytes_from_gib(size_gib: float) -> int:
    """Convert GiB to whole bytes."""
    return int(size_gib * GIB)


def format_bytes(num_bytes: float) -> str:
    """Write a byte count for a person: `512 B`, `1.5 KiB`, `7.2 GiB`."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(num_bytes) >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} B"
