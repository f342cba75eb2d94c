"""The file of trained weights: safetensors, with a card beside it that says what they are and vouches for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from eightgig.core.errors import WeightsError
from eightgig.core.files import read_checksums, sha256_of, write_checksummed
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


def load_weights(path: Path | str) -> Weights:
    """Return trained weights, on the CPU, with their card, after a check that they belong together.

    Examples:
        >>> weights = load_weights("data/06_models/flower_classifier/weights.safetensors")
        >>> weights.card.model, weights.card.classes
        ('efficientnet_lite0', ('daisy', 'rose'))
        >>> sorted(weights.state)
        ['classifier.bias', 'classifier.weight']

    Args:
        path: a `NAME.safetensors` that the train or the compress stage wrote, with `NAME.card.json` beside it.

    Raises:
        WeightsError: there are none, they are damaged, or not those that the card vouches for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    content = _content(path)
    card = _card_of(content, path)
    try:
        return Weights(load(content), card)
    except (SafetensorError, ValueError, LookupError) as error:
        raise WeightsError(
            f"{path}: wanted weights as safetensors, but it cannot be read as such ({error}). Train again, or "
            "put the right file back."
        ) from error


def save_weights(path: Path, weights: Weights) -> None:
    """Write weights and the card that vouches for them; a kill leaves the older two or the newer two."""
    from safetensors.torch import save

    content = save(_apart(weights.state))
    card = weights.card.model_copy(update={"sha256": sha256_of(content)})
    write_checksummed(path, content, card_path(path), card.model_dump_json(indent=2) + "\n")


def card_path(path: Path) -> Path:
    """Return where the card of a file of weights lies."""
    return path.with_suffix(".card.json")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: wanted trained weights, but it cannot be read ({error.strerror}). Run the train stage, or name "
            "the file that it wrote."
        ) from error


def _card_of(content: bytes, path: Path) -> ImageCard | TextCard | AgentCard:
    digest, found = sha256_of(content), "SHA-256 differs"
    try:
        for text in read_checksums(card_path(path)):
            card = _CARDS.validate_json(text)
            if card.sha256 == digest:
                return card
    except (FileNotFoundError, UnicodeDecodeError, ValidationError) as error:
        found = f"{card_path(path).name}: {error}"
    raise WeightsError(
        f"{path} is not the file its card vouches for ({found}): it is damaged or was replaced. "
        "Train again, or put the right file back."
    )


def _apart(state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Copy tensors that share memory: safetensors takes no two names for one, so tied weights are written twice."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        own = tensor.detach().cpu().contiguous()
        apart[name] = own.clone() if own.data_ptr() in taken and own.numel() else own
        taken.add(own.data_ptr())
    return apart
