"""Advantages and returns by hand."""

import numpy as np
import pytest

from eightgig.tasks.reinforcement.advantages import advantages_of

GAMMA, LAMBDA = 0.5, 0.5


def one(rewards, values, *, terminated=(), truncated=(), gamma=GAMMA, gae_lambda=LAMBDA):
    steps = np.arange(len(rewards))
    made = advantages_of(
        np.array(rewards, dtype=np.float32)[:, None],
        np.array(values, dtype=np.float32)[:, None],
        np.isin(steps, terminated)[:, None],
        np.isin(steps, truncated)[:, None],
        gamma=gamma,
        gae_lambda=gae_lambda,
    )
    return made[:, 0].tolist()


def test_an_episode_that_goes_on():
    # errors: 1 + 0.5 * 4 - 2 = 1 and 1 + 0.5 * 8 - 4 = 1; the first also gets a quarter of the second
    assert one([1, 1], [2, 4, 8]) == [1.25, 1.0]


def test_an_end_is_worth_nothing_after_it():
    # 1 - 2 = -1 at the end; what follows is of another episode: 1 + 0.5 * 8 - 4 = 1
    assert one([1, 1], [2, 4, 8], terminated=[0]) == [-1.0, 1.0]


def test_a_cut_episode_would_have_gone_on():
    # 1 + 0.5 * 4 - 2 = 1, without the quarter of what follows
    assert one([1, 1], [2, 4, 8], truncated=[0]) == [1.0, 1.0]


def test_lambda_of_one_gives_discounted_returns_less_values():
    advantages = one([1, 2, 4], [10, 20, 30, 0], terminated=[2], gae_lambda=1.0)
    returns = [1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4, 4]
    assert advantages == pytest.approx([r - v for r, v in zip(returns, [10, 20, 30], strict=True)])


def test_lambda_of_zero_looks_one_step_ahead():
    assert one([1, 1], [2, 4, 8], gae_lambda=0.0) == [1.0, 1.0]


def test_copies_do_not_mix():
    rewards = np.array([[1, 0], [1, 0]], dtype=np.float32)
    values = np.array([[2, 0], [4, 0], [8, 0]], dtype=np.float32)
    none = np.zeros((2, 2), dtype=bool)
    made = advantages_of(rewards, values, none, none, gamma=GAMMA, gae_lambda=LAMBDA)
    assert made.tolist() == [[1.25, 0.0], [1.0, 0.0]]
