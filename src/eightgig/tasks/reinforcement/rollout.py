"""Collecting what the agent does: the same number of steps of each copy of the environment, again and again."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eightgig.models.agents import Floats, Spaces
from eightgig.tasks.reinforcement.actions import actions_of
from eightgig.tasks.reinforcement.advantages import advantages_of
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.objective import Transitions
from eightgig.tasks.reinforcement.parameters import PPOParameters


@dataclass(frozen=True)
class Episode:
    """One finished episode."""

    total_reward: float
    length: int


@dataclass(frozen=True)
class Rollout:
    """T steps of N copies.

    Attributes:
        observations: (T + 1, N, num_observations) as the environment showed them; the last is after the last step.
        actions: (T, N, ...) as they were drawn; `log_probabilities`, `rewards`, `terminated`, `truncated` are (T, N).
        counts: (T, N), False where a copy only began a new episode.
        episodes: that ended in these steps.
    """

    observations: Floats
    actions: Tensor
    log_probabilities: Tensor
    rewards: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    episodes: tuple[Episode, ...]

    @property
    def num_steps(self) -> int:
        """Steps of all copies, without those that only began an episode."""
        return int(self.counts.sum())


class StageTimer:
    """Seconds by part of the work."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of this block to a part."""
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun


class Collector:
    """Steps the copies of an environment on, from where the last rollout ended.

    Args:
        environments: open; closing them is the caller's.
        seed: of the copies' first episodes.
        generator: draws the actions.

    Attributes:
        done: actions so far, (steps, N, ...) as the environments took them. An environment's inner state cannot be
            saved; these and the seed bring it back.
    """

    def __init__(
        self, environments: Any, spaces: Spaces, *, seed: int, generator: torch.Generator, clock: StageTimer
    ) -> None:
        self._environments, self._spaces, self._generator, self._clock = environments, spaces, generator, clock
        self.done: list[NDArray[Any]] = []
        first, _ = environments.reset(seed=seed)
        self._observations = spaces.observed(first)
        num_envs = len(self._observations)
        self._begins = np.zeros(num_envs, dtype=bool)
        self._rewards, self._lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)

    @property
    def seen(self) -> Floats:
        """What the copies show now, (N, num_observations)."""
        return self._observations

    def play_again(self, done: Iterable[NDArray[Any]]) -> None:
        """Do again what an earlier collector with the same seed did."""
        for actions in done:
            self._step(actions)

    @torch.no_grad()
    def collect(self, agent: ActorCritic, num_steps: int) -> Rollout:
        """Return the next `num_steps` steps of each copy."""
        num_envs, device = len(self._observations), agent.mean.device
        observations = np.empty((num_steps + 1, *self._observations.shape), dtype=np.float32)
        rewards = np.zeros((num_steps, num_envs), dtype=np.float32)
        terminated, truncated = (np.zeros((num_steps, num_envs), dtype=bool) for _ in range(2))
        counts = np.zeros((num_steps, num_envs), dtype=bool)
        actions, log_probabilities, episodes = [], [], list[Episode]()
        judge = actions_of(agent)
        for step in range(num_steps):
            observations[step] = self._observations
            with self._clock.part("policy"):
                seen = agent.scaled(torch.from_numpy(observations[step]).to(device))
                drawn, log_probability = judge.draw(agent.policy(seen), self._generator)
                done = self._spaces.done(drawn.cpu().numpy())
            actions.append(drawn)
            log_probabilities.append(log_probability)
            counts[step] = ~self._begins
            rewards[step], terminated[step], truncated[step], ended = self._step(done)
            episodes += ended
        observations[num_steps] = self._observations
        return Rollout(
            observations,
            torch.stack(actions),
            torch.stack(log_probabilities),
            rewards,
            terminated,
            truncated,
            counts,
            tuple(episodes),
        )

    def _step(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_], list[Episode]]:
        """Return rewards, terminated, truncated, and the episodes that ended."""
        self.done.append(actions)
        with self._clock.part("environment"):
            shown, given, terminated, truncated, _ = self._environments.step(actions)
        self._observations = self._spaces.observed(shown)
        rewards = np.asarray(given, dtype=np.float32)
        return rewards, terminated, truncated, list(self._finished(rewards, terminated | truncated))

    def _finished(self, rewards: Floats, ended: NDArray[np.bool_]) -> Iterator[Episode]:
        self._rewards += np.where(self._begins, 0.0, rewards)
        self._lengths += ~self._begins
        self._begins = ended
        for copy in np.flatnonzero(ended):
            yield Episode(float(self._rewards[copy]), int(self._lengths[copy]))
        self._rewards[ended], self._lengths[ended] = 0.0, 0


@torch.no_grad()
def transitions_of(rollout: Rollout, agent: ActorCritic, recipe: PPOParameters) -> Transitions:
    """Return the steps of a rollout that count, with their advantages and returns."""
    device = agent.mean.device
    observations = agent.scaled(torch.from_numpy(rollout.observations).to(device))
    values = agent.value(observations).squeeze(-1)
    advantages = advantages_of(
        rollout.rewards,
        values.cpu().numpy(),
        rollout.terminated,
        rollout.truncated,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
    )
    kept = torch.from_numpy(rollout.counts).to(device)
    gained = torch.from_numpy(advantages).to(device)
    return Transitions(
        observations=observations[:-1][kept],
        actions=rollout.actions[kept],
        log_probabilities=rollout.log_probabilities[kept],
        values=values[:-1][kept],
        advantages=gained[kept],
        returns=(gained + values[:-1])[kept],
    )
