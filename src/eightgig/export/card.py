"""What an exported network says about itself; imports nothing heavy."""

import json
from collections.abc import Mapping

from pydantic import ValidationError

from eightgig.core.errors import ExportError
from eightgig.core.records import Record


class ModelCard(Record):
    """All that a program needs to use an exported network.

    Inputs are RGB scaled to 0..1, less `mean`, divided by `std`, image_size x image_size pixels.

    Attributes:
        model: the library's name of the architecture.
        classes: names, in the order of the scores.
        mean: a value a channel.
        std: a value a channel.
        image_size: pixels a side.
        weights_sha256: of the weights file it was exported from.
    """

    model: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    image_size: int
    weights_sha256: str

    def to_metadata(self) -> dict[str, str]:
        """Give strings only, as ONNX metadata wants them; what is not text is JSON."""
        values = self.model_dump(mode="json").items()
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in values
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "ModelCard":
        """Give the card that `to_metadata` wrote; other entries are passed over.

        Raises:
            ExportError: an entry is missing or is not what it should be.
        """
        try:
            found = {name: metadata[name] for name in cls.model_fields if name in metadata}
            texts = ("model", "weights_sha256")
            return cls.model_validate({n: text if n in texts else json.loads(text) for n, text in found.items()})
        except (ValidationError, json.JSONDecodeError) as error:
            raise ExportError(
                f"wanted an ONNX file with the card of a network ({', '.join(cls.model_fields)}), found "
                f"{', '.join(metadata) or 'no metadata'}. Export the model with eightgig."
            ) from error
