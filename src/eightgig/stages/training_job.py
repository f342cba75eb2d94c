"""One training run: what it is made of, and how one process does its part of it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eightgig.core.addresses import address_of
from eightgig.core.device import loader_processes
from eightgig.core.locks import only_one
from eightgig.core.tracker import Tracker
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore, Network, TrainingResult
from eightgig.stages.distributed.config import WorkerConfig, threads_per_process
from eightgig.stages.distributed.launcher import train_distributed
from eightgig.stages.task import Task, TrainingSamples
from eightgig.training.checkpointing.checkpoint import Checkpoint, Checkpoints
from eightgig.training.checkpointing.code_digest import code_digest
from eightgig.training.checkpointing.recipe import Recipe
from eightgig.training.checkpointing.resume import find_checkpoint
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from eightgig.training.objective import Objective

# What of the plan may change the result by rounding.
_PLAN_CIRCUMSTANCES = {
    "device_name",
    "micro_batch",
    "activation_checkpointing",
    "offload",
    "optimizer_kernel",
    "memory_format",
    "numerics",
}


@dataclass(frozen=True)
class TrainingJob:
    """All that a process needs to know to train a case study's network, or to go on with it.

    Attributes:
        train_indices, val_indices: positions in the store.
        checkpoints: folder where the run is kept while it lasts, and its result after it.
        flight_recorder: folder for the report on memory; None writes none.
        single_process: whether it trains in this process, whatever the recipe says of several.
        recipe_extras: what else decides the result, by name.
        entry_points: functions outside of this class that make the network or its loss, as `package.module:function`.
    """

    task: Task
    store: ImageStore
    train_indices: list[int]
    val_indices: list[int]
    size: int
    plan: MemoryPlan
    model: ModelParameters
    train: TrainParameters
    checkpoints: Path
    flight_recorder: Path | None
    tracker: Tracker
    single_process: bool = False
    recipe_extras: dict[str, Any] = field(default_factory=dict)
    entry_points: tuple[str, ...] = ()

    def open_checkpoints(self) -> Checkpoints:
        """Return the checkpoints of this run: its folder, with its recipe."""
        from eightgig.training.checkpointing.progress import STATE_FORMAT

        recipe = Recipe.of(
            code=self.code_digest(),
            checkpoint_format=STATE_FORMAT,
            model=self.model,
            train=self.train,
            effective_batch=self.train.effective_batch,
            store=self.store.sha256,
            splits=digest_of(self.train_indices, self.val_indices),
            plan={"precision": self.plan.precision, "optimizer": self.plan.optimizer},
            **self.recipe_extras,
        )
        plan = self.plan.model_dump(mode="json", include=_PLAN_CIRCUMSTANCES)
        recipe = recipe.with_circumstances(plan=plan, distributed=self.train.distributed)
        if self.is_distributed:  # what each of them computes in, which is seldom what this process does
            recipe = recipe.with_circumstances(threads=threads_per_process(self.train.distributed))
        return Checkpoints(self.checkpoints, recipe)

    @property
    def is_distributed(self) -> bool:
        """Whether several processes train."""
        return self.train.distributed.count > 1 and not self.single_process

    def code_digest(self) -> str:
        """Return a hash of the code that this training imports, in whichever of its processes."""
        called = [f"{__name__}:TrainingJob.network", f"{__name__}:TrainingJob.result", *self.entry_points]
        if self.is_distributed:
            called.append("eightgig.stages.distributed.worker:main")
        return code_digest(tuple(called), type(self.task))

    def worker_config(self) -> WorkerConfig:
        """Return what a process that takes part has to know."""
        store: Any = self.store
        return WorkerConfig(
            task=address_of(type(self.task)),
            store=address_of(type(store)),
            store_path=Path(store.path).resolve(),
            train_indices=tuple(self.train_indices),
            val_indices=tuple(self.val_indices),
            size=self.size,
            plan=self.plan,
            model=self.model.model_dump(mode="json"),
            train=self.train.model_dump(mode="json"),
            checkpoints=self.checkpoints.resolve(),
            flight_recorder=self.flight_recorder.resolve() if self.flight_recorder else None,
            parent=os.getpid(),
        )

    def network(self) -> "tuple[Network, Objective]":
        """Return the case's own network as training begins with it, and its loss."""
        from eightgig.core.seeding import seed_everything

        seed_everything(self.train.seed)
        network = self.task.build_network(self.model, self.task.num_outputs(self.store))
        self.task.prepare(network, TrainingSamples(self.store, self.train_indices, self.size, self.train))
        return network, self.task.objective(network, self.train)

    def result(self, network: Network, objective: "Objective") -> TrainingResult:
        """Train, go on, or take the result of this very training if it is finished.

        Args:
            network: as `network` gives it.
            objective: likewise.

        Raises:
            BusyError: another process trains in the same folder.
            CheckpointError: `train.resume` wants a checkpoint that is not there.
        """
        from eightgig.training.checkpointing.progress import result_of

        with only_one(self.checkpoints / ".lock", f"a network is being trained in {self.checkpoints}"):
            checkpoints = self.open_checkpoints()
            found = find_checkpoint(checkpoints, self.train.resume)
            if found is not None and found.state["finished"]:
                return result_of(found.state["result"])
            if self.is_distributed:
                return train_distributed(self.worker_config(), checkpoints, self.tracker)
            return self.run(network, objective, found)

    def run(self, network: Network, objective: "Objective", found: Checkpoint | None) -> TrainingResult:
        """Do this process's part of the training, within the budget.

        Args:
            network: as `network` gives it.
            objective: likewise.
            found: the checkpoint to go on from.
        """
        from eightgig.training.trainer import Trainer
        from eightgig.vram.runtime.execution import carrying_out
        from eightgig.vram.runtime.recompute import apply_checkpointing
        from eightgig.vram.runtime.recorder import FlightRecorder

        plan, train = self.plan, self.train
        train_batches = self.task.train_batches(
            self.store, self.train_indices, size=self.size, batch_size=plan.micro_batch, train=train
        )
        val_batches = self.task.eval_batches(
            self.store,
            self.val_indices,
            size=self.size,
            batch_size=plan.eval_batch,
            num_workers=loader_processes(train.num_workers),
        )
        with (
            carrying_out(plan) as budget,
            FlightRecorder(plan, self.flight_recorder, budget=budget, record_history=train.record_memory) as recorder,
        ):
            trainer = Trainer(
                apply_checkpointing(network.module, plan.activation_checkpointing),
                objective,
                plan=plan,
                parameters=train,
                steps=train.epochs * -(-len(self.train_indices) // plan.effective_batch),
                tracker=self.tracker,
                checkpoints=self.open_checkpoints(),
                recorder=recorder,
            )
            try:
                return trainer.fit(train_batches, val_batches, resume_from=found.state if found else None)
            finally:
                trainer.close()  # before the budget ends, so that what runs next finds the card as it was


def digest_of(*indices: list[int]) -> str:
    """Return a hash of lists of positions."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(indices).encode()).hexdigest()[:16]
