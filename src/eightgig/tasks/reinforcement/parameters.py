"""What may be asked of an agent: its environment, its training by PPO, its judgement; imports nothing heavy."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from eightgig.bench.parameters import LatencyParameters
from eightgig.core.records import Effect, Record
from eightgig.models.agents import Spaces
from eightgig.tasks.reinforcement.metrics import ReturnsReport
from eightgig.training.parameters import Resume


class PPOParameters(Record):
    """The recipe. Each part's reason and source: docs/cases/cartpole_agent.md.

    Attributes:
        steps: of all copies of the environment together.
        rollout_steps: of each copy between two updates.
        epochs: passes over a rollout in one update.
        minibatch_size: transitions a gradient step.
        gamma: what a reward is worth one step later.
        gae_lambda: 0 trusts the value network alone, 1 the returns alone.
        clip: how far the ratio of new to old probability may go from 1.
        clip_value: how far the value may go from its old prediction; None lets it.
        value_coefficient: weight of the value's loss.
        entropy_coefficient: weight of the policy's entropy, which keeps it trying.
        learning_rate: at the start.
        anneal: whether the learning rate falls in a line to 0 at the end.
        anneal_clip: whether `clip` does.
        max_grad_norm: gradients are clipped to this global norm.
        normalize_advantages: to mean 0 and deviation 1 in each minibatch.
        normalize_observations: by their running mean and deviation.
        target_kl: an update stops early beyond 1.5 times this divergence from the old policy; None never stops.
        seed: of the first agent; `num_seeds` agents are trained with seeds that follow.
        checkpoint_steps: between two checkpoints; the agent is judged there, too.
        replay_steps: copies of the environment begin new episodes after so many. A run that was stopped goes on by
            playing again, without learning, what was done since: no longer than that.
        resume: `auto` goes on from the checkpoint of a run of this recipe that was stopped, and takes the result of one
            that was not; `never` begins anew, `must` refuses to.
        device: where the networks run; `auto` is the CPU, which is faster for networks this small.
    """

    renamed: ClassVar = {"max_gradient_norm": "max_grad_norm"}

    steps: int = Field(default=100_000, ge=1)
    rollout_steps: int = Field(default=32, ge=1)
    epochs: int = Field(default=20, ge=1)
    minibatch_size: int = Field(default=256, ge=2)
    gamma: float = Field(default=0.98, ge=0, le=1)
    gae_lambda: float = Field(default=0.8, ge=0, le=1)
    clip: float = Field(default=0.2, gt=0)
    clip_value: float | None = Field(default=None, gt=0)
    value_coefficient: float = Field(default=0.5, ge=0)
    entropy_coefficient: float = Field(default=0.0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    anneal: bool = True
    anneal_clip: bool = True
    max_grad_norm: float = Field(default=0.5, gt=0)
    normalize_advantages: bool = True
    normalize_observations: bool = False
    target_kl: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    num_seeds: int = Field(default=1, ge=1)
    checkpoint_steps: int = Field(default=20_000, ge=1)
    replay_steps: int = Field(default=1_000_000, ge=1)
    resume: Annotated[Resume, Effect.NONE] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], Effect.ROUNDING] = "auto"


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
