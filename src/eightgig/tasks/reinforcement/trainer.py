"""Training an agent: rollout, update, again; kept so that a run can go on exactly where it was."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.core.progress import track
from eightgig.core.records import Record
from eightgig.core.seeding import seed_from
from eightgig.core.stop import stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters, Spaces
from eightgig.tasks.reinforcement.environments import make_environments, spaces_of
from eightgig.tasks.reinforcement.model import ActorCritic
from eightgig.tasks.reinforcement.moments import RunningMoments
from eightgig.tasks.reinforcement.objective import Losses, Transitions, ppo_loss
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.rollout import Collector, StageTimer, transitions_of
from eightgig.training.checkpoint import Checkpoints
from eightgig.training.code_digest import address_of, code_digest
from eightgig.training.recipe import Recipe
from eightgig.training.resume import go_on_from

logger = logging.getLogger(__name__)
_WINDOW = 100  # episodes that a learning curve averages, as gymnasium's and CleanRL's curves do
_ADAM_EPSILON = 1e-5  # not torch's 1e-8: CleanRL and Stable-Baselines3 both


class CurveRow(Record):
    """How training went up to an update.

    Attributes:
        steps: of the environment so far.
        mean_return: of the last 100 episodes; None before the first one ended.
        mean_length: likewise, in steps.
        explained_variance: share of the returns' variance that the value network knew; 1 is all.
    """

    seed: int
    update: int
    steps: int
    episodes: int
    mean_return: float | None
    mean_length: float | None
    policy_loss: float
    value_loss: float
    entropy: float
    divergence: float
    clipped: float
    explained_variance: float
    learning_rate: float
    seconds: float


@dataclass
class BestAgent:
    """The agent as it was when it did best, by what judges it: a policy may lose later what it had learnt."""

    weights: dict[str, torch.Tensor]
    score: float
    steps: int


@dataclass
class Trained:
    """An agent at the end of its training, when it did best (None where nothing judged it), and how it became one."""

    agent: ActorCritic
    seed: int
    curve: list[CurveRow]
    seconds_by_part: dict[str, float]
    best: BestAgent | None = None
    resumed_at: int | None = None


@dataclass
class Progress:
    """All that training goes on from, between two updates."""

    update: int = 0
    steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    last_returns: list[float] = field(default_factory=list)
    last_lengths: list[int] = field(default_factory=list)
    curve: list[CurveRow] = field(default_factory=list)


def build_agent(spaces: Spaces, parameters: AgentParameters, *, seed: int = 0) -> ActorCritic:
    """Return the networks for an environment, with the weights that belong to a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, "weights"))
        return ActorCritic(
            spaces.num_observations,
            spaces.num_actions,
            hidden=parameters.hidden,
            activation=parameters.activation,
            continuous=spaces.acts == "box",
        )


