"""The report of an agent: learning curves, returns with their confidence, speed by part, a film."""

import base64

from kedro.pipeline import Pipeline

from eightgig.core.units import format_bytes
from eightgig.datasets.weights import Weights
from eightgig.models.agents import AgentParameters, EnvironmentParameters
from eightgig.report.page import Chart, Fact, Facts, Gallery, Image, Page, Section
from eightgig.report.page import Table as PageTable
from eightgig.stages.annotations import Figure, Table
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.reinforcement.metrics import ReturnsReport
from eightgig.tasks.reinforcement.parameters import Exploration, PolicyParity, PPOParameters
from eightgig.vram.plan import MemoryPlan

_PUBLISHED = (
    ("CartPole-v1", "CleanRL, ppo.py", "500,000", "490.0 ± 6.1", "docs.cleanrl.dev/rl-algorithms/ppo"),
    ("CartPole-v1", "Stable-Baselines3 Zoo, PPO", "100,000", "500.0 ± 0.0", "rl-baselines3-zoo, benchmark.md"),
)
_FIGURES = ("learning", "signs", "parts")


def create_pipeline() -> Pipeline:
    """Return the nodes from all results to the figures and `report`."""
    names = (
        "exploration",
        "memory_plan",
        "history",
        "weights",
        "metrics",
        "parity",
        "parts_table",
        "latency_table",
        "film",
        *(f"{name}_figure" for name in _FIGURES),
    )
    settings = {name: f"params:{name}" for name in ("title", "environment", "agent", "train")}
    drawn_from = {name: name for name in ("history", "exploration", "metrics", "parts_table")}
    return stage_pipeline(
        "report",
        [
            stage_node(draw_figures, drawn_from, [f"{name}_figure" for name in _FIGURES]),
            stage_node(write_page, {**settings, **{name: name for name in names}}, "report"),
        ],
    )


def draw_figures(
    history: Table, exploration: Exploration, metrics: ReturnsReport, parts_table: Table
) -> tuple[Figure, Figure, Figure]:
    """Return the learning curves, the signs of training, and the time by part."""
    from eightgig.tasks.reinforcement import figures as agents

    random_return = exploration.returns.mean_return
    return (
        agents.learning_curves(history, random_return=random_return, threshold=metrics.threshold),
        agents.learning_signs(history),
        agents.parts_of_a_step(parts_table),
    )


def write_page(
    title: str,
    environment: EnvironmentParameters,
    agent: AgentParameters,
    train: PPOParameters,
    exploration: Exploration,
    memory_plan: MemoryPlan,
    history: Table,
    weights: Weights,
    metrics: ReturnsReport,
    parity: PolicyParity,
    parts_table: Table,
    latency_table: Table,
    film: bytes,
    learning_figure: Figure,
    signs_figure: Figure,
    parts_figure: Figure,
) -> Page:
    """Return the page."""
    from eightgig.report.sections.training import making_section

    card = weights.card
    return Page(
        title=title,
        subtitle=f"PPO in {environment.name}, {card.steps:,} steps; trained on {card.trained_on}.",
        summary=_in_words(exploration, metrics),
        headline=_headline(exploration, metrics, memory_plan, parts_table),
        sections=[
            _environment(environment, exploration),
            _training(train, history, learning_figure, signs_figure),
            _results(metrics, exploration),
            _film(film),
            _memory(memory_plan),
            _speed(parts_table, latency_table, parts_figure),
            _exported(parity),
            making_section(card, {"environment": environment, "agent": agent, "train": train}),
        ],
        footer=f"eightgig {card.eightgig_version}",
    )


def _in_words(exploration: Exploration, metrics: ReturnsReport) -> str:
    solved = {True: " That counts as solved.", False: " That does not count as solved yet.", None: ""}[metrics.solved]
    return (
        f"Over {metrics.num_episodes} fresh episodes the mean return is {metrics.mean_return:.1f}; at random it was "
        f"{exploration.returns.mean_return:.1f}.{solved}"
    )


def _headline(exploration: Exploration, metrics: ReturnsReport, plan: MemoryPlan, parts: Table) -> list[Fact]:
    first = parts.iloc[0]
    return [
        Fact(
            "Mean return",
            f"{metrics.mean_return:.1f}",
            f"95 %: {metrics.low:.1f} to {metrics.high:.1f}, {metrics.num_episodes} fresh episodes",
            mark="plain" if metrics.solved is None else "good" if metrics.solved else "bad",
        ),
        Fact("At random", f"{exploration.returns.mean_return:.1f}", "mean return before any training"),
        Fact(
            "Steps a second", f"{first['steps_per_second']:,.0f}", f"of the environment, in training, {first['device']}"
        ),
        Fact(
            f"On a {plan.device_name}",
            format_bytes(plan.context_bytes + plan.needed_bytes),
            f"{format_bytes(plan.context_bytes)} of it CUDA context (predicted)",
        ),
    ]


