"""Agents in their environments: what is collected, that they learn, go on, and repeat themselves."""

import secrets
import signal
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
import torch
from tests.present import present

from eightgig.core.errors import CheckpointError, ConfigurationError
from eightgig.core.stop import Stopped
from eightgig.core.tracker import NoTracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.tasks.reinforcement import trainer
from eightgig.tasks.reinforcement.environments import make_environments, spaces_of
from eightgig.tasks.reinforcement.learner import RunningMoments
from eightgig.tasks.reinforcement.metrics import confidence_interval, play, random_policy
from eightgig.tasks.reinforcement.model import build_agent
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.rollout import RolloutCollector, StageTimer, transitions_of

CARTPOLE = EnvironmentParameters(num_envs=4)
SMALL = AgentParameters(hidden=(16, 16))
SHORT = PPOParameters(steps=2048, epochs=2, minibatch_size=64, checkpoint_steps=512)


class Corridor(gymnasium.Env):
    """Four steps to the end, or cut off after three where `limit` says so; each step rewards its own number."""

    observation_space: gymnasium.spaces.Space[Any] = gymnasium.spaces.Discrete(6)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, limit=99):
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return 0, {}

    def step(self, action):
        self.place += 1
        return self.place, float(self.place), self.place == 4, self.place == self.limit, {}


