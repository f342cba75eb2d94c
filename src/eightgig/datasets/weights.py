"""Trained weights as safetensors, with a card beside them that says what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError
from pydantic import TypeAdapter, ValidationError

from eightgig.core.files import sha256_of
from eightgig.data.store.checksummed import has_checksum, read_checksums, waiting_checksum, write_checksummed
from eightgig.datasets.files import FileDataset
from eightgig.models.cards import AgentCard, ImageCard, TextCard

if TYPE_CHECKING:
    from torch import Tensor

_CARDS: TypeAdapter[ImageCard | TextCard | AgentCard] = TypeAdapter(ImageCard | TextCard | AgentCard)


@dataclass(frozen=True)
class Weights:
    """A state dict with its card.

    The card is of the case study's own kind, `ImageCard`, `TextCard` or `AgentCard`; what all stages share is in
    `WeightsCard`.
    """

    state: dict[str, "Tensor"]
    card: Any


class WeightsDataset(FileDataset[Weights, Weights]):
    """`NAME.safetensors` with `NAME.card.json` beside it, which holds the weights' SHA-256."""

    def save(self, data: Weights) -> None:
        """Write the weights and the card that vouches for them; a kill leaves the older two or the newer two."""
        from safetensors.torch import save

        content = save(_apart(data.state))
        card = data.card.model_copy(update={"sha256": sha256_of(content)})
        write_checksummed(self.path, content, self._card_path, card.model_dump_json(indent=2) + "\n")

    def load(self) -> Weights:
        """Read weights and card, and check that they belong together."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = self.path.read_bytes()
        card = self._card_of(content)
        try:
            return Weights(load(content), card)
        except (SafetensorError, ValueError, LookupError) as error:
            raise DatasetError(
                f"{self.path}: wanted weights as safetensors, but it cannot be read as such ({error}). Train again, or "
                "put the right file back."
            ) from error

    def _card_of(self, content: bytes) -> ImageCard | TextCard | AgentCard:
        digest, found = sha256_of(content), "SHA-256 differs"
        try:
            for text in read_checksums(self._card_path):
                card = _CARDS.validate_json(text)
                if card.sha256 == digest:
                    return card
        except (FileNotFoundError, UnicodeDecodeError, ValidationError) as error:
            found = f"{self._card_path.name}: {error}"
        raise DatasetError(
            f"{self.path} is not the file its card vouches for ({found}): it is damaged or was replaced. "
            "Train again, or put the right file back."
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights and their card, also one that a kill left waiting."""
        return self.path, self._card_path, waiting_checksum(self._card_path)

    def _exists(self) -> bool:
        return self.path.is_file() and has_checksum(self._card_path)

    @property
    def _card_path(self) -> Any:
        return self.path.with_suffix(".card.json")


def _apart(state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Copy tensors that share memory: safetensors takes no two names for one, so tied weights are written twice."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        own = tensor.detach().cpu().contiguous()
        apart[name] = own.clone() if own.data_ptr() in taken and own.numel() else own
        taken.add(own.data_ptr())
    return apart
