"""A training run's state on disk, after each epoch."""

from pathlib import Path
from typing import Any

from eightgig.core.files import atomic_write

LAST = "last.pt"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> Path:
    """Write `state` as the folder's last checkpoint, atomically: a kill leaves the one before it."""
    import torch

    path = folder / LAST
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
    return path


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read the folder's last checkpoint; only tensors and plain values are accepted, never pickled code."""
    import torch

    state: dict[str, Any] = torch.load(folder / LAST, map_location="cpu", weights_only=True)
    return state
