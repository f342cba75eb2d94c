"""What an exported network says about itself; imports nothing heavy."""

import json
from collections.abc import Mapping
from typing import Self

from eightgig.core.errors import ExportError
from eightgig.core.records import Record


class _FileCard(Record):
    """What the files of all networks say.

    Attributes:
        model: the library's name of the architecture.
        classes: names, in the order of the scores.
        weights_sha256: of the weights file it was exported from.
    """

    model: str
    classes: tuple[str, ...]
    weights_sha256: str

    def to_metadata(self) -> dict[str, str]:
        """Return strings only, as ONNX metadata wants them; what is not text is JSON."""
        values = self.model_dump(mode="json").items()
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in values
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Return the card that `to_metadata` wrote; other entries are passed over.

        Raises:
            ExportError: an entry is missing or is not what it should be.
        """
        try:
            found = {name: metadata[name] for name in cls.model_fields if name in metadata}
            texts = ("model", "weights_sha256", "tokenizer_sha256")
            return cls.model_validate({n: text if n in texts else json.loads(text) for n, text in found.items()})
        except (ValueError, RecursionError) as error:  # pydantic's and json's errors are ValueErrors
            raise ExportError(
                f"wanted an ONNX file with the card of a network ({', '.join(cls.model_fields)}), found "
                f"{', '.join(map(str, metadata)) or 'no metadata'}. Export the model with eightgig."
            ) from error


class ModelCard(_FileCard):
    """All that a program needs to use an exported network on images.

    Inputs are RGB scaled to 0..1, less `mean`, divided by `std`, image_size x image_size pixels.

    Attributes:
        mean: a value a channel.
        std: a value a channel.
        image_size: pixels a side.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int


class TextModelCard(_FileCard):
    """All that a program needs to use an exported network on tokens; none of its classes has a language model.

    Attributes:
        max_tokens: longer texts are cut.
        tokenizer_sha256: fingerprint of the tokenizer whose ids it takes (`eightgig.data.store.tokenizers`).
    """

    max_tokens: int
    tokenizer_sha256: str
