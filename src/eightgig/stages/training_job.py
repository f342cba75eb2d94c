"""One training run: what it is made of, and how one process does its part of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eightgig.core.device import loader_processes
from eightgig.core.tracker import Tracker
from eightgig.models.parameters import ModelParameters
from eightgig.stages.annotations import ImageStore, Network, TrainingResult
from eightgig.stages.task import Task
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from eightgig.training.checkpoint import Checkpoint, Checkpoints
    from eightgig.training.objective import Objective

# What of the parameters says how a run is carried out, and not what comes out.
_NOT_OF_THE_RECIPE = {
    "resume",
    "checkpoint_minutes",
    "num_workers",
    "record_memory",
    "empty_cache_every",
    "distributed",
    "batch_size",
    "gradient_accumulation_steps",
    "eval_batch_size",
}
# What of the plan may change the result by rounding.
_CARRIED_OUT = {
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
        alone: whether it trains in this process, whatever the recipe says of several.
        made_from: what else decides the result, by name.
        begun_by: functions outside of this class that make the network or its loss, as `package.module:function`.
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
    alone: bool = False
    made_from: dict[str, Any] = field(default_factory=dict)
    begun_by: tuple[str, ...] = ()

    def kept(self) -> "Checkpoints":
        """Return the place where the run is kept, with its recipe."""
        from eightgig.training.checkpoint import Checkpoints
        from eightgig.training.progress import STATE_FORMAT
        from eightgig.training.recipe import Recipe

        train = self.train.model_dump(mode="json", exclude=_NOT_OF_THE_RECIPE)
        effective_batch = self.train.batch_size * self.train.gradient_accumulation_steps
        recipe = Recipe.of(
            code=self.code_digest(),
            checkpoint_format=STATE_FORMAT,
            model=self.model,
            train={**train, "effective_batch": effective_batch},
            store=self.store.sha256,
            splits=digest_of(self.train_indices, self.val_indices),
            plan={"precision": self.plan.precision, "optimizer": self.plan.optimizer},
            **self.made_from,
        )
        plan = self.plan.model_dump(mode="json", include=_CARRIED_OUT)
        recipe = recipe.with_circumstances(plan=plan, distributed=self.train.distributed)
        if self.in_ranks:  # what each of them computes in, which is seldom what this process does
            from eightgig.stages.distributed.launcher import threads_of_each

            recipe = recipe.with_circumstances(threads=threads_of_each(self.train.distributed))
        return Checkpoints(self.checkpoints, recipe)

    @property
    def in_ranks(self) -> bool:
        """Tell whether several processes train."""
        return self.train.distributed.count > 1 and not self.alone

    def code_digest(self) -> str:
        """Return a hash of the code that this training imports, in whichever of its processes."""
        from eightgig.training.code_digest import code_digest

        begun = (f"{__name__}:TrainingJob.network", f"{__name__}:TrainingJob.result", *self.begun_by)
        return code_digest(
            (*begun, *(["eightgig.stages.distributed.worker:main"] if self.in_ranks else [])), type(self.task)
        )

    def network(self) -> "tuple[Network, Objective]":
        """Return the case's own network as training begins with it, and its loss."""
        from eightgig.core.seeding import seed_everything

        seed_everything(self.train.seed)
        network = self.task.build_network(self.model, self.task.num_outputs(self.store))
        self.task.prepare(network, self.store, self.train_indices, size=self.size, train=self.train)
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
        from eightgig.core.locks import only_one
        from eightgig.stages.distributed.launcher import train_in_ranks
        from eightgig.training.progress import result_of
        from eightgig.training.resume import go_on_from

        with only_one(self.checkpoints / ".lock", f"a network is being trained in {self.checkpoints}"):
            found = go_on_from(self.kept(), self.train.resume)
            if found is not None and found.state["finished"]:
                return result_of(found.state["result"])
            if self.in_ranks:
                return train_in_ranks(self)
            return self.run(network, objective, found)

    def run(self, network: Network, objective: "Objective", found: "Checkpoint | None") -> TrainingResult:
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
                checkpoints=self.kept(),
                recorder=recorder,
            )
            try:
                return trainer.fit(train_batches, val_batches, go_on_from=found.state if found else None)
            finally:
                trainer.close()  # before the budget ends, so that what runs next finds the card as it was


def digest_of(*indices: list[int]) -> str:
    """Return a hash of lists of positions."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(indices).encode()).hexdigest()[:16]
