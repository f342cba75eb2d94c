"""What a policy's outputs mean: how actions are drawn from them, and how likely an action is."""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from eightgig.tasks.reinforcement.model import ActorCritic

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Actions(Protocol):
    """N actions at a time, from the policy's outputs of shape (N, num_actions)."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions; give them with their log-probabilities (N,)."""

    def log_probabilities(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probabilities (N,) of actions."""

    def entropies(self, outputs: Tensor) -> Tensor:
        """Return the entropies (N,) of the policy."""


class DiscreteActions:
    """One of several actions, by the softmax of logits."""

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions (N,) int64."""
        log_probabilities = outputs.log_softmax(-1)
        actions = torch.multinomial(log_probabilities.exp(), 1, generator=generator)
        return actions.squeeze(-1), log_probabilities.gather(-1, actions).squeeze(-1)

    def log_probabilities(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probabilities (N,) of actions."""
        return -functional.cross_entropy(outputs, actions, reduction="none")

    def entropies(self, outputs: Tensor) -> Tensor:
        """Return the entropies (N,) of the policy."""
        log_probabilities = outputs.log_softmax(-1)
        return -(log_probabilities.exp() * log_probabilities).sum(-1)


class RealActions:
    """Real numbers, normal around the outputs, each with a deviation of its own that is learnt."""

    def __init__(self, log_std: Tensor) -> None:
        self._log_std = log_std

    def draw(self, outputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions (N, num_actions) float32; they may lie outside of the environment's bounds."""
        noise = torch.randn(outputs.shape, generator=generator, device=outputs.device)
        actions = outputs + noise * self._log_std.exp()
        return actions, self.log_probabilities(outputs, actions)

    def log_probabilities(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """Return the log-probabilities (N,) of actions, each the sum over its numbers."""
        off = (actions - outputs) / self._log_std.exp()
        return (-0.5 * off.square() - self._log_std - _HALF_LOG_2PI).sum(-1)

    def entropies(self, outputs: Tensor) -> Tensor:
        """Return the entropies (N,) of the policy, each the sum over the numbers of an action."""
        return (self._log_std + 0.5 + _HALF_LOG_2PI).sum().expand(len(outputs))


def actions_of(agent: ActorCritic) -> Actions:
    """Return what an agent's outputs mean."""
    return DiscreteActions() if agent.log_std is None else RealActions(agent.log_std)
