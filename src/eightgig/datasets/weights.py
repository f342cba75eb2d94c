"""Trained weights as a dataset."""

from pathlib import Path

from kedro.io import DatasetError

from eightgig.core.checksummed import has_checksum, waiting_checksum
from eightgig.core.errors import WeightsError
from eightgig.datasets.files import FileDataset
from eightgig.models.weights_file import Weights, card_path, load_weights, save_weights

__all__ = ["Weights", "WeightsDataset"]


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