def _environment(environment: EnvironmentParameters, exploration: Exploration) -> Section:
    spaces, returns = exploration.spaces, exploration.returns
    columns = (exploration.mean, exploration.std, exploration.low, exploration.high)
    rows = [
        (str(number), *(f"{value:.3f}" for value in values)) for number, values in enumerate(zip(*columns, strict=True))
    ]
    acts = "one of {} actions" if spaces.acts == "discrete" else "{} real numbers"
    return Section(
        "The environment",
        f"{environment.name}: {spaces.num_observations} numbers are observed, {acts.format(spaces.num_actions)} "
        f"chosen. Acting at random returns {returns.mean_return:.1f} (95 %: {returns.low:.1f} to {returns.high:.1f}) "
        f"in {returns.mean_length:.1f} steps an episode; {returns.num_episodes} episodes showed these observations.",
        [PageTable(("observation", "mean", "deviation", "lowest", "highest"), rows)],
    )


def _training(train: PPOParameters, history: Table, learning: Figure, signs: Figure) -> Section:
    last = history.groupby("seed").last()
    rows = [
        (str(seed), int(row["steps"]), int(row["episodes"]), f"{row['mean_return']:.1f}", f"{row['seconds']:.1f} s")
        for seed, row in last.iterrows()
    ]
    return Section(
        "Training",
        f"{train.num_seeds} {'agent' if train.num_seeds == 1 else 'agents, each with a seed of its own'}. Equal seeds "
        "give equal curves on the same machine. The agent that is kept is the one that did best in episodes set aside "
        "for that, looked at with each checkpoint: a policy may lose later what it had learnt.",
        [
            Chart(learning),
            PageTable(("seed", "steps", "episodes", "mean return, last 100", "time"), rows),
            Chart(signs),
        ],
    )


def _results(metrics: ReturnsReport, exploration: Exploration) -> Section:
    rows = [
        ("this agent", f"{metrics.num_episodes} fresh episodes, best actions", _interval(metrics)),
        ("at random", f"{exploration.returns.num_episodes} episodes", _interval(exploration.returns)),
    ]
    blocks = [PageTable(("agent", "judged on", "mean return, 95 %"), rows)]
    published = [row[1:] for row in _PUBLISHED if row[0] == metrics.environment]
    if published:
        blocks.append(PageTable(("published", "steps", "return", "where"), published, "What others publish"))
    solved = ""
    if metrics.threshold is not None:
        solved = f" It counts as solved from {metrics.threshold:g}: {'solved' if metrics.solved else 'not solved'}."
    return Section(
        "Results in fresh episodes",
        f"Returns from {metrics.min_return:.1f} to {metrics.max_return:.1f}, deviation {metrics.std_return:.1f}."
        f"{solved} The interval is of the mean over first states, for this one agent; how much agents differ by "
        "their seed, the curves show.",
        blocks,
    )


def _interval(returns: ReturnsReport) -> str:
    return f"{returns.mean_return:.1f} ({returns.low:.1f} to {returns.high:.1f})"


def _film(film: bytes) -> Section:
    address = f"data:image/gif;base64,{base64.b64encode(film).decode('ascii')}"
    image = Image(address, "As the environment draws it")
    return Section("The agent at work", "The beginning of one episode.", [Gallery([image])])


def _memory(plan: MemoryPlan) -> Section:
    train = plan.phase("train")
    whole = plan.context_bytes + train.peak_bytes
    rows = [("CUDA context", format_bytes(plan.context_bytes), f"{plan.context_bytes / whole:.1%}")]
    rows += [(name, format_bytes(size), f"{size / whole:.1%}") for name, size in train.parts.items() if size]
    return Section(
        "Memory on a GPU",
        f"Predicted for a {plan.device_name}: {format_bytes(whole)} in all, nearly all of it what the driver and torch "
        "take before the first tensor. The article's 1 to 2 GB are not what the networks need.",
        [PageTable(("held by", "bytes", "share"), rows)],
    )


def _speed(parts: Table, latency: Table, figure: Figure) -> Section:
    devices = parts.drop_duplicates("device")
    if len(devices) > 1:
        cpu, gpu = (float(rate) for rate in devices["steps_per_second"][:2])
        said = f"The CPU does {cpu:,.0f} steps a second, the GPU {gpu:,.0f}."
    else:
        said = "There is no GPU here to measure."
    formats = {"seconds_per_1000_steps": ".3f", "share": ".1%", "steps_per_second": ",.0f"}
    shown = latency[["variant", "batch_size", "p50_ms", "p95_ms", "throughput_samples_per_second"]]
    times = {"p50_ms": ".4f", "p95_ms": ".4f", "throughput_samples_per_second": ",.0f"}
    return Section(
        "Speed",
        f"{said} For networks this small the CPU is the better place: a GPU waits for each of many small operations "
        "to be launched, and the environment runs on the CPU anyway.",
        [
            Chart(figure),
            PageTable.from_frame(parts, formats=formats),
            PageTable.from_frame(shown, caption="One decision, numpy in to numpy out", formats=times),
        ],
    )


def _exported(parity: PolicyParity) -> Section:
    return Section(
        "The exported policy",
        "The ONNX file takes observations as the environment shows them and gives the best action.",
        [
            Facts(
                [
                    Fact(
                        "same action as torch",
                        f"{parity.same_actions:,} of {parity.num_states:,} states",
                        "half seen while playing, half drawn around those",
                        "good" if parity.passed else "bad",
                    )
                ]
            )
        ],
    )
