"""Train: obey the plan, keep the best weights, and put the memory that was measured beside the prediction."""

from pathlib import Path

from kedro.pipeline import Pipeline

from eightgig.core.tracker import Tracker
from eightgig.datasets.weights import Weights
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.case import Case, stage_node, stage_pipeline
from eightgig.stages.trained import card_of, indices_of
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.trace import VramTrace


def create_pipeline(case: Case) -> Pipeline:
    """Give the node from `store`, `splits` and `memory_plan` to `weights`, `history` and `vram_trace`."""
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
    return stage_pipeline("train", [stage_node(train_network, inputs, outputs, case=case)])


def train_network(
    case: Case,
    store: ImageStore,
    splits: Table,
    memory_plan: MemoryPlan,
    model: ModelParameters,
    train: TrainParameters,
    checkpoints: Path,
    flight_recorder: Path,
    tracker: Tracker,
) -> tuple[Weights, Table, VramTrace]:
    """Train the network as the plan says.

    Returns:
        The weights of the best epoch with their card; a table of all epochs; memory predicted beside measured.
    """
    import pandas as pd

    from eightgig.core.seeding import seed_everything
    from eightgig.training.loop import Trainer
    from eightgig.vram.runtime.attention import planned_attention
    from eightgig.vram.runtime.budget import enforced_budget
    from eightgig.vram.runtime.measure import MemoryMeter
    from eightgig.vram.runtime.recompute import apply_checkpointing
    from eightgig.vram.runtime.recorder import FlightRecorder

    seed_everything(train.seed)
    meters = MemoryMeter("train", memory_plan.device), MemoryMeter("validate", memory_plan.device)
    network = case.build_network(model, case.num_outputs(store))
    case.prepare(network, store, indices_of(splits, "train"), size=model.size, train=train)
    module = apply_checkpointing(network.module, memory_plan.checkpointing)
    train_batches = case.train_batches(
        store, indices_of(splits, "train"), size=model.size, batch_size=memory_plan.micro_batch, train=train
    )
    val_batches = case.eval_batches(
        store, indices_of(splits, "val"), size=model.size, batch_size=memory_plan.eval_batch
    )
    with (
        enforced_budget(memory_plan) as budget,
        planned_attention(memory_plan),
        FlightRecorder(memory_plan, flight_recorder, budget=budget, record_history=train.record_memory) as recorder,
    ):
        objective = case.objective(network, train)
        trainer = Trainer(
            module,
            objective,
            plan=memory_plan,
            parameters=train,
            steps=train.epochs * -(-len(train_batches) // memory_plan.accumulation),
            tracker=tracker,
            checkpoints=checkpoints,
            meters=meters,
            recorder=recorder,
        )
        result = trainer.fit(train_batches, val_batches)
    trace = VramTrace.of(
        memory_plan,
        tuple(meter.result() for meter in meters),
        final_plan=trainer.plan,
        recovered=trainer.recovered,
    )
    card = card_of(
        case,
        network,
        store,
        size=model.size,
        result=result,
        score_name=objective.score_name,
        device_name=memory_plan.device_name,
    )
    history = pd.DataFrame([row.model_dump() for row in result.history])
    return Weights(case.finished(network, result.best_state), card), history, trace
