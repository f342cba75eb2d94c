"""Plan: what training will take, and the batch sizes, precision and ways of saving memory that fit the budget."""

import logging
from typing import TYPE_CHECKING

from kedro.pipeline import Pipeline

from eightgig.core.errors import ConfigurationError
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan, Precision

if TYPE_CHECKING:
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.planning.stages import StagesRequest
    from eightgig.vram.planning.target import Target

logger = logging.getLogger(__name__)
# With as many, less than a fifth of the time is spent waiting for the first and the last micro-batch of a step.
# Source: Huang et al., GPipe, NeurIPS 2019, section 2.3: negligible from four times the number of stages on.
_MICRO_BATCHES_A_STAGE = 4


def create_pipeline(task: Task) -> Pipeline:
    """Return the node that makes `memory_plan`."""
    inputs = {"store": "store", "model": "params:model", "train": "params:train", "plan": "params:plan"}
    return stage_pipeline("plan", [stage_node(plan_memory, inputs, "memory_plan", task=task, records=task.records)])


def plan_memory(
    task: Task, store: ImageStore, model: ModelParameters, train: TrainParameters, plan: PlanParameters
) -> MemoryPlan:
    """Return the plan that fits the budget at the recipe's effective batch.

    Raises:
        BudgetError: nothing fits.
        ConfigurationError: the optimizer cannot run here, or a way of saving was asked for that does not go with the
            recipe.
        PredictionError: the network cannot be traced.
    """
    from eightgig.training.optim import check_optimizer
    from eightgig.training.precision import allowed_precisions
    from eightgig.vram.planning.planner import make_plan
    from eightgig.vram.planning.target import target_of

    target = target_of(plan, processes=train.distributed.nproc_per_node)
    check_optimizer(train.optimizer, target.device)
    spreads = train.distributed.spreads or train.distributed.cuts
    precisions = allowed_precisions(plan.precision, target.device, spreads=spreads)
    request = plan_request(task, model, task.num_outputs(store), train, precisions=precisions, target=target)
    return log_plan(make_plan(request, plan))


def plan_request(
    task: Task,
    model: ModelParameters,
    num_outputs: int,
    train: TrainParameters,
    *,
    precisions: tuple[Precision, ...],
    target: "Target",
) -> "PlanRequest":
    """Return what is asked of the planner for a recipe.

    Args:
        task: of the network.
        model: of the network.
        num_outputs: classes, or words of its vocabulary.
        train: the recipe.
        precisions: that are allowed.
        target: where the run takes place.

    Raises:
        ConfigurationError: the samples of a step cannot be shared out among the processes evenly.
    """
    from eightgig.vram.planning.request import PlanRequest

    share, distributed = share_of_one_process(train), train.distributed
    # The average of a stage's weights is counted with the stage.
    traced = train.model_copy(update={"ema_decay": None}) if distributed.cuts else train
    return PlanRequest.from_records(
        target,
        train,
        name=model.name,
        workload=task.workload(model, num_outputs, traced),
        generation_workload=task.generation_workload(model, num_outputs),
        sample=model.sample,
        effective_batch=share,
        processes=distributed.num_shares,
        is_sharded=distributed.spreads,
        stages=_stages_request(train) if distributed.cuts else None,
        micro_batch=_largest_micro_batch(train, share),
        eval_batch=train.eval_batch_size,
        precisions=precisions,
        clips_gradients=train.max_grad_norm is not None,
        channels_last=task.channels_last,
    )


def _largest_micro_batch(train: TrainParameters, share: int) -> int:
    """Return the most samples that pass at a time: for stages that work side by side, so few that all have work."""
    if not train.distributed.cuts or train.distributed.strategy == "model":
        return min(train.batch_size, share)
    most = min(train.batch_size, max(1, share // (_MICRO_BATCHES_A_STAGE * train.distributed.count)))
    return max(size for size in range(1, most + 1) if share % size == 0)


def _stages_request(train: TrainParameters) -> "StagesRequest":
    from eightgig.vram.planning.stages import StagesRequest

    distributed = train.distributed
    if distributed.budgets_gib and len(distributed.budgets_gib) != distributed.count:
        raise ConfigurationError(
            f"train.distributed.budgets_gib names {len(distributed.budgets_gib)} cards, and {distributed.count} "
            "processes train (nproc_per_node x nodes): give one budget for each, or none"
        )
    return StagesRequest(
        count=distributed.count,
        order=distributed.order,
        budgets_gib=distributed.budgets_gib,
        averages=train.ema_decay is not None,
        gb_per_s=_gb_per_s(distributed.pcie),
    )


def _gb_per_s(slots: str | None) -> float | None:
    from eightgig.vram.cards.catalog import pcie_gb_per_s

    if slots is None:
        return None
    generation, _, lanes = slots.partition(" x")
    return pcie_gb_per_s(int(generation), int(lanes))


def share_of_one_process(train: TrainParameters) -> int:
    """Return the samples of an optimizer step that each process works on.

    Raises:
        ConfigurationError: they cannot be shared out evenly.
    """
    effective, processes = train.effective_batch, train.distributed.num_shares
    if effective % processes:
        raise ConfigurationError(
            f"train.batch_size x train.gradient_accumulation_steps = {effective} samples a step cannot be shared out "
            f"among {processes} processes (train.distributed.nproc_per_node x nodes): take a multiple of "
            f"{processes}, such as {-(-effective // processes) * processes}"
        )
    return effective // processes


def log_plan(made: MemoryPlan) -> MemoryPlan:
    """Log a plan and its findings; give it back."""
    logger.info("%s", made.sentence())
    if made.device == "cuda":
        scale = f"; loss scale {made.loss_scale}" if made.loss_scale is not None else ""
        cache = f"; the cache is given back every {made.empty_cache_every} steps" if made.empty_cache_every else ""
        logger.info("computes with %s%s%s", made.numerics.sentence(), scale, cache)
    for finding in made.findings:
        logger.info("%s: %s", finding.code, finding.message)
    return made
