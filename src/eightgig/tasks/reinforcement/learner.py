"""PPO's updates: networks with their optimizer, and how a rollout changes them."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.seeding import seed_from
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.objective import Losses, Transitions, ppo_loss
from eightgig.tasks.reinforcement.parameters import PPOParameters

_ADAM_EPSILON = 1e-5  # not torch's 1e-8: CleanRL and Stable-Baselines3 both
_DIVERGENCE_SLACK = 1.5  # an update stops beyond 1.5 times `target_kl`, as in OpenAI's Spinning Up
_SMALLEST_VARIANCE = 1e-8  # so that an observation that never changes is not divided by 0


class PPOLearner:
    """An agent with its optimizer, and the moments of what it has observed.

    Args:
        agent: where it computes.
        seed: of the minibatches.

    Attributes:
        learning_rate: of the last update.
    """

    def __init__(self, agent: ActorCritic, recipe: PPOParameters, *, seed: int) -> None:
        self.agent, self._recipe, self._seed = agent, recipe, seed
        self._weights = list(agent.parameters())
        self._vector = as_one_vector(self._weights)
        self._optimizer = torch.optim.Adam([self._vector], lr=recipe.learning_rate, eps=_ADAM_EPSILON, fused=True)
        self._moments = RunningMoments(agent.mean.numel())
        self._order = torch.Generator()
        self.learning_rate = recipe.learning_rate

    def learn(self, transitions: Transitions, *, update: int, left: float) -> Losses:
        """Take an update's gradient steps; return the losses of the last one.

        Args:
            transitions: the rollout's.
            update: its number, which decides the order of samples wherever the run was stopped before.
            left: share of the training that is left, for what is annealed.

        Raises:
            TrainingError: the loss is not finite.
        """
        recipe = self._recipe
        self._order.manual_seed(seed_from(self._seed, "minibatches", update))
        self.learning_rate = recipe.learning_rate * (left if recipe.anneal else 1.0)
        self._optimizer.param_groups[0]["lr"] = self.learning_rate
        clip = recipe.clip * (left if recipe.anneal_clip else 1.0)
        losses = deque[Losses](maxlen=1)
        for batch in self._minibatches(transitions):
            made = ppo_loss(self.agent, batch, recipe, clip=clip)
            if recipe.target_kl is not None and made.divergence > _DIVERGENCE_SLACK * recipe.target_kl:
                return losses[0] if losses else made
            self._step(made)
            losses.append(made)
        if not bool(losses[0].total.isfinite()):
            raise TrainingError(
                f"the loss of agent {self._seed} is not finite after {update} updates: lower train.learning_rate, or "
                "set train.normalize_observations"
            )
        return losses[0]

    def observe(self, observations: np.ndarray[Any, Any]) -> None:
        """Scale what follows by the moments of these observations, too."""
        self._moments.see(observations)
        self.agent.mean.copy_(torch.from_numpy(self._moments.mean))
        self.agent.std.copy_(torch.from_numpy(self._moments.std))

    def weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the networks' weights, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.agent.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that updates change, as plain values and tensors."""
        mean, squares = map(torch.from_numpy, (self._moments.mean, self._moments.sum_of_squares))
        return {
            "agent": self.agent.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "moments": {"mean": mean, "squares": squares, "count": self._moments.count},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.agent.load_state_dict(state["agent"])
        self._optimizer.load_state_dict(state["optimizer"])
        moments = state["moments"]
        self._moments.mean, self._moments.sum_of_squares = moments["mean"].numpy(), moments["squares"].numpy()
        self._moments.count = moments["count"]

    def _step(self, losses: Losses) -> None:
        gradients = torch.autograd.grad(losses.total, self._weights)
        self._vector.grad = torch.cat([gradient.flatten() for gradient in gradients])
        nn.utils.clip_grad_norm_(self._vector, self._recipe.max_grad_norm)
        self._optimizer.step()

    def _minibatches(self, transitions: Transitions) -> Iterator[Transitions]:
        """Yield the minibatches of all epochs."""
        recipe = self._recipe
        ready = Transitions.normalized if recipe.normalize_advantages else lambda batch: batch
        if len(transitions) <= recipe.minibatch_size:  # their order plays no part
            yield from repeat(ready(transitions), recipe.epochs)
            return
        for _ in range(recipe.epochs):
            places = torch.randperm(len(transitions), generator=self._order).to(self.agent.mean.device)
            for chosen in places.split(recipe.minibatch_size):
                yield ready(transitions[chosen])


def as_one_vector(weights: Sequence[nn.Parameter]) -> nn.Parameter:
    """Lay weights one behind the other in a vector and make them views of it.

    To clip and step one vector takes one operation each; for networks this small it is the number of operations that
    takes the time.
    """
    vector = nn.Parameter(torch.cat([weight.detach().flatten() for weight in weights]))
    parts = vector.detach().split([weight.numel() for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.data = part.view_as(weight)
    return vector


class RunningMoments:
    """Mean and variance of all that was seen, batch by batch (Chan et al., 1979)."""

    def __init__(self, size: int) -> None:
        self.mean, self.sum_of_squares, self.count = np.zeros(size), np.zeros(size), 0

    def see(self, batch: NDArray[np.float32]) -> None:
        """Add a batch (N, size)."""
        if not len(batch):
            return
        values = batch.astype(np.float64)
        mean, total = values.mean(0), self.count + len(values)
        apart = mean - self.mean
        self.sum_of_squares += ((values - mean) ** 2).sum(0) + apart**2 * self.count * len(values) / total
        self.mean += apart * len(values) / total
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """The deviation; 1 before anything was seen."""
        if not self.count:
            return np.ones_like(self.mean)
        deviation: NDArray[np.float64] = np.sqrt(self.sum_of_squares / self.count + _SMALLEST_VARIANCE)
        return deviation
