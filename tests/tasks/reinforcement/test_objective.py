"""The parts of the loss by hand."""

import math

import pytest
import torch

from eightgig.tasks.reinforcement.actions import DiscreteActions, RealActions
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.objective import Transitions, ppo_loss
from eightgig.tasks.reinforcement.parameters import PPOParameters


class Fixed(ActorCritic):
    """Two actions with probabilities 3/4 and 1/4, and the value 1, whatever is observed."""

    def __init__(self):
        super().__init__(1, 2)

    def forward(self, observations):
        number = len(observations)
        return torch.tensor([math.log(3.0), 0.0]).expand(number, 2), torch.ones(number)


def losses(old_probabilities, advantages, *, actions=None, returns=None, values=None, clip=0.2, **recipe):
    number = len(advantages)
    batch = Transitions(
        observations=torch.zeros(number, 1),
        actions=torch.tensor(actions or [0] * number),
        log_probabilities=torch.tensor(old_probabilities).log(),
        values=torch.tensor(values or [1.0] * number),
        advantages=torch.tensor(advantages),
        returns=torch.tensor(returns or [1.0] * number),
    )
    return ppo_loss(Fixed(), batch, PPOParameters(**recipe), clip=clip)


@pytest.mark.parametrize(
    ("old", "advantage", "expected"),
    [
        (0.75, 2.0, -2.0),  # nothing has moved
        (0.5, 2.0, -1.2 * 2.0),  # 1.5 times as likely: a gain counts up to 1.2
        (0.5, -2.0, 1.5 * 2.0),  # a loss counts whole
        (1.0, 2.0, -0.75 * 2.0),  # less likely: a missed gain counts whole
        (1.0, -2.0, 0.8 * 2.0),  # and a loss avoided only down to 0.8
    ],
)
def test_the_clipped_objective(old, advantage, expected):
    assert losses([old], [advantage]).policy.item() == pytest.approx(expected)


def test_the_value_and_the_entropy():
    made = losses([0.75, 0.75], [0.0, 0.0], returns=[3.0, 1.0], value_coefficient=0.5, entropy_coefficient=0.1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert made.value.item() == pytest.approx((4 + 0) / 2)
    assert made.entropy.item() == pytest.approx(entropy)
    assert made.total.item() == pytest.approx(0.5 * 2 - 0.1 * entropy)


def test_a_clipped_value_takes_the_larger_error():
    # predicted 0 before, 1 now, 2 wanted: only 0.2 of the way counts, (0.2 - 2) ** 2
    assert losses([0.75], [0.0], returns=[2.0], values=[0.0], clip_value=0.2).value.item() == pytest.approx(1.8**2)


def test_advantages_are_normalised_in_the_minibatch():
    others = dict.fromkeys(("observations", "actions", "log_probabilities", "values", "returns"), torch.zeros(2))
    batch = Transitions(**others, advantages=torch.tensor([10.0, 30.0]))
    torch.testing.assert_close(batch.normalized().advantages, torch.tensor([-1.0, 1.0]) / math.sqrt(2))
    assert batch[torch.tensor([0])].normalized().advantages.item() == 10.0


def test_how_far_the_policy_has_moved():
    made = losses([0.5, 0.75], [1.0, 1.0])
    assert made.divergence.item() == pytest.approx((1.5 - 1 - math.log(1.5)) / 2)
    assert made.clipped.item() == 0.5


def test_discrete_actions_agree_with_torchs_distribution():
    outputs, actions = torch.randn(50, 4), torch.randint(4, (50,))
    reference = torch.distributions.Categorical(logits=outputs)
    torch.testing.assert_close(DiscreteActions().log_probabilities(outputs, actions), reference.log_prob(actions))
    torch.testing.assert_close(DiscreteActions().entropies(outputs), reference.entropy())


def test_real_actions_agree_with_torchs_distribution():
    outputs, log_std = torch.randn(50, 3), torch.randn(3)
    space = RealActions(log_std)
    actions, drawn = space.draw(outputs, torch.Generator().manual_seed(0))
    reference = torch.distributions.Independent(torch.distributions.Normal(outputs, log_std.exp()), 1)
    log_probabilities = space.log_probabilities(outputs, actions)
    torch.testing.assert_close(log_probabilities, reference.log_prob(actions))
    torch.testing.assert_close(drawn, log_probabilities)
    torch.testing.assert_close(space.entropies(outputs), reference.entropy())


def test_actions_are_drawn_as_often_as_they_are_likely():
    outputs = torch.tensor([math.log(3.0), 0.0]).expand(20_000, 2)
    actions, _ = DiscreteActions().draw(outputs, torch.Generator().manual_seed(0))
    assert actions.float().mean().item() == pytest.approx(0.25, abs=0.01)
