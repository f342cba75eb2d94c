"""The loss of PPO on a minibatch of transitions."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from eightgig.tasks.reinforcement.actions import Actions, actions_of
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.parameters import PPOParameters


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

    def normalized(self) -> "Transitions":
        """Return the same with advantages of mean 0 and deviation 1; of a single one, as it is."""
        if len(self) == 1:
            return self
        advantages = (self.advantages - self.advantages.mean()) / (self.advantages.std() + 1e-8)
        return replace(self, advantages=advantages)


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, each a scalar, and how far the policy has moved.

    What is only looked at now and then is computed when it is asked for.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    outputs: Tensor
    log_ratio: Tensor
    clip: float
    distribution: Actions

    @property
    def entropy(self) -> Tensor:
        """Mean entropy of the policy."""
        return self.distribution.entropies(self.outputs).mean()

    @property
    def divergence(self) -> Tensor:
        """Of the new policy from the old, (r - 1) - log r (Schulman, Approximating KL Divergence, 2020)."""
        return (self.log_ratio.exp() - 1 - self.log_ratio).mean()

    @property
    def clipped(self) -> Tensor:
        """Share of transitions whose ratio was clipped."""
        return ((self.log_ratio.exp() - 1).abs() > self.clip).float().mean()


def ppo_loss(agent: ActorCritic, batch: Transitions, recipe: PPOParameters, *, clip: float) -> Losses:
    """Return the loss of a minibatch.

    Args:
        agent: the networks.
        batch: what happened, with its advantages normalised if the recipe wants that.
        recipe: the weights of the parts.
        clip: as `recipe.clip`, annealed.
    """
    outputs, values = agent(batch.observations)
    distribution = actions_of(agent)
    log_probabilities = distribution.log_probabilities(outputs, batch.actions)
    log_ratio = log_probabilities - batch.log_probabilities
    policy = -_smaller_gain(log_ratio.exp(), batch.advantages, clip).mean()
    value = _value_loss(values, batch, recipe.clip_value)
    total = policy + recipe.value_coefficient * value
    if recipe.entropy_coefficient:
        total = total - recipe.entropy_coefficient * distribution.entropies(outputs).mean()
    return Losses(total, policy, value, outputs.detach(), log_ratio.detach(), clip, distribution)


def _smaller_gain(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return min(ratio * advantage, clipped ratio * advantage) of each transition.

    Where the clipped one is smaller it is a constant, so that only the choice is left for the backward pass.
    """
    with torch.no_grad():
        clipped = ratio.clamp(1 - clip, 1 + clip)
        counts_whole = ratio * advantages <= clipped * advantages
    return torch.where(counts_whole, ratio, clipped) * advantages


def _value_loss(values: Tensor, batch: Transitions, clip: float | None) -> Tensor:
    if clip is None:
        return functional.mse_loss(values, batch.returns)
    # As in OpenAI's baselines: the larger of both errors.
    near = batch.values + (values - batch.values).clamp(-clip, clip)
    return torch.maximum((values - batch.returns).square(), (near - batch.returns).square()).mean()
