"""A network that the article writes itself, until its case study brings it (`models/`)."""

from torch import Tensor, nn


def actor_critic(num_states: int, num_actions: int, hidden: int) -> nn.Module:
    """Give the article's policy and value networks as one module (article 2.3)."""
    return _ActorCritic(num_states, num_actions, hidden)


def _perceptron(num_inputs: int, hidden: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(num_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_outputs),
    )


class _ActorCritic(nn.Module):
    def __init__(self, num_states: int, num_actions: int, hidden: int) -> None:
        super().__init__()
        self.policy = _perceptron(num_states, hidden, num_actions)
        self.value = _perceptron(num_states, hidden, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(states), self.value(states).squeeze(-1)
