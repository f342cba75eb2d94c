"""The loss of PPO on a minibatch of transitions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eightgig.models.actor_critic import ActorCritic
from eightgig.training.ppo.actions import actions_of
from eightgig.training.ppo.parameters import PPOParameters


@dataclass(frozen=True)
class Transitions:
    """M steps of an agent: observations (M, num_observations), actions, all else (M,).

    Attributes:
        observations: scaled.
        log_probabilities: of the actions, when they were taken; `values` likewise.
        returns: what the value network shall say.
    """

    observations: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.observations)

    def __getitem__(self, chosen: Tensor) -> "Transitions":
        return Transitions(**{name: tensor[chosen] for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, each a scalar, and how far the policy has moved."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    log_ratio: Tensor
    clip: float

    @property
    def divergence(self) -> Tensor:
        """Of the new policy from the old, (r - 1) - log r (Schulman, Approximating KL Divergence, 2020)."""
        return (self.log_ratio.exp() - 1 - self.log_ratio).mean()

    @property
    def clipped(self) -> Tensor:
        """Share of transitions whose ratio was clipped."""
        return ((self.log_ratio.exp() - 1).abs() > self.clip).float().mean()


def ppo_loss(agent: ActorCritic, batch: Transitions, recipe: PPOParameters, *, clip: float) -> Losses:
    """Give the loss of a minibatch.

    Args:
        agent: the networks.
        batch: what happened.
        recipe: the weights of the parts.
        clip: as `recipe.clip`, annealed.
    """
    outputs, values = agent(batch.observations)
    log_probabilities, entropies = actions_of(agent).judge(outputs, batch.actions)
    advantages = batch.advantages
    if recipe.normalize_advantages and len(batch) > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_ratio = log_probabilities - batch.log_probabilities
    ratio = log_ratio.exp()
    policy = -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
    value = _value_loss(values, batch, recipe.clip_value)
    entropy = entropies.mean()
    total = policy + recipe.value_coefficient * value
    if recipe.entropy_coefficient:
        total = total - recipe.entropy_coefficient * entropy
    return Losses(total, policy, value, entropy, log_ratio.detach(), clip)


def _value_loss(values: Tensor, batch: Transitions, clip: float | None) -> Tensor:
    errors = (values - batch.returns).square()
    if clip is not None:  # as in OpenAI's baselines: the larger of both errors
        near = batch.values + (values - batch.values).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - batch.returns).square())
    return errors.mean()