class Fickle(Corridor):
    """Shows what nobody knows, whatever the seed."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.shown(), {}

    def step(self, action):
        return self.shown(), *super().step(action)[1:]

    def shown(self):
        return np.array([secrets.randbelow(2**20) / 2**20], dtype=np.float32)


@pytest.fixture(autouse=True)
def corridor():
    gymnasium.register("Corridor-v0", entry_point=cast("Any", Corridor))
    yield
    del gymnasium.registry["Corridor-v0"]


def train(environment=CARTPOLE, recipe=SHORT, *, seed=0, folder=None):
    return trainer.train_agent(environment, SMALL, recipe, seed=seed, tracker=NoTracker(), checkpoints=folder)


def without_time(made):
    return [row.model_dump(exclude={"seconds"}) for row in made.curve]


@pytest.mark.parametrize("limit", [99, 3])
def test_a_rollout_tells_steps_from_beginnings(limit):
    environment = EnvironmentParameters(name="Corridor-v0", options={"limit": limit}, num_envs=2)
    spaces, environments = spaces_of(environment), make_environments(environment)
    agent = build_agent(spaces, SMALL)
    collector = RolloutCollector(environments, spaces, seed=0, generator=torch.Generator(), timer=StageTimer())
    rollout = collector.collect(agent, 12)
    length = min(4, limit)
    episode = [*range(1, length + 1), 0]  # the last step only begins the next one
    expected = np.resize(episode, 12)
    np.testing.assert_array_equal(rollout.rewards[:, 0], expected)
    np.testing.assert_array_equal(rollout.counts[:, 1], expected > 0)
    ends = rollout.terminated if limit == 99 else rollout.truncated
    np.testing.assert_array_equal(ends[:, 0], expected == length)
    assert not (rollout.truncated if limit == 99 else rollout.terminated).any()
    np.testing.assert_array_equal(rollout.observations[length, 0].argmax(), length)  # the last one is seen as it is
    done = [e for e in rollout.episodes if e.length == length and e.total_reward == sum(range(length + 1))]
    assert len(done) == len(rollout.episodes) == 2 * (12 // (length + 1) + (12 % (length + 1) == length))
    assert len(transitions_of(rollout, agent, PPOParameters())) == rollout.num_steps == (expected > 0).sum() * 2


def test_the_value_stands_for_what_was_cut_off():
    environment = EnvironmentParameters(name="Corridor-v0", options={"limit": 3}, num_envs=1)
    spaces, environments = spaces_of(environment), make_environments(environment)
    agent = build_agent(spaces, SMALL, seed=3)
    rollout = RolloutCollector(environments, spaces, seed=0, generator=torch.Generator(), timer=StageTimer()).collect(
        agent, 3
    )
    made = transitions_of(rollout, agent, PPOParameters(gamma=0.5))
    value_at_3 = agent.value(torch.eye(6)[3]).item()
    assert made.returns[-1].item() == pytest.approx(3 + 0.5 * value_at_3)


def test_equal_seeds_give_equal_curves_and_others_do_not():
    one, again, other = train(), train(), train(seed=1)
    assert without_time(one) == without_time(again)
    for name, tensor in one.agent.state_dict().items():
        assert torch.equal(tensor, again.agent.state_dict()[name])
    assert without_time(one)[-1]["entropy"] != without_time(other)[-1]["entropy"]


def stop_before(monkeypatch, number):
    update = trainer.AgentTrainer._update

    def stopped(self, collector):
        if self.progress.update == number:
            raise KeyboardInterrupt
        update(self, collector)

    monkeypatch.setattr(trainer.AgentTrainer, "_update", stopped)


@pytest.mark.parametrize("replay_steps", [10**6, 640])  # 640: new episodes after 5 updates; checkpoints are after 4
@pytest.mark.parametrize("scaled", [False, True])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, scaled, replay_steps):
    recipe = SHORT.model_copy(update={"normalize_observations": scaled, "replay_steps": replay_steps})
    whole = train(recipe=recipe)
    for number in (7, 10):
        with monkeypatch.context() as patched:
            stop_before(patched, number)
            with pytest.raises(KeyboardInterrupt):
                train(recipe=recipe, folder=tmp_path)
    resumed = train(recipe=recipe, folder=tmp_path)
    assert resumed.resumed_at == resumed.curve[7].steps
    assert without_time(resumed) == without_time(whole)
    for name, tensor in whole.agent.state_dict().items():
        assert torch.equal(tensor, resumed.agent.state_dict()[name])


def test_an_environment_that_does_not_repeat_itself_is_told_of(tmp_path, monkeypatch, caplog):
    gymnasium.register("Fickle-v0", entry_point=cast("Any", Fickle))
    try:
        environment = EnvironmentParameters(name="Fickle-v0", num_envs=4)
        with monkeypatch.context() as patched:
            stop_before(patched, 10)
            with pytest.raises(KeyboardInterrupt):
                train(environment, folder=tmp_path)
        assert len(train(environment, folder=tmp_path).curve) == 16
    finally:
        del gymnasium.registry["Fickle-v0"]
    assert "Fickle-v0 does not show again what it showed when the same was done" in caplog.text


def test_the_result_of_a_finished_run_is_taken_unless_it_is_made_anew(tmp_path):
    made = train(folder=tmp_path)
    taken = train(folder=tmp_path)
    assert taken.resumed_at == made.curve[-1].steps
    assert taken.curve == made.curve  # times included: nothing was trained
    assert taken.seconds_by_part == made.seconds_by_part
    anew = train(recipe=SHORT.model_copy(update={"resume": "never"}), folder=tmp_path)
    assert anew.resumed_at is None
    assert without_time(anew) == without_time(made)


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(tmp_path, caplog):
    train(folder=tmp_path)
    other = SHORT.model_copy(update={"gamma": 0.9})
    with pytest.raises(CheckpointError, match=r"another recipe: train.gamma is 0.9, was 0.98"):
        train(recipe=other.model_copy(update={"resume": "must"}), folder=tmp_path)
    assert train(recipe=other, folder=tmp_path).resumed_at is None
    assert "another recipe (train.gamma is 0.9, was 0.98): training begins anew" in caplog.text
    assert (tmp_path / "seed_0" / "previous" / "manifest.json").is_file()


def test_ctrl_c_ends_a_run_that_goes_on_exactly(tmp_path, monkeypatch):
    whole, update = train(), trainer.AgentTrainer._update

    def interrupted(self, *rest):
        update(self, *rest)
        if self.progress.update == 6:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.AgentTrainer, "_update", interrupted)
        with pytest.raises(Stopped) as stopped:
            train(folder=tmp_path)
    assert stopped.value.code == 130
    assert without_time(train(folder=tmp_path)) == without_time(whole)


def test_the_agent_that_did_best_is_kept_also_over_a_stop(tmp_path, monkeypatch):
    def train_evaluated(folder=None):
        scores = iter([1.0, 5.0, 2.0, 5.0])
        seen = []

        def evaluate(agent):
            seen.append({name: tensor.clone() for name, tensor in agent.state_dict().items()})
            return next(scores)

        made = trainer.train_agent(
            CARTPOLE, SMALL, SHORT, seed=0, tracker=NoTracker(), checkpoints=folder, evaluate=evaluate
        )
        return made, seen

    made, seen = train_evaluated()
    assert (made.best.score, made.best.steps) == (5.0, made.curve[-1].steps)  # the later one of two that are as good
    assert all(torch.equal(tensor, made.best.weights[name]) for name, tensor in seen[3].items())
    train_evaluated(tmp_path)
    taken, seen = train_evaluated(tmp_path)
    assert (taken.best.score, taken.best.steps, seen) == (5.0, made.best.steps, [])


def test_an_agent_learns():
    recipe = PPOParameters(steps=12_000, epochs=10, minibatch_size=128)
    made = trainer.train_agent(
        EnvironmentParameters(), AgentParameters(hidden=(32, 32)), recipe, seed=0, tracker=NoTracker()
    )
    assert present(made.curve[-1].mean_return) > 60  # about 22 at random


def test_real_actions_and_scaled_observations():
    recipe = PPOParameters(steps=1024, epochs=2, minibatch_size=64, normalize_observations=True)
    made = train(EnvironmentParameters(name="Pendulum-v1", num_envs=4), recipe)
    assert made.agent.log_std is not None
    assert made.agent.std.tolist() != [1.0, 1.0, 1.0]
    assert np.isfinite([row.policy_loss for row in made.curve]).all()


def test_an_update_stops_where_the_policy_has_moved_too_far():
    recipe = SHORT.model_copy(update={"learning_rate": 0.1, "target_kl": 1e-6})
    assert max(row.divergence for row in train(recipe=recipe).curve) < max(
        row.divergence for row in train(recipe=SHORT.model_copy(update={"learning_rate": 0.1})).curve
    )


def test_every_episode_is_played_to_its_end():
    spaces = spaces_of(CARTPOLE)
    played = play(CARTPOLE, spaces, random_policy(spaces, seed=0), episodes=50, seed=0)
    np.testing.assert_array_equal(played.returns, played.lengths)  # CartPole gives 1 a step
    assert 15 < played.returns.mean() < 30
    assert len(played.observations) == played.lengths.sum()


def test_confidence_by_hand():
    # mean 2, deviation 1, Student's t of 2 degrees 4.3027
    assert confidence_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx(
        (2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4
    )
    assert confidence_interval(np.array([500.0, 500.0])) == (500.0, 500.0)


def test_moments_of_batches_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(3, 2, size=(100, 2)).astype(np.float32)
    moments = RunningMoments(2)
    for part in np.split(values, [1, 10, 60]):
        moments.see(part)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [("CartPol-v1", "CartPol-v1 cannot be made"), ("Blackjack-v1", "expected boxes or discrete spaces")],
)
def test_environments_that_cannot_be_used(name, said):
    with pytest.raises(ConfigurationError, match=said):
        spaces_of(EnvironmentParameters(name=name))
