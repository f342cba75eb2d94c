"""Compress: smaller forms of the trained network, pruned or taught by it, each with its accuracy, cost and memory."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.tracker import Tracker
from eightgig.datasets.weights import Weights
from eightgig.models.compression import CompressedForm, CompressionReport, CompressParameters, Form
from eightgig.stages.annotations import ImageStore, Network, Objective, Table, TrainingResult
from eightgig.stages.inputs import workers_for
from eightgig.stages.task import Task, TrainingSamples, stage_node, stage_pipeline
from eightgig.stages.trained import card_of, indices_of, restore
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import MemoryPlan

if TYPE_CHECKING:
    from eightgig.models.network import Complexity
    from eightgig.vram.tracing.predictor import Predictor
    from eightgig.vram.tracing.workspace import Generation

logger = logging.getLogger(__name__)
_MEASURED_IMAGES = 128
COMPRESS_ENTRY_POINTS = tuple(f"{__name__}:CompressionWork.{name}" for name in ("recipe", "start", "objective"))
"""What of this module makes a form, its loss and its recipe; the rest predicts, and tells of it."""


def create_pipeline(task: Task) -> Pipeline:
    """Return the node from `weights` to `compressed_weights` and `compression`."""
    inputs = {
        "weights": "weights",
        "store": "store",
        "splits": "splits",
        "memory_plan": "memory_plan",
        "train": "params:train",
        "compress": "params:compress",
        "checkpoints": "checkpoints",
        "tracker": "tracker",
    }
    outputs = ["compressed_weights", "compression"]
    return stage_pipeline("compress", [stage_node(compress_network, inputs, outputs, task=task, records=task.records)])


def compress_network(
    task: Task,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    memory_plan: MemoryPlan,
    train: TrainParameters,
    compress: CompressParameters,
    checkpoints: Path,
    tracker: Tracker,
) -> tuple[dict[str, Weights], CompressionReport]:
    """Make the forms that are asked for, each trained as the memory plan says.

    Returns:
        The weights by the form's name; a report of all forms beside the network that they come from.

    Raises:
        ConfigurationError: the network cannot be pruned, or there is no such student.
    """
    from eightgig.vram.tracing.predictor import Predictor

    teacher = restore(task, weights)
    work = CompressionWork(task, weights, store, splits, memory_plan, train, compress, checkpoints, tracker)
    whole = work.complexity(teacher)
    with Predictor() as predictor:
        made = {form: work.make(form, predictor, whole) for form in dict.fromkeys(compress.forms)}
    report = CompressionReport(
        model=weights.card.model,
        image_size=weights.card.size,
        num_parameters=whole.num_parameters,
        flops=whole.flops,
        val_score=weights.card.val_score,
        score_name=weights.card.score_name,
        forms=tuple(row for _, row in made.values()),
    )
    return {form: smaller for form, (smaller, _) in made.items()}, report


def generation_of_plan(plan: MemoryPlan) -> "Generation":
    """Return the GPU generation whose workspace memory a plan counts: its card's; `none` on the CPU."""
    from eightgig.vram.cards.catalog import cards
    from eightgig.vram.tracing.workspace import generation_on

    architecture = next((card.generation for card in cards() if card.name == plan.card), "")
    return generation_on(plan.device, architecture)


