"""What an agent is: its environment, what it sees and does, and its networks; imports nothing heavy but NumPy."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eightgig.core.records import Record

Floats = NDArray[np.float32]


class EnvironmentParameters(Record):
    """Where the agent acts.

    Attributes:
        name: of a gymnasium environment with discrete or box spaces.
        options: further arguments of its constructor.
        num_envs: copies that run side by side.
    """

    name: str = "CartPole-v1"
    options: dict[str, Any] = Field(default_factory=dict)
    num_envs: int = Field(default=8, ge=1)


class AgentParameters(Record):
    """The policy's and the value's networks, which share no layer.

    Attributes:
        hidden: units of each hidden layer.
        activation: between layers.
    """

    hidden: tuple[int, ...] = (128, 128)
    activation: Literal["tanh", "relu"] = "tanh"


class Spaces(Record):
    """What an agent sees and does, as numbers.

    Attributes:
        observes: `box` are real numbers, flattened; `discrete` one of so many states, as one 1 among zeros.
        num_observations: numbers that the networks take.
        acts: `discrete` chooses one of so many actions, `box` sets so many real numbers.
        num_actions: numbers that the policy's network gives.
        action_shape: as the environment wants it.
        low: bounds of each real action; empty where they are discrete. `high` likewise.
    """

    observes: Literal["box", "discrete"]
    num_observations: int
    acts: Literal["discrete", "box"]
    num_actions: int
    action_shape: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def observed(self, observations: NDArray[Any]) -> Floats:
        """Return what the environment shows to N copies as float32 of shape (N, num_observations)."""
        if self.observes == "discrete":
            return np.eye(self.num_observations, dtype=np.float32)[np.asarray(observations, dtype=np.int64)]
        return np.asarray(observations, dtype=np.float32).reshape(len(observations), -1)

    def done(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions of N copies as the environment takes them: real ones inside of their bounds."""
        if self.acts == "discrete":
            return actions
        return np.clip(actions, self.low, self.high).astype(np.float32).reshape(len(actions), *self.action_shape)