def train_agent(
    environment: EnvironmentParameters,
    parameters: AgentParameters,
    recipe: PPOParameters,
    *,
    seed: int,
    device: str = "cpu",
    tracker: Tracker,
    checkpoints: Path | None = None,
    watch: Callable[[ActorCritic, CurveRow], None] | None = None,
    judge: Callable[[ActorCritic], float] | None = None,
) -> Trained:
    """Train one agent.

    All that is random follows from the seed: weights, first states, actions, minibatches. Equal seeds give equal curves
    on the same machine.

    Args:
        environment: where it acts.
        parameters: of the networks.
        recipe: of the training; its `seed` and `num_seeds` play no part here.
        seed: of this agent.
        device: where the networks run.
        tracker: gets the curve.
        checkpoints: folder where the run is kept while it lasts, and its result after it; None keeps nothing.
        watch: called after each update, in time that counts nowhere.
        judge: gives how good an agent is, at each checkpoint, in time and steps that count nowhere.

    Raises:
        ConfigurationError: the environment cannot be made.
        Stopped: Ctrl-C or SIGTERM; a checkpoint of the last whole update is there.
        TrainingError: the loss is not finite.
    """
    with one_thread():
        return _Run(environment, parameters, recipe, seed, device, tracker, checkpoints, watch, judge).run()


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: for networks this small sharing the work takes longer than doing it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    def __init__(
        self,
        environment: EnvironmentParameters,
        parameters: AgentParameters,
        recipe: PPOParameters,
        seed: int,
        device: str,
        tracker: Tracker,
        checkpoints: Path | None,
        watch: Callable[[ActorCritic, CurveRow], None] | None,
        judge: Callable[[ActorCritic], float] | None = None,
    ) -> None:
        self.environment, self.recipe, self.seed, self.device = environment, recipe, seed, device
        self.tracker, self.watch, self.judge = tracker, watch, judge
        self.best: BestAgent | None = None
        self.spaces = spaces_of(environment)
        self.agent = build_agent(self.spaces, parameters, seed=seed).to(device)
        self.weights = list(self.agent.parameters())
        self.vector = as_one_vector(self.weights)
        self.optimizer = torch.optim.Adam([self.vector], lr=recipe.learning_rate, eps=_ADAM_EPSILON, fused=True)
        self.moments = RunningMoments(self.spaces.num_observations)
        self.clock, self.progress = StageTimer(), Progress()
        self.checkpoints = None
        if checkpoints:
            of_recipe = recipe.model_dump(mode="json", exclude={"num_seeds", "resume", "device"}) | {"seed": seed}
            code = code_digest(tuple(address_of(function) for function in (train_agent, judge) if function))
            made_of = Recipe.of(code=code, environment=environment, agent=parameters, train=of_recipe)
            self.checkpoints = Checkpoints(checkpoints / f"seed_{seed}", made_of.with_circumstances(device=device))
        a_rollout = recipe.rollout_steps * environment.num_envs
        self.updates = -(-recipe.steps // a_rollout)
        self.updates_kept = max(1, recipe.checkpoint_steps // a_rollout)
        self.updates_played = max(1, recipe.replay_steps // a_rollout)
        self.generator, self.order = torch.Generator(device), torch.Generator()
        self.environments: Any = None
        self.collector: Collector | None = None
        self.played: dict[str, torch.Tensor] | None = None

    def run(self) -> Trained:
        resumed_at, progress = self._resume(), self.progress
        left = range(progress.update, self.updates)
        try:
            with stop_after_step() as stop:
                for _ in track(left, f"updates of agent {self.seed}", total=len(left)):
                    self._update(self._ready())
                    is_due = progress.update % self.updates_kept == 0 or progress.update == self.updates
                    if is_due:
                        self._judge()
                    if is_due or stop.number is not None:
                        self._save()
                    stop.obey()
        finally:
            self._close()
        seconds = dict(self.clock.seconds)
        return Trained(self.agent.cpu(), self.seed, progress.curve, seconds, self.best, resumed_at)

    def _ready(self) -> Collector:
        """Return what collects the next rollout: as it was, as it was before a stop, or with new episodes."""
        number, since = divmod(self.progress.update, self.updates_played)
        if self.collector is None or not since:
            self.collector = self._begun(number)
        if self.played:
            seconds = dict(self.clock.seconds)
            self.collector.play_again(self.played["actions"].numpy())
            self.clock.seconds.update(seconds)
            if not np.array_equal(self.collector.seen, self.played["seen"].numpy()):
                logger.warning(
                    "%s does not show again what it showed when the same was done: agent %d goes on in new episodes, "
                    "and will not be exactly what it would have been",
                    self.environment.name,
                    self.seed,
                )
                self.collector = self._begun(number)
            self.played = None
        return self.collector

    def _begun(self, number: int) -> Collector:
        self._close()
        self.environments = make_environments(self.environment)
        seed = seed_from(self.seed, "episodes", number) % 2**31
        return Collector(self.environments, self.spaces, seed=seed, generator=self.generator, clock=self.clock)

    def _close(self) -> None:
        if self.environments is not None:
            self.environments.close()
        self.environments = self.collector = None

    def _save(self) -> None:
        if self.checkpoints:
            finished = self.progress.update == self.updates
            state = {**self._state(), "finished": finished}
            self.checkpoints.save(state, step=self.progress.update, keep=1 if finished else 2)

    def _judge(self) -> None:
        if self.judge is None:
            return
        score = self.judge(self.agent)
        if self.best is None or score >= self.best.score:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.agent.state_dict().items()}
            self.best = BestAgent(weights, score, self.progress.steps)

    def _resume(self) -> int | None:
        found = go_on_from(self.checkpoints, self.recipe.resume) if self.checkpoints else None
        if found is None:
            return None
        self._restore(found.state)
        logger.info("agent %d goes on at step %d of %d", self.seed, self.progress.steps, self.recipe.steps)
        return self.progress.steps

    def _state(self) -> dict[str, Any]:
        mean, squares = map(torch.from_numpy, (self.moments.mean, self.moments.sum_of_squares))
        return {
            "agent": self.agent.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "moments": {"mean": mean, "squares": squares, "count": self.moments.count},
            "clock": dict(self.clock.seconds),
            "best": vars(self.best) if self.best else None,
            "played": self._to_play(),
            "progress": {**vars(self.progress), "curve": [row.model_dump() for row in self.progress.curve]},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.agent.load_state_dict(state["agent"])
        self.optimizer.load_state_dict(state["optimizer"])
        moments = state["moments"]
        self.moments.mean, self.moments.sum_of_squares = moments["mean"].numpy(), moments["squares"].numpy()
        self.moments.count = moments["count"]
        curve = [CurveRow(**row) for row in state["progress"]["curve"]]
        self.progress = Progress(**{**state["progress"], "curve": curve})
        self.clock.seconds.update(state["clock"])
        self.best = BestAgent(**state["best"]) if state["best"] else None
        self.played = state["played"]

    def _to_play(self) -> dict[str, torch.Tensor] | None:
        """Return what brings the environments back to where they are; None where new episodes are next."""
        update = self.progress.update
        if self.collector is None or update == self.updates or update % self.updates_played == 0:
            return None
        return {
            "actions": torch.from_numpy(np.stack(self.collector.done)),
            "seen": torch.from_numpy(self.collector.seen),
        }

    def _update(self, collector: Collector) -> None:
        # Seeds by name: what follows does not depend on where the run was stopped before.
        self.generator.manual_seed(seed_from(self.seed, "actions", self.progress.update))
        self.order.manual_seed(seed_from(self.seed, "minibatches", self.progress.update))
        begun, progress, recipe = time.perf_counter(), self.progress, self.recipe
        left = 1 - progress.update / self.updates
        rate = recipe.learning_rate * (left if recipe.anneal else 1.0)
        self.optimizer.param_groups[0]["lr"] = rate
        rollout = collector.collect(self.agent, recipe.rollout_steps)
        with self.clock.part("update"):
            transitions = transitions_of(rollout, self.agent, recipe)
            losses = self._learn(transitions, clip=recipe.clip * (left if recipe.anneal_clip else 1.0))
        if recipe.normalize_observations:  # by what was seen before: one rollout is scaled in one way
            self._see(rollout.observations[:-1][rollout.counts])
        progress.update += 1
        progress.steps += rollout.num_steps
        progress.episodes += len(rollout.episodes)
        progress.last_returns = [*progress.last_returns, *(e.total_reward for e in rollout.episodes)][-_WINDOW:]
        progress.last_lengths = [*progress.last_lengths, *(e.length for e in rollout.episodes)][-_WINDOW:]
        progress.seconds += time.perf_counter() - begun
        self._note(losses, transitions, rate)

    def _learn(self, transitions: Transitions, *, clip: float) -> Losses:
        losses = deque[Losses](maxlen=1)
        for batch in self._minibatches(transitions):
            made = ppo_loss(self.agent, batch, self.recipe, clip=clip)
            if self.recipe.target_kl is not None and made.divergence > 1.5 * self.recipe.target_kl:
                return losses[0] if losses else made
            gradients = torch.autograd.grad(made.total, self.weights)
            self.vector.grad = torch.cat([gradient.flatten() for gradient in gradients])
            nn.utils.clip_grad_norm_(self.vector, self.recipe.max_grad_norm)
            self.optimizer.step()
            losses.append(made)
        if not bool(losses[0].total.isfinite()):
            raise TrainingError(
                f"the loss of agent {self.seed} is not finite after {self.progress.steps} steps: lower "
                "train.learning_rate, or set train.normalize_observations"
            )
        return losses[0]

    def _minibatches(self, transitions: Transitions) -> Iterator[Transitions]:
        """Yield the minibatches of all epochs."""
        ready = Transitions.normalized if self.recipe.normalize_advantages else lambda batch: batch
        if len(transitions) <= self.recipe.minibatch_size:  # their order plays no part
            yield from repeat(ready(transitions), self.recipe.epochs)
            return
        for _ in range(self.recipe.epochs):
            places = torch.randperm(len(transitions), generator=self.order).to(self.device)
            for chosen in places.split(self.recipe.minibatch_size):
                yield ready(transitions[chosen])

    def _see(self, observations: np.ndarray[Any, Any]) -> None:
        self.moments.see(observations)
        self.agent.mean.copy_(torch.from_numpy(self.moments.mean))
        self.agent.std.copy_(torch.from_numpy(self.moments.std))

    def _note(self, losses: Losses, transitions: Transitions, rate: float) -> None:
        progress = self.progress
        spread = transitions.returns.var()
        row = CurveRow(
            seed=self.seed,
            update=progress.update,
            steps=progress.steps,
            episodes=progress.episodes,
            mean_return=float(np.mean(progress.last_returns)) if progress.last_returns else None,
            mean_length=float(np.mean(progress.last_lengths)) if progress.last_lengths else None,
            policy_loss=losses.policy.item(),
            value_loss=losses.value.item(),
            entropy=losses.entropy.item(),
            divergence=losses.divergence.item(),
            clipped=losses.clipped.item(),
            explained_variance=float(1 - (transitions.returns - transitions.values).var() / spread) if spread else 0.0,
            learning_rate=rate,
            seconds=progress.seconds,
        )
        progress.curve.append(row)
        if self.watch:
            self.watch(self.agent, row)
        if progress.update % 10 == 0 or progress.update == self.updates:
            figures = {"mean_return": row.mean_return, "entropy": row.entropy, "divergence": row.divergence}
            self.tracker.log_metrics(
                {f"seed{self.seed}_{name}": value for name, value in figures.items() if value is not None},
                step=row.steps,
            )
