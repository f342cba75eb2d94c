"""Plan an agent's training, and train it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eightgig.core.tracker import Tracker
from eightgig.datasets.weights import Weights
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.models.cards import AgentCard
from eightgig.stages.annotations import Table
from eightgig.tasks.reinforcement.parameters import Exploration, PPOParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from eightgig.tasks.reinforcement.progress import TrainedAgent
    from eightgig.vram.tracing.workload import Workload

_SELECTION_EPISODES = 20  # for each checkpoint; the scores only have to tell one agent from another


def plan_agent(
    environment: EnvironmentParameters,
    agent: AgentParameters,
    train: PPOParameters,
    exploration: Exploration,
    plan: PlanParameters,
) -> MemoryPlan:
    """Return what a minibatch's step would take of the card, though the CPU is the better place for it."""
    from eightgig.stages.plan import log_plan
    from eightgig.vram.planning.planner import make_plan
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.planning.target import target_of
    from eightgig.vram.tracing.spec import WorkloadSpec

    spaces, target = exploration.spaces, target_of(plan)
    request = PlanRequest.from_records(
        target,
        name=f"agent for {environment.name}",
        workload=WorkloadSpec(
            factory=f"{__name__}:make_workload",
            options={
                "spaces": spaces.model_dump(mode="json"),
                "agent": agent.model_dump(mode="json"),
                "train": train.model_dump(mode="json"),
            },
        ),
        sample=f"{spaces.num_observations} observations",
        effective_batch=train.minibatch_size,
        micro_batch=train.minibatch_size,
        eval_batch=environment.num_envs,
        precisions=("fp32",),
        optimizer="adam",
        device="cuda",
        device_name=target.card.name,
    )
    return log_plan(make_plan(request, plan))


def make_workload(spaces: dict[str, Any], agent: dict[str, Any], train: dict[str, Any]) -> "Workload":
    """Return the networks and the loss of a minibatch, for the memory planner."""
    import torch

    from eightgig.models.agents import Spaces
    from eightgig.tasks.reinforcement.model import build_agent
    from eightgig.tasks.reinforcement.objective import Transitions, ppo_loss
    from eightgig.vram.tracing.workload import Workload

    known, recipe = Spaces(**spaces), PPOParameters(**train)
    module = build_agent(known, AgentParameters(**agent))

    def batch(number: int) -> dict[str, Any]:
        discrete = known.acts == "discrete"
        shape = (number,) if discrete else (number, known.num_actions)
        scalars = {name: torch.zeros(number) for name in ("log_probabilities", "values", "advantages", "returns")}
        actions = torch.zeros(shape, dtype=torch.int64 if discrete else torch.float32)
        return {"observations": torch.zeros(number, known.num_observations), "actions": actions, **scalars}

    def loss(networks: Any, made: dict[str, Any]) -> Any:
        return ppo_loss(networks, Transitions(**made), recipe, clip=recipe.clip).total

    def act(networks: Any, made: dict[str, Any]) -> Any:
        return networks.policy(networks.scaled(made["observations"]))

    return Workload(module=module, batch=batch, loss=loss, evaluate=act)


def train_agents(
    environment: EnvironmentParameters,
    agent: AgentParameters,
    train: PPOParameters,
    exploration: Exploration,
    checkpoints: Path,
    tracker: Tracker,
) -> tuple[Weights, Table]:
    """Train an agent a seed.

    Returns:
        The agent that did best in episodes set aside for that, looked at with each checkpoint, with its card; the
        learning curves of all.
    """
    import logging

    import pandas as pd
    import torch

    from eightgig import __version__
    from eightgig.core.device import describe_device, resolve_device
    from eightgig.core.seeding import seed_from
    from eightgig.tasks.reinforcement.metrics import play
    from eightgig.tasks.reinforcement.model import greedy_policy
    from eightgig.tasks.reinforcement.progress import BestAgent
    from eightgig.tasks.reinforcement.trainer import train_agent

    device = "cpu" if train.device == "auto" else resolve_device(train.device)
    selection_seed = seed_from(train.seed, "selection") % 2**31

    def evaluate(networks: Any) -> float:
        policy = greedy_policy(networks, exploration.spaces)
        played = play(environment, exploration.spaces, policy, episodes=_SELECTION_EPISODES, seed=selection_seed)
        return float(played.returns.mean())

    trained: list[tuple[BestAgent, TrainedAgent]] = []
    for seed in range(train.seed, train.seed + train.num_seeds):
        one = train_agent(
            environment,
            agent,
            train,
            seed=seed,
            device=device,
            tracker=tracker,
            checkpoints=checkpoints,
            evaluate=evaluate,
        )
        best = one.best or BestAgent(one.agent.state_dict(), evaluate(one.agent), one.curve[-1].steps)
        logging.getLogger(__name__).info(
            "agent %d: mean return %.1f in %d episodes after %d of %d steps, trained in %.1f s",
            seed,
            best.score,
            _SELECTION_EPISODES,
            best.steps,
            one.curve[-1].steps,
            one.curve[-1].seconds,
        )
        trained.append((best, one))
    best, chosen = max(trained, key=lambda pair: pair[0].score)
    card = AgentCard(
        model="eightgig/actor_critic",
        started_from="random weights",
        classes=tuple(f"action {number}" for number in range(exploration.spaces.num_actions)),
        best_epoch=next(row.update for row in chosen.curve if row.steps == best.steps),
        val_score=best.score,
        score_name="mean return",
        num_parameters=sum(weight.numel() for weight in chosen.agent.parameters()),
        eightgig_version=__version__,
        torch_version=torch.__version__,
        trained_on=describe_device(device),
        environment=environment,
        spaces=exploration.spaces,
        agent=agent,
        steps=best.steps,
        seed=chosen.seed,
    )
    history = pd.DataFrame([row.model_dump() for _, one in trained for row in one.curve])
    return Weights(best.weights, card), history
