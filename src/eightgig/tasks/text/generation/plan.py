"""Plan: what training will take, and what writing with the trained network will."""

from typing import Any

from kedro.pipeline import Pipeline

from eightgig.core.device import resolve_device
from eightgig.stages.plan import plan_memory
from eightgig.stages.task import stage_node, stage_pipeline
from eightgig.tasks.text.generation.parameters import GenerateParameters, GeneratorModelParameters
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan


def create_pipeline() -> Pipeline:
    """Return the node that makes `memory_plan`."""
    parameters = {name: f"params:{name}" for name in ("model", "train", "plan")}
    parameters["precision"] = "params:generate.precision"  # alone: another prompt changes no plan
    node = stage_node(plan_with_writing, {"store": "store", **parameters}, "memory_plan", name="plan_memory")
    return stage_pipeline("plan", [node])


def plan_with_writing(
    store: Any,
    model: GeneratorModelParameters,
    train: TrainParameters,
    plan: PlanParameters,
    precision: str,
) -> MemoryPlan:
    """Return the plan as all cases have it, its writing predicted in the precision that the generate stage will take.

    Raises:
        BudgetError, ConfigurationError, PredictionError: as `eightgig.stages.plan.plan_memory`.
    """
    from eightgig.tasks.text.generation.precision import writing_precision

    chosen = GenerateParameters.model_validate({"precision": precision}).precision
    task = TextGenerator(writes_in=writing_precision(chosen, resolve_device(plan.device)))
    return plan_memory(task, store, model, train, plan)
