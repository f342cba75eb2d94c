"""How right the trained detector is on the whole test split."""

from collections.abc import Iterator
from typing import Any

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import ImageStore, Table
from eightgig.stages.inference import held_out_batches, running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.task import Task
from eightgig.tasks.detection.records import DetectionReport
from eightgig.vram.parameters import PlanParameters

_COLUMNS = ("index", "path", "kind", "class_name", "score", "x1", "y1", "x2", "y2")


RESULTS = ["metrics", "per_class_table", "confusion_table", "pr_curve_table", "detections_table"]
"""The datasets that `evaluate` gives."""


def evaluate(
    task: Task,
    weights: Weights,
    store: ImageStore,
    splits: Table,
    benchmark: BenchmarkParameters,
    plan: PlanParameters,
) -> tuple[DetectionReport, Table, Table, Table, Table]:
    """Judge the trained network on the whole test split.

    Returns:
        The figures; a row a class; the confusion matrix at the best confidence (rows are true classes, named in the
        first column; `background` is what has no box); precision by class and recall; a row a hit, a false alarm or a
        miss, in pixels of the stored image.

    Raises:
        DataError: no test image has a box.
    """
    import pandas as pd

    from eightgig.tasks.detection.box_matching import confusion_table
    from eightgig.tasks.detection.metrics import mean_average_precision

    evaluator = task.evaluator(weights.card.classes)
    found, targets, batches = list[Any](), list[Any](), list[Any]()
    with running(task, weights, plan) as runner:
        for batch in held_out_batches(task, weights, store, splits, batch_size=benchmark.batch_size):
            found += evaluator.predictions(runner.run(feeds_of(task.inputs(weights.card, batch))))
            targets += task.targets(batch)
            batches.append({name: batch[name] for name in ("indices", "scale", "offset", "sizes")})
    report, curves = mean_average_precision(found, targets, store.classes)
    per_class = pd.DataFrame([row.model_dump() for row in report.per_class]).rename(columns={"name": "class"})
    confusion = confusion_table(found, targets, store.classes, confidence=report.confidence)
    images = zip(_places(batches), found, targets, strict=True)
    rows = [row for image in images for row in _rows(store, *image, report.confidence)]
    return report, per_class, confusion.reset_index(), curves, pd.DataFrame(rows, columns=list(_COLUMNS))


def _places(batches: list[Any]) -> Iterator[tuple[Any, int]]:
    """Yield each image's batch and its position in it."""
    for batch in batches:
        yield from ((batch, position) for position in range(len(batch["indices"])))


def _rows(
    store: ImageStore, place: tuple[Any, int], found: Any, truth: Any, confidence: float
) -> Iterator[tuple[Any, ...]]:
    from eightgig.tasks.detection.box_matching import match
    from eightgig.tasks.detection.objective import in_source

    batch, position = place
    index = int(batch["indices"][position])
    pairs = match(found, truth, confidence=confidence)
    in_image = in_source(found.boxes_xyxy_M4, batch, position), in_source(truth.xyxy_M4, batch, position)

    def row(kind: str, label: int, score: float | None, box_4: Any) -> tuple[Any, ...]:
        return (index, store.paths[index], kind, store.classes[label], score, *box_4.round(1).tolist())

    for kind, places in (("hit", pairs.hits_H2[:, 0]), ("false alarm", pairs.false_alarms)):
        for at in places:
            yield row(kind, int(found.labels_M[at]), round(float(found.scores_M[at]), 4), in_image[0][at])
    for at in pairs.misses:
        yield row("miss", int(truth.labels_M[at]), None, in_image[1][at])
