"""Plan: what training will take, and the batch sizes and precision that fit the budget."""

from kedro.pipeline import Pipeline

from eightgig.core.device import describe_device, resolve_device
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import Checkpointing, MemoryPlan


def create_pipeline(case: Case) -> Pipeline:
    """Give the node that makes `memory_plan`."""
    inputs = {"store": "store", "model": "params:model", "train": "params:train", "plan": "params:plan"}
    return stage_pipeline("plan", [stage_node(plan_memory, inputs, "memory_plan", case=case)])


def plan_memory(
    case: Case, store: ImageStore, model: ModelParameters, train: TrainParameters, plan: PlanParameters
) -> MemoryPlan:
    """Give the plan that fits the budget at the recipe's effective batch.

    Raises:
        BudgetError: nothing fits.
    """
    import logging

    from eightgig.training.precision import resolve_precision
    from eightgig.training.recompute import apply_checkpointing
    from eightgig.vram.planner import PlanRequest, make_plan
    from eightgig.vram.predict import Footprint, measure_footprint

    device = resolve_device(plan.device)
    precision = resolve_precision(plan.precision, device)
    unweighted = model.model_copy(update={"weights": "none"})  # their values play no part in what they take

    def footprint(checkpointing: Checkpointing) -> Footprint:
        module = case.build_network(unweighted, len(store.classes)).module
        module = apply_checkpointing(module) if checkpointing == "full" else module
        return measure_footprint(module, case.forward(model), precision=precision)

    choices: tuple[Checkpointing, ...] = ("none", "full") if plan.checkpointing == "auto" else (plan.checkpointing,)
    request = PlanRequest(
        model=model.name,
        image_size=model.image_size,
        micro_batch=train.batch_size,
        accumulation=train.accumulation,
        eval_batch=train.eval_batch_size,
        precision=precision,
        device=device,
        device_name=describe_device(device),
        footprints={choice: footprint(choice) for choice in choices},
    )
    made = make_plan(request, plan)
    logging.getLogger(__name__).info("%s", made.sentence())
    return made
