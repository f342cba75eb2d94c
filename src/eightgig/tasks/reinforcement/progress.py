"""How far an agent's training is, and what comes out of it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from eightgig.core.records import Record
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.rollout import Episode

_WINDOW = 100  # episodes that a learning curve averages, as gymnasium's and CleanRL's curves do


class CurveRow(Record):
    """How training went up to an update.

    Attributes:
        steps: of the environment so far.
        mean_return: of the last 100 episodes; None before the first one ended.
        mean_length: likewise, in steps.
        explained_variance: share of the returns' variance that the value network knew; 1 is all.
    """

    seed: int
    update: int
    steps: int
    episodes: int
    mean_return: float | None
    mean_length: float | None
    policy_loss: float
    value_loss: float
    entropy: float
    divergence: float
    clipped: float
    explained_variance: float
    learning_rate: float
    seconds: float


@dataclass
class BestAgent:
    """The agent as it was when it did best, by what judges it: a policy may lose later what it had learnt."""

    weights: dict[str, torch.Tensor]
    score: float
    steps: int


@dataclass
class TrainedAgent:
    """An agent at the end of its training, when it did best (None where nothing judged it), and how it became one."""

    agent: ActorCritic
    seed: int
    curve: list[CurveRow]
    seconds_by_part: dict[str, float]
    best: BestAgent | None = None
    resumed_at: int | None = None


@dataclass
class AgentProgress:
    """Where training is between two updates, and what it has found so far."""

    update: int = 0
    steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    last_returns: list[float] = field(default_factory=list)
    last_lengths: list[int] = field(default_factory=list)
    curve: list[CurveRow] = field(default_factory=list)

    def add(self, num_steps: int, episodes: tuple[Episode, ...], seconds: float) -> None:
        """Count an update in: the steps that it was made from, and the episodes that ended in them."""
        self.update += 1
        self.steps += num_steps
        self.episodes += len(episodes)
        self.last_returns = [*self.last_returns, *(episode.total_reward for episode in episodes)][-_WINDOW:]
        self.last_lengths = [*self.last_lengths, *(episode.length for episode in episodes)][-_WINDOW:]
        self.seconds += seconds

    @property
    def mean_return(self) -> float | None:
        """Of the last 100 episodes."""
        return float(np.mean(self.last_returns)) if self.last_returns else None

    @property
    def mean_length(self) -> float | None:
        """Of the last 100 episodes, in steps."""
        return float(np.mean(self.last_lengths)) if self.last_lengths else None

    def state_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "curve": [row.model_dump() for row in self.curve]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "AgentProgress":
        """Make one from what `state_dict` gave."""
        return cls(**{**state, "curve": [CurveRow(**row) for row in state["curve"]]})
