"""Trained weights, and the folder in which a training run keeps its checkpoints on the way to them."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from eightgig.core.errors import WeightsError
from eightgig.core.files import has_checksum, waiting_checksum
from eightgig.datasets.files import FileDataset
from eightgig.models.weights_file import Weights, card_path, load_weights, save_weights

__all__ = ["CheckpointFolderDataset", "Weights", "WeightsDataset"]


class WeightsDataset(FileDataset[Weights, Weights]):
    """`NAME.safetensors` with `NAME.card.json` beside it, which holds the weights' SHA-256."""

    def save(self, data: Weights) -> None:
        """Write the weights and the card that vouches for them."""
        save_weights(self.path, data)

    def load(self) -> Weights:
        """Read weights and card, and check that they belong together."""
        try:
            return load_weights(self.path)
        except WeightsError as error:
            raise DatasetError(str(error)) from error

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights and their card, also one that a kill left waiting."""
        card = card_path(self.path)
        return self.path, card, waiting_checksum(card)

    def _exists(self) -> bool:
        return self.path.is_file() and has_checksum(card_path(self.path))


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
