"""The folder a training run keeps its checkpoints in, as a dataset."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError


class CheckpointFolderDataset(AbstractDataset[None, Path]):
    """Loads as the path of a folder, made when it is missing; the training loop writes checkpoints into it itself.

    A checkpoint must be on disk before its epoch is over, long before a node's outputs are saved: so this is an input.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the folder."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        return self._filepath

    def save(self, data: None) -> None:  # noqa: ARG002
        """Refuse: checkpoints are written by the training loop."""
        raise DatasetError("A checkpoint folder is an input: the training loop writes into it.")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
