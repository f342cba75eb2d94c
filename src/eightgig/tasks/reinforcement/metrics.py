"""How well an agent does in episodes that it never saw."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.models.agents import EnvironmentParameters, Floats, Spaces
from eightgig.tasks.reinforcement.environments import make_environments

Policy = Callable[[Floats], NDArray[Any]]
"""From observations (N, num_observations) to actions (N, ...)."""
_LONGEST = 100_000


class ReturnsReport(Record):
    """The returns of some episodes.

    Attributes:
        mean_return: with its confidence interval of 95 %, by Student's t; `low` and `high` are equal where all are.
        std_return: between episodes.
        threshold: mean return from which the environment counts as solved, as gymnasium registers it; None where it
            does not say.
        seed: of the first states.
    """

    environment: str
    num_episodes: int
    mean_return: float
    low: float
    high: float
    std_return: float
    min_return: float
    max_return: float
    mean_length: float
    threshold: float | None
    seed: int

    @property
    def solved(self) -> bool | None:
        """Whether the mean return reaches the threshold."""
        return None if self.threshold is None else self.mean_return >= self.threshold


@dataclass(frozen=True)
class Played:
    """E episodes: returns and lengths (E,), and the observations (M, num_observations) of all their steps."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    observations: Floats


def play(environment: EnvironmentParameters, spaces: Spaces, policy: Policy, *, episodes: int, seed: int) -> Played:
    """Play one episode in each of `episodes` copies, all from the first state to the end.

    One a copy, since the first ones to end of many would be the shorter ones.

    Raises:
        ConfigurationError: an episode does not end.
    """
    environments = make_environments(environment, episodes)
    try:
        shown, _ = environments.reset(seed=seed)
        returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
        playing, seen = np.ones(episodes, dtype=bool), []
        while playing.any():
            observations = spaces.observed(shown)
            seen.append(observations[playing])
            shown, rewards, terminated, truncated, _ = environments.step(spaces.done(policy(observations)))
            returns += np.where(playing, rewards, 0.0)
            lengths += playing
            playing &= ~(terminated | truncated)
            if len(seen) > _LONGEST:
                raise ConfigurationError(
                    f"environment.name: an episode of {environment.name} did not end within {_LONGEST:,} steps: "
                    "give it a limit (environment.options.max_episode_steps)"
                )
        return Played(returns, lengths, np.concatenate(seen))
    finally:
        environments.close()


def report_of(played: Played, environment: EnvironmentParameters, *, seed: int) -> ReturnsReport:
    """Return the report on episodes."""
    import gymnasium

    low, high = confidence_interval(played.returns)
    return ReturnsReport(
        environment=environment.name,
        num_episodes=len(played.returns),
        mean_return=float(played.returns.mean()),
        low=low,
        high=high,
        std_return=float(played.returns.std(ddof=1)) if len(played.returns) > 1 else 0.0,
        min_return=float(played.returns.min()),
        max_return=float(played.returns.max()),
        mean_length=float(played.lengths.mean()),
        threshold=gymnasium.spec(environment.name).reward_threshold,
        seed=seed,
    )


def confidence_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of 95 % of the mean, by Student's t."""
    from scipy.special import stdtrit

    mean = float(values.mean())
    if len(values) < 2 or not values.std():
        return mean, mean
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return mean - float(half), mean + float(half)


def random_policy(spaces: Spaces, *, seed: int) -> Policy:
    """Return a policy that draws actions evenly; real ones from within their bounds, or normal where there are none."""
    generator = np.random.default_rng(seed)

    def policy(observations: Floats) -> NDArray[Any]:
        number = len(observations)
        if spaces.acts == "discrete":
            return generator.integers(spaces.num_actions, size=number)
        if np.isfinite([*spaces.low, *spaces.high]).all():
            return generator.uniform(spaces.low, spaces.high, size=(number, spaces.num_actions)).astype(np.float32)
        return generator.normal(size=(number, spaces.num_actions)).astype(np.float32)

    return policy
