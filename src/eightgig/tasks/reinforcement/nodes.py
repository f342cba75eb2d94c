"""The agent's own nodes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eightgig.core.tracker import Tracker
from eightgig.datasets.weights import Weights
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.models.cards import AgentCard
from eightgig.stages.annotations import ImageArray, Table
from eightgig.tasks.reinforcement.metrics import ReturnsReport
from eightgig.tasks.reinforcement.parameters import (
    EvaluateParameters,
    Exploration,
    ExportParameters,
    FilmParameters,
    PolicyParity,
    PPOParameters,
    SpeedParameters,
)
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from eightgig.models.agents import Spaces
    from eightgig.tasks.reinforcement.metrics import Policy
    from eightgig.tasks.reinforcement.model import ActorCritic
    from eightgig.tasks.reinforcement.trainer import Trained
    from eightgig.vram.tracing.workload import Workload

_REAL_ACTIONS_APART = 1e-5
_EPISODES_ASIDE = 20


def explore(environment: EnvironmentParameters, evaluate: EvaluateParameters) -> Exploration:
    """Act at random: what that is worth, and what is observed.

    Raises:
        ConfigurationError: there is no such environment, or its spaces cannot be used.
    """
    from eightgig.core.seeding import seed_from
    from eightgig.tasks.reinforcement.environments import spaces_of
    from eightgig.tasks.reinforcement.metrics import play, random_policy, report_of

    spaces, seed = spaces_of(environment), seed_from(evaluate.seed, "exploration") % 2**31
    played = play(environment, spaces, random_policy(spaces, seed=seed), episodes=evaluate.episodes, seed=seed)
    seen = played.observations
    moments = {"mean": seen.mean(0), "std": seen.std(0), "low": seen.min(0), "high": seen.max(0)}
    return Exploration(
        spaces=spaces,
        returns=report_of(played, environment, seed=seed),
        **{name: tuple(map(float, values)) for name, values in moments.items()},
    )


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
    from eightgig.tasks.reinforcement.objective import Transitions, ppo_loss
    from eightgig.tasks.reinforcement.trainer import build_agent
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
        The agent that did best in episodes set aside for that, looked at with each checkpoint, with its
        card; the learning curves of all.
    """
    import logging

    import pandas as pd
    import torch

    from eightgig import __version__
    from eightgig.core.device import describe_device, resolve_device
    from eightgig.core.seeding import seed_from
    from eightgig.tasks.reinforcement.metrics import play
    from eightgig.tasks.reinforcement.trainer import BestAgent, train_agent

    device = "cpu" if train.device == "auto" else resolve_device(train.device)
    aside = seed_from(train.seed, "selection") % 2**31

    def judge(networks: Any) -> float:
        policy = _best_actions(networks, exploration.spaces)
        played = play(environment, exploration.spaces, policy, episodes=_EPISODES_ASIDE, seed=aside)
        return float(played.returns.mean())

    trained: list[tuple[BestAgent, Trained]] = []
    for seed in range(train.seed, train.seed + train.num_seeds):
        one = train_agent(
            environment, agent, train, seed=seed, device=device, tracker=tracker, checkpoints=checkpoints, judge=judge
        )
        kept = one.best or BestAgent(one.agent.state_dict(), judge(one.agent), one.curve[-1].steps)
        logging.getLogger(__name__).info(
            "agent %d: mean return %.1f in %d episodes after %d of %d steps, trained in %.1f s",
            seed,
            kept.score,
            _EPISODES_ASIDE,
            kept.steps,
            one.curve[-1].steps,
            one.curve[-1].seconds,
        )
        trained.append((kept, one))
    kept, best = max(trained, key=lambda pair: pair[0].score)
    card = AgentCard(
        model="eightgig/actor_critic",
        started_from="random weights",
        classes=tuple(f"action {number}" for number in range(exploration.spaces.num_actions)),
        best_epoch=next(row.update for row in best.curve if row.steps == kept.steps),
        val_score=kept.score,
        score_name="mean return",
        num_parameters=sum(weight.numel() for weight in best.agent.parameters()),
        eightgig_version=__version__,
        torch_version=torch.__version__,
        trained_on=describe_device(device),
        environment=environment,
        spaces=exploration.spaces,
        agent=agent,
        steps=kept.steps,
        seed=best.seed,
    )
    history = pd.DataFrame([row.model_dump() for _, one in trained for row in one.curve])
    return Weights(kept.weights, card), history


def evaluate(weights: Weights, parameters: EvaluateParameters) -> ReturnsReport:
    """Judge the agent, each time with its best action, in episodes that it never saw."""
    from eightgig.core.seeding import seed_from
    from eightgig.tasks.reinforcement.metrics import play, report_of

    card, seed = weights.card, seed_from(parameters.seed, "evaluation") % 2**31
    played = play(card.environment, card.spaces, _best(weights), episodes=parameters.episodes, seed=seed)
    return report_of(played, card.environment, seed=seed)


def export_policy(weights: Weights) -> bytes:
    """Return the policy as an ONNX file: from observations as the environment shows them to the best action."""
    import torch

    from eightgig.export.onnx import export_onnx
    from eightgig.tasks.reinforcement.model import DeployedPolicy

    card = weights.card
    policy = DeployedPolicy(_restored(weights), card.spaces.low, card.spaces.high)
    metadata = {
        "model": card.model,
        "weights_sha256": card.sha256,
        "environment": card.environment.name,
        "spaces": card.spaces.model_dump_json(),
    }
    example = {"observations": torch.zeros(1, card.spaces.num_observations)}
    return export_onnx(policy, example, card=metadata, output_name="action")