class PrefixedTracker:
    """Passes figures on as `PREFIX.name`, so that several trainings of one run keep theirs apart."""

    def __init__(self, tracker: Tracker, prefix: str) -> None:
        self._tracker, self._prefix = tracker, prefix

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Keep the figures under longer names."""
        self._tracker.log_metrics({f"{self._prefix}.{name}": value for name, value in metrics.items()}, step=step)


@dataclass(frozen=True)
class CompressionWork:
    """What all forms are made from."""

    task: Task
    weights: Weights
    store: ImageStore
    splits: Table
    plan: MemoryPlan
    train: TrainParameters
    compress: CompressParameters
    checkpoints: Path
    tracker: Tracker

    def make(self, form: Form, predictor: "Predictor", whole: "Complexity") -> tuple[Weights, CompressedForm]:
        """Return one form's weights, and its row of the report."""
        from eightgig.core.seeding import seed_everything

        seed_everything(self.train.seed)
        recipe = self.recipe(form)
        network = self.start(form)
        cost = self.complexity(network)
        predicted_bytes = self.predict(form, network, predictor)  # before training: it may change how blocks run
        result = self.fit(form, network, recipe)
        row = CompressedForm(
            name=form,
            model=f"{network.library}/{network.name}",
            num_parameters=cost.num_parameters,
            flops=cost.flops,
            parameters_share=cost.num_parameters / whole.num_parameters,
            flops_share=cost.flops / whole.flops,
            val_score=result.best_score,
            best_epoch=result.best_epoch,
            epochs=len(result.history),
            seconds=sum(epoch.seconds + epoch.val_seconds for epoch in result.history),
            micro_batch=result.final["micro_batch"],
            predicted_bytes=predicted_bytes,
            measured_bytes=result.measured[0].peak_bytes,
        )
        name = self.weights.card.score_name
        logger.info("%s: %.0f %% of the FLOPs, %s %.3f", form, 100 * row.flops_share, name, row.val_score)
        return self.weights_of(form, network, result), row

    def recipe(self, form: Form) -> TrainParameters:
        """Return the training recipe with this form's epochs and learning rate."""
        own = self.compress.student if form == "student" else self.compress.prune
        return self.train.model_copy(
            update={"epochs": own.epochs, "learning_rate": own.learning_rate, "patience": None}
        )

    def start(self, form: Form) -> Network:
        """Return the network that a form starts from: cut from the trained one, or another."""
        student = self.compress.student
        if form != "student":
            return self.pruned(self.compress.prune.keep_flops)
        if student.model is None:
            return self.pruned(student.keep_flops)
        config_from_card = self.task.config_from_card(self.weights.card)
        parameters = config_from_card.model_copy(update={"name": student.model, "weights": student.weights})
        network = self.task.build_network(parameters, len(self.weights.card.classes))
        training, size = indices_of(self.splits, "train"), self.weights.card.size
        self.task.prepare(network, TrainingSamples(self.store, training, size, self.train))
        # All forms take the same inputs, so that a program can exchange the files, and a teacher sees what they see.
        changes: Any = {"mean": self.weights.card.mean, "std": self.weights.card.std}
        return replace(network, **changes)

    def pruned(self, keep_flops: float) -> Network:
        """Return the trained network with channels removed."""
        from eightgig.models.pruning import prune_channels

        network = restore(self.task, self.weights)
        report = prune_channels(network.module, self.dummy_input(), keep_flops=keep_flops)
        self.measure_batch_norm(network.module)
        source = f"the trained {network.name}, cut to {report.flops_share:.0%} of its FLOPs"
        return replace(network, weights_source=source)

    def measure_batch_norm(self, module: Any) -> None:
        """Let a cut network's BatchNorm see some training images, on the plan's device and within its budget."""
        from eightgig.models.pruning import measure_batch_norm
        from eightgig.vram.runtime.execution import carrying_out

        card, indices = self.weights.card, indices_of(self.splits, "train")
        chosen = indices[:: max(1, len(indices) // _MEASURED_IMAGES)]  # spread: a store is sorted by class
        random.Random(self.train.seed).shuffle(chosen)  # noqa: S311  mixed: a batch of one class misleads
        size, number = card.size, self.plan.micro_batch
        workers = workers_for(len(chosen), number)
        batches = self.task.eval_batches(self.store, chosen, size=size, batch_size=number, num_workers=workers)
        with carrying_out(self.plan):
            module.to(self.plan.device)
            inputs = (self.task.inputs(card, batch)["images"].to(self.plan.device) for batch in batches)
            measure_batch_norm(module, inputs)
            module.to("cpu")

    def fit(self, form: Form, network: Network, recipe: TrainParameters) -> TrainingResult:
        """Train a form within the budget, or go on with a run that was stopped."""
        from eightgig.stages.training_job import TrainingJob

        card = self.weights.card
        job = TrainingJob(
            task=self.task,
            store=self.store,
            train_indices=indices_of(self.splits, "train"),
            val_indices=indices_of(self.splits, "val"),
            size=card.size,
            plan=self.plan.for_one_process(),
            model=self.task.config_from_card(card),
            train=recipe,
            checkpoints=self.checkpoints / form,
            flight_recorder=None,
            tracker=PrefixedTracker(self.tracker, form),
            single_process=True,
            recipe_extras={"form": form, "compress": self.compress, "from_weights": card.sha256},
            entry_points=COMPRESS_ENTRY_POINTS,
        )
        return job.result(network, self.objective(form, network, recipe))

    def objective(self, form: Form, network: Network, recipe: TrainParameters) -> Objective:
        """Return the case's own loss, with the trained network as the teacher where the form has one."""
        from eightgig.training.distillation import DistillationObjective

        hard = self.task.objective(network, recipe)
        if form == "pruned":
            return hard
        student = self.compress.student
        return DistillationObjective(
            hard,
            restore(self.task, self.weights).module,
            temperature=student.temperature,
            alpha=student.alpha,
            precision=self.plan.precision,
            soft_loss=self.task.soft_loss(),
        )

    def predict(self, form: Form, network: Network, predictor: "Predictor") -> int:
        """Return the bytes that a training step of a form will take at its peak, its teacher included."""
        from eightgig.models.reshape import shapes_of
        from eightgig.vram.tracing.options import StepOptions

        card, plan = self.weights.card, self.plan
        spec = self.task.workload(
            self.task.config_from_card(card).model_copy(update={"name": f"{network.library}/{network.name}"}),
            len(card.classes),
            self.train,
            shapes=shapes_of(network.module.state_dict()),
            teacher=None if form == "pruned" else card.model,
            precision=plan.precision,
        )
        clips = self.train.max_grad_norm is not None
        options = StepOptions.of(plan.for_one_process(), clips_gradients=clips, copies_buffers=True)
        return predictor.predict(spec, options, generation=generation_of_plan(plan)).peak_allocated

    def weights_of(self, form: Form, network: Network, result: TrainingResult) -> Weights:
        """Return a form's best weights with their card."""
        card = self.weights.card
        own = card_of(
            self.task,
            network,
            self.store,
            size=card.size,
            result=result,
            score_name=card.score_name,
            device_name=self.plan.device_name,
        )
        return Weights(result.best_state, own.model_copy(update={"compression": form, "made_from_sha256": card.sha256}))

    def complexity(self, network: Network) -> "Complexity":
        """Return a network's parameters, and its FLOPs for one image."""
        from eightgig.models.network import complexity_of

        return complexity_of(network.module, self.dummy_input())

    def dummy_input(self) -> Any:
        """Return one empty image as the networks take them."""
        return self.task.dummy_input(self.weights.card)["images"]
