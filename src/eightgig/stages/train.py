"""Train: obey the plan, keep the best weights, and put the memory that was measured beside the prediction."""

from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.tracker import Tracker
from eightgig.datasets.weights import Weights
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.trained import card_of, indices_of
from eightgig.stages.training_job import TrainingJob
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `store`, `splits` and `memory_plan` to `weights`, `history` and `vram_trace`."""
    inputs = {
        "store": "store",
        "splits": "splits",
        "memory_plan": "memory_plan",
        "model": "params:model",
        "train": "params:train",
        "checkpoints": "checkpoints",
        "flight_recorder": "flight_recorder",
        "tracker": "tracker",
    }
    outputs = ["weights", "history", "vram_trace"]
    return stage_pipeline("train", [stage_node(train_network, inputs, outputs, task=task, records=task.records)])


def train_network(
    task: Task,
    store: ImageStore,
    splits: Table,
    memory_plan: MemoryPlan,
    model: ModelParameters,
    train: TrainParameters,
    checkpoints: Path,
    flight_recorder: Path,
    tracker: Tracker,
) -> tuple[Weights, Table, VramTrace]:
    """Train the network as the plan says, or go on with a run that was stopped.

    Returns:
        The weights of the best epoch with their card; a table of all epochs; memory predicted beside measured.
    """
    import pandas as pd

    job = TrainingJob(
        task=task,
        store=store,
        train_indices=indices_of(splits, "train"),
        val_indices=indices_of(splits, "val"),
        size=model.size,
        plan=memory_plan,
        model=model,
        train=train,
        checkpoints=checkpoints,
        flight_recorder=flight_recorder,
        tracker=tracker,
    )
    network, objective = job.network()
    result = job.result(network, objective)
    trace = VramTrace.of(
        memory_plan,
        result.measured,
        final_plan=memory_plan.model_copy(update=result.final),
        recovered=result.recovered,
        findings=result.findings,
        cache_clearings=result.cache_clearings,
    )
    card = card_of(
        task,
        network,
        store,
        size=model.size,
        result=result,
        score_name=objective.score_name,
        device_name=memory_plan.device_name,
    )
    history = pd.DataFrame([row.model_dump() for row in result.history])
    return Weights(task.merge_weights(network, result.best_state), card), history, trace
