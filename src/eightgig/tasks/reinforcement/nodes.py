"""The agent's own nodes, but for planning and training: explore, evaluate, export, benchmark, film."""

from typing import TYPE_CHECKING, Any

from eightgig.datasets.weights import Weights
from eightgig.models.agents import AgentParameters, EnvironmentParameters
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

if TYPE_CHECKING:
    from eightgig.tasks.reinforcement.metrics import Policy
    from eightgig.tasks.reinforcement.model import ActorCritic

_REAL_ACTIONS_APART = 1e-5


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


def evaluate(weights: Weights, parameters: EvaluateParameters) -> ReturnsReport:
    """Judge the agent, each time with its best action, in episodes that it never saw."""
    from eightgig.core.seeding import seed_from
    from eightgig.tasks.reinforcement.metrics import play, report_of

    card, seed = weights.card, seed_from(parameters.seed, "evaluation") % 2**31
    played = play(card.environment, card.spaces, _greedy(weights), episodes=parameters.episodes, seed=seed)
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

    card, greedy = weights.card, _greedy(weights)
    seen = play(card.environment, card.spaces, greedy, episodes=20, seed=1).observations
    half = parameters.num_states // 2
    drawn = np.random.default_rng(0).normal(
        seen.mean(0), 3 * seen.std(0) + 1e-3, size=(parameters.num_states - half, seen.shape[1])
    )
    states = np.concatenate([np.resize(seen, (half, seen.shape[1])), drawn.astype(np.float32)])
    with OnnxRuntimeRunner(onnx_fp32) as runner:
        found = runner.run({"observations": states})["action"]
    apart = np.abs(found - greedy(states)).reshape(len(states), -1).max(1)
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

    greedy, rows = _greedy(weights), []
    with OnnxRuntimeRunner(onnx_fp32) as runner:
        for size in parameters.latency.batch_sizes:
            states = np.zeros((size, weights.card.spaces.num_observations), dtype=np.float32)
            calls = {
                "torch": lambda states=states: greedy(states),
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

    return drawn_episode(weights.card.environment, weights.card.spaces, _greedy(weights), parameters)


def _restored(weights: Weights) -> "ActorCritic":
    from eightgig.core.errors import WeightsError
    from eightgig.tasks.reinforcement.model import build_agent

    agent = build_agent(weights.card.spaces, weights.card.agent)
    try:
        agent.load_state_dict(weights.state)
    except RuntimeError as error:
        raise WeightsError(f"the weights do not fit the networks of their card: {error}. Train again") from error
    return agent.eval()


def _greedy(weights: Weights) -> "Policy":
    from eightgig.tasks.reinforcement.model import greedy_policy

    return greedy_policy(_restored(weights), weights.card.spaces)
