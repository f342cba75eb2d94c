"""Training an agent: rollout, update, again; kept so that a run can go on exactly where it was."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eightgig.core.progress import track
from eightgig.core.stop import stop_after_step
from eightgig.core.tracker import Tracker
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.tasks.reinforcement.learner import PPOLearner
from eightgig.tasks.reinforcement.model import ActorCritic, build_agent
from eightgig.tasks.reinforcement.objective import Losses, Transitions
from eightgig.tasks.reinforcement.parameters import PPOParameters
from eightgig.tasks.reinforcement.progress import AgentProgress, BestAgent, CurveRow, TrainedAgent
from eightgig.tasks.reinforcement.rollout import RolloutCollector, RolloutSource, transitions_of
from eightgig.training.checkpointing.checkpoint import Checkpoints
from eightgig.training.checkpointing.code_digest import address_of, code_digest
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.checkpointing.resume import find_checkpoint

logger = logging.getLogger(__name__)
_UPDATES_LOGGED = 10  # every tenth update is tracked: a run has thousands


def train_agent(
    environment: EnvironmentParameters,
    parameters: AgentParameters,
    recipe: PPOParameters,
    *,
    seed: int,
    device: str = "cpu",
    tracker: Tracker,
    checkpoints: Path | None = None,
    on_update: Callable[[ActorCritic, CurveRow], None] | None = None,
    evaluate: Callable[[ActorCritic], float] | None = None,
) -> TrainedAgent:
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
        on_update: called after each update, in time that counts nowhere.
        evaluate: gives how good an agent is, at each checkpoint, in time and steps that count nowhere.

    Raises:
        ConfigurationError: the environment cannot be made.
        Stopped: Ctrl-C or SIGTERM; a checkpoint of the last whole update is there.
        TrainingError: the loss is not finite.
    """
    recipe = recipe.model_copy(update={"seed": seed, "num_seeds": 1})
    store = None
    if checkpoints:
        code = code_digest(tuple(address_of(function) for function in (train_agent, evaluate) if function))
        made_of = Recipe.of(code=code, environment=environment, agent=parameters, train=recipe)
        store = Checkpoints(checkpoints / f"seed_{seed}", made_of.with_circumstances(device=device))
    with one_thread():
        trainer = AgentTrainer(
            environment,
            parameters,
            recipe,
            device=device,
            tracker=tracker,
            checkpoints=store,
            on_update=on_update,
            evaluate=evaluate,
        )
        return trainer.run()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: for networks this small sharing the work takes longer than doing it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class AgentTrainer:
    """Trains one agent: the one of `recipe.seed`.

    Args:
        environment, parameters, device, tracker, on_update, evaluate: as `train_agent` takes them.
        checkpoints: of this agent; None keeps nothing.
    """

    def __init__(
        self,
        environment: EnvironmentParameters,
        parameters: AgentParameters,
        recipe: PPOParameters,
        *,
        device: str,
        tracker: Tracker,
        checkpoints: Checkpoints | None = None,
        on_update: Callable[[ActorCritic, CurveRow], None] | None = None,
        evaluate: Callable[[ActorCritic], float] | None = None,
    ) -> None:
        self._recipe, self._seed, self._checkpoints = recipe, recipe.seed, checkpoints
        self._tracker, self._on_update, self._evaluate = tracker, on_update, evaluate
        self.rollouts = RolloutSource(environment, recipe, seed=recipe.seed, device=device)
        agent = build_agent(self.rollouts.spaces, parameters, seed=recipe.seed).to(device)
        self.learner = PPOLearner(agent, recipe, seed=recipe.seed)
        self.progress = AgentProgress()
        self.best: BestAgent | None = None
        a_rollout = recipe.rollout_steps * environment.num_envs
        self._num_updates = -(-recipe.steps // a_rollout)
        self._checkpoint_updates = max(1, recipe.checkpoint_steps // a_rollout)

    def run(self) -> TrainedAgent:
        """Train, go on, or take the result of this very training if it is finished.

        Raises:
            Stopped: Ctrl-C or SIGTERM; a checkpoint of the last whole update is there.
            TrainingError: the loss is not finite.
        """
        resumed_at, progress = self._resume(), self.progress
        left = range(progress.update, self._num_updates)
        try:
            with stop_after_step() as stop:
                for _ in track(left, f"updates of agent {self._seed}", total=len(left)):
                    self._update(self.rollouts.collector(progress.update))
                    is_due = self._is_done or progress.update % self._checkpoint_updates == 0
                    if is_due:
                        self._keep_best()
                    if is_due or stop.number is not None:
                        self._save()
                    stop.obey()
        finally:
            self.rollouts.close()
        seconds, agent = dict(self.rollouts.timer.seconds), self.learner.agent.cpu()
        return TrainedAgent(agent, self._seed, progress.curve, seconds, self.best, resumed_at)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the run goes on from, as plain values and tensors."""
        return {
            **self.learner.state_dict(),
            "clock": dict(self.rollouts.timer.seconds),
            "best": vars(self.best) if self.best else None,
            "replay": None if self._is_done else self.rollouts.state_dict(self.progress.update),
            "progress": self.progress.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.learner.load_state_dict(state)
        self.rollouts.timer.seconds.update(state["clock"])
        self.best = BestAgent(**state["best"]) if state["best"] else None
        self.rollouts.load_state_dict(state["replay"])
        self.progress = AgentProgress.from_state_dict(state["progress"])

    @property
    def _is_done(self) -> bool:
        return self.progress.update == self._num_updates

    def _resume(self) -> int | None:
        """Go on from a checkpoint; return the step that it is of, or None where the run begins."""
        found = find_checkpoint(self._checkpoints, self._recipe.resume) if self._checkpoints else None
        if found is None:
            return None
        self.load_state_dict(found.state)
        logger.info("agent %d goes on at step %d of %d", self._seed, self.progress.steps, self._recipe.steps)
        return self.progress.steps

    def _save(self) -> None:
        if self._checkpoints:
            state = {**self.state_dict(), "finished": self._is_done}
            if self._is_done:
                self._checkpoints.save(state, step=self.progress.update, keep=1)
            else:
                self._checkpoints.save(state, step=self.progress.update)

    def _keep_best(self) -> None:
        if self._evaluate is None:
            return
        score = self._evaluate(self.learner.agent)
        if self.best is None or score >= self.best.score:
            self.best = BestAgent(self.learner.weights(), score, self.progress.steps)

    def _update(self, collector: RolloutCollector) -> None:
        begun, progress, recipe, learner = time.perf_counter(), self.progress, self._recipe, self.learner
        left = 1 - progress.update / self._num_updates
        rollout = collector.collect(learner.agent, recipe.rollout_steps)
        with self.rollouts.timer.part("update"):
            transitions = transitions_of(rollout, learner.agent, recipe)
            losses = learner.learn(transitions, update=progress.update, left=left)
        if recipe.normalize_observations:  # by what was seen before: one rollout is scaled in one way
            learner.observe(rollout.observations[:-1][rollout.counts])
        progress.add(rollout.num_steps, rollout.episodes, time.perf_counter() - begun)
        row = self._row(losses, transitions)
        progress.curve.append(row)
        if self._on_update:
            self._on_update(learner.agent, row)
        if self._is_done or progress.update % _UPDATES_LOGGED == 0:
            self._log_update(row)

    def _row(self, losses: Losses, transitions: Transitions) -> CurveRow:
        progress, spread = self.progress, transitions.returns.var()
        return CurveRow(
            seed=self._seed,
            update=progress.update,
            steps=progress.steps,
            episodes=progress.episodes,
            mean_return=progress.mean_return,
            mean_length=progress.mean_length,
            policy_loss=losses.policy.item(),
            value_loss=losses.value.item(),
            entropy=losses.entropy.item(),
            divergence=losses.divergence.item(),
            clipped=losses.clipped.item(),
            explained_variance=float(1 - (transitions.returns - transitions.values).var() / spread) if spread else 0.0,
            learning_rate=self.learner.learning_rate,
            seconds=progress.seconds,
        )

    def _log_update(self, row: CurveRow) -> None:
        figures = {"mean_return": row.mean_return, "entropy": row.entropy, "divergence": row.divergence}
        self._tracker.log_metrics(
            {f"seed{self._seed}_{name}": value for name, value in figures.items() if value is not None}, step=row.steps
        )
