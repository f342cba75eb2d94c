"""What the user may choose about a model; imports no torch, so that Kedro reads it fast."""

from pydantic import Field

from eightgig.core.records import Record


class ModelParameters(Record):
    """Which classifier to build, from which weights, for pictures of which size.

    Attributes:
        name: a torchvision or timm classifier; `timm/` or `torchvision/` before it forces the library.
        weights: `default` (the library's own, downloaded), `packaged` (inside an installed package, no network),
            `none` (random), or the path of a .safetensors, .pt or .pth file.
        image_size: side of the square input, in pixels.
        dropout: probability before the last layer, 0 to below 1; None keeps the model's own.
    """

    name: str = "efficientnet_b3"
    weights: str = "default"
    image_size: int = Field(default=300, ge=32)
    dropout: float | None = Field(default=None, ge=0, lt=1)
