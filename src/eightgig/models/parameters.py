"""What the user may choose about a model; imports no torch, so that Kedro reads it fast."""

from typing import Any, Literal

from pydantic import Field

from eightgig.core.records import Record


class ModelParameters(Record):
    """Which network to build, and from which weights.

    Attributes:
        name: as its library knows it.
        weights: `default` (the library's own, downloaded), `packaged` (inside an installed package, no network),
            `none` (random), or a path.
        dropout: probability before the last layer, 0 to below 1; None keeps the model's own.
    """

    name: str
    weights: str = "default"
    dropout: float | None = Field(default=None, ge=0, lt=1)

    @property
    def size(self) -> int:
        """Pixels a side, or tokens, of the largest sample."""
        raise NotImplementedError

    @property
    def sample(self) -> str:
        """The size of a sample, for a person."""
        raise NotImplementedError


class ImageModelParameters(ModelParameters):
    """Which network for images to build, from which weights, for images of which size.

    Attributes:
        name: a torchvision or timm classifier, or what the case study offers; `timm/` or `torchvision/` before it
            forces the library.
        weights: also the path of a .safetensors, .pt or .pth file.
        image_size: side of the square input, in pixels.
    """

    name: str = "efficientnet_b3"
    image_size: int = Field(default=300, ge=32)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.image_size

    @property
    def sample(self) -> str:
        """The size of an image, for a person."""
        return f"{self.image_size} px"


class TextModelParameters(ModelParameters):
    """Which network of transformers to build, from which weights, for texts of how many tokens.

    Attributes:
        name: a Hub name, a local folder with `config.json`, or, with `weights: none`, one of the configurations that
            need no network (`bert-base`, `gpt2`, `gpt2-medium`, `gpt2-large`).
        weights: `default` (of the Hub or of the folder `name`), `packaged` (an installed package's, `name` is the
            package), `none` (random), or a folder that `save_pretrained` wrote. Only safetensors are read.
        revision: the Hub's commit, tag or branch; name a commit to get the same weights for ever.
        tokenizer: a Hub name, a package of weights, a folder or a `tokenizer.json`; None takes the one that
            belongs to `name`.
        max_tokens: longer texts are cut.
        truncation_side: where; `left` keeps the end, in which a review says what it thinks.
        config: values in place of the configuration's own, by transformers' names (`num_hidden_layers: 3`).
    """

    name: str = "bert-base"
    revision: str | None = None
    tokenizer: str | None = None
    max_tokens: int = Field(default=512, ge=8)
    truncation_side: Literal["left", "right"] = "right"
    config: dict[str, Any] = Field(default_factory=dict)

    @property
    def size(self) -> int:
        """Tokens of a sample, at most."""
        return self.max_tokens

    @property
    def sample(self) -> str:
        """The length of a text, for a person."""
        return f"{self.max_tokens} tokens"
