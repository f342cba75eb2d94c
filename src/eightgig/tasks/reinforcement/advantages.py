"""Generalised advantage estimation (Schulman et al., High-Dimensional Continuous Control, 2015)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def advantages_of(
    rewards: Floats,
    values: Floats,
    terminated: NDArray[np.bool_],
    truncated: NDArray[np.bool_],
    *,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Return how much better than expected each action was, of T steps of N copies.

    An episode that came to its end (`terminated`) is worth nothing after it. One that was only cut off (`truncated`)
    would have gone on: the value of its last observation stands for the rest (Pardo et al., Time Limits in
    Reinforcement Learning, 2018). Neither hands on what comes after: those steps are of another episode.

    Args:
        rewards: (T, N).
        values: (T + 1, N), of the observation before each step and of the one after the last.
        terminated: (T, N).
        truncated: (T, N).
        gamma: discount.
        gae_lambda: decay of the sum of errors.

    Returns:
        (T, N); with `values[:-1]` added they are the returns that the value network learns.
    """
    advantages = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        error = rewards[step] + gamma * values[step + 1] * ~terminated[step] - values[step]
        following = error + gamma * gae_lambda * following * ~(terminated[step] | truncated[step])
        advantages[step] = following
    return advantages
