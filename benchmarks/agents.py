"""PPO beside Stable-Baselines3's: the same environment, steps, recipe and seeds, in turn, in one thread.

    pip install stable-baselines3
    make bench-agents

Says environment steps a second of both (playing to judge the agent is not timed), the ratio, and after how many steps
the agent first returned 475 on average in 20 episodes of its best actions, looked at about every 5,000 steps.
"""

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eightgig.core.device import describe_device
from eightgig.core.tracker import NoTracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.tasks.reinforcement.environments import spaces_of
from eightgig.tasks.reinforcement.metrics import Policy, play
from eightgig.tasks.reinforcement.model import DeployedPolicy
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.trainer import one_thread, train_agent

ENVIRONMENT, EPISODES, EVERY, SOLVED = EnvironmentParameters(), 20, 5_000, 475.0
SPACES = spaces_of(ENVIRONMENT)


class Judge:
    """Plays with an agent now and then, and adds up how long that took."""

    def __init__(self) -> None:
        self.next_look, self.seconds = EVERY, 0.0
        self.solved_at: int | None = None

    def look(self, policy: Policy, steps: int) -> None:
        """Play, if it is time to."""
        if steps < self.next_look:
            return
        begun = time.perf_counter()
        self.next_look += EVERY
        returned = play(ENVIRONMENT, SPACES, policy, episodes=EPISODES, seed=10**6).returns.mean()
        if self.solved_at is None and returned >= SOLVED:
            self.solved_at = steps
        self.seconds += time.perf_counter() - begun


def ours(recipe: PPOParameters, seed: int) -> dict[str, Any]:
    """Train this project's agent."""
    judge = Judge()

    def on_update(agent: Any, row: Any) -> None:
        policy = DeployedPolicy(agent)
        judge.look(lambda seen: policy(torch.from_numpy(seen)).numpy(), row.steps)

    made = train_agent(ENVIRONMENT, AgentParameters(), recipe, seed=seed, tracker=NoTracker(), on_update=on_update)
    last = made.curve[-1]
    return {"steps_per_second": last.steps / last.seconds, "solved_at": judge.solved_at}


def theirs(recipe: PPOParameters, seed: int) -> dict[str, Any]:
    """Train Stable-Baselines3's, with the same recipe."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    judge = Judge()

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            judge.look(lambda seen: self.model.predict(seen, deterministic=True)[0], self.num_timesteps)

    environments = make_vec_env(ENVIRONMENT.name, n_envs=ENVIRONMENT.num_envs, seed=seed)
    model = PPO(
        "MlpPolicy",
        environments,
        n_steps=recipe.rollout_steps,
        batch_size=recipe.minibatch_size,
        n_epochs=recipe.epochs,
        gamma=recipe.gamma,
        gae_lambda=recipe.gae_lambda,
        clip_range=lambda left: recipe.clip * left,
        learning_rate=lambda left: recipe.learning_rate * left,
        ent_coef=recipe.entropy_coefficient,
        vf_coef=recipe.value_coefficient,
        max_grad_norm=recipe.max_grad_norm,
        policy_kwargs={"net_arch": list(AgentParameters().hidden)},
        device="cpu",
        seed=seed,
    )
    begun = time.perf_counter()
    with one_thread():
        model.learn(recipe.steps, callback=Look())
    seconds = time.perf_counter() - begun - judge.seconds
    return {"steps_per_second": model.num_timesteps / seconds, "solved_at": judge.solved_at}


def main() -> None:
    """Train both, seed by seed, and write `results/agents-NAME.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=PPOParameters().steps)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    recipe = PPOParameters(steps=chosen.steps)
    rounds = []
    for seed in range(chosen.seeds):
        first, second = (ours, theirs) if seed % 2 == 0 else (theirs, ours)  # neither always finds a warm machine
        made = {run.__name__: run(recipe, seed) for run in (first, second)}
        rounds.append(made)
        print(seed, json.dumps(made), flush=True)
    ratios = [made["ours"]["steps_per_second"] / made["theirs"]["steps_per_second"] for made in rounds]
    result = {
        "environment": ENVIRONMENT.name,
        "steps": recipe.steps,
        "machine": describe_device("cpu"),
        "torch": version("torch"),
        "stable_baselines3": version("stable-baselines3"),
        "median_ratio_of_steps_per_second": statistics.median(ratios),
        "ratios": ratios,
        "median_steps_to_475": {
            name: float(np.median([made[name]["solved_at"] or np.inf for made in rounds]))
            for name in ("ours", "theirs")
        },
        "rounds": rounds,
    }
    print(json.dumps(result, indent=2))
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
