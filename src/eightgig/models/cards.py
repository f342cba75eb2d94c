"""What a file of weights is: enough to build its network again and to feed it rightly."""

from pydantic import PositiveInt

from eightgig.core.records import Record
from eightgig.models.agents import AgentParameters, EnvironmentParameters, Spaces


class WeightsCard(Record):
    """What a file of weights is: enough to build the network again and to feed it rightly.

    Attributes:
        model: library and name, as `model.name` takes it.
        score_name: what `val_score` is, for example `accuracy`.
        sha256: of the file of weights; written when it is saved.
        compression: the form, where this is a smaller form of other weights: its layers may be narrower than `model`'s.
        made_from_sha256: of the weights that it was made from.
    """

    model: str
    started_from: str
    classes: tuple[str, ...]
    best_epoch: int
    val_score: float
    score_name: str = "accuracy"
    num_parameters: int
    sha256: str = ""
    compression: str = ""
    made_from_sha256: str = ""
    eightgig_version: str
    torch_version: str
    trained_on: str

    @property
    def size(self) -> int:
        """Pixels a side, or tokens, of the largest sample."""
        raise NotImplementedError


class ImageCard(WeightsCard):
    """The card of a network on images.

    Attributes:
        image_size: pixels a side.
        mean: of the channels, for inputs scaled to 0..1; `std` likewise.
    """

    image_size: PositiveInt
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.image_size


class TextCard(WeightsCard):
    """The card of a network on tokens.

    Attributes:
        max_tokens: of a sample.
        config: of transformers, as JSON: builds the same network without a download.
        tokenizer_sha256: of the tokenizer that it was trained with.
    """

    max_tokens: PositiveInt
    config: str
    tokenizer_sha256: str

    @property
    def size(self) -> int:
        """Tokens of a sample, at most."""
        return self.max_tokens


class AgentCard(WeightsCard):
    """The card of an agent's policy and value networks.

    Attributes:
        environment: in which it was trained.
        spaces: of the environment.
        agent: the networks' sizes.
        steps: of the environment that it was trained for.
        seed: that it was trained with.
    """

    environment: EnvironmentParameters
    spaces: Spaces
    agent: AgentParameters
    steps: int
    seed: int
