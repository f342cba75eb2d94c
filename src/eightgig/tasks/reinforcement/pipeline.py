"""The agent: explore, plan, train, evaluate, export, benchmark, film, report (article 2.3)."""

from kedro.pipeline import Pipeline

from eightgig.stages.task import case_pipeline, stage_node, stage_pipeline
from eightgig.tasks.reinforcement import nodes, train
from eightgig.tasks.reinforcement import report as page

_TRAINED = {"weights": "weights"}


def agent_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags benchmark`."""
    environment = {"environment": "params:environment"}
    recipe = {**environment, "agent": "params:agent", "train": "params:train"}
    explored = {"exploration": "exploration"}
    return case_pipeline(
        name,
        [
            stage_pipeline(
                "explore",
                [stage_node(nodes.explore, {**environment, "evaluate": "params:evaluate"}, "exploration")],
            ),
            stage_pipeline(
                "plan", [stage_node(train.plan_agent, {**recipe, **explored, "plan": "params:plan"}, "memory_plan")]
            ),
            stage_pipeline(
                "train",
                [
                    stage_node(
                        train.train_agents,
                        {**recipe, **explored, "checkpoints": "checkpoints", "tracker": "tracker"},
                        ["weights", "history"],
                    )
                ],
            ),
            stage_pipeline(
                "evaluate", [stage_node(nodes.evaluate, {**_TRAINED, "parameters": "params:evaluate"}, "metrics")]
            ),
            stage_pipeline(
                "export",
                [
                    stage_node(nodes.export_policy, _TRAINED, "onnx_fp32"),
                    stage_node(
                        nodes.check_policy,
                        {**_TRAINED, "onnx_fp32": "onnx_fp32", "parameters": "params:export"},
                        "parity",
                    ),
                ],
            ),
            stage_pipeline(
                "benchmark",
                [
                    stage_node(nodes.measure_parts, {**recipe, "parameters": "params:benchmark"}, "parts_table"),
                    stage_node(
                        nodes.measure_decisions,
                        {**_TRAINED, "onnx_fp32": "onnx_fp32", "parameters": "params:benchmark"},
                        "latency_table",
                    ),
                ],
            ),
            stage_pipeline("film", [stage_node(nodes.film, {**_TRAINED, "parameters": "params:film"}, "film")]),
            page.create_pipeline(),
        ],
    )
