"""What may be asked of the agent's case study beside its training; and what its stages find out."""

from pydantic import Field

from eightgig.bench.parameters import LatencyParameters
from eightgig.bench.returns import ReturnsReport
from eightgig.core.records import Record
from eightgig.training.ppo.environments import Spaces


class EvaluateParameters(Record):
    """How the trained agent is judged.

    Attributes:
        episodes: each from a first state that was not seen in training.
        seed: of those first states.
    """

    episodes: int = Field(default=100, ge=2)
    seed: int = Field(default=0, ge=0)


class ExportParameters(Record):
    """How the exported policy is held against torch's.

    Attributes:
        num_states: on which both must choose the same action.
    """

    num_states: int = Field(default=10_000, ge=1)


class SpeedParameters(Record):
    """How speed is measured.

    Attributes:
        updates: of a training that is timed on each device.
        latency: of one decision.
    """

    updates: int = Field(default=10, ge=1)
    latency: LatencyParameters = LatencyParameters(batch_sizes=(1, 64), seconds=2.0)


class FilmParameters(Record):
    """The film of the trained agent.

    Attributes:
        seconds: at most, of the environment's own time.
        frames_per_second: shown.
        width: of a frame, in pixels.
    """

    seconds: float = Field(default=10.0, gt=0)
    frames_per_second: float = Field(default=12.5, gt=0)
    width: int = Field(default=300, ge=16)


class Exploration(Record):
    """What acting at random shows of an environment.

    Attributes:
        returns: of the random episodes.
        mean: of the observations, a value each; `std`, `low`, `high` likewise.
    """

    spaces: Spaces
    returns: ReturnsReport
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class PolicyParity(Record):
    """The exported policy beside torch's.

    Attributes:
        num_states: half of them seen while playing, half drawn around those.
        same_actions: on how many both chose the same; real actions may differ by 1e-5.
    """

    num_states: int
    same_actions: int

    @property
    def passed(self) -> bool:
        """Whether none differs."""
        return self.same_actions == self.num_states
