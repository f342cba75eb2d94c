"""Environments by name: their spaces as numbers, and copies of them side by side.

Copies start a new episode in the step after an episode's end (gymnasium's `NEXT_STEP`): the last observation of an
episode is seen as it is, and the step that only resets is told apart from the others.
"""

from typing import Any

import numpy as np

from eightgig.core.errors import ConfigurationError
from eightgig.models.agents import EnvironmentParameters, Spaces


def make_environments(environment: EnvironmentParameters, num_envs: int | None = None) -> Any:
    """Return copies that run side by side: the environment's own vectorised form where it has one.

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
    """Return one copy that draws what happens, as arrays.

    Raises:
        ConfigurationError: there is no such environment here.
    """
    import gymnasium

    _spec(environment.name)
    return _made(
        lambda: gymnasium.make(environment.name, render_mode="rgb_array", **environment.options), environment.name
    )


def spaces_of(environment: EnvironmentParameters) -> Spaces:
    """Return an environment's spaces.

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