def check_policy(weights: Weights, onnx_fp32: bytes, parameters: ExportParameters) -> PolicyParity:
    """Hold the exported policy against torch's, on states that it saw and on others around them.

    Raises:
        ExportError: an action differs.
    """
    import numpy as np

    from eightgig.core.errors import ExportError
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
    from eightgig.tasks.reinforcement.metrics import play

    card, best = weights.card, _best(weights)
    seen = play(card.environment, card.spaces, best, episodes=20, seed=1).observations
    half = parameters.num_states // 2
    drawn = np.random.default_rng(0).normal(
        seen.mean(0), 3 * seen.std(0) + 1e-3, size=(parameters.num_states - half, seen.shape[1])
    )
    states = np.concatenate([np.resize(seen, (half, seen.shape[1])), drawn.astype(np.float32)])
    with OnnxRuntimeRunner(onnx_fp32) as runner:
        found = runner.run({"observations": states})["action"]
    apart = np.abs(found - best(states)).reshape(len(states), -1).max(1)
    limit = 0 if card.spaces.acts == "discrete" else _REAL_ACTIONS_APART
    parity = PolicyParity(num_states=len(states), same_actions=int((apart <= limit).sum()))
    if not parity.passed:
        raise ExportError(
            f"the exported policy chose another action than torch on {len(states) - parity.same_actions} of "
            f"{len(states)} states: export again, and report it with the versions of torch and onnxruntime"
        )
    return parity


def measure_parts(
    environment: EnvironmentParameters, agent: AgentParameters, train: PPOParameters, parameters: SpeedParameters
) -> Table:
    """Time a short training on each device, by part.

    Returns:
        A row a device and part: seconds for 1,000 steps of the environment, share, steps a second of the whole.
    """
    import pandas as pd

    from eightgig.core.device import describe_device, resolve_device
    from eightgig.core.tracker import NoTracker
    from eightgig.tasks.reinforcement.trainer import train_agent

    steps = parameters.updates * train.rollout_steps * environment.num_envs
    short = train.model_copy(update={"steps": steps, "resume": "never"})
    rows: list[dict[str, Any]] = []
    for device in ("cpu", *(["cuda"] if resolve_device("auto") == "cuda" else [])):
        made = train_agent(environment, agent, short, seed=0, device=device, tracker=NoTracker())
        done, whole = made.curve[-1].steps, sum(made.seconds_by_part.values())
        rows += [
            {
                "device": describe_device("cuda" if device == "cuda" else "cpu"),
                "part": part,
                "seconds_per_1000_steps": 1000 * seconds / done,
                "share": seconds / whole,
                "steps_per_second": done / made.curve[-1].seconds,
            }
            for part, seconds in made.seconds_by_part.items()
        ]
    return pd.DataFrame(rows)


def measure_decisions(weights: Weights, onnx_fp32: bytes, parameters: SpeedParameters) -> Table:
    """Time one decision, numpy in to numpy out, of torch and of ONNX Runtime in turn.

    Returns:
        A row a form and number of states decided at once.
    """
    import numpy as np
    import pandas as pd

    from eightgig.bench.latency import measure_calls
    from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

    best, rows = _best(weights), []
    with OnnxRuntimeRunner(onnx_fp32) as runner:
        for size in parameters.latency.batch_sizes:
            states = np.zeros((size, weights.card.spaces.num_observations), dtype=np.float32)
            calls = {
                "torch": lambda states=states: best(states),
                "onnx_fp32": lambda states=states: runner.run({"observations": states}),
            }
            made = measure_calls(calls, batch_size=size, parameters=parameters.latency)
            rows += [{"variant": name, **report.model_dump()} for name, report in made.items()]
    return pd.DataFrame(rows)


def film(weights: Weights, parameters: FilmParameters) -> tuple[ImageArray, float]:
    """Return frames of one episode, played with the best actions; drawn without a screen."""
    import os

    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws in memory
    from eightgig.tasks.reinforcement.drawing import drawn_episode

    return drawn_episode(weights.card.environment, weights.card.spaces, _best(weights), parameters)


def _restored(weights: Weights) -> "ActorCritic":
    from eightgig.core.errors import WeightsError
    from eightgig.tasks.reinforcement.trainer import build_agent

    agent = build_agent(weights.card.spaces, weights.card.agent)
    try:
        agent.load_state_dict(weights.state)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit the networks of their card: {error}. Train again") from error
    return agent.eval()


def _best(weights: Weights) -> "Policy":
    return _best_actions(_restored(weights), weights.card.spaces)


def _best_actions(agent: "ActorCritic", spaces: "Spaces") -> "Policy":
    """Return the policy that always takes the best action; it decides where the agent is, which may be a card."""
    import torch

    from eightgig.tasks.reinforcement.model import DeployedPolicy

    device = agent.mean.device
    policy = DeployedPolicy(agent, spaces.low, spaces.high).to(device).eval()

    def best(observations: Any) -> Any:
        with torch.inference_mode():
            return policy(torch.from_numpy(observations).to(device)).cpu().numpy()

    return best
