"""Collecting what the agent does: the same number of steps of each copy of the environment, again and again."""

import logging
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

from eightgig.core.seeding import seed_from
from eightgig.models.agents import EnvironmentParameters, Floats, Spaces
from eightgig.tasks.reinforcement.actions import actions_of
from eightgig.tasks.reinforcement.advantages import advantages_of
from eightgig.tasks.reinforcement.environments import make_environments, spaces_of
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.objective import Transitions
from eightgig.tasks.reinforcement.parameters import PPOParameters

logger = logging.getLogger(__name__)


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


class RolloutCollector:
    """Steps the copies of an environment on, from where the last rollout ended.

    Args:
        environments: open; closing them is the caller's.
        seed: of the copies' first episodes.
        generator: draws the actions.

    Attributes:
        actions: taken so far, (steps, N, ...) as the environments took them. An environment's inner state cannot be
            saved; these and the seed bring it back.
    """

    def __init__(
        self, environments: Any, spaces: Spaces, *, seed: int, generator: torch.Generator, timer: StageTimer
    ) -> None:
        self._environments, self._spaces, self._generator, self._timer = environments, spaces, generator, timer
        self.actions: list[NDArray[Any]] = []
        first, _ = environments.reset(seed=seed)
        self._observations = spaces.observed(first)
        num_envs = len(self._observations)
        self._begins = np.zeros(num_envs, dtype=bool)
        self._rewards, self._lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=np.int64)

    @property
    def observations(self) -> Floats:
        """What the copies show now, (N, num_observations)."""
        return self._observations

    def replay(self, actions_taken: Iterable[NDArray[Any]]) -> None:
        """Do again what an earlier collector with the same seed did."""
        for actions in actions_taken:
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
        distribution = actions_of(agent)
        for step in range(num_steps):
            observations[step] = self._observations
            with self._timer.part("policy"):
                seen = agent.scaled(torch.from_numpy(observations[step]).to(device))
                drawn, log_probability = distribution.draw(agent.policy(seen), self._generator)
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
        self.actions.append(actions)
        with self._timer.part("environment"):
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


class RolloutSource:
    """Rollouts of an agent's own copies of its environment, which a run that was stopped can bring back.

    The copies begin new episodes after `recipe.replay_steps`; what was done since is kept, and done again.

    Args:
        seed: of the agent.
        device: where actions are drawn.

    Attributes:
        timer: of the parts of a training.
    """

    def __init__(self, environment: EnvironmentParameters, recipe: PPOParameters, *, seed: int, device: str) -> None:
        self._environment, self._seed = environment, seed
        self.spaces, self.timer = spaces_of(environment), StageTimer()
        self._generator = torch.Generator(device)
        self._updates_replayed = max(1, recipe.replay_steps // (recipe.rollout_steps * environment.num_envs))
        self._environments: Any = None
        self._collector: RolloutCollector | None = None
        self._replay: dict[str, Tensor] | None = None

    def collector(self, update: int) -> RolloutCollector:
        """Return what collects an update's rollout: as it was, as it was before a stop, or with new episodes."""
        number, since = divmod(update, self._updates_replayed)
        if self._collector is None or not since:
            self._collector = self._begin(number)
        if self._replay:
            self._collector = self._replayed(self._collector, self._replay) or self._begin(number)
            self._replay = None
        self._generator.manual_seed(seed_from(self._seed, "actions", update))
        return self._collector

    def state_dict(self, update: int) -> dict[str, Tensor] | None:
        """Return what brings the environments back to where they are; None where new episodes are next."""
        if self._collector is None or update % self._updates_replayed == 0:
            return None
        return {
            "actions": torch.from_numpy(np.stack(self._collector.actions)),
            "observations": torch.from_numpy(self._collector.observations),
        }

    def load_state_dict(self, state: dict[str, Tensor] | None) -> None:
        """Go on from what `state_dict` gave; it is done again before the next rollout."""
        self._replay = state

    def close(self) -> None:
        """Close the environments."""
        if self._environments is not None:
            self._environments.close()
        self._environments = self._collector = None

    def _begin(self, number: int) -> RolloutCollector:
        self.close()
        self._environments = make_environments(self._environment)
        seed = seed_from(self._seed, "episodes", number) % 2**31
        return RolloutCollector(self._environments, self.spaces, seed=seed, generator=self._generator, timer=self.timer)

    def _replayed(self, collector: RolloutCollector, replay: dict[str, Tensor]) -> RolloutCollector | None:
        """Return the collector as it was before a stop; None where the environments do not repeat themselves."""
        seconds = dict(self.timer.seconds)
        collector.replay(replay["actions"].numpy())
        self.timer.seconds.update(seconds)
        if np.array_equal(collector.observations, replay["observations"].numpy()):
            return collector
        logger.warning(
            "%s does not show again what it showed when the same was done: agent %d goes on in new episodes, and will "
            "not be exactly what it would have been",
            self._environment.name,
            self._seed,
        )
        return None


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
    counted = torch.from_numpy(rollout.counts).to(device)
    gained = torch.from_numpy(advantages).to(device)
    return Transitions(
        observations=observations[:-1][counted],
        actions=rollout.actions[counted],
        log_probabilities=rollout.log_probabilities[counted],
        values=values[:-1][counted],
        advantages=gained[counted],
        returns=(gained + values[:-1])[counted],
    )
