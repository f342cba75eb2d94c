"""Environments by name: their spaces as numbers, and copies of them side by side.

Copies start a new episode in the step after an episode's end (gymnasium's `NEXT_STEP`): the last observation of an
episode is seen as it is, and the step that only resets is told apart from the others.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.core.records import Record
from eightgig.training.ppo.parameters import EnvironmentParameters

Floats = NDArray[np.float32]


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
        """Give what the environment shows to N copies as float32 of shape (N, num_observations)."""
        if self.observes == "discrete":
            return np.eye(self.num_observations, dtype=np.float32)[np.asarray(observations, dtype=np.int64)]
        return np.asarray(observations, dtype=np.float32).reshape(len(observations), -1)

    def done(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Give actions of N copies as the environment takes them: real ones inside of their bounds."""
        if self.acts == "discrete":
            return actions
        return np.clip(actions, self.low, self.high).astype(np.float32).reshape(len(actions), *self.action_shape)


def make_environments(environment: EnvironmentParameters, num_envs: int | None = None) -> Any:
    """Give copies that run side by side: the environment's own vectorised form where it has one.

    Raises:
        ConfigurationError: there is no such environment here.
    """
    import gymnasium

    spec = _spec(environment.name)
    own = spec.vector_entry_point is not None
    return _made(
        lambda: gymnasium.make_vec(
            environment.name,
            num_envs=num_envs or environment.num_envs,
            vectorization_mode="vector_entry_point" if own else "sync",
            **environment.options,
        ),
        environment.name,
    )


def make_rendered(environment: EnvironmentParameters) -> Any:
    """Give one copy that draws what happens, as arrays.

    Raises:
        ConfigurationError: there is no such environment here.
    """
    import gymnasium

    _spec(environment.name)
    return _made(
        lambda: gymnasium.make(environment.name, render_mode="rgb_array", **environment.options), environment.name
    )


def spaces_of(environment: EnvironmentParameters) -> Spaces:
    """Give an environment's spaces.

    Raises:
        ConfigurationError: there is no such environment here, or one of its spaces is neither discrete nor a box.
    """
    from gymnasium import spaces

    environments = make_environments(environment, 1)
    try:
        seen, acted = environments.single_observation_space, environments.single_action_space
    finally:
        environments.close()
    if not isinstance(seen, spaces.Box | spaces.Discrete) or not isinstance(acted, spaces.Box | spaces.Discrete):
        raise ConfigurationError(
            f"environment.name: {environment.name} observes {seen} and acts in {acted}; expected boxes or discrete "
            "spaces. Wrap the environment so that it has such spaces, and register it under a name of your own"
        )
    observed: dict[str, Any] = {"observes": "box", "num_observations": int(np.prod(seen.shape or ()))}
    if isinstance(seen, spaces.Discrete):
        observed = {"observes": "discrete", "num_observations": int(seen.n)}
    if isinstance(acted, spaces.Discrete):
        return Spaces(**observed, acts="discrete", num_actions=int(acted.n))
    return Spaces(
        **observed,
        acts="box",
        num_actions=int(np.prod(acted.shape)),
        action_shape=acted.shape,
        low=tuple(float(low) for low in acted.low.flat),
        high=tuple(float(high) for high in acted.high.flat),
    )


def _spec(name: str) -> Any:
    import gymnasium

    return _made(lambda: gymnasium.spec(name), name)


def _made(make: Any, name: str) -> Any:
    import gymnasium

    try:
        return make()
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ConfigurationError(
            f"environment.name: {name} cannot be made: {error}. Names are those of gymnasium "
            "(python -c 'import gymnasium; gymnasium.pprint_registry()'); some want a package of their own"
        ) from error
